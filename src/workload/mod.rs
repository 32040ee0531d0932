//! The requests of a trial: exact lengths by token ids, deterministic from a seed, the same for every engine.

pub mod arrivals;
mod length;
mod synthetic;

pub use length::{LengthDist, LengthError};
pub use synthetic::{Workload, WorkloadError, WorkloadSpec};

pub(crate) use length::standard_normal;
pub(crate) use synthetic::{mix, rng_for};
