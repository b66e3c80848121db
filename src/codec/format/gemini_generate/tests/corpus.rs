//! Recorded answers: what a reader makes of them agrees with what was recorded, however the bytes are cut, and what a
//! writer makes of that reads the same.

use std::sync::Arc;

use super::super::GeminiGenerate;
use super::{Folded, Way, as_events, fold, pieces, read_stream, reply};
use crate::format::WireFormat as _;
use crate::format::tests::recorded;
use crate::hub::{BlockKind, Losses, Response};

/// Most places at which one stream is cut.
const CUTS: usize = 60;

struct Case {
    name: String,
    request: Option<Vec<u8>>,
    json: Option<Vec<u8>>,
    sse: Option<Vec<u8>>,
    digest: serde_json::Value,
    status: u64,
}

/// Every case; a stream that came as an array is one of events.
fn cases() -> Vec<Case> {
    let Some(root) = recorded::folder() else { return Vec::new() };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(root.join("gemini")).unwrap() {
        let folder = entry.unwrap().path();
        let file = |name: &str| std::fs::read(folder.join(name)).ok();
        let json = |name: &str| file(name).and_then(|bytes| serde_json::from_slice::<serde_json::Value>(&bytes).ok());
        let Some(meta) = json("meta.json") else { continue };
        let mut case = Case {
            name: folder.file_name().unwrap().to_string_lossy().into_owned(),
            request: file("request.json"),
            json: file("response.json"),
            sse: file("response.sse"),
            digest: json("digest.json").unwrap_or_default(),
            status: meta["status"].as_u64().unwrap_or(200),
        };
        if case.status == 200
            && let Some(array) = case.json.take_if(|json| json.first() == Some(&b'['))
        {
            case.sse = Some(as_events(&array));
        }
        found.push(case);
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    assert!(found.len() > 50, "only {} cases", found.len());
    found
}

/// Compares what was read with the digest.
fn check(name: &str, folded: &Folded, digest: &serde_json::Value) {
    let text = |key: &str| digest[key].as_str().unwrap_or_default().to_owned();
    assert_eq!(folded.text, text("text"), "{name}: text");
    assert_eq!(folded.thinking, text("reasoning"), "{name}: reasoning");
    let calls = digest["tool_calls"].as_array().cloned().unwrap_or_default();
    assert_eq!(folded.calls.len(), calls.len(), "{name}: number of calls");
    for ((id, tool, arguments), call) in folded.calls.iter().zip(&calls) {
        assert_eq!(tool.as_str(), call["name"].as_str().unwrap(), "{name}");
        match call["id"].as_str() {
            Some(recorded) => assert_eq!(id, recorded, "{name}"),
            None => assert!(id.starts_with("call_"), "{name}: {id}"),
        }
        let parse = |text: &str| serde_json::from_str::<serde_json::Value>(text).ok();
        let recorded = call["arguments"].as_str().map_or_else(|| Some(call["arguments"].clone()), parse);
        assert_eq!(parse(arguments), recorded, "{name}: arguments");
    }
    let usage = |key: &str| digest["usage"][key].as_u64().unwrap_or(0);
    let found = &folded.usage;
    assert_eq!(found.input(), usage("promptTokenCount") + usage("toolUsePromptTokenCount"), "{name}: input");
    assert_eq!(found.cache_read, usage("cachedContentTokenCount"), "{name}: cache read");
    assert_eq!(found.output_reasoning, usage("thoughtsTokenCount"), "{name}: thoughts");
    let total = usage("totalTokenCount");
    if total > 0 && digest["finish"].is_string() {
        assert_eq!(found.input() + found.output(), total, "{name}: total");
    }
    // One surface writes the number of the enum.
    let number = digest["finish"].as_u64().map(|number| number.to_string());
    if let Some(finish) = digest["finish"].as_str().or(number.as_deref()) {
        assert_eq!(folded.stop.as_deref(), Some(label(finish, !folded.calls.is_empty())), "{name}: stop");
    }
}

/// The hub's label for a recorded reason.
fn label(finish: &str, called: bool) -> &str {
    match finish {
        "1" | "STOP" if called => "tool_use",
        "1" | "STOP" => "end_turn",
        "MAX_TOKENS" => "max_tokens",
        "SAFETY" | "PROHIBITED_CONTENT" | "RECITATION" => "filtered",
        "MALFORMED_FUNCTION_CALL" | "UNEXPECTED_TOOL_CALL" => "failed",
        other if other.starts_with("blocked:") => "filtered",
        other => other,
    }
}

#[test]
fn recorded_streams_read_as_recorded_at_every_cut() {
    for Case { name, sse, digest, .. } in cases() {
        let Some(body) = sse else { continue };
        let whole = fold(&[&body]);
        if digest["finish"].is_null() {
            assert!(whole.fault.is_some() || whole.stop.as_deref() == Some("filtered"), "{name}: looks complete");
            continue;
        }
        assert!(whole.ended, "{name}: {:?}", whole.fault);
        check(&name, &whole, &digest);
        let bytes: Vec<&[u8]> = body.chunks(1).collect();
        assert_eq!(fold(&bytes), whole, "{name}: byte by byte");
        for cut in (1..body.len()).step_by(body.len().div_ceil(CUTS)) {
            let (head, tail) = body.split_at(cut);
            assert_eq!(fold(&[head, tail]), whole, "{name}: cut at {cut}");
            let said = memchr::memmem::find(head, b"\"finishReason\"").is_some();
            assert!(said || !fold(&[head]).ended, "{name}: cut at {cut} looks complete");
        }
    }
}

#[test]
fn written_streams_read_as_the_recorded_ones() {
    for Case { name, sse, .. } in cases() {
        let Some(body) = sse else { continue };
        let before = fold(&[&body]);
        let mut writer = GeminiGenerate.stream_writer(Arc::new(reply()));
        let mut written = Vec::new();
        read_stream(&[&body], &mut |event| writer.event(event, &mut written, &mut |_| {}));
        pieces(&written);
        let after = fold(&[&written]);
        assert_eq!(after.ended, before.ended, "{name}");
        if before.ended {
            let same = |folded: &Folded| {
                // A call that nobody signed is marked.
                let signed = folded.signatures.iter().filter(|(_, value)| !value.starts_with("dGcxL"));
                let signatures: Vec<_> = signed.map(|(_, value)| value.clone()).collect();
                (folded.text.clone(), folded.thinking.clone(), folded.calls.clone(), signatures, folded.stop.clone())
            };
            assert_eq!(same(&after), same(&before), "{name}");
            assert_eq!(after.usage.input(), before.usage.input(), "{name}");
            assert_eq!(after.usage.output(), before.usage.output(), "{name}");
            let web =
                |folded: &Folded| folded.sources.iter().filter(|(url, _)| !url.is_empty()).cloned().collect::<Vec<_>>();
            assert_eq!(web(&after).len(), web(&before).len(), "{name}: sources");
        }
    }
}

#[test]
fn recorded_answers_read_as_recorded_and_back() {
    for Case { name, json, digest, status, .. } in cases() {
        let Some(body) = json else { continue };
        if status != 200 {
            let fault = GeminiGenerate.read_error(u16::try_from(status).unwrap(), &body);
            assert!(fault.message.len() > 3 && u64::from(fault.status) == status, "{name}");
            continue;
        }
        let response = GeminiGenerate.read_response(&body).unwrap_or_else(|error| panic!("{name}: {error}"));
        let before = folded(&response);
        check(&name, &before, &digest);
        assert_eq!(GeminiGenerate.find_usage(&body), response.usage, "{name}");
        let mut losses = Losses::default();
        let written = GeminiGenerate.write_response(&response, &reply(), &mut losses).unwrap();
        let back = GeminiGenerate.read_response(&written).unwrap();
        let mut after = folded(&back);
        after.usage.cache_known = before.usage.cache_known;
        assert_eq!(after, before, "{name}");
        assert!(losses.is_empty(), "{name}: {losses:?}");
    }
}

fn folded(response: &Response<'_>) -> Folded {
    let mut folded = Folded { usage: response.usage.clone().unwrap_or_default(), ..Folded::default() };
    // What tools of the provider took is part of the input; it is told as one number.
    let answer = &response.candidates[0];
    for (at, block) in answer.blocks.iter().enumerate() {
        for opaque in &block.opaque {
            folded.signatures.push((u32::try_from(at).unwrap(), opaque.data.plain().into_owned()));
        }
        match &block.kind {
            BlockKind::Text { text, .. } => folded.text.push_str(&text.plain()),
            BlockKind::Thinking { text, .. } => folded.thinking.push_str(&text.plain()),
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
    let cases = cases();
    let (mut written, is_absent) = (0, cases.is_empty());
    for Case { name, request, status, .. } in cases {
        let Some(body) = request.filter(|_| status == 200) else { continue };
        let text = String::from_utf8(body).unwrap();
        let request = super::read(&text, &seal).unwrap_or_else(|error| panic!("{name}: {error}"));
        let levels = name.starts_with("gemini-3");
        let way = Way::own().with(|facts| {
            if !levels {
                facts.thinking = crate::ThinkingForm::Budget;
            }
        });
        let (back, out) = way.write(&request).unwrap_or_else(|error| panic!("{name}: {error}"));
        // Some declare another media type than their bytes are of.
        let lost = out.losses.iter().filter(|loss| loss.field != crate::hub::Field::Image).count();
        assert_eq!(lost, 0, "{name}: {:?}", out.losses);
        let before: serde_json::Value = serde_json::from_str(&text).unwrap();
        let config = |value: &serde_json::Value, key: &str| {
            let found = &value["generationConfig"][key];
            if found.is_null() { value["generation_config"][key].clone() } else { found.clone() }
        };
        for key in ["temperature", "topP", "maxOutputTokens", "stopSequences", "seed", "responseModalities"] {
            let said = config(&before, key);
            if !said.is_null() && said != serde_json::json!([]) {
                assert_eq!(config(&back, key).as_f64(), said.as_f64(), "{name}: {key}");
            }
        }
        let signatures = |value: &serde_json::Value| value.to_string().matches("\"thoughtSignature\":").count();
        if !text.contains("thought_signature") {
            assert_eq!(signatures(&back), signatures(&before), "{name}: signatures");
        }
        written += 1;
    }
    assert!(is_absent || written > 30, "only {written} requests");
}
