//! One JSON object on one line, and the time in it.

use std::fmt::{self, Display, Write};
use std::time::Duration;

/// The longest text that is written of one value, in bytes; what is longer is cut, and ends in `…`.
const TEXT_LIMIT: usize = 1024;

/// Writes one JSON object and the line feed behind it.
pub(super) struct Line<'b> {
    out: &'b mut Vec<u8>,
    separator: &'static [u8],
}

impl<'b> Line<'b> {
    pub(super) fn new(out: &'b mut Vec<u8>) -> Self {
        Self { out, separator: b"{" }
    }

    pub(super) fn end(self) {
        self.out.extend_from_slice(if self.separator == b"{" { b"{}\n" } else { b"}\n" });
    }

    /// A field of text. Control characters are escaped, so that no value can forge a line or drive a terminal.
    pub(super) fn text(&mut self, name: &str, value: &str) {
        self.name(name);
        self.out.push(b'"');
        escape(self.out, shortened(value));
        if value.len() > TEXT_LIMIT {
            self.out.extend_from_slice("…".as_bytes());
        }
        self.out.push(b'"');
    }

    pub(super) fn text_if(&mut self, name: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.text(name, value);
        }
    }

    /// A field of our own text, which needs no escape.
    pub(super) fn plain(&mut self, name: &str, value: &'static str) {
        self.name(name);
        self.out.push(b'"');
        self.out.extend_from_slice(value.as_bytes());
        self.out.push(b'"');
    }

    /// A field whose text is made by `Display`.
    pub(super) fn display(&mut self, name: &str, value: impl Display) {
        self.name(name);
        self.out.push(b'"');
        // The adapter does not fail.
        let _ = write!(Escaped { out: &mut *self.out, left: TEXT_LIMIT }, "{value}");
        self.out.push(b'"');
    }

    pub(super) fn time(&mut self, name: &str, since_epoch: Duration) {
        self.name(name);
        self.out.push(b'"');
        rfc3339(self.out, since_epoch);
        self.out.push(b'"');
    }

    pub(super) fn bool(&mut self, name: &str, value: bool) {
        self.name(name);
        self.out.extend_from_slice(if value { b"true" } else { b"false" });
    }

    pub(super) fn number(&mut self, name: &str, value: u64) {
        self.name(name);
        self.out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
    }

    pub(super) fn number_if(&mut self, name: &str, value: Option<u64>) {
        if let Some(value) = value {
            self.number(name, value);
        }
    }

    /// Milliseconds with three decimals.
    pub(super) fn millis(&mut self, name: &str, value: Duration) {
        self.name(name);
        let micros = u64::try_from(value.as_micros()).unwrap_or(u64::MAX);
        self.out.extend_from_slice(itoa::Buffer::new().format(micros / 1000).as_bytes());
        self.out.push(b'.');
        digits(self.out, micros % 1000, 3);
    }

    pub(super) fn millis_if(&mut self, name: &str, value: Option<Duration>) {
        if let Some(value) = value {
            self.millis(name, value);
        }
    }

    /// A field that is an object.
    pub(super) fn object(&mut self, name: &str, fill: impl FnOnce(&mut Line<'_>)) {
        self.name(name);
        fill_object(self.out, fill);
    }

    /// A field that is an array of objects.
    pub(super) fn objects<T>(&mut self, name: &str, items: &[T], fill: impl Fn(&mut Line<'_>, &T)) {
        self.name(name);
        self.out.push(b'[');
        for (place, item) in items.iter().enumerate() {
            if place > 0 {
                self.out.push(b',');
            }
            fill_object(self.out, |line| fill(line, item));
        }
        self.out.push(b']');
    }

    fn name(&mut self, name: &str) {
        self.out.extend_from_slice(self.separator);
        self.separator = b",";
        self.out.push(b'"');
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
    }
}

fn fill_object(out: &mut Vec<u8>, fill: impl FnOnce(&mut Line<'_>)) {
    let mut line = Line::new(out);
    fill(&mut line);
    let close: &[u8] = if line.separator == b"{" { b"{}" } else { b"}" };
    out.extend_from_slice(close);
}

/// The time as RFC 3339 in UTC with milliseconds: `2026-11-21T04:47:15.042Z`.
pub(super) fn rfc3339(out: &mut Vec<u8>, since_epoch: Duration) {
    let seconds = since_epoch.as_secs();
    let (year, month, day) = civil(seconds / 86_400);
    let of_day = seconds % 86_400;
    for (value, width, before) in [
        (year, 4, ""),
        (month, 2, "-"),
        (day, 2, "-"),
        (of_day / 3600, 2, "T"),
        (of_day / 60 % 60, 2, ":"),
        (of_day % 60, 2, ":"),
        (u64::from(since_epoch.subsec_millis()), 3, "."),
    ] {
        out.extend_from_slice(before.as_bytes());
        digits(out, value, width);
    }
    out.push(b'Z');
}

/// Year, month and day of the Gregorian calendar, from days since 1970-01-01.
///
/// Counted from 0000-03-01, so that the leap day is a year's last, and in eras of 400 years, which are all alike.
fn civil(days: u64) -> (u64, u64, u64) {
    const DAYS_OF_ERA: u64 = 146_097;
    let days = days + 719_468;
    let (era, day) = (days / DAYS_OF_ERA, days % DAYS_OF_ERA);
    let year = (day - day / 1460 + day / 36_524 - day / (DAYS_OF_ERA - 1)) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    // Months from March on have 31, 30, 31, 30, 31 days, five and five and two of them: 153 days in five months.
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, later) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (400 * era + year + later, month, day)
}

/// `value` in `width` digits, with zeros before it.
fn digits(out: &mut Vec<u8>, value: u64, width: u32) {
    for place in (0..width).rev() {
        out.push(b'0' + u8::try_from(value / 10_u64.pow(place) % 10).unwrap_or(0));
    }
}

fn shortened(value: &str) -> &str {
    if value.len() <= TEXT_LIMIT {
        return value;
    }
    let end = (0..=TEXT_LIMIT).rev().find(|end| value.is_char_boundary(*end)).unwrap_or(0);
    value.get(..end).unwrap_or_default()
}

/// Appends `text` as the contents of a JSON string.
fn escape(out: &mut Vec<u8>, text: &str) {
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\') {
        out.extend_from_slice(text.as_bytes());
        return;
    }
    for character in text.chars() {
        match character {
            '"' => out.extend_from_slice(b"\\\""),
            '\\' => out.extend_from_slice(b"\\\\"),
            '\n' => out.extend_from_slice(b"\\n"),
            '\r' => out.extend_from_slice(b"\\r"),
            '\t' => out.extend_from_slice(b"\\t"),
            // Separators that some readers take for the end of a line, and marks that turn the direction of text.
            '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                unicode(out, character);
            }
            _ if character.is_control() => unicode(out, character),
            _ => out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}

/// The escapes that [`escape`] uses, for text that is not JSON.
pub(super) fn escape_controls(out: &mut Vec<u8>, text: &str) {
    for character in text.chars() {
        if character.is_control() {
            escape(out, character.encode_utf8(&mut [0; 4]));
        } else {
            out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        }
    }
}

fn unicode(out: &mut Vec<u8>, character: char) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.extend_from_slice(b"\\u");
    let code = u32::from(character);
    for shift in [12, 8, 4, 0] {
        out.push(HEX.get((code >> shift & 0xf) as usize).copied().unwrap_or(b'0'));
    }
}

/// Escapes what is formatted into it, up to a number of bytes.
struct Escaped<'b> {
    out: &'b mut Vec<u8>,
    left: usize,
}

impl Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = (0..=self.left.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        let text = text.get(..end).unwrap_or_default();
        self.left -= text.len();
        escape(self.out, text);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_time(seconds: u64, millis: u32, expected: &str) {
        let mut out = Vec::new();
        rfc3339(&mut out, Duration::new(seconds, millis * 1_000_000));
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn dates() {
        check_time(0, 0, "1970-01-01T00:00:00.000Z");
        check_time(951_782_399, 999, "2000-02-28T23:59:59.999Z");
        check_time(951_782_400, 0, "2000-02-29T00:00:00.000Z");
        check_time(951_868_800, 7, "2000-03-01T00:00:00.007Z");
        check_time(1_735_689_599, 42, "2024-12-31T23:59:59.042Z");
        check_time(4_107_542_400, 0, "2100-03-01T00:00:00.000Z");
    }

    #[test]
    fn every_day_follows_the_one_before() {
        let mut before = civil(0);
        for days in 1..200_000 {
            let (year, month, day) = civil(days);
            let next_day = (year, month, day) == (before.0, before.1, before.2 + 1) && day <= 31;
            let next_month = (year, month, day) == (before.0, before.1 + 1, 1) && before.2 >= 28;
            let next_year = (month, day) == (1, 1) && before == (year - 1, 12, 31);
            assert!(next_day || next_month || next_year, "{before:?} -> {:?}", (year, month, day));
            before = (year, month, day);
        }
    }

    #[test]
    fn hostile_text_stays_one_value_on_one_line() {
        let hostile = "a\"b\\c\nd\r\u{1b}[31m\u{0}\u{7f}\u{85}\u{2028}\u{202e}é😀";
        let mut out = Vec::new();
        let mut line = Line::new(&mut out);
        line.text("text", hostile);
        line.display("shown", hostile);
        line.text("long", &"é".repeat(TEXT_LIMIT));
        line.display("long shown", "x".repeat(TEXT_LIMIT + 1));
        line.end();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text.lines().count(), 1);
        assert!(!text.trim_end().chars().any(|c| c.is_control() || c == '\u{2028}' || c == '\u{202e}'), "{text}");
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["text"], hostile);
        assert_eq!(value["shown"], hostile);
        assert_eq!(value["long"].as_str().unwrap().chars().count(), TEXT_LIMIT / 2 + 1);
        assert_eq!(value["long shown"].as_str().unwrap().len(), TEXT_LIMIT);
    }

    #[test]
    fn empty_objects_are_objects() {
        let mut out = Vec::new();
        Line::new(&mut out).end();
        let mut line = Line::new(&mut out);
        line.object("o", |_| {});
        line.objects("a", &[1, 2], |line, n| line.number("n", *n));
        line.end();
        assert_eq!(String::from_utf8(out).unwrap(), "{}\n{\"o\":{},\"a\":[{\"n\":1},{\"n\":2}]}\n");
    }

    #[test]
    fn milliseconds_keep_their_zeros() {
        let mut out = Vec::new();
        let mut line = Line::new(&mut out);
        line.millis("ms", Duration::from_micros(12_003));
        line.end();
        assert_eq!(out, b"{\"ms\":12.003}\n");
    }
}
