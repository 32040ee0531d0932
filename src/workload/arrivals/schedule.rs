//! The timeline of an open load: every arrival's time, made before the trial.
use rand::RngExt;
use rand_xoshiro::Xoshiro256PlusPlus;

use super::{ArrivalError, ArrivalSpec, GapLaw, Process, read_trace};
use crate::workload::{rng_for, standard_normal};

/// Tells the schedule's draws apart from those of the prompts.
const STREAM: u64 = 0x6172_7269_7661_6c73;
const YEAR_S: f64 = 365.0 * 86400.0;

/// When each request of a trial is due, in nanoseconds after the trial's start, in order.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    offsets_ns: Vec<u64>,
    law: GapLaw,
}

impl Schedule {
    /// Makes the timeline of `requests` requests. The same seed and stream give the same one on every machine.
    ///
    /// # Errors
    /// [`ArrivalError`] for rates that cannot be, and traces that cannot be read or have too few requests.
    pub fn new(spec: &ArrivalSpec, requests: u32, seed: u64, stream: u64) -> Result<Self, ArrivalError> {
        spec.check()?;
        if requests == 0 {
            return Err(ArrivalError::None("request"));
        }
        let rng = &mut rng_for(&[seed, stream, STREAM]);
        let rate = spec.rate.unwrap_or(f64::NAN);
        let n = f64::from(requests);
        let (times, law) = match &spec.process {
            Process::Poisson => (sums(requests, || exponential(rng) / rate), GapLaw::Gamma { shape: 1.0, rate }),
            Process::PoissonTotal => {
                let mut times = sums(requests, || exponential(rng));
                let stretch = times.last().map_or(1.0, |last| n / rate / last);
                times.iter_mut().for_each(|time| *time *= stretch);
                (times, GapLaw::Gamma { shape: 1.0, rate })
            }
            &Process::Gamma(shape) => {
                (sums(requests, || gamma(rng, shape) / (shape * rate)), GapLaw::Gamma { shape, rate })
            }
            Process::Constant => ((0..requests).map(|i| f64::from(i) / rate).collect(), GapLaw::Fixed),
            &Process::Burst(size) => {
                ((0..requests).map(|i| f64::from(i / size * size) / rate).collect(), GapLaw::Fixed)
            }
            &Process::LinearRamp(to) => {
                ramp(requests, rng, GapLaw::Linear { from: rate, to, seconds: 2.0 * n / (rate + to) })
            }
            &Process::ExponentialRamp(to) => {
                let mean = if to == rate { rate } else { (to - rate) / (to / rate).ln() };
                ramp(requests, rng, GapLaw::Exponential { from: rate, to, seconds: n / mean })
            }
            Process::Trace(file) => (trace(file, requests, spec.rate)?, GapLaw::Fixed),
        };
        let seconds = times.last().copied().unwrap_or(0.0);
        if seconds > YEAR_S {
            return Err(ArrivalError::TooLong { requests, seconds });
        }
        Ok(Self { offsets_ns: times.iter().map(|time| (time * 1e9).round() as u64).collect(), law })
    }

    /// Nanoseconds after the trial's start, in order, one a request.
    pub fn offsets_ns(&self) -> &[u64] {
        &self.offsets_ns
    }

    /// What the gaps between arrivals were drawn from.
    pub fn law(&self) -> GapLaw {
        self.law
    }

    /// The content hash: BLAKE3, in hex, over the offsets as little-endian `u64`, in order.
    pub fn digest(&self) -> String {
        blake3::hash(zerocopy::IntoBytes::as_bytes(self.offsets_ns.as_slice())).to_hex().to_string()
    }
}

fn sums(requests: u32, mut gap: impl FnMut() -> f64) -> Vec<f64> {
    (0..requests)
        .scan(0.0, |time, _| {
            *time += gap();
            Some(*time)
        })
        .collect()
}

/// A Poisson process of changing rate, by inverting the expected number of arrivals so far (Çınlar 1975).
fn ramp(requests: u32, rng: &mut Xoshiro256PlusPlus, law: GapLaw) -> (Vec<f64>, GapLaw) {
    let units = sums(requests, || exponential(rng));
    (units.into_iter().map(|expected| law.time_of(expected)).collect(), law)
}

fn trace(file: &std::path::Path, requests: u32, rate: Option<f64>) -> Result<Vec<f64>, ArrivalError> {
    let mut times = read_trace(file, requests as usize)?;
    if let Some(rate) = rate {
        let span = times.last().copied().unwrap_or(0.0);
        // n arrivals from 0 on have n − 1 gaps.
        let stretch = if span > 0.0 { f64::from(requests.saturating_sub(1)) / rate / span } else { 0.0 };
        times.iter_mut().for_each(|time| *time *= stretch);
    }
    Ok(times)
}

/// An exponential number of mean 1.
fn exponential(rng: &mut Xoshiro256PlusPlus) -> f64 {
    -(1.0 - rng.random::<f64>()).ln() // (0, 1]: its logarithm is finite
}

/// A gamma number of this shape and scale 1, by Marsaglia and Tsang (2000), with their boost for shapes under 1.
fn gamma(rng: &mut Xoshiro256PlusPlus, shape: f64) -> f64 {
    if shape < 1.0 {
        let boost = (1.0 - rng.random::<f64>()).powf(1.0 / shape);
        return gamma(rng, shape + 1.0) * boost;
    }
    let d = shape - 1.0 / 3.0;
    let c = 1.0 / (9.0 * d).sqrt();
    loop {
        let x = standard_normal(rng);
        let v = (1.0 + c * x).powi(3);
        let u = 1.0 - rng.random::<f64>();
        if v > 0.0 && u.ln() < 0.5 * x * x + d - d * v + d * v.ln() {
            return d * v;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::*, *};

    const N: u32 = 20_000;

    fn schedule(process: &str, rate: f64, seed: u64) -> Schedule {
        let spec = ArrivalSpec { process: process.parse().unwrap(), rate: Some(rate) };
        Schedule::new(&spec, N, seed, 0).unwrap()
    }

    fn seconds(schedule: &Schedule) -> Vec<f64> {
        schedule.offsets_ns().iter().map(|ns| *ns as f64 / 1e9).collect()
    }

    #[test]
    fn gaps_follow_the_named_law() {
        for (process, variation) in
            [("poisson", 1.0), ("poisson:total", 1.0), ("gamma:0.5", 2.0), ("gamma:0.2", 5.0), ("gamma:4", 0.25)]
        {
            let made = schedule(process, 50.0, 7);
            let times = seconds(&made);
            let ks = ks_test(&times, made.law()).unwrap();
            assert!(ks.p > 0.01, "{process}: {ks:?}");
            // Mean gap 20 ms; its standard error is 20 ms · sqrt(variation / n).
            let (mean, error) = (times[times.len() - 1] / f64::from(N), 0.02 * (variation / f64::from(N)).sqrt());
            assert!((mean - 0.02).abs() <= 4.0 * error, "{process}: {mean}");
            let found = dispersion(&times, 100.0).unwrap();
            // Counts over long times have variance / mean of the gaps' squared variation; conditioning takes little.
            assert!((found / variation - 1.0).abs() < 0.35, "{process}: {found} for {variation}");
            assert!(made.offsets_ns().is_sorted());
        }
    }

    #[test]
    fn another_law_is_told_apart() {
        let times = seconds(&schedule("gamma:0.5", 50.0, 7));
        assert!(ks_test(&times, GapLaw::Gamma { shape: 1.0, rate: 50.0 }).unwrap().p < 1e-6);
        let times = seconds(&schedule("poisson", 55.0, 7));
        assert!(ks_test(&times, GapLaw::Gamma { shape: 1.0, rate: 50.0 }).unwrap().p < 1e-3);
    }

    #[test]
    fn conditioning_fixes_the_total_and_free_poisson_does_not() {
        let last = |process, seed| schedule(process, 50.0, seed).offsets_ns()[N as usize - 1];
        assert!((1..5).all(|seed| last("poisson:total", seed).abs_diff(400_000_000_000) <= 1));
        let free: Vec<u64> = (1..9).map(|seed| last("poisson", seed)).collect();
        // Standard deviation of the total: 400 s / sqrt(20,000) = 2.8 s.
        assert!(free.iter().all(|ns| ns.abs_diff(400_000_000_000) < 12_000_000_000), "{free:?}");
        assert!(free.iter().any(|ns| ns.abs_diff(400_000_000_000) > 500_000_000), "{free:?}");
    }

    #[test]
    fn ramps_change_their_rate_as_they_say() {
        // Linear from 20 to 80: expected length 400 s, a quarter of the requests in the first 0.387 of it
        // (20 t + 0.075 t² = 5000). Exponential: e^(kt) with k = ln 4 / T.
        for (process, quarter) in [("ramp:linear:80", 0.3874), ("ramp:exponential:80", 0.4037)] {
            let made = schedule(process, 20.0, 3);
            let times = self::seconds(&made);
            let (GapLaw::Linear { seconds, .. } | GapLaw::Exponential { seconds, .. }) = made.law() else { panic!() };

            assert!((times[N as usize - 1] / seconds - 1.0).abs() < 0.03, "{process}");
            assert!(
                (times[N as usize / 4] / seconds - quarter).abs() < 0.02,
                "{process}: {}",
                times[N as usize / 4] / seconds
            );
            assert!(ks_test(&times, made.law()).unwrap().p > 0.01, "{process}");
        }
    }

    #[test]
    fn constant_and_bursts_are_exact() {
        let constant = schedule("constant", 1000.0, 1);
        assert_eq!(&constant.offsets_ns()[..3], [0, 1_000_000, 2_000_000]);
        assert_eq!(constant.offsets_ns()[N as usize - 1], 19_999_000_000);
        let burst = schedule("burst:4", 1000.0, 1);
        assert_eq!(&burst.offsets_ns()[3..9], [0, 4_000_000, 4_000_000, 4_000_000, 4_000_000, 8_000_000]);
    }

    #[test]
    fn the_digest_tells_seeds_and_processes_apart() {
        let digest = |process, seed| schedule(process, 50.0, seed).digest();
        assert_eq!(digest("poisson", 1), digest("poisson", 1));
        assert_ne!(digest("poisson", 1), digest("poisson", 2));
        assert_ne!(digest("poisson", 1), digest("gamma:1", 1));
    }

    #[test]
    fn a_timeline_of_years_is_refused() {
        let spec = ArrivalSpec { process: Process::Constant, rate: Some(1e-6) };
        let error = Schedule::new(&spec, 1000, 1, 0).unwrap_err().to_string();
        assert!(error.contains("at most a year"), "{error}");
    }
}
