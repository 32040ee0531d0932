//! The commands that only look things up.
use std::{
    io::{self, Write},
    process::ExitCode,
};

use clap::CommandFactory;
use comfy_table::{Table, presets};
use tacho::plan::shipped;

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
