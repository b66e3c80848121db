//! Which provider made what: remembered for a while, so that who comes back with it is led there.

use std::sync::{Arc, Mutex, PoisonError};

use ahash::AHashMap;

/// Entries that are held for certain; at most twice as many are.
const HELD: usize = 32 << 10;

/// Providers by the number of what they made. It belongs to the process; a reload keeps it, a restart forgets it.
#[derive(Debug, Default)]
pub struct Whereabouts {
    generations: Mutex<Generations>,
}

/// What was noted or asked for of late, and what was before that.
#[derive(Debug, Default)]
struct Generations {
    young: AHashMap<u64, Arc<str>>,
    old: AHashMap<u64, Arc<str>>,
}

impl Whereabouts {
    /// Notes that `provider` made what has this number.
    pub fn note(&self, number: u64, provider: &Arc<str>) {
        let mut generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        generations.put(number, Arc::clone(provider));
    }

    /// Who made what has this number, if that is still known.
    pub fn find(&self, number: u64) -> Option<Arc<str>> {
        let mut generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(provider) = generations.young.get(&number) {
            return Some(Arc::clone(provider));
        }
        let provider = generations.old.remove(&number)?;
        generations.put(number, Arc::clone(&provider));
        Some(provider)
    }
}

impl Generations {
    fn put(&mut self, number: u64, provider: Arc<str>) {
        if self.young.len() >= HELD {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(number, provider);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_stays_and_what_is_not_is_forgotten() {
        let (whereabouts, provider) = (Whereabouts::default(), Arc::from("a"));
        whereabouts.note(1, &provider);
        whereabouts.note(2, &provider);
        for number in 0..4 * HELD as u64 {
            whereabouts.note(10 + number, &provider);
            assert_eq!(whereabouts.find(1).as_deref(), Some("a"), "after {number}");
        }
        assert_eq!(whereabouts.find(2), None);
        let generations = whereabouts.generations.lock().unwrap();
        assert!(generations.young.len() + generations.old.len() <= 2 * HELD);
    }

    #[test]
    fn the_last_maker_counts() {
        let whereabouts = Whereabouts::default();
        whereabouts.note(1, &Arc::from("a"));
        whereabouts.note(1, &Arc::from("b"));
        assert_eq!(whereabouts.find(1).as_deref(), Some("b"));
        assert_eq!(whereabouts.find(3), None);
    }
}
