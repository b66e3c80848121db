//! One pass over JSON text, value by value, without a tree.

use std::borrow::Cow;
use std::ops::Range;

use super::scan::{escape_width, plain_run};
use super::{Json, Text};

/// Deepest nesting that is read; a deeper document is refused, so that no input can exhaust the stack.
pub const MAX_DEPTH: u32 = 128;

/// What a JSON value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `{…}`
    Object,
    /// `[…]`
    Array,
    /// `"…"`
    String,
    /// A number.
    Number,
    /// `true` or `false`.
    Bool,
    /// `null`, and whatever is no JSON value.
    Null,
}

impl Kind {
    /// The kind of value that begins with `byte`.
    #[must_use]
    pub fn of(byte: u8) -> Self {
        match byte {
            b'{' => Self::Object,
            b'[' => Self::Array,
            b'"' => Self::String,
            b't' | b'f' => Self::Bool,
            b'-' | b'0'..=b'9' => Self::Number,
            _ => Self::Null,
        }
    }

    /// The kind in words, with its article.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Object => "an object",
            Self::Array => "an array",
            Self::String => "a string",
            Self::Number => "a number",
            Self::Bool => "a boolean",
            Self::Null => "null",
        }
    }
}

/// What is wrong with a document, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem} at byte {offset}")]
pub struct JsonError {
    /// Byte offset in the document; [`pointer_at`](super::pointer_at) turns it into a path.
    pub offset: usize,
    /// What is wrong.
    pub problem: Problem,
}

/// What can be wrong with a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The bytes are not UTF-8.
    #[error("the text is not UTF-8")]
    NotUtf8,
    /// The document ends inside a value.
    #[error("the document ends too early")]
    TooShort,
    /// The grammar of JSON wants something else here.
    #[error("expected {0}")]
    Syntax(&'static str),
    /// Well-formed, but not the kind of value that belongs here.
    #[error("expected {expected}, found {}", found.words())]
    Type {
        /// What belongs here, in words.
        expected: &'static str,
        /// What is here.
        found: Kind,
    },
    /// Nested deeper than [`MAX_DEPTH`].
    #[error("nested deeper than {MAX_DEPTH} levels")]
    TooDeep,
    /// A key stands twice in an object where that is refused.
    #[error("the key stands twice in one object")]
    DuplicateKey,
}

/// Reads a document from front to back.
///
/// Every method leaves the cursor behind the value that it read. An error ends the reading.
#[derive(Debug, Clone)]
pub struct Cursor<'a> {
    text: &'a str,
    at: usize,
    depth: u32,
}

impl<'a> Cursor<'a> {
    /// A cursor at the start of `text`.
    #[must_use]
    pub fn over(text: &'a str) -> Self {
        Self { text, at: 0, depth: 0 }
    }

    /// A cursor at the start of `bytes`.
    ///
    /// # Errors
    ///
    /// [`Problem::NotUtf8`].
    pub fn over_bytes(bytes: &'a [u8]) -> Result<Self, JsonError> {
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(Self::over(text)),
            Err(error) => Err(JsonError { offset: error.valid_up_to(), problem: Problem::NotUtf8 }),
        }
    }

    /// Byte offset of the next value, behind white space.
    pub fn offset(&mut self) -> usize {
        self.space();
        self.at
    }

    /// Byte offset of the cursor, right behind what was read last.
    #[must_use]
    pub fn position(&self) -> usize {
        self.at
    }

    /// The kind of the next value.
    ///
    /// # Errors
    ///
    /// The document ends here.
    pub fn peek(&mut self) -> Result<Kind, JsonError> {
        self.space();
        self.byte().map(Kind::of).ok_or_else(|| self.fault(Problem::TooShort))
    }

    /// Reads an object; `each` gets every key, in order, with the cursor at its value.
    ///
    /// A value that `each` leaves unread is skipped.
    ///
    /// # Errors
    ///
    /// The value is no object or is malformed, or `each` failed.
    pub fn object<E: From<JsonError>>(
        &mut self,
        mut each: impl FnMut(Cow<'a, str>, &mut Self) -> Result<(), E>,
    ) -> Result<(), E> {
        self.enter(b'{', "an object")?;
        if !self.take_after_space(b'}') {
            loop {
                let key = self.key()?;
                let start = self.offset();
                each(key, self)?;
                if self.at == start {
                    self.skip()?;
                }
                if self.take_after_space(b',') {
                    continue;
                }
                if self.take_after_space(b'}') {
                    break;
                }
                return Err(self.syntax("`,` or `}`").into());
            }
        }
        self.depth -= 1;
        Ok(())
    }

    /// Reads an array; `each` gets every position with the cursor at the element.
    ///
    /// An element that `each` leaves unread is skipped.
    ///
    /// # Errors
    ///
    /// The value is no array or is malformed, or `each` failed.
    pub fn array<E: From<JsonError>>(
        &mut self,
        mut each: impl FnMut(usize, &mut Self) -> Result<(), E>,
    ) -> Result<(), E> {
        self.enter(b'[', "an array")?;
        if !self.take_after_space(b']') {
            for index in 0.. {
                let start = self.offset();
                each(index, self)?;
                if self.at == start {
                    self.skip()?;
                }
                if self.take_after_space(b',') {
                    continue;
                }
                if self.take_after_space(b']') {
                    break;
                }
                return Err(self.syntax("`,` or `]`").into());
            }
        }
        self.depth -= 1;
        Ok(())
    }

    /// Reads a string, leaving it escaped.
    ///
    /// # Errors
    ///
    /// The value is no string or is malformed.
    pub fn text(&mut self) -> Result<Text<'a>, JsonError> {
        self.raw_string().map(Text::from_escaped)
    }

    /// Reads a string and decodes it.
    ///
    /// # Errors
    ///
    /// The value is no string or is malformed.
    pub fn string(&mut self) -> Result<Cow<'a, str>, JsonError> {
        let (raw, escaped) = self.string_contents()?;
        Ok(if escaped { Text::from_escaped(raw).into_plain() } else { Cow::Borrowed(raw) })
    }

    /// Reads a whole number that is not negative; `5.0` counts.
    ///
    /// # Errors
    ///
    /// The value is another.
    pub fn u64(&mut self) -> Result<u64, JsonError> {
        let (start, digits) = self.number_text("a whole number, not negative")?;
        let whole = digits.parse().ok().or_else(|| {
            let (int, frac) = digits.split_once('.')?;
            if frac.bytes().all(|b| b == b'0') { int.parse().ok() } else { None }
        });
        whole.ok_or(JsonError { offset: start, problem: Problem::Syntax("a whole number, not negative") })
    }

    /// Reads a whole number; `-5.0` counts.
    ///
    /// # Errors
    ///
    /// The value is another.
    pub fn i64(&mut self) -> Result<i64, JsonError> {
        let (start, digits) = self.number_text("a whole number")?;
        let whole = digits.parse().ok().or_else(|| {
            let (int, frac) = digits.split_once('.')?;
            if frac.bytes().all(|b| b == b'0') { int.parse().ok() } else { None }
        });
        whole.ok_or(JsonError { offset: start, problem: Problem::Syntax("a whole number") })
    }

    /// Reads a number and keeps its text, so that `0.7` stays `0.7`.
    ///
    /// # Errors
    ///
    /// The value is another.
    pub fn number(&mut self) -> Result<Json<'a>, JsonError> {
        self.number_text("a number").map(|(_, text)| Json::from_valid(text))
    }

    /// Reads `true` or `false`.
    ///
    /// # Errors
    ///
    /// The value is another.
    pub fn bool(&mut self) -> Result<bool, JsonError> {
        match self.peek()? {
            Kind::Bool if self.byte() == Some(b't') => self.literal("true").map(|()| true),
            Kind::Bool => self.literal("false").map(|()| false),
            found => Err(self.fault(Problem::Type { expected: "true or false", found })),
        }
    }

    /// Reads `null` if it is next.
    ///
    /// # Errors
    ///
    /// Something that only begins like `null` is next, or the document ends.
    pub fn null(&mut self) -> Result<bool, JsonError> {
        if self.peek()? == Kind::Null {
            return self.literal("null").map(|()| true);
        }
        Ok(false)
    }

    /// Reads `null` as `None`, anything else with `read`.
    ///
    /// # Errors
    ///
    /// As `read`.
    pub fn nullable<T, E: From<JsonError>>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, E>,
    ) -> Result<Option<T>, E> {
        if self.null()? { Ok(None) } else { read(self).map(Some) }
    }

    /// Reads any value and keeps its text.
    ///
    /// # Errors
    ///
    /// The value is malformed.
    pub fn json(&mut self) -> Result<Json<'a>, JsonError> {
        let start = self.offset();
        self.skip()?;
        Ok(Json::from_valid(self.slice(start)))
    }

    /// Reads any value and forgets it.
    ///
    /// # Errors
    ///
    /// The value is malformed.
    pub fn skip(&mut self) -> Result<(), JsonError> {
        // What is open, the innermost as the last bit: set for an object. The depth's bound is how many bits there are.
        let (mut open, outside) = (0_u128, self.depth);
        loop {
            match self.peek()? {
                kind @ (Kind::Object | Kind::Array) => {
                    let object = kind == Kind::Object;
                    self.enter(if object { b'{' } else { b'[' }, "a value")?;
                    open = open << 1 | u128::from(object);
                    if !self.take_after_space(if object { b'}' } else { b']' }) {
                        if object {
                            self.skip_key()?;
                        }
                        continue;
                    }
                    (open, self.depth) = (open >> 1, self.depth - 1);
                }
                Kind::String => {
                    self.raw_string()?;
                }
                Kind::Number => {
                    self.number_text("a number")?;
                }
                Kind::Bool => {
                    self.bool()?;
                }
                Kind::Null => self.literal("null")?,
            }
            // Behind a value: the next one, or ends of what is open.
            loop {
                if self.depth == outside {
                    return Ok(());
                }
                let object = open & 1 == 1;
                if self.take_after_space(b',') {
                    if object {
                        self.skip_key()?;
                    }
                    break;
                }
                if !self.take_after_space(if object { b'}' } else { b']' }) {
                    return Err(self.syntax(if object { "`,` or `}`" } else { "`,` or `]`" }));
                }
                (open, self.depth) = (open >> 1, self.depth - 1);
            }
        }
    }

    /// Skips the next value; at once where an earlier reading of this document found that it takes the bytes `known`.
    ///
    /// # Errors
    ///
    /// The value is malformed.
    pub fn pass(&mut self, known: &Range<usize>) -> Result<(), JsonError> {
        if self.offset() != known.start || known.is_empty() || !self.text.is_char_boundary(known.end) {
            return self.skip();
        }
        self.at = known.end;
        Ok(())
    }

    /// Checks that nothing but white space is left.
    ///
    /// # Errors
    ///
    /// There is something left.
    pub fn finish(&mut self) -> Result<(), JsonError> {
        self.space();
        if self.at == self.text.len() { Ok(()) } else { Err(self.syntax("the end of the document")) }
    }

    /// An error at the next value, for a reader that finds it well-formed but wrong.
    pub fn wrong(&mut self, expected: &'static str) -> JsonError {
        match self.peek() {
            // What begins like none of them is no value at all.
            Ok(Kind::Null) if self.text.as_bytes().get(self.at) != Some(&b'n') => self.syntax(expected),
            Ok(found) => self.fault(Problem::Type { expected, found }),
            Err(error) => error,
        }
    }

    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn slice(&self, start: usize) -> &'a str {
        self.text.get(start..self.at).unwrap_or_default()
    }

    #[inline]
    fn space(&mut self) {
        // Most values stand close together.
        if self.byte().is_some_and(|byte| byte <= b' ') {
            while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.byte() {
                self.at += 1;
            }
        }
    }

    #[inline]
    fn take_after_space(&mut self, byte: u8) -> bool {
        self.space();
        let taken = self.byte() == Some(byte);
        self.at += usize::from(taken);
        taken
    }

    fn enter(&mut self, open: u8, expected: &'static str) -> Result<(), JsonError> {
        if self.peek()? != Kind::of(open) {
            return Err(self.wrong(expected));
        }
        if self.depth == MAX_DEPTH {
            return Err(self.fault(Problem::TooDeep));
        }
        self.depth += 1;
        self.at += 1;
        Ok(())
    }

    fn key(&mut self) -> Result<Cow<'a, str>, JsonError> {
        let (raw, escaped) = self.raw_key()?;
        Ok(if escaped { Text::from_escaped(raw).into_plain() } else { Cow::Borrowed(raw) })
    }

    /// Steps over a key without decoding it.
    fn skip_key(&mut self) -> Result<(), JsonError> {
        self.raw_key().map(|_| ())
    }

    /// Reads a key and its colon; returns the key as [`string_contents`](Self::string_contents) does.
    #[inline]
    fn raw_key(&mut self) -> Result<(&'a str, bool), JsonError> {
        if self.peek()? != Kind::String {
            return Err(self.syntax("a key in quotes"));
        }
        let key = self.string_contents()?;
        if self.take_after_space(b':') { Ok(key) } else { Err(self.syntax("`:`")) }
    }

    fn literal(&mut self, word: &'static str) -> Result<(), JsonError> {
        if self.text.get(self.at..).is_some_and(|rest| rest.starts_with(word)) {
            self.at += word.len();
            return Ok(());
        }
        Err(self.syntax("a JSON value"))
    }

    fn raw_string(&mut self) -> Result<&'a str, JsonError> {
        self.string_contents().map(|(raw, _)| raw)
    }

    /// Reads a string; returns its contents, still escaped, and whether there is an escape among them.
    #[inline]
    fn string_contents(&mut self) -> Result<(&'a str, bool), JsonError> {
        if !self.take_after_space(b'"') {
            return Err(self.wrong("a string"));
        }
        let start = self.at;
        let rest = self.text.as_bytes().get(start..).unwrap_or_default();
        let end = start + plain_run(rest);
        if self.text.as_bytes().get(end) == Some(&b'"') {
            self.at = end + 1;
            return Ok((self.text.get(start..end).unwrap_or_default(), false));
        }
        self.at = end;
        self.escaped_contents(start)
    }

    /// Goes on in the string that began at `start`: it holds an escape, or is malformed.
    #[inline(never)]
    fn escaped_contents(&mut self, start: usize) -> Result<(&'a str, bool), JsonError> {
        let mut escaped = false;
        loop {
            self.at += plain_run(self.text.as_bytes().get(self.at..).unwrap_or_default());
            match self.byte() {
                Some(b'"') => {
                    let raw = self.slice(start);
                    self.at += 1;
                    return Ok((raw, escaped));
                }
                Some(b'\\') => {
                    escaped = true;
                    self.escape()?;
                }
                Some(_) => return Err(self.syntax("no bare control character in a string")),
                None => return Err(self.fault(Problem::TooShort)),
            }
        }
    }

    /// Steps over the escape at the cursor.
    fn escape(&mut self) -> Result<(), JsonError> {
        let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
        match escape_width(rest) {
            Some(width) => self.at += width,
            None if rest.len() < 2 => return Err(self.fault(Problem::TooShort)),
            None => return Err(self.syntax("a valid escape")),
        }
        Ok(())
    }

    /// Reads a number by JSON's grammar; returns where it began and its text.
    fn number_text(&mut self, expected: &'static str) -> Result<(usize, &'a str), JsonError> {
        if self.peek()? != Kind::Number {
            return Err(self.wrong(expected));
        }
        let start = self.at;
        self.at += usize::from(self.byte() == Some(b'-'));
        if self.byte() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.byte() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.byte() {
            self.at += 1;
            self.at += usize::from(matches!(self.byte(), Some(b'+' | b'-')));
            self.digits()?;
        }
        Ok((start, self.slice(start)))
    }

    fn digits(&mut self) -> Result<(), JsonError> {
        let start = self.at;
        while self.byte().is_some_and(|b| b.is_ascii_digit()) {
            self.at += 1;
        }
        if self.at == start { Err(self.syntax("a digit")) } else { Ok(()) }
    }

    fn fault(&self, problem: Problem) -> JsonError {
        JsonError { offset: self.at, problem }
    }

    fn syntax(&self, expected: &'static str) -> JsonError {
        self.fault(if self.at >= self.text.len() { Problem::TooShort } else { Problem::Syntax(expected) })
    }
}

/// What `read` makes of the outermost object's member `key` (in quotes), found from the document's end: what stands
/// before it is not read, and not checked.
///
/// `None` does not say that there is no such member.
pub fn late_member<'a, T>(
    document: &'a [u8],
    key: &str,
    read: impl FnOnce(&mut Cursor<'a>) -> Result<T, JsonError>,
) -> Option<T> {
    // Inside of a string the key's quotes would be escaped, so what is found is a key or a whole string.
    let at = find_last(document, key.as_bytes())? + key.len();
    let mut cursor = Cursor::over(std::str::from_utf8(document.get(at..)?).ok()?);
    if !cursor.take_after_space(b':') {
        return None;
    }
    let value = read(&mut cursor).ok()?;
    // One closing brace up to the end: the member is of the outermost object.
    while cursor.take_after_space(b',') {
        cursor.string_contents().ok()?;
        if !cursor.take_after_space(b':') {
            return None;
        }
        cursor.skip().ok()?;
    }
    let last = cursor.take_after_space(b'}') && cursor.finish().is_ok();
    last.then_some(value)
}

/// Where the last `key`, which begins with a quote, stands in `document`.
fn find_last(document: &[u8], key: &[u8]) -> Option<usize> {
    // Letters are rarer than quotes. A searcher would take longer to be made than it takes to search.
    let letter = *key.get(1)?;
    let mut starts = memchr::memrchr_iter(letter, document).filter_map(|at| at.checked_sub(1));
    starts.find(|start| document.get(*start..).is_some_and(|rest| rest.starts_with(key)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn accepts(text: &str) -> bool {
        let mut cursor = Cursor::over(text);
        cursor.skip().and_then(|()| cursor.finish()).is_ok()
    }

    #[test]
    fn agrees_with_serde_json() {
        for text in [
            "null",
            "true",
            "false",
            "0",
            "-0",
            "-1.5e+10",
            "1E5",
            "\"\"",
            r#""\u0041\n""#,
            "[]",
            "{}",
            "[1,2]",
            r#"{"a":{"b":[null]}}"#,
            " [ 1 , 2 ] ",
            "",
            " ",
            "nul",
            "truex",
            "01",
            "1.",
            ".5",
            "-",
            "1e",
            "+1",
            "\"",
            "\"\\x\"",
            "\"\\u12\"",
            "\"\n\"",
            "[1,]",
            "[,1]",
            "{\"a\"}",
            "{\"a\":}",
            "{a:1}",
            "{\"a\":1,}",
            "[1 2]",
            "[1]x",
            "1 1",
            "\u{feff}1",
            "NaN",
            "'a'",
        ] {
            assert_eq!(accepts(text), serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn agrees_with_serde_json_on_noise(text in r#"[\[\]{}:,"\\ntruefals0-9eE.+\- ua]{0,24}"#) {
            prop_assert_eq!(accepts(&text), serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok());
        }
    }

    #[test]
    fn refuses_deep_nesting() {
        let deep = |n: usize| "[".repeat(n) + &"]".repeat(n);
        assert!(accepts(&deep(MAX_DEPTH as usize)));
        assert!(!accepts(&deep(MAX_DEPTH as usize + 1)));
        assert!(!accepts(&"[".repeat(1_000_000)));
    }

    /// Reads all of a document by `array` and `object`; the number of its values.
    fn walk(cursor: &mut Cursor<'_>) -> Result<usize, JsonError> {
        let mut seen = 1;
        let mut count = |value: &mut Cursor<'_>| {
            seen += walk(value)?;
            Ok(())
        };
        match cursor.peek()? {
            Kind::Array => cursor.array::<JsonError>(|_, value| count(value))?,
            Kind::Object => cursor.object::<JsonError>(|_, value| count(value))?,
            _ => cursor.skip()?,
        }
        Ok(seen)
    }

    #[test]
    fn what_stands_side_by_side_is_not_nested() {
        let many = format!("[{}[]]", r#"[[1],{"a":[]}],"#.repeat(200));
        assert_eq!(walk(&mut Cursor::over(&many)).unwrap(), 1 + 200 * 5 + 1);
        assert!(accepts(&many));
    }

    #[test]
    fn reads_fields_and_skips_what_nobody_wants() {
        let mut cursor = Cursor::over(r#" {"skip":[{"x":1}],"n":5.0,"s":"a\nb","no":null,"b":true,"k\u0065y":[1,2]} "#);
        let mut seen = Vec::new();
        cursor
            .object::<JsonError>(|key, value| {
                match key.as_ref() {
                    "n" => seen.push(value.u64()?.to_string()),
                    "s" => seen.push(value.text()?.escaped().to_owned()),
                    "no" => seen.push(format!("{:?}", value.nullable(Cursor::text)?)),
                    "b" => seen.push(value.bool()?.to_string()),
                    "key" => seen.push(value.json()?.as_str().to_owned()),
                    _ => {}
                }
                Ok(())
            })
            .unwrap();
        cursor.finish().unwrap();
        assert_eq!(seen, ["5", r"a\nb", "None", "true", "[1,2]"]);
    }

    #[test]
    fn finds_a_member_from_the_end() {
        for (document, expect) in [
            (r#"{"a":[1],"u":{"x":1}}"#, Some(r#"{"x":1}"#)),
            (r#"{"u":1,"u": 2 , "b":{"c":[]},"d":"}" } "#, Some("2")),
            (r#"{"a":{"u":1}}"#, None),
            (r#"{"u":1,"a":{"u":2}}"#, None),
            (r#"{"u":1,"a":"u"}"#, None),
            (r#"{"u":1,"a":"\"u\":5"}"#, Some("1")),
            (r#"{"u":1}}"#, None),
            (r#"{"u":1"#, None),
            (r#"[{"u":1}]"#, None),
            ("", None),
        ] {
            let found = late_member(document.as_bytes(), "\"u\"", Cursor::json);
            assert_eq!(found.as_ref().map(Json::as_str), expect, "{document}");
        }
    }

    #[test]
    fn says_what_was_expected() {
        let mut cursor = Cursor::over(r#"{"max_tokens":"many"}"#);
        let error = cursor.object::<JsonError>(|_, value| value.u64().map(|_| ())).unwrap_err();
        assert_eq!(error.to_string(), "expected a whole number, not negative, found a string at byte 14");
        for (text, expected) in [
            (" null", "expected an object, found null at byte 1"),
            ("[]", "expected an object, found an array at byte 0"),
            (" hello", "expected an object at byte 1"),
            ("<html>", "expected an object at byte 0"),
            ("\u{feff}{}", "expected an object at byte 0"),
        ] {
            let error = Cursor::over(text).object::<JsonError>(|_, value| value.skip()).unwrap_err();
            assert_eq!(error.to_string(), expected, "{text}");
        }
    }
}
