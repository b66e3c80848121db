//! Which target and endpoint comes next. Knows nothing of the network: it asks pools.

use std::sync::Arc;

use crate::config::Snapshot;
use crate::limits::Permit;
use crate::provider::Provider;
use crate::routing::{Route, Target};
use crate::upstream::{Busy, EndpointId, Lease, Pool, Standing};

/// The targets of one request, in order, and what was tried.
#[derive(Debug, Clone)]
pub struct Plan {
    route: Arc<Route>,
    /// Positions of the targets in the order in which they are tried; `None` for the written one.
    order: Option<Box<[usize]>>,
    /// Place in that order.
    at: usize,
    /// Endpoints of the current target that were tried.
    tried: Vec<EndpointId>,
    /// Places of targets that cannot be told the request.
    unable: Vec<usize>,
    /// The endpoint to which no connection could be made last, and how many of its addresses were tried.
    addresses: Option<(EndpointId, usize)>,
    /// Attempts that are left.
    left: usize,
    /// Times that it began again.
    round: u32,
    /// An attempt was made; and whether one was before the last.
    begun: bool,
    before: bool,
    /// The current target is asked although it takes no requests.
    forced: bool,
    /// Steers consistent hashing.
    key: u64,
}

/// Whether a pool may well serve a request although it takes none.
fn answers(pool: &Pool, target: &Target, tried: &[EndpointId]) -> bool {
    pool.answers(&target.model, tried)
}

/// What is tried next.
#[derive(Debug)]
pub struct Step {
    /// The provider.
    pub provider: Arc<Provider>,
    /// An endpoint of it.
    pub lease: Lease,
    /// The provider's name of the model.
    pub model: String,
    /// Counts the attempt at the target.
    pub busy: Option<Busy>,
}

impl Plan {
    /// A plan of `route` with at most `attempts` attempts, in the order of these positions (`None` for the written one);
    /// `key` leads it where others with the same key went.
    pub fn new(route: Arc<Route>, order: Option<Box<[usize]>>, attempts: usize, key: u64) -> Self {
        Self {
            route,
            order,
            at: 0,
            tried: Vec::new(),
            unable: Vec::new(),
            addresses: None,
            left: attempts,
            round: 0,
            begun: false,
            before: false,
            forced: false,
            key,
        }
    }

    /// The next endpoint, of the current target if it has one that was not tried, else of the next target. What is full is
    /// passed over. Where nothing takes requests a first attempt is made all the same: better a request that may fail than
    /// one that must; but where something would if it were not full, see [`Self::worth_a_wait`].
    pub fn next(&mut self, snapshot: &Snapshot) -> Option<Step> {
        if self.left == 0 {
            return None;
        }
        if std::mem::take(&mut self.forced) {
            return self.step(snapshot, self.at, None);
        }
        // What is lost to another request between the look and the grip is not there at the next look.
        for _ in 0..=self.route.targets.len() {
            let Some(at) = self.usable(snapshot) else { break };
            if let Some(step) = self.step(snapshot, at, None) {
                return Some(step);
            }
        }
        if self.begun || self.worth_a_wait(snapshot).is_some() {
            return None;
        }
        // What answers, though not this model or not well, before what fails.
        let answering: Vec<usize> = self.places().filter(|at| self.is_at(snapshot, *at, answers)).collect();
        answering.into_iter().chain(self.places()).find_map(|at| self.step(snapshot, at, None))
    }

    /// The places of the targets that are still to come; of all that can be told the request, while none was asked: what
    /// was held or full when it was looked at is all there is if the others cannot serve it.
    fn places(&self) -> impl Iterator<Item = usize> + use<> {
        let from = if self.begun { self.at } else { 0 };
        let unable = self.unable.clone();
        (from..self.route.targets.len()).filter(move |at| !unable.contains(at))
    }

    /// The first target that would take the request if it were not full: its place, and where to wait for it.
    fn worth_a_wait(&self, snapshot: &Snapshot) -> Option<(usize, Arc<Pool>)> {
        self.find_pool(snapshot, |pool, target, tried| pool.is_worth_a_wait(&target.model, tried))
    }

    /// Where to wait for a place: at the first target that would take the request, or, where nothing does and no attempt was
    /// made, at the first that is full, as [`Self::next`] would make an attempt there if it were not.
    pub fn wait_at(&self, snapshot: &Snapshot) -> Option<(usize, Arc<Pool>)> {
        let full = |pool: &Pool, _: &Target, tried: &[EndpointId]| pool.is_full(tried);
        self.worth_a_wait(snapshot).or_else(|| if self.begun { None } else { self.find_pool(snapshot, full) })
    }

    /// The first pool of the targets from the current one on that is `wanted`, and its target's place.
    fn find_pool(
        &self,
        snapshot: &Snapshot,
        wanted: impl Fn(&Pool, &Target, &[EndpointId]) -> bool,
    ) -> Option<(usize, Arc<Pool>)> {
        self.places().filter(|_| self.left > 0).find_map(|at| {
            let target = self.target(at)?;
            let pool = snapshot.pools.get(&target.provider)?;
            wanted(pool, target, self.tried(at)).then(|| (at, Arc::clone(pool)))
        })
    }

    /// An endpoint of the target at `at` for who has waited for it.
    pub fn after_wait(&mut self, snapshot: &Snapshot, at: usize, permit: Permit) -> Option<Step> {
        self.step(snapshot, at, Some(permit))
    }

    /// The first target and the current one, as configured, if they differ.
    pub fn fallback(&self) -> Option<(String, String)> {
        let name = |target: &Target| format!("{}/{}", target.provider, target.model);
        let (first, now) = (self.target(0)?, self.target(self.at)?);
        (self.at > 0).then(|| (name(first), name(now)))
    }

    /// Tries the current endpoint once more: the last attempt did not reach it, and is as if it had not been made.
    pub fn again(&mut self) {
        self.tried.pop();
        self.left += 1;
        self.begun = self.before;
    }

    /// Tries the current endpoint once more where its name has `addresses` and not all of them were tried.
    pub fn next_address(&mut self, endpoint: EndpointId, addresses: usize) -> bool {
        let before = self.addresses.filter(|(last, _)| *last == endpoint).map_or(0, |(_, tried)| tried);
        self.addresses = Some((endpoint, before + 1));
        let is_left = before + 1 < addresses;
        if is_left {
            self.again();
        }
        is_left
    }

    /// Nothing more is tried.
    pub(super) fn exhaust(&mut self) {
        self.left = 0;
    }

    /// True if [`next`](Self::next) would find something that takes requests.
    pub fn has_next(&self, snapshot: &Snapshot) -> bool {
        self.left > 0 && self.usable(snapshot).is_some()
    }

    /// True if what comes next is an endpoint at which nothing has failed of late.
    pub fn next_is_sound(&self, snapshot: &Snapshot) -> bool {
        self.usable(snapshot).is_some_and(|at| {
            let tried: &[EndpointId] = if at == self.at { &self.tried } else { &[] };
            let pool = |target: &Target| snapshot.pools.get(&target.provider).map(|p| p.is_sound(&target.model, tried));
            self.target(at).and_then(pool).unwrap_or(false)
        })
    }

    /// Goes on to the first target that was not asked and may well serve the request although it takes none, as one at its
    /// limit may; `false` if there is none.
    pub fn leave_for_one_that_answers(&mut self, snapshot: &Snapshot) -> bool {
        let from = if self.tried.is_empty() { self.at } else { self.at + 1 };
        let found = (from..self.route.targets.len()).find(|at| self.is_at(snapshot, *at, answers));
        if let (Some(at), true) = (found, self.left > 0) {
            self.at = at;
            self.tried.clear();
            self.forced = true;
        }
        self.forced
    }

    /// Goes on to the first target, behind the current one, at which nothing has failed of late; `false` if there is none.
    pub fn leave_for_a_sound_one(&mut self, snapshot: &Snapshot) -> bool {
        let sound = |pool: &Pool, target: &Target, tried: &[EndpointId]| {
            pool.is_usable(&target.model, tried) && pool.is_sound(&target.model, tried)
        };
        let found = (self.at + 1..self.route.targets.len()).find(|at| self.is_at(snapshot, *at, sound));
        if let (Some(at), true) = (found, self.left > 0) {
            self.at = at;
            self.tried.clear();
            return true;
        }
        false
    }

    /// Times that it began again.
    pub fn round(&self) -> u32 {
        self.round
    }

    /// Whether the targets may be gone through once more: something takes requests, or will once its limit is over.
    pub fn may_begin_again(&self, snapshot: &Snapshot, limited: bool) -> bool {
        let open =
            |target: &Target| snapshot.pools.get(&target.provider).is_some_and(|p| p.is_usable(&target.model, &[]));
        self.left > 0 && self.round < self.route.retries.rounds && (limited || self.route.targets.iter().any(open))
    }

    /// Tries no more endpoints of the current target.
    pub fn leave_target(&mut self) {
        self.at += 1;
        self.tried.clear();
    }

    /// The step that was taken leads nowhere: its target cannot be told the request. None of its endpoints is tried, and
    /// no attempt was made of it; `begun` if one was made before.
    pub fn pass_over(&mut self, begun: bool) {
        self.left += 1;
        self.begun = begun;
        self.unable.push(self.at);
        self.leave_target();
    }

    /// Goes through the targets once more.
    pub fn begin_again(&mut self) {
        self.round += 1;
        self.at = 0;
        self.tried.clear();
        self.begun = false;
    }

    /// The target at a place of the order.
    fn target(&self, place: usize) -> Option<&Target> {
        let position = match &self.order {
            Some(order) => *order.get(place)?,
            None => place,
        };
        self.route.targets.get(position)
    }

    /// The first target, from the current one on, with an untried endpoint that takes requests: one that is well, or, where
    /// none is, one that is used for want of others. The last attempt belongs to a target that was not asked.
    fn usable(&self, snapshot: &Snapshot) -> Option<usize> {
        let mut well = (self.at..self.route.targets.len())
            .filter(|at| self.is_at(snapshot, *at, |pool, target, tried| pool.is_well(&target.model, tried)));
        let first = well.next();
        if let (Some(first), 1) = (first, self.left)
            && !self.tried(first).is_empty()
            && let Some(other) = well.next()
        {
            return Some(other);
        }
        first.or_else(|| {
            (self.at..self.route.targets.len())
                .find(|at| self.is_at(snapshot, *at, |pool, target, tried| pool.is_usable(&target.model, tried)))
        })
    }

    /// Whether the pool of the target at `at`, which can be told the request, is as `wanted`.
    fn is_at(&self, snapshot: &Snapshot, at: usize, wanted: impl Fn(&Pool, &Target, &[EndpointId]) -> bool) -> bool {
        let Some(target) = self.target(at).filter(|_| !self.unable.contains(&at)) else { return false };
        snapshot.pools.get(&target.provider).is_some_and(|pool| wanted(pool, target, self.tried(at)))
    }

    /// Endpoints of the target at `at` that were tried.
    fn tried(&self, at: usize) -> &[EndpointId] {
        if at == self.at { &self.tried } else { &[] }
    }

    fn step(&mut self, snapshot: &Snapshot, at: usize, permit: Option<Permit>) -> Option<Step> {
        let target = self.target(at)?;
        let (pool, tried) = (snapshot.pools.get(&target.provider)?, self.tried(at));
        let lease = match permit {
            Some(permit) => pool.pick_with(permit, self.key, &target.model, tried),
            None => pool.pick(self.key, &target.model, tried),
        }?;
        let standing = snapshot.lineups.get(&self.route.name).and_then(|lineup| lineup.target(target.place));
        let busy = standing.map(Standing::begin);
        let step = Step { provider: Arc::clone(lease.provider()), lease, model: target.model.clone(), busy };
        if at != self.at {
            self.at = at;
            self.tried.clear();
        }
        self.tried.push(step.lease.id());
        self.left -= 1;
        self.before = std::mem::replace(&mut self.begun, true);
        Some(step)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{Environment, parse};

    const YAML: &str = "
auth: off
providers: {one: {kind: openai-compatible, url: 'http://127.0.0.1:1'}, two: {kind: openai-compatible, url: 'http://127.0.0.1:2'}}
models: {m: {targets: [one/x, two/y]}}
";

    fn label(step: Option<Step>) -> Option<String> {
        step.map(|step| step.lease.label().to_string())
    }

    #[test]
    fn each_address_of_a_name_is_tried_once_and_counts_as_one_attempt() {
        let snapshot = Snapshot::at_rest(parse(YAML, "test", Path::new(""), &Environment::new()).unwrap());
        let route = snapshot.settings.models.resolve("m").unwrap();
        let mut plan = Plan::new(route, None, 2, 0);
        for addresses_left in [true, true, false] {
            let step = plan.next(&snapshot).unwrap();
            assert_eq!(&**step.lease.label(), "127.0.0.1:1");
            assert_eq!(plan.next_address(step.lease.id(), 3), addresses_left);
        }
        assert_eq!(label(plan.next(&snapshot)).as_deref(), Some("127.0.0.1:2"));
        assert_eq!(label(plan.next(&snapshot)), None, "two attempts are two");
    }

    #[test]
    fn what_alone_can_serve_a_request_is_asked_although_it_is_left_alone() {
        let snapshot = Snapshot::at_rest(parse(YAML, "test", Path::new(""), &Environment::new()).unwrap());
        let plan = || Plan::new(snapshot.settings.models.resolve("m").unwrap(), None, 4, 0);
        while let Some(step) = plan().next(&snapshot).filter(|step| &**step.lease.label() == "127.0.0.1:1") {
            step.lease.failed();
        }
        let mut plan = plan();
        assert_eq!(label(plan.next(&snapshot)).as_deref(), Some("127.0.0.1:2"));
        plan.pass_over(false);
        assert_eq!(label(plan.next(&snapshot)).as_deref(), Some("127.0.0.1:1"));
        plan.pass_over(false);
        assert_eq!(label(plan.next(&snapshot)), None, "neither can be told it");
    }
}
