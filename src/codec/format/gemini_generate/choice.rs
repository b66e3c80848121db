//! What is known of one answer of a stream on its way to the client.

use super::grounding::Sources;
use super::stop;
use super::thoughts::{Carried, LIMIT, Pending};
use super::wire::{is_own, signatures};
use crate::format::kept::keep;
use crate::hub::{Citation, Opaque, Stop};
use crate::json::{Text, Writer};
use crate::seal::Seal;

/// Most text that is kept to say the places of sources in it, in bytes.
const TEXT_LIMIT: usize = 1 << 20;

/// State on its way to the part that follows: clients drop parts that say nothing, and most drop thoughts.
#[derive(Debug)]
pub(super) struct Signature {
    /// The state.
    pub opaque: Opaque<'static>,
    /// It is of reasoning that was shown: only a call may take it.
    pub of_words: bool,
    /// The words of its reasoning, escaped; nothing where there were more than are kept.
    pub words: String,
}

impl Signature {
    /// Another provider's: it is reasoning where it stands alone.
    pub(super) fn is_foreign(&self) -> bool {
        !is_own(&self.opaque)
    }

    /// It as the value of a part's signature; words that were not shown are in its envelope.
    pub(super) fn value(&self, seal: &Seal) -> Text<'static> {
        let words = if self.of_words { "" } else { self.words.as_str() };
        let words = Text::from_escaped(words).plain().into_owned();
        signatures(&[Carried::new(self.opaque.clone(), words)], seal).unwrap_or_default()
    }

    /// It may stand at words.
    pub(super) fn fits_words(&self) -> bool {
        self.is_foreign() && !self.of_words
    }
}

/// One of the answers.
#[derive(Debug)]
pub(super) struct Choice {
    /// Which.
    pub index: u32,
    /// Why it ended.
    pub stop: Option<Stop<'static>>,
    /// Its sources.
    pub sources: Sources,
    /// A signature that waits for the part that it belongs to.
    pub signature: Option<Signature>,
    /// Other providers' state since the last call that stands somewhere already. It stands at the next call too, which
    /// every client brings back.
    pending: Pending,
    /// Reasoning since the last words or call, escaped, whose state did not come yet: it may stand at a later block.
    thought: String,
    /// Characters of text since there is pending state.
    said: u64,
    /// A call had no object for its arguments.
    pub malformed: bool,
    called: bool,
    /// All text so far, escaped.
    text: String,
    /// Bytes of the text that were counted, and the characters that they are.
    counted: (usize, u64),
    overflow: bool,
}

impl Choice {
    /// Answer `index`.
    pub(super) fn new(index: u32) -> Self {
        Self {
            index,
            stop: None,
            sources: Sources::default(),
            signature: None,
            pending: Pending::default(),
            thought: String::new(),
            said: 0,
            malformed: false,
            called: false,
            text: String::new(),
            counted: (0, 0),
            overflow: false,
        }
    }

    /// Notes state that stands somewhere.
    pub(super) fn note_state(&mut self, signature: Signature) {
        self.pending.note(&signature.opaque, &Text::from_escaped(signature.words), self.said);
    }

    /// The state that stands at a call that begins.
    pub(super) fn states(&mut self) -> Vec<Carried> {
        let mut states = self.pending.take(self.said);
        self.said = 0;
        self.thought.clear();
        let carried =
            |Signature { opaque, words, .. }| Carried::new(opaque, Text::from_escaped(words).into_plain().into_owned());
        states.extend(self.signature.take().map(carried));
        states
    }

    /// Keeps a piece of reasoning.
    pub(super) fn think(&mut self, text: &Text<'_>) {
        if self.thought.len() <= LIMIT {
            keep(&mut self.thought, text.escaped());
        }
    }

    /// The reasoning so far; what comes is another's.
    pub(super) fn thought(&mut self) -> String {
        Some(std::mem::take(&mut self.thought)).filter(|thought| thought.len() <= LIMIT).unwrap_or_default()
    }

    /// A call comes; whether it is the first.
    pub(super) fn is_first_call(&mut self) -> bool {
        !std::mem::replace(&mut self.called, true)
    }

    /// Keeps text, for the places of sources in it.
    pub(super) fn note(&mut self, text: &Text<'_>) {
        self.thought.clear();
        if !self.pending.is_empty() {
            self.said += text.code_points();
        }
        if self.text.len() + text.escaped().len() <= TEXT_LIMIT {
            keep(&mut self.text, text.escaped());
        } else {
            self.overflow = true;
        }
    }

    /// Bytes of text and number of sources so far: where a block begins.
    pub(super) fn mark(&self) -> (usize, usize) {
        (self.text.len(), self.sources.len())
    }

    /// Takes a source of the words that begin at byte `begin`, and end at `end` if they are over; `false` where it cannot be
    /// said.
    pub(super) fn cite(&mut self, citation: &Citation<'_>, (begin, end): (usize, Option<usize>)) -> bool {
        let first = self.sources.len();
        let start = if citation.span.is_some() { self.points(begin) } else { 0 };
        let taken = self.sources.take(citation, start);
        if let Some(end) = end {
            self.place((begin, first), end);
        }
        taken
    }

    /// The words from `begin` to `end` are over: their sources that came without a place, from number `first` on, cover them.
    pub(super) fn place(&mut self, (begin, first): (usize, usize), end: usize) {
        if self.sources.len() == first || self.overflow {
            return;
        }
        let span = (self.points(begin), self.points(end));
        self.sources.place(first, span);
    }

    /// Characters of the first `bytes` of the text.
    fn points(&mut self, bytes: usize) -> u64 {
        let (from, before) = Some(self.counted).filter(|(from, _)| *from <= bytes).unwrap_or_default();
        let words = Text::from_escaped(self.text.get(from..bytes).unwrap_or_default());
        self.counted = (bytes, before + words.plain().chars().count() as u64);
        self.counted.1
    }

    /// Writes the last piece of the answer as the next value.
    pub(super) fn write_end(&self, json: &mut Writer<'_>) {
        json.open_object().key("content").verbatim("{\"parts\":[{\"text\":\"\"}],\"role\":\"model\"}");
        write_finish(self.stop.as_ref().unwrap_or(&Stop::EndTurn), self.malformed, json);
        json.key("index").number(u64::from(self.index));
        if !self.sources.is_empty() {
            let text = if self.overflow { "" } else { self.text.as_str() };
            self.sources.write(&Text::from_escaped(text).plain(), json);
        }
        json.close_object();
    }
}

/// Writes `finishReason` and `finishMessage`. A call that is none is said as such where the answer claims to be whole.
pub(super) fn write_finish(stop: &Stop<'_>, malformed: bool, json: &mut Writer<'_>) {
    if malformed && matches!(stop, Stop::EndTurn | Stop::ToolUse | Stop::StopSequence(_)) {
        json.key("finishReason").plain("MALFORMED_FUNCTION_CALL");
        json.key("finishMessage").plain("The arguments of a tool call are not a JSON object.");
        return;
    }
    json.key("finishReason").plain(stop::word(stop).unwrap_or("OTHER"));
    if let Some(message) = stop::message(stop) {
        json.key("finishMessage").text(&message);
    }
}
