//! Request bodies of every size, framing and protocol, and the bounds on them.

use serde_json::json;

use crate::support::client::{Ask, Client, Sent};
use crate::support::client_h2::H2Client;
use crate::support::edge::{Conf, Edge};
use crate::support::formats::Wire;
use crate::support::http1::Ended;
use crate::support::provider::Provider;
use crate::support::{PATIENCE, within};

async fn house(extra: &str) -> (Provider, Provider, Edge) {
    let chat = Provider::always(Wire::Chat.reply(false)).await;
    let messages = Provider::always(Wire::Messages.reply(false)).await;
    let mut conf = Conf::open()
        .provider("oa", "openai", &chat)
        .provider("an", "anthropic", &messages)
        .model("same", "oa/same")
        .model("other", "an/other");
    if !extra.is_empty() {
        conf = conf.server(extra);
    }
    let edge = Edge::start(&conf).await;
    (chat, messages, edge)
}

fn body(model: &str, size: usize) -> Vec<u8> {
    let frame = json!({"model": model, "max_tokens": 9, "messages": [{"role": "user", "content": "@"}]}).to_string();
    let fill: String = (0..size.saturating_sub(frame.len())).map(|n| char::from(b'a' + (n % 23) as u8)).collect();
    frame.replace('@', &format!("w{fill}")).into_bytes()
}

#[tokio::test]
async fn every_size_over_every_way_in() {
    let (chat, messages, edge) = house("").await;
    let sizes = [10, 1_000, 65_535, 65_536, 65_537, 70_000, 200_000, 1 << 20, 8 << 20];
    for size in sizes {
        for (model, provider) in [("same", &chat), ("other", &messages)] {
            let body = body(model, size);
            for sent in [Sent::Length, Sent::Chunked(16_000), Sent::Chunked(1 << 20)] {
                for expect in [false, true] {
                    let mut ask = Wire::Chat.ask_bytes(body.clone()).sent(sent);
                    ask.expect = expect;
                    let what = format!("{size} bytes to {model}, {sent:?}, expect={expect}");
                    let before = provider.requests().len();
                    // Two requests on one connection: the first must leave it usable.
                    let mut client = Client::connect(edge.addr).await;
                    for _ in 0..2 {
                        let response = client.ask(&ask).await;
                        assert_ne!(response.header("connection"), Some("close"), "{what}: the connection stays");
                        assert_eq!(
                            (response.status, &response.ended),
                            (200, &Ended::Complete),
                            "{what}: {}",
                            response.text()
                        );
                    }
                    check_arrived(&what, provider, before + 2, &body, model);
                }
            }
        }
    }
}

#[tokio::test]
async fn every_size_over_http2() {
    let (chat, messages, edge) = house("").await;
    let client = H2Client::connect(edge.addr).await;
    for size in [10, 1_000, 65_535, 65_537, 200_000, 1 << 20, 8 << 20] {
        for (model, provider) in [("same", &chat), ("other", &messages)] {
            let body = body(model, size);
            for sent in [Sent::Length, Sent::Chunked(16_000)] {
                let what = format!("{size} bytes to {model} over h2c, {sent:?}");
                let before = provider.requests().len();
                let response = client.ask(&Wire::Chat.ask_bytes(body.clone()).sent(sent)).await;
                if sent != Sent::Length && body.len() > 65_536 && response.status == 411 {
                    Wire::Chat.error(&response);
                    assert!(response.text().to_lowercase().contains("content-length"), "a 411 says what to do");
                    continue;
                }
                assert_eq!((response.status, &response.ended), (200, &Ended::Complete), "{what}: {}", response.text());
                check_arrived(&what, provider, before + 1, &body, model);
            }
        }
    }
}

fn check_arrived(what: &str, provider: &Provider, count: usize, body: &[u8], model: &str) {
    let requests = provider.requests();
    assert_eq!(requests.len(), count, "{what}");
    let last = requests.last().expect("just counted");
    assert_eq!(last.ended, Ended::Complete, "{what}");
    if model == "same" {
        assert!(last.body == body, "{what}: {} bytes became {}", body.len(), last.body.len());
    } else {
        let words =
            serde_json::from_slice::<serde_json::Value>(body).expect("JSON")["messages"][0]["content"].to_string();
        let text = String::from_utf8_lossy(&last.body);
        assert!(text.contains(words.trim_matches('"')), "{what}: the words arrive");
    }
    assert!(last.header("expect").is_none(), "{what}");
    let length = last.header("content-length").and_then(|value| value.parse::<usize>().ok());
    assert_eq!(length, Some(last.body.len()), "{what}: the length is announced");
}

#[tokio::test]
async fn single_bytes_in() {
    let (chat, _, edge) = house("").await;
    let body = body("same", 700);
    let response = Wire::Chat.ask_bytes(body.clone()).sent(Sent::Bytewise).send(edge.addr).await;
    assert_eq!(response.status, 200, "{}", response.text());
    assert!(chat.last().body == body);
}

#[tokio::test]
async fn beyond_the_limit_is_413_in_the_clients_format() {
    let (chat, messages, edge) = house("body_limit: 100KiB").await;
    for client in [Wire::Chat, Wire::Messages] {
        for sent in [Sent::Length, Sent::Chunked(8_000)] {
            let response = client.ask_bytes(body("same", 150_000)).sent(sent).send(edge.addr).await;
            assert_eq!(response.status, 413, "{sent:?}: {}", response.text());
            let error = client.error(&response);
            if client == Wire::Messages {
                assert_eq!(error["type"], "request_too_large");
            }
        }
        // Many clients read nothing before all is written, and give up where that fails.
        let mut patient = Client::connect(edge.addr).await;
        patient.write(&client.ask_bytes(body("same", 24 << 20))).await.expect("all is written");
        let large = within(PATIENCE, "the refusal", patient.response()).await;
        assert_eq!(large.status, 413, "{}", large.text());
        let announced = client.ask_bytes(body("same", 150_000)).expecting();
        assert_eq!(announced.send(edge.addr).await.status, 413, "refused before it is sent");
        let fits = client.ask_bytes(body("same", 90_000));
        assert_eq!(fits.send(edge.addr).await.status, 200);
    }
    let h2 = H2Client::connect(edge.addr).await;
    assert_eq!(h2.ask(&Wire::Chat.ask_bytes(body("same", 150_000))).await.status, 413);
    assert_eq!((chat.requests().len(), messages.requests().len()), (2, 0));
}

#[tokio::test]
async fn nonsense_is_refused_with_a_sentence() {
    let (chat, _, edge) = house("").await;
    let deep = format!("{{\"model\":\"same\",\"messages\":{}{}}}", "[".repeat(5_000), "]".repeat(5_000));
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("nothing", Vec::new()),
        ("no JSON", b"hello".to_vec()),
        ("an array", b"[]".to_vec()),
        ("cut", b"{\"model\":\"same\",\"messages\":[".to_vec()),
        ("no model", b"{\"messages\":[]}".to_vec()),
        ("a number for a model", b"{\"model\":7,\"messages\":[]}".to_vec()),
        ("two models", b"{\"model\":\"same\",\"model\":\"other\",\"messages\":[]}".to_vec()),
        ("no UTF-8", b"{\"model\":\"same\",\"x\":\"\xff\xfe\"}".to_vec()),
        ("too deep", deep.into_bytes()),
    ];
    for client in [Wire::Chat, Wire::Messages] {
        for (name, body) in &cases {
            let response = client.ask_bytes(body.clone()).send(edge.addr).await;
            assert_eq!(response.status, 400, "{name}: {}", response.text());
            client.error(&response);
        }
    }
    assert!(chat.requests().is_empty(), "nothing of it goes upstream");
}

#[tokio::test]
async fn a_body_that_does_not_come_whole_goes_nowhere() {
    let (chat, _, edge) = house("").await;
    let ask = Wire::Chat.ask_bytes(body("same", 5_000));
    for part in [0, 1, 2_500, 4_999] {
        let mut client = Client::connect(edge.addr).await;
        let head = format!("POST {} HTTP/1.1\r\nhost: e\r\ncontent-length: 5000\r\n\r\n", ask.path);
        client.raw(head.as_bytes()).await.expect("open");
        client.raw(&ask.body[..part]).await.expect("open");
        drop(client);
    }
    // A later whole request is the first that arrives.
    assert_eq!(ask.clone().send(edge.addr).await.status, 200);
    assert_eq!(chat.requests().len(), 1);
}

#[tokio::test]
async fn a_way_in_that_does_not_exist_is_said_so() {
    let (_, _, edge) = house("").await;
    for (ask, statuses) in [
        (Ask::post("/v1/nothing", "{}"), [404, 404]),
        (Ask::get("/v1/chat/completions"), [405, 404]),
        (Ask::get("/"), [404, 404]),
        (Ask::get("/metrics"), [404, 404]),
        (Ask::post("/reload", ""), [404, 404]),
        (Ask::get("/config"), [404, 404]),
    ] {
        let shown = format!("{} {}", ask.method, ask.path);
        let response = ask.send(edge.addr).await;
        assert!(statuses.contains(&response.status), "{shown}: {} {}", response.status, response.text());
        assert!(response.json()["error"]["message"].is_string(), "{shown}: {}", response.text());
    }
}

#[tokio::test]
async fn all_requests_together_hold_a_bounded_number_of_bytes() {
    let (chat, _, edge) = house("body_limit: 1MiB\n  body_buffer_total: 1MiB").await;
    let ask = Wire::Chat.ask_bytes(body("same", 900_000));
    let mut slow = Client::connect(edge.addr).await;
    let head = format!("POST {} HTTP/1.1\r\nhost: e\r\ncontent-length: 900000\r\n\r\n", ask.path);
    slow.raw(head.as_bytes()).await.expect("open");
    slow.raw(&ask.body[..800_000]).await.expect("the edge takes it in");
    edge.metric_reaches("gateway_buffered_request_bytes", &[], 500_000.0).await;
    let refused = ask.clone().send(edge.addr).await;
    assert_eq!(refused.status, 503, "{}", refused.text());
    Wire::Chat.error(&refused);
    assert!(refused.header("retry-after").is_some(), "it says when to come again");
    edge.metric_becomes("gateway_shed_total", &["reason=\"bodies\"", "scope=\"memory\""], 1.0).await;
    let small = Wire::Chat.ask("same", false).send(edge.addr).await;
    assert_eq!(small.status, 200, "small ones still fit: {}", small.text());
    slow.raw(&ask.body[800_000..]).await.expect("open");
    assert_eq!(slow.response().await.status, 200);
    let given_back = async || edge.metric_becomes("gateway_buffered_request_bytes", &[], 0.0).await;
    given_back().await;
    assert_eq!(ask.clone().send(edge.addr).await.status, 200);
    given_back().await;
    let mut announcing = Vec::new();
    for _ in 0..3 {
        let mut client = Client::connect(edge.addr).await;
        client.raw(head.as_bytes()).await.expect("open");
        announcing.push(client);
    }
    edge.metric_reaches("gateway_requests_in_flight", &[], 3.0).await;
    let sent = ask.send(edge.addr).await;
    assert_eq!(sent.status, 200, "who only announces a body takes no room: {}", sent.text());
    assert_eq!(chat.requests().len(), 4);
}

#[tokio::test]
async fn a_request_with_two_ends_is_one_request_or_none() {
    let (chat, _, edge) = house("").await;
    let body = String::from_utf8(body("same", 200)).expect("UTF-8");
    let smuggled =
        format!("POST /v1/chat/completions HTTP/1.1\r\nhost: e\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let long = body.len() + smuggled.len() + 5;
    for (name, framing, after) in [
        (
            "both, chunked first",
            format!("transfer-encoding: chunked\r\ncontent-length: {long}"),
            format!("0\r\n\r\n{smuggled}"),
        ),
        (
            "both, length first",
            format!("content-length: {long}\r\ntransfer-encoding: chunked"),
            format!("0\r\n\r\n{smuggled}"),
        ),
        ("two lengths", format!("content-length: 0\r\ncontent-length: {}", smuggled.len()), smuggled.clone()),
        ("a signed length", "content-length: +5".to_owned(), "hello".to_owned()),
        ("an odd coding", "transfer-encoding: xchunked".to_owned(), smuggled.clone()),
        ("a chunk of nonsense", "transfer-encoding: chunked".to_owned(), "zz\r\nhello\r\n0\r\n\r\n".to_owned()),
    ] {
        let mut client = Client::connect(edge.addr).await;
        let request = format!("POST /v1/chat/completions HTTP/1.1\r\nhost: e\r\n{framing}\r\n\r\n{after}");
        let _ = client.raw(request.as_bytes()).await;
        let response = client.response().await;
        assert!(response.status == 0 || (400..500).contains(&response.status), "{name}: {}", response.status);
        let second = client.response().await;
        assert_ne!(second.status, 200, "{name}: a hidden request was served");
    }
    assert!(chat.requests().is_empty());
}

#[tokio::test]
async fn a_client_that_takes_its_upload_back_is_no_fault_of_a_providers() {
    let (chat, messages, edge) = house("").await;
    for model in ["same", "other"] {
        let client = H2Client::connect(edge.addr).await;
        client.leave(&Wire::Chat.ask_bytes(format!("{{\"model\": \"{model}\", "))).await;
    }
    edge.metric_reaches("gateway_errors_total", &["error_type=\"body_broken\""], 2.0).await;
    let line = edge.log_line("who has left", |line| line.contains("\"status\":0")).await;
    assert!(line.contains("body_broken") && line.contains("\"aborted_by\":\"client\""), "{line}");
    assert_eq!(chat.requests().len() + messages.requests().len(), 0);
    assert!(!edge.log().contains("upstream_broken"), "{}", edge.log());
}
