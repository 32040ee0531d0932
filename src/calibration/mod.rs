//! Whether the figures and verdicts of Tacho can be believed on this machine, now: clocks (a GPU's too), the harness's own cost, how late
//! requests are released, the simulated engine against its closed form, and how often verdicts on it are right.

mod gpu;
pub mod harness;
mod release;
mod stack;
mod state;
mod verdicts;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

pub use state::CalibrationState;

use crate::{cell::parent::CellProgram, results::Provenance};

/// Raised when a field changes its meaning.
pub const SCHEMA: u32 = 2;
/// Comparisons of each kind that the rates of right verdicts are counted over.
pub const COMPARISONS: u32 = 40;

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Within its limit.
    Passed,
    /// Not.
    Failed,
}

/// One figure against its limit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// What was looked at.
    pub name: String,
    /// The value.
    pub value: f64,
    /// What it should be.
    pub expected: Option<f64>,
    /// How far from `expected` it may be, or, without one, how large at most (rates: how small at least).
    pub limit: Option<f64>,
    /// The unit of all three.
    pub unit: String,
    /// How it came out.
    pub outcome: Outcome,
    /// For a person: over what it is.
    pub note: String,
}

impl Check {
    fn at_most(name: &str, value: f64, limit: f64, unit: &str, note: &str) -> Self {
        Self::judged(name, value, None, limit, unit, note, value <= limit)
    }

    fn at_least(name: &str, value: f64, limit: f64, unit: &str, note: &str) -> Self {
        Self::judged(name, value, None, limit, unit, note, value >= limit)
    }

    fn near(name: &str, value: f64, expected: f64, limit: f64, unit: &str, note: &str) -> Self {
        Self::judged(name, value, Some(expected), limit, unit, note, (value - expected).abs() <= limit)
    }

    fn judged(name: &str, value: f64, expected: Option<f64>, limit: f64, unit: &str, note: &str, passed: bool) -> Self {
        Self {
            name: name.to_owned(),
            value,
            expected,
            limit: Some(limit),
            unit: unit.to_owned(),
            outcome: if passed { Outcome::Passed } else { Outcome::Failed },
            note: note.to_owned(),
        }
    }
}

/// A calibration of a machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// [`SCHEMA`].
    pub schema: u32,
    /// When, RFC 3339, UTC.
    pub at: String,
    /// Which Tacho.
    pub tacho: Provenance,
    /// The load average over a minute when it began, where the kernel tells.
    pub load_average: Option<f64>,
    /// What was looked at.
    pub checks: Vec<Check>,
    /// What was not looked at, and why; that is neither passed nor failed.
    #[serde(default)]
    pub missing: BTreeMap<String, String>,
}

impl Calibration {
    /// Whether no check failed.
    pub fn passed(&self) -> bool {
        self.failed().next().is_none()
    }

    /// The checks that failed.
    pub fn failed(&self) -> impl Iterator<Item = &Check> {
        self.checks.iter().filter(|check| check.outcome == Outcome::Failed)
    }
}

/// Calibrates this machine. `sim` is the cell program of the simulated engine, whose log goes to `log`; `gpu` the program that
/// measures a GPU, or why there is none; `comparisons` how many comparisons of each kind are judged, [`COMPARISONS`] for a
/// calibration that counts. `say` is told what comes next.
///
/// # Errors
/// A sentence when a cell cannot be started or its engine fails.
pub fn calibrate(
    sim: &CellProgram,
    log: &Path,
    gpu: Result<PathBuf, String>,
    comparisons: u32,
    say: &mut dyn FnMut(&str),
) -> Result<Calibration, String> {
    let host = crate::results::Host::read();
    say("clock");
    let mut checks = harness::clock();
    say("the GPU's event clock");
    let mut missing = BTreeMap::new();
    match gpu {
        Ok(program) => checks.extend(gpu::clock(&program).unwrap_or_else(|reason| vec![gpu::no_clock(&reason)])),
        Err(reason) => drop(missing.insert("the GPU's event clock".to_owned(), reason)),
    }
    say("harness");
    checks.extend(harness::costs()?);
    say("release of an open load");
    checks.extend(release::lateness(sim, log)?);
    say("the simulated engine against its closed form");
    checks.extend(stack::closed_form(sim, log)?);
    say("comparisons of the simulated engine with itself and with a slower one");
    checks.extend(verdicts::rates(sim, log, comparisons)?);
    Ok(Calibration {
        schema: SCHEMA,
        at: crate::results::now_rfc3339(),
        tacho: Provenance::of_this_program(),
        load_average: host.load_average.map(|[one, ..]| one),
        checks,
        missing,
    })
}
