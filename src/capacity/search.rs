//! Probabilistic bisection: a belief over where the limit lies, halved by trials that may err.
//!
//! Each trial is made at the belief's median; then what lies at or above it is multiplied by the probability that the service
//! level is met there, and what lies below by the rest (Horstein 1963; Waeber, Frazier and Henderson 2013). A trial that
//! says little moves the belief little, and the same load is tried again.
//!
//! A trial that is shorter than its queue takes to grow has its requests in time at any load. So how the queue grew to its end counts too: what
//! lies at or above the load by the likelihood of an engine that keeps up, what lies below also by that of one that ends no more than something
//! between there and the load.

use super::{MOST_CERTAIN, QueueGrowth, keeping_up::KeepingUp};

/// Cells of a range of rates.
const CELLS: usize = 2000;
/// How likely it is at first that no rate meets the level.
const NONE: f64 = 0.01;

/// The belief.
#[derive(Clone, Debug)]
pub struct Search {
    /// What the limit may be, ascending.
    candidates: Vec<f64>,
    weights: Vec<f64>,
    /// Whether the last trial left open on which side of it the limit lies.
    unsure: bool,
}

impl Search {
    /// Rates between two bounds, at first equally likely in every factor, and 0: not even the lowest meets the level.
    pub fn rates(low: f64, high: f64) -> Self {
        let step = (high / low).ln() / CELLS as f64;
        let rates = (0..=CELLS).map(|cell| low * (step * cell as f64).exp());
        let candidates: Vec<f64> = std::iter::once(0.0).chain(rates).collect();
        let mut weights = vec![(1.0 - NONE) / (candidates.len() - 1) as f64; candidates.len()];
        weights[0] = NONE;
        Self { candidates, weights, unsure: false }
    }

    /// Whole numbers from 0 (not even 1 meets the level) to `most`, at first about equally likely in every factor.
    pub fn counts(most: u32) -> Self {
        let candidates: Vec<f64> = (0..=most).map(f64::from).collect();
        let raw: Vec<f64> = candidates.iter().map(|n| if *n < 1.0 { 0.5 } else { (1.0 / n).ln_1p() }).collect();
        let sum: f64 = raw.iter().sum();
        Self { candidates, weights: raw.into_iter().map(|weight| weight / sum).collect(), unsure: false }
    }

    /// Where the next trial tells most: about as much of the belief below it as from it on. After a trial so near to the limit
    /// that it said little, halfway between there and the farther end of the interval instead, so that the interval closes.
    pub fn next(&self) -> f64 {
        if self.unsure {
            let (median, low, high) = self.answer(super::COVERAGE);
            let far = if high - median > median - low { high } else { low };
            let wanted = (median + far) / 2.0;
            let at = self.candidates.partition_point(|candidate| *candidate < wanted);
            if let Some(candidate) = self.candidates[1..].get(at.saturating_sub(1)) {
                return *candidate;
            }
        }
        let mut below = 0.0;
        let mut best = (f64::INFINITY, self.candidates[0]);
        // That nothing, candidate 0, meets the level is no question.
        for (weight, candidate) in self.weights.iter().zip(&self.candidates[1..]) {
            below += weight;
            let off = (below - 0.5_f64).abs();
            if off < best.0 {
                best = (off, *candidate);
            }
        }
        best.1
    }

    /// Takes in a trial at a load: the probability that the service level is met there as far as its requests tell, and how its queue grew.
    /// No candidate is made less likely, against any other, by more than [`MOST_CERTAIN`] allows.
    pub fn update(&mut self, load: f64, met_probability: f64, growth: Option<QueueGrowth>) {
        let growth = growth.and_then(KeepingUp::of);
        let met = level_met(load, met_probability, growth.as_ref());
        self.unsure = (0.02..0.98).contains(&met);
        let likelihood = |candidate: f64| {
            let (stable, overloaded) = match &growth {
                None => (1.0, 0.0),
                Some(growth) if candidate >= load => (growth.stable(), 0.0),
                Some(growth) => (growth.stable(), growth.overloaded(candidate, load)),
            };
            let met = if candidate >= load { met_probability } else { 1.0 - met_probability };
            met * stable + overloaded
        };
        let likelihoods: Vec<f64> = self.candidates.iter().map(|candidate| likelihood(*candidate)).collect();
        let least = likelihoods.iter().copied().fold(0.0, f64::max) * (1.0 - MOST_CERTAIN) / MOST_CERTAIN;
        for (likelihood, weight) in likelihoods.iter().zip(&mut self.weights) {
            *weight *= likelihood.max(least);
        }
        let sum: f64 = self.weights.iter().sum();
        self.weights.iter_mut().for_each(|weight| *weight /= sum);
    }

    /// The median, and the ends of the interval that leaves equal parts of what is outside `coverage` on both sides.
    pub fn answer(&self, coverage: f64) -> (f64, f64, f64) {
        let tail = (1.0 - coverage) / 2.0;
        let at = |mass| self.candidates[self.place(mass)];
        (at(0.5), at(tail), at(1.0 - tail))
    }

    /// The lowest load that there is to try.
    pub fn lowest(&self) -> f64 {
        self.candidates.get(1).copied().unwrap_or(0.0)
    }

    /// Whether the answer lies at an end of what was looked at: (the lowest, the highest).
    pub fn at_bounds(&self, coverage: f64) -> (bool, bool) {
        let tail = (1.0 - coverage) / 2.0;
        (self.place(tail) == 0, self.place(1.0 - tail) + 1 == self.candidates.len())
    }

    /// The first candidate with at least this much of the belief up to it.
    fn place(&self, mass: f64) -> usize {
        let mut sum = 0.0;
        let found = self.weights.iter().position(|weight| {
            sum += weight;
            sum >= mass
        });
        found.unwrap_or(self.candidates.len() - 1)
    }
}

/// The probability that the level is met at a load, from one trial alone: that its requests say so and the engine keeps up.
pub(super) fn level_met(load: f64, met_probability: f64, growth: Option<&KeepingUp>) -> f64 {
    met_probability * growth.map_or(1.0, |growth| growth.probability(load))
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_xoshiro::Xoshiro256PlusPlus;

    use super::*;

    #[test]
    fn sure_answers_find_a_rate_in_eleven_trials() {
        for truth in [2.3, 17.0, 88.8, 140.0] {
            let mut search = Search::rates(1.5, 150.0);
            let mut trials = 0;
            loop {
                let at = search.next();
                search.update(at, if at <= truth { 0.998 } else { 0.002 }, None);
                trials += 1;
                let (_, low, high) = search.answer(0.95);
                if (high - low) / (high + low) <= 0.03 {
                    assert!(low <= truth * 1.003 && truth <= high * 1.003, "{truth}: {low} to {high}");
                    break;
                }
            }
            assert!(trials <= 11, "{truth}: {trials}");
        }
    }

    #[test]
    fn a_level_that_nothing_meets_ends_at_no_rate() {
        let mut search = Search::rates(1.5, 150.0);
        for _ in 0..12 {
            let at = search.next();
            search.update(at, 0.002, None);
        }
        assert_eq!((search.answer(0.95), search.lowest()), ((0.0, 0.0, 0.0), 1.5));
    }

    #[test]
    fn answers_that_err_give_intervals_that_hold() {
        let mut held = 0;
        for seed in 0..200 {
            let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
            let truth = 3.0 + 100.0 * rng.random::<f64>();
            let mut search = Search::rates(1.5, 150.0);
            for _ in 0..20 {
                let at = search.next();
                let right = rng.random::<f64>() < 0.8;
                search.update(at, if (at <= truth) == right { 0.8 } else { 0.2 }, None);
            }
            let (_, low, high) = search.answer(0.95);
            held += u32::from((low..=high).contains(&truth));
        }
        // 95 % of 200, five standard deviations (3.1) down.
        assert!(held >= 175, "{held}");
    }

    /// A trial of so many requests at a server of 100 a second that any service level is met in: how its queue grew. `scatter` is the
    /// squared coefficient of variation of gaps and of service times: 0 or 1.
    fn trial(load: f64, requests: usize, scatter: (f64, f64), rng: &mut Xoshiro256PlusPlus) -> Option<QueueGrowth> {
        let mut draw = |mean: f64, scatter: f64| {
            if scatter > 0.0 { -(1.0 - rng.random::<f64>()).ln() * mean } else { mean }
        };
        let (mut now, mut free) = (0.0, 0.0_f64);
        let (mut ends, mut ended, mut in_system, mut offsets) = (Vec::new(), 0, Vec::new(), Vec::new());
        for arrived in 0..requests {
            free = free.max(now) + draw(0.01, scatter.1);
            ends.push(free);
            ended += ends[ended..].iter().take_while(|end| **end <= now).count();
            in_system.push((arrived + 1 - ended) as u32);
            offsets.push((now * 1e9) as u64);
            now += draw(1.0 / load, scatter.0);
        }
        QueueGrowth::of(&in_system, &offsets)
    }

    #[test]
    fn trials_too_short_to_break_the_level_find_the_throughput_by_their_queues() {
        for (requests, scatter) in [(500, (0.0, 0.0)), (500, (1.0, 0.0)), (500, (1.0, 1.0)), (4000, (1.0, 1.0))] {
            let (mut held, mut worst, mut trials) = (0, 0.0_f64, 0);
            for seed in 0..200 {
                let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
                let mut search = Search::rates(1.5, 150.0);
                for _ in 0..15 {
                    let at = search.next();
                    search.update(at, MOST_CERTAIN, trial(at, requests, scatter, &mut rng));
                    trials += 1;
                    let (_, low, high) = search.answer(0.95);
                    if high - low <= 0.03 * (high + low) {
                        break;
                    }
                }
                let (median, low, high) = search.answer(0.95);
                held += u32::from((low..=high).contains(&100.0));
                let off = median / 100.0 - 1.0;
                if off.abs() > worst.abs() {
                    worst = off;
                }
            }
            println!("{requests} {scatter:?}: {held} of 200 hold, worst {worst:.3}, {trials} trials");
            // 95 % of 200, five standard deviations (3.1) down.
            assert!(held >= 175, "{requests} {scatter:?}: {held}");
            assert!(scatter.0 + scatter.1 > 0.0 || worst.abs() <= 0.03, "{worst}");
        }
    }

    #[test]
    fn counts_end_at_one_number_or_at_none() {
        for truth in [0, 1, 5, 64, 200] {
            let mut search = Search::counts(200);
            for _ in 0..14 {
                let at = search.next();
                search.update(at, if at <= f64::from(truth) { 0.998 } else { 0.002 }, None);
            }
            let (median, ..) = search.answer(0.95);
            assert_eq!(median, f64::from(truth));
            assert_eq!(search.at_bounds(0.5), (truth == 0, truth == 200), "{truth}");
        }
    }
}
