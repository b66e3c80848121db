//! `tidegate run`: the edge.

use std::path::PathBuf;

use super::{Failure, check, exit};
use crate::config;
use crate::observe::log::{self, LogFormat, LogLevels};
use crate::server::{self, Source, StartError};

/// Run the edge by a config file, until SIGTERM.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The config is read again on SIGHUP, when one of its files changes, and on `POST /reload` at the admin listener; one
with problems changes nothing. SIGTERM lets running requests end, and a second signal, SIGINT, does not.

Examples:
  tidegate run --config /etc/tidegate/tidegate.yaml
  TIDEGATE__SERVER__BODY_LIMIT=64MiB tidegate run --config tidegate.yaml     override one key")]
pub(super) struct Args {
    /// The config file; `conf/tidegate.yaml` shows every key.
    #[arg(long, short, value_name = "FILE")]
    config: PathBuf,
    /// What the process says of itself on standard error: `error`, `warn`, `info`, `debug`, or by module, such as
    /// `info,pingora=error`.
    #[arg(long, value_name = "LEVELS", default_value = "info,pingora=warn")]
    log: LogLevels,
    /// How it says it: `json` or `text`.
    #[arg(long, value_name = "FORMAT", default_value = "json")]
    log_format: LogFormat,
    /// Takes the place of the running process, see `tidegate upgrade`.
    #[arg(long, hide = true)]
    take_over: bool,
}

/// Runs until a signal ends it.
pub(super) fn run(args: Args) -> Result<(), Failure> {
    let environment = config::environment();
    let settings = check::load(&args.config).map_err(|failure| failure.hint("nothing was started"))?;
    let taken = args.take_over.then(|| server::take_over(&environment, &settings)).transpose();
    let inherited = taken.map_err(|error| Failure::new(exit::FAILED, error.to_string()))?;
    log::init(args.log, args.log_format).map_err(|error| Failure::new(exit::FAILED, error.to_string()))?;
    let source = Source { file: Some(args.config), environment };
    server::run(source, settings, Vec::new(), inherited).map_err(|error| {
        // To start again would not mend it.
        let code = if matches!(error, StartError::Certificate { .. }) { exit::CONFIG } else { exit::FAILED };
        Failure::new(code, error.to_string())
    })
}
