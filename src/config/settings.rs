//! What runs: checked, complete and never changed. A reload makes new [`Settings`].

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::provider::Provider;
use crate::routing::Models;
use crate::secret::SealingKey;

use super::clients::Clients;

/// A whole configuration.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The public listeners and their bounds.
    pub server: Server,
    /// The admin listener.
    pub admin: Admin,
    /// The access log.
    pub access_log: AccessLog,
    /// Metrics.
    pub metrics: Metrics,
    /// Providers by name. Every target of `models` names one of them.
    pub providers: BTreeMap<Arc<str>, Arc<Provider>>,
    /// What clients may ask for.
    pub models: Models,
    /// Who may call.
    pub clients: Clients,
    /// Seals the opaque state that travels through clients.
    pub sealing_key: SealingKey,
    /// Every file that was read: the configuration, secrets, certificates. Their change calls for a reload.
    pub files: Vec<PathBuf>,
}

impl Settings {
    /// The keys in which `next` differs from what a running process can take on: they wait for a restart.
    #[must_use]
    pub fn needs_restart(&self, next: &Self) -> Vec<&'static str> {
        let mut keys = Vec::new();
        let mut note = |key, changed: bool| {
            if changed {
                keys.push(key);
            }
        };
        note("server.listen", self.server.listen != next.server.listen);
        note("server.threads", self.server.threads != next.server.threads);
        note("admin.listen", self.admin.listen != next.admin.listen);
        note("access_log.path", self.access_log.path != next.access_log.path);
        keys
    }
}

/// The public listeners and their bounds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Where clients connect; never empty.
    pub listen: Vec<Listener>,
    /// Bytes of the largest request body.
    pub body_limit: usize,
    /// Bytes of request bodies that all requests together may hold; at least `body_limit`.
    pub body_buffer_total: usize,
    /// Worker threads; `None` for one a core.
    pub threads: Option<usize>,
    /// Tries of one request, over all targets and endpoints; at least 1.
    pub max_attempts: usize,
    /// How long running requests may go on after the signal to stop.
    pub shutdown_timeout: Duration,
}

/// One public listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// Where it listens.
    pub address: SocketAddr,
    /// Its certificate; `None` for plain HTTP.
    pub tls: Option<Tls>,
}

/// Files of a certificate, absolute or relative to the working directory. They were readable and looked like PEM when
/// the configuration was loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// The chain.
    pub cert: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// The admin listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admin {
    /// Where it listens.
    pub listen: SocketAddr,
}

/// The access log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessLog {
    /// Whether it is written.
    pub enabled: bool,
    /// Where it goes.
    pub path: LogPath,
}

/// Where a log goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogPath {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// A file, appended to.
    File(PathBuf),
}

/// Names and labels of the metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metrics {
    /// Further families of names; sorted, each once.
    pub aliases: Vec<MetricAlias>,
    /// What stands for the client.
    pub key_label: KeyLabel,
}

/// A family of further names for the same figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum MetricAlias {
    /// `http_requests_total` and its kin.
    Http,
    /// `llm_requests_total` and its kin.
    Llm,
    /// OpenTelemetry's `gen_ai_*`.
    GenAi,
}

/// What stands for the client in a metric's label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KeyLabel {
    /// Its name.
    #[default]
    Name,
    /// A short hash of its name.
    Hash,
    /// Nothing.
    None,
}
