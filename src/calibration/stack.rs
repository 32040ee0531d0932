//! The simulated engine in a cell of its own, in real time: what is measured through the whole stack against what its
//! declared costs add up to.
use std::{path::Path, time::Duration};

use serde_json::{Value, json};

use super::Check;
use crate::{
    cell::{
        parent::{Cell, CellProgram, TableSink},
        protocol::{Load, Method, RequestRow, StepRow, TokenRow, TrialKind, TrialSpec, TrialSummary},
    },
    engine::{IdRange, LoadConfig, Sampling, sim},
    metrics::{Aggregate, median},
    results::{Quantiles, TrialFigures},
    workload::{LengthDist, WorkloadSpec},
};

const WITHIN: Duration = Duration::from_secs(60);
const TRIALS: u64 = 9;

/// A batch on the simulated engine, and its costs.
#[derive(Clone, Copy)]
pub(super) struct Work {
    pub batch: u32,
    pub input: u32,
    pub output: u32,
    pub step_base_us: f64,
    pub prefill_token_us: f64,
    pub decode_seq_us: f64,
}

impl Work {
    fn first_token_ms(&self) -> f64 {
        (self.step_base_us + self.prefill_token_us * f64::from(self.batch * self.input)) / 1e3
    }

    fn gap_ms(&self) -> f64 {
        (self.step_base_us + self.decode_seq_us * f64::from(self.batch)) / 1e3
    }

    fn all_ms(&self) -> f64 {
        self.first_token_ms() + f64::from(self.output - 1) * self.gap_ms()
    }
}

/// A cell of the simulated engine with its engine loaded.
pub(super) struct SimCell {
    cell: Cell,
    ids: Vec<IdRange>,
    work: Work,
}

impl SimCell {
    pub(super) fn start(program: &CellProgram, log: &Path, work: Work) -> Result<Self, String> {
        let mut cell = Cell::start(program, log).map_err(|error| error.to_string())?;
        let option = |name: &str, value: Value| (name.to_owned(), value);
        let config = LoadConfig {
            engine: sim::ID.to_owned(),
            model: None,
            max_seqs: work.batch,
            max_model_len: work.input + work.output,
            seed: 1,
            options: [
                option("step_base_us", json!(work.step_base_us)),
                option("prefill_token_us", json!(work.prefill_token_us)),
                option("decode_seq_us", json!(work.decode_seq_us)),
            ]
            .into_iter()
            .collect(),
        };
        let (info, _) = cell.load(&config, WITHIN).map_err(|error| error.to_string())?;
        Ok(Self { cell, ids: info.model.ordinary_ids, work })
    }

    /// The figures of a trial; the same `stream` has the same requests.
    pub(super) fn trial(&mut self, method: Method, stream: u64) -> Result<TrialFigures, String> {
        let batch = self.work.batch;
        let (_, figures) = self.run(method, Load::Offline { batch }, batch, stream)?;
        Ok(figures)
    }

    /// A trial of so many requests in another load.
    pub(super) fn steps(
        &mut self,
        load: Load,
        requests: u32,
        stream: u64,
    ) -> Result<(TrialSummary, TrialFigures), String> {
        self.run(Method::Steps, load, requests, stream)
    }

    fn run(
        &mut self,
        method: Method,
        load: Load,
        requests: u32,
        stream: u64,
    ) -> Result<(TrialSummary, TrialFigures), String> {
        let work = self.work;
        let spec = TrialSpec {
            trial: 0,
            kind: TrialKind::Timed,
            method,
            load,
            device_clock: Default::default(),
            workload: WorkloadSpec {
                requests,
                input: LengthDist::Fixed(work.input),
                output: LengthDist::Fixed(work.output),
                sampling: Sampling::default(),
                seed: 1,
                stream,
                ids: self.ids.clone(),
                saved: None,
            },
        };
        let mut sink = Sink(Aggregate::default());
        let summary = self.cell.trial(&spec, WITHIN, &mut sink).map_err(|error| error.to_string())?;
        let figures = sink.0.figures(method, &summary).map_err(|error| error.to_string())?;
        Ok((summary, figures))
    }

    pub(super) fn end(self) -> Result<(), String> {
        self.cell.shutdown().map_err(|error| error.to_string())
    }
}

struct Sink(Aggregate);

impl TableSink for Sink {
    fn tokens(&mut self, rows: &[TokenRow]) -> Result<(), String> {
        self.0.tokens(rows);
        Ok(())
    }

    fn requests(&mut self, rows: &[RequestRow]) -> Result<(), String> {
        self.0.requests(rows);
        Ok(())
    }

    fn steps(&mut self, _: &[StepRow]) -> Result<(), String> {
        Ok(())
    }

    fn progress(&mut self, _: u64) {}
}

/// TTFT, ITL, E2E and throughput, each within the larger of 0.1 % and 20 µs of the closed form.
pub(super) fn closed_form(program: &CellProgram, log: &Path) -> Result<Vec<Check>, String> {
    let work =
        Work { batch: 4, input: 64, output: 32, step_base_us: 5000.0, prefill_token_us: 20.0, decode_seq_us: 50.0 };
    let mut cell = SimCell::start(program, log, work)?;
    let (mut steps, mut calls) = (Vec::new(), Vec::new());
    for stream in 0..=TRIALS {
        let (step, call) = (cell.trial(Method::Steps, stream)?, cell.trial(Method::Generate, stream)?);
        // The first of each warms up.
        if stream > 0 {
            steps.push(step);
            calls.push(call);
        }
    }
    cell.end()?;
    let note = "median of 9 trials of the simulated engine in its own process, in real time";
    let latency = |name: &str, of: fn(&TrialFigures) -> Option<&Quantiles>, expected: f64| {
        let values: Vec<f64> = steps.iter().filter_map(|figures| Some(of(figures)?.p50)).collect();
        Check::near(name, median(&values).unwrap_or(f64::NAN), expected, (0.001 * expected).max(0.02), "ms", note)
    };
    let throughput: Vec<f64> = calls.iter().map(|figures| figures.output_token_throughput).collect();
    let rate = f64::from(work.batch * work.output) / work.all_ms() * 1e3;
    // 20 µs of its time, as a share of the rate.
    let allowed = rate * 0.001_f64.max(0.02 / work.all_ms());
    Ok(vec![
        latency("TTFT", |figures| figures.ttft.as_ref(), work.first_token_ms()),
        latency("ITL", |figures| figures.itl.as_ref(), work.gap_ms()),
        latency("E2E", |figures| figures.e2e.as_ref(), work.all_ms()),
        Check::near("throughput", median(&throughput).unwrap_or(f64::NAN), rate, allowed, "tokens/s", note),
    ])
}
