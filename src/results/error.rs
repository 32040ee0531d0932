//! What can go wrong with a run directory.
use std::{
    io,
    path::{Path, PathBuf},
};

use parquet::errors::ParquetError;

/// Why results could not be stored or read: what was expected, what was found, what to do.
#[derive(Debug, thiserror::Error)]
pub enum ResultsError {
    /// The file system refused.
    #[error("cannot {doing} {}: {source}{}", path.display(), advice(source))]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What was being done to it, such as `write`.
        doing: &'static str,
        /// The cause.
        source: io::Error,
    },
    /// The directory for a new run holds something.
    #[error("{} {what}: expected a new or an empty directory; {fix}", dir.display())]
    Occupied {
        /// The directory.
        dir: PathBuf,
        /// What it holds.
        what: String,
        /// What to do.
        fix: &'static str,
    },
    /// There is no run to resume.
    #[error("{} holds no run of tacho ({why}): expected a directory that `tacho run` has written; check the path", dir.display())]
    NotARun {
        /// The directory.
        dir: PathBuf,
        /// What is missing or wrong.
        why: String,
    },
    /// Written by a later version.
    #[error(
        "{} has results schema {found}, this tacho knows up to {known}: use the tacho that wrote it, or a newer one",
        dir.display()
    )]
    Newer {
        /// The directory.
        dir: PathBuf,
        /// Its schema.
        found: u32,
        /// Ours.
        known: u32,
    },
    /// A trial's records could not be stored while they arrived.
    #[error("{reason}")]
    Store {
        /// Which file, why, and what to do.
        reason: String,
    },
    /// Another process writes to it.
    #[error("another tacho is writing to {}: wait for it to end, or choose another directory with --out", dir.display())]
    Locked {
        /// The directory.
        dir: PathBuf,
    },
    /// A line of the journal, other than a torn last one, is not readable.
    #[error(
        "{}:{line}: not a journal entry: {why}; the journal was changed by something else: restore it, or cut the file \
         before this line and resume",
        path.display()
    )]
    Journal {
        /// The journal.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        why: String,
    },
    /// A table could not be encoded or decoded.
    #[error("cannot {doing} {}: {source}", path.display())]
    Table {
        /// The file.
        path: PathBuf,
        /// What was being done to it.
        doing: &'static str,
        /// The cause.
        source: ParquetError,
    },
    /// A part of a table is not what the journal says.
    #[error(
        "{}: the journal says {expected} rows, the file has {found}: the point's records are lost; run the point again by \
         cutting its line from journal.jsonl and resuming",
        path.display()
    )]
    PartLost {
        /// The part.
        path: PathBuf,
        /// Rows journalled.
        expected: u64,
        /// Rows found.
        found: u64,
    },
    /// A point's part has other columns than this tacho writes.
    #[error("{}: its columns are of another version of tacho, which can read it", path.display())]
    PartOfOther {
        /// The part.
        path: PathBuf,
    },
    /// The bytes of a point's parts are not those that were written.
    #[error("{}: not as it was written: the disk or something else has changed it", path.display())]
    PartDamaged {
        /// The parts, as a pattern.
        path: PathBuf,
    },
    /// The records of a trial give no figures.
    #[error("point {point}, trial {trial}: {source}")]
    Figures {
        /// The point.
        point: u32,
        /// The trial.
        trial: u32,
        /// Why.
        source: crate::metrics::FiguresError,
    },
    /// A record would not come back from its own JSON.
    #[error("the record of point {point} cannot be journalled: {why}")]
    Unwritable {
        /// The point.
        point: u32,
        /// Why.
        why: String,
    },
    /// A chart could not be drawn.
    #[error("the chart {} cannot be drawn: {why}", path.display())]
    Chart {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
}

impl ResultsError {
    /// [`Self::Io`], as a function to map an error with.
    pub(crate) fn io(path: &Path, doing: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { path: path.to_owned(), doing, source }
    }

    /// An error of the Parquet library: the file system's where that is the cause.
    pub(crate) fn table(path: &Path, doing: &'static str) -> impl FnOnce(ParquetError) -> Self {
        move |source| match source {
            ParquetError::External(inner) => match inner.downcast::<io::Error>() {
                Ok(source) => Self::Io { path: path.to_owned(), doing, source: *source },
                Err(inner) => Self::Table { path: path.to_owned(), doing, source: ParquetError::External(inner) },
            },
            source => Self::Table { path: path.to_owned(), doing, source },
        }
    }
}

/// What to do about an I/O error, to stand behind it.
fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            "; free some space and continue with --resume, or choose another disk with --out: points already in the \
             journal are safe"
        }
        io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => {
            "; choose a directory that you may write to with --out"
        }
        io::ErrorKind::NotADirectory => "; choose a directory with --out",
        _ => "",
    }
}
