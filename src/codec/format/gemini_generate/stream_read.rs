//! A provider's stream, read: pieces of an answer until the connection ends, the last of each answer with its reason.
//!
//! ```text
//! data: {"candidates":[{"content":{"parts":[{"text":"…"}],"role":"model"}}],"responseId":…}
//! data: {"candidates":[{"content":{"parts":[{"text":""}]},"finishReason":"STOP"}],"usageMetadata":{…}}
//! ```

use std::borrow::Cow;

use super::chunk::{Answer, Chunk, answers};
use super::read_part::read_part;
use super::talk::Talk;
use super::{error, logprobs, stop, usage};
use crate::format::StreamReader;
use crate::frame::sse::Frame;
use crate::hub::{Event, Fault, FaultKind, Field, Stop};
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
    /// The prompt was refused.
    blocked: Option<Stop<'static>>,
}

impl StreamReader for Reader {
    fn frame(&mut self, frame: &Frame<'_>, sink: Sink<'_>) -> Result<(), Fault<'static>> {
        let data = frame.data.trim();
        if self.ended || data.is_empty() || data == "[DONE]" {
            return Ok(());
        }
        let done = self.json(data, sink).map_err(|error| broken(&format!("an event that cannot be read: {error}")));
        let done = done.and_then(|step| step);
        self.ended |= done.is_err();
        done
    }

    fn end(&mut self, sink: Sink<'_>) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        let complete = self.talks.iter().all(|talk| talk.finish.is_some());
        if !complete || (self.talks.is_empty() && self.blocked.is_none()) {
            let message = "the provider closed the stream before the answer was complete";
            sink(Event::Fault(Fault::new(FaultKind::StreamIncomplete, message)));
            return;
        }
        for talk in &mut self.talks {
            talk.close(sink, &mut self.next);
            let stop = talk.finish.take().unwrap_or(Stop::EndTurn);
            sink(Event::Stop { candidate: talk.index, stop });
        }
        if let Some(stop) = self.blocked.take().filter(|_| self.talks.is_empty()) {
            sink(Event::Stop { candidate: 0, stop });
        }
        sink(Event::End);
    }

    fn keeps_words(&self) -> bool {
        // Sources name places in the text, and come behind it.
        true
    }
}

/// A step that may find the stream broken.
type Step = Result<(), Fault<'static>>;

impl Reader {
    fn json(&mut self, data: &str, sink: Sink<'_>) -> Result<Step, JsonError> {
        let mut cursor = Cursor::over(data);
        let chunk = Chunk::read(&mut cursor)?;
        cursor.finish()?;
        if let Some(mut error) = chunk.error {
            self.ended = true;
            sink(Event::Fault(error::read_event(&mut error)?));
            return Ok(Ok(()));
        }
        self.start(chunk.id.as_ref(), chunk.model, sink);
        for extra in &chunk.extras {
            sink(Event::Dropped { field: extra.field });
        }
        if let Some(word) = &chunk.blocked {
            self.blocked = Some(stop::blocked(word).into_owned());
        }
        let mut step = Ok(());
        if let Some(mut candidates) = chunk.candidates {
            answers::<JsonError>(&mut candidates, |answer| {
                if step.is_ok() {
                    step = self.answer(answer, sink)?;
                }
                Ok(())
            })?;
        }
        if let Some(mut usage) = chunk.usage
            && let Some(usage) = usage::read(&mut usage)?
        {
            sink(Event::Usage(usage));
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

    fn answer(&mut self, answer: Answer<'_>, sink: Sink<'_>) -> Result<Step, JsonError> {
        for extra in &answer.extras {
            sink(Event::Dropped { field: extra.field });
        }
        let Self { talks, next, id, .. } = self;
        let at = match talks.iter().position(|talk| talk.index == answer.index) {
            Some(at) => at,
            None if talks.len() >= MOST_ANSWERS => return Ok(Err(broken("too many answers at once"))),
            None => {
                talks.push(Talk::new(answer.index, format!("{id}:{}", answer.index)));
                talks.len() - 1
            }
        };
        let Some(talk) = talks.get_mut(at) else { return Ok(Ok(())) };
        if let Some(mut parts) = answer.parts {
            parts.array::<JsonError>(|_, part| {
                talk.part(read_part(part, None)?.block, next, sink);
                Ok(())
            })?;
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
            talk.finish = Some(stop::read(&word, answer.message, talk.called()).into_owned());
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
