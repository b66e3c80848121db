//! Fields of a request on their way to a provider of another format: each arrives as what it says.

use serde_json::{Value, json};

use super::crossings::sent;
use crate::Format;
use crate::format::Facts;

use Format::{AnthropicMessages as A, GeminiGenerate as G, OpenaiChat as C, OpenaiResponses as R};

/// A request of `format` with `more` in it.
pub(super) fn request(format: Format, more: &Value) -> Value {
    let mut body = match format {
        A => json!({"model": "m", "max_tokens": 100, "messages": [{"role": "user", "content": "q"}]}),
        C => json!({"model": "m", "messages": [{"role": "user", "content": "q"}]}),
        G => json!({"contents": [{"role": "user", "parts": [{"text": "q"}]}]}),
        R => json!({"model": "m", "input": "q"}),
    };
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

/// `more` of a request says `expected` at the place `at` of what is sent, and nothing of it is lost.
#[track_caller]
fn check((from, to): (Format, Format), more: &Value, at: &str, expected: &Value) {
    let (body, lost) = sent((from, to), &request(from, more), &Facts::default()).unwrap();
    let found = body.pointer(at).unwrap_or(&Value::Null);
    assert_eq!((found, lost.as_str()), (expected, ""), "{from:?} to {to:?}: {more}\n{body}");
}

#[test]
fn settings_of_chat_are_settings_of_responses() {
    let word = |key: &str, words: &[&str]| -> Vec<(Value, String)> {
        words.iter().map(|word| (json!({key: word}), (*word).to_owned())).collect()
    };
    for (more, told) in word("verbosity", &["low", "medium", "high"]) {
        check((C, R), &more, "/text/verbosity", &json!(told));
        check((R, C), &json!({"text": more}), "/verbosity", &json!(told));
    }
    for (more, told) in word("service_tier", &["auto", "default", "flex", "scale", "priority", "fast"]) {
        check((C, R), &more, "/service_tier", &json!(told));
        check((R, C), &more, "/service_tier", &json!(told));
    }
    for (more, told) in word("reasoning_effort", &["none", "minimal", "low", "medium", "high", "xhigh", "max"]) {
        check((C, R), &more, "/reasoning/effort", &json!(told));
        check((R, C), &json!({"reasoning": {"effort": told}}), "/reasoning_effort", &json!(told));
    }
    for (key, value) in [
        ("user", json!("u")),
        ("safety_identifier", json!("s")),
        ("metadata", json!({"k": "v"})),
        ("store", json!(false)),
        ("store", json!(true)),
        ("prompt_cache_key", json!("p")),
        ("parallel_tool_calls", json!(false)),
        ("temperature", json!(0.5)),
        ("top_p", json!(0.25)),
    ] {
        let tools = |one: Value| if key == "parallel_tool_calls" { json!([one]) } else { json!([]) };
        let mut chat = json!({"tools": tools(json!({"type": "function", "function": {"name": "f"}}))});
        let mut responses =
            json!({"tools": tools(json!({"type": "function", "name": "f", "parameters": null, "strict": false}))});
        chat[key] = value.clone();
        responses[key] = value.clone();
        check((C, R), &chat, &format!("/{key}"), &value);
        check((R, C), &responses, &format!("/{key}"), &value);
    }
    let padded = json!({"stream": true, "stream_options": {"include_obfuscation": false}});
    check((C, R), &padded, "/stream_options/include_obfuscation", &json!(false));
    check((R, C), &padded, "/stream_options/include_obfuscation", &json!(false));
    check((R, C), &json!({"stream": true, "stream_options": {"include_usage": false}}), "/stream", &json!(true));
    check((C, R), &json!({"logprobs": true, "top_logprobs": 4}), "/top_logprobs", &json!(4));
    check((R, C), &json!({"top_logprobs": 4}), "/logprobs", &json!(true));
    check((R, C), &json!({"include": ["message.output_text.logprobs"]}), "/logprobs", &json!(true));
}

#[test]
fn a_schema_for_the_answer_keeps_its_name_and_its_words() {
    let schema = json!({"type": "object", "properties": {}, "additionalProperties": false});
    let said = json!({"name": "n", "description": "d", "strict": true, "schema": schema});
    let mut flat = said.clone();
    flat["type"] = json!("json_schema");
    for (key, value) in said.as_object().unwrap() {
        let chat = json!({"response_format": {"type": "json_schema", "json_schema": said}});
        check((C, R), &chat, &format!("/text/format/{key}"), value);
        let responses = json!({"text": {"format": flat}});
        check((R, C), &responses, &format!("/response_format/json_schema/{key}"), value);
    }
    let former = json!({"output_format": {"type": "json_schema", "name": "n", "schema": schema}});
    check((A, C), &former, "/response_format/json_schema/schema", &schema);
    check((A, C), &former, "/response_format/json_schema/name", &json!("n"));
    check((A, C), &json!({"output_format": {"type": "text"}}), "/response_format", &Value::Null);
    check((A, C), &json!({"output_config": {"format": null}}), "/response_format", &Value::Null);
    for (way, broken) in [
        ((A, C), json!({"output_format": {"type": "json_schema"}})),
        ((C, R), json!({"response_format": {"type": "json_schema"}})),
        ((C, R), json!({"response_format": {"type": "xml"}})),
        ((R, C), json!({"text": {"format": {"type": "xml"}}})),
    ] {
        let fault = sent(way, &request(way.0, &broken), &Facts::default()).unwrap_err();
        assert_eq!(fault.status, 400, "{broken}");
    }
}

#[test]
fn tools_of_chat_are_tools_of_responses() {
    let (name, words) = (json!("f"), json!("d"));
    let schema = json!({"type": "object", "properties": {"x": {"type": "string"}}});
    let function = json!({"name": name, "description": words, "parameters": schema});
    for key in ["name", "description", "parameters"] {
        let at = format!("/tools/0/{key}");
        check((C, R), &json!({"functions": [function]}), &at, &function[key]);
        check((C, R), &json!({"tools": [{"type": "function", "function": function}]}), &at, &function[key]);
    }
    let custom = json!({"name": "c", "description": "d", "format": {"type": "text"}});
    for key in ["name", "description", "format"] {
        check(
            (C, R),
            &json!({"tools": [{"type": "custom", "custom": custom}]}),
            &format!("/tools/0/{key}"),
            &custom[key],
        );
    }
    let tools =
        json!([{"type": "function", "function": {"name": "f"}}, {"type": "function", "function": {"name": "g"}}]);
    for (choice, chosen) in [
        (json!("auto"), json!("auto")),
        (json!("none"), json!("none")),
        (json!("required"), json!("required")),
        (json!("any"), json!("required")),
        (json!({"type": "function", "function": {"name": "g"}}), json!({"type": "function", "name": "g"})),
        (json!({"type": "function", "name": "g"}), json!({"type": "function", "name": "g"})),
        (json!({"name": "g"}), json!({"type": "function", "name": "g"})),
        (
            json!({"type": "allowed_tools", "allowed_tools": {"mode": "required",
                "tools": [{"type": "function", "function": {"name": "g"}}]}}),
            json!({"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "g"}]}),
        ),
        (
            json!({"type": "allowed_tools", "allowed_tools": {"tools": [{"type": "function", "name": "f"}]}}),
            json!({"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "f"}]}),
        ),
    ] {
        check((C, R), &json!({"tools": tools, "tool_choice": choice}), "/tool_choice", &chosen);
        check((C, R), &json!({"tools": tools, "function_call": choice}), "/tool_choice", &chosen);
    }
    for (more, about) in [
        (json!({"tools": [{"type": "function"}]}), "the tool lacks `function`"),
        (json!({"tools": [{"type": "custom"}]}), "the tool lacks `custom`"),
        (json!({"tools": tools, "tool_choice": {"type": "function"}}), "names no tool"),
        (json!({"tools": tools, "tool_choice": "some"}), "`some` is no tool choice"),
        (json!({"verbosity": "loud"}), "`loud` is not known here"),
        (json!({"reasoning_effort": "much"}), "`much` is not known here"),
    ] {
        let fault = sent((C, R), &request(C, &more), &Facts::default()).unwrap_err();
        assert!(fault.status == 400 && fault.message.contains(about), "{more}: {fault:?}");
    }
}

#[test]
fn settings_of_messages_are_settings_of_chat() {
    let tools = json!([{"name": "f", "input_schema": {"type": "object", "properties": {}}}]);
    for (more, at, expected) in [
        (json!({"service_tier": "auto"}), "/service_tier", json!("auto")),
        (json!({"service_tier": "standard_only"}), "/service_tier", json!("default")),
        (json!({"speed": "fast"}), "/service_tier", json!("fast")),
        (json!({"speed": "fast", "service_tier": "auto"}), "/service_tier", json!("fast")),
        (json!({"speed": "standard"}), "/service_tier", Value::Null),
        (json!({"speed": "standard", "service_tier": "auto"}), "/service_tier", json!("auto")),
        (json!({"metadata": {"user_id": "u"}}), "/safety_identifier", json!("u")),
        (json!({"stop_sequences": ["x", "y"]}), "/stop", json!(["x", "y"])),
        (json!({"temperature": 0.5, "top_p": 0.25}), "/top_p", json!(0.25)),
        (json!({"tools": tools, "tool_choice": {"type": "auto"}}), "/tool_choice", json!("auto")),
        (json!({"tools": tools, "tool_choice": {"type": "any"}}), "/tool_choice", json!("required")),
        (json!({"tools": tools, "tool_choice": {"type": "none"}}), "/tool_choice", json!("none")),
        (
            json!({"tools": tools, "tool_choice": {"type": "tool", "name": "f"}}),
            "/tool_choice/function/name",
            json!("f"),
        ),
        (
            json!({"tools": tools, "tool_choice": {"type": "auto", "disable_parallel_tool_use": true}}),
            "/parallel_tool_calls",
            json!(false),
        ),
        (
            json!({"tools": tools, "tool_choice": {"type": "auto", "disable_parallel_tool_use": false}}),
            "/parallel_tool_calls",
            json!(true),
        ),
    ] {
        check((A, C), &more, at, &expected);
    }
    for (display, summary) in [("summarized", json!("auto")), ("omitted", Value::Null)] {
        let thinking =
            json!({"thinking": {"type": "adaptive", "display": display}, "output_config": {"effort": "low"}});
        check((A, R), &thinking, "/reasoning/summary", &summary);
    }
}

#[test]
fn settings_of_gemini_are_settings_of_chat() {
    let config = |key: &str, value: &Value| json!({"generationConfig": {key: value}});
    for (key, value, at) in [
        ("maxOutputTokens", json!(99), "/max_completion_tokens"),
        ("stopSequences", json!(["x"]), "/stop"),
        ("temperature", json!(0.5), "/temperature"),
        ("topP", json!(0.25), "/top_p"),
        ("seed", json!(7), "/seed"),
        ("presencePenalty", json!(0.5), "/presence_penalty"),
        ("frequencyPenalty", json!(0.5), "/frequency_penalty"),
        ("candidateCount", json!(2), "/n"),
        ("responseLogprobs", json!(true), "/logprobs"),
    ] {
        check((G, C), &config(key, &value), at, &value);
        let snake: String = key
            .chars()
            .flat_map(|c| if c.is_uppercase() { vec!['_', c.to_ascii_lowercase()] } else { vec![c] })
            .collect();
        check((G, C), &json!({"generation_config": {snake: value}}), at, &value);
    }
    for (word, tier) in [
        ("standard", json!("default")),
        ("FLEX", json!("flex")),
        ("priority", json!("priority")),
        ("SERVICE_TIER_UNSPECIFIED", Value::Null),
        ("unspecified", Value::Null),
    ] {
        check((G, C), &json!({"serviceTier": word}), "/service_tier", &tier);
    }
    check((G, C), &json!({"labels": {"k": "v"}}), "/metadata", &json!({"k": "v"}));
    check((G, C), &json!({"store": true}), "/store", &json!(true));
    for (level, effort) in [("LOW", json!("low")), ("high", json!("high")), ("THINKING_LEVEL_UNSPECIFIED", Value::Null)]
    {
        check((G, C), &config("thinkingConfig", &json!({"thinkingLevel": level})), "/reasoning_effort", &effort);
    }
    let tool = json!({"functionDeclarations": [{"name": "f", "description": "d"}]});
    check((G, C), &json!({"tools": tool}), "/tools/0/function/name", &json!("f"));
    check((G, C), &json!({"tools": [tool]}), "/tools/0/function/description", &json!("d"));
    let calling = |config: Value| json!({"tools": [tool], "toolConfig": {"functionCallingConfig": config}});
    check((G, C), &calling(json!({"mode": "NONE"})), "/tool_choice", &json!("none"));
    check((G, C), &calling(json!({"mode": "AUTO"})), "/tool_choice", &json!("auto"));
    check((G, C), &calling(json!({"mode": "ANY"})), "/tool_choice", &json!("required"));
}

#[test]
fn stop_texts_and_sampling_are_what_the_model_takes() {
    let stops = |count: usize| (0..count).map(|number| format!("s{number}")).collect::<Vec<_>>();
    for (to, most, at) in [(G, 5, "/generationConfig/stopSequences"), (C, 4, "/stop")] {
        for count in [1, most - 1, most, most + 1, 9] {
            let (body, lost) =
                sent((A, to), &request(A, &json!({"stop_sequences": stops(count)})), &Facts::default()).unwrap();
            assert_eq!(body.pointer(at), Some(&json!(stops(count.min(most)))), "{to:?} {count}");
            assert_eq!(lost.is_empty(), count <= most, "{to:?} {count}: {lost}");
        }
    }
    let fixed = Facts { sampling: false, ..Facts::default() };
    let more = json!({"temperature": 0.5, "top_p": 0.25, "top_k": 3});
    let (body, lost) = sent((A, G), &request(A, &more), &fixed).unwrap();
    assert_eq!(lost, "dropped:/temperature, dropped:/top_p, dropped:/top_k", "{body}");
    let config = &body["generationConfig"];
    assert!(["temperature", "topP", "topK"].iter().all(|key| config.get(key).is_none()), "{body}");
}
