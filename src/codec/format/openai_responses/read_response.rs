//! A provider's whole answer, read.

use super::item::{Content, Item, Part};
use super::stop::Ending;
use super::usage;
use super::wire::{OWN, keep, loose_count, loose_text, placed};
use crate::hub::{Block, BlockKind, Candidate, Field, Response, Usage};
use crate::json::{Cursor, Json, JsonError, Kind, Text};

/// Reads an answer.
pub(super) fn read(body: &[u8]) -> Result<Response<'_>, JsonError> {
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
    let mut output = None;
    let mut ending = Ending::default();
    let mut cursor = Cursor::over_bytes(body)?;
    let start = cursor.clone();
    cursor.object::<JsonError>(|key, value| {
        match key.as_ref() {
            "id" => response.id = loose_text(value)?.unwrap_or_default(),
            "model" => response.model = loose_text(value)?.unwrap_or_default(),
            "created_at" => response.created = loose_count(value)?,
            "service_tier" => response.tier = loose_text(value)?,
            "usage" => response.usage = usage::read(value)?,
            "output" => output = placed(value, Kind::Array)?,
            name if ending.field(name, value)? => {}
            name if is_echo(name) => value.skip()?,
            _ => keep(&mut response.extras, class_of(&key), key, value)?,
        }
        Ok(())
    })?;
    cursor.finish()?;
    let Some(mut output) = output else {
        let mut at = ending.error.unwrap_or(start);
        return Err(at.wrong("an answer with `output`"));
    };
    let id = response.id.plain().into_owned();
    let answer = blocks(&mut output, &id)?;
    let called = answer.blocks.iter().any(|block| matches!(block.kind, BlockKind::ToolCall { .. }));
    response.candidates.push(Candidate {
        index: 0,
        blocks: answer.blocks,
        stop: ending.into_stop(called),
        logprobs: answer.logprobs,
        extras: Vec::new(),
    });
    Ok(response)
}

/// What an answer repeats of its request: no word of the model's.
pub(super) fn is_echo(key: &str) -> bool {
    matches!(
        key,
        "object"
            | "background"
            | "completed_at"
            | "conversation"
            | "frequency_penalty"
            | "include"
            | "instructions"
            | "max_output_tokens"
            | "max_tool_calls"
            | "metadata"
            | "output_text"
            | "parallel_tool_calls"
            | "presence_penalty"
            | "previous_response_id"
            | "prompt"
            | "prompt_cache_key"
            | "prompt_cache_options"
            | "prompt_cache_retention"
            | "reasoning"
            | "safety_identifier"
            | "store"
            | "temperature"
            | "text"
            | "tool_choice"
            | "tools"
            | "top_logprobs"
            | "top_p"
            | "truncation"
            | "user"
    )
}

pub(super) fn class_of(key: &str) -> Field {
    match key {
        "moderation" | "content_filters" => Field::Safety,
        "billing" | "tool_usage" => Field::UsageDetail,
        _ => Field::Unknown,
    }
}

/// What the items of an answer say.
pub(super) struct Answer<'a> {
    /// In order.
    pub blocks: Vec<Block<'a>>,
    /// Of all words, in the hub's shape.
    pub logprobs: Option<Json<'a>>,
}

/// Reads `output`; ids that are missing derive from `seed`.
pub(super) fn blocks<'a>(output: &mut Cursor<'a>, seed: &str) -> Result<Answer<'a>, JsonError> {
    let mut found = Vec::new();
    let mut logprobs = Vec::new();
    output.array::<JsonError>(|index, value| {
        if value.peek()? != Kind::Object {
            return value.skip();
        }
        let item = Item::read(value)?;
        item_blocks(item, &format!("{seed}/{index}"), &mut found, &mut logprobs)
    })?;
    Ok(Answer { blocks: found, logprobs: join(&logprobs) })
}

/// The blocks of one item.
pub(super) fn item_blocks<'a>(
    mut item: Item<'a>,
    seed: &str,
    found: &mut Vec<Block<'a>>,
    logprobs: &mut Vec<Json<'a>>,
) -> Result<(), JsonError> {
    match item.kind.as_ref() {
        "message" => {
            let first = found.len();
            let at = item.at;
            parts(item.content.take(), at, found, logprobs)?;
            if let Some(block) = found.get_mut(first) {
                block.apart = first > 0;
                block.extras.append(&mut item.extras);
            }
        }
        "function_call" | "custom_tool_call" => found.push(item.call(seed)),
        "reasoning" => {
            let state = item.native_state();
            found.extend(item.thoughts(state)?);
        }
        _ => found.push(item.kept()),
    }
    Ok(())
}

fn parts<'a>(
    content: Option<Content<'a>>,
    at: usize,
    found: &mut Vec<Block<'a>>,
    logprobs: &mut Vec<Json<'a>>,
) -> Result<(), JsonError> {
    let mut list = match content {
        Some(Content::Parts(list)) => list,
        Some(Content::Words(text)) => {
            found.push(Block::text(text, at));
            return Ok(());
        }
        None => return Ok(()),
    };
    list.array::<JsonError>(|_, value| {
        let (at, mut start) = (value.offset(), value.clone());
        let part = Part::read(value)?;
        if !part.is_words() {
            found.push(Block::new(BlockKind::Unknown { format: OWN, raw: start.json()? }, at));
            return Ok(());
        }
        logprobs.extend(part.logprobs.clone());
        let refusal = part.is_refusal();
        let Some(text) = part.text.filter(|text| !text.is_empty()) else { return Ok(()) };
        let kind =
            if refusal { BlockKind::Refusal { text } } else { BlockKind::Text { text, citations: part.citations } };
        found.push(Block { extras: part.extras, ..Block::new(kind, at) });
        Ok(())
    })
}

/// Lists of probabilities as the hub keeps them: one object with all entries as its `content`. Chat Completions has
/// `bytes` and `top_logprobs` in each entry; the events of a stream need not.
pub(super) fn join(lists: &[Json<'_>]) -> Option<Json<'static>> {
    let inner = |list: &Json<'_>| super::output::entries(&mut list.cursor(), Some("null"), true).unwrap_or_default();
    let entries: Vec<String> = lists.iter().map(inner).filter(|entries| !entries.is_empty()).collect();
    if entries.is_empty() {
        return None;
    }
    Some(Json::from_valid(format!("{{\"content\":[{}],\"refusal\":null}}", entries.join(","))))
}

/// The usage of an answer that is passed on untouched.
pub(super) fn find_usage(body: &[u8]) -> Option<Usage> {
    let mut found = None;
    let mut cursor = Cursor::over_bytes(body).ok()?;
    cursor
        .object::<JsonError>(|key, value| {
            if key == "usage" {
                found = usage::read(value)?;
            }
            Ok(())
        })
        .ok()?;
    found
}
