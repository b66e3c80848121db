//! Requests, read and written.

use serde_json::{Value, json};

use super::{Way, losses, read};
use crate::hub::{Block, BlockKind, Effort, Field, OutputSpec, ReasoningForm, Request, Role, Source, Tool, ToolMode};
use crate::json::{Json, Text};
use crate::seal::Seal;
use crate::{Facts, Format, Framing, Line, RequestHead, Target, ThinkingForm, translate_request};

/// Translates a chat request; returns the body and the losses.
fn from_chat(body: &Value, facts: &Facts) -> Result<(Value, Vec<String>), String> {
    let seal = Seal::new(super::KEY);
    let head = RequestHead { api_version: None, betas: None, line: Line::default(), seal: &seal };
    let target = Target { model: "g", facts, api_version: None };
    let body = body.to_string();
    match translate_request(Format::OpenaiChat, Format::GeminiGenerate, body.as_bytes(), &head, &target) {
        Ok(done) => Ok((serde_json::from_slice(&done.outgoing.body).unwrap(), losses(&done.outgoing))),
        Err(fault) => Err(fault.message.into_owned()),
    }
}

/// Translates a request of this format to `to`.
fn to(format: Format, body: &Value) -> Result<Value, String> {
    let seal = Seal::new(super::KEY);
    let head = RequestHead { api_version: None, betas: None, line: super::line(), seal: &seal };
    let facts = Facts::default();
    let target = Target { model: "t", facts: &facts, api_version: None };
    translate_request(Format::GeminiGenerate, format, body.to_string().as_bytes(), &head, &target)
        .map(|done| serde_json::from_slice(&done.outgoing.body).unwrap())
        .map_err(|fault| format!("{}: {}", fault.code.unwrap_or_default(), fault.message))
}

#[test]
fn both_spellings_say_the_same() {
    let camel = r#"{"contents":[{"role":"user","parts":[{"text":"hi"},{"inlineData":{"mimeType":"image/png","data":"iVBORw0K-_8="}}]}],
        "systemInstruction":{"parts":[{"text":"s"}]},
        "generationConfig":{"maxOutputTokens":5,"topP":0.5,"topK":3,"stopSequences":["x"],"candidateCount":2,"responseLogprobs":true,"thinkingConfig":{"thinkingBudget":7,"includeThoughts":true}},
        "toolConfig":{"functionCallingConfig":{"mode":"ANY","allowedFunctionNames":["a","b"]}},
        "tools":[{"functionDeclarations":[{"name":"a","parameters":{"type":"OBJECT","properties":{"snake_name":{"type":"STRING"}}}}]},{"googleSearch":{}}]}"#;
    let snake = camel
        .replace("inlineData", "inline_data")
        .replace("mimeType", "mime_type")
        .replace("systemInstruction", "system_instruction")
        .replace("generationConfig", "generation_config")
        .replace("maxOutputTokens", "max_output_tokens")
        .replace("topP", "top_p")
        .replace("topK", "top_k")
        .replace("stopSequences", "stop_sequences")
        .replace("candidateCount", "candidate_count")
        .replace("responseLogprobs", "response_logprobs")
        .replace("thinkingConfig", "thinking_config")
        .replace("thinkingBudget", "thinking_budget")
        .replace("includeThoughts", "include_thoughts")
        .replace("toolConfig", "tool_config")
        .replace("functionCallingConfig", "function_calling_config")
        .replace("allowedFunctionNames", "allowed_function_names")
        .replace("functionDeclarations", "function_declarations");
    let seal = Seal::new(super::KEY);
    let (one, other) = (read(camel, &seal).unwrap(), read(&snake, &seal).unwrap());
    for request in [&one, &other] {
        assert_eq!((request.model.as_ref(), request.limits.max_output, request.sampling.n), ("m", Some(5), Some(2)));
        assert_eq!(request.sampling.top_p.as_ref().map(Json::as_str), Some("0.5"));
        assert_eq!((request.reasoning.budget, request.reasoning.show), (Some(7), Some(true)));
        assert_eq!(request.tool_policy.mode, Some(ToolMode::Any));
        assert_eq!(request.tool_policy.allowed.as_ref().unwrap().len(), 2);
        let BlockKind::Image { source: Source::Base64 { data, .. }, .. } = &request.turns[0].blocks[1].kind else {
            panic!("{:?}", request.turns)
        };
        assert_eq!(data.escaped(), "iVBORw0K+/8=");
        let Tool::Function { schema: Some(schema), .. } = &request.tools[0] else { panic!() };
        assert_eq!(schema.as_str(), r#"{"type":"object","properties":{"snake_name":{"type":"string"}}}"#);
        assert!(matches!(&request.tools[1], Tool::Server { .. }));
    }
}

#[test]
fn roles_and_instructions_come_in_every_form() {
    let seal = Seal::new(super::KEY);
    for (body, roles) in [
        (
            r#"{"contents":[{"parts":[{"text":"a"}]},{"role":"model","parts":[{"text":"b"}]}],"systemInstruction":"s"}"#,
            "UA",
        ),
        (r#"{"contents":{"parts":{"text":"a"}},"systemInstruction":{"role":"user","parts":{"text":"s"}}}"#, "U"),
        (r#"{"contents":[{"role":"user","parts":[{"text":"a"}]}],"system_instruction":{"parts":[{"text":"s"}]}}"#, "U"),
    ] {
        let request = read(body, &seal).unwrap();
        let found: String =
            request.turns.iter().map(|turn| if turn.role == Role::Assistant { 'A' } else { 'U' }).collect();
        assert_eq!((found.as_str(), request.instructions.len()), (roles, 1), "{body}");
    }
    for body in [r"{}", r#"{"contents":[]}"#, r#"{"contents":7}"#, r#"{"contents":[{"parts":[{"functionCall":{}}]}]}"#]
    {
        assert!(read(body, &seal).is_err(), "{body}");
    }
}

#[test]
fn pieces_of_a_stream_that_a_client_kept_are_one() {
    let body = r#"{"contents":[{"role":"user","parts":[{"text":"q"}]},
        {"role":"model","parts":[{"text":"I ","thought":true},{"text":"see","thought":true},{"text":"","thought":true,"thoughtSignature":"c2ln"}]},
        {"role":"model","parts":[{"text":"a"}]},{"role":"model","parts":[{"text":"\n\n"},{"text":"b"},{"text":"","thoughtSignature":"dHdv"}]}]}"#;
    let seal = Seal::new(super::KEY);
    let request = read(body, &seal).unwrap();
    assert_eq!(request.turns.len(), 2);
    let blocks = &request.turns[1].blocks;
    assert!(matches!(&blocks[0].kind, BlockKind::Thinking { text, .. } if text.escaped() == "I see"));
    assert_eq!(blocks[0].opaque[0].data.escaped(), "c2ln");
    assert!(matches!(&blocks[1].kind, BlockKind::Text { text, .. } if text.escaped() == "a\\n\\nb"));
    assert!(matches!(&blocks[2].kind, BlockKind::Text { text, .. } if text.is_empty()));
    assert_eq!(blocks.len(), 3);
}

#[test]
fn calls_without_ids_get_stable_ones_that_their_results_share() {
    let turn = |calls: &str| {
        format!(
            r#"{{"contents":[{{"parts":[{{"text":"q"}}]}},{{"role":"model","parts":[{calls}]}},
            {{"role":"function","parts":[{{"functionResponse":{{"name":"f","response":{{"output":"1"}}}}}},{{"functionResponse":{{"name":"f","response":{{"error":"no"}}}}}}]}}]}}"#
        )
    };
    let body = turn(r#"{"functionCall":{"name":"f","args":{"a":1}}},{"functionCall":{"name":"f","args":{"a":2}}}"#);
    let chat = to(Format::OpenaiChat, &serde_json::from_str(&body).unwrap()).unwrap();
    let again = to(Format::OpenaiChat, &serde_json::from_str(&body).unwrap()).unwrap();
    assert_eq!(chat, again);
    let calls = chat["messages"][1]["tool_calls"].as_array().unwrap();
    assert_ne!(calls[0]["id"], calls[1]["id"]);
    assert_eq!(chat["messages"][2]["tool_call_id"], calls[0]["id"]);
    assert_eq!(chat["messages"][3]["tool_call_id"], calls[1]["id"]);
    assert!(calls[0]["id"].as_str().unwrap().len() <= 64);
    assert_eq!(chat["messages"][2]["content"], "1");
    let messages = to(Format::AnthropicMessages, &serde_json::from_str(&body).unwrap()).unwrap();
    let results = messages["messages"][2]["content"].as_array().unwrap();
    assert_eq!((&results[1]["is_error"], &results[1]["content"][0]["text"]), (&json!(true), &json!("no")));
}

#[test]
fn trap_e17_what_the_provider_keeps_is_refused_elsewhere() {
    let body = json!({"contents": [{"parts": [{"text": "q"}]}], "cachedContent": "cachedContents/1"});
    for format in [Format::OpenaiChat, Format::AnthropicMessages] {
        let refused = to(format, &body).unwrap_err();
        assert!(refused.contains("unsupported_parameter") && refused.contains("cachedContent"), "{refused}");
    }
    let (back, _) = Way::own().go(&body.to_string(), |_| {}).unwrap();
    assert_eq!(back["cachedContent"], "cachedContents/1");
}

#[test]
fn this_formats_own_fields_come_back() {
    let body = json!({
        "contents": [{"role": "user", "parts": [
            {"fileData": {"mimeType": "video/mp4", "fileUri": "https://generativelanguage.googleapis.com/v1beta/files/x"}, "videoMetadata": {"startOffset": "1s"}},
            {"fileData": {"mimeType": "image/png", "fileUri": "gs://b/x.png"}, "mediaResolution": {"level": "MEDIA_RESOLUTION_LOW"}},
        ]}, {"role": "model", "parts": [
            {"executableCode": {"language": "PYTHON", "code": "1"}}, {"codeExecutionResult": {"outcome": "OUTCOME_OK"}},
            {"functionCall": {"id": "x", "name": "f", "args": {}}, "thoughtSignature": "c2ln"},
            {"functionCall": {"id": "y", "name": "f", "args": {}}},
        ]}, {"role": "user", "parts": [
            {"functionResponse": {"id": "x", "name": "f", "response": {"a": 1}, "scheduling": "SILENT"}},
            {"functionResponse": {"id": "y", "name": "f", "response": {"output": "o"}, "parts": [{"inlineData": {"mimeType": "image/png", "data": "iVBORw0K"}}]}},
        ]}],
        "safetySettings": [{"category": "c"}], "labels": {"a": "b"}, "serviceTier": "flex", "store": false,
        "tools": [{"googleSearch": {}}, {"codeExecution": {}}],
        "toolConfig": {"functionCallingConfig": {"mode": "VALIDATED"}, "retrievalConfig": {"languageCode": "en"}},
        "generationConfig": {"speechConfig": {"x": 1}, "mediaResolution": "MEDIA_RESOLUTION_LOW",
            "responseModalities": ["TEXT"], "thinkingConfig": {"thinkingLevel": "LOW", "includeThoughts": false}},
        "brandNew": {"deep": [1.0]},
    });
    let (back, out) = Way::own().go(&body.to_string(), |_| {}).unwrap();
    assert!(out.losses.is_empty(), "{:?}", out.losses);
    assert_eq!(back, body);
}

#[test]
fn trap_c17_a_tool_choice_is_said() {
    for (choice, mode, names) in [
        (json!("required"), "ANY", json!(null)),
        (json!("none"), "NONE", json!(null)),
        (json!("auto"), "AUTO", json!(null)),
        (json!({"type": "function", "function": {"name": "f"}}), "ANY", json!(["f"])),
    ] {
        let body = json!({"model": "m", "messages": [{"role": "user", "content": "q"}], "tool_choice": choice,
            "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {"a": {"type": "string"}}}}}]});
        let (written, _) = from_chat(&body, &Facts::default()).unwrap();
        let config = &written["toolConfig"]["functionCallingConfig"];
        assert_eq!((&config["mode"], &config["allowedFunctionNames"]), (&json!(mode), &names));
    }
}

/// A history of `n` parallel calls; results come in the other order.
fn parallel(n: usize) -> Value {
    let calls: Vec<Value> = (0..n)
        .map(|at| json!({"id": format!("functions.f:{at}"), "type": "function", "function": {"name": "f", "arguments": format!("{{\"n\":{at}}}")}}))
        .collect();
    let mut messages = vec![json!({"role": "user", "content": "q"}), json!({"role": "assistant", "tool_calls": calls})];
    for at in (0..n).rev() {
        messages
            .push(json!({"role": "tool", "tool_call_id": format!("functions.f:{at}"), "content": format!("r{at}")}));
    }
    json!({"model": "m", "messages": messages})
}

#[test]
fn trap_c8_all_results_stand_in_one_content_in_the_order_of_the_calls() {
    let (written, _) = from_chat(&parallel(4), &Facts::default()).unwrap();
    let contents = written["contents"].as_array().unwrap();
    assert_eq!(contents.len(), 3);
    let (calls, results) = (contents[1]["parts"].as_array().unwrap(), contents[2]["parts"].as_array().unwrap());
    for at in 0..4 {
        let (call, result) = (&calls[at]["functionCall"], &results[at]["functionResponse"]);
        assert_eq!((&call["id"], &call["args"]["n"]), (&result["id"], &json!(at)));
        assert_eq!((&result["name"], &result["response"]["output"]), (&json!("f"), &json!(format!("r{at}"))));
    }
}

#[test]
fn trap_c10_a_missing_result_is_refused_here() {
    let mut body = parallel(2);
    body["messages"].as_array_mut().unwrap().pop();
    assert!(from_chat(&body, &Facts::default()).unwrap_err().contains("missing tool result"));
}

#[test]
fn trap_c9_media_of_results_stand_behind_them_where_results_are_words() {
    let body = r#"{"contents":[{"parts":[{"text":"q"}]},
        {"role":"model","parts":[{"functionCall":{"id":"a","name":"f"}},{"functionCall":{"id":"b","name":"f"}}]},
        {"parts":[{"functionResponse":{"id":"a","name":"f","response":{"output":"x"},"parts":[{"inlineData":{"mimeType":"image/png","data":"iVBORw0K"}}]}},
                  {"functionResponse":{"id":"b","name":"f","response":{"output":"y"}}}]}]}"#;
    let (written, out) = Way::foreign().with(|facts| facts.rich_results = false).go(body, |_| {}).unwrap();
    let contents = written["contents"].as_array().unwrap();
    assert_eq!(contents.len(), 4);
    assert!(contents[2]["parts"].as_array().unwrap().iter().all(|part| part["functionResponse"].is_object()));
    assert_eq!(contents[3]["parts"][0]["text"], "[tool result a]");
    assert_eq!(contents[3]["parts"][1]["inlineData"]["mimeType"], "image/png");
    assert!(losses(&out).contains(&"converted:tool_result".to_owned()));
    let (written, _) = Way::foreign().go(body, |_| {}).unwrap();
    assert_eq!(written["contents"][2]["parts"][0]["functionResponse"]["parts"][0]["inlineData"]["data"], "iVBORw0K");
}

#[test]
fn trap_c12_and_c28_a_result_is_an_object() {
    let check = |text: &str, is_error: Option<bool>, expected: Value| {
        let body = r#"{"contents":[{"parts":[{"text":"q"}]},{"role":"model","parts":[{"functionCall":{"id":"a","name":"f"}}]},
            {"parts":[{"functionResponse":{"id":"a","name":"f","response":{"output":"x"}}}]}]}"#;
        let (written, _) = Way::foreign()
            .go(body, |request| {
                let BlockKind::ToolResult { content, is_error: error, .. } = &mut request.turns[2].blocks[0].kind
                else {
                    panic!()
                };
                *error = is_error;
                content[0].kind = BlockKind::Text { text: Text::from_plain(text).into_owned(), citations: Vec::new() };
            })
            .unwrap();
        assert_eq!(written["contents"][2]["parts"][0]["functionResponse"]["response"], expected, "{text}");
    };
    check("ok", None, json!({"output": "ok"}));
    check("[1,2]", Some(false), json!({"output": "[1,2]"}));
    check(r#"{"a":1}"#, None, json!({"a": 1}));
    check(r#"{"a":"#, None, json!({"output": "{\"a\":"}));
    check("boom", Some(true), json!({"error": "boom"}));
    check(r#"{"a":1}"#, Some(true), json!({"error": "{\"a\":1}"}));
}

#[test]
fn texts_of_one_result_are_lines_of_it() {
    let body = r#"{"contents":[{"parts":[{"text":"q"}]},{"role":"model","parts":[{"functionCall":{"id":"a","name":"f"}}]},
        {"parts":[{"functionResponse":{"id":"a","name":"f","response":{"output":"x"}}}]}]}"#;
    for (texts, is_error, expected) in [
        (&["a", "b"][..], None, json!({"output": "a\nb"})),
        (&[r#"{"a":1}"#, r#"{"b":2}"#], None, json!({"output": "{\"a\":1}\n{\"b\":2}"})),
        (&["a", "b", "c"], Some(true), json!({"error": "a\nb\nc"})),
        (&["a"], None, json!({"output": "a"})),
        (&[], None, json!({"output": ""})),
    ] {
        let change = |request: &mut Request<'_>| {
            let BlockKind::ToolResult { content, is_error: error, .. } = &mut request.turns[2].blocks[0].kind else {
                panic!("no result")
            };
            *error = is_error;
            let like = content[0].clone();
            let escaped = |text: &&str| Text::from_plain(text).into_owned();
            *content = texts
                .iter()
                .map(|text| Block {
                    kind: BlockKind::Text { text: escaped(text), citations: Vec::new() },
                    ..like.clone()
                })
                .collect();
        };
        let (written, _) = Way::foreign().go(body, change).unwrap();
        assert_eq!(written["contents"][2]["parts"][0]["functionResponse"]["response"], expected, "{texts:?}");
    }
}

#[test]
fn trap_c22_schemas_pass_as_json_schema_and_are_rewritten_where_that_is_unknown() {
    let schema = json!({"$schema": "s", "type": "object", "properties": {"n": {"type": "integer", "exclusiveMinimum": 0}},
        "required": ["n"], "additionalProperties": false});
    let body = json!({"model": "m", "messages": [{"role": "user", "content": "q"}],
        "tools": [{"type": "function", "function": {"name": "f", "parameters": schema}}]});
    let (written, _) = from_chat(&body, &Facts::default()).unwrap();
    let function = &written["tools"][0]["functionDeclarations"][0];
    assert_eq!(function["parametersJsonSchema"]["properties"]["n"]["exclusiveMinimum"], 0);
    assert!(function["parametersJsonSchema"]["$schema"].is_null() && function["parameters"].is_null());
    let old = Facts { json_schema: false, ..Facts::default() };
    let (written, lost) = from_chat(&body, &old).unwrap();
    let parameters = &written["tools"][0]["functionDeclarations"][0]["parameters"];
    assert_eq!((&parameters["type"], &parameters["properties"]["n"]["minimum"]), (&json!("OBJECT"), &json!(1)));
    assert!(parameters["additionalProperties"].is_null());
    assert!(lost.contains(&"converted:tool".to_owned()), "{lost:?}");
}

#[test]
fn trap_c21_no_parameters_are_left_out() {
    let body = json!({"model": "m", "messages": [{"role": "user", "content": "q"}],
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}]});
    let (written, _) = from_chat(&body, &Facts::default()).unwrap();
    assert_eq!(written["tools"][0]["functionDeclarations"][0], json!({"name": "f"}));
    // What such a schema says beside is reported.
    let free = json!({"type": "object", "additionalProperties": true});
    for (schema, old, expected, lost) in [
        (
            json!({"type": "object", "properties": {}, "additionalProperties": false, "title": "F"}),
            false,
            json!({"name": "f"}),
            false,
        ),
        (free.clone(), true, json!({"name": "f"}), true),
        (free.clone(), false, json!({"name": "f", "parametersJsonSchema": free}), false),
        (
            json!({"type": "object", "properties": {}, "description": "nothing"}),
            false,
            json!({"name": "f", "description": "nothing"}),
            false,
        ),
    ] {
        let body = json!({"model": "m", "messages": [{"role": "user", "content": "q"}],
            "tools": [{"type": "function", "function": {"name": "f", "parameters": schema}}]});
        let (written, losses) = from_chat(&body, &Facts { json_schema: !old, ..Facts::default() }).unwrap();
        assert_eq!(written["tools"][0]["functionDeclarations"][0], expected);
        assert_eq!(!losses.is_empty(), lost, "{body}: {losses:?}");
    }
}

#[test]
fn trap_c13_a_tool_of_free_text_is_wrapped() {
    let body = json!({"model": "m", "messages": [{"role": "user", "content": "q"},
        {"role": "assistant", "tool_calls": [{"id": "c", "type": "custom", "custom": {"name": "patch", "input": "a\n\"b"}}]},
        {"role": "tool", "tool_call_id": "c", "content": "done"}],
        "tools": [{"type": "custom", "custom": {"name": "patch", "description": "d", "format": {"type": "grammar", "grammar": {"syntax": "lark"}}}}]});
    let (written, lost) = from_chat(&body, &Facts::default()).unwrap();
    let function = &written["tools"][0]["functionDeclarations"][0];
    assert_eq!(function["parameters"]["properties"]["input"]["type"], "STRING");
    assert!(function["description"].as_str().unwrap().contains("lark"));
    assert_eq!(written["contents"][1]["parts"][0]["functionCall"]["args"], json!({"input": "a\n\"b"}));
    assert!(lost.contains(&"converted:tool".to_owned()));
}

#[test]
fn trap_d1_and_d3_a_lost_signature_is_stood_in_for_on_the_first_call_only() {
    let (written, lost) = from_chat(&parallel(2), &Facts::default()).unwrap();
    let parts = written["contents"][1]["parts"].as_array().unwrap();
    assert_eq!(parts[0]["thoughtSignature"], "skip_thought_signature_validator");
    assert!(parts[1]["thoughtSignature"].is_null());
    assert!(lost.contains(&"defaulted:opaque_state".to_owned()));
    let old = Facts { thinking: ThinkingForm::Budget, ..Facts::default() };
    let (written, lost) = from_chat(&parallel(2), &old).unwrap();
    assert!(written["contents"][1]["parts"][0]["thoughtSignature"].is_null());
    assert!(!lost.contains(&"defaulted:opaque_state".to_owned()));
}

#[test]
fn trap_d4_no_signature_reaches_another_provider() {
    let body = json!({"contents": [{"parts": [{"text": "q"}]},
        {"role": "model", "parts": [{"text": "t", "thought": true, "thoughtSignature": "c2lnMQ=="}, {"functionCall": {"name": "f"}, "thoughtSignature": "c2lnMg=="}]},
        {"parts": [{"functionResponse": {"name": "f", "response": {"output": "1"}}}]}]});
    for format in [Format::OpenaiChat, Format::AnthropicMessages] {
        let written = to(format, &body).unwrap().to_string();
        assert!(!written.contains("c2ln"), "{written}");
    }
}

#[test]
fn trap_e24_json_beside_tools_is_refused_where_the_model_refuses_it() {
    let body = json!({"model": "m", "messages": [{"role": "user", "content": "q"}],
        "tools": [{"type": "function", "function": {"name": "f"}}],
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}}});
    let old = Facts { structured_with_tools: false, ..Facts::default() };
    assert!(from_chat(&body, &old).unwrap_err().contains("beside tools"));
    let (written, _) = from_chat(&body, &Facts::default()).unwrap();
    let config = &written["generationConfig"];
    assert_eq!(
        (&config["responseMimeType"], &config["responseJsonSchema"]["type"]),
        (&json!("application/json"), &json!("object"))
    );
}

#[test]
fn trap_e20_no_address_on_the_web_is_passed() {
    let body = |url: &str| json!({"model": "m", "messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}]});
    assert!(from_chat(&body("http://169.254.169.254/x.png"), &Facts::default()).unwrap_err().contains("address"));
    let (written, _) =
        from_chat(&body("data:image/png;base64,/9j/4AAQSkZJRgABAQAAAQABAAD"), &Facts::default()).unwrap();
    // Trap E22: the bytes tell the type.
    assert_eq!(written["contents"][0]["parts"][0]["inlineData"]["mimeType"], "image/jpeg");
}

#[test]
fn trap_e6_and_e7_a_later_system_message_stays_in_place() {
    let body = json!({"model": "m", "messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "q"},
        {"role": "assistant", "content": "a"}, {"role": "system", "content": "later"}, {"role": "user", "content": "r"}]});
    let (written, lost) = from_chat(&body, &Facts::default()).unwrap();
    assert_eq!(written["systemInstruction"]["parts"], json!([{"text": "s"}]));
    let last = &written["contents"][2];
    assert!(last["parts"][0]["text"].as_str().unwrap().contains("later"));
    assert_eq!(last["parts"][1]["text"], "r");
    assert!(lost.contains(&"converted:turn".to_owned()));
}

#[test]
fn thinking_is_asked_for_as_the_model_takes_it() {
    let ask = |effort: &str, facts: &Facts, limit: Option<u64>| {
        let mut body =
            json!({"model": "m", "messages": [{"role": "user", "content": "q"}], "reasoning_effort": effort});
        if let Some(limit) = limit {
            body["max_completion_tokens"] = json!(limit);
        }
        from_chat(&body, facts).unwrap().0["generationConfig"]["thinkingConfig"].clone()
    };
    let level = Facts::default();
    let budget = Facts { thinking: ThinkingForm::Budget, ..Facts::default() };
    let pro = Facts { thinking: ThinkingForm::Budget, least_budget: 128, most_budget: 32_768, ..Facts::default() };
    for (effort, facts, limit, expected) in [
        ("high", &level, None, json!({"thinkingLevel": "HIGH", "includeThoughts": true})),
        ("none", &level, None, json!({"thinkingLevel": "MINIMAL"})),
        ("xhigh", &level, None, json!({"thinkingLevel": "HIGH", "includeThoughts": true})),
        ("low", &budget, None, json!({"thinkingBudget": 1024, "includeThoughts": true})),
        ("high", &budget, Some(1000), json!({"thinkingBudget": 999, "includeThoughts": true})),
        ("none", &budget, None, json!({"thinkingBudget": 0})),
        ("none", &pro, None, json!({"thinkingBudget": 128})),
        ("max", &budget, None, json!({"thinkingBudget": 24_576, "includeThoughts": true})),
        ("xhigh", &pro, None, json!({"thinkingBudget": 24_576, "includeThoughts": true})),
        ("max", &pro, None, json!({"thinkingBudget": 32_768, "includeThoughts": true})),
    ] {
        assert_eq!(ask(effort, facts, limit), expected, "{effort}");
    }
}

#[test]
fn thinking_is_read_in_every_form() {
    let seal = Seal::new(super::KEY);
    for (config, effort, form, budget) in [
        (r#"{"thinkingLevel":"HIGH"}"#, Some(Effort::High), None, None),
        (r#"{"thinking_level":"minimal"}"#, Some(Effort::Minimal), None, None),
        (r#"{"thinkingBudget":0}"#, None, Some(ReasoningForm::Disabled), None),
        (r#"{"thinkingBudget":-1}"#, None, Some(ReasoningForm::Adaptive), None),
        (r#"{"thinkingLevel":7,"thinkingBudget":null}"#, None, None, None),
        (r#"{"thinkingLevel":"THINKING_LEVEL_UNSPECIFIED"}"#, None, None, None),
        (r#"{"thinkingBudget":"500"}"#, None, Some(ReasoningForm::Budget), Some(500)),
    ] {
        let body = format!(
            r#"{{"contents":[{{"parts":[{{"text":"q"}}]}}],"generationConfig":{{"thinkingConfig":{config}}}}}"#
        );
        let request = read(&body, &seal).unwrap();
        let found = &request.reasoning;
        assert_eq!((found.effort, found.form, found.budget), (effort, form, budget), "{config}");
    }
}

#[test]
fn json_is_asked_for_in_every_form() {
    let seal = Seal::new(super::KEY);
    let body = |config: &str| format!(r#"{{"contents":[{{"parts":[{{"text":"q"}}]}}],"generationConfig":{config}}}"#);
    let text =
        body(r#"{"responseMimeType":"application/json","responseSchema":{"type":"ARRAY","items":{"type":"STRING"}}}"#);
    let request = read(&text, &seal).unwrap();
    let OutputSpec::JsonSchema { schema: Some(schema), .. } = &request.output else { panic!() };
    assert_eq!(schema.as_str(), r#"{"type":"array","items":{"type":"string"}}"#);
    let text = body(r#"{"response_mime_type":"application/json"}"#);
    assert_eq!(read(&text, &seal).unwrap().output, OutputSpec::JsonObject);
    let text = body(r#"{"responseMimeType":"text/x.enum","responseSchema":{"type":"STRING","enum":["a"]}}"#);
    let request = read(&text, &seal).unwrap();
    assert!(request.extras.iter().any(|extra| extra.field == Field::Output));
}

#[test]
fn a_stream_is_asked_for_by_the_path() {
    let seal = Seal::new(super::KEY);
    let body = br#"{"contents":[{"parts":[{"text":"q"}]}]}"#;
    for framing in [Framing::Events, Framing::JsonArray] {
        let head = RequestHead {
            api_version: None,
            betas: None,
            line: Line { model: Some("m".into()), stream: Some(framing) },
            seal: &seal,
        };
        let facts = Facts::default();
        let target = Target { model: "t", facts: &facts, api_version: None };
        let done = translate_request(Format::GeminiGenerate, Format::OpenaiChat, body, &head, &target).unwrap();
        assert_eq!(done.reply.framing, framing);
        let written: Value = serde_json::from_slice(&done.outgoing.body).unwrap();
        assert_eq!((&written["stream"], &written["model"]), (&json!(true), &json!("t")));
    }
}

#[test]
fn trap_g5_a_longer_history_begins_as_the_shorter_one() {
    let long = parallel(2);
    let mut short = long.clone();
    let messages = short["messages"].as_array_mut().unwrap();
    let mut longer = messages.clone();
    longer.push(json!({"role": "assistant", "content": "a"}));
    longer.push(json!({"role": "user", "content": "next"}));
    let (before, _) = from_chat(&short, &Facts::default()).unwrap();
    let (after, _) = from_chat(&json!({"model": "m", "messages": longer}), &Facts::default()).unwrap();
    let before = before["contents"].as_array().unwrap();
    assert_eq!(&after["contents"].as_array().unwrap()[..before.len()], &before[..]);
}

#[test]
fn base64_goes_on_in_the_form_that_all_take() {
    for (data, expected) in [("iVBORw0K-_8", "iVBORw0K+/8="), ("iVBORw", "iVBORw==")] {
        let body = json!({"contents": [{"parts": [{"inlineData": {"mimeType": "image/png", "data": data}}]}]});
        let read = to(Format::AnthropicMessages, &body).unwrap();
        assert_eq!(read["messages"][0]["content"][0]["source"]["data"], expected);
    }
}

#[test]
fn a_video_by_its_address_is_no_document() {
    let body = json!({"contents": [{"parts": [{"text": "q"}, {"fileData": {"fileUri": "https://youtu.be/x"}}]}]});
    for (format, list) in [(Format::AnthropicMessages, "messages"), (Format::OpenaiResponses, "input")] {
        let sent = to(format, &body).unwrap();
        assert!(!sent[list].to_string().contains("youtu.be"), "{sent}");
    }
}
