//! Whether requests were released as scheduled: the evidence of an open trial.
use serde::{Deserialize, Serialize};

use super::QueueGrowth;
use crate::workload::arrivals::{Dispersion, KsTest, Schedule, dispersion, ks_test};

/// Arrivals a window of the dispersion index holds on average.
const PER_WINDOW: f64 = 10.0;

/// What a release may miss its time by before a trial no longer counts as what its schedule says.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct FidelityLimits {
    /// 99th percentile of the lateness.
    pub p99_ns: f64,
    /// 99.9th percentile.
    pub p999_ns: f64,
    /// How much later, or earlier, releases may have become from the schedule's begin to its end.
    pub drift_ns: f64,
    /// Below this probability the released gaps are no sample of the schedule's law: a true one is refused so often.
    pub ks_p: f64,
    /// Up to this distance from the law gaps count as its sample, whatever the probability: of millions of gaps the test sees the
    /// two microseconds that waking a thread takes.
    #[serde(default)]
    pub ks_distance: f64,
    /// How far the dispersion of the releases may be from the schedule's, absolute and as a fraction of it, added.
    pub dispersion: f64,
}

impl Default for FidelityLimits {
    fn default() -> Self {
        Self { p99_ns: 1e6, p999_ns: 10e6, drift_ns: 1e6, ks_p: 1e-4, ks_distance: 0.05, dispersion: 0.1 }
    }
}

/// Percentiles in nanoseconds, by linear interpolation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// Median.
    pub p50_ns: f64,
    /// 99th percentile.
    pub p99_ns: f64,
    /// 99.9th percentile.
    pub p999_ns: f64,
    /// Largest.
    pub max_ns: f64,
}

impl Spread {
    fn of(mut values: Vec<u64>) -> Self {
        values.sort_unstable();
        let Some(last) = values.len().checked_sub(1) else { return Self::default() };
        let at = |p: f64| {
            let place = p * last as f64;
            let (low, high) = (values[place.floor() as usize] as f64, values[place.ceil() as usize] as f64);
            low + (high - low) * place.fract()
        };
        Self { p50_ns: at(0.5), p99_ns: at(0.99), p999_ns: at(0.999), max_ns: at(1.0) }
    }
}

/// A queue that grew without end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Saturation {
    /// When the trial was ended for it, in nanoseconds after its start.
    pub stopped_ns: u64,
    /// Requests that had arrived by then.
    pub arrived: u32,
    /// Of those, how many had not ended. They were cut off: latencies are of the others alone.
    pub unfinished: u32,
    /// Requests of the schedule that were never released.
    pub not_released: u32,
    /// What was seen.
    pub reason: String,
}

/// How well an open trial kept its schedule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScheduleFidelity {
    /// [`Schedule::digest`].
    pub digest: String,
    /// Requests that were released.
    pub released: u32,
    /// Requests a second of the schedule, as far as it was released: (requests − 1) / (last − first).
    pub offered_rate: Option<f64>,
    /// From the schedule's begin to the last request that was released, in nanoseconds; 0 in records of older versions.
    #[serde(default)]
    pub span_ns: u64,
    /// Released − scheduled.
    pub lateness: Spread,
    /// Handed to the engine − released: how long requests waited for the engine's step, and for room under a cap.
    pub admission: Spread,
    /// By how much lateness grew from the first release to the last, by the least-squares line.
    pub drift_ns: f64,
    /// The released gaps against the law that the schedule was drawn from.
    pub ks: Option<KsTest>,
    /// Variance / mean of arrivals in windows of 10 mean gaps.
    pub dispersion: Option<Dispersion>,
    /// Whether all of it is within the limits: otherwise the trial is invalid.
    pub fidelity_ok: bool,
    /// What is not.
    pub reasons: Vec<String>,
    /// The limits.
    pub limits: FidelityLimits,
    /// Why the trial was ended before its schedule, if it was.
    pub saturation: Option<Saturation>,
    /// By how much the number of requests in the system grew over the last half of the arrivals, in standard deviations of what it would
    /// wander in an engine that is just fast enough. None where nothing was watched (rates that change), of conversations, of few requests, of a
    /// system that still filled up, and in records of older versions.
    #[serde(default)]
    pub queue_growth: Option<f64>,
    /// The same as rates, with their errors; None as above.
    #[serde(default)]
    pub growth: Option<QueueGrowth>,
    /// Whether the threads that released were served before others (nice −20). None in virtual time, and in records of older versions.
    #[serde(default)]
    pub releases_first: Option<bool>,
    /// How often the thread that stood by took over releasing, since the other's processor stood still. None as above.
    #[serde(default)]
    pub takeovers: Option<u32>,
}

impl ScheduleFidelity {
    /// Judges releases against their schedule. `times` are (released, handed over) on the clock of `start_ns`, one a request
    /// that was handed over, in order.
    pub fn judge(schedule: &Schedule, start_ns: u64, times: &[(u64, u64)], limits: FidelityLimits) -> Self {
        let offsets = &schedule.offsets_ns()[..times.len().min(schedule.offsets_ns().len())];
        let late = |(offset, time): (&u64, &(u64, u64))| time.0.saturating_sub(start_ns + offset);
        let lateness: Vec<u64> = offsets.iter().zip(times).map(late).collect();
        let drift_ns = drift(offsets, &lateness);
        let admission = Spread::of(times.iter().map(|(released, taken)| taken.saturating_sub(*released)).collect());
        let seconds = |ns: u64| ns as f64 / 1e9;
        let planned: Vec<f64> = offsets.iter().map(|offset| seconds(*offset)).collect();
        let released: Vec<f64> = times.iter().map(|time| seconds(time.0.saturating_sub(start_ns))).collect();
        let both = (dispersion(&planned, PER_WINDOW), dispersion(&released, PER_WINDOW));
        let span = planned.last().zip(planned.first()).map_or(0.0, |(last, first)| last - first);
        let mut found = Self {
            digest: schedule.digest(),
            released: times.len() as u32,
            offered_rate: (span > 0.0).then(|| (planned.len() as f64 - 1.0) / span),
            span_ns: offsets.last().copied().unwrap_or(0),
            lateness: Spread::of(lateness),
            admission,
            drift_ns,
            ks: ks_test(&released, schedule.law()),
            dispersion: both.0.zip(both.1).map(|(scheduled, released)| Dispersion { scheduled, released }),
            fidelity_ok: true,
            reasons: Vec::new(),
            limits,
            saturation: None,
            queue_growth: None,
            growth: None,
            releases_first: None,
            takeovers: None,
        };
        found.reasons = found.misses();
        found.fidelity_ok = found.reasons.is_empty();
        found
    }

    fn misses(&self) -> Vec<String> {
        let (limits, ms) = (&self.limits, |ns: f64| ns / 1e6);
        let mut reasons = Vec::new();
        let mut over = |what: &str, found: f64, limit: f64| {
            if found > limit {
                reasons.push(format!("{what} is {:.3} ms: expected at most {:.3} ms", ms(found), ms(limit)));
            }
        };
        over("the 99th percentile of the release lateness", self.lateness.p99_ns, limits.p99_ns);
        over("the 99.9th percentile of the release lateness", self.lateness.p999_ns, limits.p999_ns);
        over("the drift of releases over the schedule", self.drift_ns.abs(), limits.drift_ns);
        if let Some(ks) = self.ks.filter(|ks| ks.p < limits.ks_p && ks.statistic > limits.ks_distance) {
            reasons.push(format!(
                "the released gaps are no sample of the schedule's law: a Kolmogorov-Smirnov test gives p = {:.1e}, \
                 expected at least {:.0e}, at a distance of {:.3}",
                ks.p, limits.ks_p, ks.statistic
            ));
        }
        if let Some(Dispersion { scheduled, released }) = self.dispersion
            && (released - scheduled).abs() > limits.dispersion * (1.0 + scheduled)
        {
            reasons.push(format!("releases have a dispersion of {released:.2}, their schedule one of {scheduled:.2}"));
        }
        reasons
    }
}

/// The least-squares line's rise from the first offset to the last.
fn drift(offsets: &[u64], lateness: &[u64]) -> f64 {
    let n = offsets.len() as f64;
    let (Some(first), Some(last)) = (offsets.first(), offsets.last()) else { return 0.0 };
    let mean = |values: &[u64]| values.iter().map(|value| *value as f64).sum::<f64>() / n;
    let (mean_x, mean_y) = (mean(offsets), mean(lateness));
    let (mut xy, mut xx) = (0.0, 0.0);
    for (x, y) in offsets.iter().zip(lateness) {
        let dx = *x as f64 - mean_x;
        xy += dx * (*y as f64 - mean_y);
        xx += dx * dx;
    }
    if xx > 0.0 { xy / xx * (last - first) as f64 } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::arrivals::ArrivalSpec;

    const START_NS: u64 = 5_000_000_000;

    fn judged(process: &str, late_ns: impl Fn(usize) -> u64) -> ScheduleFidelity {
        let spec = ArrivalSpec { process: process.parse().unwrap(), rate: Some(200.0) };
        let schedule = Schedule::new(&spec, 5000, 1, 2).unwrap();
        let release = |(index, offset): (usize, &u64)| {
            let released = START_NS + offset + late_ns(index);
            (released, released + 1000)
        };
        let times: Vec<(u64, u64)> = schedule.offsets_ns().iter().enumerate().map(release).collect();
        ScheduleFidelity::judge(&schedule, START_NS, &times, FidelityLimits::default())
    }

    #[test]
    fn releases_on_time_are_faithful() {
        for process in ["poisson", "poisson:total", "gamma:0.5", "constant", "burst:10", "ramp:linear:600"] {
            let found = judged(process, |_| 20_000);
            assert!(found.fidelity_ok, "{process}: {:?}", found.reasons);
            assert_eq!(
                (found.lateness.p50_ns, found.lateness.max_ns, found.admission.p99_ns),
                (20_000.0, 20_000.0, 1000.0)
            );
            assert!(found.drift_ns.abs() < 1.0 && found.dispersion.is_some());
            assert_eq!(found.ks.is_some(), !["constant", "burst:10"].contains(&process), "{process}");
        }
    }

    #[test]
    fn late_releases_are_marked_with_the_reason() {
        let found = judged("poisson", |index| if index % 50 == 0 { 30_000_000 } else { 1000 });
        assert!(!found.fidelity_ok);
        assert!(
            found.reasons[0].contains("99th percentile") && found.reasons[0].contains("30.000 ms"),
            "{:?}",
            found.reasons
        );
        let found = judged("constant", |index| index as u64 * 1000);
        assert!(!found.fidelity_ok && (found.drift_ns - 4_999_000.0).abs() < 1.0, "{}", found.drift_ns);
        assert!(found.reasons.iter().any(|reason| reason.contains("drift")), "{:?}", found.reasons);
    }

    #[test]
    fn a_distance_that_only_millions_of_gaps_can_show_is_none() {
        let schedule = |requests| {
            let spec = ArrivalSpec { process: "poisson".parse().unwrap(), rate: Some(10_000.0) };
            Schedule::new(&spec, requests, 1, 2).unwrap()
        };
        // Releases on a grid, as coarse as a share of the mean gap (100 µs).
        let judged = |schedule: &Schedule, grid_ns: u64| {
            let times = schedule.offsets_ns().iter().map(|offset| offset.div_ceil(grid_ns) * grid_ns);
            let times: Vec<(u64, u64)> = times.map(|time| (time, time)).collect();
            ScheduleFidelity::judge(schedule, 0, &times, FidelityLimits::default())
        };
        let found = judged(&schedule(300_000), 4000);
        assert!(found.ks.unwrap().p < 1e-4 && found.fidelity_ok, "{:?} {:?}", found.ks, found.reasons);
        let found = judged(&schedule(10_000), 20_000);
        assert!(!found.fidelity_ok && found.reasons[0].contains("distance"), "{:?} {:?}", found.ks, found.reasons);
    }

    #[test]
    fn a_stall_shows_in_the_gaps() {
        // Nothing leaves for the first third of each second, then all that has waited at once.
        let spec = ArrivalSpec { process: "poisson".parse().unwrap(), rate: Some(200.0) };
        let schedule = Schedule::new(&spec, 5000, 1, 2).unwrap();
        let stall = |offset: u64| offset.max(offset / 1_000_000_000 * 1_000_000_000 + 333_000_000);
        let times: Vec<(u64, u64)> = schedule.offsets_ns().iter().map(|o| (stall(*o), stall(*o))).collect();
        let found = ScheduleFidelity::judge(&schedule, 0, &times, FidelityLimits::default());
        assert!(found.ks.unwrap().p < 1e-6, "{:?}", found.ks);
        assert!(found.dispersion.unwrap().released > 5.0, "{:?}", found.dispersion);
        assert!(found.reasons.len() >= 4, "{:?}", found.reasons);
    }
}
