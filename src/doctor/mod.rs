//! Looks at a machine and a plan before a run: what is missing, what will disturb the figures, what to do about it.
//!
//! Nothing is changed and no engine is loaded; the only programs that are started are cells, to ask what they were built
//! from. Each [`Check`] says what was found and, unless all is well, what to do.

mod engines;
mod host;
mod libraries;
mod memory;
mod models;
mod storage;
mod variables;

#[cfg(test)]
mod testing;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::Serialize;

use crate::{
    cell::parent::CellProgram,
    measure::telemetry::{GpuDevice, GpuProbe, visible},
    plan::{Plan, registry::Registry},
};

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It says nothing about this machine or this plan.
    NotApplicable,
    /// As it should be.
    Ok,
    /// A run will work, and its figures may suffer.
    Warning,
    /// A run will not work.
    Problem,
}

impl State {
    /// As a person reads it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotApplicable => "n/a",
            Self::Ok => "ok",
            Self::Warning => "WARNING",
            Self::Problem => "PROBLEM",
        }
    }
}

/// One check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What is checked: stable, for scripts, such as `driver` or `environment`.
    pub name: &'static str,
    /// Of what, where there are several: an engine, a model, a variable.
    pub of: Option<String>,
    /// How it came out.
    pub state: State,
    /// What was found.
    pub found: String,
    /// What to do; None when there is nothing to.
    pub advice: Option<String>,
}

impl Check {
    fn new(name: &'static str, state: State, found: impl Into<String>) -> Self {
        Self { name, of: None, state, found: found.into(), advice: None }
    }

    fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Self::new(name, State::Ok, found)
    }

    fn not_applicable(name: &'static str, found: impl Into<String>) -> Self {
        Self::new(name, State::NotApplicable, found)
    }

    fn warning(name: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { advice: Some(advice.into()), ..Self::new(name, State::Warning, found) }
    }

    fn problem(name: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { advice: Some(advice.into()), ..Self::new(name, State::Problem, found) }
    }

    fn of(self, what: impl Into<String>) -> Self {
        Self { of: Some(what.into()), ..self }
    }
}

/// The machine as the checks see it, so that a test can hand them another.
pub struct Surroundings<'a> {
    /// Where the file system begins.
    pub root: PathBuf,
    /// The environment's variables.
    pub variables: BTreeMap<String, String>,
    /// The GPUs, or why there are none.
    pub gpus: Result<Box<dyn GpuProbe>, String>,
    /// Where results are to go.
    pub results: PathBuf,
    /// Between two readings of the processors' time.
    pub pause: Duration,
    /// The cell program of an engine with its environment; the error is a sentence for a person.
    pub cell_program: &'a dyn Fn(&str) -> Result<CellProgram, String>,
}

impl Surroundings<'_> {
    /// A path of the machine's.
    fn path(&self, absolute: &str) -> PathBuf {
        self.root.join(absolute.trim_start_matches('/'))
    }

    fn read(&self, absolute: &str) -> Option<String> {
        std::fs::read_to_string(self.path(absolute)).ok().map(|text| text.trim().to_owned())
    }

    fn variable(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str)
    }

    /// The GPUs that CUDA programs see.
    fn devices(&self) -> Result<Vec<GpuDevice>, String> {
        let probe = self.gpus.as_ref().map_err(Clone::clone)?;
        let devices =
            visible(&probe.devices()?, self.variable("CUDA_VISIBLE_DEVICES"), self.variable("CUDA_DEVICE_ORDER"))?;
        if devices.is_empty() { Err("no GPU is visible to CUDA".to_owned()) } else { Ok(devices) }
    }

    /// Processors of the machine.
    fn processors(&self) -> Option<u32> {
        let text = self.read("/proc/stat")?;
        let lines = text.lines().filter(|line| line.starts_with("cpu") && !line.starts_with("cpu "));
        Some(lines.count() as u32).filter(|processors| *processors > 0)
    }
}

/// Examines the machine, for a plan where there is one, else for all engines.
pub fn examine(around: &mut Surroundings<'_>, plan: Option<&Plan>, registry: &Registry) -> Vec<Check> {
    let mut checks = libraries::checks(around);
    checks.extend(engines::checks(around, plan, registry));
    checks.extend(models::checks(plan));
    checks.extend(storage::checks(around, plan));
    checks.extend(memory::checks(around, plan));
    checks.extend(host::checks(around, plan));
    checks.extend(variables::checks(around));
    checks
}

/// The worst of the states.
pub fn worst(checks: &[Check]) -> State {
    checks.iter().map(|check| check.state).max().unwrap_or(State::Ok)
}

/// Bytes for a person.
fn bytes_text(bytes: f64) -> String {
    if bytes >= 1e9 { format!("{:.1} GB", bytes / 1e9) } else { format!("{:.1} MB", bytes / 1e6) }
}

/// A file's name, for a person.
fn name_of(path: &Path) -> String {
    path.file_name().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned())
}
