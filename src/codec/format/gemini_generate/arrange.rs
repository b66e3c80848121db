//! The conversation in the order that the format demands: user first, in turns, and the results of all calls of a turn
//! in the turn behind it, in the order of the calls.

use super::pieces::{assistant, fits, has_own_thoughts, is_media};
use super::report::Report;
use crate::hub::ids::Distinct;
use crate::hub::waiting::Waiting;
use crate::hub::{Action, Block, BlockKind, Extra, Field, Refusal, Role, Turn};
use crate::json::Text;

/// One content of the target.
#[derive(Debug)]
pub(super) struct Content<'r> {
    /// The model says it; else the user.
    pub is_model: bool,
    /// Its parts.
    pub pieces: Vec<Piece<'r>>,
    /// Fields of this format's own contents.
    pub extras: Vec<&'r Extra<'r>>,
    at: usize,
}

/// One part of the target.
#[derive(Debug)]
pub(super) enum Piece<'r> {
    /// A block as it is.
    Block(&'r Block<'r>),
    /// A call with the id and the signature that it is sent with.
    Call(&'r Block<'r>, String, Option<Text<'r>>),
    /// A result with the id and the name of its call.
    Result(&'r Block<'r>, String, String),
    /// Media of the result of the call with this id, where a result holds none.
    Attached(&'r Block<'r>, String),
    /// A signature without words.
    Signature(Text<'r>),
    /// Words of the operator, said in a user's content.
    Operator(&'r Block<'r>),
    /// Words of ours.
    Fixed(&'static str),
}

/// What the target allows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Allowed {
    /// Media in a tool's result.
    pub rich_results: bool,
    /// Calls without a signature are refused.
    pub signed_calls: bool,
}

/// Arranges `turns`.
pub(super) fn arrange<'r>(
    turns: &'r [Turn<'r>],
    allowed: Allowed,
    report: &mut Report<'_>,
) -> Result<Vec<Content<'r>>, Refusal> {
    let contents = turns.iter().filter_map(|turn| content(turn, report)).collect();
    let mut contents = begin_with_user(merge(contents), report);
    let mut behind = link(&mut contents, allowed, report)?.into_iter().peekable();
    let mut arranged = Vec::with_capacity(contents.len() + behind.len());
    for (at, content) in contents.into_iter().enumerate() {
        arranged.push(content);
        if let Some((_, pieces)) = behind.next_if(|(results, _)| *results == at) {
            arranged.push(Content { is_model: false, pieces, extras: Vec::new(), at: 0 });
        }
    }
    for content in arranged.iter_mut().filter(|content| content.is_model) {
        assistant(&mut content.pieces, allowed.signed_calls, report);
    }
    fill_empty(&mut arranged, report);
    Ok(arranged)
}

/// One turn, without what cannot be said; `None` if nothing of a turn that is not the user's is left.
fn content<'r>(turn: &'r Turn<'r>, report: &mut Report<'_>) -> Option<Content<'r>> {
    if turn.name.is_some() {
        report.dropped(Field::TurnName, turn.at, "a content names no speaker");
    }
    report.extras(&turn.extras);
    let extras = if report.is_own() { turn.extras.iter().collect() } else { Vec::new() };
    let is_operator = matches!(turn.role, Role::System | Role::Developer);
    let is_model = turn.role == Role::Assistant;
    let thoughts = has_own_thoughts(turn, report);
    let mut pieces = Vec::with_capacity(turn.blocks.len());
    for block in &turn.blocks {
        if block.cache.is_some() {
            report.dropped(Field::CacheMark, block.at, "what is cached cannot be marked");
        }
        match &block.kind {
            BlockKind::Text { text, .. } | BlockKind::Refusal { text } if is_operator && text.is_blank() => {}
            BlockKind::Text { .. } | BlockKind::Refusal { .. } if is_operator => pieces.push(Piece::Operator(block)),
            _ if is_operator => report.dropped(Field::Instructions, block.at, "instructions are words only"),
            _ if fits(block, (is_model, thoughts), report) => pieces.push(Piece::Block(block)),
            _ => {}
        }
    }
    if is_operator && !pieces.is_empty() {
        report.converted(Field::Turn, turn.at, "the operator's words in the middle are said in a user content");
    }
    (!pieces.is_empty() || turn.role == Role::User).then_some(Content { is_model, pieces, extras, at: turn.at })
}

/// Joins neighbours of the same role.
fn merge(contents: Vec<Content<'_>>) -> Vec<Content<'_>> {
    let mut merged: Vec<Content<'_>> = Vec::with_capacity(contents.len());
    for content in contents {
        match merged.last_mut() {
            Some(last) if last.is_model == content.is_model => {
                last.pieces.extend(content.pieces);
                last.extras.extend(content.extras);
            }
            _ => merged.push(content),
        }
    }
    merged
}

fn begin_with_user<'r>(mut contents: Vec<Content<'r>>, report: &mut Report<'_>) -> Vec<Content<'r>> {
    if contents.first().is_none_or(|first| first.is_model) {
        report.field(Field::Turn, Action::Defaulted, "a conversation begins with the user; `(continue)` was put first");
        contents.insert(
            0,
            Content { is_model: false, pieces: vec![Piece::Fixed("(continue)")], extras: Vec::new(), at: 0 },
        );
    }
    contents
}

/// A call that waits for its result: its id, the id that is sent, its tool, and where it stands.
struct Open {
    id: String,
    sent: String,
    name: String,
    at: usize,
}

/// What has a content of its own behind the one at this place.
type Behind<'r> = (usize, Vec<Piece<'r>>);

/// Gives calls and their results equal, unique ids, and puts results first, in the order of the calls. Returns what cannot
/// stand in a content with results.
fn link<'r>(
    contents: &mut [Content<'r>],
    allowed: Allowed,
    report: &mut Report<'_>,
) -> Result<Vec<Behind<'r>>, Refusal> {
    let mut ids = Distinct::default();
    let mut open: Vec<Open> = Vec::new();
    let mut behind = Vec::new();
    for (at, content) in contents.iter_mut().enumerate() {
        let pieces = answer(&mut open, content, allowed, report)?;
        if !pieces.is_empty() {
            behind.push((at, pieces));
        }
        for piece in &mut content.pieces {
            let Piece::Block(block) = piece else { continue };
            if let BlockKind::ToolCall { id, name, .. } = &block.kind {
                let sent = ids.next(id);
                open.push(Open { id: id.to_string(), sent: sent.clone(), name: name.to_string(), at: block.at });
                *piece = Piece::Call(block, sent, None);
            }
        }
    }
    match open.first() {
        Some(call) => Err(unanswered(call)),
        None => Ok(behind),
    }
}

/// Answers the calls of the content before with the results of `content`. Returns what stands behind it.
fn answer<'r>(
    open: &mut Vec<Open>,
    content: &mut Content<'r>,
    allowed: Allowed,
    report: &mut Report<'_>,
) -> Result<Vec<Piece<'r>>, Refusal> {
    let mut media = Vec::new();
    if open.is_empty() && !content.pieces.iter().any(is_result) {
        return Ok(media);
    }
    let (results, others): (Vec<_>, Vec<_>) = content.pieces.drain(..).partition(is_result);
    let mut results: Waiting<_, _> = results.iter().filter_map(answered).collect();
    for call in open.drain(..) {
        let Some(block) = results.take(&call.id) else { return Err(unanswered(&call)) };
        if let (false, BlockKind::ToolResult { content, .. }) = (allowed.rich_results, &block.kind) {
            for inner in content.iter().filter(|inner| is_media(&inner.kind)) {
                report.converted(
                    Field::ToolResult,
                    inner.at,
                    "this model takes words in a result; it stands behind it",
                );
                media.push(Piece::Attached(inner, call.sent.clone()));
            }
        }
        content.pieces.push(Piece::Result(block, call.sent, call.name));
    }
    if let Some(block) = results.first() {
        return Err(Refusal::at(
            block.at,
            "this result answers no tool call of the model's content before it; remove it or add the call",
        ));
    }
    // Beside a result the provider counts media as a result too; words of the user stay behind what they are about.
    let apart = !allowed.rich_results && !report.is_own() && others.iter().any(holds_media);
    if media.is_empty() && !apart {
        content.pieces.extend(others);
        return Ok(media);
    }
    media.extend(others);
    Ok(media)
}

fn holds_media(piece: &Piece<'_>) -> bool {
    matches!(piece, Piece::Block(block) if is_media(&block.kind))
}

fn is_result(piece: &Piece<'_>) -> bool {
    answered(piece).is_some()
}

/// A result with the id of the call that it answers.
fn answered<'r>(piece: &Piece<'r>) -> Option<(&'r str, &'r Block<'r>)> {
    match piece {
        Piece::Block(block @ Block { kind: BlockKind::ToolResult { id, .. }, .. }) => Some((id.as_ref(), block)),
        _ => None,
    }
}

fn unanswered(call: &Open) -> Refusal {
    let message = format!("missing tool result: the tool call `{}` is not answered in the next user message", call.id);
    Refusal::at(call.at, message)
}

fn fill_empty(contents: &mut [Content<'_>], report: &mut Report<'_>) {
    for content in contents.iter_mut().filter(|content| content.pieces.is_empty()) {
        report.converted(Field::Turn, content.at, "an empty content is refused; it says `(empty)`");
        content.pieces.push(Piece::Fixed("(empty)"));
    }
}
