//! Client of one format, provider of another: what the provider gets and what the client reads, whole and streamed.

use serde_json::{Value, json};

use crate::support::client::Response;
use crate::support::edge::{Conf, Edge};
use crate::support::formats::Wire;
use crate::support::provider::Provider;
use crate::support::script::Reply;

/// A provider of one format behind the model `m`, which it calls `up-1`.
struct One {
    provider: Provider,
    edge: Edge,
    upstream: Wire,
}

impl One {
    async fn with(upstream: Wire, replies: Vec<Reply>) -> Self {
        let provider = Provider::sequence(replies).await;
        let name = if upstream == Wire::Chat { "gpt-4.1" } else { "claude-sonnet-4-5" };
        let conf = Conf::open().provider("up", upstream.kind(), &provider).model("m", &format!("up/{name}"));
        // What an answer carries must do without the edge's memory.
        let conf = conf.server("recall_memory: 0");
        Self { provider, edge: Edge::start(&conf).await, upstream }
    }

    async fn ask(&self, wire: Wire, body: Value) -> Response {
        wire.ask_with(body).send(self.edge.addr).await
    }

    fn sent(&self) -> Value {
        let request = self.provider.last();
        assert_eq!(request.target, self.upstream.path());
        request.json()
    }
}

/// A JSON value's text, given as a string or as a list of text parts.
fn text(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().filter_map(|part| part["text"].as_str()).collect(),
        _ => String::new(),
    }
}

#[tokio::test]
async fn words_there_and_back() {
    for stream in [false, true] {
        let one = One::with(Wire::Messages, vec![Wire::Messages.reply(stream)]).await;
        let response = one
            .ask(
                Wire::Chat,
                json!({
                    "model": "m", "max_completion_tokens": 300, "stop": ["END"], "stream": stream,
                    "stream_options": {"include_usage": true},
                    "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Say hi, 北"}]
                })
                .as_object()
                .cloned()
                .map(|mut body| {
                    if !stream {
                        body.remove("stream_options");
                    }
                    Value::from(body)
                })
                .unwrap_or_default(),
            )
            .await;
        let answer = Wire::Chat.read(&response, stream);
        assert_eq!(Wire::Chat.text(&answer), "Hello, 北🙂!");
        assert_eq!(Wire::Chat.stop(&answer), "stop");
        let usage = &answer["usage"];
        let counts = [&usage["prompt_tokens"], &usage["completion_tokens"], &usage["total_tokens"]];
        assert_eq!(counts, [20, 5, 25], "{usage}");
        assert_eq!(usage["prompt_tokens_details"]["cached_tokens"], 8, "{usage}");
        let sent = one.sent();
        assert_eq!(sent["model"], "claude-sonnet-4-5");
        assert_eq!((&sent["max_tokens"], &sent["stop_sequences"]), (&json!(300), &json!(["END"])));
        assert_eq!(text(&sent["system"]), "Be brief.");
        assert_eq!(sent["messages"].as_array().map(Vec::len), Some(1));
        assert_eq!(text(&sent["messages"][0]["content"]), "Say hi, 北");
        assert_eq!(sent["stream"].as_bool().unwrap_or(false), stream);
    }
    for stream in [false, true] {
        let one = One::with(Wire::Chat, vec![Wire::Chat.reply(stream)]).await;
        let response = one
            .ask(
                Wire::Messages,
                json!({
                    "model": "m", "max_tokens": 300, "stop_sequences": ["END"], "stream": stream, "system": "Be brief.",
                    "messages": [{"role": "user", "content": [{"type": "text", "text": "Say hi, 北"}]}]
                }),
            )
            .await;
        let answer = Wire::Messages.read(&response, stream);
        assert_eq!(Wire::Messages.text(&answer), "Hello, 北🙂!");
        assert_eq!(Wire::Messages.stop(&answer), "end_turn");
        let usage = &answer["usage"];
        let counts = [&usage["input_tokens"], &usage["cache_read_input_tokens"], &usage["output_tokens"]];
        assert_eq!(counts, [12, 8, 5], "{usage}");
        let sent = one.sent();
        assert_eq!(sent["model"], "gpt-4.1");
        let limit = if sent["max_tokens"].is_null() { &sent["max_completion_tokens"] } else { &sent["max_tokens"] };
        assert_eq!((limit, &sent["stop"]), (&json!(300), &json!(["END"])));
        let roles: Vec<_> = sent["messages"].as_array().into_iter().flatten().map(|m| m["role"].clone()).collect();
        assert!(matches!(roles[0].as_str(), Some("system" | "developer")) && roles[1..] == ["user"], "{roles:?}");
        assert_eq!(text(&sent["messages"][0]["content"]), "Be brief.");
        if stream {
            assert_eq!(sent["stream_options"]["include_usage"], true, "usage is asked for");
        }
    }
}

/// Events of a Messages stream from their data.
pub fn messages_stream(data: &[Value]) -> String {
    let event = |value: &Value| format!("event: {}\ndata: {value}\n\n", value["type"].as_str().unwrap_or_default());
    data.iter().map(event).collect()
}

/// Chunks of a chat stream from their deltas and finish reasons, with `[DONE]`.
pub fn chat_stream(choices: &[(Value, Value)]) -> String {
    let chunk = |(delta, finish): &(Value, Value)| {
        let choice = json!({"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish});
        let body = json!({"id": "chatcmpl-7", "object": "chat.completion.chunk", "created": 7, "model": "gpt-4.1",
            "choices": [choice]});
        format!("data: {body}\n\n")
    };
    choices.iter().map(chunk).chain(["data: [DONE]\n\n".to_owned()]).collect()
}

fn start() -> Value {
    json!({"type": "message_start", "message": {"id": "msg_1", "type": "message", "role": "assistant", "content": [],
        "model": "claude-sonnet-4-5", "stop_reason": null, "stop_sequence": null,
        "usage": {"input_tokens": 9, "output_tokens": 1}}})
}

fn end(reason: &str) -> [Value; 2] {
    let delta = json!({"type": "message_delta", "delta": {"stop_reason": reason, "stop_sequence": null},
        "usage": {"output_tokens": 30}});
    [delta, json!({"type": "message_stop"})]
}

fn block(index: u32, start: Value, deltas: &[Value]) -> Vec<Value> {
    let mut all = vec![json!({"type": "content_block_start", "index": index, "content_block": start})];
    all.extend(deltas.iter().map(|delta| json!({"type": "content_block_delta", "index": index, "delta": delta})));
    all.push(json!({"type": "content_block_stop", "index": index}));
    all
}

fn fragment(text: &str) -> Value {
    json!({"type": "input_json_delta", "partial_json": text})
}

fn tools(wire: Wire) -> Value {
    let schema = json!({"type": "object", "properties": {"city": {"type": "string"}}});
    match wire {
        Wire::Chat => json!([{"type": "function", "function": {"name": "weather", "parameters": schema}},
            {"type": "function", "function": {"name": "now"}}]),
        Wire::Messages => {
            json!([{"name": "weather", "input_schema": schema}, {"name": "now", "input_schema": {"type": "object"}}])
        }
    }
}

#[tokio::test]
async fn parallel_calls_from_messages_number_from_zero() {
    let calls = [
        block(
            1,
            json!({"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {}}),
            &[fragment(""), fragment("{\"city\": \"Pa"), fragment("ris\"}")],
        ),
        block(2, json!({"type": "tool_use", "id": "toolu_2", "name": "now", "input": {}}), &[fragment("")]),
    ];
    let words = block(0, json!({"type": "text", "text": ""}), &[json!({"type": "text_delta", "text": "Let me look."})]);
    let stream = [vec![start()], words, calls.concat(), end("tool_use").to_vec()].concat();
    let whole = json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-sonnet-4-5",
        "content": [{"type": "text", "text": "Let me look."},
            {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Paris"}},
            {"type": "tool_use", "id": "toolu_2", "name": "now", "input": {}}],
        "stop_reason": "tool_use", "stop_sequence": null, "usage": {"input_tokens": 9, "output_tokens": 30}});
    for (streamed, reply) in
        [(true, Reply::sse(messages_stream(&stream))), (false, Reply::json(200, whole.to_string()))]
    {
        let one = One::with(Wire::Messages, vec![reply]).await;
        let response = one
            .ask(
                Wire::Chat,
                json!({"model": "m", "stream": streamed, "tools": tools(Wire::Chat),
            "tool_choice": "auto", "parallel_tool_calls": true,
            "messages": [{"role": "user", "content": "Weather and time?"}]}),
            )
            .await;
        let answer = Wire::Chat.read(&response, streamed);
        let message = &answer["choices"][0]["message"];
        assert_eq!(
            (message["content"].as_str(), Wire::Chat.stop(&answer)),
            (Some("Let me look."), json!("tool_calls"))
        );
        let calls: Vec<_> = message["tool_calls"].as_array().into_iter().flatten().collect();
        assert_eq!(calls.len(), 2, "{message}");
        assert_eq!((&calls[0]["id"], &calls[0]["function"]["name"]), (&json!("toolu_1"), &json!("weather")));
        let arguments: Value =
            serde_json::from_str(calls[0]["function"]["arguments"].as_str().unwrap_or_default()).expect("JSON");
        assert_eq!(arguments, json!({"city": "Paris"}));
        assert_eq!(calls[1]["function"]["arguments"], "{}", "a call without arguments has an empty object");
        let sent = one.sent();
        assert_eq!(sent["tools"][0]["name"], "weather");
        assert_eq!(sent["tools"][1]["input_schema"]["type"], "object", "{sent}");
    }
}

#[tokio::test]
async fn interleaved_calls_from_chat_become_one_block_each() {
    let call = |index: u32, more: Value| {
        let mut call = json!({"index": index});
        call.as_object_mut().expect("an object").extend(more.as_object().cloned().unwrap_or_default());
        (json!({"tool_calls": [call]}), Value::Null)
    };
    let named =
        |id: &str, name: &str| json!({"id": id, "type": "function", "function": {"name": name, "arguments": ""}});
    let args = |text: &str| json!({"function": {"arguments": text}});
    let stream = chat_stream(&[
        (json!({"role": "assistant", "content": null}), Value::Null),
        call(0, named("call_a", "weather")),
        call(1, named("call_b", "weather")),
        call(0, args("{\"city\":")),
        call(1, args("{\"city\":\"Ro")),
        call(0, args("\"Paris\"}")),
        call(1, args("me\"}")),
        (json!({}), json!("tool_calls")),
    ]);
    let one = One::with(Wire::Chat, vec![Reply::sse(stream)]).await;
    let response = one
        .ask(
            Wire::Messages,
            json!({"model": "m", "max_tokens": 99, "stream": true,
        "tools": tools(Wire::Messages), "messages": [{"role": "user", "content": "Weather?"}]}),
        )
        .await;
    let answer = Wire::Messages.read(&response, true);
    assert_eq!(
        answer["content"],
        json!([
        {"type": "tool_use", "id": "call_a", "name": "weather", "input": {"city": "Paris"}},
        {"type": "tool_use", "id": "call_b", "name": "weather", "input": {"city": "Rome"}}])
    );
    assert_eq!(Wire::Messages.stop(&answer), "tool_use");
    assert_eq!(one.sent()["tools"][0]["function"]["name"], "weather");
}

#[tokio::test]
async fn results_of_tools_go_back_in_pairs() {
    let one = One::with(Wire::Messages, vec![Wire::Messages.reply(false)]).await;
    let call = |id: &str| json!({"id": id, "type": "function", "function": {"name": "weather", "arguments": "{\"n\":12345678901234567890}"}});
    let response = one
        .ask(
            Wire::Chat,
            json!({"model": "m", "tools": tools(Wire::Chat), "messages": [
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": "", "tool_calls": [call("c1"), call("functions.w:2")]},
        {"role": "tool", "tool_call_id": "functions.w:2", "content": "rain"},
        {"role": "tool", "tool_call_id": "c1", "content": "sun"},
        {"role": "user", "content": "And?"}]}),
        )
        .await;
    assert_eq!(response.status, 200, "{}", response.text());
    let raw = String::from_utf8(one.provider.last().body).expect("UTF-8");
    assert_eq!(raw.matches("12345678901234567890").count(), 2, "numbers are copied, not rounded: {raw}");
    let sent = one.sent();
    let turns: Vec<_> = sent["messages"].as_array().into_iter().flatten().collect();
    assert_eq!(turns.iter().map(|turn| &turn["role"]).collect::<Vec<_>>(), ["user", "assistant", "user"], "{sent}");
    let calls: Vec<_> = turns[1]["content"].as_array().into_iter().flatten().collect();
    assert!(calls.iter().all(|block| block["type"] == "tool_use"), "no empty text block: {sent}");
    let results: Vec<_> = turns[2]["content"].as_array().into_iter().flatten().collect();
    assert_eq!(results.iter().map(|b| &b["type"]).collect::<Vec<_>>(), ["tool_result", "tool_result", "text"]);
    for (call, result) in calls.iter().zip(&results) {
        assert_eq!(call["id"], result["tool_use_id"], "in the order of the calls: {sent}");
        let id = call["id"].as_str().unwrap_or_default();
        assert!(!id.is_empty() && id.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c)), "{id:?}");
    }
    assert_eq!((text(&results[0]["content"]), text(&results[1]["content"])), ("sun".to_owned(), "rain".to_owned()));
}

#[tokio::test]
async fn a_result_with_an_image_reaches_chat_beside_its_text() {
    let one = One::with(Wire::Chat, vec![Wire::Chat.reply(false)]).await;
    let png = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg==";
    let response = one
        .ask(
            Wire::Messages,
            json!({"model": "m", "max_tokens": 9, "tools": tools(Wire::Messages), "messages": [
        {"role": "user", "content": "Look."},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "weather", "input": {}},
            {"type": "tool_use", "id": "t2", "name": "now", "input": {}}]},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "a map"},
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": png}}]},
            {"type": "tool_result", "tool_use_id": "t2", "content": "noon"}]}]}),
        )
        .await;
    assert_eq!(response.status, 200, "{}", response.text());
    let sent = one.sent();
    let turns: Vec<_> = sent["messages"].as_array().into_iter().flatten().collect();
    let roles: Vec<_> = turns.iter().map(|turn| turn["role"].as_str().unwrap_or_default()).collect();
    assert_eq!(roles, ["user", "assistant", "tool", "tool", "user"], "media follow all results: {sent}");
    assert!(text(&turns[2]["content"]).contains("a map"));
    assert!(turns[4]["content"].to_string().contains(&format!("data:image/png;base64,{png}")), "{sent}");
}

#[tokio::test]
async fn a_signature_survives_a_chat_client() {
    let signature = "EqQBCgIYAhIM1gbcDa9GJwZA2b3hGgxBdjrkzLoky3dl1pk=";
    let thinking = block(
        0,
        json!({"type": "thinking", "thinking": "", "signature": ""}),
        &[
            json!({"type": "thinking_delta", "thinking": "Need the weather."}),
            json!({"type": "signature_delta", "signature": signature}),
        ],
    );
    let call = block(
        1,
        json!({"type": "tool_use", "id": "toolu_9", "name": "weather", "input": {}}),
        &[fragment("{\"city\":\"Rome\"}")],
    );
    let stream = [vec![start()], thinking, call, end("tool_use").to_vec()].concat();
    let whole = json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-sonnet-4-5",
        "content": [{"type": "thinking", "thinking": "Need the weather.", "signature": signature},
            {"type": "tool_use", "id": "toolu_9", "name": "weather", "input": {"city": "Rome"}}],
        "stop_reason": "tool_use", "stop_sequence": null, "usage": {"input_tokens": 9, "output_tokens": 30}});
    for (streamed, reply) in
        [(true, Reply::sse(messages_stream(&stream))), (false, Reply::json(200, whole.to_string()))]
    {
        let one = One::with(Wire::Messages, vec![reply, Wire::Messages.reply(false)]).await;
        let asked = json!({"model": "m", "stream": streamed, "reasoning_effort": "high", "max_completion_tokens": 30000,
            "tools": tools(Wire::Chat), "messages": [{"role": "user", "content": "Weather in Rome?"}]});
        let first = Wire::Chat.read(&one.ask(Wire::Chat, asked.clone()).await, streamed);
        assert!(one.sent()["thinking"].is_object(), "effort asks for thinking: {}", one.sent());
        let message = &first["choices"][0]["message"];
        assert_eq!(message["reasoning_content"], "Need the weather.", "{message}");
        let mut again = asked;
        again["stream"] = json!(false);
        let turns = again["messages"].as_array_mut().expect("a list");
        turns.push(json!({"role": "assistant", "content": null, "tool_calls": message["tool_calls"],
            "reasoning_details": message["reasoning_details"]}));
        turns.push(json!({"role": "tool", "tool_call_id": "toolu_9", "content": "sun"}));
        let second = one.ask(Wire::Chat, again).await;
        assert_eq!(second.status, 200, "{}", second.text());
        let back = one.sent()["messages"][1]["content"].clone();
        assert_eq!(
            back[0],
            json!({"type": "thinking", "thinking": "Need the weather.", "signature": signature}),
            "{back}"
        );
        assert_eq!(back[1]["id"], "toolu_9");
    }
}

#[tokio::test]
async fn each_stop_reason_has_its_counterpart() {
    let from_messages = [
        ("end_turn", "stop"),
        ("max_tokens", "length"),
        ("stop_sequence", "stop"),
        ("refusal", "content_filter"),
        ("model_context_window_exceeded", "length"),
        ("pause_turn", "length"),
        ("some_new_reason", "stop"),
    ];
    for (native, expected) in from_messages {
        let words = block(0, json!({"type": "text", "text": ""}), &[json!({"type": "text_delta", "text": "ok"})]);
        let stream = [vec![start()], words, end(native).to_vec()].concat();
        let one = One::with(Wire::Messages, vec![Reply::sse(messages_stream(&stream))]).await;
        let answer = Wire::Chat.read(&Wire::Chat.ask("m", true).send(one.edge.addr).await, true);
        assert_eq!(Wire::Chat.stop(&answer), expected, "{native}");
    }
    for (native, expected) in
        [("stop", "end_turn"), ("length", "max_tokens"), ("content_filter", "refusal"), ("tool_calls", "end_turn")]
    {
        let stream =
            chat_stream(&[(json!({"role": "assistant", "content": "ok"}), Value::Null), (json!({}), json!(native))]);
        let one = One::with(Wire::Chat, vec![Reply::sse(stream)]).await;
        let answer = Wire::Messages.read(&Wire::Messages.ask("m", true).send(one.edge.addr).await, true);
        assert_eq!(Wire::Messages.stop(&answer), expected, "{native}");
    }
}

#[tokio::test]
async fn a_schema_for_the_answer_is_carried_both_ways() {
    let schema = json!({"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"], "additionalProperties": false});
    let one = One::with(Wire::Messages, vec![Wire::Messages.reply(false)]).await;
    one.ask(
        Wire::Chat,
        json!({"model": "m", "messages": [{"role": "user", "content": "n?"}],
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "strict": true, "schema": schema}}}),
    )
    .await;
    assert_eq!(one.sent()["output_config"]["format"], json!({"type": "json_schema", "schema": schema}));
    let one = One::with(Wire::Chat, vec![Wire::Chat.reply(false)]).await;
    one.ask(
        Wire::Messages,
        json!({"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "n?"}],
        "output_config": {"format": {"type": "json_schema", "schema": schema}}}),
    )
    .await;
    let format = one.sent()["response_format"].clone();
    assert_eq!((&format["type"], &format["json_schema"]["schema"]), (&json!("json_schema"), &schema), "{format}");
    assert!(format["json_schema"]["name"].is_string());
}

#[tokio::test]
async fn usage_comes_when_it_was_asked_for_and_only_then() {
    let one = One::with(Wire::Messages, vec![Wire::Messages.reply(true)]).await;
    let response = Wire::Chat.ask("m", true).send(one.edge.addr).await;
    let answer = Wire::Chat.read(&response, true);
    assert_eq!(answer["usage"], Value::Null, "no usage chunk without include_usage");
}

#[tokio::test]
async fn compatible_servers_oddities_are_read() {
    let with_bom = format!("\u{feff}{}", Wire::Chat.stream());
    let no_space = Wire::Chat.stream().replace("data: ", "data:");
    let crlf = Wire::Chat.stream().replace('\n', "\r\n");
    let cr = Wire::Chat.stream().replace('\n', "\r");
    let comments = format!(": OPENROUTER PROCESSING\n\n{}", Wire::Chat.stream());
    let no_done = Wire::Chat.stream().replace("data: [DONE]\n\n", "");
    for stream in [with_bom, no_space, crlf, cr, comments, no_done] {
        for reply in [
            Reply::sse(&stream),
            Reply::sse(&stream).bytewise(),
            Reply::sse(&stream).cut_every(3),
            Reply::sse(&stream).gzip(),
        ] {
            let one = One::with(Wire::Chat, vec![reply]).await;
            let response = Wire::Messages.ask("m", true).send(one.edge.addr).await;
            let answer = Wire::Messages.read(&response, true);
            assert_eq!(Wire::Messages.text(&answer), "Hello, 北🙂!", "{stream:?}");
            assert_eq!(response.header("content-encoding"), None);
        }
    }
}
