//! Mean and standard deviation of a stream.

/// Values added at a time: the block's two passes stay in the processor's first cache.
const BLOCK: usize = 2048;

/// Mean and sum of squared deviations, merged block by block.
///
/// Source: Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances" (1979),
/// the block form of Welford (1962). A sum of squares would lose a small spread far from zero.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Moments {
    n: u64,
    mean: f64,
    m2: f64,
}

impl Moments {
    pub(super) fn n(&self) -> u64 {
        self.n
    }

    /// Adds values.
    pub(super) fn add(&mut self, values: &[u64]) {
        for block in values.chunks(BLOCK) {
            let n = block.len() as f64;
            // Offsets from the first value: a block's own mean is then exact to the last digits, however large it is.
            let Some(&first) = block.first() else { return };
            let offset = |value: &u64| (*value as i128 - i128::from(first)) as f64;
            let offset_small = |value: &u64| value.wrapping_sub(first) as i64 as f64;
            // All of a block's differences fit in an i64 unless a value is beyond 292 years.
            let small = block.iter().fold(0, |all, value| all | value) >> 62 == 0;
            let (shift, m2) = if small { two_pass(block, n, offset_small) } else { two_pass(block, n, offset) };
            self.merge(block.len() as u64, first as f64 + shift, m2);
        }
    }

    fn merge(&mut self, n: u64, mean: f64, m2: f64) {
        let total = (self.n + n) as f64;
        let delta = mean - self.mean;
        self.m2 += m2 + delta * delta * (self.n as f64 * n as f64 / total);
        self.mean += delta * (n as f64 / total);
        self.n += n;
    }

    /// Arithmetic mean; None without values.
    pub(super) fn mean(&self) -> Option<f64> {
        (self.n > 0).then_some(self.mean)
    }

    /// Sample standard deviation (n − 1); None with fewer than two values.
    pub(super) fn sd(&self) -> Option<f64> {
        (self.n > 1).then(|| (self.m2 / (self.n - 1) as f64).sqrt())
    }
}

fn two_pass(block: &[u64], n: f64, offset: impl Fn(&u64) -> f64) -> (f64, f64) {
    let shift = sum(block, &offset) / n;
    let m2 = sum(block, |value| {
        let deviation = offset(value) - shift;
        deviation * deviation
    });
    (shift, m2)
}

/// Four running sums: additions of floats must keep their order, so a single one would wait for each before it.
fn sum(block: &[u64], of: impl Fn(&u64) -> f64) -> f64 {
    let mut sums = [0.0; 4];
    let (fours, rest) = block.as_chunks::<4>();
    for four in fours {
        for (sum, value) in sums.iter_mut().zip(four) {
            *sum += of(value);
        }
    }
    sums.iter().sum::<f64>() + rest.iter().map(of).sum::<f64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_and_single_values_agree() {
        let values: Vec<u64> = (0..10_001_u64).map(|i| 1_000_000 + (i * i) % 7919).collect();
        let (mut whole, mut single) = (Moments::default(), Moments::default());
        whole.add(&values);
        for value in &values {
            single.add(&[*value]);
        }
        assert_eq!(whole.n(), single.n());
        assert!((whole.mean().unwrap() / single.mean().unwrap() - 1.0).abs() < 1e-14);
        assert!((whole.sd().unwrap() / single.sd().unwrap() - 1.0).abs() < 1e-9);
    }

    #[test]
    fn huge_values_do_not_wrap() {
        let mut moments = Moments::default();
        moments.add(&[0, u64::MAX]);
        let half = u64::MAX as f64 / 2.0;
        assert!((moments.mean().unwrap() / half - 1.0).abs() < 1e-12);
        assert!((moments.sd().unwrap() / (half * 2.0_f64.sqrt()) - 1.0).abs() < 1e-12);
    }
}
