//! What must not reach a figure: a slow disk, a calendar clock that jumps, a machine that is suspended. The first two are doubles
//! that are compiled and preloaded, into `tacho` and its cells; the third is one of the clocks' difference.
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tacho::{
    results::{PointRecord, RunDir, RunInfo},
    run::{GpuMemory, Progress, RunOptions, execute},
    validity::{Certificate, Code, MAX_SUSPENDED_NS, certify_all},
};

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

/// A double of a machine that is suspended for 3 s in the middle of the second timed trial, when that is run for the first time.
#[derive(Default)]
struct Suspended {
    so_far_ns: AtomicU64,
    due: AtomicBool,
}

impl Suspended {
    /// What [`tacho::measure::suspended_ns`] would say. The look before the trial is the last one before.
    fn look(&self) -> u64 {
        let slept_ns = if self.due.swap(false, Ordering::Relaxed) { 3_000_000_000 } else { 0 };
        self.so_far_ns.fetch_add(slept_ns, Ordering::Relaxed)
    }
}

/// Tells the double when its trial begins.
struct Watch<'a>(&'a Suspended, bool);

impl Progress for Watch<'_> {
    fn trial(&mut self, label: &str, _: u64) {
        if label == "trial 2" && !std::mem::replace(&mut self.1, true) {
            self.0.due.store(true, Ordering::Relaxed);
        }
    }
    fn begin(&mut self, _: u32) {}
    fn point(&mut self, _: u32, _: u32, _: &str) {}
    fn tokens(&mut self, _: u64) {}
    fn trial_done(&mut self, _: f64, _: Option<(f64, f64)>) {}
    fn gpu(&mut self, _: &str) {}
    fn point_done(&mut self, _: &str) {}
    fn note(&mut self, _: &str) {}
}

/// A run of one point on that machine.
fn suspended(plan: &Plan) -> (Scratch, PointRecord, Certificate) {
    let (scratch, machine) = (Scratch::new(), Suspended::default());
    let info = RunInfo::gather(vec!["test".to_owned()], serde_json::to_value(plan).unwrap());
    let mut dir = RunDir::create(&scratch.dir, &info).unwrap();
    let gpus = || Err("no GPU in this test".to_owned());
    let options = RunOptions {
        cell_program: &|_| Ok(sim_cell()),
        interrupted: &AtomicBool::new(false),
        gpus: &gpus,
        gpu_memory: GpuMemory::before_cells(&gpus),
        ceilings: scratch.keep.path(),
        suspended_ns: &|| machine.look(),
    };
    let records = execute(plan, &mut dir, Vec::new(), &options, &mut Watch(&machine, false)).unwrap().records;
    let certificate = certify_all(dir.info(), &records).remove(0);
    (scratch, records.into_iter().next().unwrap(), certificate)
}

#[test]
fn a_trial_in_which_the_machine_was_suspended_runs_again_and_where_it_may_not_the_point_is_invalid() {
    let planned = Scratch::new();
    let args = with(&REAL, &["--latency-trials", "0", "--telemetry", "off"]);
    assert_eq!(run_with(&planned, &args, &[]).status.code(), Some(0));
    // This machine was not.
    for trial in planned.journal()[0]["record"]["trials"].as_array().unwrap() {
        let found = trial["summary"]["evidence"]["suspended_ns"].as_u64();
        assert!(found.is_some_and(|ns| ns <= MAX_SUSPENDED_NS) && trial["hardware"]["marks"] == serde_json::json!([]));
    }
    let marked = |record: &PointRecord| -> Vec<(u32, String, bool)> {
        let marked = record.trials.iter().filter(|trial| !trial.hardware.marks.is_empty());
        marked.map(|trial| (trial.trial, trial.hardware.marks.join("; "), trial.hardware.superseded)).collect()
    };
    let mark = "the machine was suspended for 3.00 s".to_owned();
    let mut plan = planned.plan();
    let (scratch, record, certificate) = suspended(&plan);
    assert_eq!((record.trials.len(), marked(&record)), (6, vec![(1, mark.clone(), true)]));
    assert!(!certificate.codes().contains(&Code::Suspended), "{certificate:?}");
    assert!(!certificate.unchecked().contains(&Code::Suspended), "{certificate:?}");
    let report = fs::read_to_string(scratch.dir.join("report.md")).unwrap();
    assert!(report.contains(&format!("1 trial was marked ({mark}, first); 1 of them ran again")), "{report}");

    plan.trials.max_repeats = 0;
    let (_, record, certificate) = suspended(&plan);
    assert_eq!((record.trials.len(), marked(&record)), (5, vec![(1, mark, false)]));
    let reason = certificate.reasons.iter().find(|reason| reason.code == Code::Suspended).unwrap();
    assert_eq!((reason.trial, reason.evidence["suspended_s"]), (Some(1), 3.0));
    assert!(reason.sentence.contains("suspended for 3.00 s in the middle of it"), "{}", reason.sentence);
}
