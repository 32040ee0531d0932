//! The figures that comparisons are over, by the names that tables give them.
use serde::{Deserialize, Serialize};

use crate::{
    cell::protocol::Method,
    metrics::definitions::{METRICS, STATISTICS, Value, metric},
    results::{PointRecord, TrialFigures, TrialRecord},
};

/// What is compared when nobody says.
pub const PRIMARY: &str = "output_token_throughput";

/// In which direction a figure is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Better {
    /// Throughputs.
    Higher,
    /// Latencies.
    Lower,
}

/// A figure of a trial: a throughput, or a statistic of a latency.
#[derive(Clone, Debug)]
pub struct Figure {
    /// Such as `output_token_throughput` or `ttft_p99`.
    pub name: String,
    /// Its unit.
    pub unit: &'static str,
    /// Its direction.
    pub better: Better,
    metric: &'static str,
    statistic: Option<&'static str>,
}

impl Figure {
    /// The figure of that name.
    ///
    /// # Errors
    /// A sentence that lists what there is.
    pub fn named(name: &str) -> Result<Self, String> {
        let name = name.trim_end_matches("_ms");
        if let Some(found) = metric(name)
            && matches!(found.value, Value::Rate(_) | Value::MaybeRate(_))
        {
            let (metric, better) = (found.name, Better::Higher);
            return Ok(Self { name: name.to_owned(), unit: found.unit, better, metric, statistic: None });
        }
        let split = name.rsplit_once('_').and_then(|(latency, statistic)| {
            let metric = metric(latency).filter(|metric| matches!(metric.value, Value::Latency(_)))?;
            let (suffix, _, _) = STATISTICS.iter().find(|(suffix, _, _)| *suffix == statistic && *suffix != "sd")?;
            Some((metric, *suffix))
        });
        let Some((metric, statistic)) = split else {
            let rates =
                METRICS.iter().filter(|metric| !matches!(metric.value, Value::Latency(_))).map(|metric| metric.name);
            return Err(format!(
                "no figure is called '{name}': expected {}, or a latency with a statistic such as ttft_p50, itl_p99, \
                 tpot_mean or e2e_p95",
                rates.collect::<Vec<_>>().join(", ")
            ));
        };
        let (name, unit) = (name.to_owned(), metric.unit);
        Ok(Self { name, unit, better: Better::Lower, metric: metric.name, statistic: Some(statistic) })
    }

    /// The figures of a paired run: throughput, and the latencies where its trials tell them.
    pub fn of_pairs() -> Vec<Self> {
        [PRIMARY, "ttft_p50", "tpot_p50", "e2e_p50"].into_iter().filter_map(|name| Self::named(name).ok()).collect()
    }

    /// Its value, in its unit.
    pub fn of(&self, figures: &TrialFigures) -> Option<f64> {
        match metric(self.metric)?.value {
            Value::Rate(get) => Some(get(figures)),
            Value::MaybeRate(get) => get(figures),
            Value::Latency(get) => {
                let (_, _, statistic) = STATISTICS.iter().find(|(suffix, _, _)| Some(*suffix) == self.statistic)?;
                statistic(get(figures)?)
            }
        }
    }

    /// As a speed: the value of a throughput, one over it of a latency.
    pub fn speed(&self, figures: &TrialFigures) -> Option<f64> {
        let value = self.of(figures)?;
        Some(if self.better == Better::Higher { value } else { 1.0 / value })
            .filter(|speed| speed.is_finite() && *speed > 0.0)
    }

    /// The trials that tell it: those that throughput is timed by, or the step-loop trials for a latency.
    pub fn trials<'a>(&self, record: &'a PointRecord) -> Vec<&'a TrialRecord> {
        let method = if self.better == Better::Higher { record.point.load.method() } else { Method::Steps };
        record.counted(method).collect()
    }

    /// The values over those trials.
    pub fn values(&self, record: &PointRecord) -> Vec<f64> {
        self.trials(record).iter().filter_map(|trial| self.of(&trial.figures)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::testing;

    #[test]
    fn names_are_those_of_the_tables() {
        let trial = testing::trial(0, Method::Steps, 1000.0);
        let value = |name: &str| Figure::named(name).unwrap().of(&trial.figures);
        assert_eq!(value("output_token_throughput"), Some(1000.0));
        assert_eq!((value("ttft_p50"), value("ttft_p50_ms"), value("e2e_max")), (Some(40.0), Some(40.0), Some(740.0)));
        assert_eq!(Figure::named("ttft_p50").unwrap().speed(&trial.figures), Some(1.0 / 40.0));
        for wrong in ["ttft", "tokens", "ttft_p42", "output_token_throughput_p50", "itl_sd"] {
            assert!(Figure::named(wrong).unwrap_err().contains("output_token_throughput"), "{wrong}");
        }
    }
}
