//! A family of series whose number is bounded.

use std::borrow::Cow;
use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use prometheus::core::Collector;
use prometheus::proto::{LabelPair, Metric as Sample, MetricFamily};
use prometheus::{Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts};

use super::table::{Kind, OPEN_LABELS, Spec};

/// The label value of series that have no place of their own in a full family.
pub(super) const OTHER: &str = "other";

/// The label that names an endpoint.
const UPSTREAM: &str = "upstream";

/// The endpoint that a series is about; `None` of one that is about none, or about all that have no place of their own.
pub(super) fn upstream(series: &Sample) -> Option<&str> {
    let pair = series.get_label().iter().find(|pair| pair.name() == UPSTREAM)?;
    Some(pair.value()).filter(|upstream| *upstream != OTHER)
}

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

    /// Drops the series of these endpoints, and gives their room back.
    pub(super) fn forget(&self, upstreams: &HashSet<String>) {
        let Some(family) = self.collect().filter(|_| self.spec.labels.contains(&UPSTREAM)) else { return };
        for metric in family.get_metric() {
            if !upstream(metric).is_some_and(|upstream| upstreams.contains(upstream)) {
                continue;
            }
            let value =
                |label: &&str| metric.get_label().iter().find(|pair| pair.name() == *label).map(LabelPair::value);
            let values: Vec<&str> = self.spec.labels.iter().filter_map(value).collect();
            // It was there a moment ago, and nobody else takes series away.
            let _ = match &self.series {
                Series::Counter(series) => series.remove_label_values(&values),
                Series::Gauge(series) => series.remove_label_values(&values),
                Series::Histogram(series) => series.remove_label_values(&values),
            };
            let hash = self.hasher.hash_one(values.as_slice());
            self.seen.lock().unwrap_or_else(PoisonError::into_inner).remove(&hash);
        }
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
