//! GPU memory that a dead cell leaves behind, by a double of the driver: no figure of it is a measurement.
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tacho::{
    measure::{
        suspended_ns,
        telemetry::{GpuDevice, GpuProbe, GpuReading},
    },
    results::{RunDir, RunInfo},
    run::{GpuMemory, Quiet, RunOptions, execute},
};

use super::*;

/// A double of a driver with one GPU, of which so many bytes are in use.
struct Double<'a>(&'a AtomicU64);

impl GpuProbe for Double<'_> {
    fn devices(&self) -> Result<Vec<GpuDevice>, String> {
        let name = "a double of a GPU".to_owned();
        Ok(vec![GpuDevice { uuid: "GPU-1".to_owned(), name, ..GpuDevice::default() }])
    }
    fn read(&mut self, _: &GpuDevice, _: &[u32]) -> Result<GpuReading, String> {
        Ok(GpuReading { memory_used_bytes: Some(self.0.load(Ordering::Relaxed)), ..GpuReading::default() })
    }
}

#[test]
fn memory_that_a_dead_cell_leaves_behind_is_told_in_the_next_points_record() {
    static USED: AtomicU64 = AtomicU64::new(1 << 30);
    let (planned, scratch) = (Scratch::new(), Scratch::new());
    // The first point's cell dies, as its record in the first run tells; the second one's does not.
    let options = ["--engine-option", "sim.time=virtual", "--engine-option", "sim.fault=abort"];
    let base = ["--engine", "sim", "--engine-option", "sim.fault_at_step=20,1000000", "--batch", "2", "--quiet"];
    run(&with(&with(&base, &options), &["--telemetry", "off", "--out", planned.path()]));
    assert_eq!(planned.failures().len(), 1);
    let plan = planned.plan();

    let gpus = || Ok(Box::new(Double(&USED)) as Box<dyn GpuProbe>);
    let started = AtomicU64::new(0);
    let cell = |_: &str| {
        if started.fetch_add(1, Ordering::Relaxed) == 1 {
            USED.store(6 << 30, Ordering::Relaxed);
        }
        Ok(sim_cell())
    };
    let run_info = RunInfo::gather(vec!["test".to_owned()], serde_json::to_value(&plan).unwrap());
    let mut dir = RunDir::create(&scratch.dir, &run_info).unwrap();
    let options = RunOptions {
        cell_program: &cell,
        interrupted: &AtomicBool::new(false),
        gpus: &gpus,
        gpu_memory: GpuMemory::before_cells(&gpus).within(Duration::from_millis(200)),
        ceilings: scratch.keep.path(),
        suspended_ns: &suspended_ns,
    };
    let records = execute(&plan, &mut dir, Vec::new(), &options, &mut Quiet).unwrap().records;
    assert_eq!(records.iter().map(|record| record.notes.len()).collect::<Vec<_>>(), [0, 1]);
    assert!(records[1].notes[0].contains("(a double of a GPU) holds 5.4 GB more"), "{:?}", records[1].notes);
    assert!(fs::read_to_string(scratch.dir.join("report.md")).unwrap().contains("holds 5.4 GB more"));
    // As the journal keeps it.
    drop(dir);
    let (_, resumed) = RunDir::reopen(&scratch.dir).unwrap();
    assert_eq!(resumed.records, records);
}
