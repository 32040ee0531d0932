//! The launches of a cell in which its points are traced.
use std::collections::BTreeMap;

use super::{
    bench::Bench,
    execute::{Loaded, Run, failure_with_log},
    traced::{self, Found, Launch, Stopped},
};
use crate::{
    measure::trace::Tracing,
    plan::{CellPlan, TraceMode, registry},
    results::{PointRecord, PointStatus, ResultsError, TraceRecord},
    roofline::{Busy, gap_split},
};

/// What the timed trials' time beyond the limit went to, as the typical traced trial shows it.
fn split_gaps(record: &mut PointRecord, trace: &TraceRecord) {
    let Some(figures) = trace.typical().map(|trial| &trial.figures) else { return };
    let (Some(any), Some(kernels)) = (figures.busy_fraction(), figures.kernel_fraction()) else { return };
    for trial in &mut record.trials {
        let roofline = &mut trial.hardware.roofline;
        roofline.gap = gap_split(roofline.share, Some(Busy { any, kernels }));
    }
}

impl Run<'_> {
    /// Traces the points that were measured, where the plan asks for it. What goes wrong costs the trace and no figure.
    pub(super) fn trace(&mut self, plan: &CellPlan, model_digest: Option<&str>) -> Result<(), ResultsError> {
        let mode = self.plan.trace;
        let measured = |number: &u32| {
            let record = self.records.get(number);
            record.is_some_and(|record| matches!(record.outcome, PointStatus::Ok) && record.trace.is_none())
        };
        let points: Vec<u32> = plan.points.iter().copied().filter(measured).collect();
        if mode == TraceMode::Off || points.is_empty() || self.interrupted() {
            return Ok(());
        }
        let mut found: BTreeMap<u32, Found> = points.iter().map(|number| (*number, Found::default())).collect();
        let stopped = self.trace_launches(plan, model_digest, &mut found).err();
        if self.interrupted() {
            // As untraced: a resumed run traces them.
            return Ok(());
        }
        for (number, found) in found {
            let Some(mut record) = self.records.get(&number).cloned() else { continue };
            if !found.steps.is_empty()
                && let Err(error) = self.dir.traced_steps(number, &found.steps)
            {
                self.progress.note(&error.to_string());
            }
            let mut trace = found.record(mode);
            if let Some(reason) = &stopped {
                trace = TraceRecord { null_reason: Some(reason.clone()), ..trace };
            }
            self.progress.note(&traced::line(&record.point, &trace));
            split_gaps(&mut record, &trace);
            record.trace = Some(trace);
            record.notes.append(&mut self.notes);
            self.dir.amend(record.clone())?;
            self.records.insert(number, record);
        }
        Ok(())
    }

    /// Runs the launches; an error is the reason, for a person, why there are no more.
    fn trace_launches(
        &mut self,
        plan: &CellPlan,
        model_digest: Option<&str>,
        found: &mut BTreeMap<u32, Found>,
    ) -> Result<(), String> {
        let collector = registry::collector()?;
        let first = found.keys().next().copied().unwrap_or_default();
        for (number, traced) in (0..).zip(traced::launches(self.plan.trace)) {
            let traces = self.dir.traces();
            let tracing = traced.then(|| traced::raw_folder(&traces, first, number)).transpose();
            let tracing = tracing.map_err(|error| format!("no folder for traces in {}: {error}", traces.display()))?;
            let environment = tracing.as_ref().map(|tracing| tracing.environment(&collector)).unwrap_or_default();
            let mut running = self.launch(plan, &environment).map_err(|failure| failure.reason)?;
            if running.engine.info.virtual_time {
                return Err("a simulated clock's times cannot be found in a trace: use time=real".to_owned());
            }
            let raw = tracing.as_ref().map(|tracing| tracing.folder().to_owned());
            self.trace_points(&mut running, number, tracing, model_digest, found)?;
            if let Err(error) = running.cell.shutdown() {
                self.progress.note(&format!("{}: its cell did not end cleanly: {error}", plan.load.engine));
            }
            if let Some(raw) = raw
                && let Err(error) = std::fs::remove_dir_all(&raw)
            {
                self.progress.note(&format!("{} cannot be removed: {error}", raw.display()));
            }
        }
        Ok(())
    }

    fn trace_points(
        &mut self,
        running: &mut Loaded,
        number: u32,
        tracing: Option<Tracing>,
        model_digest: Option<&str>,
        found: &mut BTreeMap<u32, Found>,
    ) -> Result<(), String> {
        let Loaded { cell, engine, .. } = running;
        let what = if tracing.is_some() { "traced" } else { "untraced" };
        let mut tracing = tracing;
        for (&point, found) in found {
            if self.interrupted() {
                return Err("interrupted".to_owned());
            }
            let point = self.plan.points[point as usize].clone();
            let ids = self.ids_of(&point.model, &engine.info);
            let bench = Bench::new(self.plan, self.options, &self.hardware, engine, model_digest, ids);
            self.progress.trial(&format!("{} {what}, launch {}", point.label(), number + 1), 0);
            let mut launch = Launch { bench: &bench, number, tracing: tracing.take(), folder: self.dir.traces() };
            launch.point(cell, &point, found).map_err(|stopped| match stopped {
                Stopped::Cell(error) => failure_with_log(error, cell).reason,
                Stopped::Trace(reason) => reason,
            })?;
            tracing = launch.tracing.take();
        }
        Ok(())
    }
}
