//! The response object around the items: the same in an answer and in the events of a stream.
//!
//! It repeats the settings of the request; what the request did not set is what the vendor's API shows by default.

use super::output::Identity;
use super::stop::Said;
use super::{error, usage};
use crate::format::Reply;
use crate::hub::{Fault, Usage};
use crate::json::{Text, Writer};

/// Where the answer stands.
#[derive(Debug, Clone, Copy)]
pub(super) enum State<'s> {
    /// It has begun.
    InProgress,
    /// It ended; what it cost, and by which tier it was served in the format's own word.
    Ended(Said, Option<&'s Usage>, Option<&'s Text<'s>>),
    /// It broke.
    Failed(&'s Fault<'s>),
}

/// Writes the fields of a response object that is open; `output` is items between commas.
pub(super) fn write(identity: &Identity, reply: &Reply, state: State<'_>, output: &str, w: &mut Writer<'_>) {
    let said = |key: &'static str, usual: &'static str, w: &mut Writer<'_>| {
        w.key(key).verbatim(reply.settings.get(key).filter(|json| *json != "null").unwrap_or(usual));
    };
    w.key("id").text(&Text::from_escaped(identity.id.as_str()));
    w.key("object").plain("response").key("created_at").number(identity.created);
    w.key("status").plain(match state {
        State::InProgress => "in_progress",
        State::Ended(said, ..) => said.status(),
        State::Failed(_) => "failed",
    });
    w.key("background").bool(false).key("error");
    match state {
        State::Failed(fault) => error::write_failure(fault, w),
        State::InProgress | State::Ended(..) => {
            w.null();
        }
    }
    match state {
        State::Ended(said, ..) => said.write_details(w),
        State::InProgress | State::Failed(_) => {
            w.key("incomplete_details").null();
        }
    }
    said("instructions", "null", w);
    said("max_output_tokens", "null", w);
    w.key("model").plain(&reply.model).key("output").open_array();
    if !output.is_empty() {
        w.verbatim(output);
    }
    w.close_array();
    said("parallel_tool_calls", "true", w);
    w.key("previous_response_id").null();
    said("reasoning", r#"{"effort":null,"summary":null}"#, w);
    w.key("store").bool(false);
    said("temperature", "null", w);
    said("text", r#"{"format":{"type":"text"}}"#, w);
    said("tool_choice", r#""auto""#, w);
    said("tools", "[]", w);
    said("top_p", "null", w);
    said("truncation", r#""disabled""#, w);
    for key in ["max_tool_calls", "prompt_cache_key", "safety_identifier", "top_logprobs"] {
        if let Some(json) = reply.settings.get(key) {
            w.key(key).verbatim(json);
        }
    }
    w.key("usage");
    match state {
        State::Ended(_, used, _) => usage::write(used, w),
        State::InProgress | State::Failed(_) => {
            w.null();
        }
    }
    said("user", "null", w);
    said("metadata", "{}", w);
    if let State::Ended(_, _, Some(tier)) = state {
        w.key("service_tier").text(tier);
    }
}
