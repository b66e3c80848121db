//! Trying the mutants: each with the short tests that reach it, until one fails; then those that are left, several at once,
//! with the long tests.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use crate::bounded::{Ended, Setting, Tests};
use crate::reach::Test;
use crate::workers::spread;

/// Tests up to this long share a process: it takes as long to start.
const SHORT: Duration = Duration::from_millis(300);

/// How many short tests are tried at first, and how many then; the most particular of them likely notice.
const BATCHES: [usize; 2] = [6, 60];

/// Mutants that a long test runs with at once: of those that are left by then, it notices one in some twenty.
const TOGETHER: usize = 8;

/// What tests get beyond the time that they took without a mutant, and a multiple of that: a machine has other work.
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

/// Tries mutants by their ids; the verdicts are in their order. Progress goes to `say`.
///
/// # Errors
///
/// A process cannot be started.
pub(crate) fn all(
    mutants: &[usize],
    tests: &[Test],
    setting: &Setting,
    say: impl Fn(&str) + Sync,
) -> Result<Vec<Verdict>, String> {
    let tell = |count: usize, _: &Verdict| {
        let tenth = |count: usize| count * 10 / mutants.len();
        if tenth(count) > tenth(count - 1) {
            say(&format!("{count} tried with short tests"));
        }
    };
    let mut verdicts = spread(mutants, |mutant| alone(*mutant, tests, setting), tell)?;
    let mut long: Vec<_> = tests.iter().filter(|test| test.duration > SHORT).collect();
    long.sort_by_key(|test| test.duration);
    for test in long {
        let is_left = |at: usize, id| verdicts.get(at) == Some(&Verdict::Survived) && test.reached.contains(&id);
        let left: Vec<(usize, usize)> =
            mutants.iter().copied().enumerate().filter(|(at, id)| is_left(*at, *id)).collect();
        if left.is_empty() {
            continue;
        }
        say(&format!("{} survive and are tried with {}", left.len(), test.name));
        for (at, verdict) in spread(&groups(&left), |group| together(group, test, setting), |_, _| {})?.concat() {
            if let Some(old) = verdicts.get_mut(at) {
                *old = verdict;
            }
        }
    }
    Ok(verdicts)
}

/// What the short tests make of a mutant.
fn alone(mutant: usize, tests: &[Test], setting: &Setting) -> Result<Verdict, String> {
    if !tests.iter().any(|test| test.reached.contains(&mutant)) {
        return Ok(Verdict::Unreached);
    }
    for batch in batches(mutant, tests) {
        let mut binaries: BTreeMap<&Path, Vec<&Test>> = BTreeMap::new();
        for test in batch {
            binaries.entry(&test.binary).or_default().push(test);
        }
        for tests in binaries.into_values() {
            if let Some(verdict) = notice(&[mutant], &tests, setting)? {
                return Ok(verdict);
            }
        }
    }
    Ok(Verdict::Survived)
}

/// The short tests that reach a mutant, in the order in which they are run: those come first that reach few others.
fn batches(mutant: usize, tests: &[Test]) -> Vec<Vec<&Test>> {
    let reaching = |test: &&Test| test.duration <= SHORT && test.reached.contains(&mutant);
    let mut short: Vec<_> = tests.iter().filter(reaching).collect();
    short.sort_by_key(|test| (test.reached.len(), test.duration));
    let mut batches = Vec::new();
    for size in BATCHES {
        let rest = short.split_off(size.min(short.len()));
        batches.push(std::mem::replace(&mut short, rest));
    }
    batches.push(short);
    batches
}

/// Mutants for one run each; neighbours are apart, as they hide each other the likeliest.
fn groups<T: Copy>(mutants: &[T]) -> Vec<Vec<T>> {
    let count = mutants.len().div_ceil(TOGETHER);
    (0..count).map(|group| mutants.iter().skip(group).step_by(count).copied().collect()).collect()
}

/// Runs a long test with all of a group; where it notices them, with each half. Gives those that it notices alone, each with
/// its place.
fn together(group: &[(usize, usize)], test: &Test, setting: &Setting) -> Result<Vec<(usize, Verdict)>, String> {
    let ids: Vec<usize> = group.iter().map(|(_, id)| *id).collect();
    match (notice(&ids, &[test], setting)?, group) {
        (None, _) => Ok(Vec::new()),
        (Some(verdict), [(at, _)]) => Ok(vec![(*at, verdict)]),
        (Some(_), _) => {
            let (one, other) = group.split_at(group.len() / 2);
            Ok([together(one, test, setting)?, together(other, test, setting)?].concat())
        }
    }
}

/// What tests of one binary say of mutants that are all on; `None` if nothing.
fn notice(mutants: &[usize], tests: &[&Test], setting: &Setting) -> Result<Option<Verdict>, String> {
    let Some(binary) = tests.first().map(|test| test.binary.as_path()) else { return Ok(None) };
    let names = tests.iter().map(|test| test.name.as_str()).collect();
    let limit = PATIENCE.0 + PATIENCE.1 * tests.iter().map(|test| test.duration).sum::<Duration>();
    let ids = mutants.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    Ok(match setting.run(&Tests { binary, names }, ("PLANTED_MUTANTS", &ids), limit)? {
        Ended::Passed => None,
        Ended::Failed => Some(Verdict::Caught),
        Ended::OutOfTime => Some(Verdict::OutOfTime),
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::bounded::tests::script;

    fn test(name: &str, millis: u64, reached: &[usize]) -> Test {
        let duration = Duration::from_millis(millis);
        Test { binary: "binary".into(), name: name.to_owned(), duration, reached: reached.iter().copied().collect() }
    }

    #[test]
    fn particular_tests_come_first() {
        let mut tests = vec![
            test("long", 8000, &[1]),
            test("broad", 1, &[1, 2]),
            test("particular", 2, &[1]),
            test("other", 1, &[2]),
        ];
        let names = |batch: &Vec<&Test>| batch.iter().map(|test| test.name.clone()).collect::<Vec<_>>().join(" ");
        assert_eq!(batches(1, &tests).iter().map(names).collect::<Vec<_>>(), ["particular broad", "", ""]);
        tests.extend((0..70).map(|number| test(&number.to_string(), 1, &[1, 2, 3])));
        assert_eq!(batches(1, &tests).iter().map(Vec::len).collect::<Vec<_>>(), [6, 60, 6]);
    }

    #[test]
    fn neighbours_are_in_different_groups() {
        assert_eq!(groups(&(0..9).collect::<Vec<_>>()), [vec![0, 2, 4, 6, 8], vec![1, 3, 5, 7]]);
        assert!(groups::<usize>(&[]).is_empty());
    }

    #[test]
    fn long_tests_find_each_that_they_notice_among_many() {
        // The short test notices 3, the long one 5 and 17.
        let cases = r#""short "*,3,*|"long "*,5,*|"long "*,17,*) exit 1"#;
        let binary = script("trial", &format!("case \"$5 ,$PLANTED_MUTANTS,\" in {cases};; esac"));
        let mutants: Vec<usize> = (0..20).collect();
        let mut tests = vec![test("short", 1, &mutants[..10]), test("long", 1000, &mutants[..19])];
        for test in &mut tests {
            test.binary.clone_from(&binary);
        }
        let setting = Setting { folder: "/".into(), corpus: "/corpus".into() };
        let verdicts = all(&mutants, &tests, &setting, |_| {}).unwrap();
        for (id, verdict) in verdicts.into_iter().enumerate() {
            let expected = match id {
                3 | 5 | 17 => Verdict::Caught,
                19 => Verdict::Unreached,
                _ => Verdict::Survived,
            };
            assert_eq!(verdict, expected, "{id}");
        }
        fs::remove_file(binary).unwrap();
    }
}
