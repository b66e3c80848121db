//! An answer.

use std::collections::BTreeSet;

use super::block::{Block, Extra};
use super::error::{Fault, FaultKind};
use crate::Format;
use crate::json::{Json, Text};

/// What a model answered.
#[derive(Debug, Clone, PartialEq)]
pub struct Response<'a> {
    /// The provider's format.
    pub format: Format,
    /// The provider's id of the answer.
    pub id: Text<'a>,
    /// The model that answered.
    pub model: Text<'a>,
    /// Seconds since 1970, where the format has them.
    pub created: Option<u64>,
    /// The answers; one, unless several were asked for.
    pub candidates: Vec<Candidate<'a>>,
    /// What it cost; `None` where the provider did not say.
    pub usage: Option<Usage>,
    /// `service_tier`, in the provider's words.
    pub tier: Option<Text<'a>>,
    /// Fields that the hub has no place for.
    pub extras: Vec<Extra<'a>>,
}

impl Response<'_> {
    /// Gives each answer a number of its own, where a server gives several the same, or one that no stream can have.
    pub(crate) fn number_apart(&mut self) {
        let (mut taken, mut free) = (BTreeSet::new(), 0..=u64::from(u32::MAX));
        for candidate in &mut self.candidates {
            if u32::try_from(candidate.index).is_err() || taken.contains(&candidate.index) {
                candidate.index = free.find(|number| !taken.contains(number)).unwrap_or_default();
            }
            taken.insert(candidate.index);
        }
    }
}

/// One of the answers.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate<'a> {
    /// Position.
    pub index: u64,
    /// What it says, in order.
    pub blocks: Vec<Block<'a>>,
    /// Why it ended.
    pub stop: Stop<'a>,
    /// Log probabilities as Chat says them: `{"content":[{"token","logprob","bytes","top_logprobs"}],"refusal":…}`.
    pub logprobs: Option<Json<'a>>,
    /// Fields that the hub has no place for.
    pub extras: Vec<Extra<'a>>,
}

/// Why an answer ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop<'a> {
    /// The model was done.
    EndTurn,
    /// A stop text was met.
    StopSequence(Option<Text<'a>>),
    /// The token limit was met.
    MaxTokens,
    /// The context window is full.
    ContextWindow,
    /// The model waits for tool results.
    ToolUse,
    /// The model declined.
    Refusal {
        /// The vendor's category.
        category: Option<Text<'a>>,
        /// The vendor's words.
        explanation: Option<Text<'a>>,
    },
    /// A filter cut the answer; the vendor's word.
    Filtered(Text<'a>),
    /// A filter refused the prompt, so that there is no answer; the vendor's word.
    PromptFiltered(Text<'a>),
    /// A long turn was paused and may be continued.
    Pause,
    /// The context was compacted.
    Compaction,
    /// The provider reports a failure as a reason.
    Failed(Text<'a>),
    /// A word that no rule knows.
    Other(Text<'a>),
}

impl Stop<'_> {
    /// A copy that owns its words.
    #[must_use]
    pub fn into_owned(self) -> Stop<'static> {
        match self {
            Stop::EndTurn => Stop::EndTurn,
            Stop::StopSequence(text) => Stop::StopSequence(text.map(Text::into_owned)),
            Stop::MaxTokens => Stop::MaxTokens,
            Stop::ContextWindow => Stop::ContextWindow,
            Stop::ToolUse => Stop::ToolUse,
            Stop::Refusal { category, explanation } => Stop::Refusal {
                category: category.map(Text::into_owned),
                explanation: explanation.map(Text::into_owned),
            },
            Stop::Filtered(word) => Stop::Filtered(word.into_owned()),
            Stop::PromptFiltered(word) => Stop::PromptFiltered(word.into_owned()),
            Stop::Pause => Stop::Pause,
            Stop::Compaction => Stop::Compaction,
            Stop::Failed(word) => Stop::Failed(word.into_owned()),
            Stop::Other(word) => Stop::Other(word.into_owned()),
        }
    }
}

/// Tokens, disjoint: no field contains another. Totals are computed by whoever writes them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Usage {
    /// Input that no cache served or took.
    pub input_uncached: u64,
    /// Input served from a cache.
    pub cache_read: u64,
    /// Input written to a cache for up to half an hour (5 minutes at Anthropic).
    pub cache_write_short: u64,
    /// Input written to a cache for an hour or more.
    pub cache_write_long: u64,
    /// Output that the client sees.
    pub output_visible: u64,
    /// Output spent on thinking.
    pub output_reasoning: u64,
    /// The provider said how much of the output was thinking.
    pub reasoning_known: bool,
    /// The provider said what a cache served.
    pub cache_known: bool,
    /// Requests that the provider's own tools made (web search), where it says so.
    pub server_tool_requests: u64,
    /// Sound in the input; contained in the fields above.
    pub audio_input: u64,
    /// Sound in the output; contained in the fields above.
    pub audio_output: u64,
}

impl Usage {
    /// All input, caches included.
    #[must_use]
    pub fn input(&self) -> u64 {
        self.input_uncached.saturating_add(self.cache_read).saturating_add(self.cache_write())
    }

    /// All input written to caches.
    #[must_use]
    pub fn cache_write(&self) -> u64 {
        self.cache_write_short.saturating_add(self.cache_write_long)
    }

    /// All output, thinking included.
    #[must_use]
    pub fn output(&self) -> u64 {
        self.output_visible.saturating_add(self.output_reasoning)
    }
}

/// What an answer says, as far as its end is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Saying {
    /// Nothing for the client.
    Nothing,
    /// Words, and no calls.
    Words,
    /// Calls of the client's tools, each with all of its arguments.
    Calls,
    /// The same, and one of them breaks off.
    HalfCalls,
}

/// Words for a [`Stop`] in logs and metrics.
impl Stop<'_> {
    /// What a client is told whose format has an error for a refused prompt.
    ///
    /// `word` is the vendor's.
    #[must_use]
    pub fn refused_prompt(word: &Text<'_>) -> Fault<'static> {
        let message = format!("The provider refused the prompt: {}", word.plain());
        Fault::new(FaultKind::ContentFilter, message).with_code("content_filter")
    }

    /// What a client is told where the provider gave the answer up; `word` is the vendor's.
    #[must_use]
    pub fn gave_up(word: &Text<'_>) -> Fault<'static> {
        let mut fault = Fault::new(FaultKind::Api, format!("The provider gave the answer up: {}", word.plain()));
        fault.status = 502;
        fault.with_code("upstream_failed")
    }

    /// What it comes to for an answer that says this: a reason that no rule knows ends what was said, and has calls run that
    /// are whole; where nothing was said, or half a call, it is why.
    #[must_use]
    pub fn settled(self, saying: Saying) -> Self {
        match (self, saying) {
            (Self::Other(word), _) if is_clients(&word) => Self::Other(word),
            (Self::Other(word), Saying::Nothing | Saying::HalfCalls) => Self::Failed(word),
            (Self::Other(_), Saying::Calls) => Self::ToolUse,
            (stop, _) => stop,
        }
    }

    /// A bounded label.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::EndTurn => "end_turn",
            Self::StopSequence(_) => "stop_sequence",
            Self::MaxTokens => "max_tokens",
            Self::ContextWindow => "context_window",
            Self::ToolUse => "tool_use",
            Self::Refusal { .. } => "refusal",
            Self::Filtered(_) | Self::PromptFiltered(_) => "filtered",
            Self::Pause => "pause",
            Self::Compaction => "compaction",
            Self::Failed(_) => "failed",
            Self::Other(_) => "other",
        }
    }
}

/// True for a reason that is the client's own doing: it ends an answer of no words too.
pub(crate) fn is_clients(word: &Text<'_>) -> bool {
    matches!(word.escaped(), "steered" | "max_messages")
}
