//! Contents and their parts, written.

use std::borrow::Cow;

use super::arrange::{Content, Piece};
use super::part;
use super::pieces::{is_media, own_signature};
use super::read_media::{is_stored, is_video};
use super::report::Report;
use super::schema_refs::Room;
use super::wire::{MEDIA, is_own, write_extras, write_sub_extras};
use super::write_tools::sent_name;
use crate::hub::media;
use crate::hub::{Block, BlockKind, Citation, Extra, Field, Refusal, Source, why_no_object};
use crate::json::{Json, Kind, Text, Writer};

/// Words around what the operator says in the middle of a conversation.
const OPERATOR_BEGIN: &str = "<system-reminder>\\n";
const OPERATOR_END: &str = "\\n</system-reminder>";

/// Writes a request's pieces.
#[derive(Debug)]
pub(super) struct Pen<'o, 'l> {
    /// The body.
    pub json: Writer<'o>,
    /// What it cannot say.
    pub report: Report<'l>,
    /// Media may stand in a tool's result; else they stand behind it.
    pub rich_results: bool,
    /// Room for what schemas refer to.
    pub room: Room,
}

impl Pen<'_, '_> {
    /// Writes one content.
    pub(super) fn content(&mut self, content: &Content<'_>) -> Result<(), Refusal> {
        self.json.open_object().key("role").plain(if content.is_model { "model" } else { "user" });
        self.json.key("parts").open_array();
        for piece in &content.pieces {
            self.piece(piece)?;
        }
        self.json.close_array();
        for extra in &content.extras {
            write_extras(std::slice::from_ref(extra), &mut self.json);
        }
        self.json.close_object();
        Ok(())
    }

    fn piece(&mut self, piece: &Piece<'_>) -> Result<(), Refusal> {
        match piece {
            Piece::Fixed(words) => part::words(&Text::from_escaped(*words), false, None, &mut self.json),
            Piece::Signature(value) => part::words(&Text::EMPTY, false, Some(value), &mut self.json),
            Piece::Operator(block) => {
                if let BlockKind::Text { citations, .. } = &block.kind {
                    self.uncited(citations, block.at);
                }
                if let BlockKind::Text { text, .. } | BlockKind::Refusal { text } = &block.kind {
                    let (begin, end) = (Text::from_escaped(OPERATOR_BEGIN), Text::from_escaped(OPERATOR_END));
                    self.json.open_object().key("text").texts(&[&begin, text, &end]).close_object();
                    self.report.extras(&block.extras);
                }
            }
            Piece::Call(block, id, signature) => return self.call(block, id, signature.as_ref()),
            Piece::Result(block, id, name) => return self.result(block, id, name),
            Piece::Attached(block, id) => {
                let label = format!("[tool result {id}]");
                part::words(&Text::from_plain(&label), false, None, &mut self.json);
                return self.block(block);
            }
            Piece::Block(block) => return self.block(block),
        }
        Ok(())
    }

    fn call(&mut self, block: &Block<'_>, id: &str, signature: Option<&Text<'_>>) -> Result<(), Refusal> {
        let BlockKind::ToolCall { name, arguments, flavor, .. } = &block.kind else { return Ok(()) };
        let Some(arguments) = part::arguments(arguments, *flavor) else {
            return Err(Refusal::at(block.at, why_no_object(arguments)));
        };
        part::call((id, &sent_name(name)), &arguments, signature, &mut self.json);
        self.report.unwritten(&block.extras);
        Ok(())
    }

    /// `{"functionResponse":{"id":…,"name":…,"response":{…},"parts":[…]}}`
    fn result(&mut self, block: &Block<'_>, id: &str, name: &str) -> Result<(), Refusal> {
        let BlockKind::ToolResult { content, is_error, .. } = &block.kind else { return Ok(()) };
        self.json.open_object().key("functionResponse").open_object();
        self.json.key("id").plain(id).key("name").plain(&sent_name(name)).key("response");
        let mut words: Vec<Text<'_>> = Vec::new();
        let mut media: Vec<&Block<'_>> = Vec::new();
        for inner in content {
            match &inner.kind {
                BlockKind::Text { text, citations } => {
                    self.uncited(citations, inner.at);
                    self.report.unwritten(&inner.extras);
                    words.push(text.by_ref());
                }
                BlockKind::Refusal { text } => words.push(text.by_ref()),
                BlockKind::SearchResult { raw } => words.push(self.found(raw, inner.at)),
                // A result's parts are media only.
                BlockKind::Document { source: Source::Blocks(blocks), .. } if self.rich_results => {
                    self.about(inner);
                    self.report.converted(Field::Document, inner.at, "a document of blocks is said as its parts");
                    for part in blocks {
                        match &part.kind {
                            BlockKind::Text { text, .. } => words.push(text.by_ref()),
                            BlockKind::Image { .. } => media.push(part),
                            _ => self.report.dropped(Field::Document, part.at, "a document holds no such block"),
                        }
                    }
                }
                kind if is_media(kind) => media.push(inner),
                _ => self.report.dropped(Field::ToolResult, inner.at, "a tool's result holds no such block"),
            }
            if inner.cache.is_some() {
                self.report.dropped(Field::CacheMark, inner.at, "what is cached cannot be marked");
            }
        }
        self.response(&words, *is_error);
        if !media.is_empty() && self.rich_results {
            self.json.key("parts").open_array();
            for inner in media {
                self.block(inner)?;
            }
            self.json.close_array();
        }
        self.report.extras(&block.extras);
        write_extras(self.own(&block.extras), &mut self.json);
        self.json.close_object().close_object();
        if !block.opaque.is_empty() {
            self.report.dropped(Field::OpaqueState, block.at, "a result has no slot for this state");
        }
        Ok(())
    }

    /// An object: what the tool said if that is one, else in the vendor's two fields.
    ///
    /// There is one field for all texts, so that a line's end tells them apart.
    fn response(&mut self, words: &[Text<'_>], is_error: Option<bool>) {
        if let ([only], false) = (words, is_error == Some(true)) {
            let plain = only.plain();
            if plain.trim_start().starts_with('{')
                && let Ok(object) = Json::parse(plain)
                && object.kind() == Kind::Object
            {
                self.json.json(&object);
                return;
            }
        }
        let key = if is_error == Some(true) { "error" } else { "output" };
        let line = Text::from_escaped("\\n");
        let lines: Vec<&Text<'_>> = words.iter().flat_map(|text| [&line, text]).skip(1).collect();
        self.json.open_object().key(key).texts(&lines).close_object();
    }

    /// A search result in words: no format but its own has a place for it.
    fn found<'j>(&mut self, raw: &'j Json<'_>, at: usize) -> Text<'j> {
        self.report.converted(Field::SearchResult, at, "a search result is given as the text of its JSON");
        Text::from_json(raw.as_str())
    }

    pub(super) fn uncited(&mut self, citations: &[Citation<'_>], at: usize) {
        if !citations.is_empty() {
            self.report.dropped(Field::Citations, at, "the words of a request cite nothing");
        }
    }

    /// Writes a block that is neither a call nor a result.
    fn block(&mut self, block: &Block<'_>) -> Result<(), Refusal> {
        match &block.kind {
            BlockKind::Text { text, citations } => {
                self.uncited(citations, block.at);
                self.json.open_object().key("text").text(text);
            }
            BlockKind::Refusal { text } => {
                self.report.converted(Field::Refusal, block.at, "words of refusal are a text part");
                self.json.open_object().key("text").text(text);
            }
            BlockKind::Thinking { text, .. } => {
                self.json.open_object().key("thought").bool(true).key("text").text(text);
            }
            BlockKind::Image { source, detail } => self.media(source, "image/jpeg", detail.as_deref(), block)?,
            BlockKind::Document { source, .. } => {
                self.about(block);
                match source {
                    Source::Blocks(blocks) => return self.inner(blocks, block.at),
                    _ => self.media(source, "application/pdf", None, block)?,
                }
            }
            BlockKind::Audio { source, format } => {
                self.media(source, &part::audio_type(format), None, block)?;
            }
            BlockKind::SearchResult { raw } => {
                let words = self.found(raw, block.at);
                self.json.open_object().key("text").text(&words);
            }
            BlockKind::ServerTool { raw, .. } | BlockKind::Reference { raw } | BlockKind::Unknown { raw, .. } => {
                // The provider refuses every name that it does not know.
                if self.report.is_own() {
                    self.json.json(raw);
                } else {
                    self.report.dropped(block.kind.class(), block.at, "a content has no place for this block");
                }
                return Ok(());
            }
            BlockKind::Redacted | BlockKind::ToolCall { .. } | BlockKind::ToolResult { .. } => return Ok(()),
        }
        self.end(block);
        Ok(())
    }

    /// Reports what is told of a document beside its contents.
    fn about(&mut self, block: &Block<'_>) {
        let BlockKind::Document { name, title, context, citations, .. } = &block.kind else { return };
        let named = name.is_some() && !self.report.is_own();
        if named || title.is_some() || context.is_some() || *citations == Some(true) {
            let reason = "a document has no name, no title, no context and no citations";
            self.report.dropped(Field::Document, block.at, reason);
        }
    }

    /// A document made of blocks: its words, one part each.
    fn inner(&mut self, blocks: &[Block<'_>], at: usize) -> Result<(), Refusal> {
        self.report.converted(Field::Document, at, "a document of blocks is said as its parts");
        for block in blocks {
            match &block.kind {
                BlockKind::Text { .. } | BlockKind::Image { .. } => self.block(block)?,
                _ => self.report.dropped(Field::Document, block.at, "a document holds no such block"),
            }
        }
        if blocks.is_empty() {
            part::words(&Text::from_escaped("(empty)"), false, None, &mut self.json);
        }
        Ok(())
    }

    /// Opens a part with the bytes, or with an address that the provider itself can read.
    fn media(
        &mut self,
        source: &Source<'_>,
        fallback: &str,
        detail: Option<&str>,
        block: &Block<'_>,
    ) -> Result<(), Refusal> {
        self.json.open_object();
        match source {
            Source::Base64 { media_type, data } => {
                let declared = if media_type.is_empty() { fallback } else { media_type };
                let found = self.media_type(declared, data, block);
                self.json.key("inlineData").open_object().key("mimeType").plain(&found).key("data").text(data);
                self.end_media(block);
            }
            Source::Text(text) => {
                self.report.converted(Field::Document, block.at, "a document of plain text is a text file");
                let data = media::encode_text(text);
                self.json.key("inlineData").open_object().key("mimeType").plain("text/plain").key("data").plain(&data);
                self.end_media(block);
            }
            Source::Url(uri) | Source::FileId(uri) if self.can_read(source) => {
                self.json.key("fileData").open_object().key("fileUri").text(uri);
                self.end_media(block);
            }
            Source::Url(_) => {
                let message = "this provider reads no address on the web; send the data itself";
                return Err(Refusal::at(block.at, message).with_code("unsupported_value"));
            }
            Source::FileId(_) => {
                let message = "a file id is known to the provider that stores the file only; send the data itself";
                return Err(Refusal::at(block.at, message).with_code("unsupported_value"));
            }
            Source::Blocks(_) => {
                return Err(Refusal::at(block.at, "media must be base64 data or a file"));
            }
        }
        self.detail(detail, block);
        Ok(())
    }

    /// Ends the object that holds the media.
    fn end_media(&mut self, block: &Block<'_>) {
        if let (true, BlockKind::Document { name: Some(name), .. }) = (self.report.is_own(), &block.kind) {
            self.json.key("displayName").text(name);
        }
        write_sub_extras(MEDIA, self.own(&block.extras), &mut self.json);
        self.json.close_object();
    }

    fn detail(&mut self, detail: Option<&str>, block: &Block<'_>) {
        let has_own = self.report.is_own() && block.extras.iter().any(|extra| extra.field == Field::ImageDetail);
        let level = match detail {
            Some("low") => "MEDIA_RESOLUTION_LOW",
            Some("high" | "original") => "MEDIA_RESOLUTION_HIGH",
            _ => return,
        };
        if !has_own {
            if !self.report.is_own() {
                self.report.converted(Field::ImageDetail, block.at, "how closely it is looked at is a resolution");
            }
            self.json.key("mediaResolution").open_object().key("level").plain(level).close_object();
        }
    }

    /// True for addresses that the provider reads: of its own store and cloud, and of the one video site that it knows.
    fn can_read(&self, source: &Source<'_>) -> bool {
        match source {
            Source::Url(uri) => {
                let plain = uri.plain();
                self.report.is_own() || is_stored(&plain) || is_video(&plain)
            }
            Source::FileId(_) => self.report.is_own(),
            Source::Base64 { .. } | Source::Text(_) | Source::Blocks(_) => false,
        }
    }

    /// The media type by the bytes; the provider refuses data whose declared type is another.
    fn media_type<'m>(&mut self, declared: &'m str, data: &Text<'_>, block: &Block<'_>) -> Cow<'m, str> {
        let declared = if declared.eq_ignore_ascii_case("image/jpg") { "image/jpeg" } else { declared };
        // Only images are told apart by their bytes there.
        if !declared.starts_with("image/") {
            return Cow::Borrowed(declared);
        }
        let found = media::effective(declared, data);
        if found != declared {
            self.report.converted(Field::Image, block.at, "the media type is declared as the bytes tell it");
        }
        found
    }

    /// Ends a part: its signature, its own fields, and reports of what it could not say.
    fn end(&mut self, block: &Block<'_>) {
        if let Some(value) = own_signature(block) {
            self.json.key("thoughtSignature").text(&value);
        }
        if block.opaque.iter().any(|opaque| !is_own(opaque)) {
            self.report.dropped(Field::OpaqueState, block.at, "only its maker can read this state");
        }
        write_extras(self.own(&block.extras), &mut self.json);
        self.report.extras(&block.extras);
        self.json.close_object();
    }

    fn own<'e, 'x>(&self, extras: &'e [Extra<'x>]) -> &'e [Extra<'x>] {
        if self.report.is_own() { extras } else { &[] }
    }
}
