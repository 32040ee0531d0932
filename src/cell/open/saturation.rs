//! Sees a queue that grows without end while a trial runs.
//!
//! Checked each time a quarter more requests have arrived. Over the last half of the arrivals, the number of requests in the
//! system must have grown by more than 3 standard deviations of what it would wander by if the engine were exactly fast
//! enough (per arrival a variance of the gaps' squared variation plus 1, as for exponential service). A system that still
//! fills up does that too, but for no longer than a request's life: so at least [`ENOUGH`] requests must have ended before
//! the first of [`IN_A_ROW`] checks in a row, between whose first and last the arrivals double.
//!
//! Of conversations the turns are watched: those that are due have arrived. They come faster and faster until as many
//! conversations end as begin, and the system fills up for as long; but then the engine ends turns faster and faster too, which
//! an engine that is too slow cannot. So growth counts only while turns end no faster than before: over the newer half of the
//! arrivals that are looked at not more than [`FLAT`] times as many a second as over the older half.

use super::QueueGrowth;

/// Checks that must all see growth.
const IN_A_ROW: u32 = 4;
/// Requests that must have ended before growth counts.
const ENOUGH: u32 = 16;
/// Arrivals before the first check.
const FIRST: u32 = 64;
const DEVIATIONS: f64 = 3.0;
/// Turns that end at rates no more than this apart end at the same rate.
const FLAT: f64 = 1.1;

/// Watches one trial.
pub(crate) struct Watch {
    /// Requests in the system when each arrived.
    in_system: Vec<u32>,
    next_check: u32,
    seen: u32,
    gap_variation: f64,
    /// Of turns: when each arrived and how many had ended then.
    pace: Option<Vec<(u64, u32)>>,
}

impl Watch {
    /// For arrivals whose gaps have this squared coefficient of variation.
    pub(crate) fn new(requests: u32, gap_variation: f64) -> Self {
        let in_system = Vec::with_capacity(requests as usize);
        Self { in_system, next_check: FIRST, seen: 0, gap_variation, pace: None }
    }

    /// For so many turns of conversations, whose first turns come with such gaps.
    pub(crate) fn of_turns(turns: u32, gap_variation: f64) -> Self {
        Self { pace: Some(Vec::with_capacity(turns as usize)), ..Self::new(turns, gap_variation) }
    }

    /// Takes note of arrivals up to `arrived` in all, when `done` have ended. Gives what was seen once it is clear.
    pub(crate) fn arrivals(&mut self, arrived: u32, done: u32, now_ns: u64) -> Option<String> {
        while (self.in_system.len() as u32) < arrived {
            // Those that were found together came one after the other, and none of them had ended.
            self.in_system.push((self.in_system.len() as u32 + 1).saturating_sub(done));
            if let Some(pace) = &mut self.pace {
                pace.push((now_ns, done));
            }
        }
        if arrived < self.next_check || arrived as usize == self.in_system.capacity() {
            return None;
        }
        self.next_check = arrived + arrived.div_ceil(4);
        let half = arrived / 2;
        let (before, now) = (self.in_system[half as usize], arrived.saturating_sub(done));
        let wander = (f64::from(arrived - half) * (self.gap_variation + 1.0)).sqrt();
        let grew = f64::from(now) - f64::from(before) > DEVIATIONS * wander;
        let faster = self.pace.as_deref().is_some_and(|pace| ends_faster(&pace[half as usize..]));
        self.seen = if grew && done >= ENOUGH && !faster { self.seen + 1 } else { 0 };
        (self.seen >= IN_A_ROW).then(|| {
            let what = if self.pace.is_some() { "turns that were due" } else { "requests that had arrived" };
            format!(
                "the queue grows without end: of {arrived} {what}, {done} had ended; while the last \
                 {} arrived, those in the system grew from {before} to {now}",
                arrived - half
            )
        })
    }
}

impl Watch {
    /// By how many standard deviations of what it would wander the number of requests in the system grew over the last half of the
    /// arrivals, as above, once all have arrived: what overload shows of itself that is too slight, or too short, to end a trial. None
    /// for turns, for fewer than [`FIRST`] arrivals, and where fewer than half had ended: that system still fills up.
    pub(crate) fn growth(&self) -> Option<f64> {
        let (arrived, before, now) = self.half_way()?;
        let wander = ((arrived - arrived / 2) as f64 * (self.gap_variation + 1.0)).sqrt();
        Some((f64::from(now) - f64::from(before)) / wander)
    }

    /// The same growth as rates, of arrivals scheduled at these times; None as above.
    pub(crate) fn growth_rates(&self, offsets_ns: &[u64]) -> Option<QueueGrowth> {
        self.half_way()?;
        QueueGrowth::of(&self.in_system, offsets_ns)
    }

    /// Arrivals, and the requests in the system when half of them and when all had come.
    fn half_way(&self) -> Option<(usize, u32, u32)> {
        let arrived = self.in_system.len();
        let (before, now) = (*self.in_system.get(arrived / 2)?, *self.in_system.last()?);
        let told = self.pace.is_none() && arrived >= FIRST as usize && now as usize * 2 <= arrived;
        told.then_some((arrived, before, now))
    }
}

/// Whether turns ended faster in the newer half than in the older one. `pace` is when each arrived, and how many had ended then.
fn ends_faster(pace: &[(u64, u32)]) -> bool {
    let (Some(first), Some(middle), Some(last)) = (pace.first(), pace.get(pace.len() / 2), pace.last()) else {
        return false;
    };
    let ended = |from: &(u64, u32), to: &(u64, u32)| f64::from(to.1 - from.1);
    let seconds = |from: &(u64, u32), to: &(u64, u32)| to.0.saturating_sub(from.0) as f64;
    // Multiplied out, because arrivals may have come all at once.
    ended(middle, last) * seconds(first, middle) > FLAT * ended(first, middle) * seconds(middle, last)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Arrivals at rate 1, each served for 1 / `rate` by one server after a delay of `life`; gives when it was told.
    fn watched(rate: f64, life: f64, requests: u32) -> Option<u32> {
        let mut watch = Watch::new(requests, 0.0);
        (1..=requests).find(|arrived| {
            let time = f64::from(*arrived) - life;
            let done = (time * rate).floor().clamp(0.0, f64::from(*arrived)) as u32;
            watch.arrivals(*arrived, done.min(*arrived), 0).is_some()
        })
    }

    #[test]
    fn overload_is_seen_early_and_full_load_is_not() {
        assert!(watched(0.5, 1.0, 2000).is_some_and(|at| at < 600), "{:?}", watched(0.5, 1.0, 2000));
        assert!(watched(0.8, 1.0, 5000).is_some_and(|at| at < 3000), "{:?}", watched(0.8, 1.0, 5000));
        assert_eq!(watched(1.0, 1.0, 5000), None);
    }

    #[test]
    fn slight_overload_shows_in_the_growth_at_the_end() {
        let growth = |rate: f64, life: f64, requests: u32| {
            let mut watch = Watch::new(requests, 1.0);
            for arrived in 1..=requests {
                let time = f64::from(arrived) - life;
                let done = (time * rate).floor().clamp(0.0, f64::from(arrived)) as u32;
                watch.arrivals(arrived, done.min(arrived), 0);
            }
            watch.growth()
        };
        // 500 arrivals at 1.25 times what is served: (250 - 200) / sqrt(250 * 2).
        assert!((growth(0.8, 0.0, 500).unwrap() - 2.24).abs() < 0.1, "{:?}", growth(0.8, 0.0, 500));
        assert!(growth(0.67, 0.0, 500).unwrap() > 3.0);
        assert!(growth(1.0, 100.0, 500).unwrap().abs() < 0.1, "filled before the half");
        assert_eq!((growth(1.0, 300.0, 500), growth(1.0, 0.0, 50)), (None, None));
    }

    #[test]
    fn a_system_that_fills_up_is_not_overloaded() {
        for life in [10.0, 63.0, 100.0, 200.0, 500.0, 900.0, 2500.0] {
            assert_eq!(watched(1.0, life, 5000), None, "{life}");
        }
    }
}
