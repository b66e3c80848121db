//! What the format promises, as a whole.

use std::sync::Arc;

use serde_json::Value;

use super::OpenaiResponses;
use super::grammar::Grammar;
use crate::format::tests::request_losses_are_listed;
use crate::format::{Facts, Outgoing, Reply, RequestHead, Target, WireFormat as _};
use crate::frame::sse::{EVENT_LIMIT, FrameError, Framer};
use crate::hub::{self, Action, Event, Field, Refusal, Request};
use crate::seal::Seal;
use crate::{Format, Transcoder, Undo};

mod corpus;
mod reading;
mod requests;
mod responses;
mod streams;

const KEY: [u8; 32] = [7; 32];

fn reply() -> Reply {
    Reply {
        model: "client-model".to_owned(),
        include_usage: true,
        reasoning: crate::format::ReasoningWish::Shown,
        framing: crate::format::Framing::Events,
        seal: Arc::new(Seal::new(KEY)),
        created: 0,
        seed: "request".to_owned(),
        settings: crate::format::Settings::default(),
    }
}

/// Reads `body` as a client's request.
fn read<'a>(body: &'a str, seal: &'a Seal) -> Result<Request<'a>, Refusal> {
    OpenaiResponses.read_request(
        body.as_bytes(),
        &RequestHead { api_version: None, betas: None, line: crate::format::Line::default(), seal },
    )
}

/// A target and where the request is made to come from; the body is read as this format's own.
struct Way {
    facts: Facts,
    origin: Format,
}

impl Way {
    /// From another format.
    fn foreign() -> Self {
        Self { facts: Facts::default(), origin: Format::AnthropicMessages }
    }

    /// From this format.
    fn own() -> Self {
        Self { origin: Format::OpenaiResponses, ..Self::foreign() }
    }

    fn with(mut self, change: impl FnOnce(&mut Facts)) -> Self {
        change(&mut self.facts);
        self
    }

    /// Reads `body`, changes it, and writes it.
    fn go(&self, body: &str, change: impl FnOnce(&mut Request<'_>)) -> Result<(Value, Outgoing), Refusal> {
        let seal = Seal::new(KEY);
        let mut request = read(body, &seal)?;
        request.origin.format = self.origin;
        change(&mut request);
        let mut out = Outgoing::default();
        let target = Target { model: "m", facts: &self.facts, api_version: None };
        OpenaiResponses.write_request(&request, &target, &mut out)?;
        request_losses_are_listed(self.origin, Format::OpenaiResponses, &out.losses);
        Ok((serde_json::from_slice(&out.body).expect("the body is JSON"), out))
    }
}

fn lost(out: &Outgoing, field: Field, action: Action) -> bool {
    out.losses.iter().any(|loss| loss.field == field && loss.action == action)
}

/// A stream of this format as its events, checked by the grammar.
fn frames(stream: &[u8]) -> Vec<Value> {
    let mut grammar = Grammar::default();
    let mut seen = Vec::new();
    let mut framer = Framer::new(EVENT_LIMIT);
    framer
        .push::<FrameError>(stream, |frame| {
            grammar.next(&frame).unwrap_or_else(|why| panic!("{why}\n{}", String::from_utf8_lossy(stream)));
            seen.push(serde_json::from_str(frame.data).unwrap());
            Ok(())
        })
        .unwrap();
    assert_eq!(framer.pending(), 0);
    seen
}

fn kinds(frames: &[Value]) -> Vec<&str> {
    frames.iter().map(|frame| frame["type"].as_str().unwrap()).collect()
}

/// What `stream` of `provider` is for a client of this format.
fn translated(provider: Format, stream: &str) -> Vec<Value> {
    let mut transcoder = Transcoder::new(provider, Format::OpenaiResponses, Arc::new(reply()), Undo::default());
    let mut out = Vec::new();
    transcoder.chunk(stream.as_bytes(), &mut out);
    transcoder.finish(&mut out);
    frames(&out)
}

/// Reads a stream; every event is checked by the hub's grammar.
fn read_stream(chunks: &[&[u8]], sink: &mut dyn FnMut(&Event<'_>)) {
    let mut framer = Framer::new(EVENT_LIMIT);
    let mut reader = OpenaiResponses.stream_reader();
    let mut grammar = hub::grammar::Grammar::default();
    let mut checked = |event: Event<'_>| {
        grammar.next(&event).unwrap();
        sink(&event);
    };
    for chunk in chunks {
        let pushed = framer.push::<hub::Fault<'static>>(chunk, |frame| reader.frame(&frame, &mut checked));
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
    reasoning: String,
    refusal: String,
    /// Id, name, arguments.
    calls: Vec<(String, String, String)>,
    states: Vec<String>,
    citations: usize,
    stop: Option<String>,
    usage: Option<hub::Usage>,
    fault: Option<String>,
    ended: bool,
    dropped: Vec<Field>,
    blocks: Vec<char>,
}

impl Folded {
    fn add(&mut self, event: &Event<'_>) {
        match event {
            Event::BlockStart { head, .. } => self.blocks.push(match head {
                hub::Head::Text => 't',
                hub::Head::Refusal => 'd',
                hub::Head::Thinking(_) => 'r',
                hub::Head::Redacted => 'x',
                hub::Head::ServerTool { .. } => 's',
                hub::Head::ToolCall { id, name, .. } => {
                    self.calls.push((id.to_string(), name.to_string(), String::new()));
                    char::from_digit(u32::try_from(self.calls.len()).unwrap(), 10).unwrap()
                }
            }),
            Event::TextDelta { block, text } => match self.blocks[*block as usize] {
                'r' => self.reasoning.push_str(&text.plain()),
                'd' => self.refusal.push_str(&text.plain()),
                _ => self.text.push_str(&text.plain()),
            },
            Event::ArgumentsDelta { block, fragment } => {
                let call = self.blocks[*block as usize].to_digit(10).unwrap() as usize - 1;
                self.calls[call].2.push_str(&fragment.plain());
            }
            Event::Opaque { opaque, .. } => self.states.push(opaque.data.plain().into_owned()),
            Event::Citation { .. } => self.citations += 1,
            Event::Stop { stop, .. } => self.stop = Some(stop.label().to_owned()),
            Event::Usage(usage) => self.usage = Some(usage.clone()),
            Event::Fault(fault) => self.fault = Some(fault.message.to_string()),
            Event::End => self.ended = true,
            Event::Dropped { field } => self.dropped.push(*field),
            Event::Start { .. }
            | Event::Logprobs { .. }
            | Event::BlockStop { .. }
            | Event::Tier { .. }
            | Event::Apart { .. }
            | Event::Ping => {}
        }
    }
}

fn fold(chunks: &[&[u8]]) -> Folded {
    let mut folded = Folded::default();
    read_stream(chunks, &mut |event| folded.add(event));
    folded
}

/// Events, each a line of data.
fn up(lines: &[&str]) -> Vec<u8> {
    lines.iter().flat_map(|line| format!("data: {line}\n\n").into_bytes()).collect()
}
