//! A stream on its way from provider to client.

use std::sync::Arc;

use bytes::Bytes;

use crate::Format;
use crate::format::{Reply, StreamReader, StreamWriter, Undo, WireFormat, wire};
use crate::frame::sse::{EVENT_LIMIT, Frame, FrameError, Framer};
use crate::hub::{Event, Fault, FaultKind};
use crate::outcome::Outcome;
use crate::reshape::replay;
use crate::translate::unreadable;
use crate::undo::UndoStage;

/// Rewrites a stream from the provider's format into the client's, chunk by chunk.
///
/// However the input is cut, the output is the same, and what an event says leaves with the chunk that completes it.
/// A fault, ours or the provider's, becomes the client format's own error, once; after it nothing is written.
pub struct Transcoder {
    framer: Framer,
    rewriter: Rewriter,
}

/// What stands behind the framer. It never sees a chunk: the same events make the same output, whatever chunks they
/// came in.
struct Rewriter {
    provider: &'static dyn WireFormat,
    reader: Box<dyn StreamReader>,
    stages: Stages,
}

/// What stands behind the reader.
struct Stages {
    undo: UndoStage,
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
            rewriter: Rewriter {
                provider: wire(provider),
                reader: wire(provider).stream_reader(),
                stages: Stages {
                    undo: UndoStage::new(undo),
                    writer: wire(client).stream_writer(reply),
                    outcome: Outcome::default(),
                },
            },
        }
    }

    /// Rewrites `chunk`; appends what the client shall see to `out`.
    pub fn chunk(&mut self, chunk: &[u8], out: &mut Vec<u8>) {
        let Self { framer, rewriter } = self;
        if rewriter.is_over() {
            return;
        }
        if let Err(fault) = framer.push::<Fault<'static>>(chunk, |frame| rewriter.frame(&frame, out)) {
            self.fail(fault, out);
        }
    }

    /// The provider answered with `body` in whole although a stream was asked for: writes it as one, in place of
    /// [`chunk`](Self::chunk) and [`finish`](Self::finish).
    pub fn whole(&mut self, body: &[u8], out: &mut Vec<u8>) {
        let Rewriter { provider, stages, .. } = &mut self.rewriter;
        match provider.read_response(body) {
            _ if provider.is_error(body) => {
                stages.event(Event::Fault(provider.read_error(FaultKind::Api.status(), body)), out);
            }
            Ok(response) => replay(&response, &mut |event| stages.event(event, out)),
            Err(error) => stages.event(Event::Fault(unreadable(body, &error)), out),
        }
    }

    /// The provider closed the stream: ends it for the client, as complete if it was, as broken if not.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        let Self { framer, rewriter } = self;
        if rewriter.is_over() {
            return;
        }
        // A last event whose closing empty line is missing is whole if it reads as such.
        let _ = framer.push::<Fault<'static>>(b"\n\n", |frame| rewriter.frame(&frame, out));
        rewriter.end(out);
    }

    /// The stream cannot go on: tells the client so, in its format, unless it was over.
    pub fn fail(&mut self, fault: Fault<'_>, out: &mut Vec<u8>) {
        self.rewriter.stages.event(Event::Fault(fault), out);
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

    fn frame(&mut self, frame: &Frame<'_>, out: &mut Vec<u8>) -> Result<(), Fault<'static>> {
        let Self { reader, stages, .. } = self;
        stages.outcome.events += 1;
        if stages.outcome.is_over() {
            return Ok(());
        }
        reader.frame(frame, &mut |event| stages.event(event, out))
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        let Self { reader, stages, .. } = self;
        if !stages.outcome.is_over() {
            reader.end(&mut |event| stages.event(event, out));
        }
        stages.event(Event::Fault(incomplete()), out);
    }
}

impl Stages {
    /// Hands `event` on; nothing comes after the end.
    fn event(&mut self, event: Event<'_>, out: &mut Vec<u8>) {
        if self.outcome.is_over() {
            return;
        }
        let Self { undo, writer, outcome } = self;
        undo.event(event, &mut |event| {
            outcome.note(&event);
            writer.event(&event, out, &mut |field| outcome.note_dropped(field));
        });
    }
}

/// Watches a stream that is passed on byte for byte.
///
/// Usage, stop reason and end are picked up; a frame that cannot hold them is not parsed. Only the beginning of an
/// unfinished event is held back, so that a cut stream can still end in an error that the client understands.
pub struct Watch {
    framer: Framer,
    wire: &'static dyn WireFormat,
    reader: Box<dyn StreamReader>,
    reply: Arc<Reply>,
    outcome: Outcome,
    /// The beginning of an unfinished event, held back.
    held: Vec<u8>,
    /// The stream cannot be read; it is passed on unseen.
    blind: bool,
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
            framer: Framer::new(EVENT_LIMIT),
            wire: wire(format),
            reader: wire(format).stream_reader(),
            reply,
            outcome: Outcome::default(),
            held: Vec::new(),
            blind: false,
        }
    }

    /// Takes `chunk`; returns the bytes that the client shall have now: all whole events, unchanged.
    pub fn chunk(&mut self, chunk: Bytes) -> Bytes {
        if self.blind {
            return chunk;
        }
        let Self { framer, wire, reader, outcome, .. } = self;
        let read = framer.push::<Fault<'static>>(&chunk, |frame: Frame<'_>| {
            outcome.events += 1;
            if !outcome.is_over() && wire.is_telling(&frame) {
                reader.frame(&frame, &mut |event| outcome.note(&event))?;
            }
            Ok(())
        });
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

    /// The provider closed the stream; returns what the client shall have still: the rest of a complete stream, or its
    /// format's own error.
    pub fn finish(&mut self) -> Bytes {
        if self.blind {
            return Bytes::new();
        }
        let Self { framer, wire, reader, outcome, .. } = self;
        let _ = framer.push::<Fault<'static>>(b"\n\n", |frame| {
            if !outcome.is_over() && wire.is_telling(&frame) {
                reader.frame(&frame, &mut |event| outcome.note(&event))?;
            }
            Ok(())
        });
        if !outcome.is_over() {
            reader.end(&mut |event| outcome.note(&event));
        }
        if self.outcome.complete || (self.outcome.fault.is_some() && !self.is_cut()) {
            return Bytes::from(std::mem::take(&mut self.held));
        }
        self.error(incomplete())
    }

    /// The stream cannot go on: what tells the client so, unless it was over.
    pub fn fail(&mut self, fault: Fault<'_>) -> Bytes {
        if self.outcome.is_over() {
            return Bytes::from(std::mem::take(&mut self.held));
        }
        self.outcome.note(&Event::Fault(fault.clone()));
        self.error(fault)
    }

    /// What is known of the stream so far.
    #[must_use]
    pub fn outcome(&self) -> &Outcome {
        &self.outcome
    }

    fn is_cut(&self) -> bool {
        matches!(self.outcome.fault, Some((FaultKind::StreamIncomplete, _)))
    }

    fn error(&mut self, fault: Fault<'_>) -> Bytes {
        self.held.clear();
        if self.outcome.fault.is_none() {
            self.outcome.note(&Event::Fault(fault.clone()));
        }
        let mut out = Vec::new();
        self.wire.stream_writer(Arc::clone(&self.reply)).event(&Event::Fault(fault), &mut out, &mut |_| {});
        Bytes::from(out)
    }

    fn with_held(&mut self, chunk: Bytes) -> Bytes {
        if self.held.is_empty() {
            return chunk;
        }
        let mut whole = std::mem::take(&mut self.held);
        whole.extend_from_slice(&chunk);
        Bytes::from(whole)
    }
}

fn incomplete() -> Fault<'static> {
    Fault::new(FaultKind::StreamIncomplete, "The provider's stream ended before the answer was complete")
        .with_code("stream_incomplete")
}

impl From<FrameError> for Fault<'static> {
    fn from(error: FrameError) -> Self {
        Fault::new(FaultKind::Api, format!("The provider's stream cannot be read: {error}"))
            .with_code("stream_malformed")
    }
}
