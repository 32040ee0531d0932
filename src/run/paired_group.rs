//! Points that are measured side by side, and what their launches have given.
use super::execute::{Loaded, plain_failure};
use crate::{
    plan::{Point, compare::Arm},
    results::{Failure, LostLaunch, PointRecord, PointStatus, TrialRecord},
    workload::mix,
};

/// What a group has come to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Measuring,
    /// No further launch tries it.
    Failed,
    /// The run that is resumed has measured it.
    Known,
}

/// How far a record was when the launch began.
#[derive(Clone, Copy)]
struct Mark {
    trials: usize,
    warmups: usize,
    steady: bool,
}

/// Points that are measured side by side, with what has been found.
pub(super) struct Group {
    /// By seat.
    pub arms: Vec<Arm>,
    records: Vec<PointRecord>,
    /// By seat: whose record.
    places: Vec<usize>,
    state: State,
    /// By record; None between launches and in one that is lost.
    launch: Option<Vec<Mark>>,
    whole: u32,
    /// Why the first launch was lost, and by which seat.
    first_loss: Option<(usize, Failure)>,
}

impl Group {
    pub fn new(arms: Vec<Arm>, points: &[Point]) -> Self {
        let mut numbers: Vec<u32> = arms.iter().map(|arm| arm.point).collect();
        numbers.dedup();
        let place = |arm: &Arm| numbers.iter().position(|number| *number == arm.point).unwrap_or_default();
        let places = arms.iter().map(place).collect();
        let record = |number: &u32| PointRecord {
            stopped_by: "compare".to_owned(),
            ..PointRecord::empty(points[*number as usize].clone(), PointStatus::Ok)
        };
        let records = numbers.iter().map(record).collect();
        Self { arms, records, places, state: State::Measuring, launch: None, whole: 0, first_loss: None }
    }

    pub fn seed(&self, points: &[Point]) -> u64 {
        let first = &points[self.arms[0].point as usize];
        mix(first.workload.seed, u64::from(first.number))
    }

    /// Of the point at a seat.
    pub fn record(&mut self, seat: usize) -> &mut PointRecord {
        &mut self.records[self.places[seat]]
    }

    /// Notes the engine that sits there: that of the first launch.
    pub fn seated(&mut self, seat: usize, running: &Loaded) {
        let record = self.record(seat);
        if record.engine.is_none() {
            record.engine = Some(running.engine.info.clone());
            record.load_ns = Some(running.engine.load_ns);
            record.warmup_steady = true;
        }
    }

    /// Whether more launches are wanted.
    pub fn is_measuring(&self) -> bool {
        self.state == State::Measuring
    }

    /// Whether there is more to do in this launch.
    pub fn is_at_work(&self) -> bool {
        self.is_measuring() && self.launch.is_some()
    }

    /// The run that is resumed has measured it.
    pub fn set_known(&mut self) {
        self.state = State::Known;
    }

    /// A launch begins.
    pub fn begin(&mut self) {
        let mark = |record: &PointRecord| Mark {
            trials: record.trials.len(),
            warmups: record.warmup_seconds.len(),
            steady: record.warmup_steady,
        };
        self.launch = Some(self.records.iter().map(mark).collect());
    }

    /// Whether a block is to be run again: some trial of it is marked, and the launch may `repeats` still. What it gave then counts in
    /// no figure. Of `only` that seat's engine, where each runs by itself.
    pub fn supersede(&mut self, launch: u32, block: u32, only: Option<usize>, repeats: &mut u32) -> bool {
        let of = |trial: &TrialRecord| {
            trial.counts() && trial.turn.is_some_and(|turn| (turn.launch, turn.block) == (launch, block))
        };
        let arms = &self.arms;
        let copies = only.map(|seat| (self.places[seat], arms[seat].copy));
        let asked = |place: usize, trial: &TrialRecord| {
            copies.is_none_or(|(own, copy)| place == own && trial.turn.is_some_and(|turn| turn.copy == copy))
        };
        let mut trials: Vec<&mut TrialRecord> = Vec::new();
        for (place, record) in self.records.iter_mut().enumerate() {
            trials.extend(record.trials.iter_mut().filter(|trial| of(trial) && asked(place, trial)));
        }
        if *repeats == 0 || trials.iter().all(|trial| trial.hardware.marks.is_empty()) {
            return false;
        }
        trials.into_iter().for_each(|trial| trial.hardware.superseded = true);
        *repeats -= 1;
        true
    }

    /// Every engine has had all its turns of this launch.
    pub fn complete(&mut self) {
        self.launch = None;
        self.whole += 1;
    }

    /// Whether a launch has been whole.
    pub fn any_whole(&self) -> bool {
        self.whole > 0
    }

    /// A cell has died: what this launch has given is dropped. Where more than half of the launches are lost, the group fails.
    pub fn lose(&mut self, launch: u32, seat: usize, failure: &Failure, launches: u32) {
        for (record, mark) in self.records.iter_mut().zip(self.launch.take().unwrap_or_default()) {
            record.trials.truncate(mark.trials);
            record.warmup_seconds.truncate(mark.warmups);
            record.warmup_steady = mark.steady;
        }
        let lost = LostLaunch { launch, point: self.arms[seat].point, reason: failure.reason.clone() };
        for record in &mut self.records {
            record.lost_launches.push(lost.clone());
        }
        let (seat, first) = self.first_loss.get_or_insert_with(|| (seat, failure.clone())).clone();
        if self.lost().saturating_mul(2) > launches {
            self.fail(seat, &first);
        }
    }

    /// There is no further launch: those that are left are lost.
    pub fn give_up(&mut self, seat: usize, failure: &Failure, launches: u32) {
        for launch in self.whole + self.lost()..launches {
            if self.is_measuring() {
                self.lose(launch, seat, failure, launches);
            }
        }
    }

    fn lost(&self) -> u32 {
        self.records[0].lost_launches.len() as u32
    }

    /// Ends the group: the point at that seat has failed, and the others have nothing to stand beside.
    pub fn fail(&mut self, seat: usize, failure: &Failure) {
        self.state = State::Failed;
        let failed = self.arms[seat].point;
        for record in &mut self.records {
            record.stopped_by = "failed".to_owned();
            let reason = match record.point.number == failed {
                true => failure.clone(),
                false => {
                    plain_failure(format!("point {failed}, which it was compared with, failed: {}", failure.reason))
                }
            };
            record.outcome = PointStatus::Failed(reason);
        }
    }

    /// The records to be kept; none where the run that is resumed has them.
    pub fn finish(self) -> Vec<PointRecord> {
        if self.state == State::Known { Vec::new() } else { self.records }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cell::protocol::Method,
        results::{Turn, testing},
    };

    fn group() -> Group {
        let points = [0, 1].map(|number| testing::point(number, "sim", &[]).point);
        Group::new(vec![Arm { point: 0, copy: 0 }, Arm { point: 1, copy: 0 }], &points)
    }

    /// A launch that gives each engine two trials, or dies after one of them.
    fn launch(group: &mut Group, number: u32, dies: bool) {
        group.begin();
        for seat in [0, 1, 0] {
            group.record(seat).trials.push(testing::trial(0, Method::Generate, 1.0));
        }
        if dies {
            return group.lose(number, 1, &plain_failure(format!("death {number}")), 4);
        }
        group.record(1).trials.push(testing::trial(0, Method::Generate, 1.0));
        group.complete();
    }

    #[test]
    fn a_lost_launch_leaves_nothing_behind_but_its_reason() {
        let mut group = group();
        for (number, dies) in [false, true, false, true].into_iter().enumerate() {
            launch(&mut group, number as u32, dies);
            assert!(group.is_measuring() && !group.is_at_work());
        }
        for record in group.finish() {
            assert_eq!((record.trials.len(), &record.outcome), (4, &PointStatus::Ok));
            let lost: Vec<(u32, u32, &str)> =
                record.lost_launches.iter().map(|lost| (lost.launch, lost.point, lost.reason.as_str())).collect();
            assert_eq!(lost, [(1, 1, "death 1"), (3, 1, "death 3")]);
        }
    }

    #[test]
    fn a_group_whose_launches_are_mostly_lost_fails_of_the_first_death() {
        let mut group = group();
        launch(&mut group, 0, true);
        launch(&mut group, 1, false);
        group.give_up(0, &plain_failure("quarantined".to_owned()), 4);
        assert!(!group.is_measuring());
        let reasons = group.finish().into_iter().map(|record| match record.outcome {
            PointStatus::Failed(failure) => failure.reason,
            PointStatus::Ok => String::new(),
        });
        let reasons: Vec<String> = reasons.collect();
        assert_eq!(reasons, ["point 1, which it was compared with, failed: death 0", "death 0"]);
    }

    #[test]
    fn a_block_with_a_marked_trial_is_run_again_as_long_as_the_launch_may() {
        let mut group = group();
        let turn = |launch, block| Turn { launch, block, copy: 0, resident: true };
        for (launch, block) in [(0, 0), (0, 1), (1, 0)] {
            for seat in [0, 1, 1, 0] {
                let mut trial = testing::trial(0, Method::Generate, 1.0);
                trial.turn = Some(turn(launch, block));
                group.record(seat).trials.push(trial);
            }
        }
        let mut repeats = 1;
        assert!(!group.supersede(0, 1, None, &mut repeats), "nothing is marked");
        let counted =
            |group: &mut Group| [0, 1].map(|seat| group.record(seat).trials.iter().filter(|t| t.counts()).count());
        assert_eq!((counted(&mut group), repeats), ([6, 6], 1));
        group.record(1).trials[3].hardware.marks = vec!["others kept 0.50 of 2 processors busy".to_owned()];
        assert!(!group.supersede(0, 1, Some(0), &mut repeats), "the other engine's, which runs by itself");
        assert!(group.supersede(0, 1, None, &mut repeats));
        // Both engines' trials of that block, and no other block's.
        assert_eq!((counted(&mut group), repeats), ([4, 4], 0));
        assert!(!group.supersede(0, 1, None, &mut repeats), "what is superseded asks for nothing");
        group.record(0).trials[0].hardware.marks = vec!["throttled: sw_thermal_slowdown".to_owned()];
        assert!(!group.supersede(0, 0, None, &mut repeats), "no repeat is left: it counts and keeps its mark");
        assert_eq!(counted(&mut group), [4, 4]);
    }

    #[test]
    fn launches_that_are_left_out_are_lost_but_whole_ones_stay() {
        let mut group = group();
        launch(&mut group, 0, false);
        launch(&mut group, 1, false);
        group.give_up(0, &plain_failure("quarantined".to_owned()), 4);
        let records = group.finish();
        assert_eq!(
            (records[0].trials.len(), records[0].lost_launches.len(), &records[0].outcome),
            (4, 2, &PointStatus::Ok)
        );
    }
}
