//! Usage: `prompt_tokens` includes what caches served and took, `completion_tokens` includes reasoning.

use super::wire::loose_count;
use crate::hub::Usage;
use crate::json::{Cursor, JsonError, Kind, Writer};

/// What a server said, before it is made disjoint.
#[derive(Default)]
struct Said {
    prompt: Option<u64>,
    completion: Option<u64>,
    total: Option<u64>,
    cached: Option<u64>,
    cached_elsewhere: Option<u64>,
    written: Option<u64>,
    written_elsewhere: Option<u64>,
    reasoning: Option<u64>,
    audio_in: u64,
    audio_out: u64,
    searches: u64,
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
            "prompt_tokens" => said.prompt = loose_count(value)?,
            "completion_tokens" => said.completion = loose_count(value)?,
            "total_tokens" => said.total = loose_count(value)?,
            "prompt_tokens_details" => prompt_details(value, &mut said)?,
            "completion_tokens_details" => completion_details(value, &mut said)?,
            // DeepSeek, Kimi, vLLM behind Mistral's names, Databricks and LiteLLM.
            "prompt_cache_hit_tokens" | "cached_tokens" | "num_cached_tokens" | "cache_read_input_tokens" => {
                said.cached_elsewhere = said.cached_elsewhere.max(loose_count(value)?);
            }
            "cache_creation_input_tokens" => said.written_elsewhere = loose_count(value)?,
            "reasoning_tokens" => said.reasoning = said.reasoning.or(loose_count(value)?),
            "num_search_queries" => said.searches = loose_count(value)?.unwrap_or(0),
            "server_tool_use" | "server_tool_use_details" => server_tools(value, &mut said)?,
            _ => {}
        }
        Ok(())
    })?;
    Ok(said.disjoint())
}

fn prompt_details(value: &mut Cursor<'_>, said: &mut Said) -> Result<(), JsonError> {
    if value.peek()? != Kind::Object {
        return value.skip();
    }
    value.object(|key, value| {
        match key.as_ref() {
            "cached_tokens" => said.cached = loose_count(value)?,
            "cache_write_tokens" | "cache_creation_tokens" => said.written = loose_count(value)?.or(said.written),
            "audio_tokens" => said.audio_in = loose_count(value)?.unwrap_or(0),
            _ => {}
        }
        Ok(())
    })
}

fn completion_details(value: &mut Cursor<'_>, said: &mut Said) -> Result<(), JsonError> {
    if value.peek()? != Kind::Object {
        return value.skip();
    }
    value.object(|key, value| {
        match key.as_ref() {
            "reasoning_tokens" => said.reasoning = loose_count(value)?.or(said.reasoning),
            "audio_tokens" => said.audio_out = loose_count(value)?.unwrap_or(0),
            _ => {}
        }
        Ok(())
    })
}

fn server_tools(value: &mut Cursor<'_>, said: &mut Said) -> Result<(), JsonError> {
    if value.peek()? != Kind::Object {
        return value.skip();
    }
    value.object(|_, value| {
        said.searches = said.searches.saturating_add(loose_count(value)?.unwrap_or(0));
        Ok(())
    })
}

impl Said {
    fn disjoint(self) -> Option<Usage> {
        if self.prompt.is_none() && self.completion.is_none() {
            return None;
        }
        let prompt = self.prompt.unwrap_or(0);
        let completion = self.completion.unwrap_or(0);
        let cached = self.cached.or(self.cached_elsewhere);
        let read = cached.unwrap_or(0).min(prompt);
        let written = self.written.or(self.written_elsewhere).unwrap_or(0).min(prompt - read);
        let reasoning = self.reasoning.unwrap_or(0);
        // Some servers (xAI) leave reasoning out of the completion; the total, or plain arithmetic, gives them away.
        let apart = prompt.saturating_add(completion).saturating_add(reasoning);
        let excluded = reasoning > completion || (reasoning > 0 && self.total == Some(apart));
        Some(Usage {
            input_uncached: prompt - read - written,
            cache_read: read,
            cache_write_short: written,
            cache_write_long: 0,
            output_visible: if excluded { completion } else { completion - reasoning },
            output_reasoning: reasoning,
            reasoning_known: self.reasoning.is_some(),
            cache_known: cached.is_some(),
            server_tool_requests: self.searches,
            audio_input: self.audio_in,
            audio_output: self.audio_out,
        })
    }
}

/// Writes a `usage` object as the next value.
pub(super) fn write(usage: &Usage, w: &mut Writer<'_>) {
    w.open_object();
    w.key("prompt_tokens").number(usage.input());
    w.key("completion_tokens").number(usage.output());
    w.key("total_tokens").number(usage.input().saturating_add(usage.output()));
    w.key("prompt_tokens_details").open_object();
    w.key("cached_tokens").number(usage.cache_read);
    w.key("cache_write_tokens").number(usage.cache_write());
    w.key("audio_tokens").number(usage.audio_input);
    w.close_object();
    w.key("completion_tokens_details").open_object();
    w.key("reasoning_tokens").number(usage.output_reasoning);
    w.key("audio_tokens").number(usage.audio_output);
    w.close_object();
    w.close_object();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(json: &str) -> Usage {
        read(&mut Cursor::over(json)).unwrap().unwrap()
    }

    fn written(usage: &Usage) -> String {
        let mut out = Vec::new();
        write(usage, &mut Writer::new(&mut out));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn trap_f3_prompt_tokens_are_split() {
        let usage = usage(
            r#"{"prompt_tokens":2255,"completion_tokens":5,"prompt_tokens_details":{"cached_tokens":512,"cache_write_tokens":1000}}"#,
        );
        assert_eq!((usage.input_uncached, usage.cache_read, usage.cache_write_short), (743, 512, 1000));
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
        let json = written(&usage);
        for part in [
            r#""prompt_tokens":2255"#,
            r#""completion_tokens":5"#,
            r#""total_tokens":2260"#,
            r#""cached_tokens":512"#,
            r#""cache_write_tokens":1733"#,
        ] {
            assert!(json.contains(part), "{json}");
        }
    }

    #[test]
    fn g8_usage_is_conserved() {
        for json in [
            r#"{"prompt_tokens":20,"completion_tokens":603,"total_tokens":623,"completion_tokens_details":{"reasoning_tokens":405}}"#,
            r#"{"prompt_tokens":20.0,"completion_tokens":3,"prompt_tokens_details":null,"cached_tokens":7}"#,
        ] {
            let first = usage(json);
            let second = read(&mut Cursor::over(&written(&first))).unwrap().unwrap();
            assert_eq!((first.input(), first.output()), (second.input(), second.output()));
            assert_eq!((first.cache_read, first.output_reasoning), (second.cache_read, second.output_reasoning));
        }
    }

    #[test]
    fn reasoning_outside_of_the_completion_is_not_subtracted() {
        for json in [
            r#"{"prompt_tokens":1,"completion_tokens":5,"total_tokens":306,"completion_tokens_details":{"reasoning_tokens":300}}"#,
            r#"{"prompt_tokens":1,"completion_tokens":500,"total_tokens":801,"completion_tokens_details":{"reasoning_tokens":300}}"#,
        ] {
            assert_eq!(usage(json).output_reasoning, 300);
            assert!(usage(json).output_visible % 100 == 5 || usage(json).output_visible == 500);
        }
        assert_eq!(read(&mut Cursor::over("null")).unwrap(), None);
        assert_eq!(read(&mut Cursor::over("{}")).unwrap(), None);
    }
}
