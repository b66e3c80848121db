//! Answers that are looked at before the loop hears of them: streams until their first content, refusals in full, and
//! what must be translated as a whole.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, header};
use pingora_core::{Error, ErrorType, Result};
use pingora_http::ResponseHeader;
use tidegate_codec::hub::Fault;
use tidegate_codec::{Opening, Seen, whole_fault, wire};

use super::session::{Read, SeamSession};
use super::{CONTEXT_LENGTH, STREAM_FAILED, Told};
use crate::clock;

/// Most bytes of a stream that are held; lifecycle frames of a provider that echoes the prompt may be long.
const HELD_MOST: usize = 1 << 20;
/// Most bytes of a refusal that are read to learn its reason.
const REFUSAL_MOST: usize = 64 << 10;

/// Most bytes of a whole answer that are held; what is longer goes on as it comes.
const ENTIRE_MOST: usize = 4 << 20;

/// What an answer's head says of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Kind {
    /// An event stream.
    pub(super) events: bool,
    /// An event stream that can be read.
    pub(super) stream: bool,
    /// A refusal that may be because of the prompt's length.
    pub(super) refusal: bool,
}

impl Kind {
    pub(super) fn of(head: &ResponseHeader) -> Self {
        let kind = head.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let encoding = head.headers.get(header::CONTENT_ENCODING).map(HeaderValue::as_bytes);
        let plain = encoding.is_none_or(|encoding| encoding.eq_ignore_ascii_case(b"identity"));
        let kind = kind.split(';').next().unwrap_or_default().trim();
        let events = kind.eq_ignore_ascii_case("text/event-stream");
        Self {
            events,
            stream: plain && head.status == 200 && events,
            refusal: plain && matches!(head.status.as_u16(), 400 | 413 | 422),
        }
    }
}

impl SeamSession {
    /// Holds a stream until its first content, or until the bound in time or size; what was read goes out in order.
    ///
    /// # Errors
    ///
    /// The stream failed, or ended, before it said anything.
    pub(super) async fn hold(&mut self) -> Result<()> {
        let mut opening = Opening::new(self.course.format);
        let (began, mut held) = (clock::now(), 0);
        loop {
            let left = self.course.hold.saturating_sub(clock::now().duration_since(began));
            if left.is_zero() || held > HELD_MOST {
                return Ok(());
            }
            match self.read(left).await? {
                Read::Nothing => {}
                Read::Piece(piece) => {
                    let seen = opening.chunk(&piece).clone();
                    held += piece.len();
                    self.read_ahead(piece);
                    match seen {
                        Seen::Lifecycle => {}
                        Seen::Content => return Ok(()),
                        Seen::Failed(fault) => return Err(told(STREAM_FAILED, fault)),
                    }
                }
                Read::End => {
                    return match opening.finish() {
                        Seen::Lifecycle | Seen::Content => Ok(()),
                        Seen::Failed(fault) => Err(told(STREAM_FAILED, fault)),
                    };
                }
            }
        }
    }

    /// Holds an answer until all of it is there, or until it is too long for that. It goes out in one piece.
    ///
    /// # Errors
    ///
    /// The connection broke, or a deadline passed; or a stream was asked for, and this is not even an answer.
    pub(super) async fn hold_entire(&mut self, status: u16) -> Result<()> {
        let success = status == 200 && self.course.streamed;
        let mut entire = BytesMut::new();
        let whole = loop {
            if entire.len() >= ENTIRE_MOST {
                break entire.freeze();
            }
            match self.read(self.course.between).await? {
                Read::Nothing => {}
                Read::Piece(piece) if entire.is_empty() && self.is_done() => break piece,
                Read::Piece(piece) => {
                    entire.extend_from_slice(&piece);
                    if success && is_no_json(&entire) {
                        // A stream under a wrong name.
                        (self.kind.events, self.kind.stream) = (true, true);
                        self.read_ahead(entire.freeze());
                        return Ok(());
                    }
                }
                Read::End => break entire.freeze(),
            }
        };
        let fault = (success && whole.len() < ENTIRE_MOST && !is_no_json(&whole))
            .then(|| whole_fault(self.course.format, &whole))
            .flatten();
        if let Some(fault) = fault {
            return Err(told(STREAM_FAILED, fault));
        }
        self.read_ahead(whole);
        Ok(())
    }

    /// Reads a refusal, which goes out as it is unless it is because of the prompt's length.
    ///
    /// # Errors
    ///
    /// The prompt is too long.
    pub(super) async fn hear_refusal(&mut self, status: u16) -> Result<()> {
        let mut body = Vec::new();
        while body.len() < REFUSAL_MOST {
            match self.read(self.course.between).await? {
                Read::Nothing => return Ok(()),
                Read::End => break,
                Read::Piece(piece) => {
                    body.extend_from_slice(&piece);
                    self.read_ahead(piece);
                }
            }
        }
        let fault = wire(self.course.format).read_error(status, &body).into_owned();
        if fault.is_context_length() { Err(told(CONTEXT_LENGTH, fault)) } else { Ok(()) }
    }

    fn read_ahead(&mut self, piece: Bytes) {
        if !piece.is_empty() {
            self.ahead.push_back(piece);
        }
    }
}

/// True for what is neither an object nor an array, as far as it has come.
fn is_no_json(body: &[u8]) -> bool {
    body.iter().find(|byte| !byte.is_ascii_whitespace()).is_some_and(|first| !matches!(first, b'{' | b'['))
}

fn told(kind: &'static str, fault: Fault<'static>) -> Box<Error> {
    let context = "before the answer's first content";
    Error::because(ErrorType::Custom(kind), context, Told(Arc::new(fault)))
}
