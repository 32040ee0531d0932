//! How much work a plan means, before anything runs.
use serde::Serialize;

use super::{Plan, Point};
use crate::{cell::protocol::Method, workload::LengthDist};

/// Requests and tokens. Token counts are expectations where lengths are drawn from a distribution.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Work {
    /// Requests.
    pub requests: u64,
    /// Prompt tokens.
    pub input_tokens: f64,
    /// Output tokens.
    pub output_tokens: f64,
    /// Whether the token counts are exact.
    pub exact: bool,
}

impl Point {
    /// What one trial of the point means.
    pub fn work(&self) -> Work {
        let workload = &self.workload;
        let fixed = |dist: &LengthDist| matches!(dist, LengthDist::Fixed(_));
        let turns = workload.data.as_ref().and_then(|data| data.turns).unwrap_or(1.0);
        let requests = f64::from(workload.requests) * turns;
        Work {
            requests: requests.round() as u64,
            input_tokens: requests * workload.input.mean(),
            output_tokens: requests * workload.output.mean(),
            exact: fixed(&workload.input) && fixed(&workload.output),
        }
    }
}

impl Plan {
    /// Trials that a point runs at least, warm-up apart: the timed ones, for an offline point the step-loop ones, and those that tell
    /// what watching costs.
    pub fn least_trials(&self, point: &Point) -> u32 {
        if let Some(compare) = &self.compare {
            return compare.timed_trials();
        }
        let latency = if point.load.method() == Method::Generate { self.trials.latency_trials } else { 0 };
        // Four a block, and two before them.
        let watching = match self.trials.watch_cost {
            0 => 0,
            blocks => blocks.saturating_mul(4).saturating_add(2),
        };
        self.trials.min_trials.saturating_add(latency).saturating_add(watching)
    }

    /// What the whole plan means at least, warm-up apart.
    pub fn least_work(&self) -> Work {
        self.points.iter().fold(Work { exact: true, ..Work::default() }, |sum, point| {
            let (one, trials) = (point.work(), self.least_trials(point));
            Work {
                requests: sum.requests.saturating_add(one.requests.saturating_mul(u64::from(trials))),
                input_tokens: sum.input_tokens + one.input_tokens * f64::from(trials),
                output_tokens: sum.output_tokens + one.output_tokens * f64::from(trials),
                exact: sum.exact && one.exact,
            }
        })
    }
}
