//! A folder of TensorRT engines: what its `config.json` says.
use std::{fs, path::Path};

use serde::Deserialize;
use tacho::engine::EngineError;

/// `config.json` as `trtllm-build` and `LLM.save` write it; only what is needed here.
#[derive(Clone, Debug, Deserialize)]
pub struct EngineDir {
    /// The TensorRT-LLM that built it.
    #[serde(default)]
    pub version: Option<String>,
    /// The model.
    pub pretrained_config: Pretrained,
    /// The limits it was built with.
    pub build_config: Build,
}

/// The model's shape.
#[derive(Clone, Debug, Deserialize)]
pub struct Pretrained {
    /// Such as `LlamaForCausalLM`.
    pub architecture: String,
    /// Such as `float16`.
    pub dtype: String,
    /// Rows of the vocabulary.
    pub vocab_size: u32,
    /// The longest sequence the model was made for.
    #[serde(default)]
    pub max_position_embeddings: Option<u32>,
    /// How it is spread over ranks.
    #[serde(default)]
    pub mapping: Mapping,
    /// How weights and cache are quantized.
    #[serde(default)]
    pub quantization: Quantization,
}

/// Ranks.
#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
pub struct Mapping {
    /// All of them.
    pub world_size: u32,
    /// Tensor-parallel ways.
    pub tp_size: u32,
    /// Pipeline-parallel ways.
    pub pp_size: u32,
}

impl Default for Mapping {
    fn default() -> Self {
        Self { world_size: 1, tp_size: 1, pp_size: 1 }
    }
}

/// Quantization.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Quantization {
    /// Of the weights, such as `FP8`.
    pub quant_algo: Option<String>,
    /// Of the KV cache.
    pub kv_cache_quant_algo: Option<String>,
}

/// Limits.
#[derive(Clone, Debug, Deserialize)]
pub struct Build {
    /// Sequences at most.
    pub max_batch_size: u32,
    /// Prompt tokens at most.
    pub max_input_len: u32,
    /// Prompt plus output at most.
    pub max_seq_len: u32,
    /// Tokens a step at most.
    #[serde(default)]
    pub max_num_tokens: Option<u32>,
    /// Beams at most.
    #[serde(default)]
    pub max_beam_width: Option<u32>,
    /// Compiled-in plugins.
    #[serde(default)]
    pub plugin_config: Plugins,
}

/// Plugins.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Plugins {
    /// Needed for chunked context and for block reuse.
    pub use_paged_context_fmha: bool,
}

impl EngineDir {
    /// Reads `folder/config.json` and looks for the first rank's engine beside it.
    ///
    /// # Errors
    /// `Load`, saying what was expected and how to make it.
    pub fn read(folder: &Path) -> Result<Self, EngineError> {
        let build = "`tacho engines build tensorrt-llm --model MODEL` makes one of a model folder";
        if !folder.is_dir() {
            return Err(EngineError::load(format!(
                "{}: {} is no folder; expected a folder of TensorRT engines (config.json, rank0.engine). {build}",
                crate::ID,
                folder.display()
            )));
        }
        let path = folder.join("config.json");
        let text = fs::read_to_string(&path).map_err(|error| {
            EngineError::load(format!(
                "{}: {} cannot be read: {error}; expected a folder of TensorRT engines. {build}",
                crate::ID,
                path.display()
            ))
        })?;
        let read: Self = serde_json::from_str(&text).map_err(|error| {
            EngineError::load(format!(
                "{}: {} describes no TensorRT engine: {error}. A model folder has to be built first: {build}",
                crate::ID,
                path.display()
            ))
        })?;
        for rank in 0..read.pretrained_config.mapping.world_size {
            let engine = folder.join(format!("rank{rank}.engine"));
            if !engine.is_file() {
                return Err(EngineError::load(format!(
                    "{}: {} is missing; config.json speaks of {} ranks. Build the engine anew: {build}",
                    crate::ID,
                    engine.display(),
                    read.pretrained_config.mapping.world_size
                )));
            }
        }
        Ok(read)
    }

    /// How the weights are stored: the quantization if there is one, otherwise the type.
    pub fn weights_dtype(&self) -> String {
        self.pretrained_config.quantization.quant_algo.clone().unwrap_or_else(|| self.pretrained_config.dtype.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = r#"{"version": "1.2.1", "pretrained_config": {"architecture": "LlamaForCausalLM",
        "dtype": "float16", "vocab_size": 128256, "mapping": {"world_size": 2, "tp_size": 2, "pp_size": 1},
        "quantization": {"quant_algo": "FP8"}}, "build_config": {"max_batch_size": 8, "max_input_len": 1024,
        "max_seq_len": 2048, "plugin_config": {"use_paged_context_fmha": true}}}"#;

    #[test]
    fn a_config_is_read_and_every_rank_must_be_there() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("config.json"), CONFIG).unwrap();
        fs::write(dir.path().join("rank0.engine"), "x").unwrap();
        let error = EngineDir::read(dir.path()).unwrap_err();
        assert!(error.message.contains("rank1.engine") && error.message.contains("2 ranks"), "{error}");
        fs::write(dir.path().join("rank1.engine"), "x").unwrap();
        let read = EngineDir::read(dir.path()).unwrap();
        assert_eq!((read.weights_dtype().as_str(), read.pretrained_config.mapping.tp_size), ("FP8", 2));
        assert!(read.build_config.plugin_config.use_paged_context_fmha);
    }

    #[test]
    fn what_is_no_folder_of_engines_says_how_to_build_one() {
        let dir = tempfile::tempdir().unwrap();
        let gguf = dir.path().join("model.gguf");
        fs::write(&gguf, "GGUF").unwrap();
        for (path, says) in [(gguf.as_path(), "is no folder"), (dir.path(), "config.json")] {
            let error = EngineDir::read(path).unwrap_err();
            assert!(error.message.contains(says) && error.message.contains("tacho engines build"), "{error}");
        }
        fs::write(dir.path().join("config.json"), r#"{"model_type": "llama"}"#).unwrap();
        let error = EngineDir::read(dir.path()).unwrap_err();
        assert!(error.message.contains("pretrained_config"), "{error}");
    }
}
