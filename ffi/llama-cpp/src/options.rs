//! The options of `llama.cpp`, by llama.cpp's own names and with its defaults.
use serde::{Deserialize, Serialize};
use tacho::engine::{EngineError, LoadConfig};

use crate::{sys, types};

/// When flash attention is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FlashAttn {
    /// Where the backend can.
    #[default]
    Auto,
    /// Always.
    On,
    /// Never.
    Off,
}

/// What a plan can set (`engine."llama.cpp".n_batch = 512`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LlamaOptions {
    /// Threads for steps of one token; the physical cores that this process may use unless set.
    pub threads: Option<u32>,
    /// Threads for steps of more tokens; as `threads` unless set.
    pub threads_batch: Option<u32>,
    /// The most tokens of a step.
    pub n_batch: u32,
    /// The most tokens computed at once inside a step.
    pub n_ubatch: u32,
    /// Flash attention.
    pub flash_attn: FlashAttn,
    /// Type of the cached keys.
    pub type_k: String,
    /// Type of the cached values.
    pub type_v: String,
    /// Layers on the GPU; llama.cpp's default (all that a loaded GPU module can take) unless set, -1 for all.
    pub n_gpu_layers: Option<i32>,
    /// GPUs by ggml's names, such as `CUDA0` or `CUDA0,CUDA1`, or `none`; all unless set.
    pub devices: Option<String>,
    /// The most sequences that run at once; what the plan's points need unless set.
    pub max_seqs: Option<u32>,
    /// Tokens that the KV cache holds, all sequences together; max_seqs times the longest request unless set.
    pub kv_tokens: Option<u32>,
    /// Whether all sequences share one cache (`-kvu`), so that long ones can take what short ones leave; attention then
    /// runs over everybody's tokens and masks, which is slower.
    pub kv_unified: bool,
    /// Whether the weights are mapped from the file; llama.cpp decides unless set.
    pub use_mmap: Option<bool>,
    /// Whether the likeliest token is picked where the logits are computed (`--backend-sampling`, experimental in
    /// llama.cpp), so that a GPU hands over token ids and not the whole vocabulary's logits; greedy decoding only.
    pub backend_sampling: bool,
}

impl Default for LlamaOptions {
    fn default() -> Self {
        Self {
            threads: None,
            threads_batch: None,
            n_batch: 2048,
            n_ubatch: 512,
            flash_attn: FlashAttn::Auto,
            type_k: "f16".to_owned(),
            type_v: "f16".to_owned(),
            n_gpu_layers: None,
            devices: None,
            max_seqs: None,
            kv_tokens: None,
            kv_unified: false,
            use_mmap: None,
            backend_sampling: false,
        }
    }
}

impl LlamaOptions {
    /// The plan's options over the defaults.
    ///
    /// # Errors
    /// `Unsupported` for an unknown name (the message lists the known ones), a wrong type, or a value out of range.
    pub fn from_config(config: &LoadConfig) -> Result<Self, EngineError> {
        let map = config.options.clone().into_iter().collect();
        let options: Self = serde_json::from_value(serde_json::Value::Object(map))
            .map_err(|error| EngineError::unsupported(format!("llama.cpp: option not understood: {error}")))?;
        let counts = [
            ("n_batch", Some(options.n_batch)),
            ("n_ubatch", Some(options.n_ubatch)),
            ("threads", options.threads),
            ("threads_batch", options.threads_batch),
            ("max_seqs", options.max_seqs),
            ("kv_tokens", options.kv_tokens),
        ];
        for (name, value) in counts {
            // llama.cpp keeps most of these as signed numbers of 32 bits.
            if value.is_some_and(|value| value == 0 || value > i32::MAX as u32) {
                return Err(EngineError::unsupported(format!(
                    "llama.cpp: expected {name} from 1 to {}, found {}",
                    i32::MAX,
                    value.unwrap_or(0)
                )));
            }
        }
        options.cache_types()?;
        Ok(options)
    }

    /// The devices asked for: none means that nobody said, an empty list that no GPU is to be used.
    pub fn device_names(&self) -> Option<Vec<&str>> {
        let text = self.devices.as_deref()?;
        Some(text.split(',').map(str::trim).filter(|name| !name.is_empty() && *name != "none").collect())
    }

    /// The cache's types as ggml's numbers: keys, values.
    ///
    /// # Errors
    /// `Unsupported`, with the known names.
    pub fn cache_types(&self) -> Result<(sys::ggml_type, sys::ggml_type), EngineError> {
        let find = |option: &str, name: &str| {
            types::cache_type(name).ok_or_else(|| {
                EngineError::unsupported(format!(
                    "llama.cpp: expected {option} to be one of {}, found `{name}`",
                    types::cache_names()
                ))
            })
        };
        Ok((find("type_k", &self.type_k)?, find("type_v", &self.type_v)?))
    }
}
