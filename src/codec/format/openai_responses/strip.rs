//! State of other makers, taken out of a request that otherwise stays as it is.
//!
//! A conversation that went on with a provider of another format holds that provider's state in envelopes, in reasoning
//! items of its own. Our vendor takes none of them.

use super::wire::OWN;
use crate::hub::{Field, Losses, OpaqueKind};
use crate::json::{Cursor, JsonError, Kind, Span, splice};
use crate::seal::{Opened, Seal};

/// `body` without reasoning that another maker sealed, and with our vendor's own state out of its envelope; every other
/// byte of an item is as it was. What was taken out is reported in `losses`.
pub(super) fn strip(body: &[u8], seal: &Seal, losses: &mut Losses) -> Result<Vec<u8>, JsonError> {
    let mut changed: Option<(Span, Vec<String>)> = None;
    let mut cursor = Cursor::over_bytes(body)?;
    cursor.object::<JsonError>(|key, value| {
        if key != "input" || value.peek()? != Kind::Array {
            return value.skip();
        }
        let start = value.offset();
        let (mut items, mut any) = (Vec::new(), false);
        value.array::<JsonError>(|_, element| {
            let at = element.offset();
            let raw = element.clone().json()?.as_str().to_owned();
            match text_of(element, "reasoning", "encrypted_content")?.map(|(data, span)| (seal.open(&data), span)) {
                None | Some((Opened::Bare, _)) => items.push(raw),
                Some((Opened::Ours(opaque), span))
                    if opaque.maker == OWN && opaque.kind == OpaqueKind::EncryptedReasoning =>
                {
                    let native = format!("\"{}\"", opaque.data.escaped());
                    let within = span.start - at..span.end - at;
                    // Spans of JSON values begin and end between characters.
                    items.push(String::from_utf8(splice(raw.as_bytes(), &within, native.as_bytes())).unwrap_or(raw));
                    any = true;
                }
                Some((Opened::Ours(_) | Opened::Forged, _)) => {
                    losses.dropped(Field::OpaqueState, at, "only its maker can read this reasoning");
                    any = true;
                }
            }
            Ok(())
        })?;
        changed = any.then(|| (start..value.position(), items));
        Ok(())
    })?;
    let Some((span, items)) = changed else { return Ok(body.to_vec()) };
    Ok(splice(body, &span, format!("[{}]", items.join(",")).as_bytes()))
}

/// The text at `key` of an element of `input` that has this type, and where it stands.
pub(super) fn text_of(element: &mut Cursor<'_>, kind: &str, key: &str) -> Result<Option<(String, Span)>, JsonError> {
    if element.peek()? != Kind::Object {
        element.skip()?;
        return Ok(None);
    }
    let (mut is_one, mut text) = (false, None);
    element.object::<JsonError>(|name, value| {
        if name == "type" && value.peek()? == Kind::String {
            is_one = value.string()? == kind;
        } else if name == key && value.peek()? == Kind::String {
            let from = value.offset();
            text = Some((value.string()?.into_owned(), from..value.position()));
        } else {
            value.skip()?;
        }
        Ok(())
    })?;
    Ok(text.filter(|_| is_one))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Format;
    use crate::hub::Opaque;
    use crate::json::Text;

    fn envelope(maker: Format, kind: OpaqueKind) -> String {
        Seal::new([7; 32]).wrap(&Opaque { kind, maker, data: Text::from_plain("gAA=") })
    }

    fn check(body: &str, expected: &str, lost: usize) {
        let mut losses = Losses::default();
        let stripped = strip(body.as_bytes(), &Seal::new([7; 32]), &mut losses).unwrap();
        assert_eq!(String::from_utf8(stripped).unwrap(), expected);
        assert_eq!(losses.iter().count(), lost);
    }

    #[test]
    fn foreign_state_goes_and_everything_else_stays() {
        let native = r#"{ "input" : [ {"type":"reasoning","summary":[],"encrypted_content":"gAA="} ],"n":1.0 }"#;
        check(native, native, 0);
        let words =
            r#"{"input":[{"role":"user","content":"\"tg1.x"},{"type":"compaction","encrypted_content":"tg1.x"}]}"#;
        check(words, words, 0);
        for gone in [
            envelope(Format::AnthropicMessages, OpaqueKind::ThinkingSignature),
            envelope(OWN, OpaqueKind::Unsigned),
            "tg1.forged".to_owned(),
        ] {
            let item = format!(r#"{{"encrypted_content":"{gone}","summary":[], "type":"reasoning"}}"#);
            check(
                &format!(r#"{{"model":"m", "input":[{{"role":"user","content": "q"}}, {item} ],"x":1.0}}"#),
                r#"{"model":"m", "input":[{"role":"user","content": "q"}],"x":1.0}"#,
                1,
            );
        }
        let own = envelope(OWN, OpaqueKind::EncryptedReasoning);
        check(
            &format!(r#"{{"input":["s", {{"type":"reasoning", "encrypted_content":"{own}" }}]}}"#),
            r#"{"input":["s",{"type":"reasoning", "encrypted_content":"gAA=" }]}"#,
            0,
        );
    }
}
