//! The journal: a line a finished point, on the disk before the next point begins.
use std::{
    fs::File,
    io::{BufRead, BufReader, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{PointRecord, ResultsError, parts::PartRows};

/// A line of the journal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Entry {
    /// The point's outcome.
    pub(super) record: PointRecord,
    /// How many rows its part of each table has.
    pub(super) rows: PartRows,
}

/// An open journal.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    file: File,
    length: u64,
    /// Whether more than `length` may stand in it: a line that could be neither written nor taken back.
    torn: bool,
}

/// What an existing journal held.
#[derive(Debug)]
pub(super) struct Contents {
    pub(super) entries: Vec<Entry>,
    /// The last line, when it was torn and has been cut off.
    pub(super) torn: Option<String>,
}

impl Journal {
    /// Starts an empty journal.
    pub(super) fn create(path: &Path) -> Result<Self, ResultsError> {
        let file =
            File::options().create_new(true).append(true).open(path).map_err(ResultsError::io(path, "create"))?;
        Ok(Self { path: path.to_owned(), file, length: 0, torn: false })
    }

    /// Reads a journal entry by entry and changes nothing.
    pub(super) fn read(path: &Path, keep: impl FnMut(Entry)) -> Result<(), ResultsError> {
        let file = File::open(path).map_err(ResultsError::io(path, "read"))?;
        each(path, BufReader::new(file), keep).map(drop)
    }

    /// Opens a journal and reads it. A last line without an end was being written when the run stopped: it is cut off.
    /// Anything else unreadable is an error.
    pub(super) fn open(path: &Path) -> Result<(Self, Contents), ResultsError> {
        let mut file =
            File::options().create(true).read(true).append(true).open(path).map_err(ResultsError::io(path, "open"))?;
        let mut entries = Vec::new();
        let (torn, length) = each(path, BufReader::new(&file), |entry| entries.push(entry))?;
        let contents = Contents { entries, torn };
        if contents.torn.is_some() {
            file.set_len(length).and_then(|()| file.sync_all()).map_err(ResultsError::io(path, "mend"))?;
        }
        file.seek(SeekFrom::End(0)).map_err(ResultsError::io(path, "read"))?;
        Ok((Self { path: path.to_owned(), file, length, torn: false }, contents))
    }

    /// Appends an entry and waits until it is on the disk. When that fails, the journal is as it was before, or has a torn
    /// last line that the next entry, or whoever opens it, takes back.
    pub(super) fn append(&mut self, entry: &Entry) -> Result<(), ResultsError> {
        let point = entry.record.point.number;
        let unwritable = |why: String| ResultsError::Unwritable { point, why };
        let mut line = serde_json::to_vec(entry).map_err(|error| unwritable(error.to_string()))?;
        // JSON has no NaN: a record with one would be written as null and could not be read again.
        serde_json::from_slice::<Entry>(&line).map_err(|error| unwritable(error.to_string()))?;
        line.push(b'\n');
        if self.torn {
            self.file.set_len(self.length).map_err(ResultsError::io(&self.path, "mend"))?;
            self.torn = false;
        }
        let written = self.file.write_all(&line).and_then(|()| self.file.sync_data());
        if let Err(source) = written {
            self.torn = self.file.set_len(self.length).is_err();
            return Err(ResultsError::io(&self.path, "append to")(source));
        }
        self.length += line.len() as u64;
        Ok(())
    }

    /// Appends to another file from now on.
    #[cfg(test)]
    pub(super) fn redirect(&mut self, path: &Path) {
        if let Ok(file) = File::options().append(true).open(path) {
            self.file = file;
        }
    }
}

/// Hands over the entries of a journal, one at a time: its text is larger than what it says. Returns the last line, if it was
/// torn, and how many bytes whole lines take.
fn each(
    path: &Path,
    mut journal: impl BufRead,
    mut keep: impl FnMut(Entry),
) -> Result<(Option<String>, u64), ResultsError> {
    let (mut line, mut good) = (Vec::new(), 0);
    for number in 1.. {
        line.clear();
        let length = journal.read_until(b'\n', &mut line).map_err(ResultsError::io(path, "read"))?;
        if length == 0 {
            break;
        }
        // Only the last line can lack its end.
        if line.last() != Some(&b'\n') {
            return Ok((Some(String::from_utf8_lossy(&line).into_owned()), good));
        }
        let entry = serde_json::from_slice::<Entry>(&line);
        let mut entry = entry.map_err(|error| ResultsError::Journal {
            path: path.to_owned(),
            line: number,
            why: error.to_string(),
        })?;
        // The reader makes room for more trials than there are: over ten thousand points that is more than their texts.
        entry.record.trials.shrink_to_fit();
        keep(entry);
        good += length as u64;
    }
    Ok((None, good))
}
