//! `tacho model`.
use std::{
    io::{self, IsTerminal, Write},
    path::Path,
    process::ExitCode,
    time::Duration,
};

use comfy_table::{Table, presets};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;
use tacho::{
    cell::parent::CellProgram,
    model::{self, Dtype, Fetch, FetchNews, ModelError, Shape, Wanted},
    plan::registry::Registry,
};

use super::{
    exit::{self, Failure},
    model_args::{ConvertArgs, FetchArgs, Format, ModelAction, ShapeArgs, Weights},
};

/// Runs one of the subcommands.
pub fn model(action: ModelAction) -> Result<ExitCode, Failure> {
    match action {
        ModelAction::Fetch(args) => fetch(args),
        ModelAction::Convert(args) => convert(&args),
        ModelAction::Shape(args) => shape(&args),
        ModelAction::List { json } => list(json == Some(true)),
        ModelAction::Show { name } => {
            io::stdout().lock().write_all(Shape::find(&name)?.text.as_bytes())?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

impl From<ModelError> for Failure {
    fn from(error: ModelError) -> Self {
        let code = match &error {
            ModelError::Hub(_) => exit::POINTS_FAILED,
            ModelError::Unsupported(_) => exit::USAGE,
            ModelError::Storage(_) => exit::STORAGE,
            ModelError::Cell(_) => exit::ENGINE,
        };
        Self::new(code, error)
    }
}

fn fetch(args: FetchArgs) -> Result<ExitCode, Failure> {
    let patience =
        humantime::parse_duration(&args.patience).ok().filter(|patience| *patience >= Duration::from_secs(1));
    let patience = patience.ok_or_else(|| {
        Failure::usage(format!("--patience: expected a time of at least 1s, found '{}'", args.patience))
    })?;
    let request =
        Fetch { repo: args.model, revision: args.revision, include: args.include, patience, wanted: Wanted::Model };
    let bar = Bar::new(args.quiet.quiet == Some(true));
    let folder = model::fetch(&request, &mut |news| match news {
        FetchNews::File { name, bytes, there } => bar.file(&name, bytes, there),
        FetchNews::Bytes(bytes) => bar.bar.inc(bytes),
        FetchNews::Checking => bar.bar.set_message("comparing the checksum"),
        FetchNews::Waiting(time) => {
            bar.say(&format!("the hub wants fewer requests: waiting for {} s", time.as_secs()));
        }
    })?;
    bar.bar.finish_and_clear();
    named(&folder)
}

fn convert(args: &ConvertArgs) -> Result<ExitCode, Failure> {
    let dtype = Dtype::parse(&args.dtype)?;
    let bar = Bar::new(args.quiet.quiet == Some(true));
    match args.to {
        Format::Safetensors => {
            let done = model::gguf_to_safetensors(&llama()?, &args.input, &args.output, dtype, &bar)?;
            bar.bar.finish_and_clear();
            if let Some(why) = done.no_tokenizer {
                bar.say(&format!("no tokenizer was written: {why}; engines that are given token ids need none"));
            }
        }
        Format::Gguf => model::gguf_to_gguf(&llama()?, &args.input, &args.output, dtype)?,
    }
    named(&args.output)
}

fn shape(args: &ShapeArgs) -> Result<ExitCode, Failure> {
    let dtype = args.dtype.as_deref().map(Dtype::parse).transpose()?;
    let shape = Shape::find(&args.name)?;
    let bar = Bar::new(args.quiet.quiet == Some(true));
    match (args.format, args.weights) {
        (Format::Gguf, Some(Weights::None)) => {
            return Err(Failure::usage("a GGUF file holds weights: expected --weights random, found none"));
        }
        (Format::Gguf, _) => model::write_gguf(&shape, dtype, args.seed, &args.output, &bar)?,
        (Format::Safetensors, Some(Weights::Random)) => {
            model::write_safetensors(&shape, dtype, args.seed, &args.output, &bar)?;
        }
        (Format::Safetensors, _) => {
            if dtype.is_some() {
                return Err(Failure::usage(
                    "--dtype says how weights are stored, but there are none: add --weights random",
                ));
            }
            model::write_config(&shape, &args.output)?;
        }
    }
    bar.bar.finish_and_clear();
    named(&args.output)
}

fn list(json: bool) -> Result<ExitCode, Failure> {
    let mut out = io::stdout().lock();
    let shapes = model::shapes()?;
    if json {
        let view = |shape: &Shape| -> Result<serde_json::Value, ModelError> {
            let config: serde_json::Value = serde_json::from_str(&shape.text).unwrap_or_default();
            Ok(json!({ "name": shape.name, "parameters": shape.parameters()?, "config": config }))
        };
        let all = shapes.iter().map(view).collect::<Result<Vec<_>, _>>()?;
        serde_json::to_writer_pretty(&mut out, &all).map_err(io::Error::from)?;
        writeln!(out)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(["shape", "parameters", "layers", "width", "vocabulary", "type"]);
    for shape in &shapes {
        let config = &shape.config;
        let billions = shape.parameters()? as f64 / 1e9;
        table.add_row([
            shape.name.clone(),
            format!("{billions:.3} B"),
            config.layers.to_string(),
            config.hidden.to_string(),
            config.vocab.to_string(),
            config.dtype.torch().to_owned(),
        ]);
    }
    writeln!(
        out,
        "{table}\n\nMake one with `tacho model shape NAME DIR`, print its figures with `tacho model show NAME`."
    )?;
    Ok(ExitCode::SUCCESS)
}

/// Prints where the result is.
fn named(path: &Path) -> Result<ExitCode, Failure> {
    writeln!(io::stdout().lock(), "{}", path.display())?;
    Ok(ExitCode::SUCCESS)
}

/// The program that reads GGUF.
fn llama() -> Result<CellProgram, Failure> {
    let registry = Registry::embedded().map_err(|error| Failure::usage(error.to_string()))?;
    registry.cell_program("llama.cpp").map_err(|error| Failure::new(exit::ENGINE, error))
}

/// A bar on a terminal, a line for each file elsewhere.
struct Bar {
    bar: ProgressBar,
    lines: bool,
}

impl Bar {
    fn new(quiet: bool) -> Self {
        let terminal = io::stderr().is_terminal();
        let target = if terminal && !quiet { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(Some(0), target);
        let template = "{wide_bar} {bytes}/{total_bytes} {bytes_per_sec} ({eta}) {msg}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        Self { bar, lines: !terminal && !quiet }
    }

    fn file(&self, name: &str, bytes: u64, there: u64) {
        self.bar.set_length(bytes);
        self.bar.reset();
        self.bar.set_position(there);
        self.bar.set_message(name.to_owned());
        if self.lines && there > 0 {
            self.say(&format!("{name}: going on after {there} of {bytes} bytes"));
        } else if self.lines {
            self.say(&format!("{name}: {bytes} bytes"));
        }
    }

    fn say(&self, line: &str) {
        // Standard error may be closed; the work goes on without it.
        let _ = writeln!(io::stderr(), "{line}");
    }
}

impl model::Progress for Bar {
    fn begin(&self, bytes: u64) {
        self.bar.set_length(bytes);
    }

    fn advance(&self, bytes: u64) {
        self.bar.inc(bytes);
    }
}
