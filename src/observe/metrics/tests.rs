use std::collections::BTreeMap;
use std::sync::Arc;

use super::*;
use crate::observe::{Abort, Attempt, Fallback, Lost, Side, Translation, Usage};

/// Samples of an exposition by their name with labels.
fn samples(metrics: &Metrics) -> BTreeMap<String, f64> {
    let text = metrics.text().unwrap();
    let sample = |line: &str| {
        let (series, value) = line.rsplit_once(' ').unwrap();
        (series.to_owned(), value.parse().unwrap())
    };
    text.lines().filter(|line| !line.starts_with('#')).map(sample).collect()
}

fn metrics(options: MetricsOptions) -> Metrics {
    Metrics::new(options).unwrap()
}

fn attempts() -> [Attempt; 2] {
    let attempt = |upstream: &str, status, error| Attempt {
        provider: "claude".into(),
        upstream: upstream.into(),
        status,
        error,
        ttfb: Some(Duration::from_millis(30)),
        duration: Duration::from_millis(300),
    };
    [attempt("a:443", None, Some("upstream_unreachable")), attempt("b:443", Some(200), None)]
}

fn exchange(attempts: &[Attempt]) -> Settled<'_> {
    Settled {
        request_id: "r",
        method: Method::Post,
        endpoint: Endpoint::ChatCompletions,
        status: 200,
        provider: Some("claude"),
        upstream: Some("b:443"),
        model: Some("claude-*"),
        key: Some("web"),
        stream: true,
        latency: Duration::from_millis(300),
        overhead: Some(Duration::from_micros(40)),
        ttft: Some(Duration::from_millis(90)),
        stream_duration: Some(Duration::from_millis(250)),
        token_span: Some(Duration::from_millis(240)),
        events: 7,
        bytes_out: 1000,
        usage: Usage {
            input_uncached: Some(10),
            cache_read: Some(20),
            cache_write: Some(0),
            output_visible: Some(3),
            reasoning: Some(4),
        },
        attempts,
        fallback: Some(Fallback { from: "gpt/x", to: "claude/*", reason: "upstream_unreachable" }),
        translation: Some(Translation { from: "openai_chat", to: "anthropic_messages", failed: false }),
        losses: &[Lost { field: "seed", action: "dropped", count: 2 }],
        ..Settled::default()
    }
}

fn check(found: &BTreeMap<String, f64>, expected: &[(&str, f64)]) {
    for (series, value) in expected {
        assert_eq!(found.get(*series), Some(value), "{series}\n{found:#?}");
    }
}

#[test]
fn one_exchange_is_in_every_family_it_touches() {
    let metrics = metrics(MetricsOptions::default());
    let attempts = attempts();
    metrics.settle(&exchange(&attempts));
    metrics.settle(&exchange(&attempts));
    let chat = r#"endpoint="chat_completions""#;
    check(
        &samples(&metrics),
        &[
            (
                &format!(
                    r#"gateway_requests_total{{{chat},key="web",method="POST",model="claude-*",provider="claude",status="200",stream="true"}}"#
                ),
                2.0,
            ),
            (
                &format!(
                    r#"gateway_request_duration_seconds_sum{{{chat},method="POST",model="claude-*",provider="claude",status="200"}}"#
                ),
                0.6,
            ),
            (&format!(r#"gateway_overhead_seconds_bucket{{{chat},le="0.00005"}}"#), 2.0),
            (&format!(r#"gateway_overhead_seconds_bucket{{{chat},le="0.000025"}}"#), 0.0),
            (r#"gateway_tokens_total{key="web",model="claude-*",provider="claude",type="input"}"#, 20.0),
            (r#"gateway_tokens_total{key="web",model="claude-*",provider="claude",type="cache_read"}"#, 40.0),
            (r#"gateway_tokens_total{key="web",model="claude-*",provider="claude",type="output"}"#, 6.0),
            (r#"gateway_tokens_total{key="web",model="claude-*",provider="claude",type="reasoning"}"#, 8.0),
            (r#"gateway_upstream_requests_total{provider="claude",status="error",upstream="a:443"}"#, 2.0),
            (r#"gateway_upstream_requests_total{provider="claude",status="200",upstream="b:443"}"#, 2.0),
            (
                r#"gateway_upstream_errors_total{error_type="upstream_unreachable",provider="claude",upstream="a:443"}"#,
                2.0,
            ),
            (r#"gateway_upstream_ttfb_seconds_count{provider="claude",upstream="b:443"}"#, 2.0),
            (r#"gateway_upstream_duration_seconds_count{model="claude-*",provider="claude",upstream="b:443"}"#, 2.0),
            (r#"gateway_retry_attempts_total{reason="upstream_unreachable",upstream="b:443"}"#, 2.0),
            (r#"gateway_fallbacks_total{from="gpt/x",reason="upstream_unreachable",to="claude/*"}"#, 2.0),
            (r#"gateway_stream_events_total{provider="claude"}"#, 14.0),
            (r#"gateway_stream_bytes_total{provider="claude"}"#, 2000.0),
            (r#"gateway_stream_duration_seconds_count{provider="claude"}"#, 2.0),
            (r#"gateway_time_to_first_token_seconds_count{model="claude-*",provider="claude"}"#, 2.0),
            // 240 ms for the six tokens after the first.
            (r#"gateway_time_per_output_token_seconds_bucket{model="claude-*",provider="claude",le="0.05"}"#, 2.0),
            (r#"gateway_time_per_output_token_seconds_bucket{model="claude-*",provider="claude",le="0.025"}"#, 0.0),
            (r#"gateway_translations_total{from="openai_chat",to="anthropic_messages"}"#, 2.0),
            (
                r#"gateway_translation_dropped_fields_total{action="dropped",field="seed",from="openai_chat",to="anthropic_messages"}"#,
                4.0,
            ),
        ],
    );
}

#[test]
fn failures_cuts_and_missing_usage_are_counted() {
    let metrics = metrics(MetricsOptions::default());
    let refused = Settled { status: 401, error_type: Some("authentication"), ..Settled::default() };
    metrics.settle(&refused);
    let silent =
        Settled { usage: Usage::default(), translation: None, client_format: Some("openai_chat"), ..exchange(&[]) };
    metrics.settle(&silent);
    let cut = Abort { side: Side::Upstream, reason: "reset" };
    let failed = Some(Translation { from: "openai_chat", to: "anthropic_messages", failed: true });
    metrics.settle(&Settled { aborted: Some(cut), translation: failed, status: 999, ..exchange(&[]) });
    metrics.auth("allowed", "ok");
    metrics.auth("denied", "unknown");
    metrics.reload(true);
    metrics.reload(false);
    let found = samples(&metrics);
    check(
        &found,
        &[
            (r#"gateway_errors_total{error_type="authentication",key="unknown",provider="unknown"}"#, 1.0),
            (r#"gateway_usage_missing_total{model="claude-*",provider="claude"}"#, 1.0),
            (r#"gateway_stream_aborts_total{reason="reset",side="upstream"}"#, 1.0),
            (r#"gateway_translation_errors_total{from="openai_chat",to="anthropic_messages"}"#, 1.0),
            (
                r#"gateway_translation_dropped_fields_total{action="dropped",field="seed",from="openai_chat",to="openai_chat"}"#,
                2.0,
            ),
            (r#"gateway_auth_requests_total{reason="ok",result="allowed"}"#, 1.0),
            (r#"gateway_auth_requests_total{reason="unknown",result="denied"}"#, 1.0),
            (r#"gateway_config_reloads_total{result="success"}"#, 1.0),
            (r#"gateway_config_reloads_total{result="rejected"}"#, 1.0),
        ],
    );
    assert!(found.keys().any(|series| series.contains(r#"status="unknown""#)), "no status 999");
    assert!(found["gateway_config_last_success_timestamp_seconds"] > 1.6e9);
}

fn check_per_token(output: Option<u64>, span: Option<u64>, observed: bool) {
    let metrics = metrics(MetricsOptions::default());
    let usage = Usage { output_visible: output, ..Usage::default() };
    metrics.settle(&Settled { usage, token_span: span.map(Duration::from_millis), ..exchange(&[]) });
    let family = "gateway_time_per_output_token_seconds_count";
    assert_eq!(samples(&metrics).keys().any(|series| series.starts_with(family)), observed, "{output:?} {span:?}");
}

#[test]
fn there_is_a_time_per_token_only_between_tokens_that_were_seen() {
    check_per_token(Some(2), Some(10), true);
    check_per_token(Some(1), Some(10), false);
    check_per_token(Some(0), Some(10), false);
    check_per_token(None, Some(10), false);
    check_per_token(Some(9), None, false);
    check_per_token(Some(u64::MAX), Some(10), false);
}

#[test]
fn a_full_family_folds_into_other_and_says_so() {
    let metrics = metrics(MetricsOptions { max_series: 50, ..MetricsOptions::default() });
    let models: Vec<String> = (0..10_000).map(|number| format!("model-{number}")).collect();
    for model in &models {
        let attempts = attempts();
        metrics.settle(&Settled { model: Some(model), ..exchange(&attempts) });
    }
    let found = samples(&metrics);
    let of = |name: &str| found.keys().filter(|series| series.split('{').next() == Some(name)).count();
    assert_eq!(of("gateway_requests_total"), 51);
    assert_eq!(of("gateway_request_duration_seconds_count"), 51);
    assert_eq!(of("gateway_upstream_duration_seconds_count"), 51);
    check(
        &found,
        &[
            (
                r#"gateway_requests_total{endpoint="chat_completions",key="other",method="POST",model="other",provider="other",status="200",stream="true"}"#,
                9950.0,
            ),
            (r#"gateway_metrics_overflow_total{family="gateway_requests_total"}"#, 9950.0),
        ],
    );
    let total: f64 =
        found.iter().filter(|(series, _)| series.starts_with("gateway_requests_total")).map(|(_, value)| value).sum();
    assert!((total - 10_000.0).abs() < f64::EPSILON, "{total}: no request is lost");
}

fn check_key(key_label: KeyLabel, shown: &str) {
    let metrics = metrics(MetricsOptions { key_label, ..MetricsOptions::default() });
    metrics.settle(&exchange(&[]));
    let series = format!(r#"gateway_tokens_total{{key="{shown}",model="claude-*",provider="claude",type="input"}}"#);
    check(&samples(&metrics), &[(&series, 10.0)]);
}

#[test]
fn keys_are_shown_as_asked() {
    check_key(KeyLabel::Name, "web");
    check_key(KeyLabel::Hash, &short_hash("web"));
    check_key(KeyLabel::None, "unknown");
    assert_eq!(short_hash("web").len(), 8);
}

#[test]
fn hooks_and_guards_are_seen_at_scrape() {
    let observer = Arc::new(crate::observe::Observer::new(MetricsOptions::default(), None).unwrap());
    observer.metrics().on_scrape(Box::new(|scrape| {
        scrape.upstream("claude", "b:443", true, 3);
        scrape.buffered_request_bytes(77);
        scrape.draining(true);
    }));
    let guard = observer.started(Endpoint::Messages, Method::Post);
    let in_flight = r#"gateway_requests_in_flight{endpoint="messages",method="POST"}"#;
    let found = samples(observer.metrics());
    check(
        &found,
        &[
            (r#"gateway_upstream_healthy{provider="claude",upstream="b:443"}"#, 1.0),
            (r#"gateway_upstream_in_flight{provider="claude",upstream="b:443"}"#, 3.0),
            ("gateway_buffered_request_bytes", 77.0),
            ("gateway_draining", 1.0),
            (in_flight, 1.0),
        ],
    );
    assert!(found["process_resident_memory_bytes"] > 1e6);
    assert!(found["process_open_fds"] >= 3.0);
    assert!(found["process_cpu_seconds_total"] >= 0.0);
    drop(guard);
    check(&samples(observer.metrics()), &[(in_flight, 0.0)]);
}

fn full(aliases: &[Alias]) -> Metrics {
    let metrics = metrics(MetricsOptions { aliases: aliases.to_vec(), ..MetricsOptions::default() });
    let attempts = attempts();
    metrics.settle(&exchange(&attempts));
    metrics.settle(&Settled { key: Some("app"), error_type: Some("rate_limit"), ..exchange(&attempts) });
    metrics.settle(&Settled { endpoint: Endpoint::Models, status: 200, ..Settled::default() });
    metrics.auth("allowed", "ok");
    metrics.auth("denied", "missing");
    metrics.auth("denied", "unknown");
    drop(metrics.in_flight(Endpoint::Messages, Method::Post));
    metrics
}

#[test]
fn aliases_show_the_same_values_summed_over_the_labels_they_lack() {
    check(
        &samples(&full(&Alias::ALL)),
        &[
            (r#"http_requests_total{method="POST",path="/v1/chat/completions",status="200"}"#, 2.0),
            (r#"http_requests_total{method="GET",path="/v1/models",status="200"}"#, 1.0),
            (r#"http_request_duration_seconds_count{method="POST",path="/v1/chat/completions",status="200"}"#, 2.0),
            (r#"http_requests_in_flight{method="POST",path="/v1/messages"}"#, 0.0),
            (r#"auth_requests_total{result="denied"}"#, 2.0),
            (r#"upstream_errors_total{upstream="a:443",provider="claude",error_type="upstream_unreachable"}"#, 2.0),
            (r#"upstream_request_duration_seconds_count{upstream="b:443",provider="claude"}"#, 2.0),
            (r#"streaming_bytes_total{provider="claude"}"#, 2000.0),
            (r#"llm_tokens_total{api_key="app",provider="claude",model="claude-*",type="input"}"#, 10.0),
            (r#"llm_errors_total{api_key="app",provider="claude",error_type="rate_limit"}"#, 1.0),
            (
                r#"gen_ai_client_inference_usage_input_tokens_total{gen_ai_operation_name="chat",gen_ai_provider_name="claude",gen_ai_request_model="claude-*"}"#,
                60.0,
            ),
            (
                r#"gen_ai_server_request_duration_seconds_count{gen_ai_operation_name="chat",gen_ai_provider_name="claude",gen_ai_request_model="claude-*"}"#,
                2.0,
            ),
            (r#"gateway_provider_requests_total{provider="claude",status="200"}"#, 2.0),
            (r#"gateway_request_duration_ms_bucket{provider="claude",model="claude-*",status="200",le="320"}"#, 2.0),
            (r#"gateway_request_duration_ms_sum{provider="claude",model="claude-*",status="200"}"#, 600.0),
        ],
    );
}

#[test]
fn the_conventions_see_every_endpoint_at_which_a_model_generates() {
    for endpoint in Endpoint::ALL {
        let metrics = metrics(MetricsOptions { aliases: vec![Alias::GenAi], ..MetricsOptions::default() });
        metrics.settle(&Settled { endpoint, status: 200, ..Settled::default() });
        let found = samples(&metrics);
        let seen = found.keys().find(|series| series.starts_with("gen_ai_server_request_duration_seconds_count"));
        let operation = match endpoint {
            Endpoint::GenerateContent => Some("generate_content"),
            Endpoint::Completions => Some("text_completion"),
            Endpoint::Embeddings | Endpoint::EmbedContent | Endpoint::BatchEmbedContents => Some("embeddings"),
            endpoint if endpoint.generates() => Some("chat"),
            _ => None,
        };
        let expected = operation.map(|name| format!("gen_ai_operation_name=\"{name}\""));
        match (seen, expected) {
            (Some(seen), Some(expected)) => assert!(seen.contains(&expected), "{seen}: {expected}"),
            (seen, expected) => assert_eq!(seen, expected.as_ref(), "{endpoint:?}"),
        }
    }
}

#[test]
fn aliases_are_off_unless_asked_for_and_can_be_changed() {
    let metrics = full(&[]);
    assert!(!samples(&metrics).keys().any(|series| series.starts_with("llm_")));
    metrics.set_aliases(vec![Alias::Llm]);
    assert!(samples(&metrics).keys().any(|series| series.starts_with("llm_")));
}

#[test]
fn no_name_stands_twice() {
    let text = full(&Alias::ALL).text().unwrap();
    let mut names: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
    names.sort_unstable();
    let all = names.len();
    names.dedup_by_key(|line| line.split(' ').next());
    assert_eq!(names.len(), all);
}

#[test]
fn promtool_finds_nothing_to_mend() {
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    let promtool =
        Command::new("promtool").args(["check", "metrics"]).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let Ok(mut promtool) = promtool else {
        eprintln!("SKIPPED: no promtool here; `apt-get install prometheus` brings it");
        return;
    };
    let text = full(&[Alias::Http, Alias::Llm, Alias::GenAi, Alias::Gateway]).text().unwrap();
    promtool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// A fleet whose addresses change for ever fills no family, and the series of those in use are not touched.
#[test]
fn series_of_endpoints_that_left_the_config_go_after_a_while() {
    let metrics = metrics(MetricsOptions { max_series: 6, ..MetricsOptions::default() });
    let in_use = Arc::new(Mutex::new(String::new()));
    let asked = Arc::clone(&in_use);
    metrics.on_scrape(Box::new(move |scrape| {
        scrape.upstream("claude", &asked.lock().unwrap(), true, 0);
        scrape.lasting("p", "always:443", 2);
    }));
    let (began, mut last) = (clock::now(), String::new());
    for turn in 0..40_u32 {
        let mut attempts = attempts();
        let name = format!("u{turn}:443");
        attempts[0].upstream = name.as_str().into();
        attempts[1].upstream = "always:443".into();
        *in_use.lock().unwrap() = name;
        metrics.settle(&exchange(&attempts));
        last = metrics.text_at(began + turn * gone::SHOWN_FOR / 2).unwrap();
        let shown = |turn: u32| {
            last.contains(&format!("gateway_upstream_duration_seconds_count{{model=\"claude-*\",provider=\"claude\",upstream=\"u{turn}:443\"}}"))
        };
        assert!(shown(turn) && (turn < 1 || shown(turn - 1)), "{turn}:\n{last}");
        assert!(turn < 4 || !shown(turn - 4), "{turn}:\n{last}");
    }
    assert!(!last.contains("upstream=\"other\"") && !last.contains("gateway_metrics_overflow_total{"), "{last}");
    let always = "gateway_upstream_requests_total{provider=\"claude\",status=\"200\",upstream=\"always:443\"} 40";
    assert!(last.contains(always), "{last}");
    assert!(last.contains("gateway_upstream_in_flight{provider=\"p\",upstream=\"always:443\"} 2"), "{last}");
}
