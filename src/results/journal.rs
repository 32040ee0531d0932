//! The journal: a line a finished point, on the disk before the next point begins.
use std::{
    fs::File,
    io::{Read, Seek, SeekFrom, Write},
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
        Ok(Self { path: path.to_owned(), file, length: 0 })
    }

    /// Reads a journal and changes nothing.
    pub(super) fn read(path: &Path) -> Result<Contents, ResultsError> {
        let bytes = std::fs::read(path).map_err(ResultsError::io(path, "read"))?;
        parse(path, &bytes).map(|(contents, _)| contents)
    }

    /// Opens a journal and reads it. A last line without an end was being written when the run stopped: it is cut off.
    /// Anything else unreadable is an error.
    pub(super) fn open(path: &Path) -> Result<(Self, Contents), ResultsError> {
        let mut file =
            File::options().create(true).read(true).append(true).open(path).map_err(ResultsError::io(path, "open"))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(ResultsError::io(path, "read"))?;
        let (contents, length) = parse(path, &bytes)?;
        if contents.torn.is_some() {
            file.set_len(length).and_then(|()| file.sync_all()).map_err(ResultsError::io(path, "mend"))?;
        }
        file.seek(SeekFrom::End(0)).map_err(ResultsError::io(path, "read"))?;
        Ok((Self { path: path.to_owned(), file, length }, contents))
    }

    /// Appends an entry and waits until it is on the disk. When that fails, the journal is as it was before.
    pub(super) fn append(&mut self, entry: &Entry) -> Result<(), ResultsError> {
        let point = entry.record.point.number;
        let unwritable = |why: String| ResultsError::Unwritable { point, why };
        let mut line = serde_json::to_vec(entry).map_err(|error| unwritable(error.to_string()))?;
        // JSON has no NaN: a record with one would be written as null and could not be read again.
        serde_json::from_slice::<Entry>(&line).map_err(|error| unwritable(error.to_string()))?;
        line.push(b'\n');
        let written = self.file.write_all(&line).and_then(|()| self.file.sync_data());
        if let Err(source) = written {
            let _ = self.file.set_len(self.length);
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

/// The entries of a journal, and how many bytes whole lines take.
pub(super) fn parse(path: &Path, bytes: &[u8]) -> Result<(Contents, u64), ResultsError> {
    let mut entries = Vec::new();
    let (mut good, mut torn) = (0, None);
    for (index, line) in bytes.split_inclusive(|byte| *byte == b'\n').enumerate() {
        let whole = line.last() == Some(&b'\n');
        match serde_json::from_slice::<Entry>(line) {
            Ok(entry) if whole => {
                entries.push(entry);
                good += line.len();
            }
            // Only the last line can lack its end.
            Ok(_) => torn = Some(String::from_utf8_lossy(line).into_owned()),
            Err(_) if !whole => torn = Some(String::from_utf8_lossy(line).into_owned()),
            Err(error) => {
                let why = error.to_string();
                return Err(ResultsError::Journal { path: path.to_owned(), line: index + 1, why });
            }
        }
    }
    Ok((Contents { entries, torn }, good as u64))
}
