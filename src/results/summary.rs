//! A point's outcome over its trials: what the terminal's table, the report and the charts show.
use std::path::{Path, PathBuf};

use super::{
    PointRecord, PointStatus, Quantiles, ResultsError, RunInfo, TrialRecord, cell_files,
    cells::{CellColumn, nullable, required},
    certificates, hardware,
    points::{error_kind, identity},
    schema::Kind,
};
use crate::{
    cell::protocol::Method,
    metrics::{
        MedianInterval,
        definitions::{METRICS, STATISTICS, Value},
        median, median_interval, stopping,
    },
    validity::{Basis, Certificate, certify},
};

/// The throughput over a point's trials.
#[derive(Clone, Debug, PartialEq)]
pub struct ThroughputSummary {
    /// By which door its trials went: `generate`, or `steps` in load modes without a generate call.
    pub method: Method,
    /// How many trials.
    pub trials: u64,
    /// Median output tokens a second.
    pub median: f64,
    /// Its 95 % interval, or why there is none.
    pub interval: Result<MedianInterval, String>,
}

/// A point over its trials.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary<'a> {
    /// The point.
    pub record: &'a PointRecord,
    /// None without a timed trial.
    pub throughput: Option<ThroughputSummary>,
    /// Step-loop trials that were run for latencies alone: none where the throughput trials are step-loop trials and
    /// give both.
    pub latency_trials: u64,
}

impl<'a> Summary<'a> {
    /// Sums up a point.
    pub fn of(record: &'a PointRecord) -> Self {
        let latency_trials = match record.point.load.method() {
            Method::Generate => record.counted(Method::Steps).count() as u64,
            Method::Steps => 0,
        };
        let method = record.point.load.method();
        let rates: Vec<f64> = record.counted(method).map(|trial| trial.figures.output_token_throughput).collect();
        let throughput = median(&rates).map(|median| ThroughputSummary {
            method,
            trials: rates.len() as u64,
            median,
            interval: median_interval(&rates, stopping::CONFIDENCE).map_err(|error| error.to_string()),
        });
        Self { record, throughput, latency_trials }
    }

    /// The median over the throughput trials of a rate.
    pub fn rate(&self, of: impl Fn(&TrialRecord) -> f64) -> Option<f64> {
        let method = self.throughput.as_ref()?.method;
        let values: Vec<f64> = self.record.counted(method).map(of).collect();
        median(&values)
    }

    /// The median over the throughput trials of something that not every trial has.
    pub fn hardware(&self, of: impl Fn(&TrialRecord) -> Option<f64>) -> Option<f64> {
        let method = self.throughput.as_ref()?.method;
        median(&self.record.counted(method).filter_map(of).collect::<Vec<_>>())
    }

    /// A statistic of a latency in milliseconds: the median over the step-loop trials of each trial's own.
    pub fn latency(
        &self,
        of: impl Fn(&TrialRecord) -> Option<&Quantiles>,
        statistic: fn(&Quantiles) -> Option<f64>,
    ) -> Option<f64> {
        let steps = self.record.counted(Method::Steps);
        median(&steps.filter_map(|trial| statistic(of(trial)?)).collect::<Vec<_>>())
    }

    /// Whether the interval came within the plan's target.
    pub fn reached_target(&self) -> bool {
        self.record.stopped_by == stopping::StopReason::Target.as_str()
    }

    /// Why latencies are missing.
    pub fn latency_null_reason(&self) -> Option<String> {
        let mut steps = self.record.counted(Method::Steps).peekable();
        if steps.peek().is_none() {
            return Some("no step-loop trial was run".to_owned());
        }
        steps.find_map(|trial| trial.figures.latency_null_reason.clone())
    }

    /// The interval of the median output token throughput.
    pub fn interval(&self) -> Option<&MedianInterval> {
        self.throughput.as_ref()?.interval.as_ref().ok()
    }
}

/// A row of the table.
pub(super) struct Row<'a> {
    run_id: &'a str,
    summary: Summary<'a>,
    certificate: Certificate,
}

pub(super) fn columns<'a>() -> Vec<CellColumn<'a, Row<'a>>> {
    let mut all = vec![required("run_id", Kind::Text, "", "the run, as in `run.json`", |r: &Row| r.run_id)];
    all.extend(identity(|r: &Row| r.summary.record));
    all.extend(outcome());
    all.extend(interval());
    for metric in METRICS {
        match metric.value {
            Value::Rate(get) => {
                let doc = format!("{}: median over the throughput trials", metric.title.to_lowercase());
                all.push(nullable(format!("{}_median", metric.name), Kind::F64, metric.unit, doc, move |r: &Row| {
                    r.summary.rate(|trial| get(&trial.figures))
                }));
            }
            Value::MaybeRate(get) => {
                let doc = format!("{}: median over the throughput trials", metric.title.to_lowercase());
                all.push(nullable(format!("{}_median", metric.name), Kind::F64, metric.unit, doc, move |r: &Row| {
                    r.summary.hardware(|trial| get(&trial.figures))
                }));
            }
            Value::Latency(get) => {
                for (suffix, what, statistic) in STATISTICS {
                    let doc = format!("{} of {}: median over the `steps` trials", what, metric.title.to_lowercase());
                    let name = format!("{}_{suffix}_{}", metric.name, metric.unit);
                    all.push(nullable(name, Kind::F64, metric.unit, doc, move |r: &Row| {
                        r.summary.latency(|trial| get(&trial.figures), *statistic)
                    }));
                }
            }
        }
    }
    all.extend(hardware::medians().map(|(name, unit, doc, of)| {
        let doc = format!("{doc}: median over the throughput trials");
        nullable(format!("{name}_median"), Kind::F64, unit, doc, move |r: &Row| r.summary.hardware(of))
    }));
    all.push(required("marked_trials", Kind::U64, "", "trials with marks, superseded ones among them", |r: &Row| {
        r.summary.record.trials.iter().filter(|trial| !trial.hardware.marks.is_empty()).count() as u64
    }));
    all.push(nullable("latency_null_reason", Kind::Text, "", "why latencies are null", |r: &Row| {
        r.summary.latency_null_reason()
    }));
    all.extend(certificates::columns(|r: &Row| &r.certificate));
    all
}

fn outcome<'a>() -> Vec<CellColumn<'a, Row<'a>>> {
    let failure = |r: &Row| match &r.summary.record.outcome {
        PointStatus::Failed(failure) => Some(failure.clone()),
        PointStatus::Ok => None,
    };
    vec![
        required("status", Kind::Text, "", "how the point ended: `ok` or `failed`", move |r: &Row| {
            if failure(r).is_some() { "failed" } else { "ok" }
        }),
        nullable(
            "error_kind",
            Kind::Text,
            "",
            "the engine's kind of failure; null when the cell died",
            move |r: &Row| failure(r).and_then(|failure| failure.kind).map(error_kind),
        ),
        nullable("reason", Kind::Text, "", "why the point failed", move |r: &Row| {
            failure(r).map(|failure| failure.reason)
        }),
        required("stopped_by", Kind::Text, "", "why no further trial was run", |r: &Row| {
            r.summary.record.stopped_by.clone()
        }),
        required("target_reached", Kind::Bool, "", "whether the interval came within the plan's target", |r: &Row| {
            r.summary.reached_target()
        }),
        required("warmup_trials", Kind::U64, "", "warm-up trials before the timed ones", |r: &Row| {
            r.summary.record.warmup_seconds.len() as u64
        }),
        required("warmup_steady", Kind::Bool, "", "whether the warm-up was seen to reach a steady state", |r: &Row| {
            r.summary.record.warmup_steady
        }),
        nullable("load_seconds", Kind::F64, "s", "how long loading the engine took", |r: &Row| {
            r.summary.record.load_ns.map(|ns| ns as f64 / 1e9)
        }),
    ]
}

fn interval<'a>() -> Vec<CellColumn<'a, Row<'a>>> {
    let end = |name: &'static str, unit: &'static str, doc: &'static str, get: fn(&MedianInterval) -> Option<f64>| {
        nullable(name, Kind::F64, unit, doc, move |r: &Row| r.summary.interval().and_then(get))
    };
    vec![
        nullable("throughput_method", Kind::Text, "", "by which door the throughput trials went", |r: &Row| {
            r.summary.throughput.as_ref().map(|throughput| throughput.method.as_str())
        }),
        required("throughput_trials", Kind::U64, "", "timed trials that throughput is over", |r: &Row| {
            r.summary.throughput.as_ref().map_or(0, |throughput| throughput.trials)
        }),
        required(
            "latency_trials",
            Kind::U64,
            "",
            "`steps` trials for latencies alone; 0 in `closed`, where throughput's trials give them",
            |r: &Row| r.summary.latency_trials,
        ),
        end("output_token_throughput_low", "tokens/s", "lower end of the median's interval", |i| Some(i.low)),
        end("output_token_throughput_high", "tokens/s", "upper end of the median's interval", |i| Some(i.high)),
        end(
            "interval_coverage",
            "",
            "the probability with which such an interval covers the median, at least 0.95",
            |i| Some(i.coverage),
        ),
        end("interval_half_width", "", "the farther end's distance from the median, as a fraction of it", |i| {
            i.relative_half_width()
        }),
        nullable("interval_null_reason", Kind::Text, "", "why there is no interval", |r: &Row| {
            match &r.summary.throughput {
                Some(throughput) => throughput.interval.as_ref().err().cloned(),
                None => Some("no timed trial".to_owned()),
            }
        }),
    ]
}

/// Writes `summary.csv` and `summary.json`.
pub(super) fn write<'a>(
    dir: &Path,
    info: &'a RunInfo,
    records: &'a [PointRecord],
) -> Result<Vec<PathBuf>, ResultsError> {
    let basis = Basis::of(info);
    let row = |record: &'a PointRecord| Row {
        run_id: &info.run_id,
        summary: Summary::of(record),
        certificate: certify(record, &basis),
    };
    let paths = ["csv", "json"].map(|extension| dir.join(format!("summary.{extension}")));
    cell_files::write(&paths, &columns(), records.iter().map(row))?;
    Ok(paths.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{cell::protocol::Load, results::testing};

    #[test]
    fn trials_of_a_closed_loop_are_counted_once() {
        let mut record = testing::point(0, "sim", &[]);
        record.point.load = Load::Closed { concurrency: 4 };
        record.trials.extend((0..6).map(|n| testing::trial(n, Method::Steps, 1000.0)));
        let summary = Summary::of(&record);
        assert_eq!(summary.throughput.as_ref().map(|throughput| throughput.trials), Some(6));
        assert_eq!(summary.latency_trials, 0);
        assert_eq!(summary.latency(|trial| trial.figures.ttft.as_ref(), |q| Some(q.p50)), Some(40.0));
    }

    #[test]
    fn a_step_loop_trial_is_no_throughput_of_an_offline_point() {
        let mut record = testing::point(0, "sim", &[]);
        record.trials.push(testing::trial(0, Method::Steps, 1000.0));
        let summary = Summary::of(&record);
        assert_eq!((summary.throughput, summary.latency_trials), (None, 1));
    }
}
