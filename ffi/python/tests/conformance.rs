//! The assertions that every adapter must pass, over the in-tree example engine, in this process.
use tacho::engine::{Engine, LoadConfig, Request, RequestBatch, RequestId, Sampling, TokenId, conformance, ids_digest};
use tacho_python::{ENV_PYTHON, PythonEngine};

#[test]
fn echo_conforms() {
    let cache = tempfile::tempdir().unwrap();
    // SAFETY: the only test of this program; its harness's other thread reads no environment.
    unsafe {
        std::env::set_var(ENV_PYTHON, env!("TACHO_BUILD_PYTHON"));
        std::env::set_var("TACHO_CACHE_DIR", cache.path());
    }
    let mut engine = PythonEngine::load(&LoadConfig {
        engine: "echo".to_owned(),
        model: None,
        max_seqs: conformance::SEQS,
        max_model_len: conformance::LONGEST,
        seed: 1,
        options: Default::default(),
    })
    .unwrap();
    let checks = conformance::run(&mut engine);
    assert!(checks.len() >= 10, "{checks:?}");
    assert_eq!(conformance::failures(&checks), Vec::<String>::new());
    let skipped = checks.iter().filter(|check| matches!(check.outcome, conformance::Outcome::Skipped(_)));
    assert_eq!(skipped.count(), 0, "echo can do everything: {checks:?}");

    // Which ids it consumed, by both doors, with numbers that are no places; a reset begins anew.
    engine.reset().unwrap();
    assert_eq!(engine.consumed_digest(), Some(0));
    let prompts = [[5, 6, 7], [8, 9, 10], [11, 12, 13]].map(|ids| ids.map(TokenId));
    let request = |place: usize| Request {
        id: RequestId(40 + place as u32),
        prompt: &prompts[place],
        output_tokens: 2,
        sampling: Sampling::default(),
    };
    let mut batch = RequestBatch::new();
    batch.push(request(0));
    batch.push(request(1));
    engine.generate(&batch).unwrap();
    engine.submit(request(2)).unwrap();
    let given = (0..3).map(|place| ids_digest(request(place).id, prompts[place])).fold(0, u64::wrapping_add);
    assert_eq!(engine.consumed_digest(), Some(given));
}
