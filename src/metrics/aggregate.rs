//! A trial's figures from its records, as they stream by.
use super::{
    distribution::Distribution,
    service::Slo,
    steady::{Life, SteadyFigures},
    turns::ByTurn,
};
use crate::{
    cell::protocol::{Method, NONE, RequestRow, TokenRow, TrialSummary},
    engine::FinishReason,
    results::TrialFigures,
};

/// Why a trial's records give no figures.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum FiguresError {
    /// The clock did not move.
    #[error(
        "the trial began and ended at the same nanosecond of the engine's clock, so no throughput follows from it: expected \
         work that takes time (for `sim`, costs above 0)"
    )]
    NoTime,
    /// Records are missing or too many.
    #[error("the trial's summary counts {said} {what}, its records {found}: records were lost or doubled on the way")]
    Mismatch {
        /// Requests or output tokens.
        what: &'static str,
        /// In the summary.
        said: u64,
        /// In the records.
        found: u64,
    },
}

/// Takes a trial's records and gives its figures.
#[derive(Default)]
pub struct Aggregate {
    requests: u64,
    output_tokens: u64,
    step_tokens: u64,
    itl: Distribution,
    ttft: Distribution,
    tpot: Distribution,
    e2e: Distribution,
    scratch: Vec<u64>,
    windowed: bool,
    slo: Option<Slo>,
    lives: Vec<Life>,
    turns: ByTurn,
    /// Output tokens of requests that were cut off.
    cut_tokens: u64,
}

impl Aggregate {
    /// Also looks for a steady state, if `windowed`, and judges requests by a service level.
    #[must_use]
    pub fn judged(self, windowed: bool, slo: Option<Slo>) -> Self {
        Self { windowed, slo, ..self }
    }

    /// Adds part of the tokens table.
    pub fn tokens(&mut self, rows: &[TokenRow]) {
        self.scratch.clear();
        for row in rows {
            self.step_tokens += u64::from(row.tokens);
            // A request's first token has no gap; tokens that became visible with another have one of 0.
            if row.gap_ns != NONE {
                self.scratch.push(row.gap_ns);
            }
            self.scratch.extend((1..row.tokens).map(|_| 0));
        }
        self.itl.record_all(&self.scratch);
    }

    /// Adds part of the requests table.
    pub fn requests(&mut self, rows: &[RequestRow]) {
        for row in rows {
            if self.windowed || self.slo.is_some() {
                self.lives.push(Life::of(row));
            }
            if row.finish == FinishReason::Cancelled as u32 {
                self.cut_tokens += u64::from(row.output_tokens);
                continue;
            }
            self.requests += 1;
            self.turns.add(row);
            self.output_tokens += u64::from(row.output_tokens);
            if row.scheduled_ns == NONE || row.first_ns == NONE || row.last_ns == NONE {
                continue;
            }
            self.ttft.record(row.first_ns.saturating_sub(row.scheduled_ns));
            self.e2e.record(row.last_ns.saturating_sub(row.scheduled_ns));
            if row.output_tokens > 1 {
                let gaps = u64::from(row.output_tokens - 1);
                // To the nearest nanosecond.
                self.tpot.record((row.last_ns.saturating_sub(row.first_ns) + gaps / 2) / gaps);
            }
        }
    }

    /// The figures.
    ///
    /// # Errors
    /// [`FiguresError`] when the records do not add up to the summary, or no time has passed.
    pub fn figures(mut self, method: Method, summary: &TrialSummary) -> Result<TrialFigures, FiguresError> {
        check("requests", u64::from(summary.requests), self.requests)?;
        check("output tokens of requests", summary.output_tokens, self.output_tokens)?;
        if method == Method::Steps {
            check("output tokens of steps", summary.output_tokens + self.cut_tokens, self.step_tokens)?;
        }
        let seconds = summary.seconds();
        if seconds <= 0.0 {
            return Err(FiguresError::NoTime);
        }
        let (input, output) = (summary.input_tokens as f64, summary.output_tokens as f64);
        let steps = method == Method::Steps;
        let latency = |distribution: &mut Distribution| if steps { distribution.quantiles() } else { None };
        let (ttft, itl) = (latency(&mut self.ttft), latency(&mut self.itl));
        let (tpot, e2e) = (latency(&mut self.tpot), latency(&mut self.e2e));
        let latency_null_reason = if !steps {
            Some("the engine's generate call tells no times of single requests".to_owned())
        } else if ttft.is_none() || e2e.is_none() {
            Some("no request had a first and a last token with a time".to_owned())
        } else if itl.is_none() || tpot.is_none() {
            Some("itl and tpot need a request with at least 2 output tokens; there was none".to_owned())
        } else {
            None
        };
        self.lives.sort_by_key(|life| life.scheduled_ns);
        let service = self.slo.filter(|_| steps).and_then(|slo| slo.judge(&self.lives, seconds));
        let steady = if self.windowed { SteadyFigures::of(&self.lives) } else { SteadyFigures::default() };
        Ok(TrialFigures {
            request_throughput: f64::from(summary.requests) / seconds,
            input_token_throughput: input / seconds,
            output_token_throughput: output / seconds,
            total_token_throughput: (input + output) / seconds,
            ttft,
            itl,
            tpot,
            e2e,
            latency_null_reason,
            service,
            steady,
            turns: self.turns.figures(),
        })
    }
}

fn check(what: &'static str, said: u64, found: u64) -> Result<(), FiguresError> {
    if said == found { Ok(()) } else { Err(FiguresError::Mismatch { what, said, found }) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cell::protocol::NO_SESSION;

    const MS: u64 = 1_000_000;

    fn token(request: u32, time_ms: u64, gap_ms: Option<u64>, index: u32, tokens: u32) -> TokenRow {
        TokenRow {
            time_ns: time_ms * MS,
            gap_ns: gap_ms.map_or(NONE, |ms| ms * MS),
            request,
            index,
            tokens,
            padding: 0,
        }
    }

    fn request(request: u32, times_ms: Option<(u64, u64, u64)>, output_tokens: u32) -> RequestRow {
        let (scheduled, first, last) = times_ms.map_or((NONE, NONE, NONE), |(s, f, l)| (s * MS, f * MS, l * MS));
        RequestRow {
            scheduled_ns: scheduled,
            released_ns: NONE,
            submitted_ns: scheduled,
            first_ns: first,
            last_ns: last,
            output_hash: 0,
            request,
            input_tokens: 10,
            output_tokens,
            finish: 0,
            session: NO_SESSION,
            turn: NO_SESSION,
        }
    }

    fn summary(requests: u32, output_tokens: u64, seconds: u64) -> TrialSummary {
        TrialSummary {
            start_ns: 0,
            end_ns: seconds * 1_000_000_000,
            virtual_time: false,
            requests,
            input_tokens: u64::from(requests) * 10,
            output_tokens,
            workload_digest: "w".to_owned(),
            output_digest: 0,
            harness_ns: 0,
            busy_ns: None,
            cpu_ns: 0,
            engine_calls: 1,
            flushes_in_trial: 0,
            device: Default::default(),
            evidence: Default::default(),
            stats: Default::default(),
            schedule: None,
            sessions: None,
        }
    }

    #[test]
    fn figures_follow_the_definitions() {
        let mut aggregate = Aggregate::default();
        // Request 0: tokens at 100, 110, 130 ms. Request 1, due at 50 ms: 2 tokens at 150 ms, 3 at 180 ms.
        aggregate.tokens(&[token(0, 100, None, 0, 1), token(0, 110, Some(10), 1, 1), token(1, 150, None, 0, 2)]);
        aggregate.tokens(&[token(0, 130, Some(20), 2, 1), token(1, 180, Some(30), 2, 3)]);
        aggregate.requests(&[request(0, Some((0, 100, 130)), 3), request(1, Some((50, 150, 180)), 5)]);
        let figures = aggregate.figures(Method::Steps, &summary(2, 8, 2)).unwrap();
        assert_eq!(figures.request_throughput, 1.0);
        assert_eq!(figures.input_token_throughput, 10.0);
        assert_eq!(figures.output_token_throughput, 4.0);
        assert_eq!(figures.total_token_throughput, 14.0);
        let ttft = figures.ttft.unwrap();
        assert_eq!((ttft.n, ttft.min, ttft.max), (2, 100.0, 100.0));
        let e2e = figures.e2e.unwrap();
        assert_eq!((e2e.min, e2e.p50, e2e.max), (130.0, 130.0, 130.0));
        // (130 − 100) / 2 and (180 − 150) / 4.
        let tpot = figures.tpot.unwrap();
        assert_eq!((tpot.min, tpot.max), (7.5, 15.0));
        // 10, 20 of request 0; 0, 30, 0, 0 of request 1: as many gaps as tokens that are not a request's first, and
        // they add up to (130 − 100) + (180 − 150).
        let itl = figures.itl.unwrap();
        assert_eq!((itl.n, itl.min, itl.max), (6, 0.0, 30.0));
        assert!((itl.mean * 6.0 - 60.0).abs() < 1e-9);
        assert_eq!(figures.latency_null_reason, None);
    }

    #[test]
    fn a_generate_trial_has_no_latencies_and_says_why() {
        let mut aggregate = Aggregate::default();
        aggregate.requests(&[request(0, None, 3)]);
        let figures = aggregate.figures(Method::Generate, &summary(1, 3, 1)).unwrap();
        assert!(figures.ttft.is_none() && figures.e2e.is_none());
        assert!(figures.latency_null_reason.unwrap().contains("generate"));
    }

    #[test]
    fn one_token_a_request_has_no_itl_and_no_tpot() {
        let mut aggregate = Aggregate::default();
        aggregate.tokens(&[token(0, 5, None, 0, 1)]);
        aggregate.requests(&[request(0, Some((0, 5, 5)), 1)]);
        let figures = aggregate.figures(Method::Steps, &summary(1, 1, 1)).unwrap();
        assert_eq!(figures.ttft.unwrap().p50, 5.0);
        assert!(figures.itl.is_none() && figures.tpot.is_none());
        assert!(figures.latency_null_reason.unwrap().contains("at least 2 output tokens"));
    }

    #[test]
    fn records_that_do_not_add_up_give_no_figures() {
        let lost = Aggregate::default().figures(Method::Generate, &summary(1, 3, 1)).unwrap_err();
        assert_eq!(lost, FiguresError::Mismatch { what: "requests", said: 1, found: 0 });
        let mut aggregate = Aggregate::default();
        aggregate.requests(&[request(0, None, 3)]);
        assert_eq!(aggregate.figures(Method::Generate, &summary(1, 3, 0)).unwrap_err(), FiguresError::NoTime);
    }
}
