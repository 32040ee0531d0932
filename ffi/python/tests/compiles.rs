//! What the Python engines' shims count as compilations: `compiles.py` over doubles of the libraries that they hook, and echo, whose
//! fault starts what by its name is a compiler.
use std::{path::Path, process::Command};

use tacho::engine::{Engine, LoadConfig, Request, RequestBatch, RequestId, Sampling, TokenId, stat};
use tacho_python::{ENV_PYTHON, PythonEngine};

#[test]
fn every_source_counts_what_passes_it_and_says_when_it_cannot() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let ran = Command::new(env!("TACHO_BUILD_PYTHON"))
        .arg(root.join("tests/compiles.py"))
        .env("PYTHONPATH", root.join("../../python_shims"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .unwrap();
    let (out, error) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert!(ran.status.success() && out.ends_with("done\n"), "{out}\n{error}");
    assert!(out.contains("the hook that counts what Triton compiles was taken away"), "{out}");
}

#[test]
fn echo_counts_a_compiler_that_is_started_within_a_step() {
    let cache = tempfile::tempdir().unwrap();
    // SAFETY: the other test of this program starts a process with an environment of its own, and reads none.
    unsafe {
        std::env::set_var(ENV_PYTHON, env!("TACHO_BUILD_PYTHON"));
        std::env::set_var("TACHO_CACHE_DIR", cache.path());
    }
    let options = serde_json::json!({ "fault": "compile", "fault_at_step": 2 });
    let mut engine = PythonEngine::load(&LoadConfig {
        engine: "echo".to_owned(),
        model: None,
        max_seqs: 1,
        max_model_len: 64,
        seed: 1,
        options: serde_json::from_value(options).unwrap(),
    })
    .unwrap();
    let mut compiles = || {
        let mut batch = RequestBatch::new();
        let prompt = [TokenId(5)];
        batch.push(Request { id: RequestId(0), prompt: &prompt, output_tokens: 2, sampling: Sampling::default() });
        engine.generate(&batch).unwrap();
        let stats = engine.stats();
        (stats[stat::COMPILES], stats["compiles.compiler_processes"])
    };
    assert_eq!([compiles(), compiles(), compiles()], [(0.0, 0.0), (1.0, 1.0), (1.0, 1.0)]);
    assert!(engine.info().uncounted.is_empty());
}
