//! How a cell is ended, asked where it hangs, and what is said of its end.
use std::{
    fs,
    os::unix::process::ExitStatusExt,
    process::ExitStatus,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use super::{
    super::{contain, death},
    Cell, CellError, Death,
};
use crate::measure::monotonic_ns;

/// Asks a cell for the stacks of its threads. No engine uses it, and a cell that does not know it is left alone.
const ASK_FOR_STACKS: Signal = Signal::STKFLT;
/// How long a hung cell may take to write its stacks down, and how long its log must rest to be taken as whole.
const STACKS_WITHIN: Duration = Duration::from_secs(3);
const STACKS_REST: Duration = Duration::from_millis(150);

impl Cell {
    pub(super) fn kill_for(&mut self, reason: String) -> CellError {
        self.ended_ns.get_or_insert_with(monotonic_ns);
        self.kill_group();
        self.died(Some(reason))
    }

    /// To its whole process group; whether it got there.
    pub(super) fn signal(&self, signal: Signal) -> bool {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        pid.is_some_and(|pid| kill_process_group(pid, signal).is_ok())
    }

    /// Has the cell's processes write down where they are, those that know how to, and waits until they have.
    pub(super) fn write_stacks(&self) {
        let asked: Vec<i32> =
            contain::marked(&self.mark).into_iter().filter(|pid| contain::catches(*pid, ASK_FOR_STACKS)).collect();
        if asked.is_empty() {
            return;
        }
        let length = || fs::metadata(&self.log).map_or(0, |meta| meta.len());
        let (began, mut seen, mut rests) = (Instant::now(), length(), Instant::now());
        let before = seen;
        for pid in asked.into_iter().filter_map(Pid::from_raw) {
            let _ = kill_process(pid, ASK_FOR_STACKS);
        }
        while began.elapsed() < STACKS_WITHIN && (seen == before || rests.elapsed() < STACKS_REST) {
            std::thread::sleep(Duration::from_millis(10));
            let now = length();
            if now != seen {
                (seen, rests) = (now, Instant::now());
            }
        }
    }

    fn kill_group(&mut self) {
        // Not once it has been waited for: its number may be another's by then.
        if let Ok(None) = self.child.try_wait()
            && let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw)
        {
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }

    /// Ends its process and what that started.
    pub(super) fn end(&mut self) {
        self.ended_ns.get_or_insert_with(monotonic_ns);
        self.kill_group();
        let _ = self.wait(Duration::from_secs(5));
        self.remains = contain::end(self.child.id(), &self.mark);
        if !self.remains.is_empty() {
            tracing::warn!(pid = self.child.id(), left = ?self.remains, "processes of a cell cannot be killed");
        }
    }

    pub(super) fn died(&mut self, reason: Option<String>) -> CellError {
        self.ended_ns.get_or_insert_with(monotonic_ns);
        let status = self.wait(Duration::from_secs(5));
        self.end();
        // One that this program has killed was killed by nobody else.
        let kernels = if reason.is_none() { self.oom_kills.since() } else { Some(0) };
        let out_of_memory = kernels > Some(0) && status.and_then(|status| status.signal()) == Some(9);
        let mut reason = reason.unwrap_or_else(|| match status {
            Some(status) => death::describe(status, kernels),
            None => "it closed its pipe but its process did not end; it was killed".to_owned(),
        });
        if !self.remains.is_empty() {
            reason.push_str(&format!("; its processes {:?} cannot be killed", self.remains));
        }
        tracing::debug!(pid = self.child.id(), %reason, "a cell died");
        let death = Death::new(reason, status, &self.log, self.log_start);
        CellError::Died(Box::new(Death { out_of_memory, ..death }))
    }

    pub(super) fn wait(&mut self, within: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + within;
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return Some(status),
                Ok(None) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(2)),
                _ => return None,
            }
        }
    }
}

impl Drop for Cell {
    fn drop(&mut self) {
        if self.ended_ns.is_none() {
            self.end();
        }
    }
}
