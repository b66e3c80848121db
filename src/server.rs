//! The process: listeners, services, reload, upgrade, drain.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use pingora::apps::{HttpServerApp, HttpServerOptions};
use pingora::protocols::http::v2::server::default_h2_options;
use pingora::server::configuration::ServerConf;
use pingora::server::{RunArgs, Server};
use pingora::services::ServiceWithDependents;
use pingora::services::background::background_service;
use tokio::sync::{Semaphore, watch};

use crate::admin;
use crate::config::{Environment, Settings};
use crate::observe::{MetricsOptions, ObserveError, Observer};
use crate::proxy::{Edge, Unreads};

mod app;
mod control;
mod descriptors;
mod front;
mod gate;
mod handover;
mod lifecycle;
mod listen;
mod memory;
mod roots;
mod socket;
mod tls;

use app::App;
use control::{Asked, Control, Reload};
use front::{Back, Front};
use handover::Giver;
pub use handover::Inherited;
use lifecycle::{Awaited, Drain, Ending, Handover, Signals};
use listen::{Bound, Listening};
use tls::Certificate;

/// Seconds after which Pingora would end a process that drains: longer than any drain may take.
const LONGEST_GRACE: u64 = 2 * 24 * 3600;

/// Tries of Pingora's own loop; the plan of a request ends earlier.
const PINGORA_TRIES: usize = 64;

/// Why the process cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A listener's certificate cannot be used.
    #[error("the certificate of the listener at {address} cannot be used: {reason}")]
    Certificate {
        /// The listener.
        address: SocketAddr,
        /// What is wrong.
        reason: String,
    },
    /// The authorities of the system cannot be read, without which no connection of TLS can be made.
    #[error(
        "the certificates of the system's authorities cannot be used: {reason} (SSL_CERT_FILE or SSL_CERT_DIR can name others)"
    )]
    Roots {
        /// What is wrong.
        reason: String,
    },
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {reason}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        reason: std::io::Error,
    },
    /// There are too few descriptors to serve.
    #[error(
        "the process may open only {most} files and connections, which is too few to serve: raise the limit (ulimit -n, LimitNOFILE)"
    )]
    Descriptors {
        /// How many it may open.
        most: u64,
    },
    /// No process hands its sockets over.
    #[error("cannot take over: {reason}")]
    TakeOver {
        /// Why not.
        reason: String,
    },
    /// No upgrade socket can be opened.
    #[error("the upgrade socket cannot be opened: {0}")]
    UpgradeSocket(std::io::Error),
    /// The proxy cannot be made.
    #[error("the proxy cannot be made, for which a socket on loopback is opened for a moment: {0}")]
    Proxy(std::io::Error),
    /// A signal cannot be watched.
    #[error("SIGHUP cannot be watched: {0}")]
    Signal(std::io::Error),
    /// Metrics or the access log cannot be made.
    #[error(transparent)]
    Observe(#[from] ObserveError),
}

/// What runs beside the edge in the same process, such as a simulator.
pub type Extra = Box<dyn ServiceWithDependents>;

/// Where a config came from, to read it again.
#[derive(Debug, Clone)]
pub struct Source {
    /// The file; `None` for a config that is compiled in.
    pub file: Option<PathBuf>,
    /// The environment at the start.
    pub environment: Environment,
}

/// Whether the files that `settings` name for the process itself would let it start.
///
/// # Errors
///
/// A listener's certificate cannot be used, or the upgrade socket would take the place of something else.
pub fn check(environment: &Environment, settings: &Settings) -> Result<(), StartError> {
    for listener in &settings.server.listen {
        if let Some(files) = &listener.tls {
            let address = listener.address;
            tls::load(files).map_err(|reason| StartError::Certificate { address, reason })?;
        }
    }
    upgrade_socket(environment, settings)
        .map_or(Ok(()), |path| handover::check_place(&path).map_err(StartError::UpgradeSocket))
}

/// Serves by `settings` until a signal ends the process.
///
/// # Errors
///
/// The process cannot start; once it serves, it does not return.
pub fn run(
    source: Source,
    settings: Settings,
    extras: Vec<Extra>,
    inherited: Option<Inherited>,
) -> Result<(), StartError> {
    let asked = Asked::watch().map_err(StartError::Signal)?;
    roots::check(&settings)?;
    let descriptors::Room { clients: room, idle } = descriptors::room()?;
    descriptors::warn(room, settings.server.limits.connections);
    let upgrade_socket = upgrade_socket(&source.environment, &settings);
    let mut inherited = inherited;
    let bound = bind(&settings, inherited.as_mut())?;
    let address = settings.admin.listen;
    let admin =
        Bound::bind(address, None, inherited.as_mut()).map_err(|reason| StartError::Listen { address, reason })?;
    let giver = upgrade_socket.map(|path| giver(path, bound.iter().chain([&admin]))).transpose()?;
    let log = settings.access_log.enabled.then(|| settings.access_log.path.clone());
    let observer = Arc::new(Observer::new(metrics_options(&settings), log)?);
    let certificates = bound.iter().filter_map(|bound| Some((bound.address, bound.certificate.clone()?))).collect();
    let manager = source.environment.get("NOTIFY_SOCKET").cloned();
    let control = Control::new(source, settings, observer, certificates, room);
    let settings = Arc::clone(&control.live.load().settings);
    let mut server = Server::new_with_opt_and_conf(None, process_conf(&settings, idle));
    server.bootstrap();
    let mut edge = Edge::new(Arc::clone(&control.live), Arc::clone(&control.observer));
    edge.draining = Arc::clone(&control.draining);
    control.report_at_scrape(&edge);
    let underway = Arc::clone(&edge.underway);
    let memory = memory::Watch {
        live: Arc::clone(&control.live),
        memory: Arc::clone(&edge.memory),
        bodies: Arc::clone(&edge.budget),
    };
    let unreads = edge.unreads();
    let app = edge_app(&server.configuration, edge, &settings)?;
    let (handed_over, left) = watch::channel(false);
    let mut awaited = Awaited::nobody();
    server.add_service(edge_service(&control, app, unreads, (bound, awaited.one_more())));
    server.add_service(admin_service(&control, admin, (left.clone(), awaited.one_more())));
    server.add_service(background_service("upstream", control.fleet.service()));
    server.add_service(background_service(
        "reload",
        Reload { control: control.clone(), asked: Some(asked).into(), ready: awaited.one_more() },
    ));
    let ending = Ending { control, underway };
    server.add_service(background_service("drain", Drain(ending.clone())));
    let handover = Handover { inherited: inherited.into(), giver: giver.into(), awaited, handed_over, manager };
    server.add_service(background_service("handover", handover));
    server.add_service(background_service("memory", memory));
    for extra in extras {
        server.add_boxed_service(extra);
    }
    server.run(RunArgs { shutdown_signal: Box::new(Signals { handed_over: left, ending }) });
    Ok(())
}

/// Where this process is asked for its sockets, and asks the one before it.
fn upgrade_socket(environment: &Environment, settings: &Settings) -> Option<PathBuf> {
    let written = settings.server.upgrade_socket.clone();
    let runtime = || environment.get("RUNTIME_DIRECTORY")?.split(':').next().map(PathBuf::from);
    written.or_else(|| Some(runtime()?.join("upgrade.sock")))
}

/// Takes the listening sockets over from the process that runs, and its standard output and error: to be done before
/// anything is written there.
///
/// # Errors
///
/// There is none, or it does not answer.
pub fn take_over(environment: &Environment, settings: &Settings) -> Result<Inherited, StartError> {
    let Some(path) = upgrade_socket(environment, settings) else {
        let reason = "the config has no `server.upgrade_socket`, and there is no RUNTIME_DIRECTORY".to_owned();
        return Err(StartError::TakeOver { reason });
    };
    handover::heed_starter();
    let asked = Inherited::ask(&path);
    asked.map_err(|error| StartError::TakeOver { reason: format!("nobody hands over at {}: {error}", path.display()) })
}

/// Who hands `bound` to the next process.
fn giver<'a>(path: PathBuf, bound: impl Iterator<Item = &'a Bound>) -> Result<Giver, StartError> {
    let copy = |bound: &Bound| {
        let address = bound.address;
        let copied = bound.socket.try_clone().map(|socket| (address, socket));
        copied.map_err(|reason| StartError::Listen { address, reason })
    };
    Ok(Giver { path, sockets: bound.map(copy).collect::<Result<_, _>>()? })
}

fn process_conf(settings: &Settings, idle: usize) -> ServerConf {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let threads = settings.server.threads.unwrap_or(cores);
    ServerConf {
        threads,
        // One thread has nobody to take work from, and need not be ready for it.
        work_stealing: threads > 1,
        max_retries: PINGORA_TRIES,
        upstream_keepalive_pool_size: idle,
        // The drain service ends the process, by the deadline that the config has by then.
        grace_period_seconds: Some(LONGEST_GRACE),
        graceful_shutdown_timeout_seconds: Some(1),
        ..ServerConf::default()
    }
}

fn metrics_options(settings: &Settings) -> MetricsOptions {
    let metrics = &settings.metrics;
    MetricsOptions { aliases: metrics.aliases.clone(), key_label: metrics.key_label, ..MetricsOptions::default() }
}

fn edge_service<A>(
    control: &Control,
    app: A,
    unreads: Unreads,
    (bound, accepting): (Vec<Bound>, Arc<Semaphore>),
) -> Listening<Front<A>>
where
    A: HttpServerApp + Send + Sync + 'static,
{
    let (live, observer) = (Arc::clone(&control.live), Arc::clone(&control.observer));
    let serve = Arc::new(Front { app: Arc::new(app), live, observer, unreads });
    let gate = Some(Arc::clone(&control.gate));
    Listening { name: "edge", threads: None, bound, gate, serve, accepting, until: None }
}

/// The admin listener: it answers while the process drains, until another one serves. It has one thread of its own, so
/// that a large scrape delays no request on the public port.
fn admin_service(
    control: &Control,
    bound: Bound,
    (left, accepting): (watch::Receiver<bool>, Arc<Semaphore>),
) -> Listening<Back> {
    let metrics = Arc::clone(control.observer.metrics());
    let app = Arc::new(admin::App::new(Arc::new(control.clone()), metrics));
    Listening {
        name: "admin",
        threads: Some(1),
        bound: vec![bound],
        gate: None,
        serve: Arc::new(Back { app, live: Arc::clone(&control.live) }),
        accepting,
        until: Some(left),
    }
}

/// What a client of HTTP/2 may send of one request before it is read: the protocol's own default.
const H2_STREAM_WINDOW: u32 = 65_535;
/// RFC 9113 section 6.9.1.
const H2_LARGEST_WINDOW: u32 = (1 << 31) - 1;

fn edge_app(conf: &Arc<ServerConf>, edge: Edge, settings: &Settings) -> Result<App, StartError> {
    let server = &settings.server;
    let mut options = HttpServerOptions::default();
    options.h2c = true;
    options.h2_idle_timeout = Some(server.timeouts.keep_alive);
    let mut h2 = default_h2_options();
    h2.max_concurrent_streams(server.limits.h2_streams);
    // All streams together cannot fill it: an upload that waits for its provider stops no other request of the client.
    let windows = server.limits.h2_streams.saturating_add(1).saturating_mul(H2_STREAM_WINDOW);
    h2.initial_window_size(H2_STREAM_WINDOW).initial_connection_window_size(windows.min(H2_LARGEST_WINDOW));
    h2.max_header_list_size(u32::try_from(server.limits.header_size).unwrap_or(u32::MAX));
    App::new(conf, edge, options, h2).map_err(StartError::Proxy)
}

/// Opens the public listeners.
fn bind(settings: &Settings, mut inherited: Option<&mut Inherited>) -> Result<Vec<Bound>, StartError> {
    let listeners = settings.server.listen.iter().map(|listener| {
        let address = listener.address;
        let load = |files| tls::load(files).map_err(|reason| StartError::Certificate { address, reason });
        let identity = listener.tls.as_ref().map(load).transpose()?;
        let certificate = identity.map(|identity| {
            identity.warn_if_over(address);
            Arc::new(Certificate::new(identity))
        });
        Bound::bind(address, certificate, inherited.as_deref_mut())
            .map_err(|reason| StartError::Listen { address, reason })
    });
    listeners.collect()
}
