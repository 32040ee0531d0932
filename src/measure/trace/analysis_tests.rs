use std::path::Path;

use super::{
    super::testing::{AHEAD_NS, Bytes, Made, Numbers},
    *,
};

const KERNEL: Made = Made { kind: 1, device: 0, start: 0, end: 0, stream: 7, correlation: 1, graph: 0, value: 0 };
const WINDOW: Window = Window { start_ns: 1000, end_ns: 2000 };

fn begun(pid: u32) -> Bytes {
    let mut bytes = Bytes::new(pid);
    bytes.clock(900, 910, AHEAD_NS).name(0, "matrix").name(1, "ncclDevKernel_AllReduce").name(2, &"long".repeat(100));
    bytes
}

fn analysed(files: &[Bytes], window: Window, steps: &[Window]) -> (TraceFigures, Vec<StepFigures>) {
    let dir = tempfile::tempdir().unwrap();
    let mut open: Vec<TraceFile> = files
        .iter()
        .enumerate()
        .map(|(number, bytes)| {
            let path = dir.path().join(format!("{number}.tkt"));
            bytes.save(&path);
            TraceFile::open(&path).unwrap()
        })
        .collect();
    analyse(&mut open, &mut Names::default(), window, steps, &mut |_, _| Ok(())).unwrap()
}

fn error_of(bytes: &[u8], path: &Path) -> String {
    std::fs::write(path, bytes).unwrap();
    let read = || -> Result<(), TraceError> {
        let mut file = TraceFile::open(path)?;
        let mut names = Names::default();
        while file.next(&mut names)?.is_some() {}
        Ok(())
    };
    read().map_or_else(|error| error.to_string(), |()| String::new())
}

#[test]
fn streams_and_processes_overlap_and_count_once() {
    let mut one = begun(10);
    one.add(Made { start: 1100, end: 1200, ..KERNEL });
    one.add(Made { start: 1150, end: 1300, stream: 8, value: 2, ..KERNEL });
    one.add(Made { kind: 2, start: 1500, end: 1600, value: 4096, ..KERNEL });
    one.add(Made { kind: 3, start: 1590, end: 1610, value: 64, ..KERNEL });
    one.lost(3);
    let mut other = begun(11);
    other.add(Made { start: 1290, end: 1400, ..KERNEL });
    let (figures, steps) = analysed(
        &[one, other],
        WINDOW,
        &[Window { start_ns: 1000, end_ns: 1250 }, Window { start_ns: 1280, end_ns: 1550 }],
    );
    // 1100 to 1400 and 1500 to 1610.
    assert_eq!((figures.busy_ns, figures.idle_ns, figures.busy_fraction()), (410, 590, Some(0.41)));
    // The kernels alone: 1100 to 1400, neither the copy nor the memset.
    assert_eq!((figures.kernel_busy_ns, figures.kernel_fraction()), (300, Some(0.3)));
    assert_eq!((figures.gaps.n, figures.gaps.max_ns, figures.gaps.p50_ns), (3, 390, 100));
    assert_eq!((figures.kernels, figures.kernel_ns, figures.launches, figures.graph_launches), (3, 360, 3, 0));
    assert_eq!((figures.copies, figures.copy_bytes, figures.memsets), (1, 4096, 1));
    assert_eq!((figures.devices, figures.processes, figures.late), (1, 2, 0));
    assert_eq!(figures.lost.dropped, 3);
    assert!(figures.doubts()[0].starts_with("3 records were dropped"), "{:?}", figures.doubts());
    assert_eq!(steps.iter().map(|step| (step.busy_ns, step.kernels)).collect::<Vec<_>>(), [(150, 2), (170, 1)]);
    let top: Vec<(&str, u64, u64)> = figures.top.iter().map(|k| (k.name.as_str(), k.count, k.total_ns)).collect();
    assert_eq!(top, [("matrix", 2, 210), ("long".repeat(100).as_str(), 1, 150)]);
}

#[test]
fn the_window_cuts_what_crosses_it() {
    let mut bytes = begun(10);
    bytes.add(Made { start: 950, end: 1100, ..KERNEL });
    bytes.add(Made { start: 1900, end: 2500, ..KERNEL });
    bytes.add(Made { start: 2000, end: 2100, ..KERNEL });
    let (figures, _) = analysed(&[bytes], WINDOW, &[]);
    assert_eq!((figures.busy_ns, figures.idle_ns), (200, 800));
    assert_eq!(figures.kernels, 1, "the first began before the trial, the last after it");
    assert_eq!(figures.kernel_ns, 200);
}

#[test]
fn a_graph_is_launched_once_however_many_nodes_it_has() {
    let mut bytes = begun(10);
    for (launch, start) in [(5, 1000), (5, 1010), (6, 1020), (6, 1030), (6, 1040)] {
        bytes.add(Made { start, end: start + 5, graph: 3, correlation: launch, ..KERNEL });
    }
    bytes.add(Made { start: 1050, end: 1060, correlation: 7, ..KERNEL });
    let (figures, _) = analysed(&[bytes], WINDOW, &[]);
    assert_eq!((figures.kernels, figures.launches, figures.graph_launches), (6, 1, 2));
}

#[test]
fn nccl_is_told_from_other_kernels_and_devices_are_summed() {
    let mut bytes = begun(10);
    bytes.add(Made { start: 1000, end: 1500, value: 1, ..KERNEL });
    bytes.add(Made { start: 1200, end: 1700, value: 1, stream: 8, ..KERNEL });
    bytes.add(Made { start: 1000, end: 1100, value: 1, device: 1, ..KERNEL });
    bytes.add(Made { start: 1100, end: 1200, device: 1, ..KERNEL });
    let (figures, _) = analysed(&[bytes], WINDOW, &[]);
    assert_eq!((figures.nccl_ns, figures.busy_ns, figures.idle_ns, figures.devices), (800, 900, 1100, 2));
}

#[test]
fn nothing_recorded_is_no_busy_fraction() {
    let (figures, _) = analysed(&[begun(10)], WINDOW, &[]);
    assert_eq!((figures.busy_fraction(), figures.devices, figures.idle_ns), (None, 0, 0));
}

#[test]
fn the_clock_s_error_is_half_a_reading_and_its_drift() {
    let mut bytes = Bytes::new(1);
    bytes.name(0, "k").clock(100, 110, AHEAD_NS).add(Made { start: 1000, end: 1100, ..KERNEL });
    bytes.clock(200, 220, AHEAD_NS + 40).add(Made { start: 1240, end: 1340, ..KERNEL });
    let (figures, _) = analysed(&[bytes], WINDOW, &[]);
    assert_eq!(figures.clock_error_ns, Some(50));
    assert_eq!(figures.busy_ns, 200);
    // Mapped by the newer reading: 1200 to 1300, so that 1100 to 1200 is the gap between.
    assert_eq!(figures.gaps.n, 2);
}

#[test]
fn random_activities_agree_with_a_count_of_every_nanosecond() {
    let mut numbers = Numbers(7);
    for case in 0..60 {
        let window = Window { start_ns: 1000 + numbers.below(200), end_ns: 1500 + numbers.below(400) };
        let mut all = Vec::new();
        let mut files = [begun(1), begun(2)];
        for _ in 0..1 + numbers.below(60) {
            let start = 900 + numbers.below(1200);
            let end = start + numbers.below(90);
            let device = numbers.below(2) as u32;
            all.push((device, start, end));
            files[numbers.below(2) as usize].add(Made { start, end, device, ..KERNEL });
        }
        let mut steps = Vec::new();
        let mut at = window.start_ns;
        while at + 60 < window.end_ns {
            let length = 1 + numbers.below(50);
            steps.push(Window { start_ns: at, end_ns: at + length });
            at += length + numbers.below(10);
        }
        let covered = |device: u32, ns: u64| all.iter().any(|&(d, start, end)| d == device && start <= ns && ns < end);
        let count = |from: u64, to: u64| -> u64 {
            (0..2).map(|device| (from..to).filter(|ns| covered(device, *ns)).count() as u64).sum()
        };
        let (figures, by_step) = analysed(&files, window, &steps);
        assert_eq!(figures.busy_ns, count(window.start_ns, window.end_ns), "case {case}");
        for step in by_step {
            assert_eq!(step.busy_ns, count(step.start_ns, step.end_ns), "case {case}");
        }
        assert_eq!(figures.late, 0);
    }
}

#[test]
fn what_is_out_of_order_beyond_the_bound_is_counted() {
    let mut bytes = begun(1);
    for start in [1300, 1200, 1100] {
        bytes.add(Made { start, end: start + 50, ..KERNEL });
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("1.tkt");
    for (held, expected) in [(1, [1300, 1200, 1100]), (2, [1200, 1100, 1300]), (3, [1100, 1200, 1300])] {
        bytes.save(&path);
        let mut files = [TraceFile::open(&path).unwrap()];
        let mut starts = Vec::new();
        in_order(&mut files, held, &mut Names::default(), &mut |activity, _| {
            starts.push(activity.start_ns);
            Ok(())
        })
        .unwrap();
        assert_eq!(starts, expected, "{held} held");
    }
    let mut union = Union::new(1000, 2000);
    for start in [1300, 1200, 1100] {
        union.add(start, start + 50, None);
    }
    assert_eq!(union.late, 2);
}

#[test]
fn a_trace_is_read_on_while_it_grows_and_up_to_its_last_whole_record() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("1.tkt");
    let mut bytes = begun(1);
    bytes.add(Made { start: 1000, end: 1100, ..KERNEL });
    let whole = bytes.0.len();
    bytes.add(Made { start: 1200, end: 1300, ..KERNEL });
    std::fs::write(&path, &bytes.0[..whole + 20]).unwrap();
    let mut file = TraceFile::open(&path).unwrap();
    let mut names = Names::default();
    assert_eq!(file.next(&mut names).unwrap().map(|a| a.start_ns), Some(1000));
    assert_eq!(file.next(&mut names).unwrap(), None);
    let mut rest = std::fs::File::options().append(true).open(&path).unwrap();
    std::io::Write::write_all(&mut rest, &bytes.0[whole + 20..]).unwrap();
    assert_eq!(file.next(&mut names).unwrap().map(|a| a.start_ns), Some(1200));
    assert_eq!(file.next(&mut names).unwrap(), None);
    assert!(!file.ended());
}

#[test]
fn damage_is_named_with_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("1.tkt");
    let good = begun(1).0;
    assert_eq!(error_of(&good, &path), "");
    assert!(error_of(b"not a trace", &path).contains("expected a header of 48 bytes, found 11 bytes"));
    assert!(error_of(&[b'x'; 96], &path).contains("expected TACHOTKT"));
    let mut newer = good.clone();
    newer[8] = 2;
    assert!(error_of(&newer, &path).contains("version 2"));
    let mut unknown = good.clone();
    unknown.extend([9, 0].iter().chain(&[0; 46]));
    assert!(
        error_of(&unknown, &path)
            .contains(&format!("at byte {}: expected a record of kind 1 to 7, found kind 9", good.len()))
    );
    let mut nameless = begun(1);
    nameless.add(Made { start: 1, end: 2, value: 99, ..KERNEL });
    assert!(error_of(&nameless.0, &path).contains("found name 99"));
}

#[test]
fn any_bytes_are_an_error_or_records_but_no_panic() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("1.tkt");
    let mut numbers = Numbers(11);
    let (mut good, mut bad) = (0, 0);
    for _ in 0..3000 {
        let mut bytes = begun(1);
        bytes.add(Made { start: 1000, end: 1100, ..KERNEL });
        for _ in 0..numbers.below(6) {
            let at = numbers.below(bytes.0.len() as u64) as usize;
            bytes.0[at] = numbers.below(256) as u8;
        }
        let length = numbers.below(bytes.0.len() as u64 + 1) as usize;
        let tail: Vec<u8> = (0..numbers.below(200)).map(|_| numbers.below(16) as u8).collect();
        let error = error_of(&[&bytes.0[..length], &tail].concat(), &path);
        if error.is_empty() { good += 1 } else { bad += 1 }
    }
    assert!(good > 100 && bad > 100, "{good} good, {bad} bad");
}
