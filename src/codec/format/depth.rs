//! When is the JSON text of a tool call complete?

use crate::json::Follower;

/// Follows JSON text that arrives in pieces, each the contents of a JSON string (so: escaped once more).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Depth {
    level: u32,
    in_string: bool,
    escaped: bool,
    begun: bool,
    beyond: bool,
    json: Follower,
}

impl Depth {
    /// Takes the next piece.
    pub(crate) fn feed(&mut self, piece: &str) {
        let mut rest = piece.as_bytes();
        while let Some((&byte, tail)) = rest.split_first() {
            rest = tail;
            if byte != b'\\' {
                self.character(byte);
                continue;
            }
            let Some((&kind, tail)) = rest.split_first() else { return };
            rest = tail;
            if kind == b'u' {
                let (hex, tail) = rest.split_at_checked(4).unwrap_or((rest, &[]));
                rest = tail;
                self.character(decoded(hex));
            } else {
                self.character(unescaped(kind));
            }
        }
    }

    /// True while neither an object nor an array was opened.
    pub(crate) fn is_outside(&self) -> bool {
        !self.begun
    }

    /// True once an object or array was opened and everything that was opened is closed.
    pub(crate) fn is_complete(&self) -> bool {
        self.begun && self.level == 0 && !self.in_string
    }

    /// True when something was opened and is not closed.
    pub(crate) fn is_open(&self) -> bool {
        self.begun && !self.is_complete()
    }

    /// True when more than white space came behind what was complete.
    pub(crate) fn is_beyond(&self) -> bool {
        self.beyond
    }

    /// True when what came is no JSON, or more than one text.
    pub(crate) fn is_faulty(&self) -> bool {
        self.json.is_faulty()
    }

    /// Takes one byte of the JSON text itself.
    fn character(&mut self, byte: u8) {
        self.json.byte(byte);
        self.beyond |= self.is_complete() && !byte.is_ascii_whitespace();
        match byte {
            _ if self.escaped => self.escaped = false,
            b'\\' if self.in_string => self.escaped = true,
            b'"' => self.in_string = !self.in_string,
            _ if self.in_string => {}
            b'{' | b'[' => {
                self.begun = true;
                self.level = self.level.saturating_add(1);
            }
            b'}' | b']' => self.level = self.level.saturating_sub(1),
            _ => {}
        }
    }
}

/// The character of an escape with one letter.
fn unescaped(kind: u8) -> u8 {
    match kind {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 0x08,
        b'f' => 0x0c,
        itself => itself,
    }
}

/// The character of `\uXXXX`, where it can matter here; a letter for every other.
fn decoded(hex: &[u8]) -> u8 {
    let code = std::str::from_utf8(hex).ok().and_then(|hex| u8::from_str_radix(hex, 16).ok());
    code.filter(u8::is_ascii).unwrap_or(b'x')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_complete_json() {
        for (pieces, complete) in [
            (&[r"{}"][..], true),
            (&[r"{", r"}"], true),
            (&[r#"{\"a\": \"}\"}"#], true),
            (&[r#"{\"a\": \"}\""#], false),
            (&[r#"{\"a\": \"\\\"}"#], false),
            (&[r#"{\"a\": \"\\\""#, r#"\"}"#], true),
            (&[r#"{\"a\": \"\\\\\"}"#], true),
            (&[r"\u007b\u0022}\u0022", r"\u007d"], true),
            (&[r"{\n}"], true),
            (&[r"{\u00e9"], false),
            (&[r#"{\"a\":[1,{\"b\":2}]"#], false),
            (&[r#"{\"a\":[1,{\"b\":2}]"#, "}"], true),
            (&[""], false),
            (&[" "], false),
        ] {
            let mut depth = Depth::default();
            for piece in pieces {
                depth.feed(piece);
            }
            assert_eq!(depth.is_complete(), complete, "{pieces:?}");
            assert!(!depth.is_beyond(), "{pieces:?}");
        }
    }

    #[test]
    fn knows_what_goes_on_behind_its_end() {
        for pieces in [&[r"{}{}"][..], &["{}", "{"], &["{}", r"\n ", "1"], &["{}}"], &[r"{}\u0022"]] {
            let mut depth = Depth::default();
            for piece in pieces {
                depth.feed(piece);
            }
            assert!(depth.is_beyond(), "{pieces:?}");
        }
    }
}
