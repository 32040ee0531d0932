//! What a cell and its parent say to each other: messages, and the rows of tables. How it travels is in [`super::wire`].
use serde::{Deserialize, Serialize};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::open::ScheduleFidelity;
use crate::{
    engine::{EngineError, EngineInfo, Forced, LoadConfig, Scored, Stats, conformance::Check},
    measure::{DeviceClockMode, DeviceTime},
    workload::{WorkloadSpec, arrivals::ArrivalSpec},
};

/// Raised when a message or a table changes.
pub const PROTOCOL: u32 = 4;
/// Stands for "none" in a table's `u64` columns.
pub const NONE: u64 = u64::MAX;
/// Stands for "no conversation" in the columns that number them.
pub const NO_SESSION: u32 = u32::MAX;

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

    /// How long engine and harness worked, in seconds: without the waits for arrivals and for people who think, which are drawn
    /// anew for each trial and say nothing of the engine. In loads that have neither, and in virtual time, all of it.
    pub fn working_seconds(&self) -> f64 {
        let waits = self.schedule.is_some() || self.sessions.is_some();
        match self.busy_ns {
            Some(busy_ns) if waits && !self.virtual_time => busy_ns as f64 / 1e9,
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

// What trials are made up of is the harness's; the library's tests without it run under Miri.
#[cfg(all(test, feature = "harness"))]
mod tests {
    use crate::{
        cell::{protocol::TrialSummary, sessions::SessionFigures},
        results::testing,
    };

    #[test]
    fn waits_are_no_work_where_there_are_waits() {
        let all = TrialSummary { busy_ns: Some(500_000_000), ..testing::summary(1, 1, 4.0) };
        assert_eq!((all.seconds(), all.working_seconds()), (4.0, 4.0));
        let sessions = SessionFigures { sessions: 1, most_turns: 2, think_digest: String::new(), reusable_tokens: 0 };
        let thinking = TrialSummary { sessions: Some(sessions), ..all };
        assert_eq!(thinking.working_seconds(), 0.5);
        assert_eq!(TrialSummary { virtual_time: true, ..thinking.clone() }.working_seconds(), 4.0);
        assert_eq!(TrialSummary { busy_ns: None, ..thinking }.working_seconds(), 4.0);
    }
}
