//! What a device reached when it did nothing else, and where that is kept.
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use serde::{Deserialize, Serialize};

use crate::{measure::telemetry::GpuDevice, results::files::replace};

/// Raised when the meaning of a field changes.
pub const SCHEMA: u32 = 1;
/// The program that measures a GPU's clock and ceilings, found beside `tacho` as cells are.
pub const GPU_PROGRAM: &str = "tacho-cuda";

/// Whose ceilings these are. What is None is not told, or not a matter of such a device.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CeilingsDevice {
    /// A GPU's; None for the processor.
    #[serde(default)]
    pub uuid: Option<String>,
    /// Its name.
    pub name: String,
    /// A GPU's driver.
    #[serde(default)]
    pub driver: Option<String>,
    /// A GPU's highest clock of its multiprocessors.
    #[serde(default)]
    pub sm_clock_mhz: Option<f64>,
    /// The processor's cores that this process may use.
    #[serde(default)]
    pub cores: Option<u32>,
    /// The processor's frequency governor.
    #[serde(default)]
    pub governor: Option<String>,
    /// The processor's highest frequency.
    #[serde(default)]
    pub max_mhz: Option<u32>,
    /// The largest cache: a model that fits in it is not bound by memory.
    #[serde(default, alias = "l2_bytes")]
    pub cache_bytes: Option<u64>,
}

/// Ceilings of one device, as `tacho ceilings` and [`GPU_PROGRAM`] write them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Ceilings {
    /// [`SCHEMA`].
    pub schema: u32,
    /// Whose.
    pub device: CeilingsDevice,
    /// Bytes a second read while as many are written.
    #[serde(default)]
    pub copy_bytes_per_s: Option<f64>,
    /// Bytes a second read from memory.
    #[serde(default)]
    pub read_bytes_per_s: Option<f64>,
    /// FLOPs a second of dense matrix products, by type: `f16`, `bf16`, `tf32`, `f32`, `fp8_e4m3`.
    #[serde(default)]
    pub matmul_flops_per_s: BTreeMap<String, Option<f64>>,
    /// Bytes a second from host to device.
    #[serde(default)]
    pub h2d_bytes_per_s: Option<f64>,
    /// Bytes a second from device to host.
    #[serde(default)]
    pub d2h_bytes_per_s: Option<f64>,
    /// Kernels launched a second.
    #[serde(default)]
    pub launches_per_s: Option<f64>,
    /// Kernels a second in a graph.
    #[serde(default)]
    pub graph_kernels_per_s: Option<f64>,
    /// What to know of them, such as why one is missing.
    #[serde(default)]
    pub notes: serde_json::Value,
    /// The samples they come from.
    #[serde(default)]
    pub samples: serde_json::Value,
}

impl Ceilings {
    /// None yet.
    pub fn of(device: CeilingsDevice) -> Self {
        Self { schema: SCHEMA, device, ..Self::default() }
    }

    /// Reads what [`GPU_PROGRAM`] or a cache file says.
    ///
    /// # Errors
    /// A sentence for a person when it is not of this schema, or no figures.
    pub fn parse(text: &[u8]) -> Result<Self, String> {
        let found: Self = serde_json::from_slice(text).map_err(|error| format!("not ceilings: {error}"))?;
        if found.schema != SCHEMA {
            return Err(format!("ceilings of schema {}, expected {SCHEMA}", found.schema));
        }
        let rates =
            found.matmul_flops_per_s.values().flatten().chain(&found.read_bytes_per_s).chain(&found.copy_bytes_per_s);
        match rates.copied().find(|rate| !(rate.is_finite() && *rate > 0.0)) {
            Some(rate) => Err(format!("a ceiling of {rate}, expected a number above 0")),
            None => Ok(found),
        }
    }

    /// Measures the GPU that CUDA shows first, by the program at `program`.
    ///
    /// # Errors
    /// A sentence for a person: why the program gave none.
    pub fn measure_gpu(program: &Path) -> Result<Self, String> {
        let output = ask_gpu_program(program, "ceilings")?;
        let name = program.display();
        Self::parse(&output).map_err(|error| format!("{name} gave no ceilings: {error}"))
    }

    /// Keeps them in `dir` until they are measured again.
    ///
    /// # Errors
    /// A sentence for a person when the file cannot be written.
    pub fn keep(&self, dir: &Path) -> Result<PathBuf, String> {
        let path = dir.join(file_name(&self.device));
        let mut text = serde_json::to_vec_pretty(self).map_err(|error| error.to_string())?;
        text.push(b'\n');
        fs::create_dir_all(dir).map_err(|error| format!("{} cannot be made: {error}", dir.display()))?;
        replace(&path, &text).map_err(|error| error.to_string())?;
        Ok(path)
    }

    /// The processor's, when they were measured in this state of it.
    ///
    /// # Errors
    /// A sentence for a person that says how to have them measured.
    pub fn of_cpu(dir: &Path, device: &CeilingsDevice) -> Result<Self, String> {
        let path = dir.join(file_name(device));
        match fs::read(&path) {
            Ok(text) => Self::parse(&text).map_err(|error| format!("{}: {error}", path.display())),
            Err(_) => Err("this processor's ceilings have not been measured: run `tacho ceilings`".to_owned()),
        }
    }

    /// A GPU's, when they were measured with this driver.
    ///
    /// # Errors
    /// A sentence for a person that says how to have them measured.
    pub fn of_gpu(dir: &Path, device: &GpuDevice) -> Result<Self, String> {
        let kept = fs::read_dir(dir).into_iter().flatten().flatten();
        let found = kept
            .filter_map(|entry| Self::parse(&fs::read(entry.path()).ok()?).ok())
            .find(|found| found.device.uuid.as_deref() == Some(&device.uuid) && found.device.driver == device.driver);
        found.ok_or_else(|| {
            format!(
                "the ceilings of GPU {} have not been measured with driver {}: run `tacho ceilings`",
                device.uuid,
                device.driver.as_deref().unwrap_or("unknown")
            )
        })
    }
}

/// The longest that [`GPU_PROGRAM`] may take: `ceilings` takes about 10 s.
const GPU_PROGRAM_WITHIN: Duration = Duration::from_secs(180);

/// What [`GPU_PROGRAM`], found at `program`, answers to a command, as JSON.
///
/// # Errors
/// A sentence for a person, with the program's last words, when it cannot be started or fails.
pub fn ask_gpu_program(program: &Path, command: &str) -> Result<Vec<u8>, String> {
    let name = program.display();
    let child = Command::new(program)
        .args([command, "--json"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("{name} cannot be started: {error}"))?;
    let pid = rustix::process::Pid::from_child(&child);
    let (said, heard) = mpsc::channel();
    thread::spawn(move || said.send(child.wait_with_output()));
    let output = match heard.recv_timeout(GPU_PROGRAM_WITHIN) {
        Ok(output) => output.map_err(|error| format!("{name} cannot be waited for: {error}"))?,
        Err(_) => {
            // A process that is stuck in a driver may not even be killed: it is left behind.
            let _: rustix::io::Result<()> = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            return Err(format!("{name} {command} gave no answer within {} s", GPU_PROGRAM_WITHIN.as_secs()));
        }
    };
    if output.status.success() {
        return Ok(output.stdout);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it said nothing");
    Err(format!("{name} ended with {}: {last}", output.status))
}

/// By what makes other ceilings: the device, its driver, its clocks.
fn file_name(device: &CeilingsDevice) -> String {
    let identity = match &device.uuid {
        // The clock is told as a number that may waver; the driver and the device decide.
        Some(uuid) => format!("{uuid} {:?}", device.driver),
        None => format!("{} {:?} {:?} {:?}", device.name, device.cores, device.governor, device.max_mhz),
    };
    let kind = if device.uuid.is_some() { "gpu" } else { "cpu" };
    format!("{kind}-{}.json", &blake3::hash(identity.as_bytes()).to_hex()[..16])
}

#[cfg(test)]
mod tests {
    use super::*;

    const GPU: &str = r#"{"schema":1,"device":{"uuid":"GPU-a","name":"NVIDIA H100","driver":"580.1","sm_clock_mhz":1980,
        "l2_bytes":52428800},"copy_bytes_per_s":2.6e12,"read_bytes_per_s":3.0e12,
        "matmul_flops_per_s":{"f16":7e14,"bf16":7e14,"tf32":4e14,"f32":5e13,"fp8_e4m3":null},"h2d_bytes_per_s":5e10,
        "d2h_bytes_per_s":5e10,"launches_per_s":4e5,"notes":{"fp8_e4m3":"refused"},"samples":{}}"#;

    #[test]
    fn ceilings_are_kept_by_device_driver_and_state() {
        let dir = tempfile::tempdir().unwrap();
        let gpu = Ceilings::parse(GPU.as_bytes()).unwrap();
        assert_eq!((gpu.device.cache_bytes, gpu.matmul_flops_per_s["fp8_e4m3"]), (Some(52_428_800), None));
        gpu.keep(dir.path()).unwrap();
        let device = |uuid: &str, driver: &str| GpuDevice {
            uuid: uuid.to_owned(),
            driver: Some(driver.to_owned()),
            ..GpuDevice::default()
        };
        assert_eq!(Ceilings::of_gpu(dir.path(), &device("GPU-a", "580.1")), Ok(gpu));
        for other in [device("GPU-b", "580.1"), device("GPU-a", "590.2")] {
            assert!(Ceilings::of_gpu(dir.path(), &other).unwrap_err().contains("run `tacho ceilings`"));
        }
        let cpu = CeilingsDevice { name: "Some CPU".to_owned(), cores: Some(2), ..CeilingsDevice::default() };
        assert!(Ceilings::of_cpu(dir.path(), &cpu).unwrap_err().contains("run `tacho ceilings`"));
        Ceilings::of(cpu.clone()).keep(dir.path()).unwrap();
        assert_eq!(Ceilings::of_cpu(dir.path(), &cpu), Ok(Ceilings::of(cpu.clone())));
        let governed = CeilingsDevice { governor: Some("powersave".to_owned()), ..cpu };
        assert!(Ceilings::of_cpu(dir.path(), &governed).is_err());
    }

    #[test]
    fn what_are_no_ceilings_is_refused() {
        for (text, says) in [
            ("{}", "not ceilings"),
            ("x", "not ceilings"),
            (r#"{"schema":2,"device":{"name":"x"}}"#, "schema 2, expected 1"),
            (r#"{"schema":1,"device":{"name":"x"},"read_bytes_per_s":0}"#, "a ceiling of 0"),
        ] {
            assert!(Ceilings::parse(text.as_bytes()).unwrap_err().contains(says), "{text}");
        }
    }

    #[test]
    fn a_program_that_gives_none_is_quoted() {
        let missing = Ceilings::measure_gpu(Path::new("/nowhere/tacho-cuda")).unwrap_err();
        assert!(missing.contains("cannot be started"), "{missing}");
        let failing = Ceilings::measure_gpu(Path::new("/bin/false")).unwrap_err();
        assert!(failing.contains("it said nothing"), "{failing}");
    }
}
