//! The conversation in the order that the format demands.
//!
//! User first, then in turns; results right behind their calls and before words; an operator's message in the middle
//! only where it is legal. What is already in a history is never moved to another message, so that the translation
//! of a longer history begins with that of the shorter one.

use super::report::Report;
use super::wire::OWN;
use crate::hub::ids::Distinct;
use crate::hub::waiting::Waiting;
use crate::hub::{Action, Block, BlockKind, Extra, Field, OpaqueKind, Refusal, Role, Turn};
use crate::json::Text;

/// One message of the target.
#[derive(Debug)]
pub(super) struct Message<'r> {
    /// `User`, `Assistant` or `System`.
    pub role: Role,
    /// What it says.
    pub pieces: Vec<Piece<'r>>,
    /// Fields of this format's own messages.
    pub extras: Vec<&'r Extra<'r>>,
    at: usize,
}

/// One block of the target.
#[derive(Debug)]
pub(super) enum Piece<'r> {
    /// A block as it is.
    Block(&'r Block<'r>),
    /// A call or a result, with the id that both are sent with.
    Linked(&'r Block<'r>, String),
    /// The last words of the assistant's unfinished turn, without the white space at their end.
    Trimmed(&'r Block<'r>, Text<'r>),
    /// Words of the operator, said in a user's message.
    Operator(&'r Block<'r>),
    /// Words of ours.
    Fixed(&'static str),
}

impl<'r> Piece<'r> {
    /// The block that it comes from.
    pub(super) fn block(&self) -> Option<&'r Block<'r>> {
        match self {
            Self::Block(block) | Self::Linked(block, _) | Self::Trimmed(block, _) | Self::Operator(block) => {
                Some(block)
            }
            Self::Fixed(_) => None,
        }
    }

    fn is_result(&self) -> bool {
        self.block().is_some_and(|block| matches!(block.kind, BlockKind::ToolResult { .. }))
    }
}

/// What the target allows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Allowed {
    /// `role: "system"` in the middle.
    pub mid_system: bool,
    /// An unfinished assistant turn at the end.
    pub prefill: bool,
    /// The dialect of version 2026-10-21.
    pub strict: bool,
}

/// Arranges `turns`.
pub(super) fn arrange<'r>(
    turns: &'r [Turn<'r>],
    allowed: Allowed,
    report: &mut Report<'_>,
) -> Result<Vec<Message<'r>>, Refusal> {
    let messages = turns.iter().filter_map(|turn| message(turn, allowed, report)).collect();
    let messages = place_operators(merge(messages), report);
    let mut messages = begin_with_user(merge(messages), report);
    link_tools(&mut messages)?;
    fill_empty(&mut messages, report);
    end_unfinished(&mut messages, allowed, report)?;
    Ok(messages)
}

/// One turn, without what cannot be said; `None` if nothing of an assistant's or operator's turn is left.
fn message<'r>(turn: &'r Turn<'r>, allowed: Allowed, report: &mut Report<'_>) -> Option<Message<'r>> {
    if turn.name.is_some() {
        report.dropped(Field::TurnName, turn.at, "a message names no speaker");
    }
    report.extras(&turn.extras);
    let extras = if report.keeps() { turn.extras.iter().collect() } else { Vec::new() };
    let is_operator = matches!(turn.role, Role::System | Role::Developer);
    let mut pieces = Vec::with_capacity(turn.blocks.len());
    for block in &turn.blocks {
        let fits = if is_operator { is_words(block, report) } else { fits(block, turn.role, allowed, report) };
        if fits {
            pieces.push(Piece::Block(block));
        } else if block.cache.is_some() {
            report.dropped(Field::CacheMark, block.at, "its block is left out");
        }
    }
    let says = turn.role == Role::User || !pieces.is_empty();
    if !(says || is_operator && sets(&extras)) {
        return None;
    }
    let role = if is_operator { Role::System } else { turn.role };
    let message = Message { role, pieces, extras, at: turn.at };
    Some(if is_operator && says && !allowed.mid_system { said_by_user(message, report) } else { message })
}

/// True for a message that says how much is to be thought from there on, which is for its vendor's models to read.
fn sets(extras: &[&Extra<'_>]) -> bool {
    extras.iter().any(|extra| extra.key == "output_config")
}

/// True for words of the operator that can be said.
fn is_words(block: &Block<'_>, report: &mut Report<'_>) -> bool {
    match &block.kind {
        BlockKind::Text { text, .. } | BlockKind::Refusal { text } => !text.is_blank(),
        _ => {
            report.dropped(Field::Instructions, block.at, "instructions are words only");
            false
        }
    }
}

/// True when the block can stand in a message of `role`; reports it if not.
fn fits(block: &Block<'_>, role: Role, allowed: Allowed, report: &mut Report<'_>) -> bool {
    let is_assistant = role == Role::Assistant;
    let own = |report: &Report<'_>| report.is_own();
    let (fits, field, reason) = match &block.kind {
        BlockKind::Text { text, .. } | BlockKind::Refusal { text } if text.is_empty() => return false,
        BlockKind::Text { text, .. } | BlockKind::Refusal { text } => {
            (!text.is_blank(), Field::Text, "text of white space only is refused")
        }
        BlockKind::Thinking { .. } => (
            is_assistant && has_own(block, OpaqueKind::ThinkingSignature),
            Field::Thinking,
            "thinking without a signature of this provider is refused",
        ),
        BlockKind::Redacted => (
            is_assistant && has_own(block, OpaqueKind::RedactedData),
            Field::OpaqueState,
            "only its maker can read this reasoning",
        ),
        BlockKind::Image { .. } => (!is_assistant, Field::Image, "the assistant's messages hold no images"),
        BlockKind::Document { .. } => (
            !is_assistant || !allowed.strict,
            Field::Document,
            "the assistant's messages hold no documents since version 2026-10-21",
        ),
        BlockKind::Audio { .. } => (false, Field::Audio, "messages hold no sound"),
        BlockKind::ToolCall { .. } => (is_assistant, Field::ToolCall, "only the assistant calls tools"),
        BlockKind::ToolResult { .. } => (!is_assistant, Field::ToolResult, "results are the user's"),
        BlockKind::SearchResult { .. } => (own(report), Field::SearchResult, "a search result of another format"),
        BlockKind::ServerTool { .. } => (own(report), Field::ServerTool, "a tool call of another provider's own"),
        BlockKind::Reference { .. } => (own(report), Field::Unknown, "a reference into another provider's store"),
        BlockKind::Unknown { format, .. } => (*format == OWN, Field::Unknown, "a block that no rule knows"),
    };
    if !fits {
        report.dropped(field, block.words_at.unwrap_or(block.at), reason);
        // State that stood apart from its words is lost at a place of its own.
        if field == Field::Thinking && block.words_at.is_some() {
            report.dropped(Field::OpaqueState, block.at, "only its maker can read this state");
        }
    }
    fits
}

/// True when the block has state of `kind` that this format's provider made.
pub(super) fn has_own(block: &Block<'_>, kind: OpaqueKind) -> bool {
    block.opaque.iter().any(|opaque| opaque.maker == OWN && opaque.kind == kind)
}

/// Joins neighbours of the same role, as the server itself would.
fn merge<'r>(messages: Vec<Message<'r>>) -> Vec<Message<'r>> {
    let mut merged: Vec<Message<'r>> = Vec::with_capacity(messages.len());
    for message in messages {
        match merged.last_mut() {
            Some(last) if last.role == message.role => {
                last.pieces.extend(message.pieces);
                let known: Vec<_> = last.extras.iter().map(|extra| &extra.key).collect();
                let new: Vec<_> = message.extras.into_iter().filter(|extra| !known.contains(&&extra.key)).collect();
                last.extras.extend(new);
            }
            _ => merged.push(message),
        }
    }
    merged
}

/// Keeps an operator's message where the format allows one: behind the user's (or a call of a server tool), and last
/// or before the assistant's. Elsewhere its words become the user's, in place; never part of `system`, which would
/// rewrite the beginning of the conversation.
fn place_operators<'r>(mut messages: Vec<Message<'r>>, report: &mut Report<'_>) -> Vec<Message<'r>> {
    let legal: Vec<bool> = (0..messages.len())
        .map(|at| {
            let before = at.checked_sub(1).and_then(|before| messages.get(before));
            let after = messages.get(at + 1);
            before.is_some_and(may_precede_operator) && after.is_none_or(|after| after.role == Role::Assistant)
        })
        .collect();
    messages = messages
        .into_iter()
        .zip(legal)
        .map(|(message, legal)| {
            if message.role == Role::System && !legal && !message.pieces.is_empty() {
                said_by_user(message, report)
            } else {
                message
            }
        })
        .collect();
    messages
}

fn may_precede_operator(message: &Message<'_>) -> bool {
    match message.role {
        Role::User => true,
        Role::Assistant => ends_in_server_tool(message),
        Role::System | Role::Developer => false,
    }
}

fn ends_in_server_tool(message: &Message<'_>) -> bool {
    let last = message.pieces.last().and_then(Piece::block);
    last.is_some_and(|block| matches!(block.kind, BlockKind::ServerTool { .. }))
}

fn said_by_user<'r>(message: Message<'r>, report: &mut Report<'_>) -> Message<'r> {
    report.converted(Field::Turn, message.at, "no system message may stand here; its words are said in a user message");
    let pieces = message.pieces.into_iter().filter_map(|piece| piece.block().map(Piece::Operator)).collect();
    Message { role: Role::User, pieces, extras: Vec::new(), at: message.at }
}

fn begin_with_user<'r>(mut messages: Vec<Message<'r>>, report: &mut Report<'_>) -> Vec<Message<'r>> {
    if messages.first().is_none_or(|first| first.role != Role::User) {
        report.field(Field::Turn, Action::Defaulted, "a conversation begins with the user; `(continue)` was put first");
        let pieces = vec![Piece::Fixed("(continue)")];
        messages.insert(0, Message { role: Role::User, pieces, extras: Vec::new(), at: 0 });
    }
    messages
}

/// Gives calls and their results equal, unique ids, and puts results first, in the order of the calls.
fn link_tools(messages: &mut [Message<'_>]) -> Result<(), Refusal> {
    let mut ids = Distinct::default();
    let mut open: Vec<(String, String, usize)> = Vec::new();
    for message in messages {
        answer(&mut open, message)?;
        for piece in &mut message.pieces {
            let Piece::Block(block) = piece else { continue };
            if let BlockKind::ToolCall { id, .. } = &block.kind {
                let sent = ids.next(id);
                open.push((id.clone().into_owned(), sent.clone(), block.at));
                *piece = Piece::Linked(block, sent);
            }
        }
    }
    match open.first() {
        Some((id, _, at)) => Err(unanswered(id, *at)),
        None => Ok(()),
    }
}

/// Answers the calls of the message before with the results of `message`.
fn answer(open: &mut Vec<(String, String, usize)>, message: &mut Message<'_>) -> Result<(), Refusal> {
    if open.is_empty() && !message.pieces.iter().any(Piece::is_result) {
        return Ok(());
    }
    let (results, words): (Vec<_>, Vec<_>) = message.pieces.drain(..).partition(Piece::is_result);
    let mut results: Waiting<_, _> = results.iter().filter_map(answered).collect();
    for (id, sent, at) in open.drain(..) {
        let block = results.take(&id).ok_or_else(|| unanswered(&id, at))?;
        message.pieces.push(Piece::Linked(block, sent));
    }
    if let Some(block) = results.first() {
        return Err(Refusal::at(
            block.at,
            "this result answers no tool call of the assistant's message before it; remove it or add the call",
        ));
    }
    message.pieces.extend(words);
    Ok(())
}

/// A result with the id of the call that it answers.
fn answered<'r>(piece: &Piece<'r>) -> Option<(&'r str, &'r Block<'r>)> {
    let block = piece.block()?;
    match &block.kind {
        BlockKind::ToolResult { id, .. } => Some((id.as_ref(), block)),
        _ => None,
    }
}

fn unanswered(id: &str, at: usize) -> Refusal {
    Refusal::at(at, format!("missing tool result: the tool call `{id}` is not answered in the next user message"))
}

fn fill_empty(messages: &mut [Message<'_>], report: &mut Report<'_>) {
    let empty = |message: &&mut Message<'_>| message.role != Role::System && message.pieces.is_empty();
    for message in messages.iter_mut().filter(empty) {
        report.converted(Field::Turn, message.at, "an empty message is refused; it says `(empty)`");
        message.pieces.push(Piece::Fixed("(empty)"));
    }
}

/// A last turn of the assistant is one to go on with.
fn end_unfinished(messages: &mut [Message<'_>], allowed: Allowed, report: &mut Report<'_>) -> Result<(), Refusal> {
    let Some(last) = messages.last_mut().filter(|last| last.role == Role::Assistant) else { return Ok(()) };
    // A paused turn is sent back as it is.
    if ends_in_server_tool(last) {
        return Ok(());
    }
    if !allowed.prefill {
        return Err(Refusal::at(
            last.at,
            "This model does not support assistant message prefill. The conversation must end with a user message.",
        )
        .with_code("unsupported_value"));
    }
    if let Some(Piece::Block(block)) = last.pieces.last()
        && let BlockKind::Text { text, .. } = &block.kind
    {
        let kept = trimmed(text.escaped());
        if kept.len() < text.escaped().len() {
            report.converted(Field::Text, block.at, "white space at the end of an unfinished turn is refused");
            let piece = Piece::Trimmed(block, Text::from_escaped(kept));
            last.pieces.pop();
            last.pieces.push(piece);
        }
    }
    Ok(())
}

/// Escaped text without white space at its end.
fn trimmed(escaped: &str) -> &str {
    let mut kept = escaped;
    loop {
        let next = kept.trim_end();
        let next = match next.strip_suffix(['n', 'r', 't']).and_then(|rest| rest.strip_suffix('\\')) {
            // An even number of backslashes before it: this one begins an escape.
            Some(rest) if rest.bytes().rev().take_while(|b| *b == b'\\').count() % 2 == 0 => rest,
            _ => next,
        };
        if next.len() == kept.len() {
            return kept;
        }
        kept = next;
    }
}

/// True in a loop of tool calls that did not begin with thinking. A model may think before the first of its calls alone,
/// and what it is told of thinking must not change within the loop.
pub(super) fn loop_lacks_thinking(messages: &[Message<'_>]) -> bool {
    let has_results = |message: &Message<'_>| message.pieces.iter().any(Piece::is_result);
    let words = messages.iter().rposition(|message| message.role == Role::User && !has_results(message));
    let mut turn = messages.iter().skip(words.map_or(0, |at| at + 1));
    let Some(begun) = turn.find(|message| message.role == Role::Assistant) else { return false };
    let first = begun.pieces.first().and_then(Piece::block);
    let thinks = first.is_some_and(|block| matches!(block.kind, BlockKind::Thinking { .. } | BlockKind::Redacted));
    messages.last().is_some_and(has_results) && !thinks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trims_escaped_text() {
        for (escaped, kept) in [
            ("a", "a"),
            ("a  ", "a"),
            (r"a \n\t ", "a"),
            (r"a\\n", r"a\\n"),
            (r"a\\\n", r"a\\"),
            ("", ""),
            (r"an", "an"),
        ] {
            assert_eq!(trimmed(escaped), kept, "{escaped}");
        }
    }
}
