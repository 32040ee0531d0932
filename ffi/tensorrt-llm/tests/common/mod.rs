//! Folders of engines for the double, and requests.
#![allow(dead_code, reason = "not every test needs everything")]
use std::{fs, path::Path};

use serde_json::json;
use tacho::engine::{LoadConfig, Options, Request, RequestBatch, RequestId, Sampling, TokenId, conformance};
use tacho_tensorrt_llm::TensorRtLlm;
use tempfile::TempDir;

/// What the double calls itself.
pub const DOUBLE: &str = "tensorrt-llm DOUBLE (not TensorRT-LLM)";

/// A folder of the double's engines: its `config.json` as the vendor's builder writes it, and `lines` in its engine file.
pub fn engine_dir(lines: &str) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    write_engine(dir.path(), lines);
    dir
}

/// As [`engine_dir`], in a folder that is there.
pub fn write_engine(dir: &Path, lines: &str) {
    let config = json!({
        "version": "0.0.0-double",
        "pretrained_config": {
            "architecture": "LlamaForCausalLM", "dtype": "float16", "vocab_size": 32000,
            "max_position_embeddings": 2048, "bos_token_id": 1, "eos_token_id": 2,
            "mapping": {"world_size": 1, "tp_size": 1, "pp_size": 1}, "quantization": {"quant_algo": null},
        },
        "build_config": {
            "max_batch_size": 64, "max_input_len": 1024, "max_seq_len": 2048, "max_num_tokens": 8192,
            "max_beam_width": 1, "plugin_config": {"use_paged_context_fmha": true},
        },
    });
    fs::write(dir.join("config.json"), config.to_string()).unwrap();
    fs::write(dir.join("rank0.engine"), format!("tensorrt-llm DOUBLE engine\n{lines}")).unwrap();
}

/// Room for what the conformance checks need.
pub fn config(model: &Path, options: serde_json::Value) -> LoadConfig {
    LoadConfig {
        engine: tacho_tensorrt_llm::ID.to_owned(),
        model: Some(model.to_owned()),
        max_seqs: conformance::SEQS,
        max_model_len: 256,
        seed: 1,
        options: serde_json::from_value::<Options>(options).unwrap(),
    }
}

/// The adapter over the double.
pub fn engine(lines: &str, options: serde_json::Value) -> (TensorRtLlm, TempDir) {
    let dir = engine_dir(lines);
    (TensorRtLlm::load(&config(dir.path(), options)).unwrap(), dir)
}

/// A greedy request.
pub fn greedy(id: u32, prompt: &[TokenId], output_tokens: u32) -> Request<'_> {
    Request { id: RequestId(id), prompt, output_tokens, sampling: Sampling::default() }
}

/// Those requests as a batch.
pub fn batch(requests: &[Request<'_>]) -> RequestBatch {
    let mut batch = RequestBatch::new();
    for request in requests {
        batch.push(*request);
    }
    batch
}

/// `length` ids from `first` on.
pub fn prompt(first: u32, length: u32) -> Vec<TokenId> {
    (first..first + length).map(TokenId).collect()
}
