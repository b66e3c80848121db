//! The simulator as a service of the server: requests in, replies out.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use pingora_core::Result;
use pingora_core::apps::{HttpPersistentSettings, HttpServerApp, HttpServerOptions, ReusedHttpStream};
use pingora_core::protocols::http::ServerSession;
use pingora_core::server::ShutdownWatch;
use pingora_core::services::listening::Service;
use serde::Serialize;

use super::fault::Fault;
use super::refusal::Refusal;
use super::script::Script;
use super::send::{Ending, send};
use super::stats::Stats;
use super::{Operation, Reply, Simulator, chat, refused};

/// The largest request body.
const MAX_BODY: usize = 64 << 20;

/// The longest that a whole request body may take to arrive.
const BODY_DEADLINE: Duration = Duration::from_secs(120);

/// The longest that a reader may take to accept a write.
const WRITE_DEADLINE: Duration = Duration::from_secs(60);

/// Seconds that an idle connection is kept.
const KEEP_ALIVE: u64 = 60;

/// The simulator as an HTTP application.
pub struct App {
    simulator: Arc<Simulator>,
    options: HttpServerOptions,
}

/// A service that listens at `listen`, such as `127.0.0.1:8081`, for HTTP/1.1 and for HTTP/2 without TLS.
#[must_use]
pub fn service(listen: &str, simulator: Arc<Simulator>) -> Service<App> {
    let mut options = HttpServerOptions::default();
    options.h2c = true;
    let mut service = Service::new("simulator".to_owned(), App { simulator, options });
    service.add_tcp(listen);
    service
}

#[async_trait]
impl HttpServerApp for App {
    async fn process_new_http(
        self: &Arc<Self>,
        mut session: ServerSession,
        shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        if !session.read_request().await.unwrap_or(false) {
            return None;
        }
        session.set_keepalive((!*shutdown.borrow()).then_some(KEEP_ALIVE));
        session.set_write_timeout(Some(WRITE_DEADLINE));
        match self.simulator.serve(&mut session).await {
            Ok(Ending::Complete) => {}
            Ok(Ending::Cut | Ending::Gone) => return None,
            Err(e) => {
                log::debug!("simulator: a connection failed: {e}");
                return None;
            }
        }
        let settings = HttpPersistentSettings::for_session(&session);
        let stream = session.finish().await.ok()??;
        Some(ReusedHttpStream::from_reusable_stream(stream, settings))
    }

    fn server_options(&self) -> Option<&HttpServerOptions> {
        Some(&self.options)
    }
}

/// What a path and method stand for.
enum Route {
    Answer(Operation),
    Models,
    Health,
    Set,
    Reset,
    Stats,
    Last(Option<String>),
    Unknown,
}

fn route(method: &str, path: &str) -> Route {
    match (method, path) {
        ("POST", "/v1/chat/completions") => Route::Answer(Operation::Chat),
        ("POST", "/v1/messages") => Route::Answer(Operation::Messages),
        ("POST", "/v1/messages/count_tokens") => Route::Answer(Operation::CountTokens),
        ("GET", "/v1/models") => Route::Models,
        ("GET", "/health") => Route::Health,
        ("POST", "/__sim/set") => Route::Set,
        ("POST", "/__sim/reset") => Route::Reset,
        ("GET", "/__sim/stats") => Route::Stats,
        ("GET", "/__sim/last") => Route::Last(None),
        ("GET", path) => match path.strip_prefix("/__sim/last/") {
            Some(format) => Route::Last(Some(format.to_owned())),
            None => Route::Unknown,
        },
        _ => Route::Unknown,
    }
}

impl Simulator {
    /// Reads one request and answers it.
    async fn serve(&self, session: &mut ServerSession) -> Result<Ending> {
        let header = session.req_header();
        let route = route(header.method.as_str(), header.uri.path());
        let Some(body) = read_body(session).await? else {
            // What was not read would be taken for the next request.
            session.set_keepalive(None);
            let operation = if let Route::Answer(operation) = route { operation } else { Operation::Chat };
            let refusal = Refusal::new(413, format!("The body is larger than {} MiB.", MAX_BODY >> 20));
            return plain(session, refused(operation, &refusal, "req_sim_none")).await;
        };
        match route {
            Route::Answer(operation) => self.serve_answer(session, operation, body).await,
            other => {
                let script = self.control(session, &other, &body);
                plain(session, script).await
            }
        }
    }

    async fn serve_answer(&self, session: &mut ServerSession, operation: Operation, body: Bytes) -> Result<Ending> {
        let _in_flight = self.stats.enter();
        let Reply { script, knobs, fault } = self.reply(operation, &session.req_header().headers, body);
        let ending = send(session, &script, &knobs, fault).await;
        Stats::count(match &ending {
            Ok(Ending::Complete) if fault.cut.is_none() => &self.stats.completed,
            Ok(Ending::Complete | Ending::Cut) => &self.stats.cut,
            Ok(Ending::Gone) | Err(_) => &self.stats.aborted,
        });
        ending
    }

    fn control(&self, session: &ServerSession, route: &Route, body: &[u8]) -> Script {
        match route {
            Route::Models => self.models(session.get_header("anthropic-version").is_some()),
            Route::Health if self.knobs().unhealthy => Script::json(503, r#"{"status":"unhealthy"}"#),
            Route::Health => Script::json(200, r#"{"status":"ok"}"#),
            Route::Set => match self.set(body) {
                Ok(()) => Script::json(200, serde_json::to_vec(&*self.knobs()).unwrap_or_default()),
                Err(message) => Script::json(400, chat::error_body(&Refusal::bad(message))),
            },
            Route::Reset => {
                self.reset();
                Script::json(200, "{}")
            }
            Route::Stats => Script::json(200, self.stats.to_json()),
            Route::Last(None) => Script::json(200, self.stats.last_json()),
            Route::Last(Some(format)) => match self.stats.last_body(format) {
                Some(body) => Script::json(200, body),
                None => Script::json(404, chat::error_body(&Refusal::new(404, "No request of this format came yet."))),
            },
            Route::Answer(_) | Route::Unknown => {
                let message = "The simulator does not serve this method and path.";
                Script::json(404, chat::error_body(&Refusal::new(404, message).code("unknown_url")))
            }
        }
    }

    fn models(&self, for_anthropic: bool) -> Script {
        let knobs = self.knobs();
        let names: Vec<&str> = match knobs.models.as_slice() {
            [] => vec!["sim-large", "sim-small"],
            given => given.iter().map(String::as_str).collect(),
        };
        let body = if for_anthropic {
            let data = names.iter().map(|name| AnthropicModel {
                kind: "model",
                id: name,
                display_name: name,
                created_at: "2026-01-01T00:00:00Z",
            });
            let (first_id, last_id) = (names.first().copied(), names.last().copied());
            serde_json::to_vec(&AnthropicModels { data: data.collect(), has_more: false, first_id, last_id })
        } else {
            let model = |name| OpenAiModel { id: name, object: "model", created: 1_767_225_600, owned_by: "simulator" };
            serde_json::to_vec(&OpenAiModels { object: "list", data: names.iter().copied().map(model).collect() })
        };
        Script::json(200, body.unwrap_or_default())
    }
}

#[derive(Serialize)]
struct OpenAiModels<'a> {
    object: &'static str,
    data: Vec<OpenAiModel<'a>>,
}

#[derive(Serialize)]
struct OpenAiModel<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    owned_by: &'static str,
}

#[derive(Serialize)]
struct AnthropicModels<'a> {
    data: Vec<AnthropicModel<'a>>,
    has_more: bool,
    first_id: Option<&'a str>,
    last_id: Option<&'a str>,
}

#[derive(Serialize)]
struct AnthropicModel<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    id: &'a str,
    display_name: &'a str,
    created_at: &'static str,
}

/// Sends what is no simulated answer: at once and without faults.
async fn plain(session: &mut ServerSession, script: Script) -> Result<Ending> {
    let unpaced = super::Knobs::default();
    send(session, &script, &unpaced, Fault::default()).await
}

/// The whole body, or `None` if it is too large.
async fn read_body(session: &mut ServerSession) -> Result<Option<Bytes>> {
    let announced = session.get_header("content-length").and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|length| length > MAX_BODY) {
        return Ok(None);
    }
    if session.get_header_bytes("expect").eq_ignore_ascii_case(b"100-continue") {
        session.write_continue_response().await?;
    }
    let read = async {
        let Some(first) = session.read_request_body().await? else { return Ok(Some(Bytes::new())) };
        if announced == Some(first.len()) {
            return Ok(Some(first));
        }
        let mut body = BytesMut::with_capacity(announced.unwrap_or(0).max(first.len()));
        body.extend_from_slice(&first);
        while let Some(more) = session.read_request_body().await? {
            if body.len() + more.len() > MAX_BODY {
                return Ok(None);
            }
            body.extend_from_slice(&more);
        }
        Ok(Some(body.freeze()))
    };
    match tokio::time::timeout(BODY_DEADLINE, read).await {
        Ok(body) => body,
        Err(_) => pingora_core::Error::e_explain(
            pingora_core::ErrorType::ReadTimedout,
            format!("the request body did not arrive within {BODY_DEADLINE:?}"),
        ),
    }
}
