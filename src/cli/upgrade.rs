//! `tidegate upgrade`: another process takes the place of the running one.

use std::io::{BufRead, BufReader, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::{Failure, exit};
use crate::config;

/// Start this binary in the place of the running process: no request fails and no stream is cut.
///
/// The new process takes the listening sockets over and serves by its own reading of the config; the old one serves
/// what is under way to its end. If the new one does not come up, the old one goes on as before.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The running process must have an upgrade socket: `server.upgrade_socket`, or a RUNTIME_DIRECTORY as systemd makes one.
The log goes where it went.

Examples:
  tidegate upgrade --config /etc/tidegate/tidegate.yaml       after the binary was exchanged
  ExecReload=/usr/bin/tidegate upgrade --config /etc/tidegate/tidegate.yaml      in a unit of systemd")]
pub(super) struct Args {
    /// The config file of the new process.
    #[arg(long, short, value_name = "FILE")]
    config: PathBuf,
    /// As of `tidegate run`.
    #[arg(long, value_name = "LEVELS")]
    log: Option<String>,
    /// As of `tidegate run`.
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<String>,
    /// How long the new process may take to serve, in seconds.
    #[arg(long, default_value_t = 60, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=3600))]
    wait: u64,
    /// Starts the new process and leaves, so that it is a child of nobody who waits for it.
    #[arg(long, hide = true)]
    detach: bool,
}

/// Upgrades, and fails unless the new process serves.
pub(super) fn run(args: &Args) -> Result<(), Failure> {
    if args.detach {
        return start(args, Stdio::inherit(), &["run", "--take-over"], false);
    }
    // Said here it is said at once, and nothing is started.
    config::load(&args.config, &config::environment()).map_err(|report| {
        Failure::new(exit::CONFIG, report.to_string()).hint("the running process goes on as before")
    })?;
    let (ours, theirs) = UnixStream::pair().map_err(|error| failed(&error))?;
    ours.set_read_timeout(Some(Duration::from_secs(args.wait))).map_err(|error| failed(&error))?;
    start(args, Stdio::from(OwnedFd::from(theirs)), &["upgrade", "--detach"], true)?;
    // The wait is for each of the two things that it says.
    for line in BufReader::new(ours).lines() {
        let line = line.map_err(|_| failed(&format!("the new process did not serve within {} s", args.wait)))?;
        if line.starts_with("serving") {
            return Failure::output(std::io::stdout().lock().write_all(format!("{line}\n").as_bytes()));
        }
    }
    Err(failed(&"the new process ended before it served; its log says why"))
}

/// Starts this binary with `words`, and the arguments that the new process wants.
fn start(args: &Args, input: Stdio, words: &[&str], wait: bool) -> Result<(), Failure> {
    let binary = std::env::current_exe().map_err(|error| failed(&error))?;
    let mut command = Command::new(binary);
    command.args(words).arg("--config").arg(&args.config).stdin(input);
    for (name, value) in [("--log", &args.log), ("--log-format", &args.log_format)] {
        if let Some(value) = value {
            command.args([name, value]);
        }
    }
    let mut child = command.spawn().map_err(|error| failed(&error))?;
    if wait {
        let status = child.wait().map_err(|error| failed(&error))?;
        if !status.success() {
            return Err(failed(&"it could not be started"));
        }
    }
    Ok(())
}

fn failed(why: &(impl std::fmt::Display + ?Sized)) -> Failure {
    Failure::new(exit::FAILED, format!("not upgraded: {why}")).hint("the running process goes on as before")
}
