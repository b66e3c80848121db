//! Lossless or loud: every field of a request is in the translation or in the loss report, whatever the pair.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::needless_pass_by_value,
    clippy::string_slice,
    clippy::too_many_lines,
    reason = "a test fails by panicking, and reads what it needs"
)]

mod support;

use serde_json::{Value, json};
use tidegate_codec::hub::Place;
use tidegate_codec::seal::Seal;
use tidegate_codec::{
    Facts, Format, Line, RequestHead, Target, TranslatedRequest, Undo, translate_request, translate_response, wire,
};

/// A value that no translation could produce by itself, inside of the value that a field wants.
const MARK: &str = "Mark7316";

fn translate(from: Format, to: Format, body: &[u8]) -> Result<TranslatedRequest, String> {
    let seal = Seal::new([1; 32]);
    let head = RequestHead {
        api_version: Some("2023-06-01"),
        betas: None,
        line: Line { model: Some("m".into()), stream: None },
        seal: &seal,
    };
    let facts = Facts::default();
    let target = Target { model: "target-model", facts: &facts, api_version: Some("2023-06-01") };
    let translated = translate_request(from, to, body, &head, &target).map_err(|fault| fault.message.to_string())?;
    let listed = wire(to).spec().request_losses;
    for loss in translated.outgoing.losses.iter().filter(|_| from != to) {
        let known = listed.iter().any(|(field, _)| *field == loss.field);
        assert!(known, "{} is not listed for {to:?}: {}", loss.field.label(), loss.reason);
    }
    Ok(translated)
}

fn base(format: Format) -> Value {
    match format {
        Format::OpenaiChat => json!({"model": "m", "messages": [{"role": "user", "content": "hi"}]}),
        Format::OpenaiResponses => json!({"model": "m", "input": [{"role": "user", "content": "hi"}]}),
        Format::AnthropicMessages => {
            json!({"model": "m", "max_tokens": 100, "messages": [{"role": "user", "content": "hi"}]})
        }
        Format::GeminiGenerate => json!({"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}),
    }
}

/// Fields of a request, each with a value; `{"at": pointer, "set": value}` for those inside.
fn fields(format: Format) -> Vec<(&'static str, Value)> {
    match format {
        Format::OpenaiChat => chat_fields(),
        Format::OpenaiResponses => responses_fields(),
        Format::AnthropicMessages => messages_fields(),
        Format::GeminiGenerate => gemini_fields(),
    }
}

fn chat_fields() -> Vec<(&'static str, Value)> {
    vec![
        ("/audio", json!({"format": "wav", "voice": MARK})),
        ("/frequency_penalty", json!(0.7316)),
        ("/presence_penalty", json!(0.7316)),
        ("/logit_bias", json!({"7316": 1})),
        ("/logprobs", json!(true)),
        ("/max_completion_tokens", json!(7316)),
        ("/max_tokens", json!(7316)),
        ("/metadata", json!({"k": MARK})),
        ("/modalities", json!(["text", "audio"])),
        ("/moderation", json!({"model": MARK})),
        ("/prediction", json!({"type": "content", "content": MARK})),
        ("/prompt_cache_key", json!(MARK)),
        ("/prompt_cache_options", json!({"mode": "explicit"})),
        ("/prompt_cache_retention", json!("24h")),
        ("/reasoning_effort", json!("xhigh")),
        ("/safety_identifier", json!(MARK)),
        ("/seed", json!(7316)),
        ("/service_tier", json!("flex")),
        ("/stop", json!([MARK])),
        ("/store", json!(true)),
        ("/temperature", json!(0.7316)),
        ("/top_p", json!(0.7316)),
        ("/top_k", json!(7316)),
        ("/user", json!(MARK)),
        ("/verbosity", json!("low")),
        ("/web_search_options", json!({"search_context_size": "low"})),
        ("/vendor_invented", json!({"deep": [MARK]})),
        ("/cache_control", json!({"type": "ephemeral"})),
        ("/chat_template_kwargs", json!({"enable_thinking": true})),
        ("/chat_template_kwargs", json!({"vendor_invented": MARK})),
        ("/enable_thinking", json!(true)),
        ("/min_p", json!(0.7316)),
        ("/random_seed", json!(7316)),
        ("/reasoning", json!({"effort": "xhigh"})),
        ("/reasoning", json!({"vendor_invented": MARK})),
        ("/repetition_penalty", json!(0.7316)),
        ("/thinking", json!({"type": "enabled"})),
        ("/thinking", json!({"type": "enabled", "budget_tokens": 7316})),
        ("/thinking_budget", json!(7316)),
        ("/thinking", json!({"vendor_invented": MARK})),
        ("/messages/0/name", json!(MARK)),
        ("/messages/0/vendor_invented", json!(MARK)),
        ("/messages/0/content", json!([{"type": "text", "text": MARK}])),
        ("/messages/0/content", json!([{"type": "text", "text": "t", "vendor_invented": MARK}])),
        (
            "/messages/0/content",
            json!([{"type": "image_url", "image_url": {"url": "https://h/Mark7316.png", "detail": "low"}}]),
        ),
        ("/messages/0/content", json!([{"type": "input_audio", "input_audio": {"data": "UklGRkAA", "format": "wav"}}])),
        ("/messages/0/content", json!([{"type": "file", "file": {"file_id": MARK}}])),
        ("/messages/0/content", json!([{"type": "vendor_invented", "x": MARK}])),
        (
            "/tools",
            json!([{"type": "function", "function": {"name": "f", "description": MARK, "parameters": {"type": "object", "properties": {}}}}]),
        ),
        ("/tools", json!([{"type": "function", "function": {"name": "f", "vendor_invented": MARK}}])),
        (
            "/tools",
            json!([{"type": "function", "function": {"name": "f", "strict": true, "parameters": {"type": "object", "title": MARK}}}]),
        ),
        ("/tools", json!([{"type": "custom", "custom": {"name": MARK, "format": {"type": "text"}}}])),
        (
            "/response_format",
            json!({"type": "json_schema", "json_schema": {"name": "n", "description": MARK, "schema": {"type": "object"}}}),
        ),
    ]
}

fn messages_fields() -> Vec<(&'static str, Value)> {
    let png = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
    vec![
        ("/cache_control", json!({"type": "ephemeral"})),
        ("/container", json!(MARK)),
        ("/context_management", json!({"edits": [MARK]})),
        ("/diagnostics", json!({"previous_message_id": MARK})),
        ("/inference_geo", json!(MARK)),
        ("/mcp_servers", json!([{"url": MARK}])),
        ("/metadata", json!({"user_id": MARK})),
        ("/output_config", json!({"effort": "max"})),
        ("/output_config", json!({"vendor_invented": MARK})),
        ("/service_tier", json!("standard_only")),
        ("/speed", json!("fast")),
        ("/stop_sequences", json!([MARK])),
        ("/system", json!(MARK)),
        ("/system", json!([{"type": "text", "text": MARK, "cache_control": {"type": "ephemeral", "ttl": "1h"}}])),
        ("/temperature", json!(0.7316)),
        ("/thinking", json!({"type": "enabled", "budget_tokens": 7316})),
        ("/top_k", json!(7316)),
        ("/top_p", json!(0.7316)),
        ("/vendor_invented", json!({"deep": [MARK]})),
        ("/messages/0/vendor_invented", json!(MARK)),
        ("/messages/0/content", json!([{"type": "text", "text": MARK}])),
        ("/messages/0/content", json!([{"type": "text", "text": "t", "vendor_invented": MARK}])),
        (
            "/messages/0/content",
            json!([{"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": png}}]),
        ),
        ("/messages/0/content", json!([{"type": "image", "source": {"type": "url", "url": "https://h/Mark7316.png"}}])),
        ("/messages/0/content", json!([{"type": "image", "source": {"type": "file", "file_id": MARK}}])),
        (
            "/messages/0/content",
            json!([{"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": MARK}, "title": "t"}]),
        ),
        (
            "/messages/0/content",
            json!([{"type": "document", "source": {"type": "url", "url": "https://h/Mark7316.pdf"}, "context": "c"}]),
        ),
        (
            "/messages/0/content",
            json!([{"type": "search_result", "source": MARK, "title": "t", "content": [{"type": "text", "text": "x"}]}]),
        ),
        ("/messages/0/content", json!([{"type": "container_upload", "file_id": MARK}])),
        (
            "/messages/0/content",
            json!([{"type": "text", "text": "t", "cache_control": {"type": "ephemeral", "ttl": "7316d"}}]),
        ),
        ("/messages/0/content", json!([{"type": "vendor_invented", "x": MARK}])),
        ("/tools", json!([{"name": "f", "description": MARK, "input_schema": {"type": "object"}}])),
        ("/tools", json!([{"name": "f", "input_schema": {"type": "object", "title": MARK}, "strict": true}])),
        ("/tools", json!([{"name": "f", "input_schema": {"type": "object"}, "defer_loading": true}])),
        ("/tools", json!([{"name": "f", "input_schema": {"type": "object"}, "vendor_invented": MARK}])),
        ("/tools", json!([{"name": "f", "input_schema": {"type": "object"}, "cache_control": {"type": "ephemeral"}}])),
    ]
}

fn gemini_fields() -> Vec<(&'static str, Value)> {
    let png = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
    let config = |key: &str, value: Value| ("/generationConfig", json!({key: value}));
    let part = |value: Value| ("/contents/0/parts", json!([value]));
    let declare = |value: Value| ("/tools", json!([{"functionDeclarations": [value]}]));
    vec![
        ("/cachedContent", json!("cachedContents/Mark7316")),
        ("/continuationToken", json!(MARK)),
        ("/labels", json!({"k": MARK})),
        ("/modelArmorConfig", json!({"x": MARK})),
        ("/safetySettings", json!([{"category": MARK}])),
        ("/serviceTier", json!("flex")),
        ("/store", json!(true)),
        ("/systemInstruction", json!({"parts": [{"text": MARK}]})),
        ("/systemInstruction", json!(MARK)),
        ("/vendorInvented", json!({"deep": [MARK]})),
        ("/contents/0/vendorInvented", json!(MARK)),
        config("audioTimestamp", json!(true)),
        config("candidateCount", json!(2)),
        config("enableEnhancedCivicAnswers", json!(true)),
        config("frequencyPenalty", json!(0.7316)),
        config("imageConfig", json!({"aspectRatio": MARK})),
        config("logprobs", json!(3)),
        config("maxOutputTokens", json!(7316)),
        config("mediaResolution", json!("MEDIA_RESOLUTION_LOW")),
        config("presencePenalty", json!(0.7316)),
        config("responseLogprobs", json!(true)),
        config("responseModalities", json!(["AUDIO"])),
        config("seed", json!(7316)),
        config("speechConfig", json!({"x": MARK})),
        config("stopSequences", json!([MARK])),
        config("temperature", json!(0.7316)),
        config("thinkingConfig", json!({"thinkingBudget": 7316})),
        config("thinkingConfig", json!({"thinkingLevel": "HIGH"})),
        config("thinkingConfig", json!({"vendorInvented": MARK})),
        config("topK", json!(7316)),
        config("topP", json!(0.7316)),
        config("vendorInvented", json!(MARK)),
        (
            "/generationConfig",
            json!({"responseMimeType": "application/json", "responseSchema": {"type": "STRING", "title": MARK}}),
        ),
        (
            "/generationConfig",
            json!({"responseMimeType": "text/x.enum", "responseSchema": {"type": "STRING", "enum": [MARK]}}),
        ),
        part(json!({"text": MARK})),
        part(json!({"text": "t", "vendorInvented": MARK})),
        part(json!({"text": "t", "thoughtSignature": "TWFyazczMTY="})),
        part(json!({"inlineData": {"mimeType": "image/png", "data": png}})),
        part(json!({"inlineData": {"mimeType": "video/mp4", "data": MARK}})),
        part(json!({"inlineData": {"mimeType": "audio/wav", "data": "UklGRkAA"}})),
        part(
            json!({"inlineData": {"mimeType": "image/png", "data": png}, "mediaResolution": {"level": "MEDIA_RESOLUTION_LOW"}}),
        ),
        part(json!({"fileData": {"mimeType": "image/png", "fileUri": "https://h/Mark7316.png"}})),
        part(json!({"inlineData": {"mimeType": "image/png", "data": png, "displayName": MARK}})),
        part(json!({"inlineData": {"mimeType": "audio/wav", "data": "UklGRkAA", "displayName": MARK}})),
        part(json!({"inlineData": {"mimeType": "application/pdf", "data": "JVBERi0=", "displayName": MARK}})),
        part(json!({"fileData": {"mimeType": "video/mp4", "fileUri": "gs://Mark7316"}})),
        part(json!({"executableCode": {"code": MARK}})),
        part(json!({"vendorInvented": {"x": MARK}})),
        declare(
            json!({"name": "f", "description": MARK, "parameters": {"type": "OBJECT", "properties": {"a": {"type": "STRING"}}}}),
        ),
        declare(json!({"name": "f", "parametersJsonSchema": {"type": "object", "title": MARK}})),
        declare(json!({"name": "f", "behavior": MARK})),
        declare(json!({"name": "f", "vendorInvented": MARK})),
        ("/tools", json!([{"googleSearch": {"x": MARK}}])),
        ("/toolConfig", json!({"retrievalConfig": {"languageCode": MARK}})),
        ("/toolConfig", json!({"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": [MARK, "x"]}})),
        ("/toolConfig", json!({"functionCallingConfig": {"allowedFunctionNames": [MARK, "x"]}})),
        ("/toolConfig", json!({"functionCallingConfig": {"mode": "VALIDATED"}})),
    ]
}

fn responses_fields() -> Vec<(&'static str, Value)> {
    let call = json!({"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"});
    let result = json!({"type": "function_call_output", "call_id": "c", "output": MARK});
    vec![
        ("/background", json!(true)),
        ("/context_management", json!([{"type": "compaction", "compact_threshold": 7316}])),
        ("/conversation", json!(MARK)),
        ("/include", json!(["web_search_call.action.sources"])),
        ("/instructions", json!(MARK)),
        ("/max_output_tokens", json!(7316)),
        ("/max_tool_calls", json!(7316)),
        ("/metadata", json!({"k": MARK})),
        ("/moderation", json!({"model": MARK})),
        ("/previous_response_id", json!(MARK)),
        ("/prompt", json!({"id": MARK})),
        ("/prompt_cache_key", json!(MARK)),
        ("/prompt_cache_options", json!({"mode": "explicit"})),
        ("/reasoning", json!({"effort": "xhigh"})),
        ("/reasoning", json!({"summary": "detailed"})),
        ("/reasoning", json!({"context": MARK})),
        ("/safety_identifier", json!(MARK)),
        ("/service_tier", json!("flex")),
        ("/service_tier", json!("ultrafast")),
        ("/store", json!(true)),
        ("/temperature", json!(0.7316)),
        ("/text", json!({"verbosity": "low"})),
        ("/text", json!({"vendor_invented": MARK})),
        (
            "/text",
            json!({"format": {"type": "json_schema", "name": "n", "description": MARK, "schema": {"type": "object"}}}),
        ),
        ("/top_logprobs", json!(7)),
        ("/top_p", json!(0.7316)),
        ("/truncation", json!("auto")),
        ("/user", json!(MARK)),
        ("/vendor_invented", json!({"deep": [MARK]})),
        ("/input", json!([{"role": "user", "content": MARK}, call, result])),
        ("/input", json!([{"role": "user", "content": "q"}, {"type": "item_reference", "id": MARK}])),
        ("/input", json!([{"role": "user", "content": "q"}, {"type": "vendor_invented", "x": MARK}])),
        ("/input", json!([{"role": "user", "content": "q"}, {"type": "compaction", "encrypted_content": MARK}])),
        (
            "/input",
            json!([{"role": "user", "content": "q"}, {"type": "web_search_call", "status": "completed", "action": {"query": MARK}}, {"role": "user", "content": "r"}]),
        ),
        (
            "/input",
            json!([{"role": "user", "content": "q"}, {"type": "reasoning", "summary": [], "encrypted_content": MARK}, {"role": "user", "content": "r"}]),
        ),
        ("/input/0/vendor_invented", json!(MARK)),
        ("/input/0/content", json!([{"type": "input_text", "text": MARK}])),
        ("/input/0/content", json!([{"type": "input_text", "text": "t", "vendor_invented": MARK}])),
        ("/input/0/content", json!([{"type": "input_image", "image_url": "https://h/Mark7316.png", "detail": "low"}])),
        ("/input/0/content", json!([{"type": "input_image", "file_id": MARK}])),
        ("/input/0/content", json!([{"type": "input_file", "file_url": "https://h/Mark7316.pdf"}])),
        ("/input/0/content", json!([{"type": "input_file", "file_id": MARK, "detail": "high"}])),
        ("/input/0/content", json!([{"type": "vendor_invented", "x": MARK}])),
        ("/tools", json!([{"type": "function", "name": "f", "description": MARK, "parameters": {"type": "object"}}])),
        ("/tools", json!([{"type": "function", "name": "f", "vendor_invented": MARK}])),
        (
            "/tools",
            json!([{"type": "function", "name": "f", "strict": true, "parameters": {"type": "object", "title": MARK}}]),
        ),
        ("/tools", json!([{"type": "custom", "name": MARK, "format": {"type": "text"}}])),
        ("/tools", json!([{"type": "custom", "name": "f", "vendor_invented": MARK}])),
        (
            "/tools",
            json!([{"type": "namespace", "name": "n", "description": MARK, "tools": [{"type": "function", "name": "f"}]}]),
        ),
        ("/tools", json!([{"type": "namespace", "name": MARK, "tools": [{"type": "function", "name": "f"}]}])),
        ("/tools", json!([{"type": "tool_search", "x": MARK}])),
        ("/tools", json!([{"type": "web_search", "search_context_size": MARK}])),
    ]
}

/// Sets `value` at `pointer`, making the last key.
fn set(body: &mut Value, pointer: &str, value: Value) {
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    body.pointer_mut(parent).unwrap()[key] = value;
}

/// What of `value` a translation must show somewhere: its marks and numbers, else its words.
fn traces(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::String(text) => found.push(text.clone()),
        Value::Number(number) => found.push(number.to_string()),
        Value::Array(items) => items.iter().for_each(|item| traces(item, found)),
        Value::Object(map) => map.values().for_each(|item| traces(item, found)),
        Value::Bool(_) | Value::Null => {}
    }
}

fn is_reported(translated: &TranslatedRequest, pointer: &str) -> bool {
    translated.outgoing.losses.iter().any(|loss| match &loss.place {
        Place::Pointer(at) => at.starts_with(pointer) || (!at.is_empty() && pointer.starts_with(at.as_ref())),
        Place::Offset(_) => panic!("a loss without a pointer"),
    })
}

fn check(from: Format, to: Format, pointer: &str, value: &Value) -> Result<(), String> {
    let mut body = base(from);
    let plain = translate(from, to, body.to_string().as_bytes()).unwrap();
    set(&mut body, pointer, value.clone());
    let what = format!("{} -> {}: {pointer} = {value}", from.name(), to.name());
    let Ok(translated) = translate(from, to, body.to_string().as_bytes()) else {
        return Ok(()); // Refused in words: as loud as can be.
    };
    if is_reported(&translated, pointer) {
        return Ok(());
    }
    if translated.outgoing.body == plain.outgoing.body {
        return Err(format!("{what}: changes nothing and is not reported"));
    }
    let written = String::from_utf8(translated.outgoing.body).unwrap();
    let mut wanted = Vec::new();
    traces(value, &mut wanted);
    let marks: Vec<&String> = wanted.iter().filter(|text| text.contains("7316")).collect();
    match marks.iter().find(|mark| !written.contains(mark.as_str())) {
        Some(mark) => Err(format!("{what}: `{mark}` is neither in the translation nor reported:\n  {written}")),
        None => Ok(()),
    }
}

#[test]
fn every_field_is_carried_or_reported() {
    let mut wrong = Vec::new();
    for from in Format::ALL {
        for to in Format::ALL.into_iter().filter(|to| *to != from) {
            for (pointer, value) in fields(from) {
                wrong.extend(check(from, to, pointer, &value).err());
            }
        }
    }
    assert!(wrong.is_empty(), "{} fields are lost silently:\n{}", wrong.len(), wrong.join("\n"));
}

/// Members of objects within a request that no rule knows: where they stand, in a request that has such an object.
fn inner_members(format: Format) -> Vec<(Value, &'static str)> {
    let function = json!({"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}});
    let chat = |key: &str, value: Value| {
        let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}], "tools": [function]});
        set(&mut body, &format!("/{key}"), value);
        body
    };
    let responses = |key: &str, value: Value| {
        let tools = json!([{"type": "function", "name": "f"}, {"type": "namespace", "name": "n", "tools": []}]);
        let mut body = json!({"model": "m", "input": [{"role": "user", "content": "hi"}], "tools": tools});
        set(&mut body, &format!("/{key}"), value);
        body
    };
    let messages = |key: &str, value: Value| {
        let mut body = base(Format::AnthropicMessages);
        body["tools"] = json!([{"name": "f", "input_schema": {"type": "object"}}]);
        set(&mut body, &format!("/{key}"), value);
        body
    };
    let allowed = json!({"mode": "auto", "tools": [{"type": "function", "function": {"name": "f"}}]});
    match format {
        Format::OpenaiChat => {
            let choice = json!({"type": "function", "function": {"name": "f"}});
            let of_tools = chat("tool_choice", json!({"type": "allowed_tools", "allowed_tools": allowed}));
            let custom = json!([{"type": "custom", "custom": {"name": "c"}}]);
            let marked = json!([{"type": "text", "text": "t", "prompt_cache_breakpoint": {"mode": "explicit"}}]);
            let call = json!([{"role": "user", "content": "q"}, {"role": "assistant", "tool_calls": [
                {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
                {"role": "tool", "tool_call_id": "a", "content": "r"}]);
            vec![
                (chat("tool_choice", choice.clone()), "/tool_choice"),
                (chat("tool_choice", choice), "/tool_choice/function"),
                (of_tools.clone(), "/tool_choice/allowed_tools"),
                (of_tools.clone(), "/tool_choice/allowed_tools/tools/0"),
                (of_tools, "/tool_choice/allowed_tools/tools/0/function"),
                (chat("tools", custom.clone()), "/tools/0"),
                (chat("tools", custom), "/tools/0/custom"),
                (chat("messages/0/content", marked), "/messages/0/content/0/prompt_cache_breakpoint"),
                (chat("messages", call.clone()), "/messages/1/tool_calls/0"),
                (chat("messages", call), "/messages/1/tool_calls/0/function"),
            ]
        }
        Format::OpenaiResponses => {
            let of_tools =
                json!({"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "f"}]});
            let marked = json!([{"type": "input_text", "text": "t", "prompt_cache_breakpoint": {"mode": "explicit"}}]);
            vec![
                (responses("tool_choice", json!({"type": "function", "name": "f"})), "/tool_choice"),
                (responses("tool_choice", of_tools.clone()), "/tool_choice"),
                (responses("tool_choice", of_tools), "/tool_choice/tools/0"),
                (responses("store", json!(false)), "/tools/1"),
                (responses("input/0/content", marked), "/input/0/content/0/prompt_cache_breakpoint"),
            ]
        }
        Format::AnthropicMessages => {
            let schema = json!({"format": {"type": "json_schema", "schema": {"type": "object"}}});
            let image = json!([{"type": "image", "source": {"type": "url", "url": "https://h/a.png"}}]);
            let file = json!([{"type": "document", "source": {"type": "url", "url": "https://h/a.pdf"}}]);
            let cached = json!([{"type": "text", "text": "t", "cache_control": {"type": "ephemeral"}}]);
            vec![
                (messages("tool_choice", json!({"type": "auto"})), "/tool_choice"),
                (messages("output_config", schema), "/output_config/format"),
                (messages("messages/0/content", image), "/messages/0/content/0/source"),
                (messages("messages/0/content", file), "/messages/0/content/0/source"),
                (messages("messages/0/content", cached), "/messages/0/content/0/cache_control"),
            ]
        }
        Format::GeminiGenerate => {
            let part = |value: Value| {
                let mut body = base(Format::GeminiGenerate);
                body["contents"][0]["parts"][0] = value;
                body
            };
            let parts = "/contents/0/parts/0";
            let at = |inner: &'static str| match inner {
                "inlineData" => "/contents/0/parts/0/inlineData",
                _ => "/contents/0/parts/0/fileData",
            };
            let inline = |kind: &str| part(json!({"inlineData": {"mimeType": kind, "data": "iVBORw0KGgo="}}));
            let file = |kind: &str| part(json!({"fileData": {"mimeType": kind, "fileUri": "https://h/a"}}));
            vec![
                (inline("image/png"), at("inlineData")),
                (inline("audio/wav"), at("inlineData")),
                (inline("application/pdf"), at("inlineData")),
                (inline("image/png"), parts),
                (file("image/png"), at("fileData")),
                (file("application/pdf"), at("fileData")),
            ]
        }
    }
}

#[test]
fn members_of_tomorrow_within_a_request_are_carried_or_reported() {
    let mut wrong = Vec::new();
    for from in Format::ALL {
        for (body, pointer) in inner_members(from) {
            for to in Format::ALL {
                let body = extended(&body, pointer).to_string();
                let Ok(translated) = translate(from, to, body.as_bytes()) else { continue };
                let told = is_reported(&translated, &format!("{pointer}/vendorInvented"));
                let written = String::from_utf8(translated.outgoing.body).unwrap();
                if !told && !written.contains(MARK) {
                    wrong.push(format!("{} -> {}: {pointer} of {body}", from.name(), to.name()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} members are lost silently:\n{}", wrong.len(), wrong.join("\n"));
}

/// The objects within `value`, each by its pointer and by what it is: where it stands, of which type.
fn kinds(value: &Value, at: &str, kind: &str, found: &mut Vec<(String, String)>) {
    match value {
        Value::Object(map) => {
            let kind = format!("{kind}<{}>", value["type"].as_str().unwrap_or_default());
            found.push((at.to_owned(), kind.clone()));
            for (key, inner) in map {
                let escaped = key.replace('~', "~0").replace('/', "~1");
                kinds(inner, &format!("{at}/{escaped}"), &format!("{kind}{key}"), found);
            }
        }
        Value::Array(items) => {
            for (number, item) in items.iter().enumerate() {
                kinds(item, &format!("{at}/{number}"), &format!("{kind}*"), found);
            }
        }
        _ => {}
    }
}

#[test]
fn members_of_tomorrow_within_recorded_requests_are_carried_or_reported() {
    let mut seen = std::collections::HashSet::new();
    let (mut wrong, mut checked) = (Vec::new(), 0);
    for case in support::corpus::cases() {
        let Some(request) = case.request.as_ref().filter(|_| case.status == 200) else { continue };
        let Ok(body) = serde_json::from_slice::<Value>(request) else { continue };
        let mut found = Vec::new();
        kinds(&body, "", "", &mut found);
        found.retain(|(_, kind)| seen.insert((case.format, kind.clone())));
        for (pointer, kind) in found {
            let body = extended(&body, &pointer).to_string();
            for to in Format::ALL {
                let Ok(translated) = translate(case.format, to, body.as_bytes()) else { continue };
                checked += 1;
                let told = is_reported(&translated, &format!("{pointer}/vendorInvented"));
                if !told && !String::from_utf8(translated.outgoing.body).unwrap().contains(MARK) {
                    wrong.push(format!("{} -> {}: {pointer} of {}: {kind}", case.format.name(), to.name(), case.name));
                }
            }
        }
    }
    assert!(seen.is_empty() || checked > 500, "only {checked} members were looked at");
    assert!(wrong.is_empty(), "{} of {checked} members are lost silently:\n{}", wrong.len(), wrong.join("\n"));
}

/// The key of the conversation.
fn turns(format: Format) -> &'static str {
    match format {
        Format::AnthropicMessages | Format::OpenaiChat => "messages",
        Format::GeminiGenerate => "contents",
        Format::OpenaiResponses => "input",
    }
}

/// One turn of it.
fn said(format: Format, role: &str, words: &str) -> Value {
    match format {
        Format::AnthropicMessages | Format::OpenaiChat | Format::OpenaiResponses => {
            json!({"role": role, "content": words})
        }
        Format::GeminiGenerate => {
            json!({"role": role.replace("assistant", "model"), "parts": [{"text": words}]})
        }
    }
}

#[test]
fn the_same_request_is_the_same_bytes_and_grows_at_its_end() {
    for from in Format::ALL {
        for to in Format::ALL.into_iter().filter(|to| *to != from) {
            let mut body = base(from);
            let mut before: Option<Vec<Value>> = None;
            for turn in 0..6 {
                let once = translate(from, to, body.to_string().as_bytes()).unwrap().outgoing.body;
                let twice = translate(from, to, body.to_string().as_bytes()).unwrap().outgoing.body;
                assert_eq!(once, twice, "two translations of one request differ");
                let now = serde_json::from_slice::<Value>(&once).unwrap()[turns(to)].as_array().unwrap().clone();
                if let Some(before) = &before {
                    assert_eq!(&now[..before.len()], &before[..], "{} -> {}: turn {turn}", from.name(), to.name());
                }
                before = Some(now);
                let messages = body[turns(from)].as_array_mut().unwrap();
                messages.push(said(from, "assistant", &format!("answer {turn}")));
                messages.push(said(from, "user", &format!("question {turn}")));
            }
        }
    }
}

#[test]
fn recorded_requests_are_translated_or_refused_in_words() {
    for case in support::corpus::cases() {
        let Some(request) = case.request.as_ref().filter(|_| case.status == 200) else { continue };
        for to in Format::ALL.into_iter().filter(|to| *to != case.format) {
            match translate(case.format, to, request) {
                Ok(translated) => {
                    serde_json::from_slice::<Value>(&translated.outgoing.body)
                        .unwrap_or_else(|error| panic!("{}: not JSON: {error}", case.name));
                }
                Err(message) => assert!(message.len() > 10, "{}: refused without words: {message}", case.name),
            }
        }
    }
}

/// An answer with something of everything.
fn full_answer(format: Format) -> Value {
    match format {
        Format::OpenaiChat => json!({"id": "c", "object": "chat.completion", "created": 5, "model": "up", "choices": [
            {"index": 0, "finish_reason": "tool_calls", "message": {"role": "assistant", "content": "hello",
                "reasoning_content": "hm", "refusal": "no", "tool_calls": [
                    {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}},
                    {"id": "b", "type": "custom", "custom": {"name": "g", "input": "raw"}}]}}]}),
        Format::OpenaiResponses => json!({"id": "r", "object": "response", "created_at": 5, "status": "completed",
            "model": "up", "output": [
                {"type": "reasoning", "id": "rs", "summary": [{"type": "summary_text", "text": "s"}],
                    "content": [{"type": "reasoning_text", "text": "raw"}], "encrypted_content": "E"},
                {"type": "message", "id": "m", "role": "assistant", "content": [
                    {"type": "output_text", "text": "hello", "annotations": []}, {"type": "refusal", "refusal": "no"}]},
                {"type": "function_call", "id": "fc", "call_id": "c1", "name": "f", "arguments": "{}"},
                {"type": "custom_tool_call", "id": "ct", "call_id": "c2", "name": "g", "input": "raw"},
                {"type": "web_search_call", "id": "ws", "status": "completed", "action": {"type": "search"}}]}),
        Format::AnthropicMessages => json!({"id": "m", "type": "message", "role": "assistant", "model": "up",
            "content": [{"type": "thinking", "thinking": "t", "signature": "c2ln"},
                {"type": "redacted_thinking", "data": "cmVk"}, {"type": "text", "text": "hello"},
                {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "q"}},
                {"type": "tool_use", "id": "t1", "name": "f", "input": {}, "caller": {"type": "program"}}],
            "stop_reason": "tool_use", "stop_sequence": null, "container": {"id": "x"},
            "usage": {"input_tokens": 1, "output_tokens": 1}}),
        Format::GeminiGenerate => json!({"candidates": [{"index": 0, "content": {"role": "model", "parts": [
                {"text": "t", "thought": true, "thoughtSignature": "c2ln"}, {"text": "hello"},
                {"executableCode": {"language": "PYTHON", "code": "1"}},
                {"functionCall": {"id": "f1", "name": "f", "args": {}}}]},
            "finishReason": "STOP", "safetyRatings": [{"category": "c"}]}], "responseId": "r", "modelVersion": "up"}),
    }
}

/// A stream with something of everything, an event a line.
fn full_stream(format: Format) -> Vec<Value> {
    match format {
        Format::OpenaiChat => vec![
            json!({"id": "c", "model": "up", "choices": [{"index": 0, "delta": {"role": "assistant", "content": "a"}}]}),
            json!({"id": "c", "choices": [{"index": 0, "delta": {"reasoning_content": "hm"}}]}),
            json!({"id": "c", "choices": [{"index": 0, "delta": {"tool_calls": [
                {"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}]}}]}),
            json!({"id": "c", "choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]}),
        ],
        Format::OpenaiResponses => {
            let text = json!({"type": "output_text", "text": "a", "annotations": []});
            let message = json!({"type": "message", "id": "m", "role": "assistant", "content": [text]});
            let call = json!({"type": "function_call", "id": "fc", "call_id": "c", "name": "f", "arguments": "{}"});
            let thought = json!({"type": "reasoning", "id": "rs", "encrypted_content": "E", "summary": [{"type": "summary_text", "text": "s"}]});
            vec![
                json!({"type": "response.created", "response": {"id": "r", "model": "up", "status": "in_progress"}}),
                json!({"type": "response.output_item.done", "output_index": 0, "item": thought}),
                json!({"type": "response.output_text.delta", "output_index": 1, "content_index": 0, "delta": "a"}),
                json!({"type": "response.output_item.done", "output_index": 1, "item": message}),
                json!({"type": "response.function_call_arguments.done", "output_index": 2, "arguments": "{}"}),
                json!({"type": "response.output_item.done", "output_index": 2, "item": call}),
                json!({"type": "response.completed", "response": {"id": "r", "status": "completed", "output": []}}),
            ]
        }
        Format::AnthropicMessages => vec![
            json!({"type": "message_start", "message": {"id": "m", "type": "message", "role": "assistant", "model": "up", "content": []}}),
            json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
            json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "a"}}),
            json!({"type": "content_block_stop", "index": 0}),
            json!({"type": "content_block_start", "index": 1, "content_block": {"type": "tool_use", "id": "t", "name": "f", "input": {}}}),
            json!({"type": "content_block_stop", "index": 1}),
            json!({"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 1}}),
            json!({"type": "message_stop"}),
        ],
        Format::GeminiGenerate => vec![
            json!({"candidates": [{"index": 0, "content": {"role": "model", "parts": [{"text": "a"}]}}], "responseId": "r"}),
            json!({"candidates": [{"index": 0, "content": {"parts": [{"text": "b"}, {"functionCall": {"name": "f", "args": {}}}]}}]}),
            json!({"candidates": [{"index": 0, "content": {"parts": [{"text": ""}]}, "finishReason": "STOP"}]}),
        ],
    }
}

/// Pointers to the objects of an answer that are the provider's to extend: neither what the model itself wrote, nor
/// counts, which the hub tells in its own words, nor what the client knows because it asked for it.
fn objects(value: &Value, at: &str, found: &mut Vec<String>) {
    let own = ["args", "input", "arguments", "usage", "usageMetadata", "caller"];
    // What the hub tells in its own words, or reports as one.
    let told = ["annotations", "citations", "groundingMetadata", "logprobs", "logprobsResult", "reasoning_details"];
    // What repeats the request.
    let echo = ["tools", "tool_choice", "text", "prompt", "instructions", "reasoning", "metadata", "conversation"];
    match value {
        Value::Object(map) => {
            found.push(at.to_owned());
            for (key, inner) in map
                .iter()
                .filter(|(key, _)| ![&own[..], &told, &echo, &["incomplete_details"]].concat().contains(&key.as_str()))
            {
                objects(inner, &format!("{at}/{key}"), found);
            }
        }
        Value::Array(list) => {
            list.iter().enumerate().for_each(|(index, inner)| objects(inner, &format!("{at}/{index}"), found));
        }
        _ => {}
    }
}

fn extended(value: &Value, pointer: &str) -> Value {
    let mut value = value.clone();
    value.pointer_mut(pointer).unwrap()["vendorInvented"] = json!(MARK);
    value
}

#[test]
fn what_an_answer_says_in_fields_of_tomorrow_is_carried_or_reported() {
    let mut wrong = Vec::new();
    for from in Format::ALL {
        let answer = full_answer(from);
        let mut pointers = Vec::new();
        objects(&answer, "", &mut pointers);
        for to in Format::ALL.into_iter().filter(|to| *to != from) {
            for pointer in &pointers {
                let body = extended(&answer, pointer).to_string();
                let translated =
                    translate_response(from, to, body.as_bytes(), &support::reply(), &Undo::default()).unwrap();
                let field = format!("{pointer}/vendorInvented");
                let told = translated.losses.iter().any(|loss| match &loss.place {
                    Place::Pointer(at) => !at.is_empty() && field.starts_with(at.as_ref()),
                    Place::Offset(_) => panic!("a loss without a pointer"),
                });
                if !told && !String::from_utf8(translated.body).unwrap().contains(MARK) {
                    wrong.push(format!("{} -> {}: {field}", from.name(), to.name()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} fields are lost silently:\n{}", wrong.len(), wrong.join("\n"));
}

/// Which of the objects are of a kind that was not `seen`.
fn unseen(value: &Value, format: Format, seen: &mut std::collections::HashSet<(Format, String)>) -> Vec<String> {
    let (mut all, mut ours) = (Vec::new(), Vec::new());
    kinds(value, "", "", &mut all);
    objects(value, "", &mut ours);
    all.retain(|(pointer, kind)| ours.contains(pointer) && seen.insert((format, kind.clone())));
    all.into_iter().map(|(pointer, _)| pointer).collect()
}

#[test]
fn members_of_tomorrow_within_recorded_answers_are_carried_or_reported() {
    let mut seen = std::collections::HashSet::new();
    let (mut wrong, mut checked) = (Vec::new(), 0);
    for case in support::corpus::cases() {
        let Some(answer) = case.json.as_ref().filter(|_| case.status == 200) else { continue };
        let Ok(answer) = serde_json::from_slice::<Value>(answer) else { continue };
        for pointer in unseen(&answer, case.format, &mut seen) {
            let body = extended(&answer, &pointer).to_string();
            for to in Format::ALL.into_iter().filter(|to| *to != case.format) {
                let translated =
                    translate_response(case.format, to, body.as_bytes(), &support::reply(), &Undo::default());
                let Ok(translated) = translated else { continue };
                checked += 1;
                let field = format!("{pointer}/vendorInvented");
                let told = translated.losses.iter().any(|loss| match &loss.place {
                    Place::Pointer(at) => !at.is_empty() && field.starts_with(at.as_ref()),
                    Place::Offset(_) => panic!("a loss without a pointer"),
                });
                if !told && !String::from_utf8(translated.body).unwrap().contains(MARK) {
                    wrong.push(format!("{} -> {}: {field} of {}", case.format.name(), to.name(), case.name));
                }
            }
        }
    }
    assert!(seen.is_empty() || checked > 200, "only {checked} members were looked at");
    assert!(wrong.is_empty(), "{} of {checked} members are lost silently:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn what_a_stream_says_in_fields_of_tomorrow_is_reported() {
    let mut wrong = Vec::new();
    for from in Format::ALL {
        let events = full_stream(from);
        for to in Format::ALL.into_iter().filter(|to| *to != from) {
            let (_, usual) = support::streamed(from, to, &events);
            assert!(usual.complete, "{from:?} -> {to:?}: {usual:?}");
            for (index, event) in events.iter().enumerate() {
                let mut pointers = Vec::new();
                objects(event, "", &mut pointers);
                for pointer in pointers {
                    let mut events = events.clone();
                    events[index] = extended(event, &pointer);
                    let (_, outcome) = support::streamed(from, to, &events);
                    if outcome.dropped.len() <= usual.dropped.len() {
                        wrong.push(format!("{} -> {}: event {index}, {pointer}", from.name(), to.name()));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} fields are lost silently:\n{}", wrong.len(), wrong.join("\n"));
}

/// What a client is told must be what the operator's metrics say.
#[test]
fn a_stream_that_its_writer_gives_up_is_no_complete_one() {
    let call = |arguments: &str| {
        json!({"id": "c", "choices": [{"index": 0, "delta": {"tool_calls": [
            {"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": arguments}}]}}]})
    };
    let stop = |word: &str| json!({"id": "c", "choices": [{"index": 0, "delta": {}, "finish_reason": word}]});
    for (events, to) in [
        (vec![call("[1]"), stop("tool_calls")], Format::AnthropicMessages),
        (vec![stop("error")], Format::AnthropicMessages),
        (vec![stop("error")], Format::GeminiGenerate),
        (vec![stop("error")], Format::OpenaiResponses),
    ] {
        let (written, outcome) = support::streamed(Format::OpenaiChat, to, &events);
        let told = written.contains("error");
        assert!(told && !outcome.complete && outcome.fault.is_some(), "{to:?}: {outcome:?}\n{written}");
    }
    let failed =
        json!({"candidates": [{"index": 0, "content": {"parts": []}, "finishReason": "MALFORMED_FUNCTION_CALL"}]});
    let (written, outcome) = support::streamed(Format::GeminiGenerate, Format::OpenaiChat, &[failed]);
    assert!(written.contains("\"error\"") && outcome.fault.is_some(), "{outcome:?}\n{written}");
}

/// Pointers to all strings within `value`, and to the objects, which have keys.
fn strings(value: &Value, at: &str, found: &mut Vec<String>) {
    match value {
        Value::String(_) => found.push(at.to_owned()),
        Value::Object(map) => {
            found.push(at.to_owned());
            for (key, inner) in map {
                strings(inner, &format!("{at}/{}", key.replace('~', "~0").replace('/', "~1")), found);
            }
        }
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(number, inner)| strings(inner, &format!("{at}/{number}"), found));
        }
        _ => {}
    }
}

/// What would end its string, and the objects around it, if it were written as it is; and what no string may hold.
const BREAKS: [&str; 8] = [
    r#"QUJD"}]}}],"evil":{"a":[{"b":{"c":""#,
    "data:image/png;base64,QUJD\"}]}}],\"evil\":{\"a\":[{\"b\":{\"c\":\"",
    "{\"input\":\"a\n\u{1}\\x\\u12\"}]}}],\"evil\":{\"a\":[{\"b\":{\"c\":\"",
    r#"{"a":1},"evil":{"b":{"c":1}"#,
    r#"[],"evil":[1]"#,
    r#"1,"evil":1"#,
    r#"null},"evil":{"b":1"#,
    "https://h/\\\"},\"evil\":{\"a\":\"\r\n\r\ndata: {\"evil\":1}\r\n\r\n",
];

/// No key of a request, an answer or an event comes from within a string.
fn check_kept(what: &str, written: &[u8]) {
    fn is_clean(value: &Value) -> bool {
        match value {
            Value::Object(map) => map.iter().all(|(key, inner)| key != "evil" && is_clean(inner)),
            Value::Array(items) => items.iter().all(is_clean),
            _ => true,
        }
    }
    let text = String::from_utf8_lossy(written);
    let value: Value = serde_json::from_slice(written).unwrap_or_else(|error| panic!("{what}: {error}: {text}"));
    assert!(is_clean(&value), "{what}: a string became more than itself: {text}");
}

#[test]
fn no_string_ends_before_its_own_quote() {
    let mut checked = 0;
    for from in Format::ALL {
        let mut requests: Vec<Value> = inner_members(from).into_iter().map(|(body, _)| body).collect();
        for (pointer, value) in fields(from) {
            let mut body = base(from);
            set(&mut body, pointer, value);
            requests.push(body);
        }
        let recorded = support::corpus::cases().into_iter().filter(|case| case.format == from && case.status == 200);
        let (mut answers, mut seen) = (vec![full_answer(from)], std::collections::HashSet::new());
        for case in recorded {
            for (all, text) in [(&mut requests, &case.request), (&mut answers, &case.json)] {
                all.extend(text.as_ref().and_then(|text| serde_json::from_slice::<Value>(text).ok()));
            }
        }
        for (is_request, body) in
            requests.iter().map(|body| (true, body)).chain(answers.iter().map(|body| (false, body)))
        {
            let mut found = Vec::new();
            strings(body, "", &mut found);
            found.retain(|pointer| seen.insert((is_request, pointer.replace(|c: char| c.is_ascii_digit(), ""))));
            for (pointer, words) in found.iter().flat_map(|pointer| BREAKS.map(|words| (pointer, words))) {
                let mut body = body.clone();
                match body.pointer_mut(pointer).unwrap() {
                    Value::Object(map) => drop(map.insert(words.to_owned(), json!("v"))),
                    string => *string = json!(words),
                }
                let body = body.to_string();
                for to in Format::ALL {
                    let what = format!("{} -> {}: {pointer} = {words:?}", from.name(), to.name());
                    let written = if is_request {
                        translate(from, to, body.as_bytes()).map(|translated| translated.outgoing.body)
                    } else {
                        let answer = translate_response(from, to, body.as_bytes(), &support::reply(), &Undo::default());
                        answer.map(|answer| answer.body).map_err(|fault| fault.message.to_string())
                    };
                    let Ok(written) = written else { continue };
                    checked += 1;
                    check_kept(&what, &written);
                }
            }
        }
    }
    assert!(checked > 5_000, "only {checked} were looked at");
}

#[test]
fn no_string_of_a_stream_does_either() {
    for from in Format::ALL {
        let events = full_stream(from);
        for (number, event) in events.iter().enumerate() {
            let mut found = Vec::new();
            strings(event, "", &mut found);
            for (pointer, words) in found.iter().flat_map(|pointer| BREAKS.map(|words| (pointer, words))) {
                let mut events = events.clone();
                match events[number].pointer_mut(pointer).unwrap() {
                    Value::Object(map) => drop(map.insert(words.to_owned(), json!("v"))),
                    string => *string = json!(words),
                }
                for to in Format::ALL {
                    let (written, _) = support::streamed(from, to, &events);
                    for line in written.lines().filter_map(|line| line.strip_prefix("data: ")) {
                        let what = format!("{} -> {}: event {number}, {pointer} = {words:?}", from.name(), to.name());
                        if line != "[DONE]" {
                            check_kept(&what, line.as_bytes());
                        }
                    }
                }
            }
        }
    }
}
