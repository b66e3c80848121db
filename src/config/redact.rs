//! What the admin listener shows of the running configuration: all of it but secrets, and not their hashes either.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;

use crate::limits;
use crate::observe::LogPath;
use crate::provider::facts::Said;
use crate::provider::{Breaker, EndpointSpec, Provider};
use crate::routing::{Glob, Hedge, OnLoss, Price, Retries, Route, Rule, Target, When};

use super::network::Network;
use super::settings::{ClientLimits, ClientTimeouts, FactRule, FactRules, Listener, MemoryLimit, Settings};
use super::units::duration_text;

/// The settings as indented JSON, in the shape in which they are written, with every default filled in. Of quirks stands
/// there what holds, a line each.
#[must_use]
pub fn redacted(settings: &Settings) -> String {
    serde_json::to_string_pretty(&View::of(settings)).unwrap_or_default()
}

/// The same of a process that was started with some settings and given others since: what it does, and which keys of the
/// others wait for a restart.
#[must_use]
pub fn redacted_in_use(started: &Settings, given: &Settings) -> String {
    let (used, keys) = started.in_use(given);
    let view = View { waits_for_restart: Some(keys), ..View::of(&used) };
    serde_json::to_string_pretty(&view).unwrap_or_default()
}

/// What stands for a secret.
const HIDDEN: &str = "(hidden)";

#[derive(Serialize)]
struct View<'a> {
    server: ServerView,
    admin: AdminView,
    access_log: LogView,
    metrics: MetricsView,
    providers: BTreeMap<&'a str, ProviderView<'a>>,
    facts_file: Option<String>,
    models: BTreeMap<&'a str, ModelView>,
    operations: BTreeMap<&'static str, &'a str>,
    rules: Vec<RuleView<'a>>,
    auth: &'static str,
    clients: Vec<ClientView>,
    /// `None` where nothing runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    waits_for_restart: Option<Vec<&'static str>>,
}

#[derive(Serialize)]
struct ServerView {
    listen: Vec<ListenView>,
    body_limit: usize,
    body_buffer_total: usize,
    upload_limit: usize,
    recall_memory: usize,
    threads: Option<usize>,
    sealing_key: &'static str,
    former_sealing_keys: Vec<&'static str>,
    max_attempts: usize,
    drain_delay: String,
    drain_deadline: String,
    upgrade_socket: Option<String>,
    response_headers: Vec<String>,
    timeouts: BTreeMap<&'static str, String>,
    limits: ServerLimitsView,
    trusted_proxies: Vec<String>,
    allow: Vec<String>,
    deny: Vec<String>,
}

#[derive(Serialize)]
struct ListenView {
    address: String,
    tls: Option<TlsView>,
}

/// Where the files are; what is in them is read by nobody here.
#[derive(Serialize)]
struct TlsView {
    cert: String,
    key: String,
}

#[derive(Serialize)]
struct ServerLimitsView {
    connections: usize,
    connections_per_ip: Option<usize>,
    connection_rate_per_ip: Option<u32>,
    request_rate_per_ip: Option<u32>,
    header_size: usize,
    header_count: usize,
    body_rate: usize,
    h2_streams: u32,
    requests: u32,
    memory: String,
}

#[derive(Serialize)]
struct AdminView {
    listen: String,
}

#[derive(Serialize)]
struct LogView {
    enabled: bool,
    path: String,
}

#[derive(Serialize)]
struct MetricsView {
    aliases: Vec<&'static str>,
    key_label: &'static str,
}

#[derive(Serialize)]
struct ProviderView<'a> {
    kind: &'a str,
    format: &'static str,
    key: Option<&'static str>,
    auth_header: &'a str,
    auth_prefix: Option<&'a str>,
    headers: BTreeMap<&'a str, &'a str>,
    endpoints: Vec<EndpointView>,
    paths: BTreeMap<&'a str, &'a str>,
    api_version: Option<&'a str>,
    ca: Option<String>,
    balance: &'static str,
    health: Option<HealthView<'a>>,
    timeouts: BTreeMap<&'static str, String>,
    streams: BTreeMap<&'static str, String>,
    breaker: BreakerView,
    #[serde(flatten)]
    limit: LimitView,
    quirks: Vec<String>,
    facts: BTreeMap<&'a str, BTreeMap<String, Value>>,
}

#[derive(Serialize)]
struct EndpointView {
    url: String,
    weight: u32,
    http: &'static str,
    max_concurrent: Option<u32>,
}

#[derive(Serialize)]
struct LimitView {
    max_concurrent: Option<u32>,
    queue: QueueView,
    #[serde(skip_serializing_if = "Option::is_none")]
    adaptive: Option<AdaptView>,
}

#[derive(Serialize)]
struct QueueView {
    size: u32,
    wait: String,
}

#[derive(Serialize)]
struct AdaptView {
    min: u32,
    max: u32,
    tolerance: f64,
}

#[derive(Serialize)]
struct HealthView<'a> {
    path: Option<&'a str>,
    interval: String,
    timeout: String,
    unhealthy_after: usize,
    healthy_after: usize,
}

#[derive(Serialize)]
struct BreakerView {
    failures: u32,
    open: String,
    open_max: String,
    cooldown: String,
    cooldown_max: String,
    ejected_max: u32,
    panic: u32,
    slow_start: String,
}

#[derive(Serialize)]
struct RetriesView {
    rounds: u32,
    backoff: String,
    backoff_max: String,
    retry_after_max: String,
    budget: u32,
    budget_floor: u32,
}

#[derive(Serialize)]
struct HedgeView {
    percentile: u32,
    least: String,
    budget: u32,
}

#[derive(Serialize)]
struct ModelView {
    strategy: &'static str,
    affinity: String,
    targets: Vec<TargetView>,
    on_loss: &'static str,
    answer_model: &'static str,
    max_output: Option<u32>,
    fallback_on: Vec<String>,
    retries: RetriesView,
    hedge: Option<HedgeView>,
    #[serde(flatten)]
    limit: Option<LimitView>,
}

#[derive(Serialize)]
struct TargetView {
    to: String,
    weight: u32,
    price: Option<PriceView>,
    /// What of the model is taken to be otherwise than of any model of its format, as one would write it.
    facts: Vec<String>,
}

#[derive(Serialize)]
struct PriceView {
    input: f64,
    output: f64,
}

#[derive(Serialize)]
struct RuleView<'a> {
    name: &'a str,
    when: WhenView<'a>,
    model: &'a str,
}

#[derive(Serialize)]
struct WhenView<'a> {
    model: Option<&'a str>,
    client: Option<&'a str>,
    headers: BTreeMap<&'a str, &'a str>,
    body_over: Option<usize>,
    body_under: Option<usize>,
    stream: Option<bool>,
    tools: Option<bool>,
    images: Option<bool>,
    documents: Option<bool>,
}

#[derive(Serialize)]
struct ClientView {
    name: String,
    key: &'static str,
    models: Vec<String>,
    /// `null` for all.
    providers: Option<Vec<String>>,
    raw: Vec<String>,
    /// `null` for the model's.
    on_loss: Option<&'static str>,
    priority: &'static str,
    #[serde(flatten)]
    limit: LimitView,
}

impl<'a> View<'a> {
    fn of(settings: &'a Settings) -> Self {
        let routes = settings.models.list().chain(settings.models.patterns());
        let open = settings.clients.is_open();
        let callers = if open { Vec::new() } else { settings.clients.callers() };
        Self {
            server: server(settings),
            admin: AdminView { listen: settings.admin.listen.to_string() },
            access_log: LogView { enabled: settings.access_log.enabled, path: log_path(&settings.access_log.path) },
            metrics: metrics(settings),
            providers: settings
                .providers
                .iter()
                .map(|(name, provider)| (&**name, ProviderView::of(provider, settings)))
                .collect(),
            facts_file: settings.facts.file.as_ref().map(|path| path.display().to_string()),
            models: routes.map(|route| (&*route.name, ModelView::of(route, settings))).collect(),
            operations: settings.operations.iter().map(|(name, provider)| (*name, &**provider)).collect(),
            rules: settings.rules.iter().map(RuleView::of).collect(),
            auth: if open { "off" } else { "keys" },
            clients: callers
                .iter()
                .map(|caller| ClientView {
                    name: caller.name().to_string(),
                    key: HIDDEN,
                    models: caller.models().map(str::to_owned).collect(),
                    providers: caller.providers().map(names),
                    raw: names(caller.raw()),
                    on_loss: caller.on_loss().map(OnLoss::name),
                    priority: caller.class().name(),
                    limit: LimitView::of(&caller.limit()),
                })
                .collect(),
            waits_for_restart: None,
        }
    }
}

fn names(names: &[Arc<str>]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

fn server(settings: &Settings) -> ServerView {
    let server = &settings.server;
    ServerView {
        listen: server.listen.iter().map(listener).collect(),
        body_limit: server.body_limit,
        body_buffer_total: server.body_buffer_total,
        upload_limit: server.upload_limit,
        recall_memory: server.recall_memory,
        threads: server.threads,
        sealing_key: HIDDEN,
        former_sealing_keys: vec![HIDDEN; settings.former_sealing_keys.len()],
        max_attempts: server.max_attempts,
        drain_delay: duration_text(server.drain_delay),
        drain_deadline: duration_text(server.drain_deadline),
        upgrade_socket: server.upgrade_socket.as_ref().map(|path| path.display().to_string()),
        response_headers: server.response_headers.clone(),
        timeouts: timeouts(&server.timeouts),
        limits: limits(&server.limits),
        trusted_proxies: networks(&server.access.trusted_proxies),
        allow: networks(&server.access.allow),
        deny: networks(&server.access.deny),
    }
}

fn listener(listener: &Listener) -> ListenView {
    let tls = listener
        .tls
        .as_ref()
        .map(|tls| TlsView { cert: tls.cert.display().to_string(), key: tls.key.display().to_string() });
    ListenView { address: listener.address.to_string(), tls }
}

fn timeouts(timeouts: &ClientTimeouts) -> BTreeMap<&'static str, String> {
    let ClientTimeouts { tls, header, body, keep_alive, write } = timeouts;
    let all = [("tls", tls), ("header", header), ("body", body), ("keep_alive", keep_alive), ("write", write)];
    all.into_iter().map(|(name, time)| (name, duration_text(*time))).collect()
}

fn limits(limits: &ClientLimits) -> ServerLimitsView {
    ServerLimitsView {
        connections: limits.connections,
        connections_per_ip: limits.connections_per_ip,
        connection_rate_per_ip: limits.connection_rate_per_ip,
        request_rate_per_ip: limits.request_rate_per_ip,
        header_size: limits.header_size,
        header_count: limits.header_count,
        body_rate: limits.body_rate,
        h2_streams: limits.h2_streams,
        requests: limits.requests,
        memory: match limits.memory {
            MemoryLimit::Derived => "derived".to_owned(),
            MemoryLimit::Off => "off".to_owned(),
            MemoryLimit::Bytes(bytes) => bytes.to_string(),
        },
    }
}

fn networks(networks: &[Network]) -> Vec<String> {
    networks.iter().map(ToString::to_string).collect()
}

fn log_path(path: &LogPath) -> String {
    match path {
        LogPath::Stdout => "stdout".to_owned(),
        LogPath::Stderr => "stderr".to_owned(),
        LogPath::File(path) => path.display().to_string(),
    }
}

fn metrics(settings: &Settings) -> MetricsView {
    MetricsView {
        aliases: settings.metrics.aliases.iter().map(|alias| alias.name()).collect(),
        key_label: settings.metrics.key_label.name(),
    }
}

impl<'a> ProviderView<'a> {
    fn of(provider: &'a Provider, settings: &'a Settings) -> Self {
        // Only this header is known to hold no credential.
        let shown = |(name, value): &'a (String, String)| {
            (name.as_str(), if name == "anthropic-version" { value.as_str() } else { HIDDEN })
        };
        let timeouts = &provider.timeouts;
        let deadlines = [
            ("connect", timeouts.connect),
            ("read", timeouts.read),
            ("first_byte", timeouts.first_byte),
            ("between", timeouts.between),
            ("stream", timeouts.stream),
            ("write", timeouts.write),
            ("idle", timeouts.idle),
        ];
        Self {
            kind: &provider.kind,
            format: provider.format.name(),
            key: provider.auth.as_ref().map(|_| HIDDEN),
            auth_header: provider.auth.as_ref().map_or("none", |auth| &auth.header),
            auth_prefix: provider.auth.as_ref().map(|auth| &*auth.prefix),
            headers: provider.headers.iter().map(shown).collect(),
            endpoints: provider.endpoints.iter().map(EndpointView::of).collect(),
            paths: provider.layout.templates().collect(),
            api_version: provider.layout.api_version(),
            ca: provider.authorities.as_ref().map(|authorities| authorities.path.display().to_string()),
            balance: provider.balance.name(),
            health: provider.health.as_ref().map(|health| HealthView {
                path: health.path.as_deref(),
                interval: duration_text(health.interval),
                timeout: duration_text(health.timeout),
                unhealthy_after: health.unhealthy_after,
                healthy_after: health.healthy_after,
            }),
            timeouts: deadlines.into_iter().map(|(name, time)| (name, duration_text(time))).collect(),
            streams: [
                ("hold", provider.streams.hold),
                ("heartbeat", provider.streams.heartbeat),
                ("early_head", provider.streams.early_head),
            ]
            .map(|(name, time)| (name, duration_text(time)))
            .into(),
            breaker: BreakerView::of(&provider.breaker),
            limit: LimitView::of(&provider.limit),
            quirks: provider.quirks.lines().collect(),
            facts: facts(settings.facts.here.get(&provider.name).map(Vec::as_slice).unwrap_or_default()),
        }
    }
}

/// What the operator says of models, by its patterns.
fn facts(rules: &[FactRule]) -> BTreeMap<&str, BTreeMap<String, Value>> {
    rules.iter().map(|rule| (rule.pattern.as_str(), said(&rule.said))).collect()
}

fn said(said: &Said) -> BTreeMap<String, Value> {
    let Ok(Value::Object(all)) = serde_json::to_value(said) else { return BTreeMap::new() };
    all.into_iter().filter(|(_, value)| !value.is_null()).collect()
}

impl BreakerView {
    fn of(breaker: &Breaker) -> Self {
        Self {
            failures: breaker.failures,
            open: duration_text(breaker.open),
            open_max: duration_text(breaker.open_max),
            cooldown: duration_text(breaker.cooldown),
            cooldown_max: duration_text(breaker.cooldown_max),
            ejected_max: breaker.ejected_max,
            panic: breaker.panic,
            slow_start: duration_text(breaker.slow_start),
        }
    }
}

impl LimitView {
    fn of(rule: &limits::Rule) -> Self {
        Self {
            max_concurrent: rule.most,
            queue: QueueView { size: rule.waiting, wait: duration_text(rule.patience) },
            adaptive: rule.adapt.map(|adapt| AdaptView { min: adapt.min, max: adapt.max, tolerance: adapt.tolerance }),
        }
    }
}

impl RetriesView {
    fn of(retries: &Retries) -> Self {
        Self {
            rounds: retries.rounds,
            backoff: duration_text(retries.backoff),
            backoff_max: duration_text(retries.backoff_max),
            retry_after_max: duration_text(retries.retry_after_max),
            budget: retries.budget,
            budget_floor: retries.budget_floor,
        }
    }
}

impl HedgeView {
    fn of(hedge: &Hedge) -> Self {
        Self { percentile: hedge.percentile, least: duration_text(hedge.least), budget: hedge.budget }
    }
}

impl EndpointView {
    fn of(spec: &EndpointSpec) -> Self {
        let scheme = if spec.tls { "https" } else { "http" };
        Self {
            url: format!("{scheme}://{}{}", spec.authority(), spec.base_path),
            weight: spec.weight,
            http: spec.http.name(),
            max_concurrent: spec.most,
        }
    }
}

impl<'a> RuleView<'a> {
    fn of(rule: &'a Rule) -> Self {
        let When { model, client, headers, body_over, body_under, stream, tools, images, documents } = &rule.when;
        let when = WhenView {
            model: model.as_ref().map(Glob::as_str),
            client: client.as_ref().map(Glob::as_str),
            headers: headers.iter().map(|(name, glob)| (name.as_str(), glob.as_str())).collect(),
            body_over: *body_over,
            body_under: *body_under,
            stream: *stream,
            tools: *tools,
            images: *images,
            documents: *documents,
        };
        Self { name: &rule.name, when, model: &rule.model }
    }
}

impl ModelView {
    fn of(route: &Route, settings: &Settings) -> Self {
        let price = |price: &Price| PriceView { input: price.input, output: price.output };
        let facts = |target: &Target| {
            let provider = settings.providers.get(&target.provider);
            provider
                .map(|provider| FactRules::lines(&settings.facts.model(provider, &target.model)))
                .unwrap_or_default()
        };
        let targets = route.targets.iter().map(|target| TargetView {
            to: format!("{}/{}", target.provider, target.model),
            weight: target.weight,
            price: target.price.as_ref().map(price),
            facts: facts(target),
        });
        Self {
            strategy: route.strategy.name(),
            affinity: route.affinity.to_string(),
            targets: targets.collect(),
            on_loss: route.on_loss.name(),
            answer_model: route.answer_model.name(),
            max_output: route.max_output,
            fallback_on: route.retries.on.iter().map(|class| class.name()).collect(),
            retries: RetriesView::of(&route.retries),
            hedge: route.hedge.as_ref().map(HedgeView::of),
            limit: settings.model_limits.get(&route.name).map(LimitView::of),
        }
    }
}

#[cfg(test)]
mod tests;
