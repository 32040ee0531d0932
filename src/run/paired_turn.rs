//! One engine's turn in a run that compares side by side.
use super::{
    Progress,
    bench::{Bench, Ended, Trial},
    execute::{Loaded, Run},
    paired_group::Group,
};
use crate::{
    cell::{
        parent::TableSink,
        protocol::{Load, RequestRow, StepRow, TokenRow, TrialKind, TrialSummary},
    },
    engine::IdRange,
    measure::telemetry::{GpuFigures, Mark},
    metrics::{Aggregate, warmup::Steady},
    plan::Point,
    results::{Discard, ResultsError, TrialRecord, Turn},
};

/// Which trial, and how.
#[derive(Clone, Copy)]
pub(super) struct Timing {
    pub turn: Turn,
    /// Decides the requests.
    pub ordinal: u32,
    /// Whether an untimed trial comes before it.
    pub settle: bool,
}

impl Run<'_> {
    /// The key of a group's point; see [`Bench::key`].
    pub(super) fn key(&mut self, group: &Group, seat: usize, running: &Loaded) -> Option<String> {
        let ids = self.group_ids(group, running);
        let point = &self.plan.points[group.arms[seat].point as usize];
        let digest = self.digest_of(point);
        Bench::new(self.plan, self.options, &self.hardware, &running.engine, digest.as_deref(), ids).key(point)
    }

    /// The ids that a group's prompts are drawn from: of the model of its first point, whatever file another engine reads.
    fn group_ids(&mut self, group: &Group, running: &Loaded) -> Vec<IdRange> {
        let plan = self.plan;
        self.ids_of(&plan.points[group.arms[0].point as usize].model, &running.engine.info)
    }

    fn digest_of(&self, point: &Point) -> Option<String> {
        self.digests.get(point.model.as_ref()?).cloned()
    }

    /// Warm-up trials until they are steady, or as many as the plan allows.
    pub(super) fn warm_up(&mut self, group: &mut Group, seat: usize, running: &mut Loaded) -> Result<(), Ended> {
        group.seated(seat, running);
        if let Some(restart_ns) = running.restart_ns.take() {
            group.record(seat).restart_ns = Some(restart_ns);
        }
        let mut steady = Steady::new();
        let mut reached = false;
        for ordinal in 0..self.plan.trials.max_warmup {
            let summary = self.untimed(group, seat, running, ordinal)?;
            group.record(seat).warmup_seconds.push(summary.seconds());
            if steady.push(summary.working_seconds()).is_steady() {
                reached = true;
                break;
            }
        }
        group.record(seat).warmup_steady &= reached;
        Ok(())
    }

    /// One trial that is in no figure.
    fn untimed(
        &mut self,
        group: &Group,
        seat: usize,
        running: &mut Loaded,
        ordinal: u32,
    ) -> Result<TrialSummary, Ended> {
        let ids = self.group_ids(group, running);
        let point = &self.plan.points[group.arms[seat].point as usize];
        let bench = Bench::new(self.plan, self.options, &self.hardware, &running.engine, None, ids);
        let trial = Trial { kind: TrialKind::Warmup, method: point.load.method(), ordinal, number: ordinal };
        let spec = bench.begin(self.progress, point, trial, &format!("warm-up of {}", point.label()))?;
        let mut nowhere = Discard::new(|tokens| self.progress.tokens(tokens));
        let (summary, _) = bench.trial(&mut running.cell, &spec, &mut nowhere)?;
        Ok(summary)
    }

    /// One timed trial, into the point's record.
    pub(super) fn turn(
        &mut self,
        group: &mut Group,
        seat: usize,
        running: &mut Loaded,
        timing: Timing,
    ) -> Result<(), Ended> {
        if timing.settle {
            self.untimed(group, seat, running, timing.ordinal)?;
        }
        let ids = self.group_ids(group, running);
        let point = &self.plan.points[group.arms[seat].point as usize];
        let digest = self.digest_of(point);
        let bench = Bench::new(self.plan, self.options, &self.hardware, &running.engine, digest.as_deref(), ids);
        let record = group.record(seat);
        if record.key.is_none() {
            record.key = bench.key(point);
            record.model_digest.clone_from(&digest);
        }
        let (method, number) = (point.load.method(), record.trials.len() as u32);
        let trial = Trial { kind: TrialKind::Timed, method, ordinal: timing.ordinal, number };
        let spec = bench.begin(self.progress, point, trial, &format!("turn of {}", point.label()))?;
        self.hardware.watch(running.cell.pid());
        let windowed = !matches!(point.load, Load::Offline { .. });
        let aggregate = Aggregate::default().judged(windowed, self.plan.slo.clone());
        let mut sink = Figures { aggregate, progress: self.progress };
        let (summary, samples) = bench.trial(&mut running.cell, &spec, &mut sink)?;
        let figures = sink.aggregate.figures(method, &summary);
        let figures = figures.map_err(|source| ResultsError::Figures { point: point.number, trial: number, source })?;
        let mut trial =
            TrialRecord { turn: Some(timing.turn), ..bench.trial_record(&spec, summary, samples.as_ref(), figures) };
        // Whether its block is run again is decided at the block's end.
        trial.hardware.marks = bench.marks(record, &trial).iter().map(Mark::to_string).collect();
        self.progress.trial_done(trial.figures.output_token_throughput, None);
        if let Some(gpu) = &trial.hardware.telemetry.gpu {
            self.progress.gpu(&GpuFigures::state(gpu));
        }
        record.trials.push(trial);
        Ok(())
    }
}

/// Takes a trial's tables into its figures; trials of points that alternate have no tables of their own in the run
/// directory.
struct Figures<'a> {
    aggregate: Aggregate,
    progress: &'a mut dyn Progress,
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
