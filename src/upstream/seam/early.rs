//! The head of an answer, and the head that stands in for it while the provider is still thinking.
//!
//! A server of models that says nothing before its first word may think for minutes over a long prompt, and between it and
//! the client stands what takes a silent connection for a dead one. So the client of a stream gets a head and signs of life
//! after a while. What the provider says then comes too late for a status: [`Late`] holds it.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header;
use pingora_core::{Error, ErrorType, Result};
use pingora_http::ResponseHeader;

use super::hold::{Entire, Kind};
use super::reading::{Read, What, hear};
use super::session::SeamSession;
use super::{Cut, HEARTBEAT, LATE, LOOKS, STREAM_TOO_LONG, heed};
use crate::clock::{self, Instant};
use crate::upstream::{Packed, framing};

/// What is told of an answer whose head was not waited for.
#[derive(Debug, Default)]
pub struct Late {
    /// 0 while the head is waited for, 1 while another stands in for it, and then its status.
    status: AtomicU16,
    answer: OnceLock<Bytes>,
}

impl Late {
    const STANDS_IN: u16 = 1;

    /// A head of ours stands in for the provider's.
    pub fn stands_in(&self) -> bool {
        self.status.load(Ordering::Acquire) == Self::STANDS_IN
    }

    /// The status of the provider's own head, once, when it has come behind one of ours.
    pub fn status_once(&self) -> Option<u16> {
        match self.status.load(Ordering::Relaxed) {
            0 | Self::STANDS_IN => None,
            _ => Some(self.status.swap(0, Ordering::AcqRel)).filter(|status| *status > Self::STANDS_IN),
        }
    }

    /// The whole answer, where it was no stream.
    pub fn answer(&self) -> Bytes {
        self.answer.get().cloned().unwrap_or_default()
    }
}

/// A session whose head stands in for the provider's.
pub(super) struct Early {
    head: Box<ResponseHeader>,
    /// When the client heard from us last, behind the head.
    heard: Option<Instant>,
    interims: u32,
    /// The provider's own status, once it is known that its answer is no stream.
    status: Option<u16>,
    entire: Entire,
}

impl Early {
    pub(super) fn head(&self) -> &ResponseHeader {
        &self.head
    }
}

impl SeamSession {
    /// Reads the answer's head; after a while one of ours stands in for it, where that is wanted.
    ///
    /// # Errors
    ///
    /// There is none, or none that can be read.
    pub(super) async fn read_head(&mut self) -> Result<()> {
        let mut interims = 0;
        loop {
            heed()?;
            let patience = self.course.first_byte.min(self.course.whole);
            let asked = clock::now().duration_since(self.since);
            let early = self.course.early.as_ref().map_or(Duration::MAX, |early| early.after);
            let wait = patience.min(early).saturating_sub(asked).min(LOOKS);
            if self.with_body(wait, What::Head).await?.is_none() {
                self.listen();
                if self.stuck {
                    return Err(Error::explain(ErrorType::WriteTimedout, "the provider does not take the request"));
                }
                // A body that is still being written has moved the beginning of the wait.
                let asked = clock::now().duration_since(self.since);
                if asked >= patience {
                    return Err(Error::explain(ErrorType::ReadTimedout, "the deadline of the first byte"));
                }
                if asked >= early {
                    return self.stand_in();
                }
                continue;
            }
            if self.take_head()? {
                return Ok(());
            }
            interims += 1;
            if interims > framing::MOST_INTERIMS {
                return Err(no_final());
            }
        }
    }

    /// Takes over what the head says that was read; `false` if another one follows.
    fn take_head(&mut self) -> Result<bool> {
        let Some(head) = self.inner.response_header() else { return Err(no_final()) };
        if head.status.is_informational() && head.status != 101 {
            return Ok(false);
        }
        framing::check(head)?;
        self.unheard.heard();
        let packed = Packed::of(head);
        self.kind = Kind::of(packed.as_ref().map_or(head, Packed::head));
        // What ends with its head holds nothing.
        self.packed = packed.filter(|_| !self.inner.response_done()).map(Box::new);
        Ok(true)
    }

    fn stand_in(&mut self) -> Result<()> {
        let mut head = Box::new(ResponseHeader::build_no_case(200, Some(1))?);
        head.insert_header(header::CONTENT_TYPE, "text/event-stream")?;
        self.kind = Kind::of(&head);
        if let Some(early) = &self.course.early {
            early.late.status.store(Late::STANDS_IN, Ordering::Release);
        }
        self.early = Some(Box::new(Early { head, heard: None, interims: 0, status: None, entire: Entire::default() }));
        Ok(())
    }

    /// What the client hears behind a head of ours, until the provider's own has come and is that of a stream: then
    /// `None`. All that was learnt stays where it is when this is dropped.
    pub(super) async fn before_the_stream(&mut self) -> Option<Bytes> {
        match self.wait_for_stream().await {
            Ok(piece) => piece,
            Err(error) => {
                self.note(&error);
                (self.early, self.over) = (None, true);
                Some(Cut::of(&error).piece())
            }
        }
    }

    async fn wait_for_stream(&mut self) -> Result<Option<Bytes>> {
        while self.early.as_ref().is_some_and(|early| early.status.is_none()) {
            if self.wait_for_head().await? {
                return Ok(Some(Bytes::from_static(&HEARTBEAT)));
            }
        }
        let Some(status) = self.early.as_ref().and_then(|early| early.status) else { return Ok(None) };
        while !self.inner.response_done() || self.packed.is_some() {
            let piece = match self.read(self.course.between).await? {
                Read::Piece(piece) => piece,
                Read::Nothing => continue,
                Read::End => break,
            };
            let Some(early) = &mut self.early else { break };
            early.entire.push(piece);
            if early.entire.is_enough(status)? {
                self.failed = true;
                break;
            }
        }
        let whole = self.early.take().map(|early| early.entire.one()).unwrap_or_default();
        if let Some(early) = &self.course.early {
            let _ = early.late.answer.set(whole);
        }
        self.over = true;
        Ok(Some(Bytes::from_static(&LATE)))
    }

    /// Waits until the client should hear from us, which is `true`, or for the next head.
    async fn wait_for_head(&mut self) -> Result<bool> {
        heed()?;
        let now = clock::now();
        let asked = now.duration_since(self.since);
        if asked >= self.course.whole {
            return Err(Error::explain(ErrorType::Custom(STREAM_TOO_LONG), "the deadline of the whole stream"));
        }
        if asked >= self.course.first_byte {
            return Err(Error::explain(ErrorType::ReadTimedout, "the deadline of the first byte"));
        }
        let left = self.course.first_byte.min(self.course.whole).saturating_sub(asked);
        let Some(early) = &mut self.early else { return Ok(false) };
        let unheard = early.heard.map_or(Duration::MAX, |heard| now.duration_since(heard));
        let silent = self.course.heartbeat.saturating_sub(unheard);
        if silent.is_zero() {
            early.heard = Some(now);
            return Ok(true);
        }
        let wait = left.min(silent).min(LOOKS);
        if hear(&mut self.inner, What::Head, wait).await?.is_none() {
            self.listen();
            return Ok(false);
        }
        if !self.take_head()? {
            if let Some(early) = &mut self.early {
                early.interims += 1;
                if early.interims > framing::MOST_INTERIMS {
                    return Err(no_final());
                }
            }
            return Ok(false);
        }
        let status = self.inner.response_header().map_or(0, |head| framing::of_a_class(head.status.as_u16()));
        if let Some(early) = &self.course.early {
            early.late.status.store(status, Ordering::Release);
        }
        if self.kind.stream && !self.inner.response_done() {
            self.early = None;
        } else if let Some(early) = &mut self.early {
            early.status = Some(status);
        }
        Ok(false)
    }
}

fn no_final() -> Box<Error> {
    Error::explain(ErrorType::InvalidHTTPHeader, "no final answer")
}
