//! A provider that answers in the other shape than it was asked for: whole instead of streamed, or the other way.

use crate::support::client::Response;
use crate::support::edge::{Conf, Edge};
use crate::support::formats::{Fold, PAIRS, Wire};
use crate::support::http1::Ended;
use crate::support::provider::Provider;
use crate::support::script::Reply;

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
    }
}

#[tokio::test]
async fn a_whole_answer_that_is_none_ends_the_stream_in_an_error() {
    for (client, upstream) in PAIRS {
        let error = upstream.error_body("api_error", "no luck today");
        for (body, words) in [(error.as_str(), "no luck today"), ("{\"id\":", ""), ("[]", "")] {
            let (response, _edge) = ask(client, upstream, true, Reply::json(200, body)).await;
            let Fold::Failed { error, .. } = client.fold(&response.events()) else {
                panic!("{client:?} of {upstream:?}: {}", response.text())
            };
            client.check_error(&error);
            assert!(error.to_string().contains(words), "{error}");
        }
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
