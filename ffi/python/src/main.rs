//! The cell program of every Python engine: `tacho` starts it with [`tacho_python::ENV_PYTHON`] naming the `python` of the
//! engine's environment.
use std::process::ExitCode;

use tacho_python::{PythonEngine, host};

fn main() -> ExitCode {
    // SAFETY: the first thing this process does; no other thread runs yet.
    unsafe { host::settle_environment() };
    let status = tacho::cell::serve(|config| Ok(Box::new(PythonEngine::load(config)?)));
    host::finalize();
    status
}
