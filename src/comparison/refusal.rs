//! What must not be compared, with the reason.
use crate::{
    plan::registry::ModelFormat,
    results::{PointRecord, PointStatus, RunInfo},
    validity::{Basis, Code, certify},
};

/// Why two points give no ratio; empty when they do.
pub(super) fn refusals(a: &PointRecord, b: &PointRecord) -> Vec<String> {
    let mut reasons = Vec::new();
    for (side, record) in [("the first", a), ("the second", b)] {
        if let PointStatus::Failed(failure) = &record.outcome {
            reasons.push(format!("{side} failed: {}", failure.reason));
        }
    }
    let (Some(one), Some(other)) = (&a.engine, &b.engine) else {
        if reasons.is_empty() {
            reasons.push("one of the engines was never loaded".to_owned());
        }
        return reasons;
    };
    match (&one.double, &other.double) {
        (Some(double), None) => reasons.push(format!("the first is no engine but a stand-in ({double})")),
        (None, Some(double)) => reasons.push(format!("the second is no engine but a stand-in ({double})")),
        _ => {}
    }
    if one.virtual_time != other.virtual_time {
        reasons.push("one ran in virtual time, the other in real time".to_owned());
    }
    if let (Some(x), Some(y)) = (&a.model_digest, &b.model_digest)
        && x != y
        && same_form(a, b)
    {
        reasons.push(format!("different models: files with hash {} and {}", short(x), short(y)));
    }
    let requests = |record: &PointRecord| record.trials.first().map(|trial| trial.summary.workload_digest.clone());
    match (requests(a), requests(b)) {
        (Some(x), Some(y)) if x != y => reasons.push(format!(
            "different requests: the first trials' hashes are {} and {}; expected the same lengths, seed and token ids",
            short(&x),
            short(&y)
        )),
        (Some(_), Some(_)) => {}
        _ if reasons.is_empty() => reasons.push("one of them has no trial".to_owned()),
        _ => {}
    }
    reasons
}

/// Reasons that speak of how well a figure is known, not of whether it is another's: a comparison's own interval has that.
const IN_THE_INTERVAL: [Code; 2] = [Code::MinDuration, Code::Interval];

/// Why a point's figures are not to be believed, and so not compared: its certificate's reasons but for those of
/// [`IN_THE_INTERVAL`]. Empty for a point that failed, which says that itself.
pub(super) fn invalid(side: &str, info: &RunInfo, record: &PointRecord) -> Vec<String> {
    if matches!(record.outcome, PointStatus::Failed(_)) || record.trials.is_empty() {
        return Vec::new();
    }
    let reasons = certify(record, &Basis::of(info)).reasons;
    let counts = reasons.into_iter().filter(|reason| !IN_THE_INTERVAL.contains(&reason.code));
    counts.map(|reason| format!("{side} is invalid ({}): {}", reason.code, reason.sentence)).collect()
}

/// Whether both read the model from files of one form: a GGUF file and a folder of the same weights never hash alike.
fn same_form(a: &PointRecord, b: &PointRecord) -> bool {
    match (&a.point.model, &b.point.model) {
        (Some(x), Some(y)) => ModelFormat::of(x) == ModelFormat::of(y),
        _ => true,
    }
}

/// What a ratio leaves open, for a person.
pub(super) fn doubts(a: &PointRecord, b: &PointRecord) -> Vec<String> {
    let mut doubts = Vec::new();
    if !same_form(a, b) {
        doubts.push(
            "the models are files of different forms: whether their weights are the same is not known here".to_owned(),
        );
    }
    for (side, record) in [("the first", a), ("the second", b)] {
        if !record.warmup_steady {
            doubts.push(format!("{side}'s warm-up was not seen to become steady"));
        }
        let marked = record.trials.iter().filter(|trial| trial.counts() && !trial.hardware.marks.is_empty()).count();
        if marked > 0 {
            doubts.push(format!(
                "{marked} trials of {side} are marked (throttling, unusual clocks, others at work, a suspended machine)"
            ));
        }
    }
    doubts
}

fn short(hash: &str) -> &str {
    hash.get(..12).unwrap_or(hash)
}
