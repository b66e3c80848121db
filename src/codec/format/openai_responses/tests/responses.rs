//! Whole answers and the streams of the same: what is written for a client.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{OpenaiResponses, frames, reply};
use crate::Format;
use crate::format::{ReasoningWish, Reply, WireFormat as _};
use crate::hub::{
    Block, BlockKind, Candidate, Citation, Event, Field, Flavor, Head, Losses, Opaque, OpaqueKind, Response, Stop,
    ThinkingKind, Usage,
};
use crate::json::{Json, Text};
use crate::seal::{Opened, Seal};

fn text(text: &'static str) -> Block<'static> {
    Block::text(Text::from_escaped(text), 0)
}

fn thinking(text: &'static str, kind: ThinkingKind) -> Block<'static> {
    Block::new(BlockKind::Thinking { text: Text::from_escaped(text), kind }, 0)
}

fn call(id: &'static str, arguments: &'static str) -> Block<'static> {
    let (name, flavor) = ("f".into(), Flavor::Function);
    Block::new(BlockKind::ToolCall { id: id.into(), name, arguments: Json::from_valid(arguments), flavor }, 0)
}

fn signed(mut block: Block<'static>, kind: OpaqueKind, maker: Format, data: &'static str) -> Block<'static> {
    block.opaque.push(Opaque { kind, maker, data: Text::from_escaped(data) });
    block
}

fn answer(blocks: Vec<Block<'static>>, stop: Stop<'static>) -> Response<'static> {
    Response {
        format: Format::AnthropicMessages,
        id: Text::from_escaped("msg_1"),
        model: Text::from_escaped("up"),
        created: Some(5),
        candidates: vec![Candidate { index: 0, blocks, stop, logprobs: None, extras: Vec::new() }],
        usage: Some(Usage { input_uncached: 3, output_visible: 4, ..Usage::default() }),
        tier: None,
        extras: Vec::new(),
    }
}

/// The events that a reader would give of `response`.
fn events<'r>(response: &'r Response<'r>) -> Vec<Event<'r>> {
    let mut events =
        vec![Event::Start { id: response.id.by_ref(), model: response.model.by_ref(), created: response.created }];
    for (number, block) in response.candidates[0].blocks.iter().enumerate() {
        let number = u32::try_from(number).unwrap();
        let head = match &block.kind {
            BlockKind::Text { .. } => Head::Text,
            BlockKind::Refusal { .. } => Head::Refusal,
            BlockKind::Thinking { kind, .. } => Head::Thinking(*kind),
            BlockKind::Redacted => Head::Redacted,
            BlockKind::ToolCall { id, name, flavor, .. } => {
                Head::ToolCall { id: id.clone(), name: name.clone(), flavor: *flavor }
            }
            other => panic!("{other:?}"),
        };
        let signed_first = matches!(head, Head::ToolCall { .. });
        events.push(Event::BlockStart { block: number, candidate: 0, head });
        let opaque = block.opaque.iter().map(|opaque| Event::Opaque { block: number, opaque: opaque.clone() });
        if signed_first {
            events.extend(opaque.clone());
        }
        match &block.kind {
            BlockKind::Text { text, citations } => {
                events.push(Event::TextDelta { block: number, text: text.by_ref() });
                let cited =
                    citations.iter().map(|citation| Event::Citation { block: number, citation: citation.clone() });
                events.extend(cited);
            }
            BlockKind::Refusal { text } | BlockKind::Thinking { text, .. } => {
                events.push(Event::TextDelta { block: number, text: text.by_ref() });
            }
            BlockKind::ToolCall { arguments, flavor, .. } => {
                let plain = match flavor {
                    Flavor::Function if arguments.as_str() == "{}" => String::new(),
                    _ => arguments.as_str().to_owned(),
                };
                let escaped = match serde_json::from_str::<Value>(&plain) {
                    Ok(Value::String(_)) => plain.trim_matches('"').to_owned(),
                    _ => Text::from_plain(&plain).escaped().to_owned(),
                };
                events.push(Event::ArgumentsDelta { block: number, fragment: Text::from_escaped(escaped) });
            }
            _ => {}
        }
        if !signed_first {
            events.extend(opaque);
        }
        events.push(Event::BlockStop { block: number });
    }
    events.push(Event::Stop { candidate: 0, stop: response.candidates[0].stop.clone() });
    events.extend(response.usage.clone().map(Event::Usage));
    events.push(Event::End);
    events
}

/// The whole answer; its stream must end in the same.
fn write(response: &Response<'_>) -> Value {
    write_to(response, reply())
}

fn write_to(response: &Response<'_>, reply: Reply) -> Value {
    let mut losses = Losses::default();
    let written = OpenaiResponses.write_response(response, &reply, &mut losses).unwrap();
    let whole: Value = serde_json::from_slice(&written).unwrap();
    let mut writer = OpenaiResponses.stream_writer(Arc::new(reply));
    let mut out = Vec::new();
    for event in events(response) {
        writer.event(&event, &mut out, &mut |_| {});
    }
    let last = frames(&out).pop().unwrap();
    assert_eq!(last["response"], whole, "the stream's end is the whole answer");
    whole
}

#[test]
fn trap_g4_a_stream_ends_in_the_whole_answer() {
    let whole = write(&answer(
        vec![
            thinking("hm", ThinkingKind::Raw),
            text(r"a\u2028b\n"),
            text("c"),
            call("toolu_1", r#"{"a":1}"#),
            call("toolu_2", "{}"),
            thinking("more", ThinkingKind::Summary),
            text("d"),
        ],
        Stop::ToolUse,
    ));
    let kinds: Vec<&str> =
        whole["output"].as_array().unwrap().iter().map(|item| item["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["reasoning", "message", "function_call", "function_call", "reasoning", "message"]);
    assert_eq!(whole["output"][1]["content"].as_array().unwrap().len(), 2, "texts in a row are one message");
    assert_eq!(whole["output"][2]["arguments"], "{\"a\":1}");
    assert_eq!(whole["output"][3]["arguments"], "{}", "a call without arguments has an empty object");
    assert_eq!(
        (&whole["status"], &whole["model"], &whole["created_at"]),
        (&json!("completed"), &json!("client-model"), &json!(5))
    );
    for key in ["tools", "tool_choice", "parallel_tool_calls", "metadata", "text", "usage", "incomplete_details"] {
        assert!(whole.get(key).is_some(), "{key}");
    }
    assert_eq!(whole["store"], json!(false));
    assert_eq!(whole["usage"]["total_tokens"], 7);
}

#[test]
fn what_the_request_set_is_repeated_and_null_is_the_default() {
    let body = "{\"model\":\"m\",\"input\":\"q\",\"temperature\":0.5,\"tools\":[\n {\"type\":\"function\",\"name\":\"f\"}],\
                \"tool_choice\":null,\"metadata\":{\"k\":\"v\"},\"instructions\":\"be brief\",\"max_tool_calls\":3}";
    let settings = OpenaiResponses.spec().settings(body.as_bytes(), &(0..0));
    let whole = write_to(&answer(vec![text("t")], Stop::EndTurn), Reply { settings, ..reply() });
    for (key, value) in [
        ("temperature", json!(0.5)),
        ("tools", json!([{"type": "function", "name": "f"}])),
        ("tool_choice", json!("auto")),
        ("metadata", json!({"k": "v"})),
        ("instructions", json!("be brief")),
        ("max_tool_calls", json!(3)),
        ("top_p", Value::Null),
    ] {
        assert_eq!(whole[key], value, "{key}");
    }
    assert!(whole.get("top_logprobs").is_none());
}

#[test]
fn trap_d12_state_of_another_provider_is_an_envelope_that_opens() {
    let whole = write(&answer(
        vec![
            signed(
                thinking("t", ThinkingKind::Summary),
                OpaqueKind::ThinkingSignature,
                Format::AnthropicMessages,
                "sig==",
            ),
            signed(Block::new(BlockKind::Redacted, 0), OpaqueKind::RedactedData, Format::AnthropicMessages, "red"),
            text("w"),
        ],
        Stop::EndTurn,
    ));
    let seal = Seal::new(super::KEY);
    let state = |at: usize| match seal.open(whole["output"][at]["encrypted_content"].as_str().unwrap()) {
        Opened::Ours(opaque) => (opaque.kind, opaque.data.plain().into_owned()),
        other => panic!("{other:?}"),
    };
    assert_eq!(state(0), (OpaqueKind::ThinkingSignature, "sig==".to_owned()));
    assert_eq!(whole["output"][0]["summary"], json!([{"type": "summary_text", "text": "t"}]));
    assert_eq!(state(1), (OpaqueKind::RedactedData, "red".to_owned()));
    assert_eq!(whole["output"][1]["summary"], json!([]));
}

#[test]
fn own_state_stays_as_it_was_and_reasoning_without_any_is_marked() {
    let whole = write(&answer(
        vec![
            signed(
                thinking("t", ThinkingKind::Summary),
                OpaqueKind::EncryptedReasoning,
                Format::OpenaiResponses,
                "gAAA=",
            ),
            thinking("u", ThinkingKind::Raw),
        ],
        Stop::EndTurn,
    ));
    assert_eq!(whole["output"][0]["encrypted_content"], "gAAA=");
    let mark = whole["output"][1]["encrypted_content"].as_str().unwrap();
    assert!(matches!(Seal::new(super::KEY).open(mark), Opened::Ours(Opaque { kind: OpaqueKind::Unsigned, .. })));
}

#[test]
fn reasoning_that_was_asked_for_stands_where_the_vendors_own_clients_look() {
    let summary = json!([{"type": "summary_text", "text": "u"}]);
    let raw = json!([{"type": "reasoning_text", "text": "u"}]);
    for (kind, asked, said) in [
        (ThinkingKind::Raw, true, (&summary, &Value::Null)),
        (ThinkingKind::Summary, true, (&summary, &Value::Null)),
        (ThinkingKind::Raw, false, (&json!([]), &raw)),
        (ThinkingKind::Summary, false, (&summary, &Value::Null)),
    ] {
        let answered = answer(vec![thinking("u", kind), text("a")], Stop::EndTurn);
        let wish = if asked { ReasoningWish::Shown } else { ReasoningWish::Unasked };
        let whole = write_to(&answered, Reply { reasoning: wish, ..reply() });
        let item = &whole["output"][0];
        assert_eq!((&item["summary"], &item["content"]), said, "{kind:?} {asked}");
    }
}

#[test]
fn trap_d3_a_signature_of_a_call_stands_before_it_and_at_no_other() {
    let whole = write(&answer(
        vec![signed(call("a", "{}"), OpaqueKind::ThoughtSignature, Format::OpenaiChat, "sig"), call("b", "{}")],
        Stop::ToolUse,
    ));
    let kinds: Vec<&str> =
        whole["output"].as_array().unwrap().iter().map(|item| item["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["reasoning", "function_call", "function_call"]);
}

#[test]
fn trap_c25_cut_arguments_do_not_look_ready_to_run() {
    let whole = write(&answer(vec![call("a", "{}"), call("b", r#""{\"path\": \"/et""#)], Stop::MaxTokens));
    assert_eq!(
        (&whole["status"], &whole["incomplete_details"]),
        (&json!("incomplete"), &json!({"reason": "max_output_tokens"}))
    );
    assert_eq!(whole["output"][0]["status"], "completed");
    assert_eq!(
        (&whole["output"][1]["status"], &whole["output"][1]["arguments"]),
        (&json!("incomplete"), &json!("{\"path\": \"/et"))
    );
}

#[test]
fn trap_f10_a_refusal_says_why() {
    let stop = Stop::Refusal { category: None, explanation: Some(Text::from_escaped("no")) };
    for (blocks, parts) in [(Vec::new(), 1), (vec![text("w")], 2)] {
        let whole = write(&answer(blocks, stop.clone()));
        assert_eq!(whole["incomplete_details"], json!({"reason": "content_filter"}));
        let content = whole["output"][0]["content"].as_array().unwrap();
        assert_eq!(content.len(), parts);
        assert_eq!(content[parts - 1], json!({"type": "refusal", "refusal": "no"}));
        assert_eq!(whole["output"][0]["status"], "incomplete");
    }
}

#[test]
fn trap_f8_a_pause_is_no_end() {
    let whole = write(&answer(vec![text("w")], Stop::Pause));
    assert_eq!(whole["incomplete_details"], json!({"reason": "max_output_tokens"}));
}

#[test]
fn a_failure_is_an_error() {
    let fault = OpenaiResponses
        .write_response(&answer(Vec::new(), Stop::Failed(Text::from_escaped("boom"))), &reply(), &mut Losses::default())
        .unwrap_err();
    assert_eq!((fault.status, fault.code.as_deref()), (502, Some("upstream_failed")));
}

#[test]
fn trap_c13_a_custom_call_is_raw_text_and_c15_a_namespace_is_given_back() {
    let custom = Block::new(
        BlockKind::ToolCall {
            id: "a".into(),
            name: "patch".into(),
            arguments: Json::from_valid(r#""*** \"x\"\n""#),
            flavor: Flavor::Custom,
        },
        0,
    );
    let named = Block::new(
        BlockKind::ToolCall {
            id: "b.c".into(),
            name: crate::hub::in_namespace("gh", "search").into(),
            arguments: Json::EMPTY_OBJECT,
            flavor: Flavor::Function,
        },
        0,
    );
    let whole = write(&answer(vec![named], Stop::ToolUse));
    let item = &whole["output"][0];
    assert_eq!((&item["name"], &item["namespace"]), (&json!("search"), &json!("gh")));
    assert!(item["call_id"].as_str().unwrap().starts_with("tc_"), "an id that no provider would refuse later");
    let response = answer(vec![custom], Stop::ToolUse);
    let written = OpenaiResponses.write_response(&response, &reply(), &mut Losses::default()).unwrap();
    let whole: Value = serde_json::from_slice(&written).unwrap();
    assert_eq!(
        (&whole["output"][0]["type"], &whole["output"][0]["input"]),
        (&json!("custom_tool_call"), &json!("*** \"x\"\n"))
    );
}

#[test]
fn sources_with_a_url_are_annotations() {
    let cite = |url: Option<&'static str>| Citation {
        url: url.map(Text::from_escaped),
        title: Some(Text::from_escaped("T")),
        cited_text: None,
        span: None,
        raw: Json::NULL,
        format: Format::AnthropicMessages,
    };
    let block = |citations| Block::new(BlockKind::Text { text: Text::from_escaped("é北x"), citations }, 0);
    let whole = write(&answer(vec![block(vec![cite(Some("https://h"))])], Stop::EndTurn));
    assert_eq!(
        whole["output"][0]["content"][0]["annotations"],
        json!([{"type": "url_citation", "start_index": 0, "end_index": 3, "url": "https://h", "title": "T"}])
    );
    let mut losses = Losses::default();
    let response = answer(vec![block(vec![cite(None)])], Stop::EndTurn);
    OpenaiResponses.write_response(&response, &reply(), &mut losses).unwrap();
    assert!(losses.iter().any(|loss| loss.field == Field::Citations));
}

#[test]
fn probabilities_stand_with_the_words() {
    let mut response = answer(vec![text("w")], Stop::EndTurn);
    response.candidates[0].logprobs = Some(Json::from_valid(
        r#"{"content":[{"token":"w","logprob":-0.5,"bytes":[119],"top_logprobs":[]}],"refusal":null}"#,
    ));
    let written = OpenaiResponses.write_response(&response, &reply(), &mut Losses::default()).unwrap();
    let whole: Value = serde_json::from_slice(&written).unwrap();
    assert_eq!(
        whole["output"][0]["content"][0]["logprobs"],
        json!([{"token": "w", "logprob": -0.5, "bytes": [119], "top_logprobs": []}])
    );
    let back = OpenaiResponses.read_response(&written).unwrap();
    assert_eq!(back.candidates[0].logprobs, response.candidates[0].logprobs);
}

#[test]
fn what_an_answer_cannot_say_is_reported() {
    let mut response = answer(vec![text("w")], Stop::Other(Text::from_escaped("new_word")));
    response.candidates.push(Candidate {
        index: 1,
        blocks: Vec::new(),
        stop: Stop::EndTurn,
        logprobs: None,
        extras: Vec::new(),
    });
    response.candidates[0].blocks.push(Block::new(BlockKind::ServerTool { raw: Json::NULL, result: false }, 0));
    let mut losses = Losses::default();
    OpenaiResponses.write_response(&response, &reply(), &mut losses).unwrap();
    let fields: Vec<Field> = losses.iter().map(|loss| loss.field).collect();
    assert_eq!(fields, [Field::N, Field::StopReason, Field::ServerTool]);
}

#[test]
fn a_failed_answer_is_read_as_a_failure_and_an_error_as_none() {
    let body = br#"{"id":"r","object":"response","status":"failed","error":{"code":"server_error","message":"boom"},"output":[]}"#;
    let response = OpenaiResponses.read_response(body).unwrap();
    assert_eq!(response.candidates[0].stop, Stop::Failed(Text::from_escaped("boom")));
    assert!(OpenaiResponses.read_response(br#"{"error":{"message":"quota"}}"#).is_err());
}
