//! Criterion on the GPU's clock: what was put on a stream, timed by the device.
use std::{sync::Arc, time::Duration};

use ::criterion::measurement::{Measurement, ValueFormatter, WallTime};
use cudarc::driver::{CudaEvent, CudaStream, sys::CUevent_flags};

/// Time between two events on a stream. What a benchmark's routine puts on that stream is in it, from when the device comes to
/// the first of it until the last is done; so is the device's waiting for a host that is too slow to keep it busy.
///
/// Resolution is about half a microsecond: let criterion time batches (`iter`), not single launches.
pub struct EventTime {
    stream: Arc<CudaStream>,
    format: WallTime,
}

impl EventTime {
    /// A measurement on a stream.
    pub fn new(stream: Arc<CudaStream>) -> Self {
        Self { stream, format: WallTime }
    }

    fn record(&self) -> CudaEvent {
        // Criterion has no way to fail a measurement but a panic.
        self.stream.record_event(Some(CUevent_flags::CU_EVENT_DEFAULT)).expect("the CUDA driver records an event")
    }
}

impl Measurement for EventTime {
    type Intermediate = CudaEvent;
    type Value = Duration;

    fn start(&self) -> CudaEvent {
        self.record()
    }

    fn end(&self, start: CudaEvent) -> Duration {
        // The same; two events that were recorded, on one stream and with times, have one between them.
        let ms = start.elapsed_ms(&self.record()).expect("the CUDA driver tells the time between two events");
        Duration::from_secs_f64(f64::from(ms.max(0.0)) / 1e3)
    }

    fn add(&self, one: &Duration, other: &Duration) -> Duration {
        *one + *other
    }

    fn zero(&self) -> Duration {
        Duration::ZERO
    }

    fn to_f64(&self, value: &Duration) -> f64 {
        self.format.to_f64(value)
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        self.format.formatter()
    }
}
