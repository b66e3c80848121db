//! Calls of tools in answers that are odd: broken off, mistyped, without an id.

use serde_json::{Value, json};

use super::answers::{data, named, streamed, whole};
use crate::hub::Field;
use crate::{Format, Gatherer, Opening, Seen, Undo};

use Format::{AnthropicMessages as A, GeminiGenerate as G, OpenaiChat as C, OpenaiResponses as R};

fn call(arguments: &str) -> Value {
    json!({"index": 0, "id": "c", "type": "function", "function": {"name": "f", "arguments": arguments}})
}

/// A chat answer, whole and as a stream, with these fields of the message and this end.
fn chat(fields: &Value, finish: &Value) -> (Value, String) {
    let mut message = json!({"role": "assistant"});
    message.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    let whole = json!({"id": "c", "choices": [{"index": 0, "message": message, "finish_reason": finish}]});
    let piece = |delta: &Value, finish: &Value| json!({"id": "c", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]});
    (whole, data(&[piece(&message, &Value::Null), piece(&json!({}), finish)]) + "data: [DONE]\n\n")
}

/// A message with one call, whole and as a stream.
fn message(input: &str, stop: &str) -> (Value, String) {
    let block = json!({"type": "tool_use", "id": "t", "name": "f", "input": input});
    let whole = json!({"id": "m", "type": "message", "role": "assistant", "model": "c", "content": [block],
        "stop_reason": stop, "usage": {"input_tokens": 1, "output_tokens": 1}});
    let begin = json!({"id": "m", "type": "message", "role": "assistant", "model": "c", "content": []});
    let events = [
        json!({"type": "message_start", "message": begin}),
        json!({"type": "content_block_start", "index": 0,
            "content_block": {"type": "tool_use", "id": "t", "name": "f", "input": {}}}),
        json!({"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": input}}),
        json!({"type": "content_block_stop", "index": 0}),
        json!({"type": "message_delta", "delta": {"stop_reason": stop}, "usage": {"output_tokens": 1}}),
        json!({"type": "message_stop"}),
    ];
    (whole, named(&events))
}

/// True where the answer is one for a client of `to`: whole, streamed, and a stream that was gathered.
fn is_answer((from, to): (Format, Format), (body, stream): &(Value, String)) -> [bool; 3] {
    let mut gatherer = Gatherer::new(from, Undo::default());
    let gathered = gatherer.chunk(stream.as_bytes()).is_ok() && gatherer.finish(to, &super::answers::reply()).is_ok();
    let (_, outcome) = streamed((from, to), stream);
    assert_eq!(outcome.complete, outcome.fault.is_none());
    [whole((from, to), body).is_ok(), outcome.complete, gathered]
}

#[test]
fn a_call_is_run_under_an_unknown_end_only_where_it_is_whole() {
    for (word, arguments, runs) in [
        ("brand_new", r#"{"a":1}"#, true),
        ("brand_new", "", true),
        ("brand_new", r#"{"a":"#, false),
        ("brand_new", r#"{"a":1}{"a":1}"#, false),
        ("error", r#"{"a":1}"#, false),
        ("abort", r#"{"a":1}"#, false),
    ] {
        let answers =
            [(C, chat(&json!({"tool_calls": [call(arguments)]}), &json!(word))), (A, message(arguments, word))];
        for (from, answer) in answers {
            for to in Format::ALL.into_iter().filter(|to| *to != from) {
                assert_eq!(is_answer((from, to), &answer), [runs; 3], "{from:?} {to:?} {word} {arguments}");
                if runs {
                    let said = json!(streamed((from, to), &answer.1).0).to_string();
                    let end = match to {
                        A => r#""stop_reason":"tool_use""#,
                        C => r#""finish_reason":"tool_calls""#,
                        R => r#""status":"completed""#,
                        G => r#""finishReason":"STOP""#,
                    };
                    assert!(said.contains(end), "{from:?} {to:?} {word}: {said}");
                }
            }
        }
    }
}

#[test]
fn a_stream_of_half_a_call_is_held_until_its_unknown_end_is_known() {
    for (arguments, is_answer) in [("", true), (r#"{"a":1}"#, true), (r#"{"a":"#, true)] {
        let mut opening = Opening::new(C, false);
        let (_, stream) = chat(&json!({"tool_calls": [call(arguments)]}), &json!("brand_new"));
        opening.chunk(stream.as_bytes());
        assert_eq!(opening.finish() == Seen::Content, is_answer, "{arguments}");
    }
}

#[test]
fn arguments_that_break_off_are_no_finished_call() {
    let answer = chat(&json!({"tool_calls": [call(r#"{"a":"#)]}), &json!("tool_calls"));
    assert_eq!(is_answer((C, A), &answer), [false; 3]);
    for said in [whole((C, G), &answer.0).unwrap().0, json!(streamed((C, G), &answer.1).0)] {
        let said = said.to_string();
        assert!(said.contains("MALFORMED_FUNCTION_CALL") && !said.contains("functionCall"), "{said}");
    }
    let (body, _) = whole((C, R), &answer.0).unwrap();
    assert_eq!(body["output"][0]["status"], "incomplete", "{body}");
    let (events, _) = streamed((C, R), &answer.1);
    let done = events.iter().find(|event| event["type"] == "response.output_item.done").unwrap();
    assert_eq!(done["item"]["status"], "incomplete", "{done}");
}

#[test]
fn one_call_without_its_list_is_a_list_of_one() {
    let answer = chat(&json!({"tool_calls": call("{\"a\":1}")}), &json!("tool_calls"));
    let listed = chat(&json!({"tool_calls": [call("{\"a\":1}")]}), &json!("tool_calls"));
    for to in [A, R, G] {
        assert_eq!(whole((C, to), &answer.0).unwrap(), whole((C, to), &listed.0).unwrap(), "{to:?}");
        assert_eq!(streamed((C, to), &answer.1).0, streamed((C, to), &listed.1).0, "{to:?}");
    }
}

#[test]
fn content_without_its_list_is_a_part() {
    let answer = chat(&json!({"content": {"type": "text", "text": "hi"}}), &json!("stop"));
    for to in [A, R, G] {
        assert!(whole((C, to), &answer.0).unwrap().0.to_string().contains("\"hi\""), "{to:?}");
        assert!(json!(streamed((C, to), &answer.1).0).to_string().contains("\"hi\""), "{to:?}");
    }
}

#[test]
fn members_of_another_kind_are_told_and_no_call() {
    for (fields, field) in [
        (json!({"content": 7}), Field::Unknown),
        (json!({"content": "a", "refusal": {"text": "no"}}), Field::Unknown),
        (json!({"content": "a", "reasoning": {"content": "why"}}), Field::Unknown),
        (json!({"content": "a", "reasoning_content": ["why"]}), Field::Unknown),
        (json!({"content": "a", "reasoning_details": {"text": "why"}}), Field::Unknown),
        (json!({"content": "a", "tool_calls": "f()"}), Field::ToolCall),
        (json!({"content": "a", "function_call": "f()"}), Field::ToolCall),
        (json!({"content": "a", "annotations": {"url": "u"}}), Field::Citations),
        (json!({"content": "a", "audio": "UklGRg=="}), Field::Audio),
    ] {
        let (body, stream) = chat(&fields, &json!("tool_calls"));
        for to in [A, R, G] {
            let (answer, losses) = whole((C, to), &body).unwrap();
            assert!(losses.contains(&field), "{to:?} {fields}: {losses:?}");
            let (events, outcome) = streamed((C, to), &stream);
            assert!(outcome.dropped.contains(&field), "{to:?} {fields}: {outcome:?}");
            let said = [answer.to_string(), json!(events).to_string()].concat();
            assert!(!said.contains("\"stop_reason\":\"tool_use\""), "{to:?} {fields}: {said}");
        }
    }
    let piece =
        json!({"id": "c", "choices": [{"index": 0, "delta": "words", "logprobs": [1], "finish_reason": "stop"}]});
    let (_, outcome) = streamed((C, A), &data(&[piece]));
    assert!([Field::Unknown, Field::Logprobs].iter().all(|field| outcome.dropped.contains(field)), "{outcome:?}");
}

#[test]
fn that_an_answer_was_cut_is_not_taken_back() {
    for (words, stop) in [
        (["length", "stop"], "max_tokens"),
        (["stop", "length"], "max_tokens"),
        (["content_filter", "stop"], "refusal"),
        (["tool_calls", "stop"], "end_turn"),
    ] {
        let piece = |word: &str| json!({"id": "c", "choices": [{"index": 0, "delta": {"content": "a"}, "finish_reason": word}]});
        let (events, _) = streamed((C, A), &data(&words.map(piece)));
        assert!(json!(events).to_string().contains(&format!("\"stop_reason\":\"{stop}\"")), "{words:?}: {events:?}");
    }
}

#[test]
fn a_call_of_messages_may_come_whole_as_text_and_without_an_id() {
    let begin = |id: &str| json!({"id": id, "type": "message", "role": "assistant", "model": "c", "content": []});
    let mut ids = Vec::new();
    for answer in ["m1", "m2"] {
        let blocks =
            [json!({"type": "tool_use", "name": "f", "input": "{\"a\":1}"}), json!({"type": "tool_use", "name": "f"})];
        let mut events = vec![json!({"type": "message_start", "message": begin(answer)})];
        for (index, block) in blocks.iter().enumerate() {
            events.push(json!({"type": "content_block_start", "index": index, "content_block": block}));
            events.push(json!({"type": "content_block_stop", "index": index}));
        }
        events.push(
            json!({"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 1}}),
        );
        events.push(json!({"type": "message_stop"}));
        let mut body = begin(answer);
        (body["content"], body["stop_reason"]) = (json!(blocks), json!("tool_use"));
        let calls = whole((A, C), &body).unwrap().0["choices"][0]["message"]["tool_calls"].clone();
        assert_eq!(calls[0]["function"]["arguments"], "{\"a\":1}");
        let mut gatherer = Gatherer::new(A, Undo::default());
        gatherer.chunk(named(&events).as_bytes()).unwrap();
        let gathered = gatherer.finish(C, &super::answers::reply()).unwrap();
        let gathered: Value = serde_json::from_slice(&gathered.body).unwrap();
        assert_eq!(gathered["choices"][0]["message"]["tool_calls"], calls);
        ids.extend(calls.as_array().unwrap().iter().map(|call| call["id"].as_str().unwrap().to_owned()));
    }
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 4, "{ids:?}");
}
