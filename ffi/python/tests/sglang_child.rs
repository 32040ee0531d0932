//! The assertions that every adapter must pass, over real SGLang on the CPU, boundary `child-core`: `sglang.Engine`, whose
//! scheduler is a child process.
//!
//! Needs what `sglang.rs` needs. Run with `cargo test -p tacho-python --test sglang_child -- --ignored`.
mod common;

use std::fs;

use serde_json::json;
use tacho::engine::{Boundary, Engine};
use tacho_python::PythonEngine;

/// The command lines of this process's children.
fn children() -> Vec<String> {
    let mut found = Vec::new();
    for task in fs::read_dir("/proc/self/task").unwrap().flatten() {
        let told = fs::read_to_string(task.path().join("children")).unwrap_or_default();
        found.extend(
            told.split_whitespace().map(|pid| fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default()),
        );
    }
    found
}

#[test]
#[ignore = "needs an SGLang environment and weights"]
fn sglang_conforms_as_shipped() {
    let options = json!({ "boundary": "child-core", "dtype": "float32", "device": "cpu", "OMP_NUM_THREADS": 1 });
    let mut engine = PythonEngine::load(&common::config("sglang", "TACHO_TEST_SGLANG", options)).unwrap();
    let info = engine.info();
    assert_eq!((info.boundary, info.gpu_in_process), (Boundary::ChildCore, None));
    assert_eq!(info.effective["disable_radix_cache"], json!(true));
    let started = children();
    for name in ["sglang::scheduler", "sglang::detokenizer"] {
        assert_eq!(started.iter().filter(|line| line.contains(name)).count(), 1, "{name} among {started:?}");
    }
    assert_eq!(common::conforms(&mut engine), common::SGLANG_SKIPS);
    engine.shutdown().unwrap();
    let left = children();
    assert!(!left.iter().any(|line| line.contains("sglang::")), "{left:?} outlived the engine");
}
