//! What the format promises, as a whole: at its reader, its writer, and across to the other format.

use std::sync::Arc;

use serde_json::Value;

use super::grammar::Grammar;
use crate::format::tests::{answer_losses_are_listed, request_losses_are_listed};
use crate::format::{Facts, Reply, RequestHead, Target, Undo, wire};
use crate::frame::sse::{EVENT_LIMIT, FrameError, Framer};
use crate::hub::{self, Event, Fault, Response};
use crate::seal::Seal;
use crate::{Format, Transcoder, translate_request, translate_response};

mod answers;
mod details;
mod errors;
mod marks;
mod nested;
mod quirks;
mod reasoning;
mod requests;
mod streams;

const KEY: [u8; 32] = [7; 32];
const CHAT: Format = Format::OpenaiChat;
const MESSAGES: Format = Format::AnthropicMessages;

fn reply() -> Reply {
    Reply {
        model: "client-model".to_owned(),
        include_usage: true,
        reasoning: crate::format::ReasoningWish::Shown,
        framing: crate::Framing::Events,
        seal: Arc::new(Seal::new(KEY)),
        created: 0,
        seed: "request".to_owned(),
        settings: crate::format::Settings::default(),
    }
}

/// A request that was translated.
#[derive(Debug)]
struct Sent {
    body: Value,
    /// Losses as `action:field`.
    losses: Vec<String>,
    /// Losses as `action:pointer`.
    header: String,
    reply: Reply,
}

/// Translates `body`, with the facts that `change` makes of the default ones.
fn send(from: Format, to: Format, body: &Value, change: impl FnOnce(&mut Facts)) -> Result<Sent, Fault<'static>> {
    let seal = Seal::new(KEY);
    let mut facts = Facts::default();
    change(&mut facts);
    let version = Some("2023-06-01");
    let head = RequestHead { api_version: version, betas: None, line: crate::Line::default(), seal: &seal };
    let target = Target { model: "target-model", facts: &facts, api_version: version };
    let sent = translate_request(from, to, body.to_string().as_bytes(), &head, &target)?;
    request_losses_are_listed(from, to, &sent.outgoing.losses);
    let losses = sent.outgoing.losses.iter();
    Ok(Sent {
        body: serde_json::from_slice(&sent.outgoing.body).unwrap(),
        losses: losses.map(|loss| format!("{}:{}", loss.action.label(), loss.field.label())).collect(),
        header: sent.outgoing.losses.header(4096),
        reply: sent.reply,
    })
}

fn to_chat(body: &Value, change: impl FnOnce(&mut Facts)) -> Sent {
    send(MESSAGES, CHAT, body, change).unwrap()
}

fn to_messages(body: &Value, change: impl FnOnce(&mut Facts)) -> Sent {
    send(CHAT, MESSAGES, body, change).unwrap()
}

fn as_it_is(_: &mut Facts) {}

/// Translates a whole answer; returns it and its losses as `action:field`.
fn answer(from: Format, to: Format, body: &Value) -> Result<(Value, Vec<String>), Fault<'static>> {
    let translated = translate_response(from, to, body.to_string().as_bytes(), &reply(), &Undo::default())?;
    answer_losses_are_listed(from, to, &translated.losses);
    let losses = translated.losses.iter().map(|loss| format!("{}:{}", loss.action.label(), loss.field.label()));
    Ok((serde_json::from_slice(&translated.body).unwrap(), losses.collect()))
}

/// Reads a whole answer of this format.
fn read(body: &str) -> Response<'_> {
    wire(CHAT).read_response(body.as_bytes()).unwrap()
}

/// A stream of this format: each of `data` an event, and no end but what they say.
fn chunks(data: &[&str]) -> String {
    data.iter().fold(String::new(), |stream, data| stream + "data: " + data + "\n\n")
}

/// A chunk with one choice.
fn chunk(delta: &str) -> String {
    format!(
        r#"{{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"up","choices":[{{"index":0,"delta":{delta},"finish_reason":null}}]}}"#
    )
}

/// The chunk that finishes choice 0.
fn finish(word: &str) -> String {
    format!(r#"{{"id":"chatcmpl-1","choices":[{{"index":0,"delta":{{}},"finish_reason":"{word}"}}]}}"#)
}

/// A stream rewritten for a client that gets `reply`, and the classes that were lost.
fn stream_for(reply: Reply, from: Format, to: Format, stream: &str) -> (String, Vec<&'static str>) {
    let mut transcoder = Transcoder::new(from, to, Arc::new(reply), Undo::default());
    let mut out = Vec::new();
    transcoder.chunk(stream.as_bytes(), &mut out);
    transcoder.finish(&mut out);
    let lost = transcoder.outcome().dropped.iter().map(|field| field.label()).collect();
    (String::from_utf8(out).unwrap(), lost)
}

fn stream(from: Format, to: Format, stream: &str) -> String {
    stream_for(reply(), from, to, stream).0
}

/// The events of a stream: name and data. One of this format is checked by its grammar.
fn frames(format: Format, stream: &str) -> Vec<(String, Value)> {
    let mut chat = Grammar::default();
    let mut seen = Vec::new();
    let mut framer = Framer::new(EVENT_LIMIT);
    framer
        .push::<FrameError>(stream.as_bytes(), |frame| {
            let kept = if format == CHAT { chat.next(&frame) } else { Ok(()) };
            kept.unwrap_or_else(|why| panic!("{why} in\n{stream}"));
            let data = if frame.data == "[DONE]" { Value::Null } else { serde_json::from_str(frame.data).unwrap() };
            seen.push((frame.event.unwrap_or_default().to_owned(), data));
            Ok(())
        })
        .unwrap();
    seen
}

/// The hub's events of a stream of this format, each as its debug text; checked by the hub's grammar.
fn events(stream: &str) -> Vec<String> {
    let mut reader = wire(CHAT).stream_reader();
    let mut grammar = hub::grammar::Grammar::default();
    let mut seen = Vec::new();
    let mut sink = |event: Event<'_>| {
        grammar.next(&event).unwrap();
        seen.push(format!("{event:?}"));
    };
    let mut framer = Framer::new(EVENT_LIMIT);
    framer.push::<Fault<'static>>(stream.as_bytes(), |frame| reader.frame(&frame, &mut sink)).unwrap();
    reader.end(&mut sink);
    seen
}

/// What an SDK's accumulator makes of a stream of this format: strings are joined, numbers added, and the entries of
/// a list go by their `index`.
fn accumulated(stream: &str) -> Value {
    let mut message = Value::Null;
    let mut finish = Value::Null;
    let mut usage = Value::Null;
    for (_, data) in frames(CHAT, stream) {
        for choice in data["choices"].as_array().into_iter().flatten().filter(|choice| choice["index"] == 0) {
            merge(&mut message, &choice["delta"]);
            if !choice["finish_reason"].is_null() {
                finish = choice["finish_reason"].clone();
            }
        }
        if data["usage"].is_object() {
            usage = data["usage"].clone();
        }
    }
    serde_json::json!({"message": message, "finish_reason": finish, "usage": usage})
}

fn merge(into: &mut Value, delta: &Value) {
    match (into, delta) {
        (Value::Object(into), Value::Object(delta)) => {
            for (key, value) in delta {
                match into.get_mut(key) {
                    // The SDK leaves these two as they are.
                    Some(_) if key == "index" => {}
                    Some(known) => merge(known, value),
                    None => {
                        into.insert(key.clone(), value.clone());
                    }
                }
            }
        }
        (Value::String(into), Value::String(delta)) => into.push_str(delta),
        (Value::Array(into), Value::Array(delta)) => {
            for entry in delta {
                let at = entry["index"].as_u64().map_or(into.len(), |index| usize::try_from(index).unwrap());
                match into.get_mut(at) {
                    Some(known) => merge(known, entry),
                    None => into.push(entry.clone()),
                }
            }
        }
        (into, delta) => *into = delta.clone(),
    }
}
