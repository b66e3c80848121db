//! What a conversation is told by.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::mem::discriminant;

use crate::Format;
use crate::format::wire;
use crate::hub::{Block, BlockKind, Source, Turn};
use crate::json::{Json, Text};

/// A conversation as it goes on: what was said in it, and which of its turns had thoughts.
///
/// Not the bytes: clients move cache marks on from request to request, and write a message with one as a list of parts and
/// without as words.
pub(super) struct Mark(DefaultHasher);

impl Mark {
    /// Of the conversation in `body`, in `from`'s format, before anything is said. Claude's newest models refuse thoughts
    /// behind other tools than they were thought behind; of other providers a conversation is what is said in it.
    pub(super) fn of(from: Format, body: &[u8], to: Format) -> Self {
        let mut hasher = DefaultHasher::new();
        if to == Format::AnthropicMessages {
            wire(from).spec().beginning(body).prefix.hash(&mut hasher);
        }
        Self(hasher)
    }

    /// Goes on by what the operator says first: users of one client often begin with the same words.
    pub(super) fn instructed(&mut self, instructions: &[Block<'_>]) {
        self.blocks(instructions);
    }

    /// A number for all so far.
    pub(super) fn number(&self) -> u64 {
        self.0.clone().finish()
    }

    /// Goes on by what is said in `turn`.
    pub(super) fn said(&mut self, turn: &Turn<'_>) {
        discriminant(&turn.role).hash(&mut self.0);
        self.blocks(&turn.blocks);
    }

    /// What was thought before this call goes to the provider as well, whoever brought it.
    pub(super) fn thought(&mut self, call: &str) {
        call.hash(&mut self.0);
    }

    fn blocks(&mut self, blocks: &[Block<'_>]) {
        for block in blocks {
            self.block(block);
        }
    }

    fn block(&mut self, block: &Block<'_>) {
        match &block.kind {
            BlockKind::Thinking { .. } | BlockKind::Redacted => return,
            BlockKind::Text { text, .. } | BlockKind::Refusal { text } => self.words(text),
            BlockKind::ToolCall { id, name, arguments, .. } => {
                (id, name).hash(&mut self.0);
                self.json(arguments);
            }
            BlockKind::ToolResult { id, content, is_error } => {
                (id, content.len(), is_error).hash(&mut self.0);
                self.blocks(content);
            }
            BlockKind::Image { source, .. } | BlockKind::Audio { source, .. } => self.source(source),
            BlockKind::Document { source, name, title, context, .. } => {
                self.source(source);
                [name, title, context].into_iter().flatten().for_each(|text| self.words(text));
            }
            BlockKind::SearchResult { raw }
            | BlockKind::ServerTool { raw, .. }
            | BlockKind::Reference { raw }
            | BlockKind::Unknown { raw, .. } => self.json(raw),
        }
        discriminant(&block.kind).hash(&mut self.0);
    }

    fn source(&mut self, source: &Source<'_>) {
        match source {
            Source::Base64 { data: text, .. } | Source::Url(text) | Source::FileId(text) | Source::Text(text) => {
                self.words(text);
            }
            Source::Blocks(blocks) => self.blocks(blocks),
        }
        discriminant(source).hash(&mut self.0);
    }

    fn words(&mut self, text: &Text<'_>) {
        text.escaped().hash(&mut self.0);
    }

    fn json(&mut self, json: &Json<'_>) {
        json.as_str().hash(&mut self.0);
    }
}
