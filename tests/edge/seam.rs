//! Streams: an early failure moves on unseen, silence is filled, and every wait has its own deadline.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::client::{Ask, Response};
use crate::support::dialect::{DIALECTS, Dialect, WORDS};
use crate::support::edge::{Conf, Edge};
use crate::support::formats::{Fold, Wire};
use crate::support::gate::Gate;
use crate::support::http1::Ended;
use crate::support::http1::Piece as Got;
use crate::support::provider::{Provider, Speaks};
use crate::support::script::{End, Framed, Piece, Reply};
use crate::support::tls::Authority;
use crate::support::{PATIENCE, show, within};

/// A stream's frames before its first word.
fn lifecycle(wire: Wire) -> &'static str {
    let stream = wire.stream();
    let word = stream.find("Hello, ").expect("the words are there");
    let at = stream[..word].rfind("\n\n").expect("something is before them") + 2;
    &stream[..at]
}

/// Ways to fail before the first word.
fn early_failures(wire: Wire) -> Vec<(&'static str, Reply)> {
    let error = match wire {
        Wire::Chat => "data: {\"error\":{\"message\":\"no\",\"type\":\"server_error\",\"code\":null}}\n\n",
        Wire::Messages => {
            "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"no\"}}\n\n"
        }
    };
    let begun = lifecycle(wire);
    vec![
        ("closed", Reply::sse(begun).end(End::Fin)),
        ("reset", Reply::sse(begun).end(End::Reset)),
        ("a clean end", Reply::sse(begun)),
        ("nothing but a clean end", Reply::sse(": hi\n\n")),
        ("an error event", Reply::sse(format!("{begun}{error}"))),
        ("half an event", Reply::sse(format!("{begun}data: {{\"cho")).end(End::Fin)),
    ]
}

#[tokio::test]
async fn an_early_failure_of_a_stream_moves_on_unseen() {
    const TIMES: usize = 4;
    let mut conf = Conf::open();
    let mut cases = Vec::new();
    let (chat, messages) =
        (Provider::always(Wire::Chat.reply(true)).await, Provider::always(Wire::Messages.reply(true)).await);
    conf = conf.provider("chat", "openai", &chat).provider("messages", "anthropic", &messages);
    for upstream in [Wire::Chat, Wire::Messages] {
        for (name, reply) in early_failures(upstream) {
            let first = Provider::always(reply).await;
            for client in DIALECTS {
                let number = cases.len();
                // A pair of one format is among them, from the first target to the last.
                let next = if client == Dialect::Known(upstream) { upstream } else { Wire::Chat };
                let next = if next == Wire::Chat { "chat/gpt" } else { "messages/claude" };
                conf = conf
                    .provider_at(&format!("p{number}"), upstream.kind(), &first.url(), "breaker: {failures: 1000}")
                    .model(&format!("m{number}"), &format!("{{targets: [p{number}/a, {next}]}}"));
                cases.push((format!("{client:?}, first {upstream:?} {name}, then {next}"), client));
            }
            // The provider lives as long as the test: its tasks end with the runtime.
            drop(first);
        }
    }
    let edge = Edge::start(&conf).await;
    for (number, (what, client)) in cases.iter().enumerate() {
        for _ in 0..TIMES {
            let response = client.ask(&format!("m{number}")).send(edge.addr).await;
            assert_eq!(client.words(what, &response), WORDS, "{what}");
        }
    }
    let moved = edge.metric("gateway_retry_attempts_total", &[]).await;
    assert!(moved >= (cases.len() * TIMES) as f64, "each of them met a failure first: {moved}");
}

#[tokio::test]
async fn a_whole_answer_that_breaks_off_moves_on_or_is_an_error_and_never_half_of_one() {
    for (client, upstream) in [(Wire::Chat, Wire::Messages), (Wire::Messages, Wire::Chat)] {
        let whole = upstream.answer();
        for end in [End::Fin, End::Reset] {
            let cut = Reply::json(200, whole).stop_at(whole.len() / 2, end);
            let (broken, good) = (Provider::always(cut).await, Provider::always(upstream.reply(false)).await);
            let conf = Conf::open()
                .provider("broken", upstream.kind(), &broken)
                .provider("good", upstream.kind(), &good)
                .model("moves", "{targets: [broken/a, good/b]}")
                .model("alone", "{targets: [broken/a], retries: {rounds: 0}}");
            let edge = Edge::start(&conf).await;
            let response = client.ask("moves", false).send(edge.addr).await;
            assert_eq!(response.status, 200, "{}", response.text());
            assert_eq!(client.text(&response.json()), WORDS, "{client:?}");
            let response = client.ask("alone", false).send(edge.addr).await;
            assert_eq!((response.status, &response.ended), (502, &Ended::Complete), "{}", response.text());
            client.error(&response);
        }
    }
}

#[tokio::test]
async fn a_crowd_that_fails_at_once_is_taken_in_by_the_next_target() {
    const CROWD: usize = 60;
    let dying = Provider::always(Reply::sse(lifecycle(Wire::Chat)).end(End::Reset)).await;
    let next = Provider::always(Wire::Messages.reply(true)).await;
    let conf = Conf::open().provider("dying", "openai", &dying).provider("next", "anthropic", &next);
    let edge = Edge::start(&conf.model("m", "{targets: [dying/a, next/b]}")).await;
    let mut crowd = tokio::task::JoinSet::new();
    for number in 0..CROWD {
        let (client, addr) = (DIALECTS[number % DIALECTS.len()], edge.addr);
        crowd.spawn(async move {
            let response = client.ask("m").send(addr).await;
            assert_eq!(client.words("of a crowd", &response), WORDS);
        });
    }
    while let Some(one) = crowd.join_next().await {
        one.expect("every stream is whole, though no requests have paid in for so many attempts");
    }
}

#[tokio::test]
async fn without_another_target_an_early_failure_is_a_plain_error() {
    for client in [Dialect::Known(Wire::Chat), Dialect::Known(Wire::Messages)] {
        let provider = Provider::always(early_failures(Wire::Messages).swap_remove(4).1).await;
        let model = "{targets: [up/m], retries: {rounds: 0}}";
        let edge = Edge::start(&Conf::open().provider("up", "anthropic", &provider).model("m", model)).await;
        let response = client.ask("m").send(edge.addr).await;
        assert!(matches!(response.status, 503 | 529), "{}", response.text());
        assert_eq!(provider.requests().len(), 1);
        let Dialect::Known(wire) = client else { continue };
        assert_eq!(wire.error(&response)["message"], "no");
    }
}

/// A stream that stands still in the middle of an event, behind its first words, until the gate opens.
fn halting(wire: Wire, gate: &Gate) -> Reply {
    let stream = wire.stream();
    let word = stream.find("Hello, ").expect("the words are there");
    let at = word + stream[word..].find("\n\n").expect("the event ends") + 20;
    let mut reply = Reply::sse("");
    reply.pieces = vec![
        Piece::Data(stream.as_bytes()[..at].to_vec()),
        Piece::Wait(gate.clone()),
        Piece::Data(stream.as_bytes()[at..].to_vec()),
    ];
    reply
}

/// Reads until the body holds `mark` so many times, then opens the gate and reads the rest.
async fn through_silence(ask: &Ask, edge: &Edge, (mark, times): (&str, usize), gate: &Gate) -> Response {
    let mut client = ask.clone().open(edge.addr).await;
    let (mut response, mut framing) = client.head().await;
    loop {
        match client.piece(&mut framing).await {
            Got::Data(data) => response.body.extend_from_slice(&data),
            Got::End(ended) => {
                response.ended = ended;
                return response;
            }
        }
        if show(&response.body).matches(mark).count() >= times {
            gate.open();
        }
    }
}

#[tokio::test]
async fn a_silence_is_filled_between_events_in_every_format() {
    let mut conf = Conf::open();
    let mut cases = Vec::new();
    for client in DIALECTS {
        for upstream in [Wire::Chat, Wire::Messages] {
            let (number, gate) = (cases.len(), Gate::new());
            let provider = Provider::always(halting(upstream, &gate)).await;
            conf = conf
                .provider_at(&format!("p{number}"), upstream.kind(), &provider.url(), "streams: {heartbeat: 100ms}")
                .model(&format!("m{number}"), &format!("p{number}/x"));
            cases.push((client, upstream, gate));
        }
    }
    let edge = Edge::start(&conf).await;
    for (number, (client, upstream, gate)) in cases.iter().enumerate() {
        let what = format!("{client:?} from {upstream:?}");
        let ask = client.ask(&format!("m{number}"));
        let wait = through_silence(&ask, &edge, (client.sign(), 3), gate);
        let response = within(PATIENCE, "signs of life", wait).await;
        assert!(response.text().matches(client.sign()).count() >= 3, "{what}: {}", response.text());
        assert_eq!(client.words(&what, &response), WORDS, "{what}");
    }
    // Some of the signs were the providers' own.
    edge.metric_reaches("gateway_stream_heartbeats_total", &[], 16.0).await;
}

#[tokio::test]
async fn a_provider_that_says_only_what_its_client_does_not_see_is_as_silent_to_it() {
    let thought = json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m",
        "choices": [{"index": 0, "delta": {"reasoning_content": "hm"}}]});
    let thought = format!("data: {thought}\n\n");
    let reply = Reply::sse(format!("{}{}", thought.repeat(40), Wire::Chat.stream())).cut_every(thought.len());
    let provider = Provider::always(reply.paced(Duration::from_millis(25))).await;
    let conf = Conf::open().provider_at("p", "openai-compatible", &provider.url(), "streams: {heartbeat: 100ms}");
    let edge = Edge::start(&conf.model("m", "p/m")).await;
    let ask = json!({"model": "m", "max_tokens": 64, "stream": true, "thinking": {"type": "disabled"},
        "messages": [{"role": "user", "content": "Say hello."}]});
    let text = Wire::Messages.ask_with(ask).send(edge.addr).await.text();
    let (before, _) = text.split_once("Hello").expect("the words come");
    assert!(before.contains("event: ping") && !text.contains("hm"), "{text}");
    edge.metric_reaches("gateway_stream_heartbeats_total", &[], 1.0).await;
}

#[tokio::test]
async fn a_whole_answer_is_never_padded() {
    let gate = Gate::new();
    let provider = Provider::always(Wire::Chat.reply(false).hold(&gate)).await;
    let more = "streams: {heartbeat: 50ms}";
    let edge = Edge::start(&Conf::open().provider_at("up", "openai", &provider.url(), more).model("m", "up/m")).await;
    let client = Wire::Chat.ask("m", false).open(edge.addr).await;
    provider.request(0).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    gate.open();
    let mut client = client;
    let response = client.response().await;
    assert_eq!((response.status, response.text().as_str()), (200, Wire::Chat.answer()));
}

#[tokio::test]
async fn the_hold_ends_in_time_and_can_be_switched_off() {
    let gates = [Gate::new(), Gate::new()];
    let (begun, stream) = (lifecycle(Wire::Messages), Wire::Messages.stream());
    let slow = |gate: &Gate| {
        let mut slow = Reply::sse("");
        slow.pieces = vec![
            Piece::Data(begun.as_bytes().to_vec()),
            Piece::Wait(gate.clone()),
            Piece::Data(stream.as_bytes()[begun.len()..].to_vec()),
        ];
        Provider::always(slow)
    };
    let (slow, due) = (slow(&gates[0]).await, slow(&gates[1]).await);
    let dying = Provider::always(Reply::sse(begun).end(End::Fin)).await;
    let well = Provider::always(Wire::Chat.reply(true)).await;
    let conf = Conf::open()
        .provider_at("slow", "anthropic", &slow.url(), "streams: {hold: 300ms, heartbeat: 100ms}")
        .provider_at("dying", "anthropic", &dying.url(), "streams: {hold: 0s}")
        .provider_at("due", "anthropic", &due.url(), "streams: {hold: 10m, early_head: 300ms, heartbeat: 100ms}")
        .provider("well", "openai", &well)
        .model("slow", "{targets: [slow/m, well/m]}")
        .model("due", "{targets: [due/m, well/m]}")
        .model("dying", "{targets: [dying/m, well/m]}");
    let edge = Edge::start(&conf).await;
    let client = Dialect::Known(Wire::Messages);
    // The head is there although there is no content, and signs of life follow it; at the latest when a head is due.
    for (name, gate) in [("slow", &gates[0]), ("due", &gates[1])] {
        let ask = client.ask(name);
        let wait = through_silence(&ask, &edge, (client.sign(), 3), gate);
        let response = within(PATIENCE, "the head", wait).await;
        assert_eq!(client.words(name, &response), WORDS);
    }
    let response = client.ask("dying").send(edge.addr).await;
    assert!(matches!(Wire::Messages.fold(&response.events()), Fold::Failed { .. }), "{}", response.text());
    assert!(well.requests().is_empty());
}

#[tokio::test]
async fn every_wait_has_its_own_deadline() {
    let words = Wire::Chat.stream().find("Hello, ").expect("there") + 200;
    let begun = Reply::sse(Wire::Chat.stream()).stop_at(words, End::Hang);
    let mut conf = Conf::open();
    let mut cases = Vec::new();
    for (name, reply, timeouts, status, says) in [
        ("head", Reply::no_answer(End::Hang), "first_byte: 400ms, between: 20s, stream: 20s", 504, "in time"),
        ("early", Reply::no_answer(End::Hang), "first_byte: 20s, between: 20s, stream: 400ms", 504, "in time"),
        ("held", Reply::sse(lifecycle(Wire::Chat)).end(End::Hang), "between: 400ms, stream: 20s", 504, "in time"),
        ("piece", begun.clone(), "first_byte: 20s, between: 400ms, stream: 20s", 200, "in time"),
        ("whole", begun.clone(), "first_byte: 20s, between: 20s, stream: 400ms", 200, "longer than it may"),
    ] {
        let provider = Provider::always(reply).await;
        let more = format!("timeouts: {{read: 20s, {timeouts}}}, streams: {{heartbeat: 100ms}}");
        conf = conf.provider_at(name, "openai", &provider.url(), &more).model(name, &format!("{name}/m"));
        cases.push((name, status, says, provider));
    }
    let edge = Edge::start(&conf).await;
    for (name, status, says, provider) in cases {
        let began = Instant::now();
        let response = Wire::Messages.ask(name, true).send(edge.addr).await;
        let took = began.elapsed();
        assert!(took >= Duration::from_millis(400) && took < Duration::from_secs(15), "{name}: {took:?}");
        assert_eq!(response.status, status, "{name}: {}", response.text());
        assert!(response.text().contains(says), "{name}: {}", response.text());
        if status == 200 {
            assert!(matches!(Wire::Messages.fold(&response.events()), Fold::Failed { .. }), "{name}");
        }
        provider.left(0).await;
        assert_eq!(provider.requests().len(), 1, "{name}: what a deadline ended is not tried again");
    }
}

/// A deadline is not tried again, but for whoever was sent to see whether an endpoint is well again.
#[tokio::test]
async fn a_trial_that_is_waited_for_in_vain_goes_on_elsewhere() {
    let (silent, well) =
        (Provider::always(Reply::no_answer(End::Hang)).await, Provider::always(Wire::Chat.reply(false)).await);
    let line = format!(
        "up: {{kind: openai, key: k, endpoints: [{{url: \"{}\"}}, {{url: \"{}\"}}], timeouts: {{read: 200ms}}, \
         breaker: {{failures: 1, open: 50ms, open_max: 50ms}}}}",
        silent.url(),
        well.url(),
    );
    let edge = Edge::start(&Conf::open().provider_yaml(&line).model("m", "up/m")).await;
    let mut failed = Vec::new();
    // The first finds out; each trial after it is somebody's request.
    while silent.requests().len() < 3 {
        let asked = silent.requests().len();
        let response = Wire::Chat.ask("m", false).send(edge.addr).await;
        if response.status != 200 {
            failed.push((asked, response.status));
        }
    }
    assert_eq!(failed, [(0, 504)]);
}

#[tokio::test]
async fn a_whole_answer_that_never_ends_has_a_deadline() {
    let whole = Wire::Chat.reply(false);
    let length = whole.body().len();
    let whole = whole.stop_at(length / 2, End::Hang).framed(Framed::Lie(length as u64));
    let provider = Provider::always(whole).await;
    let more = "timeouts: {read: 20s, between: 20s, stream: 400ms}";
    let conf = Conf::open().provider_at("up", "openai", &provider.url(), more).model("m", "up/m");
    let edge = Edge::start(&conf).await;
    let response = within(Duration::from_secs(10), "the answer", Wire::Messages.ask("m", false).send(edge.addr)).await;
    assert_eq!(response.status, 504, "{}", response.text());
    assert!(response.text().contains("The answer took longer"), "it is no stream: {}", response.text());
    Wire::Messages.error(&response);
    provider.left(0).await;
}

#[tokio::test]
async fn an_answer_that_is_long_and_breaks_off_is_told() {
    for (length, reply) in [(6 << 20, End::Fin), (65 << 20, End::Clean)] {
        let body = Wire::Chat.answer().replace("Hello, ", &"x".repeat(length));
        let most = if reply == End::Fin { body.len() - 9 } else { body.len() };
        let framed = Framed::Lie(body.len() as u64);
        let provider = Provider::always(Reply::json(200, body).stop_at(most, reply).framed(framed)).await;
        let edge = Edge::start(&Conf::open().provider("up", "openai", &provider).model("m", "up/m")).await;
        let response = Wire::Messages.ask("m", false).send(edge.addr).await;
        assert_eq!(response.status, 502, "{}", response.text());
        Wire::Messages.error(&response);
    }
}

#[tokio::test]
async fn a_client_that_leaves_a_held_stream_ends_it_upstream() {
    let provider = Provider::always(Reply::sse(lifecycle(Wire::Chat)).end(End::Hang)).await;
    let edge = Edge::start(&Conf::open().provider("up", "openai", &provider).model("m", "up/m")).await;
    let client = Wire::Chat.ask("m", true).open(edge.addr).await;
    provider.request(0).await;
    drop(client);
    within(PATIENCE, "the provider to see it", provider.left(0)).await;
}

#[tokio::test]
async fn every_transport_takes_the_seam() {
    let authority = Authority::new();
    let dir = tempfile::TempDir::new().expect("a directory");
    authority.write(&dir.path().join("ca.pem"));
    let tls = |protocols: &[&[u8]]| Speaks::Tls(authority.issue(&["localhost"]).server(protocols));
    let mut conf = Conf::open();
    let well = Provider::always(Wire::Messages.reply(true)).await;
    conf = conf.provider("well", "anthropic", &well);
    let mut cases = Vec::new();
    for (name, speaks, more, version) in [
        ("h1", Speaks::Http1, "", "HTTP/1.1"),
        ("h2c", Speaks::H2c, "http: h2", "HTTP/2"),
        ("tls-h1", tls(&[b"http/1.1"]), "ca: \"@DIR/ca.pem\"", "HTTP/1.1"),
        ("tls-h2", tls(&[b"h2", b"http/1.1"]), "ca: \"@DIR/ca.pem\"", "HTTP/2"),
    ] {
        let gate = Gate::new();
        let silent = halting(Wire::Chat, &gate);
        let provider = Provider::speaking(speaks, move |request| match request.json()["model"].as_str() {
            Some("whole") => Wire::Chat.reply(true).interim(103),
            Some("trailed") => Wire::Chat.reply(true).trailer("x-sum", "1"),
            Some("silent") => silent.clone(),
            Some("closed") => Reply::sse(lifecycle(Wire::Chat)),
            _ => Reply::sse(lifecycle(Wire::Chat)).end(End::Reset),
        })
        .await;
        let more = format!("streams: {{heartbeat: 100ms}}{}{more}", if more.is_empty() { "" } else { ", " });
        conf = conf.provider_at(name, "openai", &provider.url(), &more);
        for model in ["whole", "trailed", "silent", "closed", "reset"] {
            conf = conf.model(&format!("{name}-{model}"), &format!("{{targets: [{name}/{model}, well/m]}}"));
        }
        cases.push((name, version, provider, gate));
    }
    let edge = Edge::start_in(&conf, dir).await;
    for (name, version, provider, gate) in cases {
        let client = Dialect::Known(Wire::Messages);
        for model in ["whole", "trailed", "whole", "closed", "reset"] {
            let what = format!("{name} {model}");
            let response = client.ask(&format!("{name}-{model}")).send(edge.addr).await;
            assert_eq!(client.words(&what, &response), WORDS, "{what}");
        }
        let ask = client.ask(&format!("{name}-silent"));
        let wait = through_silence(&ask, &edge, (client.sign(), 3), &gate);
        let response = within(PATIENCE, "signs of life", wait).await;
        assert_eq!(client.words(name, &response), WORDS, "{name}");
        assert_eq!(provider.last().version, version, "{name}");
        // What ended well is used again; a stream that was given up costs HTTP/1.1 its connection.
        let connections = provider.connections();
        assert!(connections <= 2, "{name}: {connections} connections for 6 requests");
    }
    assert_eq!(well.requests().len(), 8, "two early failures of each");
}

#[tokio::test]
async fn big_bodies_and_stale_connections_pass_the_seam() {
    let stream = Wire::Chat.stream();
    let head =
        format!("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: {}\r\n\r\n", stream.len());
    let first = format!("{head}{stream}");
    let provider = Provider::start(move |request| match request.number {
        // Ends in order, and the kept connection is closed without a word.
        0 => Reply::raw(first.clone(), End::Fin),
        _ => Wire::Chat.reply(true),
    })
    .await;
    let edge = Edge::start(&Conf::open().provider("up", "openai", &provider).model("m", "up/m")).await;
    let text = "z".repeat(3 << 20);
    let body = json!({"model": "m", "stream": true, "max_tokens": 9, "messages": [{"role": "user", "content": text}]});
    for _ in 0..3 {
        let response = Wire::Messages.ask_with(body.clone()).send(edge.addr).await;
        assert_eq!(Dialect::Known(Wire::Messages).words("big", &response), WORDS);
    }
    assert!(provider.last().body.len() > 3 << 20);
    assert_eq!(provider.requests().len(), 3);
}

#[tokio::test]
async fn a_prompt_that_is_too_long_goes_to_a_bigger_model_where_the_route_says_so() {
    let refusal = json!({"error": {"message": "This model's maximum context length is 8192 tokens.",
        "type": "invalid_request_error", "param": "messages", "code": "context_length_exceeded"}});
    let small = Provider::always(Reply::json(400, refusal.to_string())).await;
    let odd = Provider::always(Reply::json(400, Wire::Chat.error_body("invalid_request_error", "no such tool"))).await;
    let big = Provider::start(|request| Wire::Messages.reply(request.json()["stream"] == true)).await;
    let conf = Conf::open()
        .provider("small", "openai", &small)
        .provider("odd", "openai", &odd)
        .provider("big", "anthropic", &big)
        .model("on", "{targets: [small/s, big/b], fallback_on: [context_length]}")
        .model("odd", "{targets: [odd/s, big/b], fallback_on: [context_length]}")
        .model("off", "{targets: [small/s, big/b]}")
        .model("last", "{targets: [small/s], fallback_on: [context_length]}");
    let edge = Edge::start(&conf).await;
    for stream in [false, true] {
        let response = Wire::Chat.ask("on", stream).send(edge.addr).await;
        assert_eq!(Wire::Chat.text(&Wire::Chat.read(&response, stream)), WORDS);
        for (model, says) in [("off", "maximum context"), ("last", "maximum context"), ("odd", "no such tool")] {
            let response = Wire::Messages.ask(model, stream).send(edge.addr).await;
            assert_eq!(response.status, 400, "{model}: {}", response.text());
            assert!(response.text().contains(says), "{model}: {}", response.text());
        }
    }
    assert_eq!((big.requests().len(), odd.requests().len(), small.requests().len()), (2, 2, 6));
    assert!(edge.metric("gateway_upstream_ejections_total", &[]).await < 0.5, "it is the client's fault");
}

/// A stream that never pauses still has an end: data is always there, so no wait for it is ever over.
#[tokio::test]
async fn a_stream_that_is_always_ahead_of_its_client_ends_in_time() {
    let words = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Hello, \"}}]}\n\n";
    let mut endless = Reply::sse("");
    endless.pieces = vec![Piece::Data(words.repeat(1_000).into_bytes()); 400];
    let provider = Provider::always(endless.end(End::Hang)).await;
    let conf = Conf::open().provider_at("up", "openai", &provider.url(), "timeouts: {stream: 400ms}");
    let edge = Edge::start(&conf.model("m", "up/m")).await;
    let mut client = Wire::Chat.ask("m", true).open(edge.addr).await;
    // The client takes nothing until the deadline is over.
    tokio::time::sleep(Duration::from_millis(600)).await;
    let response = within(PATIENCE, "the end", client.response()).await;
    assert!(response.text().contains("longer than it may"), "{}", show(&response.body));
    assert!(response.body.len() < 16_000_000, "of 24 MB: {}", response.body.len());
}

#[tokio::test]
async fn a_provider_that_stops_reading_is_heard_and_costs_no_more_than_its_time() {
    let refusal = || Reply::json(413, Wire::Chat.error_body("invalid_request_error", "too much"));
    let mut conf = Conf::open();
    for (name, addr) in [
        ("early", Provider::early(refusal()).await),
        ("deaf", Provider::deaf(Some(refusal())).await),
        ("dumb", Provider::deaf(None).await),
    ] {
        let limits = "timeouts: {write: 1s, first_byte: 60s, read: 60s}";
        conf = conf.provider_at(name, "openai", &format!("http://{addr}"), limits).model(name, &format!("{name}/m"));
    }
    let edge = Edge::start(&conf).await;
    for (model, status, says) in [("early", 413, "too much"), ("deaf", 413, "too much"), ("dumb", 504, "in time")] {
        let long = "z".repeat(30 << 20);
        let messages = json!([{"role": "user", "content": long}]);
        let body = |stream: bool| json!({"model": model, "stream": stream, "max_tokens": 9, "messages": messages});
        let embeddings = Ask::post("/v1/embeddings", json!({"model": model, "input": long}).to_string());
        for (client, ask) in [
            (Wire::Messages, Wire::Messages.ask_with(body(true))),
            (Wire::Chat, Wire::Chat.ask_with(body(false))),
            (Wire::Chat, embeddings),
        ] {
            let path = ask.path.clone();
            let response = ask.send(edge.addr).await;
            assert_eq!(response.status, status, "{model} {path}: {}", response.text());
            let error = client.error(&response);
            assert!(error["message"].as_str().is_some_and(|message| message.contains(says)), "{model}: {error}");
        }
    }
}

/// The others are as likely to be dead as the first that is found out.
#[tokio::test]
async fn of_several_http2_connections_that_fell_silent_one_tells_of_all() {
    let (gate, never) = (Gate::new(), Gate::new());
    let silent = Arc::new(AtomicUsize::new(0));
    let (held, dead) = (gate.clone(), Arc::clone(&silent));
    let provider = Provider::speaking(Speaks::H2c, move |request| {
        let is_dead = request.connection < dead.load(Ordering::SeqCst);
        Wire::Chat.reply(false).hold(if is_dead { &never } else { &held })
    })
    .await;
    let conf = Conf::open().provider_at("up", "openai", &provider.url(), "http: h2, timeouts: {read: 4s}");
    let edge = Edge::start(&conf.model("m", "{targets: [up/m], retries: {rounds: 0}}")).await;
    // More at once than one connection carries.
    let mut open = Vec::new();
    for _ in 0..120 {
        open.push(Wire::Chat.ask("m", false).open(edge.addr).await);
    }
    provider.request(119).await;
    gate.open();
    for client in &mut open {
        client.response().await;
    }
    let connections = provider.connections();
    assert!(connections >= 2, "{connections}");
    silent.store(connections, Ordering::SeqCst);
    let mut statuses = Vec::new();
    for _ in 0..3 {
        statuses.push(Wire::Chat.ask("m", false).send(edge.addr).await.status);
    }
    assert_eq!((statuses, provider.connections()), (vec![504, 200, 200], connections + 1));
}

/// A balancer that forgets its flows, or a server that hangs, leaves a connection open on which nothing comes any more.
#[tokio::test]
async fn an_http2_connection_that_has_fallen_silent_gets_no_further_requests() {
    for stream in [false, true] {
        let never = Gate::new();
        let provider = Provider::speaking(Speaks::H2c, move |request| match (request.connection, request.number) {
            (0, 1..) => Wire::Chat.reply(stream).hold(&never),
            _ => Wire::Chat.reply(stream),
        })
        .await;
        let more = "http: h2, timeouts: {first_byte: 2s, read: 2s}";
        let conf = Conf::open().provider_at("up", "openai", &provider.url(), more);
        let edge = Edge::start(&conf.model("m", "{targets: [up/m], retries: {rounds: 0}}")).await;
        let mut statuses = Vec::new();
        for _ in 0..4 {
            statuses.push(Wire::Chat.ask("m", stream).send(edge.addr).await.status);
        }
        assert_eq!((statuses, provider.connections()), (vec![200, 504, 200, 200], 2), "stream: {stream}");
    }
}

#[tokio::test]
async fn a_provider_that_wants_http1_after_all_gets_it() {
    let authority = Authority::new();
    let dir = tempfile::TempDir::new().expect("a directory");
    authority.write(&dir.path().join("ca.pem"));
    let tls = Speaks::Tls(authority.issue(&["localhost"]).server(&[b"h2", b"http/1.1"]));
    let provider = Provider::speaking(tls, |request| match request.version.as_str() {
        "HTTP/2" => Reply::raw("no HTTP/2 here", End::Fin),
        _ => Wire::Chat.reply(true),
    })
    .await;
    let conf = Conf::open().provider_at("up", "openai", &provider.url(), "ca: \"@DIR/ca.pem\"").model("m", "up/m");
    let edge = Edge::start_in(&conf, dir).await;
    for _ in 0..2 {
        let response = Wire::Chat.ask("m", true).send(edge.addr).await;
        assert_eq!(Dialect::Known(Wire::Chat).words("HTTP/1.1", &response), WORDS);
    }
    let versions: Vec<_> = provider.requests().into_iter().map(|request| request.version).collect();
    assert_eq!(versions, ["HTTP/2", "HTTP/1.1", "HTTP/1.1"]);
}

/// One odd frame of a provider that speaks HTTP/2 alone costs the request that it meets, and the one that shows it.
#[tokio::test]
async fn a_provider_that_speaks_no_http1_is_asked_by_http2_again() {
    for offered in [&[&b"h2"[..]][..], &[&b"h2"[..], b"http/1.1"]] {
        let authority = Authority::new();
        let dir = tempfile::TempDir::new().expect("a directory");
        authority.write(&dir.path().join("ca.pem"));
        let tls = Speaks::Tls(authority.issue(&["localhost"]).server(offered));
        let provider = Provider::speaking(tls, |request| match (request.number, request.version.as_str()) {
            (0, _) => Reply::raw("no HTTP/2 here", End::Fin),
            // Agreed on or not, it does not speak it.
            (_, "HTTP/1.1") => Reply::raw("\0\0\u{12}\u{4}\0\0\0\0\0", End::Fin),
            _ => Wire::Chat.reply(false),
        })
        .await;
        let conf = Conf::open().provider_at("up", "openai", &provider.url(), "ca: \"@DIR/ca.pem\"");
        let model = "{targets: [up/m], retries: {rounds: 0}}";
        let edge = Edge::start_in(&conf.model("m", model), dir).await;
        let mut statuses = Vec::new();
        for _ in 0..4 {
            statuses.push(Wire::Chat.ask("m", false).send(edge.addr).await.status);
        }
        assert_eq!(statuses[2..], [200, 200], "{offered:?}: {statuses:?}");
    }
}
