//! The report's section on what the hardware did, and how far from its limits.
use std::{collections::BTreeMap, fmt::Write};

use super::{
    doubts::Doubt,
    rows::{Rows, axis_names, numeric, place, place_headings, words},
    text::{MISSING, escape, gib, number, number_or_missing},
};
use crate::{
    measure::telemetry::{GpuFigures, HostFigures},
    results::{PointRecord, RunInfo, Summary, TrialRecord},
    roofline::{Bound, Ceilings, Roofline},
};

/// So many processors kept busy by others are worth a doubt.
const OTHER_LOAD: f64 = 0.25;

/// Whether any trial tells of its hardware: runs from before telemetry do not.
pub(super) fn known(records: &[PointRecord]) -> bool {
    records.iter().flat_map(|record| &record.trials).any(|trial| {
        let telemetry = &trial.hardware.telemetry;
        telemetry.host.is_some() || telemetry.host_null_reason.is_some()
    })
}

/// What the run knows of its GPUs, in a sentence, and the ceilings.
pub(super) fn devices(text: &mut String, info: &RunInfo) {
    let hardware = &info.hardware;
    match (&hardware.gpu_null_reason, hardware.gpus.as_slice()) {
        (Some(reason), _) => {
            let _ = writeln!(text, "No GPU: {}.\n", escape(reason));
        }
        (None, []) => text.push_str("No GPU is visible to CUDA.\n\n"),
        (None, gpus) => {
            for gpu in gpus {
                let driver = gpu.driver.as_deref().unwrap_or(MISSING);
                let _ = writeln!(text, "- {} ({}), driver {}", escape(&gpu.name), escape(&gpu.uuid), escape(driver));
            }
            text.push('\n');
        }
    }
    match hardware.telemetry_period_ms {
        Some(period) => {
            let _ = writeln!(text, "Sampled every {} ms while timed trials ran.\n", number(period));
        }
        None => text.push_str("Telemetry was off.\n\n"),
    }
    for ceilings in &hardware.ceilings {
        let _ = writeln!(text, "Measured ceilings of {}.\n", escape(&ceilings_text(ceilings)));
    }
}

/// What a device was measured to do, in plain text.
pub(super) fn ceilings_text(ceilings: &Ceilings) -> String {
    let read = ceilings.read_bytes_per_s.map(|rate| format!("reads {} GB/s", number(rate / 1e9)));
    let matmul = ceilings
        .matmul_flops_per_s
        .iter()
        .filter_map(|(dtype, rate)| Some(format!("{dtype} {} TFLOP/s", number((*rate)? / 1e12))));
    let all: Vec<String> = read.into_iter().chain(matmul).collect();
    format!("{}: {}", ceilings.device.name, all.join(", "))
}

/// A column: its heading, and where its text lies.
type Shown = (&'static str, fn(&Summary) -> String);

/// Of runs with a GPU.
const GPU: &[Shown] = &[
    ("GPU %", |s| gpu_median(s, |g| g.utilization_percent)),
    ("W", |s| gpu_median(s, |g| g.power_mean_w)),
    ("J/token", |s| number_or_missing(s.hardware(TrialRecord::energy_per_token_j))),
    ("SM MHz", |s| gpu_median(s, |g| g.sm_clock_mean_mhz)),
    ("SM MHz min", |s| gpu_worst(s, |g| g.sm_clock_min_mhz.map(f64::from), f64::min)),
    ("°C max", |s| gpu_worst(s, |g| g.temperature_max_c.map(f64::from), f64::max)),
    ("GPU memory", |s| bytes(gpu_figures(s).filter_map(|g| g.memory_peak_bytes).max())),
];

/// Of all runs.
const HOST: &[Shown] = &[
    ("CPU s", |s| number_or_missing(s.hardware(|t| Some(host(t)?.cpu_seconds)))),
    ("memory", |s| bytes(counted(s).filter_map(host).map(|h| h.rss_peak_bytes).max())),
    ("major faults", |s| {
        let most = counted(s).filter_map(host).map(|h| h.major_faults).max();
        most.map_or_else(|| MISSING.to_owned(), |most| most.to_string())
    }),
    ("other load", |s| number_or_missing(s.hardware(|t| host(t)?.other_load))),
    ("marked trials", |s| marked(s.record).0.to_string()),
];

const LIMITS: &[Shown] = &[
    ("bound", |s| bound(s).map_or(MISSING, Bound::as_str).to_owned()),
    ("MFU %", |s| percent(s, |r| r.mfu)),
    ("MBU %", |s| percent(s, |r| r.mbu)),
    ("least time %", |s| percent(s, |r| r.share)),
    ("idle %", |s| percent(s, |r| r.gap.idle)),
    ("kernels beyond %", |s| percent(s, |r| r.gap.kernels)),
    ("other %", |s| percent(s, |r| r.gap.other)),
];

/// A row a point with what the machine did.
pub(super) fn telemetry_rows(records: &[PointRecord]) -> Rows {
    let gpu = records.iter().flat_map(|record| &record.trials).any(|trial| trial.hardware.telemetry.gpu.is_some());
    let shown = if gpu { [GPU, HOST].concat() } else { HOST.to_vec() };
    rows(records, &shown)
}

/// A row a point with its distance to the limits.
pub(super) fn limit_rows(records: &[PointRecord]) -> Rows {
    rows(records, LIMITS)
}

fn rows(records: &[PointRecord], shown: &[Shown]) -> Rows {
    let axes = axis_names(records);
    let mut headings = place_headings(&axes);
    headings
        .extend(shown.iter().map(|(heading, _)| if *heading == "bound" { words(heading) } else { numeric(heading) }));
    let row = |record: &PointRecord| {
        let summary = Summary::of(record);
        let mut cells = place(record, &axes);
        cells.extend(shown.iter().map(|(_, of)| of(&summary)));
        cells
    };
    Rows { headings, rows: records.iter().map(row).collect() }
}

fn counted<'a>(summary: &Summary<'a>) -> impl Iterator<Item = &'a TrialRecord> {
    summary.record.counted(summary.record.point.load.method())
}

fn host(trial: &TrialRecord) -> Option<&HostFigures> {
    trial.hardware.telemetry.host.as_ref()
}

fn gpu_figures<'a>(summary: &Summary<'a>) -> impl Iterator<Item = &'a GpuFigures> {
    counted(summary).filter_map(|trial| trial.hardware.telemetry.gpu.as_ref())
}

fn gpu_median(summary: &Summary, of: fn(&GpuFigures) -> Option<f64>) -> String {
    number_or_missing(summary.hardware(|trial| of(trial.hardware.telemetry.gpu.as_ref()?)))
}

fn gpu_worst(summary: &Summary, of: fn(&GpuFigures) -> Option<f64>, worse: fn(f64, f64) -> f64) -> String {
    number_or_missing(gpu_figures(summary).filter_map(of).reduce(worse))
}

fn bytes(value: Option<u64>) -> String {
    value.map_or_else(|| MISSING.to_owned(), gib)
}

fn percent(summary: &Summary, of: fn(&Roofline) -> Option<f64>) -> String {
    number_or_missing(summary.hardware(|trial| of(&trial.hardware.roofline)).map(|share| share * 100.0))
}

fn bound(summary: &Summary) -> Option<Bound> {
    counted(summary).find_map(|trial| trial.hardware.roofline.bound)
}

/// How many trials have marks, and how many of those are superseded.
fn marked(record: &PointRecord) -> (usize, usize) {
    let marked = || record.trials.iter().filter(|trial| !trial.hardware.marks.is_empty());
    (marked().count(), marked().filter(|trial| !trial.counts()).count())
}

/// What watching costs, where that was measured, and what is not known, with reasons; sentences for a person.
pub(super) fn remarks(records: &[PointRecord]) -> Vec<String> {
    let costs = records.iter().filter_map(|record| {
        let cost = record.watch_cost.as_ref()?;
        Some(format!("Point {} {}: {}.", record.point.number, record.point.label(), cost.line()))
    });
    costs.chain(missing(records)).collect()
}

/// Why figures are missing, each reason once with its points.
fn missing(records: &[PointRecord]) -> Vec<String> {
    let mut reasons: BTreeMap<(&str, String), Vec<u32>> = BTreeMap::new();
    for record in records {
        for trial in &record.trials {
            let (telemetry, roofline) = (&trial.hardware.telemetry, &trial.hardware.roofline);
            let energy = telemetry.gpu.as_ref().and_then(|gpu| gpu.energy_null_reason.clone());
            for (what, reason) in [
                ("GPU figures", telemetry.gpu_null_reason.clone()),
                ("energy", energy),
                ("processor figures", telemetry.host_null_reason.clone()),
                ("MFU", roofline.mfu_null_reason.clone()),
                ("MBU", roofline.mbu_null_reason.clone()),
                ("split of the gap", roofline.gap.null_reason.clone()),
            ] {
                // An error has a line of its own among the doubts.
                let Some(reason) = reason.filter(|reason| roofline.error.as_ref() != Some(reason)) else { continue };
                let points = reasons.entry((what, reason)).or_default();
                if points.last() != Some(&record.point.number) {
                    points.push(record.point.number);
                }
            }
        }
    }
    let sentence = |((what, reason), points): ((&str, String), Vec<u32>)| {
        let points: Vec<String> = points.iter().map(ToString::to_string).collect();
        let word = if points.len() == 1 { "point" } else { "points" };
        format!("No {what} ({word} {}): {reason}.", points.join(", "))
    };
    reasons.into_iter().map(sentence).collect()
}

/// What to doubt of a point, after its name.
pub(super) fn doubts(place: &str, record: &PointRecord) -> Vec<Doubt> {
    let mut doubts = Vec::new();
    let summary = Summary::of(record);
    let errors: Vec<&String> = counted(&summary).filter_map(|trial| trial.hardware.roofline.error.as_ref()).collect();
    if let Some(error) = errors.first() {
        let lead = format!("{place}: its distance to the limit is wrong");
        doubts.push(Doubt::grave(lead, format!("in {} trials: {error}.", errors.len())));
    }
    let (marked, superseded) = marked(record);
    if marked > 0 {
        let kinds: Vec<&String> = record.trials.iter().flat_map(|trial| &trial.hardware.marks).collect();
        doubts.push(Doubt::mild(format!(
            "{place}: {marked} {} marked ({}, first); {superseded} of them ran again and count in no figure.",
            if marked == 1 { "trial was" } else { "trials were" },
            kinds.first().map_or("", |kind| kind.as_str()),
        )));
    }
    if let Some(load) = summary.hardware(|trial| host(trial)?.other_load).filter(|load| *load > OTHER_LOAD) {
        doubts.push(Doubt::mild(format!("{place}: something else kept {} processors busy meanwhile.", number(load))));
    }
    doubts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{cell::protocol::Method, report::markdown, results::testing};

    fn record() -> PointRecord {
        let mut record = testing::point(0, "llama.cpp", &[("batch", "1")]);
        for number in 0..6 {
            let mut trial = testing::trial(number, Method::Generate, 1000.0);
            let gpu = GpuFigures {
                utilization_percent: Some(95.0),
                power_mean_w: Some(512.0),
                energy_j: Some(2048.0),
                sm_clock_mean_mhz: Some(1965.0),
                sm_clock_min_mhz: Some(1900 + number),
                temperature_max_c: Some(60 + number),
                memory_peak_bytes: Some(70 << 30),
                ..GpuFigures::default()
            };
            trial.hardware.telemetry.gpu = Some(gpu);
            trial.hardware.telemetry.host =
                Some(HostFigures { cpu_seconds: 4.5, other_load: Some(0.5), ..HostFigures::default() });
            trial.hardware.roofline = Roofline {
                mfu: Some(0.021),
                mbu: Some(0.75),
                share: Some(0.76),
                bound: Some(Bound::Memory),
                ..Roofline::default()
            };
            trial.hardware.roofline.gap.null_reason = Some("no kernel trace".to_owned());
            record.trials.push(trial);
        }
        record.trials[2].hardware.marks = vec!["throttled: sw_power_cap".to_owned()];
        record.trials[2].hardware.superseded = true;
        record
    }

    #[test]
    fn the_section_shows_what_was_measured_and_why_the_rest_was_not() {
        let text = markdown(&testing::info(), &[record()]);
        assert!(text.contains("| 95.00 | 512.0 | 0.500 | 1965 | 1900 | 65.00 | 70.0 GiB | 4.500 |"), "{text}");
        assert!(text.contains("| memory | 2.100 | 75.00 | 76.00 | – | – | – |"), "{text}");
        assert!(text.contains("- No split of the gap (point 0): no kernel trace."), "{text}");
        assert!(
            text.contains("1 trial was marked (throttled: sw\\_power\\_cap, first); 1 of them ran again"),
            "{text}"
        );
        assert!(text.contains("something else kept 0.500 processors busy"), "{text}");
        assert!(text.contains("No GPU is visible to CUDA."), "{text}");
    }

    #[test]
    fn an_error_of_the_model_stands_among_the_doubts() {
        let mut record = record();
        record.trials[0].hardware.roofline = Roofline::none("mbu is 140.0 %: x");
        record.trials[0].hardware.roofline.error = Some("mbu is 140.0 %: x".to_owned());
        let text = markdown(&testing::info(), &[record]);
        assert!(text.contains("its distance to the limit is wrong** in 1 trials: mbu is 140.0 %: x."), "{text}");
    }

    #[test]
    fn a_superseded_trial_is_in_no_figure() {
        let mut record = record();
        record.trials[2].figures.output_token_throughput = 1.0;
        assert_eq!(Summary::of(&record).throughput.unwrap().trials, 5);
        assert_eq!(record.throughputs(), [1000.0; 5]);
    }

    #[test]
    fn old_runs_have_no_section() {
        assert!(!markdown(&testing::info(), &testing::records()).contains("## Hardware"));
    }
}
