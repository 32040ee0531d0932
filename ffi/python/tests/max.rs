//! The assertions that every adapter must pass, over real MAX on the CPU. Its door takes a fixed batch: the checks of the
//! step loop do not apply.
//!
//! It needs an environment and weights: `TACHO_TEST_MAX` names the environment's `python`, `TACHO_TEST_MODEL` the model
//! folder (see `common`). The first load compiles for minutes. Run with `cargo test -p tacho-python --test max -- --ignored`.
mod common;

use tacho::engine::{Engine, ErrorKind, Request, RequestId, Sampling, Scheduler, TokenId};
use tacho_python::PythonEngine;

#[test]
#[ignore = "needs a MAX environment and weights"]
fn max_conforms() {
    let options = serde_json::json!({ "device": "cpu", "quantization_encoding": "float32", "warp_speed": 9 });
    let mut config = common::config("max", "TACHO_TEST_MAX", options);
    let refused = PythonEngine::load(&config).err().expect("MAX has no option of that name");
    assert_eq!(refused.kind, ErrorKind::Unsupported, "{refused}");
    assert!(refused.message.contains("warp_speed"), "{refused}");

    config.options.remove("warp_speed");
    let mut engine = PythonEngine::load(&config).unwrap();
    assert_eq!(engine.info().scheduler, Scheduler::Tacho);
    assert!(!engine.info().capabilities.continuous_batching);
    let skipped = common::conforms(&mut engine);
    println!("not applicable: {skipped:?}");
    let request =
        Request { id: RequestId(0), prompt: &[TokenId(504)], output_tokens: 2, sampling: Sampling::default() };
    let error = engine.submit(request).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unsupported, "{error}");
    engine.shutdown().unwrap();
}
