//! HTTP/2 connections that send much for nothing: each is closed or bounded, and the others do not notice.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::client::Ask;
use crate::support::client_h2::H2Client;
use crate::support::edge::{Conf, Edge};
use crate::support::formats::Wire;
use crate::support::provider::Provider;
use crate::support::{PATIENCE, within};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

async fn house() -> (Provider, Edge) {
    let provider = Provider::always(Wire::Chat.reply(false)).await;
    let conf = Conf::open().provider("p", "openai", &provider).model("m", "p/model-1");
    let edge = Edge::start(&conf).await;
    (provider, edge)
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// HPACK of `POST http://a/v1/chat/completions`, without table entries.
fn head() -> Vec<u8> {
    let mut block = vec![0x83, 0x86];
    for (name, value) in [(":path", "/v1/chat/completions"), (":authority", "a")] {
        block.push(0);
        for text in [name, value] {
            block.push(u8::try_from(text.len()).expect("short"));
            block.extend_from_slice(text.as_bytes());
        }
    }
    block
}

/// Sends what `flood` makes until the edge closes the connection; true if it does before `most` rounds.
async fn closed_by(edge: &Edge, most: u32, flood: impl Fn(u32) -> Vec<u8>) -> bool {
    let mut stream = TcpStream::connect(edge.addr).await.expect("the edge listens");
    let (mut reader, mut writer) = stream.split();
    let mut hello = PREFACE.to_vec();
    hello.extend(frame(4, 0, 0, &[]));
    writer.write_all(&hello).await.expect("sent");
    // Answers are read and thrown away, so that the edge never waits for this client.
    let reading = async {
        let mut bytes = vec![0; 64 * 1024];
        while matches!(reader.read(&mut bytes).await, Ok(1..)) {}
    };
    let writing = async {
        for round in 0..most {
            if writer.write_all(&flood(round)).await.is_err() {
                break;
            }
        }
        tokio::time::sleep(Duration::from_secs(3)).await;
    };
    tokio::select! {
        () = reading => true,
        () = writing => false,
    }
}

#[tokio::test]
async fn floods_of_frames_close_their_connection_alone() {
    let (provider, edge) = house().await;
    let other = H2Client::connect(edge.addr).await;
    let stream = |round: u32| 2 * round + 1;
    let opened = frame(1, 4, 1, &head());
    type Flood<'a> = (&'static str, Box<dyn Fn(u32) -> Vec<u8> + 'a>);
    let floods: [Flood<'_>; 7] = [
        ("ping", Box::new(|_| frame(6, 0, 0, b"12345678").repeat(100))),
        ("settings", Box::new(|_| frame(4, 0, 0, &[0, 3, 0, 0, 0, 50]).repeat(100))),
        ("priority", Box::new(|_| frame(2, 0, 1, &[0, 0, 0, 0, 1]).repeat(100))),
        (
            "reset",
            Box::new(|round| [frame(1, 4, stream(round), &head()), frame(3, 0, stream(round), &[0, 0, 0, 8])].concat()),
        ),
        (
            "continuation",
            Box::new(|round| match round {
                0 => frame(1, 0, 1, &head()),
                _ => frame(9, 0, 1, &[]).repeat(100),
            }),
        ),
        (
            "empty data",
            Box::new(|round| match round {
                0 => opened.clone(),
                _ => frame(0, 0, 1, &[]).repeat(100),
            }),
        ),
        ("window updates", Box::new(|_| frame(8, 0, 0, &[0, 0, 0, 1]).repeat(100))),
    ];
    for (name, flood) in &floods {
        let closed = within(PATIENCE, name, closed_by(&edge, 20_000, flood)).await;
        assert!(closed, "{name}: the flood may go on");
        assert_eq!(other.ask(&Wire::Chat.ask("m", false)).await.status, 200, "{name} hurts another connection");
    }
    assert_eq!(provider.requests().len(), floods.len(), "no flood was a request");
    edge.metric_reaches("gateway_connections_refused_total", &["reason=\"h2_flood\""], 3.0).await;
    assert!(edge.resident() < 200 << 20, "{} bytes", edge.resident());
}

/// A small head that unpacks to a large one, on as many streams as there may be, with windows that never open.
#[tokio::test]
async fn trap_heads_that_unpack_are_bounded() {
    let (provider, edge) = house().await;
    let before = edge.resident();
    for _ in 0..4 {
        let mut stream = TcpStream::connect(edge.addr).await.expect("the edge listens");
        // SETTINGS_INITIAL_WINDOW_SIZE of zero: no answer's body can be sent.
        let mut bytes = [PREFACE, &frame(4, 0, 0, &[0, 4, 0, 0, 0, 0])].concat();
        // One entry into the table, then a reference of one byte as often as the frame holds.
        let mut first = head();
        first.extend_from_slice(&[0x40, 1, b'x', 100]);
        first.extend_from_slice(&[b'y'; 100]);
        bytes.extend(frame(1, 5, 1, &first));
        let mut bomb = head();
        bomb.resize(8000, 0x80 | 62);
        for number in 1..400u32 {
            bytes.extend(frame(1, 5, 2 * number + 1, &bomb));
        }
        let _ = stream.write_all(&bytes).await;
        let mut sink = vec![0; 4096];
        // Some of the answers, or the end.
        let _ = tokio::time::timeout(Duration::from_millis(500), stream.read(&mut sink)).await;
        assert_eq!(Ask::get("/health").send(edge.addr).await.status, 200);
    }
    assert_eq!(provider.requests().len(), 0);
    assert!(edge.resident() < before + (64 << 20), "{} -> {} bytes", before, edge.resident());
}

#[tokio::test]
async fn heads_over_http2_are_as_strict() {
    let (provider, edge) = house().await;
    let client = H2Client::connect(edge.addr).await;
    let many = (0..150).fold(Wire::Chat.ask("m", false), |ask, number| ask.header(&format!("x-{number}"), "1"));
    let answer = client.ask(&many).await;
    assert!(answer.status == 431 && answer.text().contains("more than 100 headers"), "{answer:?}");
    let trace = client.ask(&Ask { method: "TRACE".to_owned(), ..Ask::get("/v1/chat/completions") }).await;
    let served = Some("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
    assert_eq!((trace.status, trace.header("allow")), (405, served), "{trace:?}");
    let brew = client.ask(&Ask { method: "BREW".to_owned(), ..Ask::get("/v1/chat/completions") }).await;
    assert_eq!(brew.status, 501, "{brew:?}");
    let foreign = client.ask(&Wire::Chat.ask("m", false).header("host", "other.test")).await;
    assert_eq!(foreign.status, 400, "{foreign:?}");
    for (name, value) in [("connection", "close"), ("transfer-encoding", "chunked"), ("upgrade", "h2c"), ("te", "gzip")]
    {
        let answer = client.ask(&Wire::Chat.ask("m", false).header(name, value)).await;
        assert!(answer.status == 0 || answer.status >= 400, "{name}: {answer:?}");
    }
    assert_eq!(provider.requests().len(), 0);
    assert_eq!(client.ask(&Wire::Chat.ask("m", false)).await.status, 200, "the connection serves on");
}

#[tokio::test]
async fn a_body_over_http2_keeps_its_rate_too() {
    let provider = Provider::always(Wire::Chat.reply(false)).await;
    let conf = Conf::open().server("timeouts: {body: 300ms}").provider("p", "openai", &provider);
    let edge = Edge::start(&conf.model("m", "p/model-1")).await;
    let stream = TcpStream::connect(edge.addr).await.expect("the edge listens");
    let (mut send, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
    tokio::spawn(connection);
    let request = http::Request::post("http://a/v1/chat/completions").header("content-length", 1000).body(());
    let (response, mut body) = send.send_request(request.expect("a request"), false).expect("sent");
    let dripping = async {
        loop {
            let _ = body.send_data(bytes::Bytes::from_static(b" "), false);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let answer = async {
        tokio::select! {
            answer = response => answer.expect("an answer").status().as_u16(),
            () = dripping => 0,
        }
    };
    assert_eq!(within(PATIENCE, "the answer", answer).await, 408);
}
