//! The endpoints of one provider, and a request's hold on one of them.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use pingora_core::upstreams::peer::HttpPeer;

use super::endpoint::{Complaint, ConnectionId, Endpoint, EndpointId, Way, elapsed_ms};
use super::hold::{Gate, Hold, Trial, millis};
use super::resolve::ResolveError;
use super::select::{Ask, Candidate, Selector, random};
use super::trouble::Trouble;
use crate::clock;
use crate::limits::{Bulkhead, Permit};
use crate::provider::Provider;

/// Most addresses of one name that one attempt tries. So many for each of the most attempts that a request may have are
/// as many as Pingora's loop makes.
const MOST_ADDRESSES: usize = 4;

/// The endpoints of one provider in one config generation.
pub struct Pool {
    fellows: Arc<Fellows>,
}

/// The endpoints of a provider in the newest config: an attempt of an older one that ends makes room there.
#[derive(Default)]
pub(super) struct Newest(Mutex<Weak<Fellows>>);

impl Newest {
    /// So many endpoints fail their checks that the checks are not believed; `None` where no pool is left.
    pub(super) fn panics(&self) -> Option<bool> {
        self.get().map(|fellows| !fellows.checks_are_believed())
    }

    fn get(&self) -> Option<Arc<Fellows>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).upgrade()
    }
}

/// The endpoints of a pool, as each of them sees the others.
struct Fellows {
    provider: Arc<Provider>,
    endpoints: Box<[Arc<Endpoint>]>,
    selector: Selector,
    /// What bounds the attempts that run at all of them together, in every generation.
    bulkhead: Arc<Bulkhead>,
    newest: Arc<Newest>,
    /// One of them takes only so many.
    bounded: bool,
    /// Of the pool.
    panic: u32,
    began: clock::Instant,
    /// One ejection at a time, so that two together cannot pass a bound that each of them keeps.
    ejecting: Mutex<()>,
}

impl Pool {
    pub(super) fn new(
        provider: &Arc<Provider>,
        endpoints: Vec<Endpoint>,
        (bulkhead, newest): (Arc<Bulkhead>, Arc<Newest>),
        began: clock::Instant,
    ) -> Self {
        let names: Vec<String> =
            endpoints.iter().map(|endpoint| format!("{}{}", endpoint.state.label, endpoint.spec.base_path)).collect();
        let candidates: Vec<Candidate<'_>> =
            endpoints.iter().zip(&names).map(|(endpoint, name)| Candidate { weight: endpoint.weight, name }).collect();
        let selector = Selector::new(provider.balance, &candidates);
        let bounded = endpoints.iter().any(|endpoint| endpoint.most.is_some());
        let endpoints = endpoints.into_iter().map(Arc::new).collect();
        let panic = provider.breaker.panic;
        let (provider, ejecting) = (Arc::clone(provider), Mutex::default());
        let fellows = Fellows { provider, endpoints, selector, bulkhead, newest, bounded, panic, began, ejecting };
        let fellows = Arc::new(fellows);
        *fellows.newest.0.lock().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(&fellows);
        fellows.count_room();
        Self { fellows }
    }

    /// Chooses an endpoint for one attempt at `model`. `tried` are those that this request has used already and will not
    /// get again; `key` is the caller and model of [`Balance::ConsistentHash`](crate::provider::Balance::ConsistentHash).
    ///
    /// Unhealthy endpoints are passed over. Only when all of the pool are unhealthy one of them is tried all the same:
    /// better a request that may fail than one that must. `None` when nothing is left to try, or all is full.
    pub fn pick(&self, key: u64, model: &str, tried: &[EndpointId]) -> Option<Lease> {
        self.fellows.make_room();
        let permit = self.fellows.bulkhead.enter()?;
        self.fellows.lease(permit, &Wish { key, model, tried })
    }

    /// The same for who has waited at [`Self::bulkhead`]. What it was given is a place of the newest config, which may be
    /// at an endpoint that this one does not have, or at one that took fewer requests then.
    pub fn pick_with(&self, permit: Permit, key: u64, model: &str, tried: &[EndpointId]) -> Option<Lease> {
        let newest = self.fellows.newest.get();
        newest.as_ref().unwrap_or(&self.fellows).lease(permit, &Wish { key, model, tried })
    }

    /// Counts anew how many more attempts its endpoints take, for those who wait at [`Self::bulkhead`]: that a check
    /// passes or a hold is over tells nobody.
    pub fn look(&self) {
        self.fellows.make_room();
    }

    /// What bounds the attempts that run at all its endpoints together.
    pub fn bulkhead(&self) -> &Arc<Bulkhead> {
        &self.fellows.bulkhead
    }

    /// Whether an endpoint is left that takes requests for `model` and has room, without taking it.
    pub fn is_usable(&self, model: &str, tried: &[EndpointId]) -> bool {
        self.fellows.make_room();
        !self.fellows.bulkhead.is_full() && self.is_open(model, tried, |endpoint| endpoint.room() > 0)
    }

    /// Whether who has somewhere else to go does well to come here: an endpoint is left that has room and does not fail again
    /// and again, however few others do not; or, if none was `tried`, one that may be tried again.
    pub fn is_well(&self, model: &str, tried: &[EndpointId]) -> bool {
        self.fellows.make_room();
        let now = elapsed_ms(self.fellows.began);
        let worst = if tried.is_empty() { Gate::Due } else { Gate::Open };
        let left = |endpoint: &&Arc<Endpoint>| !tried.contains(&endpoint.state.id) && endpoint.room() > 0;
        !self.fellows.bulkhead.is_full()
            && self.endpoints().iter().filter(left).any(|one| one.state.gate_of_choosy(model, || now) <= worst)
    }

    /// Whether an endpoint is left that does not fail, with `model` or at all, though its checks do, or `model` is at its
    /// limit there.
    pub fn answers(&self, model: &str, tried: &[EndpointId]) -> bool {
        let now = elapsed_ms(self.fellows.began);
        let answers = |endpoint: &Endpoint| {
            let state = &endpoint.state;
            endpoint.room() > 0 && state.hold.gate_of_choosy(|| now) == Gate::Open && !state.models.fails(model, || now)
        };
        self.endpoints().iter().any(|endpoint| !tried.contains(&endpoint.state.id) && answers(endpoint))
    }

    /// Whether an endpoint is left that takes requests for `model`, though there may be no room now.
    pub fn is_worth_a_wait(&self, model: &str, tried: &[EndpointId]) -> bool {
        self.is_open(model, tried, |_| true)
    }

    /// Whether it works on as many requests as it may, and an endpoint is left that was not tried.
    pub fn is_full(&self, tried: &[EndpointId]) -> bool {
        self.fellows.make_room();
        let left = |endpoint: &&Arc<Endpoint>| !tried.contains(&endpoint.state.id);
        let mut left = self.endpoints().iter().filter(left).peekable();
        left.peek().is_some() && (self.fellows.bulkhead.is_full() || left.all(|endpoint| endpoint.room() == 0))
    }

    fn is_open(&self, model: &str, tried: &[EndpointId], also: impl Fn(&Endpoint) -> bool) -> bool {
        let now = elapsed_ms(self.fellows.began);
        let believed = self.fellows.checks_are_believed();
        let open = |endpoint: &Endpoint| gate(endpoint, believed, model, || now) != Gate::Held && also(endpoint);
        self.endpoints().iter().any(|endpoint| !tried.contains(&endpoint.state.id) && open(endpoint))
    }

    /// Each endpoint, and why it takes no requests for `model` now, in an operator's words.
    pub fn obstacles(&self, model: &str) -> Vec<(Arc<str>, Option<&'static str>)> {
        let now = elapsed_ms(self.fellows.began);
        let believed = self.fellows.checks_are_believed();
        self.fellows.make_room();
        let full = self.fellows.bulkhead.is_full();
        let why = |endpoint: &Endpoint| {
            let state = &endpoint.state;
            let why = if believed && !state.health.healthy() {
                "its health checks fail"
            } else if state.hold.gate(|| now) == Gate::Held {
                "its circuit is open"
            } else if state.gate(model, || now) == Gate::Held {
                "the model is left alone there for a while"
            } else if full {
                "its provider works on as many requests as it may"
            } else if endpoint.room() == 0 {
                "it works on as many requests as it may"
            } else {
                return None;
            };
            Some(why)
        };
        self.endpoints().iter().map(|endpoint| (Arc::clone(&endpoint.state.label), why(endpoint))).collect()
    }

    /// Whether an endpoint is left at which nothing has failed of late, with whichever model.
    pub fn is_sound(&self, model: &str, tried: &[EndpointId]) -> bool {
        let now = elapsed_ms(self.fellows.began);
        let believed = self.fellows.checks_are_believed();
        self.endpoints().iter().any(|endpoint| {
            let state = &endpoint.state;
            !tried.contains(&state.id) && state.is_sound(model) && gate(endpoint, believed, model, || now) == Gate::Open
        })
    }

    /// How many endpoints it has.
    pub fn len(&self) -> usize {
        self.endpoints().len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.endpoints().is_empty()
    }

    fn endpoints(&self) -> &[Arc<Endpoint>] {
        &self.fellows.endpoints
    }
}

/// What one attempt asks of a pool.
struct Wish<'a> {
    key: u64,
    model: &'a str,
    tried: &'a [EndpointId],
}

fn gate(endpoint: &Endpoint, believed: bool, model: &str, now: impl Fn() -> u64) -> Gate {
    let state = &endpoint.state;
    if believed && !state.health.healthy() { Gate::Held } else { state.gate(model, now) }
}

/// How long the one trial after a hold may stay undecided: as long as an answer may take to begin, but no longer than what
/// fails is left alone.
fn trial_ms(endpoint: &Endpoint) -> u64 {
    let answer = endpoint.connect.saturating_add(endpoint.first_byte);
    millis(answer.min(endpoint.breaker.open_max.max(endpoint.connect))).max(1_000)
}

impl Fellows {
    fn lease(self: &Arc<Self>, mut permit: Permit, wish: &Wish<'_>) -> Option<Lease> {
        let mut lease = self.pick_at(wish, || elapsed_ms(self.began))?;
        self.make_room();
        permit.arrived();
        lease.permit = Some(permit);
        Some(lease)
    }

    fn pick_at(self: &Arc<Self>, wish: &Wish<'_>, now: impl Fn() -> u64) -> Option<Lease> {
        let believed = self.checks_are_believed();
        let well = |endpoint: &Endpoint| endpoint.state.gate_of_choosy(wish.model, &now);
        let any = |gate| self.left(wish).any(|endpoint| endpoint.room() > 0 && well(endpoint) == gate);
        // Each lost claim is another request's win and takes that endpoint out, so this ends.
        for _ in 0..=self.endpoints.len() {
            // Where all fail again and again, what may be tried anew goes before those that are used for want of others.
            let anew = !any(Gate::Open) && any(Gate::Due);
            let usable = |endpoint: &Endpoint| {
                let gate = if anew { well(endpoint) } else { gate(endpoint, believed, wish.model, &now) };
                gate != Gate::Held && endpoint.room() > 0
            };
            let chance = random() % 1_000;
            let ready =
                |endpoint: &Endpoint| usable(endpoint) && chance < endpoint.state.ramp(endpoint.slow_start(), &now);
            let Some(endpoint) = self.choose(wish, ready).or_else(|| self.choose(wish, usable)) else {
                return self.fail_open(wish, believed, &now);
            };
            // A lost race for its last place is lost to another request, too.
            if let Some(mut lease) = Lease::new(endpoint, self, now())
                && lease.claim(wish.model, anew, &now)
            {
                return Some(lease);
            }
        }
        None
    }

    /// The choice when nothing healthy is left untried.
    fn fail_open(self: &Arc<Self>, wish: &Wish<'_>, believed: bool, now: &impl Fn() -> u64) -> Option<Lease> {
        let at = now();
        if self.endpoints.iter().any(|endpoint| gate(endpoint, believed, wish.model, || at) != Gate::Held) {
            return None;
        }
        // One that only its checks complain about, or whose model is at its limit, may well serve; one that failed
        // requests comes after it.
        let answering = |endpoint: &Endpoint| endpoint.state.hold.gate(now) == Gate::Open && endpoint.room() > 0;
        let endpoint = self.choose(wish, answering).or_else(|| {
            let room = |endpoint: &&Arc<Endpoint>| endpoint.room() > 0;
            self.left(wish).filter(room).min_by_key(|endpoint| endpoint.state.last_failed())
        });
        endpoint.and_then(|endpoint| Lease::new(endpoint, self, at))
    }

    /// The endpoints that were not tried.
    fn left(&self, wish: &Wish<'_>) -> impl Iterator<Item = &Arc<Endpoint>> {
        self.endpoints.iter().filter(|endpoint| !wish.tried.contains(&endpoint.state.id))
    }

    fn choose(&self, wish: &Wish<'_>, usable: impl Fn(&Endpoint) -> bool) -> Option<&Arc<Endpoint>> {
        let endpoints = &self.endpoints;
        let load = |index: usize| {
            endpoints.get(index).map_or(u32::MAX, |endpoint| endpoint.state.in_flight.load(Ordering::Relaxed))
        };
        let usable = |index: usize| {
            endpoints.get(index).is_some_and(|endpoint| !wish.tried.contains(&endpoint.state.id) && usable(endpoint))
        };
        let ask = Ask { key: wish.key, again: !wish.tried.is_empty() };
        self.selector.choose(ask, load, usable).and_then(|index| endpoints.get(index))
    }

    /// Checks that most endpoints fail are more likely wrong than the endpoints; if not, few endpoints that get all the
    /// requests will soon be down too.
    fn checks_are_believed(&self) -> bool {
        let healthy = self.endpoints.iter().filter(|endpoint| endpoint.state.health.healthy()).count();
        healthy * 100 >= self.panic as usize * self.endpoints.len()
    }

    /// Tells who waits for a place at any of them how many there are: at those that take requests, or, where none does, at
    /// all.
    fn make_room(&self) {
        if !self.bounded && !self.bulkhead.is_bounded_behind() {
            return;
        }
        if let Some(newest) = self.newest.get() {
            newest.count_room();
        }
    }

    fn count_room(&self) {
        let now = elapsed_ms(self.began);
        let believed = self.checks_are_believed();
        let open = |endpoint: &&Arc<Endpoint>| {
            let state = &endpoint.state;
            (!believed || state.health.healthy()) && state.hold.gate(|| now) != Gate::Held
        };
        let room = |sum: usize, endpoint: &Arc<Endpoint>| sum.saturating_add(endpoint.room());
        let any = self.endpoints.iter().any(|endpoint| open(&endpoint));
        let counted = self.endpoints.iter().filter(|endpoint| !any || open(endpoint));
        self.bulkhead.set_room(if self.bounded { counted.fold(0, room) } else { usize::MAX });
    }

    /// Whether one more endpoint may be left alone, for all models or for `model`. A pool's only one may: its requests
    /// then go to another target, or, if there is none, to it all the same.
    fn may_leave(&self, model: Option<&str>, now: u64) -> bool {
        let out = |endpoint: &&Arc<Endpoint>| match model {
            Some(model) => endpoint.state.gate(model, || now) != Gate::Open,
            None => endpoint.state.hold.gate(|| now) != Gate::Open,
        };
        let Some(one) = self.endpoints.first() else { return false };
        let out = self.endpoints.iter().filter(out).count();
        let most = one.breaker.ejected_max as usize;
        out == 0 && most > 0 || (out + 1) * 100 <= most * self.endpoints.len()
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.endpoints()).finish()
    }
}

/// One attempt's hold on an endpoint, counted in flight until dropped.
#[must_use = "dropping it ends the attempt"]
pub struct Lease {
    endpoint: Arc<Endpoint>,
    fellows: Arc<Fellows>,
    /// Where the [`peer`](Self::peer) that it gave last leads.
    way: Mutex<Option<Way>>,
    /// Its place among all attempts at the provider.
    permit: Option<Permit>,
    /// It counts as in flight at the endpoint.
    counted: bool,
    /// The trials that it is.
    trials: Trials,
    /// When it was given.
    began: u64,
}

/// What an attempt tries after a hold: the endpoint, or the model at it.
#[derive(Default)]
struct Trials {
    endpoint: Option<Trial>,
    model: Option<(Arc<Trouble>, Trial)>,
}

impl Lease {
    /// A hold on `endpoint`, where it takes one more attempt.
    fn new(endpoint: &Arc<Endpoint>, fellows: &Arc<Fellows>, began: u64) -> Option<Self> {
        let (one, others) = (Arc::clone(endpoint), Arc::clone(fellows));
        let lease = || Self {
            endpoint: one,
            fellows: others,
            way: Mutex::new(None),
            permit: None,
            counted: true,
            trials: Trials::default(),
            began,
        };
        endpoint.take().then(lease)
    }

    /// Takes the trials that stand between the attempt and the endpoint, if `anew` also those that others are spared;
    /// `false` when another was faster.
    fn claim(&mut self, model: &str, anew: bool, now: &impl Fn() -> u64) -> bool {
        let (state, window) = (&self.endpoint.state, trial_ms(&self.endpoint));
        let gate = |hold: &Hold| if anew { hold.gate_of_choosy(now) } else { hold.gate(now) };
        if let Some(trouble) = state.models.find(model)
            && gate(&trouble.hold) != Gate::Open
        {
            match trouble.hold.claim(now(), window) {
                Ok(trial) => self.trials.model = trial.map(|trial| (trouble, trial)),
                Err(()) => return false,
            }
        }
        if gate(&state.hold) != Gate::Open {
            match state.hold.claim(now(), window) {
                Ok(trial) => self.trials.endpoint = trial,
                Err(()) => return false,
            }
        }
        true
    }

    /// The provider, as the config says of it that has the endpoint.
    pub fn provider(&self) -> &Arc<Provider> {
        &self.fellows.provider
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
        let (peer, way) = self.endpoint.peer().await?;
        *self.way.lock().unwrap_or_else(PoisonError::into_inner) = Some(way);
        Ok(peer)
    }

    /// How many addresses of its endpoint's name one attempt may try: a few, until no connection can be made to them.
    /// Then one is enough, so that what is down is not asked several times by each request.
    pub fn addresses(&self) -> usize {
        let state = &self.endpoint.state;
        if state.hold.is_sound() { state.resolver.len().min(MOST_ADDRESSES) } else { 1 }
    }

    /// Says that no connection could be made, in a word of the access log's.
    pub fn connect_failed(&self, why: &'static str) {
        self.failed(why);
        self.leave_address();
    }

    /// Says that the address that [`peer`](Self::peer) gave is no good: the next one of its name may do.
    pub fn leave_address(&self) {
        if let Some(way) = self.way() {
            self.endpoint.state.resolver.rotate(way.address);
        }
    }

    /// Says that the pooled connection of the attempt had died before it: none of those beside it is taken any more.
    pub fn leave_connections(&self) {
        if let Some(way) = self.way() {
            self.endpoint.state.leave(way);
        }
    }

    fn way(&self) -> Option<Way> {
        *self.way.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it tries what was left alone for a while.
    pub fn is_trial(&self) -> bool {
        self.trials.endpoint.is_some() || self.trials.model.is_some()
    }

    /// Says that the endpoint did not do its part: it broke the connection, or gave no answer in time. A few of these in
    /// a row and it is left alone for a while.
    pub fn failed(&self, why: &'static str) {
        self.fellows.bulkhead.overloaded();
        let state = &self.endpoint.state;
        let now = state.now();
        if self.trip(&state.hold, None, now, Complaint::Word(why)) {
            log::warn!("{} {}: requests fail ({why}); it is left alone for a while", state.provider, state.label);
        }
    }

    /// [`Self::failed`] for a request that ended with its connection: with however many others, that counts once.
    pub fn ended_with(&self, connection: Option<ConnectionId>, why: &'static str) {
        if connection.is_none_or(|connection| self.endpoint.state.is_first_end(connection)) {
            self.failed(why);
        }
    }

    /// Says that an answer for `model` began with `status`: whatever it is, the endpoint is there. A status from 500 on
    /// counts against the model at it; a 429 leaves it alone for `retry_after` and counts against nobody; and a fault of
    /// the client's says nothing.
    pub fn answered(&self, model: &str, status: u16, retry_after: Option<Duration>) {
        let (state, breaker) = (&self.endpoint.state, &self.endpoint.breaker);
        state.passed(self.began);
        if matches!(status, 429 | 503 | 529) {
            self.fellows.bulkhead.overloaded();
        }
        match status {
            429 => {
                let length = retry_after.unwrap_or(breaker.cooldown).min(breaker.cooldown_max);
                let now = state.now();
                state.models.cool(model, now.saturating_add(millis(length)), now);
            }
            500.. => self.model_failed(model, Complaint::Status(status)),
            _ => {}
        }
    }

    /// Says that an answer for `model` to a request of so many bytes, as a stream or whole, began after `took`. A trial need
    /// not wait for its end, which may be long in coming.
    pub fn began(&self, model: &str, (stream, bytes): (bool, usize), took: Duration) {
        let kind = || {
            let mut hasher = DefaultHasher::new();
            // Requests of about the same length, within four times.
            (model, stream, bytes.checked_ilog2().unwrap_or(0) / 2).hash(&mut hasher);
            hasher.finish()
        };
        self.fellows.bulkhead.answered(kind, took);
        if self.trials.model.is_some() {
            self.completed(model);
        }
    }

    /// Says that an answer for `model` came to its end.
    pub fn completed(&self, model: &str) {
        self.endpoint.state.model_passed(model, self.began);
    }

    /// Says that an answer for `model` turned out to be none, or broke off.
    pub fn model_failed(&self, model: &str, why: Complaint) {
        let state = &self.endpoint.state;
        let now = state.now();
        let trouble = state.models.of(model, now);
        if self.trip(&trouble.hold, Some(model), now, why) {
            log::warn!("{} {}: requests for {model} fail ({why}); it is left alone there", state.provider, state.label);
        }
    }

    /// Gives its places back: nothing more of the attempt concerns the endpoint, though something can still be said of it.
    pub fn give_back(&mut self) {
        if std::mem::take(&mut self.counted) {
            self.endpoint.state.in_flight.fetch_sub(1, Ordering::SeqCst);
            self.fellows.make_room();
        }
        self.permit = None;
    }

    fn trip(&self, hold: &Hold, model: Option<&str>, now: u64, why: Complaint) -> bool {
        self.endpoint.state.complain(why, now);
        let _alone = self.fellows.ejecting.lock().unwrap_or_else(PoisonError::into_inner);
        let began = hold.failed(now, &self.endpoint.breaker, || self.fellows.may_leave(model, now));
        if began {
            let state = &self.endpoint.state;
            let ejections = if model.is_some() { &state.model_ejections } else { &state.ejections };
            ejections.fetch_add(1, Ordering::Relaxed);
            // What its name's other addresses lead to may be well.
            self.leave_address();
        }
        began
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.give_back();
        // What was decided is so; what was not is the next one's to try.
        let state = &self.endpoint.state;
        if let Some(trial) = self.trials.endpoint {
            state.hold.abandon(trial, state.now());
        }
        if let Some((trouble, trial)) = self.trials.model.take() {
            trouble.hold.abandon(trial, state.now());
        }
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
    use super::super::testing::{endpoint, pool, provider};
    use super::*;
    use crate::provider::{Breaker, EndpointSpec, HealthSpec};

    const FAILURES: u32 = 5;
    const FIRST_MS: u64 = 1_000;

    fn pool_of(addresses: &[&str]) -> Arc<Pool> {
        pool(&Fleet::new(), provider(addresses.iter().map(|address| endpoint(address)).collect()))
    }

    fn state<'a>(pool: &'a Pool, label: &str) -> &'a super::super::endpoint::State {
        &pool.endpoints().iter().find(|endpoint| &*endpoint.state.label == label).unwrap().state
    }

    fn pick_at(pool: &Pool, tried: &[EndpointId], now: u64) -> Option<Lease> {
        pool.fellows.pick_at(&Wish { key: 0, model: "m", tried }, || now)
    }

    /// The label of the pick at `now`, if any.
    fn picked(pool: &Pool, tried: &[EndpointId], now: u64) -> Option<String> {
        pick_at(pool, tried, now).map(|lease| lease.label().to_string())
    }

    fn hold_down(pool: &Pool, label: &str, now: u64) {
        for _ in 0..FAILURES {
            state(pool, label).hold.failed(now, &Breaker::default(), || true);
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
        while let Some(lease) = pool.pick(0, "m", &tried) {
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
                let lease = pick_at(&pool, &[], now).unwrap();
                if &**lease.label() == "10.0.0.1:80" {
                    attempts.push(now);
                    lease.endpoint.state.hold.failed(now, &Breaker::default(), || true);
                    let next = pick_at(&pool, &[lease.id()], now).unwrap();
                    assert_eq!(&**next.label(), "10.0.0.2:80");
                }
            }
        }
        assert_eq!(attempts, [1, 1, 1, 1, 1, 1_001, 3_001]);
    }

    #[test]
    fn only_one_of_many_requests_at_once_gets_the_trial() {
        let pool = pool_of(&["10.0.0.1:80", "10.0.0.2:80"]);
        hold_down(&pool, "10.0.0.1:80", 1);
        let leases: Vec<Lease> = (0..100).filter_map(|_| pick_at(&pool, &[], 1 + FIRST_MS)).collect();
        let trials = leases.iter().filter(|lease| &**lease.label() == "10.0.0.1:80").count();
        assert_eq!((leases.len(), trials), (100, 1));
        for lease in &leases {
            lease.answered("m", 200, None);
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
        let leases: Vec<Lease> = (0..3).filter_map(|_| pool.pick(0, "m", &[])).collect();
        assert_eq!(in_flight(), 3);
        drop(leases);
        assert_eq!(in_flight(), 0);
    }

    fn bounded(addresses: &[(&str, u32)]) -> Provider {
        let spec = |(address, most): &(&str, u32)| EndpointSpec { most: Some(*most), ..endpoint(address) };
        provider(addresses.iter().map(spec).collect())
    }

    #[test]
    fn a_full_endpoint_is_passed_over_and_a_full_pool_offers_nothing() {
        let pool = pool(&Fleet::new(), bounded(&[("10.0.0.1:80", 1), ("10.0.0.2:80", 2)]));
        let mut leases: Vec<Lease> = (0..3).filter_map(|_| pool.pick(0, "m", &[])).collect();
        let seconds = leases.iter().filter(|lease| &**lease.label() == "10.0.0.2:80").count();
        assert_eq!((leases.len(), seconds), (3, 2));
        assert!(!pool.is_usable("m", &[]) && pool.pick(0, "m", &[]).is_none());
        assert!(pool.is_worth_a_wait("m", &[]), "it would take requests");
        leases.pop();
        assert!(pool.is_usable("m", &[]) && pool.pick(0, "m", &[]).is_some());
        drop(leases);
        assert_eq!(pool.bulkhead().used(), 0);
    }

    #[test]
    fn what_is_held_has_no_room_for_who_waits_unless_all_are() {
        let pool = pool(&Fleet::new(), bounded(&[("10.0.0.1:80", 1), ("10.0.0.2:80", 1)]));
        hold_down(&pool, "10.0.0.1:80", pool.endpoints()[0].state.now());
        let one = pool.pick(0, "m", &[]).unwrap();
        assert_eq!(&**one.label(), "10.0.0.2:80");
        assert!(pool.pick(0, "m", &[]).is_none() && pool.is_worth_a_wait("m", &[]));
        hold_down(&pool, "10.0.0.2:80", pool.endpoints()[0].state.now());
        assert!(!pool.is_worth_a_wait("m", &[]));
        let other = pool.pick(0, "m", &[]).unwrap();
        assert_eq!(&**other.label(), "10.0.0.1:80", "the one with room");
        assert!(pool.pick(0, "m", &[]).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_gets_the_place_of_an_attempt_of_an_older_config() {
        let fleet = Fleet::new();
        let limited = |most| {
            let mut provider = bounded(&[("10.0.0.1:80", most)]);
            provider.limit = crate::limits::Rule { waiting: 5, patience: Duration::from_secs(5), ..provider.limit };
            pool(&fleet, provider)
        };
        let old = limited(1);
        let lease = old.pick(0, "m", &[]).unwrap();
        let new = limited(1);
        assert!(new.pick(0, "m", &[]).is_none(), "what runs counts on");
        let waiter = || crate::limits::Waiter { client: "web".into(), class: crate::limits::Class::Normal };
        let wait = |pool: &Arc<Pool>| {
            let bulkhead = Arc::clone(pool.bulkhead());
            let until = clock::timer() + Duration::from_secs(5);
            tokio::spawn(async move { bulkhead.wait(&waiter(), until).await })
        };
        let waiting = wait(&new);
        while new.bulkhead().waiting() == 0 {
            tokio::task::yield_now().await;
        }
        drop((old, lease));
        let permit = waiting.await.unwrap().unwrap();
        let second = new.pick_with(permit, 0, "m", &[]).unwrap();
        let waiting = wait(&new);
        while new.bulkhead().waiting() == 0 {
            tokio::task::yield_now().await;
        }
        let newest = limited(2);
        let permit = waiting.await.unwrap().unwrap();
        assert!(newest.pick_with(permit, 0, "m", &[]).is_some(), "a reload makes room for who waits");
        drop(second);
        let _unbounded = pool(&fleet, provider(vec![endpoint("10.0.0.1:80")]));
        assert!(!newest.bulkhead().is_bounded_behind());
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_since_an_older_config_gets_a_place_of_the_newest() {
        for (case, newest, label) in [
            ("it takes more", &[("10.0.0.1:80", 2)][..], "10.0.0.1:80"),
            ("another joins it", &[("10.0.0.1:80", 1), ("10.0.0.2:80", 1)], "10.0.0.2:80"),
            ("another takes its place", &[("10.0.0.2:80", 1)], "10.0.0.2:80"),
        ] {
            let fleet = Fleet::new();
            let limited = |addresses: &[(&str, u32)]| {
                let mut provider = bounded(addresses);
                provider.limit = crate::limits::Rule { waiting: 5, patience: Duration::from_secs(5), ..provider.limit };
                pool(&fleet, provider)
            };
            let old = limited(&[("10.0.0.1:80", 1)]);
            let _running = old.pick(0, "m", &[]).unwrap();
            let bulkhead = Arc::clone(old.bulkhead());
            let waiting = tokio::spawn(async move {
                let waiter = crate::limits::Waiter { client: "web".into(), class: crate::limits::Class::Normal };
                bulkhead.wait(&waiter, clock::timer() + Duration::from_secs(5)).await
            });
            while old.bulkhead().waiting() == 0 {
                tokio::task::yield_now().await;
            }
            let _newest = limited(newest);
            let permit = waiting.await.unwrap().expect(case);
            let lease = old.pick_with(permit, 0, "m", &[]).expect(case);
            assert_eq!(&**lease.label(), label, "{case}");
        }
    }

    #[test]
    fn a_provider_has_a_limit_over_all_its_endpoints() {
        let mut limited = provider(vec![endpoint("10.0.0.1:80"), endpoint("10.0.0.2:80")]);
        limited.limit = crate::limits::Rule { most: Some(3), ..limited.limit };
        let pool = pool(&Fleet::new(), limited);
        let leases: Vec<Lease> = (0..9).filter_map(|_| pool.pick(0, "m", &[])).collect();
        assert_eq!(leases.len(), 3);
        assert!(!pool.is_usable("m", &[]) && pool.is_worth_a_wait("m", &[]));
    }

    #[test]
    fn a_pool_without_endpoints_offers_nothing() {
        let pool = pool_of(&[]);
        assert!(pool.is_empty() && !pool.is_usable("m", &[]) && pool.pick(0, "m", &[]).is_none());
    }

    /// Lets requests at `now` fail at these endpoints until nothing changes; returns those that still take requests.
    fn after_failing(pool: &Pool, failing: &[&str], now: u64) -> Vec<String> {
        for _ in 0..200 {
            let Some(lease) = pick_at(pool, &[], now) else { continue };
            if failing.contains(&&**lease.label()) {
                let _ = lease.trip(&lease.endpoint.state.hold, None, now, Complaint::Status(500));
            }
        }
        let open = pool.endpoints().iter().filter(|endpoint| endpoint.state.gate("m", || now) == Gate::Open);
        open.map(|endpoint| endpoint.state.label.to_string()).collect()
    }

    #[test]
    fn no_more_than_half_of_a_pool_is_ever_out() {
        let all = ["10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80", "10.0.0.4:80", "10.0.0.5:80"];
        for (count, left) in [(1, 0), (2, 1), (3, 2), (4, 2), (5, 3)] {
            let pool = pool_of(&all[..count]);
            assert_eq!(after_failing(&pool, &all, 1).len(), left, "of {count}");
        }
    }

    #[test]
    fn checks_that_most_fail_are_not_believed() {
        let pool = pool_of(&["10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"]);
        let seen = |now| {
            let mut seen: Vec<String> = (0..30).filter_map(|_| picked(&pool, &[], now)).collect();
            seen.sort();
            seen.dedup();
            seen.len()
        };
        fail_checks(&pool, "10.0.0.1:80", 1);
        assert_eq!(seen(2), 2, "two thirds pass: the third is out");
        fail_checks(&pool, "10.0.0.2:80", 3);
        assert_eq!(seen(4), 3, "one third passes: all are used");
    }

    #[test]
    fn a_model_at_its_limit_is_left_alone_at_that_endpoint_only() {
        let pool = pool_of(&["10.0.0.1:80", "10.0.0.2:80"]);
        let limited = pool.pick(0, "big", &[]).unwrap();
        limited.answered("big", 429, Some(Duration::from_secs(3_600)));
        let cools = state(&pool, limited.label()).models.view(0);
        assert!(cools[0].cools_ms > 59_000 && cools[0].cools_ms <= 61_000, "a bound of a minute: {cools:?}");
        for _ in 0..10 {
            assert_ne!(pool.pick(0, "big", &[]).unwrap().label(), limited.label());
        }
        let small = (0..10).filter(|_| pool.pick(0, "small", &[]).unwrap().label() == limited.label()).count();
        assert_eq!(small, 5, "another model goes there as before");
        let state = state(&pool, limited.label());
        assert_eq!((state.ejections.load(Ordering::Relaxed), state.model_ejections.load(Ordering::Relaxed)), (0, 0));
    }

    #[test]
    fn only_faults_of_the_provider_count() {
        let pool = pool_of(&["10.0.0.1:80", "10.0.0.2:80"]);
        let lease = pool.pick(0, "m", &[]).unwrap();
        for status in [200, 400, 401, 403, 404, 409, 413, 422, 499] {
            for _ in 0..20 {
                lease.answered("other", status, None);
            }
        }
        assert!(pool.is_usable("other", &[]) && state(&pool, lease.label()).models.view(0).is_empty());
        for status in [500, 502, 503, 504, 529] {
            lease.answered("m", status, None);
        }
        let view = state(&pool, lease.label()).models.view(0);
        assert_eq!((view.len(), view[0].stage.name()), (1, "open"));
        assert_eq!(state(&pool, lease.label()).hold.stage(1).name(), "closed", "the endpoint itself answers");
    }

    #[test]
    fn who_comes_back_begins_with_few_requests() {
        let slow = Breaker { slow_start: Duration::from_secs(100), ..Breaker::default() };
        let endpoints = ["10.0.0.1:80", "10.0.0.2:80"].map(endpoint).to_vec();
        let pool = pool(&Fleet::new(), Provider { breaker: slow, ..provider(endpoints) });
        state(&pool, "10.0.0.1:80").returned.store(1, Ordering::Relaxed);
        let share = |now: u64| {
            let back = |_: &u32| picked(&pool, &[], now).as_deref() == Some("10.0.0.1:80");
            (0..4_000).filter(back).count()
        };
        let (first, half, full) = (share(1), share(50_001), share(100_001));
        assert!((50..400).contains(&first), "a tenth of its half: {first}");
        assert!((700..1_500).contains(&half), "half of its half, and its turns go to the other: {half}");
        assert_eq!(full, 2_000);
    }
}
