//! A trial between its work and its device's ceilings.
use serde::{Deserialize, Serialize};

use super::{Rates, Work};

/// What a trial would be bound by if nothing were wasted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// Arithmetic.
    Compute,
    /// Reading memory.
    Memory,
}

impl Bound {
    /// As it stands in tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Compute => "compute",
            Self::Memory => "memory",
        }
    }
}

/// Shares of a trial in which the device worked, from a kernel trace.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Busy {
    /// Anything ran on it: kernels, copies, collectives.
    pub any: f64,
    /// Kernels that compute ran on it; at most `any`.
    pub kernels: f64,
}

/// Where the time beyond the limit went, as shares of the trial. They and the limit's own share add up to 1.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GapSplit {
    /// Nothing ran on the device: it waited for the host.
    pub idle: Option<f64>,
    /// Kernels ran for longer than the limit allows.
    pub kernels: Option<f64>,
    /// Everything else: copies and collectives alone on the device.
    pub other: Option<f64>,
    /// Why they are missing.
    pub null_reason: Option<String>,
}

/// How far a trial was from the limit. None comes with a reason.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Roofline {
    /// Floating-point operations that the requests ask for.
    pub flops: Option<f64>,
    /// Bytes of weights that they ask for.
    pub weight_bytes: Option<f64>,
    /// Bytes of keys and values.
    pub kv_bytes: Option<f64>,
    /// The least time that they can take.
    pub seconds: Option<f64>,
    /// That, over the trial's.
    pub share: Option<f64>,
    /// Which bound binds for most of it.
    pub bound: Option<Bound>,
    /// Model FLOPs utilisation: FLOPs / (time · ceiling).
    pub mfu: Option<f64>,
    /// Why it is missing.
    pub mfu_null_reason: Option<String>,
    /// Model bandwidth utilisation: bytes / (time · ceiling).
    pub mbu: Option<f64>,
    /// Why it is missing.
    pub mbu_null_reason: Option<String>,
    /// What shows that the model of the work or a ceiling is wrong.
    pub error: Option<String>,
    /// Where the rest of the time went.
    pub gap: GapSplit,
}

impl Roofline {
    /// Nothing of it, for this reason.
    pub fn none(reason: &str) -> Self {
        let reason = Some(reason.to_owned());
        let gap = GapSplit { null_reason: reason.clone(), ..GapSplit::default() };
        Self { mfu_null_reason: reason.clone(), mbu_null_reason: reason, gap, ..Self::default() }
    }
}

/// Ceilings with the reason where one is missing.
#[derive(Clone, Debug, PartialEq)]
pub struct Known {
    /// FLOPs a second in the model's type.
    pub flops_per_s: Result<f64, String>,
    /// Bytes a second.
    pub bytes_per_s: Result<f64, String>,
}

impl Known {
    /// As what [`super::work()`] takes.
    pub fn rates(&self) -> Rates {
        let known = |rate: &Result<f64, String>| rate.as_ref().ok().copied();
        Rates { flops_per_s: known(&self.flops_per_s), bytes_per_s: known(&self.bytes_per_s) }
    }
}

/// Judges a trial of `seconds`. `busy` is known of traced trials.
pub fn judge(work: &Work, seconds: f64, known: &Known, busy: Option<Busy>) -> Roofline {
    let utilisation = |amount: f64, rate: &Result<f64, String>| match rate {
        Ok(rate) => (Some(amount / (seconds * rate)), None),
        Err(reason) => (None, Some(reason.clone())),
    };
    let (mfu, mfu_null_reason) = utilisation(work.flops, &known.flops_per_s);
    let (mbu, mbu_null_reason) = utilisation(work.weight_bytes + work.kv_bytes, &known.bytes_per_s);
    let share = work.seconds.map(|least| least / seconds);
    let mut roofline = Roofline {
        flops: Some(work.flops),
        weight_bytes: Some(work.weight_bytes),
        kv_bytes: Some(work.kv_bytes),
        seconds: work.seconds,
        share,
        bound: work
            .seconds
            .map(|least| if 2.0 * work.compute_bound_seconds > least { Bound::Compute } else { Bound::Memory }),
        mfu,
        mfu_null_reason,
        mbu,
        mbu_null_reason,
        error: None,
        gap: gap_split(share, busy),
    };
    refuse(&mut roofline, busy);
    roofline
}

/// Takes back what cannot be, and says so: nothing is faster than its limit.
fn refuse(roofline: &mut Roofline, busy: Option<Busy>) {
    let Roofline { mfu, mbu, share, .. } = *roofline;
    let mut wrong = Vec::new();
    for (name, value) in [("mfu", mfu), ("mbu", mbu), ("the least time over the trial's", share)] {
        if let Some(value) = value.filter(|value| *value > 1.0) {
            wrong.push(format!("{name} is {:.1} %", value * 100.0));
        }
    }
    if let (Some(share), Some(busy)) = (share, busy)
        && share > busy.kernels
    {
        wrong.push(format!("kernels ran for {:.1} % of it and need {:.1} %", busy.kernels * 100.0, share * 100.0));
    }
    if wrong.is_empty() {
        return;
    }
    let error = format!(
        "{}: the model of the work, or a ceiling, is wrong for this trial (see docs/roofline.md)",
        wrong.join(", ")
    );
    let none = Roofline::none(&error);
    *roofline = Roofline { error: Some(error), ..none };
}

/// Splits the time beyond the limit. `share` is the least time over the trial's.
pub fn gap_split(share: Option<f64>, busy: Option<Busy>) -> GapSplit {
    let missing = |reason: &str| GapSplit { null_reason: Some(reason.to_owned()), ..GapSplit::default() };
    match (share, busy) {
        (_, None) => missing("no kernel trace"),
        (None, Some(_)) => missing("the least time is not known"),
        // The busy time is that of another, traced trial: where it is less than the least time, the two do not fit together.
        (Some(share), Some(busy)) if share > busy.kernels => missing("kernels ran for less than the least time"),
        (Some(share), Some(busy)) => GapSplit {
            idle: Some(1.0 - busy.any),
            kernels: Some(busy.kernels - share),
            other: Some(busy.any - busy.kernels),
            null_reason: None,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(flops: f64, bytes: f64) -> Known {
        Known { flops_per_s: Ok(flops), bytes_per_s: Ok(bytes) }
    }

    fn some_work() -> Work {
        Work {
            flops: 600.0,
            weight_bytes: 300.0,
            kv_bytes: 100.0,
            steps: 4,
            seconds: Some(4.0),
            compute_bound_seconds: 1.0,
        }
    }

    #[test]
    fn a_trial_is_put_between_work_and_ceilings() {
        let found = judge(&some_work(), 10.0, &known(100.0, 100.0), None);
        assert_eq!((found.mfu, found.mbu, found.share), (Some(0.6), Some(0.4), Some(0.4)));
        assert_eq!((found.bound, found.error), (Some(Bound::Memory), None));
        assert_eq!(found.gap.null_reason.as_deref(), Some("no kernel trace"));
        let bound = judge(&Work { compute_bound_seconds: 3.0, ..some_work() }, 10.0, &known(100.0, 100.0), None).bound;
        assert_eq!(bound, Some(Bound::Compute));
    }

    #[test]
    fn the_gap_adds_up() {
        let busy = Busy { any: 0.8, kernels: 0.7 };
        let gap = judge(&some_work(), 10.0, &known(100.0, 100.0), Some(busy)).gap;
        let (idle, kernels, other) = (gap.idle.unwrap(), gap.kernels.unwrap(), gap.other.unwrap());
        assert!((idle - 0.2).abs() < 1e-12 && (kernels - 0.3).abs() < 1e-12 && (other - 0.1).abs() < 1e-12);
        assert!((idle + kernels + other + 0.4 - 1.0).abs() < 1e-12);
        let less = gap_split(Some(0.71), Some(busy));
        assert_eq!((less.idle, less.kernels, less.other), (None, None, None));
        assert_eq!(less.null_reason.as_deref(), Some("kernels ran for less than the least time"));
        assert_eq!(gap_split(None, Some(busy)).null_reason.as_deref(), Some("the least time is not known"));
    }

    #[test]
    fn what_is_above_the_limit_is_an_error_and_no_figure() {
        let fast = judge(&some_work(), 3.0, &known(1000.0, 100.0), None);
        let error = fast.error.clone().unwrap();
        assert!(error.starts_with("mbu is 133.3 %, the least time over the trial's is 133.3 %"), "{error}");
        assert_eq!((fast.mfu, fast.mbu, fast.share, fast.bound), (None, None, None, None));
        assert_eq!(fast.mbu_null_reason, Some(error));
        let busy = Busy { any: 0.5, kernels: 0.3 };
        let idle = judge(&some_work(), 10.0, &known(100.0, 100.0), Some(busy));
        assert!(idle.error.unwrap().starts_with("kernels ran for 30.0 % of it and need 40.0 %"));
    }

    #[test]
    fn what_is_not_known_says_why() {
        let known = Known { flops_per_s: Err("no ceiling for x".to_owned()), bytes_per_s: Ok(100.0) };
        let work = Work { seconds: None, ..some_work() };
        let found = judge(&work, 10.0, &known, None);
        assert_eq!((found.mfu, found.mbu, found.share), (None, Some(0.4), None));
        assert_eq!(found.mfu_null_reason.as_deref(), Some("no ceiling for x"));
        assert_eq!(known.rates(), Rates { flops_per_s: None, bytes_per_s: Some(100.0) });
        let none = Roofline::none("no model");
        assert_eq!(
            (none.mfu_null_reason.as_deref(), none.mbu_null_reason.as_deref()),
            (Some("no model"), Some("no model"))
        );
    }
}
