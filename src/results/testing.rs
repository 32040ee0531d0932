//! Records that tests are made of.
use std::{collections::BTreeMap, path::PathBuf};

use super::*;
use crate::{
    cell::protocol::{Load, Method, TrialSummary},
    engine::{Boundary, Capabilities, EngineInfo, ErrorKind, LoadConfig, ModelInfo, Options, Sampling, Scheduler},
    plan::{EngineSpec, Point, PointWorkload},
    workload::LengthDist,
};

/// The machine of no one.
pub(crate) fn info() -> RunInfo {
    let engine = engine_info("sim");
    let asked = LoadConfig {
        engine: "sim".to_owned(),
        model: None,
        max_seqs: 8,
        max_model_len: 192,
        seed: 1,
        options: Options::new(),
    };
    RunInfo {
        format: FORMAT.to_owned(),
        schema: SCHEMA,
        run_id: "20261122T021200Z-0123abcd".to_owned(),
        started_at: "2026-11-22T02:12:00Z".to_owned(),
        command: vec!["tacho".to_owned(), "run".to_owned(), "--plan".to_owned(), "my plan.toml".to_owned()],
        tacho: Provenance {
            version: "0.1.0".to_owned(),
            git_commit: "11059e2aaaaa-dirty".to_owned(),
            rustc: "rustc 1.91.0".to_owned(),
            build_hash: "0011223344556677".to_owned(),
        },
        host: Host {
            cpu_model: Some("Some CPU @ 3.0GHz".to_owned()),
            cores: Some(2),
            processors: Some(2),
            memory_bytes: Some(24 << 30),
            kernel: Some("6.1.0".to_owned()),
            os: Some("Some Linux 12".to_owned()),
            governor: None,
            load_average: Some([1.5, 0.5, 0.2]),
        },
        environment: BTreeMap::from([("TACHO_SEED".to_owned(), "1".to_owned())]),
        plan: serde_json::json!({"name": "quick_look", "points": [{}, {}, {}, {}]}),
        engines: BTreeMap::from([(
            "sim".to_owned(),
            EngineRecord { asked, info: engine, load_ns: 1_234_567, model_digest: None },
        )]),
        resumed_at: Vec::new(),
        resume_notes: Vec::new(),
        hardware: RunHardware::default(),
        calibration: Default::default(),
        agreement: None,
    }
}

fn engine_info(id: &str) -> EngineInfo {
    let sim = id == "sim";
    EngineInfo {
        engine: id.to_owned(),
        version: "0.6.0".to_owned(),
        double: sim.then(|| "simulated engine".to_owned()),
        boundary: Boundary::InCore,
        scheduler: if sim { Scheduler::Engine } else { Scheduler::Tacho },
        device: if sim { "simulated".to_owned() } else { "CPU (AVX512)".to_owned() },
        compile_mode: None,
        gpu_in_process: None,
        parallelism: (1, 1),
        model: ModelInfo { name: if sim { "sim" } else { "SmolLM2-135M" }.to_owned(), ..ModelInfo::default() },
        kv_capacity_tokens: Some(1 << 20),
        max_seqs: Some(8),
        max_model_len: Some(4096),
        virtual_time: false,
        capabilities: Capabilities::ALL,
        effective: Options::new(),
        observed: Options::new(),
        uncounted: BTreeMap::new(),
    }
}

/// A point that is measured at about `throughput` tokens a second, with no trials yet.
pub(crate) fn point(number: u32, engine: &str, axes: &[(&str, &str)]) -> PointRecord {
    let batch = axes.iter().find(|(name, _)| *name == "batch").and_then(|(_, value)| value.parse().ok()).unwrap_or(1);
    PointRecord {
        point: Point {
            number,
            engine: EngineSpec { id: engine.to_owned(), options: Options::new() },
            model: (engine != "sim").then(|| PathBuf::from("models/smollm2.gguf")),
            load: Load::Offline { batch },
            workload: PointWorkload {
                requests: 64,
                input: LengthDist::Fixed(128),
                output: LengthDist::Fixed(64),
                sampling: Sampling::default(),
                seed: 1,
                data: None,
            },
            axes: axes.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        },
        key: Some("abc123".to_owned()),
        engine: Some(engine_info(engine)),
        model_digest: None,
        load_ns: Some(1_234_567),
        restart_ns: None,
        outcome: PointStatus::Ok,
        warmup_seconds: vec![1.2, 1.0, 1.0],
        warmup_steady: true,
        trials: Vec::new(),
        lost_launches: Vec::new(),
        notes: Vec::new(),
        trace: None,
        watch_cost: None,
        stopped_by: "target".to_owned(),
    }
}

/// A trial's summary over so many seconds.
pub(crate) fn summary(requests: u32, output_tokens: u64, seconds: f64) -> TrialSummary {
    TrialSummary {
        start_ns: 1_000,
        end_ns: 1_000 + (seconds * 1e9).round() as u64,
        virtual_time: false,
        requests,
        input_tokens: u64::from(requests) * 128,
        output_tokens,
        workload_digest: "d1".to_owned(),
        output_digest: 0xfeed,
        harness_ns: 1_000_000,
        busy_ns: None,
        cpu_ns: (seconds * 1e9).round() as u64,
        engine_calls: 64,
        flushes_in_trial: 0,
        device: Default::default(),
        evidence: Default::default(),
        stats: BTreeMap::from([("steps".to_owned(), 64.0), ("prefix_hit_tokens".to_owned(), 0.0)]),
        schedule: None,
        sessions: None,
    }
}

/// A trial of 64 requests × 64 tokens at this many output tokens a second.
pub(crate) fn trial(number: u32, method: Method, throughput: f64) -> TrialRecord {
    let seconds = 4096.0 / throughput;
    let ms = |p50: f64| Quantiles {
        n: 64,
        mean: p50,
        sd: Some(p50 / 10.0),
        min: p50 / 2.0,
        p50,
        p90: p50 * 1.5,
        p95: p50 * 1.6,
        p99: p50 * 1.9,
        max: p50 * 2.0,
        error: 0.0,
    };
    let steps = method == Method::Steps;
    TrialRecord {
        trial: number,
        method,
        summary: summary(64, 4096, seconds),
        figures: TrialFigures {
            request_throughput: throughput / 64.0,
            input_token_throughput: throughput * 2.0,
            output_token_throughput: throughput,
            total_token_throughput: throughput * 3.0,
            ttft: steps.then(|| ms(40.0)),
            itl: steps.then(|| ms(5.0)),
            tpot: steps.then(|| ms(5.25)),
            e2e: steps.then(|| ms(370.0)),
            latency_null_reason: (!steps).then(|| "the engine's generate call tells no times".to_owned()),
            service: None,
            steady: Default::default(),
            turns: Vec::new(),
        },
        hardware: TrialHardware::default(),
        turn: None,
    }
}

fn measured(mut record: PointRecord, throughput: f64) -> PointRecord {
    for (number, factor) in (0..).zip([1.0, 0.99, 1.01, 1.005, 0.995, 1.0]) {
        record.trials.push(trial(number, Method::Generate, throughput * factor));
    }
    record.trials.push(trial(6, Method::Steps, throughput * 0.9));
    record
}

/// One of each: a good point, a doubtful one, one whose cell died, one of another engine.
pub(crate) fn records() -> Vec<PointRecord> {
    let mut doubtful = point(1, "sim", &[("batch", "2")]);
    doubtful.trials.extend((0..3).map(|n| trial(n, Method::Generate, 2000.0 + 50.0 * f64::from(n))));
    doubtful.warmup_steady = false;
    doubtful.stopped_by = "max_time".to_owned();
    let mut dead = point(2, "sim", &[("batch", "4")]);
    dead.outcome = PointStatus::Failed(Failure {
        kind: None,
        reason: "ended by signal 6 (SIGABRT: it gave up by itself)".to_owned(),
        signal: Some(6),
        exit_code: None,
        broken: None,
        last_lines: vec!["ggml: ``` assert | failed".to_owned(), "\u{1b}[31mabort".to_owned()],
        stacks: Vec::new(),
    });
    dead.stopped_by = "failed".to_owned();
    let mut unloaded = point(3, "llama.cpp", &[("batch", "1")]);
    unloaded.engine = None;
    unloaded.outcome = PointStatus::Failed(Failure {
        kind: Some(ErrorKind::Load),
        reason: "the file is truncated: expected 98 MB, found 3 MB".to_owned(),
        signal: None,
        exit_code: None,
        broken: None,
        last_lines: Vec::new(),
        stacks: Vec::new(),
    });
    unloaded.stopped_by = "failed".to_owned();
    vec![measured(point(0, "sim", &[("batch", "1")]), 1000.0), doubtful, dead, unloaded]
}

/// Batch 1 to 32 of two engines, at two input lengths.
pub(crate) fn sweep() -> Vec<PointRecord> {
    let mut records = Vec::new();
    let batches = [32, 1, 2, 4, 8, 16];
    for (engine, input, scale) in [("sim", "128", 1000.0), ("sim", "512", 700.0), ("llama.cpp", "128", 430.0)] {
        for batch in batches {
            let axes = [("batch", batch.to_string()), ("input", input.to_owned())];
            let axes: Vec<(&str, &str)> = axes.iter().map(|(name, value)| (*name, value.as_str())).collect();
            let throughput = scale * f64::from(batch) / (1.0 + 0.08 * f64::from(batch));
            let mut record = measured(point(records.len() as u32, engine, &axes), throughput);
            // Enough noise for whiskers to be seen.
            for (index, trial) in record.trials.iter_mut().enumerate() {
                trial.figures.output_token_throughput *= 1.0 + 0.06 * ((index * 7 % 5) as f64 - 2.0) / 2.0;
            }
            records.push(record);
        }
    }
    records
}
