//! `tacho calibrate`.
use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use clap::{Args, builder::BoolishValueParser};
use comfy_table::{Table, presets};
use tacho::{
    cache,
    calibration::{COMPARISONS, Calibration, CalibrationState, Check, Outcome, calibrate as measure},
    plan::registry::Registry,
};

use super::{
    ceilings::program_for_a_gpu,
    exit::{self, Failure},
};

/// The arguments of `tacho calibrate`.
#[derive(Args, Debug)]
pub struct CalibrateArgs {
    /// Measure nothing: show what is kept
    #[arg(long)]
    pub kept: bool,
    /// Comparisons that the rates of right verdicts are counted over; fewer than the default keep nothing
    #[arg(long, value_name = "N", default_value_t = COMPARISONS, value_parser = clap::value_parser!(u32).range(1..))]
    pub comparisons: u32,
    /// As JSON
    #[arg(long, env = "TACHO_JSON", num_args = 0..=1, require_equals = true, default_missing_value = "true",
          value_parser = BoolishValueParser::new(), hide_possible_values = true, hide_env = true, value_name = "BOOL")]
    pub json: Option<bool>,
}

/// Where calibrations are kept.
pub fn dir() -> PathBuf {
    cache::dir().join("calibration")
}

/// `tacho calibrate`.
pub fn calibrate(args: &CalibrateArgs) -> Result<ExitCode, Failure> {
    let storage = |error: String| Failure::new(exit::STORAGE, anyhow::Error::msg(error));
    let found = if args.kept {
        match CalibrationState::kept(&dir()) {
            CalibrationState::Passed(found) | CalibrationState::Failed(found) => found,
            CalibrationState::Absent { reason } => return Err(Failure::usage(reason)),
        }
    } else {
        let engine = |error: String| Failure::new(exit::ENGINE, anyhow::Error::msg(error));
        let registry = Registry::embedded().map_err(|error| Failure::new(exit::USAGE, error))?;
        let sim = registry.cell_program("sim").map_err(|error| engine(error.to_string()))?;
        let log = std::env::temp_dir().join(format!("tacho-calibrate-{}.log", std::process::id()));
        let gpu = program_for_a_gpu();
        let found = measure(&sim, &log, gpu, args.comparisons, &mut |what| eprintln!("measuring: {what} …"));
        let found = found.map_err(engine)?;
        // Only an error leaves it, to be read.
        let _ = std::fs::remove_file(&log);
        if args.comparisons >= COMPARISONS {
            let path = found.keep(&dir()).map_err(storage)?;
            eprintln!("kept in {}", path.display());
        } else {
            eprintln!("not kept: {} comparisons are too few to count rates over", args.comparisons);
        }
        found
    };
    let mut out = io::stdout().lock();
    if args.json == Some(true) {
        let text = serde_json::to_string_pretty(&found).map_err(|error| storage(error.to_string()))?;
        writeln!(out, "{text}")?;
    } else {
        print(&found, &mut out)?;
    }
    Ok(ExitCode::from(if found.passed() { exit::OK } else { exit::NOT_PASSED }))
}

fn print(found: &Calibration, out: &mut impl Write) -> io::Result<()> {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(["check", "value", "limit", "outcome", "over"]);
    for check in &found.checks {
        table.add_row([
            check.name.clone(),
            number(check.value, &check.unit),
            limit(check),
            match check.outcome {
                Outcome::Passed => "passed".to_owned(),
                Outcome::Failed => "FAILED".to_owned(),
            },
            check.note.clone(),
        ]);
    }
    writeln!(out, "{table}")?;
    for (what, reason) in &found.missing {
        writeln!(out, "not looked at: {what}: {reason}")?;
    }
    let word = if found.passed() { "passed" } else { "FAILED" };
    let load = found.load_average.map_or(String::new(), |load| format!(", load average {load} when it began"));
    writeln!(out, "calibration {word}, {}{load}", found.at)
}

fn number(value: f64, unit: &str) -> String {
    if unit.is_empty() { format!("{:.1} %", value * 100.0) } else { format!("{value:.4} {unit}") }
}

fn limit(check: &Check) -> String {
    match (check.expected, check.limit) {
        (Some(expected), Some(limit)) => format!("{expected:.4} ± {}", number(limit, &check.unit)),
        (None, Some(limit)) if check.unit.is_empty() => format!("at least {}", number(limit, "")),
        (None, Some(limit)) => format!("at most {}", number(limit, &check.unit)),
        _ => "–".to_owned(),
    }
}
