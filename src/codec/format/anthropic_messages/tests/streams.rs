//! Streams: the traps of writing and reading them.

use std::sync::Arc;

use super::super::AnthropicMessages;
use super::{Folded, fold, frames, read_stream, reply};
use crate::Format;
use crate::format::WireFormat as _;
use crate::hub::{Event, Fault, FaultKind, Flavor, Head, Opaque, OpaqueKind, Stop, ThinkingKind, Usage};
use crate::json::Text;
use crate::seal::{Opened, Seal};

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

#[test]
fn arguments_that_are_no_object_end_the_stream_as_they_end_a_whole_answer() {
    for fragments in [&["[1]"][..], &[" ", "\\n[", "1]"], &["7"]] {
        let mut events = vec![start(), open(0, tool("a")), open(1, tool("b")), arguments(1, "{}")];
        events.extend(fragments.iter().map(|fragment| arguments(0, fragment)));
        events.extend([close(0), close(1), stop(Stop::ToolUse), Event::End]);
        let seen = frames(&write(&events));
        let last = seen.last().map(|(event, data)| (event.as_str(), data.to_string().contains("not a JSON object")));
        assert_eq!(last, Some(("error", true)), "{fragments:?}");
    }
    // Those that break off, are no JSON, or go on behind their end, in an answer that says that it is whole.
    for fragments in [&[r#"{\"a\":"#][..], &["{}", "{}"], &["{}{}"], &["{a:1}"], &["{", "'a':1}"], &[r#"{\"a\":NaN}"#]]
    {
        for end in [Stop::EndTurn, Stop::ToolUse] {
            let mut events = vec![start(), open(0, tool("a"))];
            events.extend(fragments.iter().map(|fragment| arguments(0, fragment)));
            events.extend([open(1, Head::Text), text(1, "t"), close(1), close(0), stop(end), Event::End]);
            let kinds = kinds(&write(&events));
            assert_eq!(kinds.last().map(String::as_str), Some("error"), "{fragments:?}");
            assert!(!kinds.iter().any(|kind| kind == "content_block_stop"), "{fragments:?}");
        }
    }
    // Where the answer was cut, they may be too.
    let cut = [start(), open(0, tool("a")), arguments(0, r#"{\"a\":"#), close(0), stop(Stop::MaxTokens), Event::End];
    assert_eq!(kinds(&write(&cut)).last().map(String::as_str), Some("message_stop"));
    // Also those of a call that had to wait.
    let events = [start(), open(0, tool("a")), arguments(0, "{"), open(1, tool("b")), arguments(1, "[1]")];
    let rest = [arguments(0, "}"), close(0), close(1), stop(Stop::ToolUse), Event::End];
    let seen = frames(&write(&[events.as_slice(), rest.as_slice()].concat()));
    assert_eq!(seen.last().map(|(event, _)| event.as_str()), Some("error"));
}

/// What the writer makes of `events`.
fn write(events: &[Event<'_>]) -> Vec<u8> {
    let mut writer = AnthropicMessages.stream_writer(Arc::new(reply()));
    let mut out = Vec::new();
    for event in events {
        writer.event(event, &mut out, &mut |_| {});
    }
    out
}

/// Writes `events` in whole and cut behind each of them; the grammar holds for all, and no cut looks complete.
fn check(events: &[Event<'_>]) -> Folded {
    for cut in 0..events.len() {
        let written = write(&events[..cut]);
        let seen = frames(&written);
        assert!(!seen.iter().any(|(event, _)| event == "message_stop"), "cut behind {cut}");
    }
    let whole = write(events);
    frames(&whole);
    fold(&[&whole])
}

fn kinds(written: &[u8]) -> Vec<String> {
    frames(written).into_iter().map(|(event, _)| event).collect()
}

fn up(lines: &[&str]) -> Vec<u8> {
    lines.iter().flat_map(|line| format!("data: {line}\n\n").into_bytes()).collect()
}

const BEGIN: &str =
    r#"{"type":"message_start","message":{"id":"msg_1","model":"m","usage":{"input_tokens":3,"output_tokens":1}}}"#;

#[test]
fn trap_b1_interleaved_tool_arguments() {
    let folded = check(&[
        start(),
        open(0, tool("a")),
        open(1, tool("b")),
        arguments(0, r#"{\"x\":"#),
        arguments(1, r#"{\"y\""#),
        arguments(0, "1}"),
        arguments(1, ":2}"),
        close(0),
        close(1),
        stop(Stop::ToolUse),
        Event::End,
    ]);
    let calls: Vec<_> = folded.calls.iter().map(|call| (call.0.as_str(), call.2.as_str())).collect();
    assert_eq!(calls, [("a", r#"{"x":1}"#), ("b", r#"{"y":2}"#)]);
    assert_eq!(folded.stop.as_deref(), Some("tool_use"));
}

#[test]
fn the_first_tool_call_streams_live_and_a_complete_one_gives_the_floor() {
    let events =
        [start(), open(0, tool("a")), arguments(0, "{"), open(1, tool("b")), arguments(0, "}"), arguments(1, r"{}")];
    let live = String::from_utf8(write(&events)).unwrap();
    assert!(live.contains(r#""id":"b""#) && live.ends_with("\"partial_json\":\"{}\"}}\n\n"), "{live}");
}

#[test]
fn three_calls_wait_for_one_without_arguments() {
    let folded = check(&[
        start(),
        open(0, tool("a")),
        open(1, tool("b")),
        arguments(1, "{}"),
        open(2, Head::Text),
        text(2, "words"),
        close(1),
        close(2),
        close(0),
        stop(Stop::ToolUse),
        Event::End,
    ]);
    assert_eq!(folded.calls.len(), 2);
    assert_eq!((folded.calls[0].2.as_str(), folded.calls[1].2.as_str(), folded.text.as_str()), ("", "{}", "words"));
}

#[test]
fn a_call_that_goes_on_behind_its_end_is_a_fault() {
    let written = write(&[
        start(),
        open(0, tool("a")),
        arguments(0, "{}"),
        open(1, tool("b")),
        arguments(0, " "),
        arguments(0, r#"{\"z\":1}"#),
        arguments(1, "{}"),
    ]);
    assert_eq!(kinds(&written).last().map(String::as_str), Some("error"));
}

#[test]
fn what_waits_is_bounded() {
    let big = "x".repeat(1 << 20);
    let mut events = vec![start(), open(0, tool("a")), arguments(0, "{"), open(1, tool("b"))];
    for _ in 0..5 {
        events.push(Event::ArgumentsDelta { block: 1, fragment: Text::from_escaped(big.as_str()) });
    }
    assert_eq!(kinds(&write(&events)).last().map(String::as_str), Some("error"));
}

#[test]
fn trap_b16_thinking_call_thinking() {
    let folded = check(&[
        start(),
        open(0, Head::Thinking(ThinkingKind::Raw)),
        text(0, "one "),
        close(0),
        open(1, tool("a")),
        arguments(1, "{}"),
        open(2, Head::Thinking(ThinkingKind::Raw)),
        text(2, "two"),
        close(2),
        close(1),
        stop(Stop::ToolUse),
        Event::End,
    ]);
    assert_eq!(folded.reasoning, "one two");
    assert_eq!(folded.blocks.iter().map(|(_, kind)| *kind).collect::<String>(), "r1r");
}

#[test]
fn trap_b17_words_may_interleave() {
    let folded = check(&[
        start(),
        open(0, Head::Thinking(ThinkingKind::Raw)),
        text(0, "r"),
        open(1, Head::Text),
        text(1, "a"),
        text(0, "s"),
        text(1, "b"),
        close(0),
        close(1),
        stop(Stop::EndTurn),
        Event::End,
    ]);
    assert_eq!((folded.text.as_str(), folded.reasoning.as_str()), ("ab", "rs"));
}

#[test]
fn trap_b18_empty_blocks_are_not_sent() {
    let written = write(&[
        start(),
        open(0, Head::Thinking(ThinkingKind::Raw)),
        close(0),
        open(1, Head::Text),
        close(1),
        open(2, tool("a")),
        close(2),
        stop(Stop::ToolUse),
        Event::End,
    ]);
    let expected = ["message_start", "content_block_start", "content_block_stop", "message_delta", "message_stop"];
    assert_eq!(kinds(&written), expected);
    // C2: no arguments at all are `input: {}`, not a fragment.
    assert_eq!(fold(&[&written]).calls[0].2, "");
}

#[test]
fn trap_d6_a_signature_without_text_is_data() {
    let own = Opaque {
        kind: OpaqueKind::ThinkingSignature,
        maker: Format::AnthropicMessages,
        data: Text::from_escaped("EqQB"),
    };
    let folded = check(&[
        start(),
        open(0, Head::Thinking(ThinkingKind::Summary)),
        Event::Opaque { block: 0, opaque: own },
        close(0),
        stop(Stop::EndTurn),
        Event::End,
    ]);
    assert_eq!((folded.signatures, folded.reasoning), (vec!["EqQB".to_owned()], String::new()));
}

#[test]
fn foreign_state_goes_in_envelopes() {
    let foreign =
        Opaque { kind: OpaqueKind::EncryptedReasoning, maker: Format::OpenaiChat, data: Text::from_escaped("e\\n") };
    let folded = check(&[
        start(),
        open(0, Head::Thinking(ThinkingKind::Raw)),
        text(0, "unsigned"),
        close(0),
        open(1, Head::Redacted),
        Event::Opaque { block: 1, opaque: foreign.clone() },
        close(1),
        stop(Stop::EndTurn),
        Event::End,
    ]);
    let seal = Seal::new(super::KEY);
    let [unsigned, encrypted] = folded.signatures.as_slice() else { panic!("{:?}", folded.signatures) };
    assert!(matches!(seal.open(unsigned), Opened::Ours(Opaque { kind: OpaqueKind::Unsigned, .. })));
    assert_eq!(seal.open(encrypted), Opened::Ours(foreign));
}

#[test]
fn trap_a1_a_fault_closes_nothing_and_is_last() {
    let fault = Fault::new(FaultKind::StreamIncomplete, "cut");
    let events = [start(), open(0, tool("a")), arguments(0, "{"), Event::Fault(fault), close(0), Event::End];
    assert_eq!(kinds(&write(&events)), ["message_start", "content_block_start", "content_block_delta", "error"]);
}

#[test]
fn trap_a16_pings_are_events_at_any_time() {
    let written = write(&[Event::Ping, start(), Event::Ping, open(0, Head::Text), Event::Ping]);
    assert_eq!(kinds(&written), ["ping", "message_start", "ping", "ping"]);
}

#[test]
fn nothing_goes_out_before_there_is_more_than_a_start() {
    assert!(write(&[start(), Event::Usage(Usage::default())]).is_empty());
}

#[test]
fn trap_f14_usage_and_reason_come_together_once() {
    let usage = Usage {
        input_uncached: 1743,
        cache_read: 512,
        cache_known: true,
        output_visible: 5,
        output_reasoning: 7,
        reasoning_known: true,
        ..Usage::default()
    };
    let written = write(&[
        start(),
        open(0, Head::Text),
        text(0, "x"),
        close(0),
        stop(Stop::MaxTokens),
        Event::Usage(usage.clone()),
        Event::End,
    ]);
    let seen = frames(&written);
    let delta: Vec<_> = seen.iter().filter(|(event, _)| event == "message_delta").collect();
    assert_eq!(delta.len(), 1);
    assert_eq!(delta[0].1["delta"]["stop_reason"], "max_tokens");
    // F3: parts are disjoint.
    assert_eq!(delta[0].1["usage"]["input_tokens"], 1743);
    assert_eq!(delta[0].1["usage"]["output_tokens"], 12);
    assert_eq!(fold(&[&written]).usage, usage);
}

#[test]
fn trap_b32_line_separators_are_escaped() {
    let mut events = vec![start(), open(0, Head::Text)];
    events.push(Event::TextDelta { block: 0, text: Text::from_escaped("a\u{2028}b\u{85}c") });
    let written = String::from_utf8(write(&events)).unwrap();
    assert!(written.contains(r"a\u2028b\u0085c"));
}

#[test]
fn trap_c26_equal_ids_are_told_apart() {
    let folded = check(&[
        start(),
        open(0, tool("call_0")),
        arguments(0, "{}"),
        close(0),
        open(1, tool("call_0")),
        arguments(1, "{}"),
        close(1),
        stop(Stop::ToolUse),
        Event::End,
    ]);
    assert_ne!(folded.calls[0].0, folded.calls[1].0);
}

#[test]
fn free_text_of_a_custom_tool_is_wrapped() {
    let custom = Head::ToolCall { id: "a".into(), name: "f".into(), flavor: Flavor::Custom };
    let folded = check(&[
        start(),
        open(0, custom),
        arguments(0, r#"say \"hi\"\n"#),
        arguments(0, r"}"),
        close(0),
        stop(Stop::ToolUse),
        Event::End,
    ]);
    let parsed: serde_json::Value = serde_json::from_str(&folded.calls[0].2).unwrap();
    assert_eq!(parsed["input"], "say \"hi\"\n}");
}

#[test]
fn other_answers_than_the_first_are_left_out() {
    let folded = check(&[
        start(),
        open(0, Head::Text),
        Event::BlockStart { block: 1, candidate: 1, head: Head::Text },
        text(1, "no"),
        text(0, "yes"),
        close(1),
        close(0),
        Event::Stop { candidate: 1, stop: Stop::MaxTokens },
        stop(Stop::EndTurn),
        Event::End,
    ]);
    assert_eq!((folded.text.as_str(), folded.stop.as_deref()), ("yes", Some("end_turn")));
}

#[test]
fn a_failure_told_as_a_reason_is_an_error() {
    let events = [start(), open(0, Head::Text), text(0, "x"), close(0), stop(Stop::Failed(Text::EMPTY)), Event::End];
    assert_eq!(kinds(&write(&events)).last().map(String::as_str), Some("error"));
}

#[test]
fn trap_a9_an_error_event_is_a_fault_of_its_kind() {
    let error = r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#;
    let mut faults = Vec::new();
    read_stream(&[&up(&[BEGIN, error])], &mut |event| {
        if let Event::Fault(fault) = event {
            faults.push((fault.kind, fault.status, fault.message.to_string()));
        }
    });
    assert_eq!(faults, [(FaultKind::Overloaded, 529, "Overloaded".to_owned())]);
}

#[test]
fn an_error_in_the_words_of_another_server_is_one() {
    let block = r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#;
    for (event, error, words) in [
        ("", r#"{"detail":"gone"}"#, "gone"),
        ("", r#"{"object":"error","message":"busy","code":503}"#, "busy"),
        ("error", r#"{"message":"lost"}"#, "lost"),
        ("error", r#"{"what":"this is"}"#, "without saying which"),
    ] {
        let mut faults = Vec::new();
        let name = if event.is_empty() { String::new() } else { format!("event: {event}\n") };
        let error = format!("{name}data: {error}\n\n");
        let stream = [up(&[BEGIN, block]), error.clone().into_bytes(), up(&[r#"{"type":"message_stop"}"#])].concat();
        read_stream(&[&stream], &mut |event| match event {
            Event::Fault(fault) => faults.push(fault.message.to_string()),
            Event::End => faults.push("the end".to_owned()),
            _ => {}
        });
        assert!(faults.len() == 1 && faults[0].contains(words), "{error}: {faults:?}");
    }
    let folded = fold(&[&up(&[BEGIN, block, r#"{"type":"news","message":"of the server"}"#])]);
    assert!(folded.fault.is_some_and(|fault| !fault.contains("of the server")));
}

#[test]
fn ends_are_told_from_cuts() {
    let block = r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#;
    let words = r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"hi"}}"#;
    let close = r#"{"type":"content_block_stop","index":0}"#;
    let delta = r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":5}}"#;
    let usage = r#"{"type":"message_delta","delta":{},"usage":{"output_tokens":7}}"#;
    let end = r#"{"type":"message_stop"}"#;
    for (lines, complete) in [
        (&[BEGIN, block, words, close, delta, end][..], true),
        // A second message_delta brings the rest of the numbers.
        (&[BEGIN, block, words, close, delta, usage, end], true),
        (&[BEGIN, block, words, close, delta], true),
        (&[BEGIN, block, words, delta, end], true),
        (&[BEGIN, block, words, close, end], true),
        (&[BEGIN, words, delta, end], true),
        (&[block, words, close, delta, end], true),
        (&[BEGIN, block, words, close, delta, "[DONE]"], true),
        (&[BEGIN, block, words, close], false),
        (&[BEGIN, block, words], false),
        (&[BEGIN, block, words, end], false),
        (&[BEGIN], false),
        (&[], false),
        (&[BEGIN, end], false),
        (&[BEGIN, usage, end], false),
        (&[end], false),
        (&[BEGIN, block, words, "{\"type\":"], false),
        (&[BEGIN, block, close, words, end], false),
        (&["{\"error\":{\"message\":\"quota\"}}"], false),
    ] {
        let folded = fold(&[&up(lines)]);
        assert_eq!((folded.ended, folded.fault.is_none()), (complete, complete), "{lines:?}");
        if complete {
            assert_eq!((folded.text.as_str(), folded.stop.as_deref()), ("hi", Some("end_turn")), "{lines:?}");
        }
    }
}

#[test]
fn an_answer_of_nothing_says_why_it_ended() {
    let delta = r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":1}}"#;
    let folded = fold(&[&up(&[BEGIN, delta, r#"{"type":"message_stop"}"#])]);
    assert_eq!((folded.ended, folded.fault, folded.stop.as_deref()), (true, None, Some("end_turn")));
}

#[test]
fn trap_c1_input_comes_once_however_it_comes() {
    let begin = |input: &str| {
        format!(
            r#"{{"type":"content_block_start","index":0,"content_block":{{"type":"tool_use","id":"t","name":"f","input":{input}}}}}"#
        )
    };
    let piece = |json: &str| {
        format!(
            r#"{{"type":"content_block_delta","index":0,"delta":{{"type":"input_json_delta","partial_json":"{json}"}}}}"#
        )
    };
    let (close, end) = (r#"{"type":"content_block_stop","index":0}"#, r#"{"type":"message_stop"}"#);
    for (input, pieces, expected) in [
        ("{}", vec![piece("")], ""),
        ("{}", vec![], ""),
        ("{}", vec![piece(r#"{\"a\""#), piece(":1}")], r#"{"a":1}"#),
        (r#"{"a":1}"#, vec![], r#"{"a":1}"#),
        (r#"{"a":1}"#, vec![piece(r#"{\"a\":1}"#)], r#"{"a":1}"#),
    ] {
        let first = begin(input);
        let mut lines = vec![BEGIN, first.as_str()];
        lines.extend(pieces.iter().map(String::as_str));
        lines.extend([close, end]);
        let folded = fold(&[&up(&lines)]);
        assert_eq!(folded.calls, [("t".to_owned(), "f".to_owned(), expected.to_owned())], "{lines:?}");
        assert_eq!(folded.stop.as_deref(), Some("tool_use"));
    }
}

#[test]
fn trap_f9_server_tools_are_not_the_clients() {
    let call = r#"{"type":"content_block_start","index":0,"content_block":{"type":"server_tool_use","id":"srvtoolu_1","name":"web_search","input":{}}}"#;
    let piece = r#"{"type":"content_block_delta","index":0,"delta":{"type":"input_json_delta","partial_json":"{}"}}"#;
    let close = r#"{"type":"content_block_stop","index":0}"#;
    let unknown = r#"{"type":"content_block_start","index":1,"content_block":{"type":"compaction","content":"x"}}"#;
    let odd = r#"{"type":"content_block_delta","index":1,"delta":{"type":"compaction_delta","content":"y"}}"#;
    let delta = r#"{"type":"message_delta","delta":{"stop_reason":"pause_turn"},"usage":{"output_tokens":5}}"#;
    let folded = fold(&[&up(&[BEGIN, call, piece, close, unknown, odd, delta, r#"{"type":"message_stop"}"#])]);
    assert!(folded.calls.is_empty() && folded.ended);
    assert_eq!(folded.stop.as_deref(), Some("pause"));
}

#[test]
fn telling_frames_are_told() {
    for (event, data, telling) in [
        (Some("content_block_delta"), "{}", false),
        (Some("ping"), "{}", false),
        (Some("message_delta"), "{}", true),
        (Some("error"), "{}", true),
        (None, r#"{"type":"content_block_delta"}"#, false),
        (None, r#"{"type":"message_start"}"#, true),
        (None, r#"{ "type":"content_block_delta"}"#, true),
    ] {
        let frame = crate::frame::sse::Frame { event, data };
        assert_eq!(AnthropicMessages.is_telling(&frame), telling, "{event:?} {data}");
    }
}

/// SDKs keep the split that the start tells, whatever is told at the end.
#[test]
fn a_start_tells_no_split_of_cache_writes_that_is_not_known_yet() {
    let usage = |short, long, cache_known| Usage {
        cache_write_short: short,
        cache_write_long: long,
        cache_known,
        ..Usage::default()
    };
    for (early, told) in [
        (None, None),
        (Some(usage(0, 0, false)), None),
        (Some(usage(0, 0, true)), Some((0, 0))),
        (Some(usage(5, 7, false)), Some((5, 7))),
    ] {
        let mut events = vec![start()];
        events.extend(early.clone().map(Event::Usage));
        events.extend([open(0, Head::Text), text(0, "t"), close(0)]);
        events.extend([Event::Usage(usage(90, 7, true)), stop(Stop::EndTurn), Event::End]);
        let seen = frames(&write(&events));
        let split = |event: &str, at: &str| {
            let (_, data) = seen.iter().find(|(name, _)| name == event).unwrap();
            let split = data.pointer(&format!("{at}/cache_creation")).expect("the vendor's types want it");
            let count = |split: &serde_json::Value, key: &str| split[key].as_u64().unwrap();
            let both = || (count(split, "ephemeral_5m_input_tokens"), count(split, "ephemeral_1h_input_tokens"));
            (!split.is_null()).then(both)
        };
        assert_eq!(split("message_start", "/message/usage"), told, "{early:?}");
        assert_eq!(split("message_delta", "/usage"), Some((90, 7)), "{early:?}");
    }
}
