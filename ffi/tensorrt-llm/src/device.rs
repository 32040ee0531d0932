//! What runs the engine: the GPUs' names as the driver tells them, without a CUDA library of our own.
use std::{collections::BTreeMap, fs, path::Path};

/// The GPUs that the driver knows, joined; None where there is no driver. `CUDA_VISIBLE_DEVICES` is not looked at: which of
/// them the library took, it does not tell.
pub fn gpus() -> Option<String> {
    let names = names_in(Path::new("/proc/driver/nvidia/gpus"));
    let parts: Vec<String> =
        names.into_iter().map(|(name, count)| if count == 1 { name } else { format!("{count} × {name}") }).collect();
    (!parts.is_empty()).then(|| parts.join(" + "))
}

fn names_in(folder: &Path) -> BTreeMap<String, u32> {
    let mut names = BTreeMap::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let text = fs::read_to_string(entry.path().join("information")).unwrap_or_default();
        let model = text.lines().find_map(|line| line.strip_prefix("Model:"));
        if let Some(model) = model {
            *names.entry(model.trim().to_owned()).or_default() += 1;
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_gpus_are_counted() {
        let dir = tempfile::tempdir().unwrap();
        for bus in ["0000:01:00.0", "0000:02:00.0"] {
            let gpu = dir.path().join(bus);
            fs::create_dir(&gpu).unwrap();
            fs::write(gpu.join("information"), "Model: \t\t NVIDIA H100 80GB HBM3\nIRQ:   \t\t 1\n").unwrap();
        }
        assert_eq!(names_in(dir.path()), BTreeMap::from([("NVIDIA H100 80GB HBM3".to_owned(), 2)]));
        assert!(names_in(&dir.path().join("none")).is_empty());
    }
}
