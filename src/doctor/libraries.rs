//! NVIDIA's driver and libraries, by their files and by NVML: nothing is loaded but what telemetry loads too.
use std::path::PathBuf;

use super::{Check, Surroundings};

/// Where libraries lie beside what `LD_LIBRARY_PATH` names.
const FOLDERS: [&str; 8] = [
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/lib/x86_64-linux-gnu",
    "/usr/lib64",
    "/usr/lib",
    "/usr/local/nvidia/lib64",
    "/usr/local/cuda/lib64",
    "/usr/local/cuda/extras/CUPTI/lib64",
];
/// The kernel's side of the driver.
const DRIVER: &str = "/proc/driver/nvidia/version";

pub(super) fn checks(around: &Surroundings<'_>) -> Vec<Check> {
    let driver = driver(around);
    let present = around.gpus.is_ok() || around.path(DRIVER).exists();
    vec![driver, cuda(around, present), cupti(around, present)]
}

fn driver(around: &Surroundings<'_>) -> Check {
    const NAME: &str = "driver";
    match (around.devices(), around.path(DRIVER).exists()) {
        (Ok(devices), _) => {
            let version = devices[0].driver.clone().unwrap_or_else(|| "of unknown version".to_owned());
            let names: Vec<&str> = devices.iter().map(|device| device.name.as_str()).collect();
            Check::ok(NAME, format!("NVIDIA driver {version}: {}", names.join(", ")))
        }
        (Err(why), true) => Check::problem(
            NAME,
            format!("the kernel has NVIDIA's driver, and no GPU can be used: {why}"),
            "look at CUDA_VISIBLE_DEVICES; install the driver's libraries of the kernel module's version, or start the container with its GPUs",
        ),
        (Err(why), false) if around.gpus.is_ok() => {
            Check::warning(NAME, why, "set CUDA_VISIBLE_DEVICES to the GPU to measure, or leave it unset")
        }
        (Err(why), false) => Check::not_applicable(NAME, format!("{why}: engines run on the processor")),
    }
}

fn cuda(around: &Surroundings<'_>, present: bool) -> Check {
    const NAME: &str = "cuda";
    match find(around, "libcuda.so.1") {
        Some(path) => Check::ok(NAME, path.display().to_string()),
        None if present => Check::problem(
            NAME,
            "libcuda.so.1 is in none of the usual folders nor on LD_LIBRARY_PATH",
            "install the driver's user-space libraries; in a container, start it with the NVIDIA runtime",
        ),
        None => Check::not_applicable(NAME, "no NVIDIA driver"),
    }
}

fn cupti(around: &Surroundings<'_>, present: bool) -> Check {
    const NAME: &str = "cupti";
    let found = ["libcupti.so.13", "libcupti.so.12", "libcupti.so"].iter().find_map(|name| find(around, name));
    match found {
        Some(path) => Check::ok(NAME, path.display().to_string()),
        None if present => Check::warning(
            NAME,
            "libcupti is in none of the usual folders nor on LD_LIBRARY_PATH; engines' environments may bring their own",
            "for --trace, install the CUDA toolkit's CUPTI, or use an engine whose environment has one",
        ),
        None => Check::not_applicable(NAME, "no NVIDIA driver: nothing to trace"),
    }
}

fn find(around: &Surroundings<'_>, name: &str) -> Option<PathBuf> {
    let named = around.variable("LD_LIBRARY_PATH").unwrap_or_default().split(':').filter(|folder| !folder.is_empty());
    named.chain(FOLDERS).map(|folder| around.path(folder).join(name)).find(|path| path.exists())
}

#[cfg(test)]
mod tests {
    use super::{
        super::{State, testing},
        *,
    };

    #[test]
    fn a_machine_without_a_driver_is_no_problem() {
        let machine = testing::Machine::new();
        let states: Vec<State> = checks(&machine.around()).iter().map(|check| check.state).collect();
        assert_eq!(states, [State::NotApplicable; 3]);
    }

    #[test]
    fn a_driver_without_its_libraries_is_one() {
        let machine = testing::Machine::new();
        machine.write(DRIVER, "NVRM version: 580.1");
        let found = checks(&machine.around());
        assert_eq!(
            found.iter().map(|check| check.state).collect::<Vec<_>>(),
            [State::Problem, State::Problem, State::Warning]
        );
        assert!(found[1].advice.as_ref().unwrap().contains("user-space libraries"));
    }

    #[test]
    fn libraries_are_found_where_the_environment_says() {
        let machine = testing::Machine::new();
        machine.write("/opt/x/libcuda.so.1", "");
        machine.write("/usr/lib64/libcupti.so.12", "");
        let mut around = machine.around();
        around.gpus = Ok(testing::gpu());
        around.variables.insert("LD_LIBRARY_PATH".to_owned(), ":/opt/x".to_owned());
        let found = checks(&around);
        assert!(found.iter().all(|check| check.state == State::Ok), "{found:?}");
        assert!(found[0].found.contains("test double") && found[1].found.ends_with("/opt/x/libcuda.so.1"));
        // Hidden from CUDA.
        around.variables.insert("CUDA_VISIBLE_DEVICES".to_owned(), String::new());
        assert_eq!(checks(&around)[0].state, State::Warning);
    }
}
