//! Which target a request meets: strategies, affinity and rules, and what the edge says of them.

use serde_json::{Value, json};

use crate::support::client::Ask;
use crate::support::edge::{Conf, Edge};
use crate::support::formats::Wire;
use crate::support::provider::Provider;
use crate::support::script::Reply;

/// Three providers of two formats, and a model over them with `more` keys.
async fn three(more: &str) -> (Edge, [Provider; 3]) {
    let providers = [
        Provider::always(Wire::Chat.reply(false)).await,
        Provider::always(Wire::Messages.reply(false)).await,
        Provider::always(Wire::Chat.reply(false)).await,
    ];
    let conf = Conf::open()
        .provider("a", Wire::Chat.kind(), &providers[0])
        .provider("b", Wire::Messages.kind(), &providers[1])
        .provider("c", Wire::Chat.kind(), &providers[2])
        .model("m", &format!("{{targets: [a/x, b/y, c/z], {more}}}"));
    (Edge::start(&conf).await, providers)
}

fn counts(providers: &[Provider; 3]) -> [usize; 3] {
    [0, 1, 2].map(|at| providers[at].requests().len())
}

fn talk(first: &str, turns: usize) -> Value {
    let mut messages = vec![json!({"role": "system", "content": "be kind"}), json!({"role": "user", "content": first})];
    for turn in 0..turns {
        messages.push(json!({"role": "assistant", "content": format!("answer {turn}")}));
        messages.push(json!({"role": "user", "content": format!("more {turn}")}));
    }
    json!({"model": "m", "max_tokens": 9, "messages": messages})
}

#[tokio::test]
async fn turns_go_round_and_formats_with_them() {
    let (edge, providers) = three("strategy: round_robin").await;
    for _ in 0..9 {
        let response = Wire::Messages.ask("m", false).send(edge.addr).await;
        assert_eq!(response.status, 200, "{}", response.text());
    }
    assert_eq!(counts(&providers), [3, 3, 3]);
}

#[tokio::test]
async fn a_target_that_fails_is_followed_by_the_next_of_the_order() {
    let failing = Provider::always(Reply::json(503, "{}")).await;
    let good = Provider::always(Wire::Chat.reply(false)).await;
    let conf = Conf::open()
        .provider("bad", Wire::Chat.kind(), &failing)
        .provider("good", Wire::Chat.kind(), &good)
        .model("m", "{strategy: cheapest, targets: [good/x, {to: bad/y, price: {input: 1, output: 1}}]}");
    let edge = Edge::start(&conf).await;
    assert_eq!(Wire::Chat.ask("m", false).send(edge.addr).await.status, 200);
    assert_eq!((failing.requests().len(), good.requests().len()), (1, 1), "the cheap one first, then the other");
}

#[tokio::test]
async fn a_conversation_stays_where_it_began() {
    let (edge, providers) = three("strategy: sticky, affinity: conversation").await;
    let mut homes = std::collections::HashSet::new();
    for talker in 0..12 {
        let before = counts(&providers);
        for turns in 0..3 {
            let response = Wire::Chat.ask_with(talk(&format!("I am {talker}"), turns)).send(edge.addr).await;
            assert_eq!(response.status, 200, "{}", response.text());
        }
        let grown: Vec<usize> = counts(&providers).iter().zip(before).map(|(now, before)| now - before).collect();
        let home = grown.iter().position(|grown| *grown == 3);
        assert!(home.is_some(), "{talker}: {grown:?}");
        homes.insert(home);
    }
    assert!(homes.len() > 1, "conversations spread");
}

#[tokio::test]
async fn a_header_leads_to_the_same_endpoint() {
    let ends = [Provider::always(Wire::Chat.reply(false)).await, Provider::always(Wire::Chat.reply(false)).await];
    let urls = ends.each_ref().map(|end| format!("{{url: \"{}\"}}", end.url())).join(", ");
    let conf = Conf::open()
        .provider_yaml(&format!("fleet: {{kind: openai-compatible, endpoints: [{urls}], balance: consistent_hash}}"))
        .model("m", "{targets: [fleet/x], affinity: \"header:x-session\"}");
    let edge = Edge::start(&conf).await;
    for session in 0..10 {
        let before = ends[0].requests().len();
        for _ in 0..3 {
            let ask = Wire::Chat.ask("m", false).header("x-session", &session.to_string());
            assert_eq!(ask.send(edge.addr).await.status, 200);
        }
        assert!([0, 3].contains(&(ends[0].requests().len() - before)), "session {session} moved");
    }
    assert!((1..30).contains(&ends[0].requests().len()), "sessions spread");
}

#[tokio::test]
async fn rules_send_requests_elsewhere_and_the_client_sees_its_own_name() {
    let plain = Provider::always(Wire::Chat.reply(false)).await;
    let eyes = Provider::always(Wire::Messages.reply(false)).await;
    let conf = Conf::open()
        .provider("plain", Wire::Chat.kind(), &plain)
        .provider("eyes", Wire::Messages.kind(), &eyes)
        .model("m", "plain/small")
        .model("vision", "eyes/big")
        .top("rules: [{name: eyes, when: {model: m, images: true}, model: vision}, {name: long, when: {body_over: 50kB}, model: vision}, {name: asked, when: {headers: {x-tier: gold}, stream: false}, model: vision}]");
    let edge = Edge::start(&conf).await;
    let with =
        |content: Value| json!({"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": content}]});
    let image = json!([{"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}]);
    for (ask, elsewhere) in [
        (Wire::Chat.ask_with(with(json!("hello"))), false),
        (Wire::Chat.ask_with(with(image)), true),
        (Wire::Chat.ask_with(with(json!("z".repeat(60_000)))), true),
        (Wire::Chat.ask_with(with(json!("hello"))).header("X-Tier", "gold"), true),
        (Wire::Chat.ask_with(with(json!("hello"))).header("X-Tier", "tin"), false),
    ] {
        let before = (plain.requests().len(), eyes.requests().len());
        let response = ask.send(edge.addr).await;
        assert_eq!(response.status, 200, "{}", response.text());
        let expected = if elsewhere { (before.0, before.1 + 1) } else { (before.0 + 1, before.1) };
        assert_eq!((plain.requests().len(), eyes.requests().len()), expected);
        if elsewhere {
            assert_eq!(response.json()["model"], "m");
            assert_eq!(eyes.last().json()["model"], "big");
        }
    }
}

/// By the first rule that names the model, and leads to where what is asked for is served: others are about answers.
#[tokio::test]
async fn rules_are_for_operations_beside_answers_too() {
    let both = Provider::start(|_| Reply::json(200, "{}")).await;
    let answers = Provider::always(Wire::Messages.reply(false)).await;
    let conf = Conf::open()
        .provider("both", Wire::Chat.kind(), &both)
        .provider("answers", Wire::Messages.kind(), &answers)
        .model("dear", "both/dear-1")
        .model("cheap", "both/cheap-1")
        .model("talks", "answers/talks-1")
        .model("other", "both/other-1")
        .top(
            "rules: [{name: any, when: {headers: {x-tier: free}, body_over: 0}, model: other}, {name: talk, when: {model: dear, headers: {x-tier: free}}, model: talks}, \
             {name: free, when: {model: dear, headers: {x-tier: free}}, model: cheap}, \
             {name: long, when: {model: dear, body_over: 50kB}, model: cheap}, \
             {name: streams, when: {model: dear, stream: true}, model: cheap}]",
        );
    let edge = Edge::start(&conf).await;
    let json = |path: &str, more: &str| Ask::post(path, format!("{{\"model\":\"dear\"{more}}}"));
    let form = |order: [&str; 2]| {
        let part = |part: &str| format!("--B\r\ncontent-disposition: form-data; {part}\r\n");
        let body = format!("{}{}--B--\r\n", part(order[0]), part(order[1]));
        let headers = vec![("content-type".to_owned(), "multipart/form-data; boundary=B".to_owned())];
        Ask { headers, ..Ask::post("/v1/audio/transcriptions", body) }
    };
    let (model, file) = ("name=\"model\"\r\n\r\ndear", "name=\"file\"; filename=\"a\"\r\n\r\nnoise");
    let long = format!(",\"input\":\"{}\"", "z".repeat(60_000));
    for (ask, expected) in [
        (json("/v1/embeddings", ""), "dear-1"),
        (json("/v1/embeddings", "").header("x-tier", "free"), "cheap-1"),
        (json("/v1/images/generations", "").header("x-tier", "free"), "cheap-1"),
        (json("/v1/images/generations", "").header("x-tier", "gold"), "dear-1"),
        (json("/v1/embeddings", &long), "dear-1"),
        (json("/v1/completions", ",\"stream\":true"), "dear-1"),
        (form([model, file]), "dear-1"),
        (form([model, file]).header("x-tier", "free"), "cheap-1"),
        (form([file, model]).header("x-tier", "free"), "cheap-1"),
    ] {
        let path = ask.path.clone();
        let response = ask.send(edge.addr).await;
        assert_eq!(response.status, 200, "{path}: {}", response.text());
        let sent = String::from_utf8_lossy(&both.last().body).into_owned();
        assert!(sent.contains(expected), "{path}: {expected} is not in {sent}");
    }
    assert_eq!(answers.requests().len(), 0);
    let chat = Wire::Chat.ask("dear", false).header("x-tier", "free").send(edge.addr).await;
    assert!(both.last().json()["model"] == "other-1", "an answer goes by the first rule: {}", chat.text());
}

#[tokio::test]
async fn the_admin_listener_explains_where_a_request_would_go() {
    let (edge, _providers) = three("strategy: cheapest").await;
    let response = Ask::get("/explain?model=m&stream=true").send(edge.admin).await;
    assert_eq!(response.status, 200, "{}", response.text());
    let said = response.json();
    assert_eq!((&said["model"], &said["strategy"], &said["rule"]), (&json!("m"), &json!("cheapest"), &Value::Null));
    assert_eq!(said["targets"].as_array().map(Vec::len), Some(3));
    assert_eq!((&said["targets"][1]["provider"], &said["targets"][1]["usable"]), (&json!("b"), &json!(true)));
    for (query, words) in [("", "model=NAME"), ("model=nobody", "no model is named"), ("model=m&x=1", "not known")] {
        let refused = Ask::get(&format!("/explain?{query}")).send(edge.admin).await;
        assert_eq!(refused.status, 400);
        assert!(refused.text().contains(words), "{}", refused.text());
    }
}

#[tokio::test]
async fn to_ask_where_a_request_would_go_changes_nothing() {
    let (edge, providers) = three("strategy: round_robin").await;
    for turn in 0..6 {
        let said = Ask::get("/explain?model=m").send(edge.admin).await.json();
        let first = said["targets"][0]["provider"].as_str().map(str::to_owned);
        assert_eq!(first.as_deref(), Some(["a", "b", "c"][turn % 3]), "the one whose turn it is");
        assert_eq!(Wire::Chat.ask("m", false).send(edge.addr).await.status, 200);
    }
    assert_eq!(counts(&providers), [2, 2, 2]);
}

#[tokio::test]
async fn what_is_said_of_affinity_is_what_is_done() {
    let (edge, providers) = three("strategy: sticky, affinity: \"header:x-s\"").await;
    let mut firsts = Vec::new();
    for value in 0..12 {
        let said = Ask::get(&format!("/explain?model=m&header.x-s={value}")).send(edge.admin).await.json();
        assert_eq!(said["affinity_known"], true);
        let first = said["targets"][0]["provider"].as_str().expect("a name").to_owned();
        let before = counts(&providers);
        let ask = Wire::Chat.ask("m", false).header("x-s", &value.to_string());
        assert_eq!(ask.send(edge.addr).await.status, 200);
        let met = (0..3).find(|at| counts(&providers)[*at] > before[*at]).expect("one was asked");
        assert_eq!(first, ["a", "b", "c"][met], "x-s: {value}");
        firsts.push(first);
    }
    assert!(firsts.iter().any(|first| *first != firsts[0]), "they are spread: {firsts:?}");
    let said = Ask::get("/explain?model=m").send(edge.admin).await.json();
    assert_eq!(said["affinity_known"], false);
}

#[tokio::test]
async fn what_is_passed_over_says_why() {
    let failing = Provider::always(Reply::json(500, "{}")).await;
    let good = Provider::always(Wire::Chat.reply(false)).await;
    let limited = Provider::always(Reply::json(429, "{}").header("retry-after", "30")).await;
    let breaker = "breaker: {failures: 1, ejected_max: 100}";
    let conf = Conf::with_clients("- {name: web, key: web-key-123456, models: [m]}")
        .provider_at("bad", Wire::Chat.kind(), &failing.url(), breaker)
        .provider_at("slow", Wire::Chat.kind(), &limited.url(), breaker)
        .provider("good", Wire::Chat.kind(), &good)
        .model("m", "{targets: [bad/x, slow/y, good/z]}");
    let edge = Edge::start(&conf).await;
    let ask = || Wire::Chat.ask("m", false).header("authorization", "Bearer web-key-123456");
    for _ in 0..3 {
        assert_eq!(ask().send(edge.addr).await.status, 200);
    }
    let said = Ask::get("/explain?model=m&client=web").send(edge.admin).await.json();
    assert_eq!(said["refused"], Value::Null);
    for (at, (usable, word)) in [(false, "left alone"), (false, "left alone"), (true, "")].into_iter().enumerate() {
        let target = &said["targets"][at];
        assert_eq!(target["usable"], usable, "{target}");
        assert!(target["skipped"].as_str().unwrap_or_default().contains(word), "{target}");
        assert_eq!(target["skipped"].is_null(), usable, "{target}");
        assert_eq!(target["endpoints"][0]["skipped"], target["skipped"], "{target}");
    }
    for (query, words) in [("model=m", "no client is named `anonymous`"), ("model=m&client=nobody", "`nobody`")] {
        let said = Ask::get(&format!("/explain?{query}")).send(edge.admin).await.json();
        assert!(said["refused"].as_str().unwrap_or_default().contains(words), "{said}");
    }
}
