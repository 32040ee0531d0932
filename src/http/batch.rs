//! Requests that are sent at once, a thread each.
use std::{
    io,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    thread,
};

use super::{
    Client, Counted, HttpError,
    stream::{self, Asked},
};
use crate::measure::monotonic_ns;

/// Requests that were all in flight together.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// Before the first was sent, in nanoseconds of CLOCK_MONOTONIC.
    pub start_ns: u64,
    /// After the last stream had ended.
    pub end_ns: u64,
    /// The mean time from the start to a request's first event, in nanoseconds.
    pub first_ns: Option<f64>,
    /// What each came to, in the bodies' order.
    pub counted: Vec<Counted>,
}

/// One request: its body, and how many tokens go in and come out.
pub type Body = (Vec<u8>, u64, u64);

/// Sends all bodies at once and waits for the last stream's end. Bodies are made before the clock starts and streams are parsed
/// after it has stopped.
///
/// # Errors
/// That of the first request, in their order, that has one.
pub fn run_batch(client: &Client, bodies: &[Body]) -> Result<Batch, HttpError> {
    let gate = Gate::default();
    let ask = |(body, _, output_tokens): &Body| gate.pass().then(|| client.complete(body, longest(*output_tokens)));
    let ask = &ask;
    let (start_ns, answers) = thread::scope(|scope| {
        let mut threads = Vec::with_capacity(bodies.len());
        for body in bodies {
            match thread::Builder::new().spawn_scoped(scope, move || ask(body)) {
                Ok(thread) => threads.push(thread),
                Err(error) => {
                    gate.open(false);
                    return Err(error);
                }
            }
        }
        gate.wait_for(bodies.len());
        let start_ns = monotonic_ns();
        gate.open(true);
        let answers: Vec<_> = threads.into_iter().map(|thread| thread.join()).collect();
        Ok((start_ns, answers))
    })
    .map_err(|error: io::Error| HttpError::Content {
        url: client.completions(),
        what: format!("{} requests at once need a thread each, and one could not be started: {error}", bodies.len()),
    })?;
    let url = client.completions();
    let (mut counted, mut firsts, mut end_ns) = (Vec::with_capacity(bodies.len()), Vec::new(), start_ns);
    for (request, (answer, (_, input_tokens, output_tokens))) in answers.into_iter().zip(bodies).enumerate() {
        let gone = || HttpError::Content { url: url.clone(), what: format!("request {request}: its thread was lost") };
        let raw = answer.ok().flatten().ok_or_else(gone)??;
        let asked = Asked { url: &url, request, input_tokens: *input_tokens, output_tokens: *output_tokens };
        counted.push(stream::read(&raw.bytes, asked)?);
        firsts.extend(raw.first_ns.map(|first_ns| first_ns.saturating_sub(start_ns) as f64));
        end_ns = end_ns.max(raw.done_ns);
    }
    let first_ns = (!firsts.is_empty()).then(|| crate::stats::mean(&firsts));
    Ok(Batch { start_ns, end_ns, first_ns, counted })
}

/// The longest stream that a request may come to, in bytes: room for its events and then some.
fn longest(output_tokens: u64) -> usize {
    usize::try_from(output_tokens).unwrap_or(usize::MAX).saturating_mul(4 << 10).saturating_add(64 << 10)
}

/// Where threads wait until all of them run.
#[derive(Default)]
struct Gate {
    state: Mutex<GateState>,
    changed: Condvar,
}

#[derive(Default)]
struct GateState {
    waiting: usize,
    /// Whether those who wait may pass, once that is known.
    open: Option<bool>,
}

impl Gate {
    /// Waits for the gate and says whether it opened.
    fn pass(&self) -> bool {
        let mut state = self.state();
        state.waiting += 1;
        self.changed.notify_all();
        let state = self.changed.wait_while(state, |state| state.open.is_none());
        state.unwrap_or_else(PoisonError::into_inner).open == Some(true)
    }

    fn wait_for(&self, threads: usize) {
        let state = self.changed.wait_while(self.state(), |state| state.waiting < threads);
        drop(state.unwrap_or_else(PoisonError::into_inner));
    }

    fn open(&self, pass: bool) {
        self.state().open = Some(pass);
        self.changed.notify_all();
    }

    fn state(&self) -> MutexGuard<'_, GateState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gate_that_stays_shut_lets_nobody_hang() {
        let gate = Gate::default();
        thread::scope(|scope| {
            let threads: Vec<_> = (0..3).map(|_| scope.spawn(|| gate.pass())).collect();
            gate.wait_for(3);
            gate.open(false);
            assert!(threads.into_iter().all(|thread| !thread.join().unwrap()));
        });
        assert_eq!((longest(0), longest(1)), (64 << 10, 68 << 10));
    }
}
