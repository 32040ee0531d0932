//! Cell programs with the environments that their engines run in, and the commands that make those.
use std::{
    env,
    io::{self, Write},
    path::Path,
    process::ExitCode,
};

use comfy_table::{Table, presets};
use serde_json::json;
use tacho::{
    cell::{PYTHON_VARIABLE, parent::CellProgram},
    environment::{self, EnvironmentError, EnvironmentSpec, Install, Installed},
    plan::registry::{EngineEntry, Registry},
};

use super::exit::{self, Failure};

/// The program that hosts every Python engine.
const PYTHON_CELL: &str = "tacho-cell-python";

/// The cell program of an engine, told which Python environment to use if its engine needs one: the one that `--python`
/// or `TACHO_PYTHON_ENV` names, otherwise the installed one.
pub fn program(registry: &Registry, id: &str, python: Option<&Path>) -> Result<CellProgram, String> {
    let mut program = registry.cell_program(id).map_err(|error| error.to_string())?;
    let specs = environments(id).map_err(|error| error.to_string())?;
    let hosts_python = program.program.file_name().is_some_and(|name| name == PYTHON_CELL);
    if specs.is_empty() && !hosts_python {
        return Ok(program);
    }
    let found = match python {
        Some(python) => Some(python.to_owned()),
        None if env::var_os(PYTHON_VARIABLE).is_some() => None, // the cell inherits it
        None if specs.is_empty() => {
            return Err(format!(
                "engine '{id}' has no environment that Tacho could make: name the `python` of yours with --python or \
                 {PYTHON_VARIABLE} (docs/engines/{id}.md)"
            ));
        }
        None => {
            let installed = environment::chosen(&specs);
            let missing = || {
                format!(
                    "engine '{id}' has no environment yet; make one with `tacho engines install {id}`, or name yours with --python"
                )
            };
            Some(installed.ok_or_else(missing)?.python)
        }
    };
    program.env.extend(found.map(|python| (PYTHON_VARIABLE.into(), python.into())));
    Ok(program)
}

fn environments(id: &str) -> Result<Vec<EnvironmentSpec>, EnvironmentError> {
    Ok(environment::specs()?.into_iter().filter(|spec| spec.engine == id).collect())
}

/// What a table says of an engine: whether it can be used now, and if not, what to do.
fn state(entry: &EngineEntry) -> Result<String, EnvironmentError> {
    if entry.cell_program().is_err() {
        return Ok(format!("not built: {}", entry.build_with));
    }
    let specs = environments(&entry.id)?;
    if specs.is_empty() {
        let python = entry.cell.as_deref() == Some(PYTHON_CELL);
        return Ok(if python { "ready with --python PATH".to_owned() } else { "ready".to_owned() });
    }
    Ok(match environment::chosen(&specs) {
        Some(installed) => match installed.checked {
            environment::Checked::Generation { version, device } => {
                format!("ready: {} {version} on {device}", installed.variant)
            }
            environment::Checked::ImportOnly => format!("installed ({}), checked by import only", installed.variant),
        },
        None => format!("not installed: tacho engines install {}", entry.id),
    })
}

/// `tacho engines`.
pub fn list(as_json: bool) -> Result<ExitCode, Failure> {
    let registry = Registry::embedded().map_err(|error| Failure::usage(error.to_string()))?;
    let mut out = io::stdout().lock();
    if as_json {
        let view = |entry: &EngineEntry| -> Result<serde_json::Value, EnvironmentError> {
            let options: serde_json::Map<String, serde_json::Value> = entry
                .options
                .iter()
                .map(|(name, option)| (name.clone(), json!({ "doc": option.doc, "default": option.default })))
                .collect();
            let installed: Vec<Installed> = environments(&entry.id)?.iter().filter_map(environment::status).collect();
            Ok(json!({
                "id": entry.id,
                "name": entry.name,
                "state": state(entry)?,
                "cell": entry.cell,
                "program": entry.cell_program().ok().map(|cell| cell.program),
                "build_with": entry.build_with,
                "boundary": entry.boundary,
                "scheduler": entry.scheduler,
                "variants": entry.variants,
                "environments": installed,
                "needs_model": entry.needs_model,
                "open_options": entry.open_options,
                "options": options,
            }))
        };
        let all = registry.engines().iter().map(view).collect::<Result<Vec<_>, _>>()?;
        serde_json::to_writer_pretty(&mut out, &all).map_err(io::Error::from)?;
        writeln!(out)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(["engine", "name", "cell program", "state"]);
    for entry in registry.engines() {
        table.add_row([&entry.id, &entry.name, entry.cell.as_deref().unwrap_or("tacho itself"), &state(entry)?]);
    }
    writeln!(out, "{table}\n\n`tacho engines --json` has each engine's options.")?;
    Ok(ExitCode::SUCCESS)
}

fn spec(id: &str, variant: Option<&str>) -> Result<EnvironmentSpec, Failure> {
    let specs = environments(id)?;
    let variants: Vec<&str> = specs.iter().map(|spec| spec.variant.as_str()).collect();
    let found = match variant {
        Some(variant) => specs.iter().find(|spec| spec.variant == variant),
        None => specs.first(),
    };
    found.cloned().ok_or_else(|| {
        Failure::usage(match variants.as_slice() {
            [] => format!(
                "there is no engine '{id}' that has an environment of its own; `tacho engines` lists all engines"
            ),
            _ => format!("engine '{id}' has the variants {}", variants.join(", ")),
        })
    })
}

/// `tacho engines install`.
pub fn install(id: &str, variant: Option<&str>, model: Option<&Path>) -> Result<ExitCode, Failure> {
    let registry = Registry::embedded().map_err(|error| Failure::usage(error.to_string()))?;
    let spec = spec(id, variant)?;
    let cell = registry.cell_program(id).map_err(|error| Failure::new(exit::ENGINE, error))?;
    let installed = environment::install(&spec, Install { cell: &cell, model }, &mut |line| eprintln!("{line}"))?;
    writeln!(io::stdout().lock(), "{}", installed.python.display())?;
    Ok(ExitCode::SUCCESS)
}

/// `tacho engines info`.
pub fn info(id: &str) -> Result<ExitCode, Failure> {
    let mut out = io::stdout().lock();
    // Says of an unknown engine, and of one without environments, that it is one.
    spec(id, None)?;
    for spec in environments(id)? {
        let view = json!({ "variant": spec.variant, "folder": spec.folder(), "installed": environment::status(&spec) });
        writeln!(out, "{view:#}")?;
    }
    Ok(ExitCode::SUCCESS)
}

/// `tacho engines remove`.
pub fn remove(id: &str, variant: Option<&str>) -> Result<ExitCode, Failure> {
    let spec = spec(id, variant)?;
    if environment::status(&spec).is_none() && !spec.folder().exists() {
        return Err(Failure::usage(format!("engine '{id}' has no environment here of the variant {}", spec.variant)));
    }
    environment::remove(&spec)?;
    Ok(ExitCode::SUCCESS)
}

impl From<EnvironmentError> for Failure {
    fn from(error: EnvironmentError) -> Self {
        Self::new(exit::ENGINE, error)
    }
}
