//! The one table of metrics: name, kind, labels, help.

/// What a metric is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts by upper bounds, in seconds.
    Histogram(&'static [f64]),
}

/// One row of the table.
#[derive(Debug, Clone, Copy)]
pub struct Spec {
    /// Its name in the exposition.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// Names of its labels, in the order in which values are given.
    pub labels: &'static [&'static str],
    /// One sentence for people.
    pub help: &'static str,
}

/// Upper bounds for whole requests: 5 ms to 82 s, doubling.
pub const DURATION: [f64; 15] =
    [0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92];
/// Upper bounds for the first token: 10 ms to 41 s, doubling.
pub const FIRST_TOKEN: [f64; 13] = [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96];
/// Upper bounds for each further token: 1 ms to 2.5 s, closest where models are.
pub const PER_TOKEN: [f64; 14] =
    [0.001, 0.002_5, 0.005, 0.007_5, 0.01, 0.015, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 1.0, 2.5];
/// Upper bounds for the edge's own work: 25 µs to 25 ms.
pub const OVERHEAD: [f64; 10] = [0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025];

/// Labels whose values come from the config, so that their number has no fixed bound: a full family folds them.
pub const OPEN_LABELS: [&str; 6] = ["provider", "model", "key", "upstream", "from", "to"];

macro_rules! metrics {
    ($($id:ident: $kind:expr, $name:literal, [$($label:tt)*], $help:literal;)*) => {
        /// Every metric of the edge.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Metric {
            $(#[doc = $help] $id,)*
        }

        impl Metric {
            /// Every metric, in the order of the table.
            pub const ALL: &'static [Self] = &[$(Self::$id,)*];

            /// Its row.
            pub const fn spec(self) -> Spec {
                match self {
                    $(Self::$id => Spec { name: $name, kind: $kind, labels: &[$(stringify!($label),)*], help: $help },)*
                }
            }
        }
    };
}

metrics! {
    RequestsTotal: Kind::Counter, "gateway_requests_total", [endpoint method status provider model key stream],
        "Requests that were answered or given up.";
    RequestDuration: Kind::Histogram(&DURATION), "gateway_request_duration_seconds", [endpoint method status provider model],
        "Time from the first byte of a request to the last byte of its answer.";
    RequestsInFlight: Kind::Gauge, "gateway_requests_in_flight", [endpoint method],
        "Requests that are being served now.";
    Overhead: Kind::Histogram(&OVERHEAD), "gateway_overhead_seconds", [endpoint],
        "Time that the edge itself took until the provider was asked.";
    ErrorsTotal: Kind::Counter, "gateway_errors_total", [key provider error_type],
        "Exchanges that failed, by reason.";
    TokensTotal: Kind::Counter, "gateway_tokens_total", [type provider model key],
        "Tokens as reported by the providers; the types are disjoint and add up.";
    UsageMissingTotal: Kind::Counter, "gateway_usage_missing_total", [provider model],
        "Successful answers of a model for which the provider reported no usage.";
    UpstreamRequestsTotal: Kind::Counter, "gateway_upstream_requests_total", [upstream provider status],
        "Attempts at an endpoint; status is error when no status came back.";
    UpstreamTtfb: Kind::Histogram(&DURATION), "gateway_upstream_ttfb_seconds", [upstream provider],
        "Time from the start of an attempt to the first byte of its answer.";
    UpstreamDuration: Kind::Histogram(&DURATION), "gateway_upstream_duration_seconds", [upstream provider model],
        "Time from the start of an attempt to its end.";
    UpstreamErrorsTotal: Kind::Counter, "gateway_upstream_errors_total", [upstream provider error_type],
        "Attempts that failed through no fault of the client, by reason.";
    UpstreamHealthy: Kind::Gauge, "gateway_upstream_healthy", [upstream provider],
        "1 when the endpoint takes requests, 0 when it is held down.";
    UpstreamCircuit: Kind::Gauge, "gateway_circuit_breaker_state", [upstream provider],
        "State of the endpoint's circuit: 0 closed, 1 half open, 2 open.";
    UpstreamEjectionsTotal: Kind::Counter, "gateway_upstream_ejections_total", [upstream provider reason],
        "Times that the endpoint, or a model at it, was left alone: it gave no answer, or failing ones for the model.";
    UpstreamModelsOut: Kind::Gauge, "gateway_upstream_models_out", [upstream provider],
        "Models that are left alone at the endpoint: they failed there, or are at their rate limit.";
    UpstreamPanic: Kind::Gauge, "gateway_upstream_panic", [provider],
        "1 while so many endpoints fail their health checks that the checks are not believed and all get requests.";
    RetryBudgetExhaustedTotal: Kind::Counter, "gateway_retry_budget_exhausted_total", [model],
        "Further attempts that the retry budget did not allow.";
    UpstreamInFlight: Kind::Gauge, "gateway_upstream_in_flight", [upstream provider],
        "Attempts that are running now at an endpoint.";
    ConcurrencyInUse: Kind::Gauge, "gateway_concurrency_in_use", [scope name],
        "What runs now where there is a limit: requests of a client or for a model, attempts at a provider.";
    ConcurrencyLimit: Kind::Gauge, "gateway_concurrency_limit", [scope name],
        "What may run at once.";
    QueueDepth: Kind::Gauge, "gateway_queue_depth", [scope name],
        "Requests that wait for a limit now.";
    QueueWait: Kind::Histogram(&DURATION), "gateway_queue_wait_seconds", [scope],
        "Time that requests waited for a limit, whether or not they got a place.";
    ShedTotal: Kind::Counter, "gateway_shed_total", [scope reason],
        "Requests that were refused because too much runs, by whose limit it is.";
    RateLimitExceededTotal: Kind::Counter, "gateway_rate_limit_exceeded_total", [key limit],
        "Requests that were refused because of a limit of the client's own.";
    MemoryLimit: Kind::Gauge, "gateway_memory_limit_bytes", [],
        "Resident memory above which new requests are refused.";
    RetryAttemptsTotal: Kind::Counter, "gateway_retry_attempts_total", [upstream reason],
        "Attempts after the first one, by the endpoint asked and by what was wrong with the attempt before.";
    HedgesTotal: Kind::Counter, "gateway_hedges_total", [model result],
        "Streams that were slow to begin, by what became of a second attempt: won, lost, failed, left, or the reason for which there was none.";
    FallbacksTotal: Kind::Counter, "gateway_fallbacks_total", [from to reason],
        "Exchanges that another target answered than the first one.";
    StreamEventsTotal: Kind::Counter, "gateway_stream_events_total", [provider],
        "Events sent to clients in streams.";
    StreamBytesTotal: Kind::Counter, "gateway_stream_bytes_total", [provider],
        "Bytes sent to clients in streams.";
    StreamHeartbeatsTotal: Kind::Counter, "gateway_stream_heartbeats_total", [provider],
        "Signs of life sent to clients in streams while the provider was silent.";
    StreamHoldsTotal: Kind::Counter, "gateway_stream_holds_total", [result],
        "Streams whose head was held back, by what ended that: content, failed (another target may then be tried), time or size.";
    StreamDuration: Kind::Histogram(&DURATION), "gateway_stream_duration_seconds", [provider],
        "Time from the first byte of a stream to its last.";
    TimeToFirstToken: Kind::Histogram(&FIRST_TOKEN), "gateway_time_to_first_token_seconds", [provider model],
        "Time from the first byte of a request to the first token sent to the client.";
    TimePerOutputToken: Kind::Histogram(&PER_TOKEN), "gateway_time_per_output_token_seconds", [provider model],
        "Time of a whole stream after its first token, by each further token of the output, reasoning included.";
    StreamAbortsTotal: Kind::Counter, "gateway_stream_aborts_total", [side reason],
        "Answers that were not sent to their end, by who ended them.";
    TranslationsTotal: Kind::Counter, "gateway_translations_total", [from to],
        "Exchanges whose provider speaks another format than the client.";
    TranslationErrorsTotal: Kind::Counter, "gateway_translation_errors_total", [from to],
        "Exchanges that could not be translated.";
    TranslationDroppedFieldsTotal: Kind::Counter, "gateway_translation_dropped_fields_total", [from to field action],
        "Fields that a translation could not carry as they were, by what was done with them.";
    AuthRequestsTotal: Kind::Counter, "gateway_auth_requests_total", [result reason],
        "Checks of client keys.";
    Connections: Kind::Gauge, "gateway_connections", [],
        "Connections of clients that are open now.";
    ConnectionsRefusedTotal: Kind::Counter, "gateway_connections_refused_total", [reason],
        "Connections that were closed before a request of them was served, by reason.";
    BufferedRequestBytes: Kind::Gauge, "gateway_buffered_request_bytes", [],
        "Bytes of request bodies held in memory now.";
    RecallMemoryBytes: Kind::Gauge, "gateway_recall_memory_bytes", [],
        "Bytes of answers that are kept for clients that do not bring them back.";
    RecalledTotal: Kind::Counter, "gateway_recalled_total", [what],
        "Parts of earlier answers that were put back into requests: thoughts, or an item that a client referred to.";
    ConfigReloadsTotal: Kind::Counter, "gateway_config_reloads_total", [result],
        "Reloads of the config: success, or rejected for its problems while the old one stays.";
    ConfigLastSuccess: Kind::Gauge, "gateway_config_last_success_timestamp_seconds", [],
        "When the running config was loaded.";
    CertificateExpiry: Kind::Gauge, "gateway_certificate_expiry_timestamp_seconds", [listener],
        "When the certificate that a listener shows expires.";
    BuildInfo: Kind::Gauge, "gateway_build_info", [version commit],
        "Always 1; the labels say what is running.";
    Draining: Kind::Gauge, "gateway_draining", [],
        "1 while the process finishes its last requests.";
    OverflowTotal: Kind::Counter, "gateway_metrics_overflow_total", [family],
        "Samples counted under the label value other because their family was full.";
    AccessLogDroppedTotal: Kind::Counter, "gateway_access_log_dropped_total", [],
        "Access-log lines lost because their target was slow, full or broken.";
    ProcessCpu: Kind::Counter, "process_cpu_seconds_total", [],
        "Processor time of the process, user and system.";
    ProcessResident: Kind::Gauge, "process_resident_memory_bytes", [],
        "Resident memory of the process.";
    ProcessVirtual: Kind::Gauge, "process_virtual_memory_bytes", [],
        "Virtual memory of the process.";
    ProcessThreads: Kind::Gauge, "process_threads", [],
        "Threads of the process.";
    ProcessOpenFds: Kind::Gauge, "process_open_fds", [],
        "Open file descriptors of the process.";
    ProcessMaxFds: Kind::Gauge, "process_max_fds", [],
        "The most file descriptors that the process may open.";
    ProcessStart: Kind::Gauge, "process_start_time_seconds", [],
        "When the process started.";
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_row_is_well_formed_and_unique() {
        let mut names = HashSet::new();
        for spec in Metric::ALL.iter().map(|metric| metric.spec()) {
            assert!(names.insert(spec.name), "{} stands twice", spec.name);
            assert!(spec.name.starts_with("gateway_") || spec.name.starts_with("process_"), "{}", spec.name);
            assert_eq!(spec.kind == Kind::Counter, spec.name.ends_with("_total"), "{}", spec.name);
            assert!(spec.help.ends_with('.') && !spec.help.contains('\n'), "{}", spec.name);
            if let Kind::Histogram(bounds) = spec.kind {
                assert!(spec.name.ends_with("_seconds"), "{}", spec.name);
                assert!(bounds.is_sorted(), "{}", spec.name);
                assert!(!spec.labels.contains(&"key"), "{}: a histogram never carries key", spec.name);
            }
        }
    }
}
