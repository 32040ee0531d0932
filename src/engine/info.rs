//! What an engine says of itself once it runs.
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Options;

/// Where an engine's own work runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Boundary {
    /// Scheduler, model and GPU context in the cell's process.
    InCore,
    /// The engine starts children that do the work.
    ChildCore,
    /// A server, only as a rung of the boundary ledger.
    Http,
}

impl Boundary {
    /// As it stands in tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InCore => "in-core",
            Self::ChildCore => "child-core",
            Self::Http => "http",
        }
    }
}

/// Who decides what runs in a step: the engine, or Tacho on top of a library that only decodes batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scheduler {
    /// The engine's own scheduler.
    Engine,
    /// Tacho's.
    Tacho,
}

impl Scheduler {
    /// As it stands in tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Engine => "engine",
            Self::Tacho => "tacho",
        }
    }
}

/// A half-open range of token ids, `start..end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdRange {
    /// First id.
    pub start: u32,
    /// One past the last.
    pub end: u32,
}

/// The model as the engine loaded it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ModelInfo {
    /// Its name, from its own metadata where it has one.
    pub name: String,
    /// Architecture, such as `llama`.
    pub architecture: Option<String>,
    /// How the weights are stored, such as `Q4_1` or `bfloat16`.
    pub weights_dtype: Option<String>,
    /// Parameters.
    pub n_params: Option<u64>,
    /// Size of the weights.
    pub size_bytes: Option<u64>,
    /// The longest sequence the model was made for, in tokens.
    pub context_len: Option<u32>,
    /// Rows of the vocabulary.
    pub vocab_size: u32,
    /// Ordinary ids, ascending and disjoint: no special, control, unused or byte-fallback ids. Prompts are drawn from
    /// these. Empty where the engine cannot say.
    pub ordinary_ids: Vec<IdRange>,
}

/// What the engine's door can do. What it cannot is refused before anything is timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    /// `submit` and `poll`, with requests joining while others run.
    pub continuous_batching: bool,
    /// `cancel`.
    pub cancel: bool,
    /// Sampling other than greedy.
    pub sampling: bool,
    /// Different output lengths in one batch.
    pub mixed_lengths: bool,
}

impl Capabilities {
    /// Everything.
    pub const ALL: Self = Self { continuous_batching: true, cancel: true, sampling: true, mixed_lengths: true };
}

/// What runs, read back from the running engine, not from what was asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EngineInfo {
    /// The engine's id.
    pub engine: String,
    /// The engine's own version.
    pub version: String,
    /// Set for a stand-in that must never be reported as an engine: what it is.
    pub double: Option<String>,
    /// Where the engine's work runs.
    pub boundary: Boundary,
    /// Who schedules.
    pub scheduler: Scheduler,
    /// The device's name, such as `CPU (AMX_INT8)` or `NVIDIA H100 80GB HBM3`.
    pub device: String,
    /// `eager`, `cuda-graphs`, `inductor`… in the engine's own words, where it has a choice.
    pub compile_mode: Option<String>,
    /// Whether the engine's GPU work runs in this process; None without a GPU.
    pub gpu_in_process: Option<bool>,
    /// Tensor-parallel ways × pipeline-parallel ways.
    pub parallelism: (u32, u32),
    /// The model.
    pub model: ModelInfo,
    /// KV-cache capacity in tokens.
    pub kv_capacity_tokens: Option<u64>,
    /// The most sequences that run at once.
    pub max_seqs: Option<u32>,
    /// The longest sequence accepted, prompt plus output, in tokens.
    pub max_model_len: Option<u32>,
    /// Whether [`super::Engine::now_ns`] is a simulated clock.
    pub virtual_time: bool,
    /// What the door can do.
    pub capabilities: Capabilities,
    /// The effective configuration, by the engine's own names: what its options, defaults and device settle, so that the
    /// same plan on the same machine gives the same again. Part of a point's key.
    pub effective: Options,
    /// What the engine found at this launch, by its own names: KV blocks by the memory that happened to be free, and the
    /// like. It differs from launch to launch, so that no key depends on it.
    #[serde(default)]
    pub observed: Options,
    /// Counters that the engine does not tell, or not wholly, by their names in [`super::stat`]: why. A count that is told all the
    /// same is of a part.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub uncounted: BTreeMap<String, String>,
}
