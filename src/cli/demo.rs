//! `tidegate demo`: the edge and a simulated provider in one process, to try without an account.

use std::io::Write;
use std::path::Path;

use tidegate_codec::{Format, wire};

use super::{Failure, exit, serving};
use crate::config::{self, Environment, Settings};
use crate::server::{self, Source};
use crate::simulate::{Knobs, Simulator, service};

/// Run the edge with a simulated provider behind it: nothing to configure, no account, no bill.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Everything listens on loopback. The simulator's knobs, from --tokens on, are those of `tidegate simulate`.

Examples:
  tidegate demo
  tidegate demo --tokens-per-second 40 --first-token-ms 300     at the pace of a model
  tidegate demo --status-mix 503:0.3                            see the edge fall back
  tidegate demo --port 18080 --admin-port 19090 --simulator-port 18081")]
pub(super) struct Args {
    /// Port of the edge, where clients connect.
    #[arg(long, default_value_t = 8080)]
    port: u16,
    /// Port of metrics and health.
    #[arg(long, default_value_t = 9090, value_name = "PORT")]
    admin_port: u16,
    /// Port of the simulated provider.
    #[arg(long, default_value_t = 8081, value_name = "PORT")]
    simulator_port: u16,
    #[command(flatten)]
    knobs: Knobs,
}

/// Runs until a signal ends it.
pub(super) fn run(args: &Args) -> Result<(), Failure> {
    args.knobs.validate().map_err(|message| Failure::new(exit::USAGE, message).hint("see tidegate demo --help"))?;
    let flags = [(args.port, "--port"), (args.admin_port, "--admin-port"), (args.simulator_port, "--simulator-port")];
    for (port, flag) in flags {
        serving::check_free(&address(port), flag)?;
    }
    let settings = settings(args)?;
    let simulator = service(&address(args.simulator_port), Simulator::new(args.knobs.clone()));
    Failure::output(std::io::stdout().lock().write_all(welcome(args).as_bytes()))?;
    // The demo is compiled in: the environment and files of this place have no say in it.
    let source = Source { file: None, environment: Environment::new() };
    server::run(source, settings, vec![Box::new(simulator)], None)
        .map_err(|e| Failure::new(exit::FAILED, e.to_string()).hint("see tidegate demo --help"))
}

fn address(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

/// The edge's config: two providers, one of each format, both simulated; models that go to either, and one that falls
/// back from the first to the second.
fn settings(args: &Args) -> Result<Settings, Failure> {
    let simulator = address(args.simulator_port);
    // A simulator that wants a key gets it from the edge, as a provider would.
    let key = serde_json::Value::from(args.knobs.key.as_deref().unwrap_or("simulated")).to_string();
    let yaml = format!(
        "server: {{listen: [{{address: {edge}}}]}}
admin: {{listen: {admin}}}
auth: off
providers:
  simulated-anthropic: {{kind: anthropic, key: {key}, endpoints: [{{url: \"http://{simulator}\"}}]}}
  simulated-openai: {{kind: openai, key: {key}, endpoints: [{{url: \"http://{simulator}\"}}]}}
models:
  demo: {{targets: [simulated-anthropic/sim-large, simulated-openai/sim-large]}}
  demo-anthropic: simulated-anthropic/sim-large
  demo-openai: simulated-openai/sim-large
",
        edge = address(args.port),
        admin = address(args.admin_port),
    );
    config::parse(&yaml, "demo", Path::new(""), &Environment::new())
        .map_err(|report| Failure::new(exit::CONFIG, report.to_string()))
}

/// What is listening, and what to try.
fn welcome(args: &Args) -> String {
    let (edge, admin, simulator) = (args.port, args.admin_port, args.simulator_port);
    let formats = Format::ALL.map(|format| wire(format).spec().title).join(", ");
    format!(
        r#"Tidegate's demo. No model is behind it: answers are simulated. Ctrl-C ends it.

  edge         http://127.0.0.1:{edge}     {formats}; any key
  admin        http://127.0.0.1:{admin}     /metrics /health /upstreams /config
  simulator    http://127.0.0.1:{simulator}     the provider; /__sim/stats /__sim/last /__sim/set

An OpenAI client, answered by an Anthropic provider:

curl -s http://127.0.0.1:{edge}/v1/chat/completions -H 'content-type: application/json' \
  -d '{{"model": "demo", "messages": [{{"role": "user", "content": "Hello"}}]}}'

An Anthropic client, streamed from an OpenAI provider:

curl -sN http://127.0.0.1:{edge}/v1/messages -H 'content-type: application/json' -H 'anthropic-version: 2023-06-01' \
  -d '{{"model": "demo-openai", "max_tokens": 40, "stream": true, "messages": [{{"role": "user", "content": "Hello"}}]}}'

The official SDK (pip install openai):

python3 -c '
from openai import OpenAI
edge = OpenAI(base_url="http://127.0.0.1:{edge}/v1", api_key="demo")
for chunk in edge.chat.completions.create(model="demo", stream=True, messages=[{{"role": "user", "content": "Hello"}}]):
    print(chunk.choices[0].delta.content or "" if chunk.choices else "", end="", flush=True)
'

"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args() -> Args {
        Args { port: 18080, admin_port: 19090, simulator_port: 18081, knobs: Knobs::default() }
    }

    #[test]
    fn the_compiled_in_config_is_right() {
        let settings = settings(&args()).unwrap();
        assert_eq!(settings.server.listen.len(), 1);
        assert_eq!(settings.server.listen[0].address.to_string(), "127.0.0.1:18080");
        assert_eq!(settings.admin.listen.to_string(), "127.0.0.1:19090");
        let formats: Vec<_> = settings.providers.values().map(|provider| provider.format).collect();
        let spoken = [Format::AnthropicMessages, Format::OpenaiChat];
        assert_eq!(formats, spoken, "a provider of each format that the simulator speaks");
        for provider in settings.providers.values() {
            assert_eq!(provider.endpoints.len(), 1);
            assert_eq!((provider.endpoints[0].tls, provider.endpoints[0].port), (false, 18081));
        }
        assert_eq!(settings.models.list().count(), 3);
    }

    #[test]
    fn what_to_try_names_the_ports_and_models_that_there_are() {
        let text = welcome(&args());
        let settings = settings(&args()).unwrap();
        for port in ["18080", "19090", "18081"] {
            assert!(text.contains(&format!("http://127.0.0.1:{port}")), "{text}");
        }
        for format in Format::ALL {
            assert!(text.contains(wire(format).spec().title), "{format:?} is served too: {text}");
        }
        for name in text
            .replace("model=\"", "\"model\": \"")
            .split("\"model\": \"")
            .skip(1)
            .filter_map(|rest| rest.split('"').next())
        {
            assert!(settings.models.resolve(name).is_some(), "no model {name}");
        }
    }
}
