//! Two engines measured side by side: in each block of a launch both have run the same work, in an order that cancels
//! drift (ABBA or BAAB). A block's value is the difference of the mean logarithms of its trials' figures.
//!
//! **What is sampled.** Blocks of one launch share whatever that launch got: memory placement, code alignment, chosen
//! kernels. Where launches differ by more than their blocks explain (F test of the nested analysis of variance, at 25 %),
//! launches are the sample, and the interval is Student's over their means; otherwise blocks of all launches are one
//! sample, and the interval is the BCa bootstrap's. To pool after such a lenient test keeps the error rate close to the
//! nominal one: Bancroft, "Analysis and inference for incompletely specified models" (Biometrics, 1964).
use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF, FisherSnedecor};

use super::{
    CONFIDENCE, Components, bootstrap_mean, components,
    components::MeanSquares,
    mean, student, variance,
    verdict::{Verdict, decide, detectable},
};

/// Launches are pooled when the chance of launches as different as these, were they all alike, is above this.
pub const POOL_ABOVE: f64 = 0.25;

/// The figures of one block, all above 0: more is better. The same index is the same requests.
#[derive(Clone, Debug, PartialEq)]
pub struct Block {
    /// Which launch.
    pub launch: u32,
    /// The first engine's.
    pub a: Vec<f64>,
    /// The second's.
    pub b: Vec<f64>,
}

impl Block {
    fn value(&self) -> f64 {
        mean(&logarithms(&self.b)) - mean(&logarithms(&self.a))
    }
}

fn logarithms(values: &[f64]) -> Vec<f64> {
    values.iter().map(|value| value.ln()).collect()
}

/// What the interval is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// Blocks, of all launches together.
    Block,
    /// Means of launches.
    Launch,
}

/// How to judge.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Judge {
    /// Differences below this fraction are none.
    pub threshold: f64,
    /// Whether blocks had both engines at hand. Where each engine ran alone, only launches can be sampled.
    pub resident: bool,
    /// Resamples of the bootstrap.
    pub resamples: u32,
    /// Its seed.
    pub seed: u64,
}

/// What a paired comparison found, of the second engine against the first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Paired {
    /// Second / first, geometric mean over blocks: above 1 the second is faster.
    pub ratio: f64,
    /// Lower end of the 95 % interval.
    pub low: Option<f64>,
    /// Upper end.
    pub high: Option<f64>,
    /// Why there is no interval, or what it leaves out.
    pub note: Option<String>,
    /// What it is over.
    pub unit: Unit,
    /// Launches.
    pub launches: u32,
    /// Blocks, of all launches together.
    pub blocks: u32,
    /// Chance of launches as different as these, were they alike; None for one launch.
    pub launches_alike: Option<f64>,
    /// Differences below this fraction are none.
    pub threshold: f64,
    /// The word for it.
    pub verdict: Verdict,
    /// The smallest difference that could have been told from none, as a fraction, with 80 % power.
    pub detectable: Option<f64>,
    /// Where the spread comes from.
    pub components: Components,
}

/// Compares.
///
/// # Errors
/// A sentence when the blocks hold nothing to compare.
pub fn compare(blocks: &[Block], judge: &Judge) -> Result<Paired, String> {
    let whole = |values: &Vec<f64>| !values.is_empty() && values.iter().all(|value| value.is_finite() && *value > 0.0);
    if blocks.is_empty() {
        return Err("there is no block in which both were measured".to_owned());
    }
    if let Some(bad) = blocks.iter().position(|block| !whole(&block.a) || !whole(&block.b)) {
        return Err(format!("block {bad} lacks a figure above 0 of one side"));
    }
    let launches = by_launch(blocks);
    let found = estimate(&launches, judge);
    let Estimate { mean: estimate, interval, unit, launches_alike, note, sample } = found;
    let blocks_in_all: usize = launches.iter().map(Vec::len).sum();
    let spread = |values: &[f64]| (variance(values) / values.len() as f64).sqrt();
    let freedom = sample.len() as f64 - 1.0;
    Ok(Paired {
        ratio: estimate.exp(),
        low: interval.map(|(low, _)| low.exp()),
        high: interval.map(|(_, high)| high.exp()),
        note,
        unit,
        launches: launches.len() as u32,
        blocks: blocks_in_all as u32,
        launches_alike,
        threshold: judge.threshold,
        verdict: decide(estimate, interval, judge.threshold),
        detectable: (interval.is_some() && freedom > 0.0).then(|| detectable(spread(&sample), freedom)),
        components: components(&launches, trial_variance(blocks), trials_a_block(blocks)),
    })
}

/// The mean of values that are nested in launches.
#[derive(Clone, Debug, PartialEq)]
pub struct Estimate {
    /// The mean of the sample.
    pub mean: f64,
    /// Its 95 % interval.
    pub interval: Option<(f64, f64)>,
    /// What the sample is made of.
    pub unit: Unit,
    /// Chance of launches as different as these, were they alike; None for one launch.
    pub launches_alike: Option<f64>,
    /// Why there is no interval, or what it leaves out.
    pub note: Option<String>,
    /// The values themselves, or the launches' means.
    pub sample: Vec<f64>,
}

/// Estimates the mean of blocks' values, a row a launch, in whatever unit they have; see the module for what is sampled.
pub fn estimate(launches: &[Vec<f64>], judge: &Judge) -> Estimate {
    let means: Vec<f64> = launches.iter().map(|launch| mean(launch)).collect();
    let values: Vec<f64> = launches.iter().flatten().copied().collect();
    let launches_alike = alike(&MeanSquares::of(launches));
    // Without both engines at hand a block cancels no drift, and only launches alternate.
    let pooled = judge.resident && launches_alike.is_none_or(|chance| chance > POOL_ABOVE);
    let unit = if pooled { Unit::Block } else { Unit::Launch };
    let blocks = values.len();
    let sample = if pooled { values } else { means };
    let interval = match unit {
        Unit::Block => {
            bootstrap_mean(&sample, CONFIDENCE, judge.resamples, judge.seed).map(|found| (found.low, found.high))
        }
        Unit::Launch => student_interval(&sample),
    };
    let note = match (interval, unit, launches.len()) {
        (None, Unit::Block, _) => Some(format!("no interval: {blocks} blocks, expected at least 6")),
        (None, Unit::Launch, n) => Some(format!("no interval: {n} launches, expected at least 2")),
        (Some(_), Unit::Block, 1) => Some("one launch: how launches differ is not in the interval".to_owned()),
        _ => None,
    };
    Estimate { mean: mean(&sample), interval, unit, launches_alike, note, sample }
}

fn by_launch(blocks: &[Block]) -> Vec<Vec<f64>> {
    let mut launches: std::collections::BTreeMap<u32, Vec<f64>> = std::collections::BTreeMap::new();
    for block in blocks {
        launches.entry(block.launch).or_default().push(block.value());
    }
    launches.into_values().collect()
}

/// Trials an engine in a block, on average.
pub(crate) fn trials_a_block(blocks: &[Block]) -> f64 {
    let trials: usize = blocks.iter().map(|block| block.a.len() + block.b.len()).sum();
    trials as f64 / 2.0 / blocks.len() as f64
}

/// Of a single pair of trials: the pooled variances within blocks of both engines, added. None where blocks have one trial
/// an engine.
fn trial_variance(blocks: &[Block]) -> Option<f64> {
    let pooled = |of: fn(&Block) -> &Vec<f64>| {
        let (mut sum, mut freedom) = (0.0, 0.0);
        for values in blocks.iter().map(of) {
            sum += variance(&logarithms(values)) * (values.len() as f64 - 1.0);
            freedom += values.len() as f64 - 1.0;
        }
        (freedom > 0.0).then(|| sum / freedom)
    };
    Some(pooled(|block| &block.a)? + pooled(|block| &block.b)?)
}

/// The chance of an F ratio at least as large, were all launches alike.
fn alike(squares: &MeanSquares) -> Option<f64> {
    if squares.between_freedom < 1.0 || squares.within_freedom < 1.0 {
        return None;
    }
    if squares.within == 0.0 {
        return Some(if squares.between == 0.0 { 1.0 } else { 0.0 });
    }
    let f = FisherSnedecor::new(squares.between_freedom, squares.within_freedom).ok()?;
    Some(f.sf(squares.between / squares.within))
}

fn student_interval(values: &[f64]) -> Option<(f64, f64)> {
    let n = values.len() as f64;
    if values.len() < 2 {
        return None;
    }
    let half = student((1.0 + CONFIDENCE) / 2.0, n - 1.0) * (variance(values) / n).sqrt();
    Some((mean(values) - half, mean(values) + half))
}

#[cfg(test)]
mod tests {
    use super::*;

    const JUDGE: Judge = Judge { threshold: 0.01, resident: true, resamples: 2000, seed: 1 };

    /// Blocks of one trial an engine whose ratios are these.
    fn blocks(launches: &[&[f64]]) -> Vec<Block> {
        let of = |(launch, ratios): (usize, &&[f64])| {
            let block = move |ratio: &f64| Block { launch: launch as u32, a: vec![100.0], b: vec![100.0 * ratio] };
            ratios.iter().map(block).collect::<Vec<_>>()
        };
        launches.iter().enumerate().flat_map(of).collect()
    }

    #[test]
    fn alike_launches_are_pooled_and_different_ones_are_the_sample() {
        let alike = blocks(&[&[1.02, 1.03, 1.01], &[1.03, 1.02, 1.01], &[1.01, 1.02, 1.035]]);
        let found = compare(&alike, &JUDGE).unwrap();
        assert_eq!((found.unit, found.verdict, found.blocks), (Unit::Block, Verdict::Faster, 9));
        let apart = blocks(&[&[1.02, 1.021, 1.019], &[1.06, 1.061, 1.059], &[0.98, 0.981, 0.979]]);
        let found = compare(&apart, &JUDGE).unwrap();
        assert_eq!((found.unit, found.verdict), (Unit::Launch, Verdict::Ambiguous));
        assert!(found.launches_alike.unwrap() < 0.001 && found.detectable.unwrap() > 0.05, "{found:?}");
        // Student's with 2 degrees of freedom.
        let sample = [1.02_f64.ln(), 1.06_f64.ln(), 0.98_f64.ln()];
        let half = 4.302_652_729 * (variance(&sample) / 3.0).sqrt();
        assert!((found.low.unwrap().ln() - (found.ratio.ln() - half)).abs() < 1e-4, "{found:?}");
    }

    #[test]
    fn the_f_test_is_that_of_the_tables() {
        let squares =
            MeanSquares { between: 3.2, within: 1.0, blocks: 6.0, between_freedom: 4.0, within_freedom: 25.0 };
        assert!((alike(&squares).unwrap() - 0.029_808_292_4).abs() < 1e-8);
    }

    #[test]
    fn too_little_is_said_and_never_guessed() {
        let found = compare(&blocks(&[&[1.5, 1.5, 1.5]]), &JUDGE).unwrap();
        assert_eq!((found.verdict, found.low, found.detectable), (Verdict::Ambiguous, None, None));
        assert!(found.note.unwrap().contains("at least 6"));
        let alone = compare(&blocks(&[&[1.1; 8]]), &Judge { resident: false, ..JUDGE }).unwrap();
        assert!(alone.note.unwrap().contains("launches, expected at least 2"));
        assert!(compare(&[], &JUDGE).is_err());
        assert!(compare(&[Block { launch: 0, a: vec![0.0], b: vec![1.0] }], &JUDGE).is_err());
    }

    #[test]
    fn exact_equality_is_same() {
        let found = compare(&blocks(&[&[1.0; 4], &[1.0; 4]]), &JUDGE).unwrap();
        assert_eq!((found.verdict, found.ratio, found.detectable), (Verdict::Same, 1.0, Some(0.0)));
    }
}
