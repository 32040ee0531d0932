//! The rows that the terminal's table and the report share.
use super::text::{MISSING, number, number_or_missing, one_line};
use crate::{
    cell::protocol::Method,
    metrics::{
        MedianInterval,
        definitions::{STATISTICS, Value, metric},
    },
    results::{PointRecord, PointStatus, Summary},
    validity::{Certificate, Code},
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

/// A figure shown: metric, statistic (none of a rate), heading.
type Shown = (&'static str, &'static str, &'static str);

/// The latencies beside the throughput.
const LATENCIES: [Shown; 4] = [
    ("ttft", "p50", "TTFT p50 ms"),
    ("ttft", "p99", "TTFT p99 ms"),
    ("tpot", "p50", "TPOT p50 ms"),
    ("e2e", "p50", "E2E p50 ms"),
];

/// What a page has room for and a terminal has not.
const MORE: [Shown; 7] = [
    ("request_throughput", "", "requests/s"),
    ("input_token_throughput", "", "input tok/s"),
    ("total_token_throughput", "", "total tok/s"),
    ("itl", "p50", "ITL p50 ms"),
    ("itl", "p99", "ITL p99 ms"),
    ("tpot", "p99", "TPOT p99 ms"),
    ("e2e", "p99", "E2E p99 ms"),
];

/// An interval whose farther end is more than this fraction of the median away is as wide as the figure itself.
const UNUSABLE: f64 = 0.5;

/// Whether the interval is so wide that the median says nothing.
pub(super) fn unusable(interval: &MedianInterval) -> bool {
    interval.relative_half_width().is_none_or(|width| width > UNUSABLE)
}

/// A row a point, with further figures.
pub(super) fn more_rows(records: &[PointRecord]) -> Rows {
    let axes = axis_names(records);
    let mut headings = place_headings(&axes);
    headings.extend(MORE.iter().map(|(_, _, heading)| numeric(heading)));
    let row = |record: &PointRecord| {
        let summary = Summary::of(record);
        let mut cells = place(record, &axes);
        cells.extend(MORE.iter().map(|shown| number_or_missing(figure(&summary, shown))));
        cells
    };
    Rows { headings, rows: records.iter().map(row).collect() }
}

pub(super) fn numeric(text: &str) -> Heading {
    Heading { text: text.to_owned(), numeric: true }
}

pub(super) fn words(text: &str) -> Heading {
    Heading { text: text.to_owned(), numeric: false }
}

pub(super) fn place_headings(axes: &[String]) -> Vec<Heading> {
    [numeric("#"), words("engine")].into_iter().chain(axes.iter().map(|name| numeric(name))).collect()
}

/// The cells that say which point it is.
pub(super) fn place(record: &PointRecord, axes: &[String]) -> Vec<String> {
    let value_of = |name: &String| record.point.axes.iter().find(|(axis, _)| axis == name);
    let mut cells = vec![record.point.number.to_string(), engine_name(record)];
    cells.extend(axes.iter().map(|name| value_of(name).map_or(MISSING.to_owned(), |(_, value)| one_line(value))));
    cells
}

/// A row a point; `certificates` are the points', in their order, or none at all.
pub(super) fn rows(records: &[PointRecord], certificates: &[Certificate]) -> Rows {
    let axes = axis_names(records);
    let mut headings = place_headings(&axes);
    headings.extend([numeric("output tok/s"), numeric("95 % interval")]);
    headings.extend(LATENCIES.iter().map(|(_, _, heading)| numeric(heading)));
    headings.extend([numeric("trials"), words("status")]);
    let rows = (0..).zip(records).map(|(place, record)| row(record, &axes, certificates.get(place)));
    Rows { headings, rows: rows.collect() }
}

fn row(record: &PointRecord, axes: &[String], certificate: Option<&Certificate>) -> Vec<String> {
    let summary = Summary::of(record);
    let mut cells = place(record, axes);
    cells.push(number_or_missing(summary.throughput.as_ref().map(|throughput| throughput.median)));
    cells.push(summary.interval().map_or(MISSING.to_owned(), |i| format!("{} … {}", number(i.low), number(i.high))));
    cells.extend(LATENCIES.iter().map(|shown| number_or_missing(figure(&summary, shown))));
    let throughput_trials = summary.throughput.as_ref().map_or(0, |throughput| throughput.trials);
    cells.push(match record.point.load.method() {
        Method::Generate => format!("{throughput_trials} + {}", summary.latency_trials),
        // One door: its trials give throughput and latencies.
        Method::Steps => throughput_trials.to_string(),
    });
    cells.push(status(&summary, certificate));
    cells
}

fn figure(summary: &Summary, (name, suffix, _): &Shown) -> Option<f64> {
    match metric(name)?.value {
        Value::Latency(get) => {
            let (_, _, statistic) = STATISTICS.iter().find(|(known, _, _)| known == suffix)?;
            summary.latency(|trial| get(&trial.figures), *statistic)
        }
        Value::Rate(get) => summary.rate(|trial| get(&trial.figures)),
        Value::MaybeRate(get) => summary.hardware(|trial| get(&trial.figures)),
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

fn status(summary: &Summary, certificate: Option<&Certificate>) -> String {
    match &summary.record.outcome {
        PointStatus::Failed(failure) => format!("FAILED: {}", one_line(&failure.reason)),
        PointStatus::Ok => {
            let mut notes = Vec::new();
            let mut verdict = "ok";
            if !summary.record.warmup_steady {
                notes.push("warm-up not steady".to_owned());
            }
            // A run that compares stops by its design, and its intervals are of ratios.
            if !summary.reached_target() && summary.record.stopped_by != "compare" {
                notes.push(
                    match summary.interval().map(|interval| (unusable(interval), interval.relative_half_width())) {
                        Some((false, Some(width))) => format!("interval ±{:.1} %", width * 100.0),
                        Some(_) => {
                            verdict = "NOT USABLE";
                            "interval as wide as the figure".to_owned()
                        }
                        None => "no interval".to_owned(),
                    },
                );
            }
            let invalid = certificate.and_then(|certificate| Code::list(&certificate.codes()));
            let verdict =
                invalid.map_or_else(|| verdict.to_owned(), |codes| format!("INVALID ({})", codes.replace(',', ", ")));
            if notes.is_empty() { verdict } else { format!("{verdict}; {}", notes.join(", ")) }
        }
    }
}
