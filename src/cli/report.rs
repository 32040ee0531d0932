//! `tacho report` and `tacho show`.
use std::{
    io::{self, Write},
    path::Path,
    process::ExitCode,
};

use tacho::{
    report,
    results::{ReadRun, RunDir},
    run::RunReport,
};

use super::{exit::Failure, run};

/// `tacho report`: makes the outputs of a run anew from its journal.
pub fn report(dir: &Path, json: bool) -> Result<ExitCode, Failure> {
    let (found, outputs) = RunDir::report(dir)?;
    for note in &found.notes {
        eprintln!("note: {note}");
    }
    let across = report::append_across(dir, &found.info, &found.records)?;
    run::show(&found.info, &RunReport { records: found.records, outputs, interrupted: false }, json)?;
    if !json {
        writeln!(io::stdout().lock(), "all runs:      {}", across.display())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// `tacho show`: a run in the terminal. Reads only.
pub fn show(dir: &Path) -> Result<ExitCode, Failure> {
    let found = ReadRun::open(dir)?;
    for note in &found.notes {
        eprintln!("note: {note}");
    }
    write!(io::stdout().lock(), "{}", report::show(&found.info, &found.records))?;
    Ok(ExitCode::SUCCESS)
}
