//! Runs that measure side by side, comparisons of runs, baselines and calibration, from outside.
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::Value;
use tacho::{
    calibration::{Calibration, Check, Outcome, SCHEMA},
    results::Provenance,
};

struct Scratch {
    keep: tempfile::TempDir,
}

impl Scratch {
    fn new() -> Self {
        Self { keep: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.keep.path().join(name)
    }

    fn tacho(&self, args: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tacho"));
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("TACHO_")) {
            command.env_remove(name);
        }
        let cache = self.path("cache");
        command.env("TACHO_CACHE_DIR", cache).current_dir(self.keep.path()).args(args).output().unwrap()
    }

    /// A run of the simulated engine in virtual time, so that figures are exact: seconds are
    /// base + 8 + 3 × (base + 10) microseconds.
    fn run(&self, out: &str, more: &[&str]) -> Output {
        let base = ["run", "--engine", "sim", "--batch", "2", "--input", "4", "--output", "4", "--quiet"];
        let time = ["--engine-option", "sim.time=virtual", "--telemetry", "off", "--out", out];
        self.tacho(&base.iter().chain(&time).chain(more).copied().collect::<Vec<_>>())
    }

    /// The texts of its points, its summary and its comparisons.
    fn tables(&self, run: &str) -> [String; 3] {
        ["points.csv", "summary.json", "comparison.json"].map(|name| {
            let path = self.path(run).join(name);
            fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        })
    }

    fn comparisons(&self, run: &str) -> Vec<Value> {
        serde_json::from_str(&fs::read_to_string(self.path(run).join("comparison.json")).unwrap()).unwrap()
    }
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap_or_else(|| panic!("{}", text(output)))
}

/// Seconds of a trial, in microseconds, by the step's base cost.
fn cost_us(base: f64) -> f64 {
    base + 8.0 + 3.0 * (base + 10.0)
}

const TWO: [&str; 4] = ["--engine-option", "sim.step_base_us=200,220", "--compare", "abba,launches=2,blocks=3"];

#[test]
fn configurations_side_by_side_give_the_ratio_that_is_true() {
    let scratch = Scratch::new();
    let output = scratch.run("run", &TWO);
    assert_eq!(code(&output), 0, "{}", text(&output));
    assert!(text(&output).contains("step_base_us=220 (SIMULATED) against"), "{}", text(&output));
    let found = scratch.comparisons("run");
    assert_eq!(found.len(), 1, "an offline run's generate trials tell no latencies: {found:?}");
    let result = &found[0]["result"];
    assert_eq!((&result["verdict"], &result["unit"]), (&"SLOWER".into(), &"block".into()));
    let truth = cost_us(200.0) / cost_us(220.0);
    assert!((result["ratio"].as_f64().unwrap() / truth - 1.0).abs() < 1e-9, "{result}");
    assert_eq!((result["launches"].as_u64(), result["blocks"].as_u64()), (Some(2), Some(6)));
    assert!(found[0]["a"]["double"].is_string() && found[0]["b"]["double"].is_string());
    let report = fs::read_to_string(scratch.path("run/report.md")).unwrap();
    assert!(report.contains("## Side by side") && report.contains("**SLOWER**"), "{report}");

    // Every engine has every turn, on the same requests.
    let journal = fs::read_to_string(scratch.path("run/journal.jsonl")).unwrap();
    let records: Vec<Value> = journal.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let requests = |record: &Value| -> Vec<String> {
        let trials = record["record"]["trials"].as_array().unwrap();
        let mut all: Vec<String> =
            trials.iter().map(|t| format!("{} {}", t["turn"], t["summary"]["workload_digest"])).collect();
        all.sort();
        all
    };
    assert_eq!((records.len(), requests(&records[0]).len()), (2, 2 * 3 * 2));
    assert_eq!(requests(&records[0]), requests(&records[1]));

    // The tables and the comparison come again from the journal, and a resumed run measures nothing twice.
    let before = fs::read(scratch.path("run/comparison.json")).unwrap();
    fs::remove_file(scratch.path("run/comparison.json")).unwrap();
    assert_eq!(code(&scratch.tacho(&["report", "run"])), 0);
    assert_eq!(fs::read(scratch.path("run/comparison.json")).unwrap(), before);
    let tables = scratch.tables("run");
    assert!(tables[0].lines().count() == 1 + 2 * 12 && !tables[2].is_empty(), "{tables:?}");
    for _ in 0..2 {
        assert_eq!(code(&scratch.tacho(&["run", "--resume", "run", "--quiet"])), 0);
        assert_eq!(fs::read_to_string(scratch.path("run/journal.jsonl")).unwrap(), journal);
        assert_eq!(scratch.tables("run"), tables);
        fs::remove_file(scratch.path("run/comparison.json")).unwrap();
    }
}

#[test]
fn a_resumed_comparison_keeps_whole_groups_and_measures_the_others() {
    let scratch = Scratch::new();
    let output = scratch.run("run", &[&TWO[..], &["--requests", "2,4,6"]].concat());
    assert_eq!(code(&output), 0, "{}", text(&output));
    let tables = scratch.tables("run");
    let verdicts = |run: &str| -> Vec<String> {
        scratch.comparisons(run).iter().map(|c| format!("{} {}", c["work"], c["result"])).collect()
    };
    let before = verdicts("run");
    assert_eq!(before.len(), 3);
    // As if the run had ended before the last group, and between the points of the second.
    let journal = fs::read_to_string(scratch.path("run/journal.jsonl")).unwrap();
    let kept: String = journal.split_inclusive('\n').take(3).collect();
    fs::write(scratch.path("run/journal.jsonl"), &kept).unwrap();
    assert_eq!(code(&scratch.tacho(&["run", "--resume", "run", "--quiet"])), 0);
    let after = fs::read_to_string(scratch.path("run/journal.jsonl")).unwrap();
    assert!(after.starts_with(&kept) && after.lines().count() == 3 + 4, "{after}");
    assert_eq!(verdicts("run"), before);
    let rows = |table: &str| table.lines().count();
    assert_eq!(scratch.tables("run").map(|table| rows(&table)), tables.map(|table| rows(&table)));
}

#[test]
fn latencies_are_compared_where_trials_tell_them() {
    let scratch = Scratch::new();
    let more = ["--engine-option", "sim.step_base_us=220,200", "--concurrency", "2", "--requests", "4"];
    let args: Vec<&str> = ["run", "--engine", "sim", "--input", "4", "--output", "4", "--quiet", "--telemetry", "off"]
        .into_iter()
        .chain(["--engine-option", "sim.time=virtual", "--out", "run", "--compare", "abba,launches=2,blocks=3"])
        .chain(more)
        .collect();
    let output = scratch.tacho(&args);
    assert_eq!(code(&output), 0, "{}", text(&output));
    let figures: Vec<String> =
        scratch.comparisons("run").iter().map(|c| format!("{} {}", c["figure"], c["result"]["verdict"])).collect();
    let expected = ["output_token_throughput", "ttft_p50", "tpot_p50", "e2e_p50"];
    assert_eq!(figures, expected.map(|name| format!("\"{name}\" \"FASTER\"")));
    // Of a latency the change is its own, not the speed's: faster is less.
    assert!(text(&output).contains("FASTER in e2e_p50: -"), "{}", text(&output));
}

#[test]
fn an_engine_beside_itself_is_the_same_and_on_a_gpu_has_launches_of_its_own() {
    let scratch = Scratch::new();
    let output = scratch.run("aa", &["--compare", "aa,launches=2,blocks=3"]);
    assert_eq!(code(&output), 0, "{}", text(&output));
    let found = &scratch.comparisons("aa")[0];
    assert_eq!((&found["result"]["verdict"], found["result"]["ratio"].as_f64()), (&"SAME".into(), Some(1.0)));
    assert_eq!(found["b"]["label"], "sim (again)");

    let output = scratch.run("gpu", &[&TWO[..], &["--engine-option", "sim.gpu=true"]].concat());
    assert_eq!(code(&output), 0, "{}", text(&output));
    let found = &scratch.comparisons("gpu")[0]["result"];
    assert_eq!((&found["unit"], &found["verdict"]), (&"launch".into(), &"SLOWER".into()));
    let journal = fs::read_to_string(scratch.path("gpu/journal.jsonl")).unwrap();
    assert!(journal.contains("\"resident\":false") && !journal.contains("\"resident\":true"));
}

#[test]
fn an_engine_that_dies_fails_its_group_and_says_so() {
    let scratch = Scratch::new();
    let faults = ["--engine-option", "sim.fault=abort", "--engine-option", "sim.fault_at_step=40,1000000"];
    let output = scratch.run("run", &[&faults[..], &["--compare", "abba,launches=2,blocks=3"]].concat());
    assert_eq!(code(&output), 1, "{}", text(&output));
    let found = &scratch.comparisons("run")[0];
    assert!(found["result"].is_null() && found["null_reason"].as_str().unwrap().contains("SIGABRT"), "{found}");
    let alone = scratch.run("alone", &["--compare", "abba"]);
    assert_eq!(code(&alone), 2);
    assert!(text(&alone).contains("nothing to stand beside"), "{}", text(&alone));
}

#[test]
fn runs_are_compared_and_ci_gets_its_exit_code() {
    let scratch = Scratch::new();
    for (name, base, more) in
        [("a", "200", &[][..]), ("same", "200", &[]), ("slow", "220", &[]), ("other", "200", &["--seed", "2"])]
    {
        let option = format!("sim.step_base_us={base}");
        let output = scratch.run(name, &[&["--engine-option", &option][..], more].concat());
        assert_eq!(code(&output), 0, "{}", text(&output));
    }
    let same = scratch.tacho(&["compare", "a", "same", "--fail-on", "slower,ambiguous,refused"]);
    assert_eq!(code(&same), 0, "{}", text(&same));
    assert!(text(&same).contains("SAME"), "{}", text(&same));

    assert!(text(&scratch.tacho(&["baseline", "save", "main", "a"])).contains("baseline main"));
    let slow = ["compare", "main", "slow", "--threshold", "3%", "--fail-on", "slower", "--format", "markdown"];
    let slow = scratch.tacho(&slow);
    assert_eq!(code(&slow), 6, "{}", text(&slow));
    for expected in ["1 slower, 0 faster", "**SLOWER**", "| sim: step\\_base\\_us | 200.0 | 220.0 |", "<details>"] {
        assert!(text(&slow).contains(expected), "{expected} in\n{}", text(&slow));
    }
    let json = scratch.tacho(&["compare", "main", "slow", "same", "--format", "json"]);
    let found: Vec<Value> = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!((found.len(), &found[0]["points"][0]["verdict"]), (2, &"SLOWER".into()));
    let truth = cost_us(200.0) / cost_us(220.0);
    assert!((found[0]["points"][0]["ratio"].as_f64().unwrap() / truth - 1.0).abs() < 1e-9);
    // 8.7 % slower is not beyond 10 %, and the interval is within it.
    let lenient = scratch.tacho(&["compare", "main", "slow", "--threshold", "10%", "--fail-on", "slower"]);
    assert_eq!(code(&lenient), 0, "{}", text(&lenient));

    let refused = scratch.tacho(&["compare", "a", "other"]);
    assert_eq!(code(&refused), 2);
    assert!(text(&refused).contains("different requests"), "{}", text(&refused));
    let latency = scratch.tacho(&["compare", "a", "slow", "--metric", "ttft_p50"]);
    assert!(text(&latency).contains("AMBIGUOUS") && text(&latency).contains("at least 6"), "{}", text(&latency));
    assert_eq!(code(&scratch.tacho(&["compare", "a", "slow", "--metric", "speed"])), 2);

    assert!(text(&scratch.tacho(&["baseline", "list"])).contains("main"));
    assert!(text(&scratch.tacho(&["baseline", "show", "main"])).contains("9 trials"));
    assert_eq!(code(&scratch.tacho(&["baseline", "remove", "main"])), 0);
    let gone = scratch.tacho(&["compare", "main", "slow"]);
    assert_eq!(code(&gone), 2);
    assert!(text(&gone).contains("no baseline 'main'"), "{}", text(&gone));
}

#[test]
fn bad_directories_are_clear_sentences() {
    let scratch = Scratch::new();
    assert_eq!(code(&scratch.run("a", &[])), 0);
    fs::create_dir(scratch.path("empty")).unwrap();
    fs::create_dir(scratch.path("half")).unwrap();
    fs::copy(scratch.path("a/run.json"), scratch.path("half/run.json")).unwrap();
    for (dir, says) in [("empty", "no run.json"), ("half", "no journal.jsonl"), ("./none", "no directory")] {
        let output = scratch.tacho(&["compare", "a", dir]);
        assert_eq!(code(&output), 3, "{}", text(&output));
        assert!(text(&output).contains(says), "{}", text(&output));
    }
}

#[test]
fn a_calibration_tells_every_check_and_a_failed_one_comes_first_in_reports() {
    let scratch = Scratch::new();
    let output = scratch.tacho(&["calibrate", "--comparisons", "1", "--json"]);
    // A machine that does other things meanwhile may not pass; that is not this test's matter.
    assert!([0, 6].contains(&code(&output)), "{}", text(&output));
    let found: Calibration = serde_json::from_slice(&output.stdout).unwrap();
    let names: Vec<&str> = found.checks.iter().map(|check| check.name.as_str()).collect();
    for name in [
        "clock resolution",
        "harness cost of a token event",
        "release lateness, median",
        "release lateness, 99.9th percentile",
        "TTFT",
        "ITL",
        "E2E",
        "throughput",
        "A/A pairs called SAME",
    ] {
        assert!(names.contains(&name), "{names:?}");
    }
    assert!(found.checks.iter().all(|check| check.value.is_finite()), "{:?}", found.checks);
    // A GPU's clock is looked at or has its reason, which is no failure.
    let gpu = "the GPU's event clock";
    assert_ne!(
        names.contains(&"GPU event resolution"),
        found.missing.contains_key(gpu),
        "{names:?} {:?}",
        found.missing
    );
    assert_eq!(code(&output) == 0, found.passed());
    assert_eq!(code(&scratch.tacho(&["calibrate", "--kept"])), 2, "one comparison is nothing to keep");

    let failed = Check {
        name: "clock cost".to_owned(),
        value: 5000.0,
        expected: None,
        limit: Some(1000.0),
        unit: "ns".to_owned(),
        outcome: Outcome::Failed,
        note: String::new(),
    };
    let kept = Calibration {
        schema: SCHEMA,
        at: "2026-11-22T02:12:00Z".to_owned(),
        tacho: Provenance::of_this_program(),
        load_average: None,
        checks: vec![failed],
        missing: Default::default(),
    };
    kept.keep(&scratch.path("cache/calibration")).unwrap();
    let output = scratch.run("run", &[]);
    assert!(String::from_utf8_lossy(&output.stdout).starts_with("calibration: "), "{}", text(&output));
    assert!(first_lines(&scratch.path("run/report.md")).contains("FAILED: clock cost"));
    let info: Value = serde_json::from_str(&fs::read_to_string(scratch.path("run/run.json")).unwrap()).unwrap();
    assert_eq!(
        (&info["calibration"]["state"], &info["calibration"]["checks"][0]["value"]),
        (&"failed".into(), &5000.0.into())
    );
    assert_eq!(code(&scratch.tacho(&["calibrate", "--kept"])), 6);
}

fn first_lines(path: &Path) -> String {
    fs::read_to_string(path).unwrap().lines().take(8).collect::<Vec<_>>().join("\n")
}
