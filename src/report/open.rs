//! What the report says of open loads and service levels: how schedules were kept, who met the limits, what to doubt.
use super::{
    doubts::Doubt,
    rows::{Rows, axis_names, numeric, place, place_headings, words},
    text::number_or_missing,
};
use crate::{
    cell::{open::ScheduleFidelity, protocol::Load},
    results::{PointRecord, Summary, TrialRecord},
};

fn schedule(trial: &TrialRecord) -> Option<&ScheduleFidelity> {
    trial.summary.schedule.as_ref()
}

fn is_open(record: &PointRecord) -> bool {
    matches!(record.point.load, Load::Open { .. })
}

fn is_judged(record: &PointRecord) -> bool {
    record.trials.iter().any(|trial| trial.figures.service.is_some())
}

/// Whether there is anything to say.
pub(super) fn known(records: &[PointRecord]) -> bool {
    records.iter().any(|record| is_open(record) || is_judged(record))
}

/// A row a point that has an open load or a service level: medians over its throughput trials.
pub(super) fn load_rows(records: &[PointRecord]) -> Rows {
    let shown: Vec<&PointRecord> = records.iter().filter(|record| is_open(record) || is_judged(record)).collect();
    let axes = axis_names(records);
    let mut headings = place_headings(&axes);
    headings.extend([words("arrivals"), words("schedule kept")]);
    headings.extend(
        ["offered req/s", "late p99 ms", "admitted after p99 ms", "goodput req/s", "within limits %", "window req/s"]
            .map(numeric),
    );
    let row = |record: &&PointRecord| {
        let summary = Summary::of(record);
        let median = |of: &dyn Fn(&TrialRecord) -> Option<f64>| number_or_missing(summary.hardware(of));
        let mut cells = place(record, &axes);
        let open = record.trials.iter().filter_map(schedule);
        let kept = if open.clone().next().is_none() {
            "–"
        } else if open.clone().any(|schedule| schedule.saturation.is_some()) {
            "queue grew without end"
        } else if open.clone().all(|schedule| schedule.fidelity_ok) {
            "yes"
        } else {
            "NO"
        };
        cells.push(match &record.point.load {
            Load::Open { arrivals, .. } => arrivals.process.to_string(),
            _ => "–".to_owned(),
        });
        cells.push(kept.to_owned());
        cells.extend([
            median(&|t| schedule(t)?.offered_rate),
            median(&|t| Some(schedule(t)?.lateness.p99_ns / 1e6)),
            median(&|t| Some(schedule(t)?.admission.p99_ns / 1e6)),
            median(&|t| Some(t.figures.service.as_ref()?.goodput)),
            median(&|t| Some(t.figures.service.as_ref()?.attained * 100.0)),
            median(&|t| Some(t.figures.steady.window.as_ref()?.request_throughput)),
        ]);
        cells
    };
    Rows { headings, rows: shown.iter().map(row).collect() }
}

/// What to doubt of a point's schedules.
pub(super) fn doubts(place: &str, record: &PointRecord) -> Vec<Doubt> {
    let mut doubts = Vec::new();
    for trial in &record.trials {
        let Some(schedule) = schedule(trial) else { continue };
        if let Some(saturation) = &schedule.saturation {
            let text = format!(
                "it was ended after {:.1} s: {}. {} requests were cut off and are in no latency; its throughput is what the engine \
                 could do, not what was offered.",
                saturation.stopped_ns as f64 / 1e9,
                saturation.reason,
                saturation.unfinished,
            );
            doubts.push(Doubt::grave(format!("{place}, trial {}: overloaded:", trial.trial), text));
        }
        if !schedule.fidelity_ok {
            let text = format!("its requests were not released as scheduled: {}.", schedule.reasons.join("; "));
            doubts.push(Doubt::grave(format!("{place}, trial {}: invalid:", trial.trial), text));
        }
    }
    doubts
}
