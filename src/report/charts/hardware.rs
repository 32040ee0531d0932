//! What the machine did: over time, under its roofline, and between host and device.
use std::{collections::BTreeMap, path::Path};

use super::{
    model::{AxisSpec, Chart, Dot, Mark, Series},
    series::{finished, point_name, subtitle},
};
use crate::{
    metrics::median,
    report::{
        place::{Level, configuration, distinct},
        streams::{self, Bucket, Track},
        text::{number, shorten},
    },
    results::{PointRecord, Summary, TrialRecord},
};

/// Traced points whose steps are shown.
const STEP_POINTS: usize = 3;
/// Steps of a line; longer ones are merged.
const STEPS: usize = 300;

/// A telemetry chart: column, file, title, unit, factor.
type Telemetry = (&'static str, &'static str, &'static str, &'static str, f64);
const GPU: [Telemetry; 4] = [
    ("utilization_percent", "gpu-utilisation", "GPU utilisation", "% of time in which any kernel ran", 1.0),
    ("power_mw", "gpu-power", "GPU power", "W", 1e-3),
    ("sm_clock_mhz", "gpu-clock", "GPU clock", "MHz of the streaming multiprocessors", 1.0),
    ("memory_used_bytes", "gpu-memory", "GPU memory", "GiB in use by everybody", 1.0 / 1_073_741_824.0),
];
const HOST: [Telemetry; 2] = [
    ("processors", "cpu-busy", "Processors kept busy by the engine", "processors", 1.0),
    ("rss_bytes", "host-memory", "Memory of the engine's processes", "GiB resident", 1.0 / 1_073_741_824.0),
];

/// Telemetry over time, and why there is none.
pub(super) fn over_time(dir: &Path, records: &[PointRecord]) -> (Vec<Chart>, Vec<String>) {
    let mut errors = Vec::new();
    let mut charts = Vec::new();
    match streams::gpu(dir) {
        Ok(devices) => {
            for telemetry in GPU {
                charts.extend(timeline(records, telemetry, &devices));
            }
        }
        Err(error) => errors.push(error),
    }
    match streams::host(dir) {
        Ok(tracks) => {
            let devices = BTreeMap::from([(String::new(), tracks)]);
            for telemetry in HOST {
                charts.extend(timeline(records, telemetry, &devices));
            }
        }
        Err(error) => errors.push(error),
    }
    (charts, errors)
}

fn timeline(
    records: &[PointRecord],
    (column, id, title, unit, factor): Telemetry,
    devices: &BTreeMap<String, Vec<Track>>,
) -> Option<Chart> {
    let engines: BTreeMap<u32, String> = records.iter().map(|r| (r.point.number, configuration(r))).collect();
    let mut series: Vec<Series> = Vec::new();
    let (mut samples, mut merged) = (0, 0);
    for (index, tracks) in devices.values().enumerate() {
        for track in tracks.iter().filter(|track| track.name == column) {
            samples += track.samples;
            merged += track.buckets.len();
            for (point, bucket) in &track.buckets {
                let engine = engines.get(point).map_or("a point without a record", String::as_str);
                let device = if devices.len() > 1 { format!(" · GPU {index}") } else { String::new() };
                let label = shorten(&format!("{engine}{device}"), 90);
                super::series::push(&mut series, label, Mark::Band, of_bucket(bucket, *point, factor));
            }
        }
    }
    let mut notes = vec!["Sampled while timed trials ran; lines join over the pauses between them.".to_owned()];
    if (merged as u64) < samples {
        notes.push(format!(
            "{samples} samples in {merged} stretches of time: the line is their mean, the band their lowest and highest."
        ));
    }
    let all: Vec<&PointRecord> = records.iter().collect();
    (samples > 1).then(|| Chart {
        id: id.to_owned(),
        title: format!("{title} over time"),
        subtitle: subtitle(&all),
        reading: String::new(),
        x: AxisSpec::linear("seconds since the first sample"),
        y: AxisSpec::linear(unit),
        series,
        notes,
        ..Chart::default()
    })
}

fn of_bucket(bucket: &Bucket, point: u32, factor: f64) -> Dot {
    let interval = (bucket.low < bucket.high).then_some((bucket.low * factor, bucket.high * factor));
    Dot { interval, label: format!("point {point}"), ..Dot::at(bucket.seconds, bucket.mean() * factor) }
}

/// A trial's work and its roofs, all ways of the engine together: FLOPs, bytes, seconds, FLOPs/s, bytes/s.
fn roofs(trial: &TrialRecord) -> Option<[f64; 5]> {
    let roofline = &trial.hardware.roofline;
    let seconds = trial.summary.seconds();
    let (flops, bytes) = (roofline.flops?, roofline.weight_bytes? + roofline.kv_bytes?);
    let peak = flops / (seconds * roofline.mfu?);
    let read = bytes / (seconds * roofline.mbu?);
    let all = [flops, bytes, seconds, peak, read];
    all.iter().all(|value| value.is_finite() && *value > 0.0).then_some(all)
}

/// Each point under the measured ceilings of its device.
pub(super) fn roofline(records: &[PointRecord]) -> Option<Chart> {
    let mut series: Vec<Series> = Vec::new();
    let mut roof: Vec<(f64, f64)> = Vec::new();
    let mut shown = Vec::new();
    for record in finished(records) {
        let summary = Summary::of(record);
        let of = |index: usize| summary.hardware(|trial| Some(roofs(trial)?[index]));
        let (Some(flops), Some(bytes), Some(seconds), Some(peak), Some(read)) = (of(0), of(1), of(2), of(3), of(4))
        else {
            continue;
        };
        let dot = Dot::of(record, flops / bytes, flops / seconds / 1e12);
        super::series::push(&mut series, configuration(record), Mark::Dots, dot);
        let same = |(p, r): &(f64, f64)| (p / peak - 1.0).abs() < 0.001 && (r / read - 1.0).abs() < 0.001;
        if !roof.iter().any(same) {
            roof.push((peak, read));
        }
        shown.push(record);
    }
    let xs = || series.iter().flat_map(|series| &series.dots).map(|dot| dot.x);
    let (low, high) = (xs().fold(f64::MAX, f64::min), xs().fold(f64::MIN, f64::max));
    if shown.is_empty() {
        return None;
    }
    for (peak, read) in roof {
        let ridge = peak / read;
        let (from, to) = (low.min(ridge) / 2.0, high.max(ridge) * 2.0);
        let at = |x: f64| Dot::at(x, (x * read).min(peak) / 1e12);
        series.push(Series {
            label: format!("limit: {} TFLOP/s, {} GB/s", number(peak / 1e12), number(read / 1e9)),
            mark: Mark::Limit,
            dots: vec![at(from), at(ridge), at(to)],
        });
    }
    Some(Chart {
        id: "roofline".to_owned(),
        title: "Roofline".to_owned(),
        subtitle: subtitle(&shown),
        reading: "Dashed: what the device was measured to do, by memory on the slope and by arithmetic on the flat. The \
                  nearer a mark is to its line, the less is left to gain; docs/roofline.md says how the work is counted."
            .to_owned(),
        x: AxisSpec::log("FLOPs that the requests ask for / bytes that they ask for"),
        y: AxisSpec::log("TFLOP/s"),
        series,
        notes: vec!["Work of whole trials, prompts included; medians over the throughput trials.".to_owned()],
        ..Chart::default()
    })
}

/// Where each point's time went, from kernel traces.
pub(super) fn split(records: &[PointRecord]) -> Option<Chart> {
    type Share = (&'static str, fn(&TrialRecord) -> Option<f64>);
    let layers: [Share; 4] = [
        ("least time that the ceilings allow", |t| t.hardware.roofline.share),
        ("kernels beyond that", |t| t.hardware.roofline.gap.kernels),
        ("device idle: waits for the host", |t| t.hardware.roofline.gap.idle),
        ("copies and collectives alone", |t| t.hardware.roofline.gap.other),
    ];
    let summaries: Vec<Summary> = finished(records)
        .map(Summary::of)
        .filter(|summary| summary.hardware(|trial| trial.hardware.roofline.gap.idle).is_some())
        .collect();
    let series = layers.map(|(label, of)| {
        let dots = summaries.iter().enumerate().filter_map(|(index, summary)| {
            let share = summary.hardware(of)? * 100.0;
            Some(Dot::of(summary.record, index as f64, share))
        });
        Series { label: label.to_owned(), mark: Mark::Stacked, dots: dots.collect() }
    });
    let points: Vec<&PointRecord> = summaries.iter().map(|summary| summary.record).collect();
    let name = |record: &&PointRecord| format!("#{} {}", record.point.number, Level::of(record).text());
    Some(Chart {
        id: "host-device".to_owned(),
        title: "Where the time went, host and device".to_owned(),
        subtitle: subtitle(&points),
        reading:
            "Idle is the host's doing: scheduling, sampling, copying between launches. The rest ran on the device."
                .to_owned(),
        x: AxisSpec { categories: points.iter().map(name).collect(), ..AxisSpec::linear("point") },
        y: AxisSpec::linear("% of the trial"),
        series: series.into(),
        notes: vec![
            "Busy time from kernel traces of trials of their own; medians, so that a bar may miss 100 % slightly."
                .to_owned(),
        ],
        ..Chart::default()
    })
}

/// How long the steps of traced trials took, and how much of it the device was busy.
pub(super) fn steps(dir: &Path, records: &[PointRecord]) -> (Option<Chart>, Vec<String>) {
    let traced: Vec<&PointRecord> = finished(records)
        .filter(|record| record.trace.as_ref().and_then(|t| t.typical()).is_some_and(|trial| trial.steps > 1))
        .collect();
    let (mut series, mut errors) = (Vec::new(), Vec::new());
    let mut notes = vec!["Traced trials: steps take as much longer as tracing costs.".to_owned()];
    let largest = distinct(&traced, configuration).into_iter().filter_map(|engine| {
        let of_engine = traced.iter().filter(|record| configuration(record) == engine);
        of_engine.max_by(|a, b| Level::of(a).value.total_cmp(&Level::of(b).value))
    });
    for record in largest.take(STEP_POINTS) {
        let Some(typical) = record.trace.as_ref().and_then(|trace| trace.typical()) else { continue };
        match streams::traced_steps(dir, record.point.number, typical.launch, typical.trial) {
            Ok(steps) => {
                let size = steps.len().div_ceil(STEPS).max(1);
                if size > 1 {
                    notes.push(format!(
                        "Every {size} steps of point {} are shown as their median.",
                        record.point.number
                    ));
                }
                let line = |of: fn(&(u64, u64)) -> u64| -> Vec<Dot> {
                    let middle = |(index, chunk): (usize, &[(u64, u64)])| {
                        let values: Vec<f64> = chunk.iter().map(|step| of(step) as f64 / 1e6).collect();
                        let point = Some(record.point.number);
                        Some(Dot { point, ..Dot::at((index * size) as f64, median(&values)?) })
                    };
                    steps.chunks(size).enumerate().filter_map(middle).collect()
                };
                let name = point_name(record);
                let made = [("step", line(|s| s.0)), ("device busy", line(|s| s.1))];
                let named =
                    |(what, dots)| Series { label: shorten(&format!("{what} · {name}"), 90), mark: Mark::Line, dots };
                series.extend(made.map(named));
            }
            Err(error) => errors.push(error),
        }
    }
    let chart = Chart {
        id: "steps".to_owned(),
        title: "Steps, host and device".to_owned(),
        subtitle: subtitle(&traced),
        reading: "Between the two lines of a point the device waited for the host. The first steps compute prompts."
            .to_owned(),
        x: AxisSpec::linear("step of the typical traced trial"),
        y: AxisSpec::linear("ms"),
        series,
        notes,
        ..Chart::default()
    };
    (Some(chart), errors)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{results::testing, roofline::Roofline};

    fn with_roofline() -> Vec<PointRecord> {
        let mut records = testing::sweep();
        for trial in records.iter_mut().flat_map(|record| &mut record.trials) {
            let seconds = trial.summary.seconds();
            let mut roofline = Roofline {
                flops: Some(seconds * 2e12),
                weight_bytes: Some(seconds * 1e11),
                kv_bytes: Some(seconds * 1e11),
                share: Some(0.5),
                mfu: Some(0.2),
                mbu: Some(0.4),
                ..Roofline::default()
            };
            roofline.gap.idle = Some(0.2);
            roofline.gap.kernels = Some(0.3);
            roofline.gap.other = Some(0.0);
            trial.hardware.roofline = roofline;
        }
        records
    }

    #[test]
    fn points_stand_under_their_roof() {
        let chart = roofline(&with_roofline()).unwrap();
        let dot = &chart.series[0].dots[0];
        assert!((dot.x - 10.0).abs() < 1e-9 && (dot.y - 2.0).abs() < 1e-9, "{dot:?}");
        // 2 TFLOP/s are 20 % of 10; 0.2 TB/s are 40 % of 0.5.
        assert_eq!(chart.series.last().unwrap().label, "limit: 10.00 TFLOP/s, 500.0 GB/s");
        assert_eq!(roofline(&testing::sweep()), None);
    }

    #[test]
    fn the_split_stacks_to_the_whole() {
        let chart = split(&with_roofline()).unwrap();
        assert_eq!(chart.x.categories[0], "#0 batch 32");
        assert!((chart.stacked_top().unwrap() - 100.0).abs() < 1e-9);
        assert_eq!(split(&testing::sweep()).unwrap().drawable(), None);
    }
}
