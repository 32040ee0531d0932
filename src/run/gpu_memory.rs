//! Waits until a cell's GPU memory is free again before the next one starts: drivers give it back some time after the process
//! is gone, and an engine that finds it taken fails or makes its cache smaller.
use std::time::{Duration, Instant};

use super::OpenGpus;
use crate::measure::telemetry::{GpuDevice, GpuProbe, visible_from_env};

/// What may stay in use beyond what was before the first cell: the driver's own.
const SLACK: u64 = 512 << 20;
const LOOK: Duration = Duration::from_millis(50);
/// How far apart two readings may be of memory that nobody takes or gives back.
const SAME: u64 = 64 << 20;
/// How long memory may take to come to rest before the first cell.
const REST: Duration = Duration::from_secs(5);

/// The memory that was in use before the first cell.
pub struct GpuMemory<'a> {
    open: OpenGpus<'a>,
    within: Duration,
    before: Vec<(GpuDevice, u64)>,
    doubt: Option<String>,
}

impl<'a> GpuMemory<'a> {
    /// Notes what is in use: to be called before any cell is started, one that compares engines included.
    pub fn before_cells(open: OpenGpus<'a>) -> Self {
        // Without a driver there is nothing to wait for, and telemetry says why there is none.
        let read = open().ok().map(|mut probe| at_rest(probe.as_mut(), REST));
        let (before, doubt) = match read {
            None => (Vec::new(), None),
            Some(Ok((before, None))) => (before, None),
            Some(Ok((before, Some(moving)))) => (before, Some(moving)),
            Some(Err(why)) => {
                let doubt = format!(
                    "the GPUs' memory in use cannot be read ({why}): whether a cell's is given back before the next one starts \
                     is not looked at"
                );
                (Vec::new(), Some(doubt))
            }
        };
        Self { open, within: Duration::from_secs(30), before, doubt }
    }

    /// With another patience for memory to come back than 30 s.
    #[must_use]
    pub fn within(self, within: Duration) -> Self {
        Self { within, ..self }
    }

    /// What speaks against the figures of before, for a person.
    pub(super) fn doubt(&self) -> Option<&str> {
        self.doubt.as_deref()
    }

    /// Waits until no more is in use than before the first cell. An error says, for a person, what still is.
    pub(super) fn settle(&self) -> Result<(), String> {
        if self.before.is_empty() {
            return Ok(());
        }
        let began = Instant::now();
        let mut probe = (self.open)()?;
        loop {
            let now = in_use(probe.as_mut())?;
            let more = now.iter().filter_map(|(device, used)| {
                let (_, was) = self.before.iter().find(|(known, _)| known.uuid == device.uuid)?;
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

/// Bytes in use, by GPU.
type InUse = Vec<(GpuDevice, u64)>;

/// What is in use once two readings agree; where they do not for `within`, the last one, and that.
fn at_rest(probe: &mut dyn GpuProbe, within: Duration) -> Result<(InUse, Option<String>), String> {
    let began = Instant::now();
    let mut last = in_use(probe)?;
    loop {
        if last.is_empty() {
            return Ok((last, None));
        }
        std::thread::sleep(LOOK);
        let now = in_use(probe)?;
        let same =
            last.len() == now.len() && last.iter().zip(&now).all(|((_, one), (_, other))| one.abs_diff(*other) <= SAME);
        if same {
            return Ok((now, None));
        }
        if began.elapsed() >= within {
            let moving = format!(
                "the GPUs' memory in use did not come to rest within {} s before the first cell: something else uses it, and \
                 whether a cell's is given back cannot be told well",
                within.as_secs()
            );
            return Ok((now, Some(moving)));
        }
        last = now;
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
        let set = |bytes: u64| used.store(bytes, std::sync::atomic::Ordering::Relaxed);
        // What a process of before still gives back is not taken for what is always there.
        set(25 << 30);
        let memory = GpuMemory::before_cells(&open).within(Duration::from_millis(120));
        assert_eq!((memory.before[0].1, memory.doubt()), (1 << 30, None));
        memory.settle().unwrap();
        set(25 << 30);
        let began = Instant::now();
        memory.settle().unwrap();
        assert!(began.elapsed() >= 2 * LOOK, "25, 15, 5 GiB in use: three readings before it is free");
        set(500 << 30);
        let error = memory.settle().unwrap_err();
        assert!(error.contains("GPU 0 (a double of a GPU) holds 5"), "{error}");
    }

    #[test]
    fn memory_that_never_rests_is_told() {
        let used = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(5000 << 30));
        let (before, doubt) = at_rest(&mut Slow(used), Duration::from_millis(120)).unwrap();
        assert!(before[0].1 > 4000 << 30 && doubt.unwrap().contains("did not come to rest"));
    }

    /// A double of a driver that answers for devices and not for their memory.
    struct Mute;

    impl GpuProbe for Mute {
        fn devices(&self) -> Result<Vec<GpuDevice>, String> {
            Ok(vec![GpuDevice { uuid: "GPU-1".to_owned(), ..GpuDevice::default() }])
        }
        fn read(&mut self, _: &GpuDevice, _: &[u32]) -> Result<GpuReading, String> {
            Err("NVML says: GPU is lost".to_owned())
        }
    }

    #[test]
    fn a_driver_that_cannot_read_memory_is_told() {
        let open = || Ok(Box::new(Mute) as Box<dyn GpuProbe>);
        let memory = GpuMemory::before_cells(&open);
        assert!(memory.doubt().unwrap().contains("GPU is lost"), "{:?}", memory.doubt());
        memory.settle().unwrap();
    }

    #[test]
    fn without_a_gpu_there_is_nothing_to_wait_for() {
        let asked = Rc::new(Cell::new(0));
        let open = || {
            asked.set(asked.get() + 1);
            Err("no driver".to_owned())
        };
        let memory = GpuMemory::before_cells(&open);
        memory.settle().unwrap();
        assert_eq!((asked.get(), memory.doubt()), (1, None));
    }
}
