//! What a comparison of engines found: `agreement.json`.
use serde::{Deserialize, Serialize};

use crate::engine::Scored;

/// What two engines come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The same outputs, the same predictions, and log-probabilities within the floor.
    Same,
    /// Outputs part only where two ids are about equally likely: the same model in another order of arithmetic.
    Numerics,
    /// They part where that does not explain it.
    Different,
}

impl Verdict {
    /// For a person.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Same => "same model",
            Self::Numerics => "numerics",
            Self::Different => "different",
        }
    }
}

/// How much an engine differs from itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Floor {
    /// Prompts whose output is another one when they are generated from together again.
    pub runs_parted: u32,
    /// Prompts whose output is another one when they are generated from alone.
    pub batch_parted: u32,
    /// The largest change of a log-probability when the same is scored again, in nats; None without scores.
    pub runs_lp: Option<f64>,
    /// The largest change when sequences are scored one by one.
    pub batch_lp: Option<f64>,
}

impl Floor {
    /// The larger of the two changes; 0 without scores.
    pub fn lp(&self) -> f64 {
        self.runs_lp.unwrap_or(0.0).max(self.batch_lp.unwrap_or(0.0))
    }
}

/// An engine configuration that took part.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Taker {
    /// As in `run.json`.
    pub label: String,
    /// The engine's id.
    pub engine: String,
    /// Why it has nothing to show; None when it took part.
    pub failed: Option<String>,
    /// The engine's own version.
    pub version: String,
    /// What stands in for an engine.
    pub double: Option<String>,
    /// The device.
    pub device: String,
    /// BLAKE3 of the model's file or files.
    pub model_digest: Option<String>,
    /// The coarsest number type among its weights and cached keys and values, as its lock record names it.
    pub dtype: String,
    /// Its greedy output for each prompt, all prompts together.
    pub outputs: Vec<Vec<u32>>,
    /// What it thinks of the common continuations.
    pub scores: Option<Vec<Vec<Scored>>>,
    /// Why it has no scores.
    pub scores_null_reason: Option<String>,
    /// How much it differs from itself.
    pub floor: Floor,
}

/// Where two outputs part.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Divergence {
    /// Which prompt, from 0.
    pub prompt: u32,
    /// The first position of the output at which they are not the same, from 0.
    pub position: u32,
    /// The one's id there.
    pub a: u32,
    /// The other's.
    pub b: u32,
    /// By how much the likeliest id leads the second there, in nats: the larger of the two engines' margins. None where
    /// neither scored that position, because both had left the common continuation before.
    pub margin: Option<f64>,
    /// Whether the two ids are the two likeliest, in every engine that scored the position.
    pub of_top_two: bool,
}

/// Two engines' predictions along the common continuations.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ForcedComparison {
    /// Positions compared.
    pub positions: u32,
    /// At how many both have the same likeliest id.
    pub same_top: u32,
    /// The largest margin, of either engine, at a position where the likeliest ids are not the same.
    pub widest_flip: Option<f64>,
    /// Median of the absolute differences of the given ids' log-probabilities, in nats.
    pub median_lp: f64,
    /// The largest.
    pub max_lp: f64,
}

/// What two engines come to, and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PairAgreement {
    /// The one, by its label.
    pub a: String,
    /// The other.
    pub b: String,
    /// None when one of them could not take part.
    pub verdict: Option<Verdict>,
    /// Why, in words.
    pub why: String,
    /// How far apart log-probabilities may be and be called the same, in nats.
    pub floor: f64,
    /// Prompts with the same output.
    pub identical: u32,
    /// Where the other outputs part.
    pub divergences: Vec<Divergence>,
    /// Their predictions along the common continuations.
    pub forced: Option<ForcedComparison>,
}

/// What a comparison of engines found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Agreement {
    /// What it was asked, as a hash: the same is not asked twice.
    pub key: String,
    /// The build of Tacho that asked.
    pub build: String,
    /// The prompts' token ids.
    pub prompts: Vec<Vec<u32>>,
    /// How many ids were generated after each.
    pub tokens: u32,
    /// The engine configurations; the first that took part gave the common continuations.
    pub engines: Vec<Taker>,
    /// Each two of them.
    pub pairs: Vec<PairAgreement>,
}

impl Agreement {
    /// The pair's outcome, in either order.
    pub fn pair(&self, one: &str, other: &str) -> Option<&PairAgreement> {
        self.pairs.iter().find(|pair| (pair.a == one && pair.b == other) || (pair.a == other && pair.b == one))
    }

    /// Whether every pair was compared and none is different.
    pub fn holds(&self) -> bool {
        self.pairs.iter().all(|pair| matches!(pair.verdict, Some(Verdict::Same | Verdict::Numerics)))
    }

    /// The name of the model that an engine's weights were found to be: the digest of the first engine's where all its
    /// configurations agree with that one, a name of its own where one does not, None where it was not compared.
    pub fn family(&self, engine: &str, digest: &str) -> Option<String> {
        let reference = self.engines.iter().find(|taker| taker.failed.is_none())?;
        let family = reference.model_digest.clone()?;
        let own = |taker: &&Taker| taker.engine == engine && taker.model_digest.as_deref() == Some(digest);
        let mut known = None;
        for taker in self.engines.iter().filter(own) {
            let agrees = taker.label == reference.label
                || match self.pair(&reference.label, &taker.label)?.verdict? {
                    Verdict::Same | Verdict::Numerics => true,
                    Verdict::Different => false,
                };
            if !agrees {
                return Some(format!("{digest}, which disagrees with {}", reference.label));
            }
            known = Some(family.clone());
        }
        known
    }
}
