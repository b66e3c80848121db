//! A provider's whole answer, read.

use std::borrow::Cow;

use super::chunk::{Answer, Chunk, answers};
use super::grounding::{Place, read_citations, read_grounding};
use super::read_part::nameless;
use super::wire::{OWN, is_own};
use super::{logprobs, stop, usage};
use crate::format::thought::Thought;
use crate::hub::ids::derived;
use crate::hub::{Begins, Block, BlockKind, Candidate, Citation, Extra, Field, Opaque, Response, Stop, Usage};
use crate::json::{Cursor, Json, JsonError, Kind, Problem, Text};

/// Reads an answer.
pub(super) fn read(body: &[u8]) -> Result<Response<'_>, JsonError> {
    let mut cursor = Cursor::over_bytes(body)?;
    let at = cursor.offset();
    let chunk = Chunk::read(&mut cursor, |_| Ok(false))?;
    cursor.finish()?;
    if chunk.error.is_some() {
        return Err(JsonError { offset: at, problem: Problem::Syntax("an answer, not an error") });
    }
    let mut response = Response {
        format: OWN,
        id: chunk.id.unwrap_or_default(),
        model: chunk.model.unwrap_or_default(),
        created: None,
        candidates: Vec::new(),
        usage: None,
        tier: None,
        extras: chunk.extras,
    };
    if let Some(mut usage) = chunk.usage {
        response.tier = tier_of(usage.clone())?;
        response.usage = usage::read(&mut usage)?;
    }
    if let Some(mut candidates) = chunk.candidates {
        answers::<JsonError>(&mut candidates, |answer| {
            let mut candidate = candidate(answer, &response.id)?;
            if let Some(word) = &chunk.blocked {
                candidate.stop = stop::broken_off(Some(candidate.stop), word);
            }
            response.candidates.push(candidate);
            Ok(())
        })?;
    }
    if response.candidates.is_empty() {
        // What came instead of an answer says why; nothing at all is no success.
        let Some(word) = &chunk.blocked else {
            return Err(JsonError { offset: at, problem: Problem::Syntax("an answer with `candidates`") });
        };
        let stop = stop::blocked(word);
        response.candidates.push(Candidate { index: 0, blocks: Vec::new(), stop, logprobs: None, extras: Vec::new() });
    }
    Ok(response)
}

/// The tier that a `usageMetadata` names.
pub(super) fn tier_of(mut usage: Cursor<'_>) -> Result<Option<Text<'_>>, JsonError> {
    let mut tier = None;
    super::wire::fields::<JsonError>(&mut usage, |name, _, value| {
        if name == "serviceTier" {
            tier = super::wire::loose_text(value)?;
        }
        Ok(())
    })?;
    Ok(tier)
}

fn candidate<'a>(answer: Answer<'a>, response_id: &Text<'a>) -> Result<Candidate<'a>, JsonError> {
    let mut gathering =
        Gathering { seed: format!("{}:{}", response_id.escaped(), answer.index), ..Gathering::default() };
    answer.parts.each::<JsonError>(|block| {
        gathering.part(block);
        Ok(())
    })?;
    gathering.flush();
    if let Some(at) = gathering.nameless {
        return Err(nameless(at));
    }
    let Gathering { mut blocks, calls, starts, .. } = gathering;
    let mut extras = answer.extras;
    let mut sources = Vec::new();
    if answer.grounding.is_some() || answer.citations.is_some() {
        let text = plain_text(&blocks);
        let place = Place { text: &text, parts: &starts };
        if let Some(mut grounding) = answer.grounding {
            let at = grounding.offset();
            let more = read_grounding(&mut grounding, place, &mut |citation| sources.push(citation))?;
            if more {
                // Queries and the like: no other format has them.
                let key = Cow::Borrowed("groundingMetadata");
                extras.push(Extra { field: Field::Citations, key, value: Json::NULL, at });
            }
        }
        if let Some(mut citations) = answer.citations {
            let at = citations.offset();
            if read_citations(&mut citations, place, &mut |citation| sources.push(citation))? {
                let key = Cow::Borrowed("citationMetadata");
                extras.push(Extra { field: Field::Citations, key, value: Json::NULL, at });
            }
        }
    }
    cite(&mut blocks, sources);
    let logprobs = match answer.logprobs {
        Some(mut raw) => logprobs::read(&mut raw)?,
        None => None,
    };
    let stop = match &answer.finish {
        Some(word) => stop::read(word, answer.message, calls > 0),
        None if blocks.is_empty() => Stop::Failed(Text::from_escaped("it has neither words nor a reason")),
        None => {
            // Without a reason the answer is not known to be whole.
            let key = Cow::Borrowed("finishReason");
            extras.push(Extra { field: Field::StopReason, key, value: Json::NULL, at: 0 });
            if calls > 0 { Stop::ToolUse } else { Stop::EndTurn }
        }
    };
    Ok(Candidate { index: u64::from(answer.index), blocks, stop, logprobs, extras })
}

/// The sources belong to the words that they cover; those that do not say to which, to the last.
fn cite<'a>(blocks: &mut [Block<'a>], sources: Vec<Citation<'a>>) {
    let mut begins = Begins::default();
    let mut last = None;
    for (at, block) in blocks.iter().enumerate().filter(|_| !sources.is_empty()) {
        if let BlockKind::Text { text, .. } = &block.kind {
            begins.push(at, text.plain().chars().count() as u64);
            last = Some(at);
        }
    }
    for citation in sources {
        let home = citation.span.and_then(|span| begins.home(span)).map(|(at, span)| (at, Some(span)));
        let Some((at, span)) = home.or(last.map(|last| (last, None))) else { return };
        if let Some(Block { kind: BlockKind::Text { citations, .. }, .. }) = blocks.get_mut(at) {
            citations.push(Citation { span, ..citation });
        }
    }
}

fn plain_text(blocks: &[Block<'_>]) -> String {
    let mut out = String::new();
    for block in blocks {
        if let BlockKind::Text { text, .. } = &block.kind {
            out.push_str(&text.plain());
        }
    }
    out
}

/// Parts on their way to be blocks: neighbours of a kind are one block, as a stream cannot tell them apart.
#[derive(Default)]
struct Gathering<'a> {
    blocks: Vec<Block<'a>>,
    /// Signatures of the open text block; they stand behind it.
    signatures: Vec<Opaque<'a>>,
    calls: u64,
    seed: String,
    /// Where the parts' texts begin in all of the text.
    starts: Vec<usize>,
    length: usize,
    /// Where a call stands that does not say what it calls.
    nameless: Option<usize>,
}

impl<'a> Gathering<'a> {
    fn part(&mut self, mut block: Block<'a>) {
        self.starts.push(self.length);
        match &mut block.kind {
            BlockKind::Text { text, .. } => {
                self.length += text.plain().len();
                self.signatures.append(&mut block.opaque);
                let last = self.blocks.last_mut().map(|last| &mut last.kind);
                match last {
                    Some(BlockKind::Text { text: before, .. }) if block.extras.is_empty() => before.push(text),
                    _ if text.is_empty() && block.extras.is_empty() => {}
                    _ => self.blocks.push(block),
                }
            }
            BlockKind::Thinking { text, .. } => {
                self.flush();
                let next = thought_of(text, &block.opaque);
                match self.blocks.last_mut() {
                    Some(Block { kind: BlockKind::Thinking { text: before, .. }, opaque, .. })
                        if block.extras.is_empty() && !thought_of(before, opaque).is_over(next) =>
                    {
                        before.push(text);
                        opaque.append(&mut block.opaque);
                    }
                    _ => self.blocks.push(block),
                }
            }
            BlockKind::ToolCall { id, name, .. } => {
                if name.is_empty() {
                    self.nameless.get_or_insert(block.at);
                }
                if id.is_empty() {
                    *id = Cow::Owned(call_id(&self.seed, self.calls));
                }
                self.calls += 1;
                self.signatures.append(&mut block.opaque);
                self.flush();
                self.blocks.push(block);
            }
            _ => {
                self.flush();
                self.blocks.push(block);
            }
        }
    }

    /// A signature of words or of a call is a block of its own: behind the words, before the call. Every format has a
    /// place for such a block, and the way back to the provider puts the signature where it was.
    fn flush(&mut self) {
        let at = self.blocks.last().map_or(0, |block| block.at);
        for opaque in self.signatures.drain(..) {
            let mut block = Block::new(BlockKind::Redacted, at);
            debug_assert!(is_own(&opaque), "providers seal nothing");
            block.opaque.push(opaque);
            self.blocks.push(block);
        }
    }
}

fn thought_of(text: &Text<'_>, opaque: &[Opaque<'_>]) -> Thought {
    Thought { worded: !text.is_empty(), signed: !opaque.is_empty() }
}

/// The id of call number `at` of an answer whose provider gives none; the same for the whole answer and the stream.
pub(super) fn call_id(seed: &str, at: u64) -> String {
    derived("call_", &format!("{seed}:{at}"))
}

/// Picks the usage out of a whole answer, or out of a stream that came as one array, without reading the rest.
pub(super) fn find_usage(body: &[u8]) -> Option<Usage> {
    let mut cursor = Cursor::over_bytes(body).ok()?;
    let mut found = None;
    let mut one = |cursor: &mut Cursor<'_>| {
        super::wire::fields::<JsonError>(cursor, |name, _, value| {
            if name == "usageMetadata" {
                found = usage::read(value)?.or(found.take());
            }
            Ok(())
        })
    };
    match cursor.peek().ok()? {
        Kind::Object => one(&mut cursor).ok()?,
        Kind::Array => cursor.array(|_, element| one(element)).ok()?,
        _ => {}
    }
    found
}
