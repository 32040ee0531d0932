//! What gaps between arrivals are drawn from, and tests whether they are.
use serde::{Deserialize, Serialize};
use statrs::function::gamma::gamma_lr;

/// What the gaps between arrivals were drawn from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum GapLaw {
    /// Gamma gaps of this shape and mean 1 / rate; shape 1 is exponential.
    Gamma {
        /// The shape.
        shape: f64,
        /// Requests a second.
        rate: f64,
    },
    /// A Poisson process whose rate changes linearly, and stays at its last value after `seconds`.
    Linear {
        /// Requests a second at the start.
        from: f64,
        /// And at the end.
        to: f64,
        /// How long the change takes.
        seconds: f64,
    },
    /// A Poisson process whose rate changes exponentially, and stays at its last value after `seconds`.
    Exponential {
        /// Requests a second at the start.
        from: f64,
        /// And at the end.
        to: f64,
        /// How long the change takes.
        seconds: f64,
    },
    /// Nothing is drawn: the times are given.
    Fixed,
}

impl GapLaw {
    /// When so many arrivals are expected to have come, in seconds: the inverse of the expected number.
    pub(super) fn time_of(&self, expected: f64) -> f64 {
        match *self {
            Self::Gamma { rate, .. } => expected / rate,
            Self::Linear { from, to, seconds } => {
                let all = (from + to) / 2.0 * seconds;
                if expected >= all {
                    return seconds + (expected - all) / to;
                }
                // from·t + slope·t²/2 = expected, solved without cancellation.
                let slope = (to - from) / seconds;
                2.0 * expected / (from + (from * from + 2.0 * slope * expected).sqrt())
            }
            Self::Exponential { from, to, seconds } => {
                let growth = (to / from).ln() / seconds;
                if growth == 0.0 {
                    return expected / from;
                }
                let all = (to - from) / growth;
                if expected >= all {
                    return seconds + (expected - all) / to;
                }
                (expected * growth / from).ln_1p() / growth
            }
            Self::Fixed => expected,
        }
    }

    /// How many arrivals are expected by a time in seconds.
    fn expected_by(&self, time: f64) -> f64 {
        match *self {
            Self::Gamma { rate, .. } => rate * time,
            Self::Linear { from, to, seconds } => {
                let inside = time.min(seconds);
                from * inside + (to - from) / seconds * inside * inside / 2.0 + to * (time - inside)
            }
            Self::Exponential { from, to, seconds } => {
                let growth = (to / from).ln() / seconds;
                let inside = time.min(seconds);
                let ramped = if growth == 0.0 { from * inside } else { from * (growth * inside).exp_m1() / growth };
                ramped + to * (time - inside)
            }
            Self::Fixed => time,
        }
    }

    /// A nanosecond in expected arrivals, where they come fastest.
    fn tick(&self) -> f64 {
        1e-9 * match *self {
            Self::Gamma { rate, .. } => rate,
            Self::Linear { from, to, .. } | Self::Exponential { from, to, .. } => from.max(to),
            Self::Fixed => 0.0,
        }
    }

    /// The probability of a gap of at most `gap` expected arrivals; None where nothing is drawn.
    fn cdf(&self, gap: f64) -> Option<f64> {
        match *self {
            Self::Fixed => None,
            _ if gap <= 0.0 => Some(0.0),
            Self::Gamma { shape, .. } if shape != 1.0 => Some(gamma_lr(shape, shape * gap)),
            _ => Some(-(-gap).exp_m1()),
        }
    }
}

/// A Kolmogorov–Smirnov test of one sample against a law.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct KsTest {
    /// Largest distance between the sample's distribution and the law's.
    pub statistic: f64,
    /// The probability of at least that distance if the law holds, by Kolmogorov's limit with Stephens's correction for
    /// finite samples (1970).
    pub p: f64,
    /// How many gaps.
    pub gaps: u64,
}

/// Tests the gaps between successive times, in seconds, against a law. Times of a changing rate are first counted in
/// expected arrivals, which makes the gaps exponential if the law holds (the time-rescaling theorem; Papangelou 1972).
/// None where the law draws nothing, or for fewer than 20 gaps.
pub fn ks_test(times: &[f64], law: GapLaw) -> Option<KsTest> {
    let mut gaps: Vec<f64> = times.windows(2).map(|pair| law.expected_by(pair[1]) - law.expected_by(pair[0])).collect();
    if gaps.len() < 20 {
        return None;
    }
    gaps.sort_unstable_by(f64::total_cmp);
    let n = gaps.len() as f64;
    // Times are whole nanoseconds: a gap may have been longer or shorter by one, which counts where many gaps are tiny.
    let tick = law.tick();
    let mut statistic = 0.0_f64;
    for (index, gap) in gaps.iter().enumerate() {
        let (below, above) = (index as f64 / n, (index + 1) as f64 / n);
        statistic = statistic.max(above - law.cdf(*gap + tick)?).max(law.cdf(*gap - tick)? - below);
    }
    let x = (n.sqrt() + 0.12 + 0.11 / n.sqrt()) * statistic;
    let sum: f64 = (1..=100).map(|k| f64::from(1 - 2 * ((k + 1) % 2)) * (-2.0 * f64::from(k * k) * x * x).exp()).sum();
    let p = if x < 0.2 { 1.0 } else { (2.0 * sum).clamp(0.0, 1.0) };
    Some(KsTest { statistic, p, gaps: gaps.len() as u64 })
}

/// Index of dispersion of arrivals, as planned and as released.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Dispersion {
    /// Of the scheduled times.
    pub scheduled: f64,
    /// Of the released ones.
    pub released: f64,
}

/// Index of dispersion for counts (Cox and Lewis 1966): variance / mean of the numbers of arrivals in windows that each hold
/// `per_window` arrivals on average. 1 for a Poisson process, 0 for an even one. None with fewer than 10 windows.
pub fn dispersion(times: &[f64], per_window: f64) -> Option<f64> {
    let (first, last) = (*times.first()?, *times.last()?);
    let mean_gap = (last - first) / (times.len() as f64 - 1.0);
    let width = per_window * mean_gap;
    // Half a gap early, so that even arrivals lie in the middle of their part of a window.
    let start = first - mean_gap / 2.0;
    let windows = (times.len() as f64 / per_window).floor();
    if windows.is_nan() || windows < 10.0 || width <= 0.0 {
        return None;
    }
    let mut counts = vec![0.0_f64; windows as usize];
    for time in times {
        if let Some(count) = counts.get_mut(((time - start) / width) as usize) {
            *count += 1.0;
        }
    }
    let mean = counts.iter().sum::<f64>() / windows;
    let squares: f64 = counts.iter().map(|count| (count - mean).powi(2)).sum();
    Some(squares / (windows - 1.0) / mean)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_and_expected_number_invert_each_other() {
        for law in [
            GapLaw::Linear { from: 5.0, to: 45.0, seconds: 10.0 },
            GapLaw::Linear { from: 45.0, to: 5.0, seconds: 10.0 },
            GapLaw::Exponential { from: 5.0, to: 45.0, seconds: 10.0 },
            GapLaw::Exponential { from: 5.0, to: 5.0, seconds: 10.0 },
        ] {
            for time in [0.0, 0.1, 5.0, 9.99, 10.0, 12.5] {
                let back = law.time_of(law.expected_by(time));
                assert!((back - time).abs() < 1e-9, "{law:?}: {time} came back as {back}");
            }
        }
    }

    #[test]
    fn kolmogorovs_limit_is_the_published_one() {
        // 5 % critical value of the limit: 1.3581. A sample that lies so far from the uniform law of its gaps.
        let n = 10_000;
        let shift = 1.3581 / f64::from(n).sqrt();
        let quantile = |u: f64| -(-u).ln_1p();
        let times: Vec<f64> = std::iter::once(0.0)
            .chain((0..n).scan(0.0, |time, i| {
                let u = ((f64::from(i) + 0.5) / f64::from(n)).max(shift);
                *time += quantile(u);
                Some(*time)
            }))
            .collect();
        let ks = ks_test(&times, GapLaw::Gamma { shape: 1.0, rate: 1.0 }).unwrap();
        assert!((ks.p - 0.05).abs() < 0.003, "{ks:?}");
    }

    #[test]
    fn even_arrivals_are_not_dispersed_and_bursts_are() {
        let even: Vec<f64> = (0..1000).map(|i| f64::from(i) * 0.1).collect();
        assert!(dispersion(&even, 10.0).unwrap() < 0.01);
        let bursts: Vec<f64> = (0..1000).map(|i| f64::from(i / 20) * 2.0).collect();
        assert!(dispersion(&bursts, 10.0).unwrap() > 8.0);
        assert_eq!(dispersion(&even[..50], 10.0), None);
    }
}
