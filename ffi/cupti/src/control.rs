//! How the harness and this library speak: two small text files in the trace folder, each replaced as a whole.
//!
//! `control` (the harness writes it): `<generation> on` or `<generation> off`.
//! `<pid>.state` (this library writes it): see [`State`].
use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::format::Lost;

/// What the harness wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Rises with each change.
    pub generation: u64,
    /// Whether to record.
    pub on: bool,
}

/// Reads what the harness wants; None while it has said nothing readable.
pub fn wanted(folder: &Path) -> Option<Wanted> {
    let text = fs::read_to_string(folder.join("control")).ok()?;
    let (generation, word) = text.trim_end().split_once(' ')?;
    Some(Wanted { generation: generation.parse().ok()?, on: word == "on" })
}

/// What this process tells the harness.
pub struct State<'a> {
    /// The generation up to which everything wanted has been done and is in the file.
    pub generation: u64,
    /// What is wrong; empty when nothing is.
    pub problem: &'a str,
    pub records: u64,
    pub lost: Lost,
}

/// Writes `<pid>.state`.
pub fn tell(folder: &Path, pid: u32, state: &State<'_>) -> std::io::Result<()> {
    let Lost { dropped, refused, incomplete, unreadable } = state.lost;
    let text = format!(
        "generation {}\nrecords {}\ndropped {dropped}\nrefused {refused}\nincomplete {incomplete}\nunreadable {unreadable}\nproblem {}\n",
        state.generation,
        state.records,
        state.problem.replace('\n', " "),
    );
    let path: PathBuf = folder.join(format!("{pid}.state"));
    let aside = folder.join(format!(".{pid}.state.new"));
    fs::write(&aside, text)?;
    fs::rename(aside, path)
}
