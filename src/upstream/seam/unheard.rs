//! Connections that carry several requests at once and have fallen silent.
//!
//! A balancer that has changed its mind, a NAT that forgot its flows or a server that hangs leaves a connection open on
//! which nothing comes any more, and nobody says so. Over HTTP/1.1 it is closed with the request that met it. Over HTTP/2
//! it may be only that one request that is slow: the others on the connection go on, but new ones get another.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use ahash::AHashMap;
use pingora_core::protocols::UniqueIDType;
use pingora_core::protocols::http::client::HttpSession;
use pingora_core::{Error, ErrorType};

use super::session::SeamSession;
use crate::clock::{self, Instant};
use crate::upstream::framing;

/// A connection on which nothing came for so long while an answer was waited for takes no new request; a connection too many
/// costs little.
const LONG: Duration = Duration::from_secs(10);

/// What came on a connection, counted by all of its requests.
#[derive(Default)]
struct Heard(AtomicU64);

/// The connections that carry requests now, by their ids.
#[derive(Default)]
pub(super) struct Ears(Mutex<AHashMap<UniqueIDType, Weak<Heard>>>);

impl Ears {
    fn on(&self, connection: UniqueIDType) -> Arc<Heard> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(heard) = all.get(&connection).and_then(Weak::upgrade) {
            return heard;
        }
        all.retain(|_, heard| heard.strong_count() > 0);
        let heard = Arc::default();
        all.insert(connection, Arc::downgrade(&heard));
        heard
    }
}

/// What a request has seen of its connection.
#[derive(Clone, Copy)]
struct Seen {
    heard: u64,
    since: Instant,
}

impl Seen {
    /// True if nothing came for long, now that so much has.
    fn is_silent(&mut self, heard: u64, now: Instant) -> bool {
        if heard != self.heard {
            *self = Self { heard, since: now };
        }
        now.saturating_duration_since(self.since) >= LONG
    }
}

/// A request over HTTP/2 beside the others on its connection.
pub(super) struct Unheard(Option<(Arc<Heard>, Seen)>);

impl Unheard {
    /// Of a request that is about to be sent.
    pub(super) fn new(session: &HttpSession, ears: &Ears) -> Self {
        let HttpSession::H2(session) = session else { return Self(None) };
        let heard = ears.on(session.conn.id());
        let seen = Seen { heard: heard.0.load(Ordering::Relaxed), since: clock::now() };
        Self(Some((heard, seen)))
    }

    /// Something came of its answer.
    pub(super) fn heard(&self) {
        if let Some((heard, _)) = &self.0 {
            heard.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn is_silent(&mut self) -> bool {
        let Some((heard, seen)) = &mut self.0 else { return false };
        seen.is_silent(heard.0.load(Ordering::Relaxed), clock::now())
    }
}

impl SeamSession {
    /// Looks, while an answer's head is waited for, whether anything comes on its connection.
    pub(super) fn listen(&mut self) {
        if self.unheard.is_silent()
            && let HttpSession::H2(session) = &self.inner
        {
            session.conn.mark_shutdown();
        }
    }

    /// Remembers what an error says of the connection.
    pub(super) fn note(&mut self, error: &Error) {
        self.failed = true;
        let HttpSession::H2(session) = &self.inner else {
            self.garbled = framing::is_garbage(error);
            return;
        };
        match error.etype() {
            ErrorType::H2Downgrade | ErrorType::InvalidH2 => self.downgraded = true,
            // What befell this connection befell those that were made before, too.
            ErrorType::ReadTimedout | ErrorType::WriteTimedout => {
                session.conn.mark_shutdown();
                self.roads().leave((self.key, self.times));
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_for_one_request_is_heard_by_all_on_its_connection() {
        let ears = Ears::default();
        let (one, other, elsewhere) = (ears.on(7), ears.on(7), ears.on(8));
        let began = clock::now();
        let mut seen = Seen { heard: 0, since: began };
        let mut look = |after: u64| seen.is_silent(other.0.load(Ordering::Relaxed), began + Duration::from_secs(after));
        assert!(!look(5));
        elsewhere.0.fetch_add(1, Ordering::Relaxed);
        assert!(!look(9) && look(10));
        one.0.fetch_add(1, Ordering::Relaxed);
        assert!(!look(11) && !look(20) && look(21));
        drop((one, other));
        assert_eq!(ears.on(7).0.load(Ordering::Relaxed), 0, "a descriptor that is used again");
    }
}
