//! The command line from outside: help, precedence, dry runs, exit codes, and a run of the simulated engine.
use std::path::Path;

use assert_cmd::Command;
use tacho::plan::registry::Registry;

/// `tacho` without the variables of whoever runs the tests.
fn tacho(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tacho"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("TACHO_")) {
        command.env_remove(name);
    }
    command.env_remove("COLUMNS").args(args);
    command
}

fn stdout(command: &mut Command) -> String {
    String::from_utf8(command.assert().success().get_output().stdout.clone()).unwrap()
}

/// What it says when it fails with that exit code.
fn failure(command: &mut Command, code: i32) -> String {
    String::from_utf8(command.assert().failure().code(code).get_output().stderr.clone()).unwrap()
}

/// The provenance that a dry run tells of a value.
fn told(command: &mut Command, name: &str) -> String {
    let text = stdout(command.arg("--dry-run"));
    let line = text.lines().find(|line| line.trim_start().starts_with(&format!("{name} "))).map(str::to_owned);
    let line = line.unwrap_or_else(|| panic!("no '{name}' in:\n{text}"));
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn help_is_as_it_was_approved() {
    insta::assert_snapshot!("help", stdout(&mut tacho(&["--help"])));
    insta::assert_snapshot!("help_run", stdout(&mut tacho(&["run", "--help"])));
}

#[test]
fn every_flag_of_run_is_an_environment_variable_too() {
    let help = stdout(&mut tacho(&["run", "--help"]));
    let flags: Vec<&str> = help
        .lines()
        .take_while(|line| !line.starts_with("Datasets:"))
        .filter_map(|line| line.strip_prefix("      --").or_else(|| line.strip_prefix("  -q, --")))
        .filter_map(|rest| rest.split([' ', '[']).next())
        .collect();
    assert!(flags.len() > 25, "{flags:?}");
    // A value that no flag can take: each variable must be noticed.
    for flag in flags {
        // TACHO_PYTHON is what cells are built against.
        let variable = match flag {
            "python" => "TACHO_PYTHON_ENV".to_owned(),
            _ => format!("TACHO_{}", flag.replace('-', "_").to_uppercase()),
        };
        // Two are given as flags, which win; three take any text, and one is looked at when a dataset is made.
        let unnoticed = ["engine", "dry-run", "out", "model", "python", "hf-patience"].contains(&flag);
        let mut command = tacho(&["run", "--engine", "sim", "--dry-run"]);
        let output = command.env(&variable, "=?").output().unwrap();
        assert_eq!(output.status.success(), unnoticed, "{variable}: {output:?}");
    }
}

#[test]
fn a_dry_run_shows_points_work_and_origins() {
    let args = ["run", "--plan", "quick", "--model", "m.gguf", "--dry-run"];
    insta::assert_snapshot!("dry_run", stdout(&mut tacho(&args)));
    let json: serde_json::Value = serde_json::from_str(&stdout(tacho(&args).arg("--json"))).unwrap();
    assert_eq!(json["points"].as_array().unwrap().len(), 4);
    assert_eq!(json["points"][3]["work"]["input_tokens"], 512.0);
    assert_eq!(json["least_work"]["requests"], 135);
    let origin = json["provenance"].as_array().unwrap().iter().find(|value| value["name"] == "axes.batch").unwrap();
    assert_eq!(origin["from"], "plan quick:10");
}

#[test]
fn a_flag_wins_over_the_environment_that_over_the_plan_that_over_the_default() {
    let dir = tempfile::tempdir().unwrap();
    let plan = dir.path().join("p.toml");
    std::fs::write(&plan, "engine = 'sim'\nseed = 7\n[axes]\nmode = 'zip'\nbatch = [1, 2]\ninput = [8, 16]\n").unwrap();
    let plan = plan.to_str().unwrap();
    let run = || tacho(&["run", "--plan", plan]);
    let at = |line: u32| format!("{plan}:{line}");

    assert_eq!(told(&mut run(), "output"), "output = 64 default");
    assert_eq!(told(&mut run(), "seed"), format!("seed = 7 {}", at(2)));
    assert_eq!(told(run().env("TACHO_SEED", "8"), "seed"), "seed = 8 environment TACHO_SEED");
    assert_eq!(told(run().env("TACHO_SEED", "8").args(["--seed", "9"]), "seed"), "seed = 9 flag --seed");

    // A list replaces a list.
    assert_eq!(told(&mut run(), "axes.batch"), format!("axes.batch = 1, 2 {}", at(5)));
    let lists = "axes.batch = 4, 8 environment TACHO_BATCH";
    assert_eq!(told(run().env("TACHO_BATCH", "4,8"), "axes.batch"), lists);
    let lists = "axes.batch = 3, 5 flag --batch";
    assert_eq!(told(run().env("TACHO_BATCH", "4,8").args(["--batch", "3,5"]), "axes.batch"), lists);

    // A switch can be turned off as well as on.
    assert_eq!(told(&mut run(), "axes.mode"), format!("axes.mode = zip {}", at(4)));
    assert_eq!(told(run().env("TACHO_ZIP", "false"), "axes.mode"), "axes.mode = cross environment TACHO_ZIP");
    let both = "axes.mode = zip flag --zip";
    assert_eq!(told(run().env("TACHO_ZIP", "0").arg("--zip"), "axes.mode"), both);
    assert_eq!(told(run().env("TACHO_ZIP", "1").arg("--zip=false"), "axes.mode"), "axes.mode = cross flag --zip");

    // Another load mode replaces the weaker one, whichever way it was given.
    let closed = stdout(run().args(["--concurrency", "2,3", "--dry-run"]));
    assert!(closed.contains("concurrency 2") && !closed.contains("axes.batch"), "{closed}");
    let offline = told(run().env("TACHO_CONCURRENCY", "2").args(["--batch", "4,8"]), "axes.batch");
    assert_eq!(offline, "axes.batch = 4, 8 flag --batch");
}

#[test]
fn options_of_an_engine_that_was_not_chosen_are_told_not_used() {
    let dir = tempfile::tempdir().unwrap();
    let plan = dir.path().join("p.toml");
    std::fs::write(&plan, "[[engine]]\nid = 'llama.cpp'\noptions = { threads = 2 }\n").unwrap();
    let text = stdout(&mut tacho(&["run", "--plan", plan.to_str().unwrap(), "--engine", "sim", "--dry-run"]));
    assert!(text.contains("note: engine.llama.cpp.threads"), "{text}");
    let args = ["run", "--engine", "sim", "--engine-option", "llama.cpp.threads=2", "--dry-run"];
    let error = failure(&mut tacho(&args), 2);
    assert!(error.contains("--engine-option: engine.llama.cpp.threads is set, but"), "{error}");
}

#[test]
fn engine_options_make_axes() {
    let args = ["run", "--engine", "sim", "--engine-option", "sim.jitter=0,0.1", "--engine-option", "sim.time=virtual"];
    assert_eq!(
        told(&mut tacho(&args), "axes.engine.sim.jitter"),
        "axes.engine.sim.jitter = 0, 0.1 flag --engine-option"
    );
    assert_eq!(told(&mut tacho(&args), "engine.sim.time"), "engine.sim.time = virtual flag --engine-option");
    let mut environment = tacho(&["run", "--engine", "sim"]);
    environment.env("TACHO_ENGINE_OPTION", "sim.jitter=0,0.1;sim.time=virtual");
    let expected = "engine.sim.time = virtual environment TACHO_ENGINE_OPTION";
    assert_eq!(told(&mut environment, "engine.sim.time"), expected);
}

#[test]
fn wrong_flags_are_named_and_exit_with_2() {
    let sim = |args: &[&str]| failure(tacho(&["run", "--engine", "sim"]).args(args), 2);
    let errors = [
        failure(&mut tacho(&["run"]), 2),
        failure(&mut tacho(&["run", "--plan", "quik"]), 2),
        failure(&mut tacho(&["run", "--engine", "smi"]), 2),
        failure(&mut tacho(&["run", "--plan", "quick"]), 2),
        failure(&mut tacho(&["run", "--plan", "quick", "--model", "/no/such.gguf"]), 2),
        sim(&["--input", "0"]),
        sim(&["--input", "-5"]),
        sim(&["--batch", "1..32"]),
        sim(&["--batch", "1,2", "--concurrency", "4"]),
        sim(&["--length", "8", "--input", "9"]),
        sim(&["--requests", "4", "--batch", "8"]),
        sim(&["--zip", "--batch", "1,2", "--input", "1,2,3"]),
        sim(&["--input", "1..1000+1", "--output", "1..1000+1"]),
        sim(&["--engine-option", "sim.jiter=1"]),
        sim(&["--engine-option", "jitter=1"]),
        sim(&["--engine-option", "sim.jitter"]),
        sim(&["--target", "200%"]),
        sim(&["--max-time", "soon"]),
        failure(tacho(&["run", "--engine", "sim"]).env("TACHO_OUTPUT", "0"), 2),
        failure(&mut tacho(&["plans", "nope"]), 2),
    ];
    // A new engine is a new folder, not a new snapshot.
    let engines: Vec<String> = Registry::embedded().unwrap().engines().iter().map(|entry| entry.id.clone()).collect();
    insta::assert_snapshot!("wrong_flags", errors.join("\n").replace(&engines.join(", "), "(all engines)"));
    assert!(sim(&["--bach", "3"]).contains("--batch"));
}

#[test]
fn lists_name_plans_and_engines() {
    let plans = stdout(&mut tacho(&["plans"]));
    for name in ["quick", "batch-size", "sequence-length", "request-count"] {
        assert!(plans.contains(name), "{plans}");
    }
    assert!(stdout(&mut tacho(&["plans", "quick"])).contains("[axes]"));
    // A folder without cells: what is absent says how to build it.
    let engines = stdout(&mut tacho(&["engines"]));
    assert!(engines.contains("sim") && engines.contains("tacho itself") && engines.contains("ready"), "{engines}");
    let json: serde_json::Value = serde_json::from_str(&stdout(&mut tacho(&["engines", "--json"]))).unwrap();
    let sim = json.as_array().unwrap().iter().find(|engine| engine["id"] == "sim").unwrap();
    assert_eq!(sim["options"]["step_base_us"]["default"], 200.0);
}

#[test]
fn completions_are_made_for_every_shell() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        assert!(stdout(&mut tacho(&["completions", shell])).contains("dry-run"), "{shell}");
    }
}

/// A short run of the simulated engine in virtual time.
fn sim_run(out: &Path, more: &[&str]) -> Command {
    let mut command = tacho(&["run", "--engine", "sim", "--engine-option", "sim.time=virtual", "--batch", "1,2"]);
    command.args(["--input", "16", "--output", "8", "--max-trials", "6", "--out", out.to_str().unwrap()]).args(more);
    command
}

#[test]
fn a_run_leaves_a_table_a_directory_and_plain_progress() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("run");
    let output = sim_run(&out, &[]).assert().success().get_output().clone();
    let (table, progress) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(table.contains("run directory"), "{table}");
    assert!(progress.contains("[1/2] sim batch=1") && progress.contains("[2/2] sim batch=2"), "{progress}");
    assert!(!progress.contains('\u{1b}'), "escape codes without a terminal: {progress}");
    assert!(out.join("run.json").is_file() && out.join("journal.jsonl").is_file() && out.join("report.md").is_file());
    let info: serde_json::Value = serde_json::from_slice(&std::fs::read(out.join("run.json")).unwrap()).unwrap();
    let provenance = info["plan"]["provenance"].as_array().expect("run.json says where values came from");
    assert!(provenance.iter().any(|value| value["name"] == "axes.batch" && value["from"] == "flag --batch"));

    // The directory is taken now; and it can be resumed and reported on, which measures nothing anew.
    let error = failure(&mut sim_run(&out, &[]), 3);
    assert!(error.contains("--resume"), "{error}");
    let journal = std::fs::read(out.join("journal.jsonl")).unwrap();
    std::fs::remove_file(out.join("report.md")).unwrap();
    let before = std::fs::read(out.join("run.json")).unwrap();
    stdout(&mut tacho(&["report", out.to_str().unwrap()]));
    assert!(out.join("report.md").is_file());
    assert_eq!(std::fs::read(out.join("run.json")).unwrap(), before, "a report is no resumption");
    stdout(&mut tacho(&["run", "--resume", out.to_str().unwrap()]));
    assert_eq!(std::fs::read(out.join("journal.jsonl")).unwrap(), journal);
    let error = failure(&mut tacho(&["run", "--resume", out.to_str().unwrap(), "--batch", "4"]), 2);
    assert!(error.contains("--batch"), "{error}");
}

#[test]
fn quiet_runs_print_json_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let output = sim_run(&dir.path().join("run"), &["--json", "--quiet"]).assert().success().get_output().clone();
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["failed_points"], 0);
}

#[test]
fn failures_have_their_exit_codes() {
    let dir = tempfile::tempdir().unwrap();
    let run = |name: &str, more: &[&str]| {
        let mut command = sim_run(&dir.path().join(name), more);
        command.arg("--quiet");
        command
    };
    // One of two points fails: the engine cannot hold it.
    let mut some = tacho(&["run", "--engine", "sim", "--engine-option", "sim.time=virtual;sim.max_model_len=30", "-q"]);
    let out = dir.path().join("some");
    some.args([
        "--input",
        "8,64",
        "--output",
        "8",
        "--batch",
        "1",
        "--max-trials",
        "6",
        "--out",
        out.to_str().unwrap(),
    ]);
    some.assert().code(1);
    // The engine refuses to load.
    run("none", &["--engine-option", "sim.vocab_size=3"]).assert().code(4);
    // The results cannot be stored: the parent of the directory is a file.
    std::fs::write(dir.path().join("file"), "").unwrap();
    run("file/run", &[]).assert().code(3);
    tacho(&["run", "--resume", dir.path().to_str().unwrap()]).assert().code(3);
    tacho(&["report", dir.path().to_str().unwrap()]).assert().code(3);
}

#[test]
fn every_plan_in_the_tree_can_be_read() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("benches");
    let mut read = 0;
    for folder in ["cpu", "gpu", "plans"] {
        for entry in std::fs::read_dir(root.join(folder)).unwrap() {
            let plan = entry.unwrap().path();
            if plan.extension().is_none_or(|ending| ending != "toml") {
                continue;
            }
            // Which kind of model its engine takes: neither is looked at.
            let said: Vec<String> = ["m.gguf", "folder"]
                .iter()
                .map(|model| tacho(&["run", "--plan", plan.to_str().unwrap(), "--model", model, "--dry-run"]).output())
                .filter_map(|output| output.ok().filter(|output| !output.status.success()))
                .map(|output| String::from_utf8_lossy(&output.stderr).into_owned())
                .collect();
            assert!(said.len() < 2, "{}: {said:#?}", plan.display());
            read += 1;
        }
    }
    assert!(read > 10, "{read}");
}
