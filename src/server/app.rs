//! Pingora's proxy with a way to providers of our own, as an application that our listeners can hand connections to.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::IntoRawFd;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use async_trait::async_trait;
use futures_core::future::BoxFuture;
use pingora::apps::{HttpServerApp, HttpServerOptions, ReusedHttpStream};
use pingora::connectors::ConnectorOptions;
use pingora::protocols::http::ServerSession;
use pingora::protocols::http::v2::server::H2Options;
use pingora::server::configuration::ServerConf;
use pingora::server::{Fds, ListenFds, ShutdownWatch};
use pingora::services::Service as _;
use pingora::services::listening::Service;
use pingora_proxy::{HttpProxy, ProxyServiceBuilder};
use tokio::sync::watch;

use crate::proxy::Edge;
use crate::upstream::seam::Seam;

/// How long it may take to get hold of the proxy.
const PATIENCE: Duration = Duration::from_secs(10);

type Proxy = HttpProxy<Edge, Seam>;

/// The edge, ready for connections.
pub(super) struct App {
    proxy: Arc<Proxy>,
    options: HttpServerOptions,
    h2: H2Options,
}

impl App {
    /// An application around `edge`.
    ///
    /// # Errors
    ///
    /// The proxy could not be had: see [`build`].
    pub(super) fn new(
        conf: &Arc<ServerConf>,
        edge: Edge,
        options: HttpServerOptions,
        h2: H2Options,
    ) -> io::Result<Self> {
        Ok(Self { proxy: build(conf, edge)?, options, h2 })
    }
}

#[async_trait]
impl HttpServerApp for App {
    // Written out, the proxy's own future goes on as it is; an `async fn` would put it, and the session, into another.
    fn process_new_http<'a, 's, 'f>(
        self: &'a Arc<Self>,
        session: ServerSession,
        shutdown: &'s ShutdownWatch,
    ) -> BoxFuture<'f, Option<ReusedHttpStream>>
    where
        'a: 'f,
        's: 'f,
    {
        self.proxy.process_new_http(session, shutdown)
    }

    fn h2_options(&self) -> Option<H2Options> {
        Some(self.h2.clone())
    }

    fn server_options(&self) -> Option<&HttpServerOptions> {
        Some(&self.options)
    }

    async fn http_cleanup(&self) {
        self.proxy.http_cleanup().await;
    }
}

/// Makes a proxy with the seam.
///
/// Pingora builds a proxy with a connector of one's own only into a service with listeners of its own, and we have ours.
/// The one thing that it hands the proxy to is the handler of connections in other protocols, so one such connection is
/// made, to a socket on loopback that is open for that long, and whatever connects is told nothing.
fn build(conf: &Arc<ServerConf>, edge: Edge) -> io::Result<Arc<Proxy>> {
    let (give, taken) = mpsc::sync_channel(1);
    let handler = move |proxy: Arc<Proxy>, _, _: &ShutdownWatch| -> BoxFuture<'static, _> {
        // The first has it; whoever comes later finds no room, or nobody listening.
        let _ = give.try_send(proxy);
        Box::pin(async { None })
    };
    let mut options = HttpServerOptions::default();
    options.force_custom = true;
    let seam = Seam::new(ConnectorOptions::from_server_conf(conf));
    let builder = ProxyServiceBuilder::new(conf, edge).server_options(options);
    let service = builder.custom(seam, Arc::new(handler)).build();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(knock(service))?;
    taken.recv_timeout(PATIENCE).map_err(io::Error::other)
}

/// Runs `service` for one connection.
async fn knock(mut service: Service<Proxy>) -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    listener.set_nonblocking(true)?;
    let address: SocketAddr = listener.local_addr()?;
    let mut fds = Fds::new();
    fds.add(address.to_string(), listener.into_raw_fd());
    let fds: ListenFds = Arc::new(fds.into());
    service.add_tcp(&address.to_string());
    let (_running, shutdown) = watch::channel(false);
    let serving = service.start_service(Some(fds), shutdown, 1);
    let visit = async {
        let mut visitor = tokio::net::TcpStream::connect(address).await?;
        // The end of the connection says that it was handled.
        tokio::io::AsyncReadExt::read(&mut visitor, &mut [0]).await.map(|_| ())
    };
    tokio::select! {
        () = serving => Err(io::Error::other("the service ended")),
        visited = tokio::time::timeout(PATIENCE, visit) => visited.map_err(io::Error::other)?,
    }
}
