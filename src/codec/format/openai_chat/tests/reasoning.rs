//! What only some servers of the format know, on its way to another format, and back to a server of this one.

use serde_json::{Value, json};

use super::{CHAT, MESSAGES, accumulated, answer, as_it_is, chunks, frames, send, stream, to_messages};
use crate::format::{Efforts, ReasoningWish, ThinkingForm, ThinkingOff, wire};
use crate::hub::{Effort, Losses};
use crate::{Facts, Format};

fn with(fields: &Value) -> Value {
    let mut body = json!({"model": "m", "max_tokens": 32_000, "messages": [{"role": "user", "content": "hi"}]});
    for (key, value) in fields.as_object().unwrap() {
        body[key] = value.clone();
    }
    body
}

/// `thinking` and effort that a messages provider is asked for, and the losses.
fn check(fields: Value, thinking: Value, effort: Value, losses: &[&str]) {
    let sent = to_messages(&with(&fields), as_it_is);
    assert_eq!(sent.body["thinking"], thinking, "{fields}");
    assert_eq!(sent.body["output_config"]["effort"], effort, "{fields}");
    assert_eq!(sent.header, losses.join(", "), "{fields}");
}

#[test]
fn every_way_to_ask_for_thinking_is_understood() {
    let adaptive = json!({"type": "adaptive", "display": "summarized"});
    let off = json!({"type": "disabled"});
    for fields in [
        json!({"thinking": {"type": "enabled"}}),
        json!({"thinking": {"type": "auto"}}),
        json!({"reasoning": {"enabled": true}}),
        json!({"enable_thinking": true}),
        json!({"chat_template_kwargs": {"thinking": true}}),
        json!({"chat_template_kwargs": {"enable_thinking": true}}),
    ] {
        check(fields, adaptive.clone(), Value::Null, &[]);
    }
    for fields in [
        json!({"thinking": {"type": "disabled"}}),
        json!({"reasoning": {"enabled": false}}),
        json!({"reasoning": {"effort": "none"}}),
        json!({"reasoning_effort": "none"}),
        json!({"enable_thinking": false}),
        json!({"chat_template_kwargs": {"enable_thinking": false}}),
    ] {
        check(fields, off.clone(), Value::Null, &[]);
    }
    check(json!({"reasoning": {"effort": "high"}}), adaptive, json!("high"), &[]);
    check(
        json!({"reasoning": {"effort": "low", "exclude": true}}),
        json!({"type": "adaptive", "display": "omitted"}),
        json!("low"),
        &[],
    );
}

#[test]
fn a_budget_is_a_budget_however_it_is_said() {
    for fields in [
        json!({"thinking": {"type": "enabled", "budget_tokens": 4096}}),
        json!({"reasoning": {"max_tokens": 4096}}),
        json!({"thinking_budget": 4096, "enable_thinking": true}),
        json!({"chat_template_kwargs": {"enable_thinking": true, "thinking_budget": 4096}}),
    ] {
        let sent = to_messages(&with(&fields), |facts| facts.thinking = ThinkingForm::Budget);
        assert_eq!(sent.body["thinking"]["budget_tokens"], 4096, "{fields}");
    }
}

#[test]
fn the_formats_own_word_comes_first_and_what_contradicts_it_is_reported() {
    let adaptive = json!({"type": "adaptive", "display": "summarized"});
    check(
        json!({"enable_thinking": false, "thinking": {"type": "disabled"}, "reasoning_effort": "high"}),
        adaptive.clone(),
        json!("high"),
        &["dropped:/thinking", "dropped:/enable_thinking"],
    );
    check(
        json!({"thinking": {"type": "enabled"}, "reasoning_effort": "low", "reasoning": {"effort": "high"}}),
        adaptive.clone(),
        json!("low"),
        &["dropped:/reasoning"],
    );
    check(
        json!({"reasoning_effort": "low", "reasoning": {"effort": "low", "exclude": true}, "include_reasoning": true}),
        json!({"type": "adaptive", "display": "summarized"}),
        json!("low"),
        &["dropped:/reasoning"],
    );
    check(
        json!({"thinking": {"type": "enabled"}, "reasoning": {"enabled": false}}),
        json!({"type": "disabled"}),
        Value::Null,
        &["dropped:/thinking"],
    );
    check(
        json!({"reasoning": {"effort": "high", "summary": "auto"}, "chat_template_kwargs": {"x": 1}}),
        adaptive,
        json!("high"),
        &["dropped:/chat_template_kwargs/x", "dropped:/reasoning/summary"],
    );
}

/// `do not think`, as each format says it.
fn declined() -> [(Format, Value); 6] {
    let (gemini, responses) = (Format::GeminiGenerate, Format::OpenaiResponses);
    let budget = json!({"thinkingConfig": {"thinkingBudget": 0}});
    [
        (MESSAGES, with(&json!({"thinking": {"type": "disabled"}}))),
        (gemini, json!({"contents": [{"role": "user", "parts": [{"text": "q"}]}], "generationConfig": budget})),
        (responses, json!({"model": "m", "input": "q", "reasoning": {"effort": "none"}})),
        (CHAT, with(&json!({"reasoning_effort": "none"}))),
        (CHAT, with(&json!({"thinking": {"type": "disabled"}}))),
        (CHAT, with(&json!({"enable_thinking": false}))),
    ]
}

#[test]
fn a_server_is_told_not_to_think_by_the_field_that_it_has_for_it() {
    for (off, key, value) in [
        (ThinkingOff::Thinking, "thinking", json!({"type": "disabled"})),
        (ThinkingOff::EnableThinking, "enable_thinking", json!(false)),
    ] {
        for (from, body) in declined() {
            let native = from == CHAT && body.get("reasoning_effort").is_none();
            for efforts in [Efforts::ALL, Efforts::of(&[Effort::High])] {
                let facts = |facts: &mut Facts| (facts.thinking_off, facts.efforts) = (off, efforts);
                let sent = send(from, CHAT, &body, facts).unwrap();
                assert_eq!(sent.body.get("reasoning_effort"), None, "{from:?}: {}", sent.body);
                // The server's own clients know its words.
                assert!(native || sent.body[key] == value, "{from:?}: {}", sent.body);
                assert!(!sent.losses.iter().any(|loss| loss.ends_with("reasoning")), "{from:?}: {:?}", sent.losses);
                let asked = json!({"model": "m", "input": "q", "reasoning": {"effort": "high"}});
                let asked = send(Format::OpenaiResponses, CHAT, &asked, facts).unwrap().body;
                assert_eq!((&asked["reasoning_effort"], asked.get(key)), (&json!("high"), None));
            }
        }
    }
}

#[test]
fn a_model_that_always_thinks_has_no_switch() {
    for (from, body) in declined().into_iter().filter(|(from, _)| *from != CHAT) {
        let sent = send(from, CHAT, &body, |facts| {
            facts.thinking_off = ThinkingOff::Thinking;
            facts.thinking = ThinkingForm::Always;
            facts.efforts = Efforts::of(&[Effort::Low, Effort::High]);
        })
        .unwrap();
        assert_eq!((&sent.body["reasoning_effort"], sent.body.get("thinking")), (&json!("low"), None), "{from:?}");
        assert_eq!(sent.losses.last().map(String::as_str), Some("converted:reasoning"), "{from:?}");
    }
}

#[test]
fn what_passes_says_the_same_in_the_servers_own_field() {
    let facts = Facts { exact: false, thinking_off: ThinkingOff::Thinking, ..Facts::default() };
    for (body, expected) in [
        (json!({"reasoning_effort": "none"}), json!({"thinking": {"type": "disabled"}})),
        (json!({"reasoning_effort": "high"}), json!({"reasoning_effort": "high"})),
        // Said in both: the server's own word counts.
        (
            json!({"reasoning_effort": "none", "thinking": {"type": "enabled"}}),
            json!({"thinking": {"type": "enabled"}}),
        ),
    ] {
        let mut losses = Losses::default();
        let text = with(&body).to_string();
        let trimmed = wire(CHAT).trim(text.as_bytes(), &facts, &mut losses).unwrap();
        let trimmed = trimmed.unwrap_or(text.into_bytes());
        assert_eq!(serde_json::from_slice::<Value>(&trimmed).unwrap(), with(&expected));
        assert!(losses.is_empty());
    }
}

#[test]
fn other_extensions_have_their_class() {
    for (fields, class) in [
        (json!({"min_p": 0.1}), "sampling"),
        (json!({"repetition_penalty": 1.1}), "sampling"),
        (json!({"random_seed": 7}), "seed"),
        (json!({"guided_json": {"type": "object"}}), "output"),
        (json!({"models": ["a", "b"]}), "model"),
        (json!({"safe_prompt": true}), "safety"),
        (json!({"stop_token_ids": [1]}), "stop"),
        (json!({"best_of": 2}), "n"),
        (json!({"prompt_mode": "reasoning"}), "reasoning"),
        (json!({"reasoning": "much"}), "reasoning"),
    ] {
        let sent = to_messages(&with(&fields), as_it_is);
        assert_eq!(sent.losses, [format!("dropped:{class}")], "{fields}");
    }
    // All tokens may be chosen: the default, which no other format needs to be told.
    let sent = to_messages(&with(&json!({"top_k": -1})), as_it_is);
    assert_eq!((sent.body.get("top_k"), sent.losses), (None, vec![]));
    let sent = to_messages(&with(&json!({"top_k": 40})), as_it_is);
    assert_eq!(sent.body["top_k"], 40);
    let sent = to_messages(&with(&json!({"cache_control": {"type": "ephemeral", "ttl": "1h"}})), as_it_is);
    assert_eq!(sent.body["cache_control"], json!({"type": "ephemeral", "ttl": "1h"}));
    assert_eq!(sent.losses, Vec::<String>::new());
}

#[test]
fn a_server_of_the_same_format_gets_the_clients_own_words() {
    let fields = json!({
        "thinking": {"type": "enabled", "budget_tokens": 4096, "clear_thinking": false},
        "reasoning": {"effort": "high", "summary": "auto"},
        "reasoning_effort": "low",
        "include_reasoning": true,
        "enable_thinking": false,
        "chat_template_kwargs": {"enable_thinking": true, "x": [1]},
        "reasoning_format": "hidden",
        "random_seed": 7,
        "top_k": -1,
        "min_p": 0.05,
        "repetition_penalty": 1.05,
        "cache_control": {"type": "ephemeral"},
        "a.b": 1,
    });
    for compatible in [false, true] {
        let sent = send(CHAT, CHAT, &with(&fields), |facts| facts.compatible_extensions = compatible).unwrap();
        for (key, value) in fields.as_object().unwrap() {
            assert_eq!(&sent.body[key], value, "{key}");
        }
        let said = sent.body.as_object().unwrap().len();
        assert_eq!(said, fields.as_object().unwrap().len() + 3, "{}", sent.body);
        assert_eq!(sent.losses, Vec::<String>::new());
    }
    for fields in [json!({"seed": 1, "random_seed": 7}), json!({"random_seed": 7, "seed": 1})] {
        let sent = send(CHAT, CHAT, &with(&fields), as_it_is).unwrap();
        assert_eq!((&sent.body["seed"], &sent.body["random_seed"]), (&json!(1), &json!(7)));
        assert_eq!(send(CHAT, MESSAGES, &with(&fields), as_it_is).unwrap().losses, ["dropped:seed", "dropped:seed"]);
    }
}

#[test]
fn hidden_reasoning_is_not_shown() {
    for (fields, wish) in [
        (json!({"reasoning": {"effort": "high", "exclude": true}}), ReasoningWish::Hidden),
        (json!({"reasoning_effort": "high", "include_reasoning": false}), ReasoningWish::Hidden),
        (json!({"reasoning_effort": "high", "reasoning_format": "hidden"}), ReasoningWish::Hidden),
        (json!({"reasoning_effort": "high"}), ReasoningWish::Shown),
        (json!({"enable_thinking": true}), ReasoningWish::Shown),
        (json!({"enable_thinking": false}), ReasoningWish::Declined),
        (json!({"reasoning_effort": "none"}), ReasoningWish::Declined),
        (json!({}), ReasoningWish::Unasked),
    ] {
        assert_eq!(to_messages(&with(&fields), as_it_is).reply.reasoning, wish, "{fields}");
    }
}

#[test]
fn a_summary_beside_encrypted_reasoning_comes_back_as_a_summary() {
    let summary = json!([{"type": "summary_text", "text": "why"}]);
    let body = json!({"id": "resp_1", "object": "response", "model": "m", "status": "completed", "output": [
        {"id": "rs_1", "type": "reasoning", "summary": summary, "encrypted_content": "gAAA"},
        {"id": "fc_1", "type": "function_call", "call_id": "a", "name": "f", "arguments": "{}", "status": "completed"}]});
    let (whole, _) = answer(Format::OpenaiResponses, CHAT, &body).unwrap();
    let mut turn = whole["choices"][0]["message"].clone();
    // A stream gives the words and what signs them apart: clients keep the pieces, or make one entry of an index.
    let event = |kind: &str, fields: Value| {
        let mut event = json!({"type": kind, "sequence_number": 0, "output_index": 0, "summary_index": 0});
        fields.as_object().unwrap().iter().for_each(|(key, value)| event[key] = value.clone());
        event.to_string()
    };
    let lines = [
        event(
            "response.created",
            json!({"response": {"id": "resp_1", "model": "m", "status": "in_progress", "output": []}}),
        ),
        event("response.output_item.added", json!({"item": {"id": "rs_1", "type": "reasoning", "summary": []}})),
        event("response.reasoning_summary_text.delta", json!({"item_id": "rs_1", "delta": "w"})),
        event("response.reasoning_summary_text.delta", json!({"item_id": "rs_1", "delta": "hy"})),
        event("response.output_item.done", json!({"item": body["output"][0]})),
        event("response.completed", json!({"response": body})),
    ];
    let written = stream(Format::OpenaiResponses, CHAT, &chunks(&lines.each_ref().map(String::as_str)));
    let deltas =
        frames(CHAT, &written).into_iter().map(|(_, data)| data["choices"][0]["delta"]["reasoning_details"].clone());
    let pieces: Vec<Value> = deltas.filter_map(|list| list.as_array().cloned()).flatten().collect();
    let mut one = json!({});
    for (key, value) in pieces.iter().flat_map(|piece| piece.as_object().unwrap()) {
        let words = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        one[key] = if key == "text" { json!(words(&one["text"]) + &words(value)) } else { value.clone() };
    }
    for details in [turn["reasoning_details"].clone(), json!(pieces), json!([one])] {
        turn["reasoning_details"] = details;
        let result = json!({"role": "tool", "tool_call_id": "a", "content": "r"});
        let history = json!({"model": "m", "messages": [{"role": "user", "content": "q"}, turn, result]});
        let sent = send(CHAT, Format::OpenaiResponses, &history, as_it_is).unwrap();
        let item = &sent.body["input"][1];
        assert_eq!((&item["summary"], &item["encrypted_content"]), (&summary, &json!("gAAA")), "{}", sent.body);
        assert!(item["content"].is_null(), "{item}");
    }
}

/// Parts of one summary are entries of their own, and only the last of them carries the state.
#[test]
fn every_part_of_a_summary_comes_back_in_the_summary() {
    let part = |text: &str| json!({"type": "summary_text", "text": text});
    let summary = json!([part("A"), part("B"), part("C")]);
    let body = json!({"id": "resp_1", "object": "response", "model": "m", "status": "completed", "output": [
        {"id": "rs_1", "type": "reasoning", "summary": summary, "encrypted_content": "gAAA"},
        {"id": "fc_1", "type": "function_call", "call_id": "a", "name": "f", "arguments": "{}", "status": "completed"}]});
    let (whole, _) = answer(Format::OpenaiResponses, CHAT, &body).unwrap();
    let lines = [
        json!({"type": "response.created", "response": {"id": "resp_1", "model": "m", "output": []}}),
        json!({"type": "response.output_item.done", "output_index": 0, "item": body["output"][0]}),
        json!({"type": "response.output_item.done", "output_index": 1, "item": body["output"][1]}),
        json!({"type": "response.completed", "response": body}),
    ];
    let lines = lines.map(|line| line.to_string());
    let written = stream(Format::OpenaiResponses, CHAT, &chunks(&lines.each_ref().map(String::as_str)));
    for mut turn in [whole["choices"][0]["message"].clone(), accumulated(&written)["message"].clone()] {
        turn["role"] = json!("assistant");
        let result = json!({"role": "tool", "tool_call_id": "a", "content": "r"});
        let history = json!({"model": "m", "messages": [{"role": "user", "content": "q"}, turn, result]});
        let sent = send(CHAT, Format::OpenaiResponses, &history, as_it_is).unwrap();
        let item = json!({"type": "reasoning", "summary": summary, "encrypted_content": "gAAA"});
        assert_eq!(sent.body["input"][1], item, "{}", sent.body);
    }
}
