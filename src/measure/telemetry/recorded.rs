//! A test double of a GPU driver: plays recorded readings.
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{GpuDevice, GpuProbe, GpuReading};

/// What begins the name of every device of a recording, so that no figure of it passes for a measurement.
const PREFIX: &str = "RECORDED (test double): ";

/// Plays recorded readings, one an asking, from the start again when they end. A test double, never a device: the names
/// of its devices say so.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct RecordedGpu {
    devices: Vec<GpuDevice>,
    /// A list a device.
    readings: Vec<Vec<GpuReading>>,
    #[serde(skip)]
    next: Vec<usize>,
}

impl RecordedGpu {
    /// Devices, and for each the readings that it gives.
    pub fn new(devices: Vec<GpuDevice>, readings: Vec<Vec<GpuReading>>) -> Self {
        let devices =
            devices.into_iter().map(|device| GpuDevice { name: format!("{PREFIX}{}", device.name), ..device });
        Self { devices: devices.collect(), next: vec![0; readings.len()], readings }
    }

    /// Reads a recording: JSON with `devices` and `readings`.
    ///
    /// # Errors
    /// A sentence for a person when it cannot be read.
    pub fn open(path: &Path) -> Result<Self, String> {
        let text = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let Self { devices, readings, .. } =
            serde_json::from_slice(&text).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Self::new(devices, readings))
    }
}

impl GpuProbe for RecordedGpu {
    fn devices(&self) -> Result<Vec<GpuDevice>, String> {
        Ok(self.devices.clone())
    }

    fn read(&mut self, device: &GpuDevice, _: &[u32]) -> Result<GpuReading, String> {
        let place = self.devices.iter().position(|known| known.uuid == device.uuid);
        let place = place.ok_or_else(|| format!("the recording has no GPU {}", device.uuid))?;
        let (Some(readings), Some(next)) = (self.readings.get(place), self.next.get_mut(place)) else {
            return Err(format!("the recording has no readings of GPU {}", device.uuid));
        };
        let reading = readings.get(*next % readings.len().max(1)).copied();
        *next += 1;
        reading.ok_or_else(|| format!("the recording of GPU {} is empty", device.uuid))
    }
}
