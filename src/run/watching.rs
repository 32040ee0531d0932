//! What watching costs: trials of one loaded engine with the device's clock and telemetry as planned and without either, in
//! blocks of ABBA, all with the same requests. None of them is in a figure.
use super::{
    bench::{Bench, Ended, Trial},
    point::Hands,
};
use crate::{
    cell::protocol::{TrialKind, TrialSpec, TrialSummary},
    measure::DeviceClockMode,
    metrics::{median_interval, stopping::CONFIDENCE},
    plan::Point,
    results::{Discard, WatchCost},
};

/// Who watches, in the order of a block.
const BLOCK: [bool; 4] = [false, true, true, false];

impl Bench<'_> {
    /// Runs the plan's blocks; None where it has none.
    pub(super) fn watch_cost(&self, hands: &mut Hands<'_>, point: &Point) -> Result<Option<WatchCost>, Ended> {
        let policy = &self.plan.trials;
        if policy.watch_cost == 0 {
            return Ok(None);
        }
        if policy.device_clock == DeviceClockMode::Off && self.plan.telemetry.is_none() {
            return Ok(Some(WatchCost::unknown("neither the device's clock nor telemetry is on")));
        }
        // A first trial whose time is not used: whatever these requests leave behind, every later one finds.
        if self.unwatched(hands, point)?.virtual_time {
            return Ok(Some(WatchCost::unknown("trials run in virtual time")));
        }
        let mut ratios = Vec::new();
        for _ in 0..policy.watch_cost {
            let mut logarithm = 0.0;
            for watched in BLOCK {
                let summary = if watched { self.watched(hands, point)? } else { self.unwatched(hands, point)? };
                let seconds = summary.working_seconds().ln();
                logarithm += if watched { seconds } else { -seconds };
            }
            ratios.push((logarithm / 2.0).exp());
        }
        Ok(Some(cost(&ratios)))
    }

    fn spec(&self, hands: &mut Hands<'_>, point: &Point) -> Result<TrialSpec, Ended> {
        let trial = Trial { kind: TrialKind::Timed, method: point.load.method(), ordinal: 0, number: 0 };
        self.begin(hands.progress, point, trial, "what watching costs")
    }

    fn watched(&self, hands: &mut Hands<'_>, point: &Point) -> Result<TrialSummary, Ended> {
        let spec = self.spec(hands, point)?;
        let (summary, _) = self.trial(hands.cell, &spec, &mut Discard::new(|_| {}))?;
        Ok(summary)
    }

    fn unwatched(&self, hands: &mut Hands<'_>, point: &Point) -> Result<TrialSummary, Ended> {
        let spec = TrialSpec { device_clock: DeviceClockMode::Off, ..self.spec(hands, point)? };
        Ok(hands.cell.watched_trial(&spec, self.plan.patience(spec.kind), &mut Discard::new(|_| {}))?)
    }
}

/// The cost by the blocks' ratios of durations, each the geometric mean of two with over that of two without.
fn cost(ratios: &[f64]) -> WatchCost {
    match median_interval(ratios, CONFIDENCE) {
        Ok(interval) => WatchCost {
            ratio: Some(interval.median),
            low: Some(interval.low),
            high: Some(interval.high),
            blocks: interval.n,
            null_reason: None,
        },
        Err(why) => WatchCost { blocks: ratios.len() as u64, ..WatchCost::unknown(&why.to_string()) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cost_is_the_median_over_blocks_and_too_few_have_no_interval() {
        let found = cost(&[1.001, 1.002, 1.003, 0.999, 1.004, 1.002]);
        assert_eq!((found.ratio, found.low, found.high, found.blocks), (Some(1.002), Some(0.999), Some(1.004), 6));
        assert_eq!(found.line(), "watching costs +0.20 % (95 % interval -0.10 to +0.40 %, 6 blocks)");
        let few = cost(&[1.0, 1.0]);
        assert!(few.ratio.is_none() && few.line().contains("at least 6"), "{}", few.line());
    }
}
