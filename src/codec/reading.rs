//! A provider's stream, read event by event, or told by the event before.

use std::ops::Range;

use crate::format::{Repeat, StreamReader};
use crate::frame::sse::{Alike, Found, Frame, place_in};
use crate::hub::{Event, Fault};
use crate::json::Text;

/// A reader, and what its last frame was.
pub(crate) struct Reading {
    reader: Box<dyn StreamReader>,
    /// The delta that the last frame was, if it was nothing else.
    alike: Option<Delta>,
}

impl Reading {
    /// Reads with `reader`.
    pub(crate) fn new(reader: Box<dyn StreamReader>) -> Self {
        Self { reader, alike: None }
    }

    /// Reads what was found; returns what of a next frame may be another so that it need not be read.
    ///
    /// # Errors
    ///
    /// As [`StreamReader::frame`].
    pub(crate) fn found(
        &mut self,
        found: &Found<'_>,
        sink: &mut dyn FnMut(Event<'_>),
    ) -> Result<Option<Alike>, Fault<'static>> {
        match found {
            Found::Frame(frame) => self.frame(frame, sink),
            Found::Again { words, counts } => {
                if let Some(delta) = self.alike {
                    sink(delta.event(words));
                    self.reader.again(&Text::from_escaped(*words), *counts, sink);
                }
                Ok(None)
            }
        }
    }

    fn frame(&mut self, frame: &Frame<'_>, sink: &mut dyn FnMut(Event<'_>)) -> Result<Option<Alike>, Fault<'static>> {
        let (mut single, mut deltas, mut usage, mut more) = (None, 0_u32, false, false);
        self.reader.frame(frame, &mut |event| {
            match event {
                Event::TextDelta { .. } | Event::ArgumentsDelta { .. } => {
                    deltas = deltas.saturating_add(1);
                    single = Delta::of(&event, frame.data);
                }
                Event::Usage(_) => usage = true,
                _ => more = true,
            }
            sink(event);
        })?;
        self.alike = None;
        let Some((delta, words)) = single.filter(|_| deltas == 1 && !more) else { return Ok(None) };
        let counts = match self.reader.repeat() {
            Repeat::WordsAndCounts(place) => Some(place),
            Repeat::Words if !usage => None,
            Repeat::Words | Repeat::No => return Ok(None),
        };
        self.alike = Some(delta);
        Ok(Some(Alike { words, counts }))
    }

    /// The next frame is not read, nor is what looks like it.
    pub(crate) fn pass(&mut self) {
        self.alike = None;
        self.reader.pass();
    }

    /// The stream is over.
    pub(crate) fn end(&mut self, sink: &mut dyn FnMut(Event<'_>)) {
        self.reader.end(sink);
    }
}

/// Which block an event let grow.
///
/// An event that is nothing but such a delta leaves its reader as it found it, or the reader says so: what a first one
/// changes (a block that was open, words that were said) a second one of the same shape finds done. So the second need
/// not be read.
#[derive(Debug, Clone, Copy)]
enum Delta {
    Text { block: u32 },
    Arguments { block: u32 },
}

impl Delta {
    /// The delta that `event` is, and where in `data` its words stand as they came.
    fn of(event: &Event<'_>, data: &str) -> Option<(Self, Range<usize>)> {
        let (delta, words) = match event {
            Event::TextDelta { block, text } => (Self::Text { block: *block }, text),
            Event::ArgumentsDelta { block, fragment } => (Self::Arguments { block: *block }, fragment),
            _ => return None,
        };
        Some((delta, place_in(data.as_bytes(), words.escaped().as_bytes())?))
    }

    fn event(self, words: &str) -> Event<'_> {
        let words = Text::from_escaped(words);
        match self {
            Self::Text { block } => Event::TextDelta { block, text: words },
            Self::Arguments { block } => Event::ArgumentsDelta { block, fragment: words },
        }
    }
}
