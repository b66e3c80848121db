//! Requests written: the traps of the way to a provider.

use serde_json::{Value, json};

use super::{Way, lost};
use crate::Format;
use crate::hub::{Action, BlockKind, CacheMark, Effort, Field, Opaque, OpaqueKind, ReasoningForm, Source, Tool};
use crate::json::{Json, Text};

const CALL: &str =
    r#"{"type":"function_call","call_id":"a","name":"f","arguments":"{\"n\":12345678901234567890,\"a\":1.0}"}"#;

fn body(input: &str) -> String {
    format!(r#"{{"model":"x","input":{input}}}"#)
}

#[test]
fn a_conversation_of_another_format_is_items() {
    let input = format!(
        r#"[{{"role":"user","content":"q"}},{{"role":"assistant","content":"w"}},{CALL},
            {{"type":"function_call_output","call_id":"a","output":"r"}},{{"role":"user","content":"n"}}]"#
    );
    let (written, out) = Way::foreign().go(&body(&input), |_| {}).unwrap();
    assert_eq!(
        written["input"],
        json!([
            {"type": "message", "role": "user", "content": "q"},
            {"type": "message", "role": "assistant", "content": "w"},
            {"type": "function_call", "call_id": "a", "name": "f", "arguments": "{\"n\":12345678901234567890,\"a\":1.0}"},
            {"type": "function_call_output", "call_id": "a", "output": "r"},
            {"type": "message", "role": "user", "content": "n"},
        ])
    );
    assert!(out.losses.is_empty(), "{:?}", out.losses);
    assert_eq!(written["store"], json!(false), "nothing is stored that the client did not ask for");
}

#[test]
fn trap_c27_arguments_keep_their_bytes() {
    let (_, out) = Way::foreign().go(&body(&format!("[{CALL}]")), |_| {}).unwrap();
    let text = String::from_utf8(out.body).unwrap();
    assert!(text.contains(r#""arguments":"{\"n\":12345678901234567890,\"a\":1.0}""#), "{text}");
}

#[test]
fn trap_c5_ids_have_at_most_64_characters_and_c6_none_collide() {
    let id = |tail: &str| format!("{}{tail}", "x".repeat(85));
    let call = |id: &str| {
        format!(
            r#"{{"type":"function_call","call_id":"{id}","name":"f","arguments":""}},{{"type":"function_call_output","call_id":"{id}","output":""}}"#
        )
    };
    let input = format!("[{},{},{}]", call(&id("1")), call(&id("2")), call("a.b"));
    let (written, _) = Way::foreign().go(&body(&input), |_| {}).unwrap();
    let ids: Vec<&str> =
        written["input"].as_array().unwrap().iter().map(|item| item["call_id"].as_str().unwrap()).collect();
    assert!(ids.iter().all(|id| id.len() <= 64), "{ids:?}");
    assert_eq!((ids[0], ids[2], ids[4]), (ids[1], ids[3], ids[5]), "call and result agree");
    assert!(ids[0] != ids[2] && ids[2] != ids[4]);
    assert_eq!(written["input"][0]["arguments"], "{}", "an empty text is no JSON");
}

#[test]
fn trap_c26_equal_ids_are_told_apart_on_both_sides() {
    let input = format!("[{CALL},{CALL},{0},{0}]", r#"{"type":"function_call_output","call_id":"a","output":"r"}"#);
    let (written, _) = Way::foreign().go(&body(&input), |_| {}).unwrap();
    let ids: Vec<&str> =
        written["input"].as_array().unwrap().iter().map(|item| item["call_id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["a", "a-2", "a", "a-2"]);
}

#[test]
fn trap_d10_own_state_goes_on_and_d11_no_id_of_an_item_with_it() {
    let input = format!(
        r#"[{{"role":"user","content":"q"}},{{"type":"reasoning","id":"rs_1","summary":[{{"type":"summary_text","text":"s"}}],"encrypted_content":"E"}},
            {}]"#,
        CALL.replace("\"call_id\"", "\"id\":\"fc_1\",\"call_id\"")
    );
    for way in [Way::own(), Way::foreign()] {
        let (written, out) = way.go(&body(&input), |_| {}).unwrap();
        let items = written["input"].as_array().unwrap();
        assert_eq!(
            items[1],
            json!({"type": "reasoning", "summary": [{"type": "summary_text", "text": "s"}], "encrypted_content": "E"})
        );
        assert_eq!((&items[2]["type"], items[2].get("id")), (&json!("function_call"), None), "both ids or none");
        assert_eq!(written["include"], json!(["reasoning.encrypted_content"]), "the next state must come too");
        assert!(out.losses.is_empty(), "{:?}", out.losses);
    }
}

#[test]
fn trap_d8_reasoning_without_own_state_is_left_out_and_reported() {
    let foreign = |maker, kind| Opaque { kind, maker, data: Text::from_plain("sig") };
    for opaque in [
        None,
        Some(foreign(Format::AnthropicMessages, OpaqueKind::ThinkingSignature)),
        Some(foreign(Format::OpenaiChat, OpaqueKind::ThoughtSignature)),
    ] {
        let input = r#"[{"type":"reasoning","summary":[{"type":"summary_text","text":"s"}]},{"role":"assistant","content":"w"}]"#;
        let signed = opaque.is_some();
        let (written, out) =
            Way::foreign().go(&body(input), |request| request.turns[0].blocks[0].opaque.extend(opaque)).unwrap();
        assert_eq!(written["input"], json!([{"type": "message", "role": "assistant", "content": "w"}]));
        assert!(lost(&out, Field::Thinking, Action::Dropped));
        assert_eq!(lost(&out, Field::OpaqueState, Action::Dropped), signed);
        assert!(written.get("include").is_none());
    }
}

#[test]
fn words_before_a_state_are_its_summary() {
    let input = r#"[{"type":"reasoning","encrypted_content":"E","summary":[{"type":"summary_text","text":"a"},{"type":"summary_text","text":"b"}],
        "content":[{"type":"reasoning_text","text":"c"}]}]"#;
    let (written, _) = Way::own().go(&body(input), |_| {}).unwrap();
    let item = &written["input"][0];
    assert_eq!(item["summary"], json!([{"type": "summary_text", "text": "a"}, {"type": "summary_text", "text": "b"}]));
    assert_eq!(item["content"], json!([{"type": "reasoning_text", "text": "c"}]));
}

#[test]
fn trap_c13_custom_tools_and_their_calls() {
    let text = r#"{"model":"m","tools":[{"type":"custom","name":"patch","format":{"type":"grammar","syntax":"lark","definition":"x"}}],
        "tool_choice":{"type":"custom","name":"patch"},
        "input":[{"type":"custom_tool_call","call_id":"a","name":"patch","input":"\"q\"\n"},{"type":"custom_tool_call_output","call_id":"a","output":"ok"}]}"#;
    let (written, out) = Way::foreign().go(text, |_| {}).unwrap();
    assert_eq!(written["tools"][0]["format"], json!({"type": "grammar", "syntax": "lark", "definition": "x"}));
    assert_eq!(
        written["input"][0],
        json!({"type": "custom_tool_call", "call_id": "a", "name": "patch", "input": "\"q\"\n"})
    );
    assert_eq!(written["input"][1]["type"], "custom_tool_call_output");
    assert_eq!(written["tool_choice"], json!({"type": "custom", "name": "patch"}));
    assert!(out.undo.wrapped_tools.is_empty());
    let (written, out) = Way::foreign().with(|facts| facts.custom_tools = false).go(text, |_| {}).unwrap();
    assert_eq!(written["tools"][0]["type"], "function");
    assert_eq!(written["input"][0]["arguments"], "{\"input\":\"\\\"q\\\"\\n\"}");
    assert_eq!(written["input"][1]["type"], "function_call_output");
    assert_eq!(written["tool_choice"], json!({"type": "function", "name": "patch"}));
    assert_eq!(out.undo.wrapped_tools, ["patch"]);
}

#[test]
fn trap_c15_namespaces_are_kept_within_the_format_and_flattened_from_another() {
    let text = r#"{"model":"m","tools":[{"type":"function","name":"g","parameters":{"type":"object"}},{"type":"namespace","name":"ns","description":"d","tools":[
        {"type":"function","name":"f","parameters":{"type":"object"},"strict":false}]},{"type":"tool_search"}],
        "input":[{"type":"function_call","call_id":"a","name":"f","namespace":"ns","arguments":"{}"}]}"#;
    let (written, out) = Way::own().go(text, |_| {}).unwrap();
    assert_eq!(
        written["tools"],
        json!([
            {"type": "function", "name": "g", "parameters": {"type": "object"}},
            {"type": "namespace", "name": "ns", "description": "d",
                "tools": [{"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": false}]},
            {"type": "tool_search"},
        ])
    );
    assert_eq!((&written["input"][0]["name"], &written["input"][0]["namespace"]), (&json!("f"), &json!("ns")));
    assert!(out.losses.is_empty() && out.undo.renamed_tools.is_empty());
    let (written, out) = Way::foreign().go(text, |_| {}).unwrap();
    let name = written["tools"][1]["name"].as_str().unwrap();
    assert_eq!(written["input"][0]["name"], name);
    assert_eq!(out.undo.renamed_tools.len(), 1);
    assert!(lost(&out, Field::ToolName, Action::Converted) && lost(&out, Field::Tool, Action::Dropped));
}

#[test]
fn trap_c16_tools_of_another_provider_are_refused() {
    let own = r#"{"model":"m","input":"q","tools":[{"type":"web_search"}]}"#;
    let (written, _) = Way::own().go(own, |_| {}).unwrap();
    assert_eq!(written["tools"], json!([{"type": "web_search"}]));
    let refusal = Way::foreign()
        .go(own, |request| {
            request.tools =
                vec![Tool::Server { format: Format::AnthropicMessages, raw: Json::NULL, by_client: false, at: 0 }];
        })
        .unwrap_err();
    assert_eq!(refusal.code, Some("unsupported_tool"));
}

#[test]
fn trap_c18_freedom_to_use_tools() {
    let text = |choice: &str| {
        format!(
            r#"{{"model":"m","input":"q","parallel_tool_calls":false,"tool_choice":{choice},"tools":[{{"type":"function","name":"f"}},{{"type":"function","name":"g"}}]}}"#
        )
    };
    for (choice, expected) in [
        (r#""auto""#, json!("auto")),
        (r#""none""#, json!("none")),
        (r#""required""#, json!("required")),
        (r#"{"type":"function","name":"f"}"#, json!({"type": "function", "name": "f"})),
        (
            r#"{"type":"allowed_tools","mode":"required","tools":[{"type":"function","name":"g"}]}"#,
            json!({"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "g"}]}),
        ),
    ] {
        let (written, _) = Way::foreign().go(&text(choice), |_| {}).unwrap();
        assert_eq!(written["tool_choice"], expected);
        assert_eq!(written["parallel_tool_calls"], json!(false));
        assert_eq!(written["tools"].as_array().unwrap().len(), 2, "the list of tools is never cut");
    }
    let forced = Way::foreign().with(|facts| facts.forced_tool = false).go(&text(r#""required""#), |_| {});
    assert_eq!(forced.unwrap_err().param.as_deref(), Some("tool_choice"));
    let none = r#"{"model":"m","input":"q","tool_choice":"required","parallel_tool_calls":true}"#;
    let (written, out) = Way::foreign().go(none, |_| {}).unwrap();
    assert!(written.get("tool_choice").is_none() && lost(&out, Field::ToolChoice, Action::Dropped));
}

#[test]
fn trap_c20_strictness_is_said_where_silence_means_another_thing() {
    let text = r#"{"model":"m","input":"q","tools":[{"type":"function","name":"f"},
        {"type":"function","name":"g","strict":true,"parameters":{"type":"object","properties":{"a":{"type":"string"}}}}]}"#;
    let (written, out) = Way::foreign().go(text, |_| {}).unwrap();
    assert_eq!(
        written["tools"][0],
        json!({"type": "function", "name": "f", "parameters": {"type": "object", "properties": {}}, "strict": false})
    );
    assert_eq!(written["tools"][1]["strict"], json!(false));
    assert!(lost(&out, Field::Strict, Action::Converted));
    let (written, out) = Way::own().go(text, |_| {}).unwrap();
    assert_eq!((written["tools"][0].get("strict"), &written["tools"][1]["strict"]), (None, &json!(true)));
    assert!(out.losses.is_empty());
}

#[test]
fn an_answer_that_was_begun_is_no_beginning_here() {
    let user = r#"{"role":"user","content":"q"}"#;
    for (rest, begun) in [
        (r#",{"role":"assistant","content":"It is"}"#, true),
        (r#",{"role":"assistant","content":"It is"},{"role":"user","content":"go on"}"#, false),
        (r#",{"type":"function_call","call_id":"a","name":"f","arguments":"{}"}"#, false),
        ("", false),
    ] {
        let body = body(&format!("[{user}{rest}]"));
        let (_, out) = Way::foreign().go(&body, |_| {}).unwrap();
        assert_eq!(lost(&out, Field::Turn, Action::Dropped), begun, "{rest}");
        let (_, out) = Way::own().go(&body, |_| {}).unwrap();
        assert!(out.losses.is_empty(), "{rest}");
    }
}

#[test]
fn two_tools_of_one_name_are_refused() {
    let text = r#"{"model":"m","input":"q","tools":[{"type":"function","name":"f"},{"type":"custom","name":"f"}]}"#;
    assert!(Way::foreign().go(text, |_| {}).unwrap_err().message.contains("two tools are named `f`"));
}

#[test]
fn trap_e8_instructions_with_parts_are_items_and_one_text_is_a_field() {
    let (written, _) = Way::foreign().go(r#"{"model":"m","instructions":"i","input":"q"}"#, |_| {}).unwrap();
    assert_eq!(written["instructions"], "i");
    let text = r#"{"model":"m","instructions":"i","input":[{"role":"developer","content":"j"},{"role":"user","content":"q"},{"role":"system","content":"s"}]}"#;
    let (written, out) = Way::foreign()
        .go(text, |request| request.instructions[0].cache = Some(CacheMark { ttl_s: Some(300) }))
        .unwrap();
    assert!(written.get("instructions").is_none());
    assert_eq!(
        written["input"][0],
        json!({"type": "message", "role": "developer", "content": [
            {"type": "input_text", "text": "i", "prompt_cache_breakpoint": {"mode": "explicit", "ttl": "30m"}},
            {"type": "input_text", "text": "j"},
        ]})
    );
    assert_eq!(written["input"][2]["role"], "system", "a later message stays in its place");
    assert!(lost(&out, Field::CacheMark, Action::Converted));
}

#[test]
fn trap_e11_cache_marks_are_breakpoints() {
    for (ttl_s, expected) in
        [(None, json!({"mode": "explicit"})), (Some(3600), json!({"mode": "explicit", "ttl": "12h"}))]
    {
        let (written, _) = Way::foreign()
            .go(&body(r#"[{"role":"user","content":"q"}]"#), |request| {
                request.turns[0].blocks[0].cache = Some(CacheMark { ttl_s });
            })
            .unwrap();
        assert_eq!(written["input"][0]["content"][0]["prompt_cache_breakpoint"], expected);
    }
    let (written, out) = Way::foreign()
        .with(|facts| facts.cache_breakpoints = false)
        .go(&body(r#"[{"role":"user","content":"q"}]"#), |request| {
            request.turns[0].blocks[0].cache = Some(CacheMark { ttl_s: None });
        })
        .unwrap();
    assert!(written["input"][0]["content"][0].get("prompt_cache_breakpoint").is_none());
    assert!(lost(&out, Field::CacheMark, Action::Converted));
}

#[test]
fn a_mark_on_a_tool_stands_behind_the_instructions() {
    let text = |instructions: &str| {
        let tools = r#"[{"type":"function","name":"f"},{"type":"function","name":"g"}]"#;
        format!(r#"{{"model":"m",{instructions}"input":"q","tools":{tools}}}"#)
    };
    let mark = |request: &mut crate::hub::Request<'_>| {
        for (tool, ttl_s) in request.tools.iter_mut().zip([Some(3600), None]) {
            if let Tool::Function { cache, .. } = tool {
                *cache = Some(CacheMark { ttl_s });
            }
        }
    };
    let (written, out) = Way::foreign().go(&text(r#""instructions":"i","#), mark).unwrap();
    assert!(written.get("instructions").is_none());
    assert_eq!(written["input"][0]["content"][0]["prompt_cache_breakpoint"], json!({"mode": "explicit", "ttl": "12h"}));
    let losses: Vec<_> = out.losses.iter().map(|loss| (loss.field, loss.action)).collect();
    assert!(losses.starts_with(&[(Field::CacheMark, Action::Converted); 2]), "{losses:?}");
    // Clients mark their tools in every request: that nothing can carry the mark costs them no answer.
    let (_, out) = Way::foreign().go(&text(""), mark).unwrap();
    assert!(lost(&out, Field::CacheMark, Action::Converted) && !out.losses.any_dropped());
    let none = Way::foreign().with(|facts| facts.cache_breakpoints = false);
    let (written, out) = none.go(&text(r#""instructions":"i","#), mark).unwrap();
    assert_eq!(written["instructions"], "i");
    assert!(lost(&out, Field::CacheMark, Action::Converted) && !out.losses.any_dropped());
}

#[test]
fn trap_e16_more_than_one_answer_is_refused() {
    let refusal = Way::foreign().go(&body(r#""q""#), |request| request.sampling.n = Some(2)).unwrap_err();
    assert_eq!(refusal.code, Some("unsupported_parameter"));
    assert!(Way::foreign().go(&body(r#""q""#), |request| request.sampling.n = Some(1)).is_ok());
}

#[test]
fn trap_e23_a_schema_is_flat_and_stands_beside_tools() {
    let text = r#"{"model":"m","input":"q","tools":[{"type":"function","name":"f"}],
        "text":{"format":{"type":"json_schema","schema":{"type":"object"}},"verbosity":"high"}}"#;
    let (written, _) = Way::foreign().go(text, |_| {}).unwrap();
    assert_eq!(
        written["text"],
        json!({"format": {"type": "json_schema", "name": "response", "schema": {"type": "object"}}, "verbosity": "high"})
    );
    assert!(Way::foreign().with(|facts| facts.structured = false).go(text, |_| {}).is_err());
}

#[test]
fn reasoning_is_an_effort() {
    for (effort, budget, form, expected) in [
        (Some(Effort::Max), None, None, json!({"effort": "max"})),
        (None, Some(8000), Some(ReasoningForm::Budget), json!({"effort": "medium", "summary": "auto"})),
        (None, None, Some(ReasoningForm::Disabled), Value::Null),
        (None, None, Some(ReasoningForm::Adaptive), json!({"summary": "auto"})),
        (None, None, None, Value::Null),
    ] {
        let (written, _) = Way::foreign()
            .go(&body(r#""q""#), |request| {
                (request.reasoning.effort, request.reasoning.budget, request.reasoning.form) = (effort, budget, form);
            })
            .unwrap();
        assert_eq!(written.get("reasoning").cloned().unwrap_or_default(), expected);
        let thinks = expected.is_object() && expected["effort"] != "none";
        assert_eq!(written.get("include").is_some(), thinks, "the state is asked for where there is thinking");
    }
}

#[test]
fn what_the_api_lacks_is_reported() {
    let (_, out) = Way::foreign()
        .go(&body(r#""q""#), |request| {
            request.limits.stop = vec![Text::from_plain("x")];
            let sampling = &mut request.sampling;
            for field in [&mut sampling.top_k, &mut sampling.seed, &mut sampling.presence_penalty] {
                *field = Some(Json::from_valid("1"));
            }
            for field in [&mut sampling.frequency_penalty, &mut sampling.logit_bias, &mut sampling.prediction] {
                *field = Some(Json::from_valid("1"));
            }
            request.turns[0].name = Some(Text::from_plain("n"));
        })
        .unwrap();
    for field in [
        Field::Stop,
        Field::TopK,
        Field::Seed,
        Field::PresencePenalty,
        Field::FrequencyPenalty,
        Field::LogitBias,
        Field::Prediction,
        Field::TurnName,
    ] {
        assert!(lost(&out, field, Action::Dropped), "{field:?}");
    }
}

#[test]
fn results_may_hold_media_and_say_that_the_tool_failed() {
    let input = format!(
        r#"[{CALL},{{"type":"function_call_output","call_id":"a","output":[{{"type":"input_text","text":"t"}},{{"type":"input_image","image_url":"https://h/i.png"}}]}}]"#
    );
    let failed = |request: &mut crate::hub::Request<'_>| {
        if let BlockKind::ToolResult { is_error, .. } = &mut request.turns[1].blocks[0].kind {
            *is_error = Some(true);
        }
    };
    let (written, out) = Way::foreign().go(&body(&input), failed).unwrap();
    assert_eq!(
        written["input"][1]["output"],
        json!([{"type": "input_text", "text": "Error: "}, {"type": "input_text", "text": "t"},
            {"type": "input_image", "image_url": "https://h/i.png", "detail": "auto"}])
    );
    assert!(lost(&out, Field::ToolError, Action::Converted));
    let words = input.replace(
        r#"[{"type":"input_text","text":"t"},{"type":"input_image","image_url":"https://h/i.png"}]"#,
        "\"boom\"",
    );
    let (written, _) = Way::foreign().go(&body(&words), failed).unwrap();
    assert_eq!(written["input"][1]["output"], "Error: boom");
}

#[test]
fn files_go_on_as_data_and_foreign_ids_are_refused() {
    let input = r#"[{"role":"user","content":[{"type":"input_file","file_id":"f_1"}]}]"#;
    assert!(Way::own().go(&body(input), |_| {}).is_ok());
    assert_eq!(Way::foreign().go(&body(input), |_| {}).unwrap_err().code, Some("unsupported_source"));
    let (written, _) = Way::foreign()
        .go(&body(input), |request| {
            if let BlockKind::Document { source, .. } = &mut request.turns[0].blocks[0].kind {
                *source = Source::Text(Text::from_plain("words"));
            }
        })
        .unwrap();
    assert_eq!(written["input"][0]["content"][0]["file_data"], "data:text/plain;base64,d29yZHM=");
}

#[test]
fn trap_e17_what_its_own_provider_keeps_goes_on_and_no_further() {
    let text = r#"{"model":"m","input":[{"role":"user","content":"q"},{"type":"item_reference","id":"msg_1"}],"previous_response_id":"resp_1","background":true}"#;
    let (written, _) = Way::own().go(text, |_| {}).unwrap();
    assert_eq!((&written["previous_response_id"], &written["background"]), (&json!("resp_1"), &json!(true)));
    assert_eq!(written["input"][1], json!({"type": "item_reference", "id": "msg_1"}));
    assert_eq!(Way::foreign().go(text, |_| {}).unwrap_err().code, Some("unsupported_parameter"));
}

#[test]
fn this_formats_own_fields_go_on_within_it() {
    let text = r#"{"model":"m","input":[{"role":"user","content":"q"},{"type":"message","role":"assistant","id":"msg_9","phase":"commentary","status":"completed","content":[{"type":"output_text","text":"w","annotations":[]}]},
        {"type":"web_search_call","id":"ws_1","status":"completed","action":{"query":"x"}},{"type":"compaction","encrypted_content":"C"}],
        "reasoning":{"effort":"low","summary":"detailed","context":"all_turns"},"text":{"x":1},"include":["web_search_call.action.sources"],
        "truncation":"auto","max_tool_calls":3,"vendor":{"a":[1.50]},"tool_choice":{"type":"web_search"},"tools":[{"type":"web_search"}]}"#;
    let (written, out) = Way::own().go(text, |_| {}).unwrap();
    assert_eq!(written["reasoning"], json!({"effort": "low", "summary": "detailed", "context": "all_turns"}));
    assert_eq!(written["text"], json!({"x": 1}));
    assert_eq!(written["include"], json!(["reasoning.encrypted_content", "web_search_call.action.sources"]));
    assert_eq!((&written["truncation"], &written["max_tool_calls"]), (&json!("auto"), &json!(3)));
    assert_eq!(written["tool_choice"], json!({"type": "web_search"}));
    assert_eq!(written["input"][1]["phase"], "commentary");
    assert_eq!(written["input"][2]["action"], json!({"query": "x"}));
    assert_eq!(written["input"][3], json!({"type": "compaction", "encrypted_content": "C"}));
    assert!(String::from_utf8(out.body.clone()).unwrap().contains("\"vendor\":{\"a\":[1.50]}"));
    assert!(out.losses.is_empty(), "{:?}", out.losses);
    let without = [
        r#","tool_choice":{"type":"web_search"},"tools":[{"type":"web_search"}]"#,
        r#",{"type":"compaction","encrypted_content":"C"}"#,
    ];
    let text = without.into_iter().fold(text.to_owned(), |text, refused| text.replace(refused, ""));
    let (_, out) = Way::foreign().go(&text, |_| {}).unwrap();
    for field in [Field::Reasoning, Field::Output, Field::ServerTool, Field::Turn, Field::Unknown] {
        assert!(lost(&out, field, Action::Dropped), "{field:?}");
    }
}

#[test]
fn a_field_of_an_operators_message_is_no_field_of_the_request() {
    let text =
        r#"{"model":"x","input":[{"role":"developer","content":"d","model":"sneaked"},{"role":"user","content":"q"}]}"#;
    let (written, out) = Way::own().go(text, |_| {}).unwrap();
    assert_eq!(written["model"], "m");
    assert!(lost(&out, Field::Unknown, Action::Dropped));
}

#[test]
fn trap_d9_a_longer_history_begins_as_the_shorter_did() {
    let items = [
        r#"{"role":"developer","content":"d"}"#,
        r#"{"role":"user","content":"q"}"#,
        r#"{"type":"reasoning","summary":[],"encrypted_content":"E"}"#,
        CALL,
        r#"{"type":"function_call_output","call_id":"a","output":"r"}"#,
        r#"{"role":"assistant","content":"w"}"#,
        r#"{"role":"system","content":"s"}"#,
        r#"{"role":"user","content":"n"}"#,
    ];
    let written = |count: usize| {
        let (_, out) = Way::foreign().go(&body(&format!("[{}]", items[..count].join(","))), |_| {}).unwrap();
        let text = String::from_utf8(out.body).unwrap();
        let (head, input) = text.split_once("\"input\":[").unwrap();
        (head.to_owned(), input.trim_end_matches("]}").to_owned())
    };
    for count in 2..items.len() {
        let ((_, shorter), (_, longer)) = (written(count), written(count + 1));
        // A call is answered behind it, so that what its turn holds is complete with the next item.
        assert!(longer.starts_with(&shorter), "{count}: {shorter} and {longer}");
    }
}
