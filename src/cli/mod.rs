//! The command line: arguments to a plan, progress, exit codes. The library knows nothing of it.

mod args;
mod dry_run;
mod exit;
mod interrupt;
mod layers;
mod lists;
mod progress;
mod run;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches};

use args::{Cli, Command};

/// Runs the program and says how it ended.
pub fn main() -> ExitCode {
    let matches = Cli::command().get_matches();
    let cli = match Cli::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(error) => error.exit(),
    };
    let done = match cli.command {
        Command::Run(args) => match matches.subcommand_matches("run") {
            Some(matches) => run::run(&args, matches),
            None => Err(exit::Failure::usage("the run command has no arguments")),
        },
        Command::Plans { name } => lists::plans(name.as_deref()),
        Command::Engines { json } => lists::engines(json == Some(true)),
        Command::Report { dir, json } => run::report(&dir, json == Some(true)),
        Command::Schema => lists::schema(),
        Command::Completions { shell } => lists::completions(shell),
    };
    match done {
        Ok(code) => code,
        Err(failure) => failure.report(),
    }
}
