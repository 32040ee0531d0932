//! Tells when warm-up trials have reached a steady state.
//!
//! A fixed count is the field's habit and its trap: caches fill, clocks ramp and graphs are captured on their own
//! schedule (llama.cpp pull request 21282: 25 232 ± 17 263 t/s after one warm-up run, 42 935 ± 240 after four). Two equal
//! durations prove nothing either: in a trial of ours the first timed batch after two like warm-ups was 36 % slower.
//! So at least three trials in a row must agree, and a machine that is noisy for good must show that it has no trend.

/// Trials in a row that must agree.
const WINDOW: usize = 3;
/// How far apart they may lie, as a fraction of their median.
const SPREAD: f64 = 0.05;
/// A window that only falls, by more than this fraction of its median, is still on its way down.
const FALL: f64 = 0.02;
/// Trials over which a noisy series is tested for a trend.
const LONG: usize = 8;
/// Mann-Kendall's S of 8 values stays below this, either way, in 90 % of all orders (Kendall 1970, table A1: P(S ≥ 12)
/// = 0.089 one-sided).
const NO_TREND: i32 = 12;

/// What the warm-up trials so far show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Steadiness {
    /// Too few trials, or their durations still move.
    NotYet,
    /// The last three durations lie within 5 % and do not fall on and on.
    Calm,
    /// Noisier than that, but the last eight have no trend and the middle of the last three lies among the five before.
    Level,
}

impl Steadiness {
    /// Whether timing may begin.
    pub fn is_steady(self) -> bool {
        self != Self::NotYet
    }
}

/// The detector: fed the durations of warm-up trials one by one.
#[derive(Clone, Debug, Default)]
pub struct Steady {
    seconds: Vec<f64>,
}

impl Steady {
    /// No trials yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next warm-up trial's duration in seconds and says where the series stands.
    pub fn push(&mut self, seconds: f64) -> Steadiness {
        self.seconds.push(seconds);
        self.state()
    }

    /// The durations so far, in seconds.
    pub fn seconds(&self) -> &[f64] {
        &self.seconds
    }

    /// Where the series stands.
    pub fn state(&self) -> Steadiness {
        let last = |n: usize| self.seconds.len().checked_sub(n).map(|start| &self.seconds[start..]);
        if last(WINDOW).is_some_and(calm) {
            Steadiness::Calm
        } else if last(LONG).is_some_and(level) {
            Steadiness::Level
        } else {
            Steadiness::NotYet
        }
    }
}

/// Compared as differences, so that durations of 0 (a simulated engine without cost) are calm too.
fn calm(window: &[f64]) -> bool {
    let Some(middle) = super::interval::median(window) else { return false };
    let (low, high) = extremes(window);
    let falling = window.windows(2).all(|pair| pair[1] < pair[0]) && high - low > FALL * middle;
    high - low <= SPREAD * middle && !falling
}

fn level(long: &[f64]) -> bool {
    let trend: i32 = long
        .iter()
        .enumerate()
        .flat_map(|(i, early)| long[i + 1..].iter().map(move |late| late.total_cmp(early) as i32))
        .sum();
    let (early, late) = long.split_at(LONG - WINDOW);
    let (low, high) = extremes(early);
    trend.abs() < NO_TREND && super::interval::median(late).is_some_and(|late| (low..=high).contains(&late))
}

fn extremes(values: &[f64]) -> (f64, f64) {
    values.iter().fold((f64::MAX, f64::MIN), |(low, high), &x| (low.min(x), high.max(x)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// After how many warm-up trials the detector lets go.
    fn steady_after(seconds: &[f64]) -> Option<usize> {
        let mut steady = Steady::new();
        seconds.iter().position(|&s| steady.push(s).is_steady()).map(|index| index + 1)
    }

    #[test]
    fn a_calm_engine_needs_three() {
        assert_eq!(steady_after(&[1.0, 1.01, 0.99, 1.0]), Some(3));
        assert_eq!(steady_after(&[0.0, 0.0, 0.0]), Some(3));
        assert_eq!(steady_after(&[1.0, 1.0]), None);
    }

    #[test]
    fn one_slow_batch_after_two_like_ones_starts_the_count_again() {
        // The case from our own trials: a late capture or allocation makes the third batch 36 % slower.
        assert_eq!(steady_after(&[1.0, 1.0, 1.36, 1.0, 1.0, 1.0]), Some(6));
    }

    #[test]
    fn a_cold_start_and_a_slow_descent_are_waited_out() {
        assert_eq!(steady_after(&[9.0, 1.6, 1.01, 1.0, 1.0, 1.0]), Some(5));
        // 3 % faster each time: every window of three lies within 6 %, none is steady.
        let descent: Vec<f64> = (0..12).map(|i| 0.97_f64.powi(i)).collect();
        assert_eq!(steady_after(&descent), None);
        // 1.5 % faster each time lies within 5 % and still only falls.
        let descent: Vec<f64> = (0..12).map(|i| 0.985_f64.powi(i)).collect();
        assert_eq!(steady_after(&descent), None);
    }

    #[test]
    fn a_noisy_machine_is_let_go_once_it_shows_no_trend() {
        let noisy = [1.0, 1.12, 0.97, 1.1, 0.98, 1.09, 0.96, 1.1, 1.0, 1.1];
        let mut steady = Steady::new();
        let verdicts: Vec<_> = noisy.iter().map(|&s| steady.push(s)).collect();
        assert!(verdicts[..7].iter().all(|verdict| *verdict == Steadiness::NotYet));
        assert!(verdicts.contains(&Steadiness::Level), "{verdicts:?}");
        // As noisy, but falling by 4 % a trial on top.
        let falling: Vec<f64> = noisy.iter().enumerate().map(|(i, s)| s * 0.96_f64.powi(i as i32)).collect();
        assert_eq!(steady_after(&falling), None);
    }
}
