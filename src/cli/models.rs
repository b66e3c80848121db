//! `tidegate models`: what clients may ask for, and where it goes.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;

use super::{Failure, check};
use crate::config::{FactRules, Settings};

/// List the models of a config, and where each goes.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Targets are listed in the order in which they are tried. A name with * stands for every name of its shape.

Examples:
  tidegate models --config conf/tidegate.yaml
  tidegate models -c conf/tidegate.yaml --names     names alone, one a line
  tidegate models -c conf/tidegate.yaml --facts     what each target accepts, where it is not the usual")]
pub(super) struct Args {
    /// The config file.
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
    /// Print the names alone.
    #[arg(long, conflicts_with = "facts")]
    names: bool,
    /// Print below each target what is known of the model and deviates in its server.
    #[arg(long)]
    facts: bool,
}

/// Lists the models.
pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let settings = check::load(&args.config)?;
    let text = list(&settings, args);
    Failure::output(std::io::stdout().lock().write_all(text.as_bytes()))
}

fn list(settings: &Settings, args: &Args) -> String {
    let mut out = String::new();
    for route in settings.models.list().chain(settings.models.patterns()) {
        if args.names {
            let _ = writeln!(out, "{}", route.name);
            continue;
        }
        let targets: Vec<String> = route
            .targets
            .iter()
            .map(|target| match settings.providers.get(&target.provider) {
                Some(provider) => format!("{}/{} ({})", target.provider, target.model, provider.format.name()),
                None => format!("{}/{}", target.provider, target.model),
            })
            .collect();
        let _ = writeln!(out, "{:<24} {}", route.name, targets.join(", then "));
        if args.facts {
            for target in &route.targets {
                known(settings, &target.provider, &target.model, &mut out);
            }
        }
    }
    out
}

/// What is known of a target, a line each.
fn known(settings: &Settings, name: &str, model: &str, out: &mut String) {
    let Some(provider) = settings.providers.get(name) else { return };
    let facts = FactRules::lines(&settings.facts.model(provider, model));
    let quirks = provider.quirks.lines().map(|quirk| format!("server: {quirk}"));
    for line in facts.into_iter().chain(quirks) {
        let _ = writeln!(out, "    {name}/{model}: {line}");
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config;

    #[test]
    fn every_model_is_listed_with_its_targets_in_order() {
        let yaml = "providers:\n  a: {kind: openai, key: k, quirks: {no_images: true}}\n  b: {kind: anthropic, key: k, facts: {x: {max_output: 77}}}\n\
                    models:\n  smart: {targets: [b/x, a/y]}\n  gpt-*: a/*\nauth: off\n";
        let settings = config::parse(yaml, "test", Path::new(""), &config::Environment::new()).unwrap();
        let args = |names, facts| Args { config: PathBuf::new(), names, facts };
        let text = list(&settings, &args(false, false));
        assert!(text.contains("b/x (anthropic_messages), then a/y (openai_chat)"), "{text}");
        assert_eq!(list(&settings, &args(true, false)), "smart\ngpt-*\n");
        let text = list(&settings, &args(false, true));
        assert!(text.contains("    b/x: max_output: 77\n") && text.contains("    a/y: server: no_images\n"), "{text}");
    }
}
