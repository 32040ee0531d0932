//! Whether an engine did with a request what it was asked, and the hash of what it said.
use crate::{
    engine::{Broken, EngineError, FinishReason, RequestId, TokenId},
    workload::mix,
};

/// A request as the engine ended it.
pub(super) struct Ended {
    pub(super) id: RequestId,
    pub(super) input: Option<u32>,
    pub(super) output: u32,
}

impl Ended {
    /// Checks what the engine did with a request against what it was asked.
    pub(super) fn check(&self, input: u32, output: u32, finish: FinishReason) -> Result<(), EngineError> {
        let found = self.input.map_or_else(|| "an untold number of".to_owned(), |n| n.to_string());
        if self.input != Some(input) {
            let message =
                format!("request {}: {input} prompt tokens were given, the engine consumed {found}", self.id.0);
            return Err(EngineError::broken(Broken::InputIds, message));
        }
        if self.output != output || finish != FinishReason::Length {
            let broken = if finish == FinishReason::Length { Broken::OutputCounts } else { Broken::FinishReasons };
            let message = format!(
                "request {}: {output} output tokens were asked for, the engine produced {} and ended with {finish:?}",
                self.id.0, self.output
            );
            return Err(EngineError::broken(broken, message));
        }
        Ok(())
    }
}

pub(super) fn check_ids(request: RequestId, ids: &[TokenId], vocab_size: u32) -> Result<(), EngineError> {
    match ids.iter().find(|id| id.0 >= vocab_size) {
        Some(id) => Err(EngineError::mismatch(format!(
            "request {}: output id {} lies outside the vocabulary of {vocab_size}",
            request.0, id.0
        ))),
        None => Ok(()),
    }
}

pub(super) fn hash_start(id: RequestId) -> u64 {
    mix(0, u64::from(id.0))
}

pub(super) fn hash_ids(start: u64, ids: &[TokenId]) -> u64 {
    ids.iter().fold(start, |hash, id| mix(hash, u64::from(id.0)))
}
