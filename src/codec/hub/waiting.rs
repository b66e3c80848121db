//! What waits to be asked for by its id, such as the result that a call is answered with.

use std::borrow::Borrow;
use std::collections::{BTreeMap, VecDeque};

/// Things by their ids; those of one id come out in the order in which they went in.
///
/// A turn may hold thousands of calls, answered in any order: each is found without a look at the others.
#[derive(Debug)]
pub struct Waiting<K, T> {
    /// What waits for each id, with its number among all.
    lists: BTreeMap<K, VecDeque<(usize, T)>>,
    count: usize,
}

impl<K, T> Default for Waiting<K, T> {
    fn default() -> Self {
        Self { lists: BTreeMap::new(), count: 0 }
    }
}

impl<K: Ord + Borrow<str>, T> Waiting<K, T> {
    /// Adds `thing` behind all others.
    pub fn add(&mut self, id: K, thing: T) {
        self.lists.entry(id).or_default().push_back((self.count, thing));
        self.count += 1;
    }

    /// Takes the first that waits for `id`.
    pub fn take(&mut self, id: &str) -> Option<T> {
        self.lists.get_mut(id)?.pop_front().map(|(_, thing)| thing)
    }

    /// The first of all that still wait.
    #[must_use]
    pub fn first(&self) -> Option<&T> {
        let fronts = self.lists.values().filter_map(VecDeque::front);
        fronts.min_by_key(|(number, _)| *number).map(|(_, thing)| thing)
    }
}

impl<K: Ord + Borrow<str>, T> FromIterator<(K, T)> for Waiting<K, T> {
    fn from_iter<I: IntoIterator<Item = (K, T)>>(things: I) -> Self {
        let mut waiting = Self::default();
        things.into_iter().for_each(|(id, thing)| waiting.add(id, thing));
        waiting
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_come_first_served() {
        let mut waiting: Waiting<&str, u32> = [("a", 0), ("b", 1), ("a", 2), ("c", 3)].into_iter().collect();
        assert_eq!((waiting.take("b"), waiting.take("b"), waiting.take("d")), (Some(1), None, None));
        assert_eq!(waiting.first(), Some(&0));
        assert_eq!(waiting.take("a"), Some(0));
        assert_eq!(waiting.first(), Some(&2));
        waiting.add("b", 4);
        assert_eq!((waiting.take("a"), waiting.take("c")), (Some(2), Some(3)));
        assert_eq!(waiting.first(), Some(&4));
        assert_eq!(waiting.take("b"), Some(4));
        assert_eq!(waiting.first(), None);
    }
}
