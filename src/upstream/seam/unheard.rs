//! Connections that carry several requests at once and have fallen silent.
//!
//! A balancer that has changed its mind, a NAT that forgot its flows or a server that hangs leaves a connection open on
//! which nothing comes any more, and nobody says so. Over HTTP/1.1 it is closed with the request that met it. Over HTTP/2
//! it may be only that one request that is slow: the others on the connection go on, but new ones get another.

use std::time::Duration;

use pingora_core::connectors::http::v2::ConnectionRef;
use pingora_core::protocols::http::client::HttpSession;
use pingora_core::{Error, ErrorType};

use super::session::SeamSession;
use crate::clock::{self, Instant};

/// An answer that has not begun for so long tells of its connection, too; a connection too many costs little.
const LONG: Duration = Duration::from_secs(10);

/// A request over HTTP/2 to which nothing was heard yet.
pub(super) struct Unheard(Option<(ConnectionRef, Instant)>);

impl Unheard {
    /// Of a request that is about to be sent.
    pub(super) fn new(session: &HttpSession) -> Self {
        let HttpSession::H2(session) = session else { return Self(None) };
        Self(Some((session.conn.clone(), clock::now())))
    }

    /// Its answer has begun.
    pub(super) fn heard(&mut self) {
        self.0 = None;
    }
}

impl Drop for Unheard {
    /// Whoever gave it up: a client that did may only have been impatient, so the other connections are not left with it.
    fn drop(&mut self) {
        if let Some((connection, since)) = &self.0
            && clock::now().saturating_duration_since(*since) >= LONG
        {
            connection.mark_shutdown();
        }
    }
}

impl SeamSession {
    /// Remembers what an error says of the connection.
    pub(super) fn note(&mut self, error: &Error) {
        self.failed = true;
        let HttpSession::H2(session) = &self.inner else { return };
        match error.etype() {
            ErrorType::H2Downgrade | ErrorType::InvalidH2 => self.downgraded = true,
            // What befell this connection befell those that were made before, too.
            ErrorType::ReadTimedout | ErrorType::WriteTimedout if !session.conn.is_shutting_down() => {
                session.conn.mark_shutdown();
                self.roads().leave((self.key, self.times));
            }
            _ => {}
        }
    }
}
