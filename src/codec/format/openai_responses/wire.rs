//! Spellings that readers and writers share.

use std::borrow::Cow;

use crate::Format;
use crate::hub::{Citation, Extra, Field};
use crate::json::{Cursor, JsonError, Kind, Text};

pub(super) use crate::format::loose::{loose_count, loose_text};
pub(super) use crate::format::sibling::read_cache_mark;

/// This format.
pub(super) const OWN: Format = Format::OpenaiResponses;

/// Keeps a field that the hub has no place for; `null` says nothing and is not kept.
pub(super) fn keep<'a>(
    extras: &mut Vec<Extra<'a>>,
    field: Field,
    key: Cow<'a, str>,
    value: &mut Cursor<'a>,
) -> Result<(), JsonError> {
    let at = value.offset();
    let value = value.json()?;
    if value.kind() != Kind::Null {
        extras.push(Extra { field, key, value, at });
    }
    Ok(())
}

/// Reads a string that says something.
pub(super) fn filled<'a>(value: &mut Cursor<'a>) -> Result<Option<Text<'a>>, JsonError> {
    Ok(loose_text(value)?.filter(|text| !text.is_empty()))
}

/// Takes the place of a value of `kind` and passes over it; nothing where something else stands.
pub(super) fn placed<'a>(value: &mut Cursor<'a>, kind: Kind) -> Result<Option<Cursor<'a>>, JsonError> {
    let start = if value.peek()? == kind { Some(value.clone()) } else { None };
    value.skip()?;
    Ok(start)
}

/// The string `key` of the object at `cursor`, wherever it stands in it; empty where there is none.
pub(super) fn word_of<'a>(cursor: &Cursor<'a>, key: &str) -> Result<Cow<'a, str>, JsonError> {
    let mut found = Cow::Borrowed("");
    let mut cursor = cursor.clone();
    if cursor.peek()? == Kind::Object {
        cursor.object::<JsonError>(|name, value| {
            if name == key {
                found = loose_text(value)?.unwrap_or_default().into_plain();
            }
            Ok(())
        })?;
    }
    Ok(found)
}

/// Reads one annotation: `url_citation` has its span and URL, the others are known to this format only.
pub(super) fn read_annotation<'a>(value: &mut Cursor<'a>) -> Result<Option<Citation<'a>>, JsonError> {
    if value.peek()? != Kind::Object {
        value.skip()?;
        return Ok(None);
    }
    let raw = value.clone().json()?;
    let mut citation = Citation { url: None, title: None, cited_text: None, span: None, raw, format: OWN };
    let (mut start, mut end) = (None, None);
    value.object::<JsonError>(|key, value| {
        match key.as_ref() {
            "url" => citation.url = loose_text(value)?,
            "title" | "filename" => citation.title = loose_text(value)?.or(citation.title.take()),
            "start_index" => start = loose_count(value)?,
            "end_index" => end = loose_count(value)?,
            _ => {}
        }
        Ok(())
    })?;
    citation.span = start.zip(end);
    Ok(Some(citation))
}

/// True for an item of a tool that the provider (or a program of the vendor's) runs: a call or its result.
pub(super) fn is_server_item(kind: &str) -> bool {
    kind.ends_with("_call")
        || kind.ends_with("_output")
        || kind.starts_with("mcp_")
        || matches!(kind, "program" | "tool_search_call")
}
