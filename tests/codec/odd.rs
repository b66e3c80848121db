//! Requests and answers as odd clients and servers send them: each is read for what it means, and alike whether it comes
//! whole or as a stream.
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

use std::sync::Arc;

use serde_json::{Value, json};
use support::{reply, streamed};
use tidegate_codec::hub::{Effort, Losses};
use tidegate_codec::seal::Seal;
use tidegate_codec::{
    Efforts, Facts, Format, Line, RequestHead, Target, ThinkingForm, Transcoder, Undo, translate_request,
    translate_response,
};

/// What became of a whole answer of a chat server, for a client that wanted it whole and for one that wanted a stream: the
/// words of the fault if it is one.
fn answered(body: &str) -> [Result<String, String>; 2] {
    let whole =
        translate_response(Format::OpenaiChat, Format::AnthropicMessages, body.as_bytes(), &reply(), &Undo::default());
    let whole = whole.map(|answer| String::from_utf8(answer.body).unwrap()).map_err(|fault| fault.message.to_string());
    let mut transcoder =
        Transcoder::new(Format::OpenaiChat, Format::AnthropicMessages, Arc::new(reply()), Undo::default());
    let mut out = Vec::new();
    transcoder.whole(body.as_bytes(), &mut out);
    let outcome = transcoder.outcome().clone();
    let streamed = match outcome.fault {
        Some((_, words)) => Err(words),
        None => Ok(String::from_utf8(out).unwrap()),
    };
    [whole, streamed]
}

#[test]
fn an_error_that_came_as_a_success_is_an_error_in_its_own_words() {
    for (body, words) in [
        (r#"{"id":"x","choices":[],"error":{"message":"upstream down","code":502}}"#, "upstream down"),
        (r#"{"error":"quota"}"#, "quota"),
        (r#"{"object":"error","message":"too long","code":400}"#, "too long"),
        (r#"[{"error":{"code":429,"message":"slow"}}]"#, "slow"),
        (r#"{"error":{"code":429}}"#, "429"),
        (
            r#"{"choices":[{"error":{"code":502,"message":"Upstream died"},"finish_reason":"error","message":{}}]}"#,
            "Upstream died",
        ),
        (r#"{"choices":null,"error":{"message":"bad key","code":"invalid_api_key"}}"#, "credentials"),
        (r#"{"choices":[{"message":{"tool_calls":[{"function":{"name":"","arguments":"{\"a\":1}"}}]}}]}"#, "name"),
        (r#"{"hello":1}"#, "choices"),
    ] {
        for fault in answered(body) {
            let said = fault.expect_err(body);
            assert!(said.contains(words), "{body}: {said}");
        }
    }
    let fault = translate_response(
        Format::OpenaiChat,
        Format::OpenaiResponses,
        br#"{"error":{"message":"m","code":"invalid_api_key"}}"#,
        &reply(),
        &Undo::default(),
    );
    let fault = fault.unwrap_err();
    assert_eq!(
        (fault.status, fault.code.as_deref()),
        (502, Some("upstream_credentials")),
        "it is not the client's key"
    );
    let choice = json!({"id": "c", "choices": [{"index": 0, "delta": {"content": "a"},
        "error": {"code": 502, "message": "Upstream died"}, "finish_reason": "error"}]});
    let (written, outcome) = streamed(Format::OpenaiChat, Format::AnthropicMessages, &[choice]);
    assert!(written.contains("Upstream died") && !outcome.complete, "{written}");
}

#[test]
fn what_says_nothing_beside_an_answer_does_not_spoil_it() {
    for body in [
        r#"{"choices":[{"finish_reason":"stop","message":{"content":"hi"}}],"error":{"message":"","code":""}}"#,
        r#"{"choices":[{"finish_reason":"stop","message":{"content":"hi"}}],"error":{"message":"a warning"}}"#,
        r#"{"choices":[{"message":{"content":"hi","tool_calls":[{"id":"","function":{"name":"","arguments":""}}]}}]}"#,
    ] {
        for answer in answered(body) {
            let answer = answer.expect(body);
            assert!(answer.contains("hi") && !answer.contains("tool_use"), "{answer}");
        }
    }
}

#[test]
fn an_event_that_ends_a_response_counts_more_than_an_old_status() {
    let (written, outcome) = streamed(
        Format::OpenaiResponses,
        Format::OpenaiChat,
        &[
            json!({"type": "response.created", "response": {"id": "r", "status": "in_progress"}}),
            json!({"type": "response.output_text.delta", "output_index": 0, "content_index": 0, "delta": "a"}),
            json!({"type": "response.completed", "response": {"id": "r", "status": "in_progress", "output": []}}),
        ],
    );
    assert!(outcome.complete && written.contains("\"finish_reason\":\"stop\""), "{outcome:?} {written}");
}

/// Some servers give each item the same place, some none at all.
#[test]
fn items_of_one_place_are_told_apart() {
    let call = |id: &str, call: &str, name: &str, arguments: &str| json!({"type": "function_call", "id": id, "call_id": call, "name": name, "arguments": arguments});
    let message = json!({"type": "message", "id": "m1", "role": "assistant", "content": [{"type": "output_text", "text": "hi", "annotations": []}]});
    let items = [message, call("fc1", "c1", "f", "{\"a\":1}"), call("fc2", "c2", "g", "{\"b\":2}")];
    for placed in [Some(0), None] {
        for named in [true, false] {
            let event = |kind: &str, id: &str, more: Value| {
                let mut event = json!({"type": kind});
                if let Some(place) = placed {
                    event["output_index"] = json!(place);
                }
                if named && kind.contains("delta") {
                    event["item_id"] = json!(id);
                }
                event.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
                event
            };
            let mut events =
                vec![json!({"type": "response.created", "response": {"id": "r", "status": "in_progress"}})];
            for item in &items {
                let id = item["id"].as_str().unwrap();
                let mut begun = item.clone();
                begun[if id == "m1" { "content" } else { "arguments" }] =
                    if id == "m1" { json!([]) } else { json!("") };
                events.push(event("response.output_item.added", id, json!({"item": begun})));
                events.push(match id {
                    "m1" => event("response.output_text.delta", id, json!({"content_index": 0, "delta": "hi"})),
                    _ => event("response.function_call_arguments.delta", id, json!({"delta": item["arguments"]})),
                });
                events.push(event("response.output_item.done", id, json!({"item": item})));
            }
            events.push(
                json!({"type": "response.completed", "response": {"id": "r", "status": "completed", "output": items}}),
            );
            let (written, outcome) = streamed(Format::OpenaiResponses, Format::OpenaiChat, &events);
            let what = format!("{placed:?} {named} {outcome:?}\n{written}");
            assert!(outcome.complete && outcome.dropped.is_empty(), "{what}");
            for (text, count) in [
                ("\"content\":\"hi\"", 1),
                ("\"name\":\"f\"", 1),
                ("\"name\":\"g\"", 1),
                ("\"name\":", 2),
                ("{\\\"a\\\":1}", 1),
                ("{\\\"b\\\":2}", 1),
            ] {
                assert_eq!(written.matches(text).count(), count, "{text} in {what}");
            }
        }
    }
}

/// Some servers make up an id for each event.
#[test]
fn an_item_whose_id_changes_is_one() {
    let item = |id: &str, status: &str, text: &str| {
        let content = json!([{"type": "output_text", "text": text, "annotations": []}]);
        json!({"type": "message", "id": id, "role": "assistant", "status": status, "content": content})
    };
    let events = [
        json!({"type": "response.created", "response": {"id": "r", "status": "in_progress"}}),
        json!({"type": "response.output_item.added", "output_index": 0, "item": item("a", "in_progress", "")}),
        json!({"type": "response.output_text.delta", "output_index": 0, "item_id": "b", "content_index": 0, "delta": "hi"}),
        json!({"type": "response.output_item.done", "output_index": 0, "item": item("c", "completed", "hi")}),
        json!({"type": "response.completed", "response": {"id": "r", "status": "completed",
            "output": [item("d", "completed", "hi")]}}),
    ];
    let (written, outcome) = streamed(Format::OpenaiResponses, Format::OpenaiChat, &events);
    assert!(outcome.complete && written.matches("hi").count() == 1, "{written}");
}

fn losses(from: Format, to: Format, body: &Value) -> (Losses, Value) {
    sent(from, to, body, |_| {})
}

/// What `body` loses on its way to a model with the facts that `change` makes of the default ones, and what is sent.
fn sent(from: Format, to: Format, body: &Value, change: impl FnOnce(&mut Facts)) -> (Losses, Value) {
    let seal = Seal::new([1; 32]);
    let line = Line { model: Some("m".into()), stream: None };
    let head = RequestHead { api_version: Some("2023-06-01"), betas: None, line, seal: &seal };
    let mut facts = Facts::default();
    change(&mut facts);
    let target = Target { model: "target-model", facts: &facts, api_version: Some("2023-06-01") };
    let translated = translate_request(from, to, body.to_string().as_bytes(), &head, &target).unwrap();
    (translated.outgoing.losses, serde_json::from_slice(&translated.outgoing.body).unwrap())
}

fn dropped(losses: &Losses) -> Vec<String> {
    losses
        .iter()
        .filter(|loss| loss.action.label() == "dropped")
        .map(|loss| format!("{} {:?}: {}", loss.field.label(), loss.place, loss.reason))
        .collect()
}

/// Where losses are refused, a loss that is none refuses a good request.
#[test]
fn what_many_clients_always_send_is_no_loss() {
    let chat = |more: Value| {
        let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}]});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let neutral = chat(json!({"presence_penalty": 0, "frequency_penalty": 0.0, "logit_bias": {}, "n": 1,
        "temperature": 0.5, "top_p": 1}));
    let call =
        json!({"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}", "parsed_arguments": {}}});
    let parsed = chat(json!({"messages": [{"role": "user", "content": "hi"},
        {"role": "assistant", "content": null, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": "r"}]}));
    for body in [&neutral, &parsed] {
        for to in Format::ALL.into_iter().filter(|to| *to != Format::OpenaiChat) {
            let (found, _) = losses(Format::OpenaiChat, to, body);
            assert_eq!(dropped(&found), Vec::<String>::new(), "{to:?}: {body}");
        }
    }
    let gemini = json!({"contents": [{"role": "user", "parts": [{"text": "hi"}]}],
        "generationConfig": {"responseModalities": ["TEXT"]}});
    let marked = json!({"model": "m", "max_tokens": 90, "messages": [{"role": "user", "content": "hi"}],
        "tools": [{"name": "f", "input_schema": {"type": "object"}, "cache_control": {"type": "ephemeral"}}]});
    for (from, to, body) in [
        (Format::GeminiGenerate, Format::OpenaiChat, &gemini),
        (Format::GeminiGenerate, Format::AnthropicMessages, &gemini),
        (Format::AnthropicMessages, Format::OpenaiResponses, &marked),
    ] {
        let (found, _) = losses(from, to, body);
        assert_eq!(dropped(&found), Vec::<String>::new(), "{from:?} -> {to:?}");
    }
}

#[test]
fn a_function_of_free_arguments_stays_one() {
    let tool = |schema: Value| {
        let function = json!({"type": "function", "function": {"name": "f", "parameters": schema}});
        json!({"model": "m", "messages": [{"role": "user", "content": "hi"}], "tools": [function]})
    };
    let free = tool(json!({"type": "object", "additionalProperties": true}));
    let (found, sent) = losses(Format::OpenaiChat, Format::GeminiGenerate, &free);
    let declared = &sent["tools"][0]["functionDeclarations"][0];
    assert_eq!(dropped(&found), Vec::<String>::new());
    assert_eq!(declared["parametersJsonSchema"]["additionalProperties"], true, "{declared}");
    let none = tool(json!({"type": "object", "properties": {}, "title": "X", "description": "takes nothing"}));
    let (found, sent) = losses(Format::OpenaiChat, Format::GeminiGenerate, &none);
    assert_eq!(dropped(&found), Vec::<String>::new());
    assert_eq!(sent["tools"][0]["functionDeclarations"][0], json!({"name": "f", "description": "takes nothing"}));
}

#[test]
fn a_call_that_a_limit_cut_is_unwrapped_as_far_as_it_came() {
    let body = json!({"choices": [{"finish_reason": "length", "message": {"content": null, "tool_calls": [
        {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{\"input\":\"abc"}}]}}]});
    for (undo, expected) in [
        (Undo { wrapped_tools: vec!["f".to_owned()], ..Undo::default() }, r#""input":"abc""#),
        (Undo { json_tool: Some("f".to_owned()), ..Undo::default() }, r#""text":"{\"input\":\"abc""#),
    ] {
        let body = body.to_string();
        let whole =
            translate_response(Format::OpenaiChat, Format::OpenaiResponses, body.as_bytes(), &reply(), &undo).unwrap();
        let whole = String::from_utf8(whole.body).unwrap();
        assert!(whole.contains(expected), "{whole}");
    }
}

/// Each loss as `action:field`.
fn told(losses: &Losses) -> Vec<String> {
    losses.iter().map(|loss| format!("{}:{}", loss.action.label(), loss.field.label())).collect()
}

fn messages(more: Value) -> Value {
    let mut body = json!({"model": "m", "max_tokens": 64_000, "messages": [{"role": "user", "content": "hi"}]});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

fn gemini(config: Value) -> Value {
    json!({"contents": [{"role": "user", "parts": [{"text": "hi"}]}], "generationConfig": config})
}

#[test]
fn an_effort_is_sent_only_to_models_that_know_it() {
    let off = [
        (Format::AnthropicMessages, messages(json!({"thinking": {"type": "disabled"}}))),
        (Format::GeminiGenerate, gemini(json!({"thinkingConfig": {"thinkingBudget": 0}}))),
    ];
    let much = [
        (Format::AnthropicMessages, messages(json!({"thinking": {"type": "enabled", "budget_tokens": 31_999}}))),
        (Format::GeminiGenerate, gemini(json!({"thinkingConfig": {"thinkingBudget": 31_999}}))),
    ];
    let never = |facts: &mut Facts| facts.thinking = ThinkingForm::None;
    let old = |facts: &mut Facts| facts.efforts = Efforts::of(&[Effort::Minimal, Effort::Low, Effort::High]);
    let new = |facts: &mut Facts| facts.efforts = Efforts::of(&[Effort::None, Effort::Low, Effort::Xhigh]);
    let unknown = |_: &mut Facts| {};
    let facts: [fn(&mut Facts); 4] = [never, unknown, old, new];
    let least = [None, None, Some("minimal"), Some("none")];
    let most = [None, Some("xhigh"), Some("high"), Some("xhigh")];
    for (bodies, efforts) in [(&off, least), (&much, most)] {
        for ((from, body), to) in
            bodies.iter().flat_map(|body| [Format::OpenaiChat, Format::OpenaiResponses].map(|to| (body, to)))
        {
            for (change, effort) in facts.iter().zip(efforts) {
                let (losses, sent) = sent(*from, to, body, change);
                let said = sent["reasoning_effort"].as_str().or(sent["reasoning"]["effort"].as_str());
                assert_eq!(said, effort, "{from:?} -> {to:?}: {body}");
                let told = told(&losses);
                let wish = told.contains(&"dropped:reasoning".to_owned());
                assert_eq!(wish, effort.is_none() && bodies == &much, "{from:?} -> {to:?}: {told:?}");
                assert!(effort.is_some() || !wish || sent.get("include").is_none(), "{sent}");
            }
        }
    }
    let (losses, sent) = sent(off[0].0, Format::OpenaiChat, &off[0].1, never);
    assert_eq!((told(&losses), sent.get("reasoning_effort")), (vec![], None), "it does not think anyway");
}

#[test]
fn a_whole_answer_without_an_answer_is_a_failure() {
    let clean = r#"{"id":"x","choices":[],"prompt_filter_results":[{"prompt_index":0,"content_filter_results":{"hate":{"filtered":false}}}]}"#;
    for body in [r#"{"id":"x","choices":[],"usage":{"prompt_tokens":1,"completion_tokens":0}}"#, clean] {
        for fault in answered(body) {
            assert!(fault.expect_err(body).contains("choices"));
        }
        for to in [Format::OpenaiResponses, Format::GeminiGenerate] {
            let fault = translate_response(Format::OpenaiChat, to, body.as_bytes(), &reply(), &Undo::default());
            let fault = fault.unwrap_err();
            assert_eq!((fault.status, fault.code.as_deref()), (502, Some("upstream_malformed")));
        }
    }
    let refused = clean.replace("false", "true");
    for answer in answered(&refused) {
        assert!(answer.unwrap().contains("\"refusal\""));
    }
    let body = refused.as_bytes();
    let fault = translate_response(Format::OpenaiChat, Format::OpenaiResponses, body, &reply(), &Undo::default());
    assert_eq!(fault.unwrap_err().code.as_deref(), Some("content_filter"));
}

#[test]
fn instructions_alone_are_the_input() {
    let body = json!({"model": "m", "messages": [{"role": "system", "content": "Say hi."}]});
    let (losses, sent) = losses(Format::OpenaiChat, Format::OpenaiResponses, &body);
    let item = json!({"type": "message", "role": "developer", "content": "Say hi."});
    assert_eq!((sent["input"].clone(), sent.get("instructions")), (json!([item]), None));
    assert_eq!(dropped(&losses), Vec::<String>::new());
}

#[test]
fn probabilities_are_asked_for_where_their_number_is() {
    let top = json!({"model": "m", "input": "hi", "top_logprobs": 2});
    let (_, chat) = losses(Format::OpenaiResponses, Format::OpenaiChat, &top);
    assert_eq!((&chat["logprobs"], &chat["top_logprobs"]), (&json!(true), &json!(2)));
    let (_, sent) = losses(Format::OpenaiResponses, Format::GeminiGenerate, &top);
    let config = &sent["generationConfig"];
    assert_eq!((&config["responseLogprobs"], &config["logprobs"]), (&json!(true), &json!(2)));
    let body = gemini(json!({"logprobs": 2}));
    let (_, chat) = losses(Format::GeminiGenerate, Format::OpenaiChat, &body);
    assert_eq!((&chat["logprobs"], &chat["top_logprobs"]), (&json!(true), &json!(2)));
    let (_, sent) = losses(Format::GeminiGenerate, Format::OpenaiResponses, &body);
    assert_eq!((&sent["include"], &sent["top_logprobs"]), (&json!(["message.output_text.logprobs"]), &json!(2)));
    let none = json!({"model": "m", "input": "hi", "top_logprobs": 0});
    let (_, chat) = losses(Format::OpenaiResponses, Format::OpenaiChat, &none);
    assert_eq!((chat.get("logprobs"), chat.get("top_logprobs")), (None, None));
}

#[test]
fn a_file_without_a_name_is_what_its_type_says() {
    let file = |kind: &str, data: &str| {
        json!({"contents": [{"role": "user", "parts": [
        {"text": "hi"}, {"inlineData": {"mimeType": kind, "data": data}}]}]})
    };
    for (kind, name) in
        [("text/csv", "document.csv"), ("text/html", "document.html"), ("application/json", "document.json")]
    {
        let (_, chat) = losses(Format::GeminiGenerate, Format::OpenaiChat, &file(kind, "YSwxCg=="));
        assert_eq!(chat["messages"][0]["content"][1], json!({"type": "text", "text": "a,1\n"}), "{kind}");
        let (_, sent) = losses(Format::GeminiGenerate, Format::OpenaiResponses, &file(kind, "YSwxCg=="));
        assert_eq!(sent["input"][0]["content"][1]["filename"], name, "{sent}");
    }
    // What is no text after all is a file still.
    let (_, chat) = losses(Format::GeminiGenerate, Format::OpenaiChat, &file("text/csv", "/v8="));
    assert_eq!(chat["messages"][0]["content"][1]["file"]["filename"], "document.csv", "{chat}");
    let (_, chat) = losses(Format::GeminiGenerate, Format::OpenaiChat, &file("application/pdf", "JVBERi0xLjcK"));
    assert_eq!(chat["messages"][0]["content"][1]["file"]["filename"], "document.pdf", "{chat}");
}

#[test]
fn a_call_that_a_failure_cut_is_not_closed_before_it() {
    let call = json!({"index": 0, "id": "c", "type": "function", "function": {"name": "f", "arguments": "{\"a\":1}"}});
    for word in ["error", "abort", "insufficient_system_resource"] {
        let events = [
            json!({"id": "x", "choices": [{"index": 0, "delta": {"tool_calls": [call]}, "finish_reason": null}]}),
            json!({"id": "x", "choices": [{"index": 0, "delta": {}, "finish_reason": word}]}),
        ];
        let (written, outcome) = streamed(Format::OpenaiChat, Format::AnthropicMessages, &events);
        assert!(written.contains("event: error") && written.contains(word), "{written}");
        assert!(!written.contains("content_block_stop") && outcome.fault.is_some(), "{written}");
        let (written, _) = streamed(Format::OpenaiChat, Format::OpenaiResponses, &events);
        assert!(written.contains("response.failed") && !written.contains("arguments.done"), "{written}");
        assert!(!written.contains("\"completed\""), "{written}");
    }
}

#[test]
fn a_model_that_chooses_its_words_is_told_nothing_of_how() {
    let how = json!({"temperature": 0.5, "top_p": 0.5, "presence_penalty": 1, "frequency_penalty": 1,
        "logit_bias": {"1": 2}, "logprobs": true, "top_logprobs": 2, "prediction": {"type": "content", "content": "x"}});
    let gone =
        ["temperature", "top_p", "presence_penalty", "frequency_penalty", "logit_bias", "prediction", "logprobs"];
    let with = |more: &Value| {
        let mut body = messages(how.clone());
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let by_itself = |facts: &mut Facts| facts.sampling = false;
    let thinking = |facts: &mut Facts| facts.sampling_with_effort = false;
    for (more, change, free) in [
        (json!({}), by_itself as fn(&mut Facts), false),
        (json!({"reasoning_effort": "low"}), thinking, false),
        (json!({"reasoning_effort": "none"}), thinking, true),
        (json!({}), thinking, true),
    ] {
        let (losses, chat) = sent(Format::OpenaiChat, Format::OpenaiChat, &with(&more), change);
        for field in gone {
            assert_eq!(chat.get(field).is_some(), free, "{field} {more}");
            assert_eq!(told(&losses).contains(&format!("dropped:{field}")), !free, "{field} {more}");
        }
        assert_eq!(chat.get("top_logprobs").is_some(), free);
        let (losses, sent) = sent(Format::OpenaiChat, Format::OpenaiResponses, &with(&more), change);
        for field in ["temperature", "top_p", "top_logprobs"] {
            assert_eq!(sent.get(field).is_some(), free, "{field} {more}");
        }
        assert_eq!(sent["include"].to_string().contains("logprobs"), free);
        assert_eq!(told(&losses).contains(&"dropped:logprobs".to_owned()), !free);
    }
    // What many clients always send is dropped as well, and no loss.
    let neutral = messages(json!({"presence_penalty": 0, "logit_bias": {}, "logprobs": false}));
    let (losses, chat) = sent(Format::OpenaiChat, Format::OpenaiChat, &neutral, by_itself);
    assert_eq!((dropped(&losses), chat.get("presence_penalty"), chat.get("logprobs")), (vec![], None, None));
}

#[test]
fn words_that_a_tool_gave_stay_in_its_message() {
    let found = json!({"type": "search_result", "source": "https://h", "title": "t", "content": [{"type": "text", "text": "w"}]});
    let paper = json!({"type": "document", "title": "T", "source": {"type": "text", "media_type": "text/plain", "data": "words"}});
    let picture = json!({"type": "image", "source": {"type": "url", "url": "https://h/i.png"}});
    let body = messages(json!({"messages": [
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "f", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a",
            "content": [found, paper, {"type": "tool_reference", "tool_name": "x"}]}]}]}));
    let (losses, sent) = losses(Format::AnthropicMessages, Format::OpenaiChat, &body);
    let said = sent["messages"].as_array().unwrap();
    assert_eq!((said.len(), &said[2]["role"]), (3, &json!("tool")), "{sent}");
    let text = said[2]["content"].as_str().unwrap();
    assert!(text.contains("https://h") && text.ends_with("\nT\nwords"), "{text}");
    assert!(!told(&losses).contains(&"converted:tool_result".to_owned()), "{losses:?}");
    let mut mixed = body;
    mixed["messages"][2]["content"][0]["content"][2] = picture;
    let (_, sent) = self::losses(Format::AnthropicMessages, Format::OpenaiChat, &mixed);
    assert_eq!(sent["messages"][3]["content"][0]["text"], "[tool result a attachment 1]", "{sent}");
}

#[test]
fn messages_of_an_answer_stand_apart_in_the_one_text_of_it() {
    let text = |text: &str| json!({"type": "output_text", "text": text, "annotations": []});
    let message = |id: &str, parts: Value| json!({"type": "message", "id": id, "role": "assistant", "content": parts});
    let part = |text: &str| json!({"type": "summary_text", "text": text});
    let output = json!([
        {"type": "reasoning", "id": "rs", "summary": [part("One."), part("Two.")], "encrypted_content": "gAAA"},
        message("m1", json!([text("Looking "), text("at it.")])),
        message("m2", json!([text("All done.")])),
    ]);
    let answer = json!({"id": "r", "model": "m", "status": "completed", "output": output});
    let whole = translate_response(
        Format::OpenaiResponses,
        Format::OpenaiChat,
        answer.to_string().as_bytes(),
        &reply(),
        &Undo::default(),
    );
    let whole: Value = serde_json::from_slice(&whole.unwrap().body).unwrap();
    let said = &whole["choices"][0]["message"];
    assert_eq!(said["content"], "Looking at it.\n\nAll done.");
    assert_eq!(said["reasoning_content"], "One.\n\nTwo.");
    let mut events = vec![json!({"type": "response.created", "response": {"id": "r", "model": "m", "output": []}})];
    for (at, item) in output.as_array().unwrap().iter().enumerate() {
        events.push(json!({"type": "response.output_item.done", "output_index": at, "item": item}));
    }
    events.push(json!({"type": "response.completed", "response": answer}));
    let (written, _) = streamed(Format::OpenaiResponses, Format::OpenaiChat, &events);
    let (mut content, mut reasoning) = (String::new(), String::new());
    for line in written.lines().filter_map(|line| line.strip_prefix("data: {")) {
        let chunk: Value = serde_json::from_str(&format!("{{{line}")).unwrap();
        let delta = &chunk["choices"][0]["delta"];
        content.push_str(delta["content"].as_str().unwrap_or_default());
        reasoning.push_str(delta["reasoning_content"].as_str().unwrap_or_default());
    }
    assert_eq!((content.as_str(), reasoning.as_str()), ("Looking at it.\n\nAll done.", "One.\n\nTwo."));
    // A second turn says the same again.
    let history =
        json!({"model": "m", "messages": [{"role": "user", "content": "q"}, said, {"role": "user", "content": "r"}]});
    let (_, sent) = losses(Format::OpenaiChat, Format::OpenaiResponses, &history);
    let mut items = sent["input"].as_array().unwrap().iter();
    let again = items.find(|item| item["role"] == "assistant").unwrap();
    assert_eq!(again["content"], "Looking at it.\n\nAll done.", "{sent}");
}
