//! Gemini, `POST /v1beta/models/{model}:generateContent` and `:streamGenerateContent`.
//!
//! Read in camel and in snake case, as the vendor's servers do. The model and the stream stand in the path.
//!
//! ```text
//! read_request ── read_part, read_config, read_tools    write_request ── arrange, write_part, write_config, write_tools
//!                  read_media, schema_read               pieces, part, schema_*
//! read_response ─┬─ chunk, grounding, logprobs,         write_response ─┐
//! stream_read ───┘  stop, usage                         stream_write ───┴─ choice, part, thoughts, logprobs, stop, usage
//!   └─ talk ── partial                                    └─ calls
//! ```

use std::borrow::Cow;
use std::sync::Arc;

use super::{
    Addressing, Counting, Holder, Outgoing, PromptFields, Reply, RequestHead, Spec, StateFields, StreamReader,
    StreamWriter, Target, Whole, WireFormat,
};
use crate::Format;
use crate::frame::sse::Frame;
use crate::hub::{Fault, Field, Losses, Refusal, Request, Response, Stop, Usage};
use crate::json::JsonError;

mod arrange;
mod calls;
mod choice;
mod chunk;
mod error;
pub mod grammar;
mod grounding;
mod logprobs;
mod models;
mod part;
mod partial;
mod pieces;
mod read_config;
mod read_media;
mod read_part;
mod read_request;
mod read_response;
mod read_tools;
mod report;
mod schema_gather;
mod schema_known;
mod schema_range;
mod schema_read;
mod schema_refs;
mod schema_strip;
mod schema_write;
mod stop;
mod stream_read;
mod stream_write;
mod talk;
#[cfg(test)]
mod tests;
mod thoughts;
mod usage;
mod wire;
mod write_config;
mod write_part;
mod write_request;
mod write_response;
mod write_tools;

/// The format.
#[derive(Debug)]
pub struct GeminiGenerate;

const ADDRESSING: Addressing = Addressing {
    stream_path: "/v1beta/models/{model}:streamGenerateContent",
    events_query: "alt=sse",
    versions: &["/v1beta", "/v1"],
    client_headers: &["x-goog-api-key", "x-goog-api-client"],
    model_members: &[
        &["model"],
        &["requests", "model"],
        &["generateContentRequest", "model"],
        &["generate_content_request", "model"],
        &["batch", "model"],
        &["batch", "inputConfig", "requests", "requests", "request", "model"],
        &["batch", "input_config", "requests", "requests", "request", "model"],
    ],
    key_parameter: "key",
};

/// <https://ai.google.dev/api/tokens>: contents alone, or a whole request that names its model. Vertex AI has more fields
/// beside the contents, and knows no whole request:
/// <https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/count-tokens>.
const COUNTING: Counting = Counting {
    path: "/v1beta/models/{model}:countTokens",
    fields: &["generationConfig", "tools", "systemInstruction", "contents"],
    whole: Some(Whole {
        names: &["generateContentRequest", "generate_content_request"],
        fields: &["generationConfig", "cachedContent", "toolConfig", "tools", "systemInstruction", "contents"],
    }),
    total: "totalTokens",
    kind: None,
};

const SPEC: Spec = Spec {
    format: Format::GeminiGenerate,
    title: "Gemini generateContent",
    path: "/v1beta/models/{model}:generateContent",
    counting: Some(&COUNTING),
    same_format_paths: &[
        "/v1beta/models/{model}:embedContent",
        "/v1beta/models/{model}:batchEmbedContents",
        "/v1beta/models/{model}:batchGenerateContent",
        "/v1beta/models/{model}:asyncBatchEmbedContent",
        "/v1beta/models/{model}:predict",
        "/v1beta/models/{model}:predictLongRunning",
    ],
    addressing: Some(&ADDRESSING),
    repeated: &[],
    prompt: PromptFields { before: &["systemInstruction", "system_instruction", "tools"], turns: "contents" },
    state: StateFields {
        named: &[
            Holder::any("cachedContent"),
            Holder::any("cached_content"),
            Holder { key: "fileUri", mark: "/files/", name: "fileUri" },
            Holder { key: "file_uri", mark: "/files/", name: "file_uri" },
            Holder { key: "fileName", mark: "files/", name: "fileName" },
            Holder { key: "file_name", mark: "files/", name: "file_name" },
            Holder::any("fileSearchStoreNames"),
            Holder::any("file_search_store_names"),
        ],
        sealed: &[Holder::any("thoughtSignature"), Holder::any("thought_signature")],
        bearing: &["thoughtSignature", "thought_signature"],
        foreign: &[
            "args",
            "response",
            "parameters",
            "parametersJsonSchema",
            "responseSchema",
            "responseJsonSchema",
            "labels",
        ],
        answers: false,
        made: true,
        ids: &["name", "uri", "responsesFile"],
    },
    other_names: &[
        ("/top_logprobs", "/generationConfig/logprobs"),
        ("/generationConfig/responseLogprobs", "/generationConfig/logprobs"),
        ("/generationConfig/responseSchema", "/generationConfig/responseJsonSchema"),
        ("/generationConfig/responseSchema", "/generationConfig/responseMimeType"),
    ],
    version_header: None,
    beta_header: None,
    request_id_header: None,
    answer_model: &[&["modelVersion"]],
    answer_words: &["\"candidates\""],
    // https://ai.google.dev/gemini-api/docs/troubleshooting: 400 with the reason `API_KEY_INVALID`.
    object_answers: false,
    json_by_name: false,
    bad_key_is_bad_request: true,
    source: "API v1beta of November 2026; SDK google-genai 3.4",
    request_losses: &[
        (Field::VendorTool, "refused: only models of its vendor know what such a tool of the client's takes"),
        (Field::MaxOutput, "one token at least, and no more than the model gives"),
        (Field::Cache, "the provider caches by itself; there are no keys and no options"),
        (Field::CacheMark, "what is cached cannot be marked"),
        (Field::Citations, "the words of a request cite nothing"),
        (Field::FrequencyPenalty, "dropped where the model takes none"),
        (Field::Identity, "no such field"),
        (Field::Image, "an address on the web is refused; bytes and the vendor's own files are taken"),
        (Field::LogitBias, "no such field"),
        (Field::Metadata, "labels are taken from clients of this format only"),
        (Field::ParallelTools, "several calls in one answer cannot be ruled out"),
        (Field::Prediction, "no such field"),
        (Field::PresencePenalty, "dropped where the model takes none"),
        (Field::Strict, "calls cannot be held to their schema tool by tool"),
        (Field::Thinking, "thinking that another provider signed, or nobody, is left out"),
        (Field::TurnName, "contents name no speaker"),
        (Field::Verbosity, "no such field"),
        (Field::Audio, "what the format calls it otherwise is dropped"),
        (Field::Document, "no name, title, context and citations; words are a text file"),
        (Field::ImageDetail, "a resolution, low or high"),
        (Field::Instructions, "words only"),
        (Field::Logprobs, "those of earlier answers are dropped; none where the model tells none"),
        (Field::N, "ways to choose among answers are dropped; above 1: refused where the model gives one"),
        (
            Field::OpaqueState,
            "state of another provider is dropped; a call whose signature is lost has a word in its place",
        ),
        (
            Field::Output,
            "a schema goes without its name and description; keywords that the provider does not read are told in words",
        ),
        (Field::Reasoning, "an effort becomes a level or a budget, as the model takes it"),
        (Field::Refusal, "words of refusal are a text"),
        (Field::SearchResult, "given as text"),
        (Field::Seed, "a second one is dropped; one of more than 32 bits is folded"),
        (
            Field::ServerTool,
            "left out beside the client's own tools, and refused where it is alone or asked for by name; what it did before, and how \
             often it may be called, is dropped",
        ),
        (Field::Stop, "five texts at most, none of them empty"),
        (Field::Store, "answers are not stored"),
        (Field::Temperature, "dropped where the model chooses its words by itself"),
        (
            Field::Tool,
            "a tool of free text is a function with one text, `input`; what a schema's dialect lacks is told in words",
        ),
        (Field::ToolCall, "only the model's"),
        (Field::ToolChoice, "dropped where there are no tools"),
        (Field::ToolName, "in 64 letters, digits and `_.:-`: another name stands in, and is given back"),
        (Field::ToolResult, "media stand behind it where the model takes words in a result"),
        (Field::TopK, "dropped where the model chooses its words by itself"),
        (Field::TopP, "dropped where the model chooses its words by itself"),
        (
            Field::Turn,
            "begins with the user (`(continue)`); an empty content says `(empty)`; the operator's words in the middle are the user's",
        ),
        (Field::Beta, "another vendor's beta features are dropped; a thread is refused"),
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
        (Field::Citations, "sources without an address"),
        (Field::Tier, "an answer names no tier"),
        (Field::ToolCall, "arguments that are no JSON object; the answer ends as a malformed call"),
        (Field::Audio, "sound of another format is dropped"),
        (Field::Document, "dropped"),
        (Field::Image, "one by its address is dropped"),
        (Field::SearchResult, "dropped"),
        (Field::ToolResult, "dropped"),
        (Field::Logprobs, "those that are no list of tokens are dropped"),
        (Field::OpaqueState, "in an envelope in `thoughtSignature`"),
        (Field::Safety, "another vendor's ratings are dropped"),
        (Field::Refusal, "words of refusal are a text"),
        (Field::ServerTool, "what the provider's own tools did is not shown"),
        (Field::StopReason, "`pause_turn` and the like are `MAX_TOKENS`"),
        (Field::UsageDetail, "requests of the provider's own tools are not told"),
        (Field::Unknown, "dropped"),
    ],
};

impl WireFormat for GeminiGenerate {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn pointer(&self, field: Field) -> &'static str {
        pointer(field)
    }

    fn spelled<'k>(&self, key: &'k str) -> Cow<'k, str> {
        wire::camel(key)
    }

    fn read_request<'a>(&self, body: &'a [u8], head: &RequestHead<'a>) -> Result<Request<'a>, Refusal> {
        read_request::read(body, head)
    }

    fn write_request(&self, request: &Request<'_>, target: &Target<'_>, out: &mut Outgoing) -> Result<(), Refusal> {
        write_request::write(request, target, out)
    }

    fn read_response<'a>(&self, body: &'a [u8]) -> Result<Response<'a>, JsonError> {
        read_response::read(body)
    }

    fn stop_pointer(&self, stop: &Stop<'_>, candidate: usize) -> Cow<'static, str> {
        match stop {
            Stop::PromptFiltered(_) => Cow::Borrowed("/promptFeedback/blockReason"),
            _ => Cow::Owned(format!("/candidates/{candidate}/finishReason")),
        }
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
        stream_read::is_telling(frame)
    }

    fn find_usage(&self, body: &[u8]) -> Option<Usage> {
        read_response::find_usage(body)
    }
}

/// Where a request says `field`.
fn pointer(field: Field) -> &'static str {
    match field {
        Field::Instructions => "/systemInstruction",
        Field::Turn => "/contents",
        Field::Tool | Field::ServerTool => "/tools",
        Field::ToolChoice | Field::Strict => "/toolConfig/functionCallingConfig",
        Field::Cache => "/cachedContent",
        Field::MaxOutput => "/generationConfig/maxOutputTokens",
        Field::Stop => "/generationConfig/stopSequences",
        Field::Temperature => "/generationConfig/temperature",
        Field::TopP => "/generationConfig/topP",
        Field::TopK => "/generationConfig/topK",
        Field::Seed => "/generationConfig/seed",
        Field::PresencePenalty => "/generationConfig/presencePenalty",
        Field::FrequencyPenalty => "/generationConfig/frequencyPenalty",
        Field::N => "/generationConfig/candidateCount",
        Field::Logprobs => "/generationConfig/responseLogprobs",
        Field::Output => "/generationConfig/responseSchema",
        Field::Reasoning => "/generationConfig/thinkingConfig",
        Field::Modalities => "/generationConfig/responseModalities",
        Field::Tier => "/serviceTier",
        Field::Metadata => "/labels",
        Field::Store => "/store",
        Field::Safety => "/safetySettings",
        _ => "",
    }
}
