//! The engine configurations that a run has loaded, a line each, on the disk before the next point begins. `run.json` holds the
//! whole plan: written again for each of hundreds of configurations, it would cost more than their points. What stands here
//! comes into `run.json` when that is written next, at the latest when the run ends or is resumed.
use std::{
    fs::{self, File},
    io::Write,
    path::Path,
};

use serde::{Deserialize, Serialize};

use super::{EngineRecord, ResultsError, RunInfo, files::sync_dir, parts::remove};

const FILE: &str = "engines.jsonl";

#[derive(Serialize, Deserialize)]
struct Line {
    label: String,
    engine: EngineRecord,
}

/// Notes a configuration. When that fails, the file is as it was before.
pub(super) fn note(dir: &Path, label: &str, engine: &EngineRecord) -> Result<(), ResultsError> {
    let path = dir.join(FILE);
    let unwritable = |error: serde_json::Error| ResultsError::io(&path, "append to")(error.into());
    let line = Line { label: label.to_owned(), engine: engine.clone() };
    let mut text = serde_json::to_vec(&line).map_err(unwritable)?;
    text.push(b'\n');
    let mut file = File::options().create(true).append(true).open(&path).map_err(ResultsError::io(&path, "open"))?;
    let before = file.metadata().map_err(ResultsError::io(&path, "open"))?.len();
    if let Err(error) = file.write_all(&text).and_then(|()| file.sync_data()) {
        let _ = file.set_len(before);
        return Err(ResultsError::io(&path, "append to")(error));
    }
    if before == 0 { sync_dir(dir) } else { Ok(()) }
}

/// Adds what is noted to what `run.json` says, the later the stronger. Returns what could not be read, for a person: of a
/// configuration whose line is torn no point has begun.
pub(super) fn add_to(info: &mut RunInfo, dir: &Path) -> Result<Vec<String>, ResultsError> {
    let path = dir.join(FILE);
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(ResultsError::io(&path, "read")(error)),
    };
    let mut notes = Vec::new();
    for (number, line) in (1..).zip(text.split_inclusive(|byte| *byte == b'\n')) {
        match serde_json::from_slice::<Line>(line) {
            Ok(Line { label, engine }) => drop(info.engines.insert(label, engine)),
            Err(_) if line.last() != Some(&b'\n') => {}
            Err(error) => notes.push(format!("line {number} of {FILE} is not readable and left out: {error}")),
        }
    }
    Ok(notes)
}

/// Whether anything is noted.
pub(super) fn any(dir: &Path) -> bool {
    dir.join(FILE).exists()
}

/// Forgets what is noted, once `run.json` says it.
pub(super) fn forget(dir: &Path) -> Result<(), ResultsError> {
    remove(&dir.join(FILE))
}
