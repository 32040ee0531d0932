//! The cell program of every Python engine: `tacho` starts it with [`tacho_python::ENV_PYTHON`] naming the `python` of the
//! engine's environment.
use std::process::ExitCode;

use tacho_python::{guest, host};

fn main() -> ExitCode {
    tacho_crash::install();
    // SAFETY: the first thing this process does; no other thread runs yet.
    unsafe { host::settle_environment() };
    if let Err(said) = guest::enter() {
        eprintln!("cell: {said}");
        return ExitCode::FAILURE;
    }
    let status = tacho_crash::outermost(tacho_python::cell);
    host::finalize();
    status
}
