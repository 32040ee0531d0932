//! Whoever stops a run: once, twice, by a signal, by taking its terminal, by killing it at any moment.
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use rustix::process::{Pid, Signal, kill_process};

use super::*;

/// In real time, slow enough to be hit in the middle.
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

fn send(child: &Child, signal: Signal) {
    kill_process(Pid::from_raw(child.id() as i32).unwrap(), signal).unwrap();
}

fn finishes(scratch: &Scratch, points: usize) {
    let output = run(&["--resume", scratch.path(), "--quiet"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(scratch.journal().len(), points);
}

#[test]
fn each_signal_ends_the_trial_writes_the_report_and_leaves_a_run_to_resume() {
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let scratch = Scratch::new();
        let mut child = spawn(&with(&SLOW, &["--out", scratch.path()]));
        wait_for_points(&scratch, 1);
        let cells = children_of(child.id());
        send(&child, signal);
        assert_eq!(child.wait().unwrap().code(), Some(130), "{signal:?}");
        cells.into_iter().for_each(wait_until_gone);
        assert!(fs::metadata(scratch.dir.join("report.md")).unwrap().len() > 0, "{signal:?}");
        assert!((1..5).contains(&scratch.journal().len()), "{signal:?}");
        finishes(&scratch, 5);
    }
}

#[test]
fn a_second_signal_stops_at_once_in_the_middle_of_a_call() {
    let scratch = Scratch::new();
    // A trial of a minute, and its engine never comes back before.
    let args =
        ["--engine", "sim", "--engine-option", "sim.step_base_us=6000000", "--batch", "1", "--output", "10", "--quiet"];
    let mut child = spawn(&with(&args, &["--out", scratch.path()]));
    let deadline = Instant::now() + Duration::from_secs(30);
    while !fs::read_to_string(scratch.dir.join("engines.jsonl")).is_ok_and(|engines| engines.contains("load_ns")) {
        assert!(Instant::now() < deadline, "the engine was not loaded");
        std::thread::sleep(Duration::from_millis(5));
    }
    let cells = children_of(child.id());
    assert_eq!(cells.len(), 1);
    // Until the first trial has begun: before it, one signal is enough.
    std::thread::sleep(Duration::from_secs(1));
    send(&child, Signal::INT);
    std::thread::sleep(Duration::from_millis(200));
    assert!(child.try_wait().unwrap().is_none(), "the first one lets the trial end");
    let began = Instant::now();
    send(&child, Signal::INT);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(began.elapsed() < Duration::from_secs(5));
    cells.into_iter().for_each(wait_until_gone);
    // Nothing was measured, and the directory is one to resume: with the same plan it would take a minute a trial.
    let mut again = spawn(&["--resume", scratch.path(), "--quiet"]);
    std::thread::sleep(Duration::from_millis(300));
    assert!(again.try_wait().unwrap().is_none(), "the resumed run goes on");
    send(&again, Signal::INT);
    std::thread::sleep(Duration::from_millis(50));
    send(&again, Signal::INT);
    again.wait().unwrap();
}

#[test]
fn a_hangup_that_is_ignored_at_the_start_stays_ignored_and_other_signals_are_heard() {
    let scratch = Scratch::new();
    // As `nohup` starts it.
    let tacho = tacho();
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' HUP; exec \"$0\" \"$@\""]).arg(tacho.get_program()).arg("run");
    for (name, _) in tacho.get_envs() {
        command.env_remove(name);
    }
    command.args(with(&SLOW, &["--out", scratch.path()])).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    wait_for_points(&scratch, 1);
    send(&child, Signal::HUP);
    std::thread::sleep(Duration::from_millis(50));
    send(&child, Signal::HUP);
    wait_for_points(&scratch, 3);
    send(&child, Signal::INT);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!((3..5).contains(&scratch.journal().len()));
    finishes(&scratch, 5);
}

#[test]
fn a_signal_while_engines_are_compared_ends_the_run_before_its_first_point_and_it_can_be_resumed() {
    for signal in [Signal::INT, Signal::HUP] {
        let scratch = Scratch::new();
        let cache = scratch.keep.path().join("cache");
        // The comparison takes some seconds of 10 ms steps.
        let options = ["--engine", "sim", "--engine-option", "sim.step_base_us=10000,10001", "--agree"];
        let sizes = ["--batch", "2", "--input", "4", "--output", "4", "--max-trials", "5", "--quiet"];
        let args = with(&with(&options, &sizes), &["--out", scratch.path()]);
        let mut command = tacho();
        command.arg("run").args(args).env("TACHO_CACHE_DIR", &cache).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let deadline = Instant::now() + Duration::from_secs(30);
        while !scratch.dir.join("logs/agreement-sim.log").exists() {
            assert!(Instant::now() < deadline, "no engine was loaded to be compared");
            std::thread::sleep(Duration::from_millis(5));
        }
        std::thread::sleep(Duration::from_millis(300));
        let cells = children_of(child.id());
        send(&child, signal);
        assert_eq!(child.wait().unwrap().code(), Some(130), "{signal:?}");
        cells.into_iter().for_each(wait_until_gone);
        let info = |name: &str| -> Value {
            serde_json::from_slice::<Value>(&fs::read(scratch.dir.join("run.json")).unwrap()).unwrap()[name].clone()
        };
        assert!(info("agreement").is_null() && scratch.journal().is_empty(), "{signal:?}");
        assert!(!cache.join("agreement").exists(), "half a comparison is kept");
        let mut again = tacho();
        again.args(["run", "--resume", scratch.path(), "--quiet"]).env("TACHO_CACHE_DIR", &cache);
        let output = again.output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        assert_eq!((scratch.journal().len(), info("agreement")["pairs"].as_array().map(Vec::len)), (2, Some(1)));
    }
}

#[test]
fn a_terminal_that_is_gone_does_not_end_the_run() {
    let scratch = Scratch::new();
    // Not quiet: it writes to a pipe that nobody reads.
    let args: Vec<&str> =
        SWEEP.iter().copied().filter(|arg| *arg != "--quiet").chain(["--out", scratch.path()]).collect();
    let mut child = tacho().arg("run").args(&args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop((child.stdout.take(), child.stderr.take()));
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(0), "{status}");
    assert_eq!(scratch.journal().len(), 6);
    assert!(scratch.dir.join("report.md").is_file());
}

/// A real terminal, of script(1), which goes away with it.
#[test]
fn a_terminal_that_is_closed_ends_the_trial_and_the_report_is_written_though_it_hangs_up_twice() {
    if Command::new("script").arg("--version").stdout(Stdio::null()).status().is_err() {
        eprintln!("skipped: there is no script(1) here to make a terminal");
        return;
    }
    let scratch = Scratch::new();
    // Trials of 240 ms. Not quiet: it draws on the terminal.
    let tacho = tacho();
    let line = format!(
        "exec {} run --engine sim --engine-option sim.step_base_us=30000 --batch 1,2 --input 16 --output 8 --min-trials 1 \
         --max-trials 1 --max-warmup 1 --latency-trials 0 --out {}",
        tacho.get_program().display(),
        scratch.path()
    );
    let mut command = Command::new("script");
    command.args(["--quiet", "--command", &line, "/dev/null"]).stdout(Stdio::null());
    for (name, _) in tacho.get_envs() {
        command.env_remove(name);
    }
    let mut terminal = command.stdin(Stdio::piped()).spawn().unwrap();
    wait_for_points(&scratch, 1);
    let run = children_of(terminal.id())[0];
    let cells = children_of(run);
    assert_eq!(cells.len(), 1);
    terminal.kill().unwrap();
    terminal.wait().unwrap();
    // And once more, as an interactive shell does for its jobs.
    std::thread::sleep(Duration::from_millis(30));
    kill_process(Pid::from_raw(run as i32).unwrap(), Signal::HUP).unwrap();
    wait_until_gone(run);
    cells.into_iter().for_each(wait_until_gone);
    assert!(fs::metadata(scratch.dir.join("report.md")).unwrap().len() > 0);
    assert_eq!(scratch.journal().len(), 1);
    finishes(&scratch, 2);
}

#[test]
fn cells_die_with_a_killed_run() {
    let scratch = Scratch::new();
    let args = ["--engine", "sim", "--engine-option", "sim.fault=hang", "--batch", "1", "--quiet"];
    let mut child = spawn(&with(&args, &["--out", scratch.path()]));
    let deadline = Instant::now() + Duration::from_secs(30);
    while children_of(child.id()).is_empty() {
        assert!(Instant::now() < deadline, "no cell was started");
        std::thread::sleep(Duration::from_millis(5));
    }
    let cells = children_of(child.id());
    std::thread::sleep(Duration::from_millis(100));
    child.kill().unwrap();
    child.wait().unwrap();
    cells.into_iter().for_each(wait_until_gone);
}

/// Kills a sweep at random moments, resumes each, and compares the tables with those of one that nobody disturbed.
fn kill_and_resume(times: u32, seed: u64) {
    let whole = Scratch::new();
    let began = Instant::now();
    assert_eq!(run(&with(&SWEEP, &["--out", whole.path()])).status.code(), Some(0));
    let mut takes = began.elapsed();
    let (figures, records, points) = (whole.figures(), whole.streamed(), whole.journal().len());
    assert_eq!(records.len(), 3 * points);
    let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
    let (mut early, mut late, mut number) = (0, 0, 0);
    // Those that come before there is a run, or after its end, are checked too and not counted.
    while number < times + early + late {
        number += 1;
        assert!(early + late < 10 * times, "hardly a kill hits the sweep");
        let scratch = Scratch::new();
        let mut child = spawn(&with(&SWEEP, &["--out", scratch.path()]));
        std::thread::sleep(takes.mul_f64(random.random_range(0.0..1.1)));
        let cells = children_of(child.id());
        child.kill().unwrap();
        let ended_before = child.wait().unwrap().success();
        cells.into_iter().for_each(wait_until_gone);
        let before = scratch.journal();
        if !scratch.dir.join("run.json").is_file() {
            assert!(before.is_empty(), "kill {number}: a journal without its run.json");
            early += 1;
            continue;
        }
        if ended_before {
            late += 1;
            takes = takes.mul_f64(0.95);
        }
        let output = run(&["--resume", scratch.path(), "--quiet"]);
        assert_eq!(output.status.code(), Some(0), "kill {number}: {}", text(&output.stderr));
        let after = scratch.journal();
        assert_eq!(after.len(), points, "kill {number}: points are missing or twice");
        assert_eq!(after[..before.len()], before[..], "kill {number}: a finished point has changed");
        assert_eq!(scratch.figures(), figures, "kill {number}");
        assert_eq!(scratch.streamed(), records, "kill {number}: requests, tokens or steps differ");
    }
    println!("{times} kills of a sweep; {early} more came before there was one, {late} after its end");
}

#[test]
fn ten_kills_at_random_moments_change_nothing() {
    kill_and_resume(10, 1);
}

#[test]
#[ignore = "minutes: run by `make soak`"]
fn two_hundred_kills_at_random_moments_change_nothing() {
    kill_and_resume(200, 2);
}
