//! Which blocks can stand in a content, and where signatures return.

use super::arrange::Piece;
use super::report::Report;
use super::wire::{OWN, is_own};
use crate::hub::{Action, Block, BlockKind, Field, Opaque, Place, Turn};
use crate::json::Text;

/// What the vendor takes in place of a signature that is lost.
const UNSIGNED: &str = "skip_thought_signature_validator";

/// True when the block can stand in a content; reports it if not. `thoughts` are this provider's own also where they are
/// not signed.
pub(super) fn fits(block: &Block<'_>, (is_model, thoughts): (bool, bool), report: &mut Report<'_>) -> bool {
    let own = report.is_own();
    let (fits, field, reason) = match &block.kind {
        BlockKind::Text { text, .. } | BlockKind::Refusal { text } if text.is_empty() => {
            return is_model && has_own(block);
        }
        BlockKind::Thinking { .. } => (
            is_model && (has_own(block) || (thoughts && block.opaque.is_empty())),
            Field::Thinking,
            "thinking without a signature of this provider is left out",
        ),
        BlockKind::Redacted => {
            (is_model && has_own(block), Field::OpaqueState, "only its maker can read this reasoning")
        }
        BlockKind::ToolCall { .. } => (is_model, Field::ToolCall, "only the model calls tools"),
        BlockKind::ToolResult { .. } => (!is_model, Field::ToolResult, "results are the user's"),
        BlockKind::Text { .. }
        | BlockKind::Refusal { .. }
        | BlockKind::Image { .. }
        | BlockKind::Document { .. }
        | BlockKind::Audio { .. }
        | BlockKind::SearchResult { .. } => return true,
        BlockKind::ServerTool { .. } => (own, Field::ServerTool, "a tool call of another provider's own"),
        BlockKind::Reference { .. } => (own, Field::Unknown, "a reference into another provider's store"),
        BlockKind::Unknown { format, .. } => (*format == OWN, Field::Unknown, "a block that no rule knows"),
    };
    if !fits {
        report.dropped(field, block.words_at.unwrap_or(block.at), reason);
    }
    fits
}

/// True for what a tool's result holds beside words.
pub(super) fn is_media(kind: &BlockKind<'_>) -> bool {
    matches!(kind, BlockKind::Image { .. } | BlockKind::Document { .. } | BlockKind::Audio { .. })
}

/// True where the thoughts of a model's turn are this provider's own: it signs one part of a step, and that seldom is the
/// thought itself.
pub(super) fn has_own_thoughts(turn: &Turn<'_>, report: &Report<'_>) -> bool {
    report.is_own() || turn.blocks.iter().any(has_own)
}

fn has_own(block: &Block<'_>) -> bool {
    block.opaque.iter().any(is_own)
}

/// The provider's own signature of a block.
pub(super) fn own_signature<'r>(block: &'r Block<'r>) -> Option<Text<'r>> {
    block.opaque.iter().find(|opaque| is_own(opaque)).map(|opaque: &Opaque<'_>| opaque.data.by_ref())
}

/// Puts the signatures of the model's content back where they were.
///
/// A signature that came through a client of another format stands in a block of its own: before the call that it is
/// of, or behind the words. Of parallel calls only the first has one.
pub(super) fn assistant<'r>(pieces: &mut Vec<Piece<'r>>, signed_calls: bool, report: &mut Report<'_>) {
    let mut arranged: Vec<Piece<'r>> = Vec::with_capacity(pieces.len());
    let mut first_call = true;
    for piece in pieces.drain(..) {
        match piece {
            Piece::Block(block) if is_signature_only(block) => {
                arranged.extend(own_signature(block).map(Piece::Signature));
            }
            Piece::Call(block, id, _) => {
                let mut signature = own_signature(block);
                if block.opaque.iter().any(|opaque| !is_own(opaque)) {
                    report.dropped(Field::OpaqueState, block.at, "only its maker can read this state");
                }
                if signature.is_none() {
                    signature = take_waiting(&mut arranged, first_call);
                }
                if signature.is_none() && first_call && signed_calls {
                    report.losses.add(
                        Field::OpaqueState,
                        Action::Defaulted,
                        Place::Offset(block.at),
                        "the signature of this call did not come back; the model thinks anew",
                    );
                    signature = Some(Text::from_escaped(UNSIGNED));
                }
                first_call = false;
                arranged.push(Piece::Call(block, id, signature));
            }
            other => arranged.push(other),
        }
    }
    *pieces = arranged;
}

/// True for a block that is nothing but its signature.
fn is_signature_only(block: &Block<'_>) -> bool {
    has_own(block)
        && match &block.kind {
            BlockKind::Redacted => true,
            BlockKind::Thinking { text, .. } | BlockKind::Text { text, .. } => {
                text.is_empty() && block.extras.is_empty()
            }
            _ => false,
        }
}

/// The signature that stands right before a call; for the first call also an earlier one, as formats that keep
/// reasoning apart put it before all words.
fn take_waiting<'r>(arranged: &mut Vec<Piece<'r>>, first_call: bool) -> Option<Text<'r>> {
    let is_signature = |piece: &Piece<'_>| matches!(piece, Piece::Signature(_));
    let at = if first_call {
        arranged.iter().rposition(is_signature)?
    } else {
        arranged.len().checked_sub(1).filter(|_| arranged.last().is_some_and(is_signature))?
    };
    match arranged.remove(at) {
        Piece::Signature(signature) => Some(signature),
        _ => None,
    }
}
