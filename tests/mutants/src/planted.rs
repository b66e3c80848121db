//! The switch behind which every planted mutant stands.
//!
//! `PLANTED_MUTANTS` holds the numbers of those that are on, with commas between them; none is where it is unset. Where
//! `PLANTED_RECORD` names a file, none is on, and the file gets the number of each mutant that is asked for, one a line.

#![allow(clippy::expect_used, reason = "what runs it wants to know at once that the record cannot be kept")]

use std::fs::File;
use std::io::Write as _;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

/// Mutants that there is room for.
const MOST: usize = 1 << 16;

const UNASKED: u8 = 0;
const OFF: u8 = 1;
const ON: u8 = 2;

/// What is known of each mutant in this process: all but the first question costs one load and one comparison.
static STATES: [AtomicU8; MOST] = [const { AtomicU8::new(UNASKED) }; MOST];

static RUN: OnceLock<Run> = OnceLock::new();

enum Run {
    With(Vec<usize>),
    Recording(File),
}

/// True if `mutant` is on. It is asked only where the mutant would make a difference.
#[inline(always)]
#[allow(clippy::inline_always, clippy::indexing_slicing, reason = "it stands in every loop, before a constant")]
pub fn on(mutant: usize) -> bool {
    match STATES[mutant].load(Relaxed) {
        OFF => false,
        state => state == ON || first(mutant),
    }
}

#[cold]
#[inline(never)]
fn first(mutant: usize) -> bool {
    let is_on = match RUN.get_or_init(of_environment) {
        Run::With(active) => active.contains(&mutant),
        Run::Recording(file) => {
            // One call to the system, so that lines of two threads do not mix.
            (&*file).write_all(format!("{mutant}\n").as_bytes()).expect("the record can be written");
            false
        }
    };
    STATES[mutant].store(if is_on { ON } else { OFF }, Relaxed);
    is_on
}

fn of_environment() -> Run {
    if let Some(path) = std::env::var_os("PLANTED_RECORD") {
        return Run::Recording(File::create(path).expect("the record can be made"));
    }
    let active = std::env::var("PLANTED_MUTANTS").unwrap_or_default();
    let numbers = active.split(',').filter(|number| !number.is_empty());
    Run::With(numbers.map(|number| number.parse().expect("a number")).collect())
}
