//! Which of a file's requests a trial takes, and in which order.
use rand::RngExt;

use super::{
    saved::{Order, Saved, SavedError, SavedRef, refuse, shared},
    synthetic::rng_for,
};
use crate::engine::TokenId;

/// Tells the draws of an order from those of lengths and ids.
const SHUFFLE: u64 = 0x5348_5546_464c_4521;

/// The requests of one trial: a file and the order in which its requests are taken.
#[derive(Clone, Debug)]
pub(super) struct Chosen {
    saved: Saved,
    order: Vec<u32>,
    /// How many turns each chosen conversation has; empty where requests are not turns.
    turns: Vec<u32>,
}

impl Chosen {
    /// Reads the file and chooses: which requests by the seed, their order in the trial by the seed and the stream.
    pub(super) fn new(from: &SavedRef, requests: u32, seed: u64, stream: u64) -> Result<Self, SavedError> {
        let saved = Saved::read(&from.path)?;
        let (found, expected) = (&saved.header().digest, &from.digest);
        if found != expected {
            let problem = format!(
                "the plan was made for the digest {expected}, the file has {found}: it was replaced; name it again to run it"
            );
            return Err(refuse(&from.path, problem));
        }
        let units = saved.units();
        if requests > units {
            let what = if saved.has_turns() { "conversations" } else { "requests" };
            let problem = format!("a trial asks for {requests} {what}, it has {units}: ask for fewer");
            return Err(refuse(&from.path, problem));
        }
        let mut order: Vec<u32> = (0..units).collect();
        let mut shuffle = |words: &[u64]| {
            let mut rng = rng_for(words);
            for place in (1..order.len()).rev() {
                order.swap(place, rng.random_range(0..=place));
            }
            order.truncate(requests as usize);
        };
        match from.order {
            Order::File => order.truncate(requests as usize),
            Order::Sample => shuffle(&[seed, stream, SHUFFLE]),
            Order::Shuffle => {
                if requests < units {
                    shuffle(&[seed, SHUFFLE]);
                }
                shuffle(&[seed, stream, SHUFFLE]);
            }
        }
        if !saved.has_turns() {
            return Ok(Self { saved, order, turns: Vec::new() });
        }
        let starts: Vec<u32> = saved
            .header()
            .turns
            .iter()
            .scan(0, |next, turns| {
                *next += turns;
                Some(*next - turns)
            })
            .collect();
        let turns: Vec<u32> = order.iter().map(|session| saved.header().turns[*session as usize]).collect();
        let firsts = order.iter().map(|session| starts[*session as usize]);
        let order = firsts.zip(&turns).flat_map(|(first, turns)| first..first + turns).collect();
        Ok(Self { saved, order, turns })
    }

    pub(super) fn len(&self) -> u32 {
        self.order.len() as u32
    }

    /// As [`Saved::shared_prefix_tokens`], of the chosen requests.
    pub(super) fn shared_prefix_tokens(&self) -> u64 {
        shared((0..self.len()).map(|index| self.prompt(index)).collect())
    }

    pub(super) fn turns(&self) -> &[u32] {
        &self.turns
    }

    pub(super) fn prompt(&self, index: u32) -> &[TokenId] {
        self.saved.prompt(self.order[index as usize])
    }

    pub(super) fn output(&self, index: u32) -> Option<u32> {
        self.saved.output(self.order[index as usize])
    }

    /// The first request whose output length the data do not say.
    pub(super) fn without_output(&self) -> Option<u32> {
        self.order.iter().copied().find(|request| self.saved.output(*request).is_none())
    }
}
