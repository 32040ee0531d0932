//! A distribution of durations, fed one after another in bounded memory.
use hdrhistogram::Histogram;

use super::moments::Moments;
use crate::results::Quantiles;

/// Values up to this many are kept and the percentiles are exact (2 MiB); beyond, they are counted in a histogram.
pub const EXACT_UP_TO: usize = 1 << 18;
/// Significant decimal digits of the histogram: its buckets are at most 1/1024 of their value wide, so that a bucket's
/// middle is within 1/2048 of any value in it.
const DIGITS: u8 = 3;
/// Largest relative error of a percentile read from the histogram.
pub const HISTOGRAM_ERROR: f64 = 1.0 / 2048.0;
const NS_A_MS: f64 = 1e6;

enum Store {
    Exact(Vec<u64>),
    Counted(Histogram<u64>),
}

/// Durations in nanoseconds in, their summary in milliseconds out.
///
/// Percentiles interpolate linearly between order statistics (Hyndman and Fan 1996, type 7; NumPy's default). Mean and
/// standard deviation are merged block by block (Chan, Golub and LeVeque 1979), never from a sum of squares.
pub struct Distribution {
    store: Store,
    moments: Moments,
    min: u64,
    max: u64,
    exact_up_to: usize,
}

impl Default for Distribution {
    fn default() -> Self {
        Self::new(EXACT_UP_TO)
    }
}

impl Distribution {
    /// An empty distribution that is exact up to so many values.
    pub fn new(exact_up_to: usize) -> Self {
        Self { store: Store::Exact(Vec::new()), moments: Moments::default(), min: u64::MAX, max: 0, exact_up_to }
    }

    /// How many values so far.
    pub fn len(&self) -> u64 {
        self.moments.n()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds one value in nanoseconds.
    pub fn record(&mut self, value_ns: u64) {
        self.record_all(&[value_ns]);
    }

    /// Adds values in nanoseconds: much cheaper for many at once.
    pub fn record_all(&mut self, values_ns: &[u64]) {
        self.moments.add(values_ns);
        for &value in values_ns {
            self.min = self.min.min(value);
            self.max = self.max.max(value);
        }
        if let Store::Exact(kept) = &mut self.store {
            if kept.len() + values_ns.len() <= self.exact_up_to {
                kept.extend_from_slice(values_ns);
                return;
            }
            if let Some(mut histogram) = new_histogram() {
                count(&mut histogram, kept);
                self.store = Store::Counted(histogram);
            }
        }
        match &mut self.store {
            Store::Counted(histogram) => count(histogram, values_ns),
            // Only if the histogram could not be made, which its constant parameters rule out.
            Store::Exact(kept) => kept.extend_from_slice(values_ns),
        }
    }

    /// The summary in milliseconds; None without values.
    pub fn quantiles(&mut self) -> Option<Quantiles> {
        let n = self.len();
        if n == 0 {
            return None;
        }
        let wanted = [0.5, 0.9, 0.95, 0.99];
        let (found, error) = match &mut self.store {
            Store::Exact(values) => {
                values.sort_unstable();
                (wanted.map(|q| interpolate(q, n, |rank| values[rank as usize] as f64)), 0.0)
            }
            Store::Counted(histogram) => {
                let ends = (self.min, self.max);
                (counted(histogram, wanted, n, ends), HISTOGRAM_ERROR)
            }
        };
        let [p50, p90, p95, p99] = found.map(|ns| ns / NS_A_MS);
        Some(Quantiles {
            n,
            mean: self.moments.mean()? / NS_A_MS,
            sd: self.moments.sd().map(|sd| sd / NS_A_MS),
            min: self.min as f64 / NS_A_MS,
            p50,
            p90,
            p95,
            p99,
            max: self.max as f64 / NS_A_MS,
            error,
        })
    }
}

/// Over all of u64 from the start: a histogram that grows would clamp, or fail, on its way.
fn new_histogram() -> Option<Histogram<u64>> {
    Histogram::new_with_bounds(1, u64::MAX, DIGITS).ok()
}

fn count(histogram: &mut Histogram<u64>, values: &[u64]) {
    for &value in values {
        histogram.saturating_record(value);
    }
}

/// Type 7: at h = (n − 1)·q, between the values of rank ⌊h⌋ and ⌊h⌋ + 1, counted from 0.
fn interpolate(q: f64, n: u64, value_at: impl Fn(u64) -> f64) -> f64 {
    let h = (n - 1) as f64 * q;
    let low = h.floor();
    let at = value_at(low as u64);
    let above = if h > low { value_at((low as u64 + 1).min(n - 1)) } else { at };
    at + (above - at) * (h - low)
}

/// The same from a histogram: a rank's value is the middle of its bucket, kept inside the extremes, which are exact.
fn counted(histogram: &Histogram<u64>, wanted: [f64; 4], n: u64, (min, max): (u64, u64)) -> [f64; 4] {
    let buckets: Vec<(u64, f64)> = histogram
        .iter_recorded()
        .scan(0, |seen, bucket| {
            *seen += bucket.count_since_last_iteration();
            let middle = histogram.median_equivalent(bucket.value_iterated_to());
            Some((*seen, middle.clamp(min, max) as f64))
        })
        .collect();
    let value_at = |rank: u64| {
        let index = buckets.partition_point(|(seen, _)| *seen <= rank);
        buckets.get(index).map_or(max as f64, |(_, value)| *value)
    };
    wanted.map(|q| interpolate(q, n, value_at))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(found: f64, expected: f64) {
        assert!((found - expected).abs() <= 1e-12 * expected.abs(), "found {found}, expected {expected}");
    }

    #[test]
    fn figures_are_numpys() {
        // numpy.percentile([15, 20, 35, 40, 50], [50, 90, 95, 99]) = 35, 46, 48, 49.6; mean 32, std(ddof=1) 14.404860…
        let mut distribution = Distribution::default();
        for ms in [35, 20, 50, 15, 40] {
            distribution.record(ms * 1_000_000);
        }
        let q = distribution.quantiles().unwrap();
        assert_eq!((q.n, q.min, q.p50, q.max, q.error), (5, 15.0, 35.0, 50.0, 0.0));
        close(q.p90, 46.0);
        close(q.p95, 48.0);
        close(q.p99, 49.6);
        close(q.mean, 32.0);
        close(q.sd.unwrap(), 14.404_860_290_887_934);
    }

    #[test]
    fn one_value_has_no_spread_and_none_no_summary() {
        let mut distribution = Distribution::default();
        assert!(distribution.quantiles().is_none());
        distribution.record(2_500_000);
        let q = distribution.quantiles().unwrap();
        assert_eq!((q.n, q.sd, q.p50, q.p99), (1, None, 2.5, 2.5));
    }

    #[test]
    fn a_small_spread_far_from_zero_survives() {
        // A sum of squares loses this spread altogether (llama.cpp #24951).
        let mut distribution = Distribution::default();
        for ns in [1, 2, 3] {
            distribution.record(1_000_000_000_000_000 + ns);
        }
        close(distribution.quantiles().unwrap().sd.unwrap(), 1e-6);
    }

    #[test]
    fn beyond_the_bound_percentiles_are_within_the_stated_error() {
        let mut state = 1;
        let values: Vec<u64> = (0..200_000)
            .map(|i| {
                state = crate::workload::mix(state, i);
                // Six decades, and a gap in the middle at which a histogram's ranks are put to the test.
                if i % 2 == 0 { state % 1_000 } else { 1_000_000 + state % 900_000_000 }
            })
            .collect();
        let (mut exact, mut bounded) = (Distribution::new(values.len()), Distribution::new(1000));
        for part in values.chunks(777) {
            exact.record_all(part);
            bounded.record_all(part);
        }
        let (exact, bounded) = (exact.quantiles().unwrap(), bounded.quantiles().unwrap());
        assert_eq!((exact.error, bounded.error), (0.0, HISTOGRAM_ERROR));
        for (is, should) in
            [(bounded.p50, exact.p50), (bounded.p90, exact.p90), (bounded.p95, exact.p95), (bounded.p99, exact.p99)]
        {
            assert!((is - should).abs() <= HISTOGRAM_ERROR * should, "{is} for {should}");
        }
        close(bounded.mean, exact.mean);
        assert_eq!((bounded.n, bounded.min, bounded.max), (exact.n, exact.min, exact.max));
    }
}
