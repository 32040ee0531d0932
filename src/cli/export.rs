//! `tacho export`.
use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use clap::{Args, builder::PossibleValuesParser};
use tacho::{
    report::export::{Format, export as say},
    results::ReadRun,
};

use super::exit::{self, Failure};

/// For `--help`.
pub const HELP: &str = "\
Formats:
  vllm-bench         vllm bench throughput --output-json: a row a trial of each offline point
  benchmark-serving  vllm bench serve --save-result (once benchmark_serving.py): a row a step-loop trial, with latencies
  llama-bench        llama-bench -o json: a row a llama.cpp point of batch or concurrency 1, as its -pg test
What Tacho does not know is null. docs/exports.md has every field.

Examples:
  tacho export runs/DIR --format benchmark-serving -o sweep/summary.json && vllm bench sweep plot_pareto sweep
  tacho export runs/DIR --format llama-bench | jq '.[].avg_ts'";

/// The arguments of `tacho export`.
#[derive(Args, Debug)]
pub struct ExportArgs {
    /// The run directory
    pub dir: PathBuf,
    /// The other tool's format
    #[arg(long, value_name = "FORMAT", value_parser = PossibleValuesParser::new(Format::ALL.map(Format::name)))]
    pub format: String,
    /// Where to; folders are made [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// Prints the run in the format, and on standard error what had to be left out.
pub fn export(args: &ExportArgs) -> Result<ExitCode, Failure> {
    let format = Format::ALL.into_iter().find(|format| format.name() == args.format);
    let format = format.ok_or_else(|| Failure::usage(format!("unknown format '{}'", args.format)))?;
    let found = ReadRun::open(&args.dir)?;
    let exported = say(format, &found.info, &found.records);
    for note in found.notes.iter().chain(&exported.notes) {
        eprintln!("note: {note}");
    }
    if exported.rows.is_empty() {
        let dir = args.dir.display();
        return Err(Failure::usage(match found.records.is_empty() {
            true => format!("{dir} has no finished point in its journal.jsonl, from which exports are made"),
            false => format!("{dir} has nothing that {} can say: see the notes above", format.name()),
        }));
    }
    match &args.output {
        None => io::stdout().lock().write_all(exported.json().as_bytes())?,
        Some(path) => {
            let storage = |error: io::Error| {
                Failure::new(
                    exit::STORAGE,
                    anyhow::Error::new(error).context(format!("cannot write {}", path.display())),
                )
            };
            if let Some(folder) = path.parent() {
                std::fs::create_dir_all(folder).map_err(storage)?;
            }
            std::fs::write(path, exported.json()).map_err(storage)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
