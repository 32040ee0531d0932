//! Tacho: a tachometer for LLM inference engines.
//!
//! The library is the harness: it defines what an [`engine`] is, makes the [`workload`]s, drives an engine inside a
//! [`cell`] (one process an engine configuration), and, with the feature `harness`, plans runs, judges the figures and
//! writes the results. It links no engine, no Python and no CUDA; the crates under `ffi/` do, and depend on this one.
#![forbid(unsafe_code)]

#[cfg(feature = "harness")]
pub mod agreement;
pub mod cache;
#[cfg(feature = "harness")]
pub mod calibration;
#[cfg(feature = "harness")]
pub mod capacity;
pub mod cell;
#[cfg(feature = "harness")]
pub mod comparison;
#[cfg(feature = "harness")]
pub mod doctor;
pub mod engine;
#[cfg(feature = "harness")]
pub mod environment;
#[cfg(feature = "harness")]
pub mod fairness;
pub mod gguf;
#[cfg(feature = "harness")]
pub mod http;
#[cfg(feature = "harness")]
pub mod ledger;
pub mod measure;
#[cfg(feature = "harness")]
pub mod metrics;
#[cfg(feature = "harness")]
pub mod model;
#[cfg(feature = "harness")]
pub mod plan;
#[cfg(feature = "harness")]
pub mod report;
#[cfg(feature = "harness")]
pub mod results;
#[cfg(feature = "harness")]
pub mod roofline;
#[cfg(feature = "harness")]
pub mod run;
pub mod secrets;
#[cfg(feature = "harness")]
pub mod stats;
#[cfg(feature = "harness")]
pub mod validity;
pub mod workload;

/// A hash of the library's sources and its lock file: a cell built from other sources than `tacho` is refused.
pub const BUILD_HASH: &str = env!("TACHO_BUILD_HASH");
/// The git commit this was built from, with `-dirty` when the tree differed, or `unknown`.
pub const GIT_COMMIT: &str = env!("TACHO_GIT_COMMIT");
/// `rustc --version` of the compiler that built this.
pub const RUSTC_VERSION: &str = env!("TACHO_RUSTC_VERSION");
