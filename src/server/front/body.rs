//! Where a request's body ends, byte by byte, by the framing that its head announced (RFC 9112 section 7.1).

use super::head::{Fault, Framing, bad, field};

/// Digits of a chunk's size: no chunk is larger than 2⁵² bytes.
const SIZE_DIGITS: u8 = 13;

/// Bytes of chunk extensions of one body. Nobody reads them, and a client that sends many makes work for nothing.
const EXTENSIONS: usize = 4096;

/// Bytes of trailers of one body.
const TRAILERS: usize = 8192;

/// Names that say something of the message's framing, routing or sender: behind the body they come too late.
const NO_TRAILERS: [&[u8]; 13] = [
    b"authorization",
    b"connection",
    b"content-encoding",
    b"content-length",
    b"content-type",
    b"cookie",
    b"expect",
    b"host",
    b"te",
    b"trailer",
    b"transfer-encoding",
    b"upgrade",
    b"x-api-key",
];

/// A body that is coming.
#[derive(Debug)]
pub(super) struct Body {
    at: At,
    extensions: usize,
    trailers: usize,
    /// The trailer line that is coming.
    line: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// It is over.
    End,
    /// So many bytes are left.
    Length(u64),
    /// In the digits of a chunk's size.
    Size { size: u64, digits: u8 },
    /// In an extension behind a size.
    Extension { size: u64 },
    /// Behind the CR of a size line.
    SizeEnd { size: u64 },
    /// In a chunk, with so many bytes left.
    Data(u64),
    /// Behind a chunk's data: its CR is due.
    DataCr,
    /// Its LF is due.
    DataLf,
    /// In a trailer line, or at the empty one.
    Trailer,
    /// Behind the CR of a trailer line.
    TrailerEnd,
}

impl Body {
    pub(super) fn new(framing: Framing) -> Self {
        let at = match framing {
            Framing::Length(0) => At::End,
            Framing::Length(length) => At::Length(length),
            Framing::Chunked => At::Size { size: 0, digits: 0 },
        };
        Self { at, extensions: 0, trailers: 0, line: Vec::new() }
    }

    /// True once it is over.
    pub(super) fn is_over(&self) -> bool {
        self.at == At::End
    }

    /// The most bytes that may be read without reading past its end; `None` if that cannot be told.
    pub(super) fn left(&self) -> Option<u64> {
        match self.at {
            At::End => Some(0),
            At::Length(left) => Some(left),
            _ => None,
        }
    }

    /// Goes on through `bytes`; how many of them belong to it.
    pub(super) fn advance(&mut self, bytes: &[u8]) -> Result<usize, Fault> {
        let mut rest = bytes;
        while self.at != At::End {
            let Some((first, behind)) = rest.split_first() else { break };
            match self.at {
                At::Length(left) | At::Data(left) => {
                    let taken = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
                    let left = left - taken as u64;
                    self.at = match self.at {
                        At::Length(_) if left == 0 => At::End,
                        At::Length(_) => At::Length(left),
                        _ if left == 0 => At::DataCr,
                        _ => At::Data(left),
                    };
                    rest = rest.get(taken..).unwrap_or_default();
                }
                _ => {
                    self.at = self.step(*first)?;
                    rest = behind;
                }
            }
        }
        Ok(bytes.len() - rest.len())
    }

    /// One byte of what stands between the data.
    fn step(&mut self, byte: u8) -> Result<At, Fault> {
        const SIZE: Fault = bad("bad_chunk", "A chunk of the request's body does not begin with its size.");
        const END: Fault = bad("bad_chunk", "A chunk of the request's body does not end where its size says.");
        match (self.at, byte) {
            (At::Size { size, digits }, _) if byte.is_ascii_hexdigit() => {
                if digits == SIZE_DIGITS {
                    return Err(bad("bad_chunk", "A chunk of the request's body is larger than any memory."));
                }
                let digit = char::from(byte).to_digit(16).unwrap_or(0);
                Ok(At::Size { size: size << 4 | u64::from(digit), digits: digits + 1 })
            }
            (At::Size { digits: 0, .. }, _) => Err(SIZE),
            (At::Size { size, .. } | At::Extension { size }, b'\r') => Ok(At::SizeEnd { size }),
            (At::Size { size, .. }, b';') => Ok(At::Extension { size }),
            (At::Extension { size }, b'\t' | b' '..=b'~' | 0x80..) => {
                self.extensions += 1;
                if self.extensions > EXTENSIONS {
                    return Err(bad("bad_chunk", "The chunks of the request's body have too many extensions."));
                }
                Ok(At::Extension { size })
            }
            (At::Extension { .. }, _) => Err(bad("bad_chunk", "A chunk's extension holds a control character.")),
            (At::SizeEnd { size: 0 }, b'\n') => Ok(At::Trailer),
            (At::SizeEnd { size }, b'\n') => Ok(At::Data(size)),
            (At::Size { .. } | At::SizeEnd { .. }, _) => Err(SIZE),
            (At::DataCr, b'\r') => Ok(At::DataLf),
            (At::DataLf, b'\n') => Ok(At::Size { size: 0, digits: 0 }),
            (At::DataCr | At::DataLf, _) => Err(END),
            (At::Trailer | At::TrailerEnd, _) => self.trailer(byte),
            (At::End | At::Length(_) | At::Data(_), _) => Ok(self.at),
        }
    }

    fn trailer(&mut self, byte: u8) -> Result<At, Fault> {
        self.trailers += 1;
        if self.trailers > TRAILERS {
            let message = "The trailers of the request's body are longer than this server reads.";
            return Err(Fault { status: 431, label: "bad_trailer", message });
        }
        match (self.at, byte) {
            (At::Trailer, b'\r') => Ok(At::TrailerEnd),
            (At::Trailer, b'\t' | b' '..=b'~' | 0x80..) => {
                self.line.push(byte);
                Ok(At::Trailer)
            }
            (At::TrailerEnd, b'\n') if self.line.is_empty() => Ok(At::End),
            (At::TrailerEnd, b'\n') => {
                let (name, _) = field(&self.line)?;
                if NO_TRAILERS.iter().any(|known| name.eq_ignore_ascii_case(known)) {
                    return Err(bad("bad_trailer", "A trailer has a name that belongs before the body."));
                }
                self.line.clear();
                Ok(At::Trailer)
            }
            _ => Err(bad("bad_trailer", "A trailer of the request's body holds a stray control character.")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many bytes belong to the body, and whether it is over; the same however the bytes are cut.
    fn read(framing: Framing, bytes: &[u8]) -> Result<(usize, bool), &'static str> {
        let whole = walk(framing, bytes, bytes.len().max(1));
        for cut in [1, 2, 3, 7] {
            assert_eq!(walk(framing, bytes, cut), whole, "cut every {cut}: {:?}", String::from_utf8_lossy(bytes));
        }
        whole
    }

    fn walk(framing: Framing, bytes: &[u8], cut: usize) -> Result<(usize, bool), &'static str> {
        let mut body = Body::new(framing);
        let mut taken = 0;
        for part in bytes.chunks(cut) {
            let used = body.advance(part).map_err(|fault| fault.label)?;
            taken += used;
            if used < part.len() {
                assert!(body.is_over());
                break;
            }
        }
        Ok((taken, body.is_over()))
    }

    #[test]
    fn a_body_ends_where_its_framing_says() {
        assert_eq!(read(Framing::Length(0), b"next"), Ok((0, true)));
        assert_eq!(read(Framing::Length(3), b"abcnext"), Ok((3, true)));
        assert_eq!(read(Framing::Length(9), b"abc"), Ok((3, false)));
        for (chunks, over) in [
            ("0\r\n\r\n", true),
            ("3\r\nabc\r\n0\r\n\r\n", true),
            ("00003\r\nabc\r\nA;x=\"y\"\r\n0123456789\r\n0\r\n\r\n", true),
            ("3\r\n\r\n0\r\n0\r\n\r\n", true),
            ("1\r\na\r\n0\r\nx-sum: 1\r\ny: 2\r\n\r\n", true),
            ("3\r\nabc\r\n0\r\n", false),
        ] {
            let bytes = [chunks.as_bytes(), if over { b"GET /next" } else { b"" }].concat();
            assert_eq!(read(Framing::Chunked, &bytes), Ok((chunks.len(), over)), "{chunks:?}");
        }
    }

    #[test]
    fn chunks_that_could_be_read_in_two_ways_are_refused() {
        for (chunks, label) in [
            ("g\r\n", "bad_chunk"),
            ("\r\n", "bad_chunk"),
            ("-1\r\n", "bad_chunk"),
            ("+1\r\n", "bad_chunk"),
            ("0x1\r\na\r\n", "bad_chunk"),
            (" 1\r\na\r\n", "bad_chunk"),
            ("1 \r\na\r\n", "bad_chunk"),
            ("1\na\r\n", "bad_chunk"),
            ("1\r\na\n0\r\n\r\n", "bad_chunk"),
            ("1\r\nab\r\n", "bad_chunk"),
            ("1\r\na0\r\n\r\n", "bad_chunk"),
            ("1\rX\na\r\n", "bad_chunk"),
            ("1;a\nb\r\n", "bad_chunk"),
            ("1;a\rb\r\n", "bad_chunk"),
            ("1;\0\r\n", "bad_chunk"),
            ("FFFFFFFFFFFFFFFF\r\n", "bad_chunk"),
            ("10000000000000001\r\na", "bad_chunk"),
            ("0\r\ncontent-length: 5\r\n\r\n", "bad_trailer"),
            ("0\r\nTransfer-Encoding: chunked\r\n\r\n", "bad_trailer"),
            ("0\r\nhost: a\r\n\r\n", "bad_trailer"),
            ("0\r\nx: 1\n\r\n", "bad_trailer"),
            ("0\r\nnonsense\r\n\r\n", "bad_header"),
            ("0\r\n folded: 1\r\n\r\n", "folded_header"),
            ("0\r\n\rGET", "bad_trailer"),
        ] {
            assert_eq!(read(Framing::Chunked, chunks.as_bytes()), Err(label), "{chunks:?}");
        }
        let extended = format!("1;{}\r\na\r\n", "x".repeat(1000)).repeat(5);
        assert_eq!(read(Framing::Chunked, extended.as_bytes()), Err("bad_chunk"));
        let trailed = format!("0\r\nx: {}\r\n\r\n", "y".repeat(9000));
        assert_eq!(read(Framing::Chunked, trailed.as_bytes()), Err("bad_trailer"));
    }
}
