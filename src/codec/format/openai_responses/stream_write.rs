//! A stream for a client, written.
//!
//! Every item is announced, grows, and is repeated whole when it is done, and once more when the answer is: this is
//! the one format whose writer must keep what was said. Texts in a row are parts of one message. A delta is a prefix
//! that is built once, its words as they came, and its number.

use std::sync::Arc;

use super::envelope::State;
use super::output::{self, Body, Identity, Logprobs};
use super::stop::{Said, is_coarser};
use super::stream_out::{Out, Place};
use super::wire::OWN;
use super::{error, usage};
use crate::format::sibling::tier_word;
use crate::format::told::is_usual_tier;
use crate::format::{Reply, StreamWriter};
use crate::hub::ids::Distinct;
use crate::hub::{Citation, Event, Fault, FaultKind, Field, Flavor, Head, Opaque, Stop, ThinkingKind, Usage};
use crate::json::write::one_line;
use crate::json::{Json, Text};

/// Writes one stream.
#[derive(Debug)]
pub(super) struct Writer {
    reply: Arc<Reply>,
    out: Out,
    /// What went out before was not read: it may be of an answer that is not known here.
    unread: bool,
    /// `response.created` went out.
    begun: bool,
    over: bool,
    /// Why it ended the stream by itself.
    gave_up: Option<Box<Fault<'static>>>,
    blocks: Vec<Block>,
    /// The message that the next text belongs to.
    message: Option<usize>,
    /// A call that is announced with the next event, in case that its signature comes first.
    pending: Option<usize>,
    ids: Distinct,
    usage: Option<Usage>,
    tier: Option<Text<'static>>,
    stop: Stop<'static>,
    /// Probabilities of the words that come next.
    logprobs: Logprobs,
}

/// A block of the hub, as it is written here.
#[derive(Debug)]
struct Block {
    kind: Kind,
    /// The place of its item and part, once it has them.
    place: Option<Place>,
    /// A delta up to its words.
    prefix: Vec<u8>,
    /// Sources, held until the block's end tells what they cover.
    sources: Vec<Citation<'static>>,
    said: bool,
}

#[derive(Debug)]
enum Kind {
    Words { refusal: bool },
    Thought { kind: ThinkingKind, sealed: Option<String> },
    Call { call_id: String, name: String, flavor: Flavor },
    Hidden,
}

impl StreamWriter for Writer {
    fn gave_up(&self) -> Option<&Fault<'static>> {
        self.gave_up.as_deref()
    }

    fn resume(&mut self, events: u64, start: Option<&Event<'_>>) {
        self.out.resume(events);
        self.unread = events > 0 && start.is_none();
        if let Some(Event::Start { id, model, created }) = start {
            self.out.identity = Identity::new(id, *created, &self.reply);
            self.begun = true;
            // The name that the client was told.
            if !model.is_empty() {
                self.reply = Arc::new(Reply { model: model.plain().into_owned(), ..Reply::clone(&self.reply) });
            }
        }
    }

    fn event(&mut self, event: &Event<'_>, out: &mut Vec<u8>, lost: &mut dyn FnMut(Field)) {
        if self.over {
            return;
        }
        if let Some(field) = unsayable(event) {
            lost(field);
        }
        if !matches!(event, Event::Opaque { .. } | Event::Ping | Event::Dropped { .. } | Event::Fault(_)) {
            self.announce(out);
        }
        match event {
            Event::Start { id, created, .. } => self.out.identity = Identity::new(id, *created, &self.reply),
            Event::BlockStart { candidate, head, .. } => self.block_start(*candidate, head, out),
            Event::TextDelta { block, text } => self.text(*block, text, out),
            Event::ArgumentsDelta { block, fragment } => self.arguments(*block, fragment, out),
            Event::Opaque { block, opaque } => self.opaque(*block, opaque, out, lost),
            Event::Citation { block, citation } => self.citation(*block, citation, lost),
            Event::Logprobs { candidate: 0, raw } => self.logprobs(raw, lost),
            Event::BlockStop { block } => self.block_stop(*block, out, lost),
            Event::Stop { candidate: 0, stop } => self.stop = stop.clone().into_owned(),
            Event::Usage(usage) => self.usage = Some(usage.clone()),
            Event::Tier { word, format } => self.tier = tier_word(word, *format, OWN).map(Text::into_owned),
            Event::Ping => out.extend_from_slice(b": keepalive\n\n"),
            Event::Fault(fault) => self.say(fault, out),
            Event::End => {
                if !self.logprobs.part.is_empty() {
                    // Of no words.
                    lost(Field::Logprobs);
                }
                self.end(out);
            }
            Event::Logprobs { .. } | Event::Stop { .. } | Event::Apart { .. } | Event::Dropped { .. } => {}
        }
        if self.out.is_full() && !self.over {
            let fault = Fault::new(FaultKind::Api, "The answer is longer than the edge can repeat at its end");
            self.fault(&fault.with_code("answer_too_long"), out);
        }
    }
}

/// What of `event` the format has no place for.
fn unsayable(event: &Event<'_>) -> Option<Field> {
    match event {
        Event::BlockStart { candidate: 1.., .. } => Some(Field::N),
        Event::BlockStart { head: Head::ServerTool { format, raw }, .. } if *format != OWN || !output::has_id(raw) => {
            Some(Field::ServerTool)
        }
        Event::Citation { citation, .. } if citation.format != OWN && citation.url.is_none() => Some(Field::Citations),
        Event::Stop { candidate: 0, stop } if is_coarser(stop) => Some(Field::StopReason),
        Event::Usage(usage) if usage::tells_more(usage) => Some(Field::UsageDetail),
        Event::Tier { word, format } if tier_word(word, *format, OWN).is_none() && !is_usual_tier(word.escaped()) => {
            Some(Field::Tier)
        }
        _ => None,
    }
}

impl Writer {
    /// A writer for a client that gets `reply`.
    pub(super) fn new(reply: Arc<Reply>) -> Self {
        let identity = Identity::new(&Text::EMPTY, None, &reply);
        Self {
            out: Out::new(identity, &reply),
            reply,
            unread: false,
            begun: false,
            over: false,
            blocks: Vec::new(),
            message: None,
            pending: None,
            ids: Distinct::default(),
            gave_up: None,
            usage: None,
            tier: None,
            stop: Stop::EndTurn,
            logprobs: Logprobs::default(),
        }
    }

    /// Held back until there is more to say: what a stream begins with is no sign of an answer.
    fn begin(&mut self, out: &mut Vec<u8>) {
        if !std::mem::replace(&mut self.begun, true) {
            for name in ["response.created", "response.in_progress"] {
                self.out.response(name, &self.reply, State::InProgress, out);
            }
        }
    }

    fn begin_item(&mut self, prefix: &str, body: Body, out: &mut Vec<u8>) -> usize {
        self.begin(out);
        self.out.begin(prefix, body, out)
    }

    fn block(&mut self, number: u32) -> Option<&mut Block> {
        usize::try_from(number).ok().and_then(|at| self.blocks.get_mut(at))
    }

    fn block_start(&mut self, candidate: u32, head: &Head<'_>, out: &mut Vec<u8>) {
        let kind = match head {
            _ if candidate > 0 => Kind::Hidden,
            Head::Text => Kind::Words { refusal: false },
            Head::Refusal => Kind::Words { refusal: true },
            Head::Thinking(kind) => Kind::Thought { kind: output::shown(*kind, &self.reply), sealed: None },
            Head::Redacted => Kind::Thought { kind: ThinkingKind::Summary, sealed: None },
            Head::ToolCall { id, name, flavor } => {
                self.pending = Some(self.blocks.len());
                Kind::Call { call_id: self.ids.next(id), name: name.clone().into_owned(), flavor: *flavor }
            }
            Head::ServerTool { .. } => Kind::Hidden,
        };
        if candidate == 0 && !matches!(kind, Kind::Words { .. }) {
            self.leave_message(out);
        }
        if let (0, Head::ServerTool { format: OWN, raw }) = (candidate, head)
            && output::has_id(raw)
        {
            self.out.keep(raw.as_str().len());
            let at = self.begin_item("it_", Body::Raw(one_line(raw.as_str())), out);
            self.out.end(at, "completed", out);
        }
        self.blocks.push(Block { kind, place: None, prefix: Vec::new(), sources: Vec::new(), said: false });
    }

    /// What comes is no text: the message ends, at once or with its open part.
    fn leave_message(&mut self, out: &mut Vec<u8>) {
        if let Some(at) = self.message.take().filter(|at| self.out.is_idle(*at)) {
            self.out.end(at, "completed", out);
        }
    }

    /// Announces the call that waits.
    fn announce(&mut self, out: &mut Vec<u8>) {
        let Some(number) = self.pending.take() else { return };
        let Some(Block { kind: Kind::Call { call_id, name, flavor }, .. }) = self.blocks.get(number) else { return };
        let (prefix, event) = match flavor {
            Flavor::Function => ("fc_", "response.function_call_arguments.delta"),
            Flavor::Custom => ("ctc_", "response.custom_tool_call_input.delta"),
        };
        let (call_id, name, flavor) = (call_id.clone(), name.clone(), *flavor);
        let at = self.begin_item(prefix, Body::Call { call_id, name, flavor, input: String::new() }, out);
        let prefix = self.out.prefix(event, at, None);
        if let Some(block) = self.blocks.get_mut(number) {
            block.place = Some((at, 0));
            block.prefix = prefix;
        }
    }

    fn text(&mut self, number: u32, text: &Text<'_>, out: &mut Vec<u8>) {
        if text.is_empty() {
            return;
        }
        if self.block(number).is_some_and(|block| block.place.is_none()) {
            self.open(number, out);
        }
        let at = usize::try_from(number).ok().and_then(|at| self.blocks.get_mut(at));
        if let Some(Block { kind, place: Some(place), prefix, said, .. }) = at {
            *said = true;
            let logprobs = match kind {
                Kind::Words { refusal: false } => std::mem::take(&mut self.logprobs),
                _ => Logprobs::default(),
            };
            self.out.delta_with(prefix, *place, (text, &logprobs), out);
        }
    }

    /// Words have come for a block: it gets its item and its part.
    fn open(&mut self, number: u32, out: &mut Vec<u8>) {
        let (place, prefix) = match self.block(number).map(|block| &block.kind) {
            Some(Kind::Words { refusal }) => {
                let refusal = *refusal;
                let (at, part) = self.open_part(refusal, out);
                let name = if refusal { "response.refusal.delta" } else { "response.output_text.delta" };
                ((at, part), self.out.prefix(name, at, Some(("content_index", part))))
            }
            Some(Kind::Thought { kind, .. }) => {
                let kind = *kind;
                let at = self.begin_item("rs_", reasoning(kind, None), out);
                self.out.begin_thought(at, kind, out);
                let (name, key) = match kind {
                    ThinkingKind::Summary => ("response.reasoning_summary_text.delta", "summary_index"),
                    ThinkingKind::Raw => ("response.reasoning_text.delta", "content_index"),
                };
                ((at, 0), self.out.prefix(name, at, Some((key, 0))))
            }
            Some(Kind::Call { .. } | Kind::Hidden) | None => return,
        };
        if let Some(block) = self.block(number) {
            (block.place, block.prefix) = (Some(place), prefix);
        }
    }

    /// Begins a part of the message that goes on, or of a new one.
    fn open_part(&mut self, refusal: bool, out: &mut Vec<u8>) -> Place {
        let at = match self.message.filter(|at| self.out.is_idle(*at)) {
            Some(at) => at,
            None => self.begin_item("msg_", Body::Message(Vec::new()), out),
        };
        self.message = Some(at);
        self.out.begin_part(at, refusal, out)
    }

    fn arguments(&mut self, number: u32, fragment: &Text<'_>, out: &mut Vec<u8>) {
        let at = usize::try_from(number).ok().and_then(|at| self.blocks.get_mut(at));
        if let Some(Block { kind: Kind::Call { .. }, place: Some(place), prefix, said, .. }) = at
            && !fragment.is_empty()
        {
            *said = true;
            self.out.delta(prefix, *place, fragment, out);
        }
    }

    fn opaque(&mut self, number: u32, opaque: &Opaque<'_>, out: &mut Vec<u8>, lost: &mut dyn FnMut(Field)) {
        let value = output::sealed(opaque, &self.reply.seal);
        match self.block(number).map(|block| &mut block.kind) {
            Some(Kind::Thought { sealed: sealed @ None, .. }) => {
                *sealed = Some(value);
            }
            Some(Kind::Thought { .. }) => lost(Field::OpaqueState),
            // A signature of what was said or called: it travels in an item of its own.
            Some(Kind::Words { .. } | Kind::Call { .. }) => {
                self.out.keep(value.len());
                let at = self.begin_item("rs_", reasoning(ThinkingKind::Summary, Some(value)), out);
                self.out.end(at, "completed", out);
            }
            Some(Kind::Hidden) | None => {}
        }
    }

    /// A source of words that are done comes too late: they were told whole.
    fn citation(&mut self, number: u32, citation: &Citation<'_>, lost: &mut dyn FnMut(Field)) {
        if citation.format != OWN && citation.url.is_none() {
            return;
        }
        let bytes = citation.raw.as_str().len() + citation.cited_text.as_ref().map_or(0, |text| text.escaped().len());
        match self.block(number) {
            Some(block) if matches!(block.kind, Kind::Words { .. }) => {
                block.sources.push(citation.clone().into_owned());
                self.out.keep(bytes);
            }
            _ => lost(Field::Citations),
        }
    }

    /// Probabilities stand with the words that follow, or at the end of those that came.
    fn logprobs(&mut self, raw: &Json<'_>, lost: &mut dyn FnMut(Field)) {
        let (found, refusal) = output::logprobs(raw);
        if let Some(found) = found {
            self.out.keep(found.part.len() + found.event.len());
            self.logprobs.push(&found);
        }
        if refusal {
            lost(Field::Logprobs);
        }
    }

    fn block_stop(&mut self, number: u32, out: &mut Vec<u8>, lost: &mut dyn FnMut(Field)) {
        let Some(block) = self.block(number) else { return };
        let (place, said) = (block.place, block.said);
        block.prefix = Vec::new();
        match std::mem::replace(&mut block.kind, Kind::Hidden) {
            Kind::Words { .. } => {
                let sources = std::mem::take(&mut block.sources);
                if let Some(part) = place.and_then(|place| self.out.part(place)).filter(|part| !part.refusal) {
                    part.logprobs.push(&std::mem::take(&mut self.logprobs));
                }
                match place {
                    Some(place) => self.end_words(place, &sources, out),
                    None if sources.is_empty() => {}
                    // Sources of nothing.
                    None => lost(Field::Citations),
                }
            }
            Kind::Thought { kind, sealed } => self.end_thought(place, kind, sealed, out),
            Kind::Call { flavor, .. } => {
                let Some((at, _)) = place else { return };
                if !said && flavor == Flavor::Function {
                    let prefix = self.out.prefix("response.function_call_arguments.delta", at, None);
                    self.out.delta(&prefix, (at, 0), &Text::from_escaped("{}"), out);
                }
                self.out.end_call(at, out);
            }
            Kind::Hidden => {}
        }
    }

    fn end_words(&mut self, place: Place, sources: &[Citation<'static>], out: &mut Vec<u8>) {
        let span = self.out.part(place).map(|part| part.span()).unwrap_or_default();
        let mut number = 0;
        for source in sources {
            let Some(json) = output::annotation(source, span) else { continue };
            if self.out.part(place).is_some_and(|part| part.cite(source, span)) {
                self.out.annotation(place, number, &json, out);
                number += 1;
            }
        }
        self.out.end_part(place, out);
        if self.message != Some(place.0) {
            self.out.end(place.0, "completed", out);
        }
    }

    /// Reasoning that says nothing and holds nothing is no item.
    fn end_thought(&mut self, place: Option<Place>, kind: ThinkingKind, sealed: Option<String>, out: &mut Vec<u8>) {
        let at = match (place, sealed) {
            (Some((at, _)), sealed) => {
                self.out.end_thought(at, kind, out);
                self.out.seal(at, sealed.unwrap_or_else(|| output::unsigned(&self.reply.seal)));
                at
            }
            (None, Some(sealed)) => {
                self.out.keep(sealed.len());
                self.begin_item("rs_", reasoning(kind, Some(sealed)), out)
            }
            (None, None) => return,
        };
        self.out.end(at, "completed", out);
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        let stop = std::mem::replace(&mut self.stop, Stop::EndTurn);
        let said = match Said::of(&stop, !self.out.is_empty()) {
            Ok(said) => said,
            Err(fault) => {
                // The answer came to its end, and its end is this.
                self.begin(out);
                return self.fault(&fault, out);
            }
        };
        self.begin(out);
        if let Stop::Refusal { explanation: Some(words), .. } = &stop {
            let (at, part) = self.open_part(true, out);
            let prefix = self.out.prefix("response.refusal.delta", at, Some(("content_index", part)));
            self.out.delta(&prefix, (at, part), words, out);
            self.out.end_part((at, part), out);
        }
        if let Some(at) = self.message.take() {
            self.out.end(at, said.status(), out);
        }
        self.over = true;
        let name = if said == Said::Completed { "response.completed" } else { "response.incomplete" };
        let state = State::Ended(said, self.usage.as_ref(), self.tier.as_ref());
        self.out.response(name, &self.reply, state, out);
    }

    /// Nothing is closed before an error: a call that is done would be run.
    fn fault(&mut self, fault: &Fault<'_>, out: &mut Vec<u8>) {
        self.gave_up = Some(Box::new(fault.clone().into_owned()));
        self.say(fault, out);
    }

    /// Libraries want a beginning before anything else, and raise nothing at an `error` alone; but one answer has one id.
    fn say(&mut self, fault: &Fault<'_>, out: &mut Vec<u8>) {
        self.over = true;
        if self.unread {
            return self.out.event("error", out, |w| error::write_event(fault, w));
        }
        self.begin(out);
        let fault = fault.clone().into_owned();
        self.out.response("response.failed", &self.reply, State::Failed(&fault), out);
    }
}

fn reasoning(kind: ThinkingKind, encrypted: Option<String>) -> Body {
    Body::Reasoning { kind, text: String::new(), encrypted }
}
