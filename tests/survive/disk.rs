//! Disks that are full, that fail to sync, and that change what was written. `disk.c`, a double of such a disk, is compiled
//! and preloaded.
use super::*;

/// A double of what lies below `tacho`, compiled to be preloaded; None, with the reason printed, where there is no C compiler.
pub fn preloaded(folder: &std::path::Path, name: &str) -> Option<PathBuf> {
    let library = folder.join(format!("{name}.so"));
    let source = format!("{}/tests/survive/{name}.c", env!("CARGO_MANIFEST_DIR"));
    let compiled =
        Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).args([&source, "-ldl"]).status();
    match compiled {
        Ok(status) if status.success() => Some(library),
        other => {
            eprintln!("skipped: the double {name}.c cannot be compiled here (needs cc): {other:?}");
            None
        }
    }
}

struct Disk {
    library: PathBuf,
    how: &'static str,
}

/// What a run on such a disk came to.
struct Ran {
    output: Output,
    /// How many calls there were that could fail.
    calls: u64,
    /// What those that failed were to touch, the cell's own among them.
    failed: Vec<String>,
}

impl Disk {
    /// Runs the sweep with the disk failing from call `at` on (0: never).
    fn run(&self, scratch: &Scratch, at: u64) -> Ran {
        let (count, paths) = (scratch.keep.path().join("count"), scratch.keep.path().join("failed"));
        // Not quiet: what it says is looked at.
        let output = tacho()
            .arg("run")
            .args(with(&SWEEP[..SWEEP.len() - 1], &["--out", scratch.path()]))
            .env("LD_PRELOAD", &self.library)
            .env("TACHO_FAIL_UNDER", scratch.path())
            .env("TACHO_FAIL_HOW", self.how)
            .env("TACHO_FAIL_AT", at.to_string())
            .env("TACHO_FAIL_COUNT", &count)
            .env("TACHO_FAIL_PATHS", &paths)
            .output()
            .unwrap();
        let calls = fs::read_to_string(&count).ok().and_then(|count| count.trim().parse().ok()).unwrap_or(0);
        let failed = fs::read_to_string(&paths).unwrap_or_default().lines().map(str::to_owned).collect();
        Ran { output, calls, failed }
    }
}

/// Lets the disk fail at every `stride`-th call, and resumes on a good one.
fn every_call(how: &'static str, stride: usize) {
    let folder = tempfile::tempdir().unwrap();
    let Some(library) = preloaded(folder.path(), "disk") else { return };
    let disk = Disk { library, how };
    let whole = Scratch::new();
    let Ran { output, calls, failed } = disk.run(&whole, 0);
    assert_eq!((output.status.code(), failed.len()), (Some(0), 0), "{}", text(&output.stderr));
    assert!(calls > 10, "{how}: {calls} calls");
    let (figures, records) = (whole.figures(), whole.streamed());
    let errno = match how {
        "sync" => rustix::io::Errno::IO,
        "readonly" => rustix::io::Errno::ROFS,
        _ => rustix::io::Errno::NOSPC,
    };
    let why = std::io::Error::from(errno).to_string();
    let (mut tried, mut survived) = (0, 0);
    for at in (1..=calls).step_by(stride) {
        let scratch = Scratch::new();
        let Ran { output, failed, .. } = disk.run(&scratch, at);
        let said = text(&output.stderr);
        tried += 1;
        assert!(!failed.is_empty(), "{how} {at}: nothing failed");
        // A cell that cannot write its log has nobody to tell it to, and costs nothing.
        let only_logs = failed.iter().all(|path| path.contains("/run/logs/"));
        match output.status.code() {
            Some(3) => assert!(said.contains(scratch.path()) && said.contains(&why), "{how} {at} {failed:?}: {said}"),
            // 4: no cell could be started, for want of a log.
            Some(0 | 1 | 4) if how != "sync" => {
                assert!(only_logs || said.contains(&why), "{how} {at} {failed:?}: {said}");
                survived += 1;
            }
            other => panic!("{how}, call {at} of {calls}, {failed:?}: ended with {other:?}: {said}"),
        }
        let journal = fs::read_to_string(scratch.dir.join("journal.jsonl")).unwrap_or_default();
        let finished: Vec<&str> = journal.split_inclusive('\n').filter(|line| line.ends_with('\n')).collect();
        let resumed = run(&["--resume", scratch.path(), "--quiet"]);
        if text(&resumed.stderr).contains("holds no run") {
            assert!(finished.is_empty(), "{how} {at}: finished points are lost");
            continue;
        }
        assert_eq!(resumed.status.code(), Some(0), "{how} {at}: {}", text(&resumed.stderr));
        let after = fs::read_to_string(scratch.dir.join("journal.jsonl")).unwrap();
        assert!(after.starts_with(&finished.concat()), "{how} {at}: a finished point has changed");
        assert_eq!(scratch.figures(), figures, "{how} {at}");
        assert_eq!(scratch.streamed(), records, "{how} {at}: requests, tokens or steps differ");
    }
    println!("{how}: {calls} calls, {tried} tried, {survived} of them without loss");
}

#[test]
fn a_disk_that_is_full_from_any_call_on_loses_nothing_finished() {
    every_call("full", 23);
}

#[test]
fn a_single_call_that_fails_loses_nothing_finished() {
    every_call("once", 29);
}

#[test]
fn a_disk_that_cannot_sync_is_said() {
    every_call("sync", 11);
}

#[test]
fn a_disk_that_becomes_read_only_loses_nothing_finished() {
    every_call("readonly", 37);
}

#[test]
#[ignore = "minutes: run by `make soak`"]
fn every_single_call_may_fail() {
    for how in ["once", "sync", "full", "readonly"] {
        every_call(how, 1);
    }
}

#[test]
fn a_part_whose_bytes_have_changed_is_found_and_its_point_runs_again() {
    let scratch = Scratch::new();
    assert_eq!(run(&with(&SWEEP, &["--out", scratch.path()])).status.code(), Some(0));
    let (figures, points) = (scratch.figures(), scratch.journal().len());
    let path = scratch.dir.join("parts/point-00003.tokens.parquet");
    let good = fs::read(&path).unwrap();
    // In the data, in the footer, at the end, and torn.
    for at in [good.len() / 3, good.len() - 20, good.len() - 2] {
        let mut bad = good.clone();
        bad[at] ^= 0x40;
        fs::write(&path, &bad).unwrap();
        let output = run(&["--resume", scratch.path()]);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        assert!(text(&output.stderr).contains("point 3 runs again"), "byte {at}: {}", text(&output.stderr));
        assert_eq!(scratch.figures(), figures);
    }
    fs::write(&path, &good[..good.len() / 2]).unwrap();
    let output = run(&["--resume", scratch.path()]);
    assert!(text(&output.stderr).contains("point 3 runs again"), "{}", text(&output.stderr));
    assert_eq!(scratch.figures(), figures);
    assert_eq!(scratch.journal().len(), points + 4, "each time its one point, and no other");
}
