//! Bodies that stream through and are sent again, after a failure and while more of them comes; and what a client hears
//! that was asked to go on before something failed.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

use crate::support::client::{Ask, Client, Response, Sent};
use crate::support::client_h2::H2Client;
use crate::support::edge::{Conf, Edge};
use crate::support::formats::Wire;
use crate::support::gate::Gate;
use crate::support::provider::{Provider, refused};
use crate::support::script::{End, Reply};

/// One that takes something of its first request and asks for it again in five seconds; all others are `next`'s.
async fn asks_again(next: SocketAddr, asked: &Gate) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("loopback has a free port");
    let addr = listener.local_addr().expect("a bound listener has an address");
    let asked = asked.clone();
    tokio::spawn(async move {
        let Ok((mut stream, _)) = listener.accept().await else { return };
        asked.open();
        let mut taken = Vec::new();
        while taken.len() < 10_000 && stream.read_buf(&mut taken).await.is_ok_and(|read| read > 0) {}
        let later =
            "HTTP/1.1 503 Busy\r\nretry-after: 5\r\ncontent-length: 2\r\ncontent-type: application/json\r\n\r\n{}";
        stream.write_all(later.as_bytes()).await.expect("it is taken");
        while let Ok((mut next_stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut onward = TcpStream::connect(next).await.expect("it listens");
                let _ = copy_bidirectional(&mut next_stream, &mut onward).await;
            });
        }
    });
    addr
}

fn form(model: &str, size: usize) -> Vec<u8> {
    let file: Vec<u8> = (0..size as u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let head = format!(
        "--XyZ\r\ncontent-disposition: form-data; name=\"model\"\r\n\r\n{model}\r\n--XyZ\r\n\
         content-disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\n\r\n"
    );
    [head.as_bytes(), &file, b"\r\n--XyZ--\r\n"].concat()
}

fn upload(body: Vec<u8>) -> Ask {
    let headers = vec![("content-type".to_owned(), "multipart/form-data; boundary=XyZ".to_owned())];
    Ask { headers, ..Ask::post("/v1/audio/transcriptions", body) }
}

fn chunk(bytes: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}

#[tokio::test]
async fn nothing_is_missing_of_a_body_of_which_more_comes_while_the_next_attempt_waits() {
    let next = Provider::always(Reply::json(200, "{\"text\":\"t\"}")).await;
    let asked = Gate::new();
    let provider = asks_again(next.addr, &asked).await;
    let conf = Conf::open().provider_at("p", "openai", &format!("http://{provider}"), "").model("m", "p/other");
    let edge = Edge::start(&conf).await;
    let body = form("m", 150_000);
    let mut client = Client::connect(edge.addr).await;
    let head = "POST /v1/audio/transcriptions HTTP/1.1\r\nhost: e\r\ntransfer-encoding: chunked\r\n\
                content-type: multipart/form-data; boundary=XyZ\r\n\r\n";
    client.raw(head.as_bytes()).await.expect("it is taken");
    client.raw(&chunk(&body[..200])).await.expect("it is taken");
    asked.wait().await;
    client.raw(&chunk(&body[200..20_000])).await.expect("it is taken");
    // Until the provider may be asked again there is time to read on.
    edge.metric_reaches("gateway_buffered_request_bytes", &[], 20_000.0).await;
    client.raw(&chunk(&body[20_000..40_000])).await.expect("it is taken");
    edge.metric_reaches("gateway_buffered_request_bytes", &[], 40_000.0).await;
    client.raw(&chunk(&body[40_000..70_000])).await.expect("it is taken");
    client.raw(&[chunk(&body[70_000..]), chunk(b"")].concat()).await.expect("it is taken");
    let response = client.response().await;
    assert_eq!(response.status, 200, "{}", response.text());
    let came = String::from_utf8_lossy(&next.last().body).into_owned();
    let sent = String::from_utf8_lossy(&form("other", 150_000)).into_owned();
    assert!(came == sent, "{} bytes came of {}", came.len(), sent.len());
}

#[tokio::test]
async fn an_empty_last_piece_over_http2_is_no_second_end() {
    let provider = Provider::always(Reply::json(200, "{\"text\":\"t\"}")).await;
    let conf = Conf::open().provider("p", "openai", &provider).model("m", "p/m");
    let edge = Edge::start(&conf).await;
    let client = H2Client::connect(edge.addr).await;
    for number in 0..3 {
        let ask = Ask { path: "/v1/files".to_owned(), ..upload(form("m", 5_000)).sent(Sent::Chunked(1_000)) };
        assert_eq!(client.ask_slowly(&ask, 1_000, Duration::ZERO).await.status, 200);
        let request = provider.request(number).await;
        assert_eq!(request.method, "POST");
        assert!(request.body == form("m", 5_000));
    }
    assert_eq!(provider.requests().len(), 3);
}

/// What fails behind an interim answer is moved on, or told, as if none had been asked for.
#[tokio::test]
async fn who_was_asked_to_go_on_hears_what_became_of_it() {
    let good = Provider::always(Wire::Chat.reply(false)).await;
    let bad = Provider::always(Reply::no_answer(End::Reset)).await;
    let conf = Conf::open()
        .provider("good", "openai", &good)
        .provider("bad", "openai", &bad)
        .provider_at("gone", "openai", &format!("http://{}", refused()), "")
        .model("moves", "{targets: [gone/m, bad/m, good/m], fallback_on: [connect, reset]}")
        .model("gone", "gone/m")
        .model("bad", "{targets: [bad/m], retries: {rounds: 0}}");
    let edge = Edge::start(&conf).await;
    let ask = async |model: &str, form_too: bool| -> Response {
        let ask = if form_too { upload(form(model, 1_000)) } else { Wire::Chat.ask(model, false) };
        Ask { path: format!("{}?q=canary", ask.path), ..ask }.expecting().send(edge.addr).await
    };
    for form_too in [false, true] {
        let moved = ask("moves", form_too).await;
        assert_eq!(moved.status, 200, "{}", moved.text());
        for model in ["gone", "bad"] {
            let failed = ask(model, form_too).await;
            assert_eq!(failed.status, 502, "{model}: {}", failed.text());
            Wire::Chat.error(&failed);
        }
    }
    edge.log_line("the failure", |line| line.contains("\"model\":\"bad\"") && line.contains("\"status\":502")).await;
    // A query may hold what whoever reads the log could use.
    assert!(!edge.log().contains("canary"), "{}", edge.log());
}
