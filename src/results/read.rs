//! Reads a run directory without writing to it: what reports and tables for people are made from.
use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufRead, BufReader},
    path::Path,
};

use super::{PartRows, PointRecord, PointStatus, ResultsError, RunInfo, engines, journal::Entry, run_dir};

/// A run as its directory tells it.
#[derive(Clone, Debug, PartialEq)]
pub struct ReadRun {
    /// What the run is.
    pub info: RunInfo,
    /// The outcomes of the journal, in order of their points; of a point that was run twice, the later one.
    pub records: Vec<PointRecord>,
    /// What could not be read, for a person.
    pub notes: Vec<String>,
    /// What each point's parts of the streamed tables hold.
    pub(crate) rows: BTreeMap<u32, PartRows>,
}

impl ReadRun {
    /// Reads `run.json` and what the journal has. Lines that are not readable cost their points, and are noted: whoever
    /// only looks at a run is helped by the rest of it.
    ///
    /// # Errors
    /// [`ResultsError::NotARun`] or [`ResultsError::Newer`] for a directory that this tacho cannot read,
    /// [`ResultsError::Io`] when a file cannot be read.
    pub fn open(dir: &Path) -> Result<Self, ResultsError> {
        if !dir.is_dir() {
            return Err(ResultsError::NotARun { dir: dir.to_owned(), why: "it is no directory".to_owned() });
        }
        let mut info = run_dir::read_info(dir)?;
        let mut notes = engines::add_to(&mut info, dir)?;
        let path = dir.join(run_dir::JOURNAL);
        let mut journal = match File::open(&path) {
            Ok(file) => BufReader::new(file),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let tables: Vec<&str> = ["report.md", "summary.csv", "points.csv"]
                    .into_iter()
                    .filter(|name| dir.join(name).is_file())
                    .collect();
                let instead = match tables.is_empty() {
                    true => String::new(),
                    false => format!("; what it has can be read as it is: {}", tables.join(", ")),
                };
                let why = format!("no {}, from which everything is made{instead}", run_dir::JOURNAL);
                return Err(ResultsError::NotARun { dir: dir.to_owned(), why });
            }
            Err(error) => return Err(ResultsError::io(&path, "read")(error)),
        };
        let mut records = BTreeMap::new();
        let mut rows = BTreeMap::new();
        // Line by line: the text of a long journal is larger than what it says.
        let (mut line, mut number) = (Vec::new(), 0);
        loop {
            line.clear();
            number += 1;
            if journal.read_until(b'\n', &mut line).map_err(ResultsError::io(&path, "read"))? == 0 {
                break;
            }
            if line.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            match serde_json::from_slice::<Entry>(&line) {
                Ok(mut entry) => {
                    // As in the journal's own reader.
                    entry.record.trials.shrink_to_fit();
                    rows.insert(entry.record.point.number, entry.rows);
                    records.insert(entry.record.point.number, entry.record);
                }
                Err(_) if line.last() != Some(&b'\n') => {
                    notes.push("the journal's last line is torn: its point was not finished".to_owned());
                }
                Err(error) => notes.push(format!("line {number} of the journal is not readable and left out: {error}")),
            }
        }
        Ok(Self { info, records: records.into_values().collect(), notes, rows })
    }
}

/// [`ReadRun::open`] for comparing: with a note for each reason why the run is less than it was meant to be.
///
/// # Errors
/// As [`ReadRun::open`].
pub fn read_run(dir: &Path) -> Result<ReadRun, ResultsError> {
    let mut run = ReadRun::open(dir)?;
    let planned = run.info.plan.get("points").and_then(|points| points.as_array()).map_or(0, Vec::len);
    if run.records.len() < planned {
        run.notes.push(format!("the run is not finished: {} of {planned} points", run.records.len()));
    }
    let failed = run.records.iter().filter(|record| matches!(record.outcome, PointStatus::Failed(_))).count();
    if failed > 0 {
        run.notes.push(format!("{failed} of its points failed"));
    }
    Ok(run)
}
