//! All endpoints of the process, and the pools of one config generation.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use ahash::AHashMap;
use tokio::sync::Notify;

use super::budget::{Account, RetryBudget};
use super::endpoint::{Complaint, Endpoint, EndpointId, Identity, State, World, care, elapsed_ms};
use super::hold::{Gate, Stage};
use super::pool::{Newest, Pool};
use super::recall::RecallMemory;
use super::resolve::{Lookup, SystemLookup};
use super::standing::{Lineup, Lineups, Standing};
use super::trouble::ModelView;
use super::upkeep::Upkeep;
use super::whereabouts::Whereabouts;
use crate::clock;
use crate::limits::{Registry, Scope};
use crate::provider::{EndpointSpec, Provider};

/// What the process knows of every endpoint, by identity: provider, scheme, host, port and base path. It survives
/// config reloads.
pub struct Fleet {
    world: World,
    known: Mutex<Known>,
    whereabouts: Arc<Whereabouts>,
    recall: Arc<RecallMemory>,
    /// What bounds the requests that run at once.
    pub limits: Registry,
    /// Told when there may be new endpoints to look after.
    pub(super) changed: Notify,
}

#[derive(Default)]
struct Known {
    last_id: u64,
    states: HashMap<Identity, Weak<State>>,
    /// Budgets of further attempts, by the model's name.
    budgets: HashMap<Arc<str>, Weak<RetryBudget>>,
    /// What the models pay for further attempts together; from the first config on.
    common: Option<Arc<Account>>,
    /// Budgets of hedges, by the model's name.
    hedges: HashMap<Arc<str>, Weak<RetryBudget>>,
    /// By the provider's name.
    newest: HashMap<Arc<str>, Weak<Newest>>,
    /// By `provider/model`.
    standings: HashMap<String, Weak<Standing>>,
}

/// The budgets of one config generation, by the model's name in it.
pub type Budgets = AHashMap<Arc<str>, Arc<RetryBudget>>;

impl Fleet {
    /// A fleet that knows nothing yet and asks the system's resolver.
    pub fn new() -> Arc<Self> {
        Self::with_lookup(Arc::new(SystemLookup))
    }

    /// The same with another resolver.
    pub fn with_lookup(lookup: Arc<dyn Lookup>) -> Arc<Self> {
        let world = World { began: clock::now(), lookup };
        Arc::new(Self {
            world,
            known: Mutex::default(),
            whereabouts: Arc::default(),
            recall: Arc::default(),
            limits: Registry::default(),
            changed: Notify::new(),
        })
    }

    /// Builds the pools of one config generation, which is from now on the configured one.
    ///
    /// Endpoints that are known already keep their health, their requests in flight and their addresses. Those that are
    /// not configured any more get no upkeep, and are forgotten when the last pools that have them are dropped.
    pub fn pools(self: &Arc<Self>, providers: &[Arc<Provider>]) -> Pools {
        let mut known = self.known();
        let mut configured = HashSet::new();
        let mut pools = AHashMap::new();
        for provider in providers {
            let mut endpoints = Vec::new();
            for spec in &provider.endpoints {
                let state = self.state(&mut known, provider, spec);
                configured.insert(state.id);
                endpoints.push(Endpoint::new(state, provider, spec));
            }
            let bulkhead = self.limits.bulkhead(Scope::Provider, &provider.name, provider.limit);
            let newest = known.newest.get(&provider.name).and_then(Weak::upgrade).unwrap_or_default();
            known.newest.insert(Arc::clone(&provider.name), Arc::downgrade(&newest));
            let pool = Pool::new(provider, endpoints, (bulkhead, newest), self.world.began);
            pools.insert(Arc::clone(&provider.name), Arc::new(pool));
        }
        known.newest.retain(|_, newest| newest.strong_count() > 0);
        known.states.retain(|_, state| state.strong_count() > 0);
        for state in known.states.values().filter_map(Weak::upgrade) {
            if !configured.contains(&state.id) {
                state.retire();
            }
        }
        drop(known);
        self.changed.notify_one();
        Pools { pools }
    }

    /// The budgets of further attempts of one config generation: name of a model, percent of its requests, and attempts a
    /// second beside that. What is left of a known one stays.
    pub fn budgets<'m>(&self, models: impl Iterator<Item = (&'m Arc<str>, u32, u32)>) -> Budgets {
        let models: Vec<_> = models.collect();
        let mut known = self.known();
        // Who is promised most a second is to have it.
        let floor = models.iter().map(|(_, _, floor)| *floor).max().unwrap_or_default();
        let common = Arc::clone(known.common.get_or_insert_with(|| Arc::new(Account::new(floor))));
        common.adopt(floor);
        renew(&mut known.budgets, Some(&common), models.into_iter())
    }

    /// The budgets of second attempts beside slow ones of one config generation: name of a model, and percent of its
    /// streams. What is left of a known one stays.
    pub fn hedges<'m>(&self, models: impl Iterator<Item = (&'m Arc<str>, u32)>) -> Budgets {
        renew(&mut self.known().hedges, None, models.map(|(name, percent)| (name, percent, 0)))
    }

    /// The lineups of one config generation: name of a model, and its targets as `provider/model`. What was learnt of a
    /// known target stays.
    pub fn lineups<'m>(&self, models: impl Iterator<Item = (&'m Arc<str>, Vec<String>)>) -> Lineups {
        let mut known = self.known();
        let mut lineups = Lineups::new();
        for (name, targets) in models {
            let mut standing = |target: String| {
                let standing = known.standings.get(&target).and_then(Weak::upgrade).unwrap_or_default();
                known.standings.insert(target, Arc::downgrade(&standing));
                standing
            };
            let targets = targets.into_iter().map(&mut standing).collect();
            lineups.insert(Arc::clone(name), Lineup::new(targets));
        }
        known.standings.retain(|_, standing| standing.strong_count() > 0);
        lineups
    }

    /// Which provider made what.
    pub fn whereabouts(&self) -> Arc<Whereabouts> {
        Arc::clone(&self.whereabouts)
    }

    /// Parts of answers for clients that do not bring them back, of which at most `most` bytes are kept from now on.
    pub fn recall(&self, most: usize) -> Arc<RecallMemory> {
        self.recall.bound(most);
        Arc::clone(&self.recall)
    }

    /// Bytes of such parts that are kept, and how often some were recalled, by what they are: a word of a closed set.
    pub fn recall_view(&self) -> (u64, [(&'static str, u64); 2]) {
        self.recall.view()
    }

    /// Further attempts that were wanted and not had, by model.
    pub fn refused_retries(&self) -> Vec<(Arc<str>, u64)> {
        let known = self.known();
        let live = known.budgets.iter().filter_map(|(name, budget)| Some((Arc::clone(name), budget.upgrade()?)));
        live.map(|(name, budget)| (name, budget.refused())).collect()
    }

    /// Providers, and whether so many of their endpoints fail their checks that the checks are not believed.
    pub fn panics(&self) -> Vec<(Arc<str>, bool)> {
        let known = self.known();
        let live = known.newest.iter().filter_map(|(name, newest)| Some((name, newest.upgrade()?)));
        live.filter_map(|(name, newest)| Some((Arc::clone(name), newest.panics()?))).collect()
    }

    /// The background service that checks endpoints and keeps their addresses fresh, whatever generation is running.
    /// Run one of it.
    pub fn service(self: &Arc<Self>) -> Upkeep {
        Upkeep::new(Arc::clone(self))
    }

    /// Every endpoint that is configured or still in use, by provider and label.
    pub fn view(&self) -> Vec<EndpointView> {
        let now = elapsed_ms(self.world.began);
        let mut views: Vec<EndpointView> = self.states().iter().map(|state| EndpointView::of(state, now)).collect();
        views.sort_by(|one, other| (&one.provider, &one.label).cmp(&(&other.provider, &other.label)));
        views
    }

    /// Everything that is alive.
    pub(super) fn states(&self) -> Vec<Arc<State>> {
        self.known().states.values().filter_map(Weak::upgrade).collect()
    }

    /// The state of an endpoint as this generation wants it.
    fn state(&self, known: &mut Known, provider: &Provider, spec: &EndpointSpec) -> Arc<State> {
        let identity = Identity::of(provider, spec);
        let care = care(provider, spec);
        if let Some(state) = known.states.get(&identity).and_then(Weak::upgrade) {
            state.adopt(care);
            return state;
        }
        known.last_id += 1;
        let state = Arc::new(State::new(EndpointId(known.last_id), &identity, care, &self.world));
        known.states.insert(identity, Arc::downgrade(&state));
        state
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The pools of one config generation.
#[derive(Debug)]
pub struct Pools {
    pools: AHashMap<Arc<str>, Arc<Pool>>,
}

impl Pools {
    /// The pool of the provider of that name.
    pub fn get(&self, provider: &str) -> Option<&Arc<Pool>> {
        self.pools.get(provider)
    }
}

/// An endpoint as an operator sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointView {
    /// The provider's name.
    pub provider: Arc<str>,
    /// `host:port`.
    pub label: Arc<str>,
    /// Whether the running config has it; `false` while only old requests keep it alive.
    pub configured: bool,
    /// Whether requests go to it: checks pass and it is not held.
    pub healthy: bool,
    /// Whether it is left alone for a while because requests failed.
    pub held: bool,
    /// Where its circuit stands.
    pub stage: Stage,
    /// Times that it, or a model at it, was taken out because requests failed, by a word for why.
    pub ejections: [(&'static str, u64); 2],
    /// The models that are left alone at it.
    pub models: Vec<ModelView>,
    /// Requests that it is working on.
    pub in_flight: u32,
    /// What may run at once at it; `None` for anything.
    pub most: Option<u32>,
    /// Its share of the requests.
    pub weight: u32,
    /// How long ago the last check ended; `None` before the first or without checks.
    pub checked: Option<Duration>,
    /// What the last check failed with, or else the last lookup of its name.
    pub error: Option<String>,
    /// Why a request last counted against it or a model at it, and how long ago that was.
    pub complaint: Option<(Complaint, Duration)>,
    /// Its addresses, the one in use first.
    pub addresses: Vec<SocketAddr>,
}

impl EndpointView {
    fn of(state: &State, now: u64) -> Self {
        let care = state.care.load();
        let record = state.health.record();
        let (addresses, unresolved) = state.resolver.view();
        let held = state.hold.gate(|| now) == Gate::Held;
        Self {
            provider: Arc::clone(&state.provider),
            label: Arc::clone(&state.label),
            configured: care.configured,
            healthy: state.health.healthy() && !held,
            held,
            stage: state.hold.stage(now),
            ejections: [
                ("no_answer", state.ejections.load(Ordering::Relaxed)),
                ("model_failed", state.model_ejections.load(Ordering::Relaxed)),
            ],
            models: state.models.view(now),
            in_flight: state.in_flight.load(Ordering::Relaxed),
            most: care.most,
            weight: care.weight,
            checked: record.at.map(|at| Duration::from_millis(now.saturating_sub(at))),
            error: record.error.or_else(|| unresolved.map(|error| error.to_string())),
            complaint: state.complaint().map(|(why, at)| (why, Duration::from_millis(now.saturating_sub(at)))),
            addresses,
        }
    }
}

/// The budgets of these models, which pay into `common` as well; a known one stays, with what is left of it.
fn renew<'m>(
    known: &mut HashMap<Arc<str>, Weak<RetryBudget>>,
    common: Option<&Arc<Account>>,
    models: impl Iterator<Item = (&'m Arc<str>, u32, u32)>,
) -> Budgets {
    let mut budgets = Budgets::new();
    for (name, percent, floor) in models {
        let budget = match known.get(name).and_then(Weak::upgrade) {
            Some(budget) => budget,
            None => Arc::new(RetryBudget::new(percent, floor, common.map(Arc::clone))),
        };
        budget.adopt(percent, floor);
        known.insert(Arc::clone(name), Arc::downgrade(&budget));
        budgets.insert(Arc::clone(name), budget);
    }
    known.retain(|_, budget| budget.strong_count() > 0);
    budgets
}

#[cfg(test)]
mod tests {
    use super::super::testing::{checks, endpoint, provider};
    use super::*;

    fn labels(fleet: &Fleet) -> Vec<(String, bool)> {
        fleet.view().iter().map(|view| (view.label.to_string(), view.configured)).collect()
    }

    fn generation(fleet: &Arc<Fleet>, addresses: &[&str]) -> Pools {
        fleet.pools(&[Arc::new(provider(addresses.iter().map(|address| endpoint(address)).collect()))])
    }

    #[test]
    fn a_reload_forgets_nothing() {
        let fleet = Fleet::new();
        let old = generation(&fleet, &["10.0.0.1:80", "10.0.0.2:80"]);
        let leases: Vec<_> = (0..2).filter_map(|_| old.get("fleet")?.pick(0, "m", &[])).collect();
        let down = leases.iter().find(|lease| &**lease.label() == "10.0.0.1:80").unwrap();
        for _ in 0..5 {
            down.connect_failed("upstream_unreachable");
        }
        // Another weight, order, timeout and neighbour: the endpoints are still the same.
        let mut specs = vec![endpoint("10.0.0.3:80"), endpoint("10.0.0.2:80"), endpoint("10.0.0.1:80")];
        specs[2].weight = 5;
        let mut changed = provider(specs);
        changed.timeouts.connect = Duration::from_secs(1);
        let new = fleet.pools(&[Arc::new(changed)]);
        drop(old);
        let view = fleet.view();
        let seen: Vec<_> = view.iter().map(|view| (&*view.label, view.held, view.in_flight, view.weight)).collect();
        assert_eq!(seen, [("10.0.0.1:80", true, 1, 5), ("10.0.0.2:80", false, 1, 1), ("10.0.0.3:80", false, 0, 1)]);
        for _ in 0..20 {
            assert_ne!(&**new.get("fleet").unwrap().pick(0, "m", &[]).unwrap().label(), "10.0.0.1:80");
        }
        let id = down.id();
        assert!(new.get("fleet").unwrap().pick(0, "m", &[id]).is_some_and(|lease| lease.id() != id));
    }

    #[test]
    fn what_is_no_longer_configured_is_forgotten_with_its_last_request() {
        let fleet = Fleet::new();
        let old = generation(&fleet, &["10.0.0.1:80", "10.0.0.2:80"]);
        let lease = old.get("fleet").unwrap().pick(0, "m", &[]).unwrap();
        assert_eq!(&**lease.label(), "10.0.0.1:80");
        let _new = generation(&fleet, &["10.0.0.2:80"]);
        drop(old);
        assert_eq!(labels(&fleet), [("10.0.0.1:80".to_owned(), false), ("10.0.0.2:80".to_owned(), true)]);
        drop(lease);
        assert_eq!(labels(&fleet), [("10.0.0.2:80".to_owned(), true)]);
    }

    #[test]
    fn a_reload_keeps_what_was_learnt_of_a_target() {
        let fleet = Fleet::new();
        let (name, other) = (Arc::from("m"), Arc::from("n"));
        let lineups = |name, targets: &[&str]| {
            fleet.lineups([(name, targets.iter().map(ToString::to_string).collect())].into_iter())
        };
        let old = lineups(&name, &["a/x", "b/y"]);
        old[&name].target(1).unwrap().begin(true).answered(Duration::from_secs(1));
        let new = lineups(&other, &["b/y", "c/z"]);
        drop(old);
        assert_eq!(new[&other].target(0).unwrap().first_token(true), Some(Duration::from_secs(1)));
        assert_eq!(fleet.known().standings.len(), 3, "swept at the next reload");
        let _newest = lineups(&other, &["c/z"]);
        drop(new);
        let _last = lineups(&other, &["c/z"]);
        assert_eq!(fleet.known().standings.len(), 1);
    }

    #[test]
    fn without_checks_nothing_stays_unhealthy() {
        let fleet = Fleet::new();
        let mut checked = provider(vec![endpoint("10.0.0.1:80")]);
        let spec = checks(None);
        checked.health = Some(spec.clone());
        let _old = fleet.pools(&[Arc::new(checked)]);
        for now in 1..3 {
            fleet.states()[0].health.observe(Err("refused".to_owned()), &spec, now);
        }
        assert!(!fleet.view()[0].healthy);
        let _new = generation(&fleet, &["10.0.0.1:80"]);
        assert!(fleet.view()[0].healthy);
    }

    #[test]
    fn the_same_address_of_two_providers_or_paths_is_two_endpoints() {
        let fleet = Fleet::new();
        let mut other = provider(vec![endpoint("10.0.0.1:80")]);
        other.name = "other".into();
        let mut specs = vec![endpoint("10.0.0.1:80"), endpoint("10.0.0.1:80")];
        specs[1].base_path = "/b".to_owned();
        let pools = fleet.pools(&[Arc::new(provider(specs)), Arc::new(other)]);
        assert_eq!(fleet.view().len(), 3);
        assert!(pools.get("other").is_some() && pools.get("unknown").is_none());
    }
}
