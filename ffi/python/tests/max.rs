//! The assertions that every adapter must pass, over real MAX on the CPU. Its door takes a fixed batch: the checks of the
//! step loop do not apply, and are refused as `engines/max/engine.toml` says.
//!
//! It needs an environment and weights: `TACHO_TEST_MAX` names the environment's `python`, `TACHO_TEST_MODEL_DIR` the
//! model folder (see `common`). The first load compiles for minutes. Run with `cargo test -p tacho-python --test max -- --ignored`.
mod common;

use serde_json::json;
use tacho::engine::{
    Engine, ErrorKind, FinishReason, Request, RequestBatch, RequestId, Sampling, Scheduler, TokenId, conformance,
};
use tacho_python::PythonEngine;

#[test]
#[ignore = "needs a MAX environment and weights"]
fn max_conforms() {
    let options = json!({ "device": "cpu", "quantization_encoding": "float32" });
    let mut config = common::config("max", "TACHO_TEST_MAX", options);
    // Before anything is compiled: names MAX does not know, and what it cannot do on a CPU.
    for (name, value, kind, words) in [
        ("warp_speed", json!(9), ErrorKind::Unsupported, "warp_speed"),
        ("device", json!("abacus"), ErrorKind::Unsupported, "'abacus' is not cpu or gpu"),
        ("quantization_encoding", json!("bfloat16"), ErrorKind::Load, "bfloat16"),
    ] {
        let mut wrong = config.clone();
        wrong.options.insert(name.to_owned(), value);
        let refused = PythonEngine::load(&wrong).err().unwrap_or_else(|| panic!("MAX took {name}"));
        println!("{refused}\n");
        assert_eq!(refused.kind, kind, "{refused}");
        assert!(refused.message.contains(words), "{refused}");
    }

    let rows = conformance::SEQS;
    config.options.insert("max_batch_size".to_owned(), json!(rows));
    let mut engine = PythonEngine::load(&config).unwrap();
    let info = engine.info();
    assert_eq!(info.scheduler, Scheduler::Tacho);
    assert_eq!(info.max_seqs, Some(rows), "max_batch_size is the batch's rows");
    assert_eq!(info.max_model_len, Some(512), "a need of {} tokens is rounded up to 512", config.max_model_len);
    assert!(info.observed["kv_blocks"].as_u64().is_some_and(|blocks| blocks > 0), "{:?}", info.observed);
    let can = info.capabilities;
    assert!(!can.continuous_batching && !can.cancel && can.sampling && can.mixed_lengths, "{can:?}");

    let skipped = common::conforms(&mut engine);
    println!("not applicable: {skipped:#?}");
    assert!(skipped.iter().all(|name| STEP_LOOP.contains(&name.as_str())), "{skipped:?}");
    common::takes_and_gives_text(&mut engine);
    fixed_batch(&mut engine);
    waves(&mut engine, rows);
    engine.shutdown().unwrap();
}

/// The checks that need what this door lacks: a step loop, cancelling, a count of prefix hits.
const STEP_LOOP: &[&str] = &[
    "the step loop gives exact lengths in order of time",
    "generate and the step loop give the same greedy ids",
    "requests join while others run",
    "step records add up",
    "cancel ends a request and frees its place",
    "reset drops pending work",
    "no prefix is answered from a cache",
];

fn request(id: u32, prompt: &[TokenId], output_tokens: u32) -> Request<'_> {
    Request { id: RequestId(id), prompt, output_tokens, sampling: Sampling::default() }
}

/// What a fixed batch cannot do is refused with the reason.
fn fixed_batch(engine: &mut PythonEngine) {
    let submitted = engine.submit(request(0, &[TokenId(504)], 2)).unwrap_err();
    assert_eq!(submitted.kind, ErrorKind::Unsupported, "{submitted}");
    assert!(submitted.message.contains("no continuous batching"), "{submitted}");
    let cancelled = engine.cancel(RequestId(0)).unwrap_err();
    assert_eq!(cancelled.kind, ErrorKind::Unsupported, "{cancelled}");
}

/// More requests than rows: each still gets its own answer, as if it had been alone.
fn waves(engine: &mut PythonEngine, rows: u32) {
    let prompts: Vec<Vec<TokenId>> =
        (0..rows + 2).map(|row| (0..6).map(|i| TokenId(600 + 10 * row + i)).collect()).collect();
    let lengths: Vec<u32> = (0..rows + 2).map(|row| 3 + row).collect();
    let mut all = RequestBatch::new();
    for ((id, prompt), length) in (0..).zip(&prompts).zip(&lengths) {
        all.push(request(id, prompt, *length));
    }
    let together = engine.generate(&all).unwrap();
    assert_eq!(together.rows.len(), prompts.len());
    for ((row, prompt), length) in together.rows.iter().zip(&prompts).zip(&lengths) {
        assert_eq!((row.tokens.len(), row.finish), (*length as usize, FinishReason::Length));
        let mut one = RequestBatch::new();
        one.push(request(0, prompt, *length));
        assert_eq!(together.ids[row.tokens.clone()], engine.generate(&one).unwrap().ids);
    }
}
