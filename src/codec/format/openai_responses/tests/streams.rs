//! Streams: the traps of writing and reading them.

use std::sync::Arc;

use serde_json::json;

use super::{Folded, OpenaiResponses, fold, frames, kinds, reply, translated, up};
use crate::format::WireFormat as _;
use crate::frame::sse::Frame;
use crate::hub::{Event, Fault, FaultKind, Field, Flavor, Head, Opaque, OpaqueKind, Stop, ThinkingKind, Usage};
use crate::json::Text;
use crate::{Format, Transcoder, Undo};

fn start() -> Event<'static> {
    Event::Start { id: Text::from_escaped("chatcmpl-1"), model: Text::from_escaped("up"), created: None }
}

fn open(block: u32, head: Head<'static>) -> Event<'static> {
    Event::BlockStart { block, candidate: 0, head }
}

fn tool(id: &'static str) -> Head<'static> {
    Head::ToolCall { id: id.into(), name: "f".into(), flavor: Flavor::Function }
}

fn text(block: u32, text: &'static str) -> Event<'static> {
    Event::TextDelta { block, text: Text::from_escaped(text) }
}

fn arguments(block: u32, fragment: &'static str) -> Event<'static> {
    Event::ArgumentsDelta { block, fragment: Text::from_escaped(fragment) }
}

fn close(block: u32) -> Event<'static> {
    Event::BlockStop { block }
}

fn stop(stop: Stop<'static>) -> Event<'static> {
    Event::Stop { candidate: 0, stop }
}

fn opaque(block: u32, kind: OpaqueKind, maker: Format) -> Event<'static> {
    Event::Opaque { block, opaque: Opaque { kind, maker, data: Text::from_escaped("sig") } }
}

/// What the writer makes of `events`.
fn write(events: &[Event<'_>]) -> Vec<u8> {
    let mut writer = OpenaiResponses.stream_writer(Arc::new(reply()));
    let mut out = Vec::new();
    for event in events {
        writer.event(event, &mut out, &mut |_| {});
    }
    out
}

/// Writes `events` in whole and cut behind each of them; the grammar holds for all, and no cut looks complete.
fn check(events: &[Event<'_>]) -> (Vec<serde_json::Value>, Folded) {
    for cut in 0..events.len() {
        let seen = frames(&write(&events[..cut]));
        assert!(!kinds(&seen).contains(&"response.completed"), "cut behind {cut}");
    }
    let whole = write(events);
    (frames(&whole), fold(&[&whole]))
}

#[test]
fn trap_b10_b11_words_have_their_whole_lifecycle() {
    let (seen, folded) =
        check(&[start(), open(0, Head::Text), text(0, "a"), text(0, "b"), close(0), stop(Stop::EndTurn), Event::End]);
    assert_eq!(
        kinds(&seen),
        [
            "response.created",
            "response.in_progress",
            "response.output_item.added",
            "response.content_part.added",
            "response.output_text.delta",
            "response.output_text.delta",
            "response.output_text.done",
            "response.content_part.done",
            "response.output_item.done",
            "response.completed",
        ]
    );
    assert_eq!(seen[9]["response"]["output"][0]["content"][0]["text"], "ab");
    assert_eq!((folded.text.as_str(), folded.stop.as_deref()), ("ab", Some("end_turn")));
}

#[test]
fn trap_b12_b13_b14_numbers_and_identities_hold() {
    let (seen, _) = check(&[
        start(),
        open(0, Head::Thinking(ThinkingKind::Summary)),
        text(0, "r"),
        close(0),
        open(1, Head::Text),
        text(1, "w"),
        close(1),
        open(2, tool("a")),
        arguments(2, "{}"),
        close(2),
        stop(Stop::ToolUse),
        Event::End,
    ]);
    for (number, event) in seen.iter().enumerate() {
        assert_eq!(event["sequence_number"], number);
    }
    let ids: Vec<_> = seen.iter().filter_map(|event| event["response"]["id"].as_str()).collect();
    assert_eq!(ids, ["chatcmpl-1"; 3]);
    let of = |kind: &str| -> Vec<_> {
        seen.iter().filter(|event| event["type"] == kind).map(|event| event["item"]["id"].clone()).collect()
    };
    assert_eq!(of("response.output_item.added"), of("response.output_item.done"));
}

#[test]
fn trap_b8_a_call_without_words_has_no_message() {
    let (seen, folded) =
        check(&[start(), open(0, Head::Text), close(0), open(1, tool("a")), close(1), stop(Stop::ToolUse), Event::End]);
    assert!(!kinds(&seen).iter().any(|kind| kind.contains("output_text") || kind.contains("content_part")));
    assert_eq!(folded.calls, [("a".to_owned(), "f".to_owned(), "{}".to_owned())], "trap c2: an empty object");
}

#[test]
fn trap_b9_words_behind_reasoning_have_a_message_of_their_own() {
    let (seen, _) = check(&[
        start(),
        open(0, Head::Thinking(ThinkingKind::Raw)),
        text(0, "r"),
        close(0),
        open(1, Head::Text),
        text(1, "w"),
        close(1),
        stop(Stop::EndTurn),
        Event::End,
    ]);
    let added = kinds(&seen).iter().filter(|kind| **kind == "response.output_item.added").count();
    assert_eq!(added, 2);
}

#[test]
fn trap_b1_interleaved_tool_arguments() {
    let (_, folded) = check(&[
        start(),
        open(0, tool("a")),
        open(1, tool("b")),
        arguments(0, r#"{\"x\":"#),
        arguments(1, r#"{\"y\":"#),
        arguments(0, "1}"),
        arguments(1, "2}"),
        close(1),
        close(0),
        stop(Stop::ToolUse),
        Event::End,
    ]);
    let calls = [("a", r#"{"x":1}"#), ("b", r#"{"y":2}"#)];
    assert_eq!(folded.calls, calls.map(|(id, json)| (id.to_owned(), "f".to_owned(), json.to_owned())));
}

#[test]
fn trap_d17_thinking_text_thinking_keeps_its_order() {
    let thought = || Head::Thinking(ThinkingKind::Summary);
    let (_, folded) = check(&[
        start(),
        open(0, thought()),
        text(0, "a"),
        close(0),
        open(1, Head::Text),
        text(1, "b"),
        close(1),
        open(2, thought()),
        text(2, "c"),
        close(2),
        stop(Stop::EndTurn),
        Event::End,
    ]);
    assert_eq!(folded.blocks, ['r', 't', 'r']);
}

#[test]
fn trap_d12_state_comes_when_the_item_is_done() {
    let (seen, _) = check(&[
        start(),
        open(0, Head::Thinking(ThinkingKind::Summary)),
        opaque(0, OpaqueKind::ThinkingSignature, Format::AnthropicMessages),
        text(0, "a"),
        close(0),
        open(1, Head::Redacted),
        opaque(1, OpaqueKind::RedactedData, Format::AnthropicMessages),
        close(1),
        stop(Stop::EndTurn),
        Event::End,
    ]);
    for event in &seen {
        let sealed = event["item"].get("encrypted_content").is_some();
        assert_eq!(sealed, event["type"] == "response.output_item.done", "{event}");
    }
    assert_eq!(seen.last().unwrap()["response"]["output"].as_array().unwrap().len(), 2);
}

#[test]
fn trap_d6_a_signature_without_words_is_data_and_nothing_is_nothing() {
    let (_, folded) = check(&[
        start(),
        open(0, Head::Thinking(ThinkingKind::Summary)),
        opaque(0, OpaqueKind::ThinkingSignature, Format::AnthropicMessages),
        close(0),
        open(1, Head::Thinking(ThinkingKind::Raw)),
        close(1),
        stop(Stop::EndTurn),
        Event::End,
    ]);
    assert_eq!((folded.states.len(), folded.blocks.len()), (1, 1));
}

#[test]
fn trap_c26_equal_ids_are_told_apart() {
    let (_, folded) = check(&[
        start(),
        open(0, tool("call_0")),
        close(0),
        open(1, tool("call_0")),
        close(1),
        stop(Stop::ToolUse),
        Event::End,
    ]);
    let ids: Vec<_> = folded.calls.iter().map(|(id, ..)| id.as_str()).collect();
    assert_eq!(ids, ["call_0", "call_0-2"]);
}

#[test]
fn trap_c13_custom_input_is_streamed_as_raw_text() {
    let head = Head::ToolCall { id: "a".into(), name: "patch".into(), flavor: Flavor::Custom };
    let (seen, _) = check(&[
        start(),
        open(0, head),
        arguments(0, r"*** Begin\n"),
        arguments(0, r#"\"x\""#),
        close(0),
        stop(Stop::ToolUse),
        Event::End,
    ]);
    let deltas: String = seen
        .iter()
        .filter(|event| event["type"] == "response.custom_tool_call_input.delta")
        .map(|event| event["delta"].as_str().unwrap())
        .collect();
    assert_eq!(deltas, "*** Begin\n\"x\"");
    assert_eq!(seen.last().unwrap()["response"]["output"][0]["input"], "*** Begin\n\"x\"");
}

#[test]
fn trap_a3_a_cut_stream_fails_with_its_own_id_and_the_next_number() {
    let begun = [start(), open(0, tool("a")), arguments(0, r#"{\"x\":"#)];
    let fault = Event::Fault(Fault::new(FaultKind::StreamIncomplete, "cut"));
    let events: Vec<Event<'_>> = begun.into_iter().chain([fault.clone()]).collect();
    let seen = frames(&write(&events));
    let last = seen.last().unwrap();
    assert_eq!(last["type"], "response.failed");
    assert_eq!((&last["response"]["id"], &last["response"]["status"]), (&json!("chatcmpl-1"), &json!("failed")));
    assert_eq!(last["response"]["error"], json!({"code": "server_error", "message": "stream_incomplete: cut"}));
    assert_eq!(last["response"]["output"][0]["status"], "incomplete", "a call that was cut must not be run");
    assert!(!kinds(&seen).contains(&"response.output_item.done"));
    // A library that has seen no beginning does not say what went wrong.
    let early = frames(&write(&[start(), fault]));
    assert_eq!(kinds(&early), ["response.created", "response.in_progress", "response.failed"]);
    assert_eq!(early[2]["response"]["error"]["message"], "stream_incomplete: cut");
    assert_eq!(early[0]["response"]["id"], early[2]["response"]["id"]);
}

#[test]
fn trap_a16_a_ping_is_a_comment() {
    assert_eq!(write(&[start(), Event::Ping]), b": keepalive\n\n");
}

#[test]
fn trap_b32_line_separators_are_escaped() {
    let out =
        write(&[start(), open(0, Head::Text), text(0, "a\u{2028}b\u{85}"), close(0), stop(Stop::EndTurn), Event::End]);
    let out = String::from_utf8(out).unwrap();
    assert!(!out.contains('\u{2028}') && !out.contains('\u{85}'));
    assert_eq!(fold(&[out.as_bytes()]).text, "a\u{2028}b\u{85}");
}

#[test]
fn trap_f14_usage_stands_in_the_end_whenever_it_came() {
    let usage = Event::Usage(Usage { input_uncached: 3, cache_read: 2, output_visible: 1, ..Usage::default() });
    for events in [
        vec![start(), usage.clone(), open(0, Head::Text), text(0, "a"), close(0), stop(Stop::EndTurn), Event::End],
        vec![start(), open(0, Head::Text), text(0, "a"), close(0), stop(Stop::EndTurn), usage, Event::End],
    ] {
        let (seen, _) = check(&events);
        assert_eq!(seen.last().unwrap()["response"]["usage"]["input_tokens"], 5);
        assert_eq!(seen.last().unwrap()["response"]["usage"]["input_tokens_details"]["cached_tokens"], 2);
    }
}

#[test]
fn trap_f9_server_tools_of_others_are_lost_aloud() {
    let mut writer = OpenaiResponses.stream_writer(Arc::new(reply()));
    let (mut out, mut lost) = (Vec::new(), Vec::new());
    let head = Head::ServerTool { format: Format::AnthropicMessages, raw: crate::json::Json::EMPTY_OBJECT };
    for event in [start(), open(0, head), close(0), stop(Stop::EndTurn), Event::End] {
        writer.event(&event, &mut out, &mut |field| lost.push(field));
    }
    assert_eq!(lost, [Field::ServerTool]);
    assert_eq!(frames(&out).last().unwrap()["response"]["output"], json!([]));
}

#[test]
fn raw_pieces_of_an_answer_stand_on_one_line() {
    let raw = crate::json::Json::from_valid("{\n \"type\": \"web_search_call\",\r\n \"id\": \"ws_1\"\n}");
    let head = Head::ServerTool { format: Format::OpenaiResponses, raw };
    let (seen, folded) = check(&[start(), open(0, head), close(0), stop(Stop::EndTurn), Event::End]);
    assert_eq!(seen.last().unwrap()["response"]["output"][0]["id"], "ws_1");
    assert_eq!(folded.blocks, ['s']);
}

#[test]
fn an_answer_too_long_to_be_repeated_fails_aloud() {
    let mut writer = OpenaiResponses.stream_writer(Arc::new(reply()));
    let mut out = Vec::new();
    let piece = "x".repeat(1 << 20);
    writer.event(&start(), &mut out, &mut |_| {});
    writer.event(&open(0, Head::Text), &mut out, &mut |_| {});
    for _ in 0..40 {
        out.clear();
        let delta = Event::TextDelta { block: 0, text: Text::from_escaped(piece.as_str()) };
        writer.event(&delta, &mut out, &mut |_| {});
        if memchr::memmem::find(&out, b"event: response.failed").is_some() {
            return;
        }
    }
    panic!("nothing bounds what is kept");
}

const CREATED: &str = r#"{"type":"response.created","sequence_number":0,"response":{"id":"resp_1","model":"m","created_at":7,"status":"in_progress","output":[]}}"#;

fn completed(output: &str) -> String {
    format!(
        r#"{{"type":"response.completed","response":{{"id":"resp_1","model":"m","status":"completed","output":[{output}],"usage":{{"input_tokens":3,"output_tokens":2}}}}}}"#
    )
}

const MESSAGE: &str = r#"{"id":"msg_1","type":"message","role":"assistant","status":"completed","content":[{"type":"output_text","text":"ab","annotations":[{"type":"url_citation","start_index":0,"end_index":1,"url":"https://h","title":"T"}]}]}"#;
const CALLED: &str =
    r#"{"id":"fc_1","type":"function_call","call_id":"c","name":"f","arguments":"{\"a\":1}","status":"completed"}"#;
const THOUGHT: &str = r#"{"id":"rs_1","type":"reasoning","summary":[{"type":"summary_text","text":"s1"},{"type":"summary_text","text":"s2"}],"encrypted_content":"E"}"#;

#[test]
fn trap_b15_deltas_without_an_item_begin_one() {
    let folded = fold(&[&up(&[
        CREATED,
        r#"{"type":"response.output_text.delta","output_index":0,"content_index":0,"delta":"ab"}"#,
        &completed(MESSAGE),
    ])]);
    assert_eq!((folded.text.as_str(), folded.blocks.len(), folded.stop.as_deref()), ("ab", 1, Some("end_turn")));
}

#[test]
fn what_no_delta_brought_is_taken_from_where_it_stands_whole() {
    let whole =
        |folded: &Folded| (folded.text.clone(), folded.reasoning.clone(), folded.calls.clone(), folded.states.clone());
    let done =
        |at: usize, item: &str| format!(r#"{{"type":"response.output_item.done","output_index":{at},"item":{item}}}"#);
    let all = format!("{THOUGHT},{MESSAGE},{CALLED}");
    let end = completed(&all);
    let by_end = fold(&[&up(&[CREATED, &end])]);
    assert_eq!(by_end.text, "ab");
    assert_eq!(by_end.reasoning, "s1s2");
    assert_eq!(by_end.calls, [("c".to_owned(), "f".to_owned(), r#"{"a":1}"#.to_owned())]);
    assert_eq!((by_end.states.as_slice(), by_end.citations), (["E".to_owned()].as_slice(), 1));
    assert_eq!(by_end.stop.as_deref(), Some("tool_use"));
    let by_items = fold(&[&up(&[CREATED, &done(0, THOUGHT), &done(1, MESSAGE), &done(2, CALLED), &end])]);
    assert_eq!(whole(&by_items), whole(&by_end));
    let by_texts = fold(&[&up(&[
        CREATED,
        &done(0, THOUGHT),
        r#"{"type":"response.output_text.done","output_index":1,"content_index":0,"text":"ab"}"#,
        r#"{"type":"response.output_item.added","output_index":2,"item":{"id":"fc_1","type":"function_call","call_id":"c","name":"f","arguments":""}}"#,
        r#"{"type":"response.function_call_arguments.done","output_index":2,"arguments":"{\"a\":1}"}"#,
        &end,
    ])]);
    assert_eq!(whole(&by_texts), whole(&by_end));
}

#[test]
fn items_that_only_deltas_told_of_are_found_in_the_end() {
    let words =
        |place: &str| format!(r#"{{"type":"response.output_text.delta",{place}"content_index":0,"delta":"ab"}}"#);
    let thoughts = |place: &str| {
        format!(r#"{{"type":"response.reasoning_summary_text.delta",{place}"summary_index":0,"delta":"s1"}}"#)
    };
    let input =
        |place: &str| format!(r#"{{"type":"response.function_call_arguments.delta",{place}"delta":"{{\"a\":1}}"}}"#);
    let all = |items: &[&str]| items.join(",");
    let other = MESSAGE.replace("msg_1", "msg_2").replace(r#""ab""#, r#""cd""#);
    let call = r#"{"type":"response.output_item.added","output_index":0,"item":{"id":"fc_1","type":"function_call","call_id":"c","name":"f","arguments":""}}"#;
    let begun =
        r#"{"type":"response.function_call_arguments.delta","output_index":0,"item_id":"fc_1","delta":"{\"a\""}"#;
    let empty =
        r#"{"type":"response.output_item.added","output_index":0,"item":{"id":"msg_1","type":"message","content":[]}}"#;
    for (events, output, text, calls) in [
        // Arguments, whose call the end names.
        (vec![input(r#""output_index":0,"item_id":"fc_1","#)], all(&[CALLED]), "", 1),
        (vec![input(r#""output_index":0,"#)], all(&[CALLED]), "", 1),
        (vec![input("")], all(&[CALLED]), "", 1),
        (vec![input("")], all(&[MESSAGE, CALLED]), "ab", 1),
        (vec![words(r#""output_index":0,"#), input(r#""output_index":1,"#)], all(&[MESSAGE, CALLED]), "ab", 1),
        // Words that nothing places: their item is the one that can have said them.
        (vec![words("")], all(&[MESSAGE, CALLED]), "ab", 1),
        (vec![words("")], all(&[CALLED, MESSAGE]), "ab", 1),
        (vec![words("")], all(&[THOUGHT, MESSAGE]), "ab", 0),
        (vec![words("")], all(&[CALLED, MESSAGE, &other]), "abcd", 1),
        (vec![words(r#""item_id":"msg_1","#)], all(&[CALLED, MESSAGE]), "ab", 1),
        (vec![words(r#""item_id":"msg_1","#)], all(&[MESSAGE, &other]), "abcd", 0),
        (vec![thoughts("")], all(&[MESSAGE, THOUGHT, CALLED]), "ab", 1),
        // Other ids at the end, and an item left out of it.
        (
            vec![thoughts(r#""output_index":0,"item_id":"rs_9","#), words(r#""output_index":1,"item_id":"msg_9","#)],
            all(&[MESSAGE]),
            "ab",
            0,
        ),
        (
            vec![thoughts(r#""output_index":0,"item_id":"rs_9","#), words(r#""output_index":1,"item_id":"msg_1","#)],
            all(&[&other, MESSAGE]),
            "abcd",
            0,
        ),
        // What was announced, and no more.
        (vec![empty.to_owned()], all(&[MESSAGE]), "ab", 0),
        (vec![call.to_owned(), begun.to_owned()], all(&[CALLED]), "", 1),
    ] {
        let end = completed(&output);
        let mut lines = vec![CREATED];
        lines.extend(events.iter().map(String::as_str));
        lines.push(&end);
        let stream = up(&lines);
        let folded = fold(&[&stream]);
        assert_eq!(folded.text, text, "{events:?} {output}");
        let expected = vec![("c".to_owned(), "f".to_owned(), r#"{"a":1}"#.to_owned()); calls];
        assert_eq!(folded.calls, expected, "{events:?} {output}");
        assert_eq!(folded.fault, None, "{events:?} {output}");
        let stop = if calls == 0 { "end_turn" } else { "tool_use" };
        assert_eq!(folded.stop.as_deref(), Some(stop), "{events:?} {output}");
        for cut in 0..stream.len() {
            let (begin, rest) = stream.split_at(cut);
            assert_eq!(fold(&[begin, rest]), folded, "cut at {cut}");
        }
    }
}

#[test]
fn trap_b16_b18_reasoning_call_reasoning() {
    let folded = fold(&[&up(&[
        CREATED,
        r#"{"type":"response.output_item.added","output_index":0,"item":{"id":"rs_1","type":"reasoning","summary":[]}}"#,
        r#"{"type":"response.output_item.done","output_index":0,"item":{"id":"rs_1","type":"reasoning","summary":[]}}"#,
        r#"{"type":"response.output_item.added","output_index":1,"item":{"id":"fc_1","type":"function_call","call_id":"c","name":"f","arguments":""}}"#,
        r#"{"type":"response.function_call_arguments.delta","output_index":1,"item_id":"fc_1","delta":"{}"}"#,
        r#"{"type":"response.output_item.done","output_index":1,"item":{"id":"fc_1","type":"function_call","call_id":"c","name":"f","arguments":"{}"}}"#,
        r#"{"type":"response.reasoning_summary_text.delta","output_index":2,"summary_index":0,"delta":"again"}"#,
        &completed(""),
    ])]);
    assert_eq!(folded.blocks, ['1', 'r'], "an empty item is no block, and thoughts behind a call have their own");
    assert_eq!(folded.stop.as_deref(), Some("tool_use"), "trap b27: a call makes it one, whatever the status says");
}

#[test]
fn trap_a10_a_failure_is_a_fault_and_nothing_follows() {
    let failed = r#"{"type":"response.failed","response":{"id":"resp_1","status":"failed","error":{"code":"server_error","message":"boom"},"output":[]}}"#;
    let error =
        r#"{"type":"error","code":"rate_limit_exceeded","message":"slow down","param":null,"sequence_number":1}"#;
    for (event, words) in [(failed, "boom"), (error, "slow down"), (r#"{"error":{"message":"quota"}}"#, "quota")] {
        for before in [vec![], vec![CREATED]] {
            let lines: Vec<&str> = before.into_iter().chain([event, MESSAGE]).collect();
            let folded = fold(&[&up(&lines)]);
            assert_eq!((folded.fault.as_deref(), folded.ended), (Some(words), false));
        }
    }
}

#[test]
fn trap_b12_the_error_behind_a_stream_that_is_passed_on_goes_on_with_its_numbers() {
    let delta = r#"{"type":"response.output_text.delta","sequence_number":1,"output_index":0,"delta":"a"}"#;
    let whole = up(&[CREATED, delta]);
    // The second event is not finished where the stream is cut.
    for (len, number) in [(whole.len(), 2), (whole.len() - 9, 1)] {
        let mut watch = crate::transcode::Watch::new(Format::OpenaiResponses, Arc::new(reply()));
        let mut passed = watch.chunk(bytes::Bytes::copy_from_slice(&whole[..len])).to_vec();
        passed.extend_from_slice(&watch.finish());
        let text = String::from_utf8(passed).unwrap();
        let last: serde_json::Value = serde_json::from_str(text.rsplit_once("data: ").unwrap().1.trim()).unwrap();
        assert_eq!((&last["type"], &last["sequence_number"]), (&json!("response.failed"), &json!(number)), "{len}");
        let response = &last["response"];
        let begun: serde_json::Value = serde_json::from_str(CREATED).unwrap();
        for key in ["id", "model", "created_at"] {
            assert_eq!(response[key], begun["response"][key], "{key}");
        }
        assert_eq!(response["error"]["message"].as_str().unwrap().split(':').next(), Some("stream_incomplete"));
    }
    // As the vendor names it, the beginning passes unread: its id is not known, and no other may stand beside it.
    let named = format!("event: response.created\ndata: {CREATED}\n\n");
    let mut watch = crate::transcode::Watch::new(Format::OpenaiResponses, Arc::new(reply()));
    watch.chunk(bytes::Bytes::from(named));
    let error = String::from_utf8(watch.finish().to_vec()).unwrap();
    assert!(error.starts_with("event: error\n") && error.contains("\"sequence_number\":1}"), "{error}");
    let mut watch = crate::transcode::Watch::new(Format::OpenaiResponses, Arc::new(reply()));
    let first = frames(&watch.finish());
    assert_eq!(kinds(&first), ["response.created", "response.in_progress", "response.failed"]);
}

#[test]
fn a_cut_stream_is_a_fault() {
    let folded = fold(&[&up(&[CREATED, r#"{"type":"response.output_text.delta","output_index":0,"delta":"a"}"#])]);
    assert!(folded.fault.is_some() && !folded.ended);
}

#[test]
fn unknown_events_are_lost_aloud_and_those_of_server_tools_are_their_items() {
    let folded = fold(&[&up(&[
        CREATED,
        r#"{"type":"response.brand_new","x":1}"#,
        r#"{"type":"keepalive"}"#,
        r#"{"type":"response.web_search_call.searching","output_index":0,"item_id":"ws_1"}"#,
        r#"{"type":"response.output_item.done","output_index":0,"item":{"id":"ws_1","type":"web_search_call","status":"completed"}}"#,
        &completed(r#"{"id":"ws_1","type":"web_search_call","status":"completed"}"#),
    ])]);
    assert_eq!((folded.dropped.as_slice(), folded.blocks.as_slice()), ([Field::Unknown].as_slice(), ['s'].as_slice()));
    assert_eq!(folded.stop.as_deref(), Some("end_turn"));
}

#[test]
fn arguments_that_the_deltas_began_are_taken_on_from_the_whole() {
    let added = r#"{"type":"response.output_item.added","output_index":0,"item":{"id":"fc_1","type":"function_call","call_id":"c","name":"f","arguments":""}}"#;
    let delta = |text: &str| {
        format!(
            r#"{{"type":"response.function_call_arguments.delta","output_index":0,"item_id":"fc_1","delta":"{text}"}}"#
        )
    };
    let done = r#"{"type":"response.function_call_arguments.done","output_index":0,"arguments":"{\"a\":\"é\"}"}"#;
    let whole = r#"{"type":"response.output_item.done","output_index":0,"item":{"id":"fc_1","type":"function_call","call_id":"c","name":"f","arguments":"{\"a\":\"é\"}"}}"#;
    for (deltas, ends, expected) in [
        (&[r#"{\"a\":"#, r#"\"\u00e9"#][..], &[done, whole][..], r#"{"a":"é"}"#),
        (&[r#"{\"a"#], &[whole], r#"{"a":"é"}"#),
        (&[r#"{\"a\":\"é\"}"#], &[done, whole], r#"{"a":"é"}"#),
        // Deltas that are told by those before them count as well.
        (&[r#"{\""#, "a", r#"\":"#, r#"\"é"#, r#"\"}"#], &[done, whole], r#"{"a":"é"}"#),
        (&[r#"{\""#, "a", r#"\":"#], &[done, whole], r#"{"a":"é"}"#),
        // Nothing is known of what goes on from other words.
        (&[r#"{\"b"#], &[done], r#"{"b"#),
    ] {
        let deltas: Vec<String> = deltas.iter().map(|text| delta(text)).collect();
        let end = completed("");
        let mut events = vec![CREATED, added];
        events.extend(deltas.iter().map(String::as_str));
        events.extend(ends);
        events.push(&end);
        let reply = Arc::new(reply());
        let mut transcoder = Transcoder::new(Format::OpenaiResponses, Format::OpenaiChat, reply, Undo::default());
        let mut out = Vec::new();
        transcoder.chunk(&up(&events), &mut out);
        transcoder.finish(&mut out);
        let lines = String::from_utf8(out).unwrap();
        let pieces = lines.lines().filter_map(|line| serde_json::from_str(line.strip_prefix("data: ")?).ok());
        let said: String = pieces
            .filter_map(|piece: serde_json::Value| {
                piece["choices"][0]["delta"]["tool_calls"][0]["function"]["arguments"].as_str().map(str::to_owned)
            })
            .collect();
        assert_eq!(said, expected);
    }
}

#[test]
fn late_arguments_break_the_stream() {
    let folded = fold(&[&up(&[
        CREATED,
        r#"{"type":"response.output_item.added","output_index":0,"item":{"type":"function_call","call_id":"c","name":"f"}}"#,
        r#"{"type":"response.output_item.done","output_index":0,"item":{"type":"function_call","call_id":"c","name":"f","arguments":"{}"}}"#,
        r#"{"type":"response.function_call_arguments.delta","output_index":0,"delta":"more"}"#,
    ])]);
    assert!(folded.fault.unwrap().contains("complete"));
}

#[test]
fn refusals_and_incomplete_answers() {
    let folded = fold(&[&up(&[
        CREATED,
        r#"{"type":"response.refusal.delta","output_index":0,"content_index":0,"delta":"no"}"#,
        r#"{"type":"response.incomplete","response":{"status":"incomplete","incomplete_details":{"reason":"content_filter"},"output":[]}}"#,
    ])]);
    assert_eq!((folded.refusal.as_str(), folded.stop.as_deref(), folded.ended), ("no", Some("filtered"), true));
}

#[test]
fn only_the_end_tells_anything() {
    let telling = |event: Option<&str>, data: &str| OpenaiResponses.is_telling(&Frame { event, data });
    for name in ["response.completed", "response.incomplete", "response.failed", "error"] {
        assert!(telling(Some(name), "{}"), "{name}");
        assert!(telling(None, &format!(r#"{{"type":"{name}"}}"#)), "{name}");
    }
    for name in ["response.output_text.delta", "response.reasoning_text.delta"] {
        assert!(!telling(Some(name), "{}"), "{name}");
        assert!(!telling(None, &format!(r#"{{"type":"{name}","delta":"x"}}"#)), "{name}");
    }
    assert!(!telling(Some("response.created"), "{}"));
}

#[test]
fn trap_a8_an_error_of_a_router_is_no_empty_success() {
    let seen = translated(
        Format::OpenaiChat,
        "data: {\"id\":\"x\",\"choices\":[],\"error\":{\"message\":\"quota\",\"code\":429}}\n\n",
    );
    assert_eq!(kinds(&seen), ["response.created", "response.in_progress", "response.failed"]);
    assert_eq!(seen[2]["response"]["error"], json!({"code": "rate_limit_exceeded", "message": "quota"}));
}

#[test]
fn probabilities_stand_in_the_delta_of_their_words() {
    let chunk = |words: &str| {
        format!(
            "data: {{\"id\":\"c\",\"model\":\"m\",\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{words}\"}},\
             \"logprobs\":{{\"content\":[{{\"token\":\"{words}\",\"logprob\":-0.5}}]}}}}]}}\n\n"
        )
    };
    let end = "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";
    let stream = format!("{}{}{end}", chunk("a"), chunk("b"));
    let mut transcoder =
        Transcoder::new(Format::OpenaiChat, Format::OpenaiResponses, Arc::new(reply()), Undo::default());
    let mut out = Vec::new();
    transcoder.chunk(stream.as_bytes(), &mut out);
    transcoder.finish(&mut out);
    let out = String::from_utf8(out).unwrap();
    let entry = |words: &str| format!(r#"{{"token":"{words}","logprob":-0.5}}"#);
    for words in ["a", "b"] {
        assert!(out.contains(&format!(r#""delta":"{words}","logprobs":[{}]"#, entry(words))), "{out}");
    }
    let all = format!(r#""text":"ab","logprobs":[{},{}]"#, entry("a"), entry("b"));
    assert!(out.contains(&all), "{out}");
    assert!(transcoder.outcome().dropped.is_empty());
}
