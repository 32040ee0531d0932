//! Waits until a cell's GPU memory is free again before the next one starts: drivers give it back some time after the process
//! is gone, and an engine that finds it taken fails or makes its cache smaller.
use std::time::{Duration, Instant};

use super::OpenGpus;
use crate::measure::telemetry::{GpuDevice, GpuProbe, visible_from_env};

/// What may stay in use beyond what was before the first cell: the driver's own.
const SLACK: u64 = 512 << 20;
const LOOK: Duration = Duration::from_millis(50);

/// The memory that was in use before the run's first cell.
pub(super) struct GpuMemory<'a> {
    open: OpenGpus<'a>,
    within: Duration,
    before: Option<Vec<(GpuDevice, u64)>>,
}

impl<'a> GpuMemory<'a> {
    pub fn new(open: OpenGpus<'a>) -> Self {
        Self { open, within: Duration::from_secs(30), before: None }
    }

    /// To be called before each cell: notes what is in use before the first, and waits before each other one until no more
    /// is. An error says, for a person, what is still in use.
    pub fn settle(&mut self) -> Result<(), String> {
        let Some(before) = &self.before else {
            let read = (self.open)().and_then(|mut probe| in_use(probe.as_mut()));
            // Without GPUs there is nothing to wait for, and telemetry says why there are none.
            self.before = Some(read.unwrap_or_default());
            return Ok(());
        };
        if before.is_empty() {
            return Ok(());
        }
        let began = Instant::now();
        let mut probe = (self.open)()?;
        loop {
            let now = in_use(probe.as_mut())?;
            let more = now.iter().filter_map(|(device, used)| {
                let (_, was) = before.iter().find(|(known, _)| known.uuid == device.uuid)?;
                let left = used.checked_sub(*was).filter(|left| *left > SLACK)?;
                Some(format!("GPU {} ({}) holds {:.1} GB more", device.index, device.name, left as f64 / 1e9))
            });
            let more: Vec<String> = more.collect();
            if more.is_empty() {
                return Ok(());
            }
            if began.elapsed() >= self.within {
                let seconds = self.within.as_secs();
                return Err(format!(
                    "{} than before the first cell, {seconds} s after the last one ended: something else uses it, or a driver \
                     did not give it back; the next cell may find too little",
                    more.join(", ")
                ));
            }
            std::thread::sleep(LOOK);
        }
    }
}

fn in_use(probe: &mut dyn GpuProbe) -> Result<Vec<(GpuDevice, u64)>, String> {
    let devices = visible_from_env(&probe.devices()?)?;
    let mut used = Vec::new();
    for device in devices {
        let reading = probe.read(&device, &[])?;
        used.extend(reading.memory_used_bytes.map(|bytes| (device, bytes)));
    }
    Ok(used)
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, rc::Rc};

    use super::*;
    use crate::measure::telemetry::GpuReading;

    /// A double of a driver whose memory is given back after some readings.
    struct Slow(std::sync::Arc<std::sync::atomic::AtomicU64>);

    impl GpuProbe for Slow {
        fn devices(&self) -> Result<Vec<GpuDevice>, String> {
            let name = "a double of a GPU".to_owned();
            Ok(vec![GpuDevice { uuid: "GPU-1".to_owned(), name, ..GpuDevice::default() }])
        }
        fn read(&mut self, _: &GpuDevice, _: &[u32]) -> Result<GpuReading, String> {
            let used = self.0.load(std::sync::atomic::Ordering::Relaxed);
            self.0.store(used.saturating_sub(10 << 30).max(1 << 30), std::sync::atomic::Ordering::Relaxed);
            Ok(GpuReading { memory_used_bytes: Some(used), ..GpuReading::default() })
        }
    }

    #[test]
    fn the_next_cell_waits_for_memory_and_says_when_it_does_not_come_back() {
        let used = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(1 << 30));
        let open = || Ok(Box::new(Slow(used.clone())) as Box<dyn GpuProbe>);
        let mut memory = GpuMemory { within: Duration::from_millis(120), ..GpuMemory::new(&open) };
        memory.settle().unwrap();
        let set = |bytes: u64| used.store(bytes, std::sync::atomic::Ordering::Relaxed);
        set(25 << 30);
        let began = Instant::now();
        memory.settle().unwrap();
        assert!(began.elapsed() >= 2 * LOOK, "25, 15, 5 GiB in use: three readings before it is free");
        set(500 << 30);
        let error = memory.settle().unwrap_err();
        assert!(error.contains("GPU 0 (a double of a GPU) holds 5"), "{error}");
    }

    #[test]
    fn without_a_gpu_there_is_nothing_to_wait_for() {
        let asked = Rc::new(Cell::new(0));
        let open = || {
            asked.set(asked.get() + 1);
            Err("no driver".to_owned())
        };
        let mut memory = GpuMemory::new(&open);
        memory.settle().unwrap();
        memory.settle().unwrap();
        assert_eq!(asked.get(), 1);
    }
}
