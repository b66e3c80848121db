//! Why an answer ended, read and written.

use crate::hub::Stop;
use crate::json::{Cursor, Json, JsonError, Text, Writer};

/// What a message says about its end.
#[derive(Debug, Default)]
pub(super) struct Ending<'a> {
    /// `stop_reason`.
    pub reason: Option<Text<'a>>,
    /// `stop_sequence`.
    pub sequence: Option<Text<'a>>,
    /// `stop_details`.
    pub details: Option<Json<'a>>,
}

impl<'a> Ending<'a> {
    /// The reason; whether a tool of the client was called decides between an end and a call, not the provider's word.
    pub(super) fn into_stop(self, called: bool) -> Stop<'a> {
        match self.reason.as_ref().map_or("end_turn", Text::escaped) {
            "end_turn" | "tool_use" | "stop" | "tool_calls" if called => Stop::ToolUse,
            // Servers that speak several formats leave words of OpenAI's standing.
            "end_turn" | "tool_use" | "stop" | "tool_calls" => Stop::EndTurn,
            "max_tokens" | "length" => Stop::MaxTokens,
            "content_filter" => Stop::Filtered(self.reason.unwrap_or_default()),
            "stop_sequence" => Stop::StopSequence(self.sequence),
            "pause_turn" => Stop::Pause,
            "model_context_window_exceeded" => Stop::ContextWindow,
            "compaction" => Stop::Compaction,
            "refusal" => refusal(self.details.as_ref()),
            "error" | "abort" => Stop::Failed(self.reason.unwrap_or_default()),
            _ => Stop::Other(self.reason.unwrap_or_default()),
        }
    }
}

/// `{"type":"refusal","category":…,"explanation":…}`; details of another form say nothing.
fn refusal<'a>(details: Option<&Json<'_>>) -> Stop<'a> {
    let (mut category, mut explanation) = (None, None);
    if let Some(details) = details {
        let _ = details.cursor().object::<JsonError>(|key, value| {
            match key.as_ref() {
                "category" => category = value.nullable(Cursor::text)?.map(Text::into_owned),
                "explanation" => explanation = value.nullable(Cursor::text)?.map(Text::into_owned),
                _ => value.skip()?,
            }
            Ok(())
        });
    }
    Stop::Refusal { category, explanation }
}

/// The categories that clients know; another vendor's word for one is none.
const CATEGORIES: [&str; 5] = ["bio", "cyber", "frontier_llm", "general_harms", "reasoning_extraction"];

/// Writes `stop_reason`, `stop_sequence` and, for a refusal, `stop_details`.
pub(super) fn write(stop: &Stop<'_>, json: &mut Writer<'_>) {
    json.key("stop_reason").plain(word(stop)).key("stop_sequence");
    match stop {
        Stop::StopSequence(Some(sequence)) => json.text(sequence),
        _ => json.null(),
    };
    let (category, explanation) = match stop {
        Stop::Refusal { category, explanation } => {
            (category.as_ref().filter(|word| CATEGORIES.contains(&word.escaped())), explanation.as_ref())
        }
        Stop::Filtered(native) | Stop::PromptFiltered(native) => (None, Some(native)),
        _ => return,
    };
    json.key("stop_details").open_object().key("type").plain("refusal");
    for (key, value) in [("category", category), ("explanation", explanation)] {
        json.key(key);
        match value {
            Some(value) => json.text(value),
            None => json.null(),
        };
    }
    json.close_object();
}

fn word(stop: &Stop<'_>) -> &'static str {
    match stop {
        Stop::EndTurn | Stop::Failed(_) | Stop::Other(_) => "end_turn",
        Stop::StopSequence(_) => "stop_sequence",
        Stop::MaxTokens => "max_tokens",
        Stop::ContextWindow => "model_context_window_exceeded",
        Stop::ToolUse => "tool_use",
        Stop::Refusal { .. } | Stop::Filtered(_) | Stop::PromptFiltered(_) => "refusal",
        Stop::Pause => "pause_turn",
        Stop::Compaction => "compaction",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_reason() {
        let ending = |reason: &'static str| Ending { reason: Some(Text::from_escaped(reason)), ..Ending::default() };
        for (reason, called, label) in [
            ("end_turn", false, "end_turn"),
            ("end_turn", true, "tool_use"),
            ("tool_use", true, "tool_use"),
            ("tool_use", false, "end_turn"),
            // Calls of an answer that was cut may be cut themselves.
            ("max_tokens", true, "max_tokens"),
            ("stop_sequence", false, "stop_sequence"),
            ("pause_turn", false, "pause"),
            ("refusal", false, "refusal"),
            ("model_context_window_exceeded", false, "context_window"),
            ("compaction", false, "compaction"),
            ("brand_new", false, "other"),
        ] {
            assert_eq!(ending(reason).into_stop(called).label(), label, "{reason}");
        }
    }
}
