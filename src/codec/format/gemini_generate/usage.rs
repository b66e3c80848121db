//! Token counts, read and written.

use std::borrow::Cow;

use super::wire::{camel, count, loose_text};
use crate::hub::Usage;
use crate::json::{Cursor, JsonError, Kind, Writer};

/// What `usageMetadata` says.
#[derive(Debug, Default)]
struct Counts {
    prompt: Option<u64>,
    cached: Option<u64>,
    candidates: Option<u64>,
    thoughts: Option<u64>,
    tool_use: Option<u64>,
    total: Option<u64>,
    audio_input: u64,
    audio_output: u64,
}

/// Reads a `usageMetadata`.
pub(super) fn read(cursor: &mut Cursor<'_>) -> Result<Option<Usage>, JsonError> {
    if cursor.peek()? != Kind::Object {
        cursor.skip()?;
        return Ok(None);
    }
    let mut counts = Counts::default();
    cursor.object::<JsonError>(|key, value| counts.field(&key, value))?;
    Ok(Some(counts.usage()))
}

/// `[{"modality":"AUDIO","tokenCount":5}]`
fn audio(value: &mut Cursor<'_>) -> Result<u64, JsonError> {
    if value.peek()? != Kind::Array {
        value.skip()?;
        return Ok(0);
    }
    let mut sum = 0_u64;
    value.array::<JsonError>(|_, element| {
        let (mut is_audio, mut tokens) = (false, None);
        element.object::<JsonError>(|key, value| {
            match key.as_ref() {
                "modality" => is_audio = loose_text(value)?.is_some_and(|word| word.escaped() == "AUDIO"),
                "tokenCount" | "token_count" => tokens = count(value)?,
                _ => value.skip()?,
            }
            Ok(())
        })?;
        sum = sum.saturating_add(tokens.filter(|_| is_audio).unwrap_or(0));
        Ok(())
    })?;
    Ok(sum)
}

impl Counts {
    /// The counts stand in every event of most streams, so their keys are matched as they are.
    fn field(&mut self, key: &str, value: &mut Cursor<'_>) -> Result<(), JsonError> {
        match key {
            "promptTokenCount" => self.prompt = count(value)?,
            "cachedContentTokenCount" => self.cached = count(value)?,
            "candidatesTokenCount" | "responseTokenCount" => self.candidates = count(value)?,
            "thoughtsTokenCount" => self.thoughts = count(value)?,
            "toolUsePromptTokenCount" => self.tool_use = count(value)?,
            "totalTokenCount" => self.total = count(value)?,
            "promptTokensDetails" => self.audio_input = audio(value)?,
            "candidatesTokensDetails" | "responseTokensDetails" => self.audio_output = audio(value)?,
            other => match camel(other) {
                Cow::Owned(key) => self.field(&key, value)?,
                Cow::Borrowed(_) => value.skip()?,
            },
        }
        Ok(())
    }

    /// The numbers, disjoint. The vendor counts thoughts beside the candidates; older surfaces counted them among
    /// them, which the total tells.
    fn usage(&self) -> Usage {
        let (prompt, cached) = (self.prompt.unwrap_or(0), self.cached.unwrap_or(0));
        let (candidates, thoughts) = (self.candidates.unwrap_or(0), self.thoughts.unwrap_or(0));
        let tool_use = self.tool_use.unwrap_or(0);
        let without = prompt.saturating_add(candidates).saturating_add(tool_use);
        let contained = thoughts > 0 && thoughts <= candidates && self.total == Some(without);
        let cached_of = cached.min(prompt);
        Usage {
            input_uncached: (prompt - cached_of).saturating_add(tool_use),
            cache_read: cached_of,
            output_visible: if contained { candidates - thoughts } else { candidates },
            output_reasoning: thoughts,
            reasoning_known: self.thoughts.is_some(),
            cache_known: self.cached.is_some(),
            audio_input: self.audio_input.min(prompt),
            audio_output: self.audio_output.min(candidates),
            ..Usage::default()
        }
    }
}

/// Writes a `usageMetadata` object.
pub(super) fn write(usage: &Usage, json: &mut Writer<'_>) {
    json.open_object().key("promptTokenCount").number(usage.input());
    if usage.cache_known || usage.cache_read > 0 {
        json.key("cachedContentTokenCount").number(usage.cache_read);
    }
    json.key("candidatesTokenCount").number(usage.output_visible);
    if usage.reasoning_known || usage.output_reasoning > 0 {
        json.key("thoughtsTokenCount").number(usage.output_reasoning);
    }
    json.key("totalTokenCount").number(usage.input().saturating_add(usage.output()));
    for (key, sound, all) in [
        ("promptTokensDetails", usage.audio_input, usage.input()),
        ("candidatesTokensDetails", usage.audio_output, usage.output_visible),
    ] {
        if sound == 0 {
            continue;
        }
        json.key(key).open_array();
        for (modality, tokens) in [("TEXT", all.saturating_sub(sound)), ("AUDIO", sound)] {
            json.open_object().key("modality").plain(modality).key("tokenCount").number(tokens).close_object();
        }
        json.close_array();
    }
    json.close_object();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(object: &str) -> Usage {
        read(&mut Cursor::over(object)).unwrap().unwrap()
    }

    #[test]
    fn trap_f4_thoughts_stand_beside_the_candidates() {
        let found = usage(
            r#"{"promptTokenCount":20,"candidatesTokenCount":198,"thoughtsTokenCount":405,"totalTokenCount":623}"#,
        );
        assert_eq!((found.output(), found.output_reasoning), (603, 405));
        assert_eq!(found.input(), 20);
    }

    #[test]
    fn trap_f5_thoughts_among_the_candidates_are_not_added_twice() {
        let found = usage(
            r#"{"promptTokenCount":20,"candidatesTokenCount":603,"thoughtsTokenCount":405,"totalTokenCount":623}"#,
        );
        assert_eq!((found.output(), found.output_visible, found.output_reasoning), (603, 198, 405));
    }

    #[test]
    fn parts_are_disjoint() {
        let found = usage(
            r#"{"prompt_token_count":100,"cachedContentTokenCount":"60","toolUsePromptTokenCount":7,"candidatesTokenCount":5,"totalTokenCount":112,"promptTokensDetails":[{"modality":"TEXT","tokenCount":90},{"modality":"AUDIO","tokenCount":10}]}"#,
        );
        assert_eq!((found.input_uncached, found.cache_read, found.input()), (47, 60, 107));
        assert_eq!((found.audio_input, found.cache_known, found.reasoning_known), (10, true, false));
    }

    #[test]
    fn trap_g8_what_is_written_reads_the_same() {
        for object in [
            r#"{"promptTokenCount":20,"candidatesTokenCount":198,"thoughtsTokenCount":405,"totalTokenCount":623}"#,
            r#"{"promptTokenCount":20,"cachedContentTokenCount":3,"candidatesTokenCount":8,"totalTokenCount":28,"promptTokensDetails":[{"modality":"TEXT","tokenCount":15},{"modality":"AUDIO","tokenCount":5}]}"#,
        ] {
            let mut out = Vec::new();
            write(&usage(object), &mut Writer::new(&mut out));
            assert_eq!(String::from_utf8(out).unwrap(), object);
        }
    }
}
