//! Breaks the codec in every way that cargo-mutants knows, and tells which breaks no test notices.
//!
//! cargo-mutants builds the tests anew for each mutant, which takes days for all of them. Here all stand in one build, each
//! behind a switch that is turned on by the environment of a run, so that one mutant costs the tests that reach it:
//!
//! ```text
//! list      the mutants, from cargo-mutants, or a sample of them
//! tree      a copy of the workspace in target/mutants
//! plant     puts the mutants of a file into it ─▶ splice; `planted` is the switch itself, a module of the copy
//! viable    leaves out what does not compile
//! reach     builds the tests, runs each once: which mutants it reaches, how long it takes
//! trial     runs, with each mutant, the tests that reach it
//! bounded   runs tests within limits of time and memory
//! workers   several at a time
//! ```
//!
//! What differs from cargo-mutants:
//!
//! - `&&` in a chain with `let` is not planted: there is no form of it with a switch.
//! - A `const fn` with mutants loses its `const`. Where that does not compile, as a constant calls it, its mutants count as
//!   unviable. So do the few whose switch does not compile in their place, though the mutant would.
//! - A guard, or the operand of a comparison, is still run where its result no longer counts.
//! - A test reaches a mutant only where it would change a value there. Tests that do not are not run.
//! - Long tests are run with several mutants at once, and with each alone only where they notice that. Two that hide each
//!   other from a test count as survivors.
//! - Tests over a limit are left out, and named; examples in comments are not run. A sample's tests are not optimised.

mod bounded;
mod list;
mod plant;
#[cfg(test)]
mod planted;
mod reach;
mod splice;
mod tree;
mod trial;
mod viable;
mod workers;

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::str::FromStr;
use std::time::{Duration, Instant};

use bounded::Setting;
use list::{Choice, Mutant};
use tree::Tree;
use trial::Verdict;
use viable::Planting;

/// The package whose mutants are tried.
const PACKAGE: &str = "tidegate-codec";

/// Where all is built and written, from the root.
const WORK: &str = "target/mutants";

const USAGE: &str = "usage: mutants [--sample N] [--seed S] [--file PATH] [--least PERCENT] [--slowest SECONDS]

  --sample N         tries N mutants, drawn evenly over all
  --seed S           draws others
  --file PATH        tries those of one file, as src/codec/fit.rs
  --least PERCENT    fails if fewer are caught (default 85)
  --slowest SECONDS  leaves out tests that take longer (default 300, of a sample 5)";

fn main() -> ExitCode {
    match options(env::args().skip(1)).and_then(|options| run(&options)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("mutants: {error}");
            ExitCode::from(2)
        }
    }
}

#[derive(Debug, Default)]
struct Options {
    choice: Choice,
    /// Percent that are to be caught.
    least: Option<f64>,
    slowest: Option<u64>,
}

fn options(mut arguments: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut options = Options::default();
    while let Some(name) = arguments.next() {
        let value = arguments.next().ok_or_else(|| format!("{name} wants a value\n{USAGE}"))?;
        match name.as_str() {
            "--sample" => options.choice.sample = Some(number(&name, &value)?),
            "--seed" => options.choice.seed = number(&name, &value)?,
            "--file" => options.choice.file = Some(value),
            "--least" => options.least = Some(number(&name, &value)?),
            "--slowest" => options.slowest = Some(number(&name, &value)?),
            _ => return Err(format!("there is no option {name}\n{USAGE}")),
        }
    }
    Ok(options)
}

fn number<N: FromStr>(name: &str, value: &str) -> Result<N, String> {
    value.parse().map_err(|_| format!("{name} wants a number, not `{value}`\n{USAGE}"))
}

/// True if enough mutants are caught.
fn run(options: &Options) -> Result<bool, String> {
    let started = Instant::now();
    let say = |text: &str| eprintln!("mutants: {text} ({} s)", started.elapsed().as_secs());
    let root = env::current_dir().map_err(|error| error.to_string())?;
    if !root.join("src/codec/Cargo.toml").exists() {
        return Err("this is not the root of the repository: use ./x mutants".to_owned());
    }
    let work = root.join(WORK);
    let mutants = list::choose(list::mutants(&root, PACKAGE)?, &options.choice)?;
    say(&format!("planting {}", mutants.len()));
    let tree = Tree::new(&root, &work)?;
    let planting = viable::plant(&tree, &mutants)?;
    say(&format!("building the tests with {} mutants in them", planting.viable.len()));
    let is_sample = options.choice.sample.is_some();
    // The build of a sample takes longer than its trials.
    let binaries = reach::build(&tree, !is_sample)?;
    say("running each test once, without a mutant");
    let setting = Setting { folder: tree.package(), corpus: corpus(&root) };
    let slowest = Duration::from_secs(options.slowest.unwrap_or(if is_sample { 5 } else { 300 }));
    let (tests, left_out) = reach::record(&setting, &binaries, &work.join("reach"), slowest)?;
    for name in &left_out {
        say(&format!("left out, as it takes longer than {} s: {name}", slowest.as_secs()));
    }
    let mutants: Vec<_> = mutants.into_iter().filter(|mutant| planting.viable.contains(&mutant.id)).collect();
    say(&format!("trying {} mutants with {} tests", mutants.len(), tests.len()));
    let ids: Vec<usize> = mutants.iter().map(|mutant| mutant.id).collect();
    let verdicts = trial::all(&ids, &tests, &setting, say)?;
    write_survivors(&work, &mutants, &verdicts)?;
    Ok(sum_up(&planting, &verdicts, options.least.unwrap_or(85.0)))
}

/// The recorded traffic, which lies beside the repository.
fn corpus(root: &Path) -> OsString {
    let folder = root.join(env::var_os("TIDEGATE_CORPUS").unwrap_or_else(|| "../shared/corpus".into()));
    if !folder.is_dir() {
        eprintln!("mutants: SKIPPED: no recorded traffic at {}: what only it would catch survives", folder.display());
    }
    folder.into_os_string()
}

/// Writes what survived, and what ran into its limit, by file and line.
fn write_survivors(work: &Path, mutants: &[Mutant], verdicts: &[Verdict]) -> Result<(), String> {
    let mut tried: Vec<_> = mutants.iter().map(|mutant| &mutant.listed).zip(verdicts).collect();
    tried.sort_by_key(|(listed, _)| (&listed.file, listed.span.start));
    let lines = |wanted: &[Verdict]| -> String {
        let found = tried.iter().filter(|(_, verdict)| wanted.contains(verdict));
        let mark = |verdict| if verdict == Verdict::Unreached { " (reached by no test)" } else { "" };
        found.flat_map(|(listed, verdict)| [&listed.name, mark(**verdict), "\n"]).collect()
    };
    for (name, wanted) in
        [("survivors.txt", &[Verdict::Survived, Verdict::Unreached][..]), ("timeouts.txt", &[Verdict::OutOfTime])]
    {
        let path = work.join(name);
        fs::write(&path, lines(wanted)).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(())
}

/// Says how many were caught; true if enough were.
fn sum_up(planting: &Planting, verdicts: &[Verdict], least: f64) -> bool {
    let count = |wanted: Verdict| verdicts.iter().filter(|verdict| **verdict == wanted).count();
    let (late, unreached) = (count(Verdict::OutOfTime), count(Verdict::Unreached));
    let caught = count(Verdict::Caught) + late;
    let survived = count(Verdict::Survived) + unreached;
    // There are some ten thousand of them.
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let percent = 100.0 * caught as f64 / verdicts.len().max(1) as f64;
    println!(
        "mutants: {} viable, {caught} caught ({percent:.1} %), {survived} survived ({unreached} of them reached by no test), \
         {late} ran into the time limit (counted as caught); {} unviable, {} not planted",
        verdicts.len(),
        planting.unviable,
        planting.unplanted
    );
    println!("mutants: what survived stands in {WORK}/survivors.txt");
    if percent < least {
        println!("mutants: FAILED: at least {least} % are to be caught");
    }
    percent >= least
}
