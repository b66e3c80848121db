//! The response object around the items: the same in an answer and in the events of a stream.
//!
//! Official clients want `tools`, `tool_choice` and `parallel_tool_calls` in it, though they only echo the request.

use super::output::Identity;
use super::stop::Said;
use super::{error, usage};
use crate::hub::{Fault, Usage};
use crate::json::{Text, Writer};

/// Where the answer stands.
#[derive(Debug, Clone, Copy)]
pub(super) enum State<'s> {
    /// It has begun.
    InProgress,
    /// It ended.
    Ended(Said, Option<&'s Usage>),
    /// It broke.
    Failed(&'s Fault<'s>),
}

/// Writes the fields of a response object that is open; `output` is items between commas.
pub(super) fn write(identity: &Identity, model: &str, state: State<'_>, output: &str, w: &mut Writer<'_>) {
    w.key("id").text(&Text::from_escaped(identity.id.as_str()));
    w.key("object").plain("response").key("created_at").number(identity.created);
    w.key("status").plain(match state {
        State::InProgress => "in_progress",
        State::Ended(said, _) => said.status(),
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
        State::Ended(said, _) => said.write_details(w),
        State::InProgress | State::Failed(_) => {
            w.key("incomplete_details").null();
        }
    }
    w.key("instructions").null().key("max_output_tokens").null();
    w.key("model").plain(model).key("output").open_array();
    if !output.is_empty() {
        w.verbatim(output);
    }
    w.close_array();
    w.key("parallel_tool_calls").bool(true).key("previous_response_id").null();
    w.key("reasoning").verbatim(r#"{"effort":null,"summary":null}"#).key("store").bool(false);
    w.key("temperature").null().key("text").verbatim(r#"{"format":{"type":"text"}}"#);
    w.key("tool_choice").plain("auto").key("tools").verbatim("[]").key("top_p").null();
    w.key("truncation").plain("disabled").key("usage");
    match state {
        State::Ended(_, used) => usage::write(used, w),
        State::InProgress | State::Failed(_) => {
            w.null();
        }
    }
    w.key("user").null().key("metadata").verbatim("{}");
}
