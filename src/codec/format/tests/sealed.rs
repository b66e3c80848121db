//! State that only its maker can read: where its loss is told of.

use serde_json::{Value, json};

use super::crossings::{parts_of, sent};
use crate::Format;
use crate::format::Facts;

use Format::{AnthropicMessages as A, GeminiGenerate as G, OpenaiChat as C, OpenaiResponses as R};

/// What is told of a model's turn, by a client of each format, that is `said` by another one's provider.
fn told(way: (Format, Format), said: &Value) -> String {
    let [mut turn, result] = match way.0 {
        A => [
            json!([{"type": "tool_use", "id": "a", "name": "f", "input": {"signature": "s"}}]),
            json!({"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a", "content": "r"}]}),
        ],
        G => {
            [json!([]), json!({"parts": [{"functionResponse": {"id": "a", "name": "f", "response": {"output": "r"}}}]})]
        }
        C => [json!([]), json!({"role": "tool", "tool_call_id": "a", "content": "r"})],
        R => [
            json!([{"type": "function_call", "call_id": "a", "name": "f", "arguments": "{}"}]),
            json!({"type": "function_call_output", "call_id": "a", "output": "r"}),
        ],
    };
    turn.as_array_mut().unwrap().insert(0, said.clone());
    let body = match way.0 {
        A => json!({"model": "m", "max_tokens": 100, "messages": [{"role": "user", "content": "q"},
            {"role": "assistant", "content": turn}, result]}),
        G => {
            json!({"contents": [{"role": "user", "parts": [{"text": "q"}]}, {"role": "model", "parts": turn}, result]})
        }
        C => json!({"model": "m", "messages": [{"role": "user", "content": "q"}, said, result]}),
        R => json!({"model": "m", "input": [{"role": "user", "content": "q"}, turn[0], turn[1], result]}),
    };
    let facts = Facts { compatible_extensions: true, ..Facts::default() };
    let (_, lost) = sent(way, &body, &facts).unwrap();
    lost.split(", ").filter(|loss| !loss.starts_with("defaulted:")).collect::<Vec<_>>().join(", ")
}

#[test]
fn the_loss_of_state_names_the_state() {
    let call = |key: &str| json!({"functionCall": {"id": "a", "name": "f", "args": {"thoughtSignature": "s"}}, key: "CiQB0e2Kb"});
    for (from, to, said, expected) in [
        (G, A, call("thoughtSignature"), "/contents/1/parts/0/thoughtSignature"),
        (G, C, call("thought_signature"), "/contents/1/parts/0/thought_signature"),
        (G, R, call("thoughtSignature"), "/contents/1/parts/0/thoughtSignature"),
        (
            C,
            G,
            json!({"role": "assistant", "tool_calls": [{"id": "a", "type": "function",
                "function": {"name": "f", "arguments": "{}"}, "extra_content": {"google": {"thought_signature": "CiQB"}}}]}),
            "/messages/1/tool_calls/0/extra_content/google/thought_signature",
        ),
        (A, C, json!({"type": "thinking", "thinking": "hm", "signature": "EqQB"}), "/messages/1/content/0/signature"),
        (A, G, json!({"type": "redacted_thinking", "data": "EqQB"}), "/messages/1/content/0"),
        (A, R, json!({"type": "redacted_thinking", "data": "EqQB"}), "/messages/1/content/0"),
        (R, C, json!({"type": "reasoning", "summary": [], "encrypted_content": "gAAA"}), "/input/1"),
        (R, G, json!({"type": "reasoning", "summary": [], "encrypted_content": "gAAA"}), "/input/1"),
    ] {
        assert_eq!(told((from, to), &said), format!("dropped:{expected}"), "{from:?} {to:?} {said}");
    }
}

#[test]
fn the_words_of_a_thought_that_is_lost_are_named_where_they_stood() {
    let thought = json!({"type": "thinking", "thinking": "hm", "signature": "EqQB"});
    let call = json!({"type": "tool_use", "id": "a", "name": "f", "input": {}});
    let result = json!({"functionResponse": {"id": "a", "name": "f", "response": {"output": "r"}}});
    for parts in parts_of(&json!([thought, call])) {
        let words = parts.iter().position(|part| part["thought"] == true).unwrap();
        let state = parts.iter().rposition(|part| part.get("thoughtSignature").is_some()).unwrap();
        for keeps_words in [true, false] {
            let kept = parts.iter().enumerate().filter(|(at, _)| keeps_words || *at != words);
            let kept: Vec<&Value> = kept.map(|(_, part)| part).collect();
            let state = format!("/contents/1/parts/{}/thoughtSignature", if keeps_words { state } else { state - 1 });
            // Words that the client did not keep are in the envelope of the state.
            let words = if keeps_words { format!("/contents/1/parts/{words}") } else { state.clone() };
            let body = json!({"contents": [{"role": "user", "parts": [{"text": "q"}]},
                {"role": "model", "parts": kept}, {"role": "user", "parts": [result]}]});
            for to in [C, R] {
                let (_, lost) = sent((G, to), &body, &Facts::default()).unwrap();
                let mut lost: Vec<&str> = lost.split(", ").collect();
                let mut expected = [format!("dropped:{words}"), format!("dropped:{state}")];
                lost.sort_unstable();
                expected.sort_unstable();
                assert_eq!(lost, expected, "{to:?} {body}");
            }
        }
    }
}

#[test]
fn a_signature_behind_its_thought_is_named_beside_the_words() {
    let body = json!({"contents": [{"role": "user", "parts": [{"text": "q"}]},
        {"role": "model", "parts": [{"thought": true, "text": "h"}, {"thought": true, "text": "m"},
            {"thought": true, "text": "", "thoughtSignature": "CiQB0e2Kb"}, {"text": "a"}]},
        {"role": "user", "parts": [{"text": "b"}]}], "generationConfig": {"maxOutputTokens": 100}});
    for to in [A, C, R] {
        let (_, lost) = sent((G, to), &body, &Facts::default()).unwrap();
        let mut lost: Vec<&str> = lost.split(", ").collect();
        lost.sort_unstable();
        assert_eq!(lost, ["dropped:/contents/1/parts/0", "dropped:/contents/1/parts/2/thoughtSignature"], "{to:?}");
    }
}
