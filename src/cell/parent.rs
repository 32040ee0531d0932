//! The parent's side: starts a cell program, asks, waits with a deadline, and says how a cell died.
use std::{
    ffi::OsString,
    fs::{self, File},
    io::{BufReader, Read, Seek, SeekFrom, Write},
    os::unix::process::{CommandExt, ExitStatusExt},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ExitStatus, Stdio},
    sync::mpsc::{self, RecvTimeoutError},
    time::{Duration, Instant},
};

use super::protocol::{
    Command, Frame, PROTOCOL, ProtocolError, Reply, RequestRow, StepRow, TokenRow, TrialSpec, TrialSummary, read_frame,
    write_message,
};
use crate::{
    BUILD_HASH,
    engine::{EngineError, EngineInfo, Forced, LoadConfig, Scored, conformance::Check},
};

/// The first argument by which `tacho` knows that it is to be the cell of the simulated engine.
pub const SIM_CELL_ARG: &str = "__cell-sim";
/// How many of the log's last lines go with a failure.
const LAST_LINES: usize = 60;
/// Bytes of the log's end that are searched for them.
const TAIL_BYTES: u64 = 64 << 10;
const HELLO_WITHIN: Duration = Duration::from_secs(30);
/// How soon a death is noticed that does not close the pipe.
const WATCH: Duration = Duration::from_millis(200);
const BYE_WITHIN: Duration = Duration::from_secs(20);

/// A cell program and how to start it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CellProgram {
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Environment variables set for it, on top of this process's.
    pub env: Vec<(OsString, OsString)>,
    /// The command that builds the program, named when it is absent or stale.
    pub build_with: String,
}

/// How a cell's process ended, as far as can be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Death {
    /// What happened: the signal, the exit status, or that it was killed past its deadline.
    pub reason: String,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// Its exit status.
    pub exit_code: Option<i32>,
    /// The last lines that it wrote.
    pub last_lines: Vec<String>,
}

/// What a cell can answer instead of what was asked.
#[derive(Debug, thiserror::Error)]
pub enum CellError {
    /// The program cannot be started.
    #[error("the cell program {} cannot be started: {source}; build it with `{build_with}`", program.display())]
    Start {
        /// The program.
        program: PathBuf,
        /// Why.
        source: std::io::Error,
        /// The command that builds it.
        build_with: String,
    },
    /// The program was built from other sources than this one.
    #[error(
        "the cell program {} is stale: it was built from sources {found}, this tacho from {expected}; build it again with \
         `{build_with}`", program.display()
    )]
    Stale {
        /// The program.
        program: PathBuf,
        /// Its build hash.
        found: String,
        /// Ours.
        expected: String,
        /// The command that builds it.
        build_with: String,
    },
    /// The engine answered with an error; the cell lives.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The cell is gone.
    #[error("the cell died: {}", .0.reason)]
    Died(Box<Death>),
    /// The trial's records could not be stored.
    #[error("records could not be stored: {0}")]
    Store(String),
}

/// Takes a trial's tables as they arrive, a frame at a time.
pub trait TableSink {
    /// Part of the tokens table.
    ///
    /// # Errors
    /// A sentence for a person when it cannot be stored.
    fn tokens(&mut self, rows: &[TokenRow]) -> Result<(), String>;
    /// Part of the requests table.
    ///
    /// # Errors
    /// A sentence for a person when it cannot be stored.
    fn requests(&mut self, rows: &[RequestRow]) -> Result<(), String>;
    /// Part of the steps table.
    ///
    /// # Errors
    /// A sentence for a person when it cannot be stored.
    fn steps(&mut self, rows: &[StepRow]) -> Result<(), String>;
    /// Output tokens so far, a few times a second in step-loop trials.
    fn progress(&mut self, output_tokens: u64);
}

/// A running cell. Dropping it kills its whole process group.
#[derive(Debug)]
pub struct Cell {
    child: Child,
    stdin: Option<ChildStdin>,
    frames: mpsc::Receiver<Result<Frame, ProtocolError>>,
    log: PathBuf,
    log_start: u64,
}

impl Cell {
    /// Starts a cell program with its standard error appended to `log`, and shakes hands.
    ///
    /// # Errors
    /// [`CellError::Start`], [`CellError::Stale`], or [`CellError::Died`] before it said hello.
    pub fn start(program: &CellProgram, log: &Path) -> Result<Self, CellError> {
        let failed = |source| CellError::Start {
            program: program.program.clone(),
            source,
            build_with: program.build_with.clone(),
        };
        let log_file = File::options().create(true).append(true).open(log).map_err(failed)?;
        let log_start = log_file.metadata().map_err(failed)?.len();
        tracing::debug!(program = %program.program.display(), log = %log.display(), "starting a cell");
        let mut child = std::process::Command::new(&program.program)
            .args(&program.args)
            .envs(program.env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log_file)
            .process_group(0)
            .spawn()
            .map_err(failed)?;
        let (sender, frames) = mpsc::sync_channel(4);
        let stdin = child.stdin.take();
        if let Some(output) = child.stdout.take() {
            std::thread::spawn(move || {
                let mut input = BufReader::with_capacity(1 << 16, output);
                loop {
                    let frame = read_frame(&mut input);
                    let last = frame.is_err();
                    if sender.send(frame).is_err() || last {
                        return;
                    }
                }
            });
        }
        let mut cell = Self { child, stdin, frames, log: log.to_owned(), log_start };
        match cell.reply(HELLO_WITHIN, "say hello")? {
            Reply::Hello { protocol: PROTOCOL, build, .. } if build == BUILD_HASH => Ok(cell),
            Reply::Hello { build, .. } => Err(CellError::Stale {
                program: program.program.clone(),
                found: build,
                expected: BUILD_HASH.to_owned(),
                build_with: program.build_with.clone(),
            }),
            other => Err(cell.unexpected(&other)),
        }
    }

    /// The last lines that it wrote to its log.
    pub fn last_lines(&self) -> Vec<String> {
        last_lines(&self.log, self.log_start)
    }

    /// The cell's process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Loads an engine; returns what it says of itself and how long loading took, in nanoseconds.
    ///
    /// # Errors
    /// [`CellError::Engine`] when it cannot be loaded, [`CellError::Died`] when the cell did not survive it or the deadline.
    pub fn load(&mut self, config: &LoadConfig, within: Duration) -> Result<(EngineInfo, u64), CellError> {
        self.ask(&Command::Load(config.clone()))?;
        match self.reply(within, "load")? {
            Reply::Loaded { info, load_ns } => Ok((*info, load_ns)),
            Reply::Failed(error) => Err(error.into()),
            other => Err(self.unexpected(&other)),
        }
    }

    /// Runs a trial, passing its tables to `sink`.
    ///
    /// # Errors
    /// [`CellError::Engine`] when the engine failed and the cell lives, [`CellError::Died`] when it does not or was past
    /// its deadline, [`CellError::Store`] when the sink failed.
    pub fn trial(
        &mut self,
        spec: &TrialSpec,
        within: Duration,
        sink: &mut dyn TableSink,
    ) -> Result<TrialSummary, CellError> {
        self.ask(&Command::Trial(Box::new(spec.clone())))?;
        let deadline = Instant::now() + within;
        loop {
            let stored = match self.next(deadline, "finish a trial")? {
                Frame::Tokens(rows) => sink.tokens(&rows),
                Frame::Requests(rows) => sink.requests(&rows),
                Frame::Steps(rows) => sink.steps(&rows),
                Frame::Reply(Reply::Progress { output_tokens }) => {
                    sink.progress(output_tokens);
                    Ok(())
                }
                Frame::Reply(Reply::TrialDone(summary)) => return Ok(*summary),
                Frame::Reply(Reply::Failed(error)) => return Err(error.into()),
                Frame::Reply(other) => return Err(self.unexpected(&other)),
            };
            stored.map_err(CellError::Store)?;
        }
    }

    /// Runs the conformance checks on the loaded engine.
    ///
    /// # Errors
    /// [`CellError::Engine`] when none is loaded, [`CellError::Died`] when the cell did not survive them or the deadline.
    pub fn conform(&mut self, within: Duration) -> Result<Vec<Check>, CellError> {
        self.ask(&Command::Conform)?;
        match self.reply(within, "finish the conformance checks")? {
            Reply::Conformed(checks) => Ok(checks),
            Reply::Failed(error) => Err(error.into()),
            other => Err(self.unexpected(&other)),
        }
    }

    /// Generates greedily, untimed: exactly `output_tokens` ids after each prompt of token ids, in the prompts' order.
    ///
    /// # Errors
    /// As [`Self::conform`].
    pub fn generate(
        &mut self,
        prompts: Vec<Vec<u32>>,
        output_tokens: u32,
        within: Duration,
    ) -> Result<Vec<Vec<u32>>, CellError> {
        self.ask(&Command::Generate { prompts, output_tokens })?;
        match self.reply(within, "generate")? {
            Reply::Generated(ids) => Ok(ids),
            Reply::Failed(error) => Err(error.into()),
            other => Err(self.unexpected(&other)),
        }
    }

    /// What the engine thinks at each position of given continuations, untimed.
    ///
    /// # Errors
    /// As [`Self::conform`]; [`CellError::Engine`] with kind `Unsupported` where the engine's door has no such thing.
    pub fn score(&mut self, sequences: Vec<Forced>, within: Duration) -> Result<Vec<Vec<Scored>>, CellError> {
        self.ask(&Command::Score { sequences })?;
        match self.reply(within, "score")? {
            Reply::Scored(scores) => Ok(scores),
            Reply::Failed(error) => Err(error.into()),
            other => Err(self.unexpected(&other)),
        }
    }

    /// Ends the engine and waits for the process.
    ///
    /// # Errors
    /// [`CellError::Engine`] when the engine did not end cleanly, [`CellError::Died`] when it had to be killed.
    pub fn shutdown(mut self) -> Result<(), CellError> {
        self.ask(&Command::Shutdown)?;
        let answer = self.reply(BYE_WITHIN, "shut down")?;
        self.stdin = None;
        let status = self.wait(BYE_WITHIN);
        // What it started must not outlive it.
        self.kill();
        match answer {
            Reply::Bye => match status {
                Some(status) if status.success() => Ok(()),
                _ => Err(self.died(None)),
            },
            Reply::Failed(error) => Err(error.into()),
            other => Err(self.unexpected(&other)),
        }
    }

    fn ask(&mut self, command: &Command) -> Result<(), CellError> {
        let written = match &mut self.stdin {
            Some(pipe) => write_message(pipe, command).and_then(|()| pipe.flush()),
            None => Err(std::io::ErrorKind::BrokenPipe.into()),
        };
        written.map_err(|_| self.died(None))
    }

    fn reply(&mut self, within: Duration, what: &str) -> Result<Reply, CellError> {
        match self.next(Instant::now() + within, what)? {
            Frame::Reply(reply) => Ok(reply),
            _ => Err(self.kill_for(format!("it sent a table where it should {what}"))),
        }
    }

    fn next(&mut self, deadline: Instant, what: &str) -> Result<Frame, CellError> {
        let started = Instant::now();
        let mut ended = false;
        let frame = loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.frames.recv_timeout(left.min(WATCH)) {
                // The process is gone but its pipe is not: something it started holds it. What was sent has been read.
                Err(RecvTimeoutError::Timeout) if ended => break Err(RecvTimeoutError::Disconnected),
                Err(RecvTimeoutError::Timeout) if left > WATCH => {
                    ended = matches!(self.child.try_wait(), Ok(Some(_)));
                }
                other => break other,
            }
        };
        match frame {
            Ok(Ok(frame)) => Ok(frame),
            Ok(Err(ProtocolError::Malformed(error))) => {
                Err(self.kill_for(format!("what it sent is not readable: {error}")))
            }
            Ok(Err(ProtocolError::Closed | ProtocolError::Io(_))) | Err(RecvTimeoutError::Disconnected) => {
                Err(self.died(None))
            }
            Err(RecvTimeoutError::Timeout) => Err(self.kill_for(format!(
                "it did not {what} within its deadline of {:.0} s and was killed",
                deadline.saturating_duration_since(started).as_secs_f64()
            ))),
        }
    }

    fn unexpected(&mut self, reply: &Reply) -> CellError {
        self.kill_for(format!("it answered out of turn: {reply:?}"))
    }

    fn kill_for(&mut self, reason: String) -> CellError {
        self.kill();
        self.died(Some(reason))
    }

    fn kill(&mut self) {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process_group(pid, rustix::process::Signal::KILL);
        }
    }

    fn died(&mut self, reason: Option<String>) -> CellError {
        let status = self.wait(Duration::from_secs(5));
        // What it started must not outlive it.
        self.kill();
        let reason = reason.unwrap_or_else(|| match status {
            Some(status) => describe(status),
            None => "it closed its pipe but its process did not end; it was killed".to_owned(),
        });
        tracing::debug!(pid = self.child.id(), %reason, "a cell died");
        CellError::Died(Box::new(Death {
            reason,
            signal: status.and_then(|status| status.signal()),
            exit_code: status.and_then(|status| status.code()),
            last_lines: self.last_lines(),
        }))
    }

    fn wait(&mut self, within: Duration) -> Option<ExitStatus> {
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
        let ended = matches!(self.child.try_wait(), Ok(Some(_)));
        self.kill();
        if !ended {
            let _ = self.child.wait();
        }
    }
}

fn describe(status: ExitStatus) -> String {
    match (status.signal(), status.code()) {
        (Some(9), _) => "killed by signal 9 (SIGKILL), as the kernel does when memory runs out".to_owned(),
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

/// The last lines of the log from byte `start` on, made readable.
fn last_lines(log: &Path, start: u64) -> Vec<String> {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = File::open(log)?;
        let length = fs::metadata(log)?.len();
        file.seek(SeekFrom::Start(start.max(length.saturating_sub(TAIL_BYTES))))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let text = String::from_utf8_lossy(&read().unwrap_or_default()).into_owned();
    let clean = |line: &str| -> String {
        line.chars().map(|c| if c.is_control() && c != '\t' { '\u{fffd}' } else { c }).take(400).collect()
    };
    let mut lines: Vec<String> = text.lines().rev().take(LAST_LINES).map(clean).collect();
    lines.reverse();
    lines
}
