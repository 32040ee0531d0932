//! A point's certificate: whether its figures may be believed, and why not.
//!
//! [`certify`] judges a [`PointRecord`] by the evidence in it and in its run's `run.json`, and by nothing else: the same
//! journal gives the same certificate whenever it is read. A [`Code`] whose evidence is missing stands in
//! [`Certificate::not_checked`] with the reason; it is never taken for granted. docs/validity.md says what each code means.

mod bimodal;
mod codes;
mod counts;
mod finding;
mod hardware;
mod limits;
mod memory;
mod timing;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

pub use bimodal::APART;
pub use codes::Code;
use finding::Finding;
pub use hardware::disturbance;
pub use limits::{Basis, Limits, MAX_DEVICE_GROWTH_BYTES, MAX_HOST_GROWTH_BYTES, PowerCap, RESOLUTION_TICKS_S};
use serde::{Deserialize, Serialize};
pub use timing::MAX_SUSPENDED_NS;

use crate::{
    engine::{Broken, stat},
    fairness,
    results::{Failure, PointRecord, PointStatus, RunInfo, TrialRecord},
};

/// What a certificate says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Nothing that was checked speaks against the figures.
    Valid,
    /// Something does.
    Invalid,
}

impl Verdict {
    /// As it stands in tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Valid => "valid",
            Self::Invalid => "invalid",
        }
    }
}

/// Why a point is invalid.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reason {
    /// Which reason.
    pub code: Code,
    /// For a person: what was expected, what was found.
    pub sentence: String,
    /// The numbers behind it, by names that end in their unit; `trials` is how many trials it is true of.
    pub evidence: BTreeMap<String, f64>,
    /// The trial that it is most true of; None for what is true of the point as a whole.
    pub trial: Option<u32>,
}

/// What could not be checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unchecked {
    /// Which reason could not be ruled out.
    pub code: Code,
    /// Why not.
    pub why: String,
}

/// A point's certificate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Certificate {
    /// Invalid when there is a reason.
    pub verdict: Verdict,
    /// Why it is invalid, in the order of [`Code::ALL`].
    pub reasons: Vec<Reason>,
    /// What could not be checked, in the same order.
    pub not_checked: Vec<Unchecked>,
    /// What a reader has to know of the figures beside that, a sentence each; it makes nothing invalid.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

impl Certificate {
    fn of(reasons: Vec<Reason>, not_checked: Vec<Unchecked>) -> Self {
        let verdict = if reasons.is_empty() { Verdict::Valid } else { Verdict::Invalid };
        Self { verdict, reasons, not_checked, notes: Vec::new() }
    }

    /// Whether nothing speaks against the figures. What is not valid is never ranked.
    pub fn is_valid(&self) -> bool {
        self.verdict == Verdict::Valid
    }

    /// The codes of the reasons.
    pub fn codes(&self) -> Vec<Code> {
        self.reasons.iter().map(|reason| reason.code).collect()
    }

    /// The codes of what was not checked.
    pub fn unchecked(&self) -> Vec<Code> {
        self.not_checked.iter().map(|unchecked| unchecked.code).collect()
    }
}

/// Judges a point.
pub fn certify(record: &PointRecord, basis: &Basis) -> Certificate {
    if let PointStatus::Failed(failure) = &record.outcome {
        return Certificate::of(vec![failed(failure)], Vec::new());
    }
    let trials: Vec<&TrialRecord> = record.trials.iter().filter(|trial| trial.counts()).collect();
    if trials.is_empty() {
        let sentence = "no timed trial is in its figures".to_owned();
        let reason = Reason { code: Code::Failed, sentence, evidence: BTreeMap::new(), trial: None };
        return Certificate::of(vec![reason], Vec::new());
    }
    let (mut reasons, mut not_checked) = (Vec::new(), Vec::new());
    for code in Code::ALL {
        let (reason, unchecked) = finding::gather(code, judge(code, record, &trials, basis));
        reasons.extend(reason);
        not_checked.extend(unchecked);
    }
    Certificate { notes: bimodal::note(record).into_iter().collect(), ..Certificate::of(reasons, not_checked) }
}

/// The certificates of a run's points.
pub fn certify_all(info: &RunInfo, records: &[PointRecord]) -> Vec<Certificate> {
    let basis = Basis::of(info);
    records.iter().map(|record| certify(record, &basis)).collect()
}

/// What a code has to say: of each trial, or, without a number, of the point.
fn judge(code: Code, record: &PointRecord, trials: &[&TrialRecord], basis: &Basis) -> Vec<(Option<u32>, Finding)> {
    let each = |check: &dyn Fn(&TrialRecord) -> Finding| -> Vec<(Option<u32>, Finding)> {
        trials.iter().map(|trial| (Some(trial.trial), check(trial))).collect()
    };
    let gpu = record.engine.as_ref().is_some_and(|engine| engine.gpu_in_process.is_some());
    let limits = &basis.limits;
    match code {
        // Judged before: such a point has no trials to judge.
        Code::Failed => Vec::new(),
        Code::InputIds => each(&counts::input_ids),
        Code::OutputCounts => each(&counts::output_counts),
        Code::FinishReasons => each(&counts::finish_reasons),
        Code::PrefixHits if counts::wants_prefix_cache(&record.point) => each(&counts::intended_hits),
        Code::PrefixHits => each(&counts::prefix_hits),
        Code::CompileInTrial => {
            let why = record.engine.as_ref().and_then(|engine| engine.uncounted.get(stat::COMPILES));
            each(&|trial| counts::compiles(trial, why.map(String::as_str)))
        }
        Code::AllocatorGrowth => each(&|trial| memory::growth(trial, gpu)),
        Code::Preemption => each(&|trial| counts::preemptions(trial, limits)),
        Code::Throttle => each(&|trial| hardware::throttle(trial, gpu, limits.power_cap.judged())),
        Code::Clocks => hardware::clocks(trials, gpu, basis.clock_band),
        Code::HarnessShare => each(&|trial| timing::harness_share(trial, limits)),
        Code::GpuShared if gpu => each(&hardware::gpu_shared),
        Code::GpuShared => Vec::new(),
        Code::MachineLoad if gpu => Vec::new(),
        Code::MachineLoad => each(&|trial| hardware::machine_load(trial, limits.max_machine_load, basis.processors)),
        Code::ClockAgreement if gpu => {
            let overlaps = record.engine.as_ref().is_some_and(fairness::overlaps);
            each(&|trial| timing::clock_agreement(trial, overlaps.then_some(&record.point)))
        }
        Code::ClockAgreement => Vec::new(),
        Code::Suspended => each(&timing::suspended),
        Code::Schedule => timing::schedule(record, trials),
        Code::MinDuration => each(&|trial| timing::min_duration(trial, limits)),
        Code::Interval => vec![(None, timing::interval(record, basis.target))],
    }
}

/// A point that was given up says by what it failed; the cell's own checks of ids and counts have codes of their own.
fn failed(failure: &Failure) -> Reason {
    let code = match failure.broken {
        Some(Broken::InputIds) => Code::InputIds,
        Some(Broken::OutputCounts) => Code::OutputCounts,
        Some(Broken::FinishReasons) => Code::FinishReasons,
        None => Code::Failed,
    };
    Reason { code, sentence: failure.reason.clone(), evidence: BTreeMap::new(), trial: None }
}
