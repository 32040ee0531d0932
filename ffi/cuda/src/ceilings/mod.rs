//! What a device can do at most, measured: memory bandwidth, matrix rates, transfers, kernel launches.
//!
//! All times are the device's own, from event to event. Each item is warmed up until its samples agree ([`steady`]); the figure is
//! the median of nine. An item that cannot be measured is null, with the reason in [`Ceilings::notes`].

mod launch;
mod matmul;
mod memory;
pub mod steady;

use std::{collections::BTreeMap, sync::Arc};

use cudarc::driver::{CudaContext, CudaEvent, CudaStream, sys::CUevent_flags};
use serde::Serialize;

use self::steady::Samples;
use crate::{
    driver::{self, Device, guarded},
    kernels::Kernels,
};

/// Raised when a field changes its meaning.
pub const SCHEMA: u32 = 1;
/// Seconds that an item's warm-up may take.
const BUDGET: f64 = 1.0;
/// Seconds that a sample is to take.
const AIM: f64 = 0.02;

/// A device's ceilings. None is null in JSON; `notes` says why.
#[derive(Clone, Debug, Serialize)]
pub struct Ceilings {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The device; none where there is none, and then every figure is null.
    pub device: Option<Device>,
    /// Bytes read plus bytes written a second, by a copy within the device's memory.
    pub copy_bytes_per_s: Option<f64>,
    /// Bytes read a second, by a kernel that reads and writes nothing.
    pub read_bytes_per_s: Option<f64>,
    /// Floating-point operations a second of a dense product, 2·8192³ each, by the type of its factors.
    pub matmul_flops_per_s: BTreeMap<&'static str, Option<f64>>,
    /// Bytes a second from pinned host memory to the device.
    pub h2d_bytes_per_s: Option<f64>,
    /// Bytes a second from the device to pinned host memory.
    pub d2h_bytes_per_s: Option<f64>,
    /// Empty kernels a second, launched one by one on one stream.
    pub launches_per_s: Option<f64>,
    /// Empty kernels a second, in a chain of 1,000 launched as a graph.
    pub graph_kernels_per_s: Option<f64>,
    /// How each figure's samples were.
    pub samples: BTreeMap<String, Samples>,
    /// What is to be known of an item, by its name: why it is null, or how it was measured.
    pub notes: BTreeMap<String, String>,
}

impl Ceilings {
    fn empty() -> Self {
        Self {
            schema: SCHEMA,
            device: None,
            copy_bytes_per_s: None,
            read_bytes_per_s: None,
            matmul_flops_per_s: matmul::NAMES.into_iter().map(|name| (name, None)).collect(),
            h2d_bytes_per_s: None,
            d2h_bytes_per_s: None,
            launches_per_s: None,
            graph_kernels_per_s: None,
            samples: BTreeMap::new(),
            notes: BTreeMap::new(),
        }
    }

    /// Keeps an item's samples and gives its rate: `amount` a repetition. A failure becomes a note.
    fn rate(&mut self, name: &str, amount: f64, samples: Result<Samples, String>) -> Option<f64> {
        match samples {
            Ok(samples) => {
                let rate = amount / samples.median_seconds;
                if !samples.steady {
                    self.note(name, "the samples still drifted when the warm-up's time was up");
                }
                self.samples.insert(name.to_owned(), samples);
                Some(rate)
            }
            Err(reason) => {
                self.note(name, &reason);
                None
            }
        }
    }

    fn note(&mut self, name: &str, text: &str) {
        let note = self.notes.entry(name.to_owned()).or_default();
        if !note.is_empty() {
            note.push_str("; ");
        }
        note.push_str(text);
    }
}

/// Measures a device, in about 20 seconds. Nothing else should use it meanwhile.
pub fn measure(ordinal: usize) -> Ceilings {
    let mut found = Ceilings::empty();
    let bench = match Bench::new(ordinal) {
        Ok((bench, device)) => {
            found.device = Some(device);
            bench
        }
        Err(reason) => {
            found.note("device", &reason);
            return found;
        }
    };
    memory::measure(&bench, &mut found);
    matmul::measure(&bench, &mut found);
    launch::measure(&bench, &mut found);
    found
}

/// A device at work for this program alone.
struct Bench {
    context: Arc<CudaContext>,
    stream: Arc<CudaStream>,
    kernels: Kernels,
    start: CudaEvent,
    stop: CudaEvent,
}

impl Bench {
    fn new(ordinal: usize) -> Result<(Self, Device), String> {
        let context = driver::context(ordinal)?;
        let device = driver::describe(&context)?;
        let kernels = Kernels::load(&context, device.multiprocessors)?;
        let bench = guarded("making events", || {
            let event = || context.new_event(Some(CUevent_flags::CU_EVENT_DEFAULT));
            let stream = context.new_stream()?;
            Ok(Self { start: event()?, stop: event()?, context: context.clone(), stream, kernels })
        })?;
        Ok((bench, device))
    }

    /// Samples of `run`, which puts one repetition on the bench's stream.
    fn samples(
        &self,
        what: &str,
        mut run: impl FnMut() -> Result<(), cudarc::driver::DriverError>,
    ) -> Result<Samples, String> {
        steady::measure(BUDGET, AIM, |repetitions| {
            guarded(what, || {
                self.start.record(&self.stream)?;
                for _ in 0..repetitions {
                    run()?;
                }
                self.stop.record(&self.stream)?;
                Ok(f64::from(self.start.elapsed_ms(&self.stop)?) / 1e3)
            })
        })
    }

    /// Of `wanted` bytes as many as a quarter of the device's free memory has, in whole MiB.
    fn room(&self, wanted: usize) -> Result<usize, String> {
        let (free, _) = guarded("asking for the free memory", || self.context.mem_get_info())?;
        let room = wanted.min(free / 4) >> 20 << 20;
        if room < 64 << 20 {
            return Err(format!("expected 256 MiB of free device memory, found {} MiB", free >> 20));
        }
        Ok(room)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_device_every_figure_is_null_and_the_reason_is_noted() {
        if driver::device_count().is_ok() {
            eprintln!("skipped: this machine has a CUDA device");
            return;
        }
        let json = serde_json::to_value(measure(0)).unwrap();
        assert!(json["device"].is_null() && json["copy_bytes_per_s"].is_null(), "{json}");
        assert!(json["notes"]["device"].as_str().unwrap().contains("CUDA"), "{json}");
        let types: Vec<&String> = json["matmul_flops_per_s"].as_object().unwrap().keys().collect();
        assert_eq!(types, ["bf16", "f16", "f32", "fp8_e4m3", "tf32"]);
    }

    #[test]
    fn a_rate_is_the_amount_over_the_median_and_a_failure_a_note() {
        let mut found = Ceilings::empty();
        let samples = steady::measure(1.0, 0.02, |repetitions| Ok(f64::from(repetitions) * 0.002)).unwrap();
        let rate = found.rate("copy", 4.0, Ok(samples)).unwrap();
        assert!((rate - 2000.0).abs() < 1e-6, "{rate}");
        assert_eq!(found.rate("read", 4.0, Err("lost".to_owned())), None);
        assert_eq!(found.notes["read"], "lost");
        assert!(found.samples.contains_key("copy") && !found.samples.contains_key("read"));
    }
}
