//! What the model says: a `message` of a whole answer, a `delta` of a stream, an assistant message of a history.

use std::borrow::Cow;

use super::wire::{keep, loose_count, loose_text};
use crate::Format;
use crate::hub::{Citation, Extra, Field, Flavor};
use crate::json::{Cursor, Json, JsonError, Kind, Text};

/// The fields of one message or delta, looked at once and not copied.
#[derive(Debug, Default)]
pub(super) struct Said<'a> {
    /// `content` as a string, not empty.
    pub text: Option<Text<'a>>,
    /// `content` as a list.
    pub parts: Option<Cursor<'a>>,
    /// `refusal`, not empty.
    pub refusal: Option<Text<'a>>,
    /// `reasoning_content`, else `reasoning`; not empty.
    pub reasoning: Option<Text<'a>>,
    /// `reasoning_details`.
    pub details: Option<Cursor<'a>>,
    /// `tool_calls`.
    pub calls: Option<Cursor<'a>>,
    /// `function_call`, deprecated.
    pub legacy_call: Option<Cursor<'a>>,
    /// `annotations`.
    pub annotations: Option<Cursor<'a>>,
    /// `audio`.
    pub audio: Option<Cursor<'a>>,
    /// Where `content` stands.
    pub content_at: usize,
    /// Fields that no rule knows; collected only on demand.
    pub extras: Vec<Extra<'a>>,
}

impl<'a> Said<'a> {
    /// Reads the object at `value`; fields that no rule knows are kept if `keep_extras`.
    pub(super) fn read(value: &mut Cursor<'a>, keep_extras: bool) -> Result<Self, JsonError> {
        let mut said = Self::default();
        value.object::<JsonError>(|key, value| said.field(key, value, keep_extras))?;
        Ok(said)
    }

    /// Reads the field `key`.
    pub(super) fn field(
        &mut self,
        key: Cow<'a, str>,
        value: &mut Cursor<'a>,
        keep_extras: bool,
    ) -> Result<(), JsonError> {
        match (key.as_ref(), value.peek()?) {
            ("content", kind) if kind != Kind::Number && kind != Kind::Bool => {
                self.content_at = value.offset();
                match kind {
                    Kind::Array | Kind::Object => self.parts = Some(taken(value)?),
                    _ => self.text = filled(value)?,
                }
            }
            ("refusal", Kind::String) => self.refusal = filled(value)?,
            ("reasoning_content", Kind::String) => self.reasoning = filled(value)?.or(self.reasoning.take()),
            ("reasoning", Kind::String) => {
                let reasoning = filled(value)?;
                self.reasoning = self.reasoning.take().or(reasoning);
            }
            ("reasoning_details", Kind::Array) => self.details = Some(taken(value)?),
            // Some servers forget the list around the one call of a chunk.
            ("tool_calls", Kind::Array | Kind::Object) => self.calls = Some(taken(value)?),
            ("annotations", Kind::Array) => self.annotations = Some(taken(value)?),
            ("function_call", Kind::Object) => self.legacy_call = Some(taken(value)?),
            ("audio", Kind::Object) => self.audio = Some(taken(value)?),
            ("role", _) | (_, Kind::Null) => value.skip()?,
            (name, _) if keep_extras => keep(&mut self.extras, class_of(name), key, value)?,
            _ => {}
        }
        Ok(())
    }

    /// True when the message says something that an answer is made of.
    pub(super) fn is_something(&self) -> bool {
        self.text.is_some()
            || self.parts.is_some()
            || self.refusal.is_some()
            || self.reasoning.is_some()
            || self.details.is_some()
            || self.calls.is_some()
            || self.legacy_call.is_some()
            || self.audio.is_some()
    }
}

fn filled<'a>(value: &mut Cursor<'a>) -> Result<Option<Text<'a>>, JsonError> {
    Ok(loose_text(value)?.filter(|text| !text.is_empty()))
}

/// Steps over a value, to be read later.
fn taken<'a>(value: &mut Cursor<'a>) -> Result<Cursor<'a>, JsonError> {
    let start = value.clone();
    value.skip()?;
    Ok(start)
}

/// What a member counts as that no rule knows, or that is of another kind than it can be read from.
fn class_of(key: &str) -> Field {
    match key {
        "tool_calls" | "function_call" => Field::ToolCall,
        "annotations" => Field::Citations,
        "audio" => Field::Audio,
        _ => Field::Unknown,
    }
}

/// A part of a `content` list.
pub(super) enum Part<'a> {
    /// Words.
    Text(Text<'a>),
    /// Words of refusal.
    Refusal(Text<'a>),
    /// Reasoning (Mistral).
    Thinking(Text<'a>),
    /// Something else, whole.
    Other(Json<'a>),
    /// A member of the part before that the hub has no place for.
    Beside(Extra<'a>),
}

/// Reads a list of parts, or one part.
pub(super) fn parts<'a>(cursor: &mut Cursor<'a>, each: &mut dyn FnMut(Part<'a>, usize)) -> Result<(), JsonError> {
    match cursor.peek()? {
        Kind::Array => cursor.array(|_, value| part(value, each)),
        _ => part(cursor, each),
    }
}

fn part<'a>(value: &mut Cursor<'a>, each: &mut dyn FnMut(Part<'a>, usize)) -> Result<(), JsonError> {
    let (at, start) = (value.offset(), value.clone());
    if value.peek()? == Kind::String {
        each(Part::Text(value.text()?), at);
        return Ok(());
    }
    if value.peek()? != Kind::Object {
        return value.skip();
    }
    let (mut kind, mut words, mut inner, mut beside) = (Cow::Borrowed(""), None, None, Vec::new());
    value.object::<JsonError>(|key, value| {
        match key.as_ref() {
            // Mistral says of a thought whether it is all there.
            "closed" => value.skip()?,
            "type" => kind = loose_text(value)?.unwrap_or_default().into_plain(),
            "thinking" if value.peek()? == Kind::Array => {
                inner = Some(value.clone());
                value.skip()?;
            }
            "text" | "refusal" | "thinking" => words = loose_text(value)?.or(words.take()),
            _ => keep(&mut beside, Field::Unknown, key, value)?,
        }
        Ok(())
    })?;
    match (kind.as_ref(), words, inner) {
        ("text" | "output_text", Some(text), _) => each(Part::Text(text), at),
        ("refusal", Some(text), _) => each(Part::Refusal(text), at),
        ("thinking", _, Some(mut inner)) => parts(&mut inner, &mut |part, at| match part {
            Part::Text(text) => each(Part::Thinking(text), at),
            Part::Beside(_) | Part::Other(_) => each(part, at),
            Part::Refusal(_) | Part::Thinking(_) => {}
        })?,
        ("thinking", Some(text), _) => each(Part::Thinking(text), at),
        _ => {
            each(Part::Other(start.clone().json()?), at);
            return Ok(());
        }
    }
    for extra in beside {
        each(Part::Beside(extra), at);
    }
    Ok(())
}

/// One entry of `tool_calls`: a whole call, or a piece of one.
#[derive(Debug, Default)]
pub(super) struct CallPiece<'a> {
    /// `index`
    pub index: Option<u64>,
    /// `id`, not empty.
    pub id: Option<Cow<'a, str>>,
    /// `name`, not empty.
    pub name: Option<Cow<'a, str>>,
    /// `arguments` or `input`: JSON text, or free text, as the contents of a JSON string.
    pub input: Option<Text<'a>>,
    /// Function or custom tool.
    pub flavor: Flavor,
    /// `extra_content.google.thought_signature`
    pub signature: Option<Text<'a>>,
    /// What the hub has no place for.
    pub extras: Vec<Extra<'a>>,
    /// Byte offset.
    pub at: usize,
}

/// Reads a list of calls, or one call.
pub(super) fn calls<'a, E: From<JsonError>>(
    cursor: &mut Cursor<'a>,
    mut each: impl FnMut(CallPiece<'a>) -> Result<(), E>,
) -> Result<(), E> {
    let mut one = |value: &mut Cursor<'a>| {
        if value.peek()? != Kind::Object {
            return Ok(value.skip()?);
        }
        let mut piece = CallPiece { at: value.offset(), ..CallPiece::default() };
        value.object::<JsonError>(|key, value| call_field(key, value, &mut piece))?;
        each(piece)
    };
    match cursor.peek()? {
        Kind::Array => cursor.array(|_, value| one(value)),
        _ => one(cursor),
    }
}

/// Reads `function_call`.
pub(super) fn legacy_call<'a>(cursor: &mut Cursor<'a>) -> Result<CallPiece<'a>, JsonError> {
    let mut piece = CallPiece { at: cursor.offset(), ..CallPiece::default() };
    callee(cursor, &mut piece)?;
    Ok(piece)
}

fn call_field<'a>(key: Cow<'a, str>, value: &mut Cursor<'a>, piece: &mut CallPiece<'a>) -> Result<(), JsonError> {
    match key.as_ref() {
        "index" => piece.index = loose_count(value)?,
        "id" => piece.id = filled(value)?.map(Text::into_plain),
        "type" => {
            let custom = loose_text(value)?.is_some_and(|kind| kind.escaped() == "custom");
            piece.flavor = if custom { Flavor::Custom } else { piece.flavor };
        }
        "function" | "custom" if value.peek()? == Kind::Object => {
            if key == "custom" {
                piece.flavor = Flavor::Custom;
            }
            callee(value, piece)?;
        }
        // Gemini's compatible surface: {"google":{"thought_signature":…}}
        "extra_content" | "google" if value.peek()? == Kind::Object => {
            value.object::<JsonError>(|key, value| call_field(key, value, piece))?;
        }
        "function" | "custom" | "extra_content" | "google" => value.skip()?,
        "thought_signature" => piece.signature = filled(value)?,
        _ => keep(&mut piece.extras, Field::ToolCall, key, value)?,
    }
    Ok(())
}

fn callee<'a>(value: &mut Cursor<'a>, piece: &mut CallPiece<'a>) -> Result<(), JsonError> {
    value.object(|key, value| {
        match key.as_ref() {
            "name" => piece.name = filled(value)?.map(Text::into_plain),
            "arguments" | "input" => piece.input = input(value)?,
            // The vendor's SDK adds it to what it read, and clients send that again.
            "parsed_arguments" => value.skip()?,
            _ => keep(&mut piece.extras, Field::ToolCall, key, value)?,
        }
        Ok(())
    })
}

/// Arguments are a string; some servers give the object itself.
fn input<'a>(value: &mut Cursor<'a>) -> Result<Option<Text<'a>>, JsonError> {
    match value.peek()? {
        Kind::String => value.text().map(Some),
        Kind::Null => value.skip().map(|()| None),
        Kind::Object | Kind::Array | Kind::Number | Kind::Bool => {
            let json = value.json()?;
            Ok(Some(Text::from_json(json.as_str()).into_owned()))
        }
    }
}

/// What is said in `audio`, in words; not empty.
pub(super) fn transcript<'a>(audio: &Cursor<'a>) -> Result<Option<Text<'a>>, JsonError> {
    let mut transcript = None;
    audio.clone().object::<JsonError>(|key, value| {
        if key == "transcript" {
            transcript = filled(value)?;
        }
        Ok(())
    })?;
    Ok(transcript)
}

/// Reads `annotations`.
pub(super) fn citations<'a>(cursor: &mut Cursor<'a>, each: &mut dyn FnMut(Citation<'a>)) -> Result<(), JsonError> {
    cursor.array(|_, value| {
        if value.peek()? != Kind::Object {
            return value.skip();
        }
        let raw = value.clone().json()?;
        let mut citation =
            Citation { url: None, title: None, cited_text: None, span: None, raw, format: Format::OpenaiChat };
        let (mut start, mut end) = (None, None);
        value.object::<JsonError>(|key, value| {
            if key != "url_citation" || value.peek()? != Kind::Object {
                return Ok(());
            }
            value.object(|key, value| {
                match key.as_ref() {
                    "url" => citation.url = loose_text(value)?,
                    "title" => citation.title = loose_text(value)?,
                    "content" => citation.cited_text = loose_text(value)?,
                    "start_index" => start = loose_count(value)?,
                    "end_index" => end = loose_count(value)?,
                    _ => {}
                }
                Ok(())
            })
        })?;
        citation.span = start.zip(end);
        each(citation);
        Ok(())
    })
}
