//! The endpoints of one provider, and a request's hold on one of them.

use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use pingora_core::upstreams::peer::HttpPeer;

use super::endpoint::{Endpoint, EndpointId, elapsed_ms};
use super::hold::Gate;
use super::resolve::ResolveError;
use super::select::{Ask, Candidate, Selector};
use crate::clock;
use crate::provider::Balance;

/// The endpoints of one provider in one config generation.
pub struct Pool {
    endpoints: Box<[Arc<Endpoint>]>,
    selector: Selector,
    began: clock::Instant,
}

impl Pool {
    pub(super) fn new(balance: Balance, endpoints: Vec<Endpoint>, began: clock::Instant) -> Self {
        let names: Vec<String> =
            endpoints.iter().map(|endpoint| format!("{}{}", endpoint.state.label, endpoint.spec.base_path)).collect();
        let candidates: Vec<Candidate<'_>> =
            endpoints.iter().zip(&names).map(|(endpoint, name)| Candidate { weight: endpoint.weight, name }).collect();
        let selector = Selector::new(balance, &candidates);
        Self { endpoints: endpoints.into_iter().map(Arc::new).collect(), selector, began }
    }

    /// Chooses an endpoint for one attempt. `tried` are those that this request has used already and will not get
    /// again; `key` is the caller and model of [`Balance::ConsistentHash`].
    ///
    /// Unhealthy endpoints are passed over. Only when all of the pool are unhealthy one of them is tried all the same:
    /// better a request that may fail than one that must. `None` when nothing is left to try.
    pub fn pick(&self, key: u64, tried: &[EndpointId]) -> Option<Lease> {
        self.pick_at(key, tried, || elapsed_ms(self.began))
    }

    /// Whether a healthy endpoint is left, without taking it.
    pub fn is_usable(&self, tried: &[EndpointId]) -> bool {
        let now = elapsed_ms(self.began);
        self.endpoints
            .iter()
            .any(|endpoint| !tried.contains(&endpoint.state.id) && endpoint.state.gate(|| now) != Gate::Held)
    }

    /// How many endpoints it has.
    pub fn len(&self) -> usize {
        self.endpoints.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.endpoints.is_empty()
    }

    fn pick_at(&self, key: u64, tried: &[EndpointId], now: impl Fn() -> u64) -> Option<Lease> {
        // Each lost claim is another request's win and takes that endpoint out, so this ends.
        for _ in 0..=self.endpoints.len() {
            let usable = |endpoint: &Endpoint| endpoint.state.gate(&now) != Gate::Held;
            let Some(endpoint) = self.choose(key, tried, usable) else {
                return self.fail_open(key, tried, &now);
            };
            let hold = &endpoint.state.hold;
            if hold.gate(&now) == Gate::Open || hold.claim(now(), trial_ms(endpoint)) {
                return Some(Lease::new(endpoint));
            }
        }
        None
    }

    /// The choice when nothing healthy is left untried.
    fn fail_open(&self, key: u64, tried: &[EndpointId], now: &impl Fn() -> u64) -> Option<Lease> {
        let at = now();
        if self.endpoints.iter().any(|endpoint| endpoint.state.gate(|| at) != Gate::Held) {
            return None;
        }
        // One that only its checks complain about may well serve; one that refused connections comes after it.
        let answering = |endpoint: &Endpoint| endpoint.state.hold.gate(now) == Gate::Open;
        let endpoint = self.choose(key, tried, answering).or_else(|| {
            let untried = self.endpoints.iter().filter(|endpoint| !tried.contains(&endpoint.state.id));
            untried.min_by_key(|endpoint| endpoint.state.last_failed())
        });
        endpoint.map(Lease::new)
    }

    fn choose(&self, key: u64, tried: &[EndpointId], usable: impl Fn(&Endpoint) -> bool) -> Option<&Arc<Endpoint>> {
        let load = |index: usize| {
            self.endpoints.get(index).map_or(u32::MAX, |endpoint| endpoint.state.in_flight.load(Ordering::Relaxed))
        };
        let usable = |index: usize| {
            self.endpoints.get(index).is_some_and(|endpoint| !tried.contains(&endpoint.state.id) && usable(endpoint))
        };
        self.selector
            .choose(Ask { key, again: !tried.is_empty() }, load, usable)
            .and_then(|index| self.endpoints.get(index))
    }
}

/// How long the one trial after a hold may stay undecided.
fn trial_ms(endpoint: &Endpoint) -> u64 {
    u64::try_from(endpoint.connect.as_millis()).unwrap_or(u64::MAX).max(1_000)
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.endpoints).finish()
    }
}

/// One attempt's hold on an endpoint, counted in flight until dropped.
#[must_use = "dropping it ends the attempt"]
pub struct Lease {
    endpoint: Arc<Endpoint>,
    /// The address that [`peer`](Self::peer) gave last.
    address: Mutex<Option<SocketAddr>>,
}

impl Lease {
    fn new(endpoint: &Arc<Endpoint>) -> Self {
        endpoint.state.in_flight.fetch_add(1, Ordering::Relaxed);
        Self { endpoint: Arc::clone(endpoint), address: Mutex::new(None) }
    }

    /// Which endpoint it is.
    pub fn id(&self) -> EndpointId {
        self.endpoint.state.id
    }

    /// `host:port`, for logs and metrics.
    pub fn label(&self) -> &Arc<str> {
        &self.endpoint.state.label
    }

    /// The path that stands before the provider's own.
    pub fn base_path(&self) -> &str {
        &self.endpoint.spec.base_path
    }

    /// The value of `Host`: the port only if it is not the scheme's own.
    pub fn host_header(&self) -> &str {
        &self.endpoint.host_header
    }

    /// The peer for Pingora. In steady state it waits for nothing; a host name that was never resolved is resolved
    /// first, for at most 5 s.
    ///
    /// # Errors
    ///
    /// When the host name gives no address that a request may be sent to.
    pub async fn peer(&self) -> Result<Box<HttpPeer>, ResolveError> {
        let (peer, address) = self.endpoint.peer().await?;
        *self.address.lock().unwrap_or_else(PoisonError::into_inner) = Some(address);
        Ok(peer)
    }

    /// Says that no connection could be made. A few of these in a row and the endpoint is left alone for a while.
    pub fn connect_failed(&self) {
        let state = &self.endpoint.state;
        if state.hold.failed(state.now()) {
            log::warn!("{} {}: connections fail; it is left alone for a while", state.provider, state.label);
        }
        if let Some(address) = *self.address.lock().unwrap_or_else(PoisonError::into_inner) {
            state.resolver.rotate(address);
        }
    }

    /// Says that a connection was made, new or from the pool.
    pub fn connected(&self) {
        self.endpoint.state.hold.passed();
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.endpoint.state.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lease({:?})", self.endpoint)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Fleet;
    use super::super::hold::{FAILURES, FIRST_MS};
    use super::super::testing::{endpoint, pool, provider};
    use super::*;
    use crate::provider::{EndpointSpec, HealthSpec};
    use std::time::Duration;

    fn pool_of(addresses: &[&str]) -> Arc<Pool> {
        pool(&Fleet::new(), provider(addresses.iter().map(|address| endpoint(address)).collect()))
    }

    fn state<'a>(pool: &'a Pool, label: &str) -> &'a super::super::endpoint::State {
        &pool.endpoints.iter().find(|endpoint| &*endpoint.state.label == label).unwrap().state
    }

    /// The label of the pick at `now`, if any.
    fn picked(pool: &Pool, tried: &[EndpointId], now: u64) -> Option<String> {
        pool.pick_at(0, tried, || now).map(|lease| lease.label().to_string())
    }

    fn hold_down(pool: &Pool, label: &str, now: u64) {
        for _ in 0..FAILURES {
            state(pool, label).hold.failed(now);
        }
    }

    fn fail_checks(pool: &Pool, label: &str, now: u64) {
        let spec = HealthSpec {
            path: None,
            interval: Duration::from_secs(1),
            timeout: Duration::from_secs(1),
            unhealthy_after: 1,
            healthy_after: 1,
        };
        state(pool, label).health.observe(Err("refused".to_owned()), &spec, now);
    }

    #[test]
    fn weights_are_shares() {
        let heavy = EndpointSpec { weight: 3, ..endpoint("10.0.0.1:80") };
        let pool = pool(&Fleet::new(), provider(vec![heavy, endpoint("10.0.0.2:80")]));
        let picks: Vec<String> = (0..40).filter_map(|_| picked(&pool, &[], 1)).collect();
        assert_eq!(picks.iter().filter(|label| *label == "10.0.0.1:80").count(), 30);
        assert_eq!(picks.len(), 40);
    }

    #[test]
    fn one_request_gets_each_endpoint_once() {
        let pool = pool_of(&["10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"]);
        let mut tried = Vec::new();
        while let Some(lease) = pool.pick(0, &tried) {
            assert!(!tried.contains(&lease.id()));
            tried.push(lease.id());
        }
        assert_eq!(tried.len(), 3);
    }

    #[test]
    fn a_refusing_endpoint_is_tried_no_more_than_its_health_allows() {
        let pool = pool_of(&["10.0.0.1:80", "10.0.0.2:80"]);
        let mut attempts = Vec::new();
        // 20 requests every 100 ms for 4 s; the first endpoint refuses them all.
        for now in (1..4_000).step_by(100) {
            for _ in 0..20 {
                let lease = pool.pick_at(0, &[], || now).unwrap();
                if &**lease.label() == "10.0.0.1:80" {
                    attempts.push(now);
                    lease.endpoint.state.hold.failed(now);
                    let next = pool.pick_at(0, &[lease.id()], || now).unwrap();
                    assert_eq!(&**next.label(), "10.0.0.2:80");
                }
            }
        }
        assert_eq!(attempts, [1, 1, 1, 1_001, 3_001]);
    }

    #[test]
    fn only_one_of_many_requests_at_once_gets_the_trial() {
        let pool = pool_of(&["10.0.0.1:80", "10.0.0.2:80"]);
        hold_down(&pool, "10.0.0.1:80", 1);
        let leases: Vec<Lease> = (0..100).filter_map(|_| pool.pick_at(0, &[], || 1 + FIRST_MS)).collect();
        let trials = leases.iter().filter(|lease| &**lease.label() == "10.0.0.1:80").count();
        assert_eq!((leases.len(), trials), (100, 1));
        for lease in &leases {
            lease.connected();
        }
        let picks: Vec<_> = (0..10).filter_map(|_| picked(&pool, &[], 1 + FIRST_MS)).collect();
        assert_eq!(picks.iter().filter(|label| *label == "10.0.0.1:80").count(), 5, "it is back");
    }

    #[test]
    fn when_all_are_held_the_least_recently_failed_is_offered_once() {
        let pool = pool_of(&["10.0.0.1:80", "10.0.0.2:80"]);
        hold_down(&pool, "10.0.0.2:80", 10);
        hold_down(&pool, "10.0.0.1:80", 20);
        assert_eq!(picked(&pool, &[], 30).as_deref(), Some("10.0.0.2:80"));
        let second = state(&pool, "10.0.0.2:80").id;
        let first = state(&pool, "10.0.0.1:80").id;
        assert_eq!(picked(&pool, &[second], 30).as_deref(), Some("10.0.0.1:80"));
        assert_eq!(picked(&pool, &[second, first], 30), None);
    }

    #[test]
    fn what_is_held_is_no_way_out_for_a_request_that_a_healthy_one_failed() {
        let pool = pool_of(&["10.0.0.1:80", "10.0.0.2:80"]);
        hold_down(&pool, "10.0.0.2:80", 10);
        assert_eq!(picked(&pool, &[state(&pool, "10.0.0.1:80").id], 10), None);
    }

    #[test]
    fn when_all_fail_their_checks_all_are_used_before_what_refuses() {
        let pool = pool_of(&["10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"]);
        for (now, label) in [(1, "10.0.0.1:80"), (2, "10.0.0.2:80"), (3, "10.0.0.3:80")] {
            fail_checks(&pool, label, now);
        }
        hold_down(&pool, "10.0.0.3:80", 4);
        let mut picks: Vec<_> = (0..10).filter_map(|_| picked(&pool, &[], 5)).collect();
        picks.sort();
        assert_eq!(picks[..5], ["10.0.0.1:80"; 5]);
        assert_eq!(picks[5..], ["10.0.0.2:80"; 5]);
    }

    #[test]
    fn a_lease_counts_until_it_is_dropped() {
        let pool = pool_of(&["10.0.0.1:80"]);
        let in_flight = || state(&pool, "10.0.0.1:80").in_flight.load(Ordering::Relaxed);
        let leases: Vec<Lease> = (0..3).filter_map(|_| pool.pick(0, &[])).collect();
        assert_eq!(in_flight(), 3);
        drop(leases);
        assert_eq!(in_flight(), 0);
    }

    #[test]
    fn a_pool_without_endpoints_offers_nothing() {
        let pool = pool_of(&[]);
        assert!(pool.is_empty() && !pool.is_usable(&[]) && pool.pick(0, &[]).is_none());
    }
}
