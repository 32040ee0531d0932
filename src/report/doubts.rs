//! What to doubt of a run, in plain words, for every kind of report.
use super::{
    hardware,
    rows::{engine_name, unusable},
    text::{MISSING, number},
};
use crate::{
    measure::MAX_DISAGREEMENT,
    results::{PointRecord, PointStatus, RunInfo, Summary},
};

/// Fewer trials than this say nothing of how latencies vary between trials.
const FEW_LATENCY_TRIALS: u64 = 3;

/// What stands where there is nothing to doubt.
pub(super) const NONE: &str =
    "Nothing that tacho checks: every interval reached its target, every warm-up was steady, nothing failed.";

/// A doubt. Its texts are plain: whoever shows them escapes them.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Doubt {
    /// What is wrong, where figures are wrong or missing; empty for what merely deserves a word.
    pub(super) lead: String,
    pub(super) text: String,
    /// What a cell that failed wrote last.
    pub(super) lines: Vec<String>,
}

impl Doubt {
    pub(super) fn mild(text: impl Into<String>) -> Self {
        Self { text: text.into(), ..Self::default() }
    }

    pub(super) fn grave(lead: impl Into<String>, text: impl Into<String>) -> Self {
        Self { lead: lead.into(), text: text.into(), lines: Vec::new() }
    }
}

/// All doubts of a run: point by point, then of the whole.
pub(super) fn of(info: &RunInfo, records: &[PointRecord]) -> Vec<Doubt> {
    let mut doubts: Vec<Doubt> = records.iter().flat_map(of_point).collect();
    doubts.extend(few_latency_trials(records));
    if info.tacho.git_commit.ends_with("-dirty") {
        doubts.push(Doubt::mild("This tacho was built from a tree with uncommitted changes."));
    }
    if let (Some([one, ..]), Some(cores)) = (info.host.load_average, info.host.cores)
        && one > 0.25 * f64::from(cores)
    {
        let text = format!("The machine was not idle: its load average at the start was {one} on {cores} cores.");
        doubts.push(Doubt::mild(text));
    }
    if !info.resumed_at.is_empty() {
        doubts.push(Doubt::mild(format!("The run was resumed at {}.", info.resumed_at.join(", "))));
    }
    for note in &info.resume_notes {
        doubts.push(Doubt::mild(format!("Not as at the start when the run was resumed: {note}.")));
    }
    let planned = info.plan.get("points").and_then(|points| points.as_array()).map_or(0, Vec::len);
    if planned > records.len() {
        let text = format!("The run is not complete: {} of {planned} points are here.", records.len());
        doubts.push(Doubt::mild(text));
    }
    doubts
}

/// One line for all points whose latencies have no spread to speak of.
fn few_latency_trials(records: &[PointRecord]) -> Option<Doubt> {
    let few: Vec<String> = records
        .iter()
        .filter(|record| (1..FEW_LATENCY_TRIALS).contains(&Summary::of(record).latency_trials))
        .map(|record| record.point.number.to_string())
        .collect();
    let points = if few.len() == 1 { "point" } else { "points" };
    (!few.is_empty()).then(|| {
        Doubt::mild(format!(
            "Latencies of {points} {} come from fewer than {FEW_LATENCY_TRIALS} trials: how much they vary from trial to trial \
             is not known.",
            few.join(", ")
        ))
    })
}

fn of_point(record: &PointRecord) -> Vec<Doubt> {
    let summary = Summary::of(record);
    let place = format!("Point {}, {}", record.point.number, engine_name(record));
    if let PointStatus::Failed(failure) = &record.outcome {
        let mut doubt = Doubt::grave(format!("{place} failed:"), failure.reason.clone());
        doubt.lines = failure.last_lines.clone();
        if !failure.stacks.is_empty() {
            let more = format!(" The stacks that it wrote ({} lines) are in journal.jsonl.", failure.stacks.len());
            doubt.text.push_str(&more);
        }
        return std::iter::once(doubt).chain(notes(&place, record)).collect();
    }
    let mut doubts = hardware::doubts(&place, record);
    doubts.extend(notes(&place, record));
    doubts.extend(lost_launches(&place, record));
    doubts.extend(super::open::doubts(&place, record));
    if !record.warmup_steady {
        let trials = record.warmup_seconds.len();
        let text = format!("{place}: {trials} warm-up trials showed no steady state; its figures may still drift.");
        doubts.push(Doubt::mild(text));
    }
    if !summary.reached_target() && record.stopped_by != "compare" {
        doubts.push(wide(&place, record, &summary));
    }
    if let Some(reason) = summary.latency_null_reason() {
        doubts.push(Doubt::mild(format!("{place}: latencies are missing: {reason}.")));
    }
    doubts.extend(clock(&place, record));
    let flushed = record.trials.iter().filter(|trial| trial.summary.flushes_in_trial > 0).count();
    if flushed > 0 {
        let text = format!("{place}: {flushed} trials were so large that records were sent while they ran.");
        doubts.push(Doubt::mild(text));
    }
    let worst = record
        .trials
        .iter()
        .flat_map(|trial| [&trial.figures.ttft, &trial.figures.itl, &trial.figures.tpot, &trial.figures.e2e])
        .flatten()
        .fold(0.0_f64, |worst, quantiles| worst.max(quantiles.error));
    if worst > 0.0 {
        let text = format!("{place}: percentiles are from a histogram, within {:.2} % of exact.", worst * 100.0);
        doubts.push(Doubt::mild(text));
    }
    doubts
}

/// What was noted when its cell was started.
fn notes(place: &str, record: &PointRecord) -> impl Iterator<Item = Doubt> {
    record.notes.iter().map(move |note| Doubt::mild(format!("{place}: {note}.")))
}

/// Launches of a run that compared side by side in which a cell died.
fn lost_launches(place: &str, record: &PointRecord) -> Option<Doubt> {
    let first = record.lost_launches.first()?;
    let lost = match record.lost_launches.len() {
        1 => "1 launch was lost and is in no figure".to_owned(),
        n => format!("{n} launches were lost and are in no figure, the first of them"),
    };
    Some(Doubt::mild(format!(
        "{place}: {lost}: launch {}, by point {}: {}.",
        first.launch + 1,
        first.point,
        first.reason
    )))
}

/// A point whose interval did not reach the plan's target.
fn wide(place: &str, record: &PointRecord, summary: &Summary) -> Doubt {
    let stopped = match record.stopped_by.as_str() {
        "max_trials" => "the most trials allowed",
        "max_time" => "the time allowed",
        other => other,
    };
    match summary.throughput.as_ref().map(|throughput| &throughput.interval) {
        Some(Ok(interval)) if unusable(interval) => Doubt::grave(
            format!("{place}: its throughput is not usable."),
            format!(
                "Stopped by {stopped} with an interval from {} to {} tokens/s, as wide as the figure. Measure it again on a \
                 quieter machine or with more or longer trials.",
                number(interval.low),
                number(interval.high)
            ),
        ),
        Some(Ok(interval)) => {
            let width = interval.relative_half_width().map_or(MISSING.to_owned(), |w| format!("{:.1} %", w * 100.0));
            Doubt::mild(format!(
                "{place}: stopped by {stopped} with an interval of {width} either way, wider than the target."
            ))
        }
        Some(Err(reason)) => Doubt::mild(format!("{place}: stopped by {stopped}; no interval: {reason}.")),
        None => Doubt::mild(format!("{place}: no timed trial.")),
    }
}

/// Trials whose duration the device's clock does not confirm.
fn clock(place: &str, record: &PointRecord) -> Option<Doubt> {
    let all = record.trials.iter().filter_map(|trial| trial.summary.clock_disagreement()).map(f64::abs);
    let beyond: Vec<f64> = all.filter(|disagreement| *disagreement > MAX_DISAGREEMENT).collect();
    let worst = beyond.iter().copied().reduce(f64::max)?;
    Some(Doubt::mild(format!(
        "{place}: in {} of {} trials the GPU's clock and the host's differ by more than {} % (by up to {:.2} %): the trial is \
         too short, or work went on after the engine said that it was done.",
        beyond.len(),
        record.trials.len(),
        MAX_DISAGREEMENT * 100.0,
        worst * 100.0
    )))
}
