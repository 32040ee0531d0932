//! Offline throughput by criterion: one group an engine, each point timed by the cell itself.
//!
//! The engine runs in its own cell and is timed there: `iter_custom` returns the sum of the cell's own trial durations,
//! so the pipe and this process are not in the figures. Throughput is in output tokens. Prompts differ from trial to trial.
//!
//! | variable | meaning | default |
//! |---|---|---|
//! | `TACHO_ENGINE` | engines, comma separated; one that is not there is an error | every one that is there |
//! | `TACHO_MODEL` | a GGUF file, for llama.cpp | the file that `scripts/model.sh` fetched |
//! | `TACHO_BATCH` | requests a call, comma separated | `1,8` |
//! | `TACHO_INPUT` | prompt lengths in tokens, comma separated | `128` |
//! | `TACHO_OUTPUT` | output lengths in tokens, comma separated | `32` |
//!
//! The axes are crossed; a trial is one `generate` call of `batch` requests.
use std::{
    env,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use criterion::{BenchmarkId, Criterion, SamplingMode, Throughput};
use tacho::{
    cell::{
        parent::{Cell, CellProgram, SIM_CELL_ARG, TableSink},
        protocol::{Load, Method, RequestRow, StepRow, TokenRow, TrialKind, TrialSpec},
    },
    engine::{EngineInfo, LoadConfig, Options, Sampling, sim},
    workload::{LengthDist, WorkloadSpec},
};

const SEED: u64 = 1;
const LOAD_WITHIN: Duration = Duration::from_secs(300);
const TRIAL_WITHIN: Duration = Duration::from_secs(600);

/// An engine that this bench knows how to start.
struct Host {
    id: &'static str,
    /// The criterion group's name: a simulated engine's figures must not pass for an engine's.
    group: &'static str,
    program: CellProgram,
    needs_model: bool,
}

impl Host {
    fn all() -> [Self; 2] {
        let tacho = Path::new(env!("CARGO_BIN_EXE_tacho"));
        let program = |program: PathBuf, args: &[&str], build_with: &str| CellProgram {
            program,
            args: args.iter().map(Into::into).collect(),
            env: vec![],
            build_with: build_with.to_owned(),
        };
        [
            Self {
                id: sim::ID,
                group: "offline/sim (simulated engine: no hardware was measured)",
                program: program(tacho.to_owned(), &[SIM_CELL_ARG], "cargo build --release"),
                needs_model: false,
            },
            Self {
                id: "llama.cpp",
                group: "offline/llama.cpp",
                program: program(
                    tacho.with_file_name("tacho-cell-llama"),
                    &[],
                    "cargo build --release -p tacho-llama-cpp",
                ),
                needs_model: true,
            },
        ]
    }

    /// The model to load, or why this engine cannot be benched here.
    fn ready(&self) -> Result<Option<PathBuf>, String> {
        if !self.program.program.exists() {
            let Self { program: CellProgram { program, build_with, .. }, .. } = self;
            return Err(format!("its cell program {} is not there; build it with `{build_with}`", program.display()));
        }
        if !self.needs_model {
            return Ok(None);
        }
        let path = env::var_os("TACHO_MODEL").map(PathBuf::from).or_else(cached_model);
        match path {
            Some(path) if path.is_file() => Ok(Some(path)),
            Some(path) => Err(format!(
                "there is no model at {}; name a GGUF file in TACHO_MODEL or run scripts/model.sh",
                path.display()
            )),
            None => Err("no model: name a GGUF file in TACHO_MODEL".to_owned()),
        }
    }
}

/// Where `scripts/model.sh` puts the model.
fn cached_model() -> Option<PathBuf> {
    let var = |name| env::var_os(name).map(PathBuf::from);
    let cache = var("TACHO_CACHE_DIR")
        .or_else(|| var("XDG_CACHE_HOME").map(|dir| dir.join("tacho")))
        .or_else(|| var("HOME").map(|dir| dir.join(".cache/tacho")))?;
    Some(cache.join("models/SmolLM2-135M-Instruct.Q4_1.gguf"))
}

/// One combination of the axes.
#[derive(Clone, Copy)]
struct Shape {
    batch: u32,
    input: u32,
    output: u32,
}

/// The whole numbers of at least 1 that a variable lists.
fn axis(name: &str, default: &[u32]) -> Result<Vec<u32>, String> {
    let Ok(text) = env::var(name) else { return Ok(default.to_vec()) };
    text.split(',')
        .map(|item| match item.trim().parse() {
            Ok(value) if value > 0 => Ok(value),
            _ => Err(format!("{name}={text}: expected whole numbers of at least 1, such as 1,4,16; found '{item}'")),
        })
        .collect()
}

fn shapes() -> Result<Vec<Shape>, String> {
    let (batches, inputs, outputs) =
        (axis("TACHO_BATCH", &[1, 8])?, axis("TACHO_INPUT", &[128])?, axis("TACHO_OUTPUT", &[32])?);
    let mut shapes = Vec::new();
    for &batch in &batches {
        for &input in &inputs {
            shapes.extend(outputs.iter().map(|&output| Shape { batch, input, output }));
        }
    }
    Ok(shapes)
}

/// Takes a trial's tables and drops them: only the cell's own durations matter here.
struct Drop;

impl TableSink for Drop {
    fn tokens(&mut self, _: &[TokenRow]) -> Result<(), String> {
        Ok(())
    }

    fn requests(&mut self, _: &[RequestRow]) -> Result<(), String> {
        Ok(())
    }

    fn steps(&mut self, _: &[StepRow]) -> Result<(), String> {
        Ok(())
    }

    fn progress(&mut self, _: u64) {}
}

/// Runs one trial in the cell and returns the duration that the cell measured.
fn trial(cell: &mut Cell, info: &EngineInfo, shape: Shape, number: u32) -> Duration {
    let spec = TrialSpec {
        trial: number,
        kind: TrialKind::Timed,
        method: Method::Generate,
        load: Load::Offline { batch: shape.batch },
        workload: WorkloadSpec {
            requests: shape.batch,
            input: LengthDist::Fixed(shape.input),
            output: LengthDist::Fixed(shape.output),
            sampling: Sampling::default(),
            seed: SEED,
            stream: u64::from(number),
            ids: info.model.ordinary_ids.clone(),
        },
    };
    match cell.trial(&spec, TRIAL_WITHIN, &mut Drop) {
        Ok(summary) => Duration::from_nanos(summary.end_ns.saturating_sub(summary.start_ns)),
        // criterion's closure has no way to fail but this.
        Err(error) => panic!("{}: {error}", info.engine),
    }
}

fn sweep(criterion: &mut Criterion, host: &Host, model: Option<PathBuf>, shapes: &[Shape]) -> Result<(), String> {
    let config = LoadConfig {
        engine: host.id.to_owned(),
        model,
        max_seqs: shapes.iter().map(|shape| shape.batch).max().unwrap_or(1),
        max_model_len: shapes.iter().map(|shape| shape.input + shape.output).max().unwrap_or(1),
        seed: SEED,
        options: Options::new(),
    };
    let log = env::temp_dir().join(format!("tacho-bench-{}-{}.log", host.id, std::process::id()));
    let failed = |error| format!("{}: {error} (its log: {})", host.id, log.display());
    let mut cell = Cell::start(&host.program, &log).map_err(failed)?;
    let (info, _) = cell.load(&config, LOAD_WITHIN).map_err(failed)?;
    let mut number = 0;
    let mut group = criterion.benchmark_group(host.group);
    group.sampling_mode(SamplingMode::Flat).sample_size(10).warm_up_time(Duration::from_secs(1));
    for &shape in shapes {
        let name =
            BenchmarkId::from_parameter(format!("batch={} in={} out={}", shape.batch, shape.input, shape.output));
        group.throughput(Throughput::Elements(u64::from(shape.batch) * u64::from(shape.output)));
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|iterations| {
                (0..iterations)
                    .map(|_| {
                        number += 1;
                        trial(&mut cell, &info, shape, number)
                    })
                    .sum()
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
    let asked: Option<Vec<String>> =
        env::var("TACHO_ENGINE").ok().map(|list| list.split(',').map(|id| id.trim().to_owned()).collect());
    let promised = env::var("TACHO_CI_ENGINES").unwrap_or_default();
    let hosts = Host::all();
    if let Some(unknown) = asked.iter().flatten().find(|id| hosts.iter().all(|host| host.id != id.as_str())) {
        let known = hosts.map(|host| host.id).join(", ");
        return Err(format!("TACHO_ENGINE names '{unknown}'; expected some of: {known}"));
    }
    let shapes = shapes()?;
    let mut criterion = Criterion::default().configure_from_args();
    for host in &hosts {
        if asked.as_ref().is_some_and(|asked| asked.iter().all(|id| id != host.id)) {
            continue;
        }
        match host.ready() {
            Ok(model) => sweep(&mut criterion, host, model, &shapes)?,
            Err(reason) if asked.is_some() || promised.split_whitespace().any(|id| id == host.id) => {
                return Err(format!("{}: {reason}", host.id));
            }
            Err(reason) => eprintln!("{}: left out: {reason}", host.id),
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
