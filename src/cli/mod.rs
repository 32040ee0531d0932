//! The command line: arguments to a plan, progress, exit codes. The library knows nothing of it.

mod agree;
mod agree_args;
mod args;
mod build;
mod calibrate;
mod capacity;
mod ceilings;
mod cells;
mod certify;
mod compare;
mod dataset_args;
mod doctor;
mod dry_run;
mod exit;
mod export;
mod interrupt;
mod layers;
mod ledger;
mod lists;
mod model;
mod model_args;
mod progress;
mod report;
mod run;
mod shape;
mod strict;
mod validity_args;
mod workload;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches};

use args::{Cli, Command, EngineAction};

/// Shows on standard error what `TACHO_LOG` asks for, such as `debug`. Without it nothing is set up.
fn log() {
    if let Ok(filter) = tracing_subscriber::EnvFilter::try_from_env("TACHO_LOG") {
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    }
}

/// Runs the program and says how it ended.
pub fn main() -> ExitCode {
    log();
    let command = shape::shape(Cli::command());
    let matches = command.clone().get_matches();
    if let Err(failure) = shape::refuse_void(&command, &matches) {
        return failure.report();
    }
    let cli = match Cli::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(error) => error.exit(),
    };
    let done = match cli.command {
        Command::Run(args) => match matches.subcommand_matches("run") {
            Some(matches) => run::run(&args, matches),
            None => Err(exit::Failure::usage("the run command has no arguments")),
        },
        Command::Agree(args) => match matches.subcommand_matches("agree") {
            Some(matches) => agree::agree(&args, matches),
            None => Err(exit::Failure::usage("the agree command has no arguments")),
        },
        Command::Capacity(args) => match matches.subcommand_matches("capacity") {
            Some(matches) => capacity::capacity(&args, matches),
            None => Err(exit::Failure::usage("the capacity command has no arguments")),
        },
        Command::Ledger(args) => match matches.subcommand_matches("ledger") {
            Some(matches) => ledger::ledger(&args, matches),
            None => Err(exit::Failure::usage("the ledger command has no arguments")),
        },
        Command::Plans { name } => lists::plans(name.as_deref()),
        Command::Engines { action: None, json } => cells::list(json == Some(true)),
        Command::Engines { action: Some(action), .. } => match action {
            EngineAction::Install { id, variant, model } => cells::install(&id, variant.as_deref(), model.as_deref()),
            EngineAction::Build(args) => build::build(&args),
            EngineAction::Info { id } => cells::info(&id),
            EngineAction::Remove { id, variant } => cells::remove(&id, variant.as_deref()),
        },
        Command::Model { action } => model::model(action),
        Command::Certify { dir, strict, json } => {
            certify::certify(&dir, &strict.unwrap_or_default(), json == Some(true))
        }
        Command::Doctor(args) => match matches.subcommand_matches("doctor") {
            Some(matches) => doctor::doctor(*args, matches),
            None => Err(exit::Failure::usage("the doctor command has no arguments")),
        },
        Command::Show { dir } => report::show(&dir),
        Command::Report { dir, json } => report::report(&dir, json == Some(true)),
        Command::Compare(args) => compare::compare(&args),
        Command::Baseline { action } => compare::baseline(&action),
        Command::Calibrate(args) => calibrate::calibrate(&args),
        Command::Export(args) => export::export(&args),
        Command::Workload { action } => match matches.subcommand_matches("workload") {
            Some(matches) => workload::workload(action, matches),
            None => Err(exit::Failure::usage("the workload command has no arguments")),
        },
        Command::Ceilings { kept, json } => ceilings::ceilings(kept, json == Some(true)),
        Command::Schema => lists::schema(),
        Command::Completions { shell } => lists::completions(shell),
    };
    match done {
        Ok(code) => code,
        Err(failure) => failure.report(),
    }
}
