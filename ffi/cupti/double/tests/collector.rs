//! The collector over a double of CUPTI, in processes of its own: what it writes is read back by the library.
mod common;

use std::{
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use common::{PROGRAM, collector, cupti};
use tacho::measure::trace::{TraceFigures, Tracing, Window};

fn program(tracing: &Tracing, count: u64) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(["--emit", &count.to_string()]).stdout(Stdio::piped());
    command.envs(tracing.environment(&collector())).env("TACHO_CUPTI", cupti()).env("TACHO_CUPTI_DOUBLE_QUIET", "1");
    command
}

/// Waits until the collector in the process has said that it is there, which a process that cannot load it never does.
fn wait_for_state(tracing: &Tracing, child: &mut Child) {
    let began = Instant::now();
    while tracing.states().unwrap().is_empty() {
        if began.elapsed() > Duration::from_secs(60) {
            child.kill().unwrap();
            panic!("no collector has shown itself in 60 s; {PROGRAM} says why on standard error");
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn wait_for_emitted(child: &mut Child) {
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(child.stdout.as_mut().unwrap()), &mut line).unwrap();
    assert_eq!(line, "emitted\n");
}

fn analysed(tracing: &mut Tracing) -> TraceFigures {
    let everything = Window { start_ns: 0, end_ns: u64::MAX / 4 };
    tracing.analyse(everything, &[], &mut |_, _| Ok(())).unwrap().0
}

fn peak_rss_mib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

#[test]
fn every_kernel_between_on_and_off_is_in_the_file_and_memory_stays_bounded() {
    const COUNT: u64 = 3_000_000;
    let dir = tempfile::tempdir().unwrap();
    let mut tracing = Tracing::create(&dir.path().join("trace")).unwrap();
    let mut child = program(&tracing, COUNT).spawn().unwrap();
    wait_for_state(&tracing, &mut child);
    tracing.record(true).unwrap();
    wait_for_emitted(&mut child);
    tracing.record(false).unwrap();
    let states = tracing.states().unwrap();
    let peak = peak_rss_mib(child.id());
    // It ends upon the answer, so that nobody may be left to be asked.
    let _ = tracing.record(false);
    assert!(child.wait().unwrap().success());

    let state = states.values().next().unwrap();
    let figures = analysed(&mut tracing);
    // Where the writer could not keep up, CUPTI dropped records, and both say so.
    assert_eq!(figures.kernels + figures.lost.dropped, COUNT, "{state:?}");
    assert_eq!((state.records, state.lost), (figures.kernels, figures.lost));
    assert!(figures.kernels > COUNT / 10);
    if figures.lost.dropped == 0 {
        assert_eq!(figures.busy_ns, 1000 * COUNT);
        assert_eq!(figures.top.iter().map(|kernel| kernel.count).sum::<u64>(), COUNT);
    }
    assert_eq!(figures.late, 0);
    assert!(figures.clock_error_ns.unwrap() < 1_000_000, "{figures:?}");
    // 64 MiB of buffers and what a process has anyway; the records alone would be 600 MB.
    assert!(peak < 110, "{peak} MiB");
}

#[test]
fn a_process_that_ends_while_it_is_recorded_leaves_everything() {
    let dir = tempfile::tempdir().unwrap();
    let mut tracing = Tracing::create(&dir.path().join("trace")).unwrap();
    let mut child = program(&tracing, 5000).env("TACHO_DOUBLE_EXIT_EARLY", "1").spawn().unwrap();
    wait_for_state(&tracing, &mut child);
    // It ends as soon as it has recorded, and may have done so before it is asked whether it heard: nobody is left then.
    let _ = tracing.record(true);
    assert!(child.wait().unwrap().success());
    assert_eq!(analysed(&mut tracing).kernels, 5000);
    let mut files = tracing.files().unwrap();
    assert_eq!(files.pop().map(|file| file.ended()), Some(true));
}

#[test]
fn a_killed_process_leaves_whole_records() {
    let dir = tempfile::tempdir().unwrap();
    let mut tracing = Tracing::create(&dir.path().join("trace")).unwrap();
    let mut child = program(&tracing, 200_000).spawn().unwrap();
    wait_for_state(&tracing, &mut child);
    tracing.record(true).unwrap();
    wait_for_emitted(&mut child);
    std::thread::sleep(Duration::from_millis(500));
    child.kill().unwrap();
    child.wait().unwrap();
    let figures = analysed(&mut tracing);
    // All but the buffer that CUPTI was still filling.
    assert!(figures.kernels + figures.lost.dropped >= 150_000, "{figures:?}");
    assert!(tracing.states().unwrap().is_empty(), "the dead do not count");
}

#[test]
fn without_cupti_the_program_runs_and_the_harness_learns_why_there_is_no_trace() {
    let dir = tempfile::tempdir().unwrap();
    let mut tracing = Tracing::create(&dir.path().join("trace")).unwrap();
    let mut child = program(&tracing, 10).env("TACHO_CUPTI", "/nonexistent/libcupti.so").spawn().unwrap();
    wait_for_state(&tracing, &mut child);
    let error = tracing.record(true).unwrap_err();
    assert!(error.contains("is not traced: TACHO_CUPTI names no library that can be loaded"), "{error}");
    assert!(child.try_wait().unwrap().is_none(), "the program goes on");
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn without_a_trace_folder_nothing_is_done() {
    let mut command = Command::new(PROGRAM);
    command.args(["--emit", "1"]).env("CUDA_INJECTION64_PATH", collector()).env_remove("TACHO_TRACE_DIR");
    let output = command.output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains("InitializeInjection answered 1"), "{told}");
    assert!(!Path::new("0.tkt").exists());
}
