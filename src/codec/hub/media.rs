//! Media types by the bytes, and `data:` URLs.

use std::borrow::Cow;

use base64::Engine as _;
use base64::alphabet::STANDARD as ALPHABET;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};

use crate::json::Text;

/// Standard base64, padded or not: what clients send.
const TOLERANT: GeneralPurpose = GeneralPurpose::new(
    &ALPHABET,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// The media type that the first bytes tell; `base64` is the data or its beginning, escaped as JSON or not.
///
/// Providers refuse an image whose declared type is not what its bytes are, so the bytes decide.
#[must_use]
pub fn sniff(base64: &str) -> Option<&'static str> {
    // 32 characters hold every signature; escapes (`\/`, `\u002b`) take up to six bytes each.
    let prefix = base64.get(..floor(base64, 192))?;
    let plain = Text::from_escaped(prefix).into_plain();
    let characters: Vec<u8> = plain.bytes().filter(|b| !b.is_ascii_whitespace() && *b != b'=').take(32).collect();
    let whole = characters.get(..characters.len() / 4 * 4)?;
    sniff_bytes(&TOLERANT.decode(whole).ok()?)
}

/// The media type that the first `bytes` tell.
#[must_use]
pub fn sniff_bytes(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [0x89, b'P', b'N', b'G', b'\r', b'\n', ..] => Some("image/png"),
        [0xFF, 0xD8, 0xFF, ..] => Some("image/jpeg"),
        [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Some("image/gif"),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some("image/webp"),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'A', b'V', b'E', ..] => Some("audio/wav"),
        [b'B', b'M', _, _, _, _, 0, 0, 0, 0, ..] => Some("image/bmp"),
        [b'%', b'P', b'D', b'F', b'-', ..] => Some("application/pdf"),
        [b'I', b'D', b'3', ..] => Some("audio/mpeg"),
        [b'f', b'L', b'a', b'C', ..] => Some("audio/flac"),
        [b'O', b'g', b'g', b'S', ..] => Some("audio/ogg"),
        _ => None,
    }
}

/// A `data:` URL (RFC 2397).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataUrl<'a> {
    /// `image/png`; lower case, without parameters; `text/plain` where the URL says none.
    pub media_type: String,
    /// What it holds.
    pub body: DataBody<'a>,
}

/// What a `data:` URL holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DataBody<'a> {
    /// Standard base64, still as JSON string contents.
    Base64(Text<'a>),
    /// The bytes, from percent-encoding.
    Bytes(Vec<u8>),
}

impl<'a> DataUrl<'a> {
    /// Reads `url` (JSON string contents); `None` if it is no `data:` URL.
    ///
    /// The body of a base64 URL is not copied.
    #[must_use]
    pub fn read(url: &Text<'a>) -> Option<DataUrl<'a>> {
        let head = url.escaped().get(..floor(url.escaped(), 5))?;
        if !head.eq_ignore_ascii_case("data:") {
            return None;
        }
        let comma = memchr::memchr(b',', url.escaped().as_bytes())?;
        let (head, _) = url.escaped().split_at_checked(comma)?;
        let head = Text::from_escaped(head.get(5..)?).into_plain().into_owned();
        let mut items = head.split(';').map(str::trim);
        let media_type = items.next().unwrap_or_default().to_ascii_lowercase();
        let is_base64 = items.any(|item| item.eq_ignore_ascii_case("base64"));
        let body = url.clone().split_off(comma + 1);
        let body = match (is_base64, body.escaped().contains('%')) {
            (true, false) => DataBody::Base64(body),
            (true, true) => {
                let decoded = String::from_utf8(percent_decode(&body.plain())).ok()?;
                DataBody::Base64(Text::from_plain(&decoded).into_owned())
            }
            (false, _) => DataBody::Bytes(percent_decode(&body.plain())),
        };
        let media_type = if media_type.is_empty() { "text/plain".to_owned() } else { media_type };
        Some(DataUrl { media_type, body })
    }

    /// The contents as base64.
    #[must_use]
    pub fn into_base64(self) -> Text<'a> {
        match self.body {
            DataBody::Base64(text) => text,
            DataBody::Bytes(bytes) => Text::from_escaped(STANDARD.encode(bytes)),
        }
    }

    /// The contents as text, if they are UTF-8.
    #[must_use]
    pub fn text(&self) -> Option<Text<'static>> {
        match &self.body {
            DataBody::Base64(text) => decode_text(text),
            DataBody::Bytes(bytes) => std::str::from_utf8(bytes).ok().map(|text| Text::from_plain(text).into_owned()),
        }
    }
}

/// Decodes base64 (JSON string contents) that holds UTF-8 text.
#[must_use]
pub fn decode_text(base64: &Text<'_>) -> Option<Text<'static>> {
    let bytes = TOLERANT.decode(base64.plain().as_bytes()).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    Some(Text::from_plain(&text).into_owned())
}

/// Base64 of text.
#[must_use]
pub fn encode_text(text: &Text<'_>) -> String {
    STANDARD.encode(text.plain().as_bytes())
}

/// The media type that a file's name tells, for the kinds that models read.
#[must_use]
pub fn type_of_name(name: &str) -> Option<&'static str> {
    let (_, extension) = name.rsplit_once('.')?;
    Some(match extension.to_ascii_lowercase().as_str() {
        "pdf" => "application/pdf",
        "txt" => "text/plain",
        "md" => "text/markdown",
        "csv" => "text/csv",
        "html" | "htm" => "text/html",
        "json" => "application/json",
        _ => return None,
    })
}

/// A name for a document of that type that has none: what reads it goes by the name's end.
#[must_use]
pub fn name_of_type(media_type: &str) -> &'static str {
    match media_type.split(';').next().unwrap_or_default().trim() {
        "text/plain" => "document.txt",
        "text/markdown" => "document.md",
        "text/csv" => "document.csv",
        "text/html" => "document.html",
        "text/css" => "document.css",
        "text/xml" | "application/xml" => "document.xml",
        "text/rtf" | "application/rtf" => "document.rtf",
        "text/javascript" | "application/javascript" | "application/x-javascript" => "document.js",
        "text/x-python" | "application/x-python" => "document.py",
        "application/json" => "document.json",
        "application/msword" => "document.doc",
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document" => "document.docx",
        "application/vnd.openxmlformats-officedocument.presentationml.presentation" => "document.pptx",
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet" => "document.xlsx",
        other if other.starts_with("text/") => "document.txt",
        "application/zip" => "document.zip",
        _ => "document.pdf",
    }
}

/// True for a type whose contents are words.
#[must_use]
pub fn is_words(media_type: &str) -> bool {
    let media_type = media_type.split(';').next().unwrap_or_default().trim();
    let other = ["application/json", "application/xml", "application/javascript", "application/x-javascript"];
    (media_type.starts_with("text/") && media_type != "text/rtf")
        || other.contains(&media_type)
        || media_type == "application/x-python"
}

/// Decodes `%XX`; anything else stays as it is.
#[must_use]
pub fn percent_decode(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        let hex = |b: &u8| char::from(*b).to_digit(16);
        match (byte, tail.first().and_then(hex), tail.get(1).and_then(hex)) {
            (b'%', Some(high), Some(low)) => {
                // Two hexadecimal digits fit a byte.
                out.push(u8::try_from(high * 16 + low).unwrap_or(byte));
                rest = tail.get(2..).unwrap_or_default();
            }
            _ => {
                out.push(byte);
                rest = tail;
            }
        }
    }
    out
}

/// The last place at or before `at` where `text` may be cut.
fn floor(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0)
}

/// The media type to declare for `data`: what its bytes tell, else what was `declared`.
#[must_use]
pub fn effective<'a>(declared: &'a str, data: &Text<'_>) -> Cow<'a, str> {
    match sniff(data.escaped()) {
        Some(found) if found != declared => Cow::Borrowed(found),
        _ => Cow::Borrowed(declared),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_media_by_their_bytes() {
        for (base64, media_type) in [
            ("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJ", Some("image/png")),
            ("/9j/4AAQSkZJRgABAQAAAQABAAD", Some("image/jpeg")),
            (r"\/9j\/4AAQSkZJRgABAQAAAQABAAD", Some("image/jpeg")),
            (r"/9j/4AAQSkZJRgABAQ\u002b\u002bAAAQABAAD", Some("image/jpeg")),
            ("R0lGODlhAQABAAAAACw=", Some("image/gif")),
            ("UklGRiQAAABXRUJQVlA4", Some("image/webp")),
            ("JVBERi0xLjcK", Some("application/pdf")),
            ("JVBE\\nRi0xLjcK", Some("application/pdf")),
            ("UklGRiQAAABXQVZFZm10", Some("audio/wav")),
            ("Qk1GAAAAAAAAADYAAAA=", Some("image/bmp")),
            ("Qk1GAAAAAAEAADYAAAA=", None),
            ("SUQzBAAAAAAA", Some("audio/mpeg")),
            ("ZkxhQwAAACIQ", Some("audio/flac")),
            ("T2dnUwACAAAA", Some("audio/ogg")),
            ("aGVsbG8gd29ybGQ=", None),
            ("", None),
            ("!!!!", None),
            ("北京北京北京", None),
        ] {
            assert_eq!(sniff(base64), media_type, "{base64}");
        }
    }

    #[test]
    fn a_name_tells_a_type() {
        for (name, media_type) in [
            ("a.pdf", Some("application/pdf")),
            ("a.b.PDF", Some("application/pdf")),
            ("notes.txt", Some("text/plain")),
            ("notes.md", Some("text/markdown")),
            ("t.csv", Some("text/csv")),
            ("t.htm", Some("text/html")),
            ("t.html", Some("text/html")),
            ("t.json", Some("application/json")),
            ("t.exe", None),
            ("pdf", None),
        ] {
            assert_eq!(type_of_name(name), media_type, "{name}");
        }
    }

    #[test]
    fn a_type_tells_a_name() {
        for (media_type, name, words) in [
            ("application/pdf", "document.pdf", false),
            ("text/csv", "document.csv", true),
            ("text/html; charset=utf-8", "document.html", true),
            ("text/x-log", "document.txt", true),
            ("text/rtf", "document.rtf", false),
            ("application/rtf", "document.rtf", false),
            ("text/plain", "document.txt", true),
            ("text/markdown", "document.md", true),
            ("text/css", "document.css", true),
            ("text/xml", "document.xml", true),
            ("application/xml", "document.xml", true),
            ("text/javascript", "document.js", true),
            ("application/javascript", "document.js", true),
            ("application/x-javascript", "document.js", true),
            ("text/x-python", "document.py", true),
            ("application/x-python", "document.py", true),
            ("application/msword", "document.doc", false),
            ("application/vnd.openxmlformats-officedocument.wordprocessingml.document", "document.docx", false),
            ("application/vnd.openxmlformats-officedocument.presentationml.presentation", "document.pptx", false),
            ("application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", "document.xlsx", false),
            ("application/json", "document.json", true),
            ("application/zip", "document.zip", false),
            ("application/octet-stream", "document.pdf", false),
        ] {
            assert_eq!((name_of_type(media_type), is_words(media_type)), (name, words), "{media_type}");
        }
    }

    #[test]
    fn reads_data_urls() {
        let read = |url: &'static str| DataUrl::read(&Text::from_escaped(url));
        for (url, media_type, base64, text) in [
            ("data:image/png;base64,iVBORw0K", "image/png", "iVBORw0K", None),
            (r"DATA:image\/PNG;base64,iVBO\/w0K", "image/png", r"iVBO\/w0K", None),
            ("data:text/plain;charset=utf-8;base64,aGk=", "text/plain", "aGk=", Some("hi")),
            ("data:,a%20b%E5%8C%97", "text/plain", "YSBi5YyX", Some("a b北")),
            ("data:text/csv,1%2c2", "text/csv", "MSwy", Some("1,2")),
            ("data:image/png;base64,ab%2Bc", "image/png", "ab+c", None),
            ("data:text/plain,100%", "text/plain", "MTAwJQ==", Some("100%")),
        ] {
            let found = read(url).unwrap();
            assert_eq!(found.media_type, media_type, "{url}");
            assert_eq!(found.text().as_ref().map(|text| text.plain().into_owned()).as_deref(), text, "{url}");
            assert_eq!(found.into_base64().escaped(), base64, "{url}");
        }
        assert_eq!(read("https://example.org/a,b"), None);
        assert_eq!(read("data:image/png;base64"), None);
    }
}
