//! Request ids.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

use sha2::{Digest, Sha256};

use crate::clock;

/// Makes request ids: different for every request of every process.
#[derive(Debug)]
pub(super) struct Ids {
    /// Hash of what tells this process from others.
    process: u64,
    count: AtomicU64,
}

impl Ids {
    /// A maker for this process.
    pub(super) fn new() -> Self {
        let mut hash = Sha256::new();
        hash.update(clock::unix_now().as_nanos().to_le_bytes());
        hash.update(std::process::id().to_le_bytes());
        let digest = hash.finalize();
        let process = digest.iter().take(8).fold(0_u64, |number, byte| (number << 8) | u64::from(*byte));
        Self { process, count: AtomicU64::new(0) }
    }

    /// The next id: `req_` and 32 hexadecimal digits.
    pub(super) fn next(&self) -> String {
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        let mut id = String::with_capacity(36);
        // The second half mixes the count, so that ids of one process do not sort or guess easily.
        let mixed = (count ^ self.process).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29) ^ self.process;
        let _ = write!(id, "req_{mixed:016x}{:016x}", self.process.wrapping_add(count));
        id
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_differ() {
        let ids = Ids::new();
        let made: std::collections::BTreeSet<_> = (0..1000).map(|_| ids.next()).collect();
        assert_eq!(made.len(), 1000);
        assert!(made.iter().all(|id| id.len() == 36));
    }
}
