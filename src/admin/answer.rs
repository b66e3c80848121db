//! The answers of the admin listener.

use http::header::{ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use serde::Serialize;

use super::{Health, Readiness};

const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";
const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// One answer before it is framed.
pub(super) struct Answer {
    status: u16,
    content_type: &'static str,
    body: String,
    /// The methods that there are instead.
    allow: Option<&'static str>,
}

impl Answer {
    pub(super) fn json(status: u16, body: String) -> Self {
        Self { status, content_type: JSON, body, allow: None }
    }

    pub(super) fn text(status: u16, body: String) -> Self {
        Self { status, content_type: TEXT, body, allow: None }
    }

    pub(super) fn health(health: &Health) -> Self {
        #[derive(Serialize)]
        struct Body {
            status: &'static str,
            version: &'static str,
            uptime_seconds: u64,
        }
        let uptime_seconds = health.uptime.as_secs();
        Self::of(200, &Body { status: health.status, version: health.version, uptime_seconds })
    }

    pub(super) fn live() -> Self {
        Self::json(200, r#"{"status":"alive"}"#.to_owned())
    }

    pub(super) fn ready(readiness: &Readiness) -> Self {
        #[derive(Serialize)]
        struct Body<'a> {
            ready: bool,
            reasons: &'a [String],
        }
        let ready = readiness.is_ready();
        Self::of(if ready { 200 } else { 503 }, &Body { ready, reasons: &readiness.reasons })
    }

    pub(super) fn metrics(text: Result<String, prometheus::Error>) -> Self {
        match text {
            Ok(body) => Self { status: 200, content_type: METRICS, body, allow: None },
            Err(error) => Self::error(500, &format!("the metrics could not be written: {error}")),
        }
    }

    pub(super) fn not_found(paths: &str) -> Self {
        Self::error(404, &format!("there is nothing at this path; there are {paths}"))
    }

    pub(super) fn wrong_method(allow: &'static str) -> Self {
        let message = format!("this path takes {allow} only");
        Self { allow: Some(allow), ..Self::error(405, &message) }
    }

    pub(super) fn from_web_page() -> Self {
        Self::error(403, "a request that a web page makes (it has an `origin` header) cannot reload")
    }

    pub(super) fn misdirected() -> Self {
        let message = "over loopback this is served at an address, at localhost or at a name without a dot, so that no web \
                       page can read it through its visitor: mend the request's `host` header";
        Self::error(421, message)
    }

    pub(super) fn too_large(limit: usize) -> Self {
        Self::error(413, &format!("a request's body must come whole and be at most {limit} bytes; none is needed here"))
    }

    /// With its header; `without_body` as for HEAD, whose `content-length` is that of the body left out.
    pub(super) fn into_response(self, without_body: bool) -> Response<Vec<u8>> {
        let length = self.body.len();
        let body = if without_body { Vec::new() } else { self.body.into_bytes() };
        let mut response = Response::new(body);
        *response.status_mut() = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(allow) = self.allow {
            headers.insert(ALLOW, HeaderValue::from_static(allow));
        }
        response
    }

    fn error(status: u16, message: &str) -> Self {
        #[derive(Serialize)]
        struct Body<'a> {
            error: Message<'a>,
        }
        #[derive(Serialize)]
        struct Message<'a> {
            status: u16,
            message: &'a str,
        }
        Self::of(status, &Body { error: Message { status, message } })
    }

    fn of(status: u16, body: &impl Serialize) -> Self {
        match serde_json::to_string(body) {
            Ok(body) => Self::json(status, body),
            Err(error) => Self::text(500, format!("the answer could not be written: {error}\n")),
        }
    }
}
