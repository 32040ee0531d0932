//! `tacho doctor`.
use std::{
    collections::BTreeMap,
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use clap::ArgMatches;
use serde_json::json;
use tacho::{
    doctor::{Check, State, Surroundings, examine, worst},
    plan::{Plan, registry::Registry},
};

use super::{
    args::{DoctorArgs, RunArgs},
    ceilings, cells,
    exit::{self, Failure},
    layers,
};

/// For `--help`.
pub const HELP: &str = "\
Examples:
  tacho doctor                                       # this machine and all engines
  tacho doctor my.toml                               # what that plan needs
  tacho doctor quick --model model.gguf --json

Exit codes:
  0  no problem; there may be warnings
  1  a problem: the run would not work
  2  the command line or the plan is wrong";

/// How long the processors are watched: long enough to tell 5 % of one from ticks of 10 ms.
const PAUSE: Duration = Duration::from_millis(500);
/// Some problem was found.
const PROBLEM: u8 = 1;

/// Examines the machine, and the plan where one is given.
pub fn doctor(args: DoctorArgs, matches: &ArgMatches) -> Result<ExitCode, Failure> {
    let DoctorArgs { run: args } = args;
    let plan = plan(&args, matches)?;
    let registry = Registry::embedded().map_err(|error| Failure::new(exit::USAGE, error))?;
    let mut around = Surroundings {
        root: PathBuf::from("/"),
        variables: variables(),
        gpus: ceilings::open_gpus(),
        results: args.out.clone().unwrap_or_else(|| PathBuf::from("runs")),
        pause: PAUSE,
        cell_program: &|id| cells::program(&registry, id, args.python.as_deref()),
    };
    let checks = examine(&mut around, plan.as_ref(), &registry);
    let worst = worst(&checks);
    let mut out = io::stdout().lock();
    if args.json == Some(true) {
        writeln!(out, "{:#}", json!({ "state": worst, "checks": checks }))?;
    } else {
        checks.iter().try_for_each(|check| print(check, &mut out))?;
        let count = |state, what: &str| {
            let number = checks.iter().filter(|check| check.state == state).count();
            format!("{number} {what}{}", if number == 1 { "" } else { "s" })
        };
        writeln!(out, "\n{}, {}", count(State::Problem, "problem"), count(State::Warning, "warning"))?;
    }
    Ok(ExitCode::from(if worst == State::Problem { PROBLEM } else { exit::OK }))
}

/// The plan that is meant, when anything is said of one.
fn plan(args: &RunArgs, matches: &ArgMatches) -> Result<Option<Plan>, Failure> {
    if args.plan.is_none() && args.plan_named.is_none() && args.engine.is_empty() {
        return Ok(None);
    }
    // Models that are not there are a finding of ours.
    Ok(Some(layers::plan(args, matches)?.plan))
}

fn variables() -> BTreeMap<String, String> {
    let text = |value: std::ffi::OsString| value.to_string_lossy().into_owned();
    std::env::vars_os().map(|(name, value)| (text(name), text(value))).collect()
}

fn print(check: &Check, out: &mut impl Write) -> io::Result<()> {
    let what = check.of.as_ref().map_or_else(|| check.name.to_owned(), |of| format!("{}, {of}", check.name));
    writeln!(out, "{:8} {what}: {}", check.state.as_str(), check.found)?;
    check.advice.iter().try_for_each(|advice| writeln!(out, "         → {advice}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_is_a_line_and_its_advice_another() {
        let check = |of: Option<&str>, state, found: &str, advice: Option<&str>| Check {
            name: "environment",
            of: of.map(str::to_owned),
            state,
            found: found.to_owned(),
            advice: advice.map(str::to_owned),
        };
        let mut out = Vec::new();
        print(&check(None, State::Ok, "nothing to say", None), &mut out).unwrap();
        print(&check(Some("vllm"), State::Problem, "not installed", Some("tacho engines install vllm")), &mut out)
            .unwrap();
        insta::assert_snapshot!(String::from_utf8(out).unwrap());
    }
}
