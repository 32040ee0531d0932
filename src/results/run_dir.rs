//! A run's directory: created or resumed by one process at a time, filled point by point.
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    time::SystemTime,
};

use rustix::fs::{FlockOperation, flock};

use super::{
    EngineRecord, FORMAT, PartRows, PointRecord, ReadRun, ResultsError, RunInfo, SCHEMA, TraceStepRow, TrialTables,
    engines,
    files::{replace, sync_dir},
    journal::{Entry, Journal},
    merge,
    outcomes::{Outcome, Outcomes},
    parts::{PointParts, remove},
    points, run_info,
    run_info::{Host, Provenance, RunHardware},
    summary, traces, turns,
};
use crate::{agreement::Agreement, cell::protocol::Method, fairness, report};

const RUN: &str = "run.json";
pub(super) const JOURNAL: &str = "journal.jsonl";
const PARTS: &str = "parts";
const LOGS: &str = "logs";
const TRACES: &str = "traces";
const LOCK: &str = ".lock";
const AGREEMENT: &str = "agreement.json";

/// A run directory that this process alone writes to. The lock ends with the value or the process.
pub struct RunDir {
    dir: PathBuf,
    info: RunInfo,
    journal: Journal,
    /// What each journalled point's parts hold.
    rows: BTreeMap<u32, PartRows>,
    open: Option<PointParts>,
    outcomes: Outcomes,
    _lock: File,
}

/// What a resumed run already has.
#[derive(Debug)]
pub struct Resumed {
    /// The outcomes of the journal, in order of their points; of a point that was run twice, the later one.
    pub records: Vec<PointRecord>,
    /// What was mended on the way, and what of the machine and the program has changed, for a person.
    pub notes: Vec<String>,
}

/// The files that [`RunDir::finish`] has written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outputs {
    /// The run directory.
    pub dir: PathBuf,
    /// For reading.
    pub report: PathBuf,
    /// For reading in a browser.
    pub page: PathBuf,
    /// Charts, the SVG before the PNG; empty when there was nothing to draw.
    pub charts: Vec<PathBuf>,
    /// Every table.
    pub tables: Vec<PathBuf>,
}

impl RunDir {
    /// Starts a run in a new or an empty directory.
    ///
    /// # Errors
    /// [`ResultsError::Occupied`] when the directory holds anything, [`ResultsError::Io`] when it cannot be written to.
    pub fn create(dir: &Path, info: &RunInfo) -> Result<Self, ResultsError> {
        match fs::read_dir(dir) {
            Ok(mut entries) => {
                if entries.next().is_some() {
                    return Err(occupied(dir));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(ResultsError::io(dir, "open")(error)),
        }
        for path in [dir.to_owned(), dir.join(PARTS), dir.join(LOGS)] {
            fs::create_dir_all(&path).map_err(ResultsError::io(&path, "create"))?;
        }
        let lock = lock(dir)?;
        replace(&dir.join(RUN), &json(info))?;
        let journal = Journal::create(&dir.join(JOURNAL))?;
        sync_dir(dir)?;
        let (rows, outcomes) = (BTreeMap::new(), Outcomes::default());
        Ok(Self { dir: dir.to_owned(), info: info.clone(), journal, rows, open: None, outcomes, _lock: lock })
    }

    /// Opens the directory of an interrupted run and reads what it has.
    ///
    /// # Errors
    /// [`ResultsError::NotARun`] or [`ResultsError::Newer`] for a directory that is not ours to go on with,
    /// [`ResultsError::Locked`] while another process writes to it, [`ResultsError::Journal`] when a line other than a
    /// torn last one is damaged.
    pub fn resume(dir: &Path) -> Result<(Self, Resumed), ResultsError> {
        let (mut run, mut resumed) = Self::reopen(dir)?;
        let differences = run.info.differences(&Host::read(), &Provenance::of_this_program());
        resumed.notes.extend(differences.iter().cloned());
        for difference in differences {
            if !run.info.resume_notes.contains(&difference) {
                run.info.resume_notes.push(difference);
            }
        }
        run.info.resumed_at.push(run_info::rfc3339(SystemTime::now()));
        replace(&dir.join(RUN), &json(&run.info))?;
        engines::forget(dir)?;
        Ok((run, resumed))
    }

    /// Opens the directory of a run to make its outputs anew: as [`RunDir::resume`], but measures nothing and notes no
    /// resumption.
    ///
    /// # Errors
    /// As [`RunDir::resume`].
    pub fn reopen(dir: &Path) -> Result<(Self, Resumed), ResultsError> {
        let mut info = read_info(dir)?;
        let lock = lock(dir)?;
        let mut notes = engines::add_to(&mut info, dir)?;
        for path in [dir.join(PARTS), dir.join(LOGS)] {
            fs::create_dir_all(&path).map_err(ResultsError::io(&path, "create"))?;
        }
        let (journal, contents) = Journal::open(&dir.join(JOURNAL))?;
        if let Some(torn) = contents.torn {
            notes.push(format!(
                "the journal's last line was torn ({} characters) and has been cut off: its point runs again",
                torn.chars().count()
            ));
        }
        let mut latest = BTreeMap::new();
        for entry in contents.entries {
            latest.insert(entry.record.point.number, entry);
        }
        latest.retain(|point, entry| match merge::check(&dir.join(PARTS), *point, &entry.rows) {
            Ok(()) => true,
            Err(error) => {
                notes.push(format!("point {point} runs again: {error}"));
                false
            }
        });
        remove_unfinished(&dir.join(PARTS))?;
        let rows = latest.iter().map(|(point, entry)| (*point, entry.rows)).collect();
        let records = latest.into_values().map(|entry| entry.record).collect();
        let outcomes = Outcomes::default();
        let run = Self { dir: dir.to_owned(), info, journal, rows, open: None, outcomes, _lock: lock };
        Ok((run, Resumed { records, notes }))
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.dir
    }

    /// Where cells write their logs.
    pub fn logs(&self) -> PathBuf {
        self.dir.join(LOGS)
    }

    /// What the run is.
    pub fn info(&self) -> &RunInfo {
        &self.info
    }

    /// Notes an engine configuration that was loaded, for `run.json`: it is on the disk when this returns.
    ///
    /// # Errors
    /// [`ResultsError::Io`] when it cannot be written.
    pub fn engine_loaded(&mut self, label: &str, engine: EngineRecord) -> Result<(), ResultsError> {
        let noted = engines::note(&self.dir, label, &engine);
        self.info.engines.insert(label.to_owned(), engine);
        noted
    }

    /// Notes in `run.json` and writes `agreement.json`: whether the engines say the same.
    ///
    /// # Errors
    /// [`ResultsError::Io`] when it cannot be written.
    pub fn agreement(&mut self, agreement: Agreement) -> Result<(), ResultsError> {
        replace(&self.dir.join(AGREEMENT), &json(&agreement))?;
        self.info.agreement = Some(agreement);
        replace(&self.dir.join(RUN), &json(&self.info))
    }

    /// Notes in `run.json` what is known of the hardware.
    ///
    /// # Errors
    /// [`ResultsError::Io`] when it cannot be written.
    pub fn hardware(&mut self, hardware: &RunHardware) -> Result<(), ResultsError> {
        if self.info.hardware == *hardware {
            return Ok(());
        }
        self.info.hardware = hardware.clone();
        replace(&self.dir.join(RUN), &json(&self.info))
    }

    /// The sink of a timed trial's tables. Trials of one point come one after another; what an earlier point has left
    /// without [`RunDir::point_done`] is thrown away.
    pub fn trial_tables(&mut self, point: u32, trial: u32, method: Method) -> TrialTables<'_> {
        if let Some(other) = self.open.take_if(|open| open.point != point) {
            other.abandon();
        }
        let parts = self.open.get_or_insert_with(|| PointParts::new(&self.dir.join(PARTS), point));
        TrialTables::new(parts, trial, method)
    }

    /// Ends a point: its records, then its line of the journal, are on the disk when this returns.
    ///
    /// # Errors
    /// [`ResultsError::Io`] when they cannot be written: the point is then not journalled, and runs again on resume.
    pub fn point_done(&mut self, record: PointRecord) -> Result<(), ResultsError> {
        let point = record.point.number;
        let parts = self.dir.join(PARTS);
        let open = match self.open.take() {
            Some(open) if open.point == point => open,
            other => {
                if let Some(other) = other {
                    other.abandon();
                }
                PointParts::new(&parts, point)
            }
        };
        let rows = open.close(&parts)?;
        let entry = Entry { record, rows };
        self.journal.append(&entry)?;
        self.outcomes.add(&entry.record);
        self.rows.insert(point, rows);
        Ok(())
    }

    /// The records of the journal whose points `wanted` names, in the points' order; of a point with two, the later one.
    ///
    /// # Errors
    /// As [`RunDir::resume`].
    pub fn journalled(&self, wanted: impl Fn(u32) -> bool) -> Result<Vec<PointRecord>, ResultsError> {
        let mut latest = BTreeMap::new();
        Journal::read(&self.dir.join(JOURNAL), |entry| {
            if wanted(entry.record.point.number) {
                latest.insert(entry.record.point.number, entry.record);
            }
        })?;
        Ok(latest.into_values().collect())
    }

    /// How the journal's points ended, by their numbers; of a point with two records, by the later one. The journal is read
    /// the first time.
    ///
    /// # Errors
    /// As [`RunDir::resume`].
    pub fn outcomes(&mut self) -> Result<&BTreeMap<u32, Outcome>, ResultsError> {
        let journal = self.dir.join(JOURNAL);
        self.outcomes.all(|known| {
            Journal::read(&journal, |entry| drop(known.insert(entry.record.point.number, Outcome::of(&entry.record))))
        })
    }

    /// Where traces lie.
    pub fn traces(&self) -> PathBuf {
        self.dir.join(TRACES)
    }

    /// Replaces a finished point's record; its rows stay as they are.
    ///
    /// # Errors
    /// [`ResultsError::Io`] when it cannot be written: the journal then keeps the old one.
    pub fn amend(&mut self, record: PointRecord) -> Result<(), ResultsError> {
        let rows = self.rows.get(&record.point.number).copied().unwrap_or_default();
        let entry = Entry { record, rows };
        self.journal.append(&entry)?;
        self.outcomes.add(&entry.record);
        Ok(())
    }

    /// Writes the steps of a point's traced trials.
    ///
    /// # Errors
    /// [`ResultsError::Io`] when they cannot be written.
    pub fn traced_steps(&self, point: u32, rows: &[TraceStepRow]) -> Result<(), ResultsError> {
        traces::write_steps(&self.traces().join(format!("point-{point:05}.steps.parquet")), rows)
    }

    /// Makes the outputs of a run anew, measuring nothing. What cannot be read is left out and noted: unlike
    /// [`RunDir::reopen`], it changes neither the journal nor the parts, and a streamed table of which parts are missing
    /// stays as it is.
    ///
    /// # Errors
    /// As [`ReadRun::open`], [`ResultsError::Locked`] while another process writes to it, and as [`RunDir::finish`].
    pub fn report(dir: &Path) -> Result<(ReadRun, Outputs), ResultsError> {
        let mut found = ReadRun::open(dir)?;
        let lock = lock(dir)?;
        let parts = dir.join(PARTS);
        let mut tables = Vec::new();
        match found.rows.iter().try_for_each(|(point, rows)| merge::check(&parts, *point, rows)) {
            Ok(()) if merge::is_current(dir, &parts, &found.rows) => {}
            Ok(()) => tables = merge::merge_all(dir, &parts, &found.rows)?,
            Err(error) => found.notes.push(format!("requests, tokens, steps and telemetry stay as they are: {error}")),
        }
        let outputs = write_small(dir, &found.info, &found.records, tables)?;
        drop(lock);
        Ok((found, outputs))
    }

    /// Writes a small file of the run as JSON, whole or not at all.
    ///
    /// # Errors
    /// [`ResultsError::Io`] when it cannot be written.
    pub fn put(&self, name: &str, content: &impl serde::Serialize) -> Result<(), ResultsError> {
        replace(&self.dir.join(name), &json(content))
    }

    /// Completes `run.json`, and makes the tables, charts and report of what there is: of the whole run, or of a run that was
    /// stopped.
    ///
    /// # Errors
    /// [`ResultsError::Io`] when a file cannot be written, [`ResultsError::PartLost`] when a point's records are gone;
    /// the journal and the parts stay as they are.
    pub fn finish(&self, records: &[PointRecord]) -> Result<Outputs, ResultsError> {
        if engines::any(&self.dir) {
            replace(&self.dir.join(RUN), &json(&self.info))?;
            engines::forget(&self.dir)?;
        }
        let tables = merge::merge_all(&self.dir, &self.dir.join(PARTS), &self.rows)?;
        write_small(&self.dir, &self.info, records, tables)
    }
}

/// Everything that is made of the records, after the streamed tables.
fn write_small(
    dir: &Path,
    info: &RunInfo,
    records: &[PointRecord],
    mut tables: Vec<PathBuf>,
) -> Result<Outputs, ResultsError> {
    fairness::write(dir, info)?;
    tables.extend(points::write(dir, info, records)?);
    tables.extend(traces::write_kernels(dir, records)?);
    tables.extend(summary::write(dir, info, records)?);
    tables.extend(turns::write(dir, records)?);
    tables.extend(comparison(dir, info, records)?);
    let written = report::write(dir, info, records)?;
    tables.extend(written.tables);
    Ok(Outputs { dir: dir.to_owned(), report: written.report, page: written.page, charts: written.charts, tables })
}

fn json(value: &impl serde::Serialize) -> Vec<u8> {
    // Only a map with keys that are not strings could fail here, and there is none.
    let mut text = serde_json::to_vec_pretty(value).unwrap_or_default();
    text.push(b'\n');
    text
}

/// `comparison.json`, of a run that compared.
fn comparison(dir: &Path, info: &RunInfo, records: &[PointRecord]) -> Result<Option<PathBuf>, ResultsError> {
    let found = crate::comparison::paired::comparisons(info, records);
    if found.is_empty() {
        return Ok(None);
    }
    let path = dir.join("comparison.json");
    replace(&path, &json(&found))?;
    Ok(Some(path))
}

fn lock(dir: &Path) -> Result<File, ResultsError> {
    let path = dir.join(LOCK);
    let file = File::options().create(true).append(true).open(&path).map_err(ResultsError::io(&path, "create"))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(ResultsError::Locked { dir: dir.to_owned() }),
        Err(error) => Err(ResultsError::io(&path, "lock")(error.into())),
    }
}

pub(super) fn read_info(dir: &Path) -> Result<RunInfo, ResultsError> {
    let not_a_run = |why: String| ResultsError::NotARun { dir: dir.to_owned(), why };
    let path = dir.join(RUN);
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(not_a_run(format!("no {RUN}"))),
        Err(error) => return Err(ResultsError::io(&path, "read")(error)),
    };
    let value: serde_json::Value =
        serde_json::from_slice(&text).map_err(|error| not_a_run(format!("{RUN} is not JSON: {error}")))?;
    if value.get("format").and_then(|format| format.as_str()) != Some(FORMAT) {
        return Err(not_a_run(format!("{RUN} has no \"format\": \"{FORMAT}\"")));
    }
    // Before the rest is looked at: a newer schema may have other fields.
    match value.get("schema").and_then(serde_json::Value::as_u64) {
        Some(found) if found > u64::from(SCHEMA) => {
            let found = u32::try_from(found).unwrap_or(u32::MAX);
            return Err(ResultsError::Newer { dir: dir.to_owned(), found, known: SCHEMA });
        }
        Some(_) => {}
        None => return Err(not_a_run(format!("{RUN} has no \"schema\""))),
    }
    serde_json::from_value(value).map_err(|error| not_a_run(format!("{RUN} is incomplete: {error}")))
}

fn occupied(dir: &Path) -> ResultsError {
    match read_info(dir) {
        Ok(info) => ResultsError::Occupied {
            dir: dir.to_owned(),
            what: format!("holds the run {}", info.run_id),
            fix: "continue it with --resume, or choose another directory with --out",
        },
        Err(_) => ResultsError::Occupied {
            dir: dir.to_owned(),
            what: "holds files that are not a run's".to_owned(),
            fix: "choose another directory with --out",
        },
    }
}

/// Removes the parts of a point that was at work when the run stopped.
fn remove_unfinished(parts: &Path) -> Result<(), ResultsError> {
    for entry in fs::read_dir(parts).map_err(ResultsError::io(parts, "read"))? {
        let path = entry.map_err(ResultsError::io(parts, "read"))?.path();
        if path.extension().is_some_and(|extension| extension == "new") {
            remove(&path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "run_dir_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "scale_tests.rs"]
mod scale_tests;
