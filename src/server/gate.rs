//! Who may connect, and how many at once.

use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use ahash::AHashMap;

use crate::clock;
use crate::config::Live;
use crate::limits::{AddressRate, network_of};

/// Counts the connections that are open.
pub(super) struct Gate {
    live: Arc<Live>,
    /// Connections that there are descriptors for.
    room: usize,
    open: AtomicUsize,
    /// Open connections by address, kept only while there is a limit; exact, so that nobody pays for another.
    by_address: Mutex<AHashMap<IpAddr, usize>>,
    rate: AddressRate,
}

/// An open connection; dropping it is its end.
pub(super) struct Pass {
    gate: Arc<Gate>,
    counted: Option<IpAddr>,
}

impl Gate {
    pub(super) fn new(live: Arc<Live>, room: usize) -> Arc<Self> {
        Arc::new(Self {
            live,
            room,
            open: AtomicUsize::new(0),
            by_address: Mutex::default(),
            rate: AddressRate::new(clock::now()),
        })
    }

    /// Connections that are open.
    pub(super) fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Lets a connection of `peer` in.
    ///
    /// # Errors
    ///
    /// Why not: a bounded word.
    pub(super) fn enter(self: &Arc<Self>, peer: IpAddr) -> Result<Pass, &'static str> {
        let live = self.live.load();
        let server = &live.settings.server;
        let trusted = server.access.trusts(peer);
        // Of a trusted proxy's connection each request says who calls.
        if !trusted && !server.access.admits(peer) {
            return Err("address");
        }
        if let Some(most) = server.limits.connection_rate_per_ip.filter(|_| !trusted)
            && !self.rate.admits(peer, most, clock::now())
        {
            return Err("connection_rate_per_ip");
        }
        let open = self.open.fetch_add(1, Ordering::Relaxed);
        let mut pass = Pass { gate: Arc::clone(self), counted: None };
        if open >= server.limits.connections {
            return Err("connections");
        }
        if open >= self.room {
            return Err("descriptors");
        }
        if let Some(limit) = server.limits.connections_per_ip.filter(|_| !trusted) {
            let address = network_of(peer);
            let mut by_address = self.by_address.lock().unwrap_or_else(PoisonError::into_inner);
            let count = by_address.entry(address).or_default();
            if *count >= limit {
                return Err("connections_per_ip");
            }
            *count += 1;
            pass.counted = Some(address);
        }
        Ok(pass)
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.gate.open.fetch_sub(1, Ordering::Relaxed);
        let Some(address) = self.counted else { return };
        let mut by_address = self.gate.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = by_address.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                by_address.remove(&address);
            }
        }
    }
}
