//! The table of points: a row a point and timed trial, with what ran, its evidence and its figures.
use std::{
    path::{Path, PathBuf},
    rc::Rc,
};

use super::{
    Failure, PointRecord, PointStatus, ResultsError, RunInfo, TrialRecord, cell_files,
    cells::{CellColumn, nullable, required},
    certificates, hardware,
    schema::Kind,
    service, traces, watching,
};
use crate::{
    cell::protocol::Load,
    engine::stat,
    metrics::definitions::{METRICS, STATISTICS, Value},
    validity::{Basis, Certificate, certify},
};

/// A row: a trial of a point, or a point that failed.
pub(super) struct PointRow<'a> {
    run_id: &'a str,
    record: &'a PointRecord,
    trial: Option<&'a TrialRecord>,
    certificate: Rc<Certificate>,
}

impl PointRow<'_> {
    fn failure(&self) -> Option<&Failure> {
        match &self.record.outcome {
            PointStatus::Failed(failure) if self.trial.is_none() => Some(failure),
            _ => None,
        }
    }

    /// The trial's duration in seconds, where the host's clock and the engine's are the same.
    fn host_seconds(&self) -> Option<f64> {
        let summary = &self.trial?.summary;
        Some(summary.seconds()).filter(|seconds| !summary.virtual_time && *seconds > 0.0)
    }

    fn stat(&self, name: &str) -> Option<f64> {
        self.trial?.summary.stats.get(name).copied()
    }
}

pub(super) fn columns<'a>() -> Vec<CellColumn<'a, PointRow<'a>>> {
    let mut all = vec![required("run_id", Kind::Text, "", "the run, as in `run.json`", |r: &PointRow| r.run_id)];
    all.extend(identity(|r: &PointRow| r.record));
    all.extend(outcome());
    all.extend(evidence());
    for metric in METRICS {
        match metric.value {
            Value::Rate(get) => {
                let doc = format!("{}: {}", metric.title.to_lowercase(), metric.formula);
                all.push(nullable(metric.name, Kind::F64, metric.unit, doc, move |r: &PointRow| {
                    r.trial.map(|trial| get(&trial.figures))
                }));
            }
            Value::MaybeRate(get) => {
                let doc = format!("{}: {}", metric.title.to_lowercase(), metric.formula);
                all.push(nullable(metric.name, Kind::F64, metric.unit, doc, move |r: &PointRow| {
                    r.trial.and_then(|trial| get(&trial.figures))
                }));
            }
            Value::Latency(get) => {
                for (suffix, what, statistic) in STATISTICS {
                    let doc = format!("{} of {}", what, metric.title.to_lowercase());
                    let name = format!("{}_{suffix}_{}", metric.name, metric.unit);
                    all.push(nullable(name, Kind::F64, metric.unit, doc, move |r: &PointRow| {
                        r.trial.and_then(|trial| get(&trial.figures)).and_then(statistic)
                    }));
                }
                let quantiles = move |r: &PointRow| r.trial.and_then(|trial| get(&trial.figures).copied());
                let doc = format!("how many values {} is over", metric.name);
                all.push(nullable(format!("{}_n", metric.name), Kind::U64, "", doc, move |r: &PointRow| {
                    quantiles(r).map(|q| q.n)
                }));
                let doc = format!("largest relative error of {}'s percentiles; 0 when exact", metric.name);
                all.push(nullable(format!("{}_error", metric.name), Kind::F64, "", doc, move |r: &PointRow| {
                    quantiles(r).map(|q| q.error)
                }));
            }
        }
    }
    all.extend(traces::columns(|r: &PointRow| r.record));
    all.extend(watching::columns(|r: &PointRow| r.record));
    all.push(nullable("latency_null_reason", Kind::Text, "", "why latencies are null", |r: &PointRow| {
        r.trial.and_then(|trial| trial.figures.latency_null_reason.clone())
    }));
    all.extend(service::columns(|r: &PointRow| r.trial));
    all.extend(hardware::columns(|r: &PointRow| r.trial));
    all.extend(certificates::columns(|r: &PointRow| &*r.certificate));
    all
}

/// What was measured, on what: the same in every table of figures.
pub(super) fn identity<'f, R: 'f>(record: fn(&R) -> &PointRecord) -> Vec<CellColumn<'f, R>> {
    let text = |name: &'static str, doc: &'static str, get: fn(&PointRecord) -> Option<String>| {
        nullable(name, Kind::Text, "", doc, move |r: &R| get(record(r)))
    };
    vec![
        required("point", Kind::U32, "", "the point's number in the plan, from 0", move |r: &R| record(r).point.number),
        text("key", "hash of engine, effective configuration, model and workload", |p| p.key.clone()),
        text("axes", "the axes that the plan varies with the point's values, as a JSON object of texts", |p| {
            Some(axes_json(p))
        }),
        text("engine", "the engine's id", |p| Some(p.point.engine.id.clone())),
        text("engine_version", "the engine's own version", |p| p.engine.as_ref().map(|e| e.version.clone())),
        text("double", "what stands in for an engine; null for a real engine", |p| {
            p.engine.as_ref().and_then(|e| e.double.clone())
        }),
        text("boundary", "where the engine's work runs: `in-core`, `child-core` or `http`", |p| {
            p.engine.as_ref().map(|e| e.boundary.as_str().to_owned())
        }),
        text("scheduler", "who schedules: `engine` or `tacho`", |p| {
            p.engine.as_ref().map(|e| e.scheduler.as_str().to_owned())
        }),
        text("device", "the device", |p| p.engine.as_ref().map(|e| e.device.clone())),
        text("compile_mode", "how the engine compiles or captures, in its own words", |p| {
            p.engine.as_ref().and_then(|e| e.compile_mode.clone())
        }),
        nullable(
            "gpu_in_process",
            Kind::Bool,
            "",
            "whether GPU work runs in the cell's process; null without a GPU",
            move |r: &R| record(r).engine.as_ref().and_then(|e| e.gpu_in_process),
        ),
        nullable("virtual_time", Kind::Bool, "", "whether times are a simulated clock's", move |r: &R| {
            record(r).engine.as_ref().map(|e| e.virtual_time)
        }),
        text("model", "the model, by its own name, else its file's", |p| {
            let file = p.point.model.as_ref().and_then(|path| path.file_name());
            let own = p.engine.as_ref().map(|e| e.model.name.clone()).filter(|name| !name.is_empty());
            own.or_else(|| file.map(|name| name.to_string_lossy().into_owned()))
        }),
        text("model_digest", "BLAKE3 of the model's file or files", |p| p.model_digest.clone()),
        text("weights_dtype", "how the weights are stored", |p| {
            p.engine.as_ref().and_then(|e| e.model.weights_dtype.clone())
        }),
        text("load_mode", "`offline`, `closed` or `open`", |p| {
            Some(match p.point.load {
                Load::Offline { .. } => "offline".to_owned(),
                Load::Closed { .. } => "closed".to_owned(),
                Load::Open { .. } => "open".to_owned(),
            })
        }),
        nullable("batch", Kind::U32, "requests", "requests handed over at once, in `offline`", move |r: &R| {
            match record(r).point.load {
                Load::Offline { batch } => Some(batch),
                Load::Closed { .. } | Load::Open { .. } => None,
            }
        }),
        nullable("concurrency", Kind::U32, "requests", "requests kept in flight, in `closed`", move |r: &R| {
            match record(r).point.load {
                Load::Closed { concurrency } => Some(concurrency),
                Load::Offline { .. } | Load::Open { .. } => None,
            }
        }),
        text("arrivals", "how requests arrive, in `open`", |p| match &p.point.load {
            Load::Open { arrivals, .. } => Some(arrivals.process.to_string()),
            _ => None,
        }),
        nullable("rate", Kind::F64, "requests/s", "mean rate of arrivals (a ramp's first), in `open`", move |r: &R| {
            match &record(r).point.load {
                Load::Open { arrivals, .. } => arrivals.rate,
                _ => None,
            }
        }),
        nullable("max_in_flight", Kind::U32, "requests", "the most that the engine was given at once, in `open`", {
            move |r: &R| match record(r).point.load {
                Load::Open { max_in_flight, .. } => max_in_flight,
                _ => None,
            }
        }),
        required(
            "requests",
            Kind::U32,
            "requests",
            "requests of a trial, or conversations (see `sessions`)",
            move |r: &R| record(r).point.workload.requests,
        ),
        text("input", "prompt lengths in tokens: a number, a distribution, or a dataset(shortest,longest,mean)", |p| {
            Some(p.point.workload.input_text())
        }),
        text("output", "output lengths in tokens, likewise", |p| Some(p.point.workload.output_text())),
        text("dataset", "the dataset that prompts come from, with its path; null for random prompts", |p| {
            p.point.workload.data.as_ref().map(|data| data.spec.to_string())
        }),
        text("dataset_digest", "hash of the dataset's requests, as `tacho workload show` prints it", |p| {
            p.point.workload.data.as_ref()?.saved.as_ref().map(|saved| saved.digest.clone())
        }),
        text("think_time", "between the turns of a conversation", |p| {
            Some(p.point.workload.data.as_ref()?.saved.as_ref()?.think?.to_string())
        }),
        text("dataset_order", "which of them a trial takes: `shuffle`, `sample` or `file`", |p| {
            p.point.workload.data.as_ref().map(|data| data.spec.order.as_str().to_owned())
        }),
    ]
}

/// A point's axes as a JSON object, in the plan's order.
pub(crate) fn axes_json(record: &PointRecord) -> String {
    let text = |value: &str| serde_json::Value::from(value).to_string();
    let pairs: Vec<String> =
        record.point.axes.iter().map(|(name, value)| format!("{}: {}", text(name), text(value))).collect();
    format!("{{{}}}", pairs.join(", "))
}

fn outcome<'a>() -> Vec<CellColumn<'a, PointRow<'a>>> {
    vec![
        nullable("trial", Kind::U32, "", "the trial's number in the point, from 0; null for a point that failed", {
            |r: &PointRow| r.trial.map(|trial| trial.trial)
        }),
        nullable("method", Kind::Text, "", "by which door: `generate` or `steps`", |r: &PointRow| {
            r.trial.map(|trial| trial.method.as_str())
        }),
        required(
            "status",
            Kind::Text,
            "",
            "`ok` for a trial in the figures, `superseded` for one that was marked and run again, `failed` for a point's failure",
            |r: &PointRow| match r.trial {
                Some(trial) if trial.counts() => "ok",
                Some(_) => "superseded",
                None => "failed",
            },
        ),
        required("point_status", Kind::Text, "", "how the point ended as a whole: `ok` or `failed`", |r: &PointRow| {
            match r.record.outcome {
                PointStatus::Ok => "ok",
                PointStatus::Failed(_) => "failed",
            }
        }),
        nullable(
            "error_kind",
            Kind::Text,
            "",
            "the engine's kind of failure; null when the cell died",
            |r: &PointRow| r.failure().and_then(|failure| failure.kind).map(error_kind),
        ),
        nullable("reason", Kind::Text, "", "why the point failed", |r: &PointRow| {
            r.failure().map(|failure| failure.reason.clone())
        }),
        nullable("signal", Kind::U32, "", "the signal that ended the cell", |r: &PointRow| {
            r.failure().and_then(|failure| failure.signal).and_then(|signal| u32::try_from(signal).ok())
        }),
        nullable("exit_code", Kind::U32, "", "the cell's exit status", |r: &PointRow| {
            r.failure().and_then(|failure| failure.exit_code).and_then(|code| u32::try_from(code).ok())
        }),
    ]
}

/// As it stands in JSON.
pub(crate) fn error_kind(kind: crate::engine::ErrorKind) -> String {
    serde_json::to_value(kind).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

fn evidence<'a>() -> Vec<CellColumn<'a, PointRow<'a>>> {
    let count = |name: &'static str, unit: &'static str, doc: &'static str, get: fn(&TrialRecord) -> u64| {
        nullable(name, Kind::U64, unit, doc, move |r: &PointRow| r.trial.map(get))
    };
    let stat =
        |name: &'static str, doc: &'static str| nullable(name, Kind::F64, "", doc, move |r: &PointRow| r.stat(name));
    vec![
        nullable("seconds", Kind::F64, "s", "the trial's duration on the engine's clock", |r: &PointRow| {
            r.trial.map(|trial| trial.summary.seconds())
        }),
        nullable("device_seconds", Kind::F64, "s", "the trial's duration on the device's clock, by two CUDA events", {
            |r: &PointRow| r.trial.and_then(|trial| trial.summary.device.seconds())
        }),
        nullable(
            "clock_disagreement",
            Kind::F64,
            "",
            "device_seconds / seconds - 1; beyond 0.005 either way the trial is doubtful",
            |r: &PointRow| r.trial.and_then(|trial| trial.summary.clock_disagreement()),
        ),
        nullable("device_null_reason", Kind::Text, "", "why device_seconds is null", |r: &PointRow| {
            r.trial.and_then(|trial| trial.summary.device.null_reason().map(str::to_owned))
        }),
        count("requests_done", "requests", "requests that ended with their exact length", |t| {
            u64::from(t.summary.requests)
        }),
        count("input_tokens", "tokens", "prompt tokens that the engine consumed", |t| t.summary.input_tokens),
        count("output_tokens", "tokens", "output tokens, counted by id", |t| t.summary.output_tokens),
        nullable(
            "harness_share",
            Kind::F64,
            "",
            "share of the time spent outside the engine's calls, waits for arrivals left out of both; null in virtual time",
            |r: &PointRow| r.trial?.summary.harness_share(),
        ),
        nullable(
            "cpu_share",
            Kind::F64,
            "",
            "CPU time of the cell / duration: 1 is one core kept busy; null in virtual time",
            |r: &PointRow| Some(r.trial?.summary.cpu_ns as f64 / 1e9 / r.host_seconds()?),
        ),
        nullable("workload_digest", Kind::Text, "", "hash of the requests, prompts included", |r: &PointRow| {
            r.trial.map(|trial| trial.summary.workload_digest.clone())
        }),
        nullable("output_digest", Kind::Text, "", "hash of the output ids, hexadecimal; the same ids give the same", {
            |r: &PointRow| r.trial.map(|trial| format!("{:016x}", trial.summary.output_digest))
        }),
        count("engine_calls", "", "calls into the engine", |t| t.summary.engine_calls),
        count("flushes_in_trial", "", "how often records were sent while the trial ran; expected 0", |t| {
            u64::from(t.summary.flushes_in_trial)
        }),
        stat(
            stat::PREFIX_HIT_TOKENS,
            "prompt tokens answered from a prefix cache; null where the engine does not tell",
        ),
        stat(stat::PREEMPTIONS, "sequences evicted and started over; null where the engine does not tell"),
        stat(stat::STEPS, "engine steps of the trial; null where the engine does not tell"),
        stat(stat::COMPILES, "graph captures or compilations in the trial; null where the engine does not tell"),
    ]
}

/// Writes `points.parquet`, `points.csv` and `points.json`.
pub(super) fn write(dir: &Path, info: &RunInfo, records: &[PointRecord]) -> Result<Vec<PathBuf>, ResultsError> {
    let basis = Basis::of(info);
    let rows = records.iter().flat_map(|record| {
        let certificate = Rc::new(certify(record, &basis));
        let row = move |trial| PointRow { run_id: &info.run_id, record, trial, certificate: Rc::clone(&certificate) };
        let failed = matches!(record.outcome, PointStatus::Failed(_)).then_some(None);
        record.trials.iter().map(Some).chain(failed).map(row)
    });
    let paths = ["parquet", "csv", "json"].map(|extension| dir.join(format!("points.{extension}")));
    cell_files::write(&paths, &columns(), rows)?;
    Ok(paths.into())
}
