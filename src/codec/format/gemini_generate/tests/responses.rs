//! Whole answers, read and written.

use serde_json::{Value, json};

use super::super::GeminiGenerate;
use super::reply;
use crate::format::{ReasoningWish, Reply, WireFormat as _};
use crate::hub::{BlockKind, Losses, Stop};
use crate::{Facts, Format, Line, RequestHead, Target, Undo, translate_request, translate_response};

fn translated(from: Format, to: Format, body: &Value) -> Result<Value, String> {
    shown(from, to, body, ReasoningWish::Shown)
}

fn shown(from: Format, to: Format, body: &Value, reasoning: ReasoningWish) -> Result<Value, String> {
    let reply = Reply { reasoning, ..reply() };
    translate_response(from, to, body.to_string().as_bytes(), &reply, &Undo::default())
        .map(|done| serde_json::from_slice(&done.body).unwrap())
        .map_err(|fault| fault.message.into_owned())
}

fn answer(parts: Value, finish: &str) -> Value {
    json!({"candidates": [{"content": {"parts": parts, "role": "model"}, "finishReason": finish, "index": 0}],
        "usageMetadata": {"promptTokenCount": 1, "candidatesTokenCount": 2, "totalTokenCount": 3}, "responseId": "r"})
}

#[test]
fn trap_a24_a_refused_prompt_is_said_as_each_format_says_it() {
    let body = json!({"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 4, "totalTokenCount": 4}});
    for client in [Format::OpenaiChat, Format::OpenaiResponses] {
        let refused =
            translate_response(Format::GeminiGenerate, client, body.to_string().as_bytes(), &reply(), &Undo::default());
        let fault = refused.unwrap_err();
        assert_eq!((fault.status, fault.code.as_deref()), (400, Some("content_filter")), "{client:?}");
        assert!(fault.message.contains("SAFETY"), "{client:?}");
    }
    let messages = translated(Format::GeminiGenerate, Format::AnthropicMessages, &body).unwrap();
    assert_eq!((&messages["stop_reason"], &messages["content"]), (&json!("refusal"), &json!([])));
    assert_eq!(messages["stop_details"]["explanation"], "SAFETY");
    let own = translated(Format::GeminiGenerate, Format::GeminiGenerate, &body).unwrap();
    assert_eq!((&own["promptFeedback"]["blockReason"], &own["candidates"]), (&json!("SAFETY"), &Value::Null));
}

#[test]
fn a_call_without_a_name_is_no_answer() {
    let body = answer(json!([{"functionCall": {"args": {}}}]), "STOP");
    assert!(translated(Format::GeminiGenerate, Format::OpenaiChat, &body).unwrap_err().contains("`name`"));
}

#[test]
fn trap_c30_a_malformed_call_is_an_error_elsewhere_and_itself_here() {
    let body = answer(json!([]), "MALFORMED_FUNCTION_CALL");
    for format in [Format::OpenaiChat, Format::AnthropicMessages] {
        assert!(translated(Format::GeminiGenerate, format, &body).unwrap_err().contains("MALFORMED_FUNCTION_CALL"));
    }
    let own = translated(Format::GeminiGenerate, Format::GeminiGenerate, &body).unwrap();
    assert_eq!(own["candidates"][0]["finishReason"], "MALFORMED_FUNCTION_CALL");
}

#[test]
fn trap_f12_a_reason_without_content_is_an_answer() {
    let body = json!({"candidates": [{"finishReason": "NO_IMAGE", "index": 0}]});
    let response = GeminiGenerate.read_response(body.to_string().as_bytes()).unwrap().candidates.len();
    assert_eq!(response, 1);
    let own = translated(Format::GeminiGenerate, Format::GeminiGenerate, &body).unwrap();
    assert_eq!(own["candidates"][0]["finishReason"], "NO_IMAGE");
}

#[test]
fn an_error_or_anything_else_is_no_answer() {
    for body in [r#"{"error":{"code":500,"message":"m"}}"#, "{}", "[]", "7", r#"{"candidates":7}"#, ""] {
        assert!(GeminiGenerate.read_response(body.as_bytes()).is_err(), "{body}");
    }
}

#[test]
fn trap_b28_calls_do_not_hide_a_limit() {
    let parts = json!([{"functionCall": {"name": "f", "args": {"n": 12_345_678_901_234_567_890_u64}}}]);
    let chat = translated(Format::GeminiGenerate, Format::OpenaiChat, &answer(parts.clone(), "MAX_TOKENS")).unwrap();
    assert_eq!(chat["choices"][0]["finish_reason"], "length");
    let chat = translated(Format::GeminiGenerate, Format::OpenaiChat, &answer(parts, "STOP")).unwrap();
    assert_eq!(chat["choices"][0]["finish_reason"], "tool_calls");
    // Trap C27: numbers keep their digits.
    assert_eq!(
        chat["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"],
        r#"{"n":12345678901234567890}"#
    );
}

#[test]
fn several_answers_stay_apart() {
    let body = json!({"candidates": [
        {"content": {"parts": [{"text": "a"}]}, "finishReason": "STOP"},
        {"content": {"parts": [{"text": "b"}]}, "finishReason": "MAX_TOKENS", "index": 1}]});
    let chat = translated(Format::GeminiGenerate, Format::OpenaiChat, &body).unwrap();
    assert_eq!(chat["choices"][1]["message"]["content"], "b");
    let back = translated(Format::OpenaiChat, Format::GeminiGenerate, &chat).unwrap();
    assert_eq!(back["candidates"][1]["finishReason"], "MAX_TOKENS");
    assert_eq!(back["candidates"][0]["content"]["parts"][0]["text"], "a");
}

/// Sends what a client of `client` got back to the provider, after a tool ran, and gives the contents that it gets.
fn next_turn(client: Format, parts: Value) -> Vec<Value> {
    let seen = translated(Format::GeminiGenerate, client, &answer(parts, "STOP")).unwrap();
    let history = match client {
        Format::OpenaiChat => {
            let message = seen["choices"][0]["message"].clone();
            let mut messages = vec![json!({"role": "user", "content": "q"}), message.clone()];
            for call in message["tool_calls"].as_array().into_iter().flatten() {
                messages.push(json!({"role": "tool", "tool_call_id": call["id"], "content": "1"}));
            }
            json!({"model": "m", "messages": messages})
        }
        _ => {
            let results: Vec<Value> = seen["content"]
                .as_array()
                .unwrap()
                .iter()
                .filter(|block| block["type"] == "tool_use")
                .map(|block| json!({"type": "tool_result", "tool_use_id": block["id"], "content": "1"}))
                .collect();
            let messages = json!([{"role": "user", "content": "q"}, {"role": "assistant", "content": seen["content"]},
                {"role": "user", "content": if results.is_empty() { json!("next") } else { json!(results) }}]);
            json!({"model": "m", "max_tokens": 9, "messages": messages})
        }
    };
    let reply = reply();
    let head = RequestHead { api_version: None, betas: None, line: Line::default(), seal: &reply.seal };
    let facts = Facts::default();
    let target = Target { model: "g", facts: &facts, api_version: None };
    let done =
        translate_request(client, Format::GeminiGenerate, history.to_string().as_bytes(), &head, &target).unwrap();
    let body: Value = serde_json::from_slice(&done.outgoing.body).unwrap();
    body["contents"].as_array().unwrap().clone()
}

#[test]
fn trap_d2_signatures_come_back_where_they_were() {
    let parts = json!([
        {"text": "I think", "thought": true, "thoughtSignature": "c2lnMA=="},
        {"functionCall": {"name": "f", "args": {"a": 1}}, "thoughtSignature": "c2lnMQ=="},
        {"functionCall": {"name": "g", "args": {}}},
    ]);
    for client in [Format::OpenaiChat, Format::AnthropicMessages] {
        let contents = next_turn(client, parts.clone());
        let back = contents[1]["parts"].as_array().unwrap();
        let signatures: Vec<&Value> =
            back.iter().map(|part| &part["thoughtSignature"]).filter(|value| !value.is_null()).collect();
        assert_eq!(signatures, ["c2lnMA==", "c2lnMQ=="], "{client:?}: {back:?}");
        let first = back.iter().find(|part| part["functionCall"].is_object()).unwrap();
        assert_eq!((&first["thoughtSignature"], &first["functionCall"]["name"]), (&json!("c2lnMQ=="), &json!("f")));
        assert_eq!((&back[0]["text"], &back[0]["thought"]), (&json!("I think"), &json!(true)));
    }
}

#[test]
fn a_signature_of_words_comes_back_behind_them() {
    let parts = json!([{"text": "Hello"}, {"text": " you", "thoughtSignature": "c2lnMA=="}]);
    for client in [Format::OpenaiChat, Format::AnthropicMessages] {
        let contents = next_turn(client, parts.clone());
        let back = contents[1]["parts"].as_array().unwrap();
        assert!(back.contains(&json!({"text": "Hello you"})), "{client:?}: {back:?}");
        // A message ends with its words.
        let returns = back.contains(&json!({"text": "", "thoughtSignature": "c2lnMA=="}));
        assert_eq!(returns, client == Format::OpenaiChat, "{client:?}: {back:?}");
    }
}

#[test]
fn state_of_another_provider_survives_a_client_of_this_format() {
    let messages = json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "c", "content": [
        {"type": "thinking", "thinking": "hm", "signature": "EqQBCgIYAhIM+/="},
        {"type": "redacted_thinking", "data": "c2VjcmV0"},
        {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"a": 1}}],
        "stop_reason": "tool_use", "usage": {"input_tokens": 1, "output_tokens": 1}});
    let seen = translated(Format::AnthropicMessages, Format::GeminiGenerate, &messages).unwrap();
    let parts = seen["candidates"][0]["content"]["parts"].clone();
    assert!(!parts.to_string().contains("EqQB"), "a foreign signature stands bare");
    let history = json!({"contents": [{"role": "user", "parts": [{"text": "q"}]}, {"role": "model", "parts": parts},
        {"role": "user", "parts": [{"functionResponse": {"id": "toolu_1", "name": "f", "response": {"output": "1"}}}]}]});
    let text = history.to_string();
    assert!(crate::seal::Seal::may_be_in(text.as_bytes()));
    let reply = reply();
    let head = RequestHead { api_version: None, betas: None, line: super::line(), seal: &reply.seal };
    let facts = Facts::default();
    let target = Target { model: "c", facts: &facts, api_version: None };
    let done =
        translate_request(Format::GeminiGenerate, Format::AnthropicMessages, text.as_bytes(), &head, &target).unwrap();
    let body: Value = serde_json::from_slice(&done.outgoing.body).unwrap();
    assert_eq!(body["messages"][1]["content"], messages["content"]);
    // Trap D5: toward its own provider nothing of it is left.
    let done =
        translate_request(Format::GeminiGenerate, Format::GeminiGenerate, text.as_bytes(), &head, &target).unwrap();
    let body = String::from_utf8(done.outgoing.body).unwrap();
    assert!(!body.contains("dGcxL") && !body.contains("EqQB"), "{body}");
    assert!(done.outgoing.losses.any_dropped());
}

#[test]
fn sources_and_log_probabilities_are_said() {
    let body = json!({"candidates": [{"content": {"parts": [{"text": "北京 is big"}]}, "finishReason": "STOP",
        "groundingMetadata": {"groundingChunks": [{"web": {"uri": "https://a", "title": "A"}}],
            "groundingSupports": [{"segment": {"startIndex": 7, "endIndex": 9}, "groundingChunkIndices": [0]}]},
        "logprobsResult": {"chosenCandidates": [{"token": "x", "logProbability": -1.5}]}}]});
    let chat = translated(Format::GeminiGenerate, Format::OpenaiChat, &body).unwrap();
    let citation = &chat["choices"][0]["message"]["annotations"][0]["url_citation"];
    assert_eq!(
        (&citation["start_index"], &citation["end_index"], &citation["url"]),
        (&json!(3), &json!(5), &json!("https://a"))
    );
    assert_eq!(chat["choices"][0]["logprobs"]["content"][0]["logprob"], -1.5);
    let back = translated(Format::OpenaiChat, Format::GeminiGenerate, &chat).unwrap();
    let segment = &back["candidates"][0]["groundingMetadata"]["groundingSupports"][0]["segment"];
    assert_eq!((&segment["startIndex"], &segment["endIndex"]), (&json!(7), &json!(9)));
    assert_eq!(back["candidates"][0]["logprobsResult"]["chosenCandidates"][0]["token"], "x");
}

#[test]
fn arguments_that_are_no_object_are_no_fake_call() {
    let chat = |finish: &str| {
        json!({"id": "c", "model": "m", "choices": [{"index": 0, "finish_reason": finish, "message": {"role": "assistant",
        "tool_calls": [{"id": "x", "type": "function", "function": {"name": "f", "arguments": "{\"a\":"}}]}}]})
    };
    let done = translated(Format::OpenaiChat, Format::GeminiGenerate, &chat("tool_calls")).unwrap();
    assert_eq!(done["candidates"][0]["finishReason"], "MALFORMED_FUNCTION_CALL");
    assert_eq!(done["candidates"][0]["content"]["parts"], json!([]));
    // Trap C25: an answer that was cut is one that was cut.
    let done = translated(Format::OpenaiChat, Format::GeminiGenerate, &chat("length")).unwrap();
    assert_eq!(done["candidates"][0]["finishReason"], "MAX_TOKENS");
}

#[test]
fn a_refusal_says_why() {
    let messages = json!({"id": "m", "type": "message", "role": "assistant", "model": "c", "content": [],
        "stop_reason": "refusal", "stop_details": {"type": "refusal", "category": "bio", "explanation": "no"},
        "usage": {"input_tokens": 1, "output_tokens": 1}});
    let done = translated(Format::AnthropicMessages, Format::GeminiGenerate, &messages).unwrap();
    let candidate = &done["candidates"][0];
    assert_eq!((&candidate["finishReason"], &candidate["finishMessage"]), (&json!("SAFETY"), &json!("no")));
}

#[test]
fn what_a_filter_says_reaches_clients_of_every_format() {
    let mut blocked = answer(json!([]), "SAFETY");
    blocked["candidates"][0]["finishMessage"] = json!("not that");
    for client in Format::ALL.into_iter().filter(|format| *format != Format::GeminiGenerate) {
        let done = translated(Format::GeminiGenerate, client, &blocked).unwrap();
        assert!(done.to_string().contains("not that"), "{client:?}: {done}");
    }
}

#[test]
fn media_of_an_answer_are_read() {
    let body = answer(json!([{"inlineData": {"mimeType": "image/png", "data": "iVBORw0K"}}, {"text": "x"}]), "STOP");
    let text = body.to_string();
    let response = GeminiGenerate.read_response(text.as_bytes()).unwrap();
    assert!(matches!(response.candidates[0].blocks[0].kind, BlockKind::Image { .. }));
    assert_eq!(response.candidates[0].stop, Stop::EndTurn);
    let mut losses = Losses::default();
    let own = GeminiGenerate.write_response(&response, &reply(), &mut losses).unwrap();
    assert!(String::from_utf8(own).unwrap().contains("iVBORw0K") && losses.is_empty());
}

/// The parts of a stream of messages for a client of this format.
fn streamed_parts(message: &Value, reasoning: ReasoningWish) -> Vec<Value> {
    let event = |kind: &str, data: Value| format!("event: {kind}\ndata: {data}\n\n");
    let mut head = message.clone();
    head["content"] = json!([]);
    let mut stream = event("message_start", json!({"type": "message_start", "message": head}));
    for (index, block) in message["content"].as_array().unwrap().iter().enumerate() {
        let (mut begun, mut deltas) = (block.clone(), Vec::new());
        for (key, delta, field) in [
            ("text", "text_delta", "text"),
            ("signature", "signature_delta", "signature"),
            ("input", "input_json_delta", "partial_json"),
        ] {
            let Some(value) = block.get(key) else { continue };
            begun[key] = if value.is_object() { json!({}) } else { json!("") };
            let said = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            let (begin, rest) = said.split_at(said.len() / 2);
            for half in [begin, rest] {
                let whole = key == "signature";
                let words = if whole { said.as_str() } else { half };
                deltas.push(
                    json!({"type": "content_block_delta", "index": index, "delta": {"type": delta, field: words}}),
                );
                if whole {
                    break;
                }
            }
        }
        let start = json!({"type": "content_block_start", "index": index, "content_block": begun});
        stream.push_str(&event("content_block_start", start));
        for delta in deltas {
            stream.push_str(&event("content_block_delta", delta));
        }
        stream.push_str(&event("content_block_stop", json!({"type": "content_block_stop", "index": index})));
    }
    let delta = json!({"stop_reason": message["stop_reason"]});
    stream.push_str(&event(
        "message_delta",
        json!({"type": "message_delta", "delta": delta, "usage": {"output_tokens": 1}}),
    ));
    stream.push_str(&event("message_stop", json!({"type": "message_stop"})));
    let mut out = Vec::new();
    let mut transcoder = crate::Transcoder::new(
        Format::AnthropicMessages,
        Format::GeminiGenerate,
        std::sync::Arc::new(Reply { reasoning, ..reply() }),
        Undo::default(),
    );
    transcoder.chunk(stream.as_bytes(), &mut out);
    transcoder.finish(&mut out);
    let parts = super::pieces(&out).into_iter().map(|piece| piece["candidates"][0]["content"]["parts"].clone());
    parts.flat_map(|parts| parts.as_array().cloned().unwrap_or_default()).collect()
}

/// What a Messages target gets of the model's turn when a client of this format brings `parts` back.
fn brought_back(parts: &[Value]) -> Value {
    let called = parts.iter().any(|part| part["functionCall"].is_object());
    let result = json!({"functionResponse": {"id": "toolu_1", "name": "f", "response": {"output": "1"}}});
    let next = if called { result } else { json!({"text": "r"}) };
    let history = json!({"contents": [{"role": "user", "parts": [{"text": "q"}]}, {"role": "model", "parts": parts},
        {"role": "user", "parts": [next]}]});
    let reply = reply();
    let head = RequestHead { api_version: None, betas: None, line: super::line(), seal: &reply.seal };
    let facts = Facts::default();
    let target = Target { model: "c", facts: &facts, api_version: None };
    let body = history.to_string();
    let (from, to) = (Format::GeminiGenerate, Format::AnthropicMessages);
    let done = translate_request(from, to, body.as_bytes(), &head, &target).unwrap();
    let body: Value = serde_json::from_slice(&done.outgoing.body).unwrap();
    body["messages"][1]["content"].clone()
}

/// The parts that a client of this format sees of `content`, whole and streamed.
fn seen_parts(content: &Value, reasoning: ReasoningWish) -> [Vec<Value>; 2] {
    let message = json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "c", "content": content,
        "stop_reason": "tool_use", "usage": {"input_tokens": 1, "output_tokens": 1}});
    let seen = shown(Format::AnthropicMessages, Format::GeminiGenerate, &message, reasoning).unwrap();
    [seen["candidates"][0]["content"]["parts"].as_array().unwrap().clone(), streamed_parts(&message, reasoning)]
}

#[test]
fn state_without_words_travels_with_the_part_that_follows() {
    let call = json!({"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"a": 1}});
    let text = json!({"type": "text", "text": "Let me look."});
    let silent = json!({"type": "thinking", "thinking": "", "signature": "EqQBCgIYAhIM+/="});
    let hidden = json!({"type": "redacted_thinking", "data": "c2VjcmV0"});
    for content in [
        json!([silent, call]),
        json!([hidden, call]),
        json!([silent, text, call]),
        json!([hidden, text, hidden, call]),
        json!([hidden, silent, text, call]),
    ] {
        let pending = content[1]["type"] == "thinking";
        for parts in seen_parts(&content, ReasoningWish::Shown) {
            let unsaid = |part: &&Value| part["text"] == "" && part.get("thoughtSignature").is_some();
            assert_eq!(parts.iter().filter(unsaid).count(), usize::from(pending), "{parts:?}");
            assert_eq!(brought_back(&parts), content, "{parts:?}");
        }
    }
}

/// What a client sees that wants to see reasoning, and clients that do not: these see no words of it.
fn seen_by_wish(content: &Value) -> Vec<(Vec<Value>, ReasoningWish)> {
    let mut seen = Vec::new();
    for wish in [ReasoningWish::Shown, ReasoningWish::Hidden, ReasoningWish::Declined] {
        for parts in seen_parts(content, wish) {
            let thinks = |part: &Value| part["thought"] == true && part["text"] != "";
            assert!(wish == ReasoningWish::Shown || !parts.iter().any(thinks), "{wish:?} {parts:?}");
            seen.push((parts, wish));
        }
    }
    seen
}

#[test]
fn a_client_that_keeps_calls_and_no_thoughts_brings_the_thoughts_back_as_they_were() {
    let call = json!({"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"a": 1}});
    let text = |words: &str| json!({"type": "text", "text": words});
    let (look, more) = (text("Let me \"look\", 北."), text("\nAnd more."));
    let one = json!({"type": "thinking", "thinking": "I need the\n\"weather\" 北.", "signature": "EqQBCgIYAhIM+/="});
    let two = json!({"type": "thinking", "thinking": "Which town?", "signature": "ErQC"});
    let silent = json!({"type": "thinking", "thinking": "", "signature": "EsQD"});
    let hidden = json!({"type": "redacted_thinking", "data": "c2VjcmV0"});
    for content in [
        json!([one, call]),
        json!([one, look, call]),
        json!([look, one, call]),
        json!([one, two, call]),
        json!([one, look, two, call]),
        json!([one, look, two, more, call]),
        json!([hidden, one, look, call]),
        json!([one, hidden, look, call]),
        json!([one, silent, look, two, more, call]),
        json!([silent, one, call]),
    ] {
        for (parts, wish) in seen_by_wish(&content) {
            assert_eq!(brought_back(&parts), content, "{wish:?}, all kept: {parts:?}");
            let thoughtless: Vec<Value> = parts.iter().filter(|part| part["thought"] != true).cloned().collect();
            assert_eq!(brought_back(&thoughtless), content, "{wish:?}, no thoughts: {parts:?}");
            let worded = parts.iter().filter(|part| part["thought"] != true || part["text"] != "").cloned();
            assert_eq!(brought_back(&worded.collect::<Vec<_>>()), content, "{wish:?}, no empty thoughts: {parts:?}");
        }
    }
    // Words that the client changed are its own; what was thought before them stands before them.
    for (words, expected) in [("Hm.", json!([one, text("Hm."), call])), ("", json!([one, call]))] {
        let [parts, _] = seen_parts(&json!([one, look, call]), ReasoningWish::Shown);
        let mut parts: Vec<Value> = parts.into_iter().filter(|part| part["thought"] != true).collect();
        parts[0]["text"] = json!(words);
        assert_eq!(brought_back(&parts), expected, "{words}");
    }
}

/// `parts` with the signature of each thought on the part behind it that is `kind`.
fn moved(parts: &[Value], kind: &str) -> Vec<Value> {
    let mut moved = parts.to_vec();
    for at in 0..moved.len() {
        let is_behind = |part: &Value| part["thought"] != true && part[kind] != Value::Null && part[kind] != "";
        let behind = (at + 1..moved.len()).find(|behind| is_behind(&moved[*behind]));
        if let (Some(behind), true) =
            (behind, moved[at]["thought"] == true && moved[at]["thoughtSignature"].is_string())
        {
            moved[behind]["thoughtSignature"] = moved[at].as_object_mut().unwrap().remove("thoughtSignature").unwrap();
        }
    }
    moved
}

#[test]
fn a_signature_on_the_part_behind_its_thought_is_that_of_the_thought() {
    let call = json!({"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"a": 1}});
    let text = |words: &str| json!({"type": "text", "text": words});
    let one = json!({"type": "thinking", "thinking": "I need the weather.", "signature": "EqQBCgIYAhIM+/="});
    let two = json!({"type": "thinking", "thinking": "Which town?", "signature": "ErQC"});
    for (content, called) in [
        (json!([one, text("Let me look.")]), false),
        (json!([one, text("Let me look."), call]), true),
        (json!([one, text("Let me look."), two, text("And more."), call]), true),
    ] {
        for parts in seen_parts(&content, ReasoningWish::Shown) {
            let to_words = moved(&parts, "text");
            assert_ne!(to_words, parts);
            assert_eq!(brought_back(&to_words), content, "{to_words:?}");
            if !called {
                continue;
            }
            let thoughtless: Vec<Value> = to_words.iter().filter(|part| part["thought"] != true).cloned().collect();
            assert_eq!(brought_back(&thoughtless), content, "no thoughts: {thoughtless:?}");
            let mut altered = to_words;
            altered[0]["text"] = json!("Other words.");
            let back = brought_back(&altered);
            assert_eq!(back.as_array().unwrap().last(), content.as_array().unwrap().last(), "altered: {back}");
            assert!(!back.to_string().contains("Other words."), "altered: {back}");
            // Its own is gone then.
            if content.as_array().unwrap().len() == 3 {
                let to_call = moved(&parts, "functionCall");
                assert_eq!(brought_back(&to_call), content, "{to_call:?}");
            }
        }
    }
}

#[test]
fn encrypted_reasoning_comes_back_with_its_summary_and_before_the_words() {
    let reasoning = |id: &str, summary: &[&str]| {
        let summary: Vec<Value> = summary.iter().map(|text| json!({"type": "summary_text", "text": text})).collect();
        json!({"type": "reasoning", "id": id, "summary": summary, "encrypted_content": format!("gAAA{id}")})
    };
    let words = json!([{"type": "output_text", "text": "Let me look.", "annotations": []}]);
    let message =
        json!({"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": words});
    let call = json!({"type": "function_call", "id": "fc_1", "call_id": "toolu_1", "name": "f", "arguments": "{}"});
    for (output, expected) in [
        (json!([reasoning("a", &["One.", "Two."]), message, call]), json!([["One.Two.", "gAAAa"], "message"])),
        (json!([reasoning("a", &[]), message, call]), json!([["", "gAAAa"], "message"])),
        (json!([reasoning("a", &["One."]), reasoning("b", &[]), call]), json!([["One.", "gAAAa"], ["", "gAAAb"]])),
    ] {
        let whole =
            json!({"id": "resp_1", "object": "response", "status": "completed", "model": "m", "output": output});
        for wish in [ReasoningWish::Shown, ReasoningWish::Hidden] {
            let seen = shown(Format::OpenaiResponses, Format::GeminiGenerate, &whole, wish).unwrap();
            let mut parts = seen["candidates"][0]["content"]["parts"].as_array().unwrap().clone();
            parts.retain(|part| part["thought"] != true);
            assert_eq!(reasoning_sent(&parts), expected, "{wish:?} {parts:?}");
        }
    }
}

/// The reasoning and the messages that a Responses target gets when a client of this format brings `parts` back.
fn reasoning_sent(parts: &[Value]) -> Value {
    let history = json!({"contents": [{"role": "user", "parts": [{"text": "q"}]}, {"role": "model", "parts": parts},
            {"role": "user", "parts": [{"functionResponse": {"id": "toolu_1", "name": "f", "response": {"output": "1"}}}]}]});
    let reply = reply();
    let head = RequestHead { api_version: None, betas: None, line: super::line(), seal: &reply.seal };
    let facts = Facts::default();
    let target = Target { model: "o", facts: &facts, api_version: None };
    let (from, to) = (Format::GeminiGenerate, Format::OpenaiResponses);
    let done = translate_request(from, to, history.to_string().as_bytes(), &head, &target).unwrap();
    let body: Value = serde_json::from_slice(&done.outgoing.body).unwrap();
    let items: Vec<Value> = body["input"].as_array().unwrap()[1..]
        .iter()
        .map(|item| match item["type"].as_str() {
            Some("reasoning") => {
                json!([item["summary"][0]["text"].as_str().unwrap_or_default(), item["encrypted_content"]])
            }
            kind => json!(kind.unwrap_or("message")),
        })
        .filter(|item| !item.as_str().is_some_and(|kind| kind.starts_with("function_call")))
        .collect();
    json!(items)
}

#[test]
fn trap_d1_a_call_that_nobody_signed_is_known_when_the_conversation_moves_to_this_vendor() {
    let call = |id: &str| json!({"id": id, "type": "function", "function": {"name": "f", "arguments": "{}"}});
    let message = json!({"role": "assistant", "content": null, "tool_calls": [call("a"), call("b")]});
    let body = json!({"id": "c", "object": "chat.completion", "created": 1, "model": "m",
        "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]});
    let seen = translated(Format::OpenaiChat, Format::GeminiGenerate, &body).unwrap();
    let parts = seen["candidates"][0]["content"]["parts"].clone();
    assert!(parts[0]["thoughtSignature"].is_string() && parts[1]["thoughtSignature"].is_null(), "{parts}");
    let result = |id: &str| json!({"functionResponse": {"id": id, "name": "f", "response": {"output": "1"}}});
    let history = json!({"contents": [{"role": "user", "parts": [{"text": "q"}]}, {"role": "model", "parts": parts},
        {"role": "user", "parts": [result("a"), result("b")]}]});
    let reply = reply();
    let head = RequestHead { api_version: None, betas: None, line: super::line(), seal: &reply.seal };
    let facts = Facts::default();
    let target = Target { model: "g", facts: &facts, api_version: None };
    let sent = |to: Format| -> Value {
        let done =
            translate_request(Format::GeminiGenerate, to, history.to_string().as_bytes(), &head, &target).unwrap();
        serde_json::from_slice(&done.outgoing.body).unwrap()
    };
    let back = sent(Format::GeminiGenerate)["contents"][1]["parts"].clone();
    assert_eq!(back[0]["thoughtSignature"], "skip_thought_signature_validator", "{back}");
    assert!(back[1]["thoughtSignature"].is_null(), "{back}");
    for to in [Format::AnthropicMessages, Format::OpenaiResponses, Format::OpenaiChat] {
        assert!(!sent(to).to_string().contains("tg1."), "{to:?}");
    }
}
