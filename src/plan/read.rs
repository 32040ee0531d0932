//! Reads a plan file into a [`Draft`]. Every error names its file, line and column.
use std::path::PathBuf;

use super::{
    PlanError,
    compare::Compare,
    draft::{Draft, Parameter, SamplingDraft, Setting, TrialsDraft, Values},
    origin::{Source, Sourced},
    point::TraceMode,
    registry::Registry,
    resolve::check_overlaps,
    scalar,
    toml_tree::{Entry, Node, entries, tree},
    values,
};
use crate::{fairness::FairnessMode, metrics::service::SloError, workload::arrivals::ArrivalError};

pub(super) const TOP: [&str; 18] = [
    "name",
    "seed",
    "engine",
    "model",
    "workload",
    "dataset",
    "axes",
    "slo",
    "trials",
    "validity",
    "trace",
    "compare",
    "fairness",
    "agree",
    "telemetry",
    "deadlines",
    "restarts",
    "bisect_oom",
];
pub(super) const TRIALS: [&str; 10] = [
    "target",
    "min_trials",
    "max_trials",
    "max_time",
    "max_warmup",
    "latency_trials",
    "device_clock",
    "max_repeats",
    "watch_cost",
    "clock_band",
];
pub(super) const SAMPLING: [&str; 4] = ["temperature", "top_p", "top_k", "seed"];

/// Reads a plan file.
///
/// # Errors
/// [`PlanError`] at the first thing that is not understood.
pub fn read(source: &Source, registry: &Registry) -> Result<Draft, PlanError> {
    let tree = tree(source)?;
    let mut draft = Draft::default();
    for entry in entries(source, tree.get_ref()) {
        let value = &entry.value;
        match entry.key {
            "name" => draft.name = Some(name(value)?),
            "seed" => draft.seed = Some(sourced(value, value.whole("a whole number from 0 on")?)),
            "engine" => engines(value, &mut draft)?,
            "model" => draft.models = models(value)?,
            "workload" => workload(value, &mut draft)?,
            "dataset" => draft.dataset = super::dataset::read(value)?,
            "axes" => axes(value, registry, &mut draft)?,
            "trials" => draft.trials = trials(value)?,
            "validity" => draft.validity = super::validity::read(value)?,
            "trace" => draft.trace = Some(trace(value)?),
            "compare" => draft.compare = Some(compare(value)?),
            "fairness" => draft.fairness = Some(fairness(value)?),
            "agree" => {
                let agree = value.json()?.as_bool().ok_or_else(|| value.wrong("true or false"))?;
                draft.agree = Some(sourced(value, agree));
            }
            "deadlines" => deadlines(value, &mut draft)?,
            "restarts" => draft.endurance.restarts(value)?,
            "bisect_oom" => {
                let axis = super::bisect::named(value.text("an axis, such as \"batch\"")?);
                let axis = axis.map_err(|problem| PlanError::at(&value.at(), problem))?;
                draft.endurance.bisect_oom = Some(sourced(value, axis));
            }
            "slo" => {
                let text = value.text("limits such as \"ttft=200ms,tpot=50ms\"")?;
                let slo = text.parse().map_err(|problem: SloError| PlanError::at(&value.at(), problem.to_string()))?;
                draft.slo = Some(sourced(value, slo));
            }
            "telemetry" => {
                let text = value.scalar().ok_or_else(|| value.wrong("\"off\" or a period such as \"100ms\""))?;
                let period = scalar::period(&text).map_err(|problem| PlanError::at(&value.at(), problem))?;
                draft.telemetry = Some(sourced(value, period));
            }
            _ => return Err(entry.unknown("the plan", &TOP)),
        }
    }
    check_overlaps(&draft.settings)?;
    Ok(draft)
}

fn sourced<T>(node: &Node<'_>, value: T) -> Sourced<T> {
    Sourced::new(value, node.at())
}

fn trace(node: &Node<'_>) -> Result<Sourced<TraceMode>, PlanError> {
    let mode = TraceMode::named(node.text("\"off\", \"once\" or \"abba\"")?);
    Ok(sourced(node, mode.map_err(|problem| PlanError::at(&node.at(), problem))?))
}

fn compare(node: &Node<'_>) -> Result<Sourced<Option<Compare>>, PlanError> {
    let found = Compare::parse_or_off(node.text("text such as \"abba\" or \"abba,launches=5\"")?);
    Ok(sourced(node, found.map_err(|problem| PlanError::at(&node.at(), problem))?))
}

fn fairness(node: &Node<'_>) -> Result<Sourced<FairnessMode>, PlanError> {
    let mode = FairnessMode::named(node.text("\"defaults\", \"equal\" or \"best\"")?);
    Ok(sourced(node, mode.map_err(|problem| PlanError::at(&node.at(), problem))?))
}

fn name(node: &Node<'_>) -> Result<Sourced<String>, PlanError> {
    let text = node.text("a name for the plan, as text")?;
    check_name(text).map_err(|problem| PlanError::at(&node.at(), problem))?;
    Ok(sourced(node, text.to_owned()))
}

/// Whether the text can name a plan: it becomes part of a folder's name.
///
/// # Errors
/// A sentence that says what was expected.
pub fn check_name(text: &str) -> Result<(), String> {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if text.is_empty() || text.len() > 64 || text.starts_with('.') || !text.chars().all(good) {
        return Err(format!(
            "expected a name of at most 64 letters, digits, '-', '_' and '.', since it names the run's folder; \
             found '{text}'"
        ));
    }
    Ok(())
}

fn engines(node: &Node<'_>, draft: &mut Draft) -> Result<(), PlanError> {
    let list = node.list().unwrap_or_else(|| vec![*node]);
    if list.is_empty() {
        return Err(PlanError::at(&node.at(), "the list of engines is empty").help("name one, such as \"llama.cpp\""));
    }
    for item in list {
        if item.str().is_some() {
            engine_id(&item, draft)?;
            continue;
        }
        let fields = item.entries("an engine's id, or a table with id and options")?;
        let Some(id) = fields.iter().find(|field| field.key == "id") else {
            return Err(PlanError::at(&item.at(), "this engine has no id").help("add id = \"llama.cpp\""));
        };
        let id = engine_id(&id.value, draft)?;
        for field in &fields {
            match field.key {
                "id" => {}
                "options" | "best" => {
                    for option in field.value.entries("a table of the engine's options")? {
                        let parameter = Parameter::Option { engine: id.to_owned(), name: option.key.to_owned() };
                        let values = Values::Options(vec![option.value.json()?]);
                        let setting = Setting { parameter, values, at: option.at() };
                        let list = if field.key == "best" { &mut draft.best } else { &mut draft.settings };
                        list.push(setting);
                    }
                }
                _ => return Err(field.unknown("[[engine]]", &["id", "options", "best"])),
            }
        }
    }
    Ok(())
}

fn engine_id<'a>(node: &Node<'a>, draft: &mut Draft) -> Result<&'a str, PlanError> {
    let id = node.text("an engine's id, as text")?;
    draft.engines.push(sourced(node, id.to_owned()));
    Ok(id)
}

fn models(node: &Node<'_>) -> Result<Vec<Sourced<PathBuf>>, PlanError> {
    const EXPECTED: &str = "the path of a GGUF file or a model folder";
    if let Some(fields) = node.table() {
        let mut found = Vec::new();
        for field in fields {
            match field.key {
                "path" => found = models(&field.value)?,
                _ => return Err(field.unknown("[model]", &["path"])),
            }
        }
        return Ok(found);
    }
    let list = node.list().unwrap_or_else(|| vec![*node]);
    if list.is_empty() {
        return Err(PlanError::at(&node.at(), "the list of models is empty").help(format!("give {EXPECTED}")));
    }
    list.iter()
        .map(|item| match item.text(EXPECTED)? {
            "" => Err(item.wrong(EXPECTED)),
            path => Ok(sourced(item, PathBuf::from(path))),
        })
        .collect()
}

fn workload(node: &Node<'_>, draft: &mut Draft) -> Result<(), PlanError> {
    const KNOWN: [&str; 10] = [
        "requests",
        "input",
        "output",
        "length",
        "batch",
        "concurrency",
        "rate",
        "arrivals",
        "max_in_flight",
        "sampling",
    ];
    for entry in node.entries("a table: [workload]")? {
        if entry.key == "sampling" {
            draft.sampling = sampling(&entry.value)?;
            continue;
        }
        if entry.key == "arrivals" {
            let text = entry.value.text("an arrival process such as \"poisson\"")?;
            let at = |error: ArrivalError| PlanError::at(&entry.value.at(), error.to_string());
            draft.arrivals = Some(sourced(&entry.value, text.parse().map_err(at)?));
            continue;
        }
        if entry.key == "max_in_flight" {
            draft.max_in_flight = Some(sourced(&entry.value, entry.value.whole("a whole number of at least 1")?));
            continue;
        }
        let Some(parameter) = Parameter::WORKLOAD.into_iter().find(|known| known.name() == entry.key) else {
            return Err(entry.unknown("[workload]", &KNOWN));
        };
        let setting = setting(&entry, parameter)?;
        if setting.values.len() > 1 {
            return Err(PlanError::at(
                &entry.value.at(),
                format!("expected one value for '{}', found {}", entry.key, setting.values.len()),
            )
            .help(format!("to vary it, put '{}' under [axes] instead of [workload]", entry.key)));
        }
        draft.settings.push(setting);
    }
    Ok(())
}

fn axes(node: &Node<'_>, registry: &Registry, draft: &mut Draft) -> Result<(), PlanError> {
    for entry in node.entries("a table: [axes]")? {
        if entry.key == "mode" {
            let zip = match entry.value.str() {
                Some("zip") => true,
                Some("cross") => false,
                _ => {
                    return Err(entry.value.wrong("mode = \"cross\" (every combination) or \"zip\" (values pairwise)"));
                }
            };
            draft.zip = Some(sourced(&entry.value, zip));
        } else if let Some(parameter) = Parameter::WORKLOAD.into_iter().find(|known| known.name() == entry.key) {
            draft.settings.push(setting(&entry, parameter)?);
        } else {
            option_axes(&entry, entry.key, registry, draft)?;
        }
    }
    Ok(())
}

/// An axis over an engine's option, as one quoted key or, unquoted, as the tables that TOML makes of its dots.
fn option_axes(entry: &Entry<'_>, path: &str, registry: &Registry, draft: &mut Draft) -> Result<(), PlanError> {
    let split = path.strip_prefix("engine.").and_then(|rest| registry.split_option(rest));
    if let Some((engine, option)) = split {
        let parameter = Parameter::Option { engine: engine.id.clone(), name: option.to_owned() };
        let setting = setting(entry, parameter)?;
        draft.settings.push(setting);
        return Ok(());
    }
    if let (true, Some(inner)) = (path.starts_with("engine"), entry.value.table()) {
        for field in inner {
            option_axes(&field, &format!("{path}.{}", field.key), registry, draft)?;
        }
        return Ok(());
    }
    let problem = format!("unknown axis '{path}'");
    let engines: Vec<&str> = registry.engines().iter().map(|engine| engine.id.as_str()).collect();
    Err(PlanError::at(&entry.at(), problem).help(match path.strip_prefix("engine.") {
        Some(_) => format!("expected engine.<id>.<option> with one of the engines {}", engines.join(", ")),
        None => {
            let known = Parameter::WORKLOAD.map(|parameter| parameter.name());
            let hint = super::origin::suggest(path, known.iter().map(String::as_str), "axes");
            format!("{hint} An engine's option is written \"engine.<id>.<option>\"")
        }
    }))
}

/// The values of a parameter: one, a list, or the text of a list or range.
fn setting(entry: &Entry<'_>, parameter: Parameter) -> Result<Setting, PlanError> {
    let items = match entry.value.list() {
        Some(items) if items.is_empty() => {
            return Err(PlanError::at(&entry.value.at(), format!("axis '{}' is empty", parameter.name()))
                .help("give it at least one value, or remove it"));
        }
        Some(items) => items,
        None => vec![entry.value],
    };
    let single = entry.value.list().is_none();
    let mut values = match &parameter {
        Parameter::Input | Parameter::Output | Parameter::Length => Values::Lengths(Vec::new()),
        Parameter::Option { .. } => Values::Options(Vec::new()),
        Parameter::Rate => Values::Rates(Vec::new()),
        _ => Values::Counts(Vec::new()),
    };
    for item in &items {
        let located = |error: values::ValueError| {
            let located = PlanError::at(&item.at(), error.problem);
            error.help.into_iter().fold(located, PlanError::help)
        };
        match &mut values {
            Values::Counts(list) => {
                let text = item.scalar().ok_or_else(|| item.wrong("whole numbers of at least 1"))?;
                list.extend(values::counts(&text).map_err(located)?);
            }
            Values::Rates(list) => {
                let text = item.scalar().ok_or_else(|| item.wrong("rates in requests/s"))?;
                list.extend(values::rates(&text).map_err(located)?);
            }
            Values::Lengths(list) => {
                let text = item.scalar().ok_or_else(|| item.wrong("lengths in tokens"))?;
                list.extend(values::lengths(&text).map_err(located)?);
            }
            // Text in a list is meant as it stands; by itself it may be a list or a range.
            Values::Options(list) => match item.str().filter(|_| single) {
                Some(text) => list.extend(values::options(text).map_err(located)?),
                None => list.push(item.json()?),
            },
        }
    }
    Ok(Setting { parameter, values, at: entry.at() })
}

fn sampling(node: &Node<'_>) -> Result<SamplingDraft, PlanError> {
    let mut draft = SamplingDraft::default();
    for entry in node.entries("a table such as { temperature = 0.0 }")? {
        let value = &entry.value;
        match entry.key {
            "temperature" => {
                draft.temperature = Some(sourced(value, value.number("a temperature of at least 0")? as f32));
            }
            "top_p" => draft.top_p = Some(sourced(value, value.number("a mass between 0 and 1")? as f32)),
            "top_k" => draft.top_k = Some(sourced(value, value.whole("a whole number; 0 keeps all")?)),
            "seed" => draft.seed = Some(sourced(value, value.whole("a whole number from 0 on")?)),
            _ => return Err(entry.unknown("sampling", &SAMPLING)),
        }
    }
    Ok(draft)
}

fn trials(node: &Node<'_>) -> Result<TrialsDraft, PlanError> {
    const COUNT: &str = "a whole number from 0 on";
    let mut draft = TrialsDraft::default();
    for entry in node.entries("a table: [trials]")? {
        let value = &entry.value;
        match entry.key {
            "target" => draft.target = Some(fraction(value)?),
            "clock_band" => draft.clock_band = Some(fraction(value)?),
            "max_repeats" => draft.max_repeats = Some(sourced(value, value.whole(COUNT)?)),
            "watch_cost" => draft.watch_cost = Some(sourced(value, value.whole(COUNT)?)),
            "min_trials" => draft.min_trials = Some(sourced(value, value.whole(COUNT)?)),
            "max_trials" => draft.max_trials = Some(sourced(value, value.whole(COUNT)?)),
            "max_warmup" => draft.max_warmup = Some(sourced(value, value.whole(COUNT)?)),
            "latency_trials" => draft.latency_trials = Some(sourced(value, value.whole(COUNT)?)),
            "max_time" => draft.max_time = Some(duration(value)?),
            "device_clock" => {
                let text = value.text("\"off\", \"trial\" or \"steps\"")?;
                let mode = text.parse().map_err(|problem: String| PlanError::at(&value.at(), problem))?;
                draft.device_clock = Some(sourced(value, mode));
            }
            _ => return Err(entry.unknown("[trials]", &TRIALS)),
        }
    }
    Ok(draft)
}

fn fraction(node: &Node<'_>) -> Result<Sourced<f64>, PlanError> {
    let text = node.scalar().ok_or_else(|| node.wrong("a fraction such as 0.02 or \"2%\""))?;
    let fraction = scalar::fraction(&text).map_err(|problem| PlanError::at(&node.at(), problem))?;
    Ok(sourced(node, fraction))
}

fn deadlines(node: &Node<'_>, draft: &mut Draft) -> Result<(), PlanError> {
    for entry in node.entries("a table: [deadlines]")? {
        match entry.key {
            "load" => draft.load_within = Some(duration(&entry.value)?),
            "trial" => draft.trial_within = Some(duration(&entry.value)?),
            _ => draft.endurance.deadline(&entry)?,
        }
    }
    Ok(())
}

pub(super) fn duration(node: &Node<'_>) -> Result<Sourced<std::time::Duration>, PlanError> {
    let text = node.scalar().ok_or_else(|| node.wrong("a time such as \"60s\""))?;
    let time = scalar::duration(&text).map_err(|problem| PlanError::at(&node.at(), problem))?;
    Ok(sourced(node, time))
}
