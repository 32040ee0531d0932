//! What a run knows of its machine's calibration, and where calibrations are kept.
use std::{
    fs,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{Calibration, SCHEMA};
use crate::results::{Host, files::replace};

/// Whether the machine of a run was calibrated.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum CalibrationState {
    /// It was not.
    Absent {
        /// Why not, and what to do.
        reason: String,
    },
    /// All checks passed.
    Passed(Calibration),
    /// Some did not.
    Failed(Calibration),
}

impl Default for CalibrationState {
    fn default() -> Self {
        Self::Absent { reason: "nobody looked for one".to_owned() }
    }
}

impl CalibrationState {
    /// The one that is kept in `dir` for this machine.
    pub fn kept(dir: &Path) -> Self {
        let absent = |reason: String| Self::Absent { reason };
        let path = dir.join(file_name(&Host::read()));
        let Ok(text) = fs::read(&path) else {
            return absent("this machine has not been calibrated: run `tacho calibrate`".to_owned());
        };
        match serde_json::from_slice::<Calibration>(&text) {
            Err(error) => absent(format!("{} cannot be read: {error}; run `tacho calibrate`", path.display())),
            Ok(found) if found.schema != SCHEMA || found.tacho.build_hash != crate::BUILD_HASH => {
                absent("this machine was calibrated with another build of tacho: run `tacho calibrate`".to_owned())
            }
            Ok(found) if found.passed() => Self::Passed(found),
            Ok(found) => Self::Failed(found),
        }
    }

    /// What stands first in a report; None unless it failed.
    pub fn warning(&self) -> Option<String> {
        let Self::Failed(found) = self else { return None };
        let failed: Vec<&str> = found.failed().map(|check| check.name.as_str()).collect();
        Some(format!(
            "the calibration of this machine ({}) FAILED: {}. Figures may be off by more than Tacho promises; make the \
             machine quiet and run `tacho calibrate`",
            found.at,
            failed.join(", ")
        ))
    }
}

impl Calibration {
    /// Keeps it in `dir` for this machine, instead of an earlier one.
    ///
    /// # Errors
    /// A sentence for a person when the file cannot be written.
    pub fn keep(&self, dir: &Path) -> Result<PathBuf, String> {
        let path = dir.join(file_name(&Host::read()));
        let mut text = serde_json::to_vec_pretty(self).map_err(|error| error.to_string())?;
        text.push(b'\n');
        fs::create_dir_all(dir).map_err(|error| format!("{} cannot be made: {error}", dir.display()))?;
        replace(&path, &text).map_err(|error| error.to_string())?;
        Ok(path)
    }
}

/// By what makes another machine of it.
fn file_name(host: &Host) -> String {
    let identity = format!("{:?} {:?} {:?} {:?}", host.cpu_model, host.cores, host.kernel, host.governor);
    format!("{}.json", &blake3::hash(identity.as_bytes()).to_hex()[..16])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{calibration::Check, results::Provenance};

    fn calibration(value: f64) -> Calibration {
        Calibration {
            schema: SCHEMA,
            at: "2026-11-22T02:12:00Z".to_owned(),
            tacho: Provenance::of_this_program(),
            load_average: None,
            checks: vec![Check::at_most("token event", value, 100.0, "ns", "")],
            missing: Default::default(),
        }
    }

    #[test]
    fn passed_failed_and_absent_are_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let kept = || CalibrationState::kept(dir.path());
        assert!(matches!(kept(), CalibrationState::Absent { .. }));
        calibration(50.0).keep(dir.path()).unwrap();
        assert_eq!(kept(), CalibrationState::Passed(calibration(50.0)));
        assert_eq!(kept().warning(), None);
        let path = calibration(150.0).keep(dir.path()).unwrap();
        assert!(kept().warning().unwrap().contains("FAILED: token event"));
        let mut other = calibration(50.0);
        other.tacho.build_hash = "other".to_owned();
        other.keep(dir.path()).unwrap();
        assert!(matches!(kept(), CalibrationState::Absent { reason } if reason.contains("another build")));
        fs::write(path, "{").unwrap();
        assert!(matches!(kept(), CalibrationState::Absent { reason } if reason.contains("cannot be read")));
    }
}
