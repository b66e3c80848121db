//! Why an answer ended, read and written.

use crate::hub::Stop;
use crate::json::{Text, Writer};

/// Reasons that say that a filter cut the answer.
const FILTERED: [&str; 13] = [
    "SAFETY",
    "RECITATION",
    "BLOCKLIST",
    "PROHIBITED_CONTENT",
    "SPII",
    "LANGUAGE",
    "MODEL_ARMOR",
    "JAILBREAK",
    "IMAGE_SAFETY",
    "IMAGE_PROHIBITED_CONTENT",
    "IMAGE_RECITATION",
    "IMAGE_OTHER",
    "UNSAFE_PROMPT_FOR_IMAGE_GENERATION",
];

/// Reasons that say that the model or the provider failed: an empty success would hide it.
const FAILED: [&str; 5] = [
    "MALFORMED_FUNCTION_CALL",
    "UNEXPECTED_TOOL_CALL",
    "TOO_MANY_TOOL_CALLS",
    "MISSING_THOUGHT_SIGNATURE",
    "MALFORMED_RESPONSE",
];

/// Stands between a failure's reason and the words on it.
const BEHIND: &str = ": ";

/// The reason of a failure of this format, and the words on it.
fn failure<'n>(native: &'n Text<'_>) -> Option<(&'n str, Option<&'n str>)> {
    let native = native.escaped();
    let (reason, words) = native.split_once(BEHIND).map_or((native, None), |(reason, words)| (reason, Some(words)));
    FAILED.contains(&reason).then_some((reason, words))
}

/// True where a `finishMessage` is the provider's words on why it declined, or failed.
pub(super) fn takes_message(word: &Text<'_>) -> bool {
    FILTERED.contains(&word.escaped()) || FAILED.contains(&word.escaped())
}

/// Reads a `finishReason` and its `finishMessage`; `called` where a tool of the client was called, which the format does
/// not say by itself.
pub(super) fn read<'a>(word: &Text<'a>, message: Option<Text<'a>>, called: bool) -> Stop<'a> {
    match (word.escaped(), message) {
        (native, explanation @ Some(_)) if FILTERED.contains(&native) => {
            return Stop::Refusal { category: Some(word.clone()), explanation };
        }
        (native, Some(words)) if FAILED.contains(&native) => {
            return Stop::Failed(Text::from_escaped(format!("{native}{BEHIND}{}", words.escaped())));
        }
        _ => {}
    }
    match word.escaped() {
        "STOP" | "" if called => Stop::ToolUse,
        "STOP" | "" => Stop::EndTurn,
        // Calls of an answer that was cut may be cut themselves.
        // What would go on by a token of this format is cut elsewhere.
        "MAX_TOKENS" | "CONTINUATION" => Stop::MaxTokens,
        native if FILTERED.contains(&native) => Stop::Filtered(word.clone()),
        native if FAILED.contains(&native) => Stop::Failed(word.clone()),
        // Calls come whole in this format, and somebody waits for their results.
        _ if called => Stop::ToolUse,
        _ => Stop::Other(word.clone()),
    }
}

/// The end of an answer whose prompt was refused when some of it had come: that broke it off.
pub(super) fn broken_off<'a>(stop: Option<Stop<'a>>, word: &Text<'a>) -> Stop<'a> {
    match stop {
        Some(stop @ (Stop::Filtered(_) | Stop::Refusal { .. } | Stop::Failed(_))) => stop,
        _ => Stop::Filtered(word.clone()),
    }
}

/// The end of an answer that says twice why: a bare reason does not take back the words on it.
pub(super) fn again<'a>(before: Option<Stop<'a>>, stop: Stop<'a>) -> Stop<'a> {
    match (before, stop) {
        (Some(before @ Stop::Refusal { explanation: Some(_), .. }), Stop::Filtered(_)) => before,
        (Some(before @ Stop::Failed(_)), Stop::Failed(native))
            if failure(&native).is_some_and(|(_, words)| words.is_none()) =>
        {
            before
        }
        (_, stop) => stop,
    }
}

/// Reads a `promptFeedback.blockReason`: the prompt was refused and there is no answer.
pub(super) fn blocked<'a>(word: &Text<'a>) -> Stop<'a> {
    Stop::PromptFiltered(word.clone())
}

/// Writes a `promptFeedback` as the next field.
pub(super) fn write_blocked(word: &Text<'_>, json: &mut Writer<'_>) {
    json.key("promptFeedback").open_object().key("blockReason");
    if word.is_empty() {
        json.plain("OTHER")
    } else {
        json.text(word)
    };
    json.close_object();
}

/// The `finishReason` that says `stop`; `None` for a failure of another format, which is said as an error.
pub(super) fn word<'s>(stop: &'s Stop<'_>) -> Option<&'s str> {
    Some(match stop {
        Stop::EndTurn | Stop::StopSequence(_) | Stop::ToolUse => "STOP",
        Stop::MaxTokens | Stop::ContextWindow | Stop::Pause | Stop::Compaction => "MAX_TOKENS",
        Stop::Filtered(native) | Stop::Refusal { category: Some(native), .. }
            if FILTERED.contains(&native.escaped()) && native.escaped() != "JAILBREAK" =>
        {
            native.escaped()
        }
        Stop::Refusal { .. } | Stop::Filtered(_) | Stop::PromptFiltered(_) => "SAFETY",
        Stop::Failed(native) => failure(native)?.0,
        Stop::Other(native) if matches!(native.escaped(), "NO_IMAGE" | "ESCALATION") => native.escaped(),
        // The client took another way: the answer is whole as far as it goes.
        Stop::Other(native) if native.escaped() == "steered" => "STOP",
        Stop::Other(_) => "OTHER",
    })
}

/// True when the word that says `stop` tells less.
pub(super) fn is_coarser(stop: &Stop<'_>) -> bool {
    match stop {
        Stop::Pause | Stop::Compaction | Stop::ContextWindow | Stop::Other(_) => true,
        // Which of the stop texts it was, and of what sort the refusal.
        Stop::StopSequence(said) => said.is_some(),
        Stop::Refusal { category: Some(category), .. } => word(stop) != Some(category.escaped()),
        _ => false,
    }
}

/// The `finishMessage` that goes with it.
pub(super) fn message<'s>(stop: &'s Stop<'_>) -> Option<Text<'s>> {
    match stop {
        Stop::Refusal { explanation: Some(words), .. } => Some(words.by_ref()),
        Stop::Failed(native) => failure(native)?.1.map(Text::from_escaped),
        Stop::Filtered(native) if word(stop) != Some(native.escaped()) && !native.is_empty() => Some(native.by_ref()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_reason() {
        for (native, called, label) in [
            ("STOP", false, "end_turn"),
            ("MAX_TOKENS", false, "max_tokens"),
            ("SAFETY", false, "filtered"),
            ("PROHIBITED_CONTENT", true, "filtered"),
            ("IMAGE_SAFETY", false, "filtered"),
            ("NO_IMAGE", false, "other"),
            ("OTHER", false, "other"),
            ("BRAND_NEW", false, "other"),
            ("CONTINUATION", false, "max_tokens"),
        ] {
            assert_eq!(read(&Text::from_escaped(native), None, called).label(), label, "{native}");
        }
    }

    #[test]
    fn what_a_filter_says_is_told_and_comes_back_as_it_was() {
        let words = Text::from_escaped("no");
        let stop = read(&Text::from_escaped("PROHIBITED_CONTENT"), Some(words.clone()), true);
        assert_eq!(stop.label(), "refusal");
        assert_eq!((word(&stop), message(&stop)), (Some("PROHIBITED_CONTENT"), Some(words)));
        // Elsewhere it is the provider's remark, and no refusal.
        let cut = read(&Text::from_escaped("MAX_TOKENS"), Some(Text::from_escaped("cut")), false);
        assert_eq!(cut, Stop::MaxTokens);
    }

    #[test]
    fn an_answer_whose_client_took_another_way_is_whole() {
        assert_eq!(word(&Stop::Other(Text::from_escaped("steered"))), Some("STOP"));
    }

    #[test]
    fn trap_b25_calls_make_a_normal_stop_a_tool_use() {
        assert_eq!(read(&Text::from_escaped("STOP"), None, true), Stop::ToolUse);
    }

    #[test]
    fn trap_b28_a_limit_stays_one_behind_a_call() {
        assert_eq!(read(&Text::from_escaped("MAX_TOKENS"), None, true), Stop::MaxTokens);
    }

    #[test]
    fn trap_c30_a_malformed_call_is_a_failure() {
        for native in FAILED {
            assert_eq!(read(&Text::from_escaped(native), None, false).label(), "failed", "{native}");
        }
    }

    #[test]
    fn every_own_reason_comes_back() {
        for native in FILTERED.iter().chain(&FAILED).chain(&["STOP", "MAX_TOKENS", "OTHER", "NO_IMAGE"]) {
            let text = Text::from_escaped(*native);
            let stop = read(&text, None, false);
            let expected = if *native == "JAILBREAK" { "SAFETY" } else { native };
            assert_eq!(word(&stop), Some(expected), "{native}");
        }
    }
}
