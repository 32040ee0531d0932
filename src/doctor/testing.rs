//! A machine of no one, for tests.
use std::{collections::BTreeMap, fs, path::PathBuf, time::Duration};

use super::Surroundings;
use crate::{
    cell::protocol::Load,
    measure::telemetry::{GpuDevice, GpuProbe, GpuReading, RecordedGpu},
    plan::{Plan, TraceMode, TrialPolicy},
    results::testing,
    validity::Limits,
};

/// A file system that begins in a temporary folder.
pub(super) struct Machine(tempfile::TempDir);

impl Machine {
    pub(super) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(super) fn path(&self, absolute: &str) -> PathBuf {
        self.0.path().join(absolute.trim_start_matches('/'))
    }

    pub(super) fn write(&self, absolute: &str, text: &str) {
        let path = self.path(absolute);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Without variables and GPUs.
    pub(super) fn around(&self) -> Surroundings<'static> {
        Surroundings {
            root: self.0.path().to_owned(),
            variables: BTreeMap::new(),
            gpus: Err("this machine has no NVIDIA driver".to_owned()),
            results: self.0.path().to_owned(),
            pause: Duration::ZERO,
            cell_program: &|id| Err(format!("no cell of {id} in this test")),
        }
    }
}

/// A recorded GPU (a test double).
pub(super) fn gpu() -> Box<dyn GpuProbe> {
    gpu_with(Some(0))
}

/// With so many processes of others.
pub(super) fn gpu_with(other_processes: Option<u32>) -> Box<dyn GpuProbe> {
    let device = GpuDevice { uuid: "GPU-a".to_owned(), driver: Some("1.2".to_owned()), ..GpuDevice::default() };
    let reading = GpuReading { other_processes, memory_used_bytes: Some(1_000_000_000), ..GpuReading::default() };
    Box::new(RecordedGpu::new(vec![device], vec![vec![reading]]))
}

/// Points of `sim` with that many requests a trial, 128 tokens in and 64 out, all in one call.
pub(super) fn plan(points: u32, requests: u32) -> Plan {
    let point = |number| {
        let mut point = testing::point(number, "sim", &[]).point;
        point.load = Load::Offline { batch: requests };
        point.workload.requests = requests;
        point
    };
    Plan {
        name: "test".to_owned(),
        points: (0..points).map(point).collect(),
        trials: TrialPolicy {
            target: 0.02,
            min_trials: 6,
            max_trials: 30,
            max_time: Duration::from_secs(1),
            max_warmup: 1,
            latency_trials: 1,
            device_clock: Default::default(),
            max_repeats: 0,
            watch_cost: 0,
            clock_band: 0.05,
        },
        validity: Limits::default(),
        trace: TraceMode::Off,
        compare: None,
        fairness: Default::default(),
        agree: false,
        endurance: Default::default(),
        slo: None,
        load_within: Duration::from_secs(1),
        trial_within: Duration::from_secs(1),
        telemetry: None,
    }
}
