//! Latency: against throughput, and as distributions.
use super::{
    model::{AxisSpec, Chart, Dot, Mark, Series},
    series::{finished, point_name, push, sort, spans, subtitle},
};
use crate::{
    metrics::median,
    report::{
        place::{Level, configuration, distinct, grouped, work},
        streams::{ByPoint, Latencies},
        text::shorten,
    },
    results::{PointRecord, Summary, TrialFigures},
};

/// Curves in a chart of distributions; beyond these they cannot be told apart.
const CURVES: usize = 12;
/// Points of a curve.
const CURVE_POINTS: usize = 120;

/// Name and unit of an axis, and the median of the step-loop trials' own medians of that latency.
type Latency = (&'static str, fn(&TrialFigures) -> Option<f64>);
const TPOT: Latency = ("time per output token, p50 (ms)", |figures| Some(figures.tpot.as_ref()?.p50));
const E2E: Latency = ("end-to-end latency, p50 (ms)", |figures| Some(figures.e2e.as_ref()?.p50));
const TTFT: Latency = ("time to first token, p50 (ms)", |figures| Some(figures.ttft.as_ref()?.p50));

fn of_point(record: &PointRecord, (_, of): Latency) -> Option<f64> {
    let steps = record.counted(crate::cell::protocol::Method::Steps);
    median(&steps.filter_map(|trial| of(&trial.figures)).collect::<Vec<_>>())
}

fn line_name(record: &PointRecord, works: usize) -> String {
    let name = configuration(record);
    shorten(&if works > 1 { format!("{name} · {}", work(record)) } else { name }, 90)
}

/// Throughput over latency: one line an engine, one mark a load. Which points nobody beats in both, the line shows.
pub(super) fn pareto(records: &[PointRecord]) -> Option<Chart> {
    let all: Vec<&PointRecord> = finished(records).collect();
    let works = distinct(&all, work).len();
    let latency = if all.iter().any(|record| of_point(record, TPOT).is_some()) { TPOT } else { E2E };
    let mut series: Vec<Series> = Vec::new();
    let mut missing = 0;
    for record in &all {
        let summary = Summary::of(record);
        let rate = summary.throughput.as_ref().map(|throughput| throughput.median);
        let Some((x, y)) = of_point(record, latency).zip(rate) else {
            missing += 1;
            continue;
        };
        let interval = summary.interval().map(|interval| (interval.low, interval.high));
        let dot = Dot { interval, ..Dot::of(record, x, y) };
        push(&mut series, line_name(record, works), Mark::Joined, dot);
    }
    sort(&mut series);
    let mut notes =
        vec!["Whiskers: 95 % interval of the throughput; latencies are medians over step-loop trials.".to_owned()];
    if missing > 0 {
        notes.push(format!("{missing} points have no latency and are not here."));
    }
    Some(Chart {
        id: "pareto".to_owned(),
        title: "Throughput and latency".to_owned(),
        subtitle: subtitle(&all),
        reading:
            "Up is more tokens a second for all, left is a faster answer for each. A mark with another one above and \
                  to the left of it is beaten in both."
                .to_owned(),
        x: if spans(&series) { AxisSpec::log(latency.0) } else { AxisSpec::linear(latency.0) },
        y: AxisSpec::linear("output tokens/s"),
        series,
        notes,
        ..Chart::default()
    })
}

/// Latency over load.
pub(super) fn over_load(records: &[PointRecord]) -> Vec<Chart> {
    let all: Vec<&PointRecord> = finished(records).collect();
    let works = distinct(&all, work).len();
    let chart = |id: &str, title: &str, latency: Latency| {
        let mut series: Vec<Series> = Vec::new();
        for record in &all {
            let Some(y) = of_point(record, latency) else { continue };
            let dot = Dot::of(record, Level::of(record).value, y);
            push(&mut series, line_name(record, works), Mark::Joined, dot);
        }
        sort(&mut series);
        let level = all.first().map(|record| Level::of(record).name).unwrap_or_default();
        let several = series.iter().any(|series| series.dots.iter().any(|dot| dot.x != series.dots[0].x));
        several.then(|| Chart {
            id: id.to_owned(),
            title: title.to_owned(),
            subtitle: subtitle(&all),
            reading: "Lower is a faster answer.".to_owned(),
            x: if spans(&series) { AxisSpec::log(level) } else { AxisSpec::linear(level) },
            y: AxisSpec::linear(latency.0),
            series,
            notes: vec!["Medians over step-loop trials of each trial's own median.".to_owned()],
            ..Chart::default()
        })
    };
    let both = [
        chart("ttft-load", "Time to first token over load", TTFT),
        chart("tpot-load", "Time per output token over load", TPOT),
    ];
    both.into_iter().flatten().collect()
}

/// How latencies are distributed, from every request and token of the step-loop trials that count.
pub(super) fn distributions(records: &[PointRecord], latencies: &Latencies) -> Vec<Chart> {
    let kinds: [(&str, &str, &str, &ByPoint); 3] = [
        ("ttft", "Time to first token", "requests", &latencies.ttft),
        ("itl", "Inter-token latency", "gaps between tokens", &latencies.itl),
        ("e2e", "End-to-end latency", "requests", &latencies.e2e),
    ];
    kinds.into_iter().filter_map(|(id, title, what, found)| distribution(records, id, title, what, found)).collect()
}

fn distribution(records: &[PointRecord], id: &str, title: &str, what: &str, found: &ByPoint) -> Option<Chart> {
    let all: Vec<&PointRecord> = finished(records)
        .filter(|record| found.get(&record.point.number).is_some_and(|histogram| histogram.count() > 1))
        .collect();
    let shown = typical(&all);
    let mut zeros: f64 = 0.0;
    let mut total = 0;
    let mut series = Vec::new();
    for record in &shown {
        let histogram = found.get(&record.point.number)?;
        total += histogram.count();
        let curve = histogram.cumulative(CURVE_POINTS);
        zeros = curve.iter().filter(|(ms, _)| *ms <= 0.0).map(|(_, share)| *share).fold(zeros, f64::max);
        // Logarithmic axes have no 0: where it matters, the curve begins above the floor and a note says so.
        let mut below = 0.0;
        let mut dots = Vec::new();
        for (ms, share) in curve {
            if ms > 0.0 {
                let point = Some(record.point.number);
                dots.extend([below, share * 100.0].map(|y| Dot { point, ..Dot::at(ms, y) }));
            }
            below = share * 100.0;
        }
        series.push(Series { label: point_name(record), mark: Mark::Line, dots });
    }
    let mut notes = vec![format!(
        "From {total} {what}, counted in bins within 0.8 % of each value; a curve has at most about {CURVE_POINTS} steps."
    )];
    if zeros > 0.0 {
        notes.push(format!(
            "Gaps of 0 ms (tokens that became visible together) are counted and not drawn: up to {:.1} %.",
            zeros * 100.0
        ));
    }
    if shown.len() < all.len() {
        notes.push(format!(
            "{} of {} points: of each engine the smallest, the middle and the largest load.",
            shown.len(),
            all.len()
        ));
    }
    Some(Chart {
        id: format!("{id}-distribution"),
        title: format!("{title}: distribution"),
        subtitle: subtitle(&all),
        reading:
            "How many of all were at most so long. A steep curve is steady; where it crosses 50 % is the median, at \
                  99 % the p99."
                .to_owned(),
        x: AxisSpec::log("ms"),
        y: AxisSpec::linear("% at most so long"),
        series,
        notes,
        ..Chart::default()
    })
}

/// All points where they are few, else of each engine and work those of the smallest, the middle and the largest load.
fn typical<'a>(all: &[&'a PointRecord]) -> Vec<&'a PointRecord> {
    if all.len() <= CURVES {
        return all.to_vec();
    }
    let mut chosen = Vec::new();
    for (_, mut of_group) in grouped(all, |record| (configuration(record), work(record))) {
        of_group.sort_by(|a, b| Level::of(a).value.total_cmp(&Level::of(b).value));
        let mut places = vec![0, of_group.len() / 2, of_group.len() - 1];
        places.dedup();
        chosen.extend(places.into_iter().map(|place| of_group[place]));
    }
    chosen.truncate(CURVES);
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::testing;

    #[test]
    fn a_line_an_engine_and_a_mark_a_load() {
        let chart = pareto(&testing::sweep()).unwrap();
        assert_eq!((chart.series.len(), chart.series[1].dots.len()), (2, 6));
        assert!(chart.x.label.starts_with("time per output token"));
        assert_eq!(over_load(&testing::sweep()).len(), 2);
        // A single load is no axis.
        let one: Vec<PointRecord> = testing::sweep().into_iter().take(1).collect();
        assert!(over_load(&one).is_empty());
    }

    #[test]
    fn of_many_points_the_typical_ones_are_shown() {
        let records = testing::sweep();
        let chosen = typical(&records.iter().collect::<Vec<_>>());
        let levels: Vec<f64> = chosen.iter().map(|record| Level::of(record).value).collect();
        assert_eq!(levels.len(), 6);
        assert!(levels.contains(&1.0) && levels.contains(&32.0), "{levels:?}");
        assert_eq!(typical(&records.iter().take(3).collect::<Vec<_>>()).len(), 3);
    }
}
