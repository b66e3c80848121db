//! Answers that come packed though nobody asked for that, unpacked before anything looks at them.
//!
//! Pingora's own filter unpacks each piece to its end, however much comes of it, keeps the last words of a piece until the
//! next one comes, and what it cannot unpack it passes on as if it were text. Here a piece becomes many, one after the
//! other as the seam wants them; what can be said is said at once; and what is broken is an error.

use std::fmt;

use brotli::enc::StandardAlloc;
use brotli::{BrotliDecompressStream, BrotliResult, BrotliState};
use bytes::Bytes;
use flate2::{Decompress, FlushDecompress, Status};
use http::header;
use pingora_core::{Error, ErrorType, Result};
use pingora_http::ResponseHeader;
use zstd::stream::raw::{DParameter, Decoder as Zstd, Operation};

/// The error of an answer that is not packed as its head says.
pub const BADLY_PACKED: &str = "upstream_encoding";

/// Fewest and most bytes that one step unpacks to.
const LEAST: usize = 4 << 10;
const MOST: usize = 64 << 10;
/// How many times as long as what is packed a piece may well be.
const USUAL: usize = 8;
/// The window that gzip and deflate have, as a power of two.
const WINDOW: u8 = 15;
/// The largest window of zstd that a content coding may have, as a power of two (RFC 9659 section 3).
const ZSTD_WINDOW: u32 = 23;

/// Headers of the packed body that are not those of what is in it.
const PACKED_ONLY: [header::HeaderName; 3] = [header::CONTENT_ENCODING, header::CONTENT_LENGTH, header::ACCEPT_RANGES];

/// An answer that is being unpacked.
pub struct Packed {
    head: ResponseHeader,
    coding: &'static str,
    unpacker: Unpacker,
    /// What has come and is still packed.
    rest: Bytes,
    /// There may be more to say before more comes.
    full: bool,
    at: At,
}

/// Where what was unpacked ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum At {
    Start,
    Within,
    /// Behind a packing, which another may follow.
    End,
    /// At what cannot be unpacked.
    Broken,
}

impl fmt::Debug for Packed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Packed").field("coding", &self.coding).finish_non_exhaustive()
    }
}

enum Unpacker {
    Gzip(Decompress),
    /// With its header or, as some servers have it, without; the first byte tells.
    Deflate(Option<Decompress>),
    Brotli(Box<BrotliState<StandardAlloc, StandardAlloc, StandardAlloc>>),
    Zstd(Zstd<'static>),
}

/// What a step did.
#[derive(Default)]
struct Step {
    /// Bytes that it took and that it gave.
    taken: usize,
    given: usize,
    /// The packing is over, or one of those that follow on each other.
    ended: bool,
}

impl Packed {
    /// The answer under `head`, if it is packed in a way that is known.
    #[must_use]
    pub fn of(head: &ResponseHeader) -> Option<Self> {
        let mut codings = head.headers.get_all(header::CONTENT_ENCODING).iter();
        let (coding, None) = (codings.next()?.to_str().ok()?.trim(), codings.next()) else { return None };
        let is = |name: &str| coding.eq_ignore_ascii_case(name);
        let (coding, unpacker) = if is("gzip") || is("x-gzip") {
            ("gzip", Unpacker::Gzip(Decompress::new_gzip(WINDOW)))
        } else if is("deflate") {
            ("deflate", Unpacker::Deflate(None))
        } else if is("br") {
            let [bytes, words, codes] = [(); 3].map(|()| StandardAlloc::default());
            ("br", Unpacker::Brotli(Box::new(BrotliState::new_strict(bytes, words, codes))))
        } else if is("zstd") {
            let mut zstd = Zstd::new().ok()?;
            zstd.set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW)).ok()?;
            ("zstd", Unpacker::Zstd(zstd))
        } else {
            return None;
        };
        let mut head = head.clone();
        for name in PACKED_ONLY {
            head.remove_header(&name);
        }
        Some(Self { head, coding, unpacker, rest: Bytes::new(), full: false, at: At::Start })
    }

    /// Its head as it is without the packing.
    #[must_use]
    pub fn head(&self) -> &ResponseHeader {
        &self.head
    }

    /// True if there may be more to say before more comes.
    pub(super) fn has_more(&self) -> bool {
        self.full || self.at == At::Broken || !self.rest.is_empty()
    }

    /// What can be said before more comes; `None` once nothing can.
    ///
    /// # Errors
    ///
    /// It is not what its head says.
    pub(super) fn more(&mut self) -> Result<Option<Bytes>> {
        if self.has_more() { self.step().map(Some) } else { Ok(None) }
    }

    /// Takes what came, or its end, and gives what can be said of it: nothing yet where that is empty.
    ///
    /// # Errors
    ///
    /// It is not what its head says, or it ends too early.
    pub fn take(&mut self, piece: Option<Bytes>) -> Result<Option<Bytes>> {
        let Some(piece) = piece else {
            if matches!(self.at, At::Start | At::End) && self.rest.is_empty() {
                return Ok(None);
            }
            let words = format!("the provider's answer ends before its {} does", self.coding);
            return Err(Error::explain(ErrorType::ConnectionClosed, words));
        };
        self.rest = if self.rest.is_empty() { piece } else { [self.rest.as_ref(), &piece].concat().into() };
        if self.rest.is_empty() { Ok(Some(Bytes::new())) } else { self.step().map(Some) }
    }

    /// Takes what came and gives all that can be said of it.
    ///
    /// # Errors
    ///
    /// It is not what its head says, or it says more than `most` bytes.
    pub fn all(&mut self, piece: Bytes, most: usize) -> Result<Bytes> {
        let first = self.take(Some(piece))?.unwrap_or_default();
        if !self.has_more() {
            return Ok(first);
        }
        let mut all = first.to_vec();
        while let Some(more) = self.more()? {
            all.extend_from_slice(&more);
            if all.len() > most {
                let words = format!("a piece of the provider's answer unpacks to more than {most} bytes");
                return Err(Error::explain(ErrorType::Custom(BADLY_PACKED), words));
            }
        }
        Ok(all.into())
    }

    fn step(&mut self) -> Result<Bytes> {
        let mut out = vec![0; self.rest.len().saturating_mul(USUAL).clamp(LEAST, MOST)];
        let mut filled = 0;
        while self.at != At::Broken {
            let room = out.get_mut(filled..).unwrap_or_default();
            let Some(Step { taken, given, ended }) = self.try_step(room) else {
                self.at = At::Broken;
                break;
            };
            let _ = self.rest.split_to(taken);
            filled += given;
            match (ended, taken + given) {
                (true, _) => self.at = At::End,
                (false, 0) if !self.rest.is_empty() => self.at = At::Broken,
                (false, 0) => {}
                (false, _) => self.at = At::Within,
            }
            self.full = filled == out.len() && !ended;
            if filled == out.len() || self.rest.is_empty() {
                break;
            }
        }
        // What came before it can be said.
        if self.at == At::Broken && filled == 0 {
            return Err(self.broken());
        }
        out.truncate(filled);
        Ok(out.into())
    }

    /// One step, or none where what comes next cannot be unpacked.
    fn try_step(&mut self, room: &mut [u8]) -> Option<Step> {
        if self.at == At::End && !self.rest.is_empty() && !self.unpacker.begin_again(&self.rest) {
            return None;
        }
        self.unpacker.step(&self.rest, room).filter(|step| step.taken <= self.rest.len())
    }

    fn broken(&self) -> Box<Error> {
        Error::explain(ErrorType::Custom(BADLY_PACKED), format!("the provider's answer is no valid {}", self.coding))
    }
}

impl Unpacker {
    /// Unpacks some of `input` into `room`; `None` where it cannot be unpacked.
    fn step(&mut self, input: &[u8], room: &mut [u8]) -> Option<Step> {
        match self {
            Self::Gzip(gzip) => inflate(gzip, input, room),
            Self::Deflate(inner) => {
                if inner.is_none() && input.is_empty() {
                    return Some(Step::default());
                }
                // The low half of a zlib header's first byte is 8 (RFC 1950 section 2.2), which begins no raw deflate that
                // an encoder writes: a stored block whose reserved bits are not zero.
                let zlib = input.first().is_some_and(|first| first & 0x0f == 8);
                inflate(inner.get_or_insert_with(|| Decompress::new(zlib)), input, room)
            }
            Self::Brotli(state) => {
                let (mut input_left, mut taken) = (input.len(), 0);
                let (mut room_left, mut given, mut total) = (room.len(), 0, 0);
                let result = BrotliDecompressStream(
                    &mut input_left,
                    &mut taken,
                    input,
                    &mut room_left,
                    &mut given,
                    room,
                    &mut total,
                    state,
                );
                let ended = match result {
                    BrotliResult::ResultSuccess => true,
                    BrotliResult::NeedsMoreInput | BrotliResult::NeedsMoreOutput => false,
                    BrotliResult::ResultFailure if given > 0 => false,
                    BrotliResult::ResultFailure => return None,
                };
                Some(Step { taken, given, ended })
            }
            Self::Zstd(zstd) => {
                let status = zstd.run_on_buffers(input, room).ok()?;
                Some(Step { taken: status.bytes_read, given: status.bytes_written, ended: status.remaining == 0 })
            }
        }
    }

    /// Gets ready for what follows the end of a packing; `false` if `rest` cannot be more of it.
    fn begin_again(&mut self, rest: &[u8]) -> bool {
        match self {
            // One member may follow the other (RFC 1952 section 2.2), and a frame of zstd too (RFC 8878 section 3.1).
            Self::Gzip(gzip) if rest.first() == Some(&0x1f) => {
                *gzip = Decompress::new_gzip(WINDOW);
                true
            }
            Self::Zstd(_) => true,
            _ => false,
        }
    }
}

fn inflate(inner: &mut Decompress, input: &[u8], room: &mut [u8]) -> Option<Step> {
    let (before_in, before_out) = (inner.total_in(), inner.total_out());
    let status = inner.decompress(input, room, FlushDecompress::None);
    let taken = usize::try_from(inner.total_in() - before_in).ok()?;
    let given = usize::try_from(inner.total_out() - before_out).ok()?;
    match status {
        Ok(status) => Some(Step { taken, given, ended: status == Status::StreamEnd }),
        // What came before the fault is good; the next step meets the fault alone.
        Err(_) if given > 0 => Some(Step { taken, given, ended: false }),
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};

    use super::*;

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    /// `text` in every packing that is known, under the names that it may have.
    fn packings(text: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
        let mut zlib = ZlibEncoder::new(Vec::new(), Compression::best());
        zlib.write_all(text).unwrap();
        let mut deflate = DeflateEncoder::new(Vec::new(), Compression::best());
        deflate.write_all(text).unwrap();
        let mut brotli = Vec::new();
        brotli::BrotliCompress(&mut &text[..], &mut brotli, &brotli::enc::BrotliEncoderParams::default()).unwrap();
        let two = [gzip(&text[..text.len() / 2]), gzip(&text[text.len() / 2..])].concat();
        let frames = [zstd::encode_all(&text[..7], 3).unwrap(), zstd::encode_all(&text[7..], 3).unwrap()].concat();
        vec![
            ("gzip", gzip(text)),
            ("X-GZIP", two),
            ("deflate", zlib.finish().unwrap()),
            ("deflate", deflate.finish().unwrap()),
            ("br", brotli),
            ("zstd", zstd::encode_all(text, 3).unwrap()),
            ("zstd", frames),
        ]
    }

    fn packed(coding: &str) -> Option<Packed> {
        let mut head = ResponseHeader::build(200, None).unwrap();
        head.insert_header(header::CONTENT_ENCODING, coding).unwrap();
        head.insert_header(header::CONTENT_LENGTH, 5).unwrap();
        head.insert_header(header::CONTENT_TYPE, "text/plain").unwrap();
        Packed::of(&head)
    }

    /// What comes out of the pieces, one step after the other, and whether it ended well.
    fn unpack(coding: &str, pieces: &[&[u8]]) -> (Vec<u8>, Result<()>) {
        let (mut packed, mut out) = (packed(coding).unwrap(), Vec::new());
        for piece in pieces {
            let mut next = packed.take(Some(Bytes::copy_from_slice(piece)));
            loop {
                match next {
                    Ok(Some(bytes)) if bytes.len() <= MOST => out.extend_from_slice(&bytes),
                    Ok(Some(bytes)) => panic!("{coding}: {} bytes at once", bytes.len()),
                    Ok(None) => break,
                    Err(error) => return (out, Err(error)),
                }
                next = packed.more();
            }
        }
        let end = packed.take(None).map(|end| assert!(end.is_none()));
        (out, end)
    }

    #[test]
    fn what_is_packed_is_unpacked_at_every_cut() {
        let words: Vec<_> = (0..400_u32).map(|number| number.wrapping_mul(2_654_435_761).to_string()).collect();
        let text = words.join(" word ");
        for (coding, bytes) in packings(text.as_bytes()) {
            for cut in 0..=bytes.len() {
                let (out, end) = unpack(coding, &[&bytes[..cut], &bytes[cut..]]);
                assert!(end.is_ok() && out == text.as_bytes(), "{coding} cut at {cut}");
            }
            let (out, end) = unpack(coding, &bytes.chunks(1).collect::<Vec<_>>());
            assert!(end.is_ok() && out == text.as_bytes(), "{coding} byte by byte");
        }
    }

    #[test]
    fn what_is_cut_or_spoiled_is_an_error_behind_what_could_be_read() {
        let text: Vec<u8> = (0..3000_u32).flat_map(|number| number.wrapping_mul(2_654_435_761).to_be_bytes()).collect();
        for (coding, bytes) in packings(&text) {
            for cut in [1, 2, bytes.len() / 3, bytes.len() - 1] {
                let (out, end) = unpack(coding, &[&bytes[..cut]]);
                assert!(end.is_err() && text.starts_with(&out), "{coding} ends after {cut}");
            }
            let behind = [&bytes, &b"no packing"[..]].concat();
            assert!(unpack(coding, &[&behind]).1.is_err(), "{coding} and more");
            assert!(unpack(coding, &[b"{\"plain\": true}"]).1.is_err(), "{coding} is none");
        }
        // What has a sum tells of every spoiled byte.
        let mut spoiled = gzip(&text);
        let middle = spoiled.len() / 2;
        spoiled[middle] ^= 0x40;
        assert!(unpack("gzip", &[&spoiled]).1.is_err());
    }

    #[test]
    fn a_bomb_comes_bit_by_bit_or_is_refused() {
        let zeros = vec![0; 20 << 20];
        for (coding, bytes) in packings(&zeros) {
            let (out, end) = unpack(coding, &bytes.chunks(64 << 10).collect::<Vec<_>>());
            assert!(end.is_ok() && out == zeros, "{coding}");
            let mut packed = packed(coding).unwrap();
            assert!(packed.all(bytes.into(), 1 << 20).is_err(), "{coding}");
        }
    }

    #[test]
    fn each_event_can_be_read_when_it_is_there() {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        let mut packed = packed("gzip").unwrap();
        for number in 0..50 {
            let event = format!("data: {{\"number\": {number}}}\n\n");
            encoder.write_all(event.as_bytes()).unwrap();
            encoder.flush().unwrap();
            let piece = Bytes::from(std::mem::take(encoder.get_mut()));
            assert_eq!(packed.all(piece, MOST).unwrap(), event);
        }
    }

    #[test]
    fn the_head_is_that_of_the_body_within() {
        let names = |head: &ResponseHeader| head.headers.keys().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(names(packed("gzip").unwrap().head()), ["content-type"]);
        for unknown in ["identity", "", "compress", "gzip, br", "dcz"] {
            assert!(packed(unknown).is_none(), "{unknown}");
        }
        for coding in ["gzip", "deflate", "br", "zstd"] {
            let (out, end) = unpack(coding, &[]);
            assert!(out.is_empty() && end.is_ok(), "an empty {coding}");
        }
    }
}
