//! `tacho report` and `tacho show` from outside: what a whole run leaves, damaged run directories, and the page in a browser.
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

fn tacho(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tacho"));
    // What the caller's shell sets must not steer a test.
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("TACHO_")) {
        command.env_remove(name);
    }
    command.args(args).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A run of the simulated engine in virtual time.
fn run(dir: &Path) -> PathBuf {
    let run = dir.join("run");
    let out = run.to_string_lossy().into_owned();
    let sweep = ["run", "--engine", "sim", "--engine-option", "sim.time=virtual", "--batch", "1..4*2", "--input", "16"];
    let more = ["--output", "8", "--max-trials", "6", "--latency-trials", "2", "--quiet", "--out", &out];
    let done = tacho(&[sweep.as_slice(), &more].concat());
    assert!(done.status.success(), "{}", text(&done.stderr));
    run
}

fn report(run: &Path) -> Output {
    tacho(&["report", &run.to_string_lossy()])
}

fn show(run: &Path) -> Output {
    tacho(&["show", &run.to_string_lossy()])
}

/// It ended by itself, with a report or with a sentence.
fn ended_well(done: &Output, what: &str) -> String {
    let said = text(&done.stderr);
    assert!(done.status.code().is_some() && !said.contains("panicked"), "{what}: {said}");
    assert!(done.status.success() || said.starts_with("error: "), "{what}: {said}");
    said
}

#[test]
fn a_whole_run_leaves_the_whole_set() {
    let dir = tempfile::tempdir().unwrap();
    let run = run(dir.path());
    let done = report(&run);
    assert!(done.status.success(), "{}", text(&done.stderr));
    for name in [
        "report.html",
        "report.md",
        "charts/throughput.svg",
        "charts/throughput.png",
        "charts/pareto.svg",
        "charts/itl-distribution.svg",
        "benchmark_results.csv",
        "performance_rankings.csv",
        "summary.json",
        "../benchmark_summary.csv",
    ] {
        assert!(run.join(name).is_file(), "no {name}");
    }
    let page = fs::read_to_string(run.join("report.html")).unwrap();
    assert!(page.contains("Only stand-ins were measured") && page.len() < 1 << 20);
    // A second report is the same, and the list across runs has the run once.
    let across = fs::read_to_string(run.join("../benchmark_summary.csv")).unwrap();
    assert!(report(&run).status.success());
    assert_eq!(fs::read_to_string(run.join("report.html")).unwrap(), page);
    assert_eq!(fs::read_to_string(run.join("../benchmark_summary.csv")).unwrap(), across);
    assert_eq!(across.lines().count(), 4);
}

#[test]
fn show_writes_nothing_and_has_no_escape_codes() {
    let dir = tempfile::tempdir().unwrap();
    let run = run(dir.path());
    let list = |dir: &Path| -> Vec<(PathBuf, std::time::SystemTime)> {
        let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
        let mut all: Vec<_> = entries.map(|e| (e.path(), e.metadata().unwrap().modified().unwrap())).collect();
        all.sort();
        all
    };
    let before = list(&run);
    let done = show(&run);
    assert!(done.status.success(), "{}", text(&done.stderr));
    assert_eq!(list(&run), before);
    let shown = text(&done.stdout);
    for word in ["sim (SIMULATED)", "█", "Which engine for what", "What to doubt"] {
        assert!(shown.contains(word), "no '{word}' in {shown}");
    }
    assert!(!shown.contains('\u{1b}'));
}

#[test]
fn damaged_directories_give_a_report_or_a_sentence() {
    let dir = tempfile::tempdir().unwrap();
    let whole = run(dir.path());
    let damage = |name: &str, change: &dyn Fn(&Path)| -> String {
        let copy = dir.path().join(name);
        let copied = Command::new("cp").arg("-r").args([&whole, &copy]).status().unwrap();
        assert!(copied.success());
        change(&copy);
        let mut said = ended_well(&report(&copy), name);
        said.push_str(&ended_well(&show(&copy), name));
        said
    };
    let edit = |run: &Path, file: &str, of: &dyn Fn(String) -> String| {
        let path = run.join(file);
        fs::write(&path, of(fs::read_to_string(&path).unwrap())).unwrap();
    };
    let page = |name: &str| fs::read_to_string(dir.path().join(name).join("report.html")).unwrap();

    let said = damage("no-run-json", &|run| fs::remove_file(run.join("run.json")).unwrap());
    assert!(said.contains("no run.json"), "{said}");
    let said = damage("no-journal", &|run| fs::remove_file(run.join("journal.jsonl")).unwrap());
    assert!(said.contains("no journal.jsonl"), "{said}");
    let said = damage("half-written", &|run| {
        edit(run, "journal.jsonl", &|text| text[..text.len() - 40].to_owned());
        for name in ["points.csv", "tokens.parquet", "summary.json", "report.md"] {
            fs::remove_file(run.join(name)).unwrap();
        }
    });
    assert!(said.contains("last line is torn"), "{said}");
    assert!(page("half-written").contains("2 of 3 points are here"));
    let said = damage("edited", &|run| edit(run, "journal.jsonl", &|text| text.replacen("\"record\"", "\"rec\"", 1)));
    assert!(said.contains("line 1 of the journal is not readable and left out"), "{said}");
    let said = damage("no-parts", &|run| fs::remove_dir_all(run.join("parts")).unwrap());
    assert!(said.contains("tokens, steps and telemetry stay as they are"), "{said}");
    assert!(page("no-parts").contains("chart-itl-distribution"));
    let said = damage("no-tables", &|run| {
        fs::remove_dir_all(run.join("parts")).unwrap();
        for name in ["tokens.parquet", "host.parquet", "gpu.parquet"] {
            fs::remove_file(run.join(name)).unwrap();
        }
        fs::write(run.join("requests.parquet"), "PAR1").unwrap();
    });
    assert!(!said.contains("error"), "{said}");
    let without = page("no-tables");
    for word in ["tokens.parquet is missing", "requests.parquet cannot be read", "gpu.parquet is missing"] {
        assert!(without.contains(word), "no '{word}'");
    }
    let said =
        damage("newer", &|run| edit(run, "run.json", &|text| text.replacen("\"schema\": 1", "\"schema\": 99", 1)));
    assert!(said.contains("results schema 99"), "{said}");
    // As a run from before there were telemetry, traces and notes of a resumption.
    let said = damage("older", &|run| {
        edit(run, "run.json", &|text| {
            let mut info: serde_json::Value = serde_json::from_str(&text).unwrap();
            for field in ["hardware", "resumed_at", "resume_notes", "engines"] {
                info.as_object_mut().unwrap().remove(field);
            }
            info.to_string()
        });
        edit(run, "journal.jsonl", &|text| {
            let older = |line: &str| {
                let mut entry: serde_json::Value = serde_json::from_str(line).unwrap();
                for trial in entry["record"]["trials"].as_array_mut().unwrap() {
                    trial.as_object_mut().unwrap().remove("hardware");
                }
                format!("{entry}\n")
            };
            text.lines().map(older).collect()
        });
    });
    assert!(!said.contains("error"), "{said}");
    let said = damage("one-point", &|run| {
        edit(run, "journal.jsonl", &|text| format!("{}\n", text.lines().next().unwrap()));
    });
    assert!(!said.contains("error"), "{said}");
    let said = damage("failed-only", &|run| {
        edit(run, "journal.jsonl", &|text| {
            let failed = |line: &str| {
                let mut entry: serde_json::Value = serde_json::from_str(line).unwrap();
                entry["record"]["outcome"] = serde_json::json!({"status": "failed", "kind": null, "reason": "it burnt",
                    "signal": 9, "exit_code": null, "last_lines": ["smoke"]});
                format!("{entry}\n")
            };
            text.lines().map(failed).collect()
        });
    });
    assert!(!said.contains("error"), "{said}");
    assert!(page("failed-only").contains("Every point failed"));
    let said = ended_well(&show(&dir.path().join("nowhere")), "nowhere");
    assert!(said.contains("holds no run of tacho"), "{said}");
}

#[test]
fn the_page_works_in_a_browser() {
    let dir = tempfile::tempdir().unwrap();
    let run = run(dir.path());
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/browser/check_report.py");
    let python = std::env::var("TACHO_BROWSER_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let Ok(done) = Command::new(&python).arg(script).arg(run.join("report.html")).output() else {
        eprintln!("skipped: no {python}");
        return;
    };
    let said = text(&done.stdout) + &text(&done.stderr);
    if done.status.code() == Some(77) {
        eprintln!("skipped: {said}");
        return;
    }
    assert!(done.status.success(), "{said}");
}
