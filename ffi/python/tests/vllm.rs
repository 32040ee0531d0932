//! The assertions that every adapter must pass, over real vLLM on the CPU.
//!
//! It needs an environment and weights: `TACHO_TEST_VLLM` names the environment's `python`, `TACHO_TEST_MODEL` a model
//! folder. Run with `cargo test -p tacho-python --test vllm -- --ignored`.
use std::path::PathBuf;

use tacho::engine::{Boundary, ErrorKind, LoadConfig, conformance};
use tacho_python::{ENV_PYTHON, PythonEngine};

fn named(variable: &str) -> PathBuf {
    PathBuf::from(
        std::env::var_os(variable).unwrap_or_else(|| panic!("{variable} is not set; see the top of this file")),
    )
}

#[test]
#[ignore = "needs a vLLM environment and weights"]
fn vllm_conforms() {
    // SAFETY: the only test of this program; its harness's other thread reads no environment.
    unsafe { std::env::set_var(ENV_PYTHON, named("TACHO_TEST_VLLM")) };
    let boundary = std::env::var("TACHO_TEST_BOUNDARY").unwrap_or_else(|_| "in-core".to_owned());
    let mut config = LoadConfig {
        engine: "vllm".to_owned(),
        model: Some(named("TACHO_TEST_MODEL")),
        max_seqs: conformance::SEQS,
        max_model_len: conformance::LONGEST,
        seed: 1,
        options: serde_json::from_value(serde_json::json!({
            "boundary": boundary, "dtype": "float32", "enforce_eager": true, "warp_speed": 9
        }))
        .unwrap(),
    };
    let refused = PythonEngine::load(&config).err().expect("vLLM has no option of that name");
    assert_eq!(refused.kind, ErrorKind::Unsupported, "{refused}");
    assert!(refused.message.contains("warp_speed"), "{refused}");
    config.options.remove("warp_speed");

    let mut engine = PythonEngine::load(&config).unwrap();
    let info = tacho::engine::Engine::info(&engine).clone();
    println!("{}", serde_json::to_string_pretty(&serde_json::json!({ "effective": &info.effective, "device": &info.device, "boundary": info.boundary, "kv": info.kv_capacity_tokens, "version": &info.version, "compile": &info.compile_mode })).unwrap());
    assert_eq!(info.boundary, if boundary == "in-core" { Boundary::InCore } else { Boundary::ChildCore });
    assert_eq!(info.effective["enable_prefix_caching"], serde_json::json!(false));
    assert!(
        info.kv_capacity_tokens.is_some_and(|tokens| tokens >= u64::from(conformance::SEQS * conformance::LONGEST))
    );

    let checks = conformance::run(&mut engine);
    println!("{checks:#?}");
    assert_eq!(conformance::failures(&checks), Vec::<String>::new());
    tacho::engine::Engine::shutdown(&mut engine).unwrap();
}
