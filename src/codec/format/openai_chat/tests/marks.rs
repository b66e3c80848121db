//! Prompt-cache marks on their way from a client that sets them to a provider that takes them on parts only.

use serde_json::{Value, json};

use super::{as_it_is, to_chat};

fn mark(ttl: &str) -> Value {
    json!({"type": "ephemeral", "ttl": ttl})
}

fn marked(words: &str) -> Value {
    json!({"type": "text", "text": words, "cache_control": {"type": "ephemeral"}})
}

fn plain(words: &str) -> Value {
    json!({"type": "text", "text": words})
}

fn request(system: Value, tools: Value, content: Value) -> Value {
    json!({"model": "m", "max_tokens": 9, "system": system, "tools": tools,
        "messages": [{"role": "user", "content": content}]})
}

/// The texts that carry a breakpoint, with its time to live, in order.
fn breakpoints(body: &Value) -> Vec<String> {
    let messages = body["messages"].as_array().unwrap().iter();
    let parts = messages.flat_map(|message| message["content"].as_array().into_iter().flatten());
    let found = parts.filter(|part| part.get("prompt_cache_breakpoint").is_some());
    found
        .map(|part| {
            let ttl = &part["prompt_cache_breakpoint"]["ttl"];
            format!("{}:{}", part["text"].as_str().unwrap_or("-"), ttl.as_str().unwrap_or("-"))
        })
        .collect()
}

fn check(body: &Value, expected: &[&str], losses: &[&str]) {
    let sent = to_chat(body, as_it_is);
    assert_eq!(breakpoints(&sent.body), expected, "{body}\n{}", sent.body);
    assert_eq!(sent.losses, losses, "{body}");
}

fn tool(cache: Value) -> Value {
    json!({"name": "f", "input_schema": {"type": "object"}, "cache_control": cache})
}

#[test]
fn a_mark_on_a_tool_moves_to_the_last_block_of_the_instructions() {
    let tools = json!([tool(mark("1h")), {"name": "g", "input_schema": {"type": "object"}}]);
    let system = json!([plain("one"), plain("two")]);
    check(&request(system, tools.clone(), json!("hi")), &["two:12h"], &["converted:cache_mark"]);
    // A mark that stands there already stays one, and the longer time counts.
    let system = json!([plain("one"), marked("two")]);
    check(&request(system, tools.clone(), json!("hi")), &["two:12h"], &["converted:cache_mark"]);
    // Two tools' marks are one.
    let both = json!([tool(mark("1h")), {"name": "g", "input_schema": {"type": "object"}, "cache_control": {"type": "ephemeral"}}]);
    check(&request(json!("one"), both, json!("hi")), &["one:12h"], &["converted:cache_mark", "converted:cache_mark"]);
    // Without instructions there is no place for it.
    check(&request(json!([]), tools, json!("hi")), &[], &["dropped:cache_mark"]);
}

#[test]
fn trap_e9_of_more_than_four_marks_the_latest_stay_and_the_instructions_own() {
    let tools = json!([tool(mark("5m"))]);
    let content = json!([marked("a"), marked("b"), marked("c"), marked("d")]);
    check(
        &request(json!([plain("s")]), tools, content.clone()),
        &["s:30m", "b:-", "c:-", "d:-"],
        &["converted:cache_mark", "converted:cache_mark", "dropped:cache_mark"],
    );
    check(
        &request(json!([marked("s"), marked("t")]), json!([]), content.clone()),
        &["s:-", "t:-", "c:-", "d:-"],
        &["dropped:cache_mark", "dropped:cache_mark"],
    );
    check(&request(json!([]), json!([]), content), &["a:-", "b:-", "c:-", "d:-"], &[]);
    let many = json!([marked("1"), marked("2"), marked("3"), marked("4"), marked("5"), marked("6")]);
    check(&request(many, json!([]), json!([marked("a")])), &["3:-", "4:-", "5:-", "6:-"], &["dropped:cache_mark"; 3]);
}

#[test]
fn trap_e11_marks_are_breakpoints_wherever_text_stands() {
    let body = json!({"model": "m", "max_tokens": 9, "messages": [
        {"role": "user", "content": [plain("q")]},
        {"role": "assistant", "content": [marked("a"), plain("b"), {"type": "tool_use", "id": "c1", "name": "f", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1", "content": "r",
            "cache_control": {"type": "ephemeral", "ttl": "1h"}}]},
    ]});
    check(&body, &["a:-", "r:12h"], &[]);
    let sent = to_chat(&body, as_it_is).body;
    assert_eq!(sent["messages"][1]["content"][1], plain("b"));
    assert_eq!(sent["messages"][2]["role"], "tool");
}

#[test]
fn a_provider_that_caches_by_itself_gets_no_marks() {
    let body = request(json!([marked("s")]), json!([tool(mark("1h"))]), json!([marked("a")]));
    let sent = to_chat(&body, |facts| facts.cache_breakpoints = false);
    assert_eq!(breakpoints(&sent.body), Vec::<String>::new());
    assert_eq!(sent.losses, ["converted:cache_mark"; 3]);
}

#[test]
fn a_mark_on_a_medium_is_one_of_the_four() {
    let image = |mark: Value| {
        let source = json!({"type": "url", "url": "https://e.org/a.png"});
        json!({"type": "image", "source": source, "cache_control": mark})
    };
    let (with, without) = (image(json!({"type": "ephemeral"})), image(Value::Null));
    let letters = ["a", "b", "c", "d"].map(marked);
    let behind = |first: &[Value]| json!([first, letters.as_slice()].concat());
    let plain = |content: Value| request(json!([]), json!([]), content);
    check(&plain(behind(std::slice::from_ref(&without))), &["a:-", "b:-", "c:-", "d:-"], &[]);
    check(&plain(behind(std::slice::from_ref(&with))), &["a:-", "b:-", "c:-", "d:-"], &["dropped:cache_mark"]);
    check(&plain(behind(&[marked("0"), with.clone()])), &["a:-", "b:-", "c:-", "d:-"], &["dropped:cache_mark"; 2]);
    let three = json!([marked("0"), with, marked("b"), marked("c"), marked("d")]);
    check(&plain(three), &["-:-", "b:-", "c:-", "d:-"], &["dropped:cache_mark"]);
    // Empty words are no part, and their mark is none.
    let empty = behind(&[marked("")]);
    check(&plain(empty), &["a:-", "b:-", "c:-", "d:-"], &[]);
}
