//! Events that look like the one before.
//!
//! Nearly every event of a long answer is the last one with other words in one string. Once such an event was read,
//! the next is compared with it byte for byte, and only its words are looked at: a tenth of the work, and the same
//! result. Whatever differs elsewhere is read from scratch.

use std::ops::Range;

use memchr::memmem;

use crate::json::contents_len;

/// Longest event that is remembered, in bytes: a stream keeps one for all its life.
const LONGEST: usize = 2048;

/// Keys whose values change from event to event and say nothing of the answer: filling against traffic analysis
/// (`OpenAI`), counters, and the date that only the first event's reader wants.
const FILLING: [(&str, Kind); 3] =
    [("\"obfuscation\":\"", Kind::Filling), ("\"sequence_number\":", Kind::Digits), ("\"created\":", Kind::Digits)];

/// What an event looked like.
#[derive(Debug, Default)]
pub(super) struct Shape {
    /// The event with the end that followed it; empty when there is none to compare with.
    bytes: Vec<u8>,
    /// What may differ, in order.
    holes: Vec<Hole>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Hole {
    at: Range<usize>,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// The words: contents of a JSON string.
    Words,
    /// Contents of a JSON string that say nothing.
    Filling,
    /// A whole number that says nothing.
    Digits,
    /// Blanks before the last brace (Anthropic fills events up with them).
    Blanks,
}

impl Shape {
    /// There is nothing to compare with.
    pub(super) fn forget(&mut self) {
        self.bytes.clear();
    }

    /// Remembers `event`, its end included, whose words are the contents of the JSON string at `words`.
    ///
    /// Forgets what was there if this one is no shape for others.
    pub(super) fn learn(&mut self, event: &[u8], words: Range<usize>) {
        self.forget();
        self.holes.clear();
        let quoted = words.start.checked_sub(1).and_then(|quote| event.get(quote)) == Some(&b'"')
            && event.get(words.end) == Some(&b'"');
        if event.len() > LONGEST || words.is_empty() || !quoted || !event.ends_with(b"\n") {
            return;
        }
        self.holes.push(Hole { at: words, kind: Kind::Words });
        for (key, kind) in FILLING {
            if let Some(hole) = memmem::find(event, key.as_bytes()).and_then(|at| filling(event, at + key.len(), kind))
            {
                self.holes.push(hole);
            }
        }
        self.holes.extend(blanks(event));
        self.holes.sort_by_key(|hole| hole.at.start);
        // A key among the words, or one in another: not what it seems.
        let apart = self.holes.windows(2).all(|pair| matches!(pair, [one, two] if one.at.end < two.at.start));
        if apart {
            self.bytes.extend_from_slice(event);
        }
    }

    /// The words of the event that `input` begins with, and the event's length with its end; `None` if it is not whole
    /// or differs from the remembered one in anything that matters.
    pub(super) fn matches<'i>(&self, input: &'i [u8]) -> Option<(&'i str, usize)> {
        if self.bytes.is_empty() || input.is_empty() {
            return None;
        }
        let (mut rest, mut seen, mut words) = (input, 0, "");
        for Hole { at, kind } in &self.holes {
            rest = rest.strip_prefix(self.bytes.get(seen..at.start)?)?;
            seen = at.end;
            let unchanged = self.bytes.get(at.start..=at.end).filter(|_| *kind != Kind::Words);
            if unchanged.is_some_and(|old| rest.starts_with(old)) {
                rest = rest.get(at.len()..)?;
                continue;
            }
            let len = match kind {
                Kind::Words | Kind::Filling => contents_len(rest)?,
                Kind::Digits => rest.iter().take_while(|byte| byte.is_ascii_digit()).count(),
                Kind::Blanks => rest.iter().take_while(|byte| **byte == b' ').count(),
            };
            let (hole, behind) = rest.split_at_checked(len)?;
            match kind {
                Kind::Words => words = std::str::from_utf8(hole).ok()?,
                Kind::Filling => drop(std::str::from_utf8(hole).ok()?),
                // A number has digits, and no zero in front.
                Kind::Digits if matches!(hole, [] | [b'0', _, ..]) => return None,
                Kind::Digits | Kind::Blanks => {}
            }
            rest = behind;
        }
        rest = rest.strip_prefix(self.bytes.get(seen..)?)?;
        (!words.is_empty()).then_some((words, input.len() - rest.len()))
    }
}

/// The value that begins at `start`, if it is of `kind` and ends as such a value does.
fn filling(event: &[u8], start: usize, kind: Kind) -> Option<Hole> {
    let rest = event.get(start..)?;
    let len = match kind {
        Kind::Digits => rest.iter().take_while(|byte| byte.is_ascii_digit()).count(),
        _ => contents_len(rest)?,
    };
    let ended = matches!((kind, rest.get(len)?), (Kind::Filling, b'"') | (Kind::Digits, b',' | b'}'));
    (ended && (kind == Kind::Filling || len > 0)).then_some(Hole { at: start..start + len, kind })
}

/// Where blanks stand, or could stand, before the last brace.
fn blanks(event: &[u8]) -> Option<Hole> {
    let brace = memchr::memrchr(b'}', event)?;
    let before = event.get(..brace)?;
    let blanks = before.iter().rev().take_while(|byte| **byte == b' ').count();
    // Not inside of a string: behind a value's own end.
    let start = brace - blanks;
    matches!(event.get(start.checked_sub(1)?)?, b'}' | b']' | b'"')
        .then_some(Hole { at: start..brace, kind: Kind::Blanks })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(event: &str, words: &str) -> Shape {
        let at = event.find(words).unwrap();
        let mut shape = Shape::default();
        shape.learn(event.as_bytes(), at..at + words.len());
        shape
    }

    const EVENT: &str = "data: {\"n\":1,\"delta\":{\"content\":\"Hello\"},\"end\":null}\n\n";

    fn like(words: &str) -> String {
        EVENT.replace("Hello", words)
    }

    #[test]
    fn the_same_event_with_other_words_is_known() {
        let shape = shape(EVENT, "Hello");
        for words in ["x", "a longer piece of text than the first, 日本 and so on", r#"\"quoted\" \n \u00e9"#] {
            let input = like(words) + "data: more";
            assert_eq!(shape.matches(input.as_bytes()), Some((words, like(words).len())), "{words}");
        }
    }

    #[test]
    fn whatever_differs_elsewhere_is_read_anew() {
        let shape = shape(EVENT, "Hello");
        for other in [
            EVENT.replace("null", "\"stop\""),
            EVENT.replace("\"n\":1", "\"n\":2"),
            EVENT.replace("content", "refusal"),
            EVENT.replace("data: ", "data:"),
            like(""),
            like("a\"b"),
            like("\\x"),
            like("\\u12"),
            like("a\nb"),
            like("a\u{1}"),
            like("Hello\",\"tool_calls\":[{}],\"x\":\"y"),
            EVENT.strip_suffix('\n').unwrap().to_owned(),
            EVENT.get(..20).unwrap().to_owned(),
            String::new(),
        ] {
            assert_eq!(shape.matches(other.as_bytes()), None, "{other:?}");
        }
        let mut broken = like("abc").into_bytes();
        let at = broken.iter().position(|&byte| byte == b'b').unwrap();
        broken[at] = 0xFF;
        assert_eq!(shape.matches(&broken), None);
    }

    #[test]
    fn filling_may_differ() {
        let event = "event: d\ndata: {\"created\":17,\"t\":\"Hi\",\"sequence_number\":9,\"obfuscation\":\"abc\"}\n\n";
        let shape = shape(event, "Hi");
        for (from, to, known) in [
            ("abc", "", true),
            ("abc", "x7Kq2", true),
            (":9", ":10", true),
            (":9", ":09", false),
            (":9", ":", false),
            (":9", ":9.5", false),
            (":17", ":18", true),
            ("}", "   }", true),
            ("}", "\t}", false),
            ("event: d", "event: e", false),
        ] {
            let other = event.replace(from, to);
            assert_eq!(shape.matches(other.as_bytes()).is_some(), known, "{from} -> {to}");
        }
    }

    #[test]
    fn what_is_no_shape_is_forgotten() {
        let mut shape = shape(EVENT, "Hello");
        let start = EVENT.find("Hello").unwrap();
        let hello = start..start + 5;
        let long = like(&"x".repeat(LONGEST));
        for (event, words) in
            [(EVENT, 0..0), (EVENT, 5..9), (EVENT.trim_end(), hello.clone()), (long.as_str(), hello.clone())]
        {
            shape.learn(EVENT.as_bytes(), hello.clone());
            assert!(shape.matches(EVENT.as_bytes()).is_some());
            shape.learn(event.as_bytes(), words);
            assert_eq!(shape.matches(event.as_bytes()), None, "{event:?}");
        }
    }
}
