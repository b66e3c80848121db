//! What became of an answer: kept while it passes, read when it is over.

use crate::hub::{Event, Fault, FaultKind, Field, Usage};

/// What is known of an answer once it is over (or so far).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// What it cost, as the provider reported it last.
    pub usage: Option<Usage>,
    /// Why it ended, as a bounded label.
    pub stop: Option<&'static str>,
    /// The provider said that it was complete.
    pub complete: bool,
    /// What went wrong in the middle.
    pub fault: Option<(FaultKind, String)>,
    /// Events read.
    pub events: u64,
    /// Pieces of text, thinking or arguments among them.
    pub deltas: u64,
    /// What could not be carried into the client's format; each class once.
    pub dropped: Vec<Field>,
}

impl Outcome {
    /// True when nothing more can come.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.complete || self.fault.is_some()
    }

    /// Notes a class of things that could not be carried.
    pub fn note_dropped(&mut self, field: Field) {
        if !self.dropped.contains(&field) {
            self.dropped.push(field);
        }
    }

    /// Notes what `event` says.
    pub fn note(&mut self, event: &Event<'_>) {
        match event {
            Event::Usage(usage) => self.usage = Some(usage.clone()),
            Event::Stop { stop, .. } => self.stop = Some(stop.label()),
            Event::TextDelta { .. } | Event::ArgumentsDelta { .. } => self.deltas += 1,
            Event::Dropped { field } => self.note_dropped(*field),
            Event::Fault(Fault { kind, message, .. }) => self.fault = Some((*kind, message.clone().into_owned())),
            Event::End => self.complete = true,
            Event::Start { .. }
            | Event::BlockStart { .. }
            | Event::Opaque { .. }
            | Event::Citation { .. }
            | Event::Logprobs { .. }
            | Event::BlockStop { .. }
            | Event::Tier { .. }
            | Event::Apart { .. }
            | Event::Ping => {}
        }
    }
}
