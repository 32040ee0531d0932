//! The steady part of a closed or open trial, and the figures of that part alone.
//!
//! It begins where MSER-5 cuts off the start-up of the requests' end-to-end latencies in order of arrival (White 1997; the
//! cut that makes the standard error of what is left the smallest, over means of 5 requests), and ends when the last request
//! arrives: from then on the load only drains. A cut in the second half means that no steady state was reached.
use serde::{Deserialize, Serialize};

use super::Distribution;
use crate::{
    cell::protocol::{NONE, RequestRow},
    results::Quantiles,
};

/// Requests in a mean.
const BATCH: usize = 5;
/// The fewest requests in which a steady state is looked for.
const ENOUGH: usize = 50;

/// A request's times, on the engine's clock in nanoseconds; [`NONE`] for what did not happen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Life {
    /// When it was due.
    pub scheduled_ns: u64,
    /// When its first token became visible.
    pub first_ns: u64,
    /// When its last token became visible; [`NONE`] when it was cut off.
    pub last_ns: u64,
    /// Tokens produced.
    pub output_tokens: u32,
}

impl Life {
    /// Of a row.
    pub(super) fn of(row: &RequestRow) -> Self {
        let RequestRow { scheduled_ns, first_ns, last_ns, output_tokens, .. } = *row;
        Self { scheduled_ns, first_ns, last_ns, output_tokens }
    }

    /// Whether it ended by itself.
    pub fn ended(&self) -> bool {
        self.last_ns != NONE
    }

    /// Time to first token.
    pub fn ttft_ns(&self) -> Option<u64> {
        (self.first_ns != NONE).then(|| self.first_ns.saturating_sub(self.scheduled_ns))
    }

    /// End-to-end latency.
    pub fn e2e_ns(&self) -> Option<u64> {
        self.ended().then(|| self.last_ns.saturating_sub(self.scheduled_ns))
    }

    /// Time per output token, to the nearest nanosecond, of a request with at least two.
    pub fn tpot_ns(&self) -> Option<u64> {
        let gaps = u64::from(self.output_tokens.checked_sub(1).filter(|gaps| *gaps > 0)?);
        (self.ended() && self.first_ns != NONE).then(|| (self.last_ns.saturating_sub(self.first_ns) + gaps / 2) / gaps)
    }
}

/// The figures of a trial's steady part.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WindowFigures {
    /// When it begins, in seconds after the trial's first request was due.
    pub start_s: f64,
    /// When it ends.
    pub end_s: f64,
    /// Requests that were due in it: latencies are of these.
    pub requests: u64,
    /// Requests that ended in it, a second.
    pub request_throughput: f64,
    /// Output tokens of the requests that ended in it, a second.
    pub output_token_throughput: f64,
    /// As in the whole trial.
    pub ttft: Option<Quantiles>,
    /// As in the whole trial.
    pub tpot: Option<Quantiles>,
    /// As in the whole trial.
    pub e2e: Option<Quantiles>,
}

/// The steady part's figures, or why there are none.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SteadyFigures {
    /// The steady part.
    pub window: Option<WindowFigures>,
    /// Why there is none.
    pub null_reason: Option<String>,
}

impl SteadyFigures {
    /// Looks for the steady part of a trial; `lives` must be in order of their scheduled times.
    pub fn of(lives: &[Life]) -> Self {
        let none = |reason: &str| Self { window: None, null_reason: Some(reason.to_owned()) };
        if lives.len() < ENOUGH {
            return none(&format!(
                "a steady state is looked for in at least {ENOUGH} requests, the trial has {}",
                lives.len()
            ));
        }
        let e2e: Option<Vec<f64>> = lives.iter().map(|life| life.e2e_ns().map(|ns| ns as f64)).collect();
        let Some(e2e) = e2e else { return none("requests were cut off: the queue grew without end") };
        let Some(first) = cut(&e2e) else { return none("latencies still changed in the second half of the trial") };
        match window(lives, first) {
            Some(window) => Self { window: Some(window), null_reason: None },
            None => none("all requests arrived together"),
        }
    }
}

/// MSER-5: how many values to cut off; None when the best cut lies in the second half.
fn cut(values: &[f64]) -> Option<usize> {
    let means: Vec<f64> = values.chunks_exact(BATCH).map(|batch| batch.iter().sum::<f64>() / BATCH as f64).collect();
    // Sums from the end, so that each cut costs one addition; around the mean, so that squares keep their digits.
    let centre = means.iter().sum::<f64>() / means.len() as f64;
    let (mut sum, mut squares, mut best, mut least) = (0.0, 0.0, 0, f64::INFINITY);
    for (index, mean) in means.iter().enumerate().rev() {
        let (left, value) = ((means.len() - index) as f64, mean - centre);
        sum += value;
        squares += value * value;
        // The last few are too few to have a variance.
        if left >= 5.0 {
            let error = (squares - sum * sum / left).max(0.0) / (left * left);
            if error <= least {
                (best, least) = (index, error);
            }
        }
    }
    (best <= means.len() / 2).then_some(best * BATCH)
}

fn window(lives: &[Life], first: usize) -> Option<WindowFigures> {
    let begin_ns = lives.first()?.scheduled_ns;
    let (start_ns, end_ns) = (lives.get(first)?.scheduled_ns, lives.last()?.scheduled_ns);
    let seconds = end_ns.saturating_sub(start_ns) as f64 / 1e9;
    if seconds <= 0.0 {
        return None;
    }
    let ended = lives.iter().filter(|life| (start_ns..=end_ns).contains(&life.last_ns));
    let (requests, tokens) = ended.fold((0.0, 0.0), |(n, t), life| (n + 1.0, t + f64::from(life.output_tokens)));
    let inside = &lives[first..];
    let quantiles = |of: fn(&Life) -> Option<u64>| {
        let mut all = Distribution::default();
        inside.iter().filter_map(of).for_each(|ns| all.record(ns));
        all.quantiles()
    };
    Some(WindowFigures {
        start_s: start_ns.saturating_sub(begin_ns) as f64 / 1e9,
        end_s: end_ns.saturating_sub(begin_ns) as f64 / 1e9,
        requests: inside.len() as u64,
        request_throughput: requests / seconds,
        output_token_throughput: tokens / seconds,
        ttft: quantiles(Life::ttft_ns),
        tpot: quantiles(Life::tpot_ns),
        e2e: quantiles(Life::e2e_ns),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    /// Requests 10 ms apart; latency in milliseconds by their number.
    fn lives(n: u64, e2e_ms: impl Fn(u64) -> u64) -> Vec<Life> {
        let life = |i| {
            let scheduled_ns = i * 10 * MS;
            let last_ns = scheduled_ns + e2e_ms(i) * MS;
            Life { scheduled_ns, first_ns: scheduled_ns + MS, last_ns, output_tokens: 4 }
        };
        (0..n).map(life).collect()
    }

    #[test]
    fn the_start_up_is_cut_off() {
        // 100 requests whose latency falls from 300 ms to 100, then 300 that wander a little around 100.
        let found = SteadyFigures::of(&lives(400, |i| if i < 100 { 300 - 2 * i } else { 98 + i * 7 % 5 }));
        let window = found.window.unwrap();
        assert!((0.85..=1.05).contains(&window.start_s), "{}", window.start_s);
        assert_eq!(window.end_s, 3.99);
        assert!((window.request_throughput - 100.0).abs() < 4.0, "{}", window.request_throughput);
        assert!((window.output_token_throughput / window.request_throughput - 4.0).abs() < 1e-9);
        assert!(window.e2e.unwrap().max < 130.0);
    }

    #[test]
    fn a_steady_trial_keeps_nearly_all_of_itself() {
        let window = SteadyFigures::of(&lives(400, |i| 98 + i * 7 % 5)).window.unwrap();
        assert!(window.start_s < 1.0, "{}", window.start_s);
    }

    #[test]
    fn what_never_settles_has_no_window() {
        let growing = SteadyFigures::of(&lives(400, |i| 10 + i * i));
        assert!(growing.null_reason.unwrap().contains("second half"));
        let few = SteadyFigures::of(&lives(30, |_| 10));
        assert!(few.null_reason.unwrap().contains("at least 50"));
        let mut cut = lives(100, |_| 10);
        cut[99].last_ns = NONE;
        assert!(SteadyFigures::of(&cut).null_reason.unwrap().contains("cut off"));
    }
}
