//! What may be written: every section and key, with its default and its meaning.
//!
//! The table is the one source: reading takes its defaults and its list of known keys from here, and
//! `docs/config.md` is printed from it.

mod models;
mod providers;

pub(super) use models::{CLIENT, HEDGE, MODEL, PRICE, RETRIES, RULE, TARGET, WHEN};
pub(super) use providers::{ADAPTIVE, BREAKER, ENDPOINT, FACTS, HEALTH, PROVIDER, QUEUE, QUIRKS, STREAMS, TIMEOUTS};

/// What the name of an overriding environment variable begins with.
pub(super) const PREFIX: &str = "TIDEGATE__";

/// A map with a fixed set of keys.
#[derive(Debug)]
pub(super) struct Section {
    /// Its place, such as `providers.NAME.health`.
    pub(super) path: &'static str,
    /// What it is for.
    pub(super) about: &'static str,
    /// Its keys.
    pub(super) fields: &'static [Field],
}

impl Section {
    /// Where its keys stand, in words.
    pub(super) fn place(&self) -> String {
        if self.path.is_empty() { "at the top of the file".to_owned() } else { format!("under `{}`", self.path) }
    }

    /// The key of that name.
    pub(super) fn field(&self, name: &str) -> Option<&'static Field> {
        self.fields.iter().find(|field| field.name == name)
    }
}

/// A key of a section.
#[derive(Debug)]
pub(super) struct Field {
    /// The key.
    pub(super) name: &'static str,
    /// What its value looks like.
    pub(super) form: &'static str,
    /// What holds where it is absent.
    pub(super) absent: Absent,
    /// What it does.
    pub(super) about: &'static str,
}

/// What holds where a key is absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Absent {
    /// It must be there.
    Required,
    /// This value, as one would write it.
    Default(&'static str),
    /// What the words say.
    Otherwise(&'static str),
}

const fn field(name: &'static str, form: &'static str, absent: Absent, about: &'static str) -> Field {
    Field { name, form, absent, about }
}

use Absent::{Default, Otherwise, Required};

/// Every section, in the order of the reference.
pub(super) const ALL: &[&Section] = &[
    &ROOT,
    &SERVER,
    &LISTEN,
    &TLS,
    &SERVER_TIMEOUTS,
    &SERVER_LIMITS,
    &ADMIN,
    &ACCESS_LOG,
    &METRICS,
    &PROVIDER,
    &ENDPOINT,
    &HEALTH,
    &TIMEOUTS,
    &STREAMS,
    &BREAKER,
    &QUEUE,
    &ADAPTIVE,
    &QUIRKS,
    &FACTS,
    &MODEL,
    &RETRIES,
    &HEDGE,
    &TARGET,
    &PRICE,
    &RULE,
    &WHEN,
    &CLIENT,
];

pub(super) static ROOT: Section = Section {
    path: "",
    about: "The file as a whole.",
    fields: &[
        field("server", "map", Otherwise("its defaults"), "Where clients connect, and the bounds on what they send."),
        field("admin", "map", Otherwise("its defaults"), "Health, metrics, reload and state: a listener of its own."),
        field("access_log", "map", Otherwise("its defaults"), "One line of JSON a request."),
        field("metrics", "map", Otherwise("its defaults"), "Names and labels of the metrics."),
        field("providers", "map: name → provider", Required, "Vendor accounts and self-hosted fleets."),
        field(
            "facts_file",
            "path",
            Otherwise("none"),
            "A YAML file of what models accept, by patterns of their names, as `facts` of a provider: of models at any provider. It is watched and taken on as this file is.",
        ),
        field(
            "models",
            "map: name → target or model",
            Required,
            "What clients may ask for, and where it goes. A name may hold one `*`; what it stands for fills the `*` of the target. A target that is `*` alone gets the whole name (`claude-*: claude/*`), or what is behind the folder (`eu/*: paris/*`). An exact name goes before a pattern, a pattern with more text before its `*` before one with less.",
        ),
        field(
            "operations",
            "map: operation → provider",
            Otherwise("none"),
            "Where an operation goes that names no model, such as `files` or `batches`, when several providers could serve it. The table of operations lists the names. A request's header `x-tidegate-provider` goes before it.",
        ),
        field(
            "rules",
            "list of rules",
            Otherwise("none"),
            "Which requests are served by another model than they ask for; the first rule that is for a request counts. The client sees the name that it asked for, and needs the right to that one. Operations beside answers that name a model (embeddings, images, sound) go by the rules that say `when.model`, look at nothing but names and headers, and lead to a provider that serves them.",
        ),
        field(
            "auth",
            "`keys` or `off`",
            Default("keys"),
            "`keys`: a client must present one of `clients`. `off`: everyone who reaches the port is served; it must be written out.",
        ),
        field("clients", "list of clients", Otherwise("none: then `auth: off` must be written"), "Who may call."),
    ],
};

pub(super) static SERVER: Section = Section {
    path: "server",
    about: "Where clients connect, and the bounds on what they send.",
    fields: &[
        field(
            "listen",
            "list of listeners",
            Otherwise("`[{address: 0.0.0.0:8080}]`"),
            "The public listeners: HTTP/1.1 and HTTP/2, with prior knowledge or over TLS. A change needs a restart.",
        ),
        field(
            "body_limit",
            "size, 1KiB to 1GiB",
            Default("32MiB"),
            "The largest request body; a larger one is refused with 413.",
        ),
        field(
            "body_buffer_total",
            "size, 1KiB to 64GiB",
            Default("256MiB"),
            "Bytes of request bodies that all requests together may hold; beyond it new ones are refused with 503. Where there is a limit of memory (`limits.memory`) they hold no more than what is free below it allows, each byte counted two and a half times; a body that is alone may always come.",
        ),
        field(
            "upload_limit",
            "size, 1KiB to 1024GiB",
            Default("512MiB"),
            "The largest body of an operation that is streamed through and never held, such as an upload; a larger one is refused with 413.",
        ),
        field(
            "recall_memory",
            "size, 0 to 64GiB",
            Default("32MiB"),
            "Bytes of translated answers that are kept for clients that do not bring them back: what a model thought before it called tools, which goes back with the results where the client's format or library leaves it out; and items of Responses, which libraries only refer to (`item_reference`) unless the request says `store: false`. Each client has its own, for an hour after it was last asked for or as long as there is room; a reload keeps it, a new process begins without, and replicas do not share it: with several, lead a client to the same one. 0 keeps none.",
        ),
        field("threads", "count, 1 to 1024", Otherwise("one a core"), "Worker threads. A change needs a restart."),
        field(
            "sealing_key",
            "secret, 16 characters or more",
            Otherwise("derived from the providers' names and keys"),
            "Seals the opaque state (thinking signatures and the like) that travels through clients. Replicas must agree on it; set it so that a change of a provider's key leaves running conversations alone.",
        ),
        field(
            "former_sealing_keys",
            "list of secrets, 16 characters or more",
            Otherwise("none"),
            "What these sealed is still opened. To change the key: put the new one here on every replica, then make it `sealing_key` and put the old one here, and take that away when the conversations of before are over.",
        ),
        field(
            "max_attempts",
            "count, 1 to 16",
            Default("4"),
            "Tries of one request, over all targets and endpoints, before its first byte goes to the client.",
        ),
        field(
            "drain_delay",
            "duration, 0s to 5m",
            Default("0s"),
            "How long new connections are taken after SIGTERM, while `/health/ready` says 503 already: as long as balancers take to look, and to send nothing more. A second SIGTERM ends it. An upgrade needs none.",
        ),
        field(
            "drain_deadline",
            "duration, 0 to 24h",
            Default("1h"),
            "How long requests that are under way may go on after SIGTERM or an upgrade. The process ends as soon as the last one is over. Up to 10s before the deadline, answers that are not over are ended with an error that says so; where it is short, that may take up to 6s and go beyond it. What holds is what the config says when the drain begins.",
        ),
        field(
            "upgrade_socket",
            "path",
            Otherwise(
                "`upgrade.sock` in `RUNTIME_DIRECTORY`, which systemd sets; without either there are no upgrades",
            ),
            "Where `tidegate upgrade` asks the running process for its listening sockets. Its folder must be writable; only its owner can ask. A change needs a restart.",
        ),
        field(
            "response_headers",
            "list of names, `*` at the end for any rest",
            Otherwise(
                "`anthropic-*`, `apim-request-id`, `azureml-*`, `cerebras-*`, `cf-ray`, `fireworks-*`, `mistral-*`, `openai-*`, `ratelimit-*`, `server-timing`, `x-amzn-*`, `x-generation-id`, `x-groq-*`, `x-ms-*`, `x-ratelimit-*`, `x-together-*`",
            ),
            "Headers of a provider that clients see (limits, costs, ids), besides `content-type`, `cache-control`, `retry-after` and the like; all others end here. Behind a translation none of them passes.",
        ),
        field("timeouts", "map", Otherwise("its defaults"), "How long the edge waits for a client."),
        field("limits", "map", Otherwise("its defaults"), "How much a client may send or hold."),
        field(
            "trusted_proxies",
            "list of addresses and networks",
            Otherwise("none"),
            "Proxies in front of the edge, as `10.0.0.0/8`: who calls is then what they write into `x-forwarded-for`, read from its end up to the first address that is not one of theirs. Where clients reach the edge, which addresses for uploads are made of, is then what they write into `x-forwarded-proto` and `x-forwarded-host`. Nobody else's are read.",
        ),
        field(
            "allow",
            "list of addresses and networks",
            Otherwise("everyone"),
            "Who may call, by address; all others get 403, or no connection where they connect themselves.",
        ),
        field(
            "deny",
            "list of addresses and networks",
            Otherwise("nobody"),
            "Who may not call, by address. Goes before `allow`.",
        ),
    ],
};

pub(super) static SERVER_TIMEOUTS: Section = Section {
    path: "server.timeouts",
    about: "How long the edge waits for a client.",
    fields: &[
        field("tls", "duration, 10ms to 1h", Default("10s"), "The longest TLS handshake."),
        field(
            "header",
            "duration, 10ms to 1h",
            Default("10s"),
            "From the first byte of a request's head to its last, however it drips. Then 408.",
        ),
        field(
            "body",
            "duration, 10ms to 24h",
            Default("30s"),
            "The longest that a request's body may fall behind `limits.body_rate`, or stay away altogether. Then 408.",
        ),
        field(
            "keep_alive",
            "duration, 1s to 24h",
            Default("75s"),
            "How long a connection may be open without a request. Over HTTP/2 a change needs a restart.",
        ),
        field(
            "write",
            "duration, 10ms to 24h",
            Default("5m"),
            "The longest wait for a client to take one more piece of an answer, and a second more for each 16 KiB of a large one. A client may read as slowly as it likes; one that takes nothing at all is given up.",
        ),
    ],
};

pub(super) static SERVER_LIMITS: Section = Section {
    path: "server.limits",
    about: "How much a client may send or hold.",
    fields: &[
        field(
            "connections",
            "count, 1 to 10000000",
            Default("16384"),
            "Client connections at once; further ones are closed as they come.",
        ),
        field(
            "connections_per_ip",
            "count, 1 to 10000000",
            Otherwise("no limit"),
            "The same for one address, or for one /64 of IPv6. Trusted proxies are exempt. There is none unless it is set, as in nginx and Envoy: behind a NAT or a load balancer that is not among `trusted_proxies` many clients are one address. Set it where clients connect directly.",
        ),
        field(
            "connection_rate_per_ip",
            "count, 1 to 1000000",
            Otherwise("no limit"),
            "New connections a second of one address, or one /64 of IPv6; further ones are closed as they come. An estimate, which may count an address with others where very many call. Trusted proxies are exempt.",
        ),
        field(
            "request_rate_per_ip",
            "count, 1 to 1000000",
            Otherwise("no limit"),
            "Requests a second of one client address, or one /64 of IPv6, as `trusted_proxies` tell of it; then 429 with `retry-after`. The same estimate: a guard against floods, not a quota. Health checks and the list of models do not count.",
        ),
        field(
            "header_size",
            "size, 1KiB to 256KiB",
            Default("16KiB"),
            "A request's head, in bytes; over HTTP/2 its decoded list, where a change needs a restart. Then 431, or 414 for the path.",
        ),
        field("header_count", "count, 8 to 256", Default("100"), "Headers of a request. Then 431."),
        field(
            "body_rate",
            "size, 1 to 1MiB",
            Default("1KiB"),
            "Bytes a second that a client must at least send of its body, give or take `timeouts.body` (four times that for a body that streams through).",
        ),
        field(
            "h2_streams",
            "count, 1 to 10000",
            Default("100"),
            "Requests at once on one HTTP/2 connection. A change needs a restart.",
        ),
        field(
            "requests",
            "count, 1 to 10000000",
            Default("16384"),
            "Requests at once on all connections; further ones are refused at once with 503. Health checks and the list of models do not count.",
        ),
        field(
            "memory",
            "size, 64MiB or more, or `off`",
            Otherwise("90 % of what the control group allows; without one, `off`"),
            "Resident memory above which new requests are refused with 503, until a twentieth of it is free again. What is under way goes on, and health checks are answered.",
        ),
    ],
};

pub(super) static LISTEN: Section = Section {
    path: "server.listen[]",
    about: "One public listener.",
    fields: &[
        field("address", "`address:port`", Required, "Where to listen: `0.0.0.0:8080`, `[::]:8080`."),
        field(
            "tls",
            "map",
            Otherwise("no TLS"),
            "Certificate and key: the listener speaks TLS, HTTP/2 and HTTP/1.1 by ALPN.",
        ),
    ],
};

pub(super) static TLS: Section = Section {
    path: "server.listen[].tls",
    about: "A listener's certificate. Paths begin at the configuration's folder.",
    fields: &[
        field("cert", "path", Required, "The certificate chain, PEM."),
        field("key", "path", Required, "The private key, PEM."),
    ],
};

pub(super) static ADMIN: Section = Section {
    path: "admin",
    about: "Health, metrics, reload and state, on a listener that clients cannot reach. Over loopback it serves requests whose `host` is an address, `localhost` or a name without a dot, so that no web page reads it through its visitor; health and metrics are given to any.",
    fields: &[field(
        "listen",
        "`address:port`",
        Default("127.0.0.1:9090"),
        "Where it listens. It asks for no key: keep it on loopback or a private network. A change needs a restart.",
    )],
};

pub(super) static ACCESS_LOG: Section = Section {
    path: "access_log",
    about: "One line of JSON a request; prompts are never in it.",
    fields: &[
        field("enabled", "`true` or `false`", Default("true"), "Whether it is written. A change needs a restart."),
        field(
            "path",
            "`stdout`, `stderr` or a path",
            Default("stdout"),
            "Where it goes: a file, which is appended to, or a device; no named pipe. A change needs a restart.",
        ),
    ],
};

pub(super) static METRICS: Section = Section {
    path: "metrics",
    about: "Names and labels of the metrics on the admin listener.",
    fields: &[
        field(
            "aliases",
            "list of `http`, `llm`, `gen_ai`, `gateway`, `gateway_ms`",
            Otherwise("none"),
            "Further names for the same figures, for dashboards that exist already.",
        ),
        field(
            "key_label",
            "`name`, `hash` or `none`",
            Default("name"),
            "What stands for the client in the label `key`. A change needs a restart.",
        ),
    ],
};
