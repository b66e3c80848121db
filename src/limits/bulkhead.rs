//! A bound on what runs at once, with a line before it.
//!
//! With room and nobody waiting an entry costs two atomic operations; the lock is for those who wait, and those who end
//! while somebody does. A place is given to a waiter, never up for grabs: nobody passes the line.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use super::adaptive::{Adapt, Adaptive};
use super::line::{Class, Joined, Line, Ticket};
use crate::clock;

/// What one config says of a bulkhead.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Rule {
    /// What may run at once; `None` for anything.
    pub most: Option<u32>,
    /// How many may wait for it.
    pub waiting: u32,
    /// How long each of them may wait.
    pub patience: Duration,
    /// Lets the limit find itself, below `most`.
    pub adapt: Option<Adapt>,
}

/// Who waits.
#[derive(Debug, Clone)]
pub struct Waiter {
    /// The client, which takes turns with others.
    pub client: Arc<str>,
    /// Whom it goes before.
    pub class: Class,
}

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// Too many wait already.
    Full,
    /// Its patience was over.
    Late,
    /// Somebody of a higher class, or of a client with fewer waiting, has its place in the line.
    Displaced,
}

impl Refused {
    /// A bounded word for metrics.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Late => "wait",
            Self::Displaced => "displaced",
        }
    }
}

/// A bound on what runs at once. It counts whether or not there is a limit, so that a later one knows what runs.
pub struct Bulkhead {
    used: AtomicUsize,
    /// `usize::MAX` for none.
    limit: AtomicUsize,
    /// Places behind this one that are free, of whoever owns some; `usize::MAX` where nobody does.
    room: AtomicUsize,
    /// Places given to waiters that have not gone on to a place behind this one.
    bound: AtomicUsize,
    waiting: AtomicUsize,
    /// Those who wait beside the line, for what its order does not know.
    beside: AtomicUsize,
    adapts: AtomicBool,
    refused: AtomicU64,
    rule: ArcSwap<Rule>,
    adaptive: Mutex<Option<Adaptive>>,
    line: Mutex<Line<Waiting>>,
}

struct Waiting {
    until: Instant,
    answer: oneshot::Sender<Result<Permit, Refused>>,
}

impl Bulkhead {
    /// A bulkhead with nothing in it.
    pub fn new(rule: Rule) -> Arc<Self> {
        let bulkhead = Arc::new(Self {
            used: AtomicUsize::new(0),
            limit: AtomicUsize::new(usize::MAX),
            room: AtomicUsize::new(usize::MAX),
            bound: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            beside: AtomicUsize::new(0),
            adapts: AtomicBool::new(false),
            refused: AtomicU64::new(0),
            rule: ArcSwap::from_pointee(rule),
            adaptive: Mutex::default(),
            line: Mutex::default(),
        });
        bulkhead.adopt(rule);
        bulkhead
    }

    /// Takes over what a new config says. What runs goes on; who waits and has room now goes on too.
    pub fn adopt(self: &Arc<Self>, rule: Rule) {
        self.rule.store(Arc::new(rule));
        let limit = {
            let mut adaptive = self.adaptive.lock().unwrap_or_else(PoisonError::into_inner);
            match (rule.adapt, adaptive.as_mut()) {
                (Some(adapt), Some(known)) => known.adopt(adapt),
                (Some(adapt), None) => *adaptive = Some(Adaptive::new(adapt, clock::now())),
                (None, _) => *adaptive = None,
            }
            self.adapts.store(adaptive.is_some(), Ordering::SeqCst);
            adaptive.as_ref().map(Adaptive::limit)
        };
        self.set_limit(limit);
    }

    /// Takes a place, where there is one and nobody waits for it.
    pub fn enter(self: &Arc<Self>) -> Option<Permit> {
        if self.waiting.load(Ordering::SeqCst) > 0 || !self.has_room() {
            return None;
        }
        self.take().then(|| Permit { bulkhead: Arc::clone(self), bound: false })
    }

    /// Whether somebody who comes now would have to wait.
    pub fn is_full(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) > 0
            || self.used.load(Ordering::SeqCst) >= self.limit.load(Ordering::SeqCst)
            || !self.has_room()
    }

    /// Whether somebody who comes now would be refused at once, if nobody is displaced.
    pub fn is_overfull(&self) -> bool {
        self.is_full() && self.waiting.load(Ordering::SeqCst) >= self.rule.load().waiting as usize
    }

    /// How long somebody may wait.
    pub fn patience(&self) -> Duration {
        self.rule.load().patience
    }

    /// Takes a place, if need be after others, until `until` at the latest. Whoever drops the future leaves the line.
    ///
    /// # Errors
    ///
    /// There is no place, and will be none in time.
    pub async fn wait(self: &Arc<Self>, waiter: &Waiter, until: Instant) -> Result<Permit, Refused> {
        let (answer, answered) = oneshot::channel();
        let ticket = self.join(waiter, Waiting { until, answer }).inspect_err(|_| self.refuse())?;
        let place = InLine { bulkhead: self, ticket };
        let given = timeout_at(until, answered).await;
        drop(place);
        // A place that is given in this very moment comes back with what was to receive it.
        given.unwrap_or(Ok(Err(Refused::Late))).unwrap_or(Err(Refused::Late)).inspect_err(|_| self.refuse())
    }

    /// Counts as waiting until dropped, without a place in the line: for who is let in and finds nothing behind it.
    ///
    /// # Errors
    ///
    /// Too many wait already.
    pub fn wait_beside(self: &Arc<Self>) -> Result<Beside, Refused> {
        let beside = Beside(Arc::clone(self));
        // Who is in line took no place of theirs: they were let in before.
        if self.beside.fetch_add(1, Ordering::SeqCst) >= self.rule.load().waiting as usize {
            self.refuse();
            return Err(Refused::Full);
        }
        Ok(beside)
    }

    /// Says how many places behind this one are free: no more are given to waiters.
    pub fn set_room(self: &Arc<Self>, room: usize) {
        if self.room.swap(room, Ordering::SeqCst) < room {
            self.go_on();
        }
    }

    /// Whether places behind this one are counted.
    pub fn is_bounded_behind(&self) -> bool {
        self.room.load(Ordering::SeqCst) < usize::MAX
    }

    /// An answer of a kind began after `took`.
    pub fn answered(self: &Arc<Self>, kind: impl FnOnce() -> u64, took: Duration) {
        self.learn(|adaptive, used| adaptive.answered((kind(), took), used, clock::now()));
    }

    /// The server behind it said that it has too much to do, or did not answer.
    pub fn overloaded(self: &Arc<Self>) {
        self.learn(|adaptive, used| adaptive.overloaded(used, clock::now()));
    }

    /// What runs now.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::SeqCst)
    }

    /// What may run at once; `None` for anything.
    pub fn limit(&self) -> Option<usize> {
        Some(self.limit.load(Ordering::SeqCst)).filter(|limit| *limit < usize::MAX)
    }

    /// Who waits now.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::SeqCst) + self.beside.load(Ordering::SeqCst)
    }

    /// Counts somebody who is refused, also before a place was asked for.
    pub fn refuse(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// Who was refused so far.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    fn has_room(&self) -> bool {
        let room = self.room.load(Ordering::SeqCst);
        room == usize::MAX || self.bound.load(Ordering::SeqCst) < room
    }

    fn learn(self: &Arc<Self>, learn: impl FnOnce(&mut Adaptive, usize) -> usize) {
        if !self.adapts.load(Ordering::SeqCst) {
            return;
        }
        let used = self.used();
        let limit = {
            let mut adaptive = self.adaptive.lock().unwrap_or_else(PoisonError::into_inner);
            adaptive.as_mut().map(|adaptive| learn(adaptive, used))
        };
        self.set_limit(limit);
    }

    /// The limit is the lower one of what is configured and what was learnt.
    fn set_limit(self: &Arc<Self>, learnt: Option<usize>) {
        let most = self.rule.load().most.map_or(usize::MAX, |most| most as usize);
        let limit = learnt.map_or(most, |learnt| learnt.min(most));
        if self.limit.swap(limit, Ordering::SeqCst) < limit {
            self.go_on();
        }
    }

    fn join(self: &Arc<Self>, waiter: &Waiter, waiting: Waiting) -> Result<Ticket, Refused> {
        let most = self.rule.load().waiting as usize;
        let joined = {
            let mut line = self.line();
            let joined = line.join(waiter.class, &waiter.client, waiting, most);
            self.waiting.store(line.len(), Ordering::SeqCst);
            joined
        };
        let ticket = match joined {
            Joined::In(ticket) => ticket,
            Joined::Displaced(ticket, displaced) => {
                let _ = displaced.answer.send(Err(Refused::Displaced));
                ticket
            }
            Joined::Full => return Err(Refused::Full),
        };
        // What became free before the line was seen has told nobody.
        self.go_on();
        Ok(ticket)
    }

    /// Gives free places to who is next.
    fn go_on(self: &Arc<Self>) {
        while let Some((waiting, permit)) = self.next() {
            // Who has left in this moment gives the place back, and the next one gets it.
            let _ = waiting.answer.send(Ok(permit));
        }
    }

    fn next(self: &Arc<Self>) -> Option<(Waiting, Permit)> {
        let mut line = self.line();
        if line.len() == 0 || !self.has_room() || !self.take() {
            return None;
        }
        let now = clock::timer();
        // Who is too late finds out by itself; its end of the channel closes here.
        let next = std::iter::from_fn(|| line.next()).find(|next| next.until > now && !next.answer.is_closed());
        self.waiting.store(line.len(), Ordering::SeqCst);
        let Some(next) = next else {
            self.used.fetch_sub(1, Ordering::SeqCst);
            return None;
        };
        self.bound.fetch_add(1, Ordering::SeqCst);
        Some((next, Permit { bulkhead: Arc::clone(self), bound: true }))
    }

    /// Counts one more, if the limit allows it.
    fn take(&self) -> bool {
        let limit = self.limit.load(Ordering::SeqCst);
        let more = |used: usize| (used < limit).then_some(used + 1);
        self.used.fetch_update(Ordering::SeqCst, Ordering::SeqCst, more).is_ok()
    }

    fn line(&self) -> MutexGuard<'_, Line<Waiting>> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Bulkhead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bulkhead({} of {:?}, {} waiting)", self.used(), self.limit(), self.waiting())
    }
}

/// A place in a line, left when dropped.
struct InLine<'a> {
    bulkhead: &'a Arc<Bulkhead>,
    ticket: Ticket,
}

impl Drop for InLine<'_> {
    fn drop(&mut self) {
        let left = {
            let mut line = self.bulkhead.line();
            let left = line.leave(&self.ticket);
            self.bulkhead.waiting.store(line.len(), Ordering::SeqCst);
            left
        };
        // Dropped without the lock, which the place that may be in it would want.
        drop(left);
    }
}

/// Somebody who waits beside a line, until dropped.
pub struct Beside(Arc<Bulkhead>);

impl Drop for Beside {
    fn drop(&mut self) {
        self.0.beside.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A place, given back when dropped.
#[must_use = "dropping it gives the place back"]
pub struct Permit {
    bulkhead: Arc<Bulkhead>,
    /// It is on its way to a place behind this one.
    bound: bool,
}

impl Permit {
    /// It has a place behind this one, or needs none.
    pub fn arrived(&mut self) {
        if std::mem::take(&mut self.bound) {
            self.bulkhead.bound.fetch_sub(1, Ordering::SeqCst);
            if self.bulkhead.waiting() > 0 {
                self.bulkhead.go_on();
            }
        }
    }

    /// Where the place is.
    pub fn bulkhead(&self) -> &Arc<Bulkhead> {
        &self.bulkhead
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.bound {
            self.bulkhead.bound.fetch_sub(1, Ordering::SeqCst);
        }
        self.bulkhead.used.fetch_sub(1, Ordering::SeqCst);
        if self.bulkhead.waiting() > 0 {
            self.bulkhead.go_on();
        }
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Permit({:?})", self.bulkhead)
    }
}

#[cfg(test)]
mod tests;
