//! What a cell and its parent say to each other.
//!
//! A frame is a length (`u32`, little endian, of what follows), one byte that tells its kind, and a payload. Messages
//! are JSON; tables are rows of fixed layout, little endian, as they lie in memory. Commands go to the cell's standard
//! input, replies come from what was its standard output: a cell moves both aside before it loads anything, so that an
//! engine's own prints go to the log.
use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::open::ScheduleFidelity;
use crate::{
    engine::{EngineError, EngineInfo, Forced, LoadConfig, Scored, Stats, conformance::Check},
    measure::{DeviceClockMode, DeviceTime},
    workload::{WorkloadSpec, arrivals::ArrivalSpec},
};

#[cfg(target_endian = "big")]
compile_error!("table frames are written as they lie in memory, which the protocol defines as little endian");

/// Raised when a message or a table changes.
pub const PROTOCOL: u32 = 4;
/// Stands for "none" in a table's `u64` columns.
pub const NONE: u64 = u64::MAX;
/// Stands for "no conversation" in the columns that number them.
pub const NO_SESSION: u32 = u32::MAX;
/// The longest payload accepted, in bytes.
pub const MAX_FRAME: usize = 64 << 20;

/// Parent to cell.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "command", content = "with", rename_all = "snake_case")]
pub enum Command {
    /// Load the engine. Answered by [`Reply::Loaded`] or [`Reply::Failed`].
    Load(LoadConfig),
    /// Run a trial. Answered by tables, then [`Reply::TrialDone`], or by [`Reply::Failed`].
    Trial(Box<TrialSpec>),
    /// Run the conformance checks on the loaded engine. Answered by [`Reply::Conformed`].
    Conform,
    /// Generate greedily, untimed, and say which ids came out. Answered by [`Reply::Generated`].
    Generate {
        /// Token ids, a prompt a request.
        prompts: Vec<Vec<u32>>,
        /// Exactly how many tokens follow each.
        output_tokens: u32,
    },
    /// Score given continuations, untimed. Answered by [`Reply::Scored`].
    Score {
        /// What to score.
        sequences: Vec<Forced>,
    },
    /// Time one generate call with text on either side. Answered by [`Reply::Texted`].
    Text(Box<super::text::TextSpec>),
    /// End the engine and the process. Answered by [`Reply::Bye`].
    Shutdown,
}

/// Cell to parent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "reply", content = "with", rename_all = "snake_case")]
pub enum Reply {
    /// First thing a cell says.
    Hello {
        /// [`PROTOCOL`].
        protocol: u32,
        /// [`crate::BUILD_HASH`] of the library the cell was built with.
        build: String,
        /// The process.
        pid: u32,
    },
    /// The engine runs.
    Loaded {
        /// Read back from it.
        info: Box<EngineInfo>,
        /// How long loading took.
        load_ns: u64,
    },
    /// Sent now and then during a step-loop trial.
    Progress {
        /// Output tokens so far.
        output_tokens: u64,
    },
    /// Sent now and then while the engine has nothing to do and the next request is not due: that silence is not the engine's.
    Waiting,
    /// The trial is over and its tables have been sent.
    TrialDone(Box<TrialSummary>),
    /// How the conformance checks came out.
    Conformed(Vec<Check>),
    /// Token ids, an output a prompt.
    Generated(Vec<Vec<u32>>),
    /// A row a sequence, an entry a position of its continuation.
    Scored(Vec<Vec<Scored>>),
    /// A generate call with text is over.
    Texted(super::text::TextDone),
    /// The command failed. The cell can be asked for more unless the engine is broken.
    Failed(EngineError),
    /// The engine ended cleanly.
    Bye,
}

/// What a trial is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrialKind {
    /// Brings the engine to its steady state. Never in the figures.
    Warmup,
    /// In the figures.
    Timed,
}

/// By which of the engine's doors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// The engine's own blocking call: throughput, and no latencies.
    Generate,
    /// `submit` and `poll`: latencies.
    Steps,
}

impl Method {
    /// As it stands in tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Generate => "generate",
            Self::Steps => "steps",
        }
    }
}

/// How requests meet the engine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "mode", rename_all = "snake_case")]
pub enum Load {
    /// `batch` requests handed over at once; the next batch when all of them are done.
    Offline {
        /// Requests a call.
        batch: u32,
    },
    /// A new request as soon as fewer than `concurrency` are in flight.
    Closed {
        /// Requests in flight.
        concurrency: u32,
    },
    /// Requests arrive by themselves, whether or not earlier ones are done.
    Open {
        /// When.
        arrivals: ArrivalSpec,
        /// The most that the engine is given at once; others wait, and their latency counts. None is no limit.
        max_in_flight: Option<u32>,
    },
}

impl Load {
    /// The door that throughput is timed through: an offline batch by the engine's own call, anything else by its step loop.
    pub fn method(&self) -> Method {
        match self {
            Self::Offline { .. } => Method::Generate,
            Self::Closed { .. } | Self::Open { .. } => Method::Steps,
        }
    }
}

/// One trial.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrialSpec {
    /// The trial's number in its point, for the logs.
    pub trial: u32,
    /// What it is for.
    pub kind: TrialKind,
    /// Which door.
    pub method: Method,
    /// The load mode.
    pub load: Load,
    /// When the device's clock is read.
    #[serde(default)]
    pub device_clock: DeviceClockMode,
    /// The requests.
    pub workload: WorkloadSpec,
}

/// What a trial came to, and the evidence a later verdict needs. Times are nanoseconds of the engine's clock.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrialSummary {
    /// Before the first request was handed over.
    pub start_ns: u64,
    /// After the last result was in hand.
    pub end_ns: u64,
    /// Whether those are a simulated clock's.
    pub virtual_time: bool,
    /// Requests that ended with [`crate::engine::FinishReason::Length`].
    pub requests: u32,
    /// Prompt tokens that the engine says it consumed; checked equal to those asked.
    pub input_tokens: u64,
    /// Output tokens counted by id; checked equal to those asked.
    pub output_tokens: u64,
    /// [`crate::workload::Workload::digest`] of the requests.
    pub workload_digest: String,
    /// Sum over requests of a hash of (request, output ids): the same ids give the same sum in any order.
    pub output_digest: u64,
    /// Time of the trial spent outside the engine's calls, in nanoseconds of CLOCK_MONOTONIC; waiting for the next arrival of an
    /// open load while nothing runs is no part of it.
    pub harness_ns: u64,
    /// What `harness_ns` is a share of: the time in the engine's calls and outside of them, without those waits. None in journals
    /// from before it was kept.
    #[serde(default)]
    pub busy_ns: Option<u64>,
    /// CPU time of the cell's process during the trial.
    pub cpu_ns: u64,
    /// Calls into the engine.
    pub engine_calls: u64,
    /// How often records had to be sent while the trial ran; 0 unless it was very large.
    pub flushes_in_trial: u32,
    /// How long the trial took by the device's clock, which is read just outside the two stamps.
    #[serde(default)]
    pub device: DeviceTime,
    /// The engine's counters, the trial's part of them.
    pub stats: Stats,
    /// What a verdict needs beside the above.
    #[serde(default)]
    pub evidence: super::evidence::Evidence,
    /// How well an open trial kept its schedule; None in other load modes.
    #[serde(default)]
    pub schedule: Option<ScheduleFidelity>,
    /// Its conversations; None where requests are single ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sessions: Option<super::sessions::SessionFigures>,
}

impl TrialSummary {
    /// How long it took, in seconds of the engine's clock.
    pub fn seconds(&self) -> f64 {
        self.end_ns.saturating_sub(self.start_ns) as f64 / 1e9
    }

    /// How long engine and harness worked, in seconds: in an open load without the waits for arrivals, which are drawn anew for
    /// each trial and say nothing of the engine; in others, and in virtual time, all of it.
    pub fn working_seconds(&self) -> f64 {
        match self.busy_ns {
            Some(busy_ns) if self.schedule.is_some() && !self.virtual_time => busy_ns as f64 / 1e9,
            _ => self.seconds(),
        }
    }

    /// The share of the time spent outside the engine's calls, waits for arrivals left out of both: a load that leaves the engine
    /// idle must not hide what each request is kept waiting. None in virtual time, and where nothing took any.
    pub fn harness_share(&self) -> Option<f64> {
        let busy_s = self.busy_ns.map_or_else(|| self.seconds(), |busy_ns| busy_ns as f64 / 1e9);
        (!self.virtual_time && busy_s > 0.0).then(|| self.harness_ns as f64 / 1e9 / busy_s)
    }

    /// By how much the device's clock differs from the host's; see [`DeviceTime::disagreement`].
    pub fn clock_disagreement(&self) -> Option<f64> {
        self.device.disagreement(self.seconds()).filter(|_| !self.virtual_time)
    }
}

/// New tokens of one request that became visible together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoBytes, FromBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct TokenRow {
    /// When they became visible.
    pub time_ns: u64,
    /// Since the request's previous tokens; [`NONE`] for its first.
    pub gap_ns: u64,
    /// Whose.
    pub request: u32,
    /// How many of the request's tokens came before.
    pub index: u32,
    /// How many are new.
    pub tokens: u32,
    /// Zero.
    pub padding: u32,
}

/// One request's life. A `generate` trial knows no times of single requests: they are [`NONE`] there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoBytes, FromBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RequestRow {
    /// When it was due; latency counts from here.
    pub scheduled_ns: u64,
    /// When it was released to the loop that drives the engine; [`NONE`] but in open load.
    pub released_ns: u64,
    /// When it was handed to the engine; [`NONE`] where a trial was cut off before that.
    pub submitted_ns: u64,
    /// When its first token became visible.
    pub first_ns: u64,
    /// When its last token became visible; [`NONE`] where a trial was cut off before that.
    pub last_ns: u64,
    /// Hash of its output ids.
    pub output_hash: u64,
    /// Which.
    pub request: u32,
    /// Prompt tokens consumed.
    pub input_tokens: u32,
    /// Tokens produced.
    pub output_tokens: u32,
    /// [`crate::engine::FinishReason`] as a number.
    pub finish: u32,
    /// The conversation that it is a turn of, from 0; [`NO_SESSION`] for a single request.
    pub session: u32,
    /// Which turn, from 0; [`NO_SESSION`] likewise.
    pub turn: u32,
}

/// One engine step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoBytes, FromBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct StepRow {
    /// See [`crate::engine::StepRecord`].
    pub start_ns: u64,
    /// When its tokens were visible.
    pub end_ns: u64,
    /// KV-cache tokens in use; [`NONE`] where unknown.
    pub kv_tokens: u64,
    /// By the device's clock, since the step before, or the trial's start; [`NONE`] where it was not read.
    pub device_ns: u64,
    /// Prompt tokens computed.
    pub prefill_tokens: u32,
    /// Sequences decoded.
    pub decode_seqs: u32,
    /// Requests running.
    pub running: u32,
    /// Requests waiting.
    pub waiting: u32,
}

/// A frame from a cell.
#[derive(Clone, Debug, PartialEq)]
pub enum Frame {
    /// A message.
    Reply(Reply),
    /// Part of the tokens table.
    Tokens(Vec<TokenRow>),
    /// Part of the requests table.
    Requests(Vec<RequestRow>),
    /// Part of the steps table.
    Steps(Vec<StepRow>),
}

/// Why a stream of frames ended.
#[derive(Debug, thiserror::Error)]
pub enum ProtocolError {
    /// The other side closed the pipe between two frames.
    #[error("the other side closed the pipe")]
    Closed,
    /// The pipe broke, or ended inside a frame.
    #[error("the pipe broke: {0}")]
    Io(#[from] io::Error),
    /// Not a frame.
    #[error("not a frame of this protocol: {0}")]
    Malformed(String),
}

const KIND_MESSAGE: u8 = 0;
const KIND_TOKENS: u8 = 1;
const KIND_REQUESTS: u8 = 2;
const KIND_STEPS: u8 = 3;

fn write_frame(out: &mut impl Write, kind: u8, payload: &[u8]) -> io::Result<()> {
    if payload.len() > MAX_FRAME {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("frame of {} bytes", payload.len())));
    }
    out.write_all(&(payload.len() as u32 + 1).to_le_bytes())?;
    out.write_all(&[kind])?;
    out.write_all(payload)?;
    out.flush()
}

/// Writes a message.
///
/// # Errors
/// When the pipe is closed.
pub fn write_message(out: &mut impl Write, message: &impl Serialize) -> io::Result<()> {
    write_frame(out, KIND_MESSAGE, &serde_json::to_vec(message)?)
}

/// A table's row type, with its frame kind.
pub trait Row: IntoBytes + FromBytes + Immutable + Copy {
    /// The byte that tells the frame's kind.
    const KIND: u8;
}

impl Row for TokenRow {
    const KIND: u8 = KIND_TOKENS;
}

impl Row for RequestRow {
    const KIND: u8 = KIND_REQUESTS;
}

impl Row for StepRow {
    const KIND: u8 = KIND_STEPS;
}

/// Writes part of a table, in as many frames as it needs.
///
/// # Errors
/// When the pipe is closed.
pub fn write_rows<R: Row>(out: &mut impl Write, rows: &[R]) -> io::Result<()> {
    // A frame of at most 1 MiB: what both sides hold at a time.
    for chunk in rows.chunks((1 << 20) / size_of::<R>()) {
        write_frame(out, R::KIND, chunk.as_bytes())?;
    }
    Ok(())
}

fn read_payload(input: &mut impl Read) -> Result<(u8, Vec<u8>), ProtocolError> {
    let mut header = [0; 4];
    let mut have = 0;
    while have < header.len() {
        match input.read(&mut header[have..]) {
            Ok(0) if have == 0 => return Err(ProtocolError::Closed),
            Ok(0) => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            Ok(n) => have += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    let length = u32::from_le_bytes(header) as usize;
    if length == 0 || length > MAX_FRAME + 1 {
        return Err(ProtocolError::Malformed(format!("a frame of {length} bytes")));
    }
    let mut kind = [0];
    input.read_exact(&mut kind)?;
    // Grown as bytes arrive: a lying length cannot make this side allocate it.
    let mut payload = Vec::new();
    let read = input.take(length as u64 - 1).read_to_end(&mut payload)?;
    if read + 1 != length {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
    }
    Ok((kind[0], payload))
}

fn rows_of<R: Row>(payload: &[u8]) -> Result<Vec<R>, ProtocolError> {
    if !payload.len().is_multiple_of(size_of::<R>()) {
        return Err(ProtocolError::Malformed(format!(
            "a table of {} bytes with rows of {}",
            payload.len(),
            size_of::<R>()
        )));
    }
    let mut rows = vec![R::new_zeroed(); payload.len() / size_of::<R>()];
    rows.as_mut_slice().as_mut_bytes().copy_from_slice(payload);
    Ok(rows)
}

fn message_of<T: for<'a> Deserialize<'a>>(payload: &[u8]) -> Result<T, ProtocolError> {
    serde_json::from_slice(payload).map_err(|error| ProtocolError::Malformed(error.to_string()))
}

/// Reads one frame from a cell.
///
/// # Errors
/// [`ProtocolError::Closed`] at a clean end, otherwise what is wrong with the bytes.
pub fn read_frame(input: &mut impl Read) -> Result<Frame, ProtocolError> {
    let (kind, payload) = read_payload(input)?;
    Ok(match kind {
        KIND_MESSAGE => Frame::Reply(message_of(&payload)?),
        KIND_TOKENS => Frame::Tokens(rows_of(&payload)?),
        KIND_REQUESTS => Frame::Requests(rows_of(&payload)?),
        KIND_STEPS => Frame::Steps(rows_of(&payload)?),
        other => return Err(ProtocolError::Malformed(format!("a frame of unknown kind {other}"))),
    })
}

/// Reads one command from the parent.
///
/// # Errors
/// As [`read_frame`].
pub fn read_command(input: &mut impl Read) -> Result<Command, ProtocolError> {
    match read_payload(input)? {
        (KIND_MESSAGE, payload) => message_of(&payload),
        (kind, _) => Err(ProtocolError::Malformed(format!("expected a command, found a frame of kind {kind}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token_row(request: u32) -> TokenRow {
        TokenRow { time_ns: 5, gap_ns: NONE, request, index: 0, tokens: 1, padding: 0 }
    }

    #[test]
    fn messages_and_tables_come_back_as_they_went() {
        let mut pipe = Vec::new();
        write_message(&mut pipe, &Reply::Progress { output_tokens: 3 }).unwrap();
        let rows: Vec<TokenRow> = (0..100_000).map(token_row).collect();
        write_rows(&mut pipe, &rows).unwrap();
        let mut input = pipe.as_slice();
        assert_eq!(read_frame(&mut input).unwrap(), Frame::Reply(Reply::Progress { output_tokens: 3 }));
        let mut back = Vec::new();
        while back.len() < rows.len() {
            match read_frame(&mut input).unwrap() {
                Frame::Tokens(part) => back.extend(part),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(back, rows);
        assert!(matches!(read_frame(&mut input), Err(ProtocolError::Closed)));
    }

    #[test]
    fn torn_and_false_frames_are_errors_not_panics() {
        let mut pipe = Vec::new();
        write_rows(&mut pipe, &[token_row(1)]).unwrap();
        for cut in 1..pipe.len() {
            assert!(matches!(read_frame(&mut &pipe[..cut]), Err(ProtocolError::Io(_))), "cut at {cut}");
        }
        for bad in [&[0, 0, 0, 0][..], &[0xff; 8], &[1, 0, 0, 0, 9], &[3, 0, 0, 0, 1, 0, 0], &[2, 0, 0, 0, 0, b'{']] {
            assert!(matches!(read_frame(&mut &*bad), Err(ProtocolError::Malformed(_))), "{bad:?}");
        }
    }
}
