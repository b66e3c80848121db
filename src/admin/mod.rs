//! The admin listener: health, metrics, reload and state, on a port of its own and never on the public one.
//!
//! It knows the rest of the process through [`State`] alone. Whoever can reach it is trusted: it listens on loopback
//! unless the config says otherwise, and shows no secret.

mod answer;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http::Response;
use pingora_core::apps::http_app::ServeHttp;
use pingora_core::protocols::http::ServerSession;

use self::answer::Answer;
use crate::observe::Metrics;

/// The longest request body that is read (and ignored), in bytes.
const BODY_LIMIT: usize = 64 << 10;
/// How long a request body may take to come, and an answer to be taken.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a reload may take.
const RELOAD_PATIENCE: Duration = Duration::from_secs(60);

/// What the admin listener asks of the process. No method may block: they answer from memory.
#[async_trait]
pub trait State: Send + Sync {
    /// Whether new requests should come here.
    fn ready(&self) -> Readiness;

    /// What is running, and for how long.
    fn health(&self) -> Health;

    /// Loads the config anew; what changed as text for people.
    ///
    /// # Errors
    ///
    /// The whole report of problems as text, when the config is not good; the running one stays.
    async fn reload(&self) -> Result<String, String>;

    /// The running config as JSON, without secrets.
    fn config_view(&self) -> String;

    /// Providers, endpoints and their health as JSON.
    fn upstreams_view(&self) -> String;

    /// Where a request would go now, and why, as JSON; `query` says what it is: `model`, `client`, `bytes`, `stream`,
    /// `tools`, `images`, `documents`, `header.NAME`.
    ///
    /// # Errors
    ///
    /// What is wrong with the query, as text.
    fn explain(&self, query: &str) -> Result<String, String>;
}

/// Whether the process wants new requests.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Readiness {
    /// Why it does not; empty when it does.
    pub reasons: Vec<String>,
}

impl Readiness {
    /// Ready when nothing speaks against it.
    pub fn is_ready(&self) -> bool {
        self.reasons.is_empty()
    }
}

/// What is running.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// One word, such as `healthy` or `draining`.
    pub status: &'static str,
    /// The program's version.
    pub version: &'static str,
    /// Time since the process was ready to serve.
    pub uptime: Duration,
}

/// Answers the admin listener's requests.
pub struct App {
    state: Arc<dyn State>,
    metrics: Arc<Metrics>,
}

impl App {
    /// An app over the process's state.
    pub fn new(state: Arc<dyn State>, metrics: Arc<Metrics>) -> Self {
        Self { state, metrics }
    }

    async fn answer(&self, request: Request<'_>) -> Answer {
        let Some(page) = Page::of(request.path) else { return Answer::not_found(&Page::paths()) };
        match (page, request.method) {
            (page, _) if request.of_foreign_site && !page.is_harmless() => Answer::misdirected(),
            (Page::Reload, "POST") if request.from_web_page => Answer::from_web_page(),
            (Page::Reload, "POST") => self.reload().await,
            (Page::Reload, _) => Answer::wrong_method("POST"),
            (_, "GET" | "HEAD") => self.show(page, request.query),
            (_, _) => Answer::wrong_method("GET, HEAD"),
        }
    }

    fn show(&self, page: Page, query: &str) -> Answer {
        match page {
            Page::Health => Answer::health(&self.state.health()),
            Page::Live => Answer::live(),
            Page::Ready => Answer::ready(&self.state.ready()),
            Page::Metrics => Answer::metrics(self.metrics.text()),
            Page::Config => Answer::json(200, self.state.config_view()),
            Page::Upstreams => Answer::json(200, self.state.upstreams_view()),
            Page::Explain => match self.state.explain(query) {
                Ok(explained) => Answer::json(200, explained),
                Err(fault) => Answer::text(400, fault),
            },
            Page::Reload => Answer::wrong_method("POST"),
        }
    }

    async fn reload(&self) -> Answer {
        match tokio::time::timeout(RELOAD_PATIENCE, self.state.reload()).await {
            Ok(Ok(report)) => Answer::text(200, report),
            Ok(Err(report)) => Answer::text(422, report),
            Err(_) => {
                let seconds = RELOAD_PATIENCE.as_secs();
                Answer::text(
                    504,
                    format!("the reload did not end within {seconds} s; see the log for how it went on\n"),
                )
            }
        }
    }
}

#[async_trait]
impl ServeHttp for App {
    async fn response(&self, session: &mut ServerSession) -> Response<Vec<u8>> {
        session.set_write_timeout(Some(PATIENCE));
        if !body_ignored(session).await {
            // What is left of the body must not be taken for the next request.
            session.set_keepalive(None);
            return Answer::too_large(BODY_LIMIT).into_response(false);
        }
        let head = session.req_header();
        let request = Request {
            method: head.method.as_str(),
            path: head.uri.path(),
            query: head.uri.query().unwrap_or_default(),
            from_web_page: head.headers.contains_key("origin"),
            of_foreign_site: is_local(session)
                && head.headers.get("host").is_some_and(|host| is_foreign(host.as_bytes())),
        };
        let without_body = request.method == "HEAD";
        self.answer(request).await.into_response(without_body)
    }
}

/// Whether the connection came over this machine's own loopback.
fn is_local(session: &ServerSession) -> bool {
    let address = session.server_addr().and_then(|address| address.as_inet());
    address.is_some_and(|address| address.ip().to_canonical().is_loopback())
}

/// Whether a `host` header has the name of a site somewhere: not an address, not `localhost`, not a name of one word. Over
/// loopback nobody asks so but a web page whose site has let its name lead here, to read all this through its visitor.
fn is_foreign(host: &[u8]) -> bool {
    let host = String::from_utf8_lossy(host);
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => &host,
    };
    let name = name.trim_start_matches('[').trim_end_matches([']', '.']).to_ascii_lowercase();
    name.contains('.') && !name.ends_with(".localhost") && name.parse::<IpAddr>().is_err()
}

/// What an answer depends on.
struct Request<'r> {
    method: &'r str,
    path: &'r str,
    query: &'r str,
    /// Browsers say so on every POST; a page of a foreign site must not be able to reload through its visitor.
    from_web_page: bool,
    /// A page of a foreign site, whose name was made to lead here, reads as if this were its own.
    of_foreign_site: bool,
}

/// What can be asked for.
#[derive(Clone, Copy)]
enum Page {
    Health,
    Live,
    Ready,
    Metrics,
    Reload,
    Config,
    Upstreams,
    Explain,
}

const PAGES: [(&str, Page); 9] = [
    ("/health", Page::Health),
    ("/health/live", Page::Live),
    ("/health/ready", Page::Ready),
    ("/ready", Page::Ready),
    ("/metrics", Page::Metrics),
    ("/reload", Page::Reload),
    ("/config", Page::Config),
    ("/upstreams", Page::Upstreams),
    ("/explain", Page::Explain),
];

impl Page {
    fn of(path: &str) -> Option<Self> {
        PAGES.into_iter().find(|(known, _)| *known == path).map(|(_, page)| page)
    }

    /// Says nothing of how the edge is set up, and changes nothing.
    fn is_harmless(self) -> bool {
        matches!(self, Self::Health | Self::Live | Self::Ready | Self::Metrics)
    }

    fn paths() -> String {
        PAGES.map(|(path, _)| path).join(", ")
    }
}

/// Reads the request's body to its end and forgets it; `false` when it is too long, too slow or broken.
async fn body_ignored(session: &mut ServerSession) -> bool {
    let read = async {
        let mut length = 0;
        while let Ok(chunk) = session.read_request_body().await {
            let Some(chunk) = chunk else { return true };
            length += chunk.len();
            if length > BODY_LIMIT {
                return false;
            }
        }
        false
    };
    tokio::time::timeout(PATIENCE, read).await.unwrap_or(false)
}
