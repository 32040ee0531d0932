//! The thread that samples. It runs in `tacho`, whose process the engine does not share, and sleeps between trials.
use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
    time::Duration,
};

use super::{GpuDevice, GpuProbe, GpuSample, HostProbe, HostSample, Uuid};
use crate::measure::monotonic_ns;

/// Ticks kept of a trial. When there are more, every second one is dropped and from then on only every second one is
/// taken, and so on: what is kept lies evenly over the whole trial, however long.
pub const KEEP: usize = 1 << 13;

/// What was sampled from a trial's hand-over to its hand-back, in order of time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Samples {
    /// The GPUs that were sampled.
    pub devices: Vec<GpuDevice>,
    /// Of the GPUs.
    pub gpu: Vec<GpuSample>,
    /// Of the processor.
    pub host: Vec<HostSample>,
    /// Why there are none of the GPUs, or no more.
    pub gpu_null_reason: Option<String>,
    /// Why there are none of the processor, or no more.
    pub host_null_reason: Option<String>,
}

/// Samples GPUs and a process tree while a trial runs.
pub struct Sampler {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    gpu: Option<Box<dyn GpuProbe>>,
    devices: Vec<GpuDevice>,
    gpu_null_reason: Option<String>,
    host: Option<Box<dyn HostProbe>>,
    recording: Option<Recording>,
    over: bool,
}

#[derive(Default)]
struct Recording {
    ticks: Vec<Tick>,
    /// Every how manieth tick is kept.
    stride: u64,
    /// Ticks of the thread so far.
    passed: u64,
    gpu_error: Option<String>,
    host_error: Option<String>,
}

struct Tick {
    gpu: Vec<GpuSample>,
    host: Option<HostSample>,
}

impl Sampler {
    /// Starts the thread. `gpu` is a probe with those of its devices that are to be sampled, or the reason why there is
    /// none, which is no error.
    pub fn start(period: Duration, gpu: Result<(Box<dyn GpuProbe>, Vec<GpuDevice>), String>) -> Self {
        let (gpu, devices, gpu_null_reason) = match gpu {
            Ok((_, devices)) if devices.is_empty() => (None, devices, Some("no GPU is visible to CUDA".to_owned())),
            Ok((gpu, devices)) => (Some(gpu), devices, None),
            Err(reason) => (None, Vec::new(), Some(reason)),
        };
        let state = State { gpu, devices, gpu_null_reason, host: None, recording: None, over: false };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        let for_thread = Arc::clone(&shared);
        let thread = std::thread::spawn(move || for_thread.run(period));
        Self { shared, thread: Some(thread) }
    }

    /// The GPUs that it samples.
    pub fn devices(&self) -> Vec<GpuDevice> {
        self.shared.lock().devices.clone()
    }

    /// Why it samples no GPU.
    pub fn gpu_null_reason(&self) -> Option<String> {
        self.shared.lock().gpu_null_reason.clone()
    }

    /// Whom to sample from now on.
    pub fn watch(&self, host: Box<dyn HostProbe>) {
        self.shared.lock().host = Some(host);
    }

    /// A trial is about to be handed over: takes a full sample, then one a period.
    pub fn begin(&self) {
        let mut state = self.shared.lock();
        state.recording = Some(Recording { stride: 1, ..Recording::default() });
        state.sample(true);
        self.shared.changed.notify_all();
    }

    /// The trial is back: takes a last full sample and gives them all. Without [`Sampler::begin`] there are none.
    pub fn end(&self) -> Samples {
        let mut state = self.shared.lock();
        state.sample(true);
        let recording = state.recording.take().unwrap_or_default();
        let (mut gpu, mut host) = (Vec::new(), Vec::new());
        for tick in recording.ticks {
            gpu.extend(tick.gpu);
            host.extend(tick.host);
        }
        Samples {
            devices: state.devices.clone(),
            gpu,
            host,
            gpu_null_reason: state.gpu_null_reason.clone().or(recording.gpu_error),
            host_null_reason: recording.host_error,
        }
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        self.shared.lock().over = true;
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A probe that panicked has lost its tick, nothing else.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, period: Duration) {
        let period_ns = u64::try_from(period.as_nanos()).unwrap_or(u64::MAX).max(1);
        let mut state = self.lock();
        let mut due_ns = 0;
        while !state.over {
            if state.recording.is_none() {
                due_ns = 0;
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let now_ns = monotonic_ns();
            if due_ns == 0 {
                due_ns = now_ns.saturating_add(period_ns);
            }
            if now_ns < due_ns {
                let left = Duration::from_nanos(due_ns - now_ns);
                state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
                continue;
            }
            state.tick();
            // A tick that came late delays none but itself.
            due_ns += (monotonic_ns().saturating_sub(due_ns) / period_ns + 1) * period_ns;
        }
    }
}

impl State {
    /// A tick of the thread: a sample, unless the trial is so long that this one is to be left out.
    fn tick(&mut self) {
        let Some(recording) = &mut self.recording else { return };
        recording.passed += 1;
        if recording.passed.is_multiple_of(recording.stride) {
            self.sample(false);
        }
        if let Some(recording) = &mut self.recording
            && recording.ticks.len() >= KEEP
        {
            // The first one stands for the trial's beginning.
            let mut place = 0;
            recording.ticks.retain(|_| {
                place += 1;
                place % 2 == 1
            });
            recording.stride *= 2;
        }
    }

    fn sample(&mut self, fully: bool) {
        let Some(recording) = &mut self.recording else { return };
        let mut tick = Tick { gpu: Vec::new(), host: None };
        if let (Some(host), None) = (&mut self.host, &recording.host_error) {
            match host.read(fully) {
                Ok(sample) => tick.host = Some(sample),
                Err(reason) => recording.host_error = Some(reason),
            }
        }
        if let (Some(gpu), None) = (&mut self.gpu, &recording.gpu_error) {
            let pids = self.host.as_ref().map_or(&[] as &[u32], |host| host.pids());
            for device in &self.devices {
                let before_ns = monotonic_ns();
                match gpu.read(device, pids) {
                    Ok(reading) => {
                        let time_ns = before_ns + (monotonic_ns() - before_ns) / 2;
                        tick.gpu.push(GpuSample { time_ns, uuid: Uuid::new(&device.uuid), reading });
                    }
                    Err(reason) => recording.gpu_error = Some(reason),
                }
            }
        }
        recording.ticks.push(tick);
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{GpuReading, ProcessTree, RecordedGpu},
        *,
    };

    /// A test double: counts how often it was read.
    struct CountingHost(u64);

    impl HostProbe for CountingHost {
        fn read(&mut self, _: bool) -> Result<HostSample, String> {
            self.0 += 1;
            Ok(HostSample { time_ns: self.0, ..HostSample::default() })
        }

        fn pids(&self) -> &[u32] {
            &[]
        }
    }

    fn one_gpu() -> (Box<dyn GpuProbe>, Vec<GpuDevice>) {
        let device = GpuDevice { uuid: "GPU-a".to_owned(), ..GpuDevice::default() };
        let readings = (0..3).map(|n| GpuReading { energy_mj: Some(n), ..GpuReading::default() }).collect();
        let gpu = RecordedGpu::new(vec![device], vec![readings]);
        let devices = gpu.devices().unwrap();
        (Box::new(gpu), devices)
    }

    #[test]
    fn a_trial_is_sampled_from_before_its_start_to_after_its_end() {
        let sampler = Sampler::start(Duration::from_millis(5), Ok(one_gpu()));
        sampler.watch(Box::new(ProcessTree::new(std::process::id())));
        let before_ns = monotonic_ns();
        sampler.begin();
        let start_ns = monotonic_ns();
        std::thread::sleep(Duration::from_millis(60));
        let end_ns = monotonic_ns();
        let samples = sampler.end();
        let after_ns = monotonic_ns();
        assert_eq!((&samples.gpu_null_reason, &samples.host_null_reason), (&None, &None));
        let times: Vec<u64> = samples.gpu.iter().map(|sample| sample.time_ns).collect();
        assert!(times.windows(2).all(|pair| pair[0] < pair[1]) && times.len() >= 4, "{times:?}");
        assert!(before_ns < times[0] && times[0] < start_ns);
        assert!(end_ns < times[times.len() - 1] && times[times.len() - 1] < after_ns);
        assert_eq!(samples.gpu[1].reading.energy_mj, Some(1));
        assert!(samples.host[0].voluntary_switches.is_some() && samples.host[1].voluntary_switches.is_none());
        // Nothing is sampled between trials.
        std::thread::sleep(Duration::from_millis(20));
        assert_eq!(sampler.end(), Samples { devices: sampler.devices(), ..Samples::default() });
    }

    #[test]
    fn no_driver_is_a_reason_and_not_an_error() {
        let sampler = Sampler::start(Duration::from_millis(5), Err("no driver".to_owned()));
        sampler.watch(Box::new(CountingHost(0)));
        sampler.begin();
        let samples = sampler.end();
        assert_eq!(samples.gpu_null_reason.as_deref(), Some("no driver"));
        assert!(samples.host.len() == 2 && samples.gpu.is_empty());
    }

    #[test]
    fn a_long_trial_is_thinned_evenly() {
        let (gpu, devices) = one_gpu();
        let mut state = State {
            gpu: Some(gpu),
            devices,
            gpu_null_reason: None,
            host: Some(Box::new(CountingHost(0))),
            recording: Some(Recording { stride: 1, ..Recording::default() }),
            over: false,
        };
        state.sample(true);
        let ticks = 5 * KEEP as u64;
        (0..ticks).for_each(|_| state.tick());
        let recording = state.recording.unwrap();
        assert_eq!(recording.stride, 8);
        assert!((KEEP / 2..=KEEP).contains(&recording.ticks.len()), "{}", recording.ticks.len());
        assert_eq!(recording.ticks[0].host.unwrap().time_ns, 1);
    }
}
