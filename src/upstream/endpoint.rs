//! One endpoint: what the process knows of it, and what one config generation says of it.

use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use arc_swap::{ArcSwap, ArcSwapOption};
use pingora_core::protocols::l4::socket::SocketAddr as PingoraAddr;
use pingora_core::protocols::{Digest, UniqueIDType};
use pingora_core::upstreams::peer::HttpPeer;
use tokio::sync::Notify;

use super::health::Health;
use super::hold::{Gate, Hold, millis};
use super::peer;
use super::resolve::{Lookup, ResolveError, Resolver};
use super::trouble::Troubles;
use crate::clock;
use crate::provider::address::authority;
use crate::provider::{Breaker, EndpointSpec, HealthSpec, Provider};

/// Names an endpoint for as long as the process knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EndpointId(pub(super) u64);

/// The share, of 1,000, that an endpoint begins with when it comes back.
const RAMP_LEAST: u64 = 100;

/// What makes two endpoints the same one across configs.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Identity {
    pub(super) provider: Arc<str>,
    pub(super) tls: bool,
    pub(super) host: String,
    pub(super) port: u16,
    /// Two paths on one address may be two servers behind a gateway.
    pub(super) base_path: String,
}

impl Identity {
    pub(super) fn of(provider: &Provider, spec: &EndpointSpec) -> Self {
        Self {
            provider: Arc::clone(&provider.name),
            tls: spec.tls,
            host: spec.host.clone(),
            port: spec.port,
            base_path: spec.base_path.clone(),
        }
    }
}

/// What the process knows of an endpoint. It outlives config generations.
pub(super) struct State {
    pub(super) id: EndpointId,
    pub(super) provider: Arc<str>,
    pub(super) label: Arc<str>,
    pub(super) in_flight: AtomicU32,
    pub(super) health: Health,
    pub(super) hold: Hold,
    pub(super) models: Troubles,
    /// Times that it was held down.
    pub(super) ejections: AtomicU64,
    /// Times that a model at it was.
    pub(super) model_ejections: AtomicU64,
    /// When it came back last; 0 for never.
    pub(super) returned: AtomicU64,
    pub(super) resolver: Resolver,
    /// What the newest generation that has it says of its upkeep.
    pub(super) care: ArcSwap<Care>,
    /// Told when `care` changes, and when nobody holds the endpoint any more.
    pub(super) changed: Arc<Notify>,
    /// Whether a task of the running [`Upkeep`](super::Upkeep) looks after it.
    pub(super) attended: AtomicBool,
    /// Which of its connections new requests take.
    lot: AtomicU64,
    /// The connections whose end was counted last.
    ended: Mutex<VecDeque<ConnectionId>>,
    /// Why a request last counted against it or a model at it, and when.
    complaint: Mutex<Option<(Complaint, u64)>>,
    began: clock::Instant,
}

/// Why a request counts against an endpoint, or a model at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Complaint {
    /// A word of the access log's, as `upstream_timeout`.
    Word(&'static str),
    /// The answer's status.
    Status(u16),
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Word(word) => f.write_str(word),
            Self::Status(status) => write!(f, "status {status}"),
        }
    }
}

/// After so many lots the first is taken again: its connections are long closed by then, and Pingora's pools keep a little
/// of every lot that there ever was.
const LOTS: u64 = 256;

/// So many ends of connections are remembered: of those that end together the requests fail together.
const MOST_ENDED: usize = 32;

/// Tells connections apart: the descriptor, and when it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionId(UniqueIDType, SystemTime);

impl ConnectionId {
    /// The connection with this descriptor and digest; `None` where nobody knows when it was made.
    pub fn of(descriptor: UniqueIDType, digest: Option<&Digest>) -> Option<Self> {
        let made = digest?.timing_digest.last()?.as_ref()?.established_ts;
        Some(Self(descriptor, made))
    }
}

/// Where an attempt goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Way {
    pub(super) address: SocketAddr,
    lot: u64,
}

/// How an endpoint is looked after.
pub(super) struct Care {
    /// Whether the newest config has it; if not, old requests alone keep it alive.
    pub(super) configured: bool,
    pub(super) weight: u32,
    pub(super) most: Option<u32>,
    pub(super) health: Option<HealthSpec>,
    pub(super) host_header: String,
    pub(super) peer: HttpPeer,
}

impl State {
    pub(super) fn new(id: EndpointId, identity: &Identity, care: Care, world: &World) -> Self {
        Self {
            id,
            provider: Arc::clone(&identity.provider),
            label: authority(&identity.host, identity.port).into(),
            in_flight: AtomicU32::new(0),
            health: Health::default(),
            hold: Hold::default(),
            models: Troubles::default(),
            ejections: AtomicU64::new(0),
            model_ejections: AtomicU64::new(0),
            returned: AtomicU64::new(0),
            resolver: Resolver::new(&identity.host, identity.port, Arc::clone(&world.lookup)),
            care: ArcSwap::from_pointee(care),
            changed: Arc::new(Notify::new()),
            attended: AtomicBool::new(false),
            lot: AtomicU64::new(0),
            ended: Mutex::default(),
            complaint: Mutex::default(),
            began: world.began,
        }
    }

    /// Milliseconds since the fleet began.
    pub(super) fn now(&self) -> u64 {
        elapsed_ms(self.began)
    }

    /// Takes over what a new generation says.
    pub(super) fn adopt(&self, care: Care) {
        if care.health.is_none() {
            self.health.forget();
        }
        self.care.store(Arc::new(care));
        self.changed.notify_one();
    }

    /// Marks it as no longer configured.
    pub(super) fn retire(&self) {
        let care = self.care.load();
        if care.configured {
            let peer = care.peer.clone();
            let host_header = care.host_header.clone();
            let (weight, most) = (care.weight, care.most);
            self.adopt(Care { configured: false, weight, most, health: None, host_header, peer });
        }
    }

    /// Whether requests for `model` may go to it, whatever the checks say; [`Gate::Due`] wants a claim first.
    pub(super) fn gate(&self, model: &str, now: impl Fn() -> u64) -> Gate {
        self.hold.gate(&now).max(self.models.gate(model, &now))
    }

    /// The same for who has somewhere else to go, who heeds the checks, too.
    pub(super) fn gate_of_choosy(&self, model: &str, now: impl Fn() -> u64) -> Gate {
        if !self.health.healthy() {
            return Gate::Held;
        }
        self.hold.gate_of_choosy(&now).max(self.models.gate_of_choosy(model, &now))
    }

    /// Nothing is held against it, nor against `model` at it, and no other model failed there of late.
    pub(super) fn is_sound(&self, model: &str) -> bool {
        self.hold.is_sound() && self.models.are_sound(model, || self.now())
    }

    /// What began then worked: what was held against it before is forgiven.
    pub(super) fn passed(&self, began: u64) {
        if self.hold.passed(began) {
            self.came_back();
        }
    }

    /// The same of `model` at it.
    pub(super) fn model_passed(&self, model: &str, began: u64) {
        if self.models.passed(model, began, || self.now()) {
            self.came_back();
        }
    }

    /// It takes requests again, few at first.
    pub(super) fn came_back(&self) {
        self.returned.store(self.now(), Ordering::Release);
    }

    /// Its share of its usual requests while it comes back, of 1,000.
    pub(super) fn ramp(&self, slow_start: u64, now: impl FnOnce() -> u64) -> u64 {
        match self.returned.load(Ordering::Acquire) {
            0 => 1_000,
            returned => {
                let passed = now().saturating_sub(returned);
                if passed >= slow_start { 1_000 } else { (passed * 1_000 / slow_start).max(RAMP_LEAST) }
            }
        }
    }

    /// Takes no further connection that was made before the one that `way` led to was found dead, or with it: what befell
    /// that one unseen befell the others as well.
    pub(super) fn leave(&self, way: Way) {
        let next = way.lot % LOTS + 1;
        // Where another request found one of the same lot dead, it was left then.
        let _ = self.lot.compare_exchange(way.lot, next, Ordering::AcqRel, Ordering::Acquire);
    }

    /// True for the first of the requests that ended with their connection.
    pub(super) fn is_first_end(&self, connection: ConnectionId) -> bool {
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        if ended.contains(&connection) {
            return false;
        }
        ended.truncate(MOST_ENDED - 1);
        ended.push_front(connection);
        true
    }

    /// Keeps why a request counts against it, for who asks what is wrong with it.
    pub(super) fn complain(&self, complaint: Complaint, now: u64) {
        *self.complaint.lock().unwrap_or_else(PoisonError::into_inner) = Some((complaint, now));
    }

    /// Why a request last counted against it, and when.
    pub(super) fn complaint(&self) -> Option<(Complaint, u64)> {
        *self.complaint.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When it last failed, by a request or a check.
    pub(super) fn last_failed(&self) -> u64 {
        self.hold.last_failed().max(self.health.last_failed())
    }
}

impl Drop for State {
    fn drop(&mut self) {
        self.changed.notify_one();
    }
}

/// What all endpoints of a fleet share.
pub(super) struct World {
    pub(super) began: clock::Instant,
    pub(super) lookup: Arc<dyn Lookup>,
}

pub(super) fn elapsed_ms(since: clock::Instant) -> u64 {
    // One more than elapsed: 0 stands for "never".
    u64::try_from(clock::now().saturating_duration_since(since).as_millis()).unwrap_or(u64::MAX - 1) + 1
}

/// What one config generation says of an endpoint.
pub(super) struct Endpoint {
    pub(super) state: Arc<State>,
    pub(super) spec: EndpointSpec,
    pub(super) host_header: String,
    pub(super) weight: u32,
    /// What may run at once at it.
    pub(super) most: Option<u32>,
    /// How long a connection may take to be made.
    pub(super) connect: Duration,
    /// How long an answer may take to begin.
    pub(super) first_byte: Duration,
    /// When it is left alone.
    pub(super) breaker: Breaker,
    template: HttpPeer,
    /// The template for the way that was current last.
    prepared: ArcSwapOption<Prepared>,
}

struct Prepared {
    way: Way,
    peer: HttpPeer,
}

impl Endpoint {
    pub(super) fn new(state: Arc<State>, provider: &Provider, spec: &EndpointSpec) -> Self {
        Self {
            state,
            spec: spec.clone(),
            host_header: spec.host_header(),
            weight: spec.weight.max(1),
            most: spec.most,
            connect: provider.timeouts.connect,
            first_byte: provider.timeouts.first_byte,
            breaker: provider.breaker.clone(),
            template: peer::template(provider, spec),
            prepared: ArcSwapOption::empty(),
        }
    }

    /// The peer for the current address and connections, and which those are.
    pub(super) async fn peer(&self) -> Result<(Box<HttpPeer>, Way), ResolveError> {
        let state = &self.state;
        let address = match state.resolver.current() {
            Some(address) => address,
            None => state.resolver.address(|| state.now()).await?,
        };
        let way = Way { address, lot: state.lot.load(Ordering::Acquire) };
        if let Some(prepared) = self.prepared.load().as_deref()
            && prepared.way == way
        {
            return Ok((Box::new(prepared.peer.clone()), way));
        }
        let mut peer = self.template.clone();
        peer._address = PingoraAddr::Inet(address);
        peer::of_lot(&mut peer, (state.id, way.lot));
        self.prepared.store(Some(Arc::new(Prepared { way, peer: peer.clone() })));
        Ok((Box::new(peer), way))
    }
}

impl Endpoint {
    /// How many more attempts it takes now; `usize::MAX` for any number.
    pub(super) fn room(&self) -> usize {
        let running = self.state.in_flight.load(Ordering::SeqCst);
        self.most.map_or(usize::MAX, |most| most.saturating_sub(running) as usize)
    }

    /// Counts one more attempt, where it takes one.
    pub(super) fn take(&self) -> bool {
        let most = self.most.unwrap_or(u32::MAX);
        let more = |running: u32| (running < most).then_some(running + 1);
        self.state.in_flight.fetch_update(Ordering::SeqCst, Ordering::SeqCst, more).is_ok()
    }

    /// How long it is brought back for, in milliseconds.
    pub(super) fn slow_start(&self) -> u64 {
        millis(self.breaker.slow_start)
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint({} {})", self.state.provider, self.state.label)
    }
}

/// How a generation wants an endpoint looked after.
pub(super) fn care(provider: &Provider, spec: &EndpointSpec) -> Care {
    Care {
        configured: true,
        weight: spec.weight.max(1),
        most: spec.most,
        health: provider.health.clone(),
        host_header: spec.host_header(),
        peer: peer::template(provider, spec),
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use async_trait::async_trait;
    use pingora_core::upstreams::peer::Peer;

    use super::super::testing::{endpoint, pool, provider};
    use super::super::{Fleet, Lease};
    use super::*;
    use crate::provider::{Authorities, HttpVersion};

    fn lease(spec: EndpointSpec) -> Lease {
        lease_of(provider(vec![spec]))
    }

    fn lease_of(provider: Provider) -> Lease {
        pool(&Fleet::new(), provider).pick(0, "m", &[]).unwrap()
    }

    #[test]
    fn host_names_the_port_only_if_it_must() {
        for (tls, address, host, label) in [
            (false, "model.example:80", "model.example", "model.example:80"),
            (false, "model.example:443", "model.example:443", "model.example:443"),
            (true, "model.example:443", "model.example", "model.example:443"),
            (true, "model.example:80", "model.example:80", "model.example:80"),
            (false, "::1:8000", "[::1]:8000", "[::1]:8000"),
            (true, "::1:443", "[::1]", "[::1]:443"),
        ] {
            let lease = lease(EndpointSpec { tls, ..endpoint(address) });
            assert_eq!((lease.host_header(), &**lease.label()), (host, label));
        }
    }

    #[tokio::test]
    async fn the_peer_is_as_configured() {
        let spec = EndpointSpec { tls: true, base_path: "/v1".to_owned(), ..endpoint("127.0.0.1:8443") };
        let mut provider = provider(vec![spec]);
        provider.timeouts.connect = Duration::from_secs(1);
        provider.timeouts.read = Duration::from_secs(2);
        provider.timeouts.write = Duration::from_secs(3);
        provider.timeouts.idle = Duration::from_secs(4);
        let lease = lease_of(provider);
        assert_eq!(lease.base_path(), "/v1");
        for _ in 0..2 {
            let peer = lease.peer().await.unwrap();
            assert_eq!(peer._address.to_string(), "127.0.0.1:8443");
            assert_eq!(
                (peer.is_tls(), peer.sni(), peer.verify_cert(), peer.verify_hostname()),
                (true, "127.0.0.1", true, true)
            );
            let options = &peer.options;
            let seconds = |duration: Option<Duration>| duration.unwrap().as_secs();
            assert_eq!((seconds(options.connection_timeout), seconds(options.total_connection_timeout)), (1, 1));
            assert_eq!((seconds(options.read_timeout), seconds(options.write_timeout)), (2, 3));
            assert_eq!((seconds(options.idle_timeout), options.max_h2_streams), (4, 100));
        }
    }

    #[tokio::test]
    async fn versions_are_offered_as_configured() {
        for (tls, http, most, least) in [
            (true, HttpVersion::Auto, 2, 1),
            (false, HttpVersion::Auto, 1, 1),
            (true, HttpVersion::H1, 1, 1),
            (false, HttpVersion::H1, 1, 1),
            (true, HttpVersion::H2, 2, 2),
            (false, HttpVersion::H2, 2, 2),
        ] {
            let peer = lease(EndpointSpec { tls, http, ..endpoint("127.0.0.1:80") }).peer().await.unwrap();
            let alpn = &peer.options.alpn;
            assert_eq!((alpn.get_max_http_version(), alpn.get_min_http_version()), (most, least), "{tls} {http:?}");
        }
    }

    #[tokio::test]
    async fn connections_are_shared_only_where_nothing_differs() {
        let base = || provider(vec![EndpointSpec { tls: true, ..endpoint("127.0.0.1:443") }]);
        let hash = async |provider: Provider| {
            let name = Arc::clone(&provider.name);
            let pools = Fleet::new().pools(&[Arc::new(provider)]);
            pools.get(&name).unwrap().pick(0, "m", &[]).unwrap().peer().await.unwrap().reuse_hash()
        };
        let same = hash(base()).await;
        assert_eq!(same, hash(base()).await);
        assert_eq!(same, hash(Provider { health: Some(super::super::testing::checks(None)), ..base() }).await);
        assert_ne!(same, hash(Provider { name: "other".into(), ..base() }).await);
        let authorities = Some(Arc::new(Authorities { path: "ca.pem".into(), certificates: vec![vec![1]] }));
        assert_ne!(same, hash(Provider { authorities, ..base() }).await);
        let h1 = EndpointSpec { tls: true, http: HttpVersion::H1, ..endpoint("127.0.0.1:443") };
        assert_ne!(same, hash(provider(vec![h1])).await);
    }

    /// An endpoint whose name has nine addresses, looked up.
    async fn upstream_of_many() -> Lease {
        struct Nine;
        #[async_trait]
        impl Lookup for Nine {
            async fn lookup(&self, _: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
                Ok((1..10).map(|last| SocketAddr::from(([10, 0, 0, last], port))).collect())
            }
        }
        let pool = pool(&Fleet::with_lookup(Arc::new(Nine)), provider(vec![endpoint("model.example:80")]));
        let lease = pool.pick(0, "m", &[]).unwrap();
        lease.peer().await.unwrap();
        lease
    }

    #[tokio::test]
    async fn a_failed_connection_moves_on_to_the_next_address() {
        struct Two;
        #[async_trait]
        impl Lookup for Two {
            async fn lookup(&self, _: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
                Ok(vec![SocketAddr::from(([10, 0, 0, 1], port)), SocketAddr::from(([10, 0, 0, 2], port))])
            }
        }
        let pool = pool(&Fleet::with_lookup(Arc::new(Two)), provider(vec![endpoint("model.example:80")]));
        let address = async |lease: &Lease| lease.peer().await.unwrap()._address.to_string();
        let (one, other) = (pool.pick(0, "m", &[]).unwrap(), pool.pick(0, "m", &[]).unwrap());
        assert_eq!((address(&one).await.as_str(), address(&other).await.as_str()), ("10.0.0.1:80", "10.0.0.1:80"));
        assert_eq!(one.addresses(), 2);
        let many = upstream_of_many().await;
        assert_eq!(many.addresses(), 4, "a name may have any number");
        one.connect_failed("upstream_unreachable");
        assert_eq!(other.addresses(), 1, "of what fails no request tries them all");
        other.connect_failed("upstream_unreachable");
        assert_eq!(address(&one).await, "10.0.0.2:80", "both failed at the same address: one step");
        // Of one that can be connected to, but serves nothing.
        (0..5).for_each(|_| one.model_failed("m", Complaint::Status(500)));
        assert_eq!(
            address(&other).await,
            "10.0.0.1:80",
            "what is left alone is another address when it is tried again"
        );
    }
}
