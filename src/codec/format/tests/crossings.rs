//! What requests and answers are in another format than their own: rules that hold for every pair, or for one side of all.

use std::fmt::Display;
use std::sync::Arc;

use serde_json::{Value, json};

use super::request_losses_are_listed;
use crate::format::{Facts, FieldSet, Reply, RequestHead, Target, Undo, wire};
use crate::hub::{Fault, FaultKind, in_namespace};
use crate::seal::Seal;
use crate::{Format, Line, Transcoder, TranslatedRequest, translate_request, translate_response};

use Format::{AnthropicMessages as A, GeminiGenerate as G, OpenaiChat as C, OpenaiResponses as R};

const OTHERS: [Format; 3] = [C, R, G];

pub(super) fn translated(
    (from, to): (Format, Format),
    body: &impl Display,
    facts: &Facts,
    betas: Option<&str>,
) -> Result<TranslatedRequest, Fault<'static>> {
    let seal = Seal::new([7; 32]);
    let line = Line { model: Some("m".into()), stream: None };
    let head = RequestHead { api_version: None, betas, line, seal: &seal };
    let target = Target { model: "t", facts, api_version: None };
    let request = translate_request(from, to, body.to_string().as_bytes(), &head, &target)?;
    request_losses_are_listed(from, to, &request.outgoing.losses);
    Ok(request)
}

/// The body that is sent, and what it loses as `action:pointer` items.
pub(super) fn sent(
    way: (Format, Format),
    body: &impl Display,
    facts: &Facts,
) -> Result<(Value, String), Fault<'static>> {
    let request = translated(way, body, facts, None)?;
    Ok((serde_json::from_slice(&request.outgoing.body).unwrap(), request.outgoing.losses.header(4096)))
}

/// A request of Messages with `more` in it.
pub(super) fn messages(more: &Value) -> Value {
    let mut body = json!({"model": "m", "max_tokens": 100, "messages": [{"role": "user", "content": "q"}]});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

#[test]
fn a_thread_is_only_for_who_keeps_it() {
    let core = Facts { fields: FieldSet::Core, ..Facts::default() };
    let stripped = Facts { strip: Arc::new(["thread".to_owned()]), ..Facts::default() };
    for thread in [json!({"type": "create"}), json!({"type": "continue", "previous_message_id": "msg_1"})] {
        let body = messages(&json!({"thread": thread}));
        let refused =
            OTHERS.map(|to| (to, Facts::default())).into_iter().chain([(A, core.clone()), (A, stripped.clone())]);
        for (to, facts) in refused {
            let fault = sent((A, to), &body, &facts).unwrap_err();
            let (status, error) = wire(A).write_error(&fault, None);
            let error: Value = serde_json::from_slice(&error).unwrap();
            assert_eq!((status, &error["error"]["type"]), (400, &json!("invalid_request_error")), "{to:?}");
            let details = json!({"error_code": "thread_unsupported_request", "unsupported": ["model"]});
            assert_eq!(error["error"]["details"], details, "{to:?}");
            assert!(to != A || wire(A).must_be_rewritten(body.to_string().as_bytes(), &facts));
        }
        let (kept, lost) = sent((A, A), &body, &Facts::default()).unwrap();
        assert_eq!((&kept["thread"], lost.as_str()), (&thread, ""));
        assert!(!wire(A).must_be_rewritten(body.to_string().as_bytes(), &Facts::default()));
    }
    for to in OTHERS {
        let (_, lost) = sent((A, to), &messages(&json!({"thread": null})), &Facts::default()).unwrap();
        assert_eq!(lost, "", "{to:?}");
    }
}

#[test]
fn a_conversation_of_nothing_is_refused_for_a_provider_of_another_format() {
    for (from, key, more) in [
        (A, "messages", json!({"max_tokens": 9, "system": "s"})),
        (C, "messages", json!({})),
        (R, "input", json!({"instructions": "s"})),
        (G, "contents", json!({"systemInstruction": {"parts": [{"text": "s"}]}})),
    ] {
        let mut body = json!({"model": "m", key: []});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        for to in Format::ALL.into_iter().filter(|to| *to != from) {
            let fault = sent((from, to), &body, &Facts::default()).unwrap_err();
            assert_eq!((fault.status, fault.param.as_deref()), (400, Some(key)), "{from:?} {to:?}");
            assert!(fault.message.starts_with(key) && fault.message.contains("at least one"), "{}", fault.message);
        }
        if from != G {
            assert!(sent((from, from), &body, &Facts::default()).is_ok(), "{from:?}");
        }
    }
    // Instructions in the conversation's own place are words to go by; what another provider keeps is told as that.
    let system = json!([{"role": "system", "content": "s"}]);
    for to in [A, R, G] {
        assert!(sent((C, to), &json!({"model": "m", "messages": system}), &Facts::default()).is_ok(), "{to:?}");
    }
    let kept = json!({"model": "m", "input": [], "previous_response_id": "resp_1"});
    let fault = sent((R, C), &kept, &Facts::default()).unwrap_err();
    assert_eq!(fault.param.as_deref(), Some("previous_response_id"));
    assert!(sent((R, C), &json!({"model": "m", "input": system}), &Facts::default()).is_ok());
}

fn chat_facts(custom_tools: bool) -> Facts {
    Facts { custom_tools, ..Facts::default() }
}

/// Tools of free text: one of a namespace, one with a long name.
fn free_tools() -> Value {
    json!([
        {"type": "namespace", "name": "functions", "description": "", "tools": [{"type": "custom", "name": "exec"}]},
        {"type": "custom", "name": "x".repeat(130)},
    ])
}

/// Every stand-in is one that `to` takes, and is sent in place of the name wherever that is said.
fn check_stand_ins(to: Format, wraps: bool, request: &TranslatedRequest) {
    let sent = std::str::from_utf8(&request.outgoing.body).unwrap();
    let names = &request.outgoing.undo.renamed_tools;
    assert_eq!(names.len(), 2, "{to:?}: {names:?}");
    let longest = if to == G { 128 } else { 64 };
    for (stand_in, own) in names {
        let plain = stand_in.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b));
        assert!(stand_in.len() <= longest && plain, "{to:?}: {stand_in}");
        assert!([in_namespace("functions", "exec"), "x".repeat(130)].contains(own), "{own}");
        assert!(sent.contains(&format!("\"{stand_in}\"")), "{to:?}: {sent}");
        assert_eq!(request.outgoing.undo.wrapped_tools.contains(stand_in), wraps, "{to:?}");
    }
    for raw in ["\\u001f", "\u{1f}", "exec\"", &format!("\"{}\"", "x".repeat(130))] {
        assert!(!sent.contains(raw), "{to:?}: {raw:?} in {sent}");
    }
}

#[test]
fn a_custom_tool_goes_by_a_name_that_the_provider_takes() {
    let choice = |of: Value| json!({"type": "allowed_tools", "mode": "required", "tools": of});
    let one = json!({"type": "custom", "namespace": "functions", "name": "exec"});
    for (to, custom) in [(C, true), (C, false), (A, true), (G, true)] {
        for choice in [one.clone(), choice(json!([one, {"type": "custom", "name": "x".repeat(130)}]))] {
            let body = json!({"model": "m", "tools": free_tools(), "tool_choice": choice, "input": [
                {"role": "user", "content": "q"},
                {"type": "custom_tool_call", "call_id": "c1", "namespace": "functions", "name": "exec", "input": "ls"},
                {"type": "custom_tool_call_output", "call_id": "c1", "output": "a"}]});
            let request = translated((R, to), &body, &chat_facts(custom), None).unwrap();
            check_stand_ins(to, to != C || !custom, &request);
            let sent: Value = serde_json::from_slice(&request.outgoing.body).unwrap();
            if to != C {
                continue;
            }
            let kind = if custom { "custom" } else { "function" };
            assert_eq!((&sent["tools"][0]["type"], &sent["tools"][1]["type"]), (&json!(kind), &json!(kind)));
            let chosen = &sent["tool_choice"];
            let chosen = if chosen["type"] == "allowed_tools" { &chosen["allowed_tools"]["tools"][0] } else { chosen };
            assert_eq!(chosen[kind]["name"], sent["tools"][0][kind]["name"], "{sent}");
        }
    }
}

#[test]
fn a_namespace_comes_back_with_a_tool_that_is_wrapped_in_it() {
    let one = json!({"type": "custom", "namespace": "functions", "name": "exec"});
    let body = json!({"model": "m", "tools": [free_tools()[0]], "tool_choice": one, "input": "q"});
    let own = translated((R, R), &body, &chat_facts(false), None).unwrap();
    let sent: Value = serde_json::from_slice(&own.outgoing.body).unwrap();
    assert_eq!(
        (&sent["tools"][0]["tools"][0]["name"], &sent["tool_choice"]["type"]),
        (&json!("exec"), &json!("function"))
    );
    assert_eq!(own.outgoing.undo.wrapped_tools, [in_namespace("functions", "exec")], "as the answer calls it");
}

/// The blocks of a message that comes of a Gemini answer with these parts, whole and as a stream of a part each, and
/// the classes of what was lost.
fn message_of(parts: &[Value]) -> [(Vec<Value>, Vec<String>); 2] {
    let end = json!({"parts": [], "role": "model"});
    let piece = |content: Value| json!({"candidates": [{"content": content, "index": 0}], "responseId": "r"});
    let mut whole = piece(json!({"parts": parts, "role": "model"}));
    whole["candidates"][0]["finishReason"] = json!("STOP");
    let whole = translate_response(G, A, whole.to_string().as_bytes(), &reply(), &Undo::default()).unwrap();
    let message: Value = serde_json::from_slice(&whole.body).unwrap();
    let lost = whole.losses.iter().map(|loss| loss.field.label().to_owned()).collect();
    let mut last = piece(end);
    last["candidates"][0]["finishReason"] = json!("STOP");
    let pieces = parts.iter().map(|part| piece(json!({"parts": [part], "role": "model"}))).chain([last]);
    let text: Vec<String> = pieces.map(|piece| format!("data: {piece}\n\n")).collect();
    let mut transcoder = Transcoder::new(G, A, Arc::new(reply()), Undo::default());
    let mut out = Vec::new();
    transcoder.chunk(text.concat().as_bytes(), &mut out);
    transcoder.finish(&mut out);
    let blocks = blocks_of(out);
    let dropped = transcoder.outcome().dropped.iter().map(|field| field.label().to_owned()).collect();
    [(message["content"].as_array().unwrap().clone(), lost), (blocks, dropped)]
}

/// The blocks of a stream of Messages.
pub(crate) fn blocks_of(stream: Vec<u8>) -> Vec<Value> {
    let mut blocks: Vec<Value> = Vec::new();
    for line in String::from_utf8(stream).unwrap().lines().filter_map(|line| line.strip_prefix("data: ")) {
        let event: Value = serde_json::from_str(line).unwrap();
        match event["type"].as_str().unwrap() {
            "content_block_start" => blocks.push(event["content_block"].clone()),
            "content_block_delta" => {
                let (block, delta) = (blocks.last_mut().unwrap(), &event["delta"]);
                for key in ["text", "thinking", "signature"] {
                    if let Some(more) = delta[key].as_str() {
                        block[key] = json!([block[key].as_str().unwrap(), more].concat());
                    }
                }
            }
            _ => {}
        }
    }
    blocks
}

pub(super) fn reply() -> Reply {
    Reply {
        model: "m".to_owned(),
        include_usage: false,
        reasoning: crate::format::ReasoningWish::Shown,
        framing: crate::Framing::default(),
        seal: Arc::new(Seal::new([7; 32])),
        created: 0,
        seed: String::new(),
        settings: crate::Settings::default(),
    }
}

#[test]
fn a_message_ends_with_its_words() {
    let (thought, words) = (json!({"thought": true, "text": "t"}), json!({"text": "hello"}));
    let signed = json!({"text": "", "thoughtSignature": "Uw=="});
    let state = json!({"thought": true, "text": "", "thoughtSignature": "VA=="});
    let call = json!({"functionCall": {"name": "f", "args": {}}});
    for (parts, kinds, lost) in [
        (vec![&thought, &words, &signed], "thinking text", true),
        (vec![&words, &signed], "text", true),
        (vec![&words, &state], "text", true),
        (vec![&words, &signed, &state], "text", true),
        (vec![&words, &signed, &call], "text redacted_thinking tool_use", false),
        (vec![&words, &state, &call], "text thinking tool_use", false),
        (vec![&words, &state, &thought], "text thinking", false),
        (vec![&words, &call, &signed], "text tool_use redacted_thinking", false),
        (vec![&signed], "redacted_thinking", false),
        (vec![&state, &words], "thinking text", false),
    ] {
        let parts: Vec<Value> = parts.into_iter().cloned().collect();
        for (blocks, told) in message_of(&parts) {
            let said: Vec<_> = blocks.iter().map(|block| block["type"].as_str().unwrap()).collect();
            assert_eq!(said.join(" "), kinds, "{parts:?}");
            assert_eq!(told.contains(&"opaque_state".to_owned()), lost, "{parts:?}: {told:?}");
            let text: Vec<_> = blocks.iter().filter(|block| block["type"] == "text").collect();
            assert!(text.iter().all(|block| block["text"] == "hello"), "{text:?}");
        }
    }
}

#[test]
fn limits_are_no_smaller_than_the_provider_takes() {
    for (to, asked, said, pointer) in [
        (C, 0, 1, "/max_completion_tokens"),
        (G, 0, 1, "/generationConfig/maxOutputTokens"),
        (R, 0, 16, "/max_output_tokens"),
        (R, 1, 16, "/max_output_tokens"),
        (R, 15, 16, "/max_output_tokens"),
        (R, 16, 16, "/max_output_tokens"),
        (C, 1, 1, "/max_completion_tokens"),
        (G, 1, 1, "/generationConfig/maxOutputTokens"),
    ] {
        let (sent, lost) = sent((A, to), &messages(&json!({"max_tokens": asked})), &Facts::default()).unwrap();
        assert_eq!(sent.pointer(pointer), Some(&json!(said)), "{to:?} {asked}");
        assert_eq!(lost, if asked == said { "" } else { "converted:/max_tokens" }, "{to:?} {asked}");
    }
    let (own, lost) =
        sent((R, R), &json!({"model": "m", "input": "q", "max_output_tokens": 3}), &Facts::default()).unwrap();
    assert_eq!((&own["max_output_tokens"], lost.as_str()), (&json!(3), ""));
}

#[test]
fn a_beta_that_is_gone_is_named_by_its_header() {
    for to in OTHERS {
        let request = translated((A, to), &messages(&json!({})), &Facts::default(), Some("a-2025-01-01, b-2025-01-01"));
        let lost = request.unwrap().outgoing.losses;
        assert_eq!(lost.header(4096), "dropped:anthropic-beta, dropped:anthropic-beta", "{to:?}");
        assert!(lost.iter().any(|loss| loss.reason.contains("b-2025-01-01")), "{to:?}");
    }
}

#[test]
fn free_text_is_no_format() {
    for format in [json!({"type": "text"}), json!({"type": "grammar", "syntax": "regex", "definition": "[a-z]+"})] {
        let told = format["type"] == "grammar";
        let body = json!({"model": "m", "input": "q", "tools": [{"type": "custom", "name": "f", "description": "does", "format": format}]});
        for to in [A, C, G] {
            let (sent, _) = sent((R, to), &body, &chat_facts(false)).unwrap();
            assert_eq!(sent["tools"].to_string().contains("must follow this format"), told, "{to:?}: {sent}");
            assert_eq!(sent["tools"].to_string().contains("does\\n\\nThe "), told, "{to:?}: {sent}");
        }
        let custom = json!({"name": "f", "format": body["tools"][0]["format"]});
        let tools = json!([{"type": "custom", "custom": custom}]);
        let chat = json!({"model": "m", "messages": [{"role": "user", "content": "q"}], "tools": tools});
        let (sent, _) = sent((C, R), &chat, &chat_facts(false)).unwrap();
        assert_eq!(sent["tools"].to_string().contains("must follow this format"), told, "{sent}");
    }
}

#[test]
fn a_format_alone_is_the_whole_description() {
    let format = json!({"type": "grammar", "syntax": "regex", "definition": "[a-z]+"});
    let body = json!({"model": "m", "input": "q", "tools": [{"type": "custom", "name": "f", "format": format}]});
    for to in [A, C, G] {
        let (sent, _) = sent((R, to), &body, &chat_facts(false)).unwrap();
        assert!(sent["tools"].to_string().contains(r#""description":"The "#), "{to:?}: {sent}");
    }
}

#[test]
fn a_stop_text_that_is_empty_does_not_reach_chat() {
    for (stops, expected, lost) in [
        (json!(["a", "", "b"]), json!(["a", "b"]), true),
        (json!([""]), Value::Null, true),
        (json!(["a"]), json!(["a"]), false),
    ] {
        let body = json!({"contents": [{"role": "user", "parts": [{"text": "q"}]}],
            "generationConfig": {"stopSequences": stops}});
        let (sent, losses) = sent((G, C), &body, &chat_facts(false)).unwrap();
        let told = format!("{losses:?}").to_lowercase().contains("stop");
        assert_eq!((&sent["stop"], told), (&expected, lost), "{stops} {losses:?}");
    }
}

#[test]
fn a_whole_number_is_written_as_one() {
    for (asked, said) in [("5.0", "5"), ("5", "5"), ("4e1", "40"), ("0.0", "0"), ("5.5", "5.5"), ("-3.00", "-3")] {
        let config = format!("{{\"topK\":{asked},\"seed\":{asked}}}");
        let body =
            format!(r#"{{"contents":[{{"role":"user","parts":[{{"text":"q"}}]}}],"generationConfig":{config}}}"#);
        let facts = Facts { compatible_extensions: true, ..Facts::default() };
        for (to, keys) in [(A, &["top_k"][..]), (C, &["top_k", "seed"])] {
            let seal = Seal::new([7; 32]);
            let line = Line { model: Some("m".into()), stream: None };
            let head = RequestHead { api_version: None, betas: None, line, seal: &seal };
            let target = Target { model: "t", facts: &facts, api_version: None };
            let request = translate_request(G, to, body.as_bytes(), &head, &target).unwrap();
            let sent = String::from_utf8(request.outgoing.body).unwrap();
            for key in keys {
                assert!(
                    sent.contains(&format!("\"{key}\":{said},")) || sent.contains(&format!("\"{key}\":{said}}}")),
                    "{to:?} {asked}: {sent}"
                );
            }
        }
    }
}

#[test]
fn a_prompt_that_is_too_long_is_told_in_the_words_that_clients_look_for() {
    for (kind, status, words) in [
        (FaultKind::InvalidRequest, 400, "This model's maximum context length is 8192 tokens. You asked for 9000."),
        (
            FaultKind::InvalidRequest,
            400,
            "The input token count (1100000) exceeds the maximum number of tokens allowed (1048576).",
        ),
        (FaultKind::TooLarge, 413, "prompt is too long: 210000 tokens > 200000 maximum"),
        (FaultKind::InvalidRequest, 400, "Your input exceeds the context window of this model."),
    ] {
        let mut fault = Fault::new(kind, words);
        fault.status = status;
        let told = |format: Format| {
            let (status, body) = wire(format).write_error(&fault, None);
            let body: Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(status, 400, "{format:?}");
            let message = body["error"]["message"].as_str().unwrap().to_owned();
            assert!(message.ends_with(words), "{message}");
            (body["error"].clone(), message)
        };
        let (error, message) = told(A);
        assert_eq!(error["type"], "invalid_request_error");
        assert!(message.starts_with("prompt is too long: "), "{message}");
        assert_eq!(message.matches("prompt is too long").count(), 1, "{message}");
        for format in [C, R] {
            let (error, message) = told(format);
            assert_eq!(
                (&error["type"], &error["code"]),
                (&json!("invalid_request_error"), &json!("context_length_exceeded"))
            );
            // OpenAI's own words are what libraries look for, wherever they stand.
            assert_eq!(message.matches("This model's maximum context length is").count(), 1, "{message}");
            assert_eq!(message == words, words.starts_with("This model's"), "{message}");
        }
        let (error, message) = told(G);
        assert_eq!((&error["code"], &error["status"]), (&json!(400), &json!("INVALID_ARGUMENT")));
        assert!(message.to_lowercase().contains("token count") && message.contains("exceeds"), "{message}");
    }
}

#[test]
fn an_account_that_cannot_pay_is_told_as_each_vendor_tells_it() {
    let anthropic = |kind: &str, words: &str| json!({"type": "error", "error": {"type": kind, "message": words}});
    let openai =
        |code: &str| json!({"error": {"message": "You exceeded your current quota.", "type": code, "code": code}});
    let google = |per: &str| {
        json!({"error": {"code": 429, "message": "You exceeded your current quota.", "status": "RESOURCE_EXHAUSTED", "details": [
            {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{"quotaId": format!("GenerateRequestsPer{per}PerProjectPerModel")}]},
            {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "31s"}]}})
    };
    let credit = "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing.";
    let limits = "You have reached your specified API usage limits. You will regain access on 2026-12-01 at 00:00 UTC.";
    let (bad, billing) = ("invalid_request_error", FaultKind::Billing);
    for (from, status, body, kind) in [
        (A, 400, anthropic(bad, credit), billing),
        (A, 400, anthropic(bad, limits), billing),
        (A, 402, anthropic("billing_error", "m"), billing),
        (C, 429, openai("insufficient_quota"), billing),
        (C, 429, openai("exceeded_current_quota_error"), billing),
        (R, 429, openai("insufficient_quota"), billing),
        (G, 429, google("Day"), billing),
        (G, 429, google("Minute"), FaultKind::RateLimit),
        (A, 400, anthropic(bad, "max_tokens: too low"), FaultKind::InvalidRequest),
        (C, 429, openai("rate_limit_exceeded"), FaultKind::RateLimit),
    ] {
        let text = body.to_string();
        let fault = wire(from).read_error(status, text.as_bytes());
        // What falls back is decided by what the provider said.
        assert_eq!((fault.kind, fault.status), (kind, status), "{body}");
        assert_eq!(fault.retry_after_s, (from == G).then_some(31), "{body}");
        for to in Format::ALL.into_iter().filter(|_| kind == billing) {
            let (status, told) = wire(to).write_error(&fault, None);
            let back = wire(to).read_error(status, &told);
            let told: Value = serde_json::from_slice(&told).unwrap();
            let error = &told["error"];
            assert_eq!(error["message"], *fault.message);
            let said = match to {
                A => (402, error["type"].clone(), "billing_error"),
                G => (429, error["status"].clone(), "RESOURCE_EXHAUSTED"),
                C | R => (429, error["code"].clone(), "insufficient_quota"),
            };
            assert_eq!((status, &said.1), (said.0, &json!(said.2)), "{to:?} {told}");
            assert_eq!(told.to_string().contains("PerDay"), to == G, "{told}");
            assert_eq!(back.kind, billing, "{to:?} {told}");
        }
    }
}

#[test]
fn what_only_its_own_provider_can_do_is_refused_by_name() {
    let input = |items: Value| json!({"model": "m", "input": items});
    let chat =
        |more: (&str, Value)| json!({"model": "m", "messages": [{"role": "user", "content": "q"}], more.0: more.1});
    let mcp = json!([{"type": "url", "url": "https://h", "name": "n"}]);
    let compaction = json!([{"role": "user", "content": "q"}, {"type": "compaction", "encrypted_content": "gAAA"}]);
    for (from, body, code, name) in [
        (R, input(compaction), "unsupported_parameter", "compaction"),
        (
            R,
            input(json!([{"role": "user", "content": "q"}, {"type": "compaction_trigger"}])),
            "unsupported_parameter",
            "compaction_trigger",
        ),
        (A, messages(&json!({"mcp_servers": mcp})), "unsupported_tool", "mcp_servers"),
        (A, messages(&json!({"container": "container_1"})), "unsupported_parameter", "container"),
        (A, messages(&json!({"container": {"id": "c"}})), "unsupported_parameter", "container"),
        (
            A,
            messages(&json!({"container": {"skills": [{"type": "anthropic", "skill_id": "xlsx"}]}})),
            "unsupported_parameter",
            "container",
        ),
        (C, chat(("web_search_options", json!({}))), "unsupported_tool", "web_search_options"),
        (C, chat(("enable_search", json!(true))), "unsupported_tool", "enable_search"),
    ] {
        for to in Format::ALL.into_iter().filter(|to| *to != from) {
            let fault = sent((from, to), &body, &Facts::default()).unwrap_err();
            assert_eq!((fault.status, fault.code.as_deref()), (400, Some(code)), "{from:?} {to:?} {name}");
            assert!(fault.message.contains(&format!("`{name}`")), "{}", fault.message);
        }
        let (own, lost) = sent((from, from), &body, &Facts::default()).unwrap();
        assert_eq!(lost, "", "{name}");
        assert!(own.to_string().contains(name), "{own}");
    }
    for body in [
        json!({"mcp_servers": []}),
        json!({"mcp_servers": null}),
        json!({"container": null}),
        json!({"container": {"id": null, "skills": []}}),
    ] {
        for to in OTHERS {
            assert!(sent((A, to), &messages(&body), &Facts::default()).is_ok(), "{to:?}");
        }
    }
    for to in [A, R, G] {
        for off in [
            ("web_search_options", Value::Null),
            ("enable_search", json!(false)),
            ("search_parameters", json!({"mode": "off"})),
        ] {
            assert!(sent((C, to), &chat(off.clone()), &Facts::default()).is_ok(), "{to:?} {off:?}");
        }
    }
}

#[test]
fn a_tool_that_others_cannot_run_is_left_out_beside_the_clients_own() {
    let schema = json!({"type": "object", "properties": {}});
    let gemini = |tools: Value| json!({"contents": [{"role": "user", "parts": [{"text": "q"}]}], "tools": tools});
    let search = json!({"type": "web_search_20250305", "name": "web_search"});
    let own = json!({"name": "f", "input_schema": schema});
    for (from, body) in [
        (A, messages(&json!({"tools": [search, own], "tool_choice": {"type": "any"}}))),
        (A, messages(&json!({"tools": [search, own], "tool_choice": {"type": "tool", "name": "f"}}))),
        (
            R,
            json!({"model": "m", "input": "q", "tool_choice": "auto", "tools": [
                {"type": "function", "name": "f", "parameters": schema, "strict": false},
                {"type": "web_search", "external_web_access": true}]}),
        ),
        (G, gemini(json!([{"functionDeclarations": [{"name": "f"}]}, {"googleSearch": {}}]))),
        (G, gemini(json!([{"functionDeclarations": [{"name": "f"}], "codeExecution": {}}]))),
    ] {
        for to in Format::ALL.into_iter().filter(|to| *to != from) {
            let (written, lost) = sent((from, to), &body, &Facts::default()).unwrap();
            assert!(lost.contains("dropped:/tools"), "{from:?} {to:?}: {lost}");
            let tools = written["tools"].to_string();
            assert!(tools.contains(r#""name":"f""#) && !tools.contains("earch"), "{from:?} {to:?}: {tools}");
        }
    }
    let hosted = json!({"type": "web_search"});
    for choice in [hosted.clone(), json!({"type": "allowed_tools", "mode": "auto", "tools": [hosted]})] {
        let function = json!({"type": "function", "name": "f", "parameters": schema, "strict": false});
        let body = json!({"model": "m", "input": "q", "tool_choice": choice, "tools": [function, hosted]});
        for to in [A, C, G] {
            let fault = sent((R, to), &body, &Facts::default()).unwrap_err();
            assert_eq!((fault.status, fault.code.as_deref()), (400, Some("unsupported_tool")), "{to:?} {choice}");
        }
    }
    for tools in [
        json!({"tools": [search, own], "tool_choice": {"type": "tool", "name": "web_search"}}),
        json!({"tools": [{"type": "bash_20250124", "name": "bash"}, own]}),
    ] {
        for to in OTHERS {
            let fault = sent((A, to), &messages(&tools), &Facts::default()).unwrap_err();
            assert_eq!((fault.status, fault.code.as_deref()), (400, Some("unsupported_tool")), "{to:?} {tools}");
        }
    }
}

#[test]
fn a_tool_whose_schema_its_vendor_keeps_is_refused_as_such() {
    let tool = |from: Format, tool: Value| match from {
        A => messages(&json!({"tools": [tool]})),
        R => json!({"model": "m", "input": "q", "tools": [tool]}),
        _ => json!({"contents": [{"role": "user", "parts": [{"text": "q"}]}], "tools": [tool]}),
    };
    for (from, kind, by_client) in [
        (A, json!({"type": "bash_20250124", "name": "bash"}), true),
        (A, json!({"type": "text_editor_20250728", "name": "str_replace_based_edit_tool"}), true),
        (A, json!({"type": "memory_20250818", "name": "memory"}), true),
        (
            A,
            json!({"type": "computer_20250124", "name": "computer", "display_width_px": 1, "display_height_px": 1}),
            true,
        ),
        (A, json!({"type": "web_search_20250305", "name": "web_search"}), false),
        (R, json!({"type": "local_shell"}), true),
        (R, json!({"type": "apply_patch"}), true),
        (R, json!({"type": "computer_use_preview", "display_width": 1}), true),
        (R, json!({"type": "web_search"}), false),
        (R, json!({"type": "code_interpreter", "container": {"type": "auto"}}), false),
        (G, json!({"computerUse": {"environment": "ENVIRONMENT_BROWSER"}}), true),
        (G, json!({"googleSearch": {}}), false),
    ] {
        for to in Format::ALL.into_iter().filter(|to| *to != from) {
            let fault = sent((from, to), &tool(from, kind.clone()), &Facts::default()).unwrap_err();
            assert_eq!((fault.status, fault.code.as_deref()), (400, Some("unsupported_tool")), "{kind} {to:?}");
            assert_eq!(fault.message.contains("run by"), !by_client, "{kind} {to:?}: {}", fault.message);
            assert_eq!(
                fault.message.contains("declare it as a function"),
                by_client,
                "{kind} {to:?}: {}",
                fault.message
            );
        }
    }
}

#[test]
fn tools_that_the_client_searches_are_offered_from_the_start() {
    let tool = |name: &str| json!({"type": "function", "name": name, "parameters": {"type": "object", "properties": {"a": {"type": "string"}}}, "defer_loading": true});
    let search = json!({"type": "tool_search", "execution": "client", "description": "finds", "parameters": {"type": "object", "properties": {"query": {"type": "string"}}}});
    let body = json!({"model": "m", "tools": [tool("f"), search.clone()], "input": [
        {"role": "user", "content": "q"},
        {"type": "tool_search_call", "call_id": "s1", "execution": "client", "arguments": {"query": "x"}, "status": "completed"},
        {"type": "tool_search_output", "call_id": "s1", "execution": "client", "status": "completed", "tools": [
            tool("f"), {"type": "namespace", "name": "ns", "description": "", "tools": [tool("g")]}]},
        {"role": "user", "content": "r"}]});
    for to in [A, C, G] {
        let (sent, lost) = sent((R, to), &body, &Facts::default()).unwrap();
        let text = sent["tools"].to_string();
        assert_eq!((text.matches("\"f\"").count(), text.matches("\"ns_g").count()), (1, 1), "{to:?}: {text}");
        assert!(lost.contains("/tools/1") && lost.contains("/input/1") && lost.contains("/input/2"), "{to:?}: {lost}");
    }
    let (own, _) = sent((R, R), &body, &Facts::default()).unwrap();
    assert_eq!((own["tools"].as_array().unwrap().len(), &own["tools"][1]), (2, &search), "{own}");
    assert_eq!(own["input"][2], body["input"][2]);
}

/// What a Gemini client is given of a message with these blocks: its parts, whole and as a stream.
pub(super) fn parts_of(blocks: &Value) -> [Vec<Value>; 2] {
    let message = json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "c", "content": blocks,
        "stop_reason": "tool_use", "usage": {"input_tokens": 1, "output_tokens": 1}});
    let whole = translate_response(A, G, message.to_string().as_bytes(), &reply(), &Undo::default()).unwrap();
    let whole: Value = serde_json::from_slice(&whole.body).unwrap();
    let mut transcoder = Transcoder::new(A, G, Arc::new(reply()), Undo::default());
    let mut out = Vec::new();
    transcoder.whole(message.to_string().as_bytes(), &mut out);
    let pieces = String::from_utf8(out).unwrap();
    let pieces = pieces.lines().filter_map(|line| line.strip_prefix("data: "));
    let pieces = pieces.map(|piece| serde_json::from_str::<Value>(piece).unwrap());
    let streamed = pieces.flat_map(|piece| piece["candidates"][0]["content"]["parts"].as_array().unwrap().clone());
    [whole["candidates"][0]["content"]["parts"].as_array().unwrap().clone(), streamed.collect()]
}

#[test]
fn reasoning_comes_back_by_clients_that_keep_calls_alone() {
    let thinking = |words: &str, state: &str| json!({"type": "thinking", "thinking": words, "signature": state});
    let redacted = json!({"type": "redacted_thinking", "data": "UkVE"});
    let text = json!({"type": "text", "text": "so"});
    let call = |id: &str| json!({"type": "tool_use", "id": id, "name": "f", "input": {}});
    let result = |id: &str| json!({"functionResponse": {"id": id, "name": "f", "response": {"output": "1"}}});
    for (blocks, states, full) in [
        (vec![thinking("w", "U0lH"), call("a")], "U0lH", "w:U0lH"),
        (vec![thinking("", "U0lH"), call("a")], "U0lH", ":U0lH"),
        (vec![thinking("w", "U0lH"), text.clone(), call("a"), call("b")], "U0lH", "w:U0lH"),
        (vec![thinking("w", "U0lH"), redacted.clone(), call("a")], "U0lH UkVE", "w:U0lH UkVE"),
        (vec![redacted.clone(), text.clone(), call("a")], "UkVE", "UkVE"),
        (vec![thinking("w", "U0lH"), thinking("v", "VFdP"), text.clone(), call("a")], "U0lH VFdP", "w:U0lH v:VFdP"),
        (vec![thinking("w", "U0lH"), text.clone(), thinking("v", "VFdP"), call("a")], "U0lH VFdP", "w:U0lH v:VFdP"),
        (vec![thinking("w", "U0lH"), call("a"), thinking("v", "VFdP"), call("b")], "U0lH VFdP", "w:U0lH v:VFdP"),
    ] {
        let calls: Vec<&str> = blocks.iter().filter_map(|block| block["id"].as_str()).collect();
        for parts in parts_of(&json!(blocks)) {
            for kept in [false, true] {
                let kept: Vec<&Value> = parts.iter().filter(|part| kept || part["thought"] != true).collect();
                let all = kept.len() == parts.len();
                let results: Vec<Value> = calls.iter().map(|id| result(id)).collect();
                let history = json!({"contents": [{"role": "user", "parts": [{"text": "q"}]},
                    {"role": "model", "parts": kept}, {"role": "user", "parts": results}]});
                let (sent, _) = sent((G, A), &history, &Facts::default()).unwrap();
                let mut back: Vec<String> = Vec::new();
                for block in sent["messages"][1]["content"].as_array().unwrap() {
                    match block["type"].as_str().unwrap() {
                        "thinking" if all => back.push(format!(
                            "{}:{}",
                            block["thinking"].as_str().unwrap(),
                            block["signature"].as_str().unwrap()
                        )),
                        "thinking" => back.push(block["signature"].as_str().unwrap().to_owned()),
                        "redacted_thinking" => back.push(block["data"].as_str().unwrap().to_owned()),
                        _ => {}
                    }
                }
                assert_eq!(back.join(" "), if all { full } else { states }, "{all} {parts:?}\n{sent}");
            }
        }
    }
}
