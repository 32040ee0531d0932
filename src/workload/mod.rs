//! The requests of a trial: exact lengths by token ids, deterministic from a seed, the same for every engine.

pub mod arrivals;
mod chosen;
#[cfg(feature = "harness")]
pub mod dataset;
mod length;
pub mod saved;
mod synthetic;
mod turns;

pub use length::{DataLengths, LengthDist, LengthError};
pub use synthetic::{Workload, WorkloadError, WorkloadSpec};
pub use turns::{ThinkTime, Turns};

pub(crate) use length::standard_normal;
pub(crate) use synthetic::{mix, rng_for};
