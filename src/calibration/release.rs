//! How late requests of an open load are released in a cell, at a declared rate.
use std::path::Path;

use super::{
    Check,
    stack::{SimCell, Work},
};
use crate::{
    cell::{parent::CellProgram, protocol::Load},
    workload::arrivals::{ArrivalSpec, Process},
};

const RATE: f64 = 10_000.0;
const REQUESTS: u32 = 30_000;
/// An engine that keeps up: a step may take 50 requests and takes 100 µs.
const WORK: Work =
    Work { batch: 64, input: 4, output: 1, step_base_us: 100.0, prefill_token_us: 0.0, decode_seq_us: 0.0 };

/// The lateness of 3 s of Poisson arrivals.
///
/// # Errors
/// A sentence when the cell or its engine fails.
pub(super) fn lateness(program: &CellProgram, log: &Path) -> Result<Vec<Check>, String> {
    let mut cell = SimCell::start(program, log, WORK)?;
    let arrivals = ArrivalSpec { process: Process::Poisson, rate: Some(RATE) };
    let (summary, _) = cell.steps(Load::Open { arrivals, max_in_flight: None }, REQUESTS, 0)?;
    cell.end()?;
    let schedule = summary.schedule.ok_or("the cell said nothing of its schedule")?;
    let note = "30000 Poisson arrivals at 10000 requests/s";
    let us = |name: &str, value_ns: f64, limit: f64| Check::at_most(name, value_ns / 1e3, limit, "µs", note);
    Ok(vec![
        us("release lateness, median", schedule.lateness.p50_ns, 50.0),
        us("release lateness, 99th percentile", schedule.lateness.p99_ns, 100.0),
        us("release lateness, 99.9th percentile", schedule.lateness.p999_ns, 1000.0),
    ])
}
