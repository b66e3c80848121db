//! An answer that has begun: what is learnt from that.

use tidegate_codec::{Operation, text_named, wire};

use super::exchange::{Admitted, Attempt, Exchange, Sending, Task, Trail};
use super::retry;
use crate::clock;

/// Bytes of an answer in which ids of what is stored are looked for.
const SHOWN: usize = 4096;

/// Members that hold such ids.
const IDS: [&str; 3] = ["id", "output_file_id", "error_file_id"];

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
    let id = wire(attempt.format).spec().answer_id(begin).filter(|_| attempt.format == admitted.format);
    // Where only one provider could have made it nobody has to be remembered.
    if let (Task::Format(_), Some(id)) = (&admitted.task, id.filter(|_| admitted.snapshot.several(&[attempt.format]))) {
        admitted.snapshot.note_made(admitted.caller.name(), id, &attempt.provider.name);
    }
}

/// The first bytes of an answer that shows something stored are here: who asks for that again is led to who has it.
pub(super) fn stored(trail: &Trail, sending: &Sending, begin: &[u8]) {
    let Sending { admitted, attempt: Some(attempt), .. } = sending else { return };
    let Task::Service(call) = &admitted.task else { return };
    let succeeded = trail.attempts.last().and_then(|record| record.status).is_some_and(|status| status < 300);
    let shows = call.service.is_some_and(|service| {
        service.shows_one(call.method.as_str(), call.path()) && admitted.snapshot.several(service.formats)
    });
    if !(succeeded && shows) {
        return;
    }
    let begin = begin.get(..begin.len().min(SHOWN)).unwrap_or_default();
    for id in IDS.iter().filter_map(|name| text_named(begin, name)) {
        admitted.snapshot.note_made(admitted.caller.name(), id, &attempt.provider.name);
    }
}
