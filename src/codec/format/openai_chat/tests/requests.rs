//! Requests of this format's clients for the other, and the other way.

use serde_json::{Value, json};

use super::{CHAT, KEY, MESSAGES, as_it_is, send, to_chat, to_messages};
use crate::Format;
use crate::format::{RequestHead, ToolIds, wire};
use crate::hub::BlockKind;
use crate::seal::Seal;

fn call(id: &str, name: &str, arguments: &str) -> Value {
    json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}})
}

fn result(id: &str, content: &str) -> Value {
    json!({"role": "tool", "tool_call_id": id, "content": content})
}

fn user(content: impl Into<Value>) -> Value {
    json!({"role": "user", "content": content.into()})
}

fn calls(calls: Value) -> Value {
    json!({"role": "assistant", "content": null, "tool_calls": calls})
}

fn chat(messages: Value) -> Value {
    json!({"model": "m", "max_tokens": 99, "messages": messages})
}

/// Ids of the calls and of the results in a messages request.
fn ids(body: &Value) -> (Vec<String>, Vec<String>) {
    let blocks = body["messages"].as_array().unwrap().iter().flat_map(|message| message["content"].as_array().unwrap());
    let of = |kind: &str, key: &str| {
        let found = blocks.clone().filter(|block| block["type"] == kind);
        found.map(|block| block[key].as_str().unwrap().to_owned()).collect()
    };
    (of("tool_use", "id"), of("tool_result", "tool_use_id"))
}

fn is_valid(id: &str) -> bool {
    (1..=64).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

#[test]
fn traps_c3_c4_c5_c6_ids_are_valid_distinct_and_the_same_at_both_ends() {
    let long = |tail: &str| format!("{}{tail}", "z".repeat(89));
    for (one, other) in [("functions.Bash:0", "functions.Bash:1"), ("a.b", "a:b"), (&long("1"), &long("2"))] {
        let history = chat(json!([
            user("q"),
            calls(json!([call(one, "f", "{}"), call(other, "g", "{}")])),
            result(one, "1"),
            result(other, "2"),
        ]));
        let sent = to_messages(&history, as_it_is);
        let (called, answered) = ids(&sent.body);
        assert_eq!(called, answered, "{one}");
        assert!(called.iter().all(|id| is_valid(id)) && called[0] != called[1], "{called:?}");
        assert_eq!(ids(&to_messages(&history, as_it_is).body).0, called);
        // Toward this format: the same of both, however the client named them.
        let back = json!({"model": "m", "max_tokens": 9, "messages": [
            user("q"),
            {"role": "assistant", "content": [{"type": "tool_use", "id": one, "name": "f", "input": {}}]},
            user(json!([{"type": "tool_result", "tool_use_id": one, "content": "1"}])),
        ]});
        let messages = to_chat(&back, as_it_is).body["messages"].clone();
        assert_eq!(messages[1]["tool_calls"][0]["id"], messages[2]["tool_call_id"]);
        assert_eq!(messages[1]["tool_calls"][0]["id"], json!(called[0]));
    }
}

#[test]
fn trap_c7_ids_are_nine_letters_and_digits_where_a_server_wants_them() {
    let nine = |facts: &mut crate::Facts| facts.tool_ids = ToolIds::Alnum9;
    let fits = |id: &str| id.len() == 9 && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let tool = |id: &str| json!({"type": "tool_use", "id": id, "name": "f", "input": {}});
    let answer = |id: &str| json!({"type": "tool_result", "tool_use_id": id, "content": "r"});
    let mut history = vec![
        user("q"),
        json!({"role": "assistant", "content": [tool("toolu_01A"), tool("abcDEF123"), tool("call_0"), tool("call_0")]}),
        user(json!([answer("toolu_01A"), answer("abcDEF123"), answer("call_0"), answer("call_0")])),
    ];
    let written = |messages: &[Value]| {
        let body = to_chat(&chat(json!(messages)), nine).body["messages"].clone();
        let (mut called, mut answered) = (Vec::new(), Vec::new());
        for message in body.as_array().unwrap() {
            let calls = message["tool_calls"].as_array().into_iter().flatten();
            called.extend(calls.map(|call| call["id"].as_str().unwrap().to_owned()));
            answered.extend(message["tool_call_id"].as_str().map(str::to_owned));
        }
        assert_eq!(called, answered);
        assert!(called.iter().all(|id| fits(id)), "{called:?}");
        called
    };
    let first = written(&history);
    let distinct: std::collections::BTreeSet<_> = first.iter().collect();
    assert_eq!((distinct.len(), first[1].as_str()), (4, "abcDEF123"));
    // The same ids again, later on: each is what it was, and so is the beginning.
    history.push(json!({"role": "assistant", "content": [tool("call_0"), tool("toolu_01A")]}));
    history.push(user(json!([answer("call_0"), answer("toolu_01A")])));
    let longer = written(&history);
    assert_eq!(longer[..4], first);
    assert_eq!(longer[4..], [first[2].clone(), first[0].clone()]);
    // A client of the format itself, and the provider's own ids on their way to it.
    let own = chat(json!([user("q"), calls(json!([call("call_1", "f", "{}")])), result("call_1", "r")]));
    let sent = send(CHAT, CHAT, &own, nine).unwrap().body["messages"].clone();
    assert!(fits(sent[1]["tool_calls"][0]["id"].as_str().unwrap()));
    assert_eq!(sent[1]["tool_calls"][0]["id"], sent[2]["tool_call_id"]);
}

#[test]
fn trap_c1_replayed_empty_arguments_are_an_object() {
    for arguments in ["", " ", "{}"] {
        let history = chat(json!([user("q"), calls(json!([call("a", "f", arguments)])), result("a", "1")]));
        assert_eq!(to_messages(&history, as_it_is).body["messages"][1]["content"][0]["input"], json!({}));
        let own = send(CHAT, CHAT, &history, as_it_is).unwrap().body;
        assert_eq!(own["messages"][1]["tool_calls"][0]["function"]["arguments"], "{}");
    }
    for arguments in ["{\"a\":", "[1]", "no"] {
        let history = chat(json!([user("q"), calls(json!([call("a", "f", arguments)])), result("a", "1")]));
        let fault = send(CHAT, MESSAGES, &history, as_it_is).unwrap_err();
        assert_eq!(fault.status, 400, "{arguments}");
        assert!(fault.param.unwrap().contains("tool_calls"), "{arguments}");
    }
}

#[test]
fn trap_c10_results_stand_first_in_the_order_of_the_calls() {
    let pair = calls(json!([call("a", "f", "{}"), call("b", "g", "{}")]));
    let split = chat(json!([user("q"), pair.clone(), result("b", "2"), user("and"), result("a", "1")]));
    let sent = to_messages(&split, as_it_is).body;
    assert_eq!(ids(&sent), (vec!["a".to_owned(), "b".to_owned()], vec!["a".to_owned(), "b".to_owned()]));
    let last = sent["messages"].as_array().unwrap().last().unwrap();
    let kinds: Vec<&Value> = last["content"].as_array().unwrap().iter().map(|block| &block["type"]).collect();
    assert_eq!(kinds, ["tool_result", "tool_result", "text"]);
    assert_eq!(
        send(CHAT, MESSAGES, &chat(json!([user("q"), pair, result("b", "2")])), as_it_is).unwrap_err().status,
        400
    );
}

const PNG: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
const JPEG: &str = "/9j/4AAQSkZJRgABAQEASABIAAD/2wBDAAEBAQEBAQEBAQEBAQEBAQEBAQE=";

fn picture() -> Value {
    json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}})
}

#[test]
fn trap_c11_media_of_results_follow_all_results() {
    let tool = |id: &str| json!({"type": "tool_use", "id": id, "name": "f", "input": {}});
    let body = chat(json!([
        user("q"),
        {"role": "assistant", "content": [tool("a"), tool("b")]},
        user(json!([
            {"type": "tool_result", "tool_use_id": "a", "content": [{"type": "text", "text": "seen"}, picture()]},
            {"type": "tool_result", "tool_use_id": "b", "content": "2"},
            {"type": "text", "text": "go on"},
        ])),
    ]));
    let sent = to_chat(&body, as_it_is);
    let messages = sent.body["messages"].as_array().unwrap();
    let roles: Vec<&Value> = messages.iter().map(|message| &message["role"]).collect();
    assert_eq!(roles, ["user", "assistant", "tool", "tool", "user"]);
    assert_eq!(messages[2]["content"], "seen");
    let parts = messages[4]["content"].as_array().unwrap();
    assert_eq!(parts[0]["text"], "[tool result a attachment 1]");
    assert_eq!(parts[1]["image_url"]["url"], json!(format!("data:image/png;base64,{PNG}")));
    assert_eq!(parts[2]["text"], "go on");
    assert_eq!(sent.losses, ["converted:tool_result"]);
}

#[test]
fn trap_c12_a_failed_tool_says_so() {
    for (content, said) in [("boom", "Error: boom"), ("Error: boom", "Error: boom"), ("", "Error: ")] {
        let body = chat(json!([
            user("q"),
            {"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "f", "input": {}}]},
            user(json!([{"type": "tool_result", "tool_use_id": "a", "content": content, "is_error": true}])),
        ]));
        assert_eq!(to_chat(&body, as_it_is).body["messages"][2]["content"], said);
    }
}

#[test]
fn trap_c13_a_custom_tool_is_a_function_where_none_are_known() {
    let body = json!({"model": "m", "messages": [
        user("q"),
        calls(json!([{"id": "a", "type": "custom", "custom": {"name": "patch", "input": "*** \"x\"\n"}}])),
        result("a", "done"),
    ], "tools": [{"type": "custom", "custom": {"name": "patch", "description": "d",
        "format": {"type": "grammar", "grammar": {"syntax": "lark", "definition": "start: /x/"}}}}]});
    let sent = send(CHAT, CHAT, &body, |facts| facts.custom_tools = false).unwrap().body;
    let function = &sent["tools"][0]["function"];
    assert_eq!(function["parameters"]["required"], json!(["input"]));
    assert!(function["description"].as_str().unwrap().contains("start: /x/"));
    let arguments = sent["messages"][1]["tool_calls"][0]["function"]["arguments"].as_str().unwrap();
    assert_eq!(serde_json::from_str::<Value>(arguments).unwrap(), json!({"input": "*** \"x\"\n"}));
    let messages = to_messages(&body, |_| {}).body;
    assert_eq!(messages["tools"][0]["input_schema"]["required"], json!(["input"]));
    assert_eq!(messages["messages"][1]["content"][0]["input"], json!({"input": "*** \"x\"\n"}));
}

#[test]
fn trap_c23_properties_are_not_keywords() {
    let schema = json!({"type": "object", "properties": {
        "default": {"type": "string"}, "title": {"type": "string"}, "$ref": {"type": "string"}, "cache_control": {}}});
    let body = json!({"model": "m", "max_tokens": 9, "messages": [user("q")],
        "tools": [{"name": "f", "input_schema": schema}]});
    assert_eq!(to_chat(&body, as_it_is).body["tools"][0]["function"]["parameters"], schema);
    let tools = json!([{"type": "function", "function": {"name": "f", "parameters": schema}}]);
    let body = json!({"model": "m", "messages": [user("q")], "tools": tools});
    assert_eq!(to_messages(&body, as_it_is).body["tools"][0]["input_schema"], schema);
}

#[test]
fn trap_c27_arguments_keep_their_bytes() {
    let raw = r#"{"n":12345678901234567890,"a":1.0, "a":2}"#;
    let history = chat(json!([user("q"), calls(json!([call("a", "f", raw)])), result("a", "1")]));
    let seal = Seal::new(KEY);
    let head = RequestHead { api_version: None, betas: None, line: crate::Line::default(), seal: &seal };
    let facts = crate::Facts::default();
    let target = crate::Target { model: "m", facts: &facts, api_version: None };
    let sent = crate::translate_request(CHAT, MESSAGES, history.to_string().as_bytes(), &head, &target).unwrap();
    let body = String::from_utf8(sent.outgoing.body).unwrap();
    assert!(body.contains(&format!("\"input\":{raw}")), "{body}");
}

#[test]
fn trap_e5_words_of_the_operator_stay_where_they_are() {
    let body =
        chat(json!([user("q"), {"role": "assistant", "content": "a"}, user("b"), {"role": "system", "content": "s"}]));
    let messages = to_chat(&body, as_it_is).body["messages"].clone();
    assert_eq!((&messages[3]["role"], &messages[3]["content"]), (&json!("system"), &json!("s")));
}

#[test]
fn trap_e7_a_later_system_message_is_not_lost() {
    let body = chat(
        json!([{"role": "system", "content": "first"}, user("q"), {"role": "system", "content": "later"}, user("b")]),
    );
    let sent = to_messages(&body, as_it_is).body;
    assert_eq!(sent["system"], json!([{"type": "text", "text": "first"}]));
    assert!(sent["messages"].to_string().contains("later"), "{sent}");
}

#[test]
fn trap_e8_instructions_keep_their_parts_and_marks() {
    let parts = json!([
        {"type": "text", "text": "one", "cache_control": {"type": "ephemeral"}},
        {"type": "text", "text": "two", "prompt_cache_breakpoint": {"mode": "explicit", "ttl": "30m"}},
    ]);
    let sent = to_messages(&chat(json!([{"role": "system", "content": parts}, user("q")])), as_it_is).body;
    let expected = json!([
        {"type": "text", "text": "one", "cache_control": {"type": "ephemeral", "ttl": "1h"}},
        {"type": "text", "text": "two", "cache_control": {"type": "ephemeral", "ttl": "1h"}},
    ]);
    assert_eq!(sent["system"], expected);
}

#[test]
fn trap_e12_a_server_without_the_role_gets_another() {
    let body = chat(json!([
        {"role": "developer", "content": "first"}, user("q"), {"role": "developer", "content": "later"}, user("b")]));
    for (knows, roles) in
        [(true, ["developer", "user", "developer", "user"]), (false, ["system", "user", "system", "user"])]
    {
        let sent = send(CHAT, CHAT, &body, |facts| facts.developer_role = knows).unwrap();
        let written: Vec<&Value> =
            sent.body["messages"].as_array().unwrap().iter().map(|message| &message["role"]).collect();
        assert_eq!(written, roles);
    }
}

#[test]
fn trap_e13_the_limit_is_said_as_the_server_knows_it() {
    for (fields, limit) in [
        (json!({"max_completion_tokens": 5}), 5),
        (json!({"max_tokens": 6}), 6),
        (json!({"max_tokens": 6, "max_completion_tokens": 5}), 5),
        (json!({"max_completion_tokens": 5, "max_tokens": null}), 5),
    ] {
        let mut body = json!({"model": "m", "messages": [user("q")]});
        body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        for (legacy, key, other) in
            [(true, "max_tokens", "max_completion_tokens"), (false, "max_completion_tokens", "max_tokens")]
        {
            let sent = send(CHAT, CHAT, &body, |facts| facts.legacy_max_tokens = legacy).unwrap().body;
            assert_eq!((&sent[key], sent.get(other)), (&json!(limit), None), "{fields}");
        }
        assert_eq!(to_messages(&body, as_it_is).body["max_tokens"], limit);
    }
}

#[test]
fn traps_e21_e22_every_image_in_order_and_as_its_bytes_tell() {
    let url = |url: String| json!({"type": "image_url", "image_url": {"url": url}});
    let body = chat(json!([user(json!([
        {"type": "text", "text": "a"},
        url(format!("data:image/png;base64,{PNG}")),
        {"type": "text", "text": "b"},
        // Declared as what it is not.
        url(format!("data:image/png;base64,{JPEG}")),
        url("https://h/3.png".to_owned()),
    ]))]));
    let blocks = to_messages(&body, as_it_is).body["messages"][0]["content"].clone();
    let seen: Vec<String> = blocks
        .as_array()
        .unwrap()
        .iter()
        .map(|block| {
            format!(
                "{}{}",
                block["text"].as_str().unwrap_or_default(),
                block["source"]["media_type"].as_str().or(block["source"]["url"].as_str()).unwrap_or_default()
            )
        })
        .collect();
    assert_eq!(seen, ["a", "image/png", "b", "image/jpeg", "https://h/3.png"]);
    let back = json!({"model": "m", "max_tokens": 9, "messages": [user(json!([picture(),
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": JPEG}}]))]});
    let parts = to_chat(&back, as_it_is).body["messages"][0]["content"].clone();
    assert!(parts[0]["image_url"]["url"].as_str().unwrap().starts_with("data:image/png;"));
    assert!(parts[1]["image_url"]["url"].as_str().unwrap().starts_with("data:image/jpeg;"));
}

#[test]
fn a_message_whose_only_part_is_lost_is_not_empty() {
    let video = json!({"fileData": {"mimeType": "video/mp4", "fileUri": "https://youtu.be/x"}});
    let inline = json!({"inlineData": {"mimeType": "video/mp4", "data": "AAAA"}});
    let sound = json!({"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}});
    let from_gemini = |part: Value| json!({"contents": [{"role": "user", "parts": [part]}]});
    let responses = Format::OpenaiResponses;
    for (from, to, body) in [
        (Format::GeminiGenerate, CHAT, from_gemini(video)),
        (Format::GeminiGenerate, responses, from_gemini(inline)),
        (CHAT, responses, chat(json!([user(json!([sound]))]))),
    ] {
        let sent = send(from, to, &body, as_it_is).unwrap();
        let list = if to == CHAT { "messages" } else { "input" };
        assert_eq!(sent.body[list][0]["content"], "(empty)", "{}", sent.body);
        assert!(sent.losses.iter().any(|loss| loss.starts_with("dropped:")), "{:?}", sent.losses);
        assert!(sent.losses.contains(&"converted:turn".to_owned()), "{:?}", sent.losses);
    }
    // What an operator cannot say is left out: nobody waits for an answer to it.
    let body = chat(json!([user("q"), {"role": "system", "content": ""}, user("r")]));
    for (to, list) in [(CHAT, "messages"), (responses, "input")] {
        assert_eq!(send(CHAT, to, &body, as_it_is).unwrap().body[list].as_array().unwrap().len(), 2);
    }
}

#[test]
fn a_search_result_is_words_for_gemini() {
    let found = json!({"type": "search_result", "source": "https://h", "title": "T", "content":
        [{"type": "text", "text": "found words"}]});
    let tool = json!({"type": "tool_use", "id": "a", "name": "f", "input": {}});
    let within = json!({"type": "tool_result", "tool_use_id": "a", "content": [found]});
    for rich in [true, false] {
        for (messages, at) in [
            (json!([user(json!([found]))]), 0),
            (json!([user("q"), {"role": "assistant", "content": [tool]}, user(json!([within]))]), 2),
        ] {
            let rich_results = |facts: &mut crate::Facts| facts.rich_results = rich;
            let sent = send(MESSAGES, Format::GeminiGenerate, &chat(messages), rich_results).unwrap();
            let content = sent.body["contents"][at].to_string();
            assert!(content.contains("found words") && !content.contains("(empty)"), "{content}");
            assert_eq!(sent.body["contents"].as_array().unwrap().len(), at + 1);
            assert!(sent.losses.contains(&"converted:search_result".to_owned()), "{:?}", sent.losses);
            assert!(!sent.losses.iter().any(|loss| loss.starts_with("dropped:")), "{:?}", sent.losses);
        }
    }
}

#[test]
fn sound_that_the_vendor_does_not_take_is_dropped() {
    let sound = |kind: &str| {
        json!({"contents": [{"role": "user", "parts": [
            {"text": "q"}, {"inlineData": {"mimeType": kind, "data": "AAAA"}}]}]})
    };
    for (kind, format) in [("audio/mpeg", "mp3"), ("audio/x-wav", "wav"), ("audio/flac", ""), ("audio/ogg", "")] {
        let sent = send(Format::GeminiGenerate, CHAT, &sound(kind), as_it_is).unwrap();
        let said = sent.body["messages"][0]["content"][1]["input_audio"]["format"].as_str().unwrap_or_default();
        assert_eq!((said, sent.losses.contains(&"dropped:audio".to_owned())), (format, format.is_empty()), "{kind}");
    }
    // A client of a server with more of them knows what it does.
    let own = json!({"type": "input_audio", "input_audio": {"data": "AAAA", "format": "flac"}});
    let sent = send(CHAT, CHAT, &chat(json!([user(json!([own]))])), as_it_is).unwrap();
    assert_eq!((&sent.body["messages"][0]["content"][0], sent.losses.len()), (&own, 0));
}

#[test]
fn a_file_by_its_address_is_no_base64() {
    for address in ["https://h/a.pdf", "HTTP://h/a"] {
        let file = json!({"type": "file", "file": {"filename": "a.pdf", "file_data": address}});
        let body = chat(json!([user(json!([file]))]));
        let blocks = to_messages(&body, as_it_is).body["messages"][0]["content"].clone();
        assert_eq!(blocks[0]["source"], json!({"type": "url", "url": address}));
        let input = send(CHAT, Format::OpenaiResponses, &body, as_it_is).unwrap().body["input"].clone();
        assert_eq!(input[0]["content"][0]["file_url"], address, "{input}");
        let own = send(CHAT, CHAT, &body, as_it_is).unwrap().body["messages"].clone();
        assert_eq!(own, body["messages"]);
        let gemini = send(CHAT, Format::GeminiGenerate, &body, as_it_is);
        let said = gemini.map(|sent| sent.body.to_string());
        assert!(!said.as_ref().is_ok_and(|body| body.contains("inlineData")), "{said:?}");
    }
    let body = json!({"model": "m", "max_tokens": 9, "messages": [user(json!([
        {"type": "document", "source": {"type": "url", "url": "https://h/a.pdf"}}]))]});
    assert_eq!(send(MESSAGES, CHAT, &body, as_it_is).unwrap_err().status, 400);
}

#[test]
fn trap_e15_stops_however_they_are_said() {
    for (stop, sent) in
        [(json!("END"), json!(["END"])), (json!(["a", "b"]), json!(["a", "b"])), (json!(null), Value::Null)]
    {
        let mut body = chat(json!([user("q")]));
        body["stop"] = stop;
        assert_eq!(to_messages(&body, as_it_is).body["stop_sequences"], sent);
    }
    let body =
        json!({"model": "m", "max_tokens": 9, "messages": [user("q")], "stop_sequences": ["1", "2", "3", "4", "5"]});
    let sent = to_chat(&body, as_it_is);
    assert_eq!((&sent.body["stop"], sent.losses), (&json!(["1", "2", "3", "4"]), vec!["converted:stop".to_owned()]));
}

#[test]
fn trap_f6_a_stream_is_asked_for_its_usage_where_that_is_known() {
    for (knows, asked) in [(true, json!({"include_usage": true})), (false, Value::Null)] {
        let mut body = chat(json!([user("q")]));
        body["stream"] = json!(true);
        let sent = send(CHAT, CHAT, &body, |facts| facts.stream_options = knows).unwrap();
        assert_eq!(sent.body["stream_options"], asked);
        // The client did not ask, and is not shown it.
        assert!(!sent.reply.include_usage);
    }
}

#[test]
fn a_choice_among_no_tools_is_none() {
    let mut body = chat(json!([user("q")]));
    body["tool_choice"] = json!({"type": "auto"});
    let sent = to_chat(&body, as_it_is);
    assert_eq!(sent.body.get("tool_choice"), None);
    assert_eq!(sent.losses, ["dropped:tool_choice"]);
}

#[test]
fn a_field_of_an_operators_message_is_no_field_of_the_request() {
    let body = json!({
        "model": "m",
        "messages": [{"role": "system", "content": "s", "model": "sneaked", "note": 1}, {"role": "user", "content": "q"}],
    });
    let sent = send(CHAT, CHAT, &body, as_it_is).unwrap();
    assert_eq!((&sent.body["model"], sent.body.get("note")), (&json!("target-model"), None));
    assert_eq!(sent.body.as_object().unwrap().keys().filter(|key| key.contains("instructions")).count(), 0);
    assert_eq!(sent.losses, ["dropped:unknown", "dropped:unknown"]);
}

/// The deprecated form has no ids: a result is that of the last call of its name. Work grows with the results, not
/// with their square.
#[test]
fn results_without_an_id_find_the_last_call_of_their_name() {
    let called = |name: &str| json!({"role": "assistant", "function_call": {"name": name, "arguments": "{}"}});
    let result = |name: &str| json!({"role": "function", "name": name, "content": "r"});
    let said = [called("f"), called("g"), called("f"), result("g"), result("f"), result("h"), called("g"), result("g")];
    let read = |messages: &[Value]| -> Vec<String> {
        let body = json!({"model": "m", "messages": messages}).to_string();
        let seal = Seal::new(KEY);
        let head = RequestHead { api_version: None, betas: None, line: crate::Line::default(), seal: &seal };
        let request = wire(CHAT).read_request(body.as_bytes(), &head).unwrap();
        let ids = request.turns.iter().flat_map(|turn| &turn.blocks).filter_map(|block| match &block.kind {
            BlockKind::ToolCall { id, .. } | BlockKind::ToolResult { id, .. } => Some(id.to_string()),
            _ => None,
        });
        ids.collect()
    };
    let ids = read(&said);
    assert!(ids[0] != ids[2] && ids[1] != ids[6], "{ids:?}");
    // The result of the call right before stands first.
    assert_eq!(ids[3..6], [ids[2].clone(), ids[1].clone(), crate::hub::ids::derived("call_", "h")]);
    assert_eq!(ids[7], ids[6]);
    let many: Vec<Value> = (0..25_000).map(|_| called("f")).chain((0..25_000).map(|_| result("h"))).collect();
    assert_eq!(read(&many).len(), 50_000);
}
