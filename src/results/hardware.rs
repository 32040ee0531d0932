//! The columns that say what the hardware did during a trial.
use super::{
    TrialRecord,
    cells::{CellColumn, nullable},
    schema::Kind,
};
use crate::{
    measure::telemetry::{GpuFigures, HostFigures, reason_names},
    roofline::Roofline,
};

type Number = fn(&TrialRecord) -> Option<f64>;
/// Name, unit, what it says, where it lies.
type Column = (&'static str, &'static str, &'static str, Number);

fn gpu(trial: &TrialRecord) -> Option<&GpuFigures> {
    trial.hardware.telemetry.gpu.as_ref()
}

fn host(trial: &TrialRecord) -> Option<&HostFigures> {
    trial.hardware.telemetry.host.as_ref()
}

fn roofline(trial: &TrialRecord) -> &Roofline {
    &trial.hardware.roofline
}

/// Figures of which a point's median says something.
const MEDIANS: &[Column] = &[
    ("gpu_util_mean", "%", "share of time in which any kernel ran, by the driver's samples", |t| {
        gpu(t)?.utilization_percent
    }),
    ("gpu_power_mean_w", "W", "mean of the power readings, all GPUs of the cell together", |t| gpu(t)?.power_mean_w),
    ("gpu_energy_j", "J", "energy of the trial by the GPUs' counters", |t| gpu(t)?.energy_j),
    ("energy_per_token_j", "J/token", "that energy / output tokens", TrialRecord::energy_per_token_j),
    ("sm_clock_mean_mhz", "MHz", "mean clock of the streaming multiprocessors", |t| gpu(t)?.sm_clock_mean_mhz),
    ("cpu_seconds", "s", "CPU time of the cell's process tree, in ticks of usually 10 ms", |t| {
        Some(host(t)?.cpu_seconds)
    }),
    ("other_load", "", "processors kept busy by everything but the cell, tacho among it", |t| host(t)?.other_load),
    ("mfu", "", "model FLOPs utilisation: FLOPs that the requests ask for / (time x matrix ceiling)", |t| {
        roofline(t).mfu
    }),
    ("mbu", "", "model bandwidth utilisation: bytes that the requests ask for / (time x read ceiling)", |t| {
        roofline(t).mbu
    }),
    ("roofline_share", "", "the least time that the ceilings allow / the trial's", |t| roofline(t).share),
    ("gap_idle", "", "share of the trial in which nothing ran on the device", |t| roofline(t).gap.idle),
    ("gap_kernels", "", "share of it in which kernels ran beyond the least time", |t| roofline(t).gap.kernels),
    ("gap_other", "", "share of it in which only copies and collectives ran", |t| roofline(t).gap.other),
];

/// The figures that the summary has medians of.
pub(super) fn medians() -> impl Iterator<Item = Column> {
    MEDIANS.iter().copied()
}

/// Columns of a trial; null without one.
pub(super) fn columns<'f, R: 'f>(trial: fn(&R) -> Option<&TrialRecord>) -> Vec<CellColumn<'f, R>> {
    let mut all: Vec<CellColumn<'f, R>> = medians()
        .map(|(name, unit, doc, of)| nullable(name, Kind::F64, unit, doc, move |r: &R| trial(r).and_then(of)))
        .collect();
    let float =
        |(name, unit, doc, of): Column| nullable(name, Kind::F64, unit, doc, move |r: &R| trial(r).and_then(of));
    let count = |name: &'static str, unit: &'static str, doc: &'static str, of: fn(&TrialRecord) -> Option<u64>| {
        nullable(name, Kind::U64, unit, doc, move |r: &R| trial(r).and_then(of))
    };
    let text = |name: &'static str, doc: &'static str, of: fn(&TrialRecord) -> Option<String>| {
        nullable(name, Kind::Text, "", doc, move |r: &R| trial(r).and_then(of))
    };
    all.extend([
        text("gpu_devices", "UUIDs of the GPUs that these figures are of", |t| Some(gpu(t)?.devices.join(" "))),
        count("energy_updates", "", "changes of the energy counter seen in the trial", |t| gpu(t)?.energy_updates),
        text("energy_null_reason", "why there is no energy", |t| gpu(t)?.energy_null_reason.clone()),
        count("sm_clock_min_mhz", "MHz", "lowest clock of the streaming multiprocessors", |t| {
            gpu(t)?.sm_clock_min_mhz.map(u64::from)
        }),
        float(("memory_clock_mean_mhz", "MHz", "mean clock of the GPUs' memory", |t| gpu(t)?.memory_clock_mean_mhz)),
        text("throttle_reasons", "every reason seen for clocks held down, by NVML's names", |t| {
            gpu(t)?.throttle_reasons.map(reason_names)
        }),
        count("gpu_temperature_max_c", "°C", "highest temperature", |t| gpu(t)?.temperature_max_c.map(u64::from)),
        count("gpu_memory_peak_bytes", "bytes", "most GPU memory in use by everybody", |t| gpu(t)?.memory_peak_bytes),
        count("gpu_process_memory_peak_bytes", "bytes", "most GPU memory in use by the cell's process tree", |t| {
            gpu(t)?.process_memory_peak_bytes
        }),
        count("gpu_samples", "", "samples of a GPU in the trial", |t| Some(gpu(t)?.sampling.samples)),
        float(("gpu_sample_period_ms", "ms", "mean time between them", |t| Some(gpu(t)?.sampling.period_ms))),
        float(("gpu_sample_gap_ms", "ms", "longest time between two", |t| Some(gpu(t)?.sampling.longest_gap_ms))),
        text("gpu_null_reason", "why there is nothing of GPUs", |t| t.hardware.telemetry.gpu_null_reason.clone()),
        count("rss_peak_bytes", "bytes", "most memory resident at a sample; shared pages count once a process", |t| {
            Some(host(t)?.rss_peak_bytes)
        }),
        count("minor_faults", "", "page faults answered without the disk", |t| Some(host(t)?.minor_faults)),
        count("major_faults", "", "page faults answered by the disk", |t| Some(host(t)?.major_faults)),
        count("voluntary_switches", "", "context switches by waiting, of threads that live at the end", |t| {
            host(t)?.voluntary_switches
        }),
        count("involuntary_switches", "", "context switches forced, of threads that live at the end", |t| {
            host(t)?.involuntary_switches
        }),
        float(("cpu_mhz", "MHz", "mean frequency of the first processors", |t| host(t)?.cpu_mhz)),
        count("host_samples", "", "samples of the processor in the trial", |t| Some(host(t)?.sampling.samples)),
        float(("host_sample_period_ms", "ms", "mean time between them", |t| Some(host(t)?.sampling.period_ms))),
        float(("host_sample_gap_ms", "ms", "longest time between two", |t| Some(host(t)?.sampling.longest_gap_ms))),
        text("host_null_reason", "why there is nothing of the processor", |t| {
            t.hardware.telemetry.host_null_reason.clone()
        }),
        float(("model_flops", "FLOP", "floating-point operations that the requests ask for", |t| roofline(t).flops)),
        float(("model_weight_bytes", "bytes", "weights read if no step is wasted", |t| roofline(t).weight_bytes)),
        float(("model_kv_bytes", "bytes", "keys and values read and written", |t| roofline(t).kv_bytes)),
        float(("roofline_seconds", "s", "the least time that the ceilings allow", |t| roofline(t).seconds)),
        text("bound", "which ceiling binds for most of that time: `compute` or `memory`", |t| {
            roofline(t).bound.map(|bound| bound.as_str().to_owned())
        }),
        text("mfu_null_reason", "why there is no mfu", |t| roofline(t).mfu_null_reason.clone()),
        text("mbu_null_reason", "why there is no mbu", |t| roofline(t).mbu_null_reason.clone()),
        text("roofline_error", "what shows that the model of the work or a ceiling is wrong", |t| {
            roofline(t).error.clone()
        }),
        text("gap_null_reason", "why the gap is not split", |t| roofline(t).gap.null_reason.clone()),
        text("marks", "what speaks against the trial: throttling, unusual clocks, a suspended machine", |t| {
            let marks = &t.hardware.marks;
            (!marks.is_empty()).then(|| marks.join("; "))
        }),
    ]);
    all
}
