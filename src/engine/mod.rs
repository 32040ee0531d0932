//! What an inference engine is to Tacho: one trait, every adapter, native or Python.
//!
//! Token ids go in and come out; text never crosses this boundary. An adapter honours exact output lengths (it ignores
//! end-of-sequence), the given ids, the seed and the sampling, and refuses with [`ErrorKind::Unsupported`] what its
//! engine cannot do, before anything is timed.

mod batch;
pub mod conformance;
mod digest;
mod error;
mod events;
mod info;
mod score;
pub mod sim;
mod sim_faults;
mod sim_options;
mod sim_scores;
#[cfg(test)]
pub(crate) mod testing;

use std::{collections::BTreeMap, path::PathBuf};

pub use batch::{Completion, Completions, Request, RequestBatch};
pub use digest::{ids_digest, ids_digest_next, ids_digest_start};
pub use error::{Broken, EngineError, ErrorKind};
pub use events::{Event, EventBuf, FinishReason, StepRecord};
pub use info::{Boundary, Capabilities, EngineInfo, IdRange, ModelInfo, Scheduler};
pub use score::{Forced, Scored};
use serde::{Deserialize, Serialize};

use crate::measure::monotonic_ns;

/// A token's id in the model's vocabulary.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    zerocopy::IntoBytes,
    zerocopy::FromBytes,
    zerocopy::Immutable,
)]
#[serde(transparent)]
#[repr(transparent)]
pub struct TokenId(pub u32);

/// A request's number, unique in its trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RequestId(pub u32);

/// How the next token is chosen. `temperature` 0 is greedy, and then the other fields have no effect.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Sampling {
    /// Softmax temperature; 0 means greedy.
    pub temperature: f32,
    /// Nucleus mass in (0, 1]; 1 keeps all.
    pub top_p: f32,
    /// How many of the likeliest tokens are kept; 0 keeps all.
    pub top_k: u32,
    /// Seed of the sampler. A request's own seed is derived from it and the request's number.
    pub seed: u64,
}

impl Default for Sampling {
    fn default() -> Self {
        Self { temperature: 0.0, top_p: 1.0, top_k: 0, seed: 0 }
    }
}

impl Sampling {
    /// Whether the likeliest token is always taken.
    pub fn is_greedy(&self) -> bool {
        self.temperature <= 0.0
    }
}

/// An engine's own options by the engine's own names, as the plan gives them.
pub type Options = BTreeMap<String, serde_json::Value>;

/// What to load. The sizes are what the plan's points need of this engine configuration; an adapter makes room for at
/// least that much or fails, unless an option of the engine sets the size itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LoadConfig {
    /// The engine's id, as in `engines/<id>`.
    pub engine: String,
    /// A GGUF file or a model folder. None only for engines that have no model (`sim`).
    pub model: Option<PathBuf>,
    /// The most sequences that any point keeps running at once.
    pub max_seqs: u32,
    /// The longest prompt plus output of any point, in tokens.
    pub max_model_len: u32,
    /// Seed for whatever the engine draws at random.
    pub seed: u64,
    /// The engine's own options.
    pub options: Options,
}

/// An engine, loaded. Times are nanoseconds of the engine's clock, [`Engine::now_ns`].
pub trait Engine {
    /// What was loaded and how, read back from the running engine.
    fn info(&self) -> &EngineInfo;

    /// The engine's own offline call: takes all requests at once, blocks until all are done. This is what `offline`
    /// times. Completions come back in the batch's order.
    ///
    /// # Errors
    /// [`ErrorKind::BadRequest`] when a request does not fit, [`ErrorKind::Engine`] when the engine failed.
    fn generate(&mut self, batch: &RequestBatch) -> Result<Completions, EngineError>;

    /// Hands one request to the step loop. The prompt is copied by the adapter if it needs it later.
    ///
    /// # Errors
    /// [`ErrorKind::BadRequest`] when the request can never fit.
    fn submit(&mut self, request: Request<'_>) -> Result<(), EngineError>;

    /// Runs the step loop until something came out or `deadline_ns` has passed, and appends what came out. With nothing
    /// submitted it waits for the deadline. At most one engine step's results a call, where the engine's door has steps.
    ///
    /// # Errors
    /// [`ErrorKind::Engine`] when the engine failed; the trial is then lost.
    fn poll(&mut self, deadline_ns: u64, out: &mut EventBuf) -> Result<(), EngineError>;

    /// Stops a request. Its last event, at a later poll or never, carries [`FinishReason::Cancelled`]; an unknown or
    /// finished id is no error.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] where the engine's door cannot cancel.
    fn cancel(&mut self, id: RequestId) -> Result<(), EngineError>;

    /// What the engine thinks at each position of each continuation, given all before it. Untimed. An engine with nothing in
    /// flight computes all sequences together, as far as it has room.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] where the engine's door gives no log-probabilities, which is the default.
    fn score(&mut self, sequences: &[Forced]) -> Result<Vec<Vec<Scored>>, EngineError> {
        let _ = sequences;
        let engine = &self.info().engine;
        Err(EngineError::unsupported(format!("{engine}: this engine's door gives no log-probabilities of given ids")))
    }

    /// As [`Engine::generate`], with texts in place of the batch's prompts where there are some (the engine makes the same ids
    /// of them), and with outputs decoded to text where `detokenise` says so. Gives how many characters of text came out.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] where the engine's door takes and gives ids alone, which is the default; otherwise as
    /// [`Engine::generate`].
    fn generate_text(
        &mut self,
        batch: &RequestBatch,
        texts: Option<&[String]>,
        detokenise: bool,
    ) -> Result<(Completions, u64), EngineError> {
        let _ = (batch, texts, detokenise);
        let engine = &self.info().engine;
        Err(EngineError::unsupported(format!("{engine}: this engine's door takes and gives token ids alone")))
    }

    /// Drops prefix caches and pending work, so that a trial starts as the one before it did.
    ///
    /// # Errors
    /// [`ErrorKind::Engine`] when the engine failed.
    fn reset(&mut self) -> Result<(), EngineError>;

    /// The engine's own counters since load, by name; see [`stat`] for the names every adapter uses alike.
    fn stats(&mut self) -> Stats;

    /// What the engine's own records say it was given since the last reset: the wrapping sum over its requests of
    /// [`ids_digest`]. Asked outside of timed regions. None where the engine does not show which ids it consumed.
    fn consumed_digest(&mut self) -> Option<u64> {
        None
    }

    /// Ends the engine. Called once, last.
    ///
    /// # Errors
    /// [`ErrorKind::Engine`] when the engine failed to end cleanly.
    fn shutdown(&mut self) -> Result<(), EngineError>;

    /// The engine's clock: the host's, but for a simulated engine in virtual time.
    fn now_ns(&self) -> u64 {
        monotonic_ns()
    }
}

/// An engine's counters since load. Absent means the engine does not tell.
pub type Stats = BTreeMap<String, f64>;

/// Names of counters that mean the same for every engine.
pub mod stat {
    /// Prompt tokens answered from a prefix cache.
    pub const PREFIX_HIT_TOKENS: &str = "prefix_hit_tokens";
    /// Sequences evicted and started over.
    pub const PREEMPTIONS: &str = "preemptions";
    /// Engine steps run.
    pub const STEPS: &str = "steps";
    /// Graphs captured, code compiled and kernels tuned, of every kind that the engine counts. Each kind may stand beside it
    /// under [`COMPILES_PART`].
    pub const COMPILES: &str = "compiles";
    /// What the names of [`COMPILES`]' parts begin with, such as `compiles.cuda_graph_captures`.
    pub const COMPILES_PART: &str = "compiles.";
}
