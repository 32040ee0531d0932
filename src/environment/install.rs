//! Makes, finds and removes environments.
use std::{
    ffi::OsString,
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Instant, SystemTime},
};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use super::{EnvironmentError, EnvironmentSpec, PYTHON, verify};
use crate::cell::parent::CellProgram;

/// The environment variable that names the `uv` to use.
pub const UV_VARIABLE: &str = "TACHO_UV";
/// The environment variable that names the Python to make environments with; without it, uv finds one.
pub const BASE_PYTHON_VARIABLE: &str = "TACHO_PYTHON";
/// Written last: an environment without it is not complete.
const MARKER: &str = "tacho.json";
const LAST_LINES: usize = 15;
/// The variant for NVIDIA GPUs.
const CUDA: &str = "cuda";

/// Where torch came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// PyTorch's own index, the build that the variant names.
    TorchIndex,
    /// The package index, with the libraries that its build of torch is linked against.
    PackageIndex,
    /// There is nothing to install, or no torch in it.
    Plain,
}

/// How the environment was checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "snake_case")]
pub enum Checked {
    /// Its engine generated four tokens.
    Generation {
        /// The engine's version.
        version: String,
        /// The device it ran on.
        device: String,
    },
    /// Its modules could be imported; generating takes weights, and none were named.
    ImportOnly,
}

/// An environment that is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Installed {
    /// The engine.
    pub engine: String,
    /// The variant.
    pub variant: String,
    /// Its `python`.
    pub python: PathBuf,
    /// Where torch came from.
    pub source: Source,
    /// Modules of Tacho's that stand in for ones that cannot be installed.
    #[serde(default)]
    pub stand_ins: Vec<String>,
    /// How it was checked.
    pub checked: Checked,
    /// When it was made, in seconds since 1970.
    pub made_unix_s: u64,
    /// How long that took, in seconds.
    pub took_s: u64,
}

/// How to make an environment.
#[derive(Clone, Copy, Debug)]
pub struct Install<'a> {
    /// The cell program that the check starts.
    pub cell: &'a CellProgram,
    /// Weights for the check; without them, Tacho's tiny model, which has a configuration only.
    pub model: Option<&'a Path>,
}

/// The environment, if it is there and complete.
pub fn status(spec: &EnvironmentSpec) -> Option<Installed> {
    let text = fs::read_to_string(spec.folder().join(MARKER)).ok()?;
    let installed: Installed = serde_json::from_str(&text).ok()?;
    installed.python.is_file().then_some(installed)
}

/// Of the installed environments of an engine the one to use where none is named: one for NVIDIA GPUs where there is a
/// driver for them, and otherwise one that needs none.
pub fn chosen(specs: &[EnvironmentSpec]) -> Option<Installed> {
    let driver = Path::new("/dev/nvidiactl").exists();
    pick(specs.iter().filter_map(status).collect(), driver)
}

fn pick(installed: Vec<Installed>, driver: bool) -> Option<Installed> {
    let fitting = installed.iter().position(|one| (one.variant == CUDA) == driver).unwrap_or(0);
    installed.into_iter().nth(fitting)
}

/// Makes the environment, or finds it made. `say` is told each phase.
///
/// # Errors
/// [`EnvironmentError`] naming the step that failed, with the end of what it said.
pub fn install(
    spec: &EnvironmentSpec,
    how: Install<'_>,
    say: &mut dyn FnMut(&str),
) -> Result<Installed, EnvironmentError> {
    let folder = spec.folder();
    let parent = folder.parent().unwrap_or(&folder).to_owned();
    fs::create_dir_all(&parent).map_err(EnvironmentError::io(&parent))?;
    let lock_path = folder.with_extension("lock");
    let lock = File::create(&lock_path).map_err(EnvironmentError::io(&lock_path))?;
    // Held until `lock` is dropped: a second installer waits, then finds the work done.
    flock(&lock, FlockOperation::LockExclusive).map_err(|errno| EnvironmentError::io(&lock_path)(errno.into()))?;
    if let Some(installed) = status(spec) {
        return Ok(installed);
    }
    let started = Instant::now();
    if folder.exists() {
        say("removing what an earlier installation left unfinished");
        fs::remove_dir_all(&folder).map_err(EnvironmentError::io(&folder))?;
    }
    let steps = Steps { uv: uv(), log: folder.with_extension("log") };
    fs::write(&steps.log, "").map_err(EnvironmentError::io(&steps.log))?;

    say(&format!("making an environment of Python {PYTHON} in {}", folder.display()));
    let base = std::env::var_os(BASE_PYTHON_VARIABLE).unwrap_or_else(|| PYTHON.into());
    steps.uv("making the environment", ["venv".into(), "--python".into(), base, folder.clone().into()])?;
    let source = install_packages(spec, &steps, &folder, say)?;
    place_stand_ins(spec, &folder, say)?;
    for module in &spec.imports {
        say(&format!("importing {module}"));
        let mut command = Command::new(spec.python());
        command.args(["-c", &format!("import {module}")]).env("HF_HUB_OFFLINE", "1");
        steps.run(&format!("importing {module}"), command)?;
    }
    let checked = if spec.check_needs_model && how.model.is_none() {
        say("not checked by generation: that takes weights, and no model was named");
        Checked::ImportOnly
    } else {
        say(&format!("generating {} tokens", super::CHECK_TOKENS));
        let info = verify(spec, &spec.python(), how, &steps.log)?;
        Checked::Generation { version: info.version, device: info.device }
    };
    let installed = Installed {
        engine: spec.engine.clone(),
        variant: spec.variant.clone(),
        python: spec.python(),
        source,
        stand_ins: spec.stand_ins.iter().map(|(name, _)| name.clone()).collect(),
        checked,
        made_unix_s: SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs()),
        took_s: started.elapsed().as_secs(),
    };
    let marker = folder.join(MARKER);
    let text = serde_json::to_string_pretty(&installed).map_err(|error| EnvironmentError::io(&marker)(error.into()))?;
    fs::write(&marker, text).map_err(EnvironmentError::io(&marker))?;
    Ok(installed)
}

/// Removes the environment; tells whether there was one.
///
/// # Errors
/// [`EnvironmentError::Io`] when a file cannot be removed.
pub fn remove(spec: &EnvironmentSpec) -> Result<bool, EnvironmentError> {
    let folder = spec.folder();
    if !folder.exists() {
        return Ok(false);
    }
    fs::remove_dir_all(&folder).map_err(EnvironmentError::io(&folder))?;
    for extension in ["log", "lock"] {
        let path = folder.with_extension(extension);
        if path.exists() {
            fs::remove_file(&path).map_err(EnvironmentError::io(&path))?;
        }
    }
    Ok(true)
}

fn uv() -> PathBuf {
    std::env::var_os(UV_VARIABLE).map_or_else(|| "uv".into(), PathBuf::from)
}

fn install_packages(
    spec: &EnvironmentSpec,
    steps: &Steps,
    folder: &Path,
    say: &mut dyn FnMut(&str),
) -> Result<Source, EnvironmentError> {
    if spec.requirements.is_empty() {
        return Ok(Source::Plain);
    }
    let write = |lists: &[(String, String)]| -> Result<Vec<OsString>, EnvironmentError> {
        let mut arguments = Vec::new();
        for (name, text) in lists {
            let path = folder.join(name);
            fs::write(&path, text).map_err(EnvironmentError::io(&path))?;
            arguments.extend(["-r".into(), path.into()]);
        }
        Ok(arguments)
    };
    let mut arguments: Vec<OsString> =
        ["pip", "install", "--compile-bytecode", "--no-deps", "--python"].into_iter().map(OsString::from).collect();
    arguments.push(spec.python().into());
    arguments.extend(write(&spec.requirements)?);
    let Some(backend) = &spec.torch_backend else {
        say("installing the pinned packages");
        steps.uv("installing the pinned packages", arguments)?;
        return Ok(Source::Plain);
    };
    say(&format!("installing the pinned packages, torch from PyTorch's index ({backend})"));
    let with_backend = arguments.iter().cloned().chain(["--torch-backend".into(), backend.into()]);
    let refused = match steps.uv("installing from PyTorch's index", with_backend) {
        Ok(()) => return Ok(Source::TorchIndex),
        Err(missing @ EnvironmentError::NoUv { .. }) => return Err(missing),
        Err(refused) => refused,
    };
    if spec.fallback_requirements.is_empty() {
        return Err(refused);
    }
    say("PyTorch's index was of no use (its answer is in the log); taking torch from the package index");
    arguments.extend(write(&spec.fallback_requirements)?);
    steps.uv("installing from the package index", arguments)?;
    Ok(Source::PackageIndex)
}

/// Puts the modules that stand in for others among the installed packages.
fn place_stand_ins(spec: &EnvironmentSpec, folder: &Path, say: &mut dyn FnMut(&str)) -> Result<(), EnvironmentError> {
    for (name, text) in &spec.stand_ins {
        say(&format!("adding {name}, which stands in for a module that cannot be installed here"));
        let path = folder.join("lib").join(format!("python{PYTHON}")).join("site-packages").join(name);
        // Never over the real one.
        let mut file = File::create_new(&path).map_err(EnvironmentError::io(&path))?;
        file.write_all(text.as_bytes()).map_err(EnvironmentError::io(&path))?;
    }
    Ok(())
}

/// Runs commands, appending what they say to a log.
struct Steps {
    uv: PathBuf,
    log: PathBuf,
}

impl Steps {
    fn uv(&self, what: &str, arguments: impl IntoIterator<Item = OsString>) -> Result<(), EnvironmentError> {
        let mut command = Command::new(&self.uv);
        command.args(arguments).env_remove("VIRTUAL_ENV").env("UV_NO_PROGRESS", "1");
        self.run(what, command)
    }

    fn run(&self, what: &str, mut command: Command) -> Result<(), EnvironmentError> {
        let log = || File::options().append(true).open(&self.log).map_err(EnvironmentError::io(&self.log));
        let start = fs::metadata(&self.log).map_or(0, |data| data.len() as usize);
        let program = PathBuf::from(command.get_program());
        // Another Python's settings have no place in this one.
        command.env_remove("PYTHONPATH").env_remove("PYTHONHOME").env_remove("PYTHONDONTWRITEBYTECODE");
        let status = command
            .stdin(Stdio::null())
            .stdout(log()?)
            .stderr(log()?)
            .status()
            .map_err(|source| EnvironmentError::NoUv { uv: program, source })?;
        if status.success() {
            return Ok(());
        }
        let said = fs::read(&self.log).unwrap_or_default();
        let said = String::from_utf8_lossy(said.get(start..).unwrap_or_default()).into_owned();
        let lines: Vec<&str> = said.lines().collect();
        Err(EnvironmentError::Failed {
            what: what.to_owned(),
            last_lines: lines[lines.len().saturating_sub(LAST_LINES)..].join("\n"),
            log: self.log.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn installed(variant: &str) -> Installed {
        Installed {
            engine: "vllm".to_owned(),
            variant: variant.to_owned(),
            python: variant.into(),
            source: Source::Plain,
            stand_ins: Vec::new(),
            checked: Checked::ImportOnly,
            made_unix_s: 0,
            took_s: 0,
        }
    }

    #[test]
    fn the_environment_fits_the_machine_and_a_lone_one_is_used() {
        let variant = |all: &[&str], driver| {
            pick(all.iter().map(|variant| installed(variant)).collect(), driver).map(|one| one.variant)
        };
        assert_eq!(variant(&["cpu", "cuda"], true).as_deref(), Some("cuda"));
        assert_eq!(variant(&["cpu", "cuda"], false).as_deref(), Some("cpu"));
        assert_eq!(variant(&["cpu"], true).as_deref(), Some("cpu"));
        assert_eq!(variant(&[], true), None);
    }
}
