//! A family of series whose number is bounded.

use std::borrow::Cow;
use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use prometheus::core::Collector;
use prometheus::proto::MetricFamily;
use prometheus::{Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts};

use super::table::{Kind, OPEN_LABELS, Spec};

/// The label value of series that have no place of their own in a full family.
pub(super) const OTHER: &str = "other";

/// A counter that may be one of a full family; cheap to use again and again.
#[derive(Debug, Clone, Default)]
pub(super) struct CounterHandle {
    counter: Option<IntCounter>,
    overflow: Option<IntCounter>,
}

impl CounterHandle {
    pub(super) fn inc_by(&self, by: u64) {
        if let Some(counter) = &self.counter {
            counter.inc_by(by);
        }
        if let Some(overflow) = &self.overflow {
            overflow.inc();
        }
    }

    pub(super) fn inc(&self) {
        self.inc_by(1);
    }
}

/// A histogram that may be one of a full family.
#[derive(Debug, Clone, Default)]
pub(super) struct HistogramHandle {
    histogram: Option<Histogram>,
    overflow: Option<IntCounter>,
}

impl HistogramHandle {
    pub(super) fn observe(&self, value: Duration) {
        if let Some(histogram) = &self.histogram {
            histogram.observe(value.as_secs_f64());
        }
        if let Some(overflow) = &self.overflow {
            overflow.inc();
        }
    }
}

/// All series of one metric.
pub(super) struct Family {
    spec: Spec,
    series: Series,
    /// The most label sets with values of their own.
    cap: usize,
    hasher: RandomState,
    /// Hashes of the label sets met so far; no longer than `cap`.
    seen: Mutex<HashSet<u64>>,
}

enum Series {
    Counter(IntCounterVec),
    Gauge(IntGaugeVec),
    Histogram(HistogramVec),
}

impl Family {
    pub(super) fn new(spec: Spec, cap: usize) -> Result<Self, prometheus::Error> {
        let series = match spec.kind {
            Kind::Counter => Series::Counter(IntCounterVec::new(Opts::new(spec.name, spec.help), spec.labels)?),
            Kind::Gauge => Series::Gauge(IntGaugeVec::new(Opts::new(spec.name, spec.help), spec.labels)?),
            Kind::Histogram(bounds) => {
                let options = HistogramOpts::new(spec.name, spec.help).buckets(bounds.to_vec());
                Series::Histogram(HistogramVec::new(options, spec.labels)?)
            }
        };
        Ok(Self { spec, series, cap, hasher: RandomState::new(), seen: Mutex::default() })
    }

    /// The counter with these label values, one for each label of the row.
    pub(super) fn counter(&self, values: &[&str], overflow: &Self) -> CounterHandle {
        let Series::Counter(series) = &self.series else { return CounterHandle::default() };
        let (values, folded) = self.fold(values);
        CounterHandle {
            counter: series.get_metric_with_label_values(&values).ok(),
            overflow: folded.then(|| overflow.overflow_of(self.spec.name)).flatten(),
        }
    }

    /// The histogram with these label values.
    pub(super) fn histogram(&self, values: &[&str], overflow: &Self) -> HistogramHandle {
        let Series::Histogram(series) = &self.series else { return HistogramHandle::default() };
        let (values, folded) = self.fold(values);
        HistogramHandle {
            histogram: series.get_metric_with_label_values(&values).ok(),
            overflow: folded.then(|| overflow.overflow_of(self.spec.name)).flatten(),
        }
    }

    /// The gauge with these label values, which must come from closed sets: gauges are not capped.
    pub(super) fn gauge(&self, values: &[&str]) -> Option<IntGauge> {
        let Series::Gauge(series) = &self.series else { return None };
        series.get_metric_with_label_values(values).ok()
    }

    /// All series, sorted by their labels; `None` while there is none.
    pub(super) fn collect(&self) -> Option<MetricFamily> {
        let mut families = match &self.series {
            Series::Counter(series) => series.collect(),
            Series::Gauge(series) => series.collect(),
            Series::Histogram(series) => series.collect(),
        };
        let mut family = families.pop()?;
        let mut metrics = family.take_metric();
        if metrics.is_empty() {
            return None;
        }
        metrics.sort_by_cached_key(|metric| {
            metric.get_label().iter().map(|pair| pair.value().to_owned()).collect::<Vec<_>>()
        });
        family.set_metric(metrics);
        Some(family)
    }

    fn overflow_of(&self, family: &str) -> Option<IntCounter> {
        let Series::Counter(series) = &self.series else { return None };
        series.get_metric_with_label_values(&[family]).ok()
    }

    /// The values to use: `other` in place of the open ones once the family is full, and whether that is so.
    fn fold<'v>(&self, values: &[&'v str]) -> (Vec<Cow<'v, str>>, bool) {
        let hash = self.hasher.hash_one(values);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let folded = !seen.contains(&hash) && seen.len() >= self.cap && self.has_open_labels();
        if !folded {
            seen.insert(hash);
            return (values.iter().map(|value| Cow::Borrowed(*value)).collect(), false);
        }
        let fold_one =
            |(label, value): (&&str, &&'v str)| Cow::Borrowed(if OPEN_LABELS.contains(label) { OTHER } else { *value });
        (self.spec.labels.iter().zip(values).map(fold_one).collect(), true)
    }

    fn has_open_labels(&self) -> bool {
        self.spec.labels.iter().any(|label| OPEN_LABELS.contains(label))
    }
}
