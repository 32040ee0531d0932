//! Telemetry of whole runs: the processor's is this machine's, the GPU's a recording (a test double).
mod program;

use std::{
    fs::{self, File},
    path::Path,
    process::Output,
};

use parquet::file::reader::{FileReader, SerializedFileReader};
use program::tacho;
use serde_json::{Value, json};

/// Trials of about 0.4 s in real time; closed loops have one kind of trial. Other tests run beside: that is no mark here.
const SIM: [&str; 19] = [
    "--max-machine-load",
    "100%",
    "--engine",
    "sim",
    "--engine-option",
    "sim.step_base_us=4000",
    "--concurrency",
    "4",
    "--requests",
    "16",
    "--input",
    "8",
    "--output",
    "25",
    "--min-trials",
    "3",
    "--max-trials",
    "3",
    "--quiet",
];

fn run(dir: &Path, more: &[&str], recording: Option<&Path>) -> Output {
    let mut command = tacho();
    command.arg("run").args(SIM).args(more).arg("--out").arg(dir.join("run")).env("TACHO_CACHE_DIR", dir.join("cache"));
    match recording {
        Some(path) => command.env("TACHO_GPU_RECORDING", path),
        // A machine that has one is like the others here.
        None => command.env("CUDA_VISIBLE_DEVICES", ""),
    };
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output
}

fn points(dir: &Path) -> Vec<Value> {
    serde_json::from_slice(&fs::read(dir.join("run/points.json")).unwrap()).unwrap()
}

fn rows(path: &Path) -> i64 {
    SerializedFileReader::new(File::open(path).unwrap()).unwrap().metadata().file_metadata().num_rows()
}

/// A GPU at 400 W, whose first `throttled` readings say that it is too hot.
fn recording(dir: &Path, throttled: usize) -> std::path::PathBuf {
    let reading = |n: usize| {
        json!({
            "utilization_percent": 90, "memory_used_bytes": 5_000_000_000_u64, "sm_clock_mhz": 1980,
            "memory_clock_mhz": 2619, "power_mw": 400_000, "temperature_c": 55,
            "throttle_reasons": if n < throttled { 0x20 } else { 0x1 },
            "energy_mj": 1_000_000 + 4_000 * n,
        })
    };
    let device = json!({"index": 0, "uuid": "GPU-recorded", "name": "X", "driver": "1.2", "memory_bytes": null,
        "max_sm_clock_mhz": 1980, "power_limit_mw": 700_000, "mig": false});
    let readings: Vec<Value> = (0..5000).map(reading).collect();
    let path = dir.join("gpu.json");
    fs::write(&path, json!({"devices": [device], "readings": [readings]}).to_string()).unwrap();
    path
}

#[test]
fn without_a_gpu_the_processor_is_watched_and_the_rest_says_why() {
    let dir = tempfile::tempdir().unwrap();
    run(dir.path(), &["--telemetry", "20ms"], None);
    for point in points(dir.path()) {
        assert!(point["cpu_seconds"].as_f64().unwrap() >= 0.0, "{point}");
        assert!(point["rss_peak_bytes"].as_u64().unwrap() > 1 << 20, "{point}");
        assert!(point["host_samples"].as_u64().unwrap() >= 3, "{point}");
        assert!(point["host_sample_period_ms"].as_f64().unwrap() >= 5.0, "{point}");
        assert!(point["voluntary_switches"].as_u64().is_some() && point["other_load"].as_f64().is_some(), "{point}");
        assert_eq!(point["gpu_null_reason"], "the engine uses no GPU");
        assert_eq!((&point["mfu"], &point["mfu_null_reason"]), (&Value::Null, &json!("the engine has no model")));
        assert_eq!((&point["marks"], &point["status"]), (&Value::Null, &json!("ok")));
    }
    assert!(rows(&dir.path().join("run/host.parquet")) >= 3 * 5);
    assert_eq!(rows(&dir.path().join("run/gpu.parquet")), 0);
    let report = fs::read_to_string(dir.path().join("run/report.md")).unwrap();
    assert!(report.contains("## Hardware") && report.contains("Sampled every 20.00 ms"), "{report}");
}

#[test]
fn a_gpu_is_watched_and_throttled_trials_run_again() {
    let dir = tempfile::tempdir().unwrap();
    // The first trial is too hot, however fast the machine that runs this.
    let recording = recording(dir.path(), 4);
    run(dir.path(), &["--engine-option", "sim.gpu=true", "--telemetry", "10ms"], Some(&recording));
    let points = points(dir.path());
    let status: Vec<&str> = points.iter().map(|point| point["status"].as_str().unwrap()).collect();
    assert_eq!(status, ["superseded", "ok", "ok", "ok"]);
    assert_eq!(points[0]["marks"], "throttled: sw_thermal_slowdown");
    assert_eq!(points[0]["workload_digest"], points[1]["workload_digest"], "the same requests again");
    for point in &points {
        assert_eq!((&point["gpu_power_mean_w"], &point["gpu_devices"]), (&json!(400.0), &json!("GPU-recorded")));
        let samples = point["gpu_samples"].as_u64().unwrap();
        assert_eq!(point["energy_updates"].as_u64().unwrap(), samples - 1, "{point}");
        match point["energy_per_token_j"].as_f64() {
            Some(joule) => assert!((joule - point["gpu_energy_j"].as_f64().unwrap() / 400.0).abs() < 1e-12),
            None => assert!(point["energy_null_reason"].as_str().unwrap().starts_with("not resolvable"), "{point}"),
        }
    }
    assert!(rows(&dir.path().join("run/gpu.parquet")) > 4 * 10);
    let info: Value = serde_json::from_slice(&fs::read(dir.path().join("run/run.json")).unwrap()).unwrap();
    let name = info["hardware"]["gpus"][0]["name"].as_str().unwrap();
    assert!(name.contains("test double"), "a recording is named as one: {name}");
    let summary: Value = serde_json::from_slice(&fs::read(dir.path().join("run/summary.json")).unwrap()).unwrap();
    assert_eq!((&summary[0]["marked_trials"], &summary[0]["throughput_trials"]), (&json!(1), &json!(3)));
}

#[test]
fn trials_are_run_again_up_to_a_cap() {
    let dir = tempfile::tempdir().unwrap();
    let recording = recording(dir.path(), usize::MAX);
    run(
        dir.path(),
        &["--engine-option", "sim.gpu=true", "--telemetry", "10ms", "--max-repeats", "2"],
        Some(&recording),
    );
    let status: Vec<String> =
        points(dir.path()).iter().map(|point| point["status"].as_str().unwrap().to_owned()).collect();
    assert_eq!(status, ["superseded", "superseded", "ok", "ok", "ok"]);
    let report = fs::read_to_string(dir.path().join("run/report.md")).unwrap();
    assert!(report.contains("5 trials were marked") && report.contains("2 of them ran again"), "{report}");
}

#[test]
fn off_is_off_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    run(dir.path(), &["--telemetry", "off"], None);
    for point in points(dir.path()) {
        assert_eq!((&point["host_null_reason"], &point["cpu_seconds"]), (&json!("telemetry is off"), &Value::Null));
    }
    assert_eq!(rows(&dir.path().join("run/host.parquet")), 0);
}

#[test]
fn what_watching_costs_is_measured_in_trials_that_count_in_no_figure() {
    let dir = tempfile::tempdir().unwrap();
    run(dir.path(), &["--telemetry", "20ms", "--watch-cost=6"], None);
    let points = points(dir.path());
    assert_eq!(points.len(), 3, "the blocks are no trials of the point");
    for point in &points {
        let figure = |name: &str| point[name].as_f64().unwrap();
        assert!(0.2 < figure("watch_cost_low") && figure("watch_cost_high") < 5.0, "{point}");
        assert!((figure("watch_cost_low")..=figure("watch_cost_high")).contains(&figure("watch_cost")), "{point}");
    }
    let report = fs::read_to_string(dir.path().join("run/report.md")).unwrap();
    assert!(report.contains("watching (telemetry) costs") && report.contains("6 blocks)"), "{report}");
}

#[test]
fn what_goes_wrong_in_those_trials_costs_no_figure() {
    let dir = tempfile::tempdir().unwrap();
    // 100 steps a trial at least: the cell dies in the blocks, after three timed trials and at most ten for warm-up.
    let fault = ["--engine-option", "sim.fault=abort", "--engine-option", "sim.fault_at_step=2000"];
    run(dir.path(), &[&["--telemetry", "20ms", "--watch-cost=12"], fault.as_slice()].concat(), None);
    let points = points(dir.path());
    let status: Vec<&str> = points.iter().map(|point| point["status"].as_str().unwrap()).collect();
    assert_eq!(status, ["ok", "ok", "ok"]);
    assert_eq!(points[0]["watch_cost"], Value::Null);
    let report = fs::read_to_string(dir.path().join("run/report.md")).unwrap();
    assert!(report.contains("is not known: a trial of it failed") && report.contains("SIGABRT"), "{report}");
}

#[test]
fn what_watching_costs_is_not_guessed() {
    let reason = |arguments: &[&str]| {
        let dir = tempfile::tempdir().unwrap();
        run(dir.path(), &[&["--watch-cost=6"], arguments].concat(), None);
        assert_eq!(points(dir.path())[0]["watch_cost"], Value::Null);
        fs::read_to_string(dir.path().join("run/report.md")).unwrap()
    };
    // sim has no device clock: what is left is nothing.
    let neither = reason(&["--telemetry", "off"]);
    assert!(neither.contains("is not known: nothing watched: there is no device clock"), "{neither}");
    let off = reason(&["--telemetry", "off", "--device-clock", "off"]);
    assert!(off.contains("is not known: neither the device's clock nor telemetry is on"), "{off}");
    let simulated = reason(&["--engine-option", "sim.time=virtual"]);
    assert!(simulated.contains("is not known: trials run in virtual time"), "{simulated}");
}

#[test]
fn virtual_time_has_no_telemetry() {
    let dir = tempfile::tempdir().unwrap();
    run(dir.path(), &["--engine-option", "sim.time=virtual"], None);
    for point in points(dir.path()) {
        assert_eq!(point["host_null_reason"], "the trial ran in virtual time");
    }
}

#[test]
fn ceilings_are_measured_kept_and_shown_without_a_gpu() {
    let dir = tempfile::tempdir().unwrap();
    let ceilings = |arguments: &[&str]| {
        let output = tacho()
            .arg("ceilings")
            .args(arguments)
            .env("TACHO_CACHE_DIR", dir.path())
            .env("CUDA_VISIBLE_DEVICES", "")
            .output();
        let output = output.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    };
    let before = ceilings(&["--kept", "--json"]);
    assert!(before["missing"]["processor"].as_str().unwrap().contains("run `tacho ceilings`"), "{before}");
    let measured = ceilings(&["--json"]);
    let cpu = &measured["ceilings"][0];
    assert!((1e8..1e13).contains(&cpu["read_bytes_per_s"].as_f64().unwrap()), "{cpu}");
    assert!((1e8..1e15).contains(&cpu["matmul_flops_per_s"]["f32"].as_f64().unwrap()), "{cpu}");
    assert!(measured["missing"]["GPU"].as_str().is_some(), "{measured}");
    assert_eq!(ceilings(&["--kept", "--json"])["ceilings"][0], *cpu);
}
