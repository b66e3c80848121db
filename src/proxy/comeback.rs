//! Uploads that take several requests: their clients come back here with each piece.
//!
//! The address that a provider gives for the pieces leads past us and needs no key. The client is given one of ours, with
//! a ticket: who it is, which provider has the upload, and what comes of the client's keys, without which nobody makes one
//! and with which it ends. SDKs send no key with the pieces, so the ticket stands for it,
//! for that upload alone; without one nobody goes on with an upload, whatever key it has. What the protocol says is in
//! `provider::uploads`.

use std::fmt::Write as _;
use std::sync::Arc;

use http::HeaderValue;
use http::header;
use pingora::http::ResponseHeader;
use pingora::{Error, ErrorType};
use pingora_proxy::Session;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tidegate_codec::hub::{Fault, FaultKind};

use super::Edge;
use super::admit;
use super::connection;
use super::exchange::{Exchange, Sending, Task};
use super::names;
use super::refuse::{self, Rejection};
use crate::config::{AuthFailure, Caller, Server, Snapshot};
use crate::provider::uploads::{self, Upload};

/// What a client comes back with.
#[derive(Debug)]
pub(super) struct Ticket {
    /// Whose upload it is.
    client: String,
    /// Who has it.
    pub(super) provider: String,
    /// What its client's keys made of it.
    proof: String,
    /// What it belongs to.
    bound: String,
}

/// The ticket of a request that goes on with an upload; `None` for any other. The request loses it here: it has no place in
/// a log, and goes to no provider.
///
/// # Errors
///
/// The request would go on with an upload that it has no ticket for, or speaks another protocol.
pub(super) fn ticket(edge: &Edge, session: &mut Session, snapshot: &Snapshot) -> Result<Option<Ticket>, Rejection> {
    let uri = &session.req_header().uri;
    let (path, query) = (uri.path(), uri.query().unwrap_or_default());
    if !uploads::are_at(path) {
        return Ok(None);
    }
    if uploads::is_older(query) {
        let message =
            "Uploads in several requests are served by `X-Goog-Upload-Protocol: resumable`, not by `uploadType`.";
        let fault = Fault::new(FaultKind::InvalidRequest, message);
        return Err(Rejection::new(fault.with_code("unsupported_value").with_param("uploadType")).closing());
    }
    let upload = match uploads::upload_in(query) {
        Upload::None => return Ok(None),
        Upload::One(upload) => upload,
        Upload::Unclear => return Err(no_ticket(edge)),
    };
    let bound = bound(path, upload);
    let words = uploads::ticket_in(query).and_then(|ticket| snapshot.seal.read_token(ticket, &bound));
    let Some([client, provider, proof]) = words.and_then(|words| <[String; 3]>::try_from(words).ok()) else {
        return Err(no_ticket(edge));
    };
    let target = format!("{path}?{}", uploads::passed(query));
    if admit::retarget(session, &target).is_err() {
        return Err(no_ticket(edge));
    }
    Ok(Some(Ticket { client, provider, proof, bound }))
}

impl Ticket {
    /// Who comes back. A key that is sent all the same must be of the same client.
    ///
    /// # Errors
    ///
    /// It is another client, or one that is no longer known.
    pub(super) fn caller(
        &self,
        edge: &Edge,
        keys: &[String],
        exchange: &mut Exchange,
        snapshot: &Snapshot,
    ) -> Result<Caller, Rejection> {
        let proof = proof(snapshot, &self.client, &self.bound);
        if !bool::from(proof.as_bytes().ct_eq(self.proof.as_bytes())) {
            return Err(no_ticket(edge));
        }
        if !keys.is_empty() {
            let caller = admit::authenticate(edge, keys, exchange, snapshot)?;
            return if **caller.name() == *self.client { Ok(caller) } else { Err(not_yours()) };
        }
        let caller = snapshot.settings.clients.named(&self.client).filter(|caller| **caller.name() == *self.client);
        edge.observer.auth(caller.is_some(), caller.as_ref().map_or(AuthFailure::Unknown.label(), |_| "ok"));
        let caller = caller.ok_or(AuthFailure::Unknown)?;
        exchange.trail.caller = Some(Arc::clone(caller.name()));
        Ok(caller)
    }
}

/// Where the client reaches us, where it may be led back with more of an upload; `None` for any other request.
///
/// # Errors
///
/// It does not say where.
pub(super) fn origin(session: &Session, server: &Server) -> Result<Option<String>, Rejection> {
    let uri = &session.req_header().uri;
    if !uploads::are_at(uri.path()) {
        return Ok(None);
    }
    let trusted = connection::peer(session).is_some_and(|peer| server.access.trusts(peer));
    let first = |name| {
        let value = admit::header(session, name).filter(|_| trusted)?;
        value.split(',').next().map(str::trim).filter(|value| !value.is_empty())
    };
    let tls = match first(names::FORWARDED_PROTO) {
        Some(scheme) => scheme.eq_ignore_ascii_case("https"),
        None => session.digest().is_some_and(|digest| digest.ssl_digest.is_some()),
    };
    let own = || admit::header(session, header::HOST).or_else(|| uri.authority().map(http::uri::Authority::as_str));
    let host = first(names::FORWARDED_HOST).or_else(own);
    match host.and_then(|host| uploads::origin(tls, host)) {
        Some(origin) => Ok(Some(origin)),
        None => {
            let message = "An upload is led back to the host that it was begun at: name it in the Host header.";
            let fault = Fault::new(FaultKind::InvalidRequest, message).with_code("bad_host");
            Err(Rejection::new(fault).labelled("bad_host").closing())
        }
    }
}

/// What an answer says of an upload, for the client: how far it has come, and where to go on. The provider's own addresses
/// are taken out of `head`.
///
/// # Errors
///
/// The provider leads elsewhere than to itself.
pub(super) fn told(head: &mut ResponseHeader, sending: &Sending) -> pingora::Result<Vec<(&'static str, HeaderValue)>> {
    let Sending { admitted, attempt: Some(attempt), .. } = sending else { return Ok(Vec::new()) };
    let Task::Service(call) = &admitted.task else { return Ok(Vec::new()) };
    let Some(origin) = &call.origin else { return Ok(Vec::new()) };
    let value = |name: &'static str| head.headers.get(name).map(|value| (name, value.clone()));
    let mut told: Vec<_> = uploads::ANSWER_HEADERS.into_iter().filter_map(value).collect();
    let addresses: Vec<_> = head.headers.get_all(uploads::ADDRESS_HEADER).iter().cloned().collect();
    for name in uploads::OWN_HEADERS {
        head.remove_header(name);
    }
    if head.status.as_u16() >= 300 || addresses.is_empty() {
        return Ok(told);
    }
    let line = attempt.provider.layout.path(attempt.lease.base_path(), &call.target, &attempt.model);
    let asked = line.split('?').next().unwrap_or_default();
    let address = <[HeaderValue; 1]>::try_from(addresses).ok();
    let read = address.as_ref().and_then(|[address]| uploads::read_address(address.to_str().ok()?, asked).ok());
    let (upload, query) = read.ok_or_else(astray)?;
    let bound = bound(call.path(), &upload);
    let client = admitted.caller.name();
    let words = [&**client, &*attempt.provider.name, &proof(&admitted.snapshot, client, &bound)];
    let ticket = admitted.snapshot.seal.token(&words, &bound);
    let back = uploads::come_back((origin, call.path()), &query, &ticket);
    told.push((uploads::ADDRESS_HEADER, HeaderValue::try_from(back).map_err(|_| astray())?));
    Ok(told)
}

/// What the keys of a client make of what a ticket belongs to: the seal's own key may come of names that are no secret.
fn proof(snapshot: &Snapshot, client: &str, bound: &str) -> String {
    let Some(keys) = snapshot.settings.clients.proof(client) else { return String::new() };
    let digest = Sha256::new().chain_update(b"ticket of an upload").chain_update(keys).chain_update(bound).finalize();
    digest.iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// What a ticket belongs to: the upload that is called so at its path.
fn bound(path: &str, upload: &str) -> String {
    format!("upload {path} {upload}")
}

/// Whoever has no ticket is not told whether there is such an upload.
fn no_ticket(edge: &Edge) -> Rejection {
    edge.observer.auth(false, AuthFailure::Unknown.label());
    not_yours()
}

fn not_yours() -> Rejection {
    let message = "This is no upload of yours: go on at the address in `x-goog-upload-url`, as it was given.";
    Rejection::new(Fault::new(FaultKind::Permission, message).with_code("upload_not_yours")).closing()
}

fn astray() -> Box<Error> {
    Error::explain(ErrorType::Custom(refuse::UPLOAD_ASTRAY), "the provider's upload leads elsewhere").into_up()
}
