//! Values that are asked for when Prometheus comes, not kept.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use prometheus::proto::{Counter, Gauge, LabelPair, Metric as Sample, MetricFamily, MetricType};

use super::table::{Kind, Metric};
use super::{KeyLabel, key_label};

/// Collects values for one scrape.
#[derive(Default)]
pub struct Scrape {
    keys: KeyLabel,
    samples: BTreeMap<Metric, BTreeMap<Vec<String>, f64>>,
    /// Endpoints that left the config and serve requests of before.
    lasting: HashSet<String>,
}

impl Scrape {
    pub(super) fn new(keys: KeyLabel) -> Self {
        Self { keys, ..Self::default() }
    }

    /// What bounds the requests of a client, for a model, or at a provider: what runs, who waits, and the limit.
    pub fn bulkhead(&mut self, scope: &str, name: &str, (used, waiting): (usize, usize), limit: Option<usize>) {
        let shown = if scope == "client" { key_label(self.keys, Some(name)).into_owned() } else { name.to_owned() };
        let values = [
            (Metric::ConcurrencyInUse, Some(used)),
            (Metric::QueueDepth, Some(waiting)),
            (Metric::ConcurrencyLimit, limit),
        ];
        for (metric, value) in values {
            let Some(value) = value else { continue };
            // Clients without names of their own stand for one another.
            let labels = vec![scope.to_owned(), shown.clone()];
            *self.samples.entry(metric).or_default().entry(labels).or_default() += count(value as u64);
        }
    }

    /// Bytes above which new requests are refused.
    pub fn memory_limit(&mut self, bytes: u64) {
        self.set(Metric::MemoryLimit, &[], count(bytes));
    }

    /// One endpoint of a provider: whether it takes requests, and how many it is serving.
    pub fn upstream(&mut self, provider: &str, upstream: &str, healthy: bool, in_flight: u64) {
        self.set(Metric::UpstreamHealthy, &[upstream, provider], if healthy { 1.0 } else { 0.0 });
        self.set(Metric::UpstreamInFlight, &[upstream, provider], count(in_flight));
    }

    /// The endpoints of the config in use, and those that last.
    pub(super) fn upstreams(&self) -> HashSet<&str> {
        let healthy = self.samples.get(&Metric::UpstreamHealthy);
        let configured = healthy.into_iter().flat_map(BTreeMap::keys).filter_map(|labels| labels.first());
        configured.chain(&self.lasting).map(String::as_str).collect()
    }

    /// An endpoint that left the config serves requests of before: what is counted of it stays.
    pub fn lasting(&mut self, provider: &str, upstream: &str, in_flight: u64) {
        self.set(Metric::UpstreamInFlight, &[upstream, provider], count(in_flight));
        self.lasting.insert(upstream.to_owned());
    }

    /// The circuits of one endpoint: its own, and how many models are left alone.
    pub fn circuit(&mut self, provider: &str, upstream: &str, state: u8, models: usize) {
        self.set(Metric::UpstreamCircuit, &[upstream, provider], f64::from(state));
        self.set(Metric::UpstreamModelsOut, &[upstream, provider], count(models as u64));
    }

    /// How often one endpoint, or a model at it, was left alone for a reason, from a closed set.
    pub fn ejections(&mut self, provider: &str, upstream: &str, (reason, times): (&'static str, u64)) {
        self.set(Metric::UpstreamEjectionsTotal, &[upstream, provider, reason], count(times));
    }

    /// Whether the health checks of a provider are not believed.
    pub fn panic(&mut self, provider: &str, panics: bool) {
        self.set(Metric::UpstreamPanic, &[provider], if panics { 1.0 } else { 0.0 });
    }

    /// How often the heads of streams were held until what, a word of a closed set.
    pub fn stream_holds(&mut self, result: &'static str, times: u64) {
        self.set(Metric::StreamHoldsTotal, &[result], count(times));
    }

    /// Further attempts for a model that its budget did not allow.
    pub fn retries_refused(&mut self, model: &str, refused: u64) {
        self.set(Metric::RetryBudgetExhaustedTotal, &[model], count(refused));
    }

    /// Connections of clients that are open.
    pub fn connections(&mut self, open: u64) {
        self.set(Metric::Connections, &[], count(open));
    }

    /// Bytes of request bodies held in memory.
    pub fn buffered_request_bytes(&mut self, bytes: u64) {
        self.set(Metric::BufferedRequestBytes, &[], count(bytes));
    }

    /// Bytes of answers that are kept for clients, and how often what of them was recalled, by words of a closed set.
    pub fn recall(&mut self, (bytes, recalled): (u64, [(&'static str, u64); 2])) {
        self.set(Metric::RecallMemoryBytes, &[], count(bytes));
        for (what, times) in recalled {
            self.set(Metric::RecalledTotal, &[what], count(times));
        }
    }

    /// Whether the process is finishing its last requests.
    pub fn draining(&mut self, draining: bool) {
        self.set(Metric::Draining, &[], if draining { 1.0 } else { 0.0 });
    }

    /// When the certificate of `listener` is over, since 1970-01-01 UTC.
    pub fn certificate(&mut self, listener: &str, expires: Duration) {
        self.set(Metric::CertificateExpiry, &[listener], expires.as_secs_f64());
    }

    /// Any counter or gauge of the table; a second value for the same labels replaces the first. Histograms and wrong
    /// numbers of labels are left out.
    pub fn set(&mut self, metric: Metric, labels: &[&str], value: f64) {
        let spec = metric.spec();
        let fits = spec.labels.len() == labels.len() && !matches!(spec.kind, Kind::Histogram(_));
        debug_assert!(fits, "{metric:?} {labels:?}");
        if fits {
            let labels = labels.iter().map(|label| (*label).to_owned()).collect();
            self.samples.entry(metric).or_default().insert(labels, value);
        }
    }

    pub(super) fn into_families(self) -> impl Iterator<Item = MetricFamily> {
        self.samples.into_iter().map(|(metric, samples)| family(metric, samples))
    }
}

/// A count as a sample: exact up to 2⁵³.
#[allow(clippy::cast_precision_loss, reason = "every sample is an f64")]
pub(crate) fn count(count: u64) -> f64 {
    count as f64
}

fn family(metric: Metric, samples: BTreeMap<Vec<String>, f64>) -> MetricFamily {
    let spec = metric.spec();
    let counter = spec.kind == Kind::Counter;
    let mut family = MetricFamily::default();
    family.set_name(spec.name.to_owned());
    family.set_help(spec.help.to_owned());
    family.set_field_type(if counter { MetricType::COUNTER } else { MetricType::GAUGE });
    let sample = |(values, value): (Vec<String>, f64)| {
        let mut labels: Vec<_> = spec.labels.iter().zip(values).map(pair).collect();
        labels.sort_by(|one, other| one.name().cmp(other.name()));
        let mut sample = Sample::from_label(labels);
        if counter {
            let mut counter = Counter::default();
            counter.set_value(value);
            sample.set_counter(counter);
        } else {
            let mut gauge = Gauge::default();
            gauge.set_value(value);
            sample.set_gauge(gauge);
        }
        sample
    };
    family.set_metric(samples.into_iter().map(sample).collect());
    family
}

fn pair((name, value): (&&str, String)) -> LabelPair {
    let mut pair = LabelPair::default();
    pair.set_name((*name).to_owned());
    pair.set_value(value);
    pair
}
