//! The tests, how long each takes, and which mutants it reaches: those whose place it runs with a value that the mutant would
//! change.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde::Deserialize;

use crate::bounded::{Ended, Setting, Tests};
use crate::tree::Tree;
use crate::workers::spread;

/// One test of the codec, as it goes without a mutant.
#[derive(Debug)]
pub(crate) struct Test {
    pub(crate) binary: PathBuf,
    /// Full name.
    pub(crate) name: String,
    pub(crate) duration: Duration,
    /// Ids of the mutants.
    pub(crate) reached: BTreeSet<usize>,
}

/// Builds the codec's tests with the mutants in them, and gives the binaries.
///
/// # Errors
///
/// The build fails.
pub(crate) fn build(tree: &Tree, optimised: bool) -> Result<Vec<PathBuf>, String> {
    let level = format!("profile.dev.package.{}.opt-level={}", crate::PACKAGE, if optimised { 2 } else { 0 });
    let arguments = [
        "test",
        "--locked",
        "--package",
        crate::PACKAGE,
        "--lib",
        "--tests",
        "--no-run",
        "--quiet",
        "--config",
        &level,
    ];
    let mut command = tree.cargo(&arguments);
    let output = command.arg("--message-format=json-render-diagnostics").stderr(Stdio::inherit()).output();
    let output = output.map_err(|error| format!("cargo cannot be run: {error}"))?;
    if !output.status.success() {
        return Err("the codec's tests do not build with the mutants in it: see above".to_owned());
    }
    let said = String::from_utf8_lossy(&output.stdout);
    let built = said.lines().filter_map(|line| serde_json::from_str::<Artifact>(line).ok());
    Ok(built.filter_map(|artifact| artifact.executable).collect())
}

/// What cargo says of something that it built.
#[derive(Deserialize)]
struct Artifact {
    executable: Option<PathBuf>,
}

/// Runs each test of `binaries` alone; those that are not through by `slowest` are left out, and named apart.
///
/// # Errors
///
/// A test fails, though no mutant is on.
pub(crate) fn record(
    setting: &Setting,
    binaries: &[PathBuf],
    folder: &Path,
    slowest: Duration,
) -> Result<(Vec<Test>, Vec<String>), String> {
    // What an earlier run recorded is of other mutants.
    let _ = fs::remove_dir_all(folder);
    fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut named = Vec::new();
    for binary in binaries {
        for name in names(binary)? {
            named.push((named.len(), binary, name));
        }
    }
    let one = |(at, binary, name): &(usize, &PathBuf, String)| {
        let path = folder.join(at.to_string());
        let record = path.to_string_lossy();
        let variable = ("PLANTED_RECORD", &*record);
        let tests = Tests { binary, names: vec![name] };
        let started = Instant::now();
        let ended = setting.run(&tests, variable, slowest)?;
        let duration = started.elapsed();
        if ended == Ended::Failed {
            setting.show(&tests, variable);
            return Err(format!(
                "{name} fails without any mutant: mend it first (./x test), as it would notice them all"
            ));
        }
        // Without the file it met no mutant's place.
        let record = fs::read_to_string(&path).unwrap_or_default();
        let reached = record.lines().filter_map(|line| line.parse().ok()).collect();
        Ok((ended, Test { binary: (*binary).clone(), name: name.clone(), duration, reached }))
    };
    let results = spread(&named, one, |_, _| {})?;
    let (slow, tests): (Vec<_>, Vec<_>) = results.into_iter().partition(|(ended, _)| *ended == Ended::OutOfTime);
    Ok((tests.into_iter().map(|(_, test)| test).collect(), slow.into_iter().map(|(_, test)| test.name).collect()))
}

/// The tests of a binary.
fn names(binary: &Path) -> Result<Vec<String>, String> {
    let output = Command::new(binary).args(["--list", "--format", "terse"]).output();
    let output = output.map_err(|error| format!("{}: {error}", binary.display()))?;
    let said = String::from_utf8_lossy(&output.stdout);
    Ok(said.lines().filter_map(|line| line.strip_suffix(": test")).map(str::to_owned).collect())
}
