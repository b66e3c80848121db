//! Connections of the seam: Pingora's own connector behind Pingora's seam for other protocols.

use std::any::Any;
use std::time::Duration;

use async_trait::async_trait;
use pingora_core::connectors::ConnectorOptions;
use pingora_core::connectors::http::Connector as Plain;
use pingora_core::connectors::http::custom::{Connection, Connector};
use pingora_core::upstreams::peer::{HttpPeer, Peer};
use pingora_core::{Error, ErrorType, Result};

use super::plain;
use super::session::SeamSession;

/// Connects sessions of the seam, over HTTP/1.1 and HTTP/2, and keeps their connections.
pub struct Seam {
    plain: Plain,
}

impl Seam {
    /// A connector with these options.
    #[must_use]
    pub fn new(options: ConnectorOptions) -> Self {
        Self { plain: Plain::new(Some(options)) }
    }
}

impl std::fmt::Debug for Seam {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Seam").finish_non_exhaustive()
    }
}

#[async_trait]
impl Connector for Seam {
    type Session = SeamSession;

    async fn get_http_session<P: Peer + Send + Sync + 'static>(
        &self,
        peer: &P,
    ) -> Result<(Connection<SeamSession>, bool)> {
        let Some(peer) = http_peer(peer) else {
            return Err(Error::explain(ErrorType::InternalError, "the seam is for HTTP peers"));
        };
        let (session, reused) = self.plain.get_http_session(&plain(peer)).await?;
        Ok((Connection::Session(SeamSession::new(session, peer)), reused))
    }

    async fn reused_http_session<P: Peer + Send + Sync + 'static>(&self, _peer: &P) -> Option<SeamSession> {
        // `get_http_session` looks into the pool, and tells whether it found something there.
        None
    }

    async fn release_http_session<P: Peer + Send + Sync + 'static>(
        &self,
        session: SeamSession,
        peer: &P,
        idle: Option<Duration>,
    ) {
        // Pingora releases every session, also one that failed in the middle.
        if let (Some(session), Some(peer)) = (session.into_reusable().await, http_peer(peer)) {
            self.plain.release_http_session(session, &plain(peer), idle).await;
        }
    }
}

fn http_peer<P: Peer + 'static>(peer: &P) -> Option<&HttpPeer> {
    (peer as &dyn Any).downcast_ref()
}
