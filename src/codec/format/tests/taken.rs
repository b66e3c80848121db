//! Parameters that a model takes or not, whichever format asks for them.

use serde_json::{Value, json};

use super::crossings::sent;
use crate::Format;
use crate::format::Facts;

use Format::{GeminiGenerate as G, OpenaiChat as C};

fn chat(more: &Value) -> Value {
    let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}]});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

#[test]
fn penalties_probabilities_and_several_answers_are_asked_of_models_that_take_them() {
    let asked = chat(&json!({"presence_penalty": 0.5, "frequency_penalty": -1, "logprobs": true, "top_logprobs": 3}));
    let few = Facts { penalties: false, logprobs: false, candidates: false, ..Facts::default() };
    let (body, lost) = sent((C, G), &asked, &Facts::default()).unwrap();
    let all = json!({"presencePenalty": 0.5, "frequencyPenalty": -1, "responseLogprobs": true, "logprobs": 3});
    assert_eq!((&body["generationConfig"], lost.as_str()), (&all, ""));
    let (body, lost) = sent((C, G), &asked, &few).unwrap();
    assert_eq!(body["generationConfig"], Value::Null);
    for field in ["/presence_penalty", "/frequency_penalty", "/logprobs"] {
        assert!(lost.contains(&format!("dropped:{field}")), "{lost}");
    }
    // What many clients always send tells nothing.
    let neutral = chat(&json!({"presence_penalty": 0.0, "frequency_penalty": 0, "logprobs": false, "n": 1}));
    let (body, lost) = sent((C, G), &neutral, &few).unwrap();
    assert_eq!((&body["generationConfig"], lost.as_str()), (&json!({"candidateCount": 1}), ""));
    let several = chat(&json!({"n": 2}));
    assert_eq!(sent((C, G), &several, &Facts::default()).unwrap().0["generationConfig"]["candidateCount"], 2);
    let fault = sent((C, G), &several, &few).unwrap_err();
    assert_eq!((fault.status, fault.param.as_deref()), (400, Some("n")), "{fault:?}");
    // Its own clients know what they ask for.
    let own = json!({"contents": [{"role": "user", "parts": [{"text": "hi"}]}], "generationConfig":
        {"presencePenalty": 0.5, "frequencyPenalty": -1, "candidateCount": 2, "responseLogprobs": true, "logprobs": 3}});
    let (body, lost) = sent((G, G), &own, &few).unwrap();
    assert_eq!((&body["generationConfig"], lost.as_str()), (&own["generationConfig"], ""));
}
