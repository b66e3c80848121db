//! Token counts, read and written.

use crate::format::loose::{loose_count, loose_text};
use crate::hub::Usage;
use crate::json::{Cursor, JsonError, Kind, Text, Writer};

/// What the provider said so far, field by field. A later value replaces an earlier one; `null` and absence do not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Counts {
    input: Option<u64>,
    output: Option<u64>,
    cache_read: Option<u64>,
    cache_write: Option<u64>,
    cache_write_5m: Option<u64>,
    cache_write_1h: Option<u64>,
    thinking: Option<u64>,
    searches: Option<u64>,
    fetches: Option<u64>,
}

impl Counts {
    /// Takes over the numbers of the `usage` object at `cursor`; returns its `service_tier`.
    pub(super) fn merge<'a>(&mut self, cursor: &mut Cursor<'a>) -> Result<Option<Text<'a>>, JsonError> {
        let mut tier = None;
        if cursor.peek()? != Kind::Object {
            return cursor.skip().map(|()| tier);
        }
        cursor.object::<JsonError>(|key, value| {
            match key.as_ref() {
                "input_tokens" => number(value, &mut self.input)?,
                "output_tokens" => number(value, &mut self.output)?,
                "cache_read_input_tokens" => number(value, &mut self.cache_read)?,
                "cache_creation_input_tokens" => number(value, &mut self.cache_write)?,
                "service_tier" => tier = loose_text(value)?,
                "cache_creation" | "output_tokens_details" | "server_tool_use" => {
                    self.merge_details(value)?;
                }
                _ => value.skip()?,
            }
            Ok(())
        })?;
        Ok(tier)
    }

    fn merge_details(&mut self, cursor: &mut Cursor<'_>) -> Result<(), JsonError> {
        if cursor.peek()? != Kind::Object {
            return cursor.skip();
        }
        cursor.object(|key, value| match key.as_ref() {
            "ephemeral_5m_input_tokens" => number(value, &mut self.cache_write_5m),
            "ephemeral_1h_input_tokens" => number(value, &mut self.cache_write_1h),
            "thinking_tokens" => number(value, &mut self.thinking),
            "web_search_requests" => number(value, &mut self.searches),
            "web_fetch_requests" => number(value, &mut self.fetches),
            _ => value.skip(),
        })
    }

    /// The numbers, disjoint.
    pub(super) fn usage(&self) -> Usage {
        let long = self.cache_write_1h.unwrap_or(0);
        let split = self.cache_write_5m.unwrap_or(0).saturating_add(long);
        // A server that tells only the sum wrote to the default cache.
        let written = self.cache_write.unwrap_or(0).max(split);
        let output = self.output.unwrap_or(0);
        let thinking = self.thinking.unwrap_or(0).min(output);
        Usage {
            input_uncached: self.input.unwrap_or(0),
            cache_read: self.cache_read.unwrap_or(0),
            cache_write_short: written - long,
            cache_write_long: long,
            output_visible: output - thinking,
            output_reasoning: thinking,
            reasoning_known: self.thinking.is_some(),
            cache_known: self.cache_read.is_some(),
            server_tool_requests: self.searches.unwrap_or(0).saturating_add(self.fetches.unwrap_or(0)),
            audio_input: 0,
            audio_output: 0,
        }
    }
}

fn number(value: &mut Cursor<'_>, into: &mut Option<u64>) -> Result<(), JsonError> {
    *into = loose_count(value)?.or(*into);
    Ok(())
}

/// Writes a `usage` object with every field that the vendor's types require; zeros where nothing is known.
pub(super) fn write(usage: Option<&Usage>, tier: Option<&Text<'_>>, json: &mut Writer<'_>) {
    object(usage.unwrap_or(&Usage::default()), true, tier, json);
}

/// Writes the `usage` that a stream starts with. Clients keep its split of cache writes, whatever comes at the end: it is
/// told where the provider told it by then.
pub(super) fn write_first(usage: Option<&Usage>, tier: Option<&Text<'_>>, json: &mut Writer<'_>) {
    let split = usage.is_some_and(|usage| usage.cache_known || usage.cache_write() > 0);
    object(usage.unwrap_or(&Usage::default()), split, tier, json);
}

fn object(usage: &Usage, split: bool, tier: Option<&Text<'_>>, json: &mut Writer<'_>) {
    json.open_object();
    json.key("input_tokens").number(usage.input_uncached);
    json.key("cache_creation_input_tokens").number(usage.cache_write());
    json.key("cache_read_input_tokens").number(usage.cache_read);
    json.key("cache_creation");
    if split {
        json.open_object();
        json.key("ephemeral_5m_input_tokens").number(usage.cache_write_short);
        json.key("ephemeral_1h_input_tokens").number(usage.cache_write_long);
        json.close_object();
    } else {
        json.null();
    }
    json.key("output_tokens").number(usage.output());
    if usage.reasoning_known {
        json.key("output_tokens_details").open_object();
        json.key("thinking_tokens").number(usage.output_reasoning).close_object();
    }
    if usage.server_tool_requests > 0 {
        json.key("server_tool_use").open_object();
        json.key("web_search_requests").number(usage.server_tool_requests);
        json.key("web_fetch_requests").number(0).close_object();
    }
    if let Some(word) = tier.and_then(tier_word) {
        json.key("service_tier").plain(word);
    }
    json.close_object();
}

/// A provider's word for its tier in this format's vocabulary.
pub(super) fn tier_word(tier: &Text<'_>) -> Option<&'static str> {
    match tier.escaped() {
        "default" | "standard" => Some("standard"),
        "priority" => Some("priority"),
        "batch" => Some("batch"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merged(objects: &[&str]) -> Usage {
        let mut counts = Counts::default();
        for object in objects {
            counts.merge(&mut Cursor::over(object)).unwrap();
        }
        counts.usage()
    }

    #[test]
    fn trap_f1_snapshots_replace_each_other() {
        let start =
            r#"{"input_tokens":317,"cache_creation_input_tokens":4425,"cache_read_input_tokens":0,"output_tokens":1}"#;
        let delta = r#"{"input_tokens":317,"cache_creation_input_tokens":4425,"cache_read_input_tokens":null,"output_tokens":9}"#;
        let usage = merged(&[start, delta]);
        assert_eq!((usage.input(), usage.cache_write(), usage.output()), (4742, 4425, 9));
    }

    #[test]
    fn trap_f2_parts_are_disjoint() {
        let usage = merged(&[
            r#"{"input_tokens":10,"cache_creation_input_tokens":1733,"cache_read_input_tokens":512,"output_tokens":5}"#,
        ]);
        assert_eq!((usage.input_uncached, usage.cache_read, usage.cache_write_short), (10, 512, 1733));
        assert_eq!(usage.input(), 2255);
    }

    #[test]
    fn splits_caches_and_thinking() {
        let usage = merged(&[concat!(
            r#"{"input_tokens":1,"cache_creation_input_tokens":30,"output_tokens":50,"#,
            r#""cache_creation":{"ephemeral_5m_input_tokens":10,"ephemeral_1h_input_tokens":20},"#,
            r#""output_tokens_details":{"thinking_tokens":40},"server_tool_use":{"web_search_requests":2}}"#
        )]);
        assert_eq!((usage.cache_write_short, usage.cache_write_long), (10, 20));
        assert_eq!((usage.output_visible, usage.output_reasoning, usage.server_tool_requests), (10, 40, 2));
    }
}
