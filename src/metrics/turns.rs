//! Latencies by turn of a conversation: the prompt of a later turn is longer, and a prefix cache may know most of it.
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Distribution, steady::Life};
use crate::{
    cell::protocol::{NO_SESSION, RequestRow},
    results::Quantiles,
};

/// The figures of one turn, over a trial's conversations that have it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct TurnFigures {
    /// Which, from 0.
    pub turn: u32,
    /// How many requests.
    pub requests: u64,
    /// Mean length of their prompts.
    pub input_tokens_mean: f64,
    /// First token − when it was due.
    pub ttft: Option<Quantiles>,
    /// (last token − first token) / (output tokens − 1).
    pub tpot: Option<Quantiles>,
    /// Last token − when it was due.
    pub e2e: Option<Quantiles>,
}

#[derive(Default)]
struct Turn {
    requests: u64,
    input_tokens: u64,
    ttft: Distribution,
    tpot: Distribution,
    e2e: Distribution,
}

/// Sorts requests by turn.
#[derive(Default)]
pub(super) struct ByTurn(BTreeMap<u32, Turn>);

impl ByTurn {
    /// Adds a request that ended; a single one is none of a conversation.
    pub(super) fn add(&mut self, row: &RequestRow) {
        if row.turn == NO_SESSION {
            return;
        }
        let turn = self.0.entry(row.turn).or_default();
        turn.requests += 1;
        turn.input_tokens += u64::from(row.input_tokens);
        let life = Life::of(row);
        let put = |distribution: &mut Distribution, value: Option<u64>| {
            if let Some(ns) = value {
                distribution.record(ns);
            }
        };
        put(&mut turn.ttft, life.ttft_ns());
        put(&mut turn.tpot, life.tpot_ns());
        put(&mut turn.e2e, life.e2e_ns());
    }

    pub(super) fn figures(self) -> Vec<TurnFigures> {
        self.0
            .into_iter()
            .map(|(number, mut turn)| TurnFigures {
                turn: number,
                requests: turn.requests,
                input_tokens_mean: turn.input_tokens as f64 / turn.requests as f64,
                ttft: turn.ttft.quantiles(),
                tpot: turn.tpot.quantiles(),
                e2e: turn.e2e.quantiles(),
            })
            .collect()
    }
}
