//! A request's body that streams through: it is never held whole, and Pingora's own pump gives it back-pressure.
//!
//! Pingora keeps the first 64 KiB of what it read and gives them to each attempt again, until more than that was read.
//! From then on the body is spent: no other attempt can send it. What was read before an attempt is kept here too, so that
//! reading ahead while the next one is waited for takes nothing from it.

use std::mem;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::Method;
use pingora::{Error, ErrorType};
use pingora_proxy::Session;
use tidegate_codec::hub::{Fault, FaultKind};

use super::body::{self, BodyError, Pace, RETRY_BUFFER, Reservation};
use super::exchange::Exchange;
use super::form::Form;
use super::refuse::Rejection;
use crate::clock;
use crate::config::Server;
use crate::upstream::seam;

/// Bytes after which nothing more is read ahead. A frame of HTTP/2 on top of them still fits into Pingora's buffer.
const LOOK_AHEAD: usize = 48 * 1024;

/// How much more patience there is for a body that streams through than for one that is held: what its provider does not
/// take, its client cannot send.
const LENIENCE: u32 = 4;

/// What an error is called that says that the body may not go on: the client's fault, not the provider's.
pub(super) const REFUSED: &str = "body_refused";

/// A body on its way through.
#[derive(Debug, Default)]
pub struct Upload {
    /// Its length, if announced.
    length: Option<usize>,
    /// The most that it may be long.
    limit: usize,
    /// What was read before the attempt, from the beginning.
    ahead: Bytes,
    /// Pingora keeps nothing of it.
    unkept: bool,
    /// All of it was read ahead, and what Pingora will hand over stands for it.
    stand_in: bool,
    /// The attempt took its first piece.
    begun: bool,
    /// An attempt before it took some.
    again: bool,
    /// Bytes that the attempt took.
    taken: usize,
    /// There is none.
    empty: bool,
    /// All of it is here.
    here: bool,
    /// All of it went on.
    over: bool,
    /// How fast it must come; from the attempt's first piece on.
    pace: Option<Pace>,
    /// The body is a form, watched for the model.
    form: Option<Form>,
}

impl Upload {
    /// Prepares the body of the request in `session` to stream through, within the bounds of `server`. Where its beginning
    /// will be `looked_at`, it may turn out that it must be held, see [`Self::hold`].
    ///
    /// # Errors
    ///
    /// It is too long or encoded, or the client is gone.
    pub(super) async fn open(session: &mut Session, server: &Server, looked_at: bool) -> Result<Self, BodyError> {
        let limit = server.upload_limit;
        let length = body::announced_length(session)?;
        if length.is_some_and(|length| length > limit) {
            return Err(BodyError::TooLarge { limit });
        }
        body::refuse_encoded(session)?;
        // Where nothing comes, servers of HTTP/1.1 want to be told so for the methods that usually bring something.
        let brings = matches!(session.req_header().method, Method::POST | Method::PUT | Method::PATCH);
        let length = length.or_else(|| (brings && session.as_mut().is_body_done()).then_some(0));
        let unkept = looked_at && length.is_some_and(|length| length > RETRY_BUFFER);
        if !unkept {
            session.enable_retry_buffering();
        }
        // The pump has no clock of its own for a client that falls silent. (Over HTTP/2 nothing heeds this one; there what
        // the provider waits for ends it.)
        session.set_read_timeout(Some(server.timeouts.body));
        body::invite(session).await?;
        // Nothing was read of it yet.
        let empty = session.as_mut().is_body_done();
        Ok(Self { length, limit, unkept, empty, here: empty, ..Self::default() })
    }

    /// Reads the body's beginning until `enough` says so of a piece; `true` if all of the body was read.
    ///
    /// # Errors
    ///
    /// The client is too slow or gone, the body is too long, or `enough` failed.
    pub(super) async fn look_ahead<E: From<BodyError>>(
        &mut self,
        session: &mut Session,
        server: &Server,
        room: &mut Reservation,
        mut enough: impl FnMut(&[u8]) -> Result<bool, E>,
    ) -> Result<bool, E> {
        let mut ahead = BytesMut::new();
        let mut pace = Pace::new(server, 1);
        while ahead.len() < LOOK_AHEAD {
            let read = clock::within(pace.left(), pin!(session.read_request_body())).await;
            let read = read.ok_or(BodyError::TooSlow)?;
            let Some(piece) = read.map_err(BodyError::from)? else { break };
            pace.came(piece.len());
            ahead.extend_from_slice(&piece);
            if !room.grow_to(ahead.len()) {
                return Err(BodyError::NoRoom.into());
            }
            if enough(&piece)? || session.as_mut().is_body_done() {
                break;
            }
        }
        self.ahead = ahead.freeze();
        self.close(session, server).await?;
        Ok(session.as_mut().is_body_done())
    }

    /// Sees to it that Pingora hands something over for a body that was read ahead to its end.
    async fn close(&mut self, session: &mut Session, server: &Server) -> Result<(), BodyError> {
        let done = session.as_mut().is_body_done();
        self.here = done;
        if done && !self.stand_in && !self.ahead.is_empty() && session.get_retry_buffer().is_none() {
            body::rearm(session, &server.timeouts).await?;
            self.stand_in = true;
        }
        Ok(())
    }

    /// Reads the rest of a body whose beginning was looked at, and gives all of it.
    ///
    /// # Errors
    ///
    /// See [`BodyError`].
    pub(super) async fn hold(
        self,
        session: &mut Session,
        server: &Server,
        room: &mut Reservation,
    ) -> Result<Bytes, BodyError> {
        body::rest(session, (self.ahead, self.length), server, room).await
    }

    /// Awaits `turn` for as long as the client is there. A client is seen to leave behind what it has sent, so as much of
    /// the body is read meanwhile as may be read ahead; one that has sent more and then leaves is seen when its turn comes.
    ///
    /// # Errors
    ///
    /// The client has left, its body is no body, or does not come in time.
    pub(super) async fn unless_gone<T>(
        &mut self,
        session: &mut Session,
        server: &Server,
        room: &mut Reservation,
        turn: impl Future<Output = T> + Unpin,
    ) -> Result<T, BodyError> {
        // An attempt took what may be pushed out of Pingora's buffer now.
        if let (false, Some(read)) = (self.unkept || self.stand_in, session.get_retry_buffer()) {
            self.ahead = read;
        }
        let done = tokio::select! {
            biased;
            done = turn => done,
            wrong = self.read_on(session, server, room) => return Err(wrong),
        };
        self.close(session, server).await?;
        Ok(done)
    }

    /// Reads ahead as far as that may go; gives why the body goes no further.
    async fn read_on(&mut self, session: &mut Session, server: &Server, room: &mut Reservation) -> BodyError {
        let mut pace = Pace::new(server, LENIENCE);
        // Behind trailers Pingora says that the body is over, but not that it is done.
        let mut ended = false;
        loop {
            let done = ended || session.as_mut().is_body_done();
            let full = !room.grow_to(self.ahead.len()) || self.ahead.len() >= LOOK_AHEAD;
            if !done && full {
                return std::future::pending().await;
            }
            let read = session.downstream_session.read_body_or_idle(done);
            let read = if done { Some(read.await) } else { clock::within(pace.left(), pin!(read)).await };
            match read {
                Some(Ok(Some(piece))) if !done => {
                    pace.came(piece.len());
                    let mut ahead = BytesMut::from(mem::take(&mut self.ahead));
                    ahead.extend_from_slice(&piece);
                    self.ahead = ahead.freeze();
                    // A client that never pauses must not keep its thread.
                    tokio::task::consume_budget().await;
                }
                Some(Ok(None)) if !done => ended = true,
                Some(Ok(_)) => {
                    let message = "the client sent more than its request";
                    return BodyError::Broken(Error::explain(ErrorType::ConnectionClosed, message));
                }
                Some(Err(error)) if *error.etype() == ErrorType::ReadTimedout => return BodyError::TooSlow,
                Some(Err(error)) => return error.into(),
                None => return BodyError::TooSlow,
            }
        }
    }

    /// Watches the body, which is a form.
    pub(super) fn watch(&mut self, form: Form) {
        self.form = Some(form);
    }

    /// Whether something of it is still to come.
    pub(super) fn is_coming(&self) -> bool {
        !self.here
    }

    /// The longest time that it may take to come.
    pub(super) fn longest(&self, server: &Server) -> Duration {
        Pace::longest(server, LENIENCE, self.length.unwrap_or(self.limit))
    }

    /// Whether its length is announced.
    pub(super) fn announced(&self) -> bool {
        self.length.is_some()
    }

    /// Whether all of it went on to the attempt under way. None is over before Pingora says so, which it does not over
    /// HTTP/2.
    pub(super) fn is_over(&self) -> bool {
        self.empty || self.over
    }

    /// Whether it is no longer than `limit`, as far as it says.
    pub(super) fn fits(&self, limit: usize) -> bool {
        self.length.is_none_or(|length| length <= limit)
    }

    /// Another attempt begins, at a target that calls the model `model`.
    pub(super) fn begin(&mut self, model: &str) {
        self.again |= self.begun;
        (self.begun, self.taken, self.over, self.pace) = (false, 0, false, None);
        if let Some(form) = &mut self.form {
            form.begin(model);
        }
    }

    /// The length to announce to the provider.
    pub(super) fn length(&self) -> Option<usize> {
        let form = self.form.as_ref();
        self.length.map(|length| form.map_or(length, |form| form.length(length)))
    }

    /// Whether bytes are gone that an earlier attempt took: neither Pingora nor this has them, `read` were read in all and
    /// `piece` is the first of this attempt.
    fn has_lost(&self, piece: Option<&Bytes>, whole: bool, read: usize) -> bool {
        let first = self.again && !self.begun && !self.stand_in && !whole;
        first && self.ahead.len() + piece.map_or(0, Bytes::len) != read
    }

    /// What a piece becomes; `whole` if Pingora still has all that it read.
    fn piece(&mut self, piece: &mut Option<Bytes>, end: bool, whole: bool, server: &Server) -> Result<(), Refused> {
        if !mem::replace(&mut self.begun, true) {
            if self.stand_in {
                *piece = Some(self.ahead.clone());
            } else if !whole && !self.ahead.is_empty() {
                let rest = piece.as_deref().unwrap_or_default();
                *piece = Some([&self.ahead, rest].concat().into());
            }
        }
        self.taken += piece.as_ref().map_or(0, Bytes::len);
        if self.taken > self.limit {
            return Err(BodyError::TooLarge { limit: self.limit }.into());
        }
        let pace = self.pace.get_or_insert_with(|| Pace::new(server, LENIENCE));
        if !end && pace.left().is_zero() {
            return Err(BodyError::TooSlow.into());
        }
        pace.came(piece.as_ref().map_or(0, Bytes::len));
        self.over = end;
        if let Some(form) = &mut self.form {
            *piece = form.piece(piece.as_deref().unwrap_or_default(), end)?;
        }
        // Pingora would write an empty last piece as a chunk, which ends the body, and then its end.
        *piece = piece.take().filter(|piece| !(end && piece.is_empty()));
        Ok(())
    }
}

/// Why a body goes no further.
pub(super) struct Refused {
    fault: Box<Fault<'static>>,
    label: &'static str,
}

impl Refused {
    /// The attempt before it took the body's beginning with it.
    fn lost() -> Self {
        let words = "The connection to the provider broke, and the request's body cannot be sent again.";
        let mut fault = Fault::new(FaultKind::Api, words).with_code("upstream_broken");
        fault.status = 502;
        Self { fault: Box::new(fault), label: "upstream_broken" }
    }
}

impl From<Rejection> for Refused {
    fn from(rejection: Rejection) -> Self {
        Self { fault: rejection.fault, label: rejection.label }
    }
}

impl From<BodyError> for Refused {
    fn from(error: BodyError) -> Self {
        Rejection::from(error).into()
    }
}

/// Passes a piece of the body on.
///
/// # Errors
///
/// The body is one that the provider must not get: what it got so far is not complete.
pub(super) fn pass(
    session: &Session,
    exchange: &mut Exchange,
    piece: &mut Option<Bytes>,
    end: bool,
) -> pingora::Result<()> {
    // The rest would come too late: who sends it is told so, and its line is in the log.
    seam::heed()?;
    let snapshot = exchange.sending().map(|sending| Arc::clone(&sending.admitted.snapshot));
    let (Some(snapshot), Some(upload)) = (snapshot, exchange.upload()) else { return Ok(()) };
    let whole = !(upload.unkept || session.as_ref().retry_buffer_truncated());
    let passed = if upload.has_lost(piece.as_ref(), whole, session.as_ref().body_bytes_read()) {
        Err(Refused::lost())
    } else {
        upload.piece(piece, end, whole, &snapshot.settings.server)
    };
    let spent = passed.is_err() || !(whole || upload.stand_in);
    if spent {
        upload.ahead = Bytes::new();
    }
    let taken = upload.taken;
    let found = upload.form.as_mut().and_then(Form::found);
    let trail = &mut exchange.trail;
    trail.bytes_in = taken;
    if let Some((model, route)) = found {
        (trail.model, trail.route) = (Some(model), Some(route));
    }
    let Some(sending) = exchange.sending() else { return Ok(()) };
    if spent {
        sending.spent = true;
        sending.plan.exhaust();
        sending.admitted.room.release();
    }
    if let Err(refused) = passed {
        sending.verdict = Some(Box::new((*refused.fault, refused.label)));
        return Err(Error::explain(ErrorType::Custom(REFUSED), "the request's body is refused"));
    }
    Ok(())
}
