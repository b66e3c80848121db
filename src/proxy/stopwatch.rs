//! How long the edge itself has worked for a request.

use std::future::Future;
use std::time::Duration;

use crate::clock::{self, Instant};

/// Counts the time that is the edge's own: not the client's, who takes its time to send, nor a provider's, nor that in a
/// line or between two attempts.
#[derive(Debug)]
pub struct Stopwatch {
    counted: Duration,
    /// Since when it counts on; `None` while it stands.
    since: Option<Instant>,
    /// When it stood last.
    stood: Instant,
}

impl Stopwatch {
    /// One that counts from `now` on.
    pub(super) fn started(now: Instant) -> Self {
        Self { counted: Duration::ZERO, since: Some(now), stood: now }
    }

    /// Counts on, from when this turn of the task began: what has led here since then is the edge's work, too.
    pub(super) fn go_on(&mut self) {
        self.since.get_or_insert_with(|| clock::now().max(self.stood));
    }

    /// Stands, until it is told to go on; returns what it has counted.
    pub(super) fn stop(&mut self) -> Duration {
        if let Some(since) = self.since.take() {
            self.stood = clock::exact();
            self.counted += self.stood.saturating_duration_since(since);
        }
        self.counted
    }

    /// Awaits what is not the edge's own time.
    pub(super) async fn without<T>(&mut self, others: impl Future<Output = T>) -> T {
        self.stop();
        let done = others.await;
        self.go_on();
        done
    }
}
