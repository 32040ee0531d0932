//! What the figures mean and how they are computed: definitions, distributions, intervals, and when to stop.

mod aggregate;
pub mod definitions;
mod distribution;
#[cfg(feature = "harness")]
pub mod document;
mod interval;
mod moments;
pub mod service;
pub mod steady;
pub mod stopping;
pub mod turns;
pub mod warmup;

pub use aggregate::{Aggregate, FiguresError};
pub use distribution::{Distribution, EXACT_UP_TO, HISTOGRAM_ERROR};
pub use interval::{MedianInterval, NoInterval, median, median_interval};
