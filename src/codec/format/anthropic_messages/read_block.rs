//! Blocks of messages and of answers, read.

use std::borrow::Cow;

use super::wire::{OWN, kept, read_cache, read_citation, type_of};
use crate::hub::{
    Block, BlockKind, CacheMark, Citation, Extra, Field, Flavor, Opaque, OpaqueKind, Source, ThinkingKind,
};
use crate::json::{Cursor, Json, JsonError, Kind, Problem, Text};
use crate::seal::{Opened, Seal};

/// Reads a `content`: a string or an array of blocks. The empty string is no block.
pub(super) fn read_content<'a>(cursor: &mut Cursor<'a>, seal: Option<&Seal>) -> Result<Vec<Block<'a>>, JsonError> {
    let at = cursor.offset();
    let mut blocks = Vec::new();
    match cursor.peek()? {
        Kind::Null => cursor.skip()?,
        Kind::String => {
            let text = cursor.text()?;
            if !text.is_empty() {
                blocks.push(Block::text(text, at));
            }
        }
        Kind::Array => cursor.array::<JsonError>(|_, element| {
            blocks.push(read_block(element, seal)?);
            Ok(())
        })?,
        Kind::Object | Kind::Number | Kind::Bool => return Err(cursor.wrong("a string or an array of blocks")),
    }
    Ok(blocks)
}

/// Reads one block. `seal` opens envelopes that a client brings back; a provider brings none.
pub(super) fn read_block<'a>(cursor: &mut Cursor<'a>, seal: Option<&Seal>) -> Result<Block<'a>, JsonError> {
    let start = cursor.clone();
    let mut fields = Fields { at: cursor.offset(), ..Fields::default() };
    let kind = type_of(cursor)?;
    match kind.as_ref() {
        "text" => fields.text(cursor),
        "thinking" => fields.thinking(cursor, seal),
        "redacted_thinking" => fields.redacted(cursor, seal),
        "tool_use" => fields.tool_use(cursor, seal),
        "tool_result" => fields.tool_result(cursor, seal),
        "image" => fields.image(cursor, seal),
        "document" => fields.document(cursor, seal),
        "search_result" => fields.raw(cursor, |raw| BlockKind::SearchResult { raw }),
        "container_upload" => fields.raw(cursor, |raw| BlockKind::Reference { raw }),
        _ if kind.ends_with("_tool_use") => fields.raw(cursor, |raw| BlockKind::ServerTool { raw, result: false }),
        _ if kind.ends_with("_tool_result") => fields.raw(cursor, |raw| BlockKind::ServerTool { raw, result: true }),
        _ => fields.raw(cursor, |raw| BlockKind::Unknown { format: OWN, raw }),
    }
    .and_then(|kind| match kind {
        Some(kind) => Ok(fields.into_block(kind)),
        None => {
            let raw = start.clone().json()?;
            Ok(Block::new(BlockKind::Unknown { format: OWN, raw }, fields.at))
        }
    })
}

/// What all blocks have.
#[derive(Default)]
struct Fields<'a> {
    cache: Option<CacheMark>,
    opaque: Vec<Opaque<'a>>,
    extras: Vec<Extra<'a>>,
    at: usize,
}

/// The kind, or `None` for a block of a form that no rule knows.
type Read<'a> = Result<Option<BlockKind<'a>>, JsonError>;

impl<'a> Fields<'a> {
    fn into_block(self, kind: BlockKind<'a>) -> Block<'a> {
        Block { cache: self.cache, opaque: self.opaque, extras: self.extras, ..Block::new(kind, self.at) }
    }

    /// Reads the object at `cursor`; `own` says whether it took the value of a key.
    fn each(
        &mut self,
        cursor: &mut Cursor<'a>,
        mut own: impl FnMut(&str, &mut Cursor<'a>) -> Result<bool, JsonError>,
    ) -> Result<(), JsonError> {
        cursor.object(|key, value| {
            match key.as_ref() {
                "type" => value.skip()?,
                "cache_control" => self.cache = read_cache(value, &mut self.extras)?,
                name if own(name, value)? => {}
                // What every call says unless a program of the provider makes it.
                "caller" if type_of(value).is_ok_and(|kind| kind == "direct") => value.skip()?,
                name => {
                    let field = class_of(name);
                    self.extras.extend(kept(field, key, value)?);
                }
            }
            Ok(())
        })
    }

    fn missing<T>(&self, what: &'static str) -> Result<T, JsonError> {
        Err(JsonError { offset: self.at, problem: Problem::Syntax(what) })
    }

    fn raw(&mut self, cursor: &mut Cursor<'a>, kind: impl FnOnce(Json<'a>) -> BlockKind<'a>) -> Read<'a> {
        let mut raw = cursor.clone();
        cursor.object::<JsonError>(|key, value| match key.as_ref() {
            // Its extras stay in the raw JSON.
            "cache_control" => {
                self.cache = read_cache(value, &mut Vec::new())?;
                Ok(())
            }
            _ => value.skip(),
        })?;
        Ok(Some(kind(raw.json()?)))
    }

    fn text(&mut self, cursor: &mut Cursor<'a>) -> Read<'a> {
        let (mut text, mut citations) = (None, Vec::new());
        self.each(cursor, |key, value| {
            match key {
                "text" => text = value.nullable(Cursor::text)?,
                "citations" => citations = value.nullable(read_citations)?.unwrap_or_default(),
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        match text {
            Some(text) => Ok(Some(BlockKind::Text { text, citations })),
            None => self.missing("a text block with `text`"),
        }
    }

    fn thinking(&mut self, cursor: &mut Cursor<'a>, seal: Option<&Seal>) -> Read<'a> {
        let (mut text, mut signature) = (Text::EMPTY, None);
        self.each(cursor, |key, value| {
            match key {
                "thinking" => text = value.nullable(Cursor::text)?.unwrap_or_default(),
                "signature" => signature = opaque_value(value)?,
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        self.open(signature, OpaqueKind::ThinkingSignature, seal);
        Ok(Some(BlockKind::Thinking { text, kind: ThinkingKind::Summary }))
    }

    fn redacted(&mut self, cursor: &mut Cursor<'a>, seal: Option<&Seal>) -> Read<'a> {
        let mut data = None;
        self.each(cursor, |key, value| {
            if key == "data" {
                data = opaque_value(value)?;
            }
            Ok(key == "data")
        })?;
        self.open(data, OpaqueKind::RedactedData, seal);
        Ok(Some(BlockKind::Redacted))
    }

    /// Takes a value of a native slot: the provider's own, an envelope of ours, or a forgery, which is reported.
    fn open(&mut self, value: Option<(Text<'a>, usize)>, kind: OpaqueKind, seal: Option<&Seal>) {
        let Some((data, at)) = value else { return };
        match seal.map_or(Opened::Bare, |seal| seal.open(&data.plain())) {
            Opened::Bare => self.opaque.push(Opaque { kind, maker: OWN, data }),
            Opened::Ours(opaque) => self.opaque.push(opaque),
            Opened::Forged => self.extras.push(Extra {
                field: Field::OpaqueState,
                key: Cow::Borrowed("signature"),
                value: Json::NULL,
                at,
            }),
        }
    }

    fn tool_use(&mut self, cursor: &mut Cursor<'a>, seal: Option<&Seal>) -> Read<'a> {
        let (mut id, mut name, mut arguments) = (None, None, None);
        self.each(cursor, |key, value| {
            match key {
                "id" => id = value.nullable(Cursor::string)?,
                "name" => name = value.nullable(Cursor::string)?,
                "input" => arguments = Some(read_input(value)?),
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        // What a provider leaves out is made up for it.
        let id = id.or_else(|| seal.is_none().then_some(Cow::Borrowed("")));
        let (Some(id), Some(name)) = (id, name) else { return self.missing("a tool_use with `id` and `name`") };
        let arguments = arguments.unwrap_or(Json::EMPTY_OBJECT);
        Ok(Some(BlockKind::ToolCall { id, name, arguments, flavor: Flavor::Function }))
    }

    fn tool_result(&mut self, cursor: &mut Cursor<'a>, seal: Option<&Seal>) -> Read<'a> {
        let (mut id, mut content, mut is_error) = (None, Vec::new(), None);
        self.each(cursor, |key, value| {
            match key {
                "tool_use_id" => id = value.nullable(Cursor::string)?,
                "content" => content = read_content(value, seal)?,
                "is_error" => is_error = value.nullable(Cursor::bool)?,
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        let Some(id) = id else { return self.missing("a tool_result with `tool_use_id`") };
        Ok(Some(BlockKind::ToolResult { id, content, is_error }))
    }

    fn image(&mut self, cursor: &mut Cursor<'a>, seal: Option<&Seal>) -> Read<'a> {
        let (mut source, mut extras) = (None, Vec::new());
        self.each(cursor, |key, value| {
            if key == "source" {
                source = read_source(value, (Field::Image, seal), &mut extras)?;
            }
            Ok(key == "source")
        })?;
        self.extras.append(&mut extras);
        Ok(source.map(|source| BlockKind::Image { source, detail: None }))
    }

    fn document(&mut self, cursor: &mut Cursor<'a>, seal: Option<&Seal>) -> Read<'a> {
        let (mut source, mut title, mut context, mut citations) = (None, None, None, None);
        let mut extras = Vec::new();
        self.each(cursor, |key, value| {
            match key {
                "source" => source = read_source(value, (Field::Document, seal), &mut extras)?,
                "title" => title = value.nullable(Cursor::text)?,
                "context" => context = value.nullable(Cursor::text)?,
                "citations" => citations = value.nullable(read_enabled)?.flatten(),
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        self.extras.append(&mut extras);
        Ok(source.map(|source| BlockKind::Document { source, name: None, title, context, citations }))
    }
}

/// What a field of a block counts as when it cannot be carried.
pub(super) fn class_of(key: &str) -> Field {
    match key {
        "caller" | "toolset_name" => Field::ServerTool,
        "transformations" => Field::ImageDetail,
        _ => Field::Unknown,
    }
}

fn opaque_value<'a>(value: &mut Cursor<'a>) -> Result<Option<(Text<'a>, usize)>, JsonError> {
    let at = value.offset();
    Ok(value.nullable(Cursor::text)?.filter(|text| !text.is_empty()).map(|text| (text, at)))
}

/// `input`: an object, or what clients that lost one send instead.
pub(super) fn read_input<'a>(value: &mut Cursor<'a>) -> Result<Json<'a>, JsonError> {
    match value.peek()? {
        Kind::Object => value.json(),
        Kind::Null => value.skip().map(|()| Json::EMPTY_OBJECT),
        Kind::String => {
            let start = value.clone();
            let text = value.string()?;
            if text.trim().is_empty() {
                return Ok(Json::EMPTY_OBJECT);
            }
            match Json::parse(text) {
                Ok(json) if json.kind() == Kind::Object => Ok(json),
                _ => start.clone().json(),
            }
        }
        Kind::Array | Kind::Number | Kind::Bool => Err(value.wrong("an object")),
    }
}

fn read_citations<'a>(value: &mut Cursor<'a>) -> Result<Vec<Citation<'a>>, JsonError> {
    let mut citations = Vec::new();
    value.array::<JsonError>(|_, element| {
        citations.push(read_citation(element)?);
        Ok(())
    })?;
    Ok(citations)
}

/// `{"enabled": true}`
fn read_enabled(value: &mut Cursor<'_>) -> Result<Option<bool>, JsonError> {
    let mut enabled = None;
    value.object::<JsonError>(|key, value| {
        if key == "enabled" {
            enabled = value.nullable(Cursor::bool)?;
        }
        Ok(())
    })?;
    Ok(enabled)
}

/// Reads a `source`; `None` for one that no rule knows. Keys that the hub has no place for go to `extras` as `source.<key>`.
fn read_source<'a>(
    value: &mut Cursor<'a>,
    (field, seal): (Field, Option<&Seal>),
    extras: &mut Vec<Extra<'a>>,
) -> Result<Option<Source<'a>>, JsonError> {
    let (mut media_type, mut data, mut link, mut blocks) = (None, None, None, None);
    let kind = type_of(value)?;
    value.object::<JsonError>(|key, value| {
        match key.as_ref() {
            "media_type" => media_type = value.nullable(Cursor::string)?,
            "data" => data = value.nullable(Cursor::text)?,
            "url" | "file_id" => link = value.nullable(Cursor::text)?.or(link.take()),
            "content" => blocks = Some(read_content(value, seal)?),
            "type" => value.skip()?,
            name => extras.extend(kept(field, format!("source.{name}").into(), value)?),
        }
        Ok(())
    })?;
    Ok(match kind.as_ref() {
        "base64" => data.map(|data| Source::Base64 { media_type: media_type.unwrap_or_default(), data }),
        "text" => data.map(Source::Text),
        "url" => link.map(Source::Url),
        "file" => link.map(Source::FileId),
        "content" => blocks.map(Source::Blocks),
        _ => None,
    })
}
