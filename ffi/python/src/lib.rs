//! Hosts a Python inference engine in a cell.
//!
//! [`host`] starts CPython inside this process as if the engine environment's own `python` had been run. [`engine`] loads
//! the shim `tacho_shims.<engine>` and is the [`tacho::engine::Engine`] that the cell drives. The interpreter lock is held
//! only inside calls into the shim: while Rust waits, converts records or writes them, Python's other threads run.
//!
//! Where the environment's `python` holds its interpreter itself, the cell runs inside of that program instead: [`guest`].
//!
//! What a shim is stands in `python_shims/tacho_shims/__init__.py`.

mod convert;
pub mod engine;
mod error;
pub mod guest;
pub mod host;
mod info;
mod shims;

use std::process::ExitCode;

pub use engine::PythonEngine;
pub use host::ENV_PYTHON;
use tacho::engine::{Engine, LoadConfig};

/// Serves Python engines to the parent process until it says to stop or goes away. [`host::settle_environment`] was called.
pub fn cell() -> ExitCode {
    let load = |config: &LoadConfig| Ok(Box::new(PythonEngine::load(config)?) as Box<dyn Engine>);
    tacho::cell::serve_clocked(load, tacho_cuda::clock::open)
}
