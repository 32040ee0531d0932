//! What commands print and write as text, held against what was approved: of runs of the simulated engine in virtual time, so that
//! each figure is the same everywhere. `INSTA_UPDATE=always` writes the approved texts anew; read the difference then.
mod program;

use std::path::Path;

use program::tacho;
use tacho::{
    calibration::{Calibration, Check, Outcome, SCHEMA},
    ledger::{self, Ledger},
    results::Provenance,
};

struct Scratch(tempfile::TempDir);

impl Scratch {
    /// What a command prints on standard output, with the scratch folder named `DIR`, and machine and moment left out.
    fn says(&self, args: &[&str], expected: i32) -> String {
        let output = tacho()
            .args(args)
            .env("TACHO_CACHE_DIR", self.0.path().join("cache"))
            .env("CUDA_VISIBLE_DEVICES", "")
            .current_dir(self.0.path())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(expected), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        self.settled(&String::from_utf8(output.stdout).unwrap())
    }

    fn settled(&self, text: &str) -> String {
        let lines = text.replace(&self.0.path().display().to_string(), "DIR");
        let varies = |line: &str| ["measured 20", "run 20", "20:"].iter().any(|part| line.contains(part));
        let kept = lines
            .lines()
            .map(|line| if varies(line) { "(a line with a moment or a run's id)" } else { line.trim_end() });
        kept.collect::<Vec<_>>().join("\n")
    }

    fn run(&self, out: &str, base_us: &str) {
        let base = format!("sim.step_base_us={base_us}");
        let args = [
            "run",
            "--engine",
            "sim",
            "--batch",
            "2,4",
            "--input",
            "4",
            "--output",
            "4",
            "--quiet",
            "--max-trials",
            "7",
        ];
        let more =
            ["--engine-option", "sim.time=virtual", "--engine-option", &base, "--min-duration", "1ms", "--out", out];
        self.says(&[&args[..], &more[..]].concat(), 0);
    }
}

#[test]
fn certificates_are_as_they_were() {
    let scratch = Scratch(tempfile::tempdir().unwrap());
    scratch.run("one", "1000");
    insta::assert_snapshot!(scratch.says(&["certify", "one"], 0));
}

#[test]
fn comparisons_are_as_they_were() {
    let scratch = Scratch(tempfile::tempdir().unwrap());
    scratch.run("one", "1000");
    scratch.run("two", "1100");
    insta::assert_snapshot!("comparison_text", scratch.says(&["compare", "one", "two"], 0));
    insta::assert_snapshot!("comparison_markdown", scratch.says(&["compare", "one", "two", "--format", "markdown"], 0));
}

#[test]
fn an_agreement_is_as_it_was() {
    let scratch = Scratch(tempfile::tempdir().unwrap());
    let engines = ["--engine-option", "sim.time=virtual", "--engine-option", "sim.step_base_us=10,20"];
    let args = ["agree", "--engine", "sim", "--count", "2", "--input", "8", "--tokens", "4", "--out", "agreed"];
    insta::assert_snapshot!("agreement_text", scratch.says(&[&args[..], &engines[..]].concat(), 0));
    let written = std::fs::read_to_string(scratch.0.path().join("agreed/agreement.md")).unwrap();
    insta::assert_snapshot!("agreement_markdown", scratch.settled(&written));
}

#[test]
fn a_capacity_is_as_it_was() {
    let scratch = Scratch(tempfile::tempdir().unwrap());
    let args =
        ["capacity", "--engine", "sim", "--engine-option", "sim.time=virtual", "--slo", "e2e=50ms", "--input", "4"];
    let more = ["--output", "16", "--requests", "200", "--max-probes", "4", "--quiet", "--out", "found"];
    insta::assert_snapshot!(scratch.says(&[&args[..], &more[..]].concat(), 0));
}

#[test]
fn a_saved_workload_is_shown_as_it_was() {
    let scratch = Scratch(tempfile::tempdir().unwrap());
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/datasets");
    let (chats, tokenizer) = (format!("sharegpt:{}", data.join("sharegpt.json").display()), data.join("tokenizer"));
    let args =
        ["workload", "save", "--dataset", &chats, "--tokenizer", tokenizer.to_str().unwrap(), "--dataset-bad", "skip"];
    scratch.says(&[&args[..], &["--quiet", "--out", "saved.tacho"]].concat(), 0);
    let shown = scratch.says(&["workload", "show", "saved.tacho"], 0);
    insta::assert_snapshot!(shown.replace(data.to_str().unwrap(), "DATA"));
}

#[test]
fn a_kept_calibration_is_shown_as_it_was() {
    let scratch = Scratch(tempfile::tempdir().unwrap());
    let check = |name: &str, unit: &str, value, expected, limit, outcome| Check {
        name: name.to_owned(),
        value,
        unit: unit.to_owned(),
        expected,
        limit: Some(limit),
        outcome,
        note: "made up for this test".to_owned(),
    };
    let kept = Calibration {
        schema: SCHEMA,
        at: "2026-11-22T02:12:00Z".to_owned(),
        tacho: Provenance::of_this_program(),
        load_average: Some(0.25),
        checks: vec![
            check("clock cost", "ns", 27.5, None, 1000.0, Outcome::Passed),
            check("ITL", "ms", 5.25, Some(5.2), 0.02, Outcome::Failed),
            check("A/A pairs called SAME", "", 0.975, None, 0.95, Outcome::Passed),
        ],
        missing: [("a clock".to_owned(), "made up for this test".to_owned())].into(),
    };
    kept.keep(&scratch.0.path().join("cache/calibration")).unwrap();
    insta::assert_snapshot!(scratch.says(&["calibrate", "--kept"], 6));
}

/// Of a kept run of the simulated engine and the double of a server (`tests/doubles/openai_server.py`).
#[test]
fn a_boundary_ledger_is_written_as_it_was() {
    let kept: Ledger = serde_json::from_str(include_str!("data/ledger.json")).unwrap();
    insta::assert_snapshot!("ledger_markdown", ledger::markdown(&kept));
    insta::assert_snapshot!("ledger_csv", String::from_utf8(ledger::ledger_csv(&kept).unwrap()).unwrap());
}
