//! A distribution-free interval of a median.
//!
//! Source: Conover, *Practical Nonparametric Statistics* (3rd ed., 1999), section 3.2; Hahn and Meeker, *Statistical
//! Intervals* (1991), section 5.2. The number of values below the true median is Binomial(n, ½), so the interval from
//! the k-th smallest to the k-th largest value misses it with probability 2·P(X ≤ k − 1), whatever the distribution.
use serde::{Deserialize, Serialize};

/// A median and its interval, in the unit of the values.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct MedianInterval {
    /// How many values.
    pub n: u64,
    /// The median: the mean of the two in the middle when n is even.
    pub median: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// The probability with which such an interval covers the true median: at least the one asked for.
    pub coverage: f64,
}

impl MedianInterval {
    /// The farther end's distance from the median, as a fraction of the median; None for a median of 0.
    pub fn relative_half_width(&self) -> Option<f64> {
        let width = (self.high - self.median).max(self.median - self.low) / self.median.abs();
        width.is_finite().then_some(width)
    }
}

/// Why there is no interval.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum NoInterval {
    /// Not even the extremes cover the median often enough.
    #[error("{found} trials are too few for a {:.0} % interval of the median: expected at least {needed}", confidence * 100.0)]
    TooFew {
        /// How many there are.
        found: usize,
        /// How many there must be.
        needed: usize,
        /// What was asked for.
        confidence: f64,
    },
    /// A value is not a number.
    #[error("value {index} of {n} is {value}: expected finite numbers")]
    NotFinite {
        /// Which.
        index: usize,
        /// How many values there are.
        n: usize,
        /// The value.
        value: f64,
    },
    /// The confidence is not a probability between 0 and 1.
    #[error("a confidence of {0}: expected a number above 0 and below 1")]
    Confidence(f64),
}

/// The median; None for no values.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        n if n % 2 == 1 => Some(sorted[middle]),
        _ => Some(sorted[middle - 1] + (sorted[middle] - sorted[middle - 1]) / 2.0),
    }
}

/// The narrowest symmetric order-statistic interval that covers the median with at least `confidence`. The values must
/// be independent: trials, never requests of one trial, which share their batches.
///
/// # Errors
/// [`NoInterval`] with the reason; with 95 %, fewer than 6 values are too few.
pub fn median_interval(values: &[f64], confidence: f64) -> Result<MedianInterval, NoInterval> {
    if !(confidence > 0.0 && confidence < 1.0) {
        return Err(NoInterval::Confidence(confidence));
    }
    if let Some(index) = values.iter().position(|value| !value.is_finite()) {
        return Err(NoInterval::NotFinite { index, n: values.len(), value: values[index] });
    }
    let n = values.len();
    let Some((rank, coverage)) = rank_and_coverage(n, confidence) else {
        let needed = (2..).find(|&n| rank_and_coverage(n, confidence).is_some()).unwrap_or(usize::MAX);
        return Err(NoInterval::TooFew { found: n, needed, confidence });
    };
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    Ok(MedianInterval {
        n: n as u64,
        median: median(&sorted).unwrap_or(sorted[0]),
        low: sorted[rank - 1],
        high: sorted[n - rank],
        coverage,
    })
}

/// The largest k for which the k-th smallest and the k-th largest of `n` values cover the median with `confidence`, and
/// their coverage.
fn rank_and_coverage(n: usize, confidence: f64) -> Option<(usize, f64)> {
    // P(X = i), from i = 0 on, as logarithms: ½ⁿ itself underflows beyond n = 1074.
    let mut log_p = n as f64 * 0.5_f64.ln();
    let mut below = 0.0;
    let mut best = None;
    for k in 1..=n / 2 {
        below += log_p.exp();
        let coverage = 1.0 - 2.0 * below;
        if coverage < confidence {
            break;
        }
        best = Some((k, coverage));
        log_p += ((n - k + 1) as f64 / k as f64).ln();
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_those_of_the_published_table() {
        // Two-sided 95 % ranks of the sign-test interval: n, rank, coverage.
        for (n, rank, coverage) in [(6, 1, 0.96875), (8, 1, 0.9921875), (9, 2, 0.9609375), (10, 2, 0.978515625)] {
            let (found, covers) = rank_and_coverage(n, 0.95).unwrap();
            assert_eq!(found, rank, "n = {n}");
            assert!((covers - coverage).abs() < 1e-12, "n = {n}: {covers}");
        }
        assert_eq!(rank_and_coverage(20, 0.95).unwrap().0, 6);
        assert_eq!(rank_and_coverage(50, 0.95).unwrap().0, 18);
        assert_eq!(rank_and_coverage(100, 0.95).unwrap().0, 40);
        // Close to the normal approximation n/2 − 0.98·√n far out, where ½ⁿ is 0 as an f64.
        let (rank, _) = rank_and_coverage(5000, 0.95).unwrap();
        assert!(rank.abs_diff(2431) <= 2, "{rank}");
    }

    #[test]
    fn five_trials_are_too_few_and_six_give_their_extremes() {
        let error = median_interval(&[1.0, 2.0, 3.0, 4.0, 5.0], 0.95).unwrap_err();
        assert_eq!(error, NoInterval::TooFew { found: 5, needed: 6, confidence: 0.95 });
        assert_eq!(error.to_string(), "5 trials are too few for a 95 % interval of the median: expected at least 6");
        assert!(matches!(median_interval(&[], 0.95), Err(NoInterval::TooFew { found: 0, .. })));
        let six = median_interval(&[6.0, 1.0, 2.0, 5.0, 3.0, 4.0], 0.95).unwrap();
        assert_eq!((six.low, six.median, six.high, six.coverage), (1.0, 3.5, 6.0, 0.96875));
        assert_eq!(six.relative_half_width(), Some(2.5 / 3.5));
    }

    #[test]
    fn what_is_not_a_number_is_refused() {
        let error = median_interval(&[1.0, f64::NAN, 3.0, 4.0, 5.0, 6.0], 0.95).unwrap_err();
        assert!(matches!(error, NoInterval::NotFinite { index: 1, n: 6, .. }));
        assert!(median_interval(&[1.0; 6], 1.0).is_err());
        assert_eq!(median_interval(&[0.0; 6], 0.95).unwrap().relative_half_width(), None);
    }

    #[test]
    fn the_interval_covers_as_often_as_it_says() {
        // Skewed draws (squares of a low-discrepancy sequence) whose true median is 0.25.
        let mut covered = 0;
        let mut state = 0x9e37_79b9_u64;
        for _ in 0..2000 {
            let values: Vec<f64> = (0..9)
                .map(|i| {
                    state = crate::workload::mix(state, i);
                    ((state >> 11) as f64 / (1_u64 << 53) as f64).powi(2)
                })
                .collect();
            let interval = median_interval(&values, 0.95).unwrap();
            covered += u32::from(interval.low <= 0.25 && 0.25 <= interval.high);
        }
        let share = f64::from(covered) / 2000.0;
        assert!((share - 0.9609).abs() < 0.015, "{share}");
    }
}
