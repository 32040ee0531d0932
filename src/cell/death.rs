//! How a cell ended: its status in words, and what it had written.
use std::{
    fs::{self, File},
    io::{Read, Seek, SeekFrom},
    os::unix::process::ExitStatusExt,
    path::Path,
    process::ExitStatus,
};

use crate::secrets;

/// How many of the log's last lines go with a failure.
const LAST_LINES: usize = 60;
/// How many lines of stacks go with a death: some hundred threads'.
const STACK_LINES: usize = 2_000;
/// Bytes of the log's end that are searched for them.
const TAIL_BYTES: u64 = 256 << 10;

/// How a cell's process ended, as far as can be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Death {
    /// What happened: the signal, the exit status, or that it was killed past its deadline.
    pub reason: String,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// Its exit status.
    pub exit_code: Option<i32>,
    /// Whether the kernel ended it because memory ran out, by the kernel's own count.
    pub out_of_memory: bool,
    /// The last lines that it wrote.
    pub last_lines: Vec<String>,
    /// The stacks that it wrote when it crashed, or when it was asked because it hung; empty where it wrote none.
    pub stacks: Vec<String>,
}

impl Death {
    /// For that reason, with what the log has from byte `start` on.
    pub(super) fn new(reason: String, status: Option<ExitStatus>, log: &Path, start: u64) -> Self {
        let lines = log_tail(log, start);
        Self {
            reason: secrets::redact(&reason),
            signal: status.and_then(|status| status.signal()),
            exit_code: status.and_then(|status| status.code()),
            out_of_memory: false,
            stacks: stacks(&lines),
            last_lines: last(lines),
        }
    }
}

/// The status of a cell that was not to end, in words. `oom_kills` are the processes of its cgroup that the kernel has ended since
/// the cell began because memory ran out; None where the kernel does not tell.
pub(super) fn describe(status: ExitStatus, oom_kills: Option<u64>) -> String {
    match (status.signal(), status.code()) {
        (Some(9), _) => match oom_kills {
            Some(0) => "killed by signal 9 (SIGKILL); not by the kernel's OOM killer, by the count of its cgroup".to_owned(),
            Some(_) => "out of memory: killed by signal 9 (SIGKILL), and the kernel's OOM killer counts it in the cell's cgroup"
                .to_owned(),
            None => "killed by signal 9 (SIGKILL), perhaps by the kernel's OOM killer: the count of its cgroup cannot be read"
                .to_owned(),
        },
        (Some(signal), _) => format!("ended by signal {signal} ({})", signal_name(signal)),
        (None, Some(code)) => format!("exited with status {code} in the middle of its work"),
        (None, None) => "ended in an unknown way".to_owned(),
    }
}

fn signal_name(signal: i32) -> &'static str {
    match signal {
        2 => "SIGINT",
        4 => "SIGILL: an instruction that this processor does not have",
        6 => "SIGABRT: it gave up by itself",
        7 => "SIGBUS",
        8 => "SIGFPE",
        11 => "SIGSEGV: a memory fault in native code",
        15 => "SIGTERM",
        _ => "unnamed",
    }
}

/// The last lines of a log, from byte `start` on; for other processes than cells too.
pub(crate) fn last_lines(log: &Path, start: u64) -> Vec<String> {
    last(log_tail(log, start))
}

/// The end of the log from byte `start` on, line by line, made readable and without secrets.
fn log_tail(log: &Path, start: u64) -> Vec<String> {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = File::open(log)?;
        let length = fs::metadata(log)?.len();
        file.seek(SeekFrom::Start(start.max(length.saturating_sub(TAIL_BYTES))))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let text = String::from_utf8_lossy(&read().unwrap_or_default()).into_owned();
    let text = secrets::redact(&text);
    let clean = |line: &str| -> String {
        line.chars().map(|c| if c.is_control() && c != '\t' { '\u{fffd}' } else { c }).take(400).collect()
    };
    text.lines().map(clean).collect()
}

fn last(mut lines: Vec<String>) -> Vec<String> {
    lines.drain(..lines.len().saturating_sub(LAST_LINES));
    lines
}

/// What the cell's crash handler and Python's fault handler wrote: from the first line that either begins with.
fn stacks(lines: &[String]) -> Vec<String> {
    let begins = |line: &String| {
        ["cell: fatal signal", "cell: stacks", "Fatal Python error:", "Thread 0x", "Current thread 0x"]
            .iter()
            .any(|start| line.starts_with(start))
    };
    let start = lines.iter().position(begins).unwrap_or(lines.len());
    lines[start..].iter().take(STACK_LINES).cloned().collect()
}
