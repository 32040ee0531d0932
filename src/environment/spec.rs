//! What an environment is made of: `[environment.<variant>]` in `engines/<id>/engine.toml`, and the lists of pins beside it.
use std::{collections::BTreeMap, path::PathBuf};

use serde::Deserialize;

use super::EnvironmentError;
use crate::{cache, engine::Options};

mod embedded {
    include!(concat!(env!("OUT_DIR"), "/environments.rs"));
}

/// The Python that environments are made with: the one that `tacho-cell-python` is built against.
pub const PYTHON: &str = "3.12";
/// Raised when environments made earlier must be made anew for a reason that the pins do not show.
const LAYOUT: &str = "1";

/// An environment to make, or made.
#[derive(Clone, Debug, PartialEq)]
pub struct EnvironmentSpec {
    /// The engine's id.
    pub engine: String,
    /// Such as `cpu` or `cuda`.
    pub variant: String,
    /// Everything to install, pinned: names and texts of requirement files. Empty for an engine in pure Python.
    pub requirements: Vec<(String, String)>,
    /// Which of PyTorch's own builds to take torch from, by uv's name for it.
    pub torch_backend: Option<String>,
    /// What to install besides when those builds cannot be reached and torch comes from the package index.
    pub fallback_requirements: Vec<(String, String)>,
    /// Modules to put beside the installed packages, names and texts of files, in place of ones that cannot be installed.
    pub stand_ins: Vec<(String, String)>,
    /// Modules that must be importable.
    pub imports: Vec<String>,
    /// Options with which four tokens are generated.
    pub check: Options,
    /// Whether that takes weights that a person names: Tacho's tiny model has none.
    pub check_needs_model: bool,
    /// Whether the engine loads a model at all.
    pub needs_model: bool,
}

#[derive(Deserialize)]
struct EngineFile {
    #[serde(default)]
    environment: BTreeMap<String, Table>,
    #[serde(default = "yes")]
    needs_model: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
#[derive(Default)]
struct Table {
    requirements: Vec<String>,
    torch_backend: Option<String>,
    fallback_requirements: Vec<String>,
    stand_ins: Vec<String>,
    imports: Vec<String>,
    check: Options,
    check_needs_model: bool,
}

fn yes() -> bool {
    true
}

/// All environments that the engines name, by engine and variant.
///
/// # Errors
/// [`EnvironmentError::Malformed`]; the tests see to it that it does not happen.
pub fn specs() -> Result<Vec<EnvironmentSpec>, EnvironmentError> {
    let mut specs = Vec::new();
    for (file, text) in embedded::FILES {
        let Some((engine, "engine.toml")) = file.split_once('/') else { continue };
        let malformed = |why: String| EnvironmentError::Malformed { file: (*file).to_owned(), why };
        let parsed: EngineFile = toml::from_str(text).map_err(|error| malformed(error.to_string()))?;
        for (variant, table) in parsed.environment {
            let read = |names: &[String]| -> Result<Vec<(String, String)>, EnvironmentError> {
                names.iter().map(|name| Ok((name.clone(), pins(engine, name)?.to_owned()))).collect()
            };
            specs.push(EnvironmentSpec {
                requirements: read(&table.requirements)?,
                fallback_requirements: read(&table.fallback_requirements)?,
                stand_ins: read(&table.stand_ins)?,
                engine: engine.to_owned(),
                variant,
                torch_backend: table.torch_backend,
                imports: table.imports,
                check: table.check,
                check_needs_model: table.check_needs_model,
                needs_model: parsed.needs_model,
            });
        }
    }
    Ok(specs)
}

fn pins(engine: &str, name: &str) -> Result<&'static str, EnvironmentError> {
    let file = format!("{engine}/{name}");
    let found = embedded::FILES.iter().find(|(known, _)| *known == file);
    found.map(|(_, text)| *text).ok_or_else(|| EnvironmentError::Malformed {
        file,
        why: "engine.toml names it, but there is no such file".to_owned(),
    })
}

impl EnvironmentSpec {
    /// The environment of that variant of that engine; without a variant, the engine's first.
    ///
    /// # Errors
    /// [`EnvironmentError::UnknownVariant`] naming those that there are.
    pub fn of(engine: &str, variant: Option<&str>) -> Result<Self, EnvironmentError> {
        let all: Vec<Self> = specs()?.into_iter().filter(|spec| spec.engine == engine).collect();
        let known: Vec<&str> = all.iter().map(|spec| spec.variant.as_str()).collect();
        let known = if known.is_empty() { "none: it needs no Python".to_owned() } else { known.join(", ") };
        let chosen = all.into_iter().find(|spec| variant.is_none_or(|name| spec.variant == name));
        chosen.ok_or_else(|| EnvironmentError::UnknownVariant {
            engine: engine.to_owned(),
            variant: variant.unwrap_or("(any)").to_owned(),
            known,
        })
    }

    /// Hash of everything that decides what is installed.
    pub fn digest(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        let mut part = |text: &str| {
            hasher.update(&(text.len() as u64).to_le_bytes()).update(text.as_bytes());
        };
        part(LAYOUT);
        part(PYTHON);
        part(self.torch_backend.as_deref().unwrap_or(""));
        for (name, text) in self.requirements.iter().chain(&self.fallback_requirements) {
            part(name);
            // A comment is no pin.
            for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
                part(line);
            }
        }
        for (name, text) in &self.stand_ins {
            part(name);
            part(text);
        }
        hasher.finalize().to_hex()[..12].to_owned()
    }

    /// Where it lies, or would.
    pub fn folder(&self) -> PathBuf {
        cache::dir().join("engines").join(format!("{}-{}-{}", self.engine, self.variant, self.digest()))
    }

    /// Its `python`.
    pub fn python(&self) -> PathBuf {
        self.folder().join("bin/python")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_environment_is_pinned_to_the_last_package() {
        let specs = specs().unwrap();
        assert!(specs.iter().any(|spec| spec.engine == "vllm"), "{specs:?}");
        for (name, text) in specs.iter().flat_map(|spec| spec.requirements.iter().chain(&spec.fallback_requirements)) {
            for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
                assert!(line.contains("=="), "{name}: '{line}' is not pinned");
                assert!(!line.contains("://"), "{name}: '{line}' names a host");
            }
        }
    }

    #[test]
    fn a_changed_pin_is_another_environment_and_a_changed_comment_is_not() {
        let spec = EnvironmentSpec::of("vllm", Some("cpu")).unwrap();
        let mut commented = spec.clone();
        commented.requirements[0].1.push_str("\n# a remark\n");
        assert_eq!(commented.digest(), spec.digest());
        let mut changed = spec.clone();
        changed.requirements[0].1.push_str("\nextra==1\n");
        assert_ne!(changed.folder(), spec.folder());
    }

    #[test]
    fn an_unknown_variant_names_those_there_are() {
        let error = EnvironmentSpec::of("vllm", Some("abacus")).unwrap_err().to_string();
        assert!(error.contains("'abacus'") && error.contains("cpu"), "{error}");
        let error = EnvironmentSpec::of("sim", None).unwrap_err().to_string();
        assert!(error.contains("needs no Python"), "{error}");
    }
}
