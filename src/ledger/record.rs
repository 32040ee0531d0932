//! What a ledger holds: `ledger.json`.
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::Rung;
use crate::{engine::EngineInfo, http::PromptKind, results::RunInfo, stats::paired::Unit};

/// Tells a file of ours.
pub const FORMAT: &str = "tacho-ledger";
/// Raised when a field changes its meaning.
pub const SCHEMA: u32 = 1;

/// What each boundary of some engines costs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ledger {
    /// [`FORMAT`].
    pub format: String,
    /// [`SCHEMA`].
    pub schema: u32,
    /// Machine, program, command line, plan.
    pub run: RunInfo,
    /// How often everything was started.
    pub launches: u32,
    /// Blocks a launch; in each, every rung has two turns.
    pub blocks: u32,
    /// An engine configuration each.
    pub engines: Vec<EngineLedger>,
}

impl Ledger {
    /// Whether every rung that was asked for and is offered was measured.
    pub fn is_whole(&self) -> bool {
        let mut rungs = self.engines.iter().flat_map(|engine| &engine.points).flat_map(|point| &point.rungs);
        rungs.all(|rung| !matches!(rung.state, RungState::Failed { .. }))
    }
}

/// The ledger of one engine configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EngineLedger {
    /// The engine's id.
    pub engine: String,
    /// Its name with the options that the plan gives it.
    pub label: String,
    /// BLAKE3 of the model's file or files.
    pub model_digest: Option<String>,
    /// What the cells said of themselves at the first launch, by where their work runs.
    pub cells: BTreeMap<String, EngineInfo>,
    /// The server.
    pub server: Option<ServerRecord>,
    /// What was not as it should be, sentences.
    pub notes: Vec<String>,
    /// A batch and a length each.
    pub points: Vec<PointLedger>,
}

/// The server behind the `http` rung.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServerRecord {
    /// Its command line; None for one that was running already.
    pub command: Option<Vec<String>>,
    /// Variables that it was given beside ours.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// Its address, of one that was running already.
    pub endpoint: Option<String>,
    /// Which version its program says that it is, where its package is not the engine's.
    #[serde(default)]
    pub version: Option<String>,
    /// By which name it knows the model.
    pub model: String,
    /// As what prompts were sent.
    pub prompt: PromptKind,
}

/// One batch and length.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PointLedger {
    /// Requests in flight together.
    pub batch: u32,
    /// Prompt tokens each.
    pub input_tokens: u32,
    /// Output tokens each.
    pub output_tokens: u32,
    /// BLAKE3 of the prompts' ids; None where they were not made.
    pub prompts_digest: Option<String>,
    /// Of the turns with the same requests, in how many all rungs that show ids gave the same ones.
    pub same_outputs: Option<SameOutputs>,
    /// Every rung, those that are not offered too.
    pub rungs: Vec<RungRecord>,
    /// What each layer costs.
    pub layers: Vec<Layer>,
    /// Each rung against the innermost one that was measured.
    pub totals: Vec<Layer>,
}

/// Whether rungs gave the same ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SameOutputs {
    /// In so many sets of turns with the same requests.
    pub same: u32,
    /// Of so many.
    pub of: u32,
}

/// A rung of one point.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RungRecord {
    /// Which.
    pub rung: Rung,
    /// How it went.
    #[serde(flatten)]
    pub state: RungState,
    /// Warm-up turns of the first launch, in seconds.
    pub warmup_seconds: Vec<f64>,
    /// Its timed turns.
    pub turns: Vec<TurnRecord>,
}

/// How a rung went.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum RungState {
    /// Measured in every launch.
    Measured,
    /// The engine does not have it, or it was not asked for.
    NotOffered {
        /// Why.
        reason: String,
    },
    /// It was tried.
    Failed {
        /// What went wrong.
        reason: String,
    },
}

/// One timed turn: a batch handed over at once, until its last result was in hand.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TurnRecord {
    /// Which launch.
    pub launch: u32,
    /// Which block of it.
    pub block: u32,
    /// Whether it is the block's second turn of the rung.
    pub second: bool,
    /// Whether all rungs' processes were there.
    pub resident: bool,
    /// How long it took.
    pub seconds: f64,
    /// Prompt tokens by the engine's or the server's count; None where a server gives none.
    pub input_tokens: Option<u64>,
    /// Output tokens, counted.
    pub output_tokens: u64,
    /// A hash of the output ids in hex; None where ids are not shown.
    pub output_digest: Option<String>,
    /// Characters of text that came out, where some did.
    pub characters: Option<u64>,
    /// Mean time to a request's first streamed event, in milliseconds; of the `http` rung only.
    pub first_event_ms: Option<f64>,
}

/// What one rung costs above another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Layer {
    /// The inner rung.
    pub from: Rung,
    /// The outer one.
    pub to: Rung,
    /// What lies between.
    pub what: String,
    /// Milliseconds a batch.
    pub batch_ms: Option<Cost>,
    /// Milliseconds a request: those of the batch over its requests.
    pub request_ms: Option<Cost>,
    /// Microseconds an output token: those of the batch over its output tokens.
    pub output_token_us: Option<Cost>,
    /// How many times as long as the inner rung, geometric mean over blocks.
    pub ratio: Option<Cost>,
    /// What the intervals of what it costs are over.
    pub unit: Option<Unit>,
    /// What the ratio's interval is over: launches can differ by the one measure and not by the other. None in older records.
    #[serde(default)]
    pub ratio_unit: Option<Unit>,
    /// Launches.
    pub launches: u32,
    /// Blocks of all launches in which both had their turns.
    pub blocks: u32,
    /// Why there is no figure or no interval, or what the interval leaves out.
    pub note: Option<String>,
}

/// A mean with its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// The mean of paired differences.
    pub mean: f64,
    /// Lower end.
    pub low: Option<f64>,
    /// Upper end.
    pub high: Option<f64>,
}

impl Cost {
    pub(super) fn times(self, factor: f64) -> Self {
        Self {
            mean: self.mean * factor,
            low: self.low.map(|low| low * factor),
            high: self.high.map(|high| high * factor),
        }
    }
}

/// A run's plan in a ledger's `run`.
pub(super) fn plan_json(plan: &crate::plan::Plan) -> Json {
    serde_json::to_value(plan).unwrap_or(Json::Null)
}
