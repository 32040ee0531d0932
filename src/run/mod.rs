//! Runs a plan: starts cells, warms up, times, stops when the figures are good enough, and survives what goes wrong.

mod progress;

pub use progress::{Progress, Quiet};
