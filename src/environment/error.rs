//! Why there is no environment.
use std::path::PathBuf;

use crate::cell::parent::CellError;

/// Why an environment cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum EnvironmentError {
    /// `engine.toml` names no such variant.
    #[error("engine '{engine}' has no environment variant '{variant}'; it has: {known}")]
    UnknownVariant {
        /// The engine.
        engine: String,
        /// What was asked.
        variant: String,
        /// What there is.
        known: String,
    },
    /// An embedded file is malformed or absent.
    #[error("engines/{file}: {why}")]
    Malformed {
        /// Folder and file.
        file: String,
        /// What is wrong.
        why: String,
    },
    /// The installer is not there.
    #[error("`{uv}` cannot be run ({source}): engine environments are made with uv; install it (`pip install uv`) or name \
             it in {UV_VARIABLE}", UV_VARIABLE = super::UV_VARIABLE)]
    NoUv {
        /// What was tried.
        uv: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A command of the installation failed.
    #[error("{what} failed: {last_lines}\n(all of it is in {})", log.display())]
    Failed {
        /// Which step.
        what: String,
        /// The end of what it said.
        last_lines: String,
        /// The log.
        log: PathBuf,
    },
    /// A file could not be written, read or removed.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The engine in the new environment does not run.
    #[error("the environment was made, but its engine does not generate {tokens} tokens: {source}", tokens = super::CHECK_TOKENS)]
    Check {
        /// What the cell said.
        source: CellError,
    },
}

impl EnvironmentError {
    pub(super) fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        |source| Self::Io { path, source }
    }
}
