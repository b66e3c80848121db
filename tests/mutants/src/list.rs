//! The mutants that cargo-mutants knows of, and which of them are tried.

use std::path::Path;
use std::process::{Command, Stdio};

use serde::Deserialize;

/// A small change of the source, that a test should notice.
#[derive(Debug, Clone)]
pub(crate) struct Mutant {
    /// Its place in the list.
    pub(crate) id: usize,
    pub(crate) listed: Listed,
}

/// A mutant as cargo-mutants tells of it.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Listed {
    /// Path from the root of the repository.
    pub(crate) file: String,
    pub(crate) genre: Genre,
    /// `file:line:column: what it does`.
    pub(crate) name: String,
    /// What stands there instead; empty where something is deleted.
    pub(crate) replacement: String,
    pub(crate) span: Span,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(crate) enum Genre {
    BinaryOperator,
    FnValue,
    MatchArm,
    MatchArmGuard,
    StructField,
    UnaryOperator,
    /// Kinds of later versions: they are not planted.
    #[serde(other)]
    Other,
}

#[derive(Debug, Clone, Copy, Deserialize)]
pub(crate) struct Span {
    pub(crate) start: Position,
    /// The place behind its last character.
    pub(crate) end: Position,
}

/// Both count from 1, columns in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub(crate) struct Position {
    pub(crate) line: usize,
    pub(crate) column: usize,
}

/// Which mutants are tried.
#[derive(Debug, Default)]
pub(crate) struct Choice {
    /// Path of one file from the root of the repository; else all are.
    pub(crate) file: Option<String>,
    /// How many; else all.
    pub(crate) sample: Option<usize>,
    /// What the sample is drawn by.
    pub(crate) seed: u64,
}

/// All mutants of `package` in the workspace at `root`, in the order of cargo-mutants.
///
/// # Errors
///
/// cargo-mutants is missing, fails, or says what is not understood.
pub(crate) fn mutants(root: &Path, package: &str) -> Result<Vec<Mutant>, String> {
    let arguments = ["mutants", "--list", "--json", "--package", package];
    let mut command = Command::new("cargo");
    let output = command.args(arguments).current_dir(root).stderr(Stdio::inherit()).output();
    let output = output.map_err(|error| format!("cargo cannot be run: {error}"))?;
    if !output.status.success() {
        return Err("cargo-mutants cannot list the mutants: is it installed (cargo install cargo-mutants)?".to_owned());
    }
    let listed: Vec<Listed> =
        serde_json::from_slice(&output.stdout).map_err(|error| format!("the list of cargo-mutants: {error}"))?;
    Ok(listed.into_iter().enumerate().map(|(id, listed)| Mutant { id, listed }).collect())
}

/// Those of `all` that are tried.
///
/// # Errors
///
/// None are in the file that was named.
pub(crate) fn choose(mut all: Vec<Mutant>, choice: &Choice) -> Result<Vec<Mutant>, String> {
    if let Some(file) = &choice.file {
        all.retain(|mutant| mutant.listed.file == *file);
        if all.is_empty() {
            return Err(format!(
                "there are no mutants in {file}: name a file of the codec from the root, as src/codec/fit.rs"
            ));
        }
    }
    Ok(match choice.sample {
        Some(count) if count < all.len() => draw(all, count, choice.seed),
        _ => all,
    })
}

/// One mutant of each of `count` stretches of the list: its files count as their sizes.
fn draw(all: Vec<Mutant>, count: usize, seed: u64) -> Vec<Mutant> {
    let size = all.len();
    let mut random = Random(seed);
    let drawn: Vec<usize> = (0..count)
        .map(|stretch| {
            let (from, to) = (stretch * size / count, (stretch + 1) * size / count);
            from + random.below(to - from)
        })
        .collect();
    all.into_iter().enumerate().filter(|(at, _)| drawn.binary_search(at).is_ok()).map(|(_, mutant)| mutant).collect()
}

/// `SplitMix64`: numbers that are the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % limit.max(1) as u64).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(count: usize) -> Vec<Mutant> {
        let mutant = |id| {
            let start = Position { line: id + 1, column: 1 };
            let file = if id < count / 2 { "a.rs" } else { "b.rs" }.to_owned();
            let (name, replacement) = (format!("{file}:{id}"), String::new());
            let listed = Listed { file, genre: Genre::FnValue, name, replacement, span: Span { start, end: start } };
            Mutant { id, listed }
        };
        (0..count).map(mutant).collect()
    }

    fn chosen(choice: &Choice) -> Vec<usize> {
        choose(listed(100), choice).unwrap().iter().map(|mutant| mutant.id).collect()
    }

    #[test]
    fn a_sample_is_spread_over_the_list_and_is_the_same_for_a_seed() {
        let of = |seed| chosen(&Choice { sample: Some(10), seed, ..Choice::default() });
        let first = of(1);
        assert_eq!(first.iter().map(|id| id / 10).collect::<Vec<_>>(), (0..10).collect::<Vec<_>>());
        assert_eq!(first, of(1));
        assert_ne!(first, of(2));
    }

    #[test]
    fn a_sample_of_more_than_there_are_is_all() {
        assert_eq!(chosen(&Choice { sample: Some(200), ..Choice::default() }).len(), 100);
    }

    #[test]
    fn one_file_is_chosen_by_its_path() {
        let of = |file: &str| Choice { file: Some(file.to_owned()), ..Choice::default() };
        assert_eq!(chosen(&of("b.rs")), (50..100).collect::<Vec<_>>());
        assert!(choose(listed(2), &of("c.rs")).unwrap_err().contains("no mutants in c.rs"));
    }

    #[test]
    fn kinds_of_later_versions_are_read() {
        let text = r#"{"file":"a.rs","genre":"Novel","name":"n","replacement":"","package":"p",
            "span":{"start":{"line":1,"column":2},"end":{"line":1,"column":3}}}"#;
        assert_eq!(serde_json::from_str::<Listed>(text).unwrap().genre, Genre::Other);
    }
}
