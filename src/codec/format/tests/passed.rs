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
