//! `tacho workload`: requests in a file, to be replayed byte for byte and looked at.
use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{ArgMatches, Subcommand};
use tacho::{
    cache,
    engine::Sampling,
    model::FetchNews,
    plan::{Point, PointWorkload},
    workload::{
        dataset::{Ask, DatasetError, make},
        saved::{Saved, Span},
    },
};

use super::{
    args::RunArgs,
    exit::{self, Failure},
    layers,
};

const SAVE_EXAMPLES: &str = "\
Examples:
  tacho workload save --dataset sharegpt:chats.json --model models/smollm2 --requests 64 --out chats.tacho-workload
  tacho workload save --plan my.toml --out my.tacho-workload
  tacho run --engine llama.cpp --model model.gguf --dataset saved:chats.tacho-workload --requests 64";

/// What to do with workloads.
#[derive(Debug, Subcommand)]
pub enum WorkloadAction {
    /// Make a dataset's requests and write them to a file, with the output lengths
    #[command(after_help = SAVE_EXAMPLES)]
    Save(Box<RunArgs>),
    /// Print what is in such a file: counts, lengths, hash, where it came from
    Show {
        /// The file
        file: PathBuf,
        /// As JSON
        #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true",
              value_parser = clap::builder::BoolishValueParser::new(), hide_possible_values = true, value_name = "BOOL")]
        json: Option<bool>,
    },
}

/// Runs one of the subcommands.
pub fn workload(action: WorkloadAction, matches: &ArgMatches) -> Result<ExitCode, Failure> {
    match action {
        WorkloadAction::Save(args) => match matches.subcommand_matches("save") {
            Some(matches) => save(&args, matches),
            None => Err(Failure::usage("the save command has no arguments")),
        },
        WorkloadAction::Show { file, json } => show(&file, json == Some(true)),
    }
}

impl From<DatasetError> for Failure {
    fn from(error: DatasetError) -> Self {
        match error {
            DatasetError::Input(_) => Self::new(exit::USAGE, error),
            DatasetError::Storage(_) => Self::new(exit::STORAGE, error),
            DatasetError::Hub(error) => error.into(),
        }
    }
}

/// Where requests made for runs are kept.
pub fn folder() -> PathBuf {
    cache::dir().join("workloads")
}

/// Says which file of the hub is being fetched.
pub fn tell(quiet: bool) -> impl FnMut(FetchNews) {
    move |news| match news {
        FetchNews::File { name, bytes, .. } if !quiet => {
            let _ = writeln!(io::stderr(), "{name}: {bytes} bytes");
        }
        FetchNews::Waiting(time) if !quiet => {
            let _ = writeln!(io::stderr(), "the hub wants fewer requests: waiting for {} s", time.as_secs());
        }
        _ => {}
    }
}

fn save(args: &RunArgs, matches: &ArgMatches) -> Result<ExitCode, Failure> {
    let Some(out) = &args.out else { return Err(Failure::usage("say where to write: --out FILE")) };
    if out.exists() {
        return Err(Failure::new(
            exit::STORAGE,
            anyhow::anyhow!("{} exists already: name another file, or remove it first", out.display()),
        ));
    }
    let (plan, all) = layers::requests(args, matches)?;
    let quiet = args.quiet == Some(true);
    let Some(first) = plan.points.first() else { return Err(Failure::usage("the plan has no point")) };
    let asked = |point: &Point| {
        (point.model.clone(), PointWorkload { sampling: Sampling::default(), ..point.workload.clone() })
    };
    if plan.points.iter().any(|point| asked(point) != asked(first)) {
        return Err(Failure::usage(
            "the plan has several workloads: name one model, one number of requests and one output length",
        ));
    }
    let Some(data) = &first.workload.data else {
        return Err(Failure::usage("there is nothing to save: random prompts follow from the seed; name a --dataset"));
    };
    let work = &first.workload;
    let ask = Ask {
        spec: &data.spec,
        model: first.model.as_deref(),
        seed: work.seed,
        requests: (!all).then_some(work.requests),
        output: (!work.output.is_data()).then(|| work.output.max()),
        patience: args.dataset.patience()?,
    };
    let made = make(ask, &mut tell(quiet))?;
    for note in made.notes.iter().filter(|_| !quiet) {
        eprintln!("note: {note}");
    }
    let saved = made.saved.with_outputs(work.output, work.seed).map_err(Failure::usage)?;
    saved.write(out).map_err(|error| Failure::new(exit::STORAGE, error))?;
    writeln!(io::stdout().lock(), "{}", out.display())?;
    Ok(ExitCode::SUCCESS)
}

fn show(file: &Path, json: bool) -> Result<ExitCode, Failure> {
    let saved = Saved::read(file).map_err(|error| Failure::new(exit::STORAGE, error))?;
    let (inputs, outputs): (Vec<u32>, Vec<u32>) = (saved.inputs().collect(), saved.outputs().collect());
    let header = saved.header();
    let shared = saved.shared_prefix_tokens();
    let mut out = io::stdout().lock();
    if json {
        let span = |lengths: &[u32]| {
            Span::of(lengths.iter().copied())
                .map(|span| serde_json::json!({ "min": span.lo, "max": span.hi, "mean": span.mean }))
        };
        let view = serde_json::json!({
            "requests": header.requests,
            "conversations": saved.has_turns().then(|| saved.units()),
            "prompt_tokens": header.prompt_tokens,
            "output_tokens": outputs.iter().map(|length| u64::from(*length)).sum::<u64>(),
            "requests_with_output_length": outputs.len(),
            "prompt_lengths": span(&inputs),
            "output_lengths": span(&outputs),
            "shared_prefix_tokens": shared,
            "digest": header.digest,
            "source": header.source,
        });
        writeln!(out, "{view:#}")?;
        return Ok(ExitCode::SUCCESS);
    }
    writeln!(out, "requests              {}", header.requests)?;
    if saved.has_turns() {
        let most = header.turns.iter().max().copied().unwrap_or(0);
        writeln!(out, "conversations         {} (of at most {most} turns, each of which is a request)", saved.units())?;
    }
    writeln!(out, "prompt tokens         {}", header.prompt_tokens)?;
    let total: u64 = outputs.iter().map(|length| u64::from(*length)).sum();
    writeln!(out, "output tokens         {total} ({} requests say how many)", outputs.len())?;
    writeln!(out, "shared prefix tokens  {shared} (what a prefix cache could answer within a trial)")?;
    writeln!(out, "digest                {}", header.digest)?;
    let said = |path: &str| header.source.pointer(path).filter(|value| !value.is_null());
    let named = [
        ("/dataset/kind", "dataset               "),
        ("/dataset/path", "path                  "),
        ("/tokenizer", "tokenizer             "),
        ("/tokenizer_digest", "tokenizer digest      "),
        ("/chat_template_digest", "chat template digest  "),
        ("/records", "records               "),
        ("/left_out", "left out              "),
        ("/seed", "seed                  "),
        ("/made_by", "made by               "),
    ];
    for (path, label) in named {
        if let Some(value) = said(path) {
            writeln!(out, "{label}{}", value.as_str().map_or_else(|| value.to_string(), str::to_owned))?;
        }
    }
    histogram(&mut out, "prompt lengths", &inputs)?;
    histogram(&mut out, "output lengths", &outputs)?;
    Ok(ExitCode::SUCCESS)
}

/// Bars over powers of two.
fn histogram(out: &mut impl Write, title: &str, lengths: &[u32]) -> io::Result<()> {
    let Some(span) = Span::of(lengths.iter().copied()) else { return Ok(()) };
    writeln!(out, "\n{title}: {} to {}, mean {:.1}", span.lo, span.hi, span.mean)?;
    let bins: Vec<(u32, usize)> = (span.lo.ilog2()..=span.hi.ilog2())
        .map(|power| (power, lengths.iter().filter(|length| length.ilog2() == power).count()))
        .collect();
    let most = bins.iter().map(|(_, count)| *count).max().unwrap_or(1).max(1);
    for (power, count) in bins {
        let (low, high) = (1_u64 << power, (1_u64 << (power + 1)) - 1);
        let bar = "#".repeat((count * 40).div_ceil(most));
        writeln!(out, "  {low:>7} to {high:<7} {count:>7} {bar}")?;
    }
    Ok(())
}
