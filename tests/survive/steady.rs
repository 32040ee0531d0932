//! What must not reach a figure: a slow disk, and a calendar clock that jumps. Both are doubles that are compiled and preloaded,
//! into `tacho` and its cells.
use super::{disk::preloaded, *};

/// In real time: a trial is 9 steps of 4 ms, whatever else happens.
const REAL: [&str; 15] = [
    "--engine",
    "sim",
    "--engine-option",
    "sim.step_base_us=4000",
    "--batch",
    "2",
    "--input",
    "16",
    "--output",
    "9",
    "--max-trials",
    "5",
    "--min-trials",
    "5",
    "--quiet",
];
/// What a slow disk adds to a call: more than a whole trial takes.
const SLOW_MS: u32 = 60;

fn run_with(scratch: &Scratch, args: &[&str], environment: &[(&str, &str)]) -> Output {
    let args = with(args, &["--out", scratch.path()]);
    tacho().arg("run").args(args).envs(environment.iter().copied()).output().unwrap()
}

/// A busy machine may slow all trials of a run; what is tested would slow those of each run.
const ATTEMPTS: u32 = 3;

/// Whether the median trial is as the cost model says: 2 requests of 9 tokens in 9 steps of 4 ms and what tokens cost. A single
/// slow call would bring a trial below 0.4 of it, a clock's jump of an hour to nothing.
fn as_the_cost_model_says(scratch: &Scratch, what: &str) -> bool {
    let seconds = (9.0 * 4000.0 + 16.0 * 2.0 + 8.0 * 5.0 * 2.0) * 1e-6;
    let mut ratios: Vec<f64> = scratch
        .figures()
        .into_values()
        .map(|row| row["output_token_throughput"].parse::<f64>().unwrap() * seconds / (2.0 * 9.0))
        .collect();
    ratios.sort_by(f64::total_cmp);
    println!("{what}: throughput of the trials over the cost model's: {ratios:.3?}");
    assert_eq!(ratios.len(), 8, "five trials, and three of the step loop");
    ratios[3] > 0.5 && ratios[7] < 1.01
}

#[test]
fn a_slow_disk_delays_the_run_and_no_trial() {
    let folder = tempfile::tempdir().unwrap();
    let Some(library) = preloaded(folder.path(), "disk") else { return };
    let count = folder.path().join("count");
    let run = || {
        let scratch = Scratch::new();
        slow_run(&scratch, &library, &count);
        as_the_cost_model_says(&scratch, "slow disk")
    };
    assert!((0..ATTEMPTS).any(|_| run()), "a slow disk reaches the trials");
}

fn slow_run(scratch: &Scratch, library: &std::path::Path, count: &std::path::Path) {
    let delay = SLOW_MS.to_string();
    let environment = [
        ("LD_PRELOAD", library.to_str().unwrap()),
        ("TACHO_FAIL_UNDER", scratch.path()),
        ("TACHO_FAIL_HOW", "slow"),
        ("TACHO_SLOW_MS", &delay),
        ("TACHO_FAIL_COUNT", count.to_str().unwrap()),
    ];
    let began = Instant::now();
    let output = run_with(scratch, &REAL, &environment);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let calls: u32 = fs::read_to_string(count).unwrap().trim().parse().unwrap();
    println!("{calls} slow calls, {:.1} s", began.elapsed().as_secs_f64());
    // Tables are written by several threads at once.
    assert!(calls > 10 && began.elapsed() > Duration::from_millis(SLOW_MS.into()) * calls / 4, "the disk was not slow");
}

#[test]
fn a_clock_that_jumps_moves_no_figure() {
    let folder = tempfile::tempdir().unwrap();
    let Some(library) = preloaded(folder.path(), "clock") else { return };
    let looks = folder.path().join("looks");
    let environment = [("LD_PRELOAD", library.to_str().unwrap()), ("TACHO_CLOCK_LOOKS", looks.to_str().unwrap())];
    let (still, jumping) = (Scratch::new(), Scratch::new());
    assert_eq!(run_with(&still, &SWEEP, &[]).status.code(), Some(0));
    let output = run_with(&jumping, &SWEEP, &environment);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let looks: u32 = fs::read_to_string(&looks).unwrap().trim().parse().unwrap();
    assert!(looks > 0, "nobody looked at the clock");
    assert_eq!(jumping.figures(), still.figures());
    let run = || {
        let real = Scratch::new();
        assert_eq!(run_with(&real, &REAL, &environment).status.code(), Some(0));
        as_the_cost_model_says(&real, "jumping clock")
    };
    assert!((0..ATTEMPTS).any(|_| run()), "a jumping clock reaches the trials");
}
