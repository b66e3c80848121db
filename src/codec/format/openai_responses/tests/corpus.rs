//! Recorded answers: what a reader makes of them agrees with what was recorded, however the bytes are cut, and what a
//! writer makes of that reads the same.

use std::sync::Arc;

use serde_json::Value;

use super::{Folded, OpenaiResponses, fold, frames, read_stream, reply};
use crate::format::WireFormat as _;
use crate::format::tests::recorded;
use crate::hub::{BlockKind, Losses, Response};

/// Most places at which one stream is cut.
const CUTS: usize = 60;

/// Its deltas were shortened by hand: together they are not the text that its end repeats.
const EDITED: &str = "gpt-5.2-servertool-stream-13cf4b71";

fn cases(file: &str) -> Vec<(String, Vec<u8>, Value)> {
    let Some(root) = recorded::folder() else { return Vec::new() };
    let mut found = Vec::new();
    for group in ["openai_responses", "azure_responses"] {
        for entry in std::fs::read_dir(root.join(group)).unwrap() {
            let folder = entry.unwrap().path();
            let Ok(body) = std::fs::read(folder.join(file)) else { continue };
            let digest = std::fs::read(folder.join("digest.json"));
            let digest = digest.map_or(Value::Null, |digest| serde_json::from_slice(&digest).unwrap());
            let name = folder.file_name().unwrap().to_string_lossy().into_owned();
            found.push((name, body, digest));
        }
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    assert!(found.len() > 40, "the corpus holds only {} cases with {file}", found.len());
    found
}

/// Compares what was read with the digest.
fn check(name: &str, folded: &Folded, digest: &Value) {
    let text = |key: &str| digest[key].as_str().unwrap_or_default().to_owned();
    assert_eq!(folded.text, text("text"), "{name}: text");
    assert_eq!(folded.reasoning, text("reasoning"), "{name}: reasoning");
    assert_eq!(folded.refusal, text("refusal"), "{name}: refusal");
    let calls = digest["tool_calls"].as_array().cloned().unwrap_or_default();
    assert_eq!(folded.calls.len(), calls.len(), "{name}: number of calls");
    for ((id, tool, arguments), call) in folded.calls.iter().zip(&calls) {
        let tool = crate::hub::split_namespace(tool).1;
        assert_eq!((id.as_str(), tool), (call["id"].as_str().unwrap(), call["name"].as_str().unwrap()), "{name}");
        assert_eq!(
            json(arguments),
            call["arguments"].as_str().map_or_else(|| call["arguments"].clone(), json),
            "{name}"
        );
    }
    let usage = |pointer: &str| digest["usage"].pointer(pointer).and_then(Value::as_u64).unwrap_or(0);
    let found = folded.usage.clone().unwrap_or_default();
    assert_eq!(found.input(), usage("/input_tokens"), "{name}: input");
    assert_eq!(found.output(), usage("/output_tokens"), "{name}: output");
    assert_eq!(found.cache_read, usage("/input_tokens_details/cached_tokens"), "{name}: cache read");
    assert_eq!(found.output_reasoning, usage("/output_tokens_details/reasoning_tokens"), "{name}: reasoning");
    let expected = match digest["finish"].as_str().unwrap_or_default() {
        "completed" if folded.calls.is_empty() => "end_turn",
        "completed" => "tool_use",
        "incomplete:max_output_tokens" => "max_tokens",
        "incomplete:content_filter" => "filtered",
        other => panic!("{name}: an unknown finish {other}"),
    };
    assert_eq!(folded.stop.as_deref(), Some(expected), "{name}: stop");
}

fn json(text: &str) -> Value {
    let text = if text.is_empty() { "{}" } else { text };
    serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()))
}

#[test]
fn recorded_streams_read_as_recorded_at_every_cut() {
    for (name, body, digest) in cases("response.sse") {
        let whole = fold(&[&body]);
        if digest.is_null() {
            assert!(whole.fault.is_some() && !whole.ended, "{name}: a stream that failed must not look complete");
            continue;
        }
        assert!(whole.ended, "{name}: {:?}", whole.fault);
        if name != EDITED {
            check(&name, &whole, &digest);
        }
        let bytes: Vec<&[u8]> = body.chunks(1).collect();
        assert_eq!(fold(&bytes), whole, "{name}: byte by byte");
        for cut in (1..body.len()).step_by(body.len().div_ceil(CUTS)) {
            let (head, tail) = body.split_at(cut);
            assert_eq!(fold(&[head, tail]), whole, "{name}: cut at {cut}");
            // A stream that stops here is complete only if its end was said before.
            let said = memchr::memmem::find(head, b"\"status\":\"completed\"").is_some()
                || memchr::memmem::find(head, b"event: response.incomplete").is_some();
            assert!(said || !fold(&[head]).ended, "{name}: cut at {cut} looks complete");
        }
    }
}

/// What both sides of a writer say.
fn same(folded: &Folded) -> Folded {
    Folded { states: Vec::new(), usage: None, dropped: Vec::new(), blocks: Vec::new(), ..folded.clone() }
}

#[test]
fn written_streams_read_as_the_recorded_ones() {
    for (name, body, digest) in cases("response.sse") {
        let before = fold(&[&body]);
        let mut writer = OpenaiResponses.stream_writer(Arc::new(reply()));
        let mut written = Vec::new();
        read_stream(&[&body], &mut |event| writer.event(event, &mut written, &mut |_| {}));
        frames(&written);
        let after = fold(&[&written]);
        assert_eq!(before.ended, after.ended, "{name}");
        if !digest.is_null() {
            assert_eq!(same(&after), same(&before), "{name}");
            let states = |folded: &Folded| -> Vec<String> {
                folded.states.iter().filter(|state| !state.starts_with("tg1.")).cloned().collect()
            };
            assert_eq!(states(&after), states(&before), "{name}: opaque state");
        }
    }
}

#[test]
fn recorded_answers_read_as_recorded_and_back() {
    for (name, body, digest) in cases("response.json") {
        if digest.is_null() {
            let fault = OpenaiResponses.read_error(400, &body);
            assert!(!fault.message.is_empty() && !fault.message.starts_with("The provider answered"), "{name}");
            continue;
        }
        let response = OpenaiResponses.read_response(&body).unwrap_or_else(|error| panic!("{name}: {error}"));
        let before = folded(&response);
        check(&name, &before, &digest);
        assert_eq!(OpenaiResponses.find_usage(&body), response.usage, "{name}");
        let written = OpenaiResponses.write_response(&response, &reply(), &mut Losses::default()).unwrap();
        let back = OpenaiResponses.read_response(&written).unwrap();
        assert_eq!(same(&folded(&back)), same(&before), "{name}");
    }
}

fn folded(response: &Response<'_>) -> Folded {
    let mut folded = Folded { usage: response.usage.clone(), ..Folded::default() };
    let answer = &response.candidates[0];
    for block in &answer.blocks {
        match &block.kind {
            BlockKind::Text { text, citations } => {
                folded.text.push_str(&text.plain());
                folded.citations += citations.len();
            }
            BlockKind::Refusal { text } => folded.refusal.push_str(&text.plain()),
            BlockKind::Thinking { text, .. } => folded.reasoning.push_str(&text.plain()),
            BlockKind::ToolCall { id, name, arguments, .. } => {
                let arguments = serde_json::from_str::<String>(arguments.as_str());
                let arguments = arguments.unwrap_or_else(|_| match &block.kind {
                    BlockKind::ToolCall { arguments, .. } => arguments.as_str().to_owned(),
                    _ => String::new(),
                });
                folded.calls.push((id.to_string(), name.to_string(), arguments));
            }
            _ => {}
        }
    }
    folded.stop = Some(answer.stop.label().to_owned());
    folded
}

/// Without keys that say `null`, empty lists, and with the new word for an old one.
fn plain(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let said = map.iter().filter(|(_, value)| !value.is_null());
            let word = |key: &str| if key == "generate_summary" { "summary".to_owned() } else { key.to_owned() };
            Value::Object(said.map(|(key, value)| (word(key), plain(value))).collect())
        }
        Value::Array(items) if items.is_empty() => Value::Null,
        Value::Array(items) => items.iter().map(plain).collect(),
        other => other.clone(),
    }
}

#[test]
fn recorded_requests_go_on_within_the_format() {
    let seal = crate::seal::Seal::new(super::KEY);
    let mut wrong = Vec::new();
    for (name, body, _) in cases("request.json") {
        let text = String::from_utf8(body).unwrap();
        let before: Value = serde_json::from_str(&text).unwrap();
        super::read(&text, &seal).unwrap_or_else(|error| panic!("{name}: {error}"));
        let (back, out) = super::Way::own().go(&text, |_| {}).unwrap_or_else(|error| panic!("{name}: {error}"));
        for key in ["tools", "tool_choice", "reasoning", "store", "max_output_tokens", "previous_response_id", "prompt"]
        {
            let reported = out.losses.iter().any(|loss| key == "tools" && loss.field == crate::hub::Field::Tool);
            if plain(&back[key]) != plain(&before[key]) && !reported {
                wrong.push(format!("{name}: {key}: {} was {}", back[key], before[key]));
            }
        }
        let states = |value: &Value| -> Vec<Value> {
            let items = value["input"].as_array().cloned().unwrap_or_default();
            items.into_iter().map(|item| item["encrypted_content"].clone()).filter(|state| !state.is_null()).collect()
        };
        assert_eq!(states(&back), states(&before), "{name}: encrypted reasoning");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
