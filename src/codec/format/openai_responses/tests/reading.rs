//! Requests read: the traps of turning items into a conversation.

use super::{KEY, read};
use crate::Format;
use crate::hub::{
    Block, BlockKind, Effort, Field, Flavor, Opaque, OpaqueKind, OutputSpec, Request, Role, Strict, ThinkingKind, Tool,
    ToolMode, Verbosity, split_namespace,
};
use crate::json::Text;
use crate::seal::Seal;

fn check(body: &str, test: impl FnOnce(&Request<'_>)) {
    let seal = Seal::new(KEY);
    test(&read(body, &seal).unwrap_or_else(|refusal| panic!("{refusal}: {body}")));
}

fn of_input(input: &str, test: impl FnOnce(&Request<'_>)) {
    check(&format!(r#"{{"model":"m","input":{input}}}"#), test);
}

fn roles(request: &Request<'_>) -> Vec<Role> {
    request.turns.iter().map(|turn| turn.role).collect()
}

fn words(block: &Block<'_>) -> String {
    match &block.kind {
        BlockKind::Text { text, .. } | BlockKind::Refusal { text } | BlockKind::Thinking { text, .. } => {
            text.plain().into_owned()
        }
        BlockKind::ToolResult { id, .. } => format!("={id}"),
        BlockKind::ToolCall { id, .. } => format!("@{id}"),
        BlockKind::Redacted => "#".to_owned(),
        other => format!("{other:?}").chars().take(10).collect(),
    }
}

fn said(request: &Request<'_>) -> Vec<Vec<String>> {
    request.turns.iter().map(|turn| turn.blocks.iter().map(words).collect()).collect()
}

#[test]
fn reads_a_string_and_every_shape_of_message() {
    of_input(r#""hi""#, |request| assert_eq!(said(request), [["hi"]]));
    of_input(r#"["hi"]"#, |request| assert_eq!(said(request), [["hi"]]));
    let input = r#"[{"role":"user","content":"a"},{"type":"message","role":"assistant","content":"b"},
        {"role":"assistant","id":"msg_1","status":"completed","type":"message","content":[
            {"type":"output_text","text":"c","annotations":[],"logprobs":[]},{"type":"refusal","refusal":"d"}]},
        {"content":[{"text":"e","type":"input_text"}],"role":"user"}]"#;
    of_input(input, |request| {
        assert_eq!(said(request), [vec!["a"], vec!["b"], vec!["c", "d"], vec!["e"]]);
        assert_eq!(roles(request), [Role::User, Role::Assistant, Role::Assistant, Role::User]);
        assert!(request.turns.iter().all(|turn| turn.extras.is_empty()));
    });
}

#[test]
fn what_an_earlier_item_tells_of_its_answer_is_reported() {
    let text =
        |logprobs: &str| format!(r#"{{"type":"output_text","text":"c","annotations":[],"logprobs":{logprobs}}}"#);
    let message = |status: &str, logprobs: &str| {
        format!(r#"{{"type":"message","role":"assistant","status":"{status}","content":[{}]}}"#, text(logprobs))
    };
    let call = |status: &str| {
        format!(r#"{{"type":"function_call","call_id":"a","name":"f","arguments":"{{}}","status":"{status}"}}"#)
    };
    for (item, expected) in [
        (message("completed", "[]"), vec![]),
        (message("in_progress", "null"), vec![]),
        (message("incomplete", "[]"), vec![Field::StopReason]),
        (message("completed", r#"[{"token":"c","logprob":-1}]"#), vec![Field::Logprobs]),
        (call("completed"), vec![]),
        (call("incomplete"), vec![Field::StopReason]),
    ] {
        of_input(&format!(r#"[{{"role":"user","content":"q"}},{item}]"#), |request| {
            let found = request.turns.iter().flat_map(|turn| &turn.blocks).flat_map(|block| &block.extras);
            assert_eq!(found.map(|extra| extra.field).collect::<Vec<_>>(), expected, "{item}");
        });
    }
}

#[test]
fn instructions_come_first_then_what_the_conversation_begins_with() {
    let body = r#"{"model":"m","input":[{"role":"developer","content":"d"},{"role":"system","content":[{"type":"input_text","text":"s"}]},
        {"role":"user","content":"u"},{"role":"developer","content":"later"}],"instructions":"i"}"#;
    check(body, |request| {
        assert_eq!(request.instructions.iter().map(words).collect::<Vec<_>>(), ["i", "d", "s"]);
        assert_eq!(roles(request), [Role::User, Role::Developer]);
    });
}

#[test]
fn trap_e7_a_later_operators_message_stays_in_its_place() {
    let input = r#"[{"role":"user","content":"a"},{"role":"system","content":"s"},{"role":"user","content":"b"}]"#;
    of_input(input, |request| {
        assert_eq!(roles(request), [Role::User, Role::System, Role::User]);
        assert!(request.instructions.is_empty());
    });
}

#[test]
fn what_the_assistant_does_in_a_row_is_one_turn() {
    let input = r#"[{"role":"user","content":"q"},
        {"type":"reasoning","summary":[{"type":"summary_text","text":"r"}],"encrypted_content":"E","id":"rs_1"},
        {"role":"assistant","content":"w"},
        {"type":"function_call","call_id":"a","name":"f","arguments":"{}"},
        {"type":"function_call","call_id":"b","name":"f","arguments":"{}"},
        {"type":"function_call_output","call_id":"a","output":"1"},
        {"type":"function_call_output","call_id":"b","output":"2"},
        {"type":"reasoning","summary":[]},
        {"type":"message","role":"assistant","content":"x"}]"#;
    of_input(input, |request| {
        assert_eq!(said(request), [vec!["q"], vec!["r", "w", "@a", "@b"], vec!["=a", "=b"], vec!["x"]]);
    });
}

#[test]
fn trap_c10_results_go_behind_their_calls_in_the_order_of_the_calls() {
    let input = r#"[{"type":"function_call","call_id":"a","name":"f","arguments":"{}"},
        {"type":"function_call","call_id":"b","name":"f","arguments":"{}"},
        {"type":"function_call_output","call_id":"b","output":"2"},
        {"role":"user","content":"meanwhile"},
        {"type":"function_call_output","call_id":"a","output":"1"}]"#;
    of_input(input, |request| {
        assert_eq!(said(request), [vec!["@a", "@b"], vec!["=a", "=b"], vec!["meanwhile"]]);
    });
}

#[test]
fn results_are_words_or_parts() {
    let input = r#"[{"type":"function_call","call_id":"a","name":"f","arguments":"{}"},
        {"type":"function_call_output","call_id":"a","output":[{"type":"input_text","text":"t"},
            {"type":"input_image","image_url":"data:image/png;base64,iVBORw0KGgo=","detail":"low"},
            {"type":"input_file","file_data":"data:application/pdf;base64,JVBERi0=","filename":"a.pdf"}]}]"#;
    of_input(input, |request| {
        let BlockKind::ToolResult { content, .. } = &request.turns[1].blocks[0].kind else { panic!("no result") };
        assert!(matches!(content[0].kind, BlockKind::Text { .. }));
        assert!(matches!(content[1].kind, BlockKind::Image { .. }));
        assert!(matches!(content[2].kind, BlockKind::Document { .. }));
    });
}

#[test]
fn trap_e21_all_images_are_read_in_their_order_and_e22_their_bytes_tell_the_type() {
    let input = r#"[{"role":"user","content":[{"type":"input_image","image_url":"https://h/1.png"},
        {"type":"input_image","image_url":"data:image/png;base64,/9j/4AAQSkZJRg=="},{"type":"input_image","file_id":"file_3"}]}]"#;
    of_input(input, |request| {
        let kinds: Vec<String> = request.turns[0]
            .blocks
            .iter()
            .map(|block| match &block.kind {
                BlockKind::Image { source: crate::hub::Source::Url(url), .. } => url.plain().into_owned(),
                BlockKind::Image { source: crate::hub::Source::Base64 { media_type, .. }, .. } => {
                    media_type.to_string()
                }
                BlockKind::Image { source: crate::hub::Source::FileId(id), .. } => id.plain().into_owned(),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(kinds, ["https://h/1.png", "image/jpeg", "file_3"]);
    });
}

#[test]
fn trap_c13_a_custom_call_is_free_text() {
    let body = r#"{"model":"m","tools":[{"type":"custom","name":"patch","description":"d","format":{"type":"grammar","syntax":"lark","definition":"x"}}],
        "input":[{"type":"custom_tool_call","call_id":"a","name":"patch","input":"*** \"Begin\"\n"},
        {"type":"custom_tool_call_output","call_id":"a","output":"ok"}]}"#;
    check(body, |request| {
        let BlockKind::ToolCall { arguments, flavor, .. } = &request.turns[0].blocks[0].kind else { panic!("no call") };
        assert_eq!((*flavor, arguments.as_str()), (Flavor::Custom, r#""*** \"Begin\"\n""#));
        assert!(matches!(request.turns[1].blocks[0].kind, BlockKind::ToolResult { .. }));
        let Tool::Custom { format: Some(format), .. } = &request.tools[0] else { panic!("no custom tool") };
        assert_eq!(format.as_str(), r#"{"type":"grammar","grammar":{"syntax":"lark","definition":"x"}}"#);
    });
}

#[test]
fn trap_c15_namespaces_and_later_tools_are_offered_one_by_one() {
    let body = r#"{"model":"m","tools":[{"type":"namespace","name":"gh","description":"GitHub","tools":[
            {"type":"function","name":"search","parameters":{"type":"object"}},{"type":"custom","name":"patch"}]}],
        "input":[{"type":"additional_tools","tools":[{"type":"function","name":"late"}]},
            {"type":"function_call","call_id":"a","name":"search","namespace":"gh","arguments":"{}"}],
        "tool_choice":{"type":"function","name":"search","namespace":"gh"}}"#;
    check(body, |request| {
        let names: Vec<_> = request.tools.iter().filter_map(Tool::name).map(split_namespace).collect();
        assert_eq!(names, [(Some("gh"), "search"), (Some("gh"), "patch"), (None, "late")]);
        let BlockKind::ToolCall { name, .. } = &request.turns[0].blocks[0].kind else { panic!("no call") };
        assert_eq!(split_namespace(name), (Some("gh"), "search"));
        let Some(ToolMode::Named { name: chosen, .. }) = &request.tool_policy.mode else { panic!("no choice") };
        assert_eq!(chosen, name);
    });
}

#[test]
fn reads_every_tool_choice() {
    for (choice, mode, allowed) in [
        (r#""none""#, Some(ToolMode::None), None),
        (r#""required""#, Some(ToolMode::Any), None),
        ("null", None, None),
        (r#"{"type":"custom","name":"f"}"#, Some(ToolMode::Named { name: "f".into(), flavor: Flavor::Custom }), None),
        (
            r#"{"mode":"required","type":"allowed_tools","tools":[{"type":"function","name":"f"}]}"#,
            Some(ToolMode::Any),
            Some(vec!["f"]),
        ),
        (r#"{"type":"web_search"}"#, None, None),
        (r#"{"type":"allowed_tools","mode":"auto","tools":[{"type":"mcp","server_label":"x"}]}"#, None, None),
    ] {
        let body = format!(r#"{{"model":"m","input":"q","tool_choice":{choice}}}"#);
        check(&body, |request| {
            assert_eq!(request.tool_policy.mode, mode, "{choice}");
            let found = request.tool_policy.allowed.as_ref().map(|names| names.iter().map(AsRef::as_ref).collect());
            assert_eq!(found, allowed, "{choice}");
            let kept = request.extras.iter().any(|extra| extra.field == Field::ToolChoice);
            assert_eq!(kept, mode.is_none() && choice != "null", "{choice}");
        });
    }
}

#[test]
fn reads_the_scalar_fields() {
    let body = r#"{"model":"m","input":"q","max_output_tokens":9,"temperature":0.70,"top_p":1,"top_logprobs":3,
        "include":["message.output_text.logprobs","reasoning.encrypted_content","web_search_call.action.sources"],
        "text":{"verbosity":"low","format":{"schema":{"type":"object"},"name":"n","type":"json_schema","strict":true}},
        "reasoning":{"effort":"high","summary":"auto","context":"all_turns"},"truncation":"disabled","background":false,
        "service_tier":"flex","store":false,"stream":true,"stream_options":{"include_obfuscation":false},
        "parallel_tool_calls":false,"previous_response_id":null,"conversation":null}"#;
    check(body, |request| {
        assert_eq!(request.limits.max_output, Some(9));
        assert_eq!(request.sampling.temperature.as_ref().unwrap().as_str(), "0.70");
        assert_eq!((request.sampling.top_logprobs, request.sampling.logprobs), (Some(3), Some(true)));
        assert_eq!(request.verbosity, Some(Verbosity::Low));
        assert!(
            matches!(&request.output, OutputSpec::JsonSchema { name: Some(name), strict: Strict::Said(true), .. } if name.escaped() == "n")
        );
        assert_eq!((request.reasoning.effort, request.reasoning.show), (Some(Effort::High), Some(true)));
        assert_eq!(request.stream.unwrap().obfuscation, Some(false));
        assert!(request.stream.unwrap().include_usage);
        assert_eq!(request.tool_policy.parallel, Some(false));
        assert!(request.state.kept.is_empty());
        let keys: Vec<_> = request.extras.iter().map(|extra| extra.key.as_ref()).collect();
        assert_eq!(keys, ["include", "reasoning.context"]);
    });
}

#[test]
fn trap_e17_what_only_its_provider_keeps_is_noted() {
    for (field, value) in [
        ("previous_response_id", r#""resp_1""#),
        ("conversation", r#"{"id":"conv_1"}"#),
        ("prompt", r#"{"id":"pmpt_1"}"#),
        ("background", "true"),
    ] {
        check(&format!(r#"{{"model":"m","input":"q","{field}":{value}}}"#), |request| {
            assert_eq!(request.state.kept.len(), 1, "{field}");
            assert!(request.state.refuse_elsewhere().unwrap_err().message.contains(field), "{field}");
        });
    }
    of_input(r#"[{"type":"item_reference","id":"msg_1"}]"#, |request| {
        assert!(request.state.refuse_elsewhere().is_err());
    });
    // With a stored prompt there may be nothing else to say; without any there must be.
    check(r#"{"model":"m","prompt":{"id":"p"}}"#, |request| assert!(request.turns.is_empty()));
    assert!(read(r#"{"model":"m"}"#, &Seal::new(KEY)).is_err());
}

#[test]
fn trap_d5_envelopes_are_opened_and_forged_ones_left_out() {
    let seal = Seal::new(KEY);
    let foreign =
        Opaque { kind: OpaqueKind::ThinkingSignature, maker: Format::AnthropicMessages, data: Text::from_plain("sig") };
    let envelope = seal.wrap(&foreign);
    let item = |data: &str| {
        format!(
            r#"[{{"type":"reasoning","summary":[{{"type":"summary_text","text":"t"}}],"encrypted_content":"{data}"}}]"#
        )
    };
    of_input(&item(&envelope), |request| {
        let block = &request.turns[0].blocks[0];
        assert!(matches!(&block.kind, BlockKind::Thinking { kind: ThinkingKind::Summary, .. }));
        assert_eq!(block.opaque, std::slice::from_ref(&foreign));
    });
    of_input(&item("gAAAA=="), |request| {
        let own = &request.turns[0].blocks[0].opaque[0];
        assert_eq!((own.kind, own.maker), (OpaqueKind::EncryptedReasoning, Format::OpenaiResponses));
    });
    of_input(&item(&Seal::new([9; 32]).wrap(&foreign)), |request| {
        let block = &request.turns[0].blocks[0];
        assert!(block.opaque.is_empty());
        assert!(block.extras.iter().any(|extra| extra.field == Field::OpaqueState), "a forged envelope is reported");
    });
    let unsigned = Opaque { kind: OpaqueKind::Unsigned, maker: Format::OpenaiResponses, data: Text::EMPTY };
    of_input(&item(&seal.wrap(&unsigned)), |request| assert!(request.turns[0].blocks[0].opaque.is_empty()));
}

#[test]
fn trap_d2_a_signature_travels_in_an_item_of_its_own_and_d6_without_words() {
    let seal = Seal::new(KEY);
    let of = |kind| Opaque { kind, maker: Format::AnthropicMessages, data: Text::from_plain("sig") };
    let call = r#"{"type":"function_call","call_id":"a","name":"f","arguments":"{}"}"#;
    for (kind, words) in [
        (OpaqueKind::ThoughtSignature, ""),
        (OpaqueKind::ThinkingSignature, ""),
        (OpaqueKind::RedactedData, "#"),
        (OpaqueKind::EncryptedReasoning, "#"),
    ] {
        let envelope = seal.wrap(&of(kind));
        let input = format!(r#"[{{"type":"reasoning","summary":[],"encrypted_content":"{envelope}"}},{call}]"#);
        of_input(&input, |request| {
            assert_eq!(said(request), [[words, "@a"]], "{kind:?}");
            assert_eq!(request.turns[0].blocks[0].opaque, [of(kind)]);
        });
    }
}

#[test]
fn several_parts_of_reasoning_keep_their_order_and_the_state_is_the_last_ones() {
    let input = r#"[{"type":"reasoning","encrypted_content":"E","content":[{"type":"reasoning_text","text":"c"}],
        "summary":[{"type":"summary_text","text":"a"},{"type":"summary_text","text":"b"}]}]"#;
    of_input(input, |request| {
        assert_eq!(said(request), [["a", "b", "c"]]);
        let states: Vec<usize> = request.turns[0].blocks.iter().map(|block| block.opaque.len()).collect();
        assert_eq!(states, [0, 0, 1]);
    });
    of_input(r#"[{"type":"reasoning","summary":[],"encrypted_content":"E"}]"#, |request| {
        assert_eq!(said(request), [["#"]]);
    });
}

#[test]
fn what_is_wrong_is_refused_in_words() {
    let seal = Seal::new(KEY);
    for (body, word) in [
        (r#"{"model":"m","input":[{"role":"tool","content":"x"}]}"#, "function_call_output"),
        (r#"{"model":"m","input":[{"role":"nobody","content":"x"}]}"#, "nobody"),
        (r#"{"model":"m","input":[{"type":"function_call_output","output":"x"}]}"#, "call_id"),
        (r#"{"model":"m","input":[{"type":"function_call","call_id":"x"}]}"#, "name"),
        (r#"{"model":"m","input":"q","text":{"format":{"type":"xml"}}}"#, "xml"),
        (r#"{"model":"m","input":"q","reasoning":{"effort":"enormous"}}"#, "enormous"),
        (r#"{"model":"m","input":"q","tool_choice":"maybe"}"#, "maybe"),
        (r#"{"model":"m","input":"q","tools":[{"type":"function"}]}"#, "name"),
        (r#"{"model":"m","input":[{"role":"user","content":[{"type":"input_image"}]}]}"#, "image_url"),
        (r#"{"model":"m","input":7}"#, "expected"),
    ] {
        let refusal = read(body, &seal).expect_err(body);
        assert!(refusal.message.contains(word), "{body}: {}", refusal.message);
    }
}
