//! What a provider's refusal says: its status and words agree for every client, and it gives no secret away.

use std::time::Duration;

use serde_json::json;

use crate::support::client::{Ask, Response};
use crate::support::dialect::{DIALECTS, Dialect};
use crate::support::edge::{Conf, Edge};
use crate::support::formats::Wire;
use crate::support::http1::Ended;
use crate::support::provider::Provider;
use crate::support::script::{End, Reply};

/// What an edge makes of one `reply` of an `upstream` for a client.
async fn answer(client: Dialect, upstream: Wire, stream: bool, reply: &Reply) -> (Response, usize) {
    let provider = Provider::always(reply.clone()).await;
    let conf = Conf::open().provider("up", upstream.kind(), &provider).model("m", "up/model-1");
    let edge = Edge::start(&conf).await;
    let response = client.ask_for("m", stream).send(edge.addr).await;
    (response, provider.requests().len())
}

#[tokio::test]
async fn the_status_of_a_refusal_is_what_its_words_mean() {
    let chat = |code: &str| json!({"error": {"message": "m", "type": code, "code": code}}).to_string();
    let messages = |words: &str| Wire::Messages.error_body("invalid_request_error", words);
    let poor = "Your credit balance is too low to access the Anthropic API.";
    // The statuses that clients of Chat, Messages, Responses and Gemini know it by.
    let billing = [429, 402, 429, 429];
    for (upstream, status, body, expected) in [
        (Wire::Chat, 429, chat("insufficient_quota"), billing),
        (Wire::Chat, 400, chat("billing_hard_limit_reached"), billing),
        (Wire::Messages, 400, messages(poor), billing),
        (Wire::Messages, 413, messages("prompt is too long: 9 tokens > 8 maximum"), [400; 4]),
        (Wire::Messages, 400, messages("m"), [400; 4]),
    ] {
        // What a provider's status says stays within its format.
        let translated = DIALECTS.into_iter().zip(expected).filter(|(client, _)| *client != Dialect::Known(upstream));
        for (client, expected) in translated {
            for stream in [false, true] {
                let what = format!("{client:?} from {upstream:?}, {status} {body}, stream={stream}");
                let reply = Reply::json(status, body.clone()).cut_every(30).paced(Duration::from_millis(5));
                let (response, asked) = answer(client, upstream, stream, &reply).await;
                assert_eq!((response.status, &response.ended), (expected, &Ended::Complete), "{what}");
                assert_eq!(asked, 1, "{what}: it is the same next time");
                client.error(&what, &response);
            }
        }
    }
}

#[tokio::test]
async fn a_filter_is_not_our_key() {
    let metadata = json!({"flagged_input": "x"});
    let error =
        json!({"code": 403, "type": "m", "param": null, "message": "Your input was flagged", "metadata": metadata});
    let body = json!({"error": error});
    for (client, expected) in DIALECTS.into_iter().zip([403, 400, 400, 400]) {
        for stream in [false, true] {
            let what = format!("{client:?}, stream={stream}");
            let (response, asked) = answer(client, Wire::Chat, stream, &Reply::json(403, body.to_string())).await;
            assert_eq!((response.status, asked), (expected, 1), "{what}: {}", response.text());
            assert!(response.text().contains("Your input was flagged"), "{what}: {}", response.text());
            client.error(&what, &response);
        }
    }
}

#[tokio::test]
async fn a_refusal_that_breaks_off_counts_by_its_status() {
    for (status, gzip) in [(409, false), (404, false), (429, false), (429, true), (503, false)] {
        for client in [Dialect::Known(Wire::Chat), Dialect::Known(Wire::Messages), Dialect::Gemini] {
            let what = format!("{client:?}, {status}, gzip={gzip}");
            let whole = Reply::json(status, Wire::Chat.error_body("x", "some words")).header("retry-after", "9");
            let whole = if gzip { whole.gzip() } else { whole };
            let (response, _) = answer(client, Wire::Chat, false, &whole.stop_at(20, End::Fin)).await;
            assert_eq!((response.status, &response.ended), (status, &Ended::Complete), "{what}: {}", response.text());
            assert_eq!(response.header("retry-after"), Some("9"), "{what}");
            client.error(&what, &response);
        }
    }
}

const KEY: &str = "sk-upstream-canary-0123456789";

/// The ways on which a provider's words reach a client.
fn ways() -> Vec<(&'static str, bool, Reply)> {
    let words = format!("you sent {KEY} here");
    let chat = Wire::Chat.error_body("server_error", &words);
    let event = format!("data: {chat}\n\n");
    let begun = Wire::Chat.stream().split_inclusive("\n\n").take(3).collect::<String>();
    vec![
        ("a refusal", false, Reply::json(404, chat.clone())),
        ("a failure", true, Reply::json(500, chat.clone())),
        ("a header", false, Reply::json(404, chat.clone()).header("openai-organization", KEY)),
        ("no head", false, Reply::raw(format!("HTTP/1.1 200 OK\r\nbad header {KEY}\r\n\r\n"), End::Fin)),
        ("behind a head of ours", true, Reply::json(404, chat.clone()).paced(Duration::from_millis(10))),
        ("a success that is none", false, Reply::json(200, chat.clone())),
        ("a success that is no stream", true, Reply::json(200, chat)),
        ("the first event", true, Reply::sse(&event)),
        ("an event in the middle", true, Reply::sse(begun.clone() + &event)),
        ("an event in two parts", true, Reply::sse(begun + &event).cut_every(40).paced(Duration::from_millis(5))),
    ]
}

#[tokio::test]
async fn a_key_in_the_words_of_a_provider_reaches_nobody() {
    for early in ["0s", "20ms"] {
        for (way, stream, reply) in ways() {
            let provider = Provider::always(reply).await;
            let url = provider.url();
            let line = format!(
                "up: {{kind: openai, url: \"{url}\", key: {KEY}, streams: {{early_head: {early}, heartbeat: 20ms}}}}"
            );
            let edge = Edge::start(&Conf::open().provider_yaml(&line).model("m", "up/gpt")).await;
            for client in DIALECTS {
                let what = format!("{way} to {client:?}, early {early}");
                let response = client.ask_for("m", stream).send(edge.addr).await;
                let text = format!("{:?} {}", response.headers, response.text());
                assert!(!text.contains(KEY), "{what}: {text}");
                assert!(text.contains("you sent ***") || text.contains("error"), "{what}: {text}");
            }
            assert!(!edge.log().contains(KEY), "{way}: {}", edge.log());
        }
    }
    let refusal = Reply::json(404, format!("{{\"error\": \"you sent {KEY} here\"}}"));
    let provider = Provider::always(refusal.cut_every(25).paced(Duration::from_millis(10))).await;
    let line = format!("up: {{kind: openai, url: \"{}\", key: {KEY}}}", provider.url());
    let edge = Edge::start(&Conf::open().provider_yaml(&line).model("m", "up/gpt")).await;
    let body = json!({"model": "m", "input": "words"}).to_string();
    let response = Ask::post("/v1/embeddings", body).send(edge.addr).await;
    assert_eq!((response.status, response.text().contains("you sent ****")), (404, true), "{}", response.text());
}

#[tokio::test]
async fn the_words_of_answers_are_in_no_log() {
    const WORDS: &str = "PRIVATE-WORDS";
    let failed = json!({"candidates": [{
        "finishReason": "MALFORMED_FUNCTION_CALL",
        "finishMessage": format!("Malformed function call: print({WORDS})"),
    }]});
    let refused = Wire::Chat.error_body("server_error", WORDS);
    for (kind, stream, reply) in [
        ("gemini", false, Reply::json(200, failed.to_string())),
        ("gemini", true, Reply::sse(format!("data: {failed}\n\n"))),
        ("openai", true, Reply::sse(format!("data: {refused}\n\n"))),
        ("openai", false, Reply::json(200, refused.clone())),
        ("openai", false, Reply::json(200, format!("{{\"choices\": \"{WORDS}\"}}"))),
        ("openai", false, Reply::json(500, refused)),
    ] {
        let provider = Provider::always(reply).await;
        let edge = Edge::start(&Conf::open().provider("up", kind, &provider).model("m", "up/model-1")).await;
        for client in DIALECTS {
            let response = client.ask_for("m", stream).send(edge.addr).await;
            let request = response.header("x-request-id").unwrap_or_default().to_owned();
            edge.log_line("the request's line", |line| line.contains(&request)).await;
        }
        assert!(!edge.log().contains(WORDS), "{kind}, {stream}: {}", edge.log());
    }
}

#[tokio::test]
async fn a_success_of_another_number_is_looked_at_as_200_is() {
    let error = Wire::Chat.error_body("server_error", "m");
    let begun = Wire::Chat.stream().split_inclusive("\n\n").take(1).collect::<String>();
    let whole = Wire::Chat.answer();
    for status in [200, 201, 203, 226] {
        let events = |body: &str| Reply::typed(status, "text/event-stream", body);
        for (what, stream, reply) in [
            ("an error", false, Reply::json(status, error.clone())),
            ("half an answer", false, Reply::json(status, &whole[..whole.len() / 2])),
            ("an error for a stream", true, Reply::json(status, error.clone())),
            ("a stream that says nothing", true, events(&begun)),
        ] {
            let first = Provider::always(reply).await;
            let second = Provider::always(Wire::Chat.reply(stream)).await;
            let conf = Conf::open().provider("one", "openai", &first).provider("two", "openai", &second);
            let edge = Edge::start(&conf.model("m", "{targets: [one/gpt, two/gpt]}")).await;
            for client in [Dialect::Known(Wire::Chat), Dialect::Known(Wire::Messages)] {
                let response = client.ask_for("m", stream).send(edge.addr).await;
                assert_eq!(response.status, 200, "{status}, {what}, {client:?}: {}", response.text());
            }
            assert_eq!((first.requests().len(), second.requests().len()), (2, 2), "{status}, {what}");
        }
    }
}

/// One that is not of its format is told in it anew, and its number with it.
#[tokio::test]
async fn the_code_in_a_refusal_is_its_status() {
    for status in [402, 408, 500, 501, 529] {
        for reply in [Reply::typed(status, "text/html", "<html>no</html>"), Reply::json(status, r#"{"detail":"no"}"#)] {
            let provider = Provider::always(reply).await;
            let conf = Conf::open().provider("up", "gemini", &provider);
            let edge = Edge::start(&conf.model("m", "{targets: [up/gemini-3-pro], retries: {rounds: 0}}")).await;
            for client in DIALECTS {
                for stream in [false, true] {
                    let response = client.ask_for("m", stream).send(edge.addr).await;
                    // Looks at the number of Gemini's errors.
                    client.error(&format!("{status} for {client:?}"), &response);
                }
            }
        }
    }
}
