use std::collections::BTreeSet;

use super::*;
use crate::{
    cell::protocol::{Load, Method},
    engine::Options,
    results::testing,
    workload::LengthDist,
};

/// The tools' own fields, as their sources name them. What is not here is Tacho's and begins with `tacho_`.
const VLLM_BENCH: &[&str] = &[
    "model_id",
    "elapsed_time",
    "num_requests",
    "total_num_tokens",
    "requests_per_second",
    "tokens_per_second",
    "run_number",
];
const BENCHMARK_SERVING: &[&str] = &[
    "date",
    "endpoint_type",
    "backend",
    "label",
    "model_id",
    "tokenizer_id",
    "num_prompts",
    "request_rate",
    "burstiness",
    "max_concurrency",
    "duration",
    "completed",
    "failed",
    "total_input_tokens",
    "total_output_tokens",
    "request_throughput",
    "request_goodput",
    "output_throughput",
    "total_token_throughput",
    "max_output_tokens_per_s",
    "max_concurrent_requests",
    "rtfx",
    "run_number",
];
const LLAMA_BENCH: &[&str] = &[
    "build_commit",
    "build_number",
    "cpu_info",
    "gpu_info",
    "backends",
    "model_filename",
    "model_type",
    "model_size",
    "model_n_params",
    "n_batch",
    "n_ubatch",
    "n_threads",
    "cpu_mask",
    "cpu_strict",
    "poll",
    "type_k",
    "type_v",
    "n_gpu_layers",
    "n_cpu_moe",
    "split_mode",
    "main_gpu",
    "no_kv_offload",
    "flash_attn",
    "devices",
    "tensor_split",
    "tensor_buft_overrides",
    "load_mode",
    "lazy_mode",
    "embeddings",
    "no_op_offload",
    "no_host",
    "repack",
    "fit_target",
    "fit_min_ctx",
    "n_prompt",
    "n_gen",
    "n_depth",
    "test_time",
    "avg_ns",
    "stddev_ns",
    "avg_ts",
    "stddev_ts",
    "samples_ns",
    "samples_ts",
];

/// The properties by which llama.cpp's scripts/compare-llama-bench.py joins rows: SQL's NULL joins nothing.
const JOINED: &[&str] = &[
    "cpu_info",
    "gpu_info",
    "backends",
    "n_gpu_layers",
    "n_cpu_moe",
    "tensor_buft_overrides",
    "model_filename",
    "model_type",
    "n_batch",
    "n_ubatch",
    "embeddings",
    "cpu_mask",
    "cpu_strict",
    "poll",
    "n_threads",
    "type_k",
    "type_v",
    "load_mode",
    "no_kv_offload",
    "split_mode",
    "main_gpu",
    "tensor_split",
    "flash_attn",
    "n_prompt",
    "n_gen",
    "n_depth",
    "fit_target",
    "fit_min_ctx",
];

/// What llama.cpp's cell reads back.
fn effective() -> Options {
    let value = json!({
        "devices": [
            {"name": "CPU", "description": "Some CPU @ 3.0GHz", "gpu": false},
            {"name": "CUDA0", "description": "Some GPU", "gpu": true},
            {"name": "CUDA1", "description": "Some GPU", "gpu": true},
        ],
        "devices_asked": null, "flash_attn": "auto", "n_batch": 2048, "n_gpu_layers": -1, "n_ubatch": 512,
        "model_desc": "llama 256M Q4_1", "threads": 2, "type_k": "f16", "type_v": "f16", "use_mmap": false,
    });
    serde_json::from_value(value).unwrap()
}

/// A measured llama.cpp point beside the points that have nothing to say.
fn records() -> Vec<PointRecord> {
    let mut records = testing::records();
    let mut llama = testing::point(4, "llama.cpp", &[("batch", "1")]);
    llama.trials.extend((0..3).map(|n| testing::trial(n, Method::Generate, 1000.0 + 10.0 * f64::from(n))));
    llama.trials.push(testing::trial(3, Method::Steps, 900.0));
    // A trial that was run again is in no figure, and so in no export.
    llama.trials[2].hardware.superseded = true;
    if let Some(engine) = &mut llama.engine {
        engine.effective = effective();
    }
    records.push(llama);
    records
}

/// The export as text, notes first.
fn text(format: Format) -> String {
    let done = export(format, &testing::info(), &records());
    format!("{}\n\n{}", done.notes.join("\n"), done.json())
}

#[test]
fn vllm_bench_is_as_it_was_approved() {
    insta::assert_snapshot!(text(Format::VllmBench));
}

#[test]
fn benchmark_serving_is_as_it_was_approved() {
    insta::assert_snapshot!(text(Format::BenchmarkServing));
}

#[test]
fn llama_bench_is_as_it_was_approved() {
    insta::assert_snapshot!(text(Format::LlamaBench));
}

#[test]
fn a_row_has_the_tools_fields_and_marked_ones() {
    let latencies = ["ttft", "tpot", "itl", "e2el"];
    let statistics = ["mean", "median", "std", "p90", "p95", "p99"];
    let of_latencies: Vec<String> =
        latencies.iter().flat_map(|l| statistics.iter().map(move |s| format!("{s}_{l}_ms"))).collect();
    for (format, fixed) in [
        (Format::VllmBench, VLLM_BENCH),
        (Format::BenchmarkServing, BENCHMARK_SERVING),
        (Format::LlamaBench, LLAMA_BENCH),
    ] {
        let mut expected: BTreeSet<&str> = fixed.iter().copied().collect();
        if format == Format::BenchmarkServing {
            expected.extend(of_latencies.iter().map(String::as_str));
        }
        let done = export(format, &testing::info(), &records());
        assert!(!done.rows.is_empty());
        for row in &done.rows {
            let tools: BTreeSet<&str> =
                row.keys().map(String::as_str).filter(|name| !name.starts_with("tacho_")).collect();
            assert_eq!(tools, expected, "{}", format.name());
            assert!(row.contains_key("tacho_double"), "{}", format.name());
        }
    }
}

#[test]
fn a_double_is_called_one() {
    let done = export(Format::BenchmarkServing, &testing::info(), &records());
    let doubles: Vec<&Value> =
        done.rows.iter().filter(|row| row["backend"] == "sim").map(|row| &row["tacho_double"]).collect();
    assert_eq!(doubles, ["simulated engine"]);
}

#[test]
fn figures_are_the_trials_own_by_the_tools_definitions() {
    let done = export(Format::VllmBench, &testing::info(), &records());
    let row = done.rows.iter().find(|row| row["tacho_point"] == 4).unwrap();
    // 64 requests of 128 + 64 tokens at 1000 output tokens a second.
    assert_eq!((&row["elapsed_time"], &row["total_num_tokens"]), (&json!(4.096), &json!(64 * 192)));
    assert_eq!(row["tokens_per_second"], json!(3000.0));

    let done = export(Format::BenchmarkServing, &testing::info(), &records());
    // Over n where Tacho's own is over n - 1.
    let expected = 4.0 * (63.0f64 / 64.0).sqrt();
    assert_eq!(done.rows[0]["std_ttft_ms"], json!(expected));

    let done = export(Format::LlamaBench, &testing::info(), &records());
    // One of 64 requests, one after another, in 4.096 s; a second trial 1 % faster; the superseded third is absent.
    assert_eq!(done.rows[0]["samples_ns"], json!([64_000_000, 63_366_337]));
    let rates = done.rows[0]["samples_ts"].as_array().unwrap();
    assert!((rates[0].as_f64().unwrap() - 3000.0).abs() < 1e-9, "{rates:?}");
}

#[test]
fn what_llama_bench_cannot_say_is_left_out_with_the_reason() {
    let mut record = records().pop().unwrap();
    let why = |record: &PointRecord| {
        let done = export(Format::LlamaBench, &testing::info(), std::slice::from_ref(record));
        assert!(done.rows.is_empty());
        done.notes.concat()
    };
    record.point.load = Load::Offline { batch: 2 };
    assert!(why(&record).contains("one sequence at a time"), "{}", why(&record));
    record.point.workload.input = LengthDist::Uniform { lo: 1, hi: 9 };
    assert!(why(&record).contains("lengths are fixed"), "{}", why(&record));
}

#[test]
fn rows_of_one_configuration_can_be_joined() {
    let done = export(Format::LlamaBench, &testing::info(), &records());
    for name in JOINED {
        assert!(!done.rows[0][*name].is_null(), "{name}");
    }
}

#[test]
fn settings_that_the_run_does_not_tell_are_null() {
    let mut record = records().pop().unwrap();
    if let Some(engine) = &mut record.engine {
        engine.effective = Options::new();
    }
    let done = export(Format::LlamaBench, &testing::info(), &[record]);
    for name in ["devices", "load_mode", "flash_attn", "cpu_info", "gpu_info", "backends", "model_type"] {
        assert_eq!(done.rows[0][name], Value::Null, "{name}");
    }
}
