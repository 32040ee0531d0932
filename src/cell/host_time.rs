//! A trial's times by the host's clock: in the engine's calls, outside of them, waiting.
use crate::measure::{DeviceClockMode, DeviceClockSource, DeviceTime, TrialClock, monotonic_ns, process_cpu_ns};

/// What a trial took. Each field as in [`super::protocol::TrialSummary`].
pub(super) struct Span {
    pub start_ns: u64,
    pub end_ns: u64,
    pub harness_ns: u64,
    pub busy_ns: u64,
    pub cpu_ns: u64,
    pub engine_calls: u64,
    pub device: DeviceTime,
}

/// The device clock that a trial may use, and how.
pub(super) struct Clock<'a> {
    pub source: &'a mut DeviceClockSource,
    pub mode: DeviceClockMode,
}

impl<'a> Clock<'a> {
    /// To be called last before the host's first stamp.
    pub(super) fn start(self, steps: usize) -> TrialClock<'a> {
        TrialClock::start(self.source, self.mode, steps)
    }
}

/// Host time inside and outside the engine's calls, without that in which an idle engine and the loop wait for an arrival.
pub(super) struct HostTime {
    pub start_ns: u64,
    inside_ns: u64,
    waited_ns: u64,
    calls: u64,
    cpu_ns: u64,
}

impl HostTime {
    /// From here on.
    pub(super) fn start() -> Self {
        Self { cpu_ns: process_cpu_ns(), start_ns: monotonic_ns(), inside_ns: 0, waited_ns: 0, calls: 0 }
    }

    /// A call into the engine.
    pub(super) fn call<T>(&mut self, run: impl FnOnce() -> T) -> T {
        let before = monotonic_ns();
        let result = run();
        self.inside_ns += monotonic_ns() - before;
        self.calls += 1;
        result
    }

    /// A wait for the next arrival, in which neither the engine nor the harness has anything to do.
    pub(super) fn wait<T>(&mut self, run: impl FnOnce() -> T) -> T {
        let before = monotonic_ns();
        let result = run();
        self.waited_ns += monotonic_ns() - before;
        result
    }

    /// Up to here, and between these stamps of the engine's clock; with the marks that the device's clock was given.
    pub(super) fn end(self, start_ns: u64, end_ns: u64, clock: TrialClock<'_>) -> (Span, Vec<u64>) {
        let total_ns = monotonic_ns() - self.start_ns;
        let cpu_ns = process_cpu_ns() - self.cpu_ns;
        let (device, marks_ns) = clock.stop();
        let busy_ns = total_ns.saturating_sub(self.waited_ns);
        let span = Span {
            start_ns,
            end_ns,
            harness_ns: busy_ns.saturating_sub(self.inside_ns),
            busy_ns,
            cpu_ns,
            engine_calls: self.calls,
            device,
        };
        (span, marks_ns)
    }
}
