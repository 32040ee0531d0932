//! How far a trial is from what the hardware can do: the work that the model itself asks for, against ceilings that were
//! measured on the device.
//!
//! [`ModelShape`] and [`Model`] say what a model is made of, [`Work`] what a trial's requests cost at least, [`Ceilings`]
//! what the device reached when it did nothing else, and [`judge()`] puts a trial between them: MFU, MBU, the bound that
//! binds, and where the time beyond the limit went. What is not known is null with a reason; a figure above 100 % is an
//! error of this model and is reported as one.

mod ceilings;
mod config;
mod cpu;
mod from_gguf;
mod judge;
mod model;
mod shape;
mod work;

pub use ceilings::{Ceilings, CeilingsDevice, GPU_PROGRAM, SCHEMA as CEILINGS_SCHEMA, ask_gpu_program};
pub use cpu::{cpu_device, last_level_cache_bytes, measure_cpu};
pub use judge::{Bound, Busy, GapSplit, Known, Roofline, gap_split, judge};
pub use model::Model;
pub use shape::{Counts, Mlp, ModelShape, Small};
pub use work::{Rates, Work, work};
