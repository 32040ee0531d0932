//! How often the verdicts are right: seeded comparisons with known differences and known noise, judged by the code that
//! judges real ones.
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use super::{
    paired::{Block, Judge, compare},
    verdict::Verdict,
};
use crate::workload::standard_normal;

/// Noise, each part a relative standard deviation of an engine's speed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Noise {
    /// An engine's launch: the same for all its trials of the launch.
    pub launch: f64,
    /// An engine in a block.
    pub block: f64,
    /// A trial.
    pub trial: f64,
    /// Share of trials that something else disturbs: slower by up to 10 times `trial`.
    pub disturbed: f64,
    /// How much slower the machine gets over a launch, for both engines alike: half of it evenly, half as a random walk.
    pub drift: f64,
}

/// How much is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Design {
    /// Launches.
    pub launches: u32,
    /// Blocks a launch.
    pub blocks: u32,
    /// Trials each time that an engine has its turn: twice in a block.
    pub trials: u32,
}

/// How often each word was said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// Comparisons.
    pub comparisons: u32,
    /// SAME.
    pub same: u32,
    /// FASTER.
    pub faster: u32,
    /// SLOWER.
    pub slower: u32,
    /// AMBIGUOUS.
    pub ambiguous: u32,
}

/// Judges so many comparisons of an engine with one whose speed is 1 + `effect` times its.
pub fn rates(noise: &Noise, design: Design, effect: f64, comparisons: u32, judge: &Judge) -> Rates {
    let mut rates = Rates { comparisons, ..Rates::default() };
    for round in 0..comparisons {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(judge.seed ^ (u64::from(round) << 20));
        let blocks = blocks(noise, design, effect, &mut rng);
        let count = match compare(&blocks, judge).map(|found| found.verdict) {
            Ok(Verdict::Same) => &mut rates.same,
            Ok(Verdict::Faster) => &mut rates.faster,
            Ok(Verdict::Slower) => &mut rates.slower,
            Ok(Verdict::Ambiguous) | Err(_) => &mut rates.ambiguous,
        };
        *count += 1;
    }
    rates
}

/// The blocks of one comparison.
pub fn blocks(noise: &Noise, design: Design, effect: f64, rng: &mut Xoshiro256PlusPlus) -> Vec<Block> {
    let mut found = Vec::new();
    let turns = f64::from(design.blocks * 4 * design.trials);
    for launch in 0..design.launches {
        let launch_noise = [0, 1].map(|_| noise.launch * standard_normal(rng));
        let mut drift = 0.0;
        for _ in 0..design.blocks {
            let block_noise = [0, 1].map(|_| noise.block * standard_normal(rng));
            let order = if rng.random_range(0..2) == 0 { [0, 1, 1, 0] } else { [1, 0, 0, 1] };
            let mut figures = [Vec::new(), Vec::new()];
            for engine in order {
                for _ in 0..design.trials {
                    drift -= noise.drift / 2.0 / turns;
                    drift += noise.drift / 2.0 / turns.sqrt() * standard_normal(rng);
                    let mut log = drift + launch_noise[engine] + block_noise[engine];
                    log += noise.trial * standard_normal(rng);
                    if rng.random::<f64>() < noise.disturbed {
                        log -= 10.0 * noise.trial * rng.random::<f64>();
                    }
                    log += if engine == 1 { effect.ln_1p() } else { 0.0 };
                    figures[engine].push(1000.0 * log.exp());
                }
            }
            let [a, b] = figures;
            found.push(Block { launch, a, b });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const JUDGE: Judge = Judge { threshold: 0.01, resident: true, resamples: 1000, seed: 7 };
    const DESIGN: Design = Design { launches: 5, blocks: 6, trials: 1 };
    /// A quiet machine that drifts: `benches/verdicts.rs` has more of them, and more comparisons.
    const QUIET: Noise = Noise { launch: 0.001, block: 0.001, trial: 0.005, disturbed: 0.01, drift: 0.05 };
    const COMPARISONS: u32 = 500;

    #[test]
    fn equals_are_called_same_and_a_slowdown_of_two_percent_is_found() {
        let equal = rates(&QUIET, DESIGN, 0.0, COMPARISONS, &JUDGE);
        assert!(equal.same >= 475 && equal.faster + equal.slower <= 5, "{equal:?}");
        let slower = rates(&QUIET, DESIGN, -0.02, COMPARISONS, &JUDGE);
        assert!(slower.slower >= 400 && slower.faster == 0 && slower.same <= 5, "{slower:?}");
    }

    #[test]
    fn noise_makes_verdicts_ambiguous_and_not_wrong() {
        let noisy = Noise { launch: 0.02, trial: 0.03, ..QUIET };
        let equal = rates(&noisy, DESIGN, 0.0, 200, &JUDGE);
        assert!(equal.ambiguous >= 150 && equal.faster + equal.slower <= 20, "{equal:?}");
    }

    #[test]
    fn drift_that_both_share_is_no_difference() {
        let noise = Noise { launch: 0.0, block: 0.0, trial: 0.0, disturbed: 0.0, drift: 0.0 };
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
        let found = compare(&blocks(&noise, DESIGN, -0.02, &mut rng), &JUDGE).unwrap();
        assert!((found.ratio - 0.98).abs() < 1e-12, "{found:?}");
    }
}
