//! Chunks of one stream are alike: the next differs from the last in a few words of the answer only.
//!
//! A chunk that was read, and said nothing else than some words, is a mould: what stood in front of the words, and
//! behind them. A chunk that fits the mould byte by byte is the same document but for those words, so it means the
//! same, and is not read again. `obfuscation`, which pads chunks to hide how long the words are, may differ too.

use super::answer::{self, Said};
use crate::json::{Cursor, JsonError, Text};

/// Longest chunk that is kept, in bytes: what a mould holds is held for the life of the stream.
const LONGEST: usize = 8 << 10;

/// A chunk with its words left out.
#[derive(Debug, Default)]
pub(super) struct Mould {
    hole: Option<Hole>,
    /// Up to the quote in front of the words.
    front: String,
    /// From behind their last quote to the quote in front of the padding, or to the end.
    middle: String,
    /// From behind the padding's last quote to the end, if there is padding.
    back: Option<String>,
}

/// What the words of a chunk are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Hole {
    /// Number of the choice.
    pub choice: u32,
    /// What grows.
    pub grows: Grows,
}

/// What grows by the words of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Grows {
    /// `content`
    Text,
    /// `reasoning_content` or `reasoning`
    Thinking,
    /// `arguments` of the call with this `index`
    Call(Option<u64>),
}

/// What is found out about a chunk while it is read.
#[derive(Debug, Default)]
pub(super) struct Cast {
    /// Choices so far.
    pieces: usize,
    /// Where words are, as offsets of their contents.
    words: Option<(Hole, usize, usize)>,
    padding: Option<(usize, usize)>,
}

impl Mould {
    /// The words of `chunk`, if it fits.
    pub(super) fn fit<'a>(&self, chunk: &'a str) -> Option<(Hole, Text<'a>)> {
        let hole = self.hole?;
        let (text, rest) = string(chunk.strip_prefix(self.front.as_str())?)?;
        let rest = rest.strip_prefix(self.middle.as_str())?;
        let fits = match &self.back {
            None => rest.is_empty(),
            Some(back) => string(rest)?.1 == back,
        };
        // Words that are empty say something else than words: another field may stand in for them.
        (fits && !text.is_empty()).then_some((hole, text))
    }

    /// Takes `chunk`, which was read, as the mould of those that follow.
    pub(super) fn take(&mut self, chunk: &str, cast: &Cast) {
        let (1, Some((hole, start, end))) = (cast.pieces, cast.words) else { return };
        let padding = cast.padding.filter(|(from, _)| *from > end);
        if chunk.len() > LONGEST || (cast.padding.is_some() && padding.is_none()) {
            return;
        }
        let (middle, back) = match padding {
            Some((from, to)) => (chunk.get(end + 1..from.saturating_sub(1)), Some(chunk.get(to + 1..))),
            None => (chunk.get(end + 1..), None),
        };
        let (Some(front), Some(middle)) = (chunk.get(..start.saturating_sub(1)), middle) else { return };
        self.hole = Some(hole);
        for (kept, piece) in [(&mut self.front, front), (&mut self.middle, middle)] {
            kept.clear();
            kept.push_str(piece);
        }
        self.back = back.map(|back| back.unwrap_or_default().to_owned());
    }
}

/// The string that `text` begins with, and what stands behind it.
fn string(text: &str) -> Option<(Text<'_>, &str)> {
    let mut cursor = Cursor::over(text);
    let words = cursor.text().ok()?;
    Some((words, text.get(cursor.position()..)?))
}

impl Cast {
    /// Notes a choice; `said` is what its delta says, if that is all that there is to it.
    pub(super) fn choice(&mut self, index: u32, said: Option<&Said<'_>>, chunk: &str) {
        self.pieces += 1;
        self.words = said.and_then(|said| {
            let (grows, start, end) = only_words(said, chunk)?;
            Some((Hole { choice: index, grows }, start, end))
        });
    }

    /// Reads the padding.
    pub(super) fn pad(&mut self, value: &mut Cursor<'_>, chunk: &str) -> Result<(), JsonError> {
        let text = super::wire::loose_text(value)?;
        self.padding = text.and_then(|text| place(&text, chunk));
        Ok(())
    }
}

/// The one thing that is said, if it is one string, and where its contents are.
fn only_words(said: &Said<'_>, chunk: &str) -> Option<(Grows, usize, usize)> {
    let Said { text, parts, refusal, reasoning, details, calls, legacy_call, annotations, audio, .. } = said;
    let others = parts.is_some()
        || refusal.is_some()
        || details.is_some()
        || legacy_call.is_some()
        || annotations.is_some()
        || audio.is_some();
    let (grows, words) = match (text, reasoning, calls) {
        _ if others => return None,
        (Some(text), None, None) => (Grows::Text, text.by_ref()),
        (None, Some(text), None) => (Grows::Thinking, text.by_ref()),
        (None, None, Some(calls)) => only_arguments(calls)?,
        _ => return None,
    };
    let (start, end) = place(&words, chunk)?;
    Some((grows, start, end))
}

/// The arguments in a list of one call, if nothing else is said of it.
fn only_arguments<'a>(calls: &Cursor<'a>) -> Option<(Grows, Text<'a>)> {
    let (mut count, mut found) = (0, None);
    answer::calls::<JsonError>(&mut calls.clone(), |piece| {
        count += 1;
        let bare = piece.id.is_none() && piece.name.is_none() && piece.signature.is_none();
        found = piece.input.filter(|_| bare).map(|input| (Grows::Call(piece.index), input));
        Ok(())
    })
    .ok()?;
    found.filter(|_| count == 1)
}

/// Where `words` stand in `chunk`; `None` if they are a copy.
fn place(words: &Text<'_>, chunk: &str) -> Option<(usize, usize)> {
    let words = words.escaped();
    let start = words.as_ptr().addr().checked_sub(chunk.as_ptr().addr())?;
    let end = start.checked_add(words.len())?;
    (chunk.get(start..end)? == words && chunk.as_bytes().get(end) == Some(&b'"')).then_some((start, end))
}
