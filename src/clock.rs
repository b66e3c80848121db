//! The one place that reads the clock.
//!
//! Everything that depends on time takes it from here or, better, as an argument, so that a test can choose it.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::Pin;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub use std::time::Instant;

/// A wait that ends by so much later than it should says that the process stood still: paused, moved to another host, out
/// of processor time.
const STANDSTILL: Duration = Duration::from_secs(1);
/// How long others have after a standstill: what they said meanwhile is in the sockets, but not looked at yet.
const SECOND_LOOK: Duration = Duration::from_secs(1);

thread_local! {
    static TURN: Cell<Turn> = const { Cell::new(Turn::None) };
}

/// What this thread knows of the time.
#[derive(Clone, Copy)]
enum Turn {
    /// Outside of any turn: whoever asks reads the clock.
    None,
    /// Nobody has asked in this turn.
    Begun,
    /// When the first one asked.
    At(tokio::time::Instant),
}

/// Ends a turn, also where its task panics.
struct EndOfTurn;

impl Drop for EndOfTurn {
    fn drop(&mut self) {
        TURN.set(Turn::None);
    }
}

/// Runs a task that has one time for each of its turns: from when it is woken until it waits again, microseconds later,
/// [`now`] and [`timer`] stand still. A request asks thirty times, and each reading costs as much as a header look-up.
pub async fn turns<F: Future + Unpin>(mut task: F) -> F::Output {
    poll_fn(|context| {
        TURN.set(Turn::Begun);
        let _end = EndOfTurn;
        Pin::new(&mut task).poll(context)
    })
    .await
}

/// The monotonic clock: for deadlines and durations. In [`turns`] the time of this one.
pub fn now() -> Instant {
    match TURN.get() {
        Turn::None => exact(),
        Turn::Begun | Turn::At(_) => timer().into_std(),
    }
}

/// The monotonic clock at this very moment: for how long work takes that waits for nobody.
#[allow(clippy::disallowed_methods, reason = "this is the place that the ban points to")]
pub fn exact() -> Instant {
    Instant::now()
}

/// Time since 1970-01-01 UTC: for what people and other machines read. Zero if the system clock stands before that.
#[allow(clippy::disallowed_methods, reason = "this is the place that the ban points to")]
pub fn unix_now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// The monotonic clock as timers see it, which a test can stop: for deadlines that are waited for. In [`turns`] the time of
/// this one.
pub fn timer() -> tokio::time::Instant {
    match TURN.get() {
        Turn::None => tokio::time::Instant::now(),
        Turn::At(now) => now,
        Turn::Begun => {
            let now = tokio::time::Instant::now();
            TURN.set(Turn::At(now));
            now
        }
    }
}

/// Waits for `other` for at most `wait`; `None` once the time is over. Nobody is late who had spoken while this process
/// itself stood still: after a standstill there is one more look.
pub async fn within<F: Future>(wait: Duration, mut other: Pin<&mut F>) -> Option<F::Output> {
    let mut wait = wait;
    loop {
        let due = now().checked_add(wait);
        let done = match timer().checked_add(wait) {
            Some(due) => tokio::time::timeout_at(due, other.as_mut()).await,
            None => Ok(other.as_mut().await),
        };
        if let Ok(done) = done {
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

    /// The time before and after some work, in one turn or with a wait in between.
    async fn around_work(waits: bool) -> Duration {
        let began = now();
        while exact() <= began {
            thread::yield_now();
        }
        if waits {
            tokio::task::yield_now().await;
        }
        now().duration_since(began)
    }

    #[test]
    fn a_turn_has_one_time() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        let took = |waits| runtime.block_on(turns(Box::pin(around_work(waits))));
        assert_eq!(took(false), Duration::ZERO, "within a turn");
        assert!(took(true) > Duration::ZERO, "the next turn");
        assert!(runtime.block_on(around_work(false)) > Duration::ZERO, "outside of turns");
    }

    #[test]
    fn the_time_goes_on_behind_a_task_that_panicked() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        let panics = std::panic::AssertUnwindSafe(|| {
            runtime.block_on(turns(Box::pin(async {
                now();
                panic!("on purpose");
            })))
        });
        assert!(std::panic::catch_unwind(panics).is_err());
        assert!(matches!(TURN.get(), Turn::None));
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
