//! The parts of a message's `content`, written.

use super::marks::Marks;
use super::report::Report;
use super::wire::OWN;
use crate::hub::media::{decode_text, effective, is_words, name_of_type};
use crate::hub::{Block, BlockKind, Field, Refusal, Source};
use crate::json::{Text, Writer};

/// Writes blocks as `content`: a string where that says everything, else a list of parts.
pub(super) fn content(
    blocks: &[&Block<'_>],
    marks: &mut Marks,
    report: &mut Report<'_>,
    w: &mut Writer<'_>,
) -> Result<(), Refusal> {
    if let [block] = blocks
        && let Some(text) = words_alone(block, marks, report)
    {
        // It stays behind, and is told.
        marks.next(block.cache, block.at, report);
        report.extras(&block.extras);
        w.text(text);
        return Ok(());
    }
    w.open_array();
    parts(blocks, marks, report, w)?;
    w.close_array();
    Ok(())
}

/// The words of a block of which nothing else is written. A mark that stays behind must not show in the form: it moves on
/// with each turn, and the same message would be another one then.
fn words_alone<'b>(block: &'b Block<'_>, marks: &Marks, report: &Report<'_>) -> Option<&'b Text<'b>> {
    let BlockKind::Text { text, citations } = &block.kind else { return None };
    let is_marked = block.cache.is_some() && marks.stands();
    let has_more = report.is_own() && block.extras.iter().any(|extra| extra.field != Field::CacheMark);
    (!is_marked && !has_more && citations.is_empty()).then_some(text)
}

/// Writes blocks as parts of a list that is open.
pub(super) fn parts(
    blocks: &[&Block<'_>],
    marks: &mut Marks,
    report: &mut Report<'_>,
    w: &mut Writer<'_>,
) -> Result<(), Refusal> {
    blocks.iter().try_for_each(|block| part(block, marks, report, w))
}

fn part(block: &Block<'_>, marks: &mut Marks, report: &mut Report<'_>, w: &mut Writer<'_>) -> Result<(), Refusal> {
    let mut images: Vec<&Block<'_>> = Vec::new();
    match &block.kind {
        BlockKind::Text { text, citations } => {
            w.open_object().key("type").plain("text").key("text").text(text);
            if !citations.is_empty() {
                report.dropped(Field::Citations, block.at, "a part carries no sources");
            }
        }
        BlockKind::Image { source, detail } => {
            w.open_object().key("type").plain("image_url").key("image_url").open_object().key("url");
            image(source, block.at, w)?;
            if let Some(detail) = detail {
                w.key("detail").plain(detail);
            }
            w.close_object();
        }
        BlockKind::Audio { source: Source::Base64 { data, .. }, format } if has_place(&block.kind, report.is_own()) => {
            w.open_object().key("type").plain("input_audio").key("input_audio").open_object();
            w.key("data").text(data).key("format").plain(format).close_object();
        }
        BlockKind::Document { source, name: None, title: None, context: None, .. } if source.is_images() => {
            report.converted(Field::Document, block.at, "a document of images is given as images");
            let images = behind(source, report);
            return parts(&images, marks, report, w);
        }
        BlockKind::Document { source, name, title, context, citations } => {
            if *citations == Some(true) {
                report.dropped(Field::Citations, block.at, "the answer cannot be made to cite the document");
            }
            let around = Around { name: name.as_ref(), title: title.as_ref(), context: context.as_ref() };
            document(source, &around, block.at, report, w)?;
            images = behind(source, report);
        }
        BlockKind::Unknown { raw, .. } if has_place(&block.kind, report.is_own()) => {
            w.json(raw);
            return Ok(());
        }
        BlockKind::SearchResult { raw } => {
            report.converted(Field::SearchResult, block.at, "a search result is given as the text of its JSON");
            w.open_object().key("type").plain("text").key("text").json_as_string(raw);
        }
        _ => {
            without_place(block, report);
            return Ok(());
        }
    }
    if let Some(mark) = marks.next(block.cache, block.at, report) {
        marks.write(mark, block.at, report, w);
    }
    if report.is_own() {
        for extra in block.extras.iter().filter(|extra| extra.field != Field::CacheMark) {
            w.key(Text::from_plain(&extra.key).escaped()).json(&extra.value);
        }
    }
    report.extras(&block.extras);
    w.close_object();
    parts(&images, marks, report, w)
}

/// The images of a document of blocks, which stand behind its words; what else there is has no place.
fn behind<'b>(source: &'b Source<'b>, report: &mut Report<'_>) -> Vec<&'b Block<'b>> {
    let Source::Blocks(blocks) = source else { return Vec::new() };
    let beside = blocks.iter().filter(|block| !matches!(block.kind, BlockKind::Text { .. }));
    let (images, rest): (Vec<_>, Vec<_>) = beside.partition(|block| matches!(block.kind, BlockKind::Image { .. }));
    for block in rest {
        without_place(block, report);
    }
    images
}

/// True for a block that can be a part of a user's or operator's message; `own` if a client of this format sent it, whose
/// server may know more kinds of sound than the vendor's two.
///
/// Source: `ChatCompletionContentPartInputAudioParam` of openai-python 3.52.
pub(super) fn has_place(kind: &BlockKind<'_>, own: bool) -> bool {
    match kind {
        BlockKind::Text { .. }
        | BlockKind::Image { .. }
        | BlockKind::Document { .. }
        | BlockKind::SearchResult { .. } => true,
        BlockKind::Audio { source, format } => {
            matches!(source, Source::Base64 { .. }) && (own || matches!(format.as_ref(), "wav" | "mp3"))
        }
        BlockKind::Unknown { format, .. } => *format == OWN,
        BlockKind::Refusal { .. }
        | BlockKind::Thinking { .. }
        | BlockKind::Redacted
        | BlockKind::ToolCall { .. }
        | BlockKind::ToolResult { .. }
        | BlockKind::ServerTool { .. }
        | BlockKind::Reference { .. } => false,
    }
}

/// True for a block that can be a part of an operator's message: words. Media are refused there, but a client of this
/// format (`own`) knows what its server takes.
pub(super) fn operator_says(block: &Block<'_>, own: bool) -> bool {
    if own { has_place(&block.kind, true) } else { is_spoken(block) }
}

/// Reports a block that can be no part.
pub(super) fn without_place(block: &Block<'_>, report: &mut Report<'_>) {
    report.dropped(block.kind.class(), block.at, "a chat message has no place for this block");
}

fn image(source: &Source<'_>, at: usize, w: &mut Writer<'_>) -> Result<(), Refusal> {
    match source {
        Source::Base64 { media_type, data } => {
            let head = format!("data:{};base64,", effective(media_type, data));
            w.texts(&[&Text::from_plain(&head), data]);
        }
        Source::Url(url) => {
            w.text(url);
        }
        Source::FileId(_) | Source::Text(_) | Source::Blocks(_) => {
            let message = "an image in another provider's file store cannot be read here: send it as base64 or URL";
            return Err(Refusal::at(at, message).with_code("unsupported_source"));
        }
    }
    Ok(())
}

/// What is told of a document beside its contents.
struct Around<'r> {
    name: Option<&'r Text<'r>>,
    title: Option<&'r Text<'r>>,
    context: Option<&'r Text<'r>>,
}

fn document(
    source: &Source<'_>,
    around: &Around<'_>,
    at: usize,
    report: &mut Report<'_>,
    w: &mut Writer<'_>,
) -> Result<(), Refusal> {
    match source {
        Source::Base64 { media_type, data } => {
            let media_type = effective(media_type, data);
            if let Some(words) = words_of(&media_type, data, report) {
                report.converted(Field::Document, at, "a text document is given as text");
                inline(&[&words], around, w);
                return Ok(());
            }
            let head = format!("data:{media_type};base64,");
            let unnamed = Text::from_plain(name_of_type(&media_type));
            let name = around.name.or(around.title).unwrap_or(&unnamed);
            w.open_object().key("type").plain("file").key("file").open_object().key("filename").text(name);
            w.key("file_data").texts(&[&Text::from_plain(&head), data]).close_object();
            if around.context.is_some() {
                report.dropped(Field::Document, at, "a file carries no context");
            }
        }
        Source::FileId(id) if report.is_own() => {
            w.open_object().key("type").plain("file").key("file").open_object().key("file_id").text(id).close_object();
        }
        Source::Url(url) if report.is_own() => {
            w.open_object().key("type").plain("file").key("file").open_object();
            if let Some(name) = around.name {
                w.key("filename").text(name);
            }
            w.key("file_data").text(url).close_object();
        }
        Source::Text(text) => {
            report.converted(Field::Document, at, "a text document is given as text");
            inline(&[text], around, w);
        }
        Source::Blocks(blocks) => {
            report.converted(Field::Document, at, "a document of blocks is given as text");
            let words = blocks.iter().filter_map(|block| match &block.kind {
                BlockKind::Text { text, .. } => Some(text),
                _ => None,
            });
            inline(&words.collect::<Vec<_>>(), around, w);
        }
        Source::FileId(_) | Source::Url(_) => {
            let message = "the provider reads documents neither by URL nor from another's file store: send base64";
            return Err(Refusal::at(at, message).with_code("unsupported_source"));
        }
    }
    Ok(())
}

/// The words of a file of text from another format: the vendor's files are such as are laid out in pages.
fn words_of(media_type: &str, data: &Text<'_>, report: &Report<'_>) -> Option<Text<'static>> {
    if report.is_own() || !is_words(media_type) { None } else { decode_text(data) }
}

fn inline(words: &[&Text<'_>], around: &Around<'_>, w: &mut Writer<'_>) {
    let lines = lines(words, around);
    w.open_object().key("type").plain("text").key("text").texts(&lines.iter().collect::<Vec<_>>());
}

/// What is told of a document, and its words.
fn lines<'r>(words: &[&'r Text<'r>], around: &Around<'r>) -> Vec<Text<'r>> {
    let line = || Text::from_escaped("\\n");
    let mut pieces = Vec::new();
    for head in [around.title.or(around.name), around.context].into_iter().flatten() {
        pieces.extend([head.by_ref(), line()]);
    }
    for (index, text) in words.iter().enumerate() {
        if index > 0 {
            pieces.push(line());
        }
        pieces.push(text.by_ref());
    }
    pieces
}

/// True for a part of a tool's result that is words, which a tool message can hold.
pub(super) fn is_spoken(block: &Block<'_>) -> bool {
    let is_text = |block: &Block<'_>| matches!(block.kind, BlockKind::Text { .. });
    match &block.kind {
        BlockKind::Text { .. } | BlockKind::SearchResult { .. } => true,
        BlockKind::Document { source: Source::Blocks(blocks), .. } => blocks.iter().all(is_text),
        BlockKind::Document { source, .. } => matches!(source, Source::Text(_)),
        _ => false,
    }
}

/// The words of such a part.
pub(super) fn spoken<'b>(block: &'b Block<'b>, report: &mut Report<'_>) -> Vec<Text<'b>> {
    match &block.kind {
        BlockKind::Text { text, citations } => {
            if !citations.is_empty() {
                report.dropped(Field::Citations, block.at, "a tool's words carry no sources");
            }
            vec![text.by_ref()]
        }
        BlockKind::SearchResult { raw } => {
            report.converted(Field::SearchResult, block.at, "a search result is given as the text of its JSON");
            vec![Text::from_json(raw.as_str())]
        }
        BlockKind::Document { source, name, title, context, citations } => {
            if *citations == Some(true) {
                report.dropped(Field::Citations, block.at, "the answer cannot be made to cite the document");
            }
            report.converted(Field::Document, block.at, "a text document is given as text");
            let text = |block: &'b Block<'b>| match &block.kind {
                BlockKind::Text { text, .. } => Some(text),
                _ => None,
            };
            let words: Vec<&Text<'_>> = match source {
                Source::Text(text) => vec![text],
                Source::Blocks(blocks) => blocks.iter().filter_map(text).collect(),
                Source::Base64 { .. } | Source::Url(_) | Source::FileId(_) => Vec::new(),
            };
            lines(&words, &Around { name: name.as_ref(), title: title.as_ref(), context: context.as_ref() })
        }
        _ => Vec::new(),
    }
}

/// Media that tool results brought, written already: they stand in the user message behind the results.
#[derive(Debug, Default)]
pub(super) struct Parts {
    json: Vec<u8>,
    count: usize,
}

impl Parts {
    /// True when there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Adds what result `id` brought, behind a line that says so.
    pub(super) fn add(
        &mut self,
        id: &str,
        block: &Block<'_>,
        marks: &mut Marks,
        report: &mut Report<'_>,
    ) -> Result<(), Refusal> {
        self.count += 1;
        let mut out = Vec::new();
        let mut w = Writer::new(&mut out);
        w.open_array();
        w.open_object().key("type").plain("text").key("text");
        w.plain(&format!("[tool result {id} attachment {}]", self.count)).close_object();
        part(block, marks, report, &mut w)?;
        w.close_array();
        // Without its brackets the list goes on in another.
        let inner = out.get(1..out.len().saturating_sub(1)).unwrap_or_default();
        if !self.json.is_empty() {
            self.json.push(b',');
        }
        self.json.extend_from_slice(inner);
        Ok(())
    }

    /// Writes all of them into a list that is open.
    pub(super) fn write(&self, w: &mut Writer<'_>) {
        if let (false, Ok(json)) = (self.json.is_empty(), std::str::from_utf8(&self.json)) {
            w.verbatim(json);
        }
    }
}
