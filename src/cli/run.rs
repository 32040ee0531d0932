//! `tacho run`.
use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use clap::{ArgMatches, parser::ValueSource};
use tacho::{
    plan::{Plan, registry::Registry},
    report,
    results::{PointRecord, ResultsError, RunDir, RunInfo},
    run::{RunOptions, RunReport, execute},
};

use super::{
    args::RunArgs,
    dry_run,
    exit::{self, Failure},
    layers, progress,
};

/// Runs a plan, or shows it.
pub fn run(args: &RunArgs, matches: &ArgMatches) -> Result<ExitCode, Failure> {
    let (plan, mut dir, finished) = match &args.resume {
        Some(dir) => resume(dir, matches)?,
        None => {
            let resolved = layers::plan(args, matches)?;
            if args.dry_run == Some(true) {
                dry_run::print(&resolved, args.json == Some(true), &mut io::stdout().lock())?;
                return Ok(ExitCode::SUCCESS);
            }
            resolved.check_models()?;
            let dir = create(&resolved.plan, args)?;
            (resolved.plan, dir, Vec::new())
        }
    };
    let quiet = args.quiet == Some(true);
    if !quiet {
        eprintln!("run directory: {}", dir.path().display());
    }
    let interrupted = on_interrupt(quiet)?;
    let registry = Registry::embedded().map_err(|error| Failure::new(exit::USAGE, error))?;
    let cell_program = |id: &str| registry.cell_program(id).map_err(|error| error.to_string());
    let options = RunOptions { cell_program: &cell_program, interrupted: &interrupted };
    let report = {
        let mut progress = progress::choose(quiet);
        execute(&plan, &mut dir, finished, &options, progress.as_mut())?
    };
    show(&report, args.json == Some(true))?;
    Ok(ExitCode::from(code(&report)))
}

fn create(plan: &Plan, args: &RunArgs) -> Result<RunDir, Failure> {
    let plan_json = serde_json::to_value(plan).map_err(|error| Failure::new(exit::USAGE, error))?;
    let info = RunInfo::gather(std::env::args().collect(), plan_json);
    let dir = args.out.clone().unwrap_or_else(|| PathBuf::from("runs").join(format!("{}-{}", info.run_id, plan.name)));
    Ok(RunDir::create(&dir, &info)?)
}

/// The plan, the directory and the finished points of an interrupted run.
fn resume(dir: &Path, matches: &ArgMatches) -> Result<(Plan, RunDir, Vec<PointRecord>), Failure> {
    // A plan given beside it would be ignored or, worse, mixed in.
    refuse_beside_resume(matches)?;
    let (run, resumed) = RunDir::resume(dir)?;
    let plan = serde_json::from_value(run.info().plan.clone()).map_err(|error| {
        Failure::usage(format!(
            "--resume {}: the plan in its run.json is not one that this tacho understands: {error}; use the tacho that \
             wrote it",
            dir.display()
        ))
    })?;
    for note in &resumed.notes {
        eprintln!("{note}");
    }
    Ok((plan, run, resumed.records))
}

fn refuse_beside_resume(matches: &ArgMatches) -> Result<(), Failure> {
    let given = |id: &&str| matches.value_source(id) == Some(ValueSource::CommandLine);
    let beside = matches.ids().map(clap::Id::as_str).filter(given).find(|id| !["resume", "json", "quiet"].contains(id));
    match beside {
        Some(id) => Err(Failure::usage(format!(
            "--{} cannot stand beside --resume: a resumed run keeps the plan and the directory it was started with",
            id.replace('_', "-")
        ))),
        None => Ok(()),
    }
}

/// The first Ctrl-C (or SIGTERM, SIGHUP) lets the trial end and the report be written; the second ends the program now:
/// what is journalled stays, and cells end by themselves when their pipe closes.
fn on_interrupt(quiet: bool) -> Result<Arc<AtomicBool>, Failure> {
    let interrupted = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&interrupted);
    let set = ctrlc::set_handler(move || {
        if flag.swap(true, Ordering::Relaxed) {
            std::process::exit(i32::from(exit::INTERRUPTED));
        }
        if !quiet {
            let _ = writeln!(io::stderr(), "\ninterrupted: the trial that runs is finished first; once more stops now");
        }
    });
    set.map_err(|error| Failure::new(exit::USAGE, error))?;
    Ok(interrupted)
}

fn show(report: &RunReport, json: bool) -> Result<(), Failure> {
    let outputs = &report.outputs;
    let mut out = io::stdout().lock();
    if json {
        let path = outputs.dir.join("summary.json");
        let text = std::fs::read(&path).map_err(|error| Failure::new(exit::STORAGE, error))?;
        let summary: serde_json::Value =
            serde_json::from_slice(&text).map_err(|error| Failure::new(exit::STORAGE, error))?;
        let answer = serde_json::json!({
            "run_directory": outputs.dir,
            "report": outputs.report,
            "interrupted": report.interrupted,
            "failed_points": report.failed(),
            "summary": summary,
        });
        writeln!(out, "{answer:#}")?;
        return Ok(());
    }
    writeln!(out, "{}", report::terminal_table(&report.records))?;
    writeln!(out, "run directory: {}", outputs.dir.display())?;
    writeln!(out, "report:        {}", outputs.report.display())?;
    for chart in &outputs.charts {
        writeln!(out, "chart:         {}", chart.display())?;
    }
    Ok(())
}

fn code(report: &RunReport) -> u8 {
    let failed = report.failed();
    if report.interrupted {
        exit::INTERRUPTED
    } else if failed == 0 {
        exit::OK
    } else if failed == report.records.len() && report.records.iter().all(|record| record.engine.is_none()) {
        exit::ENGINE
    } else {
        exit::POINTS_FAILED
    }
}

impl From<ResultsError> for Failure {
    fn from(error: ResultsError) -> Self {
        Self::new(exit::STORAGE, error)
    }
}
