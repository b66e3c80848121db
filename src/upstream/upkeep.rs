//! The background service that looks after endpoints: active checks and fresh addresses.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use pingora_core::server::ShutdownWatch;
use pingora_core::services::background::BackgroundService;
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;

use super::endpoint::{Care, State};
use super::fleet::Fleet;
use super::probe::Prober;
use super::resolve::REFRESH_MS;
use crate::provider::HealthSpec;

/// Lookups of names under way at a time, over all endpoints.
const LOOKUPS: usize = 64;

/// Checks under way at a time: one each for more endpoints than anybody has, since those of a dead node wait out their
/// time, all of them, and may not keep others from being seen.
const CHECKS: usize = 4096;
/// The first checks after a start are spread over this time.
const FIRST_CHECKS_MS: u64 = 500;
/// The shortest time between two checks, whatever is configured.
const SHORTEST_MS: u64 = 10;
/// How long an endpoint without anything to do is left alone; a change wakes it earlier.
const IDLE: Duration = Duration::from_secs(3600);

/// Looks after every endpoint of a fleet, one task each, from the moment that a config has it until it is forgotten.
///
/// It is one service for the life of the process, because Pingora takes no new services once it runs.
pub struct Upkeep {
    fleet: Arc<Fleet>,
}

impl Upkeep {
    pub(super) fn new(fleet: Arc<Fleet>) -> Self {
        Self { fleet }
    }
}

#[async_trait]
impl BackgroundService for Upkeep {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        let tools = Arc::new(Tools {
            prober: Prober::default(),
            lookups: Semaphore::new(LOOKUPS),
            checks: Semaphore::new(CHECKS),
        });
        // Dropped when the service ends, which ends all tasks in it.
        let mut tasks = JoinSet::new();
        loop {
            for state in self.fleet.states() {
                if !state.attended.swap(true, Ordering::AcqRel) {
                    tasks.spawn(attend(Arc::downgrade(&state), Arc::clone(&tools)));
                }
            }
            tokio::select! {
                () = self.fleet.changed.notified() => {}
                Some(_) = tasks.join_next() => {}
                stopped = shutdown.changed() => {
                    if stopped.is_err() || *shutdown.borrow() {
                        break;
                    }
                }
            }
        }
        for state in self.fleet.states() {
            state.attended.store(false, Ordering::Release);
        }
    }
}

struct Tools {
    prober: Prober,
    lookups: Semaphore,
    checks: Semaphore,
}

/// Looks after one endpoint for as long as anybody holds it.
async fn attend(state: Weak<State>, tools: Arc<Tools>) {
    let Some(changed) = state.upgrade().map(|state| Arc::clone(&state.changed)) else { return };
    let mut checks = 0;
    loop {
        let wait = match state.upgrade() {
            Some(state) => round(&state, &tools, &mut checks).await,
            None => return,
        };
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = changed.notified() => {}
        }
    }
}

/// Does what is due and says how long there is nothing to do.
async fn round(state: &State, tools: &Tools, checks: &mut u64) -> Duration {
    let care = state.care.load_full();
    if !care.configured {
        return IDLE;
    }
    let refreshed = Notify::new();
    let refresh = async {
        if state.resolver.refresh_due().is_some_and(|due| due <= state.now()) {
            let _slot = tools.lookups.acquire().await;
            state.resolver.refresh(|| state.now()).await;
        }
        refreshed.notify_one();
    };
    // Names may take long just when checks are needed most.
    let check_meanwhile = async {
        loop {
            if let Some(spec) = &care.health
                && check_due(state, spec, *checks) <= state.now()
            {
                let _slot = tools.checks.acquire().await;
                check(state, &care, spec, &tools.prober).await;
                *checks += 1;
            }
            let next_check = care.health.as_ref().map(|spec| check_due(state, spec, *checks));
            tokio::select! {
                biased;
                () = refreshed.notified() => break next_check,
                () = tokio::time::sleep(time_until(state, next_check)) => {}
            }
        }
    };
    let ((), next_check) = tokio::join!(refresh, check_meanwhile);
    time_until(state, [state.resolver.refresh_due(), next_check].into_iter().flatten().min())
}

/// How long until something is `due`, by the fleet's clock.
fn time_until(state: &State, due: Option<u64>) -> Duration {
    due.map_or(IDLE, |due| Duration::from_millis(due.saturating_sub(state.now()).clamp(1, REFRESH_MS)))
}

async fn check(state: &State, care: &Care, spec: &HealthSpec, prober: &Prober) {
    let result = prober.check(state, care, spec).await;
    // The spec may have gone in the meantime, and with it the say of this check.
    if state.care.load().health.as_ref() != Some(spec) {
        return;
    }
    match &result {
        Ok(()) => state.passed(u64::MAX),
        Err(_) => {
            if let Some(address) = state.resolver.current() {
                state.resolver.rotate(address);
            }
        }
    }
    let reason = result.as_ref().err().cloned().unwrap_or_default();
    match state.health.observe(result, spec, state.now()) {
        Some(true) => {
            state.came_back();
            log::info!("{} {}: healthy again", state.provider, state.label);
        }
        Some(false) => log::warn!("{} {}: unhealthy: {reason}", state.provider, state.label),
        None => {}
    }
}

/// When the next check is due: an interval after the last, up to a tenth more or less, so that the checks of many
/// endpoints and many edges do not fall together.
fn check_due(state: &State, spec: &HealthSpec, checks: u64) -> u64 {
    let interval = u64::try_from(spec.interval.as_millis()).unwrap_or(u64::MAX / 4).clamp(SHORTEST_MS, u64::MAX / 4);
    let scatter = scattered(state.id.0.wrapping_mul(0x1_0000).wrapping_add(checks));
    match state.health.record().at {
        None => scatter % FIRST_CHECKS_MS.min(interval),
        Some(at) => at.saturating_add(interval - interval / 10 + scatter % (interval / 5).max(1)),
    }
}

/// A number that looks random (the finaliser of `SplitMix64`).
fn scattered(seed: u64) -> u64 {
    let mut mixed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests;
