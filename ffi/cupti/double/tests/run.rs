//! `tacho run --trace` from the plan to the tables, over a cell that hosts the simulated engine, has the collector injected
//! as by the driver, and a double of CUPTI that makes up 450 µs of kernels and copies each millisecond.
mod common;

use std::{collections::BTreeMap, path::Path, sync::atomic::AtomicBool, time::Duration};

use common::{PROGRAM, cupti};
use serde_json::Value;
use tacho::{
    cell::{parent::CellProgram, protocol::Load},
    engine::Sampling,
    measure::{DeviceClockMode, suspended_ns},
    plan::{EngineSpec, Plan, Point, PointWorkload, TraceMode, TrialPolicy},
    results::{PointRecord, RunDir, RunInfo},
    run::{GpuMemory, OpenGpus, Quiet, RunOptions, execute},
    workload::LengthDist,
};

fn plan(trace: TraceMode) -> Plan {
    let point = |number: u32, batch: u32| Point {
        number,
        engine: EngineSpec { id: "sim".to_owned(), options: BTreeMap::new() },
        model: None,
        load: Load::Offline { batch },
        workload: PointWorkload {
            requests: 16,
            input: LengthDist::Fixed(64),
            output: LengthDist::Fixed(128),
            sampling: Sampling::default(),
            seed: 1,
            data: None,
        },
        axes: vec![("batch".to_owned(), batch.to_string())],
    };
    Plan {
        name: "traced".to_owned(),
        points: vec![point(0, 2), point(1, 8)],
        trials: TrialPolicy {
            target: 0.5,
            min_trials: 2,
            max_trials: 2,
            max_time: Duration::from_secs(20),
            max_warmup: 1,
            latency_trials: 1,
            device_clock: DeviceClockMode::Off,
            max_repeats: 0,
            watch_cost: 0,
            clock_band: 0.05,
        },
        validity: tacho::validity::Limits::default(),
        trace,
        compare: None,
        fairness: Default::default(),
        agree: false,
        telemetry: None,
        slo: None,
        load_within: Duration::from_secs(60),
        trial_within: Duration::from_secs(60),
        endurance: Default::default(),
    }
}

fn run(dir: &Path, trace: TraceMode, injected: bool) -> Vec<PointRecord> {
    let plan = plan(trace);
    let info = RunInfo::gather(vec!["test".to_owned()], serde_json::to_value(&plan).unwrap());
    let mut run = RunDir::create(dir, &info).unwrap();
    let cell = |_: &str| {
        Ok(CellProgram {
            program: PROGRAM.into(),
            args: if injected { Vec::new() } else { vec!["--plain".into()] },
            env: vec![("TACHO_CUPTI".into(), cupti().into())],
            build_with: "cargo build --release -p tacho-cupti-double".to_owned(),
        })
    };
    let gpus: OpenGpus<'_> = &|| Err("no telemetry in this test".to_owned());
    let gpu_memory = GpuMemory::before_cells(gpus);
    let options = RunOptions {
        cell_program: &cell,
        interrupted: &AtomicBool::new(false),
        gpus,
        gpu_memory,
        ceilings: dir,
        suspended_ns: &suspended_ns,
    };
    execute(&plan, &mut run, Vec::new(), &options, &mut Quiet).unwrap().records
}

#[test]
fn points_are_traced_in_launches_of_their_own() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("run");
    let records = run(&out, TraceMode::Abba, true);
    for record in &records {
        let trace = record.trace.as_ref().unwrap();
        assert_eq!(trace.trials.len(), 6, "{trace:?}");
        let busy = trace.busy_fraction().unwrap();
        // 450 µs of at least 1000: the double's thread sleeps longer than it says, on a loaded machine much longer.
        assert!((0.02..0.5).contains(&busy), "{busy}");
        let figures = &trace.typical().unwrap().figures;
        assert_eq!((figures.devices, figures.processes), (1, 1));
        assert!(figures.nccl_ns > 0 && figures.copy_bytes > 0 && figures.graph_launches > 0, "{figures:?}");
        // A millisecond has 4 kernels, 2 of them by themselves and 2 in one graph.
        assert!(figures.kernels.abs_diff(4 * figures.graph_launches) <= 4, "{figures:?}");
        assert!(figures.launches.abs_diff(2 * figures.graph_launches) <= 4, "{figures:?}");
        assert_eq!(figures.top[0].name, "_ZN6double6matrixEi");
        assert_eq!(trace.cost.unwrap().pairs, 6);
        assert_eq!(trace.null_reason, None);
        // Timed trials have none of it.
        assert_eq!(record.trials.len(), 3);
    }
    let rows: Vec<Value> = serde_json::from_slice(&std::fs::read(out.join("points.json")).unwrap()).unwrap();
    assert!(rows.iter().all(|row| row["gpu_busy_fraction"].as_f64().unwrap() > 0.02 && row["trace_cost"].is_number()));
    assert!(out.join("kernels.parquet").is_file());
    for point in ["point-00000", "point-00001"] {
        assert!(out.join(format!("traces/{point}.steps.parquet")).is_file());
        let text = std::fs::read(out.join(format!("traces/{point}.trace.json"))).unwrap();
        let timeline: Value = serde_json::from_slice(&text).unwrap();
        let events = timeline["traceEvents"].as_array().unwrap();
        let named = |name: &str| events.iter().filter(|event| event["name"] == name).count();
        assert!(named("double::matrix") > 2 && named("step") > 5 && named("request 0") == 2);
    }
    let left: Vec<_> = std::fs::read_dir(out.join("traces")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 4, "the raw traces are removed: {left:?}");
    // What the journal says is what the run says.
    let (_, resumed) = RunDir::reopen(&out).unwrap();
    assert_eq!(resumed.records, records);
}

#[test]
fn one_traced_launch_leaves_the_cost_unknown() {
    let dir = tempfile::tempdir().unwrap();
    let records = run(&dir.path().join("run"), TraceMode::Once, true);
    let trace = records[0].trace.as_ref().unwrap();
    assert_eq!((trace.trials.len(), trace.cost), (3, None));
    assert!(trace.null_reason.as_ref().unwrap().contains("--trace=abba"));
}

#[test]
fn an_engine_that_starts_no_cuda_keeps_its_figures_and_says_why_there_is_no_trace() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("run");
    let records = run(&out, TraceMode::Abba, false);
    for record in &records {
        assert_eq!(record.trials.len(), 3);
        let trace = record.trace.as_ref().unwrap();
        assert!(trace.trials.is_empty());
        assert!(trace.null_reason.as_ref().unwrap().contains("has not started CUDA"), "{trace:?}");
    }
    let rows: Vec<Value> = serde_json::from_slice(&std::fs::read(out.join("points.json")).unwrap()).unwrap();
    assert!(rows.iter().all(|row| row["gpu_busy_fraction"].is_null() && row["trace_null_reason"].is_string()));
}
