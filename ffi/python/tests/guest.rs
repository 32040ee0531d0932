//! The cell inside of the environment's own `python`, with the echo engine (a stand-in).
#[path = "common/cell.rs"]
mod cell;

use std::{path::PathBuf, time::Duration};

use cell::{Bench, Rows, load_error, start, trial};
use tacho::{
    cell::{
        parent::{Cell, CellError},
        protocol::Method,
    },
    engine::LoadConfig,
};

const PYTHON: &str = env!("TACHO_BUILD_PYTHON");
const WITHIN: Duration = Duration::from_secs(60);

fn echo(options: serde_json::Value) -> LoadConfig {
    LoadConfig {
        engine: "echo".to_owned(),
        model: None,
        max_seqs: 4,
        max_model_len: 128,
        seed: 1,
        options: serde_json::from_value(options).unwrap(),
    }
}

/// The library that cargo built for this test.
fn library() -> String {
    let path: PathBuf = std::env::current_exe().unwrap().with_file_name("libtacho_python_guest.so");
    assert!(path.is_file(), "{} is not built", path.display());
    path.to_str().unwrap().to_owned()
}

fn hosted(host: &str) -> Bench {
    start(&[("TACHO_PYTHON_ENV", PYTHON), ("TACHO_PYTHON_HOST", host), ("TACHO_PYTHON_GUEST", &library())])
}

/// The program that the cell's process runs now.
fn program_of(cell: &Cell) -> String {
    let program = std::fs::read_link(format!("/proc/{}/exe", cell.pid())).unwrap();
    program.file_name().unwrap().to_str().unwrap().to_owned()
}

#[test]
fn the_cell_can_be_the_environments_own_python() {
    for (host, program) in [("program", "python"), ("library", "tacho-cell-python")] {
        let mut bench = hosted(host);
        let (info, _) = bench.cell.load(&echo(serde_json::json!({})), WITHIN).unwrap();
        assert_eq!(info.effective["python_host"], host);
        let runs = program_of(&bench.cell);
        assert!(runs.starts_with(program), "{runs}");
        for method in [Method::Generate, Method::Steps] {
            let mut rows = Rows::default();
            bench.cell.trial(&trial(method, 4, 8), WITHIN, &mut rows).unwrap();
            assert_eq!(rows.requests, 4);
        }
        bench.cell.shutdown().unwrap();
    }
}

#[test]
fn a_crash_inside_of_python_leaves_its_signal_and_both_stacks() {
    for (fault, signal) in [("segv", 11), ("abort", 6), ("cxx_exception", 6)] {
        let mut bench = hosted("program");
        bench.cell.load(&echo(serde_json::json!({"fault": fault, "fault_at_step": 3})), WITHIN).unwrap();
        match bench.cell.trial(&trial(Method::Steps, 6, 8), WITHIN, &mut Rows::default()) {
            Err(CellError::Died(death)) => {
                assert_eq!(death.signal, Some(signal), "{fault}: {death:#?}");
                for words in ["cell: fatal signal", "native stack of thread", "in _misbehave"] {
                    assert!(
                        death.stacks.iter().any(|line| line.contains(words)),
                        "{fault}: {words}: {:#?}",
                        death.stacks
                    );
                }
            }
            other => panic!("{fault}: expected a death, found {other:?}"),
        }
    }
}

#[test]
fn an_environment_that_cannot_be_used_is_told_as_ever() {
    let mut bench = start(&[("TACHO_PYTHON_ENV", "/nonexistent/python"), ("TACHO_PYTHON_HOST", "program")]);
    let error = load_error(&mut bench, &echo(serde_json::json!({})), WITHIN);
    assert!(error.message.contains("/nonexistent/python"), "{error}");
}
