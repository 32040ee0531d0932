//! How much of a comparison's spread comes from launches, from blocks and from trials, and how many of each would do.
//!
//! The logarithm of a block's ratio is μ + launch + block + the mean of its trials' noise, all independent. Estimators are
//! those of the analysis of variance (method of moments) for nested random effects: Searle, Casella and McCulloch,
//! *Variance Components* (1992), section 3.3; a negative estimate is 0. With L launches of B blocks of T trials an engine,
//!
//! Var(estimate) = launch / L + block / (L B) + trial / (L B T).
use serde::{Deserialize, Serialize};

use super::{mean, variance, verdict::detectable_ln};

/// Variances of a logarithm of a ratio: √ of one is about a relative standard deviation.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Components {
    /// Between launches; None for a single launch.
    pub launch: Option<f64>,
    /// Between blocks of a launch, beyond what trials explain.
    pub block: f64,
    /// Between pairs of single trials within a block; None where a block has one trial an engine, and `block` holds both.
    pub trial: Option<f64>,
}

/// Mean squares of blocks' values, by launch.
pub(super) struct MeanSquares {
    pub between: f64,
    pub within: f64,
    /// Blocks a launch, averaged as unequal groups call for.
    pub blocks: f64,
    pub between_freedom: f64,
    pub within_freedom: f64,
}

impl MeanSquares {
    pub fn of(launches: &[Vec<f64>]) -> Self {
        let sizes: Vec<f64> = launches.iter().map(|launch| launch.len() as f64).collect();
        let total: f64 = sizes.iter().sum();
        let grand = launches.iter().flatten().sum::<f64>() / total;
        let between: f64 = launches.iter().zip(&sizes).map(|(launch, n)| n * (mean(launch) - grand).powi(2)).sum();
        let within: f64 = launches.iter().zip(&sizes).map(|(launch, n)| (n - 1.0) * variance(launch)).sum();
        let between_freedom = launches.len() as f64 - 1.0;
        let within_freedom = total - launches.len() as f64;
        let over = |sum: f64, freedom: f64| if freedom > 0.0 { sum / freedom } else { 0.0 };
        let squares: f64 = sizes.iter().map(|n| n * n).sum();
        Self {
            between: over(between, between_freedom),
            within: over(within, within_freedom),
            blocks: over(total - squares / total, between_freedom),
            between_freedom,
            within_freedom,
        }
    }
}

/// Estimates the components. `launches` are the logarithms of the blocks' ratios; `trial` is the variance of a single pair
/// of trials, `trials` how many pairs a block has.
pub fn components(launches: &[Vec<f64>], trial: Option<f64>, trials: f64) -> Components {
    let squares = MeanSquares::of(launches);
    let launch =
        (squares.between_freedom > 0.0).then(|| ((squares.between - squares.within) / squares.blocks).max(0.0));
    let block = (squares.within - trial.unwrap_or(0.0) / trials).max(0.0);
    Components { launch, block, trial }
}

/// What launches and trials take, so that the cheapest design can be found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cost {
    /// Seconds for starting both engines.
    pub launch: f64,
    /// Seconds for a trial of each.
    pub pair: f64,
    /// Trials an engine in a block.
    pub trials: f64,
}

/// A design that is enough.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Needed {
    /// The difference that it can tell from 0 with 80 % power, as a fraction.
    pub claim: f64,
    /// Launches.
    pub launches: u32,
    /// Blocks a launch.
    pub blocks: u32,
    /// Trials an engine in a block.
    pub trials: u32,
    /// About how long it takes.
    pub seconds: f64,
}

const MOST_LAUNCHES: u32 = 200;
const MOST_BLOCKS: u32 = 100;

/// The cheapest design with as many trials a block as there were; None when 200 launches of 100 blocks are too few.
/// `resident` as in [`Judge`](super::paired::Judge): where each engine ran alone, launches are the sample however alike.
pub fn needed(claim: f64, parts: &Components, cost: &Cost, resident: bool) -> Option<Needed> {
    let limit = claim.ln_1p();
    let launch = parts.launch.unwrap_or(0.0);
    let per_block = parts.block + parts.trial.unwrap_or(0.0) / cost.trials;
    let mut best: Option<Needed> = None;
    for launches in 2..=MOST_LAUNCHES {
        let l = f64::from(launches);
        // More blocks tell more: the first that is enough is the cheapest with this many launches.
        let enough = |blocks: &u32| {
            let b = f64::from(*blocks);
            let error = (launch / l + per_block / (l * b)).sqrt();
            // Launches that differ are what is sampled; else blocks are.
            let freedom = if launch > 0.0 || !resident { l - 1.0 } else { l * b - 1.0 };
            l * b >= super::bca::FEWEST as f64 && detectable_ln(error, freedom) <= limit
        };
        let Some(blocks) = (1..=MOST_BLOCKS).find(enough) else { continue };
        let seconds = l * (cost.launch + f64::from(blocks) * cost.trials * cost.pair);
        if best.is_none_or(|best| seconds < best.seconds) {
            best = Some(Needed { claim, launches, blocks, trials: cost.trials as u32, seconds });
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_xoshiro::Xoshiro256PlusPlus;

    use super::*;
    use crate::workload::standard_normal;

    #[test]
    fn components_are_those_of_a_worked_table() {
        // Two launches of three blocks: means 2 and 6, within 1 and 1; between = 3 · (2² + 2²) / 1 = 24.
        let found = components(&[vec![1.0, 2.0, 3.0], vec![5.0, 6.0, 7.0]], Some(0.5), 2.0);
        assert_eq!(found.launch, Some((24.0 - 1.0) / 3.0));
        assert_eq!(found.block, 1.0 - 0.25);
        assert_eq!(components(&[vec![1.0, 2.0, 3.0]], None, 1.0).launch, None);
        // Launches closer together than blocks: no negative variance.
        assert_eq!(components(&[vec![1.0, 5.0], vec![1.0, 5.0]], None, 1.0).launch, Some(0.0));
    }

    #[test]
    fn known_components_come_back_from_a_simulation() {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(11);
        let (launch_sd, block_sd) = (0.03, 0.02);
        let launches: Vec<Vec<f64>> = (0..400)
            .map(|_| {
                let launch = launch_sd * standard_normal(&mut rng);
                (0..6).map(|_| launch + block_sd * standard_normal(&mut rng)).collect()
            })
            .collect();
        let found = components(&launches, None, 2.0);
        assert!((found.launch.unwrap().sqrt() / launch_sd - 1.0).abs() < 0.1, "{found:?}");
        assert!((found.block.sqrt() / block_sd - 1.0).abs() < 0.1, "{found:?}");
    }

    #[test]
    fn noisy_launches_ask_for_launches_and_noisy_trials_for_blocks() {
        let cost = Cost { launch: 10.0, pair: 1.0, trials: 2.0 };
        let by_launch = Components { launch: Some(1e-4), block: 0.0, trial: Some(1e-6) };
        let by_trial = Components { launch: Some(0.0), block: 0.0, trial: Some(1e-4) };
        let (one, other) =
            (needed(0.01, &by_launch, &cost, true).unwrap(), needed(0.01, &by_trial, &cost, true).unwrap());
        assert!(one.launches > 5 && one.blocks < 3, "{one:?}");
        assert!(other.launches == 2 && other.blocks > 2, "{other:?}");
        // Its own promise: (2.2 + 0.9) · 0.01 / √L ≤ ln 1.01 needs about 11 launches.
        assert!((9..=13).contains(&one.launches), "{one:?}");
        let hopeless = Components { launch: Some(1.0), block: 0.0, trial: None };
        assert_eq!(needed(0.01, &hopeless, &cost, true), None);
        // With two launches of engines that ran alone, Student's t has one degree of freedom: 12.7 + 1.4 errors, not 2.1 + 0.9.
        let alone = needed(0.01, &by_trial, &cost, false).unwrap();
        assert!(alone.launches > 2 && alone.seconds > other.seconds, "{alone:?} {other:?}");
        let error = (0.5e-4 / f64::from(alone.launches * alone.blocks)).sqrt();
        assert!(detectable_ln(error, f64::from(alone.launches) - 1.0) <= 1.01_f64.ln(), "{alone:?}");
    }
}
