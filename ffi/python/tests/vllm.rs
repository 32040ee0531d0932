//! The assertions that every adapter must pass, over real vLLM on the CPU.
//!
//! It needs an environment and weights: `TACHO_TEST_VLLM` names the environment's `python`, `TACHO_TEST_MODEL` the model
//! folder (see `common`); `TACHO_TEST_BOUNDARY` is `in-core` or `child-core`. Run with
//! `cargo test -p tacho-python --test vllm -- --ignored`.
mod common;

use tacho::engine::{Boundary, Engine, ErrorKind};
use tacho_python::PythonEngine;

#[test]
#[ignore = "needs a vLLM environment and weights"]
fn vllm_conforms() {
    let boundary = std::env::var("TACHO_TEST_BOUNDARY").unwrap_or_else(|_| "in-core".to_owned());
    let options =
        serde_json::json!({ "boundary": boundary, "dtype": "float32", "enforce_eager": true, "warp_speed": 9 });
    let mut config = common::config("vllm", "TACHO_TEST_VLLM", options);
    let refused = PythonEngine::load(&config).err().expect("vLLM has no option of that name");
    assert_eq!(refused.kind, ErrorKind::Unsupported, "{refused}");
    assert!(refused.message.contains("warp_speed"), "{refused}");

    config.options.remove("warp_speed");
    let mut engine = PythonEngine::load(&config).unwrap();
    assert_eq!(engine.info().boundary, if boundary == "in-core" { Boundary::InCore } else { Boundary::ChildCore });
    assert_eq!(engine.info().effective["enable_prefix_caching"], serde_json::json!(false));
    assert_eq!(common::conforms(&mut engine), Vec::<String>::new(), "vLLM can do everything");
    engine.shutdown().unwrap();
}
