//! Answers to what was refused before it was a request: nothing of it is known but what its first line seems to say.

use std::net::IpAddr;
use std::sync::Arc;

use http::StatusCode;
use tidegate_codec::hub::{Fault, FaultKind};
use tidegate_codec::{Format, wire};

use super::ids::Ids;
use super::method;
use crate::observe::{Endpoint, Method, Observer, Settled};

/// Answers them.
pub struct Unreads {
    pub(super) observer: Arc<Observer>,
    pub(super) ids: Arc<Ids>,
}

/// What was refused.
pub struct Unread<'a> {
    /// The status of the answer.
    pub status: u16,
    /// A bounded word for metrics and the log.
    pub label: &'static str,
    /// What the client is told.
    pub message: &'static str,
    /// Its method, if that is one.
    pub method: Option<&'a str>,
    /// Where it was to go, if that can be told.
    pub target: Option<&'a str>,
    /// Who sent it.
    pub client: IpAddr,
}

impl Unreads {
    /// The whole answer, as bytes of HTTP/1.1; the connection ends behind it.
    pub fn answer(&self, unread: &Unread<'_>) -> Vec<u8> {
        let request_id = self.ids.next();
        let (path, query) = unread.target.map_or(("", None), |target| match target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (target, None),
        });
        let known = Format::ALL.into_iter().find(|format| wire(*format).spec().find(path, query).is_some());
        let format = known.unwrap_or(Format::DEFAULT);
        let kind = if unread.status == 408 { FaultKind::Timeout } else { FaultKind::InvalidRequest };
        let mut fault = Fault::new(kind, unread.message).with_code(unread.label);
        fault.status = unread.status;
        let (status, body) = wire(format).write_error(&fault, Some(&request_id));
        let reason = StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason()).unwrap_or("Error");
        let length = body.len();
        let mut answer = format!("HTTP/1.1 {status} {reason}\r\ncontent-type: application/json\r\n");
        answer.push_str(&format!("content-length: {length}\r\nx-request-id: {request_id}\r\n"));
        if let Some(name) = wire(format).spec().request_id_header {
            answer.push_str(&format!("{name}: {request_id}\r\n"));
        }
        if status == 405 {
            answer.push_str(&format!("allow: {}\r\n", method::SERVED));
        }
        answer.push_str("connection: close\r\n\r\n");
        let mut answer = answer.into_bytes();
        if unread.method != Some("HEAD") {
            answer.extend_from_slice(&body);
        }
        self.observer.settle(&Settled {
            request_id: &request_id,
            client_ip: Some(unread.client),
            method: unread.method.map_or(Method::Other, Method::from_name),
            endpoint: Endpoint::Other,
            status,
            client_format: known.map(Format::name),
            error_type: Some(unread.label),
            bytes_out: length as u64,
            ..Settled::default()
        });
        answer
    }
}
