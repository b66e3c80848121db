//! What the simulator counts, and the last request of each format.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

use bytes::Bytes;
use http::HeaderMap;
use serde::Serialize;

/// Counters since the start or the last reset.
#[derive(Debug, Default)]
pub(super) struct Stats {
    /// Requests for answers: chat, messages, counts of tokens.
    pub(super) requests: AtomicU64,
    /// Answers begun as streams.
    pub(super) streams: AtomicU64,
    /// Answers written to their end.
    pub(super) completed: AtomicU64,
    /// Answers that the client left before their end.
    pub(super) aborted: AtomicU64,
    /// Answers that the simulator cut, stalled or ended with an error event, as its knobs say.
    pub(super) cut: AtomicU64,
    /// Error answers that the status mix chose.
    pub(super) faults: AtomicU64,
    /// Requests refused because they are wrong.
    pub(super) invalid: AtomicU64,
    /// Requests under way now.
    pub(super) in_flight: AtomicI64,
    /// Bytes of request bodies.
    pub(super) bytes_in: AtomicU64,
    last: Mutex<BTreeMap<&'static str, Seen>>,
}

/// A request as it came.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

#[derive(Serialize)]
struct Counts {
    requests: u64,
    streams: u64,
    completed: u64,
    aborted: u64,
    cut: u64,
    faults: u64,
    invalid: u64,
    in_flight: i64,
    bytes_in: u64,
}

#[derive(Serialize)]
struct Shown {
    headers: BTreeMap<String, String>,
    body: String,
}

impl Stats {
    /// Adds one to a counter.
    pub(super) fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Relaxed);
    }

    /// Counts a request as under way until the guard is dropped.
    pub(super) fn enter(&self) -> InFlight<'_> {
        self.in_flight.fetch_add(1, Relaxed);
        InFlight(self)
    }

    /// Keeps the request as its format's last one.
    pub(super) fn keep(&self, format: &'static str, seen: Seen) {
        self.bytes_in.fetch_add(seen.body.len() as u64, Relaxed);
        self.last().insert(format, seen);
    }

    /// The last body of a format.
    pub(super) fn last_body(&self, format: &str) -> Option<Bytes> {
        self.last().get(format).map(|seen| seen.body.clone())
    }

    /// The counters as JSON.
    pub(super) fn to_json(&self) -> Vec<u8> {
        let counts = Counts {
            requests: self.requests.load(Relaxed),
            streams: self.streams.load(Relaxed),
            completed: self.completed.load(Relaxed),
            aborted: self.aborted.load(Relaxed),
            cut: self.cut.load(Relaxed),
            faults: self.faults.load(Relaxed),
            invalid: self.invalid.load(Relaxed),
            in_flight: self.in_flight.load(Relaxed),
            bytes_in: self.bytes_in.load(Relaxed),
        };
        serde_json::to_vec(&counts).unwrap_or_default()
    }

    /// The last request of each format as JSON; what is not UTF-8 is shown with replacement characters.
    pub(super) fn last_json(&self) -> Vec<u8> {
        let show = |seen: &Seen| Shown {
            headers: seen
                .headers
                .iter()
                .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
                .collect(),
            body: String::from_utf8_lossy(&seen.body).into_owned(),
        };
        let last = self.last().clone();
        let all: BTreeMap<&str, Shown> = last.iter().map(|(format, seen)| (*format, show(seen))).collect();
        serde_json::to_vec(&all).unwrap_or_default()
    }

    /// Sets everything but the requests under way to its beginning.
    pub(super) fn reset(&self) {
        let all = [
            &self.requests,
            &self.streams,
            &self.completed,
            &self.aborted,
            &self.cut,
            &self.faults,
            &self.invalid,
            &self.bytes_in,
        ];
        for counter in all {
            counter.store(0, Relaxed);
        }
        self.last().clear();
    }

    fn last(&self) -> std::sync::MutexGuard<'_, BTreeMap<&'static str, Seen>> {
        // A map of whole values is sound even if its last user panicked.
        self.last.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Counts a request as under way while it lives.
pub(super) struct InFlight<'a>(&'a Stats);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Relaxed);
    }
}
