//! Measures points side by side: in each launch all engines of a group are loaded, and take turns in blocks whose order
//! is drawn: A B B A or B A A B, with three engines A C B B C A and so on, so that drift touches all alike.
//!
//! An engine that waits for its turn is parked (its processes are stopped), so that its threads take no time. Engines that
//! use a GPU hold its memory, and are never loaded together: there each has a launch of its own, in alternating order.
//!
//! A block in which a trial was marked is run again, in the same order and with the same requests, while the launch may repeat.
//!
//! A cell that dies costs the launch, for the group that was at work; whoever needs the engine next has a new cell.
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use super::{
    execute::{Run, plain_failure},
    paired_group::Group,
    paired_seats::{Launch, Seat, Table},
    paired_turn::Timing,
    restarts::Restarts,
};
use crate::{
    plan::{
        CellPlan,
        compare::{Arm, Compare},
    },
    results::{PointRecord, PointStatus, ResultsError, Turn},
    workload::mix,
};

/// Groups whose engines are the same, and so can share launches.
struct Family {
    seats: Vec<Seat>,
    groups: Vec<Group>,
}

impl Run<'_> {
    /// Measures all groups of the plan.
    pub(super) fn paired(&mut self, compare: &Compare) -> Result<(), ResultsError> {
        let plan = self.plan;
        let all: Vec<u32> = plan.points.iter().map(|point| point.number).collect();
        let groups = match compare.groups(&plan.points) {
            Ok(groups) => groups,
            Err(reason) => return self.fail_all(&all, &plain_failure(reason), None),
        };
        let cells = plan.cells();
        let mut families: Vec<Family> = Vec::new();
        for group in groups {
            let seat = |arm: &Arm| {
                let cell = cells.iter().position(|cell| cell.points.contains(&arm.point)).unwrap_or_default();
                Seat { cell, copy: arm.copy }
            };
            let seats: Vec<Seat> = group.arms.iter().map(seat).collect();
            let group = Group::new(group.arms, &plan.points);
            match families.iter_mut().find(|family| family.seats == seats) {
                Some(family) => family.groups.push(group),
                None => families.push(Family { seats, groups: vec![group] }),
            }
        }
        let mut restarts: Vec<Restarts<'_>> = cells.iter().map(|_| Restarts::new(&plan.endurance)).collect();
        for family in families {
            self.family(compare, &cells, &mut restarts, family)?;
            if self.interrupted() {
                break;
            }
        }
        Ok(())
    }

    fn family(
        &mut self,
        compare: &Compare,
        cells: &[CellPlan],
        restarts: &mut [Restarts<'_>],
        family: Family,
    ) -> Result<(), ResultsError> {
        let Family { seats, mut groups } = family;
        let mut table = Table::new(&seats, cells, restarts);
        let mut exclusive = false;
        for number in 0..compare.launches {
            let launch = Launch { compare, number };
            let order = launch_order(self.plan.points[0].workload.seed, number, seats.len());
            groups.iter_mut().for_each(Group::begin);
            if !exclusive {
                exclusive = self.sit_down(&order, &mut table, &mut groups);
            }
            if exclusive {
                self.one_by_one(launch, &order, &mut table, &mut groups)?;
            } else {
                if number == 0 {
                    self.known(&mut groups, &table);
                }
                for group in groups.iter_mut().filter(|group| group.is_at_work()) {
                    if !self.interrupted() && table.barred.is_none() {
                        self.together(launch, &mut table, group)?;
                    }
                }
            }
            for seat in 0..seats.len() {
                self.stand_up(&mut table, seat);
            }
            if self.interrupted() {
                return Ok(());
            }
            if table.barred.is_some() || !groups.iter().any(Group::is_measuring) {
                break;
            }
        }
        for mut group in groups {
            if let Some((seat, failure)) = table.barred.as_ref().filter(|_| group.is_measuring()) {
                if !group.any_whole() && self.take_over(&mut group, "its engines could not all be loaded now") {
                    continue;
                }
                group.give_up(*seat, failure, compare.launches);
            }
            for record in group.finish() {
                self.keep(record)?;
            }
        }
        Ok(())
    }

    /// Loads all engines; whether one of them uses a GPU. Then only the first is left, to be measured by itself.
    fn sit_down(&mut self, order: &[usize], table: &mut Table<'_, '_>, groups: &mut [Group]) -> bool {
        for &seat in order {
            if self.interrupted() || !self.sit(table, seat) {
                return false;
            }
            let Some(running) = &table.loaded[seat] else { return false };
            for group in groups.iter_mut() {
                group.seated(seat, running);
            }
            if running.engine.info.gpu_in_process.is_some() {
                for &other in &order[1..] {
                    self.stand_up(table, other);
                }
                return true;
            }
        }
        false
    }

    /// Takes over what the run that is resumed has measured, where the engines are the same.
    fn known(&mut self, groups: &mut [Group], table: &Table<'_, '_>) {
        for group in groups {
            // As in the run that is resumed: prompts are made of the first engine's ids.
            let same = group.arms.iter().enumerate().all(|(seat, arm)| {
                let key = table.loaded[seat].as_ref().and_then(|running| self.key(group, seat, running));
                key.is_some() && self.finished.get(&arm.point).is_some_and(|old| old.key == key)
            });
            if same {
                self.take_over(group, "already measured");
            }
        }
    }

    /// Takes over a group of the run that is resumed, if all of it was measured there.
    fn take_over(&mut self, group: &mut Group, why: &str) -> bool {
        let old = |arm: &Arm| self.finished.get(&arm.point);
        let whole = |old: &PointRecord| matches!(old.outcome, PointStatus::Ok) && old.stopped_by == "compare";
        if !group.arms.iter().all(|arm| old(arm).is_some_and(whole)) {
            return false;
        }
        group.set_known();
        for arm in &group.arms {
            if let Some(old) = self.finished.remove(&arm.point) {
                self.progress.point_done(&format!("kept from the run that is resumed: {why}"));
                self.note(old);
            }
        }
        true
    }

    /// One launch of a group whose engines are all loaded.
    fn together(
        &mut self,
        launch: Launch<'_>,
        table: &mut Table<'_, '_>,
        group: &mut Group,
    ) -> Result<(), ResultsError> {
        let Launch { compare, number } = launch;
        let seats = table.seats.len();
        // An engine that another group broke is started again.
        if !(0..seats).all(|seat| self.sit(table, seat)) {
            return Ok(());
        }
        self.say(group, launch);
        for seat in 0..seats {
            if !self.part(launch, table, seat, group, |run, group, running| run.warm_up(group, seat, running))? {
                return Ok(());
            }
        }
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(mix(group.seed(&self.plan.points), u64::from(number)));
        let mut last = seats - 1;
        let mut repeats = self.plan.trials.max_repeats;
        for block in 0..compare.blocks {
            let forth = drawn(seats, &mut rng);
            loop {
                let back = forth.iter().rev().map(|seat| (*seat, true));
                for (seat, second) in forth.iter().map(|seat| (*seat, false)).chain(back) {
                    let turn = Turn { launch: number, block, copy: table.seats[seat].copy, resident: true };
                    // What the engine before has left in the caches is not this one's cost.
                    let settle = last != seat;
                    last = seat;
                    let went_on = self.part(launch, table, seat, group, |run, group, running| {
                        (0..compare.trials).try_for_each(|trial| {
                            let ordinal = ordinal(compare, &turn, second, trial);
                            run.turn(group, seat, running, Timing { turn, ordinal, settle: settle && trial == 0 })
                        })
                    })?;
                    if !went_on {
                        return Ok(());
                    }
                }
                // A marked trial cannot be repeated alone: that would break the order. Its whole block is.
                if !group.supersede(number, block, None, &mut repeats) {
                    break;
                }
            }
        }
        group.complete();
        table.measured();
        Ok(())
    }

    /// One launch of engines of which only one may be loaded at a time: each with all groups, by itself.
    fn one_by_one(
        &mut self,
        launch: Launch<'_>,
        order: &[usize],
        table: &mut Table<'_, '_>,
        groups: &mut [Group],
    ) -> Result<(), ResultsError> {
        let Launch { compare, number } = launch;
        for &seat in order {
            let copy = table.seats[seat].copy;
            for group in groups.iter_mut().filter(|group| group.is_at_work()) {
                self.say(group, launch);
                self.part(launch, table, seat, group, |run, group, running| {
                    run.warm_up(group, seat, running)?;
                    let mut repeats = run.plan.trials.max_repeats;
                    for block in 0..compare.blocks {
                        let turn = Turn { launch: number, block, copy, resident: false };
                        loop {
                            for (second, trial) in
                                [false, true].into_iter().flat_map(|s| (0..compare.trials).map(move |t| (s, t)))
                            {
                                let ordinal = ordinal(compare, &turn, second, trial);
                                run.turn(group, seat, running, Timing { turn, ordinal, settle: false })?;
                            }
                            if !group.supersede(number, block, Some(seat), &mut repeats) {
                                break;
                            }
                        }
                    }
                    Ok(())
                })?;
                if self.interrupted() || table.barred.is_some() {
                    return Ok(());
                }
            }
            self.stand_up(table, seat);
        }
        for group in groups.iter_mut().filter(|group| group.is_at_work()) {
            group.complete();
            table.measured();
        }
        Ok(())
    }

    fn say(&mut self, group: &Group, launch: Launch<'_>) {
        let names: Vec<String> = group.arms.iter().map(|arm| self.plan.points[arm.point as usize].label()).collect();
        let label = format!("{} (launch {} of {})", names.join(" | "), launch.number + 1, launch.compare.launches);
        self.progress.point(group.arms[0].point, self.plan.points.len() as u32, &label);
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
