//! Counts of durations in bins of equal relative width.

/// Bins a doubling: a bin's ends are at most 1/64 apart, so that its middle is within 0.8 % of any value in it.
const STEPS: u32 = 64;
const STEP_BITS: u32 = STEPS.trailing_zeros();

/// How many durations, in nanoseconds, fell into which bin. Only the bins from the smallest duration to the largest are kept:
/// a run may have ten thousands of these.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::report) struct Histogram {
    /// Which bin the first of `bins` is.
    first: usize,
    bins: Vec<u64>,
    n: u64,
}

fn bin(ns: u64) -> usize {
    if ns < u64::from(STEPS) {
        return ns as usize;
    }
    let exponent = ns.ilog2();
    let mantissa = (ns >> (exponent - STEP_BITS)) & u64::from(STEPS - 1);
    ((exponent - STEP_BITS + 1) << STEP_BITS) as usize + mantissa as usize
}

/// The middle of a bin.
fn middle(bin: usize) -> f64 {
    let (octave, mantissa) = ((bin >> STEP_BITS) as i32, (bin & (STEPS as usize - 1)) as f64);
    if octave == 0 {
        return mantissa;
    }
    (f64::from(STEPS) + mantissa + 0.5) * 2_f64.powi(octave - 1)
}

impl Histogram {
    /// Counts a duration so many times.
    pub(super) fn record(&mut self, ns: u64, times: u64) {
        if times == 0 {
            return;
        }
        let bin = bin(ns);
        self.reach(bin, bin);
        self.bins[bin - self.first] += times;
        self.n += times;
    }

    /// Adds another's counts.
    pub(super) fn add(&mut self, other: &Self) {
        if other.bins.is_empty() {
            return;
        }
        self.reach(other.first, other.first + other.bins.len() - 1);
        for (mine, other) in self.bins[other.first - self.first..].iter_mut().zip(&other.bins) {
            *mine += other;
        }
        self.n += other.n;
    }

    /// Makes room from one bin to another.
    fn reach(&mut self, from: usize, to: usize) {
        if self.bins.is_empty() {
            self.first = from;
        }
        if from < self.first {
            self.bins.splice(..0, std::iter::repeat_n(0, self.first - from));
            self.first = from;
        }
        if to - self.first >= self.bins.len() {
            self.bins.resize(to - self.first + 1, 0);
        }
    }

    /// How many durations.
    pub(in crate::report) fn count(&self) -> u64 {
        self.n
    }

    /// (milliseconds, share of durations at most so long): at most about `most` points, evenly over the shares, and the
    /// last bin always.
    pub(in crate::report) fn cumulative(&self, most: usize) -> Vec<(f64, f64)> {
        let mut curve: Vec<(f64, f64)> = Vec::new();
        let (mut below, mut shown) = (0, -1.0);
        for (bin, count) in (self.first..).zip(&self.bins).filter(|(_, count)| **count > 0) {
            below += count;
            let share = below as f64 / self.n as f64;
            if share - shown >= 1.0 / most as f64 || below == self.n || curve.is_empty() {
                curve.push((middle(bin) / 1e6, share));
                shown = share;
            }
        }
        curve
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bin_is_within_its_width() {
        for ns in [0, 1, 63, 64, 65, 127, 128, 1_000, 123_456_789, u64::MAX / 3] {
            let error = (middle(bin(ns)) - ns as f64).abs();
            assert!(error <= ns as f64 * 0.0079 + 0.5, "{ns}: {error}");
        }
        assert!((1..5000_u64).all(|ns| bin(ns) >= bin(ns - 1)));
    }

    #[test]
    fn the_curve_ends_at_one_and_keeps_few_points() {
        let mut histogram = Histogram::default();
        (1..=10_000).for_each(|i| histogram.record(i * 1000, 1));
        let mut other = Histogram::default();
        other.record(20_000_000, 10_000);
        histogram.add(&other);
        let curve = histogram.cumulative(50);
        assert!(curve.len() <= 60 && histogram.count() == 20_000, "{}", curve.len());
        let (last, share) = *curve.last().unwrap();
        assert!((last - 20.0).abs() < 0.2 && share == 1.0);
        let half = curve.iter().find(|(_, share)| *share >= 0.25).unwrap();
        assert!((half.0 - 5.0).abs() < 0.3, "{half:?}");
        assert!(Histogram::default().cumulative(50).is_empty());
    }
}
