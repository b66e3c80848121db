//! Usage: `input_tokens` includes what caches served and took, `output_tokens` includes reasoning.

use super::wire::loose_count;
use crate::hub::Usage;
use crate::json::{Cursor, JsonError, Kind, Writer};

/// What a server said, before it is made disjoint.
#[derive(Default)]
struct Said {
    input: Option<u64>,
    output: Option<u64>,
    total: Option<u64>,
    cached: Option<u64>,
    written: u64,
    written_long: u64,
    reasoning: Option<u64>,
}

/// Reads a `usage` object; `None` for `null` and for one that counts nothing.
pub(super) fn read(value: &mut Cursor<'_>) -> Result<Option<Usage>, JsonError> {
    if value.peek()? != Kind::Object {
        value.skip()?;
        return Ok(None);
    }
    let mut said = Said::default();
    value.object::<JsonError>(|key, value| {
        match key.as_ref() {
            "input_tokens" => said.input = loose_count(value)?,
            "output_tokens" => said.output = loose_count(value)?,
            "total_tokens" => said.total = loose_count(value)?,
            "input_tokens_details" | "output_tokens_details" => details(value, &mut said)?,
            _ => {}
        }
        Ok(())
    })?;
    Ok(said.disjoint())
}

fn details(value: &mut Cursor<'_>, said: &mut Said) -> Result<(), JsonError> {
    if value.peek()? != Kind::Object {
        return value.skip();
    }
    value.object(|key, value| {
        match key.as_ref() {
            "cached_tokens" => said.cached = loose_count(value)?,
            "cache_write_tokens" => said.written = loose_count(value)?.unwrap_or(0),
            "reasoning_tokens" => said.reasoning = loose_count(value)?,
            "cache_write_tokens_details" if value.peek()? == Kind::Object => {
                value.object::<JsonError>(|key, value| {
                    if key == "ttl_12h_tokens" {
                        said.written_long = loose_count(value)?.unwrap_or(0);
                    }
                    Ok(())
                })?;
            }
            _ => {}
        }
        Ok(())
    })
}

impl Said {
    fn disjoint(self) -> Option<Usage> {
        if self.input.is_none() && self.output.is_none() {
            return None;
        }
        let (input, output) = (self.input.unwrap_or(0), self.output.unwrap_or(0));
        let read = self.cached.unwrap_or(0).min(input);
        let written = self.written.min(input - read);
        let long = self.written_long.min(written);
        let reasoning = self.reasoning.unwrap_or(0);
        // Some servers leave reasoning out of the output; the total, or plain arithmetic, gives them away.
        let apart = input.saturating_add(output).saturating_add(reasoning);
        let excluded = reasoning > output || (reasoning > 0 && self.total == Some(apart));
        Some(Usage {
            input_uncached: input - read - written,
            cache_read: read,
            cache_write_short: written - long,
            cache_write_long: long,
            output_visible: if excluded { output } else { output - reasoning },
            output_reasoning: reasoning,
            reasoning_known: self.reasoning.is_some(),
            cache_known: self.cached.is_some(),
            ..Usage::default()
        })
    }
}

/// True for counts that the format has no place for.
pub(super) fn tells_more(usage: &Usage) -> bool {
    usage.audio_input > 0 || usage.audio_output > 0 || usage.server_tool_requests > 0
}

/// Writes a `usage` object as the next value; zeros where nothing is known, because clients want every count.
pub(super) fn write(usage: Option<&Usage>, w: &mut Writer<'_>) {
    let nothing = Usage::default();
    let usage = usage.unwrap_or(&nothing);
    w.open_object();
    w.key("input_tokens").number(usage.input());
    w.key("input_tokens_details").open_object();
    w.key("cached_tokens").number(usage.cache_read);
    w.key("cache_write_tokens").number(usage.cache_write());
    if usage.cache_write_long > 0 {
        w.key("cache_write_tokens_details").open_object();
        w.key("ttl_30m_tokens").number(usage.cache_write_short);
        w.key("ttl_12h_tokens").number(usage.cache_write_long).close_object();
    }
    w.close_object();
    w.key("output_tokens").number(usage.output());
    w.key("output_tokens_details").open_object();
    w.key("reasoning_tokens").number(usage.output_reasoning);
    w.close_object();
    w.key("total_tokens").number(usage.input().saturating_add(usage.output()));
    w.close_object();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(json: &str) -> Usage {
        read(&mut Cursor::over(json)).unwrap().unwrap()
    }

    fn written(usage: Option<&Usage>) -> String {
        let mut out = Vec::new();
        write(usage, &mut Writer::new(&mut out));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn trap_f3_input_tokens_are_split() {
        let usage = usage(
            r#"{"input_tokens":2255,"output_tokens":5,"input_tokens_details":{"cached_tokens":512,"cache_write_tokens":1000,"cache_write_tokens_details":{"ttl_30m_tokens":900,"ttl_12h_tokens":100}}}"#,
        );
        let parts = (usage.input_uncached, usage.cache_read, usage.cache_write_short, usage.cache_write_long);
        assert_eq!(parts, (743, 512, 900, 100));
    }

    #[test]
    fn g8_what_caches_took_for_long_is_told_apart() {
        let first = Usage { cache_write_short: 15, cache_write_long: 5, ..Usage::default() };
        let second = usage(&written(Some(&first)));
        assert_eq!((second.cache_write_short, second.cache_write_long), (15, 5));
    }

    #[test]
    fn trap_f2_totals_contain_everything() {
        let usage = Usage {
            input_uncached: 10,
            cache_read: 512,
            cache_write_short: 1733,
            output_visible: 5,
            ..Usage::default()
        };
        let json = written(Some(&usage));
        for part in [
            r#""input_tokens":2255"#,
            r#""output_tokens":5"#,
            r#""total_tokens":2260"#,
            r#""cached_tokens":512"#,
            r#""cache_write_tokens":1733"#,
        ] {
            assert!(json.contains(part), "{json}");
        }
    }

    #[test]
    fn trap_f7_every_count_is_there_even_when_none_is_known() {
        let json = written(None);
        for key in ["input_tokens_details", "cached_tokens", "cache_write_tokens", "reasoning_tokens", "total_tokens"] {
            assert!(json.contains(&format!("\"{key}\":")), "{json}");
        }
    }

    #[test]
    fn g8_usage_is_conserved() {
        for json in [
            r#"{"input_tokens":20,"output_tokens":603,"total_tokens":623,"output_tokens_details":{"reasoning_tokens":405}}"#,
            r#"{"input_tokens":20.0,"output_tokens":3,"input_tokens_details":null}"#,
            r#"{"input_tokens":1,"output_tokens":5,"total_tokens":306,"output_tokens_details":{"reasoning_tokens":300}}"#,
        ] {
            let first = usage(json);
            let second = usage(&written(Some(&first)));
            assert_eq!((first.input(), first.output()), (second.input(), second.output()));
            assert_eq!((first.cache_read, first.output_reasoning), (second.cache_read, second.output_reasoning));
        }
        assert_eq!(read(&mut Cursor::over("null")).unwrap(), None);
        assert_eq!(read(&mut Cursor::over("{}")).unwrap(), None);
    }
}
