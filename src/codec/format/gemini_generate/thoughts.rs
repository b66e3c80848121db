//! Reasoning of other providers that travels with the call it led to: every client brings its calls back, and many leave
//! out thoughts.

use super::wire::is_own;
use crate::format::ReasoningWish;
use crate::hub::{Block, BlockKind, Opaque};
use crate::json::Text;
use crate::seal::Thought;

/// Most bytes of state and of its words that stand at a call beside where they stood before it.
pub(super) const LIMIT: usize = 1 << 20;

/// Most states at one call: each is looked for in all that was said before it.
pub(super) const MOST: usize = 32;

/// True for a client that gets no words of reasoning.
pub(super) fn hides(wish: ReasoningWish) -> bool {
    matches!(wish, ReasoningWish::Hidden | ReasoningWish::Declined)
}

/// State at a call, or at words, with the reasoning that it is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Carried {
    /// The state.
    pub opaque: Opaque<'static>,
    /// Its words, and where it stood.
    pub thought: Thought,
}

impl Carried {
    /// State of reasoning with `words`, directly before its call.
    pub(super) fn new(opaque: Opaque<'static>, words: String) -> Self {
        Self { opaque, thought: Thought { words, behind: 0 } }
    }
}

/// Other providers' state since the last call that stands somewhere already.
#[derive(Debug, Default)]
pub(super) struct Pending {
    /// With the characters of text before each.
    states: Vec<(Carried, u64)>,
    bytes: usize,
}

impl Pending {
    /// True where there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.states.is_empty()
    }

    /// Notes state, with its words, that stands behind `said` characters of text; `false` where it will not stand at a call.
    pub(super) fn note(&mut self, opaque: &Opaque<'_>, words: &Text<'_>, said: u64) -> bool {
        let bytes = self.bytes + opaque.data.escaped().len() + words.escaped().len();
        if is_own(opaque) || bytes > LIMIT || self.states.len() >= MOST {
            return false;
        }
        self.bytes = bytes;
        self.states.push((Carried::new(opaque.clone().into_owned(), words.plain().into_owned()), said));
        true
    }

    /// What stands at a call that comes behind `said` characters of text.
    pub(super) fn take(&mut self, said: u64) -> Vec<Carried> {
        self.bytes = 0;
        let states = std::mem::take(&mut self.states).into_iter();
        let placed = states.map(|(mut state, before)| {
            state.thought.behind = said.saturating_sub(before);
            state
        });
        placed.collect()
    }
}

/// Puts the reasoning that came with a call, in its order, where it stood in `blocks`, which end before that call: each
/// before so many of the last characters of text. What the client brought back itself is there once.
pub(super) fn put_back<'a>(blocks: &mut Vec<Block<'a>>, mut passengers: Vec<(Block<'a>, u64)>) {
    let is_call = |block: &Block<'_>| matches!(block.kind, BlockKind::ToolCall { .. });
    let begin = blocks.iter().rposition(is_call).map_or(0, |call| call + 1);
    let is_alone = passengers.len() == 1;
    // What came later stands there.
    let mut limit = blocks.len();
    while let Some((mut block, behind)) = passengers.pop() {
        // Of equal ones the first came back themselves.
        let equal = passengers.iter().filter(|(before, _)| before.opaque == block.opaque).count();
        let came = blocks.get(begin..limit).unwrap_or_default().iter().enumerate();
        if let Some((at, _)) = came.filter(|(_, kept)| kept.opaque == block.opaque).skip(equal).last() {
            limit = begin + at;
            continue;
        }
        let at = place(blocks, begin, limit, behind);
        // One that took the place of all that the call had is that of the last thought, wherever that stands.
        if is_alone
            && is_wordless(&block)
            && let Some(thought) = unsigned_before(blocks, begin, limit)
        {
            settle(blocks, thought + 1, block);
            return;
        }
        limit = at - usize::from(take_words(blocks, at, &mut block));
        blocks.insert(limit, block);
    }
}

/// Puts `thought` in at `at`, in the place of what the client kept of it directly before; returns where it stands. A
/// signature alone is that of the words there: some clients move a thought's signature to the part behind it.
pub(super) fn settle<'a>(blocks: &mut Vec<Block<'a>>, at: usize, mut thought: Block<'a>) -> usize {
    if is_wordless(&thought)
        && let Some(before) = at.checked_sub(1)
        && let Some(kept) = blocks.get_mut(before).filter(|kept| is_unsigned(kept))
    {
        kept.opaque.extend(thought.opaque);
        kept.words_at = Some(kept.at);
        kept.at = thought.at;
        return before;
    }
    let at = at - usize::from(take_words(blocks, at, &mut thought));
    blocks.insert(at, thought);
    at
}

/// True for reasoning that is signed and has no words.
pub(super) fn is_wordless(block: &Block<'_>) -> bool {
    matches!(&block.kind, BlockKind::Thinking { text, .. } if text.is_empty()) && !block.opaque.is_empty()
}

/// True for words of reasoning without their state.
fn is_unsigned(block: &Block<'_>) -> bool {
    matches!(&block.kind, BlockKind::Thinking { text, .. } if !text.is_empty()) && block.opaque.is_empty()
}

/// The last of `blocks` from `begin` on, before `end`, that is reasoning without its state.
fn unsigned_before(blocks: &[Block<'_>], begin: usize, end: usize) -> Option<usize> {
    blocks.get(begin..end)?.iter().rposition(is_unsigned).map(|at| begin + at)
}

/// Where `behind` characters of text are left in `blocks` from `begin` on, but not behind `limit`; a text that goes beyond
/// is parted.
fn place(blocks: &mut Vec<Block<'_>>, begin: usize, limit: usize, mut behind: u64) -> usize {
    let mut at = blocks.len();
    while behind > 0 && at > begin {
        at -= 1;
        let Some(Block { kind: BlockKind::Text { text, .. }, .. }) = blocks.get(at) else { continue };
        let points = text.code_points();
        if points > behind && at < limit {
            part(blocks, at, points - behind);
            return at + 1;
        }
        behind = behind.saturating_sub(points);
    }
    at.min(limit)
}

/// Parts the text at `at` behind its first `points` characters; what stands beside it goes with the rest.
fn part(blocks: &mut Vec<Block<'_>>, at: usize, points: u64) {
    let Some(block) = blocks.get_mut(at) else { return };
    let BlockKind::Text { text, .. } = &mut block.kind else { return };
    let plain = text.plain();
    let points = usize::try_from(points).unwrap_or(usize::MAX);
    let cut = plain.char_indices().nth(points).map_or(plain.len(), |(cut, _)| cut);
    let (first, rest) = plain.split_at_checked(cut).unwrap_or((&plain, ""));
    let (first, rest) = (Text::from_plain(first).into_owned(), Text::from_plain(rest).into_owned());
    *text = first;
    let mut rest = Block::text(rest, block.at);
    std::mem::swap(&mut rest.opaque, &mut block.opaque);
    std::mem::swap(&mut rest.extras, &mut block.extras);
    blocks.insert(at + 1, rest);
}

/// Takes the words of `thought` from what the client kept of it before `at`, without its state; true where that was all
/// of its block, which is gone.
fn take_words(blocks: &mut Vec<Block<'_>>, at: usize, thought: &mut Block<'_>) -> bool {
    let BlockKind::Thinking { text: words, .. } = &thought.kind else { return false };
    let before = at.checked_sub(1).and_then(|before| blocks.get_mut(before)).filter(|block| block.opaque.is_empty());
    let Some(Block { kind: BlockKind::Thinking { text, .. }, at: said_at, .. }) = before else { return false };
    if words.is_empty() {
        return false;
    }
    let rest = text.plain().strip_suffix(words.plain().as_ref()).map(|rest| Text::from_plain(rest).into_owned());
    if rest.is_some() {
        thought.words_at = Some(*said_at);
    }
    let is_all = rest.as_ref().is_some_and(Text::is_empty);
    if is_all {
        blocks.remove(at - 1);
    } else if let Some(rest) = rest {
        *text = rest;
    }
    is_all
}
