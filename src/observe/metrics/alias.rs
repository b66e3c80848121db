//! Other names for the same values, for dashboards that know those; built at scrape time.

use std::collections::BTreeMap;
use std::fmt;

use prometheus::proto::{Bucket, Counter, Gauge, Histogram, LabelPair, Metric as Sample, MetricFamily, MetricType};

use super::table::Metric;
use crate::observe::settled::Endpoint;

/// A set of other names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Alias {
    /// `http_*`, `upstream_*`, `streaming_*`, `auth_*`: names of plain HTTP gateways; endpoints by path.
    Http,
    /// `llm_*`, with the client key as `api_key`.
    Llm,
    /// Names of the OpenTelemetry conventions for generative AI, as Prometheus spells them.
    GenAi,
    /// Further names with the prefix `gateway_`.
    Gateway,
    /// `gateway_request_duration_ms`; milliseconds break the naming rules that `promtool check metrics` holds.
    GatewayMs,
}

impl Alias {
    /// Every set.
    pub const ALL: [Self; 5] = [Self::Http, Self::Llm, Self::GenAi, Self::Gateway, Self::GatewayMs];

    /// Its name in the config.
    pub fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Llm => "llm",
            Self::GenAi => "gen_ai",
            Self::Gateway => "gateway",
            Self::GatewayMs => "gateway_ms",
        }
    }

    fn rows(self) -> &'static [Row] {
        match self {
            Self::Http => HTTP,
            Self::Llm => LLM,
            Self::GenAi => GEN_AI,
            Self::Gateway => GATEWAY,
            Self::GatewayMs => GATEWAY_MS,
        }
    }

    /// Each name of this set: itself, the name of ours that it stands for, and its labels.
    pub(super) fn describe(self) -> impl Iterator<Item = (&'static str, &'static str, Vec<&'static str>)> {
        self.rows().iter().map(|row| {
            let constant = row.constant.map(|(label, _)| label);
            (
                row.name,
                row.source.spec().name,
                constant.into_iter().chain(row.labels.iter().map(|(_, to)| *to)).collect(),
            )
        })
    }

    /// This set's families, from those under our own names.
    pub(super) fn families(self, canonical: &[MetricFamily]) -> Vec<MetricFamily> {
        self.rows().iter().filter_map(|row| row.family(canonical)).collect()
    }
}

impl fmt::Display for Alias {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One other name.
struct Row {
    name: &'static str,
    source: Metric,
    /// Label of the source, its name here. Labels that are not listed are summed over.
    labels: &'static [(&'static str, &'static str)],
    /// Only series of the source with one of these values of this label.
    only: Option<(&'static str, &'static [&'static str])>,
    /// A label that every series has.
    constant: Option<(&'static str, &'static str)>,
    /// Factor of the unit.
    scale: f64,
}

impl Row {
    const fn new(name: &'static str, source: Metric, labels: &'static [(&'static str, &'static str)]) -> Self {
        Self { name, source, labels, only: None, constant: None, scale: 1.0 }
    }

    const fn only(mut self, label: &'static str, values: &'static [&'static str]) -> Self {
        self.only = Some((label, values));
        self
    }

    const fn with(mut self, label: &'static str, value: &'static str) -> Self {
        self.constant = Some((label, value));
        self
    }

    const fn scaled(mut self, scale: f64) -> Self {
        self.scale = scale;
        self
    }

    fn family(&self, canonical: &[MetricFamily]) -> Option<MetricFamily> {
        let name = self.source.spec().name;
        let source = canonical.iter().find(|family| family.name() == name)?;
        let kind = source.get_field_type();
        let mut sums: BTreeMap<Vec<(&str, &str)>, Sample> = BTreeMap::new();
        for sample in source.get_metric().iter().filter(|sample| self.wants(sample)) {
            add(sums.entry(self.relabel(sample)).or_default(), sample, kind, self.scale);
        }
        if sums.is_empty() {
            return None;
        }
        let mut family = MetricFamily::default();
        family.set_name(self.name.to_owned());
        family.set_help(format!("The values of {name} under another name."));
        family.set_field_type(kind);
        family.set_metric(sums.into_iter().map(labelled).collect());
        Some(family)
    }

    fn wants(&self, sample: &Sample) -> bool {
        let named = |(from, to): &(&str, &str)| *to != OPERATION || operation_of(value_of(sample, from)).is_some();
        self.only.is_none_or(|(label, values)| values.contains(&value_of(sample, label)))
            && self.labels.iter().all(named)
    }

    fn relabel<'s>(&self, sample: &'s Sample) -> Vec<(&'static str, &'s str)> {
        let mapped = self.labels.iter().map(|(from, to)| {
            let value = value_of(sample, from);
            let value = match *to {
                "path" => path_of(value),
                OPERATION => operation_of(value).unwrap_or_default(),
                _ => value,
            };
            (*to, value)
        });
        self.constant.into_iter().chain(mapped).collect()
    }
}

const HTTP: &[Row] = &[
    Row::new("http_requests_total", Metric::RequestsTotal, &[METHOD, PATH, STATUS]),
    Row::new("http_request_duration_seconds", Metric::RequestDuration, &[METHOD, PATH, STATUS]),
    Row::new("http_requests_in_flight", Metric::RequestsInFlight, &[METHOD, PATH]),
    Row::new("upstream_requests_total", Metric::UpstreamRequestsTotal, &[UPSTREAM, PROVIDER, STATUS]),
    Row::new("upstream_request_duration_seconds", Metric::UpstreamTtfb, &[UPSTREAM, PROVIDER]),
    Row::new("upstream_errors_total", Metric::UpstreamErrorsTotal, &[UPSTREAM, PROVIDER, ERROR_TYPE]),
    Row::new("streaming_events_total", Metric::StreamEventsTotal, &[PROVIDER]),
    Row::new("streaming_bytes_total", Metric::StreamBytesTotal, &[PROVIDER]),
    Row::new("streaming_duration_seconds", Metric::StreamDuration, &[PROVIDER]),
    Row::new("auth_requests_total", Metric::AuthRequestsTotal, &[("result", "result")]),
    Row::new("rate_limit_exceeded_total", Metric::RateLimitExceededTotal, &[("key", "key_name")]),
];

const LLM: &[Row] = &[
    Row::new("llm_requests_total", Metric::RequestsTotal, &[API_KEY, PROVIDER, MODEL, ENDPOINT, STATUS]),
    Row::new("llm_request_duration_seconds", Metric::RequestDuration, &[PROVIDER, MODEL, ENDPOINT]),
    Row::new("llm_errors_total", Metric::ErrorsTotal, &[API_KEY, PROVIDER, ERROR_TYPE]),
    Row::new("llm_tokens_total", Metric::TokensTotal, &[API_KEY, PROVIDER, MODEL, TYPE]),
];

const GATEWAY: &[Row] = &[
    Row::new("gateway_request_tokens_total", Metric::TokensTotal, &[PROVIDER, MODEL, TYPE]),
    Row::new("gateway_provider_requests_total", Metric::UpstreamRequestsTotal, &[PROVIDER, STATUS]),
    Row::new("gateway_provider_errors_total", Metric::UpstreamErrorsTotal, &[PROVIDER, ERROR_TYPE]),
    Row::new("gateway_provider_latency_seconds", Metric::UpstreamDuration, &[PROVIDER, MODEL]),
];

const GATEWAY_MS: &[Row] =
    &[Row::new("gateway_request_duration_ms", Metric::RequestDuration, &[PROVIDER, MODEL, STATUS]).scaled(1000.0)];

/// The conventions count cached tokens as input and reasoning as output.
const GEN_AI: &[Row] = &[
    Row::new(
        "gen_ai_server_request_duration_seconds",
        Metric::RequestDuration,
        &[("endpoint", OPERATION), GEN_AI_PROVIDER, GEN_AI_MODEL],
    ),
    Row::new("gen_ai_server_time_to_first_token_seconds", Metric::TimeToFirstToken, GEN_AI_LABELS)
        .with(OPERATION, "chat"),
    Row::new("gen_ai_server_time_per_output_token_seconds", Metric::TimePerOutputToken, GEN_AI_LABELS)
        .with(OPERATION, "chat"),
    tokens("gen_ai_client_inference_usage_input_tokens_total", &["input", "cache_read", "cache_write"]),
    tokens("gen_ai_client_inference_usage_output_tokens_total", &["output", "reasoning"]),
    tokens("gen_ai_client_inference_usage_cache_read_input_tokens_total", &["cache_read"]),
    tokens("gen_ai_client_inference_usage_cache_write_input_tokens_total", &["cache_write"]),
    tokens("gen_ai_client_inference_usage_reasoning_output_tokens_total", &["reasoning"]),
];

const fn tokens(name: &'static str, types: &'static [&'static str]) -> Row {
    Row::new(name, Metric::TokensTotal, GEN_AI_LABELS).only("type", types).with(OPERATION, "chat")
}

const METHOD: (&str, &str) = ("method", "method");
const PATH: (&str, &str) = ("endpoint", "path");
const ENDPOINT: (&str, &str) = ("endpoint", "endpoint");
const STATUS: (&str, &str) = ("status", "status");
const PROVIDER: (&str, &str) = ("provider", "provider");
const UPSTREAM: (&str, &str) = ("upstream", "upstream");
const MODEL: (&str, &str) = ("model", "model");
const API_KEY: (&str, &str) = ("key", "api_key");
const TYPE: (&str, &str) = ("type", "type");
const ERROR_TYPE: (&str, &str) = ("error_type", "error_type");
const OPERATION: &str = "gen_ai_operation_name";
const GEN_AI_PROVIDER: (&str, &str) = ("provider", "gen_ai_provider_name");
const GEN_AI_MODEL: (&str, &str) = ("model", "gen_ai_request_model");
const GEN_AI_LABELS: &[(&str, &str)] = &[GEN_AI_PROVIDER, GEN_AI_MODEL];

/// What the conventions call that which is done at an endpoint where a model is at work.
const OPERATIONS: [(&str, &str); 9] = [
    ("chat_completions", "chat"),
    ("messages", "chat"),
    ("responses", "chat"),
    ("responses_compact", "chat"),
    ("generate_content", "generate_content"),
    ("completions", "text_completion"),
    ("embeddings", "embeddings"),
    ("embed_content", "embeddings"),
    ("batch_embed_contents", "embeddings"),
];

fn value_of<'s>(sample: &'s Sample, label: &str) -> &'s str {
    sample.get_label().iter().find(|pair| pair.name() == label).map_or("", LabelPair::value)
}

fn path_of(endpoint: &str) -> &'static str {
    Endpoint::ALL.into_iter().find(|known| known.label() == endpoint).unwrap_or_default().path()
}

/// `None` where no model is at work; such requests have no series of the conventions.
fn operation_of(endpoint: &str) -> Option<&'static str> {
    OPERATIONS.iter().find(|(known, _)| *known == endpoint).map(|(_, operation)| *operation)
}

fn add(sum: &mut Sample, sample: &Sample, kind: MetricType, scale: f64) {
    match kind {
        MetricType::COUNTER => {
            let mut counter = Counter::default();
            counter.set_value(sum.get_counter().get_value() + sample.get_counter().get_value() * scale);
            sum.set_counter(counter);
        }
        MetricType::GAUGE => {
            let mut gauge = Gauge::default();
            gauge.set_value(sum.get_gauge().get_value() + sample.get_gauge().get_value() * scale);
            sum.set_gauge(gauge);
        }
        MetricType::HISTOGRAM => sum.set_histogram(added(sum.get_histogram(), sample.get_histogram(), scale)),
        // Our table knows neither.
        MetricType::SUMMARY | MetricType::UNTYPED => {}
    }
}

/// Two histograms with the same bounds as one; an empty first one takes the second's.
fn added(sum: &Histogram, more: &Histogram, scale: f64) -> Histogram {
    let mut total = Histogram::default();
    total.set_sample_count(sum.get_sample_count() + more.get_sample_count());
    total.set_sample_sum(sum.get_sample_sum() + more.get_sample_sum() * scale);
    let so_far = sum.get_bucket().iter().map(Bucket::cumulative_count).chain(std::iter::repeat(0));
    let bucket = |(bucket, before): (&Bucket, u64)| {
        let mut total = Bucket::default();
        total.set_upper_bound(bucket.upper_bound() * scale);
        total.set_cumulative_count(before + bucket.cumulative_count());
        total
    };
    total.set_bucket(more.get_bucket().iter().zip(so_far).map(bucket).collect());
    total
}

fn labelled((labels, mut sample): (Vec<(&str, &str)>, Sample)) -> Sample {
    let pair = |(name, value): (&str, &str)| {
        let mut pair = LabelPair::default();
        pair.set_name(name.to_owned());
        pair.set_value(value.to_owned());
        pair
    };
    sample.set_label(labels.into_iter().map(pair).collect());
    sample
}
