//! Schemas of tools and answers, in another format than their own.

use serde_json::{Value, json};

use super::crossings::sent;
use crate::Format;
use crate::format::Facts;

use Format::{AnthropicMessages as A, GeminiGenerate as G, OpenaiChat as C, OpenaiResponses as R};

/// A request of `from` with one function `f` whose arguments `schema` describes.
fn with_tool(from: Format, schema: &Value, strict: bool) -> Value {
    let user = json!([{"role": "user", "content": "q"}]);
    let function = json!({"name": "f", "parameters": schema, "strict": strict});
    match from {
        A => json!({"model": "m", "max_tokens": 99, "messages": user,
            "tools": [{"name": "f", "input_schema": schema, "strict": strict}]}),
        G => json!({"contents": [{"parts": [{"text": "q"}]}],
            "tools": [{"functionDeclarations": [{"name": "f", "parameters": schema}]}]}),
        C => json!({"model": "m", "messages": user, "tools": [{"type": "function", "function": function}]}),
        R => {
            let flat = json!({"type": "function", "name": "f", "parameters": schema, "strict": strict});
            json!({"model": "m", "input": user, "tools": [flat]})
        }
    }
}

/// The function of a request as it is sent to `to`, the losses beside it.
fn tool(way: (Format, Format), schema: &Value, strict: bool, facts: &Facts) -> (Value, String) {
    let (body, lost) = sent(way, &with_tool(way.0, schema, strict), facts).unwrap();
    let at = match way.1 {
        C => "/tools/0/function",
        G => "/tools/0/functionDeclarations/0",
        A | R => "/tools/0",
    };
    (body.pointer(at).unwrap_or_else(|| panic!("{body}")).clone(), lost)
}

#[test]
fn a_schema_with_a_property_that_may_lack_is_not_held_to() {
    let schema = |more: Value| {
        json!({"type": "object", "properties": {"a": {"type": "string"}, "b": more},
        "required": ["a"], "additionalProperties": false})
    };
    let mut all = schema(json!({"type": "string"}));
    all["required"] = json!(["b", "a"]);
    let mut free = all.clone();
    free["additionalProperties"] = json!({"type": "string"});
    let mut map = all.clone();
    map["properties"]["b"] = json!({"type": "array", "items": {"type": "object", "additionalProperties": {}}});
    let named = json!({"type": "object", "properties": {"properties": {"type": "string"}},
        "required": ["properties"], "additionalProperties": false});
    for (schema, held) in [(schema(json!({})), false), (free, false), (map, false), (all, true), (named, true)] {
        for to in [C, R] {
            let (function, lost) = tool((A, to), &schema, true, &Facts::default());
            assert_eq!(function["strict"], json!(held), "{to:?} {schema}");
            assert_eq!(function["parameters"], schema, "{to:?}");
            assert_eq!(lost, if held { "" } else { "converted:/tools/0" }, "{to:?} {schema}");
        }
    }
}

#[test]
fn json_by_a_schema_that_is_not_there_is_some_object() {
    let body = json!({"model": "m", "messages": [{"role": "user", "content": "q"}],
        "response_format": {"type": "json_schema", "json_schema": {"name": "s"}}});
    let (to_responses, lost) = sent((C, R), &body, &Facts::default()).unwrap();
    assert_eq!((&to_responses["text"], lost.as_str()), (&json!({"format": {"type": "json_object"}}), ""));
    let (to_gemini, lost) = sent((C, G), &body, &Facts::default()).unwrap();
    let config = json!({"responseMimeType": "application/json"});
    assert_eq!((&to_gemini["generationConfig"], lost.as_str()), (&config, ""));
    let (to_messages, lost) = sent((C, A), &body, &Facts::default()).unwrap();
    assert!(to_messages["system"].to_string().contains("JSON"), "{to_messages}");
    assert!(lost.contains("converted:/response_format"), "{lost}");
    let (own, lost) = sent((C, C), &body, &Facts::default()).unwrap();
    assert_eq!((&own["response_format"], lost.as_str()), (&body["response_format"], ""));
}
