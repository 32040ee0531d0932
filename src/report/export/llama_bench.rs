//! `llama-bench -o json`: a row a point. Only what llama-bench's own `-pg P,G` test is: one sequence at a time of P prompt
//! and G output tokens, on llama.cpp.
//!
//! Field names: llama.cpp of late 2026, `tools/llama-bench/llama-bench.cpp`, `test::get_fields`.
use serde_json::{Map, Value, json};

use super::{object, origin};
use crate::{
    cell::protocol::Load,
    engine::EngineInfo,
    results::{PointRecord, RunInfo},
    workload::LengthDist,
};

const ENGINE: &str = "llama.cpp";

/// The point's row.
pub(super) fn row(info: &RunInfo, record: &PointRecord) -> Result<Map<String, Value>, String> {
    let engine = record.engine.as_ref().ok_or("its engine was not loaded")?;
    if record.point.engine.id != ENGINE {
        return Err(format!("llama-bench's rows are of {ENGINE}'s options, which other engines have not"));
    }
    let workload = &record.point.workload;
    let (LengthDist::Fixed(n_prompt), LengthDist::Fixed(n_gen)) = (&workload.input, &workload.output) else {
        return Err("llama-bench's lengths are fixed, and these are drawn".into());
    };
    if !matches!(record.point.load, Load::Offline { batch: 1 } | Load::Closed { concurrency: 1 }) {
        return Err("llama-bench runs one sequence at a time: batch or concurrency 1".into());
    }
    let trials: Vec<_> = record.counted(record.point.load.method()).collect();
    if trials.is_empty() {
        return Err("it has no timed trial".into());
    }
    // A trial's requests ran one after another: what one of them took on the average.
    let nanoseconds: Vec<f64> =
        trials.iter().map(|trial| trial.summary.seconds() * 1e9 / f64::from(trial.summary.requests)).collect();
    let tokens = f64::from(*n_prompt) + f64::from(*n_gen);
    let rates: Vec<f64> = nanoseconds.iter().map(|ns| tokens * 1e9 / ns).collect();
    let ((avg_ns, stddev_ns), (avg_ts, stddev_ts)) = (mean_and_sd(&nanoseconds), mean_and_sd(&rates));
    let mut row = settings(engine, record);
    row.extend(object([
        ("n_prompt", json!(n_prompt)),
        ("n_gen", json!(n_gen)),
        ("n_depth", json!(0)),
        ("test_time", json!(info.started_at)),
        ("avg_ns", json!(avg_ns.round() as u64)),
        ("stddev_ns", json!(stddev_ns.round() as u64)),
        ("avg_ts", json!(avg_ts)),
        ("stddev_ts", json!(stddev_ts)),
        ("samples_ns", nanoseconds.iter().map(|ns| ns.round() as u64).collect()),
        ("samples_ts", json!(rates)),
    ]));
    row.extend(origin(info, record));
    Ok(row)
}

/// The configuration, as far as the run knows it.
fn settings(engine: &EngineInfo, record: &PointRecord) -> Map<String, Value> {
    let effective = |name: &str| engine.effective.get(name).cloned().unwrap_or_default();
    let gpus = devices(engine, true);
    let mut row = object([
        // The build by its version: the run knows no commit of llama.cpp.
        ("build_commit", json!(engine.version)),
        ("build_number", Value::Null),
        ("cpu_info", json!(devices(engine, false).as_deref().map(descriptions))),
        ("gpu_info", json!(gpus.as_deref().map(descriptions))),
        ("backends", json!(gpus.as_deref().map(backends))),
        ("model_filename", json!(record.point.model)),
        ("model_type", effective("model_desc")),
        ("model_size", json!(engine.model.size_bytes)),
        ("model_n_params", json!(engine.model.n_params)),
        ("n_batch", asked(record, "n_batch", 2048)),
        ("n_ubatch", asked(record, "n_ubatch", 512)),
        ("n_threads", effective("threads")),
        ("type_k", effective("type_k")),
        ("type_v", effective("type_v")),
        ("n_gpu_layers", effective("n_gpu_layers")),
        ("flash_attn", flash_attention(&effective("flash_attn"))),
        ("devices", or_auto(engine, "devices_asked")),
        ("load_mode", load_mode(engine)),
    ]);
    row.extend(left_alone());
    row
}

/// What neither the cell nor any option of engines/llama.cpp sets, so that `llama_model_default_params` and
/// `llama_context_default_params` decide: in llama-bench's words for the same values.
fn left_alone() -> Map<String, Value> {
    object([
        ("cpu_mask", json!("0x0")),
        ("cpu_strict", json!(false)),
        ("poll", json!(50)),
        ("n_cpu_moe", json!(0)),
        ("split_mode", json!("layer")),
        ("main_gpu", json!(0)),
        ("no_kv_offload", json!(false)),
        ("tensor_split", json!("0.00")),
        ("tensor_buft_overrides", json!("none")),
        ("lazy_mode", json!("auto")),
        ("embeddings", json!(false)),
        ("no_op_offload", json!(0)),
        ("no_host", json!(false)),
        ("repack", json!(true)),
        ("fit_target", json!(0)),
        ("fit_min_ctx", json!(0)),
    ])
}

/// What was asked for, as llama-bench tells it: a context of few tokens makes less of it, in both. `default` is llama.cpp's
/// and engines/llama.cpp's.
fn asked(record: &PointRecord, option: &str, default: u32) -> Value {
    record.point.engine.options.get(option).cloned().unwrap_or_else(|| json!(default))
}

/// An option's value, or `auto`, llama-bench's word for what nobody set; null where the run does not tell.
fn or_auto(engine: &EngineInfo, option: &str) -> Value {
    match engine.effective.get(option) {
        Some(Value::Null) => json!("auto"),
        Some(value) => value.clone(),
        None => Value::Null,
    }
}

fn load_mode(engine: &EngineInfo) -> Value {
    match or_auto(engine, "use_mmap") {
        Value::Bool(true) => json!("mmap"),
        Value::Bool(false) => json!("none"),
        other => other,
    }
}

/// llama.h's `llama_flash_attn_type`.
fn flash_attention(mode: &Value) -> Value {
    match mode.as_str() {
        Some("auto") => json!(-1),
        Some("off") => json!(0),
        Some("on") => json!(1),
        _ => Value::Null,
    }
}

/// Name and description of each device that is a GPU or is not; None where the run does not list devices.
fn devices(engine: &EngineInfo, gpu: bool) -> Option<Vec<(String, String)>> {
    let text = |device: &Value, name: &str| device.get(name).and_then(Value::as_str).map(str::to_owned);
    let listed = engine.effective.get("devices")?.as_array()?;
    let wanted = listed.iter().filter(|device| device.get("gpu").and_then(Value::as_bool) == Some(gpu));
    wanted.map(|device| Some((text(device, "name")?, text(device, "description")?))).collect()
}

fn descriptions(devices: &[(String, String)]) -> String {
    devices.iter().map(|(_, description)| description.as_str()).collect::<Vec<_>>().join(", ")
}

/// The backends beside the processor's, `CPU` without one, as llama-bench does it: `CUDA` of `CUDA0` and `CUDA1`.
fn backends(gpus: &[(String, String)]) -> String {
    let mut names: Vec<&str> =
        gpus.iter().map(|(name, _)| name.trim_end_matches(|c: char| c.is_ascii_digit())).collect();
    names.dedup();
    if names.is_empty() { "CPU".to_owned() } else { names.join(",") }
}

/// Arithmetic mean and sample standard deviation (n − 1), which llama-bench calls 0 for a single sample.
fn mean_and_sd(samples: &[f64]) -> (f64, f64) {
    let n = samples.len() as f64;
    let mean = samples.iter().sum::<f64>() / n;
    let squares: f64 = samples.iter().map(|sample| (sample - mean).powi(2)).sum();
    (mean, if samples.len() > 1 { (squares / (n - 1.0)).sqrt() } else { 0.0 })
}
