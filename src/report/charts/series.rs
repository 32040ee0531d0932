//! What the throughput chart shows: lines of points over the first numeric axis.
use crate::{
    cell::protocol::Load,
    report::{
        rows::{axis_names, engine_name, unusable},
        text::{one_line, shorten},
    },
    results::{PointRecord, PointStatus, Summary},
};

/// A point of a line.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Dot {
    pub(super) x: f64,
    pub(super) median: f64,
    /// The ends of the interval, where there is one.
    pub(super) interval: Option<(f64, f64)>,
    /// Whether the interval is as wide as the figure.
    pub(super) unusable: bool,
}

/// A line: one engine and one value of every axis but the first numeric one.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Line {
    pub(super) label: String,
    pub(super) dots: Vec<Dot>,
}

/// The chart's content.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Figure {
    /// Below the title: what all points share.
    pub(super) subtitle: String,
    pub(super) x_label: String,
    /// Whether the values span so much that equal factors shall be equally far apart.
    pub(super) log_x: bool,
    pub(super) lines: Vec<Line>,
}

impl Figure {
    /// None when no point has a figure.
    pub(super) fn of(records: &[PointRecord]) -> Option<Self> {
        let measured: Vec<(&PointRecord, Dot)> = records
            .iter()
            // What a point gave before it failed is not what it was asked for.
            .filter(|record| matches!(record.outcome, PointStatus::Ok))
            .filter_map(|record| {
                let summary = Summary::of(record);
                let unusable = summary.interval().is_some_and(unusable);
                let interval = summary.interval().map(|interval| (interval.low, interval.high));
                let median = summary.throughput.as_ref()?.median;
                median.is_finite().then_some((record, Dot { x: 0.0, median, interval, unusable }))
            })
            .collect();
        if measured.is_empty() {
            return None;
        }
        let axis = numeric_axis(&measured);
        let mut lines: Vec<Line> = Vec::new();
        for (record, mut dot) in measured.iter().copied() {
            dot.x = match &axis {
                Some(axis) => value(record, axis).unwrap_or(0.0),
                None => f64::from(record.point.number),
            };
            let label = label(record, axis.as_deref());
            match lines.iter_mut().find(|line| line.label == label) {
                Some(line) => line.dots.push(dot),
                None => lines.push(Line { label, dots: vec![dot] }),
            }
        }
        for line in &mut lines {
            line.dots.sort_by(|a, b| a.x.total_cmp(&b.x));
        }
        let (low, high) = lines
            .iter()
            .flat_map(|line| &line.dots)
            .fold((f64::MAX, f64::MIN), |(low, high), dot| (low.min(dot.x), high.max(dot.x)));
        Some(Self {
            subtitle: subtitle(&measured.iter().map(|(record, _)| *record).collect::<Vec<_>>()),
            x_label: axis.as_deref().map_or("point of the plan".to_owned(), axis_title),
            log_x: low > 0.0 && high / low >= 8.0,
            lines,
        })
    }
}

/// The first axis with at least two values, all of them numbers. A model's name is a name, digits or not.
fn numeric_axis(measured: &[(&PointRecord, Dot)]) -> Option<String> {
    let records: Vec<PointRecord> = measured.iter().map(|(record, _)| (*record).clone()).collect();
    axis_names(&records).into_iter().filter(|axis| axis != "model").find(|axis| {
        let values: Option<Vec<f64>> = measured.iter().map(|(record, _)| value(record, axis)).collect();
        values.is_some_and(|values| values.iter().any(|value| *value != values[0]))
    })
}

fn value(record: &PointRecord, axis: &str) -> Option<f64> {
    let (_, text) = record.point.axes.iter().find(|(name, _)| name == axis)?;
    text.parse().ok().filter(|value: &f64| value.is_finite())
}

fn label(record: &PointRecord, but: Option<&str>) -> String {
    let others = record.point.axes.iter().filter(|(name, _)| Some(name.as_str()) != but && name != "engine");
    let parts: Vec<String> = others.map(|(name, value)| format!("{} {}", one_line(name), one_line(value))).collect();
    let label = match (but, parts.is_empty()) {
        // Without a numeric axis every point stands for itself, and one line of an engine's points would mean nothing.
        (None, _) | (_, true) => engine_name(record),
        _ => format!("{} · {}", engine_name(record), parts.join(" · ")),
    };
    shorten(&label, 90)
}

/// The name with what is counted, for the axes that every plan may have.
fn axis_title(axis: &str) -> String {
    match axis {
        "batch" => "batch size (requests a call)".to_owned(),
        "concurrency" => "concurrency (requests in flight)".to_owned(),
        "requests" => "number of requests".to_owned(),
        "input" => "input length (tokens)".to_owned(),
        "output" => "output length (tokens)".to_owned(),
        other => shorten(&one_line(other), 60),
    }
}

/// What all points share of model, load, lengths and device: the longest last, where it may be cut off.
fn subtitle(records: &[&PointRecord]) -> String {
    let shared = |of: &dyn Fn(&PointRecord) -> Option<String>| {
        let first = of(records.first()?)?;
        records.iter().all(|record| of(record).as_ref() == Some(&first)).then_some(first)
    };
    let engine = |record: &PointRecord| record.engine.clone();
    let parts = [
        shared(&|r| engine(r).map(|e| e.model.name).filter(|name| !name.is_empty())),
        shared(&|r| engine(r).and_then(|e| e.model.weights_dtype)),
        shared(&|r| {
            Some(match &r.point.load {
                Load::Offline { .. } => "offline".to_owned(),
                Load::Closed { .. } => "closed loop".to_owned(),
                Load::Open { arrivals, .. } => format!("open, {}", arrivals.process),
            })
        }),
        shared(&|r| Some(format!("{} requests", r.point.workload.requests))),
        shared(&|r| Some(format!("{} tokens in", r.point.workload.input_text()))),
        shared(&|r| Some(format!("{} out", r.point.workload.output_text()))),
        shared(&|r| engine(r).map(|e| e.device)),
    ];
    shorten(&parts.into_iter().flatten().map(|part| one_line(&part)).collect::<Vec<_>>().join(" · "), 130)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::testing;

    #[test]
    fn lines_run_over_the_first_numeric_axis() {
        let figure = Figure::of(&testing::sweep()).unwrap();
        assert_eq!(figure.x_label, "batch size (requests a call)");
        assert!(figure.log_x);
        let labels: Vec<_> = figure.lines.iter().map(|line| line.label.as_str()).collect();
        assert_eq!(labels, ["sim (SIMULATED) · input 128", "sim (SIMULATED) · input 512", "llama.cpp · input 128"]);
        assert!(figure.lines[0].dots.windows(2).all(|pair| pair[0].x < pair[1].x));
        assert!(figure.lines[0].dots.iter().all(|dot| dot.interval.is_some()));
    }

    #[test]
    fn models_have_lines_of_their_own_and_failed_points_none() {
        let mut records = testing::sweep();
        for record in &mut records {
            let model = if record.point.axes[1].1 == "512" { "7" } else { "8" };
            record.point.axes.insert(0, ("model".to_owned(), model.to_owned()));
        }
        let figure = Figure::of(&records).unwrap();
        assert_eq!(figure.x_label, "batch size (requests a call)");
        assert!(figure.lines.iter().all(|line| line.label.contains("model ")), "{:?}", figure.lines);
        let dots = |figure: &Figure| figure.lines.iter().map(|line| line.dots.len()).sum::<usize>();
        let failed = testing::records().remove(2).outcome;
        assert!(matches!(failed, PointStatus::Failed(_)) && !records[0].trials.is_empty());
        records[0].outcome = failed;
        assert_eq!(dots(&Figure::of(&records).unwrap()), dots(&figure) - 1);
    }

    #[test]
    fn a_figure_with_an_interval_as_wide_as_itself_is_marked() {
        let mut records = testing::sweep();
        records[0].trials[0].figures.output_token_throughput *= 6.0;
        let figure = Figure::of(&records).unwrap();
        let marked: Vec<f64> = figure.lines[0].dots.iter().filter(|dot| dot.unusable).map(|dot| dot.x).collect();
        assert_eq!(marked, [32.0]);
    }

    #[test]
    fn without_a_numeric_axis_points_stand_by_their_number() {
        let mut records = testing::sweep();
        records.iter_mut().for_each(|record| record.point.axes.clear());
        assert_eq!(Figure::of(&records).unwrap().x_label, "point of the plan");
    }
}
