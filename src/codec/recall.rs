//! What a client does not bring back: reasoning, and items that it only refers to.
//!
//! Providers want the reasoning that led to a tool call back with the call's result. Most clients of Chat Completions have
//! no place for it: they keep the words at best, and never the signature. What an answer that calls tools thought is kept
//! by the id of its first call, and put back where a later request holds that call and nothing that was signed.

use std::fmt;
use std::sync::Arc;

use crate::Format;
use crate::hub::ids::portable;
use crate::hub::{
    Block, BlockKind, Event, Field, Head, Losses, Opaque, OpaqueKind, Place as Spot, Request, Role, ThinkingKind, Turn,
};
use crate::json::Text;

mod mark;

use mark::Mark;

/// Bytes of one answer's reasoning that are kept; of a longer one nothing is.
const MOST: usize = 1 << 20;

/// What one piece of reasoning takes beside its bytes.
const PIECE: usize = 128;

/// Where parts of answers are kept. Whoever implements it decides for whom, how much and how long.
pub trait Recall: Send + Sync + fmt::Debug {
    /// Keeps the `thoughts` of an answer by its name, which tells of the conversation and of its first call. It is told
    /// where there are none, too: some servers give an id again and again, and what was thought before another call must not
    /// come back with this one.
    fn keep(&self, answer: &str, thoughts: Option<Thoughts>);

    /// What was kept of the answer of this name.
    fn recall(&self, answer: &str) -> Option<Arc<Thoughts>>;

    /// Keeps an item of an answer, as JSON, which the client may refer to by its id.
    fn keep_item(&self, id: &str, item: &str);

    /// The item of this id, if it was kept.
    fn item(&self, id: &str) -> Option<Arc<str>>;
}

/// The reasoning of one answer that calls tools.
#[derive(Debug, PartialEq, Eq)]
pub struct Thoughts {
    provider: Format,
    pieces: Vec<Piece>,
}

#[derive(Debug, PartialEq, Eq)]
struct Piece {
    place: Place,
    /// `None` for what only its maker can read.
    kind: Option<ThinkingKind>,
    words: String,
    opaque: Vec<Opaque<'static>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Before anything was said.
    First,
    /// Behind words, before the call of this number.
    Before(usize),
}

impl Thoughts {
    /// Those of an answer of `provider`, of which nothing is known yet.
    #[must_use]
    pub fn new(provider: Format) -> Self {
        Self { provider, pieces: Vec::new() }
    }

    /// Bytes that they take in memory.
    #[must_use]
    pub fn size(&self) -> usize {
        self.pieces.iter().map(Piece::size).sum()
    }

    /// True where the thoughts of `turn` hold all that only their maker could have made of these, and nothing else of the kind.
    fn are_in(&self, turn: &Turn<'_>) -> bool {
        if turn.blocks.iter().any(|block| !is_thought(block) && is_signed(&block.opaque)) {
            return false;
        }
        let mut kept: Vec<_> = self.pieces.iter().flat_map(|piece| signed(&piece.opaque)).collect();
        let mut held: Vec<_> = turn.blocks.iter().flat_map(|block| signed(&block.opaque)).collect();
        kept.sort_unstable();
        held.sort_unstable();
        kept == held
    }

    fn is_signed(&self) -> bool {
        self.pieces.iter().any(|piece| is_signed(&piece.opaque))
    }
}

impl Piece {
    fn size(&self) -> usize {
        PIECE + self.words.len() + self.opaque.iter().map(|opaque| PIECE + opaque.data.escaped().len()).sum::<usize>()
    }

    fn block(&self, at: usize) -> Block<'static> {
        let kind = match self.kind {
            Some(kind) => BlockKind::Thinking { text: Text::from_escaped(self.words.clone()), kind },
            None => BlockKind::Redacted,
        };
        Block { opaque: self.opaque.clone(), ..Block::new(kind, at) }
    }
}

/// The name of the answer with this first call, behind a conversation of this `mark`: some models refuse thoughts behind
/// another.
fn name_of(mark: u64, call: &str) -> String {
    format!("{mark:x}/{call}")
}

/// What only its maker could have made.
fn signed<'o>(opaque: &'o [Opaque<'_>]) -> impl Iterator<Item = &'o str> {
    opaque.iter().filter(|opaque| opaque.kind != OpaqueKind::Unsigned).map(|opaque| opaque.data.escaped())
}

/// True where there is any of that.
fn is_signed(opaque: &[Opaque<'_>]) -> bool {
    signed(opaque).next().is_some()
}

/// Hears an answer and keeps what it thought.
pub(crate) struct Listener {
    recall: Arc<dyn Recall>,
    mark: u64,
    thoughts: Thoughts,
    /// Blocks that hold reasoning, and which piece each is.
    blocks: Vec<(u32, usize)>,
    first_call: Option<String>,
    calls: usize,
    said: bool,
    size: usize,
}

impl Listener {
    /// For an answer of `provider`.
    pub(crate) fn new(recall: &Arc<dyn Recall>, provider: Format, mark: u64) -> Self {
        Self {
            recall: Arc::clone(recall),
            mark,
            thoughts: Thoughts::new(provider),
            blocks: Vec::new(),
            first_call: None,
            calls: 0,
            said: false,
            size: 0,
        }
    }

    /// Notes `event`, of an answer as its client is told it. Of several answers the first one is heard.
    pub(crate) fn note(&mut self, event: &Event<'_>) {
        match event {
            Event::BlockStart { block, candidate: 0, head } => self.begins(*block, head),
            Event::TextDelta { block, text } => {
                self.grow(*block, text.escaped().len(), |piece| piece.words.push_str(text.escaped()));
            }
            Event::Opaque { block, opaque } => {
                self.grow(*block, PIECE + opaque.data.escaped().len(), |piece| {
                    piece.opaque.push(opaque.clone().into_owned());
                });
            }
            Event::End => self.ends(),
            _ => {}
        }
    }

    fn begins(&mut self, block: u32, head: &Head<'_>) {
        let kind = match head {
            Head::Thinking(kind) => Some(*kind),
            Head::Redacted => None,
            Head::ToolCall { id, .. } => {
                // As its client is told it.
                self.first_call.get_or_insert_with(|| portable(id).into_owned());
                self.calls += 1;
                self.said = true;
                return;
            }
            Head::Text | Head::Refusal => {
                self.said = true;
                return;
            }
            Head::ServerTool { .. } => return,
        };
        let place = if self.said { Place::Before(self.calls) } else { Place::First };
        if self.has_room(PIECE) {
            self.blocks.push((block, self.thoughts.pieces.len()));
            self.thoughts.pieces.push(Piece { place, kind, words: String::new(), opaque: Vec::new() });
        }
    }

    /// Takes so many bytes; false once there are more than are kept: then nothing is.
    fn has_room(&mut self, bytes: usize) -> bool {
        self.size = self.size.saturating_add(bytes);
        if self.size > MOST {
            (self.blocks, self.thoughts.pieces) = (Vec::new(), Vec::new());
        }
        self.size <= MOST
    }

    fn grow(&mut self, block: u32, bytes: usize, add: impl FnOnce(&mut Piece)) {
        let Some((_, piece)) = self.blocks.iter().rfind(|(number, _)| *number == block).copied() else { return };
        if self.has_room(bytes)
            && let Some(piece) = self.thoughts.pieces.get_mut(piece)
        {
            add(piece);
        }
    }

    fn ends(&mut self) {
        let rest = Thoughts::new(self.thoughts.provider);
        let mut thoughts = std::mem::replace(&mut self.thoughts, rest);
        if let Some(call) = self.first_call.take().filter(|call| !call.is_empty()) {
            thoughts.pieces.iter_mut().for_each(|piece| piece.words.shrink_to_fit());
            let thoughts = Some(thoughts).filter(|thoughts| !thoughts.pieces.is_empty());
            self.recall.keep(&name_of(self.mark, &call), thoughts);
        }
    }
}

/// Puts back what the turns of `request` that call tools had thought, as far as it is known, and the request, which goes
/// to a provider of the format `to`, does not hold it itself. The conversation before must be what it was then, with all
/// that was thought in it.
pub(crate) fn restore(
    request: &mut Request<'_>,
    (from, body): (Format, &[u8]),
    to: Format,
    recall: &dyn Recall,
) -> Restored {
    let mut restored = Restored::default();
    let mut mark = Mark::of(from, body, to);
    mark.instructed(&request.instructions);
    for turn in &mut request.turns {
        let before = mark.number();
        mark.said(turn);
        let Some(call) = first_call(turn) else { continue };
        let signed = turn.blocks.iter().any(|block| is_signed(&block.opaque));
        // What the client brought stays as it brought it, but for messages that have one place for all thoughts.
        let kept = if signed && from != Format::OpenaiChat { None } else { recall.recall(&name_of(before, &call)) };
        match kept.filter(|thoughts| thoughts.provider == to) {
            Some(thoughts) if !signed || thoughts.are_in(turn) => {
                put_back(turn, &thoughts);
                restored.turns.push(turn.at);
            }
            None if !signed => continue,
            Some(_) | None => {}
        }
        mark.thought(&call);
    }
    restored.mark = Some(mark.number());
    restored
}

/// The id of the first call in an answer.
fn first_call(turn: &Turn<'_>) -> Option<String> {
    let id = |block: &Block<'_>| match &block.kind {
        BlockKind::ToolCall { id, .. } => Some(portable(id).into_owned()),
        _ => None,
    };
    turn.blocks.iter().find_map(id).filter(|_| turn.role == Role::Assistant)
}

/// What was put back into a request.
#[derive(Debug, Default)]
pub(crate) struct Restored {
    /// Of the conversation as of now, for what is kept of its answer; `None` where it has none.
    pub(crate) mark: Option<u64>,
    /// Where the turns stand that hold again what was thought.
    turns: Vec<usize>,
}

impl Restored {
    /// Leaves out of `losses` what the client did not send: that the target does not take it is no loss to it.
    pub(crate) fn forgive(&self, losses: &mut Losses) {
        if !self.turns.is_empty() {
            losses.retain(|loss| {
                let thought = matches!(loss.field, Field::Thinking | Field::OpaqueState);
                !thought || !self.turns.iter().any(|at| loss.place == Spot::Offset(*at))
            });
        }
    }
}

fn is_thought(block: &Block<'_>) -> bool {
    matches!(block.kind, BlockKind::Thinking { .. } | BlockKind::Redacted)
}

fn put_back(turn: &mut Turn<'_>, thoughts: &Thoughts) {
    if !thoughts.is_signed() && turn.blocks.iter().any(is_thought) {
        // They are its own: where it has no use for them, nothing is lost.
        let at = turn.at;
        turn.blocks.iter_mut().filter(|block| is_thought(block)).for_each(|block| block.at = at);
        return;
    }
    // Words that the client did keep are those of what was signed.
    turn.blocks.retain(|block| !is_thought(block));
    let at = turn.at;
    let here =
        |place: Place| thoughts.pieces.iter().filter(move |piece| piece.place == place).map(move |p| p.block(at));
    let mut blocks: Vec<_> = here(Place::First).collect();
    let mut calls = 0;
    for block in turn.blocks.drain(..) {
        if matches!(block.kind, BlockKind::ToolCall { .. }) {
            blocks.extend(here(Place::Before(calls)));
            calls += 1;
        }
        blocks.push(block);
    }
    turn.blocks = blocks;
}

#[cfg(test)]
mod tests;
