//! Which GPUs a CUDA program sees: the rules of `CUDA_VISIBLE_DEVICES`.
//!
//! Source: CUDA C++ Programming Guide, "CUDA Environment Variables". A list of indices or UUIDs; a UUID may be cut short
//! as long as one device alone begins so; the first entry that names no device ends the list, and so does one that stands
//! twice empties it. Unset is all, empty is none.
use super::GpuDevice;

/// As [`visible`], for this process's environment: `CUDA_VISIBLE_DEVICES` and `CUDA_DEVICE_ORDER`.
///
/// # Errors
/// As [`visible`].
pub fn visible_from_env(devices: &[GpuDevice]) -> Result<Vec<GpuDevice>, String> {
    let text = |name: &str| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned());
    visible(devices, text("CUDA_VISIBLE_DEVICES").as_deref(), text("CUDA_DEVICE_ORDER").as_deref())
}

/// The devices that CUDA shows for these values, in its order. `devices` stand in NVML's, which is the PCI bus's.
///
/// # Errors
/// A sentence for a person when the devices cannot be told: MIG devices, and indices into devices of different kinds
/// in CUDA's default order, which is by its own guess of speed.
pub fn visible(
    devices: &[GpuDevice],
    visible_devices: Option<&str>,
    device_order: Option<&str>,
) -> Result<Vec<GpuDevice>, String> {
    let chosen = match visible_devices {
        None => devices.to_vec(),
        Some(list) => named(devices, list, device_order)?,
    };
    match chosen.iter().find(|device| device.mig) {
        Some(device) => Err(format!(
            "GPU {} ({}) is partitioned (MIG), which tacho's telemetry does not support: switch MIG off, or choose another \
             GPU with CUDA_VISIBLE_DEVICES",
            device.index, device.uuid
        )),
        None => Ok(chosen),
    }
}

fn named(devices: &[GpuDevice], list: &str, device_order: Option<&str>) -> Result<Vec<GpuDevice>, String> {
    let mut chosen: Vec<GpuDevice> = Vec::new();
    for entry in list.split(',').map(str::trim) {
        if entry.starts_with("MIG-") {
            return Err(format!(
                "CUDA_VISIBLE_DEVICES names the MIG device {entry}, which tacho's telemetry does not support"
            ));
        }
        let device = if entry.starts_with("GPU-") {
            let mut begins = devices.iter().filter(|device| device.uuid.starts_with(entry));
            // A prefix of two devices names neither.
            begins.next().filter(|_| begins.next().is_none())
        } else {
            let device = entry.parse::<u32>().ok().and_then(|index| devices.iter().find(|d| d.index == index));
            let alike = devices.windows(2).all(|pair| pair[0].name == pair[1].name);
            if device.is_some() && !alike && device_order != Some("PCI_BUS_ID") {
                return Err(format!(
                    "CUDA_VISIBLE_DEVICES={list} counts devices of different kinds in CUDA's own order of speed, which \
                     nobody else knows: set CUDA_DEVICE_ORDER=PCI_BUS_ID, or name devices by UUID"
                ));
            }
            device
        };
        match device {
            None => break,
            Some(device) if chosen.contains(device) => return Ok(Vec::new()),
            Some(device) => chosen.push(device.clone()),
        }
    }
    Ok(chosen)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine() -> Vec<GpuDevice> {
        let uuids = ["GPU-aaaa1111-x", "GPU-aaaa2222-x", "GPU-bbbb3333-x", "GPU-cccc4444-x"];
        (0..)
            .zip(uuids)
            .map(|(index, uuid)| GpuDevice { index, uuid: uuid.to_owned(), ..GpuDevice::default() })
            .collect()
    }

    fn indices(list: Option<&str>) -> Vec<u32> {
        visible(&machine(), list, None).unwrap().iter().map(|device| device.index).collect()
    }

    #[test]
    fn the_list_means_what_it_means_to_cuda() {
        assert_eq!(indices(None), [0, 1, 2, 3]);
        assert_eq!(indices(Some("")), [0; 0]);
        assert_eq!(indices(Some("2,0")), [2, 0]);
        assert_eq!(indices(Some(" 1 , 3 ")), [1, 3]);
        assert_eq!(indices(Some("GPU-bbbb3333-x,0")), [2, 0]);
        assert_eq!(indices(Some("GPU-b,GPU-c")), [2, 3]);
        // From the first bad entry on nothing is seen: past the end, a word, a negative number, an ambiguous prefix.
        for list in ["1,9,2", "1,none,2", "1,-1,2", "1,GPU-aaaa,2", "1,,2"] {
            assert_eq!(indices(Some(list)), [1], "{list}");
        }
        assert_eq!(indices(Some("NoDevFiles")), [0; 0]);
        assert_eq!(indices(Some("1,1")), [0; 0]);
        assert_eq!(indices(Some("0,GPU-aaaa1")), [0; 0]);
    }

    #[test]
    fn what_cannot_be_told_is_named() {
        let mut devices = machine();
        devices[1].mig = true;
        assert!(visible(&devices, Some("0"), None).is_ok());
        for list in [Some("1"), None] {
            assert!(visible(&devices, list, None).unwrap_err().contains("MIG"));
        }
        assert!(visible(&machine(), Some("MIG-1234"), None).unwrap_err().contains("MIG-1234"));
        devices[1].mig = false;
        devices[3].name = "another".to_owned();
        assert!(visible(&devices, Some("0"), None).unwrap_err().contains("PCI_BUS_ID"));
        assert_eq!(visible(&devices, Some("3"), Some("PCI_BUS_ID")).unwrap()[0].index, 3);
        assert_eq!(visible(&devices, Some("GPU-c"), None).unwrap()[0].index, 3);
    }
}
