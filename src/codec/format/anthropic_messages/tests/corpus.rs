//! Recorded answers: what a reader makes of them agrees with what was recorded, however the bytes are cut, and what a
//! writer makes of that reads the same.

use std::sync::Arc;

use super::super::AnthropicMessages;
use super::{Folded, fold, frames, read_stream, reply};
use crate::format::WireFormat as _;
use crate::format::tests::recorded;
use crate::hub::{BlockKind, Losses, Response};

/// Most places at which one stream is cut.
const CUTS: usize = 60;

fn cases(file: &str) -> Vec<(String, Vec<u8>, serde_json::Value)> {
    let Some(root) = recorded::folder() else { return Vec::new() };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(root.join("anthropic_messages")).unwrap() {
        let folder = entry.unwrap().path();
        let (Ok(body), Ok(digest)) = (std::fs::read(folder.join(file)), std::fs::read(folder.join("digest.json")))
        else {
            continue;
        };
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        found.push((name, body, serde_json::from_slice(&digest).unwrap()));
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    found
}

/// Compares what was read with the digest.
fn check(name: &str, folded: &Folded, digest: &serde_json::Value) {
    let text = |key: &str| digest[key].as_str().unwrap_or_default().to_owned();
    assert_eq!(folded.text, text("text"), "{name}: text");
    assert_eq!(folded.reasoning, text("reasoning"), "{name}: reasoning");
    let calls = digest["tool_calls"].as_array().cloned().unwrap_or_default();
    assert_eq!(folded.calls.len(), calls.len(), "{name}: number of calls");
    for ((id, tool, arguments), call) in folded.calls.iter().zip(&calls) {
        assert_eq!((id.as_str(), tool.as_str()), (call["id"].as_str().unwrap(), call["name"].as_str().unwrap()));
        let parse =
            |text: &str| serde_json::from_str::<serde_json::Value>(if text.is_empty() { "{}" } else { text }).ok();
        let recorded = call["arguments"].as_str().map_or_else(|| Some(call["arguments"].clone()), parse);
        assert_eq!(parse(arguments), recorded, "{name}: arguments");
    }
    let usage = |key: &str| digest["usage"][key].as_u64().unwrap_or(0);
    let found = &folded.usage;
    assert_eq!(found.input_uncached, usage("input_tokens"), "{name}: input");
    assert_eq!(found.output(), usage("output_tokens"), "{name}: output");
    assert_eq!(found.cache_read, usage("cache_read_input_tokens"), "{name}: cache read");
    assert_eq!(found.cache_write(), usage("cache_creation_input_tokens"), "{name}: cache write");
    if let Some(finish) = digest["finish"].as_str() {
        assert_eq!(folded.stop.as_deref(), Some(label(finish, !folded.calls.is_empty())), "{name}: stop");
    }
}

/// The hub's label for a recorded reason.
fn label(finish: &str, called: bool) -> &str {
    match finish {
        "tool_use" | "end_turn" if called => "tool_use",
        "tool_use" => "end_turn",
        "pause_turn" => "pause",
        other => other,
    }
}

#[test]
fn recorded_streams_read_as_recorded_at_every_cut() {
    for (name, body, digest) in cases("response.sse") {
        let whole = fold(&[&body]);
        if digest["finish"].is_null() {
            assert!(whole.fault.is_some(), "{name}: a stream without an end must not look complete");
            continue;
        }
        assert!(whole.ended, "{name}: {:?}", whole.fault);
        check(&name, &whole, &digest);
        let bytes: Vec<&[u8]> = body.chunks(1).collect();
        assert_eq!(fold(&bytes), whole, "{name}: byte by byte");
        for cut in (1..body.len()).step_by(body.len().div_ceil(CUTS)) {
            let (head, tail) = body.split_at(cut);
            assert_eq!(fold(&[head, tail]), whole, "{name}: cut at {cut}");
            // A stream that stops here is complete only if its end was said before.
            let cut_off = fold(&[head]);
            let said = memchr::memmem::find(head, b"\"stop_reason\":\"").is_some()
                || memchr::memmem::find(head, b"\"stop_reason\": \"").is_some();
            assert!(said || !cut_off.ended, "{name}: cut at {cut} looks complete");
        }
    }
}

#[test]
fn written_streams_read_as_the_recorded_ones() {
    for (name, body, _) in cases("response.sse") {
        let before = fold(&[&body]);
        let mut writer = AnthropicMessages.stream_writer(Arc::new(reply()));
        let mut written = Vec::new();
        read_stream(&[&body], &mut |event| writer.event(event, &mut written, &mut |_| {}));
        let last = frames(&written).pop();
        let after = fold(&[&written]);
        if before.ended {
            assert_eq!(last.map(|(event, _)| event).as_deref(), Some("message_stop"), "{name}");
            let same = |folded: &Folded| {
                (folded.text.clone(), folded.reasoning.clone(), folded.calls.clone(), folded.signatures.clone())
            };
            assert_eq!(same(&after), same(&before), "{name}");
            assert_eq!((after.stop, after.usage.input()), (before.stop, before.usage.input()), "{name}");
        } else {
            assert!(!after.ended, "{name}");
        }
    }
}

#[test]
fn recorded_answers_read_as_recorded_and_back() {
    for (name, body, digest) in cases("response.json") {
        if name.contains("-error-") {
            let fault = AnthropicMessages.read_error(400, &body);
            assert!(!fault.message.is_empty(), "{name}");
            continue;
        }
        let response = AnthropicMessages.read_response(&body).unwrap_or_else(|error| panic!("{name}: {error}"));
        check(&name, &folded(&response), &digest);
        assert_eq!(AnthropicMessages.find_usage(&body), response.usage, "{name}");
        let mut losses = Losses::default();
        let written = AnthropicMessages.write_response(&response, &reply(), &mut losses).unwrap();
        let back = AnthropicMessages.read_response(&written).unwrap();
        let (mut back, mut before) = (folded(&back), folded(&response));
        // The writer says every count, with zero for those that it was not told.
        (back.usage.cache_known, before.usage.cache_known) = (true, true);
        assert_eq!(back, before, "{name}");
        assert!(losses.is_empty(), "{name}: {losses:?}");
    }
}

fn folded(response: &Response<'_>) -> Folded {
    let mut folded = Folded { usage: response.usage.clone().unwrap_or_default(), ..Folded::default() };
    let answer = &response.candidates[0];
    for block in &answer.blocks {
        match &block.kind {
            BlockKind::Text { text, .. } => folded.text.push_str(&text.plain()),
            BlockKind::Thinking { text, .. } => folded.reasoning.push_str(&text.plain()),
            BlockKind::ToolCall { id, name, arguments, .. } => {
                folded.calls.push((id.to_string(), name.to_string(), arguments.as_str().to_owned()));
            }
            _ => {}
        }
    }
    folded.stop = Some(answer.stop.label().to_owned());
    folded
}

#[test]
fn recorded_requests_are_read_and_written_without_loss() {
    let seal = crate::seal::Seal::new(super::KEY);
    for (name, body, _) in cases("request.json") {
        let text = String::from_utf8(body).unwrap();
        let request = super::read(&text, Some("2023-06-01"), &seal).unwrap_or_else(|error| panic!("{name}: {error}"));
        let out = match super::Way::own().write(&request) {
            Ok(out) => out,
            // Recorded when the API did not check that results name their calls.
            Err(_) if name.starts_with("claude-3-opus-toolresult") => continue,
            Err(refusal) => panic!("{name}: {refusal}"),
        };
        let back = String::from_utf8(out.body).unwrap();
        let back: serde_json::Value = serde_json::from_str(&back).unwrap();
        let before: serde_json::Value = serde_json::from_str(&text).unwrap();
        // The default target takes no budget; everything else stands.
        for key in ["tools", "tool_choice", "stop_sequences", "metadata", "stream"] {
            let said = |value: &serde_json::Value| match &value[key] {
                serde_json::Value::Array(items) if items.is_empty() => serde_json::Value::Null,
                other => other.clone(),
            };
            if key != "stream" || before["stream"] == true {
                assert_eq!(said(&back), said(&before), "{name}: {key}");
            }
        }
    }
}
