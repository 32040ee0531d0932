//! Ctrl-C, SIGTERM and SIGHUP: the first asks the run to end, the second ends it.
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use rustix::process::Signal;
use signal_hook::iterator::Signals;
use tacho::cell::contain;

use super::{
    exit::{self, Failure},
    progress,
};

/// A flag that the first signal sets: the trial that runs ends, and the report is written. The second signal ends the
/// program now; what is journalled stays. A SIGHUP is never the second one: a terminal that goes away sends several, the kernel's and
/// those of the shells in it, and nobody who wants it to end now. A SIGHUP that was ignored when the program started stays ignored: `nohup` asks for
/// that. To be called once.
pub fn flag(quiet: bool) -> Result<Arc<AtomicBool>, Failure> {
    let failed = |error| Failure::new(exit::USAGE, anyhow::Error::new(error).context("signals cannot be heard"));
    let heard = [Signal::INT, Signal::TERM, Signal::HUP]
        .into_iter()
        .filter(|signal| *signal != Signal::HUP || !contain::ignores(*signal))
        .map(Signal::as_raw);
    let mut signals = Signals::new(heard).map_err(failed)?;
    let interrupted = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&interrupted);
    let listen = move || {
        for signal in signals.forever() {
            let again = flag.swap(true, Ordering::Relaxed);
            if again && signal == Signal::HUP.as_raw() {
                continue;
            }
            if again {
                // They are process groups of their own, which a Ctrl-C does not reach, and may be deep in a native call.
                contain::end_all();
                progress::clear();
                std::process::exit(i32::from(exit::INTERRUPTED));
            }
            if !quiet {
                progress::say("interrupted: the trial that runs is finished first; once more stops now");
            }
        }
    };
    thread::Builder::new().name("signals".to_owned()).spawn(listen).map_err(failed)?;
    Ok(interrupted)
}
