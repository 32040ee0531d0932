//! Open load from outside: against queueing theory in virtual time, the service level, saturation, and a search whose answer
//! is known.
mod requests;

use std::{fs, path::Path, process::Command};

use requests::Requests;
use serde_json::{Value, json};
use tacho::{
    cell::{
        drive::run_trial,
        protocol::{Load, Method, RequestRow, TrialKind, TrialSpec, TrialSummary},
    },
    engine::{Engine, IdRange, LoadConfig, Options, sim::Sim},
    workload::{
        WorkloadSpec,
        arrivals::{ArrivalSpec, Schedule},
    },
};

/// One server, one request at a time, each 10 ms: prompt and only token in one step.
fn server(time: &str) -> Sim {
    let options: Options = [
        ("time", json!(time)),
        ("step_base_us", json!(10_000.0)),
        ("prefill_token_us", json!(0.0)),
        ("max_seqs", json!(1)),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect();
    Sim::load(&LoadConfig { engine: "sim".into(), model: None, max_seqs: 1, max_model_len: 64, seed: 1, options })
        .unwrap()
}

const SERVICE_NS: f64 = 10e6;

fn open(process: &str, rate: f64, max_in_flight: Option<u32>) -> Load {
    Load::Open { arrivals: ArrivalSpec { process: process.parse().unwrap(), rate: Some(rate) }, max_in_flight }
}

fn trial(engine: &mut dyn Engine, load: Load, requests: u32, seed: u64) -> (TrialSummary, Vec<RequestRow>) {
    let spec = TrialSpec {
        trial: 0,
        kind: TrialKind::Timed,
        method: Method::Steps,
        load,
        device_clock: Default::default(),
        workload: WorkloadSpec {
            requests,
            input: "4".parse().unwrap(),
            output: "1".parse().unwrap(),
            sampling: Default::default(),
            seed,
            stream: 0,
            ids: vec![IdRange { start: 4, end: 32_000 }],
            saved: None,
        },
    };
    let mut rows = Requests::default();
    let summary = run_trial(engine, &spec, &mut rows).unwrap();
    rows.0.sort_by_key(|row| row.request);
    (summary, rows.0)
}

#[test]
fn waiting_for_arrivals_is_not_the_harness_at_work() {
    // 20 requests a second of 10 ms each: four fifths of the time there is nothing to do.
    let (summary, _) = trial(&mut server("real"), open("constant", 20.0, None), 20, 1);
    let (share, busy_s) = (summary.harness_share().unwrap(), summary.busy_ns.unwrap() as f64 / 1e9);
    assert!(summary.seconds() > 0.9 && share < 0.2, "{share} of {busy_s} s");
    // Of what the engine had to do, 20 times 10 ms, and not of a second that it mostly slept.
    assert!(busy_s > 0.19 && busy_s < 0.7, "{busy_s} s of {} s", summary.seconds());
}

#[test]
fn a_single_server_waits_as_long_as_queueing_theory_says() {
    // M/D/1: mean wait = load · service / (2 (1 − load)) (Pollaczek 1930, Khinchine 1932). The standard error is that of
    // independent replications, which need no model of how waits depend on one another.
    for (load, requests) in [(0.3, 5_000), (0.6, 10_000), (0.9, 40_000)] {
        let rate = load / SERVICE_NS * 1e9;
        let expected = load * SERVICE_NS / (2.0 * (1.0 - load));
        let mean_wait = |seed| {
            let (summary, rows) = trial(&mut server("virtual"), open("poisson", rate, None), requests, seed);
            let schedule = summary.schedule.unwrap();
            assert!(schedule.fidelity_ok && schedule.lateness.max_ns == 0.0, "{:?}", schedule.reasons);
            // The queue starts empty: the first tenth is left out.
            let kept = &rows[rows.len() / 10..];
            let waits = kept.iter().map(|row| (row.first_ns - row.scheduled_ns) as f64 - SERVICE_NS);
            waits.sum::<f64>() / kept.len() as f64
        };
        let means: Vec<f64> = (1..=12).map(mean_wait).collect();
        let n = means.len() as f64;
        let mean = means.iter().sum::<f64>() / n;
        let error = (means.iter().map(|m| (m - mean).powi(2)).sum::<f64>() / (n - 1.0) / n).sqrt();
        println!(
            "load {load}: mean wait {:.4} ms, {:.4} expected, standard error {:.4}",
            mean / 1e6,
            expected / 1e6,
            error / 1e6
        );
        assert!((mean - expected).abs() <= 3.0 * error, "load {load}: {mean} for {expected}, standard error {error}");
        assert!(error < 0.05 * expected, "load {load}: {error} says nothing about {expected}");
    }
}

#[test]
fn virtual_time_follows_the_schedule_exactly() {
    let load = open("gamma:0.5", 20.0, None);
    let Load::Open { arrivals, .. } = &load else { unreachable!() };
    let schedule = Schedule::new(arrivals, 500, 3, 0).unwrap();
    let (summary, rows) = trial(&mut server("virtual"), load, 500, 3);
    for (row, offset) in rows.iter().zip(schedule.offsets_ns()) {
        assert_eq!((row.scheduled_ns, row.released_ns), (summary.start_ns + offset, summary.start_ns + offset));
        assert!(row.submitted_ns >= row.scheduled_ns && row.first_ns >= row.submitted_ns + 10_000_000);
    }
    assert_eq!(summary.schedule.unwrap().digest, schedule.digest());
}

#[test]
fn a_cap_keeps_requests_waiting_outside_and_their_latency_counts() {
    let (summary, rows) = trial(&mut server("virtual"), open("burst:8", 40.0, Some(2)), 64, 1);
    assert_eq!(summary.requests, 64);
    for (index, row) in rows.iter().enumerate() {
        // Each burst of 8 is served one after the other, whatever the cap; the cap delays when the engine hears of them.
        let place = index as u64 % 8;
        assert_eq!(row.first_ns - row.scheduled_ns, (place + 1) * 10_000_000);
        assert_eq!(row.submitted_ns - row.scheduled_ns, place.saturating_sub(1) * 10_000_000);
    }
}

#[test]
fn real_time_releases_on_their_own_thread() {
    let (summary, rows) = trial(&mut server("real"), open("constant", 50.0, None), 40, 1);
    assert_eq!((summary.requests, rows.len()), (40, 40));
    for (index, row) in rows.iter().enumerate() {
        assert_eq!(row.scheduled_ns, summary.start_ns + index as u64 * 20_000_000);
        assert!(row.released_ns >= row.scheduled_ns && row.submitted_ns >= row.released_ns);
    }
    let schedule = summary.schedule.unwrap();
    // A busy machine may release late, and must then say so.
    let late = schedule.lateness.p99_ns > schedule.limits.p99_ns;
    assert!(!late || !schedule.fidelity_ok, "{schedule:?}");
    assert_eq!(schedule.released, 40);
}

#[test]
fn an_overload_ends_early_and_its_requests_are_kept() {
    let (summary, rows) = trial(&mut server("virtual"), open("poisson", 200.0, None), 4000, 1);
    let saturation = summary.schedule.unwrap().saturation.unwrap();
    assert!(saturation.arrived < 1000, "{saturation:?}");
    assert_eq!(summary.requests + saturation.unfinished, saturation.arrived);
    assert_eq!(saturation.arrived + saturation.not_released, 4000);
    assert_eq!(rows.len() as u32, saturation.arrived);
    let cut = rows.iter().filter(|row| row.last_ns == u64::MAX).count() as u32;
    assert_eq!(cut, saturation.unfinished);
    assert!(saturation.reason.contains("grows without end"));
    // The engine is as good as new.
    let mut engine = server("virtual");
    trial(&mut engine, open("poisson", 200.0, None), 4000, 1);
    let (after, _) = trial(&mut engine, open("poisson", 50.0, None), 300, 1);
    assert_eq!(after.requests, 300);
    assert!(after.schedule.unwrap().saturation.is_none());
    // Full load is no overload.
    let (full, _) = trial(&mut server("virtual"), open("poisson", 95.0, None), 4000, 1);
    assert!(full.schedule.unwrap().saturation.is_none());
}

fn tacho(args: &[&str], dir: &Path) -> std::process::Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tacho"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("TACHO_")) {
        command.env_remove(name);
    }
    let fixed = ["--engine", "sim", "--input", "4", "--output", "1", "--telemetry", "off", "--quiet", "--out"];
    let server = ["time=virtual", "step_base_us=10000", "prefill_token_us=0", "max_seqs=1"];
    command.args(args).args(fixed).arg(dir);
    server.iter().for_each(|option| {
        command.arg("--engine-option").arg(format!("sim.{option}"));
    });
    command.output().unwrap()
}

fn rows(dir: &Path) -> Vec<Value> {
    serde_json::from_str(&fs::read_to_string(dir.join("points.json")).unwrap()).unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_run_at_rates_tells_goodput_fidelity_and_the_steady_part() {
    let keep = tempfile::tempdir().unwrap();
    let dir = keep.path().join("run");
    let args = ["run", "--rate", "50,300", "--requests", "2000", "--slo", "ttft:p90=20ms,e2e=1s", "--max-trials", "2"];
    let output = tacho(&args, &dir);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let rows = rows(&dir);
    let (calm, wild): (Vec<&Value>, Vec<&Value>) = rows.iter().partition(|row| row["rate"] == 50.0);
    assert!(!calm.is_empty() && !wild.is_empty());
    for row in calm {
        assert_eq!(
            (&row["load_mode"], &row["arrivals"], &row["saturated"]),
            (&json!("open"), &json!("poisson"), &json!(false))
        );
        assert_eq!((&row["fidelity_ok"], &row["requests_done"]), (&json!(true), &json!(2000)));
        // All of goodput is request throughput times the share within all limits.
        let number = |name: &str| row[name].as_f64().unwrap();
        let expect = number("request_throughput") * number("slo_attained");
        assert!((number("goodput") / expect - 1.0).abs() < 1e-9);
        assert!((0.5..1.0).contains(&number("slo_attained")), "{}", row["slo_attained"]);
        assert!((number("window_request_throughput") - 50.0).abs() < 5.0 && number("window_ttft_p50_ms") >= 10.0);
        assert_eq!(row["arrivals_digest"].as_str().unwrap().len(), 64);
    }
    for row in wild {
        assert_eq!((&row["saturated"], &row["slo_met"]), (&json!(true), &json!(false)));
        // Two trials have no interval.
        assert_eq!(row["invalid_reasons"], "schedule,interval", "{row:#}");
        assert!(row["requests_done"].as_u64().unwrap() < 1000 && row["window_request_throughput"].is_null());
        assert!(row["window_null_reason"].as_str().unwrap().contains("cut off"));
    }
    let report = fs::read_to_string(dir.join("report.md")).unwrap();
    assert!(report.contains("queue grows without end"), "{report}");
}

/// The capacity found, with its interval and trials.
fn capacity(args: &[&str]) -> (f64, f64, f64, usize) {
    let keep = tempfile::tempdir().unwrap();
    let dir = keep.path().join("run");
    let output = tacho(&[&["capacity"], args].concat(), &dir);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    println!("{}", text(&output.stdout));
    let found: Value = serde_json::from_str(&fs::read_to_string(dir.join("capacity.json")).unwrap()).unwrap();
    assert_eq!(found["converged"], true, "{found:#}");
    let number = |name: &str| found[name].as_f64().unwrap();
    assert!(found["knee"].is_u64() && dir.join("charts/capacity.svg").exists());
    // A point a trial; none of them is called invalid for being a single one.
    let rows: Value = serde_json::from_str(&fs::read_to_string(dir.join("points.json")).unwrap()).unwrap();
    assert_eq!(rows.as_array().map(Vec::len), found["probes"].as_array().map(Vec::len));
    for row in rows.as_array().unwrap() {
        assert!(!row["invalid_reasons"].to_string().contains("interval"), "{row:#}");
    }
    let page = fs::read_to_string(dir.join("report.html")).unwrap();
    assert!(page.contains("Capacity: the highest load that meets the service level"));
    (number("estimate"), number("low"), number("high"), found["probes"].as_array().unwrap().len())
}

#[test]
fn a_load_that_is_kept_up_with_is_judged_by_what_was_offered() {
    let keep = tempfile::tempdir().unwrap();
    // Each trial's 64 gaps are drawn anew: its throughput is as scattered as they are, 12 %.
    let output = tacho(&["run", "--rate", "20", "--requests", "64", "--max-trials", "6"], &keep.path().join("run"));
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    for row in rows(&keep.path().join("run")) {
        assert_eq!(row["certificate"], "valid", "{row:#}");
    }
}

#[test]
fn a_gap_between_arrivals_is_no_silence_of_the_engine() {
    let keep = tempfile::tempdir().unwrap();
    let plan = keep.path().join("slow.toml");
    let text_of = "[workload]\nrate = 1.0\narrivals = 'constant'\nrequests = 3\n[deadlines]\nidle = '400ms'\n\
                   [trials]\nmin_trials = 1\nmax_trials = 1\nmax_warmup = 0\n";
    fs::write(&plan, text_of).unwrap();
    let dir = keep.path().join("run");
    let args = ["run", plan.to_str().unwrap(), "--engine-option", "sim.time=real", "--quiet"];
    let output =
        Command::new(env!("CARGO_BIN_EXE_tacho")).args(args).args(["--engine", "sim", "--out"]).arg(&dir).output();
    let output = output.unwrap();
    assert_eq!(output.status.code(), Some(0), "{}{}", text(&output.stdout), text(&output.stderr));
}

#[test]
fn the_capacity_of_a_known_server_is_found() {
    // Even arrivals: none waits up to exactly 100/s, and above that all wait longer and longer.
    let (found, low, high, trials) = capacity(&["--arrivals", "constant", "--requests", "4000", "--slo", "ttft=15ms"]);
    assert!((found / 100.0 - 1.0).abs() <= 0.03 && low <= 100.3 && high >= 99.7, "{found}: {low} to {high}");
    assert!(trials <= 12, "{trials}");
}

#[test]
fn the_capacity_under_poisson_load_is_found() {
    // M/D/1: P(wait ≤ t) = (1 − ρ) Σ (ρ(k − x))^k / k! · e^(ρ(x − k)), k from 0 to floor x, x = t / service (Erlang 1909).
    // The rate at which 90 % wait at most 20 ms, so that ttft:p90=30ms:
    let within = |load: f64, x: f64| {
        let term = |k: i32| {
            let k_f = f64::from(k);
            let factorial: f64 = (1..=k).map(f64::from).product();
            (load * (k_f - x)).powi(k) / factorial * (load * (x - k_f)).exp()
        };
        (1.0 - load) * (0..=(x.floor() as i32)).map(term).sum::<f64>()
    };
    let (mut low, mut high) = (0.01, 0.99);
    for _ in 0..60 {
        let middle = (low + high) / 2.0;
        if within(middle, 2.0) >= 0.9 { low = middle } else { high = middle }
    }
    let truth = low * 100.0;
    let (found, low, high, trials) = capacity(&["--requests", "20000", "--slo", "ttft:p90=30ms"]);
    println!("true limit {truth:.3}");
    assert!((found / truth - 1.0).abs() <= 0.03, "{found} for {truth}");
    assert!(low <= truth && truth <= high, "{truth} outside {low} to {high}");
    assert!(trials <= 12, "{trials}");
}

#[test]
fn a_level_that_no_load_meets_has_no_capacity() {
    // A request alone takes 10 ms.
    assert_eq!(capacity(&["--requests", "200", "--slo", "ttft=1ms"]).0, 0.0);
    assert_eq!(capacity(&["--by", "concurrency", "--requests", "200", "--slo", "ttft=1ms"]).0, 0.0);
}

#[test]
fn a_queue_too_short_to_break_the_level_is_no_capacity() {
    // The level would be kept by any queue of 500 requests; the server ends 100 a second.
    let (found, low, high, _) = capacity(&["--arrivals", "constant", "--slo", "e2e=100s"]);
    assert!((found / 100.0 - 1.0).abs() <= 0.03 && low <= 100.0 && high >= 100.0, "{found}: {low} to {high}");
}

#[test]
fn a_queue_grows_by_what_comes_too_fast() {
    // D/D/1 at 110/s of 100/s: while the last 250 of 500 arrive, 250 (1 - 100 / 110) more are in the system, to a request either
    // way; just fast enough, it would wander by sqrt(250).
    let (summary, _) = trial(&mut server("virtual"), open("constant", 110.0, None), 500, 1);
    let schedule = summary.schedule.unwrap();
    let (expected, wander) = (250.0 * (1.0 - 100.0 / 110.0), 250_f64.sqrt());
    let found = schedule.queue_growth.unwrap() * wander;
    assert!((found - expected).abs() <= 1.0, "{found} for {expected}");
    let rates = schedule.growth.unwrap();
    assert!((rates.offered - 110.0).abs() < 1e-6 && (rates.achieved - 100.0).abs() < 0.5, "{rates:?}");
    let (kept_up, _) = trial(&mut server("virtual"), open("constant", 90.0, None), 500, 1);
    assert!((kept_up.schedule.unwrap().queue_growth.unwrap() * wander).abs() <= 1.0);
}

#[test]
fn takeovers_of_releases_are_a_column_where_threads_release() {
    let keep = tempfile::tempdir().unwrap();
    for (time, released_by_threads) in [("real", true), ("virtual", false)] {
        let dir = keep.path().join(time);
        let option = format!("sim.time={time}");
        let load = ["run", "--rate", "200", "--requests", "40", "--max-trials", "1", "--max-warmup", "0"];
        let engine = ["--engine", "sim", "--engine-option", &option, "--input", "4", "--output", "1"];
        let rest = ["--telemetry", "off", "--quiet", "--out"];
        let output =
            Command::new(env!("CARGO_BIN_EXE_tacho")).args(load).args(engine).args(rest).arg(&dir).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        let journal = fs::read_to_string(dir.join("journal.jsonl")).unwrap();
        let told = journal.split("\"takeovers\":").nth(1).expect("in the journal");
        let told: Value = serde_json::from_str(&told[..told.find([',', '}']).unwrap()]).unwrap();
        let row = &rows(&dir)[0];
        assert_eq!(row["release_takeovers"], told);
        assert_eq!(row["release_takeovers"].is_u64(), released_by_threads, "{row:#}");
    }
}

#[test]
fn the_highest_concurrency_is_found() {
    // One server, 10 ms a request: with N in flight each takes N · 10 ms.
    let (found, low, high, trials) = capacity(&["--by", "concurrency", "--requests", "600", "--slo", "e2e=75ms"]);
    assert_eq!((found, low, high), (7.0, 7.0, 7.0));
    assert!(trials <= 12, "{trials}");
}

#[test]
fn what_cannot_be_searched_is_refused() {
    let keep = tempfile::tempdir().unwrap();
    for (args, said) in [
        (vec!["capacity"], "--slo"),
        (vec!["capacity", "--slo", "ttft=1s", "--rate", "5"], "sets the load itself"),
        (vec!["capacity", "--slo", "ttft=1s", "--arrivals", "ramp:linear:5"], "one rate"),
        (vec!["capacity", "--slo", "ttft=1s", "--requests", "100,200"], "found 2"),
        (vec!["capacity", "--slo", "ttft"], "is no limit"),
        (vec!["run", "--rate", "0"], "above 0"),
        (vec!["run", "--rate", "nan"], "above 0"),
        (vec!["run", "--rate", "inf"], "above 0"),
        (vec!["run", "--rate", "5", "--concurrency", "2"], "exclude each other"),
        (vec!["run", "--arrivals", "poisson"], "--rate"),
        (vec!["run", "--arrivals", "trace:no/such/file"], "no/such/file"),
        (vec!["run", "--max-in-flight", "3"], "open load"),
    ] {
        let output = tacho(&args, &keep.path().join("run"));
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", text(&output.stderr));
        assert!(text(&output.stderr).contains(said), "{args:?}: {}", text(&output.stderr));
    }
}

#[test]
fn a_trace_is_followed_and_its_faults_are_told_by_line() {
    let keep = tempfile::tempdir().unwrap();
    let trace = keep.path().join("trace.jsonl");
    fs::write(&trace, (0..60).map(|i| format!("{{\"timestamp\": {}}}\n", i * 25)).collect::<String>()).unwrap();
    let arrivals = format!("trace:{}", trace.display());
    let dir = keep.path().join("run");
    let output = tacho(&["run", "--arrivals", &arrivals, "--requests", "60", "--max-trials", "1"], &dir);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(rows(&dir)[0]["offered_rate"], 40.0);
    fs::write(&trace, "{\"timestamp\": 5}\n{\"timestamp\": 3}\n").unwrap();
    let output = tacho(&["run", "--arrivals", &arrivals, "--requests", "2"], &keep.path().join("other"));
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("trace.jsonl:2: time goes back"), "{}", text(&output.stderr));
}
