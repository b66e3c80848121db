//! What the proxy hands over when an exchange is over.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// What a translation could not carry, of one class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lost {
    /// Label. What it was, from a closed set.
    pub field: &'static str,
    /// Label. What became of it, from a closed set.
    pub action: &'static str,
    /// How often.
    pub count: u64,
}

/// One finished exchange: all that its access-log line and its metrics need.
///
/// It borrows, so that building it costs nothing. Fields marked *label* become label values of metrics: they must come
/// from the config or from a closed set, never from a client; `None` is shown as `unknown`.
#[derive(Debug, Clone, Default)]
pub struct Settled<'a> {
    /// The id in `x-request-id`; may come from the client.
    pub request_id: &'a str,
    /// Trace id of the W3C `traceparent`, 32 hex digits.
    pub trace_id: Option<&'a str>,
    /// The client's span in that trace, 16 hex digits. The edge records no spans, so it opens none: what the provider does
    /// belongs to the client's too, and a span of ours would be a parent that nobody finds.
    pub parent_span_id: Option<&'a str>,
    /// Who called.
    pub client_ip: Option<IpAddr>,
    /// Label. The request's method.
    pub method: Method,
    /// Label. What was asked for.
    pub endpoint: Endpoint,
    /// Label. The status sent to the client; 0 when it left before any was sent.
    pub status: u16,
    /// The client's wire format.
    pub client_format: Option<&'static str>,
    /// Label. Name of the provider that answered, or was tried last.
    pub provider: Option<&'a str>,
    /// Label. That provider's endpoint.
    pub upstream: Option<&'a str>,
    /// Label. The entry of `models` that matched, as written in the config (`claude-*` stays `claude-*`).
    pub model: Option<&'a str>,
    /// The name that the client asked for; in the log only.
    pub requested_model: Option<&'a str>,
    /// The name that the provider was asked for; in the log only.
    pub upstream_model: Option<&'a str>,
    /// Label. Name of the client key.
    pub key: Option<&'a str>,
    /// Label. Whether the client asked for a stream.
    pub stream: bool,
    /// From the request's first byte to the answer's last.
    pub latency: Duration,
    /// Time of that which was ours, until the provider was asked; `None` where none was.
    pub overhead: Option<Duration>,
    /// From the request's first byte to the first token sent; streams only.
    pub ttft: Option<Duration>,
    /// From the answer's first byte to its last; streams only.
    pub stream_duration: Option<Duration>,
    /// From the first token sent to the last; only of whole answers that came token by token.
    pub token_span: Option<Duration>,
    /// Events sent to the client; streams only.
    pub events: u64,
    /// Signs of life sent while the provider was silent; streams only.
    pub heartbeats: u64,
    /// Tokens, as the provider reported them.
    pub usage: Usage,
    /// How much of `usage` can be trusted.
    pub usage_source: UsageSource,
    /// Whose lines it waited in, a label, and for how long.
    pub waits: &'a [(&'static str, Duration)],
    /// Labels. Whose limit it was refused for, and why.
    pub shed: Option<(&'static str, &'static str)>,
    /// Label. What became of a second attempt beside a slow one, from a closed set; `None` where none was due.
    pub hedge: Option<&'static str>,
    /// Every attempt, in order.
    pub attempts: &'a [Attempt],
    /// Set when another target than the first one answered.
    pub fallback: Option<Fallback<'a>>,
    /// Set when the provider's format is not the client's.
    pub translation: Option<Translation>,
    /// What could not be carried, of the request and of the answer.
    pub losses: &'a [Lost],
    /// Label. Why the exchange failed, from a closed set; `None` for success.
    pub error_type: Option<&'static str>,
    /// Size of the request's body.
    pub bytes_in: u64,
    /// Size of the answer's body as sent.
    pub bytes_out: u64,
    /// Set when the answer was not sent to its end.
    pub aborted: Option<Abort>,
}

/// Tokens, disjoint: their sum is all that was used. `None` is not the same as zero: it was not reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Input that no cache served or stored.
    pub input_uncached: Option<u64>,
    /// Input read from the provider's cache.
    pub cache_read: Option<u64>,
    /// Input written to the provider's cache.
    pub cache_write: Option<u64>,
    /// Output that the client sees.
    pub output_visible: Option<u64>,
    /// Output spent on reasoning.
    pub reasoning: Option<u64>,
}

impl Usage {
    /// All input, as clients of most vendors know `prompt_tokens`; `None` when nothing of it was reported.
    pub fn prompt(&self) -> Option<u64> {
        sum([self.input_uncached, self.cache_read, self.cache_write])
    }

    /// All output, reasoning included; `None` when nothing of it was reported.
    pub fn completion(&self) -> Option<u64> {
        sum([self.output_visible, self.reasoning, None])
    }
}

fn sum(parts: [Option<u64>; 3]) -> Option<u64> {
    parts.into_iter().flatten().reduce(u64::saturating_add)
}

/// One attempt at one endpoint.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// Label. Name of the provider.
    pub provider: Arc<str>,
    /// Label. The endpoint.
    pub upstream: Arc<str>,
    /// The status that it answered with.
    pub status: Option<u16>,
    /// What went wrong with the connection, from a closed set: `upstream_unreachable`, `upstream_timeout`, …
    pub error: Option<&'static str>,
    /// From the start of the attempt to the answer's first byte.
    pub ttfb: Option<Duration>,
    /// From the start of the attempt to its end.
    pub duration: Duration,
}

impl Attempt {
    /// What was wrong with this attempt, as a label; `None` when nothing was.
    ///
    /// A 4xx other than 401, 403, 408 and 429 is the client's fault, not the endpoint's.
    pub fn fault(&self) -> Option<&'static str> {
        match self.status {
            Some(401 | 403) => Some("auth"),
            Some(408) => Some("timeout"),
            Some(429) => Some("rate_limit"),
            Some(529) => Some("overloaded"),
            Some(500..) => Some("server_error"),
            Some(_) | None => self.error,
        }
    }

    /// [`Self::fault`], where the endpoint is to blame: it made no client leave, nor the other of two attempts the faster.
    pub fn own_fault(&self) -> Option<&'static str> {
        self.fault().filter(|fault| !matches!(*fault, "client_gone" | "hedged"))
    }
}

/// A move from one target to another, as both are written in the config.
#[derive(Debug, Clone, Copy)]
pub struct Fallback<'a> {
    /// Label. The target tried first.
    pub from: &'a str,
    /// Label. The target that answered.
    pub to: &'a str,
    /// Label, from a closed set. Why.
    pub reason: &'static str,
}

/// The formats of a translated exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Translation {
    /// Label. The client's format.
    pub from: &'static str,
    /// Label. The provider's format.
    pub to: &'static str,
    /// Whether the request or the answer could not be translated.
    pub failed: bool,
}

/// Who ended an answer before its end, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Abort {
    /// Label. Whose doing it was.
    pub side: Side,
    /// Label, from a closed set.
    pub reason: &'static str,
}

/// The methods that are told apart in metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Method {
    /// `GET`
    #[default]
    Get,
    /// `POST`
    Post,
    /// `HEAD`
    Head,
    /// `OPTIONS`
    Options,
    /// `PUT`
    Put,
    /// `PATCH`
    Patch,
    /// `DELETE`
    Delete,
    /// Any other.
    Other,
}

impl Method {
    /// Every method, in the order of its discriminant.
    pub const ALL: [Self; 8] =
        [Self::Get, Self::Post, Self::Head, Self::Options, Self::Put, Self::Patch, Self::Delete, Self::Other];

    /// The method of that name, as on the wire.
    pub fn from_name(name: &str) -> Self {
        Self::ALL.into_iter().find(|method| method.label() == name).unwrap_or(Self::Other)
    }

    /// Its name on the wire, and `other`.
    pub fn label(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Head => "HEAD",
            Self::Options => "OPTIONS",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
            Self::Other => "other",
        }
    }
}

/// Makes [`Endpoint`] of one row each: its name, its label, its path, and whether a model generates the answer.
macro_rules! endpoints {
    ($($(#[$mark:meta])* $name:ident $label:literal $path:literal $generates:literal;)+) => {
        /// What a client can ask for on the public port.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
        pub enum Endpoint {
            $($(#[$mark])* #[doc = concat!("`", $path, "`")] $name,)+
        }

        impl Endpoint {
            /// Every endpoint, in the order of its discriminant.
            pub const ALL: [Self; [$($label),+].len()] = [$(Self::$name),+];

            /// Its name as a label.
            pub fn label(self) -> &'static str {
                match self { $(Self::$name => $label,)+ }
            }

            /// Its path, or the first of them, for those who know endpoints by path; `other` for anything else.
            pub fn path(self) -> &'static str {
                match self { $(Self::$name => $path,)+ }
            }

            /// Whether a model generates the answer, so that usage is expected.
            pub fn generates(self) -> bool {
                match self { $(Self::$name => $generates,)+ }
            }
        }
    };
}

endpoints! {
    ChatCompletions "chat_completions" "/v1/chat/completions" true;
    Messages "messages" "/v1/messages" true;
    Responses "responses" "/v1/responses" true;
    GenerateContent "generate_content" "/v1beta/models/{model}:generateContent" true;
    CountTokens "count_tokens" "/v1/messages/count_tokens" false;
    GeminiCountTokens "gemini_count_tokens" "/v1beta/models/{model}:countTokens" false;
    ResponsesInputTokens "responses_input_tokens" "/v1/responses/input_tokens" false;
    ResponsesCompact "responses_compact" "/v1/responses/compact" true;
    EmbedContent "embed_content" "/v1beta/models/{model}:embedContent" false;
    BatchEmbedContents "batch_embed_contents" "/v1beta/models/{model}:batchEmbedContents" false;
    BatchGenerateContent "batch_generate_content" "/v1beta/models/{model}:batchGenerateContent" false;
    AsyncBatchEmbedContent "async_batch_embed_content" "/v1beta/models/{model}:asyncBatchEmbedContent" false;
    Predict "predict" "/v1beta/models/{model}:predict" false;
    PredictLongRunning "predict_long_running" "/v1beta/models/{model}:predictLongRunning" false;
    Embeddings "embeddings" "/v1/embeddings" true;
    Completions "completions" "/v1/completions" true;
    ImagesGenerations "images_generations" "/v1/images/generations" false;
    ImagesEdits "images_edits" "/v1/images/edits" false;
    ImagesVariations "images_variations" "/v1/images/variations" false;
    AudioSpeech "audio_speech" "/v1/audio/speech" false;
    AudioTranscriptions "audio_transcriptions" "/v1/audio/transcriptions" false;
    AudioTranslations "audio_translations" "/v1/audio/translations" false;
    Moderations "moderations" "/v1/moderations" false;
    Rerank "rerank" "/v1/rerank" false;
    StoredResponses "stored_responses" "/v1/responses/{id}" false;
    Conversations "conversations" "/v1/conversations" false;
    Containers "containers" "/v1/containers" false;
    Files "files" "/v1/files" false;
    Batches "batches" "/v1/batches" false;
    AnthropicFiles "anthropic_files" "/v1/files" false;
    MessageBatches "message_batches" "/v1/messages/batches" false;
    GeminiFiles "gemini_files" "/v1beta/files" false;
    CachedContents "cached_contents" "/v1beta/cachedContents" false;
    GeminiBatches "gemini_batches" "/v1beta/batches" false;
    ModelOperations "model_operations" "/v1beta/models/{model}/operations" false;
    FileSearchStores "file_search_stores" "/v1beta/fileSearchStores" false;
    Raw "raw" "/raw/{provider}" false;
    Models "models" "/v1/models" false;
    Health "health" "/health" false;
    #[default]
    Other "other" "other" false;
}

/// Whose numbers [`Usage`] holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum UsageSource {
    /// The provider's final report.
    Reported,
    /// What the provider had reported before the answer was cut.
    Partial,
    /// Nothing was reported.
    #[default]
    None,
}

impl UsageSource {
    /// Its name in the log.
    pub fn label(self) -> &'static str {
        match self {
            Self::Reported => "reported",
            Self::Partial => "partial",
            Self::None => "none",
        }
    }
}

/// A side of the edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// The client.
    Client,
    /// The provider.
    Upstream,
    /// The edge itself.
    Edge,
}

impl Side {
    /// Its name as a label and in the log.
    pub fn label(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Upstream => "upstream",
            Self::Edge => "edge",
        }
    }
}
