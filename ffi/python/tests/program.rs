//! A Python engine's native faults through the whole program: what `tacho run` records of them, and that it goes on. The engine is
//! `echo`, a stand-in that commits the faults when told to.
use std::{fs, path::Path, process::Command};

use serde_json::Value;

const PYTHON: &str = env!("TACHO_BUILD_PYTHON");

/// What the journal says of each fault's point, in their order, and of a last one without a fault.
fn run_with(faults: &[&str]) -> Vec<Value> {
    let folder = tempfile::tempdir().unwrap();
    let (plan, out) = (folder.path().join("plan.toml"), folder.path().join("run"));
    fs::write(
        &plan,
        format!(
            "engine = [{{ id = 'echo', options = {{ fault_at_step = 3 }} }}]\n\
             [workload]\nbatch = 2\ninput = 4\noutput = 8\n[trials]\nmin_trials = 5\nmax_trials = 5\n[deadlines]\nload = '20s'\n\
             [axes]\n'engine.echo.fault' = {:?}\n",
            faults.iter().chain(&["noise"]).collect::<Vec<_>>()
        ),
    )
    .unwrap();
    // Beside the cell program, where `cargo build --workspace` puts both.
    let tacho = Path::new(env!("CARGO_BIN_EXE_tacho-cell-python")).with_file_name("tacho");
    let mut command = Command::new(&tacho);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("TACHO_") || name.starts_with("CUDA_")) {
        command.env_remove(name);
    }
    let output = command
        .args(["run", "--quiet", "--python", PYTHON, "--plan"])
        .args([&plan, Path::new("--out"), &out])
        .env("TACHO_CACHE_DIR", folder.path().join("cache"))
        .output()
        .unwrap_or_else(|error| panic!("{}: {error}; cargo build --release --workspace", tacho.display()));
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    let journal = fs::read_to_string(out.join("journal.jsonl")).unwrap();
    let entries = journal.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let outcomes: Vec<Value> =
        entries.filter_map(|entry| Some(entry["record"]["outcome"].clone()).filter(|it| !it.is_null())).collect();
    assert_eq!(outcomes.len(), faults.len() + 1, "{outcomes:#?}");
    assert_ne!(outcomes[faults.len()]["status"], "failed", "the point after the faults: {:#}", outcomes[faults.len()]);
    outcomes
}

/// Whether a line of the record's `field` has all of `words`.
fn has(outcome: &Value, field: &str, words: &[&str]) {
    let lines = outcome[field].as_array().unwrap();
    let found = lines.iter().any(|line| words.iter().all(|word| line.as_str().unwrap().contains(word)));
    assert!(found, "{words:?} is in no line of {field} of {outcome:#}");
}

#[test]
fn crashes_and_hangs_at_load_are_recorded_with_stacks_and_the_next_configuration_runs() {
    let outcomes = run_with(&["load_segv", "load_hang"]);
    let [segv, hang, ..] = outcomes.as_slice() else { panic!("{outcomes:#?}") };
    assert_eq!(segv["signal"], 11, "{segv:#}");
    assert!(segv["reason"].as_str().unwrap().contains("SIGSEGV"), "{segv:#}");
    has(segv, "last_lines", &["echo: compiling kernels"]);
    has(segv, "stacks", &["cell: fatal signal 11 (SIGSEGV)"]);
    has(segv, "stacks", &["native stack of thread"]);
    has(segv, "stacks", &["libc.so"]);
    has(segv, "stacks", &["echo.py", "in load"]);
    assert_eq!(hang["signal"], 9, "{hang:#}");
    assert!(hang["reason"].as_str().unwrap().contains("did not load within its deadline of 20 s"), "{hang:#}");
    has(hang, "stacks", &["cell: stacks of all threads, as asked"]);
    has(hang, "stacks", &["pause"]);
    has(hang, "stacks", &["echo.py", "in load"]);
    let log: Vec<&Value> = ["stacks", "last_lines"].iter().map(|field| &hang[field]).collect();
    assert!(!log.iter().any(|lines| lines.as_array().unwrap().is_empty()), "{hang:#}");
}

#[test]
fn an_exception_of_cxx_is_sigabrt_with_the_stack_of_the_throw() {
    let outcomes = run_with(&["cxx_exception"]);
    let thrown = &outcomes[0];
    assert_eq!(thrown["signal"], 6, "{thrown:#}");
    assert!(thrown["reason"].as_str().unwrap().contains("SIGABRT"), "{thrown:#}");
    has(thrown, "last_lines", &["terminate called after throwing an instance of 'std::exception'"]);
    has(thrown, "stacks", &["cell: fatal signal 6 (SIGABRT)"]);
    // Of the throw, and of who called it: not of whoever caught it and gave up.
    has(thrown, "stacks", &["libstdc++.so"]);
    has(thrown, "stacks", &["_ctypes"]);
    has(thrown, "stacks", &["echo.py", "in _throw"]);
}
