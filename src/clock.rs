//! The one place that reads the clock.
//!
//! Everything that depends on time takes it from here or, better, as an argument, so that a test can choose it.

use std::pin::Pin;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub use std::time::Instant;

/// A wait that ends by so much later than it should says that the process stood still: paused, moved to another host, out
/// of processor time.
const STANDSTILL: Duration = Duration::from_secs(1);
/// How long others have after a standstill: what they said meanwhile is in the sockets, but not looked at yet.
const SECOND_LOOK: Duration = Duration::from_secs(1);

/// The monotonic clock: for deadlines and durations.
#[allow(clippy::disallowed_methods, reason = "this is the place that the ban points to")]
pub fn now() -> Instant {
    Instant::now()
}

/// Time since 1970-01-01 UTC: for what people and other machines read. Zero if the system clock stands before that.
#[allow(clippy::disallowed_methods, reason = "this is the place that the ban points to")]
pub fn unix_now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// The monotonic clock as timers see it, which a test can stop: for deadlines that are waited for.
pub fn timer() -> tokio::time::Instant {
    tokio::time::Instant::now()
}

/// Waits for `other` for at most `wait`; `None` once the time is over. Nobody is late who had spoken while this process
/// itself stood still: after a standstill there is one more look.
pub async fn within<F: Future>(wait: Duration, mut other: Pin<&mut F>) -> Option<F::Output> {
    let mut wait = wait;
    loop {
        let due = now().checked_add(wait);
        if let Ok(done) = tokio::time::timeout(wait, other.as_mut()).await {
            return Some(done);
        }
        if due.is_none_or(|due| now().saturating_duration_since(due) < STANDSTILL) {
            return None;
        }
        wait = SECOND_LOOK;
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::pin;
    use std::task::Poll;
    use std::thread;

    use super::*;

    /// What is ready when it is looked at for the third time: the first look of a wait, the one at its end, and another.
    async fn seen_by_the_third_look() {
        let mut looks = 0;
        poll_fn(|_| {
            looks += 1;
            if looks < 3 { Poll::Pending } else { Poll::Ready(()) }
        })
        .await;
    }

    #[test]
    fn nobody_is_late_because_this_process_stood_still() {
        const WAIT: Duration = Duration::from_millis(10);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        let within = |standstill| {
            runtime.block_on(async {
                let looks = pin!(seen_by_the_third_look());
                let (seen, ()) = tokio::join!(within(WAIT, looks), async {
                    let began = now();
                    while now().duration_since(began) < standstill {
                        thread::yield_now();
                    }
                });
                seen.is_some()
            })
        };
        // A machine that is busy may be late by itself.
        assert!((0..5).any(|_| !within(Duration::ZERO)), "the time is over");
        assert!(within(WAIT + STANDSTILL), "but not by a standstill");
    }
}
