//! The simulator's answers: what they say, and what comes over a real connection.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use pingora_core::server::Server;
use pingora_core::server::configuration::ServerConf;
use serde_json::{Value, json};

use super::*;
use crate::clock;

// ---- without a connection -------------------------------------------------------------------------------------

fn ask(knobs: &Knobs, operation: Operation, headers: &[(&str, &str)], body: &Value) -> (u16, String) {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        let name: HeaderName = name.parse().unwrap();
        map.insert(name, HeaderValue::from_str(value).unwrap());
    }
    let reply = Simulator::new(knobs.clone()).reply(operation, &map, body.to_string().into());
    (reply.script.status, String::from_utf8_lossy(&reply.script.body).into_owned())
}

fn chat(body: &Value) -> Value {
    let (status, body) = ask(&Knobs::default(), Operation::Chat, &[], body);
    assert_eq!(status, 200, "{body}");
    serde_json::from_str(&body).unwrap()
}

fn messages(body: &Value) -> Value {
    let (status, body) = ask(&Knobs::default(), Operation::Messages, &[], body);
    assert_eq!(status, 200, "{body}");
    serde_json::from_str(&body).unwrap()
}

/// The `data:` of each event, and its `event:` line if it has one.
fn events(stream: &str) -> Vec<(Option<String>, String)> {
    let frames = stream.strip_suffix("\n\n").unwrap().split("\n\n");
    frames
        .map(|frame| match frame.strip_prefix("event: ") {
            Some(rest) => {
                let (name, data) = rest.split_once("\ndata: ").unwrap();
                (Some(name.to_owned()), data.to_owned())
            }
            None => (None, frame.strip_prefix("data: ").unwrap().to_owned()),
        })
        .collect()
}

fn weather_tool() -> Value {
    json!({"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}})
}

/// What a client makes of a chat stream: text, calls as (id, name, arguments), finish reason, usage.
fn assemble_chat(stream: &str) -> Value {
    let mut text = String::new();
    let mut calls: Vec<(String, String, String)> = Vec::new();
    let (mut roles, mut finish, mut usage) = (0, Value::Null, Value::Null);
    let events = events(stream);
    assert_eq!(events.last().unwrap().1, "[DONE]");
    for (name, data) in &events[..events.len() - 1] {
        assert_eq!(*name, None);
        let chunk: Value = serde_json::from_str(data).unwrap();
        assert_eq!(chunk["object"], "chat.completion.chunk");
        let Some(choice) = chunk["choices"].get(0) else {
            assert!(!finish.is_null(), "usage comes after the finish reason");
            usage = chunk["usage"].clone();
            continue;
        };
        assert!(finish.is_null(), "nothing comes after the finish reason: {data}");
        let delta = &choice["delta"];
        roles += usize::from(delta["role"] == "assistant");
        assert_eq!(roles, 1, "the first delta brings the role, once");
        text.push_str(delta["content"].as_str().unwrap_or_default());
        for call in delta["tool_calls"].as_array().into_iter().flatten() {
            let index = usize::try_from(call["index"].as_u64().unwrap()).unwrap();
            if let Some(id) = call["id"].as_str() {
                assert_eq!(index, calls.len());
                let name = call["function"]["name"].as_str().unwrap();
                calls.push((id.to_owned(), name.to_owned(), String::new()));
            }
            calls[index].2.push_str(call["function"]["arguments"].as_str().unwrap());
        }
        finish = choice["finish_reason"].clone();
    }
    json!({"text": text, "calls": calls, "finish": finish, "usage": usage})
}

/// What a client makes of a messages stream: content, stop reason, usage; checks the grammar on the way.
fn assemble_messages(stream: &str) -> Value {
    let mut content: Vec<Value> = Vec::new();
    let mut partial = String::new();
    let (mut open, mut stop, mut usage) = (None, Value::Null, Value::Null);
    let events = events(stream);
    let names: Vec<&str> = events.iter().map(|(name, _)| name.as_deref().unwrap()).collect();
    assert_eq!(names[0], "message_start");
    assert_eq!(names[names.len() - 2..], ["message_delta", "message_stop"]);
    for (name, data) in &events {
        let event: Value = serde_json::from_str(data).unwrap();
        assert_eq!(event["type"], name.as_deref().unwrap());
        match name.as_deref().unwrap() {
            "content_block_start" => {
                assert_eq!((open, event["index"].as_u64()), (None, Some(content.len() as u64)));
                open = event["index"].as_u64();
                content.push(event["content_block"].clone());
            }
            "content_block_delta" => {
                assert_eq!(event["index"].as_u64(), open);
                let delta = &event["delta"];
                let block = content.last_mut().unwrap();
                match delta["type"].as_str().unwrap() {
                    "input_json_delta" => partial.push_str(delta["partial_json"].as_str().unwrap()),
                    kind => {
                        let field = kind.strip_suffix("_delta").unwrap();
                        let grown = format!("{}{}", block[field].as_str().unwrap(), delta[field].as_str().unwrap());
                        block[field] = grown.into();
                    }
                }
            }
            "content_block_stop" => {
                assert_eq!(event["index"].as_u64(), open.take());
                if !partial.is_empty() {
                    content.last_mut().unwrap()["input"] = serde_json::from_str(&partial).unwrap();
                    partial.clear();
                }
            }
            "message_delta" => {
                stop = event["delta"]["stop_reason"].clone();
                usage = event["usage"].clone();
            }
            _ => {}
        }
    }
    json!({"content": content, "stop_reason": stop, "usage": usage})
}

/// Requests whose whole and streamed answers must agree.
fn chat_requests() -> Vec<Value> {
    let tools = json!([
        {"type": "function", "function": {"name": "weather", "parameters": weather_tool()}},
        {"type": "function", "function": {"name": "tide", "parameters": {"type": "object"}}},
    ]);
    let user = |text: &str| json!([{"role": "user", "content": text}]);
    let format = json!({"type": "json_schema", "json_schema": {"name": "w", "schema": weather_tool()}});
    vec![
        json!({"model": "m", "messages": user("hello")}),
        json!({"model": "m \"quoted\" ✓", "messages": user("hello"), "max_tokens": 3}),
        json!({"model": "m", "messages": user("use weather"), "tools": tools}),
        json!({"model": "m", "messages": user("weather and tide"), "tools": tools}),
        json!({"model": "m", "messages": user("hello"), "response_format": format}),
        json!({"model": "m", "messages": user("hello"), "reasoning_effort": "high"}),
    ]
}

#[test]
fn a_chat_stream_says_what_the_whole_answer_says() {
    for mut request in chat_requests() {
        let whole = chat(&request);
        request["stream"] = true.into();
        request["stream_options"] = json!({"include_usage": true});
        let (_, stream) = ask(&Knobs::default(), Operation::Chat, &[], &request);
        let got = assemble_chat(&stream);
        let message = &whole["choices"][0]["message"];
        assert_eq!(got["text"], message["content"].as_str().unwrap_or_default(), "{request}");
        let calls: Vec<Value> = message["tool_calls"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|call| json!([call["id"], call["function"]["name"], call["function"]["arguments"]]))
            .collect();
        assert_eq!(got["calls"], json!(calls), "{request}");
        assert_eq!(got["finish"], whole["choices"][0]["finish_reason"], "{request}");
        assert_eq!(got["usage"], whole["usage"], "{request}");
        let total =
            whole["usage"]["prompt_tokens"].as_u64().unwrap() + whole["usage"]["completion_tokens"].as_u64().unwrap();
        assert_eq!(whole["usage"]["total_tokens"], total);
    }
}

#[test]
fn a_messages_stream_says_what_the_whole_answer_says() {
    let tools = json!([{"name": "weather", "input_schema": weather_tool()}, {"name": "tide", "input_schema": {"type": "object"}}]);
    let user = |text: &str| json!([{"role": "user", "content": text}]);
    let format = json!({"format": {"type": "json_schema", "schema": weather_tool()}});
    let requests = [
        json!({"model": "m", "max_tokens": 500, "messages": user("hello")}),
        json!({"model": "m", "max_tokens": 3, "messages": user("hello")}),
        json!({"model": "m", "max_tokens": 0, "messages": user("hello")}),
        json!({"model": "m", "max_tokens": 500, "messages": user("weather and tide"), "tools": tools}),
        json!({"model": "m", "max_tokens": 5000, "messages": user("weather"), "tools": tools, "thinking": {"type": "adaptive"}}),
        json!({"model": "m", "max_tokens": 5000, "messages": user("x"), "thinking": {"type": "adaptive", "display": "omitted"}}),
        json!({"model": "m", "max_tokens": 500, "messages": user("hello"), "output_config": format}),
    ];
    for mut request in requests {
        let whole = messages(&request);
        request["stream"] = true.into();
        let (_, stream) = ask(&Knobs::default(), Operation::Messages, &[], &request);
        let got = assemble_messages(&stream);
        for part in ["content", "stop_reason", "usage"] {
            assert_eq!(got[part], whole[part], "{part} of {request}");
        }
    }
}

#[test]
fn usage_in_a_chat_stream_comes_only_when_asked_for() {
    let request = json!({"model": "m", "stream": true, "messages": [{"role": "user", "content": "hi"}]});
    let (_, stream) = ask(&Knobs::default(), Operation::Chat, &[], &request);
    assert!(!stream.contains("\"usage\""), "{stream}");
}

#[test]
fn choices_are_as_many_as_asked_for() {
    let whole = chat(&json!({"model": "m", "n": 3, "messages": [{"role": "user", "content": "hi"}]}));
    let indices: Vec<&Value> = whole["choices"].as_array().unwrap().iter().map(|choice| &choice["index"]).collect();
    assert_eq!(indices, [0, 1, 2]);
    assert_eq!(whole["usage"]["completion_tokens"], 3 * 64);
}

#[test]
fn thinking_comes_back_signed_and_is_checked() {
    let strict = Knobs { strict: true, kind: Kind::Thinking, ..Knobs::default() };
    let version = [("anthropic-version", "2023-06-01")];
    let first = json!({"model": "m", "max_tokens": 500, "messages": [{"role": "user", "content": "hi"}]});
    let (_, answer) = ask(&strict, Operation::Messages, &version, &first);
    let mut block = serde_json::from_str::<Value>(&answer).unwrap()["content"][0].take();
    assert_eq!(block["type"], "thinking");
    let again = |block: &Value| {
        json!({"model": "m", "max_tokens": 500, "messages": [
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": [block]},
            {"role": "user", "content": "go on"},
        ]})
    };
    assert_eq!(ask(&strict, Operation::Messages, &version, &again(&block)).0, 200);
    block["thinking"] = "altered".into();
    let (status, body) = ask(&strict, Operation::Messages, &version, &again(&block));
    assert_eq!(status, 400);
    assert!(body.contains("messages.1.content.0.signature"), "{body}");
}

/// A strict provider refuses this chat request, with this in its error; a lenient one serves it.
fn check_chat_refused(change: &Value, part: &str) {
    let mut request = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}]});
    request.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    let strict = Knobs { strict: true, ..Knobs::default() };
    let (status, body) = ask(&strict, Operation::Chat, &[], &request);
    assert!(status == 400 && body.contains(part), "{change}: {status} {body}");
    assert_eq!(serde_json::from_str::<Value>(&body).unwrap()["error"]["type"], "invalid_request_error");
    assert_eq!(ask(&Knobs::default(), Operation::Chat, &[], &request).0, 200, "{change}");
}

#[test]
fn a_strict_chat_provider_refuses_what_the_real_one_does() {
    let strict = Knobs { strict: true, ..Knobs::default() };
    for request in chat_requests() {
        let (status, body) = ask(&strict, Operation::Chat, &[], &request);
        assert_eq!(status, 200, "{request}: {body}");
    }
    let call = json!({"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}});
    let calls = json!({"role": "assistant", "content": null, "tool_calls": [call]});
    let user = json!({"role": "user", "content": "hi"});
    check_chat_refused(&json!({"thinking": {}}), "'thinking'");
    check_chat_refused(&json!({"stream_options": {}}), "stream_options");
    check_chat_refused(&json!({"max_tokens": 1, "max_completion_tokens": 1}), "max_tokens");
    check_chat_refused(&json!({"reasoning_effort": "huge"}), "reasoning_effort");
    check_chat_refused(&json!({"tool_choice": "auto"}), "tool_choice");
    check_chat_refused(
        &json!({"tools": [{"type": "function", "function": {"name": "a b"}}]}),
        "tools[0].function.name",
    );
    check_chat_refused(&json!({"messages": [{"role": "model", "content": "hi"}]}), "messages[0].role");
    check_chat_refused(&json!({"messages": [{"role": "user", "content": null}]}), "messages[0].content");
    let image = json!([{"type": "image_url", "image_url": {"url": "data:,"}}]);
    check_chat_refused(&json!({"messages": [{"role": "system", "content": image}]}), "messages[0].content[0].type");
    check_chat_refused(&json!({"messages": [user, calls, user]}), "c1");
    check_chat_refused(&json!({"messages": [user, calls]}), "c1");
    let stray = json!({"role": "tool", "tool_call_id": "c2", "content": "x"});
    check_chat_refused(&json!({"messages": [user, calls, stray]}), "c2");
}

fn check_messages_refused(change: &Value, version: Option<&str>, part: &str) {
    let mut request = json!({"model": "m", "max_tokens": 10, "messages": [{"role": "user", "content": "hi"}]});
    request.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    let headers: Vec<(&str, &str)> = version.map(|version| ("anthropic-version", version)).into_iter().collect();
    let strict = Knobs { strict: true, ..Knobs::default() };
    let (status, body) = ask(&strict, Operation::Messages, &headers, &request);
    assert!(status == 400 && body.contains(part), "{change}: {status} {body}");
    assert_eq!(serde_json::from_str::<Value>(&body).unwrap()["error"]["type"], "invalid_request_error");
    assert_eq!(ask(&Knobs::default(), Operation::Messages, &headers, &request).0, 200, "{change}");
}

#[test]
fn a_strict_messages_provider_refuses_what_the_real_one_does() {
    let (old, new) = (Some("2023-06-01"), Some("2026-10-21"));
    let user = json!({"role": "user", "content": "hi"});
    let call = json!({"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "f", "input": {}}]});
    let result =
        |id: &str| json!({"role": "user", "content": [{"type": "tool_result", "tool_use_id": id, "content": "x"}]});
    check_messages_refused(&json!({}), None, "anthropic-version");
    check_messages_refused(&json!({}), Some("2030-01-01"), "2030-01-01");
    check_messages_refused(&json!({"temperature": 1}), new, "temperature");
    check_messages_refused(&json!({"reasoning_effort": "low"}), old, "reasoning_effort");
    check_messages_refused(&json!({"thinking": {"type": "enabled", "budget_tokens": 10}}), old, "budget_tokens");
    check_messages_refused(&json!({"tools": [{"name": "f"}]}), old, "input_schema");
    check_messages_refused(&json!({"tool_choice": {"type": "required"}}), old, "tool_choice");
    check_messages_refused(&json!({"messages": [{"role": "tool", "content": "hi"}]}), old, "messages.0.role");
    check_messages_refused(&json!({"messages": [{"role": "user", "content": ""}]}), old, "non-empty");
    check_messages_refused(&json!({"messages": [{"role": "assistant", "content": "hi"}]}), old, "first message");
    check_messages_refused(&json!({"messages": [user, {"role": "assistant", "content": "hi "}]}), old, "whitespace");
    check_messages_refused(&json!({"messages": [user, call, user]}), old, "t1");
    check_messages_refused(&json!({"messages": [user, call, result("t2")]}), old, "t2");
    check_messages_refused(&json!({"messages": [user, call, result("t1"), call, result("t1")]}), old, "unique");
    let marks: Vec<Value> =
        (0..5).map(|_| json!({"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}})).collect();
    check_messages_refused(&json!({"system": marks}), old, "cache_control");
    let fine = json!({"model": "m", "max_tokens": 10, "messages": [user, call, result("t1")]});
    let strict = Knobs { strict: true, ..Knobs::default() };
    let (status, body) = ask(&strict, Operation::Messages, &[("anthropic-version", "2023-06-01")], &fine);
    assert_eq!(status, 200, "{body}");
}

#[test]
fn errors_wear_their_providers_envelope() {
    let locked = Knobs { key: Some("sk-1".into()), ..Knobs::default() };
    let request = json!({"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": "hi"}]});
    let (status, body) = ask(&locked, Operation::Chat, &[("authorization", "Bearer sk-2")], &request);
    assert_eq!(
        (status, &serde_json::from_str::<Value>(&body).unwrap()["error"]["code"]),
        (401, &json!("invalid_api_key"))
    );
    let (status, body) = ask(&locked, Operation::Messages, &[], &request);
    let error: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(
        (status, &error["type"], &error["error"]["type"]),
        (401, &json!("error"), &json!("authentication_error"))
    );
    for name in ["x-api-key", "api-key"] {
        assert_eq!(ask(&locked, Operation::Messages, &[(name, "sk-1")], &request).0, 200);
    }
    let busy = Knobs { status_mix: "529:1".parse().unwrap(), ..Knobs::default() };
    let (status, body) = ask(&busy, Operation::Messages, &[], &request);
    assert_eq!(
        (status, &serde_json::from_str::<Value>(&body).unwrap()["error"]["type"]),
        (529, &json!("overloaded_error"))
    );
    for body in ["", "[]", "{\"model\":\"m\"}", "\u{0}"] {
        let reply = Simulator::new(Knobs::default()).reply(Operation::Chat, &HeaderMap::new(), body.into());
        assert_eq!(reply.script.status, 400, "{body}");
        serde_json::from_slice::<Value>(&reply.script.body).unwrap();
    }
}

// ---- over a connection ----------------------------------------------------------------------------------------

/// Runs a simulator in a thread that ends with the process.
fn start(knobs: Knobs) -> (SocketAddr, Arc<Simulator>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let simulator = Simulator::new(knobs);
    let service = service(&address.to_string(), Arc::clone(&simulator));
    std::thread::spawn(move || {
        let mut server = Server::new_with_opt_and_conf(None, ServerConf { threads: 1, ..ServerConf::default() });
        server.bootstrap();
        server.add_service(service);
        server.run_forever();
    });
    let deadline = clock::now() + Duration::from_secs(20);
    while TcpStream::connect(address).is_err() {
        assert!(clock::now() < deadline, "the simulator does not listen");
        std::thread::yield_now();
    }
    (address, simulator)
}

/// Sends one request and reads until the server closes or the deadline comes.
fn exchange(address: SocketAddr, path: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let method = if body.is_empty() { "GET" } else { "POST" };
    let mut head = format!("{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n");
    write!(head, "content-length: {}\r\n\r\n{body}", body.len()).unwrap();
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = Vec::new();
    // A cut connection may end in a reset; what came before it counts.
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

fn dechunk(answer: &str) -> (String, bool) {
    let mut rest = answer.split_once("\r\n\r\n").unwrap().1.as_bytes();
    let mut body = Vec::new();
    while let Some(end) = rest.windows(2).position(|pair| pair == b"\r\n") {
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..end]).unwrap(), 16).unwrap();
        if size == 0 {
            return (String::from_utf8(body).unwrap(), true);
        }
        let from = end + 2;
        body.extend_from_slice(&rest[from..(from + size).min(rest.len())]);
        rest = rest.get(from + size + 2..).unwrap_or_default();
    }
    (String::from_utf8_lossy(&body).into_owned(), false)
}

const STREAM: &str = r#"{"model":"m","stream":true,"max_tokens":40,"messages":[{"role":"user","content":"hi"}]}"#;

#[test]
fn faults_happen_to_answers_on_the_wire() {
    let (address, simulator) = start(Knobs::default());
    let path = "/v1/messages";
    let (clean, complete) = dechunk(&exchange(address, path, STREAM));
    assert!(complete);
    assemble_messages(&clean);

    let set = |json: &str| assert!(exchange(address, "/__sim/set", json).starts_with("HTTP/1.1 200"));
    set(r#"{"drip":1}"#);
    assert_eq!(dechunk(&exchange(address, path, STREAM)), (clean.clone(), true));

    set(r#"{"drip":0,"tokens_per_second":2000,"first_token_ms":20}"#);
    assert_eq!(dechunk(&exchange(address, path, STREAM)), (clean.clone(), true));

    set(r#"{"abort":1}"#);
    let (cut, complete) = dechunk(&exchange(address, path, STREAM));
    assert!(!complete && !cut.is_empty() && clean.starts_with(&cut) && cut != clean, "{cut}");

    set(r#"{"abort":0,"stall":1,"stall_ms":30}"#);
    let (cut, complete) = dechunk(&exchange(address, path, STREAM));
    assert!(!complete && !cut.is_empty() && clean.starts_with(&cut) && cut != clean, "{cut}");

    set(r#"{"stall":0,"error_event":1}"#);
    let (failed, complete) = dechunk(&exchange(address, path, STREAM));
    assert!(complete && !failed.contains("message_stop"));
    assert_eq!(events(&failed).last().unwrap().0.as_deref(), Some("error"));

    set(r#"{"error_event":0,"status_mix":"429:1","retry_after":7}"#);
    let refused = exchange(address, path, STREAM);
    assert!(refused.starts_with("HTTP/1.1 429") && refused.contains("retry-after: 7\r\n"), "{refused}");

    let stats: Value = serde_json::from_slice(&simulator.stats.to_json()).unwrap();
    assert_eq!((&stats["requests"], &stats["cut"], &stats["faults"]), (&json!(7), &json!(3), &json!(1)), "{stats}");
    assert!(exchange(address, "/__sim/last/anthropic_messages", "").ends_with(STREAM));
    assert!(exchange(address, "/__sim/set", r#"{"abrt":1}"#).starts_with("HTTP/1.1 400"));
    assert!(exchange(address, "/v1/nothing", "").starts_with("HTTP/1.1 404"));
    assert!(exchange(address, "/v1/models", "").contains("sim-large"));
    assert!(exchange(address, "/health", "").starts_with("HTTP/1.1 200"));
}

#[test]
fn a_reader_that_leaves_is_noticed_while_the_answer_waits() {
    let (address, simulator) = start(Knobs { first_token_ms: 600_000, ..Knobs::default() });
    let mut stream = TcpStream::connect(address).unwrap();
    let head = format!("POST /v1/messages HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{STREAM}", STREAM.len());
    stream.write_all(head.as_bytes()).unwrap();
    let mut start = [0; 15];
    stream.read_exact(&mut start).unwrap();
    assert_eq!(&start, b"HTTP/1.1 200 OK");
    drop(stream);
    let deadline = clock::now() + Duration::from_secs(20);
    while simulator.stats.aborted.load(Relaxed) == 0 || simulator.stats.in_flight.load(Relaxed) > 0 {
        assert!(clock::now() < deadline, "the answer still waits for a reader who left");
        std::thread::yield_now();
    }
}
