//! What a cell has started ends with it: its process group, what left the group, and what left the family.
//!
//! Three nets, each for what slips through the one before. A cell is a process group of its own. Every process of it carries
//! [`MARK_VARIABLE`] in its environment, by which children are found that made a session of their own. And where the program
//! has said [`adopt_orphans`], what is left by a cell without a mark becomes this program's child. Only a process that
//! replaced its environment, left its group, and whose cell's `tacho` was itself killed, escapes.
use std::{
    fs,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use rustix::process::{
    Pid, Signal, WaitOptions, getpgrp, getpid, kill_process, kill_process_group, set_child_subreaper, waitpid,
};

/// The variable that every process of a cell has, with the cell's own value.
pub const MARK_VARIABLE: &str = "TACHO_CELL_MARK";
/// How long what was killed may take to be gone: a process inside a driver call ends when the call does.
const GONE_WITHIN: Duration = Duration::from_secs(10);

/// Cells of this program that are not over: their statuses are collected by who started them.
static LIVING: Mutex<Vec<(i32, String)>> = Mutex::new(Vec::new());
static ADOPTS: AtomicBool = AtomicBool::new(false);
static ENDING: AtomicBool = AtomicBool::new(false);
static MARKS: AtomicU64 = AtomicU64::new(0);

/// A new cell's mark: no other cell has it, not even after this program's number was given to another.
pub(crate) fn new_mark() -> String {
    let count = MARKS.fetch_add(1, Ordering::Relaxed);
    format!("{}-{count}-{}", std::process::id(), crate::measure::monotonic_ns())
}

/// Makes this process the parent of whatever its cells leave behind. For a program whose only children in process groups of
/// their own are cells.
///
/// # Errors
/// When the kernel refuses.
pub fn adopt_orphans() -> std::io::Result<()> {
    set_child_subreaper(Some(getpid()))?;
    ADOPTS.store(true, Ordering::Relaxed);
    Ok(())
}

fn living() -> std::sync::MutexGuard<'static, Vec<(i32, String)>> {
    LIVING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Notes that a cell runs.
pub(crate) fn began(pid: u32, mark: &str) {
    living().extend(i32::try_from(pid).map(|pid| (pid, mark.to_owned())));
}

/// Ends all cells of this program now: for a program that is about to end in the middle of their work. [`ending`] tells
/// other threads that those deaths are its own doing.
pub fn end_all() {
    ENDING.store(true, Ordering::SeqCst);
    let cells = living().clone();
    for (pid, mark) in cells {
        end(pid.unsigned_abs(), &mark);
    }
}

/// Whether [`end_all`] was called: the program ends any moment.
pub fn ending() -> bool {
    ENDING.load(Ordering::SeqCst)
}

/// Kills all that is left of a cell whose own process has been waited for, and waits until it is gone. Returns the processes
/// that are still there afterwards, which the kernel does not let go.
pub(crate) fn end(pid: u32, mark: &str) -> Vec<i32> {
    let pid = i32::try_from(pid).unwrap_or_default();
    living().retain(|(cell, _)| *cell != pid);
    let deadline = Instant::now() + GONE_WITHIN;
    let mut pause = Duration::from_micros(200);
    loop {
        let left = remains(pid, mark);
        if left.is_empty() || Instant::now() >= deadline {
            return left;
        }
        for process in left.iter().copied().filter_map(Pid::from_raw) {
            let _ = kill_process(process, Signal::KILL);
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}

/// The living processes of a cell that is over.
fn remains(pid: i32, mark: &str) -> Vec<i32> {
    if let Some(group) = Pid::from_raw(pid) {
        let _ = kill_process_group(group, Signal::KILL);
    }
    let mut left = marked(mark);
    if ADOPTS.load(Ordering::Relaxed) {
        let ours = getpgrp().as_raw_pid();
        let cells: Vec<i32> = living().iter().map(|(cell, _)| *cell).collect();
        for child in children() {
            let Some(stat) = Stat::of(child) else { continue };
            if cells.contains(&child) || stat.group == ours {
                continue;
            }
            if stat.ended {
                let _ = Pid::from_raw(child).map(|child| waitpid(Some(child), WaitOptions::NOHANG));
            } else {
                left.push(child);
            }
        }
    }
    left.extend(group(pid));
    left.sort_unstable();
    left.dedup();
    left
}

/// Kills every process with this process's own mark but itself. For a cell whose parent is gone.
pub(crate) fn end_own_children() {
    let Ok(mark) = std::env::var(MARK_VARIABLE) else { return };
    let me = getpid();
    for process in marked(&mark).into_iter().filter_map(Pid::from_raw).filter(|process| *process != me) {
        let _ = kill_process(process, Signal::KILL);
    }
}

/// Living processes that carry the mark.
pub(crate) fn marked(mark: &str) -> Vec<i32> {
    let wanted = format!("{MARK_VARIABLE}={mark}");
    let carries = |pid: &i32| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|entry| entry == wanted.as_bytes())
    };
    processes().filter(carries).filter(|pid| Stat::of(*pid).is_some_and(|stat| !stat.ended)).collect()
}

/// Living members of a process group.
fn group(leader: i32) -> Vec<i32> {
    // A question of one call in the usual case: that nobody is left.
    if Pid::from_raw(leader).is_none_or(|leader| rustix::process::test_kill_process_group(leader).is_err()) {
        return Vec::new();
    }
    let member = |pid: &i32| Stat::of(*pid).is_some_and(|stat| stat.group == leader && !stat.ended);
    processes().filter(member).collect()
}

fn processes() -> impl Iterator<Item = i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// This process's children, whichever thread started them.
pub(crate) fn children() -> Vec<i32> {
    let tasks = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let lists = tasks.map(|task| fs::read_to_string(task.path().join("children")).unwrap_or_default());
    lists.flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>()).collect()
}

struct Stat {
    group: i32,
    /// Ended and not yet waited for.
    ended: bool,
}

impl Stat {
    fn of(pid: i32) -> Option<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name stands in brackets and may hold anything, brackets too.
        let mut fields = text.get(text.rfind(')')? + 1..)?.split_whitespace();
        let state = fields.next()?;
        let group = fields.nth(1)?.parse().ok()?;
        Some(Self { group, ended: matches!(state, "Z" | "X") })
    }
}

/// Whether a process has a handler of its own for a signal.
pub(super) fn catches(pid: i32, signal: Signal) -> bool {
    in_mask(&format!("/proc/{pid}/status"), "SigCgt:", signal)
}

/// Whether this process ignores a signal, as one that was started by `nohup` does SIGHUP.
pub fn ignores(signal: Signal) -> bool {
    in_mask("/proc/self/status", "SigIgn:", signal)
}

fn in_mask(status: &str, name: &str, signal: Signal) -> bool {
    let status = fs::read_to_string(status).unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix(name));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default();
    mask >> (signal.as_raw() - 1) & 1 == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_read_and_a_mark_is_found() {
        let me = std::process::id() as i32;
        let stat = Stat::of(me).unwrap();
        assert_eq!((stat.group, stat.ended), (getpgrp().as_raw_pid(), false));
        assert!(Stat::of(i32::MAX).is_none());
        let mark = new_mark();
        assert_ne!(mark, new_mark());
        assert!(marked(&mark).is_empty());
        let mut child = std::process::Command::new("sleep").arg("100").env(MARK_VARIABLE, &mark).spawn().unwrap();
        // The kernel shows the new environment a little after `spawn` has returned.
        let deadline = Instant::now() + Duration::from_secs(5);
        while marked(&mark).is_empty() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(marked(&mark), [child.id() as i32]);
        assert!(children().contains(&(child.id() as i32)));
        assert!(!catches(child.id() as i32, Signal::TERM));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(marked(&mark).is_empty());
    }
}
