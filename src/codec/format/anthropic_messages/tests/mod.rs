//! What the format promises, as a whole.

use std::sync::Arc;

use super::AnthropicMessages;
use super::grammar::Grammar;
use crate::format::tests::request_losses_are_listed;
use crate::format::{Facts, Outgoing, Reply, RequestHead, Target, WireFormat as _};
use crate::frame::sse::{EVENT_LIMIT, FrameError, Framer};
use crate::hub::{Action, Event, Field, Refusal, Request};
use crate::seal::Seal;
use crate::{Format, hub};

mod core_fields;
mod corpus;
mod losses;
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

/// Reads `body` as a client's request of version `version`.
fn read<'a>(body: &'a str, version: Option<&'a str>, seal: &'a Seal) -> Result<Request<'a>, Refusal> {
    AnthropicMessages.read_request(
        body.as_bytes(),
        &RequestHead { api_version: version, betas: None, line: crate::Line::default(), seal },
    )
}

/// A target and what is done to the request on its way there.
struct Way {
    facts: Facts,
    version: Option<&'static str>,
    /// The format that the request is made to come from; the body is read as this format's own.
    origin: Format,
}

impl Default for Way {
    fn default() -> Self {
        Self { facts: Facts::default(), version: None, origin: Format::OpenaiChat }
    }
}

impl Way {
    fn own() -> Self {
        Self { origin: Format::AnthropicMessages, ..Self::default() }
    }

    fn with(mut self, change: impl FnOnce(&mut Facts)) -> Self {
        change(&mut self.facts);
        self
    }

    fn at(mut self, version: &'static str) -> Self {
        self.version = Some(version);
        self
    }

    fn write(&self, request: &Request<'_>) -> Result<Outgoing, Refusal> {
        let mut out = Outgoing::default();
        let target = Target { model: "m", facts: &self.facts, api_version: self.version };
        AnthropicMessages.write_request(request, &target, &mut out)?;
        request_losses_are_listed(self.origin, Format::AnthropicMessages, &out.losses);
        serde_json::from_slice::<serde_json::Value>(&out.body).expect("the body is JSON");
        Ok(out)
    }

    /// Reads `body`, changes it, and writes it.
    fn go(&self, body: &str, change: impl FnOnce(&mut Request<'_>)) -> Result<(serde_json::Value, Outgoing), Refusal> {
        let seal = Seal::new(KEY);
        let mut request = read(body, None, &seal)?;
        request.origin.format = self.origin;
        change(&mut request);
        let out = self.write(&request)?;
        Ok((serde_json::from_slice(&out.body).unwrap(), out))
    }
}

/// What was lost, as `action:field`.
fn losses(out: &Outgoing) -> Vec<String> {
    out.losses.iter().map(|loss| format!("{}:{}", loss.action.label(), loss.field.label())).collect()
}

fn lost(out: &Outgoing, field: Field, action: Action) -> bool {
    out.losses.iter().any(|loss| loss.field == field && loss.action == action)
}

/// A stream of `messages` as its frames, checked by the grammar.
fn frames(stream: &[u8]) -> Vec<(String, serde_json::Value)> {
    let mut framer = Framer::new(EVENT_LIMIT);
    let mut grammar = Grammar::default();
    let mut seen = Vec::new();
    framer
        .push::<FrameError>(stream, |frame| {
            grammar.next(&frame).unwrap_or_else(|why| panic!("{why}\n{}", String::from_utf8_lossy(stream)));
            seen.push((frame.event.unwrap_or_default().to_owned(), serde_json::from_str(frame.data).unwrap()));
            Ok(())
        })
        .unwrap();
    assert_eq!(framer.pending(), 0);
    seen
}

/// Reads a stream that arrives in `chunks`; every event is checked by the hub's grammar.
fn read_stream(chunks: &[&[u8]], sink: &mut dyn FnMut(&Event<'_>)) {
    let mut framer = Framer::new(EVENT_LIMIT);
    let mut reader = AnthropicMessages.stream_reader();
    let mut grammar = hub::grammar::Grammar::default();
    let mut checked = |event: Event<'_>| {
        grammar.next(&event).unwrap();
        sink(&event);
    };
    for chunk in chunks {
        let pushed = framer.push::<Pushed>(chunk, |frame| reader.frame(&frame, &mut checked).map_err(Pushed::Fault));
        match pushed {
            Ok(()) => {}
            Err(Pushed::Fault(fault)) => return checked(Event::Fault(fault)),
            Err(Pushed::Frame(error)) => panic!("{error}"),
        }
    }
    reader.end(&mut checked);
    assert!(grammar.is_ended());
}

enum Pushed {
    Fault(hub::Fault<'static>),
    Frame(FrameError),
}

impl From<FrameError> for Pushed {
    fn from(error: FrameError) -> Self {
        Self::Frame(error)
    }
}

/// What a client makes of a stream.
#[derive(Debug, Default, Clone, PartialEq)]
struct Folded {
    text: String,
    reasoning: String,
    /// Id, name, arguments.
    calls: Vec<(String, String, String)>,
    signatures: Vec<String>,
    stop: Option<String>,
    usage: hub::Usage,
    fault: Option<String>,
    ended: bool,
    blocks: Vec<(u32, char)>,
}

impl Folded {
    fn add(&mut self, event: &Event<'_>) {
        match event {
            Event::BlockStart { block, head, .. } => {
                let kind = match head {
                    hub::Head::Text | hub::Head::Refusal => 't',
                    hub::Head::Thinking(_) => 'r',
                    hub::Head::ToolCall { id, name, .. } => {
                        self.calls.push((id.to_string(), name.to_string(), String::new()));
                        char::from_digit(u32::try_from(self.calls.len()).unwrap(), 36).unwrap()
                    }
                    hub::Head::Redacted | hub::Head::ServerTool { .. } => 'x',
                };
                self.blocks.push((*block, kind));
            }
            Event::TextDelta { block, text } => match self.kind(*block) {
                'r' => self.reasoning.push_str(&text.plain()),
                _ => self.text.push_str(&text.plain()),
            },
            Event::ArgumentsDelta { block, fragment } => {
                let call = self.kind(*block).to_digit(36).unwrap() as usize - 1;
                self.calls[call].2.push_str(&fragment.plain());
            }
            Event::Opaque { opaque, .. } => self.signatures.push(opaque.data.plain().into_owned()),
            Event::Stop { stop, .. } => self.stop = Some(stop.label().to_owned()),
            Event::Usage(usage) => self.usage = usage.clone(),
            Event::Fault(fault) => self.fault = Some(fault.message.to_string()),
            Event::End => self.ended = true,
            Event::Start { .. }
            | Event::Citation { .. }
            | Event::Logprobs { .. }
            | Event::BlockStop { .. }
            | Event::Tier { .. }
            | Event::Apart { .. }
            | Event::Ping
            | Event::Dropped { .. } => {}
        }
    }

    fn kind(&self, block: u32) -> char {
        self.blocks.iter().find(|(number, _)| *number == block).unwrap().1
    }
}

fn fold(chunks: &[&[u8]]) -> Folded {
    let mut folded = Folded::default();
    read_stream(chunks, &mut |event| folded.add(event));
    folded
}
