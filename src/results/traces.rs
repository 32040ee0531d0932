//! What is stored of traces: columns of the points, the table of kernels, the steps of a point's traced trials.
use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{
    PointRecord, ResultsError, TraceRecord, TracedTrial, cell_files,
    cells::{CellColumn, nullable, required},
    schema::Kind,
};
use crate::{
    cell::protocol::StepRow,
    measure::trace::{KernelFigures, StepFigures, readable},
};

const NOT_TRACED: &str = "not traced: tacho run --trace";

/// The columns of a point's trace. They are of trials of their own, the same in every row of the point.
pub(super) fn columns<'f, R: 'f>(record: fn(&R) -> &PointRecord) -> Vec<CellColumn<'f, R>> {
    let typical = move |r: &R| record(r).trace.as_ref().and_then(|trace| trace.typical().cloned());
    let count = |name: &'static str, unit: &'static str, doc: &'static str, get: fn(&TracedTrial) -> Option<u64>| {
        nullable(name, Kind::U64, unit, doc, move |r: &R| typical(r).as_ref().and_then(get))
    };
    let cost = |name: &'static str, doc: &'static str, get: fn(&super::TraceCost) -> f64| {
        let cost = move |r: &R| record(r).trace.as_ref().and_then(|trace| trace.cost.as_ref().map(get));
        nullable(name, Kind::F64, "", doc, cost)
    };
    vec![
        nullable(
            "gpu_busy_fraction",
            Kind::F64,
            "",
            "share of the typical traced trial in which a device did something; as all trace columns the same in every row of the point",
            move |r: &R| record(r).trace.as_ref().and_then(TraceRecord::busy_fraction),
        ),
        count("gpu_idle_ns", "ns", "time of it in which a device did nothing, summed over devices", |t| {
            Some(t.figures.idle_ns)
        }),
        count("gpu_gap_p50_ns", "ns", "median length of the stretches of idle time", |t| Some(t.figures.gaps.p50_ns)),
        count("gpu_gap_max_ns", "ns", "the longest stretch of idle time", |t| Some(t.figures.gaps.max_ns)),
        count(
            "traced_steps",
            "",
            "steps of the engine in the typical traced trial; 0 where its own call did them all",
            |t| Some(t.steps),
        ),
        count("gpu_kernels", "", "kernels that ran in it", |t| Some(t.figures.kernels)),
        count("launches", "", "kernels launched one by one, outside graphs", |t| Some(t.figures.launches)),
        count("graph_launches", "", "launches of whole graphs", |t| Some(t.figures.graph_launches)),
        count("copies", "", "copies between memories", |t| Some(t.figures.copies)),
        count("copy_bytes", "bytes", "bytes that they moved", |t| Some(t.figures.copy_bytes)),
        count("nccl_ns", "ns", "time in which a kernel of NCCL ran, summed over devices", |t| Some(t.figures.nccl_ns)),
        count("trace_lost", "", "records that are missing from the trace", |t| {
            let lost = t.figures.lost;
            Some(lost.dropped + lost.incomplete + lost.unreadable)
        }),
        count(
            "trace_clock_error_ns",
            "ns",
            "bound of the error of the trace's times, but for CUPTI's own mapping of device time",
            |t| t.figures.clock_error_ns,
        ),
        cost("trace_cost", "median of traced / untraced duration of trials with the same requests", |c| c.ratio),
        cost("trace_cost_low", "lower end of its 95 % interval", |c| c.low),
        cost("trace_cost_high", "upper end of its 95 % interval", |c| c.high),
        nullable("trace_null_reason", Kind::Text, "", "why trace columns are null", move |r: &R| {
            match &record(r).trace {
                None => Some(NOT_TRACED.to_owned()),
                Some(trace) => trace.null_reason.clone(),
            }
        }),
    ]
}

/// A kernel of a traced trial.
pub(super) struct KernelRow {
    point: u32,
    launch: u32,
    trial: u32,
    seconds: f64,
    kernel: KernelFigures,
}

pub(super) fn kernel_columns() -> Vec<CellColumn<'static, KernelRow>> {
    vec![
        required("point", Kind::U32, "", "the point's number in the plan, from 0", |r: &KernelRow| r.point),
        required("launch", Kind::U32, "", "which launch of the cell for traces, from 0", |r: &KernelRow| r.launch),
        required("trial", Kind::U32, "", "the trial's number in the launch, from 0", |r: &KernelRow| r.trial),
        required("kernel", Kind::Text, "", "the kernel's name, as the compiler mangled it", |r: &KernelRow| {
            r.kernel.name.clone()
        }),
        required("readable", Kind::Text, "", "the same name demangled, without parameters", |r: &KernelRow| {
            readable(&r.kernel.name)
        }),
        required("count", Kind::U64, "", "how often it ran", |r: &KernelRow| r.kernel.count),
        required(
            "total_ns",
            Kind::U64,
            "ns",
            "its time over all runs; runs that overlapped count each",
            |r: &KernelRow| r.kernel.total_ns,
        ),
        required("min_ns", Kind::U64, "ns", "its shortest run", |r: &KernelRow| r.kernel.min_ns),
        required("max_ns", Kind::U64, "ns", "its longest run", |r: &KernelRow| r.kernel.max_ns),
        required("share", Kind::F64, "", "its time / the trial's duration", |r: &KernelRow| {
            if r.seconds > 0.0 { r.kernel.total_ns as f64 / 1e9 / r.seconds } else { 0.0 }
        }),
    ]
}

/// Writes `kernels.parquet` when any point was traced.
pub(super) fn write_kernels(dir: &Path, records: &[PointRecord]) -> Result<Option<PathBuf>, ResultsError> {
    let mut rows = Vec::new();
    for record in records {
        for trial in record.trace.iter().flat_map(|trace| &trace.trials) {
            rows.extend(trial.figures.top.iter().map(|kernel| KernelRow {
                point: record.point.number,
                launch: trial.launch,
                trial: trial.trial,
                seconds: trial.seconds,
                kernel: kernel.clone(),
            }));
        }
    }
    if rows.is_empty() {
        return Ok(None);
    }
    let path = dir.join("kernels.parquet");
    cell_files::write(std::slice::from_ref(&path), &kernel_columns(), &rows)?;
    Ok(Some(path))
}

/// A step of a traced trial.
pub struct TraceStepRow {
    /// The point's number in the plan.
    pub point: u32,
    /// Which launch of the cell for traces.
    pub launch: u32,
    /// The trial's number in the launch.
    pub trial: u32,
    /// What the engine says of it.
    pub step: StepRow,
    /// What the devices did meanwhile.
    pub figures: StepFigures,
}

pub(super) fn step_columns() -> Vec<CellColumn<'static, TraceStepRow>> {
    vec![
        required("point", Kind::U32, "", "the point's number in the plan, from 0", |r: &TraceStepRow| r.point),
        required("launch", Kind::U32, "", "which launch of the cell for traces, from 0", |r: &TraceStepRow| r.launch),
        required("trial", Kind::U32, "", "the trial's number in the launch, from 0", |r: &TraceStepRow| r.trial),
        required("start_ns", Kind::U64, "ns", "when the step began", |r: &TraceStepRow| r.step.start_ns),
        required("end_ns", Kind::U64, "ns", "when its tokens were visible", |r: &TraceStepRow| r.step.end_ns),
        required("prefill_tokens", Kind::U32, "tokens", "prompt tokens computed in it", |r: &TraceStepRow| {
            r.step.prefill_tokens
        }),
        required("decode_seqs", Kind::U32, "sequences", "sequences that decoded a token in it", |r: &TraceStepRow| {
            r.step.decode_seqs
        }),
        required(
            "busy_ns",
            Kind::U64,
            "ns",
            "time between its start and its end in which a device did something, summed over devices",
            |r: &TraceStepRow| r.figures.busy_ns,
        ),
        required("kernels", Kind::U64, "", "kernels that began between its start and its end", |r: &TraceStepRow| {
            r.figures.kernels
        }),
    ]
}

/// Writes a point's traced steps.
pub(super) fn write_steps(path: &Path, rows: &[TraceStepRow]) -> Result<(), ResultsError> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(ResultsError::io(folder, "create"))?;
    }
    cell_files::write(&[path.to_owned()], &step_columns(), rows)
}
