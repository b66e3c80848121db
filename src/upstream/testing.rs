//! Providers and servers for the tests of this module.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tidegate_codec::Format;

use super::{EndpointView, Fleet, Lookup};
use crate::clock;
use crate::limits::Rule;
use crate::provider::{Balance, Breaker, EndpointSpec, HealthSpec, HttpVersion, Provider, Quirks, Streams, Timeouts};

/// A resolver that never answers.
pub(super) struct Hangs;

#[async_trait]
impl Lookup for Hangs {
    async fn lookup(&self, _: &str, _: u16) -> io::Result<Vec<SocketAddr>> {
        std::future::pending().await
    }
}

/// An endpoint from `host:port`.
pub(super) fn endpoint(address: &str) -> EndpointSpec {
    let (host, port) = address.rsplit_once(':').unwrap();
    EndpointSpec {
        tls: false,
        host: host.to_owned(),
        port: port.parse().unwrap(),
        base_path: String::new(),
        weight: 1,
        http: HttpVersion::Auto,
        most: None,
    }
}

/// A provider called `fleet` with these endpoints.
pub(super) fn provider(endpoints: Vec<EndpointSpec>) -> Provider {
    Provider {
        name: "fleet".into(),
        kind: "openai-compatible".into(),
        format: Format::ALL[0],
        auth: None,
        headers: Vec::new(),
        endpoints,
        layout: crate::provider::Layout::default(),
        balance: Balance::RoundRobin,
        health: None,
        timeouts: Timeouts::default(),
        streams: Streams::default(),
        // Shares are exact at once.
        breaker: Breaker { slow_start: Duration::ZERO, ..Breaker::default() },
        limit: Rule::default(),
        authorities: None,
        quirks: Quirks::default(),
    }
}

/// Checks in quick succession.
pub(super) fn checks(path: Option<&str>) -> HealthSpec {
    HealthSpec {
        path: path.map(str::to_owned),
        interval: Duration::from_millis(20),
        timeout: Duration::from_secs(2),
        unhealthy_after: 2,
        healthy_after: 2,
    }
}

/// Waits until the fleet looks as wanted; fails with what it looks like after 10 s.
pub(super) async fn until(fleet: &Fleet, what: &str, wanted: impl Fn(&[EndpointView]) -> bool) {
    let began = clock::now();
    loop {
        let view = fleet.view();
        if wanted(&view) {
            return;
        }
        assert!(clock::now().duration_since(began) < Duration::from_secs(10), "never {what}: {view:#?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The only pool of a fleet that is given this provider.
pub(super) fn pool(fleet: &Arc<Fleet>, provider: Provider) -> Arc<super::Pool> {
    Arc::clone(fleet.pools(&[Arc::new(provider)]).get("fleet").unwrap())
}
