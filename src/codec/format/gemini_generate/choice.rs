//! What is known of one answer of a stream on its way to the client.

use super::grounding::Sources;
use super::stop;
use crate::hub::Stop;
use crate::json::{Text, Writer};

/// Most text that is kept to say the places of sources in it, in bytes.
const TEXT_LIMIT: usize = 1 << 20;

/// State without words, on its way to the part that follows: clients drop parts that say nothing.
#[derive(Debug)]
pub(super) struct Signature {
    /// The value of `thoughtSignature`.
    pub value: Text<'static>,
    /// Another provider's: it may stand at words too, and is reasoning where it stands alone.
    pub foreign: bool,
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
    /// A call had no object for its arguments.
    pub malformed: bool,
    called: bool,
    /// All text so far, escaped.
    text: String,
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
            malformed: false,
            called: false,
            text: String::new(),
            overflow: false,
        }
    }

    /// A call comes; whether it is the first.
    pub(super) fn is_first_call(&mut self) -> bool {
        !std::mem::replace(&mut self.called, true)
    }

    /// Keeps text, for the places of sources in it.
    pub(super) fn note(&mut self, text: &Text<'_>) {
        if self.text.len() + text.escaped().len() <= TEXT_LIMIT {
            self.text.push_str(text.escaped());
        } else {
            self.overflow = true;
        }
    }

    /// Bytes of text and number of sources so far: where a block begins.
    pub(super) fn mark(&self) -> (usize, usize) {
        (self.text.len(), self.sources.len())
    }

    /// A block of words that began at `mark` is over: its sources that came without a place cover it.
    pub(super) fn place(&mut self, (begin, first): (usize, usize)) {
        if self.sources.len() == first || self.overflow {
            return;
        }
        let points = |escaped: &str| Text::from_escaped(escaped).plain().chars().count() as u64;
        let (before, words) = self.text.split_at_checked(begin).unwrap_or((&self.text, ""));
        let start = points(before);
        self.sources.place(first, (start, start + points(words)));
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
