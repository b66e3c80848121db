//! The listening sockets, and the way of a connection from the system to whoever serves it.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pingora::listeners::tls::Acceptor;
use pingora::protocols::Stream;
use pingora::protocols::l4::ext::set_tcp_keepalive;
use pingora::server::{ListenFds, ShutdownWatch};
use pingora::services::Service;
#[cfg(target_os = "linux")]
use socket2::SockRef;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use super::gate::{Gate, Pass};
use super::handover::Inherited;
use super::socket::Socket;
use super::tls::Certificate;
use crate::clock;
use crate::config::Live;
use crate::upstream::keepalive;

/// Deadlines are longer, nearly all of them; what wakes once in that time costs nothing.
const TICK: Duration = Duration::from_millis(500);
/// How long nothing is accepted after the system refused to: it lacks descriptors or memory.
const BREATH: Duration = Duration::from_millis(100);

/// Serves connections.
#[async_trait]
pub(super) trait Serve: Send + Sync + 'static {
    /// Serves one connection to its end.
    async fn serve(self: Arc<Self>, io: Stream, client: IpAddr, shutdown: ShutdownWatch);

    /// A connection was not served, for a bounded reason.
    fn refused(&self, client: IpAddr, reason: &'static str);

    /// The config that is live.
    fn live(&self) -> &Live;
}

/// Most bytes for a client that the system takes before it has sent those before. Without a bound it takes megabytes, and
/// says nothing until a third of them is gone: a client that reads slowly looks like one that reads nothing.
#[cfg(target_os = "linux")]
const UNSENT: u32 = 64 * 1024;

/// Has the system notice a client that is gone without a word, as one is whose machine sleeps: its streams cost money; and
/// tell soon that a slow one goes on. A socket that takes no such setting is only noticed later.
fn watch(stream: &tokio::net::TcpStream, write: Duration) {
    let _ = set_tcp_keepalive(stream, &keepalive(write));
    #[cfg(target_os = "linux")]
    let _ = SockRef::from(stream).set_tcp_notsent_lowat(UNSENT);
}

/// A listening socket.
pub(super) struct Bound {
    pub(super) address: SocketAddr,
    pub(super) socket: TcpListener,
    pub(super) certificate: Option<Arc<Certificate>>,
}

impl Bound {
    /// Listens on `address`: with the socket of the process before, if it had one there.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub(super) fn bind(
        address: SocketAddr,
        certificate: Option<Arc<Certificate>>,
        mut inherited: Option<&mut Inherited>,
    ) -> io::Result<Self> {
        let socket = match inherited.as_mut().and_then(|inherited| inherited.take(address)) {
            Some(socket) => socket,
            None => match (TcpListener::bind(address), inherited) {
                (Err(error), Some(inherited)) if error.kind() == io::ErrorKind::AddrInUse => {
                    inherited.beside(address)?
                }
                (bound, _) => bound?,
            },
        };
        Ok(Self { address, socket, certificate })
    }
}

/// Accepts connections and has them served.
pub(super) struct Listening<S> {
    pub(super) name: &'static str,
    /// Worker threads; `None` for as many as all services have.
    pub(super) threads: Option<usize>,
    pub(super) bound: Vec<Bound>,
    /// Who may connect; `None` for everyone.
    pub(super) gate: Option<Arc<Gate>>,
    pub(super) serve: Arc<S>,
    /// Gets a permit once it accepts.
    pub(super) accepting: Arc<Semaphore>,
    /// When to stop accepting; `None` for when the process begins to drain.
    pub(super) until: Option<ShutdownWatch>,
}

#[async_trait]
impl<S: Serve> Service for Listening<S> {
    async fn start_service(&mut self, _: Option<ListenFds>, shutdown: ShutdownWatch, _: usize) {
        let doors = self.bound.drain(..).map(|bound| {
            let door = Door { certificate: bound.certificate, gate: self.gate.clone(), serve: Arc::clone(&self.serve) };
            let listener = bound.socket.set_nonblocking(true);
            let listener = listener.and_then(|()| tokio::net::TcpListener::from_std(bound.socket));
            listener.map(|listener| (listener, door)).map_err(|error| (bound.address, error))
        });
        let doors: Vec<_> = match doors.collect() {
            Ok(doors) => doors,
            // Whoever waits for this process to serve, be it one that it takes over from, waits in vain and says so.
            Err((address, error)) => return log::error!("{address} cannot be listened on: {error}"),
        };
        let mut open = tokio::task::JoinSet::new();
        for (listener, door) in doors {
            let until = self.until.clone().unwrap_or_else(|| shutdown.clone());
            open.spawn(Arc::new(door).keep(listener, until, shutdown.clone()));
        }
        tokio::spawn(tick());
        self.accepting.add_permits(1);
        open.join_all().await;
    }

    fn name(&self) -> &str {
        self.name
    }

    fn threads(&self) -> Option<usize> {
        self.threads
    }
}

/// Keeps a timer of this runtime near. Tokio wakes itself through the kernel for each timer that is due before all others,
/// which on a runtime without any is each deadline of each request.
async fn tick() {
    loop {
        sleep(TICK).await;
    }
}

/// What each connection of a listening socket meets.
struct Door<S> {
    certificate: Option<Arc<Certificate>>,
    gate: Option<Arc<Gate>>,
    serve: Arc<S>,
}

impl<S: Serve> Door<S> {
    /// Accepts until it is time to stop.
    async fn keep(
        self: Arc<Self>,
        listener: tokio::net::TcpListener,
        mut until: ShutdownWatch,
        shutdown: ShutdownWatch,
    ) {
        let stop = async move {
            if until.wait_for(|stop| *stop).await.is_err() {
                // Nobody is left to say so: the end of the process is the end of this.
                std::future::pending::<()>().await;
            }
        };
        tokio::pin!(stop);
        loop {
            tokio::select! {
                () = &mut stop => break,
                accepted = listener.accept() => self.accepted(accepted, &shutdown).await,
            }
        }
        // Whoever connected before the socket is closed is still served: closing it would reset them.
        while let Ok(Ok(accepted)) = timeout(Duration::ZERO, listener.accept()).await {
            self.accepted(Ok(accepted), &shutdown).await;
        }
    }

    async fn accepted(
        self: &Arc<Self>,
        accepted: io::Result<(tokio::net::TcpStream, SocketAddr)>,
        shutdown: &ShutdownWatch,
    ) {
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                log::error!("no connection can be accepted: {error}");
                return sleep(BREATH).await;
            }
        };
        let client = peer.ip().to_canonical();
        let pass = match self.gate.as_ref().map(|gate| gate.enter(client)).transpose() {
            Ok(pass) => pass,
            Err(reason) => return self.serve.refused(client, reason),
        };
        // A piece of a stream must not wait for the one before to be acknowledged; without it the stream is only slower.
        let _ = stream.set_nodelay(true);
        watch(&stream, self.serve.live().load().settings.server.timeouts.write);
        let socket = Socket::new(stream, peer);
        tokio::spawn(Arc::clone(self).serve(socket, client, pass, shutdown.clone()));
    }

    async fn serve(self: Arc<Self>, socket: Socket, client: IpAddr, _pass: Option<Pass>, shutdown: ShutdownWatch) {
        let io: Stream = match &self.certificate {
            None => Box::new(socket),
            // Boxed: it is over long before the connection is, and plain connections have none.
            Some(certificate) => match Box::pin(self.secure(certificate, socket)).await {
                Ok(io) => io,
                Err(reason) => return self.serve.refused(client, reason),
            },
        };
        clock::turns(Arc::clone(&self.serve).serve(io, client, shutdown)).await;
    }

    /// Agrees with the client on TLS.
    ///
    /// # Errors
    ///
    /// The reason why not.
    async fn secure(&self, certificate: &Certificate, socket: Socket) -> Result<Stream, &'static str> {
        let patience = self.serve.live().load().settings.server.timeouts.tls;
        let acceptor = Acceptor::from_server_config(certificate.current());
        match clock::within(patience, pin!(acceptor.tls_handshake(socket))).await {
            Some(Ok(io)) => Ok(Box::new(io)),
            Some(Err(_)) => Err("tls"),
            None => Err("tls_timeout"),
        }
    }
}

#[cfg(test)]
mod tests {
    use nix::sys::socket::{getsockopt, sockopt};

    use super::*;

    #[tokio::test]
    async fn a_client_that_is_gone_without_a_word_is_noticed() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (_client, accepted) =
            tokio::join!(tokio::net::TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
        let (stream, _) = accepted.unwrap();
        watch(&stream, Duration::from_secs(300));
        assert!(getsockopt(&stream, sockopt::KeepAlive).unwrap());
        #[cfg(target_os = "linux")]
        assert_eq!(getsockopt(&stream, sockopt::TcpUserTimeout).unwrap(), 300_000);
        #[cfg(target_os = "linux")]
        assert_eq!(SockRef::from(&stream).tcp_notsent_lowat().unwrap(), UNSENT);
    }
}
