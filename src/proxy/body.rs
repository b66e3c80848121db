//! Reading a request's body whole, within bounds, in a way that Pingora will still send another one upstream.
//!
//! Pingora hands a body that a filter has read to `request_body_filter` only if its own retry buffer holds something
//! and was never truncated, and that buffer holds 64 KiB. So the buffer is armed late: what it then holds is a
//! stand-in of at most 64 KiB, and the true body lives in the exchange. Where the length is unknown beforehand
//! (chunked, over HTTP/1.1) and turned out longer, the session is made anew around a one-byte stand-in body.

use std::mem;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::header;
use pingora::protocols::http::ServerSession;
use pingora::protocols::http::v1::server::HttpSession as H1Session;
use pingora_proxy::Session;

use super::connection;
use crate::clock;
use crate::config::{ClientTimeouts, Server};

/// Size of Pingora's private retry buffer, in bytes.
pub(super) const RETRY_BUFFER: usize = 64 * 1024;

/// Bytes of bodies that all requests together may hold.
#[derive(Debug)]
pub struct Budget {
    used: AtomicUsize,
    /// As many as the process has memory for.
    room: AtomicUsize,
}

impl Default for Budget {
    fn default() -> Self {
        Self { used: AtomicUsize::new(0), room: AtomicUsize::new(usize::MAX) }
    }
}

/// What a byte of a body takes at most, in tenths: it may stand there a second time, translated, beside buffers.
const TENTHS_A_BYTE: u64 = 25;

impl Budget {
    /// Bytes held now.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Takes over how many bytes of memory are `free`, beside those of bodies that are held; `None` for no bound.
    pub fn measured(&self, free: Option<u64>) {
        let more = free.map(|free| usize::try_from(free / TENTHS_A_BYTE * 10).unwrap_or(usize::MAX));
        let room = more.map_or(usize::MAX, |more| self.used().saturating_add(more));
        self.room.store(room, Ordering::Relaxed);
    }
}

/// A request's share of the [`Budget`]; given back when dropped. The default is none, of no budget.
#[derive(Debug, Default)]
pub struct Reservation {
    budget: Arc<Budget>,
    held: usize,
    limit: usize,
}

impl Reservation {
    /// An empty share of `budget`, whose bound is `limit`.
    pub fn new(budget: Arc<Budget>, limit: usize) -> Self {
        Self { budget, held: 0, limit }
    }

    /// Whether the share could grow to `bytes` now.
    pub fn could_grow_to(&self, bytes: usize) -> bool {
        let used = self.budget.used();
        used.saturating_add(bytes.saturating_sub(self.held)) <= self.most(used)
    }

    /// Grows the share to `bytes`; false if the budget does not allow it.
    pub fn grow_to(&mut self, bytes: usize) -> bool {
        let more = bytes.saturating_sub(self.held);
        if more == 0 {
            return true;
        }
        let before = self.budget.used.fetch_add(more, Ordering::Relaxed);
        if before.saturating_add(more) > self.most(before) {
            self.budget.used.fetch_sub(more, Ordering::Relaxed);
            return false;
        }
        self.held += more;
        true
    }

    /// Bytes that all may hold, of which `used` are; a body that is alone has the room that the config gives it.
    fn most(&self, used: usize) -> usize {
        if used == self.held { self.limit } else { self.limit.min(self.budget.room.load(Ordering::Relaxed)) }
    }
}

impl Reservation {
    /// Gives the share back.
    pub(super) fn release(&mut self) {
        self.budget.used.fetch_sub(mem::take(&mut self.held), Ordering::Relaxed);
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.release();
    }
}

/// Why a body was not read.
#[derive(Debug)]
pub enum BodyError {
    /// Longer than one request may be.
    TooLarge {
        /// The bound, in bytes.
        limit: usize,
    },
    /// All requests together hold too much already.
    NoRoom,
    /// Longer than 64 KiB over HTTP/2 without a `content-length`.
    LengthRequired,
    /// `content-length` is no number.
    BadLength,
    /// Encoded in a way that is not read.
    Encoded(String),
    /// It came slower than it must.
    TooSlow,
    /// Its framing could be read in two ways.
    BadFraming,
    /// The connection failed.
    Broken(Box<pingora::Error>),
}

impl From<Box<pingora::Error>> for BodyError {
    fn from(error: Box<pingora::Error>) -> Self {
        let cause = error.root_cause().downcast_ref::<std::io::Error>();
        if cause.is_some_and(|cause| cause.kind() == std::io::ErrorKind::InvalidData) {
            return Self::BadFraming;
        }
        Self::Broken(error)
    }
}

/// Reads the body of the request in `session`, within the bounds of `server`.
///
/// # Errors
///
/// See [`BodyError`]. The connection cannot be used for another request then.
pub async fn read(session: &mut Session, server: &Server, room: &mut Reservation) -> Result<Bytes, BodyError> {
    let limit = server.body_limit;
    let length = announced_length(session)?;
    if length.is_some_and(|length| length > limit) {
        return Err(BodyError::TooLarge { limit });
    }
    refuse_encoded(session)?;
    // Who only announces a body must not hold the room of all others: it is taken as the body comes.
    if !room.could_grow_to(length.unwrap_or(0)) {
        return Err(BodyError::NoRoom);
    }
    invite(session).await?;
    rest(session, (Bytes::new(), length), server, room).await
}

/// Reads what is left of a body that begins with `ahead` and is `length` bytes long, if that was announced, and gives all
/// of it. What was read before must not have filled Pingora's buffer.
///
/// # Errors
///
/// See [`BodyError`].
pub(super) async fn rest(
    session: &mut Session,
    (ahead, length): (Bytes, Option<usize>),
    server: &Server,
    room: &mut Reservation,
) -> Result<Bytes, BodyError> {
    let body = collect(session, (ahead, length), server, room).await?;
    if !body.is_empty() && session.get_retry_buffer().is_none() {
        rearm(session, &server.timeouts).await?;
    }
    Ok(body)
}

/// Tells a client that waits for it that its body is welcome.
pub(super) async fn invite(session: &mut Session) -> Result<(), BodyError> {
    if session.get_header(header::EXPECT).is_some() && !session.as_mut().is_body_done() {
        // Writing the interim answer, which has no length, makes Pingora give the connection up.
        let keepalive = session.get_keepalive();
        session.write_continue_response().await?;
        session.set_keepalive(keepalive);
    }
    Ok(())
}

async fn collect(
    session: &mut Session,
    (ahead, length): (Bytes, Option<usize>),
    server: &Server,
    room: &mut Reservation,
) -> Result<Bytes, BodyError> {
    let limit = server.body_limit;
    let mut body = Gathered { first: ahead, all: BytesMut::new() };
    let mut pace = Pace::new(server, 1);
    loop {
        let left = length.map(|length| length.saturating_sub(body.len()));
        if left.is_none_or(|left| left <= RETRY_BUFFER) {
            session.enable_retry_buffering();
        }
        let read = clock::within(pace.left(), pin!(session.read_request_body())).await;
        let Some(chunk) = read.ok_or(BodyError::TooSlow)?? else { break };
        pace.came(chunk.len());
        let total = body.len().saturating_add(chunk.len());
        if total > limit {
            return Err(BodyError::TooLarge { limit });
        }
        if !room.grow_to(total) {
            return Err(BodyError::NoRoom);
        }
        body.push(chunk, length);
        if session.is_body_done() {
            break;
        }
    }
    Ok(body.finish())
}

/// How fast a body must come: what comes pays for the time that follows, but for no more than the patience, so that who
/// has sent much cannot hold it for long.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    patience: Duration,
    /// Bytes a second.
    rate: usize,
    /// When the next piece must be there.
    due: Instant,
}

impl Pace {
    /// A pace that begins now, with this many times the patience that `server` has.
    pub(super) fn new(server: &Server, times: u32) -> Self {
        let patience = server.timeouts.body.saturating_mul(times);
        Self { patience, rate: server.limits.body_rate, due: clock::now() + patience }
    }

    /// The longest that `bytes` may take to come at such a pace.
    pub(super) fn longest(server: &Server, times: u32, bytes: usize) -> Duration {
        let seconds =
            bytes.checked_div(server.limits.body_rate).map_or(Duration::MAX, |s| Duration::from_secs(s as u64));
        server.timeouts.body.saturating_mul(times).saturating_add(seconds)
    }

    /// The time that is left for the next piece.
    pub(super) fn left(&self) -> Duration {
        self.due.saturating_duration_since(clock::now())
    }

    /// A piece of `bytes` came.
    pub(super) fn came(&mut self, bytes: usize) {
        let micros = (bytes as u64).saturating_mul(1_000_000).checked_div(self.rate as u64).unwrap_or_default();
        self.due = (self.due + Duration::from_micros(micros)).min(clock::now() + self.patience);
    }
}

/// A body as it comes; one that came whole is not copied.
#[derive(Default)]
struct Gathered {
    first: Bytes,
    all: BytesMut,
}

impl Gathered {
    fn len(&self) -> usize {
        self.first.len() + self.all.len()
    }

    fn push(&mut self, chunk: Bytes, length: Option<usize>) {
        if self.first.is_empty() && self.all.is_empty() {
            self.first = chunk;
            return;
        }
        if self.all.is_empty() {
            // Who only announces a length must not be given the room for it.
            let twice = 2 * (self.first.len() + chunk.len());
            self.all.reserve(length.map_or(twice, |length| length.min(twice)));
            self.all.extend_from_slice(&mem::take(&mut self.first));
        }
        self.all.extend_from_slice(&chunk);
    }

    fn finish(self) -> Bytes {
        if self.all.is_empty() { self.first } else { self.all.freeze() }
    }
}

/// The length that the client announced.
pub(super) fn announced_length(session: &Session) -> Result<Option<usize>, BodyError> {
    let Some(value) = session.get_header(header::CONTENT_LENGTH) else { return Ok(None) };
    value.to_str().ok().and_then(|text| text.parse().ok()).map(Some).ok_or(BodyError::BadLength)
}

/// An encoded body would be a second way to say the same bytes, and a way to send a bomb.
pub(super) fn refuse_encoded(session: &Session) -> Result<(), BodyError> {
    match session.get_header(header::CONTENT_ENCODING).map(|value| String::from_utf8_lossy(value.as_bytes())) {
        Some(encoding) if !encoding.is_empty() && !encoding.eq_ignore_ascii_case("identity") => {
            Err(BodyError::Encoded(encoding.into_owned()))
        }
        _ => Ok(()),
    }
}

/// Makes the HTTP/1.1 session anew, its body one stand-in byte that Pingora will pump.
///
/// The connection, its keep-alive setting and the request's headers stay; what the client sent has been read to its end,
/// so nothing of it is lost.
pub(super) async fn rearm(session: &mut Session, timeouts: &ClientTimeouts) -> Result<(), BodyError> {
    if !matches!(*session.downstream_session, ServerSession::H1(_)) {
        return Err(BodyError::LengthRequired);
    }
    let keepalive = session.get_keepalive();
    let head = stand_in_head(session);
    let placeholder = ServerSession::new_custom(Box::new(()));
    let ServerSession::H1(spent) = mem::replace(&mut *session.downstream_session, placeholder) else {
        return Err(BodyError::LengthRequired);
    };
    let mut fresh = H1Session::new(spent.into_inner());
    fresh.set_pipelined_prefix(head);
    fresh.read_request().await?;
    fresh.set_server_keepalive(keepalive);
    *session.downstream_session = ServerSession::H1(fresh);
    connection::prepare(session, timeouts);
    session.enable_retry_buffering();
    while session.read_request_body().await?.is_some() {}
    Ok(())
}

/// The request's head again, with a body of one byte.
fn stand_in_head(session: &Session) -> BytesMut {
    let request = session.req_header();
    let mut head = BytesMut::with_capacity(1024);
    head.extend_from_slice(request.method.as_str().as_bytes());
    head.extend_from_slice(b" ");
    head.extend_from_slice(request.raw_path());
    head.extend_from_slice(b" HTTP/1.1\r\n");
    for (name, value) in &request.headers {
        if matches!(name.as_str(), "transfer-encoding" | "content-length" | "expect") {
            continue;
        }
        head.extend_from_slice(name.as_str().as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"content-length: 1\r\n\r\n ");
    head
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_budget_bounds_all_requests_together() {
        let budget = Arc::new(Budget::default());
        let mut one = Reservation::new(Arc::clone(&budget), 100);
        let mut two = Reservation::new(Arc::clone(&budget), 100);
        budget.measured(Some(100));
        assert!(one.could_grow_to(60) && one.grow_to(50) && one.grow_to(60), "one that is alone");
        assert!(!two.could_grow_to(1) && !two.grow_to(1));
        budget.measured(Some(75));
        assert!(!two.could_grow_to(31) && !two.grow_to(31) && two.grow_to(30), "each byte may take two and a half");
        two.release();
        budget.measured(None);
        assert!(!two.grow_to(50));
        assert!(two.grow_to(40));
        assert_eq!(budget.used(), 100);
        drop(one);
        assert!(two.grow_to(100));
        drop(two);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn a_body_that_came_whole_is_not_copied() {
        let whole = Bytes::from_static(b"all of it");
        let mut body = Gathered::default();
        body.push(whole.clone(), None);
        assert_eq!(body.finish().as_ptr(), whole.as_ptr());
        let mut body = Gathered::default();
        for part in ["a", "bc", "d"] {
            body.push(Bytes::from_static(part.as_bytes()), Some(4));
        }
        assert_eq!(body.finish(), "abcd");
    }
}
