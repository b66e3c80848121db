//! Header names of every request, made once: as names where a header is looked up, as text where one is added to a head
//! of Pingora's.
//!
//! Pingora keeps the spelling of a name beside the name. Given text that lives for ever, it keeps that; given a name, it
//! makes a copy.

use http::HeaderName;

/// Whether it is a name that only the edge gives to headers.
pub(super) fn is_own(name: &HeaderName) -> bool {
    name.as_str().starts_with("x-tidegate-")
}

pub(super) const API_KEY: HeaderName = HeaderName::from_static("api-key");
pub(super) const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// Where and how a client reached the proxy in front of us.
pub(super) const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
pub(super) const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
pub(super) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
pub(super) const LOSS: &str = "x-tidegate-loss";
/// Most bytes of [`LOSS`]'s value that a request's losses take, and as many more that those of its answer take.
pub(super) const LOSS_MOST: usize = 1024;
/// Where some vendors' SDKs look for [`REQUEST_ID`].
pub(super) const PLAIN_REQUEST_ID: HeaderName = HeaderName::from_static("request-id");
/// Where an operation goes that names no model.
pub(super) const PROVIDER: &str = "x-tidegate-provider";
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static(REQUEST_ID_TEXT);
pub(super) const REQUEST_ID_TEXT: &str = "x-request-id";
pub(super) const RETRY_AFTER_MS: HeaderName = HeaderName::from_static("retry-after-ms");
pub(super) const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");
pub(super) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
pub(super) const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
pub(super) const UPSTREAM_REQUEST_ID: &str = "x-upstream-request-id";
/// Asks nginx-like proxies in front to pass a stream on as it comes.
pub(super) const X_ACCEL_BUFFERING: &str = "x-accel-buffering";
pub(super) const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");
pub(super) const X_GOOG_API_KEY: HeaderName = HeaderName::from_static("x-goog-api-key");
