//! The shim of TensorRT-LLM's Python door over a double of its module: the assertions that every adapter must pass, and
//! what the shim refuses. Nothing here says anything of TensorRT-LLM itself.
#[path = "common/trtllm_double.rs"]
mod trtllm_double;

use serde_json::json;
use tacho::engine::{Boundary, Engine, ErrorKind, LoadConfig, conformance};
use tacho_python::{ENV_PYTHON, PythonEngine};

const DOUBLE: &str = "tensorrt-llm DOUBLE (not TensorRT-LLM)";

#[test]
fn the_python_door_conforms_over_the_double() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("model");
    std::fs::create_dir(&model).unwrap();
    let text = json!({ "model_type": "llama", "vocab_size": 1000, "max_position_embeddings": 512, "eos_token_id": 2 });
    std::fs::write(model.join("config.json"), text.to_string()).unwrap();
    let python = trtllm_double::environment(&folder.path().join("env"));
    // SAFETY: the only test of this program; its harness's other thread reads no environment.
    unsafe {
        std::env::set_var(ENV_PYTHON, python);
        std::env::set_var("TACHO_CACHE_DIR", folder.path().join("cache"));
    }
    let config = |options: serde_json::Value| LoadConfig {
        engine: "tensorrt-llm".to_owned(),
        model: Some(model.clone()),
        max_seqs: conformance::SEQS,
        max_model_len: 128,
        seed: 1,
        options: serde_json::from_value(options).unwrap(),
    };
    for (options, says) in [
        (json!({ "boundary": "outside" }), "in-core, child-core"),
        (json!({ "tensor_parallel_size": 2 }), "child-core"),
        (json!({ "backend": "onnx" }), "pytorch, tensorrt"),
        (json!({ "warp_speed": 9 }), "warp_speed"),
        (json!({ "kv_cache_config": { "warp_speed": 9 } }), "warp_speed"),
        (json!({ "backend": "tensorrt", "TACHO_DOUBLE_WITHOUT_TENSORRT": 1 }), "1.3.0rc20 was the last"),
    ] {
        let error = PythonEngine::load(&config(options.clone())).err().unwrap_or_else(|| panic!("{options} was taken"));
        assert_eq!(error.kind, ErrorKind::Unsupported, "{options}: {error}");
        assert!(error.message.contains(says), "{options}: {error}");
    }

    let mut engine = PythonEngine::load(&config(json!({ "max_num_tokens": 512 }))).unwrap();
    let info = engine.info();
    assert_eq!((info.version.as_str(), info.device.as_str(), info.double.as_deref()), (DOUBLE, DOUBLE, Some(DOUBLE)));
    assert_eq!((info.boundary, info.kv_capacity_tokens), (Boundary::InCore, Some(512 * 32)));
    assert_eq!(info.effective["TLLM_WORKER_USE_SINGLE_PROCESS"], "1");
    assert_eq!(info.effective["kv_cache_config"]["enable_block_reuse"], false);
    assert_eq!(info.effective["max_num_tokens"], 512);
    let checks = conformance::run(&mut engine);
    assert_eq!(conformance::failures(&checks), Vec::<String>::new());
    let skipped = checks.iter().filter(|check| matches!(check.outcome, conformance::Outcome::Skipped(_)));
    assert_eq!(skipped.count(), 0, "the LLM API can do everything: {checks:?}");
    engine.shutdown().unwrap();
}
