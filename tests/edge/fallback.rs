//! The next target takes over while nothing has gone to the client; afterwards nobody does.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;

use crate::support::client::{Ask, Sent};
use crate::support::edge::{Conf, Edge};
use crate::support::formats::{Fold, PAIRS, Wire};
use crate::support::gate::Gate;
use crate::support::provider::{Provider, Speaks, refused};
use crate::support::script::{End, Reply};

fn other(wire: Wire) -> Wire {
    if wire == Wire::Chat { Wire::Messages } else { Wire::Chat }
}

fn two_targets(first: (Wire, &str), second: (Wire, &Provider)) -> Conf {
    Conf::open()
        .provider_at("one", first.0.kind(), first.1, "timeouts: {connect: 1s, read: 700ms}")
        .provider("two", second.0.kind(), second.1)
        .model("m", "{targets: [one/model-1, two/model-2]}")
}

/// A first target that fails, and what follows it.
struct Turn {
    what: String,
    client: Wire,
    next: Wire,
    stream: bool,
    first: Option<Provider>,
    second: Provider,
}

#[tokio::test]
async fn the_next_target_gets_its_own_body() {
    let mut conf = Conf::open();
    let mut turns = Vec::new();
    for (client, upstream) in PAIRS {
        for (name, reply) in [
            ("429", Some(Reply::json(429, "{}").header("retry-after", "1"))),
            ("500", Some(Reply::json(500, "{}"))),
            ("503", Some(Reply::json(503, "no"))),
            ("529", Some(Reply::json(529, upstream.error_body("overloaded_error", "Overloaded")))),
            ("closed", Some(Reply::no_answer(End::Fin))),
            ("refused", None),
        ] {
            for stream in [false, true] {
                let what = format!("{client:?}, first {upstream:?} {name}, stream={stream}");
                let (number, next) = (turns.len(), other(upstream));
                let second = Provider::always(next.reply(stream)).await;
                let first = match &reply {
                    Some(reply) => Some(Provider::always(reply.clone()).await),
                    None => None,
                };
                let url = first.as_ref().map_or_else(|| format!("http://{}", refused()), Provider::url);
                conf = conf
                    .provider_at(&format!("one{number}"), upstream.kind(), &url, "")
                    .provider(&format!("two{number}"), next.kind(), &second)
                    .model(&format!("m{number}"), &format!("{{targets: [one{number}/model-1, two{number}/model-2]}}"));
                turns.push(Turn { what, client, next, stream, first, second });
            }
        }
    }
    let edge = Edge::start(&conf).await;
    for (number, turn) in turns.into_iter().enumerate() {
        let Turn { what, client, next, stream, first, second } = turn;
        let response = client.ask(&format!("m{number}"), stream).send(edge.addr).await;
        assert_eq!(response.status, 200, "{what}: {}", response.text());
        assert_eq!(client.text(&client.read(&response, stream)), "Hello, 北🙂!", "{what}");
        let sent = second.request(0).await;
        assert_eq!(sent.target, next.path(), "{what}");
        assert_eq!(sent.json()["model"], "model-2", "{what}");
        let key = sent.header("x-api-key").or(sent.header("authorization")).unwrap_or_default().to_owned();
        let own = format!("sk-upstream-two{number}");
        assert!(key.ends_with(&own), "{what}: each provider gets its own key, not {key}");
        if let Some(first) = first {
            assert_eq!(first.last().json()["model"], "model-1", "{what}");
        }
        assert_eq!(second.requests().len(), 1, "{what}");
    }
}

#[tokio::test]
async fn big_bodies_are_sent_again_whole() {
    for sent in [Sent::Length, Sent::Chunked(10_000)] {
        let first = Provider::always(Reply::json(503, "{}")).await;
        let second = Provider::always(Wire::Messages.reply(false)).await;
        let edge = Edge::start(&two_targets((Wire::Chat, &first.url()), (Wire::Messages, &second))).await;
        let text = "z".repeat(1 << 20);
        let body = json!({"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": text}]});
        let response = Wire::Chat.ask_with(body).sent(sent).send(edge.addr).await;
        assert_eq!(response.status, 200, "{}", response.text());
        assert!(first.last().body.len() > 1 << 20 && second.last().body.len() > 1 << 20);
        assert!(second.last().json().to_string().contains(&text), "{sent:?}");
    }
}

#[tokio::test]
async fn when_all_fail_the_last_error_is_told() {
    for (client, upstream) in PAIRS {
        let last = other(upstream);
        let first = Provider::always(Reply::json(503, "{}")).await;
        let body = last.error_body("rate_limit_error", "slow down, says the last");
        let second =
            Provider::always(Reply::json(429, body).header("retry-after", "11").header("x-should-retry", "false"))
                .await;
        let edge = Edge::start(&two_targets((upstream, &first.url()), (last, &second))).await;
        let response = client.ask("m", true).send(edge.addr).await;
        assert_eq!(response.status, 429, "{}", response.text());
        let error = client.error(&response);
        assert!(error["message"].as_str().unwrap_or_default().contains("slow down, says the last"), "{error}");
        assert_eq!(response.header("retry-after"), Some("11"));
        assert_eq!(response.header("x-should-retry"), Some("false"));
    }
}

/// Whatever the pair: the answer is the second target's, and the request is told as one that succeeded.
#[tokio::test]
async fn a_success_that_is_no_answer_moves_on_and_leaves_no_error() {
    for (client, upstream) in PAIRS {
        let error = upstream.error_body("rate_limit_error", "quota words");
        let answer = String::from_utf8(upstream.reply(false).body()).expect("a fixture is text");
        let cut = answer.get(..answer.len() / 2).unwrap_or_default().to_owned();
        for body in [error, "null".to_owned(), "{}".to_owned(), cut, r#"{"id":"x","choices":[]}"#.to_owned()] {
            let first = Provider::always(Reply::json(200, body.as_str())).await;
            let second = Provider::always(other(upstream).reply(false)).await;
            let conf = two_targets((upstream, &first.url()), (other(upstream), &second));
            let edge = Edge::start(&conf.model("alone", "one/model-1")).await;
            let what = format!("{client:?} from {upstream:?}: {body}");
            let response = client.ask("m", false).send(edge.addr).await;
            assert_eq!(response.status, 200, "{what}: {}", response.text());
            assert_eq!(client.text(&client.read(&response, false)), "Hello, 北🙂!", "{what}");
            let line = edge.log_line("the request", |line| line.contains("\"status\":200")).await;
            let line: serde_json::Value = serde_json::from_str(&line).expect("a line is JSON");
            assert_eq!((&line["level"], &line["error_type"]), (&json!("INFO"), &json!(null)), "{what}: {line}");
            assert_eq!(edge.metric("gateway_errors_total", &[]).await, 0.0, "{what}");
            assert_eq!(edge.metric("gateway_stream_aborts_total", &[]).await, 0.0, "{what}");

            let alone = client.ask("alone", false).send(edge.addr).await;
            assert!(alone.status >= 429, "{what}: {} {}", alone.status, alone.text());
            client.error(&alone);
        }
    }
}

#[tokio::test]
async fn a_target_that_cannot_be_told_the_request_is_passed_over() {
    let chat = Provider::always(Wire::Chat.reply(false)).await;
    let messages = Provider::always(Wire::Messages.reply(false)).await;
    let failing = Provider::always(Reply::json(500, "{}")).await;
    let conf = Conf::open()
        .provider("chat", Wire::Chat.kind(), &chat)
        .provider("messages", Wire::Messages.kind(), &messages)
        .provider("failing", Wire::Messages.kind(), &failing)
        .provider_at("gone", Wire::Messages.kind(), &format!("http://{}", refused()), "")
        .model("behind", "{targets: [chat/model-1, messages/model-2]}")
        .model("alone", "{targets: [chat/model-1]}")
        .model("failed", "{targets: [failing/model-1, chat/model-2]}")
        .model("unreached", "{targets: [chat/model-1, gone/model-2]}");
    let edge = Edge::start(&conf).await;
    let ask = |model: &str, more: &str| {
        let body =
            format!(r#"{{"model":"{model}","max_tokens":9,"messages":[{{"role":"user","content":"q"}}]{more}}}"#);
        Ask::post(Wire::Messages.path(), body).header("anthropic-version", "2023-06-01")
    };
    let only_messages = r#","mcp_servers":[{"type":"url","url":"https://h/mcp","name":"s"}]"#;

    let served = ask("behind", only_messages).send(edge.addr).await;
    assert_eq!(served.status, 200, "{}", served.text());
    assert_eq!(messages.last().json()["mcp_servers"][0]["name"], "s");
    assert!(chat.requests().is_empty());

    for (model, status, what) in [("alone", 400, "mcp_servers"), ("failed", 500, ""), ("unreached", 502, "")] {
        let refused = ask(model, only_messages).send(edge.addr).await;
        assert_eq!(refused.status, status, "{model}: {}", refused.text());
        assert!(refused.text().contains(what), "{model}: {}", refused.text());
    }
    // What nobody can read is not given to who passes on what it cannot read.
    let broken = ask("behind", r#","tools":7"#).send(edge.addr).await;
    assert_eq!(broken.status, 400, "{}", broken.text());
    assert_eq!((chat.requests().len(), messages.requests().len()), (0, 1));

    let path = "/v1/messages/count_tokens";
    let body = r#"{"model":"behind","messages":[{"role":"user","content":"q"}]}"#;
    let counted = Ask::post(path, body).header("anthropic-version", "2023-06-01").send(edge.addr).await;
    assert_eq!((counted.status, messages.last().target.as_str()), (200, path), "{}", counted.text());
}

/// Behind the one who refuses our key nobody can be told the request: all there is to tell is the refusal.
#[tokio::test]
async fn a_refused_key_is_told_with_the_status_that_refused_it() {
    for status in [401, 403] {
        let first = Provider::always(Reply::json(status, "{}")).await;
        let second = Provider::always(Wire::Chat.reply(false)).await;
        let conf = Conf::open()
            .provider("first", Wire::Messages.kind(), &first)
            .provider("second", Wire::Chat.kind(), &second)
            .model("m", "{targets: [first/model-1, second/model-2], fallback_on: [401, 403], retries: {rounds: 0}}");
        let edge = Edge::start(&conf).await;
        let body = json!({
            "model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "q"}],
            "mcp_servers": [{"type": "url", "url": "https://h/mcp", "name": "s"}]
        });
        let refused = Wire::Messages.ask_with(body).send(edge.addr).await;
        assert_eq!(refused.status, 502, "{}", refused.text());
        assert!(refused.text().contains(&format!("credentials (status {status})")), "{}", refused.text());
        edge.metric_reaches("gateway_errors_total", &["error_type=\"upstream_credentials\""], 1.0).await;
        assert_eq!((first.requests().len(), second.requests().len()), (1, 0));
    }
}

/// Routers of models begin a stream before they know.
#[tokio::test]
async fn a_key_that_is_refused_in_a_streams_first_word_is_not_the_clients() {
    let error = r#"{"error":{"message":"Incorrect API key provided: geheim","type":"invalid_request_error","code":"invalid_api_key"}}"#;
    for (number, reply) in [Reply::sse(format!("data: {error}\n\n")), Reply::json(200, error)].into_iter().enumerate() {
        let provider = Provider::always(reply).await;
        let conf = Conf::open().provider("p", Wire::Chat.kind(), &provider).model("m", "p/gpt");
        let edge = Edge::start(&conf).await;
        for client in [Wire::Chat, Wire::Messages] {
            let refused = client.ask("m", true).send(edge.addr).await;
            assert_eq!(refused.status, 502, "{number}: {}", refused.text());
            let text = refused.text();
            assert!(text.contains("credentials") && !text.contains("geheim"), "{number}: {text}");
        }
        edge.metric_reaches("gateway_errors_total", &["error_type=\"upstream_credentials\""], 2.0).await;
        assert!(!edge.log().contains("geheim"), "{}", edge.log());
    }
}

#[tokio::test]
async fn a_clients_own_fault_is_not_tried_elsewhere() {
    for status in [400, 404, 413, 422] {
        let first = Provider::always(Reply::json(status, Wire::Chat.error_body("invalid_request_error", "no"))).await;
        let second = Provider::always(Wire::Messages.reply(false)).await;
        let edge = Edge::start(&two_targets((Wire::Chat, &first.url()), (Wire::Messages, &second))).await;
        let response = Wire::Chat.ask("m", false).send(edge.addr).await;
        assert_eq!(response.status, status, "{}", response.text());
        assert!(second.requests().is_empty(), "{status}");
    }
}

#[tokio::test]
async fn nothing_is_retried_once_a_word_went_out() {
    for (client, upstream) in PAIRS {
        let words = upstream.stream().find("Hello, ").expect("there") + 200;
        let first = Provider::always(Reply::sse(upstream.stream()).stop_at(words, End::Reset)).await;
        let second = Provider::always(other(upstream).reply(true)).await;
        let edge = Edge::start(&two_targets((upstream, &first.url()), (other(upstream), &second))).await;
        let response = client.ask("m", true).send(edge.addr).await;
        assert!(matches!(client.fold(&response.events()), Fold::Failed { .. }), "{}", response.text());
        assert!(second.requests().is_empty());
    }
}

#[tokio::test]
async fn an_endpoint_that_refuses_is_left_for_the_next() {
    let alive = Provider::always(Wire::Chat.reply(false)).await;
    let dead = refused();
    let provider = format!(
        "fleet: {{kind: openai-compatible, endpoints: [\"http://{dead}\", \"{}\"], timeouts: {{connect: 1s}}}}",
        alive.url()
    );
    let edge = Edge::start(&Conf::open().provider_yaml(&provider).model("m", "fleet/llama")).await;
    for _ in 0..8 {
        let response = Wire::Messages.ask("m", false).send(edge.addr).await;
        assert_eq!(response.status, 200, "{}", response.text());
    }
    assert_eq!(alive.requests().len(), 8);
}

#[tokio::test]
async fn weights_share_the_requests() {
    let (heavy, light) =
        (Provider::always(Wire::Chat.reply(false)).await, Provider::always(Wire::Chat.reply(false)).await);
    let provider = format!(
        "fleet: {{kind: openai-compatible, endpoints: [{{url: \"{}\", weight: 3}}, {{url: \"{}\", weight: 1}}]}}",
        heavy.url(),
        light.url()
    );
    let edge = Edge::start(&Conf::open().provider_yaml(&provider).model("m", "fleet/llama")).await;
    for _ in 0..40 {
        assert_eq!(Wire::Chat.ask("m", false).send(edge.addr).await.status, 200);
    }
    let counts = (heavy.requests().len(), light.requests().len());
    assert!((28..=32).contains(&counts.0) && counts.0 + counts.1 == 40, "{counts:?}");
}

#[tokio::test]
async fn a_failed_health_check_takes_an_endpoint_out() {
    let answer = |health: u16| {
        move |request: &crate::support::provider::Request| match request.target.as_str() {
            "/health" => Reply::json(health, "{}"),
            _ => Wire::Chat.reply(false),
        }
    };
    let (sick, well) = (Provider::start(answer(500)).await, Provider::start(answer(200)).await);
    let provider = format!(
        "fleet: {{kind: openai-compatible, endpoints: [\"{}\", \"{}\"], \
         health: {{path: /health, interval: 100ms, unhealthy_after: 2, healthy_after: 1}}}}",
        sick.url(),
        well.url()
    );
    let edge = Edge::start(&Conf::open().provider_yaml(&provider).model("m", "fleet/llama")).await;
    // The third check begins after the second has failed and was counted.
    sick.request(2).await;
    let asked = |provider: &Provider| provider.requests().iter().filter(|r| r.method == "POST").count();
    for _ in 0..6 {
        assert_eq!(Wire::Chat.ask("m", false).send(edge.addr).await.status, 200);
    }
    assert_eq!((asked(&sick), asked(&well)), (0, 6));
    let upstreams = edge.admin("GET", "/upstreams").await.text();
    assert!(upstreams.contains(&sick.addr.to_string()) && upstreams.contains(&well.addr.to_string()), "{upstreams}");
}

#[tokio::test]
async fn a_stale_pooled_connection_costs_the_client_nothing() {
    let provider = Provider::start(|request| match request.number {
        // The first answer ends in order, and the provider closes the kept connection without a word.
        0 => Reply::raw(
            format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{}",
                Wire::Chat.answer().len(),
                Wire::Chat.answer()
            ),
            End::Fin,
        ),
        _ => Wire::Chat.reply(false),
    })
    .await;
    let edge = Edge::start(&Conf::open().provider("up", "openai", &provider).model("m", "up/model-1")).await;
    for _ in 0..3 {
        let response = Wire::Messages.ask("m", false).send(edge.addr).await;
        assert_eq!(response.status, 200, "{}", response.text());
    }
}

/// Whatever was asked over them, and whatever is: what stands in the pool is dead, and nothing tells.
#[tokio::test]
async fn kept_connections_that_all_died_cost_nothing() {
    let form = |size| {
        let headers = vec![("content-type".to_owned(), "multipart/form-data; boundary=XyZ".to_owned())];
        Ask { headers, ..Ask::post("/v1/files", vec![b'x'; size]) }
    };
    let asks = [
        Wire::Chat.ask("m", false),
        form(100),
        Ask::get("/v1/files"),
        Wire::Messages.ask("m", false),
        form(40_000).sent(Sent::Chunked(9_000)),
        Ask { method: "DELETE".to_owned(), ..Ask::get("/v1/files/f") },
    ];
    // More at once than one connection of HTTP/2 carries.
    for (speaks, http, crowd) in [(Speaks::Http1, "h1", 8), (Speaks::H2c, "h2", 130)] {
        let (gate, dead) = (Gate::new(), Arc::new(AtomicUsize::new(0)));
        let (held, died) = (gate.clone(), Arc::clone(&dead));
        let provider = Provider::speaking(speaks, move |request| {
            let is_dead = request.connection < died.load(Ordering::SeqCst);
            // Over HTTP/2 a reset would be the stream's alone.
            let end = if http == "h2" { End::Fin } else { End::Reset };
            if is_dead { Reply::no_answer(end) } else { Wire::Chat.reply(false).hold(&held) }
        })
        .await;
        let conf = Conf::open().provider_at("up", "openai", &provider.url(), &format!("http: {http}"));
        let edge = Edge::start(&conf.model("m", "{targets: [up/model-1], retries: {rounds: 0}}")).await;
        let addr = edge.addr;
        let first: Vec<_> = (0..2 * crowd)
            .map(|number| if number % 2 == 0 { Wire::Chat.ask("m", false) } else { Ask::get("/v1/files") })
            .map(|ask| tokio::spawn(async move { ask.send(addr).await.status }))
            .collect();
        provider.request(2 * crowd - 1).await;
        gate.open();
        for asked in first {
            assert_eq!(asked.await.expect("no panic"), 200);
        }
        dead.store(provider.connections(), Ordering::SeqCst);
        for ask in asks.iter().cycle().take(12) {
            let response = ask.clone().send(edge.addr).await;
            assert_eq!(response.status, 200, "{http} {} {}: {}", ask.method, ask.path, response.text());
        }
        assert!(edge.metric("gateway_upstream_ejections_total", &[]).await < 0.5, "{http}");
    }
}

#[tokio::test]
async fn the_end_of_one_connection_is_one_failure_however_many_it_carried() {
    let gate = Gate::new();
    let held = gate.clone();
    let provider = Provider::speaking(Speaks::H2c, move |request| match request.connection {
        0 if request.number > 0 => Reply::no_answer(End::Fin).hold(&held),
        _ => Wire::Chat.reply(false),
    })
    .await;
    let more = "http: h2, breaker: {failures: 2, open: 30s}";
    let conf = Conf::open().provider_at("up", "openai", &provider.url(), more);
    let edge = Edge::start(&conf.model("m", "{targets: [up/model-1], retries: {rounds: 0}}")).await;
    assert_eq!(Wire::Chat.ask("m", false).send(edge.addr).await.status, 200);
    // The client has its answer before the connection is there for others.
    edge.metric_becomes("gateway_requests_in_flight", &[], 0.0).await;
    let addr = edge.addr;
    let mut asked = Vec::new();
    for number in 1..=12 {
        asked.push(tokio::spawn(async move { Wire::Chat.ask("m", false).send(addr).await.status }));
        // Who takes an idle connection holds it for a moment, and who comes in that moment makes another.
        provider.request(number).await;
    }
    // Longer than what a connection that had died takes to show it.
    tokio::time::sleep(Duration::from_millis(400)).await;
    gate.open();
    for asked in asked {
        assert_eq!(asked.await.expect("no panic"), 502);
    }
    assert!(edge.metric("gateway_upstream_ejections_total", &[]).await < 0.5);
    assert_eq!(Wire::Chat.ask("m", false).send(edge.addr).await.status, 200);
}

#[tokio::test]
async fn what_a_provider_has_worked_on_is_not_asked_again_unpaid() {
    let embeddings = Ask::post("/v1/embeddings", br#"{"model":"m","input":"x"}"#.to_vec());
    for ask in [Wire::Chat.ask("m", false), Wire::Chat.ask("m", true), Wire::Messages.ask("m", false), embeddings] {
        let gate = Gate::new();
        let closed = gate.clone();
        // The connection that the first answer left in the pool is alive, and ends only once the request was worked on.
        let provider = Provider::start(move |request| match request.number {
            0 => Reply::json(200, r#"{"object":"list","data":[],"choices":[{"message":{"content":"x"}}]}"#),
            _ => Reply::no_answer(End::Fin).hold(&closed).wait_before_end(&closed),
        })
        .await;
        let conf = Conf::open().provider("up", "openai", &provider).model("m", "up/model-1");
        let edge = Edge::start(&conf.server("max_attempts: 1")).await;
        let first = Ask::post("/v1/embeddings", br#"{"model":"m","input":"x"}"#.to_vec());
        let first = if ask.path == first.path { first } else { Wire::Chat.ask("m", false) };
        assert_eq!(first.send(edge.addr).await.status, 200);
        let (shown, addr) = (format!("{ask:?}"), edge.addr);
        let asking = tokio::spawn(async move { ask.send(addr).await });
        provider.request(1).await;
        // Longer than what a connection that had died takes to show it.
        tokio::time::sleep(Duration::from_millis(400)).await;
        gate.open();
        let response = asking.await.expect("no panic");
        assert_eq!((response.status, provider.requests().len()), (502, 2), "{shown}: {}", response.text());
    }
}
