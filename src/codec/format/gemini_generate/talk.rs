//! One of the answers of a stream: its parts become blocks.

use std::borrow::Cow;

use super::grounding::{Place, read_citations, read_grounding};
use super::read_response::call_id;
use super::stream_read::{Sink, lost};
use super::wire::OWN;
use crate::hub::{Block, BlockKind, Event, Field, Head, Opaque, Stop, ThinkingKind};
use crate::json::{Json, Text};

/// Most text that is kept to find the places of sources in it, in bytes.
const TEXT_LIMIT: usize = 1 << 20;
/// Most pieces of grounding that are kept.
const MOST_GROUNDING: usize = 16;
/// Most signatures that wait for the end of their text.
const MOST_SIGNATURES: usize = 64;

/// One of the answers.
#[derive(Debug)]
pub(super) struct Talk {
    /// Which.
    pub index: u32,
    /// Why it ended, once said.
    pub finish: Option<Stop<'static>>,
    open: Option<(u32, Kind)>,
    calls: u64,
    /// What ids of calls derive from, where the provider gives none.
    seed: String,
    /// All text so far, escaped.
    text: String,
    overflow: bool,
    grounding: Vec<Json<'static>>,
    citations: Option<Json<'static>>,
    /// Signatures of the open text, which stand behind it.
    signatures: Vec<Opaque<'static>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Thinking,
}

impl Talk {
    /// Answer `index`; ids of calls derive from `seed`.
    pub(super) fn new(index: u32, seed: String) -> Self {
        Self {
            index,
            finish: None,
            open: None,
            calls: 0,
            seed,
            text: String::new(),
            overflow: false,
            grounding: Vec::new(),
            citations: None,
            signatures: Vec::new(),
        }
    }

    /// True when a tool of the client was called.
    pub(super) fn called(&self) -> bool {
        self.calls > 0
    }

    /// Takes the next part.
    pub(super) fn part(&mut self, block: Block<'_>, next: &mut u32, sink: Sink<'_>) {
        for extra in &block.extras {
            lost(sink, extra.field);
        }
        match block.kind {
            BlockKind::Text { text, .. } => self.words(Kind::Text, (text, block.opaque), next, sink),
            BlockKind::Thinking { text, .. } => self.words(Kind::Thinking, (text, block.opaque), next, sink),
            BlockKind::ToolCall { id, name, arguments, flavor } => {
                self.close(sink, next);
                for opaque in block.opaque {
                    self.redacted(opaque, next, sink);
                }
                let id = if id.is_empty() { Cow::Owned(call_id(&self.seed, self.calls)) } else { id };
                self.calls += 1;
                let number = self.begin(Head::ToolCall { id, name, flavor }, next, sink);
                sink(Event::ArgumentsDelta { block: number, fragment: Text::from_plain(arguments.as_str()) });
                sink(Event::BlockStop { block: number });
            }
            BlockKind::ServerTool { raw, .. } => {
                self.close(sink, next);
                let number = self.begin(Head::ServerTool { format: OWN, raw }, next, sink);
                sink(Event::BlockStop { block: number });
            }
            BlockKind::Redacted => {
                self.close(sink, next);
                for opaque in block.opaque {
                    self.redacted(opaque, next, sink);
                }
            }
            BlockKind::Image { .. } => lost(sink, Field::Image),
            BlockKind::Audio { .. } => lost(sink, Field::Audio),
            BlockKind::Document { .. } => lost(sink, Field::Document),
            BlockKind::Refusal { .. }
            | BlockKind::SearchResult { .. }
            | BlockKind::ToolResult { .. }
            | BlockKind::Reference { .. }
            | BlockKind::Unknown { .. } => lost(sink, Field::Unknown),
        }
    }

    fn words(&mut self, kind: Kind, (text, opaque): (Text<'_>, Vec<Opaque<'_>>), next: &mut u32, sink: Sink<'_>) {
        if text.is_empty() && opaque.is_empty() {
            return;
        }
        let block = match self.open {
            Some((block, open)) if open == kind => Some(block),
            // A signature behind other words: it stands where it came.
            _ if text.is_empty() && kind == Kind::Text => {
                self.close(sink, next);
                for opaque in opaque {
                    self.redacted(opaque, next, sink);
                }
                return;
            }
            _ => {
                self.close(sink, next);
                let head = match kind {
                    Kind::Text => Head::Text,
                    Kind::Thinking => Head::Thinking(ThinkingKind::Summary),
                };
                let block = self.begin(head, next, sink);
                self.open = Some((block, kind));
                Some(block)
            }
        };
        let Some(block) = block else { return };
        if kind == Kind::Text {
            self.note(&text);
        }
        if !text.is_empty() {
            sink(Event::TextDelta { block, text });
        }
        for opaque in opaque {
            match kind {
                Kind::Thinking => sink(Event::Opaque { block, opaque }),
                Kind::Text if self.signatures.len() < MOST_SIGNATURES => {
                    self.signatures.push(Opaque { data: opaque.data.into_owned(), ..opaque });
                }
                Kind::Text => lost(sink, Field::OpaqueState),
            }
        }
    }

    /// The open block grew by `text`, as it did before.
    pub(super) fn note_again(&mut self, text: &Text<'_>) {
        if matches!(self.open, Some((_, Kind::Text))) {
            self.note(text);
        }
    }

    fn note(&mut self, text: &Text<'_>) {
        if self.text.len() + text.escaped().len() <= TEXT_LIMIT {
            self.text.push_str(text.escaped());
        } else {
            self.overflow = true;
        }
    }

    fn begin(&self, head: Head<'_>, next: &mut u32, sink: Sink<'_>) -> u32 {
        let block = *next;
        *next += 1;
        sink(Event::BlockStart { block, candidate: self.index, head });
        block
    }

    /// A signature of words or of a call is a block of its own, for which every format has a place.
    fn redacted(&self, opaque: Opaque<'_>, next: &mut u32, sink: Sink<'_>) {
        let block = self.begin(Head::Redacted, next, sink);
        sink(Event::Opaque { block, opaque });
        sink(Event::BlockStop { block });
    }

    /// Keeps a `groundingMetadata`; its places are known once the text is whole.
    pub(super) fn keep_grounding(&mut self, raw: Json<'_>) {
        if self.grounding.len() < MOST_GROUNDING {
            self.grounding.push(raw.into_owned());
        }
    }

    /// Keeps a `citationMetadata`.
    pub(super) fn keep_citations(&mut self, raw: Json<'_>) {
        self.citations = Some(raw.into_owned());
    }

    /// Closes the open block; sources that are known belong to it.
    pub(super) fn close(&mut self, sink: Sink<'_>, next: &mut u32) {
        let open = self.open.take();
        match open {
            Some((block, Kind::Text)) => {
                self.cite(block, sink);
                sink(Event::BlockStop { block });
            }
            Some((block, Kind::Thinking)) => sink(Event::BlockStop { block }),
            None if self.finish.is_some() && !(self.grounding.is_empty() && self.citations.is_none()) => {
                // Their words are over.
                self.grounding.clear();
                self.citations = None;
                lost(sink, Field::Citations);
            }
            None => {}
        }
        for opaque in std::mem::take(&mut self.signatures) {
            self.redacted(opaque, next, sink);
        }
    }

    fn cite(&mut self, block: u32, sink: Sink<'_>) {
        if self.grounding.is_empty() && self.citations.is_none() {
            return;
        }
        let text =
            if self.overflow { String::new() } else { Text::from_escaped(self.text.as_str()).plain().into_owned() };
        let place = Place { text: &text, parts: &[] };
        let mut seen = Vec::new();
        let mut more = false;
        for raw in std::mem::take(&mut self.grounding) {
            // The JSON was read once, so it can be read again. Later pieces may repeat the earlier ones.
            let read = read_grounding(&mut raw.cursor(), place, &mut |citation| {
                let key = (citation.raw.as_str().to_owned(), citation.span);
                if !seen.contains(&key) {
                    seen.push(key);
                    sink(Event::Citation { block, citation });
                }
            });
            more |= read.unwrap_or(true);
        }
        if let Some(raw) = self.citations.take() {
            let _ = read_citations(&mut raw.cursor(), place, &mut |citation| sink(Event::Citation { block, citation }));
        }
        if more {
            lost(sink, Field::Citations);
        }
    }
}
