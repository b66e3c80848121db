//! Media of a part, read.

use std::borrow::Cow;

use super::wire::{MEDIA, OWN, fields, keep, loose_text, standard_base64};
use crate::hub::{BlockKind, Extra, Field, Source};
use crate::json::{Cursor, Json, JsonError, Text};

/// How the members that the hub has no place for are kept: what type a file is of, and how media are called.
const MIME_TYPE: &str = "media.mimeType";
const NAME: &str = "media.displayName";
/// Resolutions that are details elsewhere.
const LEVELS: [(&str, &str); 2] = [("MEDIA_RESOLUTION_LOW", "low"), ("MEDIA_RESOLUTION_HIGH", "high")];

/// `{"mimeType":…,"data":…}`
pub(super) fn read_inline<'a>(value: &mut Cursor<'a>, extras: &mut Vec<Extra<'a>>) -> Result<BlockKind<'a>, JsonError> {
    let (mut media_type, mut data, mut name) = (None, None, None);
    fields::<JsonError>(value, |key, own, value| {
        match key {
            "mimeType" => media_type = loose_text(value)?.map(Text::into_plain),
            "data" => data = loose_text(value)?,
            "displayName" => name = read_name(value)?,
            _ => keep(extras, Field::Unknown, inside(&own), value)?,
        }
        Ok(())
    })?;
    let Some(data) = data else { return Ok(unknown()) };
    let media_type = media_type.unwrap_or_default();
    let source = Source::Base64 { media_type: media_type.clone(), data: standard_base64(data) };
    Ok(block(&media_type, source, name, extras))
}

/// `{"mimeType":…,"fileUri":…}`
pub(super) fn read_file<'a>(value: &mut Cursor<'a>, extras: &mut Vec<Extra<'a>>) -> Result<BlockKind<'a>, JsonError> {
    let (mut media_type, mut uri, mut name) = (None, None, None);
    fields::<JsonError>(value, |key, own, value| {
        match key {
            "mimeType" => {
                // The hub's sources behind a link have no media type.
                keep(extras, Field::Document, Cow::Borrowed(MIME_TYPE), &mut value.clone())?;
                media_type = loose_text(value)?.map(Text::into_plain);
            }
            "fileUri" => uri = loose_text(value)?,
            "displayName" => name = read_name(value)?,
            _ => keep(extras, Field::Unknown, inside(&own), value)?,
        }
        Ok(())
    })?;
    let Some(uri) = uri else { return Ok(unknown()) };
    if media_type.is_none() && is_video(&uri.plain()) {
        return Ok(unknown());
    }
    let source = if is_stored(uri.escaped()) { Source::FileId(uri) } else { Source::Url(uri) };
    Ok(block(&media_type.unwrap_or_default(), source, name, extras))
}

/// The key, as it is kept, of a member of the object that holds the media.
fn inside(key: &str) -> Cow<'static, str> {
    format!("{MEDIA}{key}").into()
}

fn read_name<'a>(value: &mut Cursor<'a>) -> Result<Option<(Text<'a>, Extra<'a>)>, JsonError> {
    let mut kept = Vec::with_capacity(1);
    keep(&mut kept, Field::Unknown, Cow::Borrowed(NAME), &mut value.clone())?;
    Ok(loose_text(value)?.zip(kept.pop()))
}

/// True for addresses that only the vendor can read: its file store, its cloud's buckets.
pub(super) fn is_stored(uri: &str) -> bool {
    let plain = uri.replace("\\/", "/");
    plain.starts_with("gs://")
        || plain.starts_with("https://generativelanguage.googleapis.com/")
        || !plain.contains("://")
}

/// True for addresses of the one video site that the vendor reads. Their type need not be said.
pub(super) fn is_video(uri: &str) -> bool {
    let sites = ["https://www.youtube.com/", "https://youtu.be/", "https://youtube.com/"];
    sites.iter().any(|site| uri.starts_with(site))
}

fn unknown<'a>() -> BlockKind<'a> {
    BlockKind::Unknown { format: OWN, raw: Json::NULL }
}

fn block<'a>(
    media_type: &Cow<'a, str>,
    source: Source<'a>,
    name: Option<(Text<'a>, Extra<'a>)>,
    extras: &mut Vec<Extra<'a>>,
) -> BlockKind<'a> {
    let kind = media_type.split(['/', ';']).next().unwrap_or_default();
    let (name, extra) = name.unzip();
    if matches!(kind, "image" | "audio") {
        // Of all media only documents have names elsewhere.
        extras.extend(extra);
    }
    match kind {
        "image" => {
            for extra in extras.iter_mut().filter(|extra| extra.key == MIME_TYPE) {
                extra.field = Field::Image;
            }
            let detail = detail_of(extras);
            BlockKind::Image { source, detail }
        }
        "audio" => BlockKind::Audio { source, format: Cow::Owned(audio_format(media_type)) },
        "video" => unknown(),
        _ => BlockKind::Document { source, name, title: None, context: None, citations: None },
    }
}

/// `{"level":"MEDIA_RESOLUTION_LOW"}` as a detail. What says no more than that is no extra any longer.
fn detail_of<'a>(extras: &mut Vec<Extra<'a>>) -> Option<Cow<'a, str>> {
    let at = extras.iter().position(|extra| extra.field == Field::ImageDetail)?;
    let said = extras.get(at)?.value.as_str();
    let (native, detail) = LEVELS.into_iter().find(|(native, _)| said.contains(native))?;
    let bare: String = said.chars().filter(|character| !character.is_ascii_whitespace()).collect();
    if bare == format!(r#"{{"level":"{native}"}}"#) {
        extras.remove(at);
    }
    Some(Cow::Borrowed(detail))
}

/// The container's name in a media type.
fn audio_format(media_type: &str) -> String {
    let name = media_type.split(';').next().and_then(|kind| kind.split_once('/')).map_or("", |(_, name)| name.trim());
    match name {
        "mpeg" | "mpeg3" | "x-mp3" => "mp3".to_owned(),
        "x-wav" | "wave" | "vnd.wave" => "wav".to_owned(),
        other => other.trim_start_matches("x-").to_owned(),
    }
}
