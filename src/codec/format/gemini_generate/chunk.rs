//! A `GenerateContentResponse`: a whole answer, or one piece of a stream. Looked at once and not copied.

use std::borrow::Cow;

use super::read_part::read_part;
use super::stop;
use super::wire::{count, fields, keep, loose_text};
use crate::hub::{Block, Extra, Field};
use crate::json::{Cursor, JsonError, Kind, Text};

/// The fields of a response.
#[derive(Debug, Default)]
pub(super) struct Chunk<'a> {
    /// `responseId`
    pub id: Option<Text<'a>>,
    /// `modelVersion`
    pub model: Option<Text<'a>>,
    /// `candidates`, if they were left for later.
    pub candidates: Option<Cursor<'a>>,
    /// `usageMetadata`
    pub usage: Option<Cursor<'a>>,
    /// `promptFeedback.blockReason`
    pub blocked: Option<Text<'a>>,
    /// `error`
    pub error: Option<Cursor<'a>>,
    /// Fields that the hub has no place for.
    pub extras: Vec<Extra<'a>>,
}

impl<'a> Chunk<'a> {
    /// Reads the object at `cursor`; `now` may read the candidates where they stand, and says whether it did.
    pub(super) fn read(
        cursor: &mut Cursor<'a>,
        mut now: impl FnMut(&mut Cursor<'a>) -> Result<bool, JsonError>,
    ) -> Result<Self, JsonError> {
        let mut chunk = Self::default();
        fields::<JsonError>(cursor, |name, key, value| {
            match name {
                "responseId" => chunk.id = loose_text(value)?,
                "modelVersion" => chunk.model = loose_text(value)?,
                "candidates" if value.peek()? == Kind::Array && now(value)? => {}
                "candidates" => chunk.candidates = kept(value, Kind::Array)?,
                "usageMetadata" => chunk.usage = kept(value, Kind::Object)?,
                "promptFeedback" => chunk.feedback(key, value)?,
                "error" => {
                    if value.peek()? != Kind::Null {
                        chunk.error = Some(value.clone());
                    }
                    value.skip()?;
                }
                // When the answer was made, to the microsecond; the hub's answers have seconds, of other formats.
                "createTime" => value.skip()?,
                _ => keep(&mut chunk.extras, Field::Unknown, key, value)?,
            }
            Ok(())
        })?;
        Ok(chunk)
    }

    fn feedback(&mut self, key: Cow<'a, str>, value: &mut Cursor<'a>) -> Result<(), JsonError> {
        if value.peek()? != Kind::Object {
            return value.skip();
        }
        let mut whole = value.clone();
        fields::<JsonError>(value, |name, _, value| {
            if name == "blockReason" {
                self.blocked = loose_text(value)?.filter(|word| !word.escaped().ends_with("UNSPECIFIED"));
            }
            Ok(())
        })?;
        keep(&mut self.extras, Field::Safety, key, &mut whole)
    }
}

/// One of the answers, or a piece of it.
#[derive(Debug, Default)]
pub(super) struct Answer<'a> {
    /// `index`
    pub index: u32,
    /// `content.parts`
    pub parts: Parts<'a>,
    /// `finishReason`
    pub finish: Option<Text<'a>>,
    /// `finishMessage`, where the reason has a place for it; else it is among the extras.
    pub message: Option<Text<'a>>,
    /// `groundingMetadata`
    pub grounding: Option<Cursor<'a>>,
    /// `citationMetadata`
    pub citations: Option<Cursor<'a>>,
    /// `logprobsResult`
    pub logprobs: Option<Cursor<'a>>,
    /// Fields that the hub has no place for.
    pub extras: Vec<Extra<'a>>,
}

/// Parts of a content. Nearly every piece of a stream has one, which is read at once.
#[derive(Debug, Default)]
pub(super) enum Parts<'a> {
    #[default]
    None,
    One(Block<'a>),
    Many(Cursor<'a>),
}

impl<'a> Parts<'a> {
    fn read(value: &mut Cursor<'a>) -> Result<Self, JsonError> {
        if value.peek()? != Kind::Array {
            value.skip()?;
            return Ok(Self::None);
        }
        let start = value.clone();
        let mut parts = Self::None;
        value.array::<JsonError>(|index, part| {
            match index {
                0 => parts = Self::One(read_part(part, None)?.block),
                1 => parts = Self::Many(start.clone()),
                // Read when it is its turn.
                _ => {}
            }
            Ok(())
        })?;
        Ok(parts)
    }

    /// Hands on the parts, in order.
    pub(super) fn each<E: From<JsonError>>(self, mut each: impl FnMut(Block<'a>) -> Result<(), E>) -> Result<(), E> {
        match self {
            Self::None => Ok(()),
            Self::One(block) => each(block),
            Self::Many(mut cursor) => cursor.array(|_, part| each(read_part(part, None)?.block)),
        }
    }
}

/// Reads `candidates`; `each` gets the answers in order.
pub(super) fn answers<'a, E: From<JsonError>>(
    cursor: &mut Cursor<'a>,
    mut each: impl FnMut(Answer<'a>) -> Result<(), E>,
) -> Result<(), E> {
    cursor.array(|_, value| {
        if value.peek()? != Kind::Object {
            return Ok(value.skip()?);
        }
        let mut answer = Answer::default();
        fields::<JsonError>(value, |name, key, value| answer.field(name, key, value))?;
        if answer.finish.as_ref().is_some_and(stop::takes_message) && answer.message.is_some() {
            answer.extras.retain(|extra| extra.field != Field::StopReason);
        }
        each(answer)
    })
}

impl<'a> Answer<'a> {
    fn field(&mut self, name: &str, key: Cow<'a, str>, value: &mut Cursor<'a>) -> Result<(), JsonError> {
        match name {
            "index" => self.index = count(value)?.and_then(|index| u32::try_from(index).ok()).unwrap_or(0),
            "content" if value.peek()? == Kind::Object => fields(value, |name, key, value| match name {
                "parts" => {
                    self.parts = Parts::read(value)?;
                    Ok(())
                }
                "role" => value.skip(),
                _ => keep(&mut self.extras, Field::Unknown, key, value),
            })?,
            "content" => value.skip()?,
            "finishReason" => self.finish = reason(value)?,
            "groundingMetadata" => self.grounding = kept(value, Kind::Object)?,
            "citationMetadata" => self.citations = kept(value, Kind::Object)?,
            "logprobsResult" => self.logprobs = kept(value, Kind::Object)?,
            "safetyRatings" => keep(&mut self.extras, Field::Safety, key, value)?,
            "avgLogprobs" => keep(&mut self.extras, Field::Logprobs, key, value)?,
            "finishMessage" => {
                self.message = loose_text(&mut value.clone())?.filter(|words| !words.is_empty());
                keep(&mut self.extras, Field::StopReason, key, value)?;
            }
            "tokenCount" => keep(&mut self.extras, Field::UsageDetail, key, value)?,
            "urlContextMetadata" => keep(&mut self.extras, Field::ServerTool, key, value)?,
            _ => keep(&mut self.extras, Field::Unknown, key, value)?,
        }
        Ok(())
    }
}

/// A reason by its name; some surfaces write the number of its enum instead, of which the first are the same on all.
fn reason<'a>(value: &mut Cursor<'a>) -> Result<Option<Text<'a>>, JsonError> {
    if value.peek()? != Kind::Number {
        return Ok(loose_text(value)?.filter(|word| !word.escaped().ends_with("UNSPECIFIED")));
    }
    let name = match count(value)? {
        None | Some(0) => return Ok(None),
        Some(1) => "STOP",
        Some(2) => "MAX_TOKENS",
        Some(3) => "SAFETY",
        Some(4) => "RECITATION",
        Some(_) => "OTHER",
    };
    Ok(Some(Text::from_escaped(name)))
}

/// The value, if it is of `kind`, to be read later.
fn kept<'a>(value: &mut Cursor<'a>, kind: Kind) -> Result<Option<Cursor<'a>>, JsonError> {
    let start = (value.peek()? == kind).then(|| value.clone());
    value.skip()?;
    Ok(start)
}
