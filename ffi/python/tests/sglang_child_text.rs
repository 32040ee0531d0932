//! Text at SGLang's boundary `child-core`: `sglang.Engine` with its tokenizer, which then decodes every output.
//!
//! Needs what `sglang.rs` needs. Run with `cargo test -p tacho-python --test sglang_child_text -- --ignored`.
mod common;

use serde_json::json;
use tacho::engine::{Boundary, Engine};
use tacho_python::PythonEngine;

#[test]
#[ignore = "needs an SGLang environment and weights"]
fn sglang_takes_and_gives_text_as_shipped() {
    let options = json!({ "boundary": "child-core", "dtype": "float32", "device": "cpu", "OMP_NUM_THREADS": 1,
        "skip_tokenizer_init": false });
    let mut engine = PythonEngine::load(&common::config("sglang", "TACHO_TEST_SGLANG", options)).unwrap();
    let info = engine.info();
    assert_eq!((info.boundary, &info.effective["skip_tokenizer_init"]), (Boundary::ChildCore, &json!(false)));
    common::takes_and_gives_text(&mut engine);
    engine.shutdown().unwrap();
}
