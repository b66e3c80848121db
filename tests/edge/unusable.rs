//! Answers that are valid HTTP and still no answer of a model: none is passed on as one, in any pair of formats.

use crate::support::client::Response;
use crate::support::edge::{Conf, Edge};
use crate::support::formats::{PAIRS, Wire};
use crate::support::http1::Ended;
use crate::support::provider::{Provider, Speaks};
use crate::support::script::{End, Reply};

async fn ask(speaks: Speaks, client: Wire, upstream: Wire, stream: bool, reply: Reply) -> Response {
    let http = if matches!(speaks, Speaks::H2c) { "http: h2" } else { "" };
    let provider = Provider::speaking(speaks, move |_| reply.clone()).await;
    let conf = Conf::open().provider_at("p", upstream.kind(), &provider.url(), http).model("m", "p/model-1");
    let edge = Edge::start(&conf).await;
    client.ask("m", stream).send(edge.addr).await
}

/// A whole error in the client's own format, with this status, and what it says.
async fn check(what: &str, speaks: &Speaks, reply: &Reply, status: u16, says: &str) {
    for (client, upstream) in PAIRS {
        for stream in [false, true] {
            let response = ask(speaks.clone(), client, upstream, stream, reply.clone()).await;
            let shown = format!("{what}, {client:?} from {upstream:?}, stream={stream}: {response:?}");
            assert_eq!((response.status, &response.ended), (status, &Ended::Complete), "{shown}");
            assert_eq!(response.header("location"), None, "{shown}");
            let error = client.error(&response);
            assert!(error["message"].as_str().is_some_and(|message| message.contains(says)), "{shown}");
        }
    }
}

#[tokio::test]
async fn an_answer_without_a_body_is_a_gateway_error() {
    for kind in ["application/json", "text/event-stream", "text/plain"] {
        check(kind, &Speaks::Http1, &Reply::typed(200, kind, ""), 502, "no body").await;
    }
}

#[tokio::test]
async fn interim_answers_do_not_go_on_for_ever() {
    let many = |count: usize| (0..count).fold(Wire::Chat.reply(false), |reply, _| reply.interim(103));
    check("interim answers", &Speaks::Http1, &many(200), 502, "not valid HTTP").await;
    let few = ask(Speaks::Http1, Wire::Chat, Wire::Chat, false, many(50)).await;
    assert_eq!(few.status, 200, "{few:?}");
}

#[tokio::test]
async fn a_stream_over_http2_that_ends_with_its_head_is_a_gateway_error() {
    let mut reply = Reply::typed(200, "text/event-stream", "");
    reply.pieces.clear();
    check("h2", &Speaks::H2c, &reply, 502, "no body").await;
}

#[tokio::test]
async fn a_reset_over_http2_is_a_broken_connection() {
    check("a reset", &Speaks::H2c, &Reply::no_answer(End::Reset), 502, "connection to the provider broke").await;
}

#[tokio::test]
async fn the_page_of_something_on_the_way_is_a_gateway_error() {
    const PAGE: &str = "<html>Please log in</html>";
    let pages = [("text/html; charset=utf-8", PAGE), ("application/json", PAGE), ("application/json", "null")];
    for (client, upstream) in PAIRS {
        for (stream, (kind, page)) in pages.into_iter().flat_map(|page| [(false, page), (true, page)]) {
            let response = ask(Speaks::Http1, client, upstream, stream, Reply::typed(200, kind, page)).await;
            let what = format!("{client:?} from {upstream:?}, stream={stream}, {kind} {page}");
            assert_eq!(response.status, 502, "{what}: {response:?}");
            client.error(&response);
        }
    }
}

#[tokio::test]
async fn a_redirect_is_never_passed_on_whatever_its_body() {
    for status in [301, 302, 307, 308] {
        let body = Wire::Chat.error_body("moved", "elsewhere");
        let reply = Reply::json(status, body).header("location", "http://elsewhere.example/v1");
        check("a redirect", &Speaks::Http1, &reply, 502, "redirects").await;
    }
}

#[tokio::test]
async fn a_redirect_is_counted_as_one_with_a_body_and_without() {
    for (client, upstream) in PAIRS {
        let body = upstream.error_body("moved", "elsewhere");
        for reply in [Reply::json(302, body), Reply::bare(302)] {
            let provider = Provider::always(reply.header("location", "http://elsewhere.example/v1")).await;
            let edge = Edge::start(&Conf::open().provider("p", upstream.kind(), &provider).model("m", "p/m")).await;
            assert_eq!(client.ask("m", false).send(edge.addr).await.status, 502);
            edge.metric_reaches("gateway_errors_total", &["error_type=\"upstream_redirect\""], 1.0).await;
        }
    }
}

#[tokio::test]
async fn another_protocol_is_a_gateway_error() {
    let head = "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n";
    check("101", &Speaks::Http1, &Reply::raw(head, End::Hang), 502, "not valid HTTP").await;
}

/// Servers that name what they could not read send the prompt back in the error.
#[tokio::test]
async fn a_huge_error_is_an_error_all_the_same() {
    for (client, upstream) in PAIRS {
        let reply = Reply::json(422, upstream.error_body("invalid_request_error", &"long ".repeat(700_000)));
        let response = ask(Speaks::Http1, client, upstream, false, reply.cut_every(60_000)).await;
        assert_eq!((response.status, &response.ended), (422, &Ended::Complete), "{client:?} from {upstream:?}");
        client.error(&response);
        assert!(response.body.len() < 1 << 20);
    }
}

#[tokio::test]
async fn what_is_wrong_with_an_answer_is_said() {
    for (client, upstream) in [(Wire::Chat, Wire::Messages), (Wire::Messages, Wire::Chat)] {
        let response = ask(Speaks::Http1, client, upstream, false, Reply::json(200, "[]")).await;
        assert_eq!(response.status, 502);
        let error = client.error(&response);
        assert!(error["message"].as_str().is_some_and(|message| message.contains("cannot be read")), "{error}");
    }
}

#[tokio::test]
async fn an_answer_without_a_type_is_read_by_what_it_is() {
    for (client, upstream) in PAIRS {
        for body in [upstream.answer(), upstream.stream()] {
            let mut reply = Reply::typed(200, "", body);
            reply.headers.clear();
            let response = ask(Speaks::Http1, client, upstream, true, reply).await;
            let answer = client.read(&response, true);
            assert!(client.text(&answer).starts_with("Hello"), "{client:?} from {upstream:?}: {answer}");
        }
    }
}
