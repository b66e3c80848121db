//! Parts of a content, read.

use std::borrow::Cow;

use super::read_media::{read_file, read_inline};
use super::thoughts::Carried;
use super::wire::{OWN, Signed, fields, keep, loose_text, open};
use crate::hub::{Block, BlockKind, Extra, Field, Flavor, Opaque, OpaqueKind, ThinkingKind};
use crate::json::{Cursor, Json, JsonError, Kind, Problem, Text};
use crate::seal::Seal;

/// A part, and what its call or result says beside what the hub keeps.
#[derive(Debug)]
pub(super) struct Part<'a> {
    /// The part; a call or a result without an id has the empty one.
    pub block: Block<'a>,
    /// The tool that a result is of.
    pub tool: Option<Cow<'a, str>>,
    /// It is reasoning that came with a call, which stood so many characters of text before that.
    pub behind: Option<u64>,
    /// Another provider's states that the part carried; they stand before the part.
    before: Vec<(Block<'a>, u64)>,
}

/// Reads an array of parts, or one part, or a string.
pub(super) fn read_parts<'a>(
    cursor: &mut Cursor<'a>,
    seal: Option<&Seal>,
    each: &mut dyn FnMut(Part<'a>),
) -> Result<(), JsonError> {
    match cursor.peek()? {
        Kind::Null => cursor.skip(),
        Kind::Array => cursor.array(|_, value| {
            read_part(value, seal)?.give(each);
            Ok(())
        }),
        Kind::Object | Kind::String => {
            read_part(cursor, seal)?.give(each);
            Ok(())
        }
        Kind::Number | Kind::Bool => Err(cursor.wrong("an array of parts")),
    }
}

impl<'a> Part<'a> {
    fn new(block: Block<'a>, tool: Option<Cow<'a, str>>) -> Self {
        Self { block, tool, behind: None, before: Vec::new() }
    }

    fn give(mut self, each: &mut dyn FnMut(Part<'a>)) {
        for (block, behind) in std::mem::take(&mut self.before) {
            each(Part { behind: Some(behind), ..Part::new(block, None) });
        }
        each(self);
    }
}

/// What a part holds.
#[derive(Default)]
struct Fields<'a> {
    text: Option<Text<'a>>,
    thought: bool,
    signature: Option<(Text<'a>, usize)>,
    /// The one field that says what the part is.
    data: Option<(&'static str, Cursor<'a>)>,
    extras: Vec<Extra<'a>>,
}

/// The fields that say what a part is.
const KINDS: [&str; 8] = [
    "inlineData",
    "fileData",
    "functionCall",
    "functionResponse",
    "executableCode",
    "codeExecutionResult",
    "toolCall",
    "toolResponse",
];

/// Reads one part. `seal` opens envelopes that a client brings back; a provider brings none.
pub(super) fn read_part<'a>(cursor: &mut Cursor<'a>, seal: Option<&Seal>) -> Result<Part<'a>, JsonError> {
    let at = cursor.offset();
    if cursor.peek()? == Kind::String {
        return Ok(Part::new(Block::text(cursor.text()?, at), None));
    }
    let raw = cursor.clone();
    let mut part = Fields::default();
    fields::<JsonError>(cursor, |name, key, value| {
        match name {
            "text" => part.text = loose_text(value)?,
            "thought" => part.thought = value.nullable(Cursor::bool)?.unwrap_or(false),
            "thoughtSignature" => {
                let at = value.offset();
                part.signature = loose_text(value)?.filter(|text| !text.is_empty()).map(|text| (text, at));
            }
            name => match KINDS.iter().find(|kind| **kind == name) {
                Some(kind) if value.peek()? != Kind::Null => {
                    part.data = Some((kind, value.clone()));
                    value.skip()?;
                }
                Some(_) => value.skip()?,
                None => keep(&mut part.extras, class_of(name), key, value)?,
            },
        }
        Ok(())
    })?;
    part.into_part(raw, at, seal)
}

/// What a field of a part counts as when it cannot be carried.
fn class_of(name: &str) -> Field {
    match name {
        "mediaResolution" => Field::ImageDetail,
        _ => Field::Unknown,
    }
}

impl<'a> Fields<'a> {
    fn into_part(mut self, mut raw: Cursor<'a>, at: usize, seal: Option<&Seal>) -> Result<Part<'a>, JsonError> {
        let mut tool = None;
        let opened = self.signature.take().map(|(value, at)| (open(&value, seal), value, at));
        let kind = match self.data.take() {
            Some(("functionCall", mut value)) => read_call(&mut value, &mut self.extras, seal.is_some())?,
            Some(("functionResponse", mut value)) => {
                let (kind, name) = read_result(&mut value, &mut self.extras, at)?;
                tool = name;
                kind
            }
            Some(("inlineData", mut value)) => read_inline(&mut value, &mut self.extras)?,
            Some(("fileData", mut value)) => read_file(&mut value, &mut self.extras)?,
            Some((name, _)) => {
                let result = matches!(name, "codeExecutionResult" | "toolResponse");
                // Its extras and its signature stay in the raw JSON.
                return Ok(Part::new(Block::new(BlockKind::ServerTool { raw: raw.json()?, result }, at), None));
            }
            None => match said(self.text.take(), self.thought, opened.as_ref().map(|(signed, ..)| signed)) {
                Some(kind) => kind,
                None => BlockKind::Unknown { format: OWN, raw: raw.clone().json()? },
            },
        };
        if let BlockKind::Unknown { .. } = kind {
            let raw = raw.json()?;
            return Ok(Part::new(Block::new(BlockKind::Unknown { format: OWN, raw }, at), tool));
        }
        // A signature of thinking is told from one of words or of a call, which has no text of its own elsewhere.
        let signature = match kind {
            BlockKind::Thinking { .. } => OpaqueKind::ThinkingSignature,
            _ => OpaqueKind::ThoughtSignature,
        };
        let mut block = Block { extras: self.extras, ..Block::new(kind, at) };
        let mut before = Vec::new();
        match opened {
            None => {}
            Some((Signed::Bare, data, _)) => {
                block.opaque.push(Opaque { kind: signature, maker: OWN, data });
            }
            Some((Signed::Ours(states), _, signed_at)) => {
                for carried in states.into_iter().filter(|carried| carried.opaque.kind != OpaqueKind::Unsigned) {
                    if is_passenger(&block.kind, &carried.opaque) {
                        let behind = carried.thought.behind;
                        before.push((Block { words_at: Some(signed_at), ..alone(carried, at) }, behind));
                    } else {
                        block.opaque.push(carried.opaque);
                    }
                }
            }
            Some((Signed::Forged, _, at)) => {
                let key = Cow::Borrowed("thoughtSignature");
                block.extras.push(Extra { field: Field::OpaqueState, key, value: Json::NULL, at });
            }
        }
        Ok(Part { before, ..Part::new(block, tool) })
    }
}

/// What a part is that holds nothing but words and a signature; `None` where it has neither.
fn said<'a>(text: Option<Text<'a>>, thought: bool, signed: Option<&Signed>) -> Option<BlockKind<'a>> {
    let alone = match signed {
        Some(Signed::Ours(states)) if states.len() == 1 => states.first(),
        _ => None,
    };
    let is_secret = alone.is_some_and(|carried| is_reasoning(carried.opaque.kind));
    // Words that the client was not shown are in the envelope.
    let hidden = alone.map_or("", |carried| carried.thought.words.as_str());
    match text {
        text if thought && !hidden.is_empty() && text.as_ref().is_none_or(Text::is_empty) => {
            let text = Text::from_plain(hidden).into_owned();
            Some(BlockKind::Thinking { text, kind: ThinkingKind::Summary })
        }
        Some(text) if thought && text.is_empty() && is_secret => Some(BlockKind::Redacted),
        Some(text) if thought => Some(BlockKind::Thinking { text, kind: ThinkingKind::Summary }),
        Some(text) => Some(BlockKind::Text { text, citations: Vec::new() }),
        None if signed.is_some() && thought => Some(BlockKind::Redacted),
        None if signed.is_some() => Some(BlockKind::Text { text: Text::EMPTY, citations: Vec::new() }),
        None => None,
    }
}

/// True for state that is all there is of its reasoning, unless that was shown.
fn is_reasoning(kind: OpaqueKind) -> bool {
    matches!(kind, OpaqueKind::RedactedData | OpaqueKind::EncryptedReasoning)
}

/// True for state that came before words or a call, and travelled with them because it has no words of its own.
fn is_passenger(kind: &BlockKind<'_>, opaque: &Opaque<'_>) -> bool {
    let carries = match kind {
        BlockKind::Text { text, .. } => !text.is_empty(),
        kind => matches!(kind, BlockKind::ToolCall { .. }),
    };
    carries && opaque.kind != OpaqueKind::ThoughtSignature
}

/// The block that `carried` was.
fn alone<'a>(Carried { opaque, thought }: Carried, at: usize) -> Block<'a> {
    let kind = if thought.words.is_empty() && opaque.kind != OpaqueKind::ThinkingSignature {
        BlockKind::Redacted
    } else {
        BlockKind::Thinking { text: Text::from_plain(&thought.words).into_owned(), kind: ThinkingKind::Summary }
    };
    Block { opaque: vec![opaque], ..Block::new(kind, at) }
}

/// A call must say what it calls.
pub(super) fn nameless(at: usize) -> JsonError {
    JsonError { offset: at, problem: Problem::Syntax("a functionCall with `name`") }
}

/// `{"id":…,"name":…,"args":{…}}`. A provider's piece of one has no name; how it goes on is among the extras. A client's
/// call is `whole`.
fn read_call<'a>(value: &mut Cursor<'a>, extras: &mut Vec<Extra<'a>>, whole: bool) -> Result<BlockKind<'a>, JsonError> {
    let at = value.offset();
    let (mut id, mut name, mut arguments) = (None, None, None);
    fields::<JsonError>(value, |key, own, value| {
        match key {
            "id" => id = loose_text(value)?.map(Text::into_plain),
            "name" => name = loose_text(value)?.map(Text::into_plain),
            "args" => arguments = value.nullable(Cursor::json)?,
            _ => keep(extras, Field::ToolCall, own, value)?,
        }
        Ok(())
    })?;
    if whole && name.is_none() {
        return Err(nameless(at));
    }
    let (id, name) = (id.unwrap_or_default(), name.unwrap_or_default());
    let arguments = arguments.unwrap_or(Json::EMPTY_OBJECT);
    Ok(BlockKind::ToolCall { id, name, arguments, flavor: Flavor::Function })
}

/// `{"id":…,"name":…,"response":{…},"parts":[…]}`
fn read_result<'a>(
    value: &mut Cursor<'a>,
    extras: &mut Vec<Extra<'a>>,
    at: usize,
) -> Result<(BlockKind<'a>, Option<Cow<'a, str>>), JsonError> {
    let (mut id, mut name) = (None, None);
    let (mut said, mut content) = (Said::default(), Vec::new());
    fields::<JsonError>(value, |key, own, value| {
        match key {
            "id" => id = loose_text(value)?.map(Text::into_plain),
            "name" => name = loose_text(value)?.map(Text::into_plain),
            "response" => said = value.nullable(read_response)?.unwrap_or_default(),
            "parts" => read_parts(value, None, &mut |part| content.push(part.block))?,
            _ => keep(extras, Field::ToolResult, own, value)?,
        }
        Ok(())
    })?;
    if let Some(text) = said.text.filter(|text| !text.is_empty()) {
        content.insert(0, Block::text(text, at));
    }
    Ok((BlockKind::ToolResult { id: id.unwrap_or_default(), content, is_error: said.is_error }, name))
}

/// What a tool answered.
#[derive(Default)]
struct Said<'a> {
    text: Option<Text<'a>>,
    is_error: Option<bool>,
}

/// The vendor's convention: `output` holds what the tool says, `error` why it failed; any other object is all of it.
fn read_response<'a>(value: &mut Cursor<'a>) -> Result<Said<'a>, JsonError> {
    let whole = value.clone().json()?;
    if whole.kind() != Kind::Object {
        value.skip()?;
        return Ok(Said { text: Some(words(&whole)), is_error: None });
    }
    let (mut keys, mut output, mut error) = (0_u32, None, None);
    value.object::<JsonError>(|key, value| {
        keys += 1;
        match key.as_ref() {
            "output" => output = Some(value.json()?),
            "error" => error = Some(value.json()?),
            _ => value.skip()?,
        }
        Ok(())
    })?;
    Ok(match (keys, output, error) {
        (1, Some(output), None) => Said { text: Some(words(&output)), is_error: None },
        (1, None, Some(error)) => Said { text: Some(words(&error)), is_error: Some(true) },
        _ => Said { text: Some(words(&whole)), is_error: None },
    })
}

/// A string's contents, or the JSON text of anything else.
fn words(json: &Json<'_>) -> Text<'static> {
    match json.cursor().text() {
        Ok(text) => text.into_owned(),
        Err(_) => Text::from_json(json.as_str()).into_owned(),
    }
}
