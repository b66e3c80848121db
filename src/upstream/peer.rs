//! The peer that Pingora connects to.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use pingora_core::protocols::TcpKeepalive;
use pingora_core::protocols::l4::socket::SocketAddr as PingoraAddr;
use pingora_core::upstreams::peer::{HttpPeer, HttpUpstreamRequestPolicy, PeerOptions, Scheme};

use super::authorities::for_pingora;
use super::endpoint::EndpointId;
use crate::provider::{EndpointSpec, HttpVersion, Provider};

/// Requests that share one HTTP/2 connection. Pingora's default of 1 would share none.
const H2_STREAMS: usize = 100;
/// What a provider may send on one HTTP/2 stream before the client has taken it: the bound on what a slow client makes
/// us hold. Pingora's default is 8 MiB.
const H2_STREAM_WINDOW: u32 = 1 << 20;
/// The same for a whole connection: all its streams together cannot fill it, so that no number of clients that take nothing
/// stalls the others on it.
const H2_CONNECTION_WINDOW: u32 = 128 << 20;
const _: () = assert!(H2_CONNECTION_WINDOW as usize > H2_STREAMS * H2_STREAM_WINDOW as usize);

/// How much longer a provider may be silent for the sake of a request that takes long to come.
const LONGEST_UPLOAD: Duration = Duration::from_secs(3600);

/// A peer without its address: what does not change between two attempts at an endpoint.
pub(super) fn template(provider: &Provider, spec: &EndpointSpec) -> HttpPeer {
    HttpPeer {
        _address: PingoraAddr::Inet(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0))),
        scheme: if spec.tls { Scheme::HTTPS } else { Scheme::HTTP },
        // An empty name would switch verification off. RFC 6066 section 3 wants it without the final dot.
        sni: spec.host.trim_end_matches('.').to_owned(),
        proxy: None,
        client_cert_key: None,
        group_key: group(provider, spec),
        options: options(provider, spec),
    }
}

/// The same peer for a check that must be over after `timeout` and shares its connection with nobody.
pub(super) fn for_check(template: &HttpPeer, timeout: Duration) -> HttpPeer {
    let mut peer = template.clone();
    let options = &mut peer.options;
    options.connection_timeout = Some(timeout);
    options.total_connection_timeout = Some(timeout);
    options.read_timeout = Some(timeout);
    options.write_timeout = Some(timeout);
    options.max_h2_streams = 1;
    peer
}

/// Keeps the connections of a lot of an endpoint's apart from those of its others, and of other endpoints behind the same
/// address.
pub(super) fn of_lot(peer: &mut HttpPeer, (endpoint, lot): (EndpointId, u64)) {
    if lot > 0 {
        let mut hasher = DefaultHasher::new();
        (peer.group_key, endpoint, lot).hash(&mut hasher);
        peer.group_key = hasher.finish();
    }
}

/// Makes `peer` bear a request that takes up to `longest` to come. Over HTTP/2 Pingora counts a provider's silence from the
/// request's head on, over HTTP/1.1 from the last piece: so that is taken where it can be, and elsewhere the silence may be
/// that much longer, but not for ever: there nobody else sees that a client of HTTP/2 has fallen silent.
pub fn await_upload(peer: &mut HttpPeer, longest: Duration) {
    let options = &mut peer.options;
    if options.alpn.get_min_http_version() < 2 {
        options.set_http_version(1, 1);
    } else {
        options.read_timeout = options.read_timeout.map(|timeout| timeout.saturating_add(longest.min(LONGEST_UPLOAD)));
    }
}

/// When a silent connection is probed first, how often then, and how many probes may stay unanswered.
const PROBED_AFTER: Duration = Duration::from_secs(10);
const PROBED_EVERY: Duration = Duration::from_secs(10);
const PROBES: usize = 3;

/// For so long what was sent, a probe too, may stay unconfirmed, at least: Linux counts no probes where this is set. A client
/// has no head of its stream yet by then (`early_head`), so that another target can answer.
#[cfg(target_os = "linux")]
const UNCONFIRMED: Duration = Duration::from_secs(40);
#[cfg(target_os = "linux")]
const _: () = assert!(UNCONFIRMED.as_secs() == PROBED_AFTER.as_secs() + PROBED_EVERY.as_secs() * PROBES as u64);

/// How a connection is watched on which what is sent is taken within `write`. A model may think for minutes without a byte;
/// this keeps NAT gateways from forgetting the connection, and notices a machine that is gone, also one that has not
/// confirmed what was sent to it.
pub fn keepalive(write: Duration) -> TcpKeepalive {
    TcpKeepalive {
        idle: PROBED_AFTER,
        interval: PROBED_EVERY,
        count: PROBES,
        #[cfg(target_os = "linux")]
        user_timeout: write.max(UNCONFIRMED),
    }
}

fn options(provider: &Provider, spec: &EndpointSpec) -> PeerOptions {
    let timeouts = &provider.timeouts;
    let mut options = PeerOptions::new();
    options.connection_timeout = Some(timeouts.connect);
    options.total_connection_timeout = Some(timeouts.connect);
    options.read_timeout = Some(timeouts.read);
    options.write_timeout = Some(timeouts.write);
    options.idle_timeout = Some(timeouts.idle);
    options.max_h2_streams = H2_STREAMS;
    options.h2_stream_window_size = Some(H2_STREAM_WINDOW);
    options.h2_connection_window_size = Some(H2_CONNECTION_WINDOW);
    options.http_upstream_request_policy = HttpUpstreamRequestPolicy::deny_upgrades();
    options.tcp_keepalive = Some(keepalive(timeouts.write));
    options.ca = provider.authorities.as_deref().map(for_pingora);
    let (most, least) = versions(spec);
    options.set_http_version(most, least);
    options
}

/// The highest and the lowest HTTP version, as Pingora counts them.
fn versions(spec: &EndpointSpec) -> (u8, u8) {
    match (spec.http, spec.tls) {
        (HttpVersion::Auto, true) => (2, 1),
        (HttpVersion::Auto, false) | (HttpVersion::H1, _) => (1, 1),
        (HttpVersion::H2, _) => (2, 2),
    }
}

/// Who may share a connection: requests to the same provider with the same authorities and HTTP version. Pingora's own
/// key has neither of the last two, so that a connection verified by one provider's authorities would serve another's.
fn group(provider: &Provider, spec: &EndpointSpec) -> u64 {
    let mut hasher = DefaultHasher::new();
    provider.name.hash(&mut hasher);
    provider.authorities.as_ref().map(|authorities| &authorities.certificates).hash(&mut hasher);
    versions(spec).hash(&mut hasher);
    hasher.finish()
}
