//! Header names that the proxy looks up for every request, made once.

use http::HeaderName;

pub(super) const ALT_SVC: HeaderName = HeaderName::from_static("alt-svc");
pub(super) const API_KEY: HeaderName = HeaderName::from_static("api-key");
pub(super) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
pub(super) const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
pub(super) const LOSS: HeaderName = HeaderName::from_static("x-tidegate-loss");
/// Anthropic's name for it.
pub(super) const PLAIN_REQUEST_ID: HeaderName = HeaderName::from_static("request-id");
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
pub(super) const RETRY_AFTER_MS: HeaderName = HeaderName::from_static("retry-after-ms");
pub(super) const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");
pub(super) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
pub(super) const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
pub(super) const UPSTREAM_REQUEST_ID: HeaderName = HeaderName::from_static("x-upstream-request-id");
/// Asks nginx-like proxies in front to pass a stream on as it comes.
pub(super) const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");
pub(super) const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");
