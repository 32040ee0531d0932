//! The engines Tacho knows: `engines/<id>/engine.toml`, embedded when Tacho is built.
//!
//! Adding an engine is adding a folder; `build.rs` collects them.
use std::{
    collections::BTreeMap,
    ffi::OsString,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::origin::suggest;
use crate::{
    cell::parent::CellProgram,
    engine::{Boundary, Scheduler},
    fairness::LockMapping,
    http::ServerEntry,
};

mod embedded {
    include!(concat!(env!("OUT_DIR"), "/engines.rs"));
}

/// The folder searched for cell programs before the one that `tacho` lies in.
pub const CELL_DIR_VARIABLE: &str = "TACHO_CELL_DIR";

/// One option of an engine.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct OptionEntry {
    /// What it does, with its unit.
    pub doc: String,
    /// What it is when the plan does not say; None when the engine decides.
    #[serde(default)]
    pub default: Option<toml::Value>,
}

/// An engine, as its `engine.toml` describes it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct EngineEntry {
    /// By which plans call it; the folder's name.
    pub id: String,
    /// Its name for people.
    pub name: String,
    /// The program that hosts it; None when `tacho` does so itself.
    #[serde(default)]
    pub cell: Option<String>,
    /// The program's arguments.
    #[serde(default)]
    pub args: Vec<String>,
    /// Environment variables set for the program.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// The command that builds the program.
    pub build_with: String,
    /// Where its work can run.
    pub boundary: Vec<Boundary>,
    /// Who schedules.
    pub scheduler: Scheduler,
    /// Named kinds of the engine, such as builds for other devices.
    #[serde(default)]
    pub variants: Vec<String>,
    /// Whether it loads a model.
    #[serde(default = "yes")]
    pub needs_model: bool,
    /// Whether it is no real engine and says so: `sim`, `echo`. Any other engine that turns out to be a double is refused.
    #[serde(default)]
    pub stand_in: bool,
    /// Whether options that are not listed here go to the engine unchecked: it refuses itself what it does not know.
    #[serde(default)]
    pub open_options: bool,
    /// What it loads, where it loads one of the two formats only: of a plan that names both, it takes those.
    #[serde(default)]
    pub model_format: Option<ModelFormat>,
    /// Why it cannot score given ids, where its adapter cannot.
    #[serde(default)]
    pub cannot_score: Option<String>,
    /// How its own server is started, for the boundary ledger.
    #[serde(default)]
    pub server: Option<ServerEntry>,
    /// How its generate call takes and gives text, where its adapter can.
    #[serde(default)]
    pub text: Option<TextEntry>,
    /// Where it tells what all engines share.
    #[serde(default)]
    pub lock: LockMapping,
    /// Its options by its own names.
    #[serde(default)]
    pub options: BTreeMap<String, OptionEntry>,
}

/// An engine's `[text]` table.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextEntry {
    /// Options by which its tokenizer is loaded.
    #[serde(default)]
    pub options: crate::engine::Options,
    /// Whether an engine in child processes decodes every output once it has a tokenizer: its call with text has a process of its own
    /// then, so that the one with ids alone decodes nothing.
    #[serde(default)]
    pub child_decodes_all: bool,
}

/// How a model is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModelFormat {
    /// One GGUF file.
    Gguf,
    /// A folder with `config.json` and safetensors.
    Folder,
}

impl ModelFormat {
    /// That of a path, by its name alone: the plan may be looked at on another machine.
    pub fn of(model: &Path) -> Self {
        if model.extension().is_some_and(|kind| kind == "gguf") { Self::Gguf } else { Self::Folder }
    }
}

fn yes() -> bool {
    true
}

/// Why an engine cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegistryError {
    /// There is no folder of that name.
    #[error("unknown engine '{id}'; {hint}")]
    Unknown {
        /// What was asked.
        id: String,
        /// The nearest one, or all.
        hint: String,
    },
    /// An embedded file is malformed.
    #[error("engines/{id}/engine.toml is malformed: {why}")]
    Malformed {
        /// The folder.
        id: String,
        /// What the TOML reader says.
        why: String,
    },
    /// The cell program is not built.
    #[error(
        "engine '{id}': its cell program {program} is in none of {}; build it with `{build_with}`, or set \
         {CELL_DIR_VARIABLE} to the folder that holds it", .searched.join(", ")
    )]
    NoCell {
        /// The engine.
        id: String,
        /// The program's name.
        program: String,
        /// Folders.
        searched: Vec<String>,
        /// The command that builds it.
        build_with: String,
    },
}

/// All engines.
#[derive(Clone, Debug)]
pub struct Registry {
    engines: Vec<EngineEntry>,
}

impl Registry {
    /// The engines embedded in this program, by id.
    ///
    /// # Errors
    /// [`RegistryError::Malformed`]; the tests see to it that it does not happen.
    pub fn embedded() -> Result<Self, RegistryError> {
        let engines = embedded::FILES
            .iter()
            .map(|(folder, text)| parse(folder, text))
            .collect::<Result<Vec<EngineEntry>, RegistryError>>()?;
        Ok(Self { engines })
    }

    /// All engines, by id.
    pub fn engines(&self) -> &[EngineEntry] {
        &self.engines
    }

    /// The engine with that id.
    ///
    /// # Errors
    /// [`RegistryError::Unknown`] with the nearest id.
    pub fn get(&self, id: &str) -> Result<&EngineEntry, RegistryError> {
        self.engines.iter().find(|entry| entry.id == id).ok_or_else(|| RegistryError::Unknown {
            id: id.to_owned(),
            hint: suggest(id, self.engines.iter().map(|entry| entry.id.as_str()), "engines"),
        })
    }

    /// The program that hosts the engine.
    ///
    /// # Errors
    /// [`RegistryError::Unknown`], or [`RegistryError::NoCell`] when it is not built.
    pub fn cell_program(&self, id: &str) -> Result<CellProgram, RegistryError> {
        self.get(id)?.cell_program()
    }

    /// Splits `llama.cpp.n_ubatch` into the engine and the option, ids having dots of their own. None when it begins
    /// with no engine's id.
    pub fn split_option<'a>(&self, name: &'a str) -> Option<(&EngineEntry, &'a str)> {
        let starts = self.engines.iter().filter_map(|entry| {
            let option = name.strip_prefix(&entry.id)?.strip_prefix('.')?;
            (!option.is_empty()).then_some((entry, option))
        });
        starts.max_by_key(|(entry, _)| entry.id.len())
    }
}

impl EngineEntry {
    /// As [`Registry::cell_program`].
    ///
    /// # Errors
    /// [`RegistryError::NoCell`] when it is not built.
    pub fn cell_program(&self) -> Result<CellProgram, RegistryError> {
        let folders = cell_folders();
        let name = self.cell.as_deref().unwrap_or("tacho");
        let itself = std::env::current_exe().ok().filter(|exe| self.cell.is_none() && is_tacho(exe));
        let found = itself.or_else(|| folders.iter().map(|folder| folder.join(name)).find(|path| path.is_file()));
        let program = found.ok_or_else(|| RegistryError::NoCell {
            id: self.id.clone(),
            program: name.to_owned(),
            searched: folders.iter().map(|folder| folder.display().to_string()).collect(),
            build_with: self.build_with.clone(),
        })?;
        Ok(CellProgram {
            program,
            args: self.args.iter().map(OsString::from).collect(),
            env: self.env.iter().map(|(name, value)| (name.into(), value.into())).collect(),
            build_with: self.build_with.clone(),
        })
    }
}

/// The library that the CUDA driver injects into a traced cell: what `TACHO_COLLECTOR` names, else where cell programs lie.
///
/// # Errors
/// A sentence for a person when it is not built.
pub fn collector() -> Result<PathBuf, String> {
    const FILE: &str = "libtacho_cupti.so";
    const BUILD: &str = "cargo build --release -p tacho-cupti";
    if let Some(named) = std::env::var_os("TACHO_COLLECTOR").map(PathBuf::from) {
        let missing =
            || format!("TACHO_COLLECTOR names {}, which is no file; build it with `{BUILD}`", named.display());
        return named.canonicalize().ok().filter(|path| path.is_file()).ok_or_else(missing);
    }
    let folders = cell_folders();
    let found = folders.iter().map(|folder| folder.join(FILE)).find(|path| path.is_file());
    found.and_then(|path| path.canonicalize().ok()).ok_or_else(|| {
        let searched: Vec<String> = folders.iter().map(|folder| folder.display().to_string()).collect();
        format!("{FILE} is not in {}; build it with `{BUILD}`", searched.join(" or "))
    })
}

/// A program that is no engine's, where cell programs lie.
///
/// # Errors
/// The folders that were searched.
pub fn beside(name: &str) -> Result<PathBuf, Vec<String>> {
    let folders = cell_folders();
    let found = folders.iter().map(|folder| folder.join(name)).find(|path| path.is_file());
    found.ok_or_else(|| folders.iter().map(|folder| folder.display().to_string()).collect())
}

/// The program `tacho` itself and not a test or bench that links the library, which lie in `deps`.
fn is_tacho(exe: &Path) -> bool {
    exe.file_stem().is_some_and(|stem| stem == "tacho") && !in_deps(exe)
}

fn in_deps(exe: &Path) -> bool {
    exe.parent().and_then(Path::file_name).is_some_and(|folder| folder == "deps")
}

/// Where cell programs may lie: the variable's folder, then this program's own, then (for tests and benches, which
/// cargo puts one folder deeper) the one above it.
fn cell_folders() -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = std::env::var_os(CELL_DIR_VARIABLE).map(PathBuf::from).into_iter().collect();
    if let Ok(exe) = std::env::current_exe() {
        folders.extend(exe.parent().map(Path::to_owned));
        if in_deps(&exe) {
            folders.extend(exe.parent().and_then(Path::parent).map(Path::to_owned));
        }
    }
    folders
}

fn parse(folder: &str, text: &str) -> Result<EngineEntry, RegistryError> {
    let malformed = |why: String| RegistryError::Malformed { id: folder.to_owned(), why };
    let entry: EngineEntry = toml::from_str(text).map_err(|error| malformed(error.to_string()))?;
    if entry.id != folder {
        return Err(malformed(format!("its id is '{}', expected the folder's name", entry.id)));
    }
    Ok(entry)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::sim::SimOptions;

    #[test]
    fn every_engine_file_can_be_read() {
        let registry = Registry::embedded().unwrap();
        assert!(registry.engines().iter().any(|entry| entry.id == "sim"));
        for entry in registry.engines() {
            assert!(!entry.boundary.is_empty(), "{} names no boundary", entry.id);
            assert!(
                entry.options.values().all(|option| !option.doc.is_empty()),
                "{} has an undocumented option",
                entry.id
            );
        }
    }

    #[test]
    fn the_options_of_sim_are_those_it_has_with_their_defaults() {
        let registry = Registry::embedded().unwrap();
        let documented: BTreeMap<String, serde_json::Value> = registry
            .get("sim")
            .unwrap()
            .options
            .iter()
            .map(|(name, option)| (name.clone(), serde_json::to_value(&option.default).unwrap()))
            .collect();
        let actual: BTreeMap<String, serde_json::Value> =
            serde_json::from_value(serde_json::to_value(SimOptions::default()).unwrap()).unwrap();
        assert_eq!(documented, actual);
    }

    #[test]
    fn option_names_split_after_the_longest_id() {
        let entry = |id: &str| {
            let text = format!("id='{id}'\nname='x'\nbuild_with='x'\nboundary=['in-core']\nscheduler='tacho'");
            parse(id, &text).unwrap()
        };
        let registry = Registry { engines: vec![entry("llama"), entry("llama.cpp")] };
        let split = |name| registry.split_option(name).map(|(entry, option)| (entry.id.clone(), option));
        assert_eq!(split("llama.cpp.n_ubatch"), Some(("llama.cpp".to_owned(), "n_ubatch")));
        assert_eq!(split("llama.threads"), Some(("llama".to_owned(), "threads")));
        assert_eq!(split("vllm.x"), None);
        assert_eq!(split("llama."), None);
    }

    #[test]
    fn an_unknown_engine_and_an_absent_cell_say_what_to_do() {
        let registry = Registry::embedded().unwrap();
        assert_eq!(registry.get("simm").unwrap_err().to_string(), "unknown engine 'simm'; did you mean 'sim'?");
        let text =
            "id='a'\nname='A'\ncell='tacho-cell-none'\nbuild_with='make a'\nboundary=['in-core']\nscheduler='tacho'";
        let error = parse("a", text).unwrap().cell_program().unwrap_err().to_string();
        assert!(error.contains("tacho-cell-none") && error.contains("build it with `make a`"), "{error}");
    }
}
