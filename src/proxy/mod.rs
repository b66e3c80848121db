//! The proxy: Pingora's hooks, each handed to the stage that it belongs to.
//!
//! ```text
//! request_filter ───────────▶ admit    path, key, body, model; `services` for what is no answer of a model
//! upstream_peer ────────────▶ send     target, endpoint, that attempt's body
//! fail_to_connect ──────────▶ fail     another address, another endpoint, or the end
//! connected_to_upstream ────▶ fail     whether the connection was used before
//! upstream_request_filter ──▶ send     path, host, credentials
//! request_body_filter ──────▶ upload   a client's body that passes as it comes; of others, the attempt's own
//! upstream_response_filter ─▶ receive  pass, translate, or try the next target
//! response_body_filter ─────▶ pieces   one by one; `silence` where the client must hear something
//! response_trailer_filter ──▶ pieces   the end of a body, where trailers bring it
//! error_while_proxy ────────▶ fail     whose fault it is, and whether something follows
//! fail_to_proxy ────────────▶ fail     the client is told, by `refuse` in its own format, or its answer is cut
//! logging ──────────────────▶ settle   metrics and one line of log
//! ```
//!
//! One step is a module of Pingora's, behind its filters: `length` tells the length of a translated answer, and what was lost,
//! in a head that has not left yet.
//!
//! The state of one request is an [`Exchange`]. The other files help the stages:
//!
//! | file | what it is for |
//! |---|---|
//! | `exchange` | one request with its answer, phase by phase |
//! | `connection` | how a client's connection is treated |
//! | `names` | header names, made once |
//! | `ids` | request ids |
//! | `method` | the methods that something here may be asked by |
//! | `unread` | answers to what was refused before it was a request |
//! | `models` | the list of models, in the shape that the client expects |
//! | `body` | a body that is read whole, within bounds |
//! | `form` | a form with files: looked at up to its model, then streamed through |
//! | `comeback` | uploads that take several requests |
//! | `overload` | what is refused because too much runs, and what waits for its turn |
//! | `plan` | which target and endpoint comes next |
//! | `head` | the heads of requests to providers |
//! | `hedge` | a second attempt beside a stream that is slow to begin |
//! | `retry` | what follows a failed attempt |
//! | `begun` | what is learnt when an answer begins |
//! | `passing` | which of a provider's headers a client sees |
//! | `late` | the head of an answer that comes behind one of ours |
//! | `open` | whether JSON that passes piece by piece is whole |
//! | `tail` | the end of an answer that is passed through: its usage, and whether it was all |
//! | `stopwatch` | how long the edge itself has worked for a request |

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::HeaderMap;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::modules::http::HttpModules;
use pingora::protocols::Digest;
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorSource, ErrorType, RetryType};
use pingora_proxy::{FailToProxy, ProxyHttp, Session};

mod admit;
mod begun;
pub mod body;
mod comeback;
mod connection;
mod exchange;
mod fail;
mod form;
mod head;
mod hedge;
mod ids;
mod late;
mod length;
mod method;
mod models;
mod names;
mod open;
mod overload;
mod passing;
mod pieces;
mod plan;
mod receive;
mod refuse;
mod retry;
mod send;
mod services;
mod settle;
mod silence;
mod stopwatch;
mod tail;
mod unread;
mod upload;

use admit::Admission;
pub use body::Budget;
pub use exchange::Exchange;
use exchange::Phase;
pub use method::{Unserved, is_served, unserved};
pub use unread::{Unread, Unreads};

use crate::clock;
use crate::config::Live;
use crate::limits::{AddressRate, Memory};
use crate::observe::Observer;
use crate::upstream::{ConnectionId, framing};

/// Bytes that a connection takes at once, as far as can be told.
const SMALL: usize = 256 * 1024;

/// The edge: what all requests share.
pub struct Edge {
    /// The config that is live.
    pub live: Arc<Live>,
    /// Metrics and the access log.
    pub observer: Arc<Observer>,
    /// Memory for request bodies.
    pub budget: Arc<Budget>,
    /// Whether there is memory for new requests.
    pub memory: Arc<Memory>,
    /// Exchanges that are under way.
    pub underway: Arc<AtomicUsize>,
    /// The process is about to end: every answer says that its connection ends with it.
    pub draining: Arc<AtomicBool>,
    /// Requests of each client address.
    pub rate: Arc<AddressRate>,
    ids: Arc<ids::Ids>,
}

impl std::fmt::Debug for Edge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Edge").field("underway", &self.underway).finish_non_exhaustive()
    }
}

impl Edge {
    /// An edge that serves by `live` and tells `observer`.
    #[must_use]
    pub fn new(live: Arc<Live>, observer: Arc<Observer>) -> Self {
        Self {
            live,
            observer,
            budget: Arc::default(),
            memory: Arc::default(),
            underway: Arc::default(),
            draining: Arc::default(),
            rate: Arc::new(AddressRate::new(clock::now())),
            ids: Arc::new(ids::Ids::new()),
        }
    }

    /// Answers what is refused before it reaches the edge as a request.
    #[must_use]
    pub fn unreads(&self) -> Unreads {
        Unreads { observer: Arc::clone(&self.observer), ids: Arc::clone(&self.ids) }
    }

    /// Ends the connection behind an answer that is about to go out, where the process is about to end.
    fn let_go(&self, session: &mut Session) {
        if self.draining.load(Ordering::Relaxed) {
            session.set_keepalive(None);
        }
    }
}

#[async_trait]
impl ProxyHttp for Edge {
    // Boxed: Pingora keeps it by value in the future of its loop, in more than one place.
    type CTX = Box<Exchange>;

    fn new_ctx(&self) -> Box<Exchange> {
        Box::new(Exchange::new(&self.underway))
    }

    fn init_downstream_modules(&self, modules: &mut HttpModules) {
        // Pingora's own default, compression toward the client, would hold events back; it stays out.
        length::install(modules);
    }

    async fn request_filter(&self, session: &mut Session, exchange: &mut Box<Exchange>) -> pingora::Result<bool> {
        connection::prepare(session, &self.live.load().settings.server.timeouts);
        self.let_go(session);
        match admit::admit(self, session, exchange).await? {
            Admission::Go(admitted) => {
                exchange.phase = Phase::Admitted(admitted);
                Ok(false)
            }
            Admission::Answered => Ok(true),
        }
    }

    async fn upstream_peer(
        &self,
        session: &mut Session,
        exchange: &mut Box<Exchange>,
    ) -> pingora::Result<Box<HttpPeer>> {
        let mut rejection = None;
        let peer = send::next_attempt(session, exchange, &mut rejection).await;
        if let Some(rejection) = rejection {
            fail::reject(session, exchange, rejection).await?;
        }
        peer
    }

    async fn connected_to_upstream(
        &self,
        _session: &mut Session,
        reused: bool,
        _peer: &HttpPeer,
        #[cfg(unix)] fd: std::os::unix::io::RawFd,
        #[cfg(windows)] fd: std::os::windows::io::RawSocket,
        digest: Option<&Digest>,
        exchange: &mut Box<Exchange>,
    ) -> pingora::Result<()> {
        fail::connected(exchange, reused, ConnectionId::of(fd, digest));
        Ok(())
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        head: &mut RequestHeader,
        exchange: &mut Box<Exchange>,
    ) -> pingora::Result<()> {
        send::write_head(session, exchange, head)
    }

    async fn request_body_filter(
        &self,
        session: &mut Session,
        body: &mut Option<Bytes>,
        end: bool,
        exchange: &mut Box<Exchange>,
    ) -> pingora::Result<()> {
        if exchange.upload().is_some() {
            return upload::pass(session, exchange, body, end);
        }
        if let Some(attempt) = exchange.sending().and_then(|sending| sending.attempt.as_ref()) {
            // Before the end an empty piece says "nothing yet"; `None` would say "no more". It does where trailers follow a
            // body, which is never `end`; the seam has such a request's body from its course.
            *body = if end { Some(attempt.body.clone()) } else { body.take().map(|_| Bytes::new()) };
        }
        Ok(())
    }

    async fn upstream_response_filter(
        &self,
        session: &mut Session,
        head: &mut ResponseHeader,
        exchange: &mut Box<Exchange>,
    ) -> pingora::Result<()> {
        let status = head.status.as_u16();
        self.let_go(session);
        receive::head(exchange, head)?;
        length::demand(session, receive::wants_body(exchange).then_some(status));
        Ok(())
    }

    fn response_body_filter(
        &self,
        session: &mut Session,
        body: &mut Option<Bytes>,
        end: bool,
        exchange: &mut Box<Exchange>,
    ) -> pingora::Result<Option<Duration>> {
        pieces::unpack(exchange, body, end)?;
        if let Some(whole) = pieces::body(exchange, body, end)? {
            length::known(session, whole, &mut exchange.trail);
        }
        if !end {
            silence::fill(exchange, body);
        }
        // What takes long to write takes a place for as long.
        let length = body.as_ref().map_or(0, Bytes::len);
        let small = length <= SMALL;
        if !small {
            connection::wait_for_large(session, length, &self.live.load().settings.server.timeouts);
        }
        if small && (end || pieces::is_over(exchange)) {
            exchange.give_back();
        }
        Ok(None)
    }

    async fn response_trailer_filter(
        &self,
        _session: &mut Session,
        _trailers: &mut HeaderMap,
        exchange: &mut Box<Exchange>,
    ) -> pingora::Result<Option<Bytes>> {
        pieces::unpack(exchange, &mut None, true)?;
        Ok(pieces::trailers(exchange))
    }

    fn fail_to_connect(
        &self,
        _session: &mut Session,
        _peer: &HttpPeer,
        exchange: &mut Box<Exchange>,
        error: Box<Error>,
    ) -> Box<Error> {
        fail::to_connect(exchange, error)
    }

    fn error_while_proxy(
        &self,
        peer: &HttpPeer,
        session: &mut Session,
        error: Box<Error>,
        exchange: &mut Box<Exchange>,
        client_reused: bool,
    ) -> Box<Error> {
        // Pingora means what was read alone; a body that cannot be written has not reached anybody either.
        let unsent = matches!(error.retry, RetryType::ReusedOnly) || framing::is_unwritten(&error);
        let stale = client_reused && unsent;
        let untouched = pieces::answered(session).is_none() && *error.esource() != ErrorSource::Downstream;
        fail::while_proxying(exchange, error.more_context(format!("peer {}", peer._address)), untouched, stale)
    }

    async fn fail_to_proxy(&self, session: &mut Session, error: &Error, exchange: &mut Box<Exchange>) -> FailToProxy {
        fail::to_proxy(session, error, exchange).await
    }

    fn suppress_error_log(&self, _session: &Session, _exchange: &Box<Exchange>, error: &Error) -> bool {
        // A client that goes away is no fault of the edge, and a status is an answer, given or passed over: the access
        // log says so.
        *error.esource() == ErrorSource::Downstream
            || matches!(error.etype(), ErrorType::HTTPStatus(_) | ErrorType::Custom(upload::REFUSED))
    }

    /// Without the query: it may hold an upload's id, with which whoever reads the log could go on.
    fn request_summary(&self, session: &Session, _exchange: &Box<Exchange>) -> String {
        let head = session.req_header();
        format!("{} {}", head.method, head.uri.path())
    }

    async fn logging(&self, session: &mut Session, error: Option<&Error>, exchange: &mut Box<Exchange>) {
        settle::settle(self, session, error, exchange);
    }
}
