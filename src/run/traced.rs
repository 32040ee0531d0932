//! Traces the points of an engine configuration, in launches of its cell that time nothing for the figures, and finds out
//! what tracing costs: traced, untraced, untraced, traced, with the same requests in each.
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::BufWriter,
    path::{Path, PathBuf},
};

use super::{bench::Bench, counters::counters};
use crate::{
    cell::{
        parent::{Cell, CellError, TableSink},
        protocol::{Method, RequestRow, StepRow, TokenRow, TrialKind, TrialSpec, TrialSummary},
    },
    measure::{
        telemetry::Samples,
        trace::{Activity, Names, StepFigures, TraceError, TraceFigures, TraceJson, Tracing, Window},
    },
    metrics::{median_interval, stopping::CONFIDENCE},
    plan::{Point, TraceMode},
    results::{TraceCost, TraceRecord, TraceStepRow, TracedTrial},
};

/// Trials of a point in a launch: twice as many pairs are the fewest whose extremes are a 95 % interval of the median.
pub(super) const TRIALS: u32 = 3;
const WARM_UPS: u32 = 2;
/// Steps and requests of a trial that are kept: what a timeline and a table of steps can use.
const KEEP: usize = 1 << 18;
/// Activities in a timeline: some megabytes of JSON.
const TIMELINE: u64 = 10_000;

/// Which launches are traced, in order.
pub(super) fn launches(mode: TraceMode) -> &'static [bool] {
    match mode {
        TraceMode::Off => &[],
        TraceMode::Once => &[true],
        // As good against drift as its reverse; and where nothing can be traced, the first launch says so.
        TraceMode::Abba => &[true, false, false, true],
    }
}

/// What all launches have found of one point.
#[derive(Default)]
pub(super) struct Found {
    /// Durations in seconds, by launch and trial.
    pub seconds: BTreeMap<(u32, u32), f64>,
    pub trials: Vec<TracedTrial>,
    pub steps: Vec<TraceStepRow>,
    pub notes: Vec<String>,
}

impl Found {
    /// The point's trace as it is stored.
    pub fn record(self, mode: TraceMode) -> TraceRecord {
        let pairs = ratios(&self.seconds);
        let (cost, null_reason) = match (mode, median_interval(&pairs, CONFIDENCE)) {
            (TraceMode::Abba, Ok(interval)) => {
                let cost =
                    TraceCost { ratio: interval.median, low: interval.low, high: interval.high, pairs: interval.n };
                (Some(cost), None)
            }
            (TraceMode::Abba, Err(why)) => (None, Some(format!("the cost of tracing is not known: {why}"))),
            (TraceMode::Once | TraceMode::Off, _) => {
                (None, Some("the cost of tracing is not known: measured by --trace=abba".to_owned()))
            }
        };
        TraceRecord { trials: self.trials, cost, null_reason, notes: self.notes }
    }
}

/// Traced / untraced durations of trials with the same requests in launches 0 and 1, and 3 and 2: neighbours.
fn ratios(seconds: &BTreeMap<(u32, u32), f64>) -> Vec<f64> {
    let pairs = [(0, 1), (3, 2)].into_iter().flat_map(|pair| (0..TRIALS).map(move |trial| (pair, trial)));
    pairs
        .filter_map(|((traced, plain), trial)| {
            let plain = seconds.get(&(plain, trial)).filter(|seconds| **seconds > 0.0)?;
            Some(seconds.get(&(traced, trial))? / plain)
        })
        .collect()
}

/// One launch of the cell.
pub(super) struct Launch<'a> {
    pub bench: &'a Bench<'a>,
    pub number: u32,
    /// None in an untraced launch.
    pub tracing: Option<Tracing>,
    /// Where timelines go.
    pub folder: PathBuf,
}

/// Why a launch cannot go on.
pub(super) enum Stopped {
    Cell(CellError),
    /// Nothing can be traced; a sentence for a person.
    Trace(String),
}

impl From<CellError> for Stopped {
    fn from(error: CellError) -> Self {
        Self::Cell(error)
    }
}

impl From<TraceError> for Stopped {
    fn from(error: TraceError) -> Self {
        Self::Trace(error.to_string())
    }
}

impl Launch<'_> {
    /// Runs a point's trials of this launch.
    pub fn point(&mut self, cell: &mut Cell, point: &Point, found: &mut Found) -> Result<(), Stopped> {
        // The step loop where there is one: only there is it known when a step began.
        let stepwise = self.bench.engine.info.capabilities.continuous_batching;
        let method = if stepwise { Method::Steps } else { point.load.method() };
        for ordinal in 0..WARM_UPS {
            self.trial(cell, point, (TrialKind::Warmup, method, ordinal))?;
        }
        for ordinal in 0..TRIALS {
            if let Some(tracing) = &mut self.tracing {
                tracing.record(true).map_err(Stopped::Trace)?;
            }
            let (summary, kept) = self.trial(cell, point, (TrialKind::Timed, method, ordinal))?;
            found.seconds.insert((self.number, ordinal), summary.seconds());
            if let Some(tracing) = &mut self.tracing {
                tracing.record(false).map_err(Stopped::Trace)?;
                let (figures, steps) = self.analysed(point, ordinal, &summary, &kept, found)?;
                found.notes.extend(figures.doubts());
                let rows = kept.steps.iter().zip(steps).map(|(&step, figures)| TraceStepRow {
                    point: point.number,
                    launch: self.number,
                    trial: ordinal,
                    step,
                    figures,
                });
                found.steps.extend(rows);
                let (launch, seconds) = (self.number, summary.seconds());
                let steps = kept.steps.len() as u64 + kept.dropped_steps;
                found.trials.push(TracedTrial { launch, trial: ordinal, method, seconds, steps, figures });
            }
        }
        Ok(())
    }

    fn trial(
        &self,
        cell: &mut Cell,
        point: &Point,
        (kind, method, ordinal): (TrialKind, Method, u32),
    ) -> Result<(TrialSummary, Kept), Stopped> {
        let workload = self.bench.workload(point, kind, method, ordinal);
        let device_clock = self.bench.plan.trials.device_clock;
        let spec = TrialSpec { trial: ordinal, kind, method, load: point.load.clone(), device_clock, workload };
        let mut kept = Kept::default();
        // Sampled as a timed trial is, so that untraced launches differ from it in nothing.
        let (summary, samples) = self.bench.trial(cell, &spec, &mut kept)?;
        kept.samples = samples.unwrap_or_default();
        kept.steps.sort_by_key(|step| step.start_ns);
        Ok((summary, kept))
    }

    /// Sums up what has been recorded since the last trial; the first one of a point becomes its timeline.
    fn analysed(
        &mut self,
        point: &Point,
        ordinal: u32,
        summary: &TrialSummary,
        kept: &Kept,
        found: &mut Found,
    ) -> Result<(TraceFigures, Vec<StepFigures>), Stopped> {
        let Some(tracing) = &mut self.tracing else { return Err(Stopped::Trace("this launch is not traced".into())) };
        let window = Window { start_ns: summary.start_ns, end_ns: summary.end_ns };
        let windows: Vec<Window> =
            kept.steps.iter().map(|step| Window { start_ns: step.start_ns, end_ns: step.end_ns }).collect();
        let path = self.folder.join(format!("point-{:05}.trace.json", point.number));
        let failed = |error: std::io::Error| Stopped::Trace(format!("{} cannot be written: {error}", path.display()));
        let mut timeline = None;
        if self.number == 0 && ordinal == 0 {
            let file = BufWriter::new(File::create(&path).map_err(failed)?);
            timeline = Some(TraceJson::new(file, window.start_ns, TIMELINE).map_err(failed)?);
        }
        let mut also = |activity: &Activity, names: &Names| match &mut timeline {
            Some(timeline) => {
                timeline.activity(activity, names).map_err(|source| TraceError::Io { path: path.clone(), source })
            }
            None => Ok(()),
        };
        let figures = tracing.analyse(window, &windows, &mut also)?;
        if let Some(timeline) = timeline {
            let note = timeline.finish(window.end_ns, &kept.steps, &kept.requests, &counters(&kept.samples));
            let note = note.map_err(failed)?;
            found.notes.extend(note.map(|note| format!("point-{:05}.trace.json is {note}", point.number)));
        }
        let dropped = kept.dropped_steps + kept.dropped_requests;
        if dropped > 0 {
            found.notes.push(format!("{dropped} steps and requests beyond {KEEP} are in no trace table"));
        }
        Ok(figures)
    }
}

/// A new folder for a launch's raw traces.
pub(super) fn raw_folder(traces: &Path, cell: u32, launch: u32) -> std::io::Result<Tracing> {
    let folder = traces.join(format!("raw-{cell}-{launch}"));
    // What an interrupted run has left.
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    Tracing::create(&folder)
}

/// Keeps a traced trial's steps, requests and telemetry.
#[derive(Default)]
struct Kept {
    samples: Samples,
    steps: Vec<StepRow>,
    requests: Vec<RequestRow>,
    dropped_steps: u64,
    dropped_requests: u64,
}

impl Kept {
    fn keep<R: Copy>(into: &mut Vec<R>, rows: &[R], dropped: &mut u64) {
        let room = rows.len().min(KEEP - into.len());
        into.extend_from_slice(&rows[..room]);
        *dropped += (rows.len() - room) as u64;
    }
}

impl TableSink for Kept {
    fn tokens(&mut self, _: &[TokenRow]) -> Result<(), String> {
        Ok(())
    }

    fn requests(&mut self, rows: &[RequestRow]) -> Result<(), String> {
        Self::keep(&mut self.requests, rows, &mut self.dropped_requests);
        Ok(())
    }

    fn steps(&mut self, rows: &[StepRow]) -> Result<(), String> {
        Self::keep(&mut self.steps, rows, &mut self.dropped_steps);
        Ok(())
    }

    fn progress(&mut self, _: u64) {}
}

/// A point's trace, in one line.
pub(super) fn line(point: &Point, trace: &TraceRecord) -> String {
    let label = point.label();
    let Some(typical) = trace.typical() else {
        return format!("{label}: not traced: {}", trace.null_reason.as_deref().unwrap_or("no trial"));
    };
    let busy = typical
        .figures
        .busy_fraction()
        .map_or("no device did anything".to_owned(), |busy| format!("GPU busy {:.1} %", busy * 100.0));
    let cost = match &trace.cost {
        Some(cost) => format!(
            "tracing costs {:+.2} % (95 % interval {:+.2} to {:+.2} %, {} pairs)",
            (cost.ratio - 1.0) * 100.0,
            (cost.low - 1.0) * 100.0,
            (cost.high - 1.0) * 100.0,
            cost.pairs
        ),
        None => trace.null_reason.clone().unwrap_or_default(),
    };
    format!(
        "{label}: traced: {busy}, {} kernels, {} launches, {} graph launches; {cost}",
        typical.figures.kernels, typical.figures.launches, typical.figures.graph_launches
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cost_is_the_median_over_pairs_of_neighbours() {
        let mut found = Found::default();
        // The machine gets slower from launch to launch; tracing costs 2 %.
        for (launch, traced) in launches(TraceMode::Abba).iter().enumerate() {
            for trial in 0..TRIALS {
                let plain = 1.0 + 0.01 * launch as f64 + 0.1 * f64::from(trial);
                found.seconds.insert((launch as u32, trial), if *traced { plain * 1.02 } else { plain });
            }
        }
        let cost = found.record(TraceMode::Abba).cost.unwrap();
        assert_eq!(cost.pairs, 6);
        assert!(cost.low < 1.02 && cost.high > 1.02 && (cost.ratio - 1.02).abs() < 0.001, "{cost:?}");
    }

    #[test]
    fn a_cost_that_is_not_known_says_why() {
        assert!(Found::default().record(TraceMode::Abba).null_reason.unwrap().contains("at least 6"));
        assert!(Found::default().record(TraceMode::Once).null_reason.unwrap().contains("--trace=abba"));
    }
}
