//! What can be done to a running process: reload, and questions of its state.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use pingora::server::ShutdownWatch;
use pingora::services::background::BackgroundService;
use tidegate_codec::json::Writer;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Mutex, Notify, Semaphore};

use super::Source;
use super::gate::Gate;
use super::tls::{self, Certificate, Identity};
use crate::admin::{Health, Readiness, State};
use crate::clock;
use crate::config::{self, Live, Settings, Snapshot, watch::Held, watch::Watcher};
use crate::limits;
use crate::observe::{Observer, Scrape};
use crate::proxy::Edge;
use crate::upstream::{EndpointView, Fleet, Stage, seam};

/// What the admin listener and the signals act on.
#[derive(Clone)]
pub(super) struct Control {
    pub(super) source: Arc<Source>,
    pub(super) live: Arc<Live>,
    /// What the process was started with: some of it holds until it ends.
    start: Arc<Settings>,
    pub(super) fleet: Arc<Fleet>,
    pub(super) observer: Arc<Observer>,
    pub(super) gate: Arc<Gate>,
    /// Certificates of the listeners that have one.
    certificates: Arc<[(SocketAddr, Arc<Certificate>)]>,
    generation: Arc<AtomicU64>,
    pub(super) draining: Arc<AtomicBool>,
    /// What the files held before they were read last. One reload at a time.
    read: Arc<Mutex<Held>>,
    /// What the config names that was read last and refused: a change of one of these may mend it.
    refused: Arc<std::sync::Mutex<Vec<PathBuf>>>,
    /// Told when it has been read, whoever asked for that.
    has_read: Arc<Notify>,
    started: clock::Instant,
}

impl Control {
    pub(super) fn new(
        source: Source,
        settings: Settings,
        observer: Arc<Observer>,
        certificates: Arc<[(SocketAddr, Arc<Certificate>)]>,
        room: usize,
    ) -> Self {
        let fleet = Fleet::new();
        let snapshot = Snapshot::new(settings, &fleet, 1);
        observer.config_in_use();
        let start = Arc::clone(&snapshot.settings);
        let live = Arc::new(Live::from_pointee(snapshot));
        Self {
            source: Arc::new(source),
            gate: Gate::new(Arc::clone(&live), room),
            certificates,
            live,
            start,
            fleet,
            observer,
            generation: Arc::new(AtomicU64::new(1)),
            draining: Arc::default(),
            read: Arc::default(),
            refused: Arc::default(),
            has_read: Arc::default(),
            started: clock::now(),
        }
    }

    /// Adds to every scrape what is known elsewhere: endpoints, memory for bodies, draining.
    pub(super) fn report_at_scrape(&self, edge: &Edge) {
        let (fleet, draining, budget) = (Arc::clone(&self.fleet), Arc::clone(&self.draining), Arc::clone(&edge.budget));
        let (gate, memory) = (Arc::clone(&self.gate), Arc::clone(&edge.memory));
        let certificates = Arc::clone(&self.certificates);
        self.observer.metrics().on_scrape(Box::new(move |scrape: &mut Scrape| {
            for endpoint in &fleet.view() {
                let in_flight = u64::from(endpoint.in_flight);
                if !endpoint.configured {
                    // Requests alone keep it alive.
                    scrape.lasting(&endpoint.provider, &endpoint.label, in_flight);
                    continue;
                }
                scrape.upstream(&endpoint.provider, &endpoint.label, endpoint.healthy, in_flight);
                let state = match endpoint.stage {
                    Stage::Closed => 0,
                    Stage::HalfOpen => 1,
                    Stage::Open => 2,
                };
                scrape.circuit(&endpoint.provider, &endpoint.label, state, endpoint.models.len());
                for ejections in endpoint.ejections {
                    scrape.ejections(&endpoint.provider, &endpoint.label, ejections);
                }
            }
            for bulkhead in fleet.limits.view() {
                let counts = (bulkhead.used, bulkhead.waiting);
                scrape.bulkhead(bulkhead.scope.label(), &bulkhead.name, counts, bulkhead.limit);
            }
            if let (_, Some(limit)) = memory.view() {
                scrape.memory_limit(limit);
            }
            for (model, refused) in fleet.refused_retries() {
                scrape.retries_refused(&model, refused);
            }
            for (provider, panics) in fleet.panics() {
                scrape.panic(&provider, panics);
            }
            for (result, times) in seam::holds() {
                scrape.stream_holds(result, times);
            }
            scrape.buffered_request_bytes(budget.used() as u64);
            scrape.recall(fleet.recall_view());
            scrape.connections(gate.open() as u64);
            scrape.draining(draining.load(Ordering::Relaxed));
            for (listener, certificate) in certificates.iter() {
                scrape.certificate(&listener.to_string(), certificate.expires());
            }
        }));
    }

    /// Reads the config again; what runs changes only if all of it is sound.
    async fn read_again(&self) -> Result<String, String> {
        let mut read = self.read.lock().await;
        *read = Held::by(self.files());
        let source = Arc::clone(&self.source);
        let certificates = Arc::clone(&self.certificates);
        let loaded = tokio::task::spawn_blocking(move || load(&source, &certificates)).await;
        let loaded = loaded.unwrap_or_else(|error| Err((format!("the config reader failed: {error}"), Vec::new())));
        let (told, refused) = match loaded {
            Ok((settings, certificates)) => {
                for (certificate, fresh) in certificates {
                    certificate.replace(fresh);
                }
                (Ok(self.adopt(settings)), Vec::new())
            }
            Err((report, files)) => {
                self.observer.reload(false);
                log::error!("config not reloaded, the old one stays: {report}");
                (Err(report), files)
            }
        };
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = refused;
        self.has_read.notify_one();
        told
    }

    /// The files of the config that is live, and of one that was refused since.
    fn files(&self) -> Vec<PathBuf> {
        let mut files = match &self.source.file {
            Some(_) => self.live.load().settings.files.clone(),
            None => Vec::new(),
        };
        for file in self.refused.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            if !files.contains(file) {
                files.push(file.clone());
            }
        }
        files
    }

    /// Whether just that was read last, whatever came of it.
    async fn is_read(&self, held: &Held) -> bool {
        *self.read.lock().await == *held
    }

    /// New requests meet `settings` from now on; returns what an operator is told.
    fn adopt(&self, settings: Settings) -> String {
        let generation = self.generation.fetch_add(1, Ordering::Relaxed) + 1;
        let waiting = self.start.needs_restart(&settings);
        self.observer.metrics().set_aliases(settings.metrics.aliases.clone());
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

#[async_trait]
impl State for Control {
    fn ready(&self) -> Readiness {
        let mut readiness = Readiness::default();
        if self.draining.load(Ordering::Relaxed) {
            readiness.reasons.push("draining: the process is about to end".to_owned());
        }
        readiness
    }

    fn health(&self) -> Health {
        let draining = self.draining.load(Ordering::Relaxed);
        Health {
            status: if draining { "draining" } else { "healthy" },
            version: env!("CARGO_PKG_VERSION"),
            uptime: clock::now().duration_since(self.started),
        }
    }

    async fn reload(&self) -> Result<String, String> {
        self.read_again().await
    }

    fn config_view(&self) -> String {
        config::redacted_in_use(&self.start, &self.live.load().settings)
    }

    fn explain(&self, query: &str) -> Result<String, String> {
        let question = config::Question::from_query(query)?;
        let found = self.live.load().explain(&question);
        found.map(|found| found.to_json()).ok_or_else(|| format!("no model is named `{}`\n", question.model))
    }

    fn upstreams_view(&self) -> String {
        let mut out = Vec::new();
        let mut json = Writer::new(&mut out);
        json.open_object().key("endpoints").open_array();
        for endpoint in self.fleet.view() {
            write_endpoint(&endpoint, &mut json);
        }
        json.close_array().key("limits").open_array();
        for bulkhead in self.fleet.limits.view() {
            write_bulkhead(&bulkhead, &mut json);
        }
        json.close_array().close_object();
        String::from_utf8_lossy(&out).into_owned()
    }
}

/// A certificate, and what takes its place.
type Fresh = (Arc<Certificate>, Identity);

/// What is wrong with a config, and the files that it names.
type Refused = (String, Vec<PathBuf>);

/// The config as its file and the files that it names are now; or what is wrong with it, and those files.
fn load(source: &Source, certificates: &[(SocketAddr, Arc<Certificate>)]) -> Result<(Settings, Vec<Fresh>), Refused> {
    let Some(file) = &source.file else {
        let report = "this process runs a config that is compiled in: there is nothing to read again".to_owned();
        return Err((report, Vec::new()));
    };
    let settings =
        config::load(file, &source.environment).map_err(|report| (report.to_string(), report.files().to_vec()))?;
    match fresh_certificates(certificates, &settings) {
        Ok(fresh) => Ok((settings, fresh)),
        Err(report) => Err((report, settings.files)),
    }
}

/// The certificates of the listeners, read again. All are sound, or none is taken.
fn fresh_certificates(
    certificates: &[(SocketAddr, Arc<Certificate>)],
    settings: &Settings,
) -> Result<Vec<Fresh>, String> {
    let mut fresh = Vec::new();
    for listener in &settings.server.listen {
        let held = certificates.iter().find(|(address, _)| *address == listener.address);
        let (Some((address, certificate)), Some(files)) = (held, &listener.tls) else { continue };
        let identity = tls::load(files)
            .map_err(|reason| format!("the certificate of the listener at {address} cannot be used: {reason}"))?;
        identity.warn_if_over(*address);
        fresh.push((Arc::clone(certificate), identity));
    }
    Ok(fresh)
}

fn write_endpoint(endpoint: &EndpointView, json: &mut Writer<'_>) {
    json.open_object().key("provider").plain(&endpoint.provider).key("endpoint").plain(&endpoint.label);
    json.key("configured").bool(endpoint.configured).key("healthy").bool(endpoint.healthy);
    json.key("circuit")
        .plain(endpoint.stage.name())
        .key("ejections")
        .number(endpoint.ejections.iter().map(|(_, times)| times).sum());
    json.key("models_out").open_array();
    for model in &endpoint.models {
        json.open_object().key("model").plain(&model.model).key("circuit").plain(model.stage.name());
        json.key("cools_ms").number(model.cools_ms).close_object();
    }
    json.close_array();
    json.key("held").bool(endpoint.held).key("in_flight").number(u64::from(endpoint.in_flight));
    json.key("max_concurrent");
    match endpoint.most {
        Some(most) => json.number(u64::from(most)),
        None => json.null(),
    };
    json.key("weight").number(u64::from(endpoint.weight)).key("checked_ms_ago");
    match endpoint.checked {
        Some(ago) => json.number(millis(ago)),
        None => json.null(),
    };
    json.key("error");
    match &endpoint.error {
        Some(error) => json.plain(error),
        None => json.null(),
    };
    json.key("last_failure");
    match &endpoint.complaint {
        Some((why, ago)) => {
            json.open_object().key("reason").plain(&why.to_string()).key("ms_ago").number(millis(*ago)).close_object()
        }
        None => json.null(),
    };
    json.key("addresses").open_array();
    for address in &endpoint.addresses {
        json.plain(&address.to_string());
    }
    json.close_array().close_object();
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn write_bulkhead(bulkhead: &limits::View, json: &mut Writer<'_>) {
    json.open_object().key("scope").plain(bulkhead.scope.label()).key("name").plain(&bulkhead.name).key("limit");
    match bulkhead.limit {
        Some(limit) => json.number(limit as u64),
        None => json.null(),
    };
    json.key("in_use").number(bulkhead.used as u64).key("waiting").number(bulkhead.waiting as u64);
    json.key("refused").number(bulkhead.refused).close_object();
}

/// The signals that ask a running process for something.
pub(super) struct Asked {
    /// SIGHUP: read the config and open the access log anew.
    hangup: Signal,
    /// SIGUSR1: open the access log anew, as nginx does on it, and what rotates its logs.
    reopen: Signal,
    /// SIGUSR2, which upgrades other servers.
    upgrade: Signal,
}

impl Asked {
    /// Watches them from now on; before that they end the process. Whoever sees it listen may send one. From now on a file
    /// that has reached the limit of its size is a write that fails, and not the end of the process, too.
    ///
    /// # Errors
    ///
    /// The system has no room for that.
    pub(super) fn watch() -> std::io::Result<Self> {
        /// The same on all systems that this runs on.
        const SIGXFSZ: i32 = 25;
        // It is only to begin with: any runtime that is there later hears of the signals.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        let _within = runtime.enter();
        // Nobody asks whether it came: who writes is told.
        drop(signal(SignalKind::from_raw(SIGXFSZ))?);
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            reopen: signal(SignalKind::user_defined1())?,
            upgrade: signal(SignalKind::user_defined2())?,
        })
    }
}

/// Reloads on SIGHUP and when a file of the config changes.
pub(super) struct Reload {
    pub(super) control: Control,
    pub(super) asked: Mutex<Option<Asked>>,
    /// Gets one permit when it looks for the signal: before that the process does not say that it serves.
    pub(super) ready: Arc<Semaphore>,
}

#[async_trait]
impl BackgroundService for Reload {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        let asked = self.asked.lock().await.take();
        self.ready.add_permits(1);
        let Some(mut asked) = asked else { return };
        let mut watcher = Watcher::new(self.control.files());
        loop {
            tokio::select! {
                _ = shutdown.changed() => return,
                _ = asked.hangup.recv() => self.control.observer.reopen(),
                _ = asked.reopen.recv() => {
                    self.control.observer.reopen();
                    continue;
                }
                _ = asked.upgrade.recv() => {
                    log::warn!("SIGUSR2 asks for nothing here: `tidegate upgrade` puts another process in this one's place");
                    continue;
                }
                // Whoever changed the file may have said so as well.
                () = watcher.changed() => if self.control.is_read(&watcher.held()).await { continue },
                () = self.control.has_read.notified() => {
                    watcher.set_files(self.control.files());
                    continue;
                }
            }
            // What came of it is in the log and in a metric.
            let _ = self.control.read_again().await;
        }
    }
}
