//! A request that is read and written for a provider of its own format, because its server refuses something in it: the
//! rest says what it said, as it said it.

use serde_json::{Value, json};

use super::carried::request;
use super::crossings::sent;
use crate::Format;
use crate::format::Facts;

use Format::{AnthropicMessages as A, GeminiGenerate as G, OpenaiChat as C, OpenaiResponses as R};

/// `more` comes out as it went in, and nothing is lost.
#[track_caller]
fn check(format: Format, facts: &Facts, more: &Value) {
    let body = request(format, more);
    let (sent, lost) = sent((format, format), &body, facts).unwrap();
    for (key, value) in more.as_object().unwrap() {
        assert_eq!((sent.get(key), lost.as_str()), (Some(value), ""), "{format:?} {key}: {sent}");
    }
}

fn user(format: Format, parts: &Value) -> Value {
    match format {
        A | C => json!({"messages": [{"role": "user", "content": parts}]}),
        R => json!({"input": [{"type": "message", "role": "user", "content": parts}]}),
        G => json!({"contents": [{"role": "user", "parts": parts}]}),
    }
}

#[test]
fn what_nobody_knows_stays_where_it_stood() {
    let schema = json!({"type": "object", "properties": {}});
    for (format, more) in [
        (C, json!({"stream": true, "stream_options": {"include_usage": true, "vendor_x": 1}})),
        (C, json!({"response_format": {"type": "json_object", "vendor_x": 1}})),
        (
            C,
            json!({"response_format": {"type": "json_schema", "vendor_x": 1,
                "json_schema": {"name": "n", "schema": schema, "vendor_y": 2}}}),
        ),
        (C, json!({"vendor_x": {"a": [1]}, "guided_regex": "a+", "documents": ["d"], "random_seed": 7})),
        (
            C,
            json!({"thinking": {"type": "enabled", "vendor_x": 1}, "enable_thinking": true, "reasoning_format": "hidden"}),
        ),
        (C, json!({"chat_template_kwargs": {"enable_thinking": false, "vendor_x": 1}, "include_reasoning": false})),
        (C, json!({"reasoning": {"effort": "low", "exclude": true, "vendor_x": 1}})),
        (
            C,
            json!({"reasoning": "deep", "thinking": "deep", "include_reasoning": "deep", "chat_template_kwargs": "deep"}),
        ),
        (C, json!({"service_tier": "on_demand", "top_k": -1, "prompt_cache_retention": "24h"})),
        (C, json!({"moderation": {"x": 1}, "prompt_cache_options": {"mode": "explicit"}})),
        (R, json!({"text": {"format": {"type": "json_schema", "name": "n", "schema": schema, "description": "d"}}})),
        (R, json!({"vendor_x": {"a": [1]}, "max_tool_calls": 3, "service_tier": "ultrafast"})),
        (R, json!({"user": "u", "safety_identifier": "s", "prompt_cache_retention": "24h"})),
        (A, json!({"vendor_x": {"a": [1]}, "container": "c", "mcp_servers": [{"name": "s"}], "inference_geo": "eu"})),
        (A, json!({"metadata": {"user_id": "u", "vendor_x": 1}, "service_tier": "auto"})),
        (A, json!({"speed": "fast", "stop_sequences": ["x"]})),
        (G, json!({"safetySettings": [{"category": "x"}], "vendorX": {"a": [1]}, "labels": {"k": "v"}})),
        (
            G,
            json!({"generationConfig": {"mediaResolution": "MEDIA_RESOLUTION_LOW", "audioTimestamp": true, "vendorX": 1}}),
        ),
    ] {
        check(format, &Facts::default(), &more);
    }
}

#[test]
fn parts_stay_what_they_were() {
    let data = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJ";
    let url = format!("data:image/png;base64,{data}");
    let pdf = "data:application/pdf;base64,JVBERi0xLjcK";
    for (format, part) in [
        (C, json!({"type": "image_url", "image_url": {"url": url, "detail": "low"}})),
        (C, json!({"type": "image_url", "image_url": {"url": "https://e.org/a.png"}})),
        (C, json!({"type": "file", "file": {"file_id": "file-1"}})),
        (C, json!({"type": "file", "file": {"filename": "a.pdf", "file_data": pdf}})),
        (C, json!({"type": "file", "file": {"filename": "a.pdf", "file_data": "https://e.org/a.pdf"}})),
        (C, json!({"type": "input_audio", "input_audio": {"data": "AAAA", "format": "aac"}})),
        (C, json!({"type": "video_url", "video_url": {"url": "https://e.org/a.mp4"}})),
        (C, json!({"type": "text", "text": "t", "prompt_cache_breakpoint": {"mode": "explicit", "ttl": "12h"}})),
        (R, json!({"type": "input_image", "image_url": url, "detail": "low"})),
        (R, json!({"type": "input_image", "file_id": "file-1", "detail": "auto"})),
        (R, json!({"type": "input_file", "file_id": "file-1", "filename": "a.pdf"})),
        (R, json!({"type": "input_file", "file_url": "https://e.org/a.pdf", "filename": "a.pdf"})),
        (R, json!({"type": "input_file", "file_data": pdf, "filename": "a.pdf"})),
        (R, json!({"type": "input_text", "text": "t", "prompt_cache_breakpoint": {"mode": "explicit", "ttl": "12h"}})),
        (A, json!({"type": "image", "source": {"type": "file", "file_id": "file_1"}})),
        (A, json!({"type": "container_upload", "file_id": "file_1"})),
        (
            A,
            json!({"type": "document", "source": {"type": "file", "file_id": "file_1"}, "title": "t", "context": "c",
                "citations": {"enabled": true}}),
        ),
        (
            A,
            json!({"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "d"},
                "citations": {"enabled": false}}),
        ),
        (A, json!({"type": "container_upload", "file_id": "file_1", "cache_control": {"type": "ephemeral"}})),
        (
            A,
            json!({"type": "image", "source": {"type": "url", "url": "https://e.org/a.png"}, "transformations": ["x"]}),
        ),
        (G, json!({"inlineData": {"mimeType": "image/png", "data": data, "displayName": "a.png"}})),
        (G, json!({"inlineData": {"mimeType": "application/pdf", "data": "JVBERi0xLjcK", "displayName": "a.pdf"}})),
        (G, json!({"inlineData": {"mimeType": "audio/ogg", "data": "AAAA", "vendorX": 1}})),
        (G, json!({"fileData": {"mimeType": "application/pdf", "fileUri": "gs://b/a.pdf", "displayName": "a.pdf"}})),
        (G, json!({"fileData": {"mimeType": "image/png", "fileUri": "https://e.org/a.png", "vendorX": 1}})),
        (G, json!({"fileData": {"fileUri": "https://youtu.be/x"}})),
    ] {
        let parts = if format == G { json!([{"text": "q"}, part]) } else { json!([part]) };
        check(format, &Facts::default(), &user(format, &parts));
    }
}

/// A server with its own word for a mark gets it as its client wrote it.
#[test]
fn marks_of_compatible_servers_keep_their_time() {
    let facts = Facts { cache_breakpoints: false, compatible_extensions: true, exact: false, ..Facts::default() };
    for mark in [
        json!({"type": "ephemeral"}),
        json!({"type": "ephemeral", "ttl": "5m"}),
        json!({"type": "ephemeral", "ttl": "1h"}),
    ] {
        let part = json!([{"type": "text", "text": "t", "cache_control": mark}]);
        check(C, &facts, &user(C, &part));
        check(C, &facts, &json!({"cache_control": mark}));
    }
}

/// A part of a request of one format, and what it is at a place of the other's.
type Medium<'p> = ((Format, Format), Value, &'p str, Value);

fn check_media(media: &[Medium<'_>]) {
    for (way, part, at, expected) in media {
        let (body, lost) = sent(*way, &request(way.0, &user(way.0, &json!([part]))), &Facts::default()).unwrap();
        assert_eq!((body.pointer(at), lost.as_str()), (Some(expected), ""), "{way:?} {part}: {body}");
    }
}

const DATA: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJ";
const PDF: &str = "data:application/pdf;base64,JVBERi0xLjcK";
const CHAT: &str = "/messages/0/content/0";

#[test]
fn images_and_files_arrive_as_those_of_the_other_format() {
    let (png, pdf, chat) = (format!("data:image/png;base64,{DATA}"), PDF, CHAT);
    let responses = "/input/0/content/0";
    check_media(&[
        (
            (C, R),
            json!({"type": "image_url", "image_url": {"url": png, "detail": "low"}}),
            responses,
            json!({"type": "input_image", "image_url": png, "detail": "low"}),
        ),
        (
            (R, C),
            json!({"type": "input_image", "image_url": png, "detail": "low"}),
            chat,
            json!({"type": "image_url", "image_url": {"url": png, "detail": "low"}}),
        ),
        (
            (R, C),
            json!({"type": "input_image", "image_url": {"url": png}}),
            chat,
            json!({"type": "image_url", "image_url": {"url": png}}),
        ),
        (
            (C, R),
            json!({"type": "file", "file": {"filename": "a.pdf", "file_data": pdf}}),
            responses,
            json!({"type": "input_file", "filename": "a.pdf", "file_data": pdf}),
        ),
        (
            (R, C),
            json!({"type": "input_file", "filename": "a.pdf", "file_data": pdf}),
            chat,
            json!({"type": "file", "file": {"filename": "a.pdf", "file_data": pdf}}),
        ),
    ]);
}

#[test]
fn sound_and_named_files_arrive_as_those_of_the_other_format() {
    let (pdf, chat) = (PDF, CHAT);
    check_media(&[
        (
            (R, C),
            json!({"type": "input_audio", "input_audio": {"data": "AAAA", "format": "mp3"}}),
            chat,
            json!({"type": "input_audio", "input_audio": {"data": "AAAA", "format": "mp3"}}),
        ),
        (
            (C, G),
            json!({"type": "input_audio", "input_audio": {"data": "AAAA", "format": "mp3"}}),
            "/contents/0/parts/0",
            json!({"inlineData": {"mimeType": "audio/mp3", "data": "AAAA"}}),
        ),
        (
            (G, C),
            json!({"inlineData": {"mimeType": "audio/mpeg", "data": "AAAA"}}),
            chat,
            json!({"type": "input_audio", "input_audio": {"data": "AAAA", "format": "mp3"}}),
        ),
        (
            (G, C),
            json!({"inlineData": {"mimeType": "audio/x-wav", "data": "AAAA"}}),
            chat,
            json!({"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}),
        ),
        (
            (G, C),
            json!({"inlineData": {"mimeType": "application/pdf", "data": "JVBERi0xLjcK", "displayName": "b.pdf"}}),
            chat,
            json!({"type": "file", "file": {"filename": "b.pdf", "file_data": pdf}}),
        ),
    ]);
}

#[test]
fn how_closely_an_image_is_looked_at_arrives() {
    for (level, detail) in [
        ("MEDIA_RESOLUTION_LOW", json!("low")),
        ("MEDIA_RESOLUTION_HIGH", json!("high")),
        ("MEDIA_RESOLUTION_UNSPECIFIED", Value::Null),
    ] {
        let inline = json!({"mimeType": "image/png", "data": DATA});
        let parts = json!([{"inlineData": inline, "mediaResolution": {"level": level}}]);
        let (body, losses) = sent((G, C), &request(G, &user(G, &parts)), &Facts::default()).unwrap();
        assert_eq!(body.pointer(CHAT).unwrap()["image_url"]["detail"], detail, "{level}: {body}");
        // What arrives is not told as lost.
        let told = losses.contains("mediaResolution");
        assert_eq!(told, detail.is_null(), "{level}: {losses}");
    }
}

#[test]
fn a_medium_that_is_not_there_or_that_only_its_own_vendor_can_fetch_is_refused() {
    for (way, part) in [
        ((R, C), json!({"type": "input_text"})),
        ((R, C), json!({"type": "input_image"})),
        ((R, C), json!({"type": "input_file"})),
        ((R, C), json!({"type": "input_audio"})),
        ((C, R), json!({"type": "text"})),
        ((C, R), json!({"type": "image_url"})),
        ((C, R), json!({"type": "file"})),
        // What only its own vendor can fetch.
        ((G, C), json!({"fileData": {"mimeType": "application/pdf", "fileUri": "gs://b/a.pdf"}})),
        ((G, R), json!({"fileData": {"mimeType": "image/png", "fileUri": "gs://b/a.png"}})),
        ((G, R), json!({"fileData": {"mimeType": "image/png", "fileUri": "files/abc"}})),
        (
            (G, R),
            json!({"fileData": {"mimeType": "image/png",
            "fileUri": "https://generativelanguage.googleapis.com/v1beta/files/abc"}}),
        ),
        ((R, C), json!({"type": "input_image", "file_id": "file-1"})),
        ((C, R), json!({"type": "file", "file": {"file_id": "file-1"}})),
    ] {
        let fault = sent(way, &request(way.0, &user(way.0, &json!([part]))), &Facts::default()).unwrap_err();
        assert_eq!(fault.status, 400, "{way:?} {part}");
    }
}

#[test]
fn calls_without_ids_are_answered_by_their_names() {
    let call =
        |name: &str| json!({"role": "assistant", "content": null, "function_call": {"name": name, "arguments": "{}"}});
    let result = |name: &str| json!({"role": "function", "name": name, "content": name});
    let asked = json!({"messages": [{"role": "user", "content": "q"},
        call("f"), result("f"), call("g"), result("g"), call("f"), result("f")]});
    let (body, lost) = sent((C, A), &request(C, &asked), &Facts::default()).unwrap();
    let blocks = |at: usize| body["messages"][at]["content"][0].clone();
    for (at, name) in [(1, "f"), (3, "g"), (5, "f")] {
        let (call, result) = (blocks(at), blocks(at + 1));
        assert_eq!((&call["type"], &call["name"]), (&json!("tool_use"), &json!(name)), "{body}");
        assert_eq!((&result["type"], &call["id"]), (&json!("tool_result"), &result["tool_use_id"]), "{body}");
    }
    assert_ne!(blocks(1)["id"], blocks(5)["id"], "{body}");
    assert_eq!(lost, "defaulted:/max_completion_tokens");
    let nameless = json!({"messages": [call("f"), {"role": "tool", "content": "x"}]});
    let fault = sent((C, A), &request(C, &nameless), &Facts::default()).unwrap_err();
    assert!(fault.message.contains("tool_call_id"), "{fault:?}");
}
