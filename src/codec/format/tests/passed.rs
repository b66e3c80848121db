//! A stream that is passed on as it came, and one that is rewritten: what its client is told beside the events.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Value, json};

use super::answers::reply;
use crate::format::{ReasoningWish, RequestHead, Undo, wire};
use crate::hub::{Block, Candidate, Fault, FaultKind, Response, Stop};
use crate::json::Text;
use crate::reshape::replay;
use crate::seal::Seal;
use crate::{Format, Line, Naming, Transcoder, Wants, Watch, wants};

use Format::{AnthropicMessages as A, GeminiGenerate as G, OpenaiChat as C, OpenaiResponses as R};

/// A whole stream of `format` that says "Hi".
fn stream(format: Format) -> Vec<u8> {
    let candidate = Candidate {
        index: 0,
        blocks: vec![Block::text(Text::from_plain("Hi"), 0)],
        stop: Stop::EndTurn,
        logprobs: None,
        extras: Vec::new(),
    };
    let response = Response {
        format,
        id: Text::from_plain("id"),
        model: Text::from_plain("up"),
        created: None,
        candidates: vec![candidate],
        usage: None,
        tier: None,
        extras: Vec::new(),
    };
    let mut out = Vec::new();
    let own = crate::Reply { model: "up".to_owned(), reasoning: ReasoningWish::Shown, ..reply() };
    let mut writer = wire(format).stream_writer(Arc::new(own));
    replay(&response, &mut |event| writer.event(&event, &mut out, &mut |_| {}));
    out
}

fn watch(format: Format) -> Watch {
    Watch::new(format, Arc::new(reply()))
}

fn transcoder(format: Format) -> Transcoder {
    Transcoder::new(format, format, Arc::new(reply()), Undo::default())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn a_client_is_told_that_a_silent_provider_lives_until_the_stream_is_over() {
    for format in Format::ALL {
        let (whole, mut watch, mut transcoder) = (stream(format), watch(format), transcoder(format));
        let mut told = Vec::new();
        transcoder.ping(&mut told);
        assert!(!told.is_empty(), "{format:?}");
        assert_eq!(text(&watch.ping()), text(&told), "{format:?}");
        assert!(told.ends_with(b"\n\n"), "{format:?}: {}", text(&told));
        // In the middle of an event too: what was passed on ends with a whole one.
        watch.chunk(Bytes::copy_from_slice(&whole[..whole.len() / 2]));
        assert_eq!(text(&watch.ping()), text(&told), "{format:?}");
        watch.chunk(Bytes::copy_from_slice(&whole[whole.len() / 2..]));
        watch.finish();
        assert!(watch.outcome().complete, "{format:?}");
        assert!(watch.ping().is_empty(), "{format:?}: over");
        let mut out = Vec::new();
        transcoder.chunk(&whole, &mut out);
        transcoder.finish(&mut out);
        let len = out.len();
        transcoder.ping(&mut out);
        assert!(len > 0 && out.len() == len, "{format:?}: over");
    }
}

#[test]
fn a_stream_that_cannot_be_read_is_not_pinged_between_its_lines() {
    for format in Format::ALL {
        let mut watch = watch(format);
        let odd = b"data: \xff\n\n";
        assert_eq!(watch.chunk(Bytes::from_static(odd)), odd.as_slice(), "{format:?}: passed on unseen");
        assert_eq!(watch.chunk(Bytes::from_static(b"da")), b"da".as_slice(), "{format:?}: and not held back");
        assert!(watch.ping().is_empty(), "{format:?}");
        let error = text(&watch.fail(Fault::new(FaultKind::Api, "boom")));
        assert!(error.starts_with("\n\n") && error.contains("boom"), "{format:?}: {error}");
        assert!(watch.finish().is_empty(), "{format:?}");
    }
}

#[test]
fn a_failure_is_told_once_and_only_where_something_lacks() {
    for format in Format::ALL {
        let whole = stream(format);
        for cut in [0, whole.len() / 3] {
            let mut watch = watch(format);
            let given = watch.chunk(Bytes::copy_from_slice(&whole[..cut]));
            assert!(whole.starts_with(&given), "{format:?}");
            let error = text(&watch.fail(Fault::new(FaultKind::Timeout, "too late")));
            assert!(error.contains("too late"), "{format:?} {cut}: {error}");
            let told = watch.outcome().fault.clone().map(|(kind, words)| (kind, words.contains("too late")));
            assert_eq!((watch.outcome().complete, told), (false, Some((FaultKind::Timeout, true))), "{format:?}");
            assert!(watch.fail(Fault::new(FaultKind::Api, "again")).is_empty(), "{format:?}: told once");
        }
        let mut watch = watch(format);
        watch.chunk(Bytes::copy_from_slice(&whole));
        assert!(watch.fail(Fault::new(FaultKind::Timeout, "too late")).is_empty(), "{format:?}");
        assert_eq!((watch.outcome().complete, watch.outcome().fault.is_none()), (true, true), "{format:?}");
    }
}

#[test]
fn an_answer_is_passed_on_under_the_name_that_was_asked_for() {
    for format in Format::ALL {
        let whole = stream(format);
        let mut watch = watch(format).named(Naming::new(format, "asked-for"));
        let given = [watch.chunk(Bytes::from(whole.clone())), watch.finish()].concat();
        let (before, after) = (text(&whole), text(&given));
        assert!(before.contains(r#""up""#), "{format:?}: {before}");
        assert_eq!(after, before.replace(r#""up""#, r#""asked-for""#), "{format:?}");
    }
}

#[test]
fn what_a_request_wants_is_told_before_it_is_sent() {
    let seal = Seal::new([7; 32]);
    let head = RequestHead { api_version: None, betas: None, line: Line::default(), seal: &seal };
    let tool = json!([{"type": "function", "function": {"name": "f"}}]);
    let config = |thinking: Value| json!({"generationConfig": {"thinkingConfig": thinking}});
    for (format, more, tools, reasoning) in [
        (C, json!({}), false, None),
        (C, json!({"tools": []}), false, None),
        (C, json!({"tools": tool}), true, None),
        (C, json!({"reasoning_effort": "low"}), false, Some(true)),
        (C, json!({"reasoning_effort": "none"}), false, Some(false)),
        (C, json!({"thinking": {"type": "disabled"}}), false, Some(false)),
        (C, json!({"thinking_budget": 0}), false, Some(false)),
        (C, json!({"thinking_budget": 9}), false, Some(true)),
        (A, json!({"thinking": {"type": "adaptive"}}), false, Some(true)),
        (A, json!({"thinking": {"type": "enabled", "budget_tokens": 2000}}), false, Some(true)),
        (A, json!({"thinking": {"type": "disabled"}}), false, Some(false)),
        (A, json!({"tools": [{"name": "f", "input_schema": {"type": "object"}}]}), true, None),
        (G, config(json!({"thinkingBudget": 0})), false, Some(false)),
        (G, config(json!({"thinkingBudget": -1})), false, Some(true)),
        (G, config(json!({"includeThoughts": true})), false, None),
        (R, json!({"reasoning": {"effort": "high"}}), false, Some(true)),
        (R, json!({"tools": [{"type": "function", "name": "f"}]}), true, None),
    ] {
        let body = super::carried::request(format, &more).to_string();
        let expected = Some(Wants { tools, reasoning });
        assert_eq!(wants(format, body.as_bytes(), &head), expected, "{format:?} {body}");
    }
    for format in Format::ALL {
        assert_eq!(wants(format, b"[1]", &head), None, "{format:?}");
    }
}

#[test]
fn a_rewritten_stream_that_had_said_why_it_ends_lacks_nothing_but_its_last_word() {
    let whole = text(&stream(C));
    let (ended, _) = whole.split_once("data: [DONE]").unwrap();
    let late = || Fault::new(FaultKind::Timeout, "too late");
    for format in Format::ALL {
        let mut transcoder = Transcoder::new(C, format, Arc::new(reply()), Undo::default());
        let mut out = Vec::new();
        transcoder.chunk(ended.as_bytes(), &mut out);
        transcoder.fail(late(), &mut out);
        assert!(transcoder.outcome().complete && transcoder.outcome().fault.is_none(), "{format:?}");
        assert!(!text(&out).contains("too late"), "{format:?}: {}", text(&out));
        let len = out.len();
        transcoder.chunk(whole.as_bytes(), &mut out);
        transcoder.fail(late(), &mut out);
        transcoder.finish(&mut out);
        assert_eq!(out.len(), len, "{format:?}: nothing follows");
        let mut transcoder = Transcoder::new(C, format, Arc::new(reply()), Undo::default());
        let mut out = Vec::new();
        transcoder.chunk(&whole.as_bytes()[..whole.len() / 3], &mut out);
        transcoder.fail(late(), &mut out);
        assert_eq!(text(&out).matches("too late").count(), 1, "{format:?}: {}", text(&out));
        assert!(!transcoder.outcome().complete, "{format:?}");
    }
    let mut watch = watch(C);
    let given = watch.chunk(Bytes::from(ended.to_owned()));
    assert!(watch.fail(late()).is_empty() && watch.outcome().complete, "{}", text(&given));
}

/// What ends where a connection ends may have been cut there.
#[test]
fn an_answer_that_passes_is_whole_and_no_error() {
    let answer = json!({"id": "x", "object": "chat.completion", "model": "m", "choices": [{"index": 0,
        "message": {"role": "assistant", "content": "say \"error\": {}"}, "finish_reason": "stop"}]});
    let with = |error: Value| {
        let mut body = answer.clone();
        body["error"] = error;
        body.to_string()
    };
    // Some servers put an error beside the empty shape of an answer.
    let beside = |error: Value| {
        json!({"id": "x", "object": "chat.completion", "model": "m", "choices": [], "error": error}).to_string()
    };
    let whole = answer.to_string();
    let message = r#"{"role":"assistant","content":"A"}"#;
    let cut =
        format!(r#"{{"object":"chat.completion","choices":[{{"index":0,"message":{message},"finish_reason":"stop"}}"#);
    for (body, unframed, fault) in [
        (whole.clone(), false, false),
        (whole.clone(), true, false),
        (format!(" \n{whole}\n"), true, false),
        (with(Value::Null), true, false),
        (beside(json!({"message": "boom"})), false, true),
        (beside(json!("boom")), false, true),
        (cut, true, true),
        (format!("{whole}{whole}"), true, true),
        (r#"{"error":{"message":"boom"}}"#.to_owned(), false, true),
        ("<html></html>".to_owned(), false, true),
        (String::new(), false, true),
    ] {
        let found = crate::passing_fault(C, body.as_bytes(), unframed);
        assert_eq!(found.is_some(), fault, "{body} unframed: {unframed}: {found:?}");
        assert!(!body.contains("boom") || found.unwrap().message.contains("boom"), "{body}");
    }
}
