//! The highest load that meets a service level: a search that knows how sure each trial is, and the curve that it leaves.

mod curve;
mod keeping_up;
mod search;

use serde::{Deserialize, Serialize};
use statrs::function::beta::beta_reg;

pub use curve::knee;
pub use search::Search;

use keeping_up::KeepingUp;

use crate::{cell::open::QueueGrowth, metrics::service::ServiceFigures, results::TrialRecord};

/// A trial never moves the belief by more than this probability: what it measured may differ from the next one's for reasons
/// that no count of requests shows.
pub const MOST_CERTAIN: f64 = 0.998;
/// The probability that the answer's interval holds the limit.
pub const COVERAGE: f64 = 0.95;

/// Where a search leaves its answer in the run directory.
pub const FILE: &str = "capacity.json";

/// What is searched for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum By {
    /// Requests a second, open load.
    Rate,
    /// Requests in flight, closed loop.
    Concurrency,
}

impl By {
    /// As flags, axes and tables name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rate => "rate",
            Self::Concurrency => "concurrency",
        }
    }
}

/// How the search goes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Options {
    /// What is searched for.
    pub by: By,
    /// Half the interval's width, as a fraction of its middle, that ends the search.
    pub tolerance: f64,
    /// Trials at most, the first one that finds the throughput included.
    pub max_probes: u32,
    /// The highest concurrency to look at.
    pub max_concurrency: u32,
}

/// One trial of the search.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Probe {
    /// The point's number in the run's tables.
    pub point: u32,
    /// The load, in [`Capacity::unit`]. None for the trial that found the throughput.
    pub load: Option<f64>,
    /// Requests a second that ended.
    pub request_throughput: f64,
    /// Output tokens a second.
    pub output_token_throughput: f64,
    /// 99th percentile of the time to first token.
    pub ttft_p99_ms: Option<f64>,
    /// Mean end-to-end latency.
    pub e2e_mean_ms: Option<f64>,
    /// How requests met the service level.
    pub service: Option<ServiceFigures>,
    /// The probability that the service level is met at this load, as far as this trial's requests tell; see [`Self::level_met`].
    pub met_probability: Option<f64>,
    /// Whether the queue grew without end.
    pub saturated: bool,
    /// How the queue grew to the end of the trial, of an open load.
    #[serde(default)]
    pub growth: Option<QueueGrowth>,
    /// Whether the trial counts; one that did not keep its schedule does not.
    pub valid: bool,
}

/// What the search came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Capacity {
    /// What was searched for.
    pub by: By,
    /// Whether loads are in conversations, each of several requests.
    #[serde(default)]
    pub conversations: bool,
    /// The service level.
    pub slo: String,
    /// The best single answer: the median of the belief.
    pub estimate: f64,
    /// Lower end of the interval that holds the limit with [`COVERAGE`].
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Whether the interval came within the tolerance.
    pub converged: bool,
    /// What limits the answer, if something does.
    pub notes: Vec<String>,
    /// The trials, in order.
    pub probes: Vec<Probe>,
    /// Which probe is the knee of the throughput-latency curve; see [`knee`].
    pub knee: Option<u32>,
}

impl Capacity {
    /// The unit of loads.
    pub fn unit(&self) -> &'static str {
        match (self.by, self.conversations) {
            (By::Rate, false) => "requests/s",
            (By::Rate, true) => "conversations/s",
            (By::Concurrency, false) => "requests in flight",
            (By::Concurrency, true) => "conversations under way",
        }
    }
}

/// The probability that a service level is met, from one trial: each limit's share of requests has a beta posterior (Jeffreys
/// prior) over as many independent requests as its own would count for, and the least certain limit decides. Whether the queue grew is not in
/// it: see [`Search::update`].
pub fn met_probability(service: &ServiceFigures, saturated: bool) -> f64 {
    if saturated {
        return 1.0 - MOST_CERTAIN;
    }
    let least = service.limits.iter().map(|limit| {
        let wanted = limit.percentile / 100.0;
        if wanted >= 1.0 {
            return if limit.met { 1.0 } else { 0.0 };
        }
        let good = limit.attained * limit.effective_requests;
        1.0 - beta_reg(good + 0.5, limit.effective_requests - good + 0.5, wanted)
    });
    least.fold(1.0, f64::min).clamp(1.0 - MOST_CERTAIN, MOST_CERTAIN)
}

impl Probe {
    /// The probability, after this trial alone, that the service level is met at its load: its requests say so, and the engine keeps up.
    pub fn level_met(&self) -> Option<f64> {
        let growth = self.growth.and_then(KeepingUp::of);
        Some(search::level_met(self.load?, self.met_probability?, growth.as_ref()))
    }

    /// From a trial at a load.
    pub fn of(point: u32, load: Option<f64>, trial: &TrialRecord) -> Self {
        let (figures, schedule) = (&trial.figures, trial.summary.schedule.as_ref());
        let saturated = schedule.is_some_and(|schedule| schedule.saturation.is_some());
        let growth = schedule.and_then(|schedule| schedule.growth);
        Self {
            point,
            load,
            request_throughput: figures.request_throughput,
            output_token_throughput: figures.output_token_throughput,
            ttft_p99_ms: figures.ttft.map(|q| q.p99),
            e2e_mean_ms: figures.e2e.map(|q| q.mean),
            service: figures.service.clone(),
            met_probability: load.and(figures.service.as_ref()).map(|service| met_probability(service, saturated)),
            saturated,
            growth,
            // A cell that is overloaded may be late too; that it is overloaded is certain all the same.
            valid: saturated || schedule.is_none_or(|schedule| schedule.fidelity_ok),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::service::{Latency, LimitFigures};

    fn service(attained: f64, effective_requests: f64) -> ServiceFigures {
        let limit = LimitFigures {
            latency: Latency::Ttft,
            percentile: 90.0,
            limit_ms: 100.0,
            attained,
            met: attained >= 0.9,
            effective_requests,
        };
        ServiceFigures { goodput: 1.0, attained, met: limit.met, judged: 1000, limits: vec![limit] }
    }

    #[test]
    fn few_independent_requests_are_less_certain() {
        let at = |attained, n| met_probability(&service(attained, n), false);
        assert!((at(0.9, 1000.0) - 0.5).abs() < 0.05);
        assert!(at(0.93, 1000.0) > 0.99 && at(0.87, 1000.0) < 0.01);
        assert!((0.6..0.9).contains(&at(0.93, 50.0)), "{}", at(0.93, 50.0));
        assert_eq!(at(1.0, 1e6), MOST_CERTAIN);
        assert_eq!(met_probability(&service(1.0, 1e6), true), 1.0 - MOST_CERTAIN);
    }
}
