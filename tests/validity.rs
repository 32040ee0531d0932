//! Certificates of whole runs: each fault that the simulated engine commits, or a recorded GPU (a test double) shows, gives
//! its reason and no other; what `certify`, the tables and the exit code make of it.
mod program;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Output,
};

use program::tacho;
use serde_json::{Value, json};

/// Eight steps a trial: the first computes the prompts, the last ends all requests. 160 ms.
const SIM: [&str; 15] = [
    "--engine",
    "sim",
    "--engine-option",
    "sim.step_base_us=20000",
    "--batch",
    "4",
    "--input",
    "8",
    "--output",
    "8",
    "--max-warmup",
    "1",
    "--quiet",
    "--max-trials",
    "6",
];
/// The same figures on any machine.
const VIRTUAL: [&str; 2] = ["--engine-option", "sim.time=virtual"];
/// Real time, for machines that do other things meanwhile: what they do to the figures is not what is tried.
const REAL: [&str; 6] = ["--telemetry", "10ms", "--max-machine-load", "100%", "--target", "95%"];

struct Run {
    _keep: tempfile::TempDir,
    dir: PathBuf,
    output: Output,
}

fn run(more: &[&str], recording: Option<&Value>) -> Run {
    let keep = tempfile::tempdir().unwrap();
    let dir = keep.path().join("run");
    let mut command = tacho();
    // Twice is refused: the last two of these are left to a test that says how many trials it wants.
    let sim = if more.contains(&"--max-trials") { &SIM[..SIM.len() - 2] } else { &SIM[..] };
    command.arg("run").args(sim).args(more).arg("--out").arg(&dir).env("TACHO_CACHE_DIR", keep.path().join("cache"));
    match recording {
        Some(readings) => {
            let path = keep.path().join("gpu.json");
            let device = json!({"index": 0, "uuid": "GPU-recorded", "name": "X", "driver": "1.2", "memory_bytes": null,
                "max_sm_clock_mhz": 1980, "power_limit_mw": null, "mig": false});
            fs::write(&path, json!({"devices": [device], "readings": [readings]}).to_string()).unwrap();
            command.env("TACHO_GPU_RECORDING", path)
        }
        None => command.env("CUDA_VISIBLE_DEVICES", ""),
    };
    let output = command.output().unwrap();
    Run { _keep: keep, dir, output }
}

impl Run {
    fn certificates(&self) -> Vec<Value> {
        let output = tacho().arg("certify").arg(&self.dir).arg("--json").output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let found: Value = serde_json::from_slice(&output.stdout).unwrap();
        found["points"].as_array().unwrap().clone()
    }

    /// The only point's codes.
    fn codes(&self) -> Vec<String> {
        let certificates = self.certificates();
        assert_eq!(certificates.len(), 1, "{}", String::from_utf8_lossy(&self.output.stderr));
        codes(&certificates[0]["reasons"])
    }
}

fn codes(list: &Value) -> Vec<String> {
    list.as_array().unwrap().iter().map(|entry| entry["code"].as_str().unwrap().to_owned()).collect()
}

fn with<'a>(base: &[&'a str], more: &[&'a str]) -> Vec<&'a str> {
    base.iter().chain(more).copied().collect()
}

fn read(dir: &Path, name: &str) -> String {
    fs::read_to_string(dir.join(name)).unwrap()
}

#[test]
fn without_a_fault_a_point_is_valid_and_says_what_virtual_time_hides() {
    let run = run(&with(&VIRTUAL, &["--strict"]), None);
    assert_eq!(run.output.status.code(), Some(0), "{}", String::from_utf8_lossy(&run.output.stderr));
    let certificate = &run.certificates()[0];
    assert_eq!((&certificate["verdict"], &certificate["reasons"]), (&json!("valid"), &json!([])));
    let unchecked = ["allocator_growth", "throttle", "clocks", "harness_share", "machine_load"];
    assert_eq!(codes(&certificate["not_checked"]), unchecked);
    let points: Vec<Value> = serde_json::from_str(&read(&run.dir, "points.json")).unwrap();
    for point in points {
        assert_eq!((&point["certificate"], &point["invalid_reasons"]), (&json!("valid"), &Value::Null));
        assert_eq!(point["not_checked"], unchecked.join(","));
    }
}

#[test]
fn what_could_not_be_checked_is_printed_and_an_error_where_that_is_asked_for() {
    let run = run(&with(&VIRTUAL, &["--strict=checked"]), None);
    let (out, error) = (String::from_utf8_lossy(&run.output.stdout), String::from_utf8_lossy(&run.output.stderr));
    assert_eq!(run.output.status.code(), Some(5), "{error}");
    assert!(out.contains("\nnot checked of any point: harness_share: "), "{out}");
    assert!(error.contains("strict: 1 of 1 points were not checked as asked: allocator_growth,throttle,"), "{error}");
    let certify = |strict: &str| {
        let output = tacho().arg("certify").arg(&run.dir).arg(strict).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, said) = certify("--strict=compile_in_trial,input_ids");
    assert!(code == Some(0) && said.contains("not checked, which is let pass: allocator_growth,"), "{said}");
    assert_eq!(certify("--strict=compile_in_trial,clocks").0, Some(5));
    assert_eq!(certify("--strict").0, Some(0));
    let (code, said) = certify("--strict=everything");
    assert!(code == Some(2) && said.contains("expected true, false, checked, or checks by commas"), "{said}");
}

#[test]
fn trials_around_two_places_are_told_of_in_an_ordinary_run() {
    let trials = ["--min-trials", "12", "--max-trials", "12", "--target", "95%", "--strict"];
    let two = run(&with(&VIRTUAL, &with(&trials, &["--engine-option", "sim.fault=two_paces"])), None);
    assert_eq!(two.output.status.code(), Some(0), "{}", String::from_utf8_lossy(&two.output.stderr));
    let note = two.certificates()[0]["notes"][0].as_str().unwrap().to_owned();
    assert!(note.starts_with("bimodal: 6 trials lie around ") && note.contains(" and 6 around "), "{note}");
    let out = String::from_utf8_lossy(&two.output.stdout);
    assert!(out.contains(&format!("NOTE: point 0 (sim): {note}")), "{out}");
    assert!(read(&two.dir, "report.md").contains("bimodal: 6 trials lie around "));
    let one = run(&with(&VIRTUAL, &trials), None);
    assert_eq!(one.certificates()[0]["notes"], json!([]));
    assert!(!read(&one.dir, "report.md").contains("bimodal"));
}

#[test]
fn each_fault_of_the_engine_gives_its_reason_and_no_other() {
    let faults = [
        ("short_output", 3, "finish_reasons"),
        ("few_tokens", 3, "output_counts"),
        ("wrong_input", 7, "input_ids"),
        ("changed_prompt", 0, "input_ids"),
        ("compile", 0, "compile_in_trial"),
        ("preempt", 0, "preemption"),
        ("prefix_hit", 0, "prefix_hits"),
        ("error", 3, "failed"),
    ];
    for (fault, step, code) in faults {
        let one = format!("sim.fault={fault}");
        let step = format!("sim.fault_at_step={step}");
        let run = run(&with(&VIRTUAL, &["--engine-option", &one, "--engine-option", &step]), None);
        assert_eq!(run.codes(), [code], "{fault}");
    }
}

#[test]
fn times_that_say_too_little_give_their_reasons() {
    let short = run(&with(&VIRTUAL, &["--min-duration", "1s", "--strict"]), None);
    assert_eq!(short.codes(), ["min_duration"]);
    assert_eq!(short.output.status.code(), Some(5));
    let table = String::from_utf8(short.output.stdout).unwrap();
    assert!(table.contains("INVALID") && table.contains("INVALID: point 0 (sim): min_duration: it took"), "{table}");
    let report = read(&short.dir, "report.md");
    assert!(report.contains("0 of 1 points are valid") && report.contains("is invalid** (`min_duration`)"), "{report}");
    let strict = tacho().arg("certify").arg(&short.dir).arg("--strict").output().unwrap();
    assert_eq!(strict.status.code(), Some(5));

    let noisy = run(&with(&VIRTUAL, &["--engine-option", "sim.jitter=0.5"]), None);
    assert_eq!(noisy.codes(), ["interval"]);
    assert_eq!(noisy.output.status.code(), Some(0), "only --strict makes it an exit code");

    // No share at all is allowed, and some is taken.
    let harness = run(&with(&REAL, &["--max-harness-share", "0.0000001"]), None);
    assert_eq!(harness.codes(), ["harness_share"]);
}

/// What is published is the journal and `run.json`, without the parts of the streamed tables.
#[test]
fn a_run_is_certified_and_exported_by_its_journal_alone_and_not_touched() {
    let whole = run(&with(&VIRTUAL, &[]), None);
    let codes = whole.codes();
    fs::remove_dir_all(whole.dir.join("parts")).unwrap();
    let journal = fs::read(whole.dir.join("journal.jsonl")).unwrap();
    assert_eq!(whole.codes(), codes);
    let exported = tacho().args(["export", "--format", "vllm-bench"]).arg(&whole.dir).output().unwrap();
    assert!(exported.status.success(), "{}", String::from_utf8_lossy(&exported.stderr));
    assert_eq!(fs::read(whole.dir.join("journal.jsonl")).unwrap(), journal);
    assert!(!whole.dir.join("parts").exists());
    // A run without points has nothing that could be believed.
    fs::write(whole.dir.join("journal.jsonl"), "").unwrap();
    let strict = tacho().arg("certify").arg(&whole.dir).arg("--strict").output().unwrap();
    assert_eq!(strict.status.code(), Some(5));
}

#[test]
fn memory_that_grows_in_a_trial_is_seen() {
    let calm = run(&REAL, None);
    assert_eq!(calm.codes(), Vec::<String>::new());
    let growing = run(&with(&REAL, &["--engine-option", "sim.fault=grow"]), None);
    assert_eq!(growing.codes(), ["allocator_growth"]);
    let reason = &growing.certificates()[0]["reasons"][0];
    assert!(reason["evidence"]["host_growth_bytes"].as_f64().unwrap() > f64::from(80 << 20), "{reason}");
}

#[test]
fn what_a_gpu_shows_gives_its_reasons() {
    let reading = |n: u32, change: &dyn Fn(u32, &mut Value)| {
        let mut reading = json!({"memory_used_bytes": 5_000_000_000_u64, "process_memory_bytes": 4_000_000_000_u64,
            "other_processes": 0, "sm_clock_mhz": 1980, "throttle_reasons": 1});
        change(n, &mut reading);
        reading
    };
    type Change = fn(u32, &mut Value);
    let faults: [(&[&str], Change); 4] = [
        (&[], |_, _| {}),
        (&["throttle"], |_, reading| reading["throttle_reasons"] = json!(0x4)),
        (&["gpu_shared"], |_, reading| reading["other_processes"] = json!(2)),
        // The first trial or two: the others' clock is the usual one, or theirs is not.
        (&["clocks"], |n, reading| reading["sm_clock_mhz"] = json!(if n < 20 { 1500 } else { 1980 })),
    ];
    let gpu = with(&REAL, &["--engine-option", "sim.gpu=true", "--max-repeats", "0"]);
    for (expected, change) in faults {
        let readings: Vec<Value> = (0..5000).map(|n| reading(n, &change)).collect();
        let run = run(&gpu, Some(&json!(readings)));
        assert_eq!(run.codes(), expected, "{}", String::from_utf8_lossy(&run.output.stderr));
    }
}

#[test]
fn limits_are_read_from_the_plan_and_wrong_ones_are_refused() {
    let keep = tempfile::tempdir().unwrap();
    let plan = keep.path().join("plan.toml");
    let text = "engine = \"sim\"\n[validity]\nmax_machine_load = \"10%\"\nmin_duration = \"1s\"\nmax_preemptions = 4\n";
    fs::write(&plan, text).unwrap();
    let dry = |more: &[&str]| tacho().args(["run", "--dry-run", "--plan"]).arg(&plan).args(more).output().unwrap();
    let shown = String::from_utf8(dry(&["--max-preemptions", "2"]).stdout).unwrap();
    for line in
        ["validity.max_machine_load = 10%", "validity.min_duration", "validity.max_preemptions", "--max-preemptions"]
    {
        let squeezed = shown.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(squeezed.contains(line), "{line}: {shown}");
    }
    for (wrong, hint) in [("min_durations = \"1s\"", "min_duration"), ("max_machine_load = 2.0", "expected a share")] {
        fs::write(&plan, format!("engine = \"sim\"\n[validity]\n{wrong}\n")).unwrap();
        let output = dry(&[]);
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(2) && error.contains(hint) && error.contains("plan.toml:3"), "{error}");
    }
}

#[test]
fn a_doctor_knows_the_plan_and_the_machine() {
    let keep = tempfile::tempdir().unwrap();
    let doctor = |more: &[&str]| {
        let mut command = tacho();
        command.arg("doctor").args(more).args(["--json", "--out"]).arg(keep.path().join("runs/x"));
        let output = command.env("OMP_NUM_THREADS", "3").output().unwrap();
        let found: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
        (output.status.code(), found)
    };
    let of = |found: &Value, name: &str| -> Vec<Value> {
        let checks = found["checks"].as_array().unwrap();
        checks.iter().filter(|check| check["name"] == name).cloned().collect()
    };
    let (code, well) = doctor(&["--engine", "sim"]);
    assert_eq!(code, Some(0), "{well}");
    assert_eq!(of(&well, "cell").len(), 1, "only the plan's engine: {well}");
    assert_eq!((&of(&well, "cell")[0]["state"], &of(&well, "disk")[0]["of"]), (&json!("ok"), &json!(keep.path())));
    let variable = &of(&well, "variable").into_iter().find(|check| check["of"] == "OMP_NUM_THREADS").unwrap();
    assert!(variable["state"] == "warning" && variable["found"].as_str().unwrap().contains("threads"), "{variable}");

    let missing = keep.path().join("none.gguf");
    let (code, ill) = doctor(&["--engine", "llama.cpp", "--model", missing.to_str().unwrap()]);
    assert_eq!((code, &ill["state"]), (Some(1), &json!("problem")));
    let model = &of(&ill, "model")[0];
    assert!(model["state"] == "problem" && model["advice"].as_str().unwrap().contains("tacho model fetch"), "{model}");
}
