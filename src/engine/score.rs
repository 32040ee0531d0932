//! What an engine thinks of ids that it is given: the teacher-forced door beside `generate`, for comparing engines.
use serde::{Deserialize, Serialize};

use super::TokenId;

/// A prompt and the ids that are taken to follow it, whichever the engine would have chosen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forced {
    /// At least one id.
    pub prompt: Vec<TokenId>,
    /// At least one id.
    pub continuation: Vec<TokenId>,
}

/// An engine's log-probabilities (natural, of the whole vocabulary's softmax at temperature 1) at one position.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scored {
    /// The likeliest id.
    pub top1: u32,
    /// Its log-probability.
    pub top1_lp: f64,
    /// The second likeliest.
    pub top2: u32,
    /// Its log-probability.
    pub top2_lp: f64,
    /// That of the id that was given there.
    pub given_lp: f64,
}

impl Scored {
    /// By how much the likeliest id leads, in nats.
    pub fn margin(&self) -> f64 {
        self.top1_lp - self.top2_lp
    }

    /// Whether every figure is a finite number.
    pub fn is_finite(&self) -> bool {
        self.top1_lp.is_finite() && self.top2_lp.is_finite() && self.given_lp.is_finite()
    }

    /// From a row of logits, the softmax in double precision. None when it has fewer than two numbers or `given` lies outside.
    pub fn from_logits(logits: &[f32], given: TokenId) -> Option<Self> {
        let given = f64::from(*logits.get(given.0 as usize)?);
        let mut best: [(usize, f32); 2] = [(0, f32::NEG_INFINITY); 2];
        for (id, logit) in logits.iter().copied().enumerate() {
            if logit > best[0].1 {
                best = [(id, logit), best[0]];
            } else if logit > best[1].1 {
                best[1] = (id, logit);
            }
        }
        let (first, second) = (f64::from(best[0].1), f64::from(best[1].1));
        if !second.is_finite() {
            return None;
        }
        let sum: f64 = logits.iter().map(|logit| (f64::from(*logit) - first).exp()).sum();
        let log_sum = first + sum.ln();
        Some(Self {
            top1: best[0].0 as u32,
            top1_lp: first - log_sum,
            top2: best[1].0 as u32,
            top2_lp: second - log_sum,
            given_lp: given - log_sum,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logits_become_log_probabilities() {
        let scored = Scored::from_logits(&[0.0, 2.0, 1.0, -50.0], TokenId(0)).unwrap();
        assert_eq!((scored.top1, scored.top2), (1, 2));
        let total = (1.0_f64 + 2.0_f64.exp() + 1.0_f64.exp()).ln();
        assert!((scored.top1_lp - (2.0 - total)).abs() < 1e-12 && (scored.given_lp + total).abs() < 1e-12);
        assert!((scored.margin() - 1.0).abs() < 1e-12);
        assert_eq!(Scored::from_logits(&[1.0], TokenId(0)), None);
        assert_eq!(Scored::from_logits(&[1.0, f32::NAN], TokenId(0)), None);
        assert_eq!(Scored::from_logits(&[1.0, 2.0], TokenId(2)), None);
    }
}
