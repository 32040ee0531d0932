//! What a plan can set of the simulated engine.
use serde::{Deserialize, Serialize};

use super::{EngineError, ErrorKind};

/// Which clock the engine lives by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Time {
    /// It waits out its costs.
    #[default]
    Real,
    /// Its clock jumps ahead by its costs.
    Virtual,
}

/// A fault to commit, for tests of what survives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// The process aborts.
    Abort,
    /// The process gets a SIGSEGV, as a memory fault in native code gives it.
    Segv,
    /// The process gets a SIGKILL, as when the kernel runs out of memory.
    Kill,
    /// The process aborts and leaves a child in its process group, one outside of it, and one with an empty environment in
    /// a session of its own.
    Orphans,
    /// The process exits with status 7.
    Exit,
    /// The engine panics.
    Panic,
    /// The call never returns.
    Hang,
    /// The engine answers with an error.
    Error,
    /// The engine answers that memory ran out.
    OutOfMemory,
    /// No request ends any more: tokens come for ever.
    Endless,
    /// A request stops one token early.
    ShortOutput,
    /// A request claims one prompt token too many.
    WrongInput,
    /// Megabytes of garbage on standard output and standard error.
    Noise,
    /// Garbage on standard error without end.
    EndlessNoise,
    /// The process's environment on standard error.
    Environment,
    /// A request gets one token too few and is said to have its length.
    FewTokens,
    /// From that step on, the first id of each prompt handed over is taken for another.
    ChangedPrompt,
    /// That step and each later one counts a compilation.
    Compile,
    /// That step and each later one counts a preemption.
    Preempt,
    /// That step and each later one counts a prompt token from a prefix cache.
    PrefixHit,
    /// From that step on, memory grows by 96 MiB in the fourth step after each reset, which gives it back.
    Grow,
    /// The KV cache holds a tenth less than it was set to.
    FewerKv,
    /// What is done between every second reset and the next takes a tenth longer.
    TwoPaces,
    /// Loading never ends.
    LoadHang,
    /// The process gets a SIGSEGV while the engine is loaded.
    LoadSegv,
}

/// The options of `sim`, by the names a plan uses (`engine.sim.step_base_us = 100`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SimOptions {
    /// Cost of any step, in microseconds.
    pub step_base_us: f64,
    /// Cost of a prompt token, in microseconds.
    pub prefill_token_us: f64,
    /// Cost of a decoding sequence in a step, in microseconds.
    pub decode_seq_us: f64,
    /// Relative standard deviation of a step's cost.
    pub jitter: f64,
    /// KV-cache capacity in tokens.
    pub kv_tokens: u64,
    /// The most sequences that run at once.
    pub max_seqs: Option<u32>,
    /// The most prompt tokens computed in a step.
    pub prefill_chunk: u32,
    /// The longest sequence, prompt plus output.
    pub max_model_len: u32,
    /// Rows of the vocabulary.
    pub vocab_size: u32,
    /// Whether what prompts share with earlier ones, since the last reset, is not computed again. The last token of a prompt always
    /// is; nothing is ever forgotten for lack of room.
    pub prefix_cache: bool,
    /// The clock.
    pub time: Time,
    /// A fault to commit at step `fault_at_step`.
    pub fault: Option<Fault>,
    /// Counted from the load on, warm-up included.
    pub fault_at_step: u64,
    /// Memory runs out when the requests handed over need the KV entries of more tokens than this; None where it never does.
    pub memory_tokens: Option<u64>,
    /// Whether that is found when the engine is loaded, for as many and as long requests as the plan needs.
    pub memory_at_load: bool,
    /// Whether it says that it works on a GPU, so that telemetry can be tried on recordings.
    pub gpu: bool,
    /// Stands for the model's weights: another number is another model.
    pub weights: u64,
    /// The size of the errors of its log-probabilities, in nats: that of an engine's own arithmetic.
    pub logit_error: f64,
    /// Which errors: another number is another engine's arithmetic.
    pub logit_error_seed: u64,
    /// Whether the errors are others after every reset, as in an engine whose outputs do not repeat.
    pub logit_error_varies: bool,
}

impl Default for SimOptions {
    fn default() -> Self {
        Self {
            step_base_us: 200.0,
            prefill_token_us: 1.0,
            decode_seq_us: 5.0,
            jitter: 0.0,
            kv_tokens: 1 << 20,
            max_seqs: None,
            prefill_chunk: 2048,
            max_model_len: 1 << 17,
            vocab_size: 32_000,
            prefix_cache: false,
            time: Time::Real,
            fault: None,
            fault_at_step: 0,
            memory_tokens: None,
            memory_at_load: false,
            gpu: false,
            weights: 0,
            logit_error: 0.0,
            logit_error_seed: 0,
            logit_error_varies: false,
        }
    }
}

impl SimOptions {
    pub(super) fn room_for(&self, tokens: u64) -> Result<(), EngineError> {
        match self.memory_tokens.filter(|room| tokens > *room) {
            Some(room) => Err(EngineError::new(
                ErrorKind::OutOfMemory,
                format!("sim: out of memory: {tokens} tokens of KV entries are needed, there is room for {room}"),
            )),
            None => Ok(()),
        }
    }
}
