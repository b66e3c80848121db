//! The series that one exchange, one attempt or one loss touches, resolved once per label set.

use std::sync::OnceLock;
use std::time::Duration;

use crate::observe::settled::{Attempt, Endpoint, Method, Settled, Translation};

use super::family::{CounterHandle, HistogramHandle};
use super::table::Metric;
use super::{Metrics, UNKNOWN};

/// Series of exchanges that share all labels.
pub(super) struct ExchangeSeries {
    labels: ExchangeLabels,
    requests: CounterHandle,
    duration: HistogramHandle,
    overhead: HistogramHandle,
    error: Option<CounterHandle>,
    translation: Option<CounterHandle>,
    tokens: OnceLock<[CounterHandle; 5]>,
    usage_missing: OnceLock<CounterHandle>,
    first_token: OnceLock<HistogramHandle>,
    per_token: OnceLock<HistogramHandle>,
    stream: OnceLock<StreamSeries>,
}

struct StreamSeries {
    events: CounterHandle,
    bytes: CounterHandle,
    duration: HistogramHandle,
}

/// What the series are looked up by, borrowed.
#[derive(Hash)]
pub(super) struct ExchangeKey<'a> {
    endpoint: Endpoint,
    method: Method,
    status: u16,
    stream: bool,
    provider: Option<&'a str>,
    model: Option<&'a str>,
    key: Option<&'a str>,
    // Closed sets: the text is short, and equal text may stand at two addresses.
    error_type: Option<&'static str>,
    translation: Option<(&'static str, &'static str)>,
}

/// The same, owned.
struct ExchangeLabels {
    endpoint: Endpoint,
    method: Method,
    status: u16,
    stream: bool,
    provider: Option<Box<str>>,
    model: Option<Box<str>>,
    key: Option<Box<str>>,
    error_type: Option<&'static str>,
    translation: Option<(&'static str, &'static str)>,
}

impl<'a> ExchangeKey<'a> {
    pub(super) fn of(settled: &Settled<'a>) -> Self {
        Self {
            endpoint: settled.endpoint,
            method: settled.method,
            status: settled.status,
            stream: settled.stream,
            provider: settled.provider,
            model: settled.model,
            key: settled.key,
            error_type: settled.error_type,
            translation: settled.translation.map(|Translation { from, to, .. }| (from, to)),
        }
    }

    fn own(&self) -> ExchangeLabels {
        ExchangeLabels {
            endpoint: self.endpoint,
            method: self.method,
            status: self.status,
            stream: self.stream,
            provider: self.provider.map(Box::from),
            model: self.model.map(Box::from),
            key: self.key.map(Box::from),
            error_type: self.error_type,
            translation: self.translation,
        }
    }
}

impl ExchangeSeries {
    pub(super) fn new(metrics: &Metrics, key: &ExchangeKey<'_>) -> Self {
        let mut status = itoa::Buffer::new();
        let status = status_label(key.status, &mut status);
        let (endpoint, method) = (key.endpoint.label(), key.method.label());
        let (provider, model) = (key.provider.unwrap_or(UNKNOWN), key.model.unwrap_or(UNKNOWN));
        let name = metrics.key_label(key.key);
        let stream = if key.stream { "true" } else { "false" };
        Self {
            labels: key.own(),
            requests: metrics
                .counter(Metric::RequestsTotal, &[endpoint, method, status, provider, model, &name, stream]),
            duration: metrics.histogram(Metric::RequestDuration, &[endpoint, method, status, provider, model]),
            overhead: metrics.histogram(Metric::Overhead, &[endpoint]),
            error: key.error_type.map(|kind| metrics.counter(Metric::ErrorsTotal, &[&name, provider, kind])),
            translation: key.translation.map(|(from, to)| metrics.counter(Metric::TranslationsTotal, &[from, to])),
            tokens: OnceLock::new(),
            usage_missing: OnceLock::new(),
            first_token: OnceLock::new(),
            per_token: OnceLock::new(),
            stream: OnceLock::new(),
        }
    }

    pub(super) fn is(&self, key: &ExchangeKey<'_>) -> bool {
        let labels = &self.labels;
        labels.endpoint == key.endpoint
            && labels.method == key.method
            && labels.status == key.status
            && labels.stream == key.stream
            && labels.provider.as_deref() == key.provider
            && labels.model.as_deref() == key.model
            && labels.key.as_deref() == key.key
            && labels.error_type == key.error_type
            && labels.translation == key.translation
    }

    pub(super) fn record(&self, metrics: &Metrics, settled: &Settled<'_>) {
        self.requests.inc();
        self.duration.observe(settled.latency);
        if let Some(overhead) = settled.overhead {
            self.overhead.observe(overhead);
        }
        for counter in [&self.error, &self.translation].into_iter().flatten() {
            counter.inc();
        }
        if let Some(first_token) = settled.ttft {
            self.first_token(metrics).observe(first_token);
        }
        if let Some(per_token) = per_token(settled) {
            self.per_token(metrics).observe(per_token);
        }
        if settled.heartbeats > 0 {
            metrics.counter(Metric::StreamHeartbeatsTotal, &[self.provider()]).inc_by(settled.heartbeats);
        }
        if let Some(duration) = settled.stream_duration {
            let stream = self.stream(metrics);
            stream.events.inc_by(settled.events);
            stream.bytes.inc_by(settled.bytes_out);
            stream.duration.observe(duration);
        }
        self.record_usage(metrics, settled);
    }

    fn record_usage(&self, metrics: &Metrics, settled: &Settled<'_>) {
        let usage = &settled.usage;
        let parts = [usage.input_uncached, usage.output_visible, usage.cache_read, usage.cache_write, usage.reasoning];
        if parts.iter().any(Option::is_some) {
            for (counter, part) in self.tokens(metrics).iter().zip(parts) {
                // A type that was never used has no series.
                if let Some(part @ 1..) = part {
                    counter.inc_by(part);
                }
            }
        } else if settled.endpoint.generates() && settled.status == 200 && settled.aborted.is_none() {
            self.usage_missing(metrics).inc();
        }
    }

    fn tokens(&self, metrics: &Metrics) -> &[CounterHandle; 5] {
        self.tokens.get_or_init(|| {
            let name = metrics.key_label(self.labels.key.as_deref());
            ["input", "output", "cache_read", "cache_write", "reasoning"]
                .map(|kind| metrics.counter(Metric::TokensTotal, &[kind, self.provider(), self.model(), &name]))
        })
    }

    fn usage_missing(&self, metrics: &Metrics) -> &CounterHandle {
        self.usage_missing.get_or_init(|| metrics.counter(Metric::UsageMissingTotal, &[self.provider(), self.model()]))
    }

    fn first_token(&self, metrics: &Metrics) -> &HistogramHandle {
        self.first_token.get_or_init(|| metrics.histogram(Metric::TimeToFirstToken, &[self.provider(), self.model()]))
    }

    fn per_token(&self, metrics: &Metrics) -> &HistogramHandle {
        self.per_token.get_or_init(|| metrics.histogram(Metric::TimePerOutputToken, &[self.provider(), self.model()]))
    }

    fn stream(&self, metrics: &Metrics) -> &StreamSeries {
        self.stream.get_or_init(|| StreamSeries {
            events: metrics.counter(Metric::StreamEventsTotal, &[self.provider()]),
            bytes: metrics.counter(Metric::StreamBytesTotal, &[self.provider()]),
            duration: metrics.histogram(Metric::StreamDuration, &[self.provider()]),
        })
    }

    fn provider(&self) -> &str {
        self.labels.provider.as_deref().unwrap_or(UNKNOWN)
    }

    fn model(&self) -> &str {
        self.labels.model.as_deref().unwrap_or(UNKNOWN)
    }
}

/// Series of attempts that share all labels.
pub(super) struct AttemptSeries {
    provider: Box<str>,
    upstream: Box<str>,
    model: Option<Box<str>>,
    status: Option<u16>,
    fault: Option<&'static str>,
    requests: CounterHandle,
    first_byte: HistogramHandle,
    duration: HistogramHandle,
    errors: Option<CounterHandle>,
}

impl AttemptSeries {
    pub(super) fn new(metrics: &Metrics, attempt: &Attempt, model: Option<&str>) -> Self {
        let mut status = itoa::Buffer::new();
        let status = attempt.status.map_or("error", |code| status_label(code, &mut status));
        let (upstream, provider) = (&*attempt.upstream, &*attempt.provider);
        let fault = attempt.fault();
        Self {
            provider: provider.into(),
            upstream: upstream.into(),
            model: model.map(Box::from),
            status: attempt.status,
            fault,
            requests: metrics.counter(Metric::UpstreamRequestsTotal, &[upstream, provider, status]),
            first_byte: metrics.histogram(Metric::UpstreamTtfb, &[upstream, provider]),
            duration: metrics.histogram(Metric::UpstreamDuration, &[upstream, provider, model.unwrap_or(UNKNOWN)]),
            errors: attempt
                .own_fault()
                .map(|kind| metrics.counter(Metric::UpstreamErrorsTotal, &[upstream, provider, kind])),
        }
    }

    pub(super) fn is(&self, attempt: &Attempt, model: Option<&str>) -> bool {
        *self.upstream == *attempt.upstream
            && *self.provider == *attempt.provider
            && self.model.as_deref() == model
            && self.status == attempt.status
            && self.fault == attempt.fault()
    }

    pub(super) fn record(&self, attempt: &Attempt) {
        self.requests.inc();
        self.duration.observe(attempt.duration);
        if let Some(first_byte) = attempt.ttfb {
            self.first_byte.observe(first_byte);
        }
        if let Some(errors) = &self.errors {
            errors.inc();
        }
    }
}

/// The counter of one kind of loss: from and to which format, of what, and what was done.
pub(super) struct LossSeries {
    key: [&'static str; 4],
    pub(super) counter: CounterHandle,
}

impl LossSeries {
    pub(super) fn new(metrics: &Metrics, key: [&'static str; 4]) -> Self {
        Self { key, counter: metrics.counter(Metric::TranslationDroppedFieldsTotal, &key) }
    }

    pub(super) fn is(&self, key: &[&'static str; 4]) -> bool {
        self.key == *key
    }
}

/// The time of each token after the first; `None` where there is none, or not all of them were seen to come.
fn per_token(settled: &Settled<'_>) -> Option<Duration> {
    let further = settled.usage.completion()?.checked_sub(1)?;
    settled.token_span?.checked_div(u32::try_from(further).ok()?)
}

/// A status as a label; what no server may send is `unknown`.
fn status_label(status: u16, buffer: &mut itoa::Buffer) -> &str {
    match status {
        100..=599 => buffer.format(status),
        _ => UNKNOWN,
    }
}
