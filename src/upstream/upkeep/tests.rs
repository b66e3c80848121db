//! Upkeep against real servers on loopback.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU16, AtomicUsize};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use super::super::framing::MOST_INTERIMS;
use super::super::testing::{Hangs, checks, endpoint, provider, until};
use super::super::{EndpointView, Lookup, Pools};
use super::*;
use crate::provider::{Authorities, Breaker, EndpointSpec, HttpVersion, Provider};

/// A fleet with its upkeep running.
struct Kept {
    fleet: Arc<Fleet>,
    stop: watch::Sender<bool>,
    running: JoinHandle<()>,
}

fn keep(fleet: Arc<Fleet>) -> Kept {
    let (stop, stopped) = watch::channel(false);
    let service = fleet.service();
    let running = tokio::spawn(async move { service.start(stopped).await });
    Kept { fleet, stop, running }
}

impl Kept {
    fn adopt(&self, provider: Provider) -> Pools {
        self.fleet.pools(&[Arc::new(provider)])
    }

    async fn until(&self, what: &str, wanted: impl Fn(&EndpointView) -> bool) {
        until(&self.fleet, what, |view| wanted(&view[0])).await;
    }

    async fn stop(self) {
        self.stop.send(true).unwrap();
        tokio::time::timeout(Duration::from_secs(5), self.running).await.unwrap().unwrap();
    }
}

/// A server that answers every request on a connection of its own with the status that is set.
struct Server {
    address: SocketAddr,
    status: Arc<AtomicU16>,
    connections: Arc<AtomicUsize>,
    requests: Arc<std::sync::Mutex<Vec<String>>>,
}

/// How a server speaks.
#[derive(Clone)]
enum Wire {
    Plain,
    Tls(TlsAcceptor),
    TlsH2(TlsAcceptor),
    PlainH2,
}

async fn serve(wire: Wire) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = Server {
        address: listener.local_addr().unwrap(),
        status: Arc::new(AtomicU16::new(200)),
        connections: Arc::default(),
        requests: Arc::default(),
    };
    let (status, connections, requests) =
        (Arc::clone(&server.status), Arc::clone(&server.connections), Arc::clone(&server.requests));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            connections.fetch_add(1, Ordering::SeqCst);
            let (status, requests, wire) = (Arc::clone(&status), Arc::clone(&requests), wire.clone());
            tokio::spawn(async move {
                let log = |line: String| requests.lock().unwrap().push(line);
                match wire {
                    Wire::Plain => h1(stream, &status, log).await,
                    Wire::PlainH2 => h2(stream, &status, log).await,
                    Wire::Tls(acceptor) => h1(acceptor.accept(stream).await?, &status, log).await,
                    Wire::TlsH2(acceptor) => h2(acceptor.accept(stream).await?, &status, log).await,
                }
                io::Result::Ok(())
            });
        }
    });
    server
}

async fn h1(mut stream: impl AsyncRead + AsyncWrite + Unpin, status: &AtomicU16, log: impl Fn(String)) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let head = String::from_utf8(head).unwrap();
    let host = head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("host: ").map(str::to_owned));
    log(format!("{} {}", head.lines().next().unwrap(), host.unwrap()));
    let status = status.load(Ordering::SeqCst);
    // As many interim answers first as a request may have: a check must look past them.
    let hints = "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(MOST_INTERIMS as usize);
    let answer = format!("{hints}HTTP/1.1 {status} Status\r\ncontent-length: 2\r\n\r\nok");
    let _ = stream.write_all(answer.as_bytes()).await;
}

async fn h2(stream: impl AsyncRead + AsyncWrite + Unpin, status: &AtomicU16, log: impl Fn(String)) {
    let Ok(mut connection) = ::h2::server::handshake(stream).await else { return };
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        log(format!("{} {} {:?}", request.method(), request.uri(), request.version()));
        let answer = http::Response::builder().status(status.load(Ordering::SeqCst)).body(()).unwrap();
        let _ = respond.send_response(answer, true);
    }
}

/// An authority, and a server identity for 127.0.0.1 and localhost that it vouches for.
fn identity(alpn: &[&[u8]]) -> (Arc<Authorities>, TlsAcceptor) {
    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let key = rcgen::KeyPair::generate().unwrap();
    let authority = params.self_signed(&key).unwrap();
    let issuer = rcgen::Issuer::new(params, key);
    let own_key = rcgen::KeyPair::generate().unwrap();
    let names = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
    let own = rcgen::CertificateParams::new(names).unwrap().signed_by(&own_key, &issuer).unwrap();
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![own.der().clone()], PrivateKeyDer::try_from(own_key.serialize_der()).unwrap())
        .unwrap();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    let authorities = Authorities { path: "ca.pem".into(), certificates: vec![authority.der().to_vec()] };
    (Arc::new(authorities), TlsAcceptor::from(Arc::new(config)))
}

fn checked(address: SocketAddr, path: Option<&str>) -> Provider {
    Provider { health: Some(checks(path)), ..provider(vec![endpoint(&address.to_string())]) }
}

fn over_tls(mut provider: Provider, http: HttpVersion, authorities: &Arc<Authorities>) -> Provider {
    for endpoint in &mut provider.endpoints {
        *endpoint = EndpointSpec { tls: true, http, ..endpoint.clone() };
    }
    provider.authorities = Some(Arc::clone(authorities));
    provider
}

/// Up, down and up again, as the server's status says.
async fn follows_status(wire: Wire, configure: impl Fn(Provider) -> Provider, request: &str) {
    let server = serve(wire).await;
    let kept = keep(Fleet::new());
    let pools = kept.adopt(configure(checked(server.address, Some("/health?deep=1"))));
    kept.until("checked", |view| view.healthy && view.checked.is_some() && view.error.is_none()).await;
    server.status.store(503, Ordering::SeqCst);
    kept.until("down", |view| !view.healthy && view.error.as_ref().is_some_and(|error| error.contains("503"))).await;
    server.status.store(204, Ordering::SeqCst);
    kept.until("up again", |view| view.healthy && view.error.is_none()).await;
    let expected = request.replace("ADDRESS", &server.address.to_string());
    assert_eq!(server.requests.lock().unwrap()[0], expected);
    drop(pools);
    kept.stop().await;
}

#[tokio::test]
async fn http_checks_follow_the_status() {
    follows_status(Wire::Plain, |provider| provider, "GET /health?deep=1 HTTP/1.1 ADDRESS").await;
}

#[tokio::test]
async fn http_checks_work_over_tls() {
    let (authorities, acceptor) = identity(&[]);
    let configure = |provider| over_tls(provider, HttpVersion::Auto, &authorities);
    follows_status(Wire::Tls(acceptor), configure, "GET /health?deep=1 HTTP/1.1 ADDRESS").await;
}

#[tokio::test]
async fn http_checks_work_over_h2() {
    let (authorities, acceptor) = identity(&[b"h2"]);
    let configure = |provider| over_tls(provider, HttpVersion::Auto, &authorities);
    follows_status(Wire::TlsH2(acceptor), configure, "GET https://ADDRESS/health?deep=1 HTTP/2.0").await;
    let configure = |mut provider: Provider| {
        provider.endpoints[0].http = HttpVersion::H2;
        provider
    };
    follows_status(Wire::PlainH2, configure, "GET http://ADDRESS/health?deep=1 HTTP/2.0").await;
}

#[tokio::test]
async fn a_certificate_of_another_authority_fails_the_check() {
    let (_, acceptor) = identity(&[]);
    let (others, _) = identity(&[]);
    let server = serve(Wire::Tls(acceptor)).await;
    for path in [None, Some("/health")] {
        let kept = keep(Fleet::new());
        let _pools = kept.adopt(over_tls(checked(server.address, path), HttpVersion::Auto, &others));
        kept.until("down", |view| !view.healthy && view.error.is_some()).await;
        kept.stop().await;
    }
    assert!(server.requests.lock().unwrap().is_empty(), "nothing is sent to a server that was not verified");
}

#[tokio::test]
async fn the_name_in_the_url_is_the_one_that_is_verified() {
    let (authorities, acceptor) = identity(&[]);
    let server = serve(Wire::Tls(acceptor)).await;
    for (host, healthy) in [("localhost", true), ("model.example", false)] {
        let kept = keep(Fleet::with_lookup(Arc::new(Loopback::default())));
        let mut named = over_tls(checked(server.address, Some("/")), HttpVersion::Auto, &authorities);
        host.clone_into(&mut named.endpoints[0].host);
        let _pools = kept.adopt(named);
        kept.until(host, |view| view.healthy == healthy && view.checked.is_some()).await;
        assert_eq!(kept.fleet.view()[0].error.is_none(), healthy, "{:?}", kept.fleet.view());
        kept.stop().await;
    }
}

#[tokio::test]
async fn tcp_checks_follow_the_port() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let kept = keep(Fleet::new());
    let pools = kept.adopt(checked(address, None));
    kept.until("checked", |view| view.healthy && view.checked.is_some()).await;
    drop(listener);
    kept.until("down", |view| !view.healthy && view.error.as_ref().is_some_and(|error| error.contains("connect")))
        .await;
    let lease = pools.get("fleet").unwrap().pick(0, "m", &[]).unwrap();
    assert!(pools.get("fleet").unwrap().pick(0, "m", &[lease.id()]).is_none(), "offered once although down");
    let _listener = TcpListener::bind(address).await.unwrap();
    kept.until("up again", |view| view.healthy).await;
    kept.stop().await;
}

#[tokio::test]
async fn a_passing_check_ends_a_hold() {
    let server = serve(Wire::Plain).await;
    let kept = keep(Fleet::new());
    let mut slow = checked(server.address, None);
    slow.health = Some(HealthSpec { interval: Duration::from_secs(3600), ..checks(None) });
    let pools = kept.adopt(slow);
    kept.until("checked", |view| view.checked.is_some()).await;
    let lease = pools.get("fleet").unwrap().pick(0, "m", &[]).unwrap();
    assert_eq!(lease.id(), kept.fleet.states()[0].id);
    for _ in 0..5 {
        // A hold that does not end by itself while this test runs.
        kept.fleet.states()[0].hold.failed(1_000_000_000, &Breaker::default(), || true);
    }
    assert!(kept.fleet.view()[0].held);
    // The next config wants checks more often: that must not wait for the old interval.
    let _new = kept.adopt(checked(server.address, None));
    kept.until("released", |view| !view.held && view.healthy && view.in_flight == 1).await;
    kept.stop().await;
}

#[tokio::test]
async fn a_reload_keeps_health_and_new_endpoints_are_checked_too() {
    let (server, other) = (serve(Wire::Plain).await, serve(Wire::Plain).await);
    server.status.store(500, Ordering::SeqCst);
    let kept = keep(Fleet::new());
    let old = kept.adopt(checked(server.address, Some("/")));
    kept.until("down", |view| !view.healthy).await;
    let specs = vec![endpoint(&server.address.to_string()), endpoint(&other.address.to_string())];
    let new = kept.adopt(Provider { endpoints: specs, ..checked(server.address, Some("/")) });
    let first = server.address.to_string();
    assert!(kept.fleet.view().iter().any(|view| *view.label == *first && !view.healthy), "at once, not after a check");
    until(&kept.fleet, "both checked", |view| view.iter().all(|view| view.checked.is_some())).await;
    for _ in 0..10 {
        let lease = new.get("fleet").unwrap().pick(0, "m", &[]).unwrap();
        assert_eq!(**lease.label(), *other.address.to_string());
    }
    drop((old, new));
    until(&kept.fleet, "forgotten", <[EndpointView]>::is_empty).await;
    kept.stop().await;
}

#[tokio::test]
async fn endpoints_that_hang_keep_no_other_from_being_checked() {
    let (server, deaf) = (serve(Wire::Plain).await, TcpListener::bind("0.0.0.0:0").await.unwrap());
    let port = deaf.local_addr().unwrap().port();
    tokio::spawn(async move {
        let mut kept = Vec::new();
        while let Ok((stream, _)) = deaf.accept().await {
            kept.push(stream);
        }
    });
    let hanging = (1..=200).map(|last| endpoint(&format!("127.0.1.{last}:{port}")));
    let specs = hanging.chain([endpoint(&server.address.to_string())]).collect();
    let health = HealthSpec { timeout: Duration::from_secs(600), ..checks(Some("/")) };
    let kept = keep(Fleet::new());
    let _pools = kept.adopt(Provider { endpoints: specs, health: Some(health), ..checked(server.address, None) });
    until(&kept.fleet, "checked again and again", |_| server.connections.load(Ordering::SeqCst) > 5).await;
    kept.stop().await;
}

#[tokio::test]
async fn a_name_that_is_looked_up_for_long_keeps_no_check_waiting() {
    let kept = keep(Fleet::with_lookup(Arc::new(Hangs)));
    let health = HealthSpec { timeout: Duration::from_millis(20), ..checks(None) };
    let _pools = kept.adopt(Provider { health: Some(health), ..provider(vec![endpoint("model.example:80")]) });
    // Two checks, both in the time of the first lookup.
    kept.until("down", |view| !view.healthy).await;
    kept.stop().await;
}

#[tokio::test]
async fn what_is_not_configured_any_more_is_not_checked() {
    let server = serve(Wire::Plain).await;
    let kept = keep(Fleet::new());
    let old = kept.adopt(checked(server.address, Some("/")));
    kept.until("checked", |view| view.checked.is_some()).await;
    let other = serve(Wire::Plain).await;
    let _new = kept.adopt(checked(other.address, Some("/")));
    until(&kept.fleet, "retired", |view| view.iter().any(|view| !view.configured && view.checked.is_none())).await;
    let of_other = || other.connections.load(Ordering::SeqCst);
    let before = server.connections.load(Ordering::SeqCst);
    let begun = of_other();
    until(&kept.fleet, "going on with the other", |_| of_other() > begun + 5).await;
    // One check may have been under way.
    assert!(server.connections.load(Ordering::SeqCst) <= before + 1);
    drop(old);
    kept.stop().await;
}

/// Resolves every name to 127.0.0.1 and counts.
#[derive(Default)]
struct Loopback(AtomicUsize);

#[async_trait]
impl Lookup for Loopback {
    async fn lookup(&self, _: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Ok(vec![SocketAddr::from(([127, 0, 0, 1], port))])
    }
}

#[tokio::test]
async fn names_are_resolved_before_the_first_request() {
    let lookup = Arc::new(Loopback::default());
    let kept = keep(Fleet::with_lookup(Arc::clone(&lookup) as Arc<dyn Lookup>));
    let pools = kept.adopt(provider(vec![endpoint("model.example:80")]));
    kept.until("resolved", |view| !view.addresses.is_empty()).await;
    let lease = pools.get("fleet").unwrap().pick(0, "m", &[]).unwrap();
    assert_eq!(lease.peer().await.unwrap()._address.to_string(), "127.0.0.1:80");
    assert_eq!(lookup.0.load(Ordering::SeqCst), 1);
    kept.stop().await;
}

#[tokio::test]
async fn upkeep_can_start_again() {
    let server = serve(Wire::Plain).await;
    let kept = keep(Fleet::new());
    let _pools = kept.adopt(checked(server.address, None));
    kept.until("checked", |view| view.checked.is_some()).await;
    let fleet = Arc::clone(&kept.fleet);
    kept.stop().await;
    let before = server.connections.load(Ordering::SeqCst);
    let again = keep(fleet);
    until(&again.fleet, "checked again", |_| server.connections.load(Ordering::SeqCst) > before + 2).await;
    again.stop().await;
}

#[test]
fn checks_are_scattered_around_their_interval() {
    let pools = Fleet::new();
    let _held = pools.pools(&[Arc::new(provider(vec![endpoint("10.0.0.1:80")]))]);
    let state = &pools.states()[0];
    let spec = HealthSpec { interval: Duration::from_secs(10), ..checks(None) };
    let first: Vec<u64> = (0..100).map(|check| check_due(state, &spec, check)).collect();
    assert!(first.iter().all(|due| *due < FIRST_CHECKS_MS));
    state.health.observe(Ok(()), &spec, 1_000_000);
    let next: Vec<u64> = (0..100).map(|check| check_due(state, &spec, check)).collect();
    assert!(next.iter().all(|due| (1_009_000..1_011_000).contains(due)), "{next:?}");
    assert!(next.iter().max().unwrap() - next.iter().min().unwrap() > 1_000, "{next:?}");
}
