//! Clients that use a connection in ways that HTTP allows and few do.

use std::time::Duration;

use crate::support::client::{Ask, Client, Response};
use crate::support::edge::{Conf, Edge};
use crate::support::formats::{PAIRS, Wire};
use crate::support::gate::Gate;
use crate::support::http1::{Ended, Piece};
use crate::support::provider::Provider;
use crate::support::script::Reply;
use crate::support::{PATIENCE, sse, within};

async fn house(upstream: Wire, reply: Reply) -> (Provider, Edge) {
    let provider = Provider::always(reply).await;
    let edge = Edge::start(&Conf::open().provider("p", upstream.kind(), &provider).model("m", "p/model-1")).await;
    (provider, edge)
}

/// The bytes of a request, in any version of HTTP/1.
fn bytes(ask: &Ask, version: &str) -> Vec<u8> {
    let length = ask.body.len();
    let head = format!("POST {} {version}\r\nhost: edge\r\ncontent-length: {length}\r\n\r\n", ask.path);
    [head.as_bytes(), &ask.body].concat()
}

/// What comes behind a request while it is under way neither breaks it off nor gets lost.
#[tokio::test]
async fn requests_may_be_sent_before_the_answer_to_the_one_before() {
    for (client, upstream) in PAIRS {
        for behind in [&b"\r\n"[..], b""] {
            let gate = Gate::new();
            let (provider, edge) = house(upstream, upstream.reply(false).hold(&gate)).await;
            let request = bytes(&client.ask("m", false), "HTTP/1.1");
            let mut connection = Client::connect(edge.addr).await;
            connection.raw(&request).await.expect("sent");
            provider.request(0).await;
            connection.raw(behind).await.expect("sent");
            connection.raw(&[&request[..], &request].concat()).await.expect("sent");
            // Gives a broken edge the time to leave.
            tokio::time::sleep(Duration::from_millis(100)).await;
            gate.open();
            for number in 0..3 {
                let answer = within(PATIENCE, "the answer", connection.response()).await;
                assert_eq!(client.text(&client.read(&answer, false)), "Hello, 北🙂!", "{client:?} {number}");
            }
            assert_eq!(provider.requests().len(), 3);
        }
    }
}

/// The second of two requests in one packet is no sign that the client of the first has left; its end is.
#[tokio::test]
async fn a_client_that_leaves_while_another_attempt_is_waited_for_is_let_go() {
    let provider = Provider::start(|request| match request.number {
        0 => Reply::json(503, "{}").header("retry-after-ms", "50"),
        1 | 2 => Wire::Chat.reply(false),
        _ => Reply::json(503, "{}").header("retry-after", "60"),
    })
    .await;
    let model = "{targets: [p/gpt], retries: {rounds: 1, retry_after_max: 1m}}";
    let edge = Edge::start(&Conf::open().provider("p", "openai", &provider).model("m", model)).await;
    let ask = Wire::Chat.ask("m", false);
    let request = bytes(&ask, "HTTP/1.1");

    let mut connection = Client::connect(edge.addr).await;
    connection.raw(&[&request[..], &request].concat()).await.expect("sent");
    for _ in 0..2 {
        assert_eq!(within(PATIENCE, "the answer", connection.response()).await.status, 200);
    }

    let leaving = ask.open(edge.addr).await;
    provider.request(3).await;
    leaving.reset();
    // The provider wants to be left alone for a minute.
    let line = edge.log_line("who has left", |line| line.contains("\"status\":0")).await;
    assert!(line.contains("client_gone"), "{line}");
    edge.metric_becomes("gateway_requests_in_flight", &[], 0.0).await;
    assert_eq!(provider.requests().len(), 4);
}

#[tokio::test]
async fn http_1_0_gets_a_stream_without_chunks_and_at_once() {
    for (client, upstream) in PAIRS {
        let gate = Gate::new();
        let events = sse::count(upstream.stream().as_bytes());
        let (_, edge) = house(upstream, Reply::sse(upstream.stream()).wait_before(events - 2, &gate)).await;
        let mut connection = Client::connect(edge.addr).await;
        connection.raw(&bytes(&client.ask("m", true), "HTTP/1.0")).await.expect("sent");
        let (head, mut framing) = connection.head().await;
        assert_eq!(head.header("transfer-encoding"), None, "{client:?} from {upstream:?}");
        let mut body = Vec::new();
        let early = connection.until_events(&mut framing, &mut body, 1);
        assert!(within(PATIENCE, "the first event, before the last was sent", early).await);
        gate.open();
        let ended = loop {
            match connection.piece(&mut framing).await {
                Piece::Data(data) => body.extend_from_slice(&data),
                Piece::End(ended) => break ended,
            }
        };
        let response = Response { body, ended, ..head };
        assert_eq!(response.ended, Ended::Complete);
        assert_eq!(client.text(&client.read(&response, true)), "Hello, 北🙂!", "{client:?} from {upstream:?}");
    }
}

#[tokio::test]
async fn http_1_0_gets_a_whole_answer() {
    for (client, upstream) in PAIRS {
        for reply in [upstream.reply(false), upstream.reply(false).framed(crate::support::script::Framed::Chunked)] {
            let (_, edge) = house(upstream, reply).await;
            let mut connection = Client::connect(edge.addr).await;
            connection.raw(&bytes(&client.ask("m", false), "HTTP/1.0")).await.expect("sent");
            let response = connection.response().await;
            assert_eq!(response.header("transfer-encoding"), None, "{client:?} from {upstream:?}");
            assert_eq!(client.text(&client.read(&response, false)), "Hello, 北🙂!");
        }
    }
}

/// Clients that know no interim answers take the first status line for the answer.
#[tokio::test]
async fn interim_answers_of_a_provider_stay_here() {
    let (_, edge) = house(Wire::Chat, Wire::Chat.reply(false).interim(102).interim(103)).await;
    let mut connection = Client::connect(edge.addr).await;
    connection.raw(&bytes(&Wire::Chat.ask("m", false), "HTTP/1.1")).await.expect("sent");
    let head = connection.first_line().await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
}

/// What tools on the way write around a request that has no encoding.
#[tokio::test]
async fn an_empty_content_encoding_is_none() {
    let (_, edge) = house(Wire::Chat, Wire::Chat.reply(false)).await;
    let response = Wire::Chat.ask("m", false).header("content-encoding", "").send(edge.addr).await;
    assert_eq!(response.status, 200, "{}", response.text());
}

#[tokio::test]
async fn a_long_path_is_not_sent_back_whole() {
    let (_, edge) = house(Wire::Chat, Wire::Chat.reply(false)).await;
    let response = Ask::post(&format!("/v1/{}", "a".repeat(10_000)), "{}").send(edge.addr).await;
    assert_eq!(response.status, 404);
    assert!(response.body.len() < 1000, "{} bytes", response.body.len());
}

/// The SDK of Anthropic asks so for all that is in beta.
#[tokio::test]
async fn a_query_behind_a_known_path_changes_nothing() {
    for (client, upstream) in PAIRS {
        let (_, edge) = house(upstream, upstream.reply(false)).await;
        let mut ask = client.ask("m", false);
        ask.path.push_str("?beta=true");
        assert_eq!(client.text(&client.read(&ask.send(edge.addr).await, false)), "Hello, 北🙂!");
    }
}
