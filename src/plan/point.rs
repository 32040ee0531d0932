//! A plan resolved: every value in place, every point spelled out.
use std::{path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

use super::{Endurance, compare::Compare};
use crate::{
    cell::protocol::Load,
    engine::{LoadConfig, Options, Sampling},
    fairness::FairnessMode,
    measure::DeviceClockMode,
    metrics::service::Slo,
    validity::Limits,
    workload::{LengthDist, dataset::DatasetSpec, saved::SavedRef},
};

/// An engine and its own options.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EngineSpec {
    /// The engine's id, as in `engines/<id>`.
    pub id: String,
    /// By the engine's own names.
    pub options: Options,
}

/// The requests of a point, but for what only the loaded model and the trial's number add.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PointWorkload {
    /// How many requests a trial has.
    pub requests: u32,
    /// Prompt lengths in tokens.
    pub input: LengthDist,
    /// Output lengths in tokens.
    pub output: LengthDist,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// The seed.
    pub seed: u64,
    /// Where prompts come from when they are not random.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<PointData>,
}

/// A point's dataset.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PointData {
    /// As the plan names it.
    pub spec: DatasetSpec,
    /// The requests made of it, once they are; see [`crate::run::prepare`].
    pub saved: Option<SavedRef>,
    /// The longest of them, prompt and output together, in tokens; 0 until they are made.
    pub longest: u32,
    /// The largest id of their prompts.
    pub max_id: u32,
    /// Turns of a conversation, on average, where they are conversations; the workload's `requests` are conversations then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub turns: Option<f64>,
}

impl PointWorkload {
    /// The longest request, prompt and output together, in tokens.
    pub fn longest(&self) -> u32 {
        let bound = self.input.max().saturating_add(self.output.max());
        match &self.data {
            Some(data) if self.output.is_data() && data.longest > 0 => data.longest,
            _ => bound,
        }
    }

    /// Prompt lengths as tables name them: a number, a distribution, or the dataset with shortest, longest and mean.
    pub fn input_text(&self) -> String {
        self.named(self.input)
    }

    /// Output lengths, likewise.
    pub fn output_text(&self) -> String {
        self.named(self.output)
    }

    fn named(&self, lengths: LengthDist) -> String {
        match (&self.data, lengths) {
            (Some(data), LengthDist::Data(None)) => data.spec.kind.as_str().to_owned(),
            (Some(data), LengthDist::Data(Some(own))) => {
                format!("{}({},{},{:.1})", data.spec.kind.as_str(), own.lo, own.hi, own.mean)
            }
            (_, lengths) => lengths.to_string(),
        }
    }

    /// Why a model with so many ids cannot take the prompts.
    pub fn outside_of(&self, vocab_size: u32) -> Option<String> {
        let data = self.data.as_ref().filter(|data| data.max_id >= vocab_size)?;
        Some(format!(
            "{} has the token id {}, the model's vocabulary ends at {}: it was tokenised for another model; make it again with \
             this one's tokenizer",
            data.spec,
            data.max_id,
            vocab_size.saturating_sub(1)
        ))
    }
}

/// One engine configuration × one workload × one load mode.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// Its place in the plan, from 0.
    pub number: u32,
    /// The engine.
    pub engine: EngineSpec,
    /// A GGUF file or a model folder; None for engines without a model.
    pub model: Option<PathBuf>,
    /// How requests meet the engine.
    pub load: Load,
    /// The requests.
    pub workload: PointWorkload,
    /// The axes that the plan varies, with this point's value of each, in the plan's order.
    pub axes: Vec<(String, String)>,
}

impl Point {
    /// The most sequences that it keeps running at once.
    pub fn most_at_once(&self) -> u32 {
        self.workload.requests.min(match &self.load {
            Load::Offline { batch } => *batch,
            Load::Closed { concurrency } => *concurrency,
            Load::Open { max_in_flight, .. } => max_in_flight.unwrap_or(OPEN_SEQS),
        })
    }

    /// Its longest request, prompt plus output, in tokens.
    pub fn longest(&self) -> u32 {
        self.workload.longest()
    }

    /// What tells it from the plan's other points, for a line of progress or a log.
    pub fn label(&self) -> String {
        let label = self.engine.id.clone();
        self.axes.iter().fold(label, |label, (name, value)| {
            let name = name.rsplit('.').next().unwrap_or(name);
            format!("{label} {name}={value}")
        })
    }
}

/// How many trials, and for how long.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrialPolicy {
    /// Trials go on until the 95 % interval of the median throughput is within this fraction of it, either way.
    pub target: f64,
    /// At least this many timed trials (6 is the fewest whose extremes are a 95 % interval of the median).
    pub min_trials: u32,
    /// At most this many.
    pub max_trials: u32,
    /// Time after which a point starts no further timed trial, beyond `min_trials`.
    pub max_time: Duration,
    /// At most this many warm-up trials.
    pub max_warmup: u32,
    /// Step-loop trials for latencies after the timed `generate` trials; 0 leaves offline latencies null.
    pub latency_trials: u32,
    /// When the device's clock is read.
    #[serde(default)]
    pub device_clock: DeviceClockMode,
    /// Trials of a point that are run again when a GPU was throttled, its clock unusual or the machine suspended; later ones keep their marks.
    #[serde(default)]
    pub max_repeats: u32,
    /// Blocks of four trials that find out what reading the device's clock and sampling telemetry cost; 0 for none.
    #[serde(default)]
    pub watch_cost: u32,
    /// The fraction by which a trial's mean GPU clock may differ from that of the point's other trials, either way.
    #[serde(default = "clock_band")]
    pub clock_band: f64,
}

/// Of plans from before there was one.
fn clock_band() -> f64 {
    0.05
}

/// Whether points are traced after they have been timed, in launches of their own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TraceMode {
    /// Not at all.
    #[default]
    Off,
    /// In one launch of the cell; what tracing costs stays unknown.
    Once,
    /// In two, with two untraced launches between them, which tells what tracing costs.
    Abba,
}

impl TraceMode {
    /// As plans and flags name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Once => "once",
            Self::Abba => "abba",
        }
    }

    /// By its name.
    ///
    /// # Errors
    /// A sentence that says what was expected.
    pub fn named(name: &str) -> Result<Self, String> {
        [Self::Off, Self::Once, Self::Abba]
            .into_iter()
            .find(|mode| mode.as_str() == name)
            .ok_or_else(|| format!("expected off, once or abba, found '{name}'"))
    }
}

/// Deadlines of a cell, and the rest of a resolved plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Its name, which names the run directory too.
    pub name: String,
    /// Every point, in order.
    pub points: Vec<Point>,
    /// How many trials.
    pub trials: TrialPolicy,
    /// The limits of the certificates.
    #[serde(default)]
    pub validity: Limits,
    /// Whether kernels are traced.
    #[serde(default)]
    pub trace: TraceMode,
    /// How points are compared side by side; None measures them one after another.
    #[serde(default)]
    pub compare: Option<Compare>,
    /// How the engines are set up against each other.
    #[serde(default)]
    pub fairness: FairnessMode,
    /// Whether the engines' outputs are compared before anything is timed.
    #[serde(default)]
    pub agree: bool,
    /// The longest that loading an engine may take.
    pub load_within: Duration,
    /// The longest that one trial may take.
    pub trial_within: Duration,
    /// How often the hardware is sampled during timed trials; None for not at all.
    #[serde(default)]
    pub telemetry: Option<Duration>,
    /// Further deadlines, and restarts of cells that die.
    #[serde(default)]
    pub endurance: Endurance,
    /// What requests are judged by; None for not at all.
    #[serde(default)]
    pub slo: Option<Slo>,
}

/// Sequences that an engine is asked to have room for in an open load without a cap; more requests wait in its queue.
pub const OPEN_SEQS: u32 = 64;

/// What one cell is started for: one engine configuration and its points.
#[derive(Clone, Debug, PartialEq)]
pub struct CellPlan {
    /// What to load: sizes are the largest that its points need.
    pub load: LoadConfig,
    /// The points, by their number.
    pub points: Vec<u32>,
}

impl Plan {
    /// Groups the points by engine configuration, in order of first appearance.
    pub fn cells(&self) -> Vec<CellPlan> {
        let mut cells: Vec<CellPlan> = Vec::new();
        for point in &self.points {
            let (needed, longest) = (point.most_at_once(), point.longest());
            let same = |cell: &&mut CellPlan| {
                cell.load.engine == point.engine.id
                    && cell.load.options == point.engine.options
                    && cell.load.model == point.model
            };
            match cells.iter_mut().find(same) {
                Some(cell) => {
                    cell.points.push(point.number);
                    cell.load.max_seqs = cell.load.max_seqs.max(needed);
                    cell.load.max_model_len = cell.load.max_model_len.max(longest);
                }
                None => cells.push(CellPlan {
                    load: LoadConfig {
                        engine: point.engine.id.clone(),
                        model: point.model.clone(),
                        max_seqs: needed,
                        max_model_len: longest,
                        seed: point.workload.seed,
                        options: point.engine.options.clone(),
                    },
                    points: vec![point.number],
                }),
            }
        }
        cells
    }
}
