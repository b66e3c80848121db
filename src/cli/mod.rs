//! The command line: one file a command.
//!
//! Results go to standard output, everything else to standard error. A command that fails says what failed
//! (`error:`) and what to do (`hint:`), and ends with one of the codes in [`exit`].

mod check;
mod completions;
mod demo;
mod explain;
mod failure;
mod health;
mod input;
mod models;
mod pretty;
mod route;
mod run;
mod serving;
mod simulate;
mod translate;
mod upgrade;

pub use failure::{Failure, exit};

use clap::{Parser, Subcommand};

/// Everything that can be written on the command line.
#[derive(Debug, Parser)]
#[command(
    name = "tidegate",
    version,
    about = "An edge proxy for LLM traffic: any client format to any provider, translated while it streams.",
    after_help = EXIT_CODES,
    propagate_version = true,
    subcommand_required = true,
    arg_required_else_help = true,
    disable_help_subcommand = true,
    max_term_width = 120
)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "\
Exit codes:
  0   done
  1   failed while running, such as a port that is taken
  2   wrong usage: see --help of the command
  65  the input is not what it must be, such as a request that is not JSON
  66  the input cannot be read, such as a file that is not there
  78  the config has problems; all of them are listed

`tidegate COMMAND --help` explains a command and shows examples.";

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Args),
    Upgrade(upgrade::Args),
    Demo(demo::Args),
    Check(check::Args),
    Models(models::Args),
    Explain(explain::Args),
    Route(route::Args),
    Translate(translate::Args),
    Simulate(simulate::Args),
    Health(health::Args),
    Completions(completions::Args),
}

impl Cli {
    /// Runs the command.
    ///
    /// # Errors
    /// Why it failed, with the exit code for it.
    pub fn run(self) -> Result<(), Failure> {
        match self.command {
            Command::Check(args) => check::run(&args),
            Command::Models(args) => models::run(&args),
            Command::Explain(args) => explain::run(&args),
            Command::Route(args) => route::run(&args),
            Command::Translate(args) => translate::run(&args),
            Command::Run(args) => run::run(args),
            Command::Upgrade(args) => upgrade::run(&args),
            Command::Demo(args) => demo::run(&args),
            Command::Simulate(args) => simulate::run(args),
            Command::Health(args) => health::run(&args),
            Command::Completions(args) => completions::run(&args),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_commands_fit_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_explains_itself() {
        for command in Cli::command().get_subcommands() {
            let name = command.get_name();
            assert!(command.get_about().is_some(), "`{name}` has no description");
            let examples = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(examples.contains("tidegate "), "`{name}` shows no example");
            for argument in command.get_arguments() {
                let id = argument.get_id();
                assert!(argument.get_help().is_some(), "`{name}`: argument `{id}` has no help");
            }
        }
    }

    #[test]
    fn wrong_usage_is_refused_with_the_code_for_it() {
        for line in [&["tidegate", "simulat"][..], &["tidegate", "simulate", "--status-mix", "200:1"]] {
            let error = Cli::try_parse_from(line).unwrap_err();
            assert_eq!(error.exit_code(), i32::from(exit::USAGE), "{line:?}: {error}");
        }
    }
}
