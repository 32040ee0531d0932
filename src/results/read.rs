//! Reads a run directory without writing to it: another's, a committed one, one that is still being written.
use std::{fs, io, path::Path};

use super::{PointRecord, PointStatus, ResultsError, RunInfo, journal::Entry, run_dir::read_info};

/// A run as its directory tells it.
#[derive(Clone, Debug, PartialEq)]
pub struct ReadRun {
    /// `run.json`.
    pub info: RunInfo,
    /// The outcomes in order of their points; of a point that was run twice, the later one.
    pub records: Vec<PointRecord>,
    /// What is odd about it, for a person.
    pub notes: Vec<String>,
}

/// Reads the run in `dir` from `run.json` and `journal.jsonl`.
///
/// # Errors
/// [`ResultsError::NotARun`] where either is missing or no run's, [`ResultsError::Newer`] for a later schema,
/// [`ResultsError::Journal`] for a damaged line other than a torn last one.
pub fn read_run(dir: &Path) -> Result<ReadRun, ResultsError> {
    let not_a_run = |why: &str| ResultsError::NotARun { dir: dir.to_owned(), why: why.to_owned() };
    if !dir.is_dir() {
        return Err(not_a_run("it is no directory"));
    }
    let info = read_info(dir)?;
    let path = dir.join("journal.jsonl");
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(not_a_run("no journal.jsonl, which holds the points"));
        }
        Err(error) => return Err(ResultsError::io(&path, "read")(error)),
    };
    let mut notes = Vec::new();
    let mut latest = std::collections::BTreeMap::new();
    for (index, line) in text.split_inclusive(|byte| *byte == b'\n').enumerate() {
        match serde_json::from_slice::<Entry>(line) {
            Ok(entry) => {
                latest.insert(entry.record.point.number, entry.record);
            }
            Err(_) if line.last() != Some(&b'\n') => {
                notes.push("the journal's last line is torn: its point is left out".to_owned());
            }
            Err(why) => return Err(ResultsError::Journal { path, line: index + 1, why: why.to_string() }),
        }
    }
    let records: Vec<PointRecord> = latest.into_values().collect();
    let planned = info.plan.get("points").and_then(|points| points.as_array()).map_or(0, Vec::len);
    if records.len() < planned {
        notes.push(format!("the run is not finished: {} of {planned} points", records.len()));
    }
    let failed = records.iter().filter(|record| matches!(record.outcome, PointStatus::Failed(_))).count();
    if failed > 0 {
        notes.push(format!("{failed} of its points failed"));
    }
    Ok(ReadRun { info, records, notes })
}
