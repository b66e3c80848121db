//! Trying each mutant: with it, the tests that reach it are run until one fails.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use crate::bounded::{Ended, Setting, Tests};
use crate::reach::Test;

/// Tests up to this long share a process: it takes as long to start.
const QUICK: Duration = Duration::from_millis(300);

/// How many quick tests are tried at first, and how many then; the most particular of them likely notice.
const BATCHES: [usize; 2] = [6, 60];

/// A mutant may take this much longer than the tests took without one, and a multiple of that: a machine has other work.
const PATIENCE: (Duration, u32) = (Duration::from_secs(10), 5);

/// What the tests made of a mutant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Caught,
    /// Its tests did not end, which is noticed too.
    OutOfTime,
    Survived,
    /// It would have changed nothing in any test.
    Unreached,
}

/// Tries one mutant.
///
/// # Errors
///
/// A process cannot be started.
pub(crate) fn of(mutant: usize, tests: &[Test], setting: &Setting) -> Result<Verdict, String> {
    let batches = batches(mutant, tests);
    if batches.is_empty() {
        return Ok(Verdict::Unreached);
    }
    let id = mutant.to_string();
    for batch in batches {
        let mut binaries: BTreeMap<&Path, (Vec<&str>, Duration)> = BTreeMap::new();
        for test in batch {
            let (names, duration) = binaries.entry(&test.binary).or_default();
            names.push(&test.name);
            *duration += test.duration;
        }
        for (binary, (names, duration)) in binaries {
            let limit = PATIENCE.0 + PATIENCE.1 * duration;
            match setting.run(&Tests { binary, names }, ("PLANTED_MUTANT", &id), limit)? {
                Ended::Passed => {}
                Ended::Failed => return Ok(Verdict::Caught),
                Ended::OutOfTime => return Ok(Verdict::OutOfTime),
            }
        }
    }
    Ok(Verdict::Survived)
}

/// The tests that reach a mutant, in the order in which they are run: the quick ones, of which those come first that reach
/// few others, then the others one by one.
fn batches(mutant: usize, tests: &[Test]) -> Vec<Vec<&Test>> {
    let reaching = tests.iter().filter(|test| test.reached.contains(&mutant));
    let (mut quick, mut long): (Vec<_>, Vec<_>) = reaching.partition(|test| test.duration <= QUICK);
    quick.sort_by_key(|test| (test.reached.len(), test.duration));
    long.sort_by_key(|test| Reverse(test.duration));
    let mut batches = Vec::new();
    for size in BATCHES {
        let rest = quick.split_off(size.min(quick.len()));
        batches.push(std::mem::replace(&mut quick, rest));
    }
    batches.push(quick);
    batches.extend(std::iter::from_fn(|| long.pop().map(|test| vec![test])));
    batches.retain(|batch| !batch.is_empty());
    batches
}

#[cfg(test)]
mod tests {
    use super::*;

    fn test(name: &str, millis: u64, reached: &[usize]) -> Test {
        let duration = Duration::from_millis(millis);
        Test { binary: "binary".into(), name: name.to_owned(), duration, reached: reached.iter().copied().collect() }
    }

    #[test]
    fn particular_tests_come_first_and_long_ones_last() {
        let mut tests = vec![
            test("longest", 9000, &[1]),
            test("long", 8000, &[1, 2]),
            test("broad", 1, &[1, 2, 3]),
            test("particular", 2, &[1]),
            test("elsewhere", 1, &[2]),
        ];
        let order = |tests: &[Test]| {
            let names = |batch: Vec<&Test>| batch.iter().map(|test| test.name.clone()).collect::<Vec<_>>().join(" ");
            batches(1, tests).into_iter().map(names).collect::<Vec<_>>()
        };
        assert_eq!(order(&tests), ["particular broad", "long", "longest"]);
        tests.extend((0..70).map(|number| test(&number.to_string(), 1, &[1, 2, 3, 4])));
        assert_eq!(batches(1, &tests).iter().map(Vec::len).collect::<Vec<_>>(), [6, 60, 6, 1, 1]);
        assert!(batches(5, &tests).is_empty());
    }
}
