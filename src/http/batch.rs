//! Requests that are sent at once, a thread each.
use std::sync::Barrier;

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
    let barrier = Barrier::new(bodies.len() + 1);
    let ask = |body: &[u8]| {
        // Once for all threads to run, once for the clock.
        barrier.wait();
        barrier.wait();
        client.complete(body)
    };
    let ask = &ask;
    let (start_ns, answers) = std::thread::scope(|scope| {
        let threads: Vec<_> = bodies.iter().map(|(body, ..)| scope.spawn(move || ask(body))).collect();
        barrier.wait();
        let start_ns = monotonic_ns();
        barrier.wait();
        let answers: Vec<_> = threads.into_iter().map(|thread| thread.join()).collect();
        (start_ns, answers)
    });
    let url = client.completions();
    let (mut counted, mut firsts, mut end_ns) = (Vec::with_capacity(bodies.len()), Vec::new(), start_ns);
    for (request, (answer, (_, input_tokens, output_tokens))) in answers.into_iter().zip(bodies).enumerate() {
        let gone = |_| HttpError::Content { url: url.clone(), what: format!("request {request}: its thread panicked") };
        let raw = answer.map_err(gone)??;
        let asked = Asked { url: &url, request, input_tokens: *input_tokens, output_tokens: *output_tokens };
        counted.push(stream::read(&raw.bytes, asked)?);
        firsts.extend(raw.first_ns.map(|first_ns| first_ns.saturating_sub(start_ns) as f64));
        end_ns = end_ns.max(raw.done_ns);
    }
    let first_ns = (!firsts.is_empty()).then(|| crate::stats::mean(&firsts));
    Ok(Batch { start_ns, end_ns, first_ns, counted })
}
