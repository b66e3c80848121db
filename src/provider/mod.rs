//! A provider, as data: a vendor account or a self-hosted fleet.
//!
//! Nothing here does I/O. `config` builds a [`Provider`] from what is written and the vendor catalogue; `upstream`
//! turns its endpoints into connections; `proxy` asks it for paths and headers.

pub mod address;
pub mod catalog;
pub mod facts;
pub mod layout;
mod quirks;
pub mod services;
pub mod uploads;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub use layout::Layout;
pub use quirks::{Counts, Quirks, SetQuirk};
use tidegate_codec::{Format, Operation};

use crate::limits::Rule;
use crate::secret::Secret;

/// Where requests of one account or fleet go, and how they must look.
#[derive(Clone)]
pub struct Provider {
    /// The name in the config; a metric label.
    pub name: Arc<str>,
    /// The catalogue entry it was made from, such as `openai` or `openai-compatible`.
    pub kind: Arc<str>,
    /// The format that it speaks.
    pub format: Format,
    /// How its key is sent; `None` for a server that wants none.
    pub auth: Option<Auth>,
    /// Headers sent with every request, such as `anthropic-version`; lower-case names.
    pub headers: Vec<(String, String)>,
    /// One or many addresses, each once.
    pub endpoints: Vec<EndpointSpec>,
    /// Where its paths are.
    pub layout: Layout,
    /// How an endpoint is chosen.
    pub balance: Balance,
    /// Active checks; `None` for none.
    pub health: Option<HealthSpec>,
    /// Deadlines.
    pub timeouts: Timeouts,
    /// How streams of it are treated.
    pub streams: Streams,
    /// When an endpoint, or a model at it, is left alone.
    pub breaker: Breaker,
    /// What may run at once at all its endpoints together.
    pub limit: Rule,
    /// Whom its TLS certificate must come from; `None` for the system's roots.
    pub authorities: Option<Arc<Authorities>>,
    /// What of its format the server deviates from.
    pub quirks: Quirks,
}

impl Provider {
    /// The format in which it is asked for `operation` by clients that speak `client`; `None` where it has no such
    /// operation.
    #[must_use]
    pub fn serves(&self, operation: Operation, client: Format) -> Option<Format> {
        match operation {
            Operation::Generate => Some(self.format),
            Operation::Count => self.quirks.counting(self.format),
            Operation::SameFormat(_) => (self.format == client).then_some(client),
        }
    }
}

impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The values of headers may be credentials.
        let headers: Vec<&str> = self.headers.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("Provider")
            .field("name", &self.name)
            .field("kind", &self.kind)
            .field("format", &self.format)
            .field("auth", &self.auth)
            .field("headers", &headers)
            .field("endpoints", &self.endpoints)
            .field("layout", &self.layout)
            .field("balance", &self.balance)
            .field("health", &self.health)
            .field("timeouts", &self.timeouts)
            .field("streams", &self.streams)
            .field("breaker", &self.breaker)
            .field("limit", &self.limit)
            .field("authorities", &self.authorities)
            .field("quirks", &self.quirks)
            .finish()
    }
}

/// How a provider's key is sent.
#[derive(Debug, Clone)]
pub struct Auth {
    /// The header's name, lower case: `authorization`, `x-api-key`, `api-key`.
    pub header: String,
    /// What stands before the key: `Bearer ` or nothing.
    pub prefix: String,
    /// The key.
    pub key: Secret,
}

/// One address of a provider, as configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointSpec {
    /// `true` for `https`.
    pub tls: bool,
    /// Host name or address literal, without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Path that stands before the format's own, without a slash at its end: nothing or `/openai`.
    pub base_path: String,
    /// Share of the requests, at least 1.
    pub weight: u32,
    /// HTTP version toward it.
    pub http: HttpVersion,
    /// What may run at once at it; `None` for anything.
    pub most: Option<u32>,
}

impl EndpointSpec {
    /// `host:port`, an IPv6 literal in brackets.
    #[must_use]
    pub fn authority(&self) -> String {
        address::authority(&self.host, self.port)
    }

    /// The value of the header `host` (RFC 9110 section 7.2): without the port where it is the scheme's own.
    #[must_use]
    pub fn host_header(&self) -> String {
        let authority = self.authority();
        let own = if self.tls { ":443" } else { ":80" };
        authority.strip_suffix(own).map_or_else(|| authority.clone(), str::to_owned)
    }
}

/// HTTP version toward an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HttpVersion {
    /// Over TLS what ALPN agrees on; HTTP/1.1 without TLS.
    #[default]
    Auto,
    /// HTTP/1.1 only.
    H1,
    /// HTTP/2 only; without TLS by prior knowledge.
    H2,
}

impl HttpVersion {
    /// Every value, by its word in the config.
    pub const NAMED: [(&'static str, Self); 3] = [("auto", Self::Auto), ("h1", Self::H1), ("h2", Self::H2)];

    /// The word in the config.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::NAMED.into_iter().find(|(_, version)| *version == self).map_or("auto", |(name, _)| name)
    }
}

/// How one of a provider's endpoints is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Balance {
    /// By weight, in turn.
    #[default]
    RoundRobin,
    /// By weight, at random.
    Random,
    /// The one with the fewest requests in flight for its weight.
    LeastBusy,
    /// By the caller and model, so that the same ones meet the same endpoint.
    ConsistentHash,
}

impl Balance {
    /// Every value, by its words in the config, its name first.
    pub const NAMED: [(&'static str, Self); 5] = [
        ("round_robin", Self::RoundRobin),
        ("weighted", Self::RoundRobin),
        ("random", Self::Random),
        ("least_busy", Self::LeastBusy),
        ("consistent_hash", Self::ConsistentHash),
    ];

    /// The word in the config.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::NAMED.into_iter().find(|(_, balance)| *balance == self).map_or("round_robin", |(name, _)| name)
    }
}

/// Active health checks of a provider's endpoints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthSpec {
    /// Path of an HTTP check that wants a 2xx; `None` for a TCP connect.
    pub path: Option<String>,
    /// Time between two checks.
    pub interval: Duration,
    /// Time that one check may take.
    pub timeout: Duration,
    /// Checks in a row that must fail before the endpoint is down.
    pub unhealthy_after: usize,
    /// Checks in a row that must pass before it is up again.
    pub healthy_after: usize,
}

/// Deadlines toward a provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timeouts {
    /// TCP and TLS together.
    pub connect: Duration,
    /// The longest silence: before the answer's first byte and between any two. Of a stream `first_byte` and `between`
    /// say it.
    pub read: Duration,
    /// From the last byte of the request to the head of a stream.
    pub first_byte: Duration,
    /// Between two pieces of a stream.
    pub between: Duration,
    /// From the last byte of the request to the end of the answer, streamed or whole.
    pub stream: Duration,
    /// The longest wait for the provider to take more of the request.
    pub write: Duration,
    /// How long an idle connection is kept.
    pub idle: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            read: Duration::from_secs(300),
            first_byte: Duration::from_secs(300),
            between: Duration::from_secs(300),
            stream: Duration::from_secs(3600),
            write: Duration::from_secs(40),
            idle: Duration::from_secs(75),
        }
    }
}

/// How streams of a provider are treated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Streams {
    /// For how long the head of a stream is held until there is content; zero for not at all.
    pub hold: Duration,
    /// The silence after which the client hears from us; zero for never.
    pub heartbeat: Duration,
    /// How long the answer's head may take before the client gets one of ours; zero for any time.
    pub early_head: Duration,
}

impl Default for Streams {
    fn default() -> Self {
        Self { hold: Duration::from_secs(10), heartbeat: Duration::from_secs(15), early_head: Duration::from_secs(50) }
    }
}

/// When an endpoint, or a model at an endpoint, is left alone because requests failed there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Breaker {
    /// Failures in a row that take it out.
    pub failures: u32,
    /// For how long at first; twice as long each further time.
    pub open: Duration,
    /// For how long at most.
    pub open_max: Duration,
    /// For how long a model is left alone after a 429 that does not say.
    pub cooldown: Duration,
    /// For how long at most after one that does.
    pub cooldown_max: Duration,
    /// Most endpoints of a provider that may be out at a time, in percent. The first may always go.
    pub ejected_max: u32,
    /// With a smaller share of endpoints than this passing their checks, in percent, the checks are not believed.
    pub panic: u32,
    /// The time in which an endpoint that comes back gets back its share; zero for at once.
    pub slow_start: Duration,
}

impl Default for Breaker {
    fn default() -> Self {
        Self {
            failures: 5,
            open: Duration::from_secs(1),
            open_max: Duration::from_secs(30),
            cooldown: Duration::from_secs(1),
            cooldown_max: Duration::from_secs(60),
            ejected_max: 50,
            panic: 50,
            slow_start: Duration::from_secs(30),
        }
    }
}

/// The certificate authorities that vouch for a provider, in place of the system's roots.
#[derive(Clone, PartialEq, Eq)]
pub struct Authorities {
    /// The file that they were read from.
    pub path: PathBuf,
    /// The certificates, DER.
    pub certificates: Vec<Vec<u8>>,
}

impl fmt::Debug for Authorities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Authorities({} from {})", self.certificates.len(), self.path.display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_counted_where_a_format_or_a_quirk_says_so() {
        use Format::{AnthropicMessages, GeminiGenerate, OpenaiChat, OpenaiResponses};
        for (kind, format, counts) in [
            ("anthropic", AnthropicMessages, Some(AnthropicMessages)),
            ("azure", OpenaiChat, None),
            ("gemini", GeminiGenerate, Some(GeminiGenerate)),
            ("llama-cpp", OpenaiChat, Some(AnthropicMessages)),
            ("mistral", OpenaiChat, None),
            ("openai", OpenaiChat, Some(OpenaiResponses)),
            ("openai-compatible", OpenaiChat, None),
            ("openai-responses", OpenaiResponses, Some(OpenaiResponses)),
            ("vertex", GeminiGenerate, Some(GeminiGenerate)),
        ] {
            let vendor = catalog::find(kind).unwrap();
            assert_eq!((vendor.format(), vendor.quirks().counting(format)), (format, counts), "{kind}");
        }
        let counting = |counts| Quirks { counts: Some(counts), ..Quirks::default() }.counting(AnthropicMessages);
        assert_eq!(counting(Counts::Never), None);
        assert_eq!(counting(Counts::By(OpenaiChat)), None, "it has no such path");
    }

    #[test]
    fn an_endpoint_knows_its_paths_and_names() {
        let check = |url: &str, path: &str, authority: &str, host: &str| {
            let address = address::Address::parse(url).unwrap();
            let endpoint = EndpointSpec {
                tls: address.tls,
                host: address.host,
                port: address.port,
                base_path: address.base_path,
                weight: 1,
                http: HttpVersion::Auto,
                most: None,
            };
            let asked = |line: &str| Layout::default().path(&endpoint.base_path, line, "");
            assert_eq!(asked("/v1/chat/completions"), path);
            let beta = asked("/v1beta/chat/completions");
            assert!(beta == path || beta == path.replacen("/v1/", "/v1beta/", 1), "{beta}");
            assert_eq!(endpoint.authority(), authority);
            assert_eq!(endpoint.host_header(), host);
        };
        check("https://api.openai.com/v1", "/v1/chat/completions", "api.openai.com:443", "api.openai.com");
        check("https://h/v1beta/openai", "/v1beta/openai/chat/completions", "h:443", "h");
        check("http://[::1]:8000/x", "/x/v1/chat/completions", "[::1]:8000", "[::1]:8000");
        check("http://[::1]", "/v1/chat/completions", "[::1]:80", "[::1]");
    }
}
