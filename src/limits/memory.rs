//! Whether there is memory for new requests.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// What a process may hold, against what it holds. It is told once a second or so, and asked at every request.
#[derive(Debug, Default)]
pub struct Memory {
    short: AtomicBool,
    resident: AtomicU64,
    /// Bytes; 0 for no limit.
    limit: AtomicU64,
}

impl Memory {
    /// Takes a measurement: `resident` bytes where at most `limit` may be; `None` for no limit.
    ///
    /// What was short stays so until a twentieth of the limit is free again, so that the edge does not open and close
    /// with every request that ends.
    pub fn measured(&self, resident: u64, limit: Option<u64>) {
        self.resident.store(resident, Ordering::Relaxed);
        self.limit.store(limit.unwrap_or(0), Ordering::Relaxed);
        let bound = match limit {
            None => u64::MAX,
            Some(limit) if self.is_short() => limit - limit / 20,
            Some(limit) => limit,
        };
        self.short.store(resident > bound, Ordering::Relaxed);
    }

    /// Whether new requests are to be refused.
    pub fn is_short(&self) -> bool {
        self.short.load(Ordering::Relaxed)
    }

    /// Bytes that the process holds, and may hold: `None` for no limit.
    pub fn view(&self) -> (u64, Option<u64>) {
        let limit = self.limit.load(Ordering::Relaxed);
        (self.resident.load(Ordering::Relaxed), (limit > 0).then_some(limit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_short_above_the_limit_and_until_a_twentieth_is_free() {
        let memory = Memory::default();
        let check = |resident: u64, limit: Option<u64>, short: bool| {
            memory.measured(resident, limit);
            assert_eq!(memory.is_short(), short, "{resident} of {limit:?}");
        };
        check(1_000, None, false);
        check(1_000, Some(1_000), false);
        check(1_001, Some(1_000), true);
        check(951, Some(1_000), true);
        check(950, Some(1_000), false);
        check(1_000, Some(1_000), false);
        check(2_000, Some(1_000), true);
        check(2_000, None, false);
    }
}
