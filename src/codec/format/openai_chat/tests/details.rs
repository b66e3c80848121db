//! `reasoning_details`: what comes back in them goes to its maker alone.

use serde_json::{Value, json};

use super::{CHAT, MESSAGES, accumulated, answer, as_it_is, chunks, send, stream};
use crate::format::ReasoningField;
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
        let compatible = |facts: &mut Facts| facts.compatible_extensions = true;
        let fields: [&dyn Fn(&mut Facts); 4] = [
            &as_it_is,
            &compatible,
            &|facts| {
                compatible(facts);
                facts.reasoning_field = Some(ReasoningField::Reasoning);
            },
            &|facts| {
                compatible(facts);
                facts.reasoning_field = Some(ReasoningField::None);
            },
        ];
        for (change, field) in fields.into_iter().zip([None, Some("reasoning_content"), Some("reasoning"), None]) {
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
