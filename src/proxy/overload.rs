//! What is refused because too much runs already, and what waits for its turn.
//!
//! At the door all requests count, and memory is looked at; what finds no room there is refused before anything of it is
//! read. Behind the door a request waits for its client's limit, then for its model's, then for a provider's, each in the
//! line of that limit; what it has, it keeps while it waits for the next. A client that leaves is out of the line at once.

use std::sync::Arc;
use std::time::Duration;

use pingora::Error;
use pingora_proxy::Session;
use tidegate_codec::hub::{Fault, FaultKind};
use tokio::time::Instant;

use super::Edge;
use super::body::BodyError;
use super::exchange::{Admitted, Exchange, Sending, Task, Trail};
use super::plan::Step;
use super::refuse::Rejection;
use crate::clock;
use crate::config::{Caller, Snapshot};
use crate::limits::{Bulkhead, Permit, Refused, Scope, Waiter};

/// The longest `retry-after`, in seconds.
const LONGEST_RETRY_AFTER: u64 = 30;

/// How often who waits for a provider looks whether there is room now of which nobody was told.
const LOOK: Duration = Duration::from_millis(100);

/// What a request holds until it is over: its places among all, of its client, and for its model.
#[derive(Debug, Default)]
pub(super) struct Places {
    edge: Option<Permit>,
    client: Option<Permit>,
    model: Option<Permit>,
}

/// Counts a request among all, before anything of it is read.
///
/// # Errors
///
/// Its address sends too many, or there is no room for it, or no memory.
pub(super) fn door(edge: &Edge, exchange: &mut Exchange) -> Result<(), Rejection> {
    let live = edge.live.load();
    if let (Some(most), Some(client)) = (live.settings.server.limits.request_rate_per_ip, exchange.trail.client)
        && !edge.rate.admits(client, most, clock::now())
    {
        exchange.trail.shed = Some(("address", "rate"));
        let message = "This address sends more requests a second than it may. Try again in a moment.";
        return Err(refusal((FaultKind::RateLimit, "address_rate"), message, Duration::ZERO).closing());
    }
    if edge.memory.is_short() {
        exchange.trail.shed = Some(("memory", "memory"));
        let message = "The server is short of memory. Try again in a moment.";
        return Err(refusal((FaultKind::Overloaded, "memory_limit"), message, Duration::ZERO).closing());
    }
    let bulkhead = &live.bulkheads.edge;
    exchange.places.edge = bulkhead.enter();
    if exchange.places.edge.is_none() {
        bulkhead.refuse();
        exchange.trail.shed = Some((Scope::Edge.label(), "limit"));
        return Err(refused(Scope::Edge, Duration::ZERO).closing());
    }
    Ok(())
}

/// Looks whether there is a chance for a request of `caller`, before its body is read.
///
/// # Errors
///
/// As many of its requests as may wait do wait.
pub(super) fn caller(snapshot: &Snapshot, caller: &Caller, exchange: &mut Exchange) -> Result<(), Rejection> {
    let bulkhead = snapshot.bulkheads.clients.get(caller.name());
    let Some(bulkhead) = bulkhead.filter(|bulkhead| bulkhead.is_overfull()) else { return Ok(()) };
    bulkhead.refuse();
    exchange.trail.shed = Some((Scope::Client.label(), Refused::Full.label()));
    Err(refused(Scope::Client, bulkhead.patience()).closing())
}

/// Gets a request its places of its client and for its model.
///
/// # Errors
///
/// The client has left; or, inside, there is no place in time.
pub(super) async fn enter(
    session: &mut Session,
    exchange: &mut Exchange,
    admitted: &mut Admitted,
) -> pingora::Result<Result<(), Rejection>> {
    let snapshot = Arc::clone(&admitted.snapshot);
    let Exchange { trail, places, .. } = exchange;
    if let Some(bulkhead) = snapshot.bulkheads.clients.get(admitted.caller.name()) {
        match place(session, trail, admitted, Line::of(Scope::Client, bulkhead)).await? {
            Ok(permit) => places.client = Some(permit),
            Err(rejection) => return Ok(Err(rejection)),
        }
    }
    if let Some(bulkhead) = snapshot.bulkheads.models.get(&admitted.route.name) {
        match place(session, trail, admitted, Line::of(Scope::Model, bulkhead)).await? {
            Ok(permit) => places.model = Some(permit),
            Err(rejection) => return Ok(Err(rejection)),
        }
    }
    Ok(Ok(()))
}

/// Waits for the first target that is worth it; `None` where there is none.
///
/// # Errors
///
/// The client has left; or, inside, there is no place in time.
pub(super) async fn step(
    session: &mut Session,
    trail: &mut Trail,
    sending: &mut Sending,
) -> pingora::Result<Result<Option<Step>, Rejection>> {
    let mut until = None;
    loop {
        let Some((at, pool)) = sending.plan.wait_at(&sending.admitted.snapshot) else { return Ok(Ok(None)) };
        let until = *until.get_or_insert_with(|| clock::timer() + pool.bulkhead().patience());
        let line = Line { scope: Scope::Provider, bulkhead: pool.bulkhead(), until, look: &|| pool.look() };
        let permit = match place(session, trail, &mut sending.admitted, line).await? {
            Ok(permit) => permit,
            Err(rejection) => return Ok(Err(rejection)),
        };
        let Sending { admitted, plan, .. } = sending;
        // Another request may have been faster at the endpoint, or the endpoint is left alone by now.
        if let Some(step) = plan.after_wait(&admitted.snapshot, at, permit).or_else(|| plan.next(&admitted.snapshot)) {
            return Ok(Ok(Some(step)));
        }
        if clock::timer() >= until {
            pool.bulkhead().refuse();
            break;
        }
        // There may be room only where this request's model is left alone.
        let _beside = match pool.bulkhead().wait_beside() {
            Ok(beside) => beside,
            Err(why) => {
                trail.shed = Some((Scope::Provider.label(), why.label()));
                return Ok(Err(refused(Scope::Provider, pool.bulkhead().patience())));
            }
        };
        let pause = while_here(session, admitted, tokio::time::sleep(LOOK));
        let paused = trail.stopwatch.without(pause).await;
        trail.waited(Scope::Provider.label(), LOOK);
        if let Err(left) = paused {
            return gone(left);
        }
    }
    trail.shed = Some((Scope::Provider.label(), Refused::Late.label()));
    Ok(Err(refused(Scope::Provider, Duration::ZERO)))
}

/// A line that a request joins.
struct Line<'a> {
    scope: Scope,
    bulkhead: &'a Arc<Bulkhead>,
    /// When its patience is over.
    until: Instant,
    /// Called from time to time.
    look: &'a (dyn Fn() + Sync),
}

impl<'a> Line<'a> {
    /// A line of which all is known that can be.
    fn of(scope: Scope, bulkhead: &'a Arc<Bulkhead>) -> Self {
        Self { scope, bulkhead, until: clock::timer() + bulkhead.patience(), look: &|| () }
    }
}

async fn place(
    session: &mut Session,
    trail: &mut Trail,
    admitted: &mut Admitted,
    Line { scope, bulkhead, until, look }: Line<'_>,
) -> pingora::Result<Result<Permit, Rejection>> {
    if let Some(permit) = bulkhead.enter() {
        return Ok(Ok(permit));
    }
    let began = clock::timer();
    let waiter = Waiter { client: Arc::clone(admitted.caller.name()), class: admitted.caller.class() };
    let waiting = while_here(session, admitted, looking(bulkhead.wait(&waiter, until), look));
    let given = trail.stopwatch.without(waiting).await;
    trail.waited(scope.label(), clock::timer().duration_since(began));
    match given {
        Ok(given) => Ok(given.map_err(|why| {
            trail.shed = Some((scope.label(), why.label()));
            refused(scope, bulkhead.patience())
        })),
        Err(left) => gone(left),
    }
}

/// Awaits `waiting`, and calls `look` from time to time.
async fn looking<T>(waiting: impl Future<Output = T>, look: &(dyn Fn() + Sync)) -> T {
    let mut waiting = std::pin::pin!(waiting);
    loop {
        match tokio::time::timeout(LOOK, &mut waiting).await {
            Ok(done) => return done,
            Err(_) => look(),
        }
    }
}

/// What ends a request whose client has left, or sent something wrong, while it waited.
fn gone<T>(left: BodyError) -> pingora::Result<Result<T, Rejection>> {
    match left {
        BodyError::Broken(error) => Err(error.into_down()),
        wrong => Ok(Err(wrong.into())),
    }
}

/// Awaits `turn`, for as long as the client is there and nothing is wrong with what comes of its request.
///
/// # Errors
///
/// The client has left; or its upload is wrong.
pub(super) async fn while_here<T>(
    session: &mut Session,
    admitted: &mut Admitted,
    turn: impl Future<Output = T>,
) -> Result<T, BodyError> {
    let turn = std::pin::pin!(turn);
    let Admitted { snapshot, room, task, .. } = admitted;
    let server = &snapshot.settings.server;
    let upload = match task {
        Task::Service(call) => call.upload.as_mut(),
        Task::Format(_) => None,
    };
    match upload {
        Some(upload) => upload.unless_gone(session, server, room, turn).await,
        None => unless_gone(session, turn).await,
    }
}

/// Awaits `turn`, for as long as the client is there, whose request was read to its end.
async fn unless_gone<T>(session: &mut Session, turn: impl Future<Output = T> + Unpin) -> Result<T, BodyError> {
    tokio::select! {
        biased;
        done = turn => Ok(done),
        left = session.downstream_session.read_body_or_idle(true) => Err(BodyError::Broken(match left {
            Err(error) => error,
            Ok(_) => Error::explain(pingora::ErrorType::ConnectionClosed, "the client sent more than its request"),
        })),
    }
}

/// Who finds no place is told whose limit it is, and when to come again.
fn refused(scope: Scope, patience: Duration) -> Rejection {
    let (label, message) = match scope {
        Scope::Edge => (
            (FaultKind::Overloaded, "edge_limit"),
            "The server has as many requests under way as it takes. Try again in a moment.",
        ),
        Scope::Client => (
            (FaultKind::RateLimit, "client_limit"),
            "This API key has as many requests under way as it may have. Wait for some of them to end.",
        ),
        Scope::Model => (
            (FaultKind::RateLimit, "model_limit"),
            "The model has as many requests under way as it takes here. Try again in a moment.",
        ),
        Scope::Provider => (
            (FaultKind::Overloaded, "provider_limit"),
            "The model's providers have as many requests under way as they take. Try again in a moment.",
        ),
    };
    refusal(label, message, patience)
}

fn refusal((kind, label): (FaultKind, &'static str), message: &'static str, patience: Duration) -> Rejection {
    let after = patience.as_secs().clamp(1, LONGEST_RETRY_AFTER);
    Rejection::new(Fault::new(kind, message).with_code(label)).labelled(label).retry_after(Some(after.to_string()))
}
