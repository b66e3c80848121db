//! OpenAI Chat Completions, and the servers that speak like it.
//!
//! ```text
//! read_request ── read_parts, read_tools,     write_request ── write_messages ── write_parts, write_tools
//!                 read_extensions
//! read_response ─┐                            write_response ─┐
//! stream_read ───┴─ answer, details, usage    stream_write ───┴─ details, usage, error
//! ```

mod answer;
mod details;
mod error;
pub mod grammar;
mod marks;
mod read_extensions;
mod read_parts;
mod read_request;
mod read_response;
mod read_tools;
mod report;
mod stream_calls;
mod stream_read;
mod stream_write;
#[cfg(test)]
#[allow(clippy::needless_pass_by_value, reason = "tests take values as `json!` makes them")]
mod tests;
mod trim;
mod usage;
mod wire;
mod write_messages;
mod write_parts;
mod write_request;
mod write_response;
mod write_tools;

use std::borrow::Cow;
use std::sync::{Arc, LazyLock};

use memchr::memmem::Finder;

use super::{
    Facts, Holder, Outgoing, PromptFields, Reply, RequestHead, Spec, StateFields, StreamReader, StreamWriter, Target,
    WireFormat,
};
use crate::Format;
use crate::frame::sse::Frame;
use crate::hub::{Fault, Field, Losses, Refusal, Request, Response, Stop, Usage};
use crate::json::JsonError;

/// The format.
#[derive(Debug)]
pub struct OpenaiChat;

static SPEC: Spec = Spec {
    format: Format::OpenaiChat,
    title: "OpenAI Chat Completions",
    path: "/v1/chat/completions",
    counting: None,
    same_format_paths: &[],
    addressing: None,
    repeated: &[],
    prompt: PromptFields { before: &["tools"], turns: "messages" },
    state: StateFields {
        named: &[Holder::any("file_id"), Holder::any("audio")],
        sealed: &[],
        bearing: &["thought_signature"],
        foreign: &["parameters", "schema", "metadata"],
        answers: false,
        made: false,
        ids: &["id", "output_file_id", "error_file_id"],
    },
    other_names: &[
        ("/max_completion_tokens", "/max_tokens"),
        ("/tools", "/functions"),
        ("/tool_choice", "/function_call"),
        ("/logprobs", "/top_logprobs"),
        ("/safety_identifier", "/user"),
        ("/prompt_cache_key", "/prompt_cache_options"),
        ("/prompt_cache_key", "/prompt_cache_retention"),
    ],
    version_header: None,
    beta_header: Some("openai-beta"),
    request_id_header: None,
    answer_model: &[&["model"]],
    answer_words: &["\"choices\"", "\"message\""],
    object_answers: true,
    json_by_name: true,
    bad_key_is_bad_request: false,
    source: "openai-python 3.52, and threads about the servers that speak like it",
    request_losses: &[
        (Field::VendorTool, "refused: only models of its vendor know what such a tool of the client's takes"),
        (Field::MaxOutput, "one token at least, and no more than the model gives"),
        (Field::Stop, "four stop texts at most, none of them empty"),
        (Field::TopK, "dropped, but for servers with the extension"),
        (
            Field::CacheMark,
            "a breakpoint on a part where the model takes one, four at most; a tool's stands behind the instructions",
        ),
        (Field::Cache, "prompts are cached by the provider itself"),
        (Field::Reasoning, "a budget becomes an effort that the model knows; dropped where it does not think"),
        (
            Field::Thinking,
            "earlier reasoning is dropped, but for servers with the extension; where a model refuses calls without theirs, `(not recorded)` stands in",
        ),
        (Field::OpaqueState, "state of another provider is dropped"),
        (Field::Citations, "dropped"),
        (Field::Document, "text is given inline; by URL or foreign file id: refused"),
        (Field::Image, "by foreign file id: refused"),
        (Field::Audio, "other than wav and mp3: dropped"),
        (Field::SearchResult, "given as text"),
        (Field::ToolResult, "words are one text; media follow in a user message"),
        (Field::ToolError, "said in the result's text"),
        (Field::ToolName, "in 64 letters, digits, `_` and `-`: another name stands in, and is given back"),
        (
            Field::Strict,
            "off where the schema is not closed or says what strict mode may refuse, also that of an answer",
        ),
        (
            Field::ServerTool,
            "left out beside the client's own tools, and refused where it is alone or asked for by name; what it did before, and how \
             often it may be called, is dropped",
        ),
        (Field::Beta, "dropped; a thread is refused"),
        (Field::FrequencyPenalty, "dropped where the model chooses its words by itself"),
        (Field::Identity, "a long id is a hash"),
        (Field::ImageDetail, "another vendor's resolution is dropped"),
        (Field::Instructions, "words only"),
        (Field::LogitBias, "dropped where the model chooses its words by itself"),
        (Field::Logprobs, "those of earlier answers are dropped; none where the model chooses its words by itself"),
        (
            Field::Output,
            "a JSON schema is refused where the model takes none; one that is no object's is asked for in words, but for \
             servers with extensions; where JSON is wanted and no word says so, a line does",
        ),
        (Field::ParallelTools, "dropped where there are no tools"),
        (Field::Prediction, "dropped where the model chooses its words by itself"),
        (Field::PresencePenalty, "dropped where the model chooses its words by itself"),
        (
            Field::Refusal,
            "words of refusal that are the user's are dropped; servers of other makers than the vendor get them as words",
        ),
        (Field::Seed, "dropped where the server refuses it"),
        (Field::Store, "what another provider keeps cannot be asked for"),
        (Field::Temperature, "dropped where the model chooses its words by itself"),
        (
            Field::Tool,
            "a custom tool is a function where the server knows none; a choice at the top of a schema is told in words",
        ),
        (Field::ToolCall, "only the assistant's; members that the format lacks are dropped"),
        (
            Field::ToolChoice,
            "dropped where there are no tools; no set of allowed tools with `none` or a tool by name, and none at all for \
             servers of other makers than the vendor",
        ),
        (Field::TopP, "dropped where the model chooses its words by itself"),
        (Field::Turn, "an empty message says `(empty)`; `developer` is `system` where the server does not know it"),
        (Field::TurnName, "dropped of instructions"),
        (Field::Metadata, "another vendor's are dropped"),
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
        (Field::ServerTool, "what the provider's own tools did is not shown"),
        (Field::Citations, "only sources with a URL"),
        (Field::OpaqueState, "in an envelope in `reasoning_details`"),
        (Field::StopReason, "`pause_turn` and the like are `length`"),
        (Field::Audio, "sound of another format is dropped"),
        (Field::Image, "dropped"),
        (Field::Document, "dropped"),
        (Field::SearchResult, "dropped"),
        (Field::ToolResult, "dropped"),
        (Field::Logprobs, "of another format: what the format has a place for"),
        (Field::Safety, "another vendor's ratings are dropped"),
        (Field::ToolCall, "what a call says beside its name and arguments is dropped"),
        (Field::Tier, "a tier that the format has no word for is dropped"),
        (Field::UsageDetail, "requests of the provider's own tools are not told"),
        (Field::Unknown, "dropped"),
    ],
};

impl WireFormat for OpenaiChat {
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
    fn class(&self, key: &str) -> Field {
        trim::class_of(self, key)
    }
    fn trim(&self, body: &[u8], facts: &Facts, losses: &mut Losses) -> Result<Option<Vec<u8>>, JsonError> {
        trim::trim(self, body, facts, losses)
    }
    fn must_be_rewritten(&self, body: &[u8], facts: &Facts) -> bool {
        trim::must_be_rewritten(body, facts)
    }
    fn read_response<'a>(&self, body: &'a [u8]) -> Result<Response<'a>, JsonError> {
        read_response::read(body)
    }
    fn stop_pointer(&self, _stop: &Stop<'_>, candidate: usize) -> Cow<'static, str> {
        Cow::Owned(format!("/choices/{candidate}/finish_reason"))
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
    fn words(&self) -> &'static [&'static str] {
        &["\"content\":\"", "\"arguments\":\"", "\"reasoning_content\":\"", "\"reasoning\":\"", "\"refusal\":\""]
    }

    fn find_usage(&self, body: &[u8]) -> Option<Usage> {
        read_response::find_usage(body)
    }
}

/// A key that tells something when its value is not `null`.
struct Key(LazyLock<Finder<'static>>);

static FINISH: Key = Key(LazyLock::new(|| Finder::new("\"finish_reason\"")));
static USAGE: Key = Key(LazyLock::new(|| Finder::new("\"usage\"")));
static ERROR: Key = Key(LazyLock::new(|| Finder::new("\"error\"")));

impl Key {
    /// Inside of a string the quotes of such a key would be escaped, so what is found is a key (or a whole string).
    fn tells(&self, data: &[u8]) -> bool {
        let width = self.0.needle().len();
        self.0.find_iter(data).any(|at| {
            let rest = data.get(at + width..).unwrap_or_default();
            let mut rest = rest.iter().copied().filter(|b| !b.is_ascii_whitespace());
            rest.next() == Some(b':') && rest.next() != Some(b'n')
        })
    }
}

fn is_telling(frame: &Frame<'_>) -> bool {
    let data = frame.data.as_bytes();
    data.first() != Some(&b'{')
        || frame.event.is_some()
        || [&FINISH, &USAGE, &ERROR].into_iter().any(|key| key.tells(data))
}

/// Where a request says `field`.
fn pointer(field: Field) -> &'static str {
    match field {
        Field::Model => "/model",
        Field::Instructions | Field::Turn => "/messages",
        Field::Tool | Field::Strict | Field::ServerTool => "/tools",
        Field::ToolChoice => "/tool_choice",
        Field::ParallelTools => "/parallel_tool_calls",
        Field::Cache => "/prompt_cache_key",
        Field::MaxOutput => "/max_completion_tokens",
        Field::Stop => "/stop",
        Field::Temperature => "/temperature",
        Field::TopP => "/top_p",
        Field::TopK => "/top_k",
        Field::Seed => "/seed",
        Field::PresencePenalty => "/presence_penalty",
        Field::FrequencyPenalty => "/frequency_penalty",
        Field::LogitBias => "/logit_bias",
        Field::N => "/n",
        Field::Logprobs => "/logprobs",
        Field::Prediction => "/prediction",
        Field::Output => "/response_format",
        Field::Verbosity => "/verbosity",
        Field::Reasoning => "/reasoning_effort",
        Field::Tier => "/service_tier",
        Field::Identity => "/safety_identifier",
        Field::Metadata => "/metadata",
        Field::Store => "/store",
        Field::StreamOptions => "/stream_options",
        Field::Modalities => "/modalities",
        Field::Safety => "/moderation",
        _ => "",
    }
}
