//! Losses are named by what stands in the client's body, whichever of its format's words and spellings that is.

use serde_json::{Value, json};

use super::crossings::{messages, sent};
use crate::Format;
use crate::format::{AnswerForms, Facts};

use Format::{AnthropicMessages as A, GeminiGenerate as G, OpenaiChat as C, OpenaiResponses as R};

#[test]
fn a_loss_is_named_as_the_client_spells_it() {
    let contents = json!([{"parts": [{"text": "q"}]}]);
    let config = |key: &str, value: Value| json!({"contents": contents, "generation_config": {key: value}});
    let chat = |more: Value| {
        let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "q"}]});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let few = Facts { most_output: 5, ..Facts::default() };
    let wordless = Facts { structured: false, answers: AnswerForms::Object, ..Facts::default() };
    let usual = Facts::default();
    let schema = json!({"type": "OBJECT", "properties": {"a": {"type": "STRING"}}});
    for (way, body, facts, expected) in [
        ((G, R), config("stop_sequences", json!(["a"])), &usual, "dropped:/generation_config/stop_sequences"),
        ((G, R), config("stopSequences", json!(["a"])), &usual, "dropped:/generation_config/stopSequences"),
        ((G, A), config("logprobs", json!(3)), &usual, "dropped:/generation_config/logprobs"),
        (
            (G, A),
            json!({"contents": contents, "generationConfig": {"responseLogprobs": true, "logprobs": 3}}),
            &usual,
            "dropped:/generationConfig/responseLogprobs, dropped:/generationConfig/logprobs",
        ),
        (
            (G, C),
            json!({"contents": contents,
                "generationConfig": {"responseMimeType": "application/json", "responseSchema": schema}}),
            &wordless,
            "converted:/generationConfig/responseSchema",
        ),
        (
            (G, C),
            json!({"contents": contents, "generationConfig": {"responseMimeType": "application/json"}}),
            &Facts { answers: AnswerForms::Text, ..Facts::default() },
            "converted:/generationConfig/responseMimeType",
        ),
        ((A, G), messages(&json!({"speed": "fast"})), &usual, "converted:/speed"),
        ((C, A), chat(json!({"max_tokens": 9})), &few, "converted:/max_tokens"),
        ((C, A), chat(json!({"max_completion_tokens": 9})), &few, "converted:/max_completion_tokens"),
    ] {
        let (_, lost) = sent(way, &body, facts).unwrap();
        let said: Vec<_> = lost.split(", ").filter(|item| !item.starts_with("defaulted:")).collect();
        assert_eq!(said.join(", "), expected, "{way:?}: {body}");
    }
}
