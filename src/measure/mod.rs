//! Clocks, and what the machine did meanwhile: the traits behind which GPU clocks and traces sit.

mod clock;
mod device;
pub mod events;
#[cfg(feature = "harness")]
pub mod telemetry;
#[cfg(feature = "harness")]
pub mod trace;

pub use clock::{
    go_first, keep_to_half, monotonic_ns, process_cpu_ns, sleep_until_ns, suspended_ns, thread_cpu_ns, wake_on_time,
};
pub(crate) use device::TrialClock;
pub use device::{
    DeviceClock, DeviceClockMode, DeviceClockSource, DeviceSpan, DeviceTime, MAX_DISAGREEMENT, RecordedDeviceClock,
};
