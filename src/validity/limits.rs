//! Where the line is drawn. docs/validity.md repeats each limit with its source.
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{measure::telemetry::HEAT_OR_POWER, results::RunInfo};

/// How much resident memory may grow in a trial: twice what the harness's own buffers of records can take
/// (16 MiB of tokens, 3 MiB each of requests and steps, and the prompts), rounded up. Less cannot be told from them.
pub const MAX_HOST_GROWTH_BYTES: u64 = 64 << 20;
/// How much memory in use on the GPUs may grow in a trial: one large segment of PyTorch's caching allocator
/// (`kLargeBuffer`, 20 MiB, in `c10/cuda/CUDACachingAllocator`), the largest step that a lone small tensor can cause.
pub const MAX_DEVICE_GROWTH_BYTES: u64 = 20 << 20;
/// What CPU time is known to, in seconds: two of the kernel's ticks of 10 ms, one at either end of a trial.
pub const RESOLUTION_TICKS_S: f64 = 0.02;

/// What becomes of a trial in which the board's power limit held a GPU's clocks down (`sw_power_cap`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PowerCap {
    /// It is throttled like any other.
    #[default]
    Refuse,
    /// It counts: under full load a large GPU runs at that limit as a matter of course. Other reasons still speak against it.
    Accept,
}

impl PowerCap {
    /// As plans and flags name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Refuse => "refuse",
            Self::Accept => "accept",
        }
    }

    /// By its name.
    ///
    /// # Errors
    /// A sentence that says what was expected.
    pub fn named(name: &str) -> Result<Self, String> {
        let known = [Self::Refuse, Self::Accept].into_iter().find(|cap| cap.as_str() == name);
        known.ok_or_else(|| format!("expected refuse or accept, found '{name}'"))
    }

    /// The bits of `nvmlClocksEventReasons` that speak against a trial.
    pub fn judged(self) -> u64 {
        match self {
            Self::Refuse => HEAT_OR_POWER,
            Self::Accept => HEAT_OR_POWER & !0x4,
        }
    }
}

/// The limits that a plan may set: its table `[validity]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// The share of a trial that may pass outside the engine's calls.
    pub max_harness_share: f64,
    /// The share of the machine's processors that others may keep busy while a trial runs on them. 1 sets no limit.
    pub max_machine_load: f64,
    /// How long a trial must take, in the engine's time.
    pub min_duration: Duration,
    /// How many sequences may be evicted and started over in a trial.
    pub max_preemptions: u32,
    /// Whether the board's power limit makes a trial invalid.
    pub power_cap: PowerCap,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // The default target of the interval: more would not be lost in it.
            max_harness_share: 0.02,
            // What an engine that wants every processor may lose to others: a tenth of one where there are two. Tacho's own
            // sampling and an idle machine's services stay below it.
            max_machine_load: 0.05,
            // A sample of the telemetry's default period. The clocks' brackets cost 0.01 % of it.
            min_duration: Duration::from_millis(100),
            max_preemptions: 0,
            power_cap: PowerCap::Refuse,
        }
    }
}

/// What a run says of how its points are to be judged.
#[derive(Clone, Debug, PartialEq)]
pub struct Basis {
    /// The limits.
    pub limits: Limits,
    /// Within which fraction of the median its interval was to be; None when the run does not say.
    pub target: Option<f64>,
    /// How far a trial's mean GPU clock may be from the others'; None when the run does not say.
    pub clock_band: Option<f64>,
    /// Processors of the machine.
    pub processors: Option<u32>,
}

impl Basis {
    /// From `run.json`. A plan from before there were limits is judged by the default ones.
    pub fn of(info: &RunInfo) -> Self {
        let limits = info.plan.get("validity").and_then(|limits| serde_json::from_value(limits.clone()).ok());
        let trials = info.plan.get("trials");
        let number = |name: &str| trials.and_then(|trials| trials.get(name)).and_then(serde_json::Value::as_f64);
        Self {
            limits: limits.unwrap_or_default(),
            target: number("target"),
            clock_band: number("clock_band"),
            processors: info.host.processors.or(info.host.cores),
        }
    }
}
