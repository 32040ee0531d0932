//! What a step loop tells: new tokens, ends, and one record a step.
use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::{RequestId, TokenId};

/// Why a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum FinishReason {
    /// It produced as many tokens as were asked. The only good end of a benchmark request.
    Length = 1,
    /// The engine stopped early: an end-of-sequence token that should have been ignored.
    Stop = 2,
    /// It was cancelled.
    Cancelled = 3,
    /// The engine gave it up.
    Error = 4,
}

impl FinishReason {
    /// The reason with that code, or none.
    pub fn from_code(code: u8) -> Option<Self> {
        [Self::Length, Self::Stop, Self::Cancelled, Self::Error].into_iter().find(|reason| *reason as u8 == code)
    }
}

/// New tokens of one request, from one step.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Whose.
    pub request: RequestId,
    /// When the harness could first see them, in nanoseconds of the engine's clock.
    pub time_ns: u64,
    /// Where the new ids lie in [`EventBuf::ids`]. May be empty on an end.
    pub tokens: Range<usize>,
    /// Prompt tokens the engine says it consumed: set at the latest on the last event.
    pub input_tokens: Option<u32>,
    /// Set on the request's last event.
    pub finish: Option<FinishReason>,
}

/// One iteration of an engine's scheduler loop. Times are nanoseconds of the engine's clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StepRecord {
    /// When the step began: the scheduler picked its batch.
    pub start_ns: u64,
    /// When its tokens were visible to the harness.
    pub end_ns: u64,
    /// Prompt tokens computed in it.
    pub prefill_tokens: u32,
    /// Sequences that got a decode token in it.
    pub decode_seqs: u32,
    /// Requests running after it.
    pub running: u32,
    /// Requests waiting after it.
    pub waiting: u32,
    /// KV-cache tokens in use after it; `u64::MAX` where the engine does not tell.
    pub kv_tokens: u64,
}

/// Where `poll` puts what came out. The harness clears it after each call and keeps its memory, so that a steady loop
/// allocates nothing.
#[derive(Debug, Default)]
pub struct EventBuf {
    /// In the order they became visible.
    pub events: Vec<Event>,
    /// The events' token ids.
    pub ids: Vec<TokenId>,
    /// The steps that ran.
    pub steps: Vec<StepRecord>,
}

impl EventBuf {
    /// Forgets what was in it, keeping the memory.
    pub fn clear(&mut self) {
        self.events.clear();
        self.ids.clear();
        self.steps.clear();
    }

    /// Adds an event with its new ids.
    pub fn push(
        &mut self,
        request: RequestId,
        time_ns: u64,
        tokens: &[TokenId],
        input_tokens: Option<u32>,
        finish: Option<FinishReason>,
    ) {
        let start = self.ids.len();
        self.ids.extend_from_slice(tokens);
        self.events.push(Event { request, time_ns, tokens: start..self.ids.len(), input_tokens, finish });
    }
}
