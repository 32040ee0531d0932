//! The commands that only look things up.
use std::{
    io::{self, Write},
    process::ExitCode,
};

use clap::CommandFactory;
use comfy_table::{Table, presets};
use serde_json::json;
use tacho::plan::{registry::Registry, shipped};

use super::{args::Cli, exit::Failure};

/// `tacho plans`.
pub fn plans(name: Option<&str>) -> Result<ExitCode, Failure> {
    let mut out = io::stdout().lock();
    let Some(name) = name else {
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_header(["plan", "what for"]);
        table.add_rows(shipped().map(|plan| [plan.name, plan.about()]));
        writeln!(out, "{table}\n\nRun one with `tacho run --plan NAME`, print one with `tacho plans NAME`.")?;
        return Ok(ExitCode::SUCCESS);
    };
    let Some(plan) = shipped().find(|plan| plan.name == name) else {
        let names: Vec<&str> = shipped().map(|plan| plan.name).collect();
        return Err(Failure::usage(format!("no plan '{name}' ships with Tacho; these do: {}", names.join(", "))));
    };
    out.write_all(plan.text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// `tacho engines`.
pub fn engines(as_json: bool) -> Result<ExitCode, Failure> {
    let registry = Registry::embedded().map_err(|error| Failure::usage(error.to_string()))?;
    let mut out = io::stdout().lock();
    if as_json {
        let list: Vec<_> = registry
            .engines()
            .iter()
            .map(|entry| {
                let options: serde_json::Map<String, serde_json::Value> = entry
                    .options
                    .iter()
                    .map(|(name, option)| (name.clone(), json!({ "doc": option.doc, "default": option.default })))
                    .collect();
                json!({
                    "id": entry.id,
                    "name": entry.name,
                    "cell": entry.cell,
                    "program": entry.cell_program().ok().map(|cell| cell.program),
                    "build_with": entry.build_with,
                    "boundary": entry.boundary,
                    "scheduler": entry.scheduler,
                    "variants": entry.variants,
                    "needs_model": entry.needs_model,
                    "open_options": entry.open_options,
                    "options": options,
                })
            })
            .collect();
        serde_json::to_writer_pretty(&mut out, &list).map_err(io::Error::from)?;
        writeln!(out)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(["engine", "name", "cell program", "state"]);
    for entry in registry.engines() {
        let state = match entry.cell_program() {
            Ok(_) => "present".to_owned(),
            Err(_) => format!("absent: build it with `{}`", entry.build_with),
        };
        table.add_row([&entry.id, &entry.name, entry.cell.as_deref().unwrap_or("tacho itself"), &state]);
    }
    writeln!(out, "{table}\n\n`tacho engines --json` has each engine's options.")?;
    Ok(ExitCode::SUCCESS)
}

/// `tacho schema`.
pub fn schema() -> Result<ExitCode, Failure> {
    io::stdout().lock().write_all(tacho::results::schema::document().as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// `tacho completions`.
pub fn completions(shell: clap_complete::Shell) -> Result<ExitCode, Failure> {
    // Into memory first: the generator panics when its writer fails, as a closed pipe does.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "tacho", &mut script);
    io::stdout().lock().write_all(&script)?;
    Ok(ExitCode::SUCCESS)
}
