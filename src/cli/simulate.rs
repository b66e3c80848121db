//! `tidegate simulate`: the model simulator by itself.

use std::io::Write;

use pingora_core::server::configuration::ServerConf;
use pingora_core::server::{RunArgs, Server};

use super::{Failure, exit, serving};
use crate::simulate::{Knobs, Simulator, service};

/// Run a simulated model provider: OpenAI Chat Completions and Anthropic Messages without a model or a bill.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Every option from --tokens on is a knob that can also be turned while it runs:
  curl localhost:8081/__sim/set -d '{\"status_mix\": \"429:0.5\", \"tokens\": 200}'
  curl localhost:8081/__sim/stats        what was asked and answered
  curl localhost:8081/__sim/last         the last request of each format, with its headers
  curl -X POST localhost:8081/__sim/reset

Examples:
  tidegate simulate                                                as fast as it can
  tidegate simulate --tokens-per-second 50 --first-token-ms 300    like a large model
  tidegate simulate --status-mix 429:0.05,503:0.01 --abort 0.01    a bad day
  tidegate simulate --strict --key sk-test                         refuse what the real provider refuses")]
pub(super) struct Args {
    /// Address to listen at, for HTTP/1.1 and HTTP/2 without TLS. It shows request headers to whoever asks: keep it
    /// on loopback or in a closed network.
    #[arg(long, default_value = "127.0.0.1:8081", value_name = "ADDRESS")]
    listen: String,
    /// Worker threads.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: u16,
    #[command(flatten)]
    knobs: Knobs,
}

/// Runs until a signal ends it.
pub(super) fn run(args: Args) -> Result<(), Failure> {
    args.knobs.validate().map_err(|message| Failure::new(exit::USAGE, message).hint("see tidegate simulate --help"))?;
    serving::check_free(&args.listen, "--listen")?;
    let mut server = Server::new_with_opt_and_conf(None, conf(usize::from(args.threads)));
    server.bootstrap();
    server.add_service(service(&args.listen, Simulator::new(args.knobs)));
    let listen = &args.listen;
    let told = format!("simulated provider at http://{listen}: POST /v1/chat/completions, POST /v1/messages\n");
    Failure::output(std::io::stdout().lock().write_all(told.as_bytes()))?;
    server.run(RunArgs::default());
    Ok(())
}

/// How the server runs: it stops at once, for no answer of a simulator is worth a wait.
fn conf(threads: usize) -> ServerConf {
    ServerConf {
        threads,
        grace_period_seconds: Some(0),
        graceful_shutdown_timeout_seconds: Some(0),
        ..ServerConf::default()
    }
}
