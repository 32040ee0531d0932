//! Everything that a run's report is made of, written into its directory.
use std::path::{Path, PathBuf};

use super::{advice, charts, html, markdown, sums};
use crate::results::{PointRecord, ResultsError, RunInfo, files::replace};

/// The files that [`write()`] has written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// `report.md`.
    pub report: PathBuf,
    /// `report.html`.
    pub page: PathBuf,
    /// Charts, each SVG before its PNG; empty when there was nothing to draw.
    pub charts: Vec<PathBuf>,
    /// Small tables.
    pub tables: Vec<PathBuf>,
}

/// Writes `report.html`, `report.md`, `charts/` and the small tables, from the records and from the streamed tables that
/// are in `dir`. What those lack is missing from the page, which says so.
///
/// # Errors
/// [`ResultsError::Io`] when a file cannot be written, [`ResultsError::Chart`] when a drawing fails.
pub fn write(dir: &Path, info: &RunInfo, records: &[PointRecord]) -> Result<Written, ResultsError> {
    let drawn = charts::of(dir, info, records);
    let advice = advice::judged(info, records);
    let page = dir.join("report.html");
    // Not kept: the page of ten thousand points is tens of megabytes.
    html::page(info, records, &advice, &drawn)
        .map_err(|why| ResultsError::Chart { path: page.clone(), why })
        .and_then(|text| replace(&page, text.as_bytes()))?;
    let report = dir.join("report.md");
    replace(&report, markdown(info, records).as_bytes())?;
    let tables = sums::write(dir, info, records, &advice)?;
    let charts = charts::write(dir, &drawn.charts)?;
    Ok(Written { report, page, charts, tables })
}
