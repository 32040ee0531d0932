//! One engine's turn in a run that compares side by side, and what a group of points gathers from its turns.
use super::{
    execute::{Loaded, Run, plain_failure},
    paired::empty_record,
    point::Bench,
};
use crate::{
    cell::{
        parent::{CellError, TableSink},
        protocol::{RequestRow, StepRow, TokenRow, TrialKind, TrialSpec, TrialSummary},
    },
    engine::ErrorKind,
    measure::telemetry::{GpuFigures, Mark, marks},
    metrics::{Aggregate, warmup::Steady},
    plan::{Point, compare::Arm},
    results::{Failure, PointRecord, PointStatus, ResultsError, TrialRecord, Turn},
    workload::mix,
};

/// An engine configuration that takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seat {
    /// Its place among the plan's cells.
    pub cell: usize,
    /// Which cell of that configuration.
    pub copy: u32,
}

/// Why a turn ended early.
pub(super) enum Ended {
    Cell(CellError),
    /// Its records give no figures.
    Figures(Failure),
    Results(ResultsError),
    Interrupted,
}

/// Which trial, and how.
#[derive(Clone, Copy)]
pub(super) struct Timing {
    pub turn: Turn,
    /// Decides the requests.
    pub ordinal: u32,
    /// Whether an untimed trial comes before it.
    pub settle: bool,
}

/// Points that are measured side by side, with what has been found.
pub(super) struct Group {
    /// By seat.
    pub arms: Vec<Arm>,
    records: Vec<PointRecord>,
}

impl Group {
    pub(super) fn new(arms: Vec<Arm>, points: &[Point]) -> Self {
        let mut numbers: Vec<u32> = arms.iter().map(|arm| arm.point).collect();
        numbers.dedup();
        let records = numbers.iter().map(|number| empty_record(&points[*number as usize])).collect();
        Self { arms, records }
    }

    pub(super) fn seed(&self, points: &[Point]) -> u64 {
        let first = &points[self.arms[0].point as usize];
        mix(first.workload.seed, u64::from(first.number))
    }

    fn record(&mut self, seat: usize) -> Option<&mut PointRecord> {
        let point = self.arms[seat].point;
        self.records.iter_mut().find(|record| record.point.number == point)
    }

    /// Notes the engine that sits there: that of the first launch.
    pub(super) fn seated(&mut self, seat: usize, running: &Loaded) {
        if let Some(record) = self.record(seat)
            && record.engine.is_none()
        {
            record.engine = Some(running.info.clone());
            record.load_ns = Some(running.load_ns);
            record.warmup_steady = true;
        }
    }

    /// Ends the group: the point at that seat has failed, and the others have nothing to stand beside.
    pub(super) fn fail(&mut self, seat: usize, failure: &Failure) {
        let failed = self.arms[seat].point;
        for record in &mut self.records {
            record.stopped_by = "failed".to_owned();
            let reason = match record.point.number == failed {
                true => failure.clone(),
                false => {
                    plain_failure(format!("point {failed}, which it was compared with, failed: {}", failure.reason))
                }
            };
            record.outcome = PointStatus::Failed(reason);
        }
    }

    pub(super) fn finish(self) -> Vec<PointRecord> {
        self.records
    }
}

impl Run<'_> {
    /// The key of a group's point; see [`Bench::key`].
    pub(super) fn key(&self, group: &Group, running: &Loaded, point: u32) -> Option<String> {
        let point = &self.plan.points[point as usize];
        let digest = point.model.as_ref().and_then(|model| self.digests.get(model)).map(String::as_str);
        let ids = self.group_ids(group, running);
        let bench = Bench {
            plan: self.plan,
            info: &running.info,
            load_ns: running.load_ns,
            model_digest: digest,
            ids,
            interrupted: self.options.interrupted,
            hardware: &self.hardware,
            limits: &running.hardware,
        };
        bench.key(point)
    }

    /// The ids that a group's prompts are drawn from: of the model of its first point, whatever file another engine reads.
    fn group_ids(&self, group: &Group, running: &Loaded) -> Vec<crate::engine::IdRange> {
        let first = &self.plan.points[group.arms[0].point as usize];
        self.ids.get(&first.model).unwrap_or(&running.info.model.ordinary_ids).clone()
    }

    /// Warm-up trials until they are steady, or as many as the plan allows.
    pub(super) fn warm_up(
        &mut self,
        group: &mut Group,
        seat: usize,
        loaded: &mut [Option<Loaded>],
    ) -> Result<(), Ended> {
        let mut steady = Steady::new();
        let mut reached = false;
        for ordinal in 0..self.plan.trials.max_warmup {
            let (summary, _, _) = self.trial(group, seat, loaded, TrialKind::Warmup, ordinal)?;
            let seconds = summary.seconds();
            if let Some(record) = group.record(seat) {
                record.warmup_seconds.push(seconds);
            }
            if steady.push(seconds).is_steady() {
                reached = true;
                break;
            }
        }
        if let Some(running) = &mut loaded[seat] {
            running.cell.park();
        }
        if let Some(record) = group.record(seat) {
            record.warmup_steady &= reached;
        }
        Ok(())
    }

    /// One timed trial, into the point's record.
    pub(super) fn turn(
        &mut self,
        group: &mut Group,
        seat: usize,
        loaded: &mut [Option<Loaded>],
        timing: Timing,
    ) -> Result<(), Ended> {
        if timing.settle {
            self.trial(group, seat, loaded, TrialKind::Warmup, timing.ordinal)?;
        }
        let (summary, aggregate, hardware) = self.trial(group, seat, loaded, TrialKind::Timed, timing.ordinal)?;
        let key = loaded[seat].as_ref().and_then(|running| self.key(group, running, group.arms[seat].point));
        let (band, judged) = (self.plan.trials.clock_band, self.plan.validity.power_cap.judged());
        let digest = group.record(seat).and_then(|record| self.digests.get(record.point.model.as_ref()?)).cloned();
        let Some(record) = group.record(seat) else { return Ok(()) };
        let (number, method) = (record.trials.len() as u32, record.point.load.method());
        let figures = aggregate.figures(method, &summary).map_err(|source| {
            let error = ResultsError::Figures { point: record.point.number, trial: number, source };
            Ended::Figures(Failure { kind: Some(ErrorKind::Mismatch), ..plain_failure(error.to_string()) })
        })?;
        let throughput = figures.output_token_throughput;
        let mut trial =
            TrialRecord { hardware, turn: Some(timing.turn), ..TrialRecord::new(number, method, summary, figures) };
        if let Some(gpu) = &trial.hardware.telemetry.gpu {
            let clocks = record.trials.iter().filter(|trial| trial.hardware.marks.is_empty());
            let clocks: Vec<f64> =
                clocks.filter_map(|trial| trial.hardware.telemetry.gpu.as_ref()?.sm_clock_mean_mhz).collect();
            // Marked and kept: to repeat one trial of a block would break its order.
            trial.hardware.marks = marks(gpu, &clocks, band, judged).iter().map(Mark::to_string).collect();
        }
        record.key = key;
        record.model_digest = digest;
        let gpu = trial.hardware.telemetry.gpu.as_ref().map(GpuFigures::state);
        record.trials.push(trial);
        self.progress.trial_done(throughput, None);
        if let Some(state) = gpu {
            self.progress.gpu(&state);
        }
        Ok(())
    }

    fn trial(
        &mut self,
        group: &Group,
        seat: usize,
        loaded: &mut [Option<Loaded>],
        kind: TrialKind,
        ordinal: u32,
    ) -> Result<(TrialSummary, Aggregate, crate::results::TrialHardware), Ended> {
        if self.interrupted() {
            return Err(Ended::Interrupted);
        }
        let Some(running) = &mut loaded[seat] else {
            return Err(Ended::Figures(plain_failure("its cell is gone".to_owned())));
        };
        let point = &self.plan.points[group.arms[seat].point as usize];
        let first = &self.plan.points[group.arms[0].point as usize].model;
        let ids = self.ids.entry(first.clone()).or_insert_with(|| running.info.model.ordinary_ids.clone()).clone();
        let method = point.load.method();
        let bench = Bench {
            plan: self.plan,
            info: &running.info,
            load_ns: running.load_ns,
            model_digest: None,
            ids,
            interrupted: self.options.interrupted,
            hardware: &self.hardware,
            limits: &running.hardware,
        };
        let workload = bench.workload(point, kind, method, ordinal);
        let what = if kind == TrialKind::Timed { "turn" } else { "warm-up" };
        let expected = (workload.output.mean() * f64::from(workload.requests)) as u64;
        self.progress.trial(&format!("{what} of {}", point.label()), expected);
        let device_clock = self.plan.trials.device_clock;
        let spec = TrialSpec { trial: ordinal, kind, method, load: point.load.clone(), device_clock, workload };
        self.hardware.watch(running.cell.pid());
        self.hardware.begin();
        let mut figures = Figures { aggregate: Aggregate::default(), progress: self.progress };
        let summary = running.cell.trial(&spec, self.plan.trial_within, &mut figures);
        let samples = self.hardware.end();
        let aggregate = figures.aggregate;
        let summary = summary.map_err(|error| match error {
            CellError::Store(reason) => Ended::Results(ResultsError::Store { reason }),
            error => Ended::Cell(error),
        })?;
        let hardware = running.hardware.trial(samples.as_ref(), &spec, &summary);
        Ok((summary, aggregate, hardware))
    }
}

/// Takes a trial's tables into its figures; trials of points that alternate have no tables of their own in the run
/// directory.
struct Figures<'a> {
    aggregate: Aggregate,
    progress: &'a mut dyn super::Progress,
}

impl TableSink for Figures<'_> {
    fn tokens(&mut self, rows: &[TokenRow]) -> Result<(), String> {
        self.aggregate.tokens(rows);
        Ok(())
    }

    fn requests(&mut self, rows: &[RequestRow]) -> Result<(), String> {
        self.aggregate.requests(rows);
        Ok(())
    }

    fn steps(&mut self, _: &[StepRow]) -> Result<(), String> {
        Ok(())
    }

    fn progress(&mut self, output_tokens: u64) {
        self.progress.tokens(output_tokens);
    }
}
