//! The assertions that every adapter must pass, over real vLLM on the CPU.
//!
//! It needs an environment and weights: `TACHO_TEST_VLLM` names the environment's `python`, `TACHO_TEST_MODEL_DIR` the
//! model folder (see `common`). Run with `cargo test -p tacho-python --test vllm -- --ignored`. The boundary is `in-core`;
//! `vllm_cells.rs` has the other one.
mod common;

use tacho::engine::{Boundary, Engine};
use tacho_python::PythonEngine;

#[test]
#[ignore = "needs a vLLM environment and weights"]
fn vllm_conforms() {
    // One thread: OpenMP's others would spin while they wait, where processors are busy.
    let options = serde_json::json!({ "dtype": "float32", "enforce_eager": true, "OMP_NUM_THREADS": 1 });
    let mut engine = PythonEngine::load(&common::config("vllm", "TACHO_TEST_VLLM", options)).unwrap();
    let info = engine.info();
    assert_eq!((info.boundary, info.gpu_in_process), (Boundary::InCore, None));
    assert_eq!(info.effective["enable_prefix_caching"], serde_json::json!(false));
    // What a launch measures is no part of the configuration, by which points are recognised.
    assert!(info.observed["num_gpu_blocks"].as_u64().is_some_and(|blocks| blocks > 0), "{:?}", info.observed);
    assert!(!info.effective.contains_key("num_gpu_blocks"), "{:?}", info.effective);
    assert_eq!(common::conforms(&mut engine), Vec::<String>::new(), "vLLM can do everything");
    engine.shutdown().unwrap();
}
