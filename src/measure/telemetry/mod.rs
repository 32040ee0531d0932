//! What the machine did while a trial ran, read by `tacho` itself and never by the cell: the GPUs through NVML, the
//! processor through `/proc`.
//!
//! A [`Sampler`] reads both on a thread of its own at a fixed period, stamped with CLOCK_MONOTONIC, the clock of the
//! cell's trial stamps. [`figures()`] makes a trial's figures of the samples; [`marks()`] says what is wrong with them.
//! No driver, no GPU and no `/proc` are normal cases: their figures are null and say why.

mod figures;
mod gpu;
mod host;
mod nvml;
mod recorded;
mod sampler;
mod throttle;
mod visible;

pub use figures::{GpuFigures, HostFigures, MIN_ENERGY_UPDATES, Sampling, Telemetry, Window, figures};
pub use gpu::{GpuDevice, GpuProbe, GpuReading, GpuSample, Uuid};
pub use host::{HostProbe, HostSample, ProcessTree};
pub use nvml::Nvml;
pub use recorded::RecordedGpu;
pub use sampler::{KEEP, Sampler, Samples};
pub use throttle::{HEAT_OR_POWER, LEAST_EARLIER, Mark, REASONS, marks, reason_names};
pub use visible::{visible, visible_from_env};
