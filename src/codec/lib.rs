//! Translation between the wire formats of LLM providers: no socket, no clock, no randomness.
//!
//! ```text
//! request   body  ─▶ format::read_request  ─▶ hub::Request  ─▶ format::write_request  ─▶ body  (+ losses)
//! answer    body  ─▶ format::read_response ─▶ hub::Response ─▶ format::write_response ─▶ body  (+ losses)
//! count     as a request, cut to what is counted                       ; its answer is one number
//! stream    bytes ─▶ frame::sse ─▶ StreamReader ─▶ hub::Event ─▶ StreamWriter ─▶ bytes         (Transcoder)
//! ```
//!
//! A provider that answers in the other shape than it was asked for is converted all the same: [`Transcoder::whole`]
//! writes a whole answer as a stream, [`Gatherer`] a stream as a whole answer, both by [`reshape`].
//!
//! Start reading at [`WireFormat`], the contract of a format, and [`hub`], the model that all of them share.
//!
//! | module | what it is for |
//! |---|---|
//! | `format` | the formats, one folder each, and what they share |
//! | `hub` | what every format says, in one model |
//! | `json` | JSON without a tree: a cursor, text that travels undecoded, a writer, spans to splice |
//! | `frame` | cuts bytes into events, or a form into its fields |
//! | `translate` | a whole request or answer from one format into another |
//! | `fit` | cuts a request to what its model and server take, before a writer sees it |
//! | `transcode` | a stream on its way from provider to client |
//! | `reading` | the provider's side of it: read event by event, or told by the event before |
//! | `undo` | takes back what the request's translation did, before the client sees the answer |
//! | `document` | one JSON document that came under a stream's name |
//! | `gather` | a stream for a client that asked for a whole answer |
//! | `reshape` | a whole answer as events, and events as a whole answer |
//! | `recall` | what a client does not bring back: reasoning, and items that it only refers to |
//! | `seal` | envelopes for state that travels through a client of another format |
//! | `opening` | whether a stream's provider has said anything yet |
//! | `sayings` | what the answers of a stream have said, as far as their ends are concerned |
//! | `outcome` | what became of an answer, read when it is over |
//! | `naming` | the model's name in an answer that is otherwise passed on as it came |
//! | `fuzzing` | what must hold for any bytes |

mod document;
mod fit;
pub mod format;
pub mod frame;
#[doc(hidden)]
pub mod fuzzing;
pub mod gather;
pub mod hub;
pub mod json;
pub mod naming;
pub mod opening;
pub mod outcome;
mod reading;
pub mod recall;
pub mod reshape;
mod sayings;
pub mod seal;
pub mod transcode;
pub mod translate;
pub mod undo;

pub use format::{
    AnswerForms, Beginning, Counting, Efforts, Facts, FieldSet, Framing, Line, Operation, Outgoing, ReasoningField,
    ReasoningWish, Repeat, Reply, RequestHead, Settings, Spec, State, StreamReader, StreamWriter, Target, ThinkingForm,
    ThinkingOff, ToolChoices, ToolIds, Undo, WireFormat, ids_shown, wire,
};
pub use frame::sse::may_begin as begins_events;
pub use gather::Gatherer;
pub use naming::Naming;
pub use opening::{Opening, Seen, passing_fault, whole_fault};
pub use outcome::Outcome;
pub use recall::{Recall, Thoughts};
pub use transcode::{Transcoder, Watch};
pub use translate::{
    TranslatedRequest, TranslatedResponse, Wants, translate_count, translate_counted, translate_request,
    translate_response, wants,
};

/// A wire format: how a request, an answer, a stream and an error of one API family are spelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Format {
    /// Anthropic Messages, `POST /v1/messages`.
    AnthropicMessages,
    /// Gemini, `POST /v1beta/models/{model}:generateContent`.
    GeminiGenerate,
    /// OpenAI Chat Completions, `POST /v1/chat/completions`.
    OpenaiChat,
    /// OpenAI Responses, `POST /v1/responses`.
    OpenaiResponses,
}

impl Format {
    /// Every format.
    pub const ALL: [Self; 4] = [Self::AnthropicMessages, Self::GeminiGenerate, Self::OpenaiChat, Self::OpenaiResponses];

    /// The format that an answer is written in when nothing tells what the client speaks.
    pub const DEFAULT: Self = Self::OpenaiChat;

    /// The name used in config, metrics and logs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::AnthropicMessages => "anthropic_messages",
            Self::GeminiGenerate => "gemini_generate",
            Self::OpenaiChat => "openai_chat",
            Self::OpenaiResponses => "openai_responses",
        }
    }

    /// The format that `name` names.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.name() == name)
    }
}
