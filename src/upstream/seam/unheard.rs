//! Connections that carry several requests at once and have fallen silent.
//!
//! A balancer that has changed its mind, a NAT that forgot its flows or a server that hangs leaves a connection open on
//! which nothing comes any more, and nobody says so. Over HTTP/1.1 it is closed with the request that met it. Over HTTP/2
//! it may be only that one request that is slow: the others on the connection go on, but new ones get another.

use std::sync::Arc;
use std::time::Duration;

use pingora_core::connectors::http::v2::ConnectionRef;
use pingora_core::protocols::http::client::HttpSession;
use pingora_core::{Error, ErrorType};

use super::connector::Roads;
use super::session::SeamSession;
use crate::clock::{self, Instant};

/// An answer that has not begun for so long tells of its connection, too; a connection too many costs little.
const LONG: Duration = Duration::from_secs(10);

/// A request over HTTP/2 to which nothing was heard yet.
pub(super) struct Unheard(Option<Silent>);

/// A connection on which an answer is waited for.
struct Silent {
    connection: ConnectionRef,
    since: Instant,
    /// The peer and how often its connections had been left.
    way: (u64, u64),
    roads: Arc<Roads>,
}

impl Unheard {
    /// Of a request that is about to be sent.
    pub(super) fn new(session: &HttpSession, way: (u64, u64), roads: &Arc<Roads>) -> Self {
        let HttpSession::H2(session) = session else { return Self(None) };
        let (connection, roads) = (session.conn.clone(), Arc::clone(roads));
        Self(Some(Silent { connection, since: clock::now(), way, roads }))
    }

    /// Its answer has begun.
    pub(super) fn heard(&mut self) {
        self.0 = None;
    }
}

impl Drop for Unheard {
    /// Whoever gave it up, its client, the provider or a deadline.
    fn drop(&mut self) {
        if let Some(silent) = &self.0
            && clock::now().saturating_duration_since(silent.since) >= LONG
        {
            leave(&silent.connection, silent.way, &silent.roads);
        }
    }
}

/// Gives the connection no further requests, nor those that were made before: what befell it befell them too.
fn leave(connection: &ConnectionRef, way: (u64, u64), roads: &Roads) {
    if !connection.is_shutting_down() {
        connection.mark_shutdown();
        roads.leave(way);
    }
}

impl SeamSession {
    /// Remembers what an error says of the connection.
    pub(super) fn note(&mut self, error: &Error) {
        self.failed = true;
        let HttpSession::H2(session) = &self.inner else { return };
        match error.etype() {
            ErrorType::H2Downgrade | ErrorType::InvalidH2 => self.downgraded = true,
            ErrorType::ReadTimedout | ErrorType::WriteTimedout => {
                leave(&session.conn, (self.key, self.times), self.roads());
            }
            _ => {}
        }
    }
}
