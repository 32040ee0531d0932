//! The assertions that every adapter must pass, over real SGLang on the CPU, boundary `in-core`: SGLang's Scheduler stepped
//! in this process. `sglang_child.rs` has the other boundary.
//!
//! It needs an environment and weights: `TACHO_TEST_SGLANG` names the environment's `python`, `TACHO_TEST_MODEL_DIR` the
//! model folder (see `common`). Run with `cargo test -p tacho-python --test sglang -- --ignored`.
mod common;

use serde_json::json;
use tacho::engine::{Boundary, Engine, ErrorKind, conformance};
use tacho_python::PythonEngine;

#[test]
#[ignore = "needs an SGLang environment and weights"]
fn sglang_conforms_in_core() {
    let config = common::config(
        "sglang",
        "TACHO_TEST_SGLANG",
        json!({ "dtype": "float32", "device": "cpu", "OMP_NUM_THREADS": 1, "skip_tokenizer_init": false }),
    );
    // Before anything is loaded: what SGLang does not know, and what is not to be had here.
    for (name, value, kind, words) in [
        ("warp_speed", json!(9), ErrorKind::Unsupported, "warp_speed"),
        ("boundary", json!("http"), ErrorKind::Unsupported, "in-core, child-core"),
        ("tp_size", json!(2), ErrorKind::Unsupported, "tp_size"),
    ] {
        let mut wrong = config.clone();
        wrong.options.insert(name.to_owned(), value);
        let refused = PythonEngine::load(&wrong).err().unwrap_or_else(|| panic!("SGLang took {name}"));
        println!("{refused}\n");
        assert_eq!(refused.kind, kind, "{refused}");
        assert!(refused.message.contains(words), "{refused}");
    }

    let mut engine = PythonEngine::load(&config).unwrap();
    let info = engine.info();
    assert_eq!((info.boundary, info.gpu_in_process), (Boundary::InCore, None));
    for (name, value) in [
        ("disable_radix_cache", json!(true)),
        // What users get: a step's results are processed while the next one runs.
        ("disable_overlap_schedule", json!(false)),
        ("attention_backend", json!("torch_native")),
        ("max_running_requests", json!(conformance::SEQS)),
    ] {
        assert_eq!(info.effective[name], value, "{name}");
    }
    // Machines differ in what they have for it; it must be said which.
    assert!(info.effective["sgl_kernel"].as_str().is_some_and(|text| !text.is_empty()), "{:?}", info.effective);
    // Its tokenizer lies beside the scheduler, which goes on without one.
    assert_eq!(info.effective["skip_tokenizer_init"], json!(true));
    assert!(info.effective["tokenizer"].as_str().is_some_and(|text| text.contains("around")), "{:?}", info.effective);
    assert_eq!(common::conforms(&mut engine), common::SGLANG_SKIPS);
    common::takes_and_gives_text(&mut engine);
    engine.shutdown().unwrap();
}
