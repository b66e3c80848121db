//! Requests for a number of tokens: what is counted is what would be sent, and the answer is one number in every format.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::request_losses_are_listed;
use crate::format::{Facts, RequestHead, Target, wire};
use crate::hub::{Fault, Opaque, OpaqueKind};
use crate::json::Text;
use crate::seal::Seal;
use crate::{Format, Line, Operation, TranslatedRequest, translate_count, translate_counted, translate_request};

use Format::{AnthropicMessages as A, GeminiGenerate as G, OpenaiChat as C, OpenaiResponses as R};

/// The formats that count.
const COUNTING: [Format; 3] = [A, G, R];

/// The member that Gemini has a whole request in.
const WHOLE: &str = "generateContentRequest";

type Translate = fn(Format, Format, &[u8], &RequestHead<'_>, &Target<'_>) -> Result<TranslatedRequest, Fault<'static>>;

/// The body that is sent, and what is lost as `action:pointer` items.
fn sent(
    translate: Translate,
    (from, to): (Format, Format),
    body: &Value,
    facts: &Facts,
) -> Result<(Value, String), Fault<'static>> {
    let seal = Seal::new([7; 32]);
    let line = Line { model: Some("m".into()), stream: None };
    let head = RequestHead { api_version: Some("2023-06-01"), betas: None, line, seal: &seal };
    let target = Target { model: "models/t", facts, api_version: Some("2023-06-01") };
    let request = translate(from, to, body.to_string().as_bytes(), &head, &target)?;
    request_losses_are_listed(from, to, &request.outgoing.losses);
    Ok((serde_json::from_slice(&request.outgoing.body).unwrap(), request.outgoing.losses.header(4096)))
}

fn counted(way: (Format, Format), body: &Value) -> (Value, String) {
    sent(translate_count, way, body, &Facts::default()).unwrap()
}

/// A conversation with all that has a length: instructions, a tool, an image, a call and its result.
fn conversation(format: Format) -> Value {
    let schema = json!({"type": "object", "properties": {"city": {"type": "string"}}});
    match format {
        A => json!({
            "model": "m", "system": "Be brief.",
            "tools": [{"name": "weather", "description": "d", "input_schema": schema}], "tool_choice": {"type": "auto"},
            "messages": [
                {"role": "user", "content": [
                    {"type": "text", "text": "And 北?", "cache_control": {"type": "ephemeral"}},
                    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}},
                ]},
                {"role": "assistant", "content": [{"type": "tool_use", "id": "c1", "name": "weather", "input": {"city": "Rome"}}]},
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1", "content": "sun"}]},
            ],
        }),
        G => json!({
            "systemInstruction": {"parts": [{"text": "Be brief."}]},
            "tools": [{"functionDeclarations": [{"name": "weather", "description": "d", "parametersJsonSchema": schema}]}],
            "toolConfig": {"functionCallingConfig": {"mode": "AUTO"}},
            "contents": [
                {"role": "user", "parts": [{"text": "And 北?"}, {"inlineData": {"mimeType": "image/png", "data": "AAAA"}}]},
                {"role": "model", "parts": [{"functionCall": {"id": "c1", "name": "weather", "args": {"city": "Rome"}}}]},
                {"role": "user", "parts": [{"functionResponse": {"id": "c1", "name": "weather", "response": {"output": "sun"}}}]},
            ],
        }),
        R => json!({
            "model": "m", "instructions": "Be brief.", "tool_choice": "auto",
            "tools": [{"type": "function", "name": "weather", "description": "d", "parameters": schema, "strict": false}],
            "input": [
                {"role": "user", "content": [
                    {"type": "input_text", "text": "And 北?"},
                    {"type": "input_image", "detail": "auto", "image_url": "data:image/png;base64,AAAA"},
                ]},
                {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": "{\"city\":\"Rome\"}"},
                {"type": "function_call_output", "call_id": "c1", "output": "sun"},
            ],
        }),
        C => Value::Null,
    }
}

/// What an answer is asked for with beside its prompt.
fn beside(format: Format) -> Value {
    match format {
        A => json!({"max_tokens": 100, "temperature": 0.5, "top_k": 3, "stop_sequences": ["x"], "stream": true,
                    "metadata": {"user_id": "u"}, "service_tier": "auto"}),
        G => {
            json!({"generationConfig": {"maxOutputTokens": 100, "temperature": 0.5, "seed": 1, "stopSequences": ["x"]},
                    "safetySettings": [], "serviceTier": "flex", "labels": {"a": "b"}})
        }
        R => {
            json!({"max_output_tokens": 100, "temperature": 0.5, "stream": true, "store": true, "metadata": {"a": "b"},
                    "safety_identifier": "u", "prompt_cache_key": "k", "service_tier": "flex", "truncation": "disabled"})
        }
        C => Value::Null,
    }
}

fn with(mut body: Value, more: Value) -> Value {
    if let (Some(body), Value::Object(more)) = (body.as_object_mut(), more) {
        body.extend(more);
    }
    body
}

/// `body` as its format's own clients have it counted.
fn as_count(format: Format, body: Value) -> Value {
    if format == G { json!({WHOLE: with(body, json!({"model": "models/m"}))}) } else { body }
}

/// Fields of a count, by format.
fn keys(format: Format) -> &'static [&'static str] {
    match format {
        A => &["messages", "model", "system", "tool_choice", "tools"],
        G => &["contents", "systemInstruction", "toolConfig", "tools"],
        R => &["input", "instructions", "model", "tool_choice", "tools"],
        C => &[],
    }
}

#[test]
fn what_is_counted_is_what_would_be_sent() {
    for from in COUNTING {
        for to in COUNTING.into_iter().filter(|to| *to != from) {
            let plain = conversation(from);
            let (count, lost) = counted((from, to), &as_count(from, plain.clone()));
            let (request, _) = sent(translate_request, (from, to), &plain, &Facts::default()).unwrap();
            let mut inner = count.clone();
            if to == G {
                assert_eq!(count.as_object().unwrap().len(), 1, "{from:?}: {count}");
                inner = count[WHOLE].clone();
                assert_eq!(inner.as_object_mut().unwrap().remove("model"), Some(json!("models/t")), "{from:?}");
            }
            let mut said: Vec<&str> = inner.as_object().unwrap().keys().map(String::as_str).collect();
            said.sort_unstable();
            let wanted: Vec<&str> =
                keys(to).iter().filter(|key| **key != "toolConfig" || request.get(**key).is_some()).copied().collect();
            assert_eq!(said, wanted, "{from:?} to {to:?}");
            for key in said {
                assert_eq!(inner[key], request[key], "{from:?} to {to:?}: {key}");
            }
            for part in ["Be brief.", "weather", "And 北?", "AAAA", "Rome", "sun"] {
                assert!(count.to_string().contains(part), "{from:?} to {to:?}: {part} in {count}");
            }
            // Gemini has no marks, and wants calls signed that others' clients have no signature of.
            assert!(lost.is_empty() || to == G, "{from:?} to {to:?}: {lost}");
        }
    }
}

#[test]
fn what_bears_on_the_answer_alone_is_no_part_of_a_count_and_no_loss() {
    for from in COUNTING {
        for to in COUNTING.into_iter().filter(|to| *to != from) {
            let plain = counted((from, to), &as_count(from, conversation(from)));
            let more = counted((from, to), &as_count(from, with(conversation(from), beside(from))));
            let config = if to == G { more.0[WHOLE].get("generationConfig").cloned() } else { None };
            let mut same = more.0.clone();
            if let (Some(_), Some(whole)) = (&config, same.get_mut(WHOLE).and_then(Value::as_object_mut)) {
                whole.remove("generationConfig");
            }
            assert_eq!((same, more.1), plain, "{from:?} to {to:?}");
        }
    }
}

#[test]
fn thinking_and_the_form_of_an_answer_count() {
    let facts = Facts::default();
    let schema = json!({"type": "object", "properties": {}, "additionalProperties": false});
    let body = json!({"model": "m", "messages": [{"role": "user", "content": "q"}], "thinking": {"type": "adaptive"},
        "output_config": {"effort": "high", "format": {"type": "json_schema", "schema": schema}}});
    let (count, _) = sent(translate_count, (A, R), &body, &facts).unwrap();
    assert_eq!((&count["reasoning"]["effort"], &count["text"]["format"]["schema"]), (&json!("high"), &schema));
    let (count, _) = sent(translate_count, (A, G), &body, &facts).unwrap();
    let config = &count[WHOLE]["generationConfig"];
    assert!(config["thinkingConfig"].is_object() && config["responseJsonSchema"].is_object(), "{count}");
    let body = json!({"model": "m", "input": "q", "reasoning": {"effort": "high"}, "text": {"format":
        {"type": "json_schema", "name": "n", "schema": schema, "strict": true}}});
    let (count, _) = sent(translate_count, (R, A), &body, &facts).unwrap();
    assert_eq!((&count["thinking"]["type"], &count["output_config"]["effort"]), (&json!("adaptive"), &json!("high")));
    assert_eq!(count["output_config"]["format"]["schema"], schema);
    assert_eq!(count.get("max_tokens"), None);
}

/// Gemini's own clients say it in three ways; where a whole request stands there, what stands beside it is ignored.
#[test]
fn a_request_is_found_where_it_stands() {
    let text = |text: &str| json!([{"role": "user", "parts": [{"text": text}]}]);
    let one = json!({"model": "models/m", "systemInstruction": {"parts": [{"text": "s"}]}, "contents": text("inner")});
    let snake = json!({"generate_content_request": {"system_instruction": {"parts": [{"text": "s"}]}, "contents": text("inner")}});
    for (body, words, system) in [
        (json!({"contents": text("outer")}), "outer", false),
        (json!({"contents": text("outer"), "systemInstruction": {"parts": [{"text": "s"}]}}), "outer", true),
        (json!({"contents": text("outer"), "generateContentRequest": null}), "outer", false),
        (json!({"contents": text("outer"), "generateContentRequest": one}), "inner", true),
        (snake, "inner", true),
    ] {
        let (count, lost) = counted((G, A), &body);
        assert_eq!(count["messages"][0]["content"][0]["text"], words, "{body}");
        assert_eq!((count.get("system").is_some(), lost.as_str()), (system, ""), "{body}");
        let bytes = body.to_string().into_bytes();
        assert_eq!(wire(G).spec().request_in(Operation::Generate, &bytes), bytes);
        let read = String::from_utf8_lossy(wire(G).spec().request_in(Operation::Count, &bytes)).into_owned();
        assert!(read.contains(words), "{read}");
    }
}

#[test]
fn losses_are_told_by_the_place_in_the_clients_own_body() {
    let content = json!([{"role": "user", "parts": [{"text": "q"}, {"text": "r", "brandNew": 1}]}]);
    for (body, place) in [
        (json!({"contents": content}), "dropped:/contents/0/parts/1/brandNew"),
        (json!({WHOLE: {"contents": content}}), "dropped:/generateContentRequest/contents/0/parts/1/brandNew"),
    ] {
        for to in [A, R] {
            assert_eq!(counted((G, to), &body).1, place, "{to:?}");
        }
    }
    let refused = |way, body: Value| sent(translate_count, way, &body, &Facts::default()).unwrap_err();
    let server = json!({"type": "url", "url": "https://h", "name": "s"});
    let fault = refused((A, G), with(conversation(A), json!({"mcp_servers": [server]})));
    assert_eq!(fault.code.as_deref(), Some("unsupported_tool"));
    assert!(
        refused((R, A), json!({"model": "m", "previous_response_id": "r"})).message.contains("previous_response_id")
    );
    assert_eq!(refused((G, A), json!({WHOLE: {}})).param.as_deref(), Some("contents"));
    assert_eq!(refused((A, C), conversation(A)).code.as_deref(), Some("unsupported_operation"));
}

/// Vertex AI knows no whole request within a count, and fewer fields.
#[test]
fn a_server_with_flat_counts_is_given_fields() {
    let facts = Facts { flat_counts: true, ..Facts::default() };
    let forced = with(conversation(A), json!({"max_tokens": 9, "tool_choice": {"type": "any"}}));
    let (count, _) = sent(translate_count, (A, G), &forced, &facts).unwrap();
    let mut said: Vec<&String> = count.as_object().unwrap().keys().collect();
    said.sort_unstable();
    assert_eq!(said, ["contents", "generationConfig", "systemInstruction", "tools"]);
}

/// A conversation that another vendor began is counted without what that vendor sealed, as it would be sent without.
#[test]
fn state_of_other_makers_is_not_counted() {
    let envelope = |maker| {
        let state = Opaque { kind: OpaqueKind::EncryptedReasoning, maker, data: Text::from_plain("gAAA") };
        Seal::new([7; 32]).wrap(&state)
    };
    for (format, own) in [(A, false), (G, false), (R, false), (R, true)] {
        let sealed = envelope(if own { R } else { C });
        let sealed = if format == G { STANDARD.encode(sealed) } else { sealed };
        let body = match format {
            A => {
                json!({"model": "m", "mcp_servers": [], "messages": [{"role": "user", "content": "q"}, {"role": "assistant",
                "content": [{"type": "thinking", "thinking": "t", "signature": sealed}, {"type": "text", "text": "a"}]},
                {"role": "user", "content": "r"}]})
            }
            G => json!({"contents": [{"role": "user", "parts": [{"text": "q"}]}, {"role": "model",
                "parts": [{"text": "a", "thoughtSignature": sealed}]}, {"role": "user", "parts": [{"text": "r"}]}]}),
            _ => json!({"model": "m", "input": [{"role": "user", "content": "q"},
                {"type": "reasoning", "summary": [], "encrypted_content": sealed}, {"role": "user", "content": "r"}]}),
        };
        let (count, lost) = counted((format, format), &body);
        for envelope in ["tg1.", "dGcxL"] {
            assert!(!count.to_string().contains(envelope), "{format:?}: {count}");
        }
        assert_eq!(count.to_string().contains("gAAA"), own, "{format:?}: {count}");
        assert_eq!(lost.contains("dropped:"), !own, "{format:?}: {lost}");
        assert_eq!(count.get("max_tokens"), None);
        assert_eq!(count.get("mcp_servers").is_some(), format == A);
    }
}

#[test]
fn an_answer_is_one_number_in_every_format() {
    let answer = |format: Format| match format {
        A => r#"{"input_tokens":2095}"#,
        G => r#"{"totalTokens":2095}"#,
        _ => r#"{"object":"response.input_tokens","input_tokens":2095}"#,
    };
    let more = |format: Format| match format {
        A => r#"{ "input_tokens" : 2095, "context_management": {"original_input_tokens": 1} }"#,
        G => {
            "\u{feff}{\"promptTokensDetails\": [{\"modality\": \"TEXT\", \"tokenCount\": 1}], \"totalTokens\": 2095, \"cachedContentTokenCount\": 3}"
        }
        _ => r#"{"input_tokens": 2095, "object": "response.input_tokens", "x": null}"#,
    };
    for provider in COUNTING {
        for client in COUNTING.into_iter().filter(|client| *client != provider) {
            for body in [answer(provider), more(provider)] {
                let given = translate_counted(provider, client, body.as_bytes()).unwrap();
                assert_eq!(String::from_utf8_lossy(&given.body), answer(client), "{provider:?} to {client:?}");
                assert!(given.losses.is_empty() && given.outcome.complete && given.outcome.usage.is_none());
            }
        }
    }
}

#[test]
fn what_is_no_number_is_no_answer() {
    for (provider, body, code, words) in [
        (A, "{}", "upstream_malformed", "a number of tokens"),
        (A, "", "upstream_malformed", ""),
        (A, r#"{"input_tokens":-1}"#, "upstream_malformed", "/input_tokens"),
        (R, r#"{"input_tokens":"7"}"#, "upstream_malformed", "/input_tokens"),
        (G, r#"{"totalTokens":7}}"#, "upstream_malformed", ""),
        (G, r#"{"total_tokens":7}"#, "upstream_malformed", ""),
        (C, r#"{"input_tokens":7}"#, "upstream_malformed", ""),
        (
            R,
            r#"{"error":{"message":"no such key","type":"authentication_error","code":"x"}}"#,
            "upstream_credentials",
            "refused this server's credentials",
        ),
    ] {
        let client = if provider == A { G } else { A };
        let fault = translate_counted(provider, client, body.as_bytes()).unwrap_err();
        assert_eq!((fault.status, fault.code.as_deref()), (502, Some(code)), "{body}");
        assert!(fault.message.contains(words), "{}", fault.message);
    }
}
