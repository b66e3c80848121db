//! Streams, read and written.

use std::sync::Arc;

use serde_json::{Value, json};

use super::super::GeminiGenerate;
use super::{fold, pieces, reply};
use crate::format::WireFormat as _;
use crate::hub::{Event, Fault, FaultKind, Flavor, Head, Stop, Usage};
use crate::json::Text;
use crate::{Format, Framing, Reply, Transcoder, Undo, Watch};

fn events(list: &[Value]) -> Vec<u8> {
    list.iter().flat_map(|piece| format!("data: {piece}\r\n\r\n").into_bytes()).collect()
}

fn piece(parts: Value) -> Value {
    json!({"candidates": [{"content": {"parts": parts, "role": "model"}, "index": 0}], "responseId": "r", "modelVersion": "g"})
}

fn last(parts: Value, finish: &str) -> Value {
    json!({"candidates": [{"content": {"parts": parts, "role": "model"}, "finishReason": finish, "index": 0}],
        "usageMetadata": {"promptTokenCount": 5, "candidatesTokenCount": 2, "thoughtsTokenCount": 3, "totalTokenCount": 10}, "responseId": "r"})
}

fn transcoded(from: Format, to: Format, stream: &[u8], reply: Reply) -> String {
    let mut transcoder = Transcoder::new(from, to, Arc::new(reply), Undo::default());
    let mut out = Vec::new();
    transcoder.chunk(stream, &mut out);
    transcoder.finish(&mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn parts_of_a_kind_are_one_block() {
    let stream = events(&[
        piece(json!([{"text": "I ", "thought": true}])),
        piece(json!([{"text": "see", "thought": true}])),
        piece(json!([{"text": "Hel"}])),
        piece(json!([{"text": "lo"}])),
        last(json!([{"text": "", "thoughtSignature": "c2ln"}]), "STOP"),
    ]);
    let folded = fold(&[&stream]);
    assert_eq!((folded.thinking.as_str(), folded.text.as_str()), ("I see", "Hello"));
    // Thinking is block 0, words are block 1, and the signature stands behind them.
    assert_eq!(folded.signatures, [(2, "c2ln".to_owned())]);
    assert_eq!((folded.stop.as_deref(), folded.usage.output_reasoning, folded.ended), (Some("end_turn"), 3, true));
}

#[test]
fn trap_b25_a_call_before_the_reason_is_a_tool_use() {
    let stream = events(&[
        piece(json!([{"functionCall": {"name": "f", "args": {"a": 1}}, "thoughtSignature": "c2ln"}])),
        last(json!([{"text": ""}]), "STOP"),
    ]);
    let folded = fold(&[&stream]);
    assert_eq!(folded.stop.as_deref(), Some("tool_use"));
    assert_eq!(folded.calls[0].2, r#"{"a":1}"#);
    // The signature's block is the one before the call's.
    assert_eq!(folded.signatures[0], (0, "c2ln".to_owned()));
    let whole = json!({"candidates": [{"content": {"parts": [{"functionCall": {"name": "f", "args": {"a": 1}}}]}, "finishReason": "STOP"}], "responseId": "r"});
    let text = whole.to_string();
    let response = GeminiGenerate.read_response(text.as_bytes()).unwrap();
    // Trap G4: the same answer has the same ids, whole or streamed.
    let crate::hub::BlockKind::ToolCall { id, .. } = &response.candidates[0].blocks[0].kind else { panic!() };
    assert_eq!(*id, folded.calls[0].0);
}

/// A piece as the provider writes it, with the tokens so far.
fn counted(text: &str, tokens: u64) -> String {
    format!(
        "data: {{\"candidates\": [{{\"content\": {{\"parts\": [{{\"text\": \"{text}\"}}],\"role\": \"model\"}},\"index\": 0}}],\
         \"usageMetadata\": {{\"promptTokenCount\": 5,\"candidatesTokenCount\": {tokens}}},\"responseId\": \"r\"}}\r\n\r\n"
    )
}

#[test]
fn counts_of_pieces_that_look_alike_are_known_as_they_grow() {
    let pieces: Vec<String> = (1..=9).map(|n| counted(&format!("word {n} "), n * 7)).collect();
    for from in 1..=pieces.len() {
        let folded = fold(&[pieces[..from].concat().as_bytes()]);
        assert_eq!(folded.usage.output_visible, from as u64 * 7, "{from} pieces");
    }
    let mut transcoder =
        Transcoder::new(Format::GeminiGenerate, Format::OpenaiChat, Arc::new(reply()), Undo::default());
    let mut watch = Watch::new(Format::GeminiGenerate, Arc::new(reply()));
    let mut out = Vec::new();
    for (piece, tokens) in pieces.iter().zip(1..) {
        transcoder.chunk(piece.as_bytes(), &mut out);
        watch.chunk(piece.clone().into());
        for outcome in [transcoder.outcome(), watch.outcome()] {
            assert_eq!(outcome.usage.as_ref().map(Usage::output), Some(tokens * 7), "piece {tokens}");
            assert_eq!(outcome.deltas, tokens);
        }
    }
}

#[test]
fn sources_find_their_place_behind_pieces_that_look_alike() {
    let mut stream: Vec<u8> = (1..=9).flat_map(|n| counted("北京 ", n).into_bytes()).collect();
    stream.extend(events(&[
        json!({"candidates": [{"content": {"parts": [{"text": "end"}]}, "finishReason": "STOP", "index": 0,
        "groundingMetadata": {"groundingChunks": [{"web": {"uri": "https://a"}}],
            "groundingSupports": [{"segment": {"startIndex": 63, "endIndex": 66}, "groundingChunkIndices": [0]}]}}]}),
    ]));
    let chat = transcoded(Format::GeminiGenerate, Format::OpenaiChat, &stream, reply());
    assert!(chat.contains(r#""start_index":27,"end_index":30"#), "{chat}");
}

#[test]
fn every_signature_of_pieces_that_look_alike_is_kept() {
    let signed = |text: &str| piece(json!([{"text": text, "thoughtSignature": "c2ln"}]));
    let stream = events(&[signed("a"), signed("b"), signed("c"), last(json!([{"text": "d"}]), "STOP")]);
    let folded = fold(&[&stream]);
    assert_eq!((folded.text.as_str(), folded.signatures.len()), ("abcd", 3));
    let own = transcoded(Format::GeminiGenerate, Format::GeminiGenerate, &stream, reply());
    assert_eq!(own.matches("c2ln").count(), 3, "{own}");
}

#[test]
fn trap_a4_a_cut_stream_is_an_error() {
    let cut = events(&[piece(json!([{"text": "Hel"}]))]);
    let folded = fold(&[&cut]);
    assert!(!folded.ended && folded.fault.is_some());
    let chat = "data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Hel\"}}]}\n\n";
    let out = transcoded(Format::OpenaiChat, Format::GeminiGenerate, chat.as_bytes(), reply());
    let seen = pieces(out.as_bytes());
    let error = &seen[1]["error"];
    assert_eq!((error["code"].as_u64(), error["status"].as_str()), (Some(502), Some("UNAVAILABLE")));
    assert!(out.contains("data: {\"error\":{\"code\":502,"), "{out}");
}

#[test]
fn trap_a24_a_refused_prompt_ends_a_stream() {
    let stream = events(&[
        json!({"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}, "usageMetadata": {"promptTokenCount": 9}}),
    ]);
    let folded = fold(&[&stream]);
    assert_eq!((folded.stop.as_deref(), folded.ended), (Some("filtered"), true));
    let chat = transcoded(Format::GeminiGenerate, Format::OpenaiChat, &stream, reply());
    assert!(chat.contains("content_filter") && chat.ends_with("[DONE]\n\n"), "{chat}");
    let responses = transcoded(Format::GeminiGenerate, Format::OpenaiResponses, &stream, reply());
    assert!(
        responses.starts_with("event: response.created\n") && responses.contains("event: response.failed\n"),
        "{responses}"
    );
    assert!(responses.contains("PROHIBITED_CONTENT") && !responses.contains("response.completed"), "{responses}");
    let messages = transcoded(Format::GeminiGenerate, Format::AnthropicMessages, &stream, reply());
    assert!(messages.contains(r#""stop_reason":"refusal""#) && messages.contains("message_stop"), "{messages}");
    let own = transcoded(Format::GeminiGenerate, Format::GeminiGenerate, &stream, reply());
    assert_eq!(pieces(own.as_bytes())[0]["promptFeedback"]["blockReason"], "PROHIBITED_CONTENT");
}

/// A piece of a call.
fn called(fields: Value) -> Value {
    piece(json!([{"functionCall": fields}]))
}

#[test]
fn a_call_in_pieces_is_handed_on_whole() {
    let stream = events(&[
        piece(json!([{"text": "Look: "}])),
        piece(json!([{"functionCall": {"id": "c1", "name": "f", "willContinue": true}, "thoughtSignature": "c2ln"}])),
        called(
            json!({"partialArgs": [{"jsonPath": "$.city", "stringValue": "Bos", "willContinue": true}], "willContinue": true}),
        ),
        called(
            json!({"partialArgs": [{"jsonPath": "$.city", "stringValue": "ton"}, {"jsonPath": "$.days[0]", "numberValue": 3}], "willContinue": true}),
        ),
        called(json!({})),
        called(json!({"name": "g", "partialArgs": [{"jsonPath": "$.on", "boolValue": true}]})),
        called(json!({"name": "h", "args": {"a": 1}})),
        last(json!([{"text": ""}]), "STOP"),
    ]);
    let folded = fold(&[&stream]);
    let calls: Vec<_> = folded.calls.iter().map(|call| (call.1.as_str(), call.2.as_str())).collect();
    let whole = [("f", r#"{"city":"Boston","days":[3]}"#), ("g", r#"{"on":true}"#), ("h", r#"{"a":1}"#)];
    assert_eq!(calls, whole);
    assert_eq!((folded.calls[0].0.as_str(), folded.stop.as_deref()), ("c1", Some("tool_use")));
    assert_eq!(folded.signatures[0].1, "c2ln");
    for client in Format::ALL {
        let out = transcoded(Format::GeminiGenerate, client, &stream, reply());
        assert!(out.contains("Boston"), "{out}");
    }
}

#[test]
fn two_calls_of_one_tool_in_pieces_are_two() {
    let stream = events(&[
        called(json!({"name": "f", "willContinue": true})),
        called(json!({"partialArgs": [{"jsonPath": "$.n", "numberValue": 1}], "willContinue": false})),
        called(json!({"name": "f", "willContinue": true})),
        called(json!({"name": "f", "partialArgs": [{"jsonPath": "$.n", "numberValue": 2}], "willContinue": true})),
        last(json!([]), "STOP"),
    ]);
    let calls: Vec<_> = fold(&[&stream]).calls.into_iter().map(|call| call.2).collect();
    assert_eq!(calls, [r#"{"n":1}"#, r#"{"n":2}"#]);
}

#[test]
fn trap_c25_a_call_that_the_limit_cut_is_not_whole() {
    let begun = [
        called(json!({"name": "f", "willContinue": true})),
        called(
            json!({"partialArgs": [{"jsonPath": "$.path", "stringValue": "/tm", "willContinue": true}], "willContinue": true}),
        ),
    ];
    let folded = fold(&[&events(&[begun[0].clone(), begun[1].clone(), last(json!([]), "MAX_TOKENS")])]);
    assert_eq!((folded.calls[0].2.as_str(), folded.stop.as_deref()), (r#"{"path":"/tm""#, Some("max_tokens")));
    // A stream that breaks off has called nothing.
    let broken = fold(&[&events(&begun)]);
    assert!(broken.calls.is_empty() && broken.fault.is_some());
}

#[test]
fn a_piece_of_no_call_breaks_the_stream() {
    for fields in [json!({}), json!({"args": {}}), json!({"partialArgs": [{"jsonPath": "$.a", "numberValue": 1}]})] {
        assert!(fold(&[&events(&[called(fields.clone())])]).fault.is_some(), "{fields}");
    }
    let nowhere = called(json!({"name": "f", "partialArgs": [{"jsonPath": "a", "numberValue": 1}]}));
    assert!(fold(&[&events(&[nowhere])]).fault.is_some());
}

#[test]
fn an_error_in_the_middle_is_a_fault_of_its_kind() {
    let stream = events(&[
        piece(json!([{"text": "Hel"}])),
        json!({"error": {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}}),
    ]);
    assert_eq!(fold(&[&stream]).fault.as_deref(), Some("The model is overloaded."));
    let messages = transcoded(Format::GeminiGenerate, Format::AnthropicMessages, &stream, reply());
    assert!(messages.contains("overloaded_error") && !messages.contains("message_stop"), "{messages}");
}

#[test]
fn trap_c30_a_malformed_call_ends_in_an_error() {
    let stream = events(&[last(json!([]), "MALFORMED_FUNCTION_CALL")]);
    let chat = transcoded(Format::GeminiGenerate, Format::OpenaiChat, &stream, reply());
    assert!(chat.contains("\"error\"") && !chat.contains("[DONE]"), "{chat}");
}

#[test]
fn sources_come_with_the_words() {
    let stream = events(&[
        piece(json!([{"text": "北京 is"}])),
        json!({"candidates": [{"content": {"parts": [{"text": " big"}]}, "finishReason": "STOP", "index": 0, "groundingMetadata": {
            "groundingChunks": [{"web": {"uri": "https://a", "title": "A"}}], "webSearchQueries": ["q"],
            "groundingSupports": [{"segment": {"startIndex": 10, "endIndex": 13}, "groundingChunkIndices": [0]}]}}]}),
    ]);
    let folded = fold(&[&stream]);
    assert_eq!(folded.sources, [("https://a".to_owned(), Some((6, 9)))]);
    assert!(folded.dropped.contains(&"citations"));
}

#[test]
fn several_answers_end_each_by_itself() {
    let two = |index: u32, text: &str| json!({"content": {"parts": [{"text": text}]}, "index": index});
    let mut end = two(1, "d");
    end["finishReason"] = json!("MAX_TOKENS");
    let mut first = two(0, "c");
    first["finishReason"] = json!("STOP");
    let stream = events(&[
        json!({"candidates": [two(0, "a"), two(1, "b")], "responseId": "r"}),
        json!({"candidates": [first]}),
        json!({"candidates": [end]}),
    ]);
    let chat = transcoded(Format::GeminiGenerate, Format::OpenaiChat, &stream, reply());
    assert!(chat.contains("\"finish_reason\":\"length\"") && chat.contains("\"finish_reason\":\"stop\""), "{chat}");
    let back = transcoded(Format::OpenaiChat, Format::GeminiGenerate, chat.as_bytes(), reply());
    let seen = pieces(back.as_bytes());
    let last = seen.last().unwrap()["candidates"].as_array().unwrap();
    assert_eq!((&last[0]["finishReason"], &last[1]["finishReason"]), (&json!("STOP"), &json!("MAX_TOKENS")));
    // Trap F13: cut behind the reason of one answer, the other is not complete.
    let cut =
        events(&[json!({"candidates": [two(0, "a"), two(1, "b")]}), json!({"candidates": [{"finishReason": "STOP"}]})]);
    assert!(!fold(&[&cut]).ended);
}

/// Writes events.
fn written(reply: Reply, list: &[Event<'_>]) -> String {
    let mut writer = GeminiGenerate.stream_writer(Arc::new(reply));
    let mut out = Vec::new();
    for event in list {
        writer.event(event, &mut out, &mut |_| {});
    }
    String::from_utf8(out).unwrap()
}

fn start() -> Event<'static> {
    Event::Start { id: Text::from_escaped("r"), model: Text::from_escaped("x"), created: None }
}

fn call(block: u32, name: &'static str) -> Event<'static> {
    let head = Head::ToolCall { id: format!("call_{block}").into(), name: name.into(), flavor: Flavor::Function };
    Event::BlockStart { block, candidate: 0, head }
}

fn grow(block: u32, fragment: &'static str) -> Event<'static> {
    Event::ArgumentsDelta { block, fragment: Text::from_escaped(fragment) }
}

#[test]
fn trap_b1_interleaved_calls_are_whole_and_in_order() {
    let out = written(
        reply(),
        &[
            start(),
            call(0, "f"),
            call(1, "g"),
            grow(0, r#"{\"a\""#),
            grow(1, r#"{\"b\":2}"#),
            Event::BlockStop { block: 1 },
            grow(0, ":1}"),
            Event::BlockStop { block: 0 },
            call(2, "h"),
            Event::BlockStop { block: 2 },
            Event::Stop { candidate: 0, stop: Stop::ToolUse },
            Event::Usage(Usage { input_uncached: 1, output_visible: 2, ..Usage::default() }),
            Event::End,
        ],
    );
    let seen = pieces(out.as_bytes());
    let calls: Vec<&Value> = seen
        .iter()
        .map(|piece| &piece["candidates"][0]["content"]["parts"][0]["functionCall"])
        .filter(|call| call.is_object())
        .collect();
    assert_eq!(calls.len(), 3);
    assert_eq!(
        (&calls[0]["args"], &calls[1]["args"], &calls[2]["args"]),
        (&json!({"a": 1}), &json!({"b": 2}), &json!({}))
    );
    let end = seen.last().unwrap();
    // Reason and usage stand in the last piece together.
    assert_eq!(end["candidates"][0]["finishReason"], "STOP");
    assert_eq!(end["usageMetadata"]["totalTokenCount"], 3);
    assert_eq!((&end["modelVersion"], &end["responseId"]), (&json!("client-model"), &json!("r")));
}

#[test]
fn line_ends_in_arguments_do_not_end_an_event() {
    let out = written(
        reply(),
        &[
            start(),
            call(0, "f"),
            grow(0, r#"{\n  \"a\": \"x\\ny\"\r\n}"#),
            Event::BlockStop { block: 0 },
            Event::Stop { candidate: 0, stop: Stop::ToolUse },
            Event::End,
        ],
    );
    let call = &pieces(out.as_bytes())[0]["candidates"][0]["content"]["parts"][0]["functionCall"];
    assert_eq!(call["args"], json!({"a": "x\ny"}));
}

#[test]
fn arguments_have_a_bound() {
    let big: &'static str = Box::leak("x".repeat(9 << 20).into_boxed_str());
    let out = written(reply(), &[start(), call(0, "f"), grow(0, big), Event::BlockStop { block: 0 }, Event::End]);
    assert!(out.len() < 1000);
    assert_eq!(pieces(out.as_bytes())[0]["error"]["code"], 500);
}

#[test]
fn trap_a17_and_a18_nothing_but_data_reaches_the_client() {
    let out = written(
        reply(),
        &[
            start(),
            Event::Ping,
            Event::BlockStart { block: 0, candidate: 0, head: Head::Text },
            Event::TextDelta { block: 0, text: Text::from_escaped("a\u{2028}b\\n") },
            Event::Ping,
            Event::BlockStop { block: 0 },
            Event::Stop { candidate: 0, stop: Stop::EndTurn },
            Event::End,
        ],
    );
    assert!(out.lines().all(|line| line.is_empty() || line.starts_with("data: {")), "{out}");
    // Trap B32.
    assert!(!out.contains('\u{2028}') && out.contains("a\\u2028b\\n"), "{out}");
    assert_eq!(pieces(out.as_bytes()).len(), 2);
    assert!(!out.starts_with('\n') && !out.contains("\n\n\n"), "one ping is a matter of form: {out}");
}

#[test]
fn silence_is_filled_with_empty_events() {
    let out = written(reply(), &[start(), Event::Ping, Event::Ping, Event::Ping]);
    assert_eq!(out, "\n\n\n\n");
    assert_eq!(written(reply(), &[Event::Ping]), "\n\n", "between what others wrote");
}

#[test]
fn an_array_is_one_document_however_it_ends() {
    let reply = || Reply { framing: Framing::JsonArray, ..reply() };
    let words = [
        start(),
        Event::BlockStart { block: 0, candidate: 0, head: Head::Text },
        Event::TextDelta { block: 0, text: Text::from_escaped("a") },
        Event::TextDelta { block: 0, text: Text::from_escaped("b") },
        Event::BlockStop { block: 0 },
    ];
    let mut whole = words.to_vec();
    whole.extend([Event::Stop { candidate: 0, stop: Stop::EndTurn }, Event::End]);
    let mut broken = words.to_vec();
    broken.push(Event::Fault(Fault::new(FaultKind::Overloaded, "busy")));
    let failed = [Event::Fault(Fault::new(FaultKind::Overloaded, "busy"))];
    for (list, length) in [(&whole[..], 3), (&broken[..], 3), (&failed[..], 1)] {
        let out = written(reply(), list);
        let read: Vec<Value> = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}"));
        assert_eq!(read.len(), length);
    }
    let array = written(reply(), &whole);
    assert_eq!(GeminiGenerate.find_usage(array.as_bytes()), None);
    let counted = r#"[{"usageMetadata":{"promptTokenCount":1}},{"usageMetadata":{"promptTokenCount":7}}]"#;
    assert_eq!(GeminiGenerate.find_usage(counted.as_bytes()).unwrap().input(), 7);
}

#[test]
fn a_watch_sees_usage_reason_and_calls() {
    let stream = events(&[
        piece(json!([{"text": "Hello"}])),
        piece(json!([{"functionCall": {"name": "f"}}])),
        last(json!([{"text": ""}]), "STOP"),
    ]);
    for chunk in [1, 7, stream.len()] {
        let mut watch = Watch::new(Format::GeminiGenerate, Arc::new(reply()));
        let mut passed = Vec::new();
        for bytes in stream.chunks(chunk) {
            passed.extend_from_slice(&watch.chunk(bytes::Bytes::copy_from_slice(bytes)));
        }
        passed.extend_from_slice(&watch.finish());
        assert_eq!(passed, stream);
        let outcome = watch.outcome();
        assert_eq!((outcome.stop, outcome.complete), (Some("tool_use"), true));
        assert_eq!(outcome.usage.as_ref().unwrap().output(), 5);
    }
    let mut watch = Watch::new(Format::GeminiGenerate, Arc::new(reply()));
    let cut = events(&[piece(json!([{"text": "Hello"}]))]);
    let mut passed = watch.chunk(bytes::Bytes::from(cut)).to_vec();
    passed.extend_from_slice(&watch.finish());
    assert!(pieces_of(&passed).last().unwrap()["error"]["code"].is_u64());
}

fn pieces_of(stream: &[u8]) -> Vec<Value> {
    let text = String::from_utf8_lossy(stream);
    text.lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .map(|data| serde_json::from_str(data).unwrap())
        .collect()
}

#[test]
fn trap_b33_odd_lines_change_nothing() {
    let stream = events(&[piece(json!([{"text": "a"}])), last(json!([{"text": "b"}]), "STOP")]);
    let plain = fold(&[&stream]);
    let text = String::from_utf8(stream).unwrap();
    let odd = format!(": keepalive\n\ndata: \n\n{}data: [DONE]\n\n", text.replace("data: ", "event: x\nid: 1\ndata:"));
    assert_eq!(fold(&[odd.as_bytes()]), plain);
}

#[test]
fn an_unreadable_piece_ends_the_stream() {
    for data in ["{", "{\"candidates\":[{\"index\":0,\"content\":{\"parts\":[7]}}]}", "{\"candidates\":[{]}"] {
        let stream = format!("data: {data}\n\n");
        let folded = fold(&[stream.as_bytes()]);
        assert!(folded.fault.is_some() && !folded.ended, "{data}");
    }
}

#[test]
fn sources_find_their_places_in_events_that_are_alike() {
    let word = |text: &str| {
        let data = json!({"candidates": [{"content": {"parts": [{"text": text}]}, "index": 0}], "responseId": "r"});
        format!("data: {data}\r\n\r\n")
    };
    let end = json!({"candidates": [{"content": {"parts": [{"text": "!"}]}, "finishReason": "STOP", "index": 0, "groundingMetadata": {
        "groundingChunks": [{"web": {"uri": "https://a", "title": "A"}}],
        "groundingSupports": [{"segment": {"startIndex": 12, "endIndex": 16}, "groundingChunkIndices": [0]}]}}]});
    let stream = [word("One "), word("two "), word("tri "), word("four"), format!("data: {end}\r\n\r\n")].concat();
    let through = |size: usize| {
        let reply = Arc::new(reply());
        let (from, to) = (Format::GeminiGenerate, Format::OpenaiChat);
        let mut transcoder = Transcoder::new(from, to, reply, Undo::default());
        let mut out = Vec::new();
        stream.as_bytes().chunks(size).for_each(|chunk| transcoder.chunk(chunk, &mut out));
        transcoder.finish(&mut out);
        String::from_utf8(out).unwrap()
    };
    assert_eq!(through(stream.len()), through(1));
    assert!(through(stream.len()).contains(r#""start_index":12,"end_index":16"#), "{}", through(stream.len()));
}
