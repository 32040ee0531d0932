//! Runs a plan: starts cells, warms up, times, stops when the figures are good enough, and survives what goes wrong.

mod bench;
mod capacity;
mod counters;
mod datasets;
mod execute;
mod frontier;
mod gpu_memory;
mod hardware;
mod launches;
mod model;
mod paired;
mod paired_group;
mod paired_seats;
mod paired_turn;
mod point;
mod progress;
mod restarts;
mod traced;
mod watching;

pub use capacity::{CapacityReport, find_capacity};
pub use datasets::prepare;
pub use execute::{DOUBLES_VARIABLE, RunOptions, RunReport, execute};
pub(crate) use execute::{engine_label, refuse_double};
pub use gpu_memory::GpuMemory;
pub use hardware::OpenGpus;
pub use model::digest as model_digest;
pub use progress::{Progress, Quiet};
