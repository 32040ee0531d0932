//! What a run of the simulated engine survives: faults of its cell, of the disk, and of whoever stops it. The long forms,
//! with hundreds of kills and a thousand faults, are ignored here and run by `make soak`; docs/reliability.md has the table.
mod disk;
mod engine;
mod memory;
#[path = "../program/mod.rs"]
mod program;
mod soak;
mod steady;
mod supervisor;
mod trust;

use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use program::tacho;
use serde_json::Value;

fn run(args: &[&str]) -> Output {
    tacho().arg("run").args(args).output().unwrap()
}

fn spawn(args: &[&str]) -> Child {
    tacho().arg("run").args(args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A sweep in virtual time: the same figures every time, whatever the machine does.
const SWEEP: [&str; 11] = [
    "--engine",
    "sim",
    "--engine-option",
    "sim.time=virtual",
    "--batch",
    "1..6+1",
    "--input",
    "16",
    "--output",
    "8",
    "--quiet",
];

fn with<'a>(base: &[&'a str], more: &[&'a str]) -> Vec<&'a str> {
    base.iter().chain(more).copied().collect()
}

/// A run directory that does not exist yet.
struct Scratch {
    keep: tempfile::TempDir,
    dir: PathBuf,
}

/// Columns that no two runs share.
const OWN: [&str; 3] = ["run_id", "load_seconds", "load_ms"];

impl Scratch {
    fn new() -> Self {
        let keep = tempfile::tempdir().unwrap();
        let dir = keep.path().join("run");
        Self { keep, dir }
    }

    fn path(&self) -> &str {
        self.dir.to_str().unwrap()
    }

    /// The journal's whole lines.
    fn journal(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.dir.join("journal.jsonl")).unwrap_or_default();
        let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        whole.map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Rows of `points.csv` by (point, trial), without the columns that no two runs share.
    fn figures(&self) -> BTreeMap<(u32, String), BTreeMap<String, String>> {
        let mut reader = csv::Reader::from_path(self.dir.join("points.csv")).unwrap();
        let headers = reader.headers().unwrap().clone();
        let mut rows = BTreeMap::new();
        for row in reader.records() {
            let row = row.unwrap();
            let mut row: BTreeMap<String, String> =
                headers.iter().zip(row.iter()).map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
            row.retain(|name, _| !OWN.contains(&name.as_str()));
            let id = (row["point"].parse().unwrap(), row["trial"].clone());
            assert!(rows.insert(id, row).is_none(), "two rows of one trial");
        }
        rows
    }

    fn failures(&self) -> Vec<Value> {
        let failed = |entry: Value| Some(entry["record"]["outcome"].clone()).filter(|it| it["status"] == "failed");
        self.journal().into_iter().filter_map(failed).collect()
    }
}

fn wait_for_points(scratch: &Scratch, points: usize) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while scratch.journal().len() < points {
        assert!(Instant::now() < deadline, "no {points} points in a minute");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Living processes whose command line is `line`, its words separated by spaces.
fn processes(line: &str) -> Vec<i32> {
    let pids = fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let is = |pid: &i32| {
        let found = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        text(&found).trim_end_matches('\0').replace('\0', " ") == line
    };
    pids.filter(is).collect()
}

fn children_of(pid: u32) -> Vec<u32> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    text.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
}

fn wait_until_gone(pid: u32) {
    let deadline = Instant::now() + Duration::from_secs(10);
    let there = || fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z"));
    while there() {
        assert!(Instant::now() < deadline, "process {pid} is still there");
        std::thread::sleep(Duration::from_millis(5));
    }
}
