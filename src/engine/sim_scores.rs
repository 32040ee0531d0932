//! The log-probabilities that `sim` declares, so that the comparison of engines can be checked against what is true.
//!
//! At each position of a prompt's output the simulated model has a first and a second id, and a margin between them that
//! is uniform in (0, [`WIDEST`]). An engine with `logit_error` moves each of the two by up to that much, either way: where
//! that outweighs the margin, it says the second. Everything else has [`REST`].
use super::{EngineError, Forced, Scored, TokenId, sim::SimOptions};
use crate::workload::mix;

/// The widest margin, in nats.
pub const WIDEST: f64 = 4.0;
/// The log-probability of the first id, before errors: half of it and the second's can never be more than all.
const FIRST: f64 = -0.75;
/// The log-probability of an id that is neither the first nor the second.
const REST: f64 = -12.0;
/// What a prompt's hash is mixed with.
const MARGIN: u64 = 0x6d61_7267;
const SECOND: u64 = 0x7365_636f;

/// A number in 0..1 that follows from the hash.
fn unit(hash: u64) -> f64 {
    (hash >> 11) as f64 / (1_u64 << 53) as f64
}

/// The model behind a `sim` engine, and the error of this engine's arithmetic.
#[derive(Clone, Debug)]
pub(super) struct Model {
    vocab_size: u32,
    weights: u64,
    error: f64,
    seed: u64,
    varies: bool,
    /// How often the engine was reset, where its error varies.
    draws: u64,
}

impl Model {
    /// As the options say.
    ///
    /// # Errors
    /// `Unsupported` when the error is no size.
    pub fn new(options: &SimOptions) -> Result<Self, EngineError> {
        if !options.logit_error.is_finite() || options.logit_error < 0.0 {
            return Err(EngineError::unsupported("sim: logit_error must be finite and not negative"));
        }
        Ok(Self {
            vocab_size: options.vocab_size,
            weights: options.weights,
            error: options.logit_error,
            seed: options.logit_error_seed,
            varies: options.logit_error_varies,
            draws: 0,
        })
    }

    /// Draws the errors anew, where they vary.
    pub fn redraw(&mut self) {
        self.draws += u64::from(self.varies);
    }

    /// The hash by which a prompt's outputs are known; `seed` is the sampler's, 0 when greedy.
    pub fn hash(&self, seed: u64, prompt: &[TokenId]) -> u64 {
        let start = if self.weights == 0 { seed } else { mix(seed, self.weights) };
        prompt.iter().fold(start, |state, id| (state ^ u64::from(id.0)).wrapping_mul(0x100_0000_01b3))
    }

    /// The id that this engine says at a position.
    pub fn token(&self, prompt_hash: u64, position: u32) -> TokenId {
        if self.error == 0.0 { self.first(prompt_hash, position) } else { self.at(prompt_hash, position).0 }
    }

    fn first(&self, prompt_hash: u64, position: u32) -> TokenId {
        let span = u64::from(self.vocab_size - 4);
        TokenId(4 + (mix(prompt_hash, u64::from(position)) % span) as u32)
    }

    /// The two ids, the likelier one first, with their log-probabilities.
    fn at(&self, prompt_hash: u64, position: u32) -> (TokenId, f64, TokenId, f64) {
        let place = mix(prompt_hash, u64::from(position));
        let first = self.first(prompt_hash, position);
        let span = u64::from(self.vocab_size - 4);
        let step = 1 + mix(place, SECOND) % (span - 1);
        let second = TokenId(4 + ((u64::from(first.0 - 4) + step) % span) as u32);
        let error = |which: u64| {
            let drawn = mix(mix(place, which), mix(self.seed, self.draws));
            self.error * (2.0 * unit(drawn) - 1.0)
        };
        let one = FIRST + error(1);
        let two = FIRST - WIDEST * unit(mix(place, MARGIN)) + error(2);
        if one >= two { (first, one, second, two) } else { (second, two, first, one) }
    }

    /// The scores of one sequence.
    pub fn score(&self, sequence: &Forced) -> Vec<Scored> {
        let hash = self.hash(0, &sequence.prompt);
        let places = (0_u32..).zip(&sequence.continuation);
        places
            .map(|(position, given)| {
                let (top1, top1_lp, top2, top2_lp) = self.at(hash, position);
                let given_lp = match *given {
                    id if id == top1 => top1_lp,
                    id if id == top2 => top2_lp,
                    _ => REST,
                };
                Scored { top1: top1.0, top1_lp, top2: top2.0, top2_lp, given_lp }
            })
            .collect()
    }
}
