//! The answer is its words: what state and reasoning stand beside them.
//!
//! Clients take the last block for what was said. Some providers sign their words behind them, and that signature has a
//! block of its own here, so that it could stand last. It matters only where something follows it.
//!
//! Clients that asked for no thinking take the first block for what was said as well. What they did not ask for stands
//! before a call only, where it must come back.

use super::wire::OWN;
use crate::Format;
use crate::format::ReasoningWish;
use crate::hub::{Block, BlockKind, Event, Head, Opaque, ThinkingKind};
use crate::json::Text;

/// Reasoning of a stream, until something follows it that it must stand before.
#[derive(Debug)]
pub(super) struct Tail {
    wish: ReasoningWish,
    /// What was said last are words.
    behind_words: bool,
    /// Open blocks of reasoning, whose words are no answer.
    thinking: Vec<u32>,
    held: Vec<Held>,
    bytes: usize,
}

/// A block that waits.
#[derive(Debug)]
struct Held {
    number: u32,
    head: Head<'static>,
    /// Its words so far, escaped.
    words: String,
    opaque: Vec<Opaque<'static>>,
    stopped: bool,
}

impl Held {
    /// About how many bytes it takes; each block costs something even if it is empty.
    fn bytes(&self) -> usize {
        size_of::<Self>() + self.words.len() + self.opaque.iter().map(cost).sum::<usize>()
    }

    fn has_state(&self) -> bool {
        matches!(self.head, Head::Redacted) || !self.opaque.is_empty()
    }

    fn say(self, events: &mut Vec<Event<'static>>) {
        let Self { number: block, head, words, opaque, stopped } = self;
        events.push(Event::BlockStart { block, candidate: 0, head });
        if !words.is_empty() {
            events.push(Event::TextDelta { block, text: Text::from_escaped(words) });
        }
        events.extend(opaque.into_iter().map(|opaque| Event::Opaque { block, opaque }));
        events.extend(stopped.then_some(Event::BlockStop { block }));
    }
}

fn cost(opaque: &Opaque<'_>) -> usize {
    size_of::<Opaque<'_>>() + opaque.data.escaped().len()
}

impl Tail {
    /// For a client with this wish.
    pub(super) fn new(wish: ReasoningWish) -> Self {
        Self { wish, behind_words: false, thinking: Vec::new(), held: Vec::new(), bytes: 0 }
    }

    /// About how many bytes wait.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes `event` where it is of a block that waits; `false` for any other.
    pub(super) fn takes(&mut self, event: &Event<'_>) -> bool {
        match event {
            Event::TextDelta { block, text } => for_calls(self.wish) && self.words(*block, text),
            Event::BlockStart { block, candidate: 0, head } => self.begin(*block, head),
            Event::Opaque { block, opaque } => self.sign(*block, opaque),
            Event::BlockStop { block } => {
                self.thinking.retain(|open| open != block);
                self.find(*block).map(|held| held.stopped = true).is_some()
            }
            _ => false,
        }
    }

    fn begin(&mut self, number: u32, head: &Head<'_>) -> bool {
        let head = match head {
            Head::Redacted => Head::Redacted,
            Head::Thinking(kind) => {
                self.thinking.push(number);
                Head::Thinking(*kind)
            }
            Head::Text | Head::Refusal | Head::ToolCall { .. } | Head::ServerTool { .. } => return false,
        };
        let waits = self.behind_words || for_calls(self.wish);
        if waits {
            self.hold(number, head);
        }
        waits
    }

    fn hold(&mut self, number: u32, head: Head<'static>) {
        let held = Held { number, head, words: String::new(), opaque: Vec::new(), stopped: false };
        self.bytes += held.bytes();
        self.held.push(held);
    }

    fn find(&mut self, number: u32) -> Option<&mut Held> {
        self.held.iter_mut().find(|held| held.number == number)
    }

    /// Holds reasoning again that goes on behind the call that released it.
    fn hold_again(&mut self, number: u32) {
        if for_calls(self.wish) && self.thinking.contains(&number) && self.find(number).is_none() {
            self.hold(number, Head::Thinking(ThinkingKind::Raw));
        }
    }

    /// Keeps words of reasoning that nobody asked for.
    fn words(&mut self, number: u32, text: &Text<'_>) -> bool {
        if text.is_empty() || !self.thinking.contains(&number) {
            return false;
        }
        self.hold_again(number);
        self.bytes += text.escaped().len();
        self.find(number).map(|held| held.words.push_str(text.escaped())).is_some()
    }

    fn sign(&mut self, number: u32, opaque: &Opaque<'_>) -> bool {
        let is_own = opaque.maker == OWN;
        if !is_own {
            self.hold_again(number);
        }
        let stays = is_own && for_calls(self.wish);
        // What it begins with says whose it is.
        let Some(held) = self.find(number).filter(|held| !stays || !held.opaque.is_empty()) else { return false };
        held.opaque.push(opaque.clone().into_owned());
        self.bytes += cost(opaque);
        true
    }

    /// Gives back what waited, if `event` is something that it waited for.
    pub(super) fn release(&mut self, event: &Event<'_>) -> Vec<Event<'static>> {
        match event {
            Event::BlockStart { candidate: 0, head, .. } if is_called(head) => {
                self.behind_words = false;
                self.all()
            }
            Event::TextDelta { block, text } if !text.is_empty() => {
                let thinks = self.thinking.contains(block);
                match (for_calls(self.wish), thinks) {
                    (true, true) => self.one(*block),
                    (true, false) => Vec::new(),
                    (false, _) => {
                        self.behind_words = !thinks;
                        self.all()
                    }
                }
            }
            // The vendor's own state stays where it was.
            Event::Opaque { block, .. } => self.one(*block),
            _ => Vec::new(),
        }
    }

    /// What waited when the answer ended: the events of the vendor's own state, which stays where it was; and whether any
    /// other is left out.
    pub(super) fn end(&mut self) -> (Vec<Event<'static>>, bool) {
        let mut lost = false;
        self.held.retain(|held| {
            let own = held.opaque.first().is_some_and(|opaque| opaque.maker == OWN);
            lost |= !own && held.has_state();
            own
        });
        (self.all(), lost)
    }

    fn one(&mut self, number: u32) -> Vec<Event<'static>> {
        let mut events = Vec::new();
        if let Some(at) = self.held.iter().position(|held| held.number == number) {
            let held = self.held.remove(at);
            self.bytes = self.bytes.saturating_sub(held.bytes());
            held.say(&mut events);
        }
        events
    }

    fn all(&mut self) -> Vec<Event<'static>> {
        let mut events = Vec::new();
        self.bytes = 0;
        self.held.drain(..).for_each(|held| held.say(&mut events));
        events
    }
}

/// True where reasoning waits for a call, whatever else is said: nobody asked for any.
fn for_calls(wish: ReasoningWish) -> bool {
    matches!(wish, ReasoningWish::Unasked | ReasoningWish::Declined)
}

/// True for what reasoning must stand before: calls, and the vendor's own tools.
fn is_called(head: &Head<'_>) -> bool {
    match head {
        Head::ToolCall { .. } => true,
        Head::ServerTool { format, .. } => *format == OWN,
        Head::Text | Head::Refusal | Head::Thinking(_) | Head::Redacted => false,
    }
}

/// The blocks of a whole answer of `format` in the order in which they are written, and those that are left out, by the
/// same rules.
pub(super) fn arranged<'b, 'a>(
    blocks: &'b [Block<'a>],
    wish: ReasoningWish,
    format: Format,
) -> (Vec<&'b Block<'a>>, Vec<&'b Block<'a>>) {
    let (mut written, mut held) = (Vec::with_capacity(blocks.len()), Vec::new());
    let end = if for_calls(wish) { 0 } else { end_of(blocks) };
    for (at, block) in blocks.iter().enumerate() {
        if at >= end && (is_wordless(block) || is_unasked(block, wish)) {
            held.push(block);
            continue;
        }
        let is_server_tool = matches!(block.kind, BlockKind::ServerTool { .. }) && format == OWN;
        if is_server_tool || matches!(block.kind, BlockKind::ToolCall { .. }) {
            written.append(&mut held);
        }
        written.push(block);
    }
    (written, held)
}

/// True for a block that is a loss where it is left out.
pub(super) fn has_state(block: &Block<'_>) -> bool {
    matches!(block.kind, BlockKind::Redacted) || !block.opaque.is_empty()
}

/// The place from which on state is left out of a whole answer because its words are over.
fn end_of(blocks: &[Block<'_>]) -> usize {
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
fn is_wordless(block: &Block<'_>) -> bool {
    match &block.kind {
        BlockKind::Redacted => !is_own(block),
        BlockKind::Thinking { text, .. } => text.is_empty() && !is_own(block),
        _ => false,
    }
}

/// True for another provider's reasoning that nobody asked for.
fn is_unasked(block: &Block<'_>, wish: ReasoningWish) -> bool {
    for_calls(wish) && matches!(block.kind, BlockKind::Thinking { .. }) && !is_own(block)
}

fn is_own(block: &Block<'_>) -> bool {
    block.opaque.first().is_some_and(|opaque| opaque.maker == OWN)
}
