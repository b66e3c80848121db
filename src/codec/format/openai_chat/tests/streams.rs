//! Streams of this format, read and written, with all that servers do to them.

use serde_json::{Value, json};

use super::{CHAT, MESSAGES, accumulated, chunk, chunks, events, finish, frames, reply, stream, stream_for};
use crate::format::Reply;

/// The names of a messages stream's events, with what a block is.
pub(super) fn shape(stream: &str) -> Vec<String> {
    let name = |(name, data): (String, Value)| match name.as_str() {
        "content_block_start" => format!("+{}:{}", data["index"], data["content_block"]["type"].as_str().unwrap()),
        "content_block_delta" => format!("{}", data["index"]),
        "content_block_stop" => format!("-{}", data["index"]),
        _ => name,
    };
    frames(MESSAGES, stream).into_iter().map(name).collect()
}

/// The input of every tool call of a messages stream, by index.
fn inputs(stream: &str) -> Vec<String> {
    let mut inputs: Vec<(Value, String)> = Vec::new();
    for (name, data) in frames(MESSAGES, stream) {
        if name == "content_block_start" && data["content_block"]["type"] == "tool_use" {
            inputs.push((data["index"].clone(), String::new()));
        }
        if let (Some((index, input)), Some(piece)) = (inputs.last_mut(), data["delta"]["partial_json"].as_str()) {
            assert_eq!(*index, data["index"]);
            input.push_str(piece);
        }
    }
    inputs.into_iter().map(|(_, input)| input).collect()
}

/// A stream of messages: each event by its name.
fn messages(events: &[Value]) -> String {
    let start = json!({"type": "message_start", "message": {"id": "msg_1", "type": "message", "role": "assistant",
        "model": "up", "content": [], "stop_reason": null, "usage": {"input_tokens": 317, "cache_creation_input_tokens": 4425,
        "output_tokens": 1}}});
    let all = std::iter::once(&start).chain(events);
    all.map(|data| format!("event: {}\ndata: {data}\n\n", data["type"].as_str().unwrap())).collect::<Vec<_>>().concat()
}

fn begin(index: u64, block: Value) -> Value {
    json!({"type": "content_block_start", "index": index, "content_block": block})
}

fn delta(index: u64, delta: Value) -> Value {
    json!({"type": "content_block_delta", "index": index, "delta": delta})
}

fn end(index: u64) -> Value {
    json!({"type": "content_block_stop", "index": index})
}

fn ended(reason: &str) -> [Value; 2] {
    let usage = json!({"input_tokens": 317, "cache_creation_input_tokens": 4425, "output_tokens": 9});
    [
        json!({"type": "message_delta", "delta": {"stop_reason": reason, "stop_sequence": null}, "usage": usage}),
        json!({"type": "message_stop"}),
    ]
}

pub(super) fn words(text: &str) -> String {
    chunk(&json!({"content": text}).to_string())
}

fn call(index: u64, id: &str, name: &str, arguments: &str) -> String {
    chunk(
        &json!({"tool_calls": [{"index": index, "id": id, "type": "function",
            "function": {"name": name, "arguments": arguments}}]})
        .to_string(),
    )
}

fn piece(index: u64, arguments: &str) -> String {
    chunk(&json!({"tool_calls": [{"index": index, "function": {"arguments": arguments}}]}).to_string())
}

/// Id, name and arguments of every call that a reader finds.
fn calls(data: &[&str]) -> Vec<[String; 3]> {
    let mut data = data.to_vec();
    let last = finish("tool_calls");
    data.extend([last.as_str(), "[DONE]"]);
    // Written again and folded as an SDK would: whatever was doubled shows.
    let message = accumulated(&stream(CHAT, CHAT, &chunks(&data)))["message"].clone();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let calls = message["tool_calls"].as_array().cloned().unwrap_or_default();
    calls
        .iter()
        .map(|call| [text(&call["id"]), text(&call["function"]["name"]), text(&call["function"]["arguments"])])
        .collect()
}

#[test]
fn trap_a1_a_cut_stream_does_not_look_complete() {
    let cut = chunks(&[&words("a"), &words("b")]);
    let written = stream(CHAT, MESSAGES, &cut);
    assert_eq!(shape(&written), ["message_start", "+0:text", "0", "0", "error"]);
    assert!(!written.contains("message_stop"), "{written}");
}

#[test]
fn trap_a2_a_cut_stream_ends_in_an_error_line() {
    for to in [
        // A stream that never said anything is cut, too.
        &[][..],
        &[USAGE.to_owned()],
        &[words("a")],
        &[words("a"), call(0, "c", "f", "{\"a\"")],
    ] {
        let data: Vec<&str> = to.iter().map(String::as_str).collect();
        let written = stream(CHAT, CHAT, &chunks(&data));
        let last = frames(CHAT, &written).pop().unwrap().1;
        assert_eq!(last["error"]["code"], "stream_incomplete");
        assert!(!written.contains("[DONE]") && accumulated(&written)["finish_reason"].is_null(), "{written}");
    }
}

#[test]
fn trap_a5_the_end_may_lack_its_mark() {
    let data = chunks(&[&words("a"), &finish("stop")]);
    let written = stream(CHAT, CHAT, &data);
    assert!(written.ends_with("data: [DONE]\n\n"), "{written}");
    assert_eq!(accumulated(&written)["finish_reason"], "stop");
    assert_eq!(shape(&stream(CHAT, MESSAGES, &data)).last().unwrap(), "message_stop");
}

#[test]
fn trap_a6_the_end_may_lack_its_reason() {
    let spoken = chunks(&[&words("a"), "[DONE]"]);
    assert_eq!(accumulated(&stream(CHAT, CHAT, &spoken))["finish_reason"], "stop");
    let called = chunks(&[&call(0, "c", "f", "{}"), "[DONE]"]);
    assert_eq!(accumulated(&stream(CHAT, CHAT, &called))["finish_reason"], "tool_calls");
}

#[test]
fn traps_a7_a8_an_error_is_one_wherever_it_stands() {
    for data in [
        r#"{"error":{"message":"quota","code":429}}"#,
        r#"{"id":"x","choices":[],"error":{"message":"quota","code":429}}"#,
        r#"{"id":"x","choices":[{"index":0,"delta":{"content":""},"finish_reason":"error"}],"error":{"message":"quota","code":429}}"#,
        r#"{"object":"error","message":"quota","code":429}"#,
    ] {
        let first = stream(CHAT, MESSAGES, &chunks(&[data]));
        assert_eq!(shape(&first).last().unwrap(), "error", "{data}");
        assert!(first.contains("quota") && first.contains("rate_limit_error"), "{first}");
        let later = stream(CHAT, MESSAGES, &chunks(&[&words("a"), data, "[DONE]"]));
        assert_eq!(shape(&later), ["message_start", "+0:text", "0", "error"], "{data}");
    }
}

#[test]
fn trap_a9_an_error_event_is_the_last_line() {
    let mut up = messages(&[
        begin(0, json!({"type": "text", "text": ""})),
        delta(0, json!({"type": "text_delta", "text": "a"})),
    ]);
    up.push_str(
        "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"busy\"}}\n\n",
    );
    let written = stream(MESSAGES, CHAT, &up);
    let last = frames(CHAT, &written).pop().unwrap().1;
    // The provider's own word is kept as the code.
    assert_eq!((&last["error"]["message"], &last["error"]["code"]), (&json!("busy"), &json!("overloaded_error")));
}

#[test]
fn trap_b1_interleaved_calls_stay_apart() {
    let data = [
        chunk(
            r#"{"tool_calls":[{"index":0,"id":"a","type":"function","function":{"name":"f","arguments":""}},{"index":1,"id":"b","type":"function","function":{"name":"g","arguments":""}}]}"#,
        ),
        piece(0, "{\"x\":"),
        piece(1, "{\"y\":[1"),
        piece(0, "1}"),
        piece(1, ",2]}"),
        finish("tool_calls"),
        "[DONE]".to_owned(),
    ];
    let data: Vec<&str> = data.iter().map(String::as_str).collect();
    let written = stream(CHAT, MESSAGES, &chunks(&data));
    assert_eq!(inputs(&written), ["{\"x\":1}", "{\"y\":[1,2]}"]);
    let blocks: Vec<String> = shape(&written).into_iter().filter(|name| name.starts_with(['+', '-'])).collect();
    assert_eq!(blocks, ["+0:tool_use", "-0", "+1:tool_use", "-1"]);
}

fn two_calls() -> String {
    let call = |id| json!({"type": "tool_use", "id": id, "name": "f", "input": {}});
    let mut all = vec![
        begin(0, json!({"type": "text", "text": ""})),
        delta(0, json!({"type": "text_delta", "text": "t"})),
        end(0),
        begin(1, call("toolu_1")),
        delta(1, json!({"type": "input_json_delta", "partial_json": "{\"a\""})),
        delta(1, json!({"type": "input_json_delta", "partial_json": ":1}"})),
        end(1),
        begin(2, call("toolu_2")),
        delta(2, json!({"type": "input_json_delta", "partial_json": ""})),
        end(2),
    ];
    all.extend(ended("tool_use"));
    messages(&all)
}

#[test]
fn traps_b2_b3_calls_count_from_nothing_and_name_themselves_once() {
    let message = accumulated(&stream(MESSAGES, CHAT, &two_calls()))["message"].clone();
    assert_eq!(message["role"], "assistant");
    let call = |index: u64, id: &str, arguments: &str| json!({"index": index, "id": id, "type": "function", "function": {"name": "f", "arguments": arguments}});
    assert_eq!(message["tool_calls"], json!([call(0, "toolu_1", "{\"a\":1}"), call(1, "toolu_2", "{}")]));
}

#[test]
fn traps_b4_b7_whose_piece_is_it() {
    let one = [["a".to_owned(), "f".to_owned(), "{\"x\":1}".to_owned()]];
    // B3, B4: id and name in every piece.
    assert_eq!(calls(&[&call(0, "a", "f", "{\"x\""), &call(0, "a", "f", ":1}")]), one);
    // B5: a new id with every piece, and no name.
    let noise = chunk(r#"{"tool_calls":[{"index":0,"id":"b","function":{"arguments":":1}"}}]}"#);
    assert_eq!(calls(&[&call(0, "a", "f", "{\"x\""), &noise]), one);
    // B6: one index for two calls.
    let two = calls(&[&call(0, "a", "f", "{}"), &call(0, "b", "g", "{}")]);
    assert_eq!(two.iter().map(|call| call[1].as_str()).collect::<Vec<_>>(), ["f", "g"]);
    // B7: two entries of one index in one chunk.
    let both =
        chunk(r#"{"tool_calls":[{"index":0,"function":{"arguments":":"}},{"index":0,"function":{"arguments":"1}"}}]}"#);
    assert_eq!(calls(&[&call(0, "a", "f", "{\"x\""), &both]), one);
    // No index at all.
    let bare =
        chunk(r#"{"tool_calls":[{"id":"a","type":"function","function":{"name":"f","arguments":"{\"x\":1}"}}]}"#);
    assert_eq!(calls(&[&bare]), one);
    // Pieces in front of the name.
    assert_eq!(calls(&[&piece(0, "{\"x\""), &call(0, "a", "f", ":1}")]), one);
    // The arguments as an object.
    let object = chunk(r#"{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":{"x":1}}}]}"#);
    assert_eq!(calls(&[&object]), one);
}

#[test]
fn a_name_tells_calls_apart_where_neither_index_nor_id_does() {
    let entry = |place: &str, name: &str, arguments: &str| {
        format!(r#"{{{place}"function":{{"name":{name:?},"arguments":{arguments:?}}}}}"#)
    };
    let pieces = |entries: &[String]| -> Vec<String> {
        entries.iter().map(|entry| chunk(&format!(r#"{{"tool_calls":[{entry}]}}"#))).collect()
    };
    let (same, none, first) = (r#""index":0,"id":"","#, r#""id":null,"#, r#""id":"a","#);
    let (x, y) = (r#"{"x":1}"#, r#"{"x":2}"#);
    for (entries, expected) in [
        // One index, no ids.
        (vec![entry(same, "f", x), entry(same, "g", y)], vec![["f", x], ["g", y]]),
        (vec![entry(same, "f", x), entry(same, "f", y)], vec![["f", x], ["f", y]]),
        (vec![entry(same, "f", x), entry(same, "g", ""), entry(same, "g", y)], vec![["f", x], ["g", y]]),
        (vec![entry(same, "f", r#"{"x""#), entry(same, "f", ":1}")], vec![["f", x]]),
        (vec![entry(same, "f", x), entry(same, "f", "")], vec![["f", x]]),
        // No index, and the id comes once.
        (vec![entry(first, "f", ""), entry(none, "f", r#"{"x":"#), entry(none, "f", "1}")], vec![["f", x]]),
        (vec![entry(first, "f", r#"{"x":"#), entry(none, "f", "1}"), entry(none, "f", y)], vec![["f", x], ["f", y]]),
        (vec![entry(first, "f", x), entry(none, "g", y)], vec![["f", x], ["g", y]]),
        // No index and no id.
        (vec![entry(none, "f", x), entry(none, "f", x)], vec![["f", x], ["f", x]]),
        (vec![entry(none, "f", r#"{"x":"#), entry(none, "f", "1}")], vec![["f", x]]),
    ] {
        for data in [pieces(&entries), pieces(&[entries.join(",")])] {
            let found = calls(&data.iter().map(String::as_str).collect::<Vec<_>>());
            let found: Vec<[&str; 2]> = found.iter().map(|[_, name, arguments]| [name.as_str(), arguments]).collect();
            assert_eq!(found, expected, "{entries:?}");
        }
    }
}

#[test]
fn trap_b17_thinking_ends_where_words_begin() {
    let data = chunks(&[
        &chunk(r#"{"role":"assistant","content":null,"reasoning_content":"why"}"#),
        &chunk(r#"{"content":"what","reasoning_content":null}"#),
        &finish("stop"),
        "[DONE]",
    ]);
    // The second delta of the thinking block is its signature.
    let expected =
        ["message_start", "+0:thinking", "0", "0", "-0", "+1:text", "1", "-1", "message_delta", "message_stop"];
    assert_eq!(shape(&stream(CHAT, MESSAGES, &data)), expected);
}

const USAGE: &str =
    r#"{"id":"chatcmpl-1","choices":[],"usage":{"prompt_tokens":9,"completion_tokens":3,"total_tokens":12}}"#;

#[test]
fn traps_b19_b20_usage_is_no_end_and_no_choice() {
    let data = chunks(&[USAGE, &words("a"), &finish("stop"), USAGE, "[DONE]"]);
    let written = stream(CHAT, MESSAGES, &data);
    let expected = ["message_start", "+0:text", "0", "-0", "message_delta", "message_stop"];
    assert_eq!(shape(&written), expected);
    let frames = frames(MESSAGES, &written);
    let usage = &frames[frames.len() - 2].1["usage"];
    assert_eq!((&usage["input_tokens"], &usage["output_tokens"]), (&json!(9), &json!(3)));
}

#[test]
fn traps_b21_b22_usage_has_a_chunk_of_its_own_if_asked_for() {
    let up = two_calls();
    let (asked, _) = stream_for(reply(), MESSAGES, CHAT, &up);
    let all = frames(CHAT, &asked);
    let usage = &all[all.len() - 2].1;
    assert_eq!((&usage["choices"], &usage["usage"]["total_tokens"]), (&json!([]), &json!(4742 + 9)));
    assert!(all[..all.len() - 2].iter().all(|(_, data)| data.get("usage") == Some(&Value::Null)));
    let (unasked, _) = stream_for(Reply { include_usage: false, ..reply() }, MESSAGES, CHAT, &up);
    assert!(!unasked.contains("usage"), "{unasked}");
}

#[test]
fn traps_b23_b24_filters_speak_without_an_answer() {
    let data = chunks(&[
        r#"{"choices":[],"created":0,"id":"","model":"","object":"","prompt_filter_results":[{"prompt_index":0}]}"#,
        &words("a"),
        &finish("stop"),
        r#"{"choices":[{"content_filter_offsets":{"check_offset":1},"content_filter_results":{},"finish_reason":null,"index":0}],"created":0,"id":"","model":"","object":""}"#,
        "[DONE]",
    ]);
    let written = stream(CHAT, CHAT, &data);
    let ids: Vec<Value> = frames(CHAT, &written).into_iter().map(|(_, data)| data["id"].clone()).collect();
    assert!(ids.iter().all(|id| id.is_null() || id == "chatcmpl-1"), "{ids:?}");
    assert_eq!(accumulated(&written)["message"]["content"], "a");
    assert_eq!(accumulated(&written)["finish_reason"], "stop");
}

#[test]
fn trap_b34_answers_stay_apart() {
    let of = |index: u64, delta: &str| {
        format!(r#"{{"id":"c","choices":[{{"index":{index},"delta":{delta},"finish_reason":null}}]}}"#)
    };
    let end = |index: u64, word: &str| {
        format!(r#"{{"id":"c","choices":[{{"index":{index},"delta":{{}},"finish_reason":"{word}"}}]}}"#)
    };
    let data = [
        of(0, r#"{"content":"a"}"#),
        of(1, r#"{"content":"x"}"#),
        of(0, r#"{"content":"b"}"#),
        end(0, "length"),
        of(1, r#"{"content":"y"}"#),
        end(1, "stop"),
        "[DONE]".to_owned(),
    ];
    let data: Vec<&str> = data.iter().map(String::as_str).collect();
    let written = stream(CHAT, CHAT, &chunks(&data));
    let mut texts = [String::new(), String::new()];
    // F13: one end does not end the other.
    let mut ends = [Value::Null, Value::Null];
    for (_, data) in frames(CHAT, &written) {
        for choice in data["choices"].as_array().into_iter().flatten() {
            let at = usize::try_from(choice["index"].as_u64().unwrap()).unwrap();
            texts[at].push_str(choice["delta"]["content"].as_str().unwrap_or_default());
            if !choice["finish_reason"].is_null() {
                ends[at] = choice["finish_reason"].clone();
            }
        }
    }
    assert_eq!((texts, ends), (["ab".to_owned(), "xy".to_owned()], [json!("length"), json!("stop")]));
}

#[test]
fn traps_c1_c2_a_call_without_arguments_has_an_empty_object() {
    let data = chunks(&[
        &chunk(r#"{"tool_calls":[{"index":0,"id":"a","type":"function","function":{"name":"f"}}]}"#),
        &finish("tool_calls"),
        "[DONE]",
    ]);
    let written = stream(CHAT, MESSAGES, &data);
    assert_eq!(inputs(&written), [""]);
    let start = frames(MESSAGES, &written).into_iter().find(|(name, _)| name == "content_block_start").unwrap().1;
    assert_eq!(start["content_block"]["input"], json!({}));
    assert_eq!(calls(&[&call(0, "a", "f", "")])[0][2], "{}");
}

#[test]
fn trap_c26_equal_ids_are_told_apart() {
    let ids: Vec<String> =
        calls(&[&call(0, "call_0", "f", "{}"), &call(1, "call_0", "g", "{}")]).into_iter().map(|[id, ..]| id).collect();
    assert_eq!(ids, ["call_0", "call_0-2"]);
}

#[test]
fn trap_d1_a_calls_signature_stands_in_front_of_it() {
    let signed = r#"{"tool_calls":[{"index":0,"id":"a","type":"function","function":{"name":"f","arguments":"{}"},"extra_content":{"google":{"thought_signature":"sig/+="}}}]}"#;
    let data = chunks(&[&words("t"), &chunk(signed), &call(1, "b", "g", "{}"), &finish("stop"), "[DONE]"]);
    let (written, lost) = stream_for(reply(), CHAT, MESSAGES, &data);
    assert_eq!(lost, Vec::<&str>::new());
    let blocks: Vec<String> = shape(&written).into_iter().filter(|name| name.starts_with('+')).collect();
    assert_eq!(blocks, ["+0:text", "+1:thinking", "+2:tool_use", "+3:tool_use"]);
    let own = accumulated(&stream(CHAT, CHAT, &data))["message"].clone();
    assert_eq!(own["tool_calls"][0]["extra_content"]["google"]["thought_signature"], "sig/+=");
    assert_eq!(own["tool_calls"][1].get("extra_content"), None);
    assert_eq!(own.get("reasoning_details"), None);
}

#[test]
fn what_is_said_aloud_is_streamed_in_words() {
    let data = chunks(&[
        &chunk(r#"{"role":"assistant","audio":{"id":"audio_1","transcript":"spo"}}"#),
        &chunk(r#"{"audio":{"data":"UklGRg=="}}"#),
        &chunk(r#"{"audio":{"transcript":"ken"}}"#),
        &finish("stop"),
        "[DONE]",
    ]);
    let (written, lost) = stream_for(reply(), CHAT, MESSAGES, &data);
    let text: String =
        frames(MESSAGES, &written).iter().filter_map(|(_, data)| data["delta"]["text"].as_str()).collect();
    assert_eq!((text.as_str(), lost), ("spoken", vec!["audio"]));
}

#[test]
fn trap_f1_snapshots_are_not_added_up() {
    let mut all = vec![
        begin(0, json!({"type": "text", "text": ""})),
        delta(0, json!({"type": "text_delta", "text": "t"})),
        end(0),
    ];
    all.extend(ended("end_turn"));
    let usage = accumulated(&stream(MESSAGES, CHAT, &messages(&all)))["usage"].clone();
    assert_eq!((&usage["prompt_tokens"], &usage["completion_tokens"]), (&json!(4742), &json!(9)));
}

#[test]
fn trap_f6_a_stream_without_usage_has_none() {
    let data = chunks(&[&words("a"), &finish("stop"), "[DONE]"]);
    assert_eq!(accumulated(&stream(CHAT, CHAT, &data))["usage"], Value::Null);
    let frames = frames(MESSAGES, &stream(CHAT, MESSAGES, &data));
    let usage = &frames[frames.len() - 2].1["usage"];
    assert_eq!((&usage["input_tokens"], &usage["output_tokens"]), (&json!(0), &json!(0)));
}

#[test]
fn traps_f8_f9_f10_f11_ends_of_a_stream() {
    let text =
        [begin(0, json!({"type": "text", "text": ""})), delta(0, json!({"type": "text_delta", "text": "t"})), end(0)];
    for (reason, word, class) in [
        ("pause_turn", "length", Some("stop_reason")),
        ("model_context_window_exceeded", "length", Some("stop_reason")),
        ("refusal", "content_filter", None),
        ("a_word_of_tomorrow", "stop", Some("stop_reason")),
    ] {
        let all: Vec<Value> = text.iter().cloned().chain(ended(reason)).collect();
        let (written, lost) = stream_for(reply(), MESSAGES, CHAT, &messages(&all));
        assert_eq!(accumulated(&written)["finish_reason"], word, "{reason}");
        assert_eq!(lost, class.into_iter().collect::<Vec<_>>(), "{reason}");
    }
    // F10: nothing was said, and still it is no empty success.
    let empty = accumulated(&stream(MESSAGES, CHAT, &messages(&ended("refusal"))));
    assert_eq!(empty["finish_reason"], "content_filter");
    // F9: what the provider's own tool did is no call.
    let mut own = vec![
        begin(0, json!({"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {}})),
        delta(0, json!({"type": "input_json_delta", "partial_json": "{\"query\":\"q\"}"})),
        end(0),
    ];
    own.extend(ended("end_turn"));
    let (written, lost) = stream_for(reply(), MESSAGES, CHAT, &messages(&own));
    let own = accumulated(&written);
    assert_eq!((own["message"].get("tool_calls"), &own["finish_reason"]), (None, &json!("stop")));
    assert_eq!(lost, ["server_tool"]);
}

#[test]
fn trap_f12_a_stream_may_say_nothing() {
    let folded = accumulated(&stream(CHAT, CHAT, &chunks(&[&finish("stop"), "[DONE]"])));
    assert_eq!((&folded["finish_reason"], &folded["message"]["role"]), (&json!("stop"), &json!("assistant")));
}

#[test]
fn trap_f14_usage_may_come_before_or_behind_the_end() {
    let both = r#"{"id":"chatcmpl-1","choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":{"prompt_tokens":9,"completion_tokens":3}}"#;
    for data in [
        vec![words("a"), finish("stop"), USAGE.to_owned()],
        vec![words("a"), USAGE.to_owned(), finish("stop")],
        vec![words("a"), both.to_owned()],
    ] {
        let data: Vec<&str> = data.iter().map(String::as_str).chain(["[DONE]"]).collect();
        let written = stream(CHAT, MESSAGES, &chunks(&data));
        let deltas: Vec<Value> = frames(MESSAGES, &written)
            .into_iter()
            .filter(|(name, _)| name == "message_delta")
            .map(|(_, data)| data)
            .collect();
        assert_eq!(deltas.len(), 1, "{written}");
        assert_eq!(
            (&deltas[0]["delta"]["stop_reason"], &deltas[0]["usage"]["input_tokens"]),
            (&json!("end_turn"), &json!(9))
        );
    }
}

#[test]
fn trap_b32_line_separators_are_escaped() {
    let written = stream(CHAT, CHAT, &chunks(&[&words("a\u{2028}b\u{85}c"), &finish("stop"), "[DONE]"]));
    assert!(written.contains(r"a\u2028b\u0085c"), "{written}");
}

#[test]
fn trap_b33_comments_are_nothing() {
    let data = format!(": OPENROUTER PROCESSING\n\n{}", chunks(&[&words("a"), &finish("stop"), "[DONE]"]));
    assert_eq!(events(&data).len(), events(&chunks(&[&words("a"), &finish("stop"), "[DONE]"])).len());
    assert_eq!(accumulated(&stream(CHAT, CHAT, &data))["message"]["content"], "a");
}

#[test]
fn trap_c25_cut_arguments_do_not_end_as_a_call() {
    let data = chunks(&[&call(0, "a", "f", "{\"x\": [1"), &finish("length"), "[DONE]"]);
    let folded = accumulated(&stream(CHAT, CHAT, &data));
    assert_eq!(folded["finish_reason"], "length");
    assert_eq!(folded["message"]["tool_calls"][0]["function"]["arguments"], "{\"x\": [1");
}

#[test]
fn a_chunk_that_is_like_the_last_means_what_it_would_mean_alone() {
    let obfuscated = |text: &str, padding: &str| {
        format!(
            r#"{{"id":"c","choices":[{{"index":0,"delta":{{"content":"{text}"}},"finish_reason":null}}],"usage":null,"obfuscation":"{padding}"}}"#
        )
    };
    let second = |text: &str| format!(r#"{{"id":"c","choices":[{{"index":1,"delta":{{"content":"{text}"}}}}]}}"#);
    let thought = |text: &str| chunk(&json!({"reasoning_content": text}).to_string());
    let both = |one: &str, other: &str| chunk(&format!(r#"{{"reasoning_content":"{one}","reasoning":"{other}"}}"#));
    let far = |text: &str| format!(r#"{{"id":"c","choices":[{{"index":900,"delta":{{"content":"{text}"}}}}]}}"#);
    let counted = |text: &str| {
        format!(
            r#"{{"id":"c","choices":[{{"index":0,"delta":{{"content":"{text}"}}}}],"usage":{{"prompt_tokens":1,"completion_tokens":2}}}}"#
        )
    };
    for data in [
        vec![words("a"), words("b"), words(""), words("\"\\\n"), words("北")],
        vec![obfuscated("a", "x"), obfuscated("b", "xyz"), obfuscated("", ""), obfuscated("c", "\\u0041")],
        vec![words("a"), second("x"), words("b"), second("y"), second("z"), far("f"), far("g")],
        vec![thought("t"), thought("u"), words("a"), thought("v"), thought("w"), words("b"), words("c")],
        vec![both("a", "a"), both("b", "b"), both("c", "b"), both("", "b")],
        vec![
            call(0, "a", "f", ""),
            piece(0, "{"),
            piece(0, "}"),
            call(1, "b", "g", ""),
            piece(1, "{"),
            piece(0, " "),
            piece(1, "}"),
        ],
        vec![call(0, "a", "f", ""), piece(0, "{}"), call(0, "b", "g", ""), piece(0, "{"), piece(0, "}")],
        vec![counted("a"), counted("b"), counted("c")],
        vec![
            words("a"),
            words("b"),
            chunk(r#"{"content":"c","refusal":"r"}"#),
            chunk(r#"{"content":"d","refusal":"r"}"#),
        ],
        vec![words("a"), words("b\u{2028}"), words("c"), finish("stop"), words("d"), words("e")],
    ] {
        // The same with a number in every chunk, so that no two are alike.
        let number = |(at, data): (usize, &String)| data.replacen('{', &format!("{{\"system_fingerprint\":{at},"), 1);
        let alone: Vec<String> = data.iter().enumerate().map(number).collect();
        let of = |data: &[String]| {
            let mut data: Vec<&str> = data.iter().map(String::as_str).collect();
            data.push("[DONE]");
            events(&chunks(&data))
        };
        assert_eq!(of(&data), of(&alone), "{data:?}");
    }
}

#[test]
fn a_chunk_that_is_like_the_last_up_to_a_fault_is_one() {
    for broken in [
        words("b").replace("null}]}", "null}]"),
        words("b").replace("\"b\"", "\"b"),
        words("b").replace("\"b\"", "\"\\x\""),
        format!("{} x", words("b")),
    ] {
        let written = stream(CHAT, CHAT, &chunks(&[&words("a"), &words("a"), &words("a"), &broken]));
        assert!(written.contains("stream_malformed"), "{broken}: {written}");
    }
}
