//! Exit codes, and the errors that choose them.
use std::{
    io::{self, Write},
    process::ExitCode,
};

use tacho::plan::PlanError;

/// Every point was measured.
pub const OK: u8 = 0;
/// The run is over, and some point could not be measured.
pub const POINTS_FAILED: u8 = 1;
/// The command line or the plan is wrong; nothing ran.
pub const USAGE: u8 = 2;
/// The results directory cannot be read or written.
pub const STORAGE: u8 = 3;
/// No engine could be started.
pub const ENGINE: u8 = 4;
/// With `--strict`: every point was measured, and some point's figures are invalid, or not checked as asked.
pub const INVALID: u8 = 5;
/// A comparison came to what it was to fail on, or a calibration did not pass.
pub const NOT_PASSED: u8 = 6;
/// Interrupted; what was measured is kept.
pub const INTERRUPTED: u8 = 130;

/// For `--help`.
pub const HELP: &str = "\
Exit codes:
  0    every point was measured
  1    some point could not be measured; the others are in the results
  2    the command line or the plan is wrong; nothing ran
  3    the results directory cannot be read or written
  4    no engine could be started
  5    with --strict: all was measured, but some figures are invalid, or not checked as asked
  6    a comparison came to what it was to fail on, or the calibration did not pass
  130  interrupted; what was measured is kept, and --resume finishes it";

/// For `tacho capacity --help`.
pub const CAPACITY_HELP: &str = "\
Exit codes:
  0    a capacity was found
  1    none was found; the trials are in the results
  2    the command line or the plan is wrong; nothing ran
  3    the results directory cannot be written
  130  interrupted; the trials that were run are kept";

/// For `tacho ledger --help`.
pub const LEDGER_HELP: &str = "\
Exit codes:
  0    every rung that was asked for was measured
  1    some rung could not be measured; the others are in the folder
  2    the command line or the plan is wrong; nothing ran
  3    the folder cannot be written
  4    no engine could be started
  130  interrupted; what was measured is kept";

/// For `tacho compare --help`.
pub const COMPARE_HELP: &str = "\
Exit codes:
  0  the runs were compared, and no point came to what --fail-on names
  2  nothing could be compared, or the command line is wrong
  3  a run directory cannot be read
  6  some point came to what --fail-on names";

/// For `tacho calibrate --help`.
pub const CALIBRATE_HELP: &str = "\
Exit codes:
  0  every check passed
  2  the command line is wrong, or, with --kept, nothing is kept
  3  the outcome cannot be kept
  4  the simulated engine could not be started
  6  some check did not pass";

/// Why the program ends early.
#[derive(Debug)]
pub struct Failure {
    code: u8,
    error: anyhow::Error,
}

impl Failure {
    /// With that exit code.
    pub fn new(code: u8, error: impl Into<anyhow::Error>) -> Self {
        Self { code, error: error.into() }
    }

    /// Wrong usage.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(USAGE, anyhow::Error::msg(message.into()))
    }

    /// Says it on standard error.
    pub fn report(self) -> ExitCode {
        // Whoever reads our output has gone away: not worth a word.
        let gone = self.error.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe);
        if !gone {
            let _ = writeln!(io::stderr(), "error: {:#}", self.error);
        }
        ExitCode::from(if gone { OK } else { self.code })
    }
}

impl From<PlanError> for Failure {
    fn from(error: PlanError) -> Self {
        Self::new(USAGE, error)
    }
}

/// Writing to standard output failed.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::new(STORAGE, error)
    }
}
