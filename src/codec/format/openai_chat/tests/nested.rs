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
fn marks_and_sources_within_a_document_or_a_result_are_told() {
    let marked = |mut block: Value| {
        block["cache_control"] = json!({"type": "ephemeral", "ttl": "1h"});
        block
    };
    let mut cited = words();
    cited["citations"] = json!([{"type": "web_search_result_location", "url": "https://a", "title": "t",
        "encrypted_index": "x", "cited_text": "in"}]);
    for to in [CHAT, RESPONSES, GEMINI] {
        for body in [
            asked(&json!([document(&json!([marked(words())]))])),
            asked(&json!([document(&json!([marked(words()), image()]))])),
            returned(&json!([document(&json!([marked(words())]))])),
        ] {
            let sent = send(MESSAGES, to, &body, as_it_is).unwrap();
            assert!(sent.losses.iter().any(|loss| loss.ends_with(":cache_mark")), "{to:?} {body}: {:?}", sent.losses);
            let breaks = sent.body.to_string().contains("prompt_cache_breakpoint");
            assert!(breaks || to == GEMINI || body["messages"][1].is_object(), "{to:?}: {}", sent.body);
        }
        for body in [asked(&json!([document(&json!([cited]))])), returned(&json!([cited]))] {
            let sent = send(MESSAGES, to, &body, as_it_is).unwrap();
            let told = sent.losses.iter().filter(|loss| *loss == "dropped:citations").count();
            assert_eq!(told, 1, "{to:?} {body}: {:?}", sent.losses);
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

#[test]
fn an_operator_says_words_only() {
    let url = "data:image/png;base64,iVBORw0KGgo=";
    let words = json!({"type": "input_text", "text": "S"});
    let image = json!({"type": "input_image", "image_url": url, "detail": "auto"});
    let file = json!({"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERi0="});
    let said = |role: &str, parts: &[&Value]| json!({"role": role, "content": parts});
    let user = json!({"role": "user", "content": "q"});
    let lost = |count| vec!["dropped:instructions".to_owned(); count];
    for role in ["developer", "system"] {
        for (first, middle, roles, count) in [
            (vec![&words, &image], vec![&words], vec!["developer", "user", role], 1),
            (vec![&words], vec![&file, &words, &image], vec!["developer", "user", role], 2),
            (vec![&image], vec![&file], vec!["user"], 2),
        ] {
            let body = json!({"model": "m", "input": [said(role, &first), user, said(role, &middle)]});
            let sent = send(RESPONSES, CHAT, &body, as_it_is).unwrap();
            let messages = sent.body["messages"].as_array().unwrap();
            let found: Vec<_> = messages.iter().map(|message| message["role"].as_str().unwrap()).collect();
            assert_eq!((found, sent.losses), (roles, lost(count)), "{}", sent.body);
            assert!(!sent.body.to_string().contains("data:"), "{}", sent.body);
        }
    }
    let inline = json!({"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo="}});
    let body =
        json!({"systemInstruction": {"parts": [{"text": "S"}, inline]}, "contents": [{"parts": [{"text": "q"}]}]});
    let sent = send(GEMINI, CHAT, &body, as_it_is).unwrap();
    assert_eq!((&sent.body["messages"][0]["content"], sent.losses), (&json!("S"), lost(1)));
    // A mark of the tools stands behind what is left.
    let marked = json!({"model": "m", "system": [{"type": "text", "text": "S"}], "max_tokens": 9, "messages": [user],
        "tools": [{"name": "f", "input_schema": {"type": "object"}, "cache_control": {"type": "ephemeral"}}]});
    let sent = send(MESSAGES, CHAT, &marked, as_it_is).unwrap();
    assert!(sent.body["messages"][0]["content"][0]["prompt_cache_breakpoint"].is_object(), "{}", sent.body);
    // What the client's own server takes is its own affair.
    let own = json!({"model": "m", "messages": [{"role": "system", "content": [{"type": "text", "text": "S"},
        {"type": "image_url", "image_url": {"url": url}}]}, user]});
    let sent = send(CHAT, CHAT, &own, as_it_is).unwrap();
    assert_eq!((&sent.body["messages"][0]["content"], sent.losses.len()), (&own["messages"][0]["content"], 0));
}
