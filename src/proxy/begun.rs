//! An answer that has begun: what is learnt from that.

use tidegate_codec::{Operation, ids_shown, wire};

use super::exchange::{Admitted, Attempt, Exchange, Sending, Task};
use super::retry;
use crate::clock;

/// Bytes of an answer in which ids of what is stored are looked for.
const SHOWN: usize = 4096;

/// A provider answers with this status.
pub(super) fn status(exchange: &mut Exchange, status: u16) {
    let started = exchange.sending().and_then(|sending| sending.attempt.as_ref()).map(|attempt| attempt.started);
    if let (Some(record), Some(started)) = (exchange.trail.attempts.last_mut(), started) {
        record.status = Some(status);
        record.ttfb = Some(clock::now().duration_since(started));
    }
    if let Some(sending) = exchange.sending()
        && let Some(attempt) = &sending.attempt
    {
        attempt.lease.answered(attempt.subject(), status, sending.asked);
        if !sending.filtered && matches!(sending.admitted.task, Task::Format(Operation::Generate)) {
            refused(attempt, status);
        }
    }
}

/// Notes it where a target refused to answer.
pub(super) fn refused(attempt: &Attempt, status: u16) {
    if let (400.., Some(busy)) = (status, &attempt.busy) {
        busy.refused(status);
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
pub(super) fn note(sending: &mut Sending) {
    retry::answered(sending);
    let Sending { admitted, attempt: Some(attempt), .. } = sending else { return };
    if matches!(admitted.task, Task::Format(Operation::Count)) {
        // How fast tokens are counted says nothing of how fast they are made.
        return;
    }
    let took = clock::now().duration_since(attempt.started);
    attempt.lease.began(attempt.subject(), (admitted.stream.is_some(), admitted.body.len()), took);
    if let Some(busy) = &attempt.busy {
        busy.answered(took);
    }
}

/// The beginning of an answer that makes or shows something stored: who asks for that again is led to who has it.
#[derive(Debug)]
pub(super) struct Shown {
    begin: Vec<u8>,
    /// Members that hold its ids.
    names: &'static [&'static str],
}

impl Shown {
    /// For a success of `attempt`; `None` if that shows nothing stored, or only one provider could have it.
    pub(super) fn of(admitted: &Admitted, attempt: &Attempt) -> Option<Self> {
        let state = &wire(attempt.format).spec().state;
        let formats = std::slice::from_ref(&attempt.format);
        let (names, formats) = match &admitted.task {
            Task::Format(operation) if attempt.format == admitted.format => {
                let keeps = match operation {
                    Operation::Generate => state.answers,
                    Operation::SameFormat(_) => state.made,
                    Operation::Count => false,
                };
                (state.ids.get(..1).filter(|_| keeps)?, formats)
            }
            Task::Format(_) => return None,
            Task::Service(call) => {
                let service = call.service.filter(|service| service.shows_one(call.method.as_str(), call.path()))?;
                (state.ids, service.formats)
            }
        };
        admitted.snapshot.several(formats).then(|| Self { begin: Vec::new(), names })
    }

    /// Looks at the answer's next piece; false once nothing more is to be looked at.
    pub(super) fn look(&mut self, sending: &Sending, piece: &[u8]) -> bool {
        let Sending { admitted, attempt: Some(attempt), .. } = sending else { return false };
        let room = SHOWN.saturating_sub(self.begin.len());
        self.begin.extend_from_slice(piece.get(..piece.len().min(room)).unwrap_or_default());
        let ids = ids_shown(&self.begin, self.names);
        for id in &ids {
            admitted.snapshot.note_made(admitted.caller.name(), id, &attempt.provider.name);
        }
        ids.len() < self.names.len() && self.begin.len() < SHOWN
    }
}
