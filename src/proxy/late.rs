//! An answer whose head came behind one of ours: its status is too late for the client, and not for what is known of the
//! provider.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tidegate_codec::Transcoder;

use super::exchange::{Attempt, Collected, Exchange, Mode, Phase, Receiving, Sending, Trail};
use super::receive::{fault_for, transcoder};
use super::{begun, pieces};
use crate::clock;
use crate::observe::{Abort, Side};
use crate::upstream::seam::Early;

/// What an attempt has at least before a head of ours stands in for that of its answer.
const EARLIEST: Duration = Duration::from_secs(1);

/// Lets a head of ours stand in for that of an attempt's stream, once the client has waited long enough for one.
pub(super) fn allow(trail: &Trail, attempt: &mut Attempt) {
    let streams = &attempt.provider.streams;
    let Some(course) = attempt.course.as_mut().filter(|course| course.streamed) else { return };
    if streams.early_head.is_zero() || streams.heartbeat.is_zero() {
        return;
    }
    let after = streams
        .early_head
        .saturating_sub(clock::now().duration_since(trail.started))
        .max(EARLIEST.min(streams.early_head));
    let late = attempt.late.insert(Arc::default());
    course.early = Some(Early { after, late: Arc::clone(late) });
}

/// Whether the head that has come is ours.
pub(super) fn stands_in(sending: &Sending) -> bool {
    sending.attempt.as_ref().and_then(|attempt| attempt.late.as_ref()).is_some_and(|late| late.stands_in())
}

/// Takes note of the provider's own status once it is there.
pub(super) fn note(exchange: &mut Exchange) {
    let Phase::Receiving(receiving) = &exchange.phase else { return };
    let late = receiving.sending.attempt.as_ref().and_then(|attempt| attempt.late.as_ref());
    if let Some(status) = late.and_then(|late| late.status_once()) {
        begun::status(exchange, status);
    }
}

/// What the client of a stream is told of a late answer that is none: the stream that a whole answer is, or an error.
pub(super) fn answer(exchange: &mut Exchange) -> Option<Bytes> {
    let status = exchange.trail.attempts.last().and_then(|record| record.status).unwrap_or_default();
    let Phase::Receiving(receiving) = &mut exchange.phase else { return None };
    let Receiving { sending, mode, .. } = receiving.as_mut();
    let attempt = sending.attempt.as_mut()?;
    let body = attempt.late.as_ref().map(|late| late.answer()).unwrap_or_default();
    if status < 300 {
        let mut transcoder = match std::mem::replace(mode, Mode::PassBlind) {
            Mode::Stream(transcoder) => transcoder,
            Mode::PassWhole { .. }
            | Mode::PassStream(_)
            | Mode::Whole(_)
            | Mode::Named { .. }
            | Mode::Streamed { .. }
            | Mode::Gathered(_)
            | Mode::Error { .. }
            | Mode::PassTail(_)
            | Mode::PassBlind => transcoder(sending.admitted.format, attempt),
        };
        let out = whole(&mut transcoder, &body);
        let body = Collected { done: true, ..Collected::default() };
        *mode = Mode::Streamed { transcoder, body };
        return Some(out);
    }
    let mut body = body;
    if let Some(auth) = &attempt.provider.auth {
        auth.key.hide_in_bytes(&mut body);
    }
    let (fault, label) = fault_for(attempt.format, status, &body);
    exchange.trail.error.get_or_insert(label);
    exchange.trail.aborted.get_or_insert(Abort { side: Side::Upstream, reason: label });
    pieces::broken(exchange, fault)
}

fn whole(transcoder: &mut Transcoder, body: &[u8]) -> Bytes {
    let mut out = Vec::new();
    transcoder.whole(body, &mut out);
    Bytes::from(out)
}
