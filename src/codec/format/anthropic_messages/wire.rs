//! Small spellings that several parts of the format share.

use std::borrow::Cow;

use crate::Format;
use crate::hub::{CacheMark, Citation, Extra, Field};
use crate::json::{Cursor, Json, JsonError, Kind, Text, Writer};

/// This format.
pub(super) const OWN: Format = Format::AnthropicMessages;

/// The first version that refuses sampling, documents of the assistant and citations of the user.
const STRICT_SINCE: &str = "2026-10-21";

/// The two times to live that the format can ask for, in seconds.
const SHORT_S: u32 = 300;
pub(super) const LONG_S: u32 = 3600;

/// True for versions of the API from 2026-10-21 on; clouds put their name before the date.
pub(super) fn is_strict(version: Option<&str>) -> bool {
    version.and_then(|version| version.get(version.len().checked_sub(10)?..)).is_some_and(|date| date >= STRICT_SINCE)
}

/// The `type` of the object at `cursor`, which may stand anywhere in it; empty where there is none.
pub(super) fn type_of<'a>(cursor: &Cursor<'a>) -> Result<Cow<'a, str>, JsonError> {
    let found = cursor.clone().object(|key, value| match key.as_ref() {
        "type" => Err(Stopped::Found(value.nullable(Cursor::string)?.unwrap_or_default())),
        _ => Ok(()),
    });
    match found {
        Ok(()) => Ok(Cow::Borrowed("")),
        Err(Stopped::Found(kind)) => Ok(kind),
        Err(Stopped::Broken(error)) => Err(error),
    }
}

/// Why a search through an object ended early.
enum Stopped<'a> {
    Found(Cow<'a, str>),
    Broken(JsonError),
}

impl From<JsonError> for Stopped<'_> {
    fn from(error: JsonError) -> Self {
        Self::Broken(error)
    }
}

/// Reads a `cache_control`; keys beside `type` and `ttl` go to `extras` as `cache_control.<key>`.
pub(super) fn read_cache<'a>(
    value: &mut Cursor<'a>,
    extras: &mut Vec<Extra<'a>>,
) -> Result<Option<CacheMark>, JsonError> {
    value.nullable(|value| {
        let mut mark = CacheMark { ttl_s: None };
        value.object::<JsonError>(|key, value| {
            match key.as_ref() {
                "type" => value.skip()?,
                "ttl" => {
                    let start = value.clone();
                    let ttl = value.nullable(Cursor::string)?;
                    mark.ttl_s = ttl.as_deref().and_then(seconds);
                    if ttl.is_some() && mark.ttl_s.is_none() {
                        extras.extend(kept(Field::CacheMark, "cache_control.ttl".into(), &mut start.clone())?);
                    }
                }
                _ => extras.extend(kept(Field::CacheMark, format!("cache_control.{key}").into(), value)?),
            }
            Ok(())
        })?;
        Ok(mark)
    })
}

/// `5m` in seconds.
fn seconds(ttl: &str) -> Option<u32> {
    let (number, unit) = ttl.split_at_checked(ttl.len().checked_sub(1)?)?;
    let number: u32 = number.parse().ok()?;
    match unit {
        "s" => Some(number),
        "m" => number.checked_mul(60),
        "h" => number.checked_mul(3600),
        _ => None,
    }
}

/// Writes `cache_control`, with what `extras` hold of it.
pub(super) fn write_cache(mark: CacheMark, extras: &[Extra<'_>], json: &mut Writer<'_>) {
    json.key("cache_control").open_object().key("type").plain("ephemeral");
    if mark.ttl_s.is_some() {
        json.key("ttl").plain(if is_long(mark) { "1h" } else { "5m" });
    }
    write_sub_extras("cache_control.", extras, json);
    json.close_object();
}

/// True for a mark that is said to last an hour.
pub(super) fn is_long(mark: CacheMark) -> bool {
    mark.ttl_s.is_some_and(|ttl_s| ttl_s > SHORT_S)
}

/// True when the mark's time to live is one that the format can say.
pub(super) fn is_exact(mark: CacheMark) -> bool {
    matches!(mark.ttl_s, None | Some(SHORT_S | LONG_S))
}

/// Takes the value at `value` as a field that the hub has no place for.
pub(super) fn extra<'a>(field: Field, key: Cow<'a, str>, value: &mut Cursor<'a>) -> Result<Extra<'a>, JsonError> {
    Ok(Extra { field, key, at: value.offset(), value: value.json()? })
}

/// As [`extra`]; `null` sets nothing.
pub(super) fn kept<'a>(
    field: Field,
    key: Cow<'a, str>,
    value: &mut Cursor<'a>,
) -> Result<Option<Extra<'a>>, JsonError> {
    Ok(Some(extra(field, key, value)?).filter(|extra| extra.value.kind() != Kind::Null))
}

/// Writes the fields of `extras` that stand in the object itself.
pub(super) fn write_extras(extras: &[Extra<'_>], json: &mut Writer<'_>) {
    for extra in extras.iter().filter(|extra| !is_sub(&extra.key) && extra.field != Field::OpaqueState) {
        json.key(Text::from_plain(&extra.key).escaped()).json(&extra.value);
    }
}

/// Writes the fields of `extras` that stand in an object below: those whose keys begin with `prefix`.
pub(super) fn write_sub_extras(prefix: &str, extras: &[Extra<'_>], json: &mut Writer<'_>) {
    for extra in extras {
        if let Some(key) = extra.key.strip_prefix(prefix) {
            json.key(Text::from_plain(key).escaped()).json(&extra.value);
        }
    }
}

/// Objects whose unknown fields are kept with a dotted key.
pub(super) const NESTED: [&str; 7] =
    ["cache_control.", "metadata.", "output_config.", "output_format.", "source.", "thinking.", "tool_choice."];

fn is_sub(key: &str) -> bool {
    NESTED.iter().any(|prefix| key.starts_with(prefix))
}

/// Reads one citation.
pub(super) fn read_citation<'a>(value: &mut Cursor<'a>) -> Result<Citation<'a>, JsonError> {
    let start = value.clone();
    let mut citation = Citation { url: None, title: None, cited_text: None, span: None, raw: Json::NULL, format: OWN };
    value.object::<JsonError>(|key, value| {
        match key.as_ref() {
            "url" => citation.url = value.nullable(Cursor::text)?,
            "title" | "document_title" => {
                if let Some(title) = value.nullable(Cursor::text)? {
                    citation.title = Some(title);
                }
            }
            "cited_text" => citation.cited_text = value.nullable(Cursor::text)?,
            // What the client named a search result by, which may be its address.
            "source" if value.peek()? == Kind::String => {
                let source = value.text()?;
                let is_address = ["http://", "https://"].iter().any(|scheme| source.plain().starts_with(scheme));
                citation.url = citation.url.take().or(is_address.then_some(source));
            }
            _ => value.skip()?,
        }
        Ok(())
    })?;
    citation.raw = start.clone().json()?;
    Ok(citation)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_versions_apart() {
        for (version, strict) in [
            (None, false),
            (Some(""), false),
            (Some("2023-06-01"), false),
            (Some("bedrock-2023-05-31"), false),
            (Some("2026-10-21"), true),
            (Some("2027-01-01"), true),
        ] {
            assert_eq!(is_strict(version), strict, "{version:?}");
        }
    }

    #[test]
    fn finds_the_type_wherever_it_stands() {
        for (object, kind) in [
            (r#"{"type":"a","x":1}"#, "a"),
            (r#"{"x":{"type":"b"},"type":"a"}"#, "a"),
            (r#"{"x":1}"#, ""),
            (r#"{"type":null}"#, ""),
        ] {
            assert_eq!(type_of(&Cursor::over(object)).unwrap(), kind);
        }
        assert!(type_of(&Cursor::over("[]")).is_err());
    }
}
