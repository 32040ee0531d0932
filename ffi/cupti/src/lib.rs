//! A shared library that the CUDA driver loads into every process that starts CUDA and whose environment names it in
//! `CUDA_INJECTION64_PATH`, an engine's children included. It asks CUPTI for kernels, copies and memsets and writes them
//! to `$TACHO_TRACE_DIR/<pid>.tkt`; `docs/measure-trace.md` describes the file.
//!
//! It depends on nothing of Tacho's: it lives in other programs' processes. What fails here is written to the state file
//! and to standard error, and never disturbs the process.
mod api;
mod control;
mod format;
mod layout;
mod names;
mod pool;
mod session;
mod writer;

/// Called once by the CUDA driver while it initialises. Always answers 1: a trace that cannot be taken is no reason to
/// fail the program's CUDA.
#[unsafe(no_mangle)]
pub extern "C" fn InitializeInjection() -> i32 {
    // A panic must not unwind into the driver.
    let _ = std::panic::catch_unwind(session::start);
    1
}
