//! What watching costs: trials of one loaded engine with the device's clock and telemetry as planned and without either, in
//! blocks of off, on, on, off, all with the same requests. None of them is in a figure.
use super::{
    bench::{Bench, Ended, Trial},
    execute::CellState,
    point::Hands,
};
use crate::{
    cell::protocol::{Load, TrialKind, TrialSpec, TrialSummary},
    measure::DeviceClockMode,
    metrics::{median_interval, stopping::CONFIDENCE},
    plan::Point,
    results::{Discard, ResultsError, WatchCost},
};

/// One trial of a block: how long it took, and what watched it.
#[derive(Clone, Copy)]
struct Seen {
    seconds: f64,
    device_clock: bool,
    telemetry: bool,
}

impl Bench<'_> {
    /// Runs the plan's blocks, None where it has none, and tells what became of the cell. What goes wrong here costs this cost and
    /// no figure: the point has been measured.
    ///
    /// # Errors
    /// When results cannot be stored.
    pub(super) fn watch_cost(
        &self,
        hands: &mut Hands<'_>,
        point: &Point,
    ) -> Result<(Option<WatchCost>, CellState), ResultsError> {
        match self.blocks(hands, point) {
            Ok(cost) => Ok((cost, CellState::Alive)),
            Err(ended) => match ended.failure(hands.cell)? {
                None => Ok((Some(WatchCost::unknown("the run was interrupted")), CellState::Alive)),
                Some((failure, state)) => {
                    Ok((Some(WatchCost::unknown(&format!("a trial of it failed: {}", failure.reason))), state))
                }
            },
        }
    }

    fn blocks(&self, hands: &mut Hands<'_>, point: &Point) -> Result<Option<WatchCost>, Ended> {
        let blocks = self.plan.trials.watch_cost;
        if blocks == 0 {
            return Ok(None);
        }
        let unknown = |why: &str| Ok(Some(WatchCost::unknown(why)));
        if let Load::Open { .. } = point.load {
            return unknown(
                "an open load's trials last as long as its schedule: measure it with --batch or --concurrency",
            );
        }
        if self.plan.trials.device_clock == DeviceClockMode::Off && self.plan.telemetry.is_none() {
            return unknown("neither the device's clock nor telemetry is on");
        }
        // A first trial of either kind whose time is not used: whatever these requests leave behind, every later one finds.
        if self.seen(hands, point, false, "what watching costs: first unwatched trial")?.is_none() {
            return unknown("trials run in virtual time");
        }
        let Some(first) = self.seen(hands, point, true, "what watching costs: first watched trial")? else {
            return unknown("trials run in virtual time");
        };
        if !first.device_clock && !first.telemetry {
            return unknown("nothing watched: there is no device clock, and telemetry is off");
        }
        let mut ratios = Vec::new();
        for block in 1..=blocks {
            let name = format!("what watching costs: block {block} of {blocks}");
            let mut seconds = [0.0; 4];
            for (watched, seconds) in [false, true, true, false].into_iter().zip(&mut seconds) {
                let Some(seen) = self.seen(hands, point, watched, &name)? else {
                    return unknown("trials run in virtual time");
                };
                if let Some(why) = seen.differs(first, watched) {
                    return unknown(why);
                }
                *seconds = seen.seconds;
            }
            ratios.push(ratio(seconds));
        }
        Ok(Some(WatchCost { device_clock: first.device_clock, telemetry: first.telemetry, ..cost(ratios) }))
    }

    /// A trial, watched or not; None in virtual time.
    fn seen(&self, hands: &mut Hands<'_>, point: &Point, watched: bool, name: &str) -> Result<Option<Seen>, Ended> {
        let trial = Trial { kind: TrialKind::Timed, method: point.load.method(), ordinal: 0, number: 0 };
        let mut spec = self.begin(hands.progress, point, trial, name)?;
        let mut nowhere = Discard::new(|tokens| hands.progress.tokens(tokens));
        let (summary, telemetry) = if watched {
            let (summary, samples) = self.trial(hands.cell, &spec, &mut nowhere)?;
            (summary, samples.is_some())
        } else {
            spec = TrialSpec { device_clock: DeviceClockMode::Off, ..spec };
            (hands.cell.watched_trial(&spec, self.plan.patience(spec.kind), &mut nowhere)?, false)
        };
        Ok(Seen::of(&summary, telemetry))
    }
}

impl Seen {
    fn of(summary: &TrialSummary, telemetry: bool) -> Option<Self> {
        (!summary.virtual_time).then(|| Self {
            seconds: summary.working_seconds(),
            device_clock: summary.device.seconds().is_some(),
            telemetry,
        })
    }

    /// Why this trial cannot stand in a block: it must have been watched as the first watched one was, or not at all.
    fn differs(self, first: Self, watched: bool) -> Option<&'static str> {
        let found = (self.device_clock, self.telemetry);
        match watched {
            true if found != (first.device_clock, first.telemetry) => {
                Some("a watched trial had no device clock, or no telemetry, where an earlier one had")
            }
            false if found != (false, false) => Some("a trial that nothing should have watched was watched"),
            _ => None,
        }
    }
}

/// Watched / unwatched of a block's durations, which come off, on, on, off: of their geometric means.
fn ratio([off, on, on_again, off_again]: [f64; 4]) -> f64 {
    (on * on_again / (off * off_again)).sqrt()
}

/// The cost by the blocks' ratios.
fn cost(ratios: Vec<f64>) -> WatchCost {
    let blocks = ratios.len() as u64;
    match median_interval(&ratios, CONFIDENCE) {
        Ok(interval) => WatchCost {
            ratio: Some(interval.median),
            low: Some(interval.low),
            high: Some(interval.high),
            blocks,
            ratios,
            ..WatchCost::default()
        },
        Err(why) => WatchCost { blocks, ratios, ..WatchCost::unknown(&why.to_string()) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_compares_its_inner_trials_with_its_outer_ones() {
        assert_eq!(ratio([1.0, 2.0, 2.0, 1.0]), 2.0);
        assert_eq!(ratio([2.0, 1.0, 1.0, 2.0]), 0.5);
        // A machine that gets slower at a steady rate costs nothing.
        assert_eq!(ratio([1.0, 2.0, 4.0, 8.0]), 1.0);
    }

    #[test]
    fn a_block_wants_its_trials_watched_as_planned() {
        let seen = |device_clock, telemetry| Seen { seconds: 1.0, device_clock, telemetry };
        let first = seen(true, true);
        assert_eq!(seen(true, true).differs(first, true), None);
        assert_eq!(seen(false, false).differs(first, false), None);
        // An engine whose clock is read although it was told not to would make the cost nothing.
        assert!(seen(true, false).differs(first, false).is_some() && seen(false, true).differs(first, false).is_some());
        assert!(seen(false, true).differs(first, true).is_some() && seen(true, false).differs(first, true).is_some());
    }

    #[test]
    fn the_cost_is_the_median_over_blocks_and_too_few_have_no_interval() {
        let found = cost(vec![1.001, 1.002, 1.003, 0.999, 1.004, 1.002]);
        assert_eq!((found.ratio, found.low, found.high, found.blocks), (Some(1.002), Some(0.999), Some(1.004), 6));
        let found = WatchCost { telemetry: true, ..found };
        assert_eq!(found.line(), "watching (telemetry) costs +0.20 % (95 % interval -0.10 to +0.40 %, 6 blocks)");
        let few = cost(vec![1.0, 1.0]);
        assert!(few.ratio.is_none() && few.line().contains("at least 6"), "{}", few.line());
    }
}
