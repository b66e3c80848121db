//! Whole answers of this format for clients of the other, and the other way.

use serde_json::{Value, json};

use super::{CHAT, MESSAGES, accumulated, answer, as_it_is, chunks, read, send, stream};
use crate::Format;
use crate::hub::{BlockKind, FaultKind, Stop};

fn completion(message: Value, finish: &str) -> Value {
    json!({"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "up",
        "choices": [{"index": 0, "message": message, "finish_reason": finish}]})
}

fn message(content: Value, stop: &str) -> Value {
    json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "up", "content": content,
        "stop_reason": stop, "stop_sequence": null, "usage": {"input_tokens": 10, "output_tokens": 5}})
}

#[test]
fn what_is_said_aloud_is_read_in_words() {
    let audio = json!({"id": "audio_1", "data": "UklGRg==", "transcript": "spoken \"words\"", "expires_at": 9});
    let body = completion(json!({"role": "assistant", "content": null, "audio": audio}), "stop");
    let (message, losses) = answer(CHAT, MESSAGES, &body).unwrap();
    assert_eq!(message["content"], json!([{"type": "text", "text": "spoken \"words\""}]));
    assert_eq!(losses, ["dropped:audio"]);
    // A client of this format gets the sound as it was, and the words once.
    let (own, losses) = answer(CHAT, CHAT, &body).unwrap();
    assert_eq!(own["choices"][0]["message"]["audio"], audio);
    assert_eq!(own["choices"][0]["message"]["content"], Value::Null);
    assert_eq!(losses, Vec::<String>::new());
    let silent =
        completion(json!({"role": "assistant", "content": "t", "audio": {"id": "a", "data": "UklGRg=="}}), "stop");
    let (message, losses) = answer(CHAT, MESSAGES, &silent).unwrap();
    assert_eq!((&message["content"][0]["text"], losses.len()), (&json!("t"), 1));
}

const SIGNATURE: &str = "EiYKJGUyNDgzMGE3LTVjZDYtNDJmZS05OThiLWVlNTM5ZTcyYjljMw==";

fn signed_call() -> Value {
    json!({"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{\"a\":1}"},
        "extra_content": {"google": {"thought_signature": SIGNATURE}}})
}

#[test]
fn trap_d1_a_calls_signature_survives_a_client_of_another_format() {
    let second = json!({"id": "c2", "type": "function", "function": {"name": "g", "arguments": "{}"}});
    let calls = json!([signed_call(), second]);
    let body = completion(json!({"role": "assistant", "content": "t", "tool_calls": calls}), "tool_calls");
    let (message, losses) = answer(CHAT, MESSAGES, &body).unwrap();
    assert_eq!(losses, Vec::<String>::new());
    let kinds: Vec<&str> =
        message["content"].as_array().unwrap().iter().map(|block| block["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["text", "thinking", "tool_use", "tool_use"]);
    let next = json!({"model": "m", "max_tokens": 9, "messages": [
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": message["content"]},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "c1", "content": "1"},
            {"type": "tool_result", "tool_use_id": "c2", "content": "2"},
        ]},
    ]});
    let sent = send(MESSAGES, CHAT, &next, |facts| facts.compatible_extensions = true).unwrap();
    let assistant = &sent.body["messages"][1];
    assert_eq!(assistant["tool_calls"], calls);
    assert_eq!((assistant.get("reasoning_details"), assistant.get("reasoning_content")), (None, None));
    assert_eq!(sent.losses, Vec::<String>::new());
    // A server without the extension would refuse it.
    let sent = send(MESSAGES, CHAT, &next, as_it_is).unwrap();
    assert_eq!(sent.body["messages"][1]["tool_calls"][0].get("extra_content"), None);
    assert_eq!(sent.losses, ["dropped:opaque_state"]);
}

#[test]
fn trap_d1_a_signature_of_gemini_comes_back_with_its_call() {
    const GEMINI: Format = Format::GeminiGenerate;
    let text = json!({"text": "t"});
    let call = |name: &str| json!({"functionCall": {"name": name, "args": {}}});
    let signed = |name: &str| json!({"functionCall": {"name": name, "args": {}}, "thoughtSignature": SIGNATURE});
    let body = |parts: Value| {
        json!({"candidates": [{"content": {"role": "model", "parts": parts}, "finishReason": "STOP"}],
        "responseId": "r", "modelVersion": "up"})
    };
    for (parts, at) in [
        (json!([text, signed("f"), call("g")]), 0),
        // A signature of words is no call's, and each call has its own.
        (json!([text, call("f"), signed("g")]), 1),
    ] {
        let (whole, _) = answer(GEMINI, CHAT, &body(parts.clone())).unwrap();
        let event = format!("data: {}\n\n", body(parts.clone()));
        let streamed = accumulated(&stream(GEMINI, CHAT, &event))["message"].clone();
        for message in [whole["choices"][0]["message"].clone(), streamed] {
            let calls = message["tool_calls"].as_array().unwrap();
            let carried = |at: usize| calls[at]["extra_content"]["google"]["thought_signature"].as_str();
            assert!(carried(at).unwrap().starts_with("tg1."), "{message}");
            let results = calls.iter().map(|call| json!({"role": "tool", "tool_call_id": call["id"], "content": "r"}));
            // A client that echoes calls alone, one that echoes all, and one that knows `reasoning_details` alone.
            for (drops_details, drops_extra) in [(true, false), (false, false), (false, true)] {
                if drops_extra && at == 1 {
                    continue;
                }
                let mut turn = message.clone();
                turn["role"] = json!("assistant");
                if drops_details {
                    turn.as_object_mut().unwrap().remove("reasoning_details");
                }
                if drops_extra {
                    turn["tool_calls"][at].as_object_mut().unwrap().remove("extra_content");
                }
                let mut messages = vec![json!({"role": "user", "content": "q"}), turn];
                messages.extend(results.clone());
                let history = json!({"model": "m", "messages": messages});
                let sent = send(CHAT, GEMINI, &history, as_it_is).unwrap();
                let parts = sent.body["contents"][1]["parts"].as_array().unwrap().clone();
                let calls: Vec<&Value> = parts.iter().filter(|part| part.get("functionCall").is_some()).collect();
                assert_eq!(calls[at]["thoughtSignature"], SIGNATURE, "{parts:?}");
                assert_eq!(sent.body.to_string().matches(SIGNATURE).count(), 1, "{parts:?}");
                // Nobody else is shown it.
                for other in [CHAT, MESSAGES, Format::OpenaiResponses] {
                    let sent = send(CHAT, other, &history, as_it_is).unwrap();
                    let said = sent.body.to_string();
                    assert!(!said.contains("tg1.") && !said.contains(SIGNATURE), "{said}");
                    assert!(sent.losses.contains(&"dropped:opaque_state".to_owned()), "{:?}", sent.losses);
                }
            }
        }
    }
    let mut forged = signed_call();
    forged["extra_content"]["google"]["thought_signature"] = json!("tg1.AAAA");
    let history = json!({"model": "m", "messages": [{"role": "user", "content": "q"},
        {"role": "assistant", "content": null, "tool_calls": [forged]},
        {"role": "tool", "tool_call_id": "c1", "content": "r"}]});
    let sent = send(CHAT, GEMINI, &history, as_it_is).unwrap();
    assert!(sent.losses.contains(&"dropped:opaque_state".to_owned()), "{:?}", sent.losses);
    assert!(!sent.body.to_string().contains("tg1."));
}

#[test]
fn trap_d3_the_signature_stays_with_its_own_call() {
    let first = json!({"id": "c0", "type": "function", "function": {"name": "g", "arguments": "{}"}});
    let calls = json!([first, signed_call()]);
    let body = completion(json!({"role": "assistant", "content": null, "tool_calls": calls}), "tool_calls");
    assert_eq!(answer(CHAT, CHAT, &body).unwrap().0["choices"][0]["message"]["tool_calls"], calls);
    let (message, _) = answer(CHAT, MESSAGES, &body).unwrap();
    assert_eq!((&message["content"][0]["id"], &message["content"][1]["type"]), (&json!("c0"), &json!("thinking")));
}

#[test]
fn trap_d13_reasoning_comes_back_to_a_server_that_wants_it() {
    let body = completion(
        json!({"role": "assistant", "content": "", "reasoning_content": "because",
            "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]}),
        "tool_calls",
    );
    let (message, _) = answer(CHAT, MESSAGES, &body).unwrap();
    let next = json!({"model": "m", "max_tokens": 9, "messages": [
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": message["content"]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1", "content": "1"}]},
    ]});
    let sent = send(MESSAGES, CHAT, &next, |facts| facts.compatible_extensions = true).unwrap();
    assert_eq!(sent.body["messages"][1]["reasoning_content"], "because");
    assert_eq!(sent.losses, Vec::<String>::new());
    let sent = send(MESSAGES, CHAT, &next, as_it_is).unwrap();
    assert_eq!(sent.body["messages"][1].get("reasoning_content"), None);
    assert_eq!(sent.losses, ["dropped:thinking"]);
}

#[test]
fn trap_f2_usage_of_a_whole_answer() {
    let mut body = message(json!([{"type": "text", "text": "t"}]), "end_turn");
    body["usage"] = json!({"input_tokens": 10, "cache_creation_input_tokens": 1733, "cache_read_input_tokens": 512,
        "output_tokens": 5});
    let usage = answer(MESSAGES, CHAT, &body).unwrap().0["usage"].clone();
    assert_eq!(usage["prompt_tokens"], 2255);
    assert_eq!(usage["total_tokens"], 2260);
    assert_eq!(usage["prompt_tokens_details"]["cached_tokens"], 512);
    assert_eq!(usage["prompt_tokens_details"]["cache_write_tokens"], 1733);
}

#[test]
fn trap_f3_cached_tokens_are_not_counted_twice() {
    let mut body = completion(json!({"role": "assistant", "content": "t"}), "stop");
    body["usage"] =
        json!({"prompt_tokens": 2255, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 512}});
    let usage = answer(CHAT, MESSAGES, &body).unwrap().0["usage"].clone();
    assert_eq!((&usage["input_tokens"], &usage["cache_read_input_tokens"]), (&json!(1743), &json!(512)));
}

#[test]
fn trap_f6_usage_that_nobody_told_is_absent_or_nothing() {
    let body = completion(json!({"role": "assistant", "content": "t"}), "stop");
    let usage = answer(CHAT, MESSAGES, &body).unwrap().0["usage"].clone();
    assert_eq!((&usage["input_tokens"], &usage["output_tokens"]), (&json!(0), &json!(0)));
    let own = answer(CHAT, CHAT, &body).unwrap().0;
    assert!(own.get("usage").is_none_or(Value::is_null));
}

#[test]
fn traps_f8_f11_every_reason_has_a_word() {
    for (reason, word) in [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("pause_turn", "length"),
        ("compaction", "length"),
        ("refusal", "content_filter"),
        ("tool_use", "stop"),
        ("a_word_of_tomorrow", "stop"),
    ] {
        let body = message(json!([{"type": "text", "text": "t"}]), reason);
        assert_eq!(answer(MESSAGES, CHAT, &body).unwrap().0["choices"][0]["finish_reason"], word, "{reason}");
    }
    for (word, stop) in [
        ("stop", Stop::EndTurn),
        ("eos", Stop::EndTurn),
        ("length", Stop::MaxTokens),
        ("model_length", Stop::ContextWindow),
        ("tool_calls", Stop::EndTurn),
    ] {
        let body = completion(json!({"role": "assistant", "content": "t"}), word).to_string();
        assert_eq!(read(&body).candidates[0].stop, stop, "{word}");
    }
}

#[test]
fn trap_f8_a_pause_is_reported() {
    let body = message(json!([{"type": "text", "text": "t"}]), "pause_turn");
    assert_eq!(answer(MESSAGES, CHAT, &body).unwrap().1, ["converted:stop_reason"]);
}

#[test]
fn trap_f9_the_providers_own_tools_are_not_the_clients() {
    let body = message(
        json!([
            {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "q"}},
            {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []},
            {"type": "text", "text": "found"},
        ]),
        "end_turn",
    );
    let (own, losses) = answer(MESSAGES, CHAT, &body).unwrap();
    let choice = &own["choices"][0];
    assert_eq!(choice["message"].get("tool_calls"), None);
    assert_eq!((&choice["finish_reason"], &choice["message"]["content"]), (&json!("stop"), &json!("found")));
    assert_eq!(losses, ["dropped:server_tool"; 2]);
}

#[test]
fn trap_f10_a_refusal_without_words_is_not_an_empty_success() {
    let mut body = message(json!([]), "refusal");
    body["stop_details"] = json!({"type": "refusal", "category": "cyber", "explanation": "I cannot do that"});
    let own = answer(MESSAGES, CHAT, &body).unwrap().0;
    let choice = &own["choices"][0];
    assert_eq!(choice["finish_reason"], "content_filter");
    assert_eq!(
        (&choice["message"]["content"], &choice["message"]["refusal"]),
        (&Value::Null, &json!("I cannot do that"))
    );
}

#[test]
fn trap_f12_an_answer_without_content_is_an_answer() {
    let own = answer(MESSAGES, CHAT, &message(json!([]), "end_turn")).unwrap().0;
    assert_eq!(own["choices"][0]["message"]["content"], Value::Null);
    assert_eq!(own["choices"].as_array().unwrap().len(), 1);
    let body = json!({"id": "c", "model": "up", "choices": [{"index": 0, "finish_reason": "stop"}]}).to_string();
    let response = read(&body);
    assert_eq!((response.candidates.len(), response.candidates[0].blocks.len()), (1, 0));
}

#[test]
fn trap_f13_every_answer_ends_by_itself() {
    let body = json!({"id": "c", "model": "up", "choices": [
        {"index": 0, "message": {"content": "a"}, "finish_reason": "length"},
        {"index": 1, "message": {"content": "b", "tool_calls": [
            {"id": "x", "type": "function", "function": {"name": "f", "arguments": "{}"}}]}, "finish_reason": "stop"},
    ]})
    .to_string();
    let stops: Vec<Stop<'_>> = read(&body).candidates.into_iter().map(|candidate| candidate.stop).collect();
    assert_eq!(stops, [Stop::MaxTokens, Stop::ToolUse]);
}

#[test]
fn trap_a7_an_error_under_a_success_is_an_error() {
    let fault = answer(CHAT, MESSAGES, &json!({"error": {"message": "quota", "code": 429}})).unwrap_err();
    assert_eq!((fault.status, fault.kind, fault.message.as_ref()), (429, FaultKind::RateLimit, "quota"));
    // A key that is the edge's own is not the client's fault.
    let fault = answer(CHAT, MESSAGES, &json!({"error": {"message": "no key", "code": 401}})).unwrap_err();
    assert_eq!((fault.status, fault.kind), (502, FaultKind::Api));
    let failed = json!({"id": "r", "status": "failed", "output": [], "error": {"code": "rate_limit_exceeded", "message": "slow"}});
    let fault = answer(Format::OpenaiResponses, CHAT, &failed).unwrap_err();
    assert_eq!((fault.status, fault.code.as_deref()), (429, Some("rate_limit_exceeded")));
}

#[test]
fn sources_without_words_are_reported() {
    let source =
        json!([{"type": "url_citation", "url_citation": {"url": "https://a", "start_index": 0, "end_index": 1}}]);
    for (words, lost) in [(json!("a"), false), (Value::Null, true)] {
        let message = json!({"role": "assistant", "content": words, "refusal": "no", "annotations": source});
        let (_, losses) = answer(CHAT, Format::GeminiGenerate, &completion(message, "stop")).unwrap();
        assert_eq!(losses.iter().any(|loss| loss == "dropped:citations"), lost, "{losses:?}");
    }
}

#[test]
fn trap_c25_cut_arguments_stay_as_they_are() {
    let calls = json!([{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{\"a\": [1, "}}]);
    let body = completion(json!({"role": "assistant", "content": null, "tool_calls": calls}), "length");
    let own = answer(CHAT, CHAT, &body).unwrap().0;
    assert_eq!(own["choices"][0]["finish_reason"], "length");
    assert_eq!(own["choices"][0]["message"]["tool_calls"], calls);
}

#[test]
fn trap_b26_calls_decide_what_the_end_means() {
    let call = json!([{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]);
    for (calls, word, reason) in [
        (&call, "stop", "tool_use"),
        (&call, "tool_calls", "tool_use"),
        (&call, "length", "max_tokens"),
        (&call, "content_filter", "refusal"),
        (&json!([]), "tool_calls", "end_turn"),
    ] {
        let body = completion(json!({"role": "assistant", "content": "t", "tool_calls": calls}), word);
        assert_eq!(answer(CHAT, MESSAGES, &body).unwrap().0["stop_reason"], reason, "{word}");
    }
}

#[test]
fn sound_has_words_in_the_hub_too() {
    let body = completion(json!({"role": "assistant", "audio": {"id": "a", "transcript": "w"}}), "stop").to_string();
    let response = read(&body);
    let BlockKind::Text { text, .. } = &response.candidates[0].blocks[0].kind else { panic!("{response:?}") };
    assert_eq!(text.plain(), "w");
}

#[test]
fn an_answer_without_an_id_has_one_of_its_own() {
    const GEMINI: Format = Format::GeminiGenerate;
    const RESPONSES: Format = Format::OpenaiResponses;
    let chat = json!({"choices": [{"index": 0, "message": {"content": "t"}, "finish_reason": "stop"}]});
    let gemini = json!({"candidates": [{"content": {"parts": [{"text": "t"}]}, "finishReason": "STOP"}]});
    let chunk = r#"{"choices":[{"index":0,"delta":{"content":"t"},"finish_reason":"stop"}]}"#;
    let other = crate::Reply { seed: "other".to_owned(), ..super::reply() };
    for (from, to, prefix) in [
        (CHAT, MESSAGES, "msg_"),
        (GEMINI, MESSAGES, "msg_"),
        (CHAT, RESPONSES, "resp_"),
        (GEMINI, RESPONSES, "resp_"),
        (CHAT, CHAT, "chatcmpl-"),
        (GEMINI, CHAT, "chatcmpl-"),
    ] {
        let (whole, piece) = if from == CHAT { (&chat, chunk.to_owned()) } else { (&gemini, gemini.to_string()) };
        let id = answer(from, to, whole).unwrap().0["id"].as_str().unwrap().to_owned();
        assert!(id.starts_with(prefix) && id.len() > 20, "{id}");
        let streamed = chunks(&[&piece]);
        let stream = |reply| super::stream_for(reply, from, to, &streamed).0;
        assert!(stream(super::reply()).contains(&format!("\"id\":\"{id}\"")), "{from:?} {to:?}");
        assert!(!stream(other.clone()).contains(&id));
    }
}

#[test]
fn what_the_first_piece_tells_of_the_prompt_stands_at_the_beginning() {
    let gemini = r#"{"candidates":[{"content":{"parts":[{"text":"t"}]}}],"usageMetadata":{"promptTokenCount":7}}"#;
    let end =
        r#"{"candidates":[{"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":7,"candidatesTokenCount":1}}"#;
    let chat = r#"{"id":"c","choices":[{"index":0,"delta":{"content":"t"}}],"usage":{"prompt_tokens":7,"completion_tokens":1}}"#;
    for (from, events) in [(Format::GeminiGenerate, vec![gemini, end]), (CHAT, vec![chat, "[DONE]"])] {
        let frames = super::frames(MESSAGES, &stream(from, MESSAGES, &chunks(&events)));
        assert_eq!(frames[0].1["message"]["usage"]["input_tokens"], 7, "{from:?}");
    }
}
