//! What the answers of a stream have said, as far as their ends are concerned.

use crate::format::Depth;
use crate::hub::{Event, Flavor, Head, Saying};

/// What each answer of a stream says.
#[derive(Debug, Default)]
pub(crate) struct Sayings {
    /// Answers that said something.
    said: Vec<u32>,
    /// Calls of functions.
    calls: Vec<Call>,
}

#[derive(Debug)]
struct Call {
    block: u32,
    candidate: u32,
    /// How far its arguments are; `None` for free text, which is whole at any place.
    depth: Option<Depth>,
    /// Arguments have come.
    begun: bool,
}

impl Sayings {
    /// Notes what `event` says.
    pub(crate) fn note(&mut self, event: &Event<'_>) {
        match event {
            Event::BlockStart { block, candidate, head } => {
                if head.is_said() && !self.said.contains(candidate) {
                    self.said.push(*candidate);
                }
                if let Head::ToolCall { flavor, .. } = head {
                    let depth = (*flavor == Flavor::Function).then(Depth::default);
                    self.calls.push(Call { block: *block, candidate: *candidate, depth, begun: false });
                }
            }
            Event::ArgumentsDelta { block, fragment } => {
                let call = self.calls.iter_mut().rfind(|call| call.block == *block);
                if let Some(Call { depth: Some(depth), begun, .. }) = call {
                    *begun |= !fragment.is_blank();
                    depth.feed(fragment.escaped());
                }
            }
            _ => {}
        }
    }

    /// What answer `candidate` says.
    pub(crate) fn saying(&self, candidate: u32) -> Saying {
        let mut calls = self.calls.iter().filter(|call| call.candidate == candidate).peekable();
        if calls.peek().is_some() {
            return if calls.any(Call::is_half) { Saying::HalfCalls } else { Saying::Calls };
        }
        if self.said.contains(&candidate) { Saying::Words } else { Saying::Nothing }
    }
}

impl Call {
    fn is_half(&self) -> bool {
        self.begun && self.depth.as_ref().is_some_and(|depth| !depth.is_complete() || depth.is_beyond())
    }
}
