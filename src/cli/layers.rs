//! Flags and environment variables to drafts of a plan, laid over the plan file.
use std::path::Path;

use clap::{ArgMatches, parser::ValueSource};
use tacho::fairness::FairnessMode;
use tacho::plan::{
    Draft, EnduranceDraft, Origin, Parameter, Plan, PlanError, Resolved, SamplingDraft, Setting, Source, Sourced,
    TraceMode, TrialsDraft, ValidityDraft, Values, bisect, check_overlaps,
    compare::Compare,
    read,
    registry::Registry,
    resolve, scalar, share, shipped,
    values::{self, ValueError},
};
use tacho::validity::PowerCap;
use tacho::{metrics::service::SloError, workload::arrivals::ArrivalError};

use super::{agree_args::AgreeArgs, args::RunArgs, dataset_args, exit::Failure, validity_args::ValidityArgs};

/// The plan that the arguments, the environment and the plan file make together.
pub fn plan(args: &RunArgs, matches: &ArgMatches) -> Result<Resolved, Failure> {
    plan_with(args, matches, |_| Ok(()))
}

/// The same, with something done to the draft before it is resolved.
pub fn plan_with(
    args: &RunArgs,
    matches: &ArgMatches,
    prepare: impl FnOnce(&mut Draft) -> Result<(), Failure>,
) -> Result<Resolved, Failure> {
    let registry = Registry::embedded().map_err(|error| Failure::usage(error.to_string()))?;
    let mut draft = draft(args, matches, &registry)?;
    prepare(&mut draft)?;
    Ok(resolve(draft, &registry)?)
}

fn draft(args: &RunArgs, matches: &ArgMatches, registry: &Registry) -> Result<Draft, Failure> {
    let named = named(args.plan_named.as_deref(), args.plan.as_deref(), matches)?;
    let file = match &named {
        Some(plan) => read(&open(plan)?, registry)?,
        None => Draft::default(),
    };
    let layer = |source| Layer { matches, source, registry }.draft(args);
    let flags = layer(ValueSource::CommandLine)?;
    let environment = layer(ValueSource::EnvVariable)?;
    let mut draft = flags.over(environment.over(file));
    // A shipped plan or a file without a name of its own goes by the file's.
    if let (None, Some(plan)) = (&draft.name, &named) {
        let stem = Path::new(&plan.value).file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if tacho::plan::check_name(&stem).is_ok() {
            draft.name = Some(Sourced::new(stem, Origin::Default("default: the file's name")));
        }
    }
    Ok(draft)
}

/// The points that the arguments, the environment and the plan file make together, as far as their requests go; and whether nobody
/// said how many requests.
pub fn requests(args: &RunArgs, matches: &ArgMatches) -> Result<(Plan, bool), Failure> {
    let registry = Registry::embedded().map_err(|error| Failure::usage(error.to_string()))?;
    let mut draft = draft(args, matches, &registry)?;
    // Requests do not depend on the engine: any one that takes a model stands for all, or any one where there is no model.
    let any = if draft.models.is_empty() { "sim" } else { "llama.cpp" };
    draft.engines = vec![Sourced::new(any.to_owned(), Origin::Default("any"))];
    draft.settings.retain(|setting| !matches!(setting.parameter, Parameter::Option { .. }));
    let said = [Parameter::Requests, Parameter::Batch, Parameter::Concurrency];
    let all = !draft.settings.iter().any(|setting| said.contains(&setting.parameter));
    Ok((resolve(draft, &registry)?.plan, all))
}

/// The plan whose engines are compared: what the file, the environment and the flags say of engines and models.
pub fn agree_plan(args: &AgreeArgs, matches: &ArgMatches) -> Result<Resolved, Failure> {
    let registry = Registry::embedded().map_err(|error| Failure::usage(error.to_string()))?;
    let mut draft = match named(args.plan_named.as_deref(), args.plan.as_deref(), matches)? {
        Some(plan) => read(&open(&plan)?, &registry)?,
        None => Draft::default(),
    };
    for source in [ValueSource::EnvVariable, ValueSource::CommandLine] {
        let layer = Layer { matches, source, registry: &registry };
        let options = layer.list("engine_option", &args.engine_option);
        let said = Draft {
            engines: layer.list("engine", &args.engine),
            models: layer.list("model", &args.model),
            settings: options.iter().map(|option| layer.option(option)).collect::<Result<_, _>>()?,
            ..Draft::default()
        };
        draft = said.over(draft);
    }
    Ok(resolve(draft, &registry)?)
}

/// The plan by its place on the command line or by its flag or variable; the place wins over the variable.
fn named(place: Option<&str>, flag: Option<&str>, matches: &ArgMatches) -> Result<Option<Sourced<String>>, Failure> {
    let from_variable = matches.value_source("plan") == Some(ValueSource::EnvVariable);
    let at =
        if from_variable { Origin::Environment("TACHO_PLAN".to_owned()) } else { Origin::Flag("--plan".to_owned()) };
    match (place, flag) {
        (Some(place), Some(flag)) if !from_variable => {
            Err(Failure::usage(format!("two plans are named, '{place}' and --plan '{flag}': name one")))
        }
        (Some(place), _) => Ok(Some(Sourced::new(place.to_owned(), Origin::Flag("PLAN".to_owned())))),
        (None, flag) => Ok(flag.map(|flag| Sourced::new(flag.to_owned(), at))),
    }
}

/// A shipped plan by its name, otherwise a file.
fn open(plan: &Sourced<String>) -> Result<Source, PlanError> {
    let Sourced { value: plan, at } = plan;
    if let Some(found) = shipped().find(|shipped| shipped.name == plan) {
        return Ok(found.source());
    }
    std::fs::read_to_string(plan).map(|text| Source::new(plan.as_str(), text)).map_err(|error| {
        let names: Vec<&str> = shipped().map(|plan| plan.name).collect();
        PlanError::at(at, format!("'{plan}' is no shipped plan and cannot be read as a file: {error}"))
            .help(format!("give a TOML file, or one of the shipped plans: {}", names.join(", ")))
    })
}

/// Either the flags or the environment: what the other said is not seen.
struct Layer<'a> {
    matches: &'a ArgMatches,
    source: ValueSource,
    registry: &'a Registry,
}

impl Layer<'_> {
    /// This layer's origin for an argument, when it is the one that gave it.
    fn at(&self, id: &str) -> Option<Origin> {
        if self.matches.value_source(id) != Some(self.source) {
            return None;
        }
        Some(if self.source == ValueSource::CommandLine {
            Origin::Flag(format!("--{}", id.replace('_', "-")))
        } else {
            Origin::Environment(format!("TACHO_{}", id.to_uppercase()))
        })
    }

    fn take<T: Clone>(&self, id: &str, value: &Option<T>) -> Option<Sourced<T>> {
        Some(Sourced::new(value.clone()?, self.at(id)?))
    }

    fn parse<T>(
        &self,
        id: &str,
        value: &Option<String>,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Option<Sourced<T>>, PlanError> {
        self.take(id, value)
            .map(|said| match parse(&said.value) {
                Ok(value) => Ok(Sourced::new(value, said.at)),
                Err(problem) => Err(PlanError::at(&said.at, problem)),
            })
            .transpose()
    }

    fn list<T: Clone>(&self, id: &str, values: &[T]) -> Vec<Sourced<T>> {
        match self.at(id) {
            Some(at) => values.iter().map(|value| Sourced::new(value.clone(), at.clone())).collect(),
            None => Vec::new(),
        }
    }

    fn draft(&self, args: &RunArgs) -> Result<Draft, PlanError> {
        Ok(Draft {
            name: None,
            seed: self.take("seed", &args.seed),
            engines: self.list("engine", &args.engine),
            models: self.list("model", &args.model),
            settings: self.settings(args)?,
            arrivals: self.parse("arrivals", &args.arrivals, |text| {
                text.parse().map_err(|error: ArrivalError| error.to_string())
            })?,
            max_in_flight: self.take("max_in_flight", &args.max_in_flight),
            slo: self.parse("slo", &args.slo, |text| text.parse().map_err(|error: SloError| error.to_string()))?,
            dataset: dataset_args::draft(self.matches, self.source),
            zip: self.take("zip", &args.zip),
            sampling: SamplingDraft {
                temperature: self.take("temperature", &args.temperature),
                top_p: self.take("top_p", &args.top_p),
                top_k: self.take("top_k", &args.top_k),
                seed: self.take("sampling_seed", &args.sampling_seed),
            },
            trials: TrialsDraft {
                target: self.parse("target", &args.target, scalar::fraction)?,
                min_trials: self.take("min_trials", &args.min_trials),
                max_trials: self.take("max_trials", &args.max_trials),
                max_time: self.parse("max_time", &args.max_time, scalar::duration)?,
                max_warmup: self.take("max_warmup", &args.max_warmup),
                latency_trials: self.take("latency_trials", &args.latency_trials),
                device_clock: self.parse("device_clock", &args.device_clock, str::parse)?,
                max_repeats: self.take("max_repeats", &args.max_repeats),
                watch_cost: self.take("watch_cost", &args.watch_cost),
                clock_band: self.parse("clock_band", &args.clock_band, scalar::fraction)?,
            },
            validity: self.validity(&args.validity)?,
            trace: self.parse("trace", &args.trace, TraceMode::named)?,
            compare: self.parse("compare", &args.compare, Compare::parse_or_off)?,
            fairness: self.parse("fairness", &args.fairness, FairnessMode::named)?,
            best: Vec::new(),
            agree: self.take("agree", &args.agree),
            load_within: self.parse("load_deadline", &args.load_deadline, scalar::duration)?,
            trial_within: self.parse("trial_deadline", &args.trial_deadline, scalar::duration)?,
            telemetry: self.parse("telemetry", &args.telemetry, scalar::period)?,
            endurance: EnduranceDraft {
                bisect_oom: self.parse("bisect_oom", &args.bisect_oom, bisect::named)?,
                ..EnduranceDraft::default()
            },
        })
    }

    fn validity(&self, args: &ValidityArgs) -> Result<ValidityDraft, PlanError> {
        Ok(ValidityDraft {
            max_harness_share: self.parse("max_harness_share", &args.max_harness_share, share)?,
            max_machine_load: self.parse("max_machine_load", &args.max_machine_load, share)?,
            min_duration: self.parse("min_duration", &args.min_duration, scalar::duration)?,
            max_preemptions: self.take("max_preemptions", &args.max_preemptions),
            power_cap: self.parse("power_cap", &args.power_cap, PowerCap::named)?,
        })
    }

    fn settings(&self, args: &RunArgs) -> Result<Vec<Setting>, PlanError> {
        let given = [
            (Parameter::Requests, &args.requests),
            (Parameter::Batch, &args.batch),
            (Parameter::Concurrency, &args.concurrency),
            (Parameter::Rate, &args.rate),
            (Parameter::Length, &args.length),
            (Parameter::Input, &args.input),
            (Parameter::Output, &args.output),
        ];
        let mut settings = Vec::new();
        for (parameter, text) in given {
            let Some(said) = self.take(&parameter.name(), text) else { continue };
            let values = match parameter {
                Parameter::Length | Parameter::Input | Parameter::Output => {
                    values::lengths(&said.value).map(Values::Lengths)
                }
                Parameter::Rate => values::rates(&said.value).map(Values::Rates),
                _ => values::counts(&said.value).map(Values::Counts),
            };
            let values = values.map_err(|error| located(&said.at, error))?;
            settings.push(Setting { parameter, values, at: said.at });
        }
        for option in self.list("engine_option", &args.engine_option) {
            settings.push(self.option(&option)?);
        }
        check_overlaps(&settings)?;
        Ok(settings)
    }

    fn option(&self, said: &Sourced<String>) -> Result<Setting, PlanError> {
        let wrong = |problem: String| {
            PlanError::at(&said.at, problem)
                .help("write ID.NAME=VALUES, such as llama.cpp.n_ubatch=128,512; `tacho engines` lists the engines")
        };
        let Some((path, text)) = said.value.split_once('=') else {
            return Err(wrong(format!("expected ID.NAME=VALUES, found '{}' without a '='", said.value)));
        };
        let path = path.trim();
        let Some((engine, name)) = self.registry.split_option(path.strip_prefix("engine.").unwrap_or(path)) else {
            return Err(wrong(format!("'{path}' does not begin with the id of a known engine")));
        };
        let values = values::options(text).map_err(|error| located(&said.at, error))?;
        Ok(Setting {
            parameter: Parameter::Option { engine: engine.id.clone(), name: name.to_owned() },
            values: Values::Options(values),
            at: said.at.clone(),
        })
    }
}

fn located(at: &Origin, error: ValueError) -> PlanError {
    error.help.into_iter().fold(PlanError::at(at, error.problem), PlanError::help)
}
