//! What follows an attempt that failed, as rules: which failures move a request on, and how long it waits.
//!
//! One rule stands behind the defaults: **what the provider ended is tried elsewhere, what we ended is not.** A provider
//! that refuses, breaks the connection, answers with a failure or ends a stream before its first word has given the
//! request up. One that is only silent may be at work on it and be paid for it, so an attempt that a deadline of ours
//! ended is repeated only where the operator says so (`timeout`).

use std::time::Duration;

/// Why an attempt failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// No connection could be made.
    Connect,
    /// The connection broke before an answer.
    Reset,
    /// A deadline of ours passed.
    Timeout,
    /// What came is no answer: no body, no HTTP, not to be translated, or a stream that ended before its first word.
    BadAnswer,
    /// The provider answered with this status.
    Status(u16),
    /// The provider says that the prompt is longer than the model takes.
    ContextLength,
}

/// A class of failures, as it is written in the config.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum On {
    /// [`Failure::Connect`]
    Connect,
    /// [`Failure::Reset`]
    Reset,
    /// [`Failure::Timeout`]
    Timeout,
    /// [`Failure::BadAnswer`]
    BadAnswer,
    /// Status 429.
    RateLimit,
    /// Status 408 and all from 500 on.
    ServerError,
    /// [`Failure::ContextLength`]
    ContextLength,
    /// This status.
    Status(u16),
}

impl On {
    /// Every class that has a word.
    pub const NAMED: [(&'static str, Self); 7] = [
        ("connect", Self::Connect),
        ("reset", Self::Reset),
        ("timeout", Self::Timeout),
        ("bad_answer", Self::BadAnswer),
        ("rate_limit", Self::RateLimit),
        ("server_error", Self::ServerError),
        ("context_length", Self::ContextLength),
    ];

    /// The classes that move a request on unless the config says otherwise.
    pub const DEFAULT: [Self; 5] = [Self::Connect, Self::Reset, Self::BadAnswer, Self::RateLimit, Self::ServerError];

    /// The word or number in the config.
    #[must_use]
    pub fn name(self) -> String {
        if let Self::Status(status) = self {
            return status.to_string();
        }
        let word = Self::NAMED.into_iter().find(|(_, class)| *class == self).map(|(word, _)| word);
        word.unwrap_or_default().to_owned()
    }

    fn holds(self, failure: Failure) -> bool {
        match (self, failure) {
            (Self::Connect, Failure::Connect)
            | (Self::Reset, Failure::Reset)
            | (Self::Timeout, Failure::Timeout)
            | (Self::BadAnswer, Failure::BadAnswer)
            | (Self::ContextLength, Failure::ContextLength)
            | (Self::RateLimit, Failure::Status(429))
            | (Self::ServerError, Failure::Status(408 | 500..)) => true,
            (Self::Status(one), Failure::Status(other)) => one == other,
            _ => false,
        }
    }
}

/// When a request is tried again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retries {
    /// The failures that move a request on.
    pub on: Vec<On>,
    /// Times that the targets are gone through again once each has failed.
    pub rounds: u32,
    /// The longest wait before the first further round; doubles with each.
    pub backoff: Duration,
    /// The longest wait before any.
    pub backoff_max: Duration,
    /// The longest `retry-after` that is waited for; a longer one is told to the client at once.
    pub retry_after_max: Duration,
    /// Further attempts that requests may cause, in percent of their number.
    pub budget: u32,
    /// Further attempts a second that are allowed beside that.
    pub budget_floor: u32,
}

/// When a stream that is slow to begin is asked for a second time, elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hedge {
    /// The share of streams, in percent, that begin sooner at the first target than a second one is asked.
    pub percentile: u32,
    /// It is never asked sooner than this.
    pub least: Duration,
    /// Second attempts that streams may cause, in percent of their number.
    pub budget: u32,
}

impl Hedge {
    /// How long a stream may take to say something before another is asked as well, where the measured percentile is
    /// `usual`; `None` while that is not known.
    #[must_use]
    pub fn after(&self, usual: Option<Duration>) -> Option<Duration> {
        usual.map(|usual| usual.max(self.least))
    }
}

impl Default for Retries {
    fn default() -> Self {
        Self {
            on: On::DEFAULT.to_vec(),
            rounds: 1,
            backoff: Duration::from_millis(100),
            backoff_max: Duration::from_secs(2),
            retry_after_max: Duration::from_secs(5),
            budget: 20,
            budget_floor: 10,
        }
    }
}

impl Retries {
    /// Whether `failure` moves a request on.
    #[must_use]
    pub fn wants(&self, failure: Failure) -> bool {
        self.on.iter().any(|class| class.holds(failure))
    }

    /// How long to wait before further round `round`, from 0; `None` when the provider asks for more patience than is
    /// had. `chance` is a random number: the wait is anything up to its bound, so that requests that failed together
    /// do not come back together.
    #[must_use]
    pub fn wait(&self, round: u32, retry_after: Option<Duration>, chance: u64) -> Option<Duration> {
        let bound = self.backoff.saturating_mul(1_u32.checked_shl(round).unwrap_or(u32::MAX)).min(self.backoff_max);
        let spread = share(bound, chance);
        match retry_after {
            Some(asked) if asked > self.retry_after_max => None,
            Some(asked) => Some(asked.saturating_add(share(bound.min(self.backoff), chance))),
            None => Some(spread),
        }
    }
}

/// Any part of `bound`, by `chance`.
fn share(bound: Duration, chance: u64) -> Duration {
    let micros = u64::try_from(bound.as_micros()).unwrap_or(u64::MAX - 1);
    Duration::from_micros(chance % (micros + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_move_on_by_their_class() {
        let check = |on: &[On], failure: Failure, wanted: bool| {
            let retries = Retries { on: on.to_vec(), ..Retries::default() };
            assert_eq!(retries.wants(failure), wanted, "{on:?} {failure:?}");
        };
        for failure in [Failure::Connect, Failure::Reset, Failure::BadAnswer, Failure::Status(429)] {
            check(&On::DEFAULT, failure, true);
        }
        for status in [408, 500, 503, 529, 599] {
            check(&On::DEFAULT, Failure::Status(status), true);
        }
        for failure in [Failure::Timeout, Failure::ContextLength, Failure::Status(400), Failure::Status(401)] {
            check(&On::DEFAULT, failure, false);
        }
        check(&[On::Timeout], Failure::Timeout, true);
        check(&[On::ContextLength], Failure::ContextLength, true);
        check(&[On::Status(409)], Failure::Status(409), true);
        check(&[On::Status(409)], Failure::Status(410), false);
        check(&[], Failure::Connect, false);
    }

    #[test]
    fn waits_are_bounded_and_double() {
        let retries = Retries::default();
        let most = |round: u32| {
            (0..=500_000).filter_map(|chance| retries.wait(round, None, chance)).max().unwrap_or_default().as_millis()
        };
        assert_eq!((most(0), most(1), most(2)), (100, 200, 400));
        let far = retries.wait(40, None, u64::MAX).unwrap();
        assert!(far <= retries.backoff_max, "{far:?}");
        assert_eq!(retries.wait(0, None, 0), Some(Duration::ZERO), "full jitter: anything from nothing");
    }

    #[test]
    fn retry_after_is_waited_for_in_full_or_not_at_all() {
        let retries = Retries::default();
        let max = retries.retry_after_max;
        for chance in [0, 7, u64::MAX] {
            let waited = retries.wait(0, Some(max), chance).unwrap();
            assert!(waited >= max && waited <= max + retries.backoff, "{waited:?}");
        }
        assert_eq!(retries.wait(0, Some(max + Duration::from_millis(1)), 0), None);
    }
}
