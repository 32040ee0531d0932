//! The test model, and engines over it.
use std::path::{Path, PathBuf};

use tacho::engine::{LoadConfig, Options, Request, RequestBatch, RequestId, Sampling, TokenId};

const NAME: &str = "SmolLM2-135M-Instruct.Q4_1.gguf";

#[allow(dead_code, reason = "not every test needs it")]
/// The model's path, or None with the reason printed. On CI an absent model is a failure.
pub fn model() -> Option<PathBuf> {
    let cache = std::env::var_os("TACHO_CACHE_DIR")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("XDG_CACHE_HOME").map(|dir| Path::new(&dir).join("tacho")))
        .or_else(|| std::env::var_os("HOME").map(|dir| Path::new(&dir).join(".cache/tacho")));
    let path = std::env::var_os("TACHO_TEST_MODEL")
        .map(PathBuf::from)
        .or_else(|| cache.map(|dir| dir.join("models").join(NAME)))
        .filter(|path| path.is_file());
    if path.is_none() {
        let reason = format!("the test model {NAME} is neither at TACHO_TEST_MODEL nor in Tacho's cache under models/");
        assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "{reason}");
        eprintln!("skipped: {reason}");
    }
    path
}

#[allow(dead_code, reason = "not every test needs it")]
/// Room for four sequences of 256 tokens, and the options given.
pub fn config(model: &Path, options: &[(&str, serde_json::Value)]) -> LoadConfig {
    LoadConfig {
        engine: tacho_llama_cpp::ID.to_owned(),
        model: Some(model.to_owned()),
        max_seqs: 4,
        max_model_len: 200,
        seed: 1,
        options: options.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect::<Options>(),
    }
}

/// "The capital of France is", in SmolLM2's vocabulary.
#[allow(dead_code, reason = "not every test needs it")]
pub fn france() -> Vec<TokenId> {
    [504, 3575, 282, 4649, 314].map(TokenId).to_vec()
}

/// A greedy request.
#[allow(dead_code, reason = "not every test needs it")]
pub fn greedy(id: u32, prompt: &[TokenId], output_tokens: u32) -> Request<'_> {
    Request { id: RequestId(id), prompt, output_tokens, sampling: Sampling::default() }
}

/// Those requests as a batch.
#[allow(dead_code, reason = "not every test needs it")]
pub fn batch(requests: &[Request<'_>]) -> RequestBatch {
    let mut batch = RequestBatch::new();
    for request in requests {
        batch.push(*request);
    }
    batch
}
