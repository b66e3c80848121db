//! Metrics: one table, bounded families, and the text that Prometheus reads.
//!
//! [`table::Metric`] names every metric. The hot path goes through [`Metrics::settle`], which looks its series up once
//! per label set and then only adds to atomics. What is known elsewhere (health, buffers) is asked for at scrape time.

mod alias;
mod cache;
mod describe;
mod family;
mod gone;
mod process;
mod scrape;
mod series;
pub mod table;

use std::borrow::Cow;
use std::fmt::Write as _;
use std::sync::{Mutex, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use prometheus::IntGauge;
use prometheus::proto::MetricFamily;
use sha2::{Digest, Sha256};

pub use self::alias::Alias;
pub use self::describe::describe;
pub use self::process::resident;
pub use self::scrape::Scrape;
pub(crate) use self::scrape::count;

use self::cache::Cache;
use self::family::{CounterHandle, Family, HistogramHandle, upstream};
use self::gone::Gone;
use self::series::{AttemptSeries, ExchangeKey, ExchangeSeries, LossSeries};
use self::table::{Kind, Metric};
use super::settled::{Endpoint, Method, Settled};
use crate::clock::{self, Instant};

/// The label value for what is not known.
pub const UNKNOWN: &str = "unknown";

/// How client keys are shown in labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KeyLabel {
    /// By their name in the config.
    #[default]
    Name,
    /// By the first eight hex digits of the SHA-256 of their name.
    Hash,
    /// Not at all: every key is `unknown`.
    None,
}

impl KeyLabel {
    /// Every value, by its word in the config.
    pub const NAMED: [(&'static str, Self); 3] = [("name", Self::Name), ("hash", Self::Hash), ("none", Self::None)];

    /// The word in the config.
    pub fn name(self) -> &'static str {
        Self::NAMED.into_iter().find(|(_, label)| *label == self).map_or("name", |(name, _)| name)
    }
}

/// What can be chosen about metrics.
#[derive(Debug, Clone)]
pub struct MetricsOptions {
    /// Sets of other names under which the same values are shown too.
    pub aliases: Vec<Alias>,
    /// The most label sets of one family; samples of further ones go to `other`.
    pub max_series: usize,
    /// How client keys are shown.
    pub key_label: KeyLabel,
    /// Label of `gateway_build_info`: the program's version.
    pub version: &'static str,
    /// Label of `gateway_build_info`: the commit it was built from.
    pub commit: &'static str,
}

impl Default for MetricsOptions {
    fn default() -> Self {
        Self {
            aliases: Vec::new(),
            max_series: 2_000,
            key_label: KeyLabel::Name,
            version: env!("CARGO_PKG_VERSION"),
            commit: env!("TIDEGATE_COMMIT"),
        }
    }
}

/// Called at every scrape to add what is known elsewhere.
pub type ScrapeHook = Box<dyn Fn(&mut Scrape) + Send + Sync>;

/// Every metric of the process.
pub struct Metrics {
    /// One for each [`Metric`], in the table's order.
    families: Vec<Family>,
    options: MetricsOptions,
    aliases: RwLock<Vec<Alias>>,
    exchanges: Cache<ExchangeSeries>,
    attempts: Cache<AttemptSeries>,
    losses: Cache<LossSeries>,
    auth: Cache<(AuthLabels, CounterHandle)>,
    in_flight: [[OnceLock<Option<IntGauge>>; Method::ALL.len()]; Endpoint::ALL.len()],
    hooks: RwLock<Vec<ScrapeHook>>,
    gone: Gone,
    /// When the running config was loaded, since the epoch.
    config_loaded: Mutex<Option<Duration>>,
    /// When this was made, since the epoch.
    started: Duration,
}

type AuthLabels = (&'static str, &'static str);

impl Metrics {
    /// Makes every family, empty but for those that alerts wait for.
    ///
    /// # Errors
    ///
    /// When a row of the table is malformed, which its test rules out.
    pub fn new(options: MetricsOptions) -> Result<Self, prometheus::Error> {
        let families = Metric::ALL
            .iter()
            .map(|metric| Family::new(metric.spec(), options.max_series))
            .collect::<Result<Vec<_>, _>>()?;
        let metrics = Self {
            families,
            aliases: RwLock::new(options.aliases.clone()),
            options,
            exchanges: Cache::new(),
            attempts: Cache::new(),
            losses: Cache::new(),
            auth: Cache::new(),
            in_flight: std::array::from_fn(|_| std::array::from_fn(|_| OnceLock::new())),
            hooks: RwLock::default(),
            gone: Gone::default(),
            config_loaded: Mutex::default(),
            started: clock::unix_now(),
        };
        for result in ["success", "rejected"] {
            metrics.counter(Metric::ConfigReloadsTotal, &[result]);
        }
        Ok(metrics)
    }

    /// Adds one finished exchange.
    pub fn settle(&self, settled: &Settled<'_>) {
        let key = ExchangeKey::of(settled);
        let series = self.exchanges.get(&key, |series| series.is(&key), || ExchangeSeries::new(self, &key));
        series.record(self, settled);
        self.settle_attempts(settled);
        // A server may refuse a part of a request of its own format too.
        let own = || settled.client_format.map(|format| (format, format));
        let formats = settled.translation.map(|translation| (translation.from, translation.to)).or_else(own);
        for lost in settled.losses {
            let Some((from, to)) = formats else { break };
            let key = [from, to, lost.field, lost.action];
            self.losses.get(&key, |loss| loss.is(&key), || LossSeries::new(self, key)).counter.inc_by(lost.count);
        }
        if let Some(translation) = settled.translation.filter(|translation| translation.failed) {
            self.counter(Metric::TranslationErrorsTotal, &[translation.from, translation.to]).inc();
        }
        self.settle_limits(settled);
        if let Some(end) = settled.hedge {
            self.counter(Metric::HedgesTotal, &[settled.model.unwrap_or(UNKNOWN), end]).inc();
        }
        if let Some(fallback) = settled.fallback {
            self.counter(Metric::FallbacksTotal, &[fallback.from, fallback.to, fallback.reason]).inc();
        }
        if let Some(abort) = settled.aborted {
            self.counter(Metric::StreamAbortsTotal, &[abort.side.label(), abort.reason]).inc();
        }
    }

    /// Counts one check of a client key.
    pub(super) fn auth(&self, result: &'static str, reason: &'static str) {
        let labels = (result, reason);
        let make = || (labels, self.counter(Metric::AuthRequestsTotal, &[result, reason]));
        self.auth.get(&labels, |(known, _)| *known == labels, make).1.inc();
    }

    /// Counts one connection that was not served.
    pub(super) fn connection_refused(&self, reason: &'static str) {
        self.counter(Metric::ConnectionsRefusedTotal, &[reason]).inc();
    }

    /// Counts one load of the config, and notes when it was if it was good.
    pub(super) fn reload(&self, good: bool) {
        self.counter(Metric::ConfigReloadsTotal, &[if good { "success" } else { "rejected" }]).inc();
        if good {
            self.config_in_use();
        }
    }

    /// Notes that a config has just become the one in use.
    pub(super) fn config_in_use(&self) {
        *self.config_loaded.lock().unwrap_or_else(PoisonError::into_inner) = Some(clock::unix_now());
    }

    /// The gauge of requests in flight for these labels.
    pub(super) fn in_flight(&self, endpoint: Endpoint, method: Method) -> Option<IntGauge> {
        let cell = self.in_flight.get(endpoint as usize)?.get(method as usize)?;
        let make = || self.family(Metric::RequestsInFlight)?.gauge(&[endpoint.label(), method.label()]);
        cell.get_or_init(make).clone()
    }

    /// Adds a hook that is called at every scrape. It must not block.
    pub fn on_scrape(&self, hook: ScrapeHook) {
        self.hooks.write().unwrap_or_else(PoisonError::into_inner).push(hook);
    }

    /// Replaces the alias sets, as a reload of the config may.
    pub fn set_aliases(&self, aliases: Vec<Alias>) {
        *self.aliases.write().unwrap_or_else(PoisonError::into_inner) = aliases;
    }

    /// The whole exposition in Prometheus' text format 0.0.4.
    ///
    /// # Errors
    ///
    /// When the encoder refuses a family.
    pub fn text(&self) -> Result<String, prometheus::Error> {
        self.text_at(clock::now())
    }

    fn text_at(&self, now: Instant) -> Result<String, prometheus::Error> {
        let mut families: Vec<MetricFamily> = self.families.iter().filter_map(Family::collect).collect();
        let asked = self.asked_at_scrape();
        self.forget_gone(&families, &asked, now);
        families.extend(asked.into_families());
        families.sort_by(|one, other| one.name().cmp(other.name()));
        let aliases = self.aliases.read().unwrap_or_else(PoisonError::into_inner).clone();
        let mut named_again: Vec<MetricFamily> =
            aliases.into_iter().flat_map(|alias| alias.families(&families)).collect();
        families.append(&mut named_again);
        prometheus::TextEncoder::new().encode_to_string(&families)
    }

    /// Drops what is `shown` of endpoints that left the config a while ago: this scrape is the last to show it.
    fn forget_gone(&self, shown: &[MetricFamily], asked: &Scrape, now: Instant) {
        let shown = shown.iter().flat_map(MetricFamily::get_metric).filter_map(upstream);
        let gone = self.gone.due(shown, &asked.upstreams(), now);
        if !gone.is_empty() {
            self.families.iter().for_each(|family| family.forget(&gone));
            self.attempts.clear();
        }
    }

    fn asked_at_scrape(&self) -> Scrape {
        let mut scrape = Scrape::new(self.options.key_label);
        scrape.set(Metric::BuildInfo, &[self.options.version, self.options.commit], 1.0);
        if let Some(loaded) = *self.config_loaded.lock().unwrap_or_else(PoisonError::into_inner) {
            scrape.set(Metric::ConfigLastSuccess, &[], loaded.as_secs_f64());
        }
        process::add(&mut scrape, self.started);
        scrape.draining(false);
        for hook in self.hooks.read().unwrap_or_else(PoisonError::into_inner).iter() {
            hook(&mut scrape);
        }
        scrape
    }

    fn settle_limits(&self, settled: &Settled<'_>) {
        for (scope, waited) in settled.waits {
            self.histogram(Metric::QueueWait, &[scope]).observe(*waited);
        }
        let Some((scope, reason)) = settled.shed else { return };
        self.counter(Metric::ShedTotal, &[scope, reason]).inc();
        if scope == "client" {
            let key = self.key_label(settled.key);
            self.counter(Metric::RateLimitExceededTotal, &[&key, "concurrency"]).inc();
        }
    }

    fn settle_attempts(&self, settled: &Settled<'_>) {
        let model = settled.model;
        let mut fault_before = None;
        for (place, attempt) in settled.attempts.iter().enumerate() {
            let fault = attempt.fault();
            let key = (&*attempt.upstream, &*attempt.provider, model, attempt.status, fault);
            let make = || AttemptSeries::new(self, attempt, model);
            self.attempts.get(&key, |series| series.is(attempt, model), make).record(attempt);
            if place > 0 {
                let reason = fault_before.unwrap_or(UNKNOWN);
                self.counter(Metric::RetryAttemptsTotal, &[&attempt.upstream, reason]).inc();
            }
            fault_before = fault;
        }
    }

    fn counter(&self, metric: Metric, values: &[&str]) -> CounterHandle {
        debug_assert_eq!(metric.spec().labels.len(), values.len(), "{metric:?}");
        debug_assert_eq!(metric.spec().kind, Kind::Counter, "{metric:?}");
        let (Some(family), Some(overflow)) = (self.family(metric), self.family(Metric::OverflowTotal)) else {
            return CounterHandle::default();
        };
        family.counter(values, overflow)
    }

    fn histogram(&self, metric: Metric, values: &[&str]) -> HistogramHandle {
        debug_assert_eq!(metric.spec().labels.len(), values.len(), "{metric:?}");
        let (Some(family), Some(overflow)) = (self.family(metric), self.family(Metric::OverflowTotal)) else {
            return HistogramHandle::default();
        };
        family.histogram(values, overflow)
    }

    fn family(&self, metric: Metric) -> Option<&Family> {
        self.families.get(metric as usize)
    }

    fn key_label<'k>(&self, name: Option<&'k str>) -> Cow<'k, str> {
        key_label(self.options.key_label, name)
    }
}

/// What stands for the client of that name.
fn key_label(shown: KeyLabel, name: Option<&str>) -> Cow<'_, str> {
    match (shown, name) {
        (KeyLabel::Name, Some(name)) => Cow::Borrowed(name),
        (KeyLabel::Hash, Some(name)) => Cow::Owned(short_hash(name)),
        (KeyLabel::None, _) | (_, None) => Cow::Borrowed(UNKNOWN),
    }
}

fn short_hash(name: &str) -> String {
    Sha256::digest(name.as_bytes()).iter().take(4).fold(String::new(), |mut text, byte| {
        // Writing to a `String` does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests;
