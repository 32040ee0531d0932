//! Whole runs of the simulated engine: what is left after a clean run, a crash, an interrupt, a kill and a resume.
mod program;
mod scratch;

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use program::tacho;
use scratch::Scratch;
use serde_json::Value;

fn run(args: &[&str]) -> Output {
    tacho().arg("run").args(args).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A sweep in virtual time: the same figures every time, whatever the machine does.
const SWEEP: [&str; 11] = [
    "--engine",
    "sim",
    "--engine-option",
    "sim.time=virtual",
    "--batch",
    "1..8*2",
    "--input",
    "16",
    "--output",
    "8",
    "--quiet",
];

/// The same in real time, slow enough to be hit in the middle.
const SLOW: [&str; 13] = [
    "--engine",
    "sim",
    "--engine-option",
    "sim.step_base_us=2000",
    "--batch",
    "1..16*2",
    "--input",
    "16",
    "--output",
    "8",
    "--max-trials",
    "6",
    "--quiet",
];

fn with<'a>(base: &[&'a str], more: &[&'a str]) -> Vec<&'a str> {
    base.iter().chain(more).copied().collect()
}

impl Scratch {
    /// What must be equal between an interrupted and an uninterrupted run.
    fn keys_and_counts(&self) -> BTreeMap<(u32, String), Vec<String>> {
        let columns = ["key", "status", "method", "workload_digest", "output_digest", "input_tokens", "output_tokens"];
        self.figures()
            .into_iter()
            .map(|(id, row)| (id, columns.iter().map(|column| row[*column].clone()).collect()))
            .collect()
    }
}

#[test]
fn a_clean_run_leaves_every_file_and_true_figures() {
    let scratch = Scratch::new();
    let output = run(&with(&SWEEP, &["--out", scratch.path()]));
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains(scratch.path()), "{}", text(&output.stdout));
    for file in [
        "run.json",
        "journal.jsonl",
        "points.parquet",
        "points.csv",
        "points.json",
        "summary.csv",
        "summary.json",
        "requests.parquet",
        "tokens.parquet",
        "steps.parquet",
        "gpu.parquet",
        "host.parquet",
        "report.md",
        "charts/throughput.svg",
        "charts/throughput.png",
    ] {
        assert!(fs::metadata(scratch.dir.join(file)).is_ok_and(|meta| meta.len() > 0), "{file} is missing or empty");
    }
    let points = scratch.figures();
    // In virtual time without jitter every trial is the same: the fewest that make an interval, and three for latencies.
    assert_eq!(points.len(), 4 * (6 + 3));
    for ((point, _), row) in &points {
        let batch = f64::from(1 << point);
        // The cost model: a step of `batch` × 16 prompt tokens, then 7 of `batch` decodes.
        let seconds = (200.0 + 16.0 * batch + 7.0 * (200.0 + 5.0 * batch)) * 1e-6;
        let expect = batch * 8.0 / seconds;
        let found: f64 = row["output_token_throughput"].parse().unwrap();
        assert!((found / expect - 1.0).abs() < 1e-6, "batch {batch}: {found} for {expect}");
        assert!(!row["double"].is_empty(), "a simulated engine must say so in every row");
        let ttft = &row["ttft_p50_ms"];
        if row["method"] == "steps" {
            let expect_ms = (200.0 + 16.0 * batch) * 1e-3;
            assert!((ttft.parse::<f64>().unwrap() / expect_ms - 1.0).abs() < 1e-6, "{ttft} for {expect_ms}");
        } else {
            assert!(ttft.is_empty() && !row["latency_null_reason"].is_empty(), "a generate trial has no latencies");
        }
    }
    let report = fs::read_to_string(scratch.dir.join("report.md")).unwrap();
    assert!(report.contains("simulated"), "{report}");
}

#[test]
fn a_cell_that_dies_costs_its_point_only() {
    let scratch = Scratch::new();
    // One point in three aborts: each is an engine configuration, and so a cell, of its own.
    let args = ["--engine-option", "sim.fault_at_step=20,1000000,2000000", "--engine-option", "sim.fault=abort"];
    let args = with(&["--engine", "sim", "--input", "4", "--output", "4", "--batch", "2", "--quiet"], &args);
    let output = run(&with(&args, &["--out", scratch.path()]));
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    let journal = scratch.journal();
    assert_eq!(journal.len(), 3);
    let all = fs::read_to_string(scratch.dir.join("journal.jsonl")).unwrap();
    assert!(all.contains("SIGABRT"), "{all}");
    let statuses: Vec<String> = scratch.figures().into_values().map(|row| row["status"].clone()).collect();
    assert!(statuses.iter().any(|status| status == "failed") && statuses.iter().any(|status| status == "ok"));
    assert!(fs::read_to_string(scratch.dir.join("report.md")).unwrap().contains("SIGABRT"));
}

#[test]
fn a_point_that_fails_in_a_living_cell_leaves_the_others() {
    let scratch = Scratch::new();
    let args =
        ["--engine-option", "sim.time=virtual", "--engine-option", "sim.max_model_len=100", "--length", "20..80*2"];
    let args = with(&["--engine", "sim", "--batch", "2", "--quiet"], &args);
    let output = run(&with(&args, &["--out", scratch.path()]));
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    let failed: Vec<u32> = scratch
        .figures()
        .into_iter()
        .filter(|(_, row)| row["status"] == "failed")
        .map(|((point, _), _)| point)
        .collect();
    assert_eq!(failed, [2], "20 + 20 and 40 + 40 fit in 100 tokens, 80 + 80 do not");
    assert!(fs::read_to_string(scratch.dir.join("points.csv")).unwrap().contains("at most 100"));
}

#[test]
fn a_trial_without_duration_costs_its_point_only() {
    let scratch = Scratch::new();
    // In virtual time without costs no time passes: there is no figure. The second configuration has costs.
    let zero = ["prefill_token_us=0", "decode_seq_us=0", "time=virtual", "step_base_us=0,100"];
    let options: Vec<String> = zero.iter().map(|option| format!("sim.{option}")).collect();
    let mut args = vec!["--engine", "sim", "--batch", "2", "--input", "4", "--output", "4", "--quiet"];
    for option in &options {
        args.extend(["--engine-option", option]);
    }
    let output = run(&with(&args, &["--out", scratch.path()]));
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    let statuses: Vec<(u32, String)> =
        scratch.figures().into_iter().map(|((point, _), row)| (point, row["status"].clone())).collect();
    assert!(statuses.contains(&(0, "failed".to_owned())) && statuses.contains(&(1, "ok".to_owned())), "{statuses:?}");
}

#[test]
fn every_trial_of_a_kind_has_the_same_ids_whatever_came_before() {
    // Two engine configurations that need different numbers of throughput trials get the same requests, latencies too.
    let digests = |trials: &str| {
        let scratch = Scratch::new();
        let args = with(&SWEEP, &["--min-trials", trials, "--max-trials", trials, "--out", scratch.path()]);
        assert_eq!(run(&args).status.code(), Some(0));
        let rows = scratch.figures().into_values().filter(|row| row["method"] == "steps");
        rows.map(|row| row["workload_digest"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(digests("1"), digests("3"));
}

fn spawn(args: &[&str]) -> Child {
    tacho().arg("run").args(args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

fn wait_for_points(scratch: &Scratch, points: usize) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while fs::read_to_string(scratch.dir.join("journal.jsonl")).unwrap_or_default().lines().count() < points {
        assert!(Instant::now() < deadline, "no {points} points in a minute");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn children_of(pid: u32) -> Vec<u32> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    text.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
}

fn wait_until_gone(pid: u32) {
    let deadline = Instant::now() + Duration::from_secs(10);
    let there = || fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z"));
    while there() {
        assert!(Instant::now() < deadline, "process {pid} is still there");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_killed_run_is_resumed_to_what_it_would_have_been() {
    let whole = Scratch::new();
    assert_eq!(run(&with(&SLOW, &["--out", whole.path()])).status.code(), Some(0));
    // Between points, in a warm-up, in a trial: wherever the moment falls.
    for delay_ms in [0, 7, 40] {
        let scratch = Scratch::new();
        let mut child = spawn(&with(&SLOW, &["--out", scratch.path()]));
        wait_for_points(&scratch, 2);
        std::thread::sleep(Duration::from_millis(delay_ms));
        let cells = children_of(child.id());
        child.kill().unwrap();
        child.wait().unwrap();
        cells.into_iter().for_each(wait_until_gone);
        let before = fs::read(scratch.dir.join("journal.jsonl")).unwrap();
        assert!(before.iter().filter(|byte| **byte == b'\n').count() < 5, "killed too late to tell anything");
        let output = run(&["--resume", scratch.path(), "--quiet"]);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        let after = fs::read(scratch.dir.join("journal.jsonl")).unwrap();
        assert_eq!(&after[..before.len()], &before[..], "resuming must add to the journal, not change it");
        assert_eq!(scratch.journal().len(), 5);
        assert_eq!(scratch.keys_and_counts(), whole.keys_and_counts());
    }
}

#[test]
fn resuming_a_finished_run_measures_nothing_again() {
    let scratch = Scratch::new();
    assert_eq!(run(&with(&SWEEP, &["--out", scratch.path()])).status.code(), Some(0));
    let (journal, points) = (fs::read(scratch.dir.join("journal.jsonl")).unwrap(), scratch.figures());
    let output = run(&["--resume", scratch.path(), "--quiet"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(fs::read(scratch.dir.join("journal.jsonl")).unwrap(), journal);
    assert_eq!(scratch.figures(), points);
}

#[test]
fn a_point_whose_key_differs_is_measured_again() {
    let scratch = Scratch::new();
    assert_eq!(run(&with(&SWEEP, &["--out", scratch.path()])).status.code(), Some(0));
    // As if the engine had been another one when point 1 was measured.
    let path = scratch.dir.join("journal.jsonl");
    let lines: Vec<String> = fs::read_to_string(&path).unwrap().lines().map(str::to_owned).collect();
    let key = scratch.figures()[&(1, "0".to_owned())]["key"].clone();
    let changed = lines[1].replace(&key, &"0".repeat(64));
    assert_ne!(changed, lines[1]);
    fs::write(&path, [&lines[0], &changed, &lines[2], &lines[3], ""].map(|line| line.to_owned()).join("\n")).unwrap();
    let output = run(&["--resume", scratch.path(), "--quiet"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(scratch.journal().len(), 5, "one point was added, the others were kept");
    assert_eq!(scratch.figures()[&(1, "0".to_owned())]["key"], key);
}

#[test]
fn an_interrupt_ends_the_trial_and_leaves_a_report() {
    let scratch = Scratch::new();
    let mut child = spawn(&with(&SLOW, &["--out", scratch.path()]));
    wait_for_points(&scratch, 1);
    let pid = rustix::process::Pid::from_raw(child.id() as i32).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(fs::metadata(scratch.dir.join("report.md")).unwrap().len() > 0);
    let measured = scratch.journal().len();
    assert!((1..5).contains(&measured), "{measured} points");
    assert_eq!(run(&["--resume", scratch.path(), "--quiet"]).status.code(), Some(0));
    assert_eq!(scratch.journal().len(), 5);
}

#[test]
fn a_resume_that_is_interrupted_keeps_what_it_did_not_come_to() {
    let scratch = Scratch::new();
    // The largest batch needs 16 × 24 tokens.
    let output = run(&with(&SLOW, &["--engine-option", "sim.memory_tokens=200", "--out", scratch.path()]));
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    let before = scratch.keys_and_counts();
    assert_eq!(before.keys().filter(|(point, _)| *point == 4).count(), 1, "{before:?}");
    // As if the engine had been another one when point 1 was measured: it runs again.
    let path = scratch.dir.join("journal.jsonl");
    let mut lines: Vec<String> = fs::read_to_string(&path).unwrap().lines().map(str::to_owned).collect();
    let other = "0".repeat(64);
    lines[1] = lines[1].replace(scratch.journal()[1]["record"]["key"].as_str().unwrap(), &other);
    fs::write(&path, lines.join("\n") + "\n").unwrap();
    let mut child = spawn(&["--resume", scratch.path(), "--quiet"]);
    let deadline = Instant::now() + Duration::from_secs(60);
    while children_of(child.id()).is_empty() {
        assert!(Instant::now() < deadline, "no cell in a minute");
        std::thread::sleep(Duration::from_millis(2));
    }
    std::thread::sleep(Duration::from_millis(100));
    let pid = rustix::process::Pid::from_raw(child.id() as i32).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(scratch.journal().len(), 5, "interrupted too late to tell anything");
    let mut expected = before;
    for (_, row) in expected.iter_mut().filter(|((point, _), _)| *point == 1) {
        row[0].clone_from(&other);
    }
    assert_eq!(scratch.keys_and_counts(), expected);
    let report = fs::read_to_string(scratch.dir.join("report.md")).unwrap();
    assert!(report.contains("out of memory"), "{report}");
}

#[test]
fn two_runs_do_not_share_a_directory() {
    let scratch = Scratch::new();
    let mut child = spawn(&with(&SLOW, &["--out", scratch.path()]));
    wait_for_points(&scratch, 1);
    let resumed = run(&["--resume", scratch.path(), "--quiet"]);
    assert_eq!(resumed.status.code(), Some(3));
    assert!(text(&resumed.stderr).contains("another tacho"), "{}", text(&resumed.stderr));
    let second = run(&with(&SWEEP, &["--out", scratch.path()]));
    assert_eq!(second.status.code(), Some(3));
    assert!(text(&second.stderr).contains("--out"), "{}", text(&second.stderr));
    assert_eq!(child.wait().unwrap().code(), Some(0), "the first run is not disturbed");
}

#[test]
fn a_full_disk_ends_the_run_and_keeps_what_is_journalled() {
    let scratch = Scratch::new();
    fs::create_dir(&scratch.dir).unwrap();
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=160k", "tmpfs", scratch.path()]).status();
    if !mounted.is_ok_and(|status| status.success()) {
        eprintln!("skipped: a small tmpfs cannot be mounted here (needs root)");
        return;
    }
    let check = std::panic::catch_unwind(|| {
        let sweep = ["--engine", "sim", "--engine-option", "sim.time=virtual", "--batch", "1..64+1", "--quiet"];
        let output = run(&with(&sweep, &["--input", "16", "--output", "8", "--out", scratch.path()]));
        assert_eq!(output.status.code(), Some(3), "{}", text(&output.stderr));
        assert!(text(&output.stderr).contains("free"), "{}", text(&output.stderr));
        // Every whole line is a finished point.
        let journal = fs::read_to_string(scratch.dir.join("journal.jsonl")).unwrap();
        let whole = journal.lines().filter(|line| serde_json::from_str::<Value>(line).is_ok()).count();
        assert!(whole >= 1, "{journal}");
    });
    assert!(Command::new("umount").arg(scratch.path()).status().unwrap().success());
    check.unwrap();
}

#[test]
fn a_directory_that_cannot_be_written_is_named() {
    let output = run(&with(&SWEEP, &["--out", "/proc/tacho-run"]));
    assert_eq!(output.status.code(), Some(3));
    assert!(text(&output.stderr).contains("/proc/tacho-run"), "{}", text(&output.stderr));
    let output = run(&["--resume", Path::new("/nonexistent").to_str().unwrap(), "--quiet"]);
    assert_eq!(output.status.code(), Some(3));
    assert!(text(&output.stderr).contains("holds no run"), "{}", text(&output.stderr));
}
