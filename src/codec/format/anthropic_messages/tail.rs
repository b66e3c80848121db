//! The end of an answer: it is its words.
//!
//! Clients take the last block for what was said. Some providers sign their words behind them, and that signature has a
//! block of its own here, so that it could stand last. It matters only where something follows it.

use super::wire::OWN;
use crate::hub::{Block, BlockKind, Event, Head, Opaque};

/// State without words behind words of a stream, until something follows it.
#[derive(Debug, Default)]
pub(super) struct Tail {
    /// What was said last are words.
    behind_words: bool,
    /// Open blocks of reasoning, whose words are no answer.
    thinking: Vec<u32>,
    held: Vec<Held>,
}

/// A block that waits.
#[derive(Debug)]
struct Held {
    number: u32,
    head: Head<'static>,
    opaque: Vec<Opaque<'static>>,
    stopped: bool,
}

impl Tail {
    /// Takes `event` where it is of a block that may be the last and has no words; `false` for any other.
    pub(super) fn takes(&mut self, event: &Event<'_>) -> bool {
        match event {
            Event::BlockStart { block, candidate: 0, head } => {
                let head = match head {
                    Head::Redacted => Head::Redacted,
                    Head::Thinking(kind) => {
                        self.thinking.push(*block);
                        Head::Thinking(*kind)
                    }
                    Head::Text | Head::Refusal | Head::ToolCall { .. } | Head::ServerTool { .. } => return false,
                };
                if self.behind_words {
                    self.held.push(Held { number: *block, head, opaque: Vec::new(), stopped: false });
                }
                self.behind_words
            }
            Event::Opaque { block, opaque } => {
                self.change(*block, |held| held.opaque.push(opaque.clone().into_owned()))
            }
            Event::BlockStop { block } => {
                self.thinking.retain(|open| open != block);
                self.change(*block, |held| held.stopped = true)
            }
            _ => false,
        }
    }

    fn change(&mut self, number: u32, change: impl FnOnce(&mut Held)) -> bool {
        self.held.iter_mut().find(|held| held.number == number).map(change).is_some()
    }

    /// Gives back what waited, if `event` is something that follows it.
    pub(super) fn release(&mut self, event: &Event<'_>) -> Vec<Event<'static>> {
        let follows = match event {
            Event::BlockStart { candidate: 0, head, .. } => match head {
                Head::ToolCall { .. } => true,
                Head::ServerTool { format, .. } => *format == OWN,
                Head::Text | Head::Refusal | Head::Thinking(_) | Head::Redacted => false,
            },
            Event::TextDelta { text, .. } => !text.is_empty(),
            _ => false,
        };
        if !follows {
            return Vec::new();
        }
        self.behind_words = matches!(event, Event::TextDelta { block, .. } if !self.thinking.contains(block));
        self.all()
    }

    /// What waited when the answer ended: the events of the vendor's own state, which stays where it was; and whether any
    /// other is left out.
    pub(super) fn end(&mut self) -> (Vec<Event<'static>>, bool) {
        let before = self.held.len();
        self.held.retain(|held| held.opaque.first().is_some_and(|opaque| opaque.maker == OWN));
        let lost = self.held.len() < before;
        (self.all(), lost)
    }

    fn all(&mut self) -> Vec<Event<'static>> {
        let mut events = Vec::new();
        for Held { number: block, head, opaque, stopped } in self.held.drain(..) {
            events.push(Event::BlockStart { block, candidate: 0, head });
            events.extend(opaque.into_iter().map(|opaque| Event::Opaque { block, opaque }));
            if stopped {
                events.push(Event::BlockStop { block });
            }
        }
        events
    }
}

/// The place from which on state is left out of a whole answer by the same rule.
pub(super) fn end_of(blocks: &[Block<'_>]) -> usize {
    let mut end = blocks.len();
    for (at, block) in blocks.iter().enumerate().rev() {
        match &block.kind {
            BlockKind::Text { text, .. } | BlockKind::Refusal { text } if !text.is_empty() => return end,
            _ if is_wordless(block) => end = at,
            BlockKind::ToolCall { .. } | BlockKind::Thinking { .. } | BlockKind::Redacted => break,
            // None of them is shown.
            _ => {}
        }
    }
    blocks.len()
}

/// True for another provider's state that has no words.
pub(super) fn is_wordless(block: &Block<'_>) -> bool {
    let own = block.opaque.first().is_some_and(|opaque| opaque.maker == OWN);
    match &block.kind {
        BlockKind::Redacted => !own,
        BlockKind::Thinking { text, .. } => text.is_empty() && !own,
        _ => false,
    }
}
