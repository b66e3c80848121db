//! What a conversation is made of: turns and their blocks.

use std::borrow::Cow;

use super::loss::Field;
use super::tool::Flavor;
use crate::Format;
use crate::json::{Json, Text};

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// The person or program that asks; tool results stand in its turns too.
    User,
    /// The model.
    Assistant,
    /// The operator, in the middle of the conversation.
    System,
    /// The operator, by `OpenAI`'s newer word.
    Developer,
}

/// One message.
#[derive(Debug, Clone, PartialEq)]
pub struct Turn<'a> {
    /// Who speaks.
    pub role: Role,
    /// What is said, in order. Results of tool calls are blocks of a user turn.
    pub blocks: Vec<Block<'a>>,
    /// The speaker's name (`name` of a chat message).
    pub name: Option<Text<'a>>,
    /// Fields of the message that the hub has no place for.
    pub extras: Vec<Extra<'a>>,
    /// Byte offset of the message in the body that it was read from.
    pub at: usize,
}

impl<'a> Turn<'a> {
    /// A turn without name and extras.
    #[must_use]
    pub fn new(role: Role, blocks: Vec<Block<'a>>, at: usize) -> Self {
        Self { role, blocks, name: None, extras: Vec::new(), at }
    }
}

/// One piece of a turn or of an answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Block<'a> {
    /// What it is.
    pub kind: BlockKind<'a>,
    /// A prompt-cache breakpoint behind this block.
    pub cache: Option<CacheMark>,
    /// State that only its maker can read.
    pub opaque: Vec<Opaque<'a>>,
    /// Fields of the block that the hub has no place for.
    pub extras: Vec<Extra<'a>>,
    /// It begins another message of an answer: its words do not go on with those before.
    pub apart: bool,
    /// Byte offset of the block in the body that it was read from.
    pub at: usize,
    /// Byte offset of its words, where they stood apart from its state.
    pub words_at: Option<usize>,
}

impl<'a> Block<'a> {
    /// A block that is only its kind.
    #[must_use]
    pub fn new(kind: BlockKind<'a>, at: usize) -> Self {
        Self { kind, cache: None, opaque: Vec::new(), extras: Vec::new(), apart: false, at, words_at: None }
    }

    /// A plain text block.
    #[must_use]
    pub fn text(text: Text<'a>, at: usize) -> Self {
        Self::new(BlockKind::Text { text, citations: Vec::new() }, at)
    }
}

/// What a block is.
#[derive(Debug, Clone, PartialEq)]
pub enum BlockKind<'a> {
    /// Words.
    Text {
        /// The words.
        text: Text<'a>,
        /// Where they come from.
        citations: Vec<Citation<'a>>,
    },
    /// The model declines, in words.
    Refusal {
        /// The words.
        text: Text<'a>,
    },
    /// The model's reasoning. Its signature is in `opaque`; the text may be empty and the block still be data.
    Thinking {
        /// The reasoning.
        text: Text<'a>,
        /// How faithful it is to what the model thought.
        kind: ThinkingKind,
    },
    /// Reasoning that only its maker can read; the data is in `opaque`.
    Redacted,
    /// An image.
    Image {
        /// Where it is.
        source: Source<'a>,
        /// `auto`, `low`, `high` or `original`.
        detail: Option<Cow<'a, str>>,
    },
    /// A document: PDF, plain text, or text made of blocks.
    Document {
        /// Where it is.
        source: Source<'a>,
        /// File name.
        name: Option<Text<'a>>,
        /// Title shown to the model.
        title: Option<Text<'a>>,
        /// Context shown to the model, not cited.
        context: Option<Text<'a>>,
        /// The answer shall cite it.
        citations: Option<bool>,
    },
    /// Sound.
    Audio {
        /// Where it is.
        source: Source<'a>,
        /// `wav`, `mp3` or another container name.
        format: Cow<'a, str>,
    },
    /// A search hit given as input.
    SearchResult {
        /// Its whole JSON, in the origin's format.
        raw: Json<'a>,
    },
    /// The model calls a tool of the client.
    ToolCall {
        /// Id that the result must name.
        id: Cow<'a, str>,
        /// The tool.
        name: Cow<'a, str>,
        /// JSON text of the arguments (an object), or the free text of a custom tool as a JSON *string*.
        arguments: Json<'a>,
        /// Function or custom tool.
        flavor: Flavor,
    },
    /// The client answers a tool call.
    ToolResult {
        /// Id of the call.
        id: Cow<'a, str>,
        /// Text, images and documents.
        content: Vec<Block<'a>>,
        /// The tool failed; `None` where the format cannot say.
        is_error: Option<bool>,
    },
    /// A call, or the result of a call, that the provider made and answered itself.
    ServerTool {
        /// The whole block's JSON, in the origin's format.
        raw: Json<'a>,
        /// True for the result.
        result: bool,
    },
    /// A reference to something that only its maker stores: an uploaded container file, an earlier audio answer.
    Reference {
        /// The whole block's JSON, in the origin's format.
        raw: Json<'a>,
    },
    /// A block that no rule knows.
    Unknown {
        /// Format it came in.
        format: Format,
        /// The whole block's JSON.
        raw: Json<'a>,
    },
}

impl BlockKind<'_> {
    /// True for what an answer is made of: words for the client, and calls of its tools.
    #[must_use]
    pub fn is_said(&self) -> bool {
        matches!(self, Self::Text { .. } | Self::Refusal { .. } | Self::ToolCall { .. })
    }

    /// What a block counts as in a loss report.
    #[must_use]
    pub fn class(&self) -> Field {
        match self {
            Self::Text { .. } => Field::Text,
            Self::Refusal { .. } => Field::Refusal,
            Self::Thinking { .. } => Field::Thinking,
            Self::Redacted => Field::OpaqueState,
            Self::Image { .. } => Field::Image,
            Self::Document { .. } => Field::Document,
            Self::Audio { .. } => Field::Audio,
            Self::SearchResult { .. } => Field::SearchResult,
            Self::ToolCall { .. } => Field::ToolCall,
            Self::ToolResult { .. } => Field::ToolResult,
            Self::ServerTool { .. } => Field::ServerTool,
            Self::Reference { .. } | Self::Unknown { .. } => Field::Unknown,
        }
    }
}

/// How faithful a thinking block's text is to what the model thought.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ThinkingKind {
    /// The reasoning itself.
    Raw,
    /// A summary of it.
    Summary,
}

/// Where the bytes of an image, document or sound are.
#[derive(Debug, Clone, PartialEq)]
pub enum Source<'a> {
    /// In the message.
    Base64 {
        /// Media type, as declared.
        media_type: Cow<'a, str>,
        /// Standard base64, still as JSON string contents.
        data: Text<'a>,
    },
    /// At a URL that the provider fetches.
    Url(Text<'a>),
    /// In the provider's file store.
    FileId(Text<'a>),
    /// Plain text in the message.
    Text(Text<'a>),
    /// Blocks in the message.
    Blocks(Vec<Block<'a>>),
}

impl Source<'_> {
    /// True for blocks that hold images and no words.
    #[must_use]
    pub fn is_images(&self) -> bool {
        let Self::Blocks(blocks) = self else { return false };
        let holds = |like: fn(&BlockKind<'_>) -> bool| blocks.iter().any(|block| like(&block.kind));
        holds(|kind| matches!(kind, BlockKind::Image { .. })) && !holds(|kind| matches!(kind, BlockKind::Text { .. }))
    }
}

/// Where words of an answer come from.
#[derive(Debug, Clone, PartialEq)]
pub struct Citation<'a> {
    /// URL of a web page.
    pub url: Option<Text<'a>>,
    /// Title of the page or document.
    pub title: Option<Text<'a>>,
    /// The words of the source.
    pub cited_text: Option<Text<'a>>,
    /// First and last-plus-one character (Unicode code point) of its block's text that it covers. What it covers may go on
    /// in the blocks behind.
    pub span: Option<(u64, u64)>,
    /// The whole citation's JSON, in the origin's format.
    pub raw: Json<'a>,
    /// Format it came in.
    pub format: Format,
}

/// Where blocks of words begin in all of an answer's words, for sources whose place is told in those.
#[derive(Debug)]
pub struct Begins<T> {
    list: Vec<(T, u64)>,
    end: u64,
}

impl<T> Default for Begins<T> {
    fn default() -> Self {
        Self { list: Vec::new(), end: 0 }
    }
}

impl<T: Copy> Begins<T> {
    /// The next block, of `points` characters.
    pub fn push(&mut self, block: T, points: u64) {
        self.list.push((block, self.end));
        self.end = self.end.saturating_add(points);
    }

    /// The block in which the characters `span` of all words begin, and the same counted from its beginning.
    #[must_use]
    pub fn home(&self, (from, to): (u64, u64)) -> Option<(T, (u64, u64))> {
        let (block, begin) = self.list.iter().rev().find(|(_, begin)| *begin <= from)?;
        Some((*block, (from - begin, to.saturating_sub(*begin))))
    }
}

/// The characters of a text that a source with this span covers, where its block's words are the characters `begin..end`
/// of that text. A source without a span covers all of them, and none covers more.
#[must_use]
pub fn placed(span: Option<(u64, u64)>, (begin, end): (u64, u64)) -> (u64, u64) {
    let at = |point: u64| begin.saturating_add(point).min(end);
    span.map_or((begin, end), |(from, to)| (at(from), at(to).max(at(from))))
}

impl Citation<'_> {
    /// A copy that owns its words.
    #[must_use]
    pub fn into_owned(self) -> Citation<'static> {
        Citation {
            url: self.url.map(Text::into_owned),
            title: self.title.map(Text::into_owned),
            cited_text: self.cited_text.map(Text::into_owned),
            span: self.span,
            raw: self.raw.into_owned(),
            format: self.format,
        }
    }
}

/// A prompt-cache breakpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CacheMark {
    /// How long the cache shall keep it, in seconds; `None` for the provider's default.
    pub ttl_s: Option<u32>,
}

impl CacheMark {
    /// The mark that lasts longer; one without a time lasts shortest.
    #[must_use]
    pub fn longer(self, other: Self) -> Self {
        if other.ttl_s > self.ttl_s { other } else { self }
    }
}

/// State that only its maker can read and that must come back to it unchanged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opaque<'a> {
    /// What it is.
    pub kind: OpaqueKind,
    /// Format whose provider made it.
    pub maker: Format,
    /// The value, as JSON string contents.
    pub data: Text<'a>,
}

impl Opaque<'_> {
    /// A copy that owns its data.
    #[must_use]
    pub fn into_owned(self) -> Opaque<'static> {
        Opaque { kind: self.kind, maker: self.maker, data: self.data.into_owned() }
    }
}

/// Kinds of opaque state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OpaqueKind {
    /// `signature` of an Anthropic thinking block.
    ThinkingSignature,
    /// `data` of an Anthropic `redacted_thinking` block.
    RedactedData,
    /// `encrypted_content` of an `OpenAI` reasoning item.
    EncryptedReasoning,
    /// Gemini's `thoughtSignature`. That of a tool call stands in a thinking block without words, in front of the call:
    /// other formats have no slot for state at a call.
    ThoughtSignature,
    /// Marks reasoning of a provider that signs nothing, so that no other provider is ever shown it as its own.
    Unsigned,
}

impl OpaqueKind {
    /// Every kind, in the order of their tags.
    pub const ALL: [Self; 5] =
        [Self::ThinkingSignature, Self::RedactedData, Self::EncryptedReasoning, Self::ThoughtSignature, Self::Unsigned];

    /// One letter, for an envelope.
    #[must_use]
    pub fn tag(self) -> u8 {
        match self {
            Self::ThinkingSignature => b's',
            Self::RedactedData => b'r',
            Self::EncryptedReasoning => b'e',
            Self::ThoughtSignature => b't',
            Self::Unsigned => b'n',
        }
    }
}

/// A field that the hub has no place for. It goes on to a provider of the same format; toward another it is a loss.
#[derive(Debug, Clone, PartialEq)]
pub struct Extra<'a> {
    /// What it counts as in a loss report.
    pub field: Field,
    /// Its key.
    pub key: Cow<'a, str>,
    /// Its value.
    pub value: Json<'a>,
    /// Byte offset of its value in the body that it was read from.
    pub at: usize,
}

impl Extra<'_> {
    /// False for what is so by itself, and for a list of nothing: it is no loss.
    #[must_use]
    pub fn tells(&self) -> bool {
        let said = self.value.as_str().bytes().filter(|byte| !byte.is_ascii_whitespace());
        // Words are what an answer is made of.
        let is_usual = self.field == Field::Modalities && self.value.as_str().eq_ignore_ascii_case("[\"text\"]");
        !is_usual && said.ne(*b"[]")
    }
}
