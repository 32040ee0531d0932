//! `tacho engines build`.
use std::{
    ffi::OsStr,
    io::{self, Write},
    path::Path,
    process::ExitCode,
};

use clap::{CommandFactory, FromArgMatches};
use tacho::{environment::EngineBuild, run::model_digest};

use super::{
    args::{BuildArgs, Cli, Command},
    exit::{self, Failure},
    layers,
};

/// The engines that are built beforehand, by the ids of both their doors.
const BUILT: [&str; 2] = ["tensorrt-llm", "tensorrt-llm-cpp"];

/// Builds an engine, or finds it in the cache, and prints its folder.
pub fn build(args: &BuildArgs) -> Result<ExitCode, Failure> {
    if !BUILT.contains(&args.id.as_str()) {
        return Err(Failure::usage(format!(
            "engine '{}' loads models as they are: there is nothing to build; tensorrt-llm is the one that has to",
            args.id
        )));
    }
    if !args.model.join("config.json").is_file() {
        return Err(Failure::usage(format!(
            "--model {}: expected a model folder with config.json in it",
            args.model.display()
        )));
    }
    let (planned_seqs, planned_len) = match &args.plan {
        Some(plan) => needs(plan, &args.model)?,
        None => (1, 2),
    };
    let model = std::path::absolute(&args.model).map_err(|error| Failure::new(exit::STORAGE, error))?;
    let build = EngineBuild {
        python: args.python.clone(),
        model_digest: model_digest(&model).map_err(|error| Failure::new(exit::STORAGE, error))?,
        model,
        dtype: args.dtype.clone(),
        tensor_parallel_size: args.tensor_parallel_size,
        max_batch_size: args.max_batch_size.unwrap_or(planned_seqs),
        max_seq_len: args.max_seq_len.unwrap_or(planned_len),
        max_num_tokens: args.max_num_tokens,
    };
    let folder = build.run(&mut |line| eprintln!("{line}"))?;
    writeln!(io::stdout().lock(), "{}", folder.display())?;
    Ok(ExitCode::SUCCESS)
}

/// The most sequences at once and the longest request of a plan's points, whatever engines they name.
fn needs(plan: &str, model: &Path) -> Result<(u32, u32), Failure> {
    // As `tacho run --plan` reads it, so that both mean the same.
    let wrong = |error: clap::Error| Failure::usage(error.to_string());
    let words = ["tacho", "run", "--plan", plan, "--model"].map(OsStr::new);
    let words = words.into_iter().chain([model.as_os_str()]);
    let matches = Cli::command().try_get_matches_from(words).map_err(wrong)?;
    let cli = Cli::from_arg_matches(&matches).map_err(wrong)?;
    let (Command::Run(args), Some(matches)) = (cli.command, matches.subcommand_matches("run")) else {
        return Err(Failure::usage("the run command has no arguments"));
    };
    let cells = layers::plan(&args, matches)?.plan.cells();
    let seqs = cells.iter().map(|cell| cell.load.max_seqs).max().unwrap_or(1);
    Ok((seqs, cells.iter().map(|cell| cell.load.max_model_len).max().unwrap_or(2)))
}
