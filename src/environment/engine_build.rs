//! Engines that have to be built before they can be loaded: TensorRT-LLM's, from a model folder, by its own builder.
//!
//! A built folder is kept in Tacho's cache under a key of all that decides its content; a folder is there whole or not at all.
use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde::{Deserialize, Serialize};

use super::EnvironmentError;

/// Driven with the environment's own Python.
const SCRIPT: &str = include_str!("../../engines/tensorrt-llm/build.py");
/// Beside a built engine: what it was built from.
const KEY_FILE: &str = "tacho-build.json";
const LAST_LINES: usize = 12;

/// What to build.
#[derive(Clone, Debug)]
pub struct EngineBuild {
    /// The `python` of the environment that has TensorRT-LLM.
    pub python: PathBuf,
    /// A model folder.
    pub model: PathBuf,
    /// Hash of the model's bytes, as [`crate::run::model_digest`] gives it.
    pub model_digest: String,
    /// `float16`, `bfloat16`, or `fp8` for weights that are quantized already.
    pub dtype: String,
    /// Ranks.
    pub tensor_parallel_size: u32,
    /// Sequences at once at most.
    pub max_batch_size: u32,
    /// Prompt plus output at most, in tokens.
    pub max_seq_len: u32,
    /// Tokens a step at most.
    pub max_num_tokens: u32,
}

/// All that decides what a built engine holds.
#[derive(Serialize)]
struct Key<'a> {
    model_digest: &'a str,
    version: &'a str,
    architecture: &'a str,
    dtype: &'a str,
    tensor_parallel_size: u32,
    max_batch_size: u32,
    max_seq_len: u32,
    max_num_tokens: u32,
}

/// What `build.py probe` says.
#[derive(Deserialize)]
struct Probe {
    version: String,
    has_builder: bool,
    architecture: String,
}

impl EngineBuild {
    /// Builds the engine unless the cache has it, and says where it is. What the builder says goes line by line to `say`
    /// and to a log beside the folder.
    ///
    /// # Errors
    /// [`EnvironmentError::Failed`] with the builder's last words and its log, or when this release has no builder.
    pub fn run(&self, say: &mut dyn FnMut(&str)) -> Result<PathBuf, EnvironmentError> {
        let cache = crate::cache::dir().join("trt-engines");
        fs::create_dir_all(&cache).map_err(|source| io(&cache, source))?;
        let script = cache.join(format!("build-{}.py", &blake3::hash(SCRIPT.as_bytes()).to_hex()[..16]));
        fs::write(&script, SCRIPT).map_err(|source| io(&script, source))?;
        let log = cache.join(format!("build-{}.log", std::process::id()));
        let probed = self.call(&script, &["probe"], &log, &mut |_| {})?;
        let failed = |last_lines: String, log: &Path| EnvironmentError::Failed {
            what: "building the engine".to_owned(),
            last_lines,
            log: log.to_owned(),
        };
        let probe: Probe = serde_json::from_str(probed.trim())
            .map_err(|error| failed(format!("the probe said {probed:?}: {error}"), &log))?;
        if !probe.has_builder {
            let version = &probe.version;
            return Err(failed(
                format!(
                    "TensorRT-LLM {version} has no engine builder: 1.3.0rc20 was the last that had. The engine tensorrt-llm runs \
                     the model folder as it is"
                ),
                &log,
            ));
        }
        let key = serde_json::to_string_pretty(&self.key(&probe)).map_err(|error| failed(error.to_string(), &log))?;
        let folder = cache.join(&blake3::hash(key.as_bytes()).to_hex()[..16]);
        if folder.join(KEY_FILE).is_file() {
            say(&format!("built before: {}", folder.display()));
            let _ = fs::remove_file(&log);
            return Ok(folder);
        }
        let draft = folder.with_extension(format!("draft-{}", std::process::id()));
        let asked = serde_json::json!({
            "model": self.model, "folder": draft, "dtype": self.dtype, "max_batch_size": self.max_batch_size,
            "tensor_parallel_size": self.tensor_parallel_size, "max_seq_len": self.max_seq_len,
            "max_num_tokens": self.max_num_tokens,
        });
        say(&format!(
            "building with TensorRT-LLM {} for {}; log: {}",
            probe.version,
            probe.architecture,
            log.display()
        ));
        if let Err(error) = self.call(&script, &["build", &asked.to_string()], &log, say) {
            let _ = fs::remove_dir_all(&draft);
            return Err(error);
        }
        fs::write(draft.join(KEY_FILE), key).map_err(|source| io(&draft, source))?;
        let kept = draft.join("build.log");
        fs::rename(&log, &kept).map_err(|source| io(&kept, source))?;
        match fs::rename(&draft, &folder) {
            // Another build of the same key was faster: its folder is as good.
            Err(_) if folder.join(KEY_FILE).is_file() => {
                fs::remove_dir_all(&draft).map_err(|source| io(&draft, source))?
            }
            renamed => renamed.map_err(|source| io(&folder, source))?,
        }
        Ok(folder)
    }

    fn key<'a>(&'a self, probe: &'a Probe) -> Key<'a> {
        Key {
            model_digest: &self.model_digest,
            version: &probe.version,
            architecture: &probe.architecture,
            dtype: &self.dtype,
            tensor_parallel_size: self.tensor_parallel_size,
            max_batch_size: self.max_batch_size,
            max_seq_len: self.max_seq_len,
            max_num_tokens: self.max_num_tokens,
        }
    }

    /// Runs the script; its standard output is the answer, its standard error the log.
    fn call(
        &self,
        script: &Path,
        args: &[&str],
        log: &Path,
        say: &mut dyn FnMut(&str),
    ) -> Result<String, EnvironmentError> {
        let mut written = fs::File::create(log).map_err(|source| io(log, source))?;
        let mut child = Command::new(&self.python)
            .arg(script)
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|source| io(&self.python, source))?;
        let mut last: Vec<String> = Vec::new();
        if let Some(errors) = child.stderr.take() {
            // Bytes, not text: a library may print anything.
            for line in BufReader::new(errors).split(b'\n') {
                let line = line.map_err(|source| io(log, source))?;
                let line = String::from_utf8_lossy(&line).trim_end().to_owned();
                writeln!(written, "{line}").map_err(|source| io(log, source))?;
                say(&line);
                if last.len() == LAST_LINES {
                    last.remove(0);
                }
                last.push(line);
            }
        }
        // The answer is one short line: it fits the pipe while standard error is read.
        let output = child.wait_with_output().map_err(|source| io(&self.python, source))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        Err(EnvironmentError::Failed {
            what: format!("{} ({})", args.first().unwrap_or(&"the script"), output.status),
            last_lines: last.join("\n"),
            log: log.to_owned(),
        })
    }
}

fn io(path: &Path, source: std::io::Error) -> EnvironmentError {
    EnvironmentError::Io { path: path.to_owned(), source }
}
