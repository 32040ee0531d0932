//! Runs the trials of a search for capacity, all in one cell: each is a point of the run.
use super::{
    Progress, RunOptions,
    bench::Bench,
    execute::{CellState, Loaded, Run},
};
use crate::{
    capacity::{By, COVERAGE, Capacity, FILE, Options, Probe, Search, knee},
    cell::protocol::Load,
    plan::{CellPlan, Plan, Point},
    results::{Outputs, PointRecord, PointStatus, ResultsError, RunDir},
};

/// Rates are looked for from this part of the highest throughput seen…
const LOWEST: f64 = 1.0 / 64.0;
/// …to this multiple of it: a trial that starts and drains is somewhat slower than a steady load.
const HIGHEST: f64 = 1.5;
/// Trials in all that may miss their schedule before the search gives up.
const MAX_INVALID: u32 = 3;

/// What a search left.
pub struct CapacityReport {
    /// What it came to, or why it came to nothing.
    pub capacity: Result<Capacity, String>,
    /// What was written.
    pub outputs: Outputs,
    /// The points' records.
    pub records: Vec<PointRecord>,
}

/// Searches for the highest load of the plan's only point that meets the plan's service level.
///
/// # Errors
/// Only when results cannot be stored.
pub fn find_capacity(
    plan: &Plan,
    search: &Options,
    dir: &mut RunDir,
    options: &RunOptions<'_>,
    progress: &mut dyn Progress,
) -> Result<CapacityReport, ResultsError> {
    let mut run = Run::new(plan, dir, Vec::new(), options, progress);
    run.progress.begin(search.max_probes);
    let cell = plan.cells().into_iter().next().map(|mut cell| {
        // The engine needs room for whatever the search may come to.
        if search.by == By::Concurrency {
            cell.load.max_seqs = most_in_flight(search, plan.points[0].workload.requests);
        }
        cell
    });
    let capacity = match &cell {
        Some(cell) => run.search(cell, search)?,
        None => Err("the plan has no point".to_owned()),
    };
    let records = run.dir.journalled(|_| true)?;
    if let Ok(capacity) = &capacity {
        run.dir.put(FILE, capacity)?;
    }
    let outputs = run.dir.finish(&records)?;
    Ok(CapacityReport { capacity, outputs, records })
}

/// More than there are requests cannot be in flight.
fn most_in_flight(search: &Options, requests: u32) -> u32 {
    search.max_concurrency.min(requests)
}

/// A search under way.
struct Searching<'a> {
    options: &'a Options,
    base: Point,
    probes: Vec<Probe>,
    invalid: u32,
}

impl Run<'_> {
    fn search(&mut self, cell: &CellPlan, options: &Options) -> Result<Result<Capacity, String>, ResultsError> {
        let model_digest = match cell.load.model.as_deref().map(|path| self.digest(path)).transpose() {
            Ok(digest) => digest,
            Err(failure) => return Ok(Err(failure.reason)),
        };
        let mut loaded = match self.start(cell, model_digest.as_deref()) {
            Ok(loaded) => loaded,
            Err(failure) => return Ok(Err(failure.reason)),
        };
        let mut searching = Searching { options, base: self.plan.points[0].clone(), probes: Vec::new(), invalid: 0 };
        let found = searching.run(self, &mut loaded, model_digest.as_deref())?;
        if let Err(error) = loaded.cell.shutdown() {
            self.progress.note(&format!("{}: its cell did not end cleanly: {error}", cell.load.engine));
        }
        Ok(found)
    }
}

impl Searching<'_> {
    fn run(
        &mut self,
        run: &mut Run<'_>,
        loaded: &mut Loaded,
        model_digest: Option<&str>,
    ) -> Result<Result<Capacity, String>, ResultsError> {
        let mut belief = match self.options.by {
            By::Concurrency => Search::counts(most_in_flight(self.options, self.base.workload.requests)),
            By::Rate => {
                let all_at_once = Load::Closed { concurrency: self.base.workload.requests };
                let highest = match self.probe(run, loaded, model_digest, all_at_once, None)? {
                    Ok(probe) => probe.request_throughput / self.requests_an_arrival(),
                    Err(reason) => return Ok(Err(reason)),
                };
                Search::rates(highest * LOWEST, highest * HIGHEST)
            }
        };
        let mut converged = false;
        while !converged && (self.probes.len() as u32) < self.options.max_probes {
            let at = belief.next();
            let load = self.load(at);
            let probe = match self.probe(run, loaded, model_digest, load, Some(at))? {
                Ok(probe) => probe,
                Err(reason) => return Ok(Err(reason)),
            };
            if !probe.valid {
                self.invalid += 1;
                if self.invalid >= MAX_INVALID {
                    return Ok(Err(format!(
                        "{MAX_INVALID} trials did not keep their schedule, the last at {at:.4} requests/s: this machine is \
                         too busy to offer the load; the columns fidelity_reasons of points.csv say how"
                    )));
                }
                continue;
            }
            if let Some(met) = probe.met_probability {
                belief.update(at, met, probe.growth);
            }
            let (_, low, high) = belief.answer(COVERAGE);
            converged = high - low <= self.options.tolerance * (high + low);
        }
        Ok(Ok(self.answer(&belief, converged, run)))
    }

    /// The turns of a conversation, on average; 1 where requests are single ones.
    fn requests_an_arrival(&self) -> f64 {
        self.base.workload.data.as_ref().and_then(|data| data.turns).unwrap_or(1.0)
    }

    fn load(&self, at: f64) -> Load {
        match (self.options.by, &self.base.load) {
            (By::Rate, Load::Open { arrivals, max_in_flight }) => {
                let mut arrivals = arrivals.clone();
                arrivals.rate = Some(at);
                Load::Open { arrivals, max_in_flight: *max_in_flight }
            }
            _ => Load::Closed { concurrency: at as u32 },
        }
    }

    fn answer(&self, belief: &Search, converged: bool, run: &Run<'_>) -> Capacity {
        let (estimate, low, high) = belief.answer(COVERAGE);
        let mut notes = Vec::new();
        match belief.at_bounds(COVERAGE) {
            (true, _) => {
                let may = if estimate > 0.0 { "it may be that " } else { "" };
                notes.push(format!(
                    "{may}not even {:.4}, the lowest load that is looked at, meets the level",
                    belief.lowest()
                ))
            }
            (_, true) => {
                notes.push(format!("the limit may lie at or above {high:.4}, the highest load that was looked at"))
            }
            _ => {}
        }
        if !converged {
            notes.push(
                "the interval is wider than asked for: more probes (--max-probes) or more requests a trial (--requests) \
                 narrow it"
                    .to_owned(),
            );
        }
        let most =
            self.probes.iter().map(|probe| probe.request_throughput).fold(0.0, f64::max) / self.requests_an_arrival();
        if self.options.by == By::Rate && estimate > most {
            notes.push(format!(
                "no trial ended more than {most:.4} a second, and the answer is above: trials of {} requests end before a queue \
                 has grown; more of them (--requests) tell",
                self.base.workload.requests
            ));
        }
        let stopped = self.probes.iter().filter(|probe| probe.saturated).count();
        if stopped > 0 {
            notes.push(format!("{stopped} trials were ended early: their queue grew without end"));
        }
        Capacity {
            by: self.options.by,
            conversations: self.base.workload.data.as_ref().is_some_and(|data| data.turns.is_some()),
            slo: run.plan.slo.as_ref().map(ToString::to_string).unwrap_or_default(),
            estimate,
            low,
            high,
            converged,
            notes,
            knee: knee(&self.probes),
            probes: self.probes.clone(),
        }
    }

    /// One trial at a load.
    fn probe(
        &mut self,
        run: &mut Run<'_>,
        loaded: &mut Loaded,
        model_digest: Option<&str>,
        load: Load,
        at: Option<f64>,
    ) -> Result<Result<Probe, String>, ResultsError> {
        let number = self.probes.len() as u32;
        let value = at.map_or_else(|| "all at once".to_owned(), |at| format!("{at:.4}"));
        let axes = vec![(self.options.by.as_str().to_owned(), value)];
        let mut point = Point { number, load, axes, ..self.base.clone() };
        if at.is_none()
            && let Some(saved) = point.workload.data.as_mut().and_then(|data| data.saved.as_mut())
        {
            // How fast the engine can go: nobody thinks.
            saved.think = None;
        }
        let ids = run.ids_of(&point.model, &loaded.engine.info);
        run.progress.point(number, self.options.max_probes, &point.label());
        let bench = Bench::new(run.plan, run.options, &run.hardware, &loaded.engine, model_digest, ids);
        let (record, state) = bench.probe(&mut loaded.cell, point, number, run.dir, run.progress)?;
        let Some(record) = record else { return Ok(Err("interrupted".to_owned())) };
        let failed = match &record.outcome {
            PointStatus::Failed(failure) => Some(failure.reason.clone()),
            PointStatus::Ok => None,
        };
        let probe = record.trials.first().map(|trial| Probe::of(number, at, trial));
        run.keep(record)?;
        let lost = matches!(state, CellState::Dead).then(|| "the cell died".to_owned());
        match (failed.or(lost), probe) {
            (None, Some(probe)) => {
                self.probes.push(probe.clone());
                Ok(Ok(probe))
            }
            (reason, _) => Ok(Err(reason.unwrap_or_else(|| "the trial left no record".to_owned()))),
        }
    }
}
