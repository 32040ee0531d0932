//! Ctrl-C, SIGTERM and SIGHUP: the first asks the run to end, the second ends it.
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tacho::cell::contain;

use super::{
    exit::{self, Failure},
    progress,
};

/// A flag that the first signal sets: the trial that runs ends, and the report is written. The second signal ends the
/// program now; what is journalled stays.
pub fn flag(quiet: bool) -> Result<Arc<AtomicBool>, Failure> {
    let interrupted = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&interrupted);
    let set = ctrlc::set_handler(move || {
        if flag.swap(true, Ordering::Relaxed) {
            // They are process groups of their own, which a Ctrl-C does not reach, and may be deep in a native call.
            contain::end_all();
            progress::clear();
            std::process::exit(i32::from(exit::INTERRUPTED));
        }
        if !quiet {
            progress::say("interrupted: the trial that runs is finished first; once more stops now");
        }
    });
    set.map_err(|error| Failure::new(exit::USAGE, error))?;
    Ok(interrupted)
}
