//! Time in a stream: each event leaves when it is complete, and a client that left takes its request along.

use std::time::{Duration, Instant};

use crate::support::client::Client;
use crate::support::client_h2::H2Client;
use crate::support::edge::{Conf, Edge};
use crate::support::formats::{Fold, PAIRS, Wire};
use crate::support::gate::Gate;
use crate::support::http1::Ended;
use crate::support::provider::{Provider, Request, Speaks};
use crate::support::script::{End, Reply};
use crate::support::sse;
use crate::support::tls::Authority;

async fn edge_for(provider: &Provider, upstream: Wire, more: &str) -> Edge {
    Edge::start(&Conf::open().provider_at("up", upstream.kind(), &provider.url(), more).model("m", "up/model-1")).await
}

#[tokio::test]
async fn an_event_leaves_before_the_next_one_comes() {
    for (client, upstream) in PAIRS {
        let gate = Gate::new();
        let words =
            upstream.stream().split_inclusive("\n\n").position(|event| event.contains("Hello, ")).expect("there");
        let provider = Provider::always(Reply::sse(upstream.stream()).wait_before(words + 1, &gate)).await;
        let edge = edge_for(&provider, upstream, "").await;
        let mut connection = client.ask("m", true).open(edge.addr).await;
        let (head, mut framing) = connection.head().await;
        assert_eq!(head.status, 200);
        let mut body = Vec::new();
        // The provider holds the rest back until the client has seen the words.
        while !String::from_utf8_lossy(&body).contains("Hello, ") {
            let count = sse::count(&body);
            assert!(connection.until_events(&mut framing, &mut body, count + 1).await, "{client:?} from {upstream:?}");
        }
        gate.open();
        connection.until_events(&mut framing, &mut body, usize::MAX).await;
        let response = crate::support::client::Response { body, ..head };
        assert_eq!(client.text(&client.read(&response, true)), "Hello, 北🙂!");
    }
}

/// How many chunks a chunked answer came in, its last one left out.
fn chunks(answer: &[u8]) -> usize {
    let text = String::from_utf8_lossy(answer);
    let size = |line: &str| usize::from_str_radix(line, 16).is_ok_and(|size| size > 0);
    text.split("\r\n").skip_while(|line| !line.is_empty()).filter(|line| size(line)).count()
}

#[tokio::test]
async fn events_that_come_together_leave_together() {
    for (client, upstream) in PAIRS {
        let events = upstream.stream().split_inclusive("\n\n");
        let chunked: String = events.map(|event| format!("{:x}\r\n{event}\r\n", event.len())).collect();
        let count = sse::count(upstream.stream().as_bytes());
        for (end, framing) in [("0\r\n\r\n", End::Clean), ("", End::Fin), ("5\r\nda", End::Fin)] {
            let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
            let provider = Provider::always(Reply::raw(format!("{head}{chunked}{end}"), framing)).await;
            let edge = edge_for(&provider, upstream, "").await;
            let mut connection = client.ask("m", true).header("connection", "close").open(edge.addr).await;
            let answer = connection.rest().await;
            let shown = format!("{client:?} from {upstream:?}, {end:?}: {}", String::from_utf8_lossy(&answer));
            // One read may not bring all of them, and how a stream was cut is said in a piece of its own.
            assert!(count > 5 && chunks(&answer) < count, "{} of {count}: {shown}", chunks(&answer));
            assert!(shown.contains("Hello, ") && shown.contains("北"), "{shown}");
        }
    }
}

#[tokio::test]
async fn a_client_that_leaves_takes_its_request_along() {
    for (client, upstream) in PAIRS {
        let words = upstream.stream().find("Hello, ").expect("there") + 200;
        for (name, reply) in [
            ("before the head", Reply::no_answer(End::Hang)),
            ("in the stream", Reply::sse(upstream.stream()).stop_at(words, End::Hang)),
        ] {
            for reset in [false, true] {
                let provider = Provider::always(reply.clone()).await;
                let edge = edge_for(&provider, upstream, "").await;
                let mut connection = client.ask("m", true).open(edge.addr).await;
                provider.request(0).await;
                if name == "in the stream" {
                    let (_, mut framing) = connection.head().await;
                    connection.until_events(&mut framing, &mut Vec::new(), 1).await;
                }
                let left = Instant::now();
                if reset {
                    connection.reset()
                } else {
                    drop(connection)
                }
                let seen = provider.left(0).await;
                let took = seen.saturating_duration_since(left);
                let what = format!("{client:?} from {upstream:?}, {name}, reset={reset}");
                assert!(took <= Duration::from_millis(100), "{what}: {took:?}");
                edge.metric_reaches("gateway_stream_aborts_total", &["side=\"client\""], 1.0).await;
            }
        }
    }
}

#[tokio::test]
async fn http2_toward_the_provider_in_clear_and_over_tls() {
    for (client, upstream) in PAIRS {
        for stream in [false, true] {
            let provider = Provider::speaking(Speaks::H2c, move |_| upstream.reply(stream)).await;
            let edge = edge_for(&provider, upstream, "http: h2").await;
            let response = client.ask("m", stream).send(edge.addr).await;
            assert_eq!(client.text(&client.read(&response, stream)), "Hello, 北🙂!", "{client:?} from {upstream:?}");
            assert_eq!(provider.last().version, "HTTP/2");
        }
    }
    let authority = Authority::new();
    for alpn in [&[&b"h2"[..], b"http/1.1"][..], &[b"http/1.1"]] {
        let config = authority.issue(&["localhost"]).server(alpn);
        let provider =
            Provider::speaking(Speaks::Tls(config), |_| Wire::Messages.reply(true).trailer("x-sum", "1")).await;
        let dir = tempfile::TempDir::new().expect("a folder");
        authority.write(&dir.path().join("ca.pem"));
        let conf = Conf::open().provider_at("up", "anthropic", &provider.url(), "ca: ca.pem").model("m", "up/model-1");
        let edge = Edge::start_in(&conf, dir).await;
        let response = Wire::Chat.ask("m", true).send(edge.addr).await;
        assert_eq!(Wire::Chat.text(&Wire::Chat.read(&response, true)), "Hello, 北🙂!");
        let version = if alpn.len() == 2 { "HTTP/2" } else { "HTTP/1.1" };
        assert_eq!(provider.last().version, version);
        let (dir, only) = (tempfile::TempDir::new().expect("a folder"), "ca: ca.pem, http: h2");
        authority.write(&dir.path().join("ca.pem"));
        let conf = Conf::open().provider_at("up", "anthropic", &provider.url(), only).model("m", "up/model-1");
        let edge = Edge::start_in(&conf, dir).await;
        let response = Wire::Messages.ask("m", true).send(edge.addr).await;
        assert_eq!(response.status, if alpn.len() == 2 { 200 } else { 502 }, "{}", response.text());
    }
}

#[tokio::test]
async fn a_cut_over_http2_is_a_cut() {
    for (client, upstream) in PAIRS {
        let words = upstream.stream().find("Hello, ").expect("there") + 200;
        for end in [End::Reset, End::Fin, End::Clean] {
            let gate = Gate::new();
            let reply = Reply::sse(upstream.stream()).stop_at(words, end).wait_before_end(&gate);
            let provider = Provider::speaking(Speaks::H2c, move |_| reply.clone()).await;
            let edge = edge_for(&provider, upstream, "http: h2").await;
            let mut connection = client.ask("m", true).open(edge.addr).await;
            let (head, mut framing) = connection.head().await;
            assert_eq!(head.status, 200, "{client:?} from {upstream:?} {end:?}");
            let mut body = Vec::new();
            while !String::from_utf8_lossy(&body).contains("Hello, ") {
                let count = sse::count(&body);
                assert!(
                    connection.until_events(&mut framing, &mut body, count + 1).await,
                    "{client:?} from {upstream:?}"
                );
            }
            gate.open();
            connection.until_events(&mut framing, &mut body, usize::MAX).await;
            let failed = matches!(client.fold(&sse::events(&body)), Fold::Failed { .. });
            assert!(failed, "{client:?} from {upstream:?} {end:?}: {}", String::from_utf8_lossy(&body));
        }
    }
}

#[tokio::test]
async fn leaving_over_http2_cancels_the_stream_alone() {
    for (client, upstream) in PAIRS {
        let words = upstream.stream().find("Hello, ").expect("there") + 200;
        let script = move |request: &Request| match request.number {
            0 => Reply::sse(upstream.stream()).stop_at(words, End::Hang),
            _ => upstream.reply(true),
        };
        let provider = Provider::speaking(Speaks::H2c, script).await;
        let edge = edge_for(&provider, upstream, "http: h2").await;
        let mut connection = client.ask("m", true).open(edge.addr).await;
        let (_, mut framing) = connection.head().await;
        connection.until_events(&mut framing, &mut Vec::new(), 1).await;
        let left = Instant::now();
        drop(connection);
        let took = provider.left(0).await.saturating_duration_since(left);
        assert!(took <= Duration::from_millis(100), "{client:?} from {upstream:?}: {took:?}");
        let next = client.ask("m", true).send(edge.addr).await;
        assert_eq!(client.text(&client.read(&next, true)), "Hello, 北🙂!");
        assert_eq!(provider.connections(), 1, "the connection serves on");
    }
}

#[tokio::test]
async fn tls_toward_clients_with_both_protocols() {
    let authority = Authority::new();
    let identity = authority.issue(&["localhost"]);
    let dir = tempfile::TempDir::new().expect("a folder");
    std::fs::write(dir.path().join("cert.pem"), &identity.cert_pem).expect("a file");
    std::fs::write(dir.path().join("key.pem"), &identity.key_pem).expect("a file");
    let provider = Provider::always(Wire::Messages.reply(true)).await;
    let (secure, _) = crate::support::edge::free_ports();
    let listen =
        format!("listen: [{{address: \"@PUBLIC\"}}, {{address: \"{secure}\", tls: {{cert: cert.pem, key: key.pem}}}}]");
    let conf = Conf::open().server(&listen).provider("up", "anthropic", &provider).model("m", "up/model-1");
    let edge = Edge::start_in(&conf, dir).await;
    let h2 = H2Client::connect_tls(secure, authority.client(&[b"h2", b"http/1.1"])).await;
    for wire in [Wire::Chat, Wire::Messages] {
        let responses = [
            h2.ask(&wire.ask("m", true)).await,
            over_tls(secure, authority.client(&[b"http/1.1"])).await.ask(&wire.ask("m", true)).await,
            wire.ask("m", true).send(edge.addr).await,
        ];
        for response in responses {
            assert_eq!(wire.text(&wire.read(&response, true)), "Hello, 北🙂!");
        }
    }
}

async fn over_tls(
    addr: std::net::SocketAddr,
    config: std::sync::Arc<tokio_rustls::rustls::ClientConfig>,
) -> Client<tokio_rustls::client::TlsStream<tokio::net::TcpStream>> {
    let stream = tokio::net::TcpStream::connect(addr).await.expect("the edge listens");
    let name = "localhost".try_into().expect("a valid name");
    Client::over(tokio_rustls::TlsConnector::from(config).connect(name, stream).await.expect("the handshake succeeds"))
}

#[tokio::test]
async fn a_certificate_that_nobody_vouches_for_is_refused() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    for (names, by) in [(&["localhost"], &stranger), (&["elsewhere.test"], &authority)] {
        let config = by.issue(names).server(&[b"h2"]);
        let provider = Provider::speaking(Speaks::Tls(config), |_| Wire::Chat.reply(false)).await;
        let dir = tempfile::TempDir::new().expect("a folder");
        authority.write(&dir.path().join("ca.pem"));
        let conf = Conf::open().provider_at("up", "openai", &provider.url(), "ca: ca.pem").model("m", "up/x");
        let edge = Edge::start_in(&conf, dir).await;
        let response = Wire::Chat.ask("m", false).send(edge.addr).await;
        assert_eq!(response.status, 502, "{}", response.text());
        Wire::Chat.error(&response);
        assert!(provider.requests().is_empty());
    }
}

#[tokio::test]
async fn many_streams_at_once_keep_apart() {
    let provider = Provider::start(|request| {
        let who = request.json()["messages"][0]["content"].as_str().unwrap_or_default().to_owned();
        Reply::sse(Wire::Chat.stream().replace("Hello, ", &format!("Hello, {who} ")))
    })
    .await;
    let edge = edge_for(&provider, Wire::Chat, "").await;
    let h2 = H2Client::connect(edge.addr).await;
    let mut running = Vec::new();
    for number in 0..60 {
        let (addr, h2) = (edge.addr, h2.clone());
        running.push(tokio::spawn(async move {
            let wire = if number % 2 == 0 { Wire::Chat } else { Wire::Messages };
            let ask = wire.ask("m", true);
            let body =
                String::from_utf8(ask.body.clone()).expect("UTF-8").replace("Say hello.", &format!("client-{number}"));
            let ask = wire.ask_bytes(body);
            let response = if number % 3 == 0 { h2.ask(&ask).await } else { ask.send(addr).await };
            (number, wire.text(&wire.read(&response, true)))
        }));
    }
    for task in running {
        let (number, text) = task.await.expect("no panic");
        assert_eq!(text, format!("Hello, client-{number} 北🙂!"));
    }
}

#[tokio::test]
async fn behind_a_broken_stream_the_connection_serves_on() {
    for (client, upstream) in [(Wire::Chat, Wire::Chat), (Wire::Messages, Wire::Chat), (Wire::Chat, Wire::Messages)] {
        for end in [End::Fin, End::Reset, End::TruncatedChunk, End::Hang] {
            let stream = upstream.stream();
            let cut = Reply::sse(stream).stop_at(stream.find("Hello, ").expect("words") + 120, end);
            let provider = Provider::sequence(vec![cut, upstream.reply(true)]).await;
            let conf = Conf::open().provider_at("up", upstream.kind(), &provider.url(), "timeouts: {between: 300ms}");
            let edge = Edge::start(&conf.model("m", "up/m")).await;
            let mut connection = Client::connect(edge.addr).await;
            let broken = connection.ask(&client.ask("m", true)).await;
            assert!(matches!(client.fold(&broken.events()), Fold::Failed { .. }), "{end:?}: {}", broken.text());
            assert_eq!((&broken.ended, broken.header("connection")), (&Ended::Complete, Some("keep-alive")));
            let whole = connection.ask(&client.ask("m", true)).await;
            assert!(matches!(client.fold(&whole.events()), Fold::Whole(_)), "{end:?}: {}", whole.text());
            // A deadline is the edge's own.
            let side = if end == End::Hang { "\"aborted_by\":\"edge\"" } else { "\"aborted_by\":\"upstream\"" };
            let line = edge.log_line("the cut", |line| line.contains(side)).await;
            assert!(line.contains("\"error_type\":\"upstream_") && line.contains("\"error\":\"upstream_"), "{line}");
        }
    }
}
