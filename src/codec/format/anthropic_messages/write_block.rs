//! Blocks of a request, written.

use std::borrow::Cow;

use super::arrange::{Message, Piece, has_own};
use super::core_fields;
use super::marks::{Marks, Part, carries_mark};
use super::report::Report;
use super::wire::{OWN, write_cache, write_extras, write_sub_extras};
use crate::format::FieldSet;
use crate::hub::{
    Block, BlockKind, CacheMark, Citation, Extra, Field, Flavor, OpaqueKind, Refusal, Role, Source, media,
    why_no_object,
};
use crate::json::{Cursor, Json, JsonError, Kind, Text, Writer};

/// Media types that the format takes for images.
const IMAGES: [&str; 4] = ["image/jpeg", "image/png", "image/gif", "image/webp"];

/// Around words of the operator in a user's message.
const OPERATOR_BEGIN: &str = "<system-reminder>\\n";
const OPERATOR_END: &str = "\\n</system-reminder>";

/// Writes messages and the blocks in them.
pub(super) struct Pen<'p, 'l> {
    /// Where it writes.
    pub json: Writer<'p>,
    /// Takes reports.
    pub report: &'p mut Report<'l>,
    /// Which cache marks may stand.
    pub marks: Marks,
    /// The dialect of version 2026-10-21.
    pub strict: bool,
}

impl Pen<'_, '_> {
    /// Writes one message.
    pub(super) fn message(&mut self, message: &Message<'_>) -> Result<(), Refusal> {
        self.json.open_object().key("role").plain(match message.role {
            Role::User => "user",
            Role::Assistant => "assistant",
            Role::System | Role::Developer => "system",
        });
        if message.role != Role::System || !message.pieces.is_empty() {
            self.json.key("content").open_array();
            for piece in &message.pieces {
                self.piece(piece, message.role)?;
            }
            self.json.close_array();
        }
        for extra in &message.extras {
            write_extras(std::slice::from_ref(extra), &mut self.json);
        }
        self.json.close_object();
        Ok(())
    }

    /// Writes one block of the instructions.
    pub(super) fn instruction(&mut self, block: &Block<'_>) {
        if let BlockKind::Text { text, citations } = &block.kind {
            let mark = block.cache;
            let mark = mark.and_then(|mark| self.marks.take(Part::Instructions, mark, block.at, self.report));
            self.json.open_object().key("type").plain("text").key("text").text(text);
            let citations = self.of_request(citations, block);
            self.sources(citations, block);
            if let Some(mark) = mark {
                write_cache(mark, self.own(&block.extras), &mut self.json);
            }
            write_extras(self.own(&block.extras), &mut self.json);
            self.json.close_object();
            self.report.extras(&block.extras);
        }
    }

    fn piece(&mut self, piece: &Piece<'_>, role: Role) -> Result<(), Refusal> {
        match piece {
            Piece::Fixed(words) => {
                self.json.open_object().key("type").plain("text").key("text").plain(words).close_object();
            }
            Piece::Operator(block) => {
                let (begin, end) = (Text::from_escaped(OPERATOR_BEGIN), Text::from_escaped(OPERATOR_END));
                match &block.kind {
                    BlockKind::Text { text, citations } => {
                        let citations = self.of_request(citations, block);
                        self.text(&[&begin, text, &end], citations, block);
                    }
                    BlockKind::Refusal { text } => self.text(&[&begin, text, &end], &[], block),
                    _ => {}
                }
            }
            Piece::Trimmed(block, text) => match &block.kind {
                BlockKind::Text { citations, .. } => self.text(&[text], citations, block),
                _ => self.text(&[text], &[], block),
            },
            Piece::Linked(block, id) => return self.linked(block, id),
            Piece::Block(block) => return self.block(block, role),
        }
        Ok(())
    }

    fn linked(&mut self, block: &Block<'_>, id: &str) -> Result<(), Refusal> {
        match &block.kind {
            BlockKind::ToolCall { name, arguments, flavor, .. } => {
                let name = super::write_tools::sent_name(name);
                self.json.open_object().key("type").plain("tool_use").key("id").plain(id).key("name").plain(&name);
                self.json.key("input");
                self.input(arguments, *flavor, block.at)?;
                self.end(block);
            }
            BlockKind::ToolResult { content, is_error, .. } => {
                self.json.open_object().key("type").plain("tool_result").key("tool_use_id").plain(id);
                self.json.key("content").open_array();
                for inner in content {
                    self.inner(inner)?;
                }
                self.json.close_array();
                if let Some(is_error) = is_error {
                    self.json.key("is_error").bool(*is_error);
                }
                self.end(block);
            }
            _ => {}
        }
        Ok(())
    }

    /// `input` must be an object.
    fn input(&mut self, arguments: &Json<'_>, flavor: Flavor, at: usize) -> Result<(), Refusal> {
        match (flavor, arguments.kind()) {
            (Flavor::Custom, _) => {
                self.json.open_object().key("input").json(arguments).close_object();
            }
            (Flavor::Function, Kind::Object) => {
                self.json.json(arguments);
            }
            (Flavor::Function, _) if arguments.is_empty() => {
                self.json.verbatim("{}");
            }
            (Flavor::Function, _) => {
                return Err(Refusal::at(at, why_no_object(arguments)));
            }
        }
        Ok(())
    }

    fn block(&mut self, block: &Block<'_>, role: Role) -> Result<(), Refusal> {
        match &block.kind {
            BlockKind::Text { text, citations } if role != Role::Assistant => {
                let citations = self.of_request(citations, block);
                self.text(&[text], citations, block);
            }
            BlockKind::Text { text, citations } => self.text(&[text], citations, block),
            BlockKind::Refusal { text } => {
                self.report.converted(Field::Refusal, block.at, "words of refusal are a text block");
                self.text(&[text], &[], block);
            }
            BlockKind::Thinking { text, .. } => {
                self.json.open_object().key("type").plain("thinking").key("thinking").text(text);
                self.opaque("signature", OpaqueKind::ThinkingSignature, block);
                self.end(block);
            }
            BlockKind::Redacted => {
                self.json.open_object().key("type").plain("redacted_thinking");
                self.opaque("data", OpaqueKind::RedactedData, block);
                self.end(block);
            }
            BlockKind::Image { source, detail } => self.image(source, detail.as_deref(), block)?,
            BlockKind::Document { source, name, title, context, citations } => {
                let title = title.as_ref().or(name.as_ref());
                self.document(source, (title, context.as_ref(), *citations), block)?;
            }
            BlockKind::SearchResult { raw }
            | BlockKind::ServerTool { raw, .. }
            | BlockKind::Reference { raw }
            | BlockKind::Unknown { raw, .. } => self.raw(raw, block),
            BlockKind::ToolCall { .. } | BlockKind::ToolResult { .. } | BlockKind::Audio { .. } => {}
        }
        Ok(())
    }

    /// A block inside of a tool's result or of a document.
    fn inner(&mut self, block: &Block<'_>) -> Result<(), Refusal> {
        match &block.kind {
            BlockKind::Text { text, .. } | BlockKind::Refusal { text } if text.is_blank() => {
                if !text.is_empty() {
                    self.report.dropped(Field::Text, block.at, "text of white space only is refused");
                }
                Ok(())
            }
            BlockKind::Text { .. }
            | BlockKind::Refusal { .. }
            | BlockKind::Image { .. }
            | BlockKind::Document { .. } => self.block(block, Role::User),
            BlockKind::SearchResult { .. } | BlockKind::Unknown { format: OWN, .. } if self.report.is_own() => {
                self.block(block, Role::User)
            }
            _ => {
                self.report.dropped(Field::ToolResult, block.at, "a tool's result holds no such block");
                Ok(())
            }
        }
    }

    fn text(&mut self, pieces: &[&Text<'_>], citations: &[Citation<'_>], block: &Block<'_>) {
        self.json.open_object().key("type").plain("text").key("text").texts(pieces);
        self.sources(citations, block);
        self.end(block);
    }

    /// Sources of words that are not the assistant's.
    fn of_request<'c>(&mut self, citations: &'c [Citation<'c>], block: &Block<'_>) -> &'c [Citation<'c>] {
        if !self.strict || citations.is_empty() {
            return citations;
        }
        self.report.dropped(Field::Citations, block.at, "the user's text cites nothing since version 2026-10-21");
        &[]
    }

    fn sources(&mut self, citations: &[Citation<'_>], block: &Block<'_>) {
        if citations.iter().any(|citation| citation.format == OWN) {
            self.json.key("citations").open_array();
            for citation in citations.iter().filter(|citation| citation.format == OWN) {
                self.json.json(&citation.raw);
            }
            self.json.close_array();
        }
        if citations.iter().any(|citation| citation.format != OWN) {
            self.report.dropped(Field::Citations, block.at, "sources of another format");
        }
    }

    fn opaque(&mut self, key: &str, kind: OpaqueKind, block: &Block<'_>) {
        if let Some(opaque) = block.opaque.iter().find(|opaque| opaque.maker == OWN && opaque.kind == kind) {
            self.json.key(key).text(&opaque.data);
        }
    }

    fn image(&mut self, source: &Source<'_>, detail: Option<&str>, block: &Block<'_>) -> Result<(), Refusal> {
        if detail.is_some_and(|detail| detail != "auto") {
            self.report.dropped(Field::ImageDetail, block.at, "how closely an image is looked at cannot be said");
        }
        self.json.open_object().key("type").plain("image").key("source").open_object();
        match source {
            Source::Base64 { media_type, data } => {
                let found = self.media_type(media_type, data, Field::Image, block.at);
                if !IMAGES.contains(&found.as_ref()) {
                    let message = format!("an image of type `{found}` is refused; use JPEG, PNG, GIF or WebP");
                    return Err(Refusal::at(block.at, message));
                }
                self.base64(&found, data);
            }
            Source::Url(url) => self.link("url", "url", url),
            Source::FileId(id) => self.file(id, block.at)?,
            Source::Text(_) | Source::Blocks(_) => {
                return Err(Refusal::at(block.at, "an image must be base64 data, a URL or a file"));
            }
        }
        write_sub_extras("source.", self.own(&block.extras), &mut self.json);
        self.json.close_object();
        self.end(block);
        Ok(())
    }

    fn document(
        &mut self,
        source: &Source<'_>,
        about: (Option<&Text<'_>>, Option<&Text<'_>>, Option<bool>),
        block: &Block<'_>,
    ) -> Result<(), Refusal> {
        self.json.open_object().key("type").plain("document").key("source").open_object();
        match source {
            Source::Base64 { media_type, data } => self.document_data(media_type, data, block.at)?,
            Source::Text(text) => self.plain_document(text),
            Source::Url(url) => self.link("url", "url", url),
            Source::FileId(id) => self.file(id, block.at)?,
            Source::Blocks(blocks) => {
                self.json.key("type").plain("content").key("content").open_array();
                for inner in blocks {
                    self.inner(inner)?;
                }
                self.json.close_array();
            }
        }
        write_sub_extras("source.", self.own(&block.extras), &mut self.json);
        self.json.close_object();
        let (title, context, citations) = about;
        for (key, value) in [("title", title), ("context", context)] {
            if let Some(value) = value {
                self.json.key(key).text(value);
            }
        }
        if let Some(enabled) = citations {
            self.json.key("citations").open_object().key("enabled").bool(enabled).close_object();
        }
        self.end(block);
        Ok(())
    }

    fn document_data(&mut self, media_type: &str, data: &Text<'_>, at: usize) -> Result<(), Refusal> {
        let found = self.media_type(media_type, data, Field::Document, at);
        if found == "application/pdf" {
            self.base64(&found, data);
            return Ok(());
        }
        let is_text = found.starts_with("text/") || matches!(found.as_ref(), "application/json" | "");
        match media::decode_text(data).filter(|_| is_text) {
            Some(text) => {
                self.report.converted(Field::Document, at, "a text file is a plain-text document");
                self.plain_document(&text);
                Ok(())
            }
            None => Err(Refusal::at(at, format!("a document of type `{found}` is refused; use PDF or plain text"))),
        }
    }

    fn plain_document(&mut self, text: &Text<'_>) {
        self.json.key("type").plain("text").key("media_type").plain("text/plain").key("data").text(text);
    }

    /// The media type by the bytes; providers refuse data whose declared type is another.
    fn media_type<'m>(&mut self, declared: &'m str, data: &Text<'_>, field: Field, at: usize) -> Cow<'m, str> {
        let declared = if declared.eq_ignore_ascii_case("image/jpg") { "image/jpeg" } else { declared };
        let found = media::effective(declared, data);
        if found != declared {
            self.report.converted(field, at, "the media type is declared as the bytes tell it");
        }
        found
    }

    fn base64(&mut self, media_type: &str, data: &Text<'_>) {
        self.json.key("type").plain("base64").key("media_type").plain(media_type).key("data").text(data);
    }

    fn link(&mut self, kind: &str, key: &str, value: &Text<'_>) {
        self.json.key("type").plain(kind).key(key).text(value);
    }

    fn file(&mut self, id: &Text<'_>, at: usize) -> Result<(), Refusal> {
        if !self.report.is_own() {
            let message = "a file id is known to the provider that stores the file only; send the data or a URL";
            return Err(Refusal::at(at, message).with_code("unsupported_value"));
        }
        self.link("file", "file_id", id);
        Ok(())
    }

    /// A block or tool of this format that is passed on raw, without what the target refuses; `None` where it takes all.
    pub(super) fn trimmed(&mut self, raw: &Json<'_>, is_tool: bool, at: usize) -> Option<Json<'static>> {
        match self.report.fields {
            FieldSet::All => None,
            FieldSet::Core => core_fields::trim_piece(raw, is_tool, at, self.report.losses),
        }
    }

    /// A block of this format as it came, but for a cache mark that may not stand.
    fn raw(&mut self, raw: &Json<'_>, block: &Block<'_>) {
        let trimmed = self.trimmed(raw, false, block.at);
        let raw = trimmed.as_ref().unwrap_or(raw);
        if block.cache.is_none() || self.mark(block).is_some() {
            self.json.json(raw);
            return;
        }
        self.json.open_object();
        // The JSON was read once, so it can be read again.
        let _ = raw.cursor().object::<JsonError>(|key, value| {
            let key = Text::from_plain(&key).into_owned();
            let value: Json<'_> = Cursor::json(value)?;
            if key.escaped() != "cache_control" {
                self.json.key(key.escaped()).json(&value);
            }
            Ok(())
        });
        self.json.close_object();
    }

    /// Ends a block: its cache mark, its own fields, and reports of what it could not say.
    fn end(&mut self, block: &Block<'_>) {
        if let Some(mark) = self.mark(block) {
            write_cache(mark, self.own(&block.extras), &mut self.json);
        }
        write_extras(self.own(&block.extras), &mut self.json);
        self.json.close_object();
        self.report.extras(&block.extras);
        let carried = match &block.kind {
            BlockKind::Thinking { .. } => has_own(block, OpaqueKind::ThinkingSignature),
            BlockKind::Redacted => has_own(block, OpaqueKind::RedactedData),
            _ => false,
        };
        if block.opaque.len() > usize::from(carried) {
            self.report.dropped(Field::OpaqueState, block.at, "only its maker can read this state");
        }
    }

    /// The mark of a block of the conversation, as it is to be said.
    fn mark(&mut self, block: &Block<'_>) -> Option<CacheMark> {
        let mark = block.cache?;
        if !carries_mark(&block.kind) {
            self.report.dropped(Field::CacheMark, block.at, "thinking carries no cache mark");
            return None;
        }
        self.marks.take(Part::Messages, mark, block.at, self.report)
    }

    fn own<'e, 'x>(&self, extras: &'e [Extra<'x>]) -> &'e [Extra<'x>] {
        if self.report.keeps() { extras } else { &[] }
    }
}
