//! What serves requests: the settings with the pools that were built from them.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tidegate_codec::seal::Seal;

use super::Settings;
use crate::upstream::{Fleet, Pools};

/// One generation of the config, ready to serve; a request keeps the one that it met to its end.
#[derive(Debug)]
pub struct Snapshot {
    /// What is configured.
    pub settings: Arc<Settings>,
    /// The endpoints of every provider.
    pub pools: Pools,
    /// Seals opaque state.
    pub seal: Arc<Seal>,
    /// Counts up with every reload, from 1.
    pub generation: u64,
}

/// The generation that new requests meet.
pub type Live = ArcSwap<Snapshot>;

impl Snapshot {
    /// Generation `generation`: `settings` with pools over the endpoints that `fleet` knows or gets to know.
    #[must_use]
    pub fn new(settings: Settings, fleet: &Arc<Fleet>, generation: u64) -> Self {
        let providers: Vec<_> = settings.providers.values().map(Arc::clone).collect();
        Self {
            pools: fleet.pools(&providers),
            seal: Arc::new(Seal::new(*settings.sealing_key.expose())),
            settings: Arc::new(settings),
            generation,
        }
    }
}
