//! The heads of requests to providers: what all of them carry, and what is of a format or of an operation that is passed
//! through.

use http::header::{self, InvalidHeaderValue};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Version};
use pingora::http::RequestHeader;
use pingora::{Error, ErrorType};
use tidegate_codec::{Framing, Operation, wire};

use super::exchange::{Admitted, Attempt, Call};
use super::names;
use super::send::items;
use crate::provider::{Layout, Provider, services, uploads};

/// Headers of the client that go on to the provider as they are.
pub(super) const PASSED: [HeaderName; 5] =
    [header::ACCEPT, header::USER_AGENT, header::ACCEPT_LANGUAGE, names::TRACESTATE, names::IDEMPOTENCY_KEY];

/// Those that go on beside them where an operation is passed through.
const PASSED_THROUGH: [HeaderName; 7] = [
    header::CONTENT_TYPE,
    header::RANGE,
    header::IF_RANGE,
    header::IF_MATCH,
    header::IF_NONE_MATCH,
    header::IF_MODIFIED_SINCE,
    header::IF_UNMODIFIED_SINCE,
];

/// Headers that a request to a provider has room for at first; few have more.
const ROOM: usize = 12;

/// The head of a request in a format, for an attempt; `client` are the headers of the client's own, and the ids are the
/// request's and its `traceparent`.
///
/// # Errors
///
/// A value cannot stand in a header.
pub(super) fn of_format(
    (admitted, operation, attempt): (&Admitted, Operation, &Attempt),
    (client, version): (&HeaderMap, Version),
    ids: (&str, Option<&str>),
) -> pingora::Result<RequestHeader> {
    let spec = wire(attempt.format).spec();
    let same = attempt.format == admitted.format;
    // What is passed on untouched keeps its framing; what is read comes as events.
    let stream = admitted.stream.map(|framing| if same && !attempt.translated { framing } else { Framing::Events });
    let line = spec.request_line(operation, &attempt.model, stream);
    let target = attempt.provider.layout.path(attempt.lease.base_path(), &line, &attempt.model);
    // Streams are asked for by the body; what a translated client accepts is not what the provider sends.
    let passed = PASSED.into_iter().filter(|name| same || *name != header::ACCEPT);
    let mut headers = base(attempt, Some(attempt.body.len()), ids, (client, passed))?;
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    finish((admitted, attempt), (Method::POST, &target, version), headers)
}

/// The head of a request that is passed through: the client's own, but for what is secret, of a connection, or ours.
///
/// # Errors
///
/// A value cannot stand in a header.
pub(super) fn of_service(
    (admitted, call, attempt): (&Admitted, &Call, &Attempt),
    (client, version): (&RequestHeader, Version),
    ids: (&str, Option<&str>),
) -> pingora::Result<RequestHeader> {
    let path = attempt.lease.base_path();
    let target = match call.service {
        Some(_) => attempt.provider.layout.path(path, &call.target, &attempt.model),
        None => Layout::default().path(path, &call.target, ""),
    };
    let held = || client.method == Method::POST && call.upload.is_none();
    let length = match &call.upload {
        Some(upload) => upload.length(),
        None => held().then_some(attempt.body.len()),
    };
    let own = services::HEADERS.iter().map(|name| HeaderName::from_static(name));
    let uploads = uploads::REQUEST_HEADERS.into_iter().filter(|_| call.origin.is_some()).map(HeaderName::from_static);
    let passed = PASSED_THROUGH.into_iter().chain(own).chain(uploads).chain(PASSED);
    let headers = base(attempt, length, ids, (&client.headers, passed))?;
    finish((admitted, attempt), (call.method.clone(), &target, version), headers)
}

/// What stands in every head: whither it goes, which request it is, how long its body, and those headers of the client
/// that are `passed`.
fn base(
    attempt: &Attempt,
    length: Option<usize>,
    (request_id, traceparent): (&str, Option<&str>),
    (client, passed): (&HeaderMap, impl Iterator<Item = HeaderName>),
) -> pingora::Result<HeaderMap> {
    let mut headers = HeaderMap::with_capacity(ROOM);
    headers.insert(header::HOST, value_of(attempt.lease.host_header())?);
    if let Some(length) = length {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    headers.insert(names::REQUEST_ID, value_of(request_id)?);
    if let Some(traceparent) = traceparent {
        headers.insert(names::TRACEPARENT, value_of(traceparent)?);
    }
    for name in passed {
        if let Some(value) = client.get(&name) {
            headers.insert(name, value.clone());
        }
    }
    Ok(headers)
}

/// Adds what the formats and the provider have of their own, and makes the head.
fn finish(
    (admitted, attempt): (&Admitted, &Attempt),
    line: (Method, &str, Version),
    headers: HeaderMap,
) -> pingora::Result<RequestHeader> {
    let mut headers = headers;
    if attempt.format == admitted.format {
        own_headers(admitted, attempt, &mut headers)?;
    }
    for (name, value) in &attempt.headers {
        headers.insert(*name, value_of(value)?);
    }
    provider_headers(admitted, &attempt.provider, &mut headers);
    request(line, headers)
}

/// Headers that belong to the client's format and mean the same to a provider of it.
fn own_headers(admitted: &Admitted, attempt: &Attempt, headers: &mut HeaderMap) -> pingora::Result<()> {
    let spec = wire(admitted.format).spec();
    if let (Some(name), Some(version)) = (spec.version_header, &admitted.api_version) {
        headers.insert(name, value_of(version)?);
    }
    if let (Some(name), Some(betas)) = (spec.beta_header, &admitted.betas) {
        let known = admitted.snapshot.known(&attempt.provider, &attempt.model);
        let taken: Vec<&str> = items(betas).filter(|beta| known.facts.takes_beta(beta)).collect();
        if known.facts.betas.is_none() {
            headers.insert(name, value_of(betas)?);
        } else if !taken.is_empty() {
            headers.insert(name, value_of(taken.join(","))?);
        }
    }
    Ok(())
}

/// What every request to the provider carries, its credentials among it.
fn provider_headers(admitted: &Admitted, provider: &Provider, headers: &mut HeaderMap) {
    let version = wire(provider.format).spec().version_header.filter(|_| provider.format == admitted.format);
    for header in admitted.snapshot.headers(provider).iter() {
        // A client of the same format names the version that it was written for.
        let is_version = version == Some(header.name.as_str());
        if !(is_version && headers.contains_key(&header.name)) {
            headers.insert(header.name.clone(), header.value.clone());
        }
    }
}

/// A request's head. Its headers are given as they are sent: one by one Pingora would parse each name, and copy it for
/// its spelling.
///
/// # Errors
///
/// `target` cannot stand in a request's line.
fn request((method, target, version): (Method, &str, Version), headers: HeaderMap) -> pingora::Result<RequestHeader> {
    let mut parts = http::Request::new(()).into_parts().0;
    (parts.method, parts.version, parts.headers) = (method, version, headers);
    let mut head = RequestHeader::from(parts);
    head.set_raw_path(target.as_bytes())?;
    Ok(head)
}

/// `text` as the value of a header.
///
/// # Errors
///
/// It cannot stand there.
fn value_of(text: impl TryInto<HeaderValue, Error: Into<InvalidHeaderValue>>) -> pingora::Result<HeaderValue> {
    let invalid = |error: InvalidHeaderValue| Error::because(ErrorType::InvalidHTTPHeader, "a header's value", error);
    text.try_into().map_err(|error| invalid(error.into()))
}
