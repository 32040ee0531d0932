//! Faults of the engine: recorded as what they are, and the next point runs.
use tacho::cell::contain::MARK_VARIABLE;

use super::*;

const BASE: [&str; 9] =
    ["--engine", "sim", "--engine-option", "sim.time=virtual", "--input", "4", "--output", "4", "--quiet"];

#[test]
fn every_fault_is_recorded_as_what_it_is_and_the_next_configuration_runs() {
    let scratch = Scratch::new();
    let plan = scratch.keep.path().join("plan.toml");
    let faults =
        ["abort", "segv", "kill", "exit", "panic", "error", "out_of_memory", "endless", "short_output", "hang"];
    fs::write(
        &plan,
        format!(
            "engine = [{{ id = 'sim', options = {{ time = 'virtual', fault_at_step = 30 }} }}]\n\
             [workload]\nbatch = 2\ninput = 4\noutput = 4\n[deadlines]\ntrial = '1s'\nwarmup = '1s'\n\
             [axes]\n'engine.sim.fault' = {faults:?}\n"
        ),
    )
    .unwrap();
    let output = run(&["--plan", plan.to_str().unwrap(), "--out", scratch.path(), "--quiet"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    let failures = scratch.failures();
    assert_eq!(failures.len(), faults.len(), "{failures:#?}");
    for (fault, failure) in faults.iter().zip(&failures) {
        let (signal, exit, reason, kind) = match *fault {
            "abort" => (Some(6), None, "SIGABRT", None),
            "segv" => (Some(11), None, "SIGSEGV", None),
            "kill" => (Some(9), None, "SIGKILL", None),
            "exit" => (None, Some(7), "status 7", None),
            "panic" => (None, Some(101), "status 101", None),
            "error" => (None, None, "injected error", Some("engine")),
            "out_of_memory" => (None, None, "injected out of memory", Some("out_of_memory")),
            // The engine's own call never comes back; in a step loop the first token too many is told at once.
            "endless" => (Some(9), None, "deadline of 1 s", None),
            "short_output" => (None, None, "output tokens were asked for", Some("mismatch")),
            _ => (Some(9), None, "deadline of 1 s", None),
        };
        let found = (failure["signal"].as_i64(), failure["exit_code"].as_i64(), failure["kind"].as_str());
        assert_eq!(found, (signal, exit, kind), "{fault}: {failure:#}");
        assert!(failure["reason"].as_str().unwrap().contains(reason), "{fault}: {failure:#}");
    }
    let panic = &failures[4]["last_lines"];
    assert!(panic.to_string().contains("injected panic"), "{panic}");
}

#[test]
fn what_a_dead_cell_leaves_behind_is_gone_before_the_next_one_starts() {
    let scratch = Scratch::new();
    let options = ["--engine-option", "sim.fault=orphans", "--engine-option", "sim.fault_at_step=20,1000000"];
    let args = with(&with(&BASE, &options), &["--batch", "2", "--out", scratch.path()]);
    let output = run(&args);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    assert_eq!(scratch.failures().len(), 1);
    assert_eq!(scratch.failures()[0]["signal"], 6);
    // In its group, outside of it, and in a session without environment.
    assert_eq!(processes("sleep 1003"), [0; 0]);
}

#[test]
fn a_configuration_that_keeps_dying_is_quarantined_and_the_others_run() {
    let scratch = Scratch::new();
    let plan = scratch.keep.path().join("plan.toml");
    fs::write(
        &plan,
        "engine = [{ id = 'sim', options = { time = 'virtual', fault = 'abort' } }]\n\
         [workload]\ninput = 4\noutput = 4\n[restarts]\nbudget = 2\nbackoff = '300ms'\n\
         [axes]\n'engine.sim.fault_at_step' = [3, 1000000]\nbatch = [1, 2, 3, 4, 5]\n",
    )
    .unwrap();
    let began = Instant::now();
    let output = run(&["--plan", plan.to_str().unwrap(), "--out", scratch.path(), "--quiet"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    // The second restart in a row waits; the budget's end is told of at once.
    assert!(began.elapsed() >= Duration::from_millis(300));
    let failures = scratch.failures();
    let reasons: Vec<&str> = failures.iter().map(|failure| failure["reason"].as_str().unwrap()).collect();
    assert_eq!(reasons.len(), 5, "{reasons:#?}");
    assert!(reasons[..3].iter().all(|reason| reason.contains("SIGABRT")), "{reasons:#?}");
    assert!(
        reasons[3..].iter().all(|reason| reason.contains("quarantined") && reason.contains("3 times")),
        "{reasons:#?}"
    );
    let restarts: Vec<bool> = scratch.journal().iter().map(|entry| entry["record"]["restart_ns"].is_u64()).collect();
    assert_eq!(restarts[..5], [false, true, true, false, false]);
    let ok = scratch.figures().into_values().filter(|row| row["status"] == "ok").map(|row| row["point"].clone());
    assert_eq!(ok.collect::<std::collections::BTreeSet<_>>().len(), 5);
}

#[test]
fn secrets_reach_neither_cells_nor_files() {
    let scratch = Scratch::new();
    let secret = "hf_a_secret_of_this_test";
    let args = with(&BASE, &["--batch", "1,2", "--out", scratch.path()]);
    let output = tacho()
        .arg("run")
        .args(&args)
        .args(["--engine-option", "sim.fault=noise", "--engine-option", "sim.fault_at_step=1000000"])
        .env("HF_TOKEN", secret)
        .env("TACHO_PROBE", format!("prefix-{secret}"))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let info = fs::read_to_string(scratch.dir.join("run.json")).unwrap();
    assert!(info.contains("HF_TOKEN") && info.contains("prefix-(not kept)"), "{info}");
    let mut folders = vec![scratch.dir.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().flatten() {
            match entry.path() {
                path if path.is_dir() => folders.push(path),
                path => assert!(!text(&fs::read(&path).unwrap()).contains(secret), "{}", path.display()),
            }
        }
    }
    // By name in an option: refused before anything runs.
    let refused = run(&["--engine", "vllm", "--engine-option", "vllm.hf_token=abc", "--model", "/x"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(text(&refused.stderr).contains("secret"), "{}", text(&refused.stderr));
}

#[test]
fn a_cell_inherits_what_engines_need_and_no_secret_by_whatever_name() {
    let scratch = Scratch::new();
    let args = with(&BASE, &["--batch", "1", "--engine-option", "sim.fault=environment", "--out", scratch.path()]);
    let (secret, unknown) = ("hf_a_secret_of_this_test", "a_password_by_an_innocent_name");
    let output = tacho()
        .arg("run")
        .args(&args)
        .env("HF_TOKEN", secret)
        .env("OMP_NOTE", format!("it is {secret}"))
        .env("OPEN_OF_THIS_TEST", unknown)
        .env("OWN_OF_AN_ENGINE", "1")
        .env("TACHO_CELL_ENV", "OWN_OF_AN_ENGINE,HF_TOKEN")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let log = fs::read_to_string(scratch.dir.join("logs/sim.log")).unwrap();
    for told in ["sim: PATH=", "sim: OWN_OF_AN_ENGINE=1", &format!("sim: {MARK_VARIABLE}=")] {
        assert!(log.contains(told), "{told}: {log}");
    }
    let mut folders = vec![scratch.dir.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().flatten() {
            match entry.path() {
                path if path.is_dir() => folders.push(path),
                path => {
                    let content = text(&fs::read(&path).unwrap());
                    assert!(!content.contains(secret) && !content.contains(unknown), "{}", path.display());
                }
            }
        }
    }
}

#[test]
fn a_secret_in_a_variable_that_is_an_option_or_in_a_table_is_refused() {
    let scratch = Scratch::new();
    let plan = scratch.keep.path().join("plan.toml");
    for options in [
        "AWS_SECRET_ACCESS_KEY = 'abc'",
        "HUGGING_FACE_HUB_TOKEN = 'abc'",
        "extra = { loader = { password = 'abc' } }",
        "extra = { note = 'hf_a_secret_of_this_test' }",
    ] {
        let engine =
            format!("model = '/x'\nengine = [{{ id = 'vllm', options = {{ {options} }} }}]\n[workload]\nbatch = 1\n");
        fs::write(&plan, engine).unwrap();
        let output = tacho()
            .args(["run", "--plan", plan.to_str().unwrap(), "--out", scratch.path()])
            .env("HF_TOKEN", "hf_a_secret_of_this_test")
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2), "{options}: {}", text(&output.stderr));
        assert!(text(&output.stderr).contains("secret into the run"), "{options}: {}", text(&output.stderr));
    }
}

#[test]
fn a_cell_that_prints_without_end_is_killed_for_it_and_the_next_configuration_runs() {
    let scratch = Scratch::new();
    let options = ["--engine-option", "sim.fault=endless_noise", "--engine-option", "sim.fault_at_step=4,1000000"];
    let args = with(&with(&BASE, &options), &["--batch", "1", "--out", scratch.path()]);
    let output = tacho().arg("run").args(&args).env("TACHO_CELL_LOG_LIMIT", "1000000").output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    let failures = scratch.failures();
    assert_eq!(failures.len(), 1, "{failures:#?}");
    let reason = failures[0]["reason"].as_str().unwrap();
    assert!(reason.contains("bytes to its log, where 1000000 are allowed"), "{reason}");
    assert_eq!(failures[0]["signal"], 9);
}

#[test]
fn a_cell_that_dies_or_hangs_while_its_engine_is_loaded_costs_its_configuration_alone() {
    let scratch = Scratch::new();
    let plan = scratch.keep.path().join("plan.toml");
    // The last one is a fault at a step that never comes.
    fs::write(
        &plan,
        "engine = [{ id = 'sim', options = { time = 'virtual', fault_at_step = 1000000 } }]\n\
         [workload]\nbatch = 2\ninput = 4\noutput = 4\n[deadlines]\nload = '2s'\n\
         [axes]\n'engine.sim.fault' = ['load_segv', 'load_hang', 'abort']\n",
    )
    .unwrap();
    let output = run(&["--plan", plan.to_str().unwrap(), "--out", scratch.path(), "--quiet"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    let failures = scratch.failures();
    assert_eq!((failures.len(), scratch.journal().len()), (2, 3), "{failures:#?}");
    let expected = [
        (11, "SIGSEGV", "sim: injected memory fault at load"),
        (9, "did not load within its deadline of 2 s", "sim: injected hang at load"),
    ];
    for ((signal, reason, line), failure) in expected.into_iter().zip(&failures) {
        assert_eq!(failure["signal"], signal, "{failure:#}");
        assert!(failure["reason"].as_str().unwrap().contains(reason), "{failure:#}");
        assert!(failure["last_lines"].to_string().contains(line), "{failure:#}");
    }
}
