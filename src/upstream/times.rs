//! How long something took of late: a histogram whose past fades.

use std::array;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Buckets: four to each doubling, from 1 ms to over an hour.
const BUCKETS: usize = 88;
const TO_A_DOUBLING: f64 = 4.0;
/// The end of the first bucket, in seconds.
const FIRST: f64 = 0.001;
/// So many times, and all counts are halved: what is older weighs less and less.
const MOST: u32 = 1_000;
/// Fewer times say nothing of a percentile.
const FEWEST: u32 = 20;

/// Times, without their order. Counting takes no lock; a count that is lost while all are halved changes nothing.
#[derive(Debug)]
pub(super) struct Times {
    counts: [AtomicU32; BUCKETS],
    total: AtomicU32,
}

impl Default for Times {
    fn default() -> Self {
        Self { counts: array::from_fn(|_| AtomicU32::new(0)), total: AtomicU32::new(0) }
    }
}

impl Times {
    /// Counts one.
    pub(super) fn note(&self, took: Duration) {
        if let Some(count) = self.counts.get(bucket(took)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        if self.total.fetch_add(1, Ordering::Relaxed) + 1 >= MOST {
            self.fade();
        }
    }

    /// The time that `percentile` of 100 do not exceed, to the end of its bucket: at most a fifth too long. `None` while
    /// too few are known.
    pub(super) fn percentile(&self, percentile: u32) -> Option<Duration> {
        let counts: [u32; BUCKETS] = array::from_fn(|at| self.counts.get(at).map_or(0, |c| c.load(Ordering::Relaxed)));
        let total: u64 = counts.iter().copied().map(u64::from).sum();
        if total < u64::from(FEWEST) {
            return None;
        }
        let wanted = (total * u64::from(percentile)).div_ceil(100).max(1);
        let mut seen = 0;
        let at = counts.iter().position(|count| {
            seen += u64::from(*count);
            seen >= wanted
        })?;
        Some(end_of(at))
    }

    fn fade(&self) {
        let mut left = 0;
        for count in &self.counts {
            let half = count.load(Ordering::Relaxed) / 2;
            count.store(half, Ordering::Relaxed);
            left += half;
        }
        self.total.store(left, Ordering::Relaxed);
    }
}

fn bucket(took: Duration) -> usize {
    let doublings = (took.as_secs_f64() / FIRST).log2();
    // Below zero and beyond the last a cast stops at the bound.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is meant to stop at the bounds")]
    let at = (doublings * TO_A_DOUBLING).ceil().max(0.0) as usize;
    at.min(BUCKETS - 1)
}

fn end_of(bucket: usize) -> Duration {
    #[expect(clippy::cast_precision_loss, reason = "there are 88 of them")]
    let doublings = bucket as f64 / TO_A_DOUBLING;
    Duration::from_secs_f64(FIRST * doublings.exp2())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(millis: impl Iterator<Item = u64>) -> Times {
        let times = Times::default();
        millis.for_each(|millis| times.note(Duration::from_millis(millis)));
        times
    }

    #[test]
    fn a_percentile_is_at_most_a_fifth_too_long() {
        let times = of((1..=200).map(|at| at * 10));
        for (percentile, exact) in [(50, 1_000), (90, 1_800), (99, 1_980), (100, 2_000)] {
            let found = times.percentile(percentile).unwrap().as_millis();
            assert!(found >= exact && found <= exact * 6 / 5, "{percentile}: {found}, not {exact}");
        }
    }

    #[test]
    fn few_times_say_nothing() {
        assert_eq!(of((0..19).map(|_| 5)).percentile(95), None);
        assert!(of((0..20).map(|_| 5)).percentile(95).is_some());
    }

    #[test]
    fn the_past_fades() {
        let times = of((0..5_000).map(|_| 2_000));
        (0..3_000).for_each(|_| times.note(Duration::from_millis(10)));
        assert!(times.percentile(90).unwrap() < Duration::from_millis(13));
    }

    #[test]
    fn the_ends_of_the_scale_hold() {
        let times = Times::default();
        for _ in 0..20 {
            times.note(Duration::ZERO);
        }
        assert_eq!(times.percentile(99), Some(Duration::from_millis(1)));
        for _ in 0..100 {
            times.note(Duration::MAX);
        }
        assert!(times.percentile(99).unwrap() > Duration::from_secs(3_000));
    }
}
