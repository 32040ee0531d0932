//! The clock, and what the harness costs: the simulated engine at no cost, in this process. The same figures as
//! `benches/harness.rs`, which says how they are made.
use std::io;

use super::Check;
use crate::{
    cell::{
        drive::{RecordSink, run_trial},
        protocol::{Load, Method, RequestRow, StepRow, TokenRow, TrialKind, TrialSpec},
    },
    engine::{
        Engine, LoadConfig, Sampling,
        sim::{self, Sim},
    },
    measure::monotonic_ns,
    metrics::median,
    workload::{LengthDist, WorkloadSpec},
};

const READS: usize = 100_000;
const REQUESTS: u32 = 4096;
const IN_FLIGHT: u32 = 256;
const INPUT: u32 = 128;
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

/// The cost of a token event and of a request event, with 256 requests in flight.
pub(super) fn costs() -> Result<Vec<Check>, String> {
    let zero = |name: &str| (name.to_owned(), 0.into());
    let config = LoadConfig {
        engine: sim::ID.to_owned(),
        model: None,
        max_seqs: IN_FLIGHT,
        max_model_len: INPUT + OUTPUTS[1],
        seed: 1,
        options: ["step_base_us", "prefill_token_us", "decode_seq_us"].into_iter().map(zero).collect(),
    };
    let mut engine = Sim::load(&config).map_err(|error| error.to_string())?;
    let (mut tokens, mut requests) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let few = outside_engine_ns(&mut engine, OUTPUTS[0], round)?;
        let many = outside_engine_ns(&mut engine, OUTPUTS[1], round)?;
        tokens.push((many - few) / (f64::from(REQUESTS) * f64::from(OUTPUTS[1] - OUTPUTS[0])));
        requests.push(few / f64::from(REQUESTS));
    }
    let note = "median of 7 trials of 4096 requests, 256 in flight";
    let of = |values: &[f64]| median(values).unwrap_or(f64::NAN);
    Ok(vec![
        Check::at_most("harness cost of a token event", of(&tokens), 100.0, "ns", note),
        Check::at_most("harness cost of a request event", of(&requests), 1000.0, "ns", note),
    ])
}

fn outside_engine_ns(engine: &mut Sim, output: u32, stream: u64) -> Result<f64, String> {
    let spec = TrialSpec {
        trial: 0,
        kind: TrialKind::Timed,
        method: Method::Steps,
        load: Load::Closed { concurrency: IN_FLIGHT },
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
    let summary =
        run_trial(engine, &spec, &mut Nowhere).map_err(|error| format!("the simulated engine failed: {error}"))?;
    Ok(summary.harness_ns as f64)
}

/// Drops the records: what storing them costs is outside the trial.
struct Nowhere;

impl RecordSink for Nowhere {
    fn tokens(&mut self, _: &[TokenRow]) -> io::Result<()> {
        Ok(())
    }

    fn requests(&mut self, _: &[RequestRow]) -> io::Result<()> {
        Ok(())
    }

    fn steps(&mut self, _: &[StepRow]) -> io::Result<()> {
        Ok(())
    }

    fn progress(&mut self, _: u64) -> io::Result<()> {
        Ok(())
    }
}
