//! Too much at once: what waits, in which order, what is refused and how, and that nothing is ever lost of what a limit counts.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::client::{Ask, Client, Response, Sent};
use crate::support::client_h2::H2Client;
use crate::support::edge::{Conf, Edge};
use crate::support::formats::Wire;
use crate::support::gate::Gate;
use crate::support::http1::Piece;
use crate::support::provider::Provider;
use crate::support::script::{End, Reply};
use crate::support::{PATIENCE, within};

const IN_USE: &str = "gateway_concurrency_in_use";
const WAITING: &str = "gateway_queue_depth";

/// A provider whose answers wait: the one to request `n` for gate `n`, those without a gate for nothing.
async fn held(gates: &[Gate]) -> Provider {
    let gates = gates.to_vec();
    Provider::start(move |request| {
        let reply = Wire::Chat.reply(request.json()["stream"] == true);
        match gates.get(request.number) {
            Some(gate) => reply.hold(gate),
            None => reply,
        }
    })
    .await
}

fn gates(count: usize) -> Vec<Gate> {
    (0..count).map(|_| Gate::new()).collect()
}

/// One provider with these keys, behind the model `m`.
fn limited(provider: &Provider, more: &str) -> Conf {
    Conf::open().provider_at("up", "openai", &provider.url(), more).model("m", "up/gpt")
}

type Waiting = Client<tokio::net::TcpStream>;

/// Sends a request that is to wait, and waits until it does: then `count` do.
async fn queue(edge: &Edge, ask: Ask, count: usize) -> Waiting {
    let client = ask.open(edge.addr).await;
    edge.metric_becomes(WAITING, &[], count as f64).await;
    client
}

fn of(client: &str) -> Ask {
    let body = json!({"model": "m", "user": client, "messages": [{"role": "user", "content": "Say hello."}]});
    Wire::Chat.ask_with(body).header("authorization", &format!("Bearer key-of-{client}"))
}

/// The same request in all four formats.
fn four() -> [Ask; 4] {
    let gemini = json!({"contents": [{"role": "user", "parts": [{"text": "Say hello."}]}]});
    [
        Wire::Chat.ask("m", false),
        Wire::Messages.ask("m", true),
        Ask::post("/v1/responses", json!({"model": "m", "input": "Say hello."}).to_string()),
        Ask::post("/v1beta/models/m:generateContent", gemini.to_string()),
    ]
}

/// Each format says in its own way that it is `status`.
fn check_refusals(refusals: &[Response], status: u16, code: &str) {
    let (chat, messages) =
        if status == 429 { ("rate_limit_exceeded", "rate_limit_error") } else { ("server_error", "overloaded_error") };
    for (at, refusal) in refusals.iter().enumerate() {
        let said = refusal.text();
        assert_eq!(refusal.status, status, "{at}: {said}");
        assert!(refusal.header("retry-after").is_some_and(|after| after.parse::<u32>().is_ok()), "{at}: {refusal:?}");
        let body = refusal.json();
        match at {
            0 | 2 => assert_eq!(body["error"]["code"], code, "{said} {chat}"),
            1 => assert_eq!((&body["type"], &body["error"]["type"]), (&json!("error"), &json!(messages)), "{said}"),
            _ => assert_eq!(body["error"]["code"], status, "{said}"),
        }
    }
}

async fn refused(edge: &Edge, key: Option<&str>) -> Vec<Response> {
    let mut refusals = Vec::new();
    for ask in four() {
        let ask = match key {
            Some(key) => ask.header("x-api-key", key),
            None => ask,
        };
        refusals.push(ask.send(edge.addr).await);
    }
    refusals
}

/// The first limit of that scope at `/upstreams`.
async fn limit_of(edge: &Edge, scope: &str) -> serde_json::Value {
    let view = edge.admin("GET", "/upstreams").await.json();
    let limits = view["limits"].as_array().expect("a list").clone();
    limits.into_iter().find(|limit| limit["scope"] == scope).expect("it is shown")
}

#[tokio::test]
async fn a_full_provider_refuses_in_each_format_and_health_is_answered() {
    let gates = gates(1);
    let provider = held(&gates).await;
    let edge = Edge::start(&limited(&provider, "max_concurrent: 1, queue: {size: 0}")).await;
    let mut running = Wire::Chat.ask("m", true).open(edge.addr).await;
    provider.request(0).await;
    check_refusals(&refused(&edge, None).await, 503, "provider_limit");
    for path in ["/health", "/v1/models"] {
        assert_eq!(Ask::get(path).send(edge.addr).await.status, 200, "{path}");
    }
    assert_eq!(edge.admin("GET", "/health/ready").await.status, 200);
    edge.metric_reaches("gateway_shed_total", &["scope=\"provider\"", "reason=\"full\""], 4.0).await;
    let limit = limit_of(&edge, "provider").await;
    assert_eq!((&limit["name"], &limit["limit"], &limit["in_use"]), (&json!("up"), &json!(1), &json!(1)));
    assert_eq!(limit["refused"], 4, "{limit}");
    let line = edge.log_line("the refusal", |line| line.contains("provider_limit")).await;
    assert!(line.contains("\"shed\":\"full\"") && line.contains("\"status\":503"), "{line}");
    gates[0].open();
    assert_eq!(running.response().await.status, 200);
    edge.metric_becomes(IN_USE, &["up"], 0.0).await;
    assert_eq!(provider.requests().len(), 1, "what is refused is never sent");
}

#[tokio::test]
async fn a_model_that_is_left_alone_is_waited_for_where_nothing_else_is_there() {
    let gate = Gate::new();
    let held = gate.clone();
    let provider = Provider::start(move |request| match request.number {
        0 => Reply::json(429, r#"{"error":{"message":"slow down"}}"#),
        _ => Wire::Chat.reply(false).hold(&held),
    })
    .await;
    let conf =
        Conf::open().provider_at("up", "openai", &provider.url(), "max_concurrent: 1, queue: {size: 9, wait: 60s}");
    let edge = Edge::start(&conf.model("m", "{targets: [up/gpt], retries: {rounds: 0}}")).await;
    assert_eq!(Wire::Chat.ask("m", false).send(edge.addr).await.status, 429);
    // It is the only one, and asked all the same.
    let mut running = Wire::Chat.ask("m", false).open(edge.addr).await;
    provider.request(1).await;
    let mut waits = queue(&edge, Wire::Chat.ask("m", false), 1).await;
    gate.open();
    for client in [&mut running, &mut waits] {
        let response = client.response().await;
        assert_eq!(response.status, 200, "{}", response.text());
    }
}

/// Two endpoints that take one request each; the second holds its answers for the gate.
fn two_endpoints(first: &Provider, second: &Provider, more: &str) -> Conf {
    let endpoint = |provider: &Provider| format!("{{url: \"{}\", max_concurrent: 1}}", provider.url());
    let endpoints = format!("{}, {}", endpoint(first), endpoint(second));
    let provider =
        format!("up: {{kind: openai, key: k, endpoints: [{endpoints}], queue: {{size: 9, wait: 60s}}, {more}}}");
    Conf::open().provider_yaml(&provider).model("m", "{targets: [up/gpt], retries: {rounds: 0}}")
}

/// Where the only endpoint with room leaves the request's model alone, there is a line all the same.
#[tokio::test]
async fn who_finds_room_only_where_its_model_is_left_alone_waits() {
    let gate = Gate::new();
    let held = gate.clone();
    let failing = Provider::always(Reply::json(500, r#"{"error":{"message":"broken"}}"#)).await;
    let second = Provider::start(move |request| match request.number {
        0 => Wire::Chat.reply(false),
        _ => Wire::Chat.reply(false).hold(&held),
    })
    .await;
    let edge = Edge::start(&two_endpoints(&failing, &second, "breaker: {failures: 1, open: 20s}")).await;
    while failing.requests().is_empty() {
        assert_eq!(Wire::Chat.ask("m", false).send(edge.addr).await.status, 200);
        assert!(second.requests().len() < 2, "each has its turn");
    }
    let mut running = Wire::Chat.ask("m", false).open(edge.addr).await;
    second.request(1).await;
    let mut waits = queue(&edge, Wire::Chat.ask("m", false), 1).await;
    gate.open();
    for client in [&mut running, &mut waits] {
        let response = within(PATIENCE, "its turn", client.response()).await;
        assert_eq!(response.status, 200, "{}", response.text());
    }
    assert_eq!(failing.requests().len(), 1);
}

#[tokio::test]
async fn who_waits_goes_on_where_an_endpoint_comes_back() {
    let gate = Gate::new();
    let (held, well) = (gate.clone(), Arc::new(AtomicBool::new(false)));
    let is_well = Arc::clone(&well);
    let back = Provider::start(move |request| match request.target.as_str() {
        "/health" if !is_well.load(Ordering::SeqCst) => Reply::json(503, "{}"),
        _ => Wire::Chat.reply(false),
    })
    .await;
    let second = Provider::start(move |request| match request.target.as_str() {
        "/health" => Reply::json(200, "{}"),
        _ => Wire::Chat.reply(false).hold(&held),
    })
    .await;
    let checks = "health: {path: /health, interval: 100ms, unhealthy_after: 1, healthy_after: 1}";
    let edge = Edge::start(&two_endpoints(&back, &second, checks)).await;
    edge.metric_becomes("gateway_upstream_healthy", &[], 1.0).await;
    let mut running = Wire::Chat.ask("m", false).open(edge.addr).await;
    edge.metric_becomes("gateway_upstream_in_flight", &[], 1.0).await;
    let mut waits = queue(&edge, Wire::Chat.ask("m", false), 1).await;
    well.store(true, Ordering::SeqCst);
    let response = within(PATIENCE, "the other endpoint", waits.response()).await;
    assert_eq!(response.status, 200, "{}", response.text());
    gate.open();
    assert_eq!(within(PATIENCE, "its answer", running.response()).await.status, 200);
}

#[tokio::test]
async fn a_clients_and_a_models_limit_refuse_with_429() {
    let gates = gates(2);
    let provider = held(&gates).await;
    let clients =
        "- {name: web, key: key-of-web, max_concurrent: 1, queue: {size: 0}}\n- {name: other, key: key-of-other}";
    let conf = Conf::with_clients(clients)
        .provider("up", "openai", &provider)
        .model("m", "{targets: [up/gpt], max_concurrent: 2, queue: {size: 1, wait: 100ms}}");
    let edge = Edge::start(&conf).await;
    let mut first = of("web").open(edge.addr).await;
    provider.request(0).await;
    check_refusals(&refused(&edge, Some("key-of-web")).await, 429, "client_limit");
    let mut second = of("other").open(edge.addr).await;
    provider.request(1).await;
    let late = of("other").send(edge.addr).await;
    check_refusals(&[late], 429, "model_limit");
    let line = edge.log_line("the wait", |line| line.contains("model_limit")).await;
    assert!(line.contains("\"shed\":\"wait\"") && line.contains("\"queue_ms\":"), "{line}");
    edge.metric_reaches("gateway_queue_wait_seconds_count", &["scope=\"model\""], 1.0).await;
    assert_eq!(limit_of(&edge, "client").await["refused"], 4);
    assert_eq!(limit_of(&edge, "model").await["refused"], 1);
    gates.iter().for_each(Gate::open);
    assert_eq!((first.response().await.status, second.response().await.status), (200, 200));
    assert_eq!(of("web").send(edge.addr).await.status, 200, "its place is free again");
}

#[tokio::test]
async fn who_has_all_of_an_answer_finds_its_place_free() {
    let (chat, messages) = (provider_of(Wire::Chat).await, provider_of(Wire::Messages).await);
    // One that streams nothing, whatever it is asked.
    let whole = Provider::always(Wire::Chat.reply(false)).await;
    let one = "max_concurrent: 1, queue: {size: 0}";
    let conf = Conf::with_clients(&format!("- {{name: web, key: key-of-web, {one}}}"))
        .server("limits: {requests: 1}")
        .provider_at("chat", "openai", &chat.url(), one)
        .provider_at("messages", "anthropic", &messages.url(), one)
        .model("chat", &format!("{{targets: [chat/gpt], {one}}}"))
        .provider_at("whole", "openai", &whole.url(), one)
        .model("whole", &format!("{{targets: [whole/gpt], {one}}}"))
        .model("messages", &format!("{{targets: [messages/claude], {one}}}"));
    let edge = Edge::start(&conf).await;
    // Each on its own connection: the next request of one that is kept waits until the edge is done with the last.
    for round in 0..25 {
        for (model, stream) in [("chat", false), ("chat", true), ("messages", false), ("messages", true)] {
            let ask = Wire::Chat.ask(model, stream).header("x-api-key", "key-of-web");
            let answer = ask.send(edge.addr).await;
            assert_eq!(answer.status, 200, "{model} {stream} {round}: {}", answer.text());
        }
        let embeddings = Ask::post("/v1/embeddings", "{\"model\":\"chat\",\"input\":\"x\"}");
        for ask in [embeddings, Wire::Chat.ask("whole", true), Ask::get("/v1/models"), Ask::get("/health")] {
            let ask = ask.header("x-api-key", "key-of-web");
            assert_eq!(ask.send(edge.addr).await.status, 200, "{round}");
        }
        let unknown = Wire::Chat.ask("unknown", false).header("x-api-key", "key-of-web");
        assert_eq!(unknown.send(edge.addr).await.status, 404, "{round}");
    }
}

/// A client that takes its time over a long answer has the memory for it: it counts for as long.
#[tokio::test]
async fn who_is_still_being_written_to_keeps_its_place() {
    let long = "x".repeat(16 << 20);
    let answer = json!({"id": "m", "type": "message", "role": "assistant", "model": "m", "stop_reason": "end_turn",
        "content": [{"type": "text", "text": long}], "usage": {"input_tokens": 1, "output_tokens": 1}});
    let provider = Provider::always(Reply::json(200, answer.to_string())).await;
    let conf = Conf::with_clients("- {name: web, key: key-of-web, max_concurrent: 1, queue: {size: 0}}")
        .provider_at("up", "anthropic", &provider.url(), "")
        .model("m", "up/claude");
    let edge = Edge::start(&conf).await;
    let ask = || Wire::Chat.ask("m", false).header("x-api-key", "key-of-web");
    let mut slow = ask().open(edge.addr).await;
    let (head, mut framing) = within(PATIENCE, "the head", slow.head()).await;
    assert_eq!(head.status, 200);
    // What is translated whole is all there with its first piece: from here it is the client that takes its time.
    assert!(matches!(within(PATIENCE, "a piece", slow.piece(&mut framing)).await, Piece::Data(_)));
    assert_eq!(ask().send(edge.addr).await.status, 429, "its only place is taken");
    drop(slow);
    edge.metric_becomes(IN_USE, &["client"], 0.0).await;
    assert_eq!(ask().send(edge.addr).await.status, 200);
}

async fn provider_of(wire: Wire) -> Provider {
    Provider::start(move |request| wire.reply(request.json()["stream"] == true)).await
}

#[tokio::test]
async fn clients_take_turns_and_a_higher_priority_goes_first() {
    let gates = gates(6);
    let provider = held(&gates).await;
    let clients = "- {name: hog, key: key-of-hog}\n- {name: meek, key: key-of-meek}\n- {name: vip, key: key-of-vip, priority: high}";
    let conf = Conf::with_clients(clients)
        .provider_at("up", "openai", &provider.url(), "max_concurrent: 1, queue: {size: 4, wait: 30s}")
        .model("m", "up/gpt");
    let edge = Edge::start(&conf).await;
    let mut open = vec![of("hog").open(edge.addr).await];
    provider.request(0).await;
    for (client, count) in [("hog", 1), ("hog", 2), ("hog", 3), ("meek", 4)] {
        open.push(queue(&edge, of(client), count).await);
    }
    // The line is full of others, so the newest of who has most gives way.
    let mut last = of("vip").open(edge.addr).await;
    let displaced = open[3].response().await;
    check_refusals(&[displaced], 503, "provider_limit");
    for (at, expected) in ["hog", "vip", "hog", "meek", "hog"].into_iter().enumerate() {
        let request = provider.request(at).await;
        assert_eq!(request.json()["user"], expected, "request {at}");
        gates[at].open();
    }
    assert_eq!(last.response().await.status, 200);
}

#[tokio::test]
async fn who_leaves_while_waiting_makes_room_at_once() {
    let gates = gates(1);
    let provider = held(&gates).await;
    let edge = Edge::start(&limited(&provider, "max_concurrent: 1, queue: {size: 1, wait: 30s}")).await;
    let mut running = Wire::Chat.ask("m", false).open(edge.addr).await;
    provider.request(0).await;
    let waiting = queue(&edge, Wire::Chat.ask("m", false), 1).await;
    check_refusals(&refused(&edge, None).await, 503, "provider_limit");
    drop(waiting);
    edge.metric_becomes(WAITING, &[], 0.0).await;
    let h2 = H2Client::connect(edge.addr).await;
    let asked = tokio::spawn(async move { h2.ask(&Wire::Chat.ask("m", false)).await });
    edge.metric_becomes(WAITING, &[], 1.0).await;
    asked.abort();
    edge.metric_becomes(WAITING, &[], 0.0).await;
    edge.log_line("who left", |line| line.contains("client left")).await;
    let mut next = queue(&edge, Wire::Messages.ask("m", false), 1).await;
    gates[0].open();
    assert_eq!((running.response().await.status, next.response().await.status), (200, 200));
    assert_eq!(provider.requests().len(), 2, "who left is never sent");
}

#[tokio::test]
async fn who_leaves_in_the_middle_of_an_upload_makes_room_too() {
    const SIZES: [usize; 7] = [0, 100, 40_000, 64_000, 66_000, 110_000, 300_000];
    let gates = gates(SIZES.len());
    let held = gates.clone();
    // Each second request is answered at once.
    let provider = Provider::start(move |request| match request.number % 2 {
        0 => Reply::json(200, "{}").hold(&held[request.number / 2]),
        _ => Reply::json(200, "{}"),
    })
    .await;
    let edge = Edge::start(&limited(&provider, "max_concurrent: 1, queue: {size: 1, wait: 30s}")).await;
    let mut running = Ask::post("/v1/files", "x").open(edge.addr).await;
    provider.request(0).await;
    for (length, sent) in [(90_000, 1_000), (30_000, 30_000)] {
        let mut waiting = Client::connect(edge.addr).await;
        let head = format!("POST /v1/files HTTP/1.1\r\nhost: e\r\ncontent-length: {length}\r\n\r\n");
        waiting.raw(head.as_bytes()).await.expect("sent");
        waiting.raw(&vec![b'x'; sent]).await.expect("sent");
        edge.metric_becomes(WAITING, &[], 1.0).await;
        drop(waiting);
        edge.metric_becomes(WAITING, &[], 0.0).await;
    }
    // What was read while it waited is sent all the same, and once.
    for (at, size) in SIZES.into_iter().enumerate() {
        let body: Vec<u8> = (0..size).map(|n| b'a' + (n % 26) as u8).collect();
        // A body longer than what the system holds on the way is still being written.
        let ask = Ask::post("/v1/files", body.clone());
        let addr = edge.addr;
        let waiting = tokio::spawn(async move { ask.send(addr).await });
        edge.metric_becomes(WAITING, &[], 1.0).await;
        gates[at].open();
        assert_eq!(running.response().await.status, 200);
        assert_eq!(within(PATIENCE, "its turn", waiting).await.expect("no panic").status, 200, "{size}");
        assert!(provider.request(2 * at + 1).await.body == body, "{size}");
        if at + 1 < SIZES.len() {
            running = Ask::post("/v1/files", "x").open(edge.addr).await;
            provider.request(2 * at + 2).await;
        }
    }
}

/// One thread serves all: a wait that spins would stop everything.
#[tokio::test]
async fn a_body_that_ends_while_it_waits_is_waited_with() {
    let gates = gates(1);
    let held = gates.clone();
    let provider = Provider::start(move |request| match held.get(request.number) {
        Some(gate) => Reply::json(200, "{}").hold(gate),
        None => Reply::json(200, "{}"),
    })
    .await;
    let conf = limited(&provider, "max_concurrent: 1, queue: {size: 1, wait: 30s}").server("threads: 1");
    let edge = Edge::start(&conf).await;
    let mut running = Ask::post("/v1/files", "x").open(edge.addr).await;
    provider.request(0).await;
    let h2 = H2Client::connect(edge.addr).await;
    let trailed = Ask::post("/v1/files", "a body with trailers").sent(Sent::Chunked(100));
    let waiting = tokio::spawn(async move { h2.ask_trailed(&trailed).await });
    edge.metric_becomes(WAITING, &[], 1.0).await;
    // Whatever the edge does beside it, it can still do.
    assert_eq!(Ask::get("/health").send(edge.addr).await.status, 200);
    gates[0].open();
    assert_eq!(running.response().await.status, 200);
    let answer = within(PATIENCE, "its turn", waiting).await.expect("no panic");
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(provider.request(1).await.body, b"a body with trailers");
}

#[tokio::test]
async fn an_upload_that_goes_wrong_while_it_waits_is_told_so() {
    let gates = gates(1);
    let provider = held(&gates).await;
    let conf = limited(&provider, "max_concurrent: 1, queue: {size: 1, wait: 30s}").server("timeouts: {body: 300ms}");
    let edge = Edge::start(&conf).await;
    let mut running = Wire::Chat.ask("m", false).open(edge.addr).await;
    provider.request(0).await;
    let head = "POST /v1/files HTTP/1.1\r\nhost: e\r\n";
    for (rest, later, status, code) in [
        ("transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n", "zz\r\n", 400, "bad_framing"),
        ("transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n", "", 408, "body_timeout"),
        ("content-length: 100\r\n\r\nabc", "", 408, "body_timeout"),
    ] {
        let mut client = Client::connect(edge.addr).await;
        client.raw(format!("{head}{rest}").as_bytes()).await.expect("sent");
        edge.metric_becomes(WAITING, &[], 1.0).await;
        client.raw(later.as_bytes()).await.expect("sent");
        let answer = within(PATIENCE, "what is wrong", client.response()).await;
        assert_eq!(answer.status, status, "{rest:?}: {}", answer.text());
        edge.metric_reaches("gateway_errors_total", &[&format!("error_type=\"{code}\"")], 1.0).await;
        edge.metric_becomes(WAITING, &[], 0.0).await;
    }
    gates[0].open();
    assert_eq!(running.response().await.status, 200);
    assert_eq!(provider.requests().len(), 1);
}

#[tokio::test]
async fn what_is_cut_gives_its_place_back() {
    let cut = Wire::Chat.stream().len() / 2;
    let provider = Provider::start(move |request| match request.number {
        0 => Reply::sse(Wire::Chat.stream()).stop_at(cut, End::Reset),
        1 => Reply::sse(Wire::Chat.stream()).stop_at(cut, End::Hang),
        _ => Wire::Chat.reply(false),
    })
    .await;
    let clients = "- {name: web, key: key-of-web, max_concurrent: 1, queue: {size: 0}}";
    let conf = Conf::with_clients(clients)
        .provider_at("up", "openai", &provider.url(), "max_concurrent: 1, queue: {size: 0}")
        .model("m", "{targets: [up/gpt], max_concurrent: 1, queue: {size: 0}}");
    let edge = Edge::start(&conf).await;
    let ask = || Wire::Messages.ask("m", true).header("x-api-key", "key-of-web");
    assert!(ask().send(edge.addr).await.text().contains("error"), "the provider cut it");
    edge.metric_becomes(IN_USE, &[], 0.0).await;
    let mut client = ask().open(edge.addr).await;
    let (_, mut framing) = client.head().await;
    assert!(client.until_events(&mut framing, &mut Vec::new(), 2).await);
    // All requests, the client's, the model's and the provider's.
    edge.metric_becomes(IN_USE, &[], 4.0).await;
    drop(client);
    edge.metric_becomes(IN_USE, &[], 0.0).await;
    assert_eq!(of("web").send(edge.addr).await.status, 200);
}

#[tokio::test]
async fn a_reload_raises_a_limit_and_who_waits_goes_on() {
    let gates = gates(2);
    let provider = held(&gates).await;
    let conf = |most: u32| limited(&provider, &format!("max_concurrent: {most}, queue: {{size: 5, wait: 30s}}"));
    let edge = Edge::start(&conf(1)).await;
    let mut running = Wire::Chat.ask("m", false).open(edge.addr).await;
    provider.request(0).await;
    let mut waiting = queue(&edge, Wire::Chat.ask("m", false), 1).await;
    edge.rewrite(&conf(2));
    edge.admin("POST", "/reload").await;
    provider.request(1).await;
    assert_eq!(edge.metric(IN_USE, &["up"]).await.round(), 2.0, "what ran before counts on");
    edge.rewrite(&conf(1));
    edge.admin("POST", "/reload").await;
    gates[1].open();
    assert_eq!(waiting.response().await.status, 200);
    let mut third = queue(&edge, Wire::Chat.ask("m", false), 1).await;
    gates[0].open();
    assert_eq!((running.response().await.status, third.response().await.status), (200, 200));
}

#[tokio::test]
async fn what_is_full_is_passed_over_for_the_next_endpoint_and_target() {
    let (one, two, three) = (gates(1), gates(1), gates(1));
    let (first, second, third) = (held(&one).await, held(&two).await, held(&three).await);
    let endpoints = format!(
        "fleet: {{kind: openai-compatible, queue: {{size: 5, wait: 30s}}, endpoints: [\
         {{url: \"{}\", max_concurrent: 1}}, {{url: \"{}\", max_concurrent: 1}}]}}",
        first.url(),
        second.url()
    );
    let conf = Conf::open()
        .provider_yaml(&endpoints)
        .provider_at("last", "openai", &third.url(), "max_concurrent: 1")
        .model("m", "{targets: [fleet/llama, last/gpt]}")
        .model("n", "fleet/llama");
    let edge = Edge::start(&conf).await;
    let mut running = Vec::new();
    for provider in [&first, &second, &third] {
        running.push(Wire::Chat.ask("m", false).open(edge.addr).await);
        provider.request(0).await;
    }
    let mut waiting = queue(&edge, Wire::Chat.ask("n", false), 1).await;
    two[0].open();
    assert_eq!(waiting.response().await.status, 200, "the first endpoint with room serves it");
    assert_eq!((first.requests().len(), second.requests().len()), (1, 2));
    one.iter().chain(&three).for_each(Gate::open);
    for client in &mut running {
        assert_eq!(client.response().await.status, 200);
    }
}

#[tokio::test]
async fn all_requests_together_have_a_limit() {
    let gates = gates(1);
    let provider = held(&gates).await;
    let edge = Edge::start(&limited(&provider, "").server("limits: {requests: 1}")).await;
    let mut running = Wire::Chat.ask("m", false).open(edge.addr).await;
    provider.request(0).await;
    check_refusals(&refused(&edge, None).await, 503, "edge_limit");
    assert_eq!(limit_of(&edge, "edge").await["refused"], 4);
    assert_eq!(Ask::get("/health").send(edge.addr).await.status, 200);
    gates[0].open();
    assert_eq!(running.response().await.status, 200);
    // Its place is given back when all that belongs to it is put away, which is after the answer.
    let again = async { while Wire::Chat.ask("m", false).send(edge.addr).await.status != 200 {} };
    within(PATIENCE, "the place to be given back", again).await;
}

#[tokio::test]
async fn short_of_memory_new_requests_are_refused_and_what_runs_goes_on() {
    let gates = gates(1);
    let provider = held(&gates).await;
    let more = "max_concurrent: 1, queue: {size: 9, wait: 5m}";
    let conf = |memory: &str| limited(&provider, more).server(&format!("limits: {{memory: {memory}}}"));
    let edge = Edge::start(&conf("400MiB")).await;
    let mut running = vec![Wire::Chat.ask("m", false).open(edge.addr).await];
    provider.request(0).await;
    let big = json!({"model": "m", "messages": [{"role": "user", "content": "x".repeat(24 << 20)}]}).to_string();
    for count in 1..=3 {
        running.push(queue(&edge, Wire::Chat.ask_bytes(big.clone()), count).await);
    }
    edge.rewrite(&conf("64MiB"));
    edge.admin("POST", "/reload").await;
    let deadline = Instant::now() + PATIENCE;
    let refusal = loop {
        let mut client = Wire::Chat.ask("m", false).open(edge.addr).await;
        let answer = tokio::time::timeout(Duration::from_millis(100), client.response()).await;
        match answer {
            Ok(refusal) => break refusal,
            Err(_) => assert!(Instant::now() < deadline, "{} bytes, and it is let in", edge.resident()),
        }
    };
    check_refusals(&[refusal], 503, "memory_limit");
    assert_eq!(Ask::get("/health").send(edge.addr).await.status, 200);
    assert!(edge.metric("gateway_memory_limit_bytes", &[]).await > 6e7);
    gates[0].open();
    for client in &mut running {
        assert_eq!(client.response().await.status, 200, "what was taken in is served");
    }
    let deadline = Instant::now() + PATIENCE;
    while Wire::Chat.ask("m", false).send(edge.addr).await.status != 200 {
        assert!(Instant::now() < deadline, "{} bytes, and it refuses", edge.resident());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A burst of large bodies is quicker than any measurement, and each may stand in memory twice.
#[tokio::test]
async fn bodies_have_the_room_that_is_free_below_the_limit_of_memory() {
    let gates = gates(1);
    let provider = held(&gates).await;
    let edge = Edge::start(&limited(&provider, "").server("limits: {memory: 96MiB}")).await;
    edge.metric_becomes("gateway_memory_limit_bytes", &[], f64::from(96 << 20)).await;
    let ask =
        |size| Wire::Chat.ask_with(json!({"model": "m", "messages": [{"role": "user", "content": "x".repeat(size)}]}));
    let mut alone = ask(20 << 20).open(edge.addr).await;
    provider.request(0).await;
    check_refusals(&[ask(28 << 20).send(edge.addr).await], 503, "overloaded");
    gates[0].open();
    assert_eq!(alone.response().await.status, 200, "a body that is alone has the room that it may have");
}

#[tokio::test]
async fn an_adaptive_limit_follows_what_the_provider_says() {
    let provider = Provider::always(Reply::json(503, "{}")).await;
    let edge = Edge::start(&limited(&provider, "adaptive: {min: 2}, breaker: {failures: 1000}")).await;
    edge.metric_becomes("gateway_concurrency_limit", &["up"], 20.0).await;
    assert_eq!(Wire::Chat.ask("m", false).send(edge.addr).await.status, 503);
    edge.metric_becomes("gateway_concurrency_limit", &["up"], 18.0).await;
}
