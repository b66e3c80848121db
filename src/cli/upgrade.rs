//! `tidegate upgrade`: another process takes the place of the running one.

use std::io::{BufRead, BufReader, Write};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::{Failure, check, exit};

/// The longest wait for a new process that is given up to end.
const LAST_WORDS: Duration = Duration::from_secs(5);

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
    check::load(&args.config).map_err(|failure| failure.hint("the running process goes on as before"))?;
    let (ours, theirs) = UnixStream::pair().map_err(|error| failed(&error))?;
    ours.set_read_timeout(Some(Duration::from_secs(args.wait))).map_err(|error| failed(&error))?;
    start(args, Stdio::from(OwnedFd::from(theirs)), &["upgrade", "--detach"], true)?;
    let line = await_service(&ours, args.wait)?;
    Failure::output(std::io::stdout().lock().write_all(format!("{line}\n").as_bytes()))
}

/// Waits until the new process, at the other end of `ours`, says that it serves. The wait is for each of the two things
/// that it says: that it begins to take over, and that it serves.
fn await_service(ours: &UnixStream, wait: u64) -> Result<String, Failure> {
    let mut lines = BufReader::new(ours).lines();
    let (mut begun, mut given_up) = (false, false);
    loop {
        match lines.next() {
            Some(Ok(line)) if line.starts_with("serving") => return Ok(line),
            Some(Ok(_)) => {
                begun = true;
                let patience = ours.set_read_timeout(Some(Duration::from_secs(wait)));
                patience.map_err(|error| failed(&error))?;
            }
            // It takes over, or has done so: what it was in the middle of, its log says.
            Some(Err(_)) if begun => {
                let why = format!("the new process took over, and did not say within {wait} s that it serves");
                return Err(Failure::new(exit::FAILED, why).hint("its log says more"));
            }
            // It ends when it hears this, if it has not begun to take over in this very moment.
            Some(Err(_)) if !given_up => {
                given_up = true;
                let told = ours.shutdown(Shutdown::Write).and_then(|()| ours.set_read_timeout(Some(LAST_WORDS)));
                told.map_err(|error| failed(&error))?;
            }
            None if given_up => {
                return Err(failed(&format!("the new process did not serve within {wait} s and was ended")));
            }
            None => return Err(failed(&"the new process ended before it served; its log says why")),
            Some(Err(_)) => {
                let why = format!("the new process did not serve within {wait} s, and does not end when it is told to");
                return Err(failed(&why));
            }
        }
    }
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
