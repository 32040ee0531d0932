//! Whether the times mean what they should: who took them, how long they are, whether they agree.
use super::{Limits, finding::Finding};
use crate::{
    cell::protocol::Load,
    measure::MAX_DISAGREEMENT,
    metrics::{
        median_interval,
        stopping::{self, CONFIDENCE},
    },
    plan::Point,
    results::{PointRecord, TrialRecord},
};

pub(super) fn harness_share(trial: &TrialRecord, limits: &Limits) -> Finding {
    let Some(share) = trial.summary.harness_share() else {
        return Finding::unknown("the trial ran in virtual time, in which the harness takes none");
    };
    let limit = limits.max_harness_share;
    if share <= limit {
        return Finding::Good;
    }
    let sentence = format!(
        "{:.1} % of the time passed outside the engine's calls; expected at most {:.1} %",
        share * 100.0,
        limit * 100.0
    );
    Finding::bad(sentence, &[("share", share), ("limit", limit)])
}

/// `overlapped` is the point of an engine that prepares a step while another one runs: such a one has launched a step more than anybody
/// waits for when the last token is out, and the device's clock, which waits for all, may be ahead by as much.
pub(super) fn clock_agreement(trial: &TrialRecord, overlapped: Option<&Point>) -> Finding {
    let Some(apart) = trial.summary.clock_disagreement() else {
        let why = trial.summary.device.null_reason();
        return Finding::unknown(why.unwrap_or("the device's clock was not read"));
    };
    let one_step = overlapped.and_then(|point| step_share(trial, point)).filter(|share| *share > MAX_DISAGREEMENT);
    let limit = one_step.filter(|_| apart > 0.0).unwrap_or(MAX_DISAGREEMENT);
    if apart.abs() <= limit {
        return Finding::Good;
    }
    let sentence = format!(
        "the GPU's clock says {:+.2} % of the host's; expected within {:.1} %{}: the trial is too short, or work went on \
         after the engine said that it was done",
        apart * 100.0,
        MAX_DISAGREEMENT * 100.0,
        one_step
            .map(|share| format!(", or up to {:+.2} % for a step that is launched ahead", share * 100.0))
            .unwrap_or_default()
    );
    Finding::bad(sentence, &[("apart", apart.abs()), ("limit", limit)])
}

/// An offline trial's mean step over its time, where each sequence gets a token a step: sequences at once / output tokens. Steps that
/// give more are longer than that, which errs towards refusing. None for other loads, whose time is not all steps.
fn step_share(trial: &TrialRecord, point: &Point) -> Option<f64> {
    let Load::Offline { batch } = point.load else { return None };
    let tokens = trial.summary.output_tokens;
    let at_once = batch.min(trial.summary.requests);
    (tokens > 0).then(|| f64::from(at_once) / tokens as f64)
}

/// For longer than this the machine may not be suspended while a trial runs: ten thousand times what two looks at the clocks are
/// apart otherwise, and less than any machine takes to suspend and wake.
pub const MAX_SUSPENDED_NS: u64 = 10_000_000;

pub(super) fn suspended(trial: &TrialRecord) -> Finding {
    match trial.summary.evidence.suspended_ns {
        _ if trial.summary.virtual_time => Finding::Good,
        None => Finding::unknown("the run is from a tacho that did not look whether the machine was suspended"),
        Some(found) if found <= MAX_SUSPENDED_NS => Finding::Good,
        Some(found) => {
            let seconds = found as f64 / 1e9;
            let sentence = format!("the machine was suspended for {seconds:.2} s in the middle of it");
            Finding::bad(sentence, &[("suspended_s", seconds), ("limit_s", MAX_SUSPENDED_NS as f64 / 1e9)])
        }
    }
}

/// Whether requests were handed over when they were due. Offline and closed loads have no times at which they are due, so
/// that nothing is to be said of them.
pub(super) fn schedule(record: &PointRecord, trials: &[&TrialRecord]) -> Vec<(Option<u32>, Finding)> {
    trials.iter().filter_map(|trial| Some((Some(trial.trial), schedule_reason(record, trial)?))).collect()
}

/// None where the load mode has no arrival times.
fn schedule_reason(record: &PointRecord, trial: &TrialRecord) -> Option<Finding> {
    match record.point.load {
        Load::Offline { .. } | Load::Closed { .. } => None,
        Load::Open { .. } => Some(match &trial.summary.schedule {
            None => Finding::unknown("the cell did not say when it released its requests"),
            Some(schedule) => match (&schedule.saturation, schedule.fidelity_ok) {
                (Some(saturation), _) => Finding::bad(
                    format!("the engine was overloaded and the trial was ended early: {}", saturation.reason),
                    &[("unfinished", f64::from(saturation.unfinished))],
                ),
                (None, false) => Finding::bad(
                    format!("requests were not released as scheduled: {}", schedule.reasons.join("; ")),
                    &[("lateness_p99_ns", schedule.lateness.p99_ns), ("drift_ns", schedule.drift_ns)],
                ),
                (None, true) => Finding::Good,
            },
        }),
    }
}

pub(super) fn min_duration(trial: &TrialRecord, limits: &Limits) -> Finding {
    let (found, limit) = (trial.summary.seconds(), limits.min_duration.as_secs_f64());
    if found >= limit {
        return Finding::Good;
    }
    let sentence = format!("it took {:.1} ms; expected at least {:.1} ms", found * 1e3, limit * 1e3);
    Finding::bad(sentence, &[("short_by_s", limit - found), ("seconds", found), ("limit_s", limit)])
}

/// Of the throughput, or in an open load of the throughput by what was offered: it is what trials go on for.
pub(super) fn interval(record: &PointRecord, target: Option<f64>) -> Finding {
    let Some(target) = target else {
        return Finding::unknown("run.json does not say how narrow the interval was to be");
    };
    if record.stopped_by == "compare" {
        return Finding::unknown(
            "its trials were run in turn with another's: the interval that counts is the comparison's",
        );
    }
    if record.stopped_by == "probe" {
        return Finding::unknown(
            "it is one trial of a search: the interval that counts is that of what was searched for",
        );
    }
    let throughputs = record.throughputs();
    let trials = throughputs.len() as f64;
    if record.throughputs_by_offer().is_some_and(|values| stopping::reached(&values, target)) {
        return Finding::Good;
    }
    let interval = match median_interval(&throughputs, CONFIDENCE) {
        Ok(interval) => interval,
        Err(why) => {
            return Finding::bad(format!("there is no interval: {why}"), &[("trials", trials), ("limit", target)]);
        }
    };
    match interval.relative_half_width() {
        Some(width) if width <= target => Finding::Good,
        Some(width) => {
            let sentence = format!(
                "the interval of the median throughput is {:.1} % either way; expected at most {:.1} %",
                width * 100.0,
                target * 100.0
            );
            Finding::bad(sentence, &[("half_width", width), ("limit", target), ("trials", trials)])
        }
        None => Finding::bad(
            "the median throughput is 0, which no interval is relative to".to_owned(),
            &[("trials", trials), ("limit", target)],
        ),
    }
}
