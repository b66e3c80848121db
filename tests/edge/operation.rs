//! What the operator sees: metrics, the access log, the config view; and that no secret is in any of it.

use std::time::Duration;

use serde_json::Value;

use crate::support::client::Client;
use crate::support::edge::{Conf, Edge};
use crate::support::formats::{PAIRS, Wire};
use crate::support::gate::Gate;
use crate::support::provider::{Provider, refused};
use crate::support::script::{End, Piece, Reply};

const CLIENT_KEY: &str = "sk-client-canary-0001";
const PROMPT: &str = "prompt-canary-0002";
const ANSWER: &str = "Hello, ";

async fn house() -> (Provider, Provider, Edge) {
    let script = |wire: Wire| {
        move |request: &crate::support::provider::Request| {
            let body = request.json();
            match body["model"].as_str() {
                Some("fails") => Reply::json(500, wire.error_body("api_error", "upstream-said-canary")),
                Some("cut") => Reply::sse(wire.stream()).stop_at(wire.stream().len() / 2, End::Reset),
                _ => wire.reply(body["stream"].as_bool().unwrap_or(false)),
            }
        }
    };
    let chat = Provider::start(script(Wire::Chat)).await;
    let messages = Provider::start(script(Wire::Messages)).await;
    let conf = Conf::with_clients(&format!("- {{name: web, key: \"{CLIENT_KEY}\"}}"))
        .provider("oa", "openai", &chat)
        .provider("an", "anthropic", &messages)
        .model("chat-ok", "oa/ok")
        .model("chat-fails", "oa/fails")
        .model("chat-cut", "oa/cut")
        .model("messages-ok", "an/ok")
        .model("messages-fails", "an/fails")
        .model("messages-cut", "an/cut");
    let edge = Edge::start(&conf).await;
    (chat, messages, edge)
}

async fn traffic(edge: &Edge) {
    for (client, upstream) in PAIRS {
        let name = if upstream == Wire::Chat { "chat" } else { "messages" };
        for (model, stream) in [("ok", false), ("ok", true), ("fails", false), ("cut", true)] {
            let body = client.ask(&format!("{name}-{model}"), stream);
            let text = String::from_utf8(body.body.clone()).expect("UTF-8").replace("Say hello.", PROMPT);
            client.ask_bytes(text).header("authorization", &format!("Bearer {CLIENT_KEY}")).send(edge.addr).await;
        }
        client.ask("chat-ok", false).header("authorization", "Bearer sk-wrong-canary-0003").send(edge.addr).await;
        client.ask("model-canary-0004", false).header("x-api-key", CLIENT_KEY).send(edge.addr).await;
    }
}

#[tokio::test]
async fn metrics_count_what_happened() {
    let (_, _, edge) = house().await;
    traffic(&edge).await;
    let pairs = PAIRS.len() as f64;
    edge.metric_reaches("gateway_requests_total", &[], 6.0 * pairs).await;
    let ok = ["status=\"200\"", "provider=\"oa\"", "model=\"chat-ok\"", "key=\"web\""];
    edge.metric_becomes("gateway_requests_total", &ok, 4.0).await;
    // 20 in of which 8 cached, 5 out; two good requests a pair.
    for (kind, tokens) in [("input", 12.0), ("output", 5.0), ("cache_read", 8.0)] {
        let least = 2.0 * pairs * tokens;
        edge.metric_reaches("gateway_tokens_total", &[&format!("type=\"{kind}\"")], least).await;
    }
    for family in [
        "gateway_request_duration_seconds_count",
        "gateway_upstream_requests_total",
        "gateway_upstream_ttfb_seconds_count",
        "gateway_errors_total",
        "gateway_stream_events_total",
        "gateway_stream_bytes_total",
        "gateway_stream_aborts_total",
        "gateway_translations_total",
        "gateway_auth_requests_total",
        "gateway_time_to_first_token_seconds_count",
        "gateway_time_per_output_token_seconds_count",
        "gateway_build_info",
    ] {
        edge.metric_reaches(family, &[], 1.0).await;
    }
    edge.metric_becomes("gateway_requests_in_flight", &[], 0.0).await;
}

/// What the queries of dashboards made for other gateways name, and by which labels they choose or sum.
const ASKED_FOR: [(&str, &[&str]); 27] = [
    // Set `http`.
    ("http_requests_total", &["method", "path", "status"]),
    ("http_request_duration_seconds_bucket", &["le", "method", "path", "status"]),
    ("http_requests_in_flight", &["method", "path"]),
    ("upstream_request_duration_seconds_bucket", &["le", "provider", "upstream"]),
    ("upstream_requests_total", &["upstream", "provider", "status"]),
    ("upstream_errors_total", &["provider", "upstream", "error_type"]),
    ("streaming_events_total", &["provider"]),
    ("streaming_bytes_total", &["provider"]),
    ("streaming_duration_seconds_bucket", &["le", "provider"]),
    ("auth_requests_total", &["result=\"denied\""]),
    ("auth_requests_total", &["result=\"allowed\""]),
    ("rate_limit_exceeded_total", &["key_name=\"web\""]),
    // Set `gateway`, and names of ours that are theirs too.
    ("gateway_requests_total", &["model", "provider", "status"]),
    ("gateway_request_duration_seconds_bucket", &["le", "model", "provider"]),
    ("gateway_tokens_total", &["model"]),
    ("gateway_request_tokens_total", &["type=\"input\""]),
    ("gateway_provider_requests_total", &["provider"]),
    ("gateway_provider_errors_total", &["provider"]),
    ("gateway_provider_latency_seconds_bucket", &["le", "provider"]),
    ("gateway_circuit_breaker_state", &["provider"]),
    ("gateway_retry_attempts_total", &["upstream"]),
    ("gateway_rate_limit_exceeded_total", &["key=\"web\""]),
    // Set `gateway_ms`.
    ("gateway_request_duration_ms_bucket", &["le", "model", "provider"]),
    // Set `llm`.
    ("llm_requests_total", &["api_key=\"web\"", "provider", "model", "endpoint"]),
    ("llm_tokens_total", &["api_key=\"web\"", "provider", "model", "type=\"input\""]),
    ("llm_request_duration_seconds_bucket", &["le", "provider", "model"]),
    ("llm_errors_total", &["api_key=\"web\"", "provider", "error_type"]),
];

#[tokio::test]
async fn dashboards_made_for_other_gateways_find_their_names() {
    let gate = Gate::new();
    let held = Provider::always(Wire::Chat.reply(false).hold(&gate)).await;
    let provider = Provider::start(|request| match request.json()["model"].as_str() {
        Some("fails") => Reply::json(500, Wire::Chat.error_body("api_error", "no")),
        _ => Wire::Chat.reply(true),
    })
    .await;
    let conf =
        Conf::with_clients(&format!("- {{name: web, key: \"{CLIENT_KEY}\", max_concurrent: 1, queue: {{size: 0}}}}"))
            .provider("bad", "openai", &provider)
            .provider("oa", "openai", &provider)
            .provider("slow", "openai", &held)
            .model("ok", "{targets: [bad/fails, oa/ok]}")
            .model("fails", "oa/fails")
            .model("held", "slow/held");
    let edge = Edge::start(&conf).await;
    let ask = |model, stream| Wire::Chat.ask(model, stream).header("x-api-key", CLIENT_KEY);
    assert_eq!(ask("ok", true).send(edge.addr).await.status, 200);
    assert_eq!(ask("fails", false).send(edge.addr).await.status, 500);
    Wire::Chat.ask("ok", false).header("x-api-key", "sk-wrong").send(edge.addr).await;
    let mut first = ask("held", false).open(edge.addr).await;
    held.request(0).await;
    assert_eq!(ask("ok", true).send(edge.addr).await.status, 429);
    gate.open();
    assert_eq!(first.response().await.status, 200);
    edge.metric_reaches("gateway_requests_total", &[], 5.0).await;
    assert!(!edge.metrics().await.contains("\nllm_"), "nobody asked for these names yet");
    // A running edge takes them on.
    edge.rewrite(&conf.top("metrics: {aliases: [http, llm, gen_ai, gateway, gateway_ms]}"));
    assert_eq!(edge.admin("POST", "/reload").await.status, 200);
    let metrics = edge.metrics().await;
    for (name, labels) in ASKED_FOR {
        let shown = |line: &str| {
            let Some((family, rest)) = line.split_once('{') else { return false };
            let labelled =
                |label: &&str| rest.contains(&format!("{label}{}", if label.contains('=') { "" } else { "=" }));
            family == name && labels.iter().all(labelled)
        };
        assert!(metrics.lines().any(shown), "{name} {labels:?}\n{metrics}");
    }
}

#[tokio::test]
async fn holds_of_streams_and_panic_of_pools_are_seen() {
    const BEGUN: &str = "data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\"}}]}\n\n";
    let late = Gate::new();
    let mut slow = Reply::sse(BEGUN);
    slow.pieces.extend([Piece::Wait(late.clone()), Piece::Data(Wire::Chat.stream().as_bytes().to_vec())]);
    let slow = Provider::always(slow).await;
    let dying = Provider::always(Reply::sse(BEGUN).end(End::Reset)).await;
    let well = Provider::always(Wire::Chat.reply(true)).await;
    let [one, two] = [refused(), refused()];
    let conf = Conf::open()
        .provider_at("slow", "openai", &slow.url(), "streams: {hold: 100ms}")
        .provider("dying", "openai", &dying)
        .provider("well", "openai", &well)
        .provider_yaml(&format!(
            "out: {{kind: openai, key: k, endpoints: [{{url: \"http://{one}\"}}, {{url: \"http://{two}\"}}], \
             health: {{interval: 100ms, unhealthy_after: 1}}}}"
        ))
        .model("slow", "slow/m")
        .model("dying", "{targets: [dying/m, well/m]}");
    let edge = Edge::start(&conf).await;
    assert_eq!(Wire::Chat.ask("dying", true).send(edge.addr).await.status, 200);
    let mut client = Wire::Chat.ask("slow", true).open(edge.addr).await;
    assert_eq!(client.head().await.0.status, 200);
    late.open();
    for (result, count) in [("failed", 1.0), ("content", 1.0), ("time", 1.0), ("size", 0.0)] {
        edge.metric_becomes("gateway_stream_holds_total", &[&format!("\"{result}\"")], count).await;
    }
    edge.metric_reaches("gateway_upstream_panic", &["provider=\"out\""], 1.0).await;
    assert!(edge.metric("gateway_upstream_panic", &["provider=\"well\""]).await < 0.5);
}

#[tokio::test]
async fn labels_are_bounded() {
    let (_, _, edge) = house().await;
    for number in 0..300 {
        let model = format!("made-up-{number}");
        Wire::Chat.ask(&model, false).header("x-api-key", CLIENT_KEY).send(edge.addr).await;
        let wrong = Wire::Chat.ask("chat-ok", false).header("x-api-key", &format!("sk-wrong-{number}"));
        wrong.send(edge.addr).await;
    }
    edge.metric_reaches("gateway_requests_total", &[], 600.0).await;
    let metrics = edge.metrics().await;
    assert!(!metrics.contains("made-up-"), "a client's words are no label");
    let lines = metrics.lines().filter(|line| line.starts_with("gateway_requests_total{")).count();
    assert!(lines < 20, "{lines}\n{metrics}");
}

#[tokio::test]
async fn no_secret_and_no_prompt_is_ever_shown() {
    let (_, _, edge) = house().await;
    traffic(&edge).await;
    edge.log_line("the last request", |line| line.contains("messages-cut")).await;
    let config = edge.admin("GET", "/config").await;
    assert_eq!(config.status, 200);
    assert!(config.text().contains("chat-ok"), "the view shows the config: {}", config.text());
    let shown = &config.json()["models"]["chat-ok"]["targets"][0];
    assert!(shown["facts"].is_array(), "and what its models are taken for: {shown}");
    let upstreams = edge.admin("GET", "/upstreams").await.text();
    edge.rewrite_text("providers: {oa: {kind: openai, key: sk-upstream-oa, nonsense: 1}}\nclients: [{name: web, key: sk-client-canary-0001, bad: 1}]\n");
    let reload = edge.admin("POST", "/reload").await.text();
    let places = [
        ("config", config.text()),
        ("metrics", edge.metrics().await),
        ("upstreams", upstreams),
        ("a failed reload", reload),
        ("log", edge.log()),
    ];
    let secrets = ["sk-upstream-oa", "sk-upstream-an", CLIENT_KEY, "sk-wrong-canary-0003", PROMPT, ANSWER];
    for (place, text) in places {
        for secret in secrets {
            assert!(!text.contains(secret), "{secret:?} is in {place}:\n{text}");
        }
    }
}

/// The time that a client takes to send, and that a target takes which fails, is not the edge's own.
#[tokio::test]
async fn what_others_take_is_no_overhead() {
    const TAKEN: Duration = Duration::from_millis(300);
    let failing = Provider::start(|_| {
        std::thread::sleep(TAKEN);
        Reply::json(500, "{}")
    })
    .await;
    let well = Provider::always(Wire::Chat.reply(false)).await;
    let conf = Conf::open().provider("failing", "openai", &failing).provider("well", "openai", &well);
    let conf = conf.model("m", "{targets: [failing/x, well/x]}").model("well", "well/x");
    let edge = Edge::start(&conf).await;
    let body = |model: &str| serde_json::json!({"model": model, "messages": [{"role": "user", "content": "hi"}]});
    for (id, model, slow) in [("slow-client", "well", true), ("slow-target", "m", false)] {
        let body = body(model).to_string();
        let mut client = Client::connect(edge.addr).await;
        let head = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: edge\r\nx-request-id: {id}\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        client.raw(head.as_bytes()).await.expect("sent");
        if slow {
            edge.metric_becomes("gateway_requests_in_flight", &[], 1.0).await;
            tokio::time::sleep(TAKEN).await;
        }
        client.raw(body.as_bytes()).await.expect("sent");
        assert_eq!(client.response().await.status, 200, "{id}");
        let line = edge.log_line(id, |line| line.contains(id) && line.contains("latency_ms")).await;
        let line: Value = serde_json::from_str(&line).expect("JSON");
        let (latency, own) = (line["latency_ms"].as_f64().expect("told"), line["overhead_us"].as_f64().expect("told"));
        assert!(own / 1_000.0 <= latency - TAKEN.as_secs_f64() * 1_000.0, "{id}: {line}");
    }
}

#[tokio::test]
async fn each_request_is_one_line_of_json() {
    let (_, _, edge) = house().await;
    let ask = Wire::Chat.ask("messages-ok", true).header("x-api-key", CLIENT_KEY);
    let ask = ask
        .header("x-request-id", "line-1")
        .header("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    assert_eq!(ask.send(edge.addr).await.status, 200);
    let line = edge.log_line("the request", |line| line.contains("\"line-1\"")).await;
    let line: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
    for (key, value) in [
        ("request_id", Value::from("line-1")),
        ("trace_id", Value::from("4bf92f3577b34da6a3ce929d0e0e4736")),
        ("parent_span_id", Value::from("00f067aa0ba902b7")),
        ("method", Value::from("POST")),
        ("status", Value::from(200)),
        ("client_format", Value::from("openai_chat")),
        ("provider", Value::from("an")),
        ("model", Value::from("messages-ok")),
        ("upstream_model", Value::from("ok")),
        ("key", Value::from("web")),
        ("stream", Value::from(true)),
        ("attempts", Value::from(1)),
        ("prompt_tokens", Value::from(20)),
        ("completion_tokens", Value::from(5)),
    ] {
        assert_eq!(line[key], value, "{key}: {line}");
    }
    for key in [
        "timestamp",
        "level",
        "message",
        "target",
        "client_ip",
        "endpoint",
        "upstream",
        "latency_ms",
        "overhead_us",
        "ttft_ms",
        "tokens",
        "bytes_in",
        "bytes_out",
    ] {
        assert!(!line[key].is_null(), "{key}: {line}");
    }
    Wire::Chat
        .ask("chat-cut", true)
        .header("x-api-key", CLIENT_KEY)
        .header("x-request-id", "line-2")
        .send(edge.addr)
        .await;
    let line = edge.log_line("the cut", |line| line.contains("\"line-2\"") && line.contains("latency_ms")).await;
    let line: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
    assert_eq!(line["aborted_by"], "upstream", "{line}");
    let count = edge.log().lines().filter(|line| line.contains("\"line-1\"") && line.contains("latency_ms")).count();
    assert_eq!(count, 1, "one line a request");
}

#[tokio::test]
async fn a_web_page_cannot_read_the_admin_listener_through_its_visitor() {
    let provider = Provider::always(Wire::Chat.reply(false)).await;
    let edge = Edge::start(&Conf::open().provider("up", "openai", &provider).model("m", "up/gpt")).await;
    // The site's name was made to lead to this machine: to the browser the listener is a part of the site.
    for (host, status) in [
        ("rebound.example", "421"),
        ("rebound.example:9090", "421"),
        ("Rebound.Example.", "421"),
        ("localhost:9090", "200"),
        ("tidegate.localhost", "200"),
        ("127.0.0.1", "200"),
        ("[::1]:9090", "200"),
        ("tidegate:9090", "200"),
    ] {
        for (path, status) in [("/config", status), ("/upstreams", status), ("/metrics", "200"), ("/health", "200")] {
            let mut client = Client::connect(edge.admin).await;
            let request = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n\r\n");
            client.raw(request.as_bytes()).await.expect("sent");
            let line = client.first_line().await;
            assert!(line.contains(status), "{host} {path}: {line}");
        }
    }
}
