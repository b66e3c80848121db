//! The end of an exchange: what the metrics and the log are told.

use std::time::Duration;

use pingora::{Error, ErrorSource, ErrorType};
use pingora_proxy::Session;
use tidegate_codec::hub::{self, Action, Field, Losses};
use tidegate_codec::{Format, Outcome};

use super::Edge;
use super::exchange::{Exchange, Mode, Phase, Trail};
use super::{fail, hedge, pieces, refuse};
use crate::clock;
use crate::observe::{Abort, Fallback, Lost, Method, Settled, Side, Translation, Usage, UsageSource};
use crate::upstream::Complaint;
use crate::upstream::seam::STREAM_TOO_LONG;

/// Tells the observer what became of the exchange.
pub(super) fn settle(edge: &Edge, session: &Session, error: Option<&Error>, exchange: &mut Exchange) {
    hedge::settle(exchange);
    take_outcome(exchange);
    let error = error.filter(|error| !fail::had_it_all(exchange, error));
    note_error(error, &mut exchange.trail);
    close_attempt(exchange);
    credit(error, exchange);
    let trail = &exchange.trail;
    let outcome = trail.outcome.clone().unwrap_or_default();
    // What the edge answers by itself takes no longer than a turn.
    let latency = clock::exact().duration_since(trail.started);
    let (trace_id, parent_span_id) = trail.traceparent.as_deref().map(trace_parts).unwrap_or_default();
    let losses = all_losses(trail, &outcome);
    let last = trail.attempts.last();
    edge.observer.settle(&Settled {
        request_id: &trail.request_id,
        trace_id,
        parent_span_id,
        client_ip: trail.client,
        method: Method::from_name(session.req_header().method.as_str()),
        endpoint: trail.endpoint,
        status: pieces::answered(session).map_or(0, |response| response.status.as_u16()),
        client_format: trail.format.map(Format::name),
        provider: last.map(|attempt| attempt.provider.as_ref()),
        upstream: last.map(|attempt| attempt.upstream.as_ref()),
        model: trail.route.as_deref(),
        requested_model: trail.model.as_deref(),
        upstream_model: trail.upstream_model.as_deref(),
        key: trail.caller.as_deref(),
        stream: trail.stream,
        latency,
        overhead: last.map(|_| trail.overhead),
        ttft: trail.first_byte.filter(|_| trail.stream),
        stream_duration: trail.first_byte.filter(|_| trail.stream).map(|first| latency.saturating_sub(first)),
        token_span: token_span(exchange, &outcome, latency),
        events: outcome.events,
        heartbeats: trail.heartbeats,
        usage: outcome.usage.as_ref().map(usage).unwrap_or_default(),
        usage_source: usage_source(&outcome),
        waits: &trail.waits,
        shed: trail.shed,
        hedge: trail.hedge,
        attempts: &trail.attempts,
        fallback: trail.fallback.as_ref().map(|(from, to)| Fallback { from, to, reason: fallback_reason(trail) }),
        translation: trail.translated.map(|(from, to)| Translation {
            from: from.name(),
            to: to.name(),
            failed: trail.error == Some("translation"),
        }),
        losses: &losses,
        error_type: trail.error,
        bytes_in: trail.bytes_in as u64,
        bytes_out: session.body_bytes_sent() as u64,
        aborted: trail.aborted,
    });
    exchange.trail.in_flight = None;
    exchange.give_back();
    exchange.phase = Phase::Arrived;
}

/// Takes from the answer's stage what it learnt.
fn take_outcome(exchange: &mut Exchange) {
    let Exchange { trail, phase: Phase::Receiving(receiving), .. } = exchange else { return };
    let outcome = match &receiving.mode {
        Mode::PassStream(watch) => Some(watch.outcome().clone()),
        Mode::Stream(transcoder) | Mode::Streamed { transcoder, .. } => Some(transcoder.outcome().clone()),
        Mode::PassTail(_) => trail.outcome.take(),
        Mode::PassWhole { .. }
        | Mode::Whole(_)
        | Mode::Named { .. }
        | Mode::Gathered(_)
        | Mode::Error { .. }
        | Mode::PassBlind => return,
    };
    let Some(outcome) = outcome else { return };
    if let Some((kind, _)) = &outcome.fault {
        trail.error.get_or_insert(kind.label());
        if let Some(record) = trail.attempts.last_mut() {
            record.error.get_or_insert(kind.label());
        }
        trail.aborted.get_or_insert(Abort { side: Side::Upstream, reason: kind.label() });
    }
    trail.outcome = Some(outcome);
}

/// From the first token to the last, of a whole answer whose events went out as they came. Behind the last token there are
/// only its end and its usage.
fn token_span(exchange: &Exchange, outcome: &Outcome, latency: Duration) -> Option<Duration> {
    let Phase::Receiving(receiving) = &exchange.phase else { return None };
    let paced = matches!(receiving.mode, Mode::PassStream(_) | Mode::Stream(_));
    let whole = outcome.complete && exchange.trail.aborted.is_none();
    exchange.trail.first_byte.filter(|_| paced && whole).map(|first| latency.saturating_sub(first))
}

fn note_error(error: Option<&Error>, trail: &mut Trail) {
    let Some(error) = error else { return };
    // Where no provider was asked nothing of a provider's broke.
    let ours = matches!(error.etype(), ErrorType::HTTPStatus(_) | ErrorType::Custom(_) | ErrorType::InternalError);
    let unasked = trail.attempts.is_empty() && !ours;
    if *error.esource() == ErrorSource::Downstream || unasked {
        trail.aborted.get_or_insert(fail::client_abort(error));
        trail.error.get_or_insert("client_gone");
    } else if let Some((_, label)) = refuse::fault_of(error, None) {
        trail.error.get_or_insert(label);
    }
}

/// What the whole answer says of the model at the endpoint. Its head alone says little: a stream may break off at any
/// word.
fn credit(error: Option<&Error>, exchange: &Exchange) {
    let Phase::Receiving(receiving) = &exchange.phase else { return };
    let Some(attempt) = &receiving.sending.attempt else { return };
    let outcome = exchange.trail.outcome.as_ref();
    if exchange.trail.error == Some(STREAM_TOO_LONG) {
        // Nobody is to blame for a deadline of ours on an answer that came all the time.
        return;
    }
    match outcome.and_then(|outcome| outcome.fault.as_ref()) {
        Some((kind, _)) if kind.status() >= 500 && error.is_none() => {
            attempt.lease.model_failed(attempt.subject(), Complaint::Word(kind.label()));
        }
        None if error.is_none() && outcome.is_some_and(|outcome| outcome.complete) => {
            attempt.lease.completed(attempt.subject());
        }
        _ => {}
    }
}

fn close_attempt(exchange: &mut Exchange) {
    let started = exchange.sending().and_then(|sending| sending.attempt.as_ref()).map(|attempt| attempt.started);
    if let (Some(record), Some(started)) = (exchange.trail.attempts.last_mut(), started) {
        record.duration = clock::now().duration_since(started);
    }
}

/// What was lost, for the log and the metrics.
pub(super) fn lost(losses: &Losses) -> Vec<Lost> {
    let one = |(field, action, count): (Field, Action, usize)| Lost {
        field: field.label(),
        action: action.label(),
        count: count.try_into().unwrap_or(u64::MAX),
    };
    losses.tally().map(one).collect()
}

/// Losses of the request and of the answer; of a stream each class once.
fn all_losses(trail: &Trail, outcome: &Outcome) -> Vec<Lost> {
    let action = Action::Dropped.label();
    let streamed = outcome.dropped.iter().map(|field| Lost { field: field.label(), action, count: 1 });
    let streamed = streamed.filter(|_| trail.answer_losses.is_empty());
    trail.losses.iter().chain(&trail.answer_losses).copied().chain(streamed).collect()
}

/// Trace and parent span of a W3C `traceparent`: `00-TRACE-SPAN-FLAGS`.
fn trace_parts(traceparent: &str) -> (Option<&str>, Option<&str>) {
    let mut parts = traceparent.split('-').skip(1);
    let hex = |part: &&str, len: usize| part.len() == len && part.bytes().all(|b| b.is_ascii_hexdigit());
    (parts.next().filter(|part| hex(part, 32)), parts.next().filter(|part| hex(part, 16)))
}

fn usage(usage: &hub::Usage) -> Usage {
    Usage {
        input_uncached: Some(usage.input_uncached),
        cache_read: usage.cache_known.then_some(usage.cache_read),
        cache_write: usage.cache_known.then(|| usage.cache_write()),
        output_visible: Some(usage.output_visible),
        reasoning: usage.reasoning_known.then_some(usage.output_reasoning),
    }
}

fn usage_source(outcome: &Outcome) -> UsageSource {
    match (&outcome.usage, outcome.complete) {
        (Some(_), true) => UsageSource::Reported,
        (Some(_), false) => UsageSource::Partial,
        (None, _) => UsageSource::None,
    }
}

/// Why the attempt before the last one was not the last.
fn fallback_reason(trail: &Trail) -> &'static str {
    let before = trail.attempts.len().checked_sub(2).and_then(|at| trail.attempts.get(at));
    before.and_then(crate::observe::Attempt::fault).unwrap_or("unavailable")
}
