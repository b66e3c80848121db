//! How a client's connection is treated, beyond what Pingora does by itself.

use std::net::IpAddr;
use std::time::Duration;

use http::Version;
use pingora_proxy::Session;
use tidegate_codec::hub::{Fault, FaultKind};

use super::refuse::Rejection;
use super::{method, names};
use crate::config::{ClientTimeouts, Server};

/// Bytes a second that a client must at least take of a large piece.
const LEAST_RATE: usize = 16 << 10;

/// Prepares the connection for the request that has come.
pub(super) fn prepare(session: &mut Session, timeouts: &ClientTimeouts) {
    // Many clients take the first status line for the answer.
    session.set_ignore_info_resp(true);
    // The time of a body as a whole is kept where it is read.
    session.set_read_timeout(None);
    session.set_total_drain_timeout(Some(timeouts.body));
    session.set_write_timeout(Some(timeouts.write));
    if session.req_header().version == Version::HTTP_10 {
        // It knows no chunks: the end of the connection is the answer's, see `length`.
        session.set_keepalive(None);
    }
}

/// Gives the client as much more time as a large piece of an answer takes: Pingora has one deadline for all of it.
pub(super) fn wait_for_large(session: &mut Session, length: usize, timeouts: &ClientTimeouts) {
    let more = Duration::from_secs((length / LEAST_RATE) as u64);
    session.set_write_timeout(Some(timeouts.write.saturating_add(more)));
}

/// Who calls: the address that connected, or the one that a trusted proxy tells of.
pub(super) fn client(session: &Session, server: &Server) -> Option<IpAddr> {
    let peer = peer(session)?;
    let forwarded = session.req_header().headers.get_all(names::FORWARDED_FOR);
    let forwarded: Vec<&str> = forwarded.iter().filter_map(|value| value.to_str().ok()).collect();
    Some(server.access.client(peer, forwarded.into_iter()))
}

/// The address that connected.
pub(super) fn peer(session: &Session) -> Option<IpAddr> {
    Some(session.client_addr()?.as_inet()?.ip().to_canonical())
}

/// Why a request is not even looked at; `None` if it is. Over HTTP/1 most of this was found before, see the server's front.
pub(super) fn refusal(session: &mut Session, server: &Server, client: Option<IpAddr>) -> Option<Rejection> {
    let head = session.req_header();
    if client.is_some_and(|client| !server.access.admits(client)) {
        let fault = Fault::new(FaultKind::Permission, "Requests from this address are not served.");
        return Some(Rejection::new(fault).labelled("address").closing());
    }
    if let Some(unserved) = method::unserved(head.method.as_str().as_bytes()) {
        let mut fault = Fault::new(FaultKind::InvalidRequest, unserved.message);
        fault.status = unserved.status;
        let mut rejection = Rejection::new(fault).labelled(unserved.label).closing();
        rejection.allow = (unserved.status == 405).then_some(method::SERVED);
        return Some(rejection);
    }
    let count = server.limits.header_count;
    if head.headers.len() > count {
        // The answer may have to wait for its client; the headers need not.
        let names: Vec<_> = head.headers.keys().cloned().collect();
        for name in names {
            session.req_header_mut().remove_header(&name);
        }
        let mut fault = Fault::new(
            FaultKind::InvalidRequest,
            format!("The request has more than {count} headers, the most read here."),
        );
        fault.status = 431;
        return Some(Rejection::new(fault).labelled("too_many_headers").closing());
    }
    None
}
