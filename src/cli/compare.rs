//! `tacho compare` and `tacho baseline`.
use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Args, Subcommand, ValueEnum};
use tacho::{
    cache,
    comparison::{Figure, PRIMARY, runs, runs_markdown, runs_text},
    fairness,
    plan::scalar::fraction,
    results::{BaselineError, Baselines, ReadRun, read_run},
    stats::verdict::Verdict,
};

use super::exit::{self, Failure};

pub const EXAMPLES: &str = "\
The verdicts, with a threshold such as 1 %:
  SAME       the whole 95 % interval of the ratio is within the threshold
  FASTER     the interval leaves out 1 and the estimate is beyond the threshold; SLOWER likewise
  AMBIGUOUS  the data do not tell: more trials, or `tacho run --compare abba`

Examples:
  tacho compare runs/monday runs/tuesday
  tacho baseline save main runs/monday && tacho compare main runs/tuesday --metric ttft_p99
  tacho compare main runs/pr --fail-on slower --threshold 3% --format markdown > comment.md";

/// The arguments of `tacho compare`.
#[derive(Args, Debug)]
pub struct CompareArgs {
    /// What the others are held against: a run directory, or the name of a baseline
    pub a: PathBuf,
    /// Run directories or baselines
    #[arg(required = true)]
    pub others: Vec<PathBuf>,
    /// The figure: a throughput such as total_token_throughput, or a latency with a statistic such as ttft_p99
    #[arg(long, value_name = "FIGURE", env = "TACHO_METRIC", hide_env = true, default_value = PRIMARY)]
    pub metric: String,
    /// Differences below this fraction are none
    #[arg(
        long,
        value_name = "FRACTION",
        env = "TACHO_THRESHOLD",
        hide_env = true,
        default_value = "1%",
        allow_hyphen_values = true
    )]
    pub threshold: String,
    /// Exit with 6 when any point comes to this; repeat it or separate by commas for several
    #[arg(long, value_name = "VERDICT", env = "TACHO_FAIL_ON", hide_env = true, value_delimiter = ',')]
    pub fail_on: Vec<FailOn>,
    /// Show ratios between engines that differ in this all the same, labelled (a field of docs/fairness.md); repeatable
    #[arg(long, value_name = "FIELD", value_delimiter = ',')]
    pub allow_difference: Vec<String>,
    /// How to say it
    #[arg(long, value_name = "FORMAT", env = "TACHO_FORMAT", hide_env = true, default_value = "text")]
    pub format: Format,
}

/// What a comparison can fail on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FailOn {
    /// A point is slower.
    Slower,
    /// A point's data do not tell.
    Ambiguous,
    /// A point cannot be compared, or has no partner.
    Refused,
}

/// How to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For a terminal.
    Text,
    /// For a pull request.
    Markdown,
    /// For programs.
    Json,
}

/// What to do with baselines.
#[derive(Debug, Subcommand)]
pub enum BaselineAction {
    /// Keep a run under a name, instead of what had that name
    Save {
        /// Such as main
        name: String,
        /// The run directory
        dir: PathBuf,
    },
    /// List the baselines
    List,
    /// Print what a baseline is
    Show {
        /// Its name
        name: String,
    },
    /// Remove a baseline; the run it was made from stays
    Remove {
        /// Its name
        name: String,
    },
}

fn store() -> Baselines {
    Baselines::at(cache::dir().join("baselines"))
}

/// A run directory, else a baseline of that name.
fn open(place: &Path) -> Result<ReadRun, Failure> {
    if place.is_dir() {
        return Ok(read_run(place)?);
    }
    let name = place.to_string_lossy();
    if name.contains('/') {
        return Err(Failure::new(
            exit::STORAGE,
            anyhow::Error::msg(format!("{name} is no directory: expected a run directory or the name of a baseline")),
        ));
    }
    Ok(read_run(&store().find(&name)?)?)
}

/// `tacho compare`.
pub fn compare(args: &CompareArgs) -> Result<ExitCode, Failure> {
    let figure = Figure::named(&args.metric).map_err(|problem| Failure::usage(format!("--metric: {problem}")))?;
    let threshold = fraction(&args.threshold).map_err(|problem| Failure::usage(format!("--threshold: {problem}")))?;
    fairness::check_allowed(&args.allow_difference)
        .map_err(|problem| Failure::usage(format!("--allow-difference: {problem}")))?;
    let a = open(&args.a)?;
    let a_name = args.a.display().to_string();
    let mut all = Vec::new();
    for other in &args.others {
        let b = open(other)?;
        all.push(runs::compare(
            (&a_name, &a),
            (&other.display().to_string(), &b),
            &figure,
            threshold,
            &args.allow_difference,
        ));
    }
    let mut out = io::stdout().lock();
    match args.format {
        Format::Json => {
            let text = serde_json::to_string_pretty(&all).map_err(|error| Failure::new(exit::STORAGE, error))?;
            writeln!(out, "{text}")?;
        }
        Format::Text | Format::Markdown => {
            let say = if args.format == Format::Text { runs_text } else { runs_markdown };
            let texts: Vec<String> = all.iter().map(say).collect();
            write!(out, "{}", texts.join("\n"))?;
        }
    }
    if all.iter().all(|found| found.points.iter().all(|point| point.verdict.is_none())) {
        return Err(Failure::usage("no point of these runs can be compared; the reasons are above"));
    }
    let failing = |wanted: FailOn| args.fail_on.contains(&wanted);
    let failed = all.iter().any(|found| {
        let unpaired = !found.only_a.is_empty() || !found.only_b.is_empty();
        (failing(FailOn::Refused) && unpaired)
            || found.points.iter().any(|point| match point.verdict {
                Some(Verdict::Slower) => failing(FailOn::Slower),
                Some(Verdict::Ambiguous) => failing(FailOn::Ambiguous),
                None => failing(FailOn::Refused),
                _ => false,
            })
    });
    Ok(ExitCode::from(if failed { exit::NOT_PASSED } else { exit::OK }))
}

/// `tacho baseline`.
pub fn baseline(action: &BaselineAction) -> Result<ExitCode, Failure> {
    let store = store();
    let mut out = io::stdout().lock();
    match action {
        BaselineAction::Save { name, dir } => {
            let run = store.save(name, dir)?;
            for note in &run.notes {
                eprintln!("note: {note}");
            }
            writeln!(out, "baseline {name}: run {} with {} points", run.info.run_id, run.records.len())?;
        }
        BaselineAction::List => {
            for name in store.names() {
                match read_run(&store.dir().join(&name)) {
                    Ok(run) => writeln!(out, "{name}  {}  {} points", run.info.run_id, run.records.len())?,
                    Err(error) => writeln!(out, "{name}  cannot be read: {error}")?,
                }
            }
        }
        BaselineAction::Show { name } => {
            let run = read_run(&store.find(name)?)?;
            let machine = run.info.host.cpu_model.as_deref().unwrap_or("an unnamed processor");
            writeln!(out, "run      {}\nstarted  {}\non       {machine}", run.info.run_id, run.info.started_at)?;
            writeln!(out, "tacho    {} {}", run.info.tacho.version, run.info.tacho.git_commit)?;
            writeln!(out, "command  {}", run.info.command.join(" "))?;
            for record in &run.records {
                writeln!(out, "point    {}: {} trials", record.point.label(), record.trials.len())?;
            }
            for note in &run.notes {
                writeln!(out, "note     {note}")?;
            }
        }
        BaselineAction::Remove { name } => {
            store.remove(name)?;
            writeln!(out, "removed baseline {name}")?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

impl From<BaselineError> for Failure {
    fn from(error: BaselineError) -> Self {
        let code = if matches!(error, BaselineError::Results(_)) { exit::STORAGE } else { exit::USAGE };
        Self::new(code, error)
    }
}
