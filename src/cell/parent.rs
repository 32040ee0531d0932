//! The parent's side: starts a cell program, asks, waits with a deadline, and says how a cell died.
mod ending;

use std::{
    ffi::OsString,
    fs::{self, File},
    io::{BufReader, Write},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Stdio},
    sync::mpsc::{self, RecvTimeoutError},
    time::{Duration, Instant},
};

use rustix::process::Signal;

pub use super::death::Death;
pub(crate) use super::death::last_lines;
use super::protocol::{Command, Method, PROTOCOL, Reply, RequestRow, StepRow, TokenRow, TrialSpec, TrialSummary};
use super::text::{TextDone, TextSpec};
use super::wire::{Frame, ProtocolError, read_frame, write_message};
use super::{
    contain::{self, MARK_VARIABLE},
    environment,
    oom_kills::OomKills,
    trust,
};
use crate::{
    BUILD_HASH,
    engine::{EngineError, EngineInfo, ErrorKind, Forced, LoadConfig, Scored, conformance::Check},
    secrets,
};

/// The first argument by which `tacho` knows that it is to be the cell of the simulated engine.
pub const SIM_CELL_ARG: &str = "__cell-sim";
const HELLO_WITHIN: Duration = Duration::from_secs(30);
/// How soon a death is noticed that does not close the pipe.
const WATCH: Duration = Duration::from_millis(200);
const BYE_WITHIN: Duration = Duration::from_secs(20);
/// How much a cell may write to its log, in bytes: a run goes on for hours beside what its engines print.
const LOG_LIMIT: u64 = 1 << 30;
/// Another such limit.
pub const LOG_LIMIT_VARIABLE: &str = "TACHO_CELL_LOG_LIMIT";
/// A cell program and how to start it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CellProgram {
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Environment variables set for it, on top of what it [inherits](super::environment).
    pub env: Vec<(OsString, OsString)>,
    /// The command that builds the program, named when it is absent or stale.
    pub build_with: String,
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
    /// The file that the cell is to write its log to.
    #[error("the cell's log {} cannot be created: {source}; is its folder there, and can it be written?", path.display())]
    Log {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
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
    /// Bytes.
    log_limit: u64,
    looked: Instant,
    parked: bool,
    mark: String,
    oom_kills: OomKills,
    ended_ns: Option<u64>,
    remains: Vec<i32>,
}

/// How long a cell may take, and how long be silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// For the whole trial.
    pub within: Duration,
    /// Without a new output token, in a trial by the step loop; the engine's own call tells nothing until it is over.
    pub idle: Duration,
}

impl Cell {
    /// Starts a cell program with its standard error appended to `log`, and shakes hands.
    ///
    /// # Errors
    /// [`CellError::Start`], [`CellError::Log`], [`CellError::Stale`], or [`CellError::Died`] before it said hello.
    pub fn start(program: &CellProgram, log: &Path) -> Result<Self, CellError> {
        let failed = |source| CellError::Start {
            program: program.program.clone(),
            source,
            build_with: program.build_with.clone(),
        };
        let no_log = |source| CellError::Log { path: log.to_owned(), source };
        let log_file = File::options().create(true).append(true).open(log).map_err(no_log)?;
        let log_start = log_file.metadata().map_err(no_log)?.len();
        tracing::debug!(program = %program.program.display(), log = %log.display(), "starting a cell");
        let mark = contain::new_mark();
        let mut command = std::process::Command::new(&program.program);
        let mut child = command
            .args(&program.args)
            .env_clear()
            .envs(environment::inherited())
            .envs(program.env.iter().map(|(name, value)| (name, value)))
            .env(MARK_VARIABLE, &mark)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log_file)
            .process_group(0)
            .spawn()
            .map_err(failed)?;
        contain::began(child.id(), &mark);
        let oom_kills = OomKills::watch(child.id());
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
        let log = log.to_owned();
        let log_limit = std::env::var(LOG_LIMIT_VARIABLE).ok().and_then(|bytes| bytes.parse().ok());
        let mut cell = Self {
            child,
            stdin,
            frames,
            log,
            log_start,
            log_limit: log_limit.unwrap_or(LOG_LIMIT),
            looked: Instant::now(),
            parked: false,
            mark,
            oom_kills,
            ended_ns: None,
            remains: Vec::new(),
        };
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

    /// When its death was noticed, in nanoseconds of CLOCK_MONOTONIC; None while it lives.
    pub fn ended_ns(&self) -> Option<u64> {
        self.ended_ns
    }

    /// Ends it now, with all that it started. Returns the processes that the kernel does not let go, which is none unless
    /// one of them hangs inside a driver.
    pub fn kill(mut self) -> Vec<i32> {
        self.end();
        std::mem::take(&mut self.remains)
    }

    /// Loads an engine; returns what it says of itself and how long loading took, in nanoseconds.
    ///
    /// # Errors
    /// [`CellError::Engine`] when it cannot be loaded or its model runs code when it is read, [`CellError::Died`] when the cell
    /// did not survive it or the deadline.
    pub fn load(&mut self, config: &LoadConfig, within: Duration) -> Result<(EngineInfo, u64), CellError> {
        // Here, and not where a run, a ledger or another asks for it: none can forget it.
        trust::check_load(config).map_err(|reason| EngineError::new(ErrorKind::Unsupported, reason))?;
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
        self.watched_trial(spec, Patience { within, idle: within }, sink)
    }

    /// As [`Self::trial`], with a deadline for silence too.
    ///
    /// # Errors
    /// As [`Self::trial`].
    pub fn watched_trial(
        &mut self,
        spec: &TrialSpec,
        patience: Patience,
        sink: &mut dyn TableSink,
    ) -> Result<TrialSummary, CellError> {
        self.ask(&Command::Trial(Box::new(spec.clone())))?;
        let deadline = Instant::now() + patience.within;
        let tells = spec.method == Method::Steps && patience.idle < patience.within;
        let (mut seen, mut idle) = (0, Instant::now() + patience.idle);
        loop {
            let frame = match tells && idle < deadline {
                true => self.next(idle, "give a new output token")?,
                false => self.next(deadline, "finish a trial")?,
            };
            let stored = match frame {
                Frame::Tokens(rows) => sink.tokens(&rows),
                Frame::Requests(rows) => sink.requests(&rows),
                Frame::Steps(rows) => sink.steps(&rows),
                Frame::Reply(Reply::Progress { output_tokens }) => {
                    if output_tokens > seen {
                        (seen, idle) = (output_tokens, Instant::now() + patience.idle);
                    }
                    sink.progress(output_tokens);
                    Ok(())
                }
                Frame::Reply(Reply::Waiting) => {
                    idle = Instant::now() + patience.idle;
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

    /// Stops the cell's processes where they are (SIGSTOP) until it is asked for something again: an idle engine whose threads
    /// spin takes no time from others then. If this process dies, the kernel wakes and hangs them up.
    pub fn park(&mut self) {
        self.parked = self.signal(Signal::STOP);
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

    /// Times one generate call with text on either side.
    ///
    /// # Errors
    /// As [`Self::conform`]; [`CellError::Engine`] with kind `Unsupported` where the engine's door takes ids alone.
    pub fn text(&mut self, spec: &TextSpec, within: Duration) -> Result<TextDone, CellError> {
        self.ask(&Command::Text(Box::new(spec.clone())))?;
        match self.reply(within, "finish a generation of text")? {
            Reply::Texted(done) => Ok(done),
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
        self.end();
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
        if std::mem::take(&mut self.parked) {
            self.signal(Signal::CONT);
        }
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
            if let Some(written) = self.written_too_much() {
                return Err(self.kill_for(format!(
                    "it wrote {written} bytes to its log, where {} are allowed ({LOG_LIMIT_VARIABLE}), and was killed",
                    self.log_limit
                )));
            }
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
            Ok(Ok(Frame::Reply(Reply::Failed(mut error)))) => {
                error.message = secrets::redact(&error.message);
                Ok(Frame::Reply(Reply::Failed(error)))
            }
            Ok(Ok(frame)) => Ok(frame),
            Ok(Err(ProtocolError::Malformed(error))) => {
                Err(self.kill_for(format!("what it sent is not readable: {error}")))
            }
            Ok(Err(ProtocolError::Closed | ProtocolError::Io(_))) | Err(RecvTimeoutError::Disconnected) => {
                Err(self.died(None))
            }
            Err(RecvTimeoutError::Timeout) => {
                self.write_stacks();
                Err(self.kill_for(format!(
                    "it did not {what} within its deadline of {:.0} s and was killed",
                    deadline.saturating_duration_since(started).as_secs_f64()
                )))
            }
        }
    }

    /// The length of its part of the log when that is past the limit; looks seldom.
    fn written_too_much(&mut self) -> Option<u64> {
        if self.looked.elapsed() < WATCH {
            return None;
        }
        self.looked = Instant::now();
        let length = fs::metadata(&self.log).map_or(0, |meta| meta.len());
        Some(length.saturating_sub(self.log_start)).filter(|written| *written > self.log_limit)
    }

    fn unexpected(&mut self, reply: &Reply) -> CellError {
        self.kill_for(format!("it answered out of turn: {reply:?}"))
    }
}
