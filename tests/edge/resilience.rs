//! When everything fails nothing gets worse: further attempts have a budget, and what fails is left alone.

use std::time::{Duration, Instant};

use crate::support::client::Ask;
use crate::support::edge::{Conf, Edge};
use crate::support::formats::Wire;
use crate::support::gate::Gate;
use crate::support::provider::Provider;
use crate::support::script::{End, Reply};

/// `count` endpoints of one provider, and its line in the config.
async fn fleet(replies: Vec<Reply>, more: &str) -> (Vec<Provider>, String) {
    let mut providers = Vec::new();
    for reply in replies {
        providers.push(Provider::always(reply).await);
    }
    let urls: Vec<String> = providers.iter().map(|provider| format!("\"{}\"", provider.url())).collect();
    (providers, format!("fleet: {{kind: openai-compatible, endpoints: [{}], {more}}}", urls.join(", ")))
}

fn asked(providers: &[Provider]) -> usize {
    providers.iter().map(|provider| provider.requests().len()).sum()
}

const KEEP: &str = "breaker: {failures: 1000}";

#[tokio::test]
async fn when_all_targets_fail_attempts_are_bounded_by_a_budget_however_many_models_there_are() {
    const REQUESTS: usize = 200;
    for models in [1, 25] {
        let (providers, line) = fleet(vec![Reply::json(500, "{}"); 3], KEEP).await;
        let conf = Conf::open().provider_yaml(&line);
        let conf =
            (0..models).fold(conf, |conf, number| conf.model(&format!("m{number}"), &format!("fleet/l{number}")));
        let edge = Edge::start(&conf).await;
        let began = Instant::now();
        for number in 0..REQUESTS {
            let response = Wire::Chat.ask(&format!("m{}", number % models), false).send(edge.addr).await;
            assert_eq!(response.status, 500, "{}", response.text());
        }
        let most = REQUESTS as f64 * 1.2 + 10.0 * (began.elapsed().as_secs_f64() + 1.0);
        let attempts = asked(&providers) as f64;
        assert!(attempts <= most, "{models} models: {attempts} attempts, at most {most}");
        assert!(attempts >= REQUESTS as f64 * 1.2, "{models} models: the budget is used: {attempts}");
        edge.metric_reaches("gateway_retry_budget_exhausted_total", &["model=\"m0\""], 1.0).await;
    }
}

/// The statuses of `count` requests that come at once.
async fn burst(edge: &Edge, count: usize) -> Vec<u16> {
    let all = (0..count).map(|_| {
        let addr = edge.addr;
        tokio::spawn(async move { Wire::Chat.ask("m", false).send(addr).await.status })
    });
    let mut statuses = Vec::with_capacity(count);
    for one in all.collect::<Vec<_>>() {
        statuses.push(one.await.expect("no request panics"));
    }
    statuses
}

/// Returns once all who would ask `provider` have done so.
async fn settled(provider: &Provider) {
    let mut known = 0;
    while known == 0 || provider.requests().len() > known {
        known = provider.requests().len();
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn many_that_fail_at_the_same_moment_are_bounded_as_well() {
    const REQUESTS: usize = 150;
    // Nothing is known of a target before all who would ask it have done so.
    let gates = [Gate::new(), Gate::new(), Gate::new()];
    let mut providers = Vec::new();
    for gate in &gates {
        providers.push(Provider::always(Reply::json(500, "{}").hold(gate)).await);
    }
    let conf = ["a", "b", "c"].iter().zip(&providers);
    let conf = conf.fold(Conf::open(), |conf, (name, provider)| conf.provider(name, "openai", provider));
    let edge = Edge::start(&conf.model("m", "{targets: [a/gpt, b/gpt, c/gpt], strategy: priority}")).await;
    let began = Instant::now();
    let opens = async {
        while providers[0].requests().len() < REQUESTS {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        for (provider, gate) in providers.iter().zip(&gates) {
            settled(provider).await;
            gate.open();
        }
    };
    let (statuses, ()) = tokio::join!(burst(&edge, REQUESTS), opens);
    assert_eq!(statuses, [500; REQUESTS]);
    let most = REQUESTS as f64 * 1.2 + 10.0 * (began.elapsed().as_secs_f64() + 1.0);
    let attempts = asked(&providers) as f64;
    assert!(attempts <= most, "{attempts} attempts, at most {most}");
}

#[tokio::test]
async fn many_that_fail_at_the_same_moment_all_find_the_target_that_answers() {
    const REQUESTS: usize = 150;
    let gate = Gate::new();
    let dead = Provider::always(Reply::no_answer(End::Fin).hold(&gate)).await;
    let worse = Provider::always(Reply::json(500, "{}")).await;
    let well = Provider::always(Wire::Chat.reply(false)).await;
    let conf = Conf::open()
        .provider("dead", "openai", &dead)
        .provider("worse", "openai", &worse)
        .provider("well", "openai", &well)
        .model("m", "{targets: [dead/gpt, worse/gpt, well/gpt], strategy: priority}");
    let edge = Edge::start(&conf).await;
    let opens = async {
        while dead.requests().len() < REQUESTS {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        gate.open();
    };
    let (statuses, ()) = tokio::join!(burst(&edge, REQUESTS), opens);
    assert_eq!(statuses, [200; REQUESTS]);
    assert!(worse.requests().len() < REQUESTS / 4, "what fails is not asked by all: {}", worse.requests().len());
}

#[tokio::test]
async fn a_budget_of_nothing_tries_nothing_again() {
    let (providers, line) = fleet(vec![Reply::json(500, "{}"); 3], KEEP).await;
    let model = "{targets: [fleet/llama], retries: {budget: 0, budget_floor: 0}}";
    let edge = Edge::start(&Conf::open().provider_yaml(&line).model("m", model)).await;
    for _ in 0..5 {
        assert_eq!(Wire::Chat.ask("m", false).send(edge.addr).await.status, 500);
    }
    assert_eq!(asked(&providers), 5);
}

#[tokio::test]
async fn the_only_target_is_tried_again_after_a_wait() {
    let flaky = |request: &crate::support::provider::Request| match request.number {
        0 => Reply::json(503, "{}"),
        _ => Wire::Chat.reply(false),
    };
    let provider = Provider::start(flaky).await;
    let edge = Edge::start(&Conf::open().provider("up", "openai", &provider).model("m", "up/gpt")).await;
    assert_eq!(Wire::Chat.ask("m", false).send(edge.addr).await.status, 200);
    assert_eq!(provider.requests().len(), 2);
}

#[tokio::test]
async fn retry_after_is_waited_for_where_it_is_short_and_told_where_it_is_long() {
    let limited = |after: &'static str| {
        move |request: &crate::support::provider::Request| match request.number {
            0 => Reply::json(429, Wire::Chat.error_body("rate_limit_error", "slow down")).header("retry-after", after),
            _ => Wire::Chat.reply(false),
        }
    };
    let (short, long) = (Provider::start(limited("1")).await, Provider::start(limited("6")).await);
    let conf = Conf::open()
        .provider("short", "openai", &short)
        .provider("long", "openai", &long)
        .model("s", "short/gpt")
        .model("l", "long/gpt");
    let edge = Edge::start(&conf).await;
    assert_eq!(Wire::Chat.ask("s", false).send(edge.addr).await.status, 200);
    let gap = short.request(1).await.at - short.request(0).await.at;
    assert!(gap >= Duration::from_secs(1), "{gap:?}");
    let response = Wire::Chat.ask("l", false).send(edge.addr).await;
    assert_eq!((response.status, response.header("retry-after")), (429, Some("6")));
    assert_eq!(long.requests().len(), 1);
}

#[tokio::test]
async fn a_rate_limit_without_a_time_is_waited_for_as_long_as_the_model_is_left_alone() {
    let whole = Reply::json(429, Wire::Chat.error_body("rate_limit_error", "slow down"));
    let streamed = Reply::sse(r#"data: {"error":{"message":"slow down","type":"rate_limit_error","code":429}}"#);
    for (stream, limited) in [(false, whole.clone()), (true, whole), (true, streamed)] {
        let provider = Provider::start(move |request| match request.number {
            0 => limited.clone(),
            _ => Wire::Chat.reply(stream),
        })
        .await;
        let line = format!("up: {{kind: openai, key: k, url: \"{}\", breaker: {{cooldown: 300ms}}}}", provider.url());
        let edge = Edge::start(&Conf::open().provider_yaml(&line).model("m", "up/gpt")).await;
        let response = Wire::Chat.ask("m", stream).send(edge.addr).await;
        assert_eq!(response.status, 200, "{stream}: {}", response.text());
        let gap = provider.request(1).await.at - provider.request(0).await.at;
        assert!(gap >= Duration::from_millis(300), "{gap:?}");
    }
}

/// Google names the time in the body alone.
#[tokio::test]
async fn a_time_that_only_the_body_tells_is_believed() {
    let limited = r#"{"error":{"code":429,"message":"m","status":"RESOURCE_EXHAUSTED","details":[{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"37s"}]}}"#;
    for stream in [false, true] {
        let gemini = Provider::always(Reply::json(429, limited)).await;
        let chat = Provider::always(Wire::Chat.reply(stream)).await;
        let conf = Conf::open()
            .provider_at("gemini", "gemini", &gemini.url(), "breaker: {cooldown: 0s}")
            .provider("chat", "openai", &chat)
            .model("m", "{targets: [gemini/gemini-3-pro, chat/gpt]}");
        let edge = Edge::start(&conf).await;
        for _ in 0..3 {
            assert_eq!(Wire::Chat.ask("m", stream).send(edge.addr).await.status, 200);
        }
        assert_eq!((gemini.requests().len(), chat.requests().len()), (1, 3));
        let upstreams = Ask::get("/upstreams").send(edge.admin).await.text();
        let cools =
            upstreams.split("\"cools_ms\":").filter_map(|rest| rest.split([',', '}']).next()?.trim().parse().ok());
        assert!(cools.max().is_some_and(|cools: u64| cools > 20_000), "{upstreams}");
    }
}

#[tokio::test]
async fn a_refusal_that_does_not_end_is_not_waited_for() {
    for status in [429, 503] {
        let never = Gate::new();
        let first = Provider::always(Reply::json(status, "{}").wait_before_end(&never)).await;
        let second = Provider::always(Wire::Chat.reply(false)).await;
        let conf = Conf::open().provider("one", "openai", &first).provider("two", "openai", &second);
        let edge = Edge::start(&conf.model("m", "{targets: [one/gpt, two/gpt]}")).await;
        assert_eq!(Wire::Chat.ask("m", false).send(edge.addr).await.status, 200, "{status}");
        assert_eq!((first.requests().len(), second.requests().len()), (1, 1));
    }
}

#[tokio::test]
async fn what_moves_a_request_on_is_as_configured() {
    let well = Provider::always(Wire::Chat.reply(false)).await;
    let mut conf = Conf::open().provider("well", "openai", &well);
    let mut cases = Vec::new();
    for (name, reply, on, status) in [
        ("reset-default", Reply::no_answer(End::Fin), "", 200),
        ("reset-off", Reply::no_answer(End::Fin), "fallback_on: [connect, server_error], ", 502),
        ("silent-default", Reply::no_answer(End::Hang), "", 504),
        ("silent-on", Reply::no_answer(End::Hang), "fallback_on: [timeout], ", 200),
        ("status-on", Reply::json(409, "{}"), "fallback_on: [409], ", 200),
        ("status-off", Reply::json(500, "{}"), "fallback_on: [rate_limit], ", 500),
    ] {
        let bad = Provider::always(reply).await;
        let timeouts = "timeouts: {read: 500ms}";
        conf = conf.provider_at(name, "openai", &bad.url(), timeouts);
        conf = conf.model(name, &format!("{{{on}targets: [{name}/gpt, well/gpt], retries: {{rounds: 0}}}}"));
        cases.push((name, status, bad));
    }
    let edge = Edge::start(&conf).await;
    for (name, status, bad) in cases {
        let response = Wire::Chat.ask(name, false).send(edge.addr).await;
        assert_eq!(response.status, status, "{name}: {}", response.text());
        assert_eq!(bad.requests().len(), 1, "{name}");
    }
}

#[tokio::test]
async fn one_bad_endpoint_of_three_costs_five_failures_and_then_none() {
    for (what, bad) in [("reset", Reply::no_answer(End::Reset)), ("500", Reply::json(500, "{}"))] {
        let good = || Wire::Chat.reply(false);
        let more = "breaker: {open: 1h, open_max: 1h}";
        let (providers, line) = fleet(vec![good(), bad, good()], more).await;
        let model = "{targets: [fleet/llama], retries: {budget: 0, budget_floor: 0}}";
        let edge = Edge::start(&Conf::open().provider_yaml(&line).model("m", model)).await;
        let mut failures = 0;
        for number in 0..90 {
            let status = Wire::Chat.ask("m", false).send(edge.addr).await.status;
            failures += usize::from(status != 200);
            assert!(status == 200 || number < 15, "{what}: a failure at request {number}");
        }
        assert!((1..=5).contains(&failures), "{what}: {failures} seen");
        assert!(providers[1].requests().len() <= 5, "{what}");
        let view = edge.admin("GET", "/upstreams").await.text();
        assert!(view.contains("\"open\""), "{what}: {view}");
        let (why, log) = if what == "reset" {
            ("upstream_broken", "requests fail (upstream_broken); it is left alone for a while")
        } else {
            ("status 500", "requests for llama fail (status 500); it is left alone there")
        };
        assert_eq!(view.matches(&format!(r#""last_failure":{{"reason":"{why}","ms_ago":"#)).count(), 1, "{view}");
        edge.log_line("why", |line| line.contains(log)).await;
        let reason = if what == "reset" { "no_answer" } else { "model_failed" };
        edge.metric_reaches("gateway_upstream_ejections_total", &[reason], 1.0).await;
        let (circuit, models) = if what == "reset" { (2.0, 0.0) } else { (0.0, 1.0) };
        edge.metric_becomes("gateway_circuit_breaker_state", &[], circuit).await;
        edge.metric_becomes("gateway_upstream_models_out", &[], models).await;
    }
}

#[tokio::test]
async fn what_is_left_alone_is_passed_over_for_the_next_target_and_comes_back_by_one_trial() {
    let sick = |request: &crate::support::provider::Request| match request.number {
        0..5 => Reply::no_answer(End::Fin),
        _ => Wire::Chat.reply(false),
    };
    let first = Provider::start(sick).await;
    let second = Provider::always(Wire::Chat.reply(false)).await;
    let conf = Conf::open()
        .provider_at("one", "openai", &first.url(), "breaker: {open: 2s, slow_start: 0s}")
        .provider("two", "openai", &second)
        .model("m", "{targets: [one/a, two/b]}");
    let edge = Edge::start(&conf).await;
    let ask = async || assert_eq!(Wire::Chat.ask("m", false).send(edge.addr).await.status, 200);
    for _ in 0..10 {
        ask().await;
    }
    assert_eq!(first.requests().len(), 5, "then it is not asked");
    let deadline = Instant::now() + Duration::from_secs(20);
    while first.requests().len() < 7 {
        assert!(Instant::now() < deadline, "it never came back");
        ask().await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    edge.metric_becomes("gateway_circuit_breaker_state", &["provider=\"one\""], 0.0).await;
}

#[tokio::test]
async fn a_rate_limit_cools_one_model_and_trips_nothing() {
    let limited = |request: &crate::support::provider::Request| match request.json()["model"].as_str() {
        Some("big") => Reply::json(429, "{}").header("retry-after", "50"),
        _ => Wire::Chat.reply(false),
    };
    let (one, two) = (Provider::start(limited).await, Provider::always(Wire::Chat.reply(false)).await);
    let conf = Conf::open()
        .provider("one", "openai", &one)
        .provider("two", "openai", &two)
        .model("b", "{targets: [one/big, two/big]}")
        .model("s", "{targets: [one/small, two/small]}");
    let edge = Edge::start(&conf).await;
    for model in ["b", "b", "s", "b", "s"] {
        assert_eq!(Wire::Chat.ask(model, false).send(edge.addr).await.status, 200);
    }
    let big = one.requests().iter().filter(|request| request.json()["model"] == "big").count();
    assert_eq!((big, one.requests().len(), two.requests().len()), (1, 3, 3));
    assert!(edge.metric("gateway_upstream_ejections_total", &[]).await < 0.5);
    edge.metric_becomes("gateway_upstream_models_out", &["provider=\"one\""], 1.0).await;
}
