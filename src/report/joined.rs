//! Places for what other modules know of a run: one function each, which the page calls. None is shown as "not recorded in
//! this run".
use super::rows::Rows;
use crate::results::{PointRecord, RunInfo};

/// A section of the page: a sentence and a table.
pub(super) struct Section {
    /// What it says, in plain text.
    pub(super) says: String,
    /// Its table.
    pub(super) rows: Rows,
}

/// What differs between the engines beside the engines, and which figures that touches.
pub(super) fn fairness(_: &RunInfo, _: &[PointRecord]) -> Option<Section> {
    None
}

/// Whether each point's figures may be believed, by its evidence.
pub(super) fn certificates(_: &RunInfo, _: &[PointRecord]) -> Option<Section> {
    None
}

/// Differences between engines from trials that were run in turn.
pub(super) fn comparison(_: &RunInfo, _: &[PointRecord]) -> Option<Section> {
    None
}
