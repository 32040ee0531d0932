//! The streamed tables of a run, read a row group at a time and never as a whole: what charts need of millions of rows.

mod buckets;
mod columns;
mod histogram;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

pub(super) use buckets::{Bucket, Track};
pub(super) use histogram::Histogram;

use columns::{Group, NULL, for_each};

use crate::{
    cell::protocol::Method,
    results::{PointRecord, PointStatus},
};

/// Which (point, trial) pairs are in the figures.
pub(super) type Counted = BTreeSet<(u32, u32)>;

/// The step-loop trials that count, of points that did not fail.
pub(super) fn latency_trials(records: &[PointRecord]) -> Counted {
    records
        .iter()
        .filter(|record| matches!(record.outcome, PointStatus::Ok))
        .flat_map(|record| record.counted(Method::Steps).map(|trial| (record.point.number, trial.trial)))
        .collect()
}

/// Distributions by point.
pub(super) type ByPoint = BTreeMap<u32, Histogram>;

/// What the latencies of a run's points are made of, in nanoseconds.
#[derive(Default)]
pub(super) struct Latencies {
    pub(super) ttft: ByPoint,
    pub(super) itl: ByPoint,
    pub(super) e2e: ByPoint,
    /// Rows that were read.
    pub(super) tokens: u64,
}

/// Reads `requests.parquet` and `tokens.parquet`.
///
/// # Errors
/// A sentence for a person for each table that cannot be read; what the other gives is kept.
pub(super) fn latencies(dir: &Path, counted: &Counted) -> (Latencies, Vec<String>) {
    let mut found = Latencies::default();
    let mut errors = Vec::new();
    if counted.is_empty() {
        return (found, errors);
    }
    let requests = for_each(
        &dir.join("requests.parquet"),
        &["point", "trial", "scheduled_ns", "first_ns", "last_ns"],
        Latencies::default,
        |so_far, group| requests(so_far, group, counted),
    );
    match requests {
        Ok(parts) => parts.into_iter().for_each(|part| found.add(part)),
        Err(error) => errors.push(error),
    }
    let tokens = for_each(
        &dir.join("tokens.parquet"),
        &["point", "trial", "tokens", "gap_ns"],
        Latencies::default,
        |so_far, group| tokens(so_far, group, counted),
    );
    match tokens {
        Ok(parts) => parts.into_iter().for_each(|part| found.add(part)),
        Err(error) => errors.push(error),
    }
    (found, errors)
}

impl Latencies {
    fn add(&mut self, other: Self) {
        self.tokens += other.tokens;
        for (mine, others) in [(&mut self.ttft, other.ttft), (&mut self.itl, other.itl), (&mut self.e2e, other.e2e)] {
            for (point, histogram) in others {
                mine.entry(point).or_default().add(&histogram);
            }
        }
    }
}

/// Calls `of` with each stretch of rows of one (point, trial) that counts.
fn stretches(group: &Group, counted: &Counted, mut of: impl FnMut(u32, std::ops::Range<usize>)) {
    let (points, trials) = (group.column(0), group.column(1));
    let mut start = 0;
    while start < points.len() {
        let place = (points[start], trials[start]);
        let length = (start..points.len()).take_while(|row| (points[*row], trials[*row]) == place).count();
        if let (Ok(point), Ok(trial)) = (u32::try_from(place.0), u32::try_from(place.1))
            && counted.contains(&(point, trial))
        {
            of(point, start..start + length);
        }
        start += length;
    }
}

fn requests(so_far: &mut Latencies, group: &Group, counted: &Counted) {
    let (due, first, last) = (group.column(2), group.column(3), group.column(4));
    stretches(group, counted, |point, rows| {
        for (from, to, into) in [(due, first, &mut so_far.ttft), (due, last, &mut so_far.e2e)] {
            let histogram = into.entry(point).or_default();
            for row in rows.clone() {
                if from[row] != NULL && to[row] != NULL {
                    histogram.record(to[row].saturating_sub(from[row]), 1);
                }
            }
        }
    });
}

/// Of tokens that became visible together the first has the gap and the others have 0, as `itl` is defined.
fn tokens(so_far: &mut Latencies, group: &Group, counted: &Counted) {
    let (tokens, gaps) = (group.column(2), group.column(3));
    stretches(group, counted, |point, rows| {
        so_far.tokens += rows.len() as u64;
        let histogram = so_far.itl.entry(point).or_default();
        for row in rows {
            if gaps[row] != NULL {
                histogram.record(gaps[row], 1);
                histogram.record(0, tokens[row].saturating_sub(1));
            }
        }
    });
}

/// Samples of the GPUs over the run, a track for each device and figure.
pub(super) fn gpu(dir: &Path) -> Result<BTreeMap<String, Vec<Track>>, String> {
    let names = ["utilization_percent", "power_mw", "sm_clock_mhz", "memory_used_bytes"];
    buckets::tracks(&dir.join("gpu.parquet"), Some("uuid"), &names)
}

/// Samples of the cell's process tree: processors that it kept busy, and its memory.
pub(super) fn host(dir: &Path) -> Result<Vec<Track>, String> {
    buckets::host(&dir.join("host.parquet"))
}

/// The steps of one traced trial: duration and busy time in nanoseconds, in order.
pub(super) fn traced_steps(dir: &Path, point: u32, launch: u32, trial: u32) -> Result<Vec<(u64, u64)>, String> {
    let path = dir.join(format!("traces/point-{point:05}.steps.parquet"));
    let parts = for_each(&path, &["launch", "trial", "start_ns", "end_ns", "busy_ns"], Vec::new, |steps, group| {
        for row in 0..group.column(0).len() {
            if group.column(0)[row] == u64::from(launch) && group.column(1)[row] == u64::from(trial) {
                let length = group.column(3)[row].saturating_sub(group.column(2)[row]);
                steps.push((length, group.column(4)[row]));
            }
        }
    })?;
    Ok(parts.into_iter().flatten().collect())
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
