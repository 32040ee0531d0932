//! What a Python engine can do to its cell, and what the parent then knows. The engine is `echo`.
#[path = "common/cell.rs"]
mod cell;

use std::{fs, time::Duration};

use cell::{Bench, Rows, start};
use tacho::{
    cell::{
        parent::CellError,
        protocol::{Method, TrialSpec},
    },
    engine::{ErrorKind, LoadConfig},
};

const PYTHON: &str = env!("TACHO_BUILD_PYTHON");
const WITHIN: Duration = Duration::from_secs(60);

fn echo() -> Bench {
    start(&[("TACHO_PYTHON_ENV", PYTHON)])
}

fn config(options: serde_json::Value) -> LoadConfig {
    LoadConfig {
        engine: "echo".to_owned(),
        model: None,
        max_seqs: 4,
        max_model_len: 128,
        seed: 1,
        options: serde_json::from_value(options).unwrap(),
    }
}

fn load_error(bench: &mut Bench, config: &LoadConfig) -> tacho::engine::EngineError {
    cell::load_error(bench, config, WITHIN)
}

fn trial(method: Method) -> TrialSpec {
    cell::trial(method, 6, 8)
}

fn trial_error(fault: &str, at: u32) -> (tacho::engine::EngineError, Bench) {
    let mut bench = echo();
    bench.cell.load(&config(serde_json::json!({ "fault": fault, "fault_at_step": at })), WITHIN).unwrap();
    match bench.cell.trial(&trial(Method::Steps), WITHIN, &mut Rows::default()) {
        Err(CellError::Engine(error)) => (error, bench),
        other => panic!("{fault}: expected an engine error, found {other:?}"),
    }
}

/// The engine, having failed once, serves the next trial: nothing of the cell was lost.
fn lives_on(mut bench: Bench) {
    let mut rows = Rows::default();
    let summary = bench.cell.trial(&trial(Method::Steps), WITHIN, &mut rows).unwrap();
    assert_eq!((summary.requests, summary.input_tokens, summary.output_tokens), (6, 60, 48));
    assert_eq!((rows.requests, rows.tokens), (6, 48));
    bench.cell.shutdown().unwrap();
}

#[test]
fn a_good_cell_gives_the_same_ids_by_both_doors() {
    let mut bench = echo();
    let (info, _) = bench.cell.load(&config(serde_json::json!({})), WITHIN).unwrap();
    assert!(info.double.is_some(), "a stand-in says so");
    let by_call = bench.cell.trial(&trial(Method::Generate), WITHIN, &mut Rows::default()).unwrap();
    let mut rows = Rows::default();
    let by_steps = bench.cell.trial(&trial(Method::Steps), WITHIN, &mut rows).unwrap();
    assert_eq!(by_call.output_digest, by_steps.output_digest);
    assert!(rows.steps >= 8, "{} step records", rows.steps);
    bench.cell.shutdown().unwrap();
}

#[test]
fn a_missing_environment_is_told() {
    let error =
        load_error(&mut start(&[("TACHO_PYTHON_ENV", "/nonexistent/bin/python")]), &config(serde_json::json!({})));
    assert_eq!(error.kind, ErrorKind::Load);
    assert!(error.message.contains("/nonexistent/bin/python") && error.message.contains("engines install"), "{error}");
    let error = load_error(&mut start(&[("TACHO_PYTHON_ENV", "")]), &config(serde_json::json!({})));
    assert!(error.message.contains("TACHO_PYTHON_ENV"), "{error}");
}

#[test]
fn another_python_minor_version_is_told_before_anything_is_started() {
    let folder = tempfile::tempdir().unwrap();
    let python = folder.path().join("python");
    fs::write(&python, "#!/bin/sh\necho 3.9 cpython\n").unwrap();
    fs::set_permissions(&python, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let error =
        load_error(&mut start(&[("TACHO_PYTHON_ENV", python.to_str().unwrap())]), &config(serde_json::json!({})));
    assert_eq!(error.kind, ErrorKind::Load);
    assert!(error.message.contains("Python 3.9 cpython"), "{error}");
    assert!(error.message.contains(concat!("built for ", env!("TACHO_PYTHON_VERSION"))), "{error}");
}

#[test]
fn an_unknown_engine_is_told() {
    let mut bench = echo();
    let unknown = LoadConfig { engine: "no-such-engine".to_owned(), ..config(serde_json::json!({})) };
    let error = load_error(&mut bench, &unknown);
    assert_eq!(error.kind, ErrorKind::Load);
    assert!(error.message.contains("tacho_shims.no_such_engine"), "{error}");
    let hostile = LoadConfig { engine: "../echo".to_owned(), ..config(serde_json::json!({})) };
    assert!(load_error(&mut bench, &hostile).message.contains("no engine's id"));
}

#[test]
fn what_goes_wrong_at_load_has_its_kind_and_its_words() {
    let mut bench = echo();
    for (fault, kind, words) in [
        ("import_error", ErrorKind::Load, "No module named 'a_module_that_no_environment_has'"),
        ("load_error", ErrorKind::Load, "ValueError: echo: architecture 'TarotForCausalLM' is not supported"),
        ("load_memory", ErrorKind::OutOfMemory, "MemoryError: echo: no room for the weights"),
        ("load_exit", ErrorKind::Load, "SystemExit: the engine asked to end the process with 5"),
        ("unheard_of", ErrorKind::Unsupported, "echo has no fault 'unheard_of'"),
    ] {
        let error = load_error(&mut bench, &config(serde_json::json!({ "fault": fault })));
        assert_eq!(error.kind, kind, "{fault}: {error}");
        assert!(error.message.contains(words), "{fault}: {error}");
        assert!(error.message.contains("echo.py:") && error.message.contains("in load"), "{fault}: {error}");
    }
    let error = load_error(&mut bench, &config(serde_json::json!({ "warp_speed": 9 })));
    assert_eq!(error.kind, ErrorKind::Unsupported);
    assert!(error.message.contains("warp_speed"), "{error}");
    // The interpreter outlives all of that.
    bench.cell.load(&config(serde_json::json!({})), WITHIN).unwrap();
    lives_on(bench);
}

#[test]
fn an_exception_in_a_step_has_type_message_cause_and_frames() {
    let (error, bench) = trial_error("error", 3);
    assert_eq!(error.kind, ErrorKind::Engine);
    for words in ["RuntimeError: echo: the scheduler lost a block", "caused by KeyError", "echo.py:", "in _misbehave"] {
        assert!(error.message.contains(words), "{words} is not in {error}");
    }
    let log = fs::read_to_string(bench.folder.path().join("cell.log")).unwrap();
    assert!(log.contains("Traceback (most recent call last)"), "{log}");
    lives_on(bench);
}

#[test]
fn out_of_memory_is_a_kind_of_its_own() {
    let (error, bench) = trial_error("memory", 3);
    assert_eq!(error.kind, ErrorKind::OutOfMemory);
    assert!(error.message.contains("CUDA out of memory"), "{error}");
    lives_on(bench);
}

#[test]
fn sys_exit_does_not_end_the_cell() {
    let (error, bench) = trial_error("exit", 3);
    assert_eq!(error.kind, ErrorKind::Engine);
    assert!(error.message.contains("SystemExit") && error.message.contains("echo: fatal"), "{error}");
    lives_on(bench);
}

#[test]
fn an_answer_of_the_wrong_shape_is_told() {
    let (error, bench) = trial_error("bad_shape", 3);
    assert!(error.message.contains("step should be a tuple (time_ns, events, record | None)"), "{error}");
    lives_on(bench);
}

#[test]
fn wrong_counts_are_caught() {
    // The first requests end in the eighth step: that is when the engine tells what it consumed.
    for (fault, at) in [("short_output", 3), ("wrong_input", 7)] {
        let (error, bench) = trial_error(fault, at);
        assert_eq!(error.kind, ErrorKind::Mismatch, "{fault}: {error}");
        lives_on(bench);
    }
}

#[test]
fn megabytes_of_prints_go_to_the_log_and_harm_nothing() {
    let mut bench = echo();
    bench.cell.load(&config(serde_json::json!({ "fault": "noise", "fault_at_step": 3 })), WITHIN).unwrap();
    let summary = bench.cell.trial(&trial(Method::Steps), WITHIN, &mut Rows::default()).unwrap();
    assert_eq!(summary.output_tokens, 48);
    assert!(fs::metadata(bench.folder.path().join("cell.log")).unwrap().len() > 4_000_000);
    lives_on(bench);
}

#[test]
fn a_step_that_hangs_is_killed_at_the_deadline() {
    let mut bench = echo();
    bench.cell.load(&config(serde_json::json!({ "fault": "hang" })), WITHIN).unwrap();
    match bench.cell.trial(&trial(Method::Steps), Duration::from_secs(1), &mut Rows::default()) {
        Err(CellError::Died(death)) => assert!(death.reason.contains("deadline"), "{}", death.reason),
        other => panic!("expected a death, found {other:?}"),
    }
}

#[test]
fn a_foreign_pythonpath_is_ignored_and_hub_access_is_off() {
    let folder = tempfile::tempdir().unwrap();
    let foreign = folder.path().join("foreign");
    fs::create_dir(&foreign).unwrap();
    fs::write(foreign.join("json.py"), "raise RuntimeError('a foreign json')").unwrap();
    let shims = folder.path().join("shims");
    fs::create_dir(&shims).unwrap();
    fs::write(
        shims.join("probe.py"),
        "import os, sys\n\
         def load(config):\n    raise ValueError((sys.executable, os.environ['HF_HUB_OFFLINE'], sys.argv))\n",
    )
    .unwrap();
    let mut bench = start(&[
        ("TACHO_PYTHON_ENV", PYTHON),
        ("PYTHONPATH", foreign.to_str().unwrap()),
        ("TACHO_SHIMS", shims.to_str().unwrap()),
    ]);
    let probe = LoadConfig { engine: "probe".to_owned(), ..config(serde_json::json!({})) };
    let error = load_error(&mut bench, &probe);
    assert!(error.message.contains(&format!("('{PYTHON}', '1', ['{PYTHON}'])")), "{error}");
}
