//! An answer that has begun: what is learnt from that.

use tidegate_codec::{Operation, wire};

use super::exchange::{Admitted, Attempt, Exchange, Sending, Task};
use super::retry;
use crate::clock;

/// A provider answers with this status.
pub(super) fn status(exchange: &mut Exchange, status: u16) {
    let started = exchange.sending().and_then(|sending| sending.attempt.as_ref()).map(|attempt| attempt.started);
    if let (Some(record), Some(started)) = (exchange.trail.attempts.last_mut(), started) {
        record.status = Some(status);
        record.ttfb = Some(clock::now().duration_since(started));
    }
}

/// A provider answers with a success: from now on the client may hold state that is that provider's own.
pub(super) fn tie(admitted: &Admitted, attempt: &Attempt) {
    let generates = matches!(admitted.task, Task::Format(Operation::Generate));
    if generates && attempt.format == admitted.format {
        admitted.snapshot.note_answer(admitted.tie, &attempt.provider.name);
    }
}

/// The answer's first bytes are here, and it is no error.
pub(super) fn note(sending: &mut Sending, begin: &[u8]) {
    retry::answered(sending);
    let Sending { admitted, attempt: Some(attempt), .. } = sending else { return };
    let took = clock::now().duration_since(attempt.started);
    attempt.lease.began(took);
    if let Some(busy) = &attempt.busy {
        busy.standing().answered(took);
        if admitted.stream.is_some() {
            busy.standing().stream_began(took);
        }
    }
    // Where only one provider could have made it nobody has to be remembered.
    let passes = attempt.format == admitted.format && admitted.tie.conversation.is_some();
    if let Some(id) = passes.then(|| wire(attempt.format).spec().answer_id(begin)).flatten() {
        admitted.snapshot.note_made(admitted.caller.name(), id, &attempt.provider.name);
    }
}
