//! State of other makers, taken out of a request that otherwise stays as it is.
//!
//! A conversation that went on with a provider of another format holds that provider's state in envelopes, in place of
//! this vendor's signatures. Our vendor takes none of them.

use super::wire::OWN;
use crate::hub::{Field, Losses, OpaqueKind};
use crate::json::{Cursor, JsonError, Kind, Span, splice};
use crate::seal::{Opened, Seal};

/// `body` without blocks of thinking that another maker signed, and with our vendor's own state out of its envelope;
/// every other byte of a message that needs no change is as it was. What was taken out is reported in `losses`.
pub(super) fn strip(body: &[u8], seal: &Seal, losses: &mut Losses) -> Result<Vec<u8>, JsonError> {
    let mut changed: Option<(Span, Vec<String>)> = None;
    let mut cursor = Cursor::over_bytes(body)?;
    cursor.object::<JsonError>(|key, value| {
        if key != "messages" || value.peek()? != Kind::Array {
            return value.skip();
        }
        let start = value.offset();
        let (mut messages, mut any) = (Vec::new(), false);
        value.array::<JsonError>(|_, element| {
            let raw = element.clone().json()?.as_str().to_owned();
            match message(element, seal, losses)? {
                Change::None => messages.push(raw),
                Change::Into(written) => {
                    any = true;
                    messages.push(written);
                }
                Change::Gone => any = true,
            }
            Ok(())
        })?;
        changed = any.then(|| (start..value.position(), messages));
        Ok(())
    })?;
    let Some((span, messages)) = changed else { return Ok(body.to_vec()) };
    Ok(splice(body, &span, format!("[{}]", messages.join(",")).as_bytes()))
}

/// What becomes of an element of a list.
enum Change {
    None,
    Into(String),
    Gone,
}

/// A message; it is gone when nothing is left of it.
fn message(element: &mut Cursor<'_>, seal: &Seal, losses: &mut Losses) -> Result<Change, JsonError> {
    let start = element.offset();
    let raw = element.clone().json()?;
    let mut content: Option<(Span, Vec<String>)> = None;
    if element.peek()? != Kind::Object {
        element.skip()?;
        return Ok(Change::None);
    }
    element.object::<JsonError>(|key, value| {
        if key != "content" || value.peek()? != Kind::Array {
            return value.skip();
        }
        let from = value.offset();
        let (mut blocks, mut any) = (Vec::new(), false);
        value.array::<JsonError>(|_, element| {
            let raw = element.clone().json()?.as_str().to_owned();
            match block(element, seal, losses)? {
                Change::None => blocks.push(raw),
                Change::Into(written) => {
                    any = true;
                    blocks.push(written);
                }
                Change::Gone => any = true,
            }
            Ok(())
        })?;
        content = any.then(|| (from - start..value.position() - start, blocks));
        Ok(())
    })?;
    Ok(match content {
        None => Change::None,
        Some((_, blocks)) if blocks.is_empty() => Change::Gone,
        Some((span, blocks)) => written(raw.as_str(), &span, &format!("[{}]", blocks.join(","))),
    })
}

fn block(element: &mut Cursor<'_>, seal: &Seal, losses: &mut Losses) -> Result<Change, JsonError> {
    let start = element.offset();
    let raw = element.clone().json()?;
    if element.peek()? != Kind::Object {
        element.skip()?;
        return Ok(Change::None);
    }
    let (mut kind, mut state) = (String::new(), None);
    element.object::<JsonError>(|key, value| {
        match key.as_ref() {
            "type" if value.peek()? == Kind::String => kind = value.string()?.into_owned(),
            "signature" | "data" if value.peek()? == Kind::String => {
                let from = value.offset();
                state = Some((value.string()?.into_owned(), from - start..value.position() - start));
            }
            _ => value.skip()?,
        }
        Ok(())
    })?;
    let wanted = match kind.as_str() {
        "thinking" => OpaqueKind::ThinkingSignature,
        "redacted_thinking" => OpaqueKind::RedactedData,
        _ => return Ok(Change::None),
    };
    let Some((value, span)) = state else { return Ok(Change::None) };
    Ok(match seal.open(&value) {
        Opened::Bare => Change::None,
        Opened::Ours(opaque) if opaque.maker == OWN && opaque.kind == wanted => {
            written(raw.as_str(), &span, &format!("\"{}\"", opaque.data.escaped()))
        }
        Opened::Ours(_) | Opened::Forged => {
            losses.dropped(Field::OpaqueState, start, "only its maker can read this reasoning");
            Change::Gone
        }
    })
}

/// `raw` with other JSON at `span`.
fn written(raw: &str, span: &Span, json: &str) -> Change {
    match String::from_utf8(splice(raw.as_bytes(), span, json.as_bytes())) {
        Ok(written) => Change::Into(written),
        // Spans of JSON values begin and end between characters.
        Err(_) => Change::None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Format;
    use crate::hub::Opaque;
    use crate::json::Text;

    fn envelope(maker: Format, kind: OpaqueKind, data: &'static str) -> String {
        Seal::new([7; 32]).wrap(&Opaque { kind, maker, data: Text::from_plain(data) })
    }

    fn check(body: &str, expected: &str, lost: &[&str]) {
        let mut losses = Losses::default();
        let stripped = strip(body.as_bytes(), &Seal::new([7; 32]), &mut losses).unwrap();
        losses.resolve(body.as_bytes());
        assert_eq!(String::from_utf8(stripped).unwrap(), expected);
        let places: Vec<String> = losses.iter().map(|loss| format!("{:?}", loss.place)).collect();
        assert_eq!(places.len(), lost.len(), "{places:?}");
        for (place, lost) in places.iter().zip(lost) {
            assert!(place.contains(lost), "{place}");
        }
    }

    #[test]
    fn foreign_state_goes_and_everything_else_stays() {
        let native = r#"{ "messages" : [ {"role":"assistant","content":[{"type":"thinking","thinking":"t","signature":"EqQB"}]} ],"n":1.0 }"#;
        check(native, native, &[]);
        let words = r#"{"messages":[{"role":"user","content":"\"tg1.x"},{"role":"user","content":[{"type":"text","text":"tg1.x","data":"tg1.x"}]}]}"#;
        check(words, words, &[]);
        let foreign = envelope(Format::OpenaiChat, OpaqueKind::EncryptedReasoning, "x");
        let unsigned = envelope(OWN, OpaqueKind::Unsigned, "");
        let own = envelope(OWN, OpaqueKind::ThinkingSignature, "Eq\\n");
        check(
            &format!(
                r#"{{"model":"m", "messages":[{{"role":"user","content":"q"}},{{"content":[{{"type":"thinking","thinking":"t","signature":"{foreign}"}}, {{"type":"text","text":"a"}}],"role":"assistant"}}],"system":"s"}}"#
            ),
            r#"{"model":"m", "messages":[{"role":"user","content":"q"},{"content":[{"type":"text","text":"a"}],"role":"assistant"}],"system":"s"}"#,
            &["/messages/1/content/0"],
        );
        for gone in [&foreign, &unsigned, "tg1.forged"] {
            check(
                &format!(
                    r#"{{"messages":[{{"content":[{{"data":"{gone}","type":"redacted_thinking"}}]}},{{"a":1}}]}}"#
                ),
                r#"{"messages":[{"a":1}]}"#,
                &["/messages/0/content/0"],
            );
        }
        check(
            &format!(r#"{{"messages":[{{"content":[{{"type":"thinking","signature":"{own}","thinking":""}}]}}]}}"#),
            r#"{"messages":[{"content":[{"type":"thinking","signature":"Eq\\n","thinking":""}]}]}"#,
            &[],
        );
    }
}
