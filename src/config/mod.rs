//! The configuration: what is written, checked as a whole, becomes [`Settings`], which never change.
//!
//! ```text
//! file ─▶ tree (values with places) ─▶ overrides ─▶ placeholders ─▶ lower ─▶ Settings
//!            └───────────── every fault ─▶ problem ─▶ Report ◀──────┘
//! ```
//!
//! Start reading at [`load`], then `schema`, the table of all that may be written. A fault never ends the reading: one
//! [`Report`] tells all of them, each with its place, and no report, log or `Debug` ever shows a secret.

mod clients;
mod decide;
mod describe;
mod fields;
mod file;
mod lower;
mod mask;
mod network;
mod overrides;
mod placeholder;
mod problem;
mod redact;
mod schema;
mod settings;
mod snapshot;
mod tie;
mod tree;
mod units;
pub mod watch;

use std::collections::BTreeMap;
use std::path::Path;

pub use clients::{AuthFailure, Caller, Clients};
pub use decide::{Candidate, Explanation, HedgeNow, Lead, Question, needs};
pub use describe::describe;
pub use network::Network;
pub use problem::{Place, Problem, Report};
pub use redact::{redacted, redacted_in_use};
pub use settings::{
    Access, AccessLog, Admin, ClientLimits, ClientTimeouts, FactRule, FactRules, Listener, MemoryLimit, Metrics,
    Server, Settings, Tls,
};
pub use snapshot::{Header, Headers, Live, Snapshot};
pub use tie::Tie;
pub use units::duration_text;

use problem::Problems;

/// Bytes of a configuration file.
const MAX_FILE: u64 = 1 << 20;

/// Variables of the environment, for placeholders and overrides.
pub type Environment = BTreeMap<String, String>;

/// The environment of this process. Variables that are not UTF-8 are left out.
#[must_use]
pub fn environment() -> Environment {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

/// Reads and checks the configuration at `path`.
///
/// # Errors
/// Everything that is wrong with it, in one report.
pub fn load(path: &Path, env: &Environment) -> Result<Settings, Report> {
    let name = path.display().to_string();
    let folder = path.parent().unwrap_or(Path::new(""));
    let read = read(path).map_err(|(message, hint)| Report::of_file(&name, message, hint));
    let mut loaded = read.and_then(|source| parse(&source, &name, folder, env));
    match &mut loaded {
        Ok(settings) => settings.files.insert(0, path.to_owned()),
        Err(report) => report.files.insert(0, path.to_owned()),
    }
    loaded
}

/// As [`load`], of a text. `name` stands for the file in the report; relative paths begin at `folder`.
///
/// # Errors
/// Everything that is wrong with it, in one report.
pub fn parse(source: &str, name: &str, folder: &Path, env: &Environment) -> Result<Settings, Report> {
    let source = source.strip_prefix('\u{feff}').unwrap_or(source);
    let problems = Problems::default();
    let Some(tree::Tree { mut root, dropped }) = tree::parse(source, &problems) else {
        let report = problems.into_report(name, &mask::hide_lines(source));
        return Err(report.unwrap_or_else(|| Report::of_file(name, "this is not YAML", "")));
    };
    let hidden = mask::hide(&mut root, &dropped, source);
    overrides::apply(&mut root, env, &problems);
    let mut sources = placeholder::Sources { env, folder, files: Vec::new() };
    placeholder::fill(&mut root, source, &mut sources, &problems);
    let mut files = lower::FileList { folder, read: sources.files };
    let settings = lower::settings(&root, &mut files, &problems);
    problems.clear(|text| hidden.cleared(text));
    match problems.into_report(name, &hidden.source) {
        Some(report) => Err(report.naming(files.read)),
        None => Ok(Settings { files: files.read, ..settings }),
    }
}

fn read(path: &Path) -> Result<String, (String, String)> {
    let fault = |error: std::io::Error| {
        let hint = match error.kind() {
            std::io::ErrorKind::NotFound => "name the config's file; `conf/tidegate.yaml` shows every key",
            std::io::ErrorKind::PermissionDenied => "it must be readable by the user that Tidegate runs as",
            _ => "",
        };
        (format!("cannot read the configuration: {error}"), hint.to_owned())
    };
    let bytes = file::read(path, MAX_FILE).map_err(fault)?;
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.as_bytes().get(..error.utf8_error().valid_up_to()).unwrap_or_default();
        let line = valid.split(|byte| *byte == b'\n').count();
        (format!("line {line} is not UTF-8"), "save the file as UTF-8".to_owned())
    })
}

#[cfg(test)]
mod tests;
