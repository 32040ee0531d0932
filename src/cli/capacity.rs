//! `tacho capacity`.
use std::{
    io::{self, Write},
    process::ExitCode,
};

use clap::{ArgMatches, Args};
use comfy_table::{Cell, CellAlignment, Table, presets};
use tacho::{
    capacity::{By, Capacity, Options, Probe},
    measure::suspended_ns,
    plan::{Draft, Origin, Parameter, Plan, Setting, Values, registry::Registry, scalar},
    run::{CapacityReport, GpuMemory, RunOptions, find_capacity},
};

use super::{
    args::RunArgs,
    ceilings, cells, dry_run,
    exit::{self, Failure},
    interrupt, layers, progress, run, workload,
};

/// A trial's requests where nobody says how many.
const REQUESTS: u32 = 500;

/// The arguments of `tacho capacity`.
#[derive(Args, Debug)]
pub struct CapacityArgs {
    /// What is searched for: the highest rate (open load) or concurrency (closed loop)
    #[arg(long, value_name = "WHAT", default_value = "rate", value_parser = ["rate", "concurrency"],
          help_heading = "Search")]
    pub by: String,
    /// Half the width of the answer's 95 % interval, as a fraction of its middle, that ends the search
    #[arg(long, value_name = "FRACTION", default_value = "3%", value_parser = scalar::fraction, help_heading = "Search")]
    pub tolerance: f64,
    /// Trials at most
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(2..),
          help_heading = "Search")]
    pub max_probes: u32,
    /// The highest concurrency to look at, with --by concurrency; no cap on an open load, as `--max-concurrency` is in `vllm bench`
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..),
          help_heading = "Search")]
    pub max_concurrency: u32,
    /// What is measured.
    #[command(flatten)]
    pub run: RunArgs,
}

/// Searches, and says what was found.
pub fn capacity(args: &CapacityArgs, matches: &ArgMatches) -> Result<ExitCode, Failure> {
    if args.run.resume.is_some() {
        return Err(Failure::usage("a search for capacity cannot be resumed: start it anew without --resume"));
    }
    let by = if args.by == "rate" { By::Rate } else { By::Concurrency };
    let mut resolved = layers::plan_with(&args.run, matches, |draft| prepare(draft, by))?;
    check(&resolved.plan)?;
    if args.run.dry_run == Some(true) {
        let requests = resolved.plan.points.first().map_or(0, |point| point.workload.requests);
        let first = match by {
            By::Rate => ", the first with all requests at once",
            By::Concurrency => "",
        };
        let work = format!(
            "A warm-up trial, then at most {} trials of {requests} requests at loads that the search chooses{first}.",
            args.max_probes
        );
        dry_run::print_with(&resolved, Some(&work), args.run.json == Some(true), &mut io::stdout().lock())?;
        return Ok(ExitCode::SUCCESS);
    }
    resolved.check_models()?;
    let quiet = args.run.quiet == Some(true);
    resolved.notes.extend(tacho::run::prepare(
        &mut resolved.plan,
        &workload::folder(),
        args.run.dataset.patience()?,
        &mut workload::tell(quiet),
    )?);
    let mut dir = run::create(&resolved, &args.run)?;
    for note in resolved.notes.iter().filter(|_| !quiet) {
        eprintln!("note: {note}");
    }
    if !quiet {
        eprintln!("run directory: {}", dir.path().display());
    }
    let interrupted = interrupt::flag(quiet)?;
    let registry = Registry::embedded().map_err(|error| Failure::new(exit::USAGE, error))?;
    let cell_program = |id: &str| cells::program(&registry, id, args.run.python.as_deref());
    let ceilings = ceilings::dir();
    let options = RunOptions {
        cell_program: &cell_program,
        interrupted: &interrupted,
        gpus: &ceilings::open_gpus,
        gpu_memory: GpuMemory::before_cells(&ceilings::open_gpus),
        ceilings: &ceilings,
        suspended_ns: &suspended_ns,
    };
    let search =
        Options { by, tolerance: args.tolerance, max_probes: args.max_probes, max_concurrency: args.max_concurrency };
    let report = {
        let mut progress = progress::choose(quiet);
        find_capacity(&resolved.plan, &search, &mut dir, &options, progress.as_mut())?
    };
    show(&report, args.run.json == Some(true))
}

/// The search sets the load; requests have another default here.
fn prepare(draft: &mut Draft, by: By) -> Result<(), Failure> {
    let at = Origin::Default("set by the search");
    for parameter in [Parameter::Rate, Parameter::Concurrency, Parameter::Batch] {
        if let Some(setting) = draft.settings.iter().find(|setting| setting.parameter == parameter) {
            return Err(Failure::usage(format!(
                "{} ({}) cannot be given to a search for capacity, which sets the load itself",
                parameter.name(),
                setting.at
            )));
        }
    }
    if by == By::Concurrency
        && let Some(arrivals) = &draft.arrivals
    {
        return Err(Failure::usage(format!("arrivals ({}) are for a search by rate", arrivals.at)));
    }
    if !draft.settings.iter().any(|setting| setting.parameter == Parameter::Requests) {
        let values = Values::Counts(vec![REQUESTS]);
        draft.settings.push(Setting { parameter: Parameter::Requests, values, at: Origin::Default("default") });
    }
    draft.settings.push(match by {
        By::Rate => Setting { parameter: Parameter::Rate, values: Values::Rates(vec![1.0]), at },
        By::Concurrency => Setting { parameter: Parameter::Concurrency, values: Values::Counts(vec![1]), at },
    });
    Ok(())
}

fn check(plan: &Plan) -> Result<(), Failure> {
    if plan.slo.is_none() {
        return Err(Failure::usage(
            "capacity is the highest load that meets a service level, and none is named: give --slo ttft=200ms,tpot=50ms \
             or another (see docs/load.md)",
        ));
    }
    if plan.points.len() != 1 {
        return Err(Failure::usage(format!(
            "expected one engine, model and workload to search with, found {}: give each value once",
            plan.points.len()
        )));
    }
    let stationary = plan.points.iter().all(|point| match &point.load {
        tacho::cell::protocol::Load::Open { arrivals, .. } => arrivals.is_stationary(),
        _ => true,
    });
    if !stationary {
        return Err(Failure::usage(
            "expected arrivals that go on at one rate (poisson, gamma, constant, burst): a ramp or a trace has none to search for",
        ));
    }
    Ok(())
}

fn show(report: &CapacityReport, json: bool) -> Result<ExitCode, Failure> {
    let dir = &report.outputs.dir;
    let capacity = match &report.capacity {
        Ok(capacity) => capacity,
        Err(reason) => {
            let code = if reason == "interrupted" { exit::INTERRUPTED } else { exit::POINTS_FAILED };
            return Err(Failure::new(
                code,
                anyhow::anyhow!("no capacity was found: {reason}\nrun directory: {}", dir.display()),
            ));
        }
    };
    let mut out = io::stdout().lock();
    if json {
        let text = serde_json::to_string_pretty(capacity).map_err(|error| Failure::new(exit::STORAGE, error))?;
        writeln!(out, "{text}")?;
        return Ok(ExitCode::SUCCESS);
    }
    writeln!(out, "{}", table(capacity))?;
    let unit = capacity.unit();
    if capacity.estimate > 0.0 {
        writeln!(
            out,
            "capacity: {:.4} {unit} (95 % interval {:.4} to {:.4}) meet {}, after {} trials",
            capacity.estimate,
            capacity.low,
            capacity.high,
            capacity.slo,
            capacity.probes.len()
        )?;
    } else {
        writeln!(out, "capacity: no load meets {}, after {} trials", capacity.slo, capacity.probes.len())?;
    }
    capacity.notes.iter().try_for_each(|note| writeln!(out, "note: {note}"))?;
    writeln!(out, "run directory: {}", dir.display())?;
    Ok(ExitCode::SUCCESS)
}

/// The throughput-latency curve: the trials by their load.
fn table(capacity: &Capacity) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header([
        capacity.unit(),
        "requests/s done",
        "output tok/s",
        "TTFT p99 ms",
        "E2E mean ms",
        "within limits",
        "P(level met)",
        "",
    ]);
    let mut probes: Vec<&Probe> = capacity.probes.iter().collect();
    probes.sort_by(|one, other| one.load.unwrap_or(f64::MAX).total_cmp(&other.load.unwrap_or(f64::MAX)));
    for probe in probes {
        let right = |text: String| Cell::new(text).set_alignment(CellAlignment::Right);
        let number =
            |value: Option<f64>, digits: usize| right(value.map_or("–".to_owned(), |v| format!("{v:.digits$}")));
        let note = match probe {
            Probe { load: None, .. } => "all at once, to find the throughput",
            Probe { valid: false, .. } => "invalid: the schedule was not kept",
            Probe { saturated: true, .. } => "ended early: the queue grew without end",
            _ if capacity.knee == Some(probe.point) => "knee of the curve",
            _ => "",
        };
        let attained = probe.service.as_ref().map(|service| service.attained * 100.0);
        table.add_row([
            number(probe.load, 3),
            number(Some(probe.request_throughput), 2),
            number(Some(probe.output_token_throughput), 1),
            number(probe.ttft_p99_ms, 2),
            number(probe.e2e_mean_ms, 2),
            right(attained.map_or("–".to_owned(), |percent| format!("{percent:.2} %"))),
            number(probe.level_met(), 3),
            Cell::new(note),
        ]);
    }
    table
}
