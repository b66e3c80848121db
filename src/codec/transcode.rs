//! A stream on its way from provider to client.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use crate::Format;
use crate::document::Document;
use crate::format::{Reply, StreamWriter, Undo, WireFormat, wire};
use crate::frame::sse::{Alike, EVENT_LIMIT, Found, FrameError, Framer};
use crate::hub::{Event, Fault, FaultKind, Saying, Stop};
use crate::json::{Text, contents_len};
use crate::naming::Naming;
use crate::outcome::Outcome;
use crate::reading::Reading;
use crate::recall::Listener;
use crate::reshape::replay;
use crate::sayings::Sayings;
use crate::translate::{listener, read_whole};
use crate::undo::UndoStage;

/// Rewrites a stream from the provider's format into the client's, chunk by chunk.
///
/// However the input is cut, the output is the same, and what an event says leaves with the chunk that completes it.
/// A fault, ours or the provider's, becomes the client format's own error, once; after it nothing is written.
pub struct Transcoder {
    framer: Framer,
    document: Document,
    rewriter: Rewriter,
}

/// What stands behind the framer. It never sees a chunk: the same events make the same output, whatever chunks they
/// came in.
struct Rewriter {
    provider: &'static dyn WireFormat,
    reading: Reading,
    stages: Stages,
}

/// What stands behind the reader.
struct Stages {
    /// The client knows the provider's own words.
    own: bool,
    /// What each answer says.
    sayings: Sayings,
    undo: UndoStage,
    listener: Option<Listener>,
    writer: Box<dyn StreamWriter>,
    outcome: Outcome,
}

impl std::fmt::Debug for Transcoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transcoder").field("outcome", self.outcome()).finish_non_exhaustive()
    }
}

impl Transcoder {
    /// A stream from `provider` to `client`.
    #[must_use]
    pub fn new(provider: Format, client: Format, reply: Arc<Reply>, undo: Undo) -> Self {
        Self {
            framer: Framer::new(EVENT_LIMIT),
            document: Document::default(),
            rewriter: Rewriter {
                provider: wire(provider),
                reading: Reading::new(wire(provider).stream_reader()),
                stages: Stages {
                    own: provider == client,
                    sayings: Sayings::default(),
                    undo: UndoStage::new(undo),
                    listener: listener(provider, client, &reply),
                    writer: wire(client).stream_writer(reply),
                    outcome: Outcome::default(),
                },
            },
        }
    }

    /// Rewrites `chunk`; appends what the client shall see to `out`.
    pub fn chunk(&mut self, chunk: &[u8], out: &mut Vec<u8>) {
        let Self { framer, document, rewriter } = self;
        if rewriter.is_over() {
            return;
        }
        if rewriter.stages.outcome.events == 0 {
            document.push(chunk);
        }
        if let Err(fault) = framer.push_alike::<Fault<'static>>(chunk, |found| rewriter.found(&found, out)) {
            self.fail(fault, out);
        }
    }

    /// The provider answered with `body` in whole although a stream was asked for: writes it as one, in place of
    /// [`chunk`](Self::chunk) and [`finish`](Self::finish).
    pub fn whole(&mut self, body: &[u8], out: &mut Vec<u8>) {
        let Rewriter { provider, stages, .. } = &mut self.rewriter;
        let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
        match read_whole(*provider, body, &mut |field, _, _| stages.outcome.note_dropped(field)) {
            Ok(response) => replay(&response, &mut |event| stages.event(event, out)),
            Err(fault) => stages.event(Event::Fault(fault), out),
        }
    }

    /// The provider closed the stream: ends it for the client, as complete if it was, as broken if not.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        let document = self.document.take().filter(|_| self.outcome().events == 0 && !self.outcome().is_over());
        if let Some(document) = document {
            return self.whole(&document, out);
        }
        let Self { framer, rewriter, .. } = self;
        if rewriter.is_over() {
            return;
        }
        // A last event whose closing empty line is missing is whole if it reads as such.
        let _ = framer.push_alike::<Fault<'static>>(b"\n\n", |found| rewriter.found(&found, out));
        rewriter.end(out);
    }

    /// The stream cannot go on: tells the client so, in its format, unless it was over. One that had said why it ends lacks
    /// nothing but its last word, and is whole.
    pub fn fail(&mut self, fault: Fault<'_>, out: &mut Vec<u8>) {
        self.rewriter.end_if_whole(out);
        self.rewriter.stages.event(Event::Fault(fault), out);
    }

    /// The provider is silent: tells the client that the stream is alive, in its format's own way, unless it is over.
    pub fn ping(&mut self, out: &mut Vec<u8>) {
        self.rewriter.stages.event(Event::Ping, out);
    }

    /// What is known of the stream so far.
    #[must_use]
    pub fn outcome(&self) -> &Outcome {
        &self.rewriter.stages.outcome
    }
}

impl Rewriter {
    fn is_over(&self) -> bool {
        self.stages.outcome.is_over()
    }

    /// Reads an event; returns what of it may be another for the next to be told by it.
    fn found(&mut self, found: &Found<'_>, out: &mut Vec<u8>) -> Result<Option<Alike>, Fault<'static>> {
        let Self { reading, stages, .. } = self;
        stages.outcome.events += 1;
        if stages.outcome.is_over() {
            return Ok(None);
        }
        reading.found(found, &mut |event| stages.event(event, out))
    }

    fn end_if_whole(&mut self, out: &mut Vec<u8>) {
        let Self { reading, stages, .. } = self;
        if !stages.outcome.is_over() {
            reading.end(&mut |event| {
                if !matches!(event, Event::Fault(_)) {
                    stages.event(event, out);
                }
            });
        }
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        let Self { reading, stages, .. } = self;
        if !stages.outcome.is_over() {
            reading.end(&mut |event| stages.event(event, out));
        }
        stages.event(Event::Fault(incomplete()), out);
    }
}

impl Stages {
    /// Makes of a reason that nobody knows what it comes to for the answer that it ends.
    fn settle(&mut self, event: &mut Event<'_>) {
        self.sayings.note(event);
        if let Event::Stop { candidate, stop: stop @ Stop::Other(_) } = event {
            let saying = self.sayings.saying(*candidate);
            // Of the ends of its own provider a client knows more.
            if !self.own || saying == Saying::Calls {
                *stop = std::mem::replace(stop, Stop::EndTurn).settled(saying);
            }
        }
    }

    /// Hands `event` on; nothing comes after the end.
    fn event(&mut self, mut event: Event<'_>, out: &mut Vec<u8>) {
        if self.outcome.is_over() {
            return;
        }
        self.settle(&mut event);
        let Self { undo, listener, writer, outcome, .. } = self;
        undo.event(event, &mut |event| {
            outcome.note(&event);
            if let Some(listener) = listener {
                listener.note(&event);
            }
            writer.event(&event, out, &mut |field| outcome.note_dropped(field));
        });
        if let (None, Some(fault)) = (&outcome.fault, writer.gave_up()) {
            outcome.note(&Event::Fault(fault.clone()));
            outcome.complete = false;
        }
    }
}

/// Watches a stream that is passed on byte for byte.
///
/// Usage, stop reason and end are picked up; a frame that cannot hold them is not parsed. Only the beginning of an
/// unfinished event is held back, so that a cut stream can still end in an error that the client understands.
pub struct Watch {
    format: Format,
    framer: Framer,
    document: Document,
    wire: &'static dyn WireFormat,
    reading: Reading,
    reply: Arc<Reply>,
    outcome: Outcome,
    begun: Option<Box<Begun>>,
    /// The beginning of an unfinished event, held back.
    held: Vec<u8>,
    /// The stream cannot be read; it is passed on unseen.
    blind: bool,
    /// Says which model answered, if not the provider does.
    naming: Option<Naming>,
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch").field("outcome", &self.outcome).finish_non_exhaustive()
    }
}

impl Watch {
    /// Watches a stream of `format`.
    #[must_use]
    pub fn new(format: Format, reply: Arc<Reply>) -> Self {
        Self {
            format,
            framer: Framer::new(EVENT_LIMIT),
            document: Document::default(),
            wire: wire(format),
            reading: Reading::new(wire(format).stream_reader()),
            reply,
            outcome: Outcome::default(),
            begun: None,
            held: Vec::new(),
            blind: false,
            naming: None,
        }
    }

    /// The same, with the model's name as `naming` says it in what is passed on.
    #[must_use]
    pub fn named(self, naming: Naming) -> Self {
        Self { naming: Some(naming), ..self }
    }

    /// Takes `chunk`; returns the bytes that the client shall have now: all whole events, unchanged.
    pub fn chunk(&mut self, chunk: Bytes) -> Bytes {
        if self.blind {
            return chunk;
        }
        if self.outcome.events == 0 {
            self.document.push(&chunk);
        }
        let read = self.push(&chunk);
        if read.is_err() {
            self.blind = true;
            return self.with_held(chunk);
        }
        let unfinished = self.framer.pending();
        if unfinished == 0 {
            return self.with_held(chunk);
        }
        // What is pending is the end of held-and-chunk; only its part in this chunk is still to be held back.
        let keep = chunk.len().saturating_sub(unfinished);
        if keep == 0 {
            self.held.extend_from_slice(&chunk);
            return Bytes::new();
        }
        let whole = self.with_held(chunk.slice(..keep));
        self.held.extend_from_slice(chunk.get(keep..).unwrap_or_default());
        whole
    }

    fn push(&mut self, chunk: &[u8]) -> Result<(), Fault<'static>> {
        let Self { framer, wire, reading, outcome, begun, reply, naming, .. } = self;
        framer.push_alike(chunk, |found| {
            outcome.events += 1;
            match &found {
                Found::Frame(_) if outcome.is_over() => Ok(None),
                // An event that tells nothing still tells nothing with other words.
                Found::Frame(frame) if !wire.is_telling(frame) => {
                    reading.pass();
                    Ok(words(frame.data, wire.words()).map(|words| Alike { words, counts: None }))
                }
                found => reading.found(found, &mut |event| {
                    if let Event::Start { id, model, created } = &event {
                        let own = naming.is_some().then(|| Text::from_plain(&reply.model));
                        *begun = Some(Box::new(Begun::new(id, own.as_ref().unwrap_or(model), *created)));
                    }
                    passed(outcome, &event);
                }),
            }
        })
    }

    /// The provider closed the stream; returns what the client shall have still: the rest of a complete stream, or its
    /// format's own error.
    pub fn finish(&mut self) -> Bytes {
        if self.blind {
            return Bytes::new();
        }
        if let Some(document) = self.document.take().filter(|_| self.outcome.events == 0) {
            return self.whole(&document);
        }
        // What was not finished is not handed on where an error follows.
        let given = self.outcome.events;
        let _ = self.push(b"\n\n");
        let Self { reading, outcome, .. } = self;
        if !outcome.is_over() {
            reading.end(&mut |event| passed(outcome, &event));
        }
        if self.outcome.complete || (self.outcome.fault.is_some() && !self.is_cut()) {
            return self.with_held(Bytes::new());
        }
        self.error(incomplete(), given)
    }

    /// What came was no stream, and clients read nothing in its lines: tells as one what it says.
    fn whole(&mut self, document: &[u8]) -> Bytes {
        self.held.clear();
        let mut out = Vec::new();
        let mut transcoder = Transcoder::new(self.format, self.format, Arc::clone(&self.reply), Undo::default());
        transcoder.whole(document, &mut out);
        self.outcome = transcoder.outcome().clone();
        Bytes::from(out)
    }

    /// The stream cannot go on: what tells the client so, unless it was over, or lacks nothing but its last word.
    pub fn fail(&mut self, fault: Fault<'_>) -> Bytes {
        let Self { reading, outcome, .. } = self;
        if !outcome.is_over() {
            reading.end(&mut |event| {
                if !matches!(event, Event::Fault(_)) {
                    passed(outcome, &event);
                }
            });
        }
        if self.outcome.is_over() {
            return self.with_held(Bytes::new());
        }
        self.outcome.note(&Event::Fault(fault.clone()));
        self.error(fault, self.outcome.events)
    }

    /// The provider is silent: what tells the client that the stream is alive. What was passed on so far ended with a
    /// whole event, so this stands between two.
    #[must_use]
    pub fn ping(&self) -> Bytes {
        let mut out = Vec::new();
        if !self.blind && !self.outcome.is_over() {
            let mut writer = self.wire.stream_writer(Arc::clone(&self.reply));
            writer.event(&Event::Ping, &mut out, &mut |_| {});
        }
        Bytes::from(out)
    }

    /// What is known of the stream so far.
    #[must_use]
    pub fn outcome(&self) -> &Outcome {
        &self.outcome
    }

    fn is_cut(&self) -> bool {
        matches!(self.outcome.fault, Some((FaultKind::StreamIncomplete, _)))
    }

    /// The error in the client's format, behind the `given` events that it has.
    fn error(&mut self, fault: Fault<'_>, given: u64) -> Bytes {
        self.held.clear();
        if self.outcome.fault.is_none() {
            self.outcome.note(&Event::Fault(fault.clone()));
        }
        // What could not be read may have been handed on to the middle of an event.
        let mut out = if self.blind { b"\n\n".to_vec() } else { Vec::new() };
        let mut writer = self.wire.stream_writer(Arc::clone(&self.reply));
        writer.resume(given, self.begun.as_ref().map(|begun| begun.event()).as_ref());
        writer.event(&Event::Fault(fault), &mut out, &mut |_| {});
        Bytes::from(out)
    }

    /// What was held back and `chunk`, which ends with a whole event or with the stream, as the client shall see it.
    fn with_held(&mut self, chunk: Bytes) -> Bytes {
        let lines = if self.held.is_empty() {
            chunk
        } else {
            let mut whole = std::mem::take(&mut self.held);
            whole.extend_from_slice(&chunk);
            Bytes::from(whole)
        };
        match &self.naming {
            Some(naming) => naming.lines(lines),
            None => lines,
        }
    }
}

/// How the answer began that is passed on.
struct Begun {
    id: Text<'static>,
    model: Text<'static>,
    created: Option<u64>,
}

impl Begun {
    fn new(id: &Text<'_>, model: &Text<'_>, created: Option<u64>) -> Self {
        Self { id: id.clone().into_owned(), model: model.clone().into_owned(), created }
    }

    fn event(&self) -> Event<'_> {
        Event::Start { id: self.id.by_ref(), model: self.model.by_ref(), created: self.created }
    }
}

/// Notes what a stream says that is passed on as it is: what the reader has no place for is not lost.
fn passed(outcome: &mut Outcome, event: &Event<'_>) {
    if !matches!(event, Event::Dropped { .. }) {
        outcome.note(event);
    }
}

/// Where the contents of the first string stand in `data` that belongs to one of `keys` (in quotes, with the colon and
/// the opening quote) and is not empty.
fn words(data: &str, keys: &[&str]) -> Option<Range<usize>> {
    keys.iter().find_map(|key| {
        let start = memchr::memmem::find(data.as_bytes(), key.as_bytes())? + key.len();
        let len = contents_len(data.as_bytes().get(start..)?)?;
        (len > 0).then_some(start..start + len)
    })
}

fn incomplete() -> Fault<'static> {
    Fault::new(FaultKind::StreamIncomplete, "The provider's stream ended before the answer was complete")
        .with_code("stream_incomplete")
}

impl From<FrameError> for Fault<'static> {
    fn from(error: FrameError) -> Self {
        let mut fault = Fault::new(FaultKind::Api, format!("The provider's stream cannot be read: {error}"));
        fault.status = 502;
        fault.with_code("stream_malformed")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_an_event_are_found_by_their_key() {
        let keys = ["\"content\":\"", "\"text\":\""];
        for (data, found) in [
            (r#"{"delta":{"content":"Hi there"}}"#, Some("Hi there")),
            (r#"{"text":"a\"b","x":1}"#, Some(r#"a\"b"#)),
            (r#"{"text":"second","content":"first"}"#, Some("first")),
            (r#"{"content":"","text":"t"}"#, Some("t")),
            (r#"{"content":"","text":""}"#, None),
            (r#"{"content":"not closed"#, None),
            (r#"{"other":"x"}"#, None),
        ] {
            assert_eq!(words(data, &keys).and_then(|at| data.get(at)), found, "{data}");
        }
    }
}
