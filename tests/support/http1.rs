//! HTTP/1.1 framing by hand, for both sides of the harness: heads are kept byte for byte, bodies know how they ended.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

/// A request's or a response's head as it came.
#[derive(Clone, Debug, Default)]
pub struct Head {
    /// Every byte, the empty line included.
    pub raw: Vec<u8>,
    /// The first line.
    pub start: String,
    /// Names in the case that was sent, values trimmed, in order.
    pub headers: Vec<(String, String)>,
}

impl Head {
    /// The first value of a header, whatever the case of its name.
    pub fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }
}

/// The first value of a header, whatever the case of its name.
pub fn find<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
}

/// How a body's end is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is none.
    Empty,
    /// So many bytes are still to come.
    Length(u64),
    /// Chunked, at the start of a chunk.
    Chunked,
    /// Chunked, so many bytes of the current chunk are still to come.
    InChunk(u64),
    /// All until the connection ends.
    UntilClose,
}

/// How a message ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// As its framing promised.
    Complete,
    /// Before that; the text says where.
    Cut(String),
}

/// A piece of a body.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece {
    /// Bytes, as soon as they are there.
    Data(Vec<u8>),
    /// The end.
    End(Ended),
}

/// A byte stream with what was read and not yet used.
pub struct Wire<S> {
    /// The stream below.
    pub stream: S,
    /// Bytes read from it and not yet taken.
    pub buffer: Vec<u8>,
}

impl<S: AsyncRead + Unpin> Wire<S> {
    /// Nothing read yet.
    pub fn new(stream: S) -> Self {
        Self { stream, buffer: Vec::new() }
    }

    /// The next head; `None` when the peer closed before its first byte.
    pub async fn head(&mut self) -> io::Result<Option<Head>> {
        loop {
            if let Some(end) = position(&self.buffer, b"\r\n\r\n") {
                let raw: Vec<u8> = self.buffer.drain(..end + 4).collect();
                return Ok(Some(parse_head(raw)));
            }
            if self.fill().await? == 0 {
                let text = format!("closed within a head after {:?}", String::from_utf8_lossy(&self.buffer));
                return if self.buffer.is_empty() { Ok(None) } else { Err(io::Error::other(text)) };
            }
        }
    }

    /// The next piece of a body; `framing` moves along.
    pub async fn piece(&mut self, framing: &mut Framing) -> Piece {
        loop {
            match self.buffered_piece(framing) {
                Ok(Some(piece)) => return piece,
                Ok(None) => {}
                Err(why) => return Piece::End(Ended::Cut(why)),
            }
            match self.fill().await {
                Ok(0) if *framing == Framing::UntilClose => return Piece::End(Ended::Complete),
                Ok(0) => return Piece::End(Ended::Cut(format!("closed while {framing:?} was due"))),
                Ok(_) => {}
                Err(error) => return Piece::End(Ended::Cut(format!("{error} while {framing:?} was due"))),
            }
        }
    }

    /// A whole body.
    pub async fn body(&mut self, mut framing: Framing) -> (Vec<u8>, Ended) {
        let mut all = Vec::new();
        loop {
            match self.piece(&mut framing).await {
                Piece::Data(data) => all.extend_from_slice(&data),
                Piece::End(ended) => return (all, ended),
            }
        }
    }

    /// Reads once; the number of new bytes.
    pub async fn fill(&mut self) -> io::Result<usize> {
        let mut part = vec![0; 64 * 1024];
        let read = self.stream.read(&mut part).await?;
        self.buffer.extend_from_slice(part.get(..read).unwrap_or_default());
        Ok(read)
    }

    fn buffered_piece(&mut self, framing: &mut Framing) -> Result<Option<Piece>, String> {
        let (most, after): (u64, fn(u64) -> Framing) = match *framing {
            Framing::Empty | Framing::Length(0) => return Ok(Some(Piece::End(Ended::Complete))),
            Framing::Chunked => return self.chunk_head(framing),
            Framing::Length(left) => (left, Framing::Length),
            Framing::InChunk(left) => (left, |left| if left == 0 { Framing::Chunked } else { Framing::InChunk(left) }),
            Framing::UntilClose => (u64::MAX, |_| Framing::UntilClose),
        };
        let Some(data) = self.take(most) else { return Ok(None) };
        *framing = after(most - data.len() as u64);
        Ok(Some(Piece::Data(data)))
    }

    fn take(&mut self, most: u64) -> Option<Vec<u8>> {
        let count = self.buffer.len().min(usize::try_from(most).unwrap_or(usize::MAX));
        (count > 0).then(|| self.buffer.drain(..count).collect())
    }

    /// Reads a chunk's size line, and before it the line end of the chunk before.
    fn chunk_head(&mut self, framing: &mut Framing) -> Result<Option<Piece>, String> {
        let skip = if self.buffer.starts_with(b"\r\n") { 2 } else { 0 };
        let rest = self.buffer.get(skip..).unwrap_or_default();
        let Some(line_end) = position(rest, b"\r\n") else { return Ok(None) };
        let line = String::from_utf8_lossy(rest.get(..line_end).unwrap_or_default()).into_owned();
        let digits = line.split(';').next().unwrap_or_default().trim();
        let size = u64::from_str_radix(digits, 16).map_err(|_| format!("{line:?} is no chunk size"))?;
        if size > 0 {
            self.buffer.drain(..skip + line_end + 2);
            *framing = Framing::InChunk(size);
            return self.buffered_piece(framing);
        }
        let trailers = rest.get(line_end..).unwrap_or_default();
        let Some(end) = position(trailers, b"\r\n\r\n") else { return Ok(None) };
        self.buffer.drain(..skip + line_end + end + 4);
        *framing = Framing::Empty;
        Ok(Some(Piece::End(Ended::Complete)))
    }
}

/// Takes a head apart.
pub fn parse_head(raw: Vec<u8>) -> Head {
    let text = String::from_utf8_lossy(&raw).into_owned();
    let mut lines = text.split("\r\n");
    let start = lines.next().unwrap_or_default().to_owned();
    let headers = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
        .collect();
    Head { raw, start, headers }
}

/// Where `what` begins in `bytes`.
pub fn position(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}
