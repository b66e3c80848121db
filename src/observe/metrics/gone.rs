//! Endpoints that left the config: after a while their series go too, so that a fleet whose addresses change for ever
//! neither fills the families nor makes every scrape longer than the last.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::clock::Instant;

/// How long the series of an endpoint are shown after it has left the config: what they counted last is scraped by then.
pub(super) const SHOWN_FOR: Duration = Duration::from_secs(600);

/// Since when endpoints are gone of which there are series.
#[derive(Default)]
pub(super) struct Gone {
    since: Mutex<HashMap<String, Instant>>,
}

impl Gone {
    /// The endpoints of which series are `shown` and that are not `in_use` since so long that their series may go.
    pub(super) fn due<'s>(
        &self,
        shown: impl Iterator<Item = &'s str>,
        in_use: &HashSet<&str>,
        now: Instant,
    ) -> HashSet<String> {
        let gone: HashSet<&str> = shown.filter(|upstream| !in_use.contains(upstream)).collect();
        let mut since = self.since.lock().unwrap_or_else(PoisonError::into_inner);
        since.retain(|upstream, _| gone.contains(upstream.as_str()));
        for upstream in gone {
            since.entry(upstream.to_owned()).or_insert(now);
        }
        since.extract_if(|_, since| now.duration_since(*since) >= SHOWN_FOR).map(|(upstream, _)| upstream).collect()
    }
}
