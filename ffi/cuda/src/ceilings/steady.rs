//! When a ceiling's samples are good enough: after they have stopped drifting.
use serde::Serialize;

/// Samples in a row that must lie close together before the timed ones begin.
const WINDOW: usize = 5;
/// How close: (largest − smallest) / median.
const SPREAD: f64 = 0.02;
/// Timed samples.
const TIMED: usize = 9;

/// What the samples of one ceiling were like. Seconds are of one repetition, by the device's events.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Samples {
    /// Samples before the timed ones.
    pub warmup: usize,
    /// Whether the warm-up was seen to end: its last samples lay within 2 % of each other.
    pub steady: bool,
    /// Timed samples.
    pub n: usize,
    /// Repetitions in a sample.
    pub repetitions: u32,
    /// Median of the timed samples: what the ceiling is made from.
    pub median_seconds: f64,
    /// Shortest.
    pub min_seconds: f64,
    /// Longest.
    pub max_seconds: f64,
}

/// Samples until steady, or until the warm-up has taken `budget` seconds, then samples for the figure. `sample` runs so many
/// repetitions and says how many seconds they took; how many is chosen so that a sample takes about `aim` seconds.
///
/// # Errors
/// What `sample` failed with, or that no time passed.
pub fn measure(budget: f64, aim: f64, mut sample: impl FnMut(u32) -> Result<f64, String>) -> Result<Samples, String> {
    let mut spent = 0.0;
    let mut repetitions = 1_u32;
    // The first runs load code and memory; what they take says little of what one run takes later.
    for _ in 0..3 {
        let seconds = positive(sample(repetitions)?)?;
        spent += seconds;
        repetitions = (aim / seconds * f64::from(repetitions)).clamp(1.0, 1e6) as u32;
    }
    let mut one = |spent: &mut f64| -> Result<f64, String> {
        let seconds = positive(sample(repetitions)?)?;
        *spent += seconds;
        Ok(seconds / f64::from(repetitions))
    };
    let mut warmup: Vec<f64> = Vec::new();
    let steady = loop {
        warmup.push(one(&mut spent)?);
        let last = &warmup[warmup.len().saturating_sub(WINDOW)..];
        if last.len() == WINDOW && spread(last) <= SPREAD {
            break true;
        }
        if spent >= budget {
            break false;
        }
    };
    let mut timed = Vec::with_capacity(TIMED);
    for _ in 0..TIMED {
        timed.push(one(&mut spent)?);
    }
    timed.sort_by(f64::total_cmp);
    Ok(Samples {
        warmup: warmup.len() + 3,
        steady,
        n: timed.len(),
        repetitions,
        median_seconds: timed[TIMED / 2],
        min_seconds: timed[0],
        max_seconds: timed[TIMED - 1],
    })
}

fn positive(seconds: f64) -> Result<f64, String> {
    if seconds > 0.0 { Ok(seconds) } else { Err(format!("expected some time to pass, the events say {seconds} s")) }
}

fn spread(samples: &[f64]) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    (sorted[sorted.len() - 1] - sorted[0]) / sorted[sorted.len() / 2]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_device_is_timed_after_one_window() {
        let samples = measure(1.0, 0.02, |repetitions| Ok(f64::from(repetitions) * 0.001)).unwrap();
        assert_eq!((samples.warmup, samples.steady, samples.n, samples.repetitions), (3 + WINDOW, true, TIMED, 20));
        assert!((samples.median_seconds - 0.001).abs() < 1e-12, "{samples:?}");
    }

    #[test]
    fn warm_up_goes_on_while_the_clock_still_rises() {
        let mut factor = 2.0;
        let samples = measure(10.0, 0.02, |repetitions| {
            factor = 1.0 + (factor - 1.0) * 0.8;
            Ok(f64::from(repetitions) * 0.001 * factor)
        })
        .unwrap();
        assert!(samples.steady && samples.warmup > 10, "{samples:?}");
        assert!(samples.median_seconds < 0.00103, "{samples:?}");
    }

    #[test]
    fn a_device_that_never_settles_is_timed_and_called_unsteady() {
        let mut slow = false;
        let samples = measure(0.5, 0.02, |repetitions| {
            slow = !slow;
            Ok(f64::from(repetitions) * if slow { 0.002 } else { 0.001 })
        })
        .unwrap();
        assert!(!samples.steady && samples.max_seconds > samples.min_seconds, "{samples:?}");
    }

    #[test]
    fn failures_and_standing_clocks_are_errors() {
        assert_eq!(measure(1.0, 0.02, |_| Err("lost".to_owned())), Err("lost".to_owned()));
        assert!(measure(1.0, 0.02, |_| Ok(0.0)).unwrap_err().contains("time"));
    }
}
