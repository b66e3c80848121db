//! Answers that come packed though nobody asked for that.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::edge::faults::{Case, ask, ask_all, check_cut, check_refused};
use crate::support::client::{Ask, Response};
use crate::support::edge::{Conf, Edge};
use crate::support::formats::{PAIRS, Wire};
use crate::support::gate::Gate;
use crate::support::http1::Ended;
use crate::support::provider::Provider;
use crate::support::script::{End, Reply};
use crate::support::sse;

const CODINGS: [&str; 4] = ["gzip", "deflate", "br", "zstd"];

#[tokio::test]
async fn what_is_packed_is_read() {
    let mut cases = Vec::new();
    for (client, upstream) in PAIRS {
        for coding in CODINGS {
            for stream in [false, true] {
                cases.push(Case::new(coding, client, upstream, stream, upstream.reply(stream).packed(coding)));
                cases.push(Case::new(
                    coding,
                    client,
                    upstream,
                    stream,
                    upstream.reply(stream).packed(coding).bytewise(),
                ));
            }
        }
    }
    for (case, response) in ask_all(cases).await {
        assert_eq!((response.status, &response.ended), (200, &Ended::Complete), "{}", case.what);
        assert_eq!(response.header("content-encoding"), None, "{}", case.what);
        let answer = case.client.read(&response, case.stream);
        assert_eq!(case.client.text(&answer), "Hello, 北🙂!", "{}", case.what);
    }
    for (client, upstream) in PAIRS {
        for coding in CODINGS {
            let reply = Reply::json(400, upstream.error_body("invalid_request_error", "packed words")).packed(coding);
            let error = check_refused(coding, client, &ask(client, upstream, false, reply).await, &[400]);
            let error = error.get("error").unwrap_or(&error);
            assert!(error["message"].as_str().unwrap_or_default().contains("packed words"), "{error}");
        }
    }
}

#[tokio::test]
async fn what_is_packed_by_event_leaves_by_event() {
    for (client, upstream) in PAIRS {
        let gate = Gate::new();
        let mut events = upstream.stream().split_inclusive("\n\n");
        let words = events.position(|event| event.contains("Hello, ")).expect("there");
        let provider = Provider::always(Reply::sse(upstream.stream()).gzip().wait_before(words + 1, &gate)).await;
        let conf = Conf::open().provider("up", upstream.kind(), &provider).model("m", "up/model-1");
        let edge = Edge::start(&conf).await;
        let mut connection = client.ask("m", true).open(edge.addr).await;
        let (head, mut framing) = connection.head().await;
        let mut body = Vec::new();
        // The provider holds the rest back until the client has seen the words.
        while !String::from_utf8_lossy(&body).contains("Hello, ") {
            let count = sse::count(&body);
            assert!(connection.until_events(&mut framing, &mut body, count + 1).await, "{client:?} from {upstream:?}");
        }
        gate.open();
        connection.until_events(&mut framing, &mut body, usize::MAX).await;
        let response = Response { body, ..head };
        assert_eq!(client.text(&client.read(&response, true)), "Hello, 北🙂!");
    }
}

#[tokio::test]
async fn what_is_packed_and_spoiled_is_no_answer() {
    let (mut cut, mut whole) = (Vec::new(), Vec::new());
    for (client, upstream) in PAIRS {
        // With the words there and the end not.
        let words = upstream.stream().split_inclusive("\n\n").position(|event| event.contains("Hello, "));
        let stream = Reply::sse(upstream.stream()).gzip();
        let until = stream.until(words.expect("there") + 1);
        let body = stream.body();
        let garbled = [&body[..until], &[0xff; 40]].concat();
        cut.push(Case::new("ends early", client, upstream, true, stream.clone().stop_at(until, End::Clean)));
        cut.push(Case::new("garbled", client, upstream, true, stream.with_body(garbled)));
        let packed = upstream.reply(false).gzip();
        let mut spoiled = packed.body();
        let middle = spoiled.len() / 2;
        spoiled[middle] ^= 0x55;
        let short = packed.body()[..middle].to_vec();
        for (name, body) in [("spoiled", spoiled), ("short", short), ("none", b"{}".to_vec())] {
            whole.push(Case::new(name, client, upstream, false, packed.clone().with_body(body)));
        }
    }
    for (case, response) in ask_all(cut).await {
        check_cut(&case.what, case.client, &response);
    }
    for (case, response) in ask_all(whole).await {
        // What passes as it comes may have its head out already: then the connection tells.
        if response.status == 200 {
            assert_ne!(response.ended, Ended::Complete, "{}: {}", case.what, response.text());
        } else {
            check_refused(&case.what, case.client, &response, &[502]);
        }
    }
}

#[tokio::test]
async fn a_bomb_takes_no_room() {
    // 16 MB of one letter, 12 times: 192 MB out of as many KB.
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(&vec![b'a'; 16 << 20]).expect("memory takes every byte");
    let bomb = encoder.finish().expect("memory takes every byte").repeat(12);
    let conf =
        |provider: &Provider, wire: Wire| Conf::open().provider("up", wire.kind(), provider).model("m", "up/model-1");
    for (client, upstream) in PAIRS {
        for stream in [true, false] {
            let provider =
                Provider::always(upstream.reply(stream).header("content-encoding", "gzip").with_body(bomb.clone()))
                    .await;
            let edge = Edge::start(&conf(&provider, upstream)).await;
            let before = edge.resident();
            let response = client.ask("m", stream).send(edge.addr).await;
            let what =
                format!("{client:?} from {upstream:?}, stream={stream}: {} {:?}", response.status, response.ended);
            let more = edge.resident().saturating_sub(before) >> 20;
            assert!(more <= 160, "{what}: {more} MiB");
        }
    }
    // Beside the formats too.
    let provider = Provider::always(Reply::json(200, "{}").header("content-encoding", "gzip").with_body(bomb)).await;
    let edge = Edge::start(&conf(&provider, Wire::Chat)).await;
    let response = Ask::post("/v1/embeddings", r#"{"model":"m","input":"x"}"#).send(edge.addr).await;
    assert_eq!((response.status, &response.ended, response.body.len()), (200, &Ended::Complete, 192 << 20));
    assert!(edge.resident() < 160 << 20, "{} MiB", edge.resident() >> 20);
}

#[tokio::test]
async fn what_is_packed_may_be_longer_than_its_length() {
    // So much that it comes in pieces, and of which each alone unpacks to more than the length of all.
    let mut state = 1_u64;
    let mut letter = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        char::from(b'a' + (state >> 60) as u8)
    };
    let text: String = (0..200_000).map(|_| letter()).collect();
    for (client, upstream) in [(Wire::Chat, Wire::Messages), (Wire::Messages, Wire::Chat), (Wire::Chat, Wire::Chat)] {
        for stream in [false, true] {
            let whole = String::from_utf8(upstream.reply(false).body()).expect("text");
            let words = whole.find("Hello, ").and_then(|at| Some(at..at + whole[at..].find('"')?)).expect("its words");
            let long = [&whole[..words.start], &text, &whole[words.end..]].concat();
            let response = ask(client, upstream, stream, Reply::json(200, long).gzip()).await;
            assert!(client.text(&client.read(&response, stream)) == text, "{client:?} {upstream:?} {stream}");
        }
    }
}
