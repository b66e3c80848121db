//! What clients of Messages and Gemini see of reasoning, by what they asked for: whole and streamed alike.

use std::sync::Arc;

use serde_json::{Value, json};

use super::crossings::{blocks_of, messages, reply as shown, translated};
use crate::format::{Facts, ReasoningWish, Reply, Undo, wire};
use crate::hub::{
    Block, BlockKind, Candidate, Event, Field, Flavor, Head, Losses, Opaque, OpaqueKind, Response, Stop, ThinkingKind,
};
use crate::json::{Json, Text};
use crate::reshape::replay;
use crate::seal::{Opened, Seal};
use crate::{Format, Transcoder};

use Format::{AnthropicMessages as A, GeminiGenerate as G, OpenaiChat as C, OpenaiResponses as R};
use ReasoningWish::{Declined, Hidden, Shown, Unasked};

const WISHES: [ReasoningWish; 4] = [Declined, Hidden, Shown, Unasked];

fn reply(reasoning: ReasoningWish) -> Reply {
    Reply { reasoning, ..shown() }
}

/// A block by its letter: text, a call, thinking that is signed or is not or has no words, redacted thinking; in capitals
/// with state of the client's own vendor.
fn block((number, letter): (usize, char)) -> Block<'static> {
    let thinking = |words: &'static str| BlockKind::Thinking { text: Text::from_plain(words), kind: ThinkingKind::Raw };
    let kind = match letter.to_ascii_lowercase() {
        't' => BlockKind::Text { text: Text::from_plain("t"), citations: Vec::new() },
        'c' => BlockKind::ToolCall {
            id: format!("c{number}").into(),
            name: "f".into(),
            arguments: Json::EMPTY_OBJECT,
            flavor: Flavor::Function,
        },
        's' | 'w' => thinking("w"),
        'e' => thinking(""),
        _ => BlockKind::Redacted,
    };
    let mut block = Block::new(kind, 0);
    if !"tcw".contains(letter) {
        let (kind, maker) = if letter.is_ascii_uppercase() {
            (OpaqueKind::ThinkingSignature, A)
        } else {
            (OpaqueKind::EncryptedReasoning, R)
        };
        block.opaque.push(Opaque { kind, maker, data: Text::from_plain(&format!("x{number}")).into_owned() });
    }
    block
}

fn response(letters: &str) -> Response<'static> {
    let blocks = letters.chars().enumerate().map(block).collect();
    let stop = if letters.contains('c') { Stop::ToolUse } else { Stop::EndTurn };
    Response {
        format: C,
        id: Text::from_plain("id"),
        model: Text::from_plain("m"),
        created: None,
        candidates: vec![Candidate { index: 0, blocks, stop, logprobs: None, extras: Vec::new() }],
        usage: None,
        tier: None,
        extras: Vec::new(),
    }
}

fn whole(client: Format, response: &Response<'_>, wish: ReasoningWish) -> (Vec<Value>, Vec<Field>) {
    let mut losses = Losses::default();
    let body = wire(client).write_response(response, &reply(wish), &mut losses).unwrap();
    let body: Value = serde_json::from_slice(&body).unwrap();
    let blocks = if client == A { &body["content"] } else { &body["candidates"][0]["content"]["parts"] };
    (blocks.as_array().unwrap().clone(), losses.iter().map(|loss| loss.field).collect())
}

fn written(client: Format, events: &[Event<'_>], wish: ReasoningWish) -> (Vec<Value>, Vec<Field>) {
    let (mut out, mut lost) = (Vec::new(), Vec::new());
    let mut writer = wire(client).stream_writer(Arc::new(reply(wish)));
    for event in events {
        writer.event(event, &mut out, &mut |field| lost.push(field));
    }
    (if client == A { blocks_of(out) } else { parts_of(&out) }, lost)
}

fn streamed(client: Format, response: &Response<'_>, wish: ReasoningWish) -> (Vec<Value>, Vec<Field>) {
    let (mut out, mut lost) = (Vec::new(), Vec::new());
    let mut writer = wire(client).stream_writer(Arc::new(reply(wish)));
    replay(response, &mut |event| writer.event(&event, &mut out, &mut |field| lost.push(field)));
    (if client == A { blocks_of(out) } else { parts_of(&out) }, lost)
}

/// The parts of a stream of Gemini; those that say nothing are left out.
fn parts_of(stream: &[u8]) -> Vec<Value> {
    let text = std::str::from_utf8(stream).unwrap();
    let pieces = text.lines().filter_map(|line| line.strip_prefix("data: "));
    let pieces = pieces.map(|piece| serde_json::from_str::<Value>(piece).unwrap());
    let parts = pieces.flat_map(|piece| piece["candidates"][0]["content"]["parts"].as_array().unwrap().clone());
    parts.filter(|part| *part != json!({"text": ""})).collect()
}

/// The letters of what a client sees; text that carries state is a capital.
fn letters(seen: &[Value]) -> String {
    let signed = |value: &Value| {
        let opened = Seal::new([7; 32]).open(value.as_str().unwrap_or_default());
        !matches!(opened, Opened::Ours(Opaque { kind: OpaqueKind::Unsigned, .. }))
    };
    let letter = |one: &Value| match one["type"].as_str() {
        Some("text") => 't',
        Some("thinking") if one["thinking"] == "" => 'e',
        Some("thinking") => {
            if signed(&one["signature"]) {
                's'
            } else {
                'w'
            }
        }
        Some("redacted_thinking") => 'r',
        Some(_) => 'c',
        None if one["functionCall"].is_object() => 'c',
        None if one["thought"] == true && one["text"] == "" => 'e',
        None if one["thought"] == true => {
            if one["thoughtSignature"].is_string() {
                's'
            } else {
                'w'
            }
        }
        None if one["thoughtSignature"].is_string() => 'T',
        None => 't',
    };
    seen.iter().map(letter).collect()
}

#[test]
fn a_message_begins_with_its_words_where_no_thinking_was_asked_for() {
    for (wishes, blocks, expected, lost) in [
        (&[Unasked, Declined][..], "rt", "t", true),
        (&[Unasked, Declined], "et", "t", true),
        (&[Unasked, Declined], "trt", "tt", true),
        (&[Unasked, Declined], "cr", "c", true),
        (&[Unasked, Declined], "r", "", true),
        (&[Unasked, Declined], "rc", "rc", false),
        (&[Unasked, Declined], "rtc", "trc", false),
        (&[Unasked, Declined], "rtrc", "trrc", false),
        (&[Unasked, Declined], "retct", "trect", false),
        (&[Unasked, Declined], "rtcrt", "trct", true),
        (&[Unasked, Declined], "rst", "t", true),
        (&[Unasked, Declined], "st", "t", true),
        (&[Unasked, Declined], "wt", "t", false),
        (&[Unasked, Declined], "w", "", false),
        (&[Unasked, Declined], "cst", "ct", true),
        (&[Unasked, Declined], "sc", "sc", false),
        (&[Unasked, Declined], "wtct", "twct", false),
        (&[Unasked, Declined], "rstc", "trsc", false),
        (&[Shown, Hidden], "rt", "rt", false),
        (&[Shown, Hidden], "st", "st", false),
        (&[Shown, Hidden], "tr", "t", true),
        (&[Shown, Hidden], "trt", "trt", false),
        (&[Shown, Hidden], "rtc", "rtc", false),
        (&WISHES, "Rt", "rt", false),
        (&WISHES, "Et", "et", false),
        (&WISHES, "St", "st", false),
        (&WISHES, "tR", "tr", false),
    ] {
        for wish in wishes {
            let (seen, told) = whole(A, &response(blocks), *wish);
            assert_eq!(
                (letters(&seen).as_str(), told.contains(&Field::OpaqueState)),
                (expected, lost),
                "{wish:?} {blocks}"
            );
        }
    }
}

#[test]
fn no_words_of_thoughts_reach_a_client_that_wants_none() {
    for (wishes, blocks, expected) in [
        (&[Hidden, Declined][..], "st", "T"),
        (&[Hidden, Declined], "wt", "t"),
        (&[Hidden, Declined], "rt", "T"),
        (&[Hidden, Declined], "et", "T"),
        (&[Hidden, Declined], "rwt", "T"),
        (&[Hidden, Declined], "swt", "T"),
        (&[Hidden, Declined], "sc", "c"),
        (&[Hidden, Declined], "wc", "c"),
        (&[Hidden, Declined], "stc", "Tc"),
        (&[Hidden, Declined], "tsc", "tc"),
        (&[Hidden, Declined], "stst", "TT"),
        (&[Hidden, Declined], "sst", "eT"),
        (&[Hidden, Declined], "s", "e"),
        (&[Hidden, Declined], "w", ""),
        (&[Shown, Unasked], "st", "st"),
        (&[Shown, Unasked], "wt", "wt"),
        (&[Shown, Unasked], "rt", "T"),
        (&[Shown, Unasked], "stc", "stc"),
    ] {
        for wish in wishes {
            let (seen, lost) = whole(G, &response(blocks), *wish);
            assert_eq!((letters(&seen).as_str(), lost.len()), (expected, 0), "{wish:?} {blocks}");
        }
    }
}

#[test]
fn a_stream_shows_of_reasoning_what_a_whole_answer_shows() {
    let kinds: Vec<char> = "tcswerRSE".chars().collect();
    let mut all = vec![String::new()];
    for length in 0..3 {
        let longer = all.iter().filter(|one| one.len() == length);
        let longer: Vec<String> = longer.flat_map(|one| kinds.iter().map(move |kind| format!("{one}{kind}"))).collect();
        all.extend(longer);
    }
    all.extend(["stwsc", "rstrc", "sswtc", "tswtct", "retsct"].map(str::to_owned));
    // One provider's state has one maker.
    let mixed = |blocks: &String| blocks.contains(char::is_uppercase) && blocks.contains(['s', 'e', 'r']);
    for blocks in all.iter().filter(|blocks| !mixed(blocks)) {
        let response = response(blocks);
        for (client, wish) in WISHES.map(|wish| (A, wish)).into_iter().chain([(G, Declined), (G, Hidden)]) {
            let (seen, told) = whole(client, &response, wish);
            let (pieces, lost) = streamed(client, &response, wish);
            assert_eq!(pieces, seen, "{client:?} {wish:?} {blocks}");
            let state = |fields: &[Field]| fields.contains(&Field::OpaqueState);
            assert_eq!(state(&lost), state(&told), "{client:?} {wish:?} {blocks}");
        }
    }
}

fn words(block: u32, text: &'static str) -> Event<'static> {
    Event::TextDelta { block, text: Text::from_plain(text) }
}

fn open(block: u32, head: Head<'static>) -> Event<'static> {
    Event::BlockStart { block, candidate: 0, head }
}

#[test]
fn thinking_that_goes_on_behind_its_call_waits_again() {
    let start = Event::Start { id: Text::from_plain("id"), model: Text::from_plain("m"), created: None };
    let state = Opaque { kind: OpaqueKind::EncryptedReasoning, maker: R, data: Text::from_plain("x") };
    let call = |id: &'static str| Head::ToolCall { id: id.into(), name: "f".into(), flavor: Flavor::Function };
    let mut events = vec![start, open(0, Head::Thinking(ThinkingKind::Raw)), words(0, "a"), open(1, call("a"))];
    events.extend([Event::BlockStop { block: 1 }, words(0, "b"), Event::Opaque { block: 0, opaque: state }]);
    events.extend([open(2, Head::Text), words(2, "t"), Event::BlockStop { block: 0 }, Event::BlockStop { block: 2 }]);
    let (seen, lost) = written(A, &[&events[..], &[Event::End]].concat(), Declined);
    assert_eq!((letters(&seen).as_str(), lost), ("wct", vec![Field::OpaqueState]));
    events.extend([open(3, call("b")), Event::BlockStop { block: 3 }, Event::End]);
    let (seen, lost) = written(A, &events, Declined);
    assert_eq!((letters(&seen).as_str(), lost), ("wctsc", vec![]));
    assert_eq!((&seen[0]["thinking"], &seen[3]["thinking"]), (&json!("a"), &json!("b")));
}

#[test]
fn what_waits_for_a_call_is_bounded() {
    let data = Text::from_escaped("x".repeat(1 << 20));
    for text in [false, true] {
        let mut out = Vec::new();
        let mut writer = wire(A).stream_writer(Arc::new(reply(Declined)));
        let mut write = |event: &Event<'_>| writer.event(event, &mut out, &mut |_| {});
        for at in 0..5 {
            write(&open(2 * at, Head::Thinking(ThinkingKind::Raw)));
            if text {
                write(&Event::TextDelta { block: 2 * at, text: data.by_ref() });
            } else {
                let opaque = Opaque { kind: OpaqueKind::EncryptedReasoning, maker: R, data: data.by_ref() };
                write(&Event::Opaque { block: 2 * at, opaque });
            }
            write(&Event::BlockStop { block: 2 * at });
            write(&open(2 * at + 1, Head::Text));
            write(&words(2 * at + 1, "t"));
            write(&Event::BlockStop { block: 2 * at + 1 });
        }
        assert!(writer.gave_up().is_some(), "{text}");
    }
    // Its pieces may be many.
    let mut writer = wire(A).stream_writer(Arc::new(reply(Declined)));
    writer.event(&open(0, Head::Thinking(ThinkingKind::Raw)), &mut Vec::new(), &mut |_| {});
    (0..100_000).for_each(|_| writer.event(&words(0, "word "), &mut Vec::new(), &mut |_| {}));
    assert!(writer.gave_up().is_none());
}

#[test]
fn no_cut_of_a_stream_changes_what_is_seen() {
    let chunk = |delta: Value, finish: Value| {
        let choice = json!({"index": 0, "delta": delta, "finish_reason": finish});
        format!("data: {}\n\n", json!({"id": "c", "created": 1, "model": "m", "choices": [choice]}))
    };
    let call = json!({"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}});
    for (calls, message) in [(false, "t"), (true, "twc")] {
        let thought = ["I", " think"].map(|words| chunk(json!({"reasoning_content": words}), Value::Null));
        let said = chunk(json!({"content": "so"}), Value::Null);
        let called = if calls { chunk(json!({"tool_calls": [call]}), Value::Null) } else { String::new() };
        let stream = [&thought.concat(), &said, &called, &chunk(json!({}), json!("stop")), "data: [DONE]\n\n"].concat();
        for (client, expected) in [(A, message), (G, if calls { "tc" } else { "t" })] {
            for cut in 0..stream.len() {
                let (head, tail) = stream.as_bytes().split_at(cut);
                let mut out = Vec::new();
                let mut transcoder = Transcoder::new(C, client, Arc::new(reply(Declined)), Undo::default());
                transcoder.chunk(head, &mut out);
                transcoder.chunk(tail, &mut out);
                transcoder.finish(&mut out);
                let seen = if client == A { blocks_of(out) } else { parts_of(&out) };
                assert_eq!(letters(&seen), expected, "{client:?} {cut}");
            }
        }
    }
}

#[test]
fn a_request_says_what_is_to_be_seen() {
    let gemini = |config: Value| json!({"contents": [{"role": "user", "parts": [{"text": "q"}]}], "generationConfig": {"thinkingConfig": config}});
    for (from, body, wish) in [
        (A, messages(&json!({})), Unasked),
        (A, messages(&json!({"thinking": {"type": "disabled"}})), Declined),
        (A, messages(&json!({"thinking": {"type": "disabled"}, "output_config": {"effort": "high"}})), Declined),
        (A, messages(&json!({"thinking": {"type": "adaptive"}})), Shown),
        (A, messages(&json!({"thinking": {"type": "adaptive", "display": "omitted"}})), Hidden),
        (A, messages(&json!({"output_config": {"effort": "high"}})), Shown),
        (G, gemini(json!({})), Unasked),
        (G, gemini(json!({"includeThoughts": false})), Hidden),
        (G, gemini(json!({"includeThoughts": true})), Shown),
        (G, gemini(json!({"thinkingBudget": 0, "includeThoughts": true})), Declined),
        (G, gemini(json!({"thinkingLevel": "high"})), Shown),
        (R, json!({"model": "m", "input": "q", "reasoning": {"effort": "none"}}), Declined),
    ] {
        let reply = translated((from, C), &body, &Facts::default(), None).unwrap().reply;
        assert_eq!(reply.reasoning, wish, "{from:?} {body}");
    }
}
