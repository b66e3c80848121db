//! What runs: checked, complete and never changed. A reload makes new [`Settings`].

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::limits;
use crate::observe::{Alias, KeyLabel, LogPath};
use crate::provider::facts::{self, Model, Said};
use crate::provider::{Provider, Quirks};
use crate::routing::{Glob, Models, Route, Rule};
use crate::secret::SealingKey;

use super::clients::Clients;
use super::network::{self, Network};

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
    /// What is said of models, beside the table that is compiled in.
    pub facts: FactRules,
    /// What clients may ask for.
    pub models: Models,
    /// What may run at once for a model, by its name in `models`; without an entry, anything.
    pub model_limits: BTreeMap<Arc<str>, limits::Rule>,
    /// Where operations go that name no model, by the operation's name.
    pub operations: BTreeMap<&'static str, Arc<str>>,
    /// Which requests are served by another model than they ask for; the first that is for one counts.
    pub rules: Vec<Rule>,
    /// Who may call.
    pub clients: Clients,
    /// Seals the opaque state that travels through clients.
    pub sealing_key: SealingKey,
    /// Sealed it before: what they sealed is opened.
    pub former_sealing_keys: Vec<SealingKey>,
    /// Every file that was read: the configuration, secrets, certificates. Their change calls for a reload.
    pub files: Vec<PathBuf>,
}

impl Settings {
    /// What is known of `model` at `provider` for a request that comes by its entry of `models`, and the lines that tell it.
    /// Which of several entries that say otherwise of `max_output` it comes by is not known: then a line tells that.
    #[must_use]
    pub fn told_of(&self, provider: &Provider, model: &str) -> (Model, Vec<String>) {
        let leads_there = |route: &&Arc<Route>| {
            let mut targets = route.targets.iter().filter(|target| target.provider == provider.name);
            targets.any(|target| Glob::new(&*target.model).matches(model))
        };
        let routes = self.models.list().chain(self.models.patterns());
        let said: BTreeSet<Option<u32>> = routes.filter(leads_there).map(|route| route.max_output).collect();
        let mut known = self.facts.model(provider, model);
        if let (1, Some(Some(most))) = (said.len(), said.first()) {
            known.facts.max_output = u64::from(*most);
        }
        let (known, mut lines) = FactRules::told(known);
        if said.len() > 1 {
            let values = said.iter().map(|value| value.map_or("none".to_owned(), |value| value.to_string()));
            let values = values.collect::<Vec<_>>().join(", ");
            lines.push(format!("max_output: the entries of `models` that lead here differ ({values}), so none counts"));
        }
        (known, lines)
    }

    /// The keys in which `next` differs from these settings, with which a process was started, and which it cannot take on
    /// while it runs: they wait for a restart.
    #[must_use]
    pub fn needs_restart(&self, next: &Self) -> Vec<&'static str> {
        self.in_use(next).1
    }

    /// What a process that was started with these settings does where it was given `next`, and the keys that wait for a
    /// restart. Where that is over HTTP/2 alone, the values are those of HTTP/1.1.
    #[must_use]
    pub fn in_use(&self, next: &Self) -> (Self, Vec<&'static str>) {
        let (mut used, mut keys) = (next.clone(), Vec::new());
        // A listener's certificate is exchanged while it serves.
        let listener = |listener: &Listener| (listener.address, listener.tls.is_some());
        let listeners = |settings: &Self| -> Vec<_> { settings.server.listen.iter().map(listener).collect() };
        if listeners(self) != listeners(next) {
            keys.push("server.listen");
            let same =
                |own: &Listener| next.server.listen.iter().find(|other| listener(other) == listener(own)).cloned();
            let own = self.server.listen.iter();
            used.server.listen = own.map(|own| same(own).unwrap_or_else(|| own.clone())).collect();
        }
        let (server, to) = (&self.server, &mut used.server);
        hold("server.threads", &server.threads, &mut to.threads, &mut keys);
        hold("server.upgrade_socket", &server.upgrade_socket, &mut to.upgrade_socket, &mut keys);
        // HTTP/1.1 takes these two on at once.
        let (mut keep_alive, mut header_size) = (to.timeouts.keep_alive, to.limits.header_size);
        hold("server.timeouts.keep_alive over HTTP/2", &server.timeouts.keep_alive, &mut keep_alive, &mut keys);
        hold("server.limits.header_size over HTTP/2", &server.limits.header_size, &mut header_size, &mut keys);
        hold("server.limits.h2_streams", &server.limits.h2_streams, &mut to.limits.h2_streams, &mut keys);
        hold("admin.listen", &self.admin.listen, &mut used.admin.listen, &mut keys);
        hold("access_log.enabled", &self.access_log.enabled, &mut used.access_log.enabled, &mut keys);
        hold("access_log.path", &self.access_log.path, &mut used.access_log.path, &mut keys);
        hold("metrics.key_label", &self.metrics.key_label, &mut used.metrics.key_label, &mut keys);
        (used, keys)
    }
}

/// Leaves `started` in the place of `next`, and notes the key where they differ.
fn hold<T: Clone + PartialEq>(key: &'static str, started: &T, next: &mut T, keys: &mut Vec<&'static str>) {
    if started != next {
        keys.push(key);
        next.clone_from(started);
    }
}

/// What the operator says of models, by patterns of their names.
#[derive(Debug, Clone, Default)]
pub struct FactRules {
    /// The file that says `everywhere`; `None` for none.
    pub file: Option<PathBuf>,
    /// Of models at any provider; less specific patterns first.
    pub everywhere: Vec<FactRule>,
    /// Of models at one provider, by its name; less specific patterns first.
    pub here: BTreeMap<Arc<str>, Vec<FactRule>>,
}

/// What the operator says of the models that a pattern fits.
#[derive(Debug, Clone)]
pub struct FactRule {
    /// The pattern.
    pub pattern: Glob,
    /// What is said.
    pub said: Said,
}

impl FactRules {
    /// What is known of `model` at `provider`.
    #[must_use]
    pub fn model(&self, provider: &Provider, model: &str) -> Model {
        let fits = |rule: &&FactRule| rule.pattern.matches(model);
        let here = self.here.get(&provider.name).into_iter().flatten();
        let everywhere = self.everywhere.iter().filter(fits).map(|rule| &rule.said);
        facts::of(model, &provider.kind, &provider.quirks, everywhere, here.filter(fits).map(|rule| &rule.said))
    }

    /// What the table that is compiled in knows of `model` at its own vendor.
    #[must_use]
    pub fn table(model: &str) -> Model {
        facts::of(model, "", &Quirks::default(), [], [])
    }

    /// What is known of a model, and the lines that tell it.
    #[must_use]
    pub fn told(model: Model) -> (Model, Vec<String>) {
        let lines = Self::lines(&model);
        (model, lines)
    }

    /// What is known of a model where it is not the usual, as one would write it.
    #[must_use]
    pub fn lines(model: &Model) -> Vec<String> {
        facts::lines(model)
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
    /// Bytes of the largest request body that is streamed through.
    pub upload_limit: usize,
    /// Bytes of answers that are kept for clients that do not bring them back; 0 for none.
    pub recall_memory: usize,
    /// Worker threads; `None` for one a core.
    pub threads: Option<usize>,
    /// Tries of one request, over all targets and endpoints; at least 1.
    pub max_attempts: usize,
    /// How long new connections are taken after SIGTERM.
    pub drain_delay: Duration,
    /// How long requests that are under way may go on after SIGTERM or an upgrade.
    pub drain_deadline: Duration,
    /// Where a new process asks for the listening sockets; `None` for where the service manager has room for it.
    pub upgrade_socket: Option<PathBuf>,
    /// Headers of a provider that pass to a client of its format: names in lower case, `*` at the end for any rest.
    pub response_headers: Vec<String>,
    /// How long the edge waits for a client.
    pub timeouts: ClientTimeouts,
    /// How much a client may send or hold.
    pub limits: ClientLimits,
    /// Who may call.
    pub access: Access,
}

impl Server {
    /// True if a provider's header of this name passes to a client of its format.
    #[must_use]
    pub fn passes_header(&self, name: &str) -> bool {
        self.response_headers.iter().any(|pattern| match pattern.strip_suffix('*') {
            Some(front) => name.starts_with(front),
            None => name == pattern,
        })
    }
}

/// How long the edge waits for a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientTimeouts {
    /// A TLS handshake.
    pub tls: Duration,
    /// A request's head, from its first byte to its last.
    pub header: Duration,
    /// A request's body, besides what [`ClientLimits::body_rate`] gives.
    pub body: Duration,
    /// A connection without a request.
    pub keep_alive: Duration,
    /// A client that takes nothing of an answer.
    pub write: Duration,
}

/// How much a client may send or hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientLimits {
    /// Connections at once.
    pub connections: usize,
    /// Connections at once of one address; `None` for no limit.
    pub connections_per_ip: Option<usize>,
    /// New connections a second of one address; `None` for no limit.
    pub connection_rate_per_ip: Option<u32>,
    /// Requests a second of one client address; `None` for no limit.
    pub request_rate_per_ip: Option<u32>,
    /// Bytes of a request's head.
    pub header_size: usize,
    /// Headers of a request.
    pub header_count: usize,
    /// Bytes a second of a request's body, at least 1.
    pub body_rate: usize,
    /// Requests at once on one HTTP/2 connection.
    pub h2_streams: u32,
    /// Requests at once on all connections.
    pub requests: u32,
    /// Resident memory above which new requests are refused.
    pub memory: MemoryLimit,
}

/// Resident memory above which new requests are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MemoryLimit {
    /// Most of what the control group allows, where there is one.
    #[default]
    Derived,
    /// None.
    Off,
    /// So many bytes.
    Bytes(u64),
}

/// Who may call, by address.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Access {
    /// Whose `x-forwarded-for` is believed.
    pub trusted_proxies: Vec<Network>,
    /// Who may call; empty for everyone.
    pub allow: Vec<Network>,
    /// Who may not.
    pub deny: Vec<Network>,
}

impl Access {
    /// True if a client at `address` may call.
    #[must_use]
    pub fn admits(&self, address: IpAddr) -> bool {
        let holds = |networks: &[Network]| networks.iter().any(|network| network.contains(address));
        !holds(&self.deny) && (self.allow.is_empty() || holds(&self.allow))
    }

    /// True if the proxy at `address` is believed.
    #[must_use]
    pub fn trusts(&self, address: IpAddr) -> bool {
        self.trusted_proxies.iter().any(|network| network.contains(address))
    }

    /// Who calls, where `peer` connected and `forwarded` are the values of `x-forwarded-for` in their order: the last
    /// address that no trusted proxy has. What is no address ends the search at the proxy that wrote it.
    pub fn client<'a>(&self, peer: IpAddr, forwarded: impl DoubleEndedIterator<Item = &'a str>) -> IpAddr {
        let mut client = peer;
        let written = forwarded.rev().flat_map(|value| value.rsplit(',')).map(str::trim);
        for text in written.filter(|text| !text.is_empty()) {
            if !self.trusts(client) {
                break;
            }
            match network::address(text) {
                Some(address) => client = address,
                None => break,
            }
        }
        client
    }
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

/// Names and labels of the metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metrics {
    /// Further families of names; sorted, each once.
    pub aliases: Vec<Alias>,
    /// What stands for the client.
    pub key_label: KeyLabel,
}
