//! A provider's whole answer, read.

use std::borrow::Cow;

use super::read_block::read_block;
use super::stop::Ending;
use super::usage::Counts;
use super::wire::{OWN, extra, type_of};
use crate::hub::ids::derived;
use crate::hub::{Block, BlockKind, Candidate, Extra, Field, Response, Stop, Usage};
use crate::json::{Cursor, Json, JsonError, Kind, Problem, Text, late_member};

/// Reads an answer.
pub(super) fn read(body: &[u8]) -> Result<Response<'_>, JsonError> {
    let mut cursor = Cursor::over_bytes(body)?;
    let at = cursor.offset();
    if type_of(&cursor)? == "error" {
        return Err(JsonError { offset: at, problem: Problem::Syntax("a message, not an error") });
    }
    let mut response = Response {
        format: OWN,
        id: Text::EMPTY,
        model: Text::EMPTY,
        created: None,
        candidates: Vec::new(),
        usage: None,
        tier: None,
        extras: Vec::new(),
    };
    let (mut ending, mut content) = (Ending::default(), None);
    cursor.object::<JsonError>(|key, value| {
        match key.as_ref() {
            "type" | "role" => value.skip()?,
            "id" => response.id = value.nullable(Cursor::text)?.unwrap_or_default(),
            "model" => response.model = value.nullable(Cursor::text)?.unwrap_or_default(),
            "content" => content = value.nullable(read_blocks)?,
            "stop_reason" => ending.reason = value.nullable(Cursor::text)?,
            "stop_sequence" => ending.sequence = value.nullable(Cursor::text)?,
            "stop_details" => ending.details = value.nullable(Cursor::json)?,
            "usage" => {
                let mut counts = Counts::default();
                if let Some(tier) = value.nullable(|value| counts.merge(value))? {
                    response.tier = tier;
                    response.usage = Some(counts.usage());
                }
            }
            // Absent and null say the same.
            "container" | "context_management" | "diagnostics" if value.null()? => {}
            name => {
                let field = class_of(name);
                response.extras.push(extra(field, key, value)?);
            }
        }
        Ok(())
    })?;
    cursor.finish()?;
    let Some(mut blocks) = content else {
        return Err(JsonError { offset: at, problem: Problem::Syntax("a message with `content`") });
    };
    name_calls(&mut blocks, response.id.escaped());
    set_apart(&mut blocks);
    let called = blocks.iter().any(|block: &Block<'_>| matches!(block.kind, BlockKind::ToolCall { .. }));
    let untold = ending.reason.is_none();
    let stop = match ending.into_stop(called) {
        _ if untold && blocks.is_empty() => Stop::Failed(Text::from_escaped("it has neither words nor a reason")),
        stop => stop,
    };
    // Without a reason the answer is not known to be whole.
    let key = Cow::Borrowed("stop_reason");
    let extras = untold.then_some(Extra { field: Field::StopReason, key, value: Json::NULL, at }).into_iter().collect();
    response.candidates.push(Candidate { index: 0, blocks, stop, logprobs: None, extras });
    Ok(response)
}

/// Gives the calls of `answer` ids that have none.
fn name_calls(blocks: &mut [Block<'_>], answer: &str) {
    for (at, block) in (0..).zip(blocks) {
        if let BlockKind::ToolCall { id, .. } = &mut block.kind
            && id.is_empty()
        {
            *id = call_id(answer, at).into();
        }
    }
}

/// Words are another text than those before where something else stands between: sources alone make blocks of one text.
fn set_apart(blocks: &mut [Block<'_>]) {
    let (mut spoke, mut apart) = (false, false);
    for block in blocks {
        let is_text = matches!(block.kind, BlockKind::Text { .. });
        block.apart = is_text && std::mem::take(&mut apart);
        spoke |= is_text;
        apart |= spoke && !is_text;
    }
}

/// The id of the call that is block `at` of an answer whose provider gives none; the same for the whole answer and the
/// stream.
pub(super) fn call_id(answer: &str, at: u64) -> String {
    derived("toolu_", &format!("{answer}/{at}"))
}

/// What a field of an answer that the hub has no place for counts as.
pub(super) fn class_of(key: &str) -> Field {
    match key {
        "container" | "context_management" | "diagnostics" => Field::Beta,
        _ => Field::Unknown,
    }
}

fn read_blocks<'a>(value: &mut Cursor<'a>) -> Result<Vec<Block<'a>>, JsonError> {
    let mut blocks = Vec::new();
    value.array::<JsonError>(|_, element| {
        blocks.push(read_block(element, None)?);
        Ok(())
    })?;
    Ok(blocks)
}

/// Picks the usage out of a whole answer, without reading the rest of it.
pub(super) fn find_usage(body: &[u8]) -> Option<Usage> {
    let read = |value: &mut Cursor<'_>| {
        if value.peek()? != Kind::Object {
            return value.skip().map(|()| None);
        }
        let mut counts = Counts::default();
        counts.merge(value)?;
        Ok::<_, JsonError>(Some(counts.usage()))
    };
    if let Some(usage) = late_member(body, "\"usage\"", read) {
        return usage;
    }
    let mut usage = None;
    let mut cursor = Cursor::over_bytes(body).ok()?;
    cursor
        .object::<JsonError>(|key, value| {
            if key == "usage" {
                usage = read(value)?;
            }
            Ok(())
        })
        .ok()?;
    usage
}
