//! Spellings that readers and writers share.

use std::borrow::Cow;

use crate::Format;
use crate::hub::{Extra, Fault, Field, Opaque, OpaqueKind, Stop, is_clients};
use crate::json::{Cursor, JsonError, Kind, Text, Writer};
use crate::seal::Seal;

pub(super) use crate::format::loose::{loose_count, loose_text};
pub(super) use crate::format::sibling::read_cache_mark;

/// The format of this folder.
pub(super) const OWN: Format = Format::OpenaiChat;

/// Keeps a field that the hub has no place for; `null` says nothing and is not kept.
pub(super) fn keep<'a>(
    extras: &mut Vec<Extra<'a>>,
    field: Field,
    key: Cow<'a, str>,
    value: &mut Cursor<'a>,
) -> Result<(), JsonError> {
    let at = value.offset();
    let value = value.json()?;
    if value.kind() != Kind::Null {
        extras.push(Extra { field, key, value, at });
    }
    Ok(())
}

/// Reads `finish_reason`; `matched` is the stop text that some servers name beside it.
pub(super) fn read_stop<'a>(word: &Text<'a>, matched: Option<Text<'a>>) -> Stop<'a> {
    match word.escaped() {
        "stop" | "eos" | "eos_token" | "end_turn" | "COMPLETE" | "completed" | "STOP" => match matched {
            Some(text) => Stop::StopSequence(Some(text)),
            None => Stop::EndTurn,
        },
        "stop_sequence" => Stop::StopSequence(matched),
        "length" | "max_tokens" | "MAX_TOKENS" => Stop::MaxTokens,
        // Mistral's word; Z.ai's.
        "model_length" | "model_context_window_exceeded" => Stop::ContextWindow,
        "tool_calls" | "tool_call" | "function_call" | "tool_use" => Stop::ToolUse,
        "content_filter" | "sensitive" | "safety" | "SAFETY" | "recitation" => Stop::Filtered(word.clone()),
        "refusal" => Stop::Refusal { category: None, explanation: None },
        // The last two are words of watsonx.
        "error" | "abort" | "network_error" | "insufficient_system_resource" | "time_limit" | "cancelled" => {
            Stop::Failed(word.clone())
        }
        _ => Stop::Other(word.clone()),
    }
}

/// The stop that the blocks bear out: calls make it [`Stop::ToolUse`], and none take that back.
pub(super) fn derive_stop(stop: Stop<'_>, calls: bool) -> Stop<'_> {
    match stop {
        Stop::EndTurn if calls => Stop::ToolUse,
        Stop::ToolUse if !calls => Stop::EndTurn,
        other => other,
    }
}

/// True for an end that says that something is lacking.
pub(super) fn is_cut(stop: &Stop<'_>) -> bool {
    match stop {
        Stop::EndTurn | Stop::StopSequence(_) | Stop::ToolUse | Stop::Other(_) => false,
        Stop::MaxTokens
        | Stop::ContextWindow
        | Stop::Refusal { .. }
        | Stop::Filtered(_)
        | Stop::PromptFiltered(_)
        | Stop::Pause
        | Stop::Compaction
        | Stop::Failed(_) => true,
    }
}

/// The `finish_reason` that says `stop`.
///
/// # Errors
///
/// The stop is a failure, which the format says as an error.
pub(super) fn write_stop(stop: &Stop<'_>, said_anything: bool) -> Result<&'static str, Fault<'static>> {
    match stop {
        Stop::EndTurn | Stop::StopSequence(_) => Ok("stop"),
        Stop::ToolUse => Ok("tool_calls"),
        Stop::MaxTokens | Stop::ContextWindow | Stop::Pause | Stop::Compaction => Ok("length"),
        Stop::Refusal { .. } | Stop::Filtered(_) | Stop::PromptFiltered(_) => Ok("content_filter"),
        Stop::Other(word) if said_anything || is_clients(word) => Ok("stop"),
        Stop::Other(word) | Stop::Failed(word) => Err(Stop::gave_up(word)),
    }
}

/// True when the `finish_reason` that says `stop` means something else as well.
pub(super) fn is_inexact(stop: &Stop<'_>) -> bool {
    match stop {
        Stop::Pause | Stop::Compaction | Stop::ContextWindow | Stop::Other(_) => true,
        // Which of the stop texts it was, and of what sort the refusal.
        Stop::StopSequence(said) | Stop::Refusal { category: said, .. } => said.is_some(),
        _ => false,
    }
}

/// True for a signature that stands at a tool call itself (Gemini's compatible surface), not among the reasoning.
pub(super) fn is_call_signature(opaque: &Opaque<'_>) -> bool {
    opaque.kind == OpaqueKind::ThoughtSignature && opaque.maker == Format::OpenaiChat
}

/// True for the signature that another format's provider gave in front of a call. Beside `reasoning_details` it is told
/// where that vendor's compatible surface has it, because many clients send calls back as they came and nothing else.
///
/// Source: <https://ai.google.dev/gemini-api/docs/thought-signatures>, on compatibility with `OpenAI`.
pub(super) fn is_carried_signature(opaque: &Opaque<'_>) -> bool {
    opaque.kind == OpaqueKind::ThoughtSignature && opaque.maker != Format::OpenaiChat
}

/// Writes such a signature as a field of its call; one of another format's provider in an envelope.
pub(super) fn write_call_signature(opaque: &Opaque<'_>, seal: Option<&Seal>, w: &mut Writer<'_>) {
    let sealed = seal.filter(|_| is_carried_signature(opaque)).map(|seal| seal.wrap(opaque));
    w.key("extra_content").open_object().key("google").open_object().key("thought_signature");
    match sealed {
        Some(envelope) => w.plain(&envelope),
        None => w.text(&opaque.data),
    };
    w.close_object().close_object();
}
