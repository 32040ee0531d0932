//! Looks for where memory ends, when the plan asks (`bisect_oom`): between the largest point that ran and the smallest that
//! ran out of memory, until they are neighbours. Each point that this adds has a cell to itself, loaded for its own size.
use std::collections::{BTreeMap, BTreeSet};

use super::execute::{CellState, Loaded, Run, engine_label};
use crate::{
    engine::LoadConfig,
    measure::monotonic_ns,
    plan::{CellPlan, Point},
    results::{Failure, Outcome, PointRecord, PointStatus, ResultsError},
};

impl Run<'_> {
    /// Bisects the series of one engine configuration, whose planned points have run.
    pub(super) fn bisect(&mut self, configuration: &CellPlan) -> Result<(), ResultsError> {
        let Some(axis) = self.plan.endurance.bisect_oom.clone() else { return Ok(()) };
        let planned: Vec<Point> =
            configuration.points.iter().map(|number| self.plan.points[*number as usize].clone()).collect();
        let series: BTreeSet<String> = planned.iter().map(|point| point.series(&axis)).collect();
        // Those of the configuration alone: whatever is added below is of these series.
        let outcomes = self.dir.outcomes()?.iter();
        let mut own: BTreeMap<u32, Outcome> = outcomes
            .filter(|(_, outcome)| series.contains(&outcome.point.series(&axis)))
            .map(|(number, outcome)| (*number, outcome.clone()))
            .collect();
        // Points that an interrupted run has added stay in the tables.
        for added in own.keys().filter(|number| **number as usize >= self.plan.points.len()) {
            if let Some(record) = self.finished.remove(added) {
                self.note(record);
            }
        }
        let mut tried = BTreeSet::new();
        loop {
            let next = series.iter().find_map(|series| next(&axis, series, &planned, &own, &tried));
            let Some((value, mut point)) = next.filter(|_| !self.interrupted()) else { return Ok(()) };
            let last = self.dir.outcomes()?.last_key_value().map_or(0, |(number, _)| number + 1);
            let known = own.values().find(|outcome| {
                outcome.point.series(&axis) == point.series(&axis) && outcome.point.on(&axis) == Some(value)
            });
            point.number = known.map_or(last.max(self.plan.points.len() as u32), |outcome| outcome.point.number);
            let number = point.number;
            tried.insert((point.series(&axis), value));
            self.by_itself(configuration, point)?;
            if let Some(outcome) = self.dir.outcomes()?.get(&number) {
                own.insert(number, outcome.clone());
            }
        }
    }

    /// Runs a point in a cell of its own, whose engine is loaded for this point's size.
    fn by_itself(&mut self, configuration: &CellPlan, point: Point) -> Result<(), ResultsError> {
        let digest = configuration.load.model.as_deref().map(|path| self.digest(path)).transpose();
        let digest = match digest {
            Ok(digest) => digest,
            Err(failure) => return self.failed(point, failure, None),
        };
        let load =
            LoadConfig { max_seqs: point.most_at_once(), max_model_len: point.longest(), ..configuration.load.clone() };
        let known = self.dir.info().engines.contains_key(&engine_label(&load, digest.as_deref()));
        let cell = CellPlan { load, points: vec![point.number] };
        // `run.json` tells of the configuration as the plan's own points had it, if it could be loaded for them.
        let started = if known { self.launch(&cell, &[]) } else { self.start(&cell, digest.as_deref()) };
        let mut running: Loaded = match started {
            Ok(running) => running,
            Err(failure) => return self.failed(point, failure, digest),
        };
        match self.point(&mut running, point, digest.as_deref())? {
            CellState::Alive => {
                if let Err(error) = running.cell.shutdown() {
                    self.progress.note(&format!("{}: its cell did not end cleanly: {error}", cell.load.engine));
                }
            }
            CellState::Dead => {
                self.died_ns = Some(running.cell.ended_ns().unwrap_or_else(monotonic_ns));
                running.cell.kill();
            }
        }
        Ok(())
    }

    fn failed(&mut self, point: Point, failure: Failure, model_digest: Option<String>) -> Result<(), ResultsError> {
        let record = PointRecord { model_digest, ..PointRecord::empty(point, PointStatus::Failed(failure)) };
        self.keep(record)
    }
}

/// The next point of a series to run, with its value; None when its frontier is known, or cannot be.
fn next(
    axis: &str,
    series: &str,
    planned: &[Point],
    outcomes: &BTreeMap<u32, Outcome>,
    tried: &BTreeSet<(String, u32)>,
) -> Option<(u32, Point)> {
    let planned: Vec<&Point> = planned.iter().filter(|point| point.series(axis) == series).collect();
    let found: Vec<(u32, &Outcome)> = outcomes
        .values()
        .filter(|outcome| outcome.point.series(axis) == series)
        .filter_map(|outcome| Some((outcome.point.on(axis)?, outcome)))
        .collect();
    let new = |value: u32| !tried.contains(&(series.to_owned(), value));
    // A load that runs out of memory was for the configuration's largest point, and says nothing of the others.
    let at_load = |(value, outcome): &&(u32, &Outcome)| {
        outcome.out_of_memory
            && !outcome.loaded
            && new(*value)
            && planned.iter().any(|point| point.number == outcome.point.number)
    };
    if let Some((value, outcome)) = found.iter().filter(at_load).min_by_key(|(value, _)| *value) {
        return Some((*value, outcome.point.clone()));
    }
    let failed = found.iter().filter(|(_, outcome)| outcome.out_of_memory).map(|(value, _)| *value).min()?;
    let ran = found.iter().filter(|(value, outcome)| *value < failed && outcome.ran);
    let ran = ran.map(|(value, _)| *value).max().unwrap_or(0);
    let middle = ran + (failed - ran) / 2;
    // One that was tried and is neither, has failed in a way that says nothing of memory.
    (failed - ran > 1 && new(middle)).then(|| (middle, planned[0].moved(0, axis, middle, &planned)))
}
