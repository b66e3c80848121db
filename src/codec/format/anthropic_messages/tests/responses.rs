//! Whole answers: what a client of the format sees of another provider's.

use super::super::AnthropicMessages;
use super::reply;
use crate::Format;
use crate::format::WireFormat as _;
use crate::hub::{
    Block, BlockKind, Candidate, Fault, Field, Flavor, Losses, Opaque, OpaqueKind, Response, Stop, ThinkingKind,
};
use crate::json::{Json, Text};
use crate::seal::{Opened, Seal};

fn answer(blocks: Vec<Block<'static>>, stop: Stop<'static>) -> Response<'static> {
    Response {
        format: Format::OpenaiChat,
        id: Text::from_escaped("chatcmpl-1"),
        model: Text::from_escaped("up"),
        created: Some(1),
        candidates: vec![Candidate { index: 0, blocks, stop, logprobs: None, extras: Vec::new() }],
        usage: None,
        tier: Some(Text::from_escaped("default")),
        extras: Vec::new(),
    }
}

fn write(response: &Response<'_>) -> Result<(serde_json::Value, Losses), Fault<'static>> {
    let mut losses = Losses::default();
    let body = AnthropicMessages.write_response(response, &reply(), &mut losses)?;
    Ok((serde_json::from_slice(&body).unwrap(), losses))
}

fn call(arguments: &'static str) -> Block<'static> {
    let arguments = Json::from_valid(arguments);
    Block::new(
        BlockKind::ToolCall { id: "functions.f:0".into(), name: "f".into(), arguments, flavor: Flavor::Function },
        0,
    )
}

#[test]
fn says_every_required_field() {
    let (body, losses) = write(&answer(vec![Block::text(Text::from_escaped("hi"), 0)], Stop::EndTurn)).unwrap();
    assert_eq!(body["type"], "message");
    assert_eq!(body["role"], "assistant");
    assert_eq!(body["model"], "client-model");
    assert_eq!(body["stop_reason"], "end_turn");
    assert!(body["stop_sequence"].is_null() && body.get("stop_sequence").is_some());
    for key in ["input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens"] {
        assert_eq!(body["usage"][key], 0, "{key}");
    }
    assert_eq!(body["usage"]["service_tier"], "standard");
    assert!(losses.is_empty());
}

#[test]
fn trap_c27_arguments_keep_their_bytes() {
    let raw = r#"{"n":12345678901234567890,"a":1.0}"#;
    let mut losses = Losses::default();
    let body =
        AnthropicMessages.write_response(&answer(vec![call(raw)], Stop::ToolUse), &reply(), &mut losses).unwrap();
    assert!(String::from_utf8(body).unwrap().contains(raw));
}

#[test]
fn trap_c25_cut_arguments_are_not_executable() {
    for (arguments, stop, fine) in [
        ("{}", Stop::ToolUse, true),
        ("\"\"", Stop::ToolUse, true),
        (r#""{\"city\": \"Par""#, Stop::MaxTokens, true),
        (r#""{\"city\": \"Par""#, Stop::ToolUse, false),
    ] {
        let said = write(&answer(vec![call(arguments)], stop));
        assert_eq!(said.is_ok(), fine, "{arguments}");
        if let Ok((body, _)) = said {
            assert_eq!(body["content"][0]["input"], serde_json::json!({}));
            assert!(!body["content"][0]["id"].as_str().unwrap().contains('.'));
        }
    }
}

#[test]
fn trap_f10_refusals_and_filters_have_details() {
    let refusal =
        Stop::Refusal { category: Some(Text::from_escaped("bio")), explanation: Some(Text::from_escaped("no")) };
    // A word of another vendor is no category that clients of this one know.
    let foreign =
        Stop::Refusal { category: Some(Text::from_escaped("SAFETY")), explanation: Some(Text::from_escaped("no")) };
    for (stop, category, explanation) in [
        (refusal, Some("bio"), "no"),
        (foreign, None, "no"),
        (Stop::Filtered(Text::from_escaped("content_filter")), None, "content_filter"),
    ] {
        let (body, _) = write(&answer(Vec::new(), stop)).unwrap();
        assert_eq!(body["stop_reason"], "refusal");
        assert_eq!(body["stop_details"]["type"], "refusal");
        assert_eq!(body["stop_details"]["category"].as_str(), category);
        assert_eq!(body["stop_details"]["explanation"], explanation);
    }
}

#[test]
fn trap_f11_every_reason_has_a_word() {
    for (stop, word) in [
        (Stop::StopSequence(Some(Text::from_escaped("END"))), "stop_sequence"),
        (Stop::MaxTokens, "max_tokens"),
        (Stop::ContextWindow, "model_context_window_exceeded"),
        (Stop::ToolUse, "tool_use"),
        (Stop::Pause, "pause_turn"),
        (Stop::Compaction, "compaction"),
        (Stop::Other(Text::from_escaped("new")), "end_turn"),
    ] {
        assert_eq!(write(&answer(Vec::new(), stop)).unwrap().0["stop_reason"], word);
    }
    assert!(write(&answer(Vec::new(), Stop::Failed(Text::from_escaped("error")))).is_err());
}

#[test]
fn thinking_is_signed_or_marked_as_foreign() {
    let thinking = |opaque: Vec<Opaque<'static>>| {
        let mut block = Block::new(BlockKind::Thinking { text: Text::from_escaped("r"), kind: ThinkingKind::Raw }, 0);
        block.opaque = opaque;
        write(&answer(vec![block], Stop::EndTurn)).unwrap().0["content"][0]["signature"].as_str().unwrap().to_owned()
    };
    let own = Opaque {
        kind: OpaqueKind::ThinkingSignature,
        maker: Format::AnthropicMessages,
        data: Text::from_escaped("EqQB"),
    };
    assert_eq!(thinking(vec![own]), "EqQB");
    let foreign =
        Opaque { kind: OpaqueKind::EncryptedReasoning, maker: Format::OpenaiChat, data: Text::from_escaped("x") };
    let seal = Seal::new(super::KEY);
    assert_eq!(seal.open(&thinking(vec![foreign.clone()])), Opened::Ours(foreign));
    assert!(matches!(seal.open(&thinking(Vec::new())), Opened::Ours(Opaque { kind: OpaqueKind::Unsigned, .. })));
}

#[test]
fn what_has_no_place_is_reported() {
    let image = crate::hub::Source::Url(Text::from_escaped("https://example.org/a.png"));
    let mut response = answer(
        vec![
            Block::new(BlockKind::Image { source: image, detail: None }, 3),
            Block::new(BlockKind::ServerTool { raw: Json::EMPTY_OBJECT, result: false }, 4),
        ],
        Stop::EndTurn,
    );
    response.candidates[0].logprobs = Some(Json::EMPTY_OBJECT);
    response.candidates.push(response.candidates[0].clone());
    let (body, losses) = write(&response).unwrap();
    assert_eq!(body["content"], serde_json::json!([]));
    for field in [Field::Image, Field::ServerTool, Field::Logprobs, Field::N] {
        assert!(losses.iter().any(|loss| loss.field == field), "{field:?}");
    }
}

#[test]
fn an_error_is_no_answer() {
    for body in [r#"{"type":"error","error":{"type":"api_error","message":"x"}}"#, "{}", "", "[]", r#"{"content":7}"#] {
        assert!(AnthropicMessages.read_response(body.as_bytes()).is_err(), "{body}");
    }
}
