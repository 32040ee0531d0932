//! Runs a plan: starts cells, warms up, times, stops when the figures are good enough, and survives what goes wrong.

mod execute;
mod launches;
mod hardware;
mod model;
mod point;
mod progress;
mod traced;

pub use execute::{RunOptions, RunReport, execute};
pub use hardware::OpenGpus;
pub use progress::{Progress, Quiet};
