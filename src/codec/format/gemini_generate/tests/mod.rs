//! What the format promises, as a whole.
#![allow(
    clippy::needless_pass_by_value,
    clippy::type_complexity,
    clippy::cognitive_complexity,
    reason = "values of tests are written where they are used"
)]

use std::borrow::Cow;
use std::sync::Arc;

use super::GeminiGenerate;
use super::grammar::Grammar;
use crate::format::tests::request_losses_are_listed;
use crate::format::{Facts, Outgoing, Reply, RequestHead, Target, WireFormat as _};
use crate::frame::sse::{EVENT_LIMIT, FrameError, Framer};
use crate::hub::{self, Event, Refusal, Request, Usage};
use crate::seal::Seal;
use crate::{Format, Framing, Line};

mod corpus;
mod requests;
mod responses;
mod streams;

const KEY: [u8; 32] = [7; 32];

fn reply() -> Reply {
    Reply {
        model: "client-model".to_owned(),
        include_usage: true,
        reasoning: crate::format::ReasoningWish::Shown,
        framing: Framing::Events,
        seal: Arc::new(Seal::new(KEY)),
        created: 0,
        seed: "request".to_owned(),
        settings: crate::format::Settings::default(),
    }
}

fn line() -> Line<'static> {
    Line { model: Some(Cow::Borrowed("m")), stream: None }
}

/// Reads `body` as a client's request.
fn read<'a>(body: &'a str, seal: &'a Seal) -> Result<Request<'a>, Refusal> {
    GeminiGenerate.read_request(body.as_bytes(), &RequestHead { api_version: None, betas: None, line: line(), seal })
}

/// A target and the format that a request is made to come from; the body is read as this format's own.
struct Way {
    facts: Facts,
    origin: Format,
}

impl Way {
    fn own() -> Self {
        Self { facts: Facts::default(), origin: Format::GeminiGenerate }
    }

    fn foreign() -> Self {
        Self { facts: Facts::default(), origin: Format::OpenaiChat }
    }

    fn with(mut self, change: impl FnOnce(&mut Facts)) -> Self {
        change(&mut self.facts);
        self
    }

    fn write(&self, request: &Request<'_>) -> Result<(serde_json::Value, Outgoing), Refusal> {
        let mut out = Outgoing::default();
        let target = Target { model: "m", facts: &self.facts, api_version: None };
        GeminiGenerate.write_request(request, &target, &mut out)?;
        request_losses_are_listed(self.origin, Format::GeminiGenerate, &out.losses);
        Ok((serde_json::from_slice(&out.body).expect("the body is JSON"), out))
    }

    /// Reads `body`, changes it, and writes it.
    fn go(&self, body: &str, change: impl FnOnce(&mut Request<'_>)) -> Result<(serde_json::Value, Outgoing), Refusal> {
        let seal = Seal::new(KEY);
        let mut request = read(body, &seal)?;
        request.origin.format = self.origin;
        change(&mut request);
        self.write(&request)
    }
}

/// What was lost, as `action:field`.
fn losses(out: &Outgoing) -> Vec<String> {
    out.losses.iter().map(|loss| format!("{}:{}", loss.action.label(), loss.field.label())).collect()
}

/// A stream as its pieces, checked by the grammar.
fn pieces(stream: &[u8]) -> Vec<serde_json::Value> {
    let mut framer = Framer::new(EVENT_LIMIT);
    let mut grammar = Grammar::default();
    let mut seen = Vec::new();
    framer
        .push::<FrameError>(stream, |frame| {
            grammar.next(&frame).unwrap_or_else(|why| panic!("{why}\n{}", String::from_utf8_lossy(stream)));
            seen.push(serde_json::from_str(frame.data).unwrap());
            Ok(())
        })
        .unwrap();
    assert_eq!(framer.pending(), 0);
    assert!(grammar.is_ended(), "no end in\n{}", String::from_utf8_lossy(stream));
    // The vendor's SDK wants the space.
    assert!(stream.split(|byte| *byte == b'\n').all(|line| line.is_empty() || line.starts_with(b"data: {")));
    seen
}

/// Reads a stream that arrives in `chunks`; every event is checked by the hub's grammar.
fn read_stream(chunks: &[&[u8]], sink: &mut dyn FnMut(&Event<'_>)) {
    let mut framer = Framer::new(EVENT_LIMIT);
    let mut reader = GeminiGenerate.stream_reader();
    let mut grammar = hub::grammar::Grammar::default();
    let mut checked = |event: Event<'_>| {
        grammar.next(&event).unwrap();
        sink(&event);
    };
    for chunk in chunks {
        let pushed =
            framer.push::<hub::Fault<'static>>(chunk, |frame| reader.frame(&frame, &mut |event| checked(event)));
        if let Err(fault) = pushed {
            return checked(Event::Fault(fault));
        }
    }
    reader.end(&mut checked);
    assert!(grammar.is_ended());
}

/// What a client makes of a stream.
#[derive(Debug, Default, Clone, PartialEq)]
struct Folded {
    text: String,
    thinking: String,
    /// Id, name, arguments.
    calls: Vec<(String, String, String)>,
    /// Block and value.
    signatures: Vec<(u32, String)>,
    sources: Vec<(String, Option<(u64, u64)>)>,
    stop: Option<String>,
    usage: Usage,
    fault: Option<String>,
    ended: bool,
    dropped: Vec<&'static str>,
}

fn fold(chunks: &[&[u8]]) -> Folded {
    let mut folded = Folded::default();
    let mut heads: Vec<hub::Head<'static>> = Vec::new();
    read_stream(chunks, &mut |event| match event {
        Event::BlockStart { head, .. } => {
            heads.push(match head {
                hub::Head::ToolCall { id, name, .. } => {
                    folded.calls.push((id.to_string(), name.to_string(), String::new()));
                    hub::Head::Refusal
                }
                hub::Head::Thinking(kind) => hub::Head::Thinking(*kind),
                hub::Head::Text => hub::Head::Text,
                _ => hub::Head::Redacted,
            });
        }
        Event::TextDelta { block, text } => {
            let thinks = matches!(heads[*block as usize], hub::Head::Thinking(_));
            let into = if thinks { &mut folded.thinking } else { &mut folded.text };
            into.push_str(text.escaped());
        }
        Event::ArgumentsDelta { fragment, .. } => {
            folded.calls.last_mut().unwrap().2.push_str(&fragment.plain());
        }
        Event::Opaque { block, opaque } => folded.signatures.push((*block, opaque.data.plain().into_owned())),
        Event::Citation { citation, .. } => {
            let url = citation.url.as_ref().map(|url| url.plain().into_owned()).unwrap_or_default();
            folded.sources.push((url, citation.span));
        }
        Event::Stop { candidate: 0, stop } => folded.stop = Some(stop.label().to_owned()),
        Event::Usage(usage) => folded.usage = usage.clone(),
        Event::Fault(fault) => folded.fault = Some(fault.message.to_string()),
        Event::Dropped { field } => folded.dropped.push(field.label()),
        Event::End => folded.ended = true,
        _ => {}
    });
    let plain = |text: &str| crate::json::Text::from_escaped(text).plain().into_owned();
    folded.text = plain(&folded.text);
    folded.thinking = plain(&folded.thinking);
    folded
}

/// The pieces of an array as a stream of events, as the provider would send them with `alt=sse`.
fn as_events(array: &[u8]) -> Vec<u8> {
    let pieces: Vec<serde_json::Value> = serde_json::from_slice(array).unwrap();
    pieces.iter().flat_map(|piece| format!("data: {piece}\n\n").into_bytes()).collect()
}
