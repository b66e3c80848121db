//! A stream for a client, written: server-sent events, or the elements of one JSON array.
//!
//! Words pass as they come. A call is whole in one part, so its arguments are gathered until it is complete, within a
//! bound; calls keep the order in which they began. Reasons and usage stand in the last piece together.

use std::sync::Arc;

use super::calls::{Call, Calls};
use super::choice::{Choice, Signature};
use super::thoughts::hides;
use super::wire::{is_own, signature, signatures, unsigned};
use super::{error, logprobs, stop, usage};
use crate::format::told::is_usual_tier;
use crate::format::{Framing, Reply, StreamWriter};
use crate::hub::ids::Distinct;
use crate::hub::{Event, Fault, FaultKind, Field, Head, Opaque, Stop, Usage};
use crate::json::write::{escape_into, join_lines, push_escaped, push_number};
use crate::json::{Json, Text, Writer as JsonWriter};

/// Writes one stream.
#[derive(Debug)]
pub(super) struct Writer {
    reply: Arc<Reply>,
    /// What every piece ends with, from behind its candidates.
    tail: Vec<u8>,
    choices: Vec<Choice>,
    blocks: Vec<Block>,
    calls: Calls,
    ids: Distinct,
    usage: Option<Usage>,
    /// Something was written.
    begun: bool,
    /// Something else than a ping came last.
    busy: bool,
    over: bool,
    /// Why it ended the stream by itself.
    gave_up: Option<Box<Fault<'static>>>,
}

/// A block of the hub, as it is written here.
#[derive(Debug)]
struct Block {
    /// Place of its answer.
    choice: usize,
    kind: Kind,
    /// A piece up to its words, and from behind them.
    prefix: &'static [u8],
    suffix: Vec<u8>,
    /// Where its words begin in the answer's text, and its sources among the answer's.
    mark: (usize, usize),
    /// Where its words end, once they are over.
    end: Option<usize>,
    /// It has words.
    said: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Thinking,
    Redacted,
    Call,
    Hidden,
}

const TEXT: &[u8] = b"{\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"";
const THOUGHT: &[u8] = b"{\"candidates\":[{\"content\":{\"parts\":[{\"thought\":true,\"text\":\"";

impl StreamWriter for Writer {
    fn gave_up(&self) -> Option<&Fault<'static>> {
        self.gave_up.as_deref()
    }

    fn event(&mut self, event: &Event<'_>, out: &mut Vec<u8>, lost: &mut dyn FnMut(Field)) {
        if self.over {
            return;
        }
        if let Some(field) = unsayable(event) {
            lost(field);
        }
        let busy = std::mem::replace(&mut self.busy, !matches!(event, Event::Ping));
        match event {
            Event::Start { id, .. } => self.start(id),
            Event::BlockStart { candidate, head, .. } => self.block_start(*candidate, head, out, lost),
            Event::TextDelta { block, text } => self.text(*block, text, out),
            Event::ArgumentsDelta { block, fragment } => {
                if !self.calls.grow(*block, fragment.escaped()) {
                    let message = "the provider sent longer arguments than can be gathered";
                    self.fault(&Fault::new(FaultKind::Api, message), out);
                }
            }
            Event::Opaque { block, opaque } => self.opaque(*block, opaque, out),
            Event::Citation { block, citation } => {
                let Self { blocks, choices, .. } = self;
                let cited = at(blocks, *block).is_some_and(|block| {
                    let choice = choices.get_mut(block.choice);
                    choice.is_some_and(|choice| choice.cite(citation, (block.mark.0, block.end)))
                });
                if !cited {
                    lost(Field::Citations);
                }
            }
            Event::Logprobs { candidate, raw } => {
                let choice = self.choice(*candidate);
                if !self.logprobs(choice, raw, out) {
                    lost(Field::Logprobs);
                }
            }
            Event::BlockStop { block } => self.block_stop(*block, out, lost),
            Event::Stop { candidate, stop } => {
                let choice = self.choice(*candidate);
                self.flush_signature(choice, out);
                if let Some(choice) = self.choices.get_mut(choice) {
                    choice.stop = Some(stop.clone().into_owned());
                }
            }
            Event::Usage(usage) => self.usage = Some(usage.clone()),
            // A comment would reach a JSON parser in the vendor's SDK; an empty event, and space within an array, do not.
            // The one ping that some providers send as a matter of form tells nothing: only silence needs a sign.
            Event::Ping if busy => {}
            Event::Ping => out.extend_from_slice(match self.reply.framing {
                Framing::Events => b"\n\n",
                Framing::JsonArray => b"\n",
            }),
            Event::Dropped { .. } | Event::Apart { .. } | Event::Tier { .. } => {}
            Event::Fault(fault) => self.say(fault, out),
            Event::End => self.end(out),
        }
    }
}

/// What of `event` the format has no place for.
fn unsayable(event: &Event<'_>) -> Option<Field> {
    match event {
        Event::BlockStart { head: Head::Refusal, .. } => Some(Field::Refusal),
        Event::Stop { stop, .. } if stop::is_coarser(stop) => Some(Field::StopReason),
        Event::Usage(usage) if usage.server_tool_requests > 0 => Some(Field::UsageDetail),
        Event::Tier { word, .. } if !is_usual_tier(word.escaped()) => Some(Field::Tier),
        _ => None,
    }
}

impl Writer {
    /// A stream as `reply` wants it.
    pub(super) fn new(reply: Arc<Reply>) -> Self {
        Self {
            reply,
            tail: b"]".to_vec(),
            choices: Vec::new(),
            blocks: Vec::new(),
            calls: Calls::default(),
            ids: Distinct::default(),
            gave_up: None,
            usage: None,
            begun: false,
            busy: false,
            over: false,
        }
    }

    fn start(&mut self, id: &Text<'_>) {
        let tail = &mut self.tail;
        tail.clear();
        tail.extend_from_slice(b"],\"modelVersion\":\"");
        escape_into(&self.reply.model, tail);
        tail.push(b'"');
        if !id.is_empty() {
            tail.extend_from_slice(b",\"responseId\":\"");
            push_escaped(id.escaped(), tail);
            tail.push(b'"');
        }
    }

    /// Begins a piece.
    fn open(&mut self, out: &mut Vec<u8>) {
        let first = !std::mem::replace(&mut self.begun, true);
        out.extend_from_slice(match (self.reply.framing, first) {
            (Framing::Events, _) => b"data: ",
            (Framing::JsonArray, true) => b"[",
            (Framing::JsonArray, false) => b",\n",
        });
    }

    /// Ends a piece.
    fn close(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(match self.reply.framing {
            Framing::Events => b"\n\n",
            Framing::JsonArray => b"\n",
        });
    }

    /// Ends the stream.
    fn finish(&mut self, out: &mut Vec<u8>) {
        self.over = true;
        if self.reply.framing == Framing::JsonArray {
            out.extend_from_slice(b"]");
        }
    }

    /// The place of answer `candidate`.
    fn choice(&mut self, candidate: u32) -> usize {
        if let Some(at) = self.choices.iter().position(|choice| choice.index == candidate) {
            return at;
        }
        self.choices.push(Choice::new(candidate));
        self.choices.len() - 1
    }

    /// What a piece of answer `candidate` ends with, behind its last part.
    fn suffix(&self, candidate: u32) -> Vec<u8> {
        let mut suffix = Vec::with_capacity(self.tail.len() + 32);
        suffix.extend_from_slice(b"],\"role\":\"model\"},\"index\":");
        push_number(u64::from(candidate), &mut suffix);
        suffix.push(b'}');
        suffix.extend_from_slice(&self.tail);
        suffix.push(b'}');
        suffix
    }

    fn block_start(&mut self, candidate: u32, head: &Head<'_>, out: &mut Vec<u8>, lost: &mut dyn FnMut(Field)) {
        let choice = self.choice(candidate);
        let (kind, prefix) = match head {
            Head::Text | Head::Refusal => (Kind::Text, TEXT),
            Head::Thinking(_) => (Kind::Thinking, THOUGHT),
            Head::Redacted => (Kind::Redacted, TEXT),
            Head::ToolCall { .. } => (Kind::Call, TEXT),
            Head::ServerTool { format, raw } if *format == super::wire::OWN => {
                self.part(choice, out, |json| {
                    json.json(raw);
                });
                (Kind::Hidden, TEXT)
            }
            Head::ServerTool { .. } => {
                lost(Field::ServerTool);
                (Kind::Hidden, TEXT)
            }
        };
        // Words that come take what is foreign and has none.
        let says_nothing = kind == Kind::Thinking && hides(self.reply.reasoning);
        if kind != Kind::Call && !says_nothing && (kind != Kind::Text || !self.waits_for_words(choice)) {
            self.flush_signature(choice, out);
        }
        let suffix = match kind {
            Kind::Text | Kind::Thinking => {
                let mut suffix = b"\"}".to_vec();
                suffix.extend_from_slice(&self.suffix(candidate));
                suffix
            }
            Kind::Redacted | Kind::Call | Kind::Hidden => Vec::new(),
        };
        if let Head::ToolCall { id, name, flavor } = head {
            let states = self.choices.get_mut(choice).map(Choice::states).unwrap_or_default();
            let first = self.choices.get_mut(choice).is_some_and(Choice::is_first_call);
            let block = u32::try_from(self.blocks.len()).unwrap_or(u32::MAX);
            let id = self.ids.next(id);
            self.calls.begin(Call::new(block, choice, (id, name.clone().into_owned()), *flavor, (states, first)));
        }
        let mark = self.choices.get(choice).map(Choice::mark).unwrap_or_default();
        self.blocks.push(Block { choice, kind, prefix, suffix, mark, end: None, said: false });
    }

    fn text(&mut self, block: u32, text: &Text<'_>, out: &mut Vec<u8>) {
        let slot = usize::try_from(block).ok().and_then(|at| self.blocks.get_mut(at));
        let Some(slot) = slot.filter(|slot| matches!(slot.kind, Kind::Text | Kind::Thinking)) else { return };
        if text.is_empty() {
            return;
        }
        slot.said = true;
        let at_choice = slot.choice;
        match (slot.kind, self.choices.get_mut(at_choice)) {
            (Kind::Thinking, Some(choice)) => {
                choice.think(text);
                if hides(self.reply.reasoning) {
                    return;
                }
            }
            (_, Some(choice)) => {
                if let Some(waiting) = choice.signature.take_if(|signature| signature.fits_words()) {
                    let signed = waiting.value(&self.reply.seal);
                    choice.note_state(waiting);
                    choice.note(text);
                    return self.part(at_choice, out, |json| super::part::words(text, false, Some(&signed), json));
                }
                choice.note(text);
            }
            (_, None) => {}
        }
        self.open(out);
        if let Some(Block { prefix, suffix, .. }) = at(&self.blocks, block) {
            out.extend_from_slice(prefix);
            push_escaped(text.escaped(), out);
            out.extend_from_slice(suffix);
        }
        self.close(out);
    }

    /// Writes a piece with one part.
    fn part(&mut self, choice: usize, out: &mut Vec<u8>, write: impl FnOnce(&mut JsonWriter<'_>)) {
        let candidate = self.choices.get(choice).map_or(0, |choice| choice.index);
        self.open(out);
        out.extend_from_slice(b"{\"candidates\":[{\"content\":{\"parts\":[");
        let begin = out.len();
        write(&mut JsonWriter::new(out));
        join_lines(out.get_mut(begin..).unwrap_or_default());
        let suffix = self.suffix(candidate);
        out.extend_from_slice(&suffix);
        self.close(out);
    }

    /// Writes log probabilities; `false` for a shape that cannot be said.
    fn logprobs(&mut self, choice: usize, raw: &Json<'_>, out: &mut Vec<u8>) -> bool {
        let mut said = Vec::new();
        if !logprobs::write(raw, &mut JsonWriter::new(&mut said)) {
            return false;
        }
        let candidate = self.choices.get(choice).map_or(0, |choice| choice.index);
        self.open(out);
        out.extend_from_slice(
            b"{\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"\"}],\"role\":\"model\"},\"index\":",
        );
        push_number(u64::from(candidate), out);
        out.push(b',');
        out.append(&mut said);
        out.push(b'}');
        out.extend_from_slice(&self.tail);
        out.push(b'}');
        self.close(out);
        true
    }

    fn opaque(&mut self, block: u32, opaque: &Opaque<'_>, out: &mut Vec<u8>) {
        let Some(Block { choice, kind, said, .. }) = at(&self.blocks, block) else { return };
        let (choice, kind, said) = (*choice, *kind, *said);
        let own = is_own(opaque);
        let opaque = opaque.clone().into_owned();
        match kind {
            Kind::Call => self.calls.sign(block, opaque),
            // The provider's own stands at the part that follows, if that is a call. Another's stands at a call too, and at
            // words that follow if it has none.
            Kind::Redacted => self.wait(choice, opaque, false, out),
            Kind::Text if own => self.wait(choice, opaque, false, out),
            Kind::Thinking if !own => self.wait(choice, opaque, said, out),
            Kind::Text | Kind::Thinking => {
                self.flush_signature(choice, out);
                let value = signature(&opaque, &self.reply.seal).into_owned();
                let thought = kind == Kind::Thinking;
                self.part(choice, out, |json| super::part::words(&Text::EMPTY, thought, Some(&value), json));
            }
            Kind::Hidden => {}
        }
    }

    /// Holds a signature back until the part that it belongs to comes; its reasoning may have had words.
    fn wait(&mut self, choice: usize, opaque: Opaque<'static>, said: bool, out: &mut Vec<u8>) {
        self.flush_signature(choice, out);
        let of_words = said && !hides(self.reply.reasoning);
        if let Some(choice) = self.choices.get_mut(choice) {
            let words = if said { choice.thought() } else { String::new() };
            choice.signature = Some(Signature { opaque, of_words, words });
        }
    }

    fn waits_for_words(&self, choice: usize) -> bool {
        let waiting = self.choices.get(choice).and_then(|choice| choice.signature.as_ref());
        waiting.is_some_and(Signature::fits_words)
    }

    /// Writes the signature that nothing took: in a part without words.
    fn flush_signature(&mut self, choice: usize, out: &mut Vec<u8>) {
        let Some(at) = self.choices.get_mut(choice) else { return };
        let Some(waiting) = at.signature.take() else { return };
        let (foreign, value) = (waiting.is_foreign(), waiting.value(&self.reply.seal));
        at.note_state(waiting);
        self.part(choice, out, |json| super::part::words(&Text::EMPTY, foreign, Some(&value), json));
    }

    fn block_stop(&mut self, block: u32, out: &mut Vec<u8>, lost: &mut dyn FnMut(Field)) {
        let slot = usize::try_from(block).ok().and_then(|at| self.blocks.get_mut(at));
        let Some(slot) = slot else { return };
        // Nothing more is written of it.
        slot.suffix = Vec::new();
        if let (Kind::Text, Some(choice)) = (slot.kind, self.choices.get_mut(slot.choice)) {
            let end = choice.mark().0;
            slot.end = Some(end);
            choice.place(slot.mark, end);
        }
        if slot.kind != Kind::Call {
            return;
        }
        self.calls.stop(block);
        while let Some(call) = self.calls.next_complete() {
            let choice = call.choice;
            let Some(arguments) = call.arguments() else {
                lost(Field::ToolCall);
                if let Some(choice) = self.choices.get_mut(choice) {
                    choice.malformed = true;
                }
                continue;
            };
            let mark = || call.first.then(|| unsigned(&self.reply.seal));
            let signature = signatures(&call.states, &self.reply.seal).or_else(mark);
            self.part(choice, out, |json| {
                super::part::call((&call.id, &call.name), &arguments, signature.as_ref(), json);
            });
        }
    }

    fn fault(&mut self, fault: &Fault<'_>, out: &mut Vec<u8>) {
        self.gave_up = Some(Box::new(fault.clone().into_owned()));
        self.say(fault, out);
    }

    fn say(&mut self, fault: &Fault<'_>, out: &mut Vec<u8>) {
        self.open(out);
        error::write_object(fault, None, out);
        self.close(out);
        self.finish(out);
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        if self.choices.is_empty() {
            self.choice(0);
        }
        let failed = self.choices.iter().find_map(|choice| match &choice.stop {
            Some(stop @ Stop::Failed(word)) if stop::word(stop).is_none() => Some(Stop::gave_up(word)),
            _ => None,
        });
        if let Some(fault) = failed {
            return self.fault(&fault, out);
        }
        let is_first = !self.begun;
        self.open(out);
        match self.choices.first() {
            // There is no answer.
            Some(Choice { stop: Some(Stop::PromptFiltered(word)), .. }) if is_first => {
                out.push(b'{');
                stop::write_blocked(word, &mut JsonWriter::new(out));
                out.extend_from_slice(self.tail.strip_prefix(b"]").unwrap_or_default());
            }
            _ => {
                out.extend_from_slice(b"{\"candidates\":[");
                let begin = out.len();
                let mut json = JsonWriter::new(out);
                for choice in &self.choices {
                    choice.write_end(&mut json);
                }
                join_lines(out.get_mut(begin..).unwrap_or_default());
                out.extend_from_slice(&self.tail);
            }
        }
        if let Some(usage) = &self.usage {
            out.extend_from_slice(b",\"usageMetadata\":");
            usage::write(usage, &mut JsonWriter::new(out));
        }
        out.push(b'}');
        self.close(out);
        self.finish(out);
    }
}

fn at(blocks: &[Block], block: u32) -> Option<&Block> {
    usize::try_from(block).ok().and_then(|at| blocks.get(at))
}
