//! A thousand faults, and a sweep of ten thousand points. Minutes: `make soak` runs them.
use std::collections::BTreeSet;

use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use super::*;

/// Faults that a cell commits at some step; each point that meets one is a fault injected.
const FAULTS: [&str; 8] = ["abort", "segv", "kill", "exit", "panic", "error", "out_of_memory", "short_output"];

fn plan(steps: &[u64], restarts: &str) -> String {
    format!(
        "engine = [{{ id = 'sim', options = {{ time = 'virtual' }} }}]\n\
         [workload]\ninput = 4\noutput = 4\n{restarts}\n\
         [axes]\n'engine.sim.fault' = {FAULTS:?}\n'engine.sim.fault_at_step' = {steps:?}\nbatch = [1, 2, 3, 4]\n"
    )
}

/// What a finished point came to: its line of the journal, but for the load and the restart.
fn finished(scratch: &Scratch) -> Vec<(u64, Value)> {
    let ok = |entry: Value| {
        let record = &entry["record"];
        (record["outcome"]["status"] == "ok")
            .then(|| (record["point"]["number"].as_u64().unwrap(), record["trials"].clone()))
    };
    scratch.journal().into_iter().filter_map(ok).collect()
}

/// Faults that a cell has committed: a quarantined point met none.
fn injected(scratch: &Scratch) -> usize {
    let met = |failure: &Value| !failure["reason"].as_str().unwrap().contains("quarantined");
    scratch.failures().iter().filter(|failure| met(failure)).count()
}

/// Injects at least `wanted` faults into cells, and kills the run at random moments of its first `kill_ms` between; returns how long, in ns, each
/// death was from the next cell's start.
fn soak(wanted: usize, steps: &[u64], restarts: &str, kill_ms: u64, seed: u64) -> Vec<u64> {
    let scratch = Scratch::new();
    let file = scratch.keep.path().join("plan.toml");
    fs::write(&file, plan(steps, restarts)).unwrap();
    let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
    let points = FAULTS.len() * steps.len() * 4;
    let (mut kept, mut kills, mut rounds): (Vec<(u64, Value)>, u32, u32) = (Vec::new(), 0, 0);
    loop {
        let started = scratch.dir.join("run.json").is_file();
        let args = match started {
            true => vec!["--resume", scratch.path(), "--quiet"],
            false => vec!["--plan", file.to_str().unwrap(), "--out", scratch.path(), "--quiet"],
        };
        let mut child = spawn(&args);
        // Two of three rounds are killed somewhere.
        if random.random_range(0..3) > 0 {
            let end = Instant::now() + Duration::from_millis(random.random_range(200..kill_ms));
            while Instant::now() < end && child.try_wait().unwrap().is_none() {
                std::thread::sleep(Duration::from_millis(5));
            }
            if child.try_wait().unwrap().is_none() {
                child.kill().unwrap();
                kills += 1;
            }
        }
        child.wait().unwrap();
        rounds += 1;
        let now = finished(&scratch);
        assert_eq!(now[..kept.len()], kept[..], "a finished point has changed");
        kept = now;
        if injected(&scratch) >= wanted {
            break;
        }
    }
    let output = run(&["--resume", scratch.path(), "--quiet"]);
    assert!(matches!(output.status.code(), Some(0 | 1)), "{}", text(&output.stderr));
    let numbers: BTreeSet<u64> = finished(&scratch).into_iter().map(|(number, _)| number).collect();
    assert_eq!(finished(&scratch).len(), numbers.len(), "a finished point was measured twice");
    // Each finished point stands in the tables, with the figure of a run without faults: batch requests of 4 in and 4 out.
    let figures = scratch.figures();
    for number in &numbers {
        let batch = 1.0 + (number % 4) as f64;
        let seconds = (200.0 + 4.0 * batch + 3.0 * (200.0 + 5.0 * batch)) * 1e-6;
        let row = &figures[&(*number as u32, "0".to_owned())];
        let found: f64 = row["output_token_throughput"].parse().unwrap();
        assert!((found * seconds / (4.0 * batch) - 1.0).abs() < 1e-6, "point {number}: {found}");
    }
    same_records(&scratch, &numbers);
    let all: BTreeSet<u32> = figures.keys().map(|(point, _)| *point).collect();
    assert_eq!(all.len(), points, "every point has a row, measured or failed");
    let journal = scratch.journal();
    let restarts = journal.iter().filter_map(|entry| entry["record"]["restart_ns"].as_u64()).collect();
    println!(
        "{} faults in cells, {kills} kills of the run in {rounds} rounds; {} of {points} points finished, none of them lost or \
         changed",
        injected(&scratch),
        numbers.len()
    );
    restarts
}

/// The finished points' requests, tokens and steps are those of a run of the same batches without faults.
fn same_records(scratch: &Scratch, numbers: &BTreeSet<u64>) {
    let calm = Scratch::new();
    let file = calm.keep.path().join("plan.toml");
    fs::write(&file, plan(&[1_000_000], "").replace(&format!("{FAULTS:?}"), "['abort']")).unwrap();
    let output = run(&["--plan", file.to_str().unwrap(), "--out", calm.path(), "--quiet"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let (expected, found) = (calm.streamed(), scratch.streamed());
    for number in numbers {
        for table in ["requests", "tokens", "steps"] {
            let (batch, point) = ((number % 4) as u32, *number as u32);
            assert!(expected[&(table, batch)].0 > 0);
            assert_eq!(found[&(table, point)], expected[&(table, batch)], "{table} of point {point}");
        }
    }
}

fn p99_ms(mut restarts: Vec<u64>) -> f64 {
    restarts.sort_unstable();
    restarts[(restarts.len() - 1) * 99 / 100] as f64 / 1e6
}

#[test]
fn a_few_faults_at_random_lose_nothing() {
    let restarts = soak(40, &[30], "[restarts]\nbackoff = '10ms'", 1500, 5);
    assert!(!restarts.is_empty());
}

#[test]
#[ignore = "minutes: run by `make soak`"]
fn a_thousand_faults_lose_nothing() {
    // From the first warm-up step to behind the last one.
    let steps: Vec<u64> = (0..22).map(|n| n * n).collect();
    let restarts = soak(1000, &steps, "", 8000, 6);
    let p99 = p99_ms(restarts.clone());
    println!("{} restarts, p99 from a cell's death to the next one's start: {p99:.1} ms", restarts.len());
    assert!(p99 <= 1000.0, "{p99} ms");
}

/// What a process holds.
#[derive(Debug, Clone, Copy)]
struct Held {
    resident_kb: u64,
    descriptors: usize,
    threads: usize,
    children: usize,
}

fn held(pid: u32) -> Option<Held> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let resident_kb = resident.split_whitespace().next()?.parse().ok()?;
    let count = |folder: &str| Some(fs::read_dir(format!("/proc/{pid}/{folder}")).ok()?.count());
    Some(Held { resident_kb, descriptors: count("fd")?, threads: count("task")?, children: children_of(pid).len() })
}

/// Runs a sweep of batches × inputs in one cell, looks every so often at what the run's process and the cell's hold, and demands
/// that it is flat after a first fifth: resident memory between its least and 1 + `spread` times that.
fn holds_flat(batches: &str, inputs: &str, points: usize, every: Duration, spread: f64) {
    let scratch = Scratch::new();
    let args = ["--engine", "sim", "--engine-option", "sim.time=virtual", "--batch", batches, "--input", inputs];
    let args =
        with(&args, &["--output", "2", "--min-trials", "2", "--max-trials", "2", "--max-warmup", "1", "--quiet"]);
    let mut child = spawn(&with(&args, &["--out", scratch.path()]));
    let mut seen: Vec<(Held, Held)> = Vec::new();
    let lines = || fs::metadata(scratch.dir.join("journal.jsonl")).map_or(0, |meta| meta.len());
    let mut last = 0;
    while child.try_wait().unwrap().is_none() {
        std::thread::sleep(every);
        let (length, run) = (lines(), held(child.id()));
        let cell = children_of(child.id()).first().and_then(|cell| held(*cell));
        // The tables at the end are made of all points at once: what counts is the sweep.
        if let (Some(run), Some(cell), true) = (run, cell, length > last) {
            seen.push((run, cell));
        }
        last = length;
    }
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(scratch.journal().len(), points);
    assert!(seen.len() >= 20, "only {} looks", seen.len());
    let steady = &seen[seen.len() / 5..seen.len() - 1];
    flat("run", &steady.iter().map(|(run, _)| *run).collect::<Vec<_>>(), spread);
    flat("cell", &steady.iter().map(|(_, cell)| *cell).collect::<Vec<_>>(), spread);
}

fn flat(whose: &str, steady: &[Held], spread: f64) {
    // A look may fall into a point's writing, which holds a file or two: what leaks is there between points too.
    let (before, after) = steady.split_at(steady.len() / 2);
    let least = |half: &[Held]| {
        let of = |handles: fn(&Held) -> usize| half.iter().map(handles).min();
        [of(|held| held.descriptors), of(|held| held.threads), of(|held| held.children)]
    };
    let resident = || steady.iter().map(|held| held.resident_kb);
    let (low, high) = (resident().min().unwrap(), resident().max().unwrap());
    println!(
        "{whose}: {} looks, resident {} kB at first, {} at the end, {low} to {high}; least descriptors, threads, children: {:?} \
         in the first half, {:?} in the second",
        steady.len(),
        steady[0].resident_kb,
        steady[steady.len() - 1].resident_kb,
        least(before),
        least(after)
    );
    assert_eq!(least(before), least(after), "{whose}: descriptors, threads or processes leak");
    assert!(high as f64 <= low as f64 * (1.0 + spread), "{whose}: resident memory between {low} and {high} kB");
}

#[test]
fn three_hundred_points_hold_memory_and_handles_flat() {
    holds_flat("1..15+1", "1..20+1", 300, Duration::from_millis(10), 0.05);
}

#[test]
#[ignore = "minutes: run by `make soak`"]
fn ten_thousand_points_hold_memory_and_handles_flat() {
    holds_flat("1..100+1", "1..100+1", 10_000, Duration::from_millis(200), 0.05);
}
