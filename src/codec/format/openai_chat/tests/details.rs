//! `reasoning_details`: what comes back in them goes to its maker alone.

use serde_json::{Value, json};

use super::{CHAT, MESSAGES, accumulated, answer, as_it_is, chunks, send, stream};
use crate::format::ReasoningField;
use crate::format::openai_chat::details;
use crate::format::tests::blocks_of;
use crate::json::Cursor;
use crate::seal::Seal;
use crate::{Facts, Format};

const GEMINI: Format = Format::GeminiGenerate;
const RESPONSES: Format = Format::OpenaiResponses;

/// An answer of Gemini with these parts.
fn of_gemini(parts: &[Value]) -> Value {
    json!({"candidates": [{"content": {"role": "model", "parts": parts}, "finishReason": "STOP", "index": 0}],
        "modelVersion": "g", "responseId": "r"})
}

/// The message that a chat client keeps of an answer of `from`: of the whole one, and of a stream of it.
fn kept(from: Format, whole: &Value, streamed: &str) -> [Value; 2] {
    let (whole, _) = answer(from, CHAT, whole).unwrap();
    let mut joined = accumulated(&stream(from, CHAT, streamed))["message"].clone();
    joined["role"] = json!("assistant");
    [whole["choices"][0]["message"].clone(), joined]
}

/// A conversation with that message in it.
fn history(turn: &Value) -> Value {
    json!({"model": "m", "messages": [{"role": "user", "content": "q"}, turn, {"role": "user", "content": "go"}]})
}

#[test]
fn thoughts_that_nobody_signed_go_to_no_server_as_details() {
    let parts = [json!({"text": "Hm", "thought": true}), json!({"text": "a"})];
    let gemini = of_gemini(&parts);
    let of_gemini = kept(GEMINI, &gemini, &chunks(&[&gemini.to_string()]));
    let responses = json!({"id": "resp_1", "object": "response", "model": "m", "status": "completed", "output": [
        {"id": "rs_1", "type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm"}]},
        {"id": "m_1", "type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "a"}]}]});
    let done = json!({"type": "response.completed", "response": responses}).to_string();
    let of_responses = kept(RESPONSES, &responses, &chunks(&[&done]));
    let messages = json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "m",
        "content": [{"type": "thinking", "thinking": "Hm"}, {"type": "text", "text": "a"}], "stop_reason": "end_turn"});
    let (of_messages, _) = answer(MESSAGES, CHAT, &messages).unwrap();
    let all = of_gemini.into_iter().chain(of_responses).chain([of_messages["choices"][0]["message"].clone()]);
    for turn in all {
        assert_eq!((&turn["reasoning_content"], &turn["content"]), (&json!("Hm"), &json!("a")), "{turn}");
        let body = history(&turn);
        assert!(Seal::may_be_in(body.to_string().as_bytes()), "such a request is read and written: {turn}");
        for (compatible, reasoning, field) in [
            (false, None, None),
            (true, None, Some("reasoning_content")),
            (true, Some(ReasoningField::Reasoning), Some("reasoning")),
            (true, Some(ReasoningField::None), None),
        ] {
            let change = |facts: &mut Facts| {
                (facts.compatible_extensions, facts.reasoning_field) = (compatible, reasoning);
            };
            let sent = send(CHAT, CHAT, &body, change).unwrap();
            let message = sent.body["messages"][1].as_object().unwrap();
            let mut keys: Vec<&str> = message.keys().map(String::as_str).collect();
            keys.retain(|key| !matches!(*key, "role" | "content"));
            assert_eq!(keys, field.into_iter().collect::<Vec<_>>(), "{message:?}");
            let lost: &[&str] = if field.is_some() { &[] } else { &["dropped:thinking"] };
            assert_eq!(sent.losses, lost);
        }
    }
}

/// The thoughts of a message that goes back to Gemini, each with its signature.
fn signed(turn: &Value) -> Vec<(String, String)> {
    let sent = send(CHAT, GEMINI, &history(turn), as_it_is).unwrap();
    let parts = sent.body["contents"][1]["parts"].as_array().unwrap();
    let signed = parts.iter().filter(|part| part["thoughtSignature"].is_string());
    let said = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    signed.map(|part| (said(&part["text"]), said(&part["thoughtSignature"]))).collect()
}

/// A router's answer, whole and as a stream, with these entries of `reasoning_details`, each in a chunk of its own.
fn of_router(entries: &[Value]) -> (Value, String) {
    let message = json!({"role": "assistant", "content": "a", "reasoning_details": entries});
    let whole = json!({"id": "x", "object": "chat.completion", "created": 1, "model": "m",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]});
    let chunk = |delta: Value, finish: Value| {
        json!({"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m",
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})
        .to_string()
    };
    let mut lines: Vec<String> =
        entries.iter().map(|entry| chunk(json!({"reasoning_details": [entry]}), Value::Null)).collect();
    lines.push(chunk(json!({"content": "a"}), json!("stop")));
    lines.push("[DONE]".to_owned());
    (whole, chunks(&lines.iter().map(String::as_str).collect::<Vec<_>>()))
}

#[test]
fn an_entry_has_words_whatever_stands_empty_beside_them() {
    for (full, other) in [("text", "summary"), ("summary", "text")] {
        for empty in ["null", "\"\""] {
            let entry = format!(r#"[{{"type":"reasoning.{full}","{full}":"A","{other}":{empty}}}]"#);
            let mut words = Vec::new();
            details::read(&mut Cursor::over(&entry), &mut |detail| words.push(detail.text.escaped().to_owned()))
                .unwrap();
            assert_eq!(words, ["A"], "{entry}");
        }
    }
}

#[test]
fn each_signed_thought_keeps_its_signature() {
    let entry = |index: Value, text: &str, signature: &str| {
        let mut entry = json!({"type": "reasoning.text", "format": "x-v1", "index": index});
        for (key, value) in [("text", text), ("signature", signature)] {
            if !value.is_empty() {
                entry[key] = json!(value);
            }
        }
        entry
    };
    let pairs = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
        pairs.iter().map(|(text, signature)| ((*text).to_owned(), (*signature).to_owned())).collect()
    };
    for (entries, expected) in [
        (vec![entry(json!(0), "A", "S1"), entry(json!(1), "B", "S2")], pairs(&[("A", "S1"), ("B", "S2")])),
        // Routers number what they will, and some nothing.
        (vec![entry(json!(0), "A", "S1"), entry(json!(0), "B", "S2")], pairs(&[("A", "S1"), ("B", "S2")])),
        (vec![entry(Value::Null, "A", "S1"), entry(Value::Null, "B", "S2")], pairs(&[("A", "S1"), ("B", "S2")])),
        // Pieces of one, its signature last.
        (vec![entry(json!(0), "A", ""), entry(json!(0), "a", ""), entry(json!(0), "", "S1")], pairs(&[("Aa", "S1")])),
        (
            vec![
                entry(json!(0), "A", ""),
                entry(json!(0), "", "S1"),
                entry(json!(1), "B", ""),
                entry(json!(1), "", "S2"),
            ],
            pairs(&[("A", "S1"), ("B", "S2")]),
        ),
    ] {
        let (whole, streamed) = of_router(&entries);
        let written = answer(CHAT, MESSAGES, &whole).unwrap().0;
        let blocks = blocks_of(stream(CHAT, MESSAGES, &streamed).into_bytes());
        for blocks in [written["content"].as_array().unwrap().clone(), blocks] {
            let turn = json!({"role": "assistant", "content": blocks});
            let sent = send(MESSAGES, CHAT, &history(&turn), |facts| facts.compatible_extensions = true).unwrap();
            let details = sent.body["messages"][1]["reasoning_details"].as_array().cloned().unwrap_or_default();
            let said = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let found: Vec<_> = details.iter().map(|entry| (said(&entry["text"]), said(&entry["signature"]))).collect();
            assert_eq!(found, expected, "{blocks:?}");
        }
    }
}

#[test]
fn each_signed_thought_of_gemini_keeps_its_signature() {
    let thought = |text: &str, signature: &str| json!({"text": text, "thought": true, "thoughtSignature": signature});
    let all = [thought("A", "U0E="), thought("B", "U0I="), json!({"text": "a"})];
    let streamed: Vec<String> = all
        .iter()
        .map(|part| json!({"candidates": [{"content": {"role": "model", "parts": [part]}, "index": 0}]}).to_string())
        .chain([of_gemini(&[]).to_string()])
        .collect();
    let streamed = chunks(&streamed.iter().map(String::as_str).collect::<Vec<_>>());
    for turn in kept(GEMINI, &of_gemini(&all), &streamed) {
        let expected = [("A", "U0E="), ("B", "U0I=")].map(|(text, signature)| (text.to_owned(), signature.to_owned()));
        assert_eq!(signed(&turn), expected, "{turn}");
    }
}
