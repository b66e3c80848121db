//! One event of a stream, looked at once and not copied.

use std::borrow::Cow;

use super::wire::{loose_count, loose_text, placed};
use crate::json::{Cursor, Json, JsonError, Kind, Text};

/// The fields of one event.
#[derive(Default)]
pub(super) struct Event<'a> {
    /// `type`; empty where there is none.
    pub kind: Cow<'a, str>,
    /// `output_index`
    pub output: Option<u64>,
    /// `item_id`; empty where there is none.
    pub id: Text<'a>,
    /// `content_index` or `summary_index`
    pub part: u64,
    /// `delta`
    pub delta: Option<Text<'a>>,
    /// `text`, `refusal`, `arguments` or `input`: the whole of what deltas brought.
    pub whole: Option<Text<'a>>,
    /// `logprobs`, not empty.
    pub logprobs: Option<Json<'a>>,
    /// `item`
    pub item: Option<Cursor<'a>>,
    /// `part`
    pub contents: Option<Cursor<'a>>,
    /// `annotation`
    pub annotation: Option<Cursor<'a>>,
    /// `response`
    pub response: Option<Cursor<'a>>,
    /// There is an `error`.
    pub error: bool,
    /// There is a field that the hub has no place for.
    pub unread: bool,
}

impl<'a> Event<'a> {
    /// Reads the event at `cursor`.
    pub(super) fn read(cursor: &mut Cursor<'a>) -> Result<Self, JsonError> {
        let mut event = Self::default();
        cursor.object::<JsonError>(|key, value| {
            match key.as_ref() {
                "type" => event.kind = loose_text(value)?.unwrap_or_default().into_plain(),
                "output_index" => event.output = loose_count(value)?,
                "item_id" => event.id = loose_text(value)?.unwrap_or_default(),
                "content_index" | "summary_index" => event.part = loose_count(value)?.unwrap_or(event.part),
                "delta" => event.delta = loose_text(value)?,
                "text" | "refusal" | "arguments" | "input" => {
                    event.whole = loose_text(value)?.or(event.whole.take());
                }
                "logprobs" if value.peek()? == Kind::Array => {
                    event.logprobs = Some(value.json()?).filter(|json| !json.is_empty());
                }
                "item" => event.item = placed(value, Kind::Object)?,
                "part" => event.contents = placed(value, Kind::Object)?,
                "annotation" => event.annotation = placed(value, Kind::Object)?,
                "response" => event.response = placed(value, Kind::Object)?,
                "error" => {
                    event.error = value.peek()? != Kind::Null;
                    value.skip()?;
                }
                "sequence_number" | "annotation_index" | "obfuscation" | "name" | "logprobs" => value.skip()?,
                _ => {
                    event.unread |= value.peek()? != Kind::Null;
                    value.skip()?;
                }
            }
            Ok(())
        })?;
        cursor.finish()?;
        Ok(event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_null_takes_the_place_of_nothing() {
        for (json, whole, part) in [
            (r#"{"text":"hi","refusal":null,"content_index":2,"summary_index":null}"#, Some("hi"), 2),
            (r#"{"refusal":null,"text":"hi"}"#, Some("hi"), 0),
            (r#"{"arguments":"hi","input":null}"#, Some("hi"), 0),
            (r#"{"text":null}"#, None, 0),
        ] {
            let event = Event::read(&mut Cursor::over(json)).unwrap();
            assert_eq!((event.whole.as_ref().map(Text::escaped), event.part), (whole, part), "{json}");
        }
    }
}
