//! Clients that take their time, and clients that come by the hundred.

use std::time::{Duration, Instant};

use crate::support::client::{Ask, Client};
use crate::support::edge::{Conf, Edge};
use crate::support::formats::Wire;
use crate::support::provider::Provider;
use crate::support::script::Reply;
use crate::support::{PATIENCE, within};

async fn house(lines: &[&str]) -> (Provider, Edge) {
    let provider = Provider::always(Wire::Chat.reply(false)).await;
    let conf = Conf::open().provider("p", "openai", &provider).model("m", "p/model-1");
    let conf = lines.iter().fold(conf, |conf, line| conf.server(line));
    (provider, Edge::start(&conf).await)
}

/// Writes `bytes` one by one, `pause` apart, until the edge has had enough; what it said.
async fn drip(edge: &Edge, first: &[u8], bytes: &[u8], pause: Duration) -> (String, Duration) {
    let mut client = Client::connect(edge.addr).await;
    client.raw(first).await.expect("sent");
    let began = Instant::now();
    for byte in bytes {
        tokio::time::sleep(pause).await;
        if client.raw(&[*byte]).await.is_err() || began.elapsed() > Duration::from_secs(5) {
            break;
        }
    }
    let answer = within(PATIENCE, "the connection's end", client.rest()).await;
    (String::from_utf8_lossy(&answer).into_owned(), began.elapsed())
}

#[tokio::test]
async fn a_head_that_drips_has_a_deadline_in_all() {
    let (provider, edge) = house(&["timeouts: {header: 300ms}"]).await;
    let bytes = b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\nx-a: bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";
    // Each pause is shorter than the deadline: only a sum can find this out.
    let (answer, _) = drip(&edge, b"P", &bytes[1..], Duration::from_millis(100)).await;
    assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("head_timeout"), "{answer}");
    assert_eq!(provider.requests().len(), 0);
    edge.metric_reaches("gateway_errors_total", &["error_type=\"head_timeout\""], 1.0).await;
}

#[tokio::test]
async fn a_body_has_a_rate_that_it_must_keep() {
    let (provider, edge) = house(&["timeouts: {body: 300ms}", "limits: {body_rate: 1KiB}"]).await;
    let head = |framing: &str| format!("POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\n{framing}\r\n\r\n");
    for first in [head("content-length: 100000"), head("transfer-encoding: chunked") + "400\r\n"] {
        let (answer, _) = drip(&edge, first.as_bytes(), &[b' '; 60], Duration::from_millis(50)).await;
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    }
    // What was sent before pays for no long silence.
    let mut client = Client::connect(edge.addr).await;
    client.raw(head("content-length: 100000").as_bytes()).await.expect("sent");
    client.raw(&[b' '; 90_000]).await.expect("sent");
    let began = Instant::now();
    let answer = within(PATIENCE, "the connection's end", client.rest()).await;
    assert!(answer.starts_with(b"HTTP/1.1 408 "), "{}", String::from_utf8_lossy(&answer));
    assert!(began.elapsed() < Duration::from_secs(10));
    // One that keeps the rate may take its time.
    let ask = Wire::Chat.ask("m", false);
    let padded = [vec![b' '; 8192], ask.body.clone()].concat();
    let mut client = Client::connect(edge.addr).await;
    client.raw(head(&format!("content-length: {}", padded.len())).as_bytes()).await.expect("sent");
    for part in padded.chunks(padded.len().div_ceil(9)) {
        tokio::time::sleep(Duration::from_millis(100)).await;
        client.raw(part).await.expect("sent");
    }
    assert_eq!(within(PATIENCE, "the answer", client.response()).await.status, 200);
    assert_eq!(provider.requests().len(), 1);
}

#[tokio::test]
async fn connections_without_a_request_are_closed() {
    let (_, edge) = house(&["timeouts: {keep_alive: 1s}"]).await;
    let mut fresh = Client::connect(edge.addr).await;
    let mut used = Client::connect(edge.addr).await;
    assert_eq!(used.ask(&Ask::get("/health")).await.status, 200);
    for client in [&mut fresh, &mut used] {
        assert_eq!(within(PATIENCE, "the end", client.rest()).await, b"", "closed without a word");
    }
}

#[tokio::test]
async fn an_answer_that_nobody_takes_is_given_up() {
    let provider = Provider::always(Reply::json(200, "x".repeat(30_000_000))).await;
    let conf = Conf::open().server("timeouts: {write: 300ms}").provider("p", "openai", &provider);
    let edge = Edge::start(&conf.model("m", "p/model-1")).await;
    let client = Wire::Chat.ask("m", false).open(edge.addr).await;
    provider.request(0).await;
    within(PATIENCE, "the provider's connection to end", provider.left(0)).await;
    drop(client);
}

#[tokio::test]
async fn a_client_may_take_a_large_answer_slowly() {
    let long = Wire::Chat.reply(false).body();
    let long = String::from_utf8(long).expect("JSON is text").replacen("Hello, ", &"x".repeat(16_000_000), 1);
    let provider = Provider::always(Reply::json(200, long)).await;
    let conf = Conf::open().server("timeouts: {write: 200ms}").provider("p", "openai", &provider);
    let edge = Edge::start(&conf.model("m", "p/model-1")).await;
    let mut client = Wire::Messages.ask("m", false).open(edge.addr).await;
    provider.request(0).await;
    // Far longer than the wait for a small piece; more than the sockets hold is still to be written.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let response = within(PATIENCE, "all of the answer", client.response()).await;
    assert!(response.status == 200 && response.body.len() > 16_000_000, "{} {:?}", response.body.len(), response.ended);
}

#[tokio::test]
async fn connections_are_counted_in_all_and_by_address() {
    for (line, reason) in
        [("limits: {connections: 6}", "connections"), ("limits: {connections_per_ip: 6}", "connections_per_ip")]
    {
        let (_, edge) = house(&[line, "timeouts: {keep_alive: 60s}"]).await;
        let mut held = Vec::new();
        for _ in 0..6 {
            let mut client = Client::connect(edge.addr).await;
            client.ask(&Ask::get("/health")).await;
            held.push(client);
        }
        let mut one_more = Client::connect(edge.addr).await;
        assert_eq!(within(PATIENCE, "the end", one_more.rest()).await, b"", "{reason}");
        edge.metric_reaches("gateway_connections_refused_total", &[&format!("reason=\"{reason}\"")], 1.0).await;
        edge.metric_becomes("gateway_connections", &[], 6.0).await;
        assert_eq!(held[0].ask(&Ask::get("/health")).await.status, 200, "those who are in stay in");
        held.pop();
        let again = async {
            loop {
                if Client::connect(edge.addr).await.ask(&Ask::get("/health")).await.status == 200 {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        within(PATIENCE, "a place that became free", again).await;
    }
}

#[tokio::test]
async fn what_may_become_http_2_has_a_deadline_in_all() {
    let (_, edge) = house(&["timeouts: {header: 300ms}"]).await;
    let (answer, took) = drip(&edge, b"P", b"RI * HTTP/2.0\r\n\r\nSM\r\n\r", Duration::from_millis(100)).await;
    assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("head_timeout"), "{answer}");
    assert!(took < Duration::from_millis(1500), "of 23 bytes, 100 ms apart: {took:?}");
}

#[tokio::test]
async fn connections_of_one_address_have_a_rate() {
    // More than fit into one second even where the machine is slow, so that it does not matter when a second begins.
    let (_, edge) = house(&["limits: {connection_rate_per_ip: 5}"]).await;
    let mut refused = 0;
    while refused == 0 {
        for _ in 0..20 {
            let mut client = Client::connect(edge.addr).await;
            let sent = client.raw(b"GET /health HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
            let answer = within(PATIENCE, "the end", client.rest()).await;
            assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 200 "), "{sent:?}");
            refused += usize::from(answer.is_empty());
        }
    }
    edge.metric_reaches("gateway_connections_refused_total", &["reason=\"connection_rate_per_ip\""], 1.0).await;
    let served = async { while Client::connect(edge.addr).await.ask(&Ask::get("/health")).await.status != 200 {} };
    within(PATIENCE, "the next second", served).await;
}

#[tokio::test]
async fn requests_of_one_address_have_a_rate_and_others_their_own() {
    let (provider, edge) = house(&["limits: {request_rate_per_ip: 5}", "trusted_proxies: [127.0.0.0/8]"]).await;
    let from = |address: &str| Wire::Chat.ask("m", false).header("x-forwarded-for", address);
    let mut refused = None;
    while refused.is_none() {
        for _ in 0..20 {
            let response = from("198.51.100.7").send(edge.addr).await;
            refused = Some(response).filter(|response| response.status != 200).or(refused);
        }
    }
    let refused = refused.expect("one was");
    assert_eq!((refused.status, refused.header("retry-after")), (429, Some("1")), "{}", refused.text());
    assert_eq!(refused.json()["error"]["code"], "address_rate");
    let asked = provider.requests().len();
    assert_eq!(from("198.51.100.8").send(edge.addr).await.status, 200, "another address");
    assert_eq!(Ask::get("/health").header("x-forwarded-for", "198.51.100.7").send(edge.addr).await.status, 200);
    assert_eq!(provider.requests().len(), asked + 1, "what is refused reaches no provider");
    edge.metric_reaches("gateway_shed_total", &["scope=\"address\"", "reason=\"rate\""], 1.0).await;
}

#[tokio::test]
async fn a_thousand_dripping_connections_hurt_nobody() {
    let (provider, edge) = house(&["timeouts: {header: 2s}"]).await;
    let mut dripping = Vec::new();
    for number in 0..1000 {
        let mut client = Client::connect(edge.addr).await;
        client
            .raw(format!("POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\nx-{number}: ").as_bytes())
            .await
            .expect("sent");
        dripping.push(client);
    }
    for _ in 0..20 {
        assert_eq!(Wire::Chat.ask("m", false).send(edge.addr).await.status, 200);
    }
    for mut client in dripping {
        let end = within(PATIENCE, "the deadline", client.rest()).await;
        assert!(end.starts_with(b"HTTP/1.1 408 "), "{}", String::from_utf8_lossy(&end));
    }
    assert_eq!(provider.requests().len(), 20);
    edge.metric_becomes("gateway_errors_total", &["error_type=\"head_timeout\""], 1000.0).await;
}
