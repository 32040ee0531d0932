//! Conversations from outside: turns that follow their answers, in closed and open load, in virtual time against what their
//! costs add up to, in real time, and through the program.
//!
//! llama.cpp is used where it is; a test that cannot run says why, unless `TACHO_CI_ENGINES` promises the engine.
use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Output,
};

use serde_json::{Value, json};
use tacho::{
    cell::{
        drive::run_trial,
        protocol::{Load, Method, NONE, RequestRow, TrialKind, TrialSpec, TrialSummary},
    },
    engine::{Engine, LoadConfig, Options, sim::Sim},
    plan::registry::Registry,
    workload::{
        LengthDist, ThinkTime, WorkloadSpec,
        arrivals::{ArrivalSpec, Schedule},
        saved::{Order, Saved, SavedRef},
    },
};

mod program;
mod requests;

use requests::Requests;

const MS: u64 = 1_000_000;
const SESSIONS: u32 = 6;
const TURNS: u32 = 3;

/// Six conversations of three turns: prompts of 40, 80 and 120 tokens, each the beginning of the next; answers of 4 tokens.
fn conversations() -> (tempfile::TempDir, SavedRef) {
    let turn = |session: u32, turn: u32| {
        let prompt = (0..40 * (turn + 1)).map(|place| 4 + (session * 1000 + place) % 31_000).collect();
        (prompt, Some(4))
    };
    let requests: Vec<(Vec<u32>, Option<u32>)> =
        (0..SESSIONS).flat_map(|session| (0..TURNS).map(move |number| turn(session, number))).collect();
    let saved = Saved::new(&requests, Value::Null).unwrap().with_turns(vec![TURNS; SESSIONS as usize]).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("w");
    saved.write(&path).unwrap();
    let digest = saved.header().digest.clone();
    (dir, SavedRef { path, digest, order: Order::File, think: None })
}

fn sim(options: Value) -> Sim {
    let options: Options = serde_json::from_value(options).unwrap();
    Sim::load(&LoadConfig { engine: "sim".into(), model: None, max_seqs: 8, max_model_len: 200, seed: 1, options })
        .unwrap()
}

fn trial(engine: &mut Sim, load: Load, from: &SavedRef, think: ThinkTime) -> (TrialSummary, Vec<RequestRow>) {
    let spec = TrialSpec {
        trial: 0,
        kind: TrialKind::Timed,
        method: Method::Steps,
        load,
        device_clock: Default::default(),
        workload: WorkloadSpec {
            requests: SESSIONS,
            input: LengthDist::Data(None),
            output: LengthDist::Data(None),
            sampling: Default::default(),
            seed: 3,
            stream: 0,
            ids: engine.info().model.ordinary_ids.clone(),
            saved: Some(SavedRef { think: Some(think), ..from.clone() }),
        },
    };
    let mut rows = Requests::default();
    let summary = run_trial(engine, &spec, &mut rows).unwrap();
    rows.0.sort_by_key(|row| row.request);
    assert_eq!((summary.requests, summary.output_tokens), (SESSIONS * TURNS, u64::from(SESSIONS * TURNS * 4)));
    assert_eq!(summary.evidence.given_digest, summary.evidence.consumed_digest);
    assert_eq!(
        summary.sessions.as_ref().map(|sessions| (sessions.sessions, sessions.most_turns)),
        Some((SESSIONS, TURNS))
    );
    (summary, rows.0)
}

/// Each turn's place, and that later turns were due `think` after the one before had ended.
fn follow(rows: &[RequestRow], think_ns: Option<u64>) {
    for (row, number) in rows.iter().zip(0..) {
        assert_eq!((row.session, row.turn), (number / TURNS, number % TURNS));
        assert!(row.submitted_ns >= row.scheduled_ns && row.first_ns > row.submitted_ns, "{row:?}");
    }
    for pair in rows.windows(2).filter(|pair| pair[1].turn > 0) {
        let waited = pair[1].scheduled_ns - pair[0].last_ns;
        assert!(think_ns.is_none_or(|think_ns| waited == think_ns), "{waited} ns");
        assert_eq!(pair[1].released_ns, NONE, "only first turns are released");
    }
}

#[test]
fn a_closed_load_keeps_so_many_conversations_under_way_and_a_prefix_cache_shortens_later_turns() {
    let (_dir, from) = conversations();
    let think = ThinkTime::Fixed { ns: 5 * MS };
    let costs = json!({ "time": "virtual", "step_base_us": 1000.0, "prefill_token_us": 10.0, "decode_seq_us": 0.0 });
    for (cached, hits) in [(false, 0), (true, u64::from(SESSIONS) * (40 + 80))] {
        let mut options = costs.clone();
        options["prefix_cache"] = cached.into();
        let mut engine = sim(options);
        // One at a time: nothing waits, so that times to the first token are those of the costs.
        let (summary, rows) = trial(&mut engine, Load::Closed { concurrency: 1 }, &from, think);
        follow(&rows, Some(5 * MS));
        for row in &rows {
            let computed = if cached { 40 } else { row.input_tokens };
            assert_eq!(row.first_ns - row.scheduled_ns, MS + u64::from(computed) * 10_000, "{row:?}");
        }
        assert_eq!(summary.stats["prefix_hit_tokens"], hits as f64);
        let sessions = summary.sessions.unwrap();
        assert_eq!(sessions.reusable_tokens, u64::from(SESSIONS) * (40 + 80 + 2 * 4));
        // (5 + 3 steps + prefill) for three turns, the last one's thinking left out.
        let one = TURNS as u64 * 4 * MS + 2 * 5 * MS;
        let prefill: u64 = if cached { 3 * 40 } else { 40 + 80 + 120 };
        assert_eq!(summary.end_ns - summary.start_ns, u64::from(SESSIONS) * (one + prefill * 10_000));
    }
    // Three at once: never more, and as one ends the next begins.
    let (_, rows) = trial(&mut sim(costs), Load::Closed { concurrency: 3 }, &from, think);
    follow(&rows, Some(5 * MS));
    let ends = |row: &RequestRow| {
        (rows[(row.session * TURNS) as usize].scheduled_ns, rows[(row.session * TURNS + 2) as usize].last_ns)
    };
    for row in rows.iter().filter(|row| row.turn == 0) {
        let under_way = rows.iter().filter(|other| other.turn == 0).map(ends);
        let at = row.scheduled_ns;
        assert!(under_way.filter(|(begin, end)| *begin <= at && at < *end).count() <= 3);
    }
    assert_eq!(rows.iter().filter(|row| row.turn == 0 && row.scheduled_ns == rows[0].scheduled_ns).count(), 3);
}

#[test]
fn thinking_is_neither_the_engine_s_time_nor_the_harness_s() {
    let (_dir, from) = conversations();
    let costs = json!({ "step_base_us": 1000.0, "prefill_token_us": 0.0, "decode_seq_us": 0.0 });
    let think = ThinkTime::Fixed { ns: 50 * MS };
    let (summary, _) = trial(&mut sim(costs), Load::Closed { concurrency: 1 }, &from, think);
    // 12 pauses, and 72 steps of 1 ms.
    let busy_s = summary.busy_ns.unwrap() as f64 / 1e9;
    assert!(summary.seconds() > 0.6 + 0.072 && busy_s > 0.072 && busy_s < 0.4, "{busy_s} of {} s", summary.seconds());
}

#[test]
fn an_open_load_starts_conversations_by_its_arrivals() {
    let (_dir, from) = conversations();
    let arrivals = ArrivalSpec { process: "poisson".parse().unwrap(), rate: Some(50.0) };
    let load = Load::Open { arrivals: arrivals.clone(), max_in_flight: None };
    let schedule = Schedule::new(&arrivals, SESSIONS, 3, 0).unwrap();
    let think = ThinkTime::Exponential { mean_ns: 20 * MS };
    let digest = |time: &str| {
        let mut engine = sim(json!({ "time": time, "step_base_us": 500.0 }));
        let (summary, rows) = trial(&mut engine, load.clone(), &from, think);
        follow(&rows, None);
        let fidelity = summary.schedule.unwrap();
        assert_eq!(fidelity.digest, schedule.digest());
        for (row, offset) in rows.iter().filter(|row| row.turn == 0).zip(schedule.offsets_ns()) {
            assert_eq!(row.scheduled_ns, summary.start_ns + offset);
            assert!(row.released_ns >= row.scheduled_ns && row.submitted_ns >= row.released_ns);
        }
        let waits = rows.windows(2).filter(|pair| pair[1].turn > 0).map(|pair| pair[1].scheduled_ns - pair[0].last_ns);
        (summary.sessions.unwrap().think_digest, waits.collect::<Vec<u64>>())
    };
    let (one, waits) = digest("virtual");
    // In real time the same conversations think as long.
    assert_eq!((one, waits.clone()), digest("real"));
    assert!(waits.iter().any(|wait| *wait != waits[0]));
}

/// Conversations of 1 to 7 turns, 4 on average, whose prompts have 8 tokens and whose answers have `output`.
fn of_many_lengths(sessions: u32, output: u32) -> (tempfile::TempDir, SavedRef, u32) {
    let turns: Vec<u32> = (0..sessions).map(|session| 1 + session * 5 % 7).collect();
    let total = turns.iter().sum();
    let prompt = |request: u32| ((0..8).map(|place| 4 + (request * 8 + place) % 31_000).collect(), Some(output));
    let requests: Vec<(Vec<u32>, Option<u32>)> = (0..total).map(prompt).collect();
    let saved = Saved::new(&requests, Value::Null).unwrap().with_turns(turns).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("w");
    saved.write(&path).unwrap();
    let digest = saved.header().digest.clone();
    (dir, SavedRef { path, digest, order: Order::File, think: None }, total)
}

/// An open trial of so many conversations a second, with exponential times to think.
fn open_trial(
    engine: &mut Sim,
    from: &SavedRef,
    (sessions, rate, think_s, stream): (u32, f64, u64, u64),
    max_in_flight: Option<u32>,
) -> (TrialSummary, Vec<RequestRow>) {
    let arrivals = ArrivalSpec { process: "poisson".parse().unwrap(), rate: Some(rate) };
    let spec = TrialSpec {
        trial: 0,
        kind: TrialKind::Timed,
        method: Method::Steps,
        load: Load::Open { arrivals, max_in_flight },
        device_clock: Default::default(),
        workload: WorkloadSpec {
            requests: sessions,
            input: LengthDist::Data(None),
            output: LengthDist::Data(None),
            sampling: Default::default(),
            seed: 5,
            stream,
            ids: engine.info().model.ordinary_ids.clone(),
            saved: Some(SavedRef {
                think: Some(ThinkTime::Exponential { mean_ns: think_s * 1000 * MS }),
                ..from.clone()
            }),
        },
    };
    let mut rows = Requests::default();
    let summary = run_trial(engine, &spec, &mut rows).unwrap();
    (summary, rows.0)
}

/// One at a time, 10 ms each: 100 turns, or 25 conversations, a second.
fn one_at_a_time() -> Sim {
    sim(
        json!({ "time": "virtual", "step_base_us": 10_000.0, "prefill_token_us": 0.0, "decode_seq_us": 0.0, "max_seqs": 1 }),
    )
}

#[test]
fn conversations_that_outrun_the_engine_end_the_trial_early() {
    let sessions = 4000;
    let (_dir, from, total) = of_many_lengths(sessions, 1);
    for (rate, think_s, max_in_flight) in [(50.0, 1, None), (37.5, 5, None), (37.5, 5, Some(4))] {
        let mut engine = one_at_a_time();
        let (summary, rows) = open_trial(&mut engine, &from, (sessions, rate, think_s, 1), max_in_flight);
        let saturation = summary.schedule.unwrap().saturation.unwrap();
        assert!(saturation.arrived < total / 2, "{rate}: {saturation:?} of {total}");
        assert_eq!(summary.requests + saturation.unfinished, saturation.arrived);
        assert_eq!(saturation.arrived + saturation.not_released, total);
        assert!(saturation.reason.contains("turns that were due"), "{}", saturation.reason);
        // Every turn that was due has its row, once, and those that were cut off their conversation and their time.
        assert_eq!(rows.len() as u32, saturation.arrived);
        let mut numbers: Vec<u32> = rows.iter().map(|row| row.request).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), rows.len());
        let cut: Vec<&RequestRow> = rows.iter().filter(|row| row.last_ns == NONE).collect();
        assert_eq!(cut.len() as u32, saturation.unfinished);
        assert!(cut.iter().all(|row| row.session < sessions && row.scheduled_ns <= summary.end_ns), "{rate}");
        assert!(cut.iter().all(|row| (row.turn == 0) == (row.released_ns != NONE)));
        // The engine is as good as new.
        let (after, _) = open_trial(&mut engine, &from, (sessions, 5.0, 1, 2), None);
        assert_eq!((after.requests, after.schedule.unwrap().saturation), (total, None));
    }
}

#[test]
fn conversations_that_only_grow_in_number_end_no_trial() {
    let sessions = 4000;
    let (_dir, from, total) = of_many_lengths(sessions, 1);
    let many = json!({ "time": "virtual", "step_base_us": 100_000.0, "prefill_token_us": 0.0, "decode_seq_us": 0.0 });
    // Filling up for the times that they think, to many hundreds; nearly or exactly full; with turns that take long themselves.
    for stream in 1..=5 {
        for (rate, think_s) in [(20.0, 10), (20.0, 60), (22.5, 5), (25.0, 5)] {
            let (summary, _) = open_trial(&mut one_at_a_time(), &from, (sessions, rate, think_s, stream), None);
            assert_eq!(summary.schedule.unwrap().saturation, None, "{rate}/s, {think_s} s, stream {stream}");
            assert_eq!(summary.requests, total);
        }
    }
    let (_dir, from, _) = of_many_lengths(sessions, 30);
    for (rate, think_s) in [(20.0, 10), (100.0, 2), (100.0, 60)] {
        let mut options = many.clone();
        options["max_seqs"] = 8192.into();
        let (summary, _) = open_trial(&mut sim(options), &from, (sessions, rate, think_s, 1), None);
        assert_eq!(summary.schedule.unwrap().saturation, None, "turns of 3 s, {rate}/s, {think_s} s");
    }
}

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/datasets").join(name)
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A run in `dir`, its points, and what it said.
fn run(dir: &Path, args: &[&str]) -> (Vec<Value>, Output) {
    let out = dir.join("run");
    let _ = fs::remove_dir_all(&out);
    let output = program::tacho()
        .args(["run", "--quiet", "--out", text(&out)])
        .args(args)
        .env("TACHO_CACHE_DIR", dir.join("cache"))
        .envs(env::var_os("TACHO_CELL_DIR").map(|cells| ("TACHO_CELL_DIR", cells)))
        .output()
        .unwrap();
    let rows: Value =
        fs::read(out.join("points.json")).map_or(json!([]), |text| serde_json::from_slice(&text).unwrap());
    (rows.as_array().unwrap().clone(), output)
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_run_tells_latencies_by_turn() {
    let dir = tempfile::tempdir().unwrap();
    let dataset = format!("sharegpt:{}", text(&data("sharegpt.json")));
    let tokenizer = data("tokenizer");
    let sim = ["--engine", "sim", "--engine-option", "sim.time=virtual", "--min-trials", "2", "--max-trials", "2"];
    let turns =
        ["--dataset", &dataset, "--tokenizer", text(&tokenizer), "--dataset-turns", "all", "--think-time", "30ms"];
    let common = [&sim[..], &turns, &["--requests", "12", "--engine-option", "sim.prefix_cache=true"]].concat();
    let (rows, output) = run(dir.path(), &[&common[..], &["--concurrency", "3"]].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(rows.len(), 2);
    for row in &rows {
        assert_eq!((&row["requests"], &row["sessions"], &row["think_time"]), (&json!(12), &json!(12), &json!("30ms")));
        assert!(row["requests_done"].as_u64() > Some(12), "some conversations have two turns: {row}");
        let (hits, most) = (row["prefix_hit_tokens"].as_f64().unwrap(), row["reusable_tokens"].as_f64().unwrap());
        assert!(hits > 0.0 && hits <= most, "{hits} of {most}");
        assert!(!row["invalid_reasons"].to_string().contains("prefix_hits"), "{row}");
    }
    let csv = fs::read_to_string(dir.path().join("run/turns.csv")).unwrap();
    let turns_told: Vec<&str> = csv.lines().skip(1).filter_map(|line| line.split(',').nth(3)).collect();
    assert_eq!(turns_told, ["0", "1", "0", "1"], "{csv}");
    let report = fs::read_to_string(dir.path().join("run/report.md")).unwrap();
    assert!(report.contains("## Conversations"), "{report}");
    let page = fs::read_to_string(dir.path().join("run/report.html")).unwrap();
    assert!(page.contains("Conversations"));

    // The same by arrivals, saved and replayed.
    let file = dir.path().join("w");
    let save = ["workload", "save", "--dataset", &dataset, "--tokenizer", text(&tokenizer), "--dataset-turns", "all"];
    let saved = program::tacho().args(save).args(["-o", text(&file)]).output().unwrap();
    assert!(saved.status.success(), "{}", stderr(&saved));
    let shown = program::tacho().args(["workload", "show", text(&file)]).output().unwrap();
    assert!(String::from_utf8_lossy(&shown.stdout).contains("conversations         12"), "{shown:?}");
    let again = format!("saved:{}", text(&file));
    let open = ["--dataset", &again, "--think-time", "exponential:30ms", "--rate", "20", "--requests", "12"];
    let (rows, output) = run(dir.path(), &[&sim[..], &open].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!((&rows[0]["load_mode"], &rows[0]["sessions"]), (&json!("open"), &json!(12)));
    assert_eq!(rows[0]["workload_digest"], Saved::read(&file).unwrap().header().digest);
    assert_ne!(rows[0]["think_digest"], rows[1]["think_digest"], "trials differ in their times, as in their arrivals");

    // All at once is no conversation.
    let (_, output) = run(dir.path(), &[&common[..], &["--batch", "4"]].concat());
    assert!(!output.status.success() && stderr(&output).contains("--concurrency or --rate"), "{}", stderr(&output));
}

#[test]
fn the_capacity_in_conversations_of_a_known_server_is_found_and_named_so() {
    let dir = tempfile::tempdir().unwrap();
    let turns = |n: u32| (0..2).map(move |turn| (vec![4 + n; 4 + turn], Some(1)));
    let requests: Vec<(Vec<u32>, Option<u32>)> = (0..600).flat_map(turns).collect();
    let saved = Saved::new(&requests, Value::Null).unwrap().with_turns(vec![2; 600]).unwrap();
    let file = dir.path().join("w");
    saved.write(&file).unwrap();
    // One server of 10 ms a request: fifty conversations of two turns a second, however long people think between them.
    let server = ["sim.time=virtual", "sim.step_base_us=10000", "sim.prefill_token_us=0", "sim.max_seqs=1"];
    let dataset = format!("saved:{}", text(&file));
    let out = dir.path().join("capacity");
    let args = ["capacity", "--engine", "sim", "--arrivals", "constant", "--slo", "ttft=45ms", "--think-time", "1s"];
    let output = program::tacho()
        .args(args)
        .args(server.iter().flat_map(|option| ["--engine-option", option]))
        .args(["--dataset", &dataset, "--requests", "600", "--telemetry", "off", "--quiet", "--out", text(&out)])
        .env("TACHO_CACHE_DIR", dir.path().join("cache"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("conversations/s"), "{said}{}", stderr(&output));
    let found: Value = serde_json::from_str(&fs::read_to_string(out.join("capacity.json")).unwrap()).unwrap();
    assert_eq!(found["conversations"], true);
    let estimate = found["estimate"].as_f64().unwrap();
    assert!((estimate / 50.0 - 1.0).abs() <= 0.03, "{said}");
    assert!(!said.contains("may lie at or"), "the range that was searched holds the limit: {said}");
}

fn absent(why: &str) {
    let promised = env::var("TACHO_CI_ENGINES").is_ok_and(|ids| ids.split_whitespace().any(|id| id == "llama.cpp"));
    assert!(!promised, "llama.cpp is promised, but {why}");
    eprintln!("skipped: {why}");
}

#[test]
fn llama_cpp_takes_conversations_with_its_own_vocabulary() {
    if let Err(error) = Registry::embedded().unwrap().cell_program("llama.cpp") {
        return absent(&error.to_string());
    }
    let cached = tacho::cache::dir().join("models/SmolLM2-135M-Instruct.Q4_1.gguf");
    let gguf = env::var_os("TACHO_TEST_MODEL").map(PathBuf::from).or(Some(cached)).filter(|path| path.is_file());
    let Some(gguf) = gguf else { return absent("there is no model: run scripts/model.sh, or set TACHO_TEST_MODEL") };
    let dir = tempfile::tempdir().unwrap();
    // Nothing beside it.
    let alone = dir.path().join("alone.gguf");
    std::os::unix::fs::symlink(&gguf, &alone).unwrap();
    let dataset = format!("sharegpt:{}", text(&data("sharegpt.json")));
    let common = [
        "--engine",
        "llama.cpp",
        // Threads would spin while they wait for each other, where processors are busy.
        "--engine-option",
        "llama.cpp.threads=1",
        "--model",
        text(&alone),
        "--dataset",
        &dataset,
        "--dataset-turns",
        "all",
        "--dataset-order",
        "file",
        "--think-time",
        "5ms",
        "--requests",
        "3",
        "--output",
        "4",
        "--min-trials",
        "1",
        "--max-trials",
        "1",
        "--max-warmup",
        "0",
    ];
    for load in [["--concurrency", "2"], ["--rate", "20"]] {
        let (rows, output) = run(dir.path(), &[&common[..], &load].concat());
        assert!(output.status.success(), "{}", stderr(&output));
        let row = &rows[0];
        // The third one asks twice.
        assert_eq!(
            (&row["sessions"], &row["requests_done"], &row["output_tokens"]),
            (&json!(3), &json!(4), &json!(16))
        );
        assert_eq!(row["prefix_hit_tokens"], 0.0, "its scheduler shares no prefixes");
        assert!(!row["not_checked"].to_string().contains("input_ids"), "the ids are compared by their hash: {row}");
    }
}
