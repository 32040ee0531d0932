//! What the tests of real engines share. Weights are those of SmolLM2-135M-Instruct (Q4_1, converted to float32).
#![allow(dead_code, reason = "not every test needs everything")]
mod named;

use named::named;
use tacho::engine::{
    Boundary, Engine, LoadConfig, Request, RequestBatch, RequestId, Sampling, TokenId, conformance, ids_digest, stat,
};
use tacho_python::{ENV_PYTHON, PythonEngine};

/// "The capital of France is".
const PROMPT: [u32; 5] = [504, 3575, 282, 4649, 314];
/// What follows it greedily, as vLLM, MAX, SGLang and transformers gave it for these weights.
const FOLLOWS: [u32; 10] = [7042, 30, 198, 198, 504, 2988, 314, 42, 216, 34];

/// The checks that SGLang skips: it follows a request's seed only in its deterministic mode, which CPUs do not have.
pub const SGLANG_SKIPS: [&str; 1] = ["sampling follows its seed"];

/// The configuration that the conformance checks need; points this process to the environment that `variable` names.
pub fn config(engine: &str, variable: &str, options: serde_json::Value) -> LoadConfig {
    // SAFETY: each of these programs has one test, whose harness's other thread reads no environment.
    unsafe {
        std::env::set_var(ENV_PYTHON, named(variable));
        // As a cell does, so that what was compiled for it is found.
        std::env::set_var(tacho::cache::ENV_CACHE, tacho::cache::dir());
    }
    LoadConfig {
        engine: engine.to_owned(),
        model: Some(named("TACHO_TEST_MODEL_DIR")),
        max_seqs: conformance::SEQS,
        max_model_len: conformance::LONGEST,
        seed: 1,
        options: serde_json::from_value(options).unwrap(),
    }
}

/// An engine in this process counts what it compiles, and a call that it has done before compiles nothing; what a child does is not
/// counted, and that is said. What its cache is made of is read back, likewise.
fn counts_compiles(engine: &mut PythonEngine, batch: &RequestBatch) {
    let info = engine.info().clone();
    let before = engine.stats();
    engine.generate(batch).unwrap();
    let after = engine.stats();
    println!("{after:?} {:?}", info.uncounted);
    let cache = ["kv_tensor_dtype", "kv_pool_dtype", "kv_cache_dtype"].map(|name| info.effective.get(name).cloned());
    let cache = cache.into_iter().flatten().next().unwrap_or_default();
    if info.boundary == Boundary::InCore {
        assert!(info.uncounted.is_empty(), "{:?}", info.uncounted);
        assert_eq!(after[stat::COMPILES], before[stat::COMPILES], "{before:?} {after:?}");
        assert!(cache.as_str().is_some_and(|dtype| dtype.contains("float")), "{cache}");
    } else {
        assert!(!after.contains_key(stat::COMPILES) && info.uncounted[stat::COMPILES].contains("child"), "{after:?}");
        assert!(cache.is_null(), "{cache}");
    }
}

/// How many characters those are as text: " Paris.\n\nThe answer is: 2".
const CHARACTERS: u64 = 25;

/// The engine's own tokenizer makes the known ids of the known text, and text of what follows; the call with ids gives the same.
pub fn takes_and_gives_text(engine: &mut PythonEngine) {
    let prompt = PROMPT.map(TokenId);
    let mut batch = RequestBatch::new();
    for id in 0..2 {
        batch.push(Request { id: RequestId(id), prompt: &prompt, output_tokens: 10, sampling: Sampling::default() });
    }
    let texts = vec!["The capital of France is".to_owned(); 2];
    let given = prompt.iter().copied();
    let ids = (0..2).fold(0_u64, |sum, id| sum.wrapping_add(ids_digest(RequestId(id), given.clone())));
    for (texts, detokenise) in [(Some(texts.as_slice()), false), (Some(&texts), true), (None, true)] {
        engine.reset().unwrap();
        let (answer, characters) = engine.generate_text(&batch, texts, detokenise).unwrap();
        assert_eq!(answer.ids, [FOLLOWS, FOLLOWS].concat().into_iter().map(TokenId).collect::<Vec<_>>());
        assert!(answer.rows.iter().all(|row| row.input_tokens == PROMPT.len() as u32));
        assert_eq!(characters, if detokenise { 2 * CHARACTERS } else { 0 }, "{texts:?}");
        assert!(engine.consumed_digest().is_none_or(|consumed| consumed == ids), "{texts:?}");
    }
}

/// Runs the conformance checks and compares greedy ids with the known ones. Returns the checks that were skipped.
pub fn conforms(engine: &mut PythonEngine) -> Vec<String> {
    let info = engine.info().clone();
    println!("{}", serde_json::to_string_pretty(&info.effective).unwrap());
    println!("{} {} on {}, KV {:?} tokens", info.engine, info.version, info.device, info.kv_capacity_tokens);
    let room = u64::from(conformance::SEQS * conformance::LONGEST);
    assert!(info.kv_capacity_tokens.is_some_and(|tokens| tokens >= room), "{:?}", info.kv_capacity_tokens);

    let checks = conformance::run(engine);
    println!("{checks:#?}");
    assert_eq!(conformance::failures(&checks), Vec::<String>::new());

    let prompt = PROMPT.map(TokenId);
    let mut batch = RequestBatch::new();
    batch.push(Request { id: RequestId(0), prompt: &prompt, output_tokens: 10, sampling: Sampling::default() });
    engine.reset().unwrap();
    let answer = engine.generate(&batch).unwrap();
    assert_eq!(answer.ids, FOLLOWS.map(TokenId));
    let shows = ["vllm", "max"].contains(&info.engine.as_str());
    assert_eq!(engine.consumed_digest(), shows.then(|| ids_digest(RequestId(0), prompt)), "which ids it consumed");
    counts_compiles(engine, &batch);
    let skipped = checks.into_iter().filter(|check| matches!(check.outcome, conformance::Outcome::Skipped(_)));
    skipped.map(|check| check.name).collect()
}
