//! Passive health: what fails again and again is left alone for a while, be it an endpoint or a model at one.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::provider::Breaker;

/// Whether something is held down, and for how long: a circuit breaker of three states.
///
/// ```text
/// open ── failures in a row ──> held ── time over ──> due ── claimed by one request ──> held (trial)
///   ^                             ^                                                        │ │
///   │                             └──────────────── failed, twice as long ─────────────────┘ │
///   └───────────────────────────────────────── passed ───────────────────────────────────────┘
/// ```
///
/// (Of a circuit one says closed where this says open, open for held, half open for the trial; [`Stage`] has those words.)
///
/// Times are milliseconds since the fleet began; they are arguments so that a test can choose them. What is without
/// trouble costs one atomic load a request.
#[derive(Default)]
pub(super) struct Hold {
    /// The end of the hold; 0 while open.
    until: AtomicU64,
    /// When the hold began.
    since: AtomicU64,
    /// Too many others are held: it is left alone only by who has somewhere else to go.
    spared: AtomicBool,
    /// Whether anything is to be forgotten when a connection succeeds.
    troubled: AtomicBool,
    last_failed: AtomicU64,
    streak: Mutex<Streak>,
}

#[derive(Default)]
struct Streak {
    failures: u32,
    holds: u32,
    /// The trial that is under way.
    trial: Option<Trial>,
    trials: u64,
}

/// The one trial after a hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Trial(u64);

/// What may be done with an endpoint now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Gate {
    /// Use it.
    Open,
    /// Its hold is over: one request may [`claim`](Hold::claim) it and try.
    Due,
    /// Leave it alone.
    Held,
}

/// Where a circuit stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Requests pass.
    Closed,
    /// One request may try, or is trying.
    HalfOpen,
    /// None passes.
    Open,
}

impl Stage {
    /// Its word for operators.
    pub fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::HalfOpen => "half_open",
            Self::Open => "open",
        }
    }
}

impl Hold {
    /// Where the circuit stands.
    pub(super) fn stage(&self, now: u64) -> Stage {
        let trial = self.streak().trial.is_some();
        match self.gate(|| now) {
            Gate::Open => Stage::Closed,
            Gate::Held if !trial => Stage::Open,
            Gate::Due | Gate::Held => Stage::HalfOpen,
        }
    }

    /// What may be done now. `now` is asked only when something is held.
    pub(super) fn gate(&self, now: impl FnOnce() -> u64) -> Gate {
        if self.spared.load(Ordering::Acquire) { Gate::Open } else { self.gate_of_choosy(now) }
    }

    /// What may be done by who has somewhere else to go.
    pub(super) fn gate_of_choosy(&self, now: impl FnOnce() -> u64) -> Gate {
        match self.until.load(Ordering::Acquire) {
            0 => Gate::Open,
            until if until <= now() => Gate::Due,
            _ => Gate::Held,
        }
    }

    /// Takes the one trial after a hold; it must be decided within `window_ms`, or the next request may take it. `Err` when
    /// another was faster, `None` where nothing is held any more.
    pub(super) fn claim(&self, now: u64, window_ms: u64) -> Result<Option<Trial>, ()> {
        let mut streak = self.streak();
        let until = self.until.load(Ordering::Acquire);
        if until == 0 {
            return Ok(None);
        }
        if until > now {
            return Err(());
        }
        streak.trials += 1;
        streak.trial = Some(Trial(streak.trials));
        self.until.store(now.saturating_add(window_ms.max(1)), Ordering::Release);
        Ok(streak.trial)
    }

    /// A trial came to nothing, such as when its client left: the next request may try.
    pub(super) fn abandon(&self, trial: Trial, now: u64) {
        let mut streak = self.streak();
        if streak.trial == Some(trial) {
            streak.trial = None;
            self.until.store(now.max(1), Ordering::Release);
        }
    }

    /// It failed. `true` when this begins a hold that is for all; without `leave` it is for who has somewhere else to go.
    pub(super) fn failed(&self, now: u64, breaker: &Breaker, leave: impl FnOnce() -> bool) -> bool {
        let mut streak = self.streak();
        self.troubled.store(true, Ordering::Release);
        self.last_failed.store(now, Ordering::Release);
        streak.failures = streak.failures.saturating_add(1);
        let until = self.until.load(Ordering::Acquire);
        // While held, the failures of requests that were under way already say nothing new.
        let begins = match until {
            0 => streak.failures >= breaker.failures,
            until => streak.trial.is_some() || until <= now,
        };
        let (first, spared) = (until == 0, self.spared.load(Ordering::Acquire));
        let leaves = if spared || (first && begins) { leave() } else { begins };
        if spared || begins {
            self.spared.store(!leaves, Ordering::Release);
        }
        if begins {
            let (shortest, longest) = (millis(breaker.open), millis(breaker.open_max));
            let length = shortest.saturating_mul(1 << streak.holds.min(16)).min(longest);
            streak.holds = streak.holds.saturating_add(1);
            streak.trial = None;
            self.since.store(now, Ordering::Release);
            self.until.store(now.saturating_add(length).max(1), Ordering::Release);
        }
        leaves
    }

    /// What `began` then worked: all is forgiven, but a hold that began later, of which it knows nothing. `true` when this
    /// ends a hold.
    pub(super) fn passed(&self, began: u64) -> bool {
        if !self.troubled.load(Ordering::Acquire) {
            return false;
        }
        let mut streak = self.streak();
        if self.until.load(Ordering::Acquire) != 0 && began < self.since.load(Ordering::Acquire) {
            return false;
        }
        *streak = Streak::default();
        self.troubled.store(false, Ordering::Release);
        // What was spared has served all along.
        let spared = self.spared.swap(false, Ordering::AcqRel);
        self.until.swap(0, Ordering::AcqRel) != 0 && !spared
    }

    /// Nothing has failed since it last worked.
    pub(super) fn is_sound(&self) -> bool {
        !self.troubled.load(Ordering::Acquire)
    }

    /// The end of what it is held for; 0 while it is not.
    pub(super) fn until(&self) -> u64 {
        self.until.load(Ordering::Acquire)
    }

    /// When it failed last; 0 for never.
    pub(super) fn last_failed(&self) -> u64 {
        self.last_failed.load(Ordering::Acquire)
    }

    fn streak(&self) -> MutexGuard<'_, Streak> {
        self.streak.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A duration in the milliseconds of this module.
pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAILURES: u32 = 5;
    const FIRST_MS: u64 = 1_000;

    fn gate(hold: &Hold, now: u64) -> Gate {
        hold.gate(|| now)
    }

    fn failed(hold: &Hold, now: u64) -> bool {
        hold.failed(now, &Breaker::default(), || true)
    }

    fn fail_times(hold: &Hold, now: u64, times: u32) {
        for _ in 0..times {
            failed(hold, now);
        }
    }

    #[test]
    fn holds_after_failures_in_a_row_only() {
        let hold = Hold::default();
        fail_times(&hold, 10, FAILURES - 1);
        assert_eq!(gate(&hold, 10), Gate::Open);
        hold.passed(u64::MAX);
        fail_times(&hold, 10, FAILURES - 1);
        assert_eq!(gate(&hold, 10), Gate::Open);
        assert!(failed(&hold, 10));
        assert_eq!(gate(&hold, 10), Gate::Held);
        assert_eq!(gate(&hold, 10 + FIRST_MS - 1), Gate::Held);
        assert_eq!(gate(&hold, 10 + FIRST_MS), Gate::Due);
    }

    #[test]
    fn many_failures_at_once_are_one_hold() {
        let hold = Hold::default();
        fail_times(&hold, 0, 100);
        assert_eq!(gate(&hold, FIRST_MS), Gate::Due);
    }

    #[test]
    fn one_trial_after_each_hold_and_twice_as_long_each_time() {
        let hold = Hold::default();
        let mut now = 5;
        fail_times(&hold, now, FAILURES);
        let mut lengths = Vec::new();
        for _ in 0..7 {
            let began = now;
            while gate(&hold, now) == Gate::Held {
                now += 500;
            }
            lengths.push(now - began);
            assert!(hold.claim(now, 5_000).is_ok(), "the first gets the trial");
            assert!(hold.claim(now, 5_000).is_err(), "nobody else does");
            assert_eq!(gate(&hold, now), Gate::Held);
            assert!(failed(&hold, now));
        }
        assert_eq!(lengths, [1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]);
    }

    #[test]
    fn an_undecided_trial_frees_the_next() {
        let hold = Hold::default();
        fail_times(&hold, 0, FAILURES);
        assert!(hold.claim(FIRST_MS, 5_000).is_ok());
        assert_eq!(gate(&hold, FIRST_MS + 4_999), Gate::Held);
        assert_eq!(gate(&hold, FIRST_MS + 5_000), Gate::Due);
        assert!(hold.claim(FIRST_MS + 5_000, 5_000).is_ok());
    }

    #[test]
    fn a_trial_that_comes_to_nothing_frees_the_next_and_a_late_one_nothing() {
        let hold = Hold::default();
        fail_times(&hold, 0, FAILURES);
        let first = hold.claim(FIRST_MS, 5_000).unwrap().unwrap();
        hold.abandon(first, FIRST_MS + 10);
        assert_eq!(gate(&hold, FIRST_MS + 10), Gate::Due);
        let second = hold.claim(FIRST_MS + 20, 5_000).unwrap().unwrap();
        hold.abandon(first, FIRST_MS + 30);
        assert_eq!(gate(&hold, FIRST_MS + 30), Gate::Held, "another's trial is under way");
        failed(&hold, FIRST_MS + 40);
        hold.abandon(second, FIRST_MS + 50);
        assert_eq!(gate(&hold, FIRST_MS + 50), Gate::Held, "it was decided");
        hold.passed(u64::MAX);
        assert_eq!(hold.claim(FIRST_MS + 60, 5_000), Ok(None));
    }

    #[test]
    fn success_opens_and_starts_over() {
        let hold = Hold::default();
        fail_times(&hold, 0, FAILURES);
        assert!(hold.claim(FIRST_MS, 5_000).is_ok());
        failed(&hold, FIRST_MS);
        hold.passed(u64::MAX);
        assert_eq!(gate(&hold, FIRST_MS), Gate::Open);
        fail_times(&hold, 9_000, FAILURES);
        assert_eq!(gate(&hold, 9_000 + FIRST_MS), Gate::Due, "back to the first length");
    }

    #[test]
    fn what_may_not_leave_stays_until_it_may() {
        let hold = Hold::default();
        for _ in 0..20 {
            assert!(!hold.failed(1, &Breaker::default(), || false));
        }
        assert_eq!((gate(&hold, 1), hold.stage(1)), (Gate::Open, Stage::Closed));
        assert_eq!(hold.gate_of_choosy(|| 1), Gate::Held, "but for who has somewhere else to go");
        assert_eq!(hold.gate_of_choosy(|| 1 + FIRST_MS), Gate::Due);
        assert!(failed(&hold, 2));
        assert_eq!(gate(&hold, 2), Gate::Held);
        assert!(hold.passed(u64::MAX), "it comes back");
        assert!(
            (0..20).all(|_| !hold.failed(3, &Breaker::default(), || false)) && !hold.passed(u64::MAX),
            "it never left"
        );
    }

    #[test]
    fn what_began_before_a_hold_does_not_end_it() {
        let hold = Hold::default();
        fail_times(&hold, 10, FAILURES);
        assert!(!hold.passed(9));
        assert_eq!(gate(&hold, 10), Gate::Held);
        assert!(hold.passed(10), "what was let through all the same");
        assert_eq!(gate(&hold, 10), Gate::Open);
    }

    #[test]
    fn a_circuit_has_three_stages() {
        let hold = Hold::default();
        assert_eq!(hold.stage(0), Stage::Closed);
        fail_times(&hold, 0, FAILURES);
        assert_eq!(hold.stage(FIRST_MS - 1), Stage::Open);
        assert_eq!(hold.stage(FIRST_MS), Stage::HalfOpen);
        assert!(hold.claim(FIRST_MS, 5_000).is_ok());
        assert_eq!(hold.stage(FIRST_MS + 1), Stage::HalfOpen);
        failed(&hold, FIRST_MS + 2);
        assert_eq!(hold.stage(FIRST_MS + 3), Stage::Open);
        assert!(hold.passed(u64::MAX) && !hold.passed(u64::MAX));
        assert_eq!(hold.stage(FIRST_MS + 4), Stage::Closed);
    }
}
