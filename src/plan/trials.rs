//! How many trials a plan runs, and when it stops.
use std::time::Duration;

use super::{
    PlanError, TrialPolicy,
    draft::TrialsDraft,
    origin::{Origin, Sourced},
    scalar::duration_text,
    told::{DEFAULT, Told},
};
use crate::measure::DeviceClockMode;

const BASE: TrialPolicy = TrialPolicy {
    target: 0.02,
    min_trials: 6,
    max_trials: 30,
    max_time: Duration::from_secs(120),
    max_warmup: 10,
    latency_trials: 3,
    device_clock: DeviceClockMode::Steps,
    max_repeats: 3,
    watch_cost: 0,
    clock_band: 0.05,
};

/// The fewest whose extremes are a 95 % interval of the median.
const LEAST_BLOCKS: u32 = 6;

/// Settles the policy: the draft's, else the defaults.
pub(super) fn trials(draft: TrialsDraft, told: &mut Told) -> Result<TrialPolicy, PlanError> {
    let base = BASE;
    if let Some(zero) = [&draft.min_trials, &draft.max_trials].into_iter().flatten().find(|count| count.value == 0) {
        return Err(
            PlanError::at(&zero.at, "expected at least 1 timed trial, found 0").help("use 6 or more for an interval")
        );
    }
    if let Some(blocks) = &draft.watch_cost
        && (1..LEAST_BLOCKS).contains(&blocks.value)
    {
        let problem = format!("watch_cost {}: expected at least {LEAST_BLOCKS} blocks, or 0 for none", blocks.value);
        return Err(PlanError::at(&blocks.at, problem).help("fewer have no 95 % interval; 20 tell more"));
    }
    if let (Some(min), Some(max)) = (&draft.min_trials, &draft.max_trials)
        && min.value > max.value
    {
        let problem = format!("min_trials {} is more than max_trials {} ({})", min.value, max.value, max.at);
        return Err(PlanError::at(&min.at, problem).help("lower one or raise the other"));
    }
    // A bound that nobody gave makes room for the one that somebody did.
    let least = match &draft.max_trials {
        Some(max) if max.value < base.min_trials => Sourced::new(max.value, Origin::Default("default: max_trials")),
        _ => Sourced::new(base.min_trials, DEFAULT),
    };
    let most = match &draft.min_trials {
        Some(min) if min.value > base.max_trials => Sourced::new(min.value, Origin::Default("default: min_trials")),
        _ => Sourced::new(base.max_trials, DEFAULT),
    };
    let percent = |target: &f64| format!("{}%", (target * 1e8).round() / 1e6);
    Ok(TrialPolicy {
        target: told.tell("trials.target", draft.target, base.target, percent),
        min_trials: told.tell_or("trials.min_trials", draft.min_trials, least, u32::to_string),
        max_trials: told.tell_or("trials.max_trials", draft.max_trials, most, u32::to_string),
        max_time: told.tell("trials.max_time", draft.max_time, base.max_time, |time| duration_text(*time)),
        max_warmup: told.tell("trials.max_warmup", draft.max_warmup, base.max_warmup, u32::to_string),
        latency_trials: told.tell("trials.latency_trials", draft.latency_trials, base.latency_trials, u32::to_string),
        device_clock: told
            .tell("trials.device_clock", draft.device_clock, base.device_clock, |mode| mode.as_str().to_owned()),
        max_repeats: told.tell("trials.max_repeats", draft.max_repeats, base.max_repeats, u32::to_string),
        watch_cost: told.tell("trials.watch_cost", draft.watch_cost, base.watch_cost, u32::to_string),
        clock_band: told.tell("trials.clock_band", draft.clock_band, base.clock_band, percent),
    })
}
