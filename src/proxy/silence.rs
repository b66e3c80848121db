//! What a client hears while the provider is silent.

use std::time::Duration;

use bytes::Bytes;

use super::exchange::{Exchange, Mode, Phase};
use crate::clock;

/// Puts a sign of life where a provider speaks and nothing of that goes on to the client: below, where silence is looked
/// for, such a provider is not silent.
pub(super) fn fill(exchange: &mut Exchange, body: &mut Option<Bytes>) {
    let Exchange { trail, phase: Phase::Receiving(receiving), .. } = exchange else { return };
    if body.as_ref().is_some_and(|body| !body.is_empty()) {
        receiving.quiet = None;
        return;
    }
    let attempt = receiving.sending.attempt.as_ref();
    let heartbeat = attempt.map_or(Duration::ZERO, |attempt| attempt.provider.streams.heartbeat);
    if heartbeat.is_zero() || !matches!(receiving.mode, Mode::Stream(_) | Mode::PassStream(_)) {
        return;
    }
    let now = clock::now();
    let since = *receiving.quiet.get_or_insert(now);
    if now.saturating_duration_since(since) >= heartbeat
        && let Some(sign) = sign(&mut receiving.mode)
    {
        *body = Some(sign);
        receiving.quiet = Some(now);
        trail.heartbeats += 1;
    }
}

/// A sign of life between two events, in the client's format; `None` where the answer is no stream, or is over.
pub(super) fn sign(mode: &mut Mode) -> Option<Bytes> {
    let ping = match mode {
        Mode::PassStream(watch) => watch.ping(),
        Mode::Stream(transcoder) => {
            let mut out = Vec::new();
            transcoder.ping(&mut out);
            Bytes::from(out)
        }
        Mode::PassWhole { .. }
        | Mode::Streamed { .. }
        | Mode::Whole(_)
        | Mode::Named { .. }
        | Mode::Gathered(_)
        | Mode::PassTail(_)
        | Mode::Error { .. }
        | Mode::PassBlind => return None,
    };
    (!ping.is_empty()).then_some(ping)
}
