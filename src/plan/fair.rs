//! The fairness modes of a plan, applied while it is resolved: its best options, or equal limits for all its engines.
use super::{
    PlanError, Point,
    draft::{Parameter, Setting},
    origin::Origin,
    registry::Registry,
};
use crate::fairness::{self, Equal, FairnessMode, LockMapping};

/// The plan's settings with the options that it holds for best over them, in mode `best`; without those otherwise.
///
/// # Errors
/// In mode `best`, when an engine of several has none: its figures would stand as its best.
pub(super) fn with_best(
    settings: Vec<Setting>,
    best: &[Setting],
    mode: FairnessMode,
    at: &Origin,
    engines: &[String],
    notes: &mut Vec<String>,
) -> Result<Vec<Setting>, PlanError> {
    if mode != FairnessMode::Best {
        if let Some(first) = best.first() {
            notes.push(format!("best options ({}) are not used: fairness is {}", first.at, mode.as_str()));
        }
        return Ok(settings);
    }
    let of =
        |id: &String, setting: &Setting| matches!(&setting.parameter, Parameter::Option { engine, .. } if engine == id);
    if let Some(id) = engines.iter().find(|id| !best.iter().any(|setting| of(id, setting))) {
        return Err(PlanError::at(
            at,
            format!("fairness is best, and the plan holds no best options for engine '{id}'"),
        )
        .help(format!("add them: [[engine]] with id = \"{id}\" and best = {{ … }}")));
    }
    let mut all: Vec<Setting> = settings
        .into_iter()
        .filter(|setting| !best.iter().any(|better| better.parameter == setting.parameter))
        .collect();
    all.extend(best.iter().cloned());
    Ok(all)
}

/// Sets equal limits for every engine of the points, from what the points need.
///
/// # Errors
/// When the plan sets one of the options itself to something else.
pub(super) fn set_equal(
    points: &mut [Point],
    registry: &Registry,
    settings: &[Setting],
    notes: &mut Vec<String>,
) -> Result<Option<Equal>, PlanError> {
    let mut ids: Vec<String> = points.iter().map(|point| point.engine.id.clone()).collect();
    ids.dedup();
    let empty = LockMapping::default();
    let mapping = |id: &str| registry.get(id).map_or(&empty, |entry| &entry.lock);
    let mappings: Vec<&LockMapping> = ids.iter().map(|id| mapping(id)).collect();
    let seqs = points.iter().map(|point| point.most_at_once()).max();
    let longest = points.iter().map(Point::longest).max();
    let (Some(seqs), Some(longest)) = (seqs, longest) else { return Ok(None) };
    let limits = Equal::new(u64::from(seqs), u64::from(longest), &mappings);
    for (id, mapping) in ids.iter().zip(mappings) {
        for point in points.iter_mut().filter(|point| point.engine.id == *id) {
            let missing = fairness::equal(&limits, mapping, &mut point.engine.options).map_err(|error| {
                let set = Parameter::Option { engine: id.clone(), name: error.option.clone() };
                let at = settings.iter().find(|setting| setting.parameter == set).map(|setting| &setting.at);
                let problem = format!(
                    "fairness = equal needs {} = {}, and the plan sets it to {}",
                    set.name(),
                    error.expected,
                    error.found
                );
                at.map_or_else(|| PlanError::general(problem.clone()), |at| PlanError::at(at, problem.clone()))
                    .help("leave the option out, or choose fairness = \"defaults\"")
            })?;
            let note = |field| {
                format!("fairness = equal: engine '{id}' has no option for {field}; what it does is in tacho.lock.json")
            };
            for field in missing {
                let note = note(field);
                if !notes.contains(&note) {
                    notes.push(note);
                }
            }
        }
    }
    Ok(Some(limits))
}
