//! Tacho's own costs: what the harness adds to a trial for each request and each token event, and how soon `tacho --help`
//! answers. `tacho::calibration::harness` says how the costs are measured. Targets: 100 ns a token event and 1 µs a request
//! event, with 256 requests in flight. With one in flight, the worst case, every token event takes a poll of its own; that is
//! shown beside it.
use std::{
    process::{Command, ExitCode, Stdio},
    time::Duration,
};

use criterion::{BenchmarkId, Criterion, SamplingMode, Throughput};
use tacho::{
    calibration::harness::{
        IN_FLIGHT, TARGET_REQUEST_NS, TARGET_TOKEN_NS, free_engine, request_event_ns, token_event_ns,
    },
    engine::sim,
    metrics::median,
};

const TARGET_HELP_MS: f64 = 20.0;

fn verdict(what: &str, value: f64, unit: &str, target: f64) {
    let met = if value <= target { "met" } else { "NOT met" };
    println!("{what}: {value:.1} {unit} (target {target} {unit} or less: {met})");
}

/// Benches the cost of each kind of event. An iteration stands for a million of them, so that criterion's whole
/// nanoseconds lose nothing.
fn events(criterion: &mut Criterion) -> Result<(), String> {
    const MILLION: u32 = 1_000_000;
    type Cost = fn(&mut sim::Sim, u32, u64) -> Result<f64, String>;
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
                        // criterion's closure has no way to fail but this.
                        let ns = cost_ns(&mut engine, concurrency, seen.len() as u64)
                            .unwrap_or_else(|error| panic!("{error}"));
                        seen.push(ns);
                        total_ns += ns;
                    }
                    Duration::from_secs_f64((total_ns * f64::from(MILLION) / 1e9).max(0.0))
                });
            });
            let what = format!("a {name}, {concurrency} in flight, median of {}", seen.len());
            match (median(&seen), concurrency) {
                (None, _) => {} // filtered out on the command line
                (Some(middle), IN_FLIGHT) => verdict(&what, middle, "ns", target),
                (Some(middle), _) => println!("{what}: {middle:.1} ns"),
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
    if let Some(middle) = median(&seen) {
        verdict(&format!("tacho --help, median of {}", seen.len()), middle, "ms", TARGET_HELP_MS);
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
