//! What is asked of a GPU, whoever answers.
use serde::{Deserialize, Serialize};

/// A device's UUID as NVML writes it, such as `GPU-4d6f…`, at most 47 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Uuid {
    bytes: [u8; 47],
    length: u8,
}

impl Uuid {
    /// Keeps the first 47 bytes; NVML's have 40.
    pub fn new(text: &str) -> Self {
        let mut end = text.len().min(47);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let mut bytes = [0; 47];
        bytes[..end].copy_from_slice(&text.as_bytes()[..end]);
        Self { bytes, length: end as u8 }
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..usize::from(self.length)]).unwrap_or_default()
    }
}

impl std::fmt::Debug for Uuid {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(self.as_str())
    }
}

/// A GPU of this machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GpuDevice {
    /// Its place in NVML's order, which is that of the PCI bus.
    pub index: u32,
    /// Such as `GPU-4d6f…`.
    pub uuid: String,
    /// Such as `NVIDIA H100 80GB HBM3`.
    pub name: String,
    /// The driver's version.
    pub driver: Option<String>,
    /// Its memory.
    pub memory_bytes: Option<u64>,
    /// The highest clock that its streaming multiprocessors can have.
    pub max_sm_clock_mhz: Option<u32>,
    /// The power that it may draw.
    pub power_limit_mw: Option<u32>,
    /// Whether it is partitioned (MIG), which Tacho does not look into.
    pub mig: bool,
}

/// One reading of one GPU. None where the device does not tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GpuReading {
    /// Share of the driver's last sampling interval in which a kernel ran, in percent. Says nothing of how full it was.
    #[serde(default)]
    pub utilization_percent: Option<u32>,
    /// Share of that interval in which memory was read or written, in percent.
    #[serde(default)]
    pub memory_utilization_percent: Option<u32>,
    /// Memory in use by everybody.
    #[serde(default)]
    pub memory_used_bytes: Option<u64>,
    /// Memory in use by the cell's process tree; None when the driver shows none of its processes, as in containers with
    /// process numbers of their own.
    #[serde(default)]
    pub process_memory_bytes: Option<u64>,
    /// Compute processes that are not the cell's, all where no cell is asked for; None when the driver shows none of the
    /// cell's, so that whose are whose cannot be told.
    #[serde(default)]
    pub other_processes: Option<u32>,
    /// Clock of the streaming multiprocessors.
    #[serde(default)]
    pub sm_clock_mhz: Option<u32>,
    /// Clock of the memory.
    #[serde(default)]
    pub memory_clock_mhz: Option<u32>,
    /// Power drawn: on recent devices the mean over the last second, so only for looking at; energy is counted.
    #[serde(default)]
    pub power_mw: Option<u32>,
    /// Temperature of the chip.
    #[serde(default)]
    pub temperature_c: Option<u32>,
    /// Why clocks are held down: the bits of `nvmlClocksEventReasons`.
    #[serde(default)]
    pub throttle_reasons: Option<u64>,
    /// Energy drawn since the driver was loaded.
    #[serde(default)]
    pub energy_mj: Option<u64>,
}

/// A reading with its time and its device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GpuSample {
    /// CLOCK_MONOTONIC, between asking and having the answer.
    pub time_ns: u64,
    /// Whose.
    pub uuid: Uuid,
    /// What it said.
    pub reading: GpuReading,
}

/// Answers for the GPUs of a machine: NVML, or a double of it.
pub trait GpuProbe: Send {
    /// The machine's GPUs.
    ///
    /// # Errors
    /// A sentence for a person when they cannot be listed.
    fn devices(&self) -> Result<Vec<GpuDevice>, String>;

    /// Reads one GPU; `pids` are the cell's processes.
    ///
    /// # Errors
    /// A sentence for a person when the device is gone; what it merely does not tell is None.
    fn read(&mut self, device: &GpuDevice, pids: &[u32]) -> Result<GpuReading, String>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_is_kept_as_it_is_and_a_monster_is_cut() {
        let text = "GPU-4d6f1a2b-0000-1111-2222-333344445555";
        assert_eq!(Uuid::new(text).as_str(), text);
        assert_eq!(Uuid::new(&"ü".repeat(40)).as_str(), "ü".repeat(23));
    }
}
