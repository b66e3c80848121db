//! What the scripted provider does with one request, as data.

use std::io::Write as _;
use std::time::Duration;

use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};

use super::gate::Gate;

/// One answer, good or bad.
#[derive(Clone, Debug)]
pub struct Reply {
    /// Status code.
    pub status: u16,
    /// Headers, without those that frame the body.
    pub headers: Vec<(String, String)>,
    /// How the body is framed (HTTP/1.1 only).
    pub framing: Framed,
    /// What is sent after the head, in order.
    pub pieces: Vec<Piece>,
    /// How it ends.
    pub end: End,
    /// Interim responses (1xx) before the head.
    pub interim: Vec<u16>,
    /// Fields after the body.
    pub trailers: Vec<(String, String)>,
    /// Waits for this before the head.
    pub hold: Option<Gate>,
}

/// How a body is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framed {
    /// `content-length` as the body is.
    Length,
    /// `content-length` as it says here.
    Lie(u64),
    /// `transfer-encoding: chunked`, a chunk a piece.
    Chunked,
    /// Neither; the connection's end is the body's.
    Close,
    /// No head either: the pieces are all that is sent.
    Raw,
}

/// A part of the answer.
#[derive(Clone, Debug)]
pub enum Piece {
    /// Bytes in one write (one chunk, one DATA frame).
    Data(Vec<u8>),
    /// Bytes in as many writes as there are bytes.
    Bytewise(Vec<u8>),
    /// Nothing until the gate opens.
    Wait(Gate),
    /// Nothing for so long.
    Pause(Duration),
}

/// How an answer ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// As its framing says.
    Clean,
    /// The connection is closed in order, but the body's framing is not finished.
    Fin,
    /// The connection is reset (HTTP/2: the stream).
    Reset,
    /// A chunk is announced larger than what comes, then the connection is closed.
    TruncatedChunk,
    /// Nothing more comes, and the connection stays.
    Hang,
}

impl Reply {
    /// A JSON body with its length.
    pub fn json(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self::new(status, Framed::Length, vec![Piece::Data(body.into())]).header("content-type", "application/json")
    }

    /// An event stream, one chunk an event.
    pub fn sse(body: impl AsRef<[u8]>) -> Self {
        let pieces = events(body.as_ref()).into_iter().map(Piece::Data).collect();
        Self::new(200, Framed::Chunked, pieces).header("content-type", "text/event-stream; charset=utf-8")
    }

    /// Any body of any type.
    pub fn typed(status: u16, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        Self::new(status, Framed::Length, vec![Piece::Data(body.into())]).header("content-type", content_type)
    }

    /// A head without a body.
    pub fn bare(status: u16) -> Self {
        Self::new(status, Framed::Length, Vec::new())
    }

    /// Bytes as they are, head included.
    pub fn raw(bytes: impl Into<Vec<u8>>, end: End) -> Self {
        Self::new(0, Framed::Raw, vec![Piece::Data(bytes.into())]).end(end)
    }

    /// The connection dies and no byte was answered.
    pub fn no_answer(end: End) -> Self {
        Self::new(0, Framed::Raw, Vec::new()).end(end)
    }

    fn new(status: u16, framing: Framed, pieces: Vec<Piece>) -> Self {
        let (headers, trailers, interim) = (Vec::new(), Vec::new(), Vec::new());
        Self { status, headers, framing, pieces, end: End::Clean, interim, trailers, hold: None }
    }

    /// One more header.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Another end.
    pub fn end(mut self, end: End) -> Self {
        self.end = end;
        self
    }

    /// Another framing.
    pub fn framed(mut self, framing: Framed) -> Self {
        self.framing = framing;
        self
    }

    /// A trailer after the body.
    pub fn trailer(mut self, name: &str, value: &str) -> Self {
        self.trailers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// An interim response before the head.
    pub fn interim(mut self, status: u16) -> Self {
        self.interim.push(status);
        self
    }

    /// Waits before the head.
    pub fn hold(mut self, gate: &Gate) -> Self {
        self.hold = Some(gate.clone());
        self
    }

    /// Waits before the piece with this number.
    pub fn wait_before(mut self, piece: usize, gate: &Gate) -> Self {
        self.pieces.insert(piece.min(self.pieces.len()), Piece::Wait(gate.clone()));
        self
    }

    /// Waits before its end: a reset may overtake what was sent just before it.
    pub fn wait_before_end(self, gate: &Gate) -> Self {
        let count = self.pieces.len();
        self.wait_before(count, gate)
    }

    /// The body in single bytes.
    pub fn bytewise(self) -> Self {
        let body = self.body();
        Self { pieces: vec![Piece::Bytewise(body)], ..self }
    }

    /// The body in pieces of at most so many bytes, whatever they cut through.
    pub fn cut_every(self, size: usize) -> Self {
        let pieces = self.body().chunks(size.max(1)).map(|part| Piece::Data(part.to_vec())).collect();
        Self { pieces, ..self }
    }

    /// Waits for so long behind each piece.
    pub fn paced(mut self, pause: Duration) -> Self {
        self.pieces = self.pieces.into_iter().flat_map(|piece| [piece, Piece::Pause(pause)]).collect();
        self
    }

    /// Only the first bytes of the body, and then this end.
    pub fn stop_at(self, bytes: usize, end: End) -> Self {
        let mut left = bytes;
        let mut pieces = Vec::new();
        for piece in &self.pieces {
            let Piece::Data(data) = piece else { continue };
            let part = data.get(..left.min(data.len())).unwrap_or_default();
            left -= part.len();
            if !part.is_empty() {
                pieces.push(Piece::Data(part.to_vec()));
            }
        }
        Self { pieces, end, ..self }
    }

    /// The body compressed, and labelled so.
    pub fn gzip(self) -> Self {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        let mut packed = Vec::new();
        for piece in &self.pieces {
            if let Piece::Data(data) = piece {
                encoder.write_all(data).expect("memory takes every byte");
                // A flush an event, as servers do that compress streams.
                encoder.flush().expect("memory takes every byte");
                packed.push(std::mem::take(encoder.get_mut()));
            }
        }
        packed.push(encoder.finish().expect("memory takes every byte"));
        let pieces = packed.into_iter().filter(|part| !part.is_empty()).map(Piece::Data).collect();
        Self { pieces, ..self }.header("content-encoding", "gzip")
    }

    /// The body compressed in any of the ways that the edge reads, as a whole, and labelled so.
    pub fn packed(self, coding: &str) -> Self {
        let body = self.body();
        let bytes = match coding {
            "gzip" => return self.gzip(),
            "deflate" => {
                let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
                encoder.write_all(&body).expect("memory takes every byte");
                encoder.finish().expect("memory takes every byte")
            }
            "br" => {
                let (mut bytes, ways) = (Vec::new(), brotli::enc::BrotliEncoderParams::default());
                brotli::BrotliCompress(&mut body.as_slice(), &mut bytes, &ways).expect("memory takes every byte");
                bytes
            }
            _ => zstd::encode_all(body.as_slice(), 3).expect("memory takes every byte"),
        };
        Self { pieces: vec![Piece::Data(bytes)], ..self }.header("content-encoding", coding)
    }

    /// Another body under the same head.
    pub fn with_body(self, body: impl Into<Vec<u8>>) -> Self {
        Self { pieces: vec![Piece::Data(body.into())], ..self }
    }

    /// How many bytes the first pieces have.
    pub fn until(&self, pieces: usize) -> usize {
        let first = Self { pieces: self.pieces.iter().take(pieces).cloned().collect(), ..self.clone() };
        first.body().len()
    }

    /// All bytes of the body.
    pub fn body(&self) -> Vec<u8> {
        let data = self.pieces.iter().map(|piece| match piece {
            Piece::Data(data) | Piece::Bytewise(data) => data.as_slice(),
            Piece::Wait(_) | Piece::Pause(_) => &[],
        });
        data.collect::<Vec<_>>().concat()
    }
}

/// Splits a stream behind each empty line, whatever its line ends are.
fn events(stream: &[u8]) -> Vec<Vec<u8>> {
    let mut parts = Vec::new();
    let mut rest = stream;
    while !rest.is_empty() {
        let ends = [&b"\r\n\r\n"[..], b"\n\n", b"\r\r"];
        let next = ends.iter().filter_map(|end| super::http1::position(rest, end).map(|at| at + end.len())).min();
        let (part, after) = rest.split_at(next.unwrap_or(rest.len()));
        parts.push(part.to_vec());
        rest = after;
    }
    parts
}
