//! A stream for a client, written.
//!
//! Every chunk of an answer repeats the same head, so it is built once; a delta is its head, its words as they came,
//! and a tail. Calls may interleave, by their index. Usage waits for the end: it has a chunk of its own, if wanted.

use std::sync::Arc;

use super::details::{self, Words};
use super::wire::{OWN, is_call_signature, is_carried_signature, is_inexact, write_call_signature, write_stop};
use super::write_response::write_annotation;
use super::{error, usage};
use crate::Format;
use crate::format::sibling::tier_word;
use crate::format::told::is_usual_tier;
use crate::format::{ReasoningWish, Reply, StreamWriter};
use crate::hub::ids::Distinct;
use crate::hub::{Citation, Event, Fault, Field, Flavor, Head, Opaque, Stop, Usage, flat_name, placed};
use crate::json::{Json, Text, Writer as JsonWriter, write};

/// Writes a stream.
#[derive(Debug)]
pub(super) struct Writer {
    reply: Arc<Reply>,
    /// What every chunk begins with, up to the index of the choice.
    head: Vec<u8>,
    /// Where the tier stands in it.
    tier_at: usize,
    /// What every chunk with a delta ends with.
    tail: &'static [u8],
    choices: Vec<Choice>,
    blocks: Vec<Block>,
    ids: Distinct,
    usage: Option<Usage>,
    over: bool,
    /// Why it ended the stream by itself.
    gave_up: Option<Box<Fault<'static>>>,
}

/// One of the answers.
#[derive(Debug, Default)]
struct Choice {
    index: u32,
    /// Calls so far: the index of the next one.
    calls: u64,
    /// Reasoning blocks so far: the index of the next entry of `reasoning_details`.
    thoughts: u64,
    /// Code points of text so far.
    chars: u64,
    finished: bool,
    said: bool,
    /// Words of reasoning were written.
    mused: bool,
    /// The next text is another one than the last.
    apart: bool,
    /// The signature of the next call.
    signature: Option<Opaque<'static>>,
    /// Bytes of sources that were taken.
    cited: usize,
    /// Sources whose places are known, as JSON values between commas. They wait for the end, to stand in one list: clients
    /// add lists of pieces up by the `index` of their entries, and sources have none.
    annotations: Vec<u8>,
}

/// A block of the hub, as it is written here.
#[derive(Debug)]
struct Block {
    candidate: u32,
    kind: Kind,
    /// A delta of this block up to its words; empty where it has none.
    prefix: Vec<u8>,
    /// Nothing was added yet.
    empty: bool,
    /// Sources, held until the block's end tells their span.
    sources: Vec<Source>,
}

/// A source of a text: URL and title escaped, and its span where the provider told it.
#[derive(Debug)]
struct Source {
    url: String,
    title: String,
    span: Option<(u64, u64)>,
}

#[derive(Debug)]
enum Kind {
    Text {
        start: u64,
        /// Once it is over.
        end: Option<u64>,
    },
    Refusal,
    Thinking {
        entry: u64,
        /// Its state was written.
        signed: bool,
    },
    Call {
        index: u64,
    },
    /// A custom tool: its input is held and written whole, because chunks know only functions.
    Custom {
        id: String,
        name: String,
        input: String,
        signature: Option<Opaque<'static>>,
    },
    Hidden,
}

/// Reasoning, in the two ways that clients know: `reasoning_content`, and `reasoning_details`, whose entries keep
/// blocks apart and find their signatures.
const REASONING: &str = "\"reasoning_content\":\"";
const DETAIL: &str = "\"reasoning_details\":[{\"type\":\"reasoning.text\",\"text\":\"";

/// Most bytes of the sources of one answer that are kept for its end.
const MOST_CITED: usize = 1 << 20;

const CHOICES: &[u8] = b",\"choices\":[";
const TAIL: &[u8] = b"},\"logprobs\":null,\"finish_reason\":null}]}\n\n";
const TAIL_WITH_USAGE: &[u8] = b"},\"logprobs\":null,\"finish_reason\":null}],\"usage\":null}\n\n";

impl Choice {
    /// Takes a source of a block whose words are the characters `place` of the choice's.
    fn annotate(&mut self, Source { url, title, span }: &Source, place: (u64, u64)) {
        if !self.annotations.is_empty() {
            self.annotations.push(b',');
        }
        let (url, title) = (Text::from_escaped(url.as_str()), Text::from_escaped(title.as_str()));
        write_annotation(&url, Some(&title), placed(*span, place), &mut JsonWriter::new(&mut self.annotations));
    }
}

impl Writer {
    /// A stream as `reply` wants it.
    pub(super) fn new(reply: Arc<Reply>) -> Self {
        Self {
            tail: if reply.include_usage { TAIL_WITH_USAGE } else { TAIL },
            reply,
            head: Vec::new(),
            tier_at: 0,
            choices: Vec::new(),
            blocks: Vec::new(),
            ids: Distinct::default(),
            gave_up: None,
            usage: None,
            over: false,
        }
    }

    fn start(&mut self, id: &Text<'_>, created: Option<u64>) {
        let head = &mut self.head;
        head.extend_from_slice(b"data: {\"id\":\"");
        write::push_escaped(self.reply.id(id, "chatcmpl-").escaped(), head);
        head.extend_from_slice(b"\",\"object\":\"chat.completion.chunk\",\"created\":");
        write::push_number(created.unwrap_or(self.reply.created), head);
        head.extend_from_slice(b",\"model\":\"");
        write::escape_into(&self.reply.model, head);
        head.push(b'"');
        self.tier_at = head.len();
        head.extend_from_slice(CHOICES);
    }

    /// The chunks that follow say by which tier they are served.
    fn tier(&mut self, tier: &Text<'_>, maker: Format, lost: &mut dyn FnMut(Field)) {
        self.head.truncate(self.tier_at);
        match tier_word(tier, maker, OWN) {
            Some(word) => {
                self.head.extend_from_slice(b",\"service_tier\":\"");
                write::push_escaped(word.escaped(), &mut self.head);
                self.head.push(b'"');
            }
            None if is_usual_tier(tier.escaped()) => {}
            None => lost(Field::Tier),
        }
        self.head.extend_from_slice(CHOICES);
    }

    /// The place of answer `candidate`; its first delta, with the role, is written when it is new.
    fn choice(&mut self, candidate: u32, out: &mut Vec<u8>) -> usize {
        if let Some(at) = self.choices.iter().position(|choice| choice.index == candidate) {
            return at;
        }
        let choice = Choice { index: candidate, ..Choice::default() };
        self.choices.push(choice);
        self.open_delta(candidate, out);
        out.extend_from_slice(b"\"role\":\"assistant\",\"content\":\"\"");
        out.extend_from_slice(self.tail);
        self.choices.len() - 1
    }

    /// A chunk up to the fields of its delta.
    fn open_delta(&self, candidate: u32, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.head);
        out.extend_from_slice(b"{\"index\":");
        write::push_number(u64::from(candidate), out);
        out.extend_from_slice(b",\"delta\":{");
    }

    /// A delta up to its words: `field` is what stands between the braces and them.
    fn prefix(&self, candidate: u32, field: &str) -> Vec<u8> {
        let mut prefix = Vec::with_capacity(self.head.len() + 64);
        self.open_delta(candidate, &mut prefix);
        prefix.extend_from_slice(field.as_bytes());
        prefix
    }

    fn block_start(&mut self, candidate: u32, head: &Head<'_>, out: &mut Vec<u8>) {
        let at = self.choice(candidate, out);
        let Some(choice) = self.choices.get_mut(at) else { return };
        choice.said |= !matches!(head, Head::ServerTool { .. });
        let gap = matches!(head, Head::Text) && std::mem::take(&mut choice.apart) && choice.chars > 0;
        if !matches!(head, Head::ToolCall { .. }) {
            // What stood in front of something else was no call's.
            choice.signature = None;
        }
        if gap {
            // Two texts are one text with an empty line.
            choice.chars += 2;
        }
        let block = match head {
            Head::Text => {
                let kind = Kind::Text { start: choice.chars, end: None };
                let prefix = self.prefix(candidate, "\"content\":\"");
                if gap {
                    out.extend_from_slice(&prefix);
                    out.extend_from_slice(b"\\n\\n\"");
                    out.extend_from_slice(self.tail);
                }
                Block { candidate, kind, prefix, empty: true, sources: Vec::new() }
            }
            Head::Refusal => Block {
                candidate,
                kind: Kind::Refusal,
                prefix: self.prefix(candidate, "\"refusal\":\""),
                empty: true,
                sources: Vec::new(),
            },
            Head::Thinking(_) | Head::Redacted => {
                let entry = choice.thoughts;
                choice.thoughts += 1;
                let field = if self.reply.reasoning == ReasoningWish::Shown { REASONING } else { DETAIL };
                Block {
                    candidate,
                    kind: Kind::Thinking { entry, signed: false },
                    prefix: self.prefix(candidate, field),
                    empty: true,
                    sources: Vec::new(),
                }
            }
            Head::ToolCall { id, name, flavor } => self.call_start(candidate, (id, name, *flavor), out),
            Head::ServerTool { .. } => {
                Block { candidate, kind: Kind::Hidden, prefix: Vec::new(), empty: true, sources: Vec::new() }
            }
        };
        self.blocks.push(block);
    }

    /// The index of a call that is written now: by the format, calls are numbered as they appear.
    fn next_index(&mut self, candidate: u32) -> u64 {
        let Some(choice) = self.choices.iter_mut().find(|choice| choice.index == candidate) else { return 0 };
        choice.calls += 1;
        choice.calls - 1
    }

    fn call_start(&mut self, candidate: u32, (id, name, flavor): (&str, &str, Flavor), out: &mut Vec<u8>) -> Block {
        let (id, name) = (self.ids.next(id), &*flat_name(name));
        let choice = self.choices.iter_mut().find(|choice| choice.index == candidate);
        let signature = choice.and_then(|choice| choice.signature.take());
        if flavor == Flavor::Custom {
            let kind = Kind::Custom { id, name: name.to_owned(), input: String::new(), signature };
            return Block { candidate, kind, prefix: Vec::new(), empty: true, sources: Vec::new() };
        }
        let index = self.next_index(candidate);
        self.open_delta(candidate, out);
        let mut w = JsonWriter::new(out);
        w.key("tool_calls").open_array().open_object().key("index").number(index).key("id").plain(&id);
        w.key("type").plain("function").key("function").open_object().key("name").plain(name);
        w.key("arguments").plain("").close_object();
        if let Some(signature) = signature {
            write_call_signature(&signature, Some(&self.reply.seal), &mut w);
        }
        w.close_object().close_array();
        out.extend_from_slice(self.tail);
        let field = format!("\"tool_calls\":[{{\"index\":{index},\"function\":{{\"arguments\":\"");
        Block {
            candidate,
            kind: Kind::Call { index },
            prefix: self.prefix(candidate, &field),
            empty: true,
            sources: Vec::new(),
        }
    }

    fn text_delta(&mut self, block: u32, text: &Text<'_>, out: &mut Vec<u8>) {
        let Self { reply, blocks, choices, tail, .. } = self;
        let Some(at) = usize::try_from(block).ok().and_then(|at| blocks.get_mut(at)) else { return };
        let is_first = !text.is_empty() && std::mem::replace(&mut at.empty, false);
        match at.kind {
            Kind::Thinking { entry, .. } => {
                out.extend_from_slice(&at.prefix);
                if reply.reasoning == ReasoningWish::Shown {
                    let says = !text.is_empty();
                    let choice = choices.iter_mut().find(|choice| choice.index == at.candidate);
                    if choice.is_some_and(|choice| says && std::mem::replace(&mut choice.mused, true)) && is_first {
                        // Entries stand apart; in the one text of all of them an empty line does that.
                        out.extend_from_slice(b"\\n\\n");
                    }
                    write::push_escaped(text.escaped(), out);
                    out.extend_from_slice(b"\",");
                    out.extend_from_slice(DETAIL.as_bytes());
                }
                write::push_escaped(text.escaped(), out);
                out.extend_from_slice(b"\",\"index\":");
                write::push_number(entry, out);
                out.extend_from_slice(b"}]");
                out.extend_from_slice(tail);
            }
            Kind::Text { .. } | Kind::Refusal => {
                if let (Kind::Text { .. }, Some(choice)) =
                    (&at.kind, choices.iter_mut().find(|choice| choice.index == at.candidate))
                {
                    choice.chars = choice.chars.saturating_add(text.code_points());
                }
                out.extend_from_slice(&at.prefix);
                write::push_escaped(text.escaped(), out);
                out.push(b'"');
                out.extend_from_slice(tail);
            }
            Kind::Call { .. } | Kind::Custom { .. } | Kind::Hidden => {}
        }
    }

    fn arguments_delta(&mut self, block: u32, fragment: &Text<'_>, out: &mut Vec<u8>) {
        let Self { blocks, tail, .. } = self;
        let Some(at) = usize::try_from(block).ok().and_then(|at| blocks.get_mut(at)) else { return };
        if fragment.is_empty() {
            return;
        }
        at.empty = false;
        match &mut at.kind {
            Kind::Call { .. } => {
                out.extend_from_slice(&at.prefix);
                write::push_escaped(fragment.escaped(), out);
                out.extend_from_slice(b"\"}}]");
                out.extend_from_slice(tail);
            }
            Kind::Custom { input, .. } => input.push_str(fragment.escaped()),
            Kind::Text { .. } | Kind::Refusal | Kind::Thinking { .. } | Kind::Hidden => {}
        }
    }

    fn block_stop(&mut self, block: u32, out: &mut Vec<u8>) {
        let Some(at) = usize::try_from(block).ok().and_then(|at| self.blocks.get_mut(at)) else { return };
        at.prefix = match (&at.kind, at.empty) {
            (Kind::Call { .. }, true) => {
                out.extend_from_slice(&at.prefix);
                out.extend_from_slice(b"{}\"}}]");
                out.extend_from_slice(self.tail);
                Vec::new()
            }
            _ => Vec::new(),
        };
        let candidate = at.candidate;
        if let (Kind::Thinking { entry, signed: false }, false) = (&at.kind, at.empty) {
            let entry = *entry;
            return self.unsigned(candidate, entry, out);
        }
        let sources = std::mem::take(&mut at.sources);
        if let (Kind::Text { start, end }, Some(choice)) =
            (&mut at.kind, self.choices.iter_mut().find(|choice| choice.index == candidate))
        {
            *end = Some(choice.chars);
            let place = (*start, choice.chars);
            return sources.iter().for_each(|source| choice.annotate(source, place));
        }
        if let Kind::Custom { id, name, input, signature } = std::mem::replace(&mut at.kind, Kind::Hidden) {
            let index = self.next_index(candidate);
            self.open_delta(candidate, out);
            let mut w = JsonWriter::new(out);
            w.key("tool_calls").open_array().open_object().key("index").number(index).key("id").plain(&id);
            w.key("type").plain("custom").key("custom").open_object().key("name").plain(&name);
            w.key("input").text(&Text::from_escaped(input)).close_object();
            if let Some(signature) = signature {
                write_call_signature(&signature, Some(&self.reply.seal), &mut w);
            }
            w.close_object().close_array();
            out.extend_from_slice(self.tail);
        }
    }

    /// Says of an entry of reasoning that nobody signed it.
    fn unsigned(&self, candidate: u32, entry: u64, out: &mut Vec<u8>) {
        self.open_delta(candidate, out);
        let mut w = JsonWriter::new(out);
        w.key("reasoning_details").open_array();
        details::write_unsigned(None, entry, &self.reply.seal, &mut w);
        w.close_array();
        out.extend_from_slice(self.tail);
    }

    fn opaque(&mut self, block: u32, opaque: &Opaque<'_>, out: &mut Vec<u8>) {
        if is_call_signature(opaque) && self.keep_signature(block, opaque) {
            return;
        }
        let place = usize::try_from(block).ok();
        if let Some(Kind::Thinking { signed, .. }) =
            place.and_then(|at| self.blocks.get_mut(at)).map(|block| &mut block.kind)
        {
            *signed = true;
        }
        let Some(at) = place.and_then(|at| self.blocks.get(at)) else { return };
        let (entry, words) = match at.kind {
            Kind::Thinking { entry, .. } if at.empty => (entry, Words::None),
            Kind::Thinking { entry, .. } => (entry, Words::Before),
            Kind::Text { .. } | Kind::Refusal | Kind::Call { .. } | Kind::Custom { .. } | Kind::Hidden => {
                (0, Words::None)
            }
        };
        if let (true, Kind::Call { index }) = (is_call_signature(opaque), &at.kind) {
            self.open_delta(at.candidate, out);
            let mut w = JsonWriter::new(out);
            w.key("tool_calls").open_array().open_object().key("index").number(*index);
            write_call_signature(opaque, None, &mut w);
            w.close_object().close_array();
            return out.extend_from_slice(self.tail);
        }
        self.open_delta(at.candidate, out);
        let begin = out.len();
        let mut w = JsonWriter::new(out);
        w.key("reasoning_details").open_array();
        details::write(opaque, words, entry, Some(&self.reply.seal), &mut w);
        w.close_array();
        write::join_lines(out.get_mut(begin..).unwrap_or_default());
        out.extend_from_slice(self.tail);
        let candidate = at.candidate;
        if matches!(at.kind, Kind::Thinking { .. }) && is_carried_signature(opaque) {
            let choice = self.choices.iter_mut().find(|choice| choice.index == candidate);
            if let Some(choice) = choice {
                choice.signature = Some(opaque.clone().into_owned());
            }
        }
    }

    /// Keeps the signature of the call that follows; it stands in a block of reasoning that is none.
    fn keep_signature(&mut self, block: u32, opaque: &Opaque<'_>) -> bool {
        let Self { blocks, choices, .. } = self;
        let at = usize::try_from(block).ok().and_then(|at| blocks.get_mut(at));
        let Some(at) = at.filter(|at| matches!(at.kind, Kind::Thinking { .. })) else { return false };
        at.kind = Kind::Hidden;
        if let Some(choice) = choices.iter_mut().find(|choice| choice.index == at.candidate) {
            choice.thoughts = choice.thoughts.saturating_sub(1);
            choice.signature = Some(Opaque { data: opaque.data.clone().into_owned(), ..*opaque });
        }
        true
    }

    /// A source with a URL is an annotation; providers may name it before the words, or when they are over.
    fn citation(&mut self, block: u32, citation: &Citation<'_>, lost: &mut dyn FnMut(Field)) {
        let Self { blocks, choices, .. } = self;
        let at = usize::try_from(block).ok().and_then(|at| blocks.get_mut(at));
        let (Some(at), Some(url)) = (at, &citation.url) else { return };
        let Some(choice) = choices.iter_mut().find(|choice| choice.index == at.candidate) else { return };
        let title = citation.title.as_ref().map(Text::escaped).unwrap_or_default();
        choice.cited = choice.cited.saturating_add(url.escaped().len() + title.len() + size_of::<Source>());
        let (url, title) = (url.escaped().to_owned(), title.to_owned());
        let source = Source { url, title, span: citation.span };
        match at.kind {
            _ if choice.cited > MOST_CITED => lost(Field::Citations),
            Kind::Text { end: None, .. } => at.sources.push(source),
            Kind::Text { start, end: Some(end) } => choice.annotate(&source, (start, end)),
            _ => lost(Field::Citations),
        }
    }

    /// The sources of an answer that is complete.
    fn annotations(&self, candidate: u32, annotations: &[u8], out: &mut Vec<u8>) {
        if !annotations.is_empty() {
            self.open_delta(candidate, out);
            out.extend_from_slice(b"\"annotations\":[");
            out.extend_from_slice(annotations);
            out.push(b']');
            out.extend_from_slice(self.tail);
        }
    }

    fn logprobs(&mut self, candidate: u32, raw: &Json<'_>, out: &mut Vec<u8>) {
        self.choice(candidate, out);
        self.open_delta(candidate, out);
        out.extend_from_slice(b"},\"logprobs\":");
        write::push_json(raw.as_str(), out);
        out.extend_from_slice(if self.reply.include_usage {
            b",\"finish_reason\":null}],\"usage\":null}\n\n".as_slice()
        } else {
            b",\"finish_reason\":null}]}\n\n".as_slice()
        });
    }

    fn stop(&mut self, candidate: u32, stop: &Stop<'_>, out: &mut Vec<u8>) {
        let at = self.choice(candidate, out);
        let Some(choice) = self.choices.get_mut(at).filter(|choice| !choice.finished) else { return };
        choice.finished = true;
        let (said, annotations) = (choice.said, std::mem::take(&mut choice.annotations));
        if let Stop::Refusal { explanation: Some(words), .. } = stop {
            let mut prefix = self.prefix(candidate, "\"refusal\":\"");
            out.append(&mut prefix);
            write::push_escaped(words.escaped(), out);
            out.push(b'"');
            out.extend_from_slice(self.tail);
        }
        match write_stop(stop, said) {
            Ok(word) => {
                self.annotations(candidate, &annotations, out);
                self.open_delta(candidate, out);
                out.extend_from_slice(b"},\"logprobs\":null,\"finish_reason\":\"");
                out.extend_from_slice(word.as_bytes());
                out.extend_from_slice(if self.reply.include_usage {
                    b"\"}],\"usage\":null}\n\n".as_slice()
                } else {
                    b"\"}]}\n\n".as_slice()
                });
            }
            Err(fault) => {
                self.over = true;
                error::write_line(&fault, out);
                self.gave_up = Some(Box::new(fault));
            }
        }
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        self.over = true;
        if self.choices.is_empty() {
            self.stop(0, &Stop::EndTurn, out);
        }
        if let (true, Some(usage)) = (self.reply.include_usage, &self.usage) {
            out.extend_from_slice(&self.head);
            out.extend_from_slice(b"],");
            let mut w = JsonWriter::new(out);
            w.key("usage");
            usage::write(usage, &mut w);
            out.extend_from_slice(b"}\n\n");
        }
        out.extend_from_slice(b"data: [DONE]\n\n");
    }
}

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
        match event {
            Event::Start { id, created, .. } => self.start(id, *created),
            Event::BlockStart { candidate, head, .. } => self.block_start(*candidate, head, out),
            Event::TextDelta { block, text } => self.text_delta(*block, text, out),
            Event::ArgumentsDelta { block, fragment } => self.arguments_delta(*block, fragment, out),
            Event::Opaque { block, opaque } => self.opaque(*block, opaque, out),
            Event::Citation { block, citation } => self.citation(*block, citation, lost),
            Event::Logprobs { candidate, raw } => self.logprobs(*candidate, raw, out),
            Event::BlockStop { block } => self.block_stop(*block, out),
            Event::Apart { candidate } => {
                let at = self.choice(*candidate, out);
                self.choices.get_mut(at).into_iter().for_each(|choice| choice.apart = true);
            }
            Event::Stop { candidate, stop } => self.stop(*candidate, stop, out),
            Event::Usage(usage) => self.usage = Some(usage.clone()),
            Event::Tier { format, word } => self.tier(word, *format, lost),
            Event::Ping => out.extend_from_slice(b": keepalive\n\n"),
            Event::Dropped { .. } => {}
            Event::Fault(fault) => {
                self.over = true;
                error::write_line(fault, out);
            }
            Event::End => self.end(out),
        }
    }
}

/// What of `event` chunks have no place for.
fn unsayable(event: &Event<'_>) -> Option<Field> {
    match event {
        Event::BlockStart { head: Head::ServerTool { .. }, .. } => Some(Field::ServerTool),
        Event::Citation { citation, .. } if citation.url.is_none() => Some(Field::Citations),
        Event::Stop { stop, .. } if is_inexact(stop) => Some(Field::StopReason),
        Event::Usage(usage) if usage.server_tool_requests > 0 => Some(Field::UsageDetail),
        _ => None,
    }
}
