//! Places for what other modules know of a run: one function each, which the page calls. None is shown as "not recorded in
//! this run".
use super::{certificates, rows::Rows};
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
pub(super) fn certificates(info: &RunInfo, records: &[PointRecord]) -> Option<Section> {
    let says = "What is invalid is not to be believed, and is neither ranked nor compared; docs/validity.md says what each reason means.";
    Some(Section { says: says.to_owned(), rows: certificates::rows(info, records) })
}

/// Differences between engines from trials that were run in turn.
pub(super) fn comparison(_: &RunInfo, _: &[PointRecord]) -> Option<Section> {
    None
}
