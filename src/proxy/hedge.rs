//! A second attempt beside a stream that is slow to begin: when it is due, what is sent, and what is made of the two.
//!
//! The seam runs the race, where the exchange cannot be reached. So what the second attempt takes is put together before
//! the first begins, and what became of the two is taken over when the loop is heard of next.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::HeaderMap;
use pingora::upstreams::peer::HttpPeer;
use pingora_proxy::Session;
use tidegate_codec::Operation;

use super::exchange::{Admitted, Attempt, Exchange, Phase, Sending, Task, Trail};
use super::head::{self, PASSED};
use super::pieces::tell_last_word;
use super::plan::Plan;
use super::send::{self, Prepared};
use super::{begun, fail, refuse, retry};
use crate::clock;
use crate::observe::Attempt as Record;
use crate::upstream::seam::{self, Fate, Second};
use crate::upstream::{Payment, Place, RetryBudget};

/// What is said of an attempt that was cancelled because the other one spoke first.
const CANCELLED: &str = "hedged";

/// Makes the second attempt of one request.
#[derive(Debug)]
pub struct Backup {
    budget: Arc<RetryBudget>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// What the attempt takes, until it is made; or a word for why there will be none.
    kit: Option<Result<Box<Kit>, &'static str>>,
    /// The attempt, once it is made.
    made: Option<Box<Made>>,
    /// It is the answer, and what became of the first.
    won: Option<Fate>,
    /// It is not, and takes nothing any more.
    lost: Option<Box<Lost>>,
    /// What became of it: a bounded word. `None` while the first one is not slow.
    word: Option<&'static str>,
}

/// What an attempt takes.
#[derive(Debug)]
struct Kit {
    admitted: Admitted,
    plan: Plan,
    headers: HeaderMap,
    request_id: String,
    traceparent: Option<String>,
}

/// An attempt that was made.
#[derive(Debug)]
struct Made {
    prepared: Prepared,
    plan: Plan,
}

/// What is left of an attempt that is not the answer.
#[derive(Debug)]
struct Lost {
    record: Record,
    plan: Plan,
}

impl Made {
    fn end(self, fate: Fate) -> Lost {
        let Self { prepared: Prepared { attempt, .. }, plan } = self;
        let mut record = send::record(&attempt);
        close(&attempt, &mut record, fate);
        Lost { record, plan }
    }
}

/// Has an attempt at `peer`, if it is the first, raced where that is wanted and there is somebody to race with.
pub(super) fn arm(
    (session, trail): (&Session, &Trail),
    sending: &mut Sending,
    attempt: &mut Attempt,
    peer: &HttpPeer,
) -> Option<()> {
    let Sending { admitted, plan, hedge, .. } = sending;
    let rule = admitted.route.hedge.as_ref().filter(|_| trail.attempts.len() == 1)?;
    let course = attempt.course.as_mut().filter(|_| admitted.stream.is_some())?;
    let after = rule.after(attempt.busy.as_ref()?.standing().stream_percentile(rule.percentile))?;
    let kit = match never((after, course.hold), admitted, plan) {
        // Nobody else is asked; but that it was slow is seen all the same.
        Some(word) => Err(word),
        None => Ok(Box::new(kit((session, trail), admitted, plan)?)),
    };
    let budget = Arc::clone(admitted.snapshot.hedges.get(&admitted.route.name)?);
    let state = State { kit: Some(kit), made: None, won: None, lost: None, word: None };
    let backup = Arc::new(Backup { budget, state: Mutex::new(state) });
    *hedge = Some(Arc::clone(&backup));
    course.hedge = Some(seam::Hedge { after, peer: Arc::new(peer.clone()), backup });
    Some(())
}

/// A word for why a stream is asked for once, however slow it is.
fn never((after, hold): (Duration, Duration), admitted: &Admitted, plan: &Plan) -> Option<&'static str> {
    if admitted.tie.state.is_some() {
        // What only its maker can read is asked of nobody else.
        Some("tied")
    } else if after >= hold {
        // Once the head is out there is no other answer.
        Some("no_hold")
    } else {
        (!plan.has_next(&admitted.snapshot)).then_some("no_target")
    }
}

fn kit((session, trail): (&Session, &Trail), admitted: &Admitted, plan: &Plan) -> Option<Kit> {
    let own = &session.req_header().headers;
    let passed = PASSED.into_iter().filter_map(|name| own.get(&name).cloned().map(|value| (name, value)));
    Some(Kit {
        admitted: admitted.again()?,
        plan: plan.clone(),
        headers: passed.collect(),
        request_id: trail.request_id.clone(),
        traceparent: trail.traceparent.clone(),
    })
}

impl Backup {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The attempt, ready to be made; or a word for why there is none.
    async fn make(&self, kit: Kit) -> Result<(Second, Made), &'static str> {
        let Kit { admitted, mut plan, headers, request_id, traceparent } = kit;
        // A look first: what is taken out of the budget does not come back.
        if !plan.has_next(&admitted.snapshot) {
            return Err("no_target");
        }
        // Nothing goes back of it, whoever wins.
        let Payment::Paid(_spent) = self.budget.take(Place::Failing) else {
            self.budget.note_refused();
            return Err("no_budget");
        };
        let mut prepared = loop {
            let step = plan.next(&admitted.snapshot).ok_or("no_target")?;
            match send::prepare(&admitted, step, &request_id) {
                Ok(prepared) => break prepared,
                Err(_) => plan.pass_over(true),
            }
        };
        let attempt = &mut prepared.attempt;
        let mut peer = match attempt.lease.peer().await {
            Ok(peer) => peer,
            Err(error) => {
                attempt.lease.connect_failed("resolve");
                log::warn!("{}: {error}", attempt.lease.label());
                return Err("failed");
            }
        };
        seam::take(&mut peer);
        let ids = (request_id.as_str(), traceparent.as_deref());
        let client = (&headers, http::Version::HTTP_11);
        let head = head::of_format((&admitted, Operation::Generate, attempt), client, ids);
        let mut head = Box::new(head.map_err(|_| "failed")?);
        let mut course = send::course(&admitted, attempt).ok_or("failed")?;
        tell_last_word(&mut course, &mut attempt.last_word);
        head.extensions_mut().insert(course);
        let body: Bytes = std::mem::take(&mut attempt.body);
        Ok((Second { peer, head, body }, Made { prepared, plan }))
    }
}

#[async_trait]
impl seam::Backup for Backup {
    async fn begin(&self) -> Option<Second> {
        let kit = self.state().kit.take()?;
        let made = match kit {
            Ok(kit) => self.make(*kit).await,
            Err(word) => Err(word),
        };
        let mut state = self.state();
        match made {
            Ok((second, made)) => {
                // Until it is known better: the client has left before either said anything.
                (state.made, state.word) = (Some(Box::new(made)), Some("left"));
                Some(second)
            }
            Err(word) => {
                state.word = Some(word);
                None
            }
        }
    }

    fn over(&self, second: bool, other: Fate) {
        let mut state = self.state();
        state.word = Some(match (second, &other) {
            (true, _) => "won",
            (false, Fate::Cancelled) => "lost",
            (false, _) => "failed",
        });
        if second {
            state.won = Some(other);
        } else {
            state.lost = state.made.take().map(|made| Box::new(made.end(other)));
        }
    }
}

/// Takes over what became of the race, if there was one: the exchange's attempt is the one that has the answer, and the
/// other one stands before it in the trail.
pub(super) fn settle(exchange: &mut Exchange) {
    let Exchange { trail, phase, .. } = exchange;
    let sending = match phase {
        Phase::Sending(sending) => sending,
        Phase::Receiving(receiving) => &mut receiving.sending,
        Phase::Arrived | Phase::Admitted(_) => return,
    };
    let Some(backup) = sending.hedge.take() else { return };
    let mut state = backup.state();
    trail.hedge = state.word;
    // Its share of what the request holds goes with it.
    state.kit = None;
    let won = state.won.take();
    let lost = match (state.made.take(), won) {
        (Some(made), Some(fate)) => return take_over((trail, sending), *made, fate),
        (Some(made), None) => made.end(Fate::Cancelled),
        (None, _) => match state.lost.take() {
            Some(lost) => *lost,
            None => return,
        },
    };
    sending.plan = lost.plan;
    trail.attempts.insert(trail.attempts.len().saturating_sub(1), lost.record);
}

/// The second attempt is the exchange's from now on; this became of the first.
fn take_over((trail, sending): (&mut Trail, &mut Sending), made: Made, fate: Fate) {
    let Made { prepared: Prepared { attempt, losses, translated }, plan } = made;
    sending.plan = plan;
    let record = send::record(&attempt);
    trail.upstream_model = Some(attempt.model.clone());
    let first = sending.attempt.replace(attempt);
    if let (Some(first), Some(record)) = (first, trail.attempts.last_mut()) {
        if let (Fate::Cancelled, Some(busy)) = (&fate, &first.busy) {
            // It took at least so long: without it the slowest would not be in the measure.
            busy.gave_up(clock::now().duration_since(first.started));
        }
        close(&first, record, fate);
    }
    trail.attempts.push(record);
    (trail.losses, trail.translated) = (losses, translated);
    trail.fallback = sending.plan.fallback();
}

/// Ends the attempt that is not the answer.
fn close(attempt: &Attempt, record: &mut Record, fate: Fate) {
    record.duration = clock::now().duration_since(attempt.started);
    match fate {
        Fate::Cancelled => record.error = Some(CANCELLED),
        Fate::Failed(error) => {
            record.error = Some(refuse::fault_of(&error, None).map_or("upstream_broken", |(_, label)| label));
            fail::blame(attempt, &error);
        }
        Fate::Refused(head) => {
            let status = head.status.as_u16();
            record.status = Some(status);
            attempt.lease.answered(attempt.subject(), status, retry::asked(&head.headers, clock::unix_now()));
            begun::refused(attempt, status);
        }
    }
}

impl Admitted {
    /// The request once more, for a second attempt; `None` where its body streams through.
    fn again(&self) -> Option<Self> {
        let Task::Format(operation) = self.task else { return None };
        Some(Self {
            snapshot: Arc::clone(&self.snapshot),
            format: self.format,
            task: Task::Format(operation),
            stream: self.stream,
            caller: self.caller.clone(),
            body: self.body.clone(),
            room: super::body::Reservation::default(),
            envelope: self.envelope.clone(),
            route: Arc::clone(&self.route),
            affinity: self.affinity,
            tie: self.tie,
            api_version: self.api_version.clone(),
            betas: self.betas.clone(),
        })
    }
}
