//! `tacho run`.
use std::{io, process::ExitCode};

use clap::ArgMatches;

use super::{args::RunArgs, dry_run, exit::Failure, layers};

/// Runs a plan, or shows it.
pub fn run(args: &RunArgs, matches: &ArgMatches) -> Result<ExitCode, Failure> {
    let resolved = layers::plan(args, matches)?;
    if args.dry_run == Some(true) {
        dry_run::print(&resolved, args.json == Some(true), &mut io::stdout().lock())?;
        return Ok(ExitCode::SUCCESS);
    }
    resolved.check_models()?;
    Err(Failure::usage("the runner is not wired yet"))
}
