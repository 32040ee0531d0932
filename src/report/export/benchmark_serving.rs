//! `vllm bench serve --save-result` (once `benchmark_serving.py`): a row a step-loop trial, which has latencies.
//!
//! Field names: vLLM 0.32, `vllm/benchmarks/serve.py`; `run_number`: `vllm/benchmarks/sweep/serve.py`.
use serde_json::{Map, Value, json};

use super::{model_name, object, trial_origin};
use crate::{
    cell::protocol::{Load, Method},
    results::{PointRecord, Quantiles, RunInfo, TrialRecord},
    workload::arrivals::Process,
};

/// A row for each step-loop trial of the point.
pub(super) fn rows(info: &RunInfo, record: &PointRecord) -> Result<Vec<Map<String, Value>>, String> {
    let trials: Vec<_> = record.counted(Method::Steps).collect();
    if trials.is_empty() {
        return Err("it has no step-loop trial, and generate trials have no latencies".into());
    }
    Ok(trials.into_iter().enumerate().map(|(run, trial)| row(info, record, run, trial)).collect())
}

fn row(info: &RunInfo, record: &PointRecord, run: usize, trial: &TrialRecord) -> Map<String, Value> {
    let (summary, figures) = (&trial.summary, &trial.figures);
    let asked = record.point.workload.requests;
    let (rate, at_once) = traffic(&record.point.load);
    let mut row = object([
        ("date", json!(date(&info.started_at))),
        // There is no endpoint, and nothing is tokenised.
        ("endpoint_type", Value::Null),
        ("backend", json!(record.point.engine.id)),
        ("label", Value::Null),
        ("model_id", json!(model_name(record))),
        ("tokenizer_id", Value::Null),
        ("num_prompts", json!(asked)),
        ("request_rate", rate),
        ("burstiness", json!(burstiness(&record.point.load))),
        ("max_concurrency", json!(at_once)),
        ("duration", json!(summary.seconds())),
        ("completed", json!(summary.requests)),
        ("failed", json!(asked.saturating_sub(summary.requests))),
        ("total_input_tokens", json!(summary.input_tokens)),
        ("total_output_tokens", json!(summary.output_tokens)),
        ("request_throughput", json!(figures.request_throughput)),
        ("request_goodput", json!(figures.service.as_ref().map(|service| service.goodput))),
        ("output_throughput", json!(figures.output_token_throughput)),
        ("total_token_throughput", json!(figures.total_token_throughput)),
        // By buckets of one second of a client's clock, which Tacho does not have.
        ("max_output_tokens_per_s", Value::Null),
        ("max_concurrent_requests", Value::Null),
        ("rtfx", Value::Null),
    ]);
    let latencies = [("ttft", &figures.ttft), ("tpot", &figures.tpot), ("itl", &figures.itl), ("e2el", &figures.e2e)];
    for (name, quantiles) in latencies {
        row.extend(distribution(name, quantiles.as_ref()));
    }
    row.insert("run_number".to_owned(), json!(run));
    row.extend(trial_origin(info, record, trial));
    row
}

/// `request_rate` and `max_concurrency`. vLLM's benchmark writes "inf" when nothing but the concurrency holds requests back.
fn traffic(load: &Load) -> (Value, Option<u32>) {
    match load {
        Load::Offline { batch } => (json!("inf"), Some(*batch)),
        Load::Closed { concurrency } => (json!("inf"), Some(*concurrency)),
        Load::Open { arrivals, max_in_flight } => (json!(arrivals.rate), *max_in_flight),
    }
}

/// vLLM's `--burstiness`, the shape of gamma gaps; its default, 1, is a Poisson process. None for arrivals of other kinds.
fn burstiness(load: &Load) -> Option<f64> {
    let Load::Open { arrivals, .. } = load else { return None };
    match arrivals.process {
        Process::Poisson | Process::PoissonTotal => Some(1.0),
        Process::Gamma(shape) => Some(shape),
        _ => None,
    }
}

/// `2026-11-22T02:12:00Z` as `20261122-021200`.
fn date(rfc3339: &str) -> String {
    let kept = rfc3339.chars().filter(|c| c.is_ascii_digit() || *c == 'T');
    kept.map(|c| if c == 'T' { '-' } else { c }).collect()
}

fn distribution(name: &str, quantiles: Option<&Quantiles>) -> Map<String, Value> {
    let field =
        |what: &str, of: fn(&Quantiles) -> Option<f64>| (format!("{what}_{name}_ms"), json!(quantiles.and_then(of)));
    [
        field("mean", |q| Some(q.mean)),
        field("median", |q| Some(q.p50)),
        field("std", population_sd),
        field("p90", |q| Some(q.p90)),
        field("p95", |q| Some(q.p95)),
        field("p99", |q| Some(q.p99)),
    ]
    .into_iter()
    .collect()
}

/// The standard deviation over n, which vLLM's benchmark has (NumPy's default), from Tacho's over n − 1.
fn population_sd(q: &Quantiles) -> Option<f64> {
    match (q.sd, q.n) {
        (Some(sd), n) if n > 0 => Some(sd * ((n - 1) as f64 / n as f64).sqrt()),
        (None, 1) => Some(0.0),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::arrivals::ArrivalSpec;

    #[test]
    fn burstiness_is_the_shape_of_gamma_gaps() {
        let of = |process: Process| {
            burstiness(&Load::Open { arrivals: ArrivalSpec { process, rate: Some(1.0) }, max_in_flight: None })
        };
        let found = [of(Process::Poisson), of(Process::Gamma(0.5)), of(Process::Constant)];
        assert_eq!(found, [Some(1.0), Some(0.5), None]);
        assert_eq!(burstiness(&Load::Closed { concurrency: 1 }), None);
    }
}
