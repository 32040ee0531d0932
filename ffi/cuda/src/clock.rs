//! CUDA events around a trial and at its steps' boundaries.
//!
//! The events lie on the device's primary context, which the engine uses too, on a stream of their own that waits for nobody
//! and nobody waits for: an event's time is when the device came to it, not when the engine's work before it was done. That is
//! what makes a mark cheap and harmless inside a trial. Around the trial the device is waited for, so that the two events
//! bracket all that it did.
use std::sync::Arc;

use cudarc::driver::{CudaContext, CudaEvent, CudaStream, DriverError, sys::CUevent_flags};
use tacho::{
    engine::{Boundary, EngineInfo},
    measure::{DeviceClock, DeviceClockSource, DeviceSpan},
};

use crate::driver::{self, guarded};

/// The most marks of one trial: later steps have no device time.
const MAX_MARKS: usize = 1 << 14;
/// The device among those that the process sees. An engine that spreads over several is bracketed by its first one's clock.
const ORDINAL: usize = 0;

/// The clock of the device that a loaded engine computes on, or why there is none.
///
/// To be called after the engine has loaded: the clock joins the context that the engine has made and never makes one.
pub fn open(info: &EngineInfo) -> DeviceClockSource {
    if let Some(reason) = no_clock(info) {
        return Err(reason);
    }
    if !driver::primary_context_is_active(ORDINAL)? {
        return Err("the engine has made no context on the first CUDA device that this process sees".to_owned());
    }
    Ok(Box::new(EventClock::new(ORDINAL)?))
}

/// Why an engine's work cannot be timed by a device's clock in this process, from what it says of itself.
fn no_clock(info: &EngineInfo) -> Option<String> {
    match info.gpu_in_process {
        _ if info.virtual_time => Some("the engine's time is simulated".to_owned()),
        None => Some(format!("the engine runs on {}, which has no clock of its own", info.device)),
        Some(true) if info.boundary == Boundary::InCore => None,
        Some(_) => Some(format!("the engine's GPU work runs in another process ({})", info.boundary.as_str())),
    }
}

/// A pair of events, and a row of them for steps.
pub struct EventClock {
    context: Arc<CudaContext>,
    stream: Arc<CudaStream>,
    start: CudaEvent,
    stop: CudaEvent,
    marks: Vec<CudaEvent>,
    room: usize,
    made: usize,
    failed: Option<String>,
}

impl EventClock {
    /// A clock on a device's primary context, which is made if need be.
    ///
    /// # Errors
    /// Why there is none.
    pub fn new(ordinal: usize) -> Result<Self, String> {
        let context = driver::context(ordinal)?;
        guarded("making CUDA events", || {
            let stream = context.new_stream()?;
            let (start, stop) = (event(&context)?, event(&context)?);
            // The first events on a stream take longer than later ones, and an old driver shows here what it lacks.
            start.record(&stream)?;
            stop.record(&stream)?;
            start.elapsed_ms(&stop)?;
            let marks = Vec::new();
            Ok(Self { context: context.clone(), stream, start, stop, marks, room: 0, made: 0, failed: None })
        })
    }
}

fn event(context: &Arc<CudaContext>) -> Result<CudaEvent, DriverError> {
    context.new_event(Some(CUevent_flags::CU_EVENT_DEFAULT))
}

impl DeviceClock for EventClock {
    fn start(&mut self, marks: usize) -> Result<(), String> {
        self.room = marks.min(MAX_MARKS);
        self.made = 0;
        self.failed = None;
        guarded("starting the GPU's clock", || {
            while self.marks.len() < self.room {
                self.marks.push(event(&self.context)?);
            }
            self.context.synchronize()?;
            self.start.record(&self.stream)
        })
    }

    fn mark(&mut self) -> Option<u64> {
        if self.made >= self.room || self.failed.is_some() {
            return None;
        }
        match self.marks[self.made].record(&self.stream) {
            Ok(()) => {
                self.made += 1;
                Some(self.made as u64 - 1)
            }
            Err(error) => {
                self.failed = Some(format!("marking a step on the GPU's clock: {error}"));
                None
            }
        }
    }

    fn stop(&mut self) -> Result<DeviceSpan, String> {
        if let Some(reason) = self.failed.take() {
            return Err(reason);
        }
        guarded("stopping the GPU's clock", || {
            self.context.synchronize()?;
            self.stop.record(&self.stream)?;
            let seconds = f64::from(self.start.elapsed_ms(&self.stop)?) / 1e3;
            let mut marks_ns = Vec::with_capacity(self.made);
            let mut before = &self.start;
            for mark in &self.marks[..self.made] {
                // From mark to mark: the driver gives milliseconds in 32 bits, which are too few over a long trial.
                marks_ns.push((f64::from(before.elapsed_ms(mark)?) * 1e6).round().max(0.0) as u64);
                before = mark;
            }
            Ok(DeviceSpan { seconds, marks_ns })
        })
    }
}

#[cfg(test)]
mod tests {
    use tacho::engine::{Engine, LoadConfig, Options, sim::Sim};

    use super::*;

    fn info() -> EngineInfo {
        let config = LoadConfig {
            engine: "sim".to_owned(),
            model: None,
            max_seqs: 1,
            max_model_len: 64,
            seed: 0,
            options: Options::new(),
        };
        let mut info = Sim::load(&config).unwrap().info().clone();
        info.virtual_time = false;
        info
    }

    #[test]
    fn engines_without_gpu_work_here_have_a_reason_and_the_driver_is_not_asked() {
        let reason = |change: fn(&mut EngineInfo)| {
            let mut info = info();
            change(&mut info);
            open(&info).err().unwrap()
        };
        assert!(reason(|info| info.gpu_in_process = None).contains("has no clock of its own"));
        assert!(reason(|info| info.gpu_in_process = Some(false)).contains("in another process"));
        let child = reason(|info| (info.gpu_in_process, info.boundary) = (Some(true), Boundary::ChildCore));
        assert!(child.contains("child-core"), "{child}");
        assert!(reason(|info| info.virtual_time = true).contains("simulated"));
    }

    #[test]
    fn an_engine_on_a_gpu_has_a_clock_or_the_drivers_reason() {
        let mut info = info();
        info.gpu_in_process = Some(true);
        let Err(absent) = driver::device_count() else {
            eprintln!("skipped: this machine has a CUDA device; see an_event_pair_agrees_with_the_host");
            return;
        };
        assert_eq!(open(&info).err(), Some(absent));
    }

    #[test]
    fn an_event_pair_agrees_with_the_host() {
        if let Err(reason) = driver::device_count() {
            eprintln!("skipped: {reason}");
            return;
        }
        let mut clock = EventClock::new(0).unwrap();
        clock.start(4).unwrap();
        let start = std::time::Instant::now();
        let marks: Vec<u64> = (0..5)
            .filter_map(|_| {
                std::thread::sleep(std::time::Duration::from_millis(20));
                clock.mark()
            })
            .collect();
        let host = start.elapsed().as_secs_f64();
        let span = clock.stop().unwrap();
        assert_eq!(marks, [0, 1, 2, 3]);
        assert!((span.seconds / host - 1.0).abs() < 0.005, "{} by the device, {host} by the host", span.seconds);
        assert!(span.marks_ns.iter().all(|ns| (15_000_000..60_000_000).contains(ns)), "{:?}", span.marks_ns);
    }
}
