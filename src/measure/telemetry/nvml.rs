//! NVML, found when the program runs: a machine without the driver is a normal case.
use std::ffi::OsStr;

use nvml_wrapper::{
    Nvml as Library,
    enum_wrappers::device::{Clock, TemperatureSensor},
    enums::device::UsedGpuMemory,
    error::NvmlError,
};

use super::{GpuDevice, GpuProbe, GpuReading};

/// The driver's library by the name that it always has, then by the one that development packages add.
const LIBRARIES: [&str; 2] = ["libnvidia-ml.so.1", "libnvidia-ml.so"];

/// The machine's GPUs as NVIDIA's driver tells of them.
pub struct Nvml {
    library: Library,
}

impl Nvml {
    /// Opens the driver's library.
    ///
    /// # Errors
    /// A sentence for a person: no library, or a driver that is not loaded.
    pub fn open() -> Result<Self, String> {
        let mut error = None;
        for name in LIBRARIES {
            match Library::builder().lib_path(OsStr::new(name)).init() {
                Ok(library) => return Ok(Self { library }),
                Err(NvmlError::LibloadingError(_)) => {}
                Err(other) => error = Some(other),
            }
        }
        Err(match error {
            None => format!("this machine has no NVIDIA driver ({} is not found)", LIBRARIES[0]),
            Some(error) => format!("NVIDIA's driver does not answer: {error}"),
        })
    }
}

/// What a device does not support or permit is None; that it is gone is an error.
fn told<T>(answer: Result<T, NvmlError>) -> Result<Option<T>, NvmlError> {
    match answer {
        Ok(value) => Ok(Some(value)),
        Err(error @ (NvmlError::GpuLost | NvmlError::Uninitialized | NvmlError::DriverNotLoaded)) => Err(error),
        Err(_) => Ok(None),
    }
}

impl GpuProbe for Nvml {
    fn devices(&self) -> Result<Vec<GpuDevice>, String> {
        let driver = self.library.sys_driver_version().ok();
        let list = || -> Result<Vec<GpuDevice>, NvmlError> {
            (0..self.library.device_count()?)
                .map(|index| {
                    let device = self.library.device_by_index(index)?;
                    Ok(GpuDevice {
                        index,
                        uuid: device.uuid()?,
                        name: device.name()?,
                        driver: driver.clone(),
                        memory_bytes: told(device.memory_info())?.map(|memory| memory.total),
                        max_sm_clock_mhz: told(device.max_clock_info(Clock::SM))?,
                        power_limit_mw: told(device.enforced_power_limit())?,
                        // An error means that the device cannot be partitioned.
                        mig: told(device.mig_mode())?.is_some_and(|mode| mode.current != 0),
                    })
                })
                .collect()
        };
        list().map_err(|error| format!("NVIDIA's driver does not list its GPUs: {error}"))
    }

    fn read(&mut self, device: &GpuDevice, pids: &[u32]) -> Result<GpuReading, String> {
        let read = || -> Result<GpuReading, NvmlError> {
            let handle = self.library.device_by_index(device.index)?;
            let utilization = told(handle.utilization_rates())?;
            let processes = told(handle.running_compute_processes())?.unwrap_or_default();
            let own_count = processes.iter().filter(|process| pids.contains(&process.pid)).count();
            let own: Vec<u64> = processes
                .iter()
                .filter(|process| pids.contains(&process.pid))
                .filter_map(|process| match process.used_gpu_memory {
                    UsedGpuMemory::Used(bytes) => Some(bytes),
                    UsedGpuMemory::Unavailable => None,
                })
                .collect();
            Ok(GpuReading {
                utilization_percent: utilization.as_ref().map(|utilization| utilization.gpu),
                memory_utilization_percent: utilization.map(|utilization| utilization.memory),
                memory_used_bytes: told(handle.memory_info())?.map(|memory| memory.used),
                other_processes: (pids.is_empty() || own_count > 0).then(|| (processes.len() - own_count) as u32),
                process_memory_bytes: (!own.is_empty()).then(|| own.iter().sum()),
                sm_clock_mhz: told(handle.clock_info(Clock::SM))?,
                memory_clock_mhz: told(handle.clock_info(Clock::Memory))?,
                power_mw: told(handle.power_usage())?,
                temperature_c: told(handle.temperature(TemperatureSensor::Gpu))?,
                throttle_reasons: told(handle.current_throttle_reasons())?.map(|reasons| reasons.bits()),
                energy_mj: told(handle.total_energy_consumption())?,
            })
        };
        read().map_err(|error| format!("GPU {} ({}) does not answer: {error}", device.index, device.uuid))
    }
}
