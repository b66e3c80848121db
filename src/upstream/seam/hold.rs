//! Answers that are looked at before the loop hears of them: streams until their first content, refusals in full, and
//! what must be translated as a whole.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, header};
use pingora_core::{Error, ErrorType, Result};
use pingora_http::ResponseHeader;
use tidegate_codec::hub::{Fault, FaultKind};
use tidegate_codec::{Opening, Seen, begins_events, passing_fault, whole_fault, wire};

use super::reading::Read;
use super::session::SeamSession;
use super::{CONTEXT_LENGTH, KEY_REFUSED, Refusal, STREAM_FAILED, TOO_LONG, Told};
use crate::clock;
use crate::upstream::{MediaType, framing};

/// Most bytes of a stream that are held; lifecycle frames of a provider that echoes the prompt may be long.
const HELD_MOST: usize = 1 << 20;
/// Most bytes of a refusal that are read to learn its reason.
const REFUSAL_MOST: usize = 64 << 10;

/// How long a refusal for now is listened to: its status says enough to ask elsewhere.
const FOR_NOW: Duration = Duration::from_secs(2);

/// Most bytes of a whole answer that are held, which is what may be translated.
pub const ENTIRE_MOST: usize = 64 << 20;
/// Most bytes of an error that are held; no more of it is read for what it says.
pub const ERROR_MOST: usize = 1 << 20;
/// Most bytes of small pieces that are kept as one.
const PART: usize = 64 << 10;
/// Most bytes of one that are made one piece.
const ONE_PIECE: usize = 4 << 20;

/// What an answer's head says of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Kind {
    /// An event stream.
    pub(super) events: bool,
    /// An event stream that can be read.
    pub(super) stream: bool,
    /// It is not packed.
    pub(super) plain: bool,
    /// Its end is that of its connection.
    pub(super) unframed: bool,
    /// A refusal that may be because of the prompt's length, or of our key.
    pub(super) refusal: bool,
    /// A refusal for now whose head does not say until when; its body may.
    pub(super) for_now: bool,
}

impl Kind {
    pub(super) fn of(head: &ResponseHeader) -> Self {
        let encoding = head.headers.get(header::CONTENT_ENCODING).map(HeaderValue::as_bytes);
        let plain = encoding.is_none_or(|encoding| encoding.eq_ignore_ascii_case(b"identity"));
        let events = MediaType::of(&head.headers) == MediaType::Events;
        Self {
            events,
            plain,
            unframed: framing::is_unframed(head),
            stream: plain && framing::is_full(head.status.as_u16()) && events,
            refusal: plain && matches!(head.status.as_u16(), 400 | 413 | 422),
            for_now: plain
                && matches!(head.status.as_u16(), 429 | 503)
                && !head.headers.contains_key(header::RETRY_AFTER),
        }
    }
}

/// How the hold of a stream's head ended.
#[derive(Debug, Clone, Copy)]
enum Held {
    /// There was content.
    Content,
    /// It failed, and another target can be tried.
    Failed,
    /// It was held for as long as it may be.
    Time,
    /// As much of it was held as may be.
    Size,
}

impl Held {
    const ALL: [(Self, &'static str); 4] =
        [(Self::Content, "content"), (Self::Failed, "failed"), (Self::Time, "time"), (Self::Size, "size")];
}

/// How often holds ended so, in this process.
static HELD: [AtomicU64; Held::ALL.len()] = [const { AtomicU64::new(0) }; Held::ALL.len()];

/// How often the holds of streams' heads ended in which way: a word of a closed set each.
pub fn holds() -> impl Iterator<Item = (&'static str, u64)> {
    Held::ALL.into_iter().zip(&HELD).map(|((_, word), times)| (word, times.load(Ordering::Relaxed)))
}

impl SeamSession {
    /// Holds a stream until its first content, or until the bound in time or size; what was read goes out in order.
    ///
    /// # Errors
    ///
    /// The stream failed, or ended, before it said anything.
    pub(super) async fn hold(&mut self) -> Result<()> {
        let ended = self.hold_until_content().await;
        if let Some(times) = HELD.get(*ended.as_ref().unwrap_or(&Held::Failed) as usize) {
            times.fetch_add(1, Ordering::Relaxed);
        }
        ended.map(drop)
    }

    async fn hold_until_content(&mut self) -> Result<Held> {
        let mut opening = Opening::new(self.course.format, self.course.passes);
        let (began, mut held) = (clock::now(), 0);
        // Who waits for a head gets one when it is due, be it that of a stream which has said nothing yet.
        let early = self.course.early.as_ref().map_or(Duration::MAX, |early| early.after);
        let most = self.course.hold.min(early.saturating_sub(began.duration_since(self.since)));
        loop {
            let left = most.saturating_sub(clock::now().duration_since(began));
            if left.is_zero() {
                return Ok(Held::Time);
            }
            if held > HELD_MOST {
                return Ok(Held::Size);
            }
            match self.read(left).await? {
                Read::Nothing => {}
                Read::Piece(piece) => {
                    let seen = opening.chunk(&piece).clone();
                    held += piece.len();
                    self.read_ahead(piece);
                    match seen {
                        Seen::Lifecycle => {}
                        Seen::Content => return Ok(Held::Content),
                        Seen::Failed(fault) => return Err(failed(fault)),
                    }
                }
                Read::End => {
                    return match opening.finish() {
                        Seen::Lifecycle | Seen::Content => Ok(Held::Content),
                        Seen::Failed(fault) => Err(failed(fault)),
                    };
                }
            }
        }
    }

    /// Holds an answer until all of it is there. It goes out in one piece, unless it is so long that twice its room matters.
    /// Of an error only the beginning is wanted.
    ///
    /// # Errors
    ///
    /// The connection broke, a deadline passed, or it is too long; or a stream was asked for, and this is not even an
    /// answer.
    pub(super) async fn hold_entire(&mut self, status: u16) -> Result<()> {
        let full = framing::is_full(status);
        let success = full && self.course.streamed;
        let mut entire = Entire::default();
        loop {
            match self.hear(status, self.course.between).await? {
                Read::Nothing => {}
                Read::Piece(piece) => {
                    entire.push(piece);
                    if success && entire.is_stream() {
                        // A stream under a wrong name.
                        (self.kind.events, self.kind.stream) = (true, true);
                        self.ahead.extend(entire.pieces());
                        return Ok(());
                    }
                    if self.course.passes && (entire.length > ONE_PIECE || entire.is_sign_of_life()) {
                        self.ahead.extend(entire.pieces());
                        return Ok(());
                    }
                    if entire.is_enough(status)? || self.is_done() {
                        break;
                    }
                }
                Read::End => break,
            }
        }
        if entire.length > ONE_PIECE && !success {
            self.ahead.extend(entire.pieces());
            return Ok(());
        }
        let entire = entire.one();
        let passes = full && self.course.passes && self.course.answers && self.kind.plain && !self.kind.events;
        let fault = if success {
            whole_fault(self.course.format, &entire)
        } else if passes {
            passing_fault(self.course.format, &entire, self.kind.unframed)
        } else {
            None
        };
        if let Some(fault) = fault {
            return Err(failed(fault));
        }
        if status >= 400 {
            self.refused(status, &entire, entire.len() <= ERROR_MOST)?;
        }
        self.read_ahead(entire);
        Ok(())
    }

    /// Reads a piece of an answer with `status`. A refusal that breaks off has said enough with it: nothing more comes then.
    async fn hear(&mut self, status: u16, wait: Duration) -> Result<Read> {
        let heard = self.read(wait).await;
        match &heard {
            Err(error) if status >= 400 && !matches!(error.etype(), ErrorType::Custom(_)) => {
                (self.over, self.failed) = (true, true);
                Ok(Read::End)
            }
            _ => heard,
        }
    }

    /// Reads a refusal, which goes out as it is unless it is because of the prompt's length or of our key; a wait that only
    /// its body tells of stands in its head then.
    ///
    /// # Errors
    ///
    /// The prompt is too long, or the key is refused.
    pub(super) async fn hear_refusal(&mut self, status: u16) -> Result<()> {
        let (mut body, began, mut whole) = (Vec::new(), clock::now(), false);
        while body.len() < REFUSAL_MOST {
            let heard = clock::now().duration_since(began);
            if self.kind.for_now && heard >= FOR_NOW {
                break;
            }
            let wait = if self.kind.for_now { FOR_NOW.saturating_sub(heard) } else { self.course.between };
            match self.hear(status, wait).await? {
                Read::Nothing => {}
                Read::End => {
                    whole = true;
                    break;
                }
                Read::Piece(piece) => {
                    body.extend_from_slice(&piece);
                    self.read_ahead(piece);
                    whole = self.is_done();
                    if whole {
                        break;
                    }
                }
            }
        }
        self.refused(status, &body, whole)
    }

    /// Takes note of what a refusal says. Its head tells it, for whoever reads only that, if it was heard as a `whole`; and
    /// how long the provider wants to be left alone where only its body says so: Google sends no `retry-after`, but
    /// `google.rpc.RetryInfo` (<https://google.aip.dev/193>).
    ///
    /// # Errors
    ///
    /// It is about what no status says: the prompt's length, or our key.
    fn refused(&mut self, status: u16, body: &[u8], whole: bool) -> Result<()> {
        let fault = wire(self.course.format).read_error(framing::of_a_class(status), body).into_owned();
        if self.kind.refusal && self.course.context_length && fault.is_context_length() {
            return Err(told(CONTEXT_LENGTH, fault));
        }
        if self.kind.refusal && fault.kind == FaultKind::Authentication {
            return Err(key_refused());
        }
        if let Some(head) = self.head() {
            let mut head = head.clone();
            if let Some(seconds) = fault.retry_after_s.filter(|_| self.kind.for_now) {
                head.insert_header(header::RETRY_AFTER, seconds.to_string())?;
            }
            if whole {
                let in_format = wire(self.course.format).is_error(body);
                head.extensions_mut().insert(Refusal { fault: Arc::new(fault), in_format });
            }
            self.told = Some(Box::new(head));
        }
        Ok(())
    }

    fn read_ahead(&mut self, piece: Bytes) {
        if !piece.is_empty() {
            self.ahead.push_back(piece);
        }
    }
}

/// A whole answer as it comes, in room that does not depend on how small its pieces are.
#[derive(Default)]
pub(super) struct Entire {
    parts: Vec<BytesMut>,
    length: usize,
    /// Its first byte that is no white space.
    first: Option<u8>,
}

impl Entire {
    pub(super) fn push(&mut self, piece: Bytes) {
        self.length += piece.len();
        self.first = self.first.or_else(|| piece.iter().copied().find(|byte| !byte.is_ascii_whitespace()));
        match self.parts.last_mut() {
            Some(last) if last.len() + piece.len() <= PART => last.extend_from_slice(&piece),
            _ => self.parts.push(piece.into()),
        }
    }

    /// True for what begins as a stream of events does.
    fn is_stream(&self) -> bool {
        self.first.is_some_and(begins_events)
    }

    /// True for white space alone: some providers send it while they think, so that nobody between takes the connection
    /// for dead.
    fn is_sign_of_life(&self) -> bool {
        self.first.is_none() && self.length > 0
    }

    /// True if no more of an answer of this status has to be held.
    ///
    /// # Errors
    ///
    /// It is longer than what may be translated.
    pub(super) fn is_enough(&self, status: u16) -> Result<bool> {
        if self.length > ENTIRE_MOST {
            let words = "the provider's answer is too long to translate";
            return Err(Error::explain(ErrorType::Custom(TOO_LONG), words));
        }
        Ok(status >= 300 && self.length > ERROR_MOST)
    }

    fn pieces(self) -> impl Iterator<Item = Bytes> {
        self.parts.into_iter().filter(|part| !part.is_empty()).map(BytesMut::freeze)
    }

    pub(super) fn one(self) -> Bytes {
        if self.parts.len() > 1 { self.parts.concat().into() } else { self.pieces().next().unwrap_or_default() }
    }
}

/// The provider told of its failure where an answer was to be.
fn failed(fault: Fault<'static>) -> Box<Error> {
    match fault.kind {
        // A success that holds it is a failed answer, which another target may be asked for.
        _ if fault.code.as_deref() == Some(KEY_REFUSED) => told(KEY_REFUSED, fault),
        FaultKind::Authentication | FaultKind::Permission => key_refused(),
        _ => told(STREAM_FAILED, fault),
    }
}

/// As if a status had said so. The provider's words may quote the key, and errors are logged.
fn key_refused() -> Box<Error> {
    told(KEY_REFUSED, Fault::new(FaultKind::Authentication, "the key is refused"))
}

fn told(kind: &'static str, fault: Fault<'static>) -> Box<Error> {
    let context = "before the answer's first content";
    Error::because(ErrorType::Custom(kind), context, Told(Arc::new(fault)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_takes_room_by_its_bytes_and_not_by_its_pieces() {
        let mut entire = Entire::default();
        for byte in std::iter::repeat_n(b' ', 200_000).chain(*b"{}") {
            entire.push(Bytes::copy_from_slice(&[byte]));
            assert!(!entire.is_stream());
        }
        assert_eq!((entire.length, entire.parts.len()), (200_002, 200_002_usize.div_ceil(PART)));
        let big = Bytes::from(vec![b'x'; PART + 1]);
        entire.push(big.clone());
        assert!(!entire.is_stream(), "the first byte says so");
        let one = entire.one();
        assert!(one.len() == 200_002 + big.len() && one.ends_with(&big));
        let mut events = Entire::default();
        for part in ["", "\r\n ", "data: {}"] {
            events.push(Bytes::from_static(part.as_bytes()));
        }
        assert!(events.is_stream());
        assert_eq!(events.pieces().collect::<Vec<_>>(), ["\r\n data: {}"]);
        for none in ["<html>", "null", "\"x\"", "true", "[]"] {
            let mut entire = Entire::default();
            entire.push(Bytes::from_static(none.as_bytes()));
            assert!(!entire.is_stream(), "{none}");
        }
    }
}
