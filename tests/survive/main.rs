//! What a run of the simulated engine survives: faults of its cell, of the disk, and of whoever stops it. The long forms,
//! with hundreds of kills and a thousand faults, are ignored here and run by `make soak`; docs/reliability.md has the table.
mod disk;
mod engine;
mod gpu;
mod memory;
#[path = "../program/mod.rs"]
mod program;
#[path = "../scratch/mod.rs"]
mod scratch;
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
use scratch::Scratch;
use serde_json::Value;
use tacho::{
    cell::parent::{CellProgram, SIM_CELL_ARG},
    plan::Plan,
};

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

/// The simulated engine's cell, for runs in this process.
fn sim_cell() -> CellProgram {
    CellProgram {
        program: env!("CARGO_BIN_EXE_tacho").into(),
        args: vec![SIM_CELL_ARG.into()],
        env: Vec::new(),
        build_with: "cargo build --release".to_owned(),
    }
}

impl Scratch {
    /// The plan of the run that is there.
    fn plan(&self) -> Plan {
        let info: Value = serde_json::from_slice(&fs::read(self.dir.join("run.json")).unwrap()).unwrap();
        serde_json::from_value(info["plan"].clone()).unwrap()
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
