//! Connections of the seam: Pingora's own connector behind Pingora's seam for other protocols.

use std::any::Any;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use ahash::AHashMap;

use async_trait::async_trait;
use pingora_core::connectors::ConnectorOptions;
use pingora_core::connectors::http::Connector as Plain;
use pingora_core::connectors::http::custom::{Connection, Connector};
use pingora_core::protocols::http::client::HttpSession;
use pingora_core::protocols::http::v1::client::HttpSession as Http1Session;
use pingora_core::upstreams::peer::{HttpPeer, Peer};
use pingora_core::{Error, ErrorType, Result};

use super::gather::gathering;
use super::idle::Idle;
use super::session::SeamSession;
use super::unheard::Ears;
use super::{plain, versions};
use crate::clock::{self, Instant};

/// For so long a peer that agreed to HTTP/2 and refused it is asked by HTTP/1.1.
const DOWNGRADED_FOR: Duration = Duration::from_secs(600);

/// Most peers whose connections were left that are remembered.
const MOST_LEFT: usize = 4_096;

/// Most such peers that are remembered.
const MOST_DOWNGRADED: usize = 1_024;

/// Connects sessions of the seam, over HTTP/1.1 and HTTP/2, and keeps their connections.
pub struct Seam(Arc<Roads>);

/// The connections of the seam.
pub(super) struct Roads {
    plain: Plain,
    /// Connections of HTTP/1.1; those of HTTP/2 carry several requests at once, and are Pingora's to keep.
    idle: Arc<Idle>,
    /// Peers, by their hash, that agreed on HTTP/2 and then asked for HTTP/1.1, and when. Pingora's own note of them does
    /// not keep it from taking another stream of the connection that stands.
    downgraded: RwLock<AHashMap<u64, Instant>>,
    /// How often the HTTP/2 connections of a peer, by its hash, were left: new requests take none of those before.
    left: RwLock<AHashMap<u64, u64>>,
    ears: Ears,
}

impl Seam {
    /// A connector with these options.
    #[must_use]
    pub fn new(options: ConnectorOptions) -> Self {
        let idle = Idle::new(options.keepalive_pool_size);
        let (downgraded, left) = (RwLock::default(), RwLock::default());
        Self(Arc::new(Roads { plain: Plain::new(Some(options)), idle, downgraded, left, ears: Ears::default() }))
    }
}

impl Roads {
    /// A session with `peer`, and whether its connection is a pooled one.
    ///
    /// # Errors
    ///
    /// No connection could be made.
    pub(super) async fn open(self: &Arc<Self>, peer: &HttpPeer) -> Result<(Box<SeamSession>, bool)> {
        let key = peer.reuse_hash();
        let (_, oldest) = versions(peer);
        if oldest == 1
            && let Some(stream) = self.idle.take(key)
        {
            let session = HttpSession::H1(Http1Session::new_with_options(stream, peer));
            return Ok((SeamSession::new(session, peer, (key, 0), self), true));
        }
        // Boxed, as is what ends a session: a connection is made for few of the requests that would each have its 9 KB.
        let times = self.times_left(key);
        let (session, reused) = Box::pin(self.connect(peer, (key, times))).await?;
        // Over TLS the provider chooses the version, and Pingora takes what it is given.
        let session = match session {
            HttpSession::H1(_) if oldest == 2 => {
                let words = "the provider does not agree to HTTP/2";
                return Err(Error::explain(ErrorType::HandshakeError, words).into_up());
            }
            HttpSession::H1(session) => HttpSession::H1(gathering(session, peer)),
            session => session,
        };
        Ok((SeamSession::new(session, peer, (key, times), self), reused))
    }

    async fn connect(&self, peer: &HttpPeer, way: (u64, u64)) -> Result<(HttpSession, bool)> {
        let made = self.plain.get_http_session(&self.peer(peer, way)).await;
        if made.is_err() {
            self.forget(way.0);
        }
        made
    }

    /// What is heard on the connections of HTTP/2.
    pub(super) fn ears(&self) -> &Ears {
        &self.ears
    }

    fn times_left(&self, key: u64) -> u64 {
        self.left.read().unwrap_or_else(PoisonError::into_inner).get(&key).copied().unwrap_or_default()
    }

    /// Takes no further connection of a peer that was made when its connections had been left `times` times, or before. What
    /// runs on them goes on; then they are closed when they have been idle for long enough.
    pub(super) fn leave(&self, (key, times): (u64, u64)) {
        let mut left = self.left.write().unwrap_or_else(PoisonError::into_inner);
        if left.len() >= MOST_LEFT && !left.contains_key(&key) {
            // Most of them are of addresses that nobody has any more; what was left of the others was closed long ago.
            left.clear();
        }
        let now = left.entry(key).or_default();
        *now = (*now).max(times + 1);
    }

    /// Ends a session with `peer`; its connection is kept if it can carry another.
    pub(super) async fn close(&self, session: Box<SeamSession>, peer: &HttpPeer, idle: Option<Duration>) {
        let (key, times) = (session.key, session.times);
        if session.is_downgraded() && versions(peer).1 == 1 {
            self.downgrade(key, peer);
        }
        if session.garbled {
            self.forget(key);
        }
        match session.into_reusable().await {
            Some(HttpSession::H1(mut session)) => {
                session.respect_keepalive();
                if let Some(stream) = session.reuse().await {
                    self.idle.keep(key, stream, idle);
                }
            }
            Some(session) => {
                let peer = self.peer(peer, (key, times));
                Box::pin(self.plain.release_http_session(session, &peer, idle)).await;
            }
            None => {}
        }
    }

    /// Ends a session with `peer` whose answer nobody wants: HTTP/1.1 closes the connection, HTTP/2 resets the stream.
    pub(super) async fn cancel(&self, mut session: Box<SeamSession>, peer: &HttpPeer) {
        session.fail();
        self.close(session, peer, peer.options.idle_timeout).await;
    }

    /// Asks the peer by HTTP/1.1 for a while.
    fn downgrade(&self, key: u64, peer: &HttpPeer) {
        let mut downgraded = self.downgraded.write().unwrap_or_else(PoisonError::into_inner);
        let now = clock::now();
        downgraded.retain(|_, since| now.saturating_duration_since(*since) < DOWNGRADED_FOR);
        if downgraded.len() < MOST_DOWNGRADED && downgraded.insert(key, now).is_none() {
            log::warn!("{peer}: it agrees to HTTP/2 and refuses it; it is asked by HTTP/1.1 for a while");
        }
    }

    /// The peer does no better by HTTP/1.1: it is asked again as it agrees to be.
    fn forget(&self, key: u64) {
        let is_known = self.downgraded.read().unwrap_or_else(PoisonError::into_inner).contains_key(&key);
        if is_known {
            self.downgraded.write().unwrap_or_else(PoisonError::into_inner).remove(&key);
        }
    }

    /// The peer with this hash as Pingora's connector takes it.
    fn peer(&self, marked: &HttpPeer, (key, times): (u64, u64)) -> HttpPeer {
        let mut peer = plain(marked);
        peer.group_key = peer.group_key.wrapping_add(times);
        if peer.options.alpn.get_max_http_version() == 2 {
            let downgraded = self.downgraded.read().unwrap_or_else(PoisonError::into_inner);
            let is_recent = |since: &Instant| clock::now().saturating_duration_since(*since) < DOWNGRADED_FOR;
            if downgraded.get(&key).is_some_and(is_recent) {
                peer.options.set_http_version(1, 1);
            }
        }
        peer
    }
}

impl std::fmt::Debug for Seam {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Seam").finish_non_exhaustive()
    }
}

#[async_trait]
impl Connector for Seam {
    type Session = Box<SeamSession>;

    async fn get_http_session<P: Peer + Send + Sync + 'static>(
        &self,
        peer: &P,
    ) -> Result<(Connection<Box<SeamSession>>, bool)> {
        let Some(peer) = http_peer(peer) else {
            return Err(Error::explain(ErrorType::InternalError, "the seam is for HTTP peers"));
        };
        let (session, reused) = self.0.open(peer).await?;
        Ok((Connection::Session(session), reused))
    }

    async fn reused_http_session<P: Peer + Send + Sync + 'static>(&self, _peer: &P) -> Option<Box<SeamSession>> {
        // `get_http_session` looks into the pool, and tells whether it found something there.
        None
    }

    async fn release_http_session<P: Peer + Send + Sync + 'static>(
        &self,
        mut session: Box<SeamSession>,
        peer: &P,
        idle: Option<Duration>,
    ) {
        // Pingora releases every session, also one that failed in the middle, and as one with the peer that it asked for.
        match session.moved.take() {
            Some(peer) => self.0.close(session, &peer, peer.options.idle_timeout).await,
            None => {
                let Some(peer) = http_peer(peer) else { return };
                self.0.close(session, peer, idle).await;
            }
        }
    }
}

fn http_peer<P: Peer + 'static>(peer: &P) -> Option<&HttpPeer> {
    (peer as &dyn Any).downcast_ref()
}
