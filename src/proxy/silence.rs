//! What a client hears while the provider is silent.

use bytes::Bytes;

use super::exchange::Mode;

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
        | Mode::Gathered(_)
        | Mode::PassTail(_)
        | Mode::Error { .. }
        | Mode::PassBlind => return None,
    };
    (!ping.is_empty()).then_some(ping)
}
