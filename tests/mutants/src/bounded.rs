//! Running tests that may hang or eat all memory.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Memory that a test may reserve, in KiB.
const MEMORY: &str = "4194304";

/// Between two looks at a process: what is short is seen at once, and what is long costs little.
const LOOKS: [Duration; 2] = [Duration::from_micros(500), Duration::from_millis(20)];

/// How a run of tests ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    Passed,
    /// A test failed, or all of them were aborted.
    Failed,
    /// It was killed at its limit.
    OutOfTime,
}

/// What tests are run with.
#[derive(Debug)]
pub(crate) struct Setting {
    /// Working directory.
    pub(crate) folder: PathBuf,
    /// Recorded traffic, which some tests compare with.
    pub(crate) corpus: OsString,
}

/// Tests of one binary, by their full names; all where there are none.
#[derive(Debug)]
pub(crate) struct Tests<'t> {
    pub(crate) binary: &'t Path,
    pub(crate) names: Vec<&'t str>,
}

impl Setting {
    /// Runs tests one after the other until one fails, silently, with one more variable in the environment.
    ///
    /// # Errors
    ///
    /// The process cannot be started or waited for.
    pub(crate) fn run(&self, tests: &Tests, variable: (&str, &str), limit: Duration) -> Result<Ended, String> {
        let failed = |error| format!("{}: {error}", tests.binary.display());
        let started = Instant::now();
        let mut command = self.command(tests, variable);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().map_err(failed)?;
        let [mut pause, longest] = LOOKS;
        loop {
            if let Some(status) = child.try_wait().map_err(failed)? {
                return Ok(if status.success() { Ended::Passed } else { Ended::Failed });
            }
            if started.elapsed() > limit {
                child.kill().map_err(failed)?;
                child.wait().map_err(failed)?;
                return Ok(Ended::OutOfTime);
            }
            sleep(pause);
            pause = longest.min(pause * 5 / 4);
        }
    }

    /// Runs the same tests without a limit, and shows what they say.
    pub(crate) fn show(&self, tests: &Tests, variable: (&str, &str)) {
        // What they say is all that is wanted.
        let _ = self.command(tests, variable).status();
    }

    fn command(&self, tests: &Tests, (name, value): (&str, &str)) -> Command {
        // The shell becomes the test: killing it kills the test.
        let mut command = Command::new("sh");
        command.args(["-c", "ulimit -v \"$0\" && exec \"$@\"", MEMORY]).arg(tests.binary);
        command.args(["--exact", "--test-threads=1", "-Zunstable-options", "--fail-fast"]).args(&tests.names);
        command.current_dir(&self.folder).stdin(Stdio::null());
        command.env("TIDEGATE_CORPUS", &self.corpus).env("TIDEGATE_FUZZ_SECONDS", "1").env_remove("UPDATE_EXPECT");
        // Every mutant meets the same cases, and what failed with one is none of the next one's business.
        command.env("PROPTEST_RNG_SEED", "1").env("PROPTEST_DISABLE_FAILURE_PERSISTENCE", "true");
        // `--fail-fast` is for nightly compilers as yet; the variable says that we know.
        command.env("RUSTC_BOOTSTRAP", "1").env("RUST_BACKTRACE", "0").env(name, value);
        command
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::fs;

    use super::*;

    /// A script that stands for a binary of tests. A shell writes it: a file that this process has open to write can for a
    /// moment not be run.
    pub(crate) fn script(name: &str, text: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("tidegate-mutants-{}-{name}", std::process::id()));
        let text = format!("#!/bin/sh\n{text}\n");
        let mut shell = Command::new("sh");
        shell.args(["-c", "printf %s \"$1\" >\"$0\" && chmod +x \"$0\""]).arg(&path).arg(text);
        assert!(shell.status().unwrap().success());
        path
    }

    #[test]
    fn failures_and_hangs_are_told_apart_from_success() {
        let setting = Setting { folder: "/".into(), corpus: "/corpus".into() };
        for (text, expected) in [
            ("[ \"$PLANTED_MUTANTS $TIDEGATE_CORPUS $5 $6\" = '7 /corpus first second' ]", Ended::Passed),
            ("[ \"$(ulimit -v)\" = 4194304 ]", Ended::Passed),
            ("exit 101", Ended::Failed),
            ("kill -ABRT $$", Ended::Failed),
            ("exec sleep 60", Ended::OutOfTime),
        ] {
            let binary = script("bounded", text);
            let tests = Tests { binary: &binary, names: vec!["first", "second"] };
            let ended = setting.run(&tests, ("PLANTED_MUTANTS", "7"), Duration::from_secs(2));
            assert_eq!(ended, Ok(expected), "{text}");
            fs::remove_file(binary).unwrap();
        }
    }
}
