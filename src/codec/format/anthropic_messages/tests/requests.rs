//! Requests: the traps of reading and writing them.

use serde_json::{Value, json};

use super::{Way, losses, lost, read};
use crate::format::ThinkingForm;
use crate::hub::{
    Action, Block, BlockKind, CacheMark, Effort, Extra, Field, Flavor, Opaque, OpaqueKind, OutputSpec, Role, Source,
    Strict, Tier, Tool, ToolMode, Turn, Verbosity,
};
use crate::json::{Json, Text};
use crate::seal::Seal;
use crate::{Format, hub};

const HI: &str = r#"{"model":"x","max_tokens":2000,"messages":[{"role":"user","content":"hi"}]}"#;

/// A body with `rest` behind a short conversation.
fn with(rest: &str) -> String {
    format!(r#"{{"model":"x","max_tokens":2000,"messages":[{{"role":"user","content":"hi"}}],{rest}}}"#)
}

/// A body with `messages`.
fn talk(messages: &str) -> String {
    format!(r#"{{"model":"x","max_tokens":2000,"messages":[{messages}]}}"#)
}

const USER: &str = r#"{"role":"user","content":"hi"}"#;

fn roles(body: &Value) -> Vec<&str> {
    body["messages"].as_array().unwrap().iter().map(|message| message["role"].as_str().unwrap()).collect()
}

#[test]
fn own_requests_come_out_as_they_went_in() {
    let body = json!({
        "model": "m", "max_tokens": 4000, "stream": true, "stop_sequences": ["END"], "temperature": 0.7, "top_p": 0.9,
        "top_k": 5, "metadata": {"user_id": "u", "team": 1}, "service_tier": "standard_only", "speed": "fast",
        "output_config": {"effort": "high", "task_budget": {"n": 1},
                          "format": {"type": "json_schema", "schema": {"type": "object", "properties": {}}}},
        "tool_choice": {"type": "tool", "name": "f", "disable_parallel_tool_use": true},
        "cache_control": {"type": "ephemeral", "ttl": "1h"},
        "container": "c", "unheard_of": {"a": 1.0},
        "tools": [
            {"name": "f", "description": "d", "input_schema": {"type": "object"}, "strict": true,
             "defer_loading": true, "cache_control": {"type": "ephemeral"}},
            {"type": "web_search_20260318", "name": "web_search", "max_uses": 3}
        ],
        "system": [{"type": "text", "text": "be brief", "cache_control": {"type": "ephemeral", "ttl": "5m"}}],
        "messages": [
            {"role": "user", "content": [
                {"type": "text", "text": "look", "cache_control": {"type": "ephemeral", "scope": "global"}},
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJ"}},
                {"type": "image", "source": {"type": "url", "url": "https://example.org/a.png"}},
                {"type": "image", "source": {"type": "file", "file_id": "file_1"}},
                {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "words"},
                 "title": "t", "context": "c", "citations": {"enabled": true}},
                {"type": "document", "source": {"type": "content", "content": [{"type": "text", "text": "part"}]}},
                {"type": "search_result", "source": "s", "title": "t", "content": [{"type": "text", "text": "x"}]},
                {"type": "container_upload", "file_id": "f"},
                {"type": "brand_new", "x": [1, 2.0]}
            ]},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "hm", "signature": "EqQB"},
                {"type": "redacted_thinking", "data": "Eabc"},
                {"type": "text", "text": "well", "citations": [{"type": "char_location", "cited_text": "words"}]},
                {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "q"}},
                {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []},
                {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"n": 1.0}}
            ]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "toolu_1", "is_error": true,
                 "content": [{"type": "text", "text": "bad"},
                             {"type": "image", "source": {"type": "url", "url": "https://example.org/b.png"}}]}
            ]},
            {"role": "system", "content": [{"type": "text", "text": "mind the time"}], "clear_at": "x"}
        ]
    });
    let (written, out) = Way::own().go(&body.to_string(), |_| {}).unwrap();
    assert_eq!(written, body);
    assert!(out.losses.is_empty(), "{:?}", losses(&out));
}

#[test]
fn betas_are_for_the_makers_of_the_format_only() {
    let seal = Seal::new(super::KEY);
    let head = crate::format::RequestHead {
        api_version: None,
        betas: Some("a-1, b-2,"),
        line: crate::Line::default(),
        seal: &seal,
    };
    let request =
        crate::format::WireFormat::read_request(&super::super::AnthropicMessages, HI.as_bytes(), &head).unwrap();
    let headers = Way::own().write(&request).unwrap().headers;
    assert_eq!(headers, [("anthropic-beta", "a-1,b-2".to_owned())]);
    let (_, out) = Way::default().go(HI, |request| request.origin.betas = vec!["a".into()]).unwrap();
    assert!(out.headers.is_empty());
}

#[test]
fn keys_may_come_in_any_order() {
    let body = talk(
        r#"{"content":[{"text":"a","type":"text"},{"source":{"url":"u","type":"url"},"type":"image"}],"role":"user"}"#,
    );
    let (written, _) = Way::own().go(&body, |_| {}).unwrap();
    assert_eq!(written["messages"][0]["content"][1]["source"]["url"], "u");
}

#[test]
fn wrong_requests_are_refused_with_their_place() {
    let seal = Seal::new(super::KEY);
    for (body, at) in [
        (r#"{"model":"x"}"#.to_owned(), "messages"),
        (talk(r#"{"role":"robot","content":"x"}"#), "messages[0].role"),
        (talk(r#"{"role":"user"}"#), "messages[0]"),
        (talk(r#"{"role":"user","content":7}"#), "messages[0].content"),
        (talk(r#"{"role":"user","content":[{"type":"text"}]}"#), "messages[0].content[0]"),
        (with(r#""thinking":{"type":"enabled"}"#), "thinking"),
        (with(r#""tool_choice":{"type":"tool"}"#), "tool_choice"),
        (with(r#""tools":[{"description":"no name"}]"#), "tools[0]"),
        (with(r#""temperature":"hot""#), "temperature"),
    ] {
        let fault = read(&body, None, &seal).unwrap_err().into_fault(body.as_bytes());
        assert_eq!(fault.param.as_deref(), Some(at), "{body}: {}", fault.message);
    }
}

#[test]
fn trap_c1_replayed_empty_input_is_an_object() {
    for (input, expected) in
        [(r#""""#, json!({})), ("null", json!({})), (r#""{\"a\":1}""#, json!({"a": 1})), ("{}", json!({}))]
    {
        let body = talk(&format!(
            r#"{USER},{{"role":"assistant","content":[{{"type":"tool_use","id":"t","name":"f","input":{input}}}]}},
               {{"role":"user","content":[{{"type":"tool_result","tool_use_id":"t"}}]}}"#
        ));
        let (written, _) = Way::own().go(&body, |_| {}).unwrap();
        assert_eq!(written["messages"][1]["content"][0]["input"], expected, "{input}");
    }
    let broken = talk(&format!(
        r#"{USER},{{"role":"assistant","content":[{{"type":"tool_use","id":"t","name":"f","input":"{{oops"}}]}},
           {{"role":"user","content":[{{"type":"tool_result","tool_use_id":"t"}}]}}"#
    ));
    assert!(Way::own().go(&broken, |_| {}).is_err());
}

fn call(id: &'static str) -> Block<'static> {
    let arguments = Json::from_valid(r#"{"n":12345678901234567890}"#);
    Block::new(BlockKind::ToolCall { id: id.into(), name: "f".into(), arguments, flavor: Flavor::Function }, 1)
}

fn result(id: &'static str, text: &'static str) -> Block<'static> {
    let content = vec![Block::text(Text::from_escaped(text), 2)];
    Block::new(BlockKind::ToolResult { id: id.into(), content, is_error: None }, 2)
}

fn said(words: &'static str) -> Block<'static> {
    Block::text(Text::from_escaped(words), 3)
}

fn turn(role: Role, blocks: Vec<Block<'static>>) -> Turn<'static> {
    Turn::new(role, blocks, 4)
}

/// Replaces the conversation.
fn talking(turns: Vec<Turn<'static>>) -> impl FnOnce(&mut hub::Request<'_>) {
    move |request| request.turns = turns
}

#[test]
fn trap_c10_results_come_first_in_the_order_of_the_calls() {
    let turns = vec![
        turn(Role::User, vec![said("go")]),
        turn(Role::Assistant, vec![said("ok"), call("a"), call("b")]),
        turn(Role::User, vec![result("b", "B")]),
        turn(Role::User, vec![said("and then")]),
        turn(Role::User, vec![result("a", "A")]),
    ];
    let (body, _) = Way::default().go(HI, talking(turns)).unwrap();
    assert_eq!(roles(&body), ["user", "assistant", "user"]);
    let last = &body["messages"][2]["content"];
    assert_eq!((&last[0]["tool_use_id"], &last[1]["tool_use_id"]), (&json!("a"), &json!("b")));
    assert_eq!(last[2]["text"], "and then");
}

#[test]
fn trap_c10_a_missing_result_is_refused_here() {
    for turns in [
        vec![turn(Role::User, vec![said("go")]), turn(Role::Assistant, vec![call("a")])],
        vec![
            turn(Role::User, vec![said("go")]),
            turn(Role::Assistant, vec![call("a"), call("b")]),
            turn(Role::User, vec![result("a", "A")]),
        ],
        vec![turn(Role::User, vec![said("go"), result("nobody", "A")])],
    ] {
        let refusal = Way::default().go(HI, talking(turns)).unwrap_err();
        assert!(refusal.message.contains("tool"), "{refusal}");
    }
}

#[test]
fn traps_c3_c4_c5_c6_ids_fit_and_stay_apart() {
    let long: &'static str = Box::leak("y".repeat(90).into_boxed_str());
    let longer: &'static str = Box::leak(format!("{long}z").into_boxed_str());
    let ids = ["functions.Bash:0", "a.b", "a:b", long, longer, "call_0", "call_0"];
    let turns = vec![
        turn(Role::User, vec![said("go")]),
        turn(Role::Assistant, ids.iter().map(|id| call(id)).collect()),
        turn(Role::User, ids.iter().map(|id| result(id, "r")).collect()),
        turn(Role::Assistant, vec![call("call_0")]),
        turn(Role::User, vec![result("call_0", "r")]),
    ];
    let (body, _) = Way::default().go(HI, talking(turns)).unwrap();
    let mut calls = Vec::new();
    for at in [1, 3] {
        let pairs = body["messages"][at]["content"].as_array().unwrap().iter();
        for (call, result) in pairs.zip(body["messages"][at + 1]["content"].as_array().unwrap()) {
            assert_eq!(call["id"], result["tool_use_id"]);
            let id = call["id"].as_str().unwrap().to_owned();
            assert!(id.len() <= 64 && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b)));
            assert!(!calls.contains(&id), "{id}");
            calls.push(id);
        }
    }
}

#[test]
fn traps_c13_c14_custom_tools_are_wrapped() {
    let custom = |request: &mut hub::Request<'_>| {
        let grammar = r#"{"type":"grammar","grammar":{"syntax":"lark","definition":"start: \"a\""}}"#;
        request.tools.push(Tool::Custom {
            name: "apply patch".into(),
            description: Some(Text::from_escaped("Patches.")),
            format: Some(Json::from_valid(grammar)),
            at: 0,
        });
        let arguments = Json::from_valid(r#""raw \"text\"""#);
        let id = "c".into();
        let call = BlockKind::ToolCall { id, name: "apply patch".into(), arguments, flavor: Flavor::Custom };
        request.turns.push(turn(Role::Assistant, vec![Block::new(call, 0)]));
        request.turns.push(turn(Role::User, vec![result("c", "done")]));
    };
    let (body, out) = Way::default().go(HI, custom).unwrap();
    let tool = &body["tools"][0];
    assert_eq!(tool["input_schema"]["required"], json!(["input"]));
    assert!(tool["description"].as_str().unwrap().starts_with("Patches.\n\n"));
    assert!(tool["description"].as_str().unwrap().contains("lark"));
    let sent = tool["name"].as_str().unwrap();
    assert_eq!(out.undo.wrapped_tools, [sent]);
    assert_eq!(out.undo.renamed_tools, [(sent.to_owned(), "apply patch".to_owned())]);
    assert_eq!(body["messages"][1]["content"][0]["input"], json!({"input": "raw \"text\""}));
    assert_eq!(body["messages"][1]["content"][0]["name"], sent);
}

#[test]
fn trap_c16_tools_of_another_provider_are_refused() {
    let server = |request: &mut hub::Request<'_>| {
        let raw = Json::from_valid(r#"{"type":"image_generation"}"#);
        request.tools.push(Tool::Server { format: Format::OpenaiChat, raw, by_client: false, at: 0 });
    };
    assert_eq!(Way::default().go(HI, server).unwrap_err().code, Some("unsupported_tool"));
}

fn function(name: &'static str) -> Tool<'static> {
    Tool::Function {
        name: name.into(),
        description: None,
        schema: None,
        strict: None,
        cache: None,
        extras: Vec::new(),
        at: 0,
    }
}

#[test]
fn trap_c18_freedom_to_use_tools() {
    let named = || ToolMode::Named { name: "a".into(), flavor: Flavor::Function };
    for (mode, parallel, allowed, expected, loss) in [
        (None, None, None, Value::Null, false),
        (None, Some(false), None, json!({"type":"auto","disable_parallel_tool_use":true}), false),
        (Some(ToolMode::Auto), None, None, json!({"type":"auto"}), false),
        (Some(ToolMode::None), Some(false), None, json!({"type":"none"}), false),
        (Some(ToolMode::Any), Some(false), None, json!({"type":"any","disable_parallel_tool_use":true}), false),
        (Some(named()), None, None, json!({"type":"tool","name":"a"}), false),
        (Some(ToolMode::Any), None, Some(vec!["a"]), json!({"type":"tool","name":"a"}), false),
        (Some(ToolMode::Auto), None, Some(vec!["a", "b"]), json!({"type":"auto"}), false),
        (Some(ToolMode::Auto), None, Some(vec!["a"]), json!({"type":"auto"}), true),
    ] {
        let change = |request: &mut hub::Request<'_>| {
            request.tools = vec![function("a"), function("b")];
            request.tool_policy.mode = mode.clone();
            request.tool_policy.parallel = parallel;
            request.tool_policy.allowed =
                allowed.clone().map(|names: Vec<&'static str>| names.into_iter().map(Into::into).collect());
        };
        let (body, out) = Way::default().go(HI, change).unwrap();
        assert_eq!(body["tool_choice"], expected, "{mode:?} {allowed:?}");
        assert_eq!(body["tools"].as_array().unwrap().len(), 2);
        assert_eq!(lost(&out, Field::ToolChoice, Action::Dropped), loss);
    }
}

#[test]
fn trap_c19_a_call_cannot_be_forced_everywhere() {
    let change = |request: &mut hub::Request<'_>| {
        request.tools = vec![function("a")];
        request.tool_policy.mode = Some(ToolMode::Any);
    };
    let refusal = Way::default().with(|facts| facts.forced_tool = false).go(HI, change).unwrap_err();
    assert_eq!((refusal.param.as_deref(), refusal.code), (Some("tool_choice"), Some("unsupported_parameter")));
    let twice = |request: &mut hub::Request<'_>| request.tools = vec![function("a"), function("a")];
    assert!(Way::default().go(HI, twice).is_err());
    let no_tools = |request: &mut hub::Request<'_>| request.tool_policy.mode = Some(ToolMode::Any);
    let (body, out) = Way::default().go(HI, no_tools).unwrap();
    assert!(body.get("tool_choice").is_none() && lost(&out, Field::ToolChoice, Action::Dropped));
}

fn thinking(text: &'static str, opaque: Vec<Opaque<'static>>) -> Block<'static> {
    let kind = BlockKind::Thinking { text: Text::from_escaped(text), kind: hub::ThinkingKind::Raw };
    Block { opaque, ..Block::new(kind, 5) }
}

fn state(maker: Format, kind: OpaqueKind) -> Opaque<'static> {
    Opaque { kind, maker, data: Text::from_escaped("EqQB") }
}

#[test]
fn traps_d5_d8_only_own_signatures_go_back() {
    let own = state(Format::AnthropicMessages, OpaqueKind::ThinkingSignature);
    let blocks = vec![
        thinking("unsigned", Vec::new()),
        thinking("foreign", vec![state(Format::OpenaiChat, OpaqueKind::EncryptedReasoning)]),
        thinking("marked", vec![state(Format::AnthropicMessages, OpaqueKind::Unsigned)]),
        thinking("", vec![own.clone()]),
        Block { opaque: vec![own], ..Block::new(BlockKind::Redacted, 6) },
        said("x"),
    ];
    let turns =
        vec![turn(Role::User, vec![said("q")]), turn(Role::Assistant, blocks), turn(Role::User, vec![said("r")])];
    let (body, out) = Way::default().go(HI, talking(turns)).unwrap();
    let content = body["messages"][1]["content"].as_array().unwrap();
    assert_eq!(content.len(), 2);
    assert_eq!(content[0], json!({"type":"thinking","thinking":"","signature":"EqQB"}));
    assert_eq!(losses(&out), ["dropped:thinking", "dropped:thinking", "dropped:thinking", "dropped:opaque_state"]);
}

#[test]
fn envelopes_are_opened_and_forgeries_reported() {
    let seal = Seal::new(super::KEY);
    let own = state(Format::AnthropicMessages, OpaqueKind::ThinkingSignature);
    let forged = Seal::new([9; 32]).wrap(&own);
    for (signature, kept, field) in
        [(seal.wrap(&own), "EqQB", None), (forged, "", Some(Field::OpaqueState)), ("bare".to_owned(), "bare", None)]
    {
        let body = talk(&format!(
            r#"{USER},{{"role":"assistant","content":[{{"type":"thinking","thinking":"t","signature":"{signature}"}},
               {{"type":"text","text":"x"}}]}},{USER}"#
        ));
        let request = read(&body, None, &seal).unwrap();
        let block = &request.turns[1].blocks[0];
        assert_eq!(block.opaque.first().map_or("", |opaque| opaque.data.escaped()), kept);
        assert_eq!(block.extras.first().map(|extra| extra.field), field);
    }
}

#[test]
fn trap_d7_a_loop_without_its_thinking_does_not_think() {
    let turns = |first: Vec<Block<'static>>| {
        let mut blocks = first;
        blocks.push(call("a"));
        vec![turn(Role::User, vec![said("q")]), turn(Role::Assistant, blocks), turn(Role::User, vec![result("a", "r")])]
    };
    let way = || Way::default().with(|facts| facts.thinking = ThinkingForm::Budget);
    let own = state(Format::AnthropicMessages, OpaqueKind::ThinkingSignature);
    for (first, thinks) in [(vec![thinking("t", vec![own])], true), (vec![thinking("t", Vec::new())], false)] {
        let change = |request: &mut hub::Request<'_>| {
            request.turns = turns(first.clone());
            request.limits.max_output = Some(9000);
            request.reasoning.effort = Some(Effort::Low);
        };
        let (body, out) = way().go(HI, change).unwrap();
        assert_eq!(body.get("thinking").is_some(), thinks);
        assert_eq!(lost(&out, Field::Reasoning, Action::Dropped), !thinks);
    }
}

/// Each letter is a message: words of the user, results, or a call of the assistant, behind thinking or not.
#[test]
fn a_loop_thinks_to_its_end_as_it_began() {
    let own = || thinking("t", vec![state(Format::AnthropicMessages, OpaqueKind::ThinkingSignature)]);
    let message = |letter: char| match letter {
        'w' => turn(Role::User, vec![said("q")]),
        'r' => turn(Role::User, vec![result("a", "r")]),
        't' => turn(Role::Assistant, vec![own(), call("a")]),
        'a' => turn(Role::Assistant, vec![own(), said("x")]),
        _ => turn(Role::Assistant, vec![call("a")]),
    };
    for (conversation, thinks) in [
        ("wtr", true),
        ("wtrcr", true),
        ("wtrcrcr", true),
        ("wcr", false),
        ("wcrtr", false),
        ("wtrawcr", false),
        ("wcrawtrcr", true),
        ("wcraw", true),
    ] {
        let turns: Vec<_> = conversation.chars().map(message).collect();
        let change = |request: &mut hub::Request<'_>| {
            request.turns = turns.clone();
            request.limits.max_output = Some(9000);
            request.reasoning.effort = Some(Effort::Low);
        };
        let way = Way::default().with(|facts| facts.thinking = ThinkingForm::Budget);
        let (body, out) = way.go(HI, change).unwrap();
        assert_eq!(body.get("thinking").is_some(), thinks, "{conversation}");
        assert_eq!(lost(&out, Field::Reasoning, Action::Dropped), !thinks, "{conversation}");
    }
}

#[test]
fn traps_d14_d15_d16_thinking_by_what_the_model_takes() {
    use ThinkingForm::{Adaptive, Always, Budget};
    let shown = |effort: &str| (json!({"type":"adaptive","display":"summarized"}), json!({"effort": effort}));
    let nothing = || (Value::Null, Value::Null);
    let budget = |tokens: u64| (json!({"type":"enabled","budget_tokens":tokens}), Value::Null);
    let off = || (json!({"type":"disabled"}), Value::Null);
    for (form, effort, tokens, limit, (thinking, config)) in [
        (Adaptive, None, None, Some(2000), nothing()),
        (Adaptive, Some(Effort::High), None, Some(2000), shown("high")),
        (Adaptive, Some(Effort::Minimal), None, Some(2000), shown("low")),
        (Adaptive, None, Some(10_000), Some(20_000), shown("high")),
        (Adaptive, None, Some(1024), Some(20_000), shown("low")),
        (Adaptive, Some(Effort::None), None, Some(2000), off()),
        (Always, Some(Effort::None), None, Some(2000), (Value::Null, json!({"effort":"low"}))),
        (ThinkingForm::None, Some(Effort::High), None, Some(2000), nothing()),
        (Budget, None, None, Some(2000), nothing()),
        (Budget, Some(Effort::High), None, Some(64_000), budget(16_384)),
        (Budget, Some(Effort::High), None, Some(5000), budget(4999)),
        (Budget, Some(Effort::High), None, Some(1024), nothing()),
        (Budget, Some(Effort::Low), None, None, budget(2048)),
        (Budget, None, Some(3000), Some(9000), budget(3000)),
        (Budget, Some(Effort::None), None, Some(2000), off()),
    ] {
        let change = |request: &mut hub::Request<'_>| {
            request.reasoning.effort = effort;
            request.reasoning.budget = tokens;
            request.limits.max_output = limit;
        };
        let (body, _) = Way::default().with(|facts| facts.thinking = form).go(HI, change).unwrap();
        let found = (body["thinking"].clone(), body["output_config"].clone());
        assert_eq!(found, (thinking, config), "{form:?} {effort:?} {tokens:?} {limit:?}");
        // A client's limit is never raised; without one, thinking comes on top.
        let room = if form == Budget && effort == Some(Effort::Low) { 8192 + 2048 } else { 8192 };
        assert_eq!(body["max_tokens"], limit.unwrap_or(room));
    }
}

#[test]
fn own_thinking_goes_as_asked() {
    for (thinking, form) in [
        (r#"{"type":"adaptive","display":"omitted"}"#, ThinkingForm::Adaptive),
        (r#"{"type":"adaptive"}"#, ThinkingForm::Always),
        (r#"{"type":"disabled"}"#, ThinkingForm::Adaptive),
        (r#"{"type":"enabled","budget_tokens":1500}"#, ThinkingForm::Budget),
        (r#"{"type":"adaptive","block_binding":{"prefix_mismatch_behavior":"error"}}"#, ThinkingForm::Adaptive),
        (r#"{"type":"between_tools"}"#, ThinkingForm::Adaptive),
    ] {
        let way = Way::own().with(|facts| facts.thinking = form);
        let (body, out) = way.go(&with(&format!(r#""thinking":{thinking}"#)), |_| {}).unwrap();
        assert_eq!(body["thinking"], serde_json::from_str::<Value>(thinking).unwrap());
        assert!(out.losses.is_empty(), "{:?}", losses(&out));
    }
}

#[test]
fn a_forced_call_excludes_thinking() {
    let change = |request: &mut hub::Request<'_>| {
        request.tools = vec![function("a")];
        request.tool_policy.mode = Some(ToolMode::Any);
        request.reasoning.effort = Some(Effort::High);
        request.limits.max_output = Some(50_000);
    };
    let (body, out) = Way::default().go(HI, change).unwrap();
    assert_eq!((&body["thinking"]["type"], &body["tool_choice"]["type"]), (&json!("disabled"), &json!("any")));
    assert!(lost(&out, Field::Reasoning, Action::Dropped));
    let (body, _) = Way::default().with(|facts| facts.thinking = ThinkingForm::Budget).go(HI, change).unwrap();
    assert!(body.get("thinking").is_none());
}

#[test]
fn trap_e1_sampling_by_version_and_model() {
    let body = with(r#""temperature":1.7,"top_p":0.5,"top_k":3"#);
    let (plain, out) = Way::default().go(&body, |_| {}).unwrap();
    assert_eq!((&plain["temperature"], &plain["top_k"]), (&json!(1), &json!(3)));
    assert!(plain.get("top_p").is_none());
    assert_eq!(losses(&out), ["converted:temperature", "dropped:top_p"]);
    for way in [Way::default().at("2026-10-21"), Way::default().with(|facts| facts.sampling = false)] {
        let (bare, out) = way.go(&body, |_| {}).unwrap();
        assert!(["temperature", "top_p", "top_k"].iter().all(|key| bare.get(key).is_none()));
        assert_eq!(losses(&out), ["dropped:temperature", "dropped:top_p", "dropped:top_k"]);
    }
    let thinks = |request: &mut hub::Request<'_>| request.reasoning.effort = Some(Effort::Low);
    let (bare, _) = Way::default().go(&body, thinks).unwrap();
    assert!(["temperature", "top_p", "top_k"].iter().all(|key| bare.get(key).is_none()));
}

#[test]
fn trap_e2_the_clients_version_decides_what_is_valid() {
    let seal = Seal::new(super::KEY);
    let document = talk(&format!(
        r#"{USER},{{"role":"assistant","content":[{{"type":"document","source":{{"type":"url","url":"u"}}}},{{"type":"text","text":"x"}}]}},{USER}"#
    ));
    let cited =
        talk(r#"{"role":"user","content":[{"type":"text","text":"x","citations":[{"type":"char_location"}]}]}"#);
    let found = talk(
        r#"{"role":"user","content":[{"type":"search_result","source":"s","title":"t","content":[{"type":"text","text":"x","citations":[{}]}]}]}"#,
    );
    for body in [&document, &cited, &found] {
        assert!(read(body, Some("2026-10-21"), &seal).is_err(), "{body}");
        assert!(read(body, Some("2023-06-01"), &seal).is_ok());
    }
    let (written, out) = Way::own().at("2026-10-21").go(&document, |_| {}).unwrap();
    assert_eq!(written["messages"][1]["content"], json!([{"type":"text","text":"x"}]));
    assert!(lost(&out, Field::Document, Action::Dropped));
    let (written, out) = Way::own().at("2026-10-21").go(&cited, |_| {}).unwrap();
    assert!(written["messages"][0]["content"][0].get("citations").is_none());
    assert!(lost(&out, Field::Citations, Action::Dropped));
}

#[test]
fn traps_e5_e6_e7_operators_stay_in_their_place() {
    let system = |words| turn(Role::System, vec![said(words)]);
    let user = |words| turn(Role::User, vec![said(words)]);
    let model = |words| turn(Role::Assistant, vec![said(words)]);
    for (turns, mid_system, expected) in [
        (vec![user("a"), system("s")], true, vec!["user", "system"]),
        (
            vec![user("a"), system("s"), system("t"), model("b"), user("c")],
            true,
            vec!["user", "system", "assistant", "user"],
        ),
        // Before a user's message or behind the assistant's: words of the user.
        (vec![user("a"), system("s"), user("b")], true, vec!["user"]),
        (vec![user("a"), model("b"), system("s"), user("c")], true, vec!["user", "assistant", "user"]),
        (vec![system("s"), user("a")], true, vec!["user"]),
        (vec![user("a"), system("s")], false, vec!["user"]),
    ] {
        let (body, out) =
            Way::default().with(|facts| facts.mid_system = mid_system).go(HI, talking(turns.clone())).unwrap();
        assert_eq!(roles(&body), expected, "{turns:?}");
        // Never hoisted.
        assert!(body.get("system").is_none());
        let text = body["messages"].to_string();
        assert!(text.contains('s'));
        let converted = !expected.contains(&"system");
        assert_eq!(lost(&out, Field::Turn, Action::Converted), converted);
        assert_eq!(text.contains("<system-reminder>"), converted);
    }
}

#[test]
fn traps_e8_e9_marks() {
    let marked = |words: &'static str| Block { cache: Some(CacheMark { ttl_s: None }), ..said(words) };
    let change = |request: &mut hub::Request<'_>| {
        request.instructions = vec![marked("one"), said("two"), said("")];
        request.turns = vec![turn(Role::User, vec![marked("a"), marked("b"), marked("c"), marked("d")])];
    };
    let (body, out) = Way::default().go(HI, change).unwrap();
    assert_eq!(body["system"].as_array().unwrap().len(), 2);
    assert!(body["system"][0].get("cache_control").is_some() && body["system"][1].get("cache_control").is_none());
    let marks: Vec<bool> = body["messages"][0]["content"]
        .as_array()
        .unwrap()
        .iter()
        .map(|block| block.get("cache_control").is_some())
        .collect();
    assert_eq!(marks, [false, true, true, true]);
    assert_eq!(losses(&out), ["dropped:cache_mark"]);
}

/// The lifetimes that are written, in the order in which a cache holds what they mark; `-` where none stands.
fn lifetimes(body: &Value) -> String {
    let of = |block: &Value| match block.get("cache_control") {
        Some(mark) => mark.get("ttl").map_or("5m", |ttl| ttl.as_str().unwrap()).to_owned(),
        None => "-".to_owned(),
    };
    let lists = [&body["tools"], &body["system"], &body["messages"][0]["content"]];
    let said = lists.map(|list| list.as_array().unwrap().iter().map(of).collect::<Vec<_>>().join(" "));
    said.join(", ")
}

#[test]
fn of_too_many_marks_those_stay_that_serve_the_next_request() {
    // Marks of tools, instructions and the conversation, in seconds, and of the whole.
    for (marks, whole, expected, lost) in [
        ([&[0, 0, 0][..], &[0, 0], &[0; 7]], None, "- - 5m, - 5m, - - - - - 5m 5m", "8 0"),
        ([&[0, 0, 0], &[0, 0], &[0; 7]], Some(0), "- - 5m, - 5m, - - - - - - 5m", "9 0"),
        ([&[0, 0], &[0], &[0, 0]], None, "- 5m, 5m, 5m 5m", "1 0"),
        ([&[0], &[0, 0, 0], &[0]], None, "5m, - 5m 5m, 5m", "1 0"),
        ([&[0], &[3600], &[0, 300]], None, "1h, 1h, 5m 5m", "0 1"),
        ([&[0], &[300], &[0, 1800]], None, "1h, 1h, 1h 1h", "0 4"),
        ([&[3600], &[3600], &[0, 0]], None, "1h, 1h, 5m 5m", "0 0"),
        ([&[0], &[0], &[0]], Some(3600), "1h, 1h, 1h", "0 3"),
        // One that does not stand makes no other longer.
        ([&[3600, 0], &[0], &[3600, 0, 0]], None, "- 5m, 5m, - 5m 5m", "2 0"),
    ] {
        let mark = |ttl_s: &u32| Some(CacheMark { ttl_s: Some(*ttl_s).filter(|ttl_s| *ttl_s > 0) });
        let blocks =
            |marks: &[u32]| marks.iter().map(|one| Block { cache: mark(one), ..said("a") }).collect::<Vec<_>>();
        let change = |request: &mut hub::Request<'_>| {
            let [tools, instructions, conversation] = marks;
            let tool = |(at, cache): (usize, &u32)| Tool::Function {
                name: format!("f{at}").into(),
                description: None,
                schema: None,
                strict: None,
                cache: mark(cache),
                extras: Vec::new(),
                at,
            };
            request.tools = tools.iter().enumerate().map(tool).collect();
            request.instructions = blocks(instructions);
            request.turns = vec![turn(Role::User, blocks(conversation))];
            request.cache.auto = whole.as_ref().and_then(mark);
        };
        let (body, out) = Way::default().go(HI, change).unwrap();
        let count = |action: Action| out.losses.iter().filter(|loss| loss.action == action).count();
        let told = format!("{} {}", count(Action::Dropped), count(Action::Converted));
        assert_eq!((lifetimes(&body).as_str(), told.as_str()), (expected, lost), "{marks:?} {whole:?}");
    }
}

#[test]
fn trap_e10_times_to_live_are_kept() {
    for (ttl_s, written, exact) in [
        (None, Value::Null, true),
        (Some(300), json!("5m"), true),
        (Some(1800), json!("1h"), false),
        (Some(3600), json!("1h"), true),
    ] {
        let change = |request: &mut hub::Request<'_>| {
            request.turns = vec![turn(Role::User, vec![Block { cache: Some(CacheMark { ttl_s }), ..said("a") }])];
        };
        let (body, out) = Way::default().go(HI, change).unwrap();
        assert_eq!(body["messages"][0]["content"][0]["cache_control"]["ttl"], written);
        assert_eq!(out.losses.is_empty(), exact);
    }
}

#[test]
fn trap_e14_a_limit_comes_from_the_model() {
    let change = |request: &mut hub::Request<'_>| request.limits.max_output = None;
    let (body, out) = Way::default().with(|facts| facts.max_output = 64_000).go(HI, change).unwrap();
    assert_eq!(body["max_tokens"], 64_000);
    assert_eq!(losses(&out), ["defaulted:max_output"]);
}

#[test]
fn traps_e15_e16_stops_and_numbers_of_answers() {
    let stops = |request: &mut hub::Request<'_>| {
        request.limits.stop = vec![Text::from_escaped("\\n"), Text::EMPTY, Text::from_escaped("END")];
    };
    let (body, out) = Way::default().go(HI, stops).unwrap();
    assert_eq!(body["stop_sequences"], json!(["END"]));
    assert_eq!(losses(&out), ["dropped:stop"]);
    for (n, fine) in [(1, true), (2, false)] {
        assert_eq!(Way::default().go(HI, |request| request.sampling.n = Some(n)).is_ok(), fine);
    }
}

#[test]
fn trap_e18_empties() {
    let turns = vec![
        turn(Role::Assistant, vec![said("first")]),
        turn(Role::User, vec![said("")]),
        turn(Role::Assistant, vec![said(""), call("a")]),
        turn(Role::User, vec![result("a", "")]),
        turn(Role::Assistant, vec![said("")]),
        turn(Role::User, vec![said("  ")]),
    ];
    let (body, out) = Way::default().go(HI, talking(turns)).unwrap();
    let messages = body["messages"].as_array().unwrap();
    assert_eq!(roles(&body), ["user", "assistant", "user", "assistant", "user"]);
    assert_eq!(messages[0]["content"][0]["text"], "(continue)");
    assert_eq!(messages[2]["content"][0]["text"], "(empty)");
    assert_eq!(messages[3]["content"].as_array().unwrap().len(), 1);
    assert_eq!(messages[4]["content"][0]["content"], json!([]));
    assert_eq!(losses(&out), ["dropped:text", "defaulted:turn", "converted:turn"]);
}

#[test]
fn a_turn_that_the_client_began() {
    let turns = || vec![turn(Role::User, vec![said("q")]), turn(Role::Assistant, vec![said(r"Sure: \n")])];
    let (body, out) = Way::default().go(HI, talking(turns())).unwrap();
    assert_eq!(body["messages"][1]["content"][0]["text"], "Sure:");
    assert_eq!(losses(&out), ["converted:text"]);
    assert!(Way::default().with(|facts| facts.prefill = false).go(HI, talking(turns())).is_err());
}

#[test]
fn traps_e21_e22_images_by_their_bytes() {
    let image = |media_type: &'static str, data: &'static str| {
        let source = Source::Base64 { media_type: media_type.into(), data: Text::from_escaped(data) };
        Block::new(BlockKind::Image { source, detail: None }, 1)
    };
    let turns = vec![turn(
        Role::User,
        vec![image("image/png", "/9j/4AAQSkZJRgABAQAAAQABAAD"), image("image/webp", "????"), said("x")],
    )];
    let (body, out) = Way::default().go(HI, talking(turns)).unwrap();
    let content = &body["messages"][0]["content"];
    assert_eq!(content[0]["source"]["media_type"], "image/jpeg");
    assert_eq!(content[1]["source"]["media_type"], "image/webp");
    assert_eq!(losses(&out), ["converted:image"]);
    let bitmap = vec![turn(Role::User, vec![image("image/bmp", "????")])];
    assert!(Way::default().go(HI, talking(bitmap)).is_err());
    let file = BlockKind::Image { source: Source::FileId(Text::from_escaped("f")), detail: None };
    assert!(Way::default().go(HI, talking(vec![turn(Role::User, vec![Block::new(file, 1)])])).is_err());
}

#[test]
fn documents_are_pdf_or_text() {
    let document = |media_type: &'static str, data: &'static str| {
        let source = Source::Base64 { media_type: media_type.into(), data: Text::from_escaped(data) };
        let name = Some(Text::from_escaped("a.txt"));
        let kind = BlockKind::Document { source, name, title: None, context: None, citations: None };
        vec![turn(Role::User, vec![Block::new(kind, 1)])]
    };
    let (body, _) = Way::default().go(HI, talking(document("text/plain", "aGk="))).unwrap();
    let found = &body["messages"][0]["content"][0];
    assert_eq!(found["source"], json!({"type":"text","media_type":"text/plain","data":"hi"}));
    assert_eq!(found["title"], "a.txt");
    let (body, _) = Way::default().go(HI, talking(document("", "JVBERi0xLjcK"))).unwrap();
    assert_eq!(body["messages"][0]["content"][0]["source"]["media_type"], "application/pdf");
    assert!(Way::default().go(HI, talking(document("application/zip", "UEsDBA=="))).is_err());
}

#[test]
fn trap_e23_json_by_schema_beside_tools() {
    let change = |request: &mut hub::Request<'_>| {
        request.tools = vec![function("a")];
        request.output = OutputSpec::JsonSchema {
            name: Some(Text::from_escaped("n")),
            schema: Some(Json::from_valid(r#"{"type":"object","properties":{"a":{"type":"string"}}}"#)),
            strict: Strict::Said(true),
            description: None,
        };
    };
    let (body, out) = Way::default().go(HI, change).unwrap();
    assert_eq!(body["output_config"]["format"]["type"], "json_schema");
    assert_eq!(body["output_config"]["format"]["schema"]["additionalProperties"], false);
    assert_eq!(losses(&out), ["converted:output"]);
    assert_eq!(body["tools"].as_array().unwrap().len(), 1);
    let without = || Way::default().with(|facts| facts.structured = false);
    assert!(without().go(HI, change).is_err());
    let alone = |request: &mut hub::Request<'_>| {
        change(request);
        request.tools.clear();
        request.reasoning.effort = Some(Effort::High);
    };
    let (body, out) = without().go(HI, alone).unwrap();
    assert_eq!(body["tool_choice"]["name"].as_str(), out.undo.json_tool.as_deref());
    assert_eq!(body["tools"][0]["input_schema"]["properties"]["a"]["type"], "string");
    assert_eq!(body["thinking"]["type"], "disabled");
    let (body, out) = Way::default().go(HI, |request| request.output = OutputSpec::JsonObject).unwrap();
    assert!(body["system"][0]["text"].as_str().unwrap().contains("JSON"));
    assert_eq!(losses(&out), ["converted:output"]);
}

/// A schema with a bound, and what the provider is given in its place.
const BOUNDED: [&str; 2] = [
    r#"{"type":"object","properties":{"n":{"type":"integer","minimum":1}},"required":["n"]}"#,
    r#"{"type":"object","properties":{"n":{"type":"integer","description":"Must be at least 1."}},"required":["n"],"additionalProperties":false}"#,
];

#[test]
fn bounds_of_an_answer_are_told_in_words() {
    let [schema, expected] = BOUNDED;
    let change = |request: &mut hub::Request<'_>| {
        let schema = Some(Json::from_valid(schema));
        request.output = OutputSpec::JsonSchema { name: None, schema, strict: Strict::Said(true), description: None };
    };
    let (_, out) = Way::default().go(HI, change).unwrap();
    assert!(String::from_utf8(out.body.clone()).unwrap().contains(expected));
    assert_eq!(losses(&out), ["converted:output", "converted:output"]);
    let (_, out) = Way::own().go(HI, change).unwrap();
    assert!(String::from_utf8(out.body.clone()).unwrap().contains(schema), "a client of the format is told by it");
}

#[test]
fn bounds_of_strict_arguments_are_told_in_words() {
    let [schema, expected] = BOUNDED;
    for (is_strict, sent, lost) in [
        (Some(true), expected, &["converted:strict", "converted:strict"][..]),
        (Some(false), schema, &[]),
        (None, schema, &[]),
    ] {
        let change = |request: &mut hub::Request<'_>| {
            let mut tool = function("a");
            if let Tool::Function { schema: given, strict, .. } = &mut tool {
                (*given, *strict) = (Some(Json::from_valid(schema)), is_strict);
            }
            request.tools = vec![tool];
        };
        let (body, out) = Way::default().go(HI, change).unwrap();
        let written = format!("\"input_schema\":{sent}");
        assert!(String::from_utf8(out.body.clone()).unwrap().contains(&written), "{written}");
        assert_eq!(body["tools"][0]["strict"] == true, is_strict == Some(true));
        assert_eq!(losses(&out), lost);
    }
}

#[test]
fn trap_e25_people_are_hashed() {
    let user_id = |user: Option<&'static str>, safety: Option<&'static str>| {
        let change = |request: &mut hub::Request<'_>| {
            request.identity.user = user.map(Text::from_escaped);
            request.identity.safety_id = safety.map(Text::from_escaped);
        };
        let (body, _) = Way::default().go(HI, change).unwrap();
        body["metadata"]["user_id"].as_str().unwrap_or_default().to_owned()
    };
    assert_eq!(user_id(None, Some("h4sh")), "h4sh");
    assert_eq!(user_id(Some("a@example.org"), Some("h4sh")), "h4sh");
    let hashed = user_id(Some("a@example.org"), None);
    assert!(hashed.starts_with("user_") && !hashed.contains('@') && hashed.len() == 37);
    assert_eq!(user_id(None, Some("a@example.org")), hashed);
    assert_eq!(user_id(None, None), "");
}

type Change = Box<dyn Fn(&mut hub::Request<'_>)>;

#[test]
fn every_field_is_written_or_reported() {
    let number = || Some(Json::from_valid("1"));
    let object = || Some(Json::from_valid(r#"{"a":"b"}"#));
    let cases: Vec<(Field, Change)> = vec![
        (Field::Seed, Box::new(move |request| request.sampling.seed = number())),
        (Field::PresencePenalty, Box::new(move |request| request.sampling.presence_penalty = number())),
        (Field::FrequencyPenalty, Box::new(move |request| request.sampling.frequency_penalty = number())),
        (Field::LogitBias, Box::new(move |request| request.sampling.logit_bias = object())),
        (Field::Prediction, Box::new(move |request| request.sampling.prediction = object())),
        (Field::Logprobs, Box::new(|request| request.sampling.logprobs = Some(true))),
        (Field::Logprobs, Box::new(|request| request.sampling.top_logprobs = Some(3))),
        (Field::Verbosity, Box::new(|request| request.verbosity = Some(Verbosity::Low))),
        (Field::Metadata, Box::new(move |request| request.identity.metadata = object())),
        (Field::Store, Box::new(|request| request.state.store = Some(true))),
        (Field::Cache, Box::new(|request| request.cache.key = Some(Text::from_escaped("k")))),
        (Field::Tier, Box::new(|request| request.tier = Some(Tier::Flex))),
        (Field::Tier, Box::new(|request| request.tier = Some(Tier::Priority))),
        (Field::TurnName, Box::new(|request| request.turns[0].name = Some(Text::from_escaped("n")))),
        (Field::Modalities, Box::new(|request| request.extras.push(foreign()))),
        (Field::Modalities, Box::new(|request| request.turns[0].extras.push(foreign()))),
        (Field::Modalities, Box::new(|request| request.turns[0].blocks[0].extras.push(foreign()))),
        (
            Field::OpaqueState,
            Box::new(|request| {
                request.turns[0].blocks[0].opaque.push(state(Format::OpenaiChat, OpaqueKind::ThoughtSignature));
            }),
        ),
    ];
    for (field, change) in cases {
        let (_, out) = Way::default().go(HI, |request| change(request)).unwrap();
        assert!(out.losses.iter().any(|loss| loss.field == field), "{field:?}: {:?}", losses(&out));
    }
}

fn foreign() -> Extra<'static> {
    Extra { field: Field::Modalities, key: "modalities".into(), value: Json::EMPTY_OBJECT, at: 1 }
}

#[test]
fn trap_d9_a_longer_history_begins_as_the_shorter_did() {
    let history = |length: usize| -> Vec<Turn<'static>> {
        let rounds = (0..length).flat_map(|_| {
            [
                turn(Role::User, vec![said("q"), said("")]),
                turn(Role::System, vec![said("s")]),
                turn(Role::Assistant, vec![said("a"), call("functions.f:0"), call("functions.f:0")]),
                turn(Role::User, vec![result("functions.f:0", "r"), result("functions.f:0", "r")]),
                turn(Role::Assistant, vec![said("b")]),
            ]
        });
        rounds.chain([turn(Role::User, vec![said("q")])]).collect()
    };
    let bytes = |length| {
        let (_, out) = Way::default().go(HI, talking(history(length))).unwrap();
        String::from_utf8(out.body).unwrap()
    };
    for length in 0..4 {
        let (short, long) = (bytes(length), bytes(length + 1));
        let stem = short.strip_suffix("]}").unwrap();
        assert!(long.starts_with(stem), "{short}\n{long}");
    }
}
