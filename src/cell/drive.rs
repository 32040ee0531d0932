//! Drives an engine through one trial: hands over the requests, takes the times, checks the counts.
//!
//! Between the two stamps of a `generate` trial nothing is done but calling the engine. Between those of a step-loop trial
//! each request is made just before it is handed over, and what the engine answered is checked and noted; that time is
//! measured and stored as `harness_ns`; waiting for the next arrival of an open load, with nothing running, is no part of it. The
//! device's clock is read outside both stamps; between steps it only gets a mark.
//! Records are kept in memory and handed to the sink after the second stamp; only a trial with more records than [`KEEP_TOKENS`]
//! passes some on while it runs, and says so in its summary.
use std::{collections::hash_map::Entry, thread::Thread};

use rustc_hash::FxHashMap;

pub use super::recorder::KEEP_TOKENS;
use super::{
    checks::{Ended, check_ids, hash_ids, hash_start},
    evidence::{Asked, Evidence},
    host_time::{Clock, HostTime, Span},
    open::{Feed, FidelityLimits, Releaser, Saturation, ScheduleFidelity, Watch},
    protocol::{Load, Method, NO_SESSION, NONE, RequestRow, StepRow, TokenRow, TrialSpec, TrialSummary},
    recorder::Recorder,
    sessions::{SessionFigures, Sessions},
};
use crate::{
    engine::{Broken, Engine, EngineError, EventBuf, FinishReason, Stats, ids_digest},
    measure::{DeviceClockSource, monotonic_ns},
    workload::{Workload, arrivals::Schedule},
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
}

const PROGRESS_NS: u64 = 250_000_000;
/// The longest that `poll` may block: how soon a trial notices anything else.
const POLL_NS: u64 = 100_000_000;
/// Between the moment that a schedule is set off and its begin: the releasing thread has woken by then.
const LEAD_NS: u64 = 1_000_000;

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
            (generate(engine, &workload, *batch, clock, &mut recorder)?, None)
        }
        (Method::Steps, load @ Load::Open { .. }) => open_loop(engine, &workload, load, clock, &mut recorder)?,
        (Method::Steps, load) => step_loop(engine, &workload, load, None, clock, &mut recorder)?,
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

fn generate(
    engine: &mut dyn Engine,
    workload: &Workload,
    batch: u32,
    clock: Clock<'_>,
    recorder: &mut Recorder<'_>,
) -> Result<Span, DriveError> {
    let batch = batch.clamp(1, workload.len());
    let batches: Vec<_> = (0..workload.len())
        .step_by(batch as usize)
        .map(|start| workload.batch(start..start.saturating_add(batch).min(workload.len())))
        .collect();
    let mut answers = Vec::with_capacity(batches.len());
    let mut called_ns = Vec::with_capacity(batches.len());
    let clock = clock.start(0);
    let mut host = HostTime::start();
    let start_ns = engine.now_ns();
    for batch in &batches {
        called_ns.push(engine.now_ns());
        answers.push(host.call(|| engine.generate(batch))?);
    }
    let end_ns = engine.now_ns();
    let (span, _) = host.end(start_ns, end_ns, clock);
    let vocab_size = engine.info().model.vocab_size;
    for ((batch, answer), called_ns) in batches.iter().zip(&answers).zip(called_ns) {
        if batch.len() != answer.rows.len() {
            let message = format!("generate was given {} requests and answered {}", batch.len(), answer.rows.len());
            return Err(EngineError::broken(Broken::OutputCounts, message).into());
        }
        for (request, row) in batch.iter().zip(&answer.rows) {
            let ids = &answer.ids[row.tokens.clone()];
            if row.request != request.id {
                return Err(EngineError::mismatch(format!(
                    "generate answered request {} where request {} stood",
                    row.request.0, request.id.0
                ))
                .into());
            }
            let ended = Ended { id: request.id, input: Some(row.input_tokens), output: ids.len() as u32 };
            ended.check(request.prompt.len() as u32, request.output_tokens, row.finish)?;
            check_ids(request.id, ids, vocab_size)?;
            recorder.request(RequestRow {
                scheduled_ns: called_ns,
                released_ns: NONE,
                submitted_ns: called_ns,
                first_ns: NONE,
                last_ns: NONE,
                output_hash: hash_ids(hash_start(request.id), ids),
                request: request.id.0,
                input_tokens: row.input_tokens,
                output_tokens: ids.len() as u32,
                finish: row.finish as u32,
                session: NO_SESSION,
                turn: NO_SESSION,
            })?;
        }
    }
    Ok(span)
}

/// A request from its first token on.
struct InFlight {
    first_ns: u64,
    last_ns: u64,
    hash: u64,
    produced: u32,
    /// How many it was asked for.
    wanted: u32,
    input: Option<u32>,
}

/// An open load's schedule and who releases it: nobody in virtual time.
struct Open<'a> {
    schedule: &'a Schedule,
    releaser: Option<(&'a Releaser, &'a Thread)>,
    max_in_flight: u32,
    watch: Option<Watch>,
}

/// Ends the releasing thread however the trial ends.
struct StopOnDrop<'a>(&'a Releaser, &'a Thread);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.stop(self.1);
    }
}

type Looped = (Span, Option<ScheduleFidelity>);

fn open_loop(
    engine: &mut dyn Engine,
    workload: &Workload,
    load: &Load,
    clock: Clock<'_>,
    recorder: &mut Recorder<'_>,
) -> Result<Looped, DriveError> {
    let Load::Open { arrivals, max_in_flight } = load else {
        return Err(EngineError::unsupported("an open loop was asked for without arrivals").into());
    };
    let (requests, spec) = (workload.arrivals(), workload.spec());
    let schedule = Schedule::new(arrivals, requests, spec.seed, spec.stream)
        .map_err(|error| EngineError::bad_request(error.to_string()))?;
    let max_in_flight = max_in_flight.unwrap_or(u32::MAX);
    // Conversations under way grow in number until the first ones end: that is no overload.
    let watched = arrivals.is_stationary() && workload.turns().is_none();
    let watch = watched.then(|| Watch::new(requests, arrivals.gap_variation()));
    let open = Open { schedule: &schedule, releaser: None, max_in_flight, watch };
    if engine.info().virtual_time {
        return step_loop(engine, workload, load, Some(open), clock, recorder);
    }
    let releaser = Releaser::new(requests as usize);
    let driver = std::thread::current();
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| releaser.run(&schedule, &driver)).thread().clone();
        let _stop = StopOnDrop(&releaser, &thread);
        let open = Open { releaser: Some((&releaser, &thread)), ..open };
        step_loop(engine, workload, load, Some(open), clock, recorder)
    })
}

fn step_loop(
    engine: &mut dyn Engine,
    workload: &Workload,
    load: &Load,
    mut open: Option<Open<'_>>,
    clock: Clock<'_>,
    recorder: &mut Recorder<'_>,
) -> Result<Looped, DriveError> {
    let vocab_size = engine.info().model.vocab_size;
    let total = workload.len();
    let limit = match load {
        Load::Offline { batch } => *batch,
        Load::Closed { concurrency } => *concurrency,
        Load::Open { .. } => total,
    }
    .clamp(1, total);
    let mut prompt = Vec::with_capacity(workload.spec().input.max().min(1 << 20) as usize);
    let mut out = EventBuf::default();
    let mut live: FxHashMap<u32, InFlight> = FxHashMap::default();
    let mut submitted_ns = vec![0_u64; total as usize];
    let mut ended = vec![false; total as usize];
    let mut sessions = workload.turns().map(|turns| {
        let most = if open.is_some() { u32::MAX } else { limit };
        Sessions::new(turns, most)
    });
    let (mut submitted, mut done) = (0_u32, 0_u32);
    let mut saturated = None;

    let mut clock = clock.start(recorder.steps.capacity());
    let mut host = HostTime::start();
    let mut progress_ns = host.start_ns + PROGRESS_NS;
    let lead_ns = open.as_ref().and_then(|open| open.releaser).map_or(0, |_| LEAD_NS);
    let start_ns = engine.now_ns() + lead_ns;
    let feed = open.as_ref().map(|open| {
        if let Some((releaser, thread)) = open.releaser {
            releaser.start(start_ns, thread);
        }
        Feed::new(open.schedule, open.releaser.map(|(releaser, _)| releaser), start_ns, open.max_in_flight)
    });
    let mut end_ns = start_ns;
    let mut wave_ns = start_ns;
    while done < total {
        // Offline hands over the next batch when the last one is done; closed refills at once.
        let in_flight = submitted - done;
        let room = match (load, &feed) {
            (_, Some(feed)) if sessions.is_some() => feed.free(in_flight),
            (_, Some(feed)) => feed.room(submitted, in_flight, engine.now_ns()),
            (Load::Offline { .. }, _) if submitted > done => 0,
            _ => limit - in_flight,
        };
        if room > 0 && submitted < total {
            // All requests handed over together were due together.
            wave_ns = engine.now_ns();
        }
        for _ in 0..room.min(total - submitted) {
            let next = match &mut sessions {
                None => submitted,
                Some(sessions) => {
                    let now_ns = if feed.is_some() { engine.now_ns() } else { wave_ns };
                    match sessions.take(feed.as_ref(), now_ns) {
                        Some(next) => next,
                        None => break,
                    }
                }
            };
            let request = workload.request(next, &mut prompt);
            if feed.is_some() {
                wave_ns = engine.now_ns();
            }
            host.call(|| engine.submit(request))?;
            submitted_ns[next as usize] = wave_ns;
            submitted += 1;
        }
        let in_flight = submitted - done;
        let full = feed.as_ref().is_some_and(|feed| feed.free(in_flight) == 0);
        let (arrival, due_ns) = match &sessions {
            Some(sessions) if full => (sessions.started(), NONE),
            Some(sessions) => (sessions.started(), sessions.next_due_ns()),
            None => (submitted, NONE),
        };
        let mut deadline_ns = due_ns.min(engine.now_ns() + POLL_NS);
        if let Some(feed) = &feed {
            if let Some(watch) = open.as_mut().and_then(|open| open.watch.as_mut()) {
                saturated = watch.arrivals(feed.released(engine.now_ns()), done);
                if saturated.is_some() {
                    break;
                }
            }
            if host.wait(|| feed.wait_idle(arrival, in_flight, due_ns)) {
                continue;
            }
            deadline_ns = feed.poll_until(arrival, in_flight, deadline_ns);
        }
        host.call(|| engine.poll(deadline_ns, &mut out))?;
        let mark = if out.steps.is_empty() { None } else { clock.mark() };
        for event in &out.events {
            let ids = &out.ids[event.tokens.clone()];
            let id = event.request;
            if submitted_ns.get(id.0 as usize).is_none_or(|ns| *ns == 0) {
                return Err(EngineError::mismatch(format!(
                    "an event for request {}, which was never handed over",
                    id.0
                ))
                .into());
            }
            check_ids(id, ids, vocab_size)?;
            let state = match live.entry(id.0) {
                Entry::Occupied(entry) => entry.into_mut(),
                Entry::Vacant(entry) => entry.insert(InFlight {
                    first_ns: NONE,
                    last_ns: NONE,
                    hash: hash_start(id),
                    produced: 0,
                    wanted: workload.lengths(id.0).1,
                    input: None,
                }),
            };
            state.input = event.input_tokens.or(state.input);
            if !ids.is_empty() {
                let gap_ns = if state.last_ns == NONE { NONE } else { event.time_ns.saturating_sub(state.last_ns) };
                if state.first_ns == NONE {
                    state.first_ns = event.time_ns;
                }
                state.last_ns = event.time_ns;
                state.hash = hash_ids(state.hash, ids);
                recorder.token(TokenRow {
                    time_ns: event.time_ns,
                    gap_ns,
                    request: id.0,
                    index: state.produced,
                    tokens: ids.len() as u32,
                    padding: 0,
                })?;
                state.produced += ids.len() as u32;
                if state.produced > state.wanted && event.finish.is_none() {
                    // Told at once: an engine that does not stop would never let the trial end.
                    return Err(EngineError::mismatch(format!(
                        "request {}: {} output tokens were asked for, the engine produced {} and did not end",
                        id.0, state.wanted, state.produced
                    ))
                    .into());
                }
            }
            if let Some(finish) = event.finish {
                let (input, output) = workload.lengths(id.0);
                Ended { id, input: state.input, output: state.produced }.check(input, output, finish)?;
                let (session, turn) =
                    sessions.as_ref().map_or((NO_SESSION, NO_SESSION), |sessions| sessions.place(id.0));
                let scheduled_ns = match (&sessions, &feed) {
                    (Some(sessions), _) => sessions.due_ns(id.0),
                    (None, Some(feed)) => feed.scheduled_ns(id.0),
                    (None, None) => submitted_ns[id.0 as usize],
                };
                let released_ns = match (&feed, turn) {
                    (Some(feed), NO_SESSION) => feed.released_ns(id.0),
                    (Some(feed), 0) => feed.released_ns(session),
                    _ => NONE,
                };
                recorder.request(RequestRow {
                    scheduled_ns,
                    released_ns,
                    submitted_ns: submitted_ns[id.0 as usize],
                    first_ns: state.first_ns,
                    last_ns: state.last_ns,
                    output_hash: state.hash,
                    request: id.0,
                    input_tokens: input,
                    output_tokens: output,
                    finish: finish as u32,
                    session,
                    turn,
                })?;
                if let Some(sessions) = &mut sessions {
                    sessions.ended(id.0, event.time_ns);
                }
                live.remove(&id.0);
                ended[id.0 as usize] = true;
                done += 1;
                end_ns = end_ns.max(event.time_ns);
            }
        }
        // What steps that were told of together took cannot be told apart.
        let mark = mark.filter(|_| out.steps.len() == 1);
        for step in &out.steps {
            recorder.step(step, mark)?;
        }
        out.clear();
        let now_ns = monotonic_ns();
        if now_ns >= progress_ns {
            progress_ns = now_ns + PROGRESS_NS;
            recorder.sink.progress(recorder.output_tokens_seen)?;
        }
    }
    let end_ns = end_ns.max(engine.now_ns());
    let (span, marks_ns) = host.end(start_ns, end_ns, clock);
    recorder.settle_marks(&marks_ns);
    let Some((open, feed)) = open.zip(feed) else { return Ok((span, None)) };
    let arrived = if saturated.is_some() { feed.released(end_ns).max(submitted) } else { submitted };
    for request in (0..arrived).filter(|request| !ended[*request as usize]) {
        recorder.cut(cut_row(
            request,
            &feed,
            &live,
            submitted_ns.get(request as usize).filter(|_| request < submitted),
        ));
    }
    let times: Vec<(u64, u64)> = match &sessions {
        None => (0..submitted).zip(&submitted_ns).map(|(request, taken)| (feed.released_ns(request), *taken)).collect(),
        // The schedule is that of the first turns.
        Some(sessions) => sessions
            .firsts()
            .map(|(session, request)| (feed.released_ns(session), submitted_ns[request as usize]))
            .collect(),
    };
    let mut fidelity = ScheduleFidelity::judge(open.schedule, start_ns, &times, FidelityLimits::default());
    if let Some(reason) = saturated {
        // What was cut off must not run on into the next trial.
        engine.reset()?;
        fidelity.saturation = Some(Saturation {
            stopped_ns: end_ns - start_ns,
            arrived,
            unfinished: arrived - done,
            not_released: total - arrived,
            reason,
        });
    }
    Ok((span, Some(fidelity)))
}

/// The row of a request that a trial's early end cut off.
fn cut_row(request: u32, feed: &Feed<'_>, live: &FxHashMap<u32, InFlight>, submitted_ns: Option<&u64>) -> RequestRow {
    let state = live.get(&request);
    RequestRow {
        scheduled_ns: feed.scheduled_ns(request),
        released_ns: feed.released_ns(request),
        submitted_ns: submitted_ns.copied().unwrap_or(NONE),
        first_ns: state.map_or(NONE, |state| state.first_ns),
        last_ns: NONE,
        output_hash: state.map_or(0, |state| state.hash),
        request,
        input_tokens: state.and_then(|state| state.input).unwrap_or(0),
        output_tokens: state.map_or(0, |state| state.produced),
        finish: FinishReason::Cancelled as u32,
        session: NO_SESSION,
        turn: NO_SESSION,
    }
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
