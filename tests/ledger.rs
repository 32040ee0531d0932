//! The boundary ledger from outside, over the simulated engine and a double of an OpenAI-compatible server
//! (`tests/doubles/openai_server.py`) that behaves and misbehaves. Without `python3` the double cannot run, and those tests say so.
use std::{
    fs,
    io::{BufRead, BufReader},
    net::TcpListener,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use tacho::{
    http::Endpoint,
    ledger::{Ledger, PointLedger, Rung, RungState},
};

mod program;

fn double() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/doubles/openai_server.py")
}

/// Whether the double can run; says so where it cannot.
fn can_run() -> bool {
    let here =
        Command::new("python3").arg("--version").stdout(Stdio::null()).status().is_ok_and(|status| status.success());
    if !here {
        eprintln!("skipped: the double of a server needs python3, which is not on PATH");
    }
    here
}

/// A double that was running before Tacho came.
struct Running {
    child: Child,
    url: String,
}

impl Running {
    fn start(fault: &str) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut child = Command::new("python3")
            .arg(double())
            .args(["--port", &port.to_string(), "--fault", fault])
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line.trim(), "the double listens");
        Self { child, url: format!("http://127.0.0.1:{port}") }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A small ledger of the simulated engine.
fn ledger(folder: &Path, args: &[&str]) -> Command {
    let mut command = program::tacho();
    command.args(["ledger", "--engine", "sim", "--engine-option", "sim.step_base_us=100"]);
    command.args([
        "--batch",
        "3",
        "--input",
        "8",
        "--output",
        "6",
        "--launches",
        "1",
        "--blocks",
        "6",
        "--max-warmup",
        "3",
    ]);
    command.args(["--trial-deadline", "20s", "--out"]).arg(folder).args(args);
    command.env("TACHO_CACHE_DIR", folder.join("../cache"));
    command
}

fn read(folder: &Path) -> Ledger {
    serde_json::from_slice(&fs::read(folder.join("ledger.json")).unwrap()).unwrap()
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn http(point: &PointLedger) -> (&RungState, usize) {
    let record = point.rungs.iter().find(|record| record.rung == Rung::Http).unwrap();
    (&record.state, record.turns.len())
}

/// Why the http rung failed.
fn failure(folder: &Path) -> String {
    match http(&read(folder).engines[0].points[0]).0 {
        RungState::Failed { reason } => reason.clone(),
        other => panic!("expected a failure, found {other:?}"),
    }
}

#[test]
fn a_server_that_tacho_starts_is_a_rung_and_is_gone_afterwards() {
    if !can_run() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("l");
    let server = double();
    let output = ledger(&out, &["--server", server.to_str().unwrap()])
        .env("TACHO_DOUBLE_FAULT", "children")
        .env("MY_SECRET", "not for servers")
        .env("INNOCENT_WITH_A_SECRET", "not for servers")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let ledger = read(&out);
    let engine = &ledger.engines[0];
    let point = &engine.points[0];
    assert_eq!((http(point).1, point.batch), (12, 3), "{}", said(&output));
    let turn = &point.rungs.iter().find(|record| record.rung == Rung::Http).unwrap().turns[0];
    assert_eq!((turn.input_tokens, turn.output_tokens), (Some(24), 18));
    assert!(turn.characters.unwrap() > 18 && turn.first_event_ms.unwrap() > 0.0);
    let layer = point.layers.iter().find(|layer| layer.to == Rung::Http).unwrap();
    assert_eq!((layer.from, layer.blocks), (Rung::Generate, 6));
    assert!(layer.batch_ms.unwrap().low.is_some() && layer.ratio.unwrap().mean > 1.0, "{layer:?}");
    let same = point.same_outputs.unwrap();
    assert_eq!((same.same, same.of), (12, 12));
    // All that the server started is gone, the child in a session of its own too.
    let command = engine.server.as_ref().unwrap().command.as_ref().unwrap();
    assert_eq!((command[1].as_str(), command[2].parse::<u16>().is_ok_and(|port| port > 0)), ("--port", true));
    let left = holders(out.to_str().unwrap());
    assert!(left.is_empty(), "left of the server: {left:?}");
    // What people read.
    let text = fs::read_to_string(out.join("ledger.md")).unwrap();
    for expected in ["SIMULATED", "generate → http", "Not measured:", "child (generate call"] {
        assert!(text.contains(expected), "{expected} in:\n{text}");
    }
    let rows = |name: &str| fs::read_to_string(out.join(name)).unwrap().lines().count();
    assert_eq!(rows("ledger.csv"), 1 + point.layers.len() + point.totals.len());
    // Three rungs with 12 turns, four that are not there.
    assert_eq!(rows("turns.csv"), 1 + 3 * 12 + 4);
}

#[test]
fn a_server_program_of_the_current_folder_needs_no_slash() {
    if !can_run() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    fs::copy(double(), dir.path().join("my-server")).unwrap();
    let output = ledger(&dir.path().join("l"), &["--server", "my-server"]).current_dir(dir.path()).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let command = read(&dir.path().join("l")).engines[0].server.as_ref().unwrap().command.clone().unwrap();
    assert!(Path::new(&command[0]).is_absolute() && command[0].ends_with("/my-server"), "{command:?}");
}

#[test]
fn a_server_that_runs_already_takes_the_row_and_lives_on() {
    if !can_run() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut running = Running::start("");
    let out = dir.path().join("l");
    let output = ledger(&out, &["--rungs", "generate,http", "--endpoint", &running.url]).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let ledger = read(&out);
    let server = ledger.engines[0].server.as_ref().unwrap();
    assert_eq!((server.model.as_str(), server.endpoint.as_deref()), ("double", Some(running.url.as_str())));
    assert_eq!(ledger.engines[0].points[0].layers.len(), 1);
    assert!(matches!(running.child.try_wait(), Ok(None)));
    // Text to a server, of an engine whose model has none.
    let out = dir.path().join("t");
    ledger_text(&out, &running.url);
}

/// All that a ledger has written, and what it said.
fn everything(out: &Path, output: &Output) -> String {
    let mut all = said(output);
    for entry in walk(out) {
        all.push_str(&String::from_utf8_lossy(&fs::read(entry).unwrap()));
    }
    all
}

fn walk(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}

#[test]
fn a_key_reaches_its_server_and_nothing_else() {
    if !can_run() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let running = Running::start("key");
    let args = ["--rungs", "generate,http", "--endpoint", &running.url, "--endpoint-key-env"];
    let run = |name: &str, variable: &str, key: &str| {
        let out = dir.path().join(name);
        let output = ledger(&out, &args).arg(variable).env("DOORS_API_KEY", key).env("DOOR", key).output().unwrap();
        (out, output)
    };
    let (out, output) = run("right", "DOORS_API_KEY", "open-sesame-9876");
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(http(&read(&out).engines[0].points[0]).1, 12, "{}", said(&output));
    let all = everything(&out, &output);
    assert!(all.contains("DOORS_API_KEY") && !all.contains("open-sesame"), "{all}");
    // The wrong one comes back in the server's answer, which is a reason.
    let (out, output) = run("wrong", "DOORS_API_KEY", "open-barley-1234");
    let all = everything(&out, &output);
    assert!(all.contains("expected status 200, found 401") && all.contains("opens nothing here"), "{all}");
    assert!(!all.contains("open-barley"), "{all}");
    // So does the right one, in the stream of a server that repeats it.
    let telling = Running::start("key-stream");
    let out = dir.path().join("stream");
    let args = ["--rungs", "generate,http", "--endpoint", &telling.url, "--endpoint-key-env", "DOORS_API_KEY"];
    let output = ledger(&out, &args).env("DOORS_API_KEY", "open-sesame-9876").output().unwrap();
    let all = everything(&out, &output);
    assert!(all.contains("is no longer welcome") && !all.contains("open-sesame"), "{all}");
    let refusals = [
        ("DOOR", "open-sesame-9876", "its name does not say that it holds a secret"),
        ("NO_SUCH_KEY", "open-sesame-9876", "it is not set"),
        ("DOORS_API_KEY", "Xy7", "shorter than 8 characters"),
        ("DOORS_API_KEY", "two words of it", "characters that no header may have"),
    ];
    for (variable, key, why) in refusals {
        let (out, output) = run("refused", variable, key);
        assert_eq!(output.status.code(), Some(2), "{}", said(&output));
        let told = said(&output);
        assert!(told.contains(why) && told.contains(variable) && !told.contains(key) && !out.exists(), "{told}");
    }
}

fn ledger_text(out: &Path, url: &str) {
    let output =
        ledger(out, &["--rungs", "generate,http", "--endpoint", url, "--http-prompt", "text"]).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    match http(&read(out).engines[0].points[0]).0 {
        RungState::NotOffered { reason } => assert!(reason.contains("no tokenizer"), "{reason}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_way_in_which_a_server_fails_is_a_clear_sentence() {
    if !can_run() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let expected = [
        ("short", "6 output tokens were asked for, the server counts 5 (by usage)"),
        ("prompt", "8 prompt tokens were asked for, the server counts 9 (by usage)"),
        ("usage-short", "6 output tokens were asked for, the server counts 5 (by events of the stream)"),
        ("stop", "expected the finish reason length, found stop"),
        ("half", "the stream ended after 1 events without `[DONE]`"),
        ("no-done", "without `[DONE]`"),
        ("error", "the double ran out of blocks"),
        ("500", "expected status 200, found 500: {\"error\": {\"message\": \"the double was told to say 500\"}}"),
        ("404", "expected status 200, found 404"),
        ("silent", "no whole answer within 4 s: after 0 events"),
        ("stall", "no whole answer within 4 s: after 1 events"),
    ];
    for (fault, sentence) in expected {
        let running = Running::start(fault);
        let out = dir.path().join(fault);
        let args = ["--rungs", "generate,http", "--blocks", "1", "--trial-deadline", "4s", "--endpoint", &running.url];
        let output = tweak(ledger(&out, &[]), &args).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{fault}: {}", said(&output));
        let reason = failure(&out);
        assert!(reason.contains(sentence), "{fault}: {reason}");
        assert!(said(&output).contains("**failed**"), "{fault}: {}", said(&output));
    }
    // Without counts of its own, events are counted.
    let running = Running::start("usage");
    let out = dir.path().join("usage");
    let output = ledger(&out, &["--rungs", "generate,http", "--endpoint", &running.url]).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let ledger = read(&out);
    let record = ledger.engines[0].points[0].rungs.iter().find(|record| record.rung == Rung::Http).unwrap();
    assert_eq!((record.turns[0].input_tokens, record.turns[0].output_tokens), (None, 18));
}

/// The command with flags that were given before replaced; its environment is the plain one.
fn tweak(command: Command, args: &[&str]) -> Command {
    let before: Vec<String> = command.get_args().map(|arg| arg.to_str().unwrap().to_owned()).collect();
    let mut kept = Vec::new();
    let mut words = before.into_iter();
    while let Some(word) = words.next() {
        if args.contains(&word.as_str()) && word.starts_with("--") {
            words.next();
        } else {
            kept.push(word);
        }
    }
    let mut anew = program::tacho();
    anew.args(kept).args(args);
    anew
}

#[test]
fn a_server_that_does_not_come_up_or_goes_away_is_told_with_its_last_words() {
    if !can_run() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let server = double();
    let expected = [
        ("exit", "the double has no weights"),
        ("never-ready", "it was not ready within 8 s"),
        ("die", "its process has ended"),
    ];
    for (fault, sentence) in expected {
        let out = dir.path().join(fault);
        let args = ["--rungs", "generate,http", "--load-deadline", "8s", "--server", server.to_str().unwrap()];
        let args: &[&str] = if fault == "never-ready" { &args } else { &[args[0], args[1], args[4], args[5]] };
        let output = ledger(&out, args).env("TACHO_DOUBLE_FAULT", fault).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{fault}: {}", said(&output));
        let reason = failure(&out);
        assert!(reason.contains(sentence), "{fault}: {reason}");
    }
    // What could be measured is there all the same.
    let rungs = &read(&dir.path().join("die")).engines[0].points[0].rungs;
    assert_eq!(rungs.iter().find(|record| record.rung == Rung::Generate).unwrap().turns.len(), 12);
}

#[test]
fn a_tacho_that_is_killed_takes_its_server_with_it() {
    if !can_run() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("l");
    let server = double();
    let args = ["--rungs", "generate,http", "--blocks", "100", "--server", server.to_str().unwrap()];
    let mut command = tweak(ledger(&out, &[]), &args);
    let mut running = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let log = out.join("logs/sim-server.log");
    let deadline = Instant::now() + Duration::from_secs(20);
    while !fs::read_to_string(&log).is_ok_and(|said| said.contains("listens")) {
        assert!(Instant::now() < deadline, "the server was not started");
        std::thread::sleep(Duration::from_millis(10));
    }
    let folder = out.to_str().unwrap().to_owned();
    assert!(!holders(&folder).is_empty());
    running.kill().unwrap();
    running.wait().unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    while !holders(&folder).is_empty() {
        assert!(Instant::now() < deadline, "left behind: {:?}", holders(&folder));
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Processes whose standard error lies in that folder.
fn holders(folder: &str) -> Vec<String> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let holds =
        |pid: &u32| fs::read_link(format!("/proc/{pid}/fd/2")).is_ok_and(|at| at.to_string_lossy().contains(folder));
    pids.filter(holds).map(|pid| fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default()).collect()
}

#[test]
fn what_a_ledger_cannot_be_made_of_is_refused_before_anything_runs() {
    let dir = tempfile::tempdir().unwrap();
    let refused = |name: &str, args: &[&str], sentence: &str| {
        let out = dir.path().join(name);
        let output = tweak(ledger(&out, &[]), args).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{name}: {}", said(&output));
        assert!(said(&output).contains(sentence), "{name}: {}", said(&output));
        assert!(!out.exists());
    };
    refused("rung", &["--rungs", "generate,grpc"], "expected steps, generate, text-in");
    refused("alone", &["--rungs", "http"], "expected a rung besides http");
    refused("lengths", &["--input", "8..16"], "a ledger needs exact lengths");
    refused("greedy", &["--temperature", "1"], "decodes greedily");
    refused("url", &["--endpoint", "localhost:80"], "expected http://HOST:PORT");
    refused("program", &["--server", "/no/such/server"], "there is no program /no/such/server");
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let out = dir.path().join("gone");
    let output = ledger(&out, &["--rungs", "generate,http", "--endpoint", &format!("http://{gone}")]).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(failure(&out).contains("no connection"), "{}", failure(&out));
    assert!(Endpoint::parse(&format!("http://{gone}")).is_ok());
}
