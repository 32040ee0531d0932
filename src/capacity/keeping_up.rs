//! What a queue's growth says of the limit: the likelihoods by which a search weighs it.
//!
//! An engine that keeps up ends, while the newer half of the arrivals comes, what arrives, within the error of the growth; one whose limit
//! is below the load ends that limit, within the error of what it achieved. Both errors are of batch means, so both laws are Student's t.
use statrs::distribution::{Continuous, ContinuousCDF, StudentsT};

use crate::cell::open::QueueGrowth;

/// How much likelier than an overload it is at first, at any load, that an engine keeps up.
const ODDS: f64 = 2.0;

/// Likelihoods, as densities of the rate that was achieved.
pub(super) struct KeepingUp {
    growth: QueueGrowth,
    /// That of an engine that keeps up.
    stable: f64,
}

/// Student's t around `mean`; None without degrees of freedom or with an error that is no number.
fn student(mean: f64, error: f64, freedom: f64) -> Option<StudentsT> {
    StudentsT::new(mean, error, freedom).ok()
}

/// Standard error of what an engine that is too slow could have ended: it may have had nothing to do for a while, which the
/// growth's error tells of. The larger of the two, as both have a request's rounding in them.
fn error(growth: &QueueGrowth) -> f64 {
    growth.achieved_error.max(growth.growth_error)
}

impl KeepingUp {
    /// None for growth that cannot be weighed.
    pub(super) fn of(growth: QueueGrowth) -> Option<Self> {
        let stable = student(growth.offered, growth.growth_error, growth.freedom)?.pdf(growth.achieved);
        student(growth.achieved, error(&growth), growth.freedom).map(|_| Self { growth, stable })
    }

    /// That of an engine that keeps up.
    pub(super) fn stable(&self) -> f64 {
        self.stable
    }

    /// That of an engine too slow for `load`, whose own limit is as likely anywhere from `least` up to the load; divided by [`ODDS`]. A limit
    /// above what happened to arrive kept up all the same.
    pub(super) fn overloaded(&self, least: f64, load: f64) -> f64 {
        let Self { growth, stable } = self;
        let Some(law) = student(growth.achieved, error(growth), growth.freedom) else { return 0.0 };
        let arrived = growth.offered.min(load);
        let width = load - least;
        let mean = if width > 1e-9 * load {
            (law.cdf(arrived) - law.cdf(least)).max(0.0) / width + stable * (load - arrived.max(least)) / width
        } else if growth.offered < load {
            *stable
        } else {
            law.pdf(load)
        };
        mean / ODDS
    }

    /// The probability that the engine keeps up with the load, from this trial alone.
    pub(super) fn probability(&self, load: f64) -> f64 {
        self.stable / (self.stable + self.overloaded(0.0, load))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn growth(offered: f64, achieved: f64, error: f64) -> KeepingUp {
        let growth = QueueGrowth { offered, achieved, achieved_error: error, growth_error: error, freedom: 9.0 };
        KeepingUp::of(growth).unwrap()
    }

    #[test]
    fn growth_beyond_its_error_counts_against_the_load_and_for_what_was_achieved() {
        let kept = |achieved| growth(100.0, achieved, 1.0).probability(100.0);
        assert!(
            kept(100.0) > 0.97 && kept(98.0) > 0.5 && kept(90.0) < 0.01,
            "{} {} {}",
            kept(100.0),
            kept(98.0),
            kept(90.0)
        );
        let slow = growth(100.0, 80.0, 1.0);
        // Above what was achieved there is little, and below there is no more than right there.
        assert!(slow.overloaded(85.0, 100.0) < 0.02 * slow.overloaded(80.0, 100.0));
        assert!(slow.overloaded(79.0, 100.0) > slow.overloaded(50.0, 100.0));
    }

    #[test]
    fn densities_are_of_the_law() {
        // Student's t with 9 degrees of freedom: 0.38803 at 0; half of it below 0, and all but nothing above 100 - 80.
        let slow = growth(100.0, 80.0, 1.0);
        assert!((growth(100.0, 100.0, 2.0).stable() - 0.388035 / 2.0).abs() < 1e-5);
        assert!((slow.overloaded(80.0, 100.0) - 0.5 / 20.0 / ODDS).abs() < 1e-6);
    }
}
