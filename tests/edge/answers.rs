//! Answers of providers whose framing could be read in two ways, or never ends: none is passed on as if it were whole,
//! and no byte of one answer becomes part of another.

use crate::support::client::Client;
use crate::support::edge::{Conf, Edge};
use crate::support::formats::Wire;
use crate::support::http1::Ended;
use crate::support::provider::Provider;
use crate::support::script::{End, Reply};
use crate::support::{PATIENCE, within};

async fn house(reply: Reply) -> (Provider, Edge) {
    let provider = Provider::sequence(vec![reply, Wire::Chat.reply(false), Wire::Chat.reply(false)]).await;
    let conf = Conf::open().server("max_attempts: 1").provider("p", "openai", &provider).model("m", "p/model-1");
    (provider, Edge::start(&conf).await)
}

/// What a client of the format that passes, and of one that is translated, is told of `reply`.
async fn told(name: &str, reply: Reply, statuses: &[u16]) {
    for client in [Wire::Chat, Wire::Messages] {
        let (provider, edge) = house(reply.clone()).await;
        let mut connection = Client::connect(edge.addr).await;
        let answer = within(PATIENCE, name, connection.ask(&client.ask("m", false))).await;
        let whole = answer.status == 200 && answer.ended == Ended::Complete;
        assert!(statuses.contains(&answer.status) || !whole, "{name} {client:?}: {answer:?}");
        if answer.status >= 500 {
            client.error(&answer);
        }
        // The next request has an answer of its own.
        let next = client.ask("m", false).send(edge.addr).await;
        assert_eq!(client.text(&client.read(&next, false)), "Hello, 北🙂!", "{name} {client:?}");
        if !whole {
            assert!(provider.connections() >= 2, "{name} {client:?}: the connection is not used again");
        }
    }
}

#[tokio::test]
async fn trap_answers_with_two_framings_are_none() {
    let body = Wire::Chat.answer();
    let length = body.len();
    let answer = |fields: &str, body: &str| {
        Reply::raw(format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n{fields}\r\n\r\n{body}"), End::Hang)
    };
    for (name, reply) in [
        ("two lengths", answer(&format!("content-length: {length}\r\ncontent-length: 5"), body)),
        ("a list of lengths", answer(&format!("content-length: {length}, 5"), body)),
        ("no number", answer("content-length: five", body)),
        ("a sign", answer(&format!("content-length: +{length}"), body)),
        ("a chunk without size", answer("transfer-encoding: chunked", &format!("zz\r\n{body}\r\n0\r\n\r\n"))),
        ("a chunk too large", answer("transfer-encoding: chunked", &format!("FFFFFFFFFFFFFFFFF\r\n{body}"))),
        ("a chunk too short", answer("transfer-encoding: chunked", &format!("5\r\n{body}\r\n0\r\n\r\n"))),
    ] {
        told(name, reply, &[502]).await;
    }
}

/// What comes behind an answer may be the answer that an attacker wrote for the next request.
#[tokio::test]
async fn trap_bytes_behind_an_answer_are_nobodys() {
    let body = Wire::Chat.answer();
    let length = body.len();
    let planted = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n\"planted\"";
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";
    for raw in [
        format!("{head}content-length: {length}\r\n\r\n{body}{planted}"),
        format!("{head}transfer-encoding: chunked\r\n\r\n{length:x}\r\n{body}\r\n0\r\n\r\n{planted}"),
    ] {
        told("bytes behind", Reply::raw(raw, End::Hang), &[200, 502]).await;
    }
}

#[tokio::test]
async fn interim_answers_are_passed_over() {
    let interim = "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n";
    let some = format!("{}HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n", interim.repeat(20));
    let body = Wire::Chat.answer();
    let (_, edge) = house(Reply::raw(format!("{some}content-length: {}\r\n\r\n{body}", body.len()), End::Hang)).await;
    let answer = Wire::Chat.ask("m", false).send(edge.addr).await;
    assert_eq!(Wire::Chat.text(&Wire::Chat.read(&answer, false)), "Hello, 北🙂!");
    told("interim answers", Reply::raw(interim.repeat(5000), End::Fin), &[502]).await;
}
