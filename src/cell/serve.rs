//! The child's side: what every cell program runs.
use std::{
    io::{self, BufWriter, IsTerminal, Write},
    process::ExitCode,
    sync::mpsc,
};

use rustix::{
    fd::OwnedFd,
    fs::{Mode, OFlags},
};

use super::{
    drive::{DriveError, RecordSink, run_clocked_trial},
    protocol::{Command, PROTOCOL, Reply, RequestRow, StepRow, TokenRow},
    wire::{ProtocolError, read_command, write_message, write_rows},
};
use crate::{
    BUILD_HASH,
    engine::{
        Completion, Engine, EngineError, EngineInfo, Forced, LoadConfig, Request, RequestBatch, RequestId, Sampling,
        Scored, TokenId, conformance,
    },
    measure::{DeviceClockSource, monotonic_ns},
};

/// Exit status of a cell whose parent went away.
const ORPHANED: i32 = 3;

/// Serves one engine to the parent process, on the calling thread, until the parent says to stop or goes away.
///
/// Standard input and output are moved aside first: what the engine prints goes to standard error, which the parent has
/// pointed at the cell's log.
pub fn serve(load: impl FnMut(&LoadConfig) -> Result<Box<dyn Engine>, EngineError>) -> ExitCode {
    serve_clocked(load, |_| Err("this cell hosts no engine that uses a device with a clock".to_owned()))
}

/// As [`serve`], with a device clock beside the host's. `clock` is called once an engine is loaded, so that the engine was first
/// to touch the device; it answers with why there is no clock where there is none.
pub fn serve_clocked(
    mut load: impl FnMut(&LoadConfig) -> Result<Box<dyn Engine>, EngineError>,
    mut clock: impl FnMut(&EngineInfo) -> DeviceClockSource,
) -> ExitCode {
    if io::stdin().is_terminal() {
        eprintln!("This is a cell: `tacho run` starts it and speaks to it through a pipe. See `tacho run --help`.");
        return ExitCode::from(2);
    }
    let (input, output) = match take_stdio() {
        Ok(pipes) => pipes,
        Err(error) => {
            eprintln!("cell: cannot move standard input and output aside: {error}");
            return ExitCode::FAILURE;
        }
    };
    let (sender, commands) = mpsc::channel();
    std::thread::spawn(move || listen(input.into(), &sender));
    let mut pipe = Pipe(BufWriter::new(output.into()));
    match converse(&mut pipe, &commands, &mut load, &mut clock) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cell: the parent cannot be reached: {error}");
            ExitCode::from(ORPHANED as u8)
        }
    }
}

fn take_stdio() -> io::Result<(OwnedFd, OwnedFd)> {
    let input = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
    let output = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdout(), 3)?;
    let null = rustix::fs::open("/dev/null", OFlags::RDONLY, Mode::empty())?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(rustix::stdio::stderr())?;
    Ok((input, output))
}

fn listen(mut input: std::fs::File, sender: &mpsc::Sender<Command>) {
    loop {
        match read_command(&mut input) {
            Ok(command) => {
                let last = command == Command::Shutdown;
                if sender.send(command).is_err() || last {
                    return;
                }
            }
            Err(error) => {
                // The engine's thread may be deep in a native call: nothing but ending the process stops it.
                if !matches!(error, ProtocolError::Closed) {
                    eprintln!("cell: the parent's commands are not readable: {error}");
                }
                end_orphaned();
            }
        }
    }
}

fn converse(
    pipe: &mut Pipe,
    commands: &mpsc::Receiver<Command>,
    load: &mut impl FnMut(&LoadConfig) -> Result<Box<dyn Engine>, EngineError>,
    open_clock: &mut impl FnMut(&EngineInfo) -> DeviceClockSource,
) -> io::Result<()> {
    pipe.say(&Reply::Hello { protocol: PROTOCOL, build: BUILD_HASH.to_owned(), pid: std::process::id() })?;
    let mut engine: Option<Box<dyn Engine>> = None;
    let mut clock: DeviceClockSource = Err("no engine is loaded".to_owned());
    while let Ok(command) = commands.recv() {
        match command {
            Command::Load(config) => {
                clock = Err("no engine is loaded".to_owned());
                drop(engine.take());
                let start_ns = monotonic_ns();
                match load(&config) {
                    Ok(loaded) => {
                        let info = Box::new(loaded.info().clone());
                        let load_ns = monotonic_ns() - start_ns;
                        engine = Some(loaded);
                        clock = open_clock(&info);
                        pipe.say(&Reply::Loaded { info, load_ns })?;
                    }
                    Err(error) => pipe.say(&Reply::Failed(error))?,
                }
            }
            Command::Trial(spec) => match engine.as_deref_mut() {
                None => {
                    pipe.say(&Reply::Failed(EngineError::engine("a trial was asked for before an engine was loaded")))?
                }
                Some(engine) => match run_clocked_trial(engine, &mut clock, &spec, pipe) {
                    Ok(summary) => pipe.say(&Reply::TrialDone(Box::new(summary)))?,
                    Err(DriveError::Engine(error)) => pipe.say(&Reply::Failed(error))?,
                    Err(DriveError::Sink(error)) => return Err(error),
                },
            },
            Command::Conform => match engine.as_deref_mut() {
                None => pipe.say(&no_engine("conformance"))?,
                Some(engine) => pipe.say(&Reply::Conformed(conformance::run(engine)))?,
            },
            Command::Generate { prompts, output_tokens } => match engine.as_deref_mut() {
                None => pipe.say(&no_engine("a generation"))?,
                Some(engine) => {
                    let ids = generate(engine, &prompts, output_tokens);
                    pipe.say(&ids.map_or_else(Reply::Failed, Reply::Generated))?;
                }
            },
            Command::Score { sequences } => match engine.as_deref_mut() {
                None => pipe.say(&no_engine("a scoring"))?,
                Some(engine) => {
                    let scores = score(engine, &sequences);
                    pipe.say(&scores.map_or_else(Reply::Failed, Reply::Scored))?;
                }
            },
            Command::Text(spec) => match engine.as_deref_mut() {
                None => pipe.say(&no_engine("a generation of text"))?,
                Some(engine) => {
                    let done = super::text::run_text(engine, &spec);
                    pipe.say(&done.map_or_else(Reply::Failed, Reply::Texted))?;
                }
            },
            Command::Shutdown => {
                drop(clock);
                let ended = engine.as_deref_mut().map_or(Ok(()), |engine| engine.shutdown());
                drop(engine.take());
                return pipe.say(&ended.map_or_else(Reply::Failed, |()| Reply::Bye));
            }
        }
    }
    Ok(())
}

/// Greedy outputs for prompts of token ids, a row a prompt.
fn generate(engine: &mut dyn Engine, prompts: &[Vec<u32>], output_tokens: u32) -> Result<Vec<Vec<u32>>, EngineError> {
    let mut batch = RequestBatch::new();
    for (id, prompt) in (0..).map(RequestId).zip(prompts) {
        let prompt: Vec<TokenId> = prompt.iter().copied().map(TokenId).collect();
        batch.push(Request { id, prompt: &prompt, output_tokens, sampling: Sampling::default() });
    }
    engine.reset()?;
    let done = engine.generate(&batch)?;
    if done.rows.len() != prompts.len() {
        return Err(EngineError::engine(format!("expected {} outputs, found {}", prompts.len(), done.rows.len())));
    }
    let ids = |row: Completion| done.ids.get(row.tokens).map(|ids| ids.iter().map(|id| id.0).collect());
    let rows: Option<Vec<Vec<u32>>> = done.rows.iter().cloned().map(ids).collect();
    rows.ok_or_else(|| EngineError::engine("an output lies outside of the ids that were generated"))
}

/// Log-probabilities of the continuations, checked for being as many as were asked and numbers.
fn score(engine: &mut dyn Engine, sequences: &[Forced]) -> Result<Vec<Vec<Scored>>, EngineError> {
    if sequences.iter().any(|sequence| sequence.prompt.is_empty() || sequence.continuation.is_empty()) {
        return Err(EngineError::bad_request("expected a prompt and a continuation of at least one id each"));
    }
    engine.reset()?;
    let scores = engine.score(sequences)?;
    let found: Vec<usize> = scores.iter().map(Vec::len).collect();
    let asked: Vec<usize> = sequences.iter().map(|sequence| sequence.continuation.len()).collect();
    if found != asked {
        return Err(EngineError::mismatch(format!(
            "scores were asked for {asked:?} positions and given for {found:?}"
        )));
    }
    match scores.iter().flatten().find(|scored| !scored.is_finite()) {
        Some(odd) => Err(EngineError::engine(format!("a score is no number: {odd:?}"))),
        None => Ok(scores),
    }
}

/// Ends this process and what it started. Not by returning: exit handlers beside a running engine crash or hang.
fn end_orphaned() -> ! {
    let me = rustix::process::getpid();
    super::contain::end_own_children();
    if rustix::process::getpgrp() == me {
        let _ = rustix::process::kill_process_group(me, rustix::process::Signal::KILL);
    }
    std::process::exit(ORPHANED);
}

fn no_engine(what: &str) -> Reply {
    Reply::Failed(EngineError::engine(format!("{what} was asked for before an engine was loaded")))
}

struct Pipe(BufWriter<std::fs::File>);

impl Pipe {
    fn say(&mut self, reply: &Reply) -> io::Result<()> {
        write_message(&mut self.0, reply)?;
        self.0.flush()
    }
}

impl RecordSink for Pipe {
    fn tokens(&mut self, rows: &[TokenRow]) -> io::Result<()> {
        write_rows(&mut self.0, rows)
    }

    fn requests(&mut self, rows: &[RequestRow]) -> io::Result<()> {
        write_rows(&mut self.0, rows)
    }

    fn steps(&mut self, rows: &[StepRow]) -> io::Result<()> {
        write_rows(&mut self.0, rows)
    }

    fn progress(&mut self, output_tokens: u64) -> io::Result<()> {
        self.say(&Reply::Progress { output_tokens })
    }

    fn waiting(&mut self) -> io::Result<()> {
        self.say(&Reply::Waiting)
    }
}
