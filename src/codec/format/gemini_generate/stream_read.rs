//! A provider's stream, read: pieces of an answer until the connection ends, the last of each answer with its reason.
//!
//! ```text
//! data: {"candidates":[{"content":{"parts":[{"text":"…"}],"role":"model"}}],"responseId":…}
//! data: {"candidates":[{"content":{"parts":[{"text":""}]},"finishReason":"STOP"}],"usageMetadata":{…}}
//! ```

use std::borrow::Cow;
use std::ops::Range;

use super::chunk::{Answer, Chunk, answers};
use super::read_response::tier_of;
use super::talk::Talk;
use super::wire::OWN;
use super::{error, logprobs, stop, usage};
use crate::format::told::{Served, Told};
use crate::format::{Repeat, StreamReader};
use crate::frame::sse::{Frame, place_in};
use crate::hub::{BlockKind, Event, Fault, FaultKind, Field, Stop};
use crate::json::{Cursor, JsonError, Text};

/// Most answers of one stream; the vendor gives at most eight.
const MOST_ANSWERS: usize = 64;

/// Where events go.
pub(super) type Sink<'s> = &'s mut dyn FnMut(Event<'_>);

/// Reads one stream.
#[derive(Debug, Default)]
pub(super) struct Reader {
    started: bool,
    ended: bool,
    id: String,
    /// Next hub block.
    next: u32,
    talks: Vec<Talk>,
    /// The prompt was refused; the vendor's word.
    blocked: Option<Text<'static>>,
    last: Last,
    told: Told,
    served: Served,
}

/// What the last frame was, beside its events.
#[derive(Debug, Default)]
struct Last {
    /// Place of the answer that it brought a piece of.
    talk: usize,
    /// Something of it is remembered that is no word.
    keeps: bool,
    /// Where its usage stands.
    usage: Option<Range<usize>>,
}

impl StreamReader for Reader {
    fn frame(&mut self, frame: &Frame<'_>, sink: Sink<'_>) -> Result<(), Fault<'static>> {
        let data = frame.data.trim();
        if self.ended || data.is_empty() || data == "[DONE]" {
            return Ok(());
        }
        self.last = Last::default();
        let done = self.json(data, sink).map_err(|error| broken(&format!("an event that cannot be read: {error}")));
        let done = done.and_then(|step| step);
        self.ended |= done.is_err();
        let shift = place_in(frame.data.as_bytes(), data.as_bytes()).map_or(0, |data| data.start);
        self.last.usage = self.last.usage.take().map(|usage| shift + usage.start..shift + usage.end);
        done
    }

    fn end(&mut self, sink: Sink<'_>) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        let ended = !self.talks.is_empty() && self.talks.iter().all(|talk| talk.finish.is_some());
        if !ended && self.blocked.is_none() {
            let message = "the provider closed the stream before the answer was complete";
            sink(Event::Fault(Fault::new(FaultKind::StreamIncomplete, message)));
            return;
        }
        let blocked = self.blocked.take();
        for talk in &mut self.talks {
            if let Some(word) = &blocked {
                // A call that was not whole stays so.
                talk.end_partial(false, &mut self.next, sink);
                talk.finish = Some(stop::broken_off(talk.finish.take(), word));
            }
            talk.close(sink, &mut self.next);
            let stop = talk.finish.take().unwrap_or(Stop::EndTurn);
            sink(Event::Stop { candidate: talk.index, stop });
        }
        if let Some(word) = blocked.filter(|_| self.talks.is_empty()) {
            sink(Event::Stop { candidate: 0, stop: stop::blocked(&word) });
        }
        sink(Event::End);
    }

    fn repeat(&self) -> Repeat {
        match &self.last {
            Last { keeps: true, .. } => Repeat::No,
            Last { usage: Some(place), .. } => Repeat::WordsAndCounts(place.clone()),
            Last { usage: None, .. } => Repeat::Words,
        }
    }

    fn again(&mut self, words: &Text<'_>, counts: Option<&str>, sink: Sink<'_>) {
        if let Some(talk) = self.talks.get_mut(self.last.talk) {
            talk.note_again(words);
        }
        // The object was read once, and differs in digits only.
        if let Some(Ok(Some(usage))) = counts.map(|counts| usage::read(&mut Cursor::over(counts))) {
            sink(Event::Usage(usage));
        }
    }
}

/// A step that may find the stream broken.
type Step = Result<(), Fault<'static>>;

impl Reader {
    fn json(&mut self, data: &str, sink: Sink<'_>) -> Result<Step, JsonError> {
        let mut cursor = Cursor::over(data);
        let mut step = Ok(());
        // The first piece tells whose answers they are behind them.
        let chunk = Chunk::read(&mut cursor, |candidates| {
            if self.started {
                step = self.answers(candidates, sink)?;
            }
            Ok(self.started)
        })?;
        cursor.finish()?;
        if let Some(mut error) = chunk.error {
            self.ended = true;
            sink(Event::Fault(error::read_event(&mut error)?));
            return Ok(Ok(()));
        }
        self.start(chunk.id.as_ref(), chunk.model, sink);
        self.told.all(chunk.extras.iter().map(|extra| extra.field), sink);
        if let Some(word) = &chunk.blocked {
            self.last.keeps = true;
            self.blocked = Some(word.clone().into_owned());
        }
        // Before the first words: some formats tell at their beginning what the prompt was.
        if let Some(mut cursor) = chunk.usage {
            let start = cursor.offset();
            self.served.tell(OWN, tier_of(cursor.clone())?, sink);
            if let Some(usage) = usage::read(&mut cursor)? {
                self.last.usage = Some(start..cursor.position());
                sink(Event::Usage(usage));
            }
        }
        if let Some(mut candidates) = chunk.candidates {
            step = self.answers(&mut candidates, sink)?;
        }
        Ok(step)
    }

    fn start(&mut self, id: Option<&Text<'_>>, model: Option<Text<'_>>, sink: Sink<'_>) {
        if std::mem::replace(&mut self.started, true) {
            return;
        }
        let id = id.map_or(Text::EMPTY, Text::by_ref);
        id.escaped().clone_into(&mut self.id);
        sink(Event::Start { id, model: model.unwrap_or_default(), created: None });
    }

    fn answers(&mut self, candidates: &mut Cursor<'_>, sink: Sink<'_>) -> Result<Step, JsonError> {
        let mut step = Ok(());
        answers::<JsonError>(candidates, |answer| {
            if step.is_ok() {
                step = self.answer(answer, sink)?;
            }
            Ok(())
        })?;
        Ok(step)
    }

    fn answer(&mut self, answer: Answer<'_>, sink: Sink<'_>) -> Result<Step, JsonError> {
        self.told.all(answer.extras.iter().map(|extra| extra.field), sink);
        let Self { talks, next, id, last, .. } = self;
        let at = match talks.iter().position(|talk| talk.index == answer.index) {
            Some(at) => at,
            None if talks.len() >= MOST_ANSWERS => return Ok(Err(broken("too many answers at once"))),
            None => {
                talks.push(Talk::new(answer.index, format!("{id}:{}", answer.index)));
                talks.len() - 1
            }
        };
        let Some(talk) = talks.get_mut(at) else { return Ok(Ok(())) };
        last.talk = at;
        last.keeps |= answer.grounding.is_some() || answer.citations.is_some() || answer.finish.is_some();
        let mut placed = true;
        answer.parts.each::<JsonError>(|block| {
            // A signature waits for the end of its words, a piece of a call for the others.
            last.keeps |= !block.opaque.is_empty() || matches!(block.kind, BlockKind::ToolCall { .. });
            placed = placed && talk.part(block, next, sink)?;
            Ok(())
        })?;
        if !placed {
            return Ok(Err(broken("a piece of a tool call that belongs nowhere, or is too long")));
        }
        if let Some(mut raw) = answer.logprobs
            && let Some(raw) = logprobs::read(&mut raw)?
        {
            sink(Event::Logprobs { candidate: talk.index, raw });
        }
        if let Some(mut raw) = answer.grounding {
            talk.keep_grounding(raw.json()?);
        }
        if let Some(mut raw) = answer.citations {
            talk.keep_citations(raw.json()?);
        }
        if let Some(word) = answer.finish {
            // An end that is none of a limit's is the end of a call as well.
            talk.end_partial(word.escaped() != "MAX_TOKENS", next, sink);
            let stop = stop::read(&word, answer.message, talk.called()).into_owned();
            talk.finish = Some(stop::again(talk.finish.take(), stop));
        } else if matches!(talk.finish, Some(Stop::EndTurn)) && talk.called() {
            talk.finish = Some(Stop::ToolUse);
        }
        Ok(Ok(()))
    }
}

/// True when a frame can tell usage, a reason, an error, or that a tool was called.
pub(super) fn is_telling(frame: &Frame<'_>) -> bool {
    let data = frame.data.as_bytes();
    // Every one of these is spelled so, or in snake case with the same end.
    [&b"inish"[..], b"sage", b"\"error\"", b"unction", b"eedback"]
        .iter()
        .any(|word| memchr::memmem::find(data, word).is_some())
}

fn broken(what: &str) -> Fault<'static> {
    let mut fault = Fault::new(FaultKind::Api, Cow::Owned(format!("the provider's stream is broken: {what}")));
    fault.status = 502;
    fault.with_code("upstream_malformed")
}

/// What of a part a stream's events cannot carry.
pub(super) fn lost(sink: Sink<'_>, field: Field) {
    sink(Event::Dropped { field });
}
