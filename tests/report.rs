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

/// Whether nothing but exports and comparisons, which have nothing to say of some runs, ended with an error.
fn only_exports_refuse(said: &str) -> bool {
    let known = ["can say: see the notes above", "no point of these runs can be compared"];
    said.lines().filter(|line| line.starts_with("error: ")).all(|line| known.iter().any(|it| line.contains(it)))
}

/// It ended by itself, with a report or with a sentence.
fn ended_well(done: &Output, what: &str) -> String {
    let said = text(&done.stderr);
    assert!(done.status.code().is_some() && !said.contains("panicked"), "{what}: {said}");
    let sentence = said.lines().any(|line| line.starts_with("error: "));
    assert!(done.status.success() || sentence, "{what}: {said}");
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

/// A whole run, and what every command that reads one says of damaged copies of it.
struct Damaged {
    dir: tempfile::TempDir,
    whole: PathBuf,
}

impl Damaged {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let whole = run(dir.path());
        Self { dir, whole }
    }

    /// What `tacho report` and the others say on standard error of a copy with that change. None of them may panic, and those
    /// after the first read only: what `report` made of it is there.
    fn said(&self, name: &str, change: &dyn Fn(&Path)) -> String {
        let copy = self.dir.path().join(name);
        let copied = Command::new("cp").arg("-r").args([&self.whole, &copy]).status().unwrap();
        assert!(copied.success());
        change(&copy);
        let (copy, whole) = (copy.to_string_lossy(), self.whole.to_string_lossy());
        let commands: [&[&str]; 8] = [
            &["report", &copy],
            &["show", &copy],
            &["certify", &copy],
            &["certify", &copy, "--json"],
            &["compare", &whole, &copy],
            &["export", &copy, "--format", "vllm-bench"],
            &["export", &copy, "--format", "benchmark-serving"],
            &["export", &copy, "--format", "llama-bench"],
        ];
        commands.iter().map(|command| ended_well(&tacho(command), &format!("{name}: {command:?}"))).collect()
    }

    fn page(&self, name: &str) -> String {
        fs::read_to_string(self.dir.path().join(name).join("report.html")).unwrap()
    }
}

fn edit(run: &Path, file: &str, of: &dyn Fn(String) -> String) {
    let path = run.join(file);
    fs::write(&path, of(fs::read_to_string(&path).unwrap())).unwrap();
}

/// Every line of the journal, changed.
fn edit_journal(run: &Path, of: &dyn Fn(&mut serde_json::Value)) {
    edit(run, "journal.jsonl", &|text| {
        let changed = text.lines().map(|line| {
            let mut entry: serde_json::Value = serde_json::from_str(line).unwrap();
            of(&mut entry["record"]);
            format!("{entry}\n")
        });
        changed.collect()
    });
}

#[test]
fn what_is_published_of_a_run_can_be_read() {
    let damaged = Damaged::new();
    let keep = |run: &Path, kept: &[&str]| {
        for path in fs::read_dir(run).unwrap().map(|entry| entry.unwrap().path()) {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            match kept.contains(&name.as_str()) {
                true => {}
                false if path.is_dir() => fs::remove_dir_all(&path).unwrap(),
                false => fs::remove_file(&path).unwrap(),
            }
        }
    };
    // Without the streamed tables and their parts.
    let said = damaged.said("published", &|run| keep(run, &["run.json", "journal.jsonl", "report.md"]));
    assert!(said.contains("tokens, steps and telemetry stay as they are"), "{said}");
    let exports = said.lines().filter(|line| line.starts_with("error: ")).collect::<Vec<_>>();
    assert!(exports.iter().all(|line| line.contains("llama-bench")), "{exports:?}");
    let page = damaged.page("published");
    assert!(page.contains("requests.parquet is missing") && page.contains("chart-throughput"));
    // Tables alone.
    let said = damaged.said("tables", &|run| keep(run, &["run.json", "summary.csv", "points.csv", "charts"]));
    let sentence =
        "no journal.jsonl, from which everything is made; what it has can be read as it is: summary.csv, points.csv";
    assert_eq!(said.matches(sentence).count(), 8, "{said}");
}

#[test]
fn what_was_committed_of_runs_can_be_read() {
    let results = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/results");
    let mut found = 0;
    let mut folders = vec![PathBuf::from(results)];
    while let Some(folder) = folders.pop() {
        folders.extend(fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()));
        if !folder.join("run.json").is_file() {
            continue;
        }
        found += 1;
        let dir = folder.to_string_lossy();
        for command in [&["show", &*dir][..], &["certify", &dir], &["export", &dir, "--format", "vllm-bench"]] {
            let done = tacho(command);
            let said = ended_well(&done, &format!("{command:?}"));
            let whole = folder.join("journal.jsonl").is_file();
            // A form of offline runs can say nothing of a run under load.
            let nothing = said.contains("has nothing that vllm-bench can say");
            assert!(done.status.success() == (whole && !nothing), "{command:?}: {said}");
            assert!(whole || said.contains("no journal.jsonl"), "{command:?}: {said}");
        }
    }
    assert!(found > 0, "no run below {results}");
}

#[test]
fn values_that_nobody_expects_are_no_panic() {
    let damaged = Damaged::new();
    let no_work = |trial: &mut serde_json::Value| {
        let summary = &mut trial["summary"];
        for field in ["requests", "input_tokens", "output_tokens"] {
            assert!(summary[field].is_number(), "{field}");
            summary[field] = 0.into();
        }
        summary["end_ns"] = summary["start_ns"].clone();
        for figure in
            ["request_throughput", "output_token_throughput", "input_token_throughput", "total_token_throughput"]
        {
            trial["figures"][figure] = 0.into();
        }
    };
    let said = damaged.said("no-work", &|run| {
        edit_journal(run, &|record| record["trials"].as_array_mut().unwrap().iter_mut().for_each(no_work));
    });
    assert!(!said.contains("not readable"), "{said}");
    let said = damaged.said("no-trials", &|run| edit_journal(run, &|record| record["trials"] = serde_json::json!([])));
    assert!(!said.contains("not readable"), "{said}");
    assert!(!damaged.page("no-trials").contains("chart-throughput"));
    let said = damaged.said("huge", &|run| {
        edit_journal(run, &|record| {
            for trial in record["trials"].as_array_mut().unwrap() {
                trial["figures"]["output_token_throughput"] = 1e308.into();
                trial["summary"]["output_tokens"] = u64::MAX.into();
            }
        });
    });
    assert!(!said.contains("not readable"), "{said}");
    let said = damaged.said("negative", &|run| {
        edit_journal(run, &|record| {
            for trial in record["trials"].as_array_mut().unwrap() {
                trial["figures"]["output_token_throughput"] = (-1).into();
                trial["summary"]["end_ns"] = 0.into();
            }
        });
    });
    assert!(!said.contains("not readable"), "{said}");
    // The same point twice, the later one counts; numbers of points that the plan has not.
    let said = damaged.said("numbers", &|run| {
        edit(run, "journal.jsonl", &|text| text.repeat(2).replace("\"number\":2", "\"number\":4294967295"));
    });
    assert!(!said.contains("not readable"), "{said}");
    // A part with the columns of another table stands for one of another version of tacho.
    let said = damaged.said("other-columns", &|run| {
        let parts = run.join("parts");
        fs::copy(parts.join("point-00000.tokens.parquet"), parts.join("point-00000.requests.parquet")).unwrap();
        edit(run, "journal.jsonl", &|text| {
            let changed = text.lines().map(|line| {
                let mut entry: serde_json::Value = serde_json::from_str(line).unwrap();
                entry["rows"]["requests"] = entry["rows"]["tokens"].clone();
                entry["rows"]["digest"] = 0.into();
                format!("{entry}\n")
            });
            changed.collect()
        });
    });
    assert!(said.contains("stay as they are") && said.contains("of another version of tacho"), "{said}");
    let said = damaged.said("no-plan", &|run| {
        edit(run, "run.json", &|text| {
            let mut info: serde_json::Value = serde_json::from_str(&text).unwrap();
            info["plan"] = serde_json::json!([1, null, "x"]);
            info.to_string()
        });
    });
    assert!(!said.contains("incomplete"), "{said}");
    let said = damaged.said("empty", &|run| fs::write(run.join("journal.jsonl"), "").unwrap());
    assert!(said.contains("has no finished point in its journal.jsonl"), "{said}");
    assert!(damaged.page("empty").contains("No point has been finished"));
    let said = damaged.said("bytes", &|run| fs::write(run.join("journal.jsonl"), b"\xff\xfe{\n\x00\n").unwrap());
    assert!(said.contains("line 1 of the journal is not readable"), "{said}");
    let said = damaged.said("folder", &|run| {
        fs::remove_file(run.join("journal.jsonl")).unwrap();
        fs::create_dir(run.join("journal.jsonl")).unwrap();
    });
    assert!(said.contains("journal.jsonl"), "{said}");
    let said = damaged.said("not-json", &|run| fs::write(run.join("run.json"), "{").unwrap());
    assert!(said.contains("run.json is not JSON"), "{said}");
}

#[test]
fn damaged_directories_give_a_report_or_a_sentence() {
    let damaged = Damaged::new();
    let damage = |name: &str, change: &dyn Fn(&Path)| damaged.said(name, change);
    let page = |name: &str| damaged.page(name);

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
    assert!(only_exports_refuse(&said), "{said}");
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
    assert!(only_exports_refuse(&said), "{said}");
    let said = damage("one-point", &|run| {
        edit(run, "journal.jsonl", &|text| format!("{}\n", text.lines().next().unwrap()));
    });
    assert!(only_exports_refuse(&said), "{said}");
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
    assert!(only_exports_refuse(&said), "{said}");
    assert!(page("failed-only").contains("Every point failed"));
    let said = ended_well(&show(&damaged.dir.path().join("nowhere")), "nowhere");
    assert!(said.contains("holds no run of tacho"), "{said}");
}

/// Opens a page in headless Chromium, where there is one, and checks it; says what was checked, or why nothing was.
fn in_a_browser(page: &Path, more: &[&str]) {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/browser/check_report.py");
    let python = std::env::var("PYO3_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let Ok(done) = Command::new(&python).arg(script).arg(page).args(more).output() else {
        eprintln!("skipped: no {python}");
        return;
    };
    let said = text(&done.stdout) + &text(&done.stderr);
    assert!(done.status.success() || done.status.code() == Some(77), "{said}");
    eprint!("{}{said}", if done.status.success() { "" } else { "skipped: " });
}

#[test]
fn the_page_works_in_a_browser() {
    let dir = tempfile::tempdir().unwrap();
    in_a_browser(&run(dir.path()).join("report.html"), &[]);
}

#[test]
fn kept_pages_look_as_they_did() {
    for name in ["invalid", "two-engines"] {
        let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser/runs").join(name);
        let dir = tempfile::tempdir().unwrap();
        let run = dir.path().join("run");
        fs::create_dir(&run).unwrap();
        for file in ["run.json", "journal.jsonl"] {
            fs::copy(kept.join(file), run.join(file)).unwrap();
        }
        let done = report(&run);
        assert!(done.status.success(), "{name}: {}", text(&done.stderr));
        in_a_browser(&run.join("report.html"), &["--reference", &kept.join("reference").to_string_lossy()]);
    }
}
