//! Prompt-cache marks: at most four in a request.

use super::arrange::Message;
use super::report::Report;
use super::wire::{LONG_S, is_exact, is_long};
use crate::format::FieldSet;
use crate::hub::{Block, BlockKind, CacheMark, Field, Request, Tool};
use crate::json::JsonError;

/// Most marks that the format takes; it refuses a request with more.
const MOST: usize = 4;

/// A part of the request, in the order in which a cache holds them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Tools,
    Instructions,
    Messages,
}

/// Which marks may stand, and how long they last.
///
/// Too many: the first of the tools go, then the first of the instructions, of each of which the last stays, as it holds
/// what is before it; then the oldest of the conversation, for the latest serve the next request. What is to be kept for an
/// hour must stand before what is kept for minutes, so that a mark before one that lasts an hour lasts as long.
#[derive(Debug, Default)]
pub(super) struct Marks {
    skip: [usize; 3],
    /// Marks that stand and that one of an hour stands behind, or is.
    long: usize,
    /// Marks that were let stand.
    met: usize,
}

impl Marks {
    /// Counts the marks of a request; that of the whole is not sent where only the core fields are taken.
    pub(super) fn count(request: &Request<'_>, messages: &[Message<'_>], fields: FieldSet, is_own: bool) -> Self {
        let tools: Vec<CacheMark> = request.tools.iter().filter_map(mark_of_tool).collect();
        let instructions: Vec<CacheMark> =
            request.instructions.iter().filter(|block| is_said(block)).filter_map(|block| block.cache).collect();
        let blocks = messages.iter().flat_map(|message| &message.pieces).filter_map(super::arrange::Piece::block);
        let mut conversation = Vec::new();
        for block in blocks {
            marks_of_block(block, &mut conversation);
        }
        let whole = request.cache.auto.filter(|_| fields == FieldSet::All);
        let parts = [tools, instructions, conversation];
        let all = parts.iter().map(Vec::len).sum::<usize>() + usize::from(whole.is_some());
        let mut surplus = all.saturating_sub(MOST);
        let skip = [(0, 1), (1, 1), (2, 0)].map(|(part, kept): (usize, usize)| {
            let marks = parts.get(part).map_or(0, Vec::len);
            let skipped = surplus.min(marks.saturating_sub(kept));
            surplus -= skipped;
            skipped
        });
        let standing = parts.iter().zip(skip).flat_map(|(marks, skip)| marks.iter().skip(skip)).chain(&whole);
        // A client of this format knows its order.
        let long = if is_own { None } else { standing.enumerate().filter(|(_, mark)| is_long(**mark)).last() };
        Self { skip, long: long.map_or(0, |(at, _)| at + 1), met: 0 }
    }

    /// The next mark of `part` as it is to be said; `None` if it may not stand.
    pub(super) fn take(
        &mut self,
        part: Part,
        mark: CacheMark,
        at: usize,
        report: &mut Report<'_>,
    ) -> Option<CacheMark> {
        if let Some(skip) = self.skip.get_mut(part as usize).filter(|skip| **skip > 0) {
            *skip -= 1;
            report.dropped(Field::CacheMark, at, "a request has at most 4 cache marks; the latest stay");
            return None;
        }
        self.met += 1;
        if self.met <= self.long && !is_long(mark) {
            report.converted(Field::CacheMark, at, "what stands before a mark of an hour is kept for an hour, too");
            return Some(CacheMark { ttl_s: Some(LONG_S) });
        }
        if !is_exact(mark) {
            report.converted(Field::CacheMark, at, "a cache is kept for 5 minutes or an hour");
        }
        Some(mark)
    }
}

/// A tool's mark; that of a provider's own tool stands in its JSON.
pub(super) fn mark_of_tool(tool: &Tool<'_>) -> Option<CacheMark> {
    match tool {
        Tool::Function { cache, .. } => *cache,
        Tool::Custom { .. } => None,
        Tool::Server { raw, .. } => {
            let mut mark = None;
            // The JSON was read once, so it can be read again.
            let _ = raw.cursor().object::<JsonError>(|key, value| {
                if key == "cache_control" {
                    mark = super::wire::read_cache(value, &mut Vec::new())?;
                }
                Ok(())
            });
            mark
        }
    }
}

/// Empty instructions are left out, and their marks with them.
fn is_said(block: &Block<'_>) -> bool {
    matches!(&block.kind, BlockKind::Text { text, .. } if !text.is_blank())
}

/// Adds the marks of a block in the order in which they are written.
fn marks_of_block(block: &Block<'_>, marks: &mut Vec<CacheMark>) {
    if let BlockKind::ToolResult { content, .. } = &block.kind {
        for inner in content {
            marks_of_block(inner, marks);
        }
    }
    marks.extend(block.cache.filter(|_| carries_mark(&block.kind)));
}

/// True for a block that may be marked; thinking may not.
pub(super) fn carries_mark(kind: &BlockKind<'_>) -> bool {
    !matches!(kind, BlockKind::Thinking { .. } | BlockKind::Redacted)
}
