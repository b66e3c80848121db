//! Whether text that comes byte by byte is JSON so far.

use super::MAX_DEPTH;

/// Follows one JSON text (RFC 8259) to its end, without keeping it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Follower {
    at: At,
    /// What is open, the innermost in the lowest bit: set for an object.
    open: u128,
    depth: u32,
    faulty: bool,
}

/// What may come next.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum At {
    /// A value.
    #[default]
    Value,
    /// The first value of an array, or its end.
    First,
    /// The first key of an object, or its end.
    FirstKey,
    /// A key.
    Key,
    /// The colon behind a key.
    Colon,
    /// What goes on behind a value.
    Behind,
    /// More of a string.
    Text { key: bool },
    /// What was escaped in a string.
    Escape { key: bool },
    /// So many hexadecimal digits of an escape.
    Hex { key: bool, left: u8 },
    /// The rest of `true`, `false` or `null`.
    Word(&'static [u8]),
    /// More of a number.
    Number(Digits),
}

/// What of a number was read last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Digits {
    Minus,
    Zero,
    Whole,
    Point,
    Fraction,
    Exponent,
    Sign,
    Power,
}

impl Follower {
    /// Takes the next byte.
    pub(crate) fn byte(&mut self, byte: u8) {
        if self.faulty {
            return;
        }
        match self.next(byte) {
            Some(at) => self.at = at,
            None => self.faulty = true,
        }
    }

    /// True once something came that no JSON text has there, or more behind its end.
    pub(crate) fn is_faulty(&self) -> bool {
        self.faulty
    }

    fn next(&mut self, byte: u8) -> Option<At> {
        match self.at {
            At::Text { key } => text(key, byte),
            At::Escape { key } => match byte {
                b'u' => Some(At::Hex { key, left: 4 }),
                b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Some(At::Text { key }),
                _ => None,
            },
            At::Hex { key, left } if byte.is_ascii_hexdigit() => {
                Some(if left > 1 { At::Hex { key, left: left - 1 } } else { At::Text { key } })
            }
            At::Hex { .. } => None,
            At::Word(rest) => {
                let (due, rest) = rest.split_first()?;
                (*due == byte).then_some(if rest.is_empty() { At::Behind } else { At::Word(rest) })
            }
            At::Number(digits) => match digits.next(byte) {
                Some(digits) => Some(At::Number(digits)),
                None if digits.may_end() => self.between(At::Behind, byte),
                None => None,
            },
            at => self.between(at, byte),
        }
    }

    /// `byte` where no value is under way.
    fn between(&mut self, at: At, byte: u8) -> Option<At> {
        match (at, byte) {
            (at, b' ' | b'\t' | b'\n' | b'\r') => Some(at),
            (At::FirstKey, b'}') | (At::First, b']') | (At::Behind, b'}' | b']') => self.close(byte),
            (At::FirstKey | At::Key, b'"') => Some(At::Text { key: true }),
            (At::Colon, b':') => Some(At::Value),
            (At::Value | At::First, byte) => self.value(byte),
            (At::Behind, b',') if self.depth > 0 => Some(if self.is_in_object() { At::Key } else { At::Value }),
            _ => None,
        }
    }

    fn value(&mut self, byte: u8) -> Option<At> {
        match byte {
            b'{' => self.open(true, At::FirstKey),
            b'[' => self.open(false, At::First),
            b'"' => Some(At::Text { key: false }),
            b'-' => Some(At::Number(Digits::Minus)),
            b'0' => Some(At::Number(Digits::Zero)),
            b'1'..=b'9' => Some(At::Number(Digits::Whole)),
            b't' => Some(At::Word(b"rue")),
            b'f' => Some(At::Word(b"alse")),
            b'n' => Some(At::Word(b"ull")),
            _ => None,
        }
    }

    fn open(&mut self, object: bool, at: At) -> Option<At> {
        self.depth = (self.depth < MAX_DEPTH).then_some(self.depth + 1)?;
        self.open = self.open << 1 | u128::from(object);
        Some(at)
    }

    fn close(&mut self, byte: u8) -> Option<At> {
        if self.is_in_object() != (byte == b'}') {
            return None;
        }
        self.depth = self.depth.checked_sub(1)?;
        self.open >>= 1;
        Some(At::Behind)
    }

    fn is_in_object(&self) -> bool {
        self.open & 1 == 1
    }
}

fn text(key: bool, byte: u8) -> Option<At> {
    match byte {
        b'"' if key => Some(At::Colon),
        b'"' => Some(At::Behind),
        b'\\' => Some(At::Escape { key }),
        0..0x20 => None,
        _ => Some(At::Text { key }),
    }
}

impl Digits {
    fn next(self, byte: u8) -> Option<Self> {
        match (self, byte) {
            (Self::Minus, b'0') => Some(Self::Zero),
            (Self::Minus | Self::Whole, b'0'..=b'9') => Some(Self::Whole),
            (Self::Zero | Self::Whole, b'.') => Some(Self::Point),
            (Self::Point | Self::Fraction, b'0'..=b'9') => Some(Self::Fraction),
            (Self::Zero | Self::Whole | Self::Fraction, b'e' | b'E') => Some(Self::Exponent),
            (Self::Exponent, b'+' | b'-') => Some(Self::Sign),
            (Self::Exponent | Self::Sign | Self::Power, b'0'..=b'9') => Some(Self::Power),
            _ => None,
        }
    }

    fn may_end(self) -> bool {
        matches!(self, Self::Zero | Self::Whole | Self::Fraction | Self::Power)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::de::IgnoredAny;

    use super::*;

    /// Agrees with `serde_json`: what it reads is followed to the end, and what cannot go on is noticed at the byte where
    /// `serde_json` does.
    fn check(text: &str) {
        let mut follower = Follower::default();
        // A space ends a number.
        text.bytes().chain([b' ']).for_each(|byte| follower.byte(byte));
        match serde_json::from_str::<IgnoredAny>(text) {
            Ok(_) => assert!(!follower.is_faulty() && follower.at == At::Behind && follower.depth == 0, "{text}"),
            Err(error) if error.is_eof() => assert!(follower.depth > 0 || follower.at != At::Behind, "{text}"),
            Err(error) => assert!(follower.is_faulty(), "{text}: {error}"),
        }
    }

    /// JSON, what begins as JSON, and what nearly is.
    const TEXTS: &[&str] = &[
        "{}",
        "[]",
        "{a:1}",
        "{'a':1}",
        r#"{"a":1,}"#,
        r#"{"a":NaN}"#,
        r#"{"a":1}{"#,
        r#"{"a" 1}"#,
        r#"{"a":1]"#,
        "[1}",
        "[,1]",
        "[1,]",
        "[1 2]",
        r#"{"a"}"#,
        "{,}",
        "{1:2}",
        "tru",
        "true",
        "truth",
        "nul",
        "falsy",
        "-",
        "-1",
        "01",
        "-01",
        "1.",
        "1.5",
        ".5",
        "1e",
        "1e+",
        "1e+5",
        "1E-05x",
        "0.0e0",
        "+1",
        "Infinity",
        "\"\u{1}\"",
        "\"\\x\"",
        r#""\u12g4""#,
        r#""\u1234""#,
        r#""\u123"#,
        r#"{"a\u0022":[{"b":[null,false,-0.5e3]},"x"]}"#,
        "]",
        "}",
        "1]",
        "",
        " ",
        "\"é\"",
        "é",
        "{\"a\":\u{a0}1}",
        "\u{c}1",
        "{}\n\t\r ",
        "//",
        "{\"a\":1 //\n}",
    ];

    #[test]
    fn follows_what_is_json_and_nothing_else() {
        for text in TEXTS {
            check(text);
        }
        for depth in [MAX_DEPTH as usize, MAX_DEPTH as usize + 1] {
            let mut follower = Follower::default();
            ["[".repeat(depth), "]".repeat(depth)].concat().bytes().for_each(|byte| follower.byte(byte));
            assert_eq!(follower.is_faulty(), depth > MAX_DEPTH as usize);
        }
    }

    proptest! {
        #[test]
        fn agrees_with_the_reference(text in r#"[{}\[\]:, "\\u0-9aetrufalsn.\-]{0,24}"#) {
            check(&text);
        }

        #[test]
        fn one_wrong_byte_is_noticed(at in 0_usize..46, byte in 0x20_u8..0x7f) {
            let mut text = br#"{"a\u0022":[{"b":[null,false,-0.5e3]},"x",{}]}"#.to_vec();
            text[at] = byte;
            check(std::str::from_utf8(&text).unwrap());
        }
    }
}
