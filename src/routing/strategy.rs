//! In which order the targets of a model are tried. Pure: what is known of them comes in, an order comes out.
//!
//! A strategy decides who is asked first; the others follow as the fallbacks, the best of them next. Targets that take
//! no requests just now are passed over later, when the order is followed.

use std::time::Duration;

use super::Target;

/// How far over its fair share of the requests in flight a target of [`Strategy::Sticky`] may go, in percent.
const STICKY_BOUND: f64 = 125.0;

/// Requests in flight below which a sticky target is never full: a share of a few is no load, and a conversation that
/// moves because its last request is still being put away has lost its cache for nothing.
const STICKY_FLOOR: f64 = 4.0;
/// Of this many requests one of [`Strategy::Fastest`] goes to a target that is not the fastest, to see whether it is now.
const EXPLORE: u64 = 20;

/// In which order targets are tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Strategy {
    /// As they are written.
    #[default]
    Priority,
    /// At random, by weight.
    Weighted,
    /// In turn, by weight.
    RoundRobin,
    /// Of two at random the one with fewer requests in flight for its weight.
    LeastBusy,
    /// By the time to the first token.
    Fastest,
    /// By price.
    Cheapest,
    /// By the request's affinity, by weight, with bounded load.
    Sticky,
}

impl Strategy {
    /// Every strategy by its word in the config.
    pub const NAMED: [(&'static str, Self); 7] = [
        ("priority", Self::Priority),
        ("weighted", Self::Weighted),
        ("round_robin", Self::RoundRobin),
        ("least_busy", Self::LeastBusy),
        ("fastest", Self::Fastest),
        ("cheapest", Self::Cheapest),
        ("sticky", Self::Sticky),
    ];

    /// The word in the config.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::NAMED.into_iter().find(|(_, strategy)| *strategy == self).map_or("priority", |(name, _)| name)
    }
}

/// What a token costs, in US dollars for a million.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Price {
    /// Of the request.
    pub input: f64,
    /// Of the answer.
    pub output: f64,
}

impl Eq for Price {}

/// What is known of a target when a request is planned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sight {
    /// Requests that it is working on.
    pub in_flight: u32,
    /// Its usual time to the first token; `None` where it was not measured yet.
    pub first_token: Option<Duration>,
    /// The last that it said was that it does not serve such requests.
    pub refuses: bool,
}

/// What tells one request from another.
#[derive(Debug, Clone, Copy)]
pub struct Draw {
    /// Counts the requests of the model.
    pub turn: u64,
    /// Equal for requests that should meet the same target.
    pub key: u64,
    /// A random number.
    pub chance: u64,
    /// Bytes of the request: a measure of its tokens.
    pub bytes: usize,
}

/// The order in which `targets` are tried, as positions; `None` for the written one. `look` tells what is known of one.
#[must_use]
pub fn order(
    strategy: Strategy,
    targets: &[Target],
    draw: Draw,
    look: impl Fn(usize) -> Sight,
) -> Option<Box<[usize]>> {
    if targets.len() < 2 {
        return None;
    }
    let mut order: Box<[usize]> = (0..targets.len()).collect();
    let weight = |at: usize| targets.get(at).map_or(1.0, |target| f64::from(target.weight));
    match strategy {
        Strategy::Priority => return None,
        Strategy::Weighted => by(&mut order, |at| lot(draw.chance, at as u64) / weight(at)),
        Strategy::RoundRobin => {
            let first = in_turn(targets, draw.turn);
            // What one cannot take, all others share.
            by(&mut order, |at| if at == first { -1.0 } else { lot(draw.chance, at as u64) / weight(at) });
        }
        Strategy::LeastBusy => {
            by(&mut order, |at| f64::from(look(at).in_flight) / weight(at));
            two_choices(&mut order, draw.chance, |at| f64::from(look(at).in_flight) / weight(at));
        }
        Strategy::Fastest => {
            by(&mut order, |at| expected(look(at)));
            if draw.chance.is_multiple_of(EXPLORE) {
                let others = order.len() as u64 - 1;
                let other = 1 + usize::try_from(draw.chance / EXPLORE % others).unwrap_or(0);
                order.get_mut(..=other).unwrap_or_default().rotate_right(1);
            }
        }
        Strategy::Cheapest => by(&mut order, |at| cost(targets.get(at), draw.bytes)),
        Strategy::Sticky => {
            by(&mut order, |at| lot(draw.key, name_hash(targets.get(at))) / weight(at));
            let all: u32 = (0..targets.len()).map(|at| look(at).in_flight).sum();
            let shares: f64 = (0..targets.len()).map(weight).sum();
            let room = |at: usize| {
                let fair = f64::from(all + 1) * weight(at) / shares;
                f64::from(look(at).in_flight) < (fair * STICKY_BOUND / 100.0).ceil().max(STICKY_FLOOR)
            };
            // A stable sort: those that are full come last, in their order.
            order.sort_by_key(|at| !room(*at));
        }
    }
    Some(order)
}

/// Sorts by what `rank` says, the least first; equals stay in their order.
fn by(order: &mut [usize], rank: impl Fn(usize) -> f64) {
    order.sort_by(|one, other| rank(*one).total_cmp(&rank(*other)));
}

/// A lot for `who`: drawn lots divided by weights choose by weight, and taking a target out moves only its own share.
fn lot(draw: u64, who: u64) -> f64 {
    let bits = scramble(draw ^ scramble(who)) >> 11;
    #[allow(clippy::cast_precision_loss, reason = "53 bits fit")]
    let unit = (bits as f64 + 1.0) / (1_u64 << 53) as f64;
    -unit.ln()
}

/// Every bit of the result depends on every bit of `number` (the finisher of `SplitMix64`).
fn scramble(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

fn name_hash(target: Option<&Target>) -> u64 {
    let Some(target) = target else { return 0 };
    let bytes = target.provider.bytes().chain([b'/']).chain(target.model.bytes());
    bytes.fold(0, |hash, byte| scramble(hash ^ u64::from(byte)))
}

/// The target whose turn it is: each has as many turns in a round as its weight, spread over it.
fn in_turn(targets: &[Target], turn: u64) -> usize {
    let total: u64 = targets.iter().map(|target| u64::from(target.weight)).sum();
    let place = turn % total.max(1);
    // The k-th turn of a target lies in the middle of the k-th of equal parts of the round, so `(2k + 1) / weight` of a half
    // round tells how far on that is. The turn that is asked for is the one with just so many before it: of each target,
    // those that lie earlier, or as early and are of a target before it.
    let before = |k: u64, weight: u64, at: usize| -> u64 {
        let earlier = |(other, target): (usize, &Target)| {
            let others = u64::from(target.weight);
            // Those j with (2j + 1) / others < (2k + 1) / weight, or equal where the other comes first.
            let bound = (2 * k + 1) * others;
            let halves = if other < at { bound / weight + 1 } else { bound.div_ceil(weight) };
            (halves / 2).min(others)
        };
        targets.iter().enumerate().map(earlier).sum()
    };
    let found = targets.iter().enumerate().find(|(at, target)| {
        let weight = u64::from(target.weight);
        let (mut low, mut high) = (0, weight);
        while low < high {
            let middle = low.midpoint(high);
            if before(middle, weight, *at) < place { low = middle + 1 } else { high = middle }
        }
        low < weight && before(low, weight, *at) == place
    });
    found.map_or(0, |(at, _)| at)
}

/// Brings the less loaded of two at random to the front: a crowd that sees the same figures does not rush to one.
fn two_choices(order: &mut [usize], chance: u64, load: impl Fn(usize) -> f64) {
    let many = order.len() as u64;
    let one = usize::try_from(chance % many).unwrap_or(0);
    let step = 1 + chance / many % (many - 1);
    let other = usize::try_from((one as u64 + step) % many).unwrap_or(0);
    let at = |place: usize| order.get(place).copied().unwrap_or_default();
    let best = if load(at(other)) < load(at(one)) { other } else { one };
    order.get_mut(..=best).unwrap_or_default().rotate_right(1);
}

/// The time to expect, in seconds. What was never measured is tried at once, but by one request at a time; and nothing is
/// expected of what refuses.
fn expected(sight: Sight) -> f64 {
    match sight.first_token {
        _ if sight.refuses => f64::MAX,
        Some(time) => time.as_secs_f64(),
        None if sight.in_flight == 0 => 0.0,
        None => f64::MAX,
    }
}

/// What a request of that many bytes costs, roughly: four bytes are a token, and an answer has 500. Unknown prices come
/// last.
fn cost(target: Option<&Target>, bytes: usize) -> f64 {
    let Some(price) = target.and_then(|target| target.price) else { return f64::MAX };
    #[allow(clippy::cast_precision_loss, reason = "an estimate")]
    let tokens = bytes as f64 / 4.0;
    price.input * tokens + price.output * 500.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn targets(weights: &[u32]) -> Vec<Target> {
        let target = |(at, weight): (usize, &u32)| Target {
            provider: "p".into(),
            model: format!("m{at}"),
            weight: *weight,
            price: None,
            place: at,
        };
        weights.iter().enumerate().map(target).collect()
    }

    const DRAW: Draw = Draw { turn: 0, key: 0, chance: 0, bytes: 1000 };

    /// How often each target came first in 6,000 requests.
    fn firsts(strategy: Strategy, weights: &[u32], draw: impl Fn(u64) -> Draw, sights: &[Sight]) -> Vec<u32> {
        let targets = targets(weights);
        let mut counts = vec![0; targets.len()];
        for n in 0..6_000 {
            let look = |at: usize| sights.get(at).copied().unwrap_or_default();
            let order = order(strategy, &targets, draw(n), look).unwrap();
            let mut seen: Vec<usize> = order.to_vec();
            counts[seen[0]] += 1;
            seen.sort_unstable();
            assert_eq!(seen, (0..targets.len()).collect::<Vec<_>>(), "each once");
        }
        counts
    }

    fn near(counts: &[u32], expected: &[u32]) {
        for (count, expected) in counts.iter().zip(expected) {
            assert!(count.abs_diff(*expected) <= 200, "{counts:?}, expected {expected:?}");
        }
    }

    fn random(n: u64) -> Draw {
        Draw { turn: n, key: scramble(n + 77_777), chance: scramble(n), ..DRAW }
    }

    #[test]
    fn weights_share() {
        near(&firsts(Strategy::Weighted, &[3, 2, 1], random, &[]), &[3_000, 2_000, 1_000]);
        assert_eq!(firsts(Strategy::RoundRobin, &[3, 2, 1], random, &[]), [3_000, 2_000, 1_000]);
        near(&firsts(Strategy::Sticky, &[3, 2, 1], random, &[]), &[3_000, 2_000, 1_000]);
    }

    /// The round as it is defined: each turn in the middle of its part.
    fn round(weights: &[u32]) -> Vec<usize> {
        let mut turns: Vec<(u64, u64, usize)> = Vec::new();
        for (at, weight) in weights.iter().enumerate() {
            turns.extend((0..u64::from(*weight)).map(|k| (2 * k + 1, u64::from(*weight), at)));
        }
        turns.sort_by(|(turn, weight, at), (other_turn, other_weight, other)| {
            (turn * other_weight).cmp(&(other_turn * weight)).then(at.cmp(other))
        });
        turns.into_iter().map(|(_, _, at)| at).collect()
    }

    proptest::proptest! {
        #[test]
        fn each_turn_is_found_without_the_round(weights in proptest::collection::vec(1_u32..12, 1..6)) {
            let targets = targets(&weights);
            let found: Vec<usize> =
                (0..u64::from(weights.iter().sum::<u32>())).map(|turn| in_turn(&targets, turn)).collect();
            proptest::prop_assert_eq!(found, round(&weights));
        }
    }

    #[test]
    fn turns_are_spread() {
        let targets = targets(&[2, 1, 1]);
        let firsts: Vec<usize> = (0..4)
            .map(|turn| order(Strategy::RoundRobin, &targets, Draw { turn, ..DRAW }, |_| Sight::default()).unwrap()[0])
            .collect();
        assert!(firsts.windows(2).all(|pair| pair[0] != pair[1]), "{firsts:?}");
    }

    #[test]
    fn the_less_busy_of_two_is_chosen() {
        let busy = |in_flight| Sight { in_flight, ..Sight::default() };
        let counts = firsts(Strategy::LeastBusy, &[1, 1, 1], random, &[busy(9), busy(1), busy(5)]);
        // The busiest wins against nobody; the idlest against both.
        assert_eq!(counts[0], 0);
        near(&counts, &[0, 4_000, 2_000]);
        let counts = firsts(Strategy::LeastBusy, &[10, 1], random, &[busy(9), busy(1)]);
        assert_eq!(counts, [6_000, 0], "a weight of ten carries ten times as much");
    }

    #[test]
    fn the_fastest_is_chosen_and_the_others_are_not_forgotten() {
        let takes = |ms| Sight { first_token: Some(Duration::from_millis(ms)), in_flight: 3, refuses: false };
        let counts = firsts(Strategy::Fastest, &[1, 1, 1], random, &[takes(300), takes(100), takes(200)]);
        near(&counts, &[150, 5_700, 150]);
        assert!(counts[0] > 50 && counts[2] > 50, "{counts:?}");
        let refuses = Sight { refuses: true, ..takes(1) };
        let counts = firsts(Strategy::Fastest, &[1, 1], random, &[refuses, takes(200)]);
        near(&counts, &[300, 5_700]);
        let unknown = Sight::default();
        let counts = firsts(Strategy::Fastest, &[1, 1], random, &[takes(1), unknown]);
        assert!(counts[1] > 5_500, "what was never measured is tried: {counts:?}");
        let learning = Sight { in_flight: 1, ..unknown };
        let counts = firsts(Strategy::Fastest, &[1, 1], random, &[takes(900), learning]);
        assert!(counts[0] > 5_500, "but by one request at a time: {counts:?}");
    }

    #[test]
    fn the_cheapest_depends_on_the_request() {
        let mut targets = targets(&[1, 1, 1]);
        targets[1].price = Some(Price { input: 1.0, output: 20.0 });
        targets[2].price = Some(Price { input: 2.0, output: 4.0 });
        let order = |bytes| order(Strategy::Cheapest, &targets, Draw { bytes, ..DRAW }, |_| Sight::default()).unwrap();
        assert_eq!(*order(1_000), [2, 1, 0], "a short prompt: the answer's price counts");
        assert_eq!(*order(1_000_000), [1, 2, 0], "a long one: the prompt's");
    }

    #[test]
    fn what_is_sticky_stays_until_its_target_is_full() {
        let targets = targets(&[1, 1, 1]);
        let first = |key, busy: [u32; 3]| {
            let look = |at: usize| Sight { in_flight: busy[at], ..Sight::default() };
            order(Strategy::Sticky, &targets, Draw { key, ..DRAW }, look).unwrap()[0]
        };
        for key in 0..100 {
            let home = first(key, [0, 0, 0]);
            assert_eq!(home, first(key, [10, 10, 10]));
            let mut busy = [10, 10, 10];
            busy[home] = 100;
            assert_ne!(home, first(key, busy), "{key}");
            let mut few = [0, 0, 0];
            few[home] = 3;
            assert_eq!(home, first(key, few), "{key}: a few are no load");
        }
        // One target less moves its own keys alone.
        let fewer = &targets[..2];
        for key in 0..100 {
            let home = first(key, [0, 0, 0]);
            let now = order(Strategy::Sticky, fewer, Draw { key, ..DRAW }, |_| Sight::default()).unwrap()[0];
            assert!(home == 2 || home == now, "{key}");
        }
    }

    #[test]
    fn one_target_or_priority_needs_no_order() {
        assert_eq!(order(Strategy::Weighted, &targets(&[1]), DRAW, |_| Sight::default()), None);
        assert_eq!(order(Strategy::Priority, &targets(&[1, 1]), DRAW, |_| Sight::default()), None);
        for (name, strategy) in Strategy::NAMED {
            assert_eq!(strategy.name(), name);
        }
    }
}
