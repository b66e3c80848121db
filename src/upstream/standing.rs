//! What is learnt of targets: a model at a provider, over all its endpoints. It belongs to the process; a reload keeps it.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ahash::AHashMap;

use super::times::Times;
use crate::clock::{self, Instant};

/// Each time counts this much of the average at least.
const LEAST_WEIGHT: f64 = 0.2;
/// In so many seconds most of an average fades: what was seen rarely of late counts the more.
const FADES: f64 = 3.0;

/// What is known of one target.
#[derive(Debug, Default)]
pub struct Standing {
    in_flight: AtomicU32,
    learnt: Mutex<Learnt>,
    /// Times to the first token of streams, with how they differ.
    streams: Times,
}

/// How fast a target is.
#[derive(Debug, Default)]
struct Learnt {
    /// Of answers that are whole, and of streams.
    whole: Option<Average>,
    stream: Option<Average>,
    /// The last that it said was that it does not serve such requests.
    refuses: bool,
    /// Streams that have not begun, and the sum of the times at which they were asked for, since `began`.
    waiting: u32,
    asked: Duration,
    began: Option<Instant>,
}

/// A moving average of times, in seconds.
#[derive(Debug, Clone, Copy)]
struct Average {
    seconds: f64,
    at: Instant,
}

impl Average {
    fn note(last: &mut Option<Self>, took: Duration, now: Instant) {
        let took = took.as_secs_f64();
        let seconds = last.map_or(took, |last| {
            let age = now.saturating_duration_since(last.at).as_secs_f64();
            let weight = (1.0 - (-age / FADES).exp()).max(LEAST_WEIGHT);
            last.seconds + (took - last.seconds) * weight
        });
        *last = Some(Self { seconds, at: now });
    }
}

impl Learnt {
    /// How long the streams that have not begun have waited, on average.
    fn waited(&self, now: Instant) -> Duration {
        let Some(began) = self.began.filter(|_| self.waiting > 0) else { return Duration::ZERO };
        now.saturating_duration_since(began).saturating_sub(self.asked / self.waiting)
    }
}

impl Standing {
    /// Attempts that it is working on.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Its usual time to the first token of a stream, or of a whole answer; of the others where only those are known, and
    /// `None` before the first. Streams that wait for longer are believed at once.
    pub fn first_token(&self, stream: bool) -> Option<Duration> {
        self.first_token_at(stream, clock::now())
    }

    fn first_token_at(&self, stream: bool, now: Instant) -> Option<Duration> {
        let learnt = self.learnt();
        let average = if stream { learnt.stream.or(learnt.whole) } else { learnt.whole.or(learnt.stream) };
        let usual = average.map(|average| Duration::try_from_secs_f64(average.seconds).unwrap_or(Duration::MAX));
        usual.map(|usual| if stream { usual.max(learnt.waited(now)) } else { usual })
    }

    /// Whether the last that it said was that it does not serve such requests.
    pub fn refuses(&self) -> bool {
        self.learnt().refuses
    }

    /// The time to the first token that so many of a hundred streams did not exceed of late; `None` while too few are
    /// known.
    pub fn stream_percentile(&self, percentile: u32) -> Option<Duration> {
        self.streams.percentile(percentile)
    }

    /// Counts an attempt at a `stream` or a whole answer until the result is dropped.
    pub fn begin(self: &Arc<Self>, stream: bool) -> Busy {
        self.begin_at(stream, clock::now())
    }

    fn begin_at(self: &Arc<Self>, stream: bool, now: Instant) -> Busy {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        let mut learnt = self.learnt();
        let asked = now.saturating_duration_since(*learnt.began.get_or_insert(now));
        if stream {
            learnt.waiting += 1;
            learnt.asked += asked;
        }
        drop(learnt);
        Busy { standing: Arc::clone(self), stream, asked, waits: AtomicBool::new(stream) }
    }

    fn learnt(&self) -> MutexGuard<'_, Learnt> {
        self.learnt.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An attempt at a target, counted until dropped.
#[derive(Debug)]
#[must_use = "dropping it ends the attempt"]
pub struct Busy {
    standing: Arc<Standing>,
    stream: bool,
    /// When it began, since the standing's beginning.
    asked: Duration,
    /// It is a stream that has not begun.
    waits: AtomicBool,
}

impl Busy {
    /// What is known of the target.
    pub fn standing(&self) -> &Standing {
        &self.standing
    }

    /// Notes the time that the answer took to begin.
    pub fn answered(&self, took: Duration) {
        self.answered_at(took, clock::now());
    }

    fn answered_at(&self, took: Duration, now: Instant) {
        self.waits_no_more();
        let mut learnt = self.standing.learnt();
        learnt.refuses = false;
        Average::note(if self.stream { &mut learnt.stream } else { &mut learnt.whole }, took, now);
        drop(learnt);
        if self.stream {
            self.standing.streams.note(took);
        }
    }

    /// Notes that a stream was waited for in vain for so long.
    pub fn gave_up(&self, waited: Duration) {
        if self.stream {
            self.standing.streams.note(waited);
        }
    }

    /// Notes that the answer was a refusal with this status, about the account or the model (401 to 404), or about the
    /// request. The latter says nothing against who has served others; nor does a limit or a failure, which are the
    /// breaker's.
    pub fn refused(&self, status: u16) {
        let mut learnt = self.standing.learnt();
        let unknown = learnt.stream.is_none() && learnt.whole.is_none();
        learnt.refuses |= matches!(status, 401..=404) || (unknown && matches!(status, 400..=499) && status != 429);
    }

    fn waits_no_more(&self) {
        if self.waits.swap(false, Ordering::AcqRel) {
            let mut learnt = self.standing.learnt();
            learnt.waiting = learnt.waiting.saturating_sub(1);
            learnt.asked = learnt.asked.saturating_sub(self.asked);
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.waits_no_more();
        self.standing.in_flight.fetch_sub(1, Ordering::Relaxed);
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

    const SECOND: Duration = Duration::from_secs(1);

    fn millis(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[test]
    fn the_time_to_the_first_token_is_an_average_that_moves() {
        let (standing, now) = (Arc::new(Standing::default()), clock::now());
        let first_token = |stream| standing.first_token_at(stream, now).map(|time| time.as_millis());
        let answered = |took, now| standing.begin_at(true, now).answered_at(took, now);
        assert_eq!(first_token(true), None);
        answered(millis(100), now);
        assert_eq!((first_token(true), first_token(false)), (Some(100), Some(100)), "better than nothing");
        answered(millis(200), now);
        assert_eq!(first_token(true), Some(120));
        standing.begin_at(false, now).answered_at(SECOND, now);
        assert_eq!((first_token(true), first_token(false)), (Some(120), Some(1_000)));
        answered(millis(20), now + SECOND * 60);
        assert_eq!(first_token(true), Some(20), "a minute ago was another time");
        answered(Duration::MAX, now + SECOND * 60);
        assert!(standing.first_token_at(true, now).unwrap() > SECOND);
    }

    #[test]
    fn streams_that_wait_are_believed_before_they_begin() {
        let (standing, now) = (Arc::new(Standing::default()), clock::now());
        standing.begin_at(true, now).answered_at(millis(10), now);
        let waiting: Vec<Busy> = (0..4).map(|second| standing.begin_at(true, now + SECOND * second)).collect();
        let first_token = || standing.first_token_at(true, now + SECOND * 5);
        assert_eq!(first_token(), Some(millis(3_500)), "5, 4, 3 and 2 seconds");
        assert_eq!(standing.first_token_at(false, now + SECOND * 5), Some(millis(10)));
        waiting[0].answered_at(millis(10), now);
        assert_eq!(first_token(), Some(SECOND * 3));
        drop(waiting);
        assert_eq!(first_token(), Some(millis(10)));
    }

    #[test]
    fn who_does_not_serve_such_requests_says_so() {
        for (known, status, refuses) in [
            (false, 400, true),
            (false, 429, false),
            (false, 500, false),
            (true, 400, false),
            (true, 404, true),
            (true, 503, false),
        ] {
            let standing = Arc::new(Standing::default());
            if known {
                standing.begin(true).answered(SECOND);
            }
            standing.begin(true).refused(status);
            assert_eq!(standing.refuses(), refuses, "{known} {status}");
            standing.begin(true).answered(SECOND);
            assert!(!standing.refuses(), "it served one");
        }
    }

    #[test]
    fn attempts_count_until_they_are_dropped() {
        let standing = Arc::new(Standing::default());
        let (one, two) = (standing.begin(true), standing.begin(false));
        assert_eq!(standing.in_flight(), 2);
        drop(one);
        drop(two);
        assert_eq!(standing.in_flight(), 0);
    }
}
