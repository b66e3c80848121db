//! Anthropic Messages, `POST /v1/messages`.
//!
//! One format in two dialects: `anthropic-version` 2023-06-01, and 2026-10-21, which refuses sampling parameters,
//! documents of the assistant and citations of the user.
//!
//! ```text
//! read_request ── read_block, read_tools        write_request ── arrange, marks, write_block, write_tools,
//!                                                                write_sampling, write_reasoning; schema, schema_cycle
//! read_response ── read_block ─┐                write_response ─┐
//! stream_read ── stream_event ─┴─ stop, usage   stream_write ───┴─ stream_block, tail, stop, usage
//! ```

use std::borrow::Cow;
use std::sync::Arc;

use super::{
    Counting, Facts, FieldSet, Holder, Outgoing, PromptFields, Reply, RequestHead, Spec, StateFields, StreamReader,
    StreamWriter, Target, WireFormat,
};
use crate::Format;
use crate::frame::sse::Frame;
use crate::hub::{Fault, Field, Losses, Refusal, Request, Response, Stop, Usage};
use crate::json::JsonError;

mod arrange;
mod core_fields;
mod error;
pub mod grammar;
mod marks;
mod models;
mod read_block;
mod read_request;
mod read_response;
mod read_tools;
mod report;
mod schema;
mod schema_bounds;
mod schema_cycle;
mod stop;
mod stream_block;
mod stream_event;
mod stream_read;
mod stream_write;
mod tail;
#[cfg(test)]
mod tests;
mod usage;
mod wire;
mod write_block;
mod write_reasoning;
mod write_request;
mod write_response;
mod write_sampling;
mod write_tools;

/// The format.
#[derive(Debug)]
pub struct AnthropicMessages;

/// <https://platform.claude.com/docs/en/api/messages-count-tokens>: no limit and no way of choosing words; the fields behind
/// `messages` are those of the beta.
const COUNTING: Counting = Counting {
    path: "/v1/messages/count_tokens",
    fields: &[
        "model",
        "cache_control",
        "output_config",
        "speed",
        "thinking",
        "tool_choice",
        "tools",
        "system",
        "messages",
        "compaction",
        "context_management",
        "mcp_servers",
    ],
    whole: None,
    total: "input_tokens",
    kind: None,
};

const SPEC: Spec = Spec {
    format: Format::AnthropicMessages,
    title: "Anthropic Messages",
    path: "/v1/messages",
    counting: Some(&COUNTING),
    same_format_paths: &[],
    addressing: None,
    repeated: &[],
    prompt: PromptFields { before: &["system", "tools"], turns: "messages" },
    state: StateFields {
        named: &[Holder::any("container"), Holder::any("file_id"), Holder::any("thread")],
        sealed: &[
            Holder::any("signature"),
            Holder { key: "type", mark: "redacted_thinking", name: "redacted_thinking" },
        ],
        bearing: &["signature"],
        foreign: &["input", "input_schema", "schema", "metadata"],
        answers: false,
        made: false,
        ids: &["id"],
    },
    other_names: &[
        ("/service_tier", "/speed"),
        ("/thinking", "/output_config/effort"),
        ("/output_config/format", "/output_format"),
    ],
    version_header: Some("anthropic-version"),
    beta_header: Some("anthropic-beta"),
    request_id_header: Some("request-id"),
    answer_model: &[&["model"], &["message", "model"]],
    answer_words: &["\"content\""],
    object_answers: false,
    json_by_name: false,
    bad_key_is_bad_request: false,
    source: "anthropic-version 2026-10-21; SDKs anthropic-python 2.11 and anthropic-typescript 1.11",
    request_losses: &[
        (Field::VendorTool, "refused: only models of its vendor know what such a tool of the client's takes"),
        (Field::Audio, "messages hold no sound"),
        (Field::Cache, "caches have no key and no options; marks ask for them"),
        (Field::FrequencyPenalty, "no such field"),
        (Field::ImageDetail, "how closely an image is looked at cannot be said"),
        (Field::LogitBias, "no such field"),
        (Field::Logprobs, "no such field"),
        (Field::Metadata, "only the id of a user is taken"),
        (Field::N, "one answer a request; more are refused"),
        (Field::Prediction, "no such field"),
        (Field::PresencePenalty, "no such field"),
        (Field::Seed, "no such field"),
        (Field::Store, "answers are not stored"),
        (Field::TurnName, "messages name no speaker"),
        (Field::Verbosity, "no such field"),
        (
            Field::CacheMark,
            "four at most, the latest, for five minutes or an hour, and as long as one behind it; none on thinking and on what is left out",
        ),
        (Field::Citations, "sources of another format are dropped"),
        (Field::Document, "PDF and plain text; by foreign file id: refused"),
        (Field::Identity, "one id: a safety identifier stands for the user, a long one as a hash"),
        (Field::Image, "JPEG, PNG, GIF and WebP, not in the assistant's messages; by foreign file id: refused"),
        (Field::Instructions, "words only"),
        (Field::MaxOutput, "the model's own where the client set none, and no more than it gives"),
        (Field::OpaqueState, "state of another provider is dropped"),
        (
            Field::Output,
            "a schema goes without its name, and what it says in keywords that are refused is told in words; a JSON answer without one is \
             asked for in words, one by a schema that refers to itself by a function or in words",
        ),
        (
            Field::Reasoning,
            "an effort becomes a budget or the other way, as the model takes it; a budget stays below the limit",
        ),
        (Field::Refusal, "words of refusal are a text"),
        (Field::SearchResult, "of another format: dropped"),
        (
            Field::ServerTool,
            "left out beside the client's own tools, and refused where it is alone or asked for by name; what it did before, and how \
             often it may be called, is dropped",
        ),
        (Field::Stop, "texts of white space only are dropped"),
        (
            Field::Strict,
            "objects are closed to other properties, and keywords that are refused are told in words; off where an object says that \
             it is open, or a schema refers to itself",
        ),
        (Field::Temperature, "1 at most; dropped where the model chooses its words by itself"),
        (Field::Text, "white space alone is left out"),
        (Field::Thinking, "thinking that another provider signed, or nobody, is left out"),
        (
            Field::Tool,
            "a tool of free text is a function with one text, `input`; a choice at the top of a schema is told in words",
        ),
        (Field::ToolCall, "only the assistant's"),
        (Field::ToolChoice, "dropped where there are no tools; a set of allowed tools is not said"),
        (Field::ToolName, "in 64 letters, digits, `_` and `-`: another name stands in, and is given back"),
        (Field::ToolResult, "words, images, documents and search results only"),
        (Field::TopK, "dropped beside thinking, and where the model chooses its words by itself"),
        (Field::TopP, "dropped beside `temperature`, and where the model chooses its words by itself"),
        (
            Field::Turn,
            "begins with the user (`(continue)`); an empty message says `(empty)`; the operator's words in the middle may be the user's",
        ),
        (Field::Beta, "another vendor's beta features are dropped"),
        (Field::Modalities, "an answer in other media than words cannot be asked for"),
        (Field::Model, "models to fall back to are dropped"),
        (Field::Safety, "another vendor's settings are dropped"),
        (Field::Sampling, "ways of choosing words that only some servers have are dropped"),
        (Field::StreamOptions, "options of another format's streams are dropped"),
        (Field::StopReason, "that an earlier answer broke off is not told"),
        (Field::Tier, "a tier that the format has no word for: the nearest, or none"),
        (Field::Unknown, "dropped"),
    ],
    response_losses: &[
        (Field::Audio, "messages hold no sound"),
        (Field::Document, "dropped"),
        (Field::Image, "dropped"),
        (Field::Citations, "sources of another format have no place"),
        (Field::Logprobs, "no such field"),
        (Field::N, "one answer; the first"),
        (Field::UsageDetail, "tokens of sound are not told apart"),
        (
            Field::OpaqueState,
            "in an envelope in `signature` or `data`; left out behind the last words, and where no thinking was asked for and no call follows",
        ),
        (Field::Refusal, "words of refusal are a text"),
        (Field::Safety, "another vendor's ratings are dropped"),
        (Field::ServerTool, "what the provider's own tools did is not shown"),
        (Field::StopReason, "a filter is a `refusal`, a word that is not known `end_turn`"),
        (Field::Tier, "a tier that the format has no word for is dropped"),
        (Field::ToolCall, "what a call says beside its name and arguments is dropped"),
        (Field::Unknown, "dropped"),
    ],
};

impl WireFormat for AnthropicMessages {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn pointer(&self, field: Field) -> &'static str {
        pointer(field)
    }

    fn read_request<'a>(&self, body: &'a [u8], head: &RequestHead<'a>) -> Result<Request<'a>, Refusal> {
        read_request::read(body, head)
    }

    fn write_request(&self, request: &Request<'_>, target: &Target<'_>, out: &mut Outgoing) -> Result<(), Refusal> {
        write_request::write(request, target, out)
    }

    fn trim(&self, body: &[u8], facts: &Facts, losses: &mut Losses) -> Result<Option<Vec<u8>>, JsonError> {
        let named = super::trim::named(self, body, facts, losses)?;
        if facts.fields == FieldSet::All {
            return Ok(named);
        }
        // Places are told in the body as it came, which the second pass does not see.
        losses.resolve(body);
        let body = named.as_deref().unwrap_or(body);
        let mut others = Losses::default();
        let core = core_fields::trim(body, &mut others)?;
        others.resolve(body);
        losses.append(others);
        Ok(core.or(named))
    }

    fn must_be_rewritten(&self, body: &[u8], facts: &Facts) -> bool {
        (!write_request::keeps_threads(facts) && super::trim::holds(body, &["\"thread\""]))
            || (!facts.vision && super::trim::holds(body, &["\"image\""]))
            || (!facts.documents && super::trim::holds(body, &["\"document\""]))
    }

    fn read_response<'a>(&self, body: &'a [u8]) -> Result<Response<'a>, JsonError> {
        read_response::read(body)
    }

    fn stop_pointer(&self, stop: &Stop<'_>, _candidate: usize) -> Cow<'static, str> {
        let by_text = matches!(stop, Stop::StopSequence(_));
        Cow::Borrowed(if by_text { "/stop_sequence" } else { "/stop_reason" })
    }
    fn write_response(
        &self,
        response: &Response<'_>,
        reply: &Reply,
        losses: &mut Losses,
    ) -> Result<Vec<u8>, Fault<'static>> {
        write_response::write(response, reply, losses)
    }

    fn read_error<'a>(&self, status: u16, body: &'a [u8]) -> Fault<'a> {
        error::read(status, body)
    }

    fn is_error(&self, body: &[u8]) -> bool {
        error::is_envelope(body)
    }

    fn tells_error(&self, body: &[u8]) -> bool {
        error::tells(body)
    }
    fn write_error(&self, fault: &Fault<'_>, request_id: Option<&str>) -> (u16, Vec<u8>) {
        error::write(fault, request_id)
    }

    fn write_models(&self, names: &[&str], out: &mut Vec<u8>) {
        models::write_list(names, out);
    }

    fn write_model(&self, name: &str, out: &mut Vec<u8>) {
        models::write_one(name, out);
    }

    fn stream_reader(&self) -> Box<dyn StreamReader> {
        Box::new(stream_read::Reader::default())
    }

    fn stream_writer(&self, reply: Arc<Reply>) -> Box<dyn StreamWriter> {
        Box::new(stream_write::Writer::new(reply))
    }

    fn is_telling(&self, frame: &Frame<'_>) -> bool {
        stream_event::is_telling(frame)
    }

    fn words(&self) -> &'static [&'static str] {
        &["\"text\":\"", "\"thinking\":\"", "\"partial_json\":\""]
    }

    fn find_usage(&self, body: &[u8]) -> Option<Usage> {
        read_response::find_usage(body)
    }
}

/// Where a request says `field`.
fn pointer(field: Field) -> &'static str {
    match field {
        Field::Model => "/model",
        Field::Instructions => "/system",
        Field::Turn => "/messages",
        Field::Tool | Field::Strict | Field::ServerTool => "/tools",
        Field::ToolChoice => "/tool_choice",
        Field::ParallelTools => "/tool_choice/disable_parallel_tool_use",
        Field::Cache => "/cache_control",
        Field::MaxOutput => "/max_tokens",
        Field::Stop => "/stop_sequences",
        Field::Temperature => "/temperature",
        Field::TopP => "/top_p",
        Field::TopK => "/top_k",
        Field::Output => "/output_config/format",
        Field::Reasoning => "/thinking",
        Field::Tier => "/service_tier",
        Field::Identity => "/metadata/user_id",
        Field::Metadata => "/metadata",
        Field::StreamOptions => "/stream",
        _ => "",
    }
}
