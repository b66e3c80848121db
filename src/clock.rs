//! The one place that reads the clock.
//!
//! Everything that depends on time takes it from here or, better, as an argument, so that a test can choose it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub use std::time::Instant;

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
