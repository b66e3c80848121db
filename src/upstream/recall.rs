//! Parts of answers that clients do not bring back, remembered for a while: what models thought before they called tools,
//! and items that are only referred to.

use std::mem::{replace, take};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ahash::AHashMap;
use tidegate_codec::{Recall, Thoughts};

use crate::clock::{self, Instant};

/// How long what is not asked for is kept for certain, if there is room; at most twice as long.
const KEPT: Duration = Duration::from_secs(3600);
/// What an entry takes beside its bytes.
const ENTRY: usize = 160;

/// Thoughts by the first call behind them, and items by their ids; each client has its own. They belong to the process: a
/// reload keeps them, a new process begins without.
#[derive(Debug)]
pub struct RecallMemory {
    /// Bytes that are kept.
    most: AtomicUsize,
    thoughts: AtomicU64,
    items: AtomicU64,
    generations: Mutex<Generations>,
}

/// What was kept or asked for of late, and what was before that.
#[derive(Debug)]
struct Generations {
    young: Generation,
    old: Generation,
    /// When the young one began.
    began: Instant,
    /// What was let go, until the lock is free: it may be much.
    gone: Vec<Generation>,
}

#[derive(Debug, Default)]
struct Generation {
    entries: AHashMap<Key, Kept>,
    bytes: usize,
}

/// What something is known by, and what it is: one name may stand for several.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    what: What,
    client: Arc<str>,
    id: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum What {
    Thoughts,
    Item,
}

#[derive(Debug, Clone)]
enum Kept {
    Thoughts(Arc<Thoughts>),
    /// Several answers had one name and were not the same: nobody knows which of them is meant.
    Ambiguous,
    Item(Arc<str>),
}

impl Kept {
    fn size(&self) -> usize {
        match self {
            Self::Thoughts(thoughts) => thoughts.size(),
            Self::Ambiguous => 0,
            Self::Item(item) => item.len(),
        }
    }
}

/// What one client's requests recall.
#[derive(Debug)]
struct Own {
    client: Arc<str>,
    /// Who is asked, and for which model: to another one thoughts mean nothing, or are an error.
    target: String,
    memory: Arc<RecallMemory>,
}

impl Default for RecallMemory {
    fn default() -> Self {
        let generations = Mutex::new(Generations::new(clock::now()));
        Self { most: AtomicUsize::new(0), thoughts: AtomicU64::new(0), items: AtomicU64::new(0), generations }
    }
}

impl RecallMemory {
    /// Keeps no more than `most` bytes from now on.
    pub(super) fn bound(&self, most: usize) {
        self.most.store(most, Ordering::Relaxed);
        self.with(|generations| generations.shrink(most));
    }

    /// What `client` alone keeps and recalls, of answers of `target`; `None` where nothing is kept.
    #[must_use]
    pub fn of(self: &Arc<Self>, client: &Arc<str>, target: (&str, &str)) -> Option<Arc<dyn Recall>> {
        if self.most.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let target = [target.0, "/", target.1].concat();
        Some(Arc::new(Own { client: Arc::clone(client), target, memory: Arc::clone(self) }))
    }

    /// Bytes that are kept now, and how often what of them was recalled.
    #[must_use]
    pub fn view(&self) -> (u64, [(&'static str, u64); 2]) {
        let bytes = self.with(|generations| {
            generations.grow_old(clock::now());
            generations.young.bytes + generations.old.bytes
        });
        let times = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (bytes as u64, [("thoughts", times(&self.thoughts)), ("item", times(&self.items))])
    }

    /// What `make` makes of the generations.
    fn with<R>(&self, make: impl FnOnce(&mut Generations) -> R) -> R {
        let mut generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        let result = make(&mut generations);
        let gone = take(&mut generations.gone);
        drop(generations);
        drop(gone);
        result
    }
}

impl Own {
    fn key(&self, what: What, id: &str) -> Key {
        Key { what, client: Arc::clone(&self.client), id: id.to_owned() }
    }

    fn put(&self, key: Key, kept: Kept) {
        let most = self.memory.most.load(Ordering::Relaxed);
        self.memory.with(|generations| generations.put(key, kept, (most, clock::now())));
    }

    fn find(&self, key: &Key) -> Option<Kept> {
        let most = self.memory.most.load(Ordering::Relaxed);
        self.memory.with(|generations| generations.find(key, (most, clock::now())))
    }
}

impl Recall for Own {
    fn keep(&self, answer: &str, thoughts: Option<Thoughts>) {
        let key = self.key(What::Thoughts, &[&self.target, "/", answer].concat());
        let before = self.find(&key);
        match (before, thoughts) {
            (None, None) => {}
            (None, Some(thoughts)) => self.put(key, Kept::Thoughts(Arc::new(thoughts))),
            (Some(Kept::Thoughts(before)), Some(thoughts)) if *before == thoughts => {}
            (Some(_), _) => self.put(key, Kept::Ambiguous),
        }
    }

    fn recall(&self, answer: &str) -> Option<Arc<Thoughts>> {
        let key = self.key(What::Thoughts, &[&self.target, "/", answer].concat());
        let Kept::Thoughts(thoughts) = self.find(&key)? else { return None };
        self.memory.thoughts.fetch_add(1, Ordering::Relaxed);
        Some(thoughts)
    }

    fn keep_item(&self, id: &str, item: &str) {
        self.put(self.key(What::Item, id), Kept::Item(Arc::from(item)));
    }

    fn item(&self, id: &str) -> Option<Arc<str>> {
        let Kept::Item(item) = self.find(&self.key(What::Item, id))? else { return None };
        self.memory.items.fetch_add(1, Ordering::Relaxed);
        Some(item)
    }
}

impl Generations {
    fn new(began: Instant) -> Self {
        Self { young: Generation::default(), old: Generation::default(), began, gone: Vec::new() }
    }

    fn put(&mut self, key: Key, kept: Kept, (most, now): (usize, Instant)) {
        self.grow_old(now);
        let size = cost(&key, &kept);
        if size > most / 2 {
            return;
        }
        self.old.remove(&key);
        self.young.remove(&key);
        if self.young.bytes + size > most / 2 {
            self.turn(now);
        }
        self.young.bytes += size;
        self.young.entries.insert(key, kept);
    }

    fn find(&mut self, key: &Key, (most, now): (usize, Instant)) -> Option<Kept> {
        self.grow_old(now);
        if let Some(kept) = self.young.entries.get(key) {
            return Some(kept.clone());
        }
        let kept = self.old.remove(key)?;
        self.put(key.clone(), kept.clone(), (most, now));
        Some(kept)
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
        let old = replace(&mut self.old, take(&mut self.young));
        self.gone.push(old);
        self.began = now;
    }

    fn shrink(&mut self, most: usize) {
        for generation in [&mut self.young, &mut self.old] {
            if generation.bytes > most / 2 {
                self.gone.push(take(generation));
            }
        }
    }
}

impl Generation {
    fn remove(&mut self, key: &Key) -> Option<Kept> {
        let kept = self.entries.remove(key)?;
        self.bytes = self.bytes.saturating_sub(cost(key, &kept));
        Some(kept)
    }
}

fn cost(key: &Key, kept: &Kept) -> usize {
    ENTRY + key.id.len() + kept.size()
}

#[cfg(test)]
mod tests {
    use tidegate_codec::Format;

    use super::*;

    const MOST: usize = 100 * ENTRY;

    fn thoughts() -> Thoughts {
        Thoughts::new(Format::GeminiGenerate)
    }

    fn key() -> Key {
        Key { what: What::Thoughts, client: Arc::from("a"), id: "key".to_owned() }
    }

    fn kept() -> Kept {
        Kept::Thoughts(Arc::new(thoughts()))
    }

    fn memory(most: usize) -> Arc<RecallMemory> {
        let memory = Arc::new(RecallMemory::default());
        memory.bound(most);
        memory
    }

    #[test]
    fn what_is_asked_for_stays_and_what_is_not_makes_room() {
        let memory = memory(MOST);
        let own = memory.of(&Arc::from("a"), ("p", "m")).unwrap();
        own.keep("first", Some(thoughts()));
        own.keep("second", Some(thoughts()));
        for number in 0..400 {
            own.keep(&number.to_string(), Some(thoughts()));
            assert!(own.recall("first").is_some(), "after {number}");
            assert!(memory.view().0 <= MOST as u64, "after {number}");
        }
        assert!(own.recall("second").is_none());
        assert_eq!(memory.view().1[0], ("thoughts", 400));
        memory.bound(ENTRY);
        assert_eq!((memory.view().0, own.recall("first")), (0, None));
        own.keep("first", Some(thoughts()));
        assert!(own.recall("first").is_none(), "more than there is room for");
    }

    #[test]
    fn a_client_recalls_its_own() {
        let memory = memory(MOST);
        let of = |client: &str| memory.of(&Arc::from(client), ("p", "m")).unwrap();
        of("a").keep("call", Some(thoughts()));
        assert!(of("b").recall("call").is_none() && of("").recall("call").is_none());
        assert!(of("a").recall("call").is_some());
        assert!(of("a").item("call").is_none(), "thoughts are no item");
        let other = memory.of(&Arc::from("a"), ("p", "n")).unwrap();
        assert!(other.recall("call").is_none(), "another model's");
        of("a").keep_item("call", "{}");
        assert_eq!((of("a").item("call").as_deref(), of("b").item("call")), (Some("{}"), None));
        assert!(of("a").recall("call").is_some());
        memory.bound(0);
        assert!(memory.of(&Arc::from("a"), ("p", "m")).is_none());
    }

    #[test]
    fn a_name_that_several_answers_have_recalls_nothing_unless_they_are_the_same() {
        let (one, other) = (Some(Format::GeminiGenerate), Some(Format::OpenaiChat));
        let check = |kept: &[Option<Format>], expected: bool| {
            let own = memory(MOST).of(&Arc::from("a"), ("p", "m")).unwrap();
            for format in kept {
                own.keep("x", format.map(Thoughts::new));
            }
            assert_eq!(own.recall("x").is_some(), expected, "{kept:?}");
        };
        check(&[], false);
        check(&[one], true);
        check(&[one, one], true);
        // Of an answer without thoughts before nothing is known.
        check(&[None, one], true);
        check(&[one, None], false);
        check(&[one, other], false);
        check(&[one, other, one], false);
    }

    #[test]
    fn what_is_kept_twice_is_counted_once() {
        let now = clock::now();
        let mut generations = Generations::new(now);
        for _ in 0..3 {
            generations.put(key(), kept(), (MOST, now));
        }
        assert_eq!(generations.young.bytes, cost(&key(), &kept()));
    }

    #[test]
    fn what_nobody_asks_for_goes_in_time() {
        let check = |asked: &[u64], at: u64, expected: bool| {
            let began = clock::now();
            let mut generations = Generations::new(began);
            let limits = |minutes: u64| (MOST, began + Duration::from_secs(60 * minutes));
            generations.put(key(), kept(), limits(0));
            for minutes in asked {
                assert!(generations.find(&key(), limits(*minutes)).is_some(), "{asked:?}");
            }
            assert_eq!(generations.find(&key(), limits(at)).is_some(), expected, "{asked:?} {at}");
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
