//! A stream, read.
//!
//! A chunk is looked at once. Text and thinking blocks close when another kind begins; calls stay open to the end,
//! because their pieces may interleave. What ends an answer is held until the stream itself ends: servers repeat
//! `finish_reason`, and some send more after it.

use super::answer::{self, CallPiece, Part, Said};
use super::read_response::class_of;
use super::stream_calls::Calls;
use super::wire::{OWN, derive_stop, is_cut, loose_count, loose_text, read_stop};
use super::{details, error, usage};
use crate::format::openai_error;
use crate::format::thought::Thought;
use crate::format::told::{Served, Told, unread};
use crate::format::{Repeat, StreamReader};
use crate::frame::sse::Frame;
use crate::hub::{Citation, Event, Fault, FaultKind, Field, Head, Stop, ThinkingKind, Usage};
use crate::json::{Cursor, Json, JsonError, Kind, Text};

/// Most answers in one stream; `n` is at most 128 at the vendor.
const MOST_CHOICES: u64 = 128;

type Sink<'s> = &'s mut dyn FnMut(Event<'_>);

/// Reads a stream.
#[derive(Debug, Default)]
pub(super) struct Reader {
    started: bool,
    over: bool,
    /// An object came that is no piece of an answer and nothing known beside one.
    odd: bool,
    /// The provider's id, from which missing ids of calls derive.
    id: String,
    /// Number of the next block.
    next: u32,
    choices: Vec<Choice>,
    /// There is an answer of which not all was handed over.
    unread: bool,
    told: Told,
    served: Served,
}

/// One of the answers.
#[derive(Debug, Default)]
struct Choice {
    index: u32,
    /// The text, refusal or thinking block that is open.
    open: Option<(Open, u32)>,
    /// `index` of the entry of `reasoning_details` that came last, and how much of it has come.
    entry: (Option<u64>, Thought),
    calls: Calls,
    /// Anything of the answer itself was seen.
    said: bool,
    finish: Option<Stop<'static>>,
    /// Code points of all texts so far.
    points: u64,
    /// The text that came last, and where it begins in all of them.
    text: Option<(u32, u64)>,
    /// Sound was reported as lost.
    silent: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Open {
    Text,
    Refusal,
    Thinking(ThinkingKind),
}

/// The top level of a chunk.
#[derive(Default)]
struct Chunk<'a> {
    id: Option<Text<'a>>,
    model: Option<Text<'a>>,
    created: Option<u64>,
    choices: Option<Cursor<'a>>,
    usage: Option<Usage>,
    error: Option<Cursor<'a>>,
    tier: Option<Text<'a>>,
    /// Classes of what the hub has no place for.
    unread: Vec<Field>,
}

/// One entry of `choices`.
#[derive(Default)]
struct Piece<'a> {
    index: u64,
    said: Option<Said<'a>>,
    message: Option<Said<'a>>,
    finish: Option<Text<'a>>,
    matched: Option<Text<'a>>,
    /// `error`: why this choice gave up.
    failed: Option<Text<'a>>,
    logprobs: Option<Json<'a>>,
    usage: Option<Usage>,
    unread: Vec<Field>,
}

impl StreamReader for Reader {
    fn frame(&mut self, frame: &Frame<'_>, sink: &mut dyn FnMut(Event<'_>)) -> Result<(), Fault<'static>> {
        let data = frame.data.trim();
        if self.over || data.is_empty() {
            return Ok(());
        }
        if data == "[DONE]" {
            self.finish(sink);
            return Ok(());
        }
        if !data.starts_with('{') && openai_error::tells(data.as_bytes()) {
            self.over = true;
            sink(Event::Fault(error::read_in_stream(&mut Cursor::over(data))));
            return Ok(());
        }
        if self.started && frame.event.is_none() {
            return self.next_chunk(data, sink);
        }
        let chunk = Chunk::read(data, frame.event == Some("error")).map_err(|e| malformed(&e))?;
        if let Some(mut error) = chunk.error {
            self.over = true;
            sink(Event::Fault(error::read_in_stream(&mut error)));
            return Ok(());
        }
        self.chunk(chunk, sink).map_err(|e| malformed(&e))
    }

    fn end(&mut self, sink: &mut dyn FnMut(Event<'_>)) {
        if self.over {
            return;
        }
        if !self.choices.is_empty() && self.choices.iter().all(|choice| choice.finish.is_some()) {
            return self.finish(sink);
        }
        self.over = true;
        sink(Event::Fault(incomplete()));
    }

    fn repeat(&self) -> Repeat {
        let followed = self.choices.iter().any(|choice| choice.calls.any_followed());
        if followed { Repeat::No } else { Repeat::Words }
    }

    fn pass(&mut self) {
        self.unread = true;
    }
}

fn incomplete() -> Fault<'static> {
    Fault::new(FaultKind::StreamIncomplete, "The provider's stream ended before the answer was complete")
        .with_code("stream_incomplete")
}

fn malformed(error: &JsonError) -> Fault<'static> {
    let mut fault = Fault::new(FaultKind::Api, format!("A chunk of the provider's stream cannot be read: {error}"));
    fault.status = 502;
    fault.with_code("stream_malformed")
}

impl<'a> Chunk<'a> {
    fn read(data: &'a str, is_error: bool) -> Result<Self, JsonError> {
        let mut chunk = Self::default();
        let mut cursor = Cursor::over(data);
        if is_error {
            chunk.error = Some(cursor.clone());
        }
        let start = cursor.clone();
        cursor.object::<JsonError>(|key, value| {
            match key.as_ref() {
                "choices" if value.peek()? == Kind::Array => {
                    chunk.choices = Some(value.clone());
                    value.skip()?;
                }
                "id" => chunk.id = loose_text(value)?,
                "model" => chunk.model = loose_text(value)?,
                "created" => chunk.created = loose_count(value)?,
                "service_tier" => chunk.tier = loose_text(value)?,
                "usage" => chunk.usage = usage::read(value)?.or(chunk.usage.take()),
                "x_groq" if value.peek()? == Kind::Object => groq(value, &mut chunk.usage, &mut chunk.error)?,
                "error" if openai_error::is_said(value) => {
                    chunk.error = Some(value.clone());
                    value.skip()?;
                }
                // vLLM's errors have no envelope.
                "object" => {
                    if loose_text(value)?.is_some_and(|object| object.escaped() == "error") {
                        chunk.error = Some(start.clone());
                    }
                }
                key => aside(key, value, &mut chunk.unread)?,
            }
            Ok(())
        })?;
        cursor.finish()?;
        if chunk.choices.is_none() && chunk.error.is_none() && openai_error::tells_in_stream(data.as_bytes()) {
            chunk.error = Some(start);
        }
        Ok(chunk)
    }
}

/// What Groq says beside the answer: its usage, and why it gave a stream up.
fn groq<'a>(
    value: &mut Cursor<'a>,
    counts: &mut Option<Usage>,
    error: &mut Option<Cursor<'a>>,
) -> Result<(), JsonError> {
    value.object::<JsonError>(|key, value| {
        match key.as_ref() {
            "usage" => *counts = counts.take().or(usage::read(value)?),
            "error" if !matches!(value.peek()?, Kind::Null) => *error = Some(value.clone()),
            _ => {}
        }
        Ok(())
    })
}

/// A field of a chunk that is none of the answer: an envelope's, or one that the hub has no place for.
fn aside(key: &str, value: &mut Cursor<'_>, unread_fields: &mut Vec<Field>) -> Result<(), JsonError> {
    match key {
        "id" | "model" | "created" | "system_fingerprint" | "obfuscation" | "choices" | "usage" | "error"
        | "x_groq" => value.skip(),
        _ => unread(unread_fields, class_of(key), value),
    }
}

impl<'a> Piece<'a> {
    fn read(value: &mut Cursor<'a>) -> Result<Self, JsonError> {
        let mut piece = Self::default();
        value.object::<JsonError>(|key, value| {
            match key.as_ref() {
                "index" => piece.index = loose_count(value)?.unwrap_or(0),
                "delta" if value.peek()? == Kind::Object => piece.said = Some(Said::read(value, true)?),
                "message" if value.peek()? == Kind::Object => piece.message = Some(Said::read(value, false)?),
                "finish_reason" => piece.finish = loose_text(value)?.filter(|word| !word.is_empty()),
                "stop_reason" => piece.matched = loose_text(value)?,
                "logprobs" if value.peek()? == Kind::Object => piece.logprobs = Some(value.json()?),
                "usage" => piece.usage = usage::read(value)?,
                "error" if value.peek()? == Kind::Object => piece.failed = openai_error::words_of(value)?,
                "logprobs" => unread(&mut piece.unread, Field::Logprobs, value)?,
                "content_filter_results" | "content_filter_result" | "content_filter_offsets" => {
                    unread(&mut piece.unread, Field::Safety, value)?;
                }
                _ => unread(&mut piece.unread, Field::Unknown, value)?,
            }
            Ok(())
        })?;
        let extras = piece.said.iter().flat_map(|said| &said.extras);
        piece.unread.extend(extras.map(|extra| extra.field));
        Ok(piece)
    }
}

impl Reader {
    /// A chunk of a stream that has begun, in one pass: nothing of it depends on what stands further behind.
    fn next_chunk(&mut self, data: &str, sink: Sink<'_>) -> Result<(), Fault<'static>> {
        let (mut late, mut error, mut unread, mut answers, mut odd) = (None, None, Vec::new(), false, false);
        let mut cursor = Cursor::over(data);
        let start = cursor.clone();
        let read = cursor
            .object::<JsonError>(|key, value| {
                match key.as_ref() {
                    "choices" if value.peek()? == Kind::Array => {
                        answers = true;
                        self.pieces(value, &mut late, sink)?;
                    }
                    "usage" => late = usage::read(value)?.or(late.take()),
                    "service_tier" => self.served.tell(OWN, loose_text(value)?, sink),
                    "x_groq" if value.peek()? == Kind::Object => groq(value, &mut late, &mut error)?,
                    "error" if openai_error::is_said(value) => error = Some(value.clone()),
                    "object" => {
                        if loose_text(value)?.is_some_and(|object| object.escaped() == "error") {
                            error = Some(start.clone());
                        }
                    }
                    key => {
                        odd |= !matches!(key, "id" | "model" | "created");
                        aside(key, value, &mut unread)?;
                    }
                }
                Ok(())
            })
            .and_then(|()| cursor.finish());
        let counted = late.is_some();
        read.map_err(|error| malformed(&error))?;
        let error = error.or_else(|| (!answers && openai_error::tells_in_stream(data.as_bytes())).then_some(start));
        self.told.all(unread, sink);
        if let Some(usage) = late {
            sink(Event::Usage(usage));
        }
        if let Some(mut error) = error {
            self.over = true;
            sink(Event::Fault(error::read_in_stream(&mut error)));
        }
        self.odd |= !answers && !counted && odd;
        Ok(())
    }

    /// The chunk with which a stream begins.
    fn chunk(&mut self, chunk: Chunk<'_>, sink: Sink<'_>) -> Result<(), JsonError> {
        let Chunk { id, model, created, choices, usage, tier, unread, .. } = chunk;
        self.told.all(unread, sink);
        let mut choices = choices.filter(|list| list.clone().json().is_ok_and(|json| !json.is_empty()));
        if !self.started {
            let named = id.as_ref().is_some_and(|id| !id.is_empty());
            // Azure's first chunk tells of prompt filters, without id or choices: not the answer's beginning.
            if !named && choices.is_none() && usage.is_none() {
                return Ok(());
            }
            self.start(id.unwrap_or_default(), model.unwrap_or_default(), created, sink);
        }
        self.served.tell(OWN, tier, sink);
        // Before the first words: some formats tell at their beginning what the prompt was.
        let early = usage.is_some();
        if let Some(usage) = usage {
            sink(Event::Usage(usage));
        }
        let mut late = None;
        if let Some(list) = &mut choices {
            self.pieces(list, &mut late, sink)?;
        }
        if let Some(usage) = late.filter(|_| !early) {
            sink(Event::Usage(usage));
        }
        Ok(())
    }

    /// The entries of `choices`; `late` is the usage that stands in one of them.
    fn pieces(&mut self, list: &mut Cursor<'_>, late: &mut Option<Usage>, sink: Sink<'_>) -> Result<(), JsonError> {
        list.array(|_, value| {
            if value.peek()? != Kind::Object {
                return Ok(());
            }
            let mut piece = Piece::read(value)?;
            *late = late.take().or(piece.usage.take());
            self.piece(piece, sink)
        })
    }

    fn start(&mut self, id: Text<'_>, model: Text<'_>, created: Option<u64>, sink: Sink<'_>) {
        self.started = true;
        id.escaped().clone_into(&mut self.id);
        sink(Event::Start { id, model, created });
    }

    fn piece(&mut self, piece: Piece<'_>, sink: Sink<'_>) -> Result<(), JsonError> {
        let Ok(index) = u32::try_from(piece.index.min(MOST_CHOICES)) else { return Ok(()) };
        let at = self.choices.iter().position(|choice| choice.index == index).unwrap_or_else(|| {
            self.choices.push(Choice { index, ..Choice::default() });
            self.choices.len() - 1
        });
        let Self { id, next, choices, told, .. } = self;
        let Some(choice) = choices.get_mut(at) else { return Ok(()) };
        told.all(piece.unread, sink);
        let mut talk = Talk { id, next, choice, told, sink };
        // A final `message` repeats the deltas; it counts only where there were none.
        // Before the words that they are of.
        if let Some(raw) = piece.logprobs {
            (talk.sink)(Event::Logprobs { candidate: index, raw });
        }
        let said = piece.said.or(piece.message.filter(|_| !talk.choice.said));
        if let Some(said) = said {
            talk.choice.said |= said.is_something();
            talk.said(said)?;
        }
        if let Some(words) = piece.failed {
            choice.finish = Some(Stop::Failed(words).into_owned());
        } else if let Some(word) = piece.finish {
            let stop = read_stop(&word, piece.matched);
            // That the answer was cut is not taken back by a bare end.
            if is_cut(&stop) || !choice.finish.as_ref().is_some_and(is_cut) {
                choice.finish = Some(stop.into_owned());
            }
        }
        Ok(())
    }

    /// The stream is complete, unless there was no answer in it: closes what is open and says why each answer ended.
    fn finish(&mut self, sink: Sink<'_>) {
        self.over = true;
        if self.choices.is_empty() && !self.unread {
            return sink(Event::Fault(incomplete()));
        }
        if !self.started {
            self.start(Text::EMPTY, Text::EMPTY, None, sink);
        }
        let failed = self.choices.iter().find_map(|choice| match &choice.finish {
            Some(Stop::Failed(word)) => Some(Stop::gave_up(word)),
            _ => None,
        });
        // Something came that nobody knows, and no reason to stop: the provider may have said why it goes no further.
        let unsaid = || self.odd && self.choices.iter().any(|choice| choice.finish.is_none());
        if let Some(fault) = failed.or_else(|| unsaid().then(incomplete)) {
            // What is open stays open: a call that was closed would look complete.
            return sink(Event::Fault(fault));
        }
        if self.choices.is_empty() {
            self.choices.push(Choice::default());
        }
        for choice in &mut self.choices {
            if let Some((_, block)) = choice.open.take() {
                sink(Event::BlockStop { block });
            }
            choice.calls.close(sink);
            if choice.calls.any_nameless() {
                let fault = Fault::new(FaultKind::Api, "The provider sent a tool call without a name");
                return sink(Event::Fault(fault.with_code("stream_malformed")));
            }
            let stop = choice.finish.take().unwrap_or(Stop::EndTurn);
            // Where only the end was looked at, its word stands.
            let stop = if choice.said || !self.unread { derive_stop(stop, choice.calls.any()) } else { stop };
            sink(Event::Stop { candidate: choice.index, stop });
        }
        sink(Event::End);
    }
}

/// One answer, while a delta of it is read.
struct Talk<'r, 's> {
    id: &'r str,
    next: &'r mut u32,
    choice: &'r mut Choice,
    told: &'r mut Told,
    sink: &'r mut (dyn FnMut(Event<'_>) + 's),
}

impl Talk<'_, '_> {
    fn said(&mut self, said: Said<'_>) -> Result<(), JsonError> {
        self.reasoning(said.reasoning, said.details)?;
        if let Some(text) = said.text {
            self.grow(Open::Text, text);
        }
        if let Some(mut parts) = said.parts {
            answer::parts(&mut parts, &mut |part, _| match part {
                Part::Text(text) => self.grow(Open::Text, text),
                Part::Refusal(text) => self.grow(Open::Refusal, text),
                Part::Thinking(text) => self.grow(Open::Thinking(ThinkingKind::Raw), text),
                Part::Other(_) | Part::Beside(_) => (self.sink)(Event::Dropped { field: Field::Unknown }),
            })?;
        }
        if let Some(text) = said.refusal {
            self.grow(Open::Refusal, text);
        }
        if let Some(mut list) = said.calls {
            answer::calls::<JsonError>(&mut list, |piece| {
                self.call(piece);
                Ok(())
            })?;
        }
        if let Some(mut call) = said.legacy_call {
            let piece = answer::legacy_call(&mut call)?;
            if piece.name.is_some() || piece.input.is_some() {
                self.call(piece);
            }
        }
        if let Some(mut list) = said.annotations {
            self.annotations(&mut list)?;
        }
        if let Some(audio) = said.audio {
            // Words that were spoken are words; the sound itself has no place.
            if let Some(text) = answer::transcript(&audio)? {
                self.grow(Open::Text, text);
            }
            if !std::mem::replace(&mut self.choice.silent, true) {
                (self.sink)(Event::Dropped { field: Field::Audio });
            }
        }
        Ok(())
    }

    fn reasoning(&mut self, plain: Option<Text<'_>>, details: Option<Cursor<'_>>) -> Result<(), JsonError> {
        let Some(mut list) = details else {
            if let Some(text) = plain {
                self.grow(Open::Thinking(ThinkingKind::Raw), text);
            }
            return Ok(());
        };
        // The same words stand in both; the entries know what kind they are.
        let mut plain = plain;
        let doubled = plain.is_some();
        details::read(&mut list, &mut |detail| {
            if detail.encrypted {
                return self.redacted(&detail);
            }
            self.entry(&detail);
            if let Some(text) = plain.take() {
                self.grow(Open::Thinking(detail.kind), text);
            } else if !doubled {
                self.grow(Open::Thinking(detail.kind), detail.text.clone());
            }
            if let Some(opaque) = detail.native() {
                let block = self.open(Open::Thinking(detail.kind));
                (self.sink)(Event::Opaque { block, opaque });
            }
        })?;
        if let Some(text) = plain {
            self.grow(Open::Thinking(ThinkingKind::Raw), text);
        }
        Ok(())
    }

    /// Closes the open thinking where `detail` is of another entry.
    fn entry(&mut self, detail: &details::Detail<'_>) {
        let next = Thought { worded: !detail.text.is_empty(), signed: detail.secret.is_some() };
        let (index, mut thought) = self.choice.entry;
        let thinks = matches!(self.choice.open, Some((Open::Thinking(_), _)));
        let other = thinks && index.is_some() && detail.index.is_some() && index != detail.index;
        if !thinks || other {
            thought = Thought::default();
        }
        if thought.takes(next) || other {
            self.close();
        }
        self.choice.entry = (detail.index, thought);
    }

    fn redacted(&mut self, detail: &details::Detail<'_>) {
        let Some(opaque) = detail.native() else { return };
        self.close();
        let block = self.begin(Head::Redacted);
        (self.sink)(Event::Opaque { block, opaque });
        (self.sink)(Event::BlockStop { block });
    }

    fn annotations(&mut self, list: &mut Cursor<'_>) -> Result<(), JsonError> {
        // The places are those in all of the content, and only the text that came last can still be said to have a source.
        let Some((block, begin)) = self.choice.text else {
            let mut any = false;
            list.array::<JsonError>(|_, value| {
                any = true;
                value.skip()
            })?;
            if any {
                (self.sink)(Event::Dropped { field: Field::Citations });
            }
            return Ok(());
        };
        answer::citations(list, &mut |citation| {
            let span = citation.span.map(|(from, to)| Some((from.checked_sub(begin)?, to.saturating_sub(begin))));
            (self.sink)(match span {
                Some(None) => Event::Dropped { field: Field::Citations },
                span => Event::Citation { block, citation: Citation { span: span.flatten(), ..citation } },
            });
        })
    }

    fn call(&mut self, piece: CallPiece<'_>) {
        self.told.all(piece.extras.iter().map(|extra| extra.field), self.sink);
        self.close();
        self.choice.calls.piece(piece, self.id, self.choice.index, self.next, self.sink);
    }

    /// Adds words to the open block of this kind, or to a new one.
    fn grow(&mut self, kind: Open, text: Text<'_>) {
        if !text.is_empty() {
            let block = self.open(kind);
            if kind == Open::Text {
                self.choice.points = self.choice.points.saturating_add(text.code_points());
            }
            (self.sink)(Event::TextDelta { block, text });
        }
    }

    fn open(&mut self, kind: Open) -> u32 {
        if let Some((open, block)) = self.choice.open
            && open == kind
        {
            return block;
        }
        self.close();
        let block = self.begin(match kind {
            Open::Text => Head::Text,
            Open::Refusal => Head::Refusal,
            Open::Thinking(kind) => Head::Thinking(kind),
        });
        self.choice.open = Some((kind, block));
        if kind == Open::Text {
            self.choice.text = Some((block, self.choice.points));
        }
        block
    }

    fn begin(&mut self, head: Head<'_>) -> u32 {
        let block = *self.next;
        *self.next = self.next.saturating_add(1);
        (self.sink)(Event::BlockStart { block, candidate: self.choice.index, head });
        block
    }

    fn close(&mut self) {
        if let Some((_, block)) = self.choice.open.take() {
            (self.sink)(Event::BlockStop { block });
        }
    }
}
