//! Clients and providers of the Responses API.
//!
//! Source: the API reference of OpenAI Responses.

use serde_json::{Value, json};

use crate::support::client::{Ask, Response};
use crate::support::edge::{Conf, Edge};
use crate::support::formats::Wire;
use crate::support::provider::Provider;
use crate::support::script::{End, Reply};
use crate::support::show;

const PATH: &str = "/v1/responses";

async fn ask(edge: &Edge, body: Value) -> Response {
    Ask::post(PATH, body.to_string()).send(edge.addr).await
}

/// The events of a stream, by their data: numbered without a gap, named as they say, from `created` to an end.
fn events(response: &Response) -> Vec<Value> {
    let events = response.events();
    let data: Vec<Value> = events.iter().map(|event| serde_json::from_str(&event.data).unwrap_or_default()).collect();
    for (number, (event, said)) in events.iter().zip(&data).enumerate() {
        assert_eq!(said["sequence_number"], number, "{}", show(&response.body));
        assert_eq!(event.name.as_deref(), said["type"].as_str());
    }
    assert_eq!(data[0]["type"], "response.created");
    assert!(
        data.iter().all(|said| said["response"]["id"].is_null() || said["response"]["id"] == data[0]["response"]["id"])
    );
    data
}

/// The whole answer, from a body or a stream.
fn read(response: &Response, stream: bool) -> Value {
    assert_eq!(response.status, 200, "{}", show(&response.body));
    if !stream {
        return response.json();
    }
    let events = events(response);
    let last = events.last().cloned().unwrap_or_default();
    assert_eq!(last["type"], "response.completed", "{}", show(&response.body));
    let deltas: String = events
        .iter()
        .filter(|event| event["type"] == "response.output_text.delta")
        .filter_map(|event| event["delta"].as_str())
        .collect();
    assert_eq!(deltas, last["response"]["output"][0]["content"][0]["text"].as_str().unwrap_or_default());
    last["response"].clone()
}

#[tokio::test]
async fn a_responses_client_reaches_every_provider() {
    for stream in [false, true] {
        for (upstream, name) in [(Wire::Chat, "gpt-4.1"), (Wire::Messages, "claude-sonnet-4-5")] {
            let provider = Provider::always(upstream.reply(stream)).await;
            let conf = Conf::open().provider("up", upstream.kind(), &provider).model("m", &format!("up/{name}"));
            let edge = Edge::start(&conf).await;
            let body = json!({
                "model": "m", "max_output_tokens": 300, "stream": stream, "instructions": "Be brief.",
                "input": [{"role": "user", "content": [{"type": "input_text", "text": "Say hi, 北"}]}]
            });
            let answer = read(&ask(&edge, body).await, stream);
            assert_eq!(answer["output"][0]["content"][0]["text"], "Hello, 北🙂!", "{answer}");
            assert_eq!((&answer["object"], &answer["status"]), (&json!("response"), &json!("completed")));
            assert_eq!(answer["model"], "m");
            let usage = &answer["usage"];
            let counts = [&usage["input_tokens"], &usage["output_tokens"], &usage["total_tokens"]];
            assert_eq!(counts, [20, 5, 25], "{usage}");
            assert_eq!(usage["input_tokens_details"]["cached_tokens"], 8, "{usage}");
            let request = provider.last();
            assert_eq!(request.target, upstream.path());
            let sent = request.json();
            assert_eq!(sent["model"], name);
            assert!(sent.to_string().contains("Be brief.") && sent.to_string().contains("Say hi, 北"), "{sent}");
        }
    }
}

pub(super) const ANSWER: &str = r#"{"id":"resp_1", "object":"response","created_at":5,"status":"completed","model":"gpt-5.4","output":[
 {"id":"rs_1","type":"reasoning","summary":[],"encrypted_content":"gAAAB"},
 {"id":"msg_1","type":"message","role":"assistant","status":"completed","content":[{"type":"output_text","text":"Hello!","annotations":[]}]}],
 "usage":{"input_tokens":20,"input_tokens_details":{"cached_tokens":8},"output_tokens":5,"output_tokens_details":{"reasoning_tokens":1},"total_tokens":25}, "x_new":[1.0]}"#;

pub(super) fn stream() -> String {
    let event =
        |name: &str, rest: &str| format!("event: response.{name}\ndata: {{\"type\":\"response.{name}\",{rest}}}\n\n");
    [
        event(
            "created",
            r#""sequence_number":0,"response":{"id":"resp_1","model":"gpt-5.4","status":"in_progress","output":[]}"#,
        ),
        event(
            "output_item.added",
            r#""sequence_number":1,"output_index":0,"item":{"id":"msg_1","type":"message","content":[]}"#,
        ),
        event(
            "output_text.delta",
            r#""sequence_number":2,"output_index":0,"item_id":"msg_1","content_index":0,"delta":"Hel""#,
        ),
        event(
            "output_text.delta",
            r#""sequence_number":3,"output_index":0,"item_id":"msg_1","content_index":0,"delta":"lo!""#,
        ),
        event("completed", &format!("\"sequence_number\":4,\"response\":{}", ANSWER.replace('\n', ""))),
    ]
    .concat()
}

async fn house(reply: Reply) -> (Provider, Edge) {
    let provider = Provider::always(reply).await;
    let conf = Conf::open().provider("up", "openai-responses", &provider).model("m", "up/gpt-5.4");
    let edge = Edge::start(&conf).await;
    (provider, edge)
}

#[tokio::test]
async fn the_same_format_is_the_same_bytes() {
    let body = r#"{ "input" :[{"role":"user","content":"caf\u00e9"}], "previous_response_id":"resp_0","x":1.0, "stream" :@S, "model":"@M" }"#;
    for (reply, sent, streamed) in
        [(Reply::json(200, ANSWER), ANSWER.to_owned(), "false"), (Reply::sse(stream()), stream(), "true")]
    {
        let body = body.replace("@S", streamed);
        let (provider, edge) = house(reply).await;
        let response = Ask::post(PATH, body.replace("@M", "m")).send(edge.addr).await;
        assert_eq!((response.status, response.text()), (200, sent));
        assert_eq!(show(&provider.last().body), body.replace("@M", "gpt-5.4"));
        assert_eq!(provider.last().target, PATH);
    }
}

#[tokio::test]
async fn other_clients_reach_a_responses_provider() {
    for whole in [true, false] {
        let reply = || if whole { Reply::json(200, ANSWER) } else { Reply::sse(stream()) };
        for wire in [Wire::Chat, Wire::Messages] {
            let (provider, edge) = house(reply()).await;
            let answer = wire.read(&wire.ask("m", !whole).send(edge.addr).await, !whole);
            assert_eq!(wire.text(&answer), "Hello!", "{answer}");
            assert_eq!(wire.stop(&answer), if wire == Wire::Chat { "stop" } else { "end_turn" });
            let sent = provider.last().json();
            assert_eq!((&sent["model"], &sent["store"]), (&json!("gpt-5.4"), &json!(false)), "{sent}");
            assert_eq!(sent["input"][0]["content"], "Say hello.", "{sent}");
            assert_eq!(sent["max_output_tokens"], 64);
        }
    }
}

#[tokio::test]
async fn what_another_provider_keeps_is_refused_by_name() {
    let provider = Provider::always(Wire::Chat.reply(false)).await;
    let conf = Conf::open().provider("up", "openai", &provider).model("m", "up/gpt-4.1");
    let edge = Edge::start(&conf).await;
    let response = ask(&edge, json!({"model": "m", "input": "hi", "previous_response_id": "resp_1"})).await;
    assert_eq!(response.status, 400, "{}", response.text());
    let error = &response.json()["error"];
    assert_eq!((&error["param"], &error["code"]), (&json!("previous_response_id"), &json!("unsupported_parameter")));
    assert!(provider.requests().is_empty());
}

#[tokio::test]
async fn a_stream_that_breaks_fails_in_the_clients_words() {
    let body = Wire::Chat.stream();
    let cut = body.find("lo, ").unwrap_or(0) + 80;
    let provider = Provider::always(Reply::sse(body).stop_at(cut, End::Reset)).await;
    let conf = Conf::open().provider("up", "openai", &provider).model("m", "up/gpt-4.1");
    let edge = Edge::start(&conf).await;
    let response = ask(&edge, json!({"model": "m", "input": "hi", "stream": true})).await;
    let events = events(&response);
    let last = events.last().cloned().unwrap_or_default();
    assert_eq!(last["type"], "response.failed", "{}", show(&response.body));
    let error = &last["response"]["error"];
    assert_eq!(error["code"], "server_error");
    assert!(error["message"].as_str().unwrap_or_default().starts_with("stream_incomplete: "), "{error}");
}
