//! One of the answers of a stream: its parts become blocks.

use std::borrow::Cow;

use super::grounding::{Place, read_citations, read_grounding};
use super::partial::Arguments;
use super::read_response::call_id;
use super::stream_read::{Sink, lost};
use super::wire::OWN;
use crate::format::kept::keep;
use crate::format::thought::Thought;
use crate::hub::{Begins, Block, BlockKind, Citation, Event, Extra, Field, Flavor, Head, Opaque, Stop, ThinkingKind};
use crate::json::{Json, JsonError, Text};

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
    /// How much of the open thought has come.
    thought: Thought,
    calls: u64,
    /// What ids of calls derive from, where the provider gives none.
    seed: String,
    /// All text so far, escaped.
    text: String,
    /// Blocks of text, and where each begins in it.
    texts: Vec<(u32, usize)>,
    overflow: bool,
    grounding: Vec<Json<'static>>,
    citations: Option<Json<'static>>,
    /// Signatures of the open text, which stand behind it.
    signatures: Vec<Opaque<'static>>,
    /// A call whose arguments come piece by piece.
    partial: Option<Partial>,
}

/// A call that has begun and is not whole.
#[derive(Debug)]
struct Partial {
    id: String,
    name: String,
    signatures: Vec<Opaque<'static>>,
    arguments: Arguments,
}

/// A call as it came, or a piece of one.
struct Called<'a> {
    id: Cow<'a, str>,
    name: Cow<'a, str>,
    arguments: Json<'a>,
    opaque: Vec<Opaque<'a>>,
    /// `partialArgs`
    pieces: Option<Json<'a>>,
    /// `willContinue`
    continues: bool,
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
            thought: Thought::default(),
            calls: 0,
            seed,
            text: String::new(),
            texts: Vec::new(),
            overflow: false,
            grounding: Vec::new(),
            citations: None,
            signatures: Vec::new(),
            partial: None,
        }
    }

    /// True when a tool of the client was called.
    pub(super) fn called(&self) -> bool {
        self.calls > 0
    }

    /// Takes the next part; `false` for a piece of a call that belongs nowhere.
    pub(super) fn part(&mut self, block: Block<'_>, next: &mut u32, sink: Sink<'_>) -> Result<bool, JsonError> {
        for extra in block.extras.iter().filter(|extra| !is_of_piece(extra)) {
            lost(sink, extra.field);
        }
        match block.kind {
            BlockKind::Text { text, .. } => self.words(Kind::Text, (text, block.opaque), next, sink),
            BlockKind::Thinking { text, .. } => self.words(Kind::Thinking, (text, block.opaque), next, sink),
            BlockKind::ToolCall { id, name, arguments, .. } => {
                let mut call = Called { id, name, arguments, opaque: block.opaque, pieces: None, continues: false };
                for extra in block.extras.into_iter().filter(is_of_piece) {
                    match extra.key.as_ref() {
                        "willContinue" | "will_continue" => call.continues = extra.value.as_str() == "true",
                        _ => call.pieces = Some(extra.value),
                    }
                }
                return self.call(call, next, sink);
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
            kind => {
                self.close(sink, next);
                lost(sink, kind.class());
            }
        }
        Ok(true)
    }

    /// A call: whole, or a piece that is gathered until the last one has come.
    fn call(&mut self, call: Called<'_>, next: &mut u32, sink: Sink<'_>) -> Result<bool, JsonError> {
        let goes_on = self.partial.as_ref().is_some_and(|open| {
            (call.name.is_empty() || call.name == open.name)
                && (call.id.is_empty() || open.id.is_empty() || call.id == open.id)
        });
        if !goes_on {
            self.end_partial(true, next, sink);
        }
        if !goes_on && call.name.is_empty() {
            return Ok(false);
        }
        if !goes_on && !call.continues && call.pieces.is_none() {
            let Called { id, name, arguments, opaque, .. } = call;
            self.whole_call((id, name), arguments.as_str(), opaque, (next, sink));
            return Ok(true);
        }
        let open = self.partial.get_or_insert_with(|| Partial {
            id: call.id.into_owned(),
            name: call.name.into_owned(),
            signatures: Vec::new(),
            arguments: Arguments::default(),
        });
        let room = MOST_SIGNATURES.saturating_sub(open.signatures.len());
        let owned = call.opaque.into_iter().map(|opaque| Opaque { data: opaque.data.into_owned(), ..opaque });
        open.signatures.extend(owned.take(room));
        if let Some(pieces) = call.pieces
            && !open.arguments.take(&mut pieces.cursor())?
        {
            return Ok(false);
        }
        if !call.continues {
            self.end_partial(true, next, sink);
        }
        Ok(true)
    }

    /// Hands on the call that came in pieces; `whole` where its last one has come.
    pub(super) fn end_partial(&mut self, whole: bool, next: &mut u32, sink: Sink<'_>) {
        if let Some(Partial { id, name, signatures, arguments }) = self.partial.take() {
            let call = (Cow::Owned(id), Cow::Owned(name));
            self.whole_call(call, &arguments.finish(whole), signatures, (next, sink));
        }
    }

    fn whole_call(
        &mut self,
        (id, name): (Cow<'_, str>, Cow<'_, str>),
        arguments: &str,
        opaque: Vec<Opaque<'_>>,
        (next, sink): (&mut u32, Sink<'_>),
    ) {
        self.close(sink, next);
        for opaque in opaque {
            self.redacted(opaque, next, sink);
        }
        let id = if id.is_empty() { Cow::Owned(call_id(&self.seed, self.calls)) } else { id };
        self.calls += 1;
        let block = self.begin(Head::ToolCall { id, name, flavor: Flavor::Function }, next, sink);
        sink(Event::ArgumentsDelta { block, fragment: Text::from_json(arguments) });
        sink(Event::BlockStop { block });
    }

    fn words(&mut self, kind: Kind, (text, opaque): (Text<'_>, Vec<Opaque<'_>>), next: &mut u32, sink: Sink<'_>) {
        if text.is_empty() && opaque.is_empty() {
            return;
        }
        if !matches!(self.open, Some((_, Kind::Thinking))) {
            self.thought = Thought::default();
        }
        let next_thought = Thought { worded: !text.is_empty(), signed: !opaque.is_empty() };
        let other = kind == Kind::Thinking && self.thought.takes(next_thought);
        let block = match self.open {
            Some((block, open)) if open == kind && !other => Some(block),
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
                if kind == Kind::Text {
                    self.texts.push((block, self.text.len()));
                }
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
            keep(&mut self.text, text.escaped());
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
        // Where a server repeats what it found, the last says the most.
        if self.grounding.len() >= MOST_GROUNDING {
            self.grounding.remove(0);
        }
        self.grounding.push(raw.into_owned());
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
                self.cite(sink);
                sink(Event::BlockStop { block });
            }
            Some((block, Kind::Thinking)) => sink(Event::BlockStop { block }),
            None => {}
        }
        if self.finish.is_some() {
            self.cite(sink);
        }
        for opaque in std::mem::take(&mut self.signatures) {
            self.redacted(opaque, next, sink);
        }
    }

    /// Hands on the sources that are known, each as one of the words that it covers, or of the last.
    fn cite(&mut self, sink: Sink<'_>) {
        let (grounding, citations) = (std::mem::take(&mut self.grounding), self.citations.take());
        if grounding.is_empty() && citations.is_none() {
            return;
        }
        let Some((last, _)) = self.texts.last().copied() else { return lost(sink, Field::Citations) };
        let text =
            if self.overflow { String::new() } else { Text::from_escaped(self.text.as_str()).plain().into_owned() };
        let place = Place { text: &text, parts: &[] };
        let begins = self.begins();
        let mut seen = Vec::new();
        let mut more = false;
        let mut cite = |citation: Citation<'_>| {
            let home = citation.span.and_then(|span| begins.home(span));
            let (block, span) = home.map_or((last, None), |(block, span)| (block, Some(span)));
            sink(Event::Citation { block, citation: Citation { span, ..citation } });
        };
        for raw in grounding {
            // The JSON was read once, so it can be read again. Later pieces may repeat the earlier ones.
            let read = read_grounding(&mut raw.cursor(), place, &mut |citation| {
                let key = (citation.raw.as_str().to_owned(), citation.span);
                if !seen.contains(&key) {
                    seen.push(key);
                    cite(citation);
                }
            });
            more |= read.unwrap_or(true);
        }
        if let Some(raw) = citations {
            more |= read_citations(&mut raw.cursor(), place, &mut cite).unwrap_or(true);
        }
        if more {
            lost(sink, Field::Citations);
        }
    }

    fn begins(&self) -> Begins<u32> {
        let mut begins = Begins::default();
        for (at, (block, from)) in self.texts.iter().enumerate() {
            let to = self.texts.get(at + 1).map_or(self.text.len(), |(_, next)| *next);
            let words = self.text.get(*from..to).unwrap_or_default();
            begins.push(*block, Text::from_escaped(words).plain().chars().count() as u64);
        }
        begins
    }
}

/// True for what says how a call goes on that comes piece by piece.
fn is_of_piece(extra: &Extra<'_>) -> bool {
    let keys = ["partialArgs", "partial_args", "willContinue", "will_continue"];
    extra.field == Field::ToolCall && keys.contains(&extra.key.as_ref())
}
