//! Whether values lie around two places: a mean between two modes describes neither.
//!
//! The dip is the least distance between the empirical distribution and any unimodal one: Hartigan and Hartigan, "The dip
//! test of unimodality" (Annals of Statistics, 1985). It is found as their section 4 says: narrow the modal interval
//! between the greatest convex minorant and the least concave majorant until they are no farther apart than the dip so
//! far. The chance of such a dip is that under the uniform distribution, by simulation, as they recommend.
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use serde::{Deserialize, Serialize};

use super::mean;

/// Uniform samples that a dip is compared with.
const SIMULATED: u32 = 1000;
/// For so many sizes and seeds the dips of uniform samples are kept: 8 kB each.
const KEPT_AT_MOST: usize = 64;
/// A dip that is rarer than this under the uniform distribution is taken for two modes.
const SIGNIFICANT: f64 = 0.05;
/// Fewer values show no modes.
const FEWEST: usize = 8;

/// One of two places that values lie around.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mode {
    /// The mean of its values.
    pub center: f64,
    /// How many values are nearest to it.
    pub values: u32,
}

/// That values have two modes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bimodality {
    /// The dip.
    pub dip: f64,
    /// The chance of at least such a dip in a uniform sample of this size.
    pub p_value: f64,
    /// The lower mode.
    pub low: Mode,
    /// The upper mode.
    pub high: Mode,
}

/// The two modes, where the dip test finds that there is more than one; None where it does not, or for fewer than 8 values.
pub fn bimodality(values: &[f64], seed: u64) -> Option<Bimodality> {
    if values.len() < FEWEST || values.iter().any(|value| !value.is_finite()) {
        return None;
    }
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let found = dip_of_sorted(&sorted);
    let p_value = chance(found, sorted.len(), seed);
    if p_value >= SIGNIFICANT {
        return None;
    }
    let split = split(&sorted);
    let mode = |values: &[f64]| Mode { center: mean(values), values: values.len() as u32 };
    Some(Bimodality { dip: found, p_value, low: mode(&sorted[..split]), high: mode(&sorted[split..]) })
}

/// The dip of values in any order: between 1 / (2 n) and 1/4. 0 without values.
pub fn dip(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    dip_of_sorted(&sorted)
}

/// Dips by the size of the samples and the seed.
type Dips = BTreeMap<(usize, u64), Arc<Vec<f64>>>;

/// The dips of uniform samples of `n` values. Kept, because the points of a run have as many trials each.
fn uniform_dips(n: usize, seed: u64) -> Arc<Vec<f64>> {
    static KEPT: Mutex<Dips> = Mutex::new(BTreeMap::new());
    let kept = || KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = kept().get(&(n, seed)) {
        return Arc::clone(known);
    }
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    let mut uniform = vec![0.0; n];
    let one = |_| {
        uniform.iter_mut().for_each(|value| *value = rng.random::<f64>());
        uniform.sort_unstable_by(f64::total_cmp);
        dip_of_sorted(&uniform)
    };
    let dips: Arc<Vec<f64>> = Arc::new((0..SIMULATED).map(one).collect());
    let mut kept = kept();
    if kept.len() >= KEPT_AT_MOST {
        kept.clear();
    }
    kept.insert((n, seed), Arc::clone(&dips));
    dips
}

fn chance(dip: f64, n: usize, seed: u64) -> f64 {
    let as_deep = uniform_dips(n, seed).iter().filter(|found| **found >= dip).count();
    (as_deep + 1) as f64 / f64::from(SIMULATED + 1)
}

/// Where to cut sorted values in two so that both parts vary least (Fisher 1958, exact for two groups).
fn split(sorted: &[f64]) -> usize {
    let spread = |values: &[f64]| {
        let mean = mean(values);
        values.iter().map(|value| (value - mean).powi(2)).sum::<f64>()
    };
    let cost = |at: &usize| spread(&sorted[..*at]) + spread(&sorted[*at..]);
    (1..sorted.len()).min_by(|one, other| cost(one).total_cmp(&cost(other))).unwrap_or(1)
}

#[derive(Clone, Copy, PartialEq)]
enum Side {
    /// Convex, below: through the points (value, number of values before it).
    Minorant,
    /// Concave, above: through the points (value, number of values up to it).
    Majorant,
}

/// A minorant or majorant over part of the values: the indices where it touches, and its height there in values.
struct Hull {
    touching: Vec<usize>,
    offset: f64,
}

impl Hull {
    fn new(x: &[f64], (low, high): (usize, usize), side: Side) -> Self {
        let mut touching: Vec<usize> = Vec::new();
        for i in low..=high {
            while let [.., a, b] = touching[..] {
                let (before, after) = ((b - a) as f64 * (x[i] - x[b]), (i - b) as f64 * (x[b] - x[a]));
                let drop = if side == Side::Minorant { before >= after } else { before <= after };
                if !drop {
                    break;
                }
                touching.pop();
            }
            touching.push(i);
        }
        Self { touching, offset: if side == Side::Minorant { 0.0 } else { 1.0 } }
    }

    /// Its height at value `i`, in values.
    fn at(&self, x: &[f64], i: usize) -> f64 {
        let next = self.touching.partition_point(|touching| *touching < i);
        let b = self.touching[next];
        if b == i {
            return i as f64 + self.offset;
        }
        let a = self.touching[next - 1];
        if x[b] == x[a] {
            return i as f64 + self.offset;
        }
        a as f64 + self.offset + (x[i] - x[a]) * (b - a) as f64 / (x[b] - x[a])
    }
}

fn dip_of_sorted(x: &[f64]) -> f64 {
    let n = x.len();
    if n == 0 {
        return 0.0;
    }
    let (mut low, mut high) = (0, n - 1);
    // Twice the dip, in values.
    let mut twice = 1.0_f64;
    while x[low] < x[high] {
        let (below, above) = (Hull::new(x, (low, high), Side::Minorant), Hull::new(x, (low, high), Side::Majorant));
        let mut widest = (0.0, low, high);
        for &i in &below.touching {
            let apart = above.at(x, i) - i as f64;
            if apart > widest.0 {
                let to = above.touching.iter().copied().find(|touching| *touching >= i);
                widest = (apart, i, to.unwrap_or(high));
            }
        }
        for &i in &above.touching {
            let apart = i as f64 + 1.0 - below.at(x, i);
            if apart > widest.0 {
                let from = below.touching.iter().rev().copied().find(|touching| *touching <= i);
                widest = (apart, from.unwrap_or(low), i);
            }
        }
        let (apart, from, to) = widest;
        if apart <= twice {
            break;
        }
        // Outside the new modal interval the hulls are the best convex and concave parts.
        for i in low..=from {
            twice = twice.max(i as f64 + 1.0 - below.at(x, i));
        }
        for i in to..=high {
            twice = twice.max(above.at(x, i) - i as f64);
        }
        if (from, to) == (low, high) {
            break;
        }
        (low, high) = (from, to);
    }
    twice / (2.0 * n as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::standard_normal;

    #[test]
    fn dips_are_those_of_the_published_program() {
        // diptest 0.12 of Python, which is tested against Maechler's R package.
        let gaussian = [
            2.041, -2.556, 0.418, -0.568, -0.453, -0.216, -2.02, -0.232, -0.865, 3.323, 0.226, -0.353, -0.281, -0.668,
            -1.055, -0.391, 0.482, -0.239, 0.958, -0.2, 0.024, 1.546, 0.545, -0.505, -0.183, 0.541, 1.935, -0.27,
            -0.244, 1.002, -0.886, -0.292, 0.883, 0.58, 0.092, 0.67, -2.828, 1.021, -0.96, -1.669,
        ];
        let cases: [(&[f64], f64); 6] = [
            (&[1.0, 1.1, 1.2, 1.3, 1.4, 5.0, 5.1, 5.2, 5.3, 5.4], 0.225),
            (&[0.0, 0.1, 0.15, 0.3, 0.31, 0.33, 0.9, 1.0, 1.2, 1.5, 1.6, 1.61, 3.0], 0.102_764_423_076_923_1),
            (&[1.0, 1.0, 1.0, 2.0, 2.0, 2.0, 2.0, 5.0, 5.0, 6.0], 0.15),
            (&[3.0, 3.0, 3.0, 3.0, 3.0, 4.0], 1.0 / 12.0),
            (&gaussian, 0.043_615_033_222_591_36),
            (&[7.0; 5], 0.1),
        ];
        for (values, expected) in cases {
            assert!((dip(values) - expected).abs() < 1e-12, "{values:?}: {}", dip(values));
        }
    }

    #[test]
    fn two_modes_are_found_and_one_is_left_alone() {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(3);
        let one: Vec<f64> = (0..40).map(|_| standard_normal(&mut rng)).collect();
        assert_eq!(bimodality(&one, 1), None);
        let two: Vec<f64> = (0..40).map(|i| standard_normal(&mut rng) + if i % 4 == 0 { 8.0 } else { 0.0 }).collect();
        let found = bimodality(&two, 1).unwrap();
        assert_eq!((found.low.values, found.high.values), (30, 10));
        assert!(found.low.center.abs() < 0.6 && (found.high.center - 8.0).abs() < 1.0, "{found:?}");
        assert!(bimodality(&two[..6], 1).is_none(), "too few to tell");
        assert!(bimodality(&[1.0; 30], 1).is_none(), "all the same");
    }

    #[test]
    fn the_chance_agrees_with_the_published_quantiles() {
        // 95 % quantile of the dip of 50 uniform values: 0.0699.
        assert!((chance(0.0699, 50, 1) - 0.05).abs() < 0.025);
    }
}
