//! The columns of the tables that stream in as rows of fixed layout: one list a table, from which the Parquet schema,
//! the encoding and the documentation are made.
use std::sync::Arc;

use arrow_array::{ArrayRef, StringArray, UInt32Array, UInt64Array};

use super::schema::{Column, Kind};
use crate::{
    cell::protocol::{NO_SESSION, NONE, RequestRow, StepRow, TokenRow},
    engine::FinishReason,
    measure::telemetry::{GpuReading, GpuSample, HostSample},
};

/// A column of rows `R`.
pub(super) struct RowColumn<R: 'static> {
    pub(super) column: Column,
    /// Gathers the column from rows.
    pub(super) build: fn(&[R]) -> ArrayRef,
}

/// A row type that has a table of its own. Before its own columns, every table has `point` and `trial`.
pub(super) trait Table: Copy + Send + Sync + 'static {
    /// The table's name, which is the file's.
    const NAME: &'static str;
    /// Its own columns.
    const COLUMNS: &'static [RowColumn<Self>];
}

/// The columns that every streamed table begins with.
pub(super) const PLACE: [Column; 2] = [
    Column::new("point", Kind::U32, "", false, "the point's number in the plan, from 0"),
    Column::new("trial", Kind::U32, "", false, "the trial's number in the point, from 0"),
];

fn u32s<R>(rows: &[R], of: impl Fn(&R) -> u32) -> ArrayRef {
    Arc::new(UInt32Array::from_iter_values(rows.iter().map(of)))
}

fn u64s<R>(rows: &[R], of: impl Fn(&R) -> u64) -> ArrayRef {
    Arc::new(UInt64Array::from_iter_values(rows.iter().map(of)))
}

/// [`NONE`] becomes null.
fn times<R>(rows: &[R], of: impl Fn(&R) -> u64) -> ArrayRef {
    Arc::new(rows.iter().map(|row| Some(of(row)).filter(|value| *value != NONE)).collect::<UInt64Array>())
}

/// [`NO_SESSION`] becomes null.
fn sessions<R>(rows: &[R], of: impl Fn(&R) -> u32) -> ArrayRef {
    Arc::new(rows.iter().map(|row| Some(of(row)).filter(|value| *value != NO_SESSION)).collect::<UInt32Array>())
}

const fn column<R>(
    name: &'static str,
    kind: Kind,
    unit: &'static str,
    doc: &'static str,
    build: fn(&[R]) -> ArrayRef,
) -> RowColumn<R> {
    RowColumn { column: Column::new(name, kind, unit, false, doc), build }
}

const fn nullable<R>(
    name: &'static str,
    unit: &'static str,
    doc: &'static str,
    build: fn(&[R]) -> ArrayRef,
) -> RowColumn<R> {
    RowColumn { column: Column::new(name, Kind::U64, unit, true, doc), build }
}

impl Table for TokenRow {
    const NAME: &'static str = "tokens";
    const COLUMNS: &'static [RowColumn<Self>] = &[
        column("request", Kind::U32, "", "the request's number in the trial", |rows| u32s(rows, |r| r.request)),
        column("index", Kind::U32, "tokens", "how many of the request's tokens came before", |rows| {
            u32s(rows, |r| r.index)
        }),
        column("tokens", Kind::U32, "tokens", "how many became visible together", |rows| u32s(rows, |r| r.tokens)),
        column("time_ns", Kind::U64, "ns", "when they became visible, on the engine's clock", |rows| {
            u64s(rows, |r| r.time_ns)
        }),
        nullable("gap_ns", "ns", "time since the request's previous tokens; null for its first", |rows| {
            times(rows, |r| r.gap_ns)
        }),
    ];
}

impl Table for RequestRow {
    const NAME: &'static str = "requests";
    const COLUMNS: &'static [RowColumn<Self>] = &[
        column("request", Kind::U32, "", "the request's number in the trial", |rows| u32s(rows, |r| r.request)),
        column("input_tokens", Kind::U32, "tokens", "prompt tokens that the engine consumed", |rows| {
            u32s(rows, |r| r.input_tokens)
        }),
        column("output_tokens", Kind::U32, "tokens", "tokens produced", |rows| u32s(rows, |r| r.output_tokens)),
        nullable("scheduled_ns", "ns", "when it was due, on the engine's clock; latency counts from here", |rows| {
            times(rows, |r| r.scheduled_ns)
        }),
        nullable(
            "released_ns",
            "ns",
            "when it was released to the loop that drives the engine; null but in `open`",
            |rows| times(rows, |r| r.released_ns),
        ),
        nullable(
            "submitted_ns",
            "ns",
            "when it was handed to the engine; null in `generate` trials, and if cut off",
            |rows| times(rows, |r| r.submitted_ns),
        ),
        nullable(
            "first_ns",
            "ns",
            "when its first token became visible; null in `generate` trials, and if cut off",
            |rows| times(rows, |r| r.first_ns),
        ),
        nullable(
            "last_ns",
            "ns",
            "when its last token became visible; null in `generate` trials, and if cut off",
            |rows| times(rows, |r| r.last_ns),
        ),
        column("output_hash", Kind::U64, "", "hash of the output ids", |rows| u64s(rows, |r| r.output_hash)),
        column("finish", Kind::Text, "", "why it ended: `length`, `stop`, `cancelled` or `error`", |rows| {
            Arc::new(StringArray::from_iter_values(rows.iter().map(|r| finish(r.finish))))
        }),
        optional_u32(
            "session",
            "",
            "the conversation that it is a turn of, from 0; null for a single request",
            |rows| sessions(rows, |r| r.session),
        ),
        optional_u32("turn", "", "which turn of it, from 0; null for a single request", |rows| {
            sessions(rows, |r| r.turn)
        }),
    ];
}

impl Table for StepRow {
    const NAME: &'static str = "steps";
    const COLUMNS: &'static [RowColumn<Self>] = &[
        column("start_ns", Kind::U64, "ns", "when the step began, on the engine's clock", |rows| {
            u64s(rows, |r| r.start_ns)
        }),
        column("end_ns", Kind::U64, "ns", "when its tokens were visible", |rows| u64s(rows, |r| r.end_ns)),
        column("prefill_tokens", Kind::U32, "tokens", "prompt tokens computed in it", |rows| {
            u32s(rows, |r| r.prefill_tokens)
        }),
        column("decode_seqs", Kind::U32, "sequences", "sequences that decoded a token in it", |rows| {
            u32s(rows, |r| r.decode_seqs)
        }),
        column("running", Kind::U32, "requests", "requests running after it", |rows| u32s(rows, |r| r.running)),
        column("waiting", Kind::U32, "requests", "requests waiting after it", |rows| u32s(rows, |r| r.waiting)),
        nullable(
            "kv_tokens",
            "tokens",
            "KV-cache tokens in use after it; null where the engine does not tell",
            |rows| times(rows, |r| r.kv_tokens),
        ),
        nullable(
            "device_ns",
            "ns",
            "by the device's clock, from the end of the step before (or the trial's start) to the end of this one; null where \
             it was not read",
            |rows| times(rows, |r| r.device_ns),
        ),
    ];
}

const fn optional_u32<R>(
    name: &'static str,
    unit: &'static str,
    doc: &'static str,
    build: fn(&[R]) -> ArrayRef,
) -> RowColumn<R> {
    RowColumn { column: Column::new(name, Kind::U32, unit, true, doc), build }
}

fn gpu_u32s(rows: &[GpuSample], of: impl Fn(&GpuReading) -> Option<u32>) -> ArrayRef {
    Arc::new(rows.iter().map(|row| of(&row.reading)).collect::<UInt32Array>())
}

fn gpu_u64s(rows: &[GpuSample], of: impl Fn(&GpuReading) -> Option<u64>) -> ArrayRef {
    Arc::new(rows.iter().map(|row| of(&row.reading)).collect::<UInt64Array>())
}

const SAMPLED: &str = "when it was read, CLOCK_MONOTONIC";

impl Table for GpuSample {
    const NAME: &'static str = "gpu";
    const COLUMNS: &'static [RowColumn<Self>] = &[
        column("time_ns", Kind::U64, "ns", SAMPLED, |rows| u64s(rows, |r| r.time_ns)),
        column("uuid", Kind::Text, "", "the device", |rows| {
            Arc::new(StringArray::from_iter_values(rows.iter().map(|r| r.uuid.as_str())))
        }),
        optional_u32("utilization_percent", "%", "share of the driver's last interval in which a kernel ran", |rows| {
            gpu_u32s(rows, |r| r.utilization_percent)
        }),
        optional_u32("memory_utilization_percent", "%", "share of it in which memory was read or written", |rows| {
            gpu_u32s(rows, |r| r.memory_utilization_percent)
        }),
        nullable("memory_used_bytes", "bytes", "memory in use by everybody", |rows| {
            gpu_u64s(rows, |r| r.memory_used_bytes)
        }),
        nullable("process_memory_bytes", "bytes", "memory in use by the cell's process tree", |rows| {
            gpu_u64s(rows, |r| r.process_memory_bytes)
        }),
        optional_u32("sm_clock_mhz", "MHz", "clock of the streaming multiprocessors", |rows| {
            gpu_u32s(rows, |r| r.sm_clock_mhz)
        }),
        optional_u32("memory_clock_mhz", "MHz", "clock of the memory", |rows| gpu_u32s(rows, |r| r.memory_clock_mhz)),
        optional_u32("power_mw", "mW", "power; on recent devices the mean of the last second", |rows| {
            gpu_u32s(rows, |r| r.power_mw)
        }),
        optional_u32("temperature_c", "°C", "temperature of the chip", |rows| gpu_u32s(rows, |r| r.temperature_c)),
        nullable("throttle_reasons", "", "why clocks are held down: bits of `nvmlClocksEventReasons`", |rows| {
            gpu_u64s(rows, |r| r.throttle_reasons)
        }),
        nullable("energy_mj", "mJ", "energy since the driver was loaded", |rows| gpu_u64s(rows, |r| r.energy_mj)),
    ];
}

impl Table for HostSample {
    const NAME: &'static str = "host";
    const COLUMNS: &'static [RowColumn<Self>] = &[
        column("time_ns", Kind::U64, "ns", SAMPLED, |rows| u64s(rows, |r| r.time_ns)),
        column("processes", Kind::U32, "", "processes of the cell's tree", |rows| u32s(rows, |r| r.processes)),
        column("cpu_ns", Kind::U64, "ns", "CPU time of the tree so far", |rows| u64s(rows, |r| r.cpu_ns)),
        column("rss_bytes", Kind::U64, "bytes", "resident memory; shared pages count once for each process", |rows| {
            u64s(rows, |r| r.rss_bytes)
        }),
        column("minor_faults", Kind::U64, "", "page faults so far, answered without the disk", |rows| {
            u64s(rows, |r| r.minor_faults)
        }),
        column("major_faults", Kind::U64, "", "page faults so far, answered by the disk", |rows| {
            u64s(rows, |r| r.major_faults)
        }),
        nullable(
            "voluntary_switches",
            "",
            "context switches of living threads so far, by waiting; null between a trial's ends",
            |rows| Arc::new(rows.iter().map(|r| r.voluntary_switches).collect::<UInt64Array>()),
        ),
        nullable("involuntary_switches", "", "the same, forced", |rows| {
            Arc::new(rows.iter().map(|r| r.involuntary_switches).collect::<UInt64Array>())
        }),
        nullable("machine_busy_ns", "ns", "CPU time of the whole machine so far", |rows| {
            Arc::new(rows.iter().map(|r| r.machine_busy_ns).collect::<UInt64Array>())
        }),
        optional_u32(
            "cpu_mhz",
            "MHz",
            "mean frequency of the first processors; null where the kernel does not tell",
            |rows| Arc::new(rows.iter().map(|r| r.cpu_mhz).collect::<UInt32Array>()),
        ),
    ];
}

fn finish(code: u32) -> &'static str {
    match u8::try_from(code).ok().and_then(FinishReason::from_code) {
        Some(FinishReason::Length) => "length",
        Some(FinishReason::Stop) => "stop",
        Some(FinishReason::Cancelled) => "cancelled",
        Some(FinishReason::Error) | None => "error",
    }
}
