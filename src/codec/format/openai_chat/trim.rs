//! What servers that speak like the vendor refuse in a request of this format.

use std::borrow::Cow;

use super::wire::loose_text;
use super::{answer, read_extensions};
use crate::format::effort::{NEAREST, UNTOLD};
use crate::format::trim::{self, Change, class_by_pointer, holds};
use crate::format::{AnswerForms, Facts, ReasoningField, ToolChoices, ToolIds, WireFormat};
use crate::hub::ids::is_nine;
use crate::hub::{Action, Effort, Field, Losses};
use crate::json::{Cursor, Json, JsonError, Kind, Member, members};

/// What the field `key` counts as.
pub(super) fn class_of(format: &dyn WireFormat, key: &str) -> Field {
    match key {
        "functions" => Field::Tool,
        "function_call" => Field::ToolChoice,
        "max_tokens" => Field::MaxOutput,
        "prompt_cache_options" | "prompt_cache_retention" => Field::Cache,
        "top_logprobs" => Field::Logprobs,
        "user" => Field::Identity,
        _ => match class_by_pointer(format, key) {
            Field::Unknown => read_extensions::class_of(key),
            field => field,
        },
    }
}

/// The fields of the request itself, see [`WireFormat::trim`].
pub(super) fn trim(
    format: &dyn WireFormat,
    body: &[u8],
    facts: &Facts,
    losses: &mut Losses,
) -> Result<Option<Vec<u8>>, JsonError> {
    if facts.exact && facts.strip.is_empty() && facts.rename.is_empty() {
        return Ok(None);
    }
    let tools = Cursor::over_bytes(body).and_then(|mut cursor| tools_in(&mut cursor)).unwrap_or_default();
    let special = |key: &str, value: &Json<'_>, all: &[Member<'_>]| {
        if facts.exact { None } else { change(key, value, facts, (all, tools)) }
    };
    trim::trim(format, body, facts, &special, losses)
}

fn change(key: &str, value: &Json<'_>, facts: &Facts, (all, tools): (&[Member<'_>], usize)) -> Option<Change> {
    if value.kind() == Kind::Null {
        return None;
    }
    match key {
        "max_completion_tokens" | "max_tokens" if limit(value).is_some_and(|limit| limit > facts.most_output) => {
            let reason = "the model gives fewer tokens than the limit asked for";
            Some(said(facts.most_output.to_string(), Action::Converted, reason))
        }
        "max_completion_tokens" if facts.legacy_max_tokens => {
            let twice = all.iter().any(|member| member.key == "max_tokens");
            Some(if twice {
                Change::Gone("the server knows `max_tokens` alone")
            } else {
                Change::Renamed("max_tokens")
            })
        }
        "stream_options" if !facts.stream_options => Some(Change::Gone("the server refuses `stream_options`")),
        "parallel_tool_calls" if !facts.parallel_tools => {
            Some(Change::Gone("the server does not let several calls be asked for"))
        }
        "tool_choice" => tool_choice(value, facts.tool_choice, tools),
        "reasoning_effort" => {
            let asked = Effort::from_word(value.as_str().trim_matches('"'))?;
            if let (Effort::None, Some((name, value))) = (asked, facts.off_switch()) {
                return Some(Change::Instead { name, value });
            }
            if facts.efforts.has(asked) {
                return None;
            }
            Some(match facts.efforts.nearest(asked) {
                Some(taken) => said(format!("\"{}\"", taken.word()), Action::Converted, NEAREST),
                None => Change::Gone(UNTOLD),
            })
        }
        _ => None,
    }
}

fn said(value: impl Into<Cow<'static, str>>, action: Action, reason: &'static str) -> Change {
    Change::Said { value: value.into(), action, reason }
}

fn limit(value: &Json<'_>) -> Option<u64> {
    value.as_str().parse().ok()
}

fn tool_choice(value: &Json<'_>, taken: ToolChoices, tools: usize) -> Option<Change> {
    let named = value.kind() == Kind::Object;
    let forced = named || value.as_str() == "\"required\"";
    match taken {
        ToolChoices::Unnamed if named => {
            let action = if tools == 1 { Action::Converted } else { Action::Dropped };
            Some(said("\"required\"", action, "the server takes no tool by name: some tool must be called"))
        }
        ToolChoices::Auto if forced => {
            Some(said("\"auto\"", Action::Dropped, "the server cannot be told that a tool must be called"))
        }
        ToolChoices::All | ToolChoices::Unnamed | ToolChoices::Auto => None,
    }
}

/// Number of tools that the request has.
fn tools_in(cursor: &mut Cursor<'_>) -> Result<usize, JsonError> {
    let mut count = 0;
    cursor.object::<JsonError>(|key, value| {
        if key == "tools" && value.peek()? == Kind::Array {
            value.array::<JsonError>(|_, tool| {
                count += 1;
                tool.skip()
            })?;
        }
        Ok(())
    })?;
    Ok(count)
}

/// Deeper than its fields, see [`WireFormat::must_be_rewritten`].
pub(super) fn must_be_rewritten(body: &[u8], facts: &Facts) -> bool {
    if facts.exact {
        return false;
    }
    let reasoning: &[&str] = match facts.reasoning_field {
        None | Some(ReasoningField::ReasoningContent) => &[],
        Some(ReasoningField::None) => &["\"reasoning_content\"", "\"reasoning_details\""],
        Some(ReasoningField::Reasoning) => &["\"reasoning_content\""],
    };
    let forms: &[&str] = match facts.answers {
        AnswerForms::Schema => &[],
        AnswerForms::Object => &["\"json_schema\""],
        AnswerForms::Text => &["\"json_schema\"", "\"json_object\""],
    };
    (!facts.developer_role && holds(body, &["\"developer\""]))
        || (!facts.custom_tools && holds(body, &["\"custom\""]))
        || (!facts.vision && holds(body, &["\"image_url\""]))
        || (!facts.documents && holds(body, &["\"file\""]))
        || holds(body, reasoning)
        || (facts.wants_thoughts && holds(body, &["\"tool_calls\""]) && lacks_thoughts(body))
        || holds(body, forms)
        || (!facts.names && names_speakers(body).unwrap_or(false))
        || (facts.tool_ids == ToolIds::Alnum9 && has_other_ids(body).unwrap_or(false))
}

/// True if calls may stand there without the reasoning that led to them.
fn lacks_thoughts(body: &[u8]) -> bool {
    let times = |word: &str| memchr::memmem::find_iter(body, word).count();
    times("\"reasoning_content\"") < times("\"tool_calls\"")
}

/// True if a call or a result has an id that is not nine letters and digits.
fn has_other_ids(body: &[u8]) -> Result<bool, JsonError> {
    if !holds(body, &["\"tool_calls\"", "\"tool_call_id\""]) {
        return Ok(false);
    }
    let mut found = false;
    Cursor::over_bytes(body)?.object::<JsonError>(|key, value| {
        if key != "messages" || value.peek()? != Kind::Array {
            return value.skip();
        }
        value.array::<JsonError>(|_, message| {
            if message.peek()? != Kind::Object {
                return message.skip();
            }
            message.object::<JsonError>(|key, value| {
                match key.as_ref() {
                    "tool_call_id" => found |= !loose_text(value)?.is_some_and(|id| is_nine(&id.plain())),
                    "tool_calls" if value.peek()? == Kind::Array => {
                        answer::calls(value, |call| {
                            found |= !call.id.is_some_and(|id| is_nine(&id));
                            Ok::<_, JsonError>(())
                        })?;
                    }
                    _ => value.skip()?,
                }
                Ok(())
            })
        })
    })?;
    Ok(found)
}

/// True if a message says who speaks; a tool's result names its tool.
fn names_speakers(body: &[u8]) -> Result<bool, JsonError> {
    let mut found = false;
    Cursor::over_bytes(body)?.object::<JsonError>(|key, value| {
        if key != "messages" || value.peek()? != Kind::Array {
            return Ok(());
        }
        value.array::<JsonError>(|_, message| {
            if message.peek()? != Kind::Object {
                return message.skip();
            }
            let fields = members(body, message)?;
            let is = |name: &str, words: &[u8]| {
                fields.iter().any(|field| field.key == name && body.get(field.value.clone()) == Some(words))
            };
            let named = fields.iter().any(|field| field.key == "name") && !is("name", b"null");
            found |= named && !is("role", b"\"tool\"") && !is("role", b"\"function\"");
            Ok(())
        })
    })?;
    Ok(found)
}
