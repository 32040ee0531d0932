//! One point: warm-up until steady, timed trials until the interval is narrow, step-loop trials for latencies.
use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Instant,
};

use serde_json::json;

use super::{
    Progress,
    execute::{CellState, failure_of},
};
use crate::{
    cell::{
        parent::{Cell, CellError},
        protocol::{Method, TrialKind, TrialSpec},
    },
    engine::{EngineInfo, IdRange},
    metrics::{
        self,
        stopping::{CONFIDENCE, Decision},
    },
    plan::{Plan, Point},
    results::{Discard, PointRecord, PointStatus, ResultsError, RunDir, TrialRecord},
    workload::{Workload, WorkloadSpec},
};

/// All that a point's trials share.
pub(super) struct Bench<'a> {
    pub plan: &'a Plan,
    pub info: &'a EngineInfo,
    pub load_ns: u64,
    pub model_digest: Option<&'a str>,
    pub ids: Vec<IdRange>,
    pub interrupted: &'a AtomicBool,
}

/// Why a point ended early.
enum Ended {
    Cell(CellError),
    Results(ResultsError),
    Interrupted,
}

impl From<CellError> for Ended {
    fn from(error: CellError) -> Self {
        Self::Cell(error)
    }
}

impl From<ResultsError> for Ended {
    fn from(error: ResultsError) -> Self {
        Self::Results(error)
    }
}

impl Bench<'_> {
    /// Hash of what determines the point's figures: a resumed run skips the point only when it finds the same. None when
    /// its workload cannot be made.
    pub fn key(&self, point: &Point) -> Option<String> {
        let workload = Workload::new(self.workload(point, TrialKind::Timed, 0)).ok()?.digest();
        let identity = json!({
            "engine": self.info.engine,
            "version": self.info.version,
            "boundary": self.info.boundary,
            "device": self.info.device,
            "effective": self.info.effective,
            "model": self.model_digest,
            "workload": workload,
            "sampling": point.workload.sampling,
            "load": point.load,
        });
        Some(blake3::hash(identity.to_string().as_bytes()).to_hex().to_string())
    }

    /// The requests of one trial. The stream depends on the work and the trial's number, not on the engine: every engine
    /// gets the same ids, and no two trials do.
    fn workload(&self, point: &Point, kind: TrialKind, number: u32) -> WorkloadSpec {
        let work = &point.workload;
        let what = json!([work, point.load, kind, number]).to_string();
        let hash = blake3::hash(what.as_bytes());
        let stream = hash.as_bytes().iter().take(8).fold(0, |word: u64, byte| word << 8 | u64::from(*byte));
        WorkloadSpec {
            requests: work.requests,
            input: work.input,
            output: work.output,
            sampling: work.sampling,
            seed: work.seed,
            stream,
            ids: self.ids.clone(),
        }
    }

    /// Measures the point. No record means that it was interrupted: it counts as not run.
    pub fn run(
        &self,
        cell: &mut Cell,
        point: Point,
        key: Option<String>,
        dir: &mut RunDir,
        progress: &mut dyn Progress,
    ) -> Result<(Option<PointRecord>, CellState), ResultsError> {
        let mut record = PointRecord {
            key,
            engine: Some(self.info.clone()),
            model_digest: self.model_digest.map(str::to_owned),
            load_ns: Some(self.load_ns),
            ..PointRecord::empty(point, PointStatus::Ok)
        };
        let mut state = CellState::Alive;
        match self.trials(cell, &mut record, dir, progress) {
            Ok(()) => {}
            Err(Ended::Results(error)) => return Err(error),
            Err(Ended::Interrupted) => return Ok((None, state)),
            Err(Ended::Cell(CellError::Store(reason))) => return Err(ResultsError::Store { reason }),
            Err(Ended::Cell(error)) => {
                if matches!(error, CellError::Died(_)) {
                    state = CellState::Dead;
                }
                record.stopped_by = "failed".to_owned();
                record.outcome = PointStatus::Failed(failure_of(error));
            }
        }
        Ok((Some(record), state))
    }

    fn trials(
        &self,
        cell: &mut Cell,
        record: &mut PointRecord,
        dir: &mut RunDir,
        progress: &mut dyn Progress,
    ) -> Result<(), Ended> {
        let policy = &self.plan.trials;
        let method = record.point.load.method();
        let mut steady = metrics::warmup::Steady::new();
        for number in 0..policy.max_warmup {
            let label = format!("warm-up {}", number + 1);
            let (seconds, _) =
                self.trial(cell, &record.point, TrialKind::Warmup, method, number, &label, dir, progress)?;
            record.warmup_seconds.push(seconds);
            if steady.push(seconds).is_steady() {
                record.warmup_steady = true;
                break;
            }
        }
        let began = Instant::now();
        let mut throughputs = Vec::new();
        loop {
            let number = record.trials.len() as u32;
            let label = format!("trial {}", number + 1);
            let (_, timed) =
                self.trial(cell, &record.point, TrialKind::Timed, method, number, &label, dir, progress)?;
            let Some(timed) = timed else { continue };
            throughputs.push(timed.figures.output_token_throughput);
            record.trials.push(timed);
            let interval = metrics::median_interval(&throughputs, CONFIDENCE).ok();
            if let Some(last) = throughputs.last() {
                progress.trial_done(*last, interval.as_ref().map(|interval| (interval.low, interval.high)));
            }
            match metrics::stopping::decide(&throughputs, policy, began.elapsed()) {
                Decision::Continue => {}
                Decision::Stop(reason) => {
                    record.stopped_by = reason.as_str().to_owned();
                    break;
                }
            }
        }
        if method == Method::Generate && self.info.capabilities.continuous_batching {
            for number in 0..policy.latency_trials {
                let label = format!("latency trial {}", number + 1);
                let number = record.trials.len() as u32;
                let (_, timed) =
                    self.trial(cell, &record.point, TrialKind::Timed, Method::Steps, number, &label, dir, progress)?;
                record.trials.extend(timed);
            }
        }
        Ok(())
    }

    /// One trial: its seconds, and its record when it was a timed one.
    #[allow(clippy::too_many_arguments)]
    fn trial(
        &self,
        cell: &mut Cell,
        point: &Point,
        kind: TrialKind,
        method: Method,
        number: u32,
        label: &str,
        dir: &mut RunDir,
        progress: &mut dyn Progress,
    ) -> Result<(f64, Option<TrialRecord>), Ended> {
        if self.interrupted.load(Ordering::Relaxed) {
            return Err(Ended::Interrupted);
        }
        let workload = self.workload(point, kind, number);
        progress.trial(label, (workload.output.mean() * f64::from(workload.requests)) as u64);
        let spec = TrialSpec { trial: number, kind, method, load: point.load, workload };
        let within = self.plan.trial_within;
        match kind {
            TrialKind::Warmup => {
                let mut nowhere = Discard::new(|tokens| progress.tokens(tokens));
                let summary = cell.trial(&spec, within, &mut nowhere)?;
                Ok((summary.seconds(), None))
            }
            TrialKind::Timed => {
                let mut tables =
                    dir.trial_tables(point.number, number, method).with_progress(|tokens| progress.tokens(tokens));
                let summary = cell.trial(&spec, within, &mut tables)?;
                let figures = tables.finish(&summary)?;
                Ok((summary.seconds(), Some(TrialRecord { trial: number, method, summary, figures })))
            }
        }
    }
}

/// A point's name for a person: its engine and what the plan varies.
pub(super) fn label(point: &Point) -> String {
    let axes: Vec<String> = point.axes.iter().map(|(name, value)| format!("{name}={value}")).collect();
    if axes.is_empty() { point.engine.id.clone() } else { format!("{} {}", point.engine.id, axes.join(" ")) }
}

/// How a point ended, in one line.
pub(super) fn outcome_line(record: &PointRecord) -> String {
    let label = label(&record.point);
    match &record.outcome {
        PointStatus::Failed(failure) => format!("{label}: FAILED: {}", failure.reason),
        PointStatus::Ok => {
            let throughputs = record.throughputs();
            match metrics::median_interval(&throughputs, CONFIDENCE) {
                Ok(interval) => format!(
                    "{label}: {:.1} output tok/s (95 % interval {:.1} to {:.1}, {} trials)",
                    interval.median,
                    interval.low,
                    interval.high,
                    throughputs.len()
                ),
                Err(why) => format!("{label}: {} trials, no interval: {why}", throughputs.len()),
            }
        }
    }
}
