//! Who may call, by address, and who says who calls; certificates that change.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;

use crate::support::client::{Ask, Client};
use crate::support::edge::{Conf, Edge, free_ports};
use crate::support::formats::Wire;
use crate::support::provider::Provider;
use crate::support::tls::Authority;
use crate::support::{PATIENCE, within};

async fn house(lines: &[&str]) -> (Provider, Edge) {
    let provider = Provider::always(Wire::Chat.reply(false)).await;
    let conf = Conf::open().provider("p", "openai", &provider).model("m", "p/model-1");
    let conf = lines.iter().fold(conf, |conf, line| conf.server(line));
    (provider, Edge::start(&conf).await)
}

#[tokio::test]
async fn trusted_proxies_say_who_calls() {
    let (_, edge) = house(&["trusted_proxies: [127.0.0.0/8]", "deny: [203.0.113.0/24]"]).await;
    let from = |address: &str| Wire::Chat.ask("m", false).header("x-forwarded-for", address);
    assert_eq!(from("198.51.100.7").send(edge.addr).await.status, 200);
    edge.log_line("the address", |line| line.contains("\"client_ip\":\"198.51.100.7\"")).await;
    let denied = from("198.51.100.7, 203.0.113.9").send(edge.addr).await;
    assert_eq!(denied.status, 403, "{}", denied.text());
    Wire::Chat.error(&denied);
    edge.log_line("the refusal", |line| line.contains("\"error_type\":\"address\"") && line.contains("203.0.113.9"))
        .await;
}

#[tokio::test]
async fn nobody_else_does() {
    let (provider, edge) = house(&["deny: [203.0.113.0/24]"]).await;
    let ask = Wire::Chat.ask("m", false).header("x-forwarded-for", "203.0.113.9");
    assert_eq!(ask.send(edge.addr).await.status, 200, "what a stranger writes is not read");
    edge.log_line("the address", |line| line.contains("\"client_ip\":\"127.0.0.1\"")).await;
    assert_eq!(provider.last().header("x-forwarded-for"), None);
}

#[tokio::test]
async fn addresses_that_may_not_call_get_no_connection() {
    // It must answer while it starts; then the list changes under it.
    let provider = Provider::always(Wire::Chat.reply(false)).await;
    let conf = Conf::open().provider("p", "openai", &provider).model("m", "p/model-1");
    let edge = Edge::start(&conf).await;
    let mut held = Client::connect(edge.addr).await;
    assert_eq!(held.ask(&Ask::get("/health")).await.status, 200);
    edge.rewrite(&conf.clone().server("allow: [192.0.2.0/24]"));
    edge.signal("HUP");
    edge.log_line("the reload", |line| line.contains("config reloaded")).await;
    let mut refused = Client::connect(edge.addr).await;
    assert_eq!(within(PATIENCE, "the end", refused.rest()).await, b"");
    assert_eq!(held.ask(&Wire::Chat.ask("m", false)).await.status, 403, "an open connection is asked too");
    edge.metric_reaches("gateway_connections_refused_total", &["reason=\"address\""], 1.0).await;
}

/// The certificate that the edge shows now; `None` if `config` does not trust it.
async fn shown(addr: SocketAddr, config: Arc<ClientConfig>) -> Option<Vec<u8>> {
    let stream = TcpStream::connect(addr).await.expect("the edge listens");
    let name = ServerName::try_from("localhost").expect("a name");
    let stream = TlsConnector::from(config).connect(name, stream).await.ok()?;
    Some(stream.get_ref().1.peer_certificates()?.first()?.to_vec())
}

#[tokio::test]
async fn certificates_change_while_the_edge_serves() {
    let (old, new) = (Authority::new(), Authority::new());
    let dir = tempfile::TempDir::new().expect("a directory");
    let write = |authority: &Authority| {
        let identity = authority.issue(&["localhost"]);
        for (name, text) in [("tls.key", &identity.key_pem), ("tls.crt", &identity.cert_pem)] {
            std::fs::write(dir.path().join(name), text).expect("written");
        }
    };
    write(&old);
    let (secure, _) = free_ports();
    let listen = format!(
        "listen: [{{address: \"@PUBLIC\"}}, {{address: \"{secure}\", tls: {{cert: \"@DIR/tls.crt\", key: \"@DIR/tls.key\"}}}}]"
    );
    let (certificate, key) = (dir.path().join("tls.crt"), dir.path().join("tls.key"));
    let provider = Provider::always(Wire::Chat.reply(false)).await;
    let conf = Conf::open().server(&listen).provider("p", "openai", &provider).model("m", "p/model-1");
    let fresh = new.issue(&["localhost"]);
    let edge = Edge::start_in(&conf, dir).await;
    assert!(shown(edge.addr, old.client(&[b"h2"])).await.is_none(), "the plain port speaks no TLS");
    assert!(shown(secure, old.client(&[b"h2"])).await.is_some());
    let reload = async |good: bool| {
        let answer = edge.admin("POST", "/reload").await;
        assert_eq!(answer.status == 200, good, "{}", answer.text());
    };
    // A key that is none of the certificate's: all stays as it was.
    std::fs::write(&key, &fresh.key_pem).expect("written");
    reload(false).await;
    assert!(shown(secure, old.client(&[b"h2"])).await.is_some(), "the old pair is still shown");
    std::fs::write(&certificate, &fresh.cert_pem).expect("written");
    reload(true).await;
    assert!(shown(secure, new.client(&[b"http/1.1"])).await.is_some(), "the new one is shown to new connections");
    assert!(shown(secure, old.client(&[b"h2"])).await.is_none());
}

#[tokio::test]
async fn a_certificate_that_is_over_is_told() {
    /// 2001-01-01 00:00 UTC.
    const OVER: f64 = 978_307_200.0;
    let authority = Authority::new();
    let dir = tempfile::TempDir::new().expect("a directory");
    let expired = authority.issue_expired(&["localhost"]);
    std::fs::write(dir.path().join("tls.key"), &expired.key_pem).expect("written");
    std::fs::write(dir.path().join("tls.crt"), &expired.cert_pem).expect("written");
    let (secure, _) = free_ports();
    let listen = format!(
        "listen: [{{address: \"@PUBLIC\"}}, {{address: \"{secure}\", tls: {{cert: \"@DIR/tls.crt\", key: \"@DIR/tls.key\"}}}}]"
    );
    let (certificate, key) = (dir.path().join("tls.crt"), dir.path().join("tls.key"));
    let provider = Provider::always(Wire::Chat.reply(false)).await;
    let conf = Conf::open().server(&listen).provider("p", "openai", &provider).model("m", "p/model-1");
    let fresh = authority.issue(&["localhost"]);
    let edge = Edge::start_in(&conf, dir).await;
    let told = format!("the certificate of the listener at {secure} expired on Mon, 01 Jan 2001 00:00:00 GMT");
    edge.log_line("the expired certificate", |line| line.contains(&told)).await;
    let (family, listener) = ("gateway_certificate_expiry_timestamp_seconds", format!("listener=\"{secure}\""));
    edge.metric_becomes(family, &[&listener], OVER).await;
    std::fs::write(&key, &fresh.key_pem).expect("written");
    std::fs::write(&certificate, &fresh.cert_pem).expect("written");
    assert_eq!(edge.admin("POST", "/reload").await.status, 200);
    edge.metric_reaches(family, &[&listener], OVER + 1.0).await;
}

/// An edge with a TLS listener beside its plain one.
async fn secure(authority: &Authority, timeouts: &str) -> (Edge, SocketAddr) {
    let identity = authority.issue(&["localhost"]);
    let dir = tempfile::TempDir::new().expect("a directory");
    std::fs::write(dir.path().join("tls.crt"), &identity.cert_pem).expect("written");
    std::fs::write(dir.path().join("tls.key"), &identity.key_pem).expect("written");
    let (secure, _) = free_ports();
    let listen = format!(
        "listen: [{{address: \"@PUBLIC\"}}, {{address: \"{secure}\", tls: {{cert: \"@DIR/tls.crt\", key: \"@DIR/tls.key\"}}}}]"
    );
    let provider = Provider::always(Wire::Chat.reply(false)).await;
    let conf = Conf::open().server(&listen).server(timeouts).provider("p", "openai", &provider);
    (Edge::start_in(&conf.model("m", "p/model-1"), dir).await, secure)
}

#[tokio::test]
async fn a_secure_connection_that_says_nothing_is_closed() {
    let authority = Authority::new();
    let (_edge, addr) = secure(&authority, "timeouts: {header: 300ms, keep_alive: 1s}").await;
    for (alpn, said) in [
        (&b"h2"[..], &b""[..]),
        (b"h2", b"PRI * HTTP/2.0\r\n"),
        (b"h2", b"GET / HTTP/1.1\r\n\r\n"),
        (b"http/1.1", b""),
        (b"http/1.1", b"GET /"),
    ] {
        let stream = TcpStream::connect(addr).await.expect("the edge listens");
        let name = ServerName::try_from("localhost").expect("a name");
        let stream = TlsConnector::from(authority.client(&[alpn])).connect(name, stream).await.expect("it is trusted");
        let mut client = Client::over(stream);
        client.raw(said).await.expect("sent");
        within(PATIENCE, "the end", client.rest()).await;
    }
}

#[tokio::test]
async fn a_handshake_has_a_deadline() {
    let (edge, secure) = secure(&Authority::new(), "timeouts: {tls: 200ms}").await;
    let mut silent = Client::connect(secure).await;
    silent.raw(&[0x16, 3, 1]).await.expect("sent");
    assert_eq!(within(PATIENCE, "the end", silent.rest()).await, b"");
    edge.metric_reaches("gateway_connections_refused_total", &["reason=\"tls_timeout\""], 1.0).await;
}
