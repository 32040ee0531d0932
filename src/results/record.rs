//! A point's outcome as the journal keeps it; the tables and reports are made from these.
use serde::{Deserialize, Serialize};

use super::WatchCost;
use crate::{
    cell::protocol::{Method, TrialSummary},
    engine::{Broken, EngineInfo, ErrorKind},
    measure::{telemetry::Telemetry, trace::TraceFigures},
    metrics::{service::ServiceFigures, steady::SteadyFigures, turns::TurnFigures},
    plan::Point,
    roofline::Roofline,
};

/// A distribution's summary in milliseconds. Percentiles by linear interpolation (NumPy's default, Hyndman and Fan type 7).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Quantiles {
    /// How many values.
    pub n: u64,
    /// Arithmetic mean.
    pub mean: f64,
    /// Sample standard deviation (n − 1); None for a single value.
    pub sd: Option<f64>,
    /// Smallest.
    pub min: f64,
    /// Median.
    pub p50: f64,
    /// 90th percentile.
    pub p90: f64,
    /// 95th percentile.
    pub p95: f64,
    /// 99th percentile.
    pub p99: f64,
    /// Largest.
    pub max: f64,
    /// Largest relative error of the percentiles: 0 when they are exact, more when there were too many values to keep.
    pub error: f64,
}

/// A trial's figures. `None` never means 0: `latency_null_reason` says why latencies are missing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrialFigures {
    /// Requests a second.
    pub request_throughput: f64,
    /// Prompt tokens a second.
    pub input_token_throughput: f64,
    /// Output tokens a second.
    pub output_token_throughput: f64,
    /// Prompt and output tokens a second.
    pub total_token_throughput: f64,
    /// First token − scheduled arrival.
    pub ttft: Option<Quantiles>,
    /// Gaps between a request's successive tokens. Tokens that became visible together share one gap evenly only if the
    /// definition says so; see `metrics`.
    pub itl: Option<Quantiles>,
    /// (last token − first token) / (output tokens − 1) of each request with at least two tokens.
    pub tpot: Option<Quantiles>,
    /// Last token − scheduled arrival.
    pub e2e: Option<Quantiles>,
    /// Why the latencies are missing.
    pub latency_null_reason: Option<String>,
    /// How requests met the plan's service level; None without one, and in `generate` trials.
    #[serde(default)]
    pub service: Option<ServiceFigures>,
    /// The figures of the steady part alone.
    #[serde(default)]
    pub steady: SteadyFigures,
    /// The latencies by turn; empty where requests are no turns of conversations.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub turns: Vec<TurnFigures>,
}

/// What the hardware did during a trial, and how far the trial was from what it can.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TrialHardware {
    /// What the machine did.
    pub telemetry: Telemetry,
    /// How far from the limit.
    pub roofline: Roofline,
    /// What speaks against the trial: throttling, clocks that are not the usual ones, a machine that was suspended.
    pub marks: Vec<String>,
    /// Whether another trial was run in its place because of the marks: it is in no figure then.
    pub superseded: bool,
}

/// A trial's place in a run that compares side by side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Turn {
    /// The launch, from 0.
    pub launch: u32,
    /// The block in the launch, from 0.
    pub block: u32,
    /// 0, or 1 for the second cell of the same configuration.
    pub copy: u32,
    /// Whether all engines of the block were loaded at once. False where each ran alone, in a launch of its own.
    pub resident: bool,
}

/// One timed trial.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrialRecord {
    /// Its number in the point, from 0, over both methods.
    pub trial: u32,
    /// Which door.
    pub method: Method,
    /// What the cell said.
    pub summary: TrialSummary,
    /// What follows from it.
    pub figures: TrialFigures,
    /// What the hardware did meanwhile.
    #[serde(default)]
    pub hardware: TrialHardware,
    /// Its place in a run that compares side by side.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub turn: Option<Turn>,
}

impl TrialRecord {
    /// A trial of whose hardware nothing is known.
    pub fn new(trial: u32, method: Method, summary: TrialSummary, figures: TrialFigures) -> Self {
        Self { trial, method, summary, figures, hardware: TrialHardware::default(), turn: None }
    }

    /// Output tokens a second over the requests a second that its schedule offered up to its last one; None without one.
    pub fn throughput_by_offer(&self) -> Option<f64> {
        let schedule = self.summary.schedule.as_ref().filter(|schedule| schedule.span_ns > 0)?;
        let offered = f64::from(schedule.released) / (schedule.span_ns as f64 / 1e9);
        (offered > 0.0).then(|| self.figures.output_token_throughput / offered)
    }

    /// Whether it is in the point's figures.
    pub fn counts(&self) -> bool {
        !self.hardware.superseded
    }

    /// Energy of its GPUs over its output tokens, in joule; the definition of `energy_per_token`.
    pub fn energy_per_token_j(&self) -> Option<f64> {
        let tokens = self.summary.output_tokens;
        self.hardware.telemetry.gpu.as_ref()?.energy_j.filter(|_| tokens > 0).map(|joule| joule / tokens as f64)
    }
}

/// Why a point has no figures, or not all.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    /// The engine's kind of failure; None when the cell died or records could not be stored.
    pub kind: Option<ErrorKind>,
    /// For a person.
    pub reason: String,
    /// The signal that ended the cell.
    pub signal: Option<i32>,
    /// The cell's exit status.
    pub exit_code: Option<i32>,
    /// The last lines that the cell wrote.
    pub last_lines: Vec<String>,
    /// Of a mismatch: what did not match.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broken: Option<Broken>,
    /// The stacks that it wrote when it crashed, or was asked for because it hung.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stacks: Vec<String>,
}

/// How a point ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum PointStatus {
    /// Measured.
    Ok,
    /// Not measured, or given up half way.
    Failed(Failure),
}

/// One traced trial. Its duration is in no figure but the cost of tracing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TracedTrial {
    /// Which launch of the cell, from 0, untraced ones counted.
    pub launch: u32,
    /// Its number in the launch, from 0. The same number has the same requests in every launch.
    pub trial: u32,
    /// Which door.
    pub method: Method,
    /// How long it took.
    pub seconds: f64,
    /// Steps of the engine; 0 where the engine's own call did them all.
    pub steps: u64,
    /// What the devices did.
    pub figures: TraceFigures,
}

/// How much longer trials take when they are traced.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct TraceCost {
    /// Median of traced / untraced duration, over pairs of trials with the same requests in neighbouring launches.
    pub ratio: f64,
    /// Lower end of its 95 % interval.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Pairs.
    pub pairs: u64,
}

/// A point's trace.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TraceRecord {
    /// The traced trials.
    pub trials: Vec<TracedTrial>,
    /// What tracing costs.
    pub cost: Option<TraceCost>,
    /// Why there are no traced trials, or why the cost is not known.
    pub null_reason: Option<String>,
    /// What the timeline leaves out, and doubts about the figures.
    pub notes: Vec<String>,
}

impl TraceRecord {
    /// The trial that stands for the point: the one of median duration, the shorter of the middle two.
    pub fn typical(&self) -> Option<&TracedTrial> {
        let mut trials: Vec<&TracedTrial> = self.trials.iter().collect();
        trials.sort_by(|one, other| one.seconds.total_cmp(&other.seconds));
        trials.get(trials.len().saturating_sub(1) / 2).copied()
    }

    /// Share of the typical traced trial in which a device was busy, between 0 and 1.
    pub fn busy_fraction(&self) -> Option<f64> {
        self.typical()?.figures.busy_fraction()
    }
}

/// A launch of a run that compares side by side, which is in no figure because a cell died.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LostLaunch {
    /// The launch, from 0.
    pub launch: u32,
    /// The point whose cell it was.
    pub point: u32,
    /// How it died, or why there is no other.
    pub reason: String,
}

/// A point's outcome: one line of the journal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PointRecord {
    /// The point as planned.
    pub point: Point,
    /// Hash of engine, effective configuration, model digest and workload: a resumed run skips the point only when it
    /// finds the same. None when the engine could not be loaded.
    pub key: Option<String>,
    /// What ran; None when the engine could not be loaded.
    pub engine: Option<EngineInfo>,
    /// BLAKE3 of the model's file or files.
    pub model_digest: Option<String>,
    /// How long loading the engine took, in nanoseconds.
    pub load_ns: Option<u64>,
    /// In nanoseconds, from the death of the cell before to the start of this one, which then loaded its engine; None where
    /// this point's cell did not take a dead one's place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restart_ns: Option<u64>,
    /// How it ended.
    pub outcome: PointStatus,
    /// Durations of the warm-up trials in seconds, in order.
    pub warmup_seconds: Vec<f64>,
    /// Whether the warm-up was seen to reach a steady state.
    pub warmup_steady: bool,
    /// The timed trials.
    pub trials: Vec<TrialRecord>,
    /// Of a run that compares side by side: the launches whose trials were dropped.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lost_launches: Vec<LostLaunch>,
    /// What was noted when its cell was started, as memory of a GPU that did not come back; for a person.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// What the GPU did, from trials of their own; None when tracing was not asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<TraceRecord>,
    /// What watching its trials costs; None when that was not asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watch_cost: Option<WatchCost>,
    /// Why no further trial was run: `target`, `max_trials`, `max_time`, or `failed`.
    pub stopped_by: String,
}

impl PointRecord {
    /// A record without trials.
    pub fn empty(point: Point, outcome: PointStatus) -> Self {
        let stopped_by = if matches!(outcome, PointStatus::Failed(_)) { "failed" } else { "" }.to_owned();
        Self {
            point,
            key: None,
            engine: None,
            model_digest: None,
            load_ns: None,
            restart_ns: None,
            outcome,
            warmup_seconds: Vec::new(),
            warmup_steady: false,
            trials: Vec::new(),
            lost_launches: Vec::new(),
            notes: Vec::new(),
            trace: None,
            watch_cost: None,
            stopped_by,
        }
    }

    /// The trials of a method that are in the figures.
    pub fn counted(&self, method: Method) -> impl Iterator<Item = &TrialRecord> {
        self.trials.iter().filter(move |trial| trial.method == method && trial.counts())
    }

    /// Output tokens a second of the trials that the point's throughput is the median of: those of the method that its
    /// load mode is timed by.
    pub fn throughputs(&self) -> Vec<f64> {
        let method = self.point.load.method();
        self.counted(method).map(|trial| trial.figures.output_token_throughput).collect()
    }

    /// The same in an open load, each by its own trial's offered rate, in output tokens a request offered: what the engine made
    /// of its arrivals. Arrivals are drawn anew for each trial, so that the throughput of an engine that keeps up is as
    /// scattered as they are. None in other loads, and without an offered rate.
    pub fn throughputs_by_offer(&self) -> Option<Vec<f64>> {
        let method = self.point.load.method();
        self.counted(method).map(TrialRecord::throughput_by_offer).collect()
    }
}
