//! A stream for a client, written.
//!
//! The format has one block open at a time; the hub's may interleave. Words switch blocks freely. A tool call keeps
//! the floor until its JSON is complete, and what comes of other blocks meanwhile waits, within a bound.

use std::sync::Arc;

use super::stream_block::{Block, Shape};
use super::tail::Tail;
use super::wire::OWN;
use super::{error, stop, usage};
use crate::format::told::is_usual_tier;
use crate::format::{Reply, StreamWriter};
use crate::hub::ids::Distinct;
use crate::hub::{Event, Fault, FaultKind, Field, Head, Opaque, Stop, Usage};
use crate::json::{Json, Text, Writer as JsonWriter};

/// Most bytes of later blocks that wait for a tool call to become complete, and of reasoning that waits for one to come.
const WAITING_LIMIT: usize = 4 << 20;

/// Writes one stream.
#[derive(Debug)]
pub(super) struct Writer {
    reply: Arc<Reply>,
    /// The provider's id, until `message_start` goes out.
    id: Option<Text<'static>>,
    started: bool,
    ended: bool,
    /// Why it ended the stream by itself.
    gave_up: Option<Box<Fault<'static>>>,
    /// Next index.
    index: u64,
    open: Option<Block>,
    tail: Tail,
    waiting: std::collections::VecDeque<Waiting>,
    waiting_bytes: usize,
    /// Blocks that were closed before the hub closed them.
    closed: Vec<(u32, Shape)>,
    /// Blocks that are left out, and were reported as such: of other answers than the first, of other formats' tools.
    others: Vec<u32>,
    ids: Distinct,
    stop: Option<Stop<'static>>,
    usage: Option<Usage>,
    tier: Option<Text<'static>>,
    /// What the event at hand brought and no block could take.
    untaken: Vec<Field>,
}

/// A block whose turn has not come.
#[derive(Debug)]
struct Waiting {
    block: Block,
    /// Text or arguments so far, escaped.
    body: String,
    opaque: Vec<Opaque<'static>>,
    stopped: bool,
}

impl StreamWriter for Writer {
    fn gave_up(&self) -> Option<&Fault<'static>> {
        self.gave_up.as_deref()
    }

    fn event(&mut self, event: &Event<'_>, out: &mut Vec<u8>, lost: &mut dyn FnMut(Field)) {
        if self.ended {
            return;
        }
        if let Some(field) = unsayable(event) {
            lost(field);
        }
        if self.tail.takes(event) {
            self.message_start(out);
            if self.tail.bytes() > WAITING_LIMIT {
                let message = "the provider sent too much reasoning that is shown before a tool call only";
                self.fault(&Fault::new(FaultKind::Api, message), out);
            }
        } else {
            let mut before = self.tail.release(event);
            if matches!(event, Event::End) {
                let (own, left_out) = self.tail.end();
                before = own;
                self.untaken.extend(left_out.then_some(Field::OpaqueState));
            }
            for event in &before {
                self.said(event, out);
            }
            self.said(event, out);
        }
        self.untaken.drain(..).for_each(lost);
    }
}

impl Writer {
    fn said(&mut self, event: &Event<'_>, out: &mut Vec<u8>) {
        match event {
            Event::Start { id, .. } => self.id = Some(id.clone().into_owned()),
            Event::BlockStart { block, candidate: 0, head } => {
                self.message_start(out);
                self.begin(*block, head, out);
            }
            Event::TextDelta { block, text } => self.text(*block, text, out),
            Event::ArgumentsDelta { block, fragment } => self.arguments(*block, fragment, out),
            Event::Opaque { block, opaque } => self.opaque(*block, opaque, out),
            Event::Citation { block, citation } if citation.format == OWN => self.citation(*block, &citation.raw, out),
            Event::BlockStop { block } => self.block_stop(*block, out),
            Event::Stop { candidate: 0, stop } => self.stop = Some(stop.clone().into_owned()),
            Event::Usage(usage) => self.usage = Some(usage.clone()),
            Event::Tier { word, .. } => self.tier = Some(word.clone().into_owned()),
            Event::Ping => {
                if self.id.is_some() || self.started {
                    self.message_start(out);
                }
                out.extend_from_slice(b"event: ping\ndata: {\"type\":\"ping\"}\n\n");
            }
            Event::Fault(fault) => self.say(fault, out),
            Event::End => self.end(out),
            // Other answers than the first, and what the format has no word for.
            Event::BlockStart { block, .. } => self.others.push(*block),
            Event::Citation { .. }
            | Event::Stop { .. }
            | Event::Logprobs { .. }
            | Event::Apart { .. }
            | Event::Dropped { .. } => {}
        }
    }
}

/// What of `event` the format has no place for, or says in another way; as the writer of whole answers reports it.
fn unsayable(event: &Event<'_>) -> Option<Field> {
    match event {
        Event::BlockStart { candidate: 1.., .. } | Event::Stop { candidate: 1.., .. } => Some(Field::N),
        Event::BlockStart { head: Head::Refusal, .. } => Some(Field::Refusal),
        Event::Tier { word, .. } if usage::tier_word(word).is_none() && !is_usual_tier(word.escaped()) => {
            Some(Field::Tier)
        }
        Event::Usage(usage) if usage.audio_input > 0 || usage.audio_output > 0 => Some(Field::UsageDetail),
        Event::BlockStart { head: Head::ServerTool { format, .. }, .. } if *format != OWN => Some(Field::ServerTool),
        Event::Citation { citation, .. } if citation.format != OWN => Some(Field::Citations),
        Event::Logprobs { .. } => Some(Field::Logprobs),
        Event::Stop { candidate: 0, stop: Stop::Filtered(_) | Stop::PromptFiltered(_) | Stop::Other(_) } => {
            Some(Field::StopReason)
        }
        _ => None,
    }
}

/// As a whole answer says it.
fn no_object() -> Fault<'static> {
    let mut fault = Fault::new(FaultKind::Api, "the arguments of the model's tool call are not a JSON object");
    fault.status = 502;
    fault.with_code("upstream_malformed")
}

impl Writer {
    /// A writer for a client that gets `reply`.
    pub(super) fn new(reply: Arc<Reply>) -> Self {
        Self {
            tail: Tail::new(reply.reasoning),
            reply,
            id: None,
            started: false,
            ended: false,
            index: 0,
            open: None,
            waiting: std::collections::VecDeque::new(),
            waiting_bytes: 0,
            closed: Vec::new(),
            others: Vec::new(),
            ids: Distinct::default(),
            gave_up: None,
            stop: None,
            usage: None,
            tier: None,
            untaken: Vec::new(),
        }
    }

    /// Held back until there is more to say, so that an early failure can still be an HTTP error.
    fn message_start(&mut self, out: &mut Vec<u8>) {
        if std::mem::replace(&mut self.started, true) {
            return;
        }
        let native = self.id.take().unwrap_or_default();
        let id = self.reply.own_id(&native, "msg_");
        out.extend_from_slice(b"event: message_start\ndata: ");
        let mut json = JsonWriter::new(out);
        json.open_object().key("type").plain("message_start").key("message").open_object();
        json.key("id").text(&id).key("type").plain("message").key("role").plain("assistant");
        json.key("model").plain(&self.reply.model).key("content").verbatim("[]");
        json.key("stop_reason").null().key("stop_sequence").null().key("usage");
        usage::write_first(self.usage.as_ref(), self.tier.as_ref(), &mut json);
        json.close_object().close_object();
        out.extend_from_slice(b"\n\n");
    }

    fn begin(&mut self, number: u32, head: &Head<'_>, out: &mut Vec<u8>) {
        let Some(block) = Block::new(number, head, &mut self.ids) else { return self.others.push(number) };
        match &self.open {
            Some(open) if open.may_close() => self.close_early(out),
            Some(_) => {
                self.waiting.push_back(Waiting { block, body: String::new(), opaque: Vec::new(), stopped: false });
                return self.wait_for(0, out);
            }
            None => {}
        }
        self.start(block, out);
    }

    fn start(&mut self, mut block: Block, out: &mut Vec<u8>) {
        block.announce(&mut self.index, out);
        self.open = Some(block);
    }

    fn text(&mut self, number: u32, text: &Text<'_>, out: &mut Vec<u8>) {
        if text.is_empty() {
            return;
        }
        if let Some(open) = self.open.as_mut().filter(|open| open.number == number) {
            open.grow(text, &mut self.index, out);
        } else if self.is_waiting(number) {
            self.keep(number, text, out);
        } else {
            self.text_again(number, text, out);
        }
    }

    /// Words for a block that was closed when another began: they go on in a new block.
    fn text_again(&mut self, number: u32, text: &Text<'_>, out: &mut Vec<u8>) {
        let Some(at) = self.closed.iter().position(|(closed, shape)| *closed == number && shape.is_words()) else {
            return;
        };
        let (_, shape) = self.closed.swap_remove(at);
        let head = if shape == Shape::Thinking { Head::Thinking(crate::hub::ThinkingKind::Raw) } else { Head::Text };
        self.begin(number, &head, out);
        self.text(number, text, out);
    }

    fn arguments(&mut self, number: u32, fragment: &Text<'_>, out: &mut Vec<u8>) {
        if fragment.is_empty() {
            return;
        }
        if let Some(open) = self.open.as_mut().filter(|open| open.number == number) {
            if !open.takes(fragment) {
                return self.fault(&no_object(), out);
            }
            open.grow(fragment, &mut self.index, out);
            if !self.waiting.is_empty() && open.may_close() {
                self.close_early(out);
                self.advance(out);
            }
        } else if self.is_waiting(number) {
            self.keep(number, fragment, out);
        } else if !fragment.is_blank() && self.closed.iter().any(|(closed, _)| *closed == number) {
            let message = "the provider went on with a tool call whose arguments were complete";
            self.fault(&Fault::new(FaultKind::Api, message), out);
        }
        // What is left belongs to another answer than the first.
    }

    fn opaque(&mut self, number: u32, opaque: &Opaque<'_>, out: &mut Vec<u8>) {
        let value =
            if opaque.maker == OWN { opaque.data.clone() } else { Text::from_escaped(self.reply.seal.wrap(opaque)) };
        if let Some(open) = self.open.as_mut().filter(|open| open.number == number) {
            if !open.opaque(value, &mut self.index, out) {
                self.untaken.push(Field::OpaqueState);
            }
        } else if let Some(waiting) = self.waiting.iter_mut().find(|waiting| waiting.block.number == number) {
            waiting.opaque.push(opaque.clone().into_owned());
            self.wait_for(value.escaped().len(), out);
        } else if !self.others.contains(&number) {
            // Its block was closed when another began.
            self.untaken.push(Field::OpaqueState);
        }
    }

    fn citation(&mut self, number: u32, raw: &Json<'_>, out: &mut Vec<u8>) {
        let open = self.open.as_mut().filter(|open| open.number == number);
        if !open.is_some_and(|open| open.citation(raw, &mut self.index, out)) && !self.others.contains(&number) {
            self.untaken.push(Field::Citations);
        }
    }

    fn block_stop(&mut self, number: u32, out: &mut Vec<u8>) {
        match &self.open {
            // Whether such a call may end so is told by why the answer ended.
            Some(open) if open.number == number && open.is_cut() => {}
            Some(open) if open.number == number => {
                self.close(out);
                self.advance(out);
            }
            _ => {
                self.closed.retain(|(closed, _)| *closed != number);
                if let Some(waiting) = self.waiting.iter_mut().find(|waiting| waiting.block.number == number) {
                    waiting.stopped = true;
                }
            }
        }
    }

    fn is_waiting(&self, number: u32) -> bool {
        self.waiting.iter().any(|waiting| waiting.block.number == number)
    }

    /// Keeps a piece of a block that waits.
    fn keep(&mut self, number: u32, piece: &Text<'_>, out: &mut Vec<u8>) {
        if let Some(waiting) = self.waiting.iter_mut().find(|waiting| waiting.block.number == number) {
            waiting.body.push_str(piece.escaped());
        }
        self.wait_for(piece.escaped().len(), out);
    }

    /// Accounts for `bytes` more that wait.
    fn wait_for(&mut self, bytes: usize, out: &mut Vec<u8>) {
        // Each block costs something even if it is empty.
        self.waiting_bytes = self.waiting_bytes.saturating_add(bytes).saturating_add(size_of::<Waiting>());
        if self.waiting_bytes > WAITING_LIMIT {
            let message = "the provider sent too much of later tool calls before the first was complete";
            self.fault(&Fault::new(FaultKind::Api, message), out);
        }
    }

    /// Closes the open block while the hub still has it open.
    fn close_early(&mut self, out: &mut Vec<u8>) {
        if let Some(open) = &self.open {
            self.closed.push((open.number, open.shape));
        }
        self.close(out);
    }

    fn close(&mut self, out: &mut Vec<u8>) {
        if let Some(open) = self.open.take() {
            if open.lacks_its_data() {
                self.untaken.push(Field::OpaqueState);
            }
            open.close(&self.reply.seal, &mut self.index, out);
        }
    }

    /// Gives the floor to the blocks that wait, until one of them keeps it.
    fn advance(&mut self, out: &mut Vec<u8>) {
        while self.open.is_none() {
            let Some(next) = self.waiting.pop_front() else {
                self.waiting_bytes = 0;
                return;
            };
            let number = next.block.number;
            self.start(next.block, out);
            for opaque in &next.opaque {
                self.opaque(number, opaque, out);
            }
            if let Some(open) = self.open.as_mut().filter(|_| !next.body.is_empty()) {
                let body = Text::from_escaped(next.body.as_str());
                if !open.takes(&body) {
                    return self.fault(&no_object(), out);
                }
                open.grow(&body, &mut self.index, out);
            }
            if next.stopped && !self.open.as_ref().is_some_and(Block::is_cut) {
                self.close(out);
            } else if !self.waiting.is_empty() && self.open.as_ref().is_some_and(Block::may_close) {
                self.close_early(out);
            }
        }
    }

    /// Nothing is closed before an error: a closed tool call would look complete.
    fn fault(&mut self, fault: &Fault<'_>, out: &mut Vec<u8>) {
        self.gave_up = Some(Box::new(fault.clone().into_owned()));
        self.say(fault, out);
    }

    fn say(&mut self, fault: &Fault<'_>, out: &mut Vec<u8>) {
        self.ended = true;
        out.extend_from_slice(b"event: error\ndata: ");
        error::write_object(fault, None, out);
        out.extend_from_slice(b"\n\n");
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        if let Some(Stop::Failed(word)) = &self.stop {
            let fault = Stop::gave_up(word);
            return self.fault(&fault, out);
        }
        self.message_start(out);
        // Arguments that were cut are only excusable in an answer that was cut.
        let is_whole = matches!(self.stop, None | Some(Stop::EndTurn | Stop::ToolUse));
        while !self.ended && (self.open.is_some() || !self.waiting.is_empty()) {
            if is_whole && self.open.as_ref().is_some_and(Block::is_cut) {
                return self.fault(&no_object(), out);
            }
            self.close(out);
            self.advance(out);
        }
        if self.ended {
            return;
        }
        self.ended = true;
        out.extend_from_slice(b"event: message_delta\ndata: ");
        let mut json = JsonWriter::new(out);
        json.open_object().key("type").plain("message_delta").key("delta").open_object();
        stop::write(self.stop.as_ref().unwrap_or(&Stop::EndTurn), &mut json);
        json.close_object().key("usage");
        usage::write(self.usage.as_ref(), self.tier.as_ref(), &mut json);
        json.close_object();
        out.extend_from_slice(b"\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n");
    }
}
