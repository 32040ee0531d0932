//! A cell program from the parent's side: what it answers, how it dies, and what is known afterwards.
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    time::{Duration, Instant},
};

use tacho::{
    cell::{
        parent::{Cell, CellError, CellProgram, SIM_CELL_ARG, TableSink},
        protocol::{Load, Method, RequestRow, StepRow, TokenRow, TrialKind, TrialSpec},
    },
    engine::{ErrorKind, IdRange, LoadConfig, Options, conformance},
    workload::WorkloadSpec,
};

fn sim_cell() -> CellProgram {
    CellProgram {
        program: env!("CARGO_BIN_EXE_tacho").into(),
        args: vec![SIM_CELL_ARG.into()],
        env: vec![],
        build_with: "cargo build --release".into(),
    }
}

fn config(options: &[(&str, serde_json::Value)]) -> LoadConfig {
    let options: Options = options.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    LoadConfig { engine: "sim".into(), model: None, max_seqs: 4, max_model_len: 512, seed: 1, options }
}

fn spec(requests: u32, output: u32) -> TrialSpec {
    TrialSpec {
        trial: 0,
        kind: TrialKind::Timed,
        method: Method::Steps,
        load: Load::Closed { concurrency: 4 },
        device_clock: Default::default(),
        workload: WorkloadSpec {
            requests,
            input: "8".parse().unwrap(),
            output: output.to_string().parse().unwrap(),
            sampling: Default::default(),
            seed: 3,
            stream: 0,
            ids: vec![IdRange { start: 4, end: 32_000 }],
            saved: None,
        },
    }
}

#[derive(Default)]
struct Count {
    tokens: u64,
    requests: u64,
    steps: u64,
}

impl TableSink for Count {
    fn tokens(&mut self, rows: &[TokenRow]) -> Result<(), String> {
        self.tokens += rows.iter().map(|row| u64::from(row.tokens)).sum::<u64>();
        Ok(())
    }
    fn requests(&mut self, rows: &[RequestRow]) -> Result<(), String> {
        self.requests += rows.len() as u64;
        Ok(())
    }
    fn steps(&mut self, rows: &[StepRow]) -> Result<(), String> {
        self.steps += rows.len() as u64;
        Ok(())
    }
    fn progress(&mut self, _: u64) {}
}

const SECOND: Duration = Duration::from_secs(1);

fn started(dir: &Path, options: &[(&str, serde_json::Value)]) -> Cell {
    let mut cell = Cell::start(&sim_cell(), &dir.join("cell.log")).unwrap();
    cell.load(&config(options), 10 * SECOND).unwrap();
    cell
}

const FREE: [(&str, f64); 3] = [("step_base_us", 0.0), ("prefill_token_us", 0.0), ("decode_seq_us", 0.0)];

fn free_and(more: &[(&'static str, serde_json::Value)]) -> Vec<(&'static str, serde_json::Value)> {
    FREE.iter().map(|(name, cost)| (*name, (*cost).into())).chain(more.iter().cloned()).collect()
}

#[test]
fn a_trial_goes_through_the_pipe_whole() {
    let dir = tempfile::tempdir().unwrap();
    let mut cell = started(dir.path(), &free_and(&[]));
    for (requests, output) in [(10, 3), (3000, 40)] {
        let mut count = Count::default();
        let summary = cell.trial(&spec(requests, output), 60 * SECOND, &mut count).unwrap();
        let tokens = u64::from(requests * output);
        assert_eq!((count.tokens, count.requests), (tokens, u64::from(requests)));
        assert_eq!((summary.output_tokens, summary.requests), (tokens, requests));
        assert_eq!(count.steps as f64, summary.stats["steps"]);
    }
    cell.shutdown().unwrap();
}

#[test]
fn conformance_through_the_pipe() {
    let dir = tempfile::tempdir().unwrap();
    let mut cell = started(dir.path(), &[]);
    let checks = cell.conform(60 * SECOND).unwrap();
    assert_eq!(conformance::failures(&checks), Vec::<String>::new());
    assert!(checks.len() >= 14);
    cell.shutdown().unwrap();
}

fn death(fault: &str, within: Duration) -> tacho::cell::parent::Death {
    let dir = tempfile::tempdir().unwrap();
    let mut cell = started(dir.path(), &free_and(&[("fault", fault.into()), ("fault_at_step", 5.into())]));
    let pid = cell.pid();
    let error = cell.trial(&spec(10, 10), within, &mut Count::default()).unwrap_err();
    let CellError::Died(death) = error else { panic!("{fault}: {error}") };
    assert!(!Path::new(&format!("/proc/{pid}/exe")).exists(), "{fault}: the cell's process is still there");
    *death
}

#[test]
fn every_death_is_told_apart() {
    let abort = death("abort", 10 * SECOND);
    assert_eq!((abort.signal, abort.exit_code), (Some(6), None));
    assert!(abort.reason.contains("SIGABRT"), "{abort:?}");

    let exit = death("exit", 10 * SECOND);
    assert_eq!((exit.signal, exit.exit_code), (None, Some(7)));
    assert!(exit.reason.contains("status 7"), "{exit:?}");

    let panic = death("panic", 10 * SECOND);
    assert!(panic.last_lines.iter().any(|line| line.contains("injected panic")), "{panic:?}");

    let began = Instant::now();
    let hang = death("hang", SECOND);
    assert!(hang.reason.contains("deadline of 1 s"), "{hang:?}");
    assert!(began.elapsed() < 10 * SECOND);
}

#[test]
fn an_engine_error_leaves_the_cell_usable() {
    let dir = tempfile::tempdir().unwrap();
    for (fault, kind) in [("error", ErrorKind::Engine), ("out_of_memory", ErrorKind::OutOfMemory)] {
        let mut cell = started(dir.path(), &free_and(&[("fault", fault.into()), ("fault_at_step", 5.into())]));
        let error = cell.trial(&spec(10, 10), 10 * SECOND, &mut Count::default()).unwrap_err();
        assert!(matches!(&error, CellError::Engine(error) if error.kind == kind), "{error}");
        cell.trial(&spec(10, 10), 10 * SECOND, &mut Count::default()).unwrap();
        cell.shutdown().unwrap();
    }
}

#[test]
fn noise_reaches_the_log_and_not_the_records() {
    let dir = tempfile::tempdir().unwrap();
    let mut cell = started(dir.path(), &free_and(&[("fault", "noise".into()), ("fault_at_step", 5.into())]));
    let mut count = Count::default();
    cell.trial(&spec(10, 10), 30 * SECOND, &mut count).unwrap();
    assert_eq!(count.tokens, 100);
    cell.shutdown().unwrap();
    // 50 × 60,000 bytes to each of standard output and standard error.
    assert!(fs::metadata(dir.path().join("cell.log")).unwrap().len() >= 6_000_000);
}

#[test]
fn bad_options_fail_the_load_and_say_which() {
    let dir = tempfile::tempdir().unwrap();
    let mut cell = Cell::start(&sim_cell(), &dir.path().join("cell.log")).unwrap();
    let error = cell.load(&config(&[("no_such", 1.into())]), SECOND).unwrap_err();
    assert!(matches!(&error, CellError::Engine(error) if error.kind == ErrorKind::Unsupported), "{error}");
    assert!(error.to_string().contains("no_such"));
    let error = cell.trial(&spec(1, 1), SECOND, &mut Count::default()).unwrap_err();
    assert!(error.to_string().contains("before an engine was loaded"), "{error}");
    cell.shutdown().unwrap();
}

fn script(dir: &Path, text: &str) -> CellProgram {
    let program = dir.join("cell.sh");
    fs::write(&program, format!("#!/bin/sh\n{text}\n")).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    CellProgram { program, args: vec![], env: vec![], build_with: "make build".into() }
}

#[test]
fn absent_stale_and_foreign_programs_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("cell.log");

    let absent = CellProgram { program: dir.path().join("none"), ..sim_cell() };
    let error = Cell::start(&absent, &log).unwrap_err();
    assert!(matches!(error, CellError::Start { .. }) && error.to_string().contains("cargo build"), "{error}");

    let mut hello = Vec::new();
    let reply = tacho::cell::protocol::Reply::Hello { protocol: 1, build: "0123".into(), pid: 1 };
    tacho::cell::wire::write_message(&mut hello, &reply).unwrap();
    fs::write(dir.path().join("hello"), hello).unwrap();
    let stale = script(dir.path(), &format!("cat {}; cat >/dev/null", dir.path().join("hello").display()));
    let error = Cell::start(&stale, &log).unwrap_err();
    assert!(matches!(error, CellError::Stale { .. }), "{error}");
    assert!(error.to_string().contains("0123") && error.to_string().contains("make build"), "{error}");

    let foreign = script(dir.path(), "echo this is no cell");
    let error = Cell::start(&foreign, &log).unwrap_err();
    assert!(error.to_string().contains("not readable"), "{error}");

    let dies = script(dir.path(), "echo cannot find libfoo >&2; exit 127");
    let CellError::Died(death) = Cell::start(&dies, &log).unwrap_err() else { panic!() };
    assert_eq!(death.exit_code, Some(127));
    assert_eq!(death.last_lines, ["cannot find libfoo"]);
}

#[test]
fn a_cell_ends_when_its_parent_goes_away() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_tacho"))
        .arg(SIM_CELL_ARG)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(fs::File::create(dir.path().join("log")).unwrap())
        .spawn()
        .unwrap();
    drop(child.stdin.take());
    let deadline = Instant::now() + 5 * SECOND;
    while child.try_wait().unwrap().is_none() {
        assert!(Instant::now() < deadline, "the cell lives on without a parent");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(child.wait().unwrap().code(), Some(3));
}

#[test]
fn a_death_is_noticed_though_a_grandchild_holds_the_pipe() {
    let dir = tempfile::tempdir().unwrap();
    let mut hello = Vec::new();
    let build = tacho::BUILD_HASH.to_owned();
    let reply = tacho::cell::protocol::Reply::Hello { protocol: tacho::cell::protocol::PROTOCOL, build, pid: 1 };
    tacho::cell::wire::write_message(&mut hello, &reply).unwrap();
    fs::write(dir.path().join("hello"), hello).unwrap();
    let text = format!("sleep 1000 & cat {}; sleep 0.1; exit 9", dir.path().join("hello").display());
    let mut cell = Cell::start(&script(dir.path(), &text), &dir.path().join("log")).unwrap();
    let began = Instant::now();
    let CellError::Died(death) = cell.load(&config(&[]), 60 * SECOND).unwrap_err() else { panic!() };
    assert_eq!(death.exit_code, Some(9), "{death:?}");
    assert!(began.elapsed() < 5 * SECOND, "noticed only after {:?}", began.elapsed());
}

#[test]
fn dropping_a_cell_kills_its_whole_group() {
    let dir = tempfile::tempdir().unwrap();
    let pid_file = dir.path().join("pid");
    let mut hello = Vec::new();
    let build = tacho::BUILD_HASH.to_owned();
    let reply = tacho::cell::protocol::Reply::Hello { protocol: tacho::cell::protocol::PROTOCOL, build, pid: 1 };
    tacho::cell::wire::write_message(&mut hello, &reply).unwrap();
    fs::write(dir.path().join("hello"), hello).unwrap();
    let text =
        format!("sleep 1000 & echo $! > {}; cat {}; wait", pid_file.display(), dir.path().join("hello").display());
    let cell = Cell::start(&script(dir.path(), &text), &dir.path().join("log")).unwrap();
    let grandchild: u32 = fs::read_to_string(&pid_file).unwrap().trim().parse().unwrap();
    let alive = || {
        // A killed process may stay a zombie until init collects it.
        fs::read_to_string(format!("/proc/{grandchild}/stat")).is_ok_and(|stat| !stat.contains(") Z"))
    };
    assert!(alive());
    drop(cell);
    let deadline = Instant::now() + 5 * SECOND;
    while alive() {
        assert!(Instant::now() < deadline, "the grandchild lives on");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn outputs_come_back_in_the_order_of_their_prompts() {
    let dir = tempfile::tempdir().unwrap();
    let mut cell = started(dir.path(), &free_and(&[]));
    let prompts = vec![vec![10, 11, 12], vec![20; 7], vec![10, 11, 12]];
    let ids = cell.generate(prompts.clone(), 5, 10 * SECOND).unwrap();
    assert_eq!(ids.iter().map(Vec::len).collect::<Vec<usize>>(), [5, 5, 5]);
    let alone: Vec<Vec<u32>> =
        prompts.into_iter().map(|prompt| cell.generate(vec![prompt], 5, 10 * SECOND).unwrap().remove(0)).collect();
    assert_eq!(ids, alone, "the simulated engine's ids depend on the prompt alone");
    assert!(ids[0] == ids[2] && ids[0] != ids[1]);
    cell.shutdown().unwrap();
}

#[test]
fn a_log_that_cannot_be_created_is_named_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("none/cell.log");
    let error = Cell::start(&sim_cell(), &log).unwrap_err();
    assert!(matches!(error, CellError::Log { .. }), "{error}");
    let said = error.to_string();
    assert!(said.contains(log.to_str().unwrap()) && said.contains("No such file or directory"), "{said}");
    // It is not the program's fault, and building it anew would not help.
    assert!(!said.contains("build it with"), "{said}");
}
