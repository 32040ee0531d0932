//! Before a run: the plan's datasets become saved workloads, once for each model.
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{
    cell::protocol::Load,
    model::FetchNews,
    plan::{Plan, Point},
    workload::{
        DataLengths, LengthDist,
        dataset::{Ask, DatasetError, DatasetSpec, Kind, make},
        saved::{Order, Saved, SavedRef, Span},
    },
};

/// Makes the requests of every point with a dataset, into `folder`, and puts them and their lengths into the plan. The notes say
/// what was left out. `patience` is how long to wait for the hub's next byte.
///
/// # Errors
/// [`DatasetError`] at the first dataset that gives none.
pub fn prepare(
    plan: &mut Plan,
    folder: &Path,
    patience: Duration,
    news: &mut dyn FnMut(FetchNews),
) -> Result<Vec<String>, DatasetError> {
    let mut notes = Vec::new();
    let mut sources: Vec<(Option<PathBuf>, DatasetSpec)> = Vec::new();
    for point in &plan.points {
        if let Some(source) = source(point).filter(|source| !sources.contains(source)) {
            sources.push(source);
        }
    }
    for wanted in sources {
        let points = || plan.points.iter().filter(|point| source(point).as_ref() == Some(&wanted));
        let (model, spec) = &wanted;
        let most = points().map(|point| point.workload.requests).max();
        let own = points().any(|point| point.workload.output.is_data());
        let longest = points().map(|point| point.workload.output).filter(|output| !output.is_data());
        let longest = longest.map(|output| output.max()).max();
        let ask = Ask {
            spec,
            model: model.as_deref(),
            seed: points().next().map_or(0, |point| point.workload.seed),
            // Trials that draw anew draw from all that there is.
            requests: most.filter(|_| spec.order != Order::Sample || !spec.kind.has_outputs()),
            output: longest.filter(|_| !own),
            patience,
        };
        let made = make(ask, news)?;
        check(spec, &made.saved, most.unwrap_or(0), own)?;
        notes.extend(made.notes);
        if made.saved.has_turns()
            && let Some(point) = points().find(|point| matches!(point.load, Load::Offline { .. }))
        {
            let why = format!(
                "{spec}: the turns of a conversation follow one another, but '{}' hands all requests over at once: give \
                 --concurrency or --rate",
                point.label()
            );
            return Err(DatasetError::Input(why));
        }
        let reference = SavedRef {
            path: keep(spec, &made.saved, folder)?,
            digest: made.saved.header().digest.clone(),
            order: spec.order,
            think: spec.think.filter(|_| made.saved.has_turns()),
        };
        for point in plan.points.iter_mut().filter(|point| source(point).as_ref() == Some(&wanted)) {
            put(point, &made.saved, &reference);
        }
    }
    Ok(notes)
}

fn source(point: &Point) -> Option<(Option<PathBuf>, DatasetSpec)> {
    let data = point.workload.data.as_ref()?;
    Some((point.model.clone(), data.spec.clone()))
}

/// A file of the user's own may have fewer requests than the plan asks for, or no output lengths.
fn check(spec: &DatasetSpec, saved: &Saved, most: u32, own_outputs: bool) -> Result<(), DatasetError> {
    if most > saved.units() {
        let what = if saved.has_turns() { "conversations" } else { "requests" };
        let why = format!("{spec}: {most} {what} are asked for, it has {}: ask for fewer by --requests", saved.units());
        return Err(DatasetError::Input(why));
    }
    if spec.think.is_some() && !saved.has_turns() {
        let why = format!("{spec}: a time to think is between turns, and its requests are single ones: leave it out");
        return Err(DatasetError::Input(why));
    }
    let without = saved.len() as usize - saved.outputs().count();
    if own_outputs && without > 0 {
        let why = format!("{spec}: {without} of its requests have no output length: give one for all by --output N");
        return Err(DatasetError::Input(why));
    }
    Ok(())
}

/// Where the requests are: the user's own file, else one named by its content.
fn keep(spec: &DatasetSpec, saved: &Saved, folder: &Path) -> Result<PathBuf, DatasetError> {
    let storage = |path: &Path, error: &dyn std::fmt::Display| {
        DatasetError::Storage(format!("{}: cannot be written: {error}", path.display()))
    };
    if let (Kind::Saved, Some(path)) = (spec.kind, &spec.path) {
        // A resumed run may be started elsewhere.
        return std::path::absolute(path).map_err(|error| storage(Path::new(path), &error));
    }
    std::fs::create_dir_all(folder).map_err(|error| storage(folder, &error))?;
    let folder = std::path::absolute(folder).map_err(|error| storage(folder, &error))?;
    let path = folder.join(format!("{}.tacho-workload", saved.header().digest));
    saved.write(&path).map_err(|error| DatasetError::Storage(error.to_string()))?;
    Ok(path)
}

fn put(point: &mut Point, saved: &Saved, reference: &SavedRef) {
    let lengths = |span: Option<Span>| LengthDist::Data(span.map(|Span { lo, hi, mean }| DataLengths { lo, hi, mean }));
    let workload = &mut point.workload;
    let Some(data) = &mut workload.data else { return };
    data.saved = Some(reference.clone());
    data.max_id = saved.max_id();
    data.turns = saved.has_turns().then(|| f64::from(saved.len()) / f64::from(saved.units()));
    workload.input = lengths(Span::of(saved.inputs()));
    if workload.output.is_data() {
        workload.output = lengths(Span::of(saved.outputs()));
        data.longest = saved.inputs().zip(saved.outputs()).map(|(input, output)| input + output).max().unwrap_or(0);
    }
}
