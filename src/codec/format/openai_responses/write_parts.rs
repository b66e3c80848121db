//! The parts of a message's `content` and of a result's `output`, written.

use super::report::Report;
use super::wire::OWN;
use crate::format::Facts;
use crate::hub::media::{effective, encode_text, name_of_type};
use crate::hub::{Block, BlockKind, CacheMark, Field, Refusal, Source};
use crate::json::{Text, Writer};

/// What becomes of a mark that is not said, because it changes nothing.
pub(super) const CACHES_ITSELF: &str = "the provider caches prompts by itself";

/// Writes blocks as `content`: a string where that says everything, else a list of parts.
pub(super) fn content(
    blocks: &[&Block<'_>],
    facts: &Facts,
    report: &mut Report<'_>,
    w: &mut Writer<'_>,
) -> Result<(), Refusal> {
    if let [block] = blocks
        && let Some(text) = words_alone(block, facts, report)
    {
        unmarked(block, report);
        w.text(text);
        return Ok(());
    }
    w.open_array();
    for block in blocks {
        part(block, facts, report, w)?;
    }
    w.close_array();
    Ok(())
}

/// The words of a block of which nothing else is written. A mark that stays behind must not show in the form: it moves on
/// with each turn, and the same message would be another one then.
pub(super) fn words_alone<'b>(block: &'b Block<'_>, facts: &Facts, report: &Report<'_>) -> Option<&'b Text<'b>> {
    let BlockKind::Text { text, citations } = &block.kind else { return None };
    let is_marked = block.cache.is_some() && facts.cache_breakpoints;
    let has_more = report.is_own() && block.extras.iter().any(|extra| extra.field != Field::CacheMark);
    (!is_marked && !has_more && citations.is_empty()).then_some(text)
}

/// Reports what stays behind of such a block.
pub(super) fn unmarked(block: &Block<'_>, report: &mut Report<'_>) {
    if block.cache.is_some() {
        report.converted(Field::CacheMark, block.at, CACHES_ITSELF);
    }
    report.extras(&block.extras);
}

fn part(block: &Block<'_>, facts: &Facts, report: &mut Report<'_>, w: &mut Writer<'_>) -> Result<(), Refusal> {
    let mut images: Vec<&Block<'_>> = Vec::new();
    match &block.kind {
        BlockKind::Text { text, citations } => {
            w.open_object().key("type").plain("input_text").key("text").text(text);
            if !citations.is_empty() {
                report.dropped(Field::Citations, block.at, "a part carries no sources");
            }
        }
        BlockKind::Refusal { text } => {
            w.open_object().key("type").plain("input_text").key("text").text(text);
            report.converted(Field::Refusal, block.at, "words of refusal are given as text");
        }
        BlockKind::Image { source, detail } => {
            w.open_object().key("type").plain("input_image");
            image(source, block.at, report, w)?;
            w.key("detail").plain(detail.as_deref().unwrap_or("auto"));
        }
        BlockKind::Document { source, name: None, title: None, .. } if source.is_images() => {
            report.converted(Field::Document, block.at, "a document of images is given as images");
            return behind(source, report).into_iter().try_for_each(|image| part(image, facts, report, w));
        }
        BlockKind::Document { source, name, title, context, citations } => {
            if *citations == Some(true) {
                report.dropped(Field::Citations, block.at, "the answer cannot be made to cite the document");
            }
            if context.is_some() {
                report.dropped(Field::Document, block.at, "a file carries no context");
            }
            let by_address = matches!(source, Source::Url(_) | Source::FileId(_));
            if by_address && (title.is_some() || name.is_some() && !report.is_own()) {
                report.dropped(Field::Document, block.at, "a file by its address carries no name and no title");
            }
            let name = name.as_ref().or(title.as_ref());
            document(source, name, block.at, report, w)?;
            images = behind(source, report);
        }
        BlockKind::Unknown { raw, .. } if has_place(&block.kind) => {
            w.json(raw);
            return Ok(());
        }
        BlockKind::SearchResult { raw } => {
            report.converted(Field::SearchResult, block.at, "a search result is given as the text of its JSON");
            w.open_object().key("type").plain("input_text").key("text").json_as_string(raw);
        }
        _ => {
            without_place(block, report);
            return Ok(());
        }
    }
    mark(block.cache, block.at, facts, report, w);
    if report.is_own() {
        for extra in block.extras.iter().filter(|extra| extra.field != Field::CacheMark) {
            w.key(Text::from_plain(&extra.key).escaped()).json(&extra.value);
        }
    }
    report.extras(&block.extras);
    w.close_object();
    images.into_iter().try_for_each(|image| part(image, facts, report, w))
}

/// The images of a document of blocks, which stand behind the file of its words; what else there is has no place.
fn behind<'b>(source: &'b Source<'b>, report: &mut Report<'_>) -> Vec<&'b Block<'b>> {
    let Source::Blocks(blocks) = source else { return Vec::new() };
    let beside = blocks.iter().filter(|block| !matches!(block.kind, BlockKind::Text { .. }));
    let (images, rest): (Vec<_>, Vec<_>) = beside.partition(|block| matches!(block.kind, BlockKind::Image { .. }));
    for block in rest {
        without_place(block, report);
    }
    images
}

/// True for a block that can be a part of a user's or operator's message, or of a result.
pub(super) fn has_place(kind: &BlockKind<'_>) -> bool {
    match kind {
        BlockKind::Text { .. }
        | BlockKind::Refusal { .. }
        | BlockKind::Image { .. }
        | BlockKind::Document { .. }
        | BlockKind::SearchResult { .. } => true,
        BlockKind::Unknown { format, .. } => *format == OWN,
        BlockKind::Thinking { .. }
        | BlockKind::Redacted
        | BlockKind::Audio { .. }
        | BlockKind::ToolCall { .. }
        | BlockKind::ToolResult { .. }
        | BlockKind::ServerTool { .. }
        | BlockKind::Reference { .. } => false,
    }
}

/// Reports a block that can be no part.
pub(super) fn without_place(block: &Block<'_>, report: &mut Report<'_>) {
    report.dropped(block.kind.class(), block.at, "a message of this API has no place for this block");
}

fn image(source: &Source<'_>, at: usize, report: &Report<'_>, w: &mut Writer<'_>) -> Result<(), Refusal> {
    match source {
        Source::Base64 { media_type, data } => {
            let head = format!("data:{};base64,", effective(media_type, data));
            w.key("image_url").texts(&[&Text::from_plain(&head), data]);
        }
        Source::Url(url) => {
            w.key("image_url").text(url);
        }
        Source::FileId(id) if report.is_own() => {
            w.key("file_id").text(id);
        }
        Source::FileId(_) | Source::Text(_) | Source::Blocks(_) => {
            let message = "an image in another provider's file store cannot be read here: send it as base64 or URL";
            return Err(Refusal::at(at, message).with_code("unsupported_source"));
        }
    }
    Ok(())
}

fn document(
    source: &Source<'_>,
    name: Option<&Text<'_>>,
    at: usize,
    report: &mut Report<'_>,
    w: &mut Writer<'_>,
) -> Result<(), Refusal> {
    if !report.is_own() && matches!(source, Source::Text(_) | Source::Blocks(_)) {
        report.converted(Field::Document, at, "a text document is sent as a file");
    }
    w.open_object().key("type").plain("input_file");
    let named = |unnamed: &'static str| name.cloned().unwrap_or(Text::from_escaped(unnamed));
    match source {
        Source::Base64 { media_type, data } => {
            let media_type = effective(media_type, data);
            let head = format!("data:{media_type};base64,");
            w.key("filename").text(&named(name_of_type(&media_type)));
            w.key("file_data").texts(&[&Text::from_plain(&head), data]);
        }
        Source::Url(url) => {
            w.key("file_url").text(url);
            own_name(name, report, w);
        }
        Source::FileId(id) if report.is_own() => {
            w.key("file_id").text(id);
            own_name(name, report, w);
        }
        Source::Text(text) => plain(&named("document.txt"), &encode_text(text), w),
        Source::Blocks(blocks) => {
            let mut words = Text::EMPTY.into_owned();
            for block in blocks {
                if let BlockKind::Text { text, .. } = &block.kind {
                    if !words.is_empty() {
                        words.push(&Text::from_escaped("\\n"));
                    }
                    words.push(text);
                }
            }
            plain(&named("document.txt"), &encode_text(&words), w);
        }
        Source::FileId(_) => {
            let message = "a document in another provider's file store cannot be read here: send it as base64 or URL";
            return Err(Refusal::at(at, message).with_code("unsupported_source"));
        }
    }
    Ok(())
}

/// The name of a file by its address, which only a client of this format can know to be taken.
fn own_name(name: Option<&Text<'_>>, report: &Report<'_>, w: &mut Writer<'_>) {
    if let Some(name) = name.filter(|_| report.is_own()) {
        w.key("filename").text(name);
    }
}

fn plain(name: &Text<'_>, base64: &str, w: &mut Writer<'_>) {
    w.key("filename").text(name);
    w.key("file_data").plain(&format!("data:text/plain;base64,{base64}"));
}

/// The vendor's newest models take breakpoints; all cache by themselves.
fn mark(cache: Option<CacheMark>, at: usize, facts: &Facts, report: &mut Report<'_>, w: &mut Writer<'_>) {
    let Some(mark) = cache else { return };
    if !facts.cache_breakpoints {
        return report.converted(Field::CacheMark, at, CACHES_ITSELF);
    }
    w.key("prompt_cache_breakpoint").open_object().key("mode").plain("explicit");
    if let Some(ttl) = mark.ttl_s {
        w.key("ttl").plain(if ttl > 1800 { "12h" } else { "30m" });
        if !matches!(ttl, 1800 | 43_200) {
            report.converted(Field::CacheMark, at, "a breakpoint lasts half an hour or half a day");
        }
    }
    w.close_object();
}
