//! Writing JSON straight into a buffer.

use super::{Json, Text};

/// Writes one JSON document into a byte buffer; commas are its business, nesting is the caller's.
///
/// ```
/// # use tidegate_codec::json::Writer;
/// let mut out = Vec::new();
/// let mut w = Writer::new(&mut out);
/// w.open_object();
/// w.key("model").plain("m");
/// w.key("stop").open_array();
/// w.plain("a");
/// w.plain("b");
/// w.close_array();
/// w.close_object();
/// assert_eq!(out, br#"{"model":"m","stop":["a","b"]}"#);
/// ```
#[derive(Debug)]
pub struct Writer<'o> {
    out: &'o mut Vec<u8>,
    /// The next value or key stands behind another one.
    comma: bool,
}

impl<'o> Writer<'o> {
    /// A writer that appends to `out`.
    pub fn new(out: &'o mut Vec<u8>) -> Self {
        Self { out, comma: false }
    }

    fn separate(&mut self) {
        if self.comma {
            self.out.push(b',');
        }
        self.comma = true;
    }

    /// Begins an object as the next value.
    pub fn open_object(&mut self) -> &mut Self {
        self.separate();
        self.out.push(b'{');
        self.comma = false;
        self
    }

    /// Ends the innermost object.
    pub fn close_object(&mut self) -> &mut Self {
        self.out.push(b'}');
        self.comma = true;
        self
    }

    /// Begins an array as the next value.
    pub fn open_array(&mut self) -> &mut Self {
        self.separate();
        self.out.push(b'[');
        self.comma = false;
        self
    }

    /// Ends the innermost array.
    pub fn close_array(&mut self) -> &mut Self {
        self.out.push(b']');
        self.comma = true;
        self
    }

    /// Names the next value. `key` must need no escape.
    pub fn key(&mut self, key: &str) -> &mut Self {
        self.separate();
        self.out.push(b'"');
        self.out.extend_from_slice(key.as_bytes());
        self.out.extend_from_slice(b"\":");
        self.comma = false;
        self
    }

    /// A string, escaped here.
    pub fn plain(&mut self, text: &str) -> &mut Self {
        self.separate();
        self.out.push(b'"');
        escape_into(text, self.out);
        self.out.push(b'"');
        self
    }

    /// A string whose contents are escaped already.
    pub fn text(&mut self, text: &Text<'_>) -> &mut Self {
        self.texts(&[text])
    }

    /// A string made of several escaped pieces.
    pub fn texts(&mut self, pieces: &[&Text<'_>]) -> &mut Self {
        self.separate();
        self.out.push(b'"');
        for piece in pieces {
            push_escaped(piece.escaped(), self.out);
        }
        self.out.push(b'"');
        self
    }

    /// A value whose text is known, copied as it is.
    pub fn json(&mut self, json: &Json<'_>) -> &mut Self {
        self.separate();
        push_escaped(json.as_str(), self.out);
        self
    }

    /// A value's text as a *string*, in characters where it has escapes of them: what `arguments` of a function call wants.
    pub fn json_as_string(&mut self, json: &Json<'_>) -> &mut Self {
        self.plain(&super::text::legible(json.as_str()))
    }

    /// An unsigned number.
    pub fn number(&mut self, number: u64) -> &mut Self {
        self.separate();
        push_number(number, self.out);
        self
    }

    /// `true` or `false`.
    pub fn bool(&mut self, value: bool) -> &mut Self {
        self.separate();
        self.out.extend_from_slice(if value { b"true" } else { b"false" });
        self
    }

    /// `null`.
    pub fn null(&mut self) -> &mut Self {
        self.separate();
        self.out.extend_from_slice(b"null");
        self
    }

    /// Text that the caller wrote as JSON, such as a constant.
    pub fn verbatim(&mut self, json: &str) -> &mut Self {
        self.separate();
        self.out.extend_from_slice(json.as_bytes());
        self
    }
}

/// Appends `number` in decimal.
pub fn push_number(number: u64, out: &mut Vec<u8>) {
    let mut digits = [0_u8; 20];
    let mut rest = number;
    let mut at = digits.len();
    for slot in digits.iter_mut().rev() {
        // The remainder is below ten, so the digit fits a byte.
        *slot = b'0' + (rest % 10) as u8;
        at -= 1;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(at..).unwrap_or_default());
}

/// Appends escaped contents, escaping only what some readers take for the end of a line.
///
/// U+2028, U+2029 and U+0085 are legal in JSON, but readers that split lines the Unicode way (Python's `splitlines`)
/// break an event at them; as escapes they mean the same.
pub fn push_escaped(escaped: &str, out: &mut Vec<u8>) {
    let mut rest = escaped.as_bytes();
    let mut from = 0;
    while let Some(found) = memchr::memchr2(0xE2, 0xC2, rest.get(from..).unwrap_or_default()) {
        let at = from + found;
        let (escape, width): (&[u8], usize) = match rest.get(at..) {
            Some([0xE2, 0x80, 0xA8, ..]) => (b"\\u2028", 3),
            Some([0xE2, 0x80, 0xA9, ..]) => (b"\\u2029", 3),
            Some([0xC2, 0x85, ..]) => (b"\\u0085", 2),
            _ => {
                from = at + 1;
                continue;
            }
        };
        out.extend_from_slice(rest.get(..at).unwrap_or_default());
        out.extend_from_slice(escape);
        rest = rest.get(at + width..).unwrap_or_default();
        from = 0;
    }
    out.extend_from_slice(rest);
}

/// Appends JSON text on one line, as an event's data must be. Between tokens a line break is a space, inside of strings
/// there is none, but for those that [`push_escaped`] escapes.
pub fn push_json(json: &str, out: &mut Vec<u8>) {
    let mut rest = json;
    while let Some(at) = memchr::memchr2(b'\n', b'\r', rest.as_bytes()) {
        push_escaped(rest.get(..at).unwrap_or_default(), out);
        out.push(b' ');
        rest = rest.get(at + 1..).unwrap_or_default();
    }
    push_escaped(rest, out);
}

/// Puts JSON text that was written on one line, in place.
pub fn join_lines(json: &mut [u8]) {
    json.iter_mut().filter(|byte| matches!(byte, b'\n' | b'\r')).for_each(|byte| *byte = b' ');
}

/// JSON text as [`push_json`] writes it.
#[must_use]
pub fn one_line(json: &str) -> String {
    let mut out = Vec::with_capacity(json.len());
    push_json(json, &mut out);
    String::from_utf8(out).unwrap_or_default()
}

/// Appends `plain` as the contents of a JSON string.
pub fn escape_into(plain: &str, out: &mut Vec<u8>) {
    let mut run = 0;
    let bytes = plain.as_bytes();
    for (at, &byte) in bytes.iter().enumerate() {
        let escape: &[u8] = match byte {
            b'"' => b"\\\"",
            b'\\' => b"\\\\",
            b'\n' => b"\\n",
            b'\r' => b"\\r",
            b'\t' => b"\\t",
            0x08 => b"\\b",
            0x0C => b"\\f",
            0x00..=0x1F => b"",
            _ => continue,
        };
        push_escaped(plain.get(run..at).unwrap_or_default(), out);
        run = at + 1;
        if escape.is_empty() {
            const HEX: [u8; 16] = *b"0123456789abcdef";
            let nibble = |n: u8| HEX.get(usize::from(n)).copied().unwrap_or(b'0');
            out.extend_from_slice(b"\\u00");
            out.push(nibble(byte >> 4));
            out.push(nibble(byte & 15));
        } else {
            out.extend_from_slice(escape);
        }
    }
    push_escaped(plain.get(run..).unwrap_or_default(), out);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_what_json_and_line_readers_need() {
        for (plain, json) in [
            ("a\"b\\c", r#"a\"b\\c"#),
            ("\n\r\t\u{8}\u{c}\u{1}\u{1f}", r"\n\r\t\b\f\u0001\u001f"),
            ("x\u{2028}y\u{2029}z\u{85}", r"x\u2028y\u2029z\u0085"),
            ("é € ’ 北 😀", "é € ’ 北 😀"),
        ] {
            let mut out = Vec::new();
            escape_into(plain, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), json);
        }
    }

    #[test]
    fn writes_numbers() {
        for number in [0, 7, 10, 1_234_567_890, u64::MAX] {
            let mut out = Vec::new();
            push_number(number, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), number.to_string());
        }
    }
}
