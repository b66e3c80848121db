//! What a client asks for, in another format than its own.

use serde_json::{Value, json};

use super::crossings::sent;
use crate::Format;
use crate::format::{AnswerForms, Facts, ThinkingForm};

use Format::{AnthropicMessages as A, GeminiGenerate as G, OpenaiChat as C, OpenaiResponses as R};

const PNG: &str = "iVBORw0KGgo=";

/// Kinds of the parts of each content behind the calls.
fn behind_calls(way: (Format, Format), body: &Value, facts: &Facts) -> (String, String) {
    let (written, lost) = sent(way, body, facts).unwrap();
    let contents = written["contents"].as_array().unwrap();
    let part = |part: &Value| {
        ["functionResponse", "inlineData", "text"].into_iter().find(|key| !part[*key].is_null()).unwrap().to_owned()
    };
    let kinds = |content: &Value| content["parts"].as_array().unwrap().iter().map(part).collect::<Vec<_>>().join(" ");
    let calls = contents.iter().position(|content| content["role"] == "model").unwrap();
    (contents[calls + 1..].iter().map(kinds).collect::<Vec<_>>().join(" | "), lost)
}

#[test]
fn trap_c9_media_stand_in_no_content_with_results() {
    let url = format!("data:image/png;base64,{PNG}");
    let call = json!({"role": "assistant", "content": null, "tool_calls": [
        {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]});
    let chat = |content: Value| {
        json!({"model": "m", "messages": [{"role": "user", "content": "q"}, call,
        {"role": "tool", "tool_call_id": "c1", "content": "ok"}, {"role": "user", "content": content}]})
    };
    let image = json!({"type": "image_url", "image_url": {"url": url}});
    let messages = |result: Value| {
        let source = json!({"type": "base64", "media_type": "image/png", "data": PNG});
        let image = json!({"type": "image", "source": source});
        json!({"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "q"},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "c1", "name": "f", "input": {}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1", "content": result}, image]}]})
    };
    let output = json!([{"type": "input_image", "image_url": url}]);
    let responses = |output: Value, content: Value| {
        json!({"model": "m", "input": [{"role": "user", "content": "q"},
        {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": output}, {"role": "user", "content": content}]})
    };
    let file = json!([{"type": "input_file", "file_data": "data:application/pdf;base64,JVBERi0="}]);
    let rich = Facts { thinking: ThinkingForm::Budget, ..Facts::default() };
    let poor = Facts { rich_results: false, ..rich.clone() };
    for (from, body, kinds, lossless) in [
        (C, chat(json!([image])), "functionResponse | inlineData", true),
        (C, chat(json!([{"type": "text", "text": "see"}, image])), "functionResponse | text inlineData", true),
        (C, chat(json!("z")), "functionResponse text", true),
        (A, messages(json!("ok")), "functionResponse | inlineData", true),
        (R, responses(json!("ok"), file), "functionResponse | inlineData", true),
        (R, responses(output, json!("z")), "functionResponse | text inlineData text", false),
    ] {
        let (found, lost) = behind_calls((from, G), &body, &poor);
        assert_eq!((found.as_str(), lost.is_empty()), (kinds, lossless), "{from:?} {body}: {lost}");
        let (found, _) = behind_calls((from, G), &body, &rich);
        assert!(!found.contains('|'), "{from:?}: {found}");
    }
}

#[test]
fn the_mode_of_calling_is_read_by_its_number() {
    let asked = |mode: Value| {
        json!({"contents": [{"parts": [{"text": "q"}]}],
        "tools": [{"functionDeclarations": [{"name": "f"}]}], "toolConfig": {"functionCallingConfig": {"mode": mode}}})
    };
    for (mode, choice, lost) in [
        (json!(0), json!(null), ""),
        (json!(1), json!("auto"), ""),
        (json!(2), json!("required"), ""),
        (json!(3), json!("none"), ""),
        (json!(4), json!("auto"), "dropped:/toolConfig/functionCallingConfig/mode"),
        (json!(9), json!(null), "dropped:/toolConfig/functionCallingConfig/mode"),
        (json!("any"), json!("required"), ""),
        (json!(null), json!(null), ""),
    ] {
        let (body, told) = sent((G, C), &asked(mode.clone()), &Facts::default()).unwrap();
        assert_eq!((&body["tool_choice"], told.as_str()), (&choice, lost), "{mode}");
        let (own, told) = sent((G, G), &asked(mode.clone()), &Facts::default()).unwrap();
        let said = own["toolConfig"]["functionCallingConfig"]["mode"].clone();
        assert_eq!((said.is_null(), told.as_str()), (mode.is_null() || mode == 0, ""), "{mode}");
    }
    let level = json!({"contents": [{"parts": [{"text": "q"}]}],
        "generationConfig": {"thinkingConfig": {"thinkingLevel": 2}}});
    let (_, told) = sent((G, C), &level, &Facts::default()).unwrap();
    assert_eq!(told, "dropped:/generationConfig/thinkingConfig/thinkingLevel");
}

#[test]
fn thoughts_that_are_asked_for_are_shown_or_told_of() {
    let gemini = json!({"contents": [{"parts": [{"text": "q"}]}], "generationConfig":
        {"maxOutputTokens": 9, "thinkingConfig": {"includeThoughts": true}}});
    let responses = |key: &str| json!({"model": "m", "input": "q", "max_output_tokens": 9, "reasoning": {key: "auto"}});
    for (from, body, place) in [
        (G, gemini, "dropped:/generationConfig/thinkingConfig"),
        (R, responses("summary"), "dropped:/reasoning"),
        (R, responses("generate_summary"), "dropped:/reasoning"),
    ] {
        let always = Facts { thinking: ThinkingForm::Always, ..Facts::default() };
        let (written, lost) = sent((from, A), &body, &always).unwrap();
        let shown = json!({"type": "adaptive", "display": "summarized"});
        assert_eq!((&written["thinking"], lost.as_str()), (&shown, ""), "{from:?}");
        for thinking in [ThinkingForm::Adaptive, ThinkingForm::Budget, ThinkingForm::None] {
            let facts = Facts { thinking, ..Facts::default() };
            let (written, lost) = sent((from, A), &body, &facts).unwrap();
            assert_eq!((&written["thinking"], lost.as_str()), (&json!(null), place), "{from:?} {thinking:?}");
        }
    }
    // Who does not want to see them loses nothing.
    let none = json!({"model": "m", "input": "q", "max_output_tokens": 9, "reasoning": {"summary": "none"}});
    assert_eq!(sent((R, A), &none, &Facts::default()).unwrap().1, "");
}

#[test]
fn what_is_not_set_is_no_loss() {
    let messages = |key: &str, value: &Value| {
        let mut body = json!({"model": "m", "max_tokens": 99, "messages": [{"role": "user", "content": "q"}]});
        body[key] = value.clone();
        body
    };
    let keys = [
        "container",
        "context_management",
        "diagnostics",
        "fallbacks",
        "fallback_credit_token",
        "inference_geo",
        "billing_policy",
        "compaction",
        "mcp_servers",
    ];
    let mut bodies: Vec<_> = keys.iter().map(|key| (A, messages(key, &Value::Null))).collect();
    bodies.extend(["mcp_servers", "fallbacks"].map(|key| (A, messages(key, &json!([])))));
    bodies.push((A, messages("output_config", &json!({"task_budget": null}))));
    let tool =
        json!({"name": "f", "input_schema": {"type": "object", "properties": {}}, "eager_input_streaming": null});
    bodies.push((A, messages("tools", &json!([tool]))));
    let image = json!({"type": "image", "transformations": null,
        "source": {"type": "base64", "media_type": "image/png", "data": PNG}});
    bodies.push((A, messages("messages", &json!([{"role": "user", "content": [image]}]))));
    let tool = |kind: &str, id: &str| json!({"type": kind, id: "c1", "toolset_name": null});
    let (mut call, result) = (tool("tool_use", "id"), tool("tool_result", "tool_use_id"));
    call["name"] = json!("f");
    call["input"] = json!({});
    bodies.push((
        A,
        messages(
            "messages",
            &json!([{"role": "user", "content": "q"},
        {"role": "assistant", "content": [call]}, {"role": "user", "content": [result]}]),
        ),
    ));
    bodies.push((R, json!({"model": "m", "input": "q", "max_output_tokens": 99, "context_management": []})));
    bodies.push((
        C,
        json!({"model": "m", "max_tokens": 99, "modalities": [ ], "messages": [{"role": "user", "content": "q"}]}),
    ));
    let facts = Facts { thinking: ThinkingForm::None, ..Facts::default() };
    for (from, body) in bodies {
        for to in [A, C, G, R].into_iter().filter(|to| *to != from) {
            let (_, lost) = sent((from, to), &body, &facts).unwrap();
            assert_eq!(lost, "", "{to:?} {body}");
        }
    }
}

#[test]
fn what_is_null_takes_the_place_of_nothing() {
    let image = format!("data:image/png;base64,{PNG}");
    let chat = |part: &str| {
        format!(
            r#"{{"model":"m","max_tokens":9,"messages":[{{"role":"user","content":"q"}},{{"role":"assistant","content":[{part}]}}]}}"#
        )
    };
    let responses = |role: &str, part: &str| {
        format!(
            r#"{{"model":"m","max_output_tokens":9,"input":[{{"type":"message","role":"{role}","content":[{part}]}}]}}"#
        )
    };
    let picture = |source: &str| {
        format!(
            r#"{{"model":"m","max_tokens":9,"messages":[{{"role":"user","content":[{{"type":"image","source":{source}}}]}}]}}"#
        )
    };
    for (from, body, words) in [
        (C, chat(r#"{"type":"text","text":"hi","refusal":null}"#), "hi"),
        (C, chat(r#"{"type":"text","refusal":null,"text":"hi"}"#), "hi"),
        (C, chat(r#"{"type":"text","text":"hi","refusal":""}"#), "hi"),
        (C, chat(r#"{"type":"refusal","refusal":"hi","text":null}"#), "hi"),
        (C, chat(r#"{"type":"refusal","refusal":"hi","text":""}"#), "hi"),
        (R, responses("assistant", r#"{"type":"output_text","text":"hi","refusal":null}"#), "hi"),
        (R, responses("assistant", r#"{"type":"refusal","refusal":"hi","text":null}"#), "hi"),
        (R, responses("user", &format!(r#"{{"type":"input_image","image_url":"{image}","file_url":null}}"#)), PNG),
        (A, picture(r#"{"type":"url","url":"https://ex.com/a.png","file_id":null}"#), "https://ex.com/a.png"),
    ] {
        for to in [A, C, R].into_iter().filter(|to| *to != from) {
            let (written, _) =
                sent((from, to), &body, &Facts::default()).unwrap_or_else(|refusal| panic!("{body}: {refusal:?}"));
            assert!(written.to_string().contains(words), "{to:?} {body}: {written}");
        }
    }
}

#[test]
fn an_empty_result_has_no_part_for_its_mark() {
    let body = json!({"model": "m", "max_tokens": 99, "messages": [{"role": "user", "content": "q"},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "f", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "cache_control": {"type": "ephemeral"}}]}]});
    let facts = Facts { cache_breakpoints: true, ..Facts::default() };
    let (written, lost) = sent((A, C), &body, &facts).unwrap();
    assert_eq!((&written["messages"][2]["content"], lost.as_str()), (&json!(""), "dropped:/messages/2/content/0"));
    let mut said = body;
    said["messages"][2]["content"][0]["content"] = json!("ok");
    let (written, _) = sent((A, C), &said, &facts).unwrap();
    assert!(written["messages"][2]["content"][0]["prompt_cache_breakpoint"].is_object(), "{written}");
}

#[test]
fn a_title_goes_with_the_file_or_is_told_of() {
    let body = |source: Value| {
        json!({"model": "m", "max_tokens": 99, "messages": [{"role": "user", "content":
        [{"type": "document", "title": "TT", "source": source}]}]})
    };
    let url = body(json!({"type": "url", "url": "https://ex.com/a.pdf"}));
    let (_, lost) = sent((A, R), &url, &Facts::default()).unwrap();
    assert_eq!(lost, "dropped:/messages/0/content/0");
    let data = body(json!({"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}));
    let (written, lost) = sent((A, R), &data, &Facts::default()).unwrap();
    assert_eq!((&written["input"][0]["content"][0]["filename"], lost.as_str()), (&json!("TT"), ""));
}

#[test]
fn a_long_id_of_a_user_is_told_to_be_a_hash() {
    for (length, lost) in [(128, ""), (129, "converted:/metadata/user_id")] {
        let body = json!({"model": "m", "max_tokens": 99, "messages": [{"role": "user", "content": "q"}],
            "metadata": {"user_id": "é".repeat(length)}});
        for to in [C, R] {
            let (written, told) = sent((A, to), &body, &Facts::default()).unwrap();
            let id = written["safety_identifier"].as_str().unwrap();
            assert_eq!((told.as_str(), id == "é".repeat(length)), (lost, lost.is_empty()), "{to:?}");
        }
    }
}

#[test]
fn arguments_too_deep_are_told_to_be_so() {
    for (arguments, words) in [
        (format!("{}{}", "{\"a\":".repeat(200), "1".to_owned() + &"}".repeat(200)), "nested too deep"),
        ("[1]".to_owned(), "must be a JSON object"),
        ("{\"a\":".to_owned(), "must be a JSON object"),
    ] {
        let call = json!({"id": "c1", "type": "function", "function": {"name": "f", "arguments": arguments}});
        let body = json!({"model": "m", "messages": [{"role": "user", "content": "q"},
            {"role": "assistant", "tool_calls": [call]}, {"role": "tool", "tool_call_id": "c1", "content": "ok"}]});
        for to in [A, G] {
            let fault = sent((C, to), &body, &Facts::default()).unwrap_err();
            assert!(fault.message.contains(words), "{to:?}: {}", fault.message);
        }
    }
}

#[test]
fn an_answer_that_is_no_object_is_asked_for_in_words_where_a_schema_is_an_objects() {
    let list = json!({"type": "array", "items": {"type": "string"}});
    let object = json!({"type": "object", "properties": {"a": list}});
    let body = |from: Format, schema: &Value| {
        if from == G {
            return json!({"contents": [{"parts": [{"text": "q"}]}],
                "generationConfig": {"responseMimeType": "application/json", "responseJsonSchema": schema}});
        }
        json!({"model": "m", "max_tokens": 99, "messages": [{"role": "user", "content": "q"}],
            "output_config": {"format": {"type": "json_schema", "schema": schema}}})
    };
    let form = |to: Format, body: &Value| {
        let form = body.pointer(if to == C { "/response_format/json_schema" } else { "/text/format" });
        form.map_or(Value::Null, |form| form["schema"].clone())
    };
    for (from, place) in [(A, "converted:/output_config/format"), (G, "converted:/generationConfig/responseJsonSchema")]
    {
        for to in [C, R] {
            for schema in [
                list.clone(),
                json!({"type": "string", "enum": ["a", "b"]}),
                json!({"anyOf": [object, list]}),
                json!({"type": ["object", "array"]}),
                json!({"$ref": "#/$defs/a", "$defs": {"a": object}}),
                json!({}),
            ] {
                let (sent, lost) = sent((from, to), &body(from, &schema), &Facts::default()).unwrap();
                assert_eq!((form(to, &sent), lost.as_str()), (Value::Null, place), "{from:?} {to:?} {schema}");
                let said = if to == C { &sent["messages"][0]["content"] } else { &sent["instructions"] };
                let said = said.as_str().unwrap();
                assert!(said.contains(&schema.to_string()) && !said.contains("JSON object"), "{said}");
            }
            for (schema, written) in [
                (object.clone(), object.clone()),
                (json!({"properties": {"a": list}}), object.clone()),
                (json!({"type": ["object", "null"], "properties": {"a": list}}), object.clone()),
            ] {
                let (sent, _) = sent((from, to), &body(from, &schema), &Facts::default()).unwrap();
                assert_eq!(form(to, &sent), written, "{from:?} {to:?} {schema}");
            }
        }
    }
    // Where it is known to be refused it still is, and a server of its own making may take it.
    let none = Facts { structured: false, ..Facts::default() };
    assert!(sent((G, C), &body(G, &list), &none).is_err());
    let compatible = Facts { compatible_extensions: true, ..Facts::default() };
    assert_eq!(form(C, &sent((G, C), &body(G, &list), &compatible).unwrap().0), list);
    // Some object is no list either.
    let objects = Facts { answers: AnswerForms::Object, ..Facts::default() };
    let (asked, _) = sent((G, C), &body(G, &list), &objects).unwrap();
    assert_eq!(asked.get("response_format"), None);
    assert_eq!(sent((G, C), &body(G, &object), &objects).unwrap().0["response_format"]["type"], "json_object");
    // Between the two the client hears its own vendor's word.
    let chat = json!({"model": "m", "messages": [{"role": "user", "content": "q"}],
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": list}}});
    let (sent, lost) = sent((C, R), &chat, &Facts::default()).unwrap();
    assert_eq!((form(R, &sent), lost.as_str()), (list, ""));
}

#[test]
fn one_of_a_list_of_words_is_asked_of_its_own_format_alone() {
    let list = json!({"type": "STRING", "enum": ["Brass", "Woodwind"]});
    for key in ["responseSchema", "responseJsonSchema"] {
        let config = json!({"responseMimeType": "text/x.enum", key: list});
        let body = json!({"contents": [{"role": "user", "parts": [{"text": "oboe?"}]}], "generationConfig": config});
        let (own, lost) = sent((G, G), &body, &Facts::default()).unwrap();
        assert_eq!((&own["generationConfig"], lost.as_str()), (&config, ""));
        for to in [A, C, R] {
            let refused = sent((G, to), &body, &Facts::default()).unwrap_err();
            assert_eq!((refused.status, refused.code.as_deref()), (400, Some("unsupported_parameter")), "{to:?}");
            assert!(refused.message.contains("responseMimeType"), "{}", refused.message);
        }
    }
}

/// Codex answers the vendor's shell with the result of a function.
#[test]
fn the_result_of_a_call_that_is_left_out_is_left_out_as_well() {
    let call = json!({"type": "local_shell_call", "id": "ls_1", "call_id": "c1", "status": "completed",
        "action": {"type": "exec", "command": ["ls"], "env": {}}});
    let result = json!({"type": "function_call_output", "call_id": "c1", "output": "a.rs"});
    let body = json!({"model": "m", "input": [{"role": "user", "content": "q"}, call, result,
        {"role": "user", "content": "and now?"}]});
    let (own, lost) = sent((R, R), &body, &Facts::default()).unwrap();
    assert_eq!((&own["input"][1], &own["input"][2], lost.as_str()), (&call, &result, ""));
    for to in [A, C, G] {
        let (written, lost) = sent((R, to), &body, &Facts::default()).unwrap();
        let written = written.to_string();
        assert!(!written.contains("c1") && written.contains("and now?"), "{to:?}: {written}");
        assert!(lost.contains("/input/1") && lost.contains("/input/2"), "{to:?}: {lost}");
    }
}
