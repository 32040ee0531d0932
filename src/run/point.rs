//! One point: warm-up until steady, timed trials until the interval is narrow, step-loop trials for latencies.
use std::time::Instant;

use super::{
    Progress,
    bench::{Bench, Ended, Trial},
    execute::CellState,
};
use crate::{
    cell::{
        parent::Cell,
        protocol::{Method, TrialKind, TrialSummary},
    },
    measure::telemetry::Mark,
    metrics::{
        self,
        stopping::{CONFIDENCE, Decision},
    },
    plan::Point,
    results::{Discard, PointRecord, PointStatus, ResultsError, RunDir, TrialRecord},
};

/// What a trial works with.
pub(super) struct Hands<'a> {
    pub(super) cell: &'a mut Cell,
    pub(super) dir: &'a mut RunDir,
    pub(super) progress: &'a mut dyn Progress,
}

impl Bench<'_> {
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
        let hands = &mut Hands { cell, dir, progress };
        let outcome = self.trials(hands, &mut record);
        if outcome.is_err() {
            return Self::settle(outcome, record, hands.cell);
        }
        let (cost, state) = self.watch_cost(hands, &record.point)?;
        record.watch_cost = cost;
        if let Some(cost) = &record.watch_cost {
            hands.progress.note(&format!("{}: {}", record.point.label(), cost.line()));
        }
        Ok((Some(record), state))
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
            engine: Some(self.engine.info.clone()),
            model_digest: self.model_digest.map(str::to_owned),
            load_ns: Some(self.engine.load_ns),
            ..PointRecord::empty(point, PointStatus::Ok)
        }
    }

    /// What a point's end means for its record and its cell.
    fn settle(
        outcome: Result<(), Ended>,
        mut record: PointRecord,
        cell: &Cell,
    ) -> Result<(Option<PointRecord>, CellState), ResultsError> {
        let Err(ended) = outcome else { return Ok((Some(record), CellState::Alive)) };
        let Some((failure, state)) = ended.failure(cell)? else { return Ok((None, CellState::Alive)) };
        record.stopped_by = "failed".to_owned();
        record.outcome = PointStatus::Failed(failure);
        Ok((Some(record), state))
    }

    fn trials(&self, hands: &mut Hands<'_>, record: &mut PointRecord) -> Result<(), Ended> {
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
        let latencies = method == Method::Generate && self.engine.info.capabilities.continuous_batching;
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

    /// One trial that is in no figure.
    fn warm_up(&self, hands: &mut Hands<'_>, point: &Point, trial: Trial) -> Result<TrialSummary, Ended> {
        let spec = self.begin(hands.progress, point, trial, &trial.name(point))?;
        let mut nowhere = Discard::new(|tokens| hands.progress.tokens(tokens));
        let (summary, _) = self.trial(hands.cell, &spec, &mut nowhere)?;
        Ok(summary)
    }

    /// One trial that is in the figures.
    fn timed(&self, hands: &mut Hands<'_>, point: &Point, trial: Trial) -> Result<TrialRecord, Ended> {
        let spec = self.begin(hands.progress, point, trial, &trial.name(point))?;
        let tables = hands.dir.trial_tables(point.number, trial.number, trial.method);
        let tables = tables.judged(&point.load, self.plan.slo.as_ref());
        let mut tables = tables.with_progress(|tokens| hands.progress.tokens(tokens));
        let (summary, samples) = self.trial(hands.cell, &spec, &mut tables)?;
        if let Some(samples) = &samples {
            tables.samples(samples)?;
        }
        let figures = tables.finish(&summary)?;
        tracing::debug!(
            point = point.number,
            trial = spec.trial,
            seconds = summary.seconds(),
            harness_ns = summary.harness_ns,
            engine_calls = summary.engine_calls,
            "a trial ended"
        );
        Ok(self.trial_record(&spec, summary, samples.as_ref(), figures))
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
