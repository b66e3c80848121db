//! The parts of a message's `content` and of a result's `output`: words, images, files.

use std::borrow::Cow;

use super::item::{Content, annotations};
use super::wire::{OWN, keep, loose_text, placed, read_cache_mark};
use crate::format::told::beside_mark;
use crate::hub::media::{DataUrl, effective, type_of_name};
use crate::hub::{Block, BlockKind, CacheMark, Citation, Extra, Field, Refusal, Source};
use crate::json::{Cursor, JsonError, Kind, Text};

/// A content as blocks: a string is one block of words, and the empty string none.
pub(super) fn content(content: Option<Content<'_>>, at: usize) -> Result<Vec<Block<'_>>, Refusal> {
    let mut blocks = Vec::new();
    match content {
        Some(Content::Words(text)) if !text.is_empty() => blocks.push(Block::text(text, at)),
        Some(Content::Parts(mut list)) => list.array::<Refusal>(|_, value| {
            blocks.push(part(value)?);
            Ok(())
        })?,
        Some(Content::Words(_)) | None => {}
    }
    Ok(blocks)
}

/// What stands in a part, before its type is known to matter.
#[derive(Default)]
struct Part<'a> {
    kind: Cow<'a, str>,
    text: Option<Text<'a>>,
    refusal: Option<Text<'a>>,
    citations: Vec<Citation<'a>>,
    url: Option<Text<'a>>,
    file_id: Option<Text<'a>>,
    file_data: Option<Text<'a>>,
    filename: Option<Text<'a>>,
    detail: Option<Cow<'a, str>>,
    audio: Option<Cursor<'a>>,
    cache: Option<CacheMark>,
    extras: Vec<Extra<'a>>,
}

impl<'a> Part<'a> {
    fn field(&mut self, key: Cow<'a, str>, value: &mut Cursor<'a>) -> Result<(), JsonError> {
        match key.as_ref() {
            "type" => self.kind = value.string()?,
            "text" => self.text = loose_text(value)?,
            "refusal" => self.refusal = loose_text(value)?,
            "annotations" => self.citations = annotations(value)?,
            // Lists of none come back with every message.
            "logprobs" => {
                keep(&mut self.extras, Field::Logprobs, key, value)?;
                self.extras.retain(|extra| extra.field != Field::Logprobs || !extra.value.is_empty());
            }
            // A file part of the chat kind nests the same fields.
            "image_url" | "file_url" if value.peek()? == Kind::Object => {
                value.object::<JsonError>(|key, value| {
                    let key = if key == "url" { Cow::Borrowed("file_url") } else { key };
                    self.field(key, value)
                })?;
            }
            "image_url" | "file_url" => self.url = value.nullable(Cursor::text)?.or(self.url.take()),
            "file_id" => self.file_id = value.nullable(Cursor::text)?,
            "file_data" => self.file_data = value.nullable(Cursor::text)?,
            "filename" => self.filename = value.nullable(Cursor::text)?,
            "detail" => self.detail = value.nullable(Cursor::string)?,
            "input_audio" => self.audio = placed(value, Kind::Object)?,
            "prompt_cache_breakpoint" => {
                beside_mark(value, &mut self.extras)?;
                self.cache = read_cache_mark(value)?;
            }
            _ => keep(&mut self.extras, Field::Unknown, key, value)?,
        }
        Ok(())
    }
}

fn part<'a>(value: &mut Cursor<'a>) -> Result<Block<'a>, Refusal> {
    let (at, start) = (value.offset(), value.clone());
    if value.peek()? == Kind::String {
        return Ok(Block::text(value.text()?, at));
    }
    let mut part = Part::default();
    value.object::<JsonError>(|key, value| part.field(key, value))?;
    // A client's library may send the other field too, empty.
    let (text, refusal) = (part.text.take(), part.refusal.take());
    let said = if part.kind == "refusal" { refusal.or(text) } else { text.or(refusal) };
    let kind = match (part.kind.as_ref(), said) {
        ("input_text" | "output_text" | "text" | "summary_text" | "reasoning_text", Some(text)) => {
            BlockKind::Text { text, citations: std::mem::take(&mut part.citations) }
        }
        ("refusal", Some(text)) => BlockKind::Refusal { text },
        ("input_image", _) => image(&mut part, at)?,
        ("input_file", _) => file(&mut part, at)?,
        ("input_audio", _) => audio(&mut part, at)?,
        ("input_text" | "output_text" | "text" | "refusal", None) => {
            return Err(Refusal::at(at, format!("a part of type `{}` lacks its text", part.kind)));
        }
        _ => {
            part.extras.clear();
            BlockKind::Unknown { format: OWN, raw: start.clone().json()? }
        }
    };
    Ok(Block { cache: part.cache, extras: part.extras, ..Block::new(kind, at) })
}

fn image<'a>(part: &mut Part<'a>, at: usize) -> Result<BlockKind<'a>, Refusal> {
    let source = match (part.file_id.take(), part.url.take()) {
        (Some(id), _) => Source::FileId(id),
        (None, Some(url)) => linked(url, at)?,
        (None, None) => return Err(Refusal::at(at, "an image needs `image_url` or `file_id`")),
    };
    Ok(BlockKind::Image { source, detail: part.detail.take() })
}

/// A URL, or what a `data:` URL holds. The media type is told by the bytes.
fn linked(url: Text<'_>, at: usize) -> Result<Source<'_>, Refusal> {
    if let Some(data) = DataUrl::read(&url) {
        let declared = data.media_type.clone();
        let data = data.into_base64();
        let media_type = Cow::Owned(effective(&declared, &data).into_owned());
        return Ok(Source::Base64 { media_type, data });
    }
    if url.escaped().starts_with("data:") {
        return Err(Refusal::at(at, "the data: URL cannot be read"));
    }
    Ok(Source::Url(url))
}

fn file<'a>(part: &mut Part<'a>, at: usize) -> Result<BlockKind<'a>, Refusal> {
    let name = part.filename.take();
    let source = match (part.file_id.take(), part.file_data.take(), part.url.take()) {
        (Some(id), ..) => Source::FileId(id),
        (None, Some(data), _) => document(data, name.as_ref()),
        (None, None, Some(url)) => linked(url, at)?,
        (None, None, None) => return Err(Refusal::at(at, "a file needs `file_data`, `file_url` or `file_id`")),
    };
    if let Some(detail) = part.detail.take() {
        let value = crate::json::Json::from_valid(format!("\"{}\"", Text::from_plain(&detail).escaped()));
        part.extras.push(Extra { field: Field::Document, key: Cow::Borrowed("detail"), value, at });
    }
    Ok(BlockKind::Document { source, name, title: None, context: None, citations: None })
}

/// The bytes of a file: a `data:` URL, or bare base64 whose type the name or the bytes tell. Plain text is text.
fn document<'a>(data: Text<'a>, name: Option<&Text<'a>>) -> Source<'a> {
    let by_name = name.and_then(|name| type_of_name(&name.plain()));
    let Some(url) = DataUrl::read(&data) else {
        let media_type = effective(by_name.unwrap_or("application/pdf"), &data).into_owned();
        return Source::Base64 { media_type: Cow::Owned(media_type), data };
    };
    if url.media_type.starts_with("text/")
        && let Some(text) = url.text()
    {
        return Source::Text(text);
    }
    let declared = url.media_type.clone();
    let data = url.into_base64();
    let media_type = Cow::Owned(effective(&declared, &data).into_owned());
    Source::Base64 { media_type, data }
}

fn audio<'a>(part: &mut Part<'a>, at: usize) -> Result<BlockKind<'a>, Refusal> {
    let (mut data, mut format) = (None, Cow::Borrowed("wav"));
    if let Some(mut value) = part.audio.take() {
        value.object::<JsonError>(|key, value| {
            match key.as_ref() {
                "data" => data = Some(value.text()?),
                "format" => format = value.string()?,
                _ => keep(&mut part.extras, Field::Audio, key, value)?,
            }
            Ok(())
        })?;
    }
    let data = data.ok_or_else(|| Refusal::at(at, "sound needs `data`"))?;
    let media_type = Cow::Owned(format!("audio/{format}"));
    Ok(BlockKind::Audio { source: Source::Base64 { media_type, data }, format })
}
