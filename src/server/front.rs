//! What stands before Pingora's sessions: whose connection is served, in which protocol, and what of it is passed on.
//!
//! ```text
//! socket ─▶ gate (who, how many) ─▶ TLS ─▶ front ─┬▶ guard   HTTP/1: strict, deadlines, one message at a time ─▶ Pingora
//!                                                 └▶ frames  HTTP/2: floods are counted ──────────────────────▶ Pingora
//! ```

use std::net::IpAddr;
use std::sync::Arc;

use async_trait::async_trait;
use pingora::apps::{HttpServerApp, ServerApp};
use pingora::protocols::http::ServerSession;
use pingora::protocols::http::v1::server::HttpSession as H1Session;
use pingora::protocols::{ALPN, IO, Stream};
use pingora::server::ShutdownWatch;

use self::frames::{Frames, PREFACE};
use self::guard::{Guard, Next, Patience};
use self::head::{Bounds, Fault};
pub(super) use self::leave::{leave_all, leave_idle};
use super::listen::Serve;
use crate::admin::App;
use crate::config::{Live, Server};
use crate::observe::Observer;
use crate::proxy::{Unread, Unreads};

mod body;
mod frames;
mod guard;
mod head;
mod leave;

/// Hands clients' connections to `app`.
pub(super) struct Front<A> {
    pub(super) app: Arc<A>,
    pub(super) live: Arc<Live>,
    pub(super) observer: Arc<Observer>,
    pub(super) unreads: Unreads,
}

#[async_trait]
impl<A> Serve for Front<A>
where
    A: HttpServerApp + ServerApp + Send + Sync + 'static,
{
    async fn serve(self: Arc<Self>, io: Stream, client: IpAddr, shutdown: ShutdownWatch) {
        let secure = io.get_ssl_digest().is_some();
        let by_name = matches!(io.selected_alpn_proto(), Some(ALPN::H2));
        let mut guard = Guard::new(io);
        let patience = patience(&self.live.load().settings.server);
        if (by_name || !secure) && guard.begins_with(PREFACE, patience).await {
            let Some((io, ahead)) = guard.into_parts() else { return };
            let observer = Arc::clone(&self.observer);
            let flooded = Box::new(move || {
                log::warn!("connection of {client} closed: too many HTTP/2 frames without content");
                observer.connection_refused("h2_flood");
            });
            self.app.process_new(Box::new(Frames::new(io, ahead, flooded)), &shutdown).await;
        } else if !by_name && (secure || !guard.is_silent()) {
            self.requests(guard, client, &shutdown).await;
        }
    }

    fn refused(&self, client: IpAddr, reason: &'static str) {
        log::debug!("connection of {client} refused: {reason}");
        self.observer.connection_refused(reason);
    }

    fn live(&self) -> &Live {
        &self.live
    }
}

/// Hands operators' connections to the admin listener's app.
pub(super) struct Back {
    pub(super) app: Arc<App>,
    pub(super) live: Arc<Live>,
}

#[async_trait]
impl Serve for Back {
    async fn serve(self: Arc<Self>, io: Stream, _: IpAddr, shutdown: ShutdownWatch) {
        self.app.process_new(io, &shutdown).await;
    }

    fn refused(&self, client: IpAddr, reason: &'static str) {
        log::debug!("connection of {client} to the admin listener refused: {reason}");
    }

    fn live(&self) -> &Live {
        &self.live
    }
}

impl<A> Front<A>
where
    A: HttpServerApp + Send + Sync + 'static,
{
    /// One request after the other.
    async fn requests(&self, mut guard: Guard, client: IpAddr, shutdown: &ShutdownWatch) {
        loop {
            let (bounds, patience) = {
                let live = self.live.load();
                let server = &live.settings.server;
                (Bounds { size: server.limits.header_size, count: server.limits.header_count }, patience(server))
            };
            let begun = match guard.next(bounds, patience).await {
                Next::Request(begun) => begun,
                Next::Closed => return,
                Next::Faulty(fault) => return self.refuse(guard, client, fault).await,
            };
            let mut session = H1Session::new(Box::new(guard));
            session.set_pipelined_prefix(begun);
            let mut session = ServerSession::H1(session);
            // The guard keeps the time; this says only that the connection may go on.
            session.set_keepalive((!*shutdown.borrow()).then_some(0));
            let Some(reused) = self.app.process_new_http(session, shutdown).await else { return };
            let (stream, _) = reused.consume();
            let Ok(same) = IO::into_any(stream).downcast::<Guard>() else { return };
            guard = *same;
            if !guard.is_over() {
                return;
            }
        }
    }

    async fn refuse(&self, guard: Guard, client: IpAddr, fault: Fault) {
        let seen = guard.seen();
        let answer = self.unreads.answer(&Unread {
            status: fault.status,
            label: fault.label,
            message: fault.message,
            method: head::method(seen),
            target: head::target(seen),
            client,
        });
        guard.close_with(&answer).await;
    }
}

fn patience(server: &Server) -> Patience {
    Patience { idle: server.timeouts.keep_alive, head: server.timeouts.header }
}
