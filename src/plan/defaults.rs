//! What a workload is where nobody says.
use super::{
    PlanError,
    draft::{Parameter, SamplingDraft, Setting},
    origin::{Origin, Sourced},
    told::Told,
};
use crate::{
    engine::Sampling,
    workload::{LengthDist, dataset::DatasetSpec},
};

const DEFAULT_INPUT: LengthDist = LengthDist::Fixed(128);
const DEFAULT_OUTPUT: LengthDist = LengthDist::Fixed(64);
pub(super) const DEFAULT_REQUESTS: u32 = 16;
/// An open load's requests by default: enough for a 99th percentile to be one of them.
pub(super) const DEFAULT_OPEN_REQUESTS: u32 = 256;
/// A closed loop's requests by default, as a multiple of its concurrency.
pub(super) const DEFAULT_ROUNDS: u32 = 4;

/// Prompt and output lengths where nobody says them.
pub(super) fn default_lengths(dataset: Option<&DatasetSpec>) -> (LengthDist, LengthDist) {
    match dataset {
        None => (DEFAULT_INPUT, DEFAULT_OUTPUT),
        Some(dataset) if dataset.kind.has_outputs() => (LengthDist::Data(None), LengthDist::Data(None)),
        Some(_) => (LengthDist::Data(None), DEFAULT_OUTPUT),
    }
}

/// How tokens are chosen: the draft's, else greedily.
pub(super) fn sampling(draft: SamplingDraft, plan_seed: u64, told: &mut Told) -> Result<Sampling, PlanError> {
    if let Some(bad) = draft.temperature.as_ref().filter(|t| !(t.value.is_finite() && t.value >= 0.0)) {
        let problem = format!("expected a temperature of at least 0, found {}", bad.value);
        return Err(PlanError::at(&bad.at, problem).help("0 is greedy"));
    }
    if let Some(bad) = draft.top_p.as_ref().filter(|p| !(p.value > 0.0 && p.value <= 1.0)) {
        let problem = format!("expected top_p above 0 and at most 1, found {}", bad.value);
        return Err(PlanError::at(&bad.at, problem).help("1 keeps all tokens"));
    }
    let base = Sampling::default();
    let seed_default = Origin::Default("default: the plan's seed");
    Ok(Sampling {
        temperature: told.tell("sampling.temperature", draft.temperature, base.temperature, f32::to_string),
        top_p: told.tell("sampling.top_p", draft.top_p, base.top_p, f32::to_string),
        top_k: told.tell("sampling.top_k", draft.top_k, base.top_k, u32::to_string),
        seed: told.tell_or("sampling.seed", draft.seed, Sourced::new(plan_seed, seed_default), u64::to_string),
    })
}

/// The workload values that follow from what was said, in words where they differ from point to point.
pub(super) fn workload_defaults(told: &mut Told, settings: &[Setting], arrivals: bool, dataset: Option<&DatasetSpec>) {
    let has = |parameter: Parameter| settings.iter().any(|setting| setting.parameter == parameter);
    let mut default = |name: &str, value: &str, how| told.push(name, value.to_owned(), &Origin::Default(how));
    let closed = has(Parameter::Concurrency);
    let open = arrivals || has(Parameter::Rate);
    match (has(Parameter::Requests), has(Parameter::Batch)) {
        (true, _) if open => {}
        (false, _) if open => default("requests", &DEFAULT_OPEN_REQUESTS.to_string(), "default"),
        (true, true) => {}
        (true, false) if closed => {}
        (true, false) => default("batch", "requests", "default: all requests in one call"),
        (false, true) => default("requests", "batch", "default: one call"),
        (false, false) if closed => default("requests", "4 x concurrency", "default"),
        (false, false) => default("requests", &DEFAULT_REQUESTS.to_string(), "default: all in one call"),
    }
    if !has(Parameter::Length) {
        let (input, output) = default_lengths(dataset);
        for (parameter, length) in [(Parameter::Input, input), (Parameter::Output, output)] {
            let name = parameter.name();
            if !has(parameter) {
                let how = if length.is_data() { "default: the dataset's own" } else { "default" };
                default(&name, &length.to_string(), how);
            }
        }
    }
}
