//! A stream that is slow to begin is asked for a second time: whoever speaks first is the answer, nobody sees the other.

use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;

use super::early;
use crate::support::client::Ask;
use crate::support::dialect::{DIALECTS, Dialect, WORDS};
use crate::support::edge::{Conf, Edge};
use crate::support::formats::Wire;
use crate::support::gate::Gate;
use crate::support::provider::{Provider, Speaks};
use crate::support::script::{End, Piece, Reply};
use crate::support::tls::Authority;

/// Streams before a second attempt is thought of.
const MEASURED: usize = 20;

/// Always hedged, once something is known.
const EAGER: &str = "hedge: {percentile: 50, least: 1ms, budget: 100}";

/// A model with two targets. The first is quick while it is measured, and then does as it is told.
struct Race {
    edge: Edge,
    first: Provider,
    second: Provider,
}

/// One side of a race.
struct Runner {
    wire: Wire,
    reply: Reply,
    /// What it speaks, and what the config says of that.
    way: (Speaks, &'static str),
}

fn runner(wire: Wire, reply: Reply) -> Runner {
    Runner { wire, reply, way: (Speaks::Http1, "http: auto") }
}

/// A stream that says nothing of weight until the gate opens.
fn slow(wire: Wire, gate: &Gate) -> Reply {
    let stream = wire.stream();
    let word = stream.find("Hello, ").expect("the words are there");
    let at = stream[..word].rfind("\n\n").expect("something is before them") + 2;
    let mut reply = Reply::sse("");
    reply.pieces = vec![
        Piece::Data(stream.as_bytes()[..at].to_vec()),
        Piece::Wait(gate.clone()),
        Piece::Data(stream.as_bytes()[at..].to_vec()),
    ];
    reply
}

impl Race {
    async fn begin(first: Runner, second: Runner, model: &str) -> Self {
        Self::begin_in(TempDir::new().expect("a directory"), first, second, model).await
    }

    async fn begin_in(dir: TempDir, first: Runner, second: Runner, model: &str) -> Self {
        let kinds = [first.wire.kind(), second.wire.kind()];
        let more = [first.way.1, second.way.1].map(|way| format!("breaker: {{failures: 1000}}, {way}"));
        let (quick, reply) = (first.wire.reply(true), first.reply);
        let script = move |number| if number < MEASURED { quick.clone() } else { reply.clone() };
        let first = Provider::speaking(first.way.0, move |request| script(request.number)).await;
        let reply = second.reply;
        let second = Provider::speaking(second.way.0, move |_| reply.clone()).await;
        let conf = Conf::open()
            .provider_at("first", kinds[0], &first.url(), &more[0])
            .provider_at("second", kinds[1], &second.url(), &more[1])
            .model("m", &format!("{{targets: [first/a, second/b], {model}}}"));
        let edge = Edge::start_in(&conf, dir).await;
        for _ in 0..MEASURED {
            assert_eq!(Dialect::Responses.ask("m").send(edge.addr).await.status, 200);
        }
        assert_eq!(second.requests().len(), 0, "what is quick is asked once");
        Self { edge, first, second }
    }

    /// The words that a client of each format hears.
    async fn heard(&self) {
        for client in DIALECTS {
            let response = client.ask("m").send(self.edge.addr).await;
            assert_eq!(client.words(&format!("{client:?}"), &response), WORDS);
        }
    }

    async fn counted(&self, result: &str, count: f64) {
        self.edge
            .metric_reaches("gateway_hedges_total", &["model=\"m\"", &format!("result=\"{result}\"")], count)
            .await;
        let all = self.edge.metric("gateway_hedges_total", &[]).await;
        assert!((all - count).abs() < 0.5, "{result}: {count}, and {all} in all");
    }
}

#[tokio::test]
async fn the_second_answers_and_the_first_is_cancelled() {
    let authority = Authority::new();
    let ways = |number: usize| match number % 3 {
        0 => (Speaks::Http1, "http: h1"),
        1 => (Speaks::H2c, "http: h2"),
        _ => (Speaks::Tls(authority.issue(&["localhost"]).server(&[b"h2", b"http/1.1"])), "ca: \"@DIR/ca.pem\""),
    };
    let formats = [
        (Wire::Chat, Wire::Messages),
        (Wire::Messages, Wire::Chat),
        (Wire::Chat, Wire::Chat),
        (Wire::Messages, Wire::Messages),
    ];
    for (number, (one, two)) in formats.into_iter().enumerate() {
        let never = Gate::new();
        let dir = TempDir::new().expect("a directory");
        authority.write(&dir.path().join("ca.pem"));
        let reply = if number % 2 == 0 { slow(one, &never) } else { one.reply(true).hold(&never) };
        let first = Runner { wire: one, reply, way: ways(number) };
        let second = Runner { wire: two, reply: two.reply(true), way: ways(number + 1) };
        let race = Race::begin_in(dir, first, second, EAGER).await;
        let now = Ask::get("/explain?model=m&stream=true").send(race.edge.admin).await.json();
        assert_eq!(now["hedge"]["percentile"], 50, "{now}");
        assert!(now["hedge"]["after_ms"].as_u64().is_some_and(|after| after < 5_000), "{now}");
        assert!(now["hedge"]["skipped"].is_null(), "{now}");
        race.heard().await;
        for at in 0..DIALECTS.len() {
            race.first.left(MEASURED + at).await;
        }
        race.counted("won", DIALECTS.len() as f64).await;
        let line = race.edge.log_line("a hedge", |line| line.contains("\"hedge\":\"won\"")).await;
        assert!(line.contains("\"attempts\":2") && line.contains("\"provider\":\"second\""), "{line}");
        assert!(line.contains("\"from\":\"first/a\",\"to\":\"second/b\",\"reason\":\"hedged\""), "{line}");
        race.edge.metric_becomes("gateway_upstream_in_flight", &[], 0.0).await;
    }
}

#[tokio::test]
async fn the_first_answers_after_all_and_the_second_is_cancelled() {
    let (gate, never) = (Gate::new(), Gate::new());
    let first = runner(Wire::Messages, slow(Wire::Messages, &gate));
    let race = Race::begin(first, runner(Wire::Chat, Wire::Chat.reply(true).hold(&never)), EAGER).await;
    let client = Dialect::Gemini;
    let mut asked = client.ask("m").open(race.edge.addr).await;
    race.second.request(0).await;
    gate.open();
    assert_eq!(client.words("the first", &asked.response().await), WORDS);
    race.second.left(0).await;
    race.counted("lost", 1.0).await;
    let line = race.edge.log_line("a hedge", |line| line.contains("\"hedge\":\"lost\"")).await;
    assert!(line.contains("\"provider\":\"first\"") && !line.contains("\"fallback\""), "{line}");
}

#[tokio::test]
async fn a_second_that_fails_changes_nothing() {
    let failures = [
        Reply::json(500, "{}"),
        Reply::json(429, "{}").header("retry-after", "1"),
        Reply::no_answer(End::Reset),
        Reply::sse(": hi\n\n"),
        Wire::Chat.reply(true).end(End::Reset).stop_at(30, End::Reset),
    ];
    for (number, failure) in failures.into_iter().enumerate() {
        let gate = Gate::new();
        let first = runner(Wire::Messages, slow(Wire::Messages, &gate));
        let race = Race::begin(first, runner(Wire::Chat, failure), EAGER).await;
        let client = DIALECTS[number % DIALECTS.len()];
        let mut asked = client.ask("m").open(race.edge.addr).await;
        race.second.request(0).await;
        // Its place is free while the first goes on.
        race.edge.metric_becomes("gateway_upstream_in_flight", &["provider=\"second\""], 0.0).await;
        race.edge.metric_becomes("gateway_upstream_in_flight", &["provider=\"first\""], 1.0).await;
        gate.open();
        assert_eq!(client.words("the first", &asked.response().await), WORDS, "{number}");
        race.counted("failed", 1.0).await;
    }
}

#[tokio::test]
async fn a_client_gets_signs_of_life_while_both_are_silent() {
    const WAY: &str = "http: auto, streams: {early_head: 500ms, heartbeat: 50ms, hold: 5s}";
    let never = Gate::new();
    let silent = Wire::Chat.reply(true).hold(&never);
    for (number, second) in [silent, Reply::json(500, "{}")].into_iter().enumerate() {
        let gate = Gate::new();
        let runner = |wire, reply| Runner { wire, reply, way: (Speaks::Http1, WAY) };
        let first = runner(Wire::Messages, Wire::Messages.reply(true).hold(&gate));
        let race = Race::begin(first, runner(Wire::Chat, second), EAGER).await;
        let client = DIALECTS[number];
        let response = early::ask(&race.edge, client, "m", &gate).await;
        assert_eq!(client.words("the first", &response), WORDS, "{number}");
        assert_eq!(race.second.requests().len(), 1, "{number}");
        race.edge.metric_becomes("gateway_upstream_in_flight", &[], 0.0).await;
    }
}

#[tokio::test]
async fn a_first_that_fails_waits_for_the_second() {
    let failures = [
        Reply::json(503, "{}"),
        Reply::no_answer(End::Reset),
        Reply::sse("data: {\"error\":{\"message\":\"no\",\"type\":\"server_error\"}}\n\n"),
    ];
    for (number, failure) in failures.into_iter().enumerate() {
        let (fails, speaks) = (Gate::new(), Gate::new());
        let first = runner(Wire::Chat, failure.hold(&fails));
        let race = Race::begin(first, runner(Wire::Messages, Wire::Messages.reply(true).hold(&speaks)), EAGER).await;
        let client = DIALECTS[number % DIALECTS.len()];
        let mut asked = client.ask("m").open(race.edge.addr).await;
        race.second.request(0).await;
        fails.open();
        speaks.open();
        assert_eq!(client.words("the second", &asked.response().await), WORDS, "{number}");
        race.counted("won", 1.0).await;
        assert_eq!(race.second.requests().len(), 1, "it is asked once");
    }
}

#[tokio::test]
async fn when_both_fail_what_is_left_is_tried_and_then_the_client_told() {
    let gate = Gate::new();
    let first = runner(Wire::Chat, Reply::json(500, "{}").hold(&gate));
    let rounds = format!("{EAGER}, retries: {{rounds: 0}}");
    let race = Race::begin(first, runner(Wire::Chat, Reply::json(503, "{}")), &rounds).await;
    let mut asked = Dialect::Known(Wire::Messages).ask("m").open(race.edge.addr).await;
    race.second.request(0).await;
    gate.open();
    let response = asked.response().await;
    assert_eq!(response.status, 500, "{}", response.text());
    Dialect::Known(Wire::Messages).error("both fail", &response);
    assert_eq!((race.first.requests().len(), race.second.requests().len()), (MEASURED + 1, 1), "each once");
    race.counted("failed", 1.0).await;
}

#[tokio::test]
async fn a_budget_bounds_second_attempts() {
    // Two of a hundred: of 20 streams and a few more not even one.
    let frugal = "hedge: {percentile: 50, least: 1ms, budget: 2}";
    let gates: Vec<Gate> = (0..20).map(|_| Gate::new()).collect();
    let shut = gates.clone();
    let first = Provider::start(move |request| match shut.get(request.number.wrapping_sub(MEASURED)) {
        Some(gate) => slow(Wire::Chat, gate),
        None => Wire::Chat.reply(true),
    })
    .await;
    let second = Provider::always(Wire::Chat.reply(true)).await;
    let conf = Conf::open().provider("first", "openai", &first).provider("second", "openai", &second);
    let edge = Edge::start(&conf.model("m", &format!("{{targets: [first/a, second/b], {frugal}}}"))).await;
    let client = Dialect::Known(Wire::Chat);
    for _ in 0..MEASURED {
        assert_eq!(client.words("quick", &client.ask("m").send(edge.addr).await), WORDS);
    }
    for (number, gate) in gates.iter().enumerate() {
        let mut asked = client.ask("m").open(edge.addr).await;
        first.request(MEASURED + number).await;
        // Most likely it is slow by now; if not, the next one is.
        tokio::time::sleep(Duration::from_millis(30)).await;
        gate.open();
        assert_eq!(client.words("the first", &asked.response().await), WORDS);
        if edge.metric("gateway_hedges_total", &["result=\"no_budget\""]).await > 0.5 {
            assert_eq!(second.requests().len(), 0);
            return;
        }
    }
    panic!("none of 20 was slow");
}

#[tokio::test]
async fn what_is_whole_or_tied_or_not_measured_is_asked_once() {
    let gate = Gate::new();
    let held = Wire::Messages.reply(false).hold(&gate);
    let race =
        Race::begin(runner(Wire::Messages, held), runner(Wire::Messages, Wire::Messages.reply(true)), EAGER).await;
    let mut whole = Wire::Messages.ask("m", false).open(race.edge.addr).await;
    race.first.request(MEASURED).await;
    let signed = json!({"model": "m", "max_tokens": 9, "stream": true, "messages": [
        {"role": "user", "content": "1 + 1?"},
        {"role": "assistant", "content": [{"type": "thinking", "thinking": "2", "signature": "c2ln"}, {"type": "text", "text": "2"}]},
        {"role": "user", "content": "Sure?"}]});
    let mut tied = Wire::Messages.ask_with(signed).open(race.edge.addr).await;
    race.first.request(MEASURED + 1).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    gate.open();
    assert_eq!((whole.response().await.status, tied.response().await.status), (200, 200));
    assert_eq!(race.second.requests().len(), 0);
    // Of the two the stream alone is one.
    race.counted("tied", 1.0).await;
}

#[tokio::test]
async fn a_slow_stream_that_is_asked_for_once_says_why() {
    // The first target does not hold its streams, though others may be the first; or there is nobody else to ask.
    let cases = [
        ("streams: {hold: 0s}", "strategy: priority", "max_attempts: 4", "no_hold", "not held"),
        ("streams: {hold: 10s}", "strategy: priority", "max_attempts: 1", "no_target", "nobody else"),
    ];
    for (streams, strategy, attempts, word, why) in cases {
        let (gate, quick) = (Gate::new(), Wire::Chat.reply(true));
        let late = quick.clone().hold(&gate);
        let first =
            Provider::start(move |request| if request.number < MEASURED { quick.clone() } else { late.clone() }).await;
        let second = Provider::always(Wire::Chat.reply(true)).await;
        let conf = Conf::open()
            .server(attempts)
            .provider_at("first", "openai", &first.url(), streams)
            .provider("second", "openai", &second)
            .model("m", &format!("{{targets: [first/a, second/b, second/c], {strategy}, {EAGER}}}"));
        let edge = Edge::start(&conf).await;
        let client = Dialect::Known(Wire::Chat);
        for _ in 0..MEASURED {
            assert_eq!(client.ask("m").send(edge.addr).await.status, 200);
        }
        let now = Ask::get("/explain?model=m&stream=true").send(edge.admin).await.json();
        assert!(now["hedge"]["skipped"].as_str().is_some_and(|said| said.contains(why)), "{word}: {now}");
        let mut asked = client.ask("m").open(edge.addr).await;
        first.request(MEASURED).await;
        // Longer than the quick ones took, on a busy machine too.
        tokio::time::sleep(Duration::from_secs(1)).await;
        gate.open();
        assert_eq!(client.words(word, &asked.response().await), WORDS);
        edge.metric_reaches("gateway_hedges_total", &["model=\"m\"", &format!("result=\"{word}\"")], 1.0).await;
        edge.log_line("the reason", |line| line.contains(&format!("\"hedge\":\"{word}\""))).await;
        assert_eq!(second.requests().len(), 0, "{word}");
    }
}

#[tokio::test]
async fn a_client_that_leaves_takes_both_with_it() {
    let never = Gate::new();
    let first = runner(Wire::Chat, slow(Wire::Chat, &never));
    let race = Race::begin(first, runner(Wire::Messages, Wire::Messages.reply(true).hold(&never)), EAGER).await;
    let asked = Dialect::Responses.ask("m").open(race.edge.addr).await;
    race.second.request(0).await;
    drop(asked);
    race.first.left(MEASURED).await;
    race.second.left(0).await;
    race.counted("left", 1.0).await;
    race.edge.metric_becomes("gateway_upstream_in_flight", &[], 0.0).await;
}

#[tokio::test]
async fn the_second_may_be_another_endpoint() {
    let (never, quick) = (Gate::new(), Wire::Chat.reply(true));
    let slow = slow(Wire::Chat, &never);
    let one =
        Provider::start(move |request| if request.number < MEASURED { quick.clone() } else { slow.clone() }).await;
    let two = Provider::always(Wire::Chat.reply(true)).await;
    let endpoints =
        format!("endpoints: [{{url: \"{}\", weight: 100}}, {{url: \"{}\", weight: 100}}]", one.url(), two.url());
    let conf = Conf::open()
        .provider_yaml(&format!("up: {{kind: openai, key: k, balance: round_robin, {endpoints}}}"))
        .model("m", &format!("{{targets: [up/a], {EAGER}}}"));
    let edge = Edge::start(&conf).await;
    let client = Dialect::Known(Wire::Messages);
    for number in 0..2 * MEASURED + 6 {
        let response = client.ask("m").send(edge.addr).await;
        assert_eq!(client.words("one of two", &response), WORDS, "{number}");
    }
    // On a busy machine a quick one may have a second too, which only makes more of them slow.
    assert!(one.requests().len() >= MEASURED + 3, "the last three of its own were slow");
    edge.metric_reaches("gateway_hedges_total", &["result=\"won\""], 3.0).await;
}
