//! One point: warm-up until steady, timed trials until the interval is narrow, step-loop trials for latencies.
use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Instant,
};

use serde_json::json;

use super::{
    Progress,
    execute::{CellState, failure_with_log, plain_failure},
    hardware::{CellHardware, Hardware},
};
use crate::{
    cell::{
        parent::{Cell, CellError},
        protocol::{Load, Method, TrialKind, TrialSpec, TrialSummary},
    },
    engine::{EngineError, EngineInfo, ErrorKind, IdRange},
    measure::telemetry::{Mark, marks},
    metrics::{
        self,
        stopping::{CONFIDENCE, Decision},
    },
    plan::{Plan, Point},
    results::{Discard, Failure, PointRecord, PointStatus, ResultsError, RunDir, TrialRecord},
    workload::{Workload, WorkloadSpec, arrivals::Schedule},
};

/// All that a point's trials share.
pub(super) struct Bench<'a> {
    pub plan: &'a Plan,
    pub info: &'a EngineInfo,
    pub load_ns: u64,
    pub model_digest: Option<&'a str>,
    pub ids: Vec<IdRange>,
    pub interrupted: &'a AtomicBool,
    pub hardware: &'a Hardware<'a>,
    pub limits: &'a CellHardware,
}

/// What a trial works with.
struct Hands<'a> {
    cell: &'a mut Cell,
    dir: &'a mut RunDir,
    progress: &'a mut dyn Progress,
}

/// Which trial of a point.
#[derive(Clone, Copy)]
struct Trial {
    kind: TrialKind,
    method: Method,
    /// How many of its kind and method came before.
    ordinal: u32,
    /// Its number in the point's tables.
    number: u32,
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

impl Bench<'_> {
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
        Some(key(self.info, self.model_digest, &workload, arrivals, point))
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

    /// Measures the point. No record means that it was interrupted: it counts as not run.
    pub fn run(
        &self,
        cell: &mut Cell,
        point: Point,
        key: Option<String>,
        dir: &mut RunDir,
        progress: &mut dyn Progress,
    ) -> Result<(Option<PointRecord>, CellState), ResultsError> {
        let mut record = self.record(point, key);
        let outcome = self.trials(&mut Hands { cell, dir, progress }, &mut record);
        Self::settle(outcome, record, cell)
    }

    /// Measures the point by a single timed trial, its `ordinal` telling its requests from those of other trials; the first
    /// is preceded by a warm-up.
    pub fn probe(
        &self,
        cell: &mut Cell,
        point: Point,
        ordinal: u32,
        dir: &mut RunDir,
        progress: &mut dyn Progress,
    ) -> Result<(Option<PointRecord>, CellState), ResultsError> {
        let mut record = self.record(point, None);
        let hands = &mut Hands { cell, dir, progress };
        let outcome = self.probe_trial(hands, &mut record, ordinal);
        record.stopped_by = "probe".to_owned();
        Self::settle(outcome, record, cell)
    }

    fn probe_trial(&self, hands: &mut Hands<'_>, record: &mut PointRecord, ordinal: u32) -> Result<(), Ended> {
        let method = Method::Steps;
        if ordinal == 0 && self.plan.trials.max_warmup > 0 {
            let trial = Trial { kind: TrialKind::Warmup, method, ordinal, number: 0 };
            record.warmup_seconds.push(self.warm_up(hands, &record.point, trial)?.seconds());
        }
        let trial = Trial { kind: TrialKind::Timed, method, ordinal, number: 0 };
        record.trials.push(self.timed(hands, &record.point, trial)?);
        Ok(())
    }

    /// A record to be filled.
    fn record(&self, point: Point, key: Option<String>) -> PointRecord {
        PointRecord {
            key,
            engine: Some(self.info.clone()),
            model_digest: self.model_digest.map(str::to_owned),
            load_ns: Some(self.load_ns),
            ..PointRecord::empty(point, PointStatus::Ok)
        }
    }

    /// What a point's end means for its record and its cell.
    fn settle(
        outcome: Result<(), Ended>,
        mut record: PointRecord,
        cell: &Cell,
    ) -> Result<(Option<PointRecord>, CellState), ResultsError> {
        let failure = match outcome {
            Ok(()) => return Ok((Some(record), CellState::Alive)),
            Err(Ended::Interrupted) => return Ok((None, CellState::Alive)),
            // Records that give no figure are the engine's doing, and cost its point.
            Err(Ended::Results(error @ ResultsError::Figures { .. })) => {
                Failure { kind: Some(ErrorKind::Mismatch), ..plain_failure(error.to_string()) }
            }
            Err(Ended::Results(error)) => return Err(error),
            Err(Ended::Cell(CellError::Store(reason))) => return Err(ResultsError::Store { reason }),
            Err(Ended::Cell(error)) => failure_with_log(error, cell),
        };
        // An engine that failed by itself is not asked again: what it left behind may be broken.
        let state = match failure.kind {
            None | Some(ErrorKind::Engine | ErrorKind::OutOfMemory) => CellState::Dead,
            Some(_) => CellState::Alive,
        };
        record.stopped_by = "failed".to_owned();
        record.outcome = PointStatus::Failed(failure);
        Ok((Some(record), state))
    }

    fn trials(&self, hands: &mut Hands<'_>, record: &mut PointRecord) -> Result<(), Ended> {
        if let Some(why) = record.point.workload.outside_of(self.info.model.vocab_size) {
            return Err(CellError::Engine(EngineError::bad_request(why)).into());
        }
        let policy = &self.plan.trials;
        let method = record.point.load.method();
        let mut steady = metrics::warmup::Steady::new();
        for ordinal in 0..policy.max_warmup {
            let trial = Trial { kind: TrialKind::Warmup, method, ordinal, number: ordinal };
            let summary = self.warm_up(hands, &record.point, trial)?;
            record.warmup_seconds.push(summary.seconds());
            if steady.push(summary.working_seconds()).is_steady() {
                record.warmup_steady = true;
                break;
            }
        }
        let began = Instant::now();
        let (mut throughputs, mut by_offer) = (Vec::new(), Vec::new());
        let mut repeats = policy.max_repeats;
        loop {
            let ordinal = throughputs.len() as u32;
            let throughput = self.counted(hands, record, method, ordinal, &mut repeats)?;
            throughputs.push(throughput);
            let interval = metrics::median_interval(&throughputs, CONFIDENCE).ok();
            hands.progress.trial_done(throughput, interval.map(|interval| (interval.low, interval.high)));
            let last = record.trials.last();
            if let Some(gpu) = last.and_then(|trial| trial.hardware.telemetry.gpu.as_ref()) {
                hands.progress.gpu(&gpu.state());
            }
            by_offer.extend(last.and_then(TrialRecord::throughput_by_offer));
            let figures: &[&[f64]] =
                if by_offer.len() == throughputs.len() { &[&throughputs, &by_offer] } else { &[&throughputs] };
            if let Decision::Stop(reason) = metrics::stopping::decide(figures, policy, began.elapsed()) {
                record.stopped_by = reason.as_str().to_owned();
                break;
            }
        }
        let latencies = method == Method::Generate && self.info.capabilities.continuous_batching;
        if latencies && policy.latency_trials > 0 {
            // The step loop is another door: its first uses are not what it costs from then on.
            let method = Method::Steps;
            let mut steady = metrics::warmup::Steady::new();
            for ordinal in 0..policy.max_warmup.max(1) {
                let trial = Trial { kind: TrialKind::Warmup, method, ordinal, number: ordinal };
                if steady.push(self.warm_up(hands, &record.point, trial)?.seconds()).is_steady() {
                    break;
                }
            }
            for ordinal in 0..policy.latency_trials {
                self.counted(hands, record, method, ordinal, &mut repeats)?;
            }
        }
        Ok(())
    }

    /// A timed trial that counts: one with marks is run again, as long as the point may repeat. Gives its throughput.
    fn counted(
        &self,
        hands: &mut Hands<'_>,
        record: &mut PointRecord,
        method: Method,
        ordinal: u32,
        repeats: &mut u32,
    ) -> Result<f64, Ended> {
        loop {
            let number = record.trials.len() as u32;
            let trial = Trial { kind: TrialKind::Timed, method, ordinal, number };
            let mut timed = self.timed(hands, &record.point, trial)?;
            let found = self.marks(record, &timed);
            timed.hardware.marks = found.iter().map(Mark::to_string).collect();
            timed.hardware.superseded = !found.is_empty() && *repeats > 0;
            let (throughput, again) = (timed.figures.output_token_throughput, timed.hardware.superseded);
            record.trials.push(timed);
            if !again {
                return Ok(throughput);
            }
            *repeats -= 1;
        }
    }

    /// What speaks against a trial, beside the point's earlier ones of its method.
    fn marks(&self, record: &PointRecord, timed: &TrialRecord) -> Vec<Mark> {
        let Some(gpu) = &timed.hardware.telemetry.gpu else { return Vec::new() };
        let earlier = record.counted(timed.method).filter(|trial| trial.hardware.marks.is_empty());
        let clocks: Vec<f64> =
            earlier.filter_map(|trial| trial.hardware.telemetry.gpu.as_ref()?.sm_clock_mean_mhz).collect();
        marks(gpu, &clocks, self.plan.trials.clock_band, self.plan.validity.power_cap.judged())
    }

    /// One trial that is in no figure.
    fn warm_up(&self, hands: &mut Hands<'_>, point: &Point, trial: Trial) -> Result<TrialSummary, Ended> {
        let spec = self.begin(hands, point, trial)?;
        let mut nowhere = Discard::new(|tokens| hands.progress.tokens(tokens));
        Ok(hands.cell.watched_trial(&spec, self.plan.patience(spec.kind), &mut nowhere)?)
    }

    /// One trial that is in the figures.
    fn timed(&self, hands: &mut Hands<'_>, point: &Point, trial: Trial) -> Result<TrialRecord, Ended> {
        let spec = self.begin(hands, point, trial)?;
        let Trial { method, number, .. } = trial;
        let tables = hands.dir.trial_tables(point.number, number, method);
        let tables = tables.judged(&point.load, self.plan.slo.as_ref());
        let mut tables = tables.with_progress(|tokens| hands.progress.tokens(tokens));
        self.hardware.begin();
        let summary = hands.cell.watched_trial(&spec, self.plan.patience(spec.kind), &mut tables);
        let samples = self.hardware.end();
        let summary = summary?;
        if let Some(samples) = &samples {
            tables.samples(samples)?;
        }
        let figures = tables.finish(&summary)?;
        tracing::debug!(
            point = point.number,
            trial = number,
            seconds = summary.seconds(),
            harness_ns = summary.harness_ns,
            engine_calls = summary.engine_calls,
            "a trial ended"
        );
        let hardware = self.limits.trial(samples.as_ref(), &spec, &summary);
        Ok(TrialRecord { hardware, ..TrialRecord::new(number, method, summary, figures) })
    }

    /// Says that a trial begins, unless the run is to end.
    fn begin(&self, hands: &mut Hands<'_>, point: &Point, trial: Trial) -> Result<TrialSpec, Ended> {
        if self.interrupted.load(Ordering::Relaxed) {
            return Err(Ended::Interrupted);
        }
        let Trial { kind, method, ordinal, number } = trial;
        let workload = self.workload(point, kind, method, ordinal);
        let what = match (kind, method == point.load.method()) {
            (TrialKind::Warmup, true) => "warm-up",
            (TrialKind::Warmup, false) => "latency warm-up",
            (TrialKind::Timed, true) => "trial",
            (TrialKind::Timed, false) => "latency trial",
        };
        let expected = (workload.output.mean() * f64::from(workload.requests)) as u64;
        hands.progress.trial(&format!("{what} {}", ordinal + 1), expected);
        let device_clock = self.plan.trials.device_clock;
        Ok(TrialSpec { trial: number, kind, method, load: point.load.clone(), device_clock, workload })
    }
}

/// How a point ended, in one line.
pub(super) fn outcome_line(record: &PointRecord) -> String {
    let label = record.point.label();
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
