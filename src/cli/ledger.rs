//! `tacho ledger`.
use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{ArgMatches, Args};
use tacho::{
    calibration::CalibrationState,
    cell::contain,
    http::{Endpoint, Key, PromptKind},
    ledger::{Ask, Ledger, Rung, check, ledger_csv, markdown, measure, turns_csv},
    plan::registry::Registry,
    results::RunInfo,
};

use super::{
    args::RunArgs,
    calibrate, cells, dry_run,
    exit::{self, Failure},
    interrupt, layers, progress,
};

/// For `--help`.
pub const EXAMPLES: &str = "\
Rungs, the innermost first: steps, generate, text-in, text-out (in the cell's process), child, child-out (the engine computes in
child processes), http (the engine's own OpenAI-compatible server, which Tacho starts on a free port of the loopback and ends).
A turn is one batch; workload, engines and options are said as for `tacho run`. docs/ledger.md says what each rung does.

Examples:
  tacho ledger --engine llama.cpp --model model.gguf --batch 1,8 --input 128 --output 64
  tacho ledger --engine vllm --model model/ --batch 8 --input 128 --output 64 --rungs generate,child,http
  tacho ledger --engine llama.cpp --model model.gguf --server ~/llama.cpp/build/bin/llama-server
  tacho ledger --engine vllm --model model/ --endpoint http://localhost:8000   # a server that runs already
  tacho ledger --plan benches/cpu/ledger.toml --model model/ --launches 5";

/// The arguments of `tacho ledger`.
#[derive(Args, Debug)]
pub struct LedgerArgs {
    /// The rungs to measure, separated by commas [default: all that the engine offers]
    #[arg(long, value_name = "RUNGS", value_delimiter = ',', value_parser = Rung::parse, help_heading = "Ledger")]
    pub rungs: Vec<Rung>,
    /// How often everything is started
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=1000),
          help_heading = "Ledger")]
    pub launches: u32,
    /// Blocks a launch; in each, every rung has two turns, in an order that is drawn and then reversed
    #[arg(long, value_name = "N", default_value_t = 6, value_parser = clap::value_parser!(u32).range(1..=1000),
          help_heading = "Ledger")]
    pub blocks: u32,
    /// The engine's own server program, where its package brings none (llama-server)
    #[arg(long, value_name = "PROGRAM", conflicts_with = "endpoint", help_heading = "Ledger")]
    pub server: Option<PathBuf>,
    /// A server that runs already, for the http rung
    #[arg(long, value_name = "URL", help_heading = "Ledger")]
    pub endpoint: Option<String>,
    /// By which name that server knows the model [default: the first that it names]
    #[arg(long, value_name = "NAME", requires = "endpoint", help_heading = "Ledger")]
    pub endpoint_model: Option<String>,
    /// The environment variable with that server's key, which is sent as `Authorization: Bearer` and kept nowhere; its name must
    /// say that it is one (…_KEY, …_TOKEN)
    #[arg(long, value_name = "VARIABLE", requires = "endpoint", help_heading = "Ledger")]
    pub endpoint_key_env: Option<String>,
    /// As what the server gets prompts: ids or text [default: ids]
    #[arg(long, value_name = "KIND", value_parser = ["ids", "text"], help_heading = "Ledger")]
    pub http_prompt: Option<String>,
    /// What is measured.
    #[command(flatten)]
    pub run: RunArgs,
}

/// Measures a ledger and writes its folder.
pub fn ledger(args: &LedgerArgs, matches: &ArgMatches) -> Result<ExitCode, Failure> {
    if args.run.resume.is_some() {
        return Err(Failure::usage("a ledger cannot be resumed: start it anew without --resume"));
    }
    let resolved = layers::plan(&args.run, matches)?;
    let rungs = if args.rungs.is_empty() { Rung::ALL.to_vec() } else { args.rungs.clone() };
    check(&resolved.plan, &rungs).map_err(Failure::usage)?;
    let endpoint = args.endpoint.as_deref().map(Endpoint::parse).transpose();
    let endpoint = endpoint.map_err(|error| Failure::new(exit::USAGE, error))?;
    let key = args.endpoint_key_env.as_deref().map(Key::from_variable).transpose();
    let key = key.map_err(|error| Failure::new(exit::USAGE, error))?;
    let endpoint = endpoint.map(|endpoint| endpoint.with_key(key));
    if let Some(missing) = args.server.as_ref().filter(|server| !server.is_file()) {
        return Err(Failure::usage(format!("--server: there is no program {}", missing.display())));
    }
    if args.run.dry_run == Some(true) {
        let names: Vec<&str> = rungs.iter().map(|rung| rung.as_str()).collect();
        let work = format!(
            "For each point and each of the rungs that its engine offers ({}): {} launches of {} blocks of 2 turns, a turn one \
             batch; {} turns a rung. Warm-up turns come first in each launch.",
            names.join(", "),
            args.launches,
            args.blocks,
            2 * args.launches * args.blocks
        );
        dry_run::print_with(&resolved, Some(&work), args.run.json == Some(true), &mut io::stdout().lock())?;
        return Ok(ExitCode::SUCCESS);
    }
    resolved.check_models()?;
    let quiet = args.run.quiet == Some(true);
    let command = std::env::args_os().map(|arg| arg.to_string_lossy().into_owned()).collect();
    let mut run = RunInfo::gather(command, serde_json::Value::Null);
    run.calibration = CalibrationState::kept(&calibrate::dir());
    let folder = args.run.out.clone().unwrap_or_else(|| Path::new("runs").join(format!("{}-ledger", run.run_id)));
    make(&folder)?;
    if !quiet {
        progress::say(&format!("run directory: {}", folder.display()));
    }
    if let Err(error) = contain::adopt_orphans() {
        progress::say(&format!("note: processes that a cell leaves behind may not be found: {error}"));
    }
    let interrupted = interrupt::flag(quiet)?;
    let registry = Registry::embedded().map_err(|error| Failure::new(exit::USAGE, error))?;
    let cell_program = |id: &str| cells::program(&registry, id, args.run.python.as_deref());
    let ask = Ask {
        cell_program: &cell_program,
        tacho: std::env::current_exe()?,
        // Absolute: a name without a slash would be looked for in PATH.
        server: args.server.as_ref().map(std::path::absolute).transpose()?,
        endpoint,
        endpoint_model: args.endpoint_model.clone(),
        prompt: args.http_prompt.as_deref().map(|kind| if kind == "text" { PromptKind::Text } else { PromptKind::Ids }),
        tokenizer: args.run.dataset.tokenizer.as_deref().map(PathBuf::from),
        rungs,
        launches: args.launches,
        blocks: args.blocks,
        folder: folder.clone(),
        interrupted: &interrupted,
    };
    let mut note = |line: &str| {
        if !quiet {
            progress::say(line);
        }
    };
    let mut kept = |ledger: &Ledger| write(&folder, ledger);
    let ledger = measure(&resolved.plan, run, &ask, &mut note, &mut kept)
        .map_err(|error| Failure::new(exit::ENGINE, anyhow::Error::msg(error)))?;
    let mut out = io::stdout().lock();
    if args.run.json == Some(true) {
        serde_json::to_writer_pretty(&mut out, &ledger).map_err(io::Error::from)?;
        writeln!(out)?;
    } else {
        write!(out, "{}", markdown(&ledger))?;
    }
    let code = match (interrupted.load(std::sync::atomic::Ordering::Relaxed), ledger.is_whole()) {
        (true, _) => exit::INTERRUPTED,
        (false, true) => exit::OK,
        (false, false) => exit::POINTS_FAILED,
    };
    Ok(ExitCode::from(code))
}

/// The folder must be new: two ledgers in one would be mixed up.
fn make(folder: &Path) -> Result<(), Failure> {
    let storage = |error: io::Error| {
        Failure::new(exit::STORAGE, anyhow::Error::msg(format!("{} cannot be made: {error}", folder.display())))
    };
    fs::create_dir_all(folder).map_err(storage)?;
    if fs::read_dir(folder).map_err(storage)?.next().is_some() {
        let why = format!("{} is not empty: give another folder with --out", folder.display());
        return Err(Failure::new(exit::STORAGE, anyhow::Error::msg(why)));
    }
    Ok(())
}

fn write(folder: &Path, ledger: &Ledger) -> Result<(), String> {
    let json = serde_json::to_vec_pretty(ledger).map_err(|error| error.to_string())?;
    let files = [
        ("ledger.json", json),
        ("ledger.md", markdown(ledger).into_bytes()),
        ("ledger.csv", ledger_csv(ledger)?),
        ("turns.csv", turns_csv(ledger)?),
    ];
    for (name, content) in files {
        let path = folder.join(name);
        fs::write(&path, content).map_err(|error| format!("{} cannot be written: {error}", path.display()))?;
    }
    Ok(())
}
