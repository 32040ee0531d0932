//! Hosts TensorRT-LLM's C++ executor in the process: a cxx bridge to `cpp/bridge.cpp`, a safe wrapper, and the adapter.
//!
//! Built with the feature `tensorrt-llm` it holds the real library, with `double` the double of `tests/doubles`, which says
//! so in its version, its device and in [`tacho::engine::EngineInfo::double`]. With neither there is only what can be said
//! of a folder of engines.
#[cfg(feature = "bridge")]
mod adapter;
#[cfg(feature = "bridge")]
mod bridge;
#[cfg(feature = "bridge")]
mod device;
mod engine_dir;
#[cfg(feature = "bridge")]
mod executor;
#[cfg(feature = "bridge")]
mod load;
mod options;
#[cfg(feature = "bridge")]
mod steps;
#[cfg(feature = "bridge")]
mod vocab;

#[cfg(feature = "bridge")]
pub use adapter::TensorRtLlm;
pub use engine_dir::EngineDir;
#[cfg(feature = "bridge")]
pub use executor::{Executor, ExecutorOptions, NewRequest, Responses};
pub use options::TrtOptions;

/// The engine's id, as in `engines/tensorrt-llm-cpp`.
pub const ID: &str = "tensorrt-llm-cpp";

/// What the cell programs run: the cell, or with `--follow` a rank that only follows.
#[cfg(feature = "bridge")]
pub fn cell() -> std::process::ExitCode {
    tacho_crash::install();
    if std::env::args().nth(1).as_deref() != Some("--follow") {
        return tacho::cell::serve(|config| Ok(Box::new(TensorRtLlm::load(config)?)));
    }
    match load::follow() {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("--follow: {error}");
            std::process::ExitCode::FAILURE
        }
    }
}
