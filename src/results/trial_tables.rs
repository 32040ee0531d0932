//! Takes a trial's tables as they arrive: into the point's part, and into the trial's figures.
use super::{ResultsError, TrialFigures, parts::PointParts};
use crate::{
    cell::{
        parent::TableSink,
        protocol::{Load, Method, RequestRow, StepRow, TokenRow, TrialSummary},
    },
    measure::telemetry::Samples,
    metrics::{Aggregate, service::Slo},
};

/// The sink of one timed trial. Dropped without [`TrialTables::finish`], its rows that are not written yet are
/// forgotten, and those that are belong to a trial that no table of figures names.
pub struct TrialTables<'a> {
    parts: &'a mut PointParts,
    trial: u32,
    method: Method,
    aggregate: Option<Aggregate>,
    progress: Box<dyn FnMut(u64) + 'a>,
}

impl<'a> TrialTables<'a> {
    pub(super) fn new(parts: &'a mut PointParts, trial: u32, method: Method) -> Self {
        Self { parts, trial, method, aggregate: Some(Aggregate::default()), progress: Box::new(|_| ()) }
    }

    /// Looks for a steady state where requests come one by one, and judges each request by a service level.
    #[must_use]
    pub fn judged(mut self, load: &Load, slo: Option<&Slo>) -> Self {
        let windowed = !matches!(load, Load::Offline { .. });
        self.aggregate = self.aggregate.take().map(|aggregate| aggregate.judged(windowed, slo.cloned()));
        self
    }

    /// Calls `progress` with the output tokens so far, a few times a second in step-loop trials.
    #[must_use]
    pub fn with_progress(mut self, progress: impl FnMut(u64) + 'a) -> Self {
        self.progress = Box::new(progress);
        self
    }

    /// Keeps what was sampled beside the trial.
    ///
    /// # Errors
    /// [`ResultsError::Io`] when it cannot be written.
    pub fn samples(&mut self, samples: &Samples) -> Result<(), ResultsError> {
        self.parts.gpu.push(self.trial, &samples.gpu)?;
        self.parts.host.push(self.trial, &samples.host)
    }

    /// The trial's figures.
    ///
    /// # Errors
    /// [`ResultsError::Figures`] when the records do not add up to the summary or no time has passed; the trial's
    /// records are then forgotten as those of a failed one.
    pub fn finish(mut self, summary: &TrialSummary) -> Result<TrialFigures, ResultsError> {
        let (point, trial) = (self.parts.point, self.trial);
        let figures = self.aggregate.take().unwrap_or_default().figures(self.method, summary);
        if figures.is_err() {
            self.parts.forget(trial);
        }
        figures.map_err(|source| ResultsError::Figures { point, trial, source })
    }
}

impl Drop for TrialTables<'_> {
    fn drop(&mut self) {
        if self.aggregate.is_some() {
            self.parts.forget(self.trial);
        }
    }
}

impl TableSink for TrialTables<'_> {
    fn tokens(&mut self, rows: &[TokenRow]) -> Result<(), String> {
        let Self { parts, aggregate, trial, .. } = self;
        let ((), stored) = rayon::join(
            || {
                if let Some(aggregate) = aggregate {
                    aggregate.tokens(rows);
                }
            },
            || parts.tokens.push(*trial, rows),
        );
        stored.map_err(|error| error.to_string())
    }

    fn requests(&mut self, rows: &[RequestRow]) -> Result<(), String> {
        if let Some(aggregate) = &mut self.aggregate {
            aggregate.requests(rows);
        }
        self.parts.requests.push(self.trial, rows).map_err(|error| error.to_string())
    }

    fn steps(&mut self, rows: &[StepRow]) -> Result<(), String> {
        self.parts.steps.push(self.trial, rows).map_err(|error| error.to_string())
    }

    fn progress(&mut self, output_tokens: u64) {
        (self.progress)(output_tokens);
    }
}

/// The sink of a trial whose tables nobody wants, a warm-up say: keeps nothing.
pub struct Discard<'a> {
    progress: Box<dyn FnMut(u64) + 'a>,
}

impl<'a> Discard<'a> {
    /// Passes on progress and nothing else.
    pub fn new(progress: impl FnMut(u64) + 'a) -> Self {
        Self { progress: Box::new(progress) }
    }
}

impl TableSink for Discard<'_> {
    fn tokens(&mut self, _: &[TokenRow]) -> Result<(), String> {
        Ok(())
    }

    fn requests(&mut self, _: &[RequestRow]) -> Result<(), String> {
        Ok(())
    }

    fn steps(&mut self, _: &[StepRow]) -> Result<(), String> {
        Ok(())
    }

    fn progress(&mut self, output_tokens: u64) {
        (self.progress)(output_tokens);
    }
}
