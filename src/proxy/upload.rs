//! A request's body that streams through: it is never held whole, and Pingora's own pump gives it back-pressure.
//!
//! Pingora keeps the first 64 KiB of what it read and gives them to each attempt again, until more than that was read.
//! From then on the body is spent: no other attempt can send it. What was read before the first attempt is kept here
//! too, for a body whose beginning was looked at.

use bytes::{Bytes, BytesMut};
use http::Method;
use pingora::{Error, ErrorType};
use pingora_proxy::Session;
use tidegate_codec::hub::Fault;

use super::body::{self, BodyError, Reservation};
use super::exchange::Exchange;
use super::form::Form;
use super::refuse::Rejection;
use crate::clock;
use crate::config::Server;

/// Bytes after which nothing more is read ahead. A frame of HTTP/2 on top of them still fits into Pingora's buffer.
const LOOK_AHEAD: usize = 48 * 1024;

/// A body on its way through.
#[derive(Debug, Default)]
pub struct Upload {
    /// Its length, if announced.
    length: Option<usize>,
    /// The most that it may be long.
    limit: usize,
    /// What was read before the first attempt.
    ahead: Bytes,
    /// All of it was read ahead, and what Pingora will hand over stands for it.
    stand_in: bool,
    /// The attempt took its first piece.
    begun: bool,
    /// Bytes that the attempt took.
    taken: usize,
    /// The body is a form, watched for the model.
    form: Option<Form>,
}

impl Upload {
    /// Prepares the body of the request in `session` to stream through, within the bounds of `server`.
    ///
    /// # Errors
    ///
    /// It is too long or encoded, or the client is gone.
    pub(super) async fn open(session: &mut Session, server: &Server) -> Result<Self, BodyError> {
        let limit = server.upload_limit;
        let length = body::announced_length(session)?;
        if length.is_some_and(|length| length > limit) {
            return Err(BodyError::TooLarge { limit });
        }
        body::refuse_encoded(session)?;
        // Where nothing comes, servers of HTTP/1.1 want to be told so for the methods that usually bring something.
        let brings = matches!(session.req_header().method, Method::POST | Method::PUT | Method::PATCH);
        let length = length.or_else(|| (brings && session.as_mut().is_body_done()).then_some(0));
        session.enable_retry_buffering();
        // The pump has no clock of its own for a client that falls silent.
        session.set_read_timeout(Some(server.timeouts.body));
        body::invite(session).await?;
        Ok(Self { length, limit, ..Self::default() })
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
        let began = clock::now();
        while ahead.len() < LOOK_AHEAD {
            let patience = server.timeouts.body.saturating_sub(clock::now().duration_since(began));
            let read = tokio::time::timeout(patience, session.read_request_body());
            let read = read.await.map_err(|_| BodyError::TooSlow)?;
            let Some(piece) = read.map_err(BodyError::from)? else { break };
            ahead.extend_from_slice(&piece);
            if !room.grow_to(ahead.len()) {
                return Err(BodyError::NoRoom.into());
            }
            if enough(&piece)? || session.as_mut().is_body_done() {
                break;
            }
        }
        self.ahead = ahead.freeze();
        let done = session.as_mut().is_body_done();
        if done && session.as_ref().retry_buffer_truncated() {
            body::rearm(session, &server.timeouts).await?;
            self.stand_in = true;
        }
        Ok(done)
    }

    /// Watches the body, which is a form.
    pub(super) fn watch(&mut self, form: Form) {
        self.form = Some(form);
    }

    /// Whether its length is announced.
    pub(super) fn announced(&self) -> bool {
        self.length.is_some()
    }

    /// Another attempt begins, at a target that calls the model `model`.
    pub(super) fn begin(&mut self, model: &str) {
        (self.begun, self.taken) = (false, 0);
        if let Some(form) = &mut self.form {
            form.begin(model);
        }
    }

    /// The length to announce to the provider.
    pub(super) fn length(&self) -> Option<usize> {
        let form = self.form.as_ref();
        self.length.map(|length| form.map_or(length, |form| form.length(length)))
    }

    /// What a piece becomes; `whole` if Pingora still has all that it read.
    fn piece(&mut self, piece: &mut Option<Bytes>, end: bool, whole: bool) -> Result<(), Refused> {
        if !std::mem::replace(&mut self.begun, true) {
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
        if let Some(form) = &mut self.form {
            *piece = form.piece(piece.as_deref().unwrap_or_default(), end)?;
        }
        Ok(())
    }
}

/// Why a body goes no further.
pub(super) struct Refused {
    fault: Box<Fault<'static>>,
    label: &'static str,
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
    let Some(upload) = exchange.upload() else { return Ok(()) };
    let whole = !session.as_ref().retry_buffer_truncated();
    let passed = upload.piece(piece, end, whole);
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
        return Err(Error::explain(ErrorType::InternalError, "the request's body is refused"));
    }
    Ok(())
}
