//! Server-sent events.
//!
//! Read as the WHATWG specification says (lines end at LF, CR or CRLF; comments, multi-line data, one optional space
//! behind the colon, a byte-order mark at the start) and as provider SDKs do beyond it: an event without data is no
//! event, and lines do *not* end at U+2028, U+2029 or U+0085.

use std::ops::Range;

pub use super::shape::Alike;
use super::shape::{Match, Shape};

/// One event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// The `event:` field, if there is one.
    pub event: Option<&'a str>,
    /// The `data:` lines, joined by LF.
    pub data: &'a str,
}

/// What the framer has found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found<'a> {
    /// An event.
    Frame(Frame<'a>),
    /// The event before once more.
    Again {
        /// Its words (contents of a JSON string, escaped).
        words: &'a str,
        /// The object of its counts, if one of them is another.
        counts: Option<&'a str>,
    },
}

/// Why a stream cannot be cut into events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// An event passed the bound before it ended.
    #[error("a stream event is longer than {limit} bytes")]
    TooLong {
        /// The bound, in bytes.
        limit: usize,
    },
    /// The bytes are not UTF-8.
    #[error("a stream event is not UTF-8")]
    NotUtf8,
}

/// Cuts a stream into events; holds the bytes of at most one unfinished event.
///
/// Where the input is cut does not matter: the events are the same.
#[derive(Debug)]
pub struct Framer {
    /// The unfinished event's bytes: whole lines and at most one unfinished line.
    pending: Vec<u8>,
    /// `pending[..scanned]` holds no end of an event.
    scanned: usize,
    /// Joined data of an event with several data lines.
    joined: String,
    limit: usize,
    /// The next byte is the stream's first.
    fresh: bool,
    /// The last chunk ended in CR at the end of an event: an LF that comes next belongs to it.
    swallow_lf: bool,
    /// The last event that was handed on.
    shape: Shape,
}

/// Default bound of one event, in bytes.
pub const EVENT_LIMIT: usize = 8 << 20;

/// True for what a stream of events may begin with, white space left out: a comment, a field of the standard's (`data`,
/// `event`, `id`, `retry`), or a byte order mark.
#[must_use]
pub const fn may_begin(first: u8) -> bool {
    matches!(first, b':' | b'd' | b'e' | b'i' | b'r' | 0xEF)
}

/// Bytes of the longest end of an event: two line ends of CR and LF.
const LONGEST_END: usize = 4;

impl Framer {
    /// A framer that refuses an event longer than `limit` bytes.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self {
            pending: Vec::new(),
            scanned: 0,
            joined: String::new(),
            limit,
            fresh: true,
            swallow_lf: false,
            shape: Shape::default(),
        }
    }

    /// Takes the next bytes, cut anywhere, and hands every event that they complete to `each`.
    ///
    /// # Errors
    ///
    /// The stream cannot be cut, or `each` failed; nothing more may be pushed then.
    pub fn push<E: From<FrameError>>(
        &mut self,
        chunk: &[u8],
        mut each: impl FnMut(Frame<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.push_alike(chunk, |found| match found {
            Found::Frame(frame) => each(frame).map(|()| None),
            // Nothing was said to be alike, so nothing is.
            Found::Again { .. } => Ok(None),
        })
    }

    /// As [`push`](Self::push), for a taker who knows when events are alike: where `each` returns what of the event's data
    /// may be another, events that differ only there come as [`Found::Again`] until one differs elsewhere.
    ///
    /// # Errors
    ///
    /// As [`push`](Self::push).
    pub fn push_alike<E: From<FrameError>>(
        &mut self,
        chunk: &[u8],
        mut each: impl FnMut(Found<'_>) -> Result<Option<Alike>, E>,
    ) -> Result<(), E> {
        let mut input = chunk;
        if self.swallow_lf && !input.is_empty() {
            self.swallow_lf = false;
            input = input.strip_prefix(b"\n").unwrap_or(input);
        }
        if !self.pending.is_empty() {
            input = self.complete_pending(input, &mut each)?;
        }
        // With nothing pending, events are read where they lie: no byte of a whole event is copied.
        loop {
            while let Some(Match { words, counts, len }) =
                self.shape.matches(input).filter(|found| found.len <= self.limit)
            {
                each(Found::Again { words, counts })?;
                input = input.get(len..).unwrap_or_default();
            }
            let Some((len, gap)) = event_end(input, 0) else { break };
            let (event, rest) = input.split_at_checked(len + gap).unwrap_or((input, &[]));
            self.swallow_lf = rest.is_empty() && event.last() == Some(&b'\r');
            self.emit((event, len), &mut each)?;
            input = rest;
        }
        if !input.is_empty() {
            self.pending.extend_from_slice(input);
            self.scanned = input.len().saturating_sub(3);
        }
        self.check_limit()?;
        Ok(())
    }

    /// The bytes that wait for the rest of their event.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Feeds the unfinished event until it is complete; returns the input that is left.
    fn complete_pending<'i, E: From<FrameError>>(
        &mut self,
        input: &'i [u8],
        each: &mut impl FnMut(Found<'_>) -> Result<Option<Alike>, E>,
    ) -> Result<&'i [u8], E> {
        let held = self.pending.len();
        // An end of an event takes at most four bytes, and an event that ends here does so soon; feeding line by
        // line keeps what is copied to this event's own bytes.
        let mut fed = 0;
        while fed < input.len() {
            let rest = input.get(fed..).unwrap_or_default();
            let step = memchr::memchr2(b'\n', b'\r', rest).map_or(rest.len(), |at| at + 1);
            self.pending.extend_from_slice(rest.get(..step).unwrap_or_default());
            fed += step;
            if let Some((len, gap)) = event_end(&self.pending, self.scanned) {
                let mut whole = std::mem::take(&mut self.pending);
                let surplus = whole.len() - (len + gap);
                // Whatever stands behind the end came with the last line that was fed.
                fed -= surplus.min(fed);
                self.swallow_lf = whole.get(..len + gap).and_then(<[u8]>::last) == Some(&b'\r');
                whole.truncate(len + gap);
                self.scanned = 0;
                let done = self.emit((&whole, len), each);
                whole.clear();
                if whole.capacity() <= 64 << 10 {
                    self.pending = whole;
                }
                done?;
                let mut left = input.get(fed..).unwrap_or_default();
                if self.swallow_lf && !left.is_empty() {
                    self.swallow_lf = false;
                    left = left.strip_prefix(b"\n").unwrap_or(left);
                }
                return Ok(left);
            }
            self.scanned = self.pending.len().saturating_sub(3);
            self.check_limit()?;
        }
        debug_assert!(self.pending.len() >= held);
        Ok(&[])
    }

    /// An unfinished event may hold a part of the end behind its lines, so that the bound is the same for any cut.
    fn check_limit(&self) -> Result<(), FrameError> {
        if self.pending.len() > self.limit.saturating_add(LONGEST_END) {
            Err(FrameError::TooLong { limit: self.limit })
        } else {
            Ok(())
        }
    }

    /// Hands on one event, given its bytes and how many of them are its lines.
    fn emit<E: From<FrameError>>(
        &mut self,
        (whole, len): (&[u8], usize),
        each: &mut impl FnMut(Found<'_>) -> Result<Option<Alike>, E>,
    ) -> Result<(), E> {
        let lines = whole.get(..len).unwrap_or(whole);
        if lines.len() > self.limit {
            return Err(FrameError::TooLong { limit: self.limit }.into());
        }
        let mut text = std::str::from_utf8(lines).map_err(|_| FrameError::NotUtf8)?;
        // Empty lines are signs of life, and not the beginning.
        let fresh = if lines.is_empty() { self.fresh } else { std::mem::take(&mut self.fresh) };
        if fresh {
            text = text.strip_prefix('\u{feff}').unwrap_or(text);
        }
        let (mut event, mut data, mut several) = (None, None, false);
        for line in Lines(text) {
            let (name, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match (name, data) {
                ("event", _) => event = Some(value),
                ("data", None) => data = Some(value),
                ("data", Some(first)) => {
                    if !std::mem::replace(&mut several, true) {
                        self.joined.clear();
                        self.joined.push_str(first);
                    }
                    self.joined.push('\n');
                    self.joined.push_str(value);
                }
                // llama.cpp tells its errors in a field of that name, other servers in a line of bare JSON. A whole answer in
                // a stream's place begins with one.
                ("error", None) if value.starts_with('{') => (event, data) = (Some("error"), Some(value)),
                (_, None) if !fresh && line.starts_with("{\"") => data = Some(line),
                // Comments, `id`, `retry` and unknown fields say nothing about an answer.
                _ => {}
            }
        }
        let Some(data) = data else { return Ok(()) };
        if several {
            self.shape.forget();
            return each(Found::Frame(Frame { event, data: &self.joined })).map(|_| ());
        }
        match each(Found::Frame(Frame { event, data }))? {
            // A byte-order mark stands once only.
            Some(Alike { words, counts }) if !fresh => {
                if let Some(data) = place_in(whole, data.as_bytes()) {
                    let place = |at: Range<usize>| data.start + at.start..data.start + at.end;
                    self.shape.learn(whole, Alike { words: place(words), counts: counts.map(place) });
                }
            }
            _ => self.shape.forget(),
        }
        Ok(())
    }
}

/// Where `part` lies in `whole`, if it is a part of it in memory.
pub(crate) fn place_in(whole: &[u8], part: &[u8]) -> Option<Range<usize>> {
    let start = part.as_ptr().addr().checked_sub(whole.as_ptr().addr())?;
    let end = start.checked_add(part.len())?;
    (end <= whole.len()).then_some(start..end)
}

/// Length of the first event in `bytes` (its lines without the last line's end) and of the end that follows.
///
/// The end is a line end and an empty line. A CR that is the last byte counts as a whole line end: the LF that may
/// follow is swallowed later.
fn event_end(bytes: &[u8], from: usize) -> Option<(usize, usize)> {
    let mut at = from;
    if at == 0 {
        // Empty lines in front of an event are an event without lines.
        if let Some(width) = line_end(bytes) {
            return Some((0, width));
        }
    }
    loop {
        at += memchr::memchr2(b'\n', b'\r', bytes.get(at..)?)?;
        let first = line_end(bytes.get(at..)?)?;
        if let Some(second) = bytes.get(at + first..).and_then(line_end) {
            // CR LF split by the cut is one line end, not two.
            return Some((at, first + second));
        }
        at += first;
    }
}

/// Width of the line end that `bytes` begins with.
fn line_end(bytes: &[u8]) -> Option<usize> {
    match bytes {
        [b'\r', b'\n', ..] => Some(2),
        [b'\r' | b'\n', ..] => Some(1),
        _ => None,
    }
}

/// The lines of an event.
struct Lines<'a>(&'a str);

impl<'a> Iterator for Lines<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        if self.0.is_empty() {
            return None;
        }
        let bytes = self.0.as_bytes();
        let end = memchr::memchr2(b'\n', b'\r', bytes).unwrap_or(bytes.len());
        let line = self.0.get(..end).unwrap_or_default();
        let gap = bytes.get(end..).and_then(line_end).unwrap_or(0);
        self.0 = self.0.get(end + gap..).unwrap_or_default();
        Some(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(chunks: &[&[u8]]) -> Vec<String> {
        let mut framer = Framer::new(EVENT_LIMIT);
        let mut seen = Vec::new();
        for chunk in chunks {
            framer
                .push::<FrameError>(chunk, |frame| {
                    seen.push(format!("{}|{}", frame.event.unwrap_or("-"), frame.data));
                    Ok(())
                })
                .unwrap();
        }
        seen
    }

    /// One stream, however it is cut.
    fn check(stream: &str, expected: &[&str]) {
        let bytes = stream.as_bytes();
        assert_eq!(events(&[bytes]), expected, "{stream:?} whole");
        for cut in 0..=bytes.len() {
            let (head, tail) = bytes.split_at(cut);
            assert_eq!(events(&[head, tail]), expected, "{stream:?} cut at {cut}");
            for cut2 in cut..=bytes.len() {
                assert_eq!(
                    events(&[head, &bytes[cut..cut2], &bytes[cut2..]]),
                    expected,
                    "{stream:?} cut at {cut} and {cut2}"
                );
            }
        }
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(events(&single), expected, "{stream:?} byte by byte");
    }

    #[test]
    fn reads_events_however_they_are_cut() {
        check("data: a\n\ndata: b\n\n", &["-|a", "-|b"]);
        check("event: x\ndata: a\n\n", &["x|a"]);
        check("event:x\r\ndata:a\r\n\r\ndata: 北\r\n\r\n", &["x|a", "-|北"]);
        check("data: a\r\rdata: b\r\r", &["-|a", "-|b"]);
        check(": comment\n\ndata: a\n: more\nid: 1\nretry: 5\n\n", &["-|a"]);
        check("data: a\ndata: b\ndata:\n\n", &["-|a\nb\n"]);
        check("\u{feff}data: a\n\n", &["-|a"]);
        check("\n\n\ndata: a\n\n\n\n", &["-|a"]);
        check("event: lonely\n\ndata: a\n\n", &["-|a"]);
        check("data\n\ndata:  two spaces\n\n", &["-|", "-| two spaces"]);
        check("data: a\u{2028}b\u{85}c\n\n", &["-|a\u{2028}b\u{85}c"]);
        check("data: a\n\r\ndata: b\r\n\ndata: c\r\n\r", &["-|a", "-|b", "-|c"]);
        check("data: unfinished\n", &[]);
    }

    #[test]
    fn bounds_an_event() {
        for chunk in [1, 7, 1000] {
            let mut framer = Framer::new(64);
            let stream = format!("data: {}\n\n", "x".repeat(100));
            let failed =
                stream.as_bytes().chunks(chunk).any(|part| framer.push::<FrameError>(part, |_| Ok(())).is_err());
            assert!(failed, "cut in {chunk}");
        }
    }

    #[test]
    fn the_longest_event_is_taken_however_it_is_cut_and_the_next_longer_is_not() {
        for end in ["\n\n", "\r\n\r\n", "\r\r"] {
            for (words, taken) in [(57, true), (58, true), (59, false), (60, false)] {
                let stream = format!("data: {}{end}data: b\n\n", "x".repeat(words));
                for chunk in 1..stream.len() {
                    let mut framer = Framer::new(64);
                    let read = stream.as_bytes().chunks(chunk);
                    let read = read.map(|part| framer.push::<FrameError>(part, |_| Ok(())));
                    let read = read.collect::<Result<Vec<()>, _>>();
                    assert_eq!(read.is_ok(), taken, "{words} {end:?} cut in {chunk}: {read:?}");
                }
            }
        }
    }

    #[test]
    fn an_event_that_never_ends_is_not_waited_for() {
        for chunk in [1, 7, 1000] {
            let mut framer = Framer::new(64);
            let line = "x".repeat(100);
            let failed =
                line.as_bytes().chunks(chunk).position(|part| framer.push::<FrameError>(part, |_| Ok(())).is_err());
            assert!(failed.is_some(), "cut in {chunk}");
            assert!(framer.pending() <= 100, "{}", framer.pending());
        }
    }

    #[test]
    fn what_is_pending_is_counted() {
        let mut framer = Framer::new(EVENT_LIMIT);
        for (chunk, pending) in [("", 0), ("data", 4), (": a\n", 8), ("\ndata: b", 7), ("\n\n", 0)] {
            framer.push::<FrameError>(chunk.as_bytes(), |_| Ok(())).unwrap();
            assert_eq!(framer.pending(), pending, "{chunk:?}");
        }
    }

    #[test]
    fn a_stream_begins_with_a_field_a_comment_or_a_mark() {
        for first in u8::MIN..=u8::MAX {
            assert_eq!(may_begin(first), b":deir\xef".contains(&first), "{first}");
        }
    }
}
