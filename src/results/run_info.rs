//! What a run is and on what machine: `run.json`.
use std::{
    collections::BTreeMap,
    fs,
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize};

use crate::{
    agreement::Agreement,
    calibration::CalibrationState,
    cell::environment,
    engine::{EngineInfo, LoadConfig},
    measure::telemetry::GpuDevice,
    roofline::Ceilings,
    secrets,
};

/// Tells a directory of ours.
pub const FORMAT: &str = "tacho-run";
/// Raised when a file of the run directory changes its meaning.
pub const SCHEMA: u32 = 1;

/// A run: `run.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunInfo {
    /// [`FORMAT`].
    pub format: String,
    /// [`SCHEMA`].
    pub schema: u32,
    /// Names the run in every table.
    pub run_id: String,
    /// When it was started, RFC 3339, UTC.
    pub started_at: String,
    /// The command line.
    pub command: Vec<String>,
    /// The program.
    pub tacho: Provenance,
    /// The machine.
    pub host: Host,
    /// Environment variables that can change a figure; values that look like secrets are not kept.
    pub environment: BTreeMap<String, String>,
    /// The plan, resolved.
    pub plan: serde_json::Value,
    /// Engine configurations that were loaded, by a label of the runner's.
    #[serde(default)]
    pub engines: BTreeMap<String, EngineRecord>,
    /// When the run was resumed, RFC 3339, UTC.
    #[serde(default)]
    pub resumed_at: Vec<String>,
    /// What was not as at the start when the run was resumed, for a person.
    #[serde(default)]
    pub resume_notes: Vec<String>,
    /// The GPUs, how they were watched, and what they can do.
    #[serde(default)]
    pub hardware: RunHardware,
    /// Whether this machine was calibrated when the run was started.
    #[serde(default)]
    pub calibration: CalibrationState,
    /// Whether the engines say the same, where that was asked.
    #[serde(default)]
    pub agreement: Option<Agreement>,
}

/// What a run knows of its hardware beside the processor's name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RunHardware {
    /// The GPUs that CUDA shows, in its order.
    pub gpus: Vec<GpuDevice>,
    /// Why there is none.
    pub gpu_null_reason: Option<String>,
    /// How often telemetry was to be read; None when it was off.
    pub telemetry_period_ms: Option<f64>,
    /// The ceilings that trials were judged by.
    pub ceilings: Vec<Ceilings>,
    /// Which ceilings were wanted and not there, and what to do about it.
    pub ceilings_null_reasons: Vec<String>,
}

/// What built the program.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Provenance {
    /// The package's version.
    pub version: String,
    /// The git commit, `-dirty` if the tree differed, or `unknown`.
    pub git_commit: String,
    /// The compiler.
    pub rustc: String,
    /// The hash of the sources.
    pub build_hash: String,
}

/// The machine, without its name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Host {
    /// The processor.
    pub cpu_model: Option<String>,
    /// Processors that this process may use.
    pub cores: Option<u32>,
    /// Processors of the machine, whoever may use them.
    #[serde(default)]
    pub processors: Option<u32>,
    /// Memory in bytes.
    pub memory_bytes: Option<u64>,
    /// The kernel's release.
    pub kernel: Option<String>,
    /// The distribution.
    pub os: Option<String>,
    /// The first processor's frequency governor, where the kernel tells.
    pub governor: Option<String>,
    /// Load average over 1, 5 and 15 minutes at the start.
    pub load_average: Option<[f64; 3]>,
}

/// An engine configuration as it ran.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EngineRecord {
    /// What was asked for.
    pub asked: LoadConfig,
    /// What the running engine said; its `effective` holds the configuration read back.
    pub info: EngineInfo,
    /// How long loading took, in nanoseconds.
    pub load_ns: u64,
    /// BLAKE3 of the model's file or files.
    pub model_digest: Option<String>,
}

impl RunInfo {
    /// A run that starts now, on this machine.
    pub fn gather(command: Vec<String>, plan: serde_json::Value) -> Self {
        let now = SystemTime::now();
        Self {
            format: FORMAT.to_owned(),
            schema: SCHEMA,
            run_id: run_id(now),
            started_at: rfc3339(now),
            command: secrets::redact_command(command),
            tacho: Provenance::of_this_program(),
            host: Host::read(),
            environment: environment(
                std::env::vars_os()
                    .filter_map(|(name, value)| Some((name.into_string().ok()?, value.to_string_lossy().into_owned()))),
            ),
            plan,
            engines: BTreeMap::new(),
            resumed_at: Vec::new(),
            resume_notes: Vec::new(),
            hardware: RunHardware::default(),
            calibration: CalibrationState::default(),
            agreement: None,
        }
    }

    /// What of the machine and the program is not as it was when the run was started, a sentence each. Figures of a run
    /// that is resumed there may not compare.
    pub(super) fn differences(&self, host: &Host, tacho: &Provenance) -> Vec<String> {
        let cores = |host: &Host| host.cores.map(|n| n.to_string());
        let build =
            |tacho: &Provenance| Some(format!("{} {} (sources {})", tacho.version, tacho.git_commit, tacho.build_hash));
        let pairs = [
            ("the processor", self.host.cpu_model.clone(), host.cpu_model.clone()),
            ("the number of cores", cores(&self.host), cores(host)),
            ("the kernel", self.host.kernel.clone(), host.kernel.clone()),
            ("the build of tacho", build(&self.tacho), build(tacho)),
        ];
        let told = |value: Option<String>| value.unwrap_or_else(|| "unknown".to_owned());
        pairs
            .into_iter()
            .filter(|(_, was, is)| was != is)
            .map(|(what, was, is)| {
                let (was, is) = (told(was), told(is));
                format!("{what} was {was} when the run was started and is {is} now: points of before and after may not compare")
            })
            .collect()
    }
}

impl Provenance {
    /// What built this program.
    pub fn of_this_program() -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            git_commit: crate::GIT_COMMIT.to_owned(),
            rustc: crate::RUSTC_VERSION.to_owned(),
            build_hash: crate::BUILD_HASH.to_owned(),
        }
    }
}

/// A time as RFC 3339 in UTC, to the second.
pub(super) fn rfc3339(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time).to_string()
}

/// This moment, as RFC 3339 in UTC.
pub(crate) fn now_rfc3339() -> String {
    rfc3339(SystemTime::now())
}

/// Starts with the time, so that ids sort; ends with a hash, so that two runs of one second differ.
fn run_id(now: SystemTime) -> String {
    let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let mut hasher = blake3::Hasher::new();
    hasher.update(&since.as_nanos().to_le_bytes());
    hasher.update(&crate::measure::monotonic_ns().to_le_bytes());
    hasher.update(&std::process::id().to_le_bytes());
    let stamp: String = rfc3339(now).chars().filter(|c| *c != '-' && *c != ':').collect();
    format!("{stamp}-{}", &hasher.finalize().to_hex()[..8])
}

/// The variables that matter, with what may be a secret blanked out.
fn environment(all: impl Iterator<Item = (String, String)>) -> BTreeMap<String, String> {
    all.filter(|(name, _)| environment::sets_up_engines(name))
        .map(|(name, value)| {
            // A URL may carry a user and a password before its host.
            let secret = secrets::is_secret_name(&name) || (value.contains("://") && value.contains('@'));
            (name, if secret { secrets::NOT_KEPT.to_owned() } else { secrets::redact(&value) })
        })
        .collect()
}

impl Host {
    /// Reads what this machine says of itself; what it does not say stays None.
    pub fn read() -> Self {
        let read = |path: &str| fs::read_to_string(path).ok().map(|text| text.trim().to_owned());
        let field = |path: &str, name: &str| {
            read(path)?.lines().find_map(|line| {
                let (key, value) = line.split_once([':', '='])?;
                (key.trim() == name).then(|| value.trim().trim_matches('"').to_owned())
            })
        };
        let memory_kib = field("/proc/meminfo", "MemTotal")
            .and_then(|text| text.split_whitespace().next().and_then(|number| number.parse::<u64>().ok()));
        let load: Option<Vec<f64>> = read("/proc/loadavg")
            .and_then(|text| text.split_whitespace().take(3).map(|number| number.parse().ok()).collect());
        Self {
            cpu_model: field("/proc/cpuinfo", "model name"),
            cores: std::thread::available_parallelism().ok().map(|n| n.get() as u32),
            processors: read("/proc/stat")
                .map(|text| {
                    text.lines().filter(|line| line.starts_with("cpu") && !line.starts_with("cpu ")).count() as u32
                })
                .filter(|processors| *processors > 0),
            memory_bytes: memory_kib.map(|kib| kib * 1024),
            kernel: read("/proc/sys/kernel/osrelease"),
            os: field("/etc/os-release", "PRETTY_NAME"),
            governor: read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
            load_average: load.and_then(|load| load.try_into().ok()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_and_strangers_are_not_kept() {
        let vars = [
            ("TACHO_TRIALS", "3"),
            ("HF_TOKEN", "hf_abc"),
            ("TACHO_API_KEY", "x"),
            ("VLLM_PROXY", "http://me:pass@host"),
            ("HOME", "/root"),
            ("CUDA_VISIBLE_DEVICES", "0"),
        ];
        let kept = environment(vars.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        assert_eq!(kept.get("TACHO_TRIALS").unwrap(), "3");
        assert_eq!(kept.get("CUDA_VISIBLE_DEVICES").unwrap(), "0");
        for secret in ["HF_TOKEN", "TACHO_API_KEY", "VLLM_PROXY"] {
            assert_eq!(kept.get(secret).unwrap(), "(not kept)");
        }
        assert!(!kept.contains_key("HOME"));
    }

    #[test]
    fn a_run_knows_its_machine_and_its_moment() {
        let info = RunInfo::gather(vec!["tacho".to_owned()], serde_json::json!({"name": "quick"}));
        assert!(info.host.cores.unwrap() > 0 && info.host.memory_bytes.unwrap() > 0);
        assert_eq!(info.started_at.len(), "2026-11-22T02:12:00Z".len());
        let other = RunInfo::gather(Vec::new(), serde_json::Value::Null);
        assert_ne!(info.run_id, other.run_id);
        let back: RunInfo = serde_json::from_str(&serde_json::to_string(&info).unwrap()).unwrap();
        assert_eq!(back, info);
    }
}
