//! Why an answer ended: `status`, `incomplete_details` and `error` of a response.

use super::wire::{loose_text, placed};
use crate::hub::{Fault, Stop, is_clients};
use crate::json::{Cursor, JsonError, Kind, Text, Writer};

/// What a response says about its end.
#[derive(Debug, Default)]
pub(super) struct Ending<'a> {
    /// `status`.
    pub status: Option<Text<'a>>,
    /// `incomplete_details.reason`.
    pub reason: Option<Text<'a>>,
    /// `error`, where it is an object.
    pub error: Option<Cursor<'a>>,
}

impl<'a> Ending<'a> {
    /// Reads the field `key` if it is one of these; says whether it was.
    pub(super) fn field(&mut self, key: &str, value: &mut Cursor<'a>) -> Result<bool, JsonError> {
        match key {
            "status" => self.status = loose_text(value)?,
            "incomplete_details" => {
                if let Some(mut details) = placed(value, Kind::Object)? {
                    details.object::<JsonError>(|key, value| {
                        if key == "reason" {
                            self.reason = loose_text(value)?;
                        }
                        Ok(())
                    })?;
                }
            }
            "error" => self.error = placed(value, Kind::Object)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// The reason; whether a tool of the client was called decides between an end and a call.
    pub(super) fn into_stop(self, called: bool) -> Stop<'a> {
        let status = self.status.unwrap_or(Text::from_escaped("completed"));
        match status.escaped() {
            "incomplete" => match self.reason {
                Some(reason) => match reason.escaped() {
                    "max_output_tokens" | "max_tokens" | "length" => Stop::MaxTokens,
                    "content_filter" => Stop::Filtered(reason),
                    _ => Stop::Other(reason),
                },
                None => Stop::MaxTokens,
            },
            // One that is not over was started in the background: what is there of it is no answer.
            "failed" | "cancelled" | "queued" | "in_progress" => Stop::Failed(match self.error {
                Some(mut error) => error_words(&mut error).unwrap_or(status),
                None => status,
            }),
            "completed" if called => Stop::ToolUse,
            "completed" => Stop::EndTurn,
            _ => Stop::Other(status),
        }
    }
}

fn error_words<'a>(error: &mut Cursor<'a>) -> Option<Text<'a>> {
    let (mut message, mut code) = (None, None);
    error
        .object::<JsonError>(|key, value| {
            match key.as_ref() {
                "message" => message = loose_text(value)?,
                "code" => code = loose_text(value)?,
                _ => {}
            }
            Ok(())
        })
        .ok()?;
    message.or(code)
}

/// How an answer's end is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Said {
    /// `completed`
    Completed,
    /// `incomplete`, with its reason.
    Incomplete(&'static str),
}

impl Said {
    /// What says `stop`.
    ///
    /// # Errors
    ///
    /// The stop is a failure, which the format says as an error.
    pub(super) fn of(stop: &Stop<'_>, said_anything: bool) -> Result<Self, Fault<'static>> {
        match stop {
            Stop::EndTurn | Stop::StopSequence(_) | Stop::ToolUse => Ok(Self::Completed),
            Stop::MaxTokens | Stop::ContextWindow | Stop::Pause | Stop::Compaction => {
                Ok(Self::Incomplete("max_output_tokens"))
            }
            Stop::Refusal { .. } | Stop::Filtered(_) => Ok(Self::Incomplete("content_filter")),
            Stop::PromptFiltered(word) => Err(Stop::refused_prompt(word)),
            Stop::Other(word) if word.escaped() == "steered" => Ok(Self::Incomplete("steered")),
            Stop::Other(word) if word.escaped() == "max_messages" => Ok(Self::Incomplete("max_messages")),
            Stop::Other(_) if said_anything => Ok(Self::Completed),
            Stop::Other(word) | Stop::Failed(word) => Err(Stop::gave_up(word)),
        }
    }

    /// `status` of the response, and of an item that the end cut.
    pub(super) fn status(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Incomplete(_) => "incomplete",
        }
    }

    /// Writes `incomplete_details`.
    pub(super) fn write_details(self, w: &mut Writer<'_>) {
        w.key("incomplete_details");
        match self {
            Self::Completed => w.null(),
            Self::Incomplete(reason) => w.open_object().key("reason").plain(reason).close_object(),
        };
    }
}

/// True when a stop is said in a way that tells less.
pub(super) fn is_coarser(stop: &Stop<'_>) -> bool {
    match stop {
        Stop::Pause | Stop::Compaction | Stop::ContextWindow => true,
        Stop::Other(word) => !is_clients(word),
        // Which of the stop texts it was, and of what sort the refusal.
        Stop::StopSequence(said) | Stop::Refusal { category: said, .. } => said.is_some(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_end() {
        for (json, called, label) in [
            (r#"{"status":"completed"}"#, false, "end_turn"),
            (r#"{"status":"completed"}"#, true, "tool_use"),
            ("{}", true, "tool_use"),
            (r#"{"status":"incomplete","incomplete_details":{"reason":"max_output_tokens"}}"#, true, "max_tokens"),
            (r#"{"status":"incomplete","incomplete_details":{"reason":"content_filter"}}"#, false, "filtered"),
            (r#"{"status":"incomplete","incomplete_details":{"reason":"steered"}}"#, false, "other"),
            (r#"{"status":"incomplete","incomplete_details":null}"#, false, "max_tokens"),
            (r#"{"status":"failed","error":{"code":"server_error","message":"boom"}}"#, false, "failed"),
            (r#"{"status":"cancelled","error":null}"#, false, "failed"),
            (r#"{"status":"in_progress"}"#, false, "failed"),
            (r#"{"status":"queued"}"#, true, "failed"),
            (r#"{"status":"new"}"#, false, "other"),
        ] {
            let mut ending = Ending::default();
            Cursor::over(json)
                .object::<JsonError>(|key, value| {
                    ending.field(&key, value)?;
                    Ok(())
                })
                .unwrap();
            assert_eq!(ending.into_stop(called).label(), label, "{json}");
        }
    }

    #[test]
    fn trap_f11_every_stop_has_a_word() {
        let word = || Text::from_escaped("x");
        for (stop, said) in [
            (Stop::EndTurn, Some(Said::Completed)),
            (Stop::ToolUse, Some(Said::Completed)),
            (Stop::StopSequence(None), Some(Said::Completed)),
            (Stop::MaxTokens, Some(Said::Incomplete("max_output_tokens"))),
            (Stop::ContextWindow, Some(Said::Incomplete("max_output_tokens"))),
            (Stop::Pause, Some(Said::Incomplete("max_output_tokens"))),
            (Stop::Compaction, Some(Said::Incomplete("max_output_tokens"))),
            (Stop::Refusal { category: None, explanation: None }, Some(Said::Incomplete("content_filter"))),
            (Stop::Filtered(word()), Some(Said::Incomplete("content_filter"))),
            (Stop::Other(Text::from_escaped("steered")), Some(Said::Incomplete("steered"))),
            (Stop::Other(word()), Some(Said::Completed)),
            (Stop::Failed(word()), None),
        ] {
            assert_eq!(Said::of(&stop, true).ok(), said, "{stop:?}");
        }
        assert!(Said::of(&Stop::Other(word()), false).is_err());
    }
}
