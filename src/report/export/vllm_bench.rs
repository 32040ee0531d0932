//! `vllm bench throughput --output-json`: a row a trial, as `vllm bench sweep` has a row a run.
//!
//! Field names: vLLM 0.32, `vllm/benchmarks/throughput.py`; `run_number`: `vllm/benchmarks/sweep/serve.py`.
use serde_json::{Map, Value, json};

use super::{model_name, object, trial_origin};
use crate::{
    cell::protocol::Load,
    results::{PointRecord, RunInfo},
};

/// A row for each trial that the point's throughput is the median of.
pub(super) fn rows(info: &RunInfo, record: &PointRecord) -> Result<Vec<Map<String, Value>>, String> {
    if !matches!(record.point.load, Load::Offline { .. }) {
        return Err(
            "vllm bench throughput hands everything over at once, which the offline load mode alone does".into()
        );
    }
    let trials: Vec<_> = record.counted(record.point.load.method()).collect();
    if trials.is_empty() {
        return Err("it has no timed trial".into());
    }
    let rows = trials.into_iter().enumerate().map(|(run, trial)| {
        let summary = &trial.summary;
        let mut row = object([
            ("model_id", json!(model_name(record))),
            ("elapsed_time", json!(summary.seconds())),
            ("num_requests", json!(summary.requests)),
            ("total_num_tokens", json!(summary.input_tokens + summary.output_tokens)),
            ("requests_per_second", json!(trial.figures.request_throughput)),
            ("tokens_per_second", json!(trial.figures.total_token_throughput)),
            ("run_number", json!(run)),
        ]);
        row.extend(trial_origin(info, record, trial));
        row
    });
    Ok(rows.collect())
}
