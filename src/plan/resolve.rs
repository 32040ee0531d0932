//! Resolves a [`Draft`] into a [`Plan`]: defaults, checks, expansion into points, and where every value came from.
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    EngineSpec, Plan, PlanError, Point, PointData, PointWorkload, TraceMode,
    compare::Compare,
    dataset::DatasetDraft,
    defaults::{DEFAULT_OPEN_REQUESTS, DEFAULT_REQUESTS, DEFAULT_ROUNDS, default_lengths, sampling, workload_defaults},
    draft::{Draft, Parameter, Setting, Values},
    endurance::Scaled,
    expand::{combinations, point_count},
    fair,
    open::{Open, open},
    origin::{Origin, Sourced, suggest},
    registry::{ModelFormat, Registry},
    scalar::duration_text,
    told::{DEFAULT, Provenance, Told},
    trials::trials,
    values::MAX_POINTS,
};
use crate::{
    cell::protocol::Load,
    engine::Sampling,
    fairness::FairnessMode,
    secrets::carries_secret,
    workload::{arrivals::ArrivalSpec, dataset::DatasetSpec},
};

const DEFAULT_TELEMETRY: Option<Duration> = Some(Duration::from_millis(100));

/// A plan, and where its values came from.
#[derive(Clone, Debug, PartialEq)]
pub struct Resolved {
    /// The plan.
    pub plan: Plan,
    /// One a value.
    pub provenance: Vec<Provenance>,
    /// What was said and does not count, with the reason.
    pub notes: Vec<String>,
    models: Vec<Sourced<PathBuf>>,
}

impl Resolved {
    /// Checks that the models are there. Apart from resolving, since a plan may be looked at on another machine.
    ///
    /// # Errors
    /// [`PlanError`] naming the flag or the plan's line.
    pub fn check_models(&self) -> Result<(), PlanError> {
        let missing = self.models.iter().find_map(|model| Some((model, model.value.metadata().err()?)));
        match missing {
            Some((model, error)) => {
                let problem = format!("the model {} cannot be read: {error}", model.value.display());
                Err(PlanError::at(&model.at, problem).help("expected a GGUF file or a model folder; check the path"))
            }
            None => Ok(()),
        }
    }

    /// Says of a dataset's file that it is not here, if one is not.
    pub fn missing_dataset(&self) -> Option<String> {
        let specs = self.plan.points.iter().filter_map(|point| Some(&point.workload.data.as_ref()?.spec));
        specs
            .filter_map(DatasetSpec::file)
            .find(|file| !file.exists())
            .map(|file| format!("the dataset {} cannot be read: there is no such file; check the path", file.display()))
    }
}

/// Checks that no two settings set the same thing.
///
/// # Errors
/// [`PlanError`] naming both.
pub fn check_overlaps(settings: &[Setting]) -> Result<(), PlanError> {
    for (index, second) in settings.iter().enumerate() {
        let Some(first) = settings[..index].iter().find(|first| first.parameter.overlaps(&second.parameter)) else {
            continue;
        };
        let (one, two) = (first.parameter.name(), second.parameter.name());
        return Err(if one == two {
            PlanError::at(&second.at, format!("'{two}' is set twice: here and at {}", first.at)).help("remove one")
        } else {
            let problem = format!("'{two}' and '{one}' (set at {}) exclude each other", first.at);
            PlanError::at(&second.at, problem).help(match second.parameter {
                Parameter::Batch | Parameter::Concurrency | Parameter::Rate => {
                    "batch is requests a call (offline), concurrency is requests in flight (closed loop), rate is requests/s (open \
                     load, which max_in_flight caps): choose one"
                }
                _ => "length sets input and output together: use it alone, or set input and output",
            })
        });
    }
    Ok(())
}

/// Resolves a draft.
///
/// # Errors
/// [`PlanError`] at the first thing that cannot be.
pub fn resolve(draft: Draft, registry: &Registry) -> Result<Resolved, PlanError> {
    check_overlaps(&draft.settings)?;
    let mut notes = Vec::new();
    let engines = engines(&draft, registry)?;
    let settings = used_settings(&draft, registry, &engines, &mut notes)?;
    let fairness = draft.fairness.clone().unwrap_or_else(|| Sourced::new(FairnessMode::Defaults, DEFAULT));
    let best = used_settings(&Draft { settings: draft.best.clone(), ..draft.clone() }, registry, &engines, &mut notes)?;
    let settings = fair::with_best(settings, &best, fairness.value, &fairness.at, &engines, &mut notes)?;
    settings.iter().try_for_each(check_values)?;
    let dataset = draft.dataset.resolve()?;
    if dataset.is_some() {
        DatasetDraft::refuse_lengths(&settings)?;
    }
    let mut told = Told::default();
    let name = told.tell("name", draft.name, "run".to_owned(), Clone::clone);
    for engine in &draft.engines {
        told.push("engine", engine.value.clone(), &engine.at);
    }
    for model in &draft.models {
        told.push("model", model.value.display().to_string(), &model.at);
    }
    let seed = told.tell("seed", draft.seed, 1, u64::to_string);
    for setting in &settings {
        let many = setting.values.len() > 1;
        let name = format!("{}{}", if many { "axes." } else { "" }, setting.parameter.name());
        told.push(&name, setting.values.texts().join(", "), &setting.at);
    }
    for (name, value, from) in draft.dataset.said() {
        told.push(&name, value, from);
    }
    workload_defaults(&mut told, &settings, draft.arrivals.is_some(), dataset.as_ref());
    let zip = told.tell("axes.mode", draft.zip, false, |zip| if *zip { "zip" } else { "cross" }.to_owned());
    let open = open(draft.arrivals, draft.max_in_flight, &settings, &mut told)?;
    let slo = draft.slo.map(|slo| {
        told.push("slo", slo.value.to_string(), &slo.at);
        slo.value
    });
    let sampling = sampling(draft.sampling, seed, &mut told)?;
    let shared = Shared { open: open.as_ref(), dataset: dataset.as_ref(), sampling, seed };
    let trials = trials(draft.trials, &mut told)?;
    let validity = super::validity::resolve(draft.validity, &mut told);
    let trace = told.tell("trace", draft.trace, TraceMode::Off, |mode| mode.as_str().to_owned());
    let compare_at = draft.compare.as_ref().map(|compare| compare.at.clone());
    let compare = told.tell("compare", draft.compare, None, |compare| {
        compare.as_ref().map_or_else(|| "off".to_owned(), Compare::text)
    });
    let mode = fairness.value;
    told.push("fairness", mode.as_str().to_owned(), &fairness.at);
    let agree = told.tell("agree", draft.agree, false, bool::to_string);
    let telemetry = told.tell("telemetry", draft.telemetry, DEFAULT_TELEMETRY, |period| {
        period.map_or_else(|| "off".to_owned(), duration_text)
    });

    let mut points = Vec::new();
    for id in &engines {
        let own: Vec<&Setting> = settings.iter().filter(|setting| setting.parameter.is_for(id)).collect();
        let models: Vec<Option<PathBuf>> = match registry.get(id) {
            Ok(entry) if !entry.needs_model => vec![None],
            _ if draft.models.is_empty() => {
                return Err(PlanError::general(format!("engine '{id}' needs a model, and the plan names none"))
                    .help("give --model PATH, or model = \"PATH\" in the plan: a GGUF file or a model folder"));
            }
            entry => models_for(&draft.models, entry.ok().and_then(|entry| entry.model_format)),
        };
        let total = point_count(&own, zip)?.saturating_mul(models.len()).saturating_add(points.len());
        if total > MAX_POINTS {
            return Err(too_many(&own, total));
        }
        for model in &models {
            for chosen in combinations(&own, zip) {
                let number = points.len() as u32;
                let engine = EngineSpec { id: id.clone(), options: BTreeMap::new() };
                let mut point = point(number, engine, model.clone(), &chosen, &shared)?;
                if let (true, Some(model)) = (models.len() > 1, model) {
                    point.axes.insert(0, ("model".to_owned(), model_name(model, &models)));
                }
                points.push(point);
            }
        }
    }
    if let (Some(compare), Some(at)) = (&compare, &compare_at) {
        compare.groups(&points).map_err(|problem| PlanError::at(at, problem))?;
        if trace != TraceMode::Off {
            let problem = "points that are compared side by side are not traced";
            return Err(PlanError::at(at, problem).help("trace them in a run of its own"));
        }
        if trials.watch_cost > 0 {
            let problem = "what watching costs is not measured of points that are compared side by side";
            return Err(
                PlanError::at(at, problem).help("measure it in a run of its own: --watch-cost without --compare")
            );
        }
    }
    if mode == FairnessMode::Equal
        && let Some(limits) = fair::set_equal(&mut points, registry, &settings, &mut notes)?
    {
        for (name, value) in limits.fields() {
            told.push(
                &format!("fairness.{name}"),
                value.to_string(),
                &Origin::Default("fairness: what the points need"),
            );
        }
    }
    if let Some(axis) = &draft.endurance.bisect_oom {
        let settings: Vec<&Setting> = settings.iter().collect();
        let alone = match (zip, &compare) {
            (true, _) => Err("axes that advance together"),
            (_, Some(_)) => Err("compare"),
            _ => Ok(()),
        };
        super::bisect::check(axis, &settings, alone)?;
    }
    let scaled = Scaled::of(&points, draft.models.iter().map(|model| model.value.as_path()));
    let load_within = scaled.load_within(draft.load_within, &mut told);
    let trial_within = scaled.trial_within(draft.trial_within, &mut told);
    let endurance = scaled.endurance(draft.endurance, trial_within, &mut told);
    let plan = Plan {
        name,
        points,
        trials,
        validity,
        trace,
        compare,
        fairness: mode,
        agree,
        load_within,
        trial_within,
        telemetry,
        endurance,
        slo,
    };
    Ok(Resolved { plan, provenance: told.0, notes, models: draft.models })
}

/// The models that an engine takes: of a plan that names both formats, those of its own; all of them otherwise.
fn models_for(models: &[Sourced<PathBuf>], format: Option<ModelFormat>) -> Vec<Option<PathBuf>> {
    let is = |model: &&Sourced<PathBuf>| format.is_none_or(|format| ModelFormat::of(&model.value) == format);
    let own: Vec<_> = models.iter().filter(is).collect();
    let taken = if own.is_empty() { models.iter().collect() } else { own };
    taken.into_iter().map(|model| Some(model.value.clone())).collect()
}

/// A model's name among those of the plan: its file's, or its path where two files have one name.
fn model_name(model: &Path, all: &[Option<PathBuf>]) -> String {
    let stem = |path: &Path| path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    let namesakes = all.iter().flatten().filter(|other| stem(other) == stem(model)).count();
    match stem(model) {
        Some(name) if namesakes == 1 => name,
        _ => model.display().to_string(),
    }
}

impl Parameter {
    fn is_for(&self, id: &str) -> bool {
        !matches!(self, Self::Option { engine, .. } if engine != id)
    }
}

fn too_many(settings: &[&Setting], total: usize) -> PlanError {
    let sizes: Vec<String> =
        settings.iter().map(|setting| format!("{} {}", setting.values.len(), setting.parameter.name())).collect();
    let longest = settings.iter().max_by_key(|setting| setting.values.len());
    let total = if total == usize::MAX { "far more than can be counted".to_owned() } else { total.to_string() };
    let problem =
        format!("the plan has too many points: expected at most {MAX_POINTS}, found {total} ({})", sizes.join(" x "));
    PlanError::at(longest.map_or(&DEFAULT, |setting| &setting.at), problem)
        .help("use fewer values, larger steps, or mode = \"zip\" (--zip)")
}

fn engines(draft: &Draft, registry: &Registry) -> Result<Vec<String>, PlanError> {
    let known = || registry.engines().iter().map(|entry| entry.id.as_str()).collect::<Vec<_>>().join(", ");
    if draft.engines.is_empty() {
        return Err(PlanError::general("no engine is named")
            .help(format!("give --engine ID, or engine = \"ID\" in the plan; known engines: {}", known())));
    }
    let mut ids: Vec<String> = Vec::new();
    for engine in &draft.engines {
        registry.get(&engine.value).map_err(|_| {
            let hint = suggest(&engine.value, registry.engines().iter().map(|entry| entry.id.as_str()), "engines");
            PlanError::at(&engine.at, format!("unknown engine '{}'", engine.value)).help(hint)
        })?;
        if ids.contains(&engine.value) {
            return Err(PlanError::at(&engine.at, format!("engine '{}' is named twice", engine.value))
                .help(format!("to compare its options, make them an axis: \"engine.{}.<option>\"", engine.value)));
        }
        ids.push(engine.value.clone());
    }
    Ok(ids)
}

/// The settings that count: options of an engine that was left out by something stronger do not.
fn used_settings(
    draft: &Draft,
    registry: &Registry,
    engines: &[String],
    notes: &mut Vec<String>,
) -> Result<Vec<Setting>, PlanError> {
    let chosen_by = draft.engines.iter().map(|engine| rank(&engine.at)).min().unwrap_or(0);
    let mut used = Vec::new();
    for setting in &draft.settings {
        let Parameter::Option { engine, name } = &setting.parameter else {
            used.push(setting.clone());
            continue;
        };
        let full = setting.parameter.name();
        if !engines.contains(engine) {
            if rank(&setting.at) > chosen_by {
                notes.push(format!("{full} ({}) is not used: engine '{engine}' is not chosen", setting.at));
                continue;
            }
            return Err(PlanError::at(&setting.at, format!("{full} is set, but engine '{engine}' is not in the plan"))
                .help(suggest(engine, engines.iter().map(String::as_str), "engines of this plan")));
        }
        let told: &[serde_json::Value] = if let Values::Options(values) = &setting.values { values } else { &[] };
        if carries_secret(name, &serde_json::Value::Null) || told.iter().any(|value| carries_secret(name, value)) {
            return Err(PlanError::at(&setting.at, format!("{full} would write a secret into the run's records"))
                .help(
                    "leave it out: a cell downloads nothing; `tacho model fetch` reads HF_TOKEN from the environment",
                ));
        }
        check_option(registry, engine, name, &setting.at)?;
        used.push(setting.clone());
    }
    Ok(used)
}

fn rank(origin: &Origin) -> u8 {
    match origin {
        Origin::Flag(_) => 0,
        Origin::Environment(_) => 1,
        Origin::Plan(_) => 2,
        Origin::Default(_) => 3,
    }
}

fn check_option(registry: &Registry, engine: &str, option: &str, at: &Origin) -> Result<(), PlanError> {
    match registry.get(engine) {
        Ok(entry) if !entry.open_options && !entry.options.contains_key(option) => {
            let known = entry.options.keys().map(String::as_str);
            Err(PlanError::at(at, format!("engine '{engine}' has no option '{option}'")).help(suggest(
                option,
                known,
                &format!("options of {engine}"),
            )))
        }
        _ => Ok(()),
    }
}

fn check_values(setting: &Setting) -> Result<(), PlanError> {
    let (name, mut texts) = (setting.parameter.name(), setting.values.texts());
    if texts.is_empty() {
        return Err(PlanError::at(&setting.at, format!("axis '{name}' is empty")).help("give it at least one value"));
    }
    texts.sort_unstable();
    match texts.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(PlanError::at(&setting.at, format!("axis '{name}' has the value {} twice", pair[0]))
            .help("remove one: repeating a point is what trials are for")),
        None => Ok(()),
    }
}

/// What all points of a plan share.
struct Shared<'a> {
    open: Option<&'a Open>,
    dataset: Option<&'a DatasetSpec>,
    sampling: Sampling,
    seed: u64,
}

/// One point from the values chosen for it.
fn point(
    number: u32,
    mut engine: EngineSpec,
    model: Option<PathBuf>,
    chosen: &[(&Setting, usize)],
    shared: &Shared<'_>,
) -> Result<Point, PlanError> {
    let &Shared { open, dataset, sampling, seed } = shared;
    let (mut input, mut output) = default_lengths(dataset);
    let (mut batch, mut concurrency, mut rate, mut requests) = (None, None, None, None);
    let mut axes = Vec::new();
    for &(setting, index) in chosen {
        match (&setting.parameter, &setting.values) {
            (Parameter::Batch, Values::Counts(values)) => batch = Some((values[index], &setting.at)),
            (Parameter::Concurrency, Values::Counts(values)) => concurrency = Some((values[index], &setting.at)),
            (Parameter::Rate, Values::Rates(values)) => rate = Some(values[index]),
            (Parameter::Requests, Values::Counts(values)) => requests = Some(values[index]),
            (Parameter::Input, Values::Lengths(values)) => input = values[index],
            (Parameter::Output, Values::Lengths(values)) => output = values[index],
            (Parameter::Length, Values::Lengths(values)) => (input, output) = (values[index], values[index]),
            (Parameter::Option { name, .. }, Values::Options(values)) => {
                engine.options.insert(name.clone(), values[index].clone());
            }
            (parameter, _) => {
                let problem = format!("'{}' has values of the wrong type", parameter.name());
                return Err(PlanError::at(&setting.at, problem));
            }
        }
        if setting.values.len() > 1 {
            axes.push((setting.parameter.name(), setting.values.texts().swap_remove(index)));
        }
    }
    let data = dataset.map(|spec| PointData { spec: spec.clone(), saved: None, longest: 0, max_id: 0, turns: None });
    if let Some(open) = open {
        let arrivals = ArrivalSpec { process: open.process.value.clone(), rate };
        let requests = requests.unwrap_or(DEFAULT_OPEN_REQUESTS);
        open.check(&arrivals, requests)?;
        let load = Load::Open { arrivals, max_in_flight: open.max_in_flight };
        let workload = PointWorkload { requests, input, output, sampling, seed, data };
        return Ok(Point { number, engine, model, load, workload, axes });
    }
    let (load, requests) = match (batch, concurrency) {
        (_, Some((concurrency, at))) => {
            let requests = requests.unwrap_or(concurrency.saturating_mul(DEFAULT_ROUNDS));
            check_enough("concurrency", concurrency, requests, at)?;
            (Load::Closed { concurrency }, requests)
        }
        (Some((batch, at)), None) => {
            let requests = requests.unwrap_or(batch);
            check_enough("batch", batch, requests, at)?;
            (Load::Offline { batch }, requests)
        }
        (None, None) => {
            let requests = requests.unwrap_or(DEFAULT_REQUESTS);
            (Load::Offline { batch: requests }, requests)
        }
    };
    let workload = PointWorkload { requests, input, output, sampling, seed, data };
    Ok(Point { number, engine, model, load, workload, axes })
}

fn check_enough(what: &str, wanted: u32, requests: u32, at: &Origin) -> Result<(), PlanError> {
    if wanted <= requests {
        return Ok(());
    }
    Err(PlanError::at(at, format!("{what} {wanted} needs at least {wanted} requests, found requests = {requests}"))
        .help(format!("raise requests, lower {what}, or leave requests out")))
}
