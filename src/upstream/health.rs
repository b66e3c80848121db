//! Active health: what the checks of an endpoint found.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::provider::HealthSpec;

/// Health by checks; healthy until they say otherwise, so that a start or a new endpoint waits for nothing.
///
/// Times are milliseconds since the fleet began.
pub(super) struct Health {
    healthy: AtomicBool,
    last_failed: AtomicU64,
    record: Mutex<Record>,
}

/// The last check.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Record {
    /// Checks in a row that contradict the present health.
    streak: usize,
    /// When; `None` before the first.
    pub(super) at: Option<u64>,
    /// Why it failed; `None` if it passed.
    pub(super) error: Option<String>,
}

impl Default for Health {
    fn default() -> Self {
        Self { healthy: AtomicBool::new(true), last_failed: AtomicU64::new(0), record: Mutex::default() }
    }
}

impl Health {
    pub(super) fn healthy(&self) -> bool {
        self.healthy.load(Ordering::Acquire)
    }

    /// When a check failed last; 0 for never.
    pub(super) fn last_failed(&self) -> u64 {
        self.last_failed.load(Ordering::Acquire)
    }

    /// Takes the result of a check; the new health if that changed it.
    pub(super) fn observe(&self, result: Result<(), String>, spec: &HealthSpec, now: u64) -> Option<bool> {
        let mut record = self.lock();
        let passed = result.is_ok();
        record.at = Some(now);
        record.error = result.err();
        if !passed {
            self.last_failed.store(now, Ordering::Release);
        }
        if passed == self.healthy() {
            record.streak = 0;
            return None;
        }
        record.streak += 1;
        let needed = if passed { spec.healthy_after } else { spec.unhealthy_after };
        if record.streak < needed {
            return None;
        }
        record.streak = 0;
        self.healthy.store(passed, Ordering::Release);
        Some(passed)
    }

    /// Forgets the checks: nobody makes them any more.
    pub(super) fn forget(&self) {
        let mut record = self.lock();
        *record = Record::default();
        self.healthy.store(true, Ordering::Release);
    }

    pub(super) fn record(&self) -> Record {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// `checks`: `+` passed, `-` failed. Returns the health after each.
    fn check(unhealthy_after: usize, healthy_after: usize, checks: &str) -> String {
        let spec = HealthSpec {
            path: None,
            interval: Duration::from_secs(1),
            timeout: Duration::from_secs(1),
            unhealthy_after,
            healthy_after,
        };
        let health = Health::default();
        let mut seen = String::new();
        for (at, mark) in (0u64..).zip(checks.chars()) {
            let result = if mark == '+' { Ok(()) } else { Err("refused".to_owned()) };
            let before = health.healthy();
            let flipped = health.observe(result, &spec, at);
            assert_eq!(flipped, (before != health.healthy()).then_some(health.healthy()));
            seen.push(if health.healthy() { '+' } else { '-' });
        }
        seen
    }

    #[test]
    fn thresholds_count_checks_in_a_row() {
        assert_eq!(check(1, 1, "+-+-"), "+-+-");
        assert_eq!(check(2, 1, "-+--+"), "+++-+");
        assert_eq!(check(3, 2, "---+-++-"), "++----++");
        assert_eq!(check(0, 0, "-+"), "-+", "a threshold of zero is one");
    }

    #[test]
    fn forgetting_restores_the_start() {
        let spec = HealthSpec {
            path: None,
            interval: Duration::from_secs(1),
            timeout: Duration::from_secs(1),
            unhealthy_after: 1,
            healthy_after: 1,
        };
        let health = Health::default();
        assert_eq!(health.observe(Err("refused".to_owned()), &spec, 7), Some(false));
        assert_eq!((health.record().at, health.record().error.as_deref()), (Some(7), Some("refused")));
        health.forget();
        assert!(health.healthy());
        assert_eq!(health.record(), Record::default());
    }
}
