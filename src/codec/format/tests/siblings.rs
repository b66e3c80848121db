//! What `OpenAI`'s two formats say alike goes on from the one to the other.

use serde_json::{Value, json};

use super::answers::whole;
use super::crossings::sent;
use crate::Format;
use crate::format::Facts;
use crate::hub::Field;

use Format::{AnthropicMessages as A, GeminiGenerate as G, OpenaiChat as C, OpenaiResponses as R};

/// A request of the format with `more` in it.
fn request(format: Format, more: &Value) -> Value {
    let mut body = match format {
        C => json!({"model": "m", "messages": [{"role": "user", "content": "q"}]}),
        _ => json!({"model": "m", "input": "q"}),
    };
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

fn moderation() -> Value {
    json!({"model": "omni-moderation-latest", "policy": {"input": {"mode": "block"}, "output": {"mode": "block"}}})
}

#[test]
fn moderation_and_the_options_of_a_cache_are_said_in_both() {
    let said = json!({"moderation": moderation(), "prompt_cache_options": {"mode": "explicit", "ttl": "30m"},
        "prompt_cache_retention": "24h"});
    for way in [(C, R), (R, C), (C, C), (R, R)] {
        let (body, lost) = sent(way, &request(way.0, &said), &Facts::default()).unwrap();
        for (key, value) in said.as_object().unwrap() {
            assert_eq!(&body[key], value, "{way:?}: {body}");
        }
        assert_eq!(lost, "", "{way:?}");
    }
    let none = json!({"moderation": null, "prompt_cache_options": null, "prompt_cache_retention": null});
    for way in [(C, R), (R, C)] {
        let (body, lost) = sent(way, &request(way.0, &none), &Facts::default()).unwrap();
        assert!(none.as_object().unwrap().keys().all(|key| body.get(key).is_none()), "{way:?}: {body}");
        assert_eq!(lost, "", "{way:?}");
    }
}

#[test]
fn servers_of_other_makers_are_told_none_of_it() {
    let said = json!({"moderation": moderation(), "prompt_cache_retention": "24h"});
    let compatible = Facts { compatible_extensions: true, ..Facts::default() };
    for (from, to, facts) in [
        (C, R, &compatible),
        (R, C, &compatible),
        (C, A, &Facts::default()),
        (R, A, &Facts::default()),
        (C, G, &Facts::default()),
        (R, G, &Facts::default()),
    ] {
        let (body, lost) = sent((from, to), &request(from, &said), facts).unwrap();
        for key in said.as_object().unwrap().keys() {
            assert!(body.get(key).is_none(), "{from:?} {to:?}: {body}");
            assert!(lost.contains(&format!("dropped:/{key}")), "{from:?} {to:?}: {lost}");
        }
    }
}

#[test]
fn chat_completions_is_told_the_options_that_it_knows() {
    for (options, known, losses) in [
        (json!({"mode": "implicit"}), json!({"mode": "implicit"}), ""),
        (json!({"ttl": "12h", "prewarm": false}), json!({"ttl": "30m"}), "converted:/prompt_cache_options/ttl"),
        (
            json!({"mode": "explicit", "ttl": null, "prewarm": true, "comparison_response_id": "resp_1"}),
            json!({"mode": "explicit"}),
            "dropped:/prompt_cache_options/prewarm, dropped:/prompt_cache_options/comparison_response_id",
        ),
    ] {
        let body = request(R, &json!({"prompt_cache_options": options}));
        let (body, lost) = sent((R, C), &body, &Facts::default()).unwrap();
        assert_eq!(body["prompt_cache_options"], known);
        let mut found: Vec<&str> = lost.split(", ").collect();
        found.sort_unstable();
        let mut expected: Vec<&str> = losses.split(", ").collect();
        expected.sort_unstable();
        assert_eq!(found, expected);
    }
}

#[test]
fn what_moderation_found_is_told_in_both() {
    let found =
        json!({"type": "moderation_result", "model": "omni", "flagged": true, "categories": {"violence": true}});
    let failed = json!({"type": "error", "code": "x", "message": "m"});
    let listed = json!({"type": "moderation_results", "model": "omni", "results": [found]});
    let of_responses = json!({"input": found, "output": failed});
    let of_chat = json!({"input": listed, "output": failed});
    let response = json!({"id": "resp_1", "object": "response", "model": "m", "status": "completed",
        "moderation": of_responses, "output": [{"type": "message", "id": "m_1", "role": "assistant",
            "content": [{"type": "output_text", "text": "a", "annotations": []}]}]});
    let message = json!({"role": "assistant", "content": "a"});
    let chat = json!({"id": "c", "moderation": of_chat,
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]});
    for (way, body, told) in [
        ((R, C), &response, &of_chat),
        ((C, R), &chat, &of_responses),
        ((C, C), &chat, &of_chat),
        ((R, R), &response, &of_responses),
    ] {
        let (answer, losses) = whole(way, body).unwrap();
        assert_eq!((&answer["moderation"], losses), (told, vec![]), "{way:?}");
    }
    for way in [(R, A), (C, A), (R, G), (C, G)] {
        let (_, losses) = whole(way, if way.0 == R { &response } else { &chat }).unwrap();
        assert_eq!(losses, [Field::Safety], "{way:?}");
    }
}
