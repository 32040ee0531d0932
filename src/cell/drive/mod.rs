//! Drives an engine through one trial: hands over the requests, takes the times, checks the counts.
//!
//! Between the two stamps of a `generate` trial nothing is done but calling the engine. Between those of a step-loop trial
//! each request is made just before it is handed over, and what the engine answered is checked and noted; that time is
//! measured and stored as `harness_ns`; waiting for the next arrival of an open load, with nothing running, is no part of it. The
//! device's clock is read outside both stamps; between steps it only gets a mark.
//! Records are kept in memory and handed to the sink after the second stamp; only a trial with more records than [`KEEP_TOKENS`]
//! passes some on while it runs, and says so in its summary.
mod generate;
mod steps;

pub use super::recorder::KEEP_TOKENS;
use super::{
    evidence::{Asked, Evidence},
    host_time::Clock,
    protocol::{Load, Method, RequestRow, StepRow, TokenRow, TrialSpec, TrialSummary},
    recorder::Recorder,
    sessions::SessionFigures,
};
use crate::{
    engine::{Broken, Engine, EngineError, Stats, ids_digest},
    measure::DeviceClockSource,
    workload::Workload,
};

/// Where a trial's records go.
pub trait RecordSink {
    /// Part of the tokens table.
    ///
    /// # Errors
    /// When the record cannot be passed on.
    fn tokens(&mut self, rows: &[TokenRow]) -> std::io::Result<()>;
    /// Part of the requests table.
    ///
    /// # Errors
    /// When the record cannot be passed on.
    fn requests(&mut self, rows: &[RequestRow]) -> std::io::Result<()>;
    /// Part of the steps table.
    ///
    /// # Errors
    /// When the record cannot be passed on.
    fn steps(&mut self, rows: &[StepRow]) -> std::io::Result<()>;
    /// Output tokens so far; called a few times a second.
    ///
    /// # Errors
    /// When the record cannot be passed on.
    fn progress(&mut self, output_tokens: u64) -> std::io::Result<()>;
    /// The engine has nothing to do and the next request is not due yet; called a few times a second.
    ///
    /// # Errors
    /// When the record cannot be passed on.
    fn waiting(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// For records that nobody wants.
#[cfg(any(test, feature = "harness"))]
pub(crate) struct Nowhere;

#[cfg(any(test, feature = "harness"))]
impl RecordSink for Nowhere {
    fn tokens(&mut self, _: &[TokenRow]) -> std::io::Result<()> {
        Ok(())
    }

    fn requests(&mut self, _: &[RequestRow]) -> std::io::Result<()> {
        Ok(())
    }

    fn steps(&mut self, _: &[StepRow]) -> std::io::Result<()> {
        Ok(())
    }

    fn progress(&mut self, _: u64) -> std::io::Result<()> {
        Ok(())
    }
}

/// Why a trial gave no summary.
#[derive(Debug, thiserror::Error)]
pub enum DriveError {
    /// The engine or its answers.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The records could not be passed on.
    #[error("records could not be passed on: {0}")]
    Sink(#[from] std::io::Error),
}

/// Runs one trial by the host's clock alone: [`run_clocked_trial`] without a device.
///
/// # Errors
/// As [`run_clocked_trial`].
pub fn run_trial(
    engine: &mut dyn Engine,
    spec: &TrialSpec,
    sink: &mut dyn RecordSink,
) -> Result<TrialSummary, DriveError> {
    let mut none = Err("this program reads no device clock".to_owned());
    run_clocked_trial(engine, &mut none, spec, sink)
}

/// Runs one trial. The engine is reset first.
///
/// # Errors
/// [`DriveError::Engine`] with kind `Mismatch` when the engine consumed or produced other counts than were asked,
/// naming both; otherwise what the engine or the sink failed with. A device clock that fails costs only its own figure.
pub fn run_clocked_trial(
    engine: &mut dyn Engine,
    clock: &mut DeviceClockSource,
    spec: &TrialSpec,
    sink: &mut dyn RecordSink,
) -> Result<TrialSummary, DriveError> {
    let workload = Workload::new(spec.workload.clone()).map_err(|error| EngineError::bad_request(error.to_string()))?;
    let workload_digest = workload.digest();
    engine.reset()?;
    let stats_before = engine.stats();
    let sessions = SessionFigures::of(&workload);
    let mut recorder = Recorder::new(sink, &workload);
    let clock = Clock { source: clock, mode: spec.device_clock };
    let (span, schedule) = match (spec.method, &spec.load) {
        (_, Load::Offline { .. }) if sessions.is_some() => {
            let message =
                "the turns of a conversation follow one another: expected a closed or an open load, found all at once";
            return Err(EngineError::unsupported(message).into());
        }
        (Method::Generate, Load::Offline { batch }) => {
            (generate::run(engine, &workload, *batch, clock, &mut recorder)?, None)
        }
        (Method::Steps, load) => steps::run(engine, &workload, load, clock, &mut recorder)?,
        (Method::Generate, Load::Closed { .. } | Load::Open { .. }) => {
            let message =
                "a closed loop or an open load needs submit and poll: the generate call takes all its requests at once";
            return Err(EngineError::unsupported(message).into());
        }
    };
    let stats = difference(&stats_before, engine.stats());
    let consumed_digest = engine.consumed_digest();
    let flushes_in_trial = recorder.flushes;
    recorder.flush()?;
    let (expect_in, expect_out) = workload.totals();
    let counted = (recorder.requests_done, recorder.input_tokens, recorder.output_tokens);
    let cut = schedule.as_ref().is_some_and(|schedule| schedule.saturation.is_some());
    if !cut && counted != (workload.len(), expect_in, expect_out) {
        let message = format!(
            "the trial asked for {} requests, {expect_in} tokens in and {expect_out} out; the engine did {}, {} and {}",
            workload.len(),
            counted.0,
            counted.1,
            counted.2,
        );
        return Err(EngineError::broken(Broken::OutputCounts, message).into());
    }
    Ok(TrialSummary {
        start_ns: span.start_ns,
        end_ns: span.end_ns,
        virtual_time: engine.info().virtual_time,
        requests: recorder.requests_done,
        input_tokens: recorder.input_tokens,
        output_tokens: recorder.output_tokens,
        workload_digest,
        output_digest: recorder.output_digest,
        harness_ns: span.harness_ns,
        busy_ns: Some(span.busy_ns),
        cpu_ns: span.cpu_ns,
        engine_calls: span.engine_calls,
        flushes_in_trial,
        device: span.device,
        stats,
        evidence: Evidence {
            asked: Some(Asked { requests: workload.len(), input_tokens: expect_in, output_tokens: expect_out }),
            given_digest: consumed_digest.map(|_| given_digest(&workload)),
            consumed_digest,
            suspended_ns: None,
        },
        schedule,
        sessions,
    })
}

/// What [`Engine::consumed_digest`] should say after this workload.
fn given_digest(workload: &Workload) -> u64 {
    let mut prompt = Vec::new();
    (0..workload.len()).fold(0, |sum: u64, index| {
        let request = workload.request(index, &mut prompt);
        sum.wrapping_add(ids_digest(request.id, request.prompt.iter().copied()))
    })
}

fn difference(before: &Stats, after: Stats) -> Stats {
    after
        .into_iter()
        .map(|(name, value)| {
            let base = before.get(&name).copied().unwrap_or(0.0);
            (name, value - base)
        })
        .collect()
}
