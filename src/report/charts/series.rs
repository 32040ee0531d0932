//! Throughput: over each numeric axis, as scaling, and as differences between engines.
use std::collections::HashMap;

use super::{
    invalid::Invalid,
    model::{AxisSpec, Chart, Dot, Mark, Series},
};
use crate::{
    cell::protocol::Load,
    report::{
        place::{Level, configuration, distinct, grouped, is_comparable, work},
        rows::{axis_names, engine_name, unusable},
        text::{number, one_line, shorten},
    },
    results::{PointRecord, PointStatus, Summary},
};

/// Below every chart with whiskers.
pub(super) const WHISKERS: &str =
    "Whiskers: 95 % interval of the median over trials; none where there were too few trials.";
const UNUSABLE: &str = "White centre: too wide to be of use, not joined.";

/// A measured point with its throughput.
struct Measured<'a> {
    record: &'a PointRecord,
    dot: Dot,
}

/// What a point gave before it failed is not what it was asked for: failed points are in no chart.
pub(super) fn finished(records: &[PointRecord]) -> impl Iterator<Item = &PointRecord> {
    records.iter().filter(|record| matches!(record.outcome, PointStatus::Ok))
}

fn measured(records: &[PointRecord]) -> Vec<Measured<'_>> {
    finished(records)
        .filter_map(|record| {
            let summary = Summary::of(record);
            let y = summary.throughput.as_ref()?.median;
            let dot = Dot {
                interval: summary.interval().map(|interval| (interval.low, interval.high)),
                unusable: summary.interval().is_some_and(unusable),
                ..Dot::of(record, 0.0, y)
            };
            y.is_finite().then_some(Measured { record, dot })
        })
        .collect()
}

fn by_number<'m, 'a>(measured: &'m [Measured<'a>]) -> HashMap<u32, &'m Measured<'a>> {
    measured.iter().map(|m| (m.record.point.number, m)).collect()
}

/// Throughput over each numeric axis, the first first; over the points' numbers where there is none.
pub(super) fn throughput(records: &[PointRecord]) -> Vec<Chart> {
    let measured = measured(records);
    if measured.is_empty() {
        return Vec::new();
    }
    let axes = numeric_axes(records);
    if axes.is_empty() {
        return vec![over(&measured, None, "throughput")];
    }
    let name = |index: usize, axis: &str| match index {
        0 => "throughput".to_owned(),
        _ => format!("throughput-{}", file_name(axis)),
    };
    axes.iter().enumerate().map(|(index, axis)| over(&measured, Some(axis), &name(index, axis))).collect()
}

fn over(measured: &[Measured<'_>], axis: Option<&str>, id: &str) -> Chart {
    let mut series: Vec<Series> = Vec::new();
    for Measured { record, dot } in measured {
        let x = match axis {
            Some(axis) => value(record, axis).unwrap_or(f64::NAN),
            None => f64::from(record.point.number),
        };
        push(&mut series, label(record, axis), Mark::Joined, Dot { x, ..dot.clone() });
    }
    sort(&mut series);
    let label = axis.map_or("point of the plan".to_owned(), axis_title);
    Chart {
        id: id.to_owned(),
        title: match axis {
            Some(axis) => format!("Output token throughput over {}", short_title(axis)),
            None => "Output token throughput".to_owned(),
        },
        subtitle: subtitle(&measured.iter().map(|m| m.record).collect::<Vec<_>>()),
        reading: "Higher is faster. Where whiskers of two engines overlap, this run does not tell which is faster."
            .to_owned(),
        x: if spans(&series) { AxisSpec::log(label) } else { AxisSpec::linear(label) },
        y: AxisSpec::linear("output tokens/s (median of trials)"),
        notes: whisker_notes(&series),
        series,
        ..Chart::default()
    }
}

/// Throughput a unit of load, relative to that at the smallest load whose point may be believed.
pub(super) fn scaling(records: &[PointRecord], invalid: &Invalid) -> Option<Chart> {
    let measured = measured(records);
    let refs: Vec<&PointRecord> = measured.iter().map(|m| m.record).collect();
    let dots = by_number(&measured);
    let several = distinct(&refs, work).len() > 1;
    let mut series: Vec<Series> = Vec::new();
    for (line, records) in grouped(&refs, |record| (configuration(record), work(record), Level::of(record).name)) {
        let mut points: Vec<(f64, &Dot, bool)> = records
            .into_iter()
            .filter_map(|r| Some((Level::of(r).value, &dots.get(&r.point.number)?.dot, invalid.has(r))))
            .collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        let first = points.iter().find(|(level, dot, invalid)| *level > 0.0 && dot.y > 0.0 && !invalid).copied();
        let Some((smallest, base, _)) = first else { continue };
        if points.iter().all(|(level, ..)| *level == smallest) {
            continue;
        }
        let ideal = |level: f64, rate: f64| rate * level / smallest * 0.01;
        let dots = points.iter().map(|(level, dot, _)| Dot {
            x: *level,
            y: dot.y / ideal(*level, base.y),
            interval: None,
            ..(*dot).clone()
        });
        let name = if several { format!("{} · {}", line.0, line.1) } else { line.0.clone() };
        series.push(Series { label: shorten(&name, 90), mark: Mark::Joined, dots: dots.collect() });
    }
    let level = refs.first().map(|record| Level::of(record).name)?;
    Some(Chart {
        id: "scaling".to_owned(),
        title: "Scaling efficiency".to_owned(),
        subtitle: subtitle(&refs),
        reading:
            "100 % would be as many tokens a second for each request as at the smallest load. Where a line falls, \
                  requests wait for each other."
                .to_owned(),
        x: if spans(&series) { AxisSpec::log(level) } else { AxisSpec::linear(level) },
        y: AxisSpec::linear("% of throughput per request at the smallest load"),
        notes: vec!["Ratios of medians, to the smallest load whose point is valid; their intervals are those of the throughput chart.".to_owned()],
        series,
        ..Chart::default()
    })
}

/// Each engine's throughput over the first one's, where both ran the same work under the same load.
pub(super) fn differences(records: &[PointRecord]) -> Option<Chart> {
    let measured: Vec<Measured<'_>> = measured(records).into_iter().filter(|m| is_comparable(m.record)).collect();
    let refs: Vec<&PointRecord> = measured.iter().map(|m| m.record).collect();
    let engines = grouped(&refs, configuration);
    let ((reference, of_reference), others) = engines.split_first()?;
    let works = distinct(&refs, work).len();
    let dots = by_number(&measured);
    let mut bases: HashMap<(Level, String), &PointRecord> = HashMap::new();
    for record in of_reference {
        bases.entry((Level::of(record), work(record))).or_insert(record);
    }
    let mut series: Vec<Series> = Vec::new();
    let mut coverage: Option<f64> = None;
    for (other, records) in others {
        for record in records {
            let place = (Level::of(record), work(record));
            let base = bases.get(&place).and_then(|base| dots.get(&base.point.number)).filter(|base| base.dot.y > 0.0);
            let Some((m, base)) = dots.get(&record.point.number).zip(base) else { continue };
            let (level, work_of) = place;
            let interval = m.dot.interval.zip(base.dot.interval).filter(|(_, (low, _))| *low > 0.0);
            let pair = [m.record, base.record].map(|r| Summary::of(r).interval().map_or(0.0, |i| i.coverage));
            if interval.is_some() {
                // Bonferroni: both intervals hold together at least so often, however the trials depend.
                let both = pair[0] + pair[1] - 1.0;
                coverage = Some(coverage.map_or(both, |least: f64| least.min(both)));
            }
            let dot = Dot {
                x: level.value,
                y: m.dot.y / base.dot.y,
                interval: interval.map(|((low, high), (base_low, base_high))| (low / base_high, high / base_low)),
                label: format!("{} · {}", level.text(), work_of),
                unusable: m.dot.unusable || base.dot.unusable,
                ..Dot::default()
            };
            let name = if works > 1 { format!("{other} · {work_of}") } else { other.clone() };
            push(&mut series, name, Mark::Joined, dot);
        }
    }
    sort(&mut series);
    let xs = series.iter().flat_map(|series| &series.dots).map(|dot| dot.x);
    let (low, high) = xs.fold((f64::MAX, f64::MIN), |(low, high), x| (low.min(x), high.max(x)));
    if series.is_empty() {
        return None;
    }
    let log = spans(&series);
    let line = Series {
        label: format!("{reference} (the reference)"),
        mark: Mark::Limit,
        dots: vec![Dot::at(low, 1.0), Dot::at(if low == high { high + 1.0 } else { high }, 1.0)],
    };
    // First, so that every engine has the colour that it has in the other charts.
    series.insert(0, line);
    let label = refs.first().map(|record| Level::of(record).name).unwrap_or_default();
    let notes = match coverage {
        Some(coverage) => vec![format!(
            "Whiskers: from the lowest to the highest ratio that both 95 % intervals allow; they hold the true ratio at \
             least {} % of the time.",
            number(coverage * 100.0)
        )],
        None => vec!["No interval: too few trials.".to_owned()],
    };
    Some(Chart {
        id: "differences".to_owned(),
        title: format!("Throughput relative to {reference}"),
        subtitle: subtitle(&refs),
        reading:
            "Above 1 is faster than the reference. A whisker that crosses 1 means that this run does not tell which \
                  is faster."
                .to_owned(),
        x: if log { AxisSpec::log(label) } else { AxisSpec::linear(label) },
        y: AxisSpec::linear(format!("throughput / that of {reference}")),
        notes,
        series,
        ..Chart::default()
    })
}

/// Adds a dot to the series of that name.
pub(super) fn push(series: &mut Vec<Series>, label: String, mark: Mark, dot: Dot) {
    match series.iter_mut().find(|series| series.label == label) {
        Some(found) => found.dots.push(dot),
        None => series.push(Series { label, mark, dots: vec![dot] }),
    }
}

pub(super) fn sort(series: &mut [Series]) {
    for series in series {
        series.dots.sort_by(|a, b| a.x.total_cmp(&b.x));
    }
}

/// Whether the values span so much that equal factors shall be equally far apart.
pub(super) fn spans(series: &[Series]) -> bool {
    let xs = series.iter().flat_map(|series| &series.dots).map(|dot| dot.x);
    let (low, high) = xs.fold((f64::MAX, f64::MIN), |(low, high), x| (low.min(x), high.max(x)));
    low > 0.0 && high / low >= 8.0
}

fn whisker_notes(series: &[Series]) -> Vec<String> {
    let mut notes = vec![WHISKERS.to_owned()];
    if series.iter().flat_map(|series| &series.dots).any(|dot| dot.unusable) {
        notes.push(UNUSABLE.to_owned());
    }
    notes
}

/// The axes with at least two values, all of them numbers. A model's name is a name, digits or not.
fn numeric_axes(records: &[PointRecord]) -> Vec<String> {
    let numeric = |axis: &String| {
        let values: Option<Vec<f64>> = finished(records).map(|record| value(record, axis)).collect();
        values.is_some_and(|values| values.iter().any(|value| *value != values[0]))
    };
    axis_names(records).into_iter().filter(|axis| axis != "model" && axis != "engine").filter(numeric).collect()
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

/// A point's number, engine and axes, on one line.
pub(super) fn point_name(record: &PointRecord) -> String {
    let axes = record.point.axes.iter().filter(|(name, _)| name != "engine");
    let parts: Vec<String> = axes.map(|(name, value)| format!("{} {}", one_line(name), one_line(value))).collect();
    let all = [format!("#{} {}", record.point.number, engine_name(record))].into_iter().chain(parts);
    shorten(&all.collect::<Vec<_>>().join(" · "), 90)
}

fn file_name(axis: &str) -> String {
    let safe = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    shorten(axis, 40).chars().map(safe).collect()
}

fn short_title(axis: &str) -> String {
    match axis {
        "batch" => "batch size".to_owned(),
        "rate" => "request rate".to_owned(),
        "requests" => "request count".to_owned(),
        "input" => "prompt length".to_owned(),
        "output" => "output length".to_owned(),
        "length" => "sequence length".to_owned(),
        other => shorten(&one_line(other), 40),
    }
}

/// The name with what is counted, for the axes that every plan may have.
fn axis_title(axis: &str) -> String {
    match axis {
        "batch" => "batch size (requests a call)".to_owned(),
        "concurrency" => "concurrency (requests in flight)".to_owned(),
        "rate" => "request rate (requests/s)".to_owned(),
        "requests" => "number of requests".to_owned(),
        "input" => "input length (tokens)".to_owned(),
        "output" => "output length (tokens)".to_owned(),
        "length" => "prompt and output length (tokens each)".to_owned(),
        other => shorten(&one_line(other), 60),
    }
}

/// What all points share of model, load, lengths and device: the longest last, where it may be cut off.
pub(super) fn subtitle(records: &[&PointRecord]) -> String {
    let shared = |of: &dyn Fn(&PointRecord) -> Option<String>| {
        let first = of(records.first()?)?;
        records.iter().all(|record| of(record).as_ref() == Some(&first)).then_some(first)
    };
    let parts = [
        shared(&|r| r.engine.as_ref().map(|e| e.model.name.clone()).filter(|name| !name.is_empty())),
        shared(&|r| r.engine.as_ref().and_then(|e| e.model.weights_dtype.clone())),
        shared(&|r| {
            Some(match &r.point.load {
                Load::Offline { .. } => "offline".to_owned(),
                Load::Closed { .. } => "closed load".to_owned(),
                Load::Open { arrivals, .. } => format!("open, {}", arrivals.process),
            })
        }),
        shared(&|r| Some(format!("{} requests", r.point.workload.requests))),
        shared(&|r| Some(format!("{} tokens in", r.point.workload.input_text()))),
        shared(&|r| Some(format!("{} out", r.point.workload.output_text()))),
        shared(&|r| r.engine.as_ref().map(|e| e.device.clone())),
    ];
    shorten(&parts.into_iter().flatten().map(|part| one_line(&part)).collect::<Vec<_>>().join(" · "), 130)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::testing;

    #[test]
    fn lines_run_over_each_numeric_axis() {
        let charts = throughput(&testing::sweep());
        let ids: Vec<&str> = charts.iter().map(|chart| chart.id.as_str()).collect();
        assert_eq!(ids, ["throughput", "throughput-input"]);
        let chart = &charts[0];
        assert_eq!(chart.x.label, "batch size (requests a call)");
        assert!(chart.x.log);
        let labels: Vec<_> = chart.series.iter().map(|line| line.label.as_str()).collect();
        assert_eq!(labels, ["sim (SIMULATED) · input 128", "sim (SIMULATED) · input 512", "llama.cpp · input 128"]);
        assert!(chart.series[0].dots.windows(2).all(|pair| pair[0].x < pair[1].x));
        assert!(chart.series[0].dots.iter().all(|dot| dot.interval.is_some()));
    }

    #[test]
    fn models_have_lines_of_their_own_and_failed_points_none() {
        let mut records = testing::sweep();
        for record in &mut records {
            let model = if record.point.axes[1].1 == "512" { "7" } else { "8" };
            record.point.axes.insert(0, ("model".to_owned(), model.to_owned()));
        }
        let chart = throughput(&records).remove(0);
        assert_eq!(chart.x.label, "batch size (requests a call)");
        assert!(chart.series.iter().all(|line| line.label.contains("model ")), "{:?}", chart.series);
        let dots = chart.dots().count();
        let failed = testing::records().remove(2).outcome;
        assert!(matches!(failed, PointStatus::Failed(_)) && !records[0].trials.is_empty());
        records[0].outcome = failed;
        assert_eq!(throughput(&records)[0].dots().count(), dots - 1);
    }

    #[test]
    fn a_figure_with_an_interval_as_wide_as_itself_is_marked() {
        let mut records = testing::sweep();
        records[0].trials[0].figures.output_token_throughput *= 6.0;
        let chart = throughput(&records).remove(0);
        let marked: Vec<f64> = chart.series[0].dots.iter().filter(|dot| dot.unusable).map(|dot| dot.x).collect();
        assert_eq!(marked, [32.0]);
        assert!(chart.notes.iter().any(|note| note == UNUSABLE));
    }

    #[test]
    fn without_a_numeric_axis_points_stand_by_their_number() {
        let mut records = testing::sweep();
        records.iter_mut().for_each(|record| record.point.axes.clear());
        assert_eq!(throughput(&records)[0].x.label, "point of the plan");
    }

    #[test]
    fn scaling_is_relative_to_the_smallest_load() {
        let chart = scaling(&testing::sweep(), &Invalid::default()).unwrap();
        let dots = &chart.series[1].dots;
        assert!((dots[0].y - 100.0).abs() < 1e-9, "{dots:?}");
        // Of a · b / (1 + 0.08 b): relative to b = 1, 1.08 / (1 + 0.08 b); the noise is the same at every batch.
        assert!((dots[5].y - 100.0 * 1.08 / 3.56).abs() < 1e-6, "{dots:?}");
    }

    #[test]
    fn differences_are_between_real_engines_at_the_same_load_and_work() {
        assert_eq!(differences(&testing::sweep()), None);
        let mut records = testing::sweep();
        for record in records.iter_mut().filter(|record| record.point.engine.id == "sim") {
            record.engine.as_mut().unwrap().double = None;
            record.point.engine.id = "vllm".to_owned();
        }
        for record in &mut records {
            let input = if record.point.axes[1].1 == "512" { 512 } else { 128 };
            record.point.workload.input = crate::workload::LengthDist::Fixed(input);
        }
        let chart = differences(&records).unwrap();
        assert_eq!(chart.title, "Throughput relative to vllm");
        let line = &chart.series[1];
        assert!(line.label.starts_with("llama.cpp") && line.dots.len() == 6, "{:?}", chart.series);
        for dot in &line.dots {
            let (low, high) = dot.interval.unwrap();
            assert!((dot.y - 0.43).abs() < 1e-9 && low < 0.43 && high > 0.43, "{dot:?}");
        }
        // Six trials: 2 · 0.96875 − 1.
        assert!(chart.notes[0].contains("93.75 %"), "{:?}", chart.notes);
    }
}
