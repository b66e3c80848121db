//! The parts of a message's `content`: words, images, sound, files.

use std::borrow::Cow;

use super::answer::Said;
use super::wire::{keep, loose_text, read_cache_mark};
use crate::Format;
use crate::format::told::beside_mark;
use crate::hub::media::{DataUrl, effective, type_of_name};
use crate::hub::{Block, BlockKind, CacheMark, Extra, Field, Refusal, Source};
use crate::json::{Cursor, JsonError, Kind, Text};

/// Everything of a message's content.
pub(super) fn content<'a>(said: &Said<'a>, at: usize) -> Result<Vec<Block<'a>>, Refusal> {
    words(said, at)
}

/// The content as blocks; empty words are none.
pub(super) fn words<'a>(said: &Said<'a>, at: usize) -> Result<Vec<Block<'a>>, Refusal> {
    let at = if said.content_at == 0 { at } else { said.content_at };
    if let Some(text) = &said.text {
        return Ok(vec![Block::text(text.clone(), at)]);
    }
    let mut blocks = Vec::new();
    if let Some(mut parts) = said.parts.clone() {
        if parts.peek()? == Kind::Object {
            return Ok(vec![part(&mut parts)?]);
        }
        parts.array::<Refusal>(|_, value| {
            blocks.push(part(value)?);
            Ok(())
        })?;
    }
    Ok(blocks)
}

/// What stands in a part, before its type is known to matter.
#[derive(Default)]
struct Part<'a> {
    kind: Cow<'a, str>,
    text: Option<Text<'a>>,
    refusal: Option<Text<'a>>,
    /// The value under the part's own name: `image_url`, `input_audio`, `file`.
    inner: Option<Cursor<'a>>,
    cache: Option<CacheMark>,
    extras: Vec<Extra<'a>>,
}

fn part<'a>(value: &mut Cursor<'a>) -> Result<Block<'a>, Refusal> {
    let (at, start) = (value.offset(), value.clone());
    if value.peek()? == Kind::String {
        return Ok(Block::text(value.text()?, at));
    }
    let mut part = Part::default();
    value.object::<JsonError>(|key, value| {
        match key.as_ref() {
            "type" => part.kind = value.string()?,
            "text" => part.text = loose_text(value)?,
            "refusal" => part.refusal = loose_text(value)?,
            "image_url" | "input_audio" | "file" => {
                part.inner = Some(value.clone());
                value.skip()?;
            }
            "prompt_cache_breakpoint" | "cache_control" => {
                beside_mark(value, &mut part.extras)?;
                part.cache = read_cache_mark(value)?;
            }
            _ => keep(&mut part.extras, Field::Unknown, key, value)?,
        }
        Ok(())
    })?;
    let Part { kind, text, refusal, inner, cache, mut extras } = part;
    // A client's library may send the other field too, empty.
    let said = if kind == "refusal" { refusal.or(text) } else { text.or(refusal) };
    let kind = match (kind.as_ref(), said, inner) {
        ("text" | "input_text" | "output_text", Some(text), _) => BlockKind::Text { text, citations: Vec::new() },
        ("refusal", Some(text), _) => BlockKind::Refusal { text },
        ("image_url", _, Some(mut inner)) => image(&mut inner, &mut extras)?,
        ("input_audio", _, Some(mut inner)) => audio(&mut inner, &mut extras)?,
        ("file", _, Some(mut inner)) => file(&mut inner, &mut extras)?,
        ("text" | "image_url" | "input_audio" | "file" | "refusal", _, _) => {
            return Err(Refusal::at(at, format!("a part of type `{kind}` lacks its content")));
        }
        _ => {
            extras.clear();
            BlockKind::Unknown { format: Format::OpenaiChat, raw: start.clone().json()? }
        }
    };
    Ok(Block { cache, extras, ..Block::new(kind, at) })
}

fn image<'a>(value: &mut Cursor<'a>, extras: &mut Vec<Extra<'a>>) -> Result<BlockKind<'a>, Refusal> {
    let at = value.offset();
    let (mut url, mut detail) = (None, None);
    if value.peek()? == Kind::String {
        url = Some(value.text()?);
    } else {
        value.object::<JsonError>(|key, value| {
            match key.as_ref() {
                "url" => url = Some(value.text()?),
                "detail" => detail = value.nullable(Cursor::string)?,
                _ => keep(extras, Field::Image, key, value)?,
            }
            Ok(())
        })?;
    }
    let url = url.ok_or_else(|| Refusal::at(at, "an image needs `url`"))?;
    Ok(BlockKind::Image { source: source(url, at)?, detail })
}

/// A URL, or what a `data:` URL holds. The media type is told by the bytes.
fn source(url: Text<'_>, at: usize) -> Result<Source<'_>, Refusal> {
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

fn audio<'a>(value: &mut Cursor<'a>, extras: &mut Vec<Extra<'a>>) -> Result<BlockKind<'a>, Refusal> {
    let at = value.offset();
    let (mut data, mut format) = (None, Cow::Borrowed("wav"));
    value.object::<JsonError>(|key, value| {
        match key.as_ref() {
            "data" => data = Some(value.text()?),
            "format" => format = value.string()?,
            _ => keep(extras, Field::Audio, key, value)?,
        }
        Ok(())
    })?;
    let data = data.ok_or_else(|| Refusal::at(at, "sound needs `data`"))?;
    let media_type = Cow::Owned(format!("audio/{format}"));
    Ok(BlockKind::Audio { source: Source::Base64 { media_type, data }, format })
}

fn file<'a>(value: &mut Cursor<'a>, extras: &mut Vec<Extra<'a>>) -> Result<BlockKind<'a>, Refusal> {
    let at = value.offset();
    let (mut id, mut data, mut name) = (None, None, None);
    value.object::<JsonError>(|key, value| {
        match key.as_ref() {
            "file_id" => id = value.nullable(Cursor::text)?,
            "file_data" => data = value.nullable(Cursor::text)?,
            "filename" => name = value.nullable(Cursor::text)?,
            _ => keep(extras, Field::Document, key, value)?,
        }
        Ok(())
    })?;
    let source = match (id, data) {
        (Some(id), _) => Source::FileId(id),
        (None, Some(data)) => document(data, name.as_ref()),
        (None, None) => return Err(Refusal::at(at, "a file needs `file_id` or `file_data`")),
    };
    Ok(BlockKind::Document { source, name, title: None, context: None, citations: None })
}

/// The bytes of a file: a `data:` URL, or bare base64 whose type the name or the bytes tell. Plain text is text. Some
/// routers take a web address in its place (<https://openrouter.ai/docs/features/multimodal/pdfs>).
fn document<'a>(data: Text<'a>, name: Option<&Text<'a>>) -> Source<'a> {
    let begins =
        |scheme: &str| data.escaped().get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme));
    // No base64 holds a colon, so nothing that is one is taken for an address.
    if ["http:", "https:"].into_iter().any(begins) {
        return Source::Url(data);
    }
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
