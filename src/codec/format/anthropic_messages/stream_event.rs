//! One event of a stream, taken apart in one pass.

use std::borrow::Cow;

use super::read_block;
use super::read_response::class_of;
use super::stop::Ending;
use super::wire::{read_citation, type_of};
use crate::format::told::unread;
use crate::frame::sse::Frame;
use crate::hub::{Citation, Field};
use crate::json::{Cursor, Json, JsonError, Kind, Text};

/// What an event is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    MessageStart,
    BlockStart,
    Delta,
    BlockStop,
    MessageDelta,
    MessageStop,
    Ping,
    Unknown,
}

/// What an event holds.
pub(super) struct Parts<'a> {
    pub event: Event,
    pub index: Option<u64>,
    pub delta: Delta<'a>,
    pub content_block: Option<BlockBegin<'a>>,
    pub message: Option<Cursor<'a>>,
    pub usage: Option<Cursor<'a>>,
    pub error: Option<Cursor<'a>>,
    /// Classes of what the hub has no place for.
    pub unread: Vec<Field>,
}

/// What a `delta` holds.
pub(super) enum Delta<'a> {
    Text(Text<'a>),
    Thinking(Text<'a>),
    Signature(Text<'a>),
    Json(Text<'a>),
    Citation(Citation<'a>),
    Ending(Ending<'a>),
    Unknown,
}

/// What a `content_block` holds.
pub(super) struct BlockBegin<'a> {
    pub kind: Cow<'a, str>,
    pub raw: Json<'a>,
    pub id: Option<Cow<'a, str>>,
    pub name: Option<Cow<'a, str>>,
    /// `text` or `thinking`.
    pub text: Option<Text<'a>>,
    /// `signature` or `data`.
    pub opaque: Option<Text<'a>>,
    pub input: Option<Json<'a>>,
    /// Classes of what the hub has no place for, apart from `raw`.
    pub unread: Vec<Field>,
}

impl<'a> Parts<'a> {
    /// Reads the event at `cursor`.
    pub(super) fn read(cursor: &mut Cursor<'a>) -> Result<Self, JsonError> {
        let mut parts = Parts {
            event: Event::Unknown,
            index: None,
            delta: Delta::Unknown,
            content_block: None,
            message: None,
            usage: None,
            error: None,
            unread: Vec::new(),
        };
        cursor.object::<JsonError>(|key, value| {
            match key.as_ref() {
                "type" => parts.event = value.nullable(Cursor::text)?.map_or(Event::Unknown, |kind| event_of(&kind)),
                "index" => parts.index = value.nullable(Cursor::u64)?,
                "delta" if value.peek()? == Kind::Object => parts.delta = read_delta(value, &mut parts.unread)?,
                "delta" => value.skip()?,
                "content_block" => parts.content_block = value.nullable(read_block_begin)?,
                "message" => parts.message = later(value)?,
                "usage" => parts.usage = later(value)?,
                "error" => parts.error = value.nullable(aside)?,
                name => unread(&mut parts.unread, class_of(name), value)?,
            }
            Ok(())
        })?;
        cursor.finish()?;
        Ok(parts)
    }
}

fn event_of(kind: &Text<'_>) -> Event {
    match kind.escaped() {
        "content_block_delta" => Event::Delta,
        "content_block_start" => Event::BlockStart,
        "content_block_stop" => Event::BlockStop,
        "message_start" => Event::MessageStart,
        "message_delta" => Event::MessageDelta,
        "message_stop" => Event::MessageStop,
        "ping" => Event::Ping,
        _ => Event::Unknown,
    }
}

/// Steps over a value and keeps a cursor at it.
fn aside<'a>(value: &mut Cursor<'a>) -> Result<Cursor<'a>, JsonError> {
    let kept = value.clone();
    value.skip()?;
    Ok(kept)
}

/// An object to be read later; another kind of value says nothing.
fn later<'a>(value: &mut Cursor<'a>) -> Result<Option<Cursor<'a>>, JsonError> {
    let is_object = value.peek()? == Kind::Object;
    aside(value).map(|kept| is_object.then_some(kept))
}

/// Reads a `delta`; the key that is there tells the kind as well as its `type` would.
fn read_delta<'a>(cursor: &mut Cursor<'a>, unread_fields: &mut Vec<Field>) -> Result<Delta<'a>, JsonError> {
    let mut delta = Delta::Unknown;
    let mut ending = Ending::default();
    cursor.object::<JsonError>(|key, value| {
        let found = match key.as_ref() {
            "text" => value.nullable(Cursor::text)?.map(Delta::Text),
            "partial_json" => value.nullable(Cursor::text)?.map(Delta::Json),
            "thinking" => value.nullable(Cursor::text)?.map(Delta::Thinking),
            "signature" => value.nullable(Cursor::text)?.map(Delta::Signature),
            "citation" => value.nullable(read_citation)?.map(Delta::Citation),
            "stop_reason" => {
                ending.reason = value.nullable(Cursor::text)?;
                None
            }
            "stop_sequence" => {
                ending.sequence = value.nullable(Cursor::text)?;
                None
            }
            "stop_details" => {
                ending.details = value.nullable(Cursor::json)?;
                None
            }
            "type" => return value.skip(),
            name => return unread(unread_fields, class_of(name), value),
        };
        if let Some(found) = found {
            delta = found;
        }
        Ok(())
    })?;
    Ok(if ending.reason.is_some() { Delta::Ending(ending) } else { delta })
}

fn read_block_begin<'a>(cursor: &mut Cursor<'a>) -> Result<BlockBegin<'a>, JsonError> {
    let raw = cursor.clone().json()?;
    let mut begin = BlockBegin {
        kind: Cow::Borrowed(""),
        raw,
        id: None,
        name: None,
        text: None,
        opaque: None,
        input: None,
        unread: Vec::new(),
    };
    cursor.object::<JsonError>(|key, value| {
        let is_text = value.peek()? == Kind::String;
        match key.as_ref() {
            "type" => begin.kind = value.string()?,
            "id" if is_text => begin.id = Some(value.string()?),
            "name" if is_text => begin.name = Some(value.string()?),
            "text" | "thinking" if is_text => begin.text = Some(value.text()?),
            "signature" | "data" if is_text => begin.opaque = Some(value.text()?),
            "input" if is_text => begin.input = Some(read_block::read_input(value)?),
            "input" => begin.input = value.nullable(Cursor::json)?,
            "id" | "name" | "text" | "thinking" | "signature" | "data" => value.skip()?,
            // What every call says unless a program of the provider makes it.
            "caller" if type_of(value).is_ok_and(|kind| kind == "direct") => value.skip()?,
            "citations" if value.clone().json()?.is_empty() => value.skip()?,
            "citations" => unread(&mut begin.unread, Field::Citations, value)?,
            name => unread(&mut begin.unread, read_block::class_of(name), value)?,
        }
        Ok(())
    })?;
    Ok(begin)
}

/// True when `frame` can hold usage, a stop reason, an error or the end.
pub(super) fn is_telling(frame: &Frame<'_>) -> bool {
    match frame.event {
        Some("content_block_delta" | "content_block_start" | "content_block_stop" | "ping") => false,
        Some(_) => true,
        None => !frame.data.starts_with(r#"{"type":"content_block_"#),
    }
}
