//! What follows a failed attempt: the next endpoint or target, the same ones after a wait, or nothing.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{HeaderMap, header};
use pingora_proxy::Session;
use tidegate_codec::hub::{Fault, FaultKind};

use super::body::BodyError;
use super::exchange::{Exchange, Sending};
use super::names;
use super::overload;
use super::plan::Plan;
use super::refuse::{self, Rejection};
use crate::config::Snapshot;
use crate::routing::Failure;
use crate::upstream::{Payment, Place, RetryBudget, random};

/// The longest time that a provider can ask for, in seconds: a century.
const FOREVER: f64 = 3.2e9;

/// Decides what follows the attempt that failed; `true` if there is another one, for which the budget has paid, or may yet:
/// then `told` is what the client is told if it does not.
pub(super) fn follows(sending: &mut Sending, failure: Failure, told: impl FnOnce() -> Option<Told>) -> bool {
    // What was paid for is spent.
    sending.paid = None;
    let retries = &sending.admitted.route.retries;
    // Whoever is sent to see whether an endpoint is well again is not the one to wait in vain for all others.
    let moves_on = retries.wants(failure) || (failure == Failure::Timeout && sending.trial);
    if sending.spent || !moves_on {
        return false;
    }
    let snapshot = &sending.admitted.snapshot;
    if failure == Failure::ContextLength {
        // The same model takes no more elsewhere.
        sending.plan.leave_target();
    }
    // A rate limit is over when the provider said so, or may be by then, and the model is left alone until then. Nobody
    // puts money into an account within that time.
    if failure == Failure::Status(429) && !sending.no_credit {
        let cooldown = || sending.attempt.as_ref().map(|attempt| attempt.provider.breaker.cooldown);
        let asked = sending.asked.or_else(cooldown);
        sending.limited = [sending.limited, asked].into_iter().flatten().min();
    }
    let mut wait = Duration::ZERO;
    let mut again = false;
    if !sending.plan.has_next(snapshot) {
        let limit = sending.limited.take();
        // While something takes requests, that is not kept waiting for what is at its limit.
        let over = limit.filter(|_| failure == Failure::Status(429) || !sending.plan.may_begin_again(snapshot, false));
        let (asked, limited) = (over.or(sending.asked), over.is_some());
        if sending.verdict.is_some() {
            // What cannot be translated will be the same next time.
            return false;
        }
        // As will a prompt that is too long.
        let wanted = retries.wants(failure) && failure != Failure::ContextLength;
        let may_begin_again = wanted && sending.plan.may_begin_again(snapshot, limited);
        let patience = retries.wait(sending.plan.round(), asked, random()).filter(|_| may_begin_again);
        match patience {
            Some(patience) => (wait, again) = (patience, true),
            None if sending.plan.leave_for_one_that_answers(snapshot) => {}
            None => return false,
        }
    }
    if let Some(budget) = sending.budget.clone() {
        let paid = if again {
            budget.take(Place::Failing)
        } else {
            pay(&budget, &mut sending.plan, snapshot, scarcity(&budget))
        };
        match paid {
            Payment::Paid(ticket) => sending.paid = Some(ticket),
            Payment::Later => sending.owed = Some(Box::new(told().unwrap_or_else(nowhere))),
            Payment::Refused => {
                budget.note_refused();
                return false;
            }
        }
    }
    if again {
        sending.plan.begin_again();
    }
    sending.wait = wait;
    true
}

/// What a client is told, with a bounded word for it.
type Told = (Fault<'static>, &'static str);

/// Pays for the attempt that comes next. What there is none for at what fails, there may be for what does not; where attempts
/// are scarce, and a sound place is `scarce`, none is spent on what fails while there is anything else.
fn pay(budget: &Arc<RetryBudget>, plan: &mut Plan, snapshot: &Snapshot, scarce: Option<Place>) -> Payment {
    let sound = plan.next_is_sound(snapshot) || (scarce.is_some() && plan.leave_for_a_sound_one(snapshot));
    match budget.take(if sound { scarce.unwrap_or(Place::Sound) } else { Place::Failing }) {
        Payment::Refused if !sound && plan.leave_for_a_sound_one(snapshot) => budget.take(Place::Sound),
        payment => payment,
    }
}

/// What a sound place is where attempts are scarce.
fn scarcity(budget: &RetryBudget) -> Option<Place> {
    budget.is_scarce().then_some(Place::Sound)
}

/// The attempt is answered: if it was a further one, its price goes back.
pub(super) fn answered(sending: &mut Sending) {
    if let Some(ticket) = sending.paid.take() {
        ticket.answered();
    }
}

/// How long the provider asks to be left alone; `now` is the time since 1970.
///
/// `retry-after` is a number of seconds or a date (RFC 9110 section 10.2.3); `retry-after-ms` is what some vendors send
/// beside it, and more exact.
pub(super) fn asked(headers: &HeaderMap, now: Duration) -> Option<Duration> {
    let text = |name: &header::HeaderName| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    // What no clock could hold is a long time all the same.
    let wait = |seconds: f64| Duration::try_from_secs_f64(seconds.min(FOREVER)).ok().filter(|_| seconds.is_finite());
    let milliseconds = text(&names::RETRY_AFTER_MS).and_then(|text| text.parse::<f64>().ok());
    if let Some(wait) = milliseconds.and_then(|count| wait(count / 1_000.0)) {
        return Some(wait);
    }
    let text = text(&header::RETRY_AFTER)?;
    if let Ok(seconds) = text.parse::<f64>() {
        return wait(seconds);
    }
    let date: SystemTime = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(UNIX_EPOCH).ok()?.saturating_sub(now))
}

/// Waits for as long as the attempt before has made us; there is no further one for a client that has left.
///
/// # Errors
///
/// The client has left; or, inside, its upload is wrong.
pub(super) async fn wait(session: &mut Session, exchange: &mut Exchange) -> pingora::Result<Result<(), Rejection>> {
    let tried = !exchange.trail.attempts.is_empty();
    let Some(sending) = exchange.sending().filter(|_| tried) else { return Ok(Ok(())) };
    let wait = std::mem::take(&mut sending.wait);
    let (owed, snapshot) = (sending.owed.take(), Arc::clone(&sending.admitted.snapshot));
    let Sending { admitted, plan, paid, budget, .. } = sending;
    let turn = async {
        if wait.is_zero() {
            // Time for a look at the client.
            tokio::task::yield_now().await;
        } else {
            tokio::time::sleep(wait).await;
        }
        let (Some(told), Some(budget)) = (owed, budget.as_ref()) else { return None };
        *paid = budget
            .settle(|no_news| pay(budget, plan, &snapshot, Some(if no_news { Place::Quiet } else { Place::Sound })))
            .await;
        if paid.is_none() {
            budget.note_refused();
        }
        paid.is_none().then_some(told)
    };
    match overload::while_here(session, admitted, turn).await {
        Ok(None) => Ok(Ok(())),
        Ok(Some(told)) => Ok(Err(rejection(*told, sending))),
        Err(BodyError::Broken(error)) => Err(error.into_down()),
        Err(wrong) => Ok(Err(wrong.into())),
    }
}

/// What the client is told where no target is left; `untried` if none was asked.
pub(super) fn nothing_left(sending: &mut Sending, untried: bool) -> Rejection {
    if let Some(refused) = sending.refused.take().filter(|_| untried) {
        return Rejection::new(refused);
    }
    rejection(sending.failed_status.map_or_else(nowhere, refuse::told_status), sending)
}

fn nowhere() -> Told {
    let message = "No endpoint of the model's providers can be reached at the moment.";
    let fault = Fault::new(FaultKind::Overloaded, message).with_code("no_endpoint");
    (Fault { retry_after_s: Some(1), ..fault }, "no_endpoint")
}

fn rejection((fault, label): Told, sending: &Sending) -> Rejection {
    Rejection::new(fault).labelled(label).retry_after(sending.retry_after.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_is_read_in_every_form() {
        let check = |headers: &[(&'static str, &'static str)], expected: Option<u64>| {
            let headers: HeaderMap = headers
                .iter()
                .map(|(name, value)| (header::HeaderName::from_static(name), header::HeaderValue::from_static(value)))
                .collect();
            let asked = asked(&headers, Duration::from_secs(784_111_777));
            assert_eq!(asked.map(|asked| asked.as_millis()), expected.map(u128::from), "{headers:?}");
        };
        check(&[], None);
        check(&[("retry-after", "11")], Some(11_000));
        check(&[("retry-after", " 0.5 ")], Some(500));
        check(&[("retry-after", "20"), ("retry-after-ms", "1500")], Some(1_500));
        // RFC 9110's own example is 784,111,777 seconds after 1970.
        check(&[("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT")], Some(0));
        check(&[("retry-after", "Sun, 06 Nov 1994 08:49:47 GMT")], Some(10_000));
        check(&[("retry-after", "99999999999999999999999")], Some(3_200_000_000_000));
        for nonsense in ["soon", "-1", "NaN", "inf", "1e400", ""] {
            check(&[("retry-after", nonsense)], None);
        }
    }
}
