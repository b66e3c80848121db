//! What a model thought before it called tools goes back to it, though the client does not bring it.

use serde_json::{Value, json};

use crate::support::client::{Ask, Response};
use crate::support::edge::{Conf, Edge};
use crate::support::provider::Provider;
use crate::support::script::Reply;

const FIRST_KEY: &str = "first-key-123456";
const SECOND_KEY: &str = "second-key-123456";

fn conf(provider: &Provider, memory: &str) -> Conf {
    let clients = format!("- {{name: first, key: {FIRST_KEY}}}\n- {{name: second, key: {SECOND_KEY}}}");
    Conf::with_clients(&clients)
        .provider("p", "anthropic", provider)
        .model("m", "p/claude-sonnet-4-5")
        .server(&format!("recall_memory: {memory}"))
}

/// A provider that thinks, says which request it is in its signature, and calls; and says it all in a stream if asked. Its
/// calls have an id of their own each.
async fn thinker() -> Provider {
    thinker_with(|number| format!("toolu_{number}")).await
}

async fn thinker_with(id: fn(usize) -> String) -> Provider {
    Provider::start(move |request| {
        let signature = format!("U0lH{}", request.number);
        let call = json!({"type": "tool_use", "id": id(request.number), "name": "f", "input": {}});
        if request.json()["stream"] != true {
            let thought = json!({"type": "thinking", "thinking": "hm", "signature": signature});
            return Reply::json(
                200,
                json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "x", "content": [thought, call],
                    "stop_reason": "tool_use", "usage": {"input_tokens": 9, "output_tokens": 9}})
                .to_string(),
            );
        }
        let message = json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "x", "content": [],
            "stop_reason": null, "usage": {"input_tokens": 9, "output_tokens": 1}});
        let thought = json!({"type": "thinking", "thinking": "hm", "signature": ""});
        let signed = json!({"type": "signature_delta", "signature": signature});
        let events = [
            json!({"type": "message_start", "message": message}),
            json!({"type": "content_block_start", "index": 0, "content_block": thought}),
            json!({"type": "content_block_delta", "index": 0, "delta": signed}),
            json!({"type": "content_block_stop", "index": 0}),
            json!({"type": "content_block_start", "index": 1, "content_block": call}),
            json!({"type": "content_block_stop", "index": 1}),
            json!({"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 9}}),
            json!({"type": "message_stop"}),
        ];
        let write = |event: &Value| format!("event: {}\ndata: {event}\n\n", event["type"].as_str().expect("a type"));
        Reply::sse(events.iter().map(write).collect::<String>())
    })
    .await
}

fn body(stream: bool, messages: &[Value]) -> String {
    let tool = json!({"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}});
    json!({"model": "m", "stream": stream, "reasoning_effort": "high", "max_completion_tokens": 30000,
        "tools": [tool], "messages": messages})
    .to_string()
}

async fn ask(edge: &Edge, key: &str, stream: bool, messages: &[Value]) -> Response {
    let ask = Ask::post("/v1/chat/completions", body(stream, messages));
    let response = ask.header("authorization", &format!("Bearer {key}")).send(edge.addr).await;
    assert_eq!(response.status, 200, "{}", response.text());
    response
}

fn question() -> Value {
    json!({"role": "user", "content": "q"})
}

/// What the usual library sends next: the call and its result, and nothing that was thought.
fn next_turn() -> [Value; 3] {
    let call = json!({"id": "toolu_0", "type": "function", "function": {"name": "f", "arguments": "{}"}});
    let assistant = json!({"role": "assistant", "content": null, "tool_calls": [call]});
    [question(), assistant, json!({"role": "tool", "tool_call_id": "toolu_0", "content": "r"})]
}

/// The signature that the provider was last sent.
fn sent(provider: &Provider) -> Option<String> {
    let content = provider.last().json()["messages"][1]["content"].clone();
    content[0]["signature"].as_str().map(str::to_owned)
}

#[tokio::test]
async fn a_client_that_drops_reasoning_gets_it_back_and_no_other_does() {
    for stream in [false, true] {
        let provider = thinker().await;
        let conf = conf(&provider, "1MiB");
        let edge = Edge::start(&conf).await;
        let answer = ask(&edge, FIRST_KEY, stream, &[question()]).await;
        assert!(answer.text().contains("toolu_0"), "{}", answer.text());
        ask(&edge, SECOND_KEY, stream, &next_turn()).await;
        assert_eq!(sent(&provider), None, "another client's");
        ask(&edge, FIRST_KEY, stream, &next_turn()).await;
        assert_eq!(sent(&provider).as_deref(), Some("U0lH0"));
        edge.metric_becomes("gateway_recalled_total", &["what=\"thoughts\""], 1.0).await;
        assert!(edge.metric("gateway_recall_memory_bytes", &[]).await > 0.0);

        edge.rewrite(&conf.model("n", "p/claude-sonnet-4-5"));
        edge.signal("HUP");
        edge.metric_reaches("gateway_config_reloads_total", &["result=\"success\""], 1.0).await;
        ask(&edge, FIRST_KEY, stream, &next_turn()).await;
        assert_eq!(sent(&provider).as_deref(), Some("U0lH0"), "a reload forgets nothing");
    }
}

#[tokio::test]
async fn calls_of_one_id_are_not_taken_for_each_other() {
    let provider = thinker_with(|_| "toolu_0".to_owned()).await;
    let edge = Edge::start(&conf(&provider, "1MiB")).await;
    ask(&edge, FIRST_KEY, false, &[question()]).await;
    for _ in 0..2 {
        ask(&edge, FIRST_KEY, false, &next_turn()).await;
        assert_eq!(sent(&provider).as_deref(), Some("U0lH0"), "what followed called by the same id");
    }
    ask(&edge, FIRST_KEY, false, &[question()]).await;
    ask(&edge, FIRST_KEY, false, &next_turn()).await;
    assert_eq!(sent(&provider), None, "two answers to one question have it");
}

#[tokio::test]
async fn nothing_is_kept_where_that_is_said() {
    let provider = thinker().await;
    let edge = Edge::start(&conf(&provider, "0")).await;
    ask(&edge, FIRST_KEY, false, &[question()]).await;
    ask(&edge, FIRST_KEY, false, &next_turn()).await;
    assert_eq!(sent(&provider), None);
    assert_eq!(edge.metric("gateway_recall_memory_bytes", &[]).await, 0.0);
}

/// What `client` of Responses is answered, as one object.
async fn respond(edge: &Edge, key: &str, body: &Value) -> Response {
    let ask = Ask::post("/v1/responses", body.to_string());
    ask.header("authorization", &format!("Bearer {key}")).send(edge.addr).await
}

fn output(answer: &Response, stream: bool) -> Vec<Value> {
    let answer = match stream {
        false => answer.json(),
        true => {
            let last = answer.events().pop().expect("a stream has a last event");
            serde_json::from_str::<Value>(&last.data).expect("it is JSON")["response"].clone()
        }
    };
    answer["output"].as_array().cloned().unwrap_or_default()
}

/// As libraries do that leave `store` at its default.
#[tokio::test]
async fn items_that_are_referred_to_stand_in_their_place() {
    for (stream, store) in [(false, None), (true, None), (true, Some(true)), (false, Some(false)), (true, Some(false))]
    {
        let provider = thinker().await;
        let edge = Edge::start(&conf(&provider, "1MiB")).await;
        let tools = json!([{"type": "function", "name": "f", "parameters": {"type": "object"}}]);
        let mut body = json!({"model": "m", "stream": stream, "input": [{"role": "user", "content": "q"}],
            "tools": tools, "reasoning": {"effort": "high"}, "max_output_tokens": 30000});
        if let Some(store) = store {
            body["store"] = json!(store);
        }
        let answer = respond(&edge, FIRST_KEY, &body).await;
        let items = output(&answer, stream);
        assert_eq!(items.len(), 2, "{}", answer.text());
        let mut input = body["input"].as_array().cloned().expect("a list");
        input.extend(items.iter().map(|item| json!({"type": "item_reference", "id": item["id"]})));
        input.push(json!({"type": "function_call_output", "call_id": items[1]["call_id"], "output": "r"}));
        body["input"] = json!(input);
        let others = respond(&edge, SECOND_KEY, &body).await;
        assert_eq!(others.status, 400, "another client's: {}", others.text());
        assert!(others.text().contains("`store: false`"), "{}", others.text());
        let next = respond(&edge, FIRST_KEY, &body).await;
        if store == Some(false) {
            assert_eq!(next.status, 400, "nothing was to be stored: {}", next.text());
            continue;
        }
        assert_eq!(next.status, 200, "{}", next.text());
        let sent = provider.last().json();
        assert_eq!(sent["messages"][1]["content"][0]["signature"], "U0lH0", "{sent}");
        assert_eq!(sent["messages"][1]["content"][1]["name"], "f", "{sent}");
        assert_eq!(sent["messages"][2]["content"][0]["type"], "tool_result", "{sent}");
        edge.metric_becomes("gateway_recalled_total", &["what=\"item\""], 2.0).await;
    }
}
