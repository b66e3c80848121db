//! A whole answer of a provider, read.

use std::borrow::Cow;

use super::answer::{self, CallPiece, Part, Said};
use super::wire::{derive_stop, keep, loose_count, loose_text, read_stop};
use super::{details, usage};
use crate::Format;
use crate::format::openai_error;
use crate::format::thought::Thought;
use crate::hub::{
    Begins, Block, BlockKind, Candidate, Citation, Extra, Field, Flavor, Opaque, OpaqueKind, Response, Stop,
    ThinkingKind, arguments, ids,
};
use crate::json::{Cursor, Json, JsonError, Kind, Text, late_member};

/// Reads an answer.
pub(super) fn read(body: &[u8]) -> Result<Response<'_>, JsonError> {
    let mut response = Response {
        format: Format::OpenaiChat,
        id: Text::EMPTY,
        model: Text::EMPTY,
        created: None,
        candidates: Vec::new(),
        usage: None,
        tier: None,
        extras: Vec::new(),
    };
    let mut choices = None;
    let mut cursor = Cursor::over_bytes(body)?;
    let mut error = None;
    cursor.object::<JsonError>(|key, value| {
        match key.as_ref() {
            "id" => response.id = loose_text(value)?.unwrap_or_default(),
            "object" | "system_fingerprint" => value.skip()?,
            "created" => response.created = loose_count(value)?,
            "model" => response.model = loose_text(value)?.unwrap_or_default(),
            "service_tier" => response.tier = loose_text(value)?,
            "usage" => response.usage = usage::read(value)?,
            "choices" if value.peek()? == Kind::Array => {
                choices = Some(value.clone());
                value.skip()?;
            }
            // A success that is none: some routers answer 200 with an error in the body.
            "error" if value.peek()? == Kind::Object => {
                error = Some(value.wrong("an answer, not an error"));
                // One without words says nothing.
                if openai_error::tells(value.clone().json()?.as_str().as_bytes()) {
                    keep(&mut response.extras, Field::Unknown, key, value)?;
                } else {
                    value.skip()?;
                }
            }
            _ => keep(&mut response.extras, class_of(&key), key, value)?,
        }
        Ok(())
    })?;
    cursor.finish()?;
    let Some(mut choices) = choices else {
        return Err(error.unwrap_or_else(|| Cursor::over("null").wrong("an object with `choices`")));
    };
    let id = response.id.plain().into_owned();
    let mut start = choices.clone();
    choices.array::<JsonError>(|position, value| {
        response.candidates.push(candidate(value, position, &id)?);
        Ok(())
    })?;
    if response.candidates.is_empty() {
        let refused = refused_prompt(&response.extras);
        let none = || error.unwrap_or_else(|| start.wrong("an answer: there are no `choices`"));
        response.candidates.push(refused.ok_or_else(none)?);
    }
    Ok(response)
}

/// What Azure says of a prompt that it refused, which is beside a list of no answers.
fn refused_prompt<'a>(extras: &[Extra<'_>]) -> Option<Candidate<'a>> {
    let refused = extras.iter().any(|extra| is_filter(&extra.key) && filtered(&mut extra.value.cursor()));
    let stop = Stop::PromptFiltered(Text::from_escaped("content_filter"));
    refused.then(|| Candidate { index: 0, stop, blocks: Vec::new(), logprobs: None, extras: Vec::new() })
}

fn is_filter(key: &str) -> bool {
    matches!(key, "prompt_filter_results" | "content_filter_results")
}

/// True if a filter says, at whatever depth, that it refused something. The value was read once already, so it is sound.
fn filtered(value: &mut Cursor<'_>) -> bool {
    let mut found = false;
    let _ = match value.peek() {
        Ok(Kind::Array) => value.array::<JsonError>(|_, value| {
            found |= filtered(&mut value.clone());
            value.skip()
        }),
        Ok(Kind::Object) => value.object::<JsonError>(|key, value| {
            found |= match (key.as_ref(), value.peek()?) {
                ("filtered", _) => value.clone().json()?.as_str() == "true",
                (_, Kind::Array | Kind::Object) => filtered(&mut value.clone()),
                _ => false,
            };
            value.skip()
        }),
        _ => Ok(()),
    };
    found
}

pub(super) fn class_of(key: &str) -> Field {
    match key {
        "moderation" | "prompt_filter_results" => Field::Safety,
        "metadata" => Field::Metadata,
        "citations" | "search_results" => Field::Citations,
        _ => Field::Unknown,
    }
}

fn candidate<'a>(value: &mut Cursor<'a>, position: usize, id: &str) -> Result<Candidate<'a>, JsonError> {
    let (mut index, mut said, mut finish, mut matched, mut logprobs) = (None, Said::default(), None, None, None);
    let mut failed = None;
    let mut extras = Vec::new();
    value.object::<JsonError>(|key, value| {
        match key.as_ref() {
            "index" => index = loose_count(value)?,
            "message" if value.peek()? == Kind::Object => said = Said::read(value, true)?,
            "finish_reason" => finish = loose_text(value)?.filter(|word| !word.is_empty()),
            "stop_reason" => matched = loose_text(value)?,
            "error" if value.peek()? == Kind::Object => failed = openai_error::words_of(value)?,
            "logprobs" => logprobs = value.nullable(Cursor::json)?,
            "content_filter_results" => keep(&mut extras, Field::Safety, key, value)?,
            _ => keep(&mut extras, Field::Unknown, key, value)?,
        }
        Ok(())
    })?;
    let index = index.unwrap_or(position as u64);
    extras.append(&mut said.extras);
    let blocks = blocks(said, &format!("{id}/{index}"), &mut extras)?;
    let calls = blocks.iter().any(|block| matches!(block.kind, BlockKind::ToolCall { .. }));
    if finish.is_none() && failed.is_none() {
        // Without a reason the answer is not known to be whole.
        let key = Cow::Borrowed("finish_reason");
        extras.push(Extra { field: Field::StopReason, key, value: Json::NULL, at: 0 });
    }
    let stop = match failed {
        Some(words) => Stop::Failed(words),
        None => match finish {
            Some(word) => read_stop(&word, matched),
            None if blocks.is_empty() => Stop::Failed(Text::from_escaped("it has neither words nor a reason")),
            None => Stop::EndTurn,
        },
    };
    Ok(Candidate { index, stop: derive_stop(stop, calls), blocks, logprobs, extras })
}

/// What a message says, as blocks: reasoning, words, calls.
pub(super) fn blocks<'a>(said: Said<'a>, seed: &str, extras: &mut Vec<Extra<'a>>) -> Result<Vec<Block<'a>>, JsonError> {
    let at = said.content_at;
    let mut blocks = Vec::new();
    thinking(said.reasoning, said.details, at, &mut |opaque: &details::Detail<'a>| opaque.native(), &mut blocks)?;
    let words = blocks.len();
    if let Some(text) = said.text {
        blocks.push(Block::text(text, at));
    }
    if let Some(mut parts) = said.parts {
        answer::parts(&mut parts, &mut |part, at| {
            blocks.push(match part {
                Part::Beside(extra) => {
                    extras.push(extra);
                    return;
                }
                Part::Text(text) => Block::text(text, at),
                Part::Refusal(text) => Block::new(BlockKind::Refusal { text }, at),
                Part::Thinking(text) => Block::new(BlockKind::Thinking { text, kind: ThinkingKind::Raw }, at),
                Part::Other(raw) => Block::new(BlockKind::Unknown { format: Format::OpenaiChat, raw }, at),
            });
        })?;
    }
    if let Some(text) = said.refusal {
        blocks.push(Block::new(BlockKind::Refusal { text }, at));
    }
    if let Some(mut list) = said.annotations {
        cite(&mut list, blocks.get_mut(words..).unwrap_or_default(), extras)?;
    }
    if let Some(mut audio) = said.audio {
        let at = audio.offset();
        let words = answer::transcript(&audio)?;
        let raw = audio.json()?;
        blocks.push(match words {
            // Words that were spoken are words; the sound itself is this format's own.
            Some(text) => {
                let sound = Extra { field: Field::Audio, key: Cow::Borrowed("audio"), value: raw, at };
                Block { extras: vec![sound], ..Block::text(text, at) }
            }
            None => Block::new(BlockKind::Reference { raw }, at),
        });
    }
    calls(said.calls, said.legacy_call, seed, &mut blocks)?;
    Ok(blocks)
}

/// Gives the sources in `annotations` to the texts of `blocks` that they are of, by their place in all of the words; one
/// without a place to the first. Where there is no text, they are there to be reported.
pub(super) fn cite<'a>(
    annotations: &mut Cursor<'a>,
    blocks: &mut [Block<'a>],
    extras: &mut Vec<Extra<'a>>,
) -> Result<(), JsonError> {
    let mut begins = Begins::default();
    let mut first = None;
    for (at, block) in blocks.iter().enumerate() {
        if let BlockKind::Text { text, .. } = &block.kind {
            begins.push(at, text.code_points());
            first = first.or(Some(at));
        }
    }
    match first {
        Some(first) => answer::citations(annotations, &mut |citation| {
            let home = citation.span.and_then(|span| begins.home(span));
            let (at, span) = home.map_or((first, None), |(at, span)| (at, Some(span)));
            if let Some(Block { kind: BlockKind::Text { citations, .. }, .. }) = blocks.get_mut(at) {
                citations.push(Citation { span, ..citation });
            }
        }),
        None => {
            let (at, value) = (annotations.offset(), annotations.json()?);
            if !value.is_empty() {
                extras.push(Extra { field: Field::Citations, key: Cow::Borrowed("annotations"), value, at });
            }
            Ok(())
        }
    }
}

/// Turns entries of `reasoning_details`, or plain reasoning where there are none, into blocks.
///
/// Entries of one `index` are pieces of one block, up to its signature: streams give words and signature apart. `state`
/// says what of an entry is opaque state.
pub(super) fn thinking<'a>(
    plain: Option<Text<'a>>,
    details: Option<Cursor<'a>>,
    at: usize,
    state: &mut dyn FnMut(&details::Detail<'a>) -> Option<Opaque<'a>>,
    blocks: &mut Vec<Block<'a>>,
) -> Result<(), JsonError> {
    let first = blocks.len();
    let mut open: Option<Option<u64>> = None;
    if let Some(mut list) = details {
        details::read(&mut list, &mut |detail| {
            let opaque = state(&detail);
            if detail.encrypted {
                open = None;
                let mut block = Block::new(BlockKind::Redacted, detail.at);
                block.opaque.extend(opaque);
                blocks.push(block);
                return;
            }
            let same = open == Some(detail.index) && detail.index.is_some();
            let next = Thought { worded: !detail.text.is_empty(), signed: opaque.is_some() };
            if !same || blocks.last().is_none_or(|block| thought_of(block).is_over(next)) {
                let kind = BlockKind::Thinking { text: Text::EMPTY, kind: detail.kind };
                blocks.push(Block::new(kind, detail.at));
                open = Some(detail.index);
            }
            if let Some(block) = blocks.last_mut() {
                if let BlockKind::Thinking { text, kind } = &mut block.kind {
                    text.push(&detail.text);
                    // What providers of other formats show beside their state is a summary of their reasoning.
                    if opaque.as_ref().is_some_and(|opaque| opaque.maker != Format::OpenaiChat) {
                        *kind = ThinkingKind::Summary;
                    }
                }
                block.opaque.extend(opaque);
            }
        })?;
    }
    let Some(plain) = plain else { return Ok(()) };
    let made = blocks.get_mut(first..).unwrap_or_default();
    let said = made.iter().any(|block| matches!(&block.kind, BlockKind::Thinking { text, .. } if !text.is_empty()));
    let unsaid = made.iter_mut().find(|block| matches!(block.kind, BlockKind::Thinking { .. }));
    match unsaid {
        _ if said => {}
        // The words stand in `reasoning_content`, the signature alone in the entry.
        Some(block) => {
            if let BlockKind::Thinking { text, .. } = &mut block.kind {
                *text = plain;
            }
        }
        None => blocks.insert(first, Block::new(BlockKind::Thinking { text: plain, kind: ThinkingKind::Raw }, at)),
    }
    Ok(())
}

/// How much of a thought `block` is.
fn thought_of(block: &Block<'_>) -> Thought {
    let worded = matches!(&block.kind, BlockKind::Thinking { text, .. } if !text.is_empty());
    Thought { worded, signed: !block.opaque.is_empty() }
}

fn calls<'a>(
    list: Option<Cursor<'a>>,
    legacy: Option<Cursor<'a>>,
    seed: &str,
    blocks: &mut Vec<Block<'a>>,
) -> Result<(), JsonError> {
    let mut count = 0;
    if let Some(mut list) = list {
        answer::calls::<JsonError>(&mut list, |piece| {
            let mut call = call(piece, seed, count);
            // In a block of its own in front of the call, because other formats have no slot at calls.
            if let Some(signature) = call.opaque.pop() {
                let thinking = BlockKind::Thinking { text: Text::EMPTY, kind: ThinkingKind::Raw };
                blocks.push(Block { opaque: vec![signature], ..Block::new(thinking, call.at) });
            }
            blocks.push(call);
            count += 1;
            Ok(())
        })?;
    }
    if let Some(mut legacy) = legacy {
        let piece = answer::legacy_call(&mut legacy)?;
        if piece.name.is_some() {
            blocks.push(call(piece, seed, count));
        }
    }
    Ok(())
}

/// One call; an id that is missing derives from `seed` and the call's position.
pub(super) fn call<'a>(piece: CallPiece<'a>, seed: &str, position: usize) -> Block<'a> {
    let input = piece.input.unwrap_or_default();
    let arguments = match piece.flavor {
        Flavor::Function => arguments(input),
        Flavor::Custom => Json::from_valid(format!("\"{}\"", input.escaped())),
    };
    let id = piece.id.unwrap_or_else(|| Cow::Owned(ids::derived("call_", &format!("{seed}/{position}"))));
    let name = piece.name.unwrap_or_default();
    let mut block = Block::new(BlockKind::ToolCall { id, name, arguments, flavor: piece.flavor }, piece.at);
    block.extras = piece.extras;
    block.opaque.extend(piece.signature.map(|data| Opaque {
        kind: OpaqueKind::ThoughtSignature,
        maker: Format::OpenaiChat,
        data,
    }));
    block
}

/// The usage of an answer that is passed on untouched.
pub(super) fn find_usage(body: &[u8]) -> Option<crate::hub::Usage> {
    if let Some(usage) = late_member(body, "\"usage\"", usage::read) {
        return usage;
    }
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
