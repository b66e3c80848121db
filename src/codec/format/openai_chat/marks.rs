//! Prompt-cache breakpoints: at most four in a request, on parts of messages only.
//!
//! A mark on a tool has no place here. Tools stand before the conversation, so it moves to the end of the
//! instructions: what the provider caches then holds the tools too.

use super::report::Report;
use super::write_parts::{is_spoken, operator_says};
use crate::format::Facts;
use crate::hub::{Block, BlockKind, CacheMark, Field, Request, Role, Tool, Turn};
use crate::json::Writer;

/// Most breakpoints that the provider honours in a request.
const MOST: usize = 4;

/// Which marks may stand, counted in the order in which they are written: instructions, then messages.
///
/// Too many: the oldest of the conversation go first, for the latest serve the next request; then the first of the
/// instructions, of which the last always stays.
#[derive(Debug, Default)]
pub(super) struct Marks {
    spelling: Spelling,
    instructions: usize,
    skip_instructions: usize,
    skip_messages: usize,
    /// Marks met so far.
    met: usize,
    /// The mark of the tools, for the last block of the instructions.
    pub from_tools: Option<CacheMark>,
}

/// How a mark is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Spelling {
    /// Not at all: the provider caches by itself.
    #[default]
    None,
    /// `prompt_cache_breakpoint`, the vendor's.
    Breakpoint,
    /// `cache_control`, as the client itself wrote it for a server with the extension.
    Control,
}

impl Marks {
    /// Counts the marks of `request`, and says what becomes of those on tools.
    pub(super) fn plan(request: &Request<'_>, facts: &Facts, report: &mut Report<'_>) -> Self {
        let spelling = match (facts.cache_breakpoints, report.is_own() && facts.compatible_extensions) {
            (true, _) => Spelling::Breakpoint,
            (false, true) => Spelling::Control,
            (false, false) => Spelling::None,
        };
        let mut marks = Self { spelling, ..Self::default() };
        let own = report.is_own();
        let is_said = |block: &&Block<'_>| !is_empty(block) && operator_says(block, own);
        let last = request.instructions.iter().rfind(is_said);
        marks.from_tools = marks.tools(request, last, report);
        let marked = request.instructions.iter().filter(|block| is_said(block) && block.cache.is_some()).count();
        let moved = marks.from_tools.is_some() && last.is_some_and(|block| block.cache.is_none());
        marks.instructions = marked + usize::from(moved);
        // The provider itself keeps the latest of a client that speaks its format.
        if spelling == Spelling::Breakpoint && !report.is_own() {
            let messages: usize = request.turns.iter().map(marks_of_turn).sum();
            let whole = usize::from(request.cache.auto.is_some());
            let surplus = (marks.instructions + messages + whole).saturating_sub(MOST);
            marks.skip_messages = surplus.min(messages);
            marks.skip_instructions = (surplus - marks.skip_messages).min(marks.instructions.saturating_sub(1));
        }
        marks
    }

    /// The one mark that stands for those on tools.
    fn tools(&self, request: &Request<'_>, last: Option<&Block<'_>>, report: &mut Report<'_>) -> Option<CacheMark> {
        let mut moved: Option<CacheMark> = None;
        for tool in &request.tools {
            let Tool::Function { cache: Some(mark), at, .. } = tool else { continue };
            match (self.spelling, last) {
                (Spelling::None, _) => by_itself(*at, report),
                (_, Some(_)) => {
                    report.converted(
                        Field::CacheMark,
                        *at,
                        "a tool carries no cache mark: it stands behind the instructions",
                    );
                    moved = Some(moved.map_or(*mark, |other| other.longer(*mark)));
                }
                (_, None) => report.dropped(
                    Field::CacheMark,
                    *at,
                    "a tool carries no cache mark, and there are no instructions to carry it",
                ),
            }
        }
        moved
    }

    /// What becomes of the next mark: `Some` if it may stand.
    pub(super) fn next(&mut self, cache: Option<CacheMark>, at: usize, report: &mut Report<'_>) -> Option<CacheMark> {
        let mark = cache?;
        if self.spelling == Spelling::None {
            by_itself(at, report);
            return None;
        }
        let stands = self.stands();
        self.met += 1;
        if !stands {
            report.dropped(Field::CacheMark, at, "a request has at most 4 cache marks; the latest stay");
        }
        stands.then_some(mark)
    }

    /// True if the next mark may stand.
    pub(super) fn stands(&self) -> bool {
        self.spelling != Spelling::None
            && match self.met.checked_sub(self.instructions) {
                None => self.met >= self.skip_instructions,
                Some(number) => number >= self.skip_messages,
            }
    }

    /// Writes `mark` as a field of the part that is open.
    pub(super) fn write(&self, mark: CacheMark, at: usize, report: &mut Report<'_>, w: &mut Writer<'_>) {
        if self.spelling == Spelling::Control {
            w.key("cache_control").open_object().key("type").plain("ephemeral");
            match mark.ttl_s {
                Some(ttl) if ttl > 300 => w.key("ttl").plain("1h"),
                Some(_) => w.key("ttl").plain("5m"),
                None => w,
            };
            w.close_object();
            return;
        }
        w.key("prompt_cache_breakpoint").open_object().key("mode").plain("explicit");
        match mark.ttl_s {
            Some(ttl) if ttl > 1800 => {
                w.key("ttl").plain("12h");
            }
            Some(ttl) => {
                w.key("ttl").plain("30m");
                if ttl < 1800 {
                    report.converted(Field::CacheMark, at, "the shortest breakpoint lasts half an hour");
                }
            }
            None => {}
        }
        w.close_object();
    }
}

/// A mark that is not said, because it changes nothing.
pub(super) fn by_itself(at: usize, report: &mut Report<'_>) {
    report.converted(Field::CacheMark, at, "the provider caches prompts by itself");
}

/// Empty text is no part.
pub(super) fn is_empty(block: &Block<'_>) -> bool {
    matches!(&block.kind, BlockKind::Text { text, .. } if text.is_empty())
}

/// The mark behind a tool's result: its own, or that of the words in it.
pub(super) fn mark_of_result(block: &Block<'_>) -> Option<CacheMark> {
    let BlockKind::ToolResult { content, .. } = &block.kind else { return None };
    let inner = content.iter().filter(|inner| is_spoken(inner)).filter_map(|inner| inner.cache);
    block.cache.into_iter().chain(inner).reduce(CacheMark::longer)
}

fn marks_of_turn(turn: &Turn<'_>) -> usize {
    turn.blocks.iter().map(|block| marks_of_block(block, turn.role)).sum()
}

/// Marks of a block that the writer has a part for.
fn marks_of_block(block: &Block<'_>, role: Role) -> usize {
    match (&block.kind, role) {
        (BlockKind::ToolResult { content, .. }, Role::User) => {
            let is_moved = |inner: &&Block<'_>| is_medium(inner) && !is_spoken(inner) && inner.cache.is_some();
            content.iter().filter(is_moved).count() + usize::from(mark_of_result(block).is_some())
        }
        (BlockKind::Text { text, .. }, _) => usize::from(!text.is_empty() && block.cache.is_some()),
        (_, Role::Assistant) => 0,
        (_, Role::System | Role::Developer) => usize::from(is_spoken(block) && block.cache.is_some()),
        _ => usize::from(is_medium(block) && block.cache.is_some()),
    }
}

fn is_medium(block: &Block<'_>) -> bool {
    matches!(
        block.kind,
        BlockKind::Image { .. } | BlockKind::Audio { .. } | BlockKind::Document { .. } | BlockKind::SearchResult { .. }
    )
}
