//! What a trial leaves for a verdict on it that no other field of its summary holds.
use serde::{Deserialize, Serialize};

/// What a trial was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// Requests.
    pub requests: u32,
    /// Prompt tokens.
    pub input_tokens: u64,
    /// Output tokens.
    pub output_tokens: u64,
}

/// Evidence for [`crate::engine`]'s side of a certificate. Empty in records of a tacho that did not keep it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Evidence {
    /// What was asked for, counted from the workload that was handed over.
    pub asked: Option<Asked>,
    /// Wrapping sum of [`crate::engine::ids_digest`] over the prompts that were handed over; None where there is nothing
    /// to compare it with.
    pub given_digest: Option<u64>,
    /// The same by the engine's own records ([`crate::engine::Engine::consumed_digest`]).
    pub consumed_digest: Option<u64>,
    /// For how many nanoseconds the machine was suspended between handing the trial over and its end. Noted by `tacho`, not by the
    /// cell. No clock that the trial was timed by has them in it, but caches, clocks and heat are not what they were.
    pub suspended_ns: Option<u64>,
}
