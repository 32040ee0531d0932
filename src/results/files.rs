//! Files that are either the old or the new one, and are on the disk when we say so.
use std::{
    fs::{self, File},
    io::Write,
    path::Path,
};

use super::ResultsError;

/// Replaces `path` in one step: after a crash it holds either the old content or the new.
pub(crate) fn replace(path: &Path, content: &[u8]) -> Result<(), ResultsError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let aside = path.with_file_name(format!(".{name}.new"));
    let write = || -> Result<(), ResultsError> {
        let mut file = File::create(&aside).map_err(ResultsError::io(path, "create"))?;
        file.write_all(content).map_err(ResultsError::io(path, "write"))?;
        file.sync_all().map_err(ResultsError::io(path, "write"))?;
        fs::rename(&aside, path).map_err(ResultsError::io(path, "replace"))
    };
    let done = write();
    if done.is_err() {
        let _ = fs::remove_file(&aside);
        return done;
    }
    sync_dir(path.parent().unwrap_or(Path::new(".")))
}

/// Makes the names in a directory durable.
pub(crate) fn sync_dir(dir: &Path) -> Result<(), ResultsError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(ResultsError::io(dir, "write"))
}
