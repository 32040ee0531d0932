//! Hosts a Python inference engine in a cell.
//!
//! [`host`] starts CPython inside this process as if the engine environment's own `python` had been run. [`engine`] loads
//! the shim `tacho_shims.<engine>` and is the [`tacho::engine::Engine`] that the cell drives. The interpreter lock is held
//! only inside calls into the shim: while Rust waits, converts records or writes them, Python's other threads run.
//!
//! What a shim is stands in `python_shims/tacho_shims/__init__.py`.

mod convert;
pub mod engine;
mod error;
pub mod host;
mod info;
mod shims;

pub use engine::PythonEngine;
pub use host::ENV_PYTHON;
