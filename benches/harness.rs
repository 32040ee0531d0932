//! Tacho's own costs: what the harness adds to a trial for each request and each token event, and how soon `tacho --help`
//! answers.
//!
//! The simulated engine runs at zero cost, in this process. What is counted is `TrialSummary::harness_ns`: the time of the
//! trial spent outside the engine's calls. Two shapes that differ only in output tokens give the cost of a token event by
//! their difference. The cost of a request event is all that a request with a single token costs: making its prompt of
//! 128 tokens, handing it over, that token, checking and recording its end. Targets: 100 ns a token event and 1 µs a
//! request event, with 256 requests in flight. With one in flight, the worst case, every token event takes a poll of its
//! own; that is shown beside it.
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
/// Requests in flight for which the targets hold.
const IN_FLIGHT: u32 = 256;
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
        device_clock: Default::default(),
        workload: WorkloadSpec {
            requests: REQUESTS,
            input: LengthDist::Fixed(INPUT),
            output: LengthDist::Fixed(output),
            sampling: Sampling::default(),
            seed: 1,
            stream,
            ids: engine.info().model.ordinary_ids.clone(),
            saved: None,
        },
    };
    match run_trial(engine, &spec, &mut Drop) {
        Ok(summary) => summary.harness_ns as f64,
        // criterion's closure has no way to fail but this.
        Err(error) => panic!("the simulated engine failed: {error}"),
    }
}

/// What a token event costs, in nanoseconds.
fn token_event_ns(engine: &mut sim::Sim, concurrency: u32, stream: u64) -> f64 {
    let [few, many] = OUTPUTS.map(|output| harness_ns(engine, concurrency, output, stream));
    (many - few) / (f64::from(REQUESTS) * f64::from(OUTPUTS[1] - OUTPUTS[0]))
}

/// What a request with a single token costs, in nanoseconds.
fn request_event_ns(engine: &mut sim::Sim, concurrency: u32, stream: u64) -> f64 {
    harness_ns(engine, concurrency, OUTPUTS[0], stream) / f64::from(REQUESTS)
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

/// Benches the cost of each kind of event. An iteration stands for a million of them, so that criterion's whole
/// nanoseconds lose nothing.
fn events(criterion: &mut Criterion) -> Result<(), String> {
    const MILLION: u32 = 1_000_000;
    type Cost = fn(&mut sim::Sim, u32, u64) -> f64;
    let kinds: [(&str, Cost, f64); 2] =
        [("token event", token_event_ns, TARGET_TOKEN_NS), ("request event", request_event_ns, TARGET_REQUEST_NS)];
    for concurrency in [IN_FLIGHT, 1] {
        let mut engine = free_engine(concurrency)?;
        let mut group = criterion.benchmark_group(format!("harness, {concurrency} in flight"));
        group.sampling_mode(SamplingMode::Flat).sample_size(20);
        group.throughput(Throughput::Elements(u64::from(MILLION)));
        for (name, cost_ns, target) in kinds {
            let mut seen = Vec::new();
            group.bench_function(BenchmarkId::from_parameter(format!("a million {name}s")), |bencher| {
                bencher.iter_custom(|iterations| {
                    let mut total_ns = 0.0;
                    for _ in 0..iterations {
                        let ns = cost_ns(&mut engine, concurrency, seen.len() as u64);
                        seen.push(ns);
                        total_ns += ns;
                    }
                    Duration::from_secs_f64((total_ns * f64::from(MILLION) / 1e9).max(0.0))
                });
            });
            let what = format!("a {name}, {concurrency} in flight, median of {}", seen.len());
            match (seen.is_empty(), concurrency) {
                (true, _) => {} // filtered out on the command line
                (false, IN_FLIGHT) => verdict(&what, median(seen), "ns", target),
                (false, _) => println!("{what}: {:.1} ns", median(seen)),
            }
        }
        group.finish();
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
