//! What is learnt of targets: a model at a provider, over all its endpoints. It belongs to the process; a reload keeps it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use ahash::AHashMap;

use super::times::Times;

/// What is known of one target.
#[derive(Debug, Default)]
pub struct Standing {
    in_flight: AtomicU32,
    /// Microseconds, a moving average; 0 before the first.
    first_token: AtomicU64,
    /// The same of streams alone, with how they differ.
    streams: Times,
}

impl Standing {
    /// Attempts that it is working on.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Its usual time to the first token; `None` before the first answer.
    pub fn first_token(&self) -> Option<Duration> {
        match self.first_token.load(Ordering::Relaxed) {
            0 => None,
            micros => Some(Duration::from_micros(micros)),
        }
    }

    /// Notes the time that an answer took to begin; each counts a fifth.
    pub fn answered(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX / 5).clamp(1, u64::MAX / 5);
        let learn = |old: u64| Some(if old == 0 { micros } else { (old * 4 + micros) / 5 }.max(1));
        let _ = self.first_token.fetch_update(Ordering::Relaxed, Ordering::Relaxed, learn);
    }

    /// The time to the first token that so many of a hundred streams did not exceed of late; `None` while too few are
    /// known.
    pub fn stream_percentile(&self, percentile: u32) -> Option<Duration> {
        self.streams.percentile(percentile)
    }

    /// Notes the time that a stream took to begin, or for which one was waited in vain.
    pub fn stream_began(&self, took: Duration) {
        self.streams.note(took);
    }

    /// Counts an attempt until the result is dropped.
    pub fn begin(self: &Arc<Self>) -> Busy {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        Busy(Arc::clone(self))
    }
}

/// An attempt at a target, counted until dropped.
#[derive(Debug)]
#[must_use = "dropping it ends the attempt"]
pub struct Busy(Arc<Standing>);

impl Busy {
    /// What is known of the target.
    pub fn standing(&self) -> &Standing {
        &self.0
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The targets of one model in one config generation, in their written order.
#[derive(Debug, Default)]
pub struct Lineup {
    turn: AtomicU64,
    targets: Box<[Arc<Standing>]>,
}

impl Lineup {
    pub(super) fn new(targets: Box<[Arc<Standing>]>) -> Self {
        Self { turn: AtomicU64::new(0), targets }
    }

    /// Counts the requests of the model, from 0.
    pub fn turn(&self) -> u64 {
        self.turn.fetch_add(1, Ordering::Relaxed)
    }

    /// The turn that the next request gets.
    pub fn next_turn(&self) -> u64 {
        self.turn.load(Ordering::Relaxed)
    }

    /// What is known of target `at`.
    pub fn target(&self, at: usize) -> Option<&Arc<Standing>> {
        self.targets.get(at)
    }
}

/// The lineups of one config generation, by the model's name in it.
pub type Lineups = AHashMap<Arc<str>, Lineup>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_to_the_first_token_is_an_average_that_moves() {
        let standing = Standing::default();
        assert_eq!(standing.first_token(), None);
        standing.answered(Duration::from_millis(100));
        assert_eq!(standing.first_token(), Some(Duration::from_millis(100)));
        standing.answered(Duration::from_millis(200));
        assert_eq!(standing.first_token(), Some(Duration::from_millis(120)));
        (0..50).for_each(|_| standing.answered(Duration::ZERO));
        assert!(standing.first_token().unwrap() < Duration::from_millis(1));
        standing.answered(Duration::MAX);
        assert!(standing.first_token().unwrap() > Duration::from_secs(1));
    }

    #[test]
    fn attempts_count_until_they_are_dropped() {
        let standing = Arc::new(Standing::default());
        let (one, two) = (standing.begin(), standing.begin());
        assert_eq!(standing.in_flight(), 2);
        drop(one);
        drop(two);
        assert_eq!(standing.in_flight(), 0);
    }
}
