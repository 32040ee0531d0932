//! `tacho agree`, and the comparison before a run.
use std::{
    fs,
    io::{self, Write},
    path::Path,
    process::ExitCode,
    sync::atomic::AtomicBool,
};

use clap::ArgMatches;
use tacho::{
    agreement::{Agree, Agreed, Prompts, agree as compare},
    cache,
    plan::{Plan, registry::Registry},
    results::RunDir,
};

use super::{
    agree_args::AgreeArgs,
    cells,
    exit::{self, Failure},
    layers,
};

/// The prompts that a run's engines are compared on.
const IN_RUN: Prompts = Prompts::Drawn { count: 10, length: 32, seed: 1 };
const TOKENS_IN_RUN: u32 = 16;

fn run(
    plan: &Plan,
    python: Option<&Path>,
    logs: &Path,
    quiet: bool,
    asked: (Prompts, u32, bool),
    interrupted: &AtomicBool,
) -> Result<Option<Agreed>, Failure> {
    let registry = Registry::embedded().map_err(|error| Failure::new(exit::USAGE, error))?;
    let cell_program = |id: &str| cells::program(&registry, id, python);
    let (prompts, tokens, again) = asked;
    let kept = cache::dir().join("agreement");
    let ask = Agree { cell_program: &cell_program, prompts, tokens, kept: &kept, again, logs, interrupted };
    compare(plan, &ask, &mut |line| {
        if !quiet {
            eprintln!("{line}");
        }
    })
    .map_err(Failure::usage)
}

/// Compares a run's engines and notes it in the run's directory. False when it was interrupted: nothing is noted then.
pub fn before_run(
    plan: &Plan,
    dir: &mut RunDir,
    python: Option<&Path>,
    quiet: bool,
    interrupted: &AtomicBool,
) -> Result<bool, Failure> {
    let asked = (IN_RUN, TOKENS_IN_RUN, false);
    let Some(agreed) = run(plan, python, &dir.logs(), quiet, asked, interrupted)? else { return Ok(false) };
    if let Some(kept) = agreed.kept.as_ref().filter(|_| !quiet) {
        eprintln!("note: the engines were compared before: {}", kept.display());
    }
    dir.agreement(agreed.agreement)?;
    Ok(true)
}

/// `tacho agree`.
pub fn agree(args: &AgreeArgs, matches: &ArgMatches) -> Result<ExitCode, Failure> {
    let resolved = layers::agree_plan(args, matches)?;
    resolved.check_models()?;
    let prompts = match &args.prompts {
        Some(path) => Prompts::read(path).map_err(Failure::usage)?,
        None => Prompts::Drawn { count: args.count, length: args.input, seed: args.seed },
    };
    let logs = cache::dir().join("agreement").join("logs");
    fs::create_dir_all(&logs)?;
    // Nothing is kept of half a comparison: a signal ends the program as it ends any other, and its cells with it.
    let (asked, never) = ((prompts, args.tokens, args.again), AtomicBool::new(false));
    let Some(agreed) = run(&resolved.plan, args.python.as_deref(), &logs, false, asked, &never)? else {
        return Ok(ExitCode::from(exit::INTERRUPTED));
    };
    let mut out = io::stdout().lock();
    let json = serde_json::to_string_pretty(&agreed.agreement).map_err(|error| Failure::new(exit::STORAGE, error))?;
    let table = agreed.agreement.markdown(tacho::report::escape);
    if let Some(folder) = &args.out {
        let store = |error| Failure::new(exit::STORAGE, error);
        fs::create_dir_all(folder).map_err(store)?;
        fs::write(folder.join("agreement.json"), format!("{json}\n")).map_err(store)?;
        fs::write(folder.join("agreement.md"), &table).map_err(store)?;
    }
    if args.json == Some(true) {
        writeln!(out, "{json}")?;
    } else {
        write!(out, "{table}")?;
        if let Some(kept) = &agreed.kept {
            writeln!(out, "Kept from an earlier time ({}); --again compares anew.", kept.display())?;
        }
    }
    Ok(ExitCode::from(if agreed.agreement.holds() { exit::OK } else { exit::POINTS_FAILED }))
}
