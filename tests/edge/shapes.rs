//! A provider that answers in the other shape than it was asked for: whole instead of streamed, or the other way.

use crate::support::client::Response;
use crate::support::edge::{Conf, Edge};
use crate::support::formats::{PAIRS, Wire};
use crate::support::gate::Gate;
use crate::support::http1::Ended;
use crate::support::provider::Provider;
use crate::support::script::{End, Reply};
use crate::support::{PATIENCE, within};

/// What a client of `client` gets of a provider of `upstream` that always answers with `reply`.
async fn ask(client: Wire, upstream: Wire, stream: bool, reply: Reply) -> (Response, Edge) {
    let provider = Provider::always(reply).await;
    let name = if upstream == Wire::Chat { "gpt-4.1" } else { "claude-sonnet-4-5" };
    let conf = Conf::open().provider("up", upstream.kind(), &provider).model("m", &format!("up/{name}"));
    let edge = Edge::start(&conf).await;
    (client.ask("m", stream).send(edge.addr).await, edge)
}

#[tokio::test]
async fn a_whole_answer_is_a_stream_for_who_asked_for_one() {
    for (client, upstream) in PAIRS {
        for reply in [upstream.reply(false), upstream.reply(false).cut_every(11), upstream.reply(false).bytewise()] {
            let (response, edge) = ask(client, upstream, true, reply).await;
            let answer = client.read(&response, true);
            assert_eq!(client.text(&answer), "Hello, 北🙂!", "{client:?} of {upstream:?}");
            let stop = if client == Wire::Chat { "stop" } else { "end_turn" };
            assert_eq!(client.stop(&answer), stop);
            assert_eq!(response.header("content-type"), Some("text/event-stream; charset=utf-8"));
            assert_eq!((response.header("content-length"), &response.ended), (None, &Ended::Complete));
            edge.metric_reaches("gateway_tokens_total", &["type=\"output\""], 5.0).await;
        }
    }
}

#[tokio::test]
async fn a_stream_is_a_whole_answer_for_who_asked_for_one() {
    for (client, upstream) in PAIRS {
        for reply in [upstream.reply(true), upstream.reply(true).cut_every(7)] {
            let (response, edge) = ask(client, upstream, false, reply).await;
            let answer = client.read(&response, false);
            assert_eq!(client.text(&answer), "Hello, 北🙂!", "{client:?} of {upstream:?}");
            let stop = if client == Wire::Chat { "stop" } else { "end_turn" };
            assert_eq!(client.stop(&answer), stop);
            assert_eq!(response.header("content-type"), Some("application/json"));
            let usage = &answer["usage"];
            let output = if client == Wire::Chat { &usage["completion_tokens"] } else { &usage["output_tokens"] };
            assert_eq!(output, 5, "{usage}");
            edge.metric_reaches("gateway_tokens_total", &["type=\"output\""], 5.0).await;
        }
    }
}

#[tokio::test]
async fn a_gathered_stream_that_broke_off_is_no_answer() {
    for (client, upstream) in PAIRS {
        let stream = upstream.stream();
        let half = stream.get(..stream.len() / 2).unwrap_or_default();
        let error = format!("{half}\n\nevent: error\ndata: {}\n\n", upstream.error_body("overloaded_error", "busy"));
        for reply in [Reply::sse(half), Reply::sse(error)] {
            let (response, _edge) = ask(client, upstream, false, reply).await;
            let looks_whole = response.ended == Ended::Complete && response.status == 200;
            assert!(!looks_whole, "{client:?} of {upstream:?}: {response:?}");
        }
        for end in [End::Fin, End::Reset, End::TruncatedChunk] {
            let (response, _edge) = ask(client, upstream, false, Reply::sse(stream).stop_at(half.len(), end)).await;
            let shown = format!("{client:?} of {upstream:?} {end:?}: {response:?}");
            assert_eq!((response.status, &response.ended), (502, &Ended::Complete), "{shown}");
            client.error(&response);
        }
    }
}

#[tokio::test]
async fn a_whole_answer_that_is_none_fails_before_the_stream_has_begun() {
    for (client, upstream) in PAIRS {
        let error = upstream.error_body("api_error", "no luck today");
        for (body, words) in [(error.as_str(), "no luck today"), ("{\"id\":", ""), ("[]", ""), ("{}", "")] {
            let (response, _edge) = ask(client, upstream, true, Reply::json(200, body)).await;
            assert!(response.status >= 500, "{client:?} of {upstream:?}: {} {}", response.status, response.text());
            assert!(client.error(&response).to_string().contains(words), "{}", response.text());
        }
    }
}

#[tokio::test]
async fn a_success_that_is_no_answer_moves_on_to_the_next_target() {
    for (client, upstream) in PAIRS {
        for stream in [true, false] {
            let error = upstream.error_body("api_error", "no luck today");
            let page = Reply::typed(200, "text/html", "<html>log in</html>");
            for (name, reply) in [("error", Reply::json(200, error)), ("page", page)] {
                // A whole answer that passes as it comes is not looked at before it goes.
                if name == "error" && !stream && client == upstream {
                    continue;
                }
                let bad = Provider::always(reply).await;
                let good = Provider::always(upstream.reply(stream)).await;
                let conf = Conf::open()
                    .provider("bad", upstream.kind(), &bad)
                    .provider("good", upstream.kind(), &good)
                    .model("m", "{targets: [bad/x, good/y]}")
                    .model("only", "bad/x");
                let edge = Edge::start(&conf).await;
                let what = format!("{client:?} of {upstream:?}, stream={stream}, {name}");
                let response = client.ask("m", stream).send(edge.addr).await;
                assert_eq!(response.status, 200, "{what}: {}", response.text());
                assert_eq!(client.text(&client.read(&response, stream)), "Hello, 北🙂!", "{what}");
                assert_eq!((bad.requests().len(), good.requests().len()), (1, 1), "{what}");
                let alone = client.ask("only", stream).send(edge.addr).await;
                assert!(alone.status >= 500, "{what}: {}", alone.text());
                client.error(&alone);
            }
        }
    }
}

#[tokio::test]
async fn a_whole_answer_under_a_streams_name_is_told_as_a_stream() {
    for (client, upstream) in PAIRS {
        for size in [7, usize::MAX] {
            let mut reply = upstream.reply(false);
            reply.headers = vec![("content-type".to_owned(), "text/event-stream".to_owned())];
            let (response, _edge) = ask(client, upstream, true, reply.cut_every(size)).await;
            let shown = format!("{client:?} of {upstream:?}: {}", response.text());
            assert_eq!(client.text(&client.read(&response, true)), "Hello, 北🙂!", "{shown}");
        }
    }
}

#[tokio::test]
async fn a_stream_under_a_wrong_name_leaves_by_event() {
    for (client, upstream) in PAIRS {
        let gate = Gate::new();
        let events = upstream.stream().split_inclusive("\n\n").count();
        let mut reply = Reply::sse(upstream.stream()).wait_before(events - 1, &gate);
        reply.headers = vec![("content-type".to_owned(), "text/plain".to_owned())];
        let provider = Provider::always(reply).await;
        let conf = Conf::open().provider("p", upstream.kind(), &provider).model("m", "p/model-1");
        let edge = Edge::start(&conf).await;
        let mut connection = client.ask("m", true).open(edge.addr).await;
        let (head, mut framing) = within(PATIENCE, "the head", connection.head()).await;
        assert_eq!(head.status, 200);
        let mut body = Vec::new();
        let early = connection.until_events(&mut framing, &mut body, 1);
        assert!(within(PATIENCE, "an event before the last was sent", early).await, "{client:?} of {upstream:?}");
        gate.open();
    }
}

#[tokio::test]
async fn a_stream_under_a_wrong_name_is_one() {
    for (client, upstream) in PAIRS {
        let reply = Reply::typed(200, "application/json", format!("\n{}", upstream.stream())).cut_every(9);
        let (response, _edge) = ask(client, upstream, true, reply).await;
        assert_eq!(client.text(&client.read(&response, true)), "Hello, 北🙂!", "{client:?} of {upstream:?}");
    }
}
