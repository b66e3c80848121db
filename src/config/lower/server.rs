//! Listeners, bounds, logs and metrics.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::super::fields::{Fields, Text, scalar_of, word};
use super::super::file;
use super::super::network::Network;
use super::super::problem::Problems;
use super::super::schema;
use super::super::settings::{
    Access, AccessLog, Admin, ClientLimits, ClientTimeouts, Listener, MemoryLimit, Metrics, Server, Tls,
};
use super::super::units;
use super::FileList;
use crate::observe::{Alias, KeyLabel, LogPath, takes_lines};

/// The longest that anything may be waited for.
const DAY: Duration = Duration::from_secs(24 * 3600);

/// The shortest deadline of a client.
const SHORTEST: Duration = Duration::from_millis(10);

/// What vendors tell of limits, costs and ids of an answer.
const RESPONSE_HEADERS: [&str; 16] = [
    "anthropic-*",
    "apim-request-id",
    "azureml-*",
    "cerebras-*",
    "cf-ray",
    "fireworks-*",
    "mistral-*",
    "openai-*",
    "ratelimit-*",
    "server-timing",
    "x-amzn-*",
    "x-generation-id",
    "x-groq-*",
    "x-ms-*",
    "x-ratelimit-*",
    "x-together-*",
];

/// Bytes of a certificate or key file.
const MAX_PEM: u64 = 1 << 20;

/// Bytes of the longest path that the system binds a socket to.
const SOCKET_PATH: usize = 107;
/// The longest ending that stands at the upgrade socket's path while it is opened: a process id, and a word.
const FRESH: &str = "4194304.new";

fn upgrade_socket(fields: &Fields<'_>, folder: &Path) -> Option<PathBuf> {
    let text = fields.text("upgrade_socket")?;
    let path = folder.join(text.value);
    let over = path.with_extension(FRESH).as_os_str().len().saturating_sub(SOCKET_PATH);
    if over > 0 {
        let message = format!("the path is {over} bytes too long for a socket");
        fields.problems().add(text.place, message, "give a shorter one, such as /run/tidegate/upgrade.sock");
    }
    Some(path)
}

pub(super) fn server(fields: &Fields<'_>, files: &mut FileList<'_>) -> Server {
    let body_limit = fields.size("body_limit", &(1024..=1 << 30));
    let body_buffer_total = fields.size("body_buffer_total", &(1024..=64 << 30));
    if body_buffer_total < body_limit {
        let at = fields.entry("body_buffer_total").or_else(|| fields.entry("body_limit"));
        let place = at.map_or(fields.owner(), |entry| &entry.node.place);
        let message = "all requests together may hold less than one may send";
        fields.problems().add(place, message, "set `body_buffer_total` to several times `body_limit`");
    }
    Server {
        listen: listeners(fields, files),
        body_limit,
        body_buffer_total,
        upload_limit: fields.size("upload_limit", &(1024..=1 << 40)),
        recall_memory: fields.size("recall_memory", &(0..=64 << 30)),
        threads: fields.count("threads", &(1..=1024)).map(|threads| threads as usize),
        max_attempts: fields.count("max_attempts", &(1..=16)).unwrap_or(1) as usize,
        drain_delay: fields.duration("drain_delay", &(Duration::ZERO..=Duration::from_secs(300))),
        drain_deadline: fields.duration("drain_deadline", &(Duration::ZERO..=DAY)),
        upgrade_socket: upgrade_socket(fields, files.folder),
        response_headers: response_headers(fields),
        timeouts: timeouts(&fields.section_or_empty("timeouts", &schema::SERVER_TIMEOUTS)),
        limits: limits(&fields.section_or_empty("limits", &schema::SERVER_LIMITS)),
        access: Access {
            trusted_proxies: networks(fields, "trusted_proxies"),
            allow: allowed(fields),
            deny: networks(fields, "deny"),
        },
    }
}

fn timeouts(fields: &Fields<'_>) -> ClientTimeouts {
    const HOUR: Duration = Duration::from_secs(3600);
    ClientTimeouts {
        tls: fields.duration("tls", &(SHORTEST..=HOUR)),
        header: fields.duration("header", &(SHORTEST..=HOUR)),
        body: fields.duration("body", &(SHORTEST..=DAY)),
        keep_alive: fields.duration("keep_alive", &(Duration::from_secs(1)..=DAY)),
        write: fields.duration("write", &(SHORTEST..=DAY)),
    }
}

fn limits(fields: &Fields<'_>) -> ClientLimits {
    let count = |name, most| fields.count(name, &(1..=most)).map(|count| count as usize);
    ClientLimits {
        connections: count("connections", 10_000_000).unwrap_or(1),
        connections_per_ip: count("connections_per_ip", 10_000_000),
        connection_rate_per_ip: fields.count("connection_rate_per_ip", &(1..=1_000_000)),
        request_rate_per_ip: fields.count("request_rate_per_ip", &(1..=1_000_000)),
        header_size: fields.size("header_size", &(1024..=256 << 10)),
        header_count: fields.count("header_count", &(8..=256)).map_or(8, |count| count as usize),
        body_rate: fields.size("body_rate", &(1..=1 << 20)).max(1),
        h2_streams: fields.count("h2_streams", &(1..=10_000)).unwrap_or(1),
        requests: fields.count("requests", &(1..=10_000_000)).unwrap_or(1),
        memory: memory(fields),
    }
}

fn memory(fields: &Fields<'_>) -> MemoryLimit {
    // With less the edge itself would not fit, and it would refuse everything.
    const LEAST: usize = 64 << 20;
    let limit = fields.parse("memory", "a size that fits here", |text| match text {
        "off" => Ok(MemoryLimit::Off),
        _ => match units::size(text)? {
            size @ LEAST.. => Ok(MemoryLimit::Bytes(size as u64)),
            _ => Err("write a size from 64MiB on, or `off`".to_owned()),
        },
    });
    limit.unwrap_or_default()
}

fn response_headers(fields: &Fields<'_>) -> Vec<String> {
    let Some(items) = fields.list("response_headers") else {
        return RESPONSE_HEADERS.map(str::to_owned).to_vec();
    };
    let mut names = Vec::new();
    for item in items {
        let Some(text) = Text::of(item, fields.problems()) else { continue };
        let front = text.value.strip_suffix('*').unwrap_or(text.value);
        if front.is_empty() || front.parse::<http::HeaderName>().is_err() {
            let hint = "write a name such as `x-region`, or the begin of some, such as `x-ratelimit-*`";
            fields.problems().add(text.place, format!("{} is no header's name", text.shown()), hint);
        } else {
            names.push(text.value.to_ascii_lowercase());
        }
    }
    names
}

/// Nobody would expect that everybody may call where the list of those who may is there and empty.
fn allowed(fields: &Fields<'_>) -> Vec<Network> {
    if let (Some([]), Some(entry)) = (fields.list("allow"), fields.entry("allow")) {
        let hint = "name the networks, or leave `allow` out for all";
        fields.problems().add(&entry.place, "nobody may call", hint);
    }
    networks(fields, "allow")
}

fn networks(fields: &Fields<'_>, name: &str) -> Vec<Network> {
    let mut networks = Vec::new();
    for item in fields.list(name).unwrap_or_default() {
        let Some(text) = Text::of(item, fields.problems()) else { continue };
        match Network::parse(text.value) {
            Ok(network) => networks.push(network),
            Err(hint) => fields.problems().add(text.place, format!("{} is no network", text.shown()), hint),
        }
    }
    networks
}

fn listeners(fields: &Fields<'_>, files: &mut FileList<'_>) -> Vec<Listener> {
    let everywhere = Listener { address: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 8080)), tls: None };
    let Some(items) = fields.list("listen") else { return vec![everywhere] };
    let problems = fields.problems();
    if let (true, Some(entry)) = (items.is_empty(), fields.entry("listen")) {
        problems.add(&entry.place, "no listener", "write `listen: [{address: 0.0.0.0:8080}]`");
    }
    let mut listeners: Vec<Listener> = Vec::new();
    for item in items {
        let fields = Fields::open(&schema::LISTEN, item, &item.place, problems);
        let tls = fields.section("tls", &schema::TLS).and_then(|fields| tls(&fields, files));
        let Some(text) = fields.required_text("address") else { continue };
        let Some(address) = address(&text, problems) else { continue };
        if listeners.iter().any(|other| clash(other.address, address)) {
            problems.add(text.place, "this address is listened on twice", "");
        }
        listeners.push(Listener { address, tls });
    }
    listeners
}

fn tls(fields: &Fields<'_>, files: &mut FileList<'_>) -> Option<Tls> {
    let mut pem = |name: &str, mark: &str| {
        let text = fields.required_text(name)?;
        let path = files.path(text.value);
        if let Err(fault) = is_pem(&path, mark) {
            let hint = "a PEM file that the user that Tidegate runs as can read";
            fields.problems().add(text.place, format!("cannot use {}: {fault}", text.shown()), hint);
        }
        Some(path)
    };
    let (cert, key) = (pem("cert", "CERTIFICATE-----"), pem("key", "PRIVATE KEY-----"));
    Some(Tls { cert: cert?, key: key? })
}

fn is_pem(path: &Path, mark: &str) -> Result<(), String> {
    let text = file::read_text(path, MAX_PEM).map_err(|error| error.to_string())?;
    let found = text.lines().any(|line| line.starts_with("-----BEGIN ") && line.trim_end().ends_with(mark));
    if found { Ok(()) } else { Err(format!("it holds no {}", mark.trim_end_matches('-').to_lowercase())) }
}

pub(super) fn admin(root: &Fields<'_>, server: &Server) -> Admin {
    let fields = root.section_or_empty("admin", &schema::ADMIN);
    let written = fields.text("listen").and_then(|text| Some((address(&text, fields.problems())?, text.place)));
    let default = SocketAddr::from((Ipv4Addr::LOCALHOST, 9090));
    let (listen, place) = written.unwrap_or((default, fields.owner()));
    if server.listen.iter().any(|listener| clash(listener.address, listen)) {
        let hint = "the admin listener never shares a port with clients: choose another for one of them";
        fields.problems().add(place, "the admin listener's address is a public listener's too", hint);
    }
    Admin { listen }
}

/// Whether two listeners cannot both be bound. Port 0 is any free one.
fn clash(a: SocketAddr, b: SocketAddr) -> bool {
    let same_host = a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified();
    a.port() == b.port() && a.port() != 0 && same_host
}

fn address(text: &Text<'_>, problems: &Problems) -> Option<SocketAddr> {
    if let Ok(address) = text.value.parse() {
        return Some(address);
    }
    let shown = text.shown();
    let guess = match shown.trim_matches('`').rsplit_once(':') {
        Some(("" | "*", port)) => format!("0.0.0.0:{port}"),
        Some(("localhost", port)) => format!("127.0.0.1:{port}"),
        Some(_) => String::new(),
        None => match shown.trim_matches('`') {
            port if port.parse::<u16>().is_ok() => format!("0.0.0.0:{port}"),
            host => format!("{host}:8080"),
        },
    };
    let hint = match guess.parse::<SocketAddr>() {
        Ok(guess) => format!("write `{guess}`"),
        Err(_) => "write an address and a port, such as `0.0.0.0:8080` or `[::]:8080`".to_owned(),
    };
    problems.add(text.place, format!("{shown} is no address to listen on"), hint);
    None
}

pub(super) fn access_log(root: &Fields<'_>, folder: &Path) -> AccessLog {
    let fields = root.section_or_empty("access_log", &schema::ACCESS_LOG);
    let path = fields.parse("path", "a place for a log", |text| match text {
        "stdout" => Ok(LogPath::Stdout),
        "stderr" => Ok(LogPath::Stderr),
        "" => Err("write `stdout`, `stderr` or the path of a file".to_owned()),
        path => {
            let file = folder.join(path);
            // A name alone stands in the working folder.
            let within =
                file.parent().map(|within| if within.as_os_str().is_empty() { Path::new(".") } else { within });
            match within {
                Some(within) if !within.is_dir() => Err(format!("make the folder `{}` first", within.display())),
                _ if file.is_dir() => Err("this is a folder: write the path of a file in it".to_owned()),
                _ => match takes_lines(&file) {
                    Ok(()) => Ok(LogPath::File(file)),
                    Err(what) => Err(format!("{what}: write the path of a file or a device, or `stdout`")),
                },
            }
        }
    });
    AccessLog { enabled: fields.flag("enabled").unwrap_or(true), path: path.unwrap_or(LogPath::Stdout) }
}

pub(super) fn metrics(root: &Fields<'_>) -> Metrics {
    let fields = root.section_or_empty("metrics", &schema::METRICS);
    let problems = fields.problems();
    let known = Alias::ALL.map(|alias| (alias.name(), alias));
    let mut aliases = Vec::new();
    for item in fields.list("aliases").unwrap_or_default() {
        let Some(scalar) = scalar_of(item, problems) else { continue };
        match word(&scalar.text, &known) {
            Ok(alias) => aliases.push(alias),
            Err(hint) => problems.add(&item.place, format!("{} is no family of names", scalar.shown()), hint),
        }
    }
    aliases.sort_unstable();
    aliases.dedup();
    Metrics { aliases, key_label: fields.choice("key_label", &KeyLabel::NAMED).unwrap_or_default() }
}
