//! A stream for a client that asked for a whole answer.

use crate::Format;
use crate::format::{Reply, StreamReader, Undo, wire};
use crate::frame::sse::{EVENT_LIMIT, Framer};
use crate::hub::{Event, Fault, FaultKind, Losses};
use crate::outcome::Outcome;
use crate::reshape::{Collector, replay};
use crate::translate::{TranslatedResponse, listener, settle};
use crate::undo::UndoStage;

/// Longest stream that is gathered, in bytes.
const LIMIT: usize = 64 << 20;

/// Gathers a provider's stream to the whole answer that its client wants.
pub struct Gatherer {
    framer: Framer,
    reader: Box<dyn StreamReader>,
    provider: Format,
    stages: Stages,
    bytes: usize,
}

/// What stands behind the reader.
struct Stages {
    undo: UndoStage,
    collector: Collector,
    outcome: Outcome,
    fault: Option<Fault<'static>>,
}

impl std::fmt::Debug for Gatherer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gatherer").field("outcome", &self.stages.outcome).finish_non_exhaustive()
    }
}

impl Gatherer {
    /// For a stream of `provider`.
    #[must_use]
    pub fn new(provider: Format, undo: Undo) -> Self {
        Self {
            framer: Framer::new(EVENT_LIMIT),
            reader: wire(provider).stream_reader(),
            provider,
            stages: Stages {
                undo: UndoStage::new(undo),
                collector: Collector::default(),
                outcome: Outcome::default(),
                fault: None,
            },
            bytes: 0,
        }
    }

    /// Takes the stream's next bytes, cut anywhere.
    ///
    /// # Errors
    ///
    /// The stream is longer than 64 MiB, cannot be read, or tells of a failure; nothing more may be given then.
    pub fn chunk(&mut self, chunk: &[u8]) -> Result<(), Fault<'static>> {
        self.bytes = self.bytes.saturating_add(chunk.len());
        if self.bytes > LIMIT {
            let message = format!("The provider's stream is longer than {LIMIT} bytes, which is too long to gather");
            return Err(malformed(message));
        }
        self.read(chunk)
    }

    fn read(&mut self, chunk: &[u8]) -> Result<(), Fault<'static>> {
        let Self { framer, reader, stages, .. } = self;
        framer.push::<Fault<'static>>(chunk, |frame| {
            stages.outcome.events += 1;
            if !stages.outcome.is_over() {
                reader.frame(&frame, &mut |event| stages.event(event))?;
            }
            Ok(())
        })?;
        self.stages.fault.take().map_or(Ok(()), Err)
    }

    /// The provider closed the stream: the answer, for a client of `client`.
    ///
    /// # Errors
    ///
    /// The fault that the client shall be told: the stream broke off, failed, or is an answer that the client's format
    /// says as an error.
    pub fn finish(mut self, client: Format, reply: &Reply) -> Result<TranslatedResponse, Fault<'static>> {
        // A last event whose closing empty line is missing is whole if it reads as such.
        self.read(b"\n\n")?;
        let Self { mut reader, mut stages, provider, .. } = self;
        if !stages.outcome.is_over() {
            reader.end(&mut |event| stages.event(event));
        }
        if let Some(fault) = stages.fault {
            return Err(fault);
        }
        if !stages.outcome.complete {
            return Err(malformed("The provider's stream ended before the answer was complete".to_owned()));
        }
        let mut response = stages.collector.finish(provider);
        let mut losses = Losses::default();
        for candidate in &mut response.candidates {
            settle(candidate, provider != client, &mut losses);
        }
        if let Some(mut listener) = listener(provider, client, reply) {
            replay(&response, &mut |event| listener.note(&event));
        }
        let body = wire(client).write_response(&response, reply, &mut losses)?;
        // What was lost stood in events, which have no place in a document.
        losses.resolve(b"");
        let mut outcome = stages.outcome;
        for loss in losses.iter() {
            outcome.note_dropped(loss.field);
        }
        Ok(TranslatedResponse { body, losses, outcome })
    }
}

impl Stages {
    fn event(&mut self, event: Event<'_>) {
        let Self { undo, collector, outcome, fault } = self;
        undo.event(event, &mut |event| {
            if outcome.is_over() {
                return;
            }
            outcome.note(&event);
            if let Event::Fault(told) = &event {
                *fault = Some(told.clone().into_owned());
            }
            collector.event(&event);
        });
    }
}

fn malformed(message: String) -> Fault<'static> {
    let mut fault = Fault::new(FaultKind::Api, message);
    fault.status = 502;
    fault.with_code("upstream_malformed")
}
