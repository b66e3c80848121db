//! One JSON document that came where a stream was announced.

use crate::json::Cursor;

/// Most bytes of such a document that are kept; an error is short.
const MOST: usize = 64 << 10;
/// What some servers begin a text with.
const BOM: &[u8] = b"\xef\xbb\xbf";

/// The beginning of a stream, as long as it may be one JSON document: no line of an event begins like one.
#[derive(Debug, Default)]
pub(crate) struct Document {
    bytes: Vec<u8>,
    /// So much of [`BOM`] came, or could have come.
    mark: usize,
    /// It is none.
    over: bool,
}

impl Document {
    /// Takes the stream's next bytes, cut anywhere.
    pub(crate) fn push(&mut self, chunk: &[u8]) {
        if self.over {
            return;
        }
        let chunk = self.behind_mark(chunk);
        let new = if self.bytes.is_empty() { chunk.trim_ascii_start() } else { chunk };
        self.over = self.bytes.len() + new.len() > MOST
            || self.bytes.first().or(new.first()).is_some_and(|first| !matches!(first, b'{' | b'['));
        if self.over {
            self.bytes = Vec::new();
        } else {
            self.bytes.extend_from_slice(new);
        }
    }

    fn behind_mark<'c>(&mut self, mut chunk: &'c [u8]) -> &'c [u8] {
        while let Some((_, rest)) = chunk.split_first().filter(|(first, _)| BOM.get(self.mark) == Some(first)) {
            (chunk, self.mark) = (rest, self.mark + 1);
        }
        if !chunk.is_empty() {
            self.mark = BOM.len();
        }
        chunk
    }

    /// The document, if all that came is one.
    pub(crate) fn take(&mut self) -> Option<Vec<u8>> {
        let bytes = std::mem::take(&mut self.bytes);
        let mut cursor = Cursor::over_bytes(&bytes).ok()?;
        let whole = !bytes.is_empty() && cursor.skip().and_then(|()| cursor.finish()).is_ok();
        whole.then_some(bytes)
    }
}
