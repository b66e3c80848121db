//! One accepted request is one request to a provider, and what could be read as more, or less, reaches none.

use std::time::Duration;

use crate::support::client::{Ask, Client, Sent};
use crate::support::client_h2::H2Client;
use crate::support::edge::{Conf, Edge};
use crate::support::formats::{PAIRS, Wire};
use crate::support::http1::Ended;
use crate::support::provider::Provider;
use crate::support::script::{End, Reply};
use crate::support::{PATIENCE, within};

async fn house(upstream: Wire) -> (Provider, Edge) {
    let provider = Provider::always(upstream.reply(false)).await;
    let conf = Conf::open().server("timeouts: {header: 2s}").provider("p", upstream.kind(), &provider);
    let edge = Edge::start(&conf.model("m", "p/model-1")).await;
    (provider, edge)
}

fn body(client: Wire) -> String {
    String::from_utf8(client.ask("m", false).body).expect("JSON is text")
}

/// Sends `bytes`, then a sound request; what came back of all, to the connection's end.
async fn attack(edge: &Edge, bytes: &[u8]) -> String {
    let mut client = Client::connect(edge.addr).await;
    // An edge that has seen enough may have closed already.
    let _ = client.raw(bytes).await;
    let _ = client.raw(b"GET /health HTTP/1.1\r\nhost: a\r\n\r\n").await;
    String::from_utf8_lossy(&within(PATIENCE, "the connection's end", client.rest()).await).into_owned()
}

#[tokio::test]
async fn trap_smuggling_heads_reach_no_provider() {
    let (provider, edge) = house(Wire::Chat).await;
    let json = body(Wire::Chat);
    let length = json.len();
    let post =
        |fields: &str, body: &str| format!("POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\n{fields}\r\n\r\n{body}");
    let chunked = format!("{length:x}\r\n{json}\r\n0\r\n\r\n");
    let cases = [
        (post(&format!("content-length: {length}\r\ntransfer-encoding: chunked"), &chunked), 400),
        (post(&format!("transfer-encoding: chunked\r\ncontent-length: {length}"), &chunked), 400),
        (post(&format!("content-length: {length}\r\ncontent-length: 5"), &json), 400),
        (post(&format!("content-length: {length}\r\ncontent-length: {length}"), &json), 400),
        (post(&format!("content-length: {length}, {length}"), &json), 400),
        (post(&format!("content-length: +{length}"), &json), 400),
        (post(&format!("content-length : {length}"), &json), 400),
        (post(&format!("content-length: {length}\r\n x: folded"), &json), 400),
        (post("transfer-encoding: xchunked", &chunked), 400),
        (post("transfer-encoding: chunked, identity", &chunked), 400),
        (post("transfer-encoding: chunked\r\ntransfer-encoding: chunked", &chunked), 400),
        (post("transfer-encoding : chunked", &chunked), 400),
        (post("transfer-encoding: gzip", &chunked), 501),
        (post(&format!("content-length: {length}\r\nhost: b"), &json), 400),
        (post(&format!("content-length: {length}\r\nx: a\0b"), &json), 400),
        (post(&format!("content-length: {length}\r\nx: a\rb"), &json), 400),
        (post(&format!("content-length: {length}\nx: b"), &json), 400),
        (post(&format!("content-length: {length}\r\nupgrade: websocket"), &json), 501),
        (post(&format!("content-length: {length}\r\nexpect: more"), &json), 417),
        (post("transfer-encoding: chunked", &format!("{length:x} \r\n{json}\r\n0\r\n\r\n")), 400),
        (post("transfer-encoding: chunked", &format!("0x{length:x}\r\n{json}\r\n0\r\n\r\n")), 400),
        (post("transfer-encoding: chunked", &format!("{length:x}\n{json}\r\n0\r\n\r\n")), 400),
        (post("transfer-encoding: chunked", &format!("{length:x}\r\n{json}0\r\n\r\n")), 400),
        (post("transfer-encoding: chunked", "FFFFFFFFFFFFFFFFF\r\n"), 400),
        (post("transfer-encoding: chunked", &format!("{length:x}\r\n{json}\r\n0\r\ncontent-length: 5\r\n\r\n")), 400),
        (post("transfer-encoding: chunked", &format!("{length:x}\r\n{json}\r\n0\r\nx: a\nb: c\r\n\r\n")), 400),
        (format!("POST /v1/chat/completions HTTP/1.1\r\ncontent-length: {length}\r\n\r\n{json}"), 400),
        (format!("POST /v1/chat/completions HTTP/1.1\r\nhost: u@a\r\ncontent-length: {length}\r\n\r\n{json}"), 400),
        (
            format!("POST http://b/v1/chat/completions HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n{json}"),
            400,
        ),
        (format!("POST  /v1/chat/completions HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n{json}"), 400),
        (format!("POST /v1/chat/completions HTTP/1.2\r\nhost: a\r\ncontent-length: {length}\r\n\r\n{json}"), 505),
        (format!("POST /v1/chat/completions HTTP/1.0\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n{chunked}"), 400),
        (format!("TRACE /v1/chat/completions HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n{json}"), 405),
        ("CONNECT a:443 HTTP/1.1\r\nhost: a:443\r\n\r\n".to_owned(), 405),
        (format!("BREW /v1/chat/completions HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n{json}"), 501),
        (post(&format!("content-length: {length}\r\n{}", "x: y\r\n".repeat(200).trim_end()), &json), 431),
        (post(&format!("content-length: {length}\r\nx: {}", "y".repeat(20_000)), &json), 431),
        (format!("POST /{} HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n{json}", "a".repeat(20_000)), 414),
        ("\u{16}\u{3}\u{1}\u{2}".to_owned(), 400),
    ];
    for (bytes, status) in &cases {
        let answer = attack(&edge, bytes.as_bytes()).await;
        let shown: String = bytes.chars().take(200).collect();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{shown:?}\n{answer}");
        let allowed = answer.contains("\r\nallow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n");
        assert_eq!(allowed, *status == 405, "{shown:?}\n{answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "nothing behind it is served: {shown:?}\n{answer}");
        assert!(answer.contains("\"error\"") && answer.contains("connection: close"), "{shown:?}\n{answer}");
    }
    assert_eq!(provider.requests().len(), 0, "none of them reached the provider");
    edge.metric_reaches("gateway_errors_total", &["error_type=\"double_framing\""], 2.0).await;
    edge.log_line("a refused request", |line| line.contains("\"error_type\":\"no_host\"")).await;
}

#[tokio::test]
async fn a_refusal_is_of_the_clients_own_format() {
    let (_, edge) = house(Wire::Chat).await;
    for (path, mark) in [("/v1/chat/completions", "\"code\":\"no_host\""), ("/v1/messages", "\"type\":\"error\"")] {
        let answer = attack(&edge, format!("POST {path} HTTP/1.1\r\ncontent-length: 0\r\n\r\n").as_bytes()).await;
        assert!(answer.contains(mark), "{path}\n{answer}");
    }
}

/// The second half of an attack often is a body that one reader takes for a request.
#[tokio::test]
async fn trap_faults_far_behind_in_a_body_reach_no_provider() {
    let (provider, edge) = house(Wire::Chat).await;
    let json = body(Wire::Chat);
    for fault in ["zz\r\n", "5 \r\nabcde\r\n", "1\nx\r\n", "0\r\nhost: b\r\n\r\n", "0\r\n\rGET / HTTP/1.1\r\n\r\n"] {
        let mut client = Client::connect(edge.addr).await;
        client
            .raw(b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n")
            .await
            .expect("sent");
        client.raw(format!("{:x}\r\n{json}\r\n", json.len()).as_bytes()).await.expect("sent");
        // The edge is reading the body by now, or will read on: either way the fault comes later than the head.
        tokio::time::sleep(Duration::from_millis(30)).await;
        let _ = client.raw(fault.as_bytes()).await;
        let answer = within(PATIENCE, "the answer", client.response()).await;
        assert_eq!(answer.status, 400, "{fault:?} {}", answer.text());
        assert!(answer.text().contains("bad_framing") || answer.text().contains("not valid HTTP"), "{}", answer.text());
        assert_eq!(within(PATIENCE, "the end", client.rest()).await, b"", "{fault:?}: the connection ends");
    }
    assert_eq!(provider.requests().len(), 0);
}

#[tokio::test]
async fn an_upgrade_to_http2_is_passed_over() {
    let (provider, edge) = house(Wire::Chat).await;
    let ask = Wire::Chat.ask("m", false).header("connection", "Upgrade, HTTP2-Settings").header("upgrade", "h2c");
    let answer = ask.header("http2-settings", "AAMAAABkAARAAAAAAAIAAAAA").send(edge.addr).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let seen = provider.last();
    for name in ["upgrade", "http2-settings", "connection", "te"] {
        assert_eq!(seen.header(name), None, "{name}");
    }
}

#[tokio::test]
async fn one_connection_of_every_framing_is_one_request_each() {
    for (client, upstream) in PAIRS {
        let (provider, edge) = house(upstream).await;
        let mut connection = Client::connect(edge.addr).await;
        let mut sent = 0;
        for framing in [Sent::Length, Sent::Chunked(7), Sent::Bytewise, Sent::Chunked(1000)] {
            let answer = connection.ask(&client.ask("m", false).sent(framing)).await;
            assert_eq!((answer.status, &answer.ended), (200, &Ended::Complete), "{client:?} {framing:?}");
            sent += 1;
            assert_eq!(provider.requests().len(), sent);
        }
    }
}

/// A large body of unknown length makes the session anew; what was sent ahead must not fall into the gap.
#[tokio::test]
async fn trap_a_request_behind_a_large_chunked_body_is_served() {
    for (client, upstream) in PAIRS {
        let (provider, edge) = house(upstream).await;
        let path = client.ask("m", false).path;
        let text = body(client).replace("Hi", &"Hi ".repeat(40_000));
        let text = if text.len() > 70_000 { text } else { format!("{}{}", " ".repeat(80_000), body(client)) };
        let half = text.len() / 2;
        let (front, back) = text.split_at(half);
        let chunked = format!("{:x}\r\n{front}\r\n{:x}\r\n{back}\r\n0\r\n\r\n", front.len(), back.len());
        let large = format!("POST {path} HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n{chunked}");
        let small = format!(
            "POST {path} HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n{}",
            body(client).len(),
            body(client)
        );
        let mut connection = Client::connect(edge.addr).await;
        connection.raw(format!("{large}{small}{large}{small}").as_bytes()).await.expect("sent");
        for number in 0..4 {
            let answer = within(PATIENCE, "the answer", connection.response()).await;
            assert_eq!(answer.status, 200, "{client:?} {number}: {}", answer.text());
            assert_eq!(client.text(&client.read(&answer, false)), "Hello, 北🙂!", "{client:?} {number}");
        }
        assert_eq!(provider.requests().len(), 4);
    }
}

/// Pingora's loop reads on for ever behind an HTTP/2 body that has trailers, and never lets another task run.
#[tokio::test]
async fn trap_trailers_of_a_request_end_its_body() {
    for (client, upstream) in PAIRS {
        let provider = Provider::start(move |request| upstream.reply(streamed(&request.json()))).await;
        let conf = Conf::open().provider("p", upstream.kind(), &provider).model("m", "p/model-1");
        let edge = Edge::start(&conf.server("threads: 1")).await;
        let h2 = H2Client::connect(edge.addr).await;
        for stream in [false, true] {
            for (sent, more) in [(Sent::Chunked(100), 0), (Sent::Length, 300_000)] {
                let mut ask = client.ask("m", stream).sent(sent);
                ask.body.extend(std::iter::repeat_n(b' ', more));
                let answer = h2.ask_trailed(&ask).await;
                assert_eq!(answer.status, 200, "{client:?} {upstream:?} {stream}: {}", answer.text());
                assert_eq!(client.text(&client.read(&answer, stream)), "Hello, 北🙂!", "{client:?} {stream}");
            }
        }
        assert_eq!(Ask::get("/health").send(edge.addr).await.status, 200);
        assert_eq!(provider.requests().len(), 4);
        edge.metric_reaches("gateway_requests_total", &["provider=\"p\""], 4.0).await;
        for blamed in ["gateway_upstream_errors_total", "gateway_upstream_ejections_total", "gateway_errors_total"] {
            assert!(edge.metric(blamed, &[]).await < 0.5, "{blamed}: {client:?} {upstream:?}");
        }
    }
}

fn streamed(body: &serde_json::Value) -> bool {
    body["stream"] == true
}

/// Closing a connection over unread bytes resets it, and the client may never see why.
#[tokio::test]
async fn a_client_that_is_still_sending_sees_its_refusal() {
    let provider = Provider::always(Wire::Chat.reply(false)).await;
    let conf = Conf::with_clients("- {name: web, key: web-key-123456}").provider("p", "openai", &provider);
    let edge = Edge::start(&conf.model("m", "p/model-1")).await;
    for _ in 0..10 {
        let answer = Ask::post("/v1/chat/completions", "x".repeat(3_000_000)).send(edge.addr).await;
        assert_eq!(answer.status, 401, "{answer:?}");
    }
}

#[tokio::test]
async fn an_answer_whose_end_can_be_read_in_two_ways_is_none() {
    for (client, upstream) in PAIRS {
        for stream in [false, true] {
            let body = String::from_utf8(upstream.reply(stream).body()).expect("a fixture is text");
            let kind = if stream { "text/event-stream" } else { "application/json" };
            let (length, chunk) = (body.len(), format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len()));
            for (framing, body) in [
                ("transfer-encoding: gzip, chunked".to_owned(), &chunk),
                ("transfer-encoding: chunked\r\ntransfer-encoding: chunked".to_owned(), &chunk),
                (format!("content-length: {length}, {length}"), &body),
                (format!("content-length: {length}\r\ncontent-length: 5"), &body),
            ] {
                let raw = format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\n{framing}\r\n\r\n{body}");
                let provider = Provider::always(Reply::raw(raw, End::Clean)).await;
                let conf = Conf::open().server("max_attempts: 1").provider("p", upstream.kind(), &provider);
                let edge = Edge::start(&conf.model("m", "p/model-1")).await;
                let refused = client.ask("m", stream).send(edge.addr).await;
                assert_eq!(refused.status, 502, "{client:?} {upstream:?} {stream} {framing}: {}", refused.text());
                assert!(refused.text().contains("not valid HTTP"), "{}", refused.text());
                client.error(&refused);
            }
        }
    }
}
