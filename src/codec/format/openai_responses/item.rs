//! One item of `input` or `output`: the fields of all kinds, looked at once, and the blocks that they make.

use std::borrow::Cow;

use super::wire::{OWN, filled, is_server_item, keep, loose_text, placed, read_annotation};
use crate::hub::{
    Block, BlockKind, Citation, Extra, Field, Flavor, Opaque, OpaqueKind, ThinkingKind, arguments, ids, in_namespace,
};
use crate::json::{Cursor, Json, JsonError, Kind, Text};

/// The fields of one item.
#[derive(Debug, Default)]
pub(super) struct Item<'a> {
    /// `type`; empty where there is none.
    pub kind: Cow<'a, str>,
    /// `role` of a message.
    pub role: Option<Cow<'a, str>>,
    /// `id`, in the provider's store.
    pub id: Option<Text<'a>>,
    /// `call_id`.
    pub call_id: Option<Cow<'a, str>>,
    /// `name`
    pub name: Option<Cow<'a, str>>,
    /// `namespace`
    pub namespace: Option<Cow<'a, str>>,
    /// `arguments` or `input` of a call: JSON text, or free text, as the contents of a JSON string.
    pub input: Option<Text<'a>>,
    /// `content`, a string or a list.
    pub content: Option<Content<'a>>,
    /// `summary`, a list.
    pub summary: Option<Cursor<'a>>,
    /// `output` of a result, a string or a list.
    pub output: Option<Content<'a>>,
    /// `encrypted_content`
    pub encrypted: Option<Text<'a>>,
    /// `tools` of an item that adds some.
    pub tools: Option<Cursor<'a>>,
    /// `status` of an item that is not complete.
    pub broke_off: Option<Extra<'a>>,
    /// Fields that no rule knows.
    pub extras: Vec<Extra<'a>>,
    /// The item itself.
    pub start: Option<Cursor<'a>>,
    /// Byte offset.
    pub at: usize,
}

impl<'a> Item<'a> {
    /// Reads the item at `value`.
    pub(super) fn read(value: &mut Cursor<'a>) -> Result<Self, JsonError> {
        let mut item = Self { at: value.offset(), start: Some(value.clone()), ..Self::default() };
        value.object::<JsonError>(|key, value| item.field(key, value))?;
        Ok(item)
    }

    fn field(&mut self, key: Cow<'a, str>, value: &mut Cursor<'a>) -> Result<(), JsonError> {
        match key.as_ref() {
            "type" => self.kind = loose_text(value)?.unwrap_or_default().into_plain(),
            "role" => self.role = filled(value)?.map(Text::into_plain),
            "id" => self.id = filled(value)?,
            // What becomes of an item is told by the answer. In a history it is over; only that it broke off tells.
            "status" => {
                let (at, status) = (value.offset(), value.json()?);
                let broke_off = status.as_str() == "\"incomplete\"";
                self.broke_off = broke_off.then_some(Extra { field: Field::StopReason, key, value: status, at });
            }
            "call_id" => self.call_id = filled(value)?.map(Text::into_plain),
            "name" => self.name = filled(value)?.map(Text::into_plain),
            "namespace" => self.namespace = filled(value)?.map(Text::into_plain),
            "arguments" | "input" => self.input = input(value)?,
            "content" => self.content = Content::read(value)?,
            "output" => self.output = Content::read(value)?,
            "summary" => self.summary = placed(value, Kind::Array)?,
            "encrypted_content" => self.encrypted = filled(value)?,
            "tools" => self.tools = placed(value, Kind::Array)?,
            "phase" => keep(&mut self.extras, Field::Turn, key, value)?,
            _ => keep(&mut self.extras, Field::Unknown, key, value)?,
        }
        Ok(())
    }

    /// The whole item's JSON.
    pub(super) fn raw(&self) -> Json<'a> {
        self.start.clone().and_then(|mut start| start.json().ok()).unwrap_or(Json::NULL)
    }

    /// The name of a call, with its namespace.
    pub(super) fn full_name(&mut self) -> Cow<'a, str> {
        let name = self.name.take().unwrap_or_default();
        match self.namespace.take() {
            Some(namespace) => Cow::Owned(in_namespace(&namespace, &name)),
            None => name,
        }
    }

    /// Whether a call takes an object or free text.
    pub(super) fn flavor(&self) -> Flavor {
        if self.kind == "custom_tool_call" { Flavor::Custom } else { Flavor::Function }
    }

    /// The call; an id that is missing derives from `seed`.
    pub(super) fn call(mut self, seed: &str) -> Block<'a> {
        let flavor = self.flavor();
        let input = self.input.take().unwrap_or_default();
        let arguments = match flavor {
            Flavor::Function => arguments(input),
            Flavor::Custom => Json::from_valid(format!("\"{}\"", input.escaped())),
        };
        let id = self.call_id.take().or_else(|| self.id.take().map(Text::into_plain));
        let id = id.unwrap_or_else(|| Cow::Owned(ids::derived("call_", seed)));
        let name = self.full_name();
        let mut block = Block::new(BlockKind::ToolCall { id, name, arguments, flavor }, self.at);
        block.extras = self.extras;
        block
    }

    /// The reasoning: a block for every part of the summary and of the content, the state at the last of them.
    ///
    /// `state` is what `encrypted_content` turned out to be.
    pub(super) fn thoughts(self, state: Option<Opaque<'a>>) -> Result<Vec<Block<'a>>, JsonError> {
        let mut blocks = Vec::new();
        let content = self.content.and_then(Content::into_parts);
        for (list, kind) in [(self.summary, ThinkingKind::Summary), (content, ThinkingKind::Raw)] {
            let Some(mut list) = list else { continue };
            list.array::<JsonError>(|_, value| {
                let at = value.offset();
                let part = Part::read(value)?;
                if let Some(text) = part.text.filter(|text| !text.is_empty()) {
                    blocks.push(Block { extras: part.extras, ..Block::new(BlockKind::Thinking { text, kind }, at) });
                }
                Ok(())
            })?;
        }
        if let Some(opaque) = state {
            if blocks.is_empty() {
                blocks.push(Block::new(wordless(opaque.kind), self.at));
            }
            if let Some(last) = blocks.last_mut() {
                last.opaque.push(opaque);
            }
        }
        if blocks.is_empty() && !self.extras.is_empty() {
            // Nothing of it can be used; it is there to be reported.
            blocks.push(Block::new(BlockKind::Thinking { text: Text::EMPTY, kind: ThinkingKind::Summary }, self.at));
        }
        if let Some(first) = blocks.first_mut() {
            first.extras.extend(self.extras);
        }
        Ok(blocks)
    }

    /// The state of a provider's own reasoning.
    pub(super) fn native_state(&self) -> Option<Opaque<'a>> {
        let data = self.encrypted.clone()?;
        Some(Opaque { kind: OpaqueKind::EncryptedReasoning, maker: OWN, data })
    }

    /// A block that keeps the item as it is: a tool of the provider's, or something that no rule knows.
    pub(super) fn kept(&self) -> Block<'a> {
        let raw = self.raw();
        let kind = if is_server_item(&self.kind) {
            BlockKind::ServerTool { raw, result: self.kind.ends_with("_output") }
        } else {
            BlockKind::Unknown { format: OWN, raw }
        };
        Block::new(kind, self.at)
    }
}

/// The block of a state without words: reasoning that nobody may read, or a signature of thoughts that were not told
/// (or of the call behind it).
fn wordless<'a>(kind: OpaqueKind) -> BlockKind<'a> {
    match kind {
        OpaqueKind::RedactedData | OpaqueKind::EncryptedReasoning | OpaqueKind::Unsigned => BlockKind::Redacted,
        OpaqueKind::ThinkingSignature | OpaqueKind::ThoughtSignature => {
            BlockKind::Thinking { text: Text::EMPTY, kind: ThinkingKind::Summary }
        }
    }
}

/// What a message or a result says.
#[derive(Debug, Clone)]
pub(super) enum Content<'a> {
    /// Words.
    Words(Text<'a>),
    /// A list of parts, to be read.
    Parts(Cursor<'a>),
}

impl<'a> Content<'a> {
    /// A string or a list; nothing else.
    fn read(value: &mut Cursor<'a>) -> Result<Option<Self>, JsonError> {
        Ok(match value.peek()? {
            Kind::String => Some(Self::Words(value.text()?)),
            _ => placed(value, Kind::Array)?.map(Self::Parts),
        })
    }

    /// The parts, where it is a list.
    pub(super) fn into_parts(self) -> Option<Cursor<'a>> {
        match self {
            Self::Words(_) => None,
            Self::Parts(list) => Some(list),
        }
    }
}

/// Arguments are a string; some servers give the object itself.
fn input<'a>(value: &mut Cursor<'a>) -> Result<Option<Text<'a>>, JsonError> {
    match value.peek()? {
        Kind::String => value.text().map(Some),
        Kind::Object => Ok(Some(Text::from_json(value.json()?.as_str()).into_owned())),
        _ => value.skip().map(|()| None),
    }
}

/// A part of an answer's message.
#[derive(Debug, Default)]
pub(super) struct Part<'a> {
    /// `type`
    pub kind: Cow<'a, str>,
    /// `text` or `refusal`.
    pub text: Option<Text<'a>>,
    /// `annotations`
    pub citations: Vec<Citation<'a>>,
    /// `logprobs`, not empty.
    pub logprobs: Option<Json<'a>>,
    /// What the hub has no place for.
    pub extras: Vec<Extra<'a>>,
}

impl<'a> Part<'a> {
    /// Reads the part at `value`.
    pub(super) fn read(value: &mut Cursor<'a>) -> Result<Self, JsonError> {
        let mut part = Self::default();
        if value.peek()? == Kind::String {
            part.kind = Cow::Borrowed("output_text");
            part.text = Some(value.text()?);
            return Ok(part);
        }
        if value.peek()? != Kind::Object {
            value.skip()?;
            return Ok(part);
        }
        value.object::<JsonError>(|key, value| {
            match key.as_ref() {
                "type" => part.kind = loose_text(value)?.unwrap_or_default().into_plain(),
                "text" | "refusal" => part.text = loose_text(value)?.or(part.text.take()),
                "annotations" => part.citations = annotations(value)?,
                "logprobs" if value.peek()? == Kind::Array => {
                    part.logprobs = Some(value.json()?).filter(|json| !json.is_empty());
                }
                "logprobs" => value.skip()?,
                _ => keep(&mut part.extras, Field::Unknown, key, value)?,
            }
            Ok(())
        })?;
        Ok(part)
    }

    /// True for words of refusal.
    pub(super) fn is_refusal(&self) -> bool {
        self.kind == "refusal"
    }

    /// True for words.
    pub(super) fn is_words(&self) -> bool {
        matches!(self.kind.as_ref(), "output_text" | "text" | "input_text" | "refusal" | "")
    }
}

/// Reads `annotations`.
pub(super) fn annotations<'a>(value: &mut Cursor<'a>) -> Result<Vec<Citation<'a>>, JsonError> {
    let mut found = Vec::new();
    if value.peek()? != Kind::Array {
        value.skip()?;
        return Ok(found);
    }
    value.array::<JsonError>(|_, value| {
        found.extend(read_annotation(value)?);
        Ok(())
    })?;
    Ok(found)
}
