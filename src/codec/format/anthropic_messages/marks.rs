//! Prompt-cache marks: at most four in a request.

use super::arrange::Message;
use super::report::Report;
use super::wire::is_exact;
use crate::format::FieldSet;
use crate::hub::{Block, BlockKind, CacheMark, Field, Request, Tool};
use crate::json::JsonError;

/// Most marks that the format takes; it refuses a request with more.
const MOST: usize = 4;

/// Which marks may stand.
///
/// Too many: the oldest of the conversation go first, for the latest serve the next request; then the first of tools
/// and instructions, of which the last always stays.
#[derive(Debug, Default)]
pub(super) struct Marks {
    skip_tools_and_system: usize,
    skip_messages: usize,
}

impl Marks {
    /// Counts the marks of a request; that of the whole is not sent where only the core fields are taken.
    pub(super) fn count(request: &Request<'_>, messages: &[Message<'_>], fields: FieldSet) -> Self {
        let tools = request.tools.iter().filter(|tool| mark_of_tool(tool).is_some()).count();
        let system = request.instructions.iter().filter(|block| is_marked(block)).count();
        let blocks = messages.iter().flat_map(|message| &message.pieces).filter_map(super::arrange::Piece::block);
        let in_messages: usize = blocks.map(marks_of_block).sum();
        let stable = tools + system;
        let whole = usize::from(request.cache.auto.is_some() && fields == FieldSet::All);
        let surplus = (stable + in_messages + whole).saturating_sub(MOST);
        let skip_messages = surplus.min(in_messages);
        let skip_tools_and_system = (surplus - skip_messages).min(stable.saturating_sub(1));
        Self { skip_tools_and_system, skip_messages }
    }

    /// True if the next mark of tools and instructions may stand.
    pub(super) fn take_stable(&mut self, mark: CacheMark, at: usize, report: &mut Report<'_>) -> bool {
        let stands = take(&mut self.skip_tools_and_system, at, report);
        if stands && !is_exact(mark) {
            report.converted(Field::CacheMark, at, "a cache is kept for 5 minutes or an hour");
        }
        stands
    }

    /// True if the next mark of the conversation may stand.
    pub(super) fn take_message(&mut self, at: usize, report: &mut Report<'_>) -> bool {
        take(&mut self.skip_messages, at, report)
    }
}

fn take(skip: &mut usize, at: usize, report: &mut Report<'_>) -> bool {
    if *skip == 0 {
        return true;
    }
    *skip -= 1;
    report.dropped(Field::CacheMark, at, "a request has at most 4 cache marks; the latest stay");
    false
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
fn is_marked(block: &Block<'_>) -> bool {
    block.cache.is_some() && matches!(&block.kind, BlockKind::Text { text, .. } if !text.is_blank())
}

fn marks_of_block(block: &Block<'_>) -> usize {
    let inner = match &block.kind {
        BlockKind::ToolResult { content, .. } => content.iter().map(marks_of_block).sum(),
        _ => 0,
    };
    inner + usize::from(block.cache.is_some())
}
