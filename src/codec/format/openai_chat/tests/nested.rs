//! What stands within documents and results of the other formats.

use serde_json::{Value, json};

use super::{CHAT, MESSAGES, as_it_is, send};
use crate::{Facts, Format};

const RESPONSES: Format = Format::OpenaiResponses;
const GEMINI: Format = Format::GeminiGenerate;

fn document(content: &Value) -> Value {
    json!({"type": "document", "source": {"type": "content", "content": content}})
}

fn image() -> Value {
    json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}})
}

fn words() -> Value {
    json!({"type": "text", "text": "in"})
}

fn asked(content: &Value) -> Value {
    json!({"model": "m", "max_tokens": 90, "messages": [{"role": "user", "content": content}]})
}

fn returned(content: &Value) -> Value {
    json!({"model": "m", "max_tokens": 90, "messages": [
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "f", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a", "content": content}]},
    ]})
}

#[test]
fn images_of_a_document_stand_behind_its_words() {
    for (content, to_chat, to_responses) in [
        (json!([words(), image()]), &["text", "image_url"][..], &["input_file", "input_image"][..]),
        (json!([image(), image()]), &["image_url", "image_url"], &["input_image", "input_image"]),
        (json!([words()]), &["text"], &["input_file"]),
    ] {
        for (to, list, expected) in [(CHAT, "messages", to_chat), (RESPONSES, "input", to_responses)] {
            let sent = send(MESSAGES, to, &asked(&json!([document(&content)])), as_it_is).unwrap();
            let parts = sent.body[list][0]["content"].as_array().unwrap();
            let kinds: Vec<&str> = parts.iter().map(|part| part["type"].as_str().unwrap()).collect();
            assert_eq!(kinds, expected, "{}", sent.body);
            assert_eq!(sent.losses, ["converted:document"]);
        }
    }
}

#[test]
fn what_else_stands_in_a_document_is_lost_aloud() {
    let content = json!([words(), {"type": "brand_new", "x": 1}]);
    for to in [CHAT, RESPONSES] {
        let sent = send(MESSAGES, to, &asked(&json!([document(&content)])), as_it_is).unwrap();
        assert!(sent.losses.contains(&"dropped:unknown".to_owned()), "{:?}", sent.losses);
    }
}

#[test]
fn gemini_is_given_no_part_that_it_does_not_know() {
    let content = json!([
        {"type": "search_result", "source": "s", "title": "t", "content": [words()]},
        {"type": "tool_reference", "tool_name": "zz"},
    ]);
    for rich in [true, false] {
        let facts = |facts: &mut Facts| facts.rich_results = rich;
        let sent = send(MESSAGES, GEMINI, &returned(&content), facts).unwrap();
        let contents = sent.body["contents"].as_array().unwrap();
        assert_eq!((contents.len(), contents[2]["parts"].as_array().unwrap().len()), (3, 1), "{}", sent.body);
        assert!(contents[2]["parts"][0]["functionResponse"]["parts"].is_null(), "{}", sent.body);
        assert!(sent.losses.contains(&"dropped:tool_result".to_owned()), "{:?}", sent.losses);
    }
}

#[test]
fn parts_of_geminis_result_are_media_only() {
    let sent = send(MESSAGES, GEMINI, &returned(&json!([document(&json!([words(), image()]))])), as_it_is).unwrap();
    let result = &sent.body["contents"][2]["parts"][0]["functionResponse"];
    assert_eq!(result["response"], json!({"output": "in"}));
    let parts = result["parts"].as_array().unwrap();
    assert!(parts.len() == 1 && parts[0]["inlineData"].is_object(), "{parts:?}");
}

#[test]
fn an_empty_message_of_the_user_says_so() {
    let sent = send(CHAT, RESPONSES, &asked(&json!("")), as_it_is).unwrap();
    assert_eq!(sent.body["input"][0]["content"], "(empty)");
    assert!(sent.losses.contains(&"converted:turn".to_owned()), "{:?}", sent.losses);
}

#[test]
fn what_a_rewritten_body_of_this_format_loses_is_told() {
    let body = json!({"model": "m", "messages": [
        {"role": "developer", "content": "d", "name": "boss"},
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": null, "tool_calls":
            [{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "a", "content": [{"type": "text", "text": "r", "newer": 1}], "newest": {"x": 1}},
    ]});
    let sent = send(CHAT, CHAT, &body, |facts| facts.developer_role = false).unwrap();
    assert_eq!(sent.body["messages"][3]["newest"], json!({"x": 1}), "{}", sent.body);
    for lost in ["dropped:turn_name", "dropped:unknown"] {
        assert!(sent.losses.contains(&lost.to_owned()), "{lost} {:?}", sent.losses);
    }
    assert!(sent.body.get("name").is_none());
    let elsewhere = send(CHAT, MESSAGES, &body, as_it_is).unwrap();
    assert!(elsewhere.header.contains("/messages/3/newest"), "{}", elsewhere.header);
    let file = json!({"model": "m", "input": [{"role": "user", "content":
        [{"type": "input_file", "file_id": "f", "detail": "high"}]}]});
    let sent = send(RESPONSES, RESPONSES, &file, as_it_is).unwrap();
    assert_eq!(sent.body["input"][0]["content"][0]["detail"], "high", "{}", sent.body);
}
