//! Trials of the step loop: requests are handed over and the engine is polled, under an offline, a closed or an open load.
use std::{collections::hash_map::Entry, thread::Thread};

use rustc_hash::FxHashMap;

use super::DriveError;
use crate::{
    cell::{
        checks::{Ended, check_ids, hash_ids, hash_start},
        host_time::{Clock, HostTime, Span},
        open::{Feed, FidelityLimits, Releaser, Saturation, ScheduleFidelity, Watch},
        protocol::{Load, NO_SESSION, NONE, RequestRow, TokenRow},
        recorder::Recorder,
        sessions::Sessions,
    },
    engine::{Engine, EngineError, Event, EventBuf, FinishReason, RequestId, TokenId},
    measure::{TrialClock, monotonic_ns, sleep_until_ns},
    workload::{Workload, arrivals::Schedule},
};

const PROGRESS_NS: u64 = 250_000_000;
/// The longest that `poll` may block: how soon a trial notices anything else.
const POLL_NS: u64 = 100_000_000;
/// Between the moment that a schedule is set off and its begin: the releasing threads have woken by then.
const LEAD_NS: u64 = 1_000_000;

/// What the trial took, and how well an open load kept its schedule.
type Looped = (Span, Option<ScheduleFidelity>);

/// Ends the releasing threads however the trial ends.
struct StopOnDrop<'a>(&'a Releaser, &'a [Thread]);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.stop(self.1);
    }
}

/// A trial in any load.
pub(super) fn run(
    engine: &mut dyn Engine,
    workload: &Workload,
    load: &Load,
    clock: Clock<'_>,
    recorder: &mut Recorder<'_>,
) -> Result<Looped, DriveError> {
    let Load::Open { arrivals, max_in_flight } = load else {
        return StepLoop::start(engine, workload, load, recorder).run(None, clock);
    };
    let (requests, spec) = (workload.arrivals(), workload.spec());
    let schedule = Schedule::new(arrivals, requests, spec.seed, spec.stream)
        .map_err(|error| EngineError::bad_request(error.to_string()))?;
    let watch = arrivals.is_stationary().then(|| match workload.turns() {
        None => Watch::new(requests, arrivals.gap_variation()),
        Some(_) => Watch::of_turns(workload.len(), arrivals.gap_variation()),
    });
    let open = Open { schedule: &schedule, releaser: None, max_in_flight: max_in_flight.unwrap_or(u32::MAX), watch };
    if engine.info().virtual_time {
        return StepLoop::start(engine, workload, load, recorder).run(Some(open), clock);
    }
    let releaser = Releaser::new(requests as usize);
    let driver = std::thread::current();
    std::thread::scope(|scope| {
        let (releaser, schedule, driver) = (&releaser, &schedule, &driver);
        let threads = [0, 1].map(|me| scope.spawn(move || releaser.run(me, schedule, driver)).thread().clone());
        let _stop = StopOnDrop(releaser, &threads);
        let open = Open { releaser: Some((releaser, &threads)), ..open };
        StepLoop::start(engine, workload, load, recorder).run(Some(open), clock)
    })
}

/// An open load's schedule and who releases it: nobody in virtual time.
struct Open<'a> {
    schedule: &'a Schedule,
    releaser: Option<(&'a Releaser, &'a [Thread])>,
    max_in_flight: u32,
    watch: Option<Watch>,
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

impl InFlight {
    fn new(id: RequestId, wanted: u32) -> Self {
        Self { first_ns: NONE, last_ns: NONE, hash: hash_start(id), produced: 0, wanted, input: None }
    }

    /// New tokens, as a row of the table.
    fn tokens(&mut self, request: RequestId, time_ns: u64, ids: &[TokenId]) -> TokenRow {
        let gap_ns = if self.last_ns == NONE { NONE } else { time_ns.saturating_sub(self.last_ns) };
        if self.first_ns == NONE {
            self.first_ns = time_ns;
        }
        self.last_ns = time_ns;
        self.hash = hash_ids(self.hash, ids);
        let index = self.produced;
        self.produced += ids.len() as u32;
        TokenRow { time_ns, gap_ns, request: request.0, index, tokens: ids.len() as u32, padding: 0 }
    }
}

/// A trial under way.
struct StepLoop<'a, 'r> {
    engine: &'a mut dyn Engine,
    workload: &'a Workload,
    recorder: &'a mut Recorder<'r>,
    load: &'a Load,
    /// Requests in the engine at most, without an open load.
    limit: u32,
    total: u32,
    vocab_size: u32,
    feed: Option<Feed<'a>>,
    sessions: Option<Sessions>,
    prompt: Vec<TokenId>,
    live: FxHashMap<u32, InFlight>,
    submitted_ns: Vec<u64>,
    ended: Vec<bool>,
    submitted: u32,
    done: u32,
    host: HostTime,
    /// When the requests that are handed over together were due.
    wave_ns: u64,
    end_ns: u64,
}

impl<'a, 'r> StepLoop<'a, 'r> {
    /// With all that it needs already allocated.
    fn start(
        engine: &'a mut dyn Engine,
        workload: &'a Workload,
        load: &'a Load,
        recorder: &'a mut Recorder<'r>,
    ) -> Self {
        let total = workload.len();
        let limit = match load {
            Load::Offline { batch } => *batch,
            Load::Closed { concurrency } => *concurrency,
            Load::Open { .. } => total,
        }
        .clamp(1, total);
        let conversations = if matches!(load, Load::Open { .. }) { u32::MAX } else { limit };
        Self {
            vocab_size: engine.info().model.vocab_size,
            engine,
            recorder,
            load,
            limit,
            total,
            feed: None,
            sessions: workload.turns().map(|turns| Sessions::new(turns, conversations)),
            prompt: Vec::with_capacity(workload.spec().input.max().min(1 << 20) as usize),
            workload,
            live: FxHashMap::default(),
            submitted_ns: vec![0; total as usize],
            ended: vec![false; total as usize],
            submitted: 0,
            done: 0,
            host: HostTime::start(),
            wave_ns: 0,
            end_ns: 0,
        }
    }

    fn run(mut self, mut open: Option<Open<'a>>, clock: Clock<'_>) -> Result<Looped, DriveError> {
        let mut out = EventBuf::default();
        let mut clock = clock.start(self.recorder.steps.capacity());
        self.host = HostTime::start();
        let mut progress_ns = self.host.start_ns + PROGRESS_NS;
        let lead_ns = open.as_ref().and_then(|open| open.releaser).map_or(0, |_| LEAD_NS);
        let start_ns = self.engine.now_ns() + lead_ns;
        self.feed = open.as_ref().map(|open| {
            if let Some((releaser, threads)) = open.releaser {
                releaser.start(start_ns, threads);
            }
            Feed::new(open.schedule, open.releaser.map(|(releaser, _)| releaser), start_ns, open.max_in_flight)
        });
        (self.wave_ns, self.end_ns) = (start_ns, start_ns);
        let mut overload = None;
        while self.done < self.total {
            self.hand_over()?;
            overload = open.as_mut().and_then(|open| self.overload(open.watch.as_mut()?));
            if overload.is_some() {
                break;
            }
            let Some(deadline_ns) = self.poll_until() else {
                let now_ns = monotonic_ns();
                if now_ns >= progress_ns {
                    progress_ns = now_ns + PROGRESS_NS;
                    self.recorder.sink.waiting()?;
                }
                continue;
            };
            self.host.call(|| self.engine.poll(deadline_ns, &mut out))?;
            let mark = if out.steps.is_empty() { None } else { clock.mark() };
            for event in &out.events {
                self.event(event, &out.ids[event.tokens.clone()])?;
            }
            // What steps that were told of together took cannot be told apart.
            let mark = mark.filter(|_| out.steps.len() == 1);
            for step in &out.steps {
                self.recorder.step(step, mark)?;
            }
            out.clear();
            let now_ns = monotonic_ns();
            if now_ns >= progress_ns {
                progress_ns = now_ns + PROGRESS_NS;
                self.recorder.sink.progress(self.recorder.output_tokens_seen)?;
            }
        }
        self.finish(start_ns, open.as_ref(), overload, clock)
    }

    /// How many requests may be handed over now.
    fn room(&self) -> u32 {
        let in_flight = self.submitted - self.done;
        let room = match (&self.feed, self.load) {
            (Some(feed), _) if self.sessions.is_some() => feed.free(in_flight),
            (Some(feed), _) => feed.room(self.submitted, in_flight, self.engine.now_ns()),
            // The next batch is handed over when the last one is done; a closed load refills at once.
            (None, Load::Offline { .. }) if in_flight > 0 => 0,
            (None, _) => self.limit - in_flight,
        };
        room.min(self.total - self.submitted)
    }

    fn hand_over(&mut self) -> Result<(), DriveError> {
        let room = self.room();
        if room > 0 {
            // All requests handed over together were due together.
            self.wave_ns = self.engine.now_ns();
        }
        for _ in 0..room {
            let next = match &mut self.sessions {
                None => self.submitted,
                Some(sessions) => {
                    let now_ns = if self.feed.is_some() { self.engine.now_ns() } else { self.wave_ns };
                    match sessions.take(self.feed.as_ref(), now_ns) {
                        Some(next) => next,
                        None => break,
                    }
                }
            };
            let request = self.workload.request(next, &mut self.prompt);
            if self.feed.is_some() {
                self.wave_ns = self.engine.now_ns();
            }
            self.host.call(|| self.engine.submit(request))?;
            self.submitted_ns[next as usize] = self.wave_ns;
            self.submitted += 1;
        }
        Ok(())
    }

    /// Whether an open load outruns the engine.
    fn overload(&self, watch: &mut Watch) -> Option<String> {
        let (feed, now_ns) = (self.feed.as_ref()?, self.engine.now_ns());
        let arrived = match &self.sessions {
            None => feed.released(now_ns),
            // No conversation begins any more: a queue that is left has its end.
            Some(sessions) if sessions.all_begun() => return None,
            Some(sessions) => self.submitted + sessions.waiting(feed, now_ns),
        };
        watch.arrivals(arrived, self.done, now_ns)
    }

    /// Until when the engine may be polled; None when it has nothing to do and the loop itself has waited.
    fn poll_until(&mut self) -> Option<u64> {
        let in_flight = self.submitted - self.done;
        let full = self.feed.as_ref().is_some_and(|feed| feed.free(in_flight) == 0);
        let (arrival, due_ns) = match &self.sessions {
            Some(sessions) if full => (sessions.started(), NONE),
            Some(sessions) => (sessions.started(), sessions.next_due_ns()),
            None => (self.submitted, NONE),
        };
        let deadline_ns = due_ns.min(self.engine.now_ns() + POLL_NS);
        let Some(feed) = &self.feed else {
            // All conversations of a closed load think: that is neither the engine's time nor the harness's.
            if in_flight == 0 && due_ns != NONE && !self.engine.info().virtual_time {
                self.host.wait(|| sleep_until_ns(deadline_ns));
                return None;
            }
            return Some(deadline_ns);
        };
        if self.host.wait(|| feed.wait_idle(arrival, in_flight, due_ns)) {
            return None;
        }
        Some(feed.poll_until(arrival, in_flight, deadline_ns))
    }

    /// What an engine said of a request: `ids` are its new tokens.
    fn event(&mut self, event: &Event, ids: &[TokenId]) -> Result<(), DriveError> {
        let id = event.request;
        if self.submitted_ns.get(id.0 as usize).is_none_or(|ns| *ns == 0) {
            let message = format!("an event for request {}, which was never handed over", id.0);
            return Err(EngineError::mismatch(message).into());
        }
        if self.ended[id.0 as usize] {
            return Err(EngineError::mismatch(format!("an event for request {}, which has ended", id.0)).into());
        }
        check_ids(id, ids, self.vocab_size)?;
        let state = match self.live.entry(id.0) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(InFlight::new(id, self.workload.lengths(id.0).1)),
        };
        state.input = event.input_tokens.or(state.input);
        if !ids.is_empty() {
            self.recorder.token(state.tokens(id, event.time_ns, ids))?;
            if state.produced > state.wanted && event.finish.is_none() {
                // Told at once: an engine that does not stop would never let the trial end.
                return Err(EngineError::mismatch(format!(
                    "request {}: {} output tokens were asked for, the engine produced {} and did not end",
                    id.0, state.wanted, state.produced
                ))
                .into());
            }
        }
        match event.finish {
            Some(finish) => self.ended(id, event.time_ns, finish),
            None => Ok(()),
        }
    }

    /// A request has ended: checked against what was asked, and noted.
    fn ended(&mut self, id: RequestId, time_ns: u64, finish: FinishReason) -> Result<(), DriveError> {
        let Some(state) = self.live.remove(&id.0) else { return Ok(()) };
        let (input, output) = self.workload.lengths(id.0);
        Ended { id, input: state.input, output: state.produced }.check(input, output, finish)?;
        let submitted_ns = self.submitted_ns[id.0 as usize];
        let ((session, turn), scheduled_ns, released_ns) = self.came(id.0, self.feed.as_ref());
        self.recorder.request(RequestRow {
            scheduled_ns,
            released_ns,
            submitted_ns,
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
        if let Some(sessions) = &mut self.sessions {
            sessions.ended(id.0, time_ns);
        }
        self.ended[id.0 as usize] = true;
        self.done += 1;
        self.end_ns = self.end_ns.max(time_ns);
        Ok(())
    }

    /// Notes what a trial's early end cut off, and gives how many requests had arrived: what was due by then, or else handed over.
    fn cut_off(&mut self, feed: &Feed<'_>, end_ns: u64, early: bool) -> u32 {
        if !early {
            return self.submitted;
        }
        let due: Vec<u32> = match &self.sessions {
            None => (0..feed.released(end_ns).max(self.submitted)).collect(),
            Some(sessions) => sessions.due(feed, end_ns, |request| self.submitted_ns[request as usize] > 0),
        };
        for request in due.iter().copied().filter(|request| !self.ended[*request as usize]) {
            let row = self.cut_row(request, feed);
            self.recorder.cut(row);
        }
        due.len() as u32
    }

    /// The row of a request that did not end.
    fn cut_row(&self, request: u32, feed: &Feed<'_>) -> RequestRow {
        let ((session, turn), scheduled_ns, released_ns) = self.came(request, Some(feed));
        let state = self.live.get(&request);
        RequestRow {
            scheduled_ns,
            released_ns,
            submitted_ns: Some(self.submitted_ns[request as usize]).filter(|ns| *ns > 0).unwrap_or(NONE),
            first_ns: state.map_or(NONE, |state| state.first_ns),
            last_ns: NONE,
            output_hash: state.map_or(0, |state| state.hash),
            request,
            input_tokens: state.and_then(|state| state.input).unwrap_or(0),
            output_tokens: state.map_or(0, |state| state.produced),
            finish: FinishReason::Cancelled as u32,
            session,
            turn,
        }
    }

    /// A request's conversation and turn, when it was due and when it was released.
    fn came(&self, request: u32, feed: Option<&Feed<'_>>) -> ((u32, u32), u64, u64) {
        let place = self.sessions.as_ref().map_or((NO_SESSION, NO_SESSION), |sessions| sessions.place(request));
        let scheduled_ns = match (&self.sessions, feed) {
            (Some(sessions), Some(feed)) if place.1 == 0 => feed.scheduled_ns(place.0),
            (Some(sessions), _) => sessions.due_ns(request),
            (None, Some(feed)) => feed.scheduled_ns(request),
            (None, None) => self.submitted_ns[request as usize],
        };
        let released_ns = match (feed, place.1) {
            (Some(feed), NO_SESSION) => feed.released_ns(request),
            (Some(feed), 0) => feed.released_ns(place.0),
            _ => NONE,
        };
        (place, scheduled_ns, released_ns)
    }

    /// The trial is over: its times, and what became of an open load's schedule.
    fn finish(
        mut self,
        start_ns: u64,
        open: Option<&Open<'_>>,
        overload: Option<String>,
        clock: TrialClock<'_>,
    ) -> Result<Looped, DriveError> {
        let end_ns = self.end_ns.max(self.engine.now_ns());
        let host = std::mem::replace(&mut self.host, HostTime::start());
        let (span, marks_ns) = host.end(start_ns, end_ns, clock);
        self.recorder.settle_marks(&marks_ns);
        let Some((open, feed)) = open.zip(self.feed.take()) else { return Ok((span, None)) };
        let arrived = self.cut_off(&feed, end_ns, overload.is_some());
        let times: Vec<(u64, u64)> = match &self.sessions {
            None => {
                let taken = self.submitted_ns.iter().take(self.submitted as usize);
                (0..).zip(taken).map(|(request, taken)| (feed.released_ns(request), *taken)).collect()
            }
            // The schedule is that of the first turns.
            Some(sessions) => sessions
                .firsts()
                .map(|(session, request)| (feed.released_ns(session), self.submitted_ns[request as usize]))
                .collect(),
        };
        let mut fidelity = ScheduleFidelity::judge(open.schedule, start_ns, &times, FidelityLimits::default());
        fidelity.releases_first = open.releaser.map(|(releaser, _)| releaser.goes_first());
        fidelity.queue_growth = open.watch.as_ref().and_then(Watch::growth);
        fidelity.growth = open.watch.as_ref().and_then(|watch| watch.growth_rates(open.schedule.offsets_ns()));
        fidelity.takeovers = open.releaser.map(|(releaser, _)| releaser.takeovers());
        if let Some(reason) = overload {
            // What was cut off must not run on into the next trial.
            self.engine.reset()?;
            fidelity.saturation = Some(Saturation {
                stopped_ns: end_ns - start_ns,
                arrived,
                unfinished: arrived - self.done,
                not_released: self.total - arrived,
                reason,
            });
        }
        Ok((span, Some(fidelity)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cell::{
            drive::{Nowhere, run_trial},
            protocol::{Method, TrialKind, TrialSpec},
        },
        engine::{
            IdRange, Sampling,
            testing::{Changed, sim},
        },
        workload::{LengthDist, WorkloadSpec},
    };

    #[test]
    fn an_answer_that_comes_twice_does_not_stand_for_one_that_never_came() {
        // Says all of request 0 again where request 1 is to be answered.
        let mut first: Vec<(Event, Vec<TokenId>)> = Vec::new();
        let stutter = move |said: &EventBuf, out: &mut EventBuf| {
            for event in &said.events {
                let ids = said.ids[event.tokens.clone()].to_vec();
                let told = match event.request.0 {
                    1 => std::mem::take(&mut first),
                    _ => {
                        first.push((event.clone(), ids.clone()));
                        vec![(event.clone(), ids)]
                    }
                };
                for (event, ids) in told {
                    out.push(event.request, event.time_ns, &ids, event.input_tokens, event.finish);
                }
            }
        };
        let mut engine = Changed { sim: sim(), poll: Some(Box::new(stutter)), text: None };
        let spec = TrialSpec {
            trial: 0,
            kind: TrialKind::Timed,
            method: Method::Steps,
            load: Load::Closed { concurrency: 1 },
            device_clock: Default::default(),
            workload: WorkloadSpec {
                requests: 2,
                input: LengthDist::Fixed(8),
                output: LengthDist::Fixed(3),
                sampling: Sampling::default(),
                seed: 1,
                stream: 1,
                ids: vec![IdRange { start: 10, end: 1000 }],
                saved: None,
            },
        };
        let error = run_trial(&mut engine, &spec, &mut Nowhere).unwrap_err().to_string();
        assert!(error.contains("request 0, which has ended"), "{error}");
    }
}
