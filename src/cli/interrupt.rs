//! Ctrl-C, SIGTERM and SIGHUP: the first asks the run to end, the second ends it.
use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use rustix::process::{Pid, Signal, kill_process_group};

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
            kill_cells();
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

/// Cells are process groups of their own, so that a Ctrl-C does not reach them; in the middle of a long call they would
/// outlive their parent.
fn kill_cells() {
    for task in fs::read_dir("/proc/self/task").into_iter().flatten().flatten() {
        let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
        for pid in children.split_whitespace().filter_map(|pid| pid.parse().ok()).filter_map(Pid::from_raw) {
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }
}
