//! A limit that finds itself: from the time that answers take to begin.
//!
//! A server with room answers about as soon as it ever does; one that is full queues, and its answers begin later. After
//! each window the limit moves by the gradient of the two (as in Netflix's concurrency-limits, `Gradient2`): while answers
//! begin within `tolerance` times their usual time it grows by the square root of itself, and with later ones it shrinks in
//! proportion, by at most a half. A server that says that it is overloaded shrinks it by a tenth at once. It does not grow
//! while it is not used.
//!
//! What is usual is known of each kind of answer by itself: a whole answer begins when it ends, a long prompt takes longer
//! than a short one, and a change of the mixture is no overload.

use std::time::Duration;

use ahash::AHashMap;

use crate::clock::Instant;

/// The part of the way to a lower and to a higher usual time that is gone in one window: what a server can do is learnt
/// soon, and a time of overload is not taken for the usual.
const SOONER: f64 = 0.1;
const LATER: f64 = 1.0 / 600.0;
/// The part of the way to a new limit that is gone in one window.
const SMOOTHING: f64 = 0.3;
/// The least time and the fewest answers of a window.
const WINDOW: Duration = Duration::from_secs(1);
const ANSWERS: u32 = 10;
/// After this time a window ends with fewer answers, if there are any.
const LONGEST_WINDOW: Duration = Duration::from_secs(30);
/// What is left of the limit after a window in which the server said that it is overloaded.
const BACK_OFF: f64 = 0.9;
/// Most kinds of answers whose usual time is known; then the one that was seen least of late is forgotten.
const MOST_KINDS: usize = 128;
/// One answer counts for at most this many times its usual time.
const LATEST: f64 = 8.0;
/// Where a limit begins that knows nothing yet, within its bounds.
const START: u32 = 20;

/// The bounds of a limit that finds itself.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Adapt {
    /// It never goes below; at least 1.
    pub min: u32,
    /// It never goes above.
    pub max: u32,
    /// How many times their usual time answers may take to begin.
    pub tolerance: f64,
}

/// What has been learnt.
#[derive(Debug)]
pub struct Adaptive {
    rule: Adapt,
    limit: f64,
    /// By the kind of answer.
    usual: AHashMap<u64, Usual>,
    window: Window,
}

/// What is known of one kind of answers.
#[derive(Debug)]
struct Usual {
    /// Seconds that they usually take to begin; `None` before enough of them are known.
    seconds: Option<f64>,
    /// Seconds of those since that was learnt last, and how many they are.
    sum: f64,
    answers: u32,
    seen: Instant,
}

impl Usual {
    /// A window is over. A few answers tell nothing of what is usual: by the soonest of them it would fall and fall.
    fn end(&mut self) {
        if self.answers < ANSWERS {
            return;
        }
        let took = self.sum / f64::from(self.answers);
        let before = self.seconds.unwrap_or(took);
        self.seconds = Some(before + (took - before) * if took < before { SOONER } else { LATER });
        (self.sum, self.answers) = (0.0, 0);
    }
}

#[derive(Debug)]
struct Window {
    began: Instant,
    answers: u32,
    /// How many times its usual time each answer took, all together.
    times: f64,
    overloaded: bool,
    /// The most that was in use.
    used: usize,
}

impl Window {
    fn new(began: Instant) -> Self {
        Self { began, answers: 0, times: 0.0, overloaded: false, used: 0 }
    }
}

impl Adaptive {
    /// Knows nothing yet at `now`.
    pub fn new(rule: Adapt, now: Instant) -> Self {
        let limit = f64::from(START.max(rule.min).min(rule.max));
        Self { rule, limit, usual: AHashMap::new(), window: Window::new(now) }
    }

    /// Takes over other bounds; what was learnt stays.
    pub fn adopt(&mut self, rule: Adapt) {
        self.rule = rule;
        self.limit = self.bounded(self.limit);
    }

    /// What may run at once.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is between two u32")]
    pub fn limit(&self) -> usize {
        self.limit as usize
    }

    /// An answer of this kind began after `took`, while `used` were running; the new limit.
    pub fn answered(&mut self, (kind, took): (u64, Duration), used: usize, now: Instant) -> usize {
        if self.usual.len() >= MOST_KINDS && !self.usual.contains_key(&kind) {
            let oldest = self.usual.iter().min_by_key(|(_, usual)| usual.seen).map(|(kind, _)| *kind);
            oldest.and_then(|oldest| self.usual.remove(&oldest));
        }
        let took = took.as_secs_f64().max(1e-6);
        let usual = self.usual.entry(kind).or_insert(Usual { seconds: None, sum: 0.0, answers: 0, seen: now });
        usual.sum += took;
        usual.answers += 1;
        usual.seen = now;
        self.window.answers += 1;
        self.window.times += usual.seconds.map_or(1.0, |seconds| (took / seconds).min(LATEST));
        self.learn(used, now)
    }

    /// The server said that it is overloaded, or did not answer; the new limit.
    pub fn overloaded(&mut self, used: usize, now: Instant) -> usize {
        if !self.window.overloaded {
            self.window.overloaded = true;
            self.limit = self.bounded(self.limit * BACK_OFF);
        }
        self.learn(used, now)
    }

    fn learn(&mut self, used: usize, now: Instant) -> usize {
        self.window.used = self.window.used.max(used);
        let passed = now.saturating_duration_since(self.window.began);
        let enough = self.window.answers >= ANSWERS || passed >= LONGEST_WINDOW;
        if passed >= WINDOW && enough {
            let ended = std::mem::replace(&mut self.window, Window::new(now));
            self.end(&ended);
        }
        self.limit()
    }

    fn end(&mut self, window: &Window) {
        if window.answers == 0 {
            return;
        }
        self.usual.values_mut().for_each(Usual::end);
        if window.overloaded {
            return;
        }
        let times = (window.times / f64::from(window.answers)).max(1e-6);
        let gradient = (self.rule.tolerance / times).clamp(0.5, 1.0);
        let unused = count(window.used) * 2.0 < self.limit;
        if gradient >= 1.0 && unused {
            return;
        }
        let wanted = self.limit * gradient + self.limit.sqrt();
        self.limit = self.bounded(self.limit + (wanted - self.limit) * SMOOTHING);
    }

    fn bounded(&self, limit: f64) -> f64 {
        limit.min(f64::from(self.rule.max)).max(f64::from(self.rule.min.max(1)))
    }
}

#[allow(clippy::cast_precision_loss, reason = "far below 2 to the 52nd")]
fn count(used: usize) -> f64 {
    used as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    /// A server that begins to answer after 100 ms while at most `room` run, and later in proportion when more do.
    fn settled(adaptive: &mut Adaptive, room: usize, windows: u64, from: Instant) -> Vec<usize> {
        let mut seen = Vec::new();
        for window in 0..windows {
            let now = from + Duration::from_millis(1_100) * u32::try_from(window).unwrap();
            let used = adaptive.limit();
            let late = (count(used) / count(room)).max(1.0);
            for _ in 0..ANSWERS {
                adaptive.answered((0, Duration::from_millis(100).mul_f64(late)), used, now);
            }
            seen.push(adaptive.limit());
        }
        seen
    }

    const RULE: Adapt = Adapt { min: 4, max: 500, tolerance: 1.5 };

    #[test]
    fn it_finds_what_a_server_bears() {
        let start = clock::now();
        let mut adaptive = Adaptive::new(RULE, start);
        assert_eq!(adaptive.limit(), 20);
        let seen = settled(&mut adaptive, 100, 120, start + Duration::from_secs(2));
        assert!(seen.iter().take(5).is_sorted(), "it grows: {seen:?}");
        let end = &seen[60..];
        assert!(end.iter().all(|limit| (100..300).contains(limit)), "about what it bears: {end:?}");
    }

    #[test]
    fn another_mixture_of_answers_is_no_overload() {
        let start = clock::now();
        let mut adaptive = Adaptive::new(RULE, start);
        let mut now = start;
        let mut seen = Vec::new();
        // Soon answers alone, then mostly late ones, then soon ones of many other kinds.
        for late in [0, 9, 3] {
            for window in 0..30_u64 {
                now += Duration::from_millis(1_100);
                let used = adaptive.limit();
                for answer in 0..u64::from(ANSWERS) {
                    let kind = if answer < late {
                        (1, Duration::from_secs(2))
                    } else {
                        (2 + window * late, Duration::from_millis(50))
                    };
                    adaptive.answered(kind, used, now);
                }
                seen.push(adaptive.limit());
            }
        }
        assert!(seen.is_sorted(), "{seen:?}");
        assert!(adaptive.usual.len() <= MOST_KINDS);
    }

    #[test]
    fn answers_of_every_length_are_no_overload() {
        let start = clock::now();
        let mut adaptive = Adaptive::new(Adapt { min: 8, max: 200, tolerance: 2.0 }, start);
        let mut now = start;
        let mut seed = 1_u64;
        for window in 0..2_000_u64 {
            now += Duration::from_millis(1_100);
            let used = adaptive.limit();
            for answer in 0..u64::from(ANSWERS) {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                // Exponentially long, ten seconds in the mean.
                let part = (count(usize::try_from(seed >> 40).unwrap()) + 1.0) / 16_777_217.0;
                let took = Duration::from_secs_f64(-10.0 * part.ln());
                adaptive.answered(((window * 10 + answer) % 17, took), used, now);
            }
        }
        assert!(adaptive.limit() > 150, "{}", adaptive.limit());
    }

    #[test]
    fn it_shrinks_when_answers_begin_late_and_comes_back() {
        let start = clock::now();
        let mut adaptive = Adaptive::new(RULE, start);
        let grown = *settled(&mut adaptive, 100, 60, start).last().unwrap();
        let less = *settled(&mut adaptive, 10, 30, start + Duration::from_secs(100)).last().unwrap();
        assert!(less * 2 < grown, "{grown} then {less}");
        let again = *settled(&mut adaptive, 100, 90, start + Duration::from_secs(200)).last().unwrap();
        assert!(again > less * 2, "{less} then {again}");
    }

    #[test]
    fn it_keeps_its_bounds() {
        let start = clock::now();
        let rule = Adapt { min: 8, max: 30, tolerance: 1.5 };
        let mut adaptive = Adaptive::new(rule, start);
        let seen = settled(&mut adaptive, 1_000, 60, start);
        assert_eq!(seen.iter().max(), Some(&30));
        for second in 100..400 {
            adaptive.overloaded(30, start + Duration::from_secs(second));
            adaptive.answered((0, Duration::from_secs(9)), 30, start + Duration::from_secs(second) + WINDOW);
        }
        assert_eq!(adaptive.limit(), 8);
        adaptive.adopt(Adapt { min: 12, ..rule });
        assert_eq!(adaptive.limit(), 12, "other bounds hold at once");
    }

    #[test]
    fn a_word_of_overload_counts_once_a_window() {
        let start = clock::now();
        let mut adaptive = Adaptive::new(RULE, start);
        (0..50).for_each(|_| assert_eq!(adaptive.overloaded(20, start), 18));
        assert_eq!(adaptive.limit(), 18);
    }

    #[test]
    fn a_limit_that_nobody_needs_does_not_grow() {
        let start = clock::now();
        let mut adaptive = Adaptive::new(RULE, start);
        for second in 0..60 {
            for _ in 0..ANSWERS {
                adaptive.answered((0, Duration::from_millis(100)), 3, start + WINDOW * second);
            }
        }
        assert_eq!(adaptive.limit(), 20);
    }

    #[test]
    fn few_answers_end_a_window_in_the_end() {
        let start = clock::now();
        let mut adaptive = Adaptive::new(RULE, start);
        for second in 0..90 {
            adaptive.answered((0, Duration::from_millis(100)), 20, start + WINDOW * second * 5);
        }
        assert!(adaptive.limit() > 20);
    }
}
