//! The package `tacho_shims`: carried inside this program, unpacked where Python can import it and a person can read it.
use std::{
    fs, io,
    path::{Path, PathBuf},
};

use pyo3::prelude::*;
use tacho::engine::EngineError;

mod embedded {
    include!(concat!(env!("OUT_DIR"), "/shims.rs"));
}
use embedded::FILES;

/// A folder of further shims, searched before the package's own: for an engine that is not in the tree.
pub const ENV_SHIMS: &str = "TACHO_SHIMS";

/// Puts the embedded package on disk, once for each content, and says where.
///
/// # Errors
/// When the cache folder cannot be written.
pub fn unpack() -> Result<PathBuf, EngineError> {
    let mut hasher = blake3::Hasher::new();
    for (name, text) in FILES {
        hasher.update(&(name.len() as u64).to_le_bytes()).update(name.as_bytes());
        hasher.update(&(text.len() as u64).to_le_bytes()).update(text.as_bytes());
    }
    let folder = tacho::cache::dir().join("shims").join(&hasher.finalize().to_hex()[..16]);
    unpack_to(&folder).map_err(|error| {
        EngineError::load(format!(
            "the shims cannot be unpacked to {}: {error}; set {} to a folder that can be written",
            folder.display(),
            tacho::cache::ENV_CACHE
        ))
    })?;
    Ok(folder)
}

fn unpack_to(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    // Complete or not there: cells that start together race for the rename, and one of them wins.
    let draft = folder.with_extension(format!("draft-{}", std::process::id()));
    for (name, text) in FILES {
        let path = draft.join(name);
        fs::create_dir_all(path.parent().unwrap_or(&draft))?;
        fs::write(path, text)?;
    }
    match fs::rename(&draft, folder) {
        Ok(()) => Ok(()),
        Err(error) => {
            fs::remove_dir_all(&draft)?;
            if folder.is_dir() { Ok(()) } else { Err(error) }
        }
    }
}

/// Makes the package importable: last on `sys.path`, so that it hides nothing of the engine's; with [`ENV_SHIMS`]'s folder,
/// if there is one, before its own modules.
///
/// # Errors
/// What Python raised.
pub fn import(py: Python<'_>, folder: &Path) -> PyResult<()> {
    py.import("sys")?.getattr("path")?.call_method1("append", (folder.as_os_str(),))?;
    let package = py.import("tacho_shims")?;
    if let Some(extra) = std::env::var_os(ENV_SHIMS).filter(|path| !path.is_empty()) {
        package.getattr("__path__")?.call_method1("insert", (0, extra))?;
    }
    Ok(())
}
