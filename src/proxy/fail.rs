//! Failures between us and a provider: what is tried next, and what the client is told in the end.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use pingora::protocols::http::HttpTask;
use pingora::{Error, ErrorSource, ErrorType};
use pingora_proxy::{FailToProxy, Session};
use tidegate_codec::hub::{Fault, FaultKind};

use super::body::BodyError;
use super::exchange::{Attempt, Exchange, Phase};
use super::refuse::{self, Rejection};
use super::upload::REFUSED;
use super::{hedge, pieces, retry};
use crate::clock;
use crate::observe::{Abort, Side};
use crate::routing::Failure;
use crate::upstream::seam::{self, DRAINED, KEY_REFUSED, STREAM_TOO_LONG, Told};
use crate::upstream::{Complaint, ConnectionId, framing};

/// How soon that shows: what is sent into a connection that the provider has closed comes back after one turn of the
/// network. One that ends later may well have been read, and worked on.
const STALE_SHOWS: Duration = Duration::from_millis(250);

/// The client went away.
const CLIENT_GONE: Abort = Abort { side: Side::Client, reason: "disconnect" };
/// The client is there and takes nothing.
const CLIENT_SLOW: Abort = Abort { side: Side::Client, reason: "slow" };

/// How the client failed that `error` is of.
pub(super) fn client_abort(error: &Error) -> Abort {
    if seam::heed().is_err() {
        return Abort { side: Side::Edge, reason: DRAINED };
    }
    if *error.etype() == ErrorType::WriteTimedout { CLIENT_SLOW } else { CLIENT_GONE }
}

/// True if `error` is only that the client has gone after the whole answer, which may be seen before the end of the
/// provider's connection is; or that something of the request was not passed on, which is said once the answer is over.
pub(super) fn had_it_all(exchange: &Exchange, error: &Error) -> bool {
    if is_unsent_rest(exchange, error) {
        return true;
    }
    let unread = matches!(error.etype(), ErrorType::WriteError | ErrorType::WriteTimedout);
    *error.esource() == ErrorSource::Downstream && !unread && pieces::is_over(exchange)
}

/// True for what Pingora's loop says at its end, when all of the answer went out, of a request that it could not pass on to
/// its end: the provider had answered already, or trailers followed the body.
fn is_unsent_rest(exchange: &Exchange, error: &Error) -> bool {
    let is_loops_own = *error.etype() == ErrorType::WriteError && *error.esource() == ErrorSource::Unset;
    is_loops_own && matches!(exchange.phase, Phase::Receiving(_))
}

/// A connection to the endpoint stands.
pub(super) fn connected(exchange: &mut Exchange, reused: bool, connection: Option<ConnectionId>) {
    if let Some(attempt) = exchange.sending().and_then(|sending| sending.attempt.as_mut()) {
        (attempt.reused, attempt.connection) = (reused, connection);
    }
}

/// No connection could be made: the next endpoint or target, if there is one.
pub(super) fn to_connect(exchange: &mut Exchange, error: Box<Error>) -> Box<Error> {
    note(exchange, &error);
    let mut error = error;
    let Some(sending) = exchange.sending() else { return error };
    if let Some(attempt) = sending.attempt.take() {
        // Only what fails at once is worth that: where an address is silent another target may be faster.
        let silent = matches!(error.etype(), ErrorType::ConnectTimedout | ErrorType::TLSHandshakeTimedout);
        if !silent && sending.plan.next_address(attempt.lease.id(), attempt.lease.addresses()) {
            attempt.lease.leave_address();
            error.set_retry(true);
            return error;
        }
        attempt.lease.connect_failed(word(&error));
    }
    error.set_retry(retry::follows(sending, Failure::Connect, || refuse::fault_of(&error, None)));
    error
}

/// The attempt failed after it was connected; `untouched` if nothing of an answer went to the client.
pub(super) fn while_proxying(exchange: &mut Exchange, error: Box<Error>, untouched: bool, stale: bool) -> Box<Error> {
    hedge::settle(exchange);
    note(exchange, &error);
    let mut error = error;
    if is_unsent_rest(exchange, &error) {
        error.set_retry(false);
        return error;
    }
    let by_client = *error.esource() == ErrorSource::Downstream || by_body(exchange, &error);
    if !untouched || by_client {
        let ours = matches!(error.etype(), ErrorType::Custom(STREAM_TOO_LONG));
        if let (false, Some(attempt)) =
            (by_client || ours, exchange.sending().and_then(|sending| sending.attempt.as_ref()))
        {
            attempt.lease.model_failed(attempt.subject(), Complaint::Word(word(&error)));
        }
        error.set_retry(false);
        return error;
    }
    exchange.forget_answer();
    let Some(sending) = exchange.sending() else { return error };
    if *error.etype() == ErrorType::Custom(DRAINED) {
        // Nobody would be left to hear another answer, nor is anybody to blame.
        error.set_retry(false);
        return error;
    }
    let attempt = sending.attempt.take();
    let stale =
        stale && attempt.as_ref().is_some_and(|attempt| clock::now().duration_since(attempt.started) < STALE_SHOWS);
    if let Some(attempt) = attempt.as_ref().filter(|_| stale) {
        // Where one has died the others may have as well.
        attempt.lease.leave_connections();
    }
    let another = if std::mem::take(&mut sending.follows) {
        true
    } else if stale && !sending.spent && !sending.fresh {
        // It never reached the provider, so nobody pays for it.
        sending.fresh = true;
        sending.plan.again();
        true
    } else {
        if let Some(attempt) = attempt {
            blame(&attempt, &error);
            sending.asked = asked(&attempt, &error);
            sending.trial = attempt.lease.is_trial();
        }
        sending.no_credit = told(&error).is_some_and(|fault| fault.kind == FaultKind::Billing);
        let by_status = || told(&error).map(|fault| refuse::told_status(fault.status));
        retry::follows(sending, failure_of(&error), || by_status().or_else(|| refuse::fault_of(&error, None)))
    };
    error.set_retry(another);
    error
}

/// True if the attempt failed by the request's own body, which was refused or stayed away: no provider is to blame for
/// it, and no other one could do better.
fn by_body(exchange: &mut Exchange, error: &Error) -> bool {
    match error.etype() {
        ErrorType::Custom(REFUSED) => true,
        // Its answer is waited for while it waits for the rest of the request.
        ErrorType::ReadTimedout => exchange.upload().is_some_and(|upload| !upload.is_over()),
        _ => false,
    }
}

/// What went wrong between us and a provider.
fn failure_of(error: &Error) -> Failure {
    if let Some(fault) = told(error) {
        return match fault.kind {
            _ if fault.is_context_length() => Failure::ContextLength,
            FaultKind::StreamIncomplete => Failure::BadAnswer,
            FaultKind::InvalidRequest
            | FaultKind::Authentication
            | FaultKind::Billing
            | FaultKind::Permission
            | FaultKind::NotFound
            | FaultKind::Conflict
            | FaultKind::TooLarge
            | FaultKind::Unprocessable
            | FaultKind::RateLimit
            | FaultKind::ContentFilter
            | FaultKind::Api
            | FaultKind::Timeout
            | FaultKind::Overloaded => Failure::Status(fault.status),
        };
    }
    match error.etype() {
        ErrorType::ReadTimedout | ErrorType::WriteTimedout | ErrorType::Custom(STREAM_TOO_LONG) => Failure::Timeout,
        ErrorType::HTTPStatus(status) => Failure::Status(*status),
        ErrorType::InternalError | ErrorType::Custom(_) => Failure::BadAnswer,
        _ if framing::is_garbage(error) => Failure::BadAnswer,
        _ => Failure::Reset,
    }
}

/// What the provider itself said of its failure, before anything of its answer went out.
fn told(error: &Error) -> Option<&Fault<'static>> {
    error.root_cause().downcast_ref::<Told>().map(|told| &*told.0)
}

/// How long its provider is to be left alone, which failed in words.
fn asked(attempt: &Attempt, error: &Error) -> Option<Duration> {
    let fault = told(error)?;
    let cooldown = || (fault.status == 429).then_some(attempt.provider.breaker.cooldown);
    fault.retry_after_s.map(Duration::from_secs).or_else(cooldown)
}

/// Who is to blame: an endpoint for its connections and its silence, a model at it for what it says.
pub(super) fn blame(attempt: &Attempt, error: &Error) {
    match failure_of(error) {
        Failure::Reset if framing::ends_connection(error) => attempt.lease.ended_with(attempt.connection, word(error)),
        Failure::Connect | Failure::Reset | Failure::Timeout => attempt.lease.failed(word(error)),
        Failure::BadAnswer => attempt.lease.model_failed(attempt.subject(), Complaint::Word(word(error))),
        Failure::Status(status) => {
            // Any other status came as the head of an answer, which has said so.
            if let Some(fault) = told(error) {
                attempt.lease.answered(attempt.subject(), status, fault.retry_after_s.map(Duration::from_secs));
            }
        }
        Failure::ContextLength => {}
    }
}

fn is_timeout(error: &Error) -> bool {
    failure_of(error) == Failure::Timeout
}

/// What went wrong, in a word of the access log's.
fn word(error: &Error) -> &'static str {
    refuse::fault_of(error, None).map_or("client_gone", |(_, label)| label)
}

fn note(exchange: &mut Exchange, error: &Error) {
    if had_it_all(exchange, error) || by_body(exchange, error) {
        return;
    }
    let label = word(error);
    let started = exchange.sending().and_then(|sending| sending.attempt.as_ref()).map(|attempt| attempt.started);
    if let Some(record) = exchange.trail.attempts.last_mut() {
        record.error = Some(label);
        record.duration = started.map(|started| clock::now().duration_since(started)).unwrap_or_default();
    }
}

/// Writes a rejection that came up while an attempt was prepared.
///
/// # Errors
///
/// The client is gone.
pub(super) async fn reject(
    session: &mut Session,
    exchange: &mut Exchange,
    rejection: Rejection,
) -> pingora::Result<()> {
    let Some(format) = exchange.trail.format else { return Ok(()) };
    refuse::answer(session, exchange, format, rejection.closing()).await
}

/// Nothing more is tried: tells the client, as far as it can still be told.
pub(super) async fn to_proxy(session: &mut Session, error: &Error, exchange: &mut Exchange) -> FailToProxy {
    let starved = matches!(error.etype(), ErrorType::ReadTimedout) && by_body(exchange, error);
    let by_client = *error.esource() == ErrorSource::Downstream && !starved;
    if pieces::answered(session).is_some() {
        return break_off(session, by_client, error, exchange).await;
    }
    let failed_status = exchange.sending().and_then(|sending| sending.failed_status);
    let retry_after = exchange.sending().and_then(|sending| sending.retry_after.clone());
    let verdict = exchange.sending().and_then(|sending| sending.verdict.take());
    let said =
        told(error).map(|fault| (fault.clone(), refuse::fault_of(error, None).map_or("api", |(_, label)| label)));
    let told = match verdict {
        _ if starved => Some(Rejection::from(BodyError::TooSlow)).map(|slow| (*slow.fault, slow.label)),
        Some(verdict) if !by_client => Some(*verdict),
        // What it says is about our key, and nothing of that is for the client.
        _ if *error.etype() == ErrorType::Custom(KEY_REFUSED) => refuse::fault_of(error, None),
        _ if said.is_some() => said,
        _ => refuse::fault_of(error, failed_status).or_else(|| client_fault(error)),
    };
    let Some((mut fault, label)) = told else {
        exchange.trail.aborted = Some(client_abort(error));
        return FailToProxy { error_code: 0, can_reuse_downstream: false };
    };
    hide_keys(exchange, &mut fault);
    let rejection = Rejection::new(fault).labelled(label).retry_after(retry_after).closing();
    let code = rejection.fault.status;
    if reject(session, exchange, rejection).await.is_err() {
        exchange.trail.aborted = Some(CLIENT_GONE);
    }
    FailToProxy { error_code: code, can_reuse_downstream: false }
}

/// Makes the keys unreadable that a provider's words may quote.
fn hide_keys(exchange: &mut Exchange, fault: &mut Fault<'static>) {
    let asked: Vec<_> = exchange.trail.attempts.iter().map(|attempt| Arc::clone(&attempt.provider)).collect();
    let Some(sending) = exchange.sending() else { return };
    let providers = &sending.admitted.snapshot.settings.providers;
    for auth in asked.iter().filter_map(|name| providers.get(name)?.auth.as_ref()) {
        auth.key.hide_in_text(&mut fault.message);
        for words in fault.code.iter_mut().chain(&mut fault.param) {
            auth.key.hide_in_text(words);
        }
    }
}

/// A fault of the client's that can still be told: its request was not HTTP.
fn client_fault(error: &Error) -> Option<(Fault<'static>, &'static str)> {
    let ErrorType::InvalidHTTPHeader = error.etype() else { return None };
    Some((Fault::new(FaultKind::InvalidRequest, "The request is not valid HTTP."), "bad_http"))
}

/// The answer has begun: a stream ends in the client format's own error, anything else by a broken connection.
async fn break_off(session: &mut Session, by_client: bool, error: &Error, exchange: &mut Exchange) -> FailToProxy {
    if !matches!(exchange.phase, Phase::Receiving(_)) {
        // A rejection of ours was written whole while an attempt was prepared.
        return FailToProxy { error_code: 0, can_reuse_downstream: false };
    }
    if is_unsent_rest(exchange, error) {
        return FailToProxy { error_code: 0, can_reuse_downstream: false };
    }
    if by_client {
        if !had_it_all(exchange, error) {
            exchange.trail.aborted = Some(client_abort(error));
        }
        return FailToProxy { error_code: 0, can_reuse_downstream: false };
    }
    let last = last_words(exchange, error);
    exchange.give_back();
    match last {
        Some(last) => {
            let _ = session.write_response_body(Some(last).filter(|bytes: &Bytes| !bytes.is_empty()), true).await;
        }
        // Of an answer with a length Pingora keeps what is short until more comes: what there is tells that it is cut.
        None => {
            let cut = Error::explain(ErrorType::ConnectionClosed, "the answer broke off");
            let _ = session
                .downstream_session
                .response_duplex_vec(vec![HttpTask::Body(None, false), HttpTask::Failed(cut)])
                .await;
        }
    }
    FailToProxy { error_code: 0, can_reuse_downstream: false }
}

/// The stream that the client has the beginning of was cut: what ends it in the client's format. `None` where the answer
/// has no such end.
pub(super) fn cut(exchange: &mut Exchange, error: &Error) -> Option<Bytes> {
    if !pieces::is_over(exchange) {
        note(exchange, error);
    }
    last_words(exchange, error)
}

/// What ends an answer that broke off, if its format has a way; one that had said all that it had to say is whole.
fn last_words(exchange: &mut Exchange, error: &Error) -> Option<Bytes> {
    let (mut fault, label) = refuse::fault_of(error, None)
        .unwrap_or_else(|| (Fault::new(FaultKind::StreamIncomplete, "The stream broke off."), "upstream_broken"));
    if !is_timeout(error) && *error.etype() != ErrorType::Custom(DRAINED) {
        fault = Fault::new(
            FaultKind::StreamIncomplete,
            "The connection to the provider broke in the middle of the answer.",
        )
        .with_code("stream_incomplete");
    }
    if !pieces::is_over(exchange) {
        let abort = match error.etype() {
            ErrorType::Custom(reason @ (STREAM_TOO_LONG | DRAINED)) => Abort { side: Side::Edge, reason },
            _ if is_timeout(error) => Abort { side: Side::Edge, reason: "timeout" },
            _ => Abort { side: Side::Upstream, reason: "broken" },
        };
        exchange.trail.aborted.get_or_insert(abort);
        exchange.trail.error.get_or_insert(label);
    }
    pieces::broken(exchange, fault)
}
