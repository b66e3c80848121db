//! `tidegate check`: is a config right?

use std::io::Write;
use std::path::{Path, PathBuf};

use super::{Failure, exit};
use crate::config::{self, Settings};
use crate::server;

/// Check a config file: exit code 0, or a report of every problem with its place.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The environment counts: `${NAME}` placeholders must have their variables, TIDEGATE__SECTION__KEY overrides apply.

Examples:
  tidegate check conf/tidegate.yaml
  tidegate check conf/tidegate.yaml --print      with every default filled in and every secret hidden")]
pub(super) struct Args {
    /// The config file.
    file: PathBuf,
    /// Print the whole config as it would run, secrets hidden, as JSON.
    #[arg(long)]
    print: bool,
}

/// Checks the file.
pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let settings = load(&args.file)?;
    server::check(&config::environment(), &settings)
        .map_err(|error| Failure::new(exit::CONFIG, format!("{}: {error}", args.file.display())))?;
    let text = if args.print {
        config::redacted(&settings)
    } else {
        let models = settings.models.list().count() + settings.models.patterns().count();
        format!("{}: right ({} providers, {models} models)", args.file.display(), settings.providers.len())
    };
    Failure::output(writeln!(std::io::stdout().lock(), "{text}"))
}

/// Reads and checks a config.
///
/// # Errors
/// The report of everything that is wrong with it.
pub(super) fn load(file: &Path) -> Result<Settings, Failure> {
    config::load(file, &config::environment()).map_err(|report| {
        let is_read = file.is_file() && std::fs::File::open(file).is_ok();
        let code = if is_read { exit::CONFIG } else { exit::NO_INPUT };
        Failure::new(code, report.to_string())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(yaml: &str, expect: Result<(), (u8, &str)>) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tidegate.yaml");
        std::fs::write(&file, yaml).unwrap();
        match (run(&Args { file, print: false }), expect) {
            (Ok(()), Ok(())) => {}
            (Err(failure), Err((code, part))) => {
                assert_eq!(failure.code, code, "{failure}");
                assert!(failure.message.contains(part), "{failure}");
            }
            (result, expect) => panic!("{yaml}: {result:?}, not {expect:?}"),
        }
    }

    #[test]
    fn what_would_keep_the_process_from_starting_is_found() {
        let right = "providers:\n  p: {kind: openai, key: k}\nmodels:\n  m: p/m\nauth: off\n";
        let taken = format!("{right}server: {{upgrade_socket: tidegate.yaml}}\n");
        check(&taken, Err((exit::CONFIG, "is there already, and is no socket")));
    }

    #[test]
    fn a_config_is_right_or_its_report_comes_with_the_code_for_it() {
        let right = "providers:\n  p: {kind: openai, key: k}\nmodels:\n  m: p/m\nauth: off\n";
        check("nonsense: 1\n", Err((exit::CONFIG, "tidegate.yaml:1:1")));
        for no_file in ["/nonexistent/tidegate.yaml", "/"] {
            let failure = run(&Args { file: no_file.into(), print: false }).unwrap_err();
            assert_eq!(failure.code, exit::NO_INPUT, "{failure}");
        }
        check(right, Ok(()));
    }
}
