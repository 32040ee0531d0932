//! The clock, and what the harness adds to a trial for each request and each token event.
//!
//! The simulated engine runs at zero cost, in this process. What is counted is `TrialSummary::harness_ns`: the time of the
//! trial spent outside the engine's calls. Two shapes that differ only in output tokens give the cost of a token event by
//! their difference. The cost of a request event is all that a request with a single token costs: making its prompt of
//! 128 tokens, handing it over, that token, checking and recording its end. `benches/harness.rs` watches the same costs.
use super::Check;
use crate::{
    cell::{
        drive::{Nowhere, run_trial},
        protocol::{Load, Method, TrialKind, TrialSpec},
    },
    engine::{
        Engine, LoadConfig, Sampling,
        sim::{self, Sim},
    },
    measure::monotonic_ns,
    metrics::median,
    workload::{LengthDist, WorkloadSpec},
};

/// Requests in flight for which the targets hold.
pub const IN_FLIGHT: u32 = 256;
/// What a token event may cost.
pub const TARGET_TOKEN_NS: f64 = 100.0;
/// What a request event may cost.
pub const TARGET_REQUEST_NS: f64 = 1000.0;
const READS: usize = 100_000;
const REQUESTS: u32 = 4096;
const INPUT: u32 = 128;
/// Output tokens a request: few, and many. Their records fit in memory, so that no trial flushes midway.
const OUTPUTS: [u32; 2] = [1, 65];
const ROUNDS: u64 = 7;

/// Steps and cost of CLOCK_MONOTONIC.
pub(super) fn clock() -> Vec<Check> {
    let reads: Vec<u64> = (0..READS).map(|_| monotonic_ns()).collect();
    let steps = reads.windows(2).map(|pair| pair[1] - pair[0]).filter(|step| *step > 0);
    let resolution = steps.min().unwrap_or(u64::MAX) as f64;
    let cost = (reads[READS - 1] - reads[0]) as f64 / (READS - 1) as f64;
    vec![
        Check::at_most("clock resolution", resolution, 1000.0, "ns", "smallest step between two readings"),
        Check::at_most("clock cost", cost, 1000.0, "ns", "mean of 100000 readings in a row"),
    ]
}

/// The cost of a token event and of a request event.
pub(super) fn costs() -> Result<Vec<Check>, String> {
    let mut engine = free_engine(IN_FLIGHT)?;
    let (mut tokens, mut requests) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        tokens.push(token_event_ns(&mut engine, IN_FLIGHT, round)?);
        requests.push(request_event_ns(&mut engine, IN_FLIGHT, round)?);
    }
    let note = "median of 7 trials of 4096 requests, 256 in flight";
    let of = |values: &[f64]| median(values).unwrap_or(f64::NAN);
    Ok(vec![
        Check::at_most("harness cost of a token event", of(&tokens), TARGET_TOKEN_NS, "ns", note),
        Check::at_most("harness cost of a request event", of(&requests), TARGET_REQUEST_NS, "ns", note),
    ])
}

/// The simulated engine with every cost set to 0.
///
/// # Errors
/// A sentence when it cannot be loaded.
pub fn free_engine(max_seqs: u32) -> Result<Sim, String> {
    let zero = |name: &str| (name.to_owned(), 0.into());
    let config = LoadConfig {
        engine: sim::ID.to_owned(),
        model: None,
        max_seqs,
        max_model_len: INPUT + OUTPUTS[1],
        seed: 1,
        options: ["step_base_us", "prefill_token_us", "decode_seq_us"].into_iter().map(zero).collect(),
    };
    Sim::load(&config).map_err(|error| error.to_string())
}

/// What a token event costs, in nanoseconds.
///
/// # Errors
/// A sentence when the engine fails.
pub fn token_event_ns(engine: &mut Sim, concurrency: u32, stream: u64) -> Result<f64, String> {
    let few = outside_engine_ns(engine, concurrency, OUTPUTS[0], stream)?;
    let many = outside_engine_ns(engine, concurrency, OUTPUTS[1], stream)?;
    Ok((many - few) / (f64::from(REQUESTS) * f64::from(OUTPUTS[1] - OUTPUTS[0])))
}

/// What a request with a single token costs, in nanoseconds.
///
/// # Errors
/// A sentence when the engine fails.
pub fn request_event_ns(engine: &mut Sim, concurrency: u32, stream: u64) -> Result<f64, String> {
    Ok(outside_engine_ns(engine, concurrency, OUTPUTS[0], stream)? / f64::from(REQUESTS))
}

/// Nanoseconds that one trial spent outside the engine.
fn outside_engine_ns(engine: &mut Sim, concurrency: u32, output: u32, stream: u64) -> Result<f64, String> {
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
    // What storing records costs is outside the trial.
    let summary =
        run_trial(engine, &spec, &mut Nowhere).map_err(|error| format!("the simulated engine failed: {error}"))?;
    Ok(summary.harness_ns as f64)
}
