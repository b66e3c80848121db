//! Events that look like the one before.
//!
//! Nearly every event of a long answer is the last one with other words in one string, and with other counts of tokens
//! where the provider counts as it goes. Once such an event was read, the next is compared with it byte for byte, and
//! only its words and counts are looked at: a tenth of the work, and the same result. Whatever differs elsewhere is
//! read from scratch.

use std::ops::Range;
use std::sync::LazyLock;

use memchr::memmem::Finder;

use crate::json::contents_len;

/// Longest event that is remembered, in bytes: a stream keeps one for all its life.
const LONGEST: usize = 2048;

/// Keys whose values change from event to event and say nothing of the answer: filling against traffic analysis
/// (`OpenAI`), counters, and the date that only the first event's reader wants.
static FILLING: LazyLock<[(Finder<'static>, Kind); 3]> = LazyLock::new(|| {
    [("\"obfuscation\":\"", Kind::Filling), ("\"sequence_number\":", Kind::Digits), ("\"created\":", Kind::Digits)]
        .map(|(key, kind)| (Finder::new(key), kind))
});

/// What an event looked like.
#[derive(Debug, Default)]
pub(super) struct Shape {
    /// The event with the end that followed it; empty when there is none to compare with.
    bytes: Vec<u8>,
    /// What may differ, in order.
    holes: Vec<Hole>,
    /// The object whose numbers may differ; empty when there is none.
    counts: Range<usize>,
}

/// What of an event may be another in the next, as places in its data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alike {
    /// Contents of a JSON string.
    pub words: Range<usize>,
    /// An object of which the numbers may be others.
    pub counts: Option<Range<usize>>,
}

/// An event that looks like the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Match<'i> {
    /// Its words.
    pub words: &'i str,
    /// The object of its counts, if one of them is another than in the remembered event.
    pub counts: Option<&'i str>,
    /// Its length with its end.
    pub len: usize,
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
    /// A whole number that the taker wants to know.
    Count,
    /// Blanks before the last brace (Anthropic fills events up with them).
    Blanks,
}

impl Shape {
    /// There is nothing to compare with.
    pub(super) fn forget(&mut self) {
        self.bytes.clear();
    }

    /// Remembers `event`, its end included, of which `alike` says (by places in the event) what may be another.
    ///
    /// Forgets what was there if this one is no shape for others.
    pub(super) fn learn(&mut self, event: &[u8], alike: Alike) {
        self.forget();
        self.holes.clear();
        let Alike { words, counts } = alike;
        let quoted = words.start.checked_sub(1).and_then(|quote| event.get(quote)) == Some(&b'"')
            && event.get(words.end) == Some(&b'"');
        if event.len() > LONGEST || words.is_empty() || !quoted || !event.ends_with(b"\n") {
            return;
        }
        self.holes.push(Hole { at: words, kind: Kind::Words });
        for (key, kind) in &*FILLING {
            let start = key.find(event).map(|at| at + key.needle().len());
            self.holes.extend(start.and_then(|start| filling(event, start, *kind)));
        }
        self.holes.extend(blanks(event));
        self.counts = counts.unwrap_or_default();
        // Where its counts begin is told from the first of them.
        let mixed = self.holes.iter().any(|hole| hole.at.start < self.counts.end && self.counts.start < hole.at.end);
        if mixed || numbers(event, self.counts.clone(), &mut self.holes).is_none() {
            return;
        }
        self.holes.sort_by_key(|hole| hole.at.start);
        // A key among the words, or one in another: not what it seems.
        let apart = self.holes.windows(2).all(|pair| matches!(pair, [one, two] if one.at.end < two.at.start));
        if apart {
            self.bytes.extend_from_slice(event);
        }
    }

    /// The event that `input` begins with; `None` if it is not whole or differs from the remembered one in anything
    /// that matters.
    pub(super) fn matches<'i>(&self, input: &'i [u8]) -> Option<Match<'i>> {
        if self.bytes.is_empty() || input.is_empty() {
            return None;
        }
        let at = self.holes.iter().position(|hole| hole.kind == Kind::Words)?;
        let (before, [words_hole, behind @ ..]) = self.holes.split_at_checked(at)? else { return None };
        let words_at = &words_hole.at;
        let (head, rest) = self.part(input, before, 0..words_at.start)?;
        let (words, rest) = rest.split_at_checked(contents_len(rest)?)?;
        let (tail, rest) = self.part(rest, behind, words_at.end..self.bytes.len())?;
        let words = std::str::from_utf8(words).ok()?;
        // Its object stands on one side of the words.
        (!words.is_empty()).then_some(Match { words, counts: head.or(tail), len: input.len() - rest.len() })
    }

    /// Goes over what stands at `range` of the remembered event, where `holes` may be others; returns the object of
    /// counts, if one of them is another there, and what stands behind.
    fn part<'i>(&self, input: &'i [u8], holes: &[Hole], range: Range<usize>) -> Option<(Option<&'i str>, &'i [u8])> {
        // Most often nothing is.
        match input.strip_prefix(self.bytes.get(range.clone())?) {
            Some(rest) => Some((None, rest)),
            None => self.changed_part(input, holes, range),
        }
    }

    fn changed_part<'i>(
        &self,
        input: &'i [u8],
        holes: &[Hole],
        range: Range<usize>,
    ) -> Option<(Option<&'i str>, &'i [u8])> {
        let (mut rest, mut seen) = (input, range.start);
        let (mut counts, mut counted) = (0..0, false);
        for Hole { at, kind } in holes {
            rest = rest.strip_prefix(self.bytes.get(seen..at.start)?)?;
            seen = at.end;
            if *kind == Kind::Count && counts.is_empty() {
                counts.start = (input.len() - rest.len()).checked_sub(at.start - self.counts.start)?;
            }
            if rest.starts_with(self.bytes.get(at.start..=at.end)?) {
                rest = rest.get(at.len()..)?;
            } else {
                let (hole, behind) = rest.split_at_checked(kind.len(rest)?)?;
                match kind {
                    Kind::Words | Kind::Filling => drop(std::str::from_utf8(hole).ok()?),
                    // A number has digits, and no zero in front.
                    Kind::Digits | Kind::Count if matches!(hole, [] | [b'0', _, ..]) => return None,
                    Kind::Count => counted = true,
                    Kind::Digits | Kind::Blanks => {}
                }
                rest = behind;
            }
            if *kind == Kind::Count {
                counts.end = input.len() - rest.len() + (self.counts.end - at.end);
            }
        }
        rest = rest.strip_prefix(self.bytes.get(seen..range.end)?)?;
        let counts = if counted { Some(std::str::from_utf8(input.get(counts)?).ok()?) } else { None };
        Some((counts, rest))
    }
}

impl Kind {
    /// Bytes of such a hole that `rest` begins with.
    fn len(self, rest: &[u8]) -> Option<usize> {
        match self {
            Self::Words | Self::Filling => contents_len(rest),
            Self::Digits | Self::Count => Some(rest.iter().take_while(|byte| byte.is_ascii_digit()).count()),
            Self::Blanks => Some(rest.iter().take_while(|byte| **byte == b' ').count()),
        }
    }
}

/// Adds the numbers within the object at `range`; `None` if it is none.
fn numbers(event: &[u8], range: Range<usize>, holes: &mut Vec<Hole>) -> Option<()> {
    let mut at = range.start;
    while at < range.end {
        let rest = event.get(at..range.end)?;
        at += match rest.first()? {
            b'"' => contents_len(rest.get(1..)?)? + 2,
            b'0'..=b'9' => {
                let len = Kind::Count.len(rest)?;
                holes.push(Hole { at: at..at + len, kind: Kind::Count });
                len
            }
            _ => 1,
        };
    }
    Some(())
}

/// The value that begins at `start`, if it is of `kind` and ends as such a value does.
fn filling(event: &[u8], start: usize, kind: Kind) -> Option<Hole> {
    let rest = event.get(start..)?;
    let len = kind.len(rest)?;
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
        shape.learn(event.as_bytes(), Alike { words: at..at + words.len(), counts: None });
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
            let found = Match { words, counts: None, len: like(words).len() };
            assert_eq!(shape.matches(input.as_bytes()), Some(found), "{words}");
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
            shape.learn(EVENT.as_bytes(), Alike { words: hello.clone(), counts: None });
            assert!(shape.matches(EVENT.as_bytes()).is_some());
            shape.learn(event.as_bytes(), Alike { words, counts: None });
            assert_eq!(shape.matches(event.as_bytes()), None, "{event:?}");
        }
    }

    const COUNTING: &str = "data: {\"c\":[{\"text\": \"Hello\"}],\"usage\": {\"in\": 9,\"of\": [{\"kind\": \"A:1\",\"n\": 9}],\"out\": 20},\"id\":\"r7\"}\r\n\r\n";

    fn counting() -> Shape {
        let (words, start) = (COUNTING.find("Hello").unwrap(), COUNTING.find("{\"in").unwrap());
        let end = COUNTING.find(",\"id").unwrap();
        let mut shape = Shape::default();
        shape.learn(COUNTING.as_bytes(), Alike { words: words..words + 5, counts: Some(start..end) });
        shape
    }

    #[test]
    fn counts_are_told_where_they_are_others() {
        let shape = counting();
        let same = COUNTING.replace("Hello", "much longer words");
        let found = shape.matches(same.as_bytes()).unwrap();
        assert_eq!((found.words, found.counts, found.len), ("much longer words", None, same.len()));
        for (from, to, counts) in [
            ("20", "1234", r#"{"in": 9,"of": [{"kind": "A:1","n": 9}],"out": 1234}"#),
            ("\"in\": 9", "\"in\": 10", r#"{"in": 10,"of": [{"kind": "A:1","n": 9}],"out": 20}"#),
            ("\"n\": 9", "\"n\": 0", r#"{"in": 9,"of": [{"kind": "A:1","n": 0}],"out": 20}"#),
        ] {
            let other = same.replace(from, to) + "data: more";
            assert_eq!(shape.matches(other.as_bytes()).and_then(|found| found.counts), Some(counts), "{from} -> {to}");
        }
        for (from, to) in [("A:1", "A:2"), ("r7", "r8"), ("20", "020"), ("20", "2.5"), ("20", ""), ("20", "null")] {
            assert_eq!(shape.matches(same.replace(from, to).as_bytes()), None, "{from} -> {to}");
        }
    }

    #[test]
    fn counts_among_the_words_make_no_shape() {
        let mut shape = counting();
        let words = COUNTING.find("Hello").unwrap();
        shape
            .learn(COUNTING.as_bytes(), Alike { words: words..words + 5, counts: Some(words - 9..COUNTING.len() - 5) });
        assert_eq!(shape.matches(COUNTING.as_bytes()), None);
    }
}
