//! The rows that the terminal's table and the report share.
use super::text::{MISSING, number, number_or_missing, one_line};
use crate::{
    cell::protocol::Method,
    metrics::definitions::{STATISTICS, Value, metric},
    results::{PointRecord, PointStatus, Summary},
};

/// A heading and whether its column holds numbers.
pub(super) struct Heading {
    pub(super) text: String,
    pub(super) numeric: bool,
}

/// A table of texts.
pub(super) struct Rows {
    pub(super) headings: Vec<Heading>,
    pub(super) rows: Vec<Vec<String>>,
}

/// The latencies shown: metric, statistic, heading.
const LATENCIES: [(&str, &str, &str); 5] = [
    ("ttft", "p50", "TTFT p50 ms"),
    ("ttft", "p99", "TTFT p99 ms"),
    ("itl", "p99", "ITL p99 ms"),
    ("tpot", "p50", "TPOT p50 ms"),
    ("e2e", "p50", "E2E p50 ms"),
];

/// A row a point.
pub(super) fn rows(records: &[PointRecord]) -> Rows {
    let axes = axis_names(records);
    let numeric = |text: &str| Heading { text: text.to_owned(), numeric: true };
    let words = |text: &str| Heading { text: text.to_owned(), numeric: false };
    let mut headings = vec![numeric("#"), words("engine")];
    headings.extend(axes.iter().map(|name| numeric(name)));
    headings.extend([numeric("output tok/s"), numeric("95 % interval")]);
    headings.extend(LATENCIES.iter().map(|(_, _, heading)| numeric(heading)));
    headings.extend([numeric("trials"), words("status")]);
    Rows { headings, rows: records.iter().map(|record| row(record, &axes)).collect() }
}

fn row(record: &PointRecord, axes: &[String]) -> Vec<String> {
    let summary = Summary::of(record);
    let value_of = |name: &String| record.point.axes.iter().find(|(axis, _)| axis == name);
    let mut cells = vec![record.point.number.to_string(), engine_name(record)];
    cells.extend(axes.iter().map(|name| value_of(name).map_or(MISSING.to_owned(), |(_, value)| one_line(value))));
    cells.push(number_or_missing(summary.throughput.as_ref().map(|throughput| throughput.median)));
    cells.push(summary.interval().map_or(MISSING.to_owned(), |i| format!("{} … {}", number(i.low), number(i.high))));
    cells.extend(LATENCIES.iter().map(|(name, suffix, _)| number_or_missing(latency(&summary, name, suffix))));
    let throughput_trials = summary.throughput.as_ref().map_or(0, |throughput| throughput.trials);
    cells.push(match record.point.load.method() {
        Method::Generate => format!("{throughput_trials} + {}", summary.latency_trials),
        // One door: its trials give throughput and latencies.
        Method::Steps => throughput_trials.to_string(),
    });
    cells.push(status(&summary));
    cells
}

fn latency(summary: &Summary, name: &str, suffix: &str) -> Option<f64> {
    let (_, _, statistic) = STATISTICS.iter().find(|(known, _, _)| *known == suffix)?;
    match metric(name)?.value {
        Value::Latency(get) => summary.latency(|trial| get(&trial.figures), *statistic),
        Value::Rate(_) => None,
    }
}

/// The axes of the records, in order of first appearance.
pub(super) fn axis_names(records: &[PointRecord]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for (name, _) in records.iter().flat_map(|record| &record.point.axes) {
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    names
}

/// The engine's id; a stand-in is named as one.
pub(super) fn engine_name(record: &PointRecord) -> String {
    let double = record.engine.as_ref().is_some_and(|engine| engine.double.is_some());
    let id = one_line(&record.point.engine.id);
    if double { format!("{id} (SIMULATED)") } else { id }
}

fn status(summary: &Summary) -> String {
    match &summary.record.outcome {
        PointStatus::Failed(failure) => format!("FAILED: {}", one_line(&failure.reason)),
        PointStatus::Ok => {
            let mut notes = Vec::new();
            if !summary.record.warmup_steady {
                notes.push("warm-up not steady".to_owned());
            }
            if !summary.reached_target() {
                notes.push(match summary.interval().and_then(|interval| interval.relative_half_width()) {
                    Some(width) if width > 0.5 => "interval as wide as the figure: not usable".to_owned(),
                    Some(width) => format!("interval ±{:.1} %", width * 100.0),
                    None => "no interval".to_owned(),
                });
            }
            if notes.is_empty() { "ok".to_owned() } else { format!("ok; {}", notes.join(", ")) }
        }
    }
}
