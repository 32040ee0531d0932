//! How an engine's own server is started: the `[server]` table of its `engine.toml`.
use std::{
    collections::BTreeMap,
    ffi::OsString,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::version;
use crate::{
    cache,
    engine::{EngineInfo, LoadConfig},
};

/// Stands for the folder of [`cache::dir`].
const CACHE: &str = "{cache}";

/// An engine's `[server]` table.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerEntry {
    /// The program and its first arguments. `{python}` stands for the environment's `python`, `{bin}` for the folder of it; a
    /// name without a slash is looked for on PATH. Empty where the engine ships none: one must be named.
    #[serde(default)]
    pub program: Vec<String>,
    /// Arguments by which the program says in a line `version: …` which version it is, where its package is not the engine's.
    #[serde(default)]
    pub version: Vec<String>,
    /// What builds the program, where the engine's package does not bring it: a sentence's end.
    #[serde(default)]
    pub build_with: Option<String>,
    /// Arguments, with `{model}`, `{port}`, `{max_seqs}`, `{max_model_len}` and `{seed}` filled in.
    pub arguments: Vec<String>,
    /// Environment variables. `{cache}` stands for Tacho's cache, and such a variable gives way to one that is set already.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Variables beside `env` where the running cell computes on a CPU.
    #[serde(default)]
    pub cpu_env: BTreeMap<String, String>,
    /// Arguments beside `arguments` where the running cell computes on a CPU.
    #[serde(default)]
    pub cpu_arguments: Vec<String>,
    /// Flags whose values are what the running cell of the same engine says of itself: flag → name in `effective`.
    #[serde(default)]
    pub effective: BTreeMap<String, String>,
    /// How the plan's options become flags.
    #[serde(default)]
    pub options: OptionFlags,
    /// Options that are the adapter's and not the engine's.
    #[serde(default)]
    pub own: Vec<String>,
    /// Answers with status 200 once requests can be sent.
    pub health: String,
    /// As what prompts are sent.
    pub prompt: PromptKind,
}

/// How options become flags.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OptionFlags {
    /// Not at all: `effective` says it all.
    #[default]
    None,
    /// `some_name` becomes `--some-name VALUE`; true `--some-name`, false `--no-some-name`. Names in capitals are variables.
    Switches,
    /// As `switches`, but false is left out.
    Set,
}

/// As what a prompt is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PromptKind {
    /// Token ids.
    Ids,
    /// Text.
    Text,
}

/// A server that is to be started: the same engine as a cell that ran.
#[derive(Clone, Copy, Debug)]
pub struct Recipe<'a> {
    /// Its table.
    pub entry: &'a ServerEntry,
    /// What stands in for the table's program.
    pub program: Option<&'a Path>,
    /// The environment's `python`.
    pub python: Option<&'a Path>,
    /// What the cell was asked.
    pub load: &'a LoadConfig,
    /// What the cell said; None before there is one, when only the program is looked for.
    pub info: Option<&'a EngineInfo>,
}

impl Recipe<'_> {
    /// Program and arguments, for a port.
    ///
    /// # Errors
    /// A sentence when there is no program, or something to fill in is missing.
    pub fn command(&self, port: u16) -> Result<Vec<OsString>, String> {
        let mut command: Vec<OsString> = self.programs()?;
        let on_cpu: &[String] = if self.on_cpu() { &self.entry.cpu_arguments } else { &[] };
        for argument in self.entry.arguments.iter().chain(on_cpu) {
            command.push(self.fill(argument, port)?.into());
        }
        for (flag, name) in &self.entry.effective {
            let told = self.info.and_then(|info| info.effective.get(name));
            if let Some(value) = told.filter(|value| !value.is_null()) {
                command.extend([OsString::from(flag), plain(value).into()]);
            }
        }
        if self.entry.options != OptionFlags::None {
            for (name, value) in self.options().filter(|(name, _)| !is_variable(name)) {
                command.extend(self.flags(name, value).into_iter().map(OsString::from));
            }
        }
        Ok(command)
    }

    /// Which version the program is, by its own words; None where that is the cell's by its package.
    pub fn version(&self) -> Option<Result<String, String>> {
        let (program, arguments) = (self.programs(), &self.entry.version);
        (!arguments.is_empty()).then(|| program.and_then(|program| version::told(&program[0], arguments)))
    }

    /// Variables of the server's environment.
    pub fn env(&self) -> BTreeMap<String, String> {
        let ours = self.entry.env.iter();
        let ours = ours.filter(|(name, value)| !value.contains(CACHE) || std::env::var_os(name).is_none());
        let cache = cache::dir();
        let mut env: BTreeMap<String, String> =
            ours.map(|(name, value)| (name.clone(), value.replace(CACHE, &cache.to_string_lossy()))).collect();
        if self.on_cpu() {
            env.extend(self.entry.cpu_env.clone());
        }
        env.extend(
            self.options().filter(|(name, _)| is_variable(name)).map(|(name, value)| (name.clone(), plain(value))),
        );
        env
    }

    /// Of the cell; before there is one, nothing is known.
    fn on_cpu(&self) -> bool {
        self.info.is_some_and(|info| info.gpu_in_process.is_none())
    }

    fn options(&self) -> impl Iterator<Item = (&String, &Json)> {
        let effective = |name: &String| self.entry.effective.values().any(|told| told == name);
        self.load.options.iter().filter(move |(name, _)| !self.entry.own.contains(name) && !effective(name))
    }

    fn programs(&self) -> Result<Vec<OsString>, String> {
        if let Some(program) = self.program {
            return Ok(vec![program.into()]);
        }
        let Some((first, rest)) = self.entry.program.split_first() else {
            return Err("this engine's package has no server; name one with --server PROGRAM".to_owned());
        };
        let first = self.fill(first, 0)?;
        let found = if first.contains('/') { Some(PathBuf::from(&first)) } else { on_path(&first) };
        let found = found.filter(|path| path.is_file()).ok_or_else(|| {
            let build = self.entry.build_with.as_ref().map(|with| format!("; {with}")).unwrap_or_default();
            format!("{first} is not here (this engine's package does not bring it); put it on PATH, or name one with --server PROGRAM{build}")
        })?;
        let mut programs = vec![found.into_os_string()];
        for part in rest {
            programs.push(self.fill(part, 0)?.into());
        }
        Ok(programs)
    }

    fn fill(&self, text: &str, port: u16) -> Result<String, String> {
        let mut text = text.to_owned();
        let path = |path: Option<&Path>, what: &str| {
            path.map(|path| path.to_string_lossy().into_owned())
                .ok_or_else(|| format!("the server needs {what}, and there is none"))
        };
        if text.contains("{model}") {
            text = text.replace("{model}", &path(self.load.model.as_deref(), "a model")?);
        }
        if text.contains("{python}") {
            text = text.replace("{python}", &path(self.python, "the `python` of the engine's environment")?);
        }
        if text.contains("{bin}") {
            let bin = self.python.and_then(Path::parent);
            text = text.replace("{bin}", &path(bin, "the `python` of the engine's environment")?);
        }
        Ok(text
            .replace("{port}", &port.to_string())
            .replace("{max_seqs}", &self.load.max_seqs.to_string())
            .replace("{max_model_len}", &self.load.max_model_len.to_string())
            .replace("{seed}", &self.load.seed.to_string()))
    }

    fn flags(&self, name: &str, value: &Json) -> Vec<String> {
        let flag = name.replace('_', "-");
        match value {
            Json::Null => Vec::new(),
            Json::Bool(true) => vec![format!("--{flag}")],
            Json::Bool(false) if self.entry.options == OptionFlags::Set => Vec::new(),
            Json::Bool(false) => vec![format!("--no-{flag}")],
            value => vec![format!("--{flag}"), plain(value)],
        }
    }
}

fn is_variable(name: &str) -> bool {
    name.chars().any(char::is_uppercase) && !name.chars().any(char::is_lowercase)
}

fn plain(value: &Json) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn on_path(name: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?).map(|folder| folder.join(name)).find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{engine::Engine, engine::Options, engine::sim::Sim, plan::registry::Registry};

    #[test]
    fn options_become_flags_and_capitals_variables() {
        let text = "program=['sh']\nenv={TACHO_TEST_KEPT='{cache}/kept',PATH='{cache}'}\ncpu_env={ON='cpu'}\n\
                    cpu_arguments=['--on','cpu']\narguments=['--port','{port}','-n','{max_seqs}']\n\
                    options='switches'\nown=['boundary']\n\
                    effective={'--kv'='kv_bytes'}\nhealth='/health'\nprompt='ids'";
        let entry: ServerEntry = toml::from_str(text).unwrap();
        let said = json!({ "boundary": "in-core", "dtype": "float32", "enforce_eager": true, "async_x": false, "none": null,
                           "kv_bytes": 5, "VLLM_X": 1 });
        let options: Options = serde_json::from_value(said).unwrap();
        let sim = LoadConfig {
            engine: "sim".to_owned(),
            model: None,
            max_seqs: 4,
            max_model_len: 64,
            seed: 1,
            options: Options::new(),
        };
        let mut info = Sim::load(&sim).unwrap().info().clone();
        let load = LoadConfig { options, ..sim };
        info.effective.insert("kv_bytes".to_owned(), json!(7));
        let recipe = Recipe { entry: &entry, program: None, python: None, load: &load, info: Some(&info) };
        let command = recipe.command(81).unwrap();
        let words: Vec<&str> = command[1..].iter().map(|word| word.to_str().unwrap()).collect();
        let expected = [
            "--port",
            "81",
            "-n",
            "4",
            "--on",
            "cpu",
            "--kv",
            "7",
            "--no-async-x",
            "--dtype",
            "float32",
            "--enforce-eager",
        ];
        assert_eq!(words, expected);
        // PATH is set already.
        let kept = cache::dir().join("kept").to_string_lossy().into_owned();
        let env = [("ON", "cpu"), ("TACHO_TEST_KEPT", &kept), ("VLLM_X", "1")];
        assert_eq!(recipe.env(), env.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
        let mut on_gpu = info.clone();
        on_gpu.gpu_in_process = Some(true);
        let on_gpu = Recipe { info: Some(&on_gpu), ..recipe };
        assert!(!on_gpu.env().contains_key("ON"));
        assert!(!on_gpu.command(81).unwrap().iter().any(|word| word == "--on"));
        let set = ServerEntry { options: OptionFlags::Set, program: Vec::new(), ..entry.clone() };
        let recipe = Recipe { entry: &set, ..recipe };
        assert!(recipe.command(81).unwrap_err().contains("--server PROGRAM"));
        let recipe = Recipe { program: Some(Path::new("/x/server")), ..recipe };
        assert!(!recipe.command(81).unwrap().iter().any(|word| word == "--no-async-x"));
    }

    #[test]
    fn every_engine_with_a_server_says_where_it_listens() {
        let registry = Registry::embedded().unwrap();
        let servers: Vec<_> =
            registry.engines().iter().filter_map(|entry| Some((&entry.id, entry.server.as_ref()?))).collect();
        assert!(servers.iter().any(|(id, _)| *id == "vllm"));
        for (id, server) in servers {
            assert!(server.arguments.iter().any(|argument| argument.contains("{port}")), "{id}");
            assert!(server.health.starts_with('/'), "{id}");
        }
    }
}
