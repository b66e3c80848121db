//! The harness against itself: a scripted fault is what it says, and the client sees it.

use crate::support::client::{Ask, Client, Response, Sent};
use crate::support::client_h2::H2Client;
use crate::support::formats::{Fold, Wire};
use crate::support::gate::Gate;
use crate::support::http1::{Ended, Piece};
use crate::support::provider::{Provider, Speaks, refused};
use crate::support::script::{End, Framed, Reply};
use crate::support::tls::Authority;
use crate::support::{PATIENCE, sse, within};

const STREAM: &str = "data: {\"a\":1}\n\ndata: {\"b\":2}\n\ndata: [DONE]\n\n";

async fn ask(reply: Reply) -> Response {
    let provider = Provider::always(reply).await;
    Ask::post("/v1/x", "{}").send(provider.addr).await
}

fn cut(response: &Response) -> bool {
    matches!(response.ended, Ended::Cut(_))
}

#[tokio::test]
async fn each_fault_is_what_it_says() {
    let whole = ask(Reply::json(200, "{\"ok\":true}")).await;
    assert_eq!((whole.status, whole.text().as_str(), &whole.ended), (200, "{\"ok\":true}", &Ended::Complete));
    let stream = ask(Reply::sse(STREAM)).await;
    assert_eq!((stream.text().as_str(), &stream.ended), (STREAM, &Ended::Complete));
    for shaped in [Reply::sse(STREAM).bytewise(), Reply::sse(STREAM).cut_every(5), Reply::sse(STREAM).interim(103)] {
        assert_eq!(ask(shaped).await.text(), STREAM);
    }
    let trailed = ask(Reply::sse(STREAM).trailer("x-sum", "1")).await;
    assert_eq!(trailed.ended, Ended::Complete);
    for (reply, status) in [
        (Reply::sse(STREAM).stop_at(20, End::Fin), 200),
        (Reply::sse(STREAM).stop_at(20, End::Reset), 200),
        (Reply::sse(STREAM).stop_at(20, End::TruncatedChunk), 200),
        (Reply::json(200, "{}").framed(Framed::Lie(99)).end(End::Fin), 200),
        (Reply::no_answer(End::Fin), 0),
        (Reply::no_answer(End::Reset), 0),
        (Reply::raw("HTTP/1.1 200 OK\r\ncontent-le", End::Fin), 0),
    ] {
        let shown = format!("{reply:?}");
        let response = ask(reply).await;
        assert!(cut(&response) && response.status == status, "{shown}\n{response:?}");
    }
    let empty = ask(Reply::bare(204)).await;
    assert_eq!((empty.status, empty.ended), (204, Ended::Complete));
    assert!(tokio::net::TcpStream::connect(refused()).await.is_err());
}

#[tokio::test]
async fn requests_are_recorded_exactly() {
    let provider = Provider::always(Reply::json(200, "{}")).await;
    let mut client = Client::connect(provider.addr).await;
    let body: Vec<u8> = (0..200_000u32).map(|n| b'a' + (n % 26) as u8).collect();
    for (number, sent) in [Sent::Length, Sent::Chunked(1000), Sent::Chunked(70_000)].into_iter().enumerate() {
        let ask = Ask::post("/v1/x?y=1", body.clone()).header("X-Mixed", " kept ").sent(sent);
        assert_eq!(client.ask(&ask).await.status, 200);
        let request = provider.request(number).await;
        assert_eq!((request.method.as_str(), request.target.as_str()), ("POST", "/v1/x?y=1"));
        assert!(request.body == body && request.ended == Ended::Complete, "{sent:?}");
        assert!(request.raw_head.starts_with(b"POST /v1/x?y=1 HTTP/1.1\r\n"));
        assert_eq!(request.header("x-mixed"), Some("kept"));
    }
    assert_eq!(client.ask(&Ask::post("/", "ab").sent(Sent::Bytewise).expecting()).await.status, 200);
    assert_eq!(provider.last().body, b"ab");
    assert_eq!(provider.connections(), 1);
}

#[tokio::test]
async fn a_pause_waits_for_its_gate_and_a_leaving_client_is_seen() {
    let gate = Gate::new();
    let provider = Provider::always(Reply::sse(STREAM).wait_before(1, &gate).end(End::Hang)).await;
    let mut client = Ask::post("/", "{}").open(provider.addr).await;
    let (_, mut framing) = client.head().await;
    let mut body = Vec::new();
    assert!(client.until_events(&mut framing, &mut body, 1).await);
    assert_eq!(sse::events(&body).len(), 1);
    gate.open();
    assert!(client.until_events(&mut framing, &mut body, 3).await);
    drop(client);
    within(PATIENCE, "the provider to see it", provider.left(0)).await;
}

#[tokio::test]
async fn gzip_is_real_and_split_by_event() {
    let response = ask(Reply::sse(STREAM).gzip()).await;
    assert_eq!(response.header("content-encoding"), Some("gzip"));
    let mut plain = String::new();
    let mut decoder = flate2::read::GzDecoder::new(response.body.as_slice());
    std::io::Read::read_to_string(&mut decoder, &mut plain).expect("it is gzip");
    assert_eq!(plain, STREAM);
}

#[tokio::test]
async fn http2_in_clear_and_over_tls() {
    let plain = Provider::speaking(Speaks::H2c, |_| Reply::sse(STREAM)).await;
    let client = H2Client::connect(plain.addr).await;
    let big = vec![b'x'; 300_000];
    let response = client.ask(&Ask::post("/v1/x", big.clone())).await;
    assert_eq!((response.status, response.text().as_str()), (200, STREAM));
    assert!(plain.last().body == big);
    assert_eq!(plain.last().version, "HTTP/2");

    let authority = Authority::new();
    let config = authority.issue(&["localhost"]).server(&[b"h2", b"http/1.1"]);
    let secure = Provider::speaking(Speaks::Tls(config), |_| Reply::json(200, "{}").trailer("x-sum", "1")).await;
    let client = H2Client::connect_tls(secure.addr, authority.client(&[b"h2"])).await;
    assert_eq!(client.ask(&Ask::get("/")).await.text(), "{}");

    for end in [End::Reset, End::Fin] {
        let faulty = Provider::speaking(Speaks::H2c, move |_| Reply::sse(STREAM).stop_at(20, end)).await;
        let response = H2Client::connect(faulty.addr).await.ask(&Ask::get("/")).await;
        assert!(cut(&response), "{end:?} {response:?}");
    }
}

#[tokio::test]
async fn streams_are_read_by_the_standard() {
    let shapes = ["data: x\n\n", "data:x\r\n\r\n", ": note\rdata: x\r\r", "\u{feff}data: x\nid: 3\n\n"];
    for shape in shapes {
        let events = sse::events(shape.as_bytes());
        assert_eq!(events.iter().map(|event| event.data.as_str()).collect::<Vec<_>>(), ["x"], "{shape:?}");
    }
    assert_eq!(sse::events(b"event: a\ndata: 1\ndata: 2\n\ndata: half").len(), 1);
    let parts = Reply::sse("data: 1\r\n\r\ndata: 2\n\n").cut_every(3);
    let mut client = Ask::get("/").open(Provider::always(parts).await.addr).await;
    let (_, mut framing) = client.head().await;
    assert!(matches!(client.piece(&mut framing).await, Piece::Data(data) if data.len() <= 3));
}

#[test]
fn a_fold_knows_a_whole_stream_from_a_cut_one() {
    for wire in [Wire::Chat, Wire::Messages] {
        let events = sse::events(wire.stream().as_bytes());
        let Fold::Whole(folded) = wire.fold(&events) else { panic!("{wire:?}: the fixture is whole") };
        let whole: serde_json::Value = serde_json::from_str(wire.answer()).expect("JSON");
        assert_eq!((wire.text(&folded), wire.stop(&folded)), (wire.text(&whole), wire.stop(&whole)));
        for count in 0..events.len() {
            assert!(matches!(wire.fold(&events[..count]), Fold::Open(_)), "{wire:?} after {count} events");
        }
    }
    let twice = sse::events([Wire::Chat.stream(), Wire::Chat.stream()].concat().as_bytes());
    assert!(std::panic::catch_unwind(|| Wire::Chat.fold(&twice)).is_err(), "two ends are none");
}
