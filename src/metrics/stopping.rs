//! Decides after each timed trial whether there shall be another.
use std::time::Duration;

use super::interval::median_interval;
use crate::plan::TrialPolicy;

/// The confidence of the interval that trials go on for.
pub const CONFIDENCE: f64 = 0.95;

/// Why no further trial is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// The interval of the median throughput is narrow enough.
    Target,
    /// As many trials as the plan allows.
    MaxTrials,
    /// As long as the plan allows.
    MaxTime,
}

impl StopReason {
    /// As it stands in tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Target => "target",
            Self::MaxTrials => "max_trials",
            Self::MaxTime => "max_time",
        }
    }
}

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Another trial.
    Continue,
    /// None.
    Stop(StopReason),
}

/// Decides from what the timed trials so far gave and the time since the first of them began. `figures` are the ways in which a
/// point's pace is told, each with a value a trial: one of them has to be settled ([`reached`]).
///
/// The interval is looked at after every trial, so a run may stop at a lucky moment: its coverage is then somewhat below
/// the nominal one. `min_trials` bounds how early that can be; the report says what stopped each point.
pub fn decide(figures: &[&[f64]], policy: &TrialPolicy, elapsed: Duration) -> Decision {
    let n = figures.first().map_or(0, |values| values.len());
    let enough = n >= policy.min_trials as usize;
    if enough && figures.iter().any(|values| reached(values, policy.target)) {
        Decision::Stop(StopReason::Target)
    } else if n >= policy.max_trials as usize {
        Decision::Stop(StopReason::MaxTrials)
    } else if enough && elapsed >= policy.max_time {
        Decision::Stop(StopReason::MaxTime)
    } else {
        Decision::Continue
    }
}

/// Whether the 95 % interval of the median lies within `target`, a fraction of the median, either way.
pub fn reached(values: &[f64], target: f64) -> bool {
    median_interval(values, CONFIDENCE)
        .ok()
        .and_then(|interval| interval.relative_half_width())
        .is_some_and(|width| width <= target)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> TrialPolicy {
        TrialPolicy {
            target: 0.02,
            min_trials: 6,
            max_trials: 10,
            max_time: Duration::from_secs(60),
            max_warmup: 10,
            max_repeats: 0,
            watch_cost: 0,
            clock_band: 0.05,
            latency_trials: 1,
            device_clock: Default::default(),
        }
    }

    #[test]
    fn each_reason_to_stop_and_none() {
        let second = Duration::from_secs(1);
        let calm = [100.0, 101.0, 99.0, 100.5, 100.0, 99.5];
        let noisy = [100.0, 110.0, 90.0, 105.0, 95.0, 100.0, 101.0, 99.0, 108.0, 92.0];
        assert_eq!(decide(&[&calm[..5]], &policy(), second), Decision::Continue);
        assert_eq!(decide(&[&calm], &policy(), second), Decision::Stop(StopReason::Target));
        assert_eq!(decide(&[&noisy[..6]], &policy(), second), Decision::Continue);
        // An open load whose throughput follows its arrivals, and which is kept up with.
        assert_eq!(decide(&[&noisy[..6], &calm], &policy(), second), Decision::Stop(StopReason::Target));
        assert_eq!(decide(&[&noisy], &policy(), second), Decision::Stop(StopReason::MaxTrials));
        let late = Duration::from_secs(61);
        assert_eq!(decide(&[&noisy[..6]], &policy(), late), Decision::Stop(StopReason::MaxTime));
        // Fewer than min_trials go on however long they take.
        assert_eq!(decide(&[&noisy[..5]], &policy(), late), Decision::Continue);
    }

    #[test]
    fn a_cap_below_the_least_still_ends() {
        let policy = TrialPolicy { max_trials: 2, ..policy() };
        assert_eq!(decide(&[&[1.0, 1.0]], &policy, Duration::ZERO), Decision::Stop(StopReason::MaxTrials));
        assert!(!reached(&[0.0; 6], 0.02), "a median of 0 has no relative interval");
    }
}
