//! Small spellings that several parts of the format share.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::thoughts::{Carried, MOST};
use crate::Format;
use crate::hub::media::decode_text;
use crate::hub::{Extra, Field, Opaque, OpaqueKind};
use crate::json::{Cursor, Json, JsonError, Kind, Text, Writer};
use crate::seal::{Opened, Seal};

pub(super) use crate::format::loose::loose_text;

/// This format.
pub(super) const OWN: Format = Format::GeminiGenerate;

/// Objects whose unknown fields are kept with a dotted key.
const NESTED: [&str; 5] = ["generationConfig.", "toolConfig.", "functionCallingConfig.", MEDIA, SCHEMA];
/// How the keys of members of `inlineData` and `fileData` begin.
pub(super) const MEDIA: &str = "media.";
/// How the keys of what cannot be written of a schema begin.
pub(super) const SCHEMA: &str = "schema.";

/// A key in the spelling of the vendor's own JSON: its servers read `snake_case` as well as `camelCase`.
pub(super) fn camel(key: &str) -> Cow<'_, str> {
    if memchr::memchr(b'_', key.as_bytes()).is_none() {
        return Cow::Borrowed(key);
    }
    let mut out = String::with_capacity(key.len());
    let mut upper = false;
    for c in key.chars() {
        match c {
            '_' => upper = true,
            c if std::mem::take(&mut upper) => out.push(c.to_ascii_uppercase()),
            c => out.push(c),
        }
    }
    Cow::Owned(out)
}

/// Reads an object's fields by their camel-case keys; `each` gets the key as it stood too.
pub(super) fn fields<'a, E: From<JsonError>>(
    cursor: &mut Cursor<'a>,
    mut each: impl FnMut(&str, Cow<'a, str>, &mut Cursor<'a>) -> Result<(), E>,
) -> Result<(), E> {
    cursor.object(|key, value| {
        // A key without escapes is borrowed, so that a second one costs nothing.
        each(&camel(&key), key.clone(), value)
    })
}

/// Reads a count; numbers may be strings, as the vendor's JSON writes 64-bit ones. Nothing where something else stands.
pub(super) fn count(value: &mut Cursor<'_>) -> Result<Option<u64>, JsonError> {
    Ok(whole(value)?.and_then(|number| u64::try_from(number).ok()))
}

/// Reads a whole number, as [`count`] does.
pub(super) fn whole(value: &mut Cursor<'_>) -> Result<Option<i64>, JsonError> {
    let parse = |digits: &str| digits.parse().or_else(|_| digits.split('.').next().unwrap_or_default().parse()).ok();
    Ok(match value.peek()? {
        Kind::Number => parse(value.number()?.as_str()),
        Kind::String => parse(&value.string()?),
        Kind::Object | Kind::Array | Kind::Bool | Kind::Null => {
            value.skip()?;
            None
        }
    })
}

/// Reads a word of an enum. Some clients write the word's number, which is its place among `words`; another number is
/// given as it stands, and nothing where something else does.
pub(super) fn word<'a>(value: &mut Cursor<'a>, words: &[&'static str]) -> Result<Cow<'a, str>, JsonError> {
    Ok(match value.peek()? {
        Kind::String => value.string()?,
        Kind::Number => {
            let number = value.number()?;
            let known = number.whole().as_str().parse().ok().and_then(|at: usize| words.get(at));
            known.map_or_else(|| Cow::Owned(number.as_str().to_owned()), |word| Cow::Borrowed(*word))
        }
        Kind::Object | Kind::Array | Kind::Bool | Kind::Null => {
            value.skip()?;
            Cow::Borrowed("")
        }
    })
}

/// Takes the value at `value` as a field that the hub has no place for; `null` says nothing and is not kept.
pub(super) fn keep<'a>(
    extras: &mut Vec<Extra<'a>>,
    field: Field,
    key: Cow<'a, str>,
    value: &mut Cursor<'a>,
) -> Result<(), JsonError> {
    let (at, json) = (value.offset(), value.json()?);
    if json.kind() != Kind::Null {
        extras.push(Extra { field, key, value: json, at });
    }
    Ok(())
}

/// Keeps `keyword` of the schema at `at` for the report: its value means nothing.
pub(super) fn keep_unwritable(extras: &mut Vec<Extra<'_>>, field: Field, keyword: Option<&str>, at: usize) {
    let extra =
        |keyword| Extra { field, key: format!("{SCHEMA}{keyword}").into(), value: Json::from_valid("true"), at };
    extras.extend(keyword.map(extra));
}

/// Writes the fields of `extras` that stand in the object itself.
pub(super) fn write_extras(extras: &[Extra<'_>], json: &mut Writer<'_>) {
    for extra in extras.iter().filter(|extra| extra.field != Field::OpaqueState) {
        if !NESTED.iter().any(|prefix| extra.key.starts_with(prefix)) {
            json.key(Text::from_plain(&extra.key).escaped()).json(&extra.value);
        }
    }
}

/// Writes the fields of `extras` that stand in an object below: those whose keys begin with `prefix`.
pub(super) fn write_sub_extras(prefix: &str, extras: &[Extra<'_>], json: &mut Writer<'_>) {
    for extra in extras {
        if let Some(key) = extra.key.strip_prefix(prefix) {
            json.key(Text::from_plain(key).escaped()).json(&extra.value);
        }
    }
}

/// What a `thoughtSignature` turned out to be.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Signed {
    /// The provider's own.
    Bare,
    /// Envelopes of ours.
    Ours(Vec<Carried>),
    /// Looks like envelopes, and one is none.
    Forged,
}

/// Stands between the envelopes of one slot.
const BETWEEN: char = ' ';

/// Opens what a `thoughtSignature` holds.
///
/// The slot is bytes, so envelopes stand in it as base64; SDKs decode and encode it, in either alphabet.
pub(super) fn open(value: &Text<'_>, seal: Option<&Seal>) -> Signed {
    let Some(seal) = seal.filter(|_| value.escaped().starts_with(ENVELOPE_BASE64)) else { return Signed::Bare };
    let Some(envelopes) = decode_text(&standard_alphabet(value.by_ref())) else { return Signed::Bare };
    let opened = |envelope: &str| match seal.open_thought(envelope) {
        (Opened::Ours(opaque), thought) => Some(Carried { opaque, thought }),
        (Opened::Bare | Opened::Forged, _) => None,
    };
    let envelopes = envelopes.plain();
    // More than were ever put into one slot, with room for those of a call itself.
    if envelopes.split(BETWEEN).nth(2 * MOST).is_some() {
        return Signed::Forged;
    }
    envelopes.split(BETWEEN).map(opened).collect::<Option<Vec<_>>>().map_or(Signed::Forged, Signed::Ours)
}

/// How base64 of an envelope begins.
const ENVELOPE_BASE64: &str = "dGcxL";

/// `opaque` as the value of a `thoughtSignature`: bytes as they are if the provider made them, else an envelope.
pub(super) fn signature<'o>(opaque: &'o Opaque<'_>, seal: &Seal) -> Text<'o> {
    if is_own(opaque) {
        return opaque.data.by_ref();
    }
    Text::from_escaped(STANDARD.encode(seal.wrap(opaque)))
}

/// All of `states` as the value of one `thoughtSignature`; `None` where there are none. Of this provider's own there can
/// only be one.
pub(super) fn signatures(states: &[Carried], seal: &Seal) -> Option<Text<'static>> {
    let Carried { opaque: first, .. } = states.first()?;
    if is_own(first) {
        return Some(signature(first, seal).into_owned());
    }
    let mut envelopes = String::new();
    for Carried { opaque, thought } in states {
        if !envelopes.is_empty() {
            envelopes.push(BETWEEN);
        }
        envelopes.push_str(&seal.wrap_thought(opaque, thought));
    }
    Some(Text::from_escaped(STANDARD.encode(envelopes)))
}

/// What stands at the first call of an answer whose provider signs none: this vendor's newer models refuse a call without
/// a signature, and the mark tells the edge, when the conversation goes on with one of them, that there never was any.
pub(super) fn unsigned(seal: &Seal) -> Text<'static> {
    let mark = Opaque { kind: OpaqueKind::Unsigned, maker: OWN, data: Text::EMPTY };
    Text::from_escaped(STANDARD.encode(seal.wrap(&mark)))
}

/// True for state that this format's provider made.
pub(super) fn is_own(opaque: &Opaque<'_>) -> bool {
    opaque.maker == OWN && matches!(opaque.kind, OpaqueKind::ThoughtSignature | OpaqueKind::ThinkingSignature)
}

/// Base64 in the alphabet that all formats take.
pub(super) fn standard_alphabet(data: Text<'_>) -> Text<'_> {
    if memchr::memchr2(b'-', b'_', data.escaped().as_bytes()).is_none() {
        return data;
    }
    Text::from_escaped(data.escaped().replace('-', "+").replace('_', "/"))
}

/// `data` in the standard alphabet and padded, as the other formats have it; escapes, which clients write for `/`, stand
/// for one character each.
pub(super) fn standard_base64(data: Text<'_>) -> Text<'_> {
    let data = standard_alphabet(data);
    let is_base64 = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=');
    if !data.escaped().bytes().all(is_base64) {
        // Only what is base64 without its escapes may lose them.
        return if data.plain().bytes().all(is_base64) { padded(Text::from_escaped(data.into_plain())) } else { data };
    }
    padded(data)
}

fn padded(data: Text<'_>) -> Text<'_> {
    let missing = match data.escaped().len() % 4 {
        2 => "==",
        3 => "=",
        _ => return data,
    };
    Text::from_escaped([data.escaped(), missing].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_loses_its_escapes_and_nothing_else_does() {
        for (data, standard) in [
            ("QUJ", "QUJ="),
            ("QUI_-w", "QUI/+w=="),
            (r"QU\/D", "QU/D"),
            (r"QU\u002fD", "QU/D"),
            (r#"QU\",\"model\":\"x"#, r#"QU\",\"model\":\"x"#),
            (r"QU\nJD", r"QU\nJD"),
            ("QU JD", "QU JD"),
            ("é_é", "é/é"),
        ] {
            assert_eq!(standard_base64(Text::from_escaped(data)).escaped(), standard, "{data}");
        }
    }

    #[test]
    fn keys_have_one_spelling() {
        for (key, name) in [
            ("inlineData", "inlineData"),
            ("inline_data", "inlineData"),
            ("top_p", "topP"),
            ("max_output_tokens", "maxOutputTokens"),
        ] {
            assert_eq!(camel(key), name);
        }
    }

    #[test]
    fn envelopes_pass_a_slot_of_bytes() {
        let seal = Seal::new([7; 32]);
        let foreign = Opaque {
            kind: OpaqueKind::ThinkingSignature,
            maker: Format::AnthropicMessages,
            data: Text::from_escaped("Eo4BCkY+/="),
        };
        let value = signature(&foreign, &seal).into_owned();
        let carried = Carried::new(foreign.clone(), String::new());
        let ours = |many: usize| Signed::Ours(vec![carried.clone(); many]);
        assert_eq!(open(&value, Some(&seal)), ours(1));
        let url_safe = value.escaped().replace('+', "-").replace('/', "_").replace('=', "");
        assert_eq!(open(&Text::from_escaped(url_safe), Some(&seal)), ours(1));
        for (many, expected) in [(2, ours(2)), (MOST + 1, ours(MOST + 1)), (2 * MOST + 1, Signed::Forged)] {
            let all = signatures(&vec![carried.clone(); many], &seal).unwrap();
            assert_eq!(open(&all, Some(&seal)), expected, "{many}");
        }
        assert_eq!(open(&value, Some(&Seal::new([8; 32]))), Signed::Forged);
        for own in ["CiQB0e2Kb", "", "dGcxLg=="] {
            let expected = if own == "dGcxLg==" { Signed::Forged } else { Signed::Bare };
            assert_eq!(open(&Text::from_escaped(own), Some(&seal)), expected, "{own}");
        }
    }
}
