//! OpenAI Responses.
//!
//! ```text
//! read_request ── read_input ── item, read_parts; read_tools     write_request ── write_input ── write_parts; write_tools
//! read_response ── item, stop, usage                             write_response ── output, envelope
//! stream_read ── stream_event, stream_items, stream_done         stream_write ── stream_out ── output, envelope
//! ```

mod envelope;
mod error;
pub mod grammar;
mod item;
mod output;
mod read_input;
mod read_parts;
mod read_request;
mod read_response;
mod read_tools;
mod references;
mod report;
mod stop;
mod stream_done;
mod stream_event;
mod stream_items;
mod stream_out;
mod stream_read;
mod stream_write;
mod strip;
#[cfg(test)]
mod tests;
mod usage;
mod wire;
mod write_input;
mod write_parts;
mod write_request;
mod write_response;
mod write_tools;

use std::borrow::Cow;
use std::sync::Arc;

use super::{
    Counting, ERROR_WORD, Facts, Holder, Outgoing, PromptFields, Reply, RequestHead, Spec, StateFields, StreamReader,
    StreamWriter, Target, WireFormat,
};
use crate::Format;
use crate::frame::sse::Frame;
use crate::hub::{Fault, Field, Losses, Refusal, Request, Response, Stop, Usage};
use crate::json::JsonError;
use crate::recall::Recall;
use crate::seal::Seal;

/// The format.
#[derive(Debug)]
pub struct OpenaiResponses;

/// <https://platform.openai.com/docs/api-reference/responses/input-tokens>
const COUNTING: Counting = Counting {
    path: "/v1/responses/input_tokens",
    fields: &[
        "model",
        "conversation",
        "instructions",
        "parallel_tool_calls",
        "personality",
        "previous_response_id",
        "reasoning",
        "text",
        "tool_choice",
        "tools",
        "truncation",
        "input",
    ],
    whole: None,
    total: "input_tokens",
    kind: Some(("object", "response.input_tokens")),
};

static SPEC: Spec = Spec {
    format: Format::OpenaiResponses,
    title: "OpenAI Responses",
    path: "/v1/responses",
    counting: Some(&COUNTING),
    same_format_paths: &["/v1/responses/compact"],
    addressing: None,
    repeated: &[
        "instructions",
        "max_output_tokens",
        "max_tool_calls",
        "metadata",
        "parallel_tool_calls",
        "prompt_cache_key",
        "reasoning",
        "safety_identifier",
        "store",
        "temperature",
        "text",
        "tool_choice",
        "tools",
        "top_logprobs",
        "top_p",
        "truncation",
        "user",
    ],
    prompt: PromptFields { before: &["instructions", "tools"], turns: "input" },
    state: StateFields {
        named: &[
            Holder::any("previous_response_id"),
            Holder { key: "type", mark: "compaction_trigger", name: "compaction_trigger" },
            Holder::any("conversation"),
            Holder { key: "type", mark: "item_reference", name: "item_reference" },
            Holder::any("file_id"),
            Holder::any("vector_store_ids"),
            Holder::any("container"),
            Holder::any("prompt"),
        ],
        sealed: &[Holder::any("encrypted_content")],
        bearing: &[],
        foreign: &["parameters", "schema", "metadata", "variables"],
        answers: true,
        made: false,
        ids: &["id", "output_file_id", "error_file_id"],
    },
    other_names: &[
        ("/safety_identifier", "/user"),
        ("/prompt_cache_key", "/prompt_cache_options"),
        ("/prompt_cache_key", "/prompt_cache_retention"),
        ("/top_logprobs", "/include"),
    ],
    version_header: None,
    beta_header: Some("openai-beta"),
    request_id_header: None,
    answer_model: &[&["model"], &["response", "model"]],
    answer_words: &["\"object\"", "\"output\"", ERROR_WORD],
    object_answers: true,
    json_by_name: true,
    bad_key_is_bad_request: false,
    source: "openai-python 3.52 and openai-node 6.49",
    request_losses: &[
        (Field::VendorTool, "refused: only models of its vendor know what such a tool of the client's takes"),
        (Field::MaxOutput, "16 tokens at least, and no more than the model gives"),
        (Field::Stop, "dropped"),
        (Field::TopK, "dropped"),
        (Field::Seed, "dropped"),
        (Field::PresencePenalty, "dropped"),
        (Field::FrequencyPenalty, "dropped"),
        (Field::LogitBias, "dropped"),
        (Field::Prediction, "dropped"),
        (Field::N, "above 1: refused"),
        (Field::Temperature, "dropped where the model chooses its words by itself, top_p too"),
        (Field::CacheMark, "a breakpoint on a part where the model takes one; a tool's stands behind the instructions"),
        (Field::Cache, "prompts are cached by the provider itself"),
        (Field::Reasoning, "a budget becomes an effort that the model knows; dropped where it does not think"),
        (Field::Thinking, "earlier reasoning comes back with the provider's own state only"),
        (Field::OpaqueState, "state of another provider is dropped"),
        (Field::Citations, "dropped"),
        (Field::Audio, "dropped"),
        (
            Field::Document,
            "by foreign file id: refused; context is dropped, and so are name and title of one by its address",
        ),
        (Field::Image, "by foreign file id: refused"),
        (Field::SearchResult, "given as text"),
        (Field::Turn, "an answer that the client began is not continued; an empty message says `(empty)`"),
        (Field::TurnName, "dropped"),
        (Field::ToolError, "said in the result's text"),
        (Field::ToolName, "above 64 characters: another name stands in, and is given back"),
        (
            Field::Strict,
            "off where the schema is not closed or says what strict mode may refuse, also that of an answer, and where nothing is said",
        ),
        (
            Field::Tool,
            "a custom tool is a function where the server knows none; a choice at the top of a schema is told in words",
        ),
        (Field::ToolChoice, "dropped where there are no tools"),
        (
            Field::ServerTool,
            "left out beside the client's own tools, and refused where it is alone or asked for by name; what it did before, and how \
             often it may be called, is dropped",
        ),
        (Field::Store, "not stored unless asked; what another provider keeps cannot be asked for"),
        (Field::Modalities, "dropped"),
        (Field::Beta, "dropped; a thread is refused"),
        (Field::ImageDetail, "another vendor's resolution is dropped"),
        (Field::Identity, "a long id is a hash"),
        (Field::Instructions, "words only"),
        (Field::Logprobs, "those of earlier answers are dropped; none where the model chooses its words by itself"),
        (Field::Metadata, "another vendor's are dropped"),
        (
            Field::Output,
            "a JSON schema is refused where the model takes none; one that is no object's is asked for in words, but for \
             servers with extensions; where JSON is wanted and no word says so, a line does",
        ),
        (Field::ParallelTools, "dropped where there are no tools"),
        (Field::Refusal, "words of refusal that are the user's are a text"),
        (Field::ToolCall, "only the assistant's; members that the format lacks are dropped"),
        (Field::ToolResult, "words, images and documents only"),
        (Field::TopP, "dropped where the model chooses its words by itself"),
        (Field::Model, "models to fall back to are dropped"),
        (Field::Safety, "another vendor's settings are dropped"),
        (Field::Sampling, "ways of choosing words that only some servers have are dropped"),
        (Field::StreamOptions, "options of another format's streams are dropped"),
        (Field::StopReason, "that an earlier answer broke off is not told"),
        (Field::Tier, "a tier that the format has no word for: the nearest, or none"),
        (Field::Unknown, "dropped"),
    ],
    response_losses: &[
        (Field::N, "one answer: the first"),
        (Field::ServerTool, "what the provider's own tools did is not shown"),
        (Field::Citations, "only sources with a URL"),
        (Field::OpaqueState, "in an envelope in `encrypted_content`"),
        (Field::Logprobs, "whole, where the words end"),
        (Field::StopReason, "`pause_turn` and the like are `max_output_tokens`"),
        (Field::UsageDetail, "sound is not told apart"),
        (Field::Tier, "a tier that the format has no word for is dropped"),
        (Field::Audio, "sound of another format is dropped"),
        (Field::Image, "dropped"),
        (Field::Document, "dropped"),
        (Field::SearchResult, "dropped"),
        (Field::ToolResult, "dropped"),
        (Field::Safety, "another vendor's ratings are dropped"),
        (Field::ToolCall, "what a call says beside its name and arguments is dropped"),
        (Field::Unknown, "dropped"),
    ],
};

impl WireFormat for OpenaiResponses {
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
    fn strip_foreign_state(&self, body: &[u8], seal: &Seal, losses: &mut Losses) -> Result<Vec<u8>, JsonError> {
        strip::strip(body, seal, losses)
    }

    fn may_refer(&self, body: &[u8]) -> bool {
        references::may_refer(body)
    }

    fn resolve(&self, body: &[u8], recall: &dyn Recall, most: usize) -> Option<Vec<u8>> {
        references::resolve(body, recall, most)
    }
    fn class(&self, key: &str) -> Field {
        match key {
            "text" => Field::Output,
            "user" => Field::Identity,
            _ => super::trim::class_by_pointer(self, key),
        }
    }
    fn must_be_rewritten(&self, body: &[u8], facts: &Facts) -> bool {
        (!facts.vision && super::trim::holds(body, &["\"input_image\""]))
            || (!facts.documents && super::trim::holds(body, &["\"input_file\""]))
    }
    fn read_response<'a>(&self, body: &'a [u8]) -> Result<Response<'a>, JsonError> {
        read_response::read(body)
    }
    fn stop_pointer(&self, stop: &Stop<'_>, _candidate: usize) -> Cow<'static, str> {
        let by_status = matches!(stop, Stop::EndTurn | Stop::ToolUse);
        Cow::Borrowed(if by_status { "/status" } else { "/incomplete_details/reason" })
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
        crate::format::openai_error::tells(body)
    }
    fn write_error(&self, fault: &Fault<'_>, _request_id: Option<&str>) -> (u16, Vec<u8>) {
        error::write(fault)
    }
    fn write_models(&self, names: &[&str], out: &mut Vec<u8>) {
        super::openai_models::write_list(names, out);
    }
    fn write_model(&self, name: &str, out: &mut Vec<u8>) {
        super::openai_models::write_one(name, out);
    }
    fn stream_reader(&self) -> Box<dyn StreamReader> {
        Box::new(stream_read::Reader::default())
    }
    fn stream_writer(&self, reply: Arc<Reply>) -> Box<dyn StreamWriter> {
        Box::new(stream_write::Writer::new(reply))
    }
    fn is_telling(&self, frame: &Frame<'_>) -> bool {
        is_telling(frame)
    }
    fn find_usage(&self, body: &[u8]) -> Option<Usage> {
        read_response::find_usage(body)
    }
}

/// Only events that end an answer tell anything. Where a server leaves out the event line, the type stands near the
/// beginning of the data at nearly all of them; what is not seen to be a delta is looked at.
fn is_telling(frame: &Frame<'_>) -> bool {
    match frame.event {
        Some(name) => !name.starts_with("response.") || is_end(name),
        None => {
            let head = frame.data.as_bytes();
            let head = head.get(..64).unwrap_or(head);
            memchr::memmem::find(head, b".delta\"").is_none()
        }
    }
}

fn is_end(name: &str) -> bool {
    matches!(
        name,
        "response.completed" | "response.incomplete" | "response.failed" | "response.cancelled" | "response.done"
    )
}

/// Where a request says `field`.
fn pointer(field: Field) -> &'static str {
    match field {
        Field::Model => "/model",
        Field::Instructions => "/instructions",
        Field::Turn => "/input",
        Field::Tool | Field::Strict | Field::ServerTool => "/tools",
        Field::ToolChoice => "/tool_choice",
        Field::ParallelTools => "/parallel_tool_calls",
        Field::Cache => "/prompt_cache_key",
        Field::MaxOutput => "/max_output_tokens",
        Field::Temperature => "/temperature",
        Field::TopP => "/top_p",
        Field::Logprobs => "/top_logprobs",
        Field::Output => "/text/format",
        Field::Verbosity => "/text/verbosity",
        Field::Reasoning => "/reasoning",
        Field::Tier => "/service_tier",
        Field::Identity => "/safety_identifier",
        Field::Metadata => "/metadata",
        Field::Store => "/store",
        Field::StreamOptions => "/stream_options",
        Field::Safety => "/moderation",
        _ => "",
    }
}
