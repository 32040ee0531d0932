//! What every trial of a loaded engine shares: its requests, its patience, its record.
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;

use super::{
    Progress,
    execute::{CellState, LoadedEngine, RunOptions, failure_with_log, plain_failure},
    hardware::Hardware,
};
use crate::{
    cell::{
        parent::{Cell, CellError, TableSink},
        protocol::{Load, Method, TrialKind, TrialSpec, TrialSummary},
    },
    engine::{EngineError, EngineInfo, ErrorKind, IdRange},
    measure::telemetry::{Mark, Samples, marks},
    plan::{Plan, Point},
    results::{Failure, PointRecord, ResultsError, TrialFigures, TrialRecord},
    validity::MAX_SUSPENDED_NS,
    workload::{Workload, WorkloadSpec, arrivals::Schedule},
};

/// All that a point's trials share.
pub(super) struct Bench<'a> {
    pub plan: &'a Plan,
    pub engine: &'a LoadedEngine,
    pub model_digest: Option<&'a str>,
    /// What prompts are drawn from.
    ids: Vec<IdRange>,
    interrupted: &'a AtomicBool,
    hardware: &'a Hardware<'a>,
    suspended_ns: &'a dyn Fn() -> u64,
}

/// Which trial of a point.
#[derive(Clone, Copy)]
pub(super) struct Trial {
    pub kind: TrialKind,
    pub method: Method,
    /// How many of its kind and method came before: decides the requests.
    pub ordinal: u32,
    /// Its number in the point's tables.
    pub number: u32,
}

impl Trial {
    /// For whoever watches.
    pub fn name(&self, point: &Point) -> String {
        let what = match (self.kind, self.method == point.load.method()) {
            (TrialKind::Warmup, true) => "warm-up",
            (TrialKind::Warmup, false) => "latency warm-up",
            (TrialKind::Timed, true) => "trial",
            (TrialKind::Timed, false) => "latency trial",
        };
        format!("{what} {}", self.ordinal + 1)
    }
}

/// Why a point ended early.
pub(super) enum Ended {
    Cell(CellError),
    Results(ResultsError),
    Interrupted,
}

impl Ended {
    /// As a failure, and whether the cell can be asked for more; None for an interrupt.
    ///
    /// # Errors
    /// When results cannot be stored.
    pub fn failure(self, cell: &Cell) -> Result<Option<(Failure, CellState)>, ResultsError> {
        let failure = match self {
            Self::Interrupted => return Ok(None),
            // Records that give no figure are the engine's doing, and cost its point.
            Self::Results(error @ ResultsError::Figures { .. }) => {
                Failure { kind: Some(ErrorKind::Mismatch), ..plain_failure(error.to_string()) }
            }
            Self::Results(error) => return Err(error),
            Self::Cell(CellError::Store(reason)) => return Err(ResultsError::Store { reason }),
            Self::Cell(error) => failure_with_log(error, cell),
        };
        // An engine that failed by itself is not asked again: what it left behind may be broken.
        let state = match failure.kind {
            None | Some(ErrorKind::Engine | ErrorKind::OutOfMemory) => CellState::Dead,
            Some(_) => CellState::Alive,
        };
        Ok(Some((failure, state)))
    }
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

/// What [`Bench::key`] hashes. Of the engine, only what would be the same at the next launch: neither
/// [`EngineInfo::observed`] nor the KV capacity that follows from it.
fn key(
    info: &EngineInfo,
    model_digest: Option<&str>,
    workload: &str,
    arrivals: Option<String>,
    point: &Point,
) -> String {
    let mut identity = json!({
        "engine": info.engine,
        "version": info.version,
        "boundary": info.boundary,
        "device": info.device,
        "effective": info.effective,
        "model": model_digest,
        "workload": workload,
        "sampling": point.workload.sampling,
        "load": point.load,
    });
    // Keys of other load modes stay as they were before there was this one.
    if let Some(arrivals) = arrivals {
        identity["arrivals"] = arrivals.into();
    }
    blake3::hash(identity.to_string().as_bytes()).to_hex().to_string()
}

impl<'a> Bench<'a> {
    pub fn new(
        plan: &'a Plan,
        options: &'a RunOptions<'a>,
        hardware: &'a Hardware<'a>,
        engine: &'a LoadedEngine,
        model_digest: Option<&'a str>,
        ids: Vec<IdRange>,
    ) -> Self {
        let (interrupted, suspended_ns) = (options.interrupted, options.suspended_ns);
        Self { plan, engine, model_digest, ids, interrupted, hardware, suspended_ns }
    }

    /// Hash of what determines the point's figures: a resumed run skips the point only when it finds the same. None when
    /// its workload cannot be made.
    pub fn key(&self, point: &Point) -> Option<String> {
        let spec = self.workload(point, TrialKind::Timed, point.load.method(), 0);
        let arrivals = match &point.load {
            Load::Open { arrivals, .. } => {
                Some(Schedule::new(arrivals, spec.requests, spec.seed, spec.stream).ok()?.digest())
            }
            _ => None,
        };
        let workload = Workload::new(spec).ok()?;
        let think = workload.turns().map(|turns| turns.digest());
        // Keys of single requests stay as they were before there were conversations.
        let workload = workload.digest() + think.as_deref().unwrap_or_default();
        Some(key(&self.engine.info, self.model_digest, &workload, arrivals, point))
    }

    /// The requests of one trial. The stream depends on the work and on how many trials of that kind came before, not on
    /// the engine: every engine gets the same ids, and no two trials do.
    pub fn workload(&self, point: &Point, kind: TrialKind, method: Method, ordinal: u32) -> WorkloadSpec {
        let work = &point.workload;
        let what = match &work.data {
            None => json!([work, point.load, kind, method, ordinal]),
            // Neither the file's place nor what a model's tokenizer makes of it changes which requests come when.
            Some(_) => json!([work.requests, work.seed, point.load, kind, method, ordinal]),
        }
        .to_string();
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
            saved: work.data.as_ref().and_then(|data| data.saved.clone()),
        }
    }

    /// What speaks against a trial, beside the point's earlier ones of its method.
    pub fn marks(&self, record: &PointRecord, timed: &TrialRecord) -> Vec<Mark> {
        let suspended_ns = timed.summary.evidence.suspended_ns.filter(|_| !timed.summary.virtual_time);
        let suspended = suspended_ns.filter(|ns| *ns > MAX_SUSPENDED_NS).map(Mark::Suspended);
        let others = self.hardware.disturbance(timed, &self.engine.info, &self.plan.validity).map(Mark::Others);
        let mut found: Vec<Mark> = suspended.into_iter().chain(others).collect();
        let Some(gpu) = &timed.hardware.telemetry.gpu else { return found };
        let earlier = record.counted(timed.method).filter(|trial| trial.hardware.marks.is_empty());
        let clocks: Vec<f64> =
            earlier.filter_map(|trial| trial.hardware.telemetry.gpu.as_ref()?.sm_clock_mean_mhz).collect();
        found.extend(marks(gpu, &clocks, self.plan.trials.clock_band, self.plan.validity.power_cap.judged()));
        found
    }

    /// Says that a trial begins, unless the run is to end.
    pub fn begin(
        &self,
        progress: &mut dyn Progress,
        point: &Point,
        trial: Trial,
        name: &str,
    ) -> Result<TrialSpec, Ended> {
        if self.interrupted.load(Ordering::Relaxed) {
            return Err(Ended::Interrupted);
        }
        if let Some(why) = point.workload.outside_of(self.engine.info.model.vocab_size) {
            return Err(CellError::Engine(EngineError::bad_request(why)).into());
        }
        let Trial { kind, method, ordinal, number } = trial;
        let workload = self.workload(point, kind, method, ordinal);
        let expected = (workload.output.mean() * f64::from(workload.requests)) as u64;
        progress.trial(name, expected);
        let device_clock = self.plan.trials.device_clock;
        Ok(TrialSpec { trial: number, kind, method, load: point.load.clone(), device_clock, workload })
    }

    /// Runs a trial with the plan's patience, its tables going into `sink`; with what was sampled beside a timed one.
    pub fn trial(
        &self,
        cell: &mut Cell,
        spec: &TrialSpec,
        sink: &mut dyn TableSink,
    ) -> Result<(TrialSummary, Option<Samples>), CellError> {
        let timed = spec.kind == TrialKind::Timed;
        if timed {
            self.hardware.begin();
        }
        let before_ns = (self.suspended_ns)();
        let summary = cell.watched_trial(spec, self.plan.patience(spec.kind), sink);
        let suspended_ns = (self.suspended_ns)().saturating_sub(before_ns);
        let samples = if timed { self.hardware.end() } else { None };
        let mut summary = summary?;
        summary.evidence.suspended_ns = Some(suspended_ns);
        Ok((summary, samples))
    }

    /// A timed trial's record.
    pub fn trial_record(
        &self,
        spec: &TrialSpec,
        summary: TrialSummary,
        samples: Option<&Samples>,
        figures: TrialFigures,
    ) -> TrialRecord {
        let hardware = self.engine.limits.trial(samples, spec, &summary);
        TrialRecord { hardware, ..TrialRecord::new(spec.trial, spec.method, summary, figures) }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::results::testing;

    #[test]
    fn what_differs_from_launch_to_launch_is_no_part_of_the_key() {
        let record = testing::point(0, "llama.cpp", &[]);
        let info = record.engine.unwrap();
        let key_of = |info: &EngineInfo| key(info, Some("weights"), "requests", None, &record.point);

        let mut relaunched = info.clone();
        relaunched.observed.insert("num_gpu_blocks".to_owned(), json!(28_017));
        relaunched.kv_capacity_tokens = Some(448_272);
        assert_eq!(key_of(&relaunched), key_of(&info));

        let mut reconfigured = info.clone();
        reconfigured.effective.insert("block_size".to_owned(), json!(32));
        assert_ne!(key_of(&reconfigured), key_of(&info));
    }
}
