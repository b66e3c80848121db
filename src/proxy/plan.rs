//! Which target and endpoint comes next. Knows nothing of the network: it asks pools.

use std::sync::Arc;

use crate::config::Snapshot;
use crate::provider::Provider;
use crate::routing::{Route, Target};
use crate::upstream::{EndpointId, Lease};

/// The targets of one request, in order, and what was tried.
#[derive(Debug)]
pub struct Plan {
    route: Arc<Route>,
    at: usize,
    /// Endpoints of the current target that were tried.
    tried: Vec<EndpointId>,
    /// Attempts that are left.
    left: usize,
    /// Steers consistent hashing.
    key: u64,
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
}

impl Plan {
    /// A plan of `route` with at most `attempts` attempts; `key` steers consistent hashing.
    pub fn new(route: Arc<Route>, attempts: usize, key: u64) -> Self {
        Self { route, at: 0, tried: Vec::new(), left: attempts, key }
    }

    /// The next endpoint, of the current target if it has one that was not tried, else of the next target.
    pub fn next(&mut self, snapshot: &Snapshot) -> Option<Step> {
        if self.left == 0 {
            return None;
        }
        loop {
            let target = self.route.targets.get(self.at)?;
            if let Some(step) = self.step(snapshot, target) {
                self.tried.push(step.lease.id());
                self.left -= 1;
                return Some(step);
            }
            self.at += 1;
            self.tried.clear();
        }
    }

    /// The first target and the current one, as configured, if they differ.
    pub fn fallback(&self) -> Option<(String, String)> {
        let name = |target: &Target| format!("{}/{}", target.provider, target.model);
        let (first, now) = (self.route.targets.first()?, self.route.targets.get(self.at)?);
        (self.at > 0).then(|| (name(first), name(now)))
    }

    /// Tries the current endpoint once more: a pooled connection had died.
    pub fn again(&mut self) {
        self.tried.pop();
        self.left += 1;
    }

    /// Nothing more is tried.
    pub(super) fn exhaust(&mut self) {
        self.left = 0;
    }

    /// True if [`next`](Self::next) would find something.
    pub fn has_next(&self, snapshot: &Snapshot) -> bool {
        if self.left == 0 {
            return false;
        }
        let left = self.route.targets.get(self.at..).unwrap_or_default();
        left.iter().enumerate().any(|(ahead, target)| {
            let tried: &[EndpointId] = if ahead == 0 { &self.tried } else { &[] };
            snapshot.pools.get(&target.provider).is_some_and(|pool| pool.is_usable(tried))
        })
    }

    fn step(&self, snapshot: &Snapshot, target: &Target) -> Option<Step> {
        let provider = snapshot.settings.providers.get(&target.provider)?;
        let lease = snapshot.pools.get(&target.provider)?.pick(self.key, &self.tried)?;
        Some(Step { provider: Arc::clone(provider), lease, model: target.model.clone() })
    }
}

/// A stable number for `parts`, for consistent hashing (FNV-1a).
pub(super) fn hash_key(parts: &[&str]) -> u64 {
    let bytes = parts.iter().flat_map(|part| part.bytes().chain([0]));
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}
