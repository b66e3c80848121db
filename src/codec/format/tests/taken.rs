//! Parameters that a model takes or not, whichever format asks for them.

use serde_json::{Value, json};

use super::crossings::sent;
use crate::Format;
use crate::format::{Efforts, Facts, ThinkingForm};
use crate::hub::Effort;

use Format::{AnthropicMessages as A, GeminiGenerate as G, OpenaiChat as C, OpenaiResponses as R};

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

#[test]
fn json_without_a_schema_is_asked_for_in_a_word_too() {
    let line = "Answer with one JSON object and nothing else.";
    let json = json!({"responseMimeType": "application/json"});
    let gemini = |system: Value, words: &[&str], config: &Value| {
        let role = |at: usize| if at.is_multiple_of(2) { "user" } else { "model" };
        let turn = |(at, words): (usize, &&str)| json!({"role": role(at), "parts": [{"text": words}]});
        let turns: Vec<Value> = words.iter().enumerate().map(turn).collect();
        json!({"systemInstruction": system, "contents": turns, "generationConfig": config})
    };
    let system = json!({"parts": [{"text": "Answer as Json."}]});
    for (body, is_added) in [
        (gemini(Value::Null, &["List two"], &json), true),
        (gemini(json!({"parts": [{"text": "Be brief."}]}), &["List two"], &json), true),
        (gemini(Value::Null, &["List two in JSON"], &json), false),
        (gemini(system.clone(), &["List two"], &json), false),
        (gemini(Value::Null, &["List two", "[]", "now as json"], &json), true),
        (gemini(Value::Null, &["List two"], &json!({})), false),
    ] {
        for to in [C, R] {
            let (sent, lost) = sent((G, to), &body, &Facts::default()).unwrap();
            let said = sent.get("messages").or(sent.get("input")).unwrap().to_string();
            assert_eq!(said.contains(line), is_added, "{to:?} {sent}");
            assert_eq!(lost.contains("converted:/generationConfig/responseMimeType"), is_added, "{to:?} {lost}");
        }
        for to in [A, G] {
            let (_, lost) = sent((G, to), &body, &Facts::default()).unwrap();
            assert!(!lost.contains("JSON is given only"), "{lost}");
        }
    }
    // Where the word is among the instructions, they stand where it is looked for.
    let mut body = chat(&json!({"response_format": {"type": "json_object"}}));
    body["messages"].as_array_mut().unwrap().insert(0, json!({"role": "system", "content": "Answer in JSON."}));
    let (sent_json, lost) = sent((C, R), &body, &Facts::default()).unwrap();
    assert_eq!((sent_json.get("instructions"), lost.as_str()), (None, ""));
    assert_eq!(sent_json["input"][0]["role"], "developer");
    assert!(sent_json["input"][0].to_string().contains("Answer in JSON."), "{sent_json}");
    body["response_format"] = json!({"type": "text"});
    assert_eq!(sent((C, R), &body, &Facts::default()).unwrap().0["instructions"], "Answer in JSON.");
}

#[test]
fn no_more_tokens_are_asked_for_than_the_model_gives() {
    let facts =
        |max_output, most_output| Facts { thinking: ThinkingForm::Budget, max_output, most_output, ..Facts::default() };
    for (asked, facts, tokens, budget) in [
        (json!({"reasoning_effort": "medium"}), facts(16_384, 32_000), 24_576, 8192),
        (json!({"reasoning_effort": "high"}), facts(16_384, 32_000), 32_000, 16_384),
        (json!({"reasoning_effort": "max"}), facts(16_384, 32_000), 32_000, 24_000),
        (json!({"reasoning_effort": "max"}), facts(32_000, 64_000), 64_000, 32_000),
        (json!({"reasoning_effort": "max", "max_tokens": 99_000}), facts(16_384, 32_000), 32_000, 31_999),
        (json!({"reasoning_effort": "high"}), facts(16_384, u64::MAX), 32_768, 16_384),
    ] {
        let (body, lost) = sent((C, A), &chat(&asked), &facts).unwrap();
        let found = (body["max_tokens"].as_u64(), body["thinking"]["budget_tokens"].as_u64());
        assert_eq!(found, (Some(tokens), Some(budget)), "{asked}");
        let is_told = lost.contains("converted:/max_tokens");
        assert_eq!(is_told, asked.get("max_tokens").is_some(), "{asked} {lost}");
    }
    let (body, _) = sent((C, A), &chat(&json!({})), &facts(32_000, 8000)).unwrap();
    assert_eq!(body["max_tokens"], 8000);
    for (to, at) in [(C, "/max_completion_tokens"), (R, "/max_output_tokens"), (G, "/generationConfig/maxOutputTokens")]
    {
        let asked = json!({"model": "m", "max_tokens": 32_000, "messages": [{"role": "user", "content": "q"}]});
        let (body, lost) = sent((A, to), &asked, &facts(8192, 16_384)).unwrap();
        assert_eq!(body.pointer(at), Some(&json!(16_384)), "{to:?}");
        assert_eq!(lost, "converted:/max_tokens", "{to:?}");
    }
}

#[test]
fn an_effort_that_a_model_does_not_take_is_left_out() {
    let knows = |efforts: &[Effort]| Facts { efforts: Efforts::of(efforts), ..Facts::default() };
    let server = |efforts: &[Effort]| Facts { exact: false, ..knows(efforts) };
    let asked = |effort: &str| {
        let body = json!({"model": "m", "max_tokens": 99, "messages": [{"role": "user", "content": "q"}]});
        let mut body = body.as_object().unwrap().clone();
        body.insert("thinking".to_owned(), json!({"type": "adaptive"}));
        body.insert("output_config".to_owned(), json!({"effort": effort}));
        Value::Object(body)
    };
    for (efforts, taken) in [
        (&[][..], None),
        (&[Effort::None][..], None),
        (&[Effort::None, Effort::Low][..], Some("low")),
        (&[Effort::High][..], Some("high")),
    ] {
        for (to, at) in [(C, "/reasoning_effort"), (R, "/reasoning/effort")] {
            let (body, lost) = sent((A, to), &asked("high"), &knows(efforts)).unwrap();
            assert_eq!(body.pointer(at).and_then(Value::as_str), taken, "{to:?} {efforts:?}");
            assert_eq!(lost.contains("dropped:"), taken.is_none(), "{to:?} {lost}");
        }
        let own = chat(&json!({"reasoning_effort": "high"}));
        let (body, lost) = sent((C, C), &own, &server(efforts)).unwrap();
        assert_eq!(body.get("reasoning_effort").and_then(Value::as_str), taken, "{efforts:?}");
        assert_eq!(lost.contains("dropped:/reasoning_effort"), taken.is_none(), "{lost}");
    }
}

#[test]
fn seeds_and_stop_texts_are_what_the_vendor_takes() {
    for (seed, sent_seed) in [
        (json!(7), 7),
        (json!(-1), -1),
        (json!(2_147_483_647_i64), 2_147_483_647_i64),
        (json!(2_147_483_648_i64), 0),
        (json!(1_099_511_627_783_i64), 7),
        (json!(-2_147_483_649_i64), 2_147_483_647),
    ] {
        let (body, lost) = sent((C, G), &chat(&json!({"seed": seed})), &Facts::default()).unwrap();
        assert_eq!(body["generationConfig"]["seed"], sent_seed);
        assert_eq!(lost, if seed == sent_seed { "" } else { "converted:/seed" }, "{seed}");
    }
    for (stop, sent_stop, lost) in [
        (json!(["\n", ""]), json!(["\n"]), "dropped:/generationConfig/stopSequences"),
        (json!([""]), Value::Null, "dropped:/generationConfig/stopSequences"),
        (json!(["", "a", "b", "c", "d"]), json!(["a", "b", "c", "d"]), "dropped:/generationConfig/stopSequences"),
        (json!(["a"]), json!(["a"]), ""),
    ] {
        let asked = json!({"contents": [{"role": "user", "parts": [{"text": "hi"}]}], "generationConfig": {"stopSequences": stop}});
        let (body, told) = sent((G, C), &asked, &Facts::default()).unwrap();
        assert_eq!((&body["stop"], told.as_str()), (&sent_stop, lost), "{stop}");
    }
}

#[test]
fn a_message_that_only_sets_the_effort_is_for_its_vendor() {
    let effort = json!({"role": "system", "output_config": {"effort": "low"}});
    let turn = |role: &str| json!({"role": role, "content": "x"});
    for at in [1, 2, 3] {
        let mut turns = vec![turn("user"), turn("assistant"), turn("user")];
        turns.insert(at, effort.clone());
        let asked = json!({"model": "m", "max_tokens": 99, "messages": turns});
        for to in [C, R, G] {
            let (body, lost) = sent((A, to), &asked, &Facts::default()).unwrap();
            assert_eq!(lost, format!("dropped:/messages/{at}/output_config"), "{to:?}: {body}");
            assert!(!body.to_string().contains("(empty)"), "{to:?}: {body}");
        }
        let (body, lost) = sent((A, A), &asked, &Facts::default()).unwrap();
        assert_eq!((&body["messages"][at], lost.as_str()), (&effort, ""), "{body}");
        for facts in [
            Facts { mid_system: false, ..Facts::default() },
            Facts { fields: crate::format::FieldSet::Core, ..Facts::default() },
        ] {
            let (body, _) = sent((A, A), &asked, &facts).unwrap();
            assert!(!body.to_string().contains("(empty)"), "{body}");
        }
    }
    let empty = json!({"model": "m", "max_tokens": 9, "messages": [turn("user"), {"role": "system"}]});
    assert!(sent((A, C), &empty, &Facts::default()).is_err());
}
