//! Which of a pool's endpoints comes next.
//!
//! Turns and ring are `pingora-load-balancing`'s (`algorithms::RoundRobin`, `algorithms::Random`, `Consistent`). Its
//! `Weighted` is not used: it gives a heavy endpoint all its turns in one burst, ignores weights once the first choice
//! is out, and clones a backend for each look. There is no least-busy selection in it.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use pingora_core::protocols::l4::socket::SocketAddr as PingoraAddr;
use pingora_load_balancing::selection::algorithms::{Random, RoundRobin};
use pingora_load_balancing::selection::{BackendIter, BackendSelection, Consistent, SelectionAlgorithm};
use pingora_load_balancing::{Backend, Extensions};

use crate::provider::Balance;

/// Turns of one round; weights are scaled down to fit.
const ROUND: u64 = 1024;
/// Weight on the whole ring, 160 points each.
const RING_WEIGHT: u64 = 256;
/// Draws before the endpoints are searched in order.
const DRAWS: usize = 64;
/// Points of the ring that are looked at before the endpoints are searched in order.
const RING_STEPS: usize = 1024;
/// How far over its share of the requests in flight an endpoint that is chosen by key may go, in percent; and the number
/// below which it is never full: a share of a few is no load, and moving costs a cache.
const BOUND: u64 = 125;
const FLOOR: u64 = 4;
/// Up to this many endpoints, least busy looks at all of them; above, at two.
const LOOK_AT_ALL: usize = 16;

/// How one endpoint is chosen among many. Indexes are those of the weights that it was built with.
pub(super) struct Selector {
    weights: Box<[u32]>,
    rule: Rule,
}

enum Rule {
    InTurn { round: Box<[u32]>, turns: RoundRobin },
    AtRandom { round: Box<[u32]> },
    LeastBusy { round: Box<[u32]>, start: AtomicUsize },
    ByKey(Arc<Consistent>),
}

/// What a selector must know of an endpoint.
pub(super) struct Candidate<'a> {
    /// Its weight, at least 1.
    pub(super) weight: u32,
    /// A name that is the same in every process and after every restart.
    pub(super) name: &'a str,
}

/// What a selector must know of a request.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Ask {
    /// Whose endpoint it is, for the rule that goes by it.
    pub(super) key: u64,
    /// Whether it has tried another endpoint already.
    pub(super) again: bool,
}

impl Selector {
    pub(super) fn new(balance: Balance, candidates: &[Candidate<'_>]) -> Self {
        let weights: Box<[u32]> = candidates.iter().map(|candidate| candidate.weight.max(1)).collect();
        let rule = match balance {
            Balance::RoundRobin => Rule::InTurn { round: round(&weights), turns: RoundRobin::new() },
            Balance::Random => Rule::AtRandom { round: round(&weights) },
            Balance::LeastBusy => Rule::LeastBusy { round: round(&weights), start: AtomicUsize::new(0) },
            Balance::ConsistentHash => Rule::ByKey(Arc::new(ring(&weights, candidates))),
        };
        Self { weights, rule }
    }

    /// The next one that is `usable`. `load` is its requests in flight.
    pub(super) fn choose(
        &self,
        ask: Ask,
        load: impl Fn(usize) -> u32,
        usable: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        let first = (0..self.weights.len()).find(|index| usable(*index))?;
        if self.weights.len() == 1 {
            return Some(first);
        }
        match &self.rule {
            // The second attempts would otherwise take every other turn, and all first ones fall on the same endpoint.
            Rule::InTurn { round, .. } if ask.again => {
                draw(round, random, &usable).or_else(|| self.search(random(), &usable))
            }
            Rule::InTurn { round, turns } => {
                draw(round, || turns.next(&[]), &usable).or_else(|| self.search(turns.next(&[]), &usable))
            }
            Rule::AtRandom { round } => draw(round, random, &usable).or_else(|| self.search(random(), &usable)),
            Rule::LeastBusy { round, start } => self.least_busy(round, start, &load, &usable),
            Rule::ByKey(ring) => {
                let all: u64 = (0..self.weights.len()).map(|index| u64::from(load(index))).sum();
                let roomy = |index| usable(index) && self.has_room(index, u64::from(load(index)), all);
                // The rare key of which all are full, or whose ring gives no usable one early, is served all the same.
                let first = by_key(ring, ask.key, &roomy).or_else(|| by_key(ring, ask.key, &usable));
                first.or_else(|| self.search(ask.key, &usable))
            }
        }
    }

    /// Whether one more request leaves it at no more than a quarter over its share of `all` in flight.
    fn has_room(&self, index: usize, load: u64, all: u64) -> bool {
        let weight = u64::from(self.weights.get(index).copied().unwrap_or(1));
        let shares: u64 = self.weights.iter().map(|weight| u64::from(*weight)).sum();
        let most = ((all + 1) * weight * BOUND).div_ceil(shares.max(1) * 100);
        load < most.max(FLOOR)
    }

    fn least_busy(
        &self,
        round: &[u32],
        start: &AtomicUsize,
        load: &impl Fn(usize) -> u32,
        usable: &impl Fn(usize) -> bool,
    ) -> Option<usize> {
        let count = self.weights.len();
        if count <= LOOK_AT_ALL {
            let all = (0..count).filter(|index| usable(*index));
            let best = all.reduce(|best, next| if self.is_busier(best, next, load) { next } else { best })?;
            // Those that are as idle take turns by weight, or one of them would get all of a quiet hour.
            let tied = |index: usize| usable(index) && !self.is_busier(index, best, load);
            let turn = || start.fetch_add(1, Ordering::Relaxed) as u64;
            return draw(round, turn, &tied).or(Some(best));
        }
        let one = draw(round, random, usable).or_else(|| self.search(random(), usable))?;
        let other = draw(round, random, &|index| index != one && usable(index));
        Some(other.filter(|other| self.is_busier(one, *other, load)).unwrap_or(one))
    }

    /// Whether it has more in flight for its weight than the other.
    fn is_busier(&self, one: usize, other: usize, load: &impl Fn(usize) -> u32) -> bool {
        let weight = |index: usize| u64::from(self.weights.get(index).copied().unwrap_or(1));
        u64::from(load(one)) * weight(other) > u64::from(load(other)) * weight(one)
    }

    /// The first usable one in order from `start`.
    fn search(&self, start: u64, usable: &impl Fn(usize) -> bool) -> Option<usize> {
        let count = self.weights.len();
        let start = usize::try_from(start % count.max(1) as u64).unwrap_or(0);
        (start..count).chain(0..start).find(|index| usable(*index))
    }
}

/// Draws turns until one is of a usable endpoint. A turn of one that is out is lost, so its share goes to the others by
/// their weights.
fn draw(round: &[u32], turn: impl Fn() -> u64, usable: &impl Fn(usize) -> bool) -> Option<usize> {
    let length = round.len().max(1) as u64;
    (0..DRAWS).find_map(|_| {
        let position = usize::try_from(turn() % length).unwrap_or(0);
        let index = usize::try_from(*round.get(position)?).ok()?;
        usable(index).then_some(index)
    })
}

/// A random number, good enough to spread load by.
pub fn random() -> u64 {
    Random.next(&[])
}

fn by_key(ring: &Arc<Consistent>, key: u64, usable: &impl Fn(usize) -> bool) -> Option<usize> {
    let mut points = ring.iter(&key.to_le_bytes());
    (0..RING_STEPS).find_map(|_| {
        let Position(index) = *points.next()?.ext.get::<Position>()?;
        usable(index).then_some(index)
    })
}

/// One round of turns, spread evenly: each endpoint's turns lie in the middle of equal parts of the round.
fn round(weights: &[u32]) -> Box<[u32]> {
    let weights = scaled(weights, ROUND);
    let mut turns: Vec<(u64, u64, u32)> = Vec::new();
    for (index, weight) in (0u32..).zip(&weights) {
        turns.extend((0..*weight).map(|turn| (2 * turn + 1, *weight, index)));
    }
    turns.sort_by(|(turn, weight, index), (other_turn, other_weight, other)| {
        (turn * other_weight).cmp(&(other_turn * weight)).then(index.cmp(other))
    });
    turns.into_iter().map(|(_, _, index)| index).collect()
}

/// Where an endpoint stands in its pool, carried by its backend on the ring.
#[derive(Clone, Copy)]
struct Position(usize);

fn ring(weights: &[u32], candidates: &[Candidate<'_>]) -> Consistent {
    let weights = scaled(weights, RING_WEIGHT);
    let backends: BTreeSet<Backend> = candidates
        .iter()
        .zip(weights)
        .enumerate()
        .map(|(index, (candidate, weight))| {
            let mut ext = Extensions::new();
            ext.insert(Position(index));
            let addr = PingoraAddr::Inet(stand_in(candidate.name));
            Backend { addr, weight: usize::try_from(weight).unwrap_or(1), ext }
        })
        .collect();
    Consistent::build(&backends)
}

/// An address in place of a name, for a ring that knows only addresses. The same name gives the same address in every
/// process (FNV-1a, 128 bits), so all edges agree on who serves a key, and DNS has no say in it.
fn stand_in(name: &str) -> SocketAddr {
    const OFFSET: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    let hash = name.bytes().fold(OFFSET, |hash, byte| (hash ^ u128::from(byte)).wrapping_mul(PRIME));
    SocketAddr::new(IpAddr::V6(Ipv6Addr::from(hash)), 1)
}

/// Weights without their common divisor, and so small that their sum is about `most`; none is zero.
fn scaled(weights: &[u32], most: u64) -> Vec<u64> {
    let divisor = u64::from(weights.iter().copied().fold(0, common_divisor)).max(1);
    let sum = weights.iter().map(|weight| u64::from(*weight) / divisor).sum::<u64>();
    let scale = |weight: u64| if sum <= most { weight } else { (weight * most).div_ceil(sum) };
    weights.iter().map(|weight| scale(u64::from(*weight) / divisor)).collect()
}

fn common_divisor(one: u32, other: u32) -> u32 {
    if other == 0 { one } else { common_divisor(other, one % other) }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::BTreeMap;

    use super::*;

    fn selector(balance: Balance, weights: &[u32]) -> Selector {
        let names: Vec<String> = (0..weights.len()).map(|index| format!("10.0.0.{index}:8000")).collect();
        let candidates: Vec<Candidate<'_>> =
            weights.iter().zip(&names).map(|(weight, name)| Candidate { weight: *weight, name }).collect();
        Selector::new(balance, &candidates)
    }

    fn by(key: u64) -> Ask {
        Ask { key, again: false }
    }

    /// How often each was chosen in `picks` picks with keys 0, 1, …, when those in `out` are not usable.
    fn shares(balance: Balance, weights: &[u32], out: &[usize], picks: u64) -> Vec<u64> {
        let selector = selector(balance, weights);
        let mut shares = vec![0; weights.len()];
        for key in 0..picks {
            shares[selector.choose(by(key), |_| 0, |index| !out.contains(&index)).unwrap()] += 1;
        }
        shares
    }

    #[test]
    fn turns_follow_weights_exactly_and_evenly() {
        assert_eq!(shares(Balance::RoundRobin, &[3, 1], &[], 40), [30, 10]);
        assert_eq!(shares(Balance::RoundRobin, &[5, 2, 1], &[], 80), [50, 20, 10]);
        assert_eq!(shares(Balance::RoundRobin, &[7], &[], 5), [5]);
        assert_eq!(round(&[3, 1]).as_ref(), [0, 0, 1, 0]);
        assert_eq!(round(&[20, 20, 20]).as_ref(), [0, 1, 2]);
    }

    #[test]
    fn the_turns_of_one_that_is_out_go_to_the_others_by_weight() {
        assert_eq!(shares(Balance::RoundRobin, &[4, 2, 1], &[0], 30), [0, 20, 10]);
    }

    #[test]
    fn second_attempts_and_vain_ones_take_no_turns() {
        let selector = selector(Balance::RoundRobin, &[1, 1]);
        for turn in 0..10 {
            let first = selector.choose(by(0), |_| 0, |_| true).unwrap();
            assert_eq!(first, turn % 2);
            let again = Ask { again: true, ..by(0) };
            assert_eq!(selector.choose(again, |_| 0, |index| index != first), Some(1 - first));
            assert_eq!(selector.choose(by(0), |_| 0, |_| false), None);
        }
    }

    #[test]
    fn random_and_hash_follow_weights_roughly() {
        for balance in [Balance::Random, Balance::ConsistentHash] {
            let shares = shares(balance, &[3, 1], &[], 40_000);
            assert!((26_000..34_000).contains(&shares[0]), "{balance:?}: {shares:?}");
        }
    }

    #[test]
    fn every_rule_finds_the_only_one_left_and_none_when_none_is() {
        let rules = [Balance::RoundRobin, Balance::Random, Balance::LeastBusy, Balance::ConsistentHash];
        for balance in rules {
            for count in [2, 3, 40] {
                // The only usable one is as light as can be beside heavy ones.
                let weights: Vec<u32> = (0..count).map(|index| if index == 1 { 1 } else { 1000 }).collect();
                let selector = selector(balance, &weights);
                assert_eq!(selector.choose(by(7), |_| 0, |index| index == 1), Some(1), "{balance:?} of {count}");
                assert_eq!(selector.choose(by(7), |_| 0, |_| false), None, "{balance:?} of {count}");
            }
            assert_eq!(selector(balance, &[]).choose(by(7), |_| 0, |_| true), None, "{balance:?} of none");
            assert_eq!(selector(balance, &[4]).choose(by(7), |_| 0, |_| true), Some(0), "{balance:?} of one");
        }
    }

    #[test]
    fn least_busy_levels_load_by_weight() {
        for (weights, picks, expected) in [(vec![1, 1, 1], 30, vec![10, 10, 10]), (vec![3, 1], 40, vec![30, 10])] {
            let selector = selector(Balance::LeastBusy, &weights);
            let load = RefCell::new(vec![0u32; weights.len()]);
            for _ in 0..picks {
                let index = selector.choose(by(0), |index| load.borrow()[index], |_| true).unwrap();
                load.borrow_mut()[index] += 1;
            }
            assert_eq!(*load.borrow(), expected);
        }
    }

    #[test]
    fn least_busy_spreads_a_quiet_hour_by_weight() {
        for (weights, out, expected) in [
            (&[1, 1, 1][..], &[][..], &[20, 20, 20][..]),
            (&[1, 3, 1], &[], &[12, 36, 12]),
            (&[1, 2, 3], &[1], &[15, 0, 45]),
        ] {
            assert_eq!(shares(Balance::LeastBusy, weights, out, 60), expected, "{weights:?}");
        }
        let many = shares(Balance::LeastBusy, &[&[1; 19][..], &[19]].concat(), &[], 4000);
        assert!((1_700..2_300).contains(&many[19]), "{many:?}");
    }

    #[test]
    fn least_busy_among_many_avoids_the_busy() {
        let selector = selector(Balance::LeastBusy, &[1; 40]);
        let load = |index: usize| if index < 20 { 100 } else { 0 };
        let busy = (0..1000).filter(|_| selector.choose(by(0), load, |_| true).unwrap() < 20).count();
        assert!(busy < 400, "two choices should meet only busy ones in a quarter of the cases: {busy}");
    }

    #[test]
    fn a_key_keeps_its_endpoint_when_another_goes() {
        let all = selector(Balance::ConsistentHash, &[1, 1, 1, 1]);
        let mut moved = BTreeMap::<usize, u32>::new();
        for key in 0..1000 {
            let before = all.choose(by(key), |_| 0, |_| true).unwrap();
            assert_eq!(all.choose(by(key), |_| 9, |_| true), Some(before), "a load that all have has no say");
            let after = all.choose(by(key), |_| 0, |index| index != 2).unwrap();
            if before == 2 {
                *moved.entry(after).or_default() += 1;
            } else {
                assert_eq!(after, before);
            }
        }
        assert!(moved.len() > 1, "its keys are spread over the others: {moved:?}");
    }

    #[test]
    fn a_key_leaves_an_endpoint_that_has_more_than_a_quarter_over_its_share() {
        let selector = selector(Balance::ConsistentHash, &[1, 1, 2]);
        let home = |loads: [u32; 3]| selector.choose(by(5), |index| loads[index], |_| true).unwrap();
        let first = home([0, 0, 0]);
        let load = |own: u32, others: u32| [0, 1, 2].map(|index| if index == first { own } else { others });
        assert_eq!(home(load(3, 0)), first, "a few are no load");
        assert_ne!(home(load(4, 0)), first);
        // Of 41 with the new one its share is 10.25, or 20.5 for the heavy one, and a quarter more 13 or 26.
        let most = if first == 2 { 26 } else { 13 };
        let rest = |own: u32| [0, 1, 2].map(|index| if index == first { own } else { (40 - own) / 2 });
        assert_eq!(home(rest(most - 2)), first);
        assert_ne!(home(rest(most + 2)), first);
        assert_eq!(selector.choose(by(5), |_| u32::MAX, |index| index == first), Some(first), "better full than none");
    }

    #[test]
    fn the_ring_is_the_same_in_every_process() {
        // FNV-1a of 128 bits, from its authors' test vectors: "" and "a".
        assert_eq!(stand_in("").ip().to_string(), "6c62:272e:7bb:142:62b8:2175:6295:c58d");
        assert_eq!(stand_in("a").ip().to_string(), "d228:cb69:6f1a:8caf:7891:2b70:4e4a:8964");
    }

    #[test]
    fn weights_are_bounded_and_never_vanish() {
        assert_eq!(scaled(&[6, 3], 1024), [2, 1]);
        let scaled = scaled(&[u32::MAX, 1, 1], 1024);
        assert_eq!(scaled[1..], [1, 1]);
        assert!(scaled[0] > 1000 && scaled.iter().sum::<u64>() <= 1024 + 3, "{scaled:?}");
    }
}
