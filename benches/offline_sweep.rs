//! Offline throughput by criterion: one group an engine, each point of a plan timed by the cell itself.
//!
//! The engine runs in its own cell and is timed there: `iter_custom` returns the sum of the cell's own trial durations,
//! so the pipe and this process are not in the figures. Throughput is in output tokens. Prompts differ from trial to trial.
//!
//! | variable | meaning | default |
//! |---|---|---|
//! | `TACHO_PLAN` | a plan file or the name of a shipped plan | batch 1 and 8, 128 tokens in, 32 out |
//! | `TACHO_ENGINE` | engines, comma separated; one that is not there is an error | the plan's, else `sim` and llama.cpp if there |
//! | `TACHO_MODEL` | a model | the plan's, else the file that `scripts/model.sh` fetched |
//! | `TACHO_BATCH`, `TACHO_INPUT`, `TACHO_OUTPUT` | lists and ranges, as on `tacho`'s command line | the plan's |
//!
//! Variables win over the plan. How often a point is measured is criterion's affair, not the plan's.
use std::{env, path::PathBuf, process::ExitCode, time::Duration};

use criterion::{BenchmarkId, Criterion, SamplingMode, Throughput};
use tacho::{
    cell::{
        parent::Cell,
        protocol::{TrialKind, TrialSpec},
    },
    engine::{EngineInfo, sim},
    plan::{
        CellPlan, Draft, Origin, Parameter, Plan, Point, Setting, Source, Sourced, Values, read,
        registry::Registry,
        resolve, shipped,
        values::{counts, lengths},
    },
    results::Discard,
    workload::{LengthDist, Workload, WorkloadSpec},
};

/// Tried when neither the environment nor a plan names an engine.
const ENGINES: [&str; 2] = [sim::ID, "llama.cpp"];

fn text(error: impl ToString) -> String {
    error.to_string()
}

/// A variable's value and its origin; None when it is unset or empty.
fn variable(name: &str) -> Option<(String, Origin)> {
    let value = env::var(name).ok().filter(|value| !value.is_empty())?;
    Some((value, Origin::Environment(name.to_owned())))
}

/// What the environment says.
fn environment() -> Result<Draft, String> {
    let mut draft = Draft::default();
    if let Some((list, at)) = variable("TACHO_ENGINE") {
        draft.engines = list.split(',').map(|id| Sourced::new(id.trim().to_owned(), at.clone())).collect();
    }
    if let Some((path, at)) = variable("TACHO_MODEL") {
        draft.models = vec![Sourced::new(path.into(), at)];
    }
    let axes = [Parameter::Batch, Parameter::Input, Parameter::Output];
    for (name, parameter) in ["TACHO_BATCH", "TACHO_INPUT", "TACHO_OUTPUT"].into_iter().zip(axes) {
        let Some((list, at)) = variable(name) else { continue };
        let values = match parameter {
            Parameter::Batch => counts(&list).map(Values::Counts),
            _ => lengths(&list).map(Values::Lengths),
        };
        draft.settings.push(Setting { parameter, values: values.map_err(|error| format!("{name}: {error}"))?, at });
    }
    Ok(draft)
}

/// The plan that `TACHO_PLAN` names, or a small one.
fn base(registry: &Registry) -> Result<Draft, String> {
    let Some((name, _)) = variable("TACHO_PLAN") else {
        let at = || Origin::Default("offline_sweep's default");
        let fixed = |tokens| Values::Lengths(vec![LengthDist::Fixed(tokens)]);
        let settings = vec![
            Setting { parameter: Parameter::Batch, values: Values::Counts(vec![1, 8]), at: at() },
            Setting { parameter: Parameter::Input, values: fixed(128), at: at() },
            Setting { parameter: Parameter::Output, values: fixed(32), at: at() },
        ];
        return Ok(Draft { settings, ..Draft::default() });
    };
    let source = match shipped().find(|plan| plan.name == name) {
        Some(plan) => plan.source(),
        None => {
            let read = std::fs::read_to_string(&name);
            let names = || shipped().map(|plan| plan.name).collect::<Vec<_>>().join(", ");
            let found = read.map_err(|error| {
                format!("TACHO_PLAN={name}: {error}; expected a plan file or a shipped plan ({})", names())
            })?;
            Source::new(name, found)
        }
    };
    read(&source, registry).map_err(text)
}

/// Where `scripts/model.sh` puts the model, if it is there.
fn cached_model() -> Option<PathBuf> {
    let var = |name| env::var_os(name).map(PathBuf::from);
    let cache = var("TACHO_CACHE_DIR")
        .or_else(|| var("XDG_CACHE_HOME").map(|dir| dir.join("tacho")))
        .or_else(|| var("HOME").map(|dir| dir.join(".cache/tacho")))?;
    Some(cache.join("models/SmolLM2-135M-Instruct.Q4_1.gguf")).filter(|path| path.is_file())
}

/// The plan for one engine.
fn plan_for(id: &str, draft: &Draft, registry: &Registry) -> Result<Plan, String> {
    registry.cell_program(id).map_err(text)?;
    let mut draft = draft.clone();
    draft.engines = vec![Sourced::new(id.to_owned(), Origin::Default("offline_sweep: one group an engine"))];
    if draft.models.is_empty() {
        let at = Origin::Default("the model that scripts/model.sh fetched");
        draft.models.extend(cached_model().map(|path| Sourced::new(path, at)));
    }
    let resolved = resolve(draft, registry).map_err(text)?;
    resolved.check_models().map_err(text)?;
    Ok(resolved.plan)
}

/// The `number`th trial of a point.
fn spec(point: &Point, info: &EngineInfo, number: u32) -> TrialSpec {
    let workload = &point.workload;
    TrialSpec {
        trial: number,
        kind: TrialKind::Timed,
        method: point.load.method(),
        load: point.load.clone(),
        device_clock: Default::default(),
        workload: WorkloadSpec {
            requests: workload.requests,
            input: workload.input,
            output: workload.output,
            sampling: workload.sampling,
            seed: workload.seed,
            stream: u64::from(number),
            ids: info.model.ordinary_ids.clone(),
            saved: None,
        },
    }
}

/// A name that tells the point from the engine's others; criterion keeps its history by it.
fn name(point: &Point, models: bool) -> String {
    let model = point.model.as_deref().and_then(|path| path.file_stem()).filter(|_| models);
    let model = model.map(|stem| stem.to_string_lossy().into_owned());
    let axes = point.axes.iter().map(|(name, value)| format!("{name}={value}"));
    let name = model.into_iter().chain(axes).collect::<Vec<_>>().join(" ");
    if name.is_empty() { "the only point".to_owned() } else { name }
}

/// Benches the points of one cell.
fn sweep(criterion: &mut Criterion, registry: &Registry, plan: &Plan, cell_plan: &CellPlan) -> Result<(), String> {
    let id = &cell_plan.load.engine;
    let program = registry.cell_program(id).map_err(text)?;
    let log = env::temp_dir().join(format!("tacho-bench-{id}-{}.log", std::process::id()));
    let failed = |error| format!("{id}: {error} (its log: {})", log.display());
    let mut cell = Cell::start(&program, &log).map_err(failed)?;
    let (info, _) = cell.load(&cell_plan.load, plan.load_within).map_err(failed)?;
    let several_models = plan.points.iter().any(|point| point.model != plan.points[0].model);
    // A stand-in's figures must not pass for an engine's.
    let kind = if info.double.is_some() { " (simulated: no hardware was measured)" } else { "" };
    let mut group = criterion.benchmark_group(format!("offline/{id}{kind}"));
    group.sampling_mode(SamplingMode::Flat).sample_size(10).warm_up_time(Duration::from_secs(1));
    let mut number = 0;
    for point in plan.points.iter().filter(|point| cell_plan.points.contains(&point.number)) {
        let workload = Workload::new(spec(point, &info, 0).workload).map_err(text)?;
        group.throughput(Throughput::Elements(workload.totals().1));
        group.bench_function(BenchmarkId::from_parameter(name(point, several_models)), |bencher| {
            bencher.iter_custom(|iterations| {
                let mut total = Duration::ZERO;
                for _ in 0..iterations {
                    number += 1;
                    // Only the cell's own durations matter here.
                    match cell.trial(&spec(point, &info, number), plan.trial_within, &mut Discard::new(|_| {})) {
                        Ok(summary) => total += Duration::from_nanos(summary.end_ns.saturating_sub(summary.start_ns)),
                        // criterion's closure has no way to fail but this.
                        Err(error) => panic!("{}", failed(error)),
                    }
                }
                total
            });
        });
    }
    group.finish();
    cell.shutdown().map_err(failed)?;
    // Kept only where something went wrong.
    let _: Result<(), _> = std::fs::remove_file(&log);
    Ok(())
}

fn run() -> Result<(), String> {
    let registry = Registry::embedded().map_err(text)?;
    let draft = environment()?.over(base(&registry)?);
    let asked: Vec<String> = draft.engines.iter().map(|engine| engine.value.clone()).collect();
    let engines = if asked.is_empty() { ENGINES.map(str::to_owned).to_vec() } else { asked.clone() };
    let promised = env::var("TACHO_CI_ENGINES").unwrap_or_default();
    let mut criterion = Criterion::default().configure_from_args();
    for id in &engines {
        match plan_for(id, &draft, &registry) {
            Ok(plan) => {
                plan.cells().iter().try_for_each(|cell_plan| sweep(&mut criterion, &registry, &plan, cell_plan))?;
            }
            Err(reason) if asked.contains(id) || promised.split_whitespace().any(|name| name == id) => {
                return Err(reason);
            }
            Err(reason) => eprintln!("{id}: left out: {reason}"),
        }
    }
    criterion.final_summary();
    Ok(())
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
