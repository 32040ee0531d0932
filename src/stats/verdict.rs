//! From an interval to a word.
//!
//! The rule, with the equivalence threshold δ (such as 1 %) and the interval of the speed ratio:
//!
//! - SAME: the whole interval lies within a factor of 1 + δ either way. Whatever difference there is, it is smaller than δ.
//!   Two one-sided tests (Schuirmann 1987) by the 95 % interval instead of the usual 90 % one: stricter.
//! - FASTER or SLOWER: the interval does not contain 1, and the estimate is more than δ away from it.
//! - AMBIGUOUS: everything else, also where there is no interval. More launches or blocks may decide it.
use serde::{Deserialize, Serialize};

use super::{POWER, student};

/// What a comparison came to, of the second against the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Verdict {
    /// No difference as large as the threshold.
    Same,
    /// Better by more than the threshold, as estimated, and better for sure.
    Faster,
    /// Worse by more than the threshold, as estimated, and worse for sure.
    Slower,
    /// The data do not tell.
    Ambiguous,
}

impl Verdict {
    /// As tables say it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Same => "SAME",
            Self::Faster => "FASTER",
            Self::Slower => "SLOWER",
            Self::Ambiguous => "AMBIGUOUS",
        }
    }
}

/// Decides. The estimate and the ends of its interval are logarithms of a ratio in which more is better; `threshold` is a
/// fraction.
pub fn decide(estimate: f64, interval: Option<(f64, f64)>, threshold: f64) -> Verdict {
    let limit = threshold.ln_1p();
    match interval {
        Some((low, high)) if low > -limit && high < limit => Verdict::Same,
        Some((low, _)) if low > 0.0 && estimate > limit => Verdict::Faster,
        Some((_, high)) if high < 0.0 && estimate < -limit => Verdict::Slower,
        _ => Verdict::Ambiguous,
    }
}

/// The smallest true difference that would have been told from 0 with 80 % power at 95 % confidence, as a fraction, for an
/// estimate with this standard error (of a logarithm) and its degrees of freedom: (t₀.₉₇₅ + t₀.₈) × error.
///
/// Source: Cohen, *Statistical Power Analysis* (1988); Bloom, "Minimum detectable effects" (1995).
pub fn detectable(standard_error: f64, freedom: f64) -> f64 {
    detectable_ln(standard_error, freedom).exp_m1()
}

/// The same as a logarithm.
pub(super) fn detectable_ln(standard_error: f64, freedom: f64) -> f64 {
    (student(0.975, freedom) + student(POWER, freedom)) * standard_error
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_word_has_its_region() {
        let of = |low: f64, estimate: f64, high: f64| decide(estimate, Some((low, high)), 0.01);
        assert_eq!(of(-0.004, 0.001, 0.006), Verdict::Same);
        // A difference for sure, and too small to matter.
        assert_eq!(of(0.001, 0.004, 0.008), Verdict::Same);
        assert_eq!(of(0.005, 0.02, 0.04), Verdict::Faster);
        assert_eq!(of(-0.04, -0.02, -0.005), Verdict::Slower);
        // A direction, but its best estimate is below the threshold.
        assert_eq!(of(0.001, 0.008, 0.015), Verdict::Ambiguous);
        assert_eq!(of(-0.03, 0.001, 0.03), Verdict::Ambiguous);
        assert_eq!(decide(0.5, None, 0.01), Verdict::Ambiguous);
        assert_eq!(of(f64::NAN, 0.0, f64::NAN), Verdict::Ambiguous);
    }

    #[test]
    fn the_smallest_difference_is_that_of_the_tables() {
        // t₀.₉₇₅ and t₀.₈ with 4 degrees of freedom: 2.776 and 0.941.
        assert!((detectable(0.001, 4.0) - 0.003_717 * 1.001_86).abs() < 3e-6, "{}", detectable(0.001, 4.0));
        assert_eq!(detectable(0.0, 4.0), 0.0);
    }
}
