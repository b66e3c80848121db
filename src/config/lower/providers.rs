//! Providers: the catalogue's entry, changed by what is written.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use tidegate_codec::Format;

use crate::limits::Rule;
use crate::provider::address::{Address, Reach};
use crate::provider::catalog::{self, KeyNeed, Vendor};
use crate::provider::layout::{self, Layout};
use crate::provider::{
    Auth, Authorities, Balance, Breaker, EndpointSpec, HealthSpec, HttpVersion, Provider, Quirks, Streams, Timeouts,
};
use crate::secret::Secret;
use crate::upstream::{AuthoritiesError, read_authorities};

use super::super::fields::{Fields, Text, scalar_of};
use super::super::file;
use super::super::problem::{nearest, suggest};
use super::super::schema;
use super::super::tree::{Entry, Node, Value};
use super::FileList;
use super::limits;

/// What Anthropic's header says unless the operator or the client does.
const ANTHROPIC_VERSION: &str = "2023-06-01";
/// Bytes of a file of certificate authorities; the usual bundles hold a quarter of a MiB.
const MAX_AUTHORITIES: u64 = 4 << 20;
/// Headers that belong to the transport or to the edge itself.
const RESERVED: [&str; 15] = [
    "accept-encoding",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-request-id",
];

/// The providers, and every name that was written, faulty ones too.
pub(super) struct Providers {
    pub(super) built: BTreeMap<Arc<str>, Arc<Provider>>,
    pub(super) named: Vec<String>,
}

pub(super) fn providers(root: &Fields<'_>, files: &mut FileList<'_>) -> Providers {
    let problems = root.problems();
    let entries = root.required("providers").and_then(|_| root.map("providers")).unwrap_or_default();
    if let (true, Some(entry)) = (entries.is_empty(), root.entry("providers"))
        && matches!(entry.node.value, Value::Map(_))
    {
        problems.add(
            &entry.place,
            "no provider",
            "write one, such as `openai: {kind: openai, key: \"${OPENAI_API_KEY}\"}`",
        );
    }
    let mut built = BTreeMap::new();
    for entry in entries {
        if entry.key.is_empty() || entry.key.contains(|c: char| !(c.is_ascii_alphanumeric() || "-_.".contains(c))) {
            let hint = "use letters, digits, `-`, `_` and `.`: it is the first part of `provider/model`";
            problems.add(&entry.place, format!("`{}` cannot be a provider's name", entry.key), hint);
        }
        let fields = Fields::open(&schema::PROVIDER, &entry.node, &entry.place, problems);
        if let Some(provider) = provider(&fields, &entry.key, files) {
            built.insert(Arc::clone(&provider.name), Arc::new(provider));
        }
    }
    Providers { built, named: entries.iter().map(|entry| entry.key.clone()).collect() }
}

fn provider(fields: &Fields<'_>, name: &str, files: &mut FileList<'_>) -> Option<Provider> {
    let problems = fields.problems();
    let written = fields.required_text("kind")?;
    let kind = written.value;
    let Some(vendor) = catalog::find(kind) else {
        let hint = suggest(kind, catalog::vendors().keys().map(String::as_str));
        problems.add(written.place, format!("{} is no kind of provider", written.shown()), hint);
        return None;
    };
    let format = fields.choice("format", &Format::ALL.map(|format| (format.name(), format))).unwrap_or(vendor.format());
    let auth = auth(fields, vendor);
    let headers = headers(fields, vendor, format, auth.as_ref());
    Some(Provider {
        name: Arc::from(name),
        kind: Arc::from(kind),
        format,
        auth,
        headers,
        endpoints: endpoints(fields, vendor),
        layout: layout(fields, vendor),
        balance: fields.choice("balance", &Balance::NAMED).unwrap_or_default(),
        health: fields.section("health", &schema::HEALTH).map(|fields| health(&fields)),
        timeouts: timeouts(&fields.section_or_empty("timeouts", &schema::TIMEOUTS)),
        streams: streams(&fields.section_or_empty("streams", &schema::STREAMS)),
        breaker: breaker(&fields.section_or_empty("breaker", &schema::BREAKER)),
        limit: Rule { adapt: limits::adapt(fields), ..limits::rule(fields, limited(fields)) },
        authorities: authorities(fields, files),
        quirks: quirks(fields, vendor),
    })
}

/// Whether something but `max_concurrent` of the provider itself limits it.
fn limited(fields: &Fields<'_>) -> bool {
    let has_limit = |item: &Node| matches!(&item.value, Value::Map(entries) if entries.iter().any(|entry| entry.key == "max_concurrent"));
    let endpoints = fields.entry("endpoints").map(|entry| &entry.node.value);
    fields.entry("adaptive").is_some() || matches!(endpoints, Some(Value::List(items)) if items.iter().any(has_limit))
}

fn auth(fields: &Fields<'_>, vendor: &Vendor) -> Option<Auth> {
    let problems = fields.problems();
    let header = match fields.text("auth_header") {
        Some(Text { value: "none", .. }) => None,
        Some(text) => {
            let name = header_name(text.value);
            if name.as_ref().is_none_or(|name| RESERVED.contains(&name.as_str())) {
                problems.add(
                    text.place,
                    format!("{} cannot carry a key", text.shown()),
                    "write a header's name such as `authorization`, or `none`",
                );
            }
            name
        }
        None => Some(vendor.auth.header.clone()),
    };
    let own_header = fields.entry("auth_header").is_some();
    let prefix = match fields.scalar("auth_prefix") {
        Some((scalar, place)) if HeaderValue::from_str(&scalar.text).is_err() => {
            problems.add(place, "this cannot stand in a header", "");
            String::new()
        }
        Some((scalar, _)) => scalar.text.clone(),
        // The vendor's prefix belongs to the vendor's header; `Bearer` belongs to `authorization`.
        None if own_header && header.as_deref() == Some("authorization") => "Bearer ".to_owned(),
        None if own_header && header.as_deref() != Some(&vendor.auth.header) => String::new(),
        None => vendor.auth.prefix.clone(),
    };
    let Some(Text { value: key, place, .. }) = fields.text("key") else {
        if vendor.key == KeyNeed::Required && header.is_some() && fields.entry("key").is_none() {
            let hint =
                "write `key: \"${NAME}\"` or `key: \"${file:/path}\"`; `auth_header: none` if it really wants none";
            fields.missing("this kind of provider wants a `key`", hint);
        }
        return None;
    };
    if HeaderValue::from_str(key).is_err() || key.trim() != key || !key.is_ascii() {
        let hint = "a key has no line break, no space around it and no accents: look at where it comes from";
        problems.add(place, "the key cannot stand in a header", hint);
    } else if key.get(..7).is_some_and(|begin| begin.eq_ignore_ascii_case("bearer ")) {
        problems.add(place, "the key begins with `Bearer`", "write the key alone: what belongs before it is added");
    } else if is_quoted(key) {
        problems.add(place, "the key has quotes around it", "files of variables need none: take them away there");
    }
    Some(Auth { header: header?, prefix, key: Secret::new(key) })
}

fn is_quoted(key: &str) -> bool {
    key.len() > 1 && ['"', '\''].iter().any(|quote| key.starts_with(*quote) && key.ends_with(*quote))
}

fn header_name(text: &str) -> Option<String> {
    HeaderName::from_bytes(text.as_bytes()).ok().map(|name| name.as_str().to_owned())
}

fn headers(fields: &Fields<'_>, vendor: &Vendor, format: Format, auth: Option<&Auth>) -> Vec<(String, String)> {
    let problems = fields.problems();
    let mut headers = vendor.headers.clone();
    let version = fields.text("anthropic_version");
    if format == Format::AnthropicMessages {
        let version = version.map_or(ANTHROPIC_VERSION, |text| {
            if !is_date(text.value) {
                problems.add(
                    text.place,
                    format!("{} is no version", text.shown()),
                    format!("write a date such as `{ANTHROPIC_VERSION}`"),
                );
            }
            text.value
        });
        headers.insert("anthropic-version".to_owned(), version.to_owned());
    } else if let Some(Text { place, .. }) = version {
        problems.add(
            place,
            "`anthropic_version` has no meaning for this provider",
            format!("it speaks `{}`", format.name()),
        );
    }
    for entry in fields.map("headers").unwrap_or_default() {
        if let Some((name, value)) = header(fields, entry, auth) {
            headers.insert(name, value);
        }
    }
    headers.into_iter().collect()
}

fn is_date(text: &str) -> bool {
    text.len() == 10
        && text.chars().enumerate().all(|(at, c)| if at == 4 || at == 7 { c == '-' } else { c.is_ascii_digit() })
}

fn header(fields: &Fields<'_>, entry: &Entry, auth: Option<&Auth>) -> Option<(String, String)> {
    let problems = fields.problems();
    let value = scalar_of(&entry.node, problems)?;
    if value.is_null() {
        return None;
    }
    let Some(name) = header_name(&entry.key) else {
        problems.add(&entry.place, format!("`{}` is no header's name", entry.key), "");
        return None;
    };
    if auth.is_some_and(|auth| auth.header == name) {
        problems.add(
            &entry.place,
            format!("`{name}` carries the key already"),
            "remove it here, or set `auth_header: none`",
        );
    }
    if RESERVED.contains(&name.as_str()) {
        problems.add(&entry.place, format!("`{name}` is set by the edge alone"), "remove it");
    }
    if HeaderValue::from_str(&value.text).is_err() {
        problems.add(&entry.node.place, "this cannot stand in a header", "a header's value is one line of text");
    }
    Some((name, value.text.clone()))
}

fn endpoints(fields: &Fields<'_>, vendor: &Vendor) -> Vec<EndpointSpec> {
    let problems = fields.problems();
    let allow_plain = fields.flag("allow_plain").unwrap_or(false);
    let http = fields.choice("http", &HttpVersion::NAMED).unwrap_or_default();
    let make = |url: &Text<'_>| endpoint(fields, url, allow_plain).map(|spec| EndpointSpec { http, ..spec });
    if let (Some(url), Some(_)) = (fields.entry("url"), fields.entry("endpoints")) {
        problems.add(
            &url.place,
            "`url` and `endpoints` cannot both be written",
            "write all addresses under `endpoints`",
        );
        return Vec::new();
    }
    if fields.entry("url").is_some() {
        return fields.text("url").and_then(|url| make(&url)).into_iter().collect();
    }
    let Some(entry) = fields.entry("endpoints") else {
        if vendor.url.is_none() {
            let hint = "write `url: https://…`, or several under `endpoints`";
            fields.missing("this kind of provider wants a `url`", hint);
        }
        let address = vendor.url.as_deref().and_then(|url| Address::parse(url).ok());
        return address.map(|address| EndpointSpec { http, ..spec(address) }).into_iter().collect();
    };
    let items = fields.list("endpoints");
    if items.is_some_and(<[Node]>::is_empty) {
        problems.add(&entry.place, "no endpoint", "write `endpoints: [{url: …}]`");
    }
    let mut specs: Vec<EndpointSpec> = Vec::new();
    for item in items.unwrap_or_default() {
        let spec = match &item.value {
            Value::Scalar(_) => Text::of(item, problems).and_then(|url| make(&url)),
            Value::List(_) | Value::Map(_) => {
                let fields = Fields::open(&schema::ENDPOINT, item, &item.place, problems);
                let weight = fields.count("weight", &(1..=1000)).unwrap_or(1);
                let http = fields.choice("http", &HttpVersion::NAMED).unwrap_or(http);
                let most = fields.count("max_concurrent", &limits::COUNTS);
                let spec = fields.required_text("url").and_then(|url| make(&url));
                spec.map(|spec| EndpointSpec { weight, http, most, ..spec })
            }
        };
        let Some(spec) = spec else { continue };
        if specs
            .iter()
            .any(|other| (&other.host, other.port, &other.base_path) == (&spec.host, spec.port, &spec.base_path))
        {
            problems.add(&item.place, "this endpoint stands here twice", "give one of them a greater `weight` instead");
        }
        specs.push(spec);
    }
    specs
}

fn endpoint(fields: &Fields<'_>, url: &Text<'_>, allow_plain: bool) -> Option<EndpointSpec> {
    let (problems, place) = (fields.problems(), url.place);
    let address = match Address::parse(url.value) {
        Ok(address) => address,
        Err(hint) => {
            problems.add(place, "this is no address of a provider", hint);
            return None;
        }
    };
    match address.reach() {
        Reach::Forbidden => {
            let message =
                format!("{} is never called: link-local, cloud metadata or no real host", url.quote(&address.host));
            problems.add(place, message, "name the provider's own address");
        }
        Reach::Public if !address.tls && !allow_plain => {
            let message = format!("`http://` toward {} sends keys and prompts in the clear", url.quote(&address.host));
            problems.add(place, message, "write `https://`, or `allow_plain: true` for this provider");
        }
        Reach::Near | Reach::Public => {}
    }
    Some(spec(address))
}

fn spec(address: Address) -> EndpointSpec {
    let Address { tls, host, port, base_path } = address;
    EndpointSpec { tls, host, port, base_path, weight: 1, http: HttpVersion::Auto, most: None }
}

/// Which beginning of a path was meant.
fn meant(written: &str) -> String {
    let bare = layout::without_version(written);
    if bare != written && layout::is_asked(bare) {
        return format!("the version is left out here: write `{bare}`");
    }
    let hint = "write one such as `chat/completions`, `files` or `models`, without its version, or `*` for all others";
    nearest(bare, layout::beginnings()).map_or(hint.to_owned(), |near| format!("did you mean `{near}`?"))
}

/// The kind's paths, changed by those that are written.
fn layout(fields: &Fields<'_>, vendor: &Vendor) -> Layout {
    let problems = fields.problems();
    let mut templates = vendor.paths.clone();
    for entry in fields.map("paths").unwrap_or_default() {
        let beginning = entry.key.trim_matches('/');
        let odd = beginning.is_empty() || (beginning != layout::ANY && beginning.contains(['*', '?', '{', ' ']));
        if odd {
            let hint = "write the beginning of a path without its version, such as `chat/completions`, or `*`";
            problems.add(&entry.place, format!("`{}` is no beginning of a path", entry.key), hint);
        } else if beginning != layout::ANY && !layout::is_asked(beginning) {
            let message = format!("no path that a provider is asked for begins with `{}`", entry.key);
            problems.add(&entry.place, message, meant(beginning));
        }
        let Some(text) = Text::of(&entry.node, problems) else { continue };
        if let Some(hint) = layout::fault_of(text.value) {
            problems.add(text.place, format!("{} is no template of a path", text.shown()), hint);
        }
        templates.insert(beginning.to_owned(), text.value.to_owned());
    }
    let written = fields.text("api_version");
    let api_version = written.map(|text| text.value.to_owned()).or_else(|| vendor.api_version.clone());
    let layout = Layout::new(templates, api_version);
    match written {
        Some(text) if !text.value.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b)) => {
            let hint = "write it as the vendor does, such as `2024-10-21` or `preview`";
            problems.add(text.place, format!("{} is no version of an API", text.shown()), hint);
        }
        Some(text) if !layout.wants_api_version() => {
            let hint = "remove it, or name it in `paths`; Anthropic's own version is `anthropic_version`";
            problems.add(text.place, "no path of this provider names `{api_version}`", hint);
        }
        None if layout.wants_api_version() && layout.api_version().is_none() => {
            fields.missing("the paths name `{api_version}`, and none is written", "write `api_version: …`");
        }
        Some(_) | None => {}
    }
    layout
}

fn health(fields: &Fields<'_>) -> HealthSpec {
    let path = fields.text("path").map(|path| {
        let text = path.value;
        let plain = text.starts_with('/') && text.bytes().all(|b| b.is_ascii_graphic() && b != b'#');
        if !plain {
            fields.problems().add(path.place, format!("{} is no path", path.shown()), "write a path like `/health`");
        }
        text.to_owned()
    });
    let interval = fields.duration("interval", &(Duration::from_millis(100)..=Duration::from_secs(3600)));
    let timeout = fields.duration("timeout", &(Duration::from_millis(10)..=Duration::from_secs(60)));
    let count = |name| fields.count(name, &(1..=100)).unwrap_or(1) as usize;
    HealthSpec {
        path,
        interval,
        timeout,
        unhealthy_after: count("unhealthy_after"),
        healthy_after: count("healthy_after"),
    }
}

fn timeouts(fields: &Fields<'_>) -> Timeouts {
    let (short, day) = (Duration::from_millis(10), Duration::from_secs(24 * 3600));
    let read = fields.duration("read", &(short..=day));
    let or_read = |name| if fields.entry(name).is_some() { fields.duration(name, &(short..=day)) } else { read };
    Timeouts {
        connect: fields.duration("connect", &(short..=Duration::from_secs(300))),
        read,
        first_byte: or_read("first_byte"),
        between: or_read("between"),
        stream: fields.duration("stream", &(short..=day)),
        write: fields.duration("write", &(short..=day)),
        idle: fields.duration("idle", &(Duration::from_secs(1)..=day)),
    }
}

fn streams(fields: &Fields<'_>) -> Streams {
    let bounds = Duration::ZERO..=Duration::from_secs(600);
    let [hold, heartbeat, early_head] = ["hold", "heartbeat", "early_head"].map(|name| fields.duration(name, &bounds));
    Streams { hold, heartbeat, early_head }
}

fn breaker(fields: &Fields<'_>) -> Breaker {
    let (short, hour, day) = (Duration::from_millis(10), Duration::from_secs(3600), Duration::from_secs(24 * 3600));
    let (open, open_max) = (fields.duration("open", &(short..=hour)), fields.duration("open_max", &(short..=day)));
    fields.in_order(("open", open), ("open_max", open_max));
    Breaker {
        failures: fields.count("failures", &(1..=1000)).unwrap_or(1),
        open,
        open_max,
        cooldown: fields.duration("cooldown", &(Duration::ZERO..=hour)),
        cooldown_max: fields.duration("cooldown_max", &(Duration::ZERO..=day)),
        ejected_max: fields.count("ejected_max", &(0..=100)).unwrap_or_default(),
        panic: fields.count("panic", &(0..=100)).unwrap_or_default(),
        slow_start: fields.duration("slow_start", &(Duration::ZERO..=hour)),
    }
}

fn authorities(fields: &Fields<'_>, files: &mut FileList<'_>) -> Option<Arc<Authorities>> {
    let text = fields.text("ca")?;
    let path = files.path(text.value);
    let read = file::read(&path, MAX_AUTHORITIES).map_err(|error| error.to_string()).and_then(|pem| {
        read_authorities(&path, &pem).map_err(|error| match error {
            AuthoritiesError::Unreadable { reason, .. } => reason,
            AuthoritiesError::Empty { .. } => "it holds no certificate".to_owned(),
            AuthoritiesError::Unusable { number, reason, .. } => format!("certificate {number}: {reason}"),
        })
    });
    match read {
        Ok(authorities) => Some(Arc::new(authorities)),
        Err(fault) => {
            let hint = "a PEM file of the authorities' certificates that the user that Tidegate runs as can read";
            fields.problems().add(text.place, format!("cannot use {}: {fault}", text.shown()), hint);
            None
        }
    }
}

fn quirks(fields: &Fields<'_>, vendor: &Vendor) -> Quirks {
    let mut quirks = vendor.quirks();
    let Some(fields) = fields.section("quirks", &schema::QUIRKS) else { return quirks };
    for (name, set) in Quirks::FLAGS {
        if let Some(on) = fields.flag(name) {
            set(&mut quirks, on);
        }
    }
    quirks.tool_choice = fields.choice("tool_choice", &Quirks::TOOL_CHOICE).or(quirks.tool_choice);
    quirks.structured = fields.choice("structured", &Quirks::STRUCTURED).or(quirks.structured);
    quirks.reasoning = fields.choice("reasoning", &Quirks::REASONING).or(quirks.reasoning);
    quirks.thinking_off = fields.choice("thinking_off", &Quirks::THINKING_OFF).or(quirks.thinking_off);
    quirks.tool_ids = fields.choice("tool_ids", &Quirks::TOOL_IDS).or(quirks.tool_ids);
    quirks.counts = fields.choice("counts", &Quirks::COUNTS).or(quirks.counts);
    if let Some(items) = fields.list("strip_fields") {
        quirks.strip_fields =
            items.iter().filter_map(|item| field_name(&Text::of(item, fields.problems())?, &fields)).collect();
    }
    if let Some(entries) = fields.map("rename_fields") {
        quirks.rename_fields = entries.iter().filter_map(|entry| renamed(entry, &fields)).collect();
    }
    if let Some(items) = fields.list("betas") {
        quirks.betas =
            Some(items.iter().filter_map(|item| beta(&Text::of(item, fields.problems())?, &fields)).collect());
    }
    quirks
}

/// A field of a request that a server or a model may refuse, or a server call otherwise.
pub(super) fn field_name(text: &Text<'_>, fields: &Fields<'_>) -> Option<String> {
    if Quirks::may_name(text.value) {
        return Some(text.value.to_owned());
    }
    let hint = "name a field at the top of a request; without `model`, `stream` and the conversation there is none";
    fields.problems().add(text.place, format!("{} is no field that can go", text.shown()), hint);
    None
}

fn renamed(entry: &Entry, fields: &Fields<'_>) -> Option<(String, String)> {
    if !Quirks::may_name(&entry.key) {
        let hint = "name a field at the top of a request, and behind it what the server calls it";
        fields.problems().add(&entry.place, format!("`{}` is no field that can be renamed", entry.key), hint);
    }
    let name = field_name(&Text::of(&entry.node, fields.problems())?, fields)?;
    Some((entry.key.clone(), name))
}

/// An item of the header that asks for unfinished features.
fn beta(text: &Text<'_>, fields: &Fields<'_>) -> Option<String> {
    if text.value.bytes().all(|b| b.is_ascii_graphic() && b != b',') {
        return Some(text.value.to_owned());
    }
    fields.problems().add(text.place, format!("{} is no item of the header", text.shown()), "write one item each");
    None
}
