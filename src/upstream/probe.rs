//! One active check of an endpoint.

use std::pin::pin;
use std::sync::OnceLock;

use http::Uri;
use pingora_core::connectors::http::Connector;
use pingora_core::protocols::l4::socket::SocketAddr as PingoraAddr;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_http::RequestHeader;
use tokio::net::TcpStream;

use super::endpoint::{Care, State};
use super::framing::MOST_INTERIMS;
use super::peer::for_check;
use crate::clock;
use crate::provider::HealthSpec;

/// Makes checks. One connector serves all of them, made when the first needs it: its root certificates cost megabytes.
#[derive(Default)]
pub(super) struct Prober {
    connector: OnceLock<Connector>,
}

impl Prober {
    /// Checks an endpoint once, within the time that `spec` gives; a sentence says what failed.
    pub(super) async fn check(&self, state: &State, care: &Care, spec: &HealthSpec) -> Result<(), String> {
        let result = clock::within(spec.timeout, pin!(self.attempt(state, care, spec))).await;
        result.unwrap_or_else(|| Err(format!("no result within {:?}", spec.timeout)))
    }

    async fn attempt(&self, state: &State, care: &Care, spec: &HealthSpec) -> Result<(), String> {
        let address = state.resolver.address(|| state.now()).await.map_err(|error| error.to_string())?;
        if spec.path.is_none() && !care.peer.is_tls() {
            return TcpStream::connect(address).await.map(|_| ()).map_err(|error| format!("connect: {error}"));
        }
        let mut peer = for_check(&care.peer, spec.timeout);
        peer._address = PingoraAddr::Inet(address);
        match &spec.path {
            None => self.connect(&peer).await.map(|_| ()),
            Some(path) => self.get(&peer, &care.host_header, path).await,
        }
    }

    async fn connect(&self, peer: &HttpPeer) -> Result<Session, String> {
        let connector = self.connector.get_or_init(|| Connector::new(None));
        let (session, _) = connector.get_http_session(peer).await.map_err(|error| format!("connect: {error}"))?;
        Ok(session)
    }

    /// The connection is not kept: an old one says nothing about whether a new one would be accepted.
    async fn get(&self, peer: &HttpPeer, host: &str, path: &str) -> Result<(), String> {
        let mut request = request(host, path).map_err(|error| format!("request: {error}"))?;
        let mut session = self.connect(peer).await?;
        if matches!(session, Session::H2(_)) && !peer.is_tls() {
            // Pingora would say `https` here, which a strict server refuses.
            let uri = Uri::try_from(format!("http://{host}{path}")).map_err(|error| format!("request: {error}"))?;
            request.set_uri(uri);
        }
        session.set_read_timeout(peer.options.read_timeout);
        session.set_write_timeout(peer.options.write_timeout);
        session.write_request_header(Box::new(request)).await.map_err(|error| format!("send: {error}"))?;
        session.finish_request_body().await.map_err(|error| format!("send: {error}"))?;
        for _ in 0..=MOST_INTERIMS {
            session.read_response_header().await.map_err(|error| format!("answer: {error}"))?;
            let Some(status) = session.response_header().map(|head| head.status) else {
                return Err("no answer".to_owned());
            };
            if !status.is_informational() {
                return if status.is_success() {
                    Ok(())
                } else {
                    Err(format!("GET {path}: status {}", status.as_u16()))
                };
            }
        }
        Err(format!("GET {path}: no final answer"))
    }
}

type Session = pingora_core::protocols::http::client::HttpSession;

fn request(host: &str, path: &str) -> pingora_core::Result<RequestHeader> {
    let mut request = RequestHeader::build("GET", path.as_bytes(), None)?;
    request.insert_header("host", host)?;
    request.insert_header("user-agent", "tidegate-health")?;
    request.insert_header("accept", "*/*")?;
    Ok(request)
}
