//! The process: listeners, services, reload, drain.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use pingora::apps::HttpServerOptions;
use pingora::listeners::ListenerConfig;
use pingora::listeners::tls::TlsSettings;
use pingora::server::configuration::ServerConf;
use pingora::server::{Server, ShutdownWatch};
use pingora::services::ServiceWithDependents;
use pingora::services::background::{BackgroundService, background_service};
use pingora::services::listening::Service;
use pingora_proxy::HttpProxy;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Mutex;

use crate::config::{self, Environment, Live, Settings, Snapshot, watch::Watcher};
use crate::observe::{MetricsOptions, ObserveError, Observer, Scrape};
use crate::proxy::Edge;
use crate::upstream::Fleet;

/// Longest wait for the access log's last lines when the process ends.
const LOG_PATIENCE: Duration = Duration::from_secs(2);

/// Connections to providers that are kept open, idle.
const KEPT_CONNECTIONS: usize = 1024;

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
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {reason}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        reason: std::io::Error,
    },
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

/// Serves by `settings` until a signal ends the process.
///
/// # Errors
///
/// The process cannot start; once it serves, it does not return.
pub fn run(source: Source, settings: Settings, extras: Vec<Extra>) -> Result<(), StartError> {
    let listeners = settings.server.listen.iter().map(|listener| listener.address);
    listeners.chain([settings.admin.listen]).try_for_each(probe)?;
    let observer = Arc::new(Observer::new(metrics_options(&settings), log_target(&settings))?);
    let control = Control::new(source, settings, observer);
    let settings = Arc::clone(&control.live.load().settings);
    let mut server = Server::new_with_opt_and_conf(None, process_conf(&settings));
    server.bootstrap();
    let edge = Edge::new(Arc::clone(&control.live), Arc::clone(&control.observer));
    control.report_at_scrape(&edge);
    let underway = Arc::clone(&edge.underway);
    server.add_service(edge_service(&server.configuration, edge, &settings)?);
    server.add_service(background_service("upstream", control.fleet.service()));
    server.add_service(background_service("reload", Reload { control: control.clone() }));
    server.add_service(background_service("drain", Drain { control, settings, underway }));
    for extra in extras {
        server.add_boxed_service(extra);
    }
    server.run_forever()
}

/// Fails early and in words if an address is taken: Pingora would end the process with a panic.
fn probe(address: SocketAddr) -> Result<(), StartError> {
    match std::net::TcpListener::bind(address) {
        Ok(_) => Ok(()),
        Err(reason) => Err(StartError::Listen { address, reason }),
    }
}

fn process_conf(settings: &Settings) -> ServerConf {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    ServerConf {
        threads: settings.server.threads.unwrap_or(cores),
        max_retries: PINGORA_TRIES,
        upstream_keepalive_pool_size: KEPT_CONNECTIONS,
        // The drain service ends the process as soon as the last exchange is over; this is only its deadline.
        grace_period_seconds: Some(settings.server.shutdown_timeout.as_secs().saturating_add(1)),
        graceful_shutdown_timeout_seconds: Some(1),
        ..ServerConf::default()
    }
}

fn metrics_options(settings: &Settings) -> MetricsOptions {
    use crate::config::{KeyLabel, MetricAlias};
    use crate::observe;
    let alias = |alias: &MetricAlias| match alias {
        MetricAlias::Http => observe::Alias::Http,
        MetricAlias::Llm => observe::Alias::Llm,
        MetricAlias::GenAi => observe::Alias::GenAi,
    };
    MetricsOptions {
        aliases: settings.metrics.aliases.iter().map(alias).collect(),
        key_label: match settings.metrics.key_label {
            KeyLabel::Name => observe::KeyLabel::Name,
            KeyLabel::Hash => observe::KeyLabel::Hash,
            KeyLabel::None => observe::KeyLabel::None,
        },
        ..MetricsOptions::default()
    }
}

fn log_target(settings: &Settings) -> Option<crate::observe::Target> {
    use crate::config::LogPath;
    use crate::observe::Target;
    settings.access_log.enabled.then(|| match &settings.access_log.path {
        LogPath::Stdout => Target::Stdout,
        LogPath::Stderr => Target::Stderr,
        LogPath::File(path) => Target::File(path.clone()),
    })
}

fn edge_service(
    conf: &Arc<ServerConf>,
    edge: Edge,
    settings: &Settings,
) -> Result<Service<HttpProxy<Edge>>, StartError> {
    let mut proxy = pingora_proxy::http_proxy(conf, edge);
    let mut options = HttpServerOptions::default();
    options.h2c = true;
    proxy.server_options = Some(options);
    let mut service = Service::new("edge".to_owned(), proxy);
    for listener in &settings.server.listen {
        let mut config = ListenerConfig::tcp(listener.address.to_string());
        if let Some(files) = &listener.tls {
            let (cert, key) = (files.cert.to_string_lossy(), files.key.to_string_lossy());
            let mut tls = TlsSettings::intermediate(&cert, &key)
                .map_err(|error| StartError::Certificate { address: listener.address, reason: error.to_string() })?;
            tls.enable_h2();
            config = config.tls(tls);
        }
        service.add_listener(config);
    }
    Ok(service)
}

/// What the admin listener and the signals act on.
#[derive(Clone)]
struct Control {
    source: Arc<Source>,
    live: Arc<Live>,
    fleet: Arc<Fleet>,
    observer: Arc<Observer>,
    generation: Arc<AtomicU64>,
    draining: Arc<AtomicBool>,
    /// One reload at a time.
    reloading: Arc<Mutex<()>>,
}

impl Control {
    fn new(source: Source, settings: Settings, observer: Arc<Observer>) -> Self {
        let fleet = Fleet::new();
        let snapshot = Snapshot::new(settings, &fleet, 1);
        observer.config_in_use();
        Self {
            source: Arc::new(source),
            live: Arc::new(Live::from_pointee(snapshot)),
            fleet,
            observer,
            generation: Arc::new(AtomicU64::new(1)),
            draining: Arc::default(),
            reloading: Arc::default(),
        }
    }

    /// Adds to every scrape what is known elsewhere: endpoints, memory for bodies, draining.
    fn report_at_scrape(&self, edge: &Edge) {
        let (fleet, draining, budget) = (Arc::clone(&self.fleet), Arc::clone(&self.draining), Arc::clone(&edge.budget));
        self.observer.metrics().on_scrape(Box::new(move |scrape: &mut Scrape| {
            for endpoint in fleet.view().iter().filter(|endpoint| endpoint.configured) {
                let in_flight = u64::from(endpoint.in_flight);
                scrape.upstream(&endpoint.provider, &endpoint.label, endpoint.healthy, in_flight);
            }
            scrape.buffered_request_bytes(budget.used() as u64);
            scrape.draining(draining.load(Ordering::Relaxed));
        }));
    }

    /// Reads the config again; what runs changes only if all of it is sound.
    async fn reload(&self) -> Result<String, String> {
        let _one = self.reloading.lock().await;
        let source = Arc::clone(&self.source);
        let loaded = tokio::task::spawn_blocking(move || match &source.file {
            Some(file) => config::load(file, &source.environment).map_err(|report| report.to_string()),
            None => Err("this process runs a config that is compiled in: there is nothing to read again".to_owned()),
        });
        match loaded.await.unwrap_or_else(|error| Err(format!("the config reader failed: {error}"))) {
            Ok(settings) => Ok(self.adopt(settings)),
            Err(report) => {
                self.observer.reload(false);
                log::error!("config not reloaded, the old one stays: {report}");
                Err(report)
            }
        }
    }

    /// New requests meet `settings` from now on; returns what an operator is told.
    fn adopt(&self, settings: Settings) -> String {
        let generation = self.generation.fetch_add(1, Ordering::Relaxed) + 1;
        let waiting = self.live.load().settings.needs_restart(&settings);
        self.live.store(Arc::new(Snapshot::new(settings, &self.fleet, generation)));
        self.observer.reload(true);
        let mut told = format!("config reloaded, generation {generation}");
        if !waiting.is_empty() {
            told.push_str("; waits for a restart: ");
            told.push_str(&waiting.join(", "));
        }
        log::info!("{told}");
        told
    }
}

/// Reloads on SIGHUP and when a file of the config changes.
struct Reload {
    control: Control,
}

#[async_trait]
impl BackgroundService for Reload {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        let mut hangup = match signal(SignalKind::hangup()) {
            Ok(hangup) => hangup,
            Err(error) => return log::error!("SIGHUP cannot be watched: {error}"),
        };
        let mut watcher = Watcher::new(self.files());
        loop {
            tokio::select! {
                _ = shutdown.changed() => return,
                _ = hangup.recv() => self.control.observer.reopen(),
                () = watcher.changed() => {}
            }
            // What came of it is in the log and in a metric.
            let _ = self.control.reload().await;
            watcher.set_files(self.files());
        }
    }
}

impl Reload {
    fn files(&self) -> Vec<PathBuf> {
        match &self.control.source.file {
            Some(_) => self.control.live.load().settings.files.clone(),
            None => Vec::new(),
        }
    }
}

/// Ends the process once nothing is in flight after a stop began: Pingora itself would sleep its whole grace period.
struct Drain {
    control: Control,
    settings: Arc<Settings>,
    underway: Arc<std::sync::atomic::AtomicUsize>,
}

#[async_trait]
impl BackgroundService for Drain {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        if shutdown.changed().await.is_err() {
            return;
        }
        self.control.draining.store(true, Ordering::Relaxed);
        let deadline = tokio::time::Instant::now() + self.settings.server.shutdown_timeout;
        while self.underway.load(Ordering::Relaxed) > 0 && tokio::time::Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        self.control.observer.flush(LOG_PATIENCE);
        end();
    }
}

#[allow(
    clippy::exit,
    reason = "Pingora would sleep its whole grace period; every exchange is over and the log is written"
)]
fn end() -> ! {
    std::process::exit(0)
}
