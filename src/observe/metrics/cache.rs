//! Series handles by label set, so that the steady state looks up once and allocates nothing.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::sync::{Arc, PoisonError, RwLock};

use ahash::RandomState;

/// Locks that readers share out among each other.
const SHARDS: usize = 16;
/// The most entries of one shard; a full one is emptied, and filled again by what is still in use.
const SHARD_CAPACITY: usize = 1024;

/// Values by hash of their key; equal hashes share a slot and are told apart by the caller's comparison.
pub(super) struct Cache<V> {
    hasher: RandomState,
    shards: [RwLock<Shard<V>>; SHARDS],
}

type Shard<V> = HashMap<u64, Vec<Arc<V>>, BuildHasherDefault<AsIs>>;

impl<V> Cache<V> {
    pub(super) fn new() -> Self {
        Self { hasher: RandomState::new(), shards: std::array::from_fn(|_| RwLock::default()) }
    }

    /// Forgets all values; what is still in use is made anew.
    pub(super) fn clear(&self) {
        for shard in &self.shards {
            shard.write().unwrap_or_else(PoisonError::into_inner).clear();
        }
    }

    /// The value for `key`: the one that `is` recognises, else what `make` gives.
    pub(super) fn get<K: Hash>(&self, key: &K, is: impl Fn(&V) -> bool, make: impl FnOnce() -> V) -> Arc<V> {
        let hash = self.hasher.hash_one(key);
        let Some(shard) = self.shards.get(usize::from(hash.to_be_bytes()[0]) % SHARDS) else {
            return Arc::new(make());
        };
        let found = |shard: &Shard<V>| shard.get(&hash).and_then(|slot| slot.iter().find(|value| is(value)).cloned());
        if let Some(value) = found(&shard.read().unwrap_or_else(PoisonError::into_inner)) {
            return value;
        }
        let made = Arc::new(make());
        let mut shard = shard.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(value) = found(&shard) {
            return value;
        }
        if shard.len() >= SHARD_CAPACITY {
            shard.clear();
        }
        shard.entry(hash).or_default().push(Arc::clone(&made));
        made
    }
}

/// Keys are hashes already.
#[derive(Default)]
struct AsIs(u64);

impl Hasher for AsIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_made_once_and_equal_hashes_are_told_apart() {
        let cache = Cache::new();
        let get = |name: &'static str| cache.get(&"same hash", |value| *value == name, || name);
        assert_eq!(*get("a"), "a");
        assert_eq!(*get("b"), "b");
        assert!(Arc::ptr_eq(&get("a"), &get("a")));
    }

    #[test]
    fn it_stays_bounded() {
        let cache = Cache::new();
        for number in 0..100_000_u32 {
            cache.get(&number, |value| *value == number, || number);
        }
        let held: usize = cache.shards.iter().map(|shard| shard.read().unwrap().len()).sum();
        assert!(held <= SHARDS * SHARD_CAPACITY, "{held}");
    }
}
