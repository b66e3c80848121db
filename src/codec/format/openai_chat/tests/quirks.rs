//! What servers deviate in: a request of their own format is trimmed, one of another is written to fit.

use serde_json::{Value, json};

use super::{CHAT, MESSAGES, as_it_is, send};
use crate::format::{AnswerForms, Efforts, Facts, ReasoningField, ThinkingForm, ToolChoices, ToolIds, wire};
use crate::hub::{Effort, Losses};

/// Facts of a server that is not the vendor.
fn other(change: impl FnOnce(&mut Facts)) -> Facts {
    let mut facts = Facts { exact: false, compatible_extensions: true, ..Facts::default() };
    change(&mut facts);
    facts
}

/// Trims `body`; expects these bytes and losses.
#[track_caller]
fn trimmed(body: &str, facts: &Facts, expected: &str, lost: &str) {
    let mut losses = Losses::default();
    let found = wire(CHAT).trim(body.as_bytes(), facts, &mut losses).unwrap();
    losses.resolve(body.as_bytes());
    let found = found.map(|found| String::from_utf8(found).unwrap());
    assert_eq!((found.as_deref().unwrap_or(body), losses.header(4096).as_str()), (expected, lost), "{body}");
}

fn strip(names: &[&str]) -> impl FnOnce(&mut Facts) {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    move |facts| facts.strip = names.into()
}

fn rename(own: &str, other: &str) -> impl FnOnce(&mut Facts) {
    let pair = (own.to_owned(), other.to_owned());
    move |facts| facts.rename = [pair].into()
}

#[test]
fn just_the_fields_that_are_named_go_or_are_renamed() {
    let body = r#"{ "model":"m" ,"seed":1.0, "vendor_x":{"seed":2}, "messages":[ ] }"#;
    for exact in [true, false] {
        let facts = |change: &dyn Fn(&mut Facts)| {
            let mut facts = other(|facts| facts.exact = exact);
            change(&mut facts);
            facts
        };
        trimmed(body, &facts(&|_| ()), body, "");
        trimmed(
            body,
            &facts(&|facts| strip(&["seed", "vendor_x", "absent"])(facts)),
            r#"{ "model":"m", "messages":[ ] }"#,
            "dropped:/seed, dropped:/vendor_x",
        );
        trimmed(
            body,
            &facts(&|facts| rename("seed", "random_seed")(facts)),
            r#"{ "model":"m" ,"random_seed":1.0, "vendor_x":{"seed":2}, "messages":[ ] }"#,
            "",
        );
    }
    let twice = r#"{"seed":1,"random_seed":2}"#;
    trimmed(twice, &other(rename("seed", "random_seed")), r#"{"random_seed":2}"#, "");
}

#[test]
fn the_vendors_own_clients_are_left_alone() {
    let body = r#"{"max_completion_tokens":9,"stream_options":{},"parallel_tool_calls":false,"tool_choice":"required",
        "reasoning_effort":"max","messages":[{"role":"developer","name":"n","content":[{"type":"image_url"}]}]}"#;
    let change = |facts: &mut Facts| {
        facts.legacy_max_tokens = true;
        facts.stream_options = false;
        facts.parallel_tools = false;
        facts.tool_choice = ToolChoices::Auto;
        facts.efforts = Efforts::of(&[Effort::Low]);
        (facts.developer_role, facts.vision, facts.names) = (false, false, false);
        facts.exact = true;
    };
    let facts = other(change);
    trimmed(body, &facts, body, "");
    assert!(!wire(CHAT).must_be_rewritten(body.as_bytes(), &facts));
}

#[test]
fn fields_are_said_as_the_server_knows_them() {
    let legacy = other(|facts| facts.legacy_max_tokens = true);
    trimmed(r#"{"max_completion_tokens":9}"#, &legacy, r#"{"max_tokens":9}"#, "");
    trimmed(
        r#"{"max_completion_tokens":9,"max_tokens":8}"#,
        &legacy,
        r#"{"max_tokens":8}"#,
        "dropped:/max_completion_tokens",
    );
    let few = other(|facts| facts.most_output = 5);
    trimmed(r#"{"max_tokens":9}"#, &few, r#"{"max_tokens":5}"#, "converted:/max_tokens");
    trimmed(r#"{"max_tokens":5}"#, &few, r#"{"max_tokens":5}"#, "");
    let plain = other(|facts| facts.stream_options = false);
    trimmed(
        r#"{"stream":true,"stream_options":{"include_usage":true}}"#,
        &plain,
        r#"{"stream":true}"#,
        "dropped:/stream_options",
    );
    let single = other(|facts| facts.parallel_tools = false);
    trimmed(r#"{"parallel_tool_calls":false}"#, &single, "{}", "dropped:/parallel_tool_calls");
    let levels = other(|facts| facts.efforts = Efforts::of(&[Effort::Low, Effort::High]));
    trimmed(
        r#"{"reasoning_effort":"xhigh"}"#,
        &levels,
        r#"{"reasoning_effort":"high"}"#,
        "converted:/reasoning_effort",
    );
    trimmed(r#"{"reasoning_effort":"low"}"#, &levels, r#"{"reasoning_effort":"low"}"#, "");
}

const CHOICES: [(&str, ToolChoices, &str, &str); 8] = [
    (r#""required""#, ToolChoices::Unnamed, r#""required""#, ""),
    (r#""required""#, ToolChoices::Auto, r#""auto""#, "dropped:/tool_choice"),
    (r#""none""#, ToolChoices::Auto, r#""none""#, ""),
    (r#"{"type":"function","function":{"name":"f"}}"#, ToolChoices::Unnamed, r#""required""#, "dropped:/tool_choice"),
    (r#"{"type":"function","function":{"name":"f"}}"#, ToolChoices::Auto, r#""auto""#, "dropped:/tool_choice"),
    (r#""auto""#, ToolChoices::Unnamed, r#""auto""#, ""),
    (
        r#"{"type":"function","function":{"name":"f"}}"#,
        ToolChoices::All,
        r#"{"type":"function","function":{"name":"f"}}"#,
        "",
    ),
    ("null", ToolChoices::Auto, "null", ""),
];

#[test]
fn tools_are_chosen_as_far_as_the_server_lets_them() {
    let f = |name: &str| format!(r#"{{"type":"function","function":{{"name":"{name}"}}}}"#);
    let body = |choice: &str, tools: &str| format!(r#"{{"model":"m","tools":[{tools}],"tool_choice":{choice}}}"#);
    let both = format!("{},{}", f("f"), f("g"));
    for (choice, taken, sent, lost) in CHOICES {
        let facts = other(|facts| facts.tool_choice = taken);
        trimmed(&body(choice, &both), &facts, &body(sent, &both), lost);
        let mut whole: Value = serde_json::from_str(&body(choice, &both)).unwrap();
        whole["messages"] = json!([{"role": "user", "content": "q"}]);
        let written = send(CHAT, CHAT, &whole, |facts| facts.tool_choice = taken).unwrap();
        let expected = serde_json::from_str::<Value>(sent).unwrap();
        assert_eq!((&written.body["tool_choice"], written.header.as_str()), (&expected, lost), "{choice} {taken:?}");
    }
    // With one tool alone, "some tool" is that tool.
    let named = r#"{"type":"function","function":{"name":"f"}}"#;
    let facts = other(|facts| facts.tool_choice = ToolChoices::Unnamed);
    trimmed(&body(named, &f("f")), &facts, &body("\"required\"", &f("f")), "converted:/tool_choice");
}

#[test]
fn only_the_vendor_is_told_a_set_of_allowed_tools() {
    use crate::Format::OpenaiResponses as RESPONSES;
    let tool =
        |name: &str| json!({"type": "function", "name": name, "parameters": {"type": "object", "properties": {}}});
    let named = |name: &str| json!({"type": "function", "function": {"name": name}});
    for (mode, allowed, sent, told) in [
        ("required", &["g"][..], named("g"), "converted"),
        ("auto", &["g"], json!("auto"), "dropped"),
        ("required", &["f", "g"], json!("required"), "dropped"),
        ("auto", &["f", "g"], json!("auto"), "dropped"),
    ] {
        let allowed: Vec<Value> = allowed.iter().map(|name| json!({"type": "function", "name": name})).collect();
        let choice = json!({"type": "allowed_tools", "mode": mode, "tools": allowed});
        let body = json!({"model": "m", "store": false, "input": "q", "tools": [tool("f"), tool("g"), tool("h")], "tool_choice": choice});
        let written = send(RESPONSES, CHAT, &body, |facts| *facts = other(|_| ())).unwrap();
        assert_eq!(written.body["tool_choice"], sent, "{choice}");
        assert_eq!(written.body["tools"].as_array().unwrap().len(), 3, "{choice}");
        assert!(written.losses.contains(&format!("{told}:tool_choice")), "{:?}", written.losses);
        let vendor = send(RESPONSES, CHAT, &body, as_it_is).unwrap();
        assert_eq!(
            (&vendor.body["tool_choice"]["type"], vendor.header.as_str()),
            (&json!("allowed_tools"), ""),
            "{choice}"
        );
    }
}

#[test]
fn servers_of_other_makers_are_told_that_a_tool_takes_nothing() {
    use crate::Format::GeminiGenerate as GEMINI;
    let body = json!({"contents": [{"parts": [{"text": "q"}]}], "tools": [{"functionDeclarations": [{"name": "f"}]}]});
    let parameters = |compatible: bool| {
        let written = send(GEMINI, CHAT, &body, |facts| facts.compatible_extensions = compatible).unwrap();
        assert_eq!(written.header, "");
        written.body["tools"][0]["function"].get("parameters").cloned()
    };
    assert_eq!(parameters(true), Some(json!({"type": "object", "properties": {}})));
    assert_eq!(parameters(false), None);
    // Strict mode wants the object closed.
    let strict = json!({"model": "m", "input": "q", "store": false, "tools": [{"type": "function", "name": "f", "strict": true}]});
    let written =
        send(crate::Format::OpenaiResponses, CHAT, &strict, |facts| facts.compatible_extensions = true).unwrap();
    let function = &written.body["tools"][0]["function"];
    assert_eq!((&function["parameters"]["additionalProperties"], &function["strict"]), (&json!(false), &json!(true)));
}

#[test]
fn servers_of_other_makers_get_an_earlier_refusal_as_words() {
    let part = |kind: &str, key: &str, words: &str| json!({"type": kind, key: words});
    let answered = |content: Value| {
        json!({"model": "m", "store": false, "input": [
        {"role": "user", "content": "q"},
        {"type": "message", "role": "assistant", "content": content},
        {"role": "user", "content": "why"}]})
    };
    for (content, said) in [
        (json!([part("refusal", "refusal", "No.")]), "No."),
        (json!([part("output_text", "text", "Well."), part("refusal", "refusal", "No.")]), "Well.\n\nNo."),
    ] {
        let body = answered(content);
        let written =
            send(crate::Format::OpenaiResponses, CHAT, &body, |facts| facts.compatible_extensions = true).unwrap();
        let message = &written.body["messages"][1];
        assert_eq!((&message["content"], message.get("refusal")), (&json!(said), None), "{message}");
        assert_eq!(written.losses, ["converted:refusal"]);
        let vendor = send(crate::Format::OpenaiResponses, CHAT, &body, as_it_is).unwrap();
        assert_eq!((&vendor.body["messages"][1]["refusal"], vendor.header.as_str()), (&json!("No."), ""));
    }
}

#[test]
fn what_lies_deeper_is_worth_a_rewrite() {
    let check = |body: &str, change: &dyn Fn(&mut Facts), expected: bool| {
        assert_eq!(wire(CHAT).must_be_rewritten(body.as_bytes(), &other(change)), expected, "{body}");
        assert!(!wire(CHAT).must_be_rewritten(body.as_bytes(), &other(|_| ())), "{body}");
    };
    let user = r#"{"messages":[{"role":"user","content":"q"}],"tools":[{"function":{"name":"f"}}]}"#;
    let developer = r#"{"messages":[{"role":"developer","content":"q"}]}"#;
    check(developer, &|facts| facts.developer_role = false, true);
    check(user, &|facts| facts.developer_role = false, false);
    check(user, &|facts| facts.names = false, false);
    let custom = r#"{"tools":[{"type":"custom","custom":{"name":"f"}}]}"#;
    check(custom, &|facts| facts.custom_tools = false, true);
    check(user, &|facts| facts.custom_tools = false, false);
    for (role, name, expected) in
        [("user", "\"n\"", true), ("user", "null", false), ("tool", "\"n\"", false), ("function", "\"n\"", false)]
    {
        let body = format!(r#"{{"messages":[{{"role":"user"}},{{"name":{name},"role":"{role}"}}]}}"#);
        check(&body, &|facts| facts.names = false, expected);
    }
    let image = r#"{"messages":[{"role":"user","content":[{"type":"image_url"}]}]}"#;
    check(image, &|facts| facts.vision = false, true);
    check(image, &|facts| facts.documents = false, false);
    let thought = r#"{"messages":[{"role":"assistant","reasoning_content":"t"}]}"#;
    check(thought, &|facts| facts.reasoning_field = Some(ReasoningField::None), true);
    check(thought, &|facts| facts.reasoning_field = Some(ReasoningField::Reasoning), true);
    check(thought, &|facts| facts.reasoning_field = Some(ReasoningField::ReasoningContent), false);
    for (messages, expected) in [
        (r#"{"role":"tool","tool_call_id":"call_1"}"#, true),
        (r#"{"role":"tool","tool_call_id":"abcDEF123"}"#, false),
        (r#"{"role":"assistant","tool_calls":[{"id":"abcDEF123"},{"id":"abcDEF12_"}]}"#, true),
        (r#"{"role":"assistant","tool_calls":[{"id":"abcDEF123","function":{"name":"f"}}]}"#, false),
        (r#"{"role":"user","content":"tool_calls \"tool_calls\""}"#, false),
    ] {
        let body = format!(r#"{{"messages":[{messages}],"tools":[{{"id":"x","tool_call_id":"y"}}]}}"#);
        check(&body, &|facts| facts.tool_ids = ToolIds::Alnum9, expected);
    }
    let schema = r#"{"response_format":{"type":"json_schema"}}"#;
    check(schema, &|facts| facts.answers = AnswerForms::Object, true);
    check(r#"{"response_format":{"type":"json_object"}}"#, &|facts| facts.answers = AnswerForms::Object, false);
    check(r#"{"response_format":{"type":"json_object"}}"#, &|facts| facts.answers = AnswerForms::Text, true);
}

#[test]
fn media_that_a_model_cannot_take_leave_a_line() {
    let png = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
    let source = json!({"type": "base64", "media_type": "image/png", "data": png});
    let body = json!({"model": "m", "max_tokens": 9, "messages": [
        {"role": "user", "content": [{"type": "text", "text": "q"}, {"type": "image", "source": source}]},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "f", "input": {}}]},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "a", "content": [{"type": "image", "source": source}]},
            {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0x"}},
            {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "kept words"}}]}]});
    for target in [CHAT, MESSAGES] {
        let blind = send(MESSAGES, target, &body, |facts| (facts.vision, facts.documents) = (false, false)).unwrap();
        let text = blind.body.to_string();
        assert!(!text.contains(png) && !text.contains("JVBER") && text.contains("kept words"), "{text}");
        assert_eq!(text.matches("cannot see images").count(), 2, "{text}");
        assert_eq!(text.matches("cannot read documents").count(), 1, "{text}");
        for pointer in [
            "dropped:/messages/0/content/1",
            "dropped:/messages/2/content/0/content/0",
            "dropped:/messages/2/content/1",
        ] {
            assert!(blind.header.contains(pointer), "{pointer}: {}", blind.header);
        }
        let seeing = send(MESSAGES, target, &body, as_it_is).unwrap();
        assert!(seeing.body.to_string().contains(png) && !seeing.header.contains("/messages/0"), "{}", seeing.header);
    }
}

#[test]
fn a_form_of_answers_that_cannot_be_asked_for_is_asked_for_in_words() {
    let schema = json!({"type": "object", "properties": {"a": {"type": "string"}}});
    let form = json!({"type": "json_schema", "json_schema": {"name": "n", "schema": schema}});
    let ask = |form: Value, answers: AnswerForms| {
        let body = json!({"model": "m", "response_format": form,
            "messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "q"}]});
        let sent = send(CHAT, CHAT, &body, |facts| facts.answers = answers).unwrap();
        let system = sent.body["messages"][0]["content"].to_string();
        (sent.body["response_format"].clone(), system, sent.header)
    };
    let (sent, system, lost) = ask(form.clone(), AnswerForms::Object);
    assert_eq!((sent, lost.as_str()), (json!({"type": "json_object"}), "converted:/response_format"));
    assert!(system.contains("JSON Schema") && system.contains("properties"), "{system}");
    let (sent, system, lost) = ask(form.clone(), AnswerForms::Text);
    assert_eq!((sent, lost.as_str()), (Value::Null, "converted:/response_format"));
    assert!(system.contains("JSON Schema"), "{system}");
    let (sent, system, lost) = ask(json!({"type": "json_object"}), AnswerForms::Text);
    assert_eq!((sent, lost.as_str()), (Value::Null, "converted:/response_format"));
    assert!(system.contains("one JSON object") && !system.contains("Schema"), "{system}");
    let (sent, system, lost) = ask(json!({"type": "json_object"}), AnswerForms::Object);
    assert_eq!((sent, system.as_str(), lost.as_str()), (json!({"type": "json_object"}), "\"s\"", ""));
    let (sent, _, lost) = ask(form.clone(), AnswerForms::Schema);
    assert_eq!((sent["type"].as_str(), lost.as_str()), (Some("json_schema"), ""));
}

#[test]
fn levels_limits_and_names_are_fitted() {
    let body = json!({"model": "m", "max_tokens": 9, "reasoning_effort": "xhigh", "parallel_tool_calls": false,
        "tools": [{"type": "function", "function": {"name": "f"}}],
        "messages": [{"role": "user", "name": "ann", "content": "q"}]});
    let change = |facts: &mut Facts| {
        facts.efforts = Efforts::of(&[Effort::Low, Effort::High]);
        (facts.most_output, facts.names, facts.parallel_tools) = (5, false, false);
    };
    let sent = send(CHAT, CHAT, &body, change).unwrap();
    assert_eq!(sent.body["reasoning_effort"], "high");
    assert_eq!(sent.body["max_completion_tokens"], 5);
    assert_eq!((sent.body.get("parallel_tool_calls"), sent.body["messages"][0].get("name")), (None, None));
    let mut lost: Vec<&str> = sent.header.split(", ").collect();
    lost.sort_unstable();
    assert_eq!(
        lost,
        ["converted:/max_tokens", "converted:/reasoning_effort", "dropped:/messages/0", "dropped:/parallel_tool_calls"]
    );
    let sent = send(CHAT, CHAT, &body, as_it_is).unwrap();
    assert_eq!((sent.body["reasoning_effort"].as_str(), sent.header.as_str()), (Some("xhigh"), ""));
}

#[test]
fn earlier_reasoning_goes_into_the_servers_field() {
    let body = json!({"model": "m", "messages": [{"role": "user", "content": "q"},
        {"role": "assistant", "content": "a", "reasoning_content": "hm"}, {"role": "user", "content": "b"}]});
    for (field, key) in [
        (None, Some("reasoning_content")),
        (Some(ReasoningField::ReasoningContent), Some("reasoning_content")),
        (Some(ReasoningField::Reasoning), Some("reasoning")),
        (Some(ReasoningField::None), None),
    ] {
        let change = |facts: &mut Facts| (facts.compatible_extensions, facts.reasoning_field) = (true, field);
        let sent = send(CHAT, CHAT, &body, change).unwrap();
        for name in ["reasoning_content", "reasoning"] {
            let expected = (key == Some(name)).then_some("hm");
            assert_eq!(sent.body["messages"][1][name].as_str(), expected, "{field:?} {name}");
        }
        assert_eq!(sent.header.is_empty(), key.is_some(), "{field:?}: {}", sent.header);
    }
}

#[test]
fn a_model_that_does_not_think_is_sent_no_reasoning() {
    let body = json!({"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "q"},
        {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm", "signature": "c2ln"},
            {"type": "text", "text": "a"}]}, {"role": "user", "content": "b"}]});
    let change = |facts: &mut Facts| {
        (facts.compatible_extensions, facts.reasoning_field) = (true, Some(ReasoningField::Reasoning));
        facts.thinking = ThinkingForm::None;
    };
    let sent = send(MESSAGES, CHAT, &body, change).unwrap();
    assert_eq!(sent.body["messages"][1], json!({"role": "assistant", "content": "a"}));
    assert!(sent.losses.contains(&"dropped:thinking".to_owned()), "{:?}", sent.losses);
}

#[test]
fn calls_without_reasoning_get_a_word_where_the_model_refuses_none() {
    let call = |reasoning: Option<&str>| {
        let mut message = json!({"role": "assistant", "content": null, "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]});
        if let Some(reasoning) = reasoning {
            message["reasoning_content"] = json!(reasoning);
        }
        json!({"model": "m", "messages": [{"role": "user", "content": "q"}, message,
            {"role": "tool", "tool_call_id": "c1", "content": "r"}]})
    };
    for (reasoning, wants, expected) in
        [(None, true, Some("(not recorded)")), (None, false, None), (Some("hm"), true, Some("hm"))]
    {
        let change = |facts: &mut Facts| {
            (facts.compatible_extensions, facts.wants_thoughts) = (true, wants);
        };
        let body = call(reasoning);
        let sent = send(CHAT, CHAT, &body, change).unwrap();
        assert_eq!(sent.body["messages"][1]["reasoning_content"].as_str(), expected);
        let told = if expected == Some("(not recorded)") { "defaulted:/messages/1/tool_calls/0" } else { "" };
        assert_eq!(sent.header, told);
        let rewritten = wire(CHAT).must_be_rewritten(body.to_string().as_bytes(), &facts(wants));
        assert_eq!(rewritten, wants && reasoning.is_none());
    }
    let other = json!({"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "q"},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "c1", "name": "f", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1", "content": "r"}]}]});
    let sent = send(MESSAGES, CHAT, &other, |facts| *facts = self::facts(true)).unwrap();
    assert_eq!(sent.body["messages"][1]["reasoning_content"], "(not recorded)");
    assert_eq!(
        (sent.losses, sent.header.as_str()),
        (vec!["defaulted:thinking".to_owned()], "defaulted:/messages/1/content/0")
    );
}

fn facts(wants_thoughts: bool) -> Facts {
    Facts { compatible_extensions: true, exact: false, wants_thoughts, ..Facts::default() }
}

#[test]
fn what_a_writer_wrote_is_trimmed_in_the_clients_words() {
    let body = json!({"model": "m", "max_tokens": 9, "temperature": 0.5, "stream": true,
        "messages": [{"role": "user", "content": "q"}]});
    let change = |facts: &mut Facts| {
        strip(&["temperature", "stream_options"])(facts);
        rename("max_completion_tokens", "max_new_tokens")(facts);
    };
    let sent = send(MESSAGES, CHAT, &body, change).unwrap();
    assert_eq!(sent.body["max_new_tokens"], 9);
    for gone in ["temperature", "stream_options", "max_completion_tokens"] {
        assert_eq!(sent.body.get(gone), None, "{gone}");
    }
    assert_eq!(sent.header, "dropped:/temperature", "what the client did not say is no loss of its own");
    let back = json!({"model": "m", "max_tokens": 9, "stop": "x", "messages": [{"role": "user", "content": "q"}]});
    let sent = send(CHAT, MESSAGES, &back, strip(&["stop_sequences"])).unwrap();
    assert_eq!((sent.body.get("stop_sequences"), sent.header.as_str()), (None, "dropped:/stop"));
}
