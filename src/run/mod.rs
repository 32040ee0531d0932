//! Runs a plan: starts cells, warms up, times, stops when the figures are good enough, and survives what goes wrong.

mod capacity;
mod datasets;
mod execute;
mod hardware;
mod launches;
mod model;
mod point;
mod progress;
mod traced;

pub use capacity::{CapacityReport, find_capacity};
pub use datasets::prepare;
pub use execute::{DOUBLES_VARIABLE, RunOptions, RunReport, execute};
pub use hardware::OpenGpus;
pub use model::digest as model_digest;
pub use progress::{Progress, Quiet};
