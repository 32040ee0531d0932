//! What the derived arguments cannot say: flags of `tacho run` that mean nothing to a command that shares them are out of its help
//! and refused, and negative numbers are values, so that an error can name the flag they were given to.
use clap::{Arg, ArgMatches, Command, parser::ValueSource};

use super::exit::Failure;

/// Flags that say something about requests.
const REQUESTS: [&str; 9] = ["plan", "plan_named", "model", "requests", "seed", "output", "out", "quiet", "help"];
/// Flags of timed trials and of what is made of many of them.
const TRIALS: [&str; 15] = [
    "agree",
    "resume",
    "zip",
    "target",
    "min_trials",
    "max_trials",
    "max_time",
    "latency_trials",
    "trace",
    "compare",
    "max_repeats",
    "watch_cost",
    "clock_band",
    "bisect_oom",
    "strict",
];
/// What a search for capacity sets itself, and refuses with that reason.
const CAPACITY: [&str; 3] = ["batch", "rate", "concurrency"];
const LEDGER: [&str; 11] = [
    "concurrency",
    "rate",
    "arrivals",
    "max_in_flight",
    "slo",
    "device_clock",
    "telemetry",
    "max_harness_share",
    "max_machine_load",
    "min_duration",
    "max_preemptions",
];
const DOCTOR: [&str; 5] = ["resume", "dry_run", "quiet", "strict", "zip"];

/// Whether a command does without an argument that it shares.
fn is_void(path: &[&str], argument: &Arg) -> bool {
    let id = argument.get_id().as_str();
    match path {
        ["workload", "save"] => argument.get_help_heading() != Some("Dataset") && !REQUESTS.contains(&id),
        ["capacity"] => TRIALS.contains(&id) || CAPACITY.contains(&id),
        ["ledger"] => TRIALS.contains(&id) || LEDGER.contains(&id) || id == "power_cap",
        ["doctor"] => DOCTOR.contains(&id),
        _ => false,
    }
}

/// The commands whose arguments are those of `tacho run` and more.
const SHARING: [&[&str]; 4] = [&["workload", "save"], &["capacity"], &["ledger"], &["doctor"]];

/// The command line with that.
pub fn shape(command: Command) -> Command {
    let command = numbers(command);
    let command = SHARING.iter().fold(command, |command, path| {
        at(command, path, &|command| {
            command.mut_args(|argument| {
                let void = is_void(path, &argument);
                argument.hide(void)
            })
        })
    });
    let command = at(command, &["workload", "save"], &|save| {
        save.mut_arg("out", |out| out.short('o').value_name("FILE").help("The file to write"))
    });
    at(command, &["capacity"], &|capacity| {
        capacity.mut_arg("requests", |requests| requests.help("Requests a trial [default: 500]"))
    })
}

fn at(command: Command, path: &[&str], change: &dyn Fn(Command) -> Command) -> Command {
    match path {
        [] => change(command),
        [first, rest @ ..] => command.mut_subcommand(*first, |command| at(command, rest, change)),
    }
}

/// Lets every flag with a value have a negative number.
fn numbers(command: Command) -> Command {
    let command = command.mut_args(|argument| {
        if argument.is_positional() || !argument.get_action().takes_values() || argument.is_require_equals_set() {
            return argument;
        }
        argument.allow_negative_numbers(true)
    });
    let names: Vec<String> = command.get_subcommands().map(|command| command.get_name().to_owned()).collect();
    names.into_iter().fold(command, |command, name| command.mut_subcommand(name, numbers))
}

/// Refuses what [`shape`] has taken out of the help. Only flags are: a variable may be meant for other commands.
///
/// # Errors
/// Wrong usage, naming the flag.
pub fn refuse_void(command: &Command, matches: &ArgMatches) -> Result<(), Failure> {
    for path in SHARING {
        let found = path.iter().try_fold((command, matches), |(command, matches), name| {
            Some((command.find_subcommand(name)?, matches.subcommand_matches(name)?))
        });
        let Some((command, matches)) = found else { continue };
        let given = |argument: &&Arg| {
            let id = argument.get_id().as_str();
            matches.try_contains_id(id).is_ok() && matches.value_source(id) == Some(ValueSource::CommandLine)
        };
        if let Some(argument) = command.get_arguments().filter(given).find(|argument| is_void(path, argument)) {
            if CAPACITY.contains(&argument.get_id().as_str()) && *path == ["capacity"] {
                continue;
            }
            return Err(Failure::usage(format!(
                "--{} means nothing to tacho {}: leave it out",
                argument.get_long().unwrap_or(argument.get_id().as_str()),
                path.join(" ")
            )));
        }
    }
    Ok(())
}
