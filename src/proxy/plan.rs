//! Which target and endpoint comes next. Knows nothing of the network: it asks pools.

use std::borrow::Cow;
use std::sync::Arc;

use crate::config::Snapshot;
use crate::limits::Permit;
use crate::provider::Provider;
use crate::routing::{Route, Target};
use crate::upstream::{Busy, EndpointId, Lease, Pool};

/// What a request wants.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wanted {
    /// Leads it where others with the same key went.
    pub key: u64,
    /// A stream.
    pub stream: bool,
    /// The number of its tokens, and no answer.
    pub counts: bool,
}

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
    /// The current target is asked although it takes no requests; and was at the last step.
    forced: bool,
    was_forced: bool,
    /// The target that was left for the current one, and its endpoints that were tried.
    left_behind: Option<(usize, Vec<EndpointId>)>,
    wanted: Wanted,
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
    /// What the endpoint knows it by, where that is not the model.
    pub subject: Option<Box<str>>,
    /// Counts the attempt at the target.
    pub busy: Option<Busy>,
}

impl Plan {
    /// A plan of `route` with at most `attempts` attempts, in the order of these positions (`None` for the written one).
    pub fn new(route: Arc<Route>, order: Option<Box<[usize]>>, attempts: usize, wanted: Wanted) -> Self {
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
            was_forced: false,
            left_behind: None,
            wanted,
        }
    }

    /// The next endpoint, of the current target if it has one that was not tried, else of the next target. What is full is
    /// passed over. Where nothing takes requests a first attempt is made all the same: better a request that may fail than
    /// one that must; but where something would if it were not full, see [`Self::worth_a_wait`].
    pub fn next(&mut self, snapshot: &Snapshot) -> Option<Step> {
        if self.left == 0 {
            return None;
        }
        self.was_forced = std::mem::take(&mut self.forced);
        if self.was_forced {
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
        let answering: Vec<usize> = self.places().filter(|at| self.is_at(snapshot, *at, Pool::answers)).collect();
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
        self.find_pool(snapshot, Pool::is_worth_a_wait)
    }

    /// Where to wait for a place: at the first target that would take the request, or, where nothing does and no attempt was
    /// made, at the first that is full, as [`Self::next`] would make an attempt there if it were not.
    pub fn wait_at(&self, snapshot: &Snapshot) -> Option<(usize, Arc<Pool>)> {
        let full = |pool: &Pool, _: &str, tried: &[EndpointId]| pool.is_full(tried);
        self.worth_a_wait(snapshot).or_else(|| if self.begun { None } else { self.find_pool(snapshot, full) })
    }

    /// The first pool of the targets from the current one on that is `wanted`, and its target's place.
    fn find_pool(
        &self,
        snapshot: &Snapshot,
        wanted: impl Fn(&Pool, &str, &[EndpointId]) -> bool,
    ) -> Option<(usize, Arc<Pool>)> {
        self.places().filter(|_| self.left > 0).find_map(|at| {
            let target = self.target(at)?;
            let pool = snapshot.pools.get(&target.provider)?;
            wanted(pool, &target.subject(self.wanted.counts), self.tried(at)).then(|| (at, Arc::clone(pool)))
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
        self.forced = self.was_forced;
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
            let Some(target) = self.target(at) else { return false };
            let pool = snapshot.pools.get(&target.provider);
            pool.is_some_and(|pool| pool.is_sound(&target.subject(self.wanted.counts), tried))
        })
    }

    /// Goes on to the first target that was not asked and may well serve the request although it takes none, as one at its
    /// limit may; `false` if there is none.
    pub fn leave_for_one_that_answers(&mut self, snapshot: &Snapshot) -> bool {
        let from = if self.tried.is_empty() { self.at } else { self.at + 1 };
        let found = (from..self.route.targets.len()).find(|at| self.is_at(snapshot, *at, Pool::answers));
        if let (Some(at), true) = (found, self.left > 0) {
            self.go_to(at);
            self.forced = true;
        }
        self.forced
    }

    /// Goes on to the first target, behind the current one, at which nothing has failed of late; `false` if there is none.
    pub fn leave_for_a_sound_one(&mut self, snapshot: &Snapshot) -> bool {
        let sound = |pool: &Pool, subject: &str, tried: &[EndpointId]| {
            pool.is_usable(subject, tried) && pool.is_sound(subject, tried)
        };
        let found = (self.at + 1..self.route.targets.len()).find(|at| self.is_at(snapshot, *at, sound));
        if let (Some(at), true) = (found, self.left > 0) {
            self.go_to(at);
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
        let open = |target: &Target| {
            snapshot.pools.get(&target.provider).is_some_and(|p| p.is_usable(&target.subject(self.wanted.counts), &[]))
        };
        self.left > 0 && self.round < self.route.retries.rounds && (limited || self.route.targets.iter().any(open))
    }

    /// Tries no more endpoints of the current target.
    pub fn leave_target(&mut self) {
        self.at += 1;
        self.tried.clear();
        self.left_behind = None;
    }

    /// The step that was taken leads nowhere: its target cannot be told the request. None of its endpoints is tried, and
    /// no attempt was made of it; `begun` if one was made before.
    pub fn pass_over(&mut self, begun: bool) {
        self.left += 1;
        self.begun = begun;
        self.unable.push(self.at);
        match self.left_behind.take() {
            // It was left for one that was thought to be better.
            Some((at, tried)) => (self.at, self.tried) = (at, tried),
            None => self.leave_target(),
        }
    }

    /// Goes on to the target at `at`.
    fn go_to(&mut self, at: usize) {
        if at != self.at {
            self.left_behind = Some((self.at, std::mem::take(&mut self.tried)));
            self.at = at;
        }
    }

    /// Goes through the targets once more.
    pub fn begin_again(&mut self) {
        self.round += 1;
        self.at = 0;
        self.tried.clear();
        self.left_behind = None;
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
        let mut well = (self.at..self.route.targets.len()).filter(|at| self.is_at(snapshot, *at, Pool::is_well));
        let first = well.next();
        if let (Some(first), 1) = (first, self.left)
            && !self.tried(first).is_empty()
            && let Some(other) = well.next()
        {
            return Some(other);
        }
        first.or_else(|| (self.at..self.route.targets.len()).find(|at| self.is_at(snapshot, *at, Pool::is_usable)))
    }

    /// Whether the pool of the target at `at`, which can be told the request, is as `wanted`.
    fn is_at(&self, snapshot: &Snapshot, at: usize, wanted: impl Fn(&Pool, &str, &[EndpointId]) -> bool) -> bool {
        let Some(target) = self.target(at).filter(|_| !self.unable.contains(&at)) else { return false };
        snapshot
            .pools
            .get(&target.provider)
            .is_some_and(|pool| wanted(pool, &target.subject(self.wanted.counts), self.tried(at)))
    }

    /// Endpoints of the target at `at` that were tried.
    fn tried(&self, at: usize) -> &[EndpointId] {
        if at == self.at { &self.tried } else { &[] }
    }

    fn step(&mut self, snapshot: &Snapshot, at: usize, permit: Option<Permit>) -> Option<Step> {
        let target = self.target(at)?;
        let (pool, tried) = (snapshot.pools.get(&target.provider)?, self.tried(at));
        let subject = target.subject(self.wanted.counts);
        let lease = match permit {
            Some(permit) => pool.pick_with(permit, self.wanted.key, &subject, tried),
            None => pool.pick(self.wanted.key, &subject, tried),
        }?;
        let standing = snapshot.lineups.get(&self.route.name).and_then(|lineup| lineup.target(target.place));
        let busy = standing.map(|standing| standing.begin(self.wanted.stream));
        let subject = match subject {
            Cow::Borrowed(_) => None,
            Cow::Owned(subject) => Some(subject.into_boxed_str()),
        };
        let (provider, model) = (Arc::clone(lease.provider()), target.model.clone());
        let step = Step { provider, lease, model, subject, busy };
        self.go_to(at);
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
        let mut plan = Plan::new(route, None, 2, Wanted::default());
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
        let plan = || Plan::new(snapshot.settings.models.resolve("m").unwrap(), None, 4, Wanted::default());
        while let Some(step) = plan().next(&snapshot).filter(|step| &**step.lease.label() == "127.0.0.1:1") {
            step.lease.failed("upstream_broken");
        }
        let mut plan = plan();
        assert_eq!(label(plan.next(&snapshot)).as_deref(), Some("127.0.0.1:2"));
        plan.pass_over(false);
        assert_eq!(label(plan.next(&snapshot)).as_deref(), Some("127.0.0.1:1"));
        plan.pass_over(false);
        assert_eq!(label(plan.next(&snapshot)), None, "neither can be told it");
    }

    const FLEET: &str = "
auth: off
providers:
  fleet: {kind: openai-compatible, endpoints: [{url: 'http://127.0.0.1:1'}, {url: 'http://127.0.0.1:2'}, {url: 'http://127.0.0.1:3'},
    {url: 'http://127.0.0.1:4'}, {url: 'http://127.0.0.1:5'}, {url: 'http://127.0.0.1:6'}]}
  cloud: {kind: openai-compatible, url: 'http://127.0.0.1:9'}
models: {m: {targets: [fleet/x, cloud/y]}, alone: fleet/x}
";

    /// The endpoints that a request for `model` meets until the cloud serves it, all others failing it.
    fn met(snapshot: &Snapshot, model: &str) -> Vec<String> {
        let mut plan = Plan::new(snapshot.settings.models.resolve(model).unwrap(), None, 4, Wanted::default());
        let mut met = Vec::new();
        while let Some(step) = plan.next(snapshot) {
            met.push(step.lease.label().to_string());
            if step.model == "y" {
                break;
            }
            step.lease.answered("x", 200, None);
            step.lease.model_failed("x", crate::upstream::Complaint::Status(500));
        }
        met
    }

    #[test]
    fn a_fleet_that_is_down_leaves_an_attempt_to_the_next_target_and_soon_all() {
        let snapshot = Snapshot::at_rest(parse(FLEET, "test", Path::new(""), &Environment::new()).unwrap());
        let requests: Vec<_> = (0..40).map(|_| met(&snapshot, "m")).collect();
        assert_eq!(requests[0].len(), 4, "{:?}", requests[0]);
        for met in &requests {
            assert_eq!(met.last().map(String::as_str), Some("127.0.0.1:9"), "{met:?}");
        }
        // Six endpoints with five failures each, at most three of them a request.
        let quiet = requests.iter().position(|met| met.len() == 1).unwrap();
        assert!((10..20).contains(&quiet), "{requests:?}");
        assert!(requests[quiet..].iter().all(|met| met.len() == 1), "{requests:?}");
        assert!(!met(&snapshot, "alone").is_empty(), "but it serves where nothing else does");
    }

    #[test]
    fn what_is_at_its_limit_goes_before_what_fails() {
        let snapshot = Snapshot::at_rest(parse(YAML, "test", Path::new(""), &Environment::new()).unwrap());
        let plan = || Plan::new(snapshot.settings.models.resolve("m").unwrap(), None, 4, Wanted::default());
        while let Some(step) = plan().next(&snapshot).filter(|step| step.model == "x") {
            step.lease.answered("x", 500, None);
        }
        plan().next(&snapshot).unwrap().lease.answered("y", 429, None);
        assert_eq!(label(plan().next(&snapshot)).as_deref(), Some("127.0.0.1:2"));
        let mut late = plan();
        assert!(late.leave_for_one_that_answers(&snapshot), "nor is it refused to who was failed elsewhere");
        assert_eq!(label(late.next(&snapshot)).as_deref(), Some("127.0.0.1:2"));
    }

    #[test]
    fn counting_tokens_has_limits_of_its_own() {
        let snapshot = Snapshot::at_rest(parse(YAML, "test", Path::new(""), &Environment::new()).unwrap());
        let wanted = |counts| Wanted { counts, ..Wanted::default() };
        let plan = |counts| Plan::new(snapshot.settings.models.resolve("m").unwrap(), None, 4, wanted(counts));
        let step = plan(true).next(&snapshot).unwrap();
        step.lease.answered(step.subject.as_deref().unwrap(), 429, None);
        assert_eq!(label(plan(true).next(&snapshot)).as_deref(), Some("127.0.0.1:2"));
        assert_eq!(label(plan(false).next(&snapshot)).as_deref(), Some("127.0.0.1:1"));
    }

    #[test]
    fn who_left_a_target_for_one_that_cannot_be_told_comes_back() {
        let snapshot = Snapshot::at_rest(parse(FLEET, "test", Path::new(""), &Environment::new()).unwrap());
        let mut plan = Plan::new(snapshot.settings.models.resolve("m").unwrap(), None, 4, Wanted::default());
        let mut tried: Vec<String> = (0..3).filter_map(|_| label(plan.next(&snapshot))).collect();
        assert_eq!(plan.next(&snapshot).unwrap().model, "y", "the last attempt is another target's");
        plan.pass_over(true);
        tried.extend(label(plan.next(&snapshot)));
        tried.sort();
        tried.dedup();
        assert_eq!(tried.len(), 4, "{tried:?}");
    }
}
