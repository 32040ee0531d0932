//! `tacho run`.
use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{ArgMatches, CommandFactory, parser::ValueSource};
use tacho::{
    calibration::CalibrationState,
    cell::contain,
    comparison, fairness,
    measure::suspended_ns,
    plan::{Plan, Resolved, registry::Registry},
    report,
    results::{PointRecord, ResultsError, RunDir, RunInfo},
    run::{GpuMemory, RunOptions, RunReport, execute, prepare},
    validity::certify_all,
};

use super::{
    agree,
    args::{Cli, RunArgs},
    calibrate, ceilings, cells, dry_run,
    exit::{self, Failure},
    interrupt, layers, progress, workload,
};

/// Reasons why points failed or are invalid that are printed below the table.
const DOUBTS_SHOWN: usize = 40;

/// Runs a plan, or shows it.
pub fn run(args: &RunArgs, matches: &ArgMatches) -> Result<ExitCode, Failure> {
    let (plan, mut dir, finished) = match &args.resume {
        Some(_) if args.dry_run == Some(true) => {
            return Err(Failure::usage(
                "--dry-run cannot stand beside --resume: its plan is in the directory's run.json",
            ));
        }
        Some(dir) => resume(dir, args, matches)?,
        None => {
            let mut resolved = layers::plan(args, matches)?;
            if args.dry_run == Some(true) {
                let missing =
                    [resolved.check_models().err().map(|error| error.to_string()), resolved.missing_dataset()];
                resolved.notes.extend(missing.into_iter().flatten());
                dry_run::print(&resolved, args.json == Some(true), &mut io::stdout().lock())?;
                return Ok(ExitCode::SUCCESS);
            }
            resolved.check_models()?;
            if resolved.plan.agree {
                tacho::agreement::comparable(&resolved.plan).map_err(Failure::usage)?;
            }
            resolved.notes.extend(prepare(
                &mut resolved.plan,
                &workload::folder(),
                args.dataset.patience()?,
                &mut workload::tell(args.quiet == Some(true)),
            )?);
            let dir = create(&resolved, args)?;
            for note in resolved.notes.iter().filter(|_| args.quiet != Some(true)) {
                progress::say(&format!("note: {note}"));
            }
            (resolved.plan, dir, Vec::new())
        }
    };
    let quiet = args.quiet == Some(true);
    if !quiet {
        progress::say(&format!("run directory: {}", dir.path().display()));
    }
    // What a cell leaves behind is found among this program's children.
    if let Err(error) = contain::adopt_orphans() {
        progress::say(&format!("note: processes that a cell leaves behind may not be found: {error}"));
    }
    let gpu_memory = GpuMemory::before_cells(&ceilings::open_gpus);
    // Before any engine is loaded: a comparison of engines takes as long as loading them all.
    let interrupted = interrupt::flag(quiet)?;
    if plan.agree
        && dir.info().agreement.is_none()
        && !agree::before_run(&plan, &mut dir, args.python.as_deref(), quiet, &interrupted)?
    {
        progress::say(&format!(
            "interrupted while engines were compared, before any point: `tacho run --resume {}` begins there",
            dir.path().display()
        ));
        return Ok(ExitCode::from(exit::INTERRUPTED));
    }
    let registry = Registry::embedded().map_err(|error| Failure::new(exit::USAGE, error))?;
    let cell_program = |id: &str| cells::program(&registry, id, args.python.as_deref());
    let ceilings = ceilings::dir();
    let options = RunOptions {
        cell_program: &cell_program,
        interrupted: &interrupted,
        gpus: &ceilings::open_gpus,
        gpu_memory,
        ceilings: &ceilings,
        suspended_ns: &suspended_ns,
    };
    let report = {
        let mut progress = progress::choose(quiet);
        execute(&plan, &mut dir, finished, &options, progress.as_mut())?
    };
    show(dir.info(), &report, args.json == Some(true))?;
    // A run that measured nothing has failed, and says so by another code.
    let strict = args.validity.strict.clone().filter(|_| !report.records.is_empty()).unwrap_or_default();
    let (refused, said) = strict.judge(&certify_all(dir.info(), &report.records));
    if let Some(said) = said {
        progress::say(&said);
    }
    Ok(ExitCode::from(code(&report, refused)))
}

pub(super) fn create(resolved: &Resolved, args: &RunArgs) -> Result<RunDir, Failure> {
    let json = |error: serde_json::Error| Failure::new(exit::USAGE, error);
    let plan = &resolved.plan;
    let mut plan_json = serde_json::to_value(plan).map_err(json)?;
    // Kept for readers; a resumed run reads the plan beside it.
    plan_json["provenance"] = serde_json::to_value(&resolved.provenance).map_err(json)?;
    let mut info =
        RunInfo::gather(std::env::args_os().map(|arg| arg.to_string_lossy().into_owned()).collect(), plan_json);
    info.calibration = CalibrationState::kept(&calibrate::dir());
    let dir = args.out.clone().unwrap_or_else(|| PathBuf::from("runs").join(format!("{}-{}", info.run_id, plan.name)));
    Ok(RunDir::create(&dir, &info)?)
}

/// The plan, the directory and the finished points of an interrupted run.
fn resume(dir: &Path, args: &RunArgs, matches: &ArgMatches) -> Result<(Plan, RunDir, Vec<PointRecord>), Failure> {
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
    for note in resumed.notes.iter().filter(|_| args.quiet != Some(true)) {
        progress::say(&format!("note: {note}"));
    }
    Ok((plan, run, resumed.records))
}

fn refuse_beside_resume(matches: &ArgMatches) -> Result<(), Failure> {
    // The arguments by their declaration: the matches list groups of arguments too.
    let run = Cli::command();
    let declared = run.find_subcommand("run").into_iter().flat_map(clap::Command::get_arguments);
    let beside = declared
        .map(|argument| argument.get_id().as_str())
        .filter(|id| matches.try_contains_id(id).is_ok())
        .filter(|id| matches.value_source(id) == Some(ValueSource::CommandLine))
        .find(|id| !["resume", "python", "json", "quiet", "strict"].contains(id));
    match beside {
        Some(id) => Err(Failure::usage(format!(
            "--{} cannot stand beside --resume: a resumed run keeps the plan and the directory it was started with",
            id.replace('_', "-")
        ))),
        None => Ok(()),
    }
}

/// Prints what a run came to; gives the number of points whose figures are invalid.
pub(super) fn show(info: &RunInfo, report: &RunReport, json: bool) -> Result<usize, Failure> {
    let certificates = certify_all(info, &report.records);
    let invalid = certificates.iter().filter(|certificate| !certificate.is_valid()).count();
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
            "page": outputs.page,
            "interrupted": report.interrupted,
            "failed_points": report.failed(),
            "invalid_points": invalid,
            "comparisons": comparison::paired::comparisons(info, &report.records),
            "summary": summary,
        });
        writeln!(out, "{answer:#}")?;
        return Ok(invalid);
    }
    if let Some(warning) = info.calibration.warning() {
        writeln!(out, "calibration: {warning}")?;
    }
    writeln!(out, "{}", report::certified_table(info, &report.records))?;
    let doubts = report::invalid_lines(info, &report.records);
    for line in doubts.iter().take(DOUBTS_SHOWN) {
        writeln!(out, "{line}")?;
    }
    if doubts.len() > DOUBTS_SHOWN {
        writeln!(out, "… and {} more such lines, in the report", doubts.len() - DOUBTS_SHOWN)?;
    }
    for line in report::note_lines(info, &report.records).iter().take(DOUBTS_SHOWN) {
        writeln!(out, "{line}")?;
    }
    for line in fairness::unequal(&fairness::of_run(info)) {
        writeln!(out, "NOT EQUAL: {line}")?;
    }
    for line in report::frontier_lines(info, &report.records) {
        writeln!(out, "{line}")?;
    }
    write!(out, "{}", comparison::paired_text(&comparison::paired::comparisons(info, &report.records)))?;
    writeln!(out, "run directory: {}", outputs.dir.display())?;
    writeln!(out, "report:        {}", outputs.page.display())?;
    writeln!(out, "as text:       {}", outputs.report.display())?;
    if let Some(folder) = outputs.charts.first().and_then(|chart| chart.parent()) {
        writeln!(out, "charts:        {} ({} files)", folder.display(), outputs.charts.len())?;
    }
    Ok(invalid)
}

fn code(report: &RunReport, refused: bool) -> u8 {
    let failed = report.failed();
    if report.interrupted {
        exit::INTERRUPTED
    } else if failed == 0 {
        if refused { exit::INVALID } else { exit::OK }
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
