//! The cell program of every Python engine: `tacho` starts it with [`tacho_python::ENV_PYTHON`] naming the `python` of the
//! engine's environment.
use std::process::ExitCode;

use tacho::engine::{Engine, LoadConfig};
use tacho_python::{PythonEngine, host};

fn main() -> ExitCode {
    tacho_crash::install();
    // SAFETY: the first thing this process does; no other thread runs yet.
    unsafe { host::settle_environment() };
    let load = |config: &LoadConfig| Ok(Box::new(PythonEngine::load(config)?) as Box<dyn Engine>);
    let status = tacho::cell::serve_clocked(load, tacho_cuda::clock::open);
    host::finalize();
    status
}
