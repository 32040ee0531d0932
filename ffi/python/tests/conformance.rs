//! The assertions that every adapter must pass, over the in-tree example engine, in this process.
use tacho::engine::{LoadConfig, conformance};
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
}
