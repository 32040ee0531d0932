//! Statistics of comparisons: pure functions over numbers, with their sources.
//!
//! A comparison's data are nested: trials in blocks, blocks in launches of the engines ([`paired`]). Differences are
//! logarithms of ratios, so that A over B and B over A say the same. [`verdict`] turns an interval into a word.

mod bca;
mod components;
mod dip;
pub mod paired;
pub mod simulate;
pub mod verdict;

pub use bca::{BootstrapInterval, RESAMPLES, bootstrap_difference, bootstrap_mean};
pub use components::{Components, Cost, Needed, components, needed};
pub use dip::{Bimodality, Mode, bimodality, dip};

/// The confidence of every interval here.
pub const CONFIDENCE: f64 = 0.95;
/// The chance of seeing a difference that [`verdict::detectable`] promises.
pub const POWER: f64 = 0.8;

/// Arithmetic mean; NaN of nothing.
pub(crate) fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Sample variance (n − 1); 0 of fewer than two values.
pub(crate) fn variance(values: &[f64]) -> f64 {
    if values.len() < 2 {
        return 0.0;
    }
    let mean = mean(values);
    values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (values.len() - 1) as f64
}

/// The quantile of Student's t distribution.
pub(crate) fn student(probability: f64, freedom: f64) -> f64 {
    use statrs::distribution::{ContinuousCDF, StudentsT};
    StudentsT::new(0.0, 1.0, freedom).map_or(f64::INFINITY, |t| t.inverse_cdf(probability))
}
