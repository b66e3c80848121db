//! What `OpenAI`'s two formats say alike, and no other does.

use super::Facts;
use super::loose::loose_text;
use crate::Format;
use crate::hub::{CacheMark, Extra};
use crate::json::{Cursor, Json, JsonError, Kind, Text, Writer};

/// True where a provider of `to` takes as they came what clients of `origin` say in fields that both formats have. Some
/// models are asked by the one format for clients of the other; servers of other makers seldom know such a field.
pub(super) fn are_alike(origin: Format, to: Format, facts: &Facts) -> bool {
    let vendors = |format: Format| matches!(format, Format::OpenaiChat | Format::OpenaiResponses);
    origin == to || (vendors(origin) && vendors(to) && !facts.compatible_extensions)
}

/// What `extra` of an answer of `from` is in one of `to`: its moderation, which both formats tell, in Chat Completions as
/// lists of results. `None` for everything else.
pub(super) fn moderation(extra: &Extra<'_>, from: Format, to: Format) -> Option<Json<'static>> {
    let told = match (from, to) {
        _ if extra.key != "moderation" || extra.value.kind() != Kind::Object => return None,
        (Format::OpenaiResponses, Format::OpenaiChat) => listed,
        (Format::OpenaiChat, Format::OpenaiResponses) => first,
        _ => return None,
    };
    let mut out = Vec::new();
    let mut w = Writer::new(&mut out);
    w.open_object();
    let read = extra.value.cursor().object::<JsonError>(|key, value| {
        let said = value.json()?;
        let told = told(&said)?;
        w.key(Text::from_plain(&key).escaped()).json(told.as_ref().unwrap_or(&said));
        Ok(())
    });
    w.close_object();
    read.ok()?;
    String::from_utf8(out).ok().map(Json::from_valid)
}

/// The tiers that their types know.
const TIERS: [&str; 6] = ["auto", "default", "flex", "scale", "priority", "fast"];

/// What the tier that a provider of `maker` calls `tier` is called in `client`, one of the two, if it has a word.
pub(super) fn tier_word<'t>(tier: &'t Text<'_>, maker: Format, client: Format) -> Option<Text<'t>> {
    match tier.escaped() {
        "standard" => Some(Text::from_escaped("default")),
        word if maker == client || TIERS.contains(&word) => Some(tier.by_ref()),
        _ => None,
    }
}

/// The member `key` of an object.
fn member<'a>(object: &'a Json<'_>, key: &str) -> Result<Option<Json<'a>>, JsonError> {
    let mut found = None;
    if object.kind() == Kind::Object {
        object.cursor().object::<JsonError>(|name, value| {
            if name == key {
                found = Some(value.json()?);
            }
            Ok(())
        })?;
    }
    Ok(found)
}

/// One result as a list of one; `None` for what is no result.
fn listed(result: &Json<'_>) -> Result<Option<Json<'static>>, JsonError> {
    if member(result, "type")?.is_none_or(|kind| kind.as_str() != "\"moderation_result\"") {
        return Ok(None);
    }
    let mut out = Vec::new();
    let mut w = Writer::new(&mut out);
    w.open_object().key("type").plain("moderation_results");
    if let Some(model) = member(result, "model")? {
        w.key("model").json(&model);
    }
    w.key("results").open_array().json(result);
    w.close_array().close_object();
    Ok(String::from_utf8(out).ok().map(Json::from_valid))
}

/// The first result of a list; `None` for what is none.
fn first(results: &Json<'_>) -> Result<Option<Json<'static>>, JsonError> {
    let mut first = None;
    if let Some(list) = member(results, "results")?.filter(|list| list.kind() == Kind::Array) {
        list.cursor().array::<JsonError>(|_, value| {
            let result = value.json()?;
            first.get_or_insert_with(|| result.into_owned());
            Ok(())
        })?;
    }
    Ok(first)
}

/// Reads `prompt_cache_breakpoint` or `cache_control`.
pub(super) fn read_cache_mark(value: &mut Cursor<'_>) -> Result<Option<CacheMark>, JsonError> {
    if value.peek()? != Kind::Object {
        value.skip()?;
        return Ok(None);
    }
    let mut mark = CacheMark { ttl_s: None };
    value.object::<JsonError>(|key, value| {
        if key == "ttl" {
            mark.ttl_s = loose_text(value)?.and_then(|ttl| seconds(&ttl.plain()));
        }
        Ok(())
    })?;
    Ok(Some(mark))
}

/// Reads `ttl` of a cache mark: `30m`, `1h`, `90s`.
fn seconds(ttl: &str) -> Option<u32> {
    let (digits, unit) = ttl.split_at_checked(ttl.len().checked_sub(1)?)?;
    let factor = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return None,
    };
    digits.parse::<u32>().ok()?.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_times() {
        for (ttl, value) in [("30m", Some(1800)), ("12h", Some(43_200)), ("5s", Some(5)), ("x", None), ("", None)] {
            assert_eq!(seconds(ttl), value, "{ttl}");
        }
    }
}
