//! The options of the C++ executor, by its own names and with Tacho's choices stated.
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use tacho::engine::{EngineError, Options};

use crate::ID;

/// How the executor chooses what runs, by the names of `CapacitySchedulerPolicy`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    /// As many requests as fit now; some may be paused and started over.
    MaxUtilization,
    /// Only what can run to its end.
    #[default]
    GuaranteedNoEvict,
    /// No new request until all of the batch have ended: static batching.
    StaticBatch,
}

impl Policy {
    /// The number of the library's enumeration.
    pub fn number(self) -> u8 {
        match self {
            Self::MaxUtilization => 0,
            Self::GuaranteedNoEvict => 1,
            Self::StaticBatch => 2,
        }
    }
}

/// What a plan can set (`engine.tensorrt-llm-cpp.max_batch_size = 64`).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrtOptions {
    /// Sequences at most; what the plan needs unless set.
    pub max_batch_size: Option<u32>,
    /// Tokens a step at most; what the engine was built with unless set.
    pub max_num_tokens: Option<u32>,
    /// Requests that may wait; without a limit unless set.
    pub max_queue_size: Option<u32>,
    /// Tokens in the KV cache; by the fraction unless set.
    pub kv_cache_max_tokens: Option<u32>,
    /// Part of the free device memory for the KV cache; 0.9, the library's own, unless set.
    pub kv_cache_free_gpu_memory_fraction: Option<f32>,
    /// Whether prompts are answered from earlier ones' blocks.
    pub enable_block_reuse: bool,
    /// Whether a prompt may be computed over several steps; wherever the engine was built for it, unless set.
    pub enable_chunked_context: Option<bool>,
    /// How the executor chooses what runs.
    pub capacity_scheduler_policy: Policy,
    /// CUDA graphs for decoding steps.
    pub cuda_graph_mode: bool,
    /// Attention over several blocks a sequence; on, the library's own, unless set.
    pub multi_block_mode: Option<bool>,
    /// Devices by rank; the library's choice unless set.
    pub device_ids: Vec<u32>,
    /// A model folder whose `tokenizer.json` tells which ids are ordinary; the folder of engines unless set.
    pub tokenizer: Option<PathBuf>,
}

impl TrtOptions {
    /// The plan's options over the defaults.
    ///
    /// # Errors
    /// `Unsupported` for an unknown name (the message lists the known ones), a wrong type, or a value out of range.
    pub fn from_options(options: &Options) -> Result<Self, EngineError> {
        let map = options.clone().into_iter().collect();
        let read: Self = serde_json::from_value(serde_json::Value::Object(map))
            .map_err(|error| EngineError::unsupported(format!("{ID}: option not understood: {error}")))?;
        let counts = [
            ("max_batch_size", read.max_batch_size),
            ("max_num_tokens", read.max_num_tokens),
            ("max_queue_size", read.max_queue_size),
            ("kv_cache_max_tokens", read.kv_cache_max_tokens),
        ];
        for (name, value) in counts {
            // The library keeps them as signed numbers of 32 bits.
            if let Some(value) = value.filter(|value| *value == 0 || *value > i32::MAX as u32) {
                let most = i32::MAX;
                return Err(EngineError::unsupported(format!("{ID}: expected {name} from 1 to {most}, found {value}")));
            }
        }
        if let Some(part) = read.kv_cache_free_gpu_memory_fraction.filter(|part| !(*part > 0.0 && *part < 1.0)) {
            return Err(EngineError::unsupported(format!(
                "{ID}: expected kv_cache_free_gpu_memory_fraction above 0 and below 1, found {part}"
            )));
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tacho::engine::ErrorKind;

    use super::*;

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        for (name, value, says) in [
            ("max_batchsize", json!(4), "max_batch_size"),
            ("max_batch_size", json!(0), "from 1 to"),
            ("kv_cache_free_gpu_memory_fraction", json!(1.5), "below 1"),
            ("capacity_scheduler_policy", json!("static"), "static_batch"),
        ] {
            let options = Options::from([(name.to_owned(), value)]);
            let error = TrtOptions::from_options(&options).unwrap_err();
            assert_eq!(error.kind, ErrorKind::Unsupported);
            assert!(error.message.contains(says), "{name}: {error}");
        }
    }
}
