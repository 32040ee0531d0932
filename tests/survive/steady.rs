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
    "1,2",
    "--input",
    "16",
    "--output",
    "9",
    "--max-trials",
    "3",
    "--min-trials",
    "3",
    "--quiet",
];

/// The best output throughput and latency of each point: what disturbs single trials from outside of the test is not in them.
fn best(scratch: &Scratch) -> BTreeMap<u32, f64> {
    let mut best = BTreeMap::new();
    for ((point, _), row) in scratch.figures() {
        let found: f64 = row["output_token_throughput"].parse().unwrap();
        let best: &mut f64 = best.entry(point).or_default();
        *best = best.max(found);
    }
    best
}

fn run_with(scratch: &Scratch, args: &[&str], environment: &[(&str, &str)]) -> Output {
    let args = with(args, &["--out", scratch.path()]);
    tacho().arg("run").args(args).envs(environment.iter().copied()).output().unwrap()
}

/// Each point's figure against what its cost model says: tokens of a batch over 9 steps of 4 ms and what tokens cost.
fn as_the_cost_model_says(scratch: &Scratch, what: &str) {
    for (point, found) in best(scratch) {
        let batch = f64::from(point + 1);
        let seconds = (9.0 * 4000.0 + 16.0 * batch + 8.0 * 5.0 * batch) * 1e-6;
        let ratio = found / (9.0 * batch / seconds);
        println!("{what}: point {point}: {found:.1} output tokens/s, {ratio:.4} of the cost model's");
        assert!((0.95..1.01).contains(&ratio), "{what}: point {point}: {ratio}");
    }
}

#[test]
fn a_slow_disk_delays_the_run_and_no_trial() {
    let folder = tempfile::tempdir().unwrap();
    let Some(library) = preloaded(folder.path(), "disk") else { return };
    let scratch = Scratch::new();
    let count = folder.path().join("count");
    let environment = [
        ("LD_PRELOAD", library.to_str().unwrap()),
        ("TACHO_FAIL_UNDER", scratch.path()),
        ("TACHO_FAIL_HOW", "slow"),
        ("TACHO_SLOW_MS", "20"),
        ("TACHO_FAIL_COUNT", count.to_str().unwrap()),
    ];
    let began = Instant::now();
    let output = run_with(&scratch, &REAL, &environment);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let calls: u32 = fs::read_to_string(&count).unwrap().trim().parse().unwrap();
    println!("{calls} slow calls, {:.1} s", began.elapsed().as_secs_f64());
    assert!(calls > 10 && began.elapsed() > Duration::from_millis(20) * calls, "the disk was not slow");
    as_the_cost_model_says(&scratch, "slow disk");
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
    let real = Scratch::new();
    assert_eq!(run_with(&real, &REAL, &environment).status.code(), Some(0));
    as_the_cost_model_says(&real, "jumping clock");
}
