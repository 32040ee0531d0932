//! Out of memory is a result: the frontier is looked for when asked, and named.
use super::*;

/// Memory for the KV entries of 264 tokens: 11 requests of 24.
const BASE: [&str; 13] = [
    "--engine",
    "sim",
    "--engine-option",
    "sim.time=virtual",
    "--engine-option",
    "sim.memory_tokens=264",
    "--output",
    "8",
    "--batch",
    "1..32*2",
    "--bisect-oom",
    "batch",
    "--quiet",
];

/// Batches of the points with that status and that input, in their order.
fn batches(scratch: &Scratch, status: &str, input: &str) -> Vec<u32> {
    let rows = scratch.figures().into_values().filter(|row| row["status"] == status && row["input"] == input);
    let mut found: Vec<u32> = rows.map(|row| row["batch"].parse().unwrap()).collect();
    found.sort_unstable();
    found.dedup();
    found
}

#[test]
fn the_frontier_is_bisected_and_named_and_a_resumed_run_keeps_it() {
    let scratch = Scratch::new();
    let args = with(&BASE, &["--input", "16,32", "--out", scratch.path()]);
    let output = run(&args);
    // Points that ran out of memory have failed, as ever.
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    let said = text(&output.stdout);
    for line in [
        "memory ends: sim input=16: batch 11 ran, batch 12 ran out of memory",
        "memory ends: sim input=32: batch 6 ran, batch 7 ran out of memory",
    ] {
        assert!(said.contains(line), "{said}");
    }
    assert_eq!(batches(&scratch, "ok", "16"), [1, 2, 4, 8, 10, 11]);
    assert_eq!(batches(&scratch, "ok", "32"), [1, 2, 4, 6]);
    assert!(scratch.figures().len() > 12, "points were added");
    for file in ["report.md", "report.html"] {
        let report = fs::read_to_string(scratch.dir.join(file)).unwrap();
        assert!(report.contains("Where memory ends"), "{file}");
    }
    let figures = scratch.figures();
    let again = run(&["--resume", scratch.path(), "--quiet"]);
    assert_eq!(again.status.code(), Some(1), "{}", text(&again.stderr));
    assert!(text(&again.stdout).contains("batch 11 ran, batch 12 ran out of memory"));
    assert_eq!(scratch.figures().keys().collect::<Vec<_>>(), figures.keys().collect::<Vec<_>>());
}

#[test]
fn a_load_that_runs_out_of_memory_costs_no_point_that_fits() {
    let scratch = Scratch::new();
    let more = ["--input", "16", "--engine-option", "sim.memory_at_load=true", "--out", scratch.path()];
    let output = run(&with(&BASE, &more));
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("batch 11 ran, batch 12 ran out of memory"), "{}", text(&output.stdout));
    assert_eq!(batches(&scratch, "ok", "16"), [1, 2, 4, 8, 10, 11]);
    assert_eq!(batches(&scratch, "failed", "16"), [12, 16, 32]);
}

#[test]
fn enough_memory_adds_nothing_and_what_cannot_be_bisected_is_refused() {
    let scratch = Scratch::new();
    let base = ["--engine", "sim", "--engine-option", "sim.time=virtual", "--input", "4", "--output", "4", "--quiet"];
    let output = run(&with(&base, &["--batch", "1,2", "--bisect-oom", "batch", "--out", scratch.path()]));
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(scratch.journal().len(), 2);
    for (args, says) in [
        (&["--batch", "4", "--bisect-oom", "batch"][..], "does not vary 'batch'"),
        (&["--batch", "1,2", "--bisect-oom", "colour"], "expected one of the axes batch"),
        (&["--batch", "1,2", "--requests", "2,4", "--zip", "--bisect-oom", "batch"], "exclude each other"),
    ] {
        let refused = run(&with(&base, args));
        assert_eq!(refused.status.code(), Some(2), "{args:?}");
        assert!(text(&refused.stderr).contains(says), "{args:?}: {}", text(&refused.stderr));
    }
}

/// A cell that gets a SIGKILL from outside, with what a cgroup counts then; None where there is no count.
fn killed(before: Option<u32>, after: Option<u32>) -> Value {
    let scratch = Scratch::new();
    let cgroup = scratch.keep.path().join("cgroup");
    fs::create_dir(&cgroup).unwrap();
    let count = |kills: Option<u32>| {
        let events = kills.map(|kills| format!("low 0\nhigh 0\nmax 7\noom 1\noom_kill {kills}\n"));
        events.into_iter().for_each(|events| fs::write(cgroup.join("memory.events"), events).unwrap());
    };
    count(before);
    // A trial of a minute.
    let args = ["--engine", "sim", "--engine-option", "sim.step_base_us=6000000", "--batch", "1", "--output", "10"];
    let mut command = tacho();
    command.arg("run").args(args).args(["--quiet", "--out", scratch.path()]);
    command.env("TACHO_TEST_CGROUP", &cgroup).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    while !fs::read_to_string(scratch.dir.join("engines.jsonl")).is_ok_and(|engines| engines.contains("load_ns")) {
        assert!(Instant::now() < deadline, "the engine was not loaded");
        std::thread::sleep(Duration::from_millis(5));
    }
    count(after);
    for cell in children_of(child.id()) {
        let cell = rustix::process::Pid::from_raw(cell as i32).unwrap();
        rustix::process::kill_process(cell, rustix::process::Signal::KILL).unwrap();
    }
    assert_eq!(child.wait().unwrap().code(), Some(1));
    let failures = scratch.failures();
    assert_eq!(failures.len(), 1, "{failures:#?}");
    failures[0].clone()
}

#[test]
fn a_kill_is_out_of_memory_where_the_kernel_counts_it_so_and_nowhere_else() {
    for (before, after, kind, reason) in [
        (Some(2), Some(3), Some("out_of_memory"), "out of memory: killed by signal 9"),
        (Some(2), Some(2), None, "not by the kernel's OOM killer"),
        (None, None, None, "perhaps by the kernel's OOM killer"),
    ] {
        let failure = killed(before, after);
        assert_eq!((failure["signal"].as_i64(), failure["kind"].as_str()), (Some(9), kind), "{failure:#}");
        assert!(failure["reason"].as_str().unwrap().contains(reason), "{failure:#}");
    }
}
