//! Files that are either the old or the new one, and are on the disk when we say so.
use std::{
    fs::{self, File},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use super::ResultsError;

/// Replaces `path` in one step: after a crash it holds either the old content or the new.
pub(crate) fn replace(path: &Path, content: &[u8]) -> Result<(), ResultsError> {
    let mut file = Replacement::create(path)?;
    file.put(content)?;
    file.commit()
}

/// A file that is written bit by bit and takes the place of another in one step when it is whole. Dropped before that, it
/// is gone.
pub(crate) struct Replacement {
    path: PathBuf,
    aside: PathBuf,
    file: BufWriter<File>,
    /// Whether it has its name.
    done: bool,
}

impl Replacement {
    /// Begins a file that is to be `path`.
    pub(crate) fn create(path: &Path) -> Result<Self, ResultsError> {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let aside = path.with_file_name(format!(".{name}.new"));
        let file = File::create(&aside).map_err(ResultsError::io(path, "create"))?;
        Ok(Self { path: path.to_owned(), aside, file: BufWriter::new(file), done: false })
    }

    /// Appends.
    pub(crate) fn put(&mut self, content: &[u8]) -> Result<(), ResultsError> {
        self.file.write_all(content).map_err(ResultsError::io(&self.path, "write"))
    }

    /// Gives the file its name; it is on the disk when this returns.
    pub(crate) fn commit(mut self) -> Result<(), ResultsError> {
        let whole = self.file.flush().and_then(|()| self.file.get_ref().sync_all());
        whole.map_err(ResultsError::io(&self.path, "write"))?;
        fs::rename(&self.aside, &self.path).map_err(ResultsError::io(&self.path, "replace"))?;
        self.done = true;
        sync_dir(self.path.parent().unwrap_or(Path::new(".")))
    }
}

impl Write for Replacement {
    fn write(&mut self, content: &[u8]) -> io::Result<usize> {
        self.file.write(content)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for Replacement {
    fn drop(&mut self) {
        if !self.done {
            let _ = fs::remove_file(&self.aside);
        }
    }
}

/// Makes the names in a directory durable.
pub(crate) fn sync_dir(dir: &Path) -> Result<(), ResultsError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(ResultsError::io(dir, "write"))
}
