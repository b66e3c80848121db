//! `reasoning_details`: reasoning with its signatures, in `OpenRouter`'s shape, which also carries foreign state.
//!
//! ```text
//! {"type":"reasoning.text","text":…,"signature":…,"format":…,"index":0}
//! {"type":"reasoning.summary","summary":…}      {"type":"reasoning.encrypted","data":…}
//! ```

use super::wire::{loose_count, loose_text};
use crate::Format;
use crate::hub::{Opaque, OpaqueKind, ThinkingKind};
use crate::json::{Cursor, Json, JsonError, Kind, Text, Writer};
use crate::seal::Seal;

/// One entry.
#[derive(Debug, Clone)]
pub(super) struct Detail<'a> {
    /// Summary or the reasoning itself.
    pub kind: ThinkingKind,
    /// Words; empty where there are none.
    pub text: Text<'a>,
    /// A signature of the words, or encrypted reasoning.
    pub secret: Option<Text<'a>>,
    /// The secret stands for the reasoning; there are no words.
    pub encrypted: bool,
    /// `index`: pieces of one entry have the same.
    pub index: Option<u64>,
    /// The whole entry.
    pub raw: Json<'a>,
    /// Byte offset.
    pub at: usize,
}

/// Reads an array of entries.
pub(super) fn read<'a>(cursor: &mut Cursor<'a>, each: &mut dyn FnMut(Detail<'a>)) -> Result<(), JsonError> {
    if cursor.peek()? != Kind::Array {
        return cursor.skip();
    }
    cursor.array(|_, value| {
        if value.peek()? != Kind::Object {
            return value.skip();
        }
        let (at, raw) = (value.offset(), value.clone().json()?);
        let mut detail =
            Detail { kind: ThinkingKind::Raw, text: Text::EMPTY, secret: None, encrypted: false, index: None, raw, at };
        value.object::<JsonError>(|key, value| {
            match key.as_ref() {
                "type" => {
                    let kind = loose_text(value)?.unwrap_or_default();
                    detail.encrypted = kind.escaped() == "reasoning.encrypted";
                    if kind.escaped() == "reasoning.summary" {
                        detail.kind = ThinkingKind::Summary;
                    }
                }
                "index" => detail.index = loose_count(value)?,
                "text" | "summary" => {
                    if let Some(text) = loose_text(value)?.filter(|text| !text.is_empty()) {
                        detail.text = text;
                    }
                }
                "signature" | "data" => {
                    detail.secret = loose_text(value)?.filter(|text| !text.is_empty()).or(detail.secret.take());
                }
                _ => {}
            }
            Ok(())
        })?;
        each(detail);
        Ok(())
    })
}

impl<'a> Detail<'a> {
    /// The entry's state as its own server wants it back: the whole entry without its words.
    pub(super) fn native(&self) -> Option<Opaque<'a>> {
        self.secret.as_ref()?;
        let kind = if self.encrypted { OpaqueKind::EncryptedReasoning } else { OpaqueKind::ThinkingSignature };
        let entry = self.without_words();
        let data = Text::from_plain(&entry).into_owned();
        Some(Opaque { kind, maker: Format::OpenaiChat, data })
    }

    fn without_words(&self) -> String {
        let mut out = Vec::with_capacity(self.raw.as_str().len());
        let mut w = Writer::new(&mut out);
        w.open_object();
        // The entry was read once already, so it is sound.
        let _ = self.raw.cursor().object::<JsonError>(|key, value| {
            if key != "text" && key != "summary" {
                w.key(Text::from_plain(&key).escaped()).json(&value.json()?);
            }
            Ok(())
        });
        w.close_object();
        String::from_utf8(out).unwrap_or_default()
    }
}

/// The words that state belongs to.
#[derive(Debug, Clone, Copy)]
pub(super) enum Words<'w> {
    /// There are none.
    None,
    /// Entries of the same index gave them already.
    Before,
    /// They stand in the same entry.
    Here(&'w Text<'w>),
}

impl<'w> Words<'w> {
    /// Words that may be none.
    pub(super) fn of(text: Option<&'w Text<'w>>) -> Self {
        text.map_or(Self::None, Self::Here)
    }
}

/// Writes the entry that carries `opaque` as the next value.
///
/// The server's own entry is given as it was; a foreign secret goes into an envelope.
pub(super) fn write(opaque: &Opaque<'_>, words: Words<'_>, index: u64, seal: Option<&Seal>, w: &mut Writer<'_>) {
    let text = if let Words::Here(text) = words { Some(text) } else { None };
    if opaque.maker == Format::OpenaiChat {
        return write_native(opaque, text, w);
    }
    let Some(seal) = seal else { return };
    let envelope = seal.wrap(opaque);
    let text = text.filter(|text| !text.is_empty());
    w.open_object();
    match opaque.kind {
        // Words beside encrypted reasoning are its summary: an entry without a place for them would lose them.
        OpaqueKind::EncryptedReasoning | OpaqueKind::ThoughtSignature | OpaqueKind::RedactedData
            if text.is_none() && !matches!(words, Words::Before) =>
        {
            w.key("type").plain("reasoning.encrypted").key("data").plain(&envelope);
        }
        _ => {
            w.key("type").plain("reasoning.text");
            if let Some(text) = text {
                w.key("text").text(text);
            }
            w.key("signature").plain(&envelope);
        }
    }
    w.key("format").plain(match opaque.maker {
        Format::AnthropicMessages => "anthropic-claude-v1",
        Format::GeminiGenerate => "google-gemini-v1",
        Format::OpenaiResponses => "openai-responses-v1",
        Format::OpenaiChat => "unknown",
    });
    w.key("index").number(index);
    w.close_object();
}

/// Writes an entry of reasoning that nobody signed as the next value. It is the edge's own: its envelope, of nothing, says
/// so when a client brings it back, and no server is sent it, of which many refuse the whole field.
pub(super) fn write_unsigned(text: Option<&Text<'_>>, index: u64, seal: &Seal, w: &mut Writer<'_>) {
    let mark = Opaque { kind: OpaqueKind::Unsigned, maker: Format::OpenaiChat, data: Text::EMPTY };
    w.open_object().key("type").plain("reasoning.text");
    if let Some(text) = text {
        w.key("text").text(text);
    }
    w.key("signature").plain(&seal.wrap(&mark)).key("format").plain("unknown");
    w.key("index").number(index).close_object();
}

fn write_native(opaque: &Opaque<'_>, text: Option<&Text<'_>>, w: &mut Writer<'_>) {
    let entry = opaque.data.plain();
    let mut cursor = Cursor::over(&entry);
    w.open_object();
    let mut summary = false;
    let _ = cursor.object::<JsonError>(|key, value| {
        let value = value.json()?;
        summary |= key == "type" && value.as_str() == "\"reasoning.summary\"";
        w.key(Text::from_plain(&key).escaped()).json(&value);
        Ok(())
    });
    if let Some(text) = text {
        w.key(if summary { "summary" } else { "text" }).text(text);
    }
    w.close_object();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_servers_own_entry_comes_back_whole() {
        let json = r#"[{"type":"reasoning.text","text":"a\"b","signature":"S","format":"x-v1","index":3}]"#;
        let mut seen = Vec::new();
        read(&mut Cursor::over(json), &mut |detail| seen.push(detail)).unwrap();
        let opaque = seen[0].native().unwrap();
        let mut out = Vec::new();
        write(&opaque, Words::Here(&seen[0].text), 0, None, &mut Writer::new(&mut out));
        let back = String::from_utf8(out).unwrap();
        assert_eq!(back, r#"{"type":"reasoning.text","signature":"S","format":"x-v1","index":3,"text":"a\"b"}"#);
    }
}
