//! Tacho's own costs: what the harness adds to a trial for each request and each token event, and how soon `tacho --help`
//! answers.
//!
//! The simulated engine runs at zero cost, in this process. What is counted is [`TrialSummary::harness_ns`]: the time of
//! the trial spent outside the engine's calls. Two shapes that differ only in output tokens give the cost of a token event
//! by their difference; what then remains of the shorter one is the requests' (making the prompt, handing it over, checking
//! and recording its end). Targets: 100 ns a token event and 1 µs a request event, with 128 tokens in and 256 requests in
//! flight. One request in flight is the worst case, with a poll for each token event, and is shown beside it.
use std::{
    process::{Command, ExitCode, Stdio},
    time::Duration,
};

use criterion::{BenchmarkId, Criterion, SamplingMode, Throughput};
use tacho::{
    cell::{
        drive::{RecordSink, run_trial},
        protocol::{Load, Method, RequestRow, StepRow, TokenRow, TrialKind, TrialSpec},
    },
    engine::{Engine, LoadConfig, Sampling, sim},
    workload::{LengthDist, WorkloadSpec},
};

const REQUESTS: u32 = 4096;
const INPUT: u32 = 128;
/// Output tokens a request: few, and many. Their records fit in memory, so that no trial flushes midway.
const OUTPUTS: [u32; 2] = [1, 65];
const TARGET_TOKEN_NS: f64 = 100.0;
const TARGET_REQUEST_NS: f64 = 1000.0;
const TARGET_HELP_MS: f64 = 20.0;

/// Drops the records: what storing them costs is outside the trial.
struct Drop;

impl RecordSink for Drop {
    fn tokens(&mut self, _: &[TokenRow]) -> std::io::Result<()> {
        Ok(())
    }

    fn requests(&mut self, _: &[RequestRow]) -> std::io::Result<()> {
        Ok(())
    }

    fn steps(&mut self, _: &[StepRow]) -> std::io::Result<()> {
        Ok(())
    }

    fn progress(&mut self, _: u64) -> std::io::Result<()> {
        Ok(())
    }
}

/// The simulated engine with every cost set to 0.
fn free_engine(max_seqs: u32) -> Result<sim::Sim, String> {
    let zero = |name: &str| (name.to_owned(), 0.into());
    let config = LoadConfig {
        engine: sim::ID.to_owned(),
        model: None,
        max_seqs,
        max_model_len: INPUT + OUTPUTS[1],
        seed: 1,
        options: ["step_base_us", "prefill_token_us", "decode_seq_us"].into_iter().map(zero).collect(),
    };
    sim::Sim::load(&config).map_err(|error| error.to_string())
}

/// Nanoseconds that one trial spent outside the engine.
fn harness_ns(engine: &mut sim::Sim, concurrency: u32, output: u32, stream: u64) -> f64 {
    let spec = TrialSpec {
        trial: 0,
        kind: TrialKind::Timed,
        method: Method::Steps,
        load: Load::Closed { concurrency },
        workload: WorkloadSpec {
            requests: REQUESTS,
            input: LengthDist::Fixed(INPUT),
            output: LengthDist::Fixed(output),
            sampling: Sampling::default(),
            seed: 1,
            stream,
            ids: engine.info().model.ordinary_ids.clone(),
        },
    };
    match run_trial(engine, &spec, &mut Drop) {
        Ok(summary) => summary.harness_ns as f64,
        // criterion's closure has no way to fail but this.
        Err(error) => panic!("the simulated engine failed: {error}"),
    }
}

/// What one event costs, in nanoseconds.
#[derive(Clone, Copy)]
struct Costs {
    token: f64,
    request: f64,
}

fn costs(engine: &mut sim::Sim, concurrency: u32, stream: u64) -> Costs {
    let [few, many] = OUTPUTS.map(|output| harness_ns(engine, concurrency, output, stream));
    let token = (many - few) / (f64::from(REQUESTS) * f64::from(OUTPUTS[1] - OUTPUTS[0]));
    Costs { token, request: few / f64::from(REQUESTS) - token * f64::from(OUTPUTS[0]) }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() % 2 {
        1 => values[middle],
        _ if values.is_empty() => f64::NAN,
        _ => f64::midpoint(values[middle - 1], values[middle]),
    }
}

fn verdict(what: &str, value: f64, unit: &str, target: f64) {
    let met = if value <= target { "met" } else { "NOT met" };
    println!("{what}: {value:.1} {unit} (target {target} {unit} or less: {met})");
}

/// Benches the cost of one kind of event; `elements` of them stand for an iteration, so that criterion's whole nanoseconds
/// lose nothing.
fn events(criterion: &mut Criterion) -> Result<(), String> {
    const ELEMENTS: u64 = 1_000_000;
    for concurrency in [256, 1] {
        let mut engine = free_engine(concurrency)?;
        let mut seen: Vec<Costs> = Vec::new();
        let mut group = criterion.benchmark_group(format!("harness, {concurrency} in flight"));
        group.sampling_mode(SamplingMode::Flat).sample_size(20).measurement_time(Duration::from_secs(8));
        group.throughput(Throughput::Elements(ELEMENTS));
        let kinds: [(&str, fn(Costs) -> f64); 2] =
            [("token events", |costs| costs.token), ("request events", |costs| costs.request)];
        for (name, of) in kinds {
            group.bench_function(BenchmarkId::from_parameter(format!("a million {name}")), |bencher| {
                bencher.iter_custom(|iterations| {
                    let total: f64 = (0..iterations)
                        .map(|_| {
                            seen.push(costs(&mut engine, concurrency, seen.len() as u64));
                            seen.last().map_or(0.0, |costs| of(*costs))
                        })
                        .sum();
                    Duration::from_secs_f64(total.max(0.0) * ELEMENTS as f64 / 1e9)
                });
            });
        }
        group.finish();
        let of = |pick: fn(&Costs) -> f64| median(seen.iter().map(pick).collect());
        let (token, request) = (of(|costs| costs.token), of(|costs| costs.request));
        if concurrency == 1 {
            println!("one in flight (worst case): {token:.1} ns a token event, {request:.1} ns a request event");
        } else if !seen.is_empty() {
            verdict(&format!("a token event, median of {}", seen.len()), token, "ns", TARGET_TOKEN_NS);
            verdict(&format!("a request event, median of {}", seen.len()), request, "ns", TARGET_REQUEST_NS);
        }
    }
    Ok(())
}

/// Benches the program's start: nothing that a cell needs may be touched before a cell needs it.
fn help(criterion: &mut Criterion) {
    let mut seen = Vec::new();
    let mut group = criterion.benchmark_group("program");
    group.sample_size(20).measurement_time(Duration::from_secs(2));
    group.bench_function("tacho --help", |bencher| {
        bencher.iter_custom(|iterations| {
            let mut total = Duration::ZERO;
            for _ in 0..iterations {
                let start = std::time::Instant::now();
                let status = Command::new(env!("CARGO_BIN_EXE_tacho")).arg("--help").stdout(Stdio::null()).status();
                let took = start.elapsed();
                assert!(status.is_ok_and(|status| status.success()), "tacho --help failed");
                seen.push(took.as_secs_f64() * 1e3);
                total += took;
            }
            total
        });
    });
    group.finish();
    if !seen.is_empty() {
        verdict(&format!("tacho --help, median of {}", seen.len()), median(seen), "ms", TARGET_HELP_MS);
    }
}

fn main() -> ExitCode {
    let mut criterion = Criterion::default().configure_from_args();
    if let Err(error) = events(&mut criterion) {
        eprintln!("error: {error}");
        return ExitCode::FAILURE;
    }
    help(&mut criterion);
    criterion.final_summary();
    ExitCode::SUCCESS
}
