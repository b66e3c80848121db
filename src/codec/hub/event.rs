//! A stream, event by event.
//!
//! ```text
//! Start  ( BlockStart  Delta*  BlockStop | Stop | Usage | Tier | Ping )*  ( End | Fault )
//! ```
//! Blocks are numbered by the reader, in order of first appearance over the whole stream, and may interleave.
//! [`grammar`](super::grammar) checks the order.

use std::borrow::Cow;

use super::block::{Citation, Opaque, ThinkingKind};
use super::error::Fault;
use super::response::{Stop, Usage};
use super::tool::Flavor;
use crate::Format;
use crate::json::{Json, Text};

/// One thing that happened in a streamed answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Event<'a> {
    /// The answer begins. Comes once, first.
    Start {
        /// The provider's id of the answer.
        id: Text<'a>,
        /// The model that answers.
        model: Text<'a>,
        /// Seconds since 1970, where the format has them.
        created: Option<u64>,
    },
    /// Block `block` begins.
    BlockStart {
        /// Number of the block, from 0, new.
        block: u32,
        /// Which answer it belongs to.
        candidate: u32,
        /// What it is.
        head: Head<'a>,
    },
    /// Text, refusal or thinking block `block` grows.
    TextDelta {
        /// Number of an open block.
        block: u32,
        /// What is added.
        text: Text<'a>,
    },
    /// The arguments of tool call `block` grow.
    ArgumentsDelta {
        /// Number of an open block.
        block: u32,
        /// What is added: JSON text of an object (or free text of a custom tool), as the contents of a JSON string.
        fragment: Text<'a>,
    },
    /// State that belongs to block `block`.
    Opaque {
        /// Number of an open block.
        block: u32,
        /// The state.
        opaque: Opaque<'a>,
    },
    /// A source of text block `block`. Some providers name theirs when the words are long over.
    Citation {
        /// Number of a block, open or not, of an answer that has not stopped.
        block: u32,
        /// The source.
        citation: Citation<'a>,
    },
    /// Log probabilities of the tokens of answer `candidate`, as [`Candidate::logprobs`](super::Candidate).
    Logprobs {
        /// Which answer.
        candidate: u32,
        /// Raw.
        raw: Json<'a>,
    },
    /// Block `block` is complete.
    BlockStop {
        /// Number of an open block.
        block: u32,
    },
    /// Why answer `candidate` ended. All its blocks are closed.
    Stop {
        /// Which answer.
        candidate: u32,
        /// Why.
        stop: Stop<'a>,
    },
    /// What the answer cost so far; replaces what came before.
    Usage(Usage),
    /// The tier that the answer is served by. Comes when it is first known, and where it is another than before.
    Tier {
        /// Format of its provider.
        format: Format,
        /// In the provider's word.
        word: Text<'a>,
    },
    /// The words that follow are another text of answer `candidate`, not more of the one before.
    Apart {
        /// Which answer.
        candidate: u32,
    },
    /// The provider is alive.
    Ping,
    /// Something of the provider's that the hub has no place for; a loss toward another format.
    Dropped {
        /// What it counts as.
        field: super::loss::Field,
    },
    /// The provider failed in the middle. Comes last.
    Fault(Fault<'a>),
    /// The answer is complete. Comes last.
    End,
}

impl Head<'_> {
    /// True for what an answer is made of: words for the client, and calls of its tools.
    #[must_use]
    pub fn is_said(&self) -> bool {
        match self {
            Self::Text | Self::Refusal | Self::ToolCall { .. } => true,
            Self::Thinking(_) | Self::Redacted | Self::ServerTool { .. } => false,
        }
    }
}

/// What a streamed block is.
#[derive(Debug, Clone, PartialEq)]
pub enum Head<'a> {
    /// Words.
    Text,
    /// The model declines.
    Refusal,
    /// Reasoning.
    Thinking(ThinkingKind),
    /// Reasoning that only its maker can read; an [`Event::Opaque`] brings the data.
    Redacted,
    /// A call of a tool of the client.
    ToolCall {
        /// Id that the result must name.
        id: Cow<'a, str>,
        /// The tool.
        name: Cow<'a, str>,
        /// Function or custom tool.
        flavor: Flavor,
    },
    /// A call that the provider made itself, or its result: never a tool call of the client.
    ServerTool {
        /// Format that knows it.
        format: Format,
        /// The block's JSON as it began.
        raw: Json<'a>,
    },
}
