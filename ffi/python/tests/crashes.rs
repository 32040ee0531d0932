//! How a Python engine's cell dies of native faults, what it says before, and that nothing of it is left. The engine is
//! `echo`, a stand-in that commits the faults when told to.
#[path = "common/cell.rs"]
mod cell;

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use cell::{Bench, Rows, start};
use tacho::{
    cell::{
        parent::{CellError, Death, Patience},
        protocol::{Method, TrialSpec},
    },
    engine::LoadConfig,
};

const PYTHON: &str = env!("TACHO_BUILD_PYTHON");
const WITHIN: Duration = Duration::from_secs(60);

fn loaded(fault: &str) -> Bench {
    let mut bench = start(&[("TACHO_PYTHON_ENV", PYTHON)]);
    let options = serde_json::json!({ "fault": fault, "fault_at_step": 3 });
    let config = LoadConfig {
        engine: "echo".to_owned(),
        model: None,
        max_seqs: 4,
        max_model_len: 128,
        seed: 1,
        options: serde_json::from_value(options).unwrap(),
    };
    bench.cell.load(&config, WITHIN).unwrap();
    bench
}

fn trial() -> TrialSpec {
    cell::trial(Method::Steps, 6, 8)
}

fn death(fault: &str, within: Duration) -> (Death, Bench) {
    let mut bench = loaded(fault);
    let pid = bench.cell.pid();
    match bench.cell.trial(&trial(), within, &mut Rows::default()) {
        Err(CellError::Died(death)) => {
            assert!(!Path::new(&format!("/proc/{pid}")).exists(), "{fault}: the process is still there");
            (*death, bench)
        }
        other => panic!("{fault}: expected a death, found {other:?}"),
    }
}

/// The line of `stacks` that holds all of `words`.
fn has(death: &Death, words: &[&str]) {
    let found = death.stacks.iter().any(|line| words.iter().all(|word| line.contains(word)));
    assert!(found, "{words:?} is in no line of {:#?}", death.stacks);
}

#[test]
fn a_native_crash_leaves_its_signal_and_both_stacks() {
    for (fault, signal, frame) in [("segv", 11, "libc.so"), ("abort", 6, "abort"), ("cxx_exception", 6, "_ctypes")] {
        let (death, _) = death(fault, WITHIN);
        assert_eq!((death.signal, death.exit_code), (Some(signal), None), "{fault}: {death:#?}");
        has(&death, &["cell: fatal signal", &signal.to_string()]);
        has(&death, &["native stack of thread", "innermost first"]);
        has(&death, &[frame]);
        // Whose doing it was: the engine's own Python frame.
        has(&death, &["echo.py", "in _misbehave"]);
    }
}

#[test]
fn a_kill_is_told_as_what_it_is() {
    let (death, _) = death("kill", WITHIN);
    assert_eq!(death.signal, Some(9));
    assert!(death.reason.contains("SIGKILL"), "{}", death.reason);
    assert!(!death.out_of_memory);
}

#[test]
fn a_deadlock_with_the_interpreters_lock_gives_its_stacks_before_it_is_killed() {
    let began = Instant::now();
    let (death, _) = death("deadlock", Duration::from_secs(1));
    assert!(death.reason.contains("deadline of 1 s"), "{}", death.reason);
    assert_eq!(death.signal, Some(9));
    has(&death, &["echo.py", "in _native"]);
    has(&death, &["cell: stacks of all threads"]);
    has(&death, &["pause"]);
    // The cell's thread that listens to its parent, too.
    let threads = death.stacks.iter().filter(|line| line.starts_with("cell: native stack of thread")).count();
    assert!(threads >= 2, "{:#?}", death.stacks);
    assert!(began.elapsed() < Duration::from_secs(20));
}

#[test]
fn tokens_without_end_are_a_mismatch_at_once_and_silence_has_a_deadline() {
    let mut bench = loaded("endless");
    match bench.cell.trial(&trial(), WITHIN, &mut Rows::default()) {
        Err(CellError::Engine(error)) => assert!(error.message.contains("did not end"), "{error}"),
        other => panic!("expected a mismatch, found {other:?}"),
    }
    let mut bench = loaded("hang");
    let patience = Patience { within: WITHIN, idle: Duration::from_millis(700) };
    match bench.cell.watched_trial(&trial(), patience, &mut Rows::default()) {
        Err(CellError::Died(death)) => {
            assert!(death.reason.contains("give a new output token"), "{}", death.reason);
            has(&death, &["echo.py", "in _misbehave"]);
        }
        other => panic!("expected a death, found {other:?}"),
    }
}

#[test]
fn children_left_behind_are_gone_when_the_death_is_told() {
    // One of them has cleared its environment and made a session: only a program that adopts orphans finds it, which
    // tests/survive looks at; the other two end here.
    let mine = |pid: &i32| {
        let read = |file: &str| fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
        read("cmdline") == b"sleep\x001004\x00" && !read("environ").is_empty()
    };
    let (death, _) = death("orphans", WITHIN);
    assert_eq!(death.signal, Some(9));
    let processes =
        fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    assert_eq!(processes.filter(mine).collect::<Vec<i32>>(), [0; 0]);
    kill_the_one_without_environment();
}

fn kill_the_one_without_environment() {
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        if fs::read(entry.path().join("cmdline")).is_ok_and(|line| line == b"sleep\x001004\x00") {
            std::process::Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap();
        }
    }
}
