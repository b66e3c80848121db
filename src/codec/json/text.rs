//! Pieces of JSON text that travel without being decoded.

use std::borrow::Cow;

/// The contents of a JSON string, without its quotes and *still escaped*.
///
/// A delta travels from a provider's event into the client's in this form: nothing is unescaped, nothing is escaped
/// again. Two pieces may be joined, because escaping works character by character.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Text<'a>(Cow<'a, str>);

impl<'a> Text<'a> {
    /// The empty string.
    pub const EMPTY: Text<'static> = Text(Cow::Borrowed(""));

    /// Takes contents that are escaped already, as a parser found them. What is not would end the string that it is written
    /// into: of what no parser has seen make it with [`from_plain`](Self::from_plain) or [`mended`](Self::mended).
    #[must_use]
    pub fn from_escaped(escaped: impl Into<Cow<'a, str>>) -> Self {
        let escaped = escaped.into();
        debug_assert!(is_contents(&escaped), "no contents of a string: {escaped:?}");
        Self(escaped)
    }

    /// Takes contents that are meant to be escaped, such as a model writes: what no string can hold is escaped.
    #[must_use]
    pub fn mended(meant: &'a str) -> Self {
        if is_contents(meant) {
            return Self(Cow::Borrowed(meant));
        }
        let mut out = String::with_capacity(meant.len() + 16);
        let mut rest = meant;
        while let Some(first) = rest.chars().next() {
            let width = match escape_len(rest.as_bytes()) {
                Some(width) => width,
                None if first != '\\' && first != '"' && first >= ' ' => first.len_utf8(),
                None => 0,
            };
            let (taken, left) = rest.split_at_checked(width.max(first.len_utf8())).unwrap_or((rest, ""));
            out.push_str(if width > 0 { taken.into() } else { Text::from_plain(taken).0 }.as_ref());
            rest = left;
        }
        Self(Cow::Owned(out))
    }

    /// Escapes `plain`; borrows where nothing needs it.
    #[must_use]
    pub fn from_plain(plain: &'a str) -> Self {
        if plain.bytes().any(needs_escape) {
            let mut out = Vec::with_capacity(plain.len() + 16);
            super::write::escape_into(plain, &mut out);
            return Self(Cow::Owned(String::from_utf8(out).unwrap_or_default()));
        }
        Self(Cow::Borrowed(plain))
    }

    /// The text of JSON, or words with such text in them, as the contents of a string. What is read there are the JSON's own
    /// escapes, by a model, to which `\u5317` is more tokens than the character and says less.
    #[must_use]
    pub fn from_json(json: &'a str) -> Self {
        match legible(json) {
            Cow::Borrowed(json) => Self::from_plain(json),
            Cow::Owned(json) => Text::from_plain(&json).into_owned(),
        }
    }

    /// The contents, escaped.
    #[must_use]
    pub fn escaped(&self) -> &str {
        &self.0
    }

    /// The contents, decoded. A lone surrogate becomes U+FFFD.
    #[must_use]
    pub fn plain(&self) -> Cow<'_, str> {
        unescape(&self.0)
    }

    /// Number of Unicode code points of the contents, decoded.
    #[must_use]
    pub fn code_points(&self) -> u64 {
        let mut rest = self.escaped().as_bytes();
        if memchr::memchr(b'\\', rest).is_none() {
            return rest.iter().fold(0, |count, byte| count + u64::from(byte & 0xC0 != 0x80));
        }
        let (mut count, mut high) = (0_u64, false);
        while let Some((&byte, behind)) = rest.split_first() {
            let (width, low, next_high) = match (byte, behind.first()) {
                (b'\\', Some(b'u')) => {
                    let half = behind.get(1..3).unwrap_or_default();
                    let is = |low: u8, high: u8| matches!(half, [b'd' | b'D', second] if (low..=high).contains(&second.to_ascii_lowercase()));
                    let second_half = is(b'c', b'f');
                    (6, second_half && high, is(b'8', b'9') || is(b'a', b'b'))
                }
                (b'\\', _) => (2, false, false),
                // The later bytes of a character that takes several.
                (0x80..=0xBF, _) => (1, true, false),
                _ => (1, false, false),
            };
            count += u64::from(!low);
            high = next_high;
            rest = rest.get(width..).unwrap_or_default();
        }
        count
    }

    /// The contents, decoded, for the life of the source.
    #[must_use]
    pub fn into_plain(self) -> Cow<'a, str> {
        match self.0 {
            Cow::Borrowed(text) => unescape(text),
            Cow::Owned(text) => Cow::Owned(unescape(&text).into_owned()),
        }
    }

    /// True for the empty string.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// True when the decoded contents are white space only (also when empty).
    #[must_use]
    pub fn is_blank(&self) -> bool {
        // A character that is not white space settles it without decoding, and nearly every text begins with one.
        match self.0.bytes().next() {
            Some(first) if first.is_ascii_alphanumeric() => false,
            _ => self.plain().chars().all(char::is_whitespace),
        }
    }

    /// Appends `other`.
    pub fn push(&mut self, other: &Text<'_>) {
        if !other.is_empty() {
            self.0.to_mut().push_str(&other.0);
        }
    }

    /// What stands behind the first `at` bytes of the escaped contents; `at` must not lie inside an escape.
    ///
    /// Empty where `at` is no place to cut.
    #[must_use]
    pub fn split_off(self, at: usize) -> Text<'a> {
        match self.0 {
            Cow::Borrowed(text) => Text(Cow::Borrowed(text.get(at..).unwrap_or_default())),
            Cow::Owned(text) => Text(Cow::Owned(text.get(at..).unwrap_or_default().to_owned())),
        }
    }

    /// A copy that borrows from `self`.
    #[must_use]
    pub fn by_ref(&self) -> Text<'_> {
        Text(Cow::Borrowed(&self.0))
    }

    /// A copy that owns its bytes.
    #[must_use]
    pub fn into_owned(self) -> Text<'static> {
        Text(Cow::Owned(self.0.into_owned()))
    }
}

/// True for what may stand between the quotes of a JSON string.
fn is_contents(text: &str) -> bool {
    let mut rest = text.as_bytes();
    while let Some(at) = rest.iter().position(|byte| needs_escape(*byte)) {
        let Some(width) = rest.get(at..).and_then(escape_len) else { return false };
        rest = rest.get(at + width..).unwrap_or_default();
    }
    true
}

/// The length of the escape that `bytes` begins with.
fn escape_len(bytes: &[u8]) -> Option<usize> {
    match bytes {
        [b'\\', b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', ..] => Some(2),
        [b'\\', b'u', hex @ ..] if hex.get(..4)?.iter().all(u8::is_ascii_hexdigit) => Some(6),
        _ => None,
    }
}

/// The text of one whole JSON value, exactly as the source had it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Json<'a>(Cow<'a, str>);

impl<'a> Json<'a> {
    /// The value `null`.
    pub const NULL: Json<'static> = Json(Cow::Borrowed("null"));
    /// The value `{}`.
    pub const EMPTY_OBJECT: Json<'static> = Json(Cow::Borrowed("{}"));

    /// Takes text that is known to be one JSON value.
    #[must_use]
    pub fn from_valid(text: impl Into<Cow<'a, str>>) -> Self {
        Self(text.into())
    }

    /// Checks that `text` is one JSON value and takes it.
    ///
    /// # Errors
    ///
    /// `text` is not JSON, or holds more than one value.
    pub fn parse(text: impl Into<Cow<'a, str>>) -> Result<Self, super::JsonError> {
        let text = text.into();
        let mut cursor = super::Cursor::over(&text);
        cursor.skip()?;
        cursor.finish()?;
        Ok(Self(text))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What kind of value it is.
    #[must_use]
    pub fn kind(&self) -> super::Kind {
        super::Kind::of(self.0.trim_start().bytes().next().unwrap_or(b'n'))
    }

    /// True for `{}`, `[]`, `""` and `null`, however they are spaced.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let mut bytes = self.0.bytes().filter(|b| !b.is_ascii_whitespace());
        matches!(
            (bytes.next(), bytes.next(), bytes.next()),
            (Some(b'{'), Some(b'}'), None) | (Some(b'['), Some(b']'), None) | (Some(b'"'), Some(b'"'), None)
        ) || self.0.trim() == "null"
    }

    /// True for a penalty or a bias that says more than is so by itself: `0` and `{}`, which many clients always send, do
    /// not.
    #[must_use]
    pub fn tells(&self) -> bool {
        !self.is_empty() && self.as_str().parse::<f64>() != Ok(0.0)
    }

    /// The number as a whole one is written, if it is one: `5.0` and `5e0` as `5`. Anything else is as it was.
    #[must_use]
    pub fn whole(&self) -> Json<'_> {
        // Beyond these not every whole number is a double.
        const EXACT: f64 = 9_007_199_254_740_992.0;
        if !self.0.contains(['.', 'e', 'E']) {
            return self.by_ref();
        }
        match self.0.trim().parse::<f64>() {
            Ok(number) if number.abs() <= EXACT && number.fract() == 0.0 => Json::from_valid(format!("{number:.0}")),
            _ => self.by_ref(),
        }
    }

    /// A cursor at the value.
    #[must_use]
    pub fn cursor(&self) -> super::Cursor<'_> {
        super::Cursor::over(&self.0)
    }

    /// A copy that borrows from `self`.
    #[must_use]
    pub fn by_ref(&self) -> Json<'_> {
        Json(Cow::Borrowed(&self.0))
    }

    /// A copy that owns its bytes.
    #[must_use]
    pub fn into_owned(self) -> Json<'static> {
        Json(Cow::Owned(self.0.into_owned()))
    }
}

fn needs_escape(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

/// Decodes the escapes of a JSON string's contents.
fn unescape(escaped: &str) -> Cow<'_, str> {
    let Some(first) = memchr::memchr(b'\\', escaped.as_bytes()) else {
        return Cow::Borrowed(escaped);
    };
    let mut out = String::with_capacity(escaped.len());
    out.push_str(escaped.get(..first).unwrap_or_default());
    let mut rest = escaped.get(first..).unwrap_or_default();
    while let Some(at) = memchr::memchr(b'\\', rest.as_bytes()) {
        out.push_str(rest.get(..at).unwrap_or_default());
        let (decoded, used) = unescape_one(rest.get(at..).unwrap_or_default());
        out.push(decoded);
        rest = rest.get(at + used..).unwrap_or_default();
    }
    out.push_str(rest);
    Cow::Owned(out)
}

/// Decodes the escape that `text` begins with; returns it and how many bytes it took.
fn unescape_one(text: &str) -> (char, usize) {
    match text.as_bytes().get(1) {
        Some(b'n') => ('\n', 2),
        Some(b't') => ('\t', 2),
        Some(b'r') => ('\r', 2),
        Some(b'b') => ('\u{8}', 2),
        Some(b'f') => ('\u{c}', 2),
        Some(b'u') => {
            let high = hex4(text, 2).unwrap_or(0xFFFD);
            if (0xD800..0xDC00).contains(&high)
                && text.as_bytes().get(6..8) == Some(b"\\u")
                && let Some(low @ 0xDC00..0xE000) = hex4(text, 8)
            {
                let code = 0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00);
                return (char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER), 12);
            }
            (char::from_u32(high).unwrap_or(char::REPLACEMENT_CHARACTER), 6)
        }
        Some(&other) => (char::from(other), 2),
        None => ('\\', 1),
    }
}

/// JSON text that means the same, with characters instead of `\uXXXX`; numbers, white space and the order stay.
///
/// Controls, quotes and backslashes cannot stand in a string as they are, the line ends U+2028 and U+2029 some readers break
/// at, and half of a surrogate pair is no character.
pub(super) fn legible(json: &str) -> Cow<'_, str> {
    if memchr::memmem::find(json.as_bytes(), b"\\u").is_none() {
        return Cow::Borrowed(json);
    }
    let mut out = String::with_capacity(json.len());
    let mut rest = json;
    while let Some(at) = memchr::memchr(b'\\', rest.as_bytes()) {
        let (before, escaped) = rest.split_at_checked(at).unwrap_or((rest, ""));
        out.push_str(before);
        let (decoded, used) = unescape_one(escaped);
        let (escape, behind) = escaped.split_at_checked(used).unwrap_or((escaped, ""));
        if escape.starts_with("\\u") && is_legible(decoded) {
            out.push(decoded);
        } else {
            out.push_str(escape);
        }
        rest = behind;
    }
    out.push_str(rest);
    Cow::Owned(out)
}

/// False also for what a lone surrogate is decoded to.
fn is_legible(decoded: char) -> bool {
    !decoded.is_control() && !matches!(decoded, '"' | '\\' | '\u{2028}' | '\u{2029}' | char::REPLACEMENT_CHARACTER)
}

fn hex4(text: &str, at: usize) -> Option<u32> {
    u32::from_str_radix(text.get(at..at + 4)?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_every_escape() {
        for (escaped, plain) in [
            (r"plain", "plain"),
            (r#"a\"b\\c\/d"#, "a\"b\\c/d"),
            (r"\n\t\r\b\f", "\n\t\r\u{8}\u{c}"),
            (r"\u00e9\u5317", "é北"),
            (r"\ud83d\ude00!", "😀!"),
            (r"\ud83d", "\u{fffd}"),
            (r"\ud83dx", "\u{fffd}x"),
        ] {
            assert_eq!(Text::from_escaped(escaped).plain(), plain);
        }
    }

    #[test]
    fn what_a_model_escaped_badly_is_mended() {
        for (meant, escaped) in [
            ("", ""),
            (r"a\n\u00e9\/", r"a\n\u00e9\/"),
            ("a\nb\u{1}", r"a\nb\u0001"),
            (r#"say "hi""#, r#"say \"hi\""#),
            (r"\x\'\u12\", r"\\x\\'\\u12\\"),
            (r"\u北京\uD83", r"\\u北京\\uD83"),
            (r#"\\""#, r#"\\\""#),
        ] {
            assert_eq!(Text::mended(meant).escaped(), escaped, "{meant}");
            assert!(is_contents(escaped));
        }
        assert!(["\"", "\\", "\n", r"\x", r"\u12"].into_iter().all(|text| !is_contents(text)));
    }

    #[test]
    fn plain_text_survives_escaping() {
        for plain in ["", "x", "a\"b", "line\nline", "\u{1}", "北\u{2028}"] {
            assert_eq!(Text::from_plain(plain).plain(), plain);
        }
    }

    #[test]
    fn json_in_a_string_is_said_in_characters() {
        for (json, expected) in [
            (r#"{ "n": 1.0e-7, "\u5317" :"20\u00b0\ud83d\uDE00" }"#, r#"{ "n": 1.0e-7, "北" :"20°😀" }"#),
            (r#""\u0041\/\t\u003c\u200d""#, "\"A\\/\\t<\u{200d}\""),
            // What is no escape of a character, or none that may stand as it is.
            (r#""\\u5317\\\u5317""#, r#""\\u5317\\北""#),
            (r#""\u0022\u005c\u000a\u001b\u007f\u0085\u2028\u2029\ufffd""#, ""),
            (r#""\ud83d\u0041\ude00 \ud83d""#, r#""\ud83dA\ude00 \ud83d""#),
            ("{\"a\":\"北\\n\"}", ""),
            (r#""\u53"#, ""),
            (r#""\u5317 \u北京\"#, r#""北 \u北京\"#),
        ] {
            let expected = if expected.is_empty() { json } else { expected };
            assert_eq!(Text::from_json(json).plain(), expected);
            assert_eq!(legible(expected), expected, "it is said once and for all");
        }
    }

    #[test]
    fn knows_blank_text() {
        for (escaped, blank) in
            [("", true), (" ", true), (r"\n\t", true), (r"\u00a0", true), ("x", false), (r"\nx", false)]
        {
            assert_eq!(Text::from_escaped(escaped).is_blank(), blank, "{escaped}");
        }
    }

    #[test]
    fn counting_agrees_with_decoding() {
        let pieces =
            ["a", "é", "北", "🙂", "\\n", "\\\\", "\\u00e9", "\\uD83D", "\\uDE42", "\\ud83d\\ude42", "\\u0041"];
        for number in 0..pieces.len().pow(4) {
            let pick = |place: u32| pieces[number / pieces.len().pow(place) % pieces.len()];
            let text = Text::from_escaped([pick(0), pick(1), pick(2), pick(3)].concat());
            assert_eq!(text.code_points(), text.plain().chars().count() as u64, "{text:?}");
        }
    }

    #[test]
    fn counts_code_points() {
        for (escaped, count) in [("", 0), ("aé北😀", 4), (r"a\n\u5317\ud83d\ude00", 4)] {
            assert_eq!(Text::from_escaped(escaped).code_points(), count, "{escaped}");
        }
    }
}
