//! Measures points side by side: in each launch all engines of a group are loaded, and take turns in blocks whose order
//! is drawn: A B B A or B A A B, with three engines A C B B C A and so on, so that drift touches all alike.
//!
//! An engine that waits for its turn is parked (its processes are stopped), so that its threads take no time. Engines that
//! use a GPU hold its memory, and are never loaded together: there each has a launch of its own, in alternating order.
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use super::{
    execute::{Loaded, Run, failure_of, failure_with_log, plain_failure},
    paired_turn::{Ended, Group, Seat, Timing},
};
use crate::{
    plan::{
        CellPlan, Point,
        compare::{Arm, Compare},
    },
    results::{Failure, PointRecord, PointStatus, ResultsError, Turn},
    workload::mix,
};

/// Groups whose engines are the same, and so can share launches.
struct Family {
    seats: Vec<Seat>,
    groups: Vec<Group>,
}

/// One start of all engines.
#[derive(Clone, Copy)]
struct Launch<'a> {
    compare: &'a Compare,
    number: u32,
    cells: &'a [CellPlan],
    seats: &'a [Seat],
}

/// What a group has come to.
enum State {
    Measuring,
    /// With the reason; no further launch tries it.
    Failed,
    /// A resumed run's earlier part measured it.
    Known,
}

impl Run<'_> {
    /// Measures all groups of the plan.
    pub(super) fn paired(&mut self, compare: &Compare) -> Result<(), ResultsError> {
        let all: Vec<u32> = self.plan.points.iter().map(|point| point.number).collect();
        let groups = match compare.groups(&self.plan.points) {
            Ok(groups) => groups,
            Err(reason) => return self.fail_all(&all, &plain_failure(reason), None),
        };
        let cells = self.plan.cells();
        let mut families: Vec<Family> = Vec::new();
        for group in groups {
            let seat = |arm: &Arm| {
                let cell = cells.iter().position(|cell| cell.points.contains(&arm.point)).unwrap_or_default();
                Seat { cell, copy: arm.copy }
            };
            let seats: Vec<Seat> = group.arms.iter().map(seat).collect();
            let group = Group::new(group.arms, &self.plan.points);
            match families.iter_mut().find(|family| family.seats == seats) {
                Some(family) => family.groups.push(group),
                None => families.push(Family { seats, groups: vec![group] }),
            }
        }
        for mut family in families {
            self.family(compare, &cells, &mut family)?;
            if self.interrupted() {
                break;
            }
        }
        Ok(())
    }

    fn family(&mut self, compare: &Compare, cells: &[CellPlan], family: &mut Family) -> Result<(), ResultsError> {
        let mut states: Vec<State> = family.groups.iter().map(|_| State::Measuring).collect();
        let mut exclusive = false;
        let seats = family.seats.clone();
        for number in 0..compare.launches {
            let launch = Launch { compare, number, cells, seats: &seats };
            let order = launch_order(self.plan.points[0].workload.seed, number, seats.len());
            let mut loaded: Vec<Option<Loaded>> = seats.iter().map(|_| None).collect();
            for &seat in &order {
                if self.interrupted() {
                    return Ok(());
                }
                match self.sit(&cells[seats[seat].cell]) {
                    Ok(mut running) => {
                        exclusive |= running.info.gpu_in_process.is_some();
                        for group in &mut family.groups {
                            group.seated(seat, &running);
                        }
                        running.cell.park();
                        loaded[seat] = Some(running);
                    }
                    Err(failure) => {
                        for (group, state) in family.groups.iter_mut().zip(&mut states) {
                            group.fail(seat, &failure);
                            *state = State::Failed;
                        }
                        break;
                    }
                }
                if exclusive {
                    self.alone(launch, seat, &mut loaded, &mut family.groups, &mut states)?;
                    self.stand_up(&mut loaded);
                }
            }
            if !exclusive {
                if number == 0 {
                    self.known(family, &loaded, &mut states);
                }
                for (index, state) in states.iter_mut().enumerate() {
                    if matches!(state, State::Measuring) && !self.interrupted() {
                        self.together(launch, &mut loaded, &mut family.groups[index], state)?;
                    }
                }
            }
            self.stand_up(&mut loaded);
            if self.interrupted() {
                return Ok(());
            }
            if !states.iter().any(|state| matches!(state, State::Measuring)) {
                break;
            }
        }
        for (group, state) in family.groups.drain(..).zip(states) {
            if !matches!(state, State::Known) {
                for record in group.finish() {
                    self.keep(record)?;
                }
            }
        }
        Ok(())
    }

    /// Loads one engine.
    fn sit(&mut self, cell: &CellPlan) -> Result<Loaded, Failure> {
        let digest = cell.load.model.as_deref().map(|path| self.digest(path)).transpose()?;
        self.start(cell, digest.as_deref())
    }

    fn stand_up(&mut self, loaded: &mut [Option<Loaded>]) {
        for running in loaded.iter_mut().filter_map(Option::take) {
            let engine = running.info.engine.clone();
            if let Err(error) = running.cell.shutdown() {
                self.progress.note(&format!("{engine}: its cell did not end cleanly: {error}"));
            }
        }
    }

    /// Takes over what the earlier part of a resumed run measured, where the engines are the same.
    fn known(&mut self, family: &Family, loaded: &[Option<Loaded>], states: &mut [State]) {
        for (group, state) in family.groups.iter().zip(states) {
            // As in the run that is resumed: prompts are made of the first engine's ids.
            if let Some(first) = &loaded[0] {
                let model = self.plan.points[group.arms[0].point as usize].model.clone();
                self.ids.entry(model).or_insert_with(|| first.info.model.ordinary_ids.clone());
            }
            let whole = group.arms.iter().enumerate().all(|(seat, arm)| {
                let old = self.finished.get(&arm.point);
                let key = loaded[seat].as_ref().and_then(|running| self.key(group, running, arm.point));
                old.is_some_and(|old| {
                    matches!(old.outcome, PointStatus::Ok)
                        && key.is_some()
                        && old.key == key
                        && old.stopped_by == "compare"
                })
            });
            if !whole {
                continue;
            }
            *state = State::Known;
            for arm in &group.arms {
                if let Some(old) = self.finished.remove(&arm.point) {
                    self.progress.point_done("already measured by the run that is resumed");
                    self.note(old);
                }
            }
        }
    }

    /// One launch of a group whose engines are all loaded.
    fn together(
        &mut self,
        launch: Launch<'_>,
        loaded: &mut [Option<Loaded>],
        group: &mut Group,
        state: &mut State,
    ) -> Result<(), ResultsError> {
        let Launch { compare, number, cells, seats } = launch;
        // An engine that another group broke is started again.
        for (seat, place) in seats.iter().enumerate() {
            if loaded[seat].is_none() {
                match self.sit(&cells[place.cell]) {
                    Ok(running) => loaded[seat] = Some(running),
                    Err(failure) => {
                        group.fail(seat, &failure);
                        *state = State::Failed;
                        return Ok(());
                    }
                }
            }
        }
        self.say(group, launch);
        for seat in 0..seats.len() {
            let done = self.warm_up(group, seat, loaded);
            if self.stopped(done, group, seat, loaded, state)? {
                return Ok(());
            }
        }
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(mix(group.seed(&self.plan.points), u64::from(number)));
        let mut last = seats.len() - 1;
        for block in 0..compare.blocks {
            let forth = drawn(seats.len(), &mut rng);
            let back = forth.iter().rev().copied();
            for (half, seat) in
                forth.iter().copied().enumerate().chain(back.enumerate().map(|(i, s)| (i + seats.len(), s)))
            {
                let second = half >= seats.len();
                for trial in 0..compare.trials {
                    let turn = Turn { launch: number, block, copy: seats[seat].copy, resident: true };
                    let ordinal = ordinal(compare, &turn, second, trial);
                    // What the engine before has left in the caches is not this one's cost.
                    let timing = Timing { turn, ordinal, settle: last != seat && trial == 0 };
                    last = seat;
                    let done = self.turn(group, seat, loaded, timing);
                    if self.stopped(done, group, seat, loaded, state)? {
                        return Ok(());
                    }
                }
                if let Some(running) = &mut loaded[seat] {
                    running.cell.park();
                }
            }
        }
        Ok(())
    }

    /// One launch of one engine of all groups, by itself.
    fn alone(
        &mut self,
        launch: Launch<'_>,
        seat: usize,
        loaded: &mut [Option<Loaded>],
        groups: &mut [Group],
        states: &mut [State],
    ) -> Result<(), ResultsError> {
        let Launch { compare, number, seats, .. } = launch;
        let copy = seats[seat].copy;
        for (group, state) in groups.iter_mut().zip(states) {
            if !matches!(state, State::Measuring) || loaded[seat].is_none() {
                continue;
            }
            self.say(group, launch);
            let mut done = self.warm_up(group, seat, loaded);
            for block in 0..compare.blocks {
                let turn = Turn { launch: number, block, copy, resident: false };
                for (second, trial) in [false, true].into_iter().flat_map(|s| (0..compare.trials).map(move |t| (s, t)))
                {
                    if done.is_ok() {
                        let timing = Timing { turn, ordinal: ordinal(compare, &turn, second, trial), settle: false };
                        done = self.turn(group, seat, loaded, timing);
                    }
                }
            }
            if self.stopped(done, group, seat, loaded, state)? && self.interrupted() {
                return Ok(());
            }
        }
        Ok(())
    }

    fn say(&mut self, group: &Group, launch: Launch<'_>) {
        let names: Vec<String> = group.arms.iter().map(|arm| self.plan.points[arm.point as usize].label()).collect();
        let label = format!("{} (launch {} of {})", names.join(" | "), launch.number + 1, launch.compare.launches);
        self.progress.point(group.arms[0].point, self.plan.points.len() as u32, &label);
    }

    /// Whether the group cannot go on in this launch.
    fn stopped(
        &mut self,
        done: Result<(), Ended>,
        group: &mut Group,
        seat: usize,
        loaded: &mut [Option<Loaded>],
        state: &mut State,
    ) -> Result<bool, ResultsError> {
        let failure = match done {
            Ok(()) => return Ok(false),
            Err(Ended::Interrupted) => return Ok(true),
            Err(Ended::Results(error)) => return Err(error),
            Err(Ended::Figures(failure)) => failure,
            Err(Ended::Cell(error)) => {
                let failure = match &loaded[seat] {
                    Some(running) => failure_with_log(error, &running.cell),
                    None => failure_of(error),
                };
                // What a failed engine left behind may be broken: the next group gets a new one.
                loaded[seat] = None;
                failure
            }
        };
        group.fail(seat, &failure);
        *state = State::Failed;
        Ok(true)
    }
}

/// Numbers a trial's requests: the same for every engine, and for no two trials of one.
fn ordinal(compare: &Compare, turn: &Turn, second: bool, trial: u32) -> u32 {
    ((turn.launch * compare.blocks + turn.block) * 2 + u32::from(second)) * compare.trials + trial
}

/// In which order engines are loaded: drawn for every other launch, reversed for the one after it.
fn launch_order(seed: u64, launch: u32, n: usize) -> Vec<usize> {
    let mut order = drawn(n, &mut Xoshiro256PlusPlus::seed_from_u64(mix(seed, u64::from(launch / 2))));
    if launch % 2 == 1 {
        order.reverse();
    }
    order
}

/// A permutation (Fisher and Yates).
fn drawn(n: usize, rng: &mut Xoshiro256PlusPlus) -> Vec<usize> {
    let mut order: Vec<usize> = (0..n).collect();
    for last in (1..n).rev() {
        order.swap(last, rng.random_range(0..=last));
    }
    order
}

/// The points of a group's records, for tests and reports alike.
pub(super) fn empty_record(point: &Point) -> PointRecord {
    PointRecord { stopped_by: "compare".to_owned(), ..PointRecord::empty(point.clone(), PointStatus::Ok) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_drawn_and_launches_come_in_mirrored_pairs() {
        let orders: Vec<Vec<usize>> = (0..40).map(|launch| launch_order(1, launch, 2)).collect();
        for pair in orders.chunks(2) {
            assert_eq!(pair[0].iter().rev().copied().collect::<Vec<_>>(), pair[1]);
        }
        let first_a = orders.iter().step_by(2).filter(|order| order[0] == 0).count();
        assert!((4..=16).contains(&first_a), "{first_a} of 20");
    }

    #[test]
    fn no_two_trials_of_an_engine_have_the_same_requests() {
        let compare = Compare::parse("abba,launches=3,blocks=4,trials=2").unwrap();
        let mut seen = std::collections::BTreeSet::new();
        for (launch, block) in (0..3).flat_map(|launch| (0..4).map(move |block| (launch, block))) {
            let turn = Turn { launch, block, copy: 0, resident: true };
            for (second, trial) in [(false, 0), (false, 1), (true, 0), (true, 1)] {
                assert!(seen.insert(ordinal(&compare, &turn, second, trial)));
            }
        }
        assert_eq!(seen.len(), 48);
    }
}
