//! What models thought before they called tools: remembered for a while, for clients that do not bring it back.

use std::mem::take;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ahash::AHashMap;
use tidegate_codec::{Recall, Thoughts};

use crate::clock::{self, Instant};

/// How long what is not asked for is kept for certain, if there is room; at most twice as long.
const KEPT: Duration = Duration::from_secs(3600);
/// What an entry takes beside its bytes.
const ENTRY: usize = 160;

/// The thoughts of answers, by client and by the answer's first call. They belong to the process: a reload keeps them, a
/// restart forgets them.
#[derive(Debug)]
pub struct ThoughtMemory {
    /// Bytes that are kept.
    most: AtomicUsize,
    recalled: AtomicU64,
    generations: Mutex<Generations>,
}

/// What was kept or asked for of late, and what was before that.
#[derive(Debug)]
struct Generations {
    young: Generation,
    old: Generation,
    /// When the young one began.
    began: Instant,
}

#[derive(Debug, Default)]
struct Generation {
    entries: AHashMap<String, Arc<Thoughts>>,
    bytes: usize,
}

/// What one client's requests recall.
#[derive(Debug)]
struct Own {
    client: Arc<str>,
    memory: Arc<ThoughtMemory>,
}

impl Default for ThoughtMemory {
    fn default() -> Self {
        let generations = Mutex::new(Generations::new(clock::now()));
        Self { most: AtomicUsize::new(0), recalled: AtomicU64::new(0), generations }
    }
}

impl ThoughtMemory {
    /// Keeps no more than `most` bytes from now on.
    pub(super) fn bound(&self, most: usize) {
        self.most.store(most, Ordering::Relaxed);
        self.generations().shrink(most);
    }

    /// What `client` alone keeps and recalls; `None` where nothing is kept.
    #[must_use]
    pub fn of(self: &Arc<Self>, client: &Arc<str>) -> Option<Arc<dyn Recall>> {
        let keeps = self.most.load(Ordering::Relaxed) > 0;
        keeps.then(|| Arc::new(Own { client: Arc::clone(client), memory: Arc::clone(self) }) as Arc<dyn Recall>)
    }

    /// Bytes that are kept now, and how often some of them were recalled.
    #[must_use]
    pub fn view(&self) -> (u64, u64) {
        let mut generations = self.generations();
        generations.grow_old(clock::now());
        let bytes = generations.young.bytes + generations.old.bytes;
        (bytes as u64, self.recalled.load(Ordering::Relaxed))
    }

    fn generations(&self) -> MutexGuard<'_, Generations> {
        self.generations.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Own {
    fn key(&self, call: &str) -> String {
        // Whatever stands in a name, no two pairs come to one key.
        format!("{}/{}/{call}", self.client.len(), self.client)
    }
}

impl Recall for Own {
    fn keep(&self, call: &str, thoughts: Thoughts) {
        let most = self.memory.most.load(Ordering::Relaxed);
        self.memory.generations().put(self.key(call), Arc::new(thoughts), (most, clock::now()));
    }

    fn recall(&self, call: &str) -> Option<Arc<Thoughts>> {
        let most = self.memory.most.load(Ordering::Relaxed);
        let found = self.memory.generations().find(&self.key(call), (most, clock::now()))?;
        self.memory.recalled.fetch_add(1, Ordering::Relaxed);
        Some(found)
    }
}

impl Generations {
    fn new(began: Instant) -> Self {
        Self { young: Generation::default(), old: Generation::default(), began }
    }

    fn put(&mut self, key: String, thoughts: Arc<Thoughts>, (most, now): (usize, Instant)) {
        self.grow_old(now);
        let size = cost(&key, &thoughts);
        if size > most / 2 {
            return;
        }
        self.old.remove(&key);
        self.young.remove(&key);
        if self.young.bytes + size > most / 2 {
            self.turn(now);
        }
        self.young.bytes += size;
        self.young.entries.insert(key, thoughts);
    }

    fn find(&mut self, key: &str, (most, now): (usize, Instant)) -> Option<Arc<Thoughts>> {
        self.grow_old(now);
        if let Some(thoughts) = self.young.entries.get(key) {
            return Some(Arc::clone(thoughts));
        }
        let thoughts = self.old.remove(key)?;
        self.put(key.to_owned(), Arc::clone(&thoughts), (most, now));
        Some(thoughts)
    }

    /// What nobody asked for in two spans goes.
    fn grow_old(&mut self, now: Instant) {
        let age = now.saturating_duration_since(self.began);
        if age >= KEPT {
            self.turn(now);
            if age >= 2 * KEPT {
                self.turn(now);
            }
        }
    }

    fn turn(&mut self, now: Instant) {
        self.old = take(&mut self.young);
        self.began = now;
    }

    fn shrink(&mut self, most: usize) {
        for generation in [&mut self.young, &mut self.old] {
            if generation.bytes > most / 2 {
                *generation = Generation::default();
            }
        }
    }
}

impl Generation {
    fn remove(&mut self, key: &str) -> Option<Arc<Thoughts>> {
        let thoughts = self.entries.remove(key)?;
        self.bytes = self.bytes.saturating_sub(cost(key, &thoughts));
        Some(thoughts)
    }
}

fn cost(key: &str, thoughts: &Thoughts) -> usize {
    ENTRY + key.len() + thoughts.size()
}

#[cfg(test)]
mod tests {
    use tidegate_codec::Format;

    use super::*;

    const MOST: usize = 100 * ENTRY;

    fn thoughts() -> Thoughts {
        Thoughts::new(Format::GeminiGenerate)
    }

    fn memory(most: usize) -> Arc<ThoughtMemory> {
        let memory = Arc::new(ThoughtMemory::default());
        memory.bound(most);
        memory
    }

    #[test]
    fn what_is_asked_for_stays_and_what_is_not_makes_room() {
        let memory = memory(MOST);
        let own = memory.of(&Arc::from("a")).unwrap();
        own.keep("first", thoughts());
        own.keep("second", thoughts());
        for number in 0..400 {
            own.keep(&number.to_string(), thoughts());
            assert!(own.recall("first").is_some(), "after {number}");
            assert!(memory.view().0 <= MOST as u64, "after {number}");
        }
        assert!(own.recall("second").is_none());
        assert_eq!(memory.view().1, 400);
        memory.bound(ENTRY);
        assert_eq!((memory.view().0, own.recall("first")), (0, None));
        own.keep("first", thoughts());
        assert!(own.recall("first").is_none(), "more than there is room for");
    }

    #[test]
    fn a_client_recalls_its_own() {
        let memory = memory(MOST);
        let of = |client: &str| memory.of(&Arc::from(client)).unwrap();
        of("a").keep("call", thoughts());
        assert!(of("b").recall("call").is_none() && of("").recall("call").is_none());
        assert!(of("a").recall("call").is_some());
        memory.bound(0);
        assert!(memory.of(&Arc::from("a")).is_none());
    }

    #[test]
    fn what_is_kept_twice_is_counted_once() {
        let now = clock::now();
        let mut generations = Generations::new(now);
        for _ in 0..3 {
            generations.put("key".to_owned(), Arc::new(thoughts()), (MOST, now));
        }
        assert_eq!(generations.young.bytes, cost("key", &thoughts()));
    }

    #[test]
    fn what_nobody_asks_for_goes_in_time() {
        let check = |asked: &[u64], at: u64, expected: bool| {
            let began = clock::now();
            let mut generations = Generations::new(began);
            let limits = |minutes: u64| (MOST, began + Duration::from_secs(60 * minutes));
            generations.put("key".to_owned(), Arc::new(thoughts()), limits(0));
            for minutes in asked {
                assert!(generations.find("key", limits(*minutes)).is_some(), "{asked:?}");
            }
            assert_eq!(generations.find("key", limits(at)).is_some(), expected, "{asked:?} {at}");
            if !expected {
                assert_eq!(generations.young.bytes + generations.old.bytes, 0);
            }
        };
        check(&[], 59, true);
        check(&[], 119, true);
        check(&[], 120, false);
        check(&[], 1000, false);
        check(&[61, 122, 183], 244, true);
    }
}
