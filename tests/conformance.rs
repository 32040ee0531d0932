//! Every engine that this machine can host, through its own cell program: the same checks for all, and a whole run.
//!
//! An engine that is not here is skipped with the reason, unless `TACHO_CI_ENGINES` promises it.
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Duration,
};

use tacho::{
    cell::{PYTHON_VARIABLE, parent::Cell},
    engine::{LoadConfig, conformance},
    environment::{self, EnvironmentSpec},
    plan::registry::Registry,
};

/// The model for engines that need one: `TACHO_TEST_MODEL`, or where `scripts/model.sh` puts it.
fn model() -> Option<PathBuf> {
    let named = std::env::var_os("TACHO_TEST_MODEL").map(PathBuf::from);
    let cached = tacho::cache::dir().join("models/SmolLM2-135M-Instruct.Q4_1.gguf");
    named.or(Some(cached)).filter(|path| path.is_file())
}

fn promised(id: &str) -> bool {
    std::env::var("TACHO_CI_ENGINES").is_ok_and(|ids| ids.split_whitespace().any(|promised| promised == id))
}

/// Fails for a promised engine, otherwise says why it is skipped.
fn absent(id: &str, why: &str) {
    assert!(!promised(id), "engine {id} is promised, but {why}");
    eprintln!("skipped: engine {id}: {why}");
}

#[test]
fn every_engine_here_conforms() {
    let registry = Registry::embedded().unwrap();
    let mut checked = 0;
    for entry in registry.engines() {
        let mut program = match entry.cell_program() {
            Ok(program) => program,
            Err(error) => {
                absent(&entry.id, &error.to_string());
                continue;
            }
        };
        if entry.cell.as_deref() == Some("tacho-cell-python") {
            // vLLM and MAX are slow to load: each has a test program of its own in ffi/python.
            if entry.needs_model {
                continue;
            }
            let spec = EnvironmentSpec::of(&entry.id, None).unwrap();
            let Some(installed) = environment::status(&spec) else {
                absent(&entry.id, &format!("it has no environment: run `tacho engines install {}`", entry.id));
                continue;
            };
            program.env.push((PYTHON_VARIABLE.into(), installed.python.into()));
        }
        let model = if entry.needs_model { model() } else { None };
        if entry.needs_model && model.is_none() {
            absent(&entry.id, "there is no model: run scripts/model.sh, or set TACHO_TEST_MODEL");
            continue;
        }
        let dir = tempfile::tempdir().unwrap();
        let mut cell = Cell::start(&program, &dir.path().join("log")).unwrap();
        let config = LoadConfig {
            engine: entry.id.clone(),
            model,
            max_seqs: conformance::SEQS,
            max_model_len: 256,
            seed: 1,
            options: BTreeMap::new(),
        };
        let (info, _) = cell.load(&config, Duration::from_secs(120)).unwrap();
        assert_eq!(info.engine, entry.id);
        assert_eq!(info.scheduler, entry.scheduler, "{}: engine.toml and the engine disagree", entry.id);
        assert!(entry.boundary.contains(&info.boundary), "{}: engine.toml and the engine disagree", entry.id);
        let checks = cell.conform(Duration::from_secs(600)).unwrap();
        assert_eq!(conformance::failures(&checks), Vec::<String>::new(), "{}", entry.id);
        cell.shutdown().unwrap();
        checked += 1;
    }
    assert!(checked >= 1, "not even the simulated engine was checked");
}

fn run(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tacho"));
    for name in ["TACHO_PLAN", "TACHO_MODEL", "TACHO_ENGINE", "TACHO_BATCH"] {
        command.env_remove(name);
    }
    command.arg("run").args(args).arg("--quiet").output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The model, when llama.cpp can be run here.
fn llama() -> Option<PathBuf> {
    let registry = Registry::embedded().unwrap();
    if let Err(error) = registry.cell_program("llama.cpp") {
        absent("llama.cpp", &error.to_string());
        return None;
    }
    let model = model();
    if model.is_none() {
        absent("llama.cpp", "there is no model: run scripts/model.sh, or set TACHO_TEST_MODEL");
    }
    model
}

fn rows(dir: &Path) -> Vec<BTreeMap<String, String>> {
    let mut reader = csv::Reader::from_path(dir.join("points.csv")).unwrap();
    let headers = reader.headers().unwrap().clone();
    let row =
        |row: csv::StringRecord| headers.iter().zip(row.iter()).map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
    reader.records().map(|record| row(record.unwrap())).collect()
}

#[test]
fn a_real_model_is_measured_through_the_whole_program() {
    let Some(model) = llama() else { return };
    let keep = tempfile::tempdir().unwrap();
    let dir = keep.path().join("run");
    let output = run(&[
        "--engine",
        "llama.cpp",
        "--model",
        model.to_str().unwrap(),
        "--batch",
        "1,3",
        "--input",
        "24",
        "--output",
        "8",
        "--max-warmup",
        "1",
        "--min-trials",
        "2",
        "--max-trials",
        "2",
        "--latency-trials",
        "1",
        // Other tests run beside: no trial is run again for that.
        "--max-machine-load",
        "100%",
        "--out",
        dir.to_str().unwrap(),
    ]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let rows = rows(&dir);
    assert_eq!(rows.len(), 2 * 3, "two points of two generate trials and one step-loop trial");
    for row in &rows {
        let batch: u32 = row["batch"].parse().unwrap();
        assert_eq!(row["input_tokens"], (24 * batch).to_string());
        assert_eq!(row["output_tokens"], (8 * batch).to_string());
        assert!(row["double"].is_empty(), "llama.cpp is no stand-in");
        assert_eq!(row["prefix_hit_tokens"].parse::<f64>().unwrap(), 0.0);
        assert_eq!(row["model_digest"].len(), 64);
        assert!(row["output_token_throughput"].parse::<f64>().unwrap() > 0.0);
        let has_latency = !row["ttft_p50_ms"].is_empty();
        assert_eq!(has_latency, row["method"] == "steps");
    }
}

#[test]
fn a_broken_model_costs_its_points_and_says_what_is_wrong() {
    let Some(model) = llama() else { return };
    let keep = tempfile::tempdir().unwrap();
    let truncated = keep.path().join("truncated.gguf");
    fs::write(&truncated, &fs::read(&model).unwrap()[..1_000_000]).unwrap();
    let foreign = keep.path().join("foreign.gguf");
    fs::write(&foreign, "this is no model").unwrap();
    let dir = keep.path().join("run");
    let output = run(&[
        "--engine",
        "llama.cpp",
        "--model",
        truncated.to_str().unwrap(),
        "--model",
        foreign.to_str().unwrap(),
        "--model",
        model.to_str().unwrap(),
        "--batch",
        "1",
        "--input",
        "8",
        "--output",
        "4",
        "--max-warmup",
        "1",
        "--min-trials",
        "1",
        "--max-trials",
        "1",
        "--out",
        dir.to_str().unwrap(),
    ]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    let rows = rows(&dir);
    let failed: Vec<&BTreeMap<String, String>> = rows.iter().filter(|row| row["status"] == "failed").collect();
    assert_eq!(failed.len(), 2, "{rows:?}");
    assert!(failed[0]["reason"].contains("truncated.gguf"), "{}", failed[0]["reason"]);
    assert!(failed[1]["reason"].contains("foreign.gguf"), "{}", failed[1]["reason"]);
    assert!(rows.iter().any(|row| row["status"] == "ok"), "the sound model is measured");

    let output =
        run(&["--engine", "llama.cpp", "--model", keep.path().join("none.gguf").to_str().unwrap(), "--batch", "1"]);
    assert_eq!(output.status.code(), Some(2), "a model that is not there is found before anything runs");
    assert!(text(&output.stderr).contains("none.gguf"), "{}", text(&output.stderr));
}

#[test]
fn lengths_beyond_the_context_are_refused_with_both_numbers() {
    let Some(model) = llama() else { return };
    let keep = tempfile::tempdir().unwrap();
    let dir = keep.path().join("run");
    let output = run(&[
        "--engine",
        "llama.cpp",
        "--model",
        model.to_str().unwrap(),
        "--batch",
        "1",
        "--input",
        "9000",
        "--output",
        "8",
        "--out",
        dir.to_str().unwrap(),
    ]);
    assert_eq!(output.status.code(), Some(4), "{}", text(&output.stderr));
    let reason = &rows(&dir)[0]["reason"];
    assert!(reason.contains("9008") && reason.contains("8192"), "{reason}");
}

#[test]
fn a_real_model_takes_arrivals_between_its_steps() {
    let Some(model) = llama() else { return };
    let keep = tempfile::tempdir().unwrap();
    let dir = keep.path().join("run");
    let mut command = Command::new(env!("CARGO_BIN_EXE_tacho"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("TACHO_")) {
        command.env_remove(name);
    }
    command.args([
        "run",
        "--engine",
        "llama.cpp",
        "--rate",
        "12",
        "--requests",
        "24",
        "--input",
        "8..24",
        "--output",
        "2..6",
    ]);
    command.args([
        "--slo",
        "ttft=30s",
        "--max-in-flight",
        "8",
        "--max-warmup",
        "0",
        "--min-trials",
        "1",
        "--max-trials",
        "1",
    ]);
    command.args(["--telemetry", "off", "--quiet", "--model"]).arg(&model).arg("--out").arg(&dir);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let rows = rows(&dir);
    assert_eq!(rows.len(), 1);
    let row = &rows[0];
    assert_eq!((row["load_mode"].as_str(), row["arrivals"].as_str(), row["rate"].as_str()), ("open", "poisson", "12"));
    assert_eq!((row["requests_done"].as_str(), row["saturated"].as_str()), ("24", "false"));
    let names = [
        "request_throughput",
        "ttft_p99_ms",
        "itl_p50_ms",
        "tpot_p50_ms",
        "e2e_p99_ms",
        "goodput",
        "offered_rate",
        "lateness_p99_ms",
    ];
    for name in names {
        let value: f64 = row[name].parse().unwrap_or_else(|_| panic!("{name} is '{}'", row[name]));
        assert!(value.is_finite() && value >= 0.0, "{name}: {value}");
    }
    // A machine that is busy with other tests may release late; then the trial must say so.
    let (late, kept): (f64, bool) = (row["lateness_p99_ms"].parse().unwrap(), row["fidelity_ok"] == "true");
    assert!(kept || !row["fidelity_reasons"].is_empty());
    assert!(late <= 1.0 || !kept, "{late} ms late and still called kept");
}
