//! The CUDA driver: whether there is one, and which devices it has.
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use cudarc::driver::{CudaContext, DriverError, sys};
use serde::Serialize;

/// Runs what calls the driver. Errors become sentences, and so does a function that the driver lacks, on which the binding
/// panics.
///
/// # Errors
/// What the driver said, after `what`.
pub fn guarded<T>(what: &str, run: impl FnOnce() -> Result<T, DriverError>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(format!("{what}: {}", sentence(error))),
        Err(panic) => {
            let text = panic.downcast_ref::<&str>().copied();
            let said = text.or(panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("a panic without words");
            Err(format!("{what}: the CUDA driver is older than 13.0, for which this was built ({said})"))
        }
    }
}

fn sentence(error: DriverError) -> String {
    let text = error.error_string().map(|text| text.to_string_lossy().into_owned());
    let name = error.error_name().map(|name| name.to_string_lossy().into_owned());
    match (name, text) {
        (Ok(name), Ok(text)) => format!("{text} ({name})"),
        _ => format!("CUDA error {:?}", error.0),
    }
}

/// How many devices the driver shows to this process; at least one.
///
/// # Errors
/// A sentence when there is no driver or no device.
pub fn device_count() -> Result<usize, String> {
    // SAFETY: opens the library and closes it again; the driver's has no start-up side effects but its own.
    if !unsafe { sys::is_culib_present() } {
        return Err("no CUDA driver on this machine: libcuda.so.1 cannot be opened".to_owned());
    }
    let count = guarded("counting CUDA devices", CudaContext::device_count)?;
    match usize::try_from(count) {
        Ok(count) if count > 0 => Ok(count),
        _ => Err("the CUDA driver shows no device to this process: see CUDA_VISIBLE_DEVICES".to_owned()),
    }
}

/// Whether somebody in this process has made the device's primary context already.
///
/// # Errors
/// A sentence when there is no driver or no such device.
pub fn primary_context_is_active(ordinal: usize) -> Result<bool, String> {
    check_ordinal(ordinal)?;
    guarded("looking for the device's primary context", || {
        let device = cudarc::driver::result::device::get(ordinal as i32)?;
        let (mut flags, mut active) = (0, 0);
        // SAFETY: the device came from the driver, which writes two integers.
        unsafe { sys::cuDevicePrimaryCtxGetState(device, &mut flags, &mut active) }.result()?;
        Ok(active != 0)
    })
}

/// The device's primary context, made if need be, and current to the calling thread.
///
/// # Errors
/// A sentence when there is no driver or no such device, or the context cannot be made.
pub fn context(ordinal: usize) -> Result<Arc<CudaContext>, String> {
    check_ordinal(ordinal)?;
    guarded("retaining the device's primary context", || CudaContext::new(ordinal))
}

fn check_ordinal(ordinal: usize) -> Result<(), String> {
    let count = device_count()?;
    if ordinal < count {
        return Ok(());
    }
    Err(format!("expected a device below {count}, found {ordinal}: CUDA_VISIBLE_DEVICES may hide some"))
}

/// A device, as far as the driver tells.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Device {
    /// `GPU-` and the UUID, as `nvidia-smi -L` writes it.
    pub uuid: String,
    /// Its name.
    pub name: String,
    /// The driver's version, such as `580.95.05`; none where the kernel module does not show it.
    pub driver: Option<String>,
    /// The most that its SM clock goes up to, in MHz.
    pub sm_clock_mhz: Option<u32>,
    /// Multiprocessors.
    pub multiprocessors: u32,
    /// Compute capability: major, minor.
    pub compute_capability: (i32, i32),
    /// Memory, in bytes.
    pub memory_bytes: u64,
    /// Its last cache, in bytes.
    pub l2_bytes: u64,
}

/// Describes the context's device.
///
/// # Errors
/// What the driver said.
pub fn describe(context: &Arc<CudaContext>) -> Result<Device, String> {
    use sys::CUdevice_attribute_enum as Attribute;
    guarded("describing the device", || {
        let clock_khz = context.attribute(Attribute::CU_DEVICE_ATTRIBUTE_CLOCK_RATE);
        Ok(Device {
            uuid: uuid_text(context.uuid()?.bytes.map(|byte| byte as u8)),
            name: context.name()?,
            driver: std::fs::read_to_string("/proc/driver/nvidia/version").ok().as_deref().and_then(module_version),
            sm_clock_mhz: clock_khz.ok().and_then(|khz| u32::try_from(khz / 1000).ok()).filter(|mhz| *mhz > 0),
            multiprocessors: context.attribute(Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?.max(0) as u32,
            compute_capability: context.compute_capability()?,
            memory_bytes: context.total_mem()? as u64,
            l2_bytes: context.attribute(Attribute::CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE)?.max(0) as u64,
        })
    })
}

/// As `nvidia-smi -L` writes it.
fn uuid_text(bytes: [u8; 16]) -> String {
    let hex = |range: std::ops::Range<usize>| -> String { bytes[range].iter().map(|b| format!("{b:02x}")).collect() };
    format!("GPU-{}-{}-{}-{}-{}", hex(0..4), hex(4..6), hex(6..8), hex(8..10), hex(10..16))
}

/// The version in `/proc/driver/nvidia/version`: the first word of its first line that is numbers and dots.
fn module_version(text: &str) -> Option<String> {
    let is_version = |word: &&str| {
        word.contains('.') && word.chars().all(|c| c.is_ascii_digit() || c == '.') && word.starts_with(|c| c != '.')
    };
    text.lines().next()?.split_whitespace().find(is_version).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuids_are_written_as_nvidia_smi_does() {
        let bytes = std::array::from_fn(|index| index as u8 * 17);
        assert_eq!(uuid_text(bytes), "GPU-00112233-4455-6677-8899-aabbccddeeff");
    }

    #[test]
    fn the_modules_version_is_found_in_either_wording() {
        let open =
            "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.95.05  Release Build  (dvs)\nGCC 12.2.0\n";
        let closed = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.12  Wed Sep 20\n";
        assert_eq!(module_version(open).as_deref(), Some("580.95.05"));
        assert_eq!(module_version(closed).as_deref(), Some("535.104.12"));
        assert_eq!(module_version("no numbers here"), None);
        assert_eq!(module_version(""), None);
    }

    #[test]
    fn a_machine_without_a_driver_says_so_at_every_entry() {
        let Err(reason) = device_count() else {
            eprintln!("skipped: this machine has a CUDA driver and a device");
            return;
        };
        assert!(reason.contains("CUDA"), "{reason}");
        assert_eq!(context(0).err(), Some(reason.clone()));
        assert_eq!(primary_context_is_active(0), Err(reason));
    }

    #[test]
    fn a_function_that_the_driver_lacks_is_a_reason_and_no_panic() {
        let missing = guarded("reading an event", || -> Result<(), DriverError> { panic!("Missing symbol {}", "cuX") });
        let reason = missing.unwrap_err();
        assert!(reason.starts_with("reading an event: ") && reason.contains("Missing symbol cuX"), "{reason}");
    }
}
