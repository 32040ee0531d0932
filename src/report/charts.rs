//! Charts.
use std::path::{Path, PathBuf};

use crate::results::{PointRecord, ResultsError};

/// Draws what there is to draw.
///
/// # Errors
/// When a file cannot be written.
pub fn write(_dir: &Path, _records: &[PointRecord]) -> Result<Vec<PathBuf>, ResultsError> {
    Ok(Vec::new())
}
