//! How fast the queue grew over the newer half of a trial's arrivals, and how surely.
use serde::{Deserialize, Serialize};

/// Parts of equal numbers of arrivals whose scatter gives the standard errors (batch means).
const BATCHES: usize = 10;
/// Parts whose newer half ended requests faster than the older by more than so many standard errors still filled up.
const FASTER: f64 = 2.0;

/// What came and what ended while the newer half of the arrivals came.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct QueueGrowth {
    /// Requests a second that arrived.
    pub offered: f64,
    /// Requests a second that ended.
    pub achieved: f64,
    /// Standard error of `achieved`, by batch means; at least one request.
    pub achieved_error: f64,
    /// Standard error of `offered − achieved`, the same way: what arrivals that merely come unevenly do not add to.
    pub growth_error: f64,
    /// Degrees of freedom of both errors.
    pub freedom: f64,
}

/// A batch: what arrived, what ended, and the seconds it took.
type Batch = (f64, f64, f64);

impl QueueGrowth {
    /// From how many requests were in the system when each arrived, and when they were scheduled. Where requests end faster and faster
    /// the system still fills up, and its newest quarter of the arrivals alone is looked at. None for arrivals that are too few or that came
    /// all at once.
    pub(crate) fn of(in_system: &[u32], offsets_ns: &[u64]) -> Option<Self> {
        let last = in_system.len().checked_sub(1)?;
        let first = in_system.len() / 2;
        let batch = |index: usize| {
            let edge = |index: usize| first + (last - first) * index / BATCHES;
            let (from, to) = (edge(index), edge(index + 1));
            let arrived = (to - from) as f64;
            let grew = f64::from(in_system[to]) - f64::from(in_system[from]);
            Some((arrived, arrived - grew, offsets_ns.get(to)?.saturating_sub(offsets_ns[from]) as f64 / 1e9))
        };
        let batches: Vec<Batch> = (0..BATCHES).map(batch).collect::<Option<_>>()?;
        let (older, newer) = batches.split_at(BATCHES / 2);
        let (whole, older, newer) = (Self::over(&batches)?, Self::over(older), Self::over(newer));
        match older.zip(newer) {
            Some((older, newer))
                if newer.achieved - older.achieved > FASTER * newer.achieved_error.hypot(older.achieved_error) =>
            {
                Some(newer)
            }
            _ => Some(whole),
        }
    }

    fn over(batches: &[Batch]) -> Option<Self> {
        let sum = |of: fn(&Batch) -> f64| batches.iter().map(of).sum::<f64>();
        let (arrived, ended, seconds) = (sum(|batch| batch.0), sum(|batch| batch.1), sum(|batch| batch.2));
        let count = batches.len() as f64;
        // Of a ratio of two sums (Cochran 1977, 6.4). Counts at both ends are whole numbers.
        let error = |of: fn(&Batch) -> f64| {
            let ratio = sum(of) / seconds;
            let squares: f64 = batches.iter().map(|batch| (of(batch) - ratio * batch.2).powi(2)).sum();
            (squares * count / (count - 1.0)).sqrt().max(1.0) / seconds
        };
        (seconds > 0.0).then(|| Self {
            offered: arrived / seconds,
            achieved: ended / seconds,
            achieved_error: error(|batch| batch.1),
            growth_error: error(|batch| batch.0 - batch.1),
            freedom: count - 1.0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Arrivals at 100 a second, of which one server ends `rate(second)` a second.
    fn grown(requests: u32, rate: impl Fn(f64) -> f64) -> QueueGrowth {
        let (mut queue, mut in_system, mut offsets) = (0.0_f64, Vec::new(), Vec::new());
        for arrived in 0..requests {
            let seconds = f64::from(arrived) / 100.0;
            queue = (queue - rate(seconds) / 100.0).max(0.0) + 1.0;
            in_system.push(queue.floor() as u32);
            offsets.push((seconds * 1e9) as u64);
        }
        QueueGrowth::of(&in_system, &offsets).unwrap()
    }

    #[test]
    fn a_server_that_is_too_slow_shows_its_rate() {
        // Of 1000 arrivals the newer half takes 5 s.
        let found = grown(1000, |_| 80.0);
        assert!((found.offered - 100.0).abs() < 1e-6 && (found.achieved - 80.0).abs() < 0.3, "{found:?}");
        assert!((0.19..0.5).contains(&found.achieved_error) && found.freedom == 9.0, "{found:?}");
        let kept_up = grown(1000, |_| 120.0);
        assert!((kept_up.achieved - 100.0).abs() < 1e-6 && kept_up.growth_error < 0.21, "{kept_up:?}");
    }

    #[test]
    fn what_still_fills_up_is_judged_by_its_newest_part() {
        // It ends more and more until, 7.5 s of 10 s in, as many end as come.
        let found = grown(1000, |seconds| (40.0 + 8.0 * seconds).min(100.0));
        assert!((found.achieved - 100.0).abs() < 1.0 && found.freedom == 4.0, "{found:?}");
    }

    #[test]
    fn all_at_once_says_nothing() {
        assert_eq!(QueueGrowth::of(&(1..=100).collect::<Vec<_>>(), &[0; 100]), None);
        assert_eq!(QueueGrowth::of(&[], &[]), None);
    }
}
