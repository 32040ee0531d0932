//! The bias-corrected and accelerated bootstrap interval of a mean, or of a difference of two means.
//!
//! Source: Efron, "Better bootstrap confidence intervals" (1987); Efron and Tibshirani, *An Introduction to the Bootstrap*
//! (1993), sections 14.2 and 14.3. With the normal quantiles zα, the ends are the percentiles
//! Φ(z₀ + (z₀ + zα) / (1 − a (z₀ + zα))) of the resampled means; z₀ is the normal quantile of the share of resampled means
//! below the mean (half of those equal to it), a = Σ U³ / (6 (Σ U²)^1.5) over the influences U of the values.
//!
//! With few values such percentiles are too narrow, because a resample's variance is (n − 1) / n of the sample's. So zα is
//! −√(n / (n − 1)) t(α, n − 1): Hesterberg, "What teachers should know about the bootstrap" (2015), section 4.2.
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use statrs::distribution::{ContinuousCDF, Normal};

use super::{mean, student};

/// Resamples of an interval: the ends then waver by a hundredth of the interval's width.
pub const RESAMPLES: u32 = 10_000;
/// Fewer values say too little of their own distribution.
pub const FEWEST: usize = 6;

/// An estimate with its interval, in the unit of the values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BootstrapInterval {
    /// The mean, or the difference of means.
    pub estimate: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// The interval of a mean of independent values. None for fewer than 6 values, or values that are not finite.
pub fn bootstrap_mean(values: &[f64], confidence: f64, resamples: u32, seed: u64) -> Option<BootstrapInterval> {
    bootstrap(&[(1.0, values)], confidence, resamples, seed, true)
}

/// The interval of mean(`of`) − mean(`base`), both samples resampled independently. None for fewer than 6 values in
/// either, or values that are not finite.
pub fn bootstrap_difference(
    of: &[f64],
    base: &[f64],
    confidence: f64,
    resamples: u32,
    seed: u64,
) -> Option<BootstrapInterval> {
    bootstrap(&[(1.0, of), (-1.0, base)], confidence, resamples, seed, true)
}

/// Of the sum over `samples` of sign × mean. `widened` is Hesterberg's correction.
fn bootstrap(
    samples: &[(f64, &[f64])],
    confidence: f64,
    resamples: u32,
    seed: u64,
    widened: bool,
) -> Option<BootstrapInterval> {
    let fewest = samples.iter().map(|(_, values)| values.len()).min()?;
    let finite = samples.iter().all(|(_, values)| values.iter().all(|value| value.is_finite()));
    if fewest < FEWEST || !finite || resamples == 0 {
        return None;
    }
    let estimate: f64 = samples.iter().map(|(sign, values)| sign * mean(values)).sum();
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    let mut means: Vec<f64> = (0..resamples)
        .map(|_| samples.iter().map(|(sign, values)| sign * resampled_mean(values, &mut rng)).sum())
        .collect();
    means.sort_unstable_by(f64::total_cmp);
    let normal = Normal::standard();
    // Sums in another order differ in their last digits: those count as equal.
    let tiny = 1e-12 * estimate.abs().max(means[means.len() - 1] - means[0]);
    let below = means.partition_point(|mean| *mean < estimate - tiny);
    let up_to = means.partition_point(|mean| *mean <= estimate + tiny);
    let share = (below + up_to) as f64 / (2.0 * f64::from(resamples));
    let bias = normal.inverse_cdf(share.clamp(1e-9, 1.0 - 1e-9));
    let acceleration = acceleration(samples);
    let z = match widened {
        true => student((1.0 + confidence) / 2.0, fewest as f64 - 1.0) * (fewest as f64 / (fewest as f64 - 1.0)).sqrt(),
        false => normal.inverse_cdf((1.0 + confidence) / 2.0),
    };
    let end = |z: f64| {
        let shifted = bias + z;
        percentile(&means, normal.cdf(bias + shifted / (1.0 - acceleration * shifted)))
    };
    Some(BootstrapInterval { estimate, low: end(-z), high: end(z) })
}

fn resampled_mean(values: &[f64], rng: &mut Xoshiro256PlusPlus) -> f64 {
    let sum: f64 = (0..values.len()).map(|_| values[rng.random_range(0..values.len())]).sum();
    sum / values.len() as f64
}

/// From the empirical influences: (value − mean) / n of each, of all samples together.
fn acceleration(samples: &[(f64, &[f64])]) -> f64 {
    let (mut cubes, mut squares) = (0.0, 0.0);
    for (sign, values) in samples {
        let mean = mean(values);
        for value in *values {
            let influence = sign * (value - mean) / values.len() as f64;
            cubes += influence.powi(3);
            squares += influence.powi(2);
        }
    }
    if squares > 0.0 { cubes / (6.0 * squares.powf(1.5)) } else { 0.0 }
}

/// By linear interpolation between order statistics (Hyndman and Fan type 7).
fn percentile(sorted: &[f64], share: f64) -> f64 {
    let place = share * (sorted.len() - 1) as f64;
    let index = (place as usize).min(sorted.len() - 1);
    let next = sorted[(index + 1).min(sorted.len() - 1)];
    sorted[index] + (next - sorted[index]) * place.fract()
}

#[cfg(test)]
mod tests {
    use super::*;

    const D: [f64; 12] = [0.011, -0.004, 0.007, 0.021, 0.002, -0.001, 0.013, 0.030, 0.005, 0.009, 0.0, 0.004];

    fn close(found: f64, expected: f64, within: f64) {
        assert!((found - expected).abs() <= within, "{found} for {expected}");
    }

    #[test]
    fn the_plain_interval_is_that_of_scipy() {
        // scipy.stats.bootstrap(method="BCa"), 2 million resamples.
        let one = bootstrap(&[(1.0, &D)], 0.95, 100_000, 1, false).unwrap();
        close(one.low, 0.00375, 1e-4);
        close(one.high, 0.014_666_7, 1e-4);
        close(acceleration(&[(1.0, &D)]), 0.047_089_798_844, 1e-12);
        let (of, base) = ([1.4, 1.1, 1.6, 1.35, 2.2, 1.5], [1.0, 1.2, 0.9, 1.1, 1.05, 0.97, 1.3]);
        let two = bootstrap(&[(1.0, &of), (-1.0, &base)], 0.95, 100_000, 1, false).unwrap();
        close(two.low, 0.222_857, 6e-3);
        close(two.high, 0.820_238, 6e-3);
    }

    #[test]
    fn few_values_widen_it_and_fewer_give_none() {
        let plain = bootstrap(&[(1.0, &D)], 0.95, 20_000, 1, false).unwrap();
        let wide = bootstrap_mean(&D, 0.95, 20_000, 1).unwrap();
        assert!(wide.low < plain.low && wide.high > plain.high, "{wide:?} {plain:?}");
        assert_eq!(wide, bootstrap_mean(&D, 0.95, 20_000, 1).unwrap());
        assert_eq!(bootstrap_mean(&D[..5], 0.95, 1000, 1), None);
        assert_eq!(bootstrap_mean(&[f64::NAN; 8], 0.95, 1000, 1), None);
    }

    #[test]
    fn values_that_are_all_the_same_give_a_point() {
        let same = bootstrap_mean(&[0.25; 8], 0.95, 1000, 1).unwrap();
        assert_eq!((same.low, same.estimate, same.high), (0.25, 0.25, 0.25));
    }

    #[test]
    fn it_covers_about_as_often_as_it_says_even_with_few_values() {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(7);
        let rounds = 600;
        let mut covered = 0;
        for round in 0..rounds {
            let values: Vec<f64> = (0..8).map(|_| crate::workload::standard_normal(&mut rng)).collect();
            let interval = bootstrap_mean(&values, 0.95, 1000, round).unwrap();
            covered += u32::from(interval.low <= 0.0 && 0.0 <= interval.high);
        }
        let share = f64::from(covered) / rounds as f64;
        assert!((0.92..=0.98).contains(&share), "{share}");
    }
}
