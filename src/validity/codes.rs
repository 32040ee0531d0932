//! The names of the reasons: stable, for tables and scripts.
use std::fmt;

use serde::{Deserialize, Serialize};

/// A reason for which a point's figures are not to be believed. docs/validity.md has each with its evidence and limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// It was not measured to the end.
    Failed,
    /// The engine did not consume the prompts that it was given.
    InputIds,
    /// The engine did not produce as many tokens as were asked.
    OutputCounts,
    /// Requests ended otherwise than by their length.
    FinishReasons,
    /// Prompt tokens came from a prefix cache that the plan did not ask for.
    PrefixHits,
    /// Graphs were captured or code was compiled in the timed region.
    CompileInTrial,
    /// Memory was asked for in the timed region.
    AllocatorGrowth,
    /// Sequences were evicted and started over.
    Preemption,
    /// Heat or power held clocks down.
    Throttle,
    /// A trial's clock is not that of the others.
    Clocks,
    /// The harness took too much of the time.
    HarnessShare,
    /// Somebody else used the GPU.
    GpuShared,
    /// Somebody else used the processors.
    MachineLoad,
    /// The host's clock and the device's do not agree.
    ClockAgreement,
    /// The machine was suspended in the middle of a trial.
    Suspended,
    /// Requests were not handed over when they were due.
    Schedule,
    /// A trial was too short.
    MinDuration,
    /// The interval is wider than the target.
    Interval,
}

impl Code {
    /// All of them, in the order in which certificates have them.
    pub const ALL: [Self; 18] = [
        Self::Failed,
        Self::InputIds,
        Self::OutputCounts,
        Self::FinishReasons,
        Self::PrefixHits,
        Self::CompileInTrial,
        Self::AllocatorGrowth,
        Self::Preemption,
        Self::Throttle,
        Self::Clocks,
        Self::HarnessShare,
        Self::GpuShared,
        Self::MachineLoad,
        Self::ClockAgreement,
        Self::Suspended,
        Self::Schedule,
        Self::MinDuration,
        Self::Interval,
    ];

    /// As it stands in tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::InputIds => "input_ids",
            Self::OutputCounts => "output_counts",
            Self::FinishReasons => "finish_reasons",
            Self::PrefixHits => "prefix_hits",
            Self::CompileInTrial => "compile_in_trial",
            Self::AllocatorGrowth => "allocator_growth",
            Self::Preemption => "preemption",
            Self::Throttle => "throttle",
            Self::Clocks => "clocks",
            Self::HarnessShare => "harness_share",
            Self::GpuShared => "gpu_shared",
            Self::MachineLoad => "machine_load",
            Self::ClockAgreement => "clock_agreement",
            Self::Suspended => "suspended",
            Self::Schedule => "schedule",
            Self::MinDuration => "min_duration",
            Self::Interval => "interval",
        }
    }

    /// Codes as a table's cell has them: separated by commas; None when there are none.
    pub fn list(codes: &[Self]) -> Option<String> {
        let names: Vec<&str> = codes.iter().map(|code| code.as_str()).collect();
        (!names.is_empty()).then(|| names.join(","))
    }
}

impl fmt::Display for Code {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}
