//! `report.md`.
use crate::results::{PointRecord, RunInfo};

/// The report of a run.
pub fn markdown(_info: &RunInfo, _records: &[PointRecord]) -> String {
    String::new()
}
