//! An answer ready to be written: its bytes, and where each event ends.

use std::io::Write;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;

use super::content::portion;

/// An answer ready to be written.
#[derive(Debug)]
pub(super) struct Script {
    pub(super) status: u16,
    /// Header fields beside content type, length and encoding.
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Bytes,
    /// Where events end, for a stream; `None` for a body that is one piece.
    pub(super) events: Option<Vec<Event>>,
    /// Tokens that the answer is made of, which sets how long a whole body takes.
    pub(super) tokens: u32,
    pub(super) gzip: bool,
}

/// One event of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Event {
    /// Where it ends in the body.
    pub(super) end: usize,
    /// Whether it brings a token, and so waits for its time.
    pub(super) token: bool,
}

/// Collects the events of a stream.
#[derive(Debug, Default)]
pub(super) struct Tape {
    pub(super) text: String,
    events: Vec<Event>,
}

impl Tape {
    /// Ends the event that was written into `text`.
    pub(super) fn end(&mut self, token: bool) {
        self.events.push(Event { end: self.text.len(), token });
    }

    /// The stream.
    pub(super) fn finish(self) -> Script {
        let tokens = self.events.iter().map(|event| u32::from(event.token)).sum();
        Script {
            status: 200,
            headers: Vec::new(),
            body: self.text.into(),
            events: Some(self.events),
            tokens,
            gzip: false,
        }
    }
}

impl Script {
    /// A JSON body that is sent at once.
    pub(super) fn json(status: u16, body: impl Into<Bytes>) -> Self {
        Self { status, headers: Vec::new(), body: body.into(), events: None, tokens: 0, gzip: false }
    }

    /// Replaces what follows the given share of a stream's events by one last event. A whole body stays.
    pub(super) fn end_early(&mut self, share: f64, last: &str) {
        let Some(events) = &mut self.events else { return };
        let keep = portion(events.len(), share).clamp(1, events.len().max(1));
        events.truncate(keep);
        let end = events.last().map_or(0, |event| event.end);
        let mut body = self.body.get(..end).unwrap_or_default().to_vec();
        body.extend_from_slice(last.as_bytes());
        events.push(Event { end: body.len(), token: false });
        self.body = body.into();
    }

    /// Compresses the body, so that each event of a stream can be read as soon as it is there.
    pub(super) fn compress(&mut self) -> std::io::Result<()> {
        let mut encoder = GzEncoder::new(Vec::with_capacity(self.body.len() / 2), Compression::fast());
        let mut start = 0;
        for event in self.events.iter_mut().flatten() {
            encoder.write_all(self.body.get(start..event.end).unwrap_or_default())?;
            encoder.flush()?;
            start = event.end;
            event.end = encoder.get_ref().len();
        }
        encoder.write_all(self.body.get(start..).unwrap_or_default())?;
        self.body = encoder.finish()?.into();
        if let Some(last) = self.events.as_mut().and_then(|events| events.last_mut()) {
            last.end = self.body.len();
        }
        self.gzip = true;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn stream() -> Script {
        let mut tape = Tape::default();
        for (text, token) in [("one ", false), ("two ", true), ("three", true)] {
            tape.text.push_str(text);
            tape.end(token);
        }
        tape.finish()
    }

    #[test]
    fn every_compressed_event_can_be_read_when_it_is_there() {
        let mut script = stream();
        script.compress().unwrap();
        let ends: Vec<usize> = script.events.iter().flatten().map(|event| event.end).collect();
        for (end, expect) in ends.into_iter().zip(["one ", "one two ", "one two three"]) {
            let mut got = vec![0; expect.len()];
            flate2::read::GzDecoder::new(&script.body[..end]).read_exact(&mut got).unwrap();
            assert_eq!(got, expect.as_bytes());
        }
    }

    #[test]
    fn an_early_end_keeps_the_start() {
        let mut script = stream();
        script.end_early(0.7, "oops");
        assert_eq!(script.body, "one two oops");
        assert_eq!(script.events.unwrap().len(), 3);
    }
}
