//! What runs that measure side by side survive, and that their trials are watched and judged as all others are.
mod program;
mod scratch;

use std::{
    collections::BTreeSet,
    fs,
    process::{Output, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use program::tacho;
use rustix::process::{Pid, Signal, kill_process};
use scratch::Scratch;
use serde_json::Value;

impl Scratch {
    fn args<'a>(&'a self, more: &[&'a str]) -> Vec<&'a str> {
        let base =
            ["run", "--engine", "sim", "--input", "4", "--output", "4", "--quiet", "--telemetry", "off", "--out"];
        base.into_iter().chain([self.dir.to_str().unwrap()]).chain(more.iter().copied()).collect()
    }

    fn run(&self, more: &[&str]) -> Output {
        tacho().args(self.args(more)).output().unwrap()
    }

    /// The points' records, the last of each.
    fn records(&self) -> Vec<Value> {
        self.journal().into_iter().map(|line| line["record"].clone()).collect()
    }

    fn comparisons(&self) -> Vec<Value> {
        serde_json::from_str(&fs::read_to_string(self.dir.join("comparison.json")).unwrap()).unwrap()
    }
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// The launches that a record's trials are of.
fn launches(record: &Value) -> BTreeSet<u64> {
    record["trials"].as_array().unwrap().iter().map(|trial| trial["turn"]["launch"].as_u64().unwrap()).collect()
}

fn lost(record: &Value) -> Vec<u64> {
    let lost = record["lost_launches"].as_array().cloned().unwrap_or_default();
    lost.iter().map(|lost| lost["launch"].as_u64().unwrap()).collect()
}

#[test]
fn beside_a_gpu_engine_one_without_has_all_its_launches_too() {
    // In some of them the engine without a GPU is drawn to be loaded first.
    for seed in ["1", "2", "3", "4", "5", "6"] {
        let scratch = Scratch::new();
        let output = scratch.run(&[
            "--engine-option=sim.time=virtual",
            "--engine-option=sim.gpu=false,true",
            "--compare=abba,launches=2,blocks=2",
            "--batch=2",
            "--seed",
            seed,
        ]);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output));
        for record in scratch.records() {
            assert_eq!(record["trials"].as_array().unwrap().len(), 2 * 2 * 2, "seed {seed}");
            assert_eq!(launches(&record), BTreeSet::from([0, 1]), "seed {seed}");
            assert!(record["trials"].as_array().unwrap().iter().all(|trial| trial["turn"]["resident"] == false));
        }
        assert_eq!(scratch.comparisons()[0]["result"]["launches"], 2, "seed {seed}");
    }
}

/// Keeps a processor busy until it is dropped.
struct Busy(Arc<AtomicBool>);

impl Busy {
    fn start() -> Self {
        let on = Arc::new(AtomicBool::new(true));
        let flag = Arc::clone(&on);
        std::thread::spawn(move || while flag.load(Ordering::Relaxed) {});
        Self(on)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

#[test]
fn a_block_that_others_disturbed_is_run_again() {
    let scratch = Scratch::new();
    // Half a second a trial: ticks of 10 ms tell a load of 5 %.
    let args =
        ["run", "--engine", "sim", "--input", "4", "--output", "5", "--batch", "1", "--quiet", "--telemetry", "20ms"];
    let more = [
        "--engine-option=sim.step_base_us=100000,101000",
        "--compare=abba,launches=1,blocks=2",
        "--max-warmup=1",
        "--max-repeats=1",
        "--out",
    ];
    let processors = std::thread::available_parallelism().unwrap().get();
    let stat = fs::read_to_string("/proc/stat").unwrap();
    let all = stat.lines().filter(|line| line.starts_with("cpu") && !line.starts_with("cpu ")).count();
    if 4 * processors < all {
        eprintln!("skipped: a test that may use {processors} of {all} processors cannot keep the machine busy");
        return;
    }
    let busy: Vec<Busy> = (0..processors).map(|_| Busy::start()).collect();
    let output = tacho().args(args).args(more).arg(&scratch.dir).output().unwrap();
    drop(busy);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    for record in scratch.records() {
        let trials = record["trials"].as_array().unwrap();
        let place = |trial: &Value| (trial["turn"]["block"].as_u64().unwrap(), trial["hardware"]["superseded"] == true);
        let places: Vec<(u64, bool)> = trials.iter().map(place).collect();
        // The first block twice; then there is no repeat left, and the trials keep their marks.
        assert_eq!(places, [(0, true), (0, true), (0, false), (0, false), (1, false), (1, false)], "{record}");
        assert_eq!(trials[0]["summary"]["workload_digest"], trials[2]["summary"]["workload_digest"]);
        assert!(trials.iter().all(|trial| trial["hardware"]["marks"][0].as_str().unwrap().contains("processors busy")));
    }
    let said = text(&output);
    assert!(said.contains("machine_load") && said.contains("4 of 4 trials"), "{said}");
}

#[test]
fn an_invalid_side_gets_no_verdict_and_the_reason_stands_in_its_place() {
    let scratch = Scratch::new();
    let output = scratch.run(&[
        "--engine-option=sim.time=virtual",
        "--engine-option=sim.fault=preempt",
        "--engine-option=sim.fault_at_step=20,1000000",
        "--compare=abba,launches=2,blocks=3",
        "--batch=2",
    ]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let found = &scratch.comparisons()[0];
    let why = found["null_reason"].as_str().unwrap_or_default();
    assert!(found["result"].is_null() && why.starts_with("the first is invalid (preemption): "), "{found}");
    // Trials of a millisecond are too short for a certificate, and no reason not to be compared.
    assert!(!why.contains("min_duration") && text(&output).contains("min_duration"), "{}", text(&output));
    let said = text(&output);
    assert!(said.contains("not compared: the first is invalid (preemption)"), "{said}");
    assert!(!["FASTER", "SLOWER", "SAME"].iter().any(|word| said.contains(word)), "{said}");
}

/// In each launch after so many steps; the second engine's far beyond the run.
const HANGS: [&str; 3] = [
    "--engine-option=sim.fault=hang",
    "--engine-option=sim.fault_at_step=60,1000000",
    "--compare=abba,launches=2,blocks=2",
];

#[test]
fn a_silent_engine_is_given_up_at_the_idle_deadline() {
    let scratch = Scratch::new();
    let plan = scratch.dir.with_file_name("plan.toml");
    fs::write(&plan, "[deadlines]\nidle = \"1s\"\ntrial = \"20s\"\nwarmup = \"20s\"\n").unwrap();
    let more = ["--concurrency=2", "--requests=4", "--plan", plan.to_str().unwrap()];
    let output = scratch.run(&[&HANGS[..], &more].concat());
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    let records = scratch.records();
    assert_eq!(records.len(), 2);
    let reason = records[0]["outcome"]["reason"].as_str().unwrap();
    assert!(reason.contains("did not give a new output token within its deadline of 1 s"), "{reason}");
    assert!(records[1]["outcome"]["reason"].as_str().unwrap().contains("which it was compared with"), "{records:?}");
    assert_eq!((lost(&records[0]), launches(&records[0])), (vec![0, 1], BTreeSet::new()));
}

#[test]
fn a_warm_up_that_does_not_end_is_given_up_at_its_own_deadline() {
    let scratch = Scratch::new();
    let plan = scratch.dir.with_file_name("plan.toml");
    fs::write(&plan, "[deadlines]\nwarmup = \"1s\"\ntrial = \"20s\"\n").unwrap();
    let more = ["--batch=2", "--engine-option=sim.fault_at_step=1,1000000", "--plan", plan.to_str().unwrap()];
    let output = scratch.run(&[&[HANGS[0], HANGS[2]], &more[..]].concat());
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    let reason = scratch.records()[0]["outcome"]["reason"].as_str().unwrap().to_owned();
    assert!(reason.contains("did not finish a trial within its deadline of 1 s"), "{reason}");
}

#[test]
fn a_service_level_is_judged_side_by_side_too() {
    let scratch = Scratch::new();
    let output = scratch.run(&[
        "--engine-option=sim.time=virtual",
        "--engine-option=sim.step_base_us=200,400",
        "--concurrency=2",
        "--requests=8",
        "--slo=e2e=1.5ms",
        "--compare=abba,launches=2,blocks=2",
    ]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let mut reader = csv::Reader::from_path(scratch.dir.join("points.csv")).unwrap();
    let headers = reader.headers().unwrap().clone();
    let column = |name: &str| headers.iter().position(|header| header == name).unwrap();
    let (point, goodput) = (column("point"), column("goodput"));
    let rows: Vec<(String, f64)> = reader
        .records()
        .map(|row| row.unwrap())
        .map(|row| (row[point].to_owned(), row[goodput].parse().expect("a goodput in every row")))
        .collect();
    assert_eq!(rows.len(), 2 * 8);
    // Four steps of some 200 µs are within 1.5 ms, of 400 µs not.
    assert!(rows.iter().all(|(point, goodput)| (*goodput > 0.0) == (point == "0")), "{rows:?}");
}

fn children_of(pid: u32) -> Vec<u32> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    text.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
}

/// Runs a comparison of two, and kills the first engine of these launches while the second one is loaded or later.
fn run_and_kill(scratch: &Scratch, more: &[&str], kills: &[usize]) -> i32 {
    let mut run = tacho().args(scratch.args(more)).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let (mut cells, mut killed) = (Vec::new(), BTreeSet::new());
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(status) = run.try_wait().unwrap() {
            assert_eq!(killed.len(), kills.len(), "the run ended too early");
            return status.code().unwrap();
        }
        assert!(Instant::now() < deadline, "the run has not ended in a minute");
        for pid in children_of(run.id()) {
            if !cells.contains(&pid) {
                cells.push(pid);
            }
        }
        // A launch starts two cells: the first has its engine once there is a second.
        for &launch in kills.iter().filter(|launch| cells.len() > 2 * **launch + 1) {
            if killed.insert(launch) {
                kill_process(Pid::from_raw(cells[2 * launch] as i32).unwrap(), Signal::KILL).unwrap();
            }
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// In real time, of which whatever else the machine does may take its share.
const SLOW: [&str; 3] = ["--engine-option=sim.step_base_us=2000,2500", "--batch=2", "--max-harness-share=100%"];

#[test]
fn a_cell_that_dies_in_the_last_launch_costs_that_launch_alone() {
    let scratch = Scratch::new();
    let code = run_and_kill(&scratch, &[&SLOW[..], &["--compare=abba,launches=3,blocks=3"]].concat(), &[2]);
    assert_eq!(code, 0);
    let found = &scratch.comparisons()[0]["result"];
    assert_eq!((&found["launches"], &found["blocks"]), (&2.into(), &6.into()), "{found}");
    for record in scratch.records() {
        assert_eq!((record["outcome"]["status"].as_str(), lost(&record)), (Some("ok"), vec![2]));
        assert_eq!(launches(&record), BTreeSet::from([0, 1]));
        assert!(record["lost_launches"][0]["reason"].as_str().unwrap().contains("SIGKILL"), "{record}");
    }
    let report = fs::read_to_string(scratch.dir.join("report.md")).unwrap();
    assert!(report.contains("1 launch was lost") && report.contains("SIGKILL"), "{report}");
    // A resumed run takes it as it is.
    let journal = fs::read(scratch.dir.join("journal.jsonl")).unwrap();
    let resumed = tacho().args(["run", "--quiet", "--resume", scratch.dir.to_str().unwrap()]).output().unwrap();
    assert_eq!(resumed.status.code(), Some(0), "{}", text(&resumed));
    assert_eq!(fs::read(scratch.dir.join("journal.jsonl")).unwrap(), journal);
}

#[test]
fn launches_after_a_death_have_a_new_cell() {
    let scratch = Scratch::new();
    // Of two groups the first loses the launch; for the other its engine is started again.
    let compare = ["--compare=abba,launches=2,blocks=2", "--requests=2,4"];
    let code = run_and_kill(&scratch, &[&SLOW[..], &compare].concat(), &[0]);
    assert_eq!(code, 0);
    let records = scratch.records();
    assert_eq!(records.iter().map(lost).collect::<Vec<_>>(), [vec![0], vec![0], vec![], vec![]]);
    let of = |record: &Value| launches(record).into_iter().collect::<Vec<_>>();
    assert_eq!(records.iter().map(of).collect::<Vec<_>>(), [vec![1], vec![1], vec![0, 1], vec![0, 1]]);
    assert_eq!(records.iter().filter(|record| record["restart_ns"].as_u64().is_some()).count(), 1, "{records:?}");
}

#[test]
fn an_engine_that_keeps_dying_is_quarantined() {
    let scratch = Scratch::new();
    let plan = scratch.dir.with_file_name("plan.toml");
    fs::write(&plan, "[restarts]\nbudget = 1\nbackoff = \"10ms\"\n").unwrap();
    let output = scratch.run(&[
        "--engine-option=sim.time=virtual",
        "--engine-option=sim.fault=abort",
        "--engine-option=sim.fault_at_step=5,1000000",
        "--compare=abba,launches=6,blocks=1",
        "--batch=2",
        "--requests=2,4,6",
        "--plan",
        plan.to_str().unwrap(),
    ]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    let reasons: Vec<String> =
        scratch.records().iter().map(|record| record["outcome"]["reason"].as_str().unwrap().to_owned()).collect();
    assert_eq!(reasons.len(), 6);
    assert!(reasons[..4].iter().all(|reason| reason.contains("SIGABRT")), "{reasons:?}");
    assert!(
        reasons[4..].iter().all(|reason| reason.contains("died 2 times in this run (restarts.budget is 1)")),
        "{reasons:?}"
    );
}
